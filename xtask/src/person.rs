//! A person at a terminal: types, reads the screen, changes the window's size.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// How long a person waits for what should appear.
const PATIENCE: Duration = Duration::from_secs(300);

/// A program on a terminal, and the person who sits there.
pub(crate) struct Person {
    screen: File,
    terminal: OwnedFd,
    program: Child,
    /// What appeared since the person last looked.
    unread: String,
}

impl Person {
    /// Starts a program on a new terminal of 24 lines.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let screen = openpt(flags)?;
        unlockpt(&screen)?;
        let terminal = ioctl_tiocgptpeer(&screen, flags)?;
        let stream = || -> Result<Stdio> { Ok(terminal.try_clone()?.into()) };
        command.stdin(stream()?).stdout(stream()?).stderr(stream()?).env("TERM", "xterm");
        let program = command.spawn().context("cannot start the program")?;
        let person = Self { screen: File::from(screen), terminal, program, unread: String::new() };
        person.resizes(24, 80)?;
        Ok(person)
    }

    pub(crate) fn resizes(&self, rows: u16, columns: u16) -> Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.screen, size)?)
    }

    pub(crate) fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.screen.write_all(keys.as_bytes())?)
    }

    /// Waits until a text appears, and gives what has appeared up to its end.
    pub(crate) fn sees(&mut self, text: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = self.unread.find(text) {
                let rest = self.unread.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.unread, rest));
            }
            let left = end.saturating_duration_since(Instant::now());
            let mut streams = [PollFd::from_borrowed_fd(self.screen.as_fd(), PollFlags::IN)];
            if poll(&mut streams, Some(&Timespec::try_from(left)?))? == 0 {
                bail!("`{text}` did not appear on the terminal:\n{}", self.unread);
            }
            let count = self.screen.read(&mut buffer)?;
            self.unread.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    /// Whether the terminal is in its ordinary mode: keys are shown as they are typed, and Ctrl-C is a signal.
    pub(crate) fn is_ordinary(&self) -> Result<bool> {
        let ordinary = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        Ok(tcgetattr(&self.terminal)?.local_modes.contains(ordinary))
    }

    /// Waits until the program has ended.
    pub(crate) fn waits(&mut self) -> Result<ExitStatus> {
        Ok(self.program.wait()?)
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
