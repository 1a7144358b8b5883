//! The part file on disk: lock, hash, validator, delivery.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cause::Hex;
use crate::error::FetchError;

pub(crate) const BUFFER: usize = 128 * 1024;

/// What is known of the place that a part came from: the file `KEY.part.json` beside the part.
/// A torn or missing one only costs the validator, never correctness.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The URL after redirects, without user name and password.
    pub(crate) url: String,
    /// A strong entity tag with its quotes, or the date of the last change.
    pub(crate) validator: Option<String>,
    /// Bytes of the whole file, where the server said so.
    pub(crate) length: Option<u64>,
}

/// A download in progress, `KEY.part`. Whoever holds a `Part` holds the lock of its file.
///
/// The lock is on the file itself, so a finished download leaves no lock file behind. Hence a lock
/// counts only while the path still leads to the locked file.
pub(crate) struct Part {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    len: u64,
    /// Bytes that an earlier run left and that still are part of the file.
    pub(crate) kept: u64,
    /// Answers whose bytes the file holds; what an earlier run left counts as one.
    pub(crate) pieces: u32,
}

impl Part {
    /// Opens or makes the part and takes its lock; calls `waiting` once if another holds it.
    pub(crate) fn open(
        folder: &Path,
        key: &[u8; 32],
        waiting: &dyn Fn(),
    ) -> Result<Self, FetchError> {
        fs::create_dir_all(folder).map_err(|error| local(folder, error))?;
        let path = folder.join(format!("{}.part", Hex(key)));
        let mut waited = false;
        // What it leads to is somebody's.
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            let link = io::Error::other("a symbolic link is in its place; move it away");
            return Err(local(&path, link));
        }
        let file = loop {
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .open(&path)
                .map_err(|error| local(&path, error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if !waited {
                        waiting();
                        waited = true;
                    }
                    match file.lock() {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        other => other.map_err(|error| local(&path, error))?,
                    }
                }
                Err(TryLockError::Error(error)) => return Err(local(&path, error)),
            }
            let held = file.metadata().map_err(|error| local(&path, error))?;
            if fs::metadata(&path)
                .is_ok_and(|now| (now.dev(), now.ino()) == (held.dev(), held.ino()))
            {
                break file;
            }
        };
        Ok(Self { path, file, hasher: Sha256::new(), len: 0, kept: 0, pieces: 0 })
    }

    /// Hashes what an earlier run left.
    pub(crate) fn load(&mut self) -> Result<(), FetchError> {
        let is_file = self.file.metadata().map_err(|error| local(&self.path, error))?.is_file();
        if is_file {
            (self.len, self.hasher) =
                hash(&mut self.file).map_err(|error| local(&self.path, error))?;
        }
        (self.kept, self.pieces) = (self.len, u32::from(self.len > 0));
        Ok(())
    }

    /// Bytes held.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// SHA-256 of the bytes held.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.hasher.clone().finalize().into()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(|error| local(&self.path, error))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Throws the bytes away and keeps the lock.
    pub(crate) fn restart(&mut self) -> Result<(), FetchError> {
        if self.len > 0 {
            self.file.set_len(0).map_err(|error| local(&self.path, error))?;
        }
        (self.hasher, self.len, self.kept, self.pieces) = (Sha256::new(), 0, 0, 0);
        self.forget_origin()
    }

    pub(crate) fn origin(&self) -> Option<Origin> {
        serde_json::from_slice(&fs::read(self.origin_path()).ok()?).ok()
    }

    pub(crate) fn set_origin(&self, origin: &Origin) -> Result<(), FetchError> {
        let path = self.origin_path();
        let text = serde_json::to_vec(origin).expect("two strings and a number become JSON");
        fs::write(&path, text).map_err(|error| local(&path, error))
    }

    fn forget_origin(&self) -> Result<(), FetchError> {
        let path = self.origin_path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(local(&path, error)),
            _ => Ok(()),
        }
    }

    fn origin_path(&self) -> PathBuf {
        self.path.with_extension("part.json")
    }

    /// Moves the verified part to its final path.
    pub(crate) fn deliver(self, to: &Path) -> Result<(), FetchError> {
        self.file.sync_data().map_err(|error| local(&self.path, error))?;
        make_parent(to)?;
        // Before the rename: afterwards another process may own the name of the part.
        self.forget_origin()?;
        match fs::rename(&self.path, to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                copy(&self.path, to)?;
                fs::remove_file(&self.path).map_err(|error| local(&self.path, error))
            }
            other => other.map_err(|error| local(to, error)),
        }
    }

    /// Removes the part, as the file has come another way.
    pub(crate) fn discard(self) -> Result<(), FetchError> {
        self.forget_origin()?;
        fs::remove_file(&self.path).map_err(|error| local(&self.path, error))
    }
}

/// Gives an error of a local file its type and its path.
pub(crate) fn local(path: &Path, source: io::Error) -> FetchError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FetchError::NoSpace { path },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            FetchError::NoPermission { path, source }
        }
        _ => FetchError::File { path, source },
    }
}

fn make_parent(path: &Path) -> Result<&Path, FetchError> {
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| local(parent, error))?;
    Ok(parent)
}

fn hash(file: &mut File) -> io::Result<(u64, Sha256)> {
    file.rewind()?;
    let (mut hasher, mut len, mut buffer) = (Sha256::new(), 0, vec![0; BUFFER]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((len, hasher)),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                len += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Gives the size in bytes and the SHA-256 of a file.
///
/// # Errors
/// [`FetchError::NoPermission`] or [`FetchError::File`] if it cannot be read.
pub fn hash_file(path: &Path) -> Result<(u64, [u8; 32]), FetchError> {
    let (len, hasher) = File::open(path)
        .and_then(|mut file| hash(&mut file))
        .map_err(|error| local(path, error))?;
    Ok((len, hasher.finalize().into()))
}

/// Copies beside `to`, then renames.
fn copy(from: &Path, to: &Path) -> Result<(), FetchError> {
    let mut source = File::open(from).map_err(|error| local(from, error))?;
    let mut beside = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(make_parent(to)?)
        .map_err(|error| local(to, error))?;
    io::copy(&mut source, &mut beside).map_err(|error| local(to, error))?;
    beside.as_file().sync_data().map_err(|error| local(to, error))?;
    beside.persist(to).map_err(|error| local(to, error.error))?;
    Ok(())
}
