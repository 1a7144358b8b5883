//! What lies in a store's folder: osier's things, and what somebody else has put there.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::layout::{self, BLOB_SHELF, BLOBS, SHELVES, Shelf};
use crate::{FileError, IoContext, folder};

/// What stays in a store because osier did not make it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// The first of it.
    pub paths: Vec<PathBuf>,
    /// How much more there is.
    pub more: usize,
}

impl Left {
    const MOST: usize = 10;

    /// Says whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    pub(crate) fn note(&mut self, path: PathBuf) {
        if self.paths.len() < Self::MOST {
            self.paths.push(path);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.more += other.more;
        other.paths.into_iter().for_each(|path| self.note(path));
    }
}

/// One of osier's things in a store.
pub(crate) struct Ours<'a> {
    /// The folder at the top of the store.
    pub(crate) shelf: &'static str,
    pub(crate) folder: BorrowedFd<'a>,
    pub(crate) name: &'a CStr,
    pub(crate) path: PathBuf,
}

fn join(path: &Path, name: &CStr) -> PathBuf {
    path.join(OsStr::from_bytes(name.to_bytes()))
}

/// Opens a folder of the store; nothing where it is gone, or is not one that osier has made.
pub(crate) fn open_shelf(
    folder: BorrowedFd<'_>,
    name: &CStr,
    path: &Path,
    left: &mut Left,
) -> Result<Option<OwnedFd>, FileError> {
    match folder::descend(folder, name) {
        Ok(shelf) => Ok(Some(shelf)),
        Err(Errno::NOENT) => Ok(None),
        // A link, a mount, a folder of somebody else.
        Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV | Errno::ACCESS) => {
            left.note(path.to_path_buf());
            Ok(None)
        }
        Err(errno) => Err(errno).at("open", path),
    }
}

/// Visits all of osier's things in the folders of a store, and gives what is none.
pub(crate) fn visit(
    root: &Path,
    each: &mut dyn FnMut(&Ours<'_>) -> Result<(), FileError>,
) -> Result<Left, FileError> {
    let mut left = Left::default();
    let top = folder::open(root)?;
    for (name, kind) in sorted(top.as_fd(), root)? {
        let path = join(root, &name);
        let text = name.to_str().unwrap_or_default();
        let is_folder = kind == FileType::Directory;
        let shelf = SHELVES.iter().find(|shelf| shelf.name == text);
        if let Some(shelf) = shelf.filter(|_| is_folder) {
            if let Some(opened) = open_shelf(top.as_fd(), &name, &path, &mut left)? {
                visit_shelf((shelf, shelf.name), &opened, &path, each, &mut left)?;
            }
        } else if is_folder && text == BLOBS {
            let Some(blobs) = open_shelf(top.as_fd(), &name, &path, &mut left)? else { continue };
            for (name, kind) in sorted(blobs.as_fd(), &path)? {
                let path = join(&path, &name);
                let ours = name.to_str().is_ok_and(layout::is_blob_folder);
                if !ours || kind != FileType::Directory {
                    left.note(path);
                } else if let Some(opened) = open_shelf(blobs.as_fd(), &name, &path, &mut left)? {
                    visit_shelf((&BLOB_SHELF, BLOBS), &opened, &path, each, &mut left)?;
                }
            }
        } else if !is_of_the_top(root, text, kind) {
            left.note(path);
        }
    }
    Ok(left)
}

fn visit_shelf(
    (shelf, of): (&Shelf, &'static str),
    opened: &OwnedFd,
    path: &Path,
    each: &mut dyn FnMut(&Ours<'_>) -> Result<(), FileError>,
    left: &mut Left,
) -> Result<(), FileError> {
    let folder = opened.as_fd();
    for (name, kind) in folder::list(folder).at("list", path)? {
        let path = join(path, &name);
        if shelf.holds(&name, kind) {
            each(&Ours { shelf: of, folder, name: &name, path })?;
        } else {
            left.note(path);
        }
    }
    Ok(())
}

fn sorted(folder: BorrowedFd<'_>, path: &Path) -> Result<Vec<(CString, FileType)>, FileError> {
    let mut found = folder::list(folder).at("list", path)?;
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Says whether something directly in a store is osier's, or belongs to the file system.
fn is_of_the_top(root: &Path, name: &str, kind: FileType) -> bool {
    match kind {
        FileType::Directory => {
            let is_lost = name == "lost+found" && folder::is_mount_point(root);
            is_lost || (name == layout::DEGRADED && crate::open::is_store(&root.join(name)))
        }
        FileType::RegularFile => layout::is_of_the_top(name),
        _ => false,
    }
}
