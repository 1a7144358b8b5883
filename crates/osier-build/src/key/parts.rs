//! The one walk over all that a step's key covers.
//!
//! A receiver ([`Parts`]) makes of it what it is for: the key hashes every field, `osier why` notes them for people, the
//! identity of an edited source takes those that say what it is made of. What the walk hands out is in all of them.

use std::collections::BTreeSet;
use std::fmt;

use osier_recipe::Jobs;
use osier_store::{Digest, Key, KeyBuilder, TreeNode};
use serde::{Deserialize, Serialize};

use crate::graph::{
    Archive, Check, Component, FetchedPatches, Output, Patching, SourceTree, Step, StepCheck,
    Strip, Work,
};
use crate::graph::{Change, SourceEdit};
use crate::key::{KnownInput, PATCH_FORMAT, STEP_FORMAT, UNPACK_FORMAT};
use crate::make::{FieldValue, Make};

/// One thing that a component is built from, as a person knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are what their names say")]
pub enum Part {
    /// The step of another component that one starts from.
    Below { step: String },
    /// The folder of a source, and what is in it where it lies beside the recipe.
    SourceFolder { name: String },
    /// An archive of a source.
    Source { file: String },
    /// How and where it is unpacked.
    Unpacking { file: String },
    /// A file of the source that a person has changed.
    Edit { path: String },
    /// The source whose files those are.
    EditedSource { name: String },
    /// The script of a step.
    Script { step: String },
    /// The working folder of a step.
    Folder { step: String },
    /// How a step gets its jobs.
    Jobs { step: String },
    /// Whether a step copies what the steps below it left.
    Flat { step: String },
    /// A check after a step.
    Check { name: String, step: String },
    /// The content of a file beside the recipe.
    File { path: String },
    /// Whether it can be run.
    Executable { path: String },
    /// The patches in their order, and on which source they are put.
    Patches,
    /// What of the patches may fail to fit.
    Waivers,
    /// A variable of the steps.
    Variable { name: String },
    /// The output of something it links with.
    Need { component: String, output: String },
    /// The output of something that runs in its build.
    Tool { component: String, output: String },
    /// A Debian package that its build environment is asked to have.
    Package { name: String },
    /// The versions of all packages of its build environment.
    Pins,
    /// A named part of what it installs.
    Output { name: String },
    /// Something that a part of a product is made of.
    Made { name: String },
    /// The order of what a part of a product is made of.
    Order,
    /// The version of how osier itself does this kind of work.
    Format { work: String },
}

impl Part {
    /// In which order a person looks for what has changed; what comes first explains what comes later.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Below { .. } => 0,
            Self::SourceFolder { .. }
            | Self::Source { .. }
            | Self::Unpacking { .. }
            | Self::Edit { .. }
            | Self::Script { .. }
            | Self::Folder { .. }
            | Self::Jobs { .. }
            | Self::Flat { .. }
            | Self::Made { .. }
            | Self::Check { .. } => 1,
            Self::File { .. } => 2,
            Self::Executable { .. } | Self::EditedSource { .. } => 3,
            // A new patch is a file first.
            Self::Patches | Self::Waivers => 4,
            Self::Variable { .. } => 5,
            Self::Need { .. } | Self::Tool { .. } => 6,
            Self::Package { .. } => 7,
            Self::Pins => 8,
            Self::Output { .. } => 9,
            Self::Format { .. } => 10,
            // What is new or gone changes it as well.
            Self::Order => 11,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below { step } => {
                write!(f, "the step of another component that {step} starts from")
            }
            Self::SourceFolder { name } => write!(f, "the source folder {name}"),
            Self::Source { file } => write!(f, "the source {file}"),
            Self::Unpacking { file } => write!(f, "how the source {file} is unpacked"),
            Self::Edit { path } => write!(f, "the edit of {path}"),
            Self::EditedSource { name } => write!(f, "the edited source {name}"),
            Self::Script { step } => write!(f, "the script of {step}"),
            Self::Folder { step } => write!(f, "the working folder of {step}"),
            Self::Jobs { step } => write!(f, "how {step} gets its jobs"),
            Self::Flat { step } => write!(f, "whether {step} is flat"),
            Self::Check { name, step } => write!(f, "the check {name} of {step}"),
            Self::File { path } => write!(f, "the file {path}"),
            Self::Executable { path } => write!(f, "whether the file {path} can be run"),
            Self::Patches => f.write_str("the list of patches"),
            Self::Waivers => f.write_str("the waived patches"),
            Self::Variable { name } => write!(f, "the variable {name}"),
            Self::Need { component, output } => {
                write!(f, "the output of its need {component}:{output}")
            }
            Self::Tool { component, output } => {
                write!(f, "the output of its tool {component}:{output}")
            }
            Self::Package { name } => {
                write!(f, "the Debian package {name} of the build environment")
            }
            Self::Pins => f.write_str("the pins of the build environment"),
            Self::Output { name } => write!(f, "the named output {name}"),
            Self::Made { name } => f.write_str(name),
            Self::Order => f.write_str("the order of its parts"),
            Self::Format { work } => match work.as_str() {
                "unpack" => f.write_str("the way that osier unpacks archives"),
                "patch" => f.write_str("the way that osier applies patches"),
                "edit" => f.write_str("the way that osier lays out edited files"),
                _ => f.write_str("the way that osier runs steps"),
            },
        }
    }
}

/// The value of one field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    /// In the name of its part already.
    Name(&'a [u8]),
    /// Shown as it is.
    Text(&'a [u8]),
    /// Shown behind the label.
    Labelled(&'a [u8]),
    /// A text in which a line can be named.
    Content(&'a [u8]),
    /// The digest of such a text that is in the store already.
    Stored(&'a Digest),
    /// The digest of a stored tree in which a path can be named.
    Tree(&'a Digest),
    /// A digest or key.
    Hash(&'a [u8; 32]),
    /// A number.
    Number(u32),
    /// The mode of a file.
    Mode(u32),
    /// One of a few, by number, and its word.
    Choice(u8, &'static str),
    /// What its label alone says, and the word for it.
    Word(&'static str),
}

impl Value<'_> {
    /// Adds the field to a key.
    pub(crate) fn hash(self, label: &str, key: &mut KeyBuilder) {
        match self {
            Self::Name(bytes)
            | Self::Text(bytes)
            | Self::Labelled(bytes)
            | Self::Content(bytes) => {
                key.field(label, bytes);
            }
            Self::Stored(digest) | Self::Tree(digest) => drop(key.field(label, &digest.0)),
            Self::Hash(bytes) => drop(key.field(label, bytes)),
            Self::Number(number) | Self::Mode(number) => {
                key.field(label, &number.to_le_bytes());
            }
            Self::Choice(number, _) => drop(key.field(label, &[number])),
            Self::Word(_) => drop(key.field(label, &[])),
        }
    }
}

/// Takes in what a step's key covers, field by field.
pub(crate) trait Parts {
    /// The fields that follow belong to this.
    fn part(&mut self, part: impl FnOnce() -> Part);
    /// Where the part is written, where that is known of it alone.
    fn place(&mut self, _: &str) {}
    /// One field.
    fn field(&mut self, label: &'static str, value: Value<'_>);
}

impl Parts for KeyBuilder {
    fn part(&mut self, _: impl FnOnce() -> Part) {}

    fn field(&mut self, label: &'static str, value: Value<'_>) {
        value.hash(label, self);
    }
}

/// All that the key of a step is computed from.
#[derive(Clone, Copy)]
pub(crate) struct StepInputs<'a> {
    pub(crate) component: &'a Component,
    pub(crate) step: &'a Step,
    /// The key of the step below it.
    pub(crate) below: Option<&'a Key>,
    pub(crate) needs: &'a [KnownInput],
    pub(crate) tools: &'a [KnownInput],
    pub(crate) checks: &'a [&'a dyn StepCheck],
}

/// What is left out of a walk.
#[derive(Default)]
pub(crate) struct Except<'a> {
    pub(crate) variables: &'a [String],
    pub(crate) files: BTreeSet<&'a str>,
}

/// Names a kind of work, and gives the version of how osier does it.
pub(crate) fn format_of(work: &Work) -> (&'static str, u32) {
    match work {
        Work::Unpack(_) => ("unpack", UNPACK_FORMAT),
        Work::Patch(_) => ("patch", PATCH_FORMAT),
        Work::Edit(_) => ("edit", STEP_FORMAT),
        Work::Script { .. } => ("script", STEP_FORMAT),
        Work::Make(make) => make.format(),
    }
}

/// Walks over all that a step can see.
pub(crate) fn step_parts(inputs: &StepInputs<'_>, except: &Except<'_>, parts: &mut impl Parts) {
    if let Some(below) = inputs.below {
        parts.part(|| Part::Below { step: inputs.step.name.clone() });
        parts.field("below", Value::Hash(&below.0));
    }
    match &inputs.step.work {
        Work::Script { .. } => script_parts(inputs, except, parts),
        Work::Make(make) => make_parts(&**make, inputs, parts),
        _ => source_parts(inputs.component, inputs.step, parts),
    }
    for check in &inputs.step.checks {
        check_parts(check, inputs, parts);
    }
}

/// Walks over what a step does to its component's source; nothing of a script.
pub(crate) fn source_parts(component: &Component, step: &Step, parts: &mut impl Parts) {
    match &step.work {
        Work::Unpack(source) => unpack_parts(source, parts),
        Work::Patch(patching) => patch_parts(component, patching, parts),
        Work::Edit(edit) => edit_parts(edit, parts),
        Work::Script { .. } | Work::Make(_) => {}
    }
}

fn unpack_parts(source: &SourceTree, parts: &mut impl Parts) {
    parts.part(|| Part::SourceFolder { name: source.name.clone() });
    parts.field("name", Value::Name(source.name.as_bytes()));
    if let Some(folder) = &source.folder {
        parts.field("folder", Value::Hash(&folder.0));
    }
    for Archive { file, digest, into, format, strip, size: _ } in &source.archives {
        parts.part(|| Part::Source { file: file.clone() });
        parts.field("file", Value::Name(file.as_bytes()));
        parts.field("digest", Value::Hash(&digest.0));
        parts.part(|| Part::Unpacking { file: file.clone() });
        parts.field("into", Value::Labelled(into.as_bytes()));
        if let Some(format) = format {
            parts.field("format", Value::Labelled(format.as_bytes()));
        }
        match strip {
            Some(Strip::Folders(strip)) => parts.field("strip", Value::Number(*strip)),
            Some(Strip::Lone) => {
                parts.field("lone folder", Value::Word("without its lone folder"));
            }
            None => parts.field("as it is", Value::Word("not unpacked")),
        }
    }
}

fn edit_parts(edit: &SourceEdit, parts: &mut impl Parts) {
    parts.part(|| Part::EditedSource { name: edit.name.clone() });
    parts.field("name", Value::Name(edit.name.as_bytes()));
    for Change { path, node } in &edit.changes {
        parts.part(|| Part::Edit { path: String::from_utf8_lossy(path).into_owned() });
        parts.field("path", Value::Name(path));
        match node {
            None => parts.field("gone", Value::Word("gone")),
            Some(TreeNode::Folder { mode }) => parts.field("folder", Value::Mode(*mode)),
            Some(TreeNode::Symlink { target }) => parts.field("link", Value::Labelled(target)),
            Some(TreeNode::File { mode, content, .. }) => {
                parts.field("mode", Value::Mode(*mode));
                parts.field("content", Value::Stored(content));
            }
        }
    }
}

fn patch_parts(component: &Component, patching: &Patching, parts: &mut impl Parts) {
    parts.part(|| Part::Patches);
    for source in &patching.debian {
        parts.field("debian", Value::Labelled(source.as_bytes()));
    }
    for FetchedPatches { source, pattern } in &patching.fetched {
        parts.field("fetched from", Value::Labelled(source.as_bytes()));
        parts.field("pattern", Value::Text(pattern.as_bytes()));
        // Their names may say for which component and version they are.
        parts.field("component", Value::Name(component.recipe.as_bytes()));
        parts.field("component version", Value::Labelled(component.version.as_bytes()));
    }
    parts.field("source", Value::Labelled(patching.source.as_bytes()));
    for patch in &patching.own {
        let file = component.files.iter().find(|file| file.path == patch.file);
        parts.part(|| Part::Patches);
        parts.field("patch", Value::Text(patch.file.as_bytes()));
        parts.part(|| Part::File { path: patch.file.clone() });
        parts.field("content", Value::Content(file.map(|it| &*it.content).unwrap_or_default()));
        parts.part(|| Part::Patches);
        parts.field("strip", Value::Number(patch.strip));
        let direction = if patch.reverse { "reverse" } else { "" };
        parts.field("reverse", Value::Choice(u8::from(patch.reverse), direction));
    }
    parts.part(|| Part::Waivers);
    for waiver in &patching.waivers {
        parts.field("waive", Value::Text(waiver.pattern.as_bytes()));
        let what = if waiver.what_fits { "but for what fits" } else { "as a whole" };
        parts.field("what fits", Value::Choice(u8::from(waiver.what_fits), what));
    }
}

fn make_parts(make: &dyn Make, inputs: &StepInputs<'_>, parts: &mut impl Parts) {
    let mut order = String::new();
    make.fields(&mut |field| {
        parts.part(|| Part::Made { name: field.name.to_owned() });
        parts.place(field.place);
        parts.field("name", Value::Name(field.name.as_bytes()));
        parts.field(
            "value",
            match field.value {
                FieldValue::Words(words) => Value::Text(words.as_bytes()),
                FieldValue::Text(text) => Value::Content(text.as_bytes()),
                FieldValue::Tree(tree) => Value::Tree(tree),
            },
        );
        order.push_str(field.name);
        order.push('\n');
    });
    input_parts("need", inputs.needs, parts);
    parts.part(|| Part::Order);
    parts.field("order", Value::Hash(&Digest::of(order.as_bytes()).0));
}

fn script_parts(inputs: &StepInputs<'_>, except: &Except<'_>, parts: &mut impl Parts) {
    let StepInputs { component, step, .. } = *inputs;
    let Work::Script { text, folder, jobs, memory: _, silence: _, flat } = &step.work else {
        return;
    };
    let name = || step.name.clone();
    parts.part(|| Part::Script { step: name() });
    parts.field("script", Value::Content(text.as_bytes()));
    parts.part(|| Part::Folder { step: name() });
    parts.field("folder", Value::Text(folder.as_bytes()));
    parts.part(|| Part::Jobs { step: name() });
    let (number, word) = match jobs {
        Jobs::One => (0, "one"),
        Jobs::Jobserver => (1, "jobserver"),
        Jobs::Share => (2, "share"),
    };
    parts.field("jobs", Value::Choice(number, word));
    parts.part(|| Part::Flat { step: name() });
    if *flat {
        parts.field("flat", Value::Word("flat"));
    }
    parts.part(|| Part::Pins);
    parts.field("environment", Value::Hash(&component.environment.key.0));
    for (name, value) in component.variables_of(step) {
        if except.variables.contains(name) {
            continue;
        }
        parts.part(|| Part::Variable { name: name.clone() });
        parts.field("variable", Value::Name(name.as_bytes()));
        parts.field("value", Value::Text(value.as_bytes()));
    }
    if step.sees_inputs() {
        input_parts("need", inputs.needs, parts);
        input_parts("tool", inputs.tools, parts);
    }
    for file in component.files_of(step) {
        if except.files.contains(file.path.as_str()) {
            continue;
        }
        let path = || file.path.clone();
        parts.part(|| Part::Executable { path: path() });
        parts.field("file", Value::Name(file.path.as_bytes()));
        let word = if file.executable { "yes" } else { "no" };
        parts.field("executable", Value::Choice(u8::from(file.executable), word));
        parts.part(|| Part::File { path: path() });
        parts.field("content", Value::Content(&file.content));
    }
}

fn input_parts(label: &'static str, inputs: &[KnownInput], parts: &mut impl Parts) {
    for input in inputs {
        parts.part(|| {
            let (component, output) = (input.name.clone(), input.output.clone());
            match label {
                "need" => Part::Need { component, output },
                _ => Part::Tool { component, output },
            }
        });
        parts.field(label, Value::Name(input.name.as_bytes()));
        parts.field("output", Value::Name(input.output.as_bytes()));
        parts.field("digest", Value::Hash(&input.digest.0));
    }
}

/// Walks over how what is installed is split.
pub(crate) fn output_parts(outputs: &[Output], parts: &mut impl Parts) {
    for output in outputs {
        parts.part(|| Part::Output { name: output.name.clone() });
        parts.field("named output", Value::Name(output.name.as_bytes()));
        for pattern in &output.patterns {
            parts.field("pattern", Value::Text(pattern.as_bytes()));
        }
    }
}

fn check_parts(check: &Check, inputs: &StepInputs<'_>, parts: &mut impl Parts) {
    parts.part(|| Part::Check { name: check.name.clone(), step: inputs.step.name.clone() });
    parts.field("check", Value::Name(check.name.as_bytes()));
    let version = inputs.checks.iter().find(|known| known.name() == check.name);
    parts.field("version", Value::Number(version.map_or(0, |known| known.version())));
    for (name, value) in &check.arguments {
        parts.field("argument", Value::Text(name.as_bytes()));
        parts.field("value", Value::Text(value.as_bytes()));
    }
}
