//! Packages unpacked into a root folder, without dpkg, apt, maintainer scripts or the rights of root.

use std::fs;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use osier_archive::{Content, Entry, Kind, ReadError};
use thiserror::Error;

use crate::deb::{DebError, open_data};
use crate::fixup;
use crate::tree::{EntryError, Meta, Tree};

/// Bytes that pass from a decompressing thread to the writing one at a time.
const CHUNK: usize = 256 << 10;
/// Chunks of one package that may wait: 8 MiB.
const CHUNKS_AHEAD: usize = 32;

/// Tells why a root could not be made. The folder is then in no defined state: remove it.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// The root folder cannot be used.
    #[error("cannot use the root folder {}", .path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The root folder is not empty.
    #[error("the root folder {} is not empty", .path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A package cannot be opened.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// The archive in a package is damaged or ends early.
    #[error("{}: the archive of its files is damaged", .deb.display())]
    Damaged {
        /// The package file.
        deb: PathBuf,
        /// What was found.
        #[source]
        source: io::Error,
    },
    /// An entry of a package is refused or cannot be written.
    #[error("{}: entry `{entry}`", .deb.display())]
    Entry {
        /// The package file.
        deb: PathBuf,
        /// Path of the entry as written in the archive.
        entry: String,
        /// Why.
        #[source]
        source: EntryError,
    },
    /// The finished root cannot be completed.
    #[error("cannot complete the root folder {}", .path.display())]
    FixUp {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: EntryError,
    },
}

/// What is left out of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trim {
    /// Nothing.
    #[default]
    Nothing,
    /// Documentation, manual pages, translations, lintian's notes: what no build reads.
    Documentation,
}

/// Folders that [`Trim::Documentation`] empties.
const DOCUMENTATION: [&str; 7] = [
    "usr/share/doc/",
    "usr/share/doc-base/",
    "usr/share/info/",
    "usr/share/lintian/",
    "usr/share/locale/",
    "usr/share/man/",
    "usr/share/bug/",
];

/// How to unpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpackOptions {
    /// What to leave out.
    pub trim: Trim,
    /// Threads that decompress ahead of the one that writes; the result is the same for any number.
    pub threads: NonZeroUsize,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self { trim: Trim::Nothing, threads: NonZeroUsize::MIN }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootReport {
    /// Packages.
    pub packages: usize,
    /// Regular files, without those left out.
    pub files: u64,
    /// Content of the regular files in bytes.
    pub bytes: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Entries left out.
    pub trimmed: u64,
    /// Paths added because no maintainer script ran, such as `usr/bin/awk`.
    pub added: Vec<String>,
}

/// Unpacks packages into an existing empty folder and completes it to a root that programs run in.
///
/// All belongs to whoever runs this, be it root or not; modes and times are those of the packages, setuid bits too.
/// `/bin`, `/lib`, `/lib64` and `/sbin` are links into `/usr`. Where two packages have one file the later wins, so
/// the result depends on packages and their order alone. Nothing is flushed to disk; compose beside and rename.
///
/// # Errors
/// [`UnpackError`]; archives with absolute paths, `..`, devices, or ways out of the root are refused.
pub fn unpack_root(
    debs: &[PathBuf],
    root: &Path,
    options: &UnpackOptions,
) -> Result<RootReport, UnpackError> {
    let unusable = |source| UnpackError::Root { path: root.to_owned(), source };
    if fs::read_dir(root).map_err(unusable)?.next().is_some() {
        return Err(UnpackError::NotEmpty { path: root.to_owned() });
    }
    let incomplete = |source| UnpackError::FixUp { path: root.to_owned(), source };
    let mut tree = Tree::new(root);
    let mut report = RootReport { packages: debs.len(), ..RootReport::default() };
    fixup::merge_usr(&mut tree).map_err(incomplete)?;
    for_each_data(debs, options.threads, |deb, data| {
        unpack(deb, data, &mut tree, options.trim, &mut report)
    })?;
    report.added = fixup::fix_up(&mut tree).map_err(incomplete)?;
    tree.finish().map_err(incomplete)?;
    Ok(report)
}

fn unpack(
    deb: &Path,
    mut data: impl Read,
    tree: &mut Tree,
    trim: Trim,
    report: &mut RootReport,
) -> Result<(), UnpackError> {
    let damaged = |source| UnpackError::Damaged { deb: deb.to_owned(), source };
    let refused = |path: &[u8], source| UnpackError::Entry {
        deb: deb.to_owned(),
        entry: String::from_utf8_lossy(path).into_owned(),
        source,
    };
    let read = osier_archive::read_tar(&mut data, |entry, content| {
        if trim == Trim::Documentation && is_documentation(&entry.path) {
            report.trimmed += 1;
            return Ok(());
        }
        add(tree, entry, content, report).map_err(|source| Stop::Entry(entry.path.clone(), source))
    });
    read.map_err(|stop| match stop {
        Stop::Read(ReadError::Damaged(source)) | Stop::Entry(_, EntryError::Read(source)) => {
            damaged(source)
        }
        Stop::Read(ReadError::Refused { entry, problem }) => {
            refused(&entry, EntryError::Special { problem })
        }
        Stop::Entry(path, source) => refused(&path, source),
    })
}

/// Why the reading of a package was stopped.
enum Stop {
    Read(ReadError),
    Entry(Vec<u8>, EntryError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

fn add(
    tree: &mut Tree,
    entry: &Entry,
    content: &mut Content<'_>,
    report: &mut RootReport,
) -> Result<(), EntryError> {
    let path = &entry.path;
    let meta = Meta { mode: entry.mode, mtime: u64::try_from(entry.mtime.seconds).unwrap_or(0) };
    match &entry.kind {
        Kind::File => {
            report.bytes += tree.add_file(path, meta, entry.size, content)?;
            report.files += 1;
        }
        Kind::Folder => tree.add_folder(path, meta)?,
        Kind::Symlink { target } => {
            tree.add_symlink(path, target, meta.mtime)?;
            report.symlinks += 1;
        }
        Kind::HardLink { target } => {
            tree.add_hard_link(path, target)?;
            report.hard_links += 1;
        }
        Kind::Special(problem) => return Err(EntryError::Special { problem }),
    }
    Ok(())
}

fn is_documentation(path: &[u8]) -> bool {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    DOCUMENTATION
        .iter()
        .any(|folder| path.starts_with(folder.as_bytes()) && path.len() > folder.len())
}

/// Gives the data archives of the packages to `each`, in order, while `threads` threads decompress ahead.
fn for_each_data(
    debs: &[PathBuf],
    threads: NonZeroUsize,
    mut each: impl FnMut(&Path, Chunks) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let (announce, packages) = sync_channel::<Receiver<Chunk>>(threads.get() + 2);
    // Whoever takes the next package announces it under the same lock, so packages arrive in order; and where the
    // writer lags behind, all wait there, so that only a few packages are in memory.
    let queue = Mutex::new((debs.iter(), announce));
    thread::scope(|scope| {
        // Moved in here, so that a return with an error drops it and the threads find nobody to send to.
        let packages = packages;
        for _ in 0..threads.get() {
            scope.spawn(|| {
                while let Some((path, sender)) = take_next(&queue) {
                    send_data(path, &sender);
                }
            });
        }
        for deb in debs {
            let Ok(receiver) = packages.recv() else { break };
            if let Ok(Err(DataError::Open(error))) = receiver.recv() {
                return Err(error.into());
            }
            each(deb, Chunks { receiver, chunk: Vec::new(), read: 0 })?;
        }
        Ok(())
    })
}

/// A piece of a decompressed archive; the first message of a package is an empty one or why it cannot be opened.
type Chunk = Result<Vec<u8>, DataError>;

enum DataError {
    Open(DebError),
    Read(io::Error),
}

type Queue<'a> = Mutex<(std::slice::Iter<'a, PathBuf>, SyncSender<Receiver<Chunk>>)>;

fn take_next<'a>(queue: &Queue<'a>) -> Option<(&'a Path, SyncSender<Chunk>)> {
    let mut queue = queue.lock().ok()?;
    let path = queue.0.next()?;
    let (sender, receiver) = sync_channel(CHUNKS_AHEAD);
    queue.1.send(receiver).ok()?;
    Some((path, sender))
}

/// Sends the decompressed archive of a package; ends early when nobody listens any more.
fn send_data(path: &Path, sender: &SyncSender<Chunk>) {
    let mut data = match open_data(path) {
        Ok(data) => data,
        Err(error) => return drop(sender.send(Err(DataError::Open(error)))),
    };
    let mut message = Ok(Vec::new());
    while sender.send(message).is_ok() {
        let mut chunk = Vec::with_capacity(CHUNK);
        message = match (&mut data).take(CHUNK as u64).read_to_end(&mut chunk) {
            Ok(0) => return,
            Ok(_) => Ok(chunk),
            Err(error) => return drop(sender.send(Err(DataError::Read(error)))),
        };
    }
}

/// Reads what a decompressing thread sends.
struct Chunks {
    receiver: Receiver<Chunk>,
    chunk: Vec<u8>,
    read: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.chunk.len() {
            match self.receiver.recv() {
                Ok(Ok(chunk)) => (self.chunk, self.read) = (chunk, 0),
                Ok(Err(DataError::Read(error))) => return Err(error),
                Ok(Err(DataError::Open(error))) => return Err(io::Error::other(error)),
                Err(_) => return Ok(0),
            }
        }
        let count = (&self.chunk[self.read..]).read(buffer)?;
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
