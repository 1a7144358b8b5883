//! What is expected, sent and waited for.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::challenge::{CHALLENGE_FILE, PROOF_PREFIX};

/// The longest pattern and the longest text to send, in bytes.
const LONGEST_TEXT: usize = 1024;
/// A line that grows beyond this is searched only in its last part, so that output
/// without line ends costs linear time.
const LONGEST_LINE: usize = 64 << 10;

/// The boots of one test; they run one after another on the same disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Script {
    /// At least one.
    pub boots: Vec<BootScript>,
}

/// What happens in one boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootScript {
    /// The disks of the machine that are not attached in this boot.
    pub without: Vec<String>,
    /// At least one; the last one, and no other, is [`Action::End`].
    pub actions: Vec<Action>,
}

/// One thing to wait for or to send.
///
/// Time limits are written for KVM on an idle host; under TCG they are ten times as long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Action {
    /// Waits for text behind everything that was matched before.
    Expect {
        /// What must appear on one line.
        pattern: Pattern,
        /// The time limit.
        within: Duration,
    },
    /// Sends these bytes to the console, a line end included if there is to be one.
    Send {
        /// The text, at most 1024 bytes. Linux takes `\n` for Enter, firmware menus want `\r`.
        text: String,
    },
    /// Waits until process 1 has proved itself.
    Booted {
        /// The time limit.
        within: Duration,
    },
    /// Waits for the guest's end.
    End {
        /// How it must end.
        how: GuestEnding,
        /// The time limit.
        within: Duration,
    },
}

/// How a guest ends. QEMU cannot tell, so it is read from the kernel's last words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum GuestEnding {
    /// `reboot: Power down`, then QEMU ends. On x86 the kernel needs ACPI for it.
    PowerOff,
    /// `reboot: Restarting system`, then QEMU ends.
    Reboot,
    /// `reboot: System halted`; QEMU runs on and is killed.
    Halt,
    /// `Kernel panic - not syncing`.
    Panic,
    /// QEMU ends by itself without a panic, whatever the kernel says (it may be silent).
    Exit,
    /// QEMU is killed at this point; for guests that are not meant to end.
    Kill,
}

impl GuestEnding {
    /// The kernel's words for it.
    pub(crate) fn words(self) -> Option<&'static str> {
        match self {
            GuestEnding::PowerOff => Some("reboot: Power down"),
            GuestEnding::Reboot => Some("reboot: Restarting system"),
            GuestEnding::Halt => Some("reboot: System halted"),
            GuestEnding::Panic => Some("Kernel panic - not syncing"),
            GuestEnding::Exit | GuestEnding::Kill => None,
        }
    }
}

impl fmt::Display for GuestEnding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GuestEnding::PowerOff => "power off",
            GuestEnding::Reboot => "reboot",
            GuestEnding::Halt => "halt",
            GuestEnding::Panic => "panic",
            GuestEnding::Exit => "end by itself",
            GuestEnding::Kill => "be killed",
        })
    }
}

/// Text to look for on one line of the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Pattern {
    /// Literal parts, each behind the one before.
    parts: Vec<String>,
}

impl Pattern {
    /// Looks for exactly this text.
    pub fn text(text: &str) -> Pattern {
        Pattern { parts: vec![text.to_owned()] }
    }

    /// Looks for this text, in which `*` stands for any characters of the line.
    pub fn glob(text: &str) -> Pattern {
        Pattern { parts: text.split('*').filter(|p| !p.is_empty()).map(str::to_owned).collect() }
    }

    /// The end of the first match in `line` that `accept` accepts the end of.
    fn find(&self, line: &[u8], accept: impl Fn(usize) -> bool) -> Option<usize> {
        let (last, first) = self.parts.split_last()?;
        let mut from = 0;
        for part in first {
            from += find(&line[from..], part.as_bytes())? + part.len();
        }
        while let Some(at) = find(&line[from..], last.as_bytes()) {
            if accept(from + at + last.len()) {
                return Some(from + at + last.len());
            }
            from += at + 1;
        }
        None
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.parts.join("*"))
    }
}

/// A script that cannot be played, or would prove nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScriptError {
    /// No boot at all.
    #[error("the script has no boot")]
    NoBoots,
    /// The last action is not an end, or an earlier one is.
    #[error("boot {boot} must have one end, as its last action")]
    End {
        /// Counted from 1.
        boot: usize,
    },
    /// A text that cannot be expected or may not be sent.
    #[error("boot {boot}, action {action}: {why}")]
    Text {
        /// Counted from 1.
        boot: usize,
        /// Counted from 1.
        action: usize,
        /// What is wrong with the text.
        why: &'static str,
    },
}

impl Script {
    /// Checks that the script can be played.
    ///
    /// # Errors
    ///
    /// The first action that cannot, with its place.
    pub fn check(&self) -> Result<(), ScriptError> {
        if self.boots.is_empty() {
            return Err(ScriptError::NoBoots);
        }
        for (boot, script) in (1..).zip(&self.boots) {
            let ends = |action: &Action| matches!(action, Action::End { .. });
            if script.actions.iter().position(ends).map(|place| place + 1)
                != Some(script.actions.len())
            {
                return Err(ScriptError::End { boot });
            }
            for (action, step) in (1..).zip(&script.actions) {
                if let Some(why) = step.fault() {
                    return Err(ScriptError::Text { boot, action, why });
                }
            }
        }
        Ok(())
    }
}

impl Action {
    fn fault(&self) -> Option<&'static str> {
        match self {
            Action::Expect { pattern, .. } => {
                if pattern.parts.iter().all(String::is_empty) {
                    return Some("the expected text is empty");
                }
                if pattern.parts.iter().any(|part| part.contains(['\n', '\r', '\x1b'])) {
                    return Some(
                        "the expected text has a line end or an escape; lines are compared without them",
                    );
                }
                (pattern.parts.iter().map(String::len).sum::<usize>() > LONGEST_TEXT)
                    .then_some("the expected text is longer than 1024 bytes")
            }
            Action::Send { text } => {
                if text.is_empty() {
                    return Some("the text to send is empty");
                }
                // A script that prints the proof itself, say in a shell that the kernel
                // fell back to, would prove nothing.
                if text.contains(PROOF_PREFIX.trim_end_matches(':'))
                    || text.contains(CHALLENGE_FILE)
                    || text.contains("osier/challenge")
                {
                    return Some(
                        "the text to send contains the proof of boot; only process 1 may give it",
                    );
                }
                (text.len() > LONGEST_TEXT).then_some("the text to send is longer than 1024 bytes")
            }
            Action::Booted { .. } | Action::End { .. } => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Expect { pattern, .. } => write!(f, "the text {pattern}"),
            Action::Send { text } => {
                // A long text would hide the sentence around it.
                let short: String = text.chars().take(40).collect();
                let more = if short.len() < text.len() { "..." } else { "" };
                write!(f, "the guest to take the text {short:?}{more}")
            }
            Action::Booted { .. } => f.write_str("the proof that process 1 runs"),
            Action::End { how, .. } => write!(f, "the guest to {how}"),
        }
    }
}

/// Finds expected text in the console, in order.
///
/// A match never lies before the end of the match before it. A line that was sent is
/// usually echoed by the guest's terminal; no match ends within that echo. An echo is the first
/// line, after the sending, that ends in the sent line; a program that repeats the sent line at
/// the end of a line of its own, with the terminal's echo switched off, is taken for it.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    /// Offset in the cleaned console up to which everything has been matched or passed.
    position: u64,
    /// Sent lines whose echo has not been seen.
    echoes: Vec<Vec<u8>>,
}

impl Matcher {
    /// Notes what has been sent.
    pub(crate) fn sent(&mut self, text: &str) {
        let lines = text.split(['\n', '\r']).filter(|line| !line.trim().is_empty());
        self.echoes.extend(lines.map(|line| line.as_bytes().to_vec()));
    }

    /// Moves on to `offset` at least.
    pub(crate) fn advance(&mut self, offset: u64) {
        self.position = self.position.max(offset);
    }

    /// Looks for `pattern` in `data`, the part of the console that begins at offset `start`.
    /// `quiet` says that no more output is on its way just now, so that a line which ends like
    /// the beginning of an echo is a line of its own.
    pub(crate) fn find(&mut self, data: &[u8], start: u64, pattern: &Pattern, quiet: bool) -> bool {
        self.position = self.position.max(start);
        loop {
            let Some(from) =
                usize::try_from(self.position - start).ok().filter(|f| *f < data.len())
            else {
                return false;
            };
            let rest = &data[from..];
            let line_end = rest.iter().position(|byte| *byte == b'\n');
            let line = &rest[..line_end.unwrap_or(rest.len())];
            let echo = self.echo_in(line, line_end.is_some(), quiet);
            let echo_from = line.len() - echo.map_or(0, |(_, length)| length);
            if let Some(end) = pattern.find(line, |end| end <= echo_from) {
                self.position += end as u64;
                return true;
            }
            if line_end.is_none() {
                if line.len() > LONGEST_LINE {
                    self.position += (line.len() - 2 * LONGEST_TEXT) as u64;
                }
                return false;
            }
            if let Some((index, _)) = echo {
                self.echoes.remove(index);
            }
            self.position += line.len() as u64 + 1;
        }
    }

    /// Which sent line `line` ends in, and how much of its end that is. For the unfinished
    /// last line a mere beginning of the next expected echo counts.
    fn echo_in(&self, line: &[u8], complete: bool, quiet: bool) -> Option<(usize, usize)> {
        if let Some(index) = self.echoes.iter().position(|echo| line.ends_with(echo)) {
            return Some((index, self.echoes[index].len()));
        }
        if complete || quiet {
            return None;
        }
        let echo = self.echoes.first()?;
        let most = echo.len().min(line.len());
        (1..=most).rev().find(|n| line.ends_with(&echo[..*n])).map(|n| (0, n))
    }
}

/// The place of `needle`, which is not empty, in `hay`.
pub(crate) fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, rest) = needle.split_first()?;
    let mut from = 0;
    while let Some(at) = hay[from..].iter().position(|byte| byte == first) {
        if hay[from + at + 1..].starts_with(rest) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
