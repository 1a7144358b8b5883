//! A root folder while archives are unpacked into it.
//!
//! The folder starts empty and only this type writes to it, so it knows every entry. Symbolic links in the way of an
//! entry are followed here, in memory, and never by the kernel: what is opened is always a path of real folders.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use thiserror::Error;

/// Modification time of all that no archive brought: 1980-01-01, in seconds, as some formats know no earlier time.
pub(crate) const FIXED_TIME: u64 = 315_532_800;

/// Most symbolic links on the way to one entry, as in Linux.
const MOST_LINKS: usize = 40;

/// Tells why an entry of an archive was refused.
#[derive(Debug, Error)]
pub enum EntryError {
    /// Its path begins with a slash.
    #[error("the path is absolute")]
    Absolute,
    /// Its path has a part `..`.
    #[error("the path has a part `..`")]
    Parent,
    /// Its path has a zero byte.
    #[error("the path has a zero byte")]
    ZeroByte,
    /// Its path goes through a symbolic link that leads out of the root.
    #[error("the path goes through a symbolic link out of the root")]
    Escape,
    /// Its path goes through too many symbolic links.
    #[error("the path goes through more than {MOST_LINKS} symbolic links")]
    LinkLoop,
    /// A part of its path is no folder, or it would replace a folder.
    #[error("`{path}` already exists as something else")]
    Clash {
        /// The part that is in the way, below the root.
        path: String,
    },
    /// A hard link names no file that was unpacked before.
    #[error("the hard link's target `{target}` is not a file that was unpacked earlier")]
    HardLink {
        /// The target as written.
        target: String,
    },
    /// A device, a pipe, or a type that packages do not have.
    #[error("it {problem}")]
    Special {
        /// What it is.
        problem: &'static str,
    },
    /// The archive ends within the entry, though no error told so.
    #[error("the archive ends within the entry")]
    Truncated,
    /// The archive could not be read.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// The entry could not be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// Path on this machine.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

/// Mode and time of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    /// Seconds since 1970.
    pub(crate) mtime: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Node {
    /// A folder; `None` until an archive says what it is like.
    Folder(Option<Meta>),
    File,
    Symlink {
        target: Vec<u8>,
        kept: bool,
    },
}

/// The tree so far. Paths are bytes relative to the root, without `.`, `..` or double slashes.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    nodes: BTreeMap<Vec<u8>, Node>,
    /// The folder that the last entry was in, as written and as found: entries come folder by folder.
    last: Option<(Vec<u8>, Vec<u8>)>,
    buffer: Vec<u8>,
}

impl Tree {
    /// Starts with an empty folder.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            nodes: BTreeMap::new(),
            last: None,
            buffer: vec![0; 256 << 10],
        }
    }

    /// Returns where a path of the tree lies on this machine.
    pub(crate) fn on_disk(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    /// Adds a folder; one that is there already, or is a link to one, stays as it is.
    pub(crate) fn add_folder(&mut self, path: &[u8], meta: Meta) -> Result<(), EntryError> {
        let Some(place) = self.place(path)? else { return Ok(()) };
        match self.nodes.get_mut(&place) {
            Some(Node::Folder(known)) => {
                known.get_or_insert(meta);
                Ok(())
            }
            Some(Node::Symlink { .. }) => self.walk(&place).map(drop),
            Some(Node::File) => Err(clash(&place)),
            None => self.make_folder(place, Some(meta)),
        }
    }

    /// Adds a file; an earlier file or link of that name is replaced. Returns its size.
    pub(crate) fn add_file(
        &mut self,
        path: &[u8],
        meta: Meta,
        size: u64,
        content: &mut impl Read,
    ) -> Result<u64, EntryError> {
        let place = self.free_place(path)?;
        let on_disk = self.on_disk(&place);
        let failed = |source| EntryError::Write { path: on_disk.clone(), source };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&on_disk)
            .map_err(failed)?;
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = match content.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(EntryError::Truncated),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(EntryError::Read(error)),
            };
            file.write_all(&self.buffer[..count]).map_err(failed)?;
            left -= count as u64;
        }
        finish_file(&file, meta).map_err(failed)?;
        self.nodes.insert(place, Node::File);
        Ok(size)
    }

    /// Adds a symbolic link; where a folder is, the folder stays, as with dpkg.
    pub(crate) fn add_symlink(
        &mut self,
        path: &[u8],
        target: &[u8],
        mtime: u64,
    ) -> Result<(), EntryError> {
        if target.contains(&0) || target.is_empty() {
            return Err(EntryError::ZeroByte);
        }
        let Some(place) = self.place(path)? else { return Ok(()) };
        if matches!(
            self.nodes.get(&place),
            Some(Node::Folder(_) | Node::Symlink { kept: true, .. })
        ) {
            return Ok(());
        }
        let place = self.free_place(&place)?;
        self.make_symlink(place, target, mtime, false)
    }

    /// Adds a symbolic link that no archive may replace.
    pub(crate) fn keep_symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), EntryError> {
        self.make_symlink(path.to_vec(), target, FIXED_TIME, true)
    }

    /// Adds another name for a file that is in the tree.
    pub(crate) fn add_hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), EntryError> {
        let bad = || EntryError::HardLink { target: String::from_utf8_lossy(target).into_owned() };
        let source = self.place(target).map_err(|_| bad())?.ok_or_else(bad)?;
        let node = match self.nodes.get(&source) {
            Some(Node::File) => Node::File,
            // A further name of the link itself.
            Some(Node::Symlink { target, kept: false }) => {
                Node::Symlink { target: target.clone(), kept: false }
            }
            _ => return Err(bad()),
        };
        if self.place(path)?.as_ref() == Some(&source) {
            return Ok(());
        }
        let place = self.free_place(path)?;
        let on_disk = self.on_disk(&place);
        fs::hard_link(self.on_disk(&source), &on_disk)
            .map_err(|source| EntryError::Write { path: on_disk, source })?;
        self.nodes.insert(place, node);
        Ok(())
    }

    /// Tells whether a path exists, links followed; what leads out of the root does not.
    pub(crate) fn exists(&self, path: &[u8]) -> bool {
        self.find(path).is_some()
    }

    /// Tells whether a name is taken, be it by a link that leads nowhere.
    pub(crate) fn is_taken(&self, path: &[u8]) -> bool {
        let (folder, name) = split(path);
        self.find(folder).is_some_and(|folder| self.nodes.contains_key(&join(&folder, name)))
    }

    /// Reads a file of the tree, links followed; `None` if there is none.
    pub(crate) fn read(&self, path: &[u8]) -> Option<io::Result<Vec<u8>>> {
        let place = self.find(path)?;
        (self.nodes.get(&place) == Some(&Node::File)).then(|| fs::read(self.on_disk(&place)))
    }

    /// Lists the names in a folder that begin with a prefix, sorted.
    pub(crate) fn names_with<'a>(
        &'a self,
        folder: &'a [u8],
        prefix: &[u8],
    ) -> impl Iterator<Item = &'a [u8]> {
        let start = join(folder, prefix);
        self.nodes
            .range(start.clone()..)
            .map(|(path, _)| path.as_slice())
            .take_while(move |path| path.starts_with(&start))
            .map(move |path| &path[folder.len() + 1..])
            .filter(|name| !name.contains(&b'/'))
    }

    /// Sets modes and times of the folders; nothing may be added afterwards.
    pub(crate) fn finish(self) -> Result<(), EntryError> {
        // Inner folders first: an outer one may lose the right to be searched.
        for (path, node) in self.nodes.iter().rev() {
            if let Node::Folder(meta) = node {
                let meta = meta.unwrap_or(Meta { mode: 0o755, mtime: FIXED_TIME });
                self.set_folder(path, meta)?;
            }
        }
        self.set_folder(b"", Meta { mode: 0o755, mtime: FIXED_TIME })
    }

    fn set_folder(&self, path: &[u8], meta: Meta) -> Result<(), EntryError> {
        let on_disk = self.on_disk(path);
        utimensat(CWD, &on_disk, &times(meta.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(io::Error::from)
            .and_then(|()| fs::set_permissions(&on_disk, Permissions::from_mode(meta.mode)))
            .map_err(|source| EntryError::Write { path: on_disk, source })
    }

    /// Finds the place of an entry: its folder with all links followed, made where it is missing, and its name.
    ///
    /// `None` stands for the root itself.
    fn place(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>, EntryError> {
        if path.first() == Some(&b'/') {
            return Err(EntryError::Absolute);
        }
        if path.contains(&0) {
            return Err(EntryError::ZeroByte);
        }
        let mut clean = Vec::with_capacity(path.len());
        for part in parts(path) {
            if part == b".." {
                return Err(EntryError::Parent);
            }
            push(&mut clean, part);
        }
        if clean.is_empty() {
            return Ok(None);
        }
        let (folder, name) = split(&clean);
        if let Some((written, found)) = &self.last
            && written == folder
        {
            return Ok(Some(join(found, name)));
        }
        let found = self.walk(folder)?;
        let place = join(&found, name);
        self.last = Some((folder.to_vec(), found));
        Ok(Some(place))
    }

    /// Like `place`, but frees the name: an earlier file or link is removed, a folder is an error.
    fn free_place(&mut self, path: &[u8]) -> Result<Vec<u8>, EntryError> {
        let Some(place) = self.place(path)? else { return Err(clash(b".")) };
        match self.nodes.get(&place) {
            None => return Ok(place),
            Some(Node::Folder(_) | Node::Symlink { kept: true, .. }) => return Err(clash(&place)),
            Some(Node::File | Node::Symlink { .. }) => {}
        }
        let on_disk = self.on_disk(&place);
        fs::remove_file(&on_disk).map_err(|source| EntryError::Write { path: on_disk, source })?;
        self.nodes.remove(&place);
        // The link may have been on the way to the folder that is remembered.
        self.last = None;
        Ok(place)
    }

    /// Follows a path of folders and links, making folders that are missing.
    fn walk(&mut self, path: &[u8]) -> Result<Vec<u8>, EntryError> {
        let mut missing = Vec::new();
        let found = follow(&self.nodes, path, &mut |place| {
            missing.push(place.to_vec());
            Ok(())
        })?;
        for place in missing {
            self.make_folder(place, None)?;
        }
        match self.nodes.get(&found) {
            Some(Node::Folder(_)) => Ok(found),
            None if found.is_empty() => Ok(found),
            _ => Err(clash(&found)),
        }
    }

    /// Finds what a path leads to, links followed; `None` if nothing is there.
    fn find(&self, path: &[u8]) -> Option<Vec<u8>> {
        follow(&self.nodes, path, &mut |_| Err(EntryError::Escape)).ok()
    }

    fn make_folder(&mut self, place: Vec<u8>, meta: Option<Meta>) -> Result<(), EntryError> {
        let on_disk = self.on_disk(&place);
        fs::create_dir(&on_disk).map_err(|source| EntryError::Write { path: on_disk, source })?;
        self.nodes.insert(place, Node::Folder(meta));
        Ok(())
    }

    fn make_symlink(
        &mut self,
        place: Vec<u8>,
        target: &[u8],
        mtime: u64,
        kept: bool,
    ) -> Result<(), EntryError> {
        let on_disk = self.on_disk(&place);
        symlink(OsStr::from_bytes(target), &on_disk)
            .and_then(|()| Ok(utimensat(CWD, &on_disk, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)?))
            .map_err(|source| EntryError::Write { path: on_disk, source })?;
        self.nodes.insert(place, Node::Symlink { target: target.to_vec(), kept });
        Ok(())
    }
}

/// Follows a path from the root, links by their text; `missing` is asked about each part that is not there.
fn follow(
    nodes: &BTreeMap<Vec<u8>, Node>,
    path: &[u8],
    missing: &mut dyn FnMut(&[u8]) -> Result<(), EntryError>,
) -> Result<Vec<u8>, EntryError> {
    let mut found: Vec<u8> = Vec::new();
    let mut todo: Vec<Vec<u8>> = parts(path).map(<[u8]>::to_vec).collect();
    todo.reverse();
    let mut links = 0;
    let mut made: Vec<Vec<u8>> = Vec::new();
    while let Some(part) = todo.pop() {
        if part == b".." {
            if found.is_empty() {
                return Err(EntryError::Escape);
            }
            found.truncate(split(&found).0.len());
            continue;
        }
        let next = join(&found, &part);
        match nodes.get(&next) {
            Some(Node::Symlink { target, .. }) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(EntryError::LinkLoop);
                }
                if target.first() == Some(&b'/') {
                    found.clear();
                }
                todo.extend(
                    parts(target).map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter().rev(),
                );
            }
            Some(Node::File) if !todo.is_empty() => return Err(clash(&next)),
            Some(Node::File | Node::Folder(_)) => found = next,
            None => {
                if !made.contains(&next) {
                    missing(&next)?;
                    made.push(next.clone());
                }
                found = next;
            }
        }
    }
    Ok(found)
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

fn push(path: &mut Vec<u8>, part: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(part);
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = folder.to_vec();
    push(&mut path, name);
    path
}

/// Splits a path into folder and name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn clash(path: &[u8]) -> EntryError {
    EntryError::Clash { path: String::from_utf8_lossy(path).into_owned() }
}

/// Sets mode and time of an open file; the mode last, as it may take away the right to do more.
fn finish_file(file: &File, meta: Meta) -> io::Result<()> {
    rustix::fs::futimens(file, &times(meta.mtime))?;
    file.set_permissions(Permissions::from_mode(meta.mode))
}

fn times(seconds: u64) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
