//! The files that patches change: what is there, and what has become of it so far.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file as a patch sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// What it holds.
        content: Vec<u8>,
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: Vec<u8>,
    },
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing, and a file can be made there.
    Nothing,
    /// A file or a symbolic link.
    Node(Node),
    /// A folder.
    Folder,
    /// Something that no patch changes: a device, a pipe.
    Special,
    /// The way there leads through this path, which is no folder; `link` if it is a symbolic link.
    Blocked {
        /// What is in the way.
        by: PathBuf,
        /// Whether it is a symbolic link.
        link: bool,
    },
}

/// Where patches find files.
pub trait Source {
    /// Why a file could not be read.
    type Error;
    /// Gives what stands at a path, which is relative and has no `..`. No symbolic link is followed.
    fn look(&self, path: &Path) -> Result<Found, Self::Error>;
}

/// Paths with what stands there now, nothing for what was removed.
pub(crate) type Effect = BTreeMap<PathBuf, Option<Node>>;

/// Changes on top of a source: paths with what stands there now, nothing for what was removed.
#[derive(Debug)]
pub(crate) struct Changes<'s, S> {
    below: &'s S,
    map: Effect,
}

impl<'s, S: Source> Changes<'s, S> {
    /// No changes.
    pub(crate) fn new(below: &'s S) -> Self {
        Self { below, map: Effect::new() }
    }

    /// The source without these changes.
    pub(crate) fn below(&self) -> &'s S {
        self.below
    }

    pub(crate) fn set(&mut self, path: &Path, node: Option<Node>) {
        self.map.insert(path.to_path_buf(), node);
    }

    /// The changes that change something.
    pub(crate) fn into_effect(self) -> Result<Effect, S::Error> {
        let mut effect = Effect::new();
        for (path, node) in self.map {
            let same = match (&node, self.below.look(&path)?) {
                (Some(node), Found::Node(before)) => *node == before,
                (None, Found::Nothing | Found::Blocked { .. }) => true,
                _ => false,
            };
            if !same {
                effect.insert(path, node);
            }
        }
        Ok(effect)
    }

    pub(crate) fn extend(&mut self, changes: Effect) {
        self.map.extend(changes);
    }
}

impl<S: Source> Source for Changes<'_, S> {
    type Error = S::Error;

    fn look(&self, path: &Path) -> Result<Found, S::Error> {
        match self.map.get(path) {
            Some(Some(node)) => return Ok(Found::Node(node.clone())),
            Some(None) => {
                return Ok(if self.has_below(path) { Found::Folder } else { Found::Nothing });
            }
            None => {}
        }
        let mut removed = false;
        for above in path.ancestors().skip(1) {
            match self.map.get(above) {
                Some(Some(node)) => {
                    let link = matches!(node, Node::Symlink { .. });
                    return Ok(Found::Blocked { by: above.to_path_buf(), link });
                }
                // What was a file there is no folder with something in it.
                Some(None) => removed = true,
                None => {}
            }
        }
        if self.has_below(path) {
            return Ok(Found::Folder);
        }
        if removed { Ok(Found::Nothing) } else { self.below.look(path) }
    }
}

impl<S> Changes<'_, S> {
    /// Whether something was made below a path.
    fn has_below(&self, path: &Path) -> bool {
        let from = self.map.range(path.to_path_buf()..);
        from.take_while(|(other, _)| other.starts_with(path))
            .any(|(other, node)| other != path && node.is_some())
    }
}
