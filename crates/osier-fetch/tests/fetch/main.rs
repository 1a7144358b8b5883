//! Each promise of the crate against a real server on the loopback.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may stop where it fails"
)]

mod heal;
mod limits;
mod local;
mod many;
mod network;
mod server;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use osier_fetch::{FetchError, Fetched, Fetcher, Settings, Want};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A file of the size used in the measurement that these tests repeat.
pub(crate) const SIZE: usize = 200_000;

pub(crate) fn bytes(seed: u32) -> Vec<u8> {
    (0..u32::try_from(SIZE).unwrap())
        .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8)
        .collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) fn settings() -> Settings {
    Settings {
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(2),
        ..Settings::default()
    }
}

pub(crate) fn fetcher() -> Fetcher {
    Fetcher::new(settings()).unwrap()
}

pub(crate) fn want(body: &[u8], places: Vec<String>) -> Want {
    Want {
        name: "file".into(),
        places,
        sha256: Some(sha256(body)),
        size: Some(body.len() as u64),
        limit: 10_000_000,
    }
}

/// Folders of one test: parts and delivered files.
pub(crate) struct Space {
    root: TempDir,
}

impl Space {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.root.path().join("parts")
    }

    pub(crate) fn deliver(&self) -> PathBuf {
        self.root.path().join("out/file")
    }

    /// Path of the part of a want.
    pub(crate) fn part(&self, want: &Want) -> PathBuf {
        let key = want.sha256.unwrap_or_else(|| sha256(want.places[0].as_bytes()));
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder().join(format!("{key}.part"))
    }

    /// Leaves a part as an earlier run would.
    pub(crate) fn leave(&self, want: &Want, part: &[u8], origin: Option<&str>) {
        fs::create_dir_all(self.folder()).unwrap();
        fs::write(self.part(want), part).unwrap();
        if let Some(origin) = origin {
            fs::write(self.part(want).with_extension("part.json"), origin).unwrap();
        }
    }

    pub(crate) fn fetch(&self, want: &Want) -> Result<Fetched, FetchError> {
        fetcher().fetch(want, &self.folder(), &self.deliver(), &|_| {})
    }

    /// Checks that the right file was delivered and nothing else is left.
    pub(crate) fn assert_delivered(&self, body: &[u8]) {
        assert!(fs::read(self.deliver()).unwrap() == body, "delivered bytes differ");
        let left: Vec<_> =
            fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}
