//! Compressions that the archive uses, told apart by their first bytes.

use std::io::{self, BufRead, Read};

use thiserror::Error;

/// Most bytes that one index or patch archive may unpack to; Debian's largest index has about 60 MB.
const LIMIT: u64 = 1 << 30;

/// Tells why a compressed file could not be read whole.
#[derive(Debug, Error)]
pub enum DecompressError {
    /// The compressed data is damaged or ends early.
    #[error("{name}: damaged {compression} data")]
    Damaged {
        /// Name of the file.
        name: String,
        /// The compression found.
        compression: Compression,
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

/// A compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Stored as it is.
    None,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz, with the old lzma format beside it.
    Xz,
    /// Zstandard.
    Zstd,
}

impl std::fmt::Display for Compression {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

impl Compression {
    /// Tells the compression of data from its first bytes.
    pub fn of_bytes(start: &[u8]) -> Self {
        let magics: [(&[u8], Self); 4] = [
            (b"\x1f\x8b", Self::Gzip),
            (b"BZh", Self::Bzip2),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
        ];
        magics
            .iter()
            .find(|(magic, _)| start.starts_with(magic))
            .map_or(Self::None, |(_, found)| *found)
    }

    /// Wraps a reader of compressed data; concatenated streams are read through.
    ///
    /// # Errors
    /// Those of setting up a decoder.
    pub fn reader<'a>(
        self,
        input: impl BufRead + Send + 'a,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(input),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
            Self::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(input)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        })
    }
}

/// Unpacks a whole file in memory; `name` is for the error only, the format is told by the first bytes.
///
/// # Errors
/// [`DecompressError`]: damaged or truncated data, or more than 1 GiB of content.
pub fn decompress(name: &str, bytes: &[u8]) -> Result<Vec<u8>, DecompressError> {
    let compression = Compression::of_bytes(bytes);
    let damaged = |source| DecompressError::Damaged { name: name.to_owned(), compression, source };
    let mut content = Vec::with_capacity(bytes.len().saturating_mul(6).min(128 << 20));
    let mut reader = compression.reader(bytes).map_err(damaged)?.take(LIMIT + 1);
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

    pub(crate) fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => bytes.to_vec(),
            Compression::Gzip => {
                let mut writer =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut writer =
                    bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Compression::Xz => {
                let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 0);
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Compression::Zstd => {
                let mut writer = zstd::Encoder::new(Vec::new(), 1).unwrap();
                writer.include_checksum(true).unwrap();
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
        }
    }

    pub(crate) const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Xz,
        Compression::Zstd,
    ];

    #[test]
    fn each_compression_is_told_and_read() {
        let text = b"some text that repeats, some text that repeats".repeat(100);
        for compression in ALL {
            let packed = compress(compression, &text);
            assert_eq!(Compression::of_bytes(&packed), compression);
            assert_eq!(decompress("x", &packed).unwrap(), text);
            if compression != Compression::None {
                let cut = decompress("x", &packed[..packed.len() / 2]);
                assert!(matches!(cut, Err(DecompressError::Damaged { .. })), "{compression}");
            }
        }
    }
}
