//! The wall to whatever runs QEMU.

use std::error::Error;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// One call of QEMU: what to run, with which files, nothing about where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuCall {
    /// The program's bare name, such as `qemu-system-x86_64`.
    pub program: String,
    /// Its arguments; files are named by their [`QemuFile::inside`] path.
    pub arguments: Vec<OsString>,
    /// The files that must be visible to QEMU.
    pub files: Vec<QemuFile>,
    /// Whether `/dev/kvm` must be there, readable and writable.
    pub needs_kvm: bool,
}

/// A host file made visible to QEMU at a fixed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuFile {
    /// Where the file lies on the host.
    pub host: PathBuf,
    /// The absolute path at which QEMU's arguments name it.
    pub inside: String,
    /// Whether QEMU may write to it.
    pub writable: bool,
}

/// QEMU's ends of the three pipes: the guest's console is standard input and output.
#[derive(Debug)]
pub struct ConsoleEnds {
    /// Becomes QEMU's standard input.
    pub stdin: OwnedFd,
    /// Becomes QEMU's standard output.
    pub stdout: OwnedFd,
    /// Becomes QEMU's standard error: its own messages, never the guest's.
    pub stderr: OwnedFd,
}

/// Starts QEMU somewhere; the real one runs it in the sandbox.
pub trait Emulator: Sync {
    /// Starts `call` with `console` as its standard streams and returns at once.
    ///
    /// The ends must not stay open in the caller's process, else the console never closes.
    ///
    /// # Errors
    ///
    /// QEMU could not be started at all. What it says after it has started is its own
    /// standard error and exit status.
    fn start(&self, call: &QemuCall, console: ConsoleEnds)
    -> Result<Box<dyn Guest>, EmulatorError>;
}

/// A started QEMU. Dropping it must not leave the process behind.
pub trait Guest: Send {
    /// Waits at most `timeout` for QEMU's end; `None` if it still runs.
    ///
    /// Called again after the end it returns the same exit.
    ///
    /// # Errors
    ///
    /// The state of the process could not be learned.
    fn try_wait(&mut self, timeout: Duration) -> Result<Option<GuestExit>, EmulatorError>;

    /// Kills QEMU and everything it started; harmless when it has ended.
    fn kill(&mut self);

    /// CPU time QEMU has used so far, user and system; `None` if it cannot be known.
    fn cpu_time(&self) -> Option<Duration>;
}

/// How QEMU ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestExit {
    /// Exit code or signal.
    pub status: GuestStatus,
    /// CPU time used in all, user and system.
    pub cpu: Duration,
}

/// Exit code or signal of the QEMU process; says nothing about the guest's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestStatus {
    /// It exited with this code.
    Code(i32),
    /// It was ended by this signal.
    Signal(i32),
}

/// QEMU could not be started or watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {program}: {source}")]
pub struct EmulatorError {
    /// The program's name.
    pub program: String,
    /// What went wrong below.
    pub source: Box<dyn Error + Send + Sync>,
}
