//! A command in a sandbox with a terminal of its own, which the person's terminal shows.
//!
//! The person's terminal itself never enters the sandbox: what runs there could change its modes for good, or read
//! what is typed after it. Between the two osier hands on keys, output and the size of the window.

use std::io::IsTerminal as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use osier_boot::terminal::{RawMode, read};
use osier_sandbox::{Launcher, Running, Spec, Status, Stdio, TerminalSize};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

use crate::report::problem::{Code, Outcome, Problem};

/// How often the size of the person's window is looked at.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Says whether a person can see and answer.
pub(crate) fn is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Runs a command in its sandbox to the end: with a terminal of its own where a person sits at one, else on osier's own streams.
pub(crate) fn run(launcher: &Launcher, mut spec: Spec) -> Outcome<Status> {
    let not_set_up = |error: &dyn std::fmt::Display| {
        Problem::of(Code::NoSandbox, format!("the sandbox could not be set up: {error}"))
    };
    let ended = |running: Running| {
        running.wait().map(|exit| exit.status).map_err(|error| Problem::of(Code::NoSandbox, error))
    };
    let broken =
        |error: Errno| Problem::of(Code::File, format!("the terminal cannot be used: {error}"));
    if !is_there() {
        let stdio = own_streams()?;
        return ended(launcher.spawn(&spec, stdio).map_err(|error| not_set_up(&error))?);
    }
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let size = tcgetwinsize(stdin.as_fd()).map_err(broken)?;
    spec.terminal = Some(TerminalSize { rows: size.ws_row, columns: size.ws_col });
    if spec.environment.iter().all(|(name, _)| name != "TERM") {
        let kind = std::env::var_os("TERM").unwrap_or_else(|| "dumb".into());
        spec.environment.push(("TERM".into(), kind));
    }
    let mut running =
        launcher.spawn(&spec, Stdio::default()).map_err(|error| not_set_up(&error))?;
    let terminal = running.take_terminal().ok_or_else(|| not_set_up(&"it has no terminal"))?;
    let raw = RawMode::enter(stdin.as_fd()).map_err(broken)?;
    let relayed = relay(&mut running, &terminal, size, stdin.as_fd(), stdout.as_fd());
    drop(raw);
    relayed.map_err(broken)?;
    ended(running)
}

fn own_streams() -> Outcome<Stdio> {
    let copy = |fd: BorrowedFd<'_>| -> Outcome<OwnedFd> {
        fd.try_clone_to_owned()
            .map_err(|error| Problem::of(Code::File, format!("cannot share a stream: {error}")))
    };
    Ok(Stdio {
        stdin: Some(copy(std::io::stdin().as_fd())?),
        stdout: Some(copy(std::io::stdout().as_fd())?),
        stderr: Some(copy(std::io::stderr().as_fd())?),
        ..Stdio::default()
    })
}

/// Hands on keys, output and window size until the command has ended, or the person's terminal has gone.
fn relay(
    running: &mut Running,
    terminal: &OwnedFd,
    mut size: Winsize,
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
) -> Result<(), Errno> {
    // A command that reads nothing must not keep its output from being shown.
    fcntl_setfl(terminal, fcntl_getfl(terminal)? | OFlags::NONBLOCK)?;
    let mut typed: Vec<u8> = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        let new_size = tcgetwinsize(input)?;
        if (new_size.ws_row, new_size.ws_col) != (size.ws_row, size.ws_col) {
            tcsetwinsize(terminal, new_size)?;
            size = new_size;
        }
        let (keys, command) = ready(input, terminal, &typed)?;
        if !keys.is_empty() {
            match read(input, &mut buffer)? {
                0 => {
                    running.kill();
                    return Ok(());
                }
                count => typed.extend_from_slice(&buffer[..count]),
            }
        }
        if command.contains(PollFlags::OUT) {
            match rustix::io::write(terminal, &typed) {
                Ok(count) => drop(typed.drain(..count)),
                Err(Errno::AGAIN | Errno::INTR | Errno::IO) => {}
                Err(errno) => return Err(errno),
            }
        }
        if command.intersects(PollFlags::IN | PollFlags::HUP) {
            match read(terminal.as_fd(), &mut buffer) {
                Ok(0) => {
                    // Nobody has the terminal open just now: the end, or a command that has let go of it.
                    let pause = Duration::from_millis(20);
                    if !matches!(running.wait_timeout(pause), Ok(None)) {
                        return Ok(());
                    }
                }
                Ok(count) => write_all(output, &buffer[..count])?,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Says what the person's and the command's terminal are ready for; waits for [`TICK`] at most.
fn ready(
    input: BorrowedFd<'_>,
    terminal: &OwnedFd,
    typed: &[u8],
) -> Result<(PollFlags, PollFlags), Errno> {
    let wants = if typed.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
    // While the command does not take the last keys, no more are read.
    let keys = if typed.is_empty() { PollFlags::IN } else { PollFlags::empty() };
    let mut polled = [PollFd::from_borrowed_fd(input, keys), PollFd::new(terminal, wants)];
    match poll(&mut polled, Some(&TICK)) {
        Ok(_) => Ok((polled[0].revents(), polled[1].revents())),
        Err(Errno::INTR) => Ok((PollFlags::empty(), PollFlags::empty())),
        Err(errno) => Err(errno),
    }
}

fn write_all(output: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(output, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
