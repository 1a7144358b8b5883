//! Binary packages: an `ar` archive that holds the files as a compressed tar archive (deb(5)).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Tells why a `.deb` could not be opened.
#[derive(Debug, Error)]
pub enum DebError {
    /// The file cannot be read, or ends early.
    #[error("cannot read {}", .path.display())]
    Io {
        /// The package file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The file is no Debian package.
    #[error("{}: {problem}", .path.display())]
    Format {
        /// The package file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Opens a package and returns its `data.tar`, decompressed while it is read.
///
/// A package that ends early gives an error of kind [`io::ErrorKind::UnexpectedEof`] or the decoder's own while
/// reading, never a short archive.
///
/// # Errors
/// [`DebError`].
pub fn open_data(path: &Path) -> Result<Box<dyn Read + Send>, DebError> {
    let failed = |source| DebError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    data_of(BufReader::with_capacity(128 << 10, file)).map_err(|error| match error {
        Problem::Io(source) => failed(source),
        Problem::Format(problem) => DebError::Format { path: path.to_owned(), problem },
    })
}

enum Problem {
    Io(io::Error),
    Format(&'static str),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn data_of<'a>(mut input: impl BufRead + Send + 'a) -> Result<Box<dyn Read + Send + 'a>, Problem> {
    let mut magic = [0; 8];
    input.read_exact(&mut magic)?;
    if magic != *b"!<arch>\n" {
        return Err(Problem::Format("not a Debian package"));
    }
    let mut first = true;
    loop {
        let mut header = [0; 60];
        if input.fill_buf()?.is_empty() {
            return Err(Problem::Format("has no member data.tar"));
        }
        input.read_exact(&mut header)?;
        if header[58..] != *b"`\n" {
            return Err(Problem::Format("has a damaged member header"));
        }
        let text = |range: std::ops::Range<usize>| {
            std::str::from_utf8(&header[range]).unwrap_or("").trim_end()
        };
        let name = text(0..16).trim_end_matches('/');
        let size: u64 =
            text(48..58).parse().map_err(|_| Problem::Format("has a member without a size"))?;
        if first && name != "debian-binary" {
            return Err(Problem::Format("does not begin with the member debian-binary"));
        }
        if first {
            let mut version = Vec::new();
            (&mut input).take(size.min(64)).read_to_end(&mut version)?;
            if !version.starts_with(b"2.") {
                return Err(Problem::Format("has a format other than 2"));
            }
            skip(&mut input, size + size % 2 - version.len() as u64)?;
            first = false;
            continue;
        }
        if name.starts_with("data.tar") {
            return Ok(crate::compression::reader(Member { input, left: size })?);
        }
        skip(&mut input, size.saturating_add(size % 2))?;
    }
}

fn skip(input: &mut impl BufRead, length: u64) -> io::Result<()> {
    if io::copy(&mut input.take(length), &mut io::sink())? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// One member of the archive; its early end is an error, not an end.
struct Member<R> {
    input: R,
    left: u64,
}

impl<R: BufRead> Read for Member<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Member<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let bytes = self.input.fill_buf()?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        Ok(&bytes[..most])
    }

    fn consume(&mut self, count: usize) {
        self.left -= count as u64;
        self.input.consume(count);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::compression::tests::{ALL, compress};
    use osier_archive::Compression;
    use proptest::prelude::*;

    pub(crate) fn member(name: &str, content: &[u8]) -> Vec<u8> {
        let mut bytes =
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len())
                .into_bytes();
        bytes.extend(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
        bytes
    }

    /// Builds a package around the bytes of a tar archive.
    pub(crate) fn package(compression: Option<Compression>, tar: &[u8]) -> Vec<u8> {
        let data = compress(compression, tar);
        [
            b"!<arch>\n".to_vec(),
            member("debian-binary", b"2.0\n"),
            member("control.tar.xz", b"odd"),
            member("data.tar.x/", &data),
        ]
        .concat()
    }

    fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let words = |problem| match problem {
            Problem::Io(error) => format!("io: {:?}", error.kind()),
            Problem::Format(problem) => problem.to_owned(),
        };
        let mut content = Vec::new();
        data_of(bytes)
            .map_err(words)?
            .read_to_end(&mut content)
            .map_err(|error| words(error.into()))?;
        Ok(content)
    }

    #[test]
    fn data_is_read_in_every_compression() {
        let content = b"content ".repeat(1000);
        for compression in ALL {
            assert_eq!(read(&package(compression, &content)).unwrap(), content, "{compression:?}");
        }
    }

    #[test]
    fn damaged_packages_are_errors() {
        let good = package(None, b"0123456789");
        let table: [(Vec<u8>, &str); 7] = [
            (b"".to_vec(), "io: UnexpectedEof"),
            (b"!<arcx>\n".to_vec(), "not a Debian package"),
            (good[..8].to_vec(), "has no member data.tar"),
            (good[..100].to_vec(), "io: UnexpectedEof"),
            (
                [&b"!<arch>\n"[..], &member("data.tar", b"x")].concat(),
                "does not begin with the member debian-binary",
            ),
            (
                [&b"!<arch>\n"[..], &member("debian-binary", b"3.0\n")].concat(),
                "has a format other than 2",
            ),
            (
                [
                    &b"!<arch>\n"[..],
                    &member("debian-binary", b"2.0\n"),
                    &member("control.tar", b"x"),
                ]
                .concat(),
                "has no member data.tar",
            ),
        ];
        for (bytes, problem) in table {
            assert_eq!(read(&bytes), Err(problem.to_owned()));
        }
        for compression in ALL {
            let bytes = package(compression, &b"some content ".repeat(50));
            assert!(read(&bytes[..bytes.len() - 9]).is_err(), "{compression:?}");
        }
        let mut bad_size = good.clone();
        bad_size[8 + 48..8 + 58].copy_from_slice(b"x         ");
        assert_eq!(read(&bad_size), Err("has a member without a size".to_owned()));
        let mut bad_end = good;
        bad_end[8 + 58] = b'x';
        assert_eq!(read(&bad_end), Err("has a damaged member header".to_owned()));
    }

    proptest! {
        #[test]
        fn any_change_ends_without_panic(place in 0usize..260, byte in any::<u8>(), cut in 0usize..260) {
            let mut bytes = package(Some(Compression::Gzip), b"some content, some content");
            if let Some(found) = bytes.get_mut(place) {
                *found = byte;
            }
            let _ = read(&bytes);
            let _ = read(&bytes[..cut.min(bytes.len())]);
        }
    }
}
