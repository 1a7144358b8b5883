//! A suite of Debian's archive, reached through a transport of the caller's.

use std::sync::OnceLock;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::compression::{DecompressError, decompress};
use crate::index::{IndexError, PackageIndex, SourceIndex};
use crate::keyring::Keyring;
use crate::release::{IndexFile, Release, ReleaseError};

/// The component that is used; the others are not free or not part of Debian.
const COMPONENT: &str = "main";

/// Tells why a file was not got.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The mirror has no such file.
    #[error("{url}: not found")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// Anything else.
    #[error("cannot get {url}")]
    Failed {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Gets files of a mirror.
pub trait Transport {
    /// Gets a file whole, by its path below the mirror's base, such as `dists/bookworm/InRelease`.
    ///
    /// `expected` is the SHA-256 (hexadecimal) and the size in bytes where they are known; an implementation may
    /// serve the file from a store by it. The caller checks the bytes once more.
    ///
    /// # Errors
    /// [`TransportError`]; `NotFound` only where the mirror answers so.
    fn get(&self, path: &str, expected: Option<(&str, u64)>) -> Result<Vec<u8>, TransportError>;
}

/// Tells why a suite cannot be used.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// A file was not got.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The suite's release file is not believed.
    #[error("{path}")]
    Release {
        /// Path of the file below the mirror's base.
        path: String,
        /// Why.
        #[source]
        source: ReleaseError,
    },
    /// The release names no index of this kind.
    #[error("suite `{suite}` has no index {path}")]
    NoIndex {
        /// The suite.
        suite: String,
        /// Path below the suite's folder, without the ending of a compression.
        path: String,
    },
    /// An index is not the file that the release vouches for.
    #[error(
        "{path}: expected SHA-256 {expected} and {expected_size} bytes, got {found} and {found_size}"
    )]
    Mismatch {
        /// Path of the file below the mirror's base.
        path: String,
        /// SHA-256 by the release.
        expected: String,
        /// Size in bytes by the release.
        expected_size: u64,
        /// SHA-256 of what was got.
        found: String,
        /// Size in bytes of what was got.
        found_size: u64,
    },
    /// An index cannot be decompressed.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// An index cannot be read.
    #[error("{path}")]
    Index {
        /// Path of the file below the mirror's base.
        path: String,
        /// Why.
        #[source]
        source: IndexError,
    },
}

/// A suite whose release has been verified; its indexes are got when they are first asked for.
pub struct Archive<'t> {
    transport: &'t dyn Transport,
    suite: String,
    architecture: String,
    release: Release,
    packages: OnceLock<PackageIndex>,
    sources: OnceLock<SourceIndex>,
}

impl<'t> Archive<'t> {
    /// Gets and verifies the release of a suite, by its name or codename; `architecture` is Debian's name of it,
    /// such as `amd64`.
    ///
    /// # Errors
    /// [`ArchiveError`]: nothing that is not signed, of this suite and in force is believed.
    pub fn open(
        transport: &'t dyn Transport,
        suite: &str,
        architecture: &str,
        keyring: &Keyring,
        now: SystemTime,
    ) -> Result<Self, ArchiveError> {
        let path = format!("dists/{suite}/InRelease");
        let bytes = transport.get(&path, None)?;
        let release = Release::verify(&bytes, keyring, now)
            .and_then(|release| release.require_suite(suite).map(|()| release))
            .map_err(|source| ArchiveError::Release { path, source })?;
        Ok(Self {
            transport,
            suite: suite.to_owned(),
            architecture: architecture.to_owned(),
            release,
            packages: OnceLock::new(),
            sources: OnceLock::new(),
        })
    }

    /// Returns the verified release.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Returns the binary packages; those for all architectures are among them.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn packages(&self) -> Result<&PackageIndex, ArchiveError> {
        let path = format!("{COMPONENT}/binary-{}/Packages", self.architecture);
        self.index(&self.packages, &path, PackageIndex::parse)
    }

    /// Returns the source packages.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn sources(&self) -> Result<&SourceIndex, ArchiveError> {
        self.index(&self.sources, &format!("{COMPONENT}/source/Sources"), SourceIndex::parse)
    }

    fn index<'a, T>(
        &self,
        slot: &'a OnceLock<T>,
        path: &str,
        parse: impl Fn(&[u8]) -> Result<T, IndexError>,
    ) -> Result<&'a T, ArchiveError> {
        if let Some(index) = slot.get() {
            return Ok(index);
        }
        let file = [".xz", ".gz", ""]
            .iter()
            .find_map(|ending| self.release.index(&format!("{path}{ending}")));
        let no_index =
            || ArchiveError::NoIndex { suite: self.suite.clone(), path: path.to_owned() };
        let file = file.ok_or_else(no_index)?;
        let text = decompress(&file.path, &self.get(&file)?)?;
        let index = parse(&text)
            .map_err(|source| ArchiveError::Index { path: self.path(&file.path), source })?;
        Ok(slot.get_or_init(|| index))
    }

    fn path(&self, file: &str) -> String {
        format!("dists/{}/{file}", self.suite)
    }

    /// Gets an index: under its hash first, where it stays while the suite is being changed, then under its name.
    fn get(&self, file: &IndexFile) -> Result<Vec<u8>, ArchiveError> {
        let by_hash = file.by_hash.as_ref().map(|path| self.get_checked(path, file));
        match by_hash {
            Some(Ok(bytes)) => Ok(bytes),
            _ => self.get_checked(&file.path, file),
        }
    }

    fn get_checked(&self, path: &str, file: &IndexFile) -> Result<Vec<u8>, ArchiveError> {
        let path = self.path(path);
        let bytes = self.transport.get(&path, Some((&file.sha256, file.size)))?;
        let found: String =
            Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if bytes.len() as u64 == file.size && found == file.sha256 {
            return Ok(bytes);
        }
        Err(ArchiveError::Mismatch {
            path,
            expected: file.sha256.clone(),
            expected_size: file.size,
            found,
            found_size: bytes.len() as u64,
        })
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
