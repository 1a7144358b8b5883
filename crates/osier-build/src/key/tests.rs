use std::collections::BTreeMap;
use std::sync::Arc;

use std::collections::BTreeSet;

use osier_recipe::Jobs;
use osier_store::{LayerStack, Store, TreeNode};

use super::*;
use crate::graph::{
    Archive, Check, Component, ComponentId, Environment, FetchedPatches, FileInput, Graph, Output,
    OwnPatch, Patching, SourceTree, Step, StepCheck, StepId, Strip, View, Waiver, Work,
};
use crate::graph::{Change as FileChange, SourceEdit};
use crate::key::Basis;
use crate::key::Places;
use crate::key::Reason;

struct Nothing(u32);

impl StepCheck for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }

    fn version(&self) -> u32 {
        self.0
    }

    fn run(
        &self,
        _: &Check,
        _: &Component,
        _: &LayerStack,
    ) -> Result<Vec<osier_check::Finding>, osier_check::CheckError> {
        Ok(Vec::new())
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
            outputs: vec![Output { name: "dev".into(), patterns: vec!["usr/include/**".into()] }],
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

    /// Hands all of it out, lying on this key.
    fn on<T>(&self, below: Option<&Key>, with: impl FnOnce(&StepInputs<'_>) -> T) -> T {
        let Self { component, step, needs, tools, check, .. } = self;
        with(&StepInputs { component, step, below, needs, tools, checks: &[check] })
    }

    fn key(&self) -> Key {
        self.on(self.below.as_ref(), step_key)
    }

    fn text_of(&self) -> String {
        self.key().to_string()
    }

    fn flat(&mut self) -> &mut bool {
        match &mut self.step.work {
            Work::Script { flat, .. } => flat,
            Work::Unpack(_) | Work::Patch(_) | Work::Edit(_) | Work::Make(_) => {
                panic!("not a script")
            }
        }
    }

    fn work(&mut self) -> (&mut String, &mut String, &mut Jobs, &mut Option<u64>) {
        match &mut self.step.work {
            Work::Script { text, folder, jobs, memory, .. } => (text, folder, jobs, memory),
            Work::Unpack(_) | Work::Patch(_) | Work::Edit(_) | Work::Make(_) => {
                panic!("not a script")
            }
        }
    }

    fn source(&mut self) -> &mut SourceTree {
        match &mut self.step.work {
            Work::Unpack(source) => source,
            Work::Script { .. } | Work::Patch(_) | Work::Edit(_) | Work::Make(_) => {
                panic!("not an unpacking")
            }
        }
    }

    fn archive(&mut self) -> &mut Archive {
        &mut self.source().archives[0]
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
            Work::Script { .. } | Work::Unpack(_) | Work::Edit(_) | Work::Make(_) => {
                panic!("not a patching")
            }
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
            Work::Script { .. } | Work::Unpack(_) | Work::Patch(_) | Work::Make(_) => {
                panic!("not an edit")
            }
        }
    }
}

type Change = (&'static str, fn(&mut Inputs));

/// What is told of two builds of a component.
struct Telling {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Telling {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), "boot").unwrap();
        Self { _folder: folder, store }
    }

    fn basis<T>(&self, inputs: &Inputs, with: impl FnOnce(&Basis<'_>) -> T) -> T {
        // The step below is one of another component.
        let steps = vec![StepId(1)];
        let own = Component { steps, ..inputs.component.clone() };
        let other = Component { name: "other".into(), ..own.clone() };
        let below = inputs.below.map(|_| StepId(0));
        let step = Step { component: ComponentId(1), below, ..inputs.step.clone() };
        let graph = Graph {
            components: vec![other, own],
            steps: vec![Step { component: ComponentId(0), ..step.clone() }, step],
            ..Graph::default()
        };
        let known = |inputs: &[KnownInput]| {
            let copy = |known: &KnownInput| {
                let (name, output) = (known.name.clone(), known.output.clone());
                KnownInput { name, output, digest: known.digest }
            };
            inputs.iter().map(copy).collect()
        };
        with(&Basis {
            graph: &graph,
            id: ComponentId(1),
            needs: known(&inputs.needs),
            tools: known(&inputs.tools),
            keys: &[inputs.below, None],
            checks: &[&inputs.check],
            store: &self.store,
        })
    }

    fn record(&self, inputs: &Inputs) {
        let _ = std::fs::remove_dir_all(self.store.root().join("ingredients"));
        self.basis(inputs, |basis| {
            let recorded = basis.record();
            recorded.unwrap();
        });
    }

    fn difference(&self, before: &Inputs, now: &Inputs) -> Reason {
        self.record(before);
        self.basis(now, |basis| basis.difference(&Places::default()))
    }
}

/// Each of these changes a key, both ways, and `osier why` names a part of the component for it.
fn all_change_the_key_and_are_told(base: fn() -> Inputs, changes: &[Change]) {
    let telling = Telling::new();
    let before = base();
    for (what, change) in changes {
        let mut now = base();
        change(&mut now);
        assert_ne!(now.key(), before.key(), "{what}");
        for reason in [telling.difference(&before, &now), telling.difference(&now, &before)] {
            let names_a_part = matches!(
                reason,
                Reason::PartChanged { .. } | Reason::PartAdded { .. } | Reason::PartGone { .. }
            );
            assert!(names_a_part, "{what}: {reason}");
        }
    }
    let same = telling.difference(&before, &base());
    assert!(matches!(same, Reason::ResultGone { .. }), "{same}");
}

#[test]
fn what_is_told_names_the_part_itself() {
    let telling = Telling::new();
    let told = |base: fn() -> Inputs, change: fn(&mut Inputs)| {
        let mut now = base();
        change(&mut now);
        telling.difference(&base(), &now).to_string()
    };
    for (base, change, expected) in [
        (
            Inputs::unpack as fn() -> Inputs,
            (|inputs| inputs.archive().strip = Some(Strip::Folders(0))) as fn(&mut Inputs),
            "how the source a.tar.xz is unpacked changed, from `strip 1` to `strip 0` (recipes/part.toml:3)",
        ),
        (
            Inputs::unpack,
            |inputs| inputs.archive().into = "sub".into(),
            "how the source a.tar.xz is unpacked changed, from `strip 1` to `into sub strip 1` (recipes/part.toml:3)",
        ),
        (
            Inputs::script,
            |inputs| *inputs.flat() = true,
            "whether build is flat changed, from `` to `flat` (recipes/part.toml:3)",
        ),
        (
            Inputs::script,
            |inputs| inputs.below = Some(Key([9; 32])),
            "the step of another component that build starts from changed (recipes/part.toml)",
        ),
        (
            Inputs::script,
            |inputs| inputs.component.files[0].executable = true,
            "whether the file a.config can be run changed, from `no` to `yes` (o)",
        ),
        (
            Inputs::script,
            |inputs| inputs.component.files[0].content = (*b"y").into(),
            "the file a.config changed (o:1)",
        ),
        (
            Inputs::patch,
            |inputs| inputs.patching().own[0].reverse = true,
            "the list of patches changed, from `debian part source part a.patch strip 1` to \
             `debian part source part a.patch strip 1 reverse` (recipes/part.toml:3)",
        ),
        (
            Inputs::edit,
            |inputs| inputs.change(0).node = None,
            "the edit of a changed, from `644` to `gone` (recipes/part.toml:3/a)",
        ),
    ] {
        assert_eq!(told(base, change), format!("part is built again because {expected}"));
    }
}

#[test]
fn a_new_version_of_osier_is_told_as_the_cause_where_it_is_one() {
    let telling = Telling::new();
    let inputs = Inputs::script();
    telling.record(&inputs);
    let path = telling.store.root().join("ingredients/part-x86_64");
    let recorded = std::fs::read(&path).unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&recorded).unwrap();
    let parts = record.as_array_mut().unwrap();
    let version = parts.iter_mut().find(|part| part["part"]["kind"] == "format").unwrap();
    version["mark"] = 1.into();
    version["value"] = "version 3".into();
    std::fs::write(&path, record.to_string()).unwrap();
    let why = || telling.basis(&inputs, |basis| basis.difference(&Places::default()));
    assert_eq!(
        why().to_string(),
        "part is built again because the way that osier runs steps changed, from `version 3` to `version 4`"
    );
    let json = serde_json::to_value(why()).unwrap();
    let expected = serde_json::json!({"kind": "format", "work": "script"});
    assert!(json["reason"] == "part_changed" && json["part"] == expected, "{json}");
    // What cannot be read is not taken for what was never there.
    std::fs::write(&path, r#"[["the script of build", "x", "y"]]"#).unwrap();
    assert!(matches!(why(), Reason::RecordUnreadable { .. }));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(why(), Reason::NeverBuilt { .. }));
}

/// A change of a key's format throws every cache away, so it must show here.
#[test]
fn keys_stay_what_they_were() {
    let mut unpack = Inputs::unpack();
    let mut lone = unpack.archive().clone();
    lone.strip = Some(Strip::Lone);
    lone.format = Some("tar.gz".into());
    let plain = Archive { strip: None, into: "sub".into(), ..lone.clone() };
    match &mut unpack.step.work {
        Work::Unpack(source) => {
            source.archives.extend([lone, plain]);
            source.folder = Some(Digest([6; 32]));
        }
        _ => panic!("not an unpacking"),
    }
    let mut edit = Inputs::edit();
    let links =
        [Some(TreeNode::Symlink { target: b"b".to_vec() }), Some(TreeNode::Folder { mode: 0o755 })];
    match &mut edit.step.work {
        Work::Edit(edit) => {
            let change = |node| FileChange { path: b"c".to_vec(), node };
            edit.changes.extend(links.map(change));
        }
        _ => panic!("not an edit"),
    }
    let mut patch = Inputs::patch();
    let fetched = FetchedPatches { source: "fixes".into(), pattern: "*".into() };
    patch.patching().fetched.push(fetched);
    patch.patching().own[0].reverse = true;
    patch.patching().waivers[0].what_fits = true;
    let mut script = Inputs::script();
    *script.flat() = true;
    script.component.outputs.clear();
    let text = Inputs::text_of;
    let keys = [&unpack, &edit, &patch, &script].map(text);
    assert_eq!(
        keys,
        [
            "031b6e0fe1de02b748b6169e52bd692ca6ab9ff49d399b7b2fe1530c85dd874a",
            "d5d2c59b6d3bcd59a49378f0de53f446bcde9334f81a00d6b02fa55ad4b8368c",
            "0209d8ebd7b5c9268245e9d0b8cc9a5d1c661b2642e2a0ee4b562d567d78e227",
            "8f0000ce65e683aea7e55a2fa1d6f1d451362413fcf9d737149a779d46ede9b8",
        ]
    );
    let reuse = Reuse {
        files: vec!["/build/part/.config".into()],
        variables: vec!["CFLAGS".into(), "CONFIGS".into()],
        edits: true,
    };
    script.component.variables.insert("CONFIGS".into(), "a.config b.config".into());
    let below = Key([2; 32]);
    let reuse = script.on(Some(&below), |inputs| reuse_key(inputs, &reuse));
    assert_eq!(
        reuse.to_string(),
        "645b9f1e15832b0c1794e5119e937e5c4219c16de9639c59494e16881025dccf"
    );
    let edits = script.on(Some(&below), edits_key);
    assert_eq!(
        edits.to_string(),
        "bcc204bb37dcd0682f8ee34fc8d72206e9b46107c27be3eed6a00b20108b4464"
    );
    // What edits in progress were begun on.
    let mut graph = crate::Graph::default();
    let mut component = patch.component.clone();
    component.steps = vec![crate::StepId(0), crate::StepId(1), crate::StepId(2)];
    graph.components.push(component);
    graph.steps.extend([unpack.step.clone(), patch.step.clone(), script.step.clone()]);
    assert_eq!(
        graph.source_identity(ComponentId(0)).to_string(),
        "6fd3d668bb1df49d917fcdbfe259f15d2738b2c30f6c2e8a09a32095290f2a2b"
    );
}

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
        ("argument of a check", |inputs| {
            drop(inputs.step.checks[0].arguments.insert("config".into(), "x".into()));
        }),
        ("version of a check", |inputs| inputs.check.0 = 2),
        ("no check", |inputs| inputs.step.checks.clear()),
    ];
    all_change_the_key_and_are_told(Inputs::script, changes);
}

#[test]
fn how_outputs_are_split_is_in_their_key_and_in_no_steps() {
    let key = |inputs: &Inputs| outputs_key(&inputs.component, &inputs.key());
    let changes: &[Change] = &[
        ("name of an output", |inputs| inputs.component.outputs[0].name.push('x')),
        ("pattern of an output", |inputs| inputs.component.outputs[0].patterns.push("x".into())),
        ("another pattern", |inputs| inputs.component.outputs[0].patterns[0].push('x')),
        ("one output more", |inputs| {
            inputs.component.outputs.push(Output { name: "doc".into(), patterns: Vec::new() });
        }),
        ("no output", |inputs| inputs.component.outputs.clear()),
    ];
    let telling = Telling::new();
    let base = Inputs::script();
    for (what, change) in changes {
        let mut inputs = Inputs::script();
        change(&mut inputs);
        assert_ne!(key(&inputs), key(&base), "{what}");
        assert_eq!(inputs.key(), base.key(), "{what}");
        let reason = telling.difference(&base, &inputs).to_string();
        assert!(reason.contains("the named output d"), "{what}: {reason}");
    }
    let mut other = Inputs::script();
    other.below = None;
    assert_ne!(key(&other), key(&base), "the last step");
    // Where nothing is split the outputs have the key of the last step.
    other.component.outputs.clear();
    assert_eq!(key(&other), other.key());
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
        ("what is packed in it besides", |inputs| {
            inputs.archive().strip = None;
            inputs.archive().format = Some("tar.gz".into());
        }),
        ("name of the source", |inputs| inputs.source().name.push('x')),
        ("a folder", |inputs| inputs.source().folder = Some(Digest([6; 32]))),
        ("one more of the same name", |inputs| {
            let again = inputs.archive().clone();
            inputs.source().archives.push(again);
        }),
        ("no unpacking", |inputs| inputs.archive().strip = None),
    ];
    all_change_the_key_and_are_told(Inputs::unpack, changes);
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
    all_change_the_key_and_are_told(Inputs::patch, changes);
    let base = Inputs::patch().key();
    assert_ne!(base, Inputs::script().key());
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
    let changes: &[Change] = &[
        ("below", |inputs| inputs.below = Some(Key([9; 32]))),
        ("path", |inputs| inputs.change(0).path = b"c".to_vec()),
        ("a path that is not text", |inputs| inputs.change(0).path = b"c\xff".to_vec()),
        ("link", |inputs| {
            inputs.change(0).node = Some(TreeNode::Symlink { target: b"b\xff".to_vec() });
        }),
        ("gone", |inputs| inputs.change(0).node = None),
        ("folder", |inputs| inputs.change(1).node = Some(TreeNode::Folder { mode: 0o755 })),
    ];
    all_change_the_key_and_are_told(Inputs::edit, changes);
    // The person's folder is no part of it.
    assert_eq!(changed(&|inputs| inputs.step.origin = "/elsewhere".into()), base);
}

#[test]
fn what_goes_on_while_edited_agrees_in_all_but_the_source() {
    let key = |inputs: &Inputs, base| inputs.on(Some(base), edits_key);
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
        "1cf6e39d96334610991a1d0272bfb537734b1566118bcd31b7af807440c6bebf"
    );
}
