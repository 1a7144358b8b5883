//! The screen of a failed step.

use osier_build::{Failure, FailureCause};

use super::patching;

/// Draws the screen of one failed step: what, where, the first real error, how to look closer.
pub(crate) fn failure_screen(failure: &Failure) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let _ = writeln!(text, "error[{}]: {}", failure.cause.code(), failure.headline());
    if !failure.origin.is_empty() {
        let _ = writeln!(text, "  step      {}", failure.origin);
    }
    if let Some(command) = &failure.command {
        let _ = writeln!(text, "  command   {command}");
    }
    if let FailureCause::Check { findings } = &failure.cause {
        for finding in findings {
            let _ = writeln!(text, "  finding   {finding} [{}]", finding.code);
            if let Some(hint) = &finding.hint {
                let _ = writeln!(text, "            hint: {hint}");
            }
        }
    }
    if let FailureCause::NotMade(wrong) = &failure.cause {
        for line in &wrong.lines {
            let _ = writeln!(text, "    | {line}");
        }
    }
    if let FailureCause::Patches { patches } = &failure.cause {
        text.push_str(&patching::screen(patches));
    }
    if let Some(line) = &failure.first_error {
        let _ = writeln!(
            text,
            "  first     {} (line {} of the log)",
            line.text.trim_end(),
            line.number
        );
    }
    if let Some(hint) = &failure.hint {
        let _ = writeln!(text, "  hint      {hint}");
    }
    if !failure.last_lines.is_empty() {
        let _ = writeln!(text, "  last lines of the log:");
        for line in &failure.last_lines {
            let _ = writeln!(text, "    | {line}");
        }
    }
    let name = format!("{}:{}", failure.component, failure.step);
    if failure.log.is_some() {
        let _ = writeln!(text, "  look      osier log {name}");
    }
    if let FailureCause::Machine { .. } = &failure.cause {
        text.push_str("  machine   run `osier doctor` to see what it lacks\n");
    }
    if !failure.on.is_empty() {
        let recipe = failure.component.split('@').next().unwrap_or_default();
        let _ = writeln!(
            text,
            "  edited    it reused an earlier build's objects; `osier edit --afresh {recipe}` starts clean"
        );
    }
    if failure.layer_kept {
        let _ = writeln!(text, "  enter     osier shell {name}");
    }
    let _ = writeln!(text, "  explain   osier explain {}", failure.cause.code());
    text
}
