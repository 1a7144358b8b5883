//! How much disk a tree takes, however deep it is, and how much is free.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

use crate::folder::{descend, list, look};
use crate::{FileError, IoContext};

/// Gives the bytes that an ordinary user can still write to the file system of a place.
pub fn free_bytes(place: &Path) -> Result<u64, FileError> {
    let disk = rustix::fs::statvfs(place).at("read", place)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// What a tree takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Measure {
    /// Bytes of disk; each inode at its share of its names.
    pub(crate) bytes: u64,
    /// Whether another file system, or a part of one, is mounted in it.
    pub(crate) is_mounted: bool,
}

impl Measure {
    #[allow(clippy::useless_conversion, reason = "the number is narrower on other processors")]
    fn add(&mut self, seen: &Stat) {
        let bytes = u64::try_from(seen.st_blocks).unwrap_or(0) * 512;
        let names = match FileType::from_raw_mode(seen.st_mode) {
            FileType::Directory => 1,
            _ => u64::from(seen.st_nlink).max(1),
        };
        self.bytes += bytes / names;
    }
}

/// A folder on the way: which it is, and the folders in it that are still to be measured.
struct Level {
    device: u64,
    inode: u64,
    waiting: Vec<CString>,
}

/// Measures an entry of a folder. What is gone by now, or closed to its owner, counts nothing.
///
/// One folder is open at a time: the way back is by `..`, and the same folder has to be there.
pub(crate) fn measure(folder: BorrowedFd<'_>, name: &CStr) -> Result<Measure, Errno> {
    let mut sum = Measure::default();
    let seen = match look(folder, name) {
        Err(Errno::NOENT) => return Ok(sum),
        seen => seen?,
    };
    sum.add(&seen);
    if FileType::from_raw_mode(seen.st_mode) != FileType::Directory {
        return Ok(sum);
    }
    let Some(mut here) = enter(folder, name, &mut sum)? else { return Ok(sum) };
    let mut levels = vec![read(&here, &mut sum)?];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.waiting.pop() {
            if let Some(inner) = enter(here.as_fd(), &name, &mut sum)? {
                here = inner;
                levels.push(read(&here, &mut sum)?);
            }
            continue;
        }
        levels.pop();
        let Some(above) = levels.last() else { break };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        here = openat(&here, c"..", flags, Mode::empty())?;
        let found = fstat(&here)?;
        if (found.st_dev, found.st_ino) != (above.device, above.inode) {
            // Moved away meanwhile: by another process that removes it.
            break;
        }
    }
    Ok(sum)
}

fn enter(folder: BorrowedFd<'_>, name: &CStr, sum: &mut Measure) -> Result<Option<OwnedFd>, Errno> {
    // One that may be listed, and no more, has no way back.
    let opened = descend(folder, name).and_then(|inner| look(&inner, c"..").map(|_| inner));
    match opened {
        Ok(inner) => Ok(Some(inner)),
        Err(Errno::XDEV) => {
            sum.is_mounted = true;
            Ok(None)
        }
        Err(Errno::NOENT | Errno::ACCESS | Errno::LOOP | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Counts what is directly in a folder.
fn read(folder: &OwnedFd, sum: &mut Measure) -> Result<Level, Errno> {
    let own = fstat(folder)?;
    let mut level = Level { device: own.st_dev, inode: own.st_ino, waiting: Vec::new() };
    for (name, _) in list(folder.as_fd())? {
        match look(folder, &name) {
            Ok(seen) => {
                sum.add(&seen);
                if FileType::from_raw_mode(seen.st_mode) == FileType::Directory {
                    level.waiting.push(name);
                } else {
                    sum.is_mounted |= seen.st_dev != own.st_dev;
                }
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn depth_is_no_obstacle_and_links_are_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        fs::create_dir_all(at("deep/side/inner")).unwrap();
        fs::write(at("deep/side/inner/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(at("deep/side/inner/file"), at("deep/side/twin")).unwrap();
        std::os::unix::fs::symlink("/", at("deep/side/link")).unwrap();
        let folders = ["deep", "deep/side", "deep/side/inner"].map(&at);
        let blocks = |path: &std::path::PathBuf| fs::symlink_metadata(path).unwrap().blocks() * 512;
        let mut expected = folders.iter().map(blocks).sum::<u64>();
        expected += blocks(&at("deep/side/twin")) + blocks(&at("deep/side/link"));
        for _ in 0..3000 {
            fs::create_dir(at("above")).unwrap();
            fs::rename(at("deep"), at("above/deep")).unwrap();
            fs::rename(at("above"), at("deep")).unwrap();
            expected += blocks(&at("deep"));
        }
        let folder = crate::folder::open(base.path()).unwrap();
        let found = measure(folder.as_fd(), c"deep").unwrap();
        assert_eq!(found, Measure { bytes: expected, is_mounted: false });
        assert_eq!(measure(folder.as_fd(), c"nothing").unwrap(), Measure::default());
        crate::remove_tree(&at("deep")).unwrap();
    }
}
