//! How lstat(2) shows a folder and all below it, as one digest: what tells that something in it was changed.
//!
//! Nobody changes a layer, an environment or an area once it is in place. Whatever a program does to one shows in size, mode, inode or
//! time of an entry; what only the disk did, bits that flipped under a file, does not.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::{Digest, FileError, Hasher, IoContext};

/// Whose change times are looked at. No program can set them, but another name for a file, which a blob is, is a change as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    /// Those of everything but the folder itself, which is renamed into place.
    OfAll,
    /// Those of folders and symbolic links alone: files may get and lose further names. So do the marks by which an overlay hides what
    /// is below it: the kernel makes them names of one device, of which one more is in a folder of its own until it unmounts.
    NotOfFiles,
}

/// Longest part of a path that is opened at once.
const PIECE: usize = 4000;

/// Walks a folder without reading its files; gives the digest of all that lstat(2) says.
pub(crate) fn seen(folder: &Path, changes: Changes) -> Result<Digest, FileError> {
    let mut hasher = Hasher::default();
    let mut line = Vec::new();
    visit(folder, &mut |below, name, entry| {
        let kind = FileType::from_raw_mode(entry.st_mode);
        line.clear();
        // The lengths keep a name from running into what stands before and after it.
        for part in [below, name] {
            line.extend(part.len().to_le_bytes());
            line.extend_from_slice(part);
        }
        line.extend(entry.st_mode.to_le_bytes());
        line.extend(entry.st_mtime.to_le_bytes());
        line.extend(entry.st_mtime_nsec.to_le_bytes());
        if kind != FileType::Directory {
            line.extend(entry.st_size.to_le_bytes());
        }
        // The folder itself is renamed into place and touched there.
        if !name.is_empty() {
            line.extend(entry.st_ino.to_le_bytes());
            if changes == Changes::OfAll || matches!(kind, FileType::Directory | FileType::Symlink)
            {
                line.extend(entry.st_ctime.to_le_bytes());
                line.extend(entry.st_ctime_nsec.to_le_bytes());
            }
        }
        hasher.update(&line);
        true
    })?;
    Ok(hasher.finish().0)
}

/// Says whether one of these inodes is below a folder.
pub(crate) fn holds(folder: &Path, inodes: &BTreeSet<u64>) -> Result<bool, FileError> {
    let mut found = false;
    visit(folder, &mut |_, _, entry| {
        found |= inodes.contains(&entry.st_ino);
        !found
    })?;
    Ok(found)
}

type Show<'s> = dyn FnMut(&[u8], &[u8], &Stat) -> bool + 's;

/// Shows a folder, without a name, and then all below it: the folder that it is in, its name, what lstat(2) says of it. Each folder's
/// entries come in the order of their names. Ends where it is told that it was shown enough.
fn visit(folder: &Path, show: &mut Show<'_>) -> Result<(), FileError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base = rustix::fs::open(folder, flags, Mode::empty()).at("list", folder)?;
    if !show(b"", b"", &rustix::fs::fstat(&base).at("read", folder)?) {
        return Ok(());
    }
    let mut waiting: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(below) = waiting.pop() {
        let host = || folder.join(OsStr::from_bytes(&below));
        let opened = match open_below(&base, &below) {
            Ok(opened) => opened,
            // A step has made a folder that nobody may look into.
            Err(Errno::ACCESS) => continue,
            Err(errno) => return Err(errno).at("list", &host()),
        };
        let mut names = Vec::new();
        let entries = match Dir::read_from(&opened) {
            // A folder that may be listed, and no more.
            Err(Errno::ACCESS) => continue,
            entries => entries.at("list", &host())?,
        };
        for found in entries {
            let found = found.at("list", &host())?;
            if !matches!(found.file_name().to_bytes(), b"." | b"..") {
                names.push(found.file_name().to_owned());
            }
        }
        names.sort_unstable();
        for name in names {
            let entry = rustix::fs::statat(&opened, &name, AtFlags::SYMLINK_NOFOLLOW)
                .at("read", &host())?;
            let name = name.to_bytes();
            if FileType::from_raw_mode(entry.st_mode) == FileType::Directory {
                let slash: &[u8] = if below.is_empty() { b"" } else { b"/" };
                waiting.push([&below, slash, name].concat());
            }
            if !show(&below, name, &entry) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Opens a folder below another, however long the path is.
fn open_below(base: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at: Option<OwnedFd> = None;
    let mut rest = path;
    loop {
        let piece = if rest.len() <= PIECE {
            std::mem::take(&mut rest)
        } else {
            let slash =
                rest[..PIECE].iter().rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?;
            let piece = &rest[..slash];
            rest = &rest[slash + 1..];
            piece
        };
        let piece = if piece.is_empty() { b".".as_slice() } else { piece };
        let from = at.as_ref().unwrap_or(base);
        at = Some(rustix::fs::openat(from, piece, flags, Mode::empty())?);
        if rest.is_empty() {
            return at.ok_or(Errno::NOENT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    fn sample() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("in/side")).unwrap();
        fs::write(folder.path().join("in/file"), "one").unwrap();
        fs::write(folder.path().join("in/other"), "").unwrap();
        std::os::unix::fs::symlink("file", folder.path().join("in/link")).unwrap();
        // Longer than the steps of the clock by which the kernel stamps changes.
        std::thread::sleep(Duration::from_millis(20));
        folder
    }

    #[test]
    fn whatever_a_program_does_shows() {
        type Change = (&'static str, fn(&Path));
        let changes: [Change; 10] = [
            ("truncated", |at| fs::write(at.join("in/file"), "").unwrap()),
            ("appended to", |at| fs::write(at.join("in/file"), "one more").unwrap()),
            ("flipped", |at| fs::write(at.join("in/file"), "onf").unwrap()),
            ("mode", |at| {
                fs::set_permissions(at.join("in/file"), fs::Permissions::from_mode(0o600)).unwrap();
            }),
            ("a file gone", |at| fs::remove_file(at.join("in/other")).unwrap()),
            ("a folder gone", |at| fs::remove_dir(at.join("in/side")).unwrap()),
            ("a file new", |at| fs::write(at.join("in/side/new"), "").unwrap()),
            ("renamed", |at| fs::rename(at.join("in/other"), at.join("in/another")).unwrap()),
            ("another link", |at| {
                fs::remove_file(at.join("in/link")).unwrap();
                std::os::unix::fs::symlink("fine", at.join("in/link")).unwrap();
            }),
            ("at the top", |at| fs::write(at.join("new"), "").unwrap()),
        ];
        for mode in [Changes::OfAll, Changes::NotOfFiles] {
            for (what, change) in changes {
                let folder = sample();
                let before = seen(folder.path(), mode).unwrap();
                assert_eq!(seen(folder.path(), mode).unwrap(), before);
                change(folder.path());
                assert_ne!(seen(folder.path(), mode).unwrap(), before, "{what}");
            }
        }
    }

    #[test]
    fn a_further_name_shows_only_where_files_have_one() {
        let folder = sample();
        let look = |changes| seen(folder.path(), changes).unwrap();
        let (strict, loose) = (look(Changes::OfAll), look(Changes::NotOfFiles));
        let other = tempfile::tempdir_in(folder.path().parent().unwrap()).unwrap();
        fs::hard_link(folder.path().join("in/file"), other.path().join("name")).unwrap();
        assert_eq!(look(Changes::NotOfFiles), loose);
        assert_ne!(look(Changes::OfAll), strict);
    }

    #[test]
    fn a_further_name_of_what_hides_does_not_show() {
        let folder = sample();
        let mark = folder.path().join("in/gone");
        crate::overlay::whiteout(&mark).unwrap();
        let before = seen(folder.path(), Changes::NotOfFiles).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let other = tempfile::tempdir_in(folder.path().parent().unwrap()).unwrap();
        fs::hard_link(&mark, other.path().join("name")).unwrap();
        assert_eq!(seen(folder.path(), Changes::NotOfFiles).unwrap(), before);
        fs::remove_file(&mark).unwrap();
        assert_ne!(seen(folder.path(), Changes::NotOfFiles).unwrap(), before);
    }

    #[test]
    fn depth_is_no_obstacle() {
        let base = tempfile::tempdir().unwrap();
        let deep = base.path().join("deep");
        fs::create_dir(&deep).unwrap();
        for _ in 0..1200 {
            let above = base.path().join("above");
            fs::create_dir(&above).unwrap();
            fs::rename(&deep, above.join("deep")).unwrap();
            fs::rename(&above, &deep).unwrap();
        }
        seen(&deep, Changes::OfAll).unwrap();
        crate::remove_tree(&deep).unwrap();
    }
}
