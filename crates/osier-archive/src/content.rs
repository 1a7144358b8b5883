//! Entries of archives, and what they hold.

use std::io::{self, Read};

/// Why an archive could not be read further.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not what they should be, or end too early.
    #[error(transparent)]
    Damaged(#[from] io::Error),
    /// An entry is of a kind that is not read.
    #[error("the entry {problem}")]
    Refused {
        /// Its path.
        entry: Vec<u8>,
        /// What is wrong with it, to be read after the path.
        problem: &'static str,
    },
}

/// An error that says what is wrong with the bytes.
pub(crate) fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// An error for bytes that are missing at the end.
pub(crate) fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early")
}

/// Reads a number of bytes whole; an early end is an error.
pub(crate) fn exactly<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => cut_short(),
        _ => error,
    })?;
    Ok(bytes)
}

/// Reads so many bytes, which are allocated as they come.
pub(crate) fn bytes(reader: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length { Err(cut_short()) } else { Ok(bytes) }
}

/// Passes over so many bytes.
pub(crate) fn skip(reader: &mut impl Read, length: u64) -> io::Result<()> {
    if io::copy(&mut reader.by_ref().take(length), &mut io::sink())? < length {
        return Err(cut_short());
    }
    Ok(())
}

/// A time, in seconds since 1970 and nanoseconds after that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after it.
    pub nanoseconds: u32,
}

impl Time {
    /// Gives the time of a whole second.
    pub fn of_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: Vec<u8>,
    },
    /// A further name of a file or link that came before. Content that it has is that of the file.
    HardLink {
        /// The path of that one.
        target: Vec<u8>,
    },
    /// A device or a named pipe; the words say which, to be read after the path.
    Special(&'static str),
}

/// An entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path as it stands in the archive.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Its mode: permissions with setuid, setgid and sticky, nothing else.
    pub mode: u32,
    /// When it was last changed.
    pub mtime: Time,
    /// How long a file is, holes included.
    pub size: u64,
}

/// What a file of an archive holds: pieces of bytes, with holes between them.
pub struct Content<'a> {
    reader: &'a mut dyn Read,
    /// Where each piece that is still to come begins, and how long it is.
    pieces: std::vec::IntoIter<(u64, u64)>,
    /// What is left of the current piece.
    piece: (u64, u64),
    /// How far [`Read`] has come, and where it ends.
    position: u64,
    size: u64,
}

impl<'a> Content<'a> {
    /// Bytes without holes.
    pub(crate) fn whole(reader: &'a mut dyn Read, size: u64) -> Self {
        Self::with_holes(reader, size, vec![(0, size)])
    }

    /// Nothing.
    pub(crate) fn empty(reader: &'a mut dyn Read) -> Self {
        Self::with_holes(reader, 0, Vec::new())
    }

    /// Bytes of a file of that size, in these pieces, which must be in order.
    pub(crate) fn with_holes(reader: &'a mut dyn Read, size: u64, pieces: Vec<(u64, u64)>) -> Self {
        Self { reader, pieces: pieces.into_iter(), piece: (0, 0), position: 0, size }
    }

    /// Reads some of the next bytes that are in no hole, and says at which place of the file they belong, and how many.
    ///
    /// # Errors
    /// Those of the archive's bytes, and its early end.
    pub fn next_bytes(&mut self, buffer: &mut [u8]) -> io::Result<Option<(u64, usize)>> {
        while self.piece.1 == 0 {
            match self.pieces.next() {
                Some(piece) => self.piece = piece,
                None => return Ok(None),
            }
        }
        let most = usize::try_from(self.piece.1).unwrap_or(usize::MAX).min(buffer.len());
        let count = loop {
            match self.reader.read(&mut buffer[..most]) {
                Ok(0) => return Err(cut_short()),
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let place = self.piece.0;
        self.piece = (place + count as u64, self.piece.1 - count as u64);
        Ok(Some((place, count)))
    }

    /// Says whether bytes are to come.
    pub fn is_empty(&self) -> bool {
        self.piece.1 == 0 && self.pieces.as_slice().iter().all(|(_, length)| *length == 0)
    }
}

/// Gives the file as it is, holes as zeros.
impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.1 == 0 {
            match self.pieces.next() {
                Some(piece) => self.piece = piece,
                None => break,
            }
        }
        let next = if self.piece.1 == 0 { self.size } else { self.piece.0 };
        if self.position < next {
            let hole = usize::try_from(next - self.position).unwrap_or(usize::MAX);
            let count = hole.min(buffer.len());
            buffer[..count].fill(0);
            self.position += count as u64;
            return Ok(count);
        }
        let count = self.next_bytes(buffer)?.map_or(0, |(_, count)| count);
        self.position += count as u64;
        Ok(count)
    }
}
