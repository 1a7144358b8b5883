//! The append-only record of what is done.
//!
//! One text file, read whole at the start of a command: with ten thousand results it is about two
//! megabytes, and reading it once is cheaper than a file or a query per component. A line is
//!
//! ```text
//! CHECK KIND BOOT FIELD…
//! ```
//!
//! with blanks between, where `CHECK` is eight hexadecimal digits over the rest, so that a line torn by
//! a crash is seen and skipped. `BOOT` names the boot of the machine in which the line was written. A
//! line counts when it was written in this boot, or when a `sync` line of its own boot follows it:
//! what was recorded but perhaps never reached the disk before the machine stopped is forgotten.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::{Digest, FileError, IoContext, Key};

/// One thing that is known to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The layer of a step lies under `layers/KEY`, on top of these layers beside those of the steps below, the
    /// topmost first: those of an earlier build that it went on from.
    Layer(Key, Vec<Key>),
    /// The step of this key is one of those that can go on from one another, and lies on the step of the third key.
    Reusable(Key, Key, Key),
    /// The outputs under this key come from an earlier build's objects, and no clean build has confirmed them.
    Reused(Key),
    /// The component whose last step has this key has these outputs, by name.
    Outputs(Key, Vec<(String, Digest)>),
    /// An image, or another single file, made under this key.
    File(Key, Digest, u64),
    /// An unpacked build environment lies under `roots/KEY`.
    Root(Key),
    /// What was recorded under this key is no longer there.
    Forget(Key),
}

/// All records, in memory, and the file they came from.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    file: Option<File>,
    boot: String,
    position: u64,
    layers: HashMap<Key, Vec<Key>>,
    reusable: HashMap<Key, Vec<(Key, Key)>>,
    reused: HashSet<Key>,
    roots: HashMap<Key, ()>,
    outputs: HashMap<Key, Vec<(String, Digest)>>,
    files: HashMap<Key, (Digest, u64)>,
    unsynced: bool,
    /// Whether the file ends in the middle of a line, which a full disk or a crash has cut off.
    torn: bool,
}

fn check(rest: &str) -> u32 {
    // FNV-1a: it only has to tell a torn line from a whole one.
    rest.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn line(kind: &str, boot: &str, fields: &str) -> String {
    let rest = format!("{kind} {boot} {fields}");
    format!("{:08x} {rest}\n", check(&rest))
}

fn parse(kind: &str, fields: &str) -> Option<Record> {
    let mut words = fields.split(' ');
    let key: Key = words.next()?.parse().ok()?;
    Some(match kind {
        "layer" => {
            Record::Layer(key, words.map(|word| word.parse().ok()).collect::<Option<Vec<Key>>>()?)
        }
        "reusable" => {
            Record::Reusable(key, words.next()?.parse().ok()?, words.next()?.parse().ok()?)
        }
        "reused" => Record::Reused(key),
        "root" => Record::Root(key),
        "forget" => Record::Forget(key),
        "file" => Record::File(key, words.next()?.parse().ok()?, words.next()?.parse().ok()?),
        "outputs" => {
            let mut outputs = Vec::new();
            for word in words {
                let (name, digest) = word.split_once('=')?;
                outputs.push((name.to_owned(), digest.parse().ok()?));
            }
            Record::Outputs(key, outputs)
        }
        _ => return None,
    })
}

impl Record {
    fn key(&self) -> Key {
        match self {
            Self::Layer(key, _)
            | Self::Reusable(_, key, _)
            | Self::Reused(key)
            | Self::Outputs(key, _)
            | Self::File(key, _, _)
            | Self::Root(key)
            | Self::Forget(key) => *key,
        }
    }
}

impl Index {
    /// Reads the index at `path`; a missing file is an empty index. `boot` names this boot of the machine.
    pub fn open(path: &Path, boot: &str, writable: bool) -> Result<Self, FileError> {
        let mut index = Self {
            path: path.to_path_buf(),
            file: None,
            boot: boot.replace(char::is_whitespace, ""),
            position: 0,
            layers: HashMap::new(),
            reusable: HashMap::new(),
            reused: HashSet::new(),
            roots: HashMap::new(),
            outputs: HashMap::new(),
            files: HashMap::new(),
            unsynced: false,
            torn: false,
        };
        let opened = OpenOptions::new().read(true).append(writable).create(writable).open(path);
        match opened {
            Ok(file) => index.file = Some(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("open", path),
        }
        index.refresh()?;
        Ok(index)
    }

    /// Reads what other processes have appended since.
    pub fn refresh(&mut self) -> Result<(), FileError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let length = file.metadata().at("read", &self.path)?.len();
        if length == self.position {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.position)).at("read", &self.path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).at("read", &self.path)?;
        // A line that another process is still writing has no end yet: leave it for the next time.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.position += whole as u64;
        self.torn = whole < bytes.len();
        let text = String::from_utf8_lossy(&bytes[..whole]);
        let mut waiting: Vec<(&str, Record)> = Vec::new();
        for line in text.lines() {
            let Some((sum, rest)) = line.split_once(' ') else { continue };
            if u32::from_str_radix(sum, 16) != Ok(check(rest)) {
                continue;
            }
            let mut words = rest.splitn(3, ' ');
            let (Some(kind), Some(boot)) = (words.next(), words.next()) else { continue };
            if kind == "sync" {
                let (done, left) = waiting.into_iter().partition(|(written, _)| *written == boot);
                waiting = left;
                for (_, record) in done {
                    self.apply(record);
                }
                continue;
            }
            let Some(record) = parse(kind, words.next().unwrap_or("")) else { continue };
            // To forget is always safe, and what gc removed before the machine stopped is gone.
            if let Record::Forget(key) = record {
                waiting.retain(|(_, waiting)| waiting.key() != key);
                self.apply(record);
            } else if boot == self.boot {
                self.apply(record);
            } else {
                waiting.push((boot, record));
            }
        }
        Ok(())
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Layer(key, on) => {
                self.layers.insert(key, on);
            }
            Record::Reusable(class, key, below) => {
                let known = self.reusable.entry(class).or_default();
                known.retain(|(other, _)| *other != key);
                known.push((key, below));
            }
            Record::Reused(key) => {
                self.reused.insert(key);
            }
            Record::Root(key) => {
                self.roots.insert(key, ());
            }
            Record::Outputs(key, outputs) => {
                self.outputs.insert(key, outputs);
            }
            Record::File(key, digest, size) => {
                self.files.insert(key, (digest, size));
            }
            Record::Forget(key) => {
                self.layers.remove(&key);
                self.reused.remove(&key);
                self.roots.remove(&key);
                self.outputs.remove(&key);
                self.files.remove(&key);
            }
        }
    }

    /// Appends one record, in a single write, so that several processes can append at once.
    pub fn append(&mut self, record: Record) -> Result<(), FileError> {
        let text = match &record {
            Record::Layer(key, on) => {
                let on: String = on.iter().map(|key| format!(" {key}")).collect();
                line("layer", &self.boot, &format!("{key}{on}"))
            }
            Record::Reusable(class, key, below) => {
                line("reusable", &self.boot, &format!("{class} {key} {below}"))
            }
            Record::Reused(key) => line("reused", &self.boot, &key.to_string()),
            Record::Root(key) => line("root", &self.boot, &key.to_string()),
            Record::Forget(key) => line("forget", &self.boot, &key.to_string()),
            Record::File(key, digest, size) => {
                line("file", &self.boot, &format!("{key} {digest} {size}"))
            }
            Record::Outputs(key, outputs) => {
                let mut fields = key.to_string();
                for (name, digest) in outputs {
                    fields.push_str(&format!(" {name}={digest}"));
                }
                line("outputs", &self.boot, &fields)
            }
        };
        self.write(&text)?;
        self.apply(record);
        self.unsynced = true;
        Ok(())
    }

    /// Records that everything recorded so far in this boot has reached the disk.
    ///
    /// The caller must have synced the file system since the last [`Index::append`].
    pub fn append_sync(&mut self) -> Result<(), FileError> {
        if self.unsynced {
            let text = line("sync", &self.boot, "");
            self.write(&text)?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Says whether something was recorded that [`Index::append_sync`] has not covered yet.
    pub fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    fn write(&mut self, text: &str) -> Result<(), FileError> {
        let readonly = || std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
        let file = self.file.as_mut().ok_or_else(readonly).at("write", &self.path)?;
        // Behind half a line a whole one would be lost as well.
        let text = if self.torn { format!("\n{text}") } else { text.to_owned() };
        let written = file.write_all(text.as_bytes()).at("write", &self.path);
        self.torn = written.is_err();
        written
    }

    /// Waits until what was appended is on the disk.
    pub(crate) fn flush(&self) -> Result<(), FileError> {
        self.file.as_ref().map_or(Ok(()), |file| file.sync_data().at("sync", &self.path))
    }

    /// Says whether the layer of a step is recorded, and all that it lies on beside the steps below.
    pub fn has_layer(&self, key: &Key) -> bool {
        self.layers.get(key).is_some_and(|on| on.iter().all(|key| self.layers.contains_key(key)))
    }

    /// Gives the layers that make up a step's, the topmost first: its own, then those it went on from.
    pub fn layer(&self, key: &Key) -> Option<Vec<Key>> {
        let on = self.layers.get(key).filter(|_| self.has_layer(key))?;
        Some(std::iter::once(*key).chain(on.iter().copied()).collect())
    }

    /// Gives the steps that one can go on from, the latest first, each with the key of the step below it.
    pub fn reusable(&self, class: &Key) -> impl Iterator<Item = (Key, Key)> + '_ {
        self.reusable.get(class).into_iter().flatten().rev().copied()
    }

    /// Says whether the outputs under a key come from an earlier build's objects and are not confirmed.
    pub fn is_reused(&self, key: &Key) -> bool {
        self.reused.contains(key)
    }

    /// Says whether an unpacked build environment is recorded.
    pub fn has_root(&self, key: &Key) -> bool {
        self.roots.contains_key(key)
    }

    /// Gives the outputs of the component whose last step has this key.
    pub fn outputs(&self, key: &Key) -> Option<&[(String, Digest)]> {
        self.outputs.get(key).map(Vec::as_slice)
    }

    /// Gives the file made under this key, and its size.
    pub fn file(&self, key: &Key) -> Option<(Digest, u64)> {
        self.files.get(key).copied()
    }

    /// Gives every output digest and file digest that a record names.
    pub fn referenced(&self) -> impl Iterator<Item = Digest> + '_ {
        let trees = self.outputs.values().flatten().map(|(_, digest)| *digest);
        trees.chain(self.files.values().map(|(digest, _)| *digest))
    }

    /// Gives the keys of all recorded layers.
    pub fn layer_keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.layers.keys().copied()
    }

    /// Gives all recorded results: the key, and the digests it leads to.
    pub fn results(&self) -> impl Iterator<Item = (Key, Vec<Digest>)> + '_ {
        let outputs = self
            .outputs
            .iter()
            .map(|(key, outputs)| (*key, outputs.iter().map(|(_, digest)| *digest).collect()));
        outputs.chain(self.files.iter().map(|(key, (digest, _))| (*key, vec![*digest])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key([byte; 32])
    }

    #[test]
    fn records_survive_and_are_shared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.log");
        let mut one = Index::open(&path, "boot-a", true).unwrap();
        let mut two = Index::open(&path, "boot-a", true).unwrap();
        let outputs = vec![("main".to_owned(), Digest([9; 32]))];
        one.append(Record::Layer(key(1), Vec::new())).unwrap();
        one.append(Record::Outputs(key(2), outputs.clone())).unwrap();
        two.append(Record::File(key(3), Digest([8; 32]), 77)).unwrap();
        assert!(!two.has_layer(&key(1)));
        two.refresh().unwrap();
        assert!(two.has_layer(&key(1)));
        assert_eq!(two.outputs(&key(2)), Some(outputs.as_slice()));
        one.append(Record::Forget(key(1))).unwrap();
        two.refresh().unwrap();
        assert!(!two.has_layer(&key(1)));
        let again = Index::open(&path, "boot-a", false).unwrap();
        assert_eq!(again.file(&key(3)), Some((Digest([8; 32]), 77)));
    }

    #[test]
    fn a_layer_on_others_is_there_while_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.log");
        let mut index = Index::open(&path, "boot-a", true).unwrap();
        index.append(Record::Layer(key(1), Vec::new())).unwrap();
        index.append(Record::Layer(key(2), vec![key(1)])).unwrap();
        index.append(Record::Reusable(key(9), key(1), key(8))).unwrap();
        index.append(Record::Reusable(key(9), key(2), key(7))).unwrap();
        index.append(Record::Reused(key(2))).unwrap();
        let mut again = Index::open(&path, "boot-a", true).unwrap();
        assert_eq!(again.layer(&key(2)), Some(vec![key(2), key(1)]));
        let reusable: Vec<_> = again.reusable(&key(9)).collect();
        assert_eq!(reusable, [(key(2), key(7)), (key(1), key(8))]);
        assert!(again.is_reused(&key(2)) && !again.is_reused(&key(1)));
        again.append(Record::Forget(key(1))).unwrap();
        assert_eq!(again.layer(&key(2)), None);
        assert!(!again.has_layer(&key(2)));
    }

    #[test]
    fn unsynced_records_of_another_boot_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.log");
        let mut index = Index::open(&path, "boot-a", true).unwrap();
        index.append(Record::Layer(key(1), Vec::new())).unwrap();
        index.append_sync().unwrap();
        index.append(Record::Layer(key(2), Vec::new())).unwrap();
        let later = Index::open(&path, "boot-b", true).unwrap();
        assert!(later.has_layer(&key(1)));
        assert!(!later.has_layer(&key(2)));
    }

    #[test]
    fn what_was_forgotten_stays_forgotten_and_can_be_recorded_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.log");
        let mut index = Index::open(&path, "boot-a", true).unwrap();
        index.append(Record::Layer(key(1), Vec::new())).unwrap();
        index.append_sync().unwrap();
        // Not synced before the machine stopped, but what it stands for may be.
        index.append(Record::Forget(key(1))).unwrap();
        let mut later = Index::open(&path, "boot-b", true).unwrap();
        assert!(!later.has_layer(&key(1)));
        later.append(Record::Layer(key(1), Vec::new())).unwrap();
        assert!(Index::open(&path, "boot-b", true).unwrap().has_layer(&key(1)));
    }

    #[test]
    fn a_record_behind_half_a_line_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.log");
        std::fs::write(&path, "0123 layer boot").unwrap();
        let mut index = Index::open(&path, "boot", true).unwrap();
        index.append(Record::Layer(key(1), Vec::new())).unwrap();
        index.append(Record::Layer(key(2), Vec::new())).unwrap();
        let again = Index::open(&path, "boot", false).unwrap();
        assert!(again.has_layer(&key(1)) && again.has_layer(&key(2)));
    }

    #[test]
    fn torn_lines_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.log");
        let mut index = Index::open(&path, "boot-a", true).unwrap();
        index.append(Record::Layer(key(1), Vec::new())).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(!Index::open(&path, "boot-a", false).unwrap().has_layer(&key(1)), "{length}");
            // A whole line after the torn one still counts.
            let mut bytes = whole[..length].to_vec();
            bytes.push(b'\n');
            bytes.extend_from_slice(&whole);
            std::fs::write(&path, &bytes).unwrap();
            assert!(Index::open(&path, "boot-a", false).unwrap().has_layer(&key(1)), "{length}");
        }
        std::fs::write(&path, [0xff, b'\n', b' ', b'\n', b'a']).unwrap();
        Index::open(&path, "boot-a", false).unwrap();
    }
}
