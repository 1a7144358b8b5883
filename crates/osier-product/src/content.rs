//! The bytes of files as they go into an image: verified while they are read.

use std::fs::File;
use std::io;

use osier_build::MakeError;
use osier_store::{Digest, Hasher, Store};

/// Opens the bytes of a file for an image; they are verified as they are read.
pub(crate) fn content(store: &Store, digest: &Digest) -> io::Result<impl io::Read + use<>> {
    let file = File::open(store.blob_path(digest)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(io::ErrorKind::InvalidData, Damaged(*digest)),
        _ => error,
    })?;
    Ok(VerifiedFile { file, hasher: Hasher::default(), expected: *digest })
}

/// Finds out whether stored bytes are the cause of an error, which are set aside then.
pub(crate) fn damaged(
    store: &Store,
    error: &(dyn std::error::Error + 'static),
) -> Option<MakeError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(Damaged(digest)) = error.downcast_ref() {
            return store.verify_blob(digest).err().map(MakeError::from);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner
            .map(|inner| inner as &(dyn std::error::Error + 'static))
            .or_else(|| error.source());
    }
    None
}

/// Stored bytes that are not there, or not those of their digest.
#[derive(Debug, thiserror::Error)]
#[error("the stored bytes of {0} are damaged or gone")]
struct Damaged(Digest);

/// Reads a blob and fails at its end when its bytes are not those of its digest.
struct VerifiedFile {
    file: File,
    hasher: Hasher,
    expected: Digest,
}

impl io::Read for VerifiedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() && self.hasher.clone().finish().0 != self.expected {
            return Err(io::Error::new(io::ErrorKind::InvalidData, Damaged(self.expected)));
        }
        Ok(count)
    }
}
