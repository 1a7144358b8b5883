//! cpio archives: the portable forms (`newc`, `crc`, `odc`) and the old binary one in both byte orders.

use std::collections::HashMap;
use std::io::{self, Read};

use crate::content::{Content, Entry, Kind, ReadError, Time, bytes, exactly, skip, wrong};

/// The longest name that is believed.
const MOST_NAME: u64 = 1 << 16;

/// What a header says.
struct Header {
    device: u64,
    inode: u64,
    mode: u64,
    links: u64,
    mtime: u64,
    name: u64,
    size: u64,
    /// Names and contents begin at multiples of this.
    align: u64,
    /// The header's length.
    length: u64,
}

/// Reads a cpio archive to its end, and gives each entry with its content.
pub(crate) fn read<E: From<ReadError>>(
    mut reader: impl Read,
    mut each: impl FnMut(&Entry, &mut Content<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut known: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    loop {
        let header = header(&mut reader).map_err(ReadError::from)?;
        let path = name(&mut reader, &header).map_err(ReadError::from)?;
        if path == b"TRAILER!!!" {
            break;
        }
        let kind = match header.mode & 0o170_000 {
            0o040_000 => Kind::Folder,
            0o120_000 => {
                if header.size > MOST_NAME {
                    return Err(ReadError::from(wrong("the target of a link is too long")).into());
                }
                let target = bytes(&mut reader, header.size).map_err(ReadError::from)?;
                Kind::Symlink { target }
            }
            0o100_000 if header.links > 1 => {
                let place = (header.device, header.inode);
                match known.get(&place) {
                    Some(target) => Kind::HardLink { target: target.clone() },
                    None => {
                        known.insert(place, path.clone());
                        Kind::File
                    }
                }
            }
            0o100_000 | 0 => Kind::File,
            0o020_000 => Kind::Special("is a character device"),
            0o060_000 => Kind::Special("is a block device"),
            0o010_000 => Kind::Special("is a named pipe"),
            0o140_000 => Kind::Special("is a socket"),
            _ => Kind::Special("is of an unknown type"),
        };
        let left = if matches!(kind, Kind::Symlink { .. }) { 0 } else { header.size };
        let entry = Entry {
            path,
            kind,
            mode: u32::try_from(header.mode & 0o7777).unwrap_or(0),
            mtime: Time::of_seconds(i64::try_from(header.mtime).unwrap_or(i64::MAX)),
            size: left,
        };
        let mut content = reader.by_ref().take(left);
        each(&entry, &mut Content::whole(&mut content, left))?;
        let left = content.limit();
        skip(&mut reader, left).map_err(ReadError::from)?;
        fill(&mut reader, header.size, header.align).map_err(ReadError::from)?;
    }
    io::copy(&mut reader.take(4 << 30), &mut io::sink()).map_err(ReadError::from)?;
    Ok(())
}

fn fill(reader: &mut impl Read, length: u64, align: u64) -> io::Result<()> {
    skip(reader, (align - length % align) % align)
}

fn name(reader: &mut impl Read, header: &Header) -> io::Result<Vec<u8>> {
    if header.name == 0 || header.name > MOST_NAME {
        return Err(wrong("a name has an impossible length"));
    }
    let mut name = bytes(reader, header.name)?;
    fill(reader, header.length + header.name, header.align)?;
    if name.pop() != Some(0) {
        return Err(wrong("a name does not end where it should"));
    }
    Ok(name)
}

fn header(reader: &mut impl Read) -> io::Result<Header> {
    let bad = || wrong("a header is missing");
    let start: [u8; 6] = exactly(reader)?;
    match &start {
        b"070701" | b"070702" => {
            let fields: [u8; 104] = exactly(reader)?;
            let value = |at: usize| number(&fields[at * 8..at * 8 + 8], 16).ok_or_else(bad);
            Ok(Header {
                inode: value(0)?,
                mode: value(1)?,
                links: value(4)?,
                mtime: value(5)?,
                size: value(6)?,
                device: value(7)? << 32 | value(8)?,
                name: value(11)?,
                align: 4,
                length: 110,
            })
        }
        b"070707" => {
            let fields: [u8; 70] = exactly(reader)?;
            let value = |from: usize, to: usize| number(&fields[from..to], 8).ok_or_else(bad);
            Ok(Header {
                device: value(0, 6)?,
                inode: value(6, 12)?,
                mode: value(12, 18)?,
                links: value(30, 36)?,
                mtime: value(42, 53)?,
                name: value(53, 59)?,
                size: value(59, 70)?,
                align: 1,
                length: 76,
            })
        }
        [0xc7, 0x71, ..] | [0x71, 0xc7, ..] => {
            let rest: [u8; 20] = exactly(reader)?;
            let all = [&start[..], &rest].concat();
            let little = start[0] == 0xc7;
            let half = |at: usize| {
                let pair = [all[at * 2], all[at * 2 + 1]];
                u64::from(if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
            };
            Ok(Header {
                device: half(1),
                inode: half(2),
                mode: half(3),
                links: half(6),
                mtime: half(8) << 16 | half(9),
                name: half(10),
                size: half(11) << 16 | half(12),
                align: 2,
                length: 26,
            })
        }
        _ => Err(bad()),
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?.trim();
    if text.starts_with('+') { None } else { u64::from_str_radix(text, radix).ok() }
}
