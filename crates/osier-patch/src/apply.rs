//! One patch put on the files of a source.

use std::borrow::Cow;
use std::path::Path;

use crate::diff::{Change, FilePatch, Hunk, Mode, Patch};
use crate::report::{FileProblem, FileReport, HunkReport};
use crate::tree::{Changes, Found, Node, Source};
use crate::{hunk, name};

/// Most bytes of where a symbolic link leads.
const LONGEST_LINK: usize = 4095;

/// Puts a patch on a source, as far as it fits; `folder` is where its names begin.
pub(crate) fn patch<S: Source>(
    patch: &Patch,
    folder: &Path,
    changes: &mut Changes<'_, S>,
) -> Result<Vec<FileReport>, S::Error> {
    patch.files.iter().map(|file| Putting { file, folder, changes }.put()).collect()
}

struct Putting<'a, 'c, 's, S> {
    file: &'a FilePatch,
    folder: &'a Path,
    changes: &'c mut Changes<'s, S>,
}

impl<'a, S: Source> Putting<'a, '_, '_, S> {
    fn look(&self, path: &Path) -> Result<Found, S::Error> {
        self.changes.look(&self.folder.join(path))
    }

    fn set(&mut self, path: &Path, node: Option<Node>) {
        self.changes.set(&self.folder.join(path), node);
    }

    fn put(&mut self) -> Result<FileReport, S::Error> {
        match self.file.change {
            Change::Binary => Ok(report(&self.file.new, FileProblem::Binary)),
            Change::Create => self.create(),
            Change::Edit | Change::Delete => self.edit(),
            Change::Rename | Change::Copy | Change::Uncopy => self.move_file(),
        }
    }

    /// The file that is changed. Of two names it is that of a file which is there, and of two such the shorter one: `x.c`
    /// and not `x.c.orig`.
    fn path(&self) -> Result<&'a Path, S::Error> {
        let file = self.file;
        if file.old == file.new {
            return Ok(&file.new);
        }
        let mut names = [file.new.as_path(), file.old.as_path()];
        names.sort_by_key(|name| (name.components().count(), name.as_os_str().len()));
        for name in names {
            if matches!(self.look(name)?, Found::Node(_)) {
                return Ok(name);
            }
        }
        Ok(&file.new)
    }

    fn create(&mut self) -> Result<FileReport, S::Error> {
        let path = self.path()?;
        let Some((content, reports)) = self.bytes(b"") else {
            return Ok(report(path, FileProblem::OtherBytes));
        };
        let node = self.made(content.clone());
        match self.look(path)? {
            Found::Nothing => {}
            // A plain diff says the same of a file that was empty as of one that was not there.
            Found::Node(Node::File { content: there, .. })
                if there.is_empty() && !self.file.git =>
            {
                return self.edit();
            }
            Found::Node(there) => {
                let already = node.is_some_and(|node| bytes(&node) == bytes(&there));
                return Ok(report(path, FileProblem::Exists { already }));
            }
            found => return self.unfit(path, found),
        }
        let Some(node) = node else { return Ok(report(path, FileProblem::NotFile)) };
        self.set(path, Some(node));
        Ok(hunks_report(path, reports))
    }

    /// The file that a patch makes; nothing for a symbolic link that cannot be.
    fn made(&self, content: Vec<u8>) -> Option<Node> {
        let bad = content.is_empty() || content.contains(&0) || content.len() > LONGEST_LINK;
        match self.file.new_mode {
            Some(Mode::Symlink) if bad => None,
            Some(Mode::Symlink) => Some(Node::Symlink { target: content }),
            Some(Mode::Executable) => Some(Node::File { content, mode: 0o755 }),
            Some(Mode::Plain) | None => Some(Node::File { content, mode: 0o644 }),
        }
    }

    fn edit(&mut self) -> Result<FileReport, S::Error> {
        let path = self.path()?;
        let found = self.look(path)?;
        let (node, reports) = match self.changed(&found) {
            Some(changed) => changed,
            None => return self.unfit(path, found),
        };
        if self.file.change == Change::Delete && !reports.iter().any(HunkReport::fails) {
            if !bytes(&node).is_empty() {
                return Ok(report(path, FileProblem::LeftOver));
            }
            self.set(path, None);
        } else {
            self.set(path, Some(node));
        }
        Ok(hunks_report(path, reports))
    }

    /// Moves or copies a file, or takes a copy back.
    fn move_file(&mut self) -> Result<FileReport, S::Error> {
        let (old, new) = (self.file.old.as_path(), self.file.new.as_path());
        // git's names are those of before the whole patch.
        let found = self.changes.below().look(&self.folder.join(old))?;
        let (node, reports) = match self.changed(&found) {
            Some(changed) => changed,
            None => return self.unfit(old, found),
        };
        if self.file.change == Change::Uncopy {
            self.set(old, None);
            return Ok(hunks_report(old, reports));
        }
        match self.look(new)? {
            Found::Nothing => {}
            Found::Node(there) => {
                let already = bytes(&node) == bytes(&there);
                return Ok(report(new, FileProblem::Exists { already }));
            }
            found => return self.unfit(new, found),
        }
        if self.file.change == Change::Rename {
            self.set(old, None);
        }
        self.set(new, Some(node));
        Ok(hunks_report(new, reports))
    }

    /// Gives the file with the hunks that fit; nothing for what the patch is not made for.
    fn changed(&self, found: &Found) -> Option<(Node, Vec<HunkReport>)> {
        let wants_link = self.file.old_mode == Some(Mode::Symlink);
        match found {
            Found::Node(Node::File { content, mode }) if !wants_link => {
                let (content, reports) = self.bytes(content)?;
                let mode = match (self.file.old_mode, self.file.new_mode) {
                    (old, new) if old == new => *mode,
                    (_, Some(Mode::Executable)) => mode | (mode & 0o444) >> 2,
                    (_, Some(Mode::Plain)) => mode & !0o111,
                    _ => *mode,
                };
                Some((Node::File { content, mode }, reports))
            }
            Found::Node(Node::Symlink { target }) if wants_link => {
                let (target, reports) = self.bytes(target)?;
                Some((Node::Symlink { target }, reports))
            }
            _ => None,
        }
    }

    /// The bytes of a file afterwards; nothing where the patch is made for a file of other bytes.
    fn bytes(&self, content: &[u8]) -> Option<(Vec<u8>, Vec<HunkReport>)> {
        match &self.file.binary {
            Some(binary) => Some((binary.put(content)?, Vec::new())),
            None => Some(hunk::put(content, &self.hunks(content))),
        }
    }

    /// The hunks, without the ends that the whole patch was given where the file has no such.
    fn hunks(&self, content: &[u8]) -> Cow<'a, [Hunk]> {
        let first = content.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        if !self.file.crlf || first.ends_with(b"\r\n") {
            return Cow::Borrowed(&self.file.hunks);
        }
        let mut hunks = self.file.hunks.clone();
        for line in hunks.iter_mut().flat_map(|hunk| &mut hunk.lines) {
            let end = if line.text.ends_with(b"\n") { 1 } else { 0 };
            let before = line.text.len() - end;
            if line.text[..before].ends_with(b"\r") {
                line.text.remove(before - 1);
            }
        }
        Cow::Owned(hunks)
    }

    /// Says why what was found cannot be changed.
    fn unfit(&self, path: &Path, found: Found) -> Result<FileReport, S::Error> {
        let problem = match found {
            Found::Nothing => FileProblem::Missing { near: self.near(path)? },
            Found::Blocked { by, link } => {
                let by = by.strip_prefix(self.folder).unwrap_or(&by);
                FileProblem::Blocked { by: by.to_string_lossy().into_owned(), link }
            }
            Found::Node(Node::File { .. }) if self.file.binary.is_some() => FileProblem::OtherBytes,
            Found::Node(_) | Found::Folder | Found::Special => FileProblem::NotFile,
        };
        Ok(report(path, problem))
    }

    /// Finds the file by its name with fewer or more leading folders taken off.
    fn near(&self, path: &Path) -> Result<Option<String>, S::Error> {
        for strip in 0..4 {
            let Ok(other) = name::inside(&self.file.written, strip) else { continue };
            if other != path && matches!(self.look(&other)?, Found::Node(_)) {
                return Ok(Some(other.to_string_lossy().into_owned()));
            }
        }
        Ok(None)
    }
}

fn bytes(node: &Node) -> &[u8] {
    match node {
        Node::File { content, .. } => content,
        Node::Symlink { target } => target,
    }
}

fn report(path: &Path, problem: FileProblem) -> FileReport {
    let path = path.to_string_lossy().into_owned();
    FileReport { path, hunks: Vec::new(), problem: Some(problem), after: None }
}

fn hunks_report(path: &Path, hunks: Vec<HunkReport>) -> FileReport {
    FileReport { path: path.to_string_lossy().into_owned(), hunks, problem: None, after: None }
}
