//! Compressions, told by the first bytes.

use std::io::{self, BufRead, Read};

use crate::content::wrong;
use crate::lzw::Lzw;

/// A way in which a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// The form before xz.
    Lzma,
    /// lzip.
    Lzip,
    /// compress, the oldest.
    Compress,
}

impl std::fmt::Display for Compression {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lzma => "lzma",
            Self::Lzip => "lzip",
            Self::Compress => "compress",
        })
    }
}

/// Bytes to look at to tell a compression.
pub(crate) const MAGIC: usize = 13;

/// The most memory that unpacking may take, as with libarchive; `xz -9` asks for 65 MiB.
const MOST_MEMORY: u64 = 1 << 30;

impl Compression {
    /// Tells the compression from the first bytes, of which there should be 13.
    pub fn of_bytes(start: &[u8]) -> Option<Self> {
        let magics: [(&[u8], Self); 6] = [
            (b"\x1f\x8b", Self::Gzip),
            (b"\x1f\x9d", Self::Compress),
            (b"BZh", Self::Bzip2),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
            (b"LZIP", Self::Lzip),
        ];
        if let Some((_, found)) = magics.iter().find(|(magic, _)| start.starts_with(magic)) {
            return Some(*found);
        }
        // Frames of Zstandard that hold something else, as pzstd writes them first.
        if start.len() >= 4 && start[1..4] == *b"\x2a\x4d\x18" && start[0] & 0xf0 == 0x50 {
            return Some(Self::Zstd);
        }
        is_lzma(start).then_some(Self::Lzma)
    }

    /// Wraps a reader of compressed bytes. Streams that follow one another are read as one; zeros behind them are passed over.
    ///
    /// gzip, bzip2 and lzip themselves ignore whatever follows their streams, and so does this; xz and zstd call it an error.
    pub fn reader<R: Read + Send>(self, input: R) -> impl Read + Send {
        Streams { compression: self, state: State::Between(Peeked::new(input)), first: true }
    }

    fn ignores_what_follows(self) -> bool {
        matches!(self, Self::Gzip | Self::Bzip2 | Self::Lzip)
    }
}

/// lzma has no magic number: its properties, the size of the dictionary and the size of the content tell it.
fn is_lzma(start: &[u8]) -> bool {
    let Some((head, _)) = start.split_first_chunk::<13>() else { return false };
    let dictionary = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    let bits = dictionary.count_ones();
    let round =
        bits == 1 || dictionary == u32::MAX || bits == 2 && dictionary & (dictionary >> 1) != 0;
    // The size is unknown, or less than 1 TiB.
    let size = head[5..].iter().all(|byte| *byte == 0xff) || head[10..] == [0; 3];
    head[0] == 0x5d && dictionary >= 1 << 12 && round && size
}

/// Streams one after the other.
struct Streams<R: Read> {
    compression: Compression,
    state: State<R>,
    first: bool,
}

enum State<R: Read> {
    Between(Peeked<R>),
    Gzip(Box<flate2::bufread::GzDecoder<Peeked<R>>>),
    Bzip2(bzip2::bufread::BzDecoder<Peeked<R>>),
    /// xz, lzma and lzip.
    Lzma(liblzma::bufread::XzDecoder<Peeked<R>>),
    Zstd(zstd::stream::read::Decoder<'static, Peeked<R>>),
    Compress(Box<Lzw<Peeked<R>>>),
    End,
}

impl<R: Read> Read for Streams<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let read = match &mut self.state {
                State::Between(_) => {
                    self.begin()?;
                    continue;
                }
                State::End => return Ok(0),
                State::Gzip(decoder) => decoder.read(buffer),
                State::Bzip2(decoder) => decoder.read(buffer),
                State::Lzma(decoder) => decoder.read(buffer).map_err(too_much_memory),
                State::Zstd(decoder) => decoder.read(buffer),
                State::Compress(decoder) => decoder.read(buffer),
            }?;
            if read > 0 {
                return Ok(read);
            }
            self.state = match std::mem::replace(&mut self.state, State::End) {
                State::Gzip(decoder) => State::Between(decoder.into_inner()),
                State::Bzip2(decoder) => State::Between(decoder.into_inner()),
                State::Lzma(decoder) => State::Between(decoder.into_inner()),
                State::Zstd(decoder) => State::Between(decoder.finish()),
                // Its end is that of the file.
                State::Compress(_) | State::Between(_) | State::End => State::End,
            };
        }
    }
}

impl<R: Read> Streams<R> {
    /// Starts the next stream, or ends.
    fn begin(&mut self) -> io::Result<()> {
        let State::Between(mut input) = std::mem::replace(&mut self.state, State::End) else {
            return Ok(());
        };
        if !std::mem::replace(&mut self.first, false) {
            input.pass_zeros()?;
            let start = input.peek(MAGIC)?;
            if start.is_empty() {
                return Ok(());
            }
            if Compression::of_bytes(start) != Some(self.compression) {
                if self.compression.ignores_what_follows() {
                    return Ok(());
                }
                return Err(wrong("something else follows the compressed bytes"));
            }
        }
        let lzma = |stream: Result<_, liblzma::stream::Error>, input| {
            Ok::<_, io::Error>(State::Lzma(liblzma::bufread::XzDecoder::new_stream(input, stream?)))
        };
        use liblzma::stream::Stream;
        self.state = match self.compression {
            Compression::Gzip => State::Gzip(Box::new(flate2::bufread::GzDecoder::new(input))),
            Compression::Bzip2 => State::Bzip2(bzip2::bufread::BzDecoder::new(input)),
            Compression::Xz => lzma(Stream::new_stream_decoder(MOST_MEMORY, 0), input)?,
            Compression::Lzma => lzma(Stream::new_lzma_decoder(MOST_MEMORY), input)?,
            Compression::Lzip => lzma(Stream::new_lzip_decoder(MOST_MEMORY, 0), input)?,
            Compression::Zstd => {
                State::Zstd(zstd::stream::read::Decoder::with_buffer(input)?.single_frame())
            }
            Compression::Compress => State::Compress(Box::new(Lzw::new(input)?)),
        };
        Ok(())
    }
}

/// Says in words that a limit of memory was reached.
fn too_much_memory(error: io::Error) -> io::Error {
    let found = error.get_ref().and_then(|inner| inner.downcast_ref());
    match found {
        Some(liblzma::stream::Error::MemLimit) => {
            wrong("unpacking it takes more than 1 GiB of memory")
        }
        _ => error,
    }
}

/// A buffer that can be looked into.
pub(crate) struct Peeked<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Peeked<R> {
    fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; 1 << 17], start: 0, end: 0 }
    }

    /// Gives the next bytes without taking them; fewer at the end.
    fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.end - self.start < count {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            while self.end < count {
                match self.reader.read(&mut self.buffer[self.end..]) {
                    Ok(0) => break,
                    Ok(more) => self.end += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + count)])
    }

    fn pass_zeros(&mut self) -> io::Result<()> {
        loop {
            let held = self.fill_buf()?;
            let zeros = held.iter().take_while(|byte| **byte == 0).count();
            let done = zeros < held.len() || zeros == 0;
            self.consume(zeros);
            if done {
                return Ok(());
            }
        }
    }
}

impl<R: Read> BufRead for Peeked<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.peek(1)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
    }
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;

    pub(crate) fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        let lzma = |encoder: liblzma::stream::Stream| {
            let mut writer = liblzma::write::XzEncoder::new_stream(Vec::new(), encoder);
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        };
        match compression {
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
                let check = liblzma::stream::Check::Crc64;
                lzma(liblzma::stream::Stream::new_easy_encoder(0, check).unwrap())
            }
            Compression::Lzma => {
                let options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
                lzma(liblzma::stream::Stream::new_lzma_encoder(&options).unwrap())
            }
            Compression::Zstd => {
                let mut writer = zstd::Encoder::new(Vec::new(), 1).unwrap();
                writer.include_checksum(true).unwrap();
                writer.write_all(bytes).unwrap();
                writer.finish().unwrap()
            }
            Compression::Lzip => lzip(bytes),
            Compression::Compress => crate::lzw::tests::compress(bytes),
        }
    }

    /// Makes an lzip member of an lzma stream: its data without the header, between lzip's own header and trailer.
    fn lzip(bytes: &[u8]) -> Vec<u8> {
        let lzma = compress(Compression::Lzma, bytes);
        let mut member = b"LZIP\x01\x12".to_vec();
        member.extend(&lzma[13..]);
        let mut sum = flate2::Crc::new();
        sum.update(bytes);
        member.extend(sum.sum().to_le_bytes());
        member.extend((bytes.len() as u64).to_le_bytes());
        let size = member.len() as u64 + 8;
        member.extend(size.to_le_bytes());
        member
    }

    pub(crate) const ALL: [Compression; 7] = [
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Xz,
        Compression::Zstd,
        Compression::Lzma,
        Compression::Lzip,
        Compression::Compress,
    ];

    fn read(compression: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        compression.reader(bytes).read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn each_is_told_and_read_and_its_early_end_is_an_error() {
        let text: Vec<u8> = (0..60_000_u32).flat_map(|n| (n * n / 7).to_le_bytes()).collect();
        for compression in ALL {
            let packed = compress(compression, &text);
            assert_eq!(Compression::of_bytes(&packed), Some(compression));
            assert!(read(compression, &packed).unwrap() == text, "{compression}");
            if compression == Compression::Compress {
                continue; // Nothing in it says where it ends.
            }
            for cut in [packed.len() / 2, packed.len() - 1] {
                assert!(read(compression, &packed[..cut]).is_err(), "{compression} {cut}");
            }
        }
        for other in [&b""[..], b"\x1f", b"text", b"PK\x03\x04", b"]\0\0\0\0\0\0\0\0\0\0\0\0"] {
            assert_eq!(Compression::of_bytes(other), None, "{other:?}");
        }
    }

    #[test]
    fn streams_follow_one_another_and_zeros_are_passed_over() {
        for compression in ALL {
            if matches!(compression, Compression::Compress) {
                continue;
            }
            let (one, two) = (compress(compression, b"one "), compress(compression, b"two"));
            for zeros in [0, 1, 511, 10_240, 300_000] {
                let zeros = vec![0; zeros];
                let padded = [&one[..], &zeros].concat();
                assert_eq!(read(compression, &padded).unwrap(), b"one ", "{compression}");
                let both = [&one[..], &zeros, &two, &zeros].concat();
                assert_eq!(read(compression, &both).unwrap(), b"one two", "{compression}");
            }
            let noise = [&one[..], b"noise behind it"].concat();
            let read = read(compression, &noise);
            assert_eq!(read.is_ok(), compression.ignores_what_follows(), "{compression}");
        }
    }

    #[test]
    fn a_dictionary_of_gigabytes_is_refused() {
        // Some bytes can ask for 4 GiB of memory.
        let mut bytes = compress(Compression::Lzma, b"text");
        bytes[1..5].fill(0xff);
        let error = read(Compression::Lzma, &bytes).unwrap_err();
        assert_eq!(error.to_string(), "unpacking it takes more than 1 GiB of memory");
        // What `xz -9` asks for is far less.
        bytes[1..5].copy_from_slice(&(64_u32 << 20).to_le_bytes());
        assert_eq!(read(Compression::Lzma, &bytes).unwrap(), b"text");
    }

    #[test]
    fn the_tools_themselves_read_the_same() {
        use std::process::{Command, Stdio};
        let text: Vec<u8> = (0..40_000_u32).flat_map(|n| (n / 9 * n).to_le_bytes()).collect();
        for (tool, compression) in [
            ("gzip", Compression::Gzip),
            ("gzip", Compression::Compress),
            ("bzip2", Compression::Bzip2),
            ("xz", Compression::Xz),
            ("zstd", Compression::Zstd),
        ] {
            let mut command = Command::new(tool);
            command.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped());
            let Ok(mut child) = command.spawn() else { continue };
            let packed = compress(compression, &text);
            let mut input = child.stdin.take().unwrap();
            let sent = std::thread::spawn(move || input.write_all(&packed).unwrap());
            let output = child.wait_with_output().unwrap();
            sent.join().unwrap();
            assert!(output.stdout == text, "{tool} reads {compression}");
        }
    }
}
