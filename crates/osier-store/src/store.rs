//! The store's folder: putting things into it and taking them out.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::claim::Lease;
use crate::locked::given_mode;
use crate::{
    Digest, FileError, Index, IoContext, Key, LayerEntry, LayerKind, LayerStack, Record, Tree,
    TreeNode, flush_file_system, remove_tree,
};

/// Why bytes could not be put into the store or taken out.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes at the digest's place are not those of the digest; they were set aside.
    #[error("the stored bytes of {expected} are damaged (they hash to {found}); they were set aside at {}", aside.display())]
    Corrupt {
        /// Whose bytes they should be.
        expected: Digest,
        /// Whose they are.
        found: Digest,
        /// Where they were moved.
        aside: PathBuf,
    },
    /// The bytes of a digest are not there.
    #[error("the stored bytes of {0} are gone")]
    Missing(Digest),
    /// An output holds something that a tree cannot.
    #[error(
        "the output has a device, pipe or socket at {path}, which a step cannot deliver; write devices into the system's manifest"
    )]
    Special {
        /// Where.
        path: String,
    },
    /// A stored tree manifest does not parse.
    #[error("the stored tree {digest} is damaged: {source}")]
    Tree {
        /// Which tree.
        digest: Digest,
        /// What is wrong.
        source: crate::TreeError,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl BlobError {
    /// Names the blob whose bytes are damaged or gone.
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Corrupt { expected, .. } => Some(*expected),
            Self::Missing(digest) => Some(*digest),
            _ => None,
        }
    }
}

/// An open store. Share it by reference between threads; several processes may have it open.
#[derive(Debug)]
pub struct Store {
    pub(crate) root: PathBuf,
    pub(crate) index: Mutex<Index>,
    pub(crate) writable: bool,
    /// Whether folders are read anew, whatever their records say.
    pub(crate) rehash: bool,
    pub(crate) next: std::sync::atomic::AtomicU64,
    pub(crate) lease: Mutex<Option<Arc<Lease>>>,
    /// What this process has compared with its record, and whether it was as recorded.
    pub(crate) looked: Mutex<HashMap<Key, bool>>,
    /// What of that was not, in words.
    pub(crate) damages: Mutex<Vec<String>>,
}

/// A folder under `work/` that is removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Gives the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the folder: the caller has renamed it or its contents away.
    pub fn release(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // What is left is removed by gc; it is never taken as done.
            let _ = remove_tree(&self.path);
        }
    }
}

impl Store {
    /// Gives the store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Says whether the store can be written.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Gives the records of what is done.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Says where the bytes of a digest lie, or would.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        self.root.join("blobs").join(&hex[..2]).join(&hex)
    }

    /// Says where the layer of a step lies, or would.
    pub fn layer_path(&self, key: &Key) -> PathBuf {
        self.root.join("layers").join(key.to_string())
    }

    /// Says where a build environment lies, or would.
    pub fn root_path(&self, key: &Key) -> PathBuf {
        self.root.join("roots").join(key.to_string())
    }

    /// Says where the log of a step lies, or would.
    pub fn log_path(&self, key: &Key) -> PathBuf {
        self.root.join("logs").join(format!("{key}.log"))
    }

    /// Says where the layer and the record of a failed step lie, or would.
    pub fn failed_path(&self, key: &Key) -> PathBuf {
        self.root.join("failed").join(key.to_string())
    }

    /// Writes a file of the store that is only a help, whole or not at all as far as other processes see it. It may be empty after
    /// a power cut, and whoever reads it must make do without.
    pub fn put_note(&self, place: &Path, bytes: &[u8]) -> Result<(), FileError> {
        self.clear(place)?;
        let scratch = self.scratch("note")?;
        let beside = scratch.path().join("note");
        fs::write(&beside, bytes).at("write", &beside)?;
        fs::rename(&beside, place).at("rename", place)
    }

    /// Forgets every result that leads to damaged or missing bytes, so that it is made again.
    ///
    /// The layer that a result was taken from goes with it, since its files share their bytes with the blobs. Says how many there were.
    pub fn forget_digest(&self, digest: &Digest) -> Result<usize, FileError> {
        let results: Vec<_> = self.index().results().collect();
        let mut forgotten = 0;
        for (key, digests) in results {
            let holds = |tree: &Tree| {
                tree.iter().any(
                    |(_, node)| matches!(node, TreeNode::File { content, .. } if content == digest),
                )
            };
            if digests
                .iter()
                .any(|found| found == digest || self.tree(found).is_ok_and(|tree| holds(&tree)))
            {
                self.index().append(crate::Record::Forget(key))?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    /// Hashes what a step put below a folder, takes the files over as blobs, and gives the tree.
    ///
    /// Nothing is copied: a blob is another name of the layer's file, and layers never change.
    pub fn take_tree(&self, layers: &LayerStack, folder: &Path) -> Result<Tree, BlobError> {
        let mut adopted = Vec::new();
        let tree = self.read_tree(layers, folder, &mut |host, content| {
            if self.adopt(host, content)? {
                adopted.push(*content);
            }
            Ok(())
        })?;
        self.index().append(Record::Blobs(adopted))?;
        Ok(tree)
    }

    /// Hashes what layers show below a folder. `file` is told of each file, and of its digest.
    pub(crate) fn read_tree(
        &self,
        layers: &LayerStack,
        folder: &Path,
        file: &mut dyn FnMut(&Path, &Digest) -> Result<(), FileError>,
    ) -> Result<Tree, BlobError> {
        let mut tree = Tree::default();
        let mut inodes: std::collections::BTreeMap<u64, (u32, Digest)> = Default::default();
        for entry in layers.walk(folder)? {
            let LayerEntry { path, host, kind, metadata } = entry;
            // Of a link it means nothing.
            let mode = given_mode(&host, &metadata);
            let node = match kind {
                LayerKind::Folder => TreeNode::Folder { mode },
                LayerKind::Symlink => {
                    let target = fs::read_link(&host).at("read", &host)?;
                    TreeNode::Symlink { target: target.into_os_string().into_encoded_bytes() }
                }
                LayerKind::File => {
                    let size = metadata.len();
                    let linked = metadata.nlink() > 1;
                    match inodes.get(&metadata.ino()).filter(|_| linked) {
                        Some((group, content)) => TreeNode::File {
                            mode,
                            content: *content,
                            size,
                            hard_link: Some(*group),
                        },
                        None => {
                            let mut opened = File::open(&host).at("open", &host)?;
                            let (content, size) =
                                Digest::of_reader(&mut opened).at("read", &host)?;
                            file(&host, &content)?;
                            let group = u32::try_from(inodes.len()).unwrap_or(u32::MAX);
                            if linked {
                                inodes.insert(metadata.ino(), (group, content));
                            }
                            TreeNode::File {
                                mode,
                                content,
                                size,
                                hard_link: linked.then_some(group),
                            }
                        }
                    }
                }
                LayerKind::Special => {
                    let path = String::from_utf8_lossy(&path).into_owned();
                    return Err(BlobError::Special { path });
                }
            };
            tree.insert(path, node);
        }
        Ok(single_names_are_no_groups(&tree))
    }

    /// Stores the manifest of a tree whose files are in the store already.
    pub fn put_tree(&self, tree: &Tree) -> Result<Digest, FileError> {
        self.put_bytes(tree.to_manifest().as_bytes())
    }

    /// Reads a tree back, verified.
    pub fn tree(&self, digest: &Digest) -> Result<Tree, BlobError> {
        let bytes = self.read_blob(digest)?;
        Tree::parse(&String::from_utf8_lossy(&bytes))
            .map_err(|source| BlobError::Tree { digest: *digest, source })
    }

    /// Flushes everything to the disk and records that, where something was recorded in this boot and not flushed since.
    pub fn sync(&self) -> Result<(), FileError> {
        if !self.writable {
            return Ok(());
        }
        let Some(mark) = self.index().mark()? else { return Ok(()) };
        self.flush()?;
        let mut index = self.index();
        index.append_sync(mark)?;
        // Without this record all of it would have been written for nothing.
        index.flush()
    }

    /// Flushes everything to the disk, and records nothing.
    pub fn flush(&self) -> Result<(), FileError> {
        flush_file_system(&self.root)
    }
}

/// Drops the group of a file whose other names lie outside the tree (its blob is such a name).
pub(crate) fn single_names_are_no_groups(tree: &Tree) -> Tree {
    let mut counts: std::collections::BTreeMap<u32, u32> = Default::default();
    for (_, node) in tree.iter() {
        if let TreeNode::File { hard_link: Some(group), .. } = node {
            *counts.entry(*group).or_default() += 1;
        }
    }
    let mut result = Tree::default();
    for (path, node) in tree.iter() {
        let mut node = node.clone();
        if let TreeNode::File { hard_link, .. } = &mut node
            && hard_link.is_some_and(|group| counts[&group] == 1)
        {
            *hard_link = None;
        }
        result.insert(path.to_vec(), node);
    }
    result
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), "boot").unwrap();
        (folder, store)
    }

    #[test]
    fn trees_go_in_and_come_out() {
        let (folder, store) = store();
        let upper = folder.path().join("upper");
        fs::create_dir_all(upper.join("output/bin")).unwrap();
        fs::write(upper.join("output/bin/tool"), "hello").unwrap();
        fs::set_permissions(upper.join("output/bin/tool"), fs::Permissions::from_mode(0o4755))
            .unwrap();
        fs::hard_link(upper.join("output/bin/tool"), upper.join("output/bin/twin")).unwrap();
        std::os::unix::fs::symlink("tool", upper.join("output/bin/link")).unwrap();
        let stack = LayerStack::new(vec![upper.clone()]);
        let tree = store.take_tree(&stack, Path::new("output")).unwrap();
        let digest = store.put_tree(&tree).unwrap();
        assert_eq!(store.tree(&digest).unwrap(), tree);
        // Blobs are further names of the same files, and must not look like hard links.
        assert_eq!(store.take_tree(&stack, Path::new("output")).unwrap(), tree);
        let area = store.area(&digest, 1).unwrap();
        assert_eq!(fs::read_to_string(area.join("bin/link")).unwrap(), "hello");
        let metadata = fs::metadata(area.join("bin/twin")).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.nlink(), metadata.mtime()), (0o4755, 2, 1));
        let again = LayerStack::new(vec![area]);
        assert_eq!(store.take_tree(&again, Path::new("")).unwrap().digest(), digest);
    }

    #[test]
    fn damaged_blobs_are_set_aside() {
        let (_folder, store) = store();
        let digest = store.put_bytes(b"good").unwrap();
        fs::write(store.blob_path(&digest), b"evil").unwrap();
        assert!(matches!(store.read_blob(&digest), Err(BlobError::Corrupt { .. })));
        assert!(!store.has_blob(&digest));
        store.put_bytes(b"good").unwrap();
        assert_eq!(store.read_blob(&digest).unwrap(), b"good");
    }

    #[test]
    fn another_format_is_refused() {
        let (folder, store) = store();
        let root = store.root().to_path_buf();
        fs::write(root.join("format"), "osier store 999\n").unwrap();
        assert!(matches!(Store::open(&root, "boot"), Err(crate::OpenError::Format { .. })));
        drop(folder);
    }

    #[test]
    fn streamed_bytes_have_the_digest_of_what_was_written() {
        let (_folder, store) = store();
        let (digest, size) = store
            .put_with::<FileError>(|sink| sink.write_all(b"abc").at("write", Path::new("x")))
            .unwrap();
        assert_eq!((digest, size), (Digest::of(b"abc"), 3));
    }

    #[test]
    fn of_two_processes_that_make_one_layer_the_first_stays() {
        let (_folder, store) = store();
        let other = Store::open(store.root(), "boot").unwrap();
        let key = Key([1; 32]);
        // Left without a record by a process that was killed.
        fs::create_dir(store.layer_path(&key)).unwrap();
        fs::write(store.layer_path(&key).join("half"), "").unwrap();
        for (store, text) in [(&store, "first"), (&other, "second")] {
            let scratch = store.scratch("step").unwrap();
            let made = scratch.path().join("upper");
            fs::create_dir(&made).unwrap();
            fs::write(made.join("file"), text).unwrap();
            assert!(store.put_layer(&key, &made, Vec::new(), "a:build").unwrap().is_empty());
        }
        let place = store.layer_path(&key);
        assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "first");
        assert!(!place.join("half").exists());
        assert!(store.index().has_layer(&key) && other.index().has_layer(&key));
    }
}
