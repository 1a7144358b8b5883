//! A disk with a FAT file system, made by mkfs.fat and filled by mtools.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;

use osier_build::{MakeError, NotMade, ProductPart};
use osier_recipe::Image;
use osier_store::{Digest, IoContext as _};

use super::{TakenBytes, Writer, Writing, identities, quoted};
use crate::content::content;

pub(super) static WRITER: Writer = Writer { version, write };

/// The version of the commands below, and of the sizes.
const COMMANDS: u32 = 1;

/// Where the commands find the files, by number.
const FILES: &str = "files";

/// A name of the image for mtools, which reads `@@` in names in a way of its own.
const IMAGE: &str = "image";

/// Most bytes of a file: its size has 32 bits.
const LARGEST_FILE: u64 = u32::MAX as u64;

/// Bytes of a sector.
const SECTOR: u64 = 512;

/// The step in which sizes are reckoned.
const GRAIN: u64 = 64 << 10;

/// Bytes of an entry of a folder.
const ENTRY: u64 = 32;

/// Characters of a long name in one entry.
const CHARACTERS: usize = 13;

/// Usual entries of the root folder, which FAT12 and FAT16 cannot let grow.
const ROOT_ENTRIES: u64 = 512;

fn version(_: &Image) -> String {
    format!("fat {COMMANDS}")
}

/// The volume's number follows from what it is made of, and the times of files are that of the steps' `SOURCE_DATE_EPOCH`.
fn write(writing: &Writing<'_>) -> Result<Vec<String>, MakeError> {
    let mut files: Vec<_> = writing.files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let plan = Plan::of(&files);
    let (size, root_entries) = checked(writing, &files, &plan)?;
    leave_files(writing, &files)?;
    let [[a, b, c, d, ..], _] = identities("fat", &writing.made_of);
    let volume = u32::from_le_bytes([a, b, c, d]);
    let label = writing.image.label.as_ref();
    let label = label.map(|label| format!(" -n {}", quoted(label))).unwrap_or_default();
    let (bits, cluster) = shape(size);
    let root = if bits == 32 { String::new() } else { format!(" -r {root_entries}") };
    let (sectors, blocks, image) = (cluster / SECTOR, size / 1024, writing.quoted());
    let mut commands = vec![
        // It looks for what is usual on disks of its own, and finds fault with sizes that are not.
        "export MTOOLS_SKIP_CHECK=1".to_owned(),
        format!(
            "mkfs.fat --invariant -i {volume:08x}{label} -F {bits} -s {sectors}{root} -C {image} {blocks}"
        ),
    ];
    let folders = plan.folders.iter().map(|folder| quoted(&format!("::{folder}")));
    commands.extend(folders.map(|folder| format!("mmd -i {IMAGE} {folder}")));
    let copies = files.iter().enumerate().map(|(at, file)| {
        format!("mcopy -i {IMAGE} {FILES}/{at} {}", quoted(&format!("::{}", file.path)))
    });
    commands.extend(copies);
    commands.push(format!("fsck.fat -n {image}"));
    Ok(commands)
}

/// Gives the size and the entries of the root folder, where the files fit.
fn checked(
    writing: &Writing<'_>,
    files: &[&TakenBytes],
    plan: &Plan,
) -> Result<(u64, u64), MakeError> {
    let wrong = |why: String, hint: String| {
        let message = format!("cannot write {}: {why}", writing.image.file_name());
        let (part, lines) = (ProductPart::Image, Vec::new());
        MakeError::Wrong(NotMade { part, message, lines, hint: Some(hint) })
    };
    if let Some(file) = files.iter().find(|file| file.size > LARGEST_FILE) {
        let why = format!(
            "`{}` has {} bytes, and a file of a FAT file system at most {LARGEST_FILE}",
            file.path, file.size
        );
        return Err(wrong(why, "put it into an image of another format".to_owned()));
    }
    let size = writing.image.size.unwrap_or(plan.size);
    if size < plan.bytes {
        let why = format!("its size is {size} bytes, and its files have {}", plan.bytes);
        let needed = plan.size.div_ceil(1 << 20);
        let hint = format!("write `size = \"{needed}M\"` or more, or leave `size` out");
        return Err(wrong(why, hint));
    }
    match u16::try_from(plan.root_entries) {
        Ok(entries) => Ok((size, entries.into())),
        Err(_) => Err(wrong(
            "its root folder cannot hold so many names".to_owned(),
            "put the files into a folder of the image".to_owned(),
        )),
    }
}

/// Leaves the bytes of the files, and a name for the image that is to be.
fn leave_files(writing: &Writing<'_>, files: &[&TakenBytes]) -> Result<(), MakeError> {
    let build = writing.place.build;
    let folder = build.join(FILES);
    fs::create_dir(&folder).at("make", &folder)?;
    for (at, file) in files.iter().enumerate() {
        let place = folder.join(at.to_string());
        let mut out = File::create(&place).at("make", &place)?;
        let open = |file: &Digest| content(writing.store(), file);
        let copied = open(&file.content).and_then(|mut from| io::copy(&mut from, &mut out));
        copied.map_err(|error| writing.failed(&error))?;
    }
    let place = build.join(IMAGE);
    Ok(symlink(format!("/output/{}", writing.image.file_name()), &place).at("make", &place)?)
}

/// What some files need.
struct Plan {
    /// All folders, each behind those that it is in.
    folders: BTreeSet<String>,
    /// The entries of the root folder.
    root_entries: u64,
    /// The bytes of the files alone.
    bytes: u64,
    /// The size that the file system gets where none is asked for.
    size: u64,
}

impl Plan {
    fn of(files: &[&TakenBytes]) -> Self {
        // `A` and `a` are one folder, which is called as it is first.
        let mut folded = BTreeSet::new();
        let mut folders = BTreeSet::new();
        for file in files {
            for (at, _) in file.path.match_indices('/') {
                if folded.insert(file.path[..at].to_uppercase()) {
                    folders.insert(file.path[..at].to_owned());
                }
            }
        }
        // Of all folders together; the root's alone, with the label.
        let (mut entries, mut root) = (0, 1);
        for path in folders.iter().chain(files.iter().map(|file| &file.path)) {
            let name = path.rsplit('/').next().unwrap_or(path);
            let needed = name.len().div_ceil(CHARACTERS) as u64 + 1;
            entries += needed;
            root += if path.contains('/') { 0 } else { needed };
        }
        let root_entries = root.max(ROOT_ENTRIES).next_multiple_of(16);
        let folder_count = folders.len() as u64;
        let size_of = |cluster: u64| {
            let files: u64 = files.iter().map(|file| file.size.next_multiple_of(cluster)).sum();
            // Each folder has two entries of its own.
            let folders = folder_count * 2 * cluster + entries * ENTRY;
            let used = files + folders.next_multiple_of(cluster);
            // Two tables of at most 4 bytes for each cluster, the root folder, and some room.
            let tables = used / cluster * 8 + root_entries * ENTRY;
            (used + tables + used / 16 + (512 << 10)).next_multiple_of(GRAIN)
        };
        let mut size = size_of(SECTOR);
        loop {
            let next = size_of(shape(size).1);
            if next <= size {
                break;
            }
            size = next;
        }
        let bytes = files.iter().map(|file| file.size).sum();
        Self { folders, root_entries, bytes, size }
    }
}

/// Gives the bits of the table's entries and the bytes of a cluster. The number of clusters decides which FAT it is for who reads
/// it, so it stays well away from the borders.
fn shape(size: u64) -> (u8, u64) {
    let at_most = |clusters: u64| (size.next_power_of_two() / clusters).clamp(SECTOR, 32 << 10);
    match size {
        0..0x40_0000 => (12, at_most(2048)),
        0x40_0000..0x2000_0000 => (16, at_most(32_768)),
        _ => (32, at_most(2 << 20).max(4096)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, size: u64) -> TakenBytes {
        TakenBytes { path: path.to_owned(), content: Digest([0; 32]), size }
    }

    #[test]
    fn the_number_of_clusters_is_that_of_the_fat_at_every_size() {
        let edges = (16..41).flat_map(|power| {
            let edge = 1_u64 << power;
            [edge, edge + 4096, edge + edge / 2, edge * 2 - 4096]
        });
        for size in edges.filter(|size| *size <= 1 << 40) {
            let (bits, cluster) = shape(size);
            let clusters = size / cluster;
            let fits = match bits {
                12 => clusters <= 4084 - 512,
                16 => (4085 + 1024..65_525 - 1024).contains(&clusters),
                _ => (65_525 + 1024..268_435_445).contains(&clusters),
            };
            assert!(fits && cluster <= 64 << 10, "{size}: FAT{bits} of {clusters} clusters");
        }
    }

    #[test]
    fn a_size_is_reckoned_with_room_for_clusters_names_and_tables() {
        let many: Vec<_> = (0..3000).map(|at| file(&format!("folder/a file {at:04}"), 1)).collect();
        let plan = Plan::of(&many.iter().collect::<Vec<_>>());
        let (_, cluster) = shape(plan.size);
        assert!(plan.size > 3000 * (cluster + 64), "{}", plan.size);
        assert_eq!((plan.bytes, plan.root_entries), (3000, 512));
        for bytes in [0, 1 << 20, 4 << 20, 127 << 20, 520 << 20, 4_000_000_000] {
            let plan = Plan::of(&[&file("a", bytes)]);
            let (bits, cluster) = shape(plan.size);
            let tables = 2 * plan.size / cluster * u64::from(bits) / 8 + (32 + 32) * SECTOR;
            assert!(plan.size >= bytes.next_multiple_of(cluster) + tables, "{bytes}");
        }
    }

    #[test]
    fn folders_that_differ_in_case_are_one_and_come_behind_those_they_are_in() {
        let files = [file("EFI/BOOT/A", 1), file("efi/boot/B", 1), file("efi/other/C", 1)];
        let plan = Plan::of(&files.iter().collect::<Vec<_>>());
        assert_eq!(Vec::from_iter(plan.folders), ["EFI", "EFI/BOOT", "efi/other"]);
    }
}
