//! Bytes by digest: putting them in, and what has to be known before a name is taken for its bytes.
//!
//! After a power cut a file can have its name and be empty. So a name under `blobs/` counts once the index says
//! that its bytes were written whole, by the rules of its records: in this boot of the machine, or synced. A name that
//! nothing is recorded of is read first, and recorded or set aside. What was recorded is forgotten for good before its bytes go.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::seen::holds;
use crate::{BlobError, Digest, FileError, Hasher, IoContext, Key, Record, Store};

/// Renames a file to a blob's path. Where the folder was lost, it is made: the store makes all of them once, at its beginning.
fn give_name(beside: &Path, path: &Path) -> Result<(), FileError> {
    let mut renamed = fs::rename(beside, path);
    if let (Err(error), Some(folder)) = (&renamed, path.parent())
        && error.kind() == io::ErrorKind::NotFound
    {
        fs::create_dir(folder).at("make", folder)?;
        renamed = fs::rename(beside, path);
    }
    renamed.at("rename", path)
}

impl Store {
    /// Says whether the bytes of a digest are there and whole. If they are, they stay until this process ends.
    ///
    /// They are read where no record says that they are whole.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.is_whole(digest).unwrap_or(false)
    }

    pub(crate) fn is_whole(&self, digest: &Digest) -> Result<bool, FileError> {
        let path = self.blob_path(digest);
        let there = self.keep(&path)? && !self.is_no_file(&path)?;
        let mut index = self.index();
        if there && !index.has_blob(digest) {
            // Another process may have recorded it just now.
            index.refresh()?;
        }
        let recorded = index.has_blob(digest);
        drop(index);
        match (there, recorded) {
            (false, true) if self.is_writable() => self.forget_blob(digest).map(|()| false),
            (true, false) => match self.verify_blob(digest) {
                Ok(_) => Ok(true),
                Err(BlobError::File(error)) => Err(error),
                Err(_) => Ok(false),
            },
            _ => Ok(there),
        }
    }

    /// Puts bytes into the store.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, FileError> {
        let digest = Digest::of(bytes);
        if !self.is_whole(&digest)? {
            let scratch = self.scratch("blob")?;
            let beside = scratch.path().join("bytes");
            fs::write(&beside, bytes).at("write", &beside)?;
            let path = self.blob_path(&digest);
            give_name(&beside, &path)?;
            self.index().append(Record::Blobs(vec![digest]))?;
        }
        Ok(digest)
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
        if self.place_blob(&beside, &digest)? {
            self.index().append(Record::Blobs(vec![digest]))?;
        }
        Ok((digest, size))
    }

    /// Gives a finished file of the store its name as a blob, unless the bytes are there; says whether it did. It is for
    /// the caller to record that.
    pub(crate) fn place_blob(&self, beside: &Path, digest: &Digest) -> Result<bool, FileError> {
        // What is there may be synced already, and must not be replaced by what is not.
        if self.is_whole(digest)? {
            return Ok(false);
        }
        let path = self.blob_path(digest);
        give_name(beside, &path).map(|()| true)
    }

    /// Takes over a finished file from inside the store as a blob, without copying it.
    pub fn adopt_file(&self, file: &Path, digest: &Digest) -> Result<(), FileError> {
        if self.adopt(file, digest)? {
            self.index().append(Record::Blobs(vec![*digest]))?;
        }
        Ok(())
    }

    /// As [`Store::adopt_file`], but says whether it is for the caller to record the blob.
    pub(crate) fn adopt(&self, file: &Path, digest: &Digest) -> Result<bool, FileError> {
        let path = self.blob_path(digest);
        loop {
            if self.is_whole(digest)? {
                return Ok(false);
            }
            match fs::hard_link(file, &path) {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // Too many links, or another file system: then a copy.
                Err(_) => {
                    let scratch = self.scratch("blob")?;
                    let beside = scratch.path().join("bytes");
                    fs::copy(file, &beside).at("copy", file)?;
                    return self.place_blob(&beside, digest);
                }
            }
        }
    }

    /// Reads a small blob whole, verified.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let path = self.blob_path(digest);
        let bytes = match fs::read(&path).at("read", &path) {
            Err(error) => return Err(self.unread(error, digest)?),
            Ok(bytes) => bytes,
        };
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(self.set_aside(digest, found)?);
        }
        Ok(bytes)
    }

    /// Checks that the bytes of a digest are its own; damaged ones are set aside.
    pub fn verify_blob(&self, digest: &Digest) -> Result<u64, BlobError> {
        let path = self.blob_path(digest);
        let mut file = match File::open(&path).at("open", &path) {
            Err(error) => return Err(self.unread(error, digest)?),
            Ok(_) if self.is_no_file(&path)? => return Err(BlobError::Missing(*digest)),
            Ok(file) => file,
        };
        let (found, size) = Digest::of_reader(&mut file).at("read", &path)?;
        if found != *digest {
            return Err(self.set_aside(digest, found)?);
        }
        let mut index = self.index();
        if self.is_writable() && !index.has_blob(digest) {
            // Without the record it is read again the next time, and nothing else.
            let _ = index.append(Record::Blobs(vec![*digest]));
        }
        Ok(size)
    }

    /// Says whether something else than a file is where a blob should be; it is moved out of the way.
    fn is_no_file(&self, path: &Path) -> Result<bool, FileError> {
        let other = fs::symlink_metadata(path).is_ok_and(|seen| !seen.is_file());
        if other && self.is_writable() {
            self.clear(path)?;
        }
        Ok(other)
    }

    /// Makes sense of a blob that could not be read.
    fn unread(&self, error: FileError, digest: &Digest) -> Result<BlobError, FileError> {
        let is_gone = self.is_no_file(&error.path)? || error.is_missing();
        if is_gone { Ok(BlobError::Missing(*digest)) } else { Err(error) }
    }

    /// Moves a damaged blob out of the way, so that it is made or fetched again. Layers that hold the same file are forgotten.
    pub fn set_aside(&self, digest: &Digest, found: Digest) -> Result<BlobError, FileError> {
        let path = self.blob_path(digest);
        let aside = self.root().join("aside").join(format!("{digest}.{found}"));
        self.forget_blob(digest)?;
        if let Ok(metadata) = fs::symlink_metadata(&path)
            && metadata.nlink() > 1
        {
            self.forget_layers_with(&BTreeSet::from([metadata.ino()]))?;
        }
        match fs::rename(&path, &aside) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.at("set aside", &path)?,
        }
        Ok(BlobError::Corrupt { expected: *digest, found, aside })
    }

    /// Forgets for good that the bytes of a digest are whole.
    fn forget_blob(&self, digest: &Digest) -> Result<(), FileError> {
        let mut index = self.index();
        if !index.has_blob(digest) {
            return Ok(());
        }
        index.append_durably(&[Record::Forget(Key(digest.0))])
    }

    /// Forgets the layers that hold one of these inodes; gives their keys.
    pub(crate) fn forget_layers_with(&self, inodes: &BTreeSet<u64>) -> Result<Vec<Key>, FileError> {
        let keys: Vec<Key> = self.index().layer_keys().collect();
        let mut found = Vec::new();
        for key in keys {
            let place = self.layer_path(&key);
            // What cannot be read is not worth keeping.
            if place.is_dir() && holds(&place, inodes).unwrap_or(true) {
                found.push(key);
            }
        }
        let gone: Vec<Record> = found.iter().copied().map(Record::Gone).collect();
        self.index().append_durably(&gone)?;
        Ok(found)
    }
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
    use crate::LayerStack;

    fn open(folder: &tempfile::TempDir, boot: &str) -> Store {
        Store::open(&folder.path().join("store"), boot).unwrap()
    }

    #[test]
    fn after_a_power_cut_a_name_is_not_taken_for_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, "boot-a");
        let synced = store.put_bytes(b"synced").unwrap();
        store.sync().unwrap();
        let lost = store.put_bytes(b"lost").unwrap();
        let kept = store.put_bytes(b"kept").unwrap();
        fs::write(store.blob_path(&lost), "").unwrap();
        drop(store);
        let store = open(&folder, "boot-b");
        assert!(store.index().has_blob(&synced) && !store.index().has_blob(&kept));
        // Read, and then recorded.
        assert!(store.has_blob(&kept) && store.index().has_blob(&kept));
        assert!(!store.has_blob(&lost));
        store.put_bytes(b"lost").unwrap();
        assert_eq!(store.read_blob(&lost).unwrap(), b"lost");
        // The same by each other way in.
        let ways: [fn(&Store, &Path); 3] = [
            |store, file| store.adopt_file(file, &Digest::of(b"bytes")).unwrap(),
            |store, _| {
                store
                    .put_with(|sink| sink.write_all(b"bytes").at("write", Path::new("")))
                    .map(drop)
                    .unwrap();
            },
            |store, file| {
                let layers = LayerStack::new(vec![file.parent().unwrap().to_path_buf()]);
                store.take_tree(&layers, Path::new("")).map(drop).unwrap();
            },
        ];
        for way in ways {
            let scratch = store.scratch("made").unwrap();
            let file = scratch.path().join("file");
            fs::write(&file, "bytes").unwrap();
            let digest = Digest::of(b"bytes");
            fs::write(store.blob_path(&digest), "").unwrap();
            way(&store, &file);
            assert_eq!(store.read_blob(&digest).unwrap(), b"bytes");
            assert!(store.index().has_blob(&digest));
            // As it is found in another boot.
            store.index().append(Record::Forget(Key(digest.0))).unwrap();
        }
    }

    #[test]
    fn a_synced_record_does_not_speak_for_bytes_put_later() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, "boot-a");
        let digest = store.put_bytes(b"bytes").unwrap();
        store.sync().unwrap();
        fs::remove_file(store.blob_path(&digest)).unwrap();
        assert!(!store.has_blob(&digest));
        store.put_bytes(b"bytes").unwrap();
        fs::write(store.blob_path(&digest), "").unwrap();
        let later = open(&folder, "boot-b");
        assert!(!later.has_blob(&digest));
        // And what is synced is not replaced by what is not.
        let digest = later.put_bytes(b"other").unwrap();
        later.sync().unwrap();
        let inode = fs::metadata(later.blob_path(&digest)).unwrap().ino();
        later.put_with(|sink| sink.write_all(b"other").at("write", Path::new(""))).unwrap();
        later.put_bytes(b"other").unwrap();
        assert_eq!(fs::metadata(later.blob_path(&digest)).unwrap().ino(), inode);
    }

    #[test]
    fn layers_that_hold_a_damaged_file_are_forgotten_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, "boot-a");
        for (number, text) in [(1, "one"), (2, "two")] {
            let scratch = store.scratch("step").unwrap();
            let made = scratch.path().join("upper");
            fs::create_dir_all(made.join("output")).unwrap();
            fs::write(made.join("output/file"), text).unwrap();
            store.put_layer(&Key([number; 32]), &made, Vec::new(), "a:b").unwrap();
            let layers = LayerStack::new(vec![store.layer_path(&Key([number; 32]))]);
            store.take_tree(&layers, Path::new("output")).unwrap();
        }
        fs::write(store.blob_path(&Digest::of(b"one")), "onf").unwrap();
        assert!(store.verify_blob(&Digest::of(b"one")).is_err());
        let index = store.index();
        assert!(!index.has_layer(&Key([1; 32])) && index.has_layer(&Key([2; 32])));
    }

    #[test]
    fn a_sync_leaves_nothing_to_be_synced_whoever_recorded_it() {
        let folder = tempfile::tempdir().unwrap();
        let killed = open(&folder, "boot-a");
        let digest = killed.put_bytes(b"bytes").unwrap();
        open(&folder, "boot-a").sync().unwrap();
        assert!(open(&folder, "boot-b").index().has_blob(&digest));
    }
}
