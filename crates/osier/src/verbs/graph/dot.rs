//! The graph in the language of Graphviz.

use std::fmt::Write as _;

use super::{How, Overview, Part, State, text, took};

/// Writes the graph for `dot`. Arrows lead from what is built first to what waits for it.
pub(super) fn write(overview: &Overview) -> String {
    let mut dot = String::from("digraph osier {\n");
    let title = format!("{}\n{}", overview.name, overview.times());
    let _ = writeln!(dot, "  label=\"{}\";\n  labelloc=t;\n  rankdir=LR;", quoted(&title));
    dot.push_str("  node [shape=box, style=filled, fontname=monospace, fontsize=10];\n");
    for (number, part) in overview.parts.iter().enumerate() {
        let colour = match part.state {
            State::Built => "white",
            State::Reused => "lightyellow",
            State::Failed(_) => "mistyrose",
            State::Open => "gray90",
        };
        let is_critical = part.steps.iter().any(|step| step.is_critical);
        let line = if is_critical { ", color=orangered, penwidth=2" } else { "" };
        let label = quoted(&label(part));
        let _ = writeln!(dot, "  c{number} [label=\"{label}\", fillcolor={colour}{line}];");
    }
    for (number, part) in overview.parts.iter().enumerate() {
        for one in &part.uses {
            let how = match &one.how {
                How::Need(output) if output == "main" => String::new(),
                How::Need(output) => format!("label=\"{}\"", quoted(output)),
                How::Tool(_) => "style=dashed".into(),
                How::From(step) => format!("style=dotted, label=\"{}\"", quoted(step)),
            };
            let line = if one.is_critical { "color=orangered, penwidth=2" } else { "" };
            let comma = if how.is_empty() || line.is_empty() { "" } else { ", " };
            let _ = writeln!(dot, "  c{} -> c{number} [{how}{comma}{line}];", one.part);
        }
    }
    dot.push_str("}\n");
    dot
}

fn label(part: &Part) -> String {
    let mut label = format!("{} {}\n", part.name, part.version);
    let _ = writeln!(label, "{}{}", part.words(), text::sizes(part));
    for step in &part.steps {
        let mark = if step.is_critical { "*" } else { " " };
        let _ = writeln!(label, "{mark} {}  {}", step.name, took(step.took));
    }
    label
}

/// Escapes a text for a quoted string; lines end to the left.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\l")
}
