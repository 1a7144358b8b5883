//! What a file is: by its first bytes, by its name, by what a recipe says.

use crate::compression::Compression;
use crate::header::{BLOCK, Block};
use crate::tar;

/// A form of archive that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// tar.
    Tar,
    /// cpio.
    Cpio,
    /// ar, such as Debian's packages.
    Ar,
    /// A package of rpm.
    Rpm,
    /// zip.
    Zip,
}

impl std::fmt::Display for Container {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Tar => "tar",
            Self::Cpio => "cpio",
            Self::Ar => "ar",
            Self::Rpm => "rpm",
            Self::Zip => "zip",
        })
    }
}

/// How a file is packed, as far as its name or a recipe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Format {
    /// The archive; nothing where one file lies compressed in another, or nothing is said.
    pub container: Option<Container>,
    /// The compression around it; nothing where it is not said.
    pub compression: Option<Compression>,
}

const COMPRESSIONS: [(&str, Compression); 7] = [
    ("gz", Compression::Gzip),
    ("xz", Compression::Xz),
    ("bz2", Compression::Bzip2),
    ("zst", Compression::Zstd),
    ("lz", Compression::Lzip),
    ("lzma", Compression::Lzma),
    ("Z", Compression::Compress),
];

const CONTAINERS: [(&str, Container); 7] = [
    ("tar", Container::Tar),
    ("cpio", Container::Cpio),
    ("zip", Container::Zip),
    ("ar", Container::Ar),
    ("a", Container::Ar),
    ("deb", Container::Ar),
    ("rpm", Container::Rpm),
];

/// Endings that stand for two.
const SHORT: [(&str, Compression); 8] = [
    ("tgz", Compression::Gzip),
    ("txz", Compression::Xz),
    ("tbz", Compression::Bzip2),
    ("tbz2", Compression::Bzip2),
    ("tzst", Compression::Zstd),
    ("tlz", Compression::Lzip),
    ("taz", Compression::Compress),
    ("tZ", Compression::Compress),
];

fn found<T: Copy>(table: &[(&str, T)], ending: &str) -> Option<T> {
    table.iter().find(|(name, _)| *name == ending).map(|(_, value)| *value)
}

impl Format {
    /// Reads what a recipe says, in the endings of names, as in `tar.gz`; nothing where that is none.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self::of_name(&format!("source.{text}"))).filter(|format| *format != Self::default())
    }

    /// Tells what the endings of a name say; nothing at worst.
    pub fn of_name(name: &str) -> Self {
        let Some((rest, ending)) = name.rsplit_once('.') else { return Self::default() };
        if let Some(compression) = found(&SHORT, ending) {
            return Self { container: Some(Container::Tar), compression: Some(compression) };
        }
        let compression = found(&COMPRESSIONS, ending);
        let ending = match compression {
            Some(_) => rest.rsplit_once('.').map_or("", |(_, ending)| ending),
            None => ending,
        };
        Self { container: found(&CONTAINERS, ending), compression }
    }
}

/// Gives the name of the one file that lies compressed in another.
pub(crate) fn inner_name(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((rest, ending)) if !rest.is_empty() && found(&COMPRESSIONS, ending).is_some() => rest,
        _ => name,
    }
}

/// Bytes to look at to tell an archive.
pub(crate) const HEAD: usize = BLOCK;

/// Tells an archive from its first bytes, of which there should be 512. zip has to be told from the file itself.
pub(crate) fn container_of(head: &[u8]) -> Option<Container> {
    let magics: [(&[u8], Container); 7] = [
        (b"!<arch>\n", Container::Ar),
        (b"\xed\xab\xee\xdb", Container::Rpm),
        (b"070701", Container::Cpio),
        (b"070702", Container::Cpio),
        (b"070707", Container::Cpio),
        (b"\xc7\x71", Container::Cpio),
        (b"\x71\xc7", Container::Cpio),
    ];
    // First, as a path in a tar archive can be anything.
    if head.first_chunk::<BLOCK>().is_some_and(|block: &Block| tar::is_header(block)) {
        return Some(Container::Tar);
    }
    magics.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, found)| *found)
}

/// Says whether bytes begin like a zip archive.
pub(crate) fn is_zip(head: &[u8]) -> bool {
    [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"PK00"]
        .iter()
        .any(|magic| head.starts_with(*magic))
}

/// Where an ISO 9660 image says what it is.
pub(crate) const ISO: usize = 32_769;

/// Names a file that is known and not read, from its first bytes.
pub(crate) fn foreign(head: &[u8]) -> Option<&'static str> {
    let magics: [(&[u8], &str); 16] = [
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
        (b"Rar!\x1a\x07", "a RAR archive"),
        (b"xar!", "a XAR archive"),
        (b"MSCF", "a Windows cabinet"),
        (b"\x04\x22\x4d\x18", "compressed with lz4"),
        (b"\x89LZO\0", "compressed with lzop"),
        (b"LRZI", "compressed with lrzip"),
        (b"hsqs", "a squashfs image"),
        (b"sqsh", "a squashfs image"),
        (b"!<thin>\n", "a thin ar archive, whose members are elsewhere"),
        (b"# v2 git bundle", "a git bundle"),
        (b"# v3 git bundle", "a git bundle"),
        (b"version https://git-lfs", "a pointer of Git LFS instead of the file"),
        (b"\x7fELF", "a program"),
        (b"%PDF-", "a PDF document"),
        (b"\x1f\x1e", "compressed with pack"),
    ];
    if let Some((_, found)) = magics.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(found);
    }
    if head.len() > ISO + 5 && head[ISO..ISO + 5] == *b"CD001" {
        return Some("an ISO 9660 image");
    }
    if head.len() > 7 && head[2..5] == *b"-lh" && head[6] == b'-' {
        return Some("an LHA archive");
    }
    let text = head[..head.len().min(200)].trim_ascii_start().to_ascii_lowercase();
    let is_page = text.starts_with(b"<!doctype html") || text.starts_with(b"<html");
    is_page.then_some("an HTML page instead of the file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_how_files_are_packed() {
        let table: [(&str, Option<Container>, Option<Compression>); 12] = [
            ("a-1.0.tar", Some(Container::Tar), None),
            ("a-1.0.tar.gz", Some(Container::Tar), Some(Compression::Gzip)),
            ("a.tgz", Some(Container::Tar), Some(Compression::Gzip)),
            ("a.tbz2", Some(Container::Tar), Some(Compression::Bzip2)),
            ("a.tar.zst", Some(Container::Tar), Some(Compression::Zstd)),
            ("a.patch.xz", None, Some(Compression::Xz)),
            ("a.cpio.gz", Some(Container::Cpio), Some(Compression::Gzip)),
            ("a.zip", Some(Container::Zip), None),
            ("a.deb", Some(Container::Ar), None),
            ("download", None, None),
            ("v1.0", None, None),
            (".gz", None, Some(Compression::Gzip)),
        ];
        for (name, container, compression) in table {
            assert_eq!(Format::of_name(name), Format { container, compression }, "{name}");
        }
        assert_eq!(inner_name("a.patch.xz"), "a.patch");
        assert_eq!(inner_name("download"), "download");
        assert_eq!(inner_name(".gz"), ".gz");
        assert_eq!(Format::parse("rar"), None);
    }
}
