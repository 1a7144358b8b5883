//! The one reader of steps' logs.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use osier_store::{FileError, IoContext};

use super::LogLine;

/// How much of each end of a long log is looked at.
const END: u64 = 4 << 20;

/// Most characters of a line that are kept for a person.
const SHOWN: usize = 400;

/// How many of the last lines a person is shown.
const LAST: usize = 8;

/// What a step has printed: all of it, or both ends where it is long. Bytes that are not UTF-8 are replaced.
#[derive(Debug, Default)]
pub(crate) struct Log {
    begin: String,
    end: String,
    /// How many lines end before `end` begins.
    before_end: usize,
}

impl From<&str> for Log {
    fn from(text: &str) -> Self {
        Self { begin: text.to_owned(), ..Self::default() }
    }
}

impl Log {
    /// Reads a log; a step that printed nothing has none.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).at("open", path),
        };
        Self::take(&mut file).at("read", path)
    }

    fn take(file: &mut File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut bytes = Vec::new();
        if length <= 2 * END {
            file.read_to_end(&mut bytes)?;
            return Ok(Self { begin: text(&bytes), ..Self::default() });
        }
        file.by_ref().take(END).read_to_end(&mut bytes)?;
        let begin = text(&bytes);
        let mut before_end = newlines(&bytes);
        let mut left = length - 2 * END;
        while left > 0 {
            bytes.clear();
            let some = file.by_ref().take(left.min(END)).read_to_end(&mut bytes)?;
            if some == 0 {
                break;
            }
            before_end += newlines(&bytes);
            left -= some as u64;
        }
        bytes.clear();
        file.seek(SeekFrom::End(-END.cast_signed()))?;
        file.take(END).read_to_end(&mut bytes)?;
        Ok(Self { begin, end: text(&bytes), before_end })
    }

    /// Gives the lines that were read, each with its number, counted from 1.
    pub(crate) fn lines(&self) -> impl DoubleEndedIterator<Item = (usize, &str)> {
        numbered(&self.begin, 0).chain(numbered(&self.end, self.before_end))
    }

    /// The last command that the step's script started.
    pub(crate) fn command(&self) -> Option<String> {
        let command = self.lines().rev().find_map(|(_, line)| line.strip_prefix("+ "))?;
        Some(command.chars().take(300).collect())
    }

    /// The last lines.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        let mut last: Vec<String> =
            self.lines().rev().take(LAST).map(|(_, line)| shown(line)).collect();
        last.reverse();
        last
    }
}

impl LogLine {
    pub(super) fn new((number, text): (usize, &str)) -> Self {
        Self { number, text: shown(text) }
    }
}

/// Gives the lines of a text that comes after so many others.
fn numbered(text: &str, before: usize) -> impl DoubleEndedIterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    lines.into_iter().enumerate().map(move |(number, line)| (before + number + 1, line))
}

fn shown(line: &str) -> String {
    line.chars().take(SHOWN).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn logs_that_are_not_text_are_read() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"+ make \xff\xfe\n\xffx.c:1: error: bad\n").unwrap();
        let log = Log::read(file.path()).unwrap();
        assert_eq!(log.command().unwrap(), "make \u{fffd}\u{fffd}");
        assert_eq!(log.last_lines(), ["+ make \u{fffd}\u{fffd}", "\u{fffd}x.c:1: error: bad"]);
        assert_eq!(Log::read(Path::new("/nowhere/log")).unwrap().lines().count(), 0);
        assert!(Log::read(Path::new("/")).is_err());
    }

    #[test]
    fn lines_of_a_long_log_keep_their_numbers() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let lines = 1_200_000;
        let mut text = String::new();
        for number in 1..=lines {
            text.push_str(&format!("line {number}\n"));
        }
        assert!(text.len() as u64 > 3 * END);
        file.write_all(text.as_bytes()).unwrap();
        let log = Log::read(file.path()).unwrap();
        assert_eq!(log.lines().next(), Some((1, "line 1")));
        assert_eq!(log.lines().next_back(), Some((lines, "line 1200000")));
        let read = log.lines().count();
        assert!(read < lines, "{read}");
        // But for the two that were cut each says its own number.
        let wrong = log.lines().filter(|(number, line)| *line != format!("line {number}")).count();
        assert!(wrong <= 2, "{wrong}");
    }
}
