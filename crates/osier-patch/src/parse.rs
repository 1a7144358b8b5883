//! From the text of a patch to its value.
//!
//! Read are unified diffs, plain or with git's headers, among any other text: the head of a quilt patch, the mails of
//! `git format-patch`. What would be left out silently is an error: a hunk that ends before its own count or goes on
//! behind it, a hunk of no file, a form of diff that is not read.

use crate::diff::{Change, FilePatch, Hunk, Line, Mode, Patch, Side};
use crate::name;

/// Why a patch could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// The line of the text, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with the text of a patch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No diff is in it.
    #[error(
        "it holds no change: there is no line `--- a/FILE` with `+++ b/FILE` behind it, and no `diff --git`"
    )]
    Empty,
    /// A name would leave the source.
    #[error("the name `{name}` {what}, and a patch changes nothing outside its source")]
    Hostile {
        /// The name as it stands there.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Nothing is left of a name.
    #[error(
        "nothing is left of the name `{name}` when {strip} leading folder(s) are taken off; a list named `series` can say another number, as in `a.patch -p0`"
    )]
    TooShort {
        /// The name as it stands there.
        name: String,
        /// How many folders are taken off.
        strip: u32,
    },
    /// A name in quotes does not end, or has an escape that does not exist.
    #[error("the quoted name {name} cannot be read")]
    Quotes {
        /// The name as it stands there.
        name: String,
    },
    /// Another form of diff.
    #[error("a diff in {form} form is not supported; make it anew with `diff -u` or `git diff`")]
    Form {
        /// Which.
        form: &'static str,
    },
    /// A mail whose text is packed.
    #[error("the mail is written in {encoding}; unpack it first, as `git mailinfo` does")]
    Encoded {
        /// How it is packed.
        encoding: String,
    },
    /// A mode of git that no source has.
    #[error(
        "the mode {mode} is not supported: a patch makes files (100644, 100755) and symbolic links (120000)"
    )]
    Mode {
        /// The mode.
        mode: String,
    },
    /// A header of git whose file cannot be told.
    #[error(
        "git's header ends here, and which file it is about cannot be told; made without `a/` and `b/`, it belongs into a list named `series`, as `x.patch -p0`"
    )]
    NoName,
    /// A hunk without the header of a file.
    #[error("a hunk begins here, and no header says of which file")]
    HunkOfNoFile,
    /// The header of a file without a hunk.
    #[error("the header of a file has no hunk behind it")]
    NoHunk,
    /// The header of a hunk that is none.
    #[error("`{text}` is no header of a hunk")]
    HunkHeader {
        /// The line.
        text: String,
    },
    /// A hunk that has fewer lines than its header says.
    #[error(
        "the hunk ends here, and its header counts {old} more line(s) before and {new} after the change"
    )]
    Short {
        /// How many lines of the old file are missing.
        old: usize,
        /// How many lines of the new file are missing.
        new: usize,
    },
    /// A hunk that has more lines than its header says.
    #[error("the hunk goes on behind the lines that its header counts")]
    Long,
    /// A line that no hunk can have.
    #[error("a line of a hunk begins with a blank, `-` or `+`, and this one does not: `{text}`")]
    HunkLine {
        /// The line.
        text: String,
    },
}

impl Patch {
    /// Reads a file of patches: one, or each mail of a mailbox. `strip` is how many leading folders are taken off.
    ///
    /// # Errors
    /// All that is not understood in full, a name that leaves the source, binary changes.
    pub fn parse(name: &str, text: &[u8], strip: u32) -> Result<Vec<Self>, ParseError> {
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let mut starts: Vec<usize> = (0..lines.len()).filter(|at| is_mail(lines[*at])).collect();
        if starts.is_empty() {
            starts.push(0);
        }
        let mut patches = Vec::new();
        for (number, start) in starts.iter().enumerate() {
            let end = starts.get(number + 1).copied().unwrap_or(lines.len());
            encoding(&lines[*start..end], *start)?;
            // What stands above the first mail belongs to it.
            let begin = if number == 0 { 0 } else { *start };
            let files = Reader { lines: &lines[..end], at: begin, strip }.files()?;
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

/// Whether a mail of `git format-patch` begins with this line: `From`, a commit, a date.
fn is_mail(line: &[u8]) -> bool {
    line.strip_prefix(b"From ").is_some_and(|rest| {
        rest.len() > 40 && rest[40] == b' ' && rest[..40].iter().all(u8::is_ascii_hexdigit)
    })
}

/// Refuses a mail whose header says that its lines are not written as they are.
fn encoding(lines: &[&[u8]], start: usize) -> Result<(), ParseError> {
    let is_header = |line: &&&[u8]| !line.trim_ascii().is_empty();
    let is_letter = lines.first().is_some_and(|line| {
        let field = line.split(|byte| *byte == b':').next().unwrap_or_default();
        is_mail(line)
            || ["From", "Subject", "Message-ID", "Date"]
                .iter()
                .any(|known| field == known.as_bytes())
    });
    if !is_letter {
        return Ok(());
    }
    for (number, line) in lines.iter().take_while(is_header).enumerate() {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        let encoding = line.strip_prefix("content-transfer-encoding:").map(str::trim);
        if let Some(encoding) =
            encoding.filter(|known| ["base64", "quoted-printable"].contains(known))
        {
            let problem = Problem::Encoded { encoding: encoding.to_owned() };
            return Err(ParseError { line: start + number + 1, problem });
        }
    }
    Ok(())
}

struct Reader<'t> {
    lines: &'t [&'t [u8]],
    at: usize,
    strip: u32,
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

    /// Whether the header of a file stands here.
    fn is_header(&self) -> bool {
        self.line(0).starts_with(b"--- ") && self.line(1).starts_with(b"+++ ")
    }

    fn files(&mut self) -> Result<Vec<FilePatch>, ParseError> {
        let mut files = Vec::new();
        while self.at < self.lines.len() {
            let line = self.line(0);
            if line.starts_with(b"diff --git ") {
                files.extend(self.git_file()?);
            } else if self.is_header() {
                files.push(self.plain_file()?);
            } else if line.starts_with(b"@@ -") && hunk_header(line).is_some() {
                return self.wrong(Problem::HunkOfNoFile);
            } else if line.starts_with(b"@@@ -") || line.starts_with(b"diff --cc ") {
                return self.wrong(Problem::Form { form: "combined" });
            } else if line.trim_ascii_end() == b"***************" {
                return self.wrong(Problem::Form { form: "context" });
            } else if line.starts_with(b"Binary files ")
                && line.trim_ascii_end().ends_with(b" differ")
            {
                files.push(self.plain_binary()?);
            } else {
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
            hunks,
        })
    }

    /// Reads `Binary files a/x and b/x differ`, all that diff says of a file that is not text.
    fn plain_binary(&mut self) -> Result<FilePatch, ParseError> {
        let line = self.line(0).trim_ascii_end();
        let names = line.strip_prefix(b"Binary files ").unwrap_or(line);
        let names = names.strip_suffix(b" differ").unwrap_or(names);
        let middle = names.windows(5).position(|bytes| bytes == b" and ").unwrap_or(names.len());
        let (old, new) = (&names[..middle], names.get(middle + 5..).unwrap_or_default());
        // Of a file that comes or goes the other name is /dev/null.
        let name = if new == b"/dev/null" { old } else { new };
        let path = self.or(name::inside(name, self.strip))?;
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
            hunks: Vec::new(),
        })
    }

    /// Reads a file with git's header; nothing where the header says nothing.
    fn git_file(&mut self) -> Result<Option<FilePatch>, ParseError> {
        let begin = self.at + 1;
        let crlf = self.line(0).ends_with(b"\r\n");
        let both = self.or(name::of_git(&self.line(0)[b"diff --git ".len()..], self.strip))?;
        self.at += 1;
        let mut change = Change::Edit;
        let (mut old_mode, mut new_mode) = (None, None);
        let (mut from, mut to) = (None, None);
        loop {
            let line = self.line(0);
            let word = |prefix: &str| line.strip_prefix(prefix.as_bytes());
            if let Some(mode) = word("old mode ") {
                old_mode = Some(self.or(mode_of(mode))?);
            } else if let Some(mode) = word("new mode ") {
                new_mode = Some(self.or(mode_of(mode))?);
            } else if let Some(mode) = word("deleted file mode ") {
                (change, old_mode) = (Change::Delete, Some(self.or(mode_of(mode))?));
            } else if let Some(mode) = word("new file mode ") {
                (change, new_mode) = (Change::Create, Some(self.or(mode_of(mode))?));
            } else if let Some(name) = word("rename from ").or_else(|| word("copy from ")) {
                change = if line.starts_with(b"rename") { Change::Rename } else { Change::Copy };
                from = Some(self.or(name::of_line(name))?);
            } else if let Some(name) = word("rename to ").or_else(|| word("copy to ")) {
                to = Some(self.or(name::of_line(name))?);
            } else if let Some(index) = word("index ") {
                let mode = index.trim_ascii_end().split(|byte| *byte == b' ').nth(1);
                if let Some(mode) = mode {
                    let mode = self.or(mode_of(mode))?;
                    (old_mode, new_mode) = (Some(mode), Some(mode));
                }
            } else if word("similarity index ").or_else(|| word("dissimilarity index ")).is_none() {
                break;
            }
            self.at += 1;
        }
        let line = self.line(0);
        if line.starts_with(b"GIT binary patch") || line.starts_with(b"Binary files ") {
            change = Change::Binary;
            // Its own lines are no other diff's.
            self.at += 1;
        }
        let mut hunks = Vec::new();
        let (mut old, mut new) = (both.clone(), both);
        if change != Change::Binary && self.is_header() {
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
        } else if line.starts_with(b"@@ -") && hunk_header(line).is_some() {
            return self.wrong(Problem::HunkOfNoFile);
        }
        // Behind `rename` and `copy` the names stand without the folder that git puts before them.
        let named = from.is_some() && to.is_some();
        let strip = if named { self.strip.saturating_sub(1) } else { self.strip };
        if named {
            (old, new) = (from, to);
        }
        let (Some(old), Some(new)) = (old.clone().or_else(|| new.clone()), new.or(old)) else {
            // What git says of a file that cannot be told must not get lost.
            let nothing = change == Change::Edit && old_mode == new_mode;
            return if nothing { Ok(None) } else { self.wrong(Problem::NoName) };
        };
        Ok(Some(FilePatch {
            line: begin,
            change,
            old: self.or(name::inside(&old, strip))?,
            new: self.or(name::inside(&new, strip))?,
            written: new,
            git: true,
            old_mode,
            new_mode,
            crlf,
            hunks,
        }))
    }

    /// Reads the hunks of a file, of which there is at least one.
    fn hunks(&mut self) -> Result<Vec<Hunk>, ParseError> {
        let mut hunks = Vec::new();
        while self.line(0).starts_with(b"@@ -") {
            hunks.push(self.hunk()?);
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
        // A change behind the count would get lost; lines that stay as they are change nothing. `-- ` is what mails put
        // before the sender's name, and `---` a line between parts.
        let next = self.line(0);
        let signature = next.starts_with(b"-- ") || matches!(next.trim_ascii_end(), b"--" | b"---");
        if matches!(next.first(), Some(b'-' | b'+')) && !signature && !self.is_header() {
            return self.wrong(Problem::Long);
        }
        Ok(Hunk { line, old_start, new_start, lines })
    }
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
