//! A person's terminal, handed key by key to something that has a console of its own.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// A terminal in raw mode: each key comes through as it is typed, Ctrl-C included. As it was before when dropped.
#[derive(Debug)]
pub struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Option<Termios>,
}

impl<'a> RawMode<'a> {
    /// Switches to raw mode; what is no terminal stays as it is.
    ///
    /// # Errors
    ///
    /// When the terminal has gone.
    pub fn enter(terminal: BorrowedFd<'a>) -> Result<RawMode<'a>, Errno> {
        if !isatty(terminal) {
            return Ok(RawMode { terminal, before: None });
        }
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Flush, &raw)?;
        Ok(RawMode { terminal, before: Some(before) })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Nothing can be done about a terminal that has gone.
            let _ = tcsetattr(self.terminal, OptionalActions::Drain, before);
        }
    }
}

/// Reads what there is; nothing where the other side is gone.
///
/// # Errors
///
/// As read(2), but for `EIO`: it is how a terminal says that its other side is gone.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    match rustix::io::read(fd, buffer) {
        Err(Errno::IO) => Ok(0),
        other => other,
    }
}
