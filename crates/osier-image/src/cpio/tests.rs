//! Archives written and read back, byte for byte.

use std::io::{self, Read};

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::path::ImagePath;
use crate::tree::{Attributes, DeviceKind, FsTree, Node};

type Bytes = Vec<u8>;

fn path(text: &str) -> ImagePath {
    ImagePath::new(text).unwrap()
}

fn attributes(mode: u16, uid: u32, gid: u32) -> Attributes {
    Attributes { mode, uid, gid }
}

fn file(content: &[u8], mode: u16) -> Node<Bytes> {
    let size = content.len() as u64;
    Node::File { content: content.to_vec(), size, attributes: attributes(mode, 0, 0) }
}

fn folder(mode: u16) -> Node<Bytes> {
    Node::Folder { attributes: attributes(mode, 0, 0) }
}

fn open(content: &Bytes) -> io::Result<&[u8]> {
    Ok(content)
}

fn write(tree: &FsTree<Bytes>) -> Bytes {
    let mut archive = CpioWriter::new(Vec::new(), 0x5f5e_1000);
    archive.write_tree(tree, open).unwrap();
    let (bytes, written) = archive.finish().unwrap();
    assert_eq!(bytes.len() as u64, written);
    assert_eq!(written % 4, 0);
    bytes
}

fn sample() -> FsTree<Bytes> {
    FsTree::from_nodes([
        (path("init"), file(b"#!/bin/sh\n", 0o755)),
        (path("bin"), folder(0o755)),
        (path("bin/a"), file(b"12345", 0o4755)),
        (path("bin/b"), Node::HardLink { file: path("bin/a") }),
        (path("bin/c"), Node::HardLink { file: path("bin/a") }),
        (path("bin/sh"), Node::Symlink { target: b"a".to_vec() }),
        (path("dev"), folder(0o755)),
        (
            path("dev/console"),
            Node::Device {
                kind: DeviceKind::Character,
                major: 5,
                minor: 1,
                attributes: attributes(0o600, 0, 5),
            },
        ),
        (
            path("dev/vda"),
            Node::Device {
                kind: DeviceKind::Block,
                major: 4095,
                minor: 0xf_ffff,
                attributes: attributes(0o660, 0, 6),
            },
        ),
        (path("empty"), Node::File { content: vec![], size: 0, attributes: attributes(0, 1, 2) }),
        (path("run"), Node::Fifo { attributes: attributes(0o1777, 1000, 0xffff_fffe) }),
    ])
    .unwrap()
}

#[test]
fn byte_exact() {
    let tree = FsTree::from_nodes([
        (path("a"), file(b"hello", 0o644)),
        (path("l"), Node::Symlink { target: b"a".to_vec() }),
    ])
    .unwrap();
    // ino mode uid gid nlink mtime filesize maj min rmaj rmin namesize check
    let expected = [
        "070701000000010000 41ED 00000000 00000000 00000002 5F5E1000 00000000",
        "00000000 00000000 00000000 00000000 00000002 00000000.~",
        "070701000000020000 81A4 00000000 00000000 00000001 5F5E1000 00000005",
        "00000000 00000000 00000000 00000000 00000002 00000000a~hello~~~",
        "070701000000030000 A1FF 00000000 00000000 00000001 5F5E1000 00000001",
        "00000000 00000000 00000000 00000000 00000002 00000000l~a~~~",
        "070701000000000000 0000 00000000 00000000 00000001 00000000 00000000",
        "00000000 00000000 00000000 00000000 0000000B 00000000TRAILER!!!~~~~",
    ]
    .concat()
    .replace(' ', "")
    .replace('~', "\0");
    assert_eq!(String::from_utf8(write(&tree)).unwrap(), expected);
}

#[test]
fn golden() {
    let bytes = write(&sample());
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "4d670388ac8a3641d74528a72836094acdf7ccc0b10e5172b70324b2cb8c5cc2");
}

#[test]
fn hard_links_share_an_inode_and_the_last_has_the_body() {
    let bytes = write(&sample());
    let mut reader = CpioReader::new(&bytes[..]);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        if entry.links > 1 && entry.mode & KIND_MASK == FILE {
            found.push((
                String::from_utf8(entry.name).unwrap(),
                entry.inode,
                entry.links,
                entry.size,
            ));
        }
    }
    let expected = [("bin/a", 3, 3, 0), ("bin/b", 3, 3, 0), ("bin/c", 3, 3, 5)];
    assert_eq!(
        found,
        expected.map(|(name, inode, links, size)| (name.to_owned(), inode, links, size))
    );
}

#[test]
fn a_name_that_sorts_before_its_file_is_the_same_group() {
    let tree = FsTree::from_nodes([
        (path("a"), Node::HardLink { file: path("b") }),
        (path("b"), file(b"x", 0o600)),
    ])
    .unwrap();
    let other = FsTree::from_nodes([
        (path("a"), file(b"x", 0o600)),
        (path("b"), Node::HardLink { file: path("a") }),
    ])
    .unwrap();
    assert_eq!(write(&tree), write(&other));
}

#[test]
fn round_trip_of_every_kind() {
    let tree = sample();
    assert_eq!(read_tree(&write(&tree)[..], 1 << 20).unwrap(), tree);
}

#[test]
fn root_keeps_its_attributes() {
    let mut tree = sample();
    tree.insert(ImagePath::root(), Node::Folder { attributes: attributes(0o700, 3, 4) }).unwrap();
    assert_eq!(read_tree(&write(&tree)[..], 1 << 20).unwrap(), tree);
}

/// `gnu.cpio` was written by GNU cpio 2.13, `-o -H newc --reproducible -R 0:0`: nodes are not in
/// order, inode numbers begin at 0, the end is padded to 512 bytes.
#[test]
fn what_gnu_cpio_writes_is_read() {
    let expected = FsTree::from_nodes([
        (path("z"), file(b"x\n", 0o644)),
        (path("d"), folder(0o755)),
        (path("d/a"), file(b"hello", 0o640)),
        (path("d/b"), Node::HardLink { file: path("d/a") }),
        (path("d/l"), Node::Symlink { target: b"a".to_vec() }),
    ])
    .unwrap();
    let bytes = include_bytes!("gnu.cpio");
    assert_eq!(read_tree(&bytes[..], 100).unwrap(), expected);
    let mut reader = CpioReader::new(&bytes[..]);
    while reader.next_entry().unwrap().is_some() {}
    assert!(!reader.next_archive().unwrap());
}

#[test]
fn names_may_begin_with_a_dot() {
    let one = |name: &str| FsTree::from_nodes([(path(name), folder(0o711))]).unwrap();
    let mut bytes = write(&one("xxa"));
    let at = bytes.windows(4).position(|bytes| bytes == b"xxa\0").unwrap();
    bytes[at..at + 2].copy_from_slice(b"./");
    assert_eq!(read_tree(&bytes[..], 0).unwrap(), one("a"));
}

#[test]
fn appended_archive_is_read_after_the_first() {
    let tree = FsTree::from_nodes([(path("nonce"), file(b"42", 0o400))]).unwrap();
    let mut image = write(&sample());
    // As if compression had ended at an odd byte: the kernel counts from the image's start.
    image.extend_from_slice(&[0]);
    let before = image.len() as u64;
    let added = append_archive(&mut image, before, &tree, 0, open).unwrap();
    assert_eq!(image.len() as u64, before + added);
    let mut reader = CpioReader::new(&image[..]);
    while reader.next_entry().unwrap().is_some() {}
    assert!(reader.next_archive().unwrap());
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!((&entry.name[..], entry.mode), (&b"nonce"[..], FILE | 0o400));
    assert_eq!(reader.read_body(&entry, 2).unwrap(), b"42");
    assert_eq!(reader.next_entry().unwrap(), None);
    assert!(!reader.next_archive().unwrap());
}

/// Gives fewer bytes than asked for, and is interrupted now and then.
struct Slow<'a>(&'a [u8], bool);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = buffer.len().min(1);
        self.0.read(&mut buffer[..most])
    }
}

#[test]
fn slow_contents_and_inputs_give_the_same() {
    let mut archive = CpioWriter::new(Vec::new(), 0x5f5e_1000);
    let tree = sample();
    archive.write_tree(&tree, |content| Ok(Slow(content, false))).unwrap();
    let bytes = archive.finish().unwrap().0;
    assert_eq!(bytes, write(&sample()));
    assert_eq!(read_tree(Slow(&bytes, true), 1 << 20).unwrap(), sample());
}

#[test]
fn wrong_contents_are_named() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("no"))
        }
    }
    fn fails<R: Read>(name: &str, size: u64, open: impl FnMut(&()) -> io::Result<R>) -> String {
        let node = Node::File { content: (), size, attributes: Attributes::FOLDER };
        let tree = FsTree::from_nodes([(path(name), node)]).unwrap();
        let mut archive = CpioWriter::new(io::sink(), 0);
        archive.write_tree(&tree, open).unwrap_err().to_string()
    }
    let nothing = |(): &()| -> io::Result<&[u8]> { Ok(b"") };
    assert_eq!(
        fails("a", 4, |()| Ok(&b"123"[..])),
        "content of `a` has 3 bytes, but 4 are declared"
    );
    assert_eq!(
        fails("a", 2, |()| Ok(&b"123"[..])),
        "content of `a` has more than the declared 2 bytes"
    );
    assert_eq!(fails("a", 1, |()| Ok(Broken)), "cannot read the content of `a`");
    assert_eq!(
        fails("a", 1, |()| Err::<&[u8], _>(io::Error::other("no"))),
        "cannot open the content of `a`"
    );
    assert_eq!(
        fails("a", 1 << 32, nothing),
        "`a` has 4294967296 bytes; newc holds files of at most 4294967295 bytes"
    );
    assert_eq!(
        fails("TRAILER!!!", 0, nothing),
        "`TRAILER!!!` has the name that ends a cpio archive"
    );
}

#[test]
fn a_large_file_with_several_names_is_refused_at_the_first() {
    let attributes = Attributes::FOLDER;
    let tree = FsTree::from_nodes([
        (path("a"), Node::File { content: (), size: 1 << 32, attributes }),
        (path("b"), Node::HardLink { file: path("a") }),
    ])
    .unwrap();
    let mut archive = CpioWriter::new(io::sink(), 0);
    let open = |(): &()| -> io::Result<&[u8]> { panic!("it is not even opened") };
    assert!(matches!(archive.write_tree(&tree, open), Err(CpioError::TooLarge { .. })));
}

#[test]
fn foreign_faults_are_named() {
    let good = write(&FsTree::from_nodes([(path("a"), file(b"hello", 0o644))]).unwrap());
    let with = |at: usize, text: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + text.len()].copy_from_slice(text);
        bytes
    };
    // The root takes 112 bytes; the entry of `a` begins there.
    let table: &[(Bytes, &str)] = &[
        (Vec::new(), "archive ends at byte 0, inside a header"),
        (good[..100].to_vec(), "archive ends at byte 100, inside a header"),
        (good[..226].to_vec(), "archive ends at byte 226, inside a body"),
        (good[..230].to_vec(), "archive ends at byte 230, inside a body's padding"),
        (good[..232].to_vec(), "archive ends at byte 232, inside a header"),
        (with(112, b"070707"), "no newc header (070701) at byte 112 but `070707`"),
        (with(118, b"0000000g"), "number 1 of the header at byte 112 is not hexadecimal"),
        (with(118, b"+0000000"), "number 1 of the header at byte 112 is not hexadecimal"),
        (with(206, b"00000001"), "unsound name in the header at byte 112"),
        (with(206, b"00001001"), "unsound name in the header at byte 112"),
        (with(206, b"00001000"), "archive ends at byte 356, inside a name"),
        (with(222, b"\0"), "unsound name in the header at byte 112"),
        (
            with(222, b"/"),
            "entry `/`: path begins with `/`; paths are relative to the image's root",
        ),
        (with(126, b"0000C1A4"), "`a` has type bits 140000, which a tree cannot hold"),
        (with(166, b"FFFFFFFF"), "body of `a` makes more than 1000 bytes"),
        (
            with(142, b"FFFFFFFF"),
            "the entries make no tree: `a` has 4294967295 (-1) as owner or group",
        ),
    ];
    for (bytes, message) in table {
        assert_eq!(read_tree(&bytes[..], 1000).unwrap_err().to_string(), *message);
    }
    let mut reader = CpioReader::new(&b"\0\0\0\0\x00070701"[..]);
    let message = "byte 5, after the end of an archive, is neither zero nor begins another archive";
    assert_eq!(reader.next_archive().unwrap_err().to_string(), message);
}

fn arbitrary_node() -> impl Strategy<Value = Node<Bytes>> {
    let attributes = (0_u16..=0o7777, any::<u32>(), any::<u32>()).prop_map(|(mode, uid, gid)| {
        attributes(mode, uid.min(u32::MAX - 1), gid.min(u32::MAX - 1))
    });
    let content = prop::collection::vec(any::<u8>(), 0..9);
    (0..6, attributes, content, 0..4096_u32, 0..(1_u32 << 20)).prop_map(
        |(kind, attributes, content, major, minor)| match kind {
            0 => Node::File { size: content.len() as u64, content, attributes },
            1 => Node::Symlink { target: b"x".repeat(content.len() + 1) },
            2 => Node::Device { kind: DeviceKind::Character, major, minor, attributes },
            3 => Node::Device { kind: DeviceKind::Block, major, minor, attributes },
            4 => Node::Fifo { attributes },
            _ => Node::Folder { attributes },
        },
    )
}

/// A tree of what fits together of arbitrary nodes, with some hard links.
fn arbitrary_tree() -> impl Strategy<Value = FsTree<Bytes>> {
    let nodes = prop::collection::vec(("[a-c]{1,2}(/[a-c]){0,3}", arbitrary_node()), 0..40);
    let links = prop::collection::vec((any::<prop::sample::Index>(), "[d-f]{1,3}"), 0..6);
    (nodes, links).prop_map(|(nodes, links)| {
        let mut tree = FsTree::new();
        for (text, node) in nodes {
            let place = path(&text);
            // Parents are made, so that deep nodes are not rare.
            let mut above: Vec<_> =
                std::iter::successors(place.parent(), ImagePath::parent).collect();
            above.pop();
            for parent in above.into_iter().rev() {
                let _ = tree.insert(parent, folder(0o755));
            }
            let _ = tree.insert(place, node);
        }
        let files: Vec<ImagePath> = tree
            .iter()
            .filter(|(_, node)| matches!(node, Node::File { .. }))
            .map(|(path, _)| path.clone())
            .collect();
        for (index, name) in links {
            if !files.is_empty() {
                // Names from `d` on come after all files, which thus are first of their group.
                let _ =
                    tree.insert(path(&name), Node::HardLink { file: index.get(&files).clone() });
            }
        }
        tree
    })
}

proptest! {
    #[test]
    fn any_order_gives_the_same_bytes(
        (tree, shuffled) in arbitrary_tree().prop_flat_map(|tree| {
            let nodes: Vec<_> =
                tree.iter().map(|(path, node)| (path.clone(), node.clone())).collect();
            (Just(tree), Just(nodes).prop_shuffle())
        })
    ) {
        let again = FsTree::from_nodes(shuffled).unwrap();
        prop_assert_eq!(write(&again), write(&tree));
    }

    #[test]
    fn round_trip(tree in arbitrary_tree()) {
        prop_assert_eq!(read_tree(&write(&tree)[..], 1 << 20).unwrap(), tree);
    }

    #[test]
    fn foreign_bytes_never_panic(
        tree in arbitrary_tree(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = write(&tree);
        for (index, byte) in edits {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let _ = read_tree(&bytes[..], 1 << 16);
        bytes.truncate(cut.index(bytes.len()));
        let _ = read_tree(&bytes[..], 1 << 16);
        let mut reader = CpioReader::new(&bytes[..]);
        while reader.next_archive().unwrap_or(false) {
            while let Ok(Some(_)) = reader.next_entry() {}
        }
    }
}
