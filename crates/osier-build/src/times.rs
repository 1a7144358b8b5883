//! What steps took the last time.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use osier_store::{FileError, IoContext, Store};

/// What a step took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time {
    /// Seconds from its beginning to its end, with the jobs that it happened to get.
    pub wall: f64,
    /// Seconds of processor time, which are much the same whatever runs beside it.
    pub cpu: f64,
}

/// What steps took the last time, by their labels.
pub(crate) struct Times(BTreeMap<String, Time>);

impl Times {
    fn path(store: &Store) -> PathBuf {
        store.root().join("times.log")
    }

    pub(crate) fn read(store: &Store) -> Self {
        let text = fs::read_to_string(Self::path(store)).unwrap_or_default();
        let lines = text.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let label = words.next()?;
            let wall = words.next()?.parse().ok()?;
            // Earlier versions did not note it.
            let cpu = words.next().and_then(|word| word.parse().ok()).unwrap_or(wall);
            Some((label.to_owned(), Time { wall, cpu }))
        });
        Self(lines.collect())
    }

    pub(crate) fn of(&self, label: &str) -> Option<Time> {
        self.0.get(label).copied()
    }

    /// Records the time of a step, where it is worth an estimate.
    pub(crate) fn append(
        store: &Store,
        label: &str,
        wall: Duration,
        cpu: Duration,
    ) -> Result<(), FileError> {
        let (wall, cpu) = (wall.as_secs_f64(), cpu.as_secs_f64());
        if wall < 0.5 {
            return Ok(());
        }
        let path = Self::path(store);
        let mut file =
            fs::OpenOptions::new().append(true).create(true).open(&path).at("open", &path)?;
        file.write_all(format!("{label} {wall:.1} {cpu:.1}\n").as_bytes()).at("write", &path)
    }
}
