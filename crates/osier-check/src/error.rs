//! What keeps a check from being made.

use std::io;

/// Why something could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file that the check reads is not there.
    #[error("the step did not write {0}")]
    NotWritten(String),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Its path, as a person knows it.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A fragment is named that the component does not have.
    #[error("the recipe's `files` do not match the fragment {0}")]
    NoFragment(String),
    /// A text is no configuration.
    #[error("{}", .0.join("; "))]
    NotAConfiguration(
        /// What is wrong with it, each with file and line.
        Vec<String>,
    ),
}
