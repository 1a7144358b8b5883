//! One error in a text that a user wrote, and its plain rendering.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use crate::words::list;
use crate::{Code, Origin, nearest};

/// Says what is wrong at one place of one file; knows nothing of how it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The stable code.
    pub code: Code,
    /// The file as the caller named it.
    pub file: String,
    /// The bytes of the file's text that are wrong; empty where something is missing.
    pub span: Range<usize>,
    /// The line of the span's start, counted from 1.
    pub line: usize,
    /// The column of the span's start, counted in bytes from 1.
    pub column: usize,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// What to do about it, best first.
    pub hints: Vec<String>,
    /// Other places that have a part in it.
    pub related: Vec<Related>,
}

/// Another place that has a part in a [`Diagnostic`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// The file as the caller named it.
    pub file: String,
    /// The bytes of that file's text.
    pub span: Range<usize>,
    /// The line of the span's start, counted from 1.
    pub line: usize,
    /// The column of the span's start, counted in bytes from 1.
    pub column: usize,
    /// What stands there.
    pub label: String,
}

impl Diagnostic {
    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the hint "did you mean …?" where a candidate is near to `word`.
    #[must_use]
    pub fn near<'c>(self, word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Self {
        match nearest(word, candidates) {
            Some(found) => self.hint(format!("did you mean `{found}`?")),
            None => self,
        }
    }

    /// Adds another place.
    #[must_use]
    pub fn related(
        mut self,
        origin: &Origin,
        span: &Range<usize>,
        label: impl Into<String>,
    ) -> Self {
        let (line, column) = origin.line_column(span);
        let file = origin.file().to_owned();
        self.related.push(Related { file, span: span.clone(), line, column, label: label.into() });
        self
    }

    /// An error about a name that stands for nothing; names the near-miss, or else all if they are few.
    ///
    /// `what` is the noun: "component", "kind", "step", "output", "image".
    pub fn unknown<'c>(
        code: Code,
        what: &str,
        origin: &Origin,
        span: &Range<usize>,
        name: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Self {
        /// More names than a reader takes in at a glance.
        const MANY: usize = 13;
        let candidates: Vec<&str> = BTreeSet::from_iter(candidates).into_iter().collect();
        let error = origin.error(code, span, format!("unknown {what} {}", quoted(name)));
        match nearest(name, candidates.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => match candidates.len() {
                0 | MANY.. => error,
                1 => error.hint(format!("there is {}", list(&candidates, "and"))),
                _ => error.hint(format!("there are {}", list(&candidates, "and"))),
            },
        }
    }

    /// An error about a component for which there is no recipe.
    pub fn unknown_component<'c>(
        origin: &Origin,
        span: &Range<usize>,
        name: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Self {
        Self::unknown(Code::UnknownComponent, "component", origin, span, name, candidates)
    }

    /// An error about a kind that does not exist.
    pub fn unknown_kind<'c>(
        origin: &Origin,
        span: &Range<usize>,
        name: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Self {
        Self::unknown(Code::UnknownKind, "kind", origin, span, name, candidates)
    }

    /// An error about a circle of needs.
    ///
    /// Each link is a component's name and the place where it names the next one; the last names the first.
    /// None for no links.
    pub fn cycle(links: &[(&str, &Origin, &Range<usize>)]) -> Option<Self> {
        let (first, origin, span) = links.first()?;
        /// Links of a long circle that are shown.
        const SHOWN: usize = 10;
        let names: Vec<&str> = links.iter().map(|link| link.0).chain([*first]).collect();
        let shown = match names.len().checked_sub(SHOWN + 2) {
            None | Some(0) => names.join(" -> "),
            Some(more) => {
                format!("{} -> ({more} more) -> {first}", names[..=SHOWN].join(" -> "))
            }
        };
        let mut error = origin.error(Code::Cycle, span, format!("dependency cycle: {shown}"));
        for (pair, (_, origin, span)) in names.windows(2).zip(links).skip(1).take(SHOWN) {
            error =
                error.related(origin, span, format!("`{}` asks for `{}` here", pair[0], pair[1]));
        }
        Some(error.hint(
            "remove one of these from `needs` or `tools`, or start a step `from` a step of the other component",
        ))
    }

    /// An error about a second thing of the same name; `what` is the noun.
    pub fn duplicate(
        what: &str,
        name: &str,
        (origin, span): (&Origin, &Range<usize>),
        (first_origin, first_span): (&Origin, &Range<usize>),
    ) -> Self {
        origin
            .error(Code::DuplicateName, span, format!("{what} {} already exists", quoted(name)))
            .related(first_origin, first_span, "first here")
    }

    /// An error about a file, folder or glob that matches nothing below the folder `beside`.
    pub fn missing_file(origin: &Origin, span: &Range<usize>, path: &str, beside: &str) -> Self {
        let what = if path.contains(['*', '?']) { "no file matches" } else { "there is no file" };
        origin.error(
            Code::MissingFile,
            span,
            format!("{what} {} in {}", quoted(path), quoted(beside)),
        )
    }

    /// An error about a target that a component is asked for and does not support.
    pub fn unsupported_target(
        origin: &Origin,
        span: &Range<usize>,
        component: &str,
        target: crate::Target,
    ) -> Self {
        let message = format!("{} does not support the target `{target}`", quoted(component));
        origin.error(Code::UnsupportedTarget, span, message)
    }

    /// Renders the error as plain text with the line that it is about; `source` is the file's text.
    ///
    /// A source that is not the text that was read gives a wrong line, never a panic.
    pub fn render_plain(&self, source: &str) -> String {
        let mut out = format!("{self}\n");
        self.render_line(source, &mut out);
        for related in &self.related {
            let Related { file, line, column, label, .. } = related;
            out.push_str(&format!("  = {file}:{line}:{column}: {label}\n"));
        }
        for hint in &self.hints {
            out.push_str(&format!("  = hint: {hint}\n"));
        }
        out
    }

    fn render_line(&self, source: &str, out: &mut String) {
        /// Characters shown of a longer line.
        const WIDTH: usize = 120;
        let boundary = |mut at: usize| {
            at = at.min(source.len());
            while !source.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let at = boundary(self.span.start);
        let start = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = source[at..].find('\n').map_or(source.len(), |newline| at + newline);
        let line = source[start..end].trim_end();
        if line.is_empty() {
            return;
        }
        let before = source[start..at].chars().count();
        let marked =
            source[at..boundary(self.span.end).clamp(at, end.max(at))].chars().count().max(1);
        // A window of a long line, so that the place stays in sight.
        let skipped =
            if before + marked.min(40) > WIDTH { before.saturating_sub(WIDTH / 2) } else { 0 };
        let mut shown: String = line.chars().skip(skipped).take(WIDTH).map(printable).collect();
        if skipped > 0 {
            shown.insert_str(0, "...");
        }
        if line.chars().count() > skipped + WIDTH {
            shown.push_str("...");
        }
        let indent = before - skipped + if skipped > 0 { 3 } else { 0 };
        let carets = marked.min(WIDTH.saturating_sub(before - skipped)).max(1);
        let gutter = " ".repeat(self.line.to_string().len());
        out.push_str(&format!("{gutter} |\n{} | {shown}\n", self.line));
        out.push_str(&format!("{gutter} | {}{}\n", " ".repeat(indent), "^".repeat(carets)));
    }
}

impl Origin {
    /// Makes an error about a place in this file.
    pub fn error(&self, code: Code, span: &Range<usize>, message: impl Into<String>) -> Diagnostic {
        let (line, column) = self.line_column(span);
        Diagnostic {
            code,
            file: self.file().to_owned(),
            span: span.clone(),
            line,
            column,
            message: message.into(),
            hints: Vec::new(),
            related: Vec::new(),
        }
    }
}

/// Takes a file's bytes for text; fails with [`Code::NotText`] at the first wrong byte.
pub fn utf8<'b>(file: &str, bytes: &'b [u8]) -> Result<&'b str, Vec<Diagnostic>> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = error.valid_up_to();
        let text = std::str::from_utf8(&bytes[..good]).unwrap_or_default();
        let message = format!("byte {good} of the file is not UTF-8");
        let error = Origin::new(file, text).error(Code::NotText, &(good..good), message);
        vec![error.hint("save the file as UTF-8 text")]
    })
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, file, line, column, message, .. } = self;
        write!(out, "{file}:{line}:{column}: error[{code}]: {message}")
    }
}

impl std::error::Error for Diagnostic {}

/// One column for each character, and nothing that a terminal would obey.
fn printable(letter: char) -> char {
    match letter {
        '\t' => ' ',
        letter if letter.is_control() => char::REPLACEMENT_CHARACTER,
        // Marks that turn the direction of text hide what a line says.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        letter => letter,
    }
}

/// A user's text inside a message: in back quotes, on one line, not too long, nothing a terminal would obey.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.is_empty() {
        return "an empty string".to_owned();
    }
    let shown: String = text.chars().take(LONGEST).map(printable).collect();
    let dots = if text.chars().nth(LONGEST).is_some() { "..." } else { "" };
    format!("`{shown}{dots}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_are_placed() {
        let error = utf8("f.toml", b"name = 'x'\nsummary = '\xff'\n").unwrap_err().remove(0);
        assert_eq!((error.code, error.line, error.column), (Code::NotText, 2, 12));
        assert_eq!(utf8("f.toml", b"ok"), Ok("ok"));
    }
}
