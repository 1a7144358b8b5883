//! What a step's key covers.
//!
//! | part | unpack | script |
//! | --- | --- | --- |
//! | version of the step format | yes | yes |
//! | key of the step below | yes | yes |
//! | names, digests and places of the source's archives | yes | by the step below |
//! | script, working folder, whether it may use several jobs | | yes |
//! | variables of the component: name, version, target, `env`, the kind's variables | | yes |
//! | key of the build environment | | yes |
//! | output digest and name of each need and tool | | yes |
//! | content, path and executable bit of each file beside the recipe | | yes |
//! | name, version and arguments of each check | | yes |
//!
//! It never covers a path of this machine, a user, a host name, the clock or the number of jobs. The
//! names of the component and the step are in it only where the step can see them.

use osier_store::{Digest, Key, KeyBuilder};

use crate::graph::{Component, Step, StepCheck, Work};

/// The version of what a step sees besides the parts above: mounts, fixed variables, shell options,
/// unpacking rules. It is raised whenever one of those changes.
pub(crate) const STEP_FORMAT: u32 = 1;

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
    let mut key = KeyBuilder::new(kind, STEP_FORMAT);
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
        Work::Script { text, folder, parallel } => {
            key.field("script", text.as_bytes());
            key.field("folder", folder.as_bytes());
            key.field("parallel", &[u8::from(*parallel)]);
            key.field("environment", &component.environment.key.0);
            for (name, value) in &component.variables {
                key.field("variable", name.as_bytes());
                key.field("value", value.as_bytes());
            }
            for (label, inputs) in [("need", needs), ("tool", tools)] {
                for input in inputs {
                    key.field(label, input.name.as_bytes());
                    key.field("output", input.output.as_bytes());
                    key.field("digest", &input.digest.0);
                }
            }
            for file in &component.files {
                key.field("file", file.path.as_bytes());
                key.field("executable", &[u8::from(file.executable)]);
                key.field("content", &file.content);
            }
            for output in &component.outputs {
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
