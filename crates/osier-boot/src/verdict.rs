//! What became of a boot: the verdict, and the words for a person.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::emulator::GuestStatus;
use crate::machine_end::MachineEnd;
use crate::script::GuestEnding;

/// Everything that a verdict is drawn from.
#[derive(Debug, Clone)]
pub struct Observation<'a> {
    /// The console, without escapes and carriage returns.
    pub console: &'a str,
    /// QEMU's own messages.
    pub messages: &'a str,
    /// How QEMU says that the machine ended, if it did.
    pub end: Option<MachineEnd>,
    /// How far the script came.
    pub outcome: Outcome,
    /// How long after QEMU's start process 1 proved itself, if it did.
    pub proved: Option<Duration>,
    /// The value that the proof holds.
    pub proof: &'a str,
    /// Where in `console` the text behind the proof begins; no matter without a proof.
    pub behind: usize,
}

/// How the playing of a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every action was done, the end included.
    Done,
    /// A time limit was reached.
    TimedOut {
        /// What was waited for.
        waiting_for: String,
        /// The limit, already scaled.
        limit: Duration,
    },
    /// Neither console output nor CPU use for too long.
    NoProgress {
        /// What was waited for.
        waiting_for: String,
        /// For how long nothing happened.
        quiet: Duration,
    },
    /// QEMU ended before it should.
    GuestEnded {
        /// What was waited for.
        waiting_for: String,
        /// QEMU's exit.
        status: GuestStatus,
    },
    /// The guest ended at the right time in another way.
    OtherEnd {
        /// As the script says.
        expected: GuestEnding,
        /// As the kernel says.
        found: Option<GuestEnding>,
    },
    /// The console stays quiet after a text after which nothing comes.
    Settled {
        /// What was waited for.
        waiting_for: String,
    },
    /// The console printed more than the log may hold.
    TooMuchOutput,
    /// QEMU did not start, or cannot go on.
    EmulatorFailed {
        /// Its words.
        message: String,
    },
}

/// What became of a boot.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Verdict {
    /// Process 1 proved itself and the guest ended as the script says.
    Booted {
        /// Seconds from QEMU's start to the proof.
        boot_seconds: f64,
    },
    /// The script was played to its end, but process 1 never showed the value of this boot.
    NotProved,
    /// A panic for another reason than init and the root file system.
    KernelPanic {
        /// The line with the panic.
        line: String,
    },
    /// The kernel could not execute init; it may have fallen back to a shell.
    InitCouldNotRun {
        /// The program, if the kernel named one.
        path: Option<String>,
        /// The positive error number, if the kernel named one.
        errno: Option<i32>,
        /// What that means.
        why: String,
    },
    /// Process 1 ran and ended, which a kernel does not survive.
    InitEnded {
        /// Its exit code, if it exited.
        exit_code: Option<i32>,
        /// Its signal, if it was killed.
        signal: Option<i32>,
    },
    /// The kernel found no root file system to go on with.
    NoRoot {
        /// Why not.
        fault: RootFault,
    },
    /// Nothing was printed behind the firmware's lines.
    NoConsoleOutput,
    /// The guest neither printed nor computed any more.
    NoProgress {
        /// The last line on the console.
        last_line: String,
    },
    /// A time limit was reached while the guest was at work.
    TimeOut {
        /// What was waited for.
        waiting_for: String,
    },
    /// The guest booted, but then did not do what the script expects.
    ExpectationFailed {
        /// What was waited for.
        waiting_for: String,
    },
    /// The guest ended before the script did.
    GuestEndedEarly {
        /// What was waited for.
        waiting_for: String,
        /// The kernel's last words about it, if any.
        how: Option<GuestEnding>,
    },
    /// QEMU itself failed.
    EmulatorFailed {
        /// Its words.
        message: String,
    },
    /// The known fault of the translator on a busy host; says nothing about the image.
    TimerFlake,
    /// The console printed more than the log may hold.
    TooMuchOutput,
}

/// Why there is no root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RootFault {
    /// The initramfs is damaged.
    InitramfsDamaged {
        /// The kernel's words.
        message: String,
    },
    /// The kernel has no decompressor for the initramfs.
    InitramfsCompression {
        /// The compression, as the kernel names it.
        method: String,
    },
    /// There is no `/init` in the initramfs, or the kernel took no initramfs, and there is no `root=`.
    NoInit {
        /// Whether the kernel said that it unpacks an initramfs.
        unpacked: bool,
    },
    /// No device of that name.
    NoDevice {
        /// The name in `root=`.
        root: String,
    },
    /// The disk is there, the partition is not.
    NoPartition {
        /// The name in `root=`.
        root: String,
        /// Major and minor number.
        device: (u32, u32),
    },
    /// The device is there, and no file system driver took it.
    NoFileSystem {
        /// Major and minor number.
        device: (u32, u32),
        /// The drivers that were tried.
        tried: String,
    },
    /// `rootwait` waits for a device that does not come.
    Waiting {
        /// The device.
        root: String,
    },
    /// The kernel's words fit none of the above.
    Other {
        /// Major and minor number, if named.
        device: Option<(u32, u32)>,
    },
}

impl Verdict {
    /// The stable code under which messages and documentation refer to the verdict.
    pub fn code(&self) -> &'static str {
        match self {
            Verdict::Booted { .. } => "B100",
            Verdict::NotProved => "B101",
            Verdict::KernelPanic { .. } => "B102",
            Verdict::InitCouldNotRun { .. } => "B103",
            Verdict::InitEnded { .. } => "B104",
            Verdict::NoRoot { .. } => "B105",
            Verdict::NoConsoleOutput => "B106",
            Verdict::NoProgress { .. } => "B107",
            Verdict::TimeOut { .. } => "B108",
            Verdict::ExpectationFailed { .. } => "B109",
            Verdict::GuestEndedEarly { .. } => "B110",
            Verdict::EmulatorFailed { .. } => "B111",
            Verdict::TimerFlake => "B112",
            Verdict::TooMuchOutput => "B113",
        }
    }

    /// Whether the system booted.
    pub fn is_booted(&self) -> bool {
        matches!(self, Verdict::Booted { .. })
    }
}

/// One short sentence.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Booted { boot_seconds } => write!(f, "booted in {boot_seconds:.1} s"),
            Verdict::NotProved => {
                f.write_str("the script ran to its end, but process 1 did not prove that it runs")
            }
            Verdict::KernelPanic { line } => write!(f, "the kernel panicked: {line}"),
            Verdict::InitCouldNotRun { path, why, .. } => match path {
                Some(path) => write!(f, "init could not be run: {path}: {why}"),
                None => write!(f, "init could not be run: {why}"),
            },
            Verdict::InitEnded { exit_code: Some(code), .. } => {
                write!(f, "init ended with exit code {code}")
            }
            Verdict::InitEnded { signal: Some(signal), .. } => {
                write!(f, "init was killed by signal {signal} ({})", signal_name(*signal))
            }
            Verdict::InitEnded { .. } => f.write_str("init ended"),
            Verdict::NoRoot { fault } => write!(f, "the kernel found no root file system: {fault}"),
            Verdict::NoConsoleOutput => f.write_str("the console stayed empty"),
            Verdict::NoProgress { last_line } if last_line.is_empty() => {
                f.write_str("the guest stopped making progress")
            }
            Verdict::NoProgress { last_line } => {
                write!(f, "the guest stopped making progress after: {last_line}")
            }
            Verdict::TimeOut { waiting_for } => {
                write!(f, "the time limit passed while waiting for {waiting_for}")
            }
            Verdict::ExpectationFailed { waiting_for } => {
                write!(f, "the script waited in vain for {waiting_for}")
            }
            Verdict::GuestEndedEarly { waiting_for, how: Some(how) } => {
                write!(f, "the guest ended ({how}) while the script was waiting for {waiting_for}")
            }
            Verdict::GuestEndedEarly { waiting_for, how: None } => {
                write!(f, "the guest ended while the script was waiting for {waiting_for}")
            }
            Verdict::EmulatorFailed { message } => write!(f, "QEMU failed: {message}"),
            Verdict::TimerFlake => {
                f.write_str("the kernel's timer test failed, as it can under TCG on a busy host")
            }
            Verdict::TooMuchOutput => f.write_str("the console printed without end"),
        }
    }
}

/// One clause.
impl fmt::Display for RootFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RootFault::InitramfsDamaged { message } => {
                write!(f, "the initramfs is damaged: {message}")
            }
            RootFault::InitramfsCompression { method } => {
                write!(
                    f,
                    "the kernel cannot decompress an initramfs that is compressed with {method}"
                )
            }
            RootFault::NoInit { unpacked: true } => f.write_str("the initramfs has no /init"),
            RootFault::NoInit { unpacked: false } => {
                f.write_str("the kernel unpacked no initramfs with an /init")
            }
            RootFault::NoDevice { root } => write!(f, "there is no device {root}"),
            RootFault::NoPartition { root, .. } => {
                write!(f, "the disk of {root} exists, but the partition does not")
            }
            RootFault::NoFileSystem { device: (major, minor), .. } => {
                write!(f, "no file system driver could mount the device {major}:{minor}")
            }
            RootFault::Waiting { root } => write!(f, "it waits forever for {root}"),
            RootFault::Other { device: Some((major, minor)) } => {
                write!(f, "it could not mount the device {major}:{minor}")
            }
            RootFault::Other { device: None } => f.write_str("it could not mount one"),
        }
    }
}

/// A verdict with what a person needs to act on it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnosis {
    /// What became of the boot.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The verdict's stable code.
    pub code: &'static str,
    /// One short sentence.
    pub summary: String,
    /// Whether process 1 had proved itself: what the verdict names came after that.
    pub proved: bool,
    /// The lines of the console, or of QEMU, that show it.
    pub evidence: Vec<String>,
    /// Further lines that stand out, each with where it stood: `before the proof`, `after the proof`
    /// or `on the console`. They have made no verdict: a system that proved itself has booted, whatever was
    /// printed before, and any program can print the words of a kernel.
    pub notes: Vec<String>,
    /// Why this usually happens; empty if it booted.
    pub cause: String,
    /// What to look at or change first; empty if it booted.
    pub hint: String,
}

pub(crate) fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => "illegal instruction",
        6 => "abort",
        7 => "bus error",
        8 => "arithmetic error",
        9 => "kill",
        11 => "segmentation fault",
        15 => "termination",
        31 => "bad system call",
        _ => "see signal(7)",
    }
}
