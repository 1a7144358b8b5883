//! The graph as text.

use std::fmt::Write as _;

use super::{How, Overview, Part, took};
use crate::report::figures::bytes;

/// Writes the graph as text: each component after those that it uses.
pub(super) fn write(overview: &Overview) -> String {
    let mut text = String::new();
    let (built, all) = (overview.built(), overview.parts.len());
    let _ = writeln!(text, "{}: {built} of {all} components are built", overview.name);
    let _ = writeln!(text, "{}", overview.times());
    let width = overview.parts.iter().flat_map(|part| &part.steps);
    let width = width.map(|step| step.name.chars().count()).max().unwrap_or(0);
    for part in &overview.parts {
        let _ = writeln!(text, "\n{} {}  {}{}", part.name, part.version, part.words(), sizes(part));
        for (word, names) in used(overview, part) {
            let _ = writeln!(text, "  {word:5}  {names}");
        }
        for step in &part.steps {
            let mark = if step.is_critical { '*' } else { ' ' };
            let open = if step.is_done { "" } else { "  to run" };
            let _ = writeln!(text, "  {mark} {:width$}  {}{open}", step.name, took(step.took));
        }
    }
    if overview.critical_seconds > 0.0 {
        text.push_str(
            "\n* is on the critical path: no number of processors builds all this in less time\n",
        );
    }
    text
}

/// The sizes of a component's outputs, `main` without its name where it is alone.
pub(super) fn sizes(part: &Part) -> String {
    let size = |output: &super::OutputLine| match output.bytes {
        Some(count) => bytes(count),
        None => "no longer in the store".into(),
    };
    match part.outputs.as_slice() {
        [] => String::new(),
        [one] => format!(", {}", size(one)),
        many => {
            let sizes = many.iter().map(|output| format!("{} {}", output.name, size(output)));
            format!(", {}", sizes.collect::<Vec<_>>().join(", "))
        }
    }
}

/// What a component uses, by how it does: the word, and the names.
pub(super) fn used(overview: &Overview, part: &Part) -> Vec<(&'static str, String)> {
    let mut groups: Vec<(&'static str, Vec<String>)> = Vec::new();
    for one in &part.uses {
        let other = &overview.parts[one.part].name;
        let (word, name) = match &one.how {
            How::From(step) => ("from", format!("{other}:{step}")),
            How::Need(output) => ("needs", named(other, output)),
            How::Tool(output) => ("tools", named(other, output)),
        };
        match groups.iter_mut().find(|(known, _)| *known == word) {
            Some((_, names)) => names.push(name),
            None => groups.push((word, vec![name])),
        }
    }
    groups.into_iter().map(|(word, names)| (word, names.join(", "))).collect()
}

fn named(component: &str, output: &str) -> String {
    if output == "main" { component.to_owned() } else { format!("{component}:{output}") }
}
