//! What live processes rely on, so that gc can work beside them.
//!
//! Two kinds of file, both locked by `flock`, which ends with its process however that ends:
//!
//! - `leases/START-PID` is held by its process for as long as it has the store in use. It lists the keys
//!   that the process has planned on, 32 bytes each.
//! - `lock`, the *gate*, is held for moments only: shared by a process from looking something up until its
//!   lease lists it, exclusively by gc from reading the leases until what they do not list is out of the way.
//!
//! Blobs that no recorded result leads to yet have no key to list. A process that comes upon one makes
//! sure that its inode was changed within [`FRESH`], and gc leaves alone what was changed since [`SPARED`]
//! before the oldest lease began. `docs/design/0005-gc-beside-builds.md` has the argument.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
};

use crate::claim::Lease;
use crate::{Digest, FileError, IoContext, Key, Scratch, Store, layout, remove_tree};

/// A blob whose inode was changed within this time is relied upon without being touched.
pub(crate) const FRESH: Duration = Duration::from_secs(3600);

/// gc spares blobs that were changed since this long before the oldest live process began. Longer than
/// [`FRESH`] by what a clock may be set back meanwhile.
pub(crate) const SPARED: Duration = Duration::from_secs(2 * 3600);

/// How many names under `work/` a build looks at, for what dead processes left. gc looks at all.
const SWEPT: usize = 512;

/// Holds gc off from looking things up until they are listed in this process's lease.
#[must_use = "what was looked up must be held"]
#[derive(Debug)]
pub struct Look<'s> {
    store: &'s Store,
    _gate: File,
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.store.index().end_look();
    }
}

impl Look<'_> {
    /// Lists the results, layers and environments of these keys, and all that they lead to, as in use by this
    /// process until it ends.
    pub fn hold(self, keys: impl IntoIterator<Item = Key>) -> Result<(), FileError> {
        let bytes: Vec<u8> = keys.into_iter().flat_map(|key| key.0).collect();
        if bytes.is_empty() {
            return Ok(());
        }
        let lease = self.store.lease()?;
        // One write at the end of the file, and gc reads it under the gate only: it never sees half a list.
        (&lease.file).write_all(&bytes).at("write", &lease.path)
    }
}

/// What the live processes rely on.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// The keys that they list.
    pub(crate) keys: BTreeSet<Key>,
    /// When the oldest of them began; nothing where there are none.
    pub(crate) oldest: Option<SystemTime>,
}

/// Locks a file; gives nothing where it would have to wait and must not.
fn flock(file: &File, path: &Path, operation: FlockOperation) -> Result<bool, FileError> {
    loop {
        return match rustix::fs::flock(file, operation) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => Err(errno).at("lock", path),
        };
    }
}

/// Says whether the process that a lease belongs to is alive.
fn is_live(path: &Path) -> bool {
    // Whoever got its lock would have been the first to have it since its process ended.
    let free = |file: File| {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)
            != Err(rustix::io::Errno::WOULDBLOCK)
    };
    File::open(path).is_ok_and(|file| !free(file))
}

impl Store {
    fn open_gate(&self, operation: FlockOperation) -> Result<Option<File>, FileError> {
        let path = self.root().join("lock");
        let open = || {
            // A link would lead out of the store.
            let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).custom_flags(no_link).open(&path)
        };
        let file = match open() {
            Err(_) if self.is_writable() => {
                self.clear(&path)?;
                open().at("open", &path)?
            }
            opened => opened.at("open", &path)?,
        };
        if !flock(&file, &path, operation)? {
            return Ok(None);
        }
        if file.metadata().at("read", &path)?.nlink() == 0 {
            let gone = io::Error::new(io::ErrorKind::NotFound, "the store has just been removed");
            return Err(gone).at("lock", &path);
        }
        Ok(Some(file))
    }

    /// Holds gc off, and waits for the moments for which gc holds the gate.
    pub(crate) fn gate_shared(&self) -> Result<File, FileError> {
        Ok(self.open_gate(FlockOperation::LockShared)?.expect("a lock that waits is got"))
    }

    /// Holds all others off, and waits for the moments for which they hold the gate.
    pub(crate) fn gate_exclusive(&self) -> Result<File, FileError> {
        Ok(self.open_gate(FlockOperation::LockExclusive)?.expect("a lock that waits is got"))
    }

    /// Gives this process's lease, and takes it first where there is none yet.
    pub(crate) fn lease(&self) -> Result<Arc<Lease>, FileError> {
        let mut slot = self.lease.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(lease) = &*slot {
            return Ok(Arc::clone(lease));
        }
        let folder = self.root().join("leases");
        // Between being made and being locked it looks dead, so gc must not see it then.
        let _gate = self.gate_shared()?;
        let (name, path, file) = loop {
            let start =
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let name = format!("{}-{}", start.as_nanos(), std::process::id());
            let path = folder.join(&name);
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => break (name, path, file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).at("make", &path),
            }
        };
        flock(&file, &path, FlockOperation::LockExclusive)?;
        let lease = Arc::new(Lease { name, path, file });
        *slot = Some(Arc::clone(&lease));
        Ok(lease)
    }

    /// Begins to look things up: what is found until [`Look::hold`] is there until this process ends.
    ///
    /// Must be short, since gc waits for it. The index is as new as gc's last removal afterwards.
    pub fn look(&self) -> Result<Look<'_>, FileError> {
        self.lease()?;
        let gate = self.gate_shared()?;
        self.index().begin_look()?;
        Ok(Look { store: self, _gate: gate })
    }

    /// Says whether an unpacked build environment is there. If it is, it stays until this process ends, and
    /// counts as used now; if it is not, it will stay once it is.
    pub fn has_root(&self, key: &Key) -> Result<bool, FileError> {
        let look = self.look()?;
        let recorded = self.index().has_root(key);
        let there = recorded && self.keep(&self.root_path(key))? && self.is_root_sound(key);
        look.hold([*key])?;
        Ok(there)
    }

    /// Says whether something that is named by a digest is there, and sees to it that it stays until this
    /// process ends.
    pub(crate) fn keep(&self, path: &Path) -> Result<bool, FileError> {
        if !self.is_writable() {
            return Ok(path.exists());
        }
        // Before the look at the time, so that the lease is the older one.
        self.lease()?;
        let changed = |path: &Path| match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(changed(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("read", path),
        };
        match changed(path)? {
            None => return Ok(false),
            Some(time) if SystemTime::now() < time + FRESH => return Ok(true),
            Some(_) => {}
        }
        self.touch(path)
    }

    /// Makes the inode of a path new for gc; says whether it was there.
    fn touch(&self, path: &Path) -> Result<bool, FileError> {
        let _gate = self.gate_shared()?;
        // The time of the last access alone: a blob is another name of a layer's file, and programs in later
        // steps compare the times of the last change of content.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: now, last_modification: omit };
        match rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => Ok(false),
            result => result.at("touch", path).map(|()| true),
        }
    }

    /// Reads the leases of all live processes but this one's, and removes those of dead ones.
    ///
    /// The caller holds the gate exclusively.
    pub(crate) fn leases(&self) -> Result<Leases, FileError> {
        let own = self.lease()?;
        let folder = self.root().join("leases");
        let mut leases = Leases::default();
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let path = entry.at("list", &folder)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path == own.path || !layout::is_lease_name(name) {
                continue;
            }
            if !is_live(&path) {
                let _ = fs::remove_file(&path);
                continue;
            }
            let bytes = match fs::read(&path) {
                // Ended just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                result => result.at("read", &path)?,
            };
            leases.keys.extend(keys_of(&bytes));
            let nanos = name.split('-').next().and_then(|start| start.parse().ok()).unwrap_or(0);
            let start = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
            leases.oldest = Some(leases.oldest.map_or(start, |oldest| oldest.min(start)));
        }
        Ok(leases)
    }

    /// Makes a fresh folder for work that is under way; it is this process's while the process lives.
    pub fn scratch(&self, purpose: &str) -> Result<Scratch, FileError> {
        let lease = self.lease()?;
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = self.root().join(format!("work/{purpose}.{}.{number}", lease.name));
        fs::create_dir(&path).at("make", &path)?;
        Ok(Scratch::at(path))
    }

    /// Forgets what is recorded under these keys, unless another live process relies on any of it; says whether it did.
    ///
    /// The folders stay until something else is put in their place.
    pub fn forget_unused(&self, keys: &[Key]) -> Result<bool, FileError> {
        self.lease()?;
        let _gate = self.gate_exclusive()?;
        let others = self.leases()?;
        if keys.iter().any(|key| others.keys.contains(key)) {
            return Ok(false);
        }
        let mut index = self.index();
        index.refresh()?;
        index.forget(keys)?;
        Ok(true)
    }

    /// Removes what dead processes left: their leases, and their folders under `work/`.
    pub(crate) fn sweep(&self) -> Result<(), FileError> {
        self.sweep_of(usize::MAX)
    }

    /// Removes some of what dead processes left: a build does not look through thousands of names for it.
    pub fn sweep_some(&self) -> Result<(), FileError> {
        self.sweep_of(SWEPT)
    }

    fn sweep_of(&self, most: usize) -> Result<(), FileError> {
        let own = self.lease()?;
        let leases = self.root().join("leases");
        // Dead leases do no harm, so nothing waits for the gate here.
        if fs::read_dir(&leases).at("list", &leases)?.take(2).count() > 1
            && let Some(_gate) = self.open_gate(FlockOperation::NonBlockingLockExclusive)?
        {
            self.leases()?;
        }
        let work = self.root().join("work");
        for entry in fs::read_dir(&work).at("list", &work)?.take(most) {
            let entry = entry.at("list", &work)?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let abandoned = name.rsplit('.').nth(1).is_some_and(|owner| {
                // What has another name is not osier's.
                layout::is_work(name) && owner != own.name && !is_live(&leases.join(owner))
            });
            if abandoned {
                // What cannot be removed now is tried again the next time.
                let _ = self.discard(&entry.path());
            }
        }
        Ok(())
    }

    /// Removes a folder that others may be removing as well: whoever moves it away first does it.
    pub fn discard(&self, path: &Path) -> Result<(), FileError> {
        match self.move_to_trash(path) {
            Ok(Some(trash)) => remove_tree(&trash),
            Ok(None) => Ok(()),
            // A full disk may have no room for another name.
            Err(error) if error.is_disk_full() => remove_tree(path),
            Err(error) => Err(error),
        }
    }

    /// Moves a file or folder to a name under `work/` at once; nothing where it is not there any more.
    pub(crate) fn move_to_trash(&self, path: &Path) -> Result<Option<PathBuf>, FileError> {
        let lease = self.lease()?;
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let trash = self.root().join(format!("work/trash.{}.{number}", lease.name));
        let moved = match fs::rename(path, &trash) {
            // A folder that a step made read-only does not let itself be moved.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                crate::folder::open_up(path)?;
                fs::rename(path, &trash)
            }
            moved => moved,
        };
        match moved {
            Ok(()) => Ok(Some(trash)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("move away", path),
        }
    }

    /// Notes what a build used, under a name that the next build of the same thing has again: keys of its
    /// steps and environments, digests of its sources. gc goes by the time of the note.
    ///
    /// Where the note says the same already, it only becomes newer.
    pub fn note_use(&self, name: &str, keys: &[Key], blobs: &[Digest]) -> Result<(), FileError> {
        let folder = self.root().join("uses");
        let path = folder.join(name);
        let names = keys.iter().map(|key| key.0).chain(blobs.iter().map(|digest| digest.0));
        let bytes: Vec<u8> = names.flatten().collect();
        if fs::read(&path).is_ok_and(|known| known == bytes) {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            return rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).at("touch", &path);
        }
        self.put_note(&path, &bytes)
    }
}

/// Splits a list of keys; a rest that is no whole key is left out.
pub(crate) fn keys_of(bytes: &[u8]) -> impl Iterator<Item = Key> + '_ {
    bytes.as_chunks::<32>().0.iter().map(|key| Key(*key))
}

/// When an inode was last changed in any way: made, linked, renamed, touched.
pub(crate) fn changed(metadata: &fs::Metadata) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
    let nanos = Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).unwrap_or(0));
    SystemTime::UNIX_EPOCH + seconds + nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir) -> Store {
        Store::open(&folder.path().join("store"), "boot").unwrap()
    }

    #[test]
    fn the_work_of_dead_processes_is_swept_and_that_of_live_ones_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (store, other) = (open(&folder), open(&folder));
        let own = store.scratch("step").unwrap();
        let live = other.scratch("step").unwrap();
        // A lease that nobody locks, one that is not there at all, and no lease's name.
        let leases = store.root().join("leases");
        fs::write(leases.join("17-4"), [7; 32]).unwrap();
        for name in ["step.17-4.0", "step.18-4.0", "step.18-4.1", "strange"] {
            fs::create_dir(store.root().join("work").join(name)).unwrap();
        }
        store.sweep().unwrap();
        assert!(!leases.join("17-4").exists());
        let left: BTreeSet<_> = fs::read_dir(store.root().join("work"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        let kept = [own.path(), live.path(), &store.root().join("work/strange")];
        assert_eq!(left, kept.map(Path::to_path_buf).into());
        let gate = store.gate_exclusive().unwrap();
        let found = store.leases().unwrap();
        assert!(found.keys.is_empty() && found.oldest.is_some());
        drop((gate, live, other));
        let _gate = store.gate_exclusive().unwrap();
        assert!(store.leases().unwrap().oldest.is_none());
    }

    #[test]
    fn touching_a_blob_leaves_the_time_that_later_steps_see() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let digest = store.put_bytes(b"bytes").unwrap();
        let path = store.blob_path(&digest);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        let before = fs::metadata(&path).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(store.touch(&path).unwrap());
        let after = fs::metadata(&path).unwrap();
        assert!(changed(&after) > changed(&before));
        assert_eq!(after.modified().unwrap(), SystemTime::UNIX_EPOCH);
        assert!(!store.touch(Path::new("/nowhere")).unwrap());
        assert!(!store.keep(&store.blob_path(&Digest([1; 32]))).unwrap());
    }

    #[test]
    fn a_note_that_says_the_same_only_becomes_newer() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let path = store.root().join("uses/a");
        store.note_use("a", &[Key([1; 32])], &[Digest([2; 32])]).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let note = File::options().write(true).open(&path).unwrap();
        note.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        store.note_use("a", &[Key([1; 32])], &[Digest([2; 32])]).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.ino(), inode);
        assert!(metadata.modified().unwrap() > SystemTime::UNIX_EPOCH);
        store.note_use("a", &[Key([3; 32])], &[]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [3; 32]);
    }
}
