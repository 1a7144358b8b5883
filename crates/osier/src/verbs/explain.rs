//! `osier explain`: the page of a code.

use super::reference::codes;
use crate::report::problem::Outcome;
use crate::session::Workplace;

/// Prints the page of a code, or the list of codes.
pub(crate) fn run(workplace: &Workplace, code: Option<&str>) -> Outcome<()> {
    let codes = codes();
    let Some(wanted) = code else {
        for (code, title, _) in &codes {
            workplace.reporter.result(format!("{code}  {title}"));
        }
        return Ok(());
    };
    let wanted = wanted.trim_start_matches("error[").trim_end_matches(']').to_uppercase();
    let Some((code, title, text)) = codes.iter().find(|(code, _, _)| *code == wanted) else {
        let known: Vec<String> = codes.into_iter().map(|(code, _, _)| code).collect();
        return Err(crate::report::problem::unknown("code", &wanted, &known));
    };
    workplace.reporter.result(format!("{code}: {title}\n\n{text}"));
    Ok(())
}
