//! What a person is told when something goes wrong: code, message, what to do, exit status.

use std::fmt::Write as _;

use osier_recipe::Diagnostic;

/// The exit statuses of osier, documented in `docs/reference/exit-status.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A step, a check or a boot failed.
    Failed = 1,
    /// The command line, a recipe or the project is wrong.
    Usage = 2,
    /// Something could not be fetched.
    Fetch = 3,
    /// This machine does not give what is needed: disk, permission, namespaces.
    Machine = 4,
    /// osier itself is wrong.
    Defect = 70,
    /// The person stopped it.
    Interrupted = 130,
}

/// An error as it reaches the person.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) code: &'static str,
    pub(crate) exit: Exit,
    pub(crate) message: String,
    /// Ready-made lines, such as a rendered recipe error.
    pub(crate) body: String,
    pub(crate) hints: Vec<String>,
}

pub(crate) type Outcome<T> = Result<T, Problem>;

impl Problem {
    pub(crate) fn new(code: &'static str, exit: Exit, message: impl std::fmt::Display) -> Self {
        Self { code, exit, message: message.to_string(), body: String::new(), hints: Vec::new() }
    }

    /// Something that cannot be, were osier without faults.
    pub(crate) fn defect(message: &str) -> Self {
        Self::new("X070", Exit::Defect, format!("{message}: this is a defect of osier"))
            .hint("nothing is lost: please report it, with what is printed above and the command")
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Tells it in JSON.
    pub(crate) fn event(&self) -> serde_json::Value {
        let Self { code, message, body, hints, .. } = self;
        serde_json::json!({
            "event": "error", "code": code, "message": message, "body": body, "hints": hints,
        })
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
        let code = if error.is_disk_full() { "M002" } else { "M001" };
        let [there, wanted] = match error.source.kind() {
            std::io::ErrorKind::NotADirectory => ["a file", "a folder"],
            std::io::ErrorKind::IsADirectory => ["a folder", "a file"],
            std::io::ErrorKind::AlreadyExists => ["something", "nothing yet"],
            _ => return Self::new(code, Exit::Machine, error),
        };
        Self::new(code, Exit::Machine, error).hint(format!(
            "{there} is where {wanted} should be: move it away and run the same command again"
        ))
    }
}

/// Turns errors in a file that a person wrote into one problem that shows each.
pub(crate) fn diagnosed(
    diagnostics: &[Diagnostic],
    text: impl Fn(&str) -> Option<String>,
) -> Problem {
    let code = diagnostics.first().map_or("R001", |diagnostic| diagnostic.code.as_str());
    let mut problem = Problem::new(code, Exit::Usage, "");
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
    let problem = Problem::new("C001", Exit::Usage, format!("there is no {what} `{name}`"));
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
