//! Why a file was not fetched.

use std::io;
use std::path::PathBuf;

use crate::cause::{Cause, Hex};

/// Says why a file was not fetched. What had come stays in the part file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The want names no place.
    #[error("{name}: there is no address to fetch it from")]
    NoPlace {
        /// Name of the want.
        name: String,
    },
    /// Each place failed; in the order of the places.
    #[error("{}", listed(name, failures))]
    AllPlacesFailed {
        /// Name of the want.
        name: String,
        /// Each place with its last failure.
        failures: Vec<(String, Cause)>,
    },
    /// Every place gave a whole file with another content; the first is told here.
    #[error("{name}: sha256 of {place} is {}, expected {}", Hex(found), Hex(expected))]
    HashMismatch {
        /// Name of the want.
        name: String,
        /// URL or path of the file.
        place: String,
        /// SHA-256 expected.
        expected: [u8; 32],
        /// SHA-256 found.
        found: [u8; 32],
    },
    /// The disk or the quota is full.
    #[error("no space left to write {}", path.display())]
    NoSpace {
        /// File being written.
        path: PathBuf,
    },
    /// A file may not be read or written.
    #[error("no permission for {}: {source}", path.display())]
    NoPermission {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another failure of a local file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl FetchError {
    /// Says whether every place answered that it has no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::AllPlacesFailed { failures, .. }
            if failures.iter().all(|(_, cause)| matches!(cause, Cause::NotFound)))
    }

    /// Says whether a place has a file of more bytes than are taken where the size is not known.
    pub fn is_too_big(&self) -> bool {
        matches!(self, Self::AllPlacesFailed { failures, .. }
            if failures.iter().any(|(_, cause)| matches!(cause, Cause::TooBig { .. })))
    }
}

fn listed(name: &str, failures: &[(String, Cause)]) -> String {
    match failures {
        [(place, cause)] if place == name => format!("{place}: {cause}"),
        [(place, cause)] => format!("{name}: {place}: {cause}"),
        _ => {
            let lines = failures.iter().map(|(place, cause)| format!("\n  {place}: {cause}"));
            format!("{name}: no address could provide it{}", lines.collect::<String>())
        }
    }
}
