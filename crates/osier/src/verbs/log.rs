//! `osier log`: what a step printed.

use std::time::SystemTime;

use osier_build::kept_failures;
use osier_store::{IoContext, Key, Store};

use crate::report::problem::{Code, Outcome, Problem};
use crate::session::Session;
use crate::workplace::Workplace;

/// Prints the log of a step: of the named one, or of the last that failed.
pub(crate) fn run(workplace: &Workplace, step: Option<&str>) -> Outcome<()> {
    let store = workplace.asked_store()?;
    let failures = kept_failures(&store)?;
    let path = match step {
        Some(step) => {
            let key = step_key(workplace, &store, step)?;
            let path = store.log_path(&key);
            if !path.exists() {
                let message = format!("{step} has not run, or printed nothing");
                return Err(Problem::of(Code::Unknown, message));
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
                Problem::of(Code::Unknown, "no step has failed")
                    .hint("name one: `osier log COMPONENT:STEP`")
            })?
        }
    };
    let text = std::fs::read(&path).at("read", &path)?;
    crate::report::screen::data(&text);
    Ok(())
}

/// Finds the key of a step that is named as COMPONENT:STEP; of a component alone, its failed or last step.
fn step_key(workplace: &Workplace, store: &Store, name: &str) -> Outcome<Key> {
    let (component, step) =
        name.split_once(':').map_or((name, None), |(component, step)| (component, Some(step)));
    let of_this = |failure: &osier_build::Failure| {
        failure.component == component && step.is_none_or(|step| failure.step == step)
    };
    // Tries with other inputs have other keys; the last one is meant.
    let failures = osier_build::kept_failures(store)?.into_iter();
    let failed = failures
        .filter(|(_, failure)| of_this(failure))
        .max_by_key(|(key, _)| store.failed_path(key).metadata().and_then(|it| it.modified()).ok());
    match (failed, planned_key(workplace, store, component, step)) {
        // A failure stays for a while after its step has ended well in another way.
        (Some(_), Ok(key)) if store.index().has_layer(&key) => Ok(key),
        (Some((key, _)), _) => Ok(key),
        (None, planned) => planned,
    }
}

/// Finds the key that a step has now; without a name that of the last one.
fn planned_key(
    workplace: &Workplace,
    store: &Store,
    component: &str,
    step: Option<&str>,
) -> Outcome<Key> {
    let mut session = Session::asking(workplace, store)?;
    let (graph, id) = session.plan_one(component)?;
    let survey = session.surveyor().survey(&graph);
    let steps = &graph.component(id).steps;
    let found = match step {
        None => steps.last().copied(),
        Some(step) => graph.find_step(id, step),
    };
    let Some(found) = found else {
        let known: Vec<String> = steps.iter().map(|id| graph.step(*id).name.clone()).collect();
        return Err(crate::report::problem::unknown(
            &format!("step of {component}"),
            step.unwrap_or_default(),
            &known,
        ));
    };
    let label = graph.label(found);
    survey
        .keys
        .get(&found)
        .copied()
        .ok_or_else(|| Problem::of(Code::Unknown, format!("{label} has not run yet")))
}
