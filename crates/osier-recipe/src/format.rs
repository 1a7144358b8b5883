//! The formats of images: one row for each, which the reader of systems, the reference and the product go by.

use std::ops::RangeInclusive;

use crate::forms::{FAT_LABEL, FAT_PATH};
use crate::schema::Form;

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A cpio archive that the kernel unpacks.
    Initramfs,
    /// A disk with an ext4 file system.
    Ext4,
    /// A disk with an EROFS file system, which is read-only.
    Erofs,
    /// A disk with a btrfs file system.
    Btrfs,
    /// A disk with a squashfs file system, which is read-only.
    Squashfs,
    /// A disk with a FAT file system.
    Fat,
}

/// How an image is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// As gzip.
    Gzip,
    /// As xz.
    Xz,
    /// As zstd.
    Zstd,
    /// As lz4.
    Lz4,
}

/// A format of images, as far as it is data; how its bytes are made is a module of `osier-product`.
#[derive(Debug)]
pub struct FormatRow {
    /// Which.
    pub format: Format,
    /// Its name in recipes.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// What its files' names end with, before what the compression adds.
    pub suffix: &'static str,
    /// The compressions that it has; the one that is taken where none is named comes first.
    pub compressions: &'static [CompressionRow],
    /// What it is made of.
    pub takes: Takes,
    /// How large a recipe can make it, in bytes; none for what is as large as its files need.
    pub sizes: Option<RangeInclusive<u64>>,
    /// The form of its label; none for what has none.
    pub label: Option<&'static Form>,
    /// The program that makes or checks it; none for what osier does all by itself.
    pub tool: Option<ImageTool>,
    /// What else is to be known of it, in whole sentences; empty for nothing.
    pub note: &'static str,
}

/// What an image is made of.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// The root file system of its system.
    Root,
    /// Files that it names one by one: the kernel, other images, files of components.
    Files {
        /// The form of their paths.
        path: &'static Form,
        /// Whether `a` and `A` are one path.
        ignores_case: bool,
    },
}

/// A compression of a format.
#[derive(Debug)]
pub struct CompressionRow {
    /// Which.
    pub compression: Compression,
    /// What it adds to the names of files.
    pub suffix: &'static str,
    /// The levels that it has; none for what has no levels.
    pub levels: Option<RangeInclusive<u8>>,
}

/// A program from pinned packages that works on an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageTool {
    /// The program, after which the step is called.
    pub program: &'static str,
    /// The Debian suite that the packages are from.
    pub suite: &'static str,
    /// The packages: its own, and those of the shell that runs it.
    pub packages: &'static [&'static str],
}

/// Most bytes of a disk: half of what a file can have on ext4.
pub(crate) const LARGEST_DISK: u64 = 8 << 40;

/// The sizes of disks.
const DISK: RangeInclusive<u64> = 4096..=LARGEST_DISK;

/// The first stable suite whose mke2fs (1.47.1), mkfs.erofs (1.6) and mksquashfs (4.6) read a tar archive.
const SUITE: &str = "trixie";

const fn compressed(
    compression: Compression,
    suffix: &'static str,
    levels: RangeInclusive<u8>,
) -> CompressionRow {
    CompressionRow { compression, suffix, levels: Some(levels) }
}

const fn levelless(compression: Compression) -> CompressionRow {
    CompressionRow { compression, suffix: "", levels: None }
}

const PLAIN: CompressionRow =
    CompressionRow { compression: Compression::None, suffix: "", levels: None };

/// All formats, in the order of [`Format`].
pub static FORMATS: &[FormatRow] = &TABLE;

/// The names of all formats.
pub(crate) static NAMES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = TABLE[at].name;
        at += 1;
    }
    names
};

const TABLE: [FormatRow; 6] = [
    FormatRow {
        format: Format::Initramfs,
        name: "initramfs",
        summary: "a cpio archive that the kernel unpacks into memory",
        suffix: "cpio",
        compressions: &[
            // Higher levels need windows above the 8 MiB with which the kernel reads its initramfs.
            compressed(Compression::Zstd, ".zst", 1..=19),
            compressed(Compression::Gzip, ".gz", 0..=9),
            compressed(Compression::Xz, ".xz", 0..=9),
            PLAIN,
        ],
        takes: Takes::Root,
        sizes: None,
        label: None,
        tool: None,
        note: "",
    },
    FormatRow {
        format: Format::Ext4,
        name: "ext4",
        summary: "a disk with an ext4 file system",
        suffix: "ext4",
        compressions: &[PLAIN],
        takes: Takes::Root,
        sizes: Some(DISK),
        label: None,
        tool: Some(ImageTool {
            program: "mke2fs",
            suite: SUITE,
            // mke2fs loads the library that reads archives while it runs, so nothing depends on it.
            packages: &["dash", "e2fsprogs", "libarchive13t64"],
        }),
        note: "Without a `size` it has what its files need and some room.",
    },
    FormatRow {
        format: Format::Erofs,
        name: "erofs",
        summary: "a disk with an EROFS file system, which is read-only",
        suffix: "erofs",
        compressions: &[
            compressed(Compression::Lz4, "", 1..=12),
            compressed(Compression::Xz, "", 0..=9),
            compressed(Compression::Zstd, "", 1..=22),
            PLAIN,
        ],
        takes: Takes::Root,
        sizes: None,
        label: None,
        tool: Some(ImageTool {
            program: "mkfs.erofs",
            suite: SUITE,
            packages: &["dash", "erofs-utils"],
        }),
        note: "Linux reads `xz` from 5.16 on and `zstd` from 6.10 on.",
    },
    FormatRow {
        format: Format::Btrfs,
        name: "btrfs",
        summary: "a disk with a btrfs file system",
        suffix: "btrfs",
        compressions: &[PLAIN],
        takes: Takes::Root,
        sizes: Some(DISK),
        label: None,
        tool: Some(ImageTool {
            program: "btrfs-check",
            suite: SUITE,
            packages: &["dash", "btrfs-progs"],
        }),
        note: "Without a `size` it has what its files need and no room.",
    },
    FormatRow {
        format: Format::Squashfs,
        name: "squashfs",
        summary: "a disk with a squashfs file system, which is read-only",
        suffix: "squashfs",
        compressions: &[
            compressed(Compression::Zstd, "", 1..=22),
            levelless(Compression::Xz),
            compressed(Compression::Gzip, "", 1..=9),
            levelless(Compression::Lz4),
            PLAIN,
        ],
        takes: Takes::Root,
        sizes: None,
        label: None,
        tool: Some(ImageTool {
            program: "mksquashfs",
            suite: SUITE,
            packages: &["dash", "squashfs-tools"],
        }),
        note: "The kernel needs the compression's own option, such as `CONFIG_SQUASHFS_ZSTD`, and `CONFIG_SQUASHFS_ZLIB` for \
               `none`.",
    },
    FormatRow {
        format: Format::Fat,
        name: "fat",
        summary: "a disk with a FAT file system",
        suffix: "fat",
        compressions: &[PLAIN],
        takes: Takes::Files { path: &FAT_PATH, ignores_case: true },
        // A FAT file system counts its sectors of 512 bytes with 32 bits.
        sizes: Some(65_536..=1 << 40),
        label: Some(&FAT_LABEL),
        tool: Some(ImageTool {
            program: "mkfs.fat",
            suite: SUITE,
            packages: &["dash", "dosfstools", "mtools"],
        }),
        note: "Its size decides which FAT it is: FAT12 below 4M, FAT16 below 512M, else FAT32. Without a `size` it has what its \
               files need and some room. `A` and `a` are the same name in it.",
    },
];

impl Format {
    /// Reads a format's name.
    pub fn parse(text: &str) -> Option<Self> {
        FORMATS.iter().find(|row| row.name == text).map(|row| row.format)
    }

    /// Gives its row of the table.
    pub fn row(self) -> &'static FormatRow {
        &FORMATS[self as usize]
    }

    /// The format's name.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }
}

impl FormatRow {
    /// Finds a compression that the format has.
    pub fn compression(&self, compression: Compression) -> Option<&'static CompressionRow> {
        self.compressions.iter().find(|row| row.compression == compression)
    }
}

impl Compression {
    const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Xz, Self::Zstd, Self::Lz4];

    /// Reads a compression's name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The compression's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_has_its_row() {
        for (position, row) in FORMATS.iter().enumerate() {
            assert_eq!(row.format as usize, position);
            assert_eq!(Format::parse(row.name), Some(row.format));
            assert!(!row.compressions.is_empty(), "{}", row.name);
            for compression in row.compressions {
                let is_plain = compression.compression == Compression::None;
                assert!(compression.levels.is_none() || !is_plain, "{}", row.name);
            }
        }
    }
}
