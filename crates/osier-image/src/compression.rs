//! Compresses images to bytes that depend on the input and the level alone.

use std::io::{self, Write};
use std::num::NonZeroU32;

use flate2::GzBuilder;
use flate2::write::GzEncoder;
use liblzma::stream::{Check, Stream};
use liblzma::write::XzEncoder;

/// How an image is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip, level 0 to 9; neither time nor name in its header.
    Gzip {
        /// The level.
        level: u8,
    },
    /// Xz, level 0 to 9, in one block with a CRC32: the kernel knows no CRC64.
    Xz {
        /// The level.
        level: u8,
    },
    /// Zstandard, level 1 to 19: higher levels need windows above the kernel's 8 MiB.
    Zstd {
        /// The level.
        level: u8,
    },
}

/// A compression level that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{format} has no level {level} that the kernel reads; choose {lowest} to {highest}")]
pub struct CompressionLevelError {
    /// The format's name.
    pub format: &'static str,
    /// The level that was asked for.
    pub level: u8,
    /// The lowest possible.
    pub lowest: u8,
    /// The highest possible.
    pub highest: u8,
}

impl Compression {
    /// Checks the level.
    pub fn check(self) -> Result<(), CompressionLevelError> {
        let (format, level, lowest, highest) = match self {
            Compression::None => return Ok(()),
            Compression::Gzip { level } => ("gzip", level, 0, 9),
            Compression::Xz { level } => ("xz", level, 0, 9),
            Compression::Zstd { level } => ("zstd", level, 1, 19),
        };
        if (lowest..=highest).contains(&level) {
            return Ok(());
        }
        Err(CompressionLevelError { format, level, lowest, highest })
    }

    /// Names the encoder: other versions may give other bytes, so this belongs into cache keys.
    ///
    /// A test compares the names with the locked versions.
    pub fn encoder_version(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip { .. } => "zlib-rs 0.6.8",
            Compression::Xz { .. } => "liblzma-sys 0.4.9",
            Compression::Zstd { .. } => "zstd-sys 2.1.2+zstd.1.5.7",
        }
    }
}

/// Encoders are fed in pieces of this size whatever the caller writes, so that the caller's
/// rhythm cannot reach the bytes.
const PIECE_BYTES: usize = 128 * 1024;

/// Compresses what is written to it. [`Compressor::finish`] must be called: a compressor that is
/// dropped leaves a stream that may lack its end.
pub struct Compressor<W: Write> {
    encoder: Encoder<W>,
    piece: Vec<u8>,
}

enum Encoder<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Xz(XzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// Begins a stream to `out`.
    ///
    /// `threads` is how many threads zstd may use; it does not change the bytes. A level out of
    /// range is an error of kind `InvalidInput` that holds a [`CompressionLevelError`].
    pub fn new(out: W, compression: Compression, threads: NonZeroU32) -> io::Result<Self> {
        compression.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let encoder = match compression {
            Compression::None => Encoder::None(out),
            Compression::Gzip { level } => {
                let level = flate2::Compression::new(level.into());
                Encoder::Gzip(GzBuilder::new().mtime(0).write(out, level))
            }
            Compression::Xz { level } => {
                let stream = Stream::new_easy_encoder(level.into(), Check::Crc32)?;
                Encoder::Xz(XzEncoder::new_stream(out, stream))
            }
            Compression::Zstd { level } => {
                let mut encoder = zstd::Encoder::new(out, level.into())?;
                encoder.include_checksum(true)?;
                // With one worker or more, zstd cuts its input by size alone. Without workers
                // it cuts otherwise, so there is always one at least.
                encoder.multithread(threads.get())?;
                Encoder::Zstd(encoder)
            }
        };
        Ok(Compressor { encoder, piece: Vec::with_capacity(PIECE_BYTES) })
    }

    /// Ends the stream and returns what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.push()?;
        match self.encoder {
            Encoder::None(out) => Ok(out),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Xz(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }

    fn push(&mut self) -> io::Result<()> {
        match &mut self.encoder {
            Encoder::None(out) => out.write_all(&self.piece)?,
            Encoder::Gzip(encoder) => encoder.write_all(&self.piece)?,
            Encoder::Xz(encoder) => encoder.write_all(&self.piece)?,
            Encoder::Zstd(encoder) => encoder.write_all(&self.piece)?,
        }
        self.piece.clear();
        Ok(())
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE_BYTES {
            self.push()?;
        }
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Does nothing: to flush in mid-stream would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest;
    use std::io::Read;

    const ALL: [Compression; 4] = [
        Compression::None,
        Compression::Gzip { level: 6 },
        Compression::Xz { level: 6 },
        Compression::Zstd { level: 3 },
    ];

    /// Makes text-like bytes that differ along the way, by a fixed linear congruence.
    fn sample(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut sample = Vec::with_capacity(bytes);
        while sample.len() < bytes {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            sample.extend_from_slice(
                format!("symbol_{} = 0x{:x};\n", state >> 20, state >> 26).as_bytes(),
            );
        }
        sample.truncate(bytes);
        sample
    }

    fn compress(input: &[u8], compression: Compression, threads: u32, piece: usize) -> Vec<u8> {
        let threads = NonZeroU32::new(threads).unwrap();
        let mut compressor = Compressor::new(Vec::new(), compression, threads).unwrap();
        for piece in input.chunks(piece) {
            compressor.write_all(piece).unwrap();
            compressor.flush().unwrap();
        }
        compressor.finish().unwrap()
    }

    fn decompress(bytes: &[u8], compression: Compression) -> Vec<u8> {
        let mut output = Vec::new();
        match compression {
            Compression::None => output.extend_from_slice(bytes),
            Compression::Gzip { .. } => {
                flate2::read::GzDecoder::new(bytes).read_to_end(&mut output).map(drop).unwrap();
            }
            Compression::Xz { .. } => {
                liblzma::read::XzDecoder::new(bytes).read_to_end(&mut output).map(drop).unwrap();
            }
            Compression::Zstd { .. } => output = zstd::decode_all(bytes).unwrap(),
        }
        output
    }

    #[test]
    fn round_trip_whatever_the_rhythm() {
        for size in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 7] {
            let input = sample(size);
            for compression in ALL {
                let bytes = compress(&input, compression, 1, usize::MAX);
                assert!(decompress(&bytes, compression) == input, "{compression:?} {size}");
                assert!(compress(&input, compression, 1, 1000) == bytes, "{compression:?} {size}");
            }
        }
    }

    /// The input is cut into several jobs, of 8 MiB at level 3 and 2 MiB at level 1.
    #[test]
    fn zstd_threads_do_not_change_the_bytes() {
        let input = sample(20 << 20);
        for level in [1, 3] {
            let compression = Compression::Zstd { level };
            let one = compress(&input, compression, 1, 70_000);
            for threads in [2, 5] {
                assert!(compress(&input, compression, threads, 4096) == one, "{level} {threads}");
            }
            assert!(decompress(&one, compression) == input);
        }
    }

    #[test]
    fn headers_are_what_the_kernel_reads() {
        let gzip = compress(b"x", Compression::Gzip { level: 9 }, 1, 9);
        // Magic, deflate, no flags, no time; then extra flags and an unknown system.
        assert_eq!(gzip[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
        assert_eq!(gzip[9], 255);
        let xz = compress(b"x", Compression::Xz { level: 6 }, 1, 9);
        // Magic, then stream flags: 1 is CRC32.
        assert_eq!(xz[..8], [0xfd, b'7', b'z', b'X', b'Z', 0, 0, 1]);
        for level in [1, 3, 19] {
            let zstd = compress(b"x", Compression::Zstd { level }, 1, 9);
            assert_eq!(zstd[..4], [0x28, 0xb5, 0x2f, 0xfd]);
            // Neither single segment nor dictionary: the window descriptor follows, whose upper
            // five bits are the exponent above 2^10. The kernel takes 2^23.
            assert_eq!(zstd[4] & 0b0010_0011, 0);
            let exponent = 10 + (zstd[5] >> 3);
            assert!(exponent < 23 || exponent == 23 && zstd[5] & 7 == 0, "level {level}");
        }
    }

    #[test]
    fn levels_out_of_range() {
        let table = [
            (
                Compression::Gzip { level: 10 },
                "gzip has no level 10 that the kernel reads; choose 0 to 9",
            ),
            (
                Compression::Xz { level: 10 },
                "xz has no level 10 that the kernel reads; choose 0 to 9",
            ),
            (
                Compression::Zstd { level: 0 },
                "zstd has no level 0 that the kernel reads; choose 1 to 19",
            ),
            (
                Compression::Zstd { level: 20 },
                "zstd has no level 20 that the kernel reads; choose 1 to 19",
            ),
        ];
        for (compression, message) in table {
            let error = Compressor::new(Vec::new(), compression, NonZeroU32::MIN).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_full_disk_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let input = sample(1 << 20);
        for compression in ALL {
            let mut compressor = Compressor::new(Full, compression, NonZeroU32::MIN).unwrap();
            let result = compressor.write_all(&input).and_then(|()| compressor.finish().map(drop));
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull, "{compression:?}");
        }
    }

    /// When this fails, an encoder gives other bytes under the same name.
    #[test]
    fn golden() {
        let digests = [
            "08a74cc9199aaa8a64dfab28f53d24566b5519e8fede9fb844e4439c82c24915",
            "ea364114abed8f090a014c4c14a5fe7de7e058f5cee0bfd04b69073060a2a478",
            "a7103aeea15b40cebe258ad792f9996b5fe757e0bb4a6230c1ed343cef27aef7",
            "c83b23f90d4b0467a2868b60044af32fcefcb5ca37cc3667aa2a94cda21d4be1",
        ];
        for (compression, expected) in ALL.into_iter().zip(digests) {
            let bytes = compress(&sample(1 << 20), compression, 2, 999);
            let digest = sha2::Sha256::digest(&bytes);
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, expected, "{compression:?}");
        }
    }

    /// The names in `encoder_version` are those of the packages that are built.
    #[test]
    fn encoder_versions_are_the_locked_ones() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
        let lock = std::fs::read_to_string(lock).unwrap();
        for compression in ALL {
            if compression == Compression::None {
                continue;
            }
            let (name, version) = compression.encoder_version().split_once(' ').unwrap();
            let package = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&package), "{package}");
        }
    }
}
