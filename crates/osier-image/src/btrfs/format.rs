//! Keys, items and sums of btrfs as they lie on disk (btrfs(5), "On-disk format" of its developers' pages).

use std::collections::BTreeMap;

/// The unit of data, in bytes.
pub(super) const SECTOR: u64 = 4096;
pub(super) const SECTOR_BYTES: usize = 4096;
/// The unit of metadata, in bytes.
pub(super) const NODE: u64 = 16384;
pub(super) const NODE_BYTES: usize = 16384;
/// The header of each block of metadata.
pub(super) const HEADER: usize = 101;
/// What an item takes in a leaf besides its bytes.
pub(super) const ITEM: usize = 25;
/// What a pointer takes in a node.
pub(super) const POINTER: usize = 33;
/// The one transaction that all of it was written in.
pub(super) const GENERATION: u64 = 1;
/// The number of the one device.
pub(super) const DEVICE: u64 = 1;
/// The first object of a tree of files: its root folder.
pub(super) const FIRST_OBJECT: u64 = 256;
/// The first object of the tree of chunks, which chunks and groups name.
pub(super) const CHUNKS: u64 = 256;
/// The folder in the tree of roots that names the default subvolume.
pub(super) const ROOT_FOLDER: u64 = 6;
/// The object of all checksums.
pub(super) const CHECKSUMS: u64 = 10_u64.wrapping_neg();

/// The trees, by the object that each is in the tree of roots.
pub(super) mod owner {
    pub(crate) const ROOT: u64 = 1;
    pub(crate) const EXTENT: u64 = 2;
    pub(crate) const CHUNK: u64 = 3;
    pub(crate) const DEVICE: u64 = 4;
    pub(crate) const FILES: u64 = 5;
    pub(crate) const CHECKSUM: u64 = 7;
    pub(crate) const RELOCATION: u64 = 9_u64.wrapping_neg();
}

/// What an item is.
pub(super) mod kind {
    pub(crate) const INODE: u8 = 1;
    pub(crate) const INODE_REF: u8 = 12;
    pub(crate) const INODE_EXTREF: u8 = 13;
    pub(crate) const DIR_ITEM: u8 = 84;
    pub(crate) const DIR_INDEX: u8 = 96;
    pub(crate) const EXTENT_DATA: u8 = 108;
    pub(crate) const CHECKSUM: u8 = 128;
    pub(crate) const ROOT: u8 = 132;
    pub(crate) const EXTENT: u8 = 168;
    pub(crate) const METADATA: u8 = 169;
    pub(crate) const TREE_BLOCK_REF: u8 = 176;
    pub(crate) const EXTENT_DATA_REF: u8 = 178;
    pub(crate) const GROUP: u8 = 192;
    pub(crate) const DEVICE_EXTENT: u8 = 204;
    pub(crate) const DEVICE: u8 = 216;
    pub(crate) const CHUNK: u8 = 228;
}

/// What is kept in a chunk.
pub(super) mod use_of {
    pub(crate) const DATA: u64 = 1;
    pub(crate) const SYSTEM: u64 = 2;
    pub(crate) const METADATA: u64 = 4;
}

/// The place of an item in its tree: object, kind, and an offset whose meaning the kind gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u64, pub(super) u8, pub(super) u64);

/// The items of a tree, in order.
pub(super) type Items = BTreeMap<Key, Bytes>;

/// Bytes of an item, written field by field, little end first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    pub(super) fn u8(self, value: u8) -> Self {
        self.raw(&[value])
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// The length of what lies in memory, where all lengths are below 2^16.
    pub(super) fn length16(self, length: usize) -> Self {
        self.u16(u16::try_from(length).unwrap_or(u16::MAX))
    }

    /// A length or size, all of which are below 2^32.
    pub(super) fn length32(self, length: usize) -> Self {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX))
    }

    pub(super) fn key(self, Key(object, kind, offset): Key) -> Self {
        self.u64(object).u8(kind).u64(offset)
    }

    /// The same time so many times over.
    pub(super) fn times(self, seconds: u32, count: usize) -> Self {
        (0..count).fold(self, |bytes, _| bytes.u64(seconds.into()).u32(0))
    }
}

/// What an inode item says.
pub(super) struct Inode {
    pub(super) size: u64,
    pub(super) bytes: u64,
    pub(super) links: u32,
    pub(super) owner: (u32, u32),
    /// Type and permissions, as in stat(2).
    pub(super) mode: u32,
    /// The device, as the kernel keeps it.
    pub(super) device: u64,
    /// The time of everything, in seconds since 1970.
    pub(super) time: u32,
}

impl Inode {
    pub(super) fn item(&self) -> Bytes {
        let bytes = Bytes::new().u64(GENERATION).u64(GENERATION).u64(self.size).u64(self.bytes);
        let bytes = bytes.u64(0).u32(self.links).u32(self.owner.0).u32(self.owner.1).u32(self.mode);
        bytes.u64(self.device).u64(0).u64(0).zeros(32).times(self.time, 4)
    }
}

/// Continues a CRC-32C, without the inversions at its ends.
pub(super) fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    const TABLE: [[u32; 256]; 8] = table();
    let mut sum = sum;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let low = sum ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        let [a, b, c, d] = low.to_le_bytes();
        let places = [a, b, c, d, word[4], word[5], word[6], word[7]];
        sum = places
            .iter()
            .zip(TABLE.iter().rev())
            .fold(0, |sum, (byte, table)| sum ^ table[usize::from(*byte)]);
    }
    for byte in words.remainder() {
        sum = sum >> 8 ^ TABLE[0][usize::from(sum.to_le_bytes()[0] ^ byte)];
    }
    sum
}

/// The sum of a block or sector.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    !crc32c(u32::MAX, bytes)
}

/// The offset of a folder's entry.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    crc32c(!1, name).into()
}

/// The sums of all bytes, at eight places before the end.
const fn table() -> [[u32; 256]; 8] {
    let mut table = [[0; 256]; 8];
    let mut byte = 0;
    let mut start: u32 = 0;
    while byte < 256 {
        let mut sum = start;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
            bit += 1;
        }
        table[0][byte] = sum;
        byte += 1;
        start += 1;
    }
    let mut place = 1;
    while place < 8 {
        let mut byte = 0;
        while byte < 256 {
            let below = table[place - 1][byte];
            table[place][byte] = below >> 8 ^ table[0][(below & 0xff) as usize];
            byte += 1;
        }
        place += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_castagnoli_s() {
        // The check value of the polynomial's catalogue entry, and RFC 3720 B.4.
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(checksum(&ascending), 0x46dd_794e);
        assert_eq!(crc32c(crc32c(7, b"12345"), b"6789"), crc32c(7, b"123456789"));
    }

    #[test]
    fn items_have_the_sizes_of_the_format() {
        let inode = Inode {
            size: 0,
            bytes: 0,
            links: 1,
            owner: (0, 0),
            mode: 0o100_644,
            device: 0,
            time: 0,
        };
        assert_eq!(inode.item().0.len(), 160);
        assert_eq!(Bytes::new().key(Key(1, 2, 3)).0.len(), 17);
    }
}
