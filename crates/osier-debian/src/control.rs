//! Paragraphs of Debian control files (deb822).

use thiserror::Error;

/// Tells why a control file could not be read.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The bytes are not UTF-8, which Debian policy requires.
    #[error("control data is not UTF-8 at byte {offset}")]
    NotUtf8 {
        /// Offset of the first bad byte.
        offset: usize,
    },
    /// A line is neither a field, nor a continuation, nor a comment.
    #[error("line {line} is not a field: `{text}`")]
    NotAField {
        /// Line number, counted from 1.
        line: usize,
        /// The line, shortened.
        text: String,
    },
}

/// One paragraph, borrowed from the text it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paragraph<'a> {
    text: &'a str,
}

impl<'a> Paragraph<'a> {
    /// Yields name and value of each field in order; a value keeps its continuation lines, newlines included.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        Fields { rest: self.text }
    }

    /// Returns the value of the first field of that name, in any case of letters, without blanks around it.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

struct Fields<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let mut end = line_end(self.rest, 0);
            while is_continuation(self.rest, end) {
                end = line_end(self.rest, end);
            }
            let (field, rest) = self.rest.split_at(end);
            self.rest = rest;
            if let Some((name, value)) = field.split_once(':')
                && !field.starts_with('#')
            {
                return Some((name.trim_end(), value.trim()));
            }
        }
    }
}

/// Returns the offset just behind the newline that ends the line at `start`.
fn line_end(text: &str, start: usize) -> usize {
    text[start..].find('\n').map_or(text.len(), |newline| start + newline + 1)
}

fn is_continuation(text: &str, start: usize) -> bool {
    matches!(text.as_bytes().get(start), Some(b' ' | b'\t'))
}

/// Splits a text into paragraphs, checking the form of each line.
///
/// Paragraphs are parted by lines that are empty or hold only blanks; lines that begin with `#` are comments
/// (<https://www.debian.org/doc/debian-policy/ch-controlfields.html>).
#[derive(Debug, Clone)]
pub struct Paragraphs<'a> {
    text: &'a str,
    position: usize,
    line: usize,
}

impl<'a> Paragraphs<'a> {
    /// Starts at the top of `bytes`.
    ///
    /// # Errors
    /// [`ControlError::NotUtf8`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, ControlError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| ControlError::NotUtf8 { offset: error.valid_up_to() })?;
        Ok(Self::of_text(text))
    }

    /// Starts at the top of `text`.
    pub fn of_text(text: &'a str) -> Self {
        Self { text, position: 0, line: 1 }
    }
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = Result<Paragraph<'a>, ControlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut start = None;
        let mut has_field = false;
        while self.position < self.text.len() {
            let from = self.position;
            let end = line_end(self.text, from);
            let line = &self.text[from..end];
            self.position = end;
            self.line += 1;
            match line.as_bytes()[0] {
                b'#' => continue,
                b' ' | b'\t' | b'\n' | b'\r' => {
                    if line.bytes().all(|byte| byte.is_ascii_whitespace()) {
                        if let Some(start) = start {
                            return Some(Ok(Paragraph { text: &self.text[start..from] }));
                        }
                        continue;
                    }
                    // Only a blank or a tab continues a field; a lone carriage return does not.
                    if has_field && is_continuation(line, 0) {
                        continue;
                    }
                }
                b':' => {}
                _ if line.contains(':') => {
                    has_field = true;
                    start.get_or_insert(from);
                    continue;
                }
                _ => {}
            }
            let bad = ControlError::NotAField {
                line: self.line - 1,
                text: line.trim_end().chars().take(80).collect(),
            };
            self.position = self.text.len();
            return Some(Err(bad));
        }
        start.map(|start| Ok(Paragraph { text: &self.text[start..] }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<Vec<(String, String)>> {
        Paragraphs::new(text.as_bytes())
            .unwrap()
            .map(|paragraph| {
                paragraph.unwrap().fields().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
            })
            .collect()
    }

    #[test]
    fn fields_continuations_comments_and_blank_lines() {
        let text = "# top\n\nA: 1\nB:\n x y\n\tz\n# inside\nC: 3:4\n \t \n\nA: 2";
        let own = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        assert_eq!(
            read(text),
            [own(&[("A", "1"), ("B", "x y\n\tz"), ("C", "3:4")]), own(&[("A", "2")])]
        );
    }

    #[test]
    fn names_are_found_in_any_case() {
        let paragraph = Paragraphs::of_text("Valid-Until: x\r\nB: y\r\n").next().unwrap().unwrap();
        assert_eq!(paragraph.get("valid-until"), Some("x"));
        assert_eq!(paragraph.get("b"), Some("y"));
        assert_eq!(paragraph.get("c"), None);
    }

    #[test]
    fn odd_lines_are_errors_with_their_number() {
        for (text, line) in [
            ("A: 1\nnothing\n", 2),
            (" lead\n", 1),
            (": x\n", 1),
            ("A: 1\n\n cont\n", 3),
            ("A: 1\n\rB\n C:\n", 2),
        ] {
            let error = Paragraphs::of_text(text).find_map(Result::err).unwrap();
            assert!(
                matches!(error, ControlError::NotAField { line: l, .. } if l == line),
                "{text:?}: {error}"
            );
        }
        assert!(matches!(Paragraphs::new(b"A: \xff"), Err(ControlError::NotUtf8 { offset: 3 })));
    }

    proptest! {
        #[test]
        fn any_text_ends_without_panic(text in "([A-C#: \t\r\n]|[a-z]|\u{e9}){0,80}") {
            for paragraph in Paragraphs::of_text(&text).flatten() {
                for (name, value) in paragraph.fields() {
                    prop_assert!(!name.contains('\n'));
                    prop_assert_eq!(value.trim(), value);
                }
            }
        }

        #[test]
        fn written_paragraphs_are_read_back(
            paragraphs in prop::collection::vec(prop::collection::vec(("[A-Z][A-Za-z-]{0,8}", "[!-~]([ -~]{0,20}[!-~])?"), 1..5), 0..4)
        ) {
            let text: String = paragraphs
                .iter()
                .map(|p| p.iter().map(|(n, v)| format!("{n}: {v}\n")).collect::<String>() + "\n")
                .collect();
            prop_assert_eq!(read(&text), paragraphs);
        }
    }
}
