//! Source archives laid out as files, whatever they hold.
//!
//! What an archive is is told by its content (`osier-archive`). Its entries come from others: a name that leaves the folder, a
//! device, or an entry that goes through a symbolic link of the archive's own is an error, never followed. Owners are left off,
//! since a step has one user only. Modes are those of the archive whoever unpacks it, but for what keeps its owner out. Times
//! are kept to the nanosecond, since make compares them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use osier_archive::{OpenError, Opened};
use osier_store::{FileError, IoContext};

use crate::graph::Strip;
use crate::layer::SOURCE_DATE;

mod layout;

use layout::Layout;

/// Why an archive could not be laid out.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The content is no archive and not compressed.
    #[error(
        "{file} is neither an archive nor a compressed file that osier knows; to keep the file as it is, write `unpack = false`"
    )]
    UnknownFormat {
        /// The file's name.
        file: String,
    },
    /// The content is of a known form that is not read, or not what it is said to be.
    #[error("{file} {problem}; {advice}")]
    Format {
        /// The file's name.
        file: String,
        /// What it is.
        problem: String,
        /// What to do.
        advice: &'static str,
    },
    /// The bytes are not an archive, or end too early.
    #[error("{file} is damaged or cut short {place}: {source}")]
    Damaged {
        /// The file's name.
        file: String,
        /// Where that was found: an entry by name.
        place: String,
        /// What the reader said.
        source: io::Error,
    },
    /// An entry would leave the folder, or is of a kind that sources do not have.
    #[error("osier refuses an entry of {file}: `{entry}` {problem}")]
    Refused {
        /// The file's name.
        file: String,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An entry lies outside the leading folders that are to be left off.
    #[error(
        "{file} does not have everything in one top folder: `{entry}` is outside `{top}`; write `strip = {fits}` in the recipe's source"
    )]
    Outside {
        /// The file's name.
        file: String,
        /// The entry.
        entry: String,
        /// The folders that are left off.
        top: String,
        /// How many can be left off.
        fits: usize,
    },
    /// An entry has fewer leading folders than are to be left off.
    #[error(
        "{file} has an entry without a top folder to remove: `{entry}`; write `strip = {fits}` in the recipe's source"
    )]
    Above {
        /// The file's name.
        file: String,
        /// The entry.
        entry: String,
        /// How many can be left off.
        fits: usize,
    },
    /// Nothing was in it.
    #[error("{file} contains nothing{}", if *.strip > 0 { format!(" below its leading {strip} folder(s); to keep these, write `strip = 0` in the recipe's source") } else { String::new() })]
    Empty {
        /// The file's name.
        file: String,
        /// How many leading folders were left off.
        strip: u32,
    },
    /// Writing failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl UnpackError {
    /// Says whether the disk was full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::File(error) if error.is_disk_full())
    }
}

/// A file to unpack.
#[derive(Debug, Clone, Copy)]
pub struct Packed<'a> {
    /// Where its bytes are.
    pub file: &'a Path,
    /// Its name, for messages and for what its content cannot tell.
    pub name: &'a str,
    /// How it is packed, where the recipe says so.
    pub format: Option<&'a str>,
    /// So many bytes of disk are left free.
    pub reserve: u64,
}

/// Text that others wrote, fit to be shown: what is no character, or controls a terminal, is escaped.
fn shown(text: &[u8]) -> String {
    let mut shown = String::new();
    for letter in String::from_utf8_lossy(text).chars() {
        match letter {
            letter if letter.is_control() => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown
}

/// Copies a file that is no archive into an existing folder.
pub(crate) fn put_file(file: &Path, name: &str, into: &Path) -> Result<(), UnpackError> {
    let place = into.join(name);
    fs::copy(file, &place).at("copy", &place)?;
    Ok(seal(&place)?)
}

/// Writes the one file that lies compressed in another.
fn write_file(
    packed: &Packed<'_>,
    mut reader: impl Read,
    name: &str,
    into: &Path,
) -> Result<(), UnpackError> {
    let place = into.join(name);
    let mut file = File::create_new(&place).at("make", &place)?;
    let mut room = layout::Room::new(into, packed.reserve);
    let mut chunk = vec![0; 1 << 18];
    loop {
        let count = reader.read(&mut chunk).map_err(|source| UnpackError::Damaged {
            file: packed.name.to_owned(),
            place: format!("in `{name}`"),
            source,
        })?;
        if count == 0 {
            drop(file);
            return Ok(seal(&place)?);
        }
        io::Write::write_all(&mut file, &chunk[..count]).at("write", &place)?;
        room.take(count as u64, &place)?;
    }
}

/// Gives a file what an archive would have said of it.
fn seal(place: &Path) -> Result<(), FileError> {
    crate::layer::upper::set_mode(place, 0o644)?;
    let time = rustix::fs::Timespec { tv_sec: SOURCE_DATE as i64, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, place, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .at("set the time of", place)
}

/// Unpacks one archive, or one compressed file, into an existing folder, leaving off `strip` leading folders of each name.
///
/// The folder must not yet hold what the archive brings.
///
/// # Errors
/// [`UnpackError`].
pub fn unpack_archive(packed: &Packed<'_>, strip: u32, into: &Path) -> Result<(), UnpackError> {
    let file = File::open(packed.file).at("open", packed.file)?;
    let opened = osier_archive::open(file, packed.name, packed.format);
    match opened.map_err(|error| not_opened(packed, error))? {
        Opened::File { name, reader } => write_file(packed, reader, &name, into),
        Opened::Archive(archive) => Layout::new(packed, strip, into)?.run(archive),
    }
}

fn not_opened(packed: &Packed<'_>, error: OpenError) -> UnpackError {
    let file = packed.name.to_owned();
    let problem = error.to_string();
    let advice = match error {
        OpenError::Unknown => return UnpackError::UnknownFormat { file },
        OpenError::Empty => return UnpackError::Empty { file, strip: 0 },
        OpenError::Read(source) => {
            return UnpackError::Damaged { file, place: "at its beginning".into(), source };
        }
        OpenError::Foreign { .. } => {
            "use another file of this source, or write `unpack = false` and unpack it in a step, with a program from `packages`"
        }
        OpenError::Other { .. } if packed.format.is_some() => {
            "correct `format` in the recipe's source, or remove it: osier then looks at the content"
        }
        OpenError::Other { .. } => {
            "check what the address serves; to keep the file as it is, write `unpack = false`"
        }
    };
    UnpackError::Format { file, problem, advice }
}

/// Unpacks an archive of a Debian source as dpkg-source does: the folder that all is in becomes `target`, and where there is no
/// such folder all goes into `target`. What was there before is replaced. `beside` is a free name on the same disk.
pub(crate) fn unpack_debian(
    packed: &Packed<'_>,
    target: &Path,
    beside: &Path,
) -> Result<(), UnpackError> {
    fs::create_dir_all(beside).at("make", beside)?;
    unpack_archive(packed, 0, beside)?;
    let mut found = fs::read_dir(beside)
        .at("list", beside)?
        .collect::<io::Result<Vec<_>>>()
        .at("list", beside)?;
    let lone = match found.pop() {
        Some(entry)
            if found.is_empty() && entry.file_type().at("read", &entry.path())?.is_dir() =>
        {
            entry.path()
        }
        _ => beside.to_path_buf(),
    };
    osier_store::remove_tree(target)?;
    fs::rename(&lone, target).at("rename", &lone)?;
    Ok(osier_store::remove_tree(beside)?)
}

/// Unpacks one archive of a source to its place in a layer.
pub(crate) fn unpack_source(
    packed: &Packed<'_>,
    strip: Option<Strip>,
    target: &Path,
    beside: &Path,
) -> Result<(), UnpackError> {
    let parent =
        if strip == Some(Strip::Lone) { target.parent().unwrap_or(target) } else { target };
    fs::create_dir_all(parent).at("make", parent)?;
    match strip {
        Some(Strip::Folders(strip)) => unpack_archive(packed, strip, target),
        Some(Strip::Lone) => unpack_debian(packed, target, beside),
        None => put_file(packed.file, packed.name, target),
    }
}

#[cfg(test)]
mod forms;
#[cfg(test)]
mod tests;
