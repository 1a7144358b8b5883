//! `osier gc`: what no build has used for long, removed.

use std::time::{Duration, SystemTime};

use osier_store::{GcLimits, Left, Store};

use crate::report::figures::bytes;
use crate::report::problem::{Code, Outcome, Problem};
use crate::workplace::Workplace;

/// Reads a size such as `20G` or `500M`.
fn size(text: &str) -> Outcome<u64> {
    osier_recipe::parse_size(text).ok_or_else(|| {
        Problem::of(Code::Usage, format!("`{text}` is not a size; write it as 500M or 20G"))
    })
}

/// Removes what is not used.
pub(crate) fn run(
    workplace: &Workplace,
    limit: Option<&str>,
    age: Option<u64>,
    all: bool,
) -> Outcome<()> {
    let show = &workplace.reporter;
    let Some(store) = workplace.known_store()? else {
        let folder = workplace.store_folder()?;
        show.result(format!("there is no store at {}: nothing to remove", folder.display()));
        return Ok(());
    };
    let root = store.root().display().to_string();
    if !store.is_writable() {
        return Err(crate::workplace::unusable(format!("the store {root} is read-only")));
    }
    if all {
        return remove_all(workplace, &store);
    }
    let size = limit.map(size).transpose()?;
    let default = if size.is_none() && age.is_none() { Some(30) } else { age };
    let age = default.map(|days| Duration::from_secs(days.saturating_mul(86_400)));
    let limits = GcLimits { age, size, reserve: crate::workplace::RESERVE };
    let report = store.gc(limits, SystemTime::now())?;
    show.result(format!(
        "removed {} things, {}; the store holds {}",
        report.removed,
        bytes(report.before - report.after),
        bytes(report.after)
    ));
    if report.spared > 0 {
        show.result(format!(
            "{} things stay because another osier may be using them",
            report.spared
        ));
    }
    tell_left(workplace, &report.left);
    Ok(())
}

/// Removes the whole store.
fn remove_all(workplace: &Workplace, store: &Store) -> Outcome<()> {
    let root = store.root().display();
    if let Some(what) = workplace.kept(store.root()) {
        let message = format!("the store {root} is {what}, which osier does not remove");
        return Err(Problem::of(Code::StoreUnusable, message).hint(
            "`osier gc --size 1K` removes everything built and fetched, and leaves the folder",
        ));
    }
    let Some(left) = store.remove_all()? else {
        let message = "another osier is using this store, and --all would remove what it needs";
        return Err(Problem::of(Code::File, message)
            .hint("wait for it to end; without --all, gc can run beside it"));
    };
    workplace.reporter.result(format!("removed the store {root}"));
    tell_left(workplace, &left);
    Ok(())
}

/// Names what lies in the store's folder and is not osier's.
fn tell_left(workplace: &Workplace, left: &Left) {
    if left.is_empty() {
        return;
    }
    workplace.reporter.result("left as it is, since osier did not make it:");
    for path in &left.paths {
        workplace.reporter.result(format!("  {}", path.display()));
    }
    if left.more > 0 {
        workplace.reporter.result(format!("  and {} more", left.more));
    }
}
