//! What a step may use of the machine, and how it is ended when it takes more. Nothing of it is in the key: what does not reach a
//! limit is the same under any.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use osier_sandbox::{Exit, Limits, Running, WaitError};
use rustix::event::{PollFd, PollFlags, poll};

use crate::FailureCause;
use crate::graph::Work;
use crate::step_run::StepCall;

/// Processes and threads of a step, and as many again for each of its jobs: a job is a make, a shell, a compiler and what that starts.
const PROCESSES: u64 = 1024;
const PROCESSES_PER_JOB: u64 = 128;
const MOST_PROCESSES: u64 = 16_384;

/// The part of the memory of all steps that each of `/tmp` and `/dev/shm` can hold.
const IN_MEMORY: u64 = 4;

/// What the limits of a step are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepLimits {
    pub(crate) processes: u64,
    /// Bytes; nothing where it is not known what the machine has.
    pub(crate) memory: Option<u64>,
    /// Processor time without a word.
    pub(crate) silence: Option<Duration>,
}

impl StepCall<'_> {
    /// Says what the step may use.
    pub(crate) fn limits(&self) -> StepLimits {
        let jobs = u64::try_from(self.jobs).unwrap_or(u64::MAX);
        let usable = crate::memory::of_steps(self.memory);
        let (wanted, silence) = match self.step.work {
            Work::Script { memory, silence, .. } => (memory, silence),
            _ => (None, None),
        };
        let silence =
            silence.map_or(self.silence, |minutes| Duration::from_secs(minutes.saturating_mul(60)));
        StepLimits {
            processes: jobs
                .saturating_mul(PROCESSES_PER_JOB)
                .saturating_add(PROCESSES)
                .min(MOST_PROCESSES),
            memory: usable.map(|usable| wanted.unwrap_or(usable).min(usable)),
            silence: (!silence.is_zero()).then_some(silence),
        }
    }

    /// The same for the sandbox.
    pub(crate) fn sandbox_limits(&self, by_hand: bool) -> Limits {
        let usable = crate::memory::of_steps(self.memory);
        let limits = self.limits();
        let wanted = match self.step.work {
            Work::Script { memory, .. } => memory.unwrap_or(0),
            _ => 0,
        };
        Limits {
            processes: Some(limits.processes),
            in_memory: usable.map(|usable| usable / IN_MEMORY),
            memory: limits.memory,
            // What needs more than there is has been told to run alone, and swap may do.
            swap: wanted > self.memory,
            memory_together: usable,
            tell_usage: !by_hand && limits.silence.is_some(),
            ..Limits::default()
        }
    }

    pub(crate) fn too_many_processes(&self) -> FailureCause {
        FailureCause::TooManyProcesses { limit: self.limits().processes }
    }

    /// Says which limit ended a step, if one did.
    pub(crate) fn reached(
        &self,
        exit: &Result<Exit, WaitError>,
        silent: bool,
    ) -> Option<FailureCause> {
        let limits = self.limits();
        match (exit, limits.silence) {
            (_, Some(silence)) if silent => {
                Some(FailureCause::Silent { minutes: silence.as_secs() / 60 })
            }
            (Err(WaitError::LackedMemory), _) => {
                Some(FailureCause::OutOfMemory { limit: limits.memory })
            }
            // Even if all went on and ended well: on a larger machine it might have ended otherwise.
            (Ok(exit), _) if exit.lacked_memory => {
                Some(FailureCause::OutOfMemory { limit: limits.memory })
            }
            (Ok(exit), _)
                // A shell that could start no more may have ended well, and left the others.
                if exit.pids_limit_hit
                    && (exit.status != osier_sandbox::Status::Code(0)
                        || !exit.left_behind.is_empty()) =>
            {
                Some(self.too_many_processes())
            }
            _ => None,
        }
    }
}

/// Waits for what a step prints, and ends it when it has used too much processor time since it last did.
pub(crate) struct Watch<'r> {
    running: &'r mut Running,
    most: Option<Duration>,
    used: Duration,
    at_last_word: Duration,
    over: bool,
    pub(crate) silent: bool,
}

impl<'r> Watch<'r> {
    pub(crate) fn new(running: &'r mut Running, most: Option<Duration>) -> Self {
        let (used, at_last_word) = (Duration::ZERO, Duration::ZERO);
        Self { running, most, used, at_last_word, over: false, silent: false }
    }

    /// Waits until there is something to read, or the end of it.
    pub(crate) fn wait_for_word(&mut self, reader: &File) {
        while !self.over {
            let news = self.running.news();
            let mut sources = [
                PollFd::new(reader, PollFlags::IN),
                PollFd::from_borrowed_fd(news.as_fd(), PollFlags::IN),
            ];
            let _ = poll(&mut sources, None);
            let [word, news] = sources.map(|source| !source.revents().is_empty());
            if news {
                self.hear();
            }
            if word {
                self.at_last_word = self.used;
                return;
            }
        }
    }

    /// Waits for the end of a step that has closed its output.
    pub(crate) fn wait_for_end(&mut self) {
        while !self.over {
            self.hear();
        }
    }

    fn hear(&mut self) {
        let Some(used) = self.running.next_word() else {
            self.over = true;
            return;
        };
        self.used = self.used.max(used.cpu);
        if self.most.is_some_and(|most| self.used.saturating_sub(self.at_last_word) > most) {
            self.silent = true;
            self.running.kill();
        }
    }
}
