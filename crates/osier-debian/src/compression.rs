//! Compressed files of the archive, read in memory or as they come.

use std::io::{self, BufRead, Read};

use osier_archive::Compression;
use thiserror::Error;

/// Most bytes that one index or patch archive may unpack to; Debian's largest index has about 60 MB.
const LIMIT: u64 = 1 << 30;

/// Tells why a compressed file could not be read whole.
#[derive(Debug, Error)]
pub enum DecompressError {
    /// The compressed data is damaged or ends early.
    #[error("{name}: damaged compressed data")]
    Damaged {
        /// Name of the file.
        name: String,
        /// The decoder's words.
        #[source]
        source: io::Error,
    },
    /// The content is larger than any honest one.
    #[error("{name}: unpacks to more than {limit} bytes")]
    TooLarge {
        /// Name of the file.
        name: String,
        /// The limit in bytes.
        limit: u64,
    },
}

/// Reads what a file holds, compressed or not, as its first bytes tell.
///
/// # Errors
/// Those of reading the first bytes.
pub(crate) fn reader<'a>(
    mut input: impl BufRead + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match Compression::of_bytes(input.fill_buf()?) {
        Some(compression) => Box::new(compression.reader(input)),
        None => Box::new(input),
    })
}

/// Unpacks a whole file in memory; `name` is for the error only, the format is told by the first bytes.
///
/// # Errors
/// [`DecompressError`]: damaged or truncated data, or more than 1 GiB of content.
pub fn decompress(name: &str, bytes: &[u8]) -> Result<Vec<u8>, DecompressError> {
    let damaged = |source| DecompressError::Damaged { name: name.to_owned(), source };
    let mut content = Vec::with_capacity(bytes.len().saturating_mul(6).min(128 << 20));
    let mut reader = reader(bytes).map_err(damaged)?.take(LIMIT + 1);
    reader.read_to_end(&mut content).map_err(damaged)?;
    if content.len() as u64 > LIMIT {
        return Err(DecompressError::TooLarge { name: name.to_owned(), limit: LIMIT });
    }
    Ok(content)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;

    pub(crate) fn compress(compression: Option<Compression>, bytes: &[u8]) -> Vec<u8> {
        match compression {
            None => bytes.to_vec(),
            Some(Compression::Gzip) => {
                let mut writer =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Some(Compression::Bzip2) => {
                let mut writer =
                    bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Some(Compression::Xz) => {
                let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 0);
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Some(Compression::Zstd) => {
                let mut writer = zstd::Encoder::new(Vec::new(), 1).unwrap();
                writer.include_checksum(true).unwrap();
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            other => panic!("Debian has no {other:?}"),
        }
    }

    pub(crate) const ALL: [Option<Compression>; 5] = [
        None,
        Some(Compression::Gzip),
        Some(Compression::Bzip2),
        Some(Compression::Xz),
        Some(Compression::Zstd),
    ];

    #[test]
    fn each_compression_is_told_and_read() {
        let text = b"some text that repeats, some text that repeats".repeat(100);
        for compression in ALL {
            let packed = compress(compression, &text);
            assert_eq!(Compression::of_bytes(&packed), compression);
            assert_eq!(decompress("x", &packed).unwrap(), text);
            if compression.is_some() {
                let cut = decompress("x", &packed[..packed.len() / 2]);
                assert!(matches!(cut, Err(DecompressError::Damaged { .. })), "{compression:?}");
            }
        }
    }
}
