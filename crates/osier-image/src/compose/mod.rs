//! From areas and a manifest to a tree.

mod area;
mod checks;
mod composer;
mod error;

use std::collections::BTreeMap;

pub use area::{Area, Difference, Entry, Role};
pub use error::{ComposeError, Place};

use crate::accounts::Accounts;
use crate::manifest::Manifest;
use crate::path::ImagePath;
use crate::tree::FsTree;
use area::Search;
use composer::Composer;

/// What the author of a system can choose about composing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComposeOptions {
    /// What happens to the files of overlays that no line names.
    pub overlays: OverlayDelivery,
    /// Folders that are filled while the system runs: a symlink into one does not dangle.
    pub runtime_folders: Vec<ImagePath>,
}

/// What happens to the files of overlays that no line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayDelivery {
    /// They are delivered as they are, owned by root. Lines can change or exclude them.
    AsTheyAre,
    /// They are not delivered, as in SmartOS: overlays are only searched before components.
    Listed,
}

impl Default for ComposeOptions {
    /// Overlays as they are; `dev`, `proc`, `run`, `sys` and `tmp` are filled while running.
    fn default() -> Self {
        let folder = |name: &str| ImagePath::new(name).expect("the names are sound");
        ComposeOptions {
            overlays: OverlayDelivery::AsTheyAre,
            runtime_folders: ["dev", "proc", "run", "sys", "tmp"].map(folder).to_vec(),
        }
    }
}

/// A composed tree and where everything in it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composition<C> {
    /// The tree.
    pub tree: FsTree<C>,
    /// For each node but the root: who delivered it.
    pub origins: BTreeMap<ImagePath, Origin>,
    /// Files and symlinks of areas that are not delivered, though no other area has that path.
    pub undelivered: Vec<Undelivered>,
    /// Files and symlinks that lost to an overlay's.
    pub shadowed: Vec<Shadowed>,
}

/// Who delivered a node. A folder that only lies above others has neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The area that it comes from; none for what a line makes.
    pub area: Option<String>,
    /// The number of the line that delivers it; none for an overlay's file that no line names.
    pub line: Option<usize>,
}

/// A file or symlink that no line delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Where it would be.
    pub path: ImagePath,
    /// The area that has it.
    pub area: String,
}

/// A file or symlink that lost to an overlay's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// The path.
    pub path: ImagePath,
    /// The area that lost.
    pub area: String,
    /// The overlay that won.
    pub by: String,
}

/// Makes a tree of what the manifest picks from the areas.
///
/// Overlays are searched in their order, then components; the first that has a path wins, but two
/// components must not differ at a delivered path. Lines are applied in order. A line without
/// wildcards overrides what an earlier one with wildcards says of its path; other lines that
/// disagree are an error. Folders above delivered nodes that nobody lists are 0755, owned by root.
///
/// Every fault is reported: see [`ComposeError`].
pub fn compose<C: Clone + PartialEq>(
    areas: &[Area<C>],
    manifest: &Manifest,
    accounts: &Accounts,
    options: &ComposeOptions,
) -> Result<Composition<C>, Vec<ComposeError>> {
    let mut composer = Composer {
        areas,
        manifest,
        accounts,
        search: Search::new(areas),
        delivered: BTreeMap::new(),
        errors: Vec::new(),
    };
    if options.overlays == OverlayDelivery::AsTheyAre {
        composer.deliver_overlays();
    }
    for line in 0..manifest.lines.len() {
        composer.apply(line);
    }
    composer.finish(options)
}

#[cfg(test)]
mod tests;
