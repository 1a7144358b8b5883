//! What a step's key covers.
//!
//! | part | unpack | patch | edit | script |
//! | --- | --- | --- | --- | --- |
//! | version of the step format; of how archives are unpacked, patches applied | yes | yes | yes | yes |
//! | key of the step below | yes | yes | yes | yes |
//! | names, digests, formats and places of the source's archives | yes | by the step below | by the step below | by the step below |
//! | patches: path, content, options, order; what of them is waived | | yes | by the step below | by the step below |
//! | path, type, mode and content of each file that a person has changed | | | yes | by the step below |
//! | script, working folder, how it gets its jobs, whether it is flat | | | | yes |
//! | variables of the component: name, version, target, `env`, the kind's variables | | | | yes |
//! | key of the build environment | | | | yes |
//! | output digest and name of each need and tool | | | | yes |
//! | content, path and executable bit of each file beside the recipe | | | | yes |
//! | name, version and arguments of each check | yes | yes | | yes |
//!
//! It never covers a path of this machine, a user, a host name, the clock or the number of jobs. The
//! names of the component and the step are in it only where the step can see them.

use std::collections::BTreeSet;

use osier_recipe::Jobs;
use osier_store::{Digest, Key, KeyBuilder};

use crate::graph::{Component, FetchedPatches, Reuse, Step, StepCheck, Strip, Work};

/// The version of what a step sees besides the parts above: mounts, fixed variables, shell options. It is raised whenever one
/// of those changes.
pub(crate) const STEP_FORMAT: u32 = 4;

/// The version of how archives are read and laid out. It is raised whenever one archive could give other files.
const UNPACK_FORMAT: u32 = 4;

/// The version of how patches are read and put on sources. It is raised whenever one patch could give other files.
const PATCH_FORMAT: u32 = 2;

/// An input of a component as its steps see it: the name and the output digest.
pub(crate) struct KnownInput {
    pub(crate) name: String,
    pub(crate) output: String,
    pub(crate) digest: Digest,
}

/// Computes a step's key. `below` is the key of the step below it.
pub(crate) fn step_key(
    component: &Component,
    step: &Step,
    below: Option<&Key>,
    needs: &[KnownInput],
    tools: &[KnownInput],
    checks: &[&dyn StepCheck],
) -> Key {
    let key = match step.work {
        Work::Unpack(_) => KeyBuilder::new("unpack", UNPACK_FORMAT),
        Work::Patch(_) => KeyBuilder::new("patch", PATCH_FORMAT),
        Work::Edit(_) => KeyBuilder::new("edit", STEP_FORMAT),
        Work::Script { .. } => KeyBuilder::new("script", STEP_FORMAT),
    };
    finish(key, component, step, below, needs, tools, checks, &Except::default())
}

/// Computes what two runs of a step have in common of which one can go on from the other, as its [`Reuse`] says.
///
/// `base` is the key of the step two below: the step between is compared by what it left, see `reuse.rs`.
pub(crate) fn reuse_key(
    component: &Component,
    step: &Step,
    reuse: &Reuse,
    base: Option<&Key>,
    needs: &[KnownInput],
    tools: &[KnownInput],
    checks: &[&dyn StepCheck],
) -> Key {
    let named = reuse.variables.iter().filter_map(|name| component.variables.get(name));
    let except = Except {
        variables: &reuse.variables,
        files: named.flat_map(|value| value.split_whitespace()).collect(),
    };
    let mut key = KeyBuilder::new("reuse", STEP_FORMAT);
    for file in &reuse.files {
        key.field("may differ", file.as_os_str().as_encoded_bytes());
    }
    finish(key, component, step, base, needs, tools, checks, &except)
}

/// Computes what the runs of a step have in common that can go on from one another while a person edits the source.
///
/// `base` is the key of the step that an edit lies on.
pub(crate) fn edits_key(
    component: &Component,
    step: &Step,
    base: &Key,
    needs: &[KnownInput],
    tools: &[KnownInput],
    checks: &[&dyn StepCheck],
) -> Key {
    let key = KeyBuilder::new("reuse while edited", STEP_FORMAT);
    finish(key, component, step, Some(base), needs, tools, checks, &Except::default())
}

/// What is left out of a key.
#[derive(Default)]
struct Except<'a> {
    variables: &'a [String],
    files: BTreeSet<&'a str>,
}

#[expect(clippy::too_many_arguments, reason = "one list of all that a step can see")]
fn finish(
    mut key: KeyBuilder,
    component: &Component,
    step: &Step,
    below: Option<&Key>,
    needs: &[KnownInput],
    tools: &[KnownInput],
    checks: &[&dyn StepCheck],
    except: &Except<'_>,
) -> Key {
    if let Some(below) = below {
        key.field("below", &below.0);
    }
    match &step.work {
        Work::Unpack(source) => {
            key.field("name", source.name.as_bytes());
            if let Some(folder) = &source.folder {
                key.field("folder", &folder.0);
            }
            for archive in &source.archives {
                key.field("file", archive.file.as_bytes());
                key.field("digest", &archive.digest.0);
                key.field("into", archive.into.as_bytes());
                if let Some(format) = &archive.format {
                    key.field("format", format.as_bytes());
                }
                match archive.strip {
                    Some(Strip::Folders(strip)) => key.field("strip", &strip.to_le_bytes()),
                    Some(Strip::Lone) => key.field("lone folder", &[]),
                    None => key.field("as it is", &[]),
                };
            }
        }
        Work::Edit(edit) => edit.key(&mut key),
        Work::Patch(patching) => {
            for source in &patching.debian {
                key.field("debian", source.as_bytes());
            }
            for FetchedPatches { source, pattern } in &patching.fetched {
                key.field("fetched from", source.as_bytes());
                key.field("pattern", pattern.as_bytes());
                // Their names may say for which component and version they are.
                key.field("component", component.recipe.as_bytes());
                key.field("component version", component.version.as_bytes());
            }
            key.field("source", patching.source.as_bytes());
            for patch in &patching.own {
                let file = component.files.iter().find(|file| file.path == patch.file);
                key.field("patch", patch.file.as_bytes());
                key.field("content", file.map(|file| &*file.content).unwrap_or_default());
                key.field("strip", &patch.strip.to_le_bytes());
                key.field("reverse", &[u8::from(patch.reverse)]);
            }
            for waiver in &patching.waivers {
                key.field("waive", waiver.pattern.as_bytes());
                key.field("what fits", &[u8::from(waiver.what_fits)]);
            }
        }
        Work::Script { text, folder, jobs, memory: _, silence: _, flat } => {
            key.field("script", text.as_bytes());
            key.field("folder", folder.as_bytes());
            let jobs = match jobs {
                Jobs::One => 0,
                Jobs::Jobserver => 1,
                Jobs::Share => 2,
            };
            key.field("jobs", &[jobs]);
            if *flat {
                key.field("flat", &[]);
            }
            key.field("environment", &component.environment.key.0);
            for (name, value) in component.variables_of(step) {
                if except.variables.contains(name) {
                    continue;
                }
                key.field("variable", name.as_bytes());
                key.field("value", value.as_bytes());
            }
            for (label, inputs) in [("need", needs), ("tool", tools)] {
                for input in inputs.iter().filter(|_| step.sees_inputs()) {
                    key.field(label, input.name.as_bytes());
                    key.field("output", input.output.as_bytes());
                    key.field("digest", &input.digest.0);
                }
            }
            for file in component.files_of(step) {
                if except.files.contains(file.path.as_str()) {
                    continue;
                }
                key.field("file", file.path.as_bytes());
                key.field("executable", &[u8::from(file.executable)]);
                key.field("content", &file.content);
            }
            for output in component.outputs.iter().filter(|_| step.sees_inputs()) {
                key.field("named output", output.name.as_bytes());
                for pattern in &output.patterns {
                    key.field("pattern", pattern.as_bytes());
                }
            }
        }
    }
    for check in &step.checks {
        key.field("check", check.name.as_bytes());
        let version = checks.iter().find(|known| known.name() == check.name);
        key.field("version", &version.map_or(0, |known| known.version()).to_le_bytes());
        for (name, value) in &check.arguments {
            key.field("argument", name.as_bytes());
            key.field("value", value.as_bytes());
        }
    }
    key.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use osier_store::{LayerStack, TreeNode};

    use super::*;
    use crate::edited::{Change as FileChange, SourceEdit};
    use crate::graph::{
        Archive, Check, ComponentId, Environment, FileInput, Finding, Output, OwnPatch, Patching,
        SourceTree, View, Waiver,
    };

    struct Nothing(u32);

    impl StepCheck for Nothing {
        fn name(&self) -> &'static str {
            "nothing"
        }

        fn version(&self) -> u32 {
            self.0
        }

        fn run(&self, _: &Check, _: &Component, _: &LayerStack) -> Vec<Finding> {
            Vec::new()
        }
    }

    /// All that a key is computed from.
    struct Inputs {
        component: Component,
        step: Step,
        below: Option<Key>,
        needs: Vec<KnownInput>,
        tools: Vec<KnownInput>,
        check: Nothing,
    }

    impl Inputs {
        fn new(work: Work) -> Self {
            let known = |name: &str| KnownInput {
                name: name.into(),
                output: "main".into(),
                digest: Digest([3; 32]),
            };
            let file = FileInput {
                path: "a.config".into(),
                content: (*b"x").into(),
                origin: "o".into(),
                executable: false,
            };
            let component = Component {
                name: "part".into(),
                recipe: "part".into(),
                version: "1".into(),
                target: "x86_64".into(),
                origin: "recipes/part.toml".into(),
                steps: Vec::new(),
                needs: Vec::new(),
                tools: Vec::new(),
                outputs: vec![Output {
                    name: "dev".into(),
                    patterns: vec!["usr/include/**".into()],
                }],
                environment: Arc::new(Environment {
                    key: Key([1; 32]),
                    request: Vec::new(),
                    packages: Vec::new(),
                }),
                variables: BTreeMap::from([("CFLAGS".to_owned(), "-O2".to_owned())]),
                files: vec![file],
            };
            let arguments = BTreeMap::from([("config".to_owned(), ".config".to_owned())]);
            let step = Step {
                component: ComponentId(0),
                name: "build".into(),
                below: None,
                view: if matches!(work, Work::Unpack(_)) { View::Nothing } else { View::All },
                reuse: None,
                work,
                checks: vec![Check { name: "nothing".into(), arguments }],
                origin: "recipes/part.toml:3".into(),
            };
            let (needs, tools) = (vec![known("zlib")], vec![known("flexer")]);
            Self { component, step, below: Some(Key([2; 32])), needs, tools, check: Nothing(1) }
        }

        fn script() -> Self {
            Self::new(Work::Script {
                text: "make".into(),
                folder: "/build/part".into(),
                jobs: Jobs::Jobserver,
                memory: None,
                silence: None,
                flat: false,
            })
        }

        fn unpack() -> Self {
            let archive = Archive {
                file: "a.tar.xz".into(),
                digest: Digest([4; 32]),
                size: 9,
                into: String::new(),
                format: None,
                strip: Some(Strip::Folders(1)),
            };
            Self::new(Work::Unpack(SourceTree {
                name: "part".into(),
                archives: vec![archive],
                folder: None,
            }))
        }

        fn key(&self) -> Key {
            let (component, step, below) = (&self.component, &self.step, self.below.as_ref());
            step_key(component, step, below, &self.needs, &self.tools, &[&self.check])
        }

        fn flat(&mut self) -> &mut bool {
            match &mut self.step.work {
                Work::Script { flat, .. } => flat,
                Work::Unpack(_) | Work::Patch(_) | Work::Edit(_) => panic!("not a script"),
            }
        }

        fn work(&mut self) -> (&mut String, &mut String, &mut Jobs, &mut Option<u64>) {
            match &mut self.step.work {
                Work::Script { text, folder, jobs, memory, .. } => (text, folder, jobs, memory),
                Work::Unpack(_) | Work::Patch(_) | Work::Edit(_) => panic!("not a script"),
            }
        }

        fn archive(&mut self) -> &mut Archive {
            match &mut self.step.work {
                Work::Unpack(source) => &mut source.archives[0],
                Work::Script { .. } | Work::Patch(_) | Work::Edit(_) => panic!("not an unpacking"),
            }
        }

        fn patch() -> Self {
            let own = OwnPatch { file: "a.patch".into(), strip: 1, reverse: false };
            let waiver = Waiver { pattern: "**".into(), what_fits: false, reason: "r".into() };
            let mut inputs = Self::new(Work::Patch(Patching {
                debian: vec!["part".into()],
                fetched: Vec::new(),
                own: vec![own],
                source: "part".into(),
                waivers: vec![waiver],
            }));
            inputs.component.files[0].path = "a.patch".into();
            inputs.step.view = View::Patches(vec!["a.patch".into()]);
            inputs.step.checks.clear();
            inputs
        }

        fn patching(&mut self) -> &mut Patching {
            match &mut self.step.work {
                Work::Patch(patching) => patching,
                Work::Script { .. } | Work::Unpack(_) | Work::Edit(_) => panic!("not a patching"),
            }
        }

        fn edit() -> Self {
            let file =
                TreeNode::File { mode: 0o644, content: Digest([5; 32]), size: 1, hard_link: None };
            let change = |path: &[u8], node| FileChange { path: path.to_vec(), node };
            let mut inputs = Self::new(Work::Edit(SourceEdit {
                name: "part".into(),
                changes: vec![change(b"a", Some(file)), change(b"b", None)],
            }));
            inputs.step.view = View::Nothing;
            inputs
        }

        fn change(&mut self, number: usize) -> &mut FileChange {
            match &mut self.step.work {
                Work::Edit(edit) => &mut edit.changes[number],
                Work::Script { .. } | Work::Unpack(_) | Work::Patch(_) => panic!("not an edit"),
            }
        }
    }

    type Change = (&'static str, fn(&mut Inputs));

    #[test]
    fn each_input_of_a_script_changes_its_key() {
        let changes: &[Change] = &[
            ("key of the step below", |inputs| inputs.below = Some(Key([9; 32]))),
            ("no step below", |inputs| inputs.below = None),
            ("script", |inputs| inputs.work().0.push('x')),
            ("folder", |inputs| inputs.work().1.push('x')),
            ("one job", |inputs| *inputs.work().2 = Jobs::One),
            ("whether it is flat", |inputs| *inputs.flat() = true),
            ("a share of the jobs", |inputs| *inputs.work().2 = Jobs::Share),
            ("variable's value", |inputs| {
                drop(inputs.component.variables.insert("CFLAGS".into(), "-O1".into()));
            }),
            ("new variable", |inputs| {
                drop(inputs.component.variables.insert("A".into(), String::new()));
            }),
            ("build environment", |inputs| {
                let environment =
                    Environment { key: Key([8; 32]), request: Vec::new(), packages: Vec::new() };
                inputs.component.environment = Arc::new(environment);
            }),
            ("output digest of a need", |inputs| inputs.needs[0].digest = Digest([9; 32])),
            ("name of a need", |inputs| inputs.needs[0].name.push('x')),
            ("output of a need", |inputs| inputs.needs[0].output = "dev".into()),
            ("no need", |inputs| inputs.needs.clear()),
            ("output digest of a tool", |inputs| inputs.tools[0].digest = Digest([9; 32])),
            ("a need as a tool", |inputs| inputs.tools.append(&mut inputs.needs)),
            ("content of a file", |inputs| inputs.component.files[0].content = (*b"y").into()),
            ("path of a file", |inputs| inputs.component.files[0].path.push('x')),
            ("executable bit of a file", |inputs| inputs.component.files[0].executable = true),
            ("name of an output", |inputs| inputs.component.outputs[0].name.push('x')),
            ("pattern of an output", |inputs| {
                inputs.component.outputs[0].patterns.push("x".into());
            }),
            ("argument of a check", |inputs| {
                drop(inputs.step.checks[0].arguments.insert("config".into(), "x".into()));
            }),
            ("version of a check", |inputs| inputs.check.0 = 2),
            ("no check", |inputs| inputs.step.checks.clear()),
        ];
        let base = Inputs::script().key();
        for (what, change) in changes {
            let mut inputs = Inputs::script();
            change(&mut inputs);
            assert_ne!(inputs.key(), base, "{what}");
        }
    }

    #[test]
    fn each_input_of_an_unpacking_changes_its_key() {
        let changes: &[Change] = &[
            ("file name", |inputs| inputs.archive().file = "a.tar.gz".into()),
            ("bytes", |inputs| inputs.archive().digest = Digest([9; 32])),
            ("place", |inputs| inputs.archive().into = "sub".into()),
            ("leading folders", |inputs| inputs.archive().strip = Some(Strip::Folders(0))),
            ("the lone folder", |inputs| inputs.archive().strip = Some(Strip::Lone)),
            ("how it is packed", |inputs| inputs.archive().format = Some("tar.gz".into())),
            ("no unpacking", |inputs| inputs.archive().strip = None),
        ];
        let base = Inputs::unpack().key();
        for (what, change) in changes {
            let mut inputs = Inputs::unpack();
            change(&mut inputs);
            assert_ne!(inputs.key(), base, "{what}");
        }
    }

    #[test]
    fn each_input_of_a_patch_step_changes_its_key() {
        let changes: &[Change] = &[
            ("key of the step below", |inputs| inputs.below = Some(Key([9; 32]))),
            ("content of a patch", |inputs| inputs.component.files[0].content = (*b"y").into()),
            ("name of a patch", |inputs| {
                inputs.component.files[0].path = "b.patch".into();
                inputs.patching().own[0].file = "b.patch".into();
            }),
            ("leading folders", |inputs| inputs.patching().own[0].strip = 0),
            ("direction", |inputs| inputs.patching().own[0].reverse = true),
            ("one patch more", |inputs| {
                let again = inputs.patching().own[0].clone();
                inputs.patching().own.push(again);
            }),
            ("source", |inputs| inputs.patching().source = "other".into()),
            ("fetched patches", |inputs| {
                let (source, pattern) = ("fixes".into(), "*".into());
                inputs.patching().fetched.push(FetchedPatches { source, pattern });
            }),
            ("Debian's patches", |inputs| inputs.patching().debian.clear()),
            ("pattern of a waiver", |inputs| inputs.patching().waivers[0].pattern.push('x')),
            ("what a waiver lets in", |inputs| inputs.patching().waivers[0].what_fits = true),
            ("no waiver", |inputs| inputs.patching().waivers.clear()),
        ];
        let base = Inputs::patch().key();
        assert_ne!(base, Inputs::script().key());
        for (what, change) in changes {
            let mut inputs = Inputs::patch();
            change(&mut inputs);
            assert_ne!(inputs.key(), base, "{what}");
        }
        // What it does not see: how its component is built, with what, and why something is waived.
        let unseen: &[Change] = &[
            ("variables", |inputs| inputs.component.variables.clear()),
            ("version", |inputs| inputs.component.version = "2".into()),
            ("needs and tools", |inputs| {
                inputs.needs.clear();
                inputs.tools.clear();
            }),
            ("build environment", |inputs| {
                let environment =
                    Environment { key: Key([8; 32]), request: Vec::new(), packages: Vec::new() };
                inputs.component.environment = Arc::new(environment);
            }),
            ("another file", |inputs| {
                let mut file = inputs.component.files[0].clone();
                file.path = "a.config".into();
                inputs.component.files.push(file);
            }),
            ("place", |inputs| inputs.step.origin = "elsewhere".into()),
            ("reason", |inputs| inputs.patching().waivers[0].reason = "another".into()),
        ];
        for (what, change) in unseen {
            let mut inputs = Inputs::patch();
            change(&mut inputs);
            assert_eq!(inputs.key(), base, "{what}");
        }
        // Pinned, as that of a script below.
        assert_eq!(
            base.to_string(),
            "9f0eb6c950cdf5ff59f111b5cfaa0c51f9d17573a9aa045ef7122b891718fbfc"
        );
    }

    #[test]
    fn each_input_of_an_edit_changes_its_key() {
        let file = |mode, byte| {
            Some(TreeNode::File { mode, content: Digest([byte; 32]), size: 1, hard_link: None })
        };
        let link = || Some(TreeNode::Symlink { target: b"b".to_vec() });
        let base = Inputs::edit().key();
        let changed = |change: &dyn Fn(&mut Inputs)| {
            let mut inputs = Inputs::edit();
            change(&mut inputs);
            inputs.key()
        };
        let keys = [
            base,
            Inputs::script().key(),
            Inputs::unpack().key(),
            changed(&|inputs| inputs.below = Some(Key([9; 32]))),
            changed(&|inputs| inputs.change(0).path = b"c".to_vec()),
            changed(&|inputs| inputs.change(0).node = file(0o644, 6)),
            changed(&|inputs| inputs.change(0).node = file(0o755, 5)),
            changed(&|inputs| inputs.change(0).node = link()),
            changed(&|inputs| inputs.change(0).node = None),
            changed(&|inputs| inputs.change(1).node = Some(TreeNode::Folder { mode: 0o755 })),
            changed(&|inputs| match &mut inputs.step.work {
                Work::Edit(edit) => drop(edit.changes.pop()),
                _ => panic!("not an edit"),
            }),
            changed(&|inputs| match &mut inputs.step.work {
                Work::Edit(edit) => edit.name = "other".into(),
                _ => panic!("not an edit"),
            }),
        ];
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        // The person's folder is no part of it.
        assert_eq!(changed(&|inputs| inputs.step.origin = "/elsewhere".into()), base);
    }

    #[test]
    fn what_goes_on_while_edited_agrees_in_all_but_the_source() {
        let key = |inputs: &Inputs, base| {
            let (component, step) = (&inputs.component, &inputs.step);
            edits_key(component, step, base, &inputs.needs, &inputs.tools, &[&inputs.check])
        };
        let base = key(&Inputs::script(), &Key([2; 32]));
        assert_ne!(base, key(&Inputs::script(), &Key([3; 32])), "what the edit lies on");
        let mut inputs = Inputs::script();
        inputs.below = Some(Key([9; 32]));
        assert_eq!(key(&inputs, &Key([2; 32])), base, "the edit itself");
        let changes: [fn(&mut Inputs); 4] = [
            |inputs| inputs.work().0.push('x'),
            |inputs| drop(inputs.component.variables.insert("CFLAGS".into(), "-O1".into())),
            |inputs| inputs.needs[0].digest = Digest([9; 32]),
            |inputs| inputs.component.files[0].content = (*b"y").into(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut inputs = Inputs::script();
            change(&mut inputs);
            assert_ne!(key(&inputs, &Key([2; 32])), base, "change {number}");
        }
    }

    #[test]
    fn what_a_step_cannot_see_is_not_in_its_key() {
        let changes: &[Change] = &[
            ("the place of the recipe", |inputs| inputs.component.origin = "elsewhere".into()),
            ("the place of the step", |inputs| inputs.step.origin = "elsewhere".into()),
            ("the place of a file", |inputs| inputs.component.files[0].origin = "elsewhere".into()),
            ("the name of the step", |inputs| inputs.step.name = "other".into()),
            ("the memory that it needs", |inputs| *inputs.work().3 = Some(1)),
            ("how long it may be silent", |inputs| match &mut inputs.step.work {
                Work::Script { silence, .. } => *silence = Some(1),
                _ => panic!("not a script"),
            }),
            ("what it may go on from", |inputs| {
                inputs.step.reuse = Some(Reuse {
                    files: vec!["/build/part/.config".into()],
                    variables: vec!["CFLAGS".into()],
                    edits: true,
                });
            }),
        ];
        let base = Inputs::script().key();
        for (what, change) in changes {
            let mut inputs = Inputs::script();
            change(&mut inputs);
            assert_eq!(inputs.key(), base, "{what}");
        }
        // An equal source is unpacked once for all components that use it.
        let mut other = Inputs::unpack();
        other.component.name = "another".into();
        drop(other.component.variables.insert("CFLAGS".into(), "-O1".into()));
        assert_eq!(other.key(), Inputs::unpack().key());
        // Pinned: a change of the key's format throws every cache away, so it must show here.
        assert_eq!(
            base.to_string(),
            "74a1ff78608913fce31b29ef636c2e16e2c97a936e830cc5c856362621eda4cd"
        );
    }
}
