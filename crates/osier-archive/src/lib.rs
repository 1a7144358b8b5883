//! Archives that others made, read entry by entry: tar in all its forms, cpio, ar, rpm and zip, and the compressions around them.
//!
//! What a file is is told by its content, see [`open`]. This crate only reads: it makes no file, and judges no path. Whoever
//! lays entries out has to do that. Nothing in an archive is believed: a size is never allocated before its bytes are there.
//!
//! | module | what it reads |
//! | --- | --- |
//! | `format.rs` | what a file is: by its first bytes, by its name, by what a recipe says |
//! | `compression.rs`, `lzw.rs` | gzip, bzip2, xz, zstd, lzma, lzip, compress |
//! | `tar.rs`, `header.rs`, `extended.rs`, `sparse.rs` | tar: v7, ustar, pax, GNU, star |
//! | `cpio.rs`, `ar.rs`, `rpm.rs`, `zip.rs` | the others |
//!
//! The table of what is read and what is refused is `docs/reference/archives.md`.

mod ar;
mod compression;
mod content;
mod cpio;
mod extended;
mod format;
mod header;
mod lzw;
mod open;
mod rpm;
mod sparse;
mod tar;
mod zip;

#[cfg(test)]
mod tests;

pub use compression::Compression;
pub use content::{Content, Entry, Kind, ReadError, Time};
pub use format::{Container, Format};
pub use open::{Archive, OpenError, Opened, open};
pub use tar::read_tar;
