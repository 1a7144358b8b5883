//! Sorted items packed into the blocks of a tree.

use super::format::{
    Bytes, GENERATION, HEADER, ITEM, Items, Key, NODE, NODE_BYTES, POINTER, checksum,
};

/// The most bytes of an item.
pub(super) const LARGEST_ITEM: usize = NODE_BYTES - HEADER - ITEM;

/// How many blocks a tree has on each level, the leaves first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape(Vec<u64>);

impl Shape {
    /// The shape of the tree that holds items of these sizes, in order.
    pub(super) fn of(sizes: impl Iterator<Item = usize>) -> Self {
        let (mut leaves, mut used) = (1_u64, HEADER);
        for size in sizes {
            if used + ITEM + size > NODE_BYTES {
                leaves += 1;
                used = HEADER;
            }
            used += ITEM + size;
        }
        let mut levels = vec![leaves];
        while let Some(&count @ 2..) = levels.last() {
            levels.push(count.div_ceil(PER_NODE as u64));
        }
        Self(levels)
    }

    pub(super) fn blocks(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The level of each block, in the order of their addresses.
    pub(super) fn levels(&self) -> impl Iterator<Item = u8> + '_ {
        (0..).zip(&self.0).flat_map(|(level, count)| (0..*count).map(move |_| level))
    }
}

const PER_NODE: usize = (NODE_BYTES - HEADER) / POINTER;

/// A tree in its place: consecutive blocks, level by level, the root last.
pub(super) struct Tree {
    pub(super) owner: u64,
    pub(super) start: u64,
    pub(super) shape: Shape,
}

impl Tree {
    pub(super) fn new(owner: u64, start: u64, items: &Items) -> Self {
        Self { owner, start, shape: Shape::of(items.values().map(|bytes| bytes.0.len())) }
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.shape.blocks() * NODE
    }

    /// Where its root is.
    pub(super) fn root(&self) -> u64 {
        self.end() - NODE
    }

    /// The level of its root.
    pub(super) fn level(&self) -> u8 {
        self.shape.levels().last().unwrap_or(0)
    }

    /// Address and level of each block.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u64, u8)> + '_ {
        (self.start..).step_by(NODE_BYTES).zip(self.shape.levels())
    }

    /// The bytes of all blocks.
    pub(super) fn write(&self, items: &Items, fsid: &[u8; 16], chunks: &[u8; 16]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut level: Vec<(Key, u64)> = Vec::new();
        let head = |out: &Vec<u8>, count: usize, level: u8| {
            let address = self.start + out.len() as u64;
            // Written, with back references as they are since 2009.
            let bytes = Bytes::new().zeros(32).raw(fsid).u64(address).u64(1 | 1 << 56);
            let bytes = bytes.raw(chunks).u64(GENERATION).u64(self.owner);
            bytes.length32(count).u8(level).0
        };
        let mut rest: Vec<(&Key, &Bytes)> = items.iter().collect();
        loop {
            let mut used = HEADER;
            let fits = rest.iter().take_while(|(_, bytes)| {
                used += ITEM + bytes.0.len();
                used <= NODE_BYTES
            });
            let count = fits.count();
            let later = rest.split_off(count);
            let mut leaf = head(&out, count, 0);
            let mut end = NODE_BYTES - HEADER;
            for (key, bytes) in &rest {
                end -= bytes.0.len();
                let item = Bytes::new().key(**key).length32(end).length32(bytes.0.len());
                leaf.extend(item.0);
            }
            // The bytes of the first item are the last of the leaf.
            leaf.resize(HEADER + end, 0);
            for (_, bytes) in rest.iter().rev() {
                leaf.extend(&bytes.0);
            }
            let first = rest.first().map_or(Key(0, 0, 0), |(key, _)| **key);
            level.push((first, self.start + out.len() as u64));
            out.extend(summed(leaf));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        for height in 1.. {
            if level.len() == 1 {
                break;
            }
            let mut above = Vec::new();
            for pointers in level.chunks(PER_NODE) {
                let mut node = head(&out, pointers.len(), height);
                for (key, address) in pointers {
                    node.extend(Bytes::new().key(*key).u64(*address).u64(GENERATION).0);
                }
                above.push((pointers[0].0, self.start + out.len() as u64));
                out.extend(summed(node));
            }
            level = above;
        }
        out
    }
}

/// Fills a block up and puts its sum at its start.
fn summed(mut block: Vec<u8>) -> Vec<u8> {
    block.resize(NODE_BYTES, 0);
    let sum = checksum(&block[32..]);
    block[..4].copy_from_slice(&sum.to_le_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_has_the_shape_that_was_reckoned() {
        for count in [0_usize, 1, 80, 81, 82, 5_000, 60_000] {
            let items: Items = (0..count)
                .map(|at| (Key(at as u64, 1, 0), Bytes::new().zeros(50 + at % 300)))
                .collect();
            let tree = Tree::new(5, 1 << 20, &items);
            let bytes = tree.write(&items, &[1; 16], &[2; 16]);
            assert_eq!(bytes.len() as u64, tree.shape.blocks() * NODE, "{count} items");
            assert_eq!(tree.blocks().count() as u64, tree.shape.blocks());
            let root = &bytes[bytes.len() - NODE_BYTES..];
            assert_eq!(root[100], tree.level(), "{count} items");
        }
    }

    #[test]
    fn a_leaf_takes_its_largest_item_and_no_larger_one() {
        let tree = |size| Shape::of([size, 0].into_iter());
        assert_eq!(tree(LARGEST_ITEM).blocks(), 3);
        assert_eq!(tree(LARGEST_ITEM - ITEM).blocks(), 1);
    }
}
