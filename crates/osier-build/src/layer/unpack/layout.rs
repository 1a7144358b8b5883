//! Entries of an archive, laid out below a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use osier_archive::{Archive, Content, Entry, Kind, ReadError, Time};
use osier_store::{FileError, IoContext, free_bytes};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::{Packed, UnpackError, shown};
use crate::layer::SOURCE_DATE;

/// The longest name, and the longest path, that Linux takes.
const MOST_NAME: usize = 255;
const MOST_PATH: usize = 4095;

/// The most bytes, holes included, of all files of an archive.
const MOST_BYTES: u64 = 1 << 40;

/// After so many bytes it is looked again how much of the disk is free.
const LOOK_AFTER: u64 = 64 << 20;

/// The room that is left on a disk.
pub(super) struct Room<'a> {
    into: &'a Path,
    reserve: u64,
    since: u64,
}

impl<'a> Room<'a> {
    pub(super) fn new(into: &'a Path, reserve: u64) -> Self {
        Self { into, reserve, since: 0 }
    }

    /// Counts bytes that were written; fails where less than the reserve is free.
    pub(super) fn take(&mut self, bytes: u64, place: &Path) -> Result<(), FileError> {
        self.since += bytes;
        if self.since < LOOK_AFTER {
            return Ok(());
        }
        self.since = 0;
        if free_bytes(self.into).map_or(true, |free| free >= self.reserve) {
            return Ok(());
        }
        let source = io::Error::new(
            io::ErrorKind::StorageFull,
            format!("less than the reserve of {} MiB would be free", self.reserve >> 20),
        );
        Err(FileError { action: "write", path: place.to_path_buf(), source })
    }
}

/// Why reading was stopped.
enum Stop {
    Read(ReadError),
    Unpack(UnpackError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<UnpackError> for Stop {
    fn from(error: UnpackError) -> Self {
        Self::Unpack(error)
    }
}

impl From<FileError> for Stop {
    fn from(error: FileError) -> Self {
        Self::Unpack(UnpackError::File(error))
    }
}

/// Mode and time.
type Looks = (u32, Timespec);

/// An archive that is being unpacked.
pub(super) struct Layout<'a> {
    file: &'a str,
    into: &'a Path,
    /// The folder, opened: all paths are below it.
    root: OwnedFd,
    strip: usize,
    /// The leading folders that are left off, as far as they are known.
    top: Vec<Vec<u8>>,
    /// Symbolic links made so far: nothing may be unpacked through them.
    links: BTreeSet<PathBuf>,
    /// Real folders, with what they shall look like in the end.
    folders: BTreeMap<PathBuf, Looks>,
    room: Room<'a>,
    buffer: Vec<u8>,
    /// Bytes of all files so far, holes included.
    bytes: u64,
    /// The entry that was read last, and whether that has not ended yet.
    last: Option<Vec<u8>>,
    inside: bool,
    count: u64,
}

/// What a folder looks like that no entry describes.
const IMPLIED: Looks = (0o755, Timespec { tv_sec: SOURCE_DATE as i64, tv_nsec: 0 });

impl<'a> Layout<'a> {
    pub(super) fn new(
        packed: &Packed<'a>,
        strip: u32,
        into: &'a Path,
    ) -> Result<Self, UnpackError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(into, flags, Mode::empty()).at("open", into)?;
        Ok(Self {
            file: packed.name,
            into,
            root,
            strip: strip as usize,
            top: Vec::new(),
            links: BTreeSet::new(),
            folders: BTreeMap::new(),
            room: Room::new(into, packed.reserve),
            buffer: vec![0; 1 << 18],
            bytes: 0,
            last: None,
            inside: false,
            count: 0,
        })
    }

    pub(super) fn run(mut self, archive: Archive) -> Result<(), UnpackError> {
        let read = archive.read(|entry, content| {
            self.last = Some(entry.path.clone());
            self.inside = true;
            self.entry(entry, content)?;
            self.inside = false;
            Ok(())
        });
        match read {
            Ok(()) => {}
            Err(Stop::Unpack(error)) => return Err(error),
            Err(Stop::Read(ReadError::Refused { entry, problem })) => {
                return Err(self.refused(&entry, problem));
            }
            Err(Stop::Read(ReadError::Damaged(source))) => return Err(self.damaged(source)),
        }
        if self.count == 0 {
            let strip = u32::try_from(self.strip).unwrap_or(u32::MAX);
            return Err(UnpackError::Empty { file: self.file.to_owned(), strip });
        }
        self.finish()
    }

    /// Gives the folders their looks: last and children first, as making an entry changes its folder's time.
    fn finish(&self) -> Result<(), UnpackError> {
        for (folder, (mode, time)) in self.folders.iter().rev() {
            self.look(folder, (mode | 0o700, *time))?;
        }
        let times = Timestamps { last_access: IMPLIED.1, last_modification: IMPLIED.1 };
        rustix::fs::fchmod(&self.root, Mode::from_raw_mode(IMPLIED.0))
            .at("set the mode of", self.into)?;
        rustix::fs::futimens(&self.root, &times).at("set the time of", self.into)?;
        Ok(())
    }

    fn refused(&self, entry: &[u8], problem: &'static str) -> UnpackError {
        UnpackError::Refused { file: self.file.to_owned(), entry: shown(entry), problem }
    }

    fn damaged(&self, source: io::Error) -> UnpackError {
        let place = match &self.last {
            None => "before its first entry".to_owned(),
            Some(entry) if self.inside => format!("in entry `{}`", shown(entry)),
            Some(entry) => format!("after entry `{}`", shown(entry)),
        };
        UnpackError::Damaged { file: self.file.to_owned(), place, source }
    }

    fn host(&self, path: &Path) -> PathBuf {
        self.into.join(path)
    }

    /// Gives the parts of a path.
    fn parts<'p>(&self, entry: &[u8], path: &'p [u8]) -> Result<Vec<&'p [u8]>, UnpackError> {
        let mut parts = Vec::new();
        for part in path.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(self.refused(entry, "has `..` in its path")),
                _ if part.contains(&0) => return Err(self.refused(entry, "has a NUL in its path")),
                _ if part.len() > MOST_NAME => {
                    return Err(self
                        .refused(entry, "has a name of more than 255 bytes, too long for Linux"));
                }
                _ => parts.push(part),
            }
        }
        Ok(parts)
    }

    /// Gives the path below the folder; nothing for a folder that `strip` leaves off.
    fn relative(&mut self, entry: &Entry) -> Result<Option<PathBuf>, UnpackError> {
        let full = &entry.path;
        if full.first() == Some(&b'/') {
            return Err(self.refused(full, "has an absolute path"));
        }
        let parts = self.parts(full, full)?;
        let above = &parts[..parts.len().min(self.strip)];
        let same = above.iter().zip(&self.top).take_while(|(one, two)| *one == two).count();
        if same < above.len().min(self.top.len()) {
            let top = shown(&self.top.join(&b'/'));
            let (file, entry) = (self.file.to_owned(), shown(full));
            return Err(UnpackError::Outside { file, entry, top, fits: same });
        }
        if parts.len() <= self.strip && entry.kind != Kind::Folder {
            let Some(fits) = parts.len().checked_sub(1) else {
                return Err(self.refused(full, "has no name"));
            };
            return Err(UnpackError::Above {
                file: self.file.to_owned(),
                entry: shown(full),
                fits,
            });
        }
        if above.len() > self.top.len() {
            self.top = above.iter().map(|part| part.to_vec()).collect();
        }
        if parts.len() <= self.strip {
            return Ok(None);
        }
        self.joined(full, &parts[self.strip..]).map(Some)
    }

    fn joined(&self, entry: &[u8], parts: &[&[u8]]) -> Result<PathBuf, UnpackError> {
        let path = parts.join(&b'/');
        if path.len() > MOST_PATH {
            return Err(
                self.refused(entry, "has a path of more than 4095 bytes, too long for Linux")
            );
        }
        Ok(PathBuf::from(OsStr::from_bytes(&path)))
    }

    fn entry(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<(), Stop> {
        if let Kind::Special(problem) = entry.kind {
            return Err(self.refused(&entry.path, problem).into());
        }
        let Some(path) = self.relative(entry)? else { return Ok(()) };
        if let Some(parent) = path.parent() {
            self.parents(&entry.path, parent)?;
        }
        self.count += 1;
        let looks = (entry.mode, timespec(entry.mtime));
        match &entry.kind {
            Kind::Folder => self.folder(path, looks),
            Kind::File => {
                self.make_way(&entry.path, &path)?;
                self.write(entry, content, &path, OFlags::CREATE | OFlags::EXCL)
            }
            Kind::Symlink { target } => self.symlink(entry, target, path),
            Kind::HardLink { target } => self.hard_link(entry, target, &path, content),
            Kind::Special(_) => Ok(()),
        }
    }

    /// Makes the folders above an entry.
    fn parents(&mut self, full: &[u8], parent: &Path) -> Result<(), UnpackError> {
        if parent.as_os_str().is_empty() || self.folders.contains_key(parent) {
            return Ok(());
        }
        let mut above: Vec<&Path> = parent.ancestors().collect();
        above.pop();
        for folder in above.into_iter().rev() {
            if self.links.contains(folder) {
                return Err(self.refused(full, "goes through a symbolic link of the archive"));
            }
            if self.folders.contains_key(folder) {
                continue;
            }
            if !self.make_folder(folder)? {
                return Err(self.refused(full, "goes through a file of the archive"));
            }
            self.folders.insert(folder.to_path_buf(), IMPLIED);
        }
        Ok(())
    }

    /// Makes a folder; says whether there is one now.
    fn make_folder(&self, path: &Path) -> Result<bool, FileError> {
        match rustix::fs::mkdirat(&self.root, path, Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => {
                let host = self.host(path);
                let found = rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW)
                    .at("read", &host)?;
                Ok(FileType::from_raw_mode(found.st_mode) == FileType::Directory)
            }
            made => made.map(|()| true).at("make", &self.host(path)),
        }
    }

    fn folder(&mut self, path: PathBuf, looks: Looks) -> Result<(), Stop> {
        if !self.folders.contains_key(&path) && !self.make_folder(&path)? {
            // A file or link of that name goes, as with tar; a link is never followed.
            rustix::fs::unlinkat(&self.root, &path, AtFlags::empty())
                .at("replace", &self.host(&path))?;
            self.links.remove(&path);
            self.make_folder(&path)?;
        }
        self.folders.insert(path, looks);
        Ok(())
    }

    /// Removes what an earlier entry of the same name left; a later entry wins, as with tar.
    fn make_way(&mut self, full: &[u8], path: &Path) -> Result<(), UnpackError> {
        match rustix::fs::unlinkat(&self.root, path, AtFlags::empty()) {
            Ok(()) => {
                self.links.remove(path);
                return Ok(());
            }
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => {
                return Err(error).at("replace", &self.host(path)).map_err(UnpackError::File);
            }
        }
        match rustix::fs::unlinkat(&self.root, path, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.folders.remove(path);
                Ok(())
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                Err(self.refused(full, "replaces a folder that is not empty"))
            }
            Err(error) => Err(error).at("replace", &self.host(path)).map_err(UnpackError::File),
        }
    }

    /// Writes a file's content, with its holes, and gives it its looks.
    fn write(
        &mut self,
        entry: &Entry,
        content: &mut Content<'_>,
        path: &Path,
        how: OFlags,
    ) -> Result<(), Stop> {
        let host = self.host(path);
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.bytes > MOST_BYTES {
            let problem = "makes the files of the archive larger than 1 TiB together";
            return Err(self.refused(&entry.path, problem).into());
        }
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | how;
        let file = rustix::fs::openat(&self.root, path, flags, Mode::from_raw_mode(0o600))
            .at("make", &host)?;
        let file = File::from(file);
        let mut end = 0;
        while let Some((place, count)) =
            content.next_bytes(&mut self.buffer).map_err(ReadError::from)?
        {
            file.write_all_at(&self.buffer[..count], place).at("write", &host)?;
            end = place + count as u64;
            self.room.take(count as u64, &host)?;
        }
        if end < entry.size {
            file.set_len(entry.size).at("write", &host)?;
        }
        let time = timespec(entry.mtime);
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode | 0o600))
            .at("set the mode of", &host)?;
        rustix::fs::futimens(&file, &times).at("set the time of", &host)?;
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, target: &[u8], path: PathBuf) -> Result<(), Stop> {
        let problem = match target.len() {
            0 => "is a symbolic link to nothing",
            _ if target.contains(&0) => "is a symbolic link with a NUL in its target",
            length if length > MOST_PATH => {
                "is a symbolic link with a target of more than 4095 bytes, too long for Linux"
            }
            _ => "",
        };
        if !problem.is_empty() {
            return Err(self.refused(&entry.path, problem).into());
        }
        self.make_way(&entry.path, &path)?;
        let host = self.host(&path);
        rustix::fs::symlinkat(OsStr::from_bytes(target), &self.root, &path).at("link", &host)?;
        let time = timespec(entry.mtime);
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(&self.root, &path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .at("set the time of", &host)?;
        self.links.insert(path);
        Ok(())
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        target: &[u8],
        path: &Path,
        content: &mut Content<'_>,
    ) -> Result<(), Stop> {
        let full = &entry.path;
        // A slash at the beginning is of the machine that packed it; there is only this archive here.
        let parts = self.parts(full, target)?;
        let outside = "is a hard link to something that is not in the archive before it";
        if parts.len() <= self.strip || !parts.iter().zip(&self.top).all(|(one, two)| one == two) {
            return Err(self.refused(full, outside).into());
        }
        let target = self.joined(full, &parts[self.strip..])?;
        if target.ancestors().skip(1).any(|part| self.links.contains(part)) {
            return Err(self
                .refused(full, "is a hard link through a symbolic link of the archive")
                .into());
        }
        let found = rustix::fs::statat(&self.root, &target, AtFlags::SYMLINK_NOFOLLOW);
        let found = found.ok().map(|found| FileType::from_raw_mode(found.st_mode));
        match found {
            Some(FileType::RegularFile | FileType::Symlink) => {}
            Some(_) => return Err(self.refused(full, "is a hard link to a folder").into()),
            None => return Err(self.refused(full, outside).into()),
        }
        if target != path {
            self.make_way(full, path)?;
            // The link itself, should it be one.
            rustix::fs::linkat(&self.root, &target, &self.root, path, AtFlags::empty())
                .at("link", &self.host(path))?;
            if self.links.contains(&target) {
                self.links.insert(path.to_path_buf());
            }
        }
        if !content.is_empty() && found == Some(FileType::RegularFile) {
            return self.write(entry, content, path, OFlags::TRUNC);
        }
        Ok(())
    }

    fn look(&self, path: &Path, (mode, time): Looks) -> Result<(), FileError> {
        let host = self.host(path);
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::chmodat(&self.root, path, Mode::from_raw_mode(mode), AtFlags::empty())
            .at("set the mode of", &host)?;
        rustix::fs::utimensat(&self.root, path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .at("set the time of", &host)
    }
}

fn timespec(time: Time) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() }
}
