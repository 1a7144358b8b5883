//! Removing what no build has used for long, oldest first, beside running builds.
//!
//! Each build notes what it used under `uses/NAME`, keys and digests of 32 bytes; the file's time is when
//! it was last used. What no note names counts as unused since its inode was last changed. What live
//! processes rely on is spared, see [`crate::lease`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::contents::{self, Left};
use crate::index::RESERVE;
use crate::lease::{SPARED, changed, keys_of};
use crate::measure::free_bytes;
use crate::measure::measure;
use crate::{
    Digest, FileError, IoContext, Key, Record, Store, Tree, TreeNode, layout, remove_tree,
};

/// How many things are moved out of the way at a time, while builds wait.
const BATCH: usize = 256;

/// The last rank of what is only kept to be looked at: it goes before anything that a build can use, however
/// new it is, since a failed layer may be what has filled the disk.
const LEFT: u8 = 1;

/// What can go, in this order of things that were used at the same time: what is quickly made again goes first, a layer
/// only serves to go on from, a result saves the whole.
const ORDER: [&str; 8] =
    ["aside", "failed", "areas", "layers", "parts", "logs", "roots", layout::BLOBS];

/// What gc may remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct GcLimits {
    /// Results unused for longer than this go.
    pub age: Option<Duration>,
    /// The oldest results go until the store holds at most so many bytes.
    pub size: Option<u64>,
    /// The oldest results go until at least so many bytes of disk are free.
    pub reserve: u64,
}

/// What gc did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Bytes of disk before.
    pub before: u64,
    /// Bytes of disk after.
    pub after: u64,
    /// Layers, environments, failures, areas, blobs, logs and parts of downloads removed.
    pub removed: usize,
    /// How many of them stay because a running build relies on them, or may.
    pub spared: usize,
    /// What lies in the store and is not osier's.
    pub left: Left,
}

impl GcReport {
    fn count(&mut self, item: &Item, removed: bool) {
        if removed {
            self.removed += 1;
        } else {
            self.after += item.size;
        }
    }
}

/// What something is called by, and so who relies on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    /// The key of a step or an environment.
    Key(Key),
    /// The digest of its bytes.
    Blob(Digest),
    /// The digest of the tree that was laid out.
    Area(Digest),
    /// The part of a download, which its downloader locks.
    Part,
    /// Nobody relies on it.
    None,
}

/// Something that can be removed as one.
struct Item {
    path: PathBuf,
    name: Name,
    used: SystemTime,
    /// Of things used at the same time, the lower goes first.
    rank: u8,
    size: u64,
}

/// What results lead to: the digests of their outputs, and what the trees of these name.
#[derive(Default)]
struct Leads {
    results: HashMap<Key, Vec<Digest>>,
    trees: HashMap<Digest, Vec<Digest>>,
    /// Which results lead to a digest.
    results_of: HashMap<Digest, Vec<Key>>,
    /// Up to which number of this boot's records they are read.
    last: Option<i64>,
}

impl Leads {
    /// Takes in the results that were recorded since the last time.
    fn refresh(&mut self, store: &Store) -> Result<(), FileError> {
        let mut index = store.index();
        index.refresh()?;
        // Asked before the records are, so that none is missed.
        let last = index.last();
        let mut new: Vec<_> = match self.last.replace(last) {
            Some(before) if before <= last => index.results_after(before),
            _ => index.results().collect(),
        };
        drop(index);
        new.retain(|(key, digests)| self.results.get(key) != Some(digests));
        for (key, digests) in new {
            for digest in &digests {
                let named = self.trees.entry(*digest).or_insert_with(|| {
                    let manifest = fs::read(store.blob_path(digest)).unwrap_or_default();
                    let tree = Tree::parse(&String::from_utf8_lossy(&manifest)).unwrap_or_default();
                    let named = tree.iter().filter_map(|(_, node)| match node {
                        TreeNode::File { content, .. } => Some(*content),
                        _ => None,
                    });
                    named.collect()
                });
                for digest in named.iter().chain([digest]) {
                    self.results_of.entry(*digest).or_default().push(key);
                }
            }
            self.results.insert(key, digests);
        }
        Ok(())
    }

    /// Gives everything that a result leads to.
    fn of(&self, key: &Key) -> impl Iterator<Item = Digest> + '_ {
        let digests = self.results.get(key).into_iter().flatten();
        digests.flat_map(|digest| {
            self.trees.get(digest).into_iter().flatten().chain([digest]).copied()
        })
    }
}

/// What must stay because of running builds.
struct Live {
    /// Keys and digests.
    names: BTreeSet<[u8; 32]>,
    /// What is named by a digest and was changed since this time; nothing where no build is running.
    since: Option<SystemTime>,
}

impl Live {
    /// Reads what running builds rely on. The caller holds the gate exclusively.
    fn read(store: &Store, leads: &mut Leads) -> Result<Self, FileError> {
        let leases = store.leases()?;
        leads.refresh(store)?;
        let mut names = BTreeSet::new();
        for key in &leases.keys {
            names.insert(key.0);
            names.extend(leads.of(key).map(|digest| digest.0));
        }
        // The clock may have been set back since the oldest began.
        let since = leases.oldest.map(|oldest| oldest.min(SystemTime::now()) - SPARED);
        Ok(Self { names, since })
    }

    /// Says whether a build relies on an item, or may rely on it.
    fn relies_on(&self, item: &Item) -> Result<bool, FileError> {
        Ok(match item.name {
            Name::Key(key) => self.names.contains(&key.0),
            Name::Blob(digest) | Name::Area(digest) if self.names.contains(&digest.0) => true,
            Name::Blob(_) | Name::Area(_) => {
                let Some(since) = self.since else { return Ok(false) };
                match fs::symlink_metadata(&item.path) {
                    Ok(metadata) => changed(&metadata) >= since,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                    Err(error) => return Err(error).at("read", &item.path),
                }
            }
            Name::Part | Name::None => false,
        })
    }
}

impl Store {
    /// Removes by age, size and free disk. Builds may run meanwhile.
    pub fn gc(&self, limits: GcLimits, now: SystemTime) -> Result<GcReport, FileError> {
        let free = || free_bytes(self.root());
        if free()? < 16 * RESERVE {
            self.index().use_reserve()?;
        }
        self.sweep()?;
        let mut leads = Leads::default();
        leads.refresh(self)?;
        let old = |used: SystemTime| {
            limits.age.is_some_and(|age| now.duration_since(used).is_ok_and(|unused| unused > age))
        };
        let used = self.last_uses(&leads, &old)?;
        let (mut items, left) = self.items(&used)?;
        items.sort_by(|one, two| {
            let order = |item: &Item| (item.rank > LEFT, item.used, item.rank);
            order(one).cmp(&order(two)).then_with(|| one.path.cmp(&two.path))
        });
        let before = items.iter().map(|item| item.size).sum();
        let mut report = GcReport { before, after: before, left, ..GcReport::default() };
        let lacking = limits.reserve.saturating_sub(free()?);
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let gate = self.gate_exclusive()?;
            let live = Live::read(self, &mut leads)?;
            let mut batch = Vec::new();
            for item in items.by_ref() {
                let over = limits.size.is_some_and(|size| report.after > size)
                    || report.before - report.after < lacking;
                if !over && !old(item.used) {
                    continue;
                }
                if live.relies_on(&item)? {
                    report.spared += 1;
                    continue;
                }
                report.after -= item.size;
                batch.push(item);
                if batch.len() == BATCH {
                    break;
                }
            }
            let mut trash = self.take_away(&batch, &leads, &mut report)?;
            drop(gate);
            empty(&mut trash)?;
        }
        Ok(report)
    }

    /// Removes what is in a file, moves folders out of the way and gives where to, and forgets the results that
    /// lose something. The caller holds the gate exclusively.
    fn take_away(
        &self,
        batch: &[Item],
        leads: &Leads,
        report: &mut GcReport,
    ) -> Result<Vec<PathBuf>, FileError> {
        let mut trash = Vec::new();
        let (blobs, others): (Vec<&Item>, Vec<&Item>) =
            batch.iter().partition(|item| matches!(item.name, Name::Blob(_)));
        for item in others {
            let removed = match item.name {
                Name::Part => remove_part(&item.path)?,
                _ => match self.move_to_trash(&item.path) {
                    // No room for one more name: then room is made first.
                    Err(error) if error.is_disk_full() => {
                        empty(&mut trash)?;
                        self.discard(&item.path)?;
                        true
                    }
                    moved => moved?.is_some_and(|moved| {
                        trash.push(moved);
                        true
                    }),
                },
            };
            report.count(item, removed);
        }
        let lost = blobs.iter().filter_map(|item| match item.name {
            Name::Blob(digest) => leads.results_of.get(&digest),
            _ => None,
        });
        let lost: BTreeSet<Key> = lost.flatten().copied().collect();
        let gone = batch.iter().filter_map(|item| match item.name {
            // Not of its log or its failure.
            Name::Key(key)
                if [self.layer_path(&key), self.root_path(&key)].contains(&item.path) =>
            {
                Some(Record::Gone(key))
            }
            Name::Area(digest) => Some(Record::Gone(Key(digest.0))),
            Name::Blob(digest) => Some(Record::Forget(Key(digest.0))),
            Name::Key(_) | Name::Part | Name::None => None,
        });
        let gone: Vec<Record> = gone.collect();
        match self.forget(&lost, &gone) {
            Err(error) if error.is_disk_full() => {
                empty(&mut trash)?;
                self.forget(&lost, &gone)?;
            }
            result => result?,
        }
        for item in blobs {
            let removed = match fs::remove_file(&item.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                result => result.at("remove", &item.path).map(|()| true)?,
            };
            report.count(item, removed);
        }
        Ok(trash)
    }

    /// Forgets results, and what lay there, for good: should the machine stop now, they must not come back without their
    /// bytes, nor speak for what lies there next.
    fn forget(&self, keys: &BTreeSet<Key>, gone: &[Record]) -> Result<(), FileError> {
        let mut index = self.index();
        let known = |key: &&Key| index.outputs(key).is_some() || index.file(key).is_some();
        let lost: Vec<Key> = keys.iter().filter(known).copied().collect();
        let lost = lost.into_iter().map(Record::Forget);
        let gone = gone.iter().filter(|record| index.knows(record)).cloned();
        let records: Vec<Record> = lost.chain(gone).collect();
        index.append_durably(&records)
    }

    /// Lists everything that can go, and what is not osier's.
    fn items(&self, used: &BTreeMap<[u8; 32], SystemTime>) -> Result<(Vec<Item>, Left), FileError> {
        let mut items = Vec::new();
        let mut mounted = Left::default();
        let mut left = contents::visit(self.root(), &mut |ours| {
            let Some(rank) = ORDER.iter().position(|shelf| *shelf == ours.shelf) else {
                return Ok(());
            };
            let text = ours.name.to_str().unwrap_or_default();
            let stem = text.split_once('.').map_or(text, |(stem, _)| stem);
            let name = match ours.shelf {
                "failed" | "layers" | "roots" | "logs" => {
                    stem.parse().map_or(Name::None, Name::Key)
                }
                "blobs" => text.parse().map_or(Name::None, Name::Blob),
                "areas" => text.parse().map_or(Name::None, Name::Area),
                "parts" => Name::Part,
                _ => Name::None,
            };
            // What is known of a part's place goes with the part.
            if name == Name::Part && !text.ends_with(".part") {
                return Ok(());
            }
            let path = ours.path.clone();
            let metadata = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                result => result.at("read", &path)?,
            };
            let found = measure(ours.folder, ours.name).at("read", &path)?;
            if found.is_mounted {
                mounted.note(path);
                return Ok(());
            }
            let noted = match name {
                Name::Key(Key(name)) | Name::Blob(Digest(name)) | Name::Area(Digest(name)) => {
                    used.get(&name).copied()
                }
                Name::Part | Name::None => None,
            };
            let used = noted.unwrap_or_else(|| changed(&metadata));
            let rank = u8::try_from(rank).unwrap_or(u8::MAX);
            items.push(Item { path, name, used, rank, size: found.bytes });
            Ok(())
        })?;
        left.add(mounted);
        Ok((items, left))
    }

    /// When each name (a key or a digest) was last used, as far as notes tell; what a used result leads to
    /// is used as well. Notes that are old themselves are removed.
    fn last_uses(
        &self,
        leads: &Leads,
        old: &dyn Fn(SystemTime) -> bool,
    ) -> Result<BTreeMap<[u8; 32], SystemTime>, FileError> {
        let mut used: BTreeMap<[u8; 32], SystemTime> = BTreeMap::new();
        let folder = self.root().join("uses");
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.at("list", &folder)?.path();
            let metadata = fs::symlink_metadata(&path).at("read", &path)?;
            // Keys and nothing else: it is a note.
            if !metadata.is_file() || metadata.len() % 32 != 0 {
                continue;
            }
            let time = metadata.modified().at("read", &path)?;
            let bytes = fs::read(&path).at("read", &path)?;
            for key in keys_of(&bytes) {
                for name in leads.of(&key).map(|digest| digest.0).chain([key.0]) {
                    let slot = used.entry(name).or_insert(time);
                    *slot = (*slot).max(time);
                }
            }
            if old(time) {
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        Ok(used)
    }
}

/// Removes what was moved out of the way.
fn empty(trash: &mut Vec<PathBuf>) -> Result<(), FileError> {
    trash.drain(..).try_for_each(|path| remove_tree(&path))
}

/// Removes the part of a download that nobody is at; says whether it did.
fn remove_part(path: &Path) -> Result<bool, FileError> {
    let file = match File::options().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        result => result.at("open", path)?,
    };
    // A downloader holds the lock, and looks after it got it whether the file is still the one of that name.
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    remove_tree(&path.with_extension("part.json"))?;
    remove_tree(path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir) -> Store {
        Store::open(&folder.path().join("store"), "boot").unwrap()
    }

    const ALL: GcLimits = GcLimits { age: None, size: Some(0), reserve: 0 };

    /// A layer and an output of one file; gives the digest of the file.
    fn result(store: &Store, key: Key) -> Digest {
        fs::create_dir(store.layer_path(&key)).unwrap();
        fs::write(store.layer_path(&key).join("file"), vec![key.0[0]; 100_000]).unwrap();
        fs::write(store.log_path(&key), "text").unwrap();
        fs::write(store.log_path(&key).with_extension("patches"), "[]").unwrap();
        let digest = store.put_bytes(&[key.0[0]; 50_000]).unwrap();
        let mut tree = Tree::default();
        tree.insert(
            b"a".to_vec(),
            TreeNode::File { mode: 0o644, content: digest, size: 50_000, hard_link: None },
        );
        let tree = store.put_tree(&tree).unwrap();
        store.area(&tree, 0).unwrap();
        store.index().append(Record::Layer(key, Vec::new())).unwrap();
        store.index().append(Record::Outputs(key, vec![("main".into(), tree)])).unwrap();
        digest
    }

    fn is_whole(store: &Store, key: &Key, digest: &Digest) -> bool {
        let Some(outputs) = store.index().outputs(key) else { return false };
        let there = store.tree(&outputs[0].1).is_ok() && store.read_blob(digest).is_ok();
        assert!(there, "a recorded result has lost its bytes");
        true
    }

    #[test]
    fn old_results_go_and_used_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let (kept, lost) = (Key([1; 32]), Key([2; 32]));
        let digests = [result(&store, kept), result(&store, lost)];
        store.note_use("a", &[kept], &[]).unwrap();
        store.note_use("b", &[lost], &[]).unwrap();
        let later = SystemTime::now() + Duration::from_secs(1000);
        let note = File::options().write(true).open(store.root().join("uses/a")).unwrap();
        note.set_modified(later).unwrap();
        let limits = GcLimits { age: Some(Duration::from_secs(500)), size: None, reserve: 0 };
        let report = store.gc(limits, later).unwrap();
        assert!(report.after < report.before && report.removed == 6, "{report:?}");
        assert!(store.layer_path(&kept).exists() && is_whole(&store, &kept, &digests[0]));
        assert!(!store.layer_path(&lost).exists() && !is_whole(&store, &lost, &digests[1]));
        assert!(store.log_path(&kept).with_extension("patches").exists());
        assert!(!store.log_path(&lost).exists() && !store.root().join("uses/b").exists());
        let report = store.gc(ALL, later).unwrap();
        assert_eq!((report.after, report.spared), (0, 0));
        assert!(store.index().outputs(&kept).is_none());
        assert_eq!(store.root().join("work").read_dir().unwrap().count(), 0);
    }

    #[test]
    fn layers_go_before_the_results_that_were_taken_from_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let key = Key([1; 32]);
        let digest = result(&store, key);
        store.note_use("a", &[key], &[]).unwrap();
        // Room for the output and the log, and not for the layer.
        store.gc(GcLimits { size: Some(80_000), ..ALL }, SystemTime::now()).unwrap();
        assert!(!store.layer_path(&key).exists() && is_whole(&store, &key, &digest));
    }

    #[test]
    fn a_failed_layer_goes_before_what_builds_can_use() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let (key, failed) = (Key([1; 32]), Key([2; 32]));
        let digest = result(&store, key);
        fs::create_dir(store.failed_path(&failed)).unwrap();
        fs::write(store.failed_path(&failed).join("file"), [0; 300_000]).unwrap();
        store.gc(GcLimits { size: Some(400_000), ..ALL }, SystemTime::now()).unwrap();
        assert!(!store.failed_path(&failed).exists());
        assert!(store.layer_path(&key).exists() && is_whole(&store, &key, &digest));
    }

    #[test]
    fn what_a_live_process_relies_on_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (store, build) = (open(&folder), open(&folder));
        let (held, other) = (Key([1; 32]), Key([2; 32]));
        let digests = [result(&store, held), result(&store, other)];
        build.look().unwrap().hold([held]).unwrap();
        let report = store.gc(ALL, SystemTime::now()).unwrap();
        assert!(report.spared > 0, "{report:?}");
        assert!(store.layer_path(&held).exists() && is_whole(&store, &held, &digests[0]));
        assert!(!store.layer_path(&other).exists());
        // Bytes that no result leads to yet stay as well, since they may be the live process's.
        assert!(store.has_blob(&digests[1]));
        assert!(store.remove_all().unwrap().is_none());
        drop(build);
        assert_eq!(store.gc(ALL, SystemTime::now()).unwrap().after, 0);
        assert!(!is_whole(&store, &held, &digests[0]));
        assert_eq!(store.remove_all().unwrap(), Some(Left::default()));
        assert!(!store.root().exists());
    }

    #[test]
    fn a_build_that_looks_holds_gc_off_until_it_has_said_what_it_found() {
        let folder = tempfile::tempdir().unwrap();
        let (store, build) = (open(&folder), open(&folder));
        let key = Key([1; 32]);
        let digest = result(&store, key);
        let look = build.look().unwrap();
        std::thread::scope(|scope| {
            let gc = scope.spawn(|| store.gc(ALL, SystemTime::now()).unwrap());
            // However long it takes: it is there as long as the look lasts.
            std::thread::sleep(Duration::from_millis(100));
            assert!(is_whole(&build, &key, &digest) && build.layer_path(&key).is_dir());
            look.hold([key]).unwrap();
            gc.join().unwrap();
        });
        assert!(is_whole(&build, &key, &digest) && build.layer_path(&key).is_dir());
    }

    #[test]
    fn results_of_a_build_that_ended_meanwhile_lose_their_record_with_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (store, build) = (open(&folder), open(&folder));
        let digest = result(&store, Key([1; 32]));
        let mut leads = Leads::default();
        leads.refresh(&store).unwrap();
        let tree = store.index().outputs(&Key([1; 32])).unwrap()[0].1;
        build.index().append(Record::Outputs(Key([2; 32]), vec![("main".into(), tree)])).unwrap();
        drop(build);
        Live::read(&store, &mut leads).unwrap();
        let item = Item {
            path: store.blob_path(&digest),
            name: Name::Blob(digest),
            used: SystemTime::UNIX_EPOCH,
            rank: 0,
            size: 0,
        };
        store.take_away(&[item], &leads, &mut GcReport::default()).unwrap();
        assert!(store.index().outputs(&Key([2; 32])).is_none());
    }

    #[test]
    fn the_oldest_go_until_the_reserve_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        result(&store, Key([1; 32]));
        let limits = GcLimits { age: None, size: None, reserve: 0 };
        assert_eq!(store.gc(limits, SystemTime::now()).unwrap().removed, 0);
        let report = store.gc(GcLimits { reserve: u64::MAX, ..limits }, SystemTime::now()).unwrap();
        assert_eq!(report.after, 0);
    }

    #[test]
    fn old_parts_go_but_not_from_under_a_download() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let parts = store.root().join("parts");
        let name = |digit: &str, rest: &str| format!("{}{rest}", digit.repeat(64));
        for digit in ["a", "b"] {
            for rest in [".part", ".part.json"] {
                fs::write(parts.join(name(digit, rest)), "x").unwrap();
            }
        }
        let part = parts.join(name("b", ".part"));
        let downloading = File::options().append(true).open(part).unwrap();
        downloading.lock().unwrap();
        store.gc(ALL, SystemTime::now()).unwrap();
        let left: BTreeSet<_> =
            fs::read_dir(&parts).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".part", ".part.json"].map(|rest| name("b", rest).into()).into());
    }
}
