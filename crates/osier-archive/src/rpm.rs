//! Packages of rpm: a lead, two headers, and a compressed cpio archive.

use std::io::{self, Read};

use crate::compression::{Compression, MAGIC};
use crate::content::{Content, Entry, ReadError, exactly, skip, wrong};
use crate::cpio;

/// Reads a package to its end, and gives each entry with its content.
pub(crate) fn read<E: From<ReadError>>(
    mut reader: impl Read + Send,
    each: impl FnMut(&Entry, &mut Content<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let head = headers(&mut reader).map_err(ReadError::from)?;
    let compression = Compression::of_bytes(&head);
    let payload = io::Cursor::new(head).chain(reader);
    match compression {
        Some(compression) => cpio::read(compression.reader(payload), each),
        None => cpio::read(payload, each),
    }
}

/// Passes over all that is before the payload, and gives the payload's first bytes.
fn headers(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    skip(reader, 96)?;
    for is_signature in [true, false] {
        let start: [u8; 16] = exactly(reader)?;
        if start[..4] != *b"\x8e\xad\xe8\x01" {
            return Err(wrong("a header of the package is missing"));
        }
        let value = |at: usize| {
            u64::from(u32::from_be_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]))
        };
        let length = value(8) * 16 + value(12);
        let fill = if is_signature { (8 - length % 8) % 8 } else { 0 };
        skip(reader, length + fill)?;
    }
    let mut head = Vec::new();
    reader.by_ref().take(MAGIC as u64).read_to_end(&mut head)?;
    Ok(head)
}
