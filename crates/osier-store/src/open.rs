//! Opening a store, and making one: only where nothing is, or an empty folder.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use rustix::fs::FileType;

use crate::layout::{self, BLOBS, SHELVES};
use crate::{FileError, Index, IoContext, Store, database, folder, write_durably};

/// The version of the folder layout; a store of another version is refused, never rewritten.
const VERSION: &str = "osier store 2\n";

/// How many names of a folder are told.
const NAMES: usize = 3;

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder belongs to another user.
    #[error("the store {} belongs to uid {owner}, but this process runs as uid {user}", path.display())]
    ForeignOwner {
        /// The store.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who asked.
        user: u32,
    },
    /// The folder is a store of another version.
    #[error("{} is not a store that this osier can read (its format file says `{found}`)", path.display())]
    Format {
        /// The store.
        path: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// There is something, and it is no store.
    #[error("{} is not a store: {found}; osier makes a store only in a new or empty folder", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// A place in the store is taken by something that osier did not make.
    #[error("{} should be a folder of the store but is {found}", path.display())]
    Taken {
        /// The place.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// The folder cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Nothing, or an empty folder.
    Nothing,
    Store,
    /// The beginning of a store: osier was stopped while it made it.
    Half,
    Other(String),
}

impl Store {
    /// Opens the store at a folder, and makes it where nothing is there yet, or an empty folder.
    ///
    /// `boot` names this boot of the machine (Linux: `/proc/sys/kernel/random/boot_id`). A folder that
    /// cannot be written is opened for reading only.
    pub fn open(root: &Path, boot: &str) -> Result<Self, OpenError> {
        match Self::open_existing(root, boot)? {
            Some(store) => Ok(store),
            None => {
                make(root)?;
                Self::open_at(root, boot)
            }
        }
    }

    /// Opens the store at a folder; makes none where nothing is there, or an empty folder.
    pub fn open_existing(root: &Path, boot: &str) -> Result<Option<Self>, OpenError> {
        if let Ok(metadata) = fs::metadata(root) {
            let user = rustix::process::geteuid().as_raw();
            if metadata.uid() != user {
                let (path, owner) = (root.to_path_buf(), metadata.uid());
                return Err(OpenError::ForeignOwner { path, owner, user });
            }
        }
        match look_at(root)? {
            Found::Nothing => Ok(None),
            Found::Store => Self::open_at(root, boot).map(Some),
            Found::Half => {
                make(root)?;
                Self::open_at(root, boot).map(Some)
            }
            Found::Other(found) => Err(OpenError::NotAStore { path: root.to_path_buf(), found }),
        }
    }

    /// Opens what is known for a store.
    pub(crate) fn open_at(root: &Path, boot: &str) -> Result<Self, OpenError> {
        let access = rustix::fs::Access::WRITE_OK;
        let writable = rustix::fs::access(root, access).is_ok();
        if writable {
            make_folders(root)?;
        }
        let index = Index::open(&root.join(layout::INDEX), &root.join("aside"), boot, writable)?;
        Ok(Self {
            root: root.to_path_buf(),
            index: Mutex::new(index),
            writable,
            rehash: false,
            next: AtomicU64::new(0),
            lease: Mutex::default(),
            looked: Mutex::default(),
            damages: Mutex::default(),
        })
    }
}

/// Makes what says that a folder is a store; the rest comes when it is opened.
fn make(root: &Path) -> Result<(), OpenError> {
    fs::create_dir_all(root).at("make", root)?;
    Ok(write_durably(&root.join(layout::FORMAT), VERSION.as_bytes())?)
}

/// Says whether a folder is a store of this version.
pub(crate) fn is_store(root: &Path) -> bool {
    fs::read(root.join(layout::FORMAT)).is_ok_and(|text| text == VERSION.as_bytes())
}

/// Looks at what is in a folder, by names.
fn look_at(root: &Path) -> Result<Found, OpenError> {
    let format = root.join(layout::FORMAT);
    let text = match fs::read(&format) {
        Ok(text) if text == VERSION.as_bytes() => return Ok(Found::Store),
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Ok(Found::Other("it is not a folder".to_owned()));
        }
        // A folder, say.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::ISDIR.raw_os_error()) => None,
        Err(error) => return Err(error).at("read", &format)?,
    };
    // What a power cut leaves of a file that was just written.
    let is_lost = |text: &Vec<u8>| text.iter().all(|byte| *byte == 0);
    if let Some(text) = text.as_ref().filter(|text| !is_lost(text)) {
        let text = String::from_utf8_lossy(text);
        let found = text.trim().chars().take(60).collect();
        return match text.starts_with("osier store ") {
            true => Err(OpenError::Format { path: root.to_path_buf(), found }),
            false => Ok(Found::Other("its file `format` belongs to something else".to_owned())),
        };
    }
    let (mut others, mut own) = (Vec::new(), Vec::new());
    let mut half = text.is_some();
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        entries => entries.at("list", root)?,
    };
    for entry in entries {
        let entry = entry.at("list", root)?;
        let name = entry.file_name();
        let kind = entry.file_type().at("read", &entry.path())?;
        match name.to_str() {
            // Between being listed and now another process has made it.
            Some(layout::FORMAT) if text.is_none() && kind.is_file() => return look_at(root),
            Some(layout::FORMAT) if kind.is_file() => {}
            Some(name) if layout::is_beside(name) && kind.is_file() => half = true,
            // Of a removal that was stopped at its end.
            Some(layout::LOCK)
                if kind.is_file() && entry.metadata().is_ok_and(|it| it.len() == 0) =>
            {
                half = true;
            }
            // What mkfs makes.
            Some("lost+found") if folder::is_mount_point(root) => {}
            Some(layout::DEGRADED) if kind.is_dir() && is_store(&entry.path()) => {}
            Some(layout::FORMAT) => {
                return Ok(Found::Other("its `format` is a folder or a link; move it away".into()));
            }
            Some(name) if is_of_a_store(name) => own.push(name.to_owned()),
            _ => others.push(name.to_string_lossy().into_owned()),
        }
    }
    // With a format file that was lost the rest of a store may be there.
    if !own.is_empty() && (text.is_some() || database::is_osiers(&root.join(layout::INDEX))) {
        half = true;
    } else {
        others.append(&mut own);
    }
    if others.is_empty() {
        return Ok(if half { Found::Half } else { Found::Nothing });
    }
    others.sort();
    let more = others.len().saturating_sub(NAMES);
    others.truncate(NAMES);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    Ok(Found::Other(format!("it contains {}{rest}", others.join(", "))))
}

fn is_of_a_store(name: &str) -> bool {
    name == BLOBS || layout::is_of_the_top(name) || SHELVES.iter().any(|shelf| shelf.name == name)
}

/// Makes the folders that are missing in a store, and sees to it that all are real ones.
fn make_folders(root: &Path) -> Result<(), OpenError> {
    for shelf in &SHELVES {
        make_folder(&root.join(shelf.name))?;
    }
    let blobs = root.join(BLOBS);
    make_folder(&blobs)?;
    // They are made in this order. One that is lost later is made again when something is put there.
    if fs::symlink_metadata(blobs.join("ff")).is_err() {
        for number in 0..=255u8 {
            make_folder(&blobs.join(format!("{number:02x}")))?;
        }
    }
    Ok(())
}

/// Makes a folder where nothing is.
fn make_folder(path: &Path) -> Result<(), OpenError> {
    match fs::symlink_metadata(path) {
        Ok(seen) if seen.is_dir() => Ok(()),
        Ok(seen) => {
            let found = match FileType::from_raw_mode(seen.mode()) {
                FileType::Symlink => "a symbolic link",
                FileType::RegularFile => "a file",
                _ => "something else",
            };
            Err(OpenError::Taken { path: path.to_path_buf(), found })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => Ok(made.at("make", path)?),
        },
        Err(error) => Err(error).at("read", path)?,
    }
}
