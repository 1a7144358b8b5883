//! Git's binary form: the bytes of a file, or what turns one file into another, there and back.

use std::io::Read as _;

use flate2::read::ZlibDecoder;

use crate::problem::Problem;

/// Most bytes of a file that a patch makes.
const LARGEST: usize = 1 << 28;

/// The digits of git's base 85.
const DIGITS: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// The change of a file's bytes. That the way back leads to the file proves that it is the one the patch was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    forward: Piece,
    back: Piece,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// The whole file.
    Literal(Vec<u8>),
    /// Parts of the other file, and bytes between them.
    Delta(Vec<u8>),
}

impl Binary {
    /// Reads the lines below `GIT binary patch`; gives how many there are of them, too.
    pub(crate) fn read(lines: &[&[u8]]) -> Result<(Self, usize), Problem> {
        let (forward, first) =
            Piece::read(lines, "no line `literal SIZE` or `delta SIZE` follows")?;
        let below = lines.get(first..).unwrap_or_default();
        let (back, second) =
            Piece::read(below, "the bytes of the file before the change are missing")?;
        Ok((Self { forward, back }, first + second))
    }

    /// Gives the file afterwards; nothing where the file is not the one that the patch was made from.
    pub(crate) fn put(&self, old: &[u8]) -> Option<Vec<u8>> {
        let new = self.forward.apply(old)?;
        (self.back.apply(&new)? == old).then_some(new)
    }

    pub(crate) fn reversed(&self) -> Self {
        Self { forward: self.back.clone(), back: self.forward.clone() }
    }
}

fn wrong<T>(why: &'static str) -> Result<T, Problem> {
    Err(Problem::BinaryForm { why })
}

impl Piece {
    /// Reads a size and lines up to an empty one.
    fn read(lines: &[&[u8]], missing: &'static str) -> Result<(Self, usize), Problem> {
        let head = lines.first().map(|line| line.trim_ascii_end()).unwrap_or_default();
        let literal = head.strip_prefix(b"literal ");
        let Some(size) = literal.or_else(|| head.strip_prefix(b"delta ")) else {
            return wrong(missing);
        };
        let size = std::str::from_utf8(size).ok().and_then(|size| size.parse::<usize>().ok());
        let Some(size) = size.filter(|size| *size <= LARGEST) else {
            return wrong("its size is not a number, or too large");
        };
        let mut packed = Vec::new();
        let mut used = 1;
        for line in &lines[1..] {
            used += 1;
            let line = line.trim_ascii_end();
            if line.is_empty() {
                break;
            }
            if !decode(line, &mut packed) {
                return wrong("a line of it is damaged");
            }
        }
        let mut bytes = Vec::new();
        let most = u64::try_from(size).unwrap_or(u64::MAX).saturating_add(1);
        let read = ZlibDecoder::new(packed.as_slice()).take(most).read_to_end(&mut bytes);
        if read.is_err() || bytes.len() != size {
            return wrong("it is cut short or damaged");
        }
        let piece = if literal.is_some() { Self::Literal(bytes) } else { Self::Delta(bytes) };
        Ok((piece, used))
    }

    fn apply(&self, old: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Literal(bytes) => Some(bytes.clone()),
            Self::Delta(delta) => apply_delta(delta, old),
        }
    }
}

/// Whether a line may be one of the encoded bytes: its first letter says how many bytes there are, and how long it is.
pub(crate) fn is_line(line: &[u8]) -> bool {
    let Some((first, digits)) = line.split_first() else { return false };
    length(*first).is_some_and(|length| digits.len() == length.div_ceil(4) * 5)
        && digits.iter().all(|digit| DIGITS.contains(digit))
}

fn length(letter: u8) -> Option<usize> {
    match letter {
        b'A'..=b'Z' => Some(usize::from(letter - b'A') + 1),
        b'a'..=b'z' => Some(usize::from(letter - b'a') + 27),
        _ => None,
    }
}

/// Appends what a line encodes; says whether it is one.
fn decode(line: &[u8], bytes: &mut Vec<u8>) -> bool {
    let Some((first, digits)) = line.split_first() else { return false };
    let Some(mut left) = length(*first) else { return false };
    if digits.len() != left.div_ceil(4) * 5 {
        return false;
    }
    for group in digits.chunks(5) {
        let mut number: u64 = 0;
        for digit in group {
            let Some(value) = DIGITS.iter().position(|known| known == digit) else { return false };
            number = number * 85 + value as u64;
        }
        let Ok(number) = u32::try_from(number) else { return false };
        let count = left.min(4);
        bytes.extend_from_slice(&number.to_be_bytes()[..count]);
        left -= count;
    }
    true
}

/// Reads a number of seven bits a byte, the lowest first.
fn number(delta: &mut std::slice::Iter<'_, u8>) -> Option<usize> {
    let mut number = 0_usize;
    for shift in (0..35).step_by(7) {
        let byte = delta.next()?;
        number |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Makes a file of parts of another one, as git's packs do.
fn apply_delta(delta: &[u8], old: &[u8]) -> Option<Vec<u8>> {
    let mut delta = delta.iter();
    let (from, to) = (number(&mut delta)?, number(&mut delta)?);
    if from != old.len() || to > LARGEST {
        return None;
    }
    let mut new = Vec::new();
    while let Some(op) = delta.next() {
        if op & 0x80 != 0 {
            let mut field = |bits: std::ops::Range<u8>| {
                let mut value = 0_usize;
                for (place, bit) in bits.enumerate() {
                    if op & (1 << bit) != 0 {
                        value |= usize::from(*delta.next()?) << (8 * place);
                    }
                }
                Some(value)
            };
            let (start, size) = (field(0..4)?, field(4..7)?);
            let size = if size == 0 { 0x10000 } else { size };
            new.extend_from_slice(old.get(start..start.checked_add(size)?)?);
        } else {
            let bytes =
                delta.as_slice().get(..usize::from(*op)).filter(|bytes| !bytes.is_empty())?;
            new.extend_from_slice(bytes);
            delta = delta.as_slice()[bytes.len()..].iter();
        }
        if new.len() > to {
            return None;
        }
    }
    (new.len() == to).then_some(new)
}
