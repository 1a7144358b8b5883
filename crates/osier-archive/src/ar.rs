//! ar archives, with the long names of GNU and BSD.

use std::io::Read;

use crate::content::{Content, Entry, Kind, ReadError, Time, bytes, exactly, skip, wrong};

/// The most bytes of all long names.
const MOST_NAMES: u64 = 16 << 20;

/// Reads an ar archive to its end, and gives each member with its content.
pub(crate) fn read<E: From<ReadError>>(
    mut reader: impl Read,
    mut each: impl FnMut(&Entry, &mut Content<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let magic: [u8; 8] = exactly(&mut reader).map_err(ReadError::from)?;
    if magic != *b"!<arch>\n" {
        return Err(ReadError::from(wrong("it does not begin as an ar archive")).into());
    }
    let mut long = Vec::new();
    while let Some(header) = header(&mut reader)? {
        let bad = || ReadError::from(wrong("a member has a number that cannot be read"));
        let text = |from: usize, to: usize| header[from..to].trim_ascii();
        let value = |from: usize, to: usize, radix: u32| -> Result<u64, ReadError> {
            let text = std::str::from_utf8(text(from, to)).map_err(|_| bad())?;
            if text.is_empty() {
                return Ok(0);
            }
            u64::from_str_radix(text, radix).map_err(|_| bad())
        };
        let size = value(48, 58, 10)?;
        let name = text(0, 16);
        let mut left = size;
        // The table of symbols, and that of long names.
        if name == b"/" || name == b"/SYM64/" || name == b"//" {
            if name == b"//" {
                if size > MOST_NAMES {
                    return Err(bad().into());
                }
                long = bytes(&mut reader, size).map_err(ReadError::from)?;
            } else {
                skip(&mut reader, size).map_err(ReadError::from)?;
            }
            fill(&mut reader, size)?;
            continue;
        }
        let path = if let Some(length) = name.strip_prefix(b"#1/") {
            let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            let length = length.filter(|length| *length <= size.min(1 << 16)).ok_or_else(bad)?;
            left = size - length;
            let mut path = bytes(&mut reader, length).map_err(ReadError::from)?;
            path.truncate(path.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
            path
        } else if name.len() > 1 && name[0] == b'/' && name[1..].iter().all(u8::is_ascii_digit) {
            let at = std::str::from_utf8(&name[1..]).ok().and_then(|text| text.parse().ok());
            let rest = at.and_then(|at: usize| long.get(at..)).ok_or_else(bad)?;
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            rest[..end].strip_suffix(b"/").unwrap_or(&rest[..end]).to_vec()
        } else {
            name.strip_suffix(b"/").unwrap_or(name).to_vec()
        };
        let mode = u32::try_from(value(40, 48, 8)? & 0o7777).unwrap_or(0);
        let mtime = i64::try_from(value(16, 28, 10)?).unwrap_or(i64::MAX);
        let mtime = Time::of_seconds(mtime);
        let entry = Entry { path, kind: Kind::File, mode, mtime, size: left };
        let mut content = reader.by_ref().take(left);
        each(&entry, &mut Content::whole(&mut content, left))?;
        let left = content.limit();
        skip(&mut reader, left).map_err(ReadError::from)?;
        fill(&mut reader, size)?;
    }
    Ok(())
}

/// Reads the next header; nothing at the end.
fn header(reader: &mut impl Read) -> Result<Option<[u8; 60]>, ReadError> {
    let mut header = Vec::new();
    reader.by_ref().take(60).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(None);
    }
    match header.first_chunk::<60>() {
        Some(header) if header[58..] == *b"`\n" => Ok(Some(*header)),
        Some(_) => Err(wrong("a member's header is missing").into()),
        None => Err(crate::content::cut_short().into()),
    }
}

/// Members begin at even places; the last one may lack its fill.
fn fill(reader: &mut impl Read, size: u64) -> Result<(), ReadError> {
    std::io::copy(&mut reader.by_ref().take(size % 2), &mut std::io::sink())?;
    Ok(())
}
