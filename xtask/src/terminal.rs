//! A person at a terminal, for proofs of what only happens on one.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

/// How long a person waits for a text before giving up; generous, as machines are busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// A program whose standard streams are a terminal.
pub(crate) struct Terminal {
    person: File,
    program: File,
    child: Child,
    /// What was shown and not yet read past.
    shown: String,
}

impl Terminal {
    /// Starts a program on a new terminal.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let person = openpt(flags)?;
        grantpt(&person)?;
        unlockpt(&person)?;
        let name = ptsname(&person, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let program = File::from(rustix::fs::open(name.as_c_str(), flags, Mode::empty())?);
        let child = command
            .stdin(program.try_clone()?)
            .stdout(program.try_clone()?)
            .stderr(program.try_clone()?)
            .spawn()
            .context("cannot run target/release/osier")?;
        Ok(Self { person: File::from(person), program, child, shown: String::new() })
    }

    /// Reads until a text is shown, and past it.
    pub(crate) fn expect(&mut self, text: &str) -> Result<()> {
        let begun = Instant::now();
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return Ok(());
            }
            let ended = self.child.try_wait()?.is_some();
            ensure!(
                !ended && begun.elapsed() < PATIENCE,
                "`{text}` was not shown{}:\n{}",
                if ended { " before the program ended" } else { "" },
                self.shown
            );
            let mut ready = [PollFd::new(&self.person, PollFlags::IN)];
            if poll(&mut ready, Some(&second))? > 0 {
                let count = self.person.read(&mut buffer)?;
                self.shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        }
    }

    /// Types keys.
    pub(crate) fn keys(&mut self, keys: &str) -> Result<()> {
        Ok(self.person.write_all(keys.as_bytes())?)
    }

    /// Waits for the program's end, which must be a success that leaves the terminal as it was.
    pub(crate) fn end(mut self) -> Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "the program ended with {status}:\n{}", self.shown);
        let modes = tcgetattr(&self.program)?.local_modes;
        let usual = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        ensure!(modes.contains(usual), "the terminal is not as it was before: {modes:?}");
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A proof that fails must not leave a guest behind; one that has ended is not there any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
