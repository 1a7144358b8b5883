//! What a person is told of patches: while a build runs, when they do not fit, and afterwards.

use osier_patch::{Class, PatchReport, conflicts, summary};

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

/// Says what became of the patches of a step that ended well, but for those that are waived.
pub(super) fn news(component: &str, patches: &[PatchReport]) -> Vec<String> {
    let notable = patches.iter().filter(|one| one.class != Class::Clean && one.waived.is_none());
    let texts: Vec<String> = notable.map(|report| report.text(MISMATCH)).collect();
    let mut lines = vec![format!("   patch  {component}: {}", summary(patches))];
    lines.extend(cut(&texts, "          "));
    lines
}

/// Says which patches of a step are waived.
pub(super) fn waived(component: &str, step: &str, patches: &[PatchReport]) -> Vec<String> {
    let waived = patches.iter().filter(|report| report.waived.is_some());
    waived.map(|report| format!("{component}:{step}: {}", report.headline())).collect()
}

/// Draws the part of a failure's screen that shows the patches which do not fit.
pub(super) fn screen(patches: &[PatchReport]) -> String {
    let texts: Vec<String> = conflicts(patches).map(|report| report.text(MISMATCH)).collect();
    let mut text = format!("  patches   {}\n", summary(patches));
    cut(&texts, "  ").iter().for_each(|line| text.push_str(&format!("{line}\n")));
    text
}
