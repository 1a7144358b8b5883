//! What the writer's bytes are by the format's own description; that `btrfs check` takes them is for `prove images`, that Linux
//! does for `prove disks` and `prove ovm`.

use std::io::Cursor;

use super::*;
use crate::path::ImagePath;
use crate::tree::{Attributes, DeviceKind, Node};

const IDENTITY: BtrfsIdentity =
    BtrfsIdentity { file_system: [1; 16], device: [2; 16], chunks: [3; 16] };
const TIME: u32 = 1_577_836_800;

type Content = Vec<u8>;

fn path(text: &str) -> ImagePath {
    ImagePath::new(text).unwrap()
}

fn file(content: Content) -> Node<Content> {
    let attributes = Attributes { mode: 0o4750, uid: 70_000, gid: 7 };
    Node::File { size: content.len() as u64, content, attributes }
}

fn folder() -> Node<Content> {
    Node::Folder { attributes: Attributes::FOLDER }
}

fn image(nodes: Vec<(ImagePath, Node<Content>)>, size: Option<u64>) -> Result<Vec<u8>, BtrfsError> {
    let tree = FsTree::from_nodes(nodes).unwrap();
    let mut out = Cursor::new(Vec::new());
    let size = write_btrfs(&mut out, &tree, TIME, &IDENTITY, size, |content: &Content| {
        Ok(Cursor::new(content.clone()))
    })?;
    assert_eq!(out.get_ref().len() as u64, size);
    Ok(out.into_inner())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// An address in the image as one in memory.
fn at(address: u64) -> usize {
    usize::try_from(address).unwrap()
}

fn pattern() -> Content {
    (0..300_000_u32).map(|at| at.to_le_bytes()[0]).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Reads all items of a tree, by its root's address, and checks the sum of each block.
fn items(image: &[u8], root: u64) -> Vec<(Key, Vec<u8>)> {
    let block = &image[at(root)..at(root + NODE)];
    assert_eq!(u32_at(block, 0), checksum(&block[32..]), "the sum of {root}");
    assert_eq!(u64_at(block, 48), root);
    let key = |at| Key(u64_at(block, at), block[at + 8], u64_at(block, at + 9));
    let count = u32_at(block, 96) as usize;
    if block[100] > 0 {
        let below = (0..count).map(|number| u64_at(block, 101 + number * 33 + 17));
        return below.flat_map(|address| items(image, address)).collect();
    }
    let item = |number: usize| {
        let at = 101 + number * 25;
        let (from, size) = (u32_at(block, at + 17) as usize, u32_at(block, at + 21) as usize);
        (key(at), block[101 + from..101 + from + size].to_vec())
    };
    (0..count).map(item).collect()
}

/// The roots of all trees that the superblock leads to.
fn roots(image: &[u8]) -> std::collections::BTreeMap<u64, u64> {
    let superblock = &image[65_536..65_536 + 4096];
    assert_eq!(&superblock[64..72], b"_BHRfS_M");
    assert_eq!(u32_at(superblock, 0), checksum(&superblock[32..]));
    assert_eq!(u64_at(superblock, 0x70), image.len() as u64);
    let known = items(image, u64_at(superblock, 0x50));
    let mut roots: std::collections::BTreeMap<u64, u64> = known
        .iter()
        .filter(|(Key(_, kind, _), _)| *kind == kind::ROOT)
        .map(|(Key(owner, _, _), item)| {
            assert_eq!(item.len(), 439);
            (*owner, u64_at(item, 176))
        })
        .collect();
    roots.insert(owner::CHUNK, u64_at(superblock, 0x58));
    roots
}

fn small() -> Vec<(ImagePath, Node<Content>)> {
    vec![
        (path("dev"), folder()),
        (
            path("dev/console"),
            Node::Device {
                kind: DeviceKind::Character,
                major: 5,
                minor: 1,
                attributes: Attributes { mode: 0o600, uid: 0, gid: 5 },
            },
        ),
        (path("large"), file(pattern())),
        (path("small"), file(b"inside".to_vec())),
        (path("same"), Node::HardLink { file: path("large") }),
        (path("link"), Node::Symlink { target: b"small".to_vec() }),
    ]
}

#[test]
fn owners_modes_devices_and_links_are_the_tree_s() {
    let image = image(small(), None).unwrap();
    let files = items(&image, roots(&image)[&owner::FILES]);
    let inodes: Vec<(u32, u32, u32, u32, u64, u64)> = files
        .iter()
        .filter(|(Key(_, kind, _), _)| *kind == kind::INODE)
        .map(|(_, item)| {
            assert_eq!(u64_at(item, 112), u64::from(TIME));
            let word = |at| u32_at(item, at);
            (word(40), word(44), word(48), word(52), u64_at(item, 16), u64_at(item, 56))
        })
        .collect();
    // Links, user, group, mode, size, device.
    assert_eq!(
        inodes,
        [
            (1, 0, 0, 0o40_755, 2 * (3 + 5 + 4 + 4 + 5), 0),
            (1, 0, 0, 0o40_755, 2 * 7, 0),
            (1, 0, 5, 0o20_600, 0, 5 << 20 | 1),
            (2, 70_000, 7, 0o104_750, 300_000, 0),
            (1, 0, 0, 0o120_777, 5, 0),
            (1, 70_000, 7, 0o104_750, 6, 0),
        ]
    );
}

#[test]
fn the_bytes_of_files_are_where_the_extents_say_with_their_sums() {
    let image = image(small(), None).unwrap();
    let roots = roots(&image);
    let (_, extent) = items(&image, roots[&owner::FILES])
        .into_iter()
        .find(|(Key(_, kind, _), item)| *kind == kind::EXTENT_DATA && item[20] == 1)
        .unwrap();
    let (start, length) = (at(u64_at(&extent, 21)), at(u64_at(&extent, 29)));
    assert_eq!(length, 300_000_usize.next_multiple_of(4096));
    assert!(image[start..start + 300_000] == pattern());
    let sums = items(&image, roots[&owner::CHECKSUM]);
    let sums: Vec<u32> =
        sums.iter().flat_map(|(_, item)| item.chunks(4).map(|sum| u32_at(sum, 0))).collect();
    let found: Vec<u32> = image[start..start + length].chunks(4096).map(checksum).collect();
    assert_eq!(sums, found);
}

#[test]
fn every_block_in_use_has_its_item_and_is_counted_once() {
    let mut nodes = small();
    nodes.extend(
        (0..9_000_usize)
            .map(|at| (path(&format!("f{at}")), file(vec![at.to_le_bytes()[0]; at % 3_000]))),
    );
    let image = image(nodes, None).unwrap();
    let roots = roots(&image);
    let extents = items(&image, roots[&owner::EXTENT]);
    let used: u64 = extents
        .iter()
        .map(|(Key(_, kind, offset), _)| match *kind {
            kind::EXTENT => *offset,
            kind::METADATA => NODE,
            _ => 0,
        })
        .sum();
    let groups = extents.iter().filter(|(Key(_, kind, _), _)| *kind == kind::GROUP);
    assert_eq!(groups.map(|(_, item)| u64_at(item, 0)).sum::<u64>(), used);
    assert_eq!(u64_at(&image, 65_536 + 0x78), used);
    let trees: usize = roots.values().map(|root| items(&image, *root).len()).sum();
    assert!(trees > 27_000, "{trees}");
}

#[test]
fn nothing_lies_on_the_second_superblock() {
    for large in [58 << 20, 70 << 20] {
        let nodes =
            vec![(path("large"), file(vec![7; large])), (path("more"), file(vec![8; 5 << 20]))];
        let image = image(nodes, None).unwrap();
        assert_eq!(&image[(64 << 20) + 64..(64 << 20) + 72], b"_BHRfS_M", "{large}");
        let extents = items(&image, roots(&image)[&owner::EXTENT]);
        let over = extents.iter().find(|(Key(start, kind, offset), _)| {
            let length = match *kind {
                kind::EXTENT => *offset,
                kind::METADATA => NODE,
                _ => return false,
            };
            *start < (64 << 20) + 65_536 && start + length > 64 << 20
        });
        assert_eq!(over, None, "{large}");
    }
}

#[test]
fn a_size_is_kept_or_refused_with_what_is_needed() {
    assert_eq!(image(small(), Some((16 << 20) + 5)).unwrap().len(), 16 << 20);
    let error = image(small(), Some(5 << 20)).unwrap_err().to_string();
    assert_eq!(error, "its files need 7340032 bytes as btrfs, but the size is 5242880");
}

#[test]
fn a_file_with_more_names_than_an_item_takes_has_them_all() {
    let mut nodes = vec![(path("a"), file(b"x".to_vec()))];
    let name = |at: u32| path(&format!("{at:0>240}"));
    nodes.extend((0..200).map(|at| (name(at), Node::HardLink { file: path("a") })));
    let image = image(nodes, None).unwrap();
    let files = items(&image, roots(&image)[&owner::FILES]);
    let names = |wanted, head| {
        let found = files.iter().filter(move |(Key(_, kind, _), _)| *kind == wanted);
        found.fold(0, |count, (_, item)| {
            let (mut at, mut names) = (0, 0);
            while at < item.len() {
                at += head
                    + usize::from(u16::from_le_bytes([item[at + head - 2], item[at + head - 1]]));
                names += 1;
            }
            count + names
        })
    };
    // The root folder's `..` is one of them.
    assert_eq!(names(kind::INODE_REF, 10) + names(kind::INODE_EXTREF, 18), 202);
    assert!(names(kind::INODE_EXTREF, 18) > 100);
}
