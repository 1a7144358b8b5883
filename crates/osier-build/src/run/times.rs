//! What steps took the last time.

use std::time::Duration;

use osier_store::{FileError, Key, KeyBuilder, Record, Store};

/// What a step took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time {
    /// Seconds from its beginning to its end, with the jobs that it happened to get.
    pub wall: f64,
    /// Seconds of CPU time, which are much the same whatever runs beside it.
    pub cpu: f64,
}

/// What a step's time is recorded under: its label, which stays the same when its key does not.
fn key(label: &str) -> Key {
    let mut key = KeyBuilder::new("time", 1);
    key.field("label", label.as_bytes());
    key.finish()
}

impl Time {
    /// Looks up what the step of this label took.
    pub(crate) fn of(store: &Store, label: &str) -> Option<Self> {
        store.index().took(&key(label)).map(|(wall, cpu)| Self { wall, cpu })
    }

    /// Records what the step of this label took, where it is worth an estimate.
    pub(crate) fn record(
        store: &Store,
        label: &str,
        wall: Duration,
        cpu: Duration,
    ) -> Result<(), FileError> {
        let (wall, cpu) = (wall.as_secs_f64(), cpu.as_secs_f64());
        if wall < 0.5 {
            return Ok(());
        }
        store.index().append(Record::Took(key(label), wall, cpu))
    }
}
