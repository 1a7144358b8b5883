//! The build engine as this program sets it up, and how the end of a build is told.

mod provision;

use osier_build::{Engine, Local};
use osier_sandbox::Launcher;
use osier_store::Store;

use crate::compose;
use crate::report::problem::{Exit, Problem};
use crate::report::reporter::failure_screen;
use crate::session::Workplace;
use crate::signals::INTERRUPTED;
use provision::DebianPackages;

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
            let code = failures.first().map_or("S001", |failure| failure.cause.code());
            let mut problem = Problem::new(code, Exit::Failed, "");
            for failure in &failures {
                problem.body.push_str(&failure_screen(failure));
            }
            problem
        }
        BuildError::Interrupted => Problem::new("X130", Exit::Interrupted, error),
        BuildError::NoSpace { .. } => Problem::new("M004", Exit::Machine, error),
        BuildError::InUse => Problem::new("M001", Exit::Machine, error),
        BuildError::Store(error) => error.into(),
        BuildError::Blob(error) => {
            let code = if error.digest().is_some() { compose::DAMAGED } else { "M001" };
            Problem::new(code, Exit::Machine, error)
        }
    }
}
