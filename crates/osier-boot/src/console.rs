//! The recorded console and the search in it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::classify::{REFUSALS, stands_still};
use crate::kernel_lines::{Voice, stamp};
use crate::machine_end::{MachineEnd, split};
use crate::script::find;

/// How much of the beginning is kept for the verdict.
const HEAD: usize = 1 << 20;
/// How much of the end is kept at least; twice as much at most.
const TAIL: usize = 4 << 20;
/// How much of QEMU's own messages is kept.
const MESSAGES: usize = 64 << 10;
/// How much of an unfinished line is watched.
const WATCHED_LINE: usize = 8 << 10;
/// How many times as long a console must be quiet after words that a program may have printed.
const UNSURE: u32 = 5;
/// How large a log file may become before the guest is stopped.
pub(crate) const LOG_LIMIT: u64 = 64 << 20;

/// Takes carriage returns, NUL bytes and terminal escapes out of a byte stream.
///
/// The escapes are those of ECMA-48: `ESC [` up to a letter, `ESC ]` and other strings
/// up to BEL or `ESC \`, `ESC` with intermediates, `ESC` and one more byte. A line end ends each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cleaner(State);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    Control,
    String,
    StringEscape,
}

impl Cleaner {
    /// Appends to `out` what is left of `input`, which continues the input before.
    pub fn clean(&mut self, input: &[u8], out: &mut Vec<u8>) {
        for &byte in input {
            self.0 = match (self.0, byte) {
                (_, b'\n') => {
                    out.push(b'\n');
                    State::Text
                }
                (State::String, 0x1b) => State::StringEscape,
                (_, 0x1b) => State::Escape,
                (State::Text, b'\r' | 0) => State::Text,
                (State::Text, byte) => {
                    out.push(byte);
                    State::Text
                }
                (State::Escape, b'[') => State::Control,
                (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::String,
                (State::Escape, 0x20..=0x2f) => State::Escape,
                (State::Escape, _) => State::Text,
                (State::Control, 0x40..=0x7e) => State::Text,
                (State::Control, _) => State::Control,
                (State::String, 0x07) => State::Text,
                (State::String, _) => State::String,
                (State::StringEscape, b'\\') => State::Text,
                (State::StringEscape, _) => State::String,
            };
        }
    }
}

/// The console of a running guest, read by a thread of its own.
#[derive(Debug, Clone)]
pub(crate) struct Console(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    record: Mutex<Record>,
    changed: Condvar,
}

/// What has been seen so far.
#[derive(Debug)]
pub(crate) struct Record {
    /// The beginning of the cleaned console.
    head: Vec<u8>,
    /// The end of it.
    pub(crate) tail: Vec<u8>,
    /// The offset in the cleaned console at which `tail` begins.
    pub(crate) tail_start: u64,
    /// QEMU's own messages.
    pub(crate) messages: Vec<u8>,
    /// When the proof was seen, and the offset behind its line.
    pub(crate) proved: Option<(Instant, u64)>,
    /// Whether the kernel seems to have refused an init.
    refused: bool,
    /// When the last byte came.
    pub(crate) last_output: Instant,
    /// Raw bytes so far.
    pub(crate) bytes: u64,
    /// Whether the guest has printed more than the log may hold.
    pub(crate) overflow: bool,
    /// Why the log is not complete.
    pub(crate) log_error: Option<String>,
    /// How many of the two streams are still open.
    open: u8,
    line: Vec<u8>,
    /// The beginning of a program's line that the kernel has interrupted by lines of its own.
    interrupted: Vec<u8>,
}

impl Console {
    /// Reads `stdout` (the console) and `stderr` (QEMU's messages) to their ends, in threads,
    /// and writes the console to `log` as it is. Lines are watched for `proof`.
    pub(crate) fn read(
        stdout: OwnedFd,
        stderr: OwnedFd,
        log: &Path,
        proof: &str,
    ) -> io::Result<Console> {
        let log = File::create(log)?;
        let console = Console(Arc::new(Shared {
            record: Mutex::new(Record {
                head: Vec::new(),
                tail: Vec::new(),
                tail_start: 0,
                messages: Vec::new(),
                proved: None,
                refused: false,
                interrupted: Vec::new(),
                last_output: Instant::now(),
                bytes: 0,
                overflow: false,
                log_error: None,
                open: 2,
                line: Vec::new(),
            }),
            changed: Condvar::new(),
        }));
        let watch = proof.as_bytes().to_vec();
        let reader = console.clone();
        thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || reader.record_console(File::from(stdout), log, &watch))?;
        let reader = console.clone();
        thread::Builder::new()
            .name("qemu messages".to_owned())
            .spawn(move || reader.record_messages(File::from(stderr)))?;
        Ok(console)
    }

    /// The record as it is now.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        // A reader cannot panic while it holds the lock; if it did, the record is still whole.
        self.0.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits for a change of the record, at most `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        let record = self.record();
        if record.open == 0 {
            drop(record);
            // Nothing can change any more; do not let the caller spin.
            thread::sleep(timeout.min(Duration::from_millis(10)));
        } else {
            drop(self.0.changed.wait_timeout(record, timeout));
        }
    }

    /// Waits until both streams have been read to their ends, at most `timeout`.
    pub(crate) fn wait_closed(&self, timeout: Duration) {
        let record = self.record();
        drop(self.0.changed.wait_timeout_while(record, timeout, |record| record.open > 0));
    }

    fn record_console(&self, mut stdout: File, mut log: File, watch: &[u8]) {
        let mut cleaner = Cleaner::default();
        let mut clean = Vec::new();
        let mut logged = 0u64;
        read_all(&mut stdout, |bytes| {
            clean.clear();
            cleaner.clean(bytes, &mut clean);
            let room = usize::try_from(LOG_LIMIT - logged).unwrap_or(usize::MAX).min(bytes.len());
            logged += room as u64;
            let written = log.write_all(&bytes[..room]);
            let mut record = self.record();
            record.overflow |= room < bytes.len();
            if let Err(error) = written
                && record.log_error.is_none()
            {
                record.log_error = Some(error.to_string());
            }
            record.bytes += bytes.len() as u64;
            record.last_output = Instant::now();
            record.append(&clean, watch);
            drop(record);
            self.0.changed.notify_all();
        });
        self.close();
    }

    fn record_messages(&self, mut stderr: File) {
        read_all(&mut stderr, |bytes| {
            let mut record = self.record();
            let room = MESSAGES.saturating_sub(record.messages.len()).min(bytes.len());
            record.messages.extend_from_slice(&bytes[..room]);
            drop(record);
            self.0.changed.notify_all();
        });
        self.close();
    }

    fn close(&self) {
        self.record().open -= 1;
        self.0.changed.notify_all();
    }
}

fn read_all(stream: &mut File, mut each: impl FnMut(&[u8])) {
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => each(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The other side of a pipe cannot fail; whatever it is, no more will come.
            Err(_) => return,
        }
    }
}

impl Record {
    /// What QEMU said in words, and how it says that the machine ended; nothing of the latter where it said too much.
    pub(crate) fn said(&self) -> (String, Option<MachineEnd>) {
        let (messages, end) = split(&String::from_utf8_lossy(&self.messages));
        (messages, end.filter(|_| self.messages.len() < MESSAGES))
    }

    /// The offset behind the last byte of the cleaned console.
    pub(crate) fn end(&self) -> u64 {
        self.tail_start + self.tail.len() as u64
    }

    /// The cleaned console as text, all of it or its beginning and its end; and where in it the text
    /// behind the proof begins.
    pub(crate) fn text(&self) -> (String, Option<usize>) {
        let Some((_, behind)) = self.proved else {
            return (self.piece(0, self.end()), None);
        };
        let before = self.piece(0, behind);
        let place = before.len();
        (before + &self.piece(behind, self.end()), Some(place))
    }

    /// What is kept of the cleaned console from one offset to another.
    fn piece(&self, from: u64, to: u64) -> String {
        let kept = |bytes: &[u8], start: u64, from: u64, to: u64| {
            let place = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
            let (from, to) = (place(from).min(bytes.len()), place(to).min(bytes.len()));
            String::from_utf8_lossy(bytes.get(from..to).unwrap_or_default()).into_owned()
        };
        // Of what both have, the tail's is taken.
        let head = (self.head.len() as u64).min(self.tail_start);
        let mut text = kept(&self.head, 0, from.min(head), to.min(head));
        let (gap_from, gap_to) = (from.max(head), to.min(self.tail_start));
        if gap_from < gap_to {
            text.push_str(&format!("\n[{} bytes left out]\n", gap_to - gap_from));
        }
        text + &kept(&self.tail, self.tail_start, from.max(self.tail_start), to)
    }

    /// Whether the console has been quiet for `grace` after a text after which nothing comes, or for much
    /// longer where a program may have printed it.
    pub(crate) fn stands_still(&self, grace: Duration) -> bool {
        let quiet = self.last_output.elapsed();
        if quiet < grace {
            return false;
        }
        let refused = self.refused && self.proved.is_none();
        // The end is looked at often; the whole only where the end looks like one.
        let end = &self.tail[self.tail.len().saturating_sub(WATCHED_LINE)..];
        if stands_still(&String::from_utf8_lossy(end), refused).is_none() {
            return false;
        }
        match stands_still(&self.text().0, refused) {
            Some(Voice::Kernel) => true,
            Some(Voice::Unknown) => quiet >= grace * UNSURE,
            None => false,
        }
    }

    fn append(&mut self, clean: &[u8], watch: &[u8]) {
        let base = self.end();
        let room = HEAD.saturating_sub(self.head.len()).min(clean.len());
        self.head.extend_from_slice(&clean[..room]);
        self.tail.extend_from_slice(clean);
        if self.tail.len() > 2 * TAIL {
            let dropped = self.tail.len() - TAIL;
            self.tail.drain(..dropped);
            self.tail_start += dropped as u64;
        }
        if self.proved.is_some() {
            return;
        }
        let mut offset = base;
        for piece in clean.split_inclusive(|byte| *byte == b'\n') {
            offset += piece.len() as u64;
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.watch_line(offset, watch);
                self.line.clear();
            } else if self.line.len() > WATCHED_LINE {
                self.watch_line(offset, watch);
                let dropped = self.line.len() - WATCHED_LINE / 2;
                self.line.drain(..dropped);
            }
        }
    }

    fn watch_line(&mut self, behind: u64, proof: &[u8]) {
        self.refused |= REFUSALS.iter().any(|text| find(&self.line, text.as_bytes()).is_some());
        // The kernel's lines break into a program's: `osier-boo`, `[    1.2] random: ready`, `ted:12..`.
        let ascii = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '?' };
        let text: String = self.line.iter().map(ascii).collect();
        let at = stamp(&text).map(|stamp| stamp.at);
        let own = &self.line[..at.unwrap_or(self.line.len())];
        if self.interrupted.len() < WATCHED_LINE {
            self.interrupted.extend_from_slice(own);
        }
        if find(&self.line, proof).is_some() || find(&self.interrupted, proof).is_some() {
            self.proved = Some((Instant::now(), behind));
        }
        if at.is_none() {
            self.interrupted.clear();
        }
    }
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
