//! What a person is told when something goes wrong: code, message, what to do, exit status.

use std::fmt::Write as _;

use osier_recipe::Diagnostic;

pub(crate) use super::codes::Code;
use super::event::Event;

/// An error as it reaches the person.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// Ready-made lines, such as a rendered recipe error.
    pub(crate) body: String,
    pub(crate) hints: Vec<String>,
}

pub(crate) type Outcome<T> = Result<T, Problem>;

impl Problem {
    pub(crate) fn of(code: impl Into<Code>, message: impl std::fmt::Display) -> Self {
        let (code, message) = (code.into(), message.to_string());
        Self { code, message, body: String::new(), hints: Vec::new() }
    }

    /// Something that cannot be, were osier without faults.
    pub(crate) fn defect(message: &str) -> Self {
        Self::of(Code::Defect, format!("{message}: this is a defect of osier"))
            .hint("nothing is lost; please report it, with the command and the text above")
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Gives the event that it is.
    pub(crate) fn event(&self) -> Event {
        Event::Error {
            code: self.code.to_string(),
            status: self.code.exit() as u8,
            message: self.message.clone(),
            body: self.body.clone(),
            hints: self.hints.clone(),
        }
    }

    /// Renders it for a terminal or a pipe.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        if self.body.is_empty() || !self.message.is_empty() {
            let _ = writeln!(text, "error[{}]: {}", self.code, self.message);
        }
        text.push_str(&self.body);
        for hint in &self.hints {
            let _ = writeln!(text, "  hint: {hint}");
        }
        text
    }
}

impl From<osier_store::FileError> for Problem {
    fn from(error: osier_store::FileError) -> Self {
        let code = if error.is_disk_full() { Code::DiskFull } else { Code::File };
        let [there, wanted] = match error.source.kind() {
            std::io::ErrorKind::NotADirectory => ["a file", "a folder"],
            std::io::ErrorKind::IsADirectory => ["a folder", "a file"],
            std::io::ErrorKind::AlreadyExists => ["something", "nothing yet"],
            _ => return Self::of(code, error),
        };
        Self::of(code, error).hint(format!(
            "{there} is where {wanted} should be: move it away and run the same command again"
        ))
    }
}

/// Turns errors in a file that a person wrote into one problem that shows each.
pub(crate) fn diagnosed(
    diagnostics: &[Diagnostic],
    text: impl Fn(&str) -> Option<String>,
) -> Problem {
    let code = diagnostics.first().map_or(osier_recipe::Code::Syntax, |diagnostic| diagnostic.code);
    let mut problem = Problem::of(code, "");
    for diagnostic in diagnostics {
        let source = text(&diagnostic.file).unwrap_or_default();
        problem.body.push_str(&diagnostic.render_plain(&source));
    }
    problem
}

/// Joins an error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Says that something is not among what there is, and names the nearest.
pub(crate) fn unknown(what: &str, name: &str, known: &[String]) -> Problem {
    let problem = Problem::of(Code::Unknown, format!("there is no {what} `{name}`"));
    match osier_recipe::nearest(name, known.iter().map(String::as_str)) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None if known.is_empty() => problem,
        None => problem.hint(format!("there are: {}", listed(known))),
    }
}

/// Lists names, of many the first ones.
fn listed(names: &[String]) -> String {
    const MOST: usize = 40;
    let shown = names[..names.len().min(MOST)].join(", ");
    match names.len().checked_sub(MOST) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn of_many_names_the_first_are_listed() {
        let names = |count: usize| (0..count).map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(super::listed(&names(2)), "0, 1");
        assert!(super::listed(&names(40)).ends_with("38, 39"));
        assert!(super::listed(&names(43)).ends_with("38, 39 and 3 more"));
    }
}
