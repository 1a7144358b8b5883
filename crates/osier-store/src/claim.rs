//! The file by which a process holds what it uses; `lease.rs` beside this one says how it is used.

use std::fs::{self, File};
use std::path::PathBuf;

/// This process's claim on the store; ends when dropped, or with the process.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Left in place, it is dead all the same, and gc removes it.
        let _ = fs::remove_file(&self.path);
    }
}
