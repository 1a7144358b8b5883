//! `osier log` and `osier gc`: what lies in the store.

use std::time::{Duration, SystemTime};

use osier_build::kept_failures;
use osier_store::{GcLimits, IoContext};

use crate::problem::{Exit, Outcome, Problem};
use crate::reporter::bytes;
use crate::workplace::Workplace;

/// Prints the log of a step: of the named one, or of the last that failed.
pub(crate) fn log(workplace: &Workplace, step: Option<&str>) -> Outcome<()> {
    let store = workplace.store()?;
    let failures = kept_failures(&store)?;
    let path = match step {
        Some(step) => {
            let key = crate::verbs::step_key(workplace, &store, step)?;
            let path = store.log_path(&key);
            if !path.exists() {
                let message = format!("{step} has not run, or printed nothing");
                return Err(Problem::new("C001", Exit::Usage, message));
            }
            path
        }
        None => {
            let newest =
                failures.iter().filter_map(|(_, failure)| failure.log.clone()).max_by_key(|log| {
                    std::fs::metadata(log)
                        .and_then(|metadata| metadata.modified())
                        .unwrap_or(SystemTime::UNIX_EPOCH)
                });
            newest.ok_or_else(|| {
                Problem::new("C001", Exit::Usage, "no step has failed")
                    .hint("name one: `osier log COMPONENT:STEP`")
            })?
        }
    };
    let text = std::fs::read(&path).at("read", &path)?;
    crate::screen::data(&text);
    Ok(())
}

/// Reads a size such as `20G` or `500M`.
fn size(text: &str) -> Outcome<u64> {
    osier_recipe::parse_size(text).ok_or_else(|| {
        Problem::new("C002", Exit::Usage, format!("`{text}` is no size; write it as 500M or 20G"))
    })
}

/// Removes what is not used.
pub(crate) fn gc(
    workplace: &Workplace,
    limit: Option<&str>,
    age: Option<u64>,
    all: bool,
) -> Outcome<()> {
    let store = workplace.store()?;
    if !store.is_writable() {
        let message = format!("the store {} can only be read", store.root().display());
        return Err(crate::workplace::unusable(message));
    }
    if all {
        if !store.remove_all()? {
            let message = "another osier is at work in this store; --all would take what it needs";
            return Err(Problem::new("M001", Exit::Machine, message)
                .hint("wait for it to end; without --all, gc can run beside it"));
        }
        let root = store.root().display();
        workplace.reporter.result(format!("removed the store {root}"));
        return Ok(());
    }
    let size = limit.map(size).transpose()?;
    let default = if size.is_none() && age.is_none() { Some(30) } else { age };
    let age = default.map(|days| Duration::from_secs(days.saturating_mul(86_400)));
    let limits = GcLimits { age, size, reserve: crate::workplace::RESERVE };
    let report = store.gc(limits, SystemTime::now())?;
    workplace.reporter.result(format!(
        "removed {} things, {}; the store holds {}",
        report.removed,
        bytes(report.before - report.after),
        bytes(report.after)
    ));
    if report.spared > 0 {
        workplace.reporter.result(format!(
            "{} things stay because another osier uses them, or may",
            report.spared
        ));
    }
    Ok(())
}
