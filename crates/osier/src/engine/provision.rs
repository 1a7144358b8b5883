//! Build environments from Debian packages in the store.

use std::path::{Path, PathBuf};

use osier_build::{Environment, Provision, ProvisionError};
use osier_debian::{Trim, UnpackOptions, unpack_root};
use osier_store::Store;

/// Unpacks pinned Debian packages.
pub(crate) struct DebianPackages;

impl Provision for DebianPackages {
    fn unpack(
        &self,
        environment: &Environment,
        store: &Store,
        into: &Path,
    ) -> Result<(), ProvisionError> {
        let files: Vec<PathBuf> =
            environment.packages.iter().map(|package| store.blob_path(&package.digest)).collect();
        let threads = std::thread::available_parallelism().unwrap_or(std::num::NonZeroUsize::MIN);
        let options = UnpackOptions { trim: Trim::Documentation, threads };
        unpack_root(&files, into, &options)?;
        Ok(())
    }
}
