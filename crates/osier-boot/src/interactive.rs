//! The guest's console for a person: a terminal on purpose, so what the guest sends is handed on as it is.
//! Everything else that osier shows of a guest is made safe to show by whoever prints it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::challenge::Challenge;
use crate::emulator::{Emulator, EmulatorError, Guest, GuestExit};
use crate::plan::BootPlan;
use crate::runner::{BootError, pipes, prepare};
use crate::terminal::{RawMode, read};

/// The key that leaves the console: Ctrl-].
pub const LEAVE_KEY: u8 = 0x1d;
/// What a person must know, written to the terminal before the first byte of the guest.
pub const LEAVE_NOTICE: &str = "The guest's console; Ctrl-] ends the guest and leaves.";

/// How often QEMU's end is looked for.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// How a visit to the console ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The guest ended by itself.
    GuestEnded(GuestExit),
    /// The person pressed the key; the guest was killed.
    Key,
    /// The terminal was closed; the guest was killed.
    TerminalClosed,
}

/// A guest that could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum InteractiveError {
    /// The plan is wrong.
    #[error(transparent)]
    Plan(#[from] BootError),
    /// QEMU did not start or could not be watched.
    #[error(transparent)]
    Emulator(#[from] EmulatorError),
    /// The terminal or the guest's streams failed.
    #[error("the console's streams: {0}")]
    Streams(#[from] io::Error),
    /// QEMU ended at once with a message.
    #[error("QEMU failed: {0}")]
    Qemu(String),
}

impl From<Errno> for InteractiveError {
    fn from(errno: Errno) -> InteractiveError {
        InteractiveError::Streams(errno.into())
    }
}

/// Boots `plan` and connects `input` and `output`, the two sides of a terminal, with the
/// guest's console until the guest ends or [`LEAVE_KEY`] is pressed. The plan's script and
/// time limits play no part.
///
/// A terminal is switched to raw mode and back again on every way out; every other key,
/// Ctrl-C included, is the guest's. `input` and `output` may be pipes as well.
///
/// # Errors
///
/// The plan is wrong, QEMU did not start or failed, or the terminal could not be read. The guest has
/// ended in each case.
pub fn boot_interactive(
    plan: &BootPlan<'_>,
    emulator: &dyn Emulator,
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
) -> Result<Left, InteractiveError> {
    let challenge = Challenge::fresh()?;
    let (call, _) = prepare(plan, &[], &challenge)?;
    let (ends, ours) = pipes()?;
    let mut output = File::from(output.try_clone_to_owned()?);
    output.write_all(format!("{LEAVE_NOTICE}\r\n").as_bytes())?;
    let guest = emulator.start(&call, ends)?;
    let mut relay = Relay { guest, to_guest: Some(File::from(ours.stdin)), ended: false };
    let raw = RawMode::enter(input)?;
    let left = relay.run(input, &ours.stdout, &ours.stderr, &mut output);
    drop(raw);
    left
}

/// The guest between two pairs of streams; killed when dropped.
struct Relay {
    guest: Box<dyn Guest>,
    to_guest: Option<File>,
    ended: bool,
}

impl Relay {
    fn run(
        &mut self,
        input: BorrowedFd<'_>,
        console: &OwnedFd,
        messages: &OwnedFd,
        output: &mut File,
    ) -> Result<Left, InteractiveError> {
        let mut said = Vec::new();
        let mut pending: Vec<u8> = Vec::new();
        let mut open = [true; 2];
        let mut buffer = [0u8; 4096];
        loop {
            let exit = self.guest.try_wait(Duration::ZERO)?;
            // While the guest does not take the last keys, no more are read.
            let takes_keys = exit.is_none() && pending.is_empty();
            let streams =
                [(input, takes_keys), (console.as_fd(), open[0]), (messages.as_fd(), open[1])];
            let ready = wait_readable(streams)?;
            if ready[1] {
                let count = read(console.as_fd(), &mut buffer)?;
                open[0] = count > 0;
                output.write_all(&buffer[..count])?;
                output.flush()?;
            }
            if ready[2] {
                let count = read(messages.as_fd(), &mut buffer)?;
                open[1] = count > 0;
                said.extend_from_slice(&buffer[..count.min(8192usize.saturating_sub(said.len()))]);
            }
            if ready[0] {
                let count = read(input, &mut buffer)?;
                let keys = &buffer[..count];
                if keys.contains(&LEAVE_KEY) {
                    return Ok(Left::Key);
                }
                if keys.is_empty() {
                    return Ok(Left::TerminalClosed);
                }
                pending.extend_from_slice(keys);
            }
            self.type_keys(&mut pending);
            if let Some(exit) = exit
                && !ready[1]
                && !ready[2]
            {
                self.ended = true;
                let failed = exit.status != crate::GuestStatus::Code(0) && !said.is_empty();
                return match failed {
                    true => Err(InteractiveError::Qemu(
                        String::from_utf8_lossy(&said).lines().next().unwrap_or("").to_owned(),
                    )),
                    false => Ok(Left::GuestEnded(exit)),
                };
            }
        }
    }

    /// Hands on what the guest takes just now.
    fn type_keys(&mut self, pending: &mut Vec<u8>) {
        let Some(to_guest) = self.to_guest.as_mut().filter(|_| !pending.is_empty()) else { return };
        match to_guest.write(pending) {
            Ok(count) => drop(pending.drain(..count)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            // QEMU is gone; its exit ends the visit.
            Err(_) => {
                self.to_guest = None;
                pending.clear();
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.ended {
            self.guest.kill();
            drop(self.guest.try_wait(Duration::from_secs(5)));
        }
    }
}

/// Which of the wanted streams have bytes, or their end, to read; waits for [`TICK`] at most.
fn wait_readable(streams: [(BorrowedFd<'_>, bool); 3]) -> Result<[bool; 3], Errno> {
    // An unwanted stream is left out altogether: its hang-up would be reported for ever.
    let mut polled: Vec<PollFd<'_>> = streams
        .iter()
        .filter(|(_, wanted)| *wanted)
        .map(|(fd, _)| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    match poll(&mut polled, Some(&TICK)) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok([false; 3]),
        Err(errno) => return Err(errno),
    }
    let mut came = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(streams.map(|(_, wanted)| wanted && came.next().unwrap_or(false)))
}

#[cfg(test)]
#[path = "interactive_tests.rs"]
mod tests;
