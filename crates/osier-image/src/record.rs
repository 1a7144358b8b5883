//! A tree as text, one line for each node, and back: what a later run needs of a composed tree.
//!
//! Fields are separated by tabs. Paths and targets have all bytes but printable ASCII as `\xNN`, the backslash included.
//! A line begins with the letter that a manifest has for such a node: `f` file, `d` folder, `s` symlink, `h` hard link,
//! `c` and `b` devices, `p` pipe.

use std::fmt::Write as _;

use crate::path::ImagePath;
use crate::tree::{Attributes, DeviceKind, FsTree, Node};

/// The version of the text.
pub const RECORD_VERSION: u32 = 1;

/// A text that is no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of a recorded tree is not one that osier writes")]
pub struct RecordError {
    /// Counted from 1.
    pub line: usize,
}

/// Writes a tree; `content` gives a word for the bytes of a file.
pub fn write_record<C>(tree: &FsTree<C>, content: impl Fn(&C) -> String) -> String {
    let mut text = String::new();
    // Hard links come behind the files that they are names of.
    let is_link = |node: &Node<C>| matches!(node, Node::HardLink { .. });
    let (links, others): (Vec<_>, Vec<_>) = tree.iter().partition(|(_, node)| is_link(node));
    for (path, node) in others.into_iter().chain(links) {
        let path = escaped(path.as_bytes());
        // Writing to a string cannot fail.
        let _ = match node {
            Node::File { content: bytes, size, attributes } => {
                let (bytes, owner) = (content(bytes), owner(attributes));
                writeln!(text, "f\t{path}\t{owner}\t{size}\t{bytes}")
            }
            Node::Folder { attributes } => writeln!(text, "d\t{path}\t{}", owner(attributes)),
            Node::Symlink { target } => writeln!(text, "s\t{path}\t{}", escaped(target)),
            Node::HardLink { file } => writeln!(text, "h\t{path}\t{}", escaped(file.as_bytes())),
            Node::Device { kind, major, minor, attributes } => {
                let letter = if *kind == DeviceKind::Character { 'c' } else { 'b' };
                writeln!(text, "{letter}\t{path}\t{}\t{major}\t{minor}", owner(attributes))
            }
            Node::Fifo { attributes } => writeln!(text, "p\t{path}\t{}", owner(attributes)),
        };
    }
    text
}

/// Reads what [`write_record`] has written; `content` reads the word for the bytes of a file.
pub fn read_record<C>(
    text: &str,
    content: impl Fn(&str) -> Option<C>,
) -> Result<FsTree<C>, RecordError> {
    let mut tree = FsTree::new();
    for (number, line) in text.lines().enumerate() {
        let read = read_line(line, &content);
        let added = read.and_then(|(path, node)| tree.insert(path, node).ok());
        added.ok_or(RecordError { line: number + 1 })?;
    }
    Ok(tree)
}

fn read_line<C>(line: &str, content: &impl Fn(&str) -> Option<C>) -> Option<(ImagePath, Node<C>)> {
    let mut fields = line.split('\t');
    let letter = fields.next()?;
    let path = match fields.next()? {
        "" => ImagePath::root(),
        path => ImagePath::new(unescaped(path)?).ok()?,
    };
    let node = match letter {
        "s" => Node::Symlink { target: unescaped(fields.next()?)? },
        "h" => Node::HardLink { file: ImagePath::new(unescaped(fields.next()?)?).ok()? },
        _ => {
            let attributes = Attributes {
                mode: u16::from_str_radix(fields.next()?, 8).ok()?,
                uid: fields.next()?.parse().ok()?,
                gid: fields.next()?.parse().ok()?,
            };
            match letter {
                "f" => Node::File {
                    size: fields.next()?.parse().ok()?,
                    content: content(fields.next()?)?,
                    attributes,
                },
                "d" => Node::Folder { attributes },
                "p" => Node::Fifo { attributes },
                "c" | "b" => Node::Device {
                    kind: match letter {
                        "c" => DeviceKind::Character,
                        _ => DeviceKind::Block,
                    },
                    major: fields.next()?.parse().ok()?,
                    minor: fields.next()?.parse().ok()?,
                    attributes,
                },
                _ => return None,
            }
        }
    };
    fields.next().is_none().then_some((path, node))
}

fn owner(attributes: &Attributes) -> String {
    format!("{:o}\t{}\t{}", attributes.mode, attributes.uid, attributes.gid)
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b' '..=b'~' if *byte != b'\\' => text.push(char::from(*byte)),
            byte => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let digits = escape.strip_prefix('x')?;
        bytes.push(u8::from_str_radix(digits.get(..2)?, 16).ok()?);
        rest = &digits[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> FsTree<u32> {
        let path = |text: &[u8]| ImagePath::new(text).unwrap();
        let attributes = Attributes { mode: 0o4755, uid: 7, gid: 4_000_000_000 };
        let file = |content| Node::File { content, size: u64::MAX, attributes };
        let device = |kind| Node::Device { kind, major: 4095, minor: 1_048_575, attributes };
        FsTree::from_nodes([
            (
                ImagePath::root(),
                Node::Folder { attributes: Attributes { mode: 0o700, ..attributes } },
            ),
            (path(b"a"), Node::HardLink { file: path(b"z \t\n\\\xff\xc3\xa9") }),
            (path(b"z \t\n\\\xff\xc3\xa9"), file(3)),
            (path(b"d"), Node::Folder { attributes }),
            (path(b"d/link"), Node::Symlink { target: b"../\xfe \\x41".to_vec() }),
            (path(b"d/c"), device(DeviceKind::Character)),
            (path(b"d/b"), device(DeviceKind::Block)),
            (path(b"d/p"), Node::Fifo { attributes }),
        ])
        .unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let tree = tree();
        let text = write_record(&tree, u32::to_string);
        assert!(text.is_ascii());
        assert_eq!(read_record(&text, |word| word.parse().ok()).as_ref(), Ok(&tree), "{text}");
        assert_eq!(text, write_record(&tree, u32::to_string));
    }

    #[test]
    fn a_damaged_text_is_refused_and_never_taken_for_another_tree() {
        let text = write_record(&tree(), u32::to_string);
        let read = |text: &str| read_record(text, |word| word.parse::<u32>().ok());
        for (number, line) in text.lines().enumerate() {
            for wrong in [format!("{line}\tx"), format!("x{line}"), line.replace('\t', " ")] {
                let changed = text.replacen(&format!("{line}\n"), &format!("{wrong}\n"), 1);
                assert_eq!(read(&changed), Err(RecordError { line: number + 1 }), "{wrong}");
            }
        }
        for wrong in ["f\ta\\x4", "f\ta\\q41\t755\t0\t0\t1\t1", "d\t\\xé\t755\t0\t0", "\t\t", "d"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
