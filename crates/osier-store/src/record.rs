//! What can be recorded, and the rows of the index that it becomes.

use crate::{Digest, Key};

/// One thing that is known to be done.
#[derive(Debug, Clone, PartialEq)]
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
    /// The step that this key stands for took so many seconds, and so many of CPU time, the last time.
    Took(Key, f64, f64),
    /// A tree is laid out under `areas/DIGEST`, and this is how lstat(2) showed it.
    Area(Digest, Digest),
    /// How lstat(2) showed the layer or environment of this key when it was put in place, and what it belongs to.
    Seen(Key, Digest, String),
    /// The bytes of these digests were written whole, or were read and found whole.
    Blobs(Vec<Digest>),
    /// The layer, environment or area of this key is no longer there; the result stays.
    Gone(Key),
    /// What was recorded under this key, or of the blob with these 32 bytes, is no longer there.
    Forget(Key),
}

pub(crate) const LAYER: &str = "layer";
pub(crate) const REUSABLE: &str = "reusable";
pub(crate) const REUSED: &str = "reused";
pub(crate) const OUTPUTS: &str = "outputs";
pub(crate) const FILE: &str = "file";
pub(crate) const ROOT: &str = "root";
pub(crate) const TOOK: &str = "took";
pub(crate) const AREA: &str = "area";
pub(crate) const SEEN: &str = "seen";
pub(crate) const BLOB: &str = "blob";
/// What `index/remembered.rs` keeps under [`TOGETHER`].
pub(crate) const REMEMBERED: &str = "remembered";
pub(crate) const GENERATION: &str = "generation";

/// The key of what belongs to no step.
pub(crate) const TOGETHER: Key = Key([0; 32]);

/// What [`Record::Gone`] takes away.
const PLACED: &[&str] = &[LAYER, ROOT, SEEN, AREA];

/// What [`Record::Forget`] takes away.
const ALL: &[&str] = &[LAYER, ROOT, SEEN, AREA, REUSED, OUTPUTS, FILE, BLOB];

/// A row of the table.
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) kind: &'static str,
    /// Tells rows of one key and kind from one another.
    pub(crate) sub: Vec<u8>,
    pub(crate) value: String,
}

/// Writes keys one behind the other, with a blank between.
fn words(keys: &[Key]) -> String {
    keys.iter().map(Key::to_string).collect::<Vec<_>>().join(" ")
}

pub(crate) fn keys(text: &str) -> Option<Vec<Key>> {
    text.split(' ').filter(|word| !word.is_empty()).map(|word| word.parse().ok()).collect()
}

pub(crate) fn outputs(text: &str) -> Option<Vec<(String, Digest)>> {
    let one = |word: &str| {
        let (name, digest) = word.split_once('=')?;
        Some((name.to_owned(), digest.parse().ok()?))
    };
    text.split(' ').map(one).collect()
}

pub(crate) fn file(text: &str) -> Option<(Digest, u64)> {
    let (digest, size) = text.split_once(' ')?;
    Some((digest.parse().ok()?, size.parse().ok()?))
}

impl Record {
    /// Gives the rows; none for what takes rows away.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let entry = |key: &Key, kind, value| Entry { key: *key, kind, sub: Vec::new(), value };
        vec![match self {
            Self::Layer(key, on) => entry(key, LAYER, words(on)),
            Self::Reusable(class, key, below) => {
                let sub = key.0.to_vec();
                Entry { key: *class, kind: REUSABLE, sub, value: below.to_string() }
            }
            Self::Reused(key) => entry(key, REUSED, String::new()),
            Self::Root(key) => entry(key, ROOT, String::new()),
            Self::File(key, digest, size) => entry(key, FILE, format!("{digest} {size}")),
            Self::Took(key, wall, cpu) => entry(key, TOOK, format!("{wall:.1} {cpu:.1}")),
            Self::Area(digest, seen) => entry(&Key(digest.0), AREA, seen.to_string()),
            Self::Seen(key, seen, label) => entry(key, SEEN, format!("{seen} {label}")),
            Self::Outputs(key, outputs) => {
                let word = |(name, digest): &(String, Digest)| format!("{name}={digest}");
                entry(key, OUTPUTS, outputs.iter().map(word).collect::<Vec<_>>().join(" "))
            }
            Self::Blobs(digests) => {
                let one = |digest: &Digest| entry(&Key(digest.0), BLOB, String::new());
                return digests.iter().map(one).collect();
            }
            Self::Gone(_) | Self::Forget(_) => return Vec::new(),
        }]
    }

    /// Gives whose rows go, and of which kinds; nothing for what adds rows.
    pub(crate) fn removes(&self) -> Option<(&Key, &'static [&'static str])> {
        match self {
            Self::Gone(key) => Some((key, PLACED)),
            Self::Forget(key) => Some((key, ALL)),
            _ => None,
        }
    }
}
