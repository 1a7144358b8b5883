//! What a step's key covers.
//!
//! | part | unpack | script |
//! | --- | --- | --- |
//! | version of the step format | yes | yes |
//! | key of the step below | yes | yes |
//! | names, digests and places of the source's archives | yes | by the step below |
//! | script, working folder, how it gets its jobs | | yes |
//! | variables of the component: name, version, target, `env`, the kind's variables | | yes; in a patch step those of [`IDENTITY`](crate::IDENTITY) |
//! | key of the build environment | | yes |
//! | output digest and name of each need and tool | | yes, but not in a patch step |
//! | content, path and executable bit of each file beside the recipe | | yes; in a patch step the patches |
//! | name, version and arguments of each check | | yes |
//!
//! It never covers a path of this machine, a user, a host name, the clock or the number of jobs. The
//! names of the component and the step are in it only where the step can see them.

use std::collections::BTreeSet;

use osier_recipe::Jobs;
use osier_store::{Digest, Key, KeyBuilder};

use crate::graph::{Component, Reuse, Step, StepCheck, Work};

/// The version of what a step sees besides the parts above: mounts, fixed variables, shell options,
/// unpacking rules. It is raised whenever one of those changes.
pub(crate) const STEP_FORMAT: u32 = 2;

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
    let kind = match step.work {
        Work::Unpack(_) => "unpack",
        Work::Script { .. } => "script",
    };
    let key = KeyBuilder::new(kind, STEP_FORMAT);
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
                key.field("strip", &archive.strip.to_le_bytes());
            }
        }
        Work::Script { text, folder, jobs, memory: _ } => {
            key.field("script", text.as_bytes());
            key.field("folder", folder.as_bytes());
            let jobs = match jobs {
                Jobs::One => 0,
                Jobs::Jobserver => 1,
                Jobs::Share => 2,
            };
            key.field("jobs", &[jobs]);
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

    use osier_store::LayerStack;

    use super::*;
    use crate::graph::{
        Archive, Check, ComponentId, Environment, FileInput, Finding, Output, SourceTree, View,
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
            })
        }

        fn unpack() -> Self {
            let archive = Archive {
                file: "a.tar.xz".into(),
                digest: Digest([4; 32]),
                size: 9,
                into: String::new(),
                strip: 1,
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

        fn work(&mut self) -> (&mut String, &mut String, &mut Jobs, &mut Option<u64>) {
            match &mut self.step.work {
                Work::Script { text, folder, jobs, memory } => (text, folder, jobs, memory),
                Work::Unpack(_) => panic!("not a script"),
            }
        }

        fn archive(&mut self) -> &mut Archive {
            match &mut self.step.work {
                Work::Unpack(source) => &mut source.archives[0],
                Work::Script { .. } => panic!("not an unpacking"),
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
            ("leading folders", |inputs| inputs.archive().strip = 0),
        ];
        let base = Inputs::unpack().key();
        for (what, change) in changes {
            let mut inputs = Inputs::unpack();
            change(&mut inputs);
            assert_ne!(inputs.key(), base, "{what}");
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
        ];
        let base = Inputs::script().key();
        for (what, change) in changes {
            let mut inputs = Inputs::script();
            change(&mut inputs);
            assert_eq!(inputs.key(), base, "{what}");
        }
        // A patch step sees the patches, and not what its component is configured by.
        let patch = || {
            let mut inputs = Inputs::script();
            inputs.step.view = View::Patches(vec!["a.patch".into()]);
            inputs
        };
        let base_of_patch = patch().key();
        assert_ne!(base_of_patch, base);
        for (_, change) in changes {
            let mut inputs = patch();
            change(&mut inputs);
            assert_eq!(inputs.key(), base_of_patch);
        }
        let mut inputs = patch();
        inputs.component.files[0].content = (*b"y").into();
        drop(inputs.component.variables.insert("fragments".into(), "a.config".into()));
        inputs.needs.clear();
        assert_eq!(inputs.key(), base_of_patch);
        inputs.component.files[0].path = "a.patch".into();
        let with_patch = inputs.key();
        assert_ne!(with_patch, base_of_patch);
        inputs.component.files[0].content = (*b"z").into();
        assert_ne!(inputs.key(), with_patch);
        // An equal source is unpacked once for all components that use it.
        let mut other = Inputs::unpack();
        other.component.name = "another".into();
        drop(other.component.variables.insert("CFLAGS".into(), "-O1".into()));
        assert_eq!(other.key(), Inputs::unpack().key());
        // Pinned: a change of the key's format throws every cache away, so it must show here.
        assert_eq!(
            base.to_string(),
            "9506e14dfdafa085f92d9c57a7793e53ae262009d49482337bffbdce21fc9938"
        );
    }
}
