//! The bytes of files on their way into an archive.

use std::io::{self, Read, Write};

use crate::path::ImagePath;

/// How many bytes are read from a content at once.
const CHUNK_BYTES: usize = 128 * 1024;

/// Why the bytes of a file did not get into an archive.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// A content could not be opened.
    #[error("cannot open the content of `{path}`")]
    Open {
        /// The file.
        path: ImagePath,
        /// The cause.
        source: io::Error,
    },
    /// A content could not be read.
    #[error("cannot read the content of `{path}`")]
    Read {
        /// The file.
        path: ImagePath,
        /// The cause.
        source: io::Error,
    },
    /// A content ends before its declared size.
    #[error("content of `{path}` has {found} bytes, but {declared} are declared")]
    Shorter {
        /// The file.
        path: ImagePath,
        /// Bytes that the tree says there are.
        declared: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// A content goes on after its declared size.
    #[error("content of `{path}` has more than the declared {declared} bytes")]
    Longer {
        /// The file.
        path: ImagePath,
        /// Bytes that the tree says there are.
        declared: u64,
    },
    /// The archive could not be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

/// Copies exactly the declared bytes of one file.
pub(crate) fn copy_content<'t, C, R: Read>(
    path: &ImagePath,
    content: &'t C,
    declared: u64,
    open: &mut impl FnMut(&'t C) -> io::Result<R>,
    out: &mut impl Write,
) -> Result<(), ContentError> {
    let mut content =
        open(content).map_err(|source| ContentError::Open { path: path.clone(), source })?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut found = 0;
    loop {
        let read = match content.read(&mut chunk) {
            Ok(0) if found == declared => return Ok(()),
            Ok(0) => return Err(ContentError::Shorter { path: path.clone(), declared, found }),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(ContentError::Read { path: path.clone(), source }),
        };
        found += read as u64;
        if found > declared {
            return Err(ContentError::Longer { path: path.clone(), declared });
        }
        out.write_all(&chunk[..read]).map_err(ContentError::Write)?;
    }
}
