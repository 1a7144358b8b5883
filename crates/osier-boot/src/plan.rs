//! What is booted, and the news while it is.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::board::Accelerator;
use crate::challenge::Challenge;
use crate::machine::Machine;
use crate::script::{Action, Script};
use crate::verdict::Diagnosis;

/// Makes the initramfs of one boot: the system's own with the challenge appended as the file
/// [`crate::challenge::CHALLENGE_FILE`] of a further cpio. Called once for each start of QEMU.
pub type InitrdSource<'a> = &'a (dyn Fn(&Challenge) -> io::Result<PathBuf> + Sync);

/// What is booted, where, and what must happen.
pub struct BootPlan<'a> {
    /// The machine.
    pub machine: Machine,
    /// What runs its instructions; see [`crate::kvm::probe`].
    pub accelerator: Accelerator,
    /// The kernel; without it the firmware boots from the disks.
    pub kernel: Option<PathBuf>,
    /// The kernel command line as the system wants it.
    pub append: String,
    /// The initramfs; without it the challenge is given by `fw_cfg`.
    pub initrd: Option<InitrdSource<'a>>,
    /// Makes the files of the machine's disks as the guest must find them; called once before each
    /// start of QEMU.
    pub renew_disks: Option<&'a (dyn Fn() -> io::Result<()> + Sync)>,
    /// What must happen.
    pub script: Script,
    /// Multiplies all time limits, on top of the accelerator's own factor; 1.0 for an idle host.
    /// What is not a positive number counts as 1.0.
    pub patience: f64,
    /// After how long without console output and CPU use a guest counts as stuck (times
    /// `patience`). It must be longer than any sleep of the guest.
    pub no_progress: Duration,
    /// The folder for the console logs: `serial.log`, `serial-2.log` for the second boot.
    pub folder: PathBuf,
}

/// News while a plan is played.
#[derive(Debug, Clone, PartialEq)]
pub enum BootEvent<'a> {
    /// QEMU has been started.
    Started {
        /// Counted from 1.
        boot: usize,
        /// Where the console is recorded.
        log: &'a Path,
    },
    /// An action begins.
    Waiting {
        /// What is waited for, or sent.
        action: &'a Action,
    },
    /// Process 1 has proved itself.
    Proved {
        /// Seconds since QEMU's start.
        seconds: f64,
    },
    /// The boot is tried once more because of the translator's timer fault.
    Retrying,
    /// The boot is over.
    Ended {
        /// What became of it.
        diagnosis: &'a Diagnosis,
    },
}

pub(crate) fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
