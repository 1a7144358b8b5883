//! Removing what no build has used for long, oldest first.
//!
//! Each build notes what it used under `uses/NAME`, one key or digest a line; the file's time is when it
//! was last used. What no note names counts as unused since it was made. Builds hold a shared lock on the
//! store, and gc an exclusive one, so that nothing is removed under a running build.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

use crate::{Digest, FileError, IoContext, Key, Record, Store, Tree, TreeNode, remove_tree};

/// What gc may remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct GcLimits {
    /// Results unused for longer than this go.
    pub age: Option<Duration>,
    /// The oldest results go until the store holds at most so many bytes.
    pub size: Option<u64>,
}

/// What gc did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Bytes of disk before.
    pub before: u64,
    /// Bytes of disk after.
    pub after: u64,
    /// Layers, environments, failures, areas and blobs removed.
    pub removed: usize,
}

/// A held lock on the store; dropped, it is free again.
#[derive(Debug)]
pub struct StoreLock(#[expect(dead_code, reason = "held for its lock")] File);

/// Something that can be removed as one.
struct Item {
    path: PathBuf,
    key: Option<Key>,
    digest: Option<Digest>,
    used: SystemTime,
    size: u64,
}

impl Store {
    fn lock(&self, operation: FlockOperation) -> Result<Option<StoreLock>, FileError> {
        let path = self.root().join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .at("open", &path)?;
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(Some(StoreLock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno).at("lock", &path),
        }
    }

    /// Keeps gc away while a build runs; waits for a running gc.
    pub fn lock_for_build(&self) -> Result<StoreLock, FileError> {
        Ok(self.lock(FlockOperation::LockShared)?.expect("a lock that waits is got"))
    }

    /// Keeps builds away while gc runs; nothing where a build is running.
    pub fn lock_for_gc(&self) -> Result<Option<StoreLock>, FileError> {
        self.lock(FlockOperation::NonBlockingLockExclusive)
    }

    /// Notes what a build used, under a name that the next build of the same thing has again.
    pub fn note_use(&self, name: &str, keys: &[Key], blobs: &[Digest]) -> Result<(), FileError> {
        let folder = self.root().join("uses");
        let path = folder.join(name);
        let mut text = String::with_capacity(65 * (keys.len() + blobs.len()));
        for line in keys.iter().map(Key::to_string).chain(blobs.iter().map(Digest::to_string)) {
            text.push_str(&line);
            text.push('\n');
        }
        if fs::read_to_string(&path).is_ok_and(|known| known == text) {
            return self.touch_use(name);
        }
        fs::create_dir_all(&folder).at("make", &folder)?;
        let scratch = self.scratch("use")?;
        let beside = scratch.path().join("use");
        fs::write(&beside, text).at("write", &beside)?;
        fs::rename(&beside, &path).at("rename", &path)
    }

    /// Notes that a build used again what its note names already.
    pub fn touch_use(&self, name: &str) -> Result<(), FileError> {
        let path = self.root().join("uses").join(name);
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        match rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty()) {
            // Another name for what other builds have noted; its own note comes with its next step.
            Err(rustix::io::Errno::NOENT) => Ok(()),
            result => result.at("touch", &path),
        }
    }

    /// Removes by age and size. The caller holds the lock of [`Store::lock_for_gc`].
    pub fn gc(
        &self,
        limits: GcLimits,
        now: SystemTime,
        _lock: &StoreLock,
    ) -> Result<GcReport, FileError> {
        self.sweep()?;
        let mut index = self.index();
        index.refresh()?;
        let used = self.last_uses(index.results())?;
        let mut items = Vec::new();
        for (folder, keyed) in [
            ("layers", true),
            ("roots", true),
            ("failed", true),
            ("areas", false),
            ("aside", false),
        ] {
            let folder = self.root().join(folder);
            for entry in fs::read_dir(&folder).at("list", &folder)? {
                items.push(item(&entry.at("list", &folder)?.path(), keyed, &used)?);
            }
        }
        let blobs = self.root().join("blobs");
        for number in 0..=255u8 {
            let folder = blobs.join(format!("{number:02x}"));
            for entry in fs::read_dir(&folder).at("list", &folder)? {
                items.push(item(&entry.at("list", &folder)?.path(), false, &used)?);
            }
        }
        items.sort_by(|one, two| (one.used, &one.path).cmp(&(two.used, &two.path)));
        let mut report =
            GcReport { before: items.iter().map(|item| item.size).sum(), ..GcReport::default() };
        report.after = report.before;
        let mut gone = BTreeSet::new();
        for item in &items {
            let old = limits
                .age
                .is_some_and(|age| now.duration_since(item.used).is_ok_and(|unused| unused > age));
            let over = limits.size.is_some_and(|size| report.after > size);
            if !old && !over {
                continue;
            }
            if let Some(key) = item.key {
                // The record goes first: a record without its layer is harmless, but why rely on it.
                index.append(Record::Forget(key))?;
            }
            remove_tree(&item.path)?;
            gone.extend(item.digest);
            report.after -= item.size;
            report.removed += 1;
        }
        // A result whose bytes are gone is no result any more.
        let broken: Vec<Key> = index
            .results()
            .filter(|(_, digests)| {
                digests.iter().any(|digest| gone.contains(digest) || !self.is_whole(digest, &gone))
            })
            .map(|(key, _)| key)
            .collect();
        for key in broken {
            index.append(Record::Forget(key))?;
        }
        Ok(report)
    }

    /// Says whether a blob, and the files of the tree that it may be the manifest of, are all there.
    fn is_whole(&self, digest: &Digest, gone: &BTreeSet<Digest>) -> bool {
        let Ok(bytes) = fs::read(self.blob_path(digest)) else { return false };
        let Ok(tree) = Tree::parse(&String::from_utf8_lossy(&bytes)) else { return true };
        tree.iter().all(
            |(_, node)| !matches!(node, TreeNode::File { content, .. } if gone.contains(content)),
        )
    }

    /// When each name (a key or a digest, in hexadecimal) was last used, as far as notes tell.
    ///
    /// What a used result leads to is used as well.
    fn last_uses(
        &self,
        results: impl Iterator<Item = (Key, Vec<Digest>)>,
    ) -> Result<BTreeMap<[u8; 32], SystemTime>, FileError> {
        let mut used: BTreeMap<[u8; 32], SystemTime> = BTreeMap::new();
        let mark = |used: &mut BTreeMap<[u8; 32], SystemTime>, name: [u8; 32], time: SystemTime| {
            let slot = used.entry(name).or_insert(time);
            *slot = (*slot).max(time);
        };
        let folder = self.root().join("uses");
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.at("list", &folder)?.path();
            let time =
                fs::metadata(&path).and_then(|metadata| metadata.modified()).at("read", &path)?;
            for line in fs::read_to_string(&path).at("read", &path)?.lines() {
                if let Ok(digest) = line.parse::<Digest>() {
                    mark(&mut used, digest.0, time);
                }
            }
        }
        for (key, digests) in results {
            let Some(time) = used.get(&key.0).copied() else { continue };
            for digest in digests {
                mark(&mut used, digest.0, time);
                let manifest = fs::read(self.blob_path(&digest)).unwrap_or_default();
                for (_, node) in
                    Tree::parse(&String::from_utf8_lossy(&manifest)).unwrap_or_default().iter()
                {
                    if let TreeNode::File { content, .. } = node {
                        mark(&mut used, content.0, time);
                    }
                }
            }
        }
        Ok(used)
    }
}

fn item(
    path: &Path,
    keyed: bool,
    used: &BTreeMap<[u8; 32], SystemTime>,
) -> Result<Item, FileError> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.parse::<Digest>().ok());
    let metadata = fs::symlink_metadata(path).at("read", path)?;
    let made = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let noted = name.and_then(|name| used.get(&name.0).copied());
    // A layer's folder has the time that its step left on it, which may be that of a source: never older than its record.
    let changed =
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
    let used = noted.unwrap_or_else(|| made.max(changed));
    let (key, digest) = if keyed { (name.map(|name| Key(name.0)), None) } else { (None, name) };
    Ok(Item { path: path.to_path_buf(), key, digest, used, size: disk_bytes(path)? })
}

/// Counts the bytes of disk below a path; each inode at its share of its names.
fn disk_bytes(path: &Path) -> Result<u64, FileError> {
    let mut sum = 0;
    let mut waiting = vec![path.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).at("read", &path),
        };
        if metadata.is_dir() {
            sum += metadata.blocks() * 512;
            // A folder that nobody may list is counted as empty.
            waiting.extend(
                fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()),
            );
        } else {
            sum += metadata.blocks() * 512 / metadata.nlink().max(1);
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_results_go_and_used_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), "boot").unwrap();
        let (kept, lost) = (Key([1; 32]), Key([2; 32]));
        let mut digests = Vec::new();
        for key in [kept, lost] {
            fs::create_dir(store.layer_path(&key)).unwrap();
            fs::write(store.layer_path(&key).join("file"), vec![key.0[0]; 100_000]).unwrap();
            let digest = store.put_bytes(&[key.0[0]; 50_000]).unwrap();
            let mut tree = Tree::default();
            tree.insert(
                b"a".to_vec(),
                TreeNode::File { mode: 0o644, content: digest, size: 50_000, hard_link: None },
            );
            let tree = store.put_tree(&tree).unwrap();
            store.index().append(Record::Layer(key, Vec::new())).unwrap();
            store.index().append(Record::Outputs(key, vec![("main".into(), tree)])).unwrap();
            digests.push(digest);
        }
        store.note_use("a", &[kept], &[]).unwrap();
        let later = SystemTime::now() + Duration::from_secs(1000);
        // The note is as new as the results here, so only its being later can save what it names.
        let note = File::options().write(true).open(store.root().join("uses/a")).unwrap();
        note.set_modified(later).unwrap();
        let lock = store.lock_for_gc().unwrap().unwrap();
        let limits = GcLimits { age: Some(Duration::from_secs(500)), size: None };
        let report = store.gc(limits, later, &lock).unwrap();
        assert!(report.after < report.before && report.removed >= 3, "{report:?}");
        assert!(store.layer_path(&kept).exists() && store.has_blob(&digests[0]));
        assert!(!store.layer_path(&lost).exists() && !store.has_blob(&digests[1]));
        assert!(store.index().outputs(&kept).is_some() && store.index().outputs(&lost).is_none());
        let report = store.gc(GcLimits { age: None, size: Some(0) }, later, &lock).unwrap();
        assert_eq!(report.after, 0);
        assert!(store.index().outputs(&kept).is_none());
    }

    #[test]
    fn gc_and_builds_keep_away_from_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), "boot").unwrap();
        let building = store.lock_for_build().unwrap();
        let also = store.lock_for_build().unwrap();
        assert!(store.lock_for_gc().unwrap().is_none());
        drop((building, also));
        assert!(store.lock_for_gc().unwrap().is_some());
    }
}
