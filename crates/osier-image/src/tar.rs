//! Writes trees as tar archives, for tools that make file systems from one.
//!
//! In the form of GNU tar (tar(5), "GNU tar archives"): long names come as entries of their own and large
//! numbers in base 256, so that every name and owner of a tree gets through as it is, bytes that
//! are not UTF-8 included. `mke2fs -d` and `mkfs.erofs --tar` both read it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use crate::content::{ContentError, copy_content};
use crate::path::ImagePath;
use crate::tree::{Attributes, DeviceKind, FsTree, Node};

/// Names what this writer's bytes depend on, besides its arguments. It belongs into cache keys
/// and moves when the same tree gives other bytes.
pub const TAR_VERSION: &str = "tar 1";

/// The unit of the format, in bytes.
const BLOCK: usize = 512;
/// The most bytes of a name or a link's target in a header.
const SHORT: usize = 100;

/// Writes all nodes of a tree in the order of their paths, the root as `./`, and the end of the archive.
///
/// All nodes have the time `mtime`, in seconds since 1970. Of a file with several names the first
/// in the order of paths has the bytes, and the others link to it. `open` leads from a file's
/// handle to its bytes and is asked once for each file that is not empty.
pub fn write_tar<'t, C, R: Read>(
    out: &mut impl Write,
    tree: &'t FsTree<C>,
    mtime: u32,
    mut open: impl FnMut(&'t C) -> io::Result<R>,
) -> Result<(), ContentError> {
    let mut archive = Archive { out, mtime };
    // The name under which the bytes of a file were written.
    let mut written: BTreeMap<&ImagePath, &ImagePath> = BTreeMap::new();
    for (path, node) in tree.iter() {
        let file = match node {
            Node::HardLink { file } => file,
            Node::File { .. } => path,
            other => {
                archive.other(path, other)?;
                continue;
            }
        };
        let Some(Node::File { content, size, attributes }) = tree.get(file) else {
            unreachable!("a tree has the files of its hard links");
        };
        if let Some(first) = written.get(file) {
            let target = [b"./", first.as_bytes()].concat();
            archive.header(path, b'1', *attributes, 0, (0, 0), &target)?;
            continue;
        }
        written.insert(file, path);
        archive.header(path, b'0', *attributes, *size, (0, 0), b"")?;
        if *size > 0 {
            copy_content(path, content, *size, &mut open, archive.out)?;
            archive.pad(*size)?;
        }
    }
    archive.put(&[0; 2 * BLOCK])
}

struct Archive<'o, W> {
    out: &'o mut W,
    mtime: u32,
}

impl<W: Write> Archive<'_, W> {
    fn other<C>(&mut self, path: &ImagePath, node: &Node<C>) -> Result<(), ContentError> {
        let attributes = node.attributes().unwrap_or(Attributes::SYMLINK);
        match node {
            Node::Folder { .. } => self.header(path, b'5', attributes, 0, (0, 0), b""),
            Node::Symlink { target } => self.header(path, b'2', attributes, 0, (0, 0), target),
            Node::Fifo { .. } => self.header(path, b'6', attributes, 0, (0, 0), b""),
            Node::Device { kind, major, minor, .. } => {
                let kind = match kind {
                    DeviceKind::Character => b'3',
                    DeviceKind::Block => b'4',
                };
                self.header(path, kind, attributes, 0, (*major, *minor), b"")
            }
            Node::File { .. } | Node::HardLink { .. } => unreachable!("see `write_tar`"),
        }
    }

    fn header(
        &mut self,
        path: &ImagePath,
        kind: u8,
        attributes: Attributes,
        size: u64,
        device: (u32, u32),
        target: &[u8],
    ) -> Result<(), ContentError> {
        let slash: &[u8] = if kind == b'5' && !path.is_root() { b"/" } else { b"" };
        let name = [b"./", path.as_bytes(), slash].concat();
        self.long(b'K', target)?;
        self.long(b'L', &name)?;
        self.block(&name, kind, attributes, size, device, target)
    }

    /// Writes a name that no header can hold as the body of an entry before it.
    fn long(&mut self, kind: u8, name: &[u8]) -> Result<(), ContentError> {
        if name.len() <= SHORT {
            return Ok(());
        }
        let size = name.len() as u64 + 1;
        let nobody = Attributes { mode: 0, uid: 0, gid: 0 };
        self.block(b"././@LongLink", kind, nobody, size, (0, 0), b"")?;
        self.put(name)?;
        self.put(&[0])?;
        self.pad(size)
    }

    fn block(
        &mut self,
        name: &[u8],
        kind: u8,
        Attributes { mode, uid, gid }: Attributes,
        size: u64,
        (major, minor): (u32, u32),
        target: &[u8],
    ) -> Result<(), ContentError> {
        let mut block = [0; BLOCK];
        let mut text = |at: usize, bytes: &[u8]| {
            let bytes = &bytes[..bytes.len().min(SHORT)];
            block[at..at + bytes.len()].copy_from_slice(bytes);
        };
        text(0, name);
        text(157, target);
        text(257, b"ustar  ");
        block[156] = kind;
        number(&mut block[100..108], mode.into());
        number(&mut block[108..116], uid.into());
        number(&mut block[116..124], gid.into());
        number(&mut block[124..136], size);
        number(&mut block[136..148], self.mtime.into());
        number(&mut block[329..337], major.into());
        number(&mut block[337..345], minor.into());
        // The sum is over the header with blanks in the place of the sum.
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        number(&mut block[148..155], sum);
        self.put(&block)
    }

    fn pad(&mut self, size: u64) -> Result<(), ContentError> {
        let over = (size % 512) as usize;
        if over > 0 { self.put(&[0; BLOCK][over..]) } else { Ok(()) }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        self.out.write_all(bytes).map_err(ContentError::Write)
    }
}

/// Writes a number as octal digits and a NUL; one that has too many digits in base 256, marked by the first bit.
fn number(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    if value < 1 << (3 * digits) {
        for (at, place) in field[..digits].iter_mut().rev().enumerate() {
            *place = b'0' + (value >> (3 * at) & 7) as u8;
        }
        field[digits] = 0;
    } else {
        field.fill(0);
        for (place, byte) in field.iter_mut().rev().zip(value.to_be_bytes().into_iter().rev()) {
            *place = byte;
        }
        field[0] |= 0x80;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    type Bytes = Vec<u8>;

    fn path(text: &[u8]) -> ImagePath {
        ImagePath::new(text).unwrap()
    }

    fn written(nodes: Vec<(ImagePath, Node<Bytes>)>) -> Bytes {
        let tree = FsTree::from_nodes(nodes).unwrap();
        let mut out = Vec::new();
        write_tar(&mut out, &tree, 1_577_836_800, |content| Ok(content.as_slice())).unwrap();
        out
    }

    /// Name, type, mode, owner, group, time, device, link and content, as another reader sees them.
    type Seen = (Bytes, u8, u32, u64, u64, u64, Option<(u32, u32)>, Option<Bytes>, Bytes);

    fn read(archive: &[u8]) -> Vec<Seen> {
        let mut archive = tar::Archive::new(archive);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            let device = header.device_major().unwrap().zip(header.device_minor().unwrap());
            let is_device = header.entry_type().is_character_special()
                || header.entry_type().is_block_special();
            seen.push((
                entry.path_bytes().to_vec(),
                header.entry_type().as_byte(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mtime().unwrap(),
                device.filter(|_| is_device),
                entry.link_name_bytes().map(|name| name.to_vec()),
                content,
            ));
        }
        seen
    }

    #[test]
    fn another_reader_sees_the_same_tree() {
        let owned = |mode, uid, gid| Attributes { mode, uid, gid };
        let time = 1_577_836_800;
        let long = [b"d".repeat(120), b"/".to_vec(), b"e".repeat(200)].concat();
        let archive = written(vec![
            (ImagePath::root(), Node::Folder { attributes: owned(0o700, 3, 4) }),
            // Of the two names the one that comes first has the bytes.
            (path(b"also"), Node::HardLink { file: path(b"file") }),
            (
                path(b"file"),
                Node::File {
                    content: b"x".repeat(513),
                    size: 513,
                    attributes: owned(0o4755, 70_000, 4_000_000_000),
                },
            ),
            (path(b"tmp"), Node::Folder { attributes: owned(0o1777, 0, 0) }),
            (
                path(b"disk"),
                Node::Device {
                    kind: DeviceKind::Block,
                    major: 259,
                    minor: 1_048_575,
                    attributes: owned(0o660, 0, 6),
                },
            ),
            (path(b"pipe"), Node::Fifo { attributes: owned(0o600, 0, 0) }),
            (path(b"not \xff utf-8"), Node::Symlink { target: b"t".repeat(300) }),
            (path(&long[..120]), Node::Folder { attributes: Attributes::FOLDER }),
            (path(&long), Node::File { content: vec![], size: 0, attributes: owned(0o600, 0, 0) }),
        ]);
        assert_eq!(archive.len() % BLOCK, 0);
        let folder = |name: &[u8], mode, uid, gid| -> Seen {
            (name.to_vec(), b'5', mode, uid, gid, time, None, None, vec![])
        };
        let owner = (70_000, 4_000_000_000);
        let expected: Vec<Seen> = vec![
            folder(b"./", 0o700, 3, 4),
            (
                b"./also".to_vec(),
                b'0',
                0o4755,
                owner.0,
                owner.1,
                time,
                None,
                None,
                b"x".repeat(513),
            ),
            folder(&[b"./".as_slice(), &long[..120], b"/"].concat(), 0o755, 0, 0),
            ([b"./".as_slice(), &long].concat(), b'0', 0o600, 0, 0, time, None, None, vec![]),
            (b"./disk".to_vec(), b'4', 0o660, 0, 6, time, Some((259, 1_048_575)), None, vec![]),
            (
                b"./file".to_vec(),
                b'1',
                0o4755,
                owner.0,
                owner.1,
                time,
                None,
                Some(b"./also".to_vec()),
                vec![],
            ),
            (
                b"./not \xff utf-8".to_vec(),
                b'2',
                0o777,
                0,
                0,
                time,
                None,
                Some(b"t".repeat(300)),
                vec![],
            ),
            (b"./pipe".to_vec(), b'6', 0o600, 0, 0, time, None, None, vec![]),
            folder(b"./tmp/", 0o1777, 0, 0),
        ];
        assert_eq!(read(&archive), expected);
    }

    #[test]
    fn sizes_beyond_octal_digits_are_in_base_256() {
        let mut field = [0; 12];
        number(&mut field, (1 << 33) - 1);
        assert_eq!(&field, b"77777777777\0");
        number(&mut field, 1 << 33);
        assert_eq!(field, [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
        let mut field = [0; 8];
        number(&mut field, 0xffff_fffe);
        assert_eq!(field, [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe]);
    }

    #[test]
    fn a_content_of_another_size_is_an_error() {
        let tree = FsTree::from_nodes([(
            path(b"a"),
            Node::File { content: b"ab".to_vec(), size: 3, attributes: Attributes::FOLDER },
        )])
        .unwrap();
        let mut out = Vec::new();
        let error = write_tar(&mut out, &tree, 0, |content| Ok(content.as_slice())).unwrap_err();
        assert_eq!(error.to_string(), "content of `a` has 2 bytes, but 3 are declared");
    }
}
