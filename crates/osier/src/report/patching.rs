//! What a person is told of patches: while a build runs, when they do not fit, and afterwards.

use osier_build::{Event, Graph, Survey, Work, patch_reports};
use osier_patch::{Class, PatchReport, conflicts, summary};
use osier_store::Store;

use crate::report::reporter::Reporter;

/// Most lines about patches that are shown at one time; the log has all.
const LINES: usize = 24;

/// Most lines of one place at which a hunk does not fit.
const MISMATCH: usize = 3;

/// Cuts a list of texts off after so many lines; the first line of every text counts for more than the others.
fn cut(texts: &[String], indent: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left_out = 0;
    for (number, text) in texts.iter().enumerate() {
        let coming = texts.len() - number - 1;
        for (at, line) in text.lines().enumerate() {
            let room = if at == 0 { LINES } else { LINES.saturating_sub(coming) };
            if lines.len() < room {
                lines.push(format!("{indent}{line}"));
            } else {
                left_out += 1;
            }
        }
    }
    if left_out > 0 {
        lines.push(format!("{indent}and {left_out} more lines in the log"));
    }
    lines
}

/// Says what became of the patches of a step that ended well.
pub(crate) fn tell(reporter: &Reporter, component: &str, step: &str, patches: &[PatchReport]) {
    reporter.say(format!("   patch  {component}: {}", summary(patches)));
    let notable =
        patches.iter().filter(|report| report.class != Class::Clean || report.waived.is_some());
    let (waived, others): (Vec<&PatchReport>, Vec<_>) =
        notable.partition(|report| report.waived.is_some());
    let texts: Vec<String> = others.iter().map(|report| report.text(MISMATCH)).collect();
    cut(&texts, "          ").iter().for_each(|line| reporter.say(line));
    for report in waived {
        reporter.warn(&format!("{component}:{step}: {}", report.headline()));
    }
}

/// Draws the part of a failure's screen that shows the patches which do not fit.
pub(crate) fn screen(patches: &[PatchReport]) -> String {
    let texts: Vec<String> = conflicts(patches).map(|report| report.text(MISMATCH)).collect();
    let mut text = format!("  patches   {}\n", summary(patches));
    cut(&texts, "  ").iter().for_each(|line| text.push_str(&format!("{line}\n")));
    text
}

/// Tells what became of patches when the steps ran whose layers are used now, where not all were clean.
pub(crate) fn status(reporter: &Reporter, store: &Store, graph: &Graph, survey: &Survey) {
    for (id, key) in &survey.keys {
        let step = graph.step(*id);
        let done = store.index().has_layer(key);
        let Some(patches) = patch_reports(store, key)
            .filter(|_| done && matches!(step.work, Work::Patch(_)))
            .filter(|patches| {
                patches.iter().any(|one| one.class != Class::Clean || one.waived.is_some())
            })
        else {
            continue;
        };
        let component = graph.component(step.component).name.clone();
        reporter.result(format!("  {component}  {}", summary(&patches)));
        for report in patches.iter().filter(|report| report.waived.is_some()) {
            reporter.result(format!("    {}", report.headline()));
        }
        let event = Event::StepPatched { component, step: step.name.clone(), patches };
        reporter.json(&serde_json::to_value(event).unwrap_or_default());
    }
}
