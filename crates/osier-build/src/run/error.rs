//! Why a build, or a visit to a step, came to nothing.

use osier_store::{BlobError, FileError};

use crate::failure::Failure;

/// Why a build has no results.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Steps failed.
    #[error("{} step(s) failed", .0.len())]
    Failed(Vec<Failure>),
    /// The build was asked to stop.
    #[error("interrupted; the next build continues from here")]
    Interrupted,
    /// The disk is below the reserve.
    #[error(
        "only {free} bytes of disk are free, less than the reserve of {reserve}; make room (`osier gc` helps) and build again: it continues from here"
    )]
    NoSpace {
        /// Free bytes.
        free: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// What is to be built again is in use.
    #[error("another osier process is using these results; try again when it has finished")]
    InUse,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] FileError),
    /// Stored bytes were damaged, again and again.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Why a step cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// What its component needs is not built.
    #[error("{0} cannot be entered yet: something that it depends on is not built")]
    InputsNotBuilt(String),
    /// A step below it is not done.
    #[error("{0} comes first and is not done yet")]
    StepNotDone(String),
    /// Without overlays there is no layer to enter.
    #[error("degraded mode cannot enter a step")]
    Degraded,
    /// As for builds.
    #[error(transparent)]
    Build(#[from] BuildError),
}
