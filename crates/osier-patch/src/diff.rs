//! A patch as a value.

use std::path::{Path, PathBuf};

use crate::binary::Binary;

/// One patch: the changes of one or several files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// What it is called in reports: its file, and which of its mails where there are several.
    pub name: String,
    /// The changes, in the order of the text.
    pub(crate) files: Vec<FilePatch>,
}

/// What a patch does with a file, beside changing its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Edit,
    Create,
    Delete,
    Rename,
    Copy,
    /// Takes back a copy.
    Uncopy,
    /// Changes bytes in a way that the patch does not say.
    Binary,
}

/// What kind of file a mode of git names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Executable,
    Symlink,
}

/// The changes of one file. The paths lie inside the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePatch {
    /// The line of the text that it begins with, counted from 1.
    pub(crate) line: usize,
    pub(crate) change: Change,
    /// The file before.
    pub(crate) old: PathBuf,
    /// The file afterwards. But for a rename or a copy both names are one file, and which one is seen by what is there.
    pub(crate) new: PathBuf,
    /// The new name as it is written, for finding the file when it is not there.
    pub(crate) written: Vec<u8>,
    /// Whether git's header says what becomes of the file; else the names and numbers of lines do.
    pub(crate) git: bool,
    pub(crate) old_mode: Option<Mode>,
    pub(crate) new_mode: Option<Mode>,
    /// Whether the lines of the header themselves end in CR LF: then the whole text was turned into that form.
    pub(crate) crlf: bool,
    /// The change of bytes that are not lines; then there are no hunks.
    pub(crate) binary: Option<Binary>,
    pub(crate) hunks: Vec<Hunk>,
}

/// One place of a file that is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hunk {
    /// The line of its header in the text, counted from 1.
    pub(crate) line: usize,
    /// The first line in the old file, counted from 1; where the old side has no lines, the one before it.
    pub(crate) old_start: usize,
    /// The same of the new file.
    pub(crate) new_start: usize,
    pub(crate) lines: Vec<Line>,
}

/// Which sides a line of a hunk belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Both,
    Old,
    New,
}

/// One line of a hunk, with its end; without one where the file has none there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) side: Side,
    pub(crate) text: Vec<u8>,
}

impl Patch {
    /// A patch that changes nothing.
    pub fn nothing(name: &str) -> Self {
        Self { name: name.to_owned(), files: Vec::new() }
    }

    /// The first change of a file of which the patch does not say more than that there is one, as of a binary one: the
    /// line of the text, counted from 1, and the file. It is in conflict with every source.
    pub fn binary(&self) -> Option<(usize, &Path)> {
        let file = self.files.iter().find(|file| file.change == Change::Binary)?;
        Some((file.line, &file.new))
    }

    /// The patch that takes this one back.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let files = self.files.iter().rev().map(FilePatch::reversed).collect();
        Self { name: self.name.clone(), files }
    }
}

impl FilePatch {
    fn reversed(&self) -> Self {
        let change = match self.change {
            Change::Create => Change::Delete,
            Change::Delete => Change::Create,
            Change::Copy => Change::Uncopy,
            Change::Uncopy => Change::Copy,
            change => change,
        };
        let hunks = self.hunks.iter().map(Hunk::reversed).collect();
        Self {
            change,
            old: self.new.clone(),
            new: self.old.clone(),
            old_mode: self.new_mode,
            new_mode: self.old_mode,
            binary: self.binary.as_ref().map(Binary::reversed),
            hunks,
            ..self.clone()
        }
    }
}

impl Hunk {
    /// The lines of the old file.
    pub(crate) fn old_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().filter(|line| line.side != Side::New).map(|line| line.text.as_slice())
    }

    /// The lines of the new file.
    pub(crate) fn new_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().filter(|line| line.side != Side::Old).map(|line| line.text.as_slice())
    }

    /// How many lines stay as they are before the first change.
    pub(crate) fn leading(&self) -> usize {
        self.lines.iter().take_while(|line| line.side == Side::Both).count()
    }

    /// How many lines stay as they are behind the last change.
    pub(crate) fn trailing(&self) -> usize {
        self.lines.iter().rev().take_while(|line| line.side == Side::Both).count()
    }

    fn reversed(&self) -> Self {
        let swap = |side| match side {
            Side::Old => Side::New,
            Side::New => Side::Old,
            Side::Both => Side::Both,
        };
        let lines =
            self.lines.iter().map(|line| Line { side: swap(line.side), text: line.text.clone() });
        Self {
            line: self.line,
            old_start: self.new_start,
            new_start: self.old_start,
            lines: lines.collect(),
        }
    }
}
