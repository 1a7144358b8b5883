//! Where files come from, and which place wins.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fmt;
use std::ops::Bound;

use crate::path::{ImagePath, Shown};
use crate::pattern::Pattern;

/// A place that files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area<C> {
    /// The name for messages, such as `overlay etc/` or `component busybox`.
    pub name: String,
    /// Overlay or component.
    pub role: Role,
    /// What it holds. Parents need not be listed.
    pub entries: BTreeMap<ImagePath, Entry<C>>,
}

/// What an area is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its files win over those of components and of later overlays.
    Overlay,
    /// A part of the proto area; no two may deliver one path differently.
    Component,
}

/// What an area holds at a path, owners apart: those come from the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<C> {
    /// A regular file.
    File {
        /// Leads to the bytes. Equal handles mean equal bytes.
        content: C,
        /// How many bytes there are.
        size: u64,
        /// At most `0o7777`.
        mode: u16,
    },
    /// A folder.
    Folder {
        /// At most `0o7777`.
        mode: u16,
    },
    /// A symbolic link.
    Symlink {
        /// What it points at, as written.
        target: Vec<u8>,
    },
}

impl<C> Entry<C> {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Entry::File { .. } => "a file",
            Entry::Folder { .. } => "a folder",
            Entry::Symlink { .. } => "a symlink",
        }
    }
}

/// How two components differ at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// In what it is; both with article.
    Kind(&'static str, &'static str),
    /// In the bytes of a file.
    Content,
    /// In the mode of a file or folder.
    Mode(u16, u16),
    /// In the target of a symlink.
    Target(Vec<u8>, Vec<u8>),
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Kind(first, second) => write!(out, "{first} and {second}"),
            Difference::Content => out.write_str("other content"),
            Difference::Mode(first, second) => write!(out, "modes {first:04o} and {second:04o}"),
            Difference::Target(first, second) => {
                write!(out, "targets `{}` and `{}`", Shown(first), Shown(second))
            }
        }
    }
}

fn difference<C: PartialEq>(first: &Entry<C>, second: &Entry<C>) -> Option<Difference> {
    match (first, second) {
        (
            Entry::File { content, size, mode },
            Entry::File { content: other_content, size: other_size, mode: other_mode },
        ) => {
            if content != other_content || size != other_size {
                Some(Difference::Content)
            } else {
                (mode != other_mode).then_some(Difference::Mode(*mode, *other_mode))
            }
        }
        (Entry::Folder { mode }, Entry::Folder { mode: other }) => {
            (mode != other).then_some(Difference::Mode(*mode, *other))
        }
        (Entry::Symlink { target }, Entry::Symlink { target: other }) => {
            (target != other).then(|| Difference::Target(target.clone(), other.clone()))
        }
        _ => Some(Difference::Kind(first.kind(), second.kind())),
    }
}

/// What is found at a path: the entry of the first area that has one.
pub(super) struct Found<'a, C> {
    pub(super) path: &'a ImagePath,
    pub(super) area: usize,
    pub(super) entry: &'a Entry<C>,
}

/// Two components that differ at a path where no overlay wins.
pub(super) struct Clash<'a> {
    pub(super) path: &'a ImagePath,
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) difference: Difference,
}

/// All areas seen as one: overlays in their order, then components in theirs.
pub(super) struct Search<'a, C> {
    found: BTreeMap<&'a [u8], Found<'a, C>>,
    pub(super) clashes: Vec<Clash<'a>>,
    /// Files and symlinks that lose to an overlay: path, area, winning area.
    pub(super) shadowed: Vec<(&'a ImagePath, usize, usize)>,
}

impl<'a, C: PartialEq> Search<'a, C> {
    pub(super) fn new(areas: &'a [Area<C>]) -> Self {
        let mut search =
            Search { found: BTreeMap::new(), clashes: Vec::new(), shadowed: Vec::new() };
        for role in [Role::Overlay, Role::Component] {
            for (area, Area { entries, .. }) in
                areas.iter().enumerate().filter(|(_, area)| area.role == role)
            {
                for (path, entry) in entries {
                    match search.found.entry(path.as_bytes()) {
                        Slot::Vacant(slot) => {
                            slot.insert(Found { path, area, entry });
                        }
                        Slot::Occupied(winner) => {
                            let winner = winner.get();
                            if areas[winner.area].role == Role::Overlay {
                                if !matches!(entry, Entry::Folder { .. }) {
                                    search.shadowed.push((path, area, winner.area));
                                }
                            } else if let Some(difference) = difference(winner.entry, entry) {
                                let (first, second) = (winner.area, area);
                                search.clashes.push(Clash { path, first, second, difference });
                            }
                        }
                    }
                }
            }
        }
        search
    }
}

impl<'a, C> Search<'a, C> {
    pub(super) fn at(&self, path: &ImagePath) -> Option<&Found<'a, C>> {
        self.found.get(path.as_bytes())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Found<'a, C>> {
        self.found.values()
    }

    /// Finds what a pattern stands for, in the order of paths.
    pub(super) fn matching<'s>(
        &'s self,
        pattern: &'s Pattern,
    ) -> Box<dyn Iterator<Item = &'s Found<'a, C>> + 's> {
        if let Some(path) = pattern.literal() {
            return Box::new(self.at(path).into_iter());
        }
        let prefix = pattern.fixed_prefix();
        let from = (Bound::Included(&prefix[..]), Bound::Unbounded);
        let range = self.found.range::<[u8], _>(from).map(|(_, found)| found);
        Box::new(
            range
                .take_while(move |found| found.path.as_bytes().starts_with(&prefix))
                .filter(|found| pattern.matches(found.path)),
        )
    }
}
