//! Boots images in QEMU, reads the console and gives a verdict.
//!
//! | module | owns |
//! | --- | --- |
//! | [`machine`] | what is emulated, and QEMU's arguments for it |
//! | [`emulator`] | the wall to whatever runs QEMU (the sandbox) |
//! | [`challenge`] | the value that proves that process 1 ran |
//! | [`script`] | what is expected, sent and waited for |
//! | [`console`] | the recorded console and the search in it |
//! | `kernel_lines` | which lines of the console are the kernel's |
//! | [`machine_end`] | what QEMU says of the machine's end |
//! | [`verdict`] | from console text to a diagnosis |
//! | [`runner`] | one boot plan from start to report |
//! | [`kvm`] | whether this host's KVM can be used |
//! | [`cpu`] | which instructions a machine's processor has |
//! | [`interactive`] | the console for a person |
//! | [`terminal`] | the person's terminal in raw mode |
//!
//! A guest counts as booted only when process 1 has printed a value that it could
//! learn only from the files osier appended to the initramfs (or from `fw_cfg`), and when it then
//! ended as the script says. QEMU's exit status proves nothing: a panic, a silent
//! reboot and a success all end with 0.

mod board;
pub mod challenge;
mod classify;
pub mod console;
pub mod cpu;
mod disk;
pub mod emulator;
pub mod interactive;
mod kernel_lines;
pub mod kvm;
pub mod machine;
pub mod machine_end;
mod plan;
mod playing;
pub mod runner;
pub mod script;
pub mod terminal;
pub mod verdict;

pub use board::{Accelerator, Architecture, Board};
pub use challenge::Challenge;
pub use classify::classify;
pub use disk::{Bus, Disk};
pub use emulator::{
    ConsoleEnds, Emulator, EmulatorError, Guest, GuestExit, GuestStatus, QemuCall, QemuFile,
};
pub use machine::{Machine, MachineError};
pub use machine_end::MachineEnd;
pub use plan::{BootEvent, BootPlan, InitrdSource};
pub use runner::{BootError, BootRecord, BootReport, boot};
pub use script::{Action, BootScript, GuestEnding, Pattern, Script, ScriptError};
pub use verdict::{Diagnosis, Verdict};

#[cfg(test)]
mod shell_guest;
