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
//! What is installed is split into named outputs after the last step. How it is split is in the key of the outputs, which
//! covers that of the last step, and in no step's.
//!
//! A step that makes a part of a product ([`crate::Make`]) has its fields and the output digest and name of each need in its key.
//!
//! It never covers a path of this machine, a user, a host name, the clock or the number of jobs. The
//! names of the component and the step are in it only where the step can see them.

mod parts;
mod places;
mod reason;
#[cfg(test)]
mod tests;
mod why;

use osier_store::{Digest, Key, KeyBuilder};

use crate::graph::{Component, Reuse};

pub use parts::Part;
pub(crate) use parts::{
    Except, Parts, StepInputs, Value, format_of, output_parts, source_parts, step_parts,
};
pub use places::Places;
pub use reason::Reason;
pub(crate) use why::{Basis, was_built};

/// The version of what a step sees besides the parts above: mounts, fixed variables, shell options. It is raised whenever one
/// of those changes.
pub(crate) const STEP_FORMAT: u32 = 4;

/// The version of how archives are read and laid out. It is raised whenever one archive could give other files.
pub(crate) const UNPACK_FORMAT: u32 = 4;

/// The version of how patches are read and put on sources. It is raised whenever one patch could give other files.
pub(crate) const PATCH_FORMAT: u32 = 2;

/// The version of how what is installed is split into named outputs. It is raised whenever one pattern could take other files.
const SPLIT_FORMAT: u32 = 1;

/// An input of a component as its steps see it: the name and the output digest.
pub(crate) struct KnownInput {
    pub(crate) name: String,
    pub(crate) output: String,
    pub(crate) digest: Digest,
}

/// Computes a step's key.
pub(crate) fn step_key(inputs: &StepInputs<'_>) -> Key {
    let (work, version) = format_of(&inputs.step.work);
    let mut key = KeyBuilder::new(work, version);
    step_parts(inputs, &Except::default(), &mut key);
    key.finish()
}

/// Computes the key of a component's outputs: that of its last step, and how what the step installs is split.
///
/// The split is nothing that a step sees, so that a change of it runs none.
pub(crate) fn outputs_key(component: &Component, last: &Key) -> Key {
    if component.outputs.is_empty() {
        return *last;
    }
    let mut key = KeyBuilder::new("outputs", SPLIT_FORMAT);
    key.field("below", &last.0);
    output_parts(&component.outputs, &mut key);
    key.finish()
}

/// Computes what two runs of a step have in common of which one can go on from the other, as its [`Reuse`] says.
///
/// `below` is the key of the step two below: the step between is compared by what it left, see `layer/reuse.rs`.
pub(crate) fn reuse_key(inputs: &StepInputs<'_>, reuse: &Reuse) -> Key {
    let variables = &inputs.component.variables;
    let named = reuse.variables.iter().filter_map(|name| variables.get(name));
    let except = Except {
        variables: &reuse.variables,
        files: named.flat_map(|value| value.split_whitespace()).collect(),
    };
    let mut key = KeyBuilder::new("reuse", STEP_FORMAT);
    for file in &reuse.files {
        key.field("may differ", file.as_os_str().as_encoded_bytes());
    }
    step_parts(inputs, &except, &mut key);
    key.finish()
}

/// Computes what the runs of a step have in common that can go on from one another while a person edits the source.
///
/// `below` is the key of the step that an edit lies on.
pub(crate) fn edits_key(inputs: &StepInputs<'_>) -> Key {
    let mut key = KeyBuilder::new("reuse while edited", STEP_FORMAT);
    step_parts(inputs, &Except::default(), &mut key);
    key.finish()
}
