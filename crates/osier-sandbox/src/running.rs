//! A sandbox that has been started.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use crate::Isolation;
use crate::channel::{Reply, receive_reply};
use crate::ending::{Exit, Used};
use crate::groups::OwnGroup;

/// Why no [`Exit`] is to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The sandbox was killed from outside: by [`Running::kill`], by the end of the launcher, by the kernel because memory ran out.
    #[error("the sandbox was killed")]
    Killed,
    /// The kernel ended the whole sandbox because memory ran out.
    #[error("the kernel ended the sandbox because memory ran out")]
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
