//! Removing a whole store, and nothing else that lies in its folder.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, unlinkat};
use rustix::io::Errno;

use crate::contents::{Left, open_shelf, visit};
use crate::layout::{self, BLOBS, DEGRADED, FORMAT, SHELVES};
use crate::remove::remove_in;
use crate::{FileError, IoContext, Store, folder};

impl Store {
    /// Removes all that osier has made in the store, folders that `rm` cannot remove included, and the folder itself where
    /// it is empty then. Gives what is not osier's and stays; nothing, and removes nothing, where another process uses the
    /// store.
    pub fn remove_all(&self) -> Result<Option<Left>, FileError> {
        self.lease()?;
        let _gate = self.gate_exclusive()?;
        if self.leases()?.oldest.is_some() {
            return Ok(None);
        }
        let mut left = match self.remove_degraded()? {
            None => return Ok(None),
            Some(left) => left,
        };
        // What says that something is whole goes first: the records, and areas, which have none.
        self.index().close();
        self.remove_files(&layout::is_record)?;
        visit(self.root(), &mut |ours| match ours.shelf {
            "areas" => self.discard(&ours.path),
            _ => Ok(()),
        })?;
        // Whoever opens the store anew meanwhile leaves a lease, and waits at the gate.
        visit(self.root(), &mut |ours| remove_in(ours.folder, ours.name, &ours.path))?;
        left.add(visit(self.root(), &mut |ours| remove_in(ours.folder, ours.name, &ours.path))?);
        self.remove_empty_folders()?;
        self.remove_files(&|name| layout::FILES.contains(&name) || layout::is_beside(name))?;
        // Until here it is a store, so that a removal that was stopped can be repeated.
        self.remove_files(&|name| name == FORMAT)?;
        self.remove_files(&|name| name == layout::LOCK)?;
        match fs::remove_dir(self.root()) {
            // Under a name that leads to it: then empty is all it can be.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            // What is left lies in it, or somebody has put something there just now.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            // It is mounted, or somebody else's folder holds it.
            Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {}
            result => result.at("remove", self.root())?,
        }
        Ok(Some(left))
    }

    /// Removes the store in this one.
    fn remove_degraded(&self) -> Result<Option<Left>, FileError> {
        let place = self.root().join(DEGRADED);
        let is_real = fs::symlink_metadata(&place).is_ok_and(|seen| seen.is_dir());
        if !is_real || folder::is_mount_point(&place) || !crate::open::is_store(&place) {
            return Ok(Some(Left::default()));
        }
        match Self::open_at(&place, "") {
            Ok(store) => store.remove_all(),
            Err(crate::OpenError::File(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)).at("open", &place),
        }
    }

    /// Removes files directly in the store.
    fn remove_files(&self, is_meant: &dyn Fn(&str) -> bool) -> Result<(), FileError> {
        let top = folder::open(self.root())?;
        for (name, kind) in folder::list(top.as_fd()).at("list", self.root())? {
            if kind == FileType::RegularFile && name.to_str().is_ok_and(is_meant) {
                remove_in(top.as_fd(), &name, self.root())?;
            }
        }
        Ok(())
    }

    /// Removes the store's folders, but for those that something is left in.
    fn remove_empty_folders(&self) -> Result<(), FileError> {
        let top = folder::open(self.root())?;
        let mut left = Left::default();
        if let Some(blobs) = open_shelf(top.as_fd(), c"blobs", self.root(), &mut left)? {
            for (name, _) in folder::list(blobs.as_fd()).at("list", self.root())? {
                if name.to_str().is_ok_and(layout::is_blob_folder) {
                    remove_empty(blobs.as_fd(), &name, self.root())?;
                }
            }
        }
        for name in SHELVES.iter().map(|shelf| shelf.name).chain([BLOBS]) {
            let name = folder::c_name(name.as_ref()).at("remove", self.root())?;
            remove_empty(top.as_fd(), &name, self.root())?;
        }
        Ok(())
    }
}

fn remove_empty(folder: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<(), FileError> {
    match unlinkat(folder, name, AtFlags::REMOVEDIR) {
        // It holds something, is a link, or mounted.
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT | Errno::NOTDIR | Errno::BUSY) => Ok(()),
        removed => removed.at("remove a folder of", path),
    }
}
