//! An input/output error that names its path.

use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on one path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried, as in `open` or `rename`.
    pub action: &'static str,
    /// The path it was tried on.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Says whether the disk (or the quota) was full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Says whether this user may not, or nobody may: a file system that can only be read.
    pub fn is_forbidden(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        )
    }

    /// Says whether a path was too long.
    pub fn is_too_long(&self) -> bool {
        self.source.kind() == io::ErrorKind::InvalidFilename
    }

    /// Says whether the path was not there.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Adds the action and the path to a bare error.
pub trait IoContext<T> {
    /// Names what was tried, and on which path.
    fn at(self, action: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError { action, path: path.to_path_buf(), source })
    }
}

impl<T> IoContext<T> for Result<T, rustix::io::Errno> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|errno| FileError { action, path: path.to_path_buf(), source: errno.into() })
    }
}
