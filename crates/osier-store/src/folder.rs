//! Folders by descriptor: what is reached from one by names is never behind a symbolic link, and never on another
//! file system than the folder itself, whatever others do to the names meanwhile.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, StatxAttributes, StatxFlags,
    openat, openat2, statat, statx,
};
use rustix::io::Errno;

use crate::{FileError, IoContext};

const FOLDER: OFlags =
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);

/// Opens a folder by its path; links on the way to it are followed.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, FileError> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    openat(CWD, path, flags, Mode::empty()).at("open", path)
}

/// Opens a folder in a folder: [`Errno::LOOP`] or [`Errno::NOTDIR`] where it is none, [`Errno::XDEV`] where a file
/// system is mounted on it, be it a part of the same.
pub(crate) fn descend(folder: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    descend_for(folder, name, OFlags::empty())
}

fn descend_for(folder: impl AsFd, name: &CStr, more: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let folder = folder.as_fd();
    loop {
        match openat2(folder, name, FOLDER | more, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A machine that imitates Linux.
            Err(Errno::NOSYS) => {
                let opened = openat(folder, name, FOLDER | more, Mode::empty())?;
                let (here, there) = (rustix::fs::fstat(folder)?, rustix::fs::fstat(&opened)?);
                return if here.st_dev == there.st_dev { Ok(opened) } else { Err(Errno::XDEV) };
            }
            opened => return opened,
        }
    }
}

/// Opens a folder in a folder as [`descend`] does, and gives its owner all rights where they are lacking.
pub(crate) fn descend_and_open_up(folder: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let folder = folder.as_fd();
    let opened = match descend(folder, name) {
        Err(Errno::ACCESS) => {
            // Such a descriptor says which folder is meant, and needs no rights.
            let found = descend_for(folder, name, OFlags::PATH)?;
            let name_of_it = format!("/proc/self/fd/{}", found.as_raw_fd());
            rustix::fs::chmodat(CWD, name_of_it, Mode::RWXU, AtFlags::empty())?;
            descend(folder, name)?
        }
        opened => opened?,
    };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        rustix::fs::fchmod(&opened, Mode::RWXU)?;
    }
    Ok(opened)
}

/// Gives the owner of a folder all rights; one that is a link, or mounted, is an error.
pub(crate) fn open_up(path: &Path) -> Result<(), FileError> {
    let parent = open(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().ok_or(Errno::INVAL).and_then(c_name).at("open up", path)?;
    descend_and_open_up(&parent, &name).map(drop).at("open up", path)
}

/// Lists a folder, with what kind each entry is.
pub(crate) fn list(folder: BorrowedFd<'_>) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match kind(folder, name, entry.file_type()) {
            Ok(kind) => found.push((name.to_owned(), kind)),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

/// Gives the kind of an entry, which not every file system tells in the list.
pub(crate) fn kind(
    folder: BorrowedFd<'_>,
    name: &CStr,
    listed: FileType,
) -> Result<FileType, Errno> {
    match listed {
        FileType::Unknown => look(folder, name).map(|seen| FileType::from_raw_mode(seen.st_mode)),
        listed => Ok(listed),
    }
}

/// What lstat(2) says of an entry.
pub(crate) fn look(folder: impl AsFd, name: &CStr) -> Result<Stat, Errno> {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Makes a path a name for the kernel.
pub(crate) fn c_name(name: &OsStr) -> Result<CString, Errno> {
    CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)
}

/// Says whether a file system is mounted on a folder, be it a part of one that is mounted elsewhere as well.
pub(crate) fn is_mount_point(path: &Path) -> bool {
    statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)
        .is_ok_and(|seen| seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Says whether two paths lead to the same folder.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
