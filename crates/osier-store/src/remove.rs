//! Removing folders whatever their modes and however deep they are.

use std::cell::Cell;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::folder::{c_name, descend_and_open_up, kind, look};
use crate::{FileError, IoContext};

/// How many folders are open at one time. What lies deeper is moved up first.
const DEEPEST: usize = 32;

/// Removes a file, or a folder and all in it, folders without permissions included.
///
/// Symbolic links are not followed, and what is mounted in the folder is an error and stays. A path that is not there
/// is fine.
pub fn remove_tree(path: &Path) -> Result<(), FileError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(Errno::INVAL).and_then(c_name).at("remove", path)?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
    match openat(CWD, parent, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        parent => remove_in(parent.at("open", path)?.as_fd(), &name, path),
    }
}

/// Removes an entry of a folder, as [`remove_tree`] does; `path` is for messages.
pub(crate) fn remove_in(parent: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<(), FileError> {
    match look(parent, name) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).at("remove", path),
        Ok(seen) if FileType::from_raw_mode(seen.st_mode) == FileType::Directory => {
            Removal { parent, path, levels: Vec::new(), moved: Cell::new(0) }.run(name)
        }
        Ok(_) => gone(unlinkat(parent, name, AtFlags::empty())).at("remove", path),
    }
}

/// Somebody else may have been faster.
fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    if removed == Err(Errno::NOENT) { Ok(()) } else { removed }
}

/// A folder that is being emptied.
struct Level {
    name: CString,
    entries: Dir,
    /// How many entries this pass has come upon.
    seen: usize,
}

/// The removal of a folder: no recursion and few open folders, so that depth is no obstacle; no path, so that its
/// length is none.
struct Removal<'a> {
    parent: BorrowedFd<'a>,
    path: &'a Path,
    levels: Vec<Level>,
    /// How many folders were moved up.
    moved: Cell<u64>,
}

impl Removal<'_> {
    fn run(mut self, name: &CStr) -> Result<(), FileError> {
        self.enter(name)?;
        while let Some(level) = self.levels.last_mut() {
            match level.entries.next() {
                Some(Ok(entry)) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Some(Ok(entry)) => {
                    level.seen += 1;
                    self.take(entry.file_name(), entry.file_type())?;
                }
                Some(Err(errno)) => return Err(self.error(errno, None)),
                None => self.leave()?,
            }
        }
        Ok(())
    }

    fn error(&self, errno: Errno, name: Option<&CStr>) -> FileError {
        let mut path: PathBuf = self.path.to_path_buf();
        let names = self.levels.iter().skip(1).map(|level| level.name.as_c_str()).chain(name);
        path.extend(names.map(|name| OsStr::from_bytes(name.to_bytes())));
        let source = match errno {
            Errno::XDEV => io::Error::other("a file system is mounted on it; unmount it first"),
            errno => errno.into(),
        };
        FileError { action: "remove", path, source }
    }

    /// Begins with a folder of the innermost one.
    fn enter(&mut self, name: &CStr) -> Result<(), FileError> {
        let above = match self.levels.last() {
            Some(level) => level.entries.fd().map_err(|errno| self.error(errno, None))?,
            None => self.parent,
        };
        match descend_and_open_up(above, name).and_then(Dir::new::<OwnedFd>) {
            Ok(entries) => {
                self.levels.push(Level { name: name.to_owned(), entries, seen: 0 });
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.error(errno, Some(name).filter(|_| !self.levels.is_empty()))),
        }
    }

    /// Removes an entry of the innermost folder, or begins with it.
    fn take(&mut self, name: &CStr, listed: FileType) -> Result<(), FileError> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let folder = level.entries.fd().map_err(|errno| self.error(errno, None))?;
        match kind(folder, name, listed) {
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.error(errno, Some(name))),
            Ok(FileType::Directory) if self.levels.len() < DEEPEST => self.enter(name),
            Ok(FileType::Directory) => self.move_up(folder, name),
            Ok(_) => gone(unlinkat(folder, name, AtFlags::empty()))
                .map_err(|errno| self.error(errno, Some(name))),
        }
    }

    /// Moves a folder that lies too deep into the outermost one.
    fn move_up(&self, folder: BorrowedFd<'_>, name: &CStr) -> Result<(), FileError> {
        let moved = || {
            // A folder that comes to lie in another one is written itself.
            drop(descend_and_open_up(folder, name)?);
            let top = self.levels[0].entries.fd()?;
            let place = loop {
                let number = self.moved.replace(self.moved.get() + 1);
                let place = CString::new(format!("moved-{number}")).map_err(|_| Errno::INVAL)?;
                if look(top, &place).is_err_and(|errno| errno == Errno::NOENT) {
                    break place;
                }
            };
            gone(renameat(folder, name, top, &place))
        };
        moved().map_err(|errno| self.error(errno, Some(name)))
    }

    /// Removes the innermost folder, or begins with it again where it is not empty yet.
    fn leave(&mut self) -> Result<(), FileError> {
        let Some(mut level) = self.levels.pop() else { return Ok(()) };
        let above = match self.levels.last() {
            Some(level) => level.entries.fd().map_err(|errno| self.error(errno, None))?,
            None => self.parent,
        };
        let name = level.name.clone();
        match gone(unlinkat(above, &name, AtFlags::REMOVEDIR)) {
            // What was moved up, or has come meanwhile.
            Err(Errno::NOTEMPTY | Errno::EXIST) if level.seen > 0 => {
                level.entries.rewind();
                level.seen = 0;
                self.levels.push(level);
                Ok(())
            }
            removed => removed.map_err(|errno| {
                self.error(errno, Some(&*name).filter(|_| !self.levels.is_empty()))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn modes_and_depth_are_no_obstacle() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().join("top");
        fs::create_dir_all(top.join("locked/inner")).unwrap();
        fs::write(top.join("locked/inner/file"), "x").unwrap();
        fs::write(base.path().join("outside"), "stays").unwrap();
        symlink(base.path(), top.join("locked/link")).unwrap();
        for folder in ["locked/inner", "locked", ""] {
            fs::set_permissions(top.join(folder), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        // Deeper than a path may be long, and deeper than files may be open; a few files at each depth.
        let deep = base.path().join("deep");
        fs::create_dir(&deep).unwrap();
        for _ in 0..3000 {
            let above = base.path().join("above");
            fs::create_dir(&above).unwrap();
            fs::write(above.join("moved-0"), "").unwrap();
            fs::rename(&deep, above.join("deep")).unwrap();
            fs::rename(&above, &deep).unwrap();
        }
        remove_tree(&deep).unwrap();
        assert!(!deep.exists());
        remove_tree(&deep).unwrap();
        remove_tree(&deep.join("below/nothing")).unwrap();
        remove_tree(&base.path().join("outside")).unwrap();
        assert!(base.path().read_dir().unwrap().next().is_none());
    }

    #[test]
    fn what_links_lead_to_keeps_its_bytes_and_its_mode() {
        let base = tempfile::tempdir().unwrap();
        let outside = base.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "stays").unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o555)).unwrap();
        let top = base.path().join("top");
        fs::create_dir(&top).unwrap();
        symlink(&outside, top.join("link")).unwrap();
        symlink(&outside, base.path().join("top-link")).unwrap();
        remove_tree(&top).unwrap();
        remove_tree(&base.path().join("top-link")).unwrap();
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "stays");
        assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o7777, 0o555);
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(base.path().read_dir().unwrap().count(), 1);
        for no_name in ["/", "..", "a/.."] {
            assert!(remove_tree(Path::new(no_name)).is_err(), "{no_name}");
        }
    }
}
