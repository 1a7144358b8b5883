//! tar archives of every family.

use std::io::{self, Read};

use crate::content::{Content, Entry, Kind, ReadError, Time, cut_short, skip, wrong};
use crate::extended::{Extended, MOST};
use crate::header::{BLOCK, BLOCK_SIZE, Block, Family, Header, text};
use crate::sparse;

/// The most bytes that may follow the end of an archive; tape blocks fill archives up to some kilobytes.
const MOST_BEHIND: u64 = 4 << 30;

/// Says whether a block is a header of a tar archive.
pub(crate) fn is_header(block: &Block) -> bool {
    Header::new(block).is_some()
}

/// Reads blocks, of which one can be looked at before it is taken.
struct Blocks<R> {
    reader: R,
    /// A block that was looked at, and how much of it has been taken.
    peeked: Option<(Block, usize)>,
}

impl<R: Read> Blocks<R> {
    /// Gives the next block; nothing at the end of the bytes.
    fn block(&mut self) -> io::Result<Option<Block>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(cut_short()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(block))
    }

    /// Says whether the next block is a header or the end.
    fn is_at_header(&mut self) -> io::Result<bool> {
        let next = self.block()?;
        self.peeked = next.map(|block| (block, 0));
        Ok(next.is_none_or(|block| is_zero(&block) || is_header(&block)))
    }
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((block, taken)) = &mut self.peeked else { return self.reader.read(buffer) };
        let count = (&block[*taken..]).read(buffer)?;
        *taken += count;
        if *taken == BLOCK {
            self.peeked = None;
        }
        Ok(count)
    }
}

/// Counts the bytes of an entry that are still in the archive.
struct Stored<'r, R> {
    blocks: &'r mut Blocks<R>,
    left: u64,
}

impl<R: Read> Read for Stored<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.blocks.read(&mut buffer[..most])?;
        self.left -= count as u64;
        Ok(count)
    }
}

fn is_zero(block: &Block) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Reads a tar archive to its end, and gives each entry with its content.
///
/// It ends at its first block of zeros, as that of GNU tar does, or with its bytes.
///
/// # Errors
/// [`ReadError`], and those of `each`.
pub fn read_tar<E: From<ReadError>>(
    reader: impl Read,
    mut each: impl FnMut(&Entry, &mut Content<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut blocks = Blocks { reader, peeked: None };
    let mut all = Extended::default();
    let mut next = Extended::default();
    while let Some(block) = blocks.block().map_err(ReadError::from)? {
        if is_zero(&block) {
            break;
        }
        let header = Header::new(&block)
            .ok_or_else(|| wrong("a header is missing: the checksum is wrong"))
            .map_err(ReadError::from)?;
        let size = header.size().map_err(ReadError::from)?;
        match header.kind() {
            b'x' | b'X' => {
                let bytes = preface(&mut blocks, size)?;
                next.read(&bytes).map_err(ReadError::from)?;
            }
            b'g' => {
                let bytes = preface(&mut blocks, size)?;
                all.read(&bytes).map_err(ReadError::from)?;
            }
            b'L' => next.long_path = Some(text(&preface(&mut blocks, size)?).to_vec()),
            b'K' => next.long_link = Some(text(&preface(&mut blocks, size)?).to_vec()),
            // The label of a volume, and Solaris' access lists.
            b'V' | b'A' => pass(&mut blocks, size)?,
            _ => {
                let said = std::mem::take(&mut next).over(&all);
                entry(&header, &mut blocks, &said, &mut each)?;
            }
        }
    }
    // Read to the end, as the sums of compressed files stand there.
    let behind = io::copy(&mut blocks.reader.by_ref().take(MOST_BEHIND), &mut io::sink());
    if behind.map_err(ReadError::from)? == MOST_BEHIND {
        return Err(ReadError::from(wrong("4 GiB or more follow after its end")).into());
    }
    Ok(())
}

/// Reads the bytes of a header that says more of the next entry.
fn preface<R: Read>(blocks: &mut Blocks<R>, size: u64) -> Result<Vec<u8>, ReadError> {
    if size > MOST {
        return Err(wrong("an extended header has more than 16 MiB").into());
    }
    let bytes = crate::content::bytes(blocks, size)?;
    skip(blocks, padding(size))?;
    Ok(bytes)
}

/// How many bytes fill the last block up.
fn padding(size: u64) -> u64 {
    (BLOCK_SIZE - size % BLOCK_SIZE) % BLOCK_SIZE
}

fn pass<R: Read>(blocks: &mut Blocks<R>, size: u64) -> Result<(), ReadError> {
    skip(blocks, size)?;
    pass_padding(blocks, size)
}

fn pass_padding<R: Read>(blocks: &mut Blocks<R>, size: u64) -> Result<(), ReadError> {
    // The very last block may be short, nothing is lost with it.
    match skip(blocks, padding(size)) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        passed => Ok(passed?),
    }
}

/// Gives one entry with its content.
fn entry<R: Read, E: From<ReadError>>(
    header: &Header<'_>,
    blocks: &mut Blocks<R>,
    said: &Extended,
    each: &mut impl FnMut(&Entry, &mut Content<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let stored = match said.size {
        Some(size) => size,
        None => header.size().map_err(ReadError::from)?,
    };
    let header_path = || said.long_path.clone().unwrap_or_else(|| header.path());
    let path = said.sparse_name.clone().or_else(|| said.path.clone()).unwrap_or_else(header_path);
    let target =
        || said.link.clone().or_else(|| said.long_link.clone()).unwrap_or_else(|| header.link());
    if said.continues || header.kind() == b'M' {
        let problem = "continues a file of another volume; join the volumes into one archive first";
        return Err(ReadError::Refused { entry: path, problem }.into());
    }
    // What has no content: whatever stands as the size, no bytes follow.
    let (kind, has_bytes) = match header.kind() {
        b'1' => (Kind::HardLink { target: target() }, has_content(header, blocks, said, stored)?),
        b'2' => (Kind::Symlink { target: target() }, false),
        b'3' => (Kind::Special("is a character device"), false),
        b'4' => (Kind::Special("is a block device"), false),
        b'6' => (Kind::Special("is a named pipe"), false),
        b'5' => (Kind::Folder, false),
        // With GNU's list of what was in it.
        b'D' => (Kind::Folder, true),
        // Before POSIX a slash at the end was all that told a folder.
        b'0' | 0 if path.ends_with(b"/") => (Kind::Folder, true),
        // POSIX says that an unknown type is to be taken for a file.
        _ => (Kind::File, true),
    };
    let stored = if has_bytes { stored } else { 0 };
    let mtime = match said.mtime {
        Some(time) => time,
        None => Time::of_seconds(header.mtime().map_err(ReadError::from)?),
    };
    let mode = header.mode().map_err(ReadError::from)?;
    let mut entry = Entry { path, kind, mode, mtime, size: stored };
    if entry.kind != Kind::File {
        entry.size = 0;
        // A hard link's content is that of the file, which came before.
        each(&entry, &mut Content::empty(blocks))?;
        return Ok(pass(blocks, stored)?);
    }
    let (size, pieces, left) = holes(header, blocks, said, stored).map_err(ReadError::from)?;
    entry.size = size;
    let mut rest = Stored { blocks, left };
    each(&entry, &mut Content::with_holes(&mut rest, size, pieces))?;
    let left = rest.left;
    skip(blocks, left).map_err(ReadError::from)?;
    Ok(pass_padding(blocks, stored)?)
}

/// Says whether the bytes of a hard link's size follow it: POSIX writes them, older programs only the size.
fn has_content<R: Read>(
    header: &Header<'_>,
    blocks: &mut Blocks<R>,
    said: &Extended,
    size: u64,
) -> Result<bool, ReadError> {
    match header.family() {
        _ if size == 0 => Ok(false),
        _ if said.is_pax => Ok(true),
        Family::V7 | Family::Gnu => Ok(false),
        Family::Ustar => Ok(!blocks.is_at_header()?),
    }
}

/// Gives the size of a file with its holes, what lies between them, and how many bytes of the archive hold that.
fn holes<R: Read>(
    header: &Header<'_>,
    blocks: &mut Blocks<R>,
    said: &Extended,
    stored: u64,
) -> io::Result<(u64, sparse::Pieces, u64)> {
    if header.kind() == b'S' && header.family() == Family::Gnu {
        let (size, pieces) = sparse::old(header, blocks)?;
        sparse::check(&pieces, size, stored)?;
        return Ok((size, pieces, stored));
    }
    let Some(size) = said.sparse_size else {
        return Ok((stored, vec![(0, stored)], stored));
    };
    if said.sparse_in_front {
        let (pieces, taken) = sparse::in_front(blocks, stored)?;
        let left = stored - taken;
        sparse::check(&pieces, size, left)?;
        return Ok((size, pieces, left));
    }
    let pieces = sparse::pairs(&said.sparse_map)?;
    sparse::check(&pieces, size, stored)?;
    Ok((size, pieces, stored))
}

#[cfg(test)]
pub(crate) mod tests {
    /// A tar archive of one file; what else tar archives can hold is tested where they are laid out.
    pub(crate) fn tar() -> Vec<u8> {
        let mut bytes = vec![0; 2048];
        for (at, text) in [
            (0, &b"t/a"[..]),
            (100, b"0000644"),
            (124, b"00000000005"),
            (136, b"07346545000"),
            (148, b"        "),
            (156, b"0"),
            (257, b"ustar\x0000"),
            (512, b"hello"),
        ] {
            bytes[at..at + text.len()].copy_from_slice(text);
        }
        let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    }
}
