//! zip archives, as the crate `zip` reads them.

use std::fs::File;
use std::io::{self, BufReader, Read};

use zip::result::ZipError;
use zip::{CompressionMethod, ExtraField, System, ZipArchive};

use crate::content::{Content, Entry, Kind, ReadError, Time, bytes, wrong};

/// The longest target of a link that is believed.
const MOST_TARGET: u64 = 1 << 16;

/// Reads a zip archive to its end, and gives each entry with its content.
pub(crate) fn read<E: From<ReadError>>(
    file: File,
    mut each: impl FnMut(&Entry, &mut Content<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = ZipArchive::new(BufReader::with_capacity(1 << 18, file)).map_err(damaged)?;
    for index in 0..archive.len() {
        let mut entry = entry(&mut archive, index)?;
        let mut member = archive.by_index(index).map_err(damaged)?;
        if matches!(entry.kind, Kind::Symlink { .. }) {
            if entry.size > MOST_TARGET {
                return Err(ReadError::from(wrong("the target of a link is too long")).into());
            }
            let target = bytes(&mut member, entry.size).map_err(ReadError::from)?;
            entry.kind = Kind::Symlink { target };
            entry.size = 0;
            each(&entry, &mut Content::empty(&mut io::empty()))?;
            continue;
        }
        each(&entry, &mut Content::whole(&mut member, entry.size))?;
        // The sum is compared when the end is read.
        if member.read(&mut [0]).map_err(ReadError::from)? > 0 {
            return Err(ReadError::from(wrong("a file is longer than it says")).into());
        }
    }
    Ok(())
}

/// Tells what a member is, without its content. The target of a link is still to be read.
fn entry(archive: &mut ZipArchive<BufReader<File>>, index: usize) -> Result<Entry, ReadError> {
    let member = archive.by_index_raw(index).map_err(damaged)?;
    let mut path = member.name_raw().to_vec();
    // Some programs of Windows write the separators of Windows.
    if member.system() != System::Unix && !path.contains(&b'/') {
        path.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    let refused = |problem| Err(ReadError::Refused { entry: path.clone(), problem });
    if member.encrypted() {
        return refused("is encrypted");
    }
    if !matches!(member.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        return refused("is not compressed with deflate, the usual method of zip");
    }
    let mode = if member.system() == System::Unix { member.unix_mode() } else { None };
    let kind = match mode.unwrap_or(0) & 0o170_000 {
        _ if path.ends_with(b"/") => Kind::Folder,
        0o040_000 => Kind::Folder,
        0o120_000 => Kind::Symlink { target: Vec::new() },
        0o100_000 | 0 => Kind::File,
        0o010_000 => Kind::Special("is a named pipe"),
        _ => Kind::Special("is a device or a socket"),
    };
    let usual = if kind == Kind::Folder { 0o755 } else { 0o644 };
    let mode = mode.map(|mode| mode & 0o7777).filter(|mode| *mode != 0).unwrap_or(usual);
    let size = if kind == Kind::Folder { 0 } else { member.size() };
    let exact = member.extra_data_fields().find_map(|field| match field {
        ExtraField::ExtendedTimestamp(times) => times.mod_time(),
        _ => None,
    });
    let seconds = match (exact, member.last_modified()) {
        (Some(seconds), _) => i64::from(seconds.cast_signed()),
        (None, Some(time)) => {
            let day = days(time.year().into(), time.month().into(), time.day().into());
            let clock = [time.hour(), time.minute(), time.second()].map(i64::from);
            day * 86_400 + clock[0] * 3600 + clock[1] * 60 + clock[2]
        }
        (None, None) => 0,
    };
    Ok(Entry { path, kind, mode, mtime: Time::of_seconds(seconds), size })
}

/// Counts the days from 1970 to a day of the calendar, after 1970 and before 2108. No zone is written, so it is that of UTC.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    before + (153 * month + 2) / 5 + day - 1 - 719_468
}

fn damaged(error: ZipError) -> ReadError {
    match error {
        ZipError::Io(error) => ReadError::Damaged(error),
        other => ReadError::Damaged(io::Error::new(io::ErrorKind::InvalidData, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn days_of_the_calendar() {
        let table = [
            ((1970, 1, 1), 0),
            ((1980, 1, 1), 3652),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2107, 12, 31), 50_402),
        ];
        for ((year, month, day), count) in table {
            assert_eq!(super::days(year, month, day), count, "{year}-{month}-{day}");
        }
    }
}
