//! Source archives laid out as files, whatever they hold.
//!
//! Archives come from others: a name that leaves the folder, a device, or an entry that goes through a
//! symbolic link of the archive's own is an error, never followed. Owners are left off, since a step has
//! one user only. Times are kept to the nanosecond, since make compares them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use osier_store::{FileError, IoContext};

use crate::step_run::SOURCE_DATE;

/// Why an archive could not be laid out.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The name does not end as that of an archive that osier reads.
    #[error(
        "cannot tell how {file} is packed: its name ends in none of .tar .tar.gz .tgz .tar.xz .txz .tar.bz2 .tbz2 .tar.zst .gz .xz .bz2 .zst; \
         a file that is to lie there as it is needs `unpack = false`"
    )]
    UnknownFormat {
        /// The file's name.
        file: String,
    },
    /// The bytes are not an archive, or end too early.
    #[error("{file} is damaged or cut short, after entry `{entry}`: {source}")]
    Damaged {
        /// The file's name.
        file: String,
        /// The last entry that was read well.
        entry: String,
        /// What the reader said.
        source: io::Error,
    },
    /// An entry would leave the folder, or is of a kind that sources do not have.
    #[error("{file} has an entry that is refused: `{entry}` {problem}")]
    Refused {
        /// The file's name.
        file: String,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Nothing was in it.
    #[error("{file} holds nothing below its leading {strip} folder(s)")]
    Empty {
        /// The file's name.
        file: String,
        /// How many leading folders were left off.
        strip: u32,
    },
    /// Writing failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl UnpackError {
    /// Says whether the disk was full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::File(error) if error.is_disk_full())
    }
}

/// Opens the decompressor that an archive's name asks for.
fn decompress(name: &str, file: File) -> Option<io::Result<Box<dyn Read>>> {
    let file = BufReader::with_capacity(1 << 18, file);
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    Some(Ok(if ends(&[".tar"]) {
        Box::new(file)
    } else if ends(&[".gz", ".tgz"]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(file))
    } else if ends(&[".xz", ".txz"]) {
        Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file))
    } else if ends(&[".bz2", ".tbz2"]) {
        Box::new(bzip2::bufread::MultiBzDecoder::new(file))
    } else if ends(&[".zst"]) {
        match zstd::stream::read::Decoder::with_buffer(file) {
            Ok(decoder) => Box::new(decoder),
            Err(error) => return Some(Err(error)),
        }
    } else {
        return None;
    }))
}

/// Decompresses ahead on a thread of its own, so that unpacking uses two cores.
struct ReadAhead {
    receiver: std::sync::mpsc::Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    position: usize,
}

impl ReadAhead {
    fn start(name: String, file: File) -> Option<Self> {
        // Asked for once here, so that an unknown ending is known before the thread starts.
        decompress(&name, file.try_clone().ok()?)?.ok();
        let (sender, receiver) = std::sync::mpsc::sync_channel(8);
        std::thread::spawn(move || {
            let mut file = file;
            if let Err(error) = io::Seek::seek(&mut file, io::SeekFrom::Start(0)) {
                let _ = sender.send(Err(error));
                return;
            }
            let mut reader = match decompress(&name, file) {
                Some(Ok(reader)) => reader,
                Some(Err(error)) => {
                    let _ = sender.send(Err(error));
                    return;
                }
                None => return,
            };
            loop {
                let mut chunk = Vec::with_capacity(1 << 18);
                match reader.by_ref().take(1 << 18).read_to_end(&mut chunk) {
                    Ok(0) => return,
                    Ok(_) => {
                        if sender.send(Ok(chunk)).is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        return;
                    }
                }
            }
        });
        Some(Self { receiver, current: Vec::new(), position: 0 })
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.current.len() {
            match self.receiver.recv() {
                Ok(chunk) => {
                    self.current = chunk?;
                    self.position = 0;
                }
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len() - self.position);
        buffer[..count].copy_from_slice(&self.current[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

/// The name of the one file that lies compressed in this one; nothing for an archive.
fn compressed_file(name: &str) -> Option<&str> {
    let packed = [".gz", ".xz", ".bz2", ".zst"].iter().find_map(|ending| name.strip_suffix(ending));
    packed.filter(|name| !name.ends_with(".tar") && !name.is_empty())
}

/// Copies a file that is no archive into an existing folder.
pub(crate) fn put_file(file: &Path, name: &str, into: &Path) -> Result<(), UnpackError> {
    let place = into.join(name);
    fs::copy(file, &place).at("copy", &place)?;
    Ok(seal(&place)?)
}

/// Writes the one file that `reader` decompresses from the file `packed`.
fn write_file(
    mut reader: impl Read,
    packed: &str,
    name: &str,
    into: &Path,
) -> Result<(), UnpackError> {
    let place = into.join(name);
    let mut file = File::create_new(&place).at("make", &place)?;
    let mut chunk = vec![0; 1 << 18];
    loop {
        let count = reader.read(&mut chunk).map_err(|source| UnpackError::Damaged {
            file: packed.to_owned(),
            entry: name.to_owned(),
            source,
        })?;
        if count == 0 {
            drop(file);
            return Ok(seal(&place)?);
        }
        io::Write::write_all(&mut file, &chunk[..count]).at("write", &place)?;
    }
}

/// Gives a file what an archive would have said of it.
fn seal(place: &Path) -> Result<(), FileError> {
    crate::upper::set_mode(place, 0o644)?;
    set_time(place, rustix::fs::Timespec { tv_sec: SOURCE_DATE, tv_nsec: 0 })
}

/// Unpacks one archive, or one compressed file, into an existing folder, leaving off `strip` leading folders of each name.
///
/// `name` says how it is packed. The folder must not yet hold what the archive brings.
pub fn unpack_archive(
    archive: &Path,
    name: &str,
    strip: u32,
    into: &Path,
) -> Result<(), UnpackError> {
    let file = File::open(archive).at("open", archive)?;
    let reader = ReadAhead::start(name.to_owned(), file)
        .ok_or_else(|| UnpackError::UnknownFormat { file: name.to_owned() })?;
    if let Some(inside) = compressed_file(name) {
        return write_file(reader, name, inside, into);
    }
    let mut unpacking = Unpacking {
        file: name,
        into,
        links: BTreeSet::new(),
        folders: BTreeSet::new(),
        folder_times: Vec::new(),
        last: String::new(),
        count: 0,
    };
    unpacking.run(reader, strip)
}

struct Unpacking<'a> {
    file: &'a str,
    into: &'a Path,
    /// Symbolic links made so far: nothing may be unpacked through them.
    links: BTreeSet<PathBuf>,
    /// Folders known to be there as real folders.
    folders: BTreeSet<PathBuf>,
    folder_times: Vec<(PathBuf, u32, rustix::fs::Timespec)>,
    last: String,
    count: u64,
}

impl Unpacking<'_> {
    fn refused(&self, entry: &[u8], problem: &'static str) -> UnpackError {
        let entry = String::from_utf8_lossy(entry).into_owned();
        UnpackError::Refused { file: self.file.to_owned(), entry, problem }
    }

    fn damaged(&self, source: io::Error) -> UnpackError {
        UnpackError::Damaged { file: self.file.to_owned(), entry: self.last.clone(), source }
    }

    fn run(&mut self, reader: impl Read, strip: u32) -> Result<(), UnpackError> {
        let mut archive = tar::Archive::new(reader);
        let entries = archive.entries().map_err(|error| self.damaged(error))?;
        for entry in entries {
            let mut entry = entry.map_err(|error| self.damaged(error))?;
            let full = entry.path_bytes().into_owned();
            let Some(path) = self.relative(&full, strip)? else { continue };
            self.entry(&mut entry, &full, &path, strip)?;
            self.last = String::from_utf8_lossy(&full).into_owned();
            self.count += 1;
        }
        if self.count == 0 {
            return Err(UnpackError::Empty { file: self.file.to_owned(), strip });
        }
        // Last and children first: making an entry changes its folder's time, and a mode can forbid it.
        for (folder, mode, time) in self.folder_times.iter().rev() {
            fs::set_permissions(folder, fs::Permissions::from_mode(*mode))
                .at("set the mode of", folder)?;
            set_time(folder, *time)?;
        }
        Ok(())
    }

    /// Gives the path below the folder; nothing for what `strip` leaves off.
    fn relative(&self, full: &[u8], strip: u32) -> Result<Option<PathBuf>, UnpackError> {
        if full.first() == Some(&b'/') {
            return Err(self.refused(full, "has an absolute path"));
        }
        let mut path = PathBuf::new();
        let mut left = strip;
        for part in full.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(self.refused(full, "has `..` in its path")),
                _ if part.contains(&0) => return Err(self.refused(full, "has a NUL in its path")),
                _ if left > 0 => left -= 1,
                _ => path.push(OsStr::from_bytes(part)),
            }
        }
        Ok((!path.as_os_str().is_empty()).then_some(path))
    }

    fn entry<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        full: &[u8],
        path: &Path,
        strip: u32,
    ) -> Result<(), UnpackError> {
        use tar::EntryType;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.parents(full, parent)?;
        }
        let host = self.into.join(path);
        let mode = entry.header().mode().map_err(|error| self.damaged(error))? & 0o7777;
        let time = self.time(entry)?;
        match kind {
            EntryType::Directory => {
                if self.links.contains(path) {
                    return Err(
                        self.refused(full, "replaces a symbolic link of the archive by a folder")
                    );
                }
                if !self.folders.contains(path) {
                    match fs::create_dir(&host) {
                        Err(error)
                            if error.kind() == io::ErrorKind::AlreadyExists && host.is_dir() => {}
                        result => result.at("make", &host)?,
                    }
                    self.folders.insert(path.to_path_buf());
                }
                self.folder_times.push((host, mode | 0o700, time));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.make_way(path, &host)?;
                let mut file = File::create(&host).at("make", &host)?;
                if let Err(error) = io::copy(entry, &mut file) {
                    // Reading and writing fail alike here; a full disk is the writer's.
                    return Err(match error.kind() {
                        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                            FileError { action: "write", path: host, source: error }.into()
                        }
                        _ => self.damaged(error),
                    });
                }
                let stamps = rustix::fs::Timestamps { last_access: time, last_modification: time };
                rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode | 0o600))
                    .at("set the mode of", &host)?;
                rustix::fs::futimens(&file, &stamps).at("set the time of", &host)?;
            }
            EntryType::Symlink => {
                let target = entry
                    .link_name_bytes()
                    .ok_or_else(|| self.refused(full, "is a symbolic link to nothing"))?
                    .into_owned();
                self.make_way(path, &host)?;
                std::os::unix::fs::symlink(OsStr::from_bytes(&target), &host).at("link", &host)?;
                set_time(&host, time)?;
                self.links.insert(path.to_path_buf());
            }
            EntryType::Link => {
                let target = entry
                    .link_name_bytes()
                    .ok_or_else(|| self.refused(full, "is a hard link to nothing"))?
                    .into_owned();
                let Some(target) = self.relative(&target, strip)? else {
                    return Err(self.refused(full, "is a hard link to a folder that is left off"));
                };
                let outside = target.ancestors().any(|part| self.links.contains(part));
                let there = self.into.join(&target);
                let plain = fs::symlink_metadata(&there).is_ok_and(|metadata| metadata.is_file());
                if outside || !plain {
                    return Err(self.refused(
                        full,
                        "is a hard link to something that is no file of the archive",
                    ));
                }
                self.make_way(path, &host)?;
                fs::hard_link(&there, &host).at("link", &host)?;
            }
            EntryType::Char | EntryType::Block => {
                return Err(self.refused(full, "is a device"));
            }
            EntryType::Fifo => return Err(self.refused(full, "is a named pipe")),
            _ => return Err(self.refused(full, "is of a kind that no source has")),
        }
        Ok(())
    }

    /// Removes what an earlier entry of the same name left; a later entry wins, as with tar.
    fn make_way(&mut self, path: &Path, host: &Path) -> Result<(), UnpackError> {
        match fs::remove_file(host) {
            Ok(()) => {
                self.links.remove(path);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).at("replace", host).map_err(UnpackError::File),
        }
    }

    fn parents(&mut self, full: &[u8], parent: &Path) -> Result<(), UnpackError> {
        if parent.as_os_str().is_empty() || self.folders.contains(parent) {
            return Ok(());
        }
        for ancestor in parent.ancestors() {
            if self.links.contains(ancestor) {
                return Err(self.refused(full, "goes through a symbolic link of the archive"));
            }
        }
        let host = self.into.join(parent);
        fs::create_dir_all(&host).at("make", &host)?;
        self.folders.insert(parent.to_path_buf());
        Ok(())
    }

    fn time<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
    ) -> Result<rustix::fs::Timespec, UnpackError> {
        let seconds = entry.header().mtime().map_err(|error| self.damaged(error))?;
        let mut time =
            rustix::fs::Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 };
        if let Ok(Some(extensions)) = entry.pax_extensions() {
            for extension in extensions.flatten() {
                if extension.key() == Ok("mtime")
                    && let Some((seconds, nanoseconds)) = extension.value().ok().and_then(pax_time)
                {
                    time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
                }
            }
        }
        Ok(time)
    }
}

/// Reads a pax time such as `1700000000.25` as seconds and nanoseconds.
fn pax_time(text: &str) -> Option<(i64, i64)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some((seconds.parse().ok()?, digits.parse().ok()?))
}

fn set_time(path: &Path, time: rustix::fs::Timespec) -> Result<(), FileError> {
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .at("set the time of", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    enum Entry {
        File(&'static str, &'static str),
        Folder(&'static str),
        Symlink(&'static str, &'static str),
        Hard(&'static str, &'static str),
        Device(&'static str),
    }

    fn archive(entries: &[Entry]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for entry in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(1_000_000_000);
            header.set_uid(1006);
            let (name, kind, link, content) = match entry {
                Entry::File(name, content) => (name, tar::EntryType::Regular, None, *content),
                Entry::Folder(name) => (name, tar::EntryType::Directory, None, ""),
                Entry::Symlink(name, target) => (name, tar::EntryType::Symlink, Some(target), ""),
                Entry::Hard(name, target) => (name, tar::EntryType::Link, Some(target), ""),
                Entry::Device(name) => (name, tar::EntryType::Char, None, ""),
            };
            if matches!(entry, Entry::Folder(_)) {
                header.set_mode(0o755);
            }
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            let raw = header.as_old_mut();
            raw.name[..name.len()].copy_from_slice(name.as_bytes());
            if let Some(link) = link {
                raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
            }
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn try_unpack(
        name: &str,
        bytes: &[u8],
        strip: u32,
    ) -> (tempfile::TempDir, Result<(), UnpackError>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("archive");
        fs::write(&file, bytes).unwrap();
        let into = folder.path().join("into");
        fs::create_dir(&into).unwrap();
        let result = unpack_archive(&file, name, strip, &into);
        (folder, result)
    }

    #[test]
    fn a_compressed_file_is_one_file_and_another_is_as_it_is() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, b"text\n").unwrap();
        let bytes = gzip.finish().unwrap();
        let (folder, result) = try_unpack("fix.patch.gz", &bytes, 1);
        result.unwrap();
        let into = folder.path().join("into");
        let made = into.join("fix.patch");
        assert_eq!(fs::read(&made).unwrap(), b"text\n");
        let metadata = fs::metadata(&made).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o644, SOURCE_DATE));

        put_file(&folder.path().join("archive"), "fix.patch.gz", &into).unwrap();
        assert_eq!(fs::read(into.join("fix.patch.gz")).unwrap(), bytes);
        let (_folder, cut) = try_unpack("fix.patch.gz", &bytes[..bytes.len() - 6], 1);
        assert!(cut.unwrap_err().to_string().starts_with("fix.patch.gz is damaged or cut short"));
        let (_folder, plain) = try_unpack("fix.patch", b"text\n", 1);
        assert!(plain.unwrap_err().to_string().contains("needs `unpack = false`"));
    }

    #[test]
    fn good_archives_keep_modes_and_times() {
        let bytes = archive(&[
            Entry::Folder("top-1.0/"),
            Entry::File("top-1.0/dir/a", "hello"),
            Entry::Hard("top-1.0/b", "top-1.0/dir/a"),
            Entry::Symlink("top-1.0/link", "dir"),
        ]);
        let (folder, result) = try_unpack("x.tar", &bytes, 1);
        result.unwrap();
        let into = folder.path().join("into");
        let metadata = fs::metadata(into.join("b")).unwrap();
        assert_eq!(
            (metadata.nlink(), metadata.mtime(), metadata.mode() & 0o777),
            (2, 1_000_000_000, 0o644)
        );
        assert_eq!(fs::read_to_string(into.join("link/a")).unwrap(), "hello");
    }

    #[test]
    fn hostile_entries_are_refused_and_nothing_leaves_the_folder() {
        let cases: &[(&str, Vec<Entry>)] = &[
            ("absolute path", vec![Entry::File("/t/etc/passwd", "x")]),
            ("`..`", vec![Entry::File("t/../../escape", "x")]),
            ("is a device", vec![Entry::Device("t/null")]),
            (
                "through a symbolic link",
                vec![Entry::Symlink("t/l", "/"), Entry::File("t/l/escape", "x")],
            ),
            (
                "through a symbolic link",
                vec![Entry::Symlink("t/l", ".."), Entry::File("t/l/d/escape", "x")],
            ),
            ("by a folder", vec![Entry::Symlink("t/l", ".."), Entry::Folder("t/l/")]),
            ("no file of the archive", vec![Entry::Hard("t/h", "t/none")]),
            ("`..`", vec![Entry::Hard("t/h", "t/../../archive")]),
            (
                "no file of the archive",
                vec![Entry::Symlink("t/l", ".."), Entry::Hard("t/h", "t/l/archive")],
            ),
        ];
        for (problem, entries) in cases {
            let (folder, result) = try_unpack("x.tar", &archive(entries), 1);
            let error = result.unwrap_err().to_string();
            assert!(error.contains(problem), "{error} should say {problem}");
            assert!(!folder.path().join("escape").exists());
        }
    }

    #[test]
    fn damaged_archives_are_told_apart() {
        let bytes = archive(&[Entry::File("t/a", "hello"), Entry::File("t/b", "again")]);
        let (_, cut) = try_unpack("x.tar", &bytes[..700], 1);
        assert!(matches!(cut, Err(UnpackError::Damaged { .. })), "{cut:?}");
        let (_, noise) = try_unpack("x.tar.xz", b"this is no xz file at all", 1);
        assert!(matches!(noise, Err(UnpackError::Damaged { .. })), "{noise:?}");
        let (_, odd) = try_unpack("x.rar", &bytes, 1);
        assert!(matches!(odd, Err(UnpackError::UnknownFormat { .. })));
        let (_, empty) = try_unpack("x.tar", &bytes, 9);
        assert!(matches!(empty, Err(UnpackError::Empty { .. })));
        let mut packed = Vec::new();
        let mut encoder = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
        io::Write::write_all(&mut encoder, &bytes).unwrap();
        encoder.finish().unwrap();
        try_unpack("x.tar.gz", &packed, 1).1.unwrap();
        let (_, cut) = try_unpack("x.tar.gz", &packed[..packed.len() / 2], 1);
        assert!(matches!(cut, Err(UnpackError::Damaged { .. })), "{cut:?}");
    }

    #[test]
    fn pax_times() {
        assert_eq!(pax_time("17.25"), Some((17, 250_000_000)));
        assert_eq!(pax_time("17"), Some((17, 0)));
        assert_eq!(pax_time("x"), None);
    }
}
