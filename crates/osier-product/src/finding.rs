//! What is noticed while a root file system is composed.

use osier_build::Finding;
use osier_image::Composition;
use osier_store::Digest;

/// The file that holds what was noticed, in the output `findings` of a root.
pub(crate) const FINDINGS: &str = "findings.json";

/// Gives what a composition noticed, in the order of paths.
pub(crate) fn found(composition: &Composition<Digest>) -> Vec<Finding> {
    let finding =
        |message: String, hint: &str| Finding { message, place: None, hint: Some(hint.to_owned()) };
    let undelivered = composition.undelivered.iter().map(|left| {
        finding(
            format!("{} has {}, which no line of the manifest delivers", left.area, left.path),
            "add a line for it to the manifest, or leave it out of what the component installs",
        )
    });
    let shadowed = composition.shadowed.iter().map(|lost| {
        finding(
            format!("{} of {} is replaced by that of {}", lost.path, lost.area, lost.by),
            "remove the overlay's file where the other one is wanted",
        )
    });
    undelivered.chain(shadowed).collect()
}
