//! The canonical manifest of an output tree, whose SHA-256 is the output digest.
//!
//! A REAPI `Directory` cannot say setuid bits or hard links, so the digest that keys are built from is
//! taken over this text instead; one line an entry, sorted by path:
//!
//! ```text
//! osier-tree 1
//! d 0755 PATH
//! f 0644 DIGEST SIZE GROUP PATH
//! l PATH TARGET
//! ```
//!
//! `GROUP` is `-`, or a number shared by the names of one hard-linked file, counted in the order of
//! their first names. Blanks, control characters, `%` and bytes over 126 stand as `%XX`. Owners are
//! left out: a step has just one user, and ownership comes from the manifest of a system.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::Digest;

/// What stands at one path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeNode {
    /// A folder with its permission bits.
    Folder {
        /// The twelve permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// The twelve permission bits.
        mode: u32,
        /// What it holds.
        content: Digest,
        /// How many bytes that is.
        size: u64,
        /// A number shared by all names of the file, where it has several.
        hard_link: Option<u32>,
    },
    /// A symbolic link.
    Symlink {
        /// The text of the link.
        target: Vec<u8>,
    },
}

/// One line of a tree's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The path below the root, without a leading slash.
    pub path: Vec<u8>,
    /// What stands there.
    pub node: TreeNode,
}

/// A whole output tree, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<Vec<u8>, TreeNode>,
}

/// A text that is not a tree's manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the tree manifest is malformed: {problem}")]
pub struct TreeError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

const HEADER: &str = "osier-tree 1";

impl Tree {
    /// Adds or replaces one entry.
    pub fn insert(&mut self, path: Vec<u8>, node: TreeNode) {
        self.entries.insert(path, node);
    }

    /// Gives the entries in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &TreeNode)> {
        self.entries.iter().map(|(path, node)| (path.as_slice(), node))
    }

    /// Looks one path up.
    pub fn get(&self, path: &[u8]) -> Option<&TreeNode> {
        self.entries.get(path)
    }

    /// Says whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds what another tree has and this one does not, as if the other one lay below it in a stack of layers: what is no
    /// folder hides all that the other one has there, and below there.
    pub fn lay_under(&mut self, other: &Self) {
        let group = |node: &TreeNode| match node {
            TreeNode::File { hard_link, .. } => *hard_link,
            _ => None,
        };
        let first = self.entries.values().filter_map(group).max().map_or(0, |last| last + 1);
        for (path, node) in &other.entries {
            let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            let mut above = slashes.filter_map(|(at, _)| self.entries.get(&path[..at]));
            if above.any(|node| !matches!(node, TreeNode::Folder { .. }))
                || self.entries.contains_key(path)
            {
                continue;
            }
            let mut node = node.clone();
            if let TreeNode::File { hard_link: Some(group), .. } = &mut node {
                *group += first;
            }
            self.entries.insert(path.clone(), node);
        }
    }

    /// Counts the bytes of all files, each hard-linked file once.
    pub fn size(&self) -> u64 {
        let mut seen = std::collections::BTreeSet::new();
        let mut sum = 0;
        for node in self.entries.values() {
            if let TreeNode::File { size, hard_link, .. } = node
                && hard_link.is_none_or(|group| seen.insert(group))
            {
                sum += size;
            }
        }
        sum
    }

    /// Writes the canonical manifest.
    pub fn to_manifest(&self) -> String {
        let mut text = String::with_capacity(64 + self.entries.len() * 128);
        text.push_str(HEADER);
        text.push('\n');
        // Groups are renumbered by first name, so that equal trees give equal bytes.
        let mut groups: BTreeMap<u32, usize> = BTreeMap::new();
        for (path, node) in &self.entries {
            match node {
                TreeNode::Folder { mode } => {
                    let _ = write!(text, "d {mode:04o} ");
                    escape(path, &mut text);
                }
                TreeNode::File { mode, content, size, hard_link } => {
                    let _ = write!(text, "f {mode:04o} {content} {size} ");
                    match hard_link {
                        None => text.push('-'),
                        Some(group) => {
                            let next = groups.len();
                            let number = *groups.entry(*group).or_insert(next);
                            let _ = write!(text, "{number}");
                        }
                    }
                    text.push(' ');
                    escape(path, &mut text);
                }
                TreeNode::Symlink { target } => {
                    text.push_str("l ");
                    escape(path, &mut text);
                    text.push(' ');
                    escape(target, &mut text);
                }
            }
            text.push('\n');
        }
        text
    }

    /// Gives the output digest: the SHA-256 of the canonical manifest.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_manifest().as_bytes())
    }

    /// Reads a canonical manifest.
    pub fn parse(text: &str) -> Result<Self, TreeError> {
        let mut lines = text.lines().enumerate();
        let wrong = |line: usize, problem| TreeError { line: line + 1, problem };
        if lines.next().map(|(_, line)| line) != Some(HEADER) {
            return Err(wrong(0, "the first line is not `osier-tree 1`"));
        }
        let mut tree = Self::default();
        for (number, line) in lines {
            let fields: Vec<&str> = line.split(' ').collect();
            let mode = |text: &str| {
                u32::from_str_radix(text, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o7777)
                    .ok_or_else(|| wrong(number, "the mode is not octal"))
            };
            let unescaped =
                |text: &str| unescape(text).ok_or_else(|| wrong(number, "a name is badly escaped"));
            let (path, node) = match fields.as_slice() {
                ["d", bits, path] => (unescaped(path)?, TreeNode::Folder { mode: mode(bits)? }),
                ["f", bits, content, size, group, path] => {
                    let content =
                        content.parse().map_err(|_| wrong(number, "the digest is not valid"))?;
                    let size =
                        size.parse().map_err(|_| wrong(number, "the size is not a number"))?;
                    let hard_link = match *group {
                        "-" => None,
                        group => Some(
                            group
                                .parse()
                                .map_err(|_| wrong(number, "the group is not a number"))?,
                        ),
                    };
                    (
                        unescaped(path)?,
                        TreeNode::File { mode: mode(bits)?, content, size, hard_link },
                    )
                }
                ["l", path, target] => {
                    (unescaped(path)?, TreeNode::Symlink { target: unescaped(target)? })
                }
                _ => return Err(wrong(number, "neither a folder, a file nor a link")),
            };
            if path.is_empty()
                || path.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b".."))
            {
                return Err(wrong(number, "the path is not a plain relative one"));
            }
            tree.insert(path, node);
        }
        Ok(tree)
    }
}

fn escape(bytes: &[u8], text: &mut String) {
    for &byte in bytes {
        match byte {
            b'!'..=b'$' | b'&'..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    Some(bytes)
}

/// Gives the folders above a path of a tree, the outermost first.
pub fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Tree {
        let mut tree = Tree::default();
        let content = Digest::of(b"x");
        let file = |hard_link| TreeNode::File { mode: 0o4755, content, size: 1, hard_link };
        tree.insert(b"bin".to_vec(), TreeNode::Folder { mode: 0o755 });
        tree.insert(b"bin/su".to_vec(), file(None));
        tree.insert(b"bin/b".to_vec(), file(Some(7)));
        tree.insert(b"bin/a".to_vec(), file(Some(7)));
        tree.insert(b"bin/with blank".to_vec(), TreeNode::Symlink { target: b"a%\n".to_vec() });
        tree
    }

    #[test]
    fn manifest_is_pinned() {
        let digest = Digest::of(b"x");
        assert_eq!(
            sample().to_manifest(),
            format!(
                "osier-tree 1\nd 0755 bin\nf 4755 {digest} 1 0 bin/a\nf 4755 {digest} 1 0 bin/b\n\
                 f 4755 {digest} 1 - bin/su\nl bin/with%20blank a%25%0A\n"
            )
        );
    }

    #[test]
    fn each_attribute_is_in_the_digest() {
        let base = sample().digest();
        let change = |path: &[u8], node| {
            let mut tree = sample();
            tree.insert(path.to_vec(), node);
            tree.digest()
        };
        let content = Digest::of(b"x");
        let file = |mode, content, hard_link| TreeNode::File { mode, content, size: 1, hard_link };
        assert_ne!(base, change(b"bin/su", file(0o755, content, None)), "setuid");
        assert_ne!(base, change(b"bin/su", file(0o4755, Digest::of(b"y"), None)), "content");
        assert_ne!(base, change(b"bin/su", file(0o4755, content, Some(7))), "hard link");
        assert_ne!(base, change(b"bin", TreeNode::Folder { mode: 0o700 }), "folder mode");
        assert_ne!(base, change(b"bin/with blank", TreeNode::Symlink { target: b"b".to_vec() }));
        assert_eq!(base, change(b"bin/su", file(0o4755, content, None)));
    }

    #[test]
    fn wrong_texts_name_the_line() {
        for (text, line) in [
            ("", 1),
            ("osier-tree 2\n", 1),
            ("osier-tree 1\nd 0755 a\nq", 3),
            ("osier-tree 1\nd 99 a", 2),
            ("osier-tree 1\nd 0755 ../a", 2),
            ("osier-tree 1\nd 0755 /a", 2),
            ("osier-tree 1\nl a%2 b", 2),
            ("osier-tree 1\nf 0644 00 1 - a", 2),
        ] {
            assert_eq!(Tree::parse(text).unwrap_err().line, line, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(paths in proptest::collection::btree_map("[ -~é]{1,12}", 0u32..0o10000, 0..20)) {
            let mut tree = Tree::default();
            for (path, mode) in paths {
                let path = path.replace('/', "_").into_bytes();
                if path != b"." && path != b".." {
                    tree.insert(path, TreeNode::Folder { mode });
                }
            }
            prop_assert_eq!(Tree::parse(&tree.to_manifest()).unwrap(), tree);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = Tree::parse(&text);
            let _ = Tree::parse(&format!("osier-tree 1\n{text}"));
        }
    }

    #[test]
    fn a_tree_laid_under_another_shows_where_a_stack_of_layers_would_show_it() {
        let folder = |mode| TreeNode::Folder { mode };
        let file = |byte, hard_link| TreeNode::File {
            mode: 0o644,
            content: Digest([byte; 32]),
            size: 1,
            hard_link,
        };
        let tree = |entries: &[(&str, TreeNode)]| {
            let mut tree = Tree::default();
            for (path, node) in entries {
                tree.insert(path.as_bytes().to_vec(), node.clone());
            }
            tree
        };
        let mut top = tree(&[
            ("a", file(1, None)),
            ("both", folder(0o700)),
            ("both/one", file(1, Some(0))),
            ("both/two", file(1, Some(0))),
            ("deep", folder(0o755)),
        ]);
        let below = tree(&[
            // Hidden by a file, with what is in it; `a-b` stands between them in the order of bytes.
            ("a", folder(0o755)),
            ("a-b", file(2, None)),
            ("a/hidden", file(2, None)),
            ("both", folder(0o755)),
            ("both/one", file(2, None)),
            ("both/three", file(3, Some(0))),
            ("deep", file(2, None)),
            ("four", file(3, Some(0))),
        ]);
        top.lay_under(&below);
        let expected = tree(&[
            ("a", file(1, None)),
            ("a-b", file(2, None)),
            ("both", folder(0o700)),
            ("both/one", file(1, Some(0))),
            ("both/three", file(3, Some(1))),
            ("both/two", file(1, Some(0))),
            ("deep", folder(0o755)),
            ("four", file(3, Some(1))),
        ]);
        assert_eq!(top, expected);
        assert_eq!(Tree::parse(&top.to_manifest()).unwrap().digest(), expected.digest());
    }
}
