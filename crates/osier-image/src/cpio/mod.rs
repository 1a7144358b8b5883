//! The newc form of cpio, the one that Linux unpacks as an initramfs.
//!
//! After `Documentation/driver-api/early-userspace/buffer-format.rst` of Linux and cpio(5). An
//! entry is a header of 110 bytes (`070701` and 13 numbers of eight hexadecimal digits), the name
//! with a NUL, padding to four bytes, the body, padding to four bytes. A last entry named
//! `TRAILER!!!` ends the archive.

mod reader;
mod writer;

pub use reader::{CpioEntry, CpioReadError, CpioReader, read_tree};
pub use writer::{CpioError, CpioWriter, NEWC_VERSION, append_archive};

const MAGIC: &[u8; 6] = b"070701";
const HEADER_BYTES: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";

const KIND_MASK: u32 = 0o170_000;
const FIFO: u32 = 0o010_000;
const CHARACTER: u32 = 0o020_000;
const FOLDER: u32 = 0o040_000;
const BLOCK: u32 = 0o060_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

#[cfg(test)]
mod tests;
