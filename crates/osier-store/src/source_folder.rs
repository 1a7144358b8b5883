//! Folders of a person's own sources: taken into the store as trees, without reading again what has not changed.
//!
//! What each file looked like to lstat(2) when it was last read is kept under `folders/`, one file for each folder, with the
//! digest of what was read. A file that still looks the same is not read again. No program can set the change time, so equal
//! sizes and restored modification times do not deceive. As in git's index, a file that was changed shortly before it was read
//! is not believed: a later change in the same tick of the clock would look the same. It is read again until it has aged.
//!
//! Two things can deceive. A program that writes through a shared mapping (mmap(2) with `MAP_SHARED`) changes a file's times when
//! it first touches a page, and not again before the kernel has written that page to the disk; on tmpfs never. And some file
//! systems give change times that nobody can rely on: those of a network or another program (NFS, CIFS, 9p, FUSE), where another
//! machine's clock or a cache makes them, and those that do not keep them (FAT, exFAT). On any file system that is not known to
//! keep its times, no record is believed and every file is read. For the mapping there is [`Store::set_rehash`].
//!
//! A record that is damaged, of another format or of blobs that are gone costs the reading, nothing else.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, AtFlags, Dir, FileType, FsWord, Mode, OFlags};

use crate::{Digest, FileError, IoContext, Store, Tree, TreeNode};

/// The first bytes of a record.
const HEADER: &[u8; 15] = b"osier folder 2\n";

/// How much older than the reading a change must be to be believed: the coarsest file systems count in steps of two seconds.
const MARGIN: i64 = 2;

/// How much older than the reading a change must be to be believed in another boot of the machine. A power cut can leave the times of a
/// file on the disk and its new bytes not; the kernel writes bytes back within 30 seconds.
const SETTLED: i64 = 120;

/// Files of up to so many bytes are held in memory while they are taken over.
const SMALL: u64 = 1 << 20;

/// Seconds and nanoseconds since 1970.
type Time = (i64, u32);

/// What lstat(2) says of a file or link. Of a folder nothing but that it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    mode: u32,
    device: u64,
    inode: u64,
    size: u64,
    modified: Time,
    changed: Time,
}

const FOLDER: Stamp = Stamp {
    mode: FileType::Directory.as_raw_mode(),
    device: 0,
    inode: 0,
    size: 0,
    modified: (0, 0),
    changed: (0, 0),
};

/// Something below the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Below the folder, without a leading slash.
    path: Vec<u8>,
    stamp: Stamp,
    /// What a file holds; nothing for links and folders.
    content: Option<(Digest, u64)>,
}

/// A folder as it was when it was last taken over.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    /// When that began.
    taken: Time,
    /// The boot of the machine in which all its blobs were last found whole.
    boot: Digest,
    tree: Digest,
    entries: Vec<Entry>,
}

impl Entry {
    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stamp.mode)
    }
}

/// The file systems, by the magic number that statfs(2) gives, whose change time moves with every change but those through a
/// shared mapping, as this machine's kernel itself makes and keeps it.
const KEEP_THEIR_TIMES: [FsWord; 14] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    0x0102_1994, // tmpfs
    0x794C_7630, // overlayfs
    0xF2F5_2010, // f2fs
    0xCA45_1A4E, // bcachefs
    0x2FC1_2FC1, // zfs
    0x3153_464A, // jfs
    0x5265_4973, // reiserfs
    0x3434,      // nilfs2
    0xE0F5_E1E2, // erofs, which cannot be written
    0x7371_7368, // squashfs, likewise
    0x9660,      // iso9660, likewise
];

/// Says whether what lstat(2) tells of files on this kind of file system can be believed.
fn keeps_its_times(file_system: FsWord) -> bool {
    KEEP_THEIR_TIMES.contains(&file_system)
}

/// What lies below a folder.
#[derive(Default)]
struct Found {
    entries: Vec<Entry>,
    /// The devices among those of the entries that do not keep their times.
    unsteady: HashSet<u64>,
}

impl Store {
    /// Makes [`Store::take_folder`] read every file anew, whatever the records say.
    pub fn set_rehash(&mut self, rehash: bool) {
        self.rehash = rehash;
    }

    /// Takes a folder of the host over as a tree, and gives the tree's digest.
    ///
    /// Files become 0644, or 0755 where anybody may run them, folders 0755. Devices, pipes and sockets are errors.
    pub fn take_folder(&self, folder: &Path) -> Result<Digest, FileError> {
        self.take_folder_without(folder, &[])
    }

    /// Takes a folder over as [`Store::take_folder`] does, but for what has one of these names directly in it.
    pub fn take_folder_without(&self, folder: &Path, names: &[&str]) -> Result<Digest, FileError> {
        let taken = since_1970(SystemTime::now());
        let folder = fs::canonicalize(folder).at("open", folder)?;
        let name = Digest::of(folder.as_os_str().as_bytes());
        let place = self.root().join(format!("folders/{name}"));
        let known = if self.rehash { None } else { fs::read(&place).ok() };
        let known = known.and_then(|bytes| Record::decode(&bytes));

        let boot = Digest::of(self.index().boot().as_bytes());
        let Found { mut entries, unsteady } = walk(&folder, names, &keeps_its_times)?;
        if let Some(mut known) = known {
            let same = self.recognise(&known, &mut entries, boot, &unsteady)?;
            // As many entries, each of them found: nothing was added, nothing is gone.
            if [same, known.entries.len()] == [entries.len(); 2] && self.has_blob(&known.tree) {
                if known.boot != boot && self.is_writable() {
                    known.boot = boot;
                    self.put_note(&place, &known.encode())?;
                }
                return Ok(known.tree);
            }
        }
        self.read_contents(&folder, &mut entries)?;
        let tree = self.put_tree(&tree_of(&folder, &entries)?)?;
        self.put_note(&place, &Record { taken, boot, tree, entries }.encode())?;
        Ok(tree)
    }

    /// Fills in the content of each file that looks as it did before; counts the entries that do.
    fn recognise(
        &self,
        known: &Record,
        entries: &mut [Entry],
        boot: Digest,
        unsteady: &HashSet<u64>,
    ) -> Result<usize, FileError> {
        let before: HashMap<&[u8], &Entry> =
            known.entries.iter().map(|entry| (entry.path.as_slice(), entry)).collect();
        let folder = self.root().join("blobs");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let blobs = rustix::fs::open(&folder, flags, Mode::empty()).at("open", &folder)?;
        let mut index = self.index();
        index.refresh()?;
        // Once in a boot each blob has to be one that counts; what is put later in the same boot does.
        let is_there = |digest: &Digest| {
            if known.boot != boot && !index.has_blob(digest) {
                return false;
            }
            let name = digest.to_string();
            let path = [&name[..2], "/", &name].concat();
            rustix::fs::accessat(&blobs, path, Access::EXISTS, AtFlags::empty()).is_ok()
        };
        let mut same = 0;
        for entry in entries {
            let Some(old) = before.get(entry.path.as_slice()) else { continue };
            let margin = if known.boot == boot { MARGIN } else { SETTLED };
            if old.stamp != entry.stamp || !has_aged(&old.stamp, known.taken, margin) {
                continue;
            }
            if unsteady.contains(&entry.stamp.device) {
                continue;
            }
            if old.content.is_some_and(|(digest, _)| !is_there(&digest)) {
                continue;
            }
            entry.content = old.content;
            same += 1;
        }
        Ok(same)
    }

    /// Reads the files whose content is not known, on all processors.
    fn read_contents(&self, folder: &Path, entries: &mut [Entry]) -> Result<(), FileError> {
        let open: Vec<usize> = (0..entries.len())
            .filter(|at| {
                entries[*at].content.is_none() && entries[*at].kind() == FileType::RegularFile
            })
            .collect();
        let scratch = self.scratch("folder")?;
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Vec::with_capacity(open.len()));
        let shared = &*entries;
        let work = || {
            while let Some(&at) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
                let host = folder.join(OsStr::from_bytes(&shared[at].path));
                let content = self.take_file(&host, &scratch.path().join(at.to_string()));
                found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, content));
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 1..threads.min(open.len() / 16) {
                scope.spawn(work);
            }
            work();
        });
        let mut put = Vec::new();
        for (at, taken) in found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            let (digest, size, is_new) = taken?;
            entries[at].content = Some((digest, size));
            if is_new {
                put.push(digest);
            }
        }
        self.index().append(crate::Record::Blobs(put))
    }

    /// Puts one file into the store, by way of a name that is free; says as well whether that is still to be recorded.
    fn take_file(&self, file: &Path, beside: &Path) -> Result<(Digest, u64, bool), FileError> {
        // Not followed, should it have become a link by now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::open(file, flags, Mode::empty()).at("open", file)?;
        let mut opened = File::from(opened);
        let mut bytes = Vec::new();
        (&mut opened).take(SMALL).read_to_end(&mut bytes).at("read", file)?;
        if (bytes.len() as u64) < SMALL {
            let digest = Digest::of(&bytes);
            let mut is_new = false;
            if !self.is_whole(&digest)? {
                fs::write(beside, &bytes).at("write", beside)?;
                is_new = self.place_blob(beside, &digest)?;
            }
            return Ok((digest, bytes.len() as u64, is_new));
        }
        opened.rewind().at("read", file)?;
        let put = |sink: &mut dyn io::Write| io::copy(&mut opened, sink).map(drop).at("copy", file);
        self.put_with(put).map(|(digest, size)| (digest, size, false))
    }
}

/// Says whether a change would show: the last one was long enough before the reading.
fn has_aged(stamp: &Stamp, taken: Time, margin: i64) -> bool {
    stamp.modified.max(stamp.changed) < (taken.0 - margin, taken.1)
}

fn since_1970(time: SystemTime) -> Time {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

/// Lists all that is below a folder, without reading any file. What has one of these names directly in it is left out.
///
/// `keeps_times` says of a kind of file system whether it keeps its times.
fn walk(
    folder: &Path,
    without: &[&str],
    keeps_times: &dyn Fn(FsWord) -> bool,
) -> Result<Found, FileError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &Path| -> Result<OwnedFd, FileError> {
        rustix::fs::open(path, flags, Mode::empty()).at("list", path)
    };
    let mut entries = Vec::new();
    let mut steady: HashMap<u64, bool> = HashMap::new();
    let mut waiting: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(below) = waiting.pop() {
        let host: PathBuf = folder.join(OsStr::from_bytes(&below));
        let opened = open(&host)?;
        for found in Dir::read_from(&opened).at("list", &host)? {
            let found = found.at("list", &host)?;
            let name = found.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if below.is_empty() && without.iter().any(|left| name.to_bytes() == left.as_bytes()) {
                continue;
            }
            let mut path = below.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(name.to_bytes());
            crate::fits(&path)?;
            let mut stamp = FOLDER;
            if found.file_type() != FileType::Directory {
                let place = || folder.join(OsStr::from_bytes(&path));
                let seen = rustix::fs::statat(opened.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW);
                let seen = seen.map_err(|errno| FileError {
                    action: "read",
                    path: place(),
                    source: errno.into(),
                })?;
                match FileType::from_raw_mode(seen.st_mode) {
                    // A file system that does not tell in the list what is a folder.
                    FileType::Directory => {}
                    FileType::RegularFile | FileType::Symlink => stamp = stamp_of(&seen),
                    _ => {
                        let source = io::Error::other(
                            "a source cannot contain devices, named pipes or sockets",
                        );
                        return Err(FileError { action: "store", path: place(), source });
                    }
                }
                if stamp != FOLDER && !steady.contains_key(&stamp.device) {
                    // A file can be mounted by itself, so its folder's file system may be another; a link cannot.
                    let status = match FileType::from_raw_mode(stamp.mode) {
                        FileType::Symlink => rustix::fs::fstatfs(&opened),
                        _ => rustix::fs::statfs(place()),
                    };
                    let keeps = status.is_ok_and(|status| keeps_times(status.f_type));
                    steady.insert(stamp.device, keeps);
                }
            }
            if stamp == FOLDER {
                waiting.push(path.clone());
            }
            entries.push(Entry { path, stamp, content: None });
        }
    }
    steady.retain(|_, keeps| !*keeps);
    Ok(Found { entries, unsteady: steady.into_keys().collect() })
}

#[expect(clippy::cast_possible_truncation, reason = "nanoseconds are below 2^30")]
#[expect(clippy::cast_sign_loss, reason = "sizes and nanoseconds are never negative")]
fn stamp_of(seen: &rustix::fs::Stat) -> Stamp {
    Stamp {
        mode: seen.st_mode,
        device: seen.st_dev,
        inode: seen.st_ino,
        size: seen.st_size as u64,
        modified: (seen.st_mtime, seen.st_mtime_nsec as u32),
        changed: (seen.st_ctime, seen.st_ctime_nsec as u32),
    }
}

fn tree_of(folder: &Path, entries: &[Entry]) -> Result<Tree, FileError> {
    let mut tree = Tree::default();
    for entry in entries {
        let node = match entry.content {
            Some((content, size)) => TreeNode::File {
                mode: if entry.stamp.mode & 0o111 == 0 { 0o644 } else { 0o755 },
                content,
                size,
                hard_link: None,
            },
            None if entry.kind() == FileType::Symlink => {
                let host = folder.join(OsStr::from_bytes(&entry.path));
                let target = fs::read_link(&host).at("read", &host)?;
                TreeNode::Symlink { target: target.into_os_string().into_encoded_bytes() }
            }
            None => TreeNode::Folder { mode: 0o755 },
        };
        tree.insert(entry.path.clone(), node);
    }
    Ok(tree)
}

impl Record {
    /// Writes it: the header, fields of fixed size with the lowest byte first, and the SHA-256 of all that.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.entries.len() * 160);
        let time = |out: &mut Vec<u8>, time: Time| {
            out.extend(time.0.to_le_bytes());
            out.extend(time.1.to_le_bytes());
        };
        out.extend(HEADER);
        time(&mut out, self.taken);
        out.extend(self.boot.0);
        out.extend(self.tree.0);
        for Entry { path, stamp, content } in &self.entries {
            out.extend(u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend(path);
            out.extend(stamp.mode.to_le_bytes());
            for number in [stamp.device, stamp.inode, stamp.size] {
                out.extend(number.to_le_bytes());
            }
            time(&mut out, stamp.modified);
            time(&mut out, stamp.changed);
            out.push(u8::from(content.is_some()));
            if let Some((digest, size)) = content {
                out.extend(digest.0);
                out.extend(size.to_le_bytes());
            }
        }
        let sum = Digest::of(&out);
        out.extend(sum.0);
        out
    }

    /// Reads it; nothing where a byte of it is wrong.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, sum) = bytes.split_last_chunk::<32>()?;
        if Digest::of(bytes).0 != *sum {
            return None;
        }
        let mut rest = Reader(bytes.strip_prefix(HEADER)?);
        let taken = rest.time()?;
        let (boot, tree) = (Digest(rest.array()?), Digest(rest.array()?));
        let mut entries = Vec::with_capacity(rest.0.len() / 128);
        while !rest.0.is_empty() {
            let length = u32::from_le_bytes(rest.array()?);
            let (path, after) = rest.0.split_at_checked(usize::try_from(length).ok()?)?;
            rest = Reader(after);
            let stamp = Stamp {
                mode: u32::from_le_bytes(rest.array()?),
                device: u64::from_le_bytes(rest.array()?),
                inode: u64::from_le_bytes(rest.array()?),
                size: u64::from_le_bytes(rest.array()?),
                modified: rest.time()?,
                changed: rest.time()?,
            };
            let content = match rest.array()? {
                [0] => None,
                _ => Some((Digest(rest.array()?), u64::from_le_bytes(rest.array()?))),
            };
            entries.push(Entry { path: path.to_vec(), stamp, content });
        }
        Some(Self { taken, boot, tree, entries })
    }
}

/// Bytes of a record that are still to be read.
struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn time(&mut self) -> Option<Time> {
        Some((i64::from_le_bytes(self.array()?), u32::from_le_bytes(self.array()?)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    /// A store and a folder whose files have aged in the folder's record.
    struct Space {
        base: tempfile::TempDir,
        store: Store,
    }

    impl Space {
        fn new() -> Self {
            let base = tempfile::tempdir().unwrap();
            let store = Store::open(&base.path().join("store"), "boot").unwrap();
            let folder = base.path().join("src");
            fs::create_dir_all(folder.join("dir/empty")).unwrap();
            fs::write(folder.join("a"), "one").unwrap();
            fs::write(folder.join("dir/b"), "two").unwrap();
            fs::write(folder.join("dir/big"), vec![7; 1_048_581]).unwrap();
            symlink("dir/b", folder.join("link")).unwrap();
            Self { base, store }
        }

        fn folder(&self) -> PathBuf {
            self.base.path().join("src")
        }

        fn take(&self) -> Digest {
            self.store.take_folder(&self.folder()).unwrap()
        }

        fn record(&self) -> PathBuf {
            let mut found = fs::read_dir(self.store.root().join("folders")).unwrap();
            found.next().unwrap().unwrap().path()
        }

        /// Makes the record one that was taken long after the files were last changed.
        fn age(&self) {
            // The next change must not come in the same tick of the clock as the last one.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let mut record = Record::decode(&fs::read(self.record()).unwrap()).unwrap();
            record.taken.0 += 100;
            fs::write(self.record(), record.encode()).unwrap();
        }

        /// What the folder is without any record.
        fn afresh(&self) -> Digest {
            let other = Store::open(&self.base.path().join("other"), "boot").unwrap();
            let digest = other.take_folder(&self.folder()).unwrap();
            crate::remove_tree(other.root()).unwrap();
            digest
        }

        /// Says whether the next taking over reads a file: a record that claims another content for it would be believed.
        fn is_believed(&self, path: &str) -> bool {
            let mut record = Record::decode(&fs::read(self.record()).unwrap()).unwrap();
            let other = self.store.put_bytes(b"something else").unwrap();
            let entry = record.entries.iter_mut().find(|entry| entry.path == path.as_bytes());
            entry.unwrap().content = Some((other, 14));
            record.tree = other;
            fs::write(self.record(), record.encode()).unwrap();
            self.take() == other
        }
    }

    #[test]
    fn in_another_boot_what_was_young_or_is_not_synced_is_read_again() {
        let space = Space::new();
        let right = space.take();
        // Aged well enough for this boot.
        space.age();
        assert!(space.is_believed("a"));
        let wrong = space.take();
        let later = Store::open(space.store.root(), "later").unwrap();
        assert_eq!(later.take_folder(&space.folder()).unwrap(), right);
        // Long unchanged, but of blobs that may not have reached the disk.
        let old = |boot: &str| {
            let mut record = Record::decode(&fs::read(space.record()).unwrap()).unwrap();
            record.taken.0 += 1000;
            record.boot = Digest::of(boot.as_bytes());
            record.tree = wrong;
            for entry in &mut record.entries {
                if entry.path == b"a" {
                    entry.content = Some((Digest::of(b"something else"), 14));
                }
            }
            fs::write(space.record(), record.encode()).unwrap();
        };
        old("boot");
        let other = later.blob_path(&Digest::of(b"something else"));
        let unsynced = Store::open(space.store.root(), "a third boot").unwrap();
        assert!(!unsynced.index().has_blob(&Digest::of(b"something else")));
        assert_eq!(unsynced.take_folder(&space.folder()).unwrap(), right);
        // Synced, it is believed, as in the same boot.
        old("a third boot");
        unsynced.put_bytes(b"something else").unwrap();
        assert!(other.exists() && unsynced.has_blob(&wrong));
        unsynced.sync().unwrap();
        let last = Store::open(space.store.root(), "the last boot").unwrap();
        assert_eq!(last.take_folder(&space.folder()).unwrap(), wrong);
    }

    #[test]
    fn what_is_taken_is_the_folder() {
        let space = Space::new();
        fs::set_permissions(space.folder().join("dir/b"), fs::Permissions::from_mode(0o750))
            .unwrap();
        let tree = space.store.tree(&space.take()).unwrap();
        let kinds: Vec<String> = tree
            .iter()
            .map(|(path, node)| {
                let kind = match node {
                    TreeNode::Folder { mode } => format!("{mode:o}"),
                    TreeNode::File { mode, size, .. } => format!("{mode:o} {size}"),
                    TreeNode::Symlink { target } => String::from_utf8_lossy(target).into_owned(),
                };
                format!("{} {kind}", String::from_utf8_lossy(path))
            })
            .collect();
        let wanted = [
            "a 644 3",
            "dir 755",
            "dir/b 755 3",
            "dir/big 644 1048581",
            "dir/empty 755",
            "link dir/b",
        ];
        assert_eq!(kinds, wanted);
        assert_eq!(space.store.read_blob(&Digest::of(b"two")).unwrap(), b"two");
    }

    #[test]
    fn aged_files_are_not_read_again_and_fresh_ones_are() {
        let space = Space::new();
        space.take();
        assert!(!space.is_believed("a"), "a file that was changed just before is read again");
        space.take();
        space.age();
        assert!(space.is_believed("a"), "an aged file is not");
    }

    #[test]
    fn a_rehash_reads_what_the_records_call_unchanged() {
        let mut space = Space::new();
        let right = space.take();
        space.age();
        // As after a write through a shared mapping: the file has not changed for lstat(2), its content is another.
        assert!(space.is_believed("a"));
        space.store.set_rehash(true);
        assert_eq!(space.take(), right);
        space.store.set_rehash(false);
        assert_eq!(space.take(), right, "what was read anew is recorded");
    }

    #[test]
    fn files_on_a_file_system_that_keeps_no_times_are_always_read() {
        let space = Space::new();
        space.take();
        space.age();
        let mut record = Record::decode(&fs::read(space.record()).unwrap()).unwrap();
        record.taken.0 += 100;
        let files = 4;
        for (keeps, wanted) in [(true, record.entries.len()), (false, 2)] {
            let mut found = walk(&space.folder(), &[], &|_| keeps).unwrap();
            let entries = &mut found.entries;
            assert_eq!(entries.len(), 2 + files);
            let same =
                space.store.recognise(&record, entries, record.boot, &found.unsteady).unwrap();
            assert_eq!(same, wanted, "only the folders are the same where no time counts");
        }
    }

    #[test]
    fn which_file_systems_keep_their_times() {
        let table: [(&str, FsWord, bool); 12] = [
            ("ext4", 0xEF53, true),
            ("xfs", 0x5846_5342, true),
            ("btrfs", 0x9123_683E, true),
            ("tmpfs", 0x0102_1994, true),
            ("nfs", 0x6969, false),
            ("cifs", 0xFF53_4D42, false),
            ("smb2", 0xFE53_4D42, false),
            ("9p", 0x0102_1997, false),
            ("fuse, virtiofs", 0x6573_5546, false),
            ("vfat", 0x4D44, false),
            ("exfat", 0x2011_BAB0, false),
            ("ceph", 0x00C3_6400, false),
        ];
        for (name, magic, keeps) in table {
            assert_eq!(keeps_its_times(magic), keeps, "{name}");
        }
    }

    #[test]
    fn every_change_is_seen() {
        type Change = fn(&Path);
        let changes: &[(&str, Change)] = &[
            ("content of the same size, with the time restored", |folder| {
                let file = folder.join("a");
                let before = fs::metadata(&file).unwrap().modified().unwrap();
                fs::write(&file, "eno").unwrap();
                File::options().write(true).open(&file).unwrap().set_modified(before).unwrap();
            }),
            ("a file put in another's place, with size and time of it", |folder| {
                let time = fs::metadata(folder.join("a")).unwrap().modified().unwrap();
                fs::write(folder.join("new"), "eno").unwrap();
                File::options()
                    .write(true)
                    .open(folder.join("new"))
                    .unwrap()
                    .set_modified(time)
                    .unwrap();
                fs::rename(folder.join("new"), folder.join("a")).unwrap();
            }),
            ("a file renamed", |folder| fs::rename(folder.join("a"), folder.join("z")).unwrap()),
            ("two files exchanged", |folder| {
                fs::rename(folder.join("a"), folder.join("t")).unwrap();
                fs::rename(folder.join("dir/b"), folder.join("a")).unwrap();
                fs::rename(folder.join("t"), folder.join("dir/b")).unwrap();
            }),
            ("a mode", |folder| {
                fs::set_permissions(folder.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
            }),
            ("a link", |folder| {
                fs::remove_file(folder.join("link")).unwrap();
                symlink("dir/c", folder.join("link")).unwrap();
            }),
            ("a file deleted", |folder| fs::remove_file(folder.join("dir/b")).unwrap()),
            ("a file added", |folder| fs::write(folder.join("dir/c"), "").unwrap()),
            ("an empty folder deleted", |folder| fs::remove_dir(folder.join("dir/empty")).unwrap()),
            ("a file made a folder", |folder| {
                fs::remove_file(folder.join("a")).unwrap();
                fs::create_dir(folder.join("a")).unwrap();
            }),
        ];
        for (what, change) in changes {
            let space = Space::new();
            let first = space.take();
            space.age();
            assert_eq!(space.take(), first, "{what}");
            change(&space.folder());
            let second = space.take();
            assert_ne!(second, first, "{what} should be seen");
            assert_eq!(second, space.afresh(), "{what}");
            assert_eq!(space.take(), second, "{what}");
        }
    }

    #[test]
    fn what_is_named_is_left_out_at_the_top_alone() {
        let space = Space::new();
        let all = space.take();
        fs::create_dir_all(space.folder().join(".git/objects")).unwrap();
        fs::create_dir_all(space.folder().join("dir/.git")).unwrap();
        fs::write(space.folder().join(".git/HEAD"), "x").unwrap();
        let taken = space.store.take_folder_without(&space.folder(), &[".git"]).unwrap();
        let tree = space.store.tree(&taken).unwrap();
        assert!(tree.get(b".git").is_none() && tree.get(b"dir/.git").is_some());
        fs::remove_dir(space.folder().join("dir/.git")).unwrap();
        assert_eq!(space.store.take_folder_without(&space.folder(), &[".git"]).unwrap(), all);
    }

    #[test]
    fn damaged_records_and_lost_blobs_cost_only_the_reading() {
        let space = Space::new();
        let first = space.take();
        let good = fs::read(space.record()).unwrap();
        for at in [0, 20, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(space.record(), bad).unwrap();
            assert_eq!(space.take(), first);
            fs::write(space.record(), &good[..at]).unwrap();
            assert_eq!(space.take(), first);
        }
        for lost in [Digest::of(b"one"), first] {
            space.age();
            fs::remove_file(space.store.blob_path(&lost)).unwrap();
            assert_eq!(space.take(), first);
            assert!(space.store.has_blob(&lost));
        }
    }

    #[test]
    fn pipes_are_refused_by_name() {
        let space = Space::new();
        let pipe = space.folder().join("dir/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        let error = space.store.take_folder(&space.folder()).unwrap_err().to_string();
        assert!(error.contains("dir/pipe") && error.contains("named pipes"), "{error}");
        assert_eq!(fs::metadata(&pipe).unwrap().size(), 0);
    }
}
