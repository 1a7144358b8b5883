//! How large an ext4 file system must be for a tree.

use crate::tree::{FsTree, Node};

/// Bytes of a block; the one size that every Linux can mount.
const BLOCK: u64 = 4096;
/// Bytes of an inode.
const INODE: u64 = 256;
/// Symlinks with shorter targets need no block.
const FAST_SYMLINK: usize = 60;
/// Inodes that every file system has of its own, with room to spare.
const OWN_INODES: u64 = 32;
/// The bytes for which a file system that is given a size has one inode, as mke2fs would choose.
const BYTES_PER_INODE: u64 = 16_384;
const MIB: u64 = 1 << 20;

/// The size of an ext4 file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ext4Size {
    /// Its bytes, a multiple of 4096.
    pub bytes: u64,
    /// Its inodes.
    pub inodes: u64,
}

impl Ext4Size {
    /// Gives a file system of `bytes` enough inodes for a tree, and for what comes later.
    pub fn given<C>(tree: &FsTree<C>, bytes: u64) -> Self {
        let inodes = Needs::of(tree).inodes.max(bytes / BYTES_PER_INODE);
        Self { bytes: bytes / BLOCK * BLOCK, inodes }
    }

    /// Finds a size at which a tree fits, with an eighth and 4 MiB to spare, in whole MiB.
    ///
    /// It is reckoned from the tree alone, a little too large rather than too small.
    pub fn fitting<C>(tree: &FsTree<C>) -> Self {
        let needs = Needs::of(tree);
        let content = needs.bytes + needs.bytes / 8 + 4 * MIB;
        let mut bytes = content;
        // The journal and the tables grow with the file system that they are part of.
        loop {
            let inodes = needs.inodes.max(bytes / BYTES_PER_INODE);
            let whole = content + own_bytes(bytes, inodes);
            if whole <= bytes {
                let bytes = bytes.next_multiple_of(MIB);
                return Self { bytes, inodes: needs.inodes.max(bytes / BYTES_PER_INODE) };
            }
            bytes = whole;
        }
    }
}

/// What an empty file system of a size keeps for itself: inode tables, journal, group descriptors, `lost+found`.
fn own_bytes(bytes: u64, inodes: u64) -> u64 {
    // The sizes that mke2fs chooses (lib/ext2fs/mkjournal.c, in blocks of 4 KiB).
    let journal = match bytes / BLOCK {
        0..32_768 => 4 * MIB,
        32_768..262_144 => 16 * MIB,
        262_144..524_288 => 32 * MIB,
        524_288..4_194_304 => 64 * MIB,
        4_194_304..8_388_608 => 256 * MIB,
        8_388_608..16_777_216 => 512 * MIB,
        _ => 1024 * MIB,
    };
    // Bitmaps, and the copies of superblock and descriptors with their room to grow, in each group of 128 MiB.
    let groups = bytes.div_ceil(128 * MIB);
    journal + inodes.next_multiple_of(16) * INODE + groups * MIB + BLOCK * 64
}

struct Needs {
    bytes: u64,
    inodes: u64,
}

impl Needs {
    fn of<C>(tree: &FsTree<C>) -> Self {
        let (mut bytes, mut inodes) = (0, OWN_INODES);
        for (path, node) in tree.iter() {
            // The entry in the folder above: eight bytes and the name, doubled for blocks that are half full.
            bytes += 2 * (8 + (path.file_name().len() as u64).next_multiple_of(4));
            bytes += match node {
                // An index block for each 128 MiB, which one extent can hold at most.
                Node::File { size, .. } => {
                    size.next_multiple_of(BLOCK) + size / (128 * MIB) * BLOCK
                }
                Node::Folder { .. } => 2 * BLOCK,
                Node::Symlink { target } if target.len() >= FAST_SYMLINK => BLOCK,
                Node::Symlink { .. }
                | Node::HardLink { .. }
                | Node::Device { .. }
                | Node::Fifo { .. } => 0,
            };
            inodes += u64::from(!matches!(node, Node::HardLink { .. }));
        }
        Self { bytes, inodes: inodes + inodes / 8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::ImagePath;
    use crate::tree::Attributes;

    fn files(count: u32, size: u64) -> FsTree<()> {
        let node = |_| Node::File { content: (), size, attributes: Attributes::FOLDER };
        let nodes = (0..count).map(|at| (ImagePath::new(format!("f{at}")).unwrap(), node(at)));
        FsTree::from_nodes(nodes).unwrap()
    }

    #[test]
    fn the_size_follows_the_tree() {
        let empty = Ext4Size::fitting(&files(0, 0));
        assert_eq!(empty.bytes, 10 * MIB);
        let large = Ext4Size::fitting(&files(1, 1 << 30));
        assert!((1100 * MIB..1300 * MIB).contains(&large.bytes), "{large:?}");
        let many = Ext4Size::fitting(&files(20_000, 1));
        assert!(many.inodes > 20_000, "{many:?}");
        assert!(many.bytes > 20_000 * (BLOCK + INODE), "{many:?}");
    }

    #[test]
    fn a_given_size_is_kept_and_has_inodes_for_the_tree() {
        let size = Ext4Size::given(&files(5_000, 1), 32 * MIB);
        assert_eq!(size.bytes, 32 * MIB);
        assert!(size.inodes > 5_000, "{size:?}");
        assert_eq!(Ext4Size::given(&files(1, 1), 1 << 30).inodes, 65_536);
    }
}
