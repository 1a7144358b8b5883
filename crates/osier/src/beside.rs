//! What is written beside its place, outside of the store, until it is whole.
//!
//! It has one name for each place, and is locked as long as its writer lives. So whoever writes to the place next knows what a
//! killed osier has left there, and removes it; and two that write to one place do it one after the other.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use osier_store::{FileError, IoContext as _, remove_tree, settle};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// How much of a file is read at once; zeros of this length become a hole.
const CHUNK: usize = 64 << 10;

/// A file or a folder that is being written; it is removed again unless it is kept.
pub(crate) struct Beside {
    path: PathBuf,
    place: PathBuf,
    /// Locked, until this is dropped or the process ends.
    _lock: File,
    kept: bool,
}

impl Beside {
    /// Makes an empty file.
    pub(crate) fn file(place: &Path) -> Result<Self, FileError> {
        Self::make(place, |path| File::create_new(path).map(drop))
    }

    /// Makes an empty folder.
    pub(crate) fn folder(place: &Path) -> Result<Self, FileError> {
        Self::make(place, |path| fs::create_dir(path))
    }

    /// Removes what a killed osier has left beside a place to which nothing is to be written now.
    ///
    /// Gives the path of it, where nothing is then.
    pub(crate) fn sweep(place: &Path) -> Result<PathBuf, FileError> {
        let path = place.with_file_name(name(place));
        if path.symlink_metadata().is_ok() {
            drop(Self::file(place)?);
        }
        Ok(path)
    }

    fn make(place: &Path, create: impl Fn(&Path) -> io::Result<()>) -> Result<Self, FileError> {
        let path = place.with_file_name(name(place));
        loop {
            let is_new = match create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                made => made.at("make", &path).map(|()| true)?,
            };
            let handle = match open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                handle => handle.at("open", &path)?,
            };
            match lock(&handle) {
                // A file system without locks: what was made just now is nobody else's.
                Err(_) if is_new => {}
                locked => locked.at("lock", &path)?,
            }
            // While one waits for the lock, the other gives it its right name, or takes it for a killed one's.
            if !is_at(&handle, &path) {
                continue;
            }
            if is_new {
                return Ok(Self { path, place: place.to_path_buf(), _lock: handle, kept: false });
            }
            remove_tree(&path)?;
        }
    }

    /// Where to write.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name once all of it is on the disk, and waits until the name is.
    pub(crate) fn keep(mut self) -> Result<(), FileError> {
        settle(&self.path, &self.place)?;
        self.kept = true;
        Ok(())
    }
}

/// Writes a file whole or not at all, also where the power fails. Where a symbolic link leads to it, the link stays.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), FileError> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let path = real.as_path();
    let beside = Beside::file(path)?;
    fs::write(beside.path(), content).at("write", beside.path())?;
    let mode = fs::metadata(path).map_or(0o644, |known| known.permissions().mode());
    fs::set_permissions(beside.path(), fs::Permissions::from_mode(mode))
        .at("set the mode of", beside.path())?;
    beside.keep()
}

/// Copies a file and leaves holes where it is all zeros; gives its size in bytes.
pub(crate) fn copy_with_holes(from: &Path, to: &Path) -> io::Result<u64> {
    let (from, to) = (File::open(from)?, File::create(to)?);
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let count = match from.read_at(&mut chunk, at) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk[..count].iter().any(|byte| *byte != 0) {
            to.write_all_at(&chunk[..count], at)?;
        }
        at += count as u64;
    }
    to.set_len(at)?;
    Ok(at)
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.kept {
            // What stays is removed by the next one.
            let _ = remove_tree(&self.path);
        }
    }
}

/// A name that a person sees why it is there; the place's own may be as long as names can be.
fn name(place: &Path) -> OsString {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let start: String = name.chars().take(50).collect();
    format!(".{start}.osier-half").into()
}

fn open(path: &Path) -> io::Result<File> {
    // Never what a link leads to, and without waiting for the other end of a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let open = |write| OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    // Some file systems lock only what is open for writing, which folders, and other users' files, cannot be.
    open(true).or_else(|_| open(false))
}

fn lock(handle: &File) -> Result<(), Errno> {
    loop {
        match flock(handle, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            locked => return locked,
        }
    }
}

fn is_at(handle: &File, path: &Path) -> bool {
    let identity = |seen: io::Result<fs::Metadata>| seen.ok().map(|seen| (seen.dev(), seen.ino()));
    let own = identity(handle.metadata());
    own.is_some() && own == identity(fs::symlink_metadata(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_one_has_left_is_removed_by_the_next() {
        let base = tempfile::tempdir().unwrap();
        let place = base.path().join("image");
        for round in ["file", "folder"] {
            // As a kill leaves it: it is there, and nobody has it locked.
            if round == "file" {
                fs::write(base.path().join(".image.osier-half"), "half of something longer")
                    .unwrap();
            } else {
                let inside = base.path().join(".image.osier-half/deep");
                fs::create_dir_all(&inside).unwrap();
                fs::write(inside.join("file"), "").unwrap();
                fs::set_permissions(&inside, fs::Permissions::from_mode(0o555)).unwrap();
            }
            let beside = Beside::file(&place).unwrap();
            fs::write(beside.path(), round).unwrap();
            beside.keep().unwrap();
            assert_eq!(fs::read_to_string(&place).unwrap(), round);
            assert_eq!(names(base.path()), ["image"]);
        }
    }

    #[test]
    fn what_is_not_kept_leaves_nothing_and_what_is_there_stays() {
        let base = tempfile::tempdir().unwrap();
        let place = base.path().join("image");
        fs::write(&place, "of before").unwrap();
        let beside = Beside::file(&place).unwrap();
        fs::write(beside.path(), "half").unwrap();
        drop(beside);
        let folder = Beside::folder(&base.path().join("folder")).unwrap();
        fs::write(folder.path().join("file"), "half").unwrap();
        drop(folder);
        assert_eq!(names(base.path()), ["image"]);
        assert_eq!(fs::read_to_string(place).unwrap(), "of before");
    }

    #[test]
    fn a_link_of_that_name_is_an_error_and_what_it_leads_to_stays() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("mine"), "mine").unwrap();
        std::os::unix::fs::symlink("mine", base.path().join(".image.osier-half")).unwrap();
        assert!(Beside::file(&base.path().join("image")).is_err());
        assert_eq!(fs::read_to_string(base.path().join("mine")).unwrap(), "mine");
    }

    #[test]
    fn names_as_long_as_they_can_be_have_room_beside() {
        let base = tempfile::tempdir().unwrap();
        let long = "ü".repeat(127);
        Beside::file(&base.path().join(&long)).unwrap().keep().unwrap();
        assert_eq!(names(base.path()), [long]);
    }

    #[test]
    fn many_that_write_to_one_place_each_write_it_whole() {
        let base = tempfile::tempdir().unwrap();
        let (place, within) = (base.path().join("image"), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (place, within) = (&place, &within);
                scope.spawn(move || {
                    for _ in 0..25 {
                        let beside = Beside::file(place).unwrap();
                        assert_eq!(within.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                        fs::write(beside.path(), number.to_string().repeat(5000)).unwrap();
                        within.fetch_sub(1, Ordering::SeqCst);
                        if number % 2 == 0 {
                            beside.keep().unwrap();
                        }
                    }
                });
            }
        });
        let text = fs::read_to_string(&place).unwrap();
        assert_eq!(text.len(), 5000);
        assert!(text.bytes().all(|byte| byte == text.as_bytes()[0]), "of one writer");
        assert_eq!(names(base.path()), ["image"]);
    }
}
