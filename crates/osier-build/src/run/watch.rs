//! Following a sandbox that runs: what it prints, what it uses, how it ends.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use osier_sandbox::{Exit, Running, Status, WaitError};
use osier_store::{FileError, IoContext};
use rustix::event::{PollFd, PollFlags, poll};

use crate::run::executor::End;

/// Most bytes of one step's log; what comes later is dropped, but for the last part.
const LOG_LIMIT: u64 = 64 << 20;
const LOG_TAIL: usize = 256 << 10;

/// Says how a script ended, and which limit ended it, if one did; nothing where the sandbox was lost.
pub(crate) fn end_of(exit: &Result<Exit, WaitError>, silent: bool) -> Option<End> {
    if silent {
        return Some(End::Silent);
    }
    let exit = match exit {
        Ok(exit) => exit,
        Err(WaitError::LackedMemory) => return Some(End::OutOfMemory),
        Err(_) => return None,
    };
    let left = !exit.left_behind.is_empty();
    Some(match exit.status {
        // Even if all went on and ended well: on a larger machine it might have ended otherwise.
        _ if exit.lacked_memory => End::OutOfMemory,
        // A shell that could start no more may have ended well, and left the others.
        status if exit.pids_limit_hit && (status != Status::Code(0) || left) => {
            End::TooManyProcesses
        }
        Status::Code(0) if left => End::LeftProcesses(exit.left_behind.clone()),
        Status::Code(code) => End::Code(code),
        Status::Signal(signal) => End::Signal(signal),
    })
}

/// Waits for what a step prints, and ends it when it has used too much CPU time since it last did.
pub(crate) struct Watch<'r> {
    running: &'r mut Running,
    most: Option<Duration>,
    used: Duration,
    at_last_word: Duration,
    over: bool,
    pub(crate) silent: bool,
}

impl<'r> Watch<'r> {
    pub(crate) fn new(running: &'r mut Running, most: Option<Duration>) -> Self {
        let (used, at_last_word) = (Duration::ZERO, Duration::ZERO);
        Self { running, most, used, at_last_word, over: false, silent: false }
    }

    /// Waits until there is something to read, or the end of it.
    pub(crate) fn wait_for_word(&mut self, reader: &File) {
        while !self.over {
            let news = self.running.news();
            let mut sources = [
                PollFd::new(reader, PollFlags::IN),
                PollFd::from_borrowed_fd(news.as_fd(), PollFlags::IN),
            ];
            let _ = poll(&mut sources, None);
            let [word, news] = sources.map(|source| !source.revents().is_empty());
            if news {
                self.hear();
            }
            if word {
                self.at_last_word = self.used;
                return;
            }
        }
    }

    /// Waits for the end of a step that has closed its output.
    pub(crate) fn wait_for_end(&mut self) {
        while !self.over {
            self.hear();
        }
    }

    fn hear(&mut self) {
        let Some(used) = self.running.next_word() else {
            self.over = true;
            return;
        };
        self.used = self.used.max(used.cpu);
        if self.most.is_some_and(|most| self.used.saturating_sub(self.at_last_word) > most) {
            self.silent = true;
            self.running.kill();
        }
    }
}

/// Copies a step's console into its log, which starts to exist with the first byte.
///
/// A step that prints without end does not fill the disk: past a limit only the last part is kept.
pub(crate) fn record_log(
    reader: OwnedFd,
    log: &Path,
    watch: &mut Watch<'_>,
) -> Result<(), FileError> {
    let mut reader = File::from(reader);
    // An older log of the same key must not be taken for this one's.
    match fs::remove_file(log) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).at("remove", log)?;
        }
        _ => {}
    }
    let mut file: Option<File> = None;
    let mut written = 0u64;
    let mut tail: Vec<u8> = Vec::new();
    let mut dropped = 0u64;
    let mut buffer = vec![0u8; 64 << 10];
    let mut failed = None;
    loop {
        watch.wait_for_word(&reader);
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if failed.is_some() {
            // The step must not block on a full pipe because the log could not be written.
            continue;
        }
        if written < LOG_LIMIT {
            let result = match &mut file {
                Some(file) => file.write_all(&buffer[..count]),
                None => File::create(log).and_then(|mut new| {
                    new.write_all(&buffer[..count])?;
                    file = Some(new);
                    Ok(())
                }),
            };
            failed = result.at("write", log).err();
            written += count as u64;
        } else {
            tail.extend_from_slice(&buffer[..count]);
            if tail.len() > 2 * LOG_TAIL {
                let cut = tail.len() - LOG_TAIL;
                dropped += cut as u64;
                tail.drain(..cut);
            }
        }
    }
    if let (Some(file), false) = (&mut file, tail.is_empty()) {
        let note = format!("\n[osier: {dropped} bytes of this log were left out]\n");
        file.write_all(note.as_bytes()).and_then(|()| file.write_all(&tail)).at("write", log)?;
    }
    failed.map_or(Ok(()), Err)
}
