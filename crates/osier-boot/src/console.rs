//! The recorded console and the search in it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::script::find;

/// How much of the beginning is kept for the verdict.
const HEAD: usize = 1 << 20;
/// How much of the end is kept at least; twice as much at most.
const TAIL: usize = 4 << 20;
/// How much of QEMU's own messages is kept.
const MESSAGES: usize = 64 << 10;
/// How much of an unfinished line is watched.
const WATCHED_LINE: usize = 8 << 10;
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
    /// When a text was seen after which the guest can no longer boot.
    pub(crate) settled: Option<Instant>,
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
}

/// What the reader looks for in each line.
struct Watch {
    proof: Vec<u8>,
    settling: &'static [&'static str],
}

impl Console {
    /// Reads `stdout` (the console) and `stderr` (QEMU's messages) to their ends, in threads,
    /// and writes the console to `log` as it is. Lines are watched for `proof`, and before it for
    /// the texts in `settling`.
    pub(crate) fn read(
        stdout: OwnedFd,
        stderr: OwnedFd,
        log: &Path,
        proof: &str,
        settling: &'static [&'static str],
    ) -> io::Result<Console> {
        let log = File::create(log)?;
        let console = Console(Arc::new(Shared {
            record: Mutex::new(Record {
                head: Vec::new(),
                tail: Vec::new(),
                tail_start: 0,
                messages: Vec::new(),
                proved: None,
                settled: None,
                last_output: Instant::now(),
                bytes: 0,
                overflow: false,
                log_error: None,
                open: 2,
                line: Vec::new(),
            }),
            changed: Condvar::new(),
        }));
        let watch = Watch { proof: proof.as_bytes().to_vec(), settling };
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

    fn record_console(&self, mut stdout: File, mut log: File, watch: &Watch) {
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
    /// The offset behind the last byte of the cleaned console.
    pub(crate) fn end(&self) -> u64 {
        self.tail_start + self.tail.len() as u64
    }

    /// The cleaned console as text: all of it, or its beginning and its end.
    pub(crate) fn text(&self) -> String {
        let kept = self.head.len() as u64;
        let tail = String::from_utf8_lossy(&self.tail);
        if self.tail_start == 0 {
            return tail.into_owned();
        }
        let head = String::from_utf8_lossy(&self.head);
        if self.tail_start <= kept {
            let overlap = usize::try_from(kept - self.tail_start).unwrap_or(0);
            let rest = &self.tail[overlap.min(self.tail.len())..];
            return head.into_owned() + &String::from_utf8_lossy(rest);
        }
        format!("{head}\n[{} bytes left out]\n{tail}", self.tail_start - kept)
    }

    fn append(&mut self, clean: &[u8], watch: &Watch) {
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

    fn watch_line(&mut self, behind: u64, watch: &Watch) {
        if self.proved.is_none() && find(&self.line, &watch.proof).is_some() {
            self.proved = Some((Instant::now(), behind));
        }
        let settles = |text: &&str| find(&self.line, text.as_bytes()).is_some();
        if self.proved.is_none() && self.settled.is_none() && watch.settling.iter().any(settles) {
            self.settled = Some(Instant::now());
        }
    }
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
