//! A sandbox that has been started.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::Isolation;
use crate::channel::{Reply, receive_reply};
use crate::launcher::OwnGroup;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It exited with this code, 0 to 255.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Code(code) => write!(formatter, "exit status {code}"),
            Status::Signal(signal) => write!(formatter, "signal {signal}"),
        }
    }
}

/// What is known when a sandbox is over: no process of it is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// How the command ended.
    pub status: Status,
    /// Names (the kernel's `comm`, 15 bytes at most) of the processes that were still alive a tenth of a second after the command had
    /// ended. They were killed. Sorted; at most 64.
    pub left_behind: Vec<String>,
    /// Processor time in user mode, of all processes of the sandbox.
    pub user: Duration,
    /// Processor time in the kernel, of all processes of the sandbox.
    pub system: Duration,
    /// Memory of the largest process at its largest, in KiB; never less than the launcher's own, of which each command starts as a copy.
    pub max_rss_kib: u64,
    /// Time from the start of the command's process to its end.
    pub wall: Duration,
    /// Whether the limit on processes was reached, or nearly so; all were killed then. It is looked at once a second, when the command
    /// has ended, and where a control group counts it.
    pub pids_limit_hit: bool,
    /// Whether the kernel ended a process for want of memory.
    #[serde(default)]
    pub lacked_memory: bool,
}

/// What the processes of a sandbox have used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Processor time of all of them, those that have ended included.
    pub cpu: Duration,
}

/// Why no [`Exit`] is to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The sandbox was killed from outside: by [`Running::kill`], by the end of the launcher, by the kernel for want of memory.
    #[error("the sandbox was killed")]
    Killed,
    /// The kernel ended the whole sandbox for want of memory.
    #[error("the kernel ended the sandbox for want of memory")]
    LackedMemory,
    /// Reading the report failed.
    #[error("cannot read the sandbox's report: {}", std::io::Error::from_raw_os_error(*errno))]
    Report {
        /// The system's error number.
        errno: i32,
    },
}

/// A running sandbox. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct Running {
    pub(crate) pid: u32,
    pub(crate) replies: OwnedFd,
    pub(crate) killer: Killer,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) ended: Option<Result<Exit, WaitError>>,
    pub(crate) group: Option<OwnGroup>,
}

impl Running {
    /// Tells the process id of the sandbox's first process, for messages only: a signal sent to it may hit another process.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Gives a person's side of the command's terminal, once, where the spec asked for one: what is written to it is typed, what is read from
    /// it is shown. At the end of the command, or when it is dropped, the command's side hangs up.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Waits for the end. All processes are gone then and the files hold what they wrote; the kernel may still take some milliseconds to
    /// give up the mounts.
    ///
    /// # Errors
    ///
    /// When the sandbox was killed from outside.
    pub fn wait(mut self) -> Result<Exit, WaitError> {
        self.finish()
    }

    /// Waits for the end, but no longer than `limit`; `None` when it still runs then. Once ended, says so at every call.
    ///
    /// # Errors
    ///
    /// When the sandbox was killed from outside.
    pub fn wait_timeout(&mut self, limit: Duration) -> Result<Option<Exit>, WaitError> {
        let end = Instant::now() + limit;
        while self.ended.is_none() {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.replies, PollFlags::IN)], timeout.as_ref()) {
                Ok(0) => return Ok(None),
                Ok(_) => drop(self.next_word()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(WaitError::Report { errno: errno.raw_os_error() }),
            }
        }
        self.finish().map(Some)
    }

    /// Readable when [`Running::next_word`] will not wait.
    pub fn news(&self) -> BorrowedFd<'_> {
        self.replies.as_fd()
    }

    /// Waits for the next word from the sandbox: what it has used, or nothing when it is over and [`Running::wait`] will not wait.
    pub fn next_word(&mut self) -> Option<Used> {
        if self.ended.is_some() {
            return None;
        }
        let mut exit = match receive_reply(&self.replies) {
            Ok(Some((Reply::Used(used), _))) => return Some(used),
            Ok(Some((Reply::Ended(exit), _))) => Ok(exit),
            Ok(Some(_)) => Err(WaitError::Report { errno: Errno::BADMSG.raw_os_error() }),
            Ok(None) => Err(WaitError::Killed),
            Err(errno) => Err(WaitError::Report { errno: errno.raw_os_error() }),
        };
        let lacked = self.group.as_ref().is_some_and(|group| group.0.has_lacked());
        match &mut exit {
            Ok(exit) => exit.lacked_memory = lacked,
            // With the first process among those that the kernel ended nobody was left to report.
            Err(error @ WaitError::Killed) if lacked => *error = WaitError::LackedMemory,
            Err(_) => {}
        }
        self.ended = Some(exit);
        None
    }

    /// Whether a control group limits the memory of its processes.
    pub fn memory_is_limited(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.0.is_used())
    }

    /// Kills every process of the sandbox. `wait` then answers [`WaitError::Killed`], unless the command had ended before.
    pub fn kill(&self) {
        self.killer.kill();
    }

    /// Gives a handle that can kill the sandbox from another thread.
    pub fn killer(&self) -> Killer {
        self.killer.clone()
    }

    fn finish(&mut self) -> Result<Exit, WaitError> {
        while self.next_word().is_some() {}
        self.ended.clone().unwrap_or(Err(WaitError::Killed))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
        }
    }
}

/// Kills a sandbox, whatever thread it is in; harmless after the end.
#[derive(Debug, Clone)]
pub struct Killer {
    pub(crate) pidfd: Arc<OwnedFd>,
    pub(crate) isolation: Isolation,
}

impl Killer {
    /// Kills every process of the sandbox: the first one is killed here, and the kernel then kills the rest of its pid namespace. In the
    /// degraded mode the first process is asked to do it.
    pub fn kill(&self) {
        // The only failure is that it has already ended.
        let _ = pidfd_send_signal(&*self.pidfd, end_signal(self.isolation));
    }
}

/// The signal that makes a sandbox's first process end it.
pub(crate) fn end_signal(isolation: Isolation) -> Signal {
    match isolation {
        Isolation::Full => Signal::KILL,
        Isolation::Degraded => Signal::TERM,
    }
}
