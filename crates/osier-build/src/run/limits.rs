//! What a step may use of the machine. Nothing of it is in the key: what does not reach a
//! limit is the same under any.

use std::time::Duration;

use osier_sandbox::Limits;

use crate::graph::{Step, Work};

/// Processes and threads of a step, and as many again for each of its jobs: a job is a make, a shell, a compiler and what that starts.
const PROCESSES: u64 = 1024;
const PROCESSES_PER_JOB: u64 = 128;
const MOST_PROCESSES: u64 = 16_384;

/// The part of the memory of all steps that each of `/tmp` and `/dev/shm` can hold.
const IN_MEMORY: u64 = 4;

/// What the programs of a step may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepLimits {
    /// Processes and threads at one time.
    pub processes: u64,
    /// Bytes; nothing where it is not known what the machine has.
    pub memory: Option<u64>,
    /// Bytes of all steps together.
    pub memory_together: Option<u64>,
    /// Whether it may use swap besides.
    pub swap: bool,
    /// CPU time without a word.
    pub silence: Option<Duration>,
}

impl StepLimits {
    /// Says what a step may use that has so many jobs, on a machine with so much memory.
    pub(crate) fn of(step: &Step, jobs: usize, machine: u64, silence: Duration) -> Self {
        let jobs = u64::try_from(jobs).unwrap_or(u64::MAX);
        let usable = crate::run::memory::of_steps(machine);
        let (wanted, minutes) = match step.work {
            Work::Script { memory, silence, .. } => (memory, silence),
            _ => (None, None),
        };
        let silence =
            minutes.map_or(silence, |minutes| Duration::from_secs(minutes.saturating_mul(60)));
        Self {
            processes: jobs
                .saturating_mul(PROCESSES_PER_JOB)
                .saturating_add(PROCESSES)
                .min(MOST_PROCESSES),
            memory: usable.map(|usable| wanted.unwrap_or(usable).min(usable)),
            memory_together: usable,
            // What needs more than there is has been told to run alone, and swap may do.
            swap: wanted.unwrap_or(0) > machine,
            silence: (!silence.is_zero()).then_some(silence),
        }
    }

    /// The same for the sandbox.
    pub(crate) fn of_sandbox(&self, by_hand: bool) -> Limits {
        Limits {
            processes: Some(self.processes),
            in_memory: self.memory_together.map(|usable| usable / IN_MEMORY),
            memory: self.memory,
            swap: self.swap,
            memory_together: self.memory_together,
            tell_usage: !by_hand && self.silence.is_some(),
            ..Limits::default()
        }
    }
}
