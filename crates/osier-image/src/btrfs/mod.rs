//! Writes trees as btrfs images.
//!
//! `mkfs.btrfs` draws identities and times of its own, numbers files in the order in which the host lists its folders, and
//! takes owners from them; so this writer makes the whole image, and the tool's `btrfs check` has the last word.
//!
//! One device, every address the same on it as in the file system:
//!
//! ```text
//! 0     64 KiB      1 MiB     5 MiB                             64 MiB, if it has as much
//! |     superblock  | system  | data, in chunks of up to 1 GiB  | metadata |    second superblock
//! ```

mod files;
mod format;
mod trees;

use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::content::ContentError;
use crate::tree::FsTree;
use files::{Data, Files};
use format::{
    Bytes, CHUNKS, DEVICE, FIRST_OBJECT, GENERATION, Inode, Items, Key, NODE, NODE_BYTES,
    ROOT_FOLDER, SECTOR, SECTOR_BYTES, checksum, kind, name_hash, owner, use_of,
};
use trees::{Shape, Tree};

/// Names what this writer's bytes depend on, besides its arguments. It belongs into cache keys
/// and moves when the same tree gives other bytes.
pub const BTRFS_VERSION: &str = "btrfs 1";

const MIB: u64 = 1 << 20;
/// What is written at once to each of several devices; with one it only has to be right.
const STRIPE: u64 = 65_536;
const STRIPE_BYTES: usize = 65_536;
const SYSTEM_START: u64 = MIB;
const SYSTEM_SIZE: u64 = 4 * MIB;
const DATA_START: u64 = SYSTEM_START + SYSTEM_SIZE;
/// The largest chunk of data.
const DATA_CHUNK: u64 = 1 << 30;
/// Superblocks, where the device is large enough. The third is at 256 GiB, which is the end for this writer.
const SUPERBLOCKS: [u64; 2] = [64 << 10, 64 * MIB];
const LARGEST: u64 = 256 << 30;
/// Mixed back references, large metadata, many hard links, metadata without lengths, files without items for holes.
const FEATURES: u64 = 0x1 | 0x20 | 0x40 | 0x100 | 0x200;

/// What is drawn by lot elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BtrfsIdentity {
    /// The file system's UUID.
    pub file_system: [u8; 16],
    /// The device's UUID.
    pub device: [u8; 16],
    /// The UUID of the tree of chunks.
    pub chunks: [u8; 16],
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BtrfsError {
    /// The content of a file could not be read, or the image not be written.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The files do not go into the size that is given.
    #[error("its files need {needed} bytes as btrfs, but the size is {size}")]
    TooSmall {
        /// The bytes that the image needs.
        needed: u64,
        /// The bytes that are given.
        size: u64,
    },
    /// Larger than this writer can make an image.
    #[error(
        "its files need {needed} bytes as btrfs; osier cannot write images of 256 GiB and more"
    )]
    TooLarge {
        /// The bytes that the image needs.
        needed: u64,
    },
}

/// A chunk: its address, length, use, and the bytes in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chunk {
    start: u64,
    length: u64,
    use_of: u64,
    used: u64,
}

/// Writes a tree as a btrfs image from the start of `out`, which has to be empty, and returns its size in bytes.
///
/// Everything has the time `time`, in seconds since 1970. Without a `size` the image has what the files need, and no
/// room for more. `open` leads from a file's handle to its bytes and is asked once for each file that is not empty.
pub fn write_btrfs<'t, C, R: Read>(
    out: &mut (impl Write + Seek),
    tree: &'t FsTree<C>,
    time: u32,
    identity: &BtrfsIdentity,
    size: Option<u64>,
    open: impl FnMut(&'t C) -> io::Result<R>,
) -> Result<u64, BtrfsError> {
    let mut data = Data::new(out, DATA_START);
    let files = Files::of(tree, time, &mut data, open)?;
    let mut chunks =
        vec![Chunk { start: SYSTEM_START, length: SYSTEM_SIZE, use_of: use_of::SYSTEM, used: 0 }];
    chunks.extend(data.chunks());

    let mut plan = Plan::of(identity, time, &chunks, &files, 0);
    if plan.covers(SUPERBLOCKS[1]) {
        plan = Plan::of(identity, time, &chunks, &files, SUPERBLOCKS[1] + MIB);
    }
    let needed = plan.end();
    if needed > LARGEST {
        return Err(BtrfsError::TooLarge { needed });
    }
    let size = size.map_or(needed, |size| size / SECTOR * SECTOR);
    if size < needed {
        return Err(BtrfsError::TooSmall { needed, size });
    }
    plan.write(data.out, size).map_err(|error| BtrfsError::Content(ContentError::Write(error)))?;
    Ok(size)
}

/// A tree of files with nothing but its root folder.
fn folder_alone(time: u32) -> Items {
    let inode =
        Inode { size: 0, bytes: 0, links: 1, owner: (0, 0), mode: 0o40_755, device: 0, time };
    let above = Bytes::new().u64(0).u16(2).raw(b"..");
    Items::from([
        (Key(FIRST_OBJECT, kind::INODE, 0), inode.item()),
        (Key(FIRST_OBJECT, kind::INODE_REF, FIRST_OBJECT), above),
    ])
}

/// Everything that is known of the image before its metadata is written.
struct Plan<'i> {
    identity: &'i BtrfsIdentity,
    time: u32,
    /// The last one has the metadata.
    chunks: Vec<Chunk>,
    trees: Vec<(Tree, Items)>,
    /// Where the next tree begins.
    next: u64,
}

impl<'i> Plan<'i> {
    /// Plans an image whose metadata lies behind the other chunks and not before an address.
    fn of(
        identity: &'i BtrfsIdentity,
        time: u32,
        chunks: &[Chunk],
        files: &Files,
        from: u64,
    ) -> Self {
        let mut chunks = chunks.to_vec();
        let start =
            chunks.iter().map(|chunk| chunk.start + chunk.length).max().unwrap_or(0).max(from);
        chunks.push(Chunk { start, length: 0, use_of: use_of::METADATA, used: 0 });
        let mut plan = Self { identity, time, chunks, trees: Vec::new(), next: start };
        plan.plant(owner::FILES, files.items.clone());
        plan.plant(owner::CHECKSUM, files.checksums.clone());
        plan.plant(owner::RELOCATION, folder_alone(time));
        plan.plant_rest(start, &files.extents);
        plan
    }

    /// The end of what is in use.
    fn end(&self) -> u64 {
        self.chunks.last().map_or(0, |chunk| chunk.start + chunk.length)
    }

    /// Whether an address lies in the metadata.
    fn covers(&self, address: u64) -> bool {
        self.chunks.last().is_some_and(|chunk| (chunk.start..self.end()).contains(&address))
    }

    fn plant(&mut self, owner: u64, items: Items) {
        let tree = Tree::new(owner, self.next, &items);
        self.next = tree.end();
        self.trees.push((tree, items));
    }

    /// Plants the trees that describe the others: of chunks, devices, roots and extents.
    fn plant_rest(&mut self, start: u64, extents: &Items) {
        // Their items are as many and as large whatever the numbers in them are, so their places are known at once.
        self.plant(owner::DEVICE, self.device_items());
        let roots = Tree::new(owner::ROOT, self.next, &self.root_items(self.next));
        let beyond = roots.end();
        // The tree of extents has an item for each of its own blocks.
        let chunk_tree = Tree::new(owner::CHUNK, SYSTEM_START, &self.chunk_items(0));
        let mut shape = Shape::of(std::iter::empty());
        let (tree, items) = loop {
            let tree = Tree { owner: owner::EXTENT, start: beyond, shape: shape.clone() };
            let mut items = extents.clone();
            let planted = self.trees.iter().map(|(tree, _)| tree);
            for tree in planted.chain([&roots, &chunk_tree, &tree]) {
                for (address, level) in tree.blocks() {
                    let refs = Bytes::new().u64(1).u64(GENERATION).u64(2);
                    let refs = refs.u8(kind::TREE_BLOCK_REF).u64(tree.owner);
                    items.insert(Key(address, kind::METADATA, level.into()), refs);
                }
            }
            for chunk in &self.chunks {
                items.insert(Key(chunk.start, kind::GROUP, chunk.length), group(chunk));
            }
            let found = Shape::of(items.values().map(|bytes| bytes.0.len()));
            if found == shape {
                break (tree, items);
            }
            shape = found;
        };
        // Now that it is known how much there is, the numbers can be.
        let end = tree.end();
        self.chunks[0].used = chunk_tree.end() - chunk_tree.start;
        let last = self.chunks.len() - 1;
        self.chunks[last].used = end - start;
        self.chunks[last].length = (end - start).next_multiple_of(MIB);
        let mut items: Items =
            items.into_iter().filter(|(Key(_, kind, _), _)| *kind != kind::GROUP).collect();
        for chunk in &self.chunks {
            items.insert(Key(chunk.start, kind::GROUP, chunk.length), group(chunk));
        }
        let devices = self.device_items();
        if let Some((_, items)) = self.trees.last_mut() {
            *items = devices;
        }
        self.next = end;
        self.trees.push((tree, items));
        let items = self.root_items(roots.start);
        self.trees.push((roots, items));
    }

    fn device_items(&self) -> Items {
        let item = |chunk: &Chunk| {
            let bytes = Bytes::new().u64(owner::CHUNK).u64(CHUNKS).u64(chunk.start);
            let bytes = bytes.u64(chunk.length).raw(&self.identity.chunks);
            (Key(DEVICE, kind::DEVICE_EXTENT, chunk.start), bytes)
        };
        self.chunks.iter().map(item).collect()
    }

    fn chunk_items(&self, size: u64) -> Items {
        let chunks = self.chunks.iter().map(|chunk| (chunk_key(chunk), self.chunk(chunk)));
        let device = (Key(DEVICE, kind::DEVICE, DEVICE), self.device(size));
        std::iter::once(device).chain(chunks).collect()
    }

    /// The items of the tree of roots, which begins at `start` itself.
    fn root_items(&self, start: u64) -> Items {
        let folder = Inode {
            size: 0,
            bytes: NODE,
            links: 1,
            owner: (0, 0),
            mode: 0o40_755,
            device: 0,
            time: self.time,
        };
        let default = Key(owner::FILES, kind::ROOT, u64::MAX);
        let entry = Bytes::new().key(default).u64(GENERATION).u16(0).u16(7).u8(2).raw(b"default");
        let mut items = Items::from([
            (Key(ROOT_FOLDER, kind::INODE, 0), folder.item()),
            (Key(ROOT_FOLDER, kind::INODE_REF, ROOT_FOLDER), Bytes::new().u64(0).u16(2).raw(b"..")),
            (Key(ROOT_FOLDER, kind::DIR_ITEM, name_hash(b"default")), entry),
        ]);
        let owners =
            [owner::EXTENT, owner::DEVICE, owner::FILES, owner::CHECKSUM, owner::RELOCATION];
        for owner in owners {
            // The one that is not planted yet is somewhere, too.
            let planted = self.trees.iter().map(|(tree, _)| tree).find(|tree| tree.owner == owner);
            let (root, level, blocks) = planted
                .map_or((start, 0, 1), |tree| (tree.root(), tree.level(), tree.shape.blocks()));
            items.insert(Key(owner, kind::ROOT, 0), self.root(owner, root, level, blocks * NODE));
        }
        items
    }

    fn root(&self, owner: u64, root: u64, level: u8, bytes: u64) -> Bytes {
        let inode = Inode {
            size: 3,
            bytes: NODE,
            links: 1,
            owner: (0, 0),
            mode: 0o40_755,
            device: 0,
            time: 0,
        };
        let holds_files = owner == owner::FILES || owner == owner::RELOCATION;
        let folder = if holds_files { FIRST_OBJECT } else { 0 };
        let item =
            inode.item().u64(GENERATION).u64(folder).u64(root).u64(0).u64(bytes).u64(0).u64(0);
        let item = item.u32(1).zeros(17).u8(0).u8(level).u64(GENERATION).zeros(3 * 16 + 4 * 8);
        item.times(self.time, 2).zeros(2 * 12 + 8 * 8)
    }

    fn chunk(&self, chunk: &Chunk) -> Bytes {
        let item = Bytes::new().u64(chunk.length).u64(owner::EXTENT).u64(STRIPE).u64(chunk.use_of);
        let item =
            item.length32(STRIPE_BYTES).length32(STRIPE_BYTES).length32(SECTOR_BYTES).u16(1).u16(0);
        item.u64(DEVICE).u64(chunk.start).raw(&self.identity.device)
    }

    fn device(&self, size: u64) -> Bytes {
        let used = self.chunks.iter().map(|chunk| chunk.length).sum();
        let item = Bytes::new()
            .u64(DEVICE)
            .u64(size)
            .u64(used)
            .length32(SECTOR_BYTES)
            .length32(SECTOR_BYTES)
            .length32(SECTOR_BYTES);
        item.zeros(3 * 8 + 4 + 2).raw(&self.identity.device).raw(&self.identity.file_system)
    }

    fn write(mut self, out: &mut (impl Write + Seek), size: u64) -> io::Result<()> {
        let items = self.chunk_items(size);
        let chunk_tree = Tree::new(owner::CHUNK, SYSTEM_START, &items);
        let chunk_root = (chunk_tree.root(), chunk_tree.level());
        self.trees.push((chunk_tree, items));
        let root = |owner| self.trees.iter().map(|(tree, _)| tree).find(|tree| tree.owner == owner);
        let root = root(owner::ROOT).map_or((0, 0), |tree| (tree.root(), tree.level()));
        // The last byte first, which gives the image its size.
        out.seek(SeekFrom::Start(size - 1))?;
        out.write_all(&[0])?;
        for (tree, items) in &self.trees {
            out.seek(SeekFrom::Start(tree.start))?;
            out.write_all(&tree.write(items, &self.identity.file_system, &self.identity.chunks))?;
        }
        for place in SUPERBLOCKS.into_iter().filter(|place| place + SECTOR <= size) {
            out.seek(SeekFrom::Start(place))?;
            out.write_all(&self.superblock(place, size, root, chunk_root))?;
        }
        out.flush()
    }

    fn superblock(&self, place: u64, size: u64, root: (u64, u8), chunk_root: (u64, u8)) -> Vec<u8> {
        let system = self.chunks.iter().filter(|chunk| chunk.use_of == use_of::SYSTEM);
        let known = system.fold(Bytes::new(), |bytes, chunk| {
            bytes.key(chunk_key(chunk)).raw(&self.chunk(chunk).0)
        });
        let used = self.chunks.iter().map(|chunk| chunk.used).sum();
        let block = Bytes::new().zeros(32).raw(&self.identity.file_system).u64(place).u64(1);
        let block = block.raw(b"_BHRfS_M").u64(GENERATION).u64(root.0).u64(chunk_root.0).zeros(16);
        let block = block.u64(size).u64(used).u64(ROOT_FOLDER).u64(1);
        let block = block
            .length32(SECTOR_BYTES)
            .length32(NODE_BYTES)
            .length32(NODE_BYTES)
            .length32(SECTOR_BYTES);
        let block = block.length32(known.0.len()).u64(GENERATION).zeros(16).u64(FEATURES);
        let block = block.u16(0).u8(root.1).u8(chunk_root.1).u8(0).raw(&self.device(size).0);
        // No label, no cache of free space, no tree of UUIDs, no further ones.
        let block = block.zeros(256).u64(0).u64(0).zeros(16 + 28 * 8).raw(&known.0);
        let mut block = block.0;
        block.resize(SECTOR_BYTES, 0);
        let sum = checksum(&block[32..]);
        block[..4].copy_from_slice(&sum.to_le_bytes());
        block
    }
}

fn chunk_key(chunk: &Chunk) -> Key {
    Key(CHUNKS, kind::CHUNK, chunk.start)
}

fn group(chunk: &Chunk) -> Bytes {
    Bytes::new().u64(chunk.used).u64(CHUNKS).u64(chunk.use_of)
}

#[cfg(test)]
mod tests;
