//! Findings: what osier notices of things that are built well enough to go on, or not.
//!
//! A check is a function from values to [`Finding`]s. It reads no file, asks no clock and runs nothing, so that a finding can
//! be stored beside what it is about and told again. What keeps a check from being made is a [`CheckError`], not a finding.

mod error;
mod finding;
mod kernel_config;
mod registry;
mod root;

pub use error::CheckError;
pub use finding::Finding;
pub use kernel_config::{KernelConfig, Text, kernel_config};
pub use registry::{Code, Level};
pub use root::{ROOT_CHECKS_VERSION, root};
