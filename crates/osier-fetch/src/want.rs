//! What is wanted, what is told meanwhile, and how it came.

use crate::cause::Cause;

/// Names the bytes that are wanted.
#[derive(Debug, Clone)]
pub struct Want {
    /// Name for messages, such as a file name.
    pub name: String,
    /// `http`, `https` or `file` URLs that hold the same bytes, best first.
    pub places: Vec<String>,
    /// SHA-256 of the bytes. Without it the file is only as good as its place.
    pub sha256: Option<[u8; 32]>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Bytes taken at most when `size` is not known.
    pub limit: u64,
}

/// Tells what a fetch is doing. Sent once for each piece of data, so the receiver should thin it out.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Another thread or process is fetching the same file.
    Waiting,
    /// `held` bytes of the file are there.
    Held {
        /// Bytes held, those of earlier runs included.
        held: u64,
        /// Size of the file where known.
        total: Option<u64>,
        /// URL that is being asked.
        place: &'a str,
    },
    /// A place failed; another try or another place follows, if one is left.
    Failed {
        /// URL that failed.
        place: &'a str,
        /// Why.
        cause: &'a Cause,
    },
}

/// Tells how a file came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes that came from places in this run, thrown-away ones included.
    pub bytes_moved: u64,
    /// Bytes of earlier runs that are part of the file.
    pub resumed_at: u64,
    /// URL that gave the last byte; empty if the file was already there.
    pub place: String,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Size in bytes.
    pub size: u64,
}
