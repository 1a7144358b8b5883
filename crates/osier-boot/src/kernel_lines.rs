//! Whose lines the console shows: the kernel's, or a program's that prints the same words.
//!
//! A console is text, and any program can print any text: a server's log of a panic, the kernel log of another boot, a
//! test's expectation. What tells them apart is what a program does not bother to imitate: the kernel stamps its
//! lines with a time that never goes back, begins them with its words, and says nothing after it has ended.
//! A line that passes is still no fact, so a verdict is drawn from it only where it explains how the guest ended.

use std::ops::Range;

use crate::machine_end::MachineEnd;
use crate::script::GuestEnding;

/// By how many seconds a stamp may be older than one before it; lines of several processors overtake each other.
const JITTER: f64 = 0.25;

/// The most bytes of a stamp: 12 digits, a point and 9 digits with blanks before them, in brackets.
const LONGEST_STAMP: usize = 32;

/// The first lines of x86 firmware on a serial console.
pub(crate) const FIRMWARE: &[&str] = &[
    "SeaBIOS (",
    "Machine UUID",
    "iPXE",
    "Press Ctrl-B",
    "Booting from ",
    "Boot failed",
    "No bootable device",
    "Probing EDD",
    "BdsDxe:",
    "qboot",
];

/// What kernels print of their clocks and random numbers a second or more after they have started process 1, whatever
/// the guest does: no word about where the guest is. Whole phrases, as a kernel that does not stamp its lines looks like
/// any program.
const AT_ANY_TIME: &[&str] = &[
    "clocksource: Switched to clocksource ",
    "clocksource: tsc: mask: ",
    "tsc: Refined TSC clocksource calibration: ",
    "random: crng init done",
    "hrtimer: interrupt took ",
];

/// How sure it is that a line is the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// It has all that the kernel's lines have.
    Kernel,
    /// The words are the kernel's; a program may have printed them.
    Unknown,
}

#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    /// What the kernel says in it: the text behind a stamp, or the whole line of a kernel that does not stamp.
    message: Option<&'a str>,
}

/// The lines of a console, and from where on a verdict may be drawn from them.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    all: Vec<Line<'a>>,
    /// Whether this kernel stamps its lines, so that a line without a stamp is a program's.
    is_stamped: bool,
    /// The kernel's first line; before it are firmware and boot loaders.
    begun: usize,
    /// The first line behind the proof; 0 without one.
    from: usize,
    /// How the machine ended, where QEMU said so.
    end: Option<MachineEnd>,
    /// Where somebody speaks, in order, so that no question is a walk over all lines: of a kernel that stamps the
    /// lines of programs and those about the start of process 1, of another all that are not details.
    marks: Vec<usize>,
    /// The last line after which nobody speaks, if anybody does.
    last: Option<usize>,
}

impl<'a> Lines<'a> {
    /// Reads a console; of one with a proof, what is behind byte `behind` comes after it.
    pub(crate) fn new(console: &'a str, behind: Option<usize>) -> Lines<'a> {
        // Looked at anew each time: kept, stamps would take many times the memory of the text.
        let stamps = || console.lines().map(|line| (line, stamp(line)));
        let banner = stamps().find(|(line, _)| line.contains("Linux version "));
        let is_stamped = match banner {
            Some((_, stamp)) => stamp.is_some(),
            None => stamps().any(|(_, stamp)| stamp.is_some()),
        };
        let mut latest = 0.0;
        let all = stamps().map(|(text, stamp)| {
            let message = match stamp {
                Some(stamp) if is_stamped && stamp.seconds + JITTER >= latest => {
                    latest = stamp.seconds.max(latest);
                    Some(stamp.message)
                }
                None if !is_stamped => Some(text.trim_start()),
                _ => None,
            };
            Line { text, message }
        });
        let all: Vec<Line<'a>> = all.collect();
        let begun = all.iter().position(|line| line.message.is_some()).unwrap_or(all.len());
        let before = behind.and_then(|behind| console.get(..behind)).unwrap_or("");
        let from = before.lines().count();
        let mut lines =
            Lines { all, is_stamped, begun, from, end: None, marks: Vec::new(), last: None };
        let is_mark = |index: &usize| match is_stamped {
            true => lines.is_programs(*index) || lines.is_run(*index),
            false => !lines.is_detail(*index),
        };
        let marks = (0..lines.all.len()).filter(is_mark).collect();
        let speaks = |index: &usize| match is_stamped {
            true => lines.is_programs(*index),
            false => !lines.text(*index).trim().is_empty(),
        };
        let last = (0..lines.all.len()).rfind(speaks);
        (lines.marks, lines.last) = (marks, last);
        lines
    }

    /// Adds how the machine ended: an end that did not happen was not announced by the kernel.
    pub(crate) fn ended(self, end: Option<MachineEnd>) -> Lines<'a> {
        Lines { end, ..self }
    }

    /// The lines from which a verdict may be drawn.
    fn present(&self) -> impl DoubleEndedIterator<Item = &'a str> + '_ {
        self.all[self.from.min(self.all.len())..].iter().map(|line| line.text)
    }

    /// The first line with a text.
    pub(crate) fn first(&self, text: &str) -> Option<&'a str> {
        self.present().find(|line| line.contains(text))
    }

    /// The first line with one of some texts.
    pub(crate) fn any(&self, texts: &[&str]) -> Option<&'a str> {
        self.present().find(|line| texts.iter().any(|text| line.contains(text)))
    }

    /// The last line that says where the guest is; if none does, the last that says anything.
    pub(crate) fn last_text(&self) -> &'a str {
        let said = || self.all.iter().rev().filter(|line| !line.text.trim().is_empty());
        let tells = |line: &&Line<'_>| {
            let message = line.message.unwrap_or("");
            !AT_ANY_TIME.iter().any(|words| message.starts_with(words))
        };
        said().find(tells).or_else(|| said().next()).map_or("", |line| line.text.trim())
    }

    /// Whether nothing but the firmware has printed.
    pub(crate) fn is_silent(&self) -> bool {
        (0..self.all.len()).all(|index| self.is_nothing(index))
    }

    pub(crate) fn text(&self, index: usize) -> &'a str {
        self.all.get(index).map_or("", |line| line.text)
    }

    /// The places of the lines before and behind the proof.
    pub(crate) fn before(&self) -> Range<usize> {
        0..self.from.min(self.all.len())
    }

    /// See [`Lines::before`]; without a proof all lines.
    pub(crate) fn behind(&self) -> Range<usize> {
        self.from.min(self.all.len())..self.all.len()
    }

    /// Who says `words` in a line, if they stand there.
    pub(crate) fn voice(&self, index: usize, words: &str) -> Option<Voice> {
        let line = self.all.get(index).filter(|line| line.text.contains(words))?;
        let begins = line.message.is_some_and(|message| message.starts_with(words));
        Some(if begins { Voice::Kernel } else { Voice::Unknown })
    }

    /// Like [`Lines::voice`], of words about an end: nobody prints anything after a kernel has ended. Of a kernel
    /// that does not stamp any line is possible, in the middle of a prompt, too.
    pub(crate) fn end_voice(&self, index: usize, words: &str) -> Option<Voice> {
        let voice = self.voice(index, words)?;
        let is_sure = self.is_stamped && voice == Voice::Kernel && self.is_last_word(index);
        Some(if is_sure { Voice::Kernel } else { Voice::Unknown })
    }

    /// Whether a line is certainly a program's.
    pub(crate) fn is_programs(&self, index: usize) -> bool {
        let Some(line) = self.all.get(index) else { return false };
        let speaks = line.message.is_none() && !line.text.trim().is_empty();
        self.is_stamped && speaks && index > self.begun
    }

    /// Whether no program says anything behind a line; where that cannot be told, whether nothing does.
    pub(crate) fn is_last_word(&self, index: usize) -> bool {
        self.last.is_none_or(|last| last <= index)
    }

    /// Whether a line stands where the kernel starts process 1: before any program has printed, or between
    /// the kernel's lines about one init and the next. Without stamps only the latter tells.
    pub(crate) fn is_of_the_start(&self, index: usize) -> bool {
        let before = self.marks[..self.marks.partition_point(|mark| *mark < index)].last();
        let after = self.marks[self.marks.partition_point(|mark| *mark <= index)..].first();
        if self.is_stamped {
            return before.is_none_or(|before| self.is_run(*before));
        }
        [before, after].iter().all(|mark| mark.is_some_and(|mark| self.is_run(*mark)))
    }

    /// Whether the kernel says in a line that it starts process 1.
    fn is_run(&self, index: usize) -> bool {
        self.text(index).contains(" as init process")
            && self.voice(index, "Run ") == Some(Voice::Kernel)
    }

    /// Whether a line says nothing of its own; with `debug` the kernel shows the arguments of process 1, indented.
    fn is_detail(&self, index: usize) -> bool {
        self.is_nothing(index) || self.text(index).starts_with("  ")
    }

    /// Whether a line says nothing, or is the firmware's.
    fn is_nothing(&self, index: usize) -> bool {
        let text = self.text(index).trim();
        text.is_empty() || FIRMWARE.iter().any(|words| text.contains(words))
    }

    /// The last end that the kernel announced behind the proof: of what is the kernel's if there is any,
    /// else of what may be.
    pub(crate) fn ending(&self) -> Option<(GuestEnding, Voice)> {
        let mut found: Option<(GuestEnding, Voice)> = None;
        let endings =
            [GuestEnding::PowerOff, GuestEnding::Reboot, GuestEnding::Halt, GuestEnding::Panic];
        for index in self.behind() {
            for ending in endings {
                if self.end.is_some_and(|end| end.contradicts(ending)) {
                    continue;
                }
                let Some(voice) = ending.words().and_then(|words| self.end_voice(index, words))
                else {
                    continue;
                };
                if voice == Voice::Kernel || found.is_none_or(|(_, voice)| voice != Voice::Kernel) {
                    found = Some((ending, voice));
                }
            }
        }
        found
    }
}

/// The kernel's time in a line, and what follows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp<'a> {
    /// Where the stamp begins: behind a program's unfinished line, if one was interrupted.
    pub(crate) at: usize,
    seconds: f64,
    message: &'a str,
}

/// Finds the kernel's stamp in a line: `[    1.234567] text`, with a caller as in `[    1.234567][    T1] text` where the
/// kernel is built so. A `<6>` before it is how a log of the kernel's is kept in a file, never on a console.
pub(crate) fn stamp(line: &str) -> Option<Stamp<'_>> {
    let (at, _) = line.match_indices('[').find(|(at, _)| stamped(&line[*at..]).is_some())?;
    if line[..at].ends_with('>') {
        return None;
    }
    let (seconds, message) = stamped(&line[at..])?;
    Some(Stamp { at, seconds, message })
}

fn stamped(text: &str) -> Option<(f64, &str)> {
    // No stamp is longer, and a line can be a megabyte of brackets.
    let end = text.bytes().take(LONGEST_STAMP).position(|byte| byte == b']')?;
    let (inside, rest) = (text[..end].strip_prefix('[')?, &text[end + 1..]);
    let (whole, part) = inside.trim_start_matches(' ').split_once('.')?;
    let digits = |text: &str, most| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole, 12) || !digits(part, 9) {
        return None;
    }
    let seconds = inside.trim_start_matches(' ').parse().ok()?;
    let caller = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let rest = match caller {
        Some((caller, rest)) if caller.trim_start().starts_with(['T', 'C']) => rest,
        _ => rest,
    };
    Some((seconds, rest.trim_start()))
}

#[cfg(test)]
#[path = "kernel_lines_tests.rs"]
mod tests;
