//! Runs one process in namespaces of its own, without root.
//!
//! ```text
//! osier ──fork, once──▶ launcher ──clone──▶ first process ──fork──▶ the command
//!   │                      │    (builds the root, gives up its rights, │
//!   │                      │     reaps what the command leaves behind) │
//!   └─ Spec, streams ─────▶│                        report ────────────┘
//! ```
//!
//! The [`Launcher`] is a small process with one thread, so a child of it can run ordinary code before its program is executed. Each
//! sandbox is a [`Spec`]; [`Launcher::spawn`] returns when the command's program has been executed or has failed with a typed
//! [`SpawnError`]. When osier ends in whatever way, the launcher ends, and with it every process of every sandbox.
//!
//! Inside, the user is 0 and the group is 0, nothing else is mapped, whoever runs osier.

mod channel;
mod command;
mod degraded;
mod ending;
mod failure;
mod filter;
mod groups;
mod init;
mod launcher;
mod os_text;
mod overlay;
mod pids;
mod privileges;
mod probe;
mod reaper;
mod request;
mod running;
mod spec;
mod syscall;
mod tree;

pub use ending::{Exit, Status, Used};
pub use failure::Stage;
pub use launcher::{Launcher, LauncherError, SpawnError, Stdio};
pub use pids::PidsLimit;
pub use probe::{Feature, HostReport, Outcome, Reason, probe, probe_degraded, probe_full};
pub use request::JOBSERVER;
pub use running::{Killer, Running, WaitError};
pub use spec::{Isolation, Limits, Mount, Network, Root, Spec, TerminalSize};
