//! From the text of a patch to its value.
//!
//! Read are unified diffs, plain or with git's headers, among any other text: the head of a quilt patch, the mails of
//! `git format-patch`. What would be left out silently is an error: a hunk that ends before its own count or goes on
//! behind it, a hunk of no file, a form of diff that is not read, a line of a header that stands where nothing looks.

use crate::binary::Binary;
use crate::diff::{Change, FilePatch, Hunk, Line, Mode, Patch, Side};
use crate::problem::{ParseError, Problem};
use crate::{name, prose, text};

impl Patch {
    /// Reads a file of patches: one, or each mail of a mailbox. `strip` is how many leading folders are taken off.
    ///
    /// # Errors
    /// All that is not understood in full, a name that leaves the source.
    pub fn parse(name: &str, text: &[u8], strip: u32) -> Result<Vec<Self>, ParseError> {
        let lines = text::lines(text).map_err(|problem| ParseError { line: 1, problem })?;
        let mut starts = text::mails(&lines);
        if starts.is_empty() {
            starts.push(lines.iter().position(|line| !line.trim_ascii().is_empty()).unwrap_or(0));
        }
        let mut patches = Vec::new();
        for (number, start) in starts.iter().enumerate() {
            let end = starts.get(number + 1).copied().unwrap_or(lines.len());
            // What stands above the first mail belongs to it.
            let at = if number == 0 { 0 } else { *start };
            let lines = &lines[..end];
            let words = prose::letter(lines, *start).unwrap_or(0);
            let files = Reader { lines, at, words, strip }.files()?;
            // A mail without a change is a letter about the others.
            if !files.is_empty() {
                let name = format!("{name} (mail {} of {})", number + 1, starts.len());
                patches.push(Self { name, files });
            }
        }
        match patches.as_mut_slice() {
            [] => return Err(ParseError { line: 1, problem: Problem::Empty }),
            [one] => name.clone_into(&mut one.name),
            _ => {}
        }
        Ok(patches)
    }
}

struct Reader<'t> {
    lines: &'t [&'t [u8]],
    at: usize,
    /// Where the words above a change end, in which lines of diffs may be quoted.
    words: usize,
    strip: u32,
}

/// What git's header says of a file.
struct Header {
    change: Change,
    old_mode: Option<Mode>,
    new_mode: Option<Mode>,
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
    /// Whether a change of bytes has to follow.
    edited: bool,
}

impl Default for Header {
    fn default() -> Self {
        let change = Change::Edit;
        Self { change, old_mode: None, new_mode: None, from: None, to: None, edited: false }
    }
}

impl<'t> Reader<'t> {
    fn line(&self, ahead: usize) -> &'t [u8] {
        self.lines.get(self.at + ahead).copied().unwrap_or_default()
    }

    fn wrong<T>(&self, problem: Problem) -> Result<T, ParseError> {
        Err(ParseError { line: (self.at + 1).min(self.lines.len().max(1)), problem })
    }

    fn or<T>(&self, result: Result<T, Problem>) -> Result<T, ParseError> {
        result.or_else(|problem| self.wrong(problem))
    }

    /// Whether the header of a file stands so many lines further down.
    fn is_header(&self, ahead: usize) -> bool {
        self.line(ahead).starts_with(b"--- ") && self.line(ahead + 1).starts_with(b"+++ ")
    }

    fn files(&mut self) -> Result<Vec<FilePatch>, ParseError> {
        let mut files = Vec::new();
        while self.at < self.lines.len() {
            let line = self.line(0);
            if prose::is_git_file(self.lines, self.at) {
                files.push(self.git_file()?);
            } else if self.is_header(0) {
                files.push(self.plain_file()?);
            } else if prose::is_hunk(line) && hunk_header(line).is_some() {
                return self.wrong(Problem::HunkOfNoFile);
            } else if prose::is_hunk(line) {
                return self.wrong(Problem::HunkHeader { text: shown(line) });
            } else if prose::is_binary(line.trim_ascii_end()) {
                files.push(self.plain_binary()?);
            } else {
                self.words = self.words.max(prose::message(self.lines, self.at).unwrap_or(0));
                if let Some(problem) = prose::overlooked(self.lines, self.at, self.at < self.words)
                {
                    return self.wrong(problem);
                }
                self.at += 1;
            }
        }
        Ok(files)
    }

    /// Reads `---`, `+++` and hunks; the header stands here.
    fn plain_file(&mut self) -> Result<FilePatch, ParseError> {
        let begin = self.at + 1;
        let crlf = self.line(1).ends_with(b"\r\n");
        let old = self.or(name::of_header(&self.line(0)[4..], false))?;
        let new = self.or(name::of_header(&self.line(1)[4..], false))?;
        self.at += 2;
        let hunks = self.hunks()?;
        // A side without a line before it has no lines at all.
        let (makes, removes) = match hunks.as_slice() {
            [hunk] => (hunk.old_start == 0, hunk.new_start == 0),
            _ => (false, false),
        };
        let change = match (&old, &new) {
            (None, None) => return self.wrong(Problem::NoHunk),
            (None, _) => Change::Create,
            (_, None) => Change::Delete,
            _ if makes => Change::Create,
            _ if removes => Change::Delete,
            _ => Change::Edit,
        };
        let path = |name: &[u8]| self.or(name::inside(name, self.strip));
        let new_path = path(new.as_ref().or(old.as_ref()).map_or(b"", Vec::as_slice))?;
        let old_path = path(old.as_ref().or(new.as_ref()).map_or(b"", Vec::as_slice))?;
        Ok(FilePatch {
            line: begin,
            change,
            old: old_path,
            new: new_path,
            written: new.or(old).unwrap_or_default(),
            git: false,
            old_mode: None,
            new_mode: None,
            crlf,
            binary: None,
            hunks,
        })
    }

    /// Reads `Binary files a/x and b/x differ`, all that diff says of a file that is not text.
    fn plain_binary(&mut self) -> Result<FilePatch, ParseError> {
        let line = self.line(0).trim_ascii_end();
        let between = |first: &str, last: &str| {
            line.strip_prefix(first.as_bytes()).and_then(|rest| rest.strip_suffix(last.as_bytes()))
        };
        let names = between("Binary files ", " differ")
            .or_else(|| between("Files ", " differ"))
            .or_else(|| between("Binary file ", " has changed"))
            .unwrap_or(line);
        let middle = names.windows(5).position(|bytes| bytes == b" and ").unwrap_or(names.len());
        let (old, new) = (&names[..middle], names.get(middle + 5..).unwrap_or_default());
        // Of a file that comes or goes the other name is /dev/null; one name alone has no folder before it.
        let name = if new.is_empty() || new == b"/dev/null" { old } else { new };
        let strip = if new.is_empty() { self.strip.saturating_sub(1) } else { self.strip };
        let path = self.or(name::inside(name, strip))?;
        self.at += 1;
        Ok(FilePatch {
            line: self.at,
            change: Change::Binary,
            old: path.clone(),
            new: path,
            written: name.to_vec(),
            git: false,
            old_mode: None,
            new_mode: None,
            crlf: false,
            binary: None,
            hunks: Vec::new(),
        })
    }

    /// Reads a file with git's header.
    fn git_file(&mut self) -> Result<FilePatch, ParseError> {
        let begin = self.at + 1;
        let crlf = self.line(0).ends_with(b"\r\n");
        let both = self.or(name::of_git(&self.line(0)[b"diff --git ".len()..], self.strip))?;
        self.at += 1;
        let Header { mut change, old_mode, new_mode, from, to, edited } = self.git_header()?;
        let line = self.line(0).trim_ascii_end();
        let (mut old, mut new) = (both.clone(), both);
        let (mut hunks, mut binary) = (Vec::new(), None);
        if line == b"GIT binary patch" {
            self.at += 1;
            let (read, used) = self.or(Binary::read(&self.lines[self.at..]))?;
            self.at += used;
            binary = Some(read);
        } else if prose::is_binary(line) {
            change = Change::Binary;
            self.at += 1;
        } else if self.is_header(0) {
            old = self.or(name::of_header(&self.line(0)[4..], true))?;
            new = self.or(name::of_header(&self.line(1)[4..], true))?;
            match (&old, &new) {
                (None, None) => return self.wrong(Problem::NoHunk),
                (None, _) => change = Change::Create,
                (_, None) => change = Change::Delete,
                _ => {}
            }
            self.at += 2;
            hunks = self.hunks()?;
        } else if prose::is_hunk(line) {
            return self.wrong(Problem::HunkOfNoFile);
        } else if edited || (change == Change::Edit && old_mode == new_mode) {
            return self.wrong(Problem::NoChange);
        }
        // Behind `rename` and `copy` the names stand without the folder that git puts before them.
        let named = from.is_some() && to.is_some();
        let strip = if named { self.strip.saturating_sub(1) } else { self.strip };
        if named {
            (old, new) = (from, to);
        }
        let (Some(old), Some(new)) = (old.clone().or_else(|| new.clone()), new.or(old)) else {
            return self.wrong(Problem::NoName);
        };
        Ok(FilePatch {
            line: begin,
            change,
            old: self.or(name::inside(&old, strip))?,
            new: self.or(name::inside(&new, strip))?,
            written: new,
            git: true,
            old_mode,
            new_mode,
            crlf,
            binary,
            hunks,
        })
    }

    /// Reads the lines between `diff --git` and the change of bytes.
    fn git_header(&mut self) -> Result<Header, ParseError> {
        let mut header = Header::default();
        let Header { change, old_mode, new_mode, from, to, edited } = &mut header;
        let mut ids = None;
        loop {
            let line = self.line(0);
            let word = |prefix: &str| line.strip_prefix(prefix.as_bytes());
            if let Some(mode) = word("old mode ") {
                *old_mode = Some(self.or(mode_of(mode))?);
            } else if let Some(mode) = word("new mode ") {
                *new_mode = Some(self.or(mode_of(mode))?);
            } else if let Some(mode) = word("deleted file mode ") {
                (*change, *old_mode) = (Change::Delete, Some(self.or(mode_of(mode))?));
            } else if let Some(mode) = word("new file mode ") {
                (*change, *new_mode) = (Change::Create, Some(self.or(mode_of(mode))?));
            } else if let Some(name) = word("rename from ").or_else(|| word("copy from ")) {
                *change = if line.starts_with(b"rename") { Change::Rename } else { Change::Copy };
                *from = Some(self.or(name::of_line(name))?);
            } else if let Some(name) = word("rename to ").or_else(|| word("copy to ")) {
                *to = Some(self.or(name::of_line(name))?);
            } else if let Some(index) = word("index ") {
                let mut words = index.trim_ascii_end().split(|byte| *byte == b' ');
                ids = words.next();
                if let Some(mode) = words.next() {
                    let mode = self.or(mode_of(mode))?;
                    (*old_mode, *new_mode) = (Some(mode), Some(mode));
                }
            } else if let Some(alike) = word("similarity index ") {
                *edited |= alike.trim_ascii_end() != b"100%";
            } else if word("dissimilarity index ").is_none() {
                break;
            }
            self.at += 1;
        }
        *edited |= ids.is_some_and(|ids| !is_without_lines(ids));
        // Half of what is said of a mode or a name.
        let stays = matches!(change, Change::Edit | Change::Rename | Change::Copy);
        if from.is_some() != to.is_some() || (stays && old_mode.is_some() != new_mode.is_some()) {
            return self.wrong(Problem::NoChange);
        }
        Ok(header)
    }

    /// Reads the hunks of a file, of which there is at least one.
    fn hunks(&mut self) -> Result<Vec<Hunk>, ParseError> {
        let mut hunks = Vec::new();
        while self.line(0).starts_with(b"@@ -") {
            hunks.push(self.hunk()?);
        }
        if let Some(hunk) = hunks.iter().find(|hunk| is_submodule(hunk)) {
            return Err(ParseError { line: hunk.line, problem: Problem::Submodule });
        }
        if hunks.is_empty() { self.wrong(Problem::NoHunk) } else { Ok(hunks) }
    }

    fn hunk(&mut self) -> Result<Hunk, ParseError> {
        let header = self.line(0);
        let Some((old_start, mut old, new_start, mut new)) = hunk_header(header) else {
            let text = shown(header);
            return self.wrong(Problem::HunkHeader { text });
        };
        let line = self.at + 1;
        let mut lines: Vec<Line> = Vec::new();
        self.at += 1;
        while old > 0 || new > 0 {
            let Some(text) = self.lines.get(self.at).copied() else {
                return self.wrong(Problem::Short { old, new });
            };
            let (side, content) = match text.split_first() {
                Some((b' ', rest)) => (Side::Both, rest),
                Some((b'-', rest)) => (Side::Old, rest),
                Some((b'+', rest)) => (Side::New, rest),
                // Blanks at the end of a line get lost on many ways.
                Some((b'\n', _)) => (Side::Both, text),
                Some((b'\r', b"\n")) => (Side::Both, text),
                Some((b'\\', _)) => {
                    no_newline(&mut lines);
                    self.at += 1;
                    continue;
                }
                _ => return self.wrong(Problem::HunkLine { text: shown(text) }),
            };
            let counts = |wanted: Side| usize::from(side == wanted || side == Side::Both);
            let (Some(left), Some(right)) =
                (old.checked_sub(counts(Side::Old)), new.checked_sub(counts(Side::New)))
            else {
                return self.wrong(Problem::Short { old, new });
            };
            (old, new) = (left, right);
            let mut content = content.to_vec();
            if content.last() != Some(&b'\n') {
                content.push(b'\n');
            }
            lines.push(Line { side, text: content });
            self.at += 1;
        }
        if self.line(0).starts_with(b"\\") {
            no_newline(&mut lines);
            self.at += 1;
        }
        self.ends()?;
        Ok(Hunk { line, old_start, new_start, lines })
    }

    /// Makes sure that the hunk is at its end here. A change behind its count would get lost, also one behind lines that
    /// stay as they are.
    fn ends(&self) -> Result<(), ParseError> {
        for ahead in 0.. {
            let line = self.line(ahead);
            // What mails put before the sender's name, and a line between parts.
            let signature = matches!(line.trim_ascii_end(), b"--" | b"---");
            match line.first() {
                Some(b'-' | b'+') if !signature && !self.is_header(ahead) => {
                    let problem = Problem::Long;
                    return Err(ParseError { line: self.at + ahead + 1, problem });
                }
                Some(b' ' | b'\n' | b'\r' | b'\\') => {}
                _ => break,
            }
        }
        Ok(())
    }
}

/// Whether a hunk changes nothing but the commit that a submodule is at.
fn is_submodule(hunk: &Hunk) -> bool {
    let says = |line: &Line| {
        line.side != Side::Both
            && line.text.starts_with(b"Subproject commit ")
            && prose::is_submodule(line.text.trim_ascii_end())
    };
    hunk.lines.len() <= 2 && hunk.lines.iter().all(says)
}

/// Whether the ids of `index` are those of files between which no line differs: one file, or nothing and an empty one.
fn is_without_lines(ids: &[u8]) -> bool {
    const EMPTY: [&[u8]; 2] = [
        b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
        b"473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
    ];
    let Some(middle) = ids.windows(2).position(|dots| dots == b"..") else { return true };
    let (old, new) = (&ids[..middle], &ids[middle + 2..]);
    let none = |id: &[u8]| {
        id.iter().all(|digit| *digit == b'0') || EMPTY.iter().any(|empty| empty.starts_with(id))
    };
    old == new || (none(old) && none(new))
}

/// Takes the end off the last line.
fn no_newline(lines: &mut [Line]) {
    if let Some(line) = lines.last_mut()
        && line.text.last() == Some(&b'\n')
    {
        line.text.pop();
    }
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim_end().chars().take(80).collect()
}

fn mode_of(text: &[u8]) -> Result<Mode, Problem> {
    match text.trim_ascii() {
        b"100644" | b"100664" | b"100600" => Ok(Mode::Plain),
        b"100755" | b"100775" | b"100700" => Ok(Mode::Executable),
        b"120000" => Ok(Mode::Symlink),
        b"160000" => Err(Problem::Submodule),
        other => Err(Problem::Mode { mode: shown(other) }),
    }
}

/// Reads `@@ -1,2 +3,4 @@`: first line and count of the old and of the new file.
fn hunk_header(line: &[u8]) -> Option<(usize, usize, usize, usize)> {
    let rest = line.strip_prefix(b"@@ -")?;
    let (old_start, old, rest) = range(rest)?;
    let (new_start, new, rest) = range(rest.strip_prefix(b" +")?)?;
    // Without lines a side names the one before it, which may be none.
    let right = |start: usize, count: usize| start > 0 || count == 0;
    (rest.starts_with(b" @@") && right(old_start, old) && right(new_start, new) && old + new > 0)
        .then_some((old_start, old, new_start, new))
}

fn range(text: &[u8]) -> Option<(usize, usize, &[u8])> {
    let (start, rest) = number(text)?;
    match rest.strip_prefix(b",") {
        Some(rest) => number(rest).map(|(count, rest)| (start, count, rest)),
        None => Some((start, 1, rest)),
    }
}

/// Reads a number that a file can have so many lines of.
fn number(text: &[u8]) -> Option<(usize, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&text[..digits]).ok()?.parse::<u32>().ok()?;
    Some((usize::try_from(number).ok()?, &text[digits..]))
}
