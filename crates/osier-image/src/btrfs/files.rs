//! The tree of files: folders, files and what else there is, with the bytes of files put in their place.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::format::{
    Bytes, CHECKSUMS, FIRST_OBJECT, GENERATION, ITEM, Inode, Items, Key, SECTOR, SECTOR_BYTES,
    checksum, crc32c, kind, name_hash, owner, use_of,
};
use super::trees::LARGEST_ITEM;
use super::{Chunk, DATA_CHUNK, MIB, STRIPE, SUPERBLOCKS};
use crate::content::{ContentError, copy_content};
use crate::path::ImagePath;
use crate::tree::{Attributes, DeviceKind, FsTree, Node};

/// Files up to this size are kept in the tree itself.
const INLINE: u64 = 2048;
/// The largest extent.
const EXTENT: u64 = 128 * MIB;
/// The most names of a file in one item; further ones have an item each.
const NAMES: usize = LARGEST_ITEM / 4;
/// The bytes whose sums are one item, so many that Linux could still put another item beside it.
const SUMMED: usize = ((LARGEST_ITEM - ITEM) / 4 - 1) * SECTOR_BYTES;
/// The first number of an entry in a folder; the two before are for `.` and `..`.
const FIRST_INDEX: u64 = 2;

/// The items that files bring into three trees.
pub(super) struct Files {
    pub(super) items: Items,
    pub(super) checksums: Items,
    /// Those of the tree of extents.
    pub(super) extents: Items,
}

/// What becomes of one object while its names are found.
struct Object<'t, C> {
    path: &'t ImagePath,
    node: &'t Node<C>,
    links: u32,
}

impl Files {
    pub(super) fn of<'t, C, R: Read, W: Write + Seek>(
        tree: &'t FsTree<C>,
        time: u32,
        data: &mut Data<'_, W>,
        mut open: impl FnMut(&'t C) -> io::Result<R>,
    ) -> Result<Self, ContentError> {
        let mut files =
            Self { items: Items::new(), checksums: Items::new(), extents: Items::new() };
        // Objects are numbered in the order of their paths.
        let whole = tree.iter().filter(|(_, node)| !matches!(node, Node::HardLink { .. }));
        let mut objects: BTreeMap<u64, Object<'t, C>> = BTreeMap::new();
        let mut numbers: BTreeMap<&ImagePath, u64> = BTreeMap::new();
        for (number, (path, node)) in (FIRST_OBJECT..).zip(whole) {
            objects.insert(number, Object { path, node, links: 0 });
            numbers.insert(path, number);
        }
        let mut folders: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (path, node) in tree.iter() {
            let own = match node {
                Node::HardLink { file } => file,
                _ => path,
            };
            let number = numbers[own];
            let Some(parent) = path.parent() else {
                files.name(number, number, 0, b"..");
                continue;
            };
            let (parent, name) = (numbers[&parent], path.file_name());
            let (index, size) = folders.entry(parent).or_insert((FIRST_INDEX, 0));
            files.entry(parent, number, *index, name, kind_of_entry(&objects[&number]));
            *index += 1;
            // An entry counts twice: by its name and by its number.
            *size += 2 * name.len() as u64;
            if let Some(object) = objects.get_mut(&number) {
                object.links += 1;
            }
        }
        for (number, object) in &objects {
            let size = folders.get(number).map_or(0, |(_, size)| *size);
            files.object(*number, object, size, time, data, &mut open)?;
        }
        Ok(files)
    }

    /// Gives an object a name, as seen from the object.
    fn name(&mut self, number: u64, parent: u64, index: u64, name: &[u8]) {
        let item = self.items.entry(Key(number, kind::INODE_REF, parent)).or_default();
        let bytes = Bytes::new().u64(index).length16(name.len()).raw(name);
        if item.0.len() + bytes.0.len() <= NAMES {
            item.0.extend(bytes.0);
            return;
        }
        let hash = crc32c(u32::try_from(parent).unwrap_or(u32::MAX), name).into();
        let item = self.items.entry(Key(number, kind::INODE_EXTREF, hash)).or_default();
        let bytes = Bytes::new().u64(parent).u64(index).length16(name.len()).raw(name);
        item.0.extend(bytes.0);
    }

    /// Gives an object a name in a folder.
    fn entry(&mut self, parent: u64, number: u64, index: u64, name: &[u8], kind: u8) {
        self.name(number, parent, index, name);
        let object = Key(number, kind::INODE, 0);
        let entry = Bytes::new().key(object).u64(GENERATION).u16(0).length16(name.len());
        let entry = entry.u8(kind).raw(name);
        // Names with the same sum share an item.
        let same = self.items.entry(Key(parent, kind::DIR_ITEM, name_hash(name))).or_default();
        same.0.extend(&entry.0);
        self.items.insert(Key(parent, kind::DIR_INDEX, index), entry);
    }

    fn object<'t, C, R: Read, W: Write + Seek>(
        &mut self,
        number: u64,
        object: &Object<'t, C>,
        folder_size: u64,
        time: u32,
        data: &mut Data<'_, W>,
        open: &mut impl FnMut(&'t C) -> io::Result<R>,
    ) -> Result<(), ContentError> {
        let Attributes { mode, uid, gid } = object.node.attributes().unwrap_or(Attributes::SYMLINK);
        let mut inode = Inode {
            size: 0,
            bytes: 0,
            links: object.links.max(1),
            owner: (uid, gid),
            mode: u32::from(mode),
            device: 0,
            time,
        };
        match object.node {
            Node::File { content, size, .. } => {
                inode.mode |= 0o100_000;
                inode.size = *size;
                if *size > INLINE {
                    inode.bytes = size.next_multiple_of(SECTOR);
                    self.content(number, object.path, content, *size, data, open)?;
                } else if *size > 0 {
                    inode.bytes = *size;
                    let mut bytes = Vec::new();
                    copy_content(object.path, content, *size, open, &mut bytes)?;
                    self.inline(number, &bytes);
                }
            }
            Node::Folder { .. } => {
                inode.mode |= 0o40_000;
                inode.size = folder_size;
            }
            Node::Symlink { target } => {
                inode.mode |= 0o120_000;
                inode.size = target.len() as u64;
                inode.bytes = inode.size;
                self.inline(number, target);
            }
            Node::Device { kind, major, minor, .. } => {
                inode.mode |= match kind {
                    DeviceKind::Character => 0o20_000,
                    DeviceKind::Block => 0o60_000,
                };
                inode.device = u64::from(*major) << 20 | u64::from(*minor);
            }
            Node::Fifo { .. } => inode.mode |= 0o10_000,
            Node::HardLink { .. } => {}
        }
        self.items.insert(Key(number, kind::INODE, 0), inode.item());
        Ok(())
    }

    /// Puts bytes into the tree itself.
    fn inline(&mut self, number: u64, bytes: &[u8]) {
        let item = extent_head(bytes.len() as u64, 0).raw(bytes);
        self.items.insert(Key(number, kind::EXTENT_DATA, 0), item);
    }

    /// Puts the bytes of a file into extents of their own.
    fn content<'t, C, R: Read, W: Write + Seek>(
        &mut self,
        number: u64,
        path: &ImagePath,
        content: &'t C,
        size: u64,
        data: &mut Data<'_, W>,
        open: &mut impl FnMut(&'t C) -> io::Result<R>,
    ) -> Result<(), ContentError> {
        let mut room =
            Room { data, extents: Vec::new(), left: size, sector: Vec::new(), sums: Vec::new() };
        copy_content(path, content, size, open, &mut room)?;
        room.last_sector().map_err(ContentError::Write)?;
        let (extents, mut sums) = (room.extents, room.sums.into_iter());
        let mut offset = 0;
        for (start, length) in extents {
            let item = extent_head(length, 1).u64(start).u64(length).u64(0).u64(length);
            self.items.insert(Key(number, kind::EXTENT_DATA, offset), item);
            let refs = Bytes::new().u64(1).u64(GENERATION).u64(1).u8(kind::EXTENT_DATA_REF);
            let refs = refs.u64(owner::FILES).u64(number).u64(offset).u32(1);
            self.extents.insert(Key(start, kind::EXTENT, length), refs);
            offset += length;
            for first in (start..start + length).step_by(SUMMED) {
                let end = (start + length).min(first + SUMMED as u64);
                let count = (first..end).step_by(SECTOR_BYTES).count();
                let bytes = sums.by_ref().take(count);
                let item = bytes.fold(Bytes::new(), Bytes::u32);
                self.checksums.insert(Key(CHECKSUMS, kind::CHECKSUM, first), item);
            }
        }
        Ok(())
    }
}

fn kind_of_entry<C>(object: &Object<'_, C>) -> u8 {
    match object.node {
        Node::File { .. } | Node::HardLink { .. } => 1,
        Node::Folder { .. } => 2,
        Node::Device { kind: DeviceKind::Character, .. } => 3,
        Node::Device { kind: DeviceKind::Block, .. } => 4,
        Node::Fifo { .. } => 5,
        Node::Symlink { .. } => 7,
    }
}

/// What all extents of files begin with: neither compressed nor encrypted.
fn extent_head(bytes: u64, kind: u8) -> Bytes {
    Bytes::new().u64(GENERATION).u64(bytes).zeros(4).u8(kind)
}

/// The part of the image that holds the bytes of files, as it fills.
pub(super) struct Data<'o, W> {
    pub(super) out: &'o mut W,
    start: u64,
    next: u64,
    used: BTreeMap<u64, u64>,
}

impl<'o, W: Write + Seek> Data<'o, W> {
    pub(super) fn new(out: &'o mut W, start: u64) -> Self {
        Self { out, start, next: start, used: BTreeMap::new() }
    }

    /// Gives an extent of at most `wanted` bytes, in whole sectors.
    fn extent(&mut self, wanted: u64) -> (u64, u64) {
        let second = SUPERBLOCKS[1];
        if self.next == second {
            self.next += STRIPE;
        }
        let chunk = (self.next - self.start) / DATA_CHUNK;
        let mut end = self.start + (chunk + 1) * DATA_CHUNK;
        if self.next < second {
            end = end.min(second);
        }
        let length = wanted.next_multiple_of(SECTOR).min(EXTENT).min(end - self.next);
        let extent = (self.next, length);
        self.next += length;
        *self.used.entry(chunk).or_default() += length;
        extent
    }

    /// The chunks that all extents lie in; at least one.
    pub(super) fn chunks(&self) -> Vec<Chunk> {
        let count = (self.next - self.start).div_ceil(DATA_CHUNK).max(1);
        let chunk = |number: u64| {
            let start = self.start + number * DATA_CHUNK;
            let length = DATA_CHUNK.min((self.next - start).next_multiple_of(MIB).max(MIB));
            let used = self.used.get(&number).copied().unwrap_or(0);
            Chunk { start, length, use_of: use_of::DATA, used }
        };
        (0..count).map(chunk).collect()
    }
}

/// Takes the bytes of one file.
struct Room<'d, 'o, W> {
    data: &'d mut Data<'o, W>,
    /// Start and length of each extent.
    extents: Vec<(u64, u64)>,
    /// The bytes of the file that no extent is there for.
    left: u64,
    /// The beginning of a sector.
    sector: Vec<u8>,
    sums: Vec<u32>,
}

impl<W: Write + Seek> Room<'_, '_, W> {
    /// Writes a whole sector behind the last one.
    fn sector(&mut self, sector: &[u8]) -> io::Result<()> {
        let room = self.extents.iter().map(|(_, length)| length / SECTOR).sum::<u64>();
        if self.sums.len() as u64 == room {
            let (start, length) = self.data.extent(self.left);
            self.left = self.left.saturating_sub(length);
            self.extents.push((start, length));
            self.data.out.seek(SeekFrom::Start(start))?;
        }
        self.sums.push(checksum(sector));
        self.data.out.write_all(sector)
    }

    fn last_sector(&mut self) -> io::Result<()> {
        if self.sector.is_empty() {
            return Ok(());
        }
        let mut sector = std::mem::take(&mut self.sector);
        sector.resize(SECTOR_BYTES, 0);
        self.sector(&sector)
    }
}

impl<W: Write + Seek> Write for Room<'_, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.sector.is_empty() && bytes.len() >= SECTOR_BYTES {
            self.sector(&bytes[..SECTOR_BYTES])?;
            return Ok(SECTOR_BYTES);
        }
        let taken = bytes.len().min(SECTOR_BYTES - self.sector.len());
        self.sector.extend_from_slice(&bytes[..taken]);
        if self.sector.len() == SECTOR_BYTES {
            self.last_sector()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.data.out.flush()
    }
}
