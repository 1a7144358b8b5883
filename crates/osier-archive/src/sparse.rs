//! Files with holes: the lists of what lies between them.

use std::io::{self, Read};

use crate::content::{cut_short, exactly, wrong};
use crate::extended::decimal;
use crate::header::{BLOCK, BLOCK_SIZE, Block, Header, number};

/// The most pieces of one file.
const MOST_PIECES: usize = 1 << 20;

/// Offset and length of the bytes between holes, in order.
pub(crate) type Pieces = Vec<(u64, u64)>;

/// Puts a list of offsets and lengths, in turns, into pairs.
pub(crate) fn pairs(numbers: &[u64]) -> io::Result<Pieces> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong("the list of a file's holes is cut short"));
    }
    Ok(pairs.iter().map(|pair| (pair[0], pair[1])).collect())
}

/// Checks that pieces are in order, lie inside the file, and are what the archive has bytes for.
pub(crate) fn check(pieces: &Pieces, size: u64, stored: u64) -> io::Result<()> {
    let bad = || wrong("the list of a file's holes does not fit the file");
    let (mut end, mut sum) = (0_u64, 0_u64);
    for (offset, length) in pieces {
        if *offset < end {
            return Err(bad());
        }
        end = offset.checked_add(*length).filter(|end| *end <= size).ok_or_else(bad)?;
        sum += length;
    }
    if sum == stored { Ok(()) } else { Err(bad()) }
}

/// Reads the list of GNU's old form: in the header, and in blocks behind it. Gives the file's size too.
pub(crate) fn old(header: &Header<'_>, reader: &mut impl Read) -> io::Result<(u64, Pieces)> {
    let bad = || wrong("the list of a file's holes has a number that cannot be read");
    let value =
        |field: &[u8]| number(field).and_then(|value| u64::try_from(value).ok()).ok_or_else(bad);
    let size = value(header.field(483, 12))?;
    let mut pieces = Vec::new();
    let mut add = |fields: &[u8]| -> io::Result<()> {
        for field in fields.chunks_exact(24).take_while(|field| field[12] != 0) {
            pieces.push((value(&field[..12])?, value(&field[12..])?));
        }
        if pieces.len() > MOST_PIECES { Err(wrong("a file has too many holes")) } else { Ok(()) }
    };
    add(header.field(386, 96))?;
    let mut more = header.field(482, 1) != [0];
    while more {
        let block: Block = exactly(reader)?;
        add(&block[..504])?;
        more = block[504] != 0;
    }
    Ok((size, pieces))
}

/// Reads the list of the form 1.0, which stands in front of the bytes; gives how many bytes it took as well.
pub(crate) fn in_front(reader: &mut impl Read, stored: u64) -> io::Result<(Pieces, u64)> {
    let mut lines = Lines { reader, block: [0; BLOCK], at: BLOCK, taken: 0, stored };
    let count = lines.number()?;
    let count = usize::try_from(count).ok().filter(|count| *count <= MOST_PIECES);
    let count = count.ok_or_else(|| wrong("a file has too many holes"))?;
    let mut pieces = Vec::new();
    for _ in 0..count {
        pieces.push((lines.number()?, lines.number()?));
    }
    Ok((pieces, lines.taken))
}

struct Lines<'r, R> {
    reader: &'r mut R,
    block: Block,
    at: usize,
    taken: u64,
    stored: u64,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> io::Result<u64> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                if self.taken + BLOCK_SIZE > self.stored {
                    return Err(cut_short());
                }
                self.block = exactly(self.reader)?;
                self.taken += BLOCK_SIZE;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            if byte == b'\n' {
                break;
            }
            digits.push(byte);
            if digits.len() > 20 {
                break;
            }
        }
        decimal(&digits)
            .ok_or_else(|| wrong("the list of a file's holes has a number that cannot be read"))
    }
}
