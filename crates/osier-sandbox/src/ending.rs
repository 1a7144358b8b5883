//! How a command ended, and what its sandbox has used.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    /// CPU time in user mode, of all processes of the sandbox.
    pub user: Duration,
    /// CPU time in the kernel, of all processes of the sandbox.
    pub system: Duration,
    /// Memory of the largest process at its largest, in KiB; never less than the launcher's own, of which each command starts as a copy.
    pub max_rss_kib: u64,
    /// Time from the start of the command's process to its end.
    pub wall: Duration,
    /// Whether the limit on processes was reached, or nearly so; all were killed then. It is looked at once a second, when the command
    /// has ended, and where a control group counts it.
    pub pids_limit_hit: bool,
    /// Whether the kernel ended a process because memory ran out.
    #[serde(default)]
    pub lacked_memory: bool,
}

/// What the processes of a sandbox have used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// CPU time of all of them, those that have ended included.
    pub cpu: Duration,
}
