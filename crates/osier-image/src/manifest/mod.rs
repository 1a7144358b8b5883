//! The manifest: which files are delivered, and with which type, mode, owner and group.
//!
//! The grammar is SmartOS's, with additions. Fields are separated by blanks or tabs:
//!
//! | line | meaning |
//! | --- | --- |
//! | `f PATTERN MODE USER GROUP` | files |
//! | `d PATTERN MODE USER GROUP` | folders; one without wildcards is made if need be |
//! | `s NEW=TARGET` | a symlink |
//! | `s PATTERN` | symlinks as they are found |
//! | `h NEW=TARGET` | a hard link to a delivered file, both paths from the root |
//! | `c PATH MODE USER GROUP MAJOR MINOR` | a character device |
//! | `b PATH MODE USER GROUP MAJOR MINOR` | a block device |
//! | `p PATH MODE USER GROUP` | a fifo |
//! | `x PATTERN` | not what earlier lines deliver there, nor what is below |
//!
//! A `#` at the start of a field begins a comment. MODE is octal, or `-` for the mode as found.
//! See [`Pattern`] for wildcards and backslashes.

use std::ops::Range;

use crate::path::{ImagePath, PathError};
use crate::pattern::{Pattern, PatternError, unescape};
use crate::tree::DeviceKind;

/// A manifest, every line read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The name for messages, usually that of its file.
    pub name: String,
    /// Its lines in order, without empty ones and comments.
    pub lines: Vec<Line>,
}

/// One line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: usize,
    /// The text without comment and outer blanks.
    pub text: String,
    /// What it says.
    pub rule: Rule,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `f`: files.
    File {
        /// Which.
        pattern: Pattern,
        /// At most `0o7777`; `None` takes the mode as found.
        mode: Option<u16>,
        /// Whose.
        owner: Owner,
    },
    /// `d`: folders.
    Folder {
        /// Which.
        pattern: Pattern,
        /// At most `0o7777`; `None` takes the mode as found.
        mode: Option<u16>,
        /// Whose.
        owner: Owner,
    },
    /// `s` with a target: a symlink.
    Symlink {
        /// Where.
        path: ImagePath,
        /// What it says.
        target: Vec<u8>,
    },
    /// `s` without target: symlinks as found.
    FoundSymlinks {
        /// Which.
        pattern: Pattern,
    },
    /// `h`: a hard link.
    HardLink {
        /// Where.
        path: ImagePath,
        /// The delivered file.
        file: ImagePath,
    },
    /// `c` and `b`: a device node.
    Device {
        /// Character or block.
        kind: DeviceKind,
        /// Where.
        path: ImagePath,
        /// At most `0o7777`.
        mode: u16,
        /// Whose.
        owner: Owner,
        /// At most 4095.
        major: u32,
        /// At most 1048575.
        minor: u32,
    },
    /// `p`: a fifo.
    Fifo {
        /// Where.
        path: ImagePath,
        /// At most `0o7777`.
        mode: u16,
        /// Whose.
        owner: Owner,
    },
    /// `x`: what is not delivered after all.
    Exclude {
        /// Which.
        pattern: Pattern,
    },
}

/// A user and a group as written: names or decimal numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: String,
    /// The group.
    pub group: String,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}:{line}:{}: {problem}", span.start + 1)]
pub struct ManifestError {
    /// The manifest's name.
    pub name: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The whole line.
    pub text: String,
    /// The bytes of the line that are at fault, counted from 0.
    pub span: Range<usize>,
    /// What is wrong.
    pub problem: ManifestProblem,
    /// What to write instead.
    pub hint: Option<String>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestProblem {
    /// The first field is no known type.
    #[error("unknown type `{0}`")]
    Type(String),
    /// There are too few or too many fields.
    #[error("a line of type `{kind}` has {expected} fields, this one has {found}")]
    Fields {
        /// The first field.
        kind: String,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The mode is not octal or too large.
    #[error("mode `{0}` is not an octal number up to 07777")]
    Mode(String),
    /// A device, or fifo, has `-` as its mode.
    #[error("mode `-` keeps the mode of something that exists, but this line makes something new")]
    ModeAsFound,
    /// A device number is no number, or too large.
    #[error("{what} number `{text}` is not a number from 0 to {limit}")]
    Device {
        /// `major` or `minor`.
        what: &'static str,
        /// What is written.
        text: String,
        /// The largest possible.
        limit: u32,
    },
    /// The path or pattern is wrong.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A wildcard is where one path is wanted.
    #[error(
        "no wildcard is possible here: this is the name of the one new thing that the line makes"
    )]
    Wildcard,
    /// The part after `=` is missing or too long.
    #[error("a link's target must have 1 to 4095 bytes")]
    Target,
    /// A hard link has no target.
    #[error("a hard link needs a target")]
    NoTarget,
}

const TYPES: &str = "the types are f, d, s, h, c, b, p and x";

fn usage(kind: &str) -> Option<(usize, &'static str)> {
    Some(match kind {
        "f" => (5, "f PATTERN MODE USER GROUP"),
        "d" => (5, "d PATTERN MODE USER GROUP"),
        "s" => (2, "s NEW=TARGET"),
        "h" => (2, "h NEW=TARGET"),
        "c" => (7, "c PATH MODE USER GROUP MAJOR MINOR"),
        "b" => (7, "b PATH MODE USER GROUP MAJOR MINOR"),
        "p" => (5, "p PATH MODE USER GROUP"),
        "x" => (2, "x PATTERN"),
        _ => return None,
    })
}

/// A fault within a line: where, what, and what to do.
struct Fault {
    span: Range<usize>,
    problem: ManifestProblem,
    hint: Option<String>,
}

impl Manifest {
    /// Reads a manifest; `name` is for messages. Every faulty line is reported, in order.
    pub fn parse(name: &str, text: &str) -> Result<Manifest, Vec<ManifestError>> {
        let mut lines = Vec::new();
        let mut errors = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let fields = fields(line);
            let (Some(first), Some(last)) = (fields.first(), fields.last()) else { continue };
            let said = line[first.start..last.end].to_owned();
            match read(line, &fields) {
                Ok(rule) => lines.push(Line { number, text: said, rule }),
                Err(Fault { span, problem, hint }) => errors.push(ManifestError {
                    name: name.to_owned(),
                    line: number,
                    text: line.to_owned(),
                    span,
                    problem,
                    hint,
                }),
            }
        }
        if errors.is_empty() { Ok(Manifest { name: name.to_owned(), lines }) } else { Err(errors) }
    }
}

/// Finds the fields of a line. A `#` that begins a field ends the line; one inside a name does not.
fn fields(line: &str) -> Vec<Range<usize>> {
    let bytes = line.as_bytes();
    let blank = |at: usize| matches!(bytes[at], b' ' | b'\t');
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        while at < bytes.len() && blank(at) {
            at += 1;
        }
        if at >= bytes.len() || bytes[at] == b'#' {
            return fields;
        }
        let start = at;
        while at < bytes.len() && !blank(at) {
            at += if bytes[at] == b'\\' && at + 1 < bytes.len() { 2 } else { 1 };
        }
        // A backslash before a character of several bytes stops inside of it, and is wrong anyway.
        while !line.is_char_boundary(at) {
            at += 1;
        }
        fields.push(start..at);
    }
}

fn read(line: &str, fields: &[Range<usize>]) -> Result<Rule, Fault> {
    let kind = &line[fields[0].clone()];
    let Some((expected, form)) = usage(kind) else {
        return Err(Fault {
            span: fields[0].clone(),
            problem: ManifestProblem::Type(kind.to_owned()),
            hint: Some(TYPES.to_owned()),
        });
    };
    if fields.len() != expected {
        let span = match fields.get(expected) {
            Some(extra) => extra.start..fields[fields.len() - 1].end,
            None => fields[0].start..fields[fields.len() - 1].end,
        };
        let found = fields.len();
        let problem = ManifestProblem::Fields { kind: kind.to_owned(), expected, found };
        let blank = if found > expected { "; write a space in a name as `\\ `" } else { "" };
        return Err(Fault { span, problem, hint: Some(format!("write `{form}`{blank}")) });
    }
    let field = |index: usize| Field { line, span: fields[index].clone() };
    let owner = || Owner { user: field(3).text().to_owned(), group: field(4).text().to_owned() };
    Ok(match kind {
        "f" => Rule::File { pattern: field(1).pattern()?, mode: field(2).mode()?, owner: owner() },
        "d" => {
            Rule::Folder { pattern: field(1).pattern()?, mode: field(2).mode()?, owner: owner() }
        }
        "s" => match field(1).link()? {
            (path, Some(target)) => {
                Rule::Symlink { path: path.path()?, target: target.symlink_target()? }
            }
            (pattern, None) => Rule::FoundSymlinks { pattern: pattern.pattern()? },
        },
        "h" => match field(1).link()? {
            (path, Some(target)) => Rule::HardLink { path: path.path()?, file: target.path()? },
            (field, None) => {
                return Err(field.fault(ManifestProblem::NoTarget, Some(format!("write `{form}`"))));
            }
        },
        "p" => Rule::Fifo { path: field(1).path()?, mode: field(2).new_mode()?, owner: owner() },
        "x" => Rule::Exclude { pattern: field(1).pattern()? },
        _ => Rule::Device {
            kind: if kind == "c" { DeviceKind::Character } else { DeviceKind::Block },
            path: field(1).path()?,
            mode: field(2).new_mode()?,
            owner: owner(),
            major: field(5).number("major", 0xfff)?,
            minor: field(6).number("minor", 0xf_ffff)?,
        },
    })
}

/// A part of a line that is read on its own.
#[derive(Clone)]
struct Field<'a> {
    line: &'a str,
    span: Range<usize>,
}

impl<'a> Field<'a> {
    fn text(&self) -> &'a str {
        &self.line[self.span.clone()]
    }

    fn fault(&self, problem: ManifestProblem, hint: Option<String>) -> Fault {
        Fault { span: self.span.clone(), problem, hint }
    }

    fn pattern(&self) -> Result<Pattern, Fault> {
        Pattern::new(self.text()).map_err(|error| {
            let hint = match error {
                PatternError::Path(PathError::Absolute) => {
                    let relative = self.text().trim_start_matches('/');
                    let relative = if relative.is_empty() { "." } else { relative };
                    Some(format!("write `{relative}`"))
                }
                PatternError::AnyDepth => Some(
                    "`a/**/b` matches at any depth; within one name a single `*` is enough"
                        .to_owned(),
                ),
                _ => None,
            };
            self.fault(error.into(), hint)
        })
    }

    fn path(&self) -> Result<ImagePath, Fault> {
        match self.pattern()?.literal() {
            Some(path) if path.is_root() => {
                Err(self.fault(PatternError::Path(PathError::Dots).into(), None))
            }
            Some(path) => Ok(path.clone()),
            None => {
                let hint = "a `*` or `?` that is part of a name is written as `\\*`, `\\?`";
                Err(self.fault(ManifestProblem::Wildcard, Some(hint.to_owned())))
            }
        }
    }

    fn symlink_target(&self) -> Result<Vec<u8>, Fault> {
        let characters = unescape(self.text()).map_err(|error| self.fault(error.into(), None))?;
        let target: String = characters.into_iter().map(|(character, _)| character).collect();
        if target.is_empty() || target.len() > ImagePath::MAX_BYTES || target.contains('\0') {
            return Err(self.fault(ManifestProblem::Target, None));
        }
        Ok(target.into_bytes())
    }

    /// Splits at the first `=` that no backslash precedes.
    fn link(&self) -> Result<(Field<'a>, Option<Field<'a>>), Fault> {
        let mut escaped = false;
        for (index, byte) in self.text().bytes().enumerate() {
            if byte == b'=' && !escaped {
                let at = self.span.start + index;
                let part = |span| Field { line: self.line, span };
                return match (part(self.span.start..at), part(at + 1..self.span.end)) {
                    (_, target) if target.span.is_empty() => {
                        Err(self.fault(ManifestProblem::Target, None))
                    }
                    (new, target) => Ok((new, Some(target))),
                };
            }
            escaped = byte == b'\\' && !escaped;
        }
        Ok((self.clone(), None))
    }

    fn mode(&self) -> Result<Option<u16>, Fault> {
        if self.text() == "-" { Ok(None) } else { self.octal().map(Some) }
    }

    fn new_mode(&self) -> Result<u16, Fault> {
        match self.mode()? {
            Some(mode) => Ok(mode),
            None => Err(self.fault(ManifestProblem::ModeAsFound, None)),
        }
    }

    fn octal(&self) -> Result<u16, Fault> {
        let text = self.text();
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match u16::from_str_radix(text, 8) {
            Ok(mode) if digits && mode <= 0o7777 => Ok(mode),
            _ => {
                let hint =
                    "write 0644 for a file, for example, 0755 for a program, or - to keep its mode";
                Err(self.fault(ManifestProblem::Mode(text.to_owned()), Some(hint.to_owned())))
            }
        }
    }

    fn number(&self, what: &'static str, limit: u32) -> Result<u32, Fault> {
        let text = self.text();
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && number <= limit => Ok(number),
            _ => {
                let problem = ManifestProblem::Device { what, text: text.to_owned(), limit };
                Err(self.fault(problem, None))
            }
        }
    }
}

#[cfg(test)]
mod tests;
