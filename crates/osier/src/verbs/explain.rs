//! `osier explain`: the page of a code.

use crate::report::codes::Code;
use crate::report::problem::{Outcome, unknown};
use crate::workplace::Workplace;

/// Prints the page of a code, or the list of codes.
pub(crate) fn run(workplace: &Workplace, code: Option<&str>) -> Outcome<()> {
    let Some(wanted) = code else {
        for code in Code::all() {
            workplace.reporter.result(format!("{code}  {}", code.title()));
        }
        return Ok(());
    };
    let wanted = wanted.trim_start_matches("error[").trim_end_matches(']');
    let Some(code) = Code::parse(wanted) else {
        let known: Vec<String> = Code::all().iter().map(ToString::to_string).collect();
        return Err(unknown("code", &wanted.to_uppercase(), &known));
    };
    workplace.reporter.result(format!("{code}: {}\n\n{}", code.title(), code.page()));
    Ok(())
}
