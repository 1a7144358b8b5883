//! A header of a tar archive: one block of 512 bytes.

use crate::content::wrong;
use std::io;

pub(crate) const BLOCK: usize = 512;

/// Blocks are rounded up to.
pub(crate) const BLOCK_SIZE: u64 = 512;

pub(crate) type Block = [u8; BLOCK];

/// Which family of tar wrote a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// The seventh edition of Unix, or what looks like it.
    V7,
    /// POSIX, with or without extended headers.
    Ustar,
    /// GNU before it wrote POSIX.
    Gnu,
}

/// A header whose checksum is right.
pub(crate) struct Header<'b>(&'b Block);

impl<'b> Header<'b> {
    /// Checks the sum over the block; some old programs added the bytes up as signed ones.
    pub(crate) fn new(block: &'b Block) -> Option<Self> {
        let header = Self(block);
        let said = number(header.field(148, 8))?;
        let mut sums = [0_i64; 2];
        for (at, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            sums[0] += i64::from(byte);
            sums[1] += i64::from(byte.cast_signed());
        }
        sums.contains(&said).then_some(header)
    }

    pub(crate) fn field(&self, at: usize, length: usize) -> &'b [u8] {
        &self.0[at..at + length]
    }

    pub(crate) fn family(&self) -> Family {
        match self.field(257, 8) {
            b"ustar  \0" => Family::Gnu,
            magic if magic.starts_with(b"ustar") => Family::Ustar,
            _ => Family::V7,
        }
    }

    pub(crate) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// Gives the path, of which POSIX keeps the beginning in a field of its own.
    pub(crate) fn path(&self) -> Vec<u8> {
        let name = text(self.field(0, 100));
        if self.family() != Family::Ustar {
            return name.to_vec();
        }
        // star has a shorter field, with times behind it.
        let star = self.field(508, 4) == b"tar\0";
        let prefix = text(self.field(345, if star { 131 } else { 155 }));
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        text(self.field(157, 100)).to_vec()
    }

    pub(crate) fn mode(&self) -> io::Result<u32> {
        let mode = number(self.field(100, 8)).ok_or_else(|| wrong("the mode is not a number"))?;
        Ok(u32::try_from(mode & 0o7777).unwrap_or(0))
    }

    pub(crate) fn size(&self) -> io::Result<u64> {
        let size = number(self.field(124, 12)).and_then(|size| u64::try_from(size).ok());
        size.ok_or_else(|| wrong("the size is not a number"))
    }

    pub(crate) fn mtime(&self) -> io::Result<i64> {
        number(self.field(136, 12)).ok_or_else(|| wrong("the time is not a number"))
    }
}

/// A field up to its first zero.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Reads a number: octal digits with blanks or zeros around them, or where the first bit is set one of base 256.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // The second bit is the sign; the bits above it are the same in the number's two's complement.
        let negative = first & 0x40 != 0;
        let start = if negative { -1_i128 } else { 0 };
        let head = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
        let mut value = if negative { head } else { start + head };
        for byte in &field[1..] {
            value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
        }
        return i64::try_from(value).ok();
    }
    let blank = |byte: &&u8| matches!(**byte, b' ' | 0);
    let digits = &field[field.iter().take_while(blank).count()..];
    let end = digits.iter().take_while(|byte| (b'0'..=b'7').contains(*byte)).count();
    if end == 0 && !digits.is_empty() {
        return None;
    }
    digits[..end]
        .iter()
        .try_fold(0_i64, |value, digit| value.checked_mul(8)?.checked_add(i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_kinds() {
        let table: [(&[u8], Option<i64>); 12] = [
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\x00644  \0", Some(0o644)),
            (b"00000644", Some(0o644)),
            (b"        ", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"644x    ", Some(0o644)),
            (b"x644    ", None),
            (b"\x80\0\0\0\0\0\x01\x02", Some(258)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x02\0\0\0\0\0\0\0", Some(2 << 56)),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ];
        for (field, value) in table {
            assert_eq!(number(field), value, "{field:?}");
        }
    }
}
