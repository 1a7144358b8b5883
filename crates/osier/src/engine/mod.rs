//! The build engine as this program sets it up, and how the end of a build is told.

mod provision;

use osier_build::{Engine, Local};
use osier_sandbox::Launcher;
use osier_store::Store;

use crate::report::failure::failure_screen;
use crate::report::problem::{Code, Problem};
use crate::session::Workplace;
use crate::signals::INTERRUPTED;
use provision::DebianPackages;

/// Says why a blob cannot be used; what leads to it is forgotten where its bytes are damaged or gone, so that the next try
/// makes it again.
pub(crate) fn blob_problem(store: &Store, error: osier_store::BlobError) -> Problem {
    let Some(digest) = error.digest() else { return Problem::of(Code::File, error) };
    match store.forget_digest(&digest) {
        Ok(_) => Problem::of(Code::Damaged, error),
        Err(error) => error.into(),
    }
}

/// Sets an engine up that builds.
pub(crate) fn engine<'e>(
    workplace: &Workplace,
    store: &'e Store,
    launcher: &'e Launcher,
    events: &'e (dyn Fn(osier_build::Event) + Sync),
) -> Engine<'e> {
    let surveyor = surveyor(workplace, store, events);
    let executor = Local::new(launcher, surveyor.settings.isolation);
    Engine { executor: Some(Box::new(executor)), ..surveyor }
}

/// Sets an engine up that only says what is built and what is not.
pub(crate) fn surveyor<'e>(
    workplace: &Workplace,
    store: &'e Store,
    events: &'e (dyn Fn(osier_build::Event) + Sync),
) -> Engine<'e> {
    Engine {
        store,
        executor: None,
        provision: &DebianPackages,
        checks: crate::checks::ALL,
        events,
        interrupted: &INTERRUPTED,
        settings: workplace.settings(),
        hand_made: std::collections::BTreeMap::new(),
        unpacking: std::sync::Mutex::new(()),
    }
}

/// Turns the end of a build into what a person is told.
pub(crate) fn build_problem(error: osier_build::BuildError) -> Problem {
    use osier_build::BuildError;
    match error {
        BuildError::Failed(failures) => {
            let code = failures
                .first()
                .map_or(Code::CommandFailed, |failure| Code::given(failure.cause.code()));
            let mut problem = Problem::of(code, "");
            for failure in &failures {
                problem.body.push_str(&failure_screen(failure));
            }
            problem
        }
        BuildError::Interrupted => Problem::of(Code::Interrupted, error),
        BuildError::NoSpace { .. } => Problem::of(Code::BelowReserve, error),
        BuildError::InUse => Problem::of(Code::File, error),
        BuildError::Store(error) => error.into(),
        BuildError::Blob(error) if error.digest().is_some() => Problem::of(Code::Damaged, error),
        BuildError::Blob(error) => Problem::of(Code::File, error),
    }
}
