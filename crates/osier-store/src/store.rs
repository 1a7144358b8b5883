//! The store's folder: opening it, and putting things into it and taking them out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::lease::Lease;
use crate::{
    Digest, FileError, Hasher, Index, IoContext, Key, LayerEntry, LayerKind, LayerStack, Record,
    Tree, TreeNode, remove_tree,
};

/// The version of the folder layout; a store of another version is refused, never rewritten.
const FORMAT: &str = "osier store 2\n";

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder belongs to another user.
    #[error("the store {} belongs to uid {owner}, and this process runs as uid {user}", path.display())]
    ForeignOwner {
        /// The store.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who asked.
        user: u32,
    },
    /// The folder is a store of another version, or no store at all.
    #[error("{} is not a store that this osier can read (its format file says `{found}`)", path.display())]
    Format {
        /// The store.
        path: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// The folder cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

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
    /// An output holds something that a tree cannot.
    #[error(
        "the output has a device, pipe or socket at {path}, which cannot be delivered from a step; a system's manifest makes devices"
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

/// An open store. Share it by reference between threads; several processes may have it open.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    index: Mutex<Index>,
    writable: bool,
    /// Whether folders are read anew, whatever their records say.
    pub(crate) rehash: bool,
    pub(crate) next: std::sync::atomic::AtomicU64,
    pub(crate) lease: Mutex<Option<Arc<Lease>>>,
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
    /// Opens the store at a folder, and makes it where it is not there yet.
    ///
    /// `boot` names this boot of the machine (Linux: `/proc/sys/kernel/random/boot_id`). A folder that
    /// cannot be written is opened for reading only.
    pub fn open(root: &Path, boot: &str) -> Result<Self, OpenError> {
        let format = root.join("format");
        let user = rustix::process::geteuid().as_raw();
        match fs::metadata(root) {
            Ok(metadata) if metadata.uid() != user => {
                let path = root.to_path_buf();
                return Err(OpenError::ForeignOwner { path, owner: metadata.uid(), user });
            }
            _ => {}
        }
        match fs::read_to_string(&format) {
            Ok(text) if text == FORMAT => {}
            Ok(text) => {
                let found = text.trim().chars().take(60).collect();
                return Err(OpenError::Format { path: root.to_path_buf(), found });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let blobs = root.join("blobs");
                for number in 0..=255u8 {
                    let folder = blobs.join(format!("{number:02x}"));
                    fs::create_dir_all(&folder).at("make", &folder)?;
                }
                for name in ["layers", "roots", "areas", "logs", "failed", "work", "aside"] {
                    let folder = root.join(name);
                    fs::create_dir_all(&folder).at("make", &folder)?;
                }
                // The format file comes last: without it the folder is made again.
                let beside = root.join(format!("format.{}", std::process::id()));
                fs::write(&beside, FORMAT).at("write", &beside)?;
                fs::rename(&beside, &format).at("rename", &format)?;
            }
            Err(error) => return Err(error).at("read", &format).map_err(OpenError::File),
        }
        let access = rustix::fs::Access::WRITE_OK;
        let writable = rustix::fs::access(root, access).is_ok();
        let index = Index::open(&root.join("index.db"), &root.join("aside"), boot, writable)?;
        Ok(Self {
            root: root.to_path_buf(),
            index: Mutex::new(index),
            writable,
            rehash: false,
            next: std::sync::atomic::AtomicU64::new(0),
            lease: Mutex::default(),
        })
    }

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

    /// Says whether the bytes of a digest are there; they are not verified. If they are, they stay until
    /// this process ends.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.keep(&self.blob_path(digest)).unwrap_or(false)
    }

    /// Puts bytes into the store.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, FileError> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(&digest);
        if !self.keep(&path)? {
            let scratch = self.scratch("blob")?;
            let beside = scratch.path().join("bytes");
            fs::write(&beside, bytes).at("write", &beside)?;
            fs::rename(&beside, &path).at("rename", &path)?;
        }
        Ok(digest)
    }

    /// Reads a small blob whole, verified.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let path = self.blob_path(digest);
        let bytes = fs::read(&path).at("read", &path)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(self.set_aside(digest, found)?);
        }
        Ok(bytes)
    }

    /// Checks that the bytes of a digest are its own; damaged ones are set aside.
    pub fn verify_blob(&self, digest: &Digest) -> Result<u64, BlobError> {
        let path = self.blob_path(digest);
        let mut file = File::open(&path).at("open", &path)?;
        let (found, size) = Digest::of_reader(&mut file).at("read", &path)?;
        if found != *digest {
            return Err(self.set_aside(digest, found)?);
        }
        Ok(size)
    }

    /// Moves a damaged blob out of the way, so that it is made or fetched again.
    pub fn set_aside(&self, digest: &Digest, found: Digest) -> Result<BlobError, FileError> {
        let path = self.blob_path(digest);
        let aside = self.root.join("aside").join(format!("{digest}.{found}"));
        fs::rename(&path, &aside).at("set aside", &path)?;
        Ok(BlobError::Corrupt { expected: *digest, found, aside })
    }

    /// Forgets every result that leads to damaged or missing bytes, so that it is made again.
    ///
    /// The layer that a result was taken from goes with it, since its files share their bytes with the blobs.
    pub fn forget_digest(&self, digest: &Digest) -> Result<(), FileError> {
        let results: Vec<_> = self.index().results().collect();
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
            }
        }
        Ok(())
    }

    /// Takes over a finished file from inside the store as a blob, without copying it.
    pub fn adopt_file(&self, file: &Path, digest: &Digest) -> Result<(), FileError> {
        let path = self.blob_path(digest);
        loop {
            match fs::hard_link(file, &path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if self.keep(&path)? {
                        return Ok(());
                    }
                }
                // Too many links, or another file system: then a copy.
                Err(_) => {
                    let scratch = self.scratch("blob")?;
                    let beside = scratch.path().join("bytes");
                    fs::copy(file, &beside).at("copy", file)?;
                    return fs::rename(&beside, &path).at("rename", &path);
                }
            }
        }
    }

    /// Puts the layer of a step in place and records it, on the layers of an earlier build that it went on from.
    ///
    /// Where another process was faster, its layer stays. Gives the layers that the one in place lies on.
    pub fn put_layer(&self, key: &Key, made: &Path, on: Vec<Key>) -> Result<Vec<Key>, FileError> {
        self.put_folder(made, &self.layer_path(key), Record::Layer(*key, on), &|index| {
            index.has_layer(key)
        })?;
        let layers = self.index().layer(key).unwrap_or_default();
        Ok(layers.into_iter().skip(1).collect())
    }

    /// Puts an unpacked build environment in place and records it, as [`Store::put_layer`] does.
    pub fn put_root(&self, key: &Key, made: &Path) -> Result<(), FileError> {
        self.put_folder(made, &self.root_path(key), Record::Root(*key), &|index| {
            index.has_root(key)
        })
    }

    fn put_folder(
        &self,
        made: &Path,
        place: &Path,
        record: Record,
        is_recorded: &dyn Fn(&Index) -> bool,
    ) -> Result<(), FileError> {
        self.lease()?;
        // Under the gate nobody can come between the folder and its record: a folder without one is left
        // over from a process that was killed, and nobody uses it.
        let gate = self.gate_exclusive()?;
        let mut index = self.index();
        index.refresh()?;
        if is_recorded(&index) && place.is_dir() {
            return Ok(());
        }
        let left = self.move_to_trash(place)?;
        fs::rename(made, place).at("rename", made)?;
        index.append(record)?;
        drop((index, gate));
        left.map_or(Ok(()), |left| remove_tree(&left))
    }

    /// Streams bytes into a new blob.
    pub fn put_with<E: From<FileError>>(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(Digest, u64), E> {
        let scratch = self.scratch("blob")?;
        let beside = scratch.path().join("bytes");
        let file = File::create(&beside).at("make", &beside)?;
        let mut sink = HashingWriter {
            file: io::BufWriter::with_capacity(1 << 18, file),
            hasher: Hasher::default(),
        };
        write(&mut sink)?;
        sink.file.flush().at("write", &beside)?;
        let (digest, size) = sink.hasher.finish();
        let path = self.blob_path(&digest);
        fs::rename(&beside, &path).at("rename", &path)?;
        Ok((digest, size))
    }

    /// Hashes what a step put below a folder, takes the files over as blobs, and gives the tree.
    ///
    /// Nothing is copied: a blob is another name of the layer's file, and layers never change.
    pub fn take_tree(&self, layers: &LayerStack, folder: &Path) -> Result<Tree, BlobError> {
        let mut tree = Tree::default();
        let mut inodes: std::collections::BTreeMap<u64, (u32, Digest)> = Default::default();
        for entry in layers.walk(folder)? {
            let LayerEntry { path, host, kind, metadata } = entry;
            let mode = metadata.mode() & 0o7777;
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
                            let mut file = File::open(&host).at("open", &host)?;
                            let (content, size) = Digest::of_reader(&mut file).at("read", &host)?;
                            self.adopt_file(&host, &content)?;
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

    /// Lays a tree out as files, once, and gives the folder; its files share their bytes with the blobs.
    ///
    /// Every blob is verified on the way. All times are set to `time`, in seconds since 1970.
    pub fn area(&self, digest: &Digest, time: i64) -> Result<PathBuf, BlobError> {
        let place = self.root.join("areas").join(digest.to_string());
        if self.keep(&place)? {
            return Ok(place);
        }
        let scratch = self.scratch("area")?;
        let base = scratch.path().join("area");
        self.lay_out(digest, &base, time)?;
        match fs::rename(&base, &place) {
            // Another process was faster with the same bytes.
            Err(_) if place.is_dir() => {}
            result => result.at("rename", &place)?,
        }
        Ok(place)
    }

    /// Lays a tree out as files in a folder that is not there yet; the files are copies.
    ///
    /// Every blob is verified on the way. All times are set to `time`, in seconds since 1970.
    pub fn lay_out(&self, digest: &Digest, base: &Path, time: i64) -> Result<(), BlobError> {
        let tree = self.tree(digest)?;
        fs::create_dir(base).at("make", base)?;
        let mut groups: std::collections::BTreeMap<u32, PathBuf> = Default::default();
        let mut folders = vec![(base.to_path_buf(), 0o755)];
        for (path, node) in tree.iter() {
            use std::os::unix::ffi::OsStrExt as _;
            let host = base.join(std::ffi::OsStr::from_bytes(path));
            match node {
                TreeNode::Folder { mode } => {
                    fs::create_dir(&host).at("make", &host)?;
                    folders.push((host, *mode));
                    continue;
                }
                TreeNode::Symlink { target } => {
                    let target = std::ffi::OsStr::from_bytes(target);
                    std::os::unix::fs::symlink(target, &host).at("link", &host)?;
                }
                TreeNode::File { mode, content, hard_link, .. } => {
                    if let Some(first) = hard_link.and_then(|group| groups.get(&group)) {
                        fs::hard_link(first, &host).at("link", &host)?;
                    } else {
                        // A copy, so that modes and times of one blob can differ from tree to tree.
                        self.verify_blob(content)?;
                        let blob = self.blob_path(content);
                        fs::copy(&blob, &host).at("copy", &blob)?;
                        fs::set_permissions(&host, fs::Permissions::from_mode(*mode))
                            .at("set the mode of", &host)?;
                        if let Some(group) = hard_link {
                            groups.insert(*group, host.clone());
                        }
                    }
                }
            }
            set_time(&host, time)?;
        }
        // Children first, since a read-only folder takes no more entries.
        for (folder, mode) in folders.iter().rev() {
            fs::set_permissions(folder, fs::Permissions::from_mode(*mode))
                .at("set the mode of", folder)?;
            set_time(folder, time)?;
        }
        Ok(())
    }

    /// Flushes everything to the disk and records that, where something new was recorded.
    pub fn sync(&self) -> Result<(), FileError> {
        // What is recorded while the disk is written does not count as written.
        let Some(mark) = self.index().mark()? else { return Ok(()) };
        let folder = OpenOptions::new().read(true).open(&self.root).at("open", &self.root)?;
        rustix::fs::syncfs(&folder).at("sync", &self.root)?;
        self.index().append_sync(mark)
    }
}

/// Sets the times of one path, of a symbolic link itself.
fn set_time(path: &Path, seconds: i64) -> Result<(), FileError> {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .at("set the time of", path)
}

/// Drops the group of a file whose other names lie outside the tree (its blob is such a name).
fn single_names_are_no_groups(tree: &Tree) -> Tree {
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

struct HashingWriter<W> {
    file: W,
    hasher: Hasher,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
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
        assert!(matches!(Store::open(&root, "boot"), Err(OpenError::Format { .. })));
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
            assert!(store.put_layer(&key, &made, Vec::new()).unwrap().is_empty());
        }
        let place = store.layer_path(&key);
        assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "first");
        assert!(!place.join("half").exists());
        assert!(store.index().has_layer(&key) && other.index().has_layer(&key));
    }
}
