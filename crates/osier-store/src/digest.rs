//! Digests of content and keys of steps.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// A SHA-256 of some bytes, as the REAPI's `Digest` without its size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// The key of a step: a SHA-256 over everything that the step can see.
///
/// A type of its own, because a key names work and a [`Digest`] names bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 32]);

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256 of 64 hexadecimal digits")]
pub struct ParseDigestError(pub String);

fn hex(bytes: &[u8; 32], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0u8; 64];
    for (position, byte) in bytes.iter().enumerate() {
        text[2 * position] = DIGITS[usize::from(byte >> 4)];
        text[2 * position + 1] = DIGITS[usize::from(byte & 15)];
    }
    out.pad(std::str::from_utf8(&text).expect("hexadecimal digits are ASCII"))
}

fn unhex(text: &str) -> Result<[u8; 32], ParseDigestError> {
    let wrong = || ParseDigestError(text.chars().take(80).collect());
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(wrong());
    }
    let mut bytes = [0u8; 32];
    // All of them before the look whether one was none: an index has thousands to read.
    let mut all = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| VALUES[usize::from(digit)]);
        all |= high | low;
        *byte = high << 4 | low & 15;
    }
    if all > 15 { Err(wrong()) } else { Ok(bytes) }
}

/// What each byte is worth as a digit; 255 for those that are none.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

macro_rules! hash_text {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, out)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, out)
            }
        }
        impl FromStr for $type {
            type Err = ParseDigestError;
            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                unhex(text).map(Self)
            }
        }
    };
}
hash_text!(Digest);
hash_text!(Key);

impl Digest {
    /// Hashes bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Hashes everything that a reader gives, and counts it.
    pub fn of_reader(reader: &mut dyn Read) -> io::Result<(Self, u64)> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0u8; 256 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Hashes bytes as they come by.
#[derive(Default, Clone)]
pub struct Hasher {
    state: Sha256,
    size: u64,
}

impl Hasher {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// Gives the digest and the number of bytes.
    pub fn finish(self) -> (Digest, u64) {
        (Digest(self.state.finalize().into()), self.size)
    }
}

/// Builds a [`Key`] from labelled fields.
///
/// Each field is written as its label, its length and its bytes, so that no two different lists of
/// fields give the same input to the hash.
pub struct KeyBuilder(Sha256);

impl KeyBuilder {
    /// Starts a key of one kind of work, with the version of that work's format.
    pub fn new(kind: &str, version: u32) -> Self {
        let mut builder = Self(Sha256::new());
        builder.field("kind", kind.as_bytes());
        builder.field("version", &version.to_le_bytes());
        builder
    }

    /// Adds one labelled field.
    pub fn field(&mut self, label: &str, value: &[u8]) -> &mut Self {
        self.0.update((label.len() as u64).to_le_bytes());
        self.0.update(label.as_bytes());
        self.0.update((value.len() as u64).to_le_bytes());
        self.0.update(value);
        self
    }

    /// Gives the key.
    pub fn finish(self) -> Key {
        Key(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_digest() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse::<Digest>().unwrap(), Digest::of(b""));
    }

    #[test]
    fn wrong_texts_are_refused() {
        for text in ["", "abc", &"g".repeat(64), &"A".repeat(64), &"0".repeat(63), "ä"] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn field_boundaries_count() {
        let key = |fields: &[(&str, &str)]| {
            let mut builder = KeyBuilder::new("step", 1);
            for (label, value) in fields {
                builder.field(label, value.as_bytes());
            }
            builder.finish()
        };
        assert_ne!(key(&[("a", "bc")]), key(&[("ab", "c")]));
        assert_ne!(key(&[("a", "b"), ("c", "d")]), key(&[("a", "bcd")]));
        // Pinned: a change of the encoding must show here, since it throws every cache away.
        assert_eq!(
            key(&[("a", "b")]).to_string(),
            "beff64515423fe6712de401e26d16283a59f74aba5b6808e1250ab352dcae71f"
        );
    }

    proptest! {
        #[test]
        fn text_round_trip(bytes: [u8; 32]) {
            prop_assert_eq!(Digest(bytes).to_string().parse::<Digest>().unwrap(), Digest(bytes));
        }
    }
}
