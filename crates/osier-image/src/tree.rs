//! A root file system as a value.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use crate::path::{ImagePath, Shown};

/// Owner, group and permission bits of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub mode: u16,
    /// Numeric owner; never `u32::MAX`, which system calls read as "no change".
    pub uid: u32,
    /// Numeric group; never `u32::MAX`.
    pub gid: u32,
}

impl Attributes {
    /// Attributes of a folder that nothing describes: 0755, owned by root.
    pub const FOLDER: Attributes = Attributes { mode: 0o755, uid: 0, gid: 0 };

    /// Attributes of every symlink: 0777, owned by root.
    pub const SYMLINK: Attributes = Attributes { mode: 0o777, uid: 0, gid: 0 };
}

/// The two sorts of device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// Read and written as a stream.
    Character,
    /// Read and written in blocks.
    Block,
}

/// One object of a file system, its name and time apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node<C> {
    /// A regular file.
    File {
        /// Leads to the bytes.
        content: C,
        /// How many bytes there are.
        size: u64,
        /// Owner, group, mode.
        attributes: Attributes,
    },
    /// A folder.
    Folder {
        /// Owner, group, mode.
        attributes: Attributes,
    },
    /// A symbolic link, which has [`Attributes::SYMLINK`].
    Symlink {
        /// What it points at, as written: 1 to 4095 bytes without NUL.
        target: Vec<u8>,
    },
    /// One more name of a regular file of the same tree, with its attributes.
    HardLink {
        /// The name under which the tree holds the file itself.
        file: ImagePath,
    },
    /// A device node.
    Device {
        /// Character or block.
        kind: DeviceKind,
        /// At most 4095, 12 bits in Linux.
        major: u32,
        /// At most 1048575, 20 bits in Linux.
        minor: u32,
        /// Owner, group, mode.
        attributes: Attributes,
    },
    /// A named pipe.
    Fifo {
        /// Owner, group, mode.
        attributes: Attributes,
    },
}

impl<C> Node<C> {
    /// Names the sort of node, with its article, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::File { .. } => "a file",
            Node::Folder { .. } => "a folder",
            Node::Symlink { .. } => "a symlink",
            Node::HardLink { .. } => "a hard link",
            Node::Device { kind: DeviceKind::Character, .. } => "a character device",
            Node::Device { kind: DeviceKind::Block, .. } => "a block device",
            Node::Fifo { .. } => "a fifo",
        }
    }

    /// Returns the node's own attributes; a hard link has those of its file.
    pub fn attributes(&self) -> Option<Attributes> {
        match self {
            Node::File { attributes, .. }
            | Node::Folder { attributes }
            | Node::Device { attributes, .. }
            | Node::Fifo { attributes } => Some(*attributes),
            Node::Symlink { .. } => Some(Attributes::SYMLINK),
            Node::HardLink { .. } => None,
        }
    }
}

/// A POSIX tree whose file contents are handles of type `C`.
///
/// Invariants: the root is a folder; the parent of every other node is a folder of the tree; a
/// hard link leads to a regular file of the tree; modes, owners, device numbers and symlink
/// targets are in range. There are no times: a writer is given one time for all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsTree<C> {
    nodes: BTreeMap<ImagePath, Node<C>>,
}

/// Why a node cannot be part of a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The path is taken.
    #[error("`{path}` is in the tree already")]
    Exists {
        /// The path.
        path: ImagePath,
    },
    /// The folder above is not in the tree.
    #[error("`{path}` has no parent folder in the tree")]
    NoParent {
        /// The path that has no parent.
        path: ImagePath,
    },
    /// What is above is not a folder.
    #[error("`{path}` cannot be inside {kind}")]
    ParentNotFolder {
        /// The path.
        path: ImagePath,
        /// What its parent is, with article.
        kind: &'static str,
    },
    /// The root is something else than a folder.
    #[error("the root can only be a folder, not {kind}")]
    RootNotFolder {
        /// What was given, with article.
        kind: &'static str,
    },
    /// A mode has more than 12 bits.
    #[error("`{path}` has mode {mode:o}; at most 7777 is possible")]
    Mode {
        /// The path.
        path: ImagePath,
        /// The mode.
        mode: u16,
    },
    /// An owner or group is 4294967295, which means -1.
    #[error("`{path}` has 4294967295 (-1) as owner or group")]
    Owner {
        /// The path.
        path: ImagePath,
    },
    /// A symlink's target is empty, too long or has a NUL.
    #[error("symlink `{path}` has a target of {bytes} bytes; 1 to 4095 without NUL are possible")]
    Target {
        /// The path of the symlink.
        path: ImagePath,
        /// How many bytes the target has.
        bytes: usize,
    },
    /// A device number is out of range.
    #[error("device `{path}` has number {major}:{minor}; at most 4095:1048575 is possible")]
    DeviceNumber {
        /// The path.
        path: ImagePath,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A hard link leads to nothing, or to what is not a regular file.
    #[error("hard link `{path}` leads to `{file}`, which is {found}")]
    HardLink {
        /// The path of the link.
        path: ImagePath,
        /// What it should lead to.
        file: ImagePath,
        /// What is there, with article, or `not in the tree`.
        found: &'static str,
    },
}

/// Where a symlink leads; see [`FsTree::resolve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// To this node, which is no symlink.
    Found(ImagePath),
    /// Nowhere: this is the first path on the way that is not in the tree.
    Missing(ImagePath),
    /// Nowhere: this path on the way is neither a folder nor a symlink to one.
    NotFolder(ImagePath),
    /// Nowhere: more than 40 symlinks had to be followed, the kernel's limit.
    Loop,
    /// Nowhere: a name on the way is longer than a path can be.
    TooLong,
}

impl<C> Default for FsTree<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> FsTree<C> {
    /// Makes a tree of just a root with [`Attributes::FOLDER`].
    pub fn new() -> Self {
        let root = Node::Folder { attributes: Attributes::FOLDER };
        FsTree { nodes: BTreeMap::from([(ImagePath::root(), root)]) }
    }

    /// Makes a tree of nodes given in any order; every fault is reported.
    pub fn from_nodes(
        nodes: impl IntoIterator<Item = (ImagePath, Node<C>)>,
    ) -> Result<Self, Vec<TreeError>> {
        let mut sorted = BTreeMap::new();
        let mut errors = Vec::new();
        for (path, node) in nodes {
            match sorted.entry(path) {
                Slot::Occupied(slot) => errors.push(TreeError::Exists { path: slot.key().clone() }),
                Slot::Vacant(slot) => {
                    slot.insert(node);
                }
            }
        }
        let mut tree = FsTree::new();
        // A hard link may come before its file in the order of paths.
        let (links, others): (Vec<_>, Vec<_>) =
            sorted.into_iter().partition(|(_, node)| matches!(node, Node::HardLink { .. }));
        for (path, node) in others.into_iter().chain(links) {
            if let Err(error) = tree.insert(path, node) {
                errors.push(error);
            }
        }
        if errors.is_empty() { Ok(tree) } else { Err(errors) }
    }

    /// Adds a node; its parent, and the file of a hard link, must be there already.
    ///
    /// A folder at the root replaces the root's attributes.
    pub fn insert(&mut self, path: ImagePath, node: Node<C>) -> Result<(), TreeError> {
        self.check(&path, &node)?;
        self.nodes.insert(path, node);
        Ok(())
    }

    fn check(&self, path: &ImagePath, node: &Node<C>) -> Result<(), TreeError> {
        let path = || path.clone();
        match path().parent() {
            None if !matches!(node, Node::Folder { .. }) => {
                return Err(TreeError::RootNotFolder { kind: node.kind() });
            }
            None => {}
            Some(_) if self.nodes.contains_key(&path()) => {
                return Err(TreeError::Exists { path: path() });
            }
            Some(parent) => match self.nodes.get(&parent) {
                Some(Node::Folder { .. }) => {}
                Some(other) => {
                    return Err(TreeError::ParentNotFolder { path: path(), kind: other.kind() });
                }
                None => return Err(TreeError::NoParent { path: path() }),
            },
        }
        if let Some(Attributes { mode, uid, gid }) = node.attributes() {
            if mode > 0o7777 {
                return Err(TreeError::Mode { path: path(), mode });
            }
            if uid == u32::MAX || gid == u32::MAX {
                return Err(TreeError::Owner { path: path() });
            }
        }
        match node {
            Node::Symlink { target }
                if target.is_empty()
                    || target.len() > ImagePath::MAX_BYTES
                    || target.contains(&0) =>
            {
                Err(TreeError::Target { path: path(), bytes: target.len() })
            }
            Node::Device { major, minor, .. } if *major > 0xfff || *minor > 0xf_ffff => {
                Err(TreeError::DeviceNumber { path: path(), major: *major, minor: *minor })
            }
            Node::HardLink { file } => match self.nodes.get(file) {
                Some(Node::File { .. }) => Ok(()),
                other => Err(TreeError::HardLink {
                    path: path(),
                    file: file.clone(),
                    found: other.map_or("not in the tree", Node::kind),
                }),
            },
            _ => Ok(()),
        }
    }

    /// Returns the node at a path; symlinks are not followed.
    pub fn get(&self, path: &ImagePath) -> Option<&Node<C>> {
        self.nodes.get(path)
    }

    /// Goes through all nodes in the order of their paths: the root first, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (&ImagePath, &Node<C>)> {
        self.nodes.iter()
    }

    /// Counts the nodes, the root included.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Follows what a symlink at `link` with `target` says, as the kernel does inside this root:
    /// absolute targets start at the root, and `..` at the root stays there.
    pub fn resolve(&self, link: &ImagePath, target: &[u8]) -> Resolution {
        let mut at = link.parent().unwrap_or_default();
        let mut pending: Vec<&[u8]> = Vec::new();
        if follow(target, &mut pending) {
            at = ImagePath::root();
        }
        let mut followed = 1;
        while let Some(name) = pending.pop() {
            if name == b".." {
                at = at.parent().unwrap_or_default();
                continue;
            }
            let Ok(next) = at.join(name) else { return Resolution::TooLong };
            match self.nodes.get(&next) {
                None => return Resolution::Missing(next),
                Some(Node::Folder { .. }) => at = next,
                Some(Node::Symlink { target }) => {
                    followed += 1;
                    if followed > 40 {
                        return Resolution::Loop;
                    }
                    if follow(target, &mut pending) {
                        at = ImagePath::root();
                    }
                }
                Some(_) if pending.is_empty() && !target.ends_with(b"/") => {
                    return Resolution::Found(next);
                }
                Some(_) => return Resolution::NotFolder(next),
            }
        }
        Resolution::Found(at)
    }
}

/// Pushes the components of a symlink's target, last one first; tells whether it is absolute.
fn follow<'a>(target: &'a [u8], pending: &mut Vec<&'a [u8]>) -> bool {
    pending.extend(target.rsplit(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b".")));
    target.first() == Some(&b'/')
}

impl std::fmt::Display for Resolution {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |path: &ImagePath| Shown(path.as_bytes()).to_string();
        match self {
            Resolution::Found(path) => write!(out, "`/{}` is there", shown(path)),
            Resolution::Missing(path) => write!(out, "`/{}` is not in the image", shown(path)),
            Resolution::NotFolder(path) => write!(out, "`/{}` is not a folder", shown(path)),
            Resolution::Loop => out.write_str("the symlinks on the way form a loop"),
            Resolution::TooLong => out.write_str("a name on the way is too long"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        if text.is_empty() { ImagePath::root() } else { ImagePath::new(text).unwrap() }
    }

    fn folder() -> Node<()> {
        Node::Folder { attributes: Attributes::FOLDER }
    }

    fn file() -> Node<()> {
        Node::File { content: (), size: 0, attributes: Attributes::FOLDER }
    }

    fn link(target: &str) -> Node<()> {
        Node::Symlink { target: target.into() }
    }

    fn tree(nodes: Vec<(&str, Node<()>)>) -> Result<FsTree<()>, Vec<TreeError>> {
        FsTree::from_nodes(nodes.into_iter().map(|(text, node)| (path(text), node)))
    }

    #[test]
    fn faults_are_named() {
        let with = |attributes| Node::Fifo { attributes };
        let device = |major, minor| Node::Device {
            kind: DeviceKind::Block,
            major,
            minor,
            attributes: Attributes::FOLDER,
        };
        let table = [
            (vec![("a/b", file())], "`a/b` has no parent folder in the tree"),
            (vec![("a", file()), ("a/b", file())], "`a/b` cannot be inside a file"),
            (vec![("a", folder()), ("a", folder())], "`a` is in the tree already"),
            (vec![("", file())], "the root can only be a folder, not a file"),
            (
                vec![("a", with(Attributes { mode: 0o10000, uid: 0, gid: 0 }))],
                "`a` has mode 10000; at most 7777 is possible",
            ),
            (
                vec![("a", with(Attributes { mode: 0, uid: 0, gid: u32::MAX }))],
                "`a` has 4294967295 (-1) as owner or group",
            ),
            (
                vec![("a", link(""))],
                "symlink `a` has a target of 0 bytes; 1 to 4095 without NUL are possible",
            ),
            (
                vec![("a", device(4096, 0))],
                "device `a` has number 4096:0; at most 4095:1048575 is possible",
            ),
            (
                vec![("a", Node::HardLink { file: path("b") })],
                "hard link `a` leads to `b`, which is not in the tree",
            ),
            (
                vec![("a", Node::HardLink { file: path("b") }), ("b", link("c"))],
                "hard link `a` leads to `b`, which is a symlink",
            ),
        ];
        for (nodes, message) in table {
            let errors = tree(nodes).unwrap_err();
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [message]);
        }
    }

    #[test]
    fn hard_link_may_sort_before_its_file() {
        let tree = tree(vec![("a", Node::HardLink { file: path("b") }), ("b", file())]).unwrap();
        assert_eq!(tree.node_count(), 3);
    }

    #[test]
    fn a_failed_insert_changes_nothing() {
        let mut tree = tree(vec![("a", folder())]).unwrap();
        let before = tree.clone();
        assert!(tree.insert(path("a"), file()).is_err());
        assert!(tree.insert(path("x/y"), file()).is_err());
        assert_eq!(tree, before);
    }

    #[test]
    fn symlinks_lead_where_the_kernel_goes() {
        let tree = tree(vec![
            ("bin", link("usr/bin")),
            ("usr", folder()),
            ("usr/bin", folder()),
            ("usr/bin/env", file()),
            ("usr/up", link("..")),
            ("a", link("b")),
            ("b", link("a")),
        ])
        .unwrap();
        let found = |text| Resolution::Found(path(text));
        let table = [
            ("x", "bin/env", found("usr/bin/env")),
            ("x", "/bin/./env", found("usr/bin/env")),
            ("usr/x", "../../../bin//env", found("usr/bin/env")),
            ("usr/bin/x", "env", found("usr/bin/env")),
            ("usr/bin/x", "/usr/up/bin/env", found("usr/bin/env")),
            ("x", "/", found("")),
            ("x", "bin/", found("usr/bin")),
            ("x", "bin/no/deeper", Resolution::Missing(path("usr/bin/no"))),
            ("x", "usr/bin/env/deeper", Resolution::NotFolder(path("usr/bin/env"))),
            ("x", "usr/bin/env/", Resolution::NotFolder(path("usr/bin/env"))),
            ("x", "a", Resolution::Loop),
        ];
        for (link, target, expected) in table {
            assert_eq!(tree.resolve(&path(link), target.as_bytes()), expected, "{link} {target}");
        }
        let long = "n".repeat(300);
        assert_eq!(tree.resolve(&path("x"), long.as_bytes()), Resolution::TooLong);
    }
}
