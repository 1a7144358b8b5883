//! Reading everything that a store holds, and forgetting what is damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::seen::{Changes, seen};
use crate::{Digest, FileError, IoContext, Key, Record, Store, Tree, TreeNode};

/// How many blobs are recorded at a time.
const BATCH: usize = 1024;

/// Something damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What kind of thing: `blob`, `area`, `layer` or `environment`.
    pub kind: &'static str,
    /// Its name in the store.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
    /// The steps and components that it belongs to, as far as is known.
    pub of: Vec<String>,
}

/// What was read, and what of it is damaged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Files that were read by their digests.
    pub blobs: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Trees laid out for other steps, which were read.
    pub areas: usize,
    /// Layers of steps that were compared with what lstat(2) said when they were put in place.
    pub layers: usize,
    /// Build environments of which the same is true.
    pub environments: usize,
    /// Files that a power cut or a kill left half-written: no record says that they are whole, and nothing leads to them.
    pub half: usize,
    /// Layers and environments of which no record says how they looked: earlier versions made none.
    pub unknown: usize,
    /// What is damaged.
    pub damages: Vec<Damage>,
    /// Whether what is damaged was set aside and forgotten; it was not where another osier is at work.
    pub set_aside: bool,
}

/// What became of reading a blob.
enum Read {
    Whole(u64),
    Damaged(Option<Digest>, String),
    Gone,
}

fn read(path: &Path, digest: &Digest) -> Read {
    let result = File::open(path).and_then(|mut file| Digest::of_reader(&mut file));
    match result {
        Ok((found, size)) if found == *digest => Read::Whole(size),
        Ok((found, size)) => {
            Read::Damaged(Some(found), format!("its {size} bytes do not match its digest"))
        }
        // gc was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Read::Gone,
        Err(error) => Read::Damaged(None, format!("it cannot be read: {error}")),
    }
}

/// What was found out of all blobs.
#[derive(Default)]
struct Blobs {
    whole: BTreeSet<Digest>,
    bytes: u64,
    /// What they hash to, if they could be read, and what is wrong.
    damaged: BTreeMap<Digest, (Option<Digest>, String)>,
}

impl Store {
    /// Checks everything: blobs and areas by content, layers and environments by what lstat(2) says, results by what they lead to. What
    /// is damaged is set aside and forgotten, so that the next build makes it again.
    pub fn verify(&self) -> Result<VerifyReport, FileError> {
        self.lease()?;
        let mut report = VerifyReport { set_aside: self.is_alone()?, ..VerifyReport::default() };
        let mut blobs = self.read_blobs()?;
        let results: Vec<_> = self.index().results().collect();
        let lost = self.lost_results(&results, &mut blobs);
        let wanted: BTreeSet<&Digest> = lost.values().flatten().collect();
        report.blobs = blobs.whole.len() + blobs.damaged.len();
        report.bytes = blobs.bytes;
        for (digest, (_, problem)) in &blobs.damaged {
            if !wanted.contains(digest) && !self.index().has_blob(digest) {
                report.half += 1;
                continue;
            }
            let of = lost.iter().filter(|(_, leads)| leads.contains(digest));
            let of = of.map(|(key, _)| self.label(key)).collect();
            let (name, problem) = (digest.to_string(), problem.clone());
            report.damages.push(Damage { kind: "blob", name, problem, of });
        }
        let mut folders = self.verify_areas(&results, &mut report)?;
        folders.extend(self.verify_seen(&mut report)?);
        if report.set_aside && self.is_writable() {
            for (key, place) in folders {
                self.set_folder_aside(&key, &place)?;
            }
            self.set_blobs_aside(&blobs, &mut report)?;
            let lost: Vec<Record> = lost.into_keys().map(Record::Forget).collect();
            self.index().append_durably(&lost)?;
        }
        Ok(report)
    }

    fn is_alone(&self) -> Result<bool, FileError> {
        let _gate = self.gate_exclusive()?;
        Ok(self.is_writable() && self.leases()?.oldest.is_none())
    }

    /// Names the step or component of a key.
    fn label(&self, key: &Key) -> String {
        let index = self.index();
        let known = index.seen(key).map(|(_, label)| label.replace('\u{a0}', " "));
        known.unwrap_or_else(|| format!("the result {}", &key.to_string()[..16]))
    }

    /// Reads all blobs, on all processors.
    fn read_blobs(&self) -> Result<Blobs, FileError> {
        let mut names = Vec::new();
        for number in 0..=255u8 {
            let folder = self.root().join("blobs").join(format!("{number:02x}"));
            names.extend(digests_in(&folder)?);
        }
        let (next, found) = (AtomicUsize::new(0), Mutex::new(Blobs::default()));
        let work = || {
            while let Some(digest) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                let read = read(&self.blob_path(digest), digest);
                found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(digest, read);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.is_writable() {
            let whole: Vec<Digest> = found.whole.iter().copied().collect();
            let mut index = self.index();
            for batch in whole.chunks(BATCH) {
                let new = batch.iter().filter(|digest| !index.has_blob(digest)).copied().collect();
                index.append(Record::Blobs(new))?;
            }
        }
        Ok(found)
    }

    /// Finds the results that lead to bytes which are damaged or gone, with these.
    fn lost_results(
        &self,
        results: &[(Key, Vec<Digest>)],
        blobs: &mut Blobs,
    ) -> BTreeMap<Key, BTreeSet<Digest>> {
        let mut lost = BTreeMap::new();
        for (key, digests) in results {
            let is_tree = self.index().outputs(key).is_some();
            let mut leads = BTreeSet::new();
            for digest in digests {
                if !blobs.is_whole(self, digest) {
                    leads.insert(*digest);
                } else if is_tree {
                    let text = fs::read(self.blob_path(digest)).unwrap_or_default();
                    let tree = Tree::parse(&String::from_utf8_lossy(&text)).unwrap_or_default();
                    for (_, node) in tree.iter() {
                        if let TreeNode::File { content, .. } = node
                            && !blobs.is_whole(self, content)
                        {
                            leads.insert(*content);
                        }
                    }
                }
            }
            if !leads.is_empty() {
                lost.insert(*key, leads);
            }
        }
        lost
    }

    /// Reads what is laid out; gives what is damaged of it.
    fn verify_areas(
        &self,
        results: &[(Key, Vec<Digest>)],
        report: &mut VerifyReport,
    ) -> Result<Vec<(Key, PathBuf)>, FileError> {
        let folder = self.root().join("areas");
        let mut damaged = Vec::new();
        for digest in digests_in(&folder)? {
            // Without a record it is laid out again before it is used.
            let Some((looks, _)) = self.index().area(&digest) else { continue };
            let place = folder.join(digest.to_string());
            report.areas += 1;
            let looks = seen(&place, Changes::OfAll).is_ok_and(|now| now == looks);
            let problem = match self.is_laid_out(&digest, &place) {
                Ok(true) if looks => continue,
                Ok(true) => "it was changed since it was laid out",
                Ok(false) => "it does not contain the files of its tree",
                Err(_) => "the tree that it was made from is damaged or missing",
            };
            let of = results.iter().filter(|(_, digests)| digests.contains(&digest));
            let of = of.map(|(key, _)| self.label(key)).collect();
            let (name, problem) = (digest.to_string(), problem.to_owned());
            report.damages.push(Damage { kind: "area", name, problem, of });
            damaged.push((Key(digest.0), place));
        }
        Ok(damaged)
    }

    /// Compares layers and environments with their records; gives those that differ.
    fn verify_seen(&self, report: &mut VerifyReport) -> Result<Vec<(Key, PathBuf)>, FileError> {
        let mut damaged = Vec::new();
        for (kind, name) in [("layer", "layers"), ("environment", "roots")] {
            let folder = self.root().join(name);
            for digest in digests_in(&folder)? {
                let (key, place) = (Key(digest.0), folder.join(digest.to_string()));
                let (recorded, known) = {
                    let index = self.index();
                    let recorded = index.layer(&key).is_some() || index.has_root(&key);
                    (recorded, index.seen(&key).map(|(looks, _)| looks))
                };
                match known {
                    _ if !recorded => continue,
                    None => report.unknown += 1,
                    Some(_) if kind == "layer" => report.layers += 1,
                    Some(_) => report.environments += 1,
                }
                let same = |looks| seen(&place, Changes::NotOfFiles).is_ok_and(|now| now == looks);
                if known.is_none_or(same) {
                    continue;
                }
                let problem = "it was changed since it was put in place".to_owned();
                let of = vec![self.label(&key)];
                report.damages.push(Damage { kind, name: key.to_string(), problem, of });
                damaged.push((key, place));
            }
        }
        Ok(damaged)
    }

    fn set_folder_aside(&self, key: &Key, place: &Path) -> Result<(), FileError> {
        let _gate = self.gate_exclusive()?;
        self.index().append_durably(&[Record::Gone(*key)])?;
        self.move_aside(place)
    }

    /// Sets damaged blobs aside, and forgets the layers that hold the same files.
    fn set_blobs_aside(&self, blobs: &Blobs, report: &mut VerifyReport) -> Result<(), FileError> {
        let metadata =
            blobs.damaged.keys().filter_map(|digest| fs::metadata(self.blob_path(digest)).ok());
        let inodes: BTreeSet<u64> = metadata
            .filter(|metadata| metadata.nlink() > 1)
            .map(|metadata| metadata.ino())
            .collect();
        if !inodes.is_empty() {
            let labels = self.labelled_layers();
            for key in self.forget_layers_with(&inodes)? {
                let known = report.damages.iter().any(|damage| damage.name == key.to_string());
                if !known {
                    report.damages.push(Damage {
                        kind: "layer",
                        name: key.to_string(),
                        problem: "it contains the file of a damaged blob".to_owned(),
                        of: labels.get(&key).cloned().into_iter().collect(),
                    });
                }
            }
        }
        let forget = blobs.damaged.keys().map(|digest| Record::Forget(Key(digest.0)));
        self.index().append_durably(&forget.collect::<Vec<_>>())?;
        for (digest, (found, _)) in &blobs.damaged {
            let found = found.map_or("unreadable".to_owned(), |found| found.to_string());
            let place = self.blob_path(digest);
            match fs::rename(&place, self.root().join("aside").join(format!("{digest}.{found}"))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.at("set aside", &place)?,
            }
        }
        Ok(())
    }

    /// The labels of all layers, which go with their records.
    fn labelled_layers(&self) -> BTreeMap<Key, String> {
        let keys: Vec<Key> = self.index().layer_keys().collect();
        keys.into_iter().map(|key| (key, self.label(&key))).collect()
    }
}

impl Blobs {
    fn add(&mut self, digest: &Digest, read: Read) {
        match read {
            Read::Whole(size) => {
                self.whole.insert(*digest);
                self.bytes += size;
            }
            Read::Damaged(found, problem) => {
                self.damaged.insert(*digest, (found, problem));
            }
            Read::Gone => {}
        }
    }

    /// Says whether a blob is whole; one that came after the others were listed is read now.
    fn is_whole(&mut self, store: &Store, digest: &Digest) -> bool {
        if !self.whole.contains(digest) && !self.damaged.contains_key(digest) {
            match read(&store.blob_path(digest), digest) {
                Read::Gone => {
                    self.damaged.insert(*digest, (None, "it is missing".to_owned()));
                }
                read => self.add(digest, read),
            }
        }
        self.whole.contains(digest)
    }
}

/// Lists what has a digest or key for its name in a folder.
fn digests_in(folder: &Path) -> Result<Vec<Digest>, FileError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("list", folder)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.at("list", folder)?.file_name();
        found.extend(name.to_str().and_then(|name| name.parse::<Digest>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LayerStack;

    /// A store with one component: its layer, output, area and environment.
    fn store(folder: &tempfile::TempDir) -> (Store, Digest) {
        let store = Store::open(&folder.path().join("store"), "boot").unwrap();
        let scratch = store.scratch("step").unwrap();
        let made = scratch.path().join("upper");
        fs::create_dir_all(made.join("output/bin")).unwrap();
        fs::create_dir_all(made.join("build")).unwrap();
        fs::write(made.join("output/bin/tool"), "tool").unwrap();
        fs::write(made.join("build/object"), "object").unwrap();
        let key = Key([1; 32]);
        store.put_layer(&key, &made, Vec::new(), "a:install").unwrap();
        let layers = LayerStack::new(vec![store.layer_path(&key)]);
        let tree = store.take_tree(&layers, Path::new("output")).unwrap();
        let digest = store.put_tree(&tree).unwrap();
        store.index().append(Record::Outputs(key, vec![("main".into(), digest)])).unwrap();
        store.area(&digest, 1).unwrap();
        let root = scratch.path().join("root");
        fs::create_dir_all(root.join("usr")).unwrap();
        store.put_root(&Key([2; 32]), &root).unwrap();
        (store, digest)
    }

    fn kinds(report: &VerifyReport) -> Vec<&str> {
        report.damages.iter().map(|damage| damage.kind).collect()
    }

    #[test]
    fn a_sound_store_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = store(&folder);
        let report = store.verify().unwrap();
        assert_eq!(report.damages, []);
        assert_eq!((report.blobs, report.areas, report.layers, report.environments), (2, 1, 1, 1));
        assert!(report.set_aside && report.bytes > 4);
    }

    #[test]
    fn whatever_is_damaged_is_told_and_forgotten() {
        let tool = Digest::of(b"tool");
        type Case<'c> = (&'c str, &'c dyn Fn(&Store, &Digest), &'c [&'c str]);
        let cases: [Case<'_>; 6] = [
            (
                "flipped bits of a blob, and so of its layer",
                &|store, _| fs::write(store.blob_path(&tool), "fool").unwrap(),
                &["blob", "layer"],
            ),
            (
                "a lost blob",
                &|store, _| fs::remove_file(store.blob_path(&tool)).unwrap(),
                &["blob"],
            ),
            (
                "a damaged tree",
                &|store, tree| fs::write(store.blob_path(tree), "osier-tree 1\n").unwrap(),
                &["blob", "area"],
            ),
            (
                "an area",
                &|store, tree| {
                    let area = store.root().join("areas").join(tree.to_string());
                    fs::write(area.join("bin/more"), "").unwrap();
                },
                &["area"],
            ),
            (
                "a layer",
                &|store, _| {
                    fs::write(store.layer_path(&Key([1; 32])).join("build/object"), "").unwrap();
                },
                &["layer"],
            ),
            (
                "an environment",
                &|store, _| fs::remove_dir(store.root_path(&Key([2; 32])).join("usr")).unwrap(),
                &["environment"],
            ),
        ];
        for (what, damage, found) in cases {
            let folder = tempfile::tempdir().unwrap();
            let (store, tree) = store(&folder);
            std::thread::sleep(std::time::Duration::from_millis(10));
            damage(&store, &tree);
            let report = store.verify().unwrap();
            assert_eq!(kinds(&report), found, "{what}: {report:?}");
            let of = report.damages[0].of.join(", ");
            let whose =
                if found == ["environment"] { "the build environment" } else { "a:install" };
            assert_eq!(of, whose, "{what}");
            let again = store.verify().unwrap();
            assert_eq!(again.damages, [], "{what}");
            let result = store.index().outputs(&Key([1; 32])).is_some();
            assert_eq!(result, !found.contains(&"blob"), "{what}");
        }
    }

    #[test]
    fn beside_another_process_damage_is_told_and_left() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = store(&folder);
        let other = Store::open(store.root(), "boot").unwrap();
        let _lease = other.scratch("step").unwrap();
        let blob = store.blob_path(&Digest::of(b"tool"));
        fs::write(&blob, "fool").unwrap();
        let report = store.verify().unwrap();
        assert!(!report.set_aside && !report.damages.is_empty());
        assert!(blob.exists() && store.index().outputs(&Key([1; 32])).is_some());
    }
}
