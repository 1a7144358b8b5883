//! Where a value stands in the file that it was read from.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A value and the bytes of the file that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// The bytes of the file's text that the value was read from.
    pub span: Range<usize>,
}

impl<T> Spanned<T> {
    /// Joins a value and its place.
    pub fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(out)
    }
}

/// Names a file and knows where its lines start; turns spans into lines without keeping the text.
///
/// Copies share one allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin(Arc<Lines>);

#[derive(PartialEq, Eq)]
struct Lines {
    file: Box<str>,
    /// The offset of each line but the first.
    starts: Box<[u32]>,
}

impl Origin {
    /// Notes the lines of `text`, which is the content of `file`.
    pub fn new(file: &str, text: &str) -> Self {
        // A text of more than 4 GiB is none that anybody reads; its last lines count as one.
        let starts = memchr::memchr_iter(b'\n', text.as_bytes());
        let starts: Vec<u32> = starts.map_while(|at| u32::try_from(at + 1).ok()).collect();
        Self(Arc::new(Lines { file: file.into(), starts: starts.into() }))
    }

    /// The file's name as the caller gave it.
    pub fn file(&self) -> &str {
        &self.0.file
    }

    /// The line, counted from 1, in which a span starts.
    pub fn line(&self, span: &Range<usize>) -> usize {
        self.line_column(span).0
    }

    /// Line and column, both counted from 1, of a span's first byte; columns count bytes.
    pub fn line_column(&self, span: &Range<usize>) -> (usize, usize) {
        let line = self.0.starts.partition_point(|start| *start as usize <= span.start);
        let start = if line == 0 { 0 } else { self.0.starts[line - 1] as usize };
        (line + 1, span.start - start + 1)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Origin({:?})", self.file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        let origin = Origin::new("f", "ab\n\ncd");
        for (at, expected) in
            [(0, (1, 1)), (2, (1, 3)), (3, (2, 1)), (4, (3, 1)), (6, (3, 3)), (99, (3, 96))]
        {
            assert_eq!(origin.line_column(&(at..at)), expected, "{at}");
        }
    }
}
