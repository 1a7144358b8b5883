//! What precedes an entry and says more of it: pax headers and GNU's long names.

use std::io;

use crate::content::{Time, wrong};

/// The most bytes of one such header; honest ones have some hundred, a list of holes some more.
pub(crate) const MOST: u64 = 16 << 20;

/// What headers before an entry say of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extended {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) mtime: Option<Time>,
    /// GNU's headers for names of more than 100 bytes; pax headers come before them.
    pub(crate) long_path: Option<Vec<u8>>,
    pub(crate) long_link: Option<Vec<u8>>,
    /// The name of a file with holes; `path` is then one that other programs shall see.
    pub(crate) sparse_name: Option<Vec<u8>>,
    /// The size of a file with holes.
    pub(crate) sparse_size: Option<u64>,
    /// The holes stand at the beginning of the file's bytes.
    pub(crate) sparse_in_front: bool,
    /// Offsets and lengths of what lies between holes, one after the other.
    pub(crate) sparse_map: Vec<u64>,
    /// The entry goes on with a file of another volume.
    pub(crate) continues: bool,
    /// Whether the archive has pax headers.
    pub(crate) is_pax: bool,
}

impl Extended {
    /// Reads the records of a pax header: length, blank, keyword, `=`, value, line feed.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.is_pax = true;
        // Some programs fill the header up with zeros.
        while bytes.first().is_some_and(|byte| *byte != 0) {
            let bad = || wrong("an extended header has a record that cannot be read");
            let blank = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length = decimal(&bytes[..blank]).and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|length| *length > blank + 1).ok_or_else(bad)?;
            let record = bytes.get(blank + 1..length).ok_or_else(bad)?;
            let record = record.strip_suffix(b"\n").ok_or_else(bad)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            self.record(&record[..equals], &record[equals + 1..])?;
            bytes = &bytes[length..];
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let number = || {
            decimal(value)
                .ok_or_else(|| wrong("an extended header has a number that cannot be read"))
        };
        // An empty value takes back what an earlier header said.
        let text = (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = text,
            b"linkpath" => self.link = text,
            b"size" => self.size = if value.is_empty() { None } else { Some(number()?) },
            b"mtime" => self.mtime = time(value),
            b"GNU.sparse.name" => self.sparse_name = text,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse_size = Some(number()?),
            b"GNU.sparse.major" => match number()? {
                0 => self.sparse_in_front = false,
                1 => self.sparse_in_front = true,
                _ => return Err(wrong("a file with holes is of a later form than 1.0")),
            },
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                // One says where, the next how long.
                let is_length = key == b"GNU.sparse.numbytes";
                if (self.sparse_map.len() % 2 == 1) != is_length {
                    return Err(wrong("the list of a file's holes is out of order"));
                }
                self.sparse_map.push(number()?);
            }
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').filter(|text| !text.is_empty());
                self.sparse_map = numbers
                    .map(|text| {
                        decimal(text).ok_or_else(|| {
                            wrong("the list of a file's holes has a number that cannot be read")
                        })
                    })
                    .collect::<io::Result<_>>()?;
            }
            b"GNU.volume.offset" => self.continues = true,
            _ => {}
        }
        Ok(())
    }

    /// Lays what is said of one entry over what is said of all.
    pub(crate) fn over(self, all: &Self) -> Self {
        // Only what is needed is copied, for every entry: a header of all can have many megabytes.
        Self {
            path: self.path.or_else(|| all.path.clone()),
            link: self.link.or_else(|| all.link.clone()),
            size: self.size.or(all.size),
            mtime: self.mtime.or(all.mtime),
            is_pax: self.is_pax || all.is_pax,
            ..self
        }
    }
}

pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    // The parser would take a sign.
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// Reads a time such as `1700000000.25`; one that is none counts as not said.
fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    // Nanoseconds count forward: half a second before 1969-12-31T23:59:59 is -2 and a half.
    if whole.starts_with('-') && nanoseconds > 0 {
        let seconds = seconds.checked_sub(1)?;
        return Some(Time { seconds, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Some(Time { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let at = |seconds, nanoseconds| Some(Time { seconds, nanoseconds });
        assert_eq!(time(b"17.25"), at(17, 250_000_000));
        assert_eq!(time(b"17"), at(17, 0));
        assert_eq!(time(b"17.1234567891"), at(17, 123_456_789));
        assert_eq!(time(b"-1.5"), at(-2, 500_000_000));
        assert_eq!(time(b"-0.25"), at(-1, 750_000_000));
        for bad in [&b"x"[..], b"1.x", b"", b"99999999999999999999"] {
            assert_eq!(time(bad), None);
        }
    }

    #[test]
    fn records_may_hold_anything() {
        let mut extended = Extended::default();
        extended.read(b"14 path=a\nb=c\n19 mtime=-1.000000\n5 x=\n").unwrap();
        assert_eq!(extended.path.as_deref(), Some(&b"a\nb=c"[..]));
        assert_eq!(extended.mtime, Some(Time::of_seconds(-1)));
        extended.read(b"8 path=\n\0\0").unwrap();
        assert_eq!(extended.path, None);
        for bad in
            [&b"x"[..], b"5 a\n", b"99 path=a\n", b"9 size=x\n", b"3 \n", b"0 a=b\n", b"8 path=a "]
        {
            assert!(Extended::default().read(bad).is_err(), "{bad:?}");
        }
    }
}
