//! The build engine as this program sets it up, and how the end of a build is told.

mod provision;

use osier_build::{Engine, Local};
use osier_sandbox::Launcher;
use osier_store::{BlobError, FileError, Store};

use crate::report::failure::failure_screen;
use crate::report::problem::{Code, Problem};
use crate::signals::INTERRUPTED;
use crate::workplace::Workplace;
use provision::DebianPackages;

/// Why a build came to nothing: what another try would mend, apart from all else.
#[derive(Debug)]
pub(crate) enum Unbuilt {
    /// Stored bytes are damaged or gone. What led to them is forgotten, so that the next try makes them again.
    Damaged(BlobError),
    /// This step would have built on what an edit hides. The next try builds the edited source from its first step.
    EditHidden(String),
    /// What another try would meet again.
    Final(Problem),
}

impl From<Unbuilt> for Problem {
    fn from(unbuilt: Unbuilt) -> Self {
        match unbuilt {
            Unbuilt::Damaged(error) => Self::of(Code::Damaged, error),
            Unbuilt::EditHidden(step) => {
                Self::of(Code::EditHidden, step).hint("run the same command again: it starts clean")
            }
            Unbuilt::Final(problem) => problem,
        }
    }
}

impl From<Problem> for Unbuilt {
    fn from(problem: Problem) -> Self {
        Self::Final(problem)
    }
}

impl From<FileError> for Unbuilt {
    fn from(error: FileError) -> Self {
        Self::Final(error.into())
    }
}

/// Says why a blob cannot be used; what leads to it is forgotten where its bytes are damaged or gone.
pub(crate) fn unread(store: &Store, error: BlobError) -> Unbuilt {
    let Some(digest) = error.digest() else { return Problem::of(Code::File, error).into() };
    match store.forget_digest(&digest) {
        Ok(_) => Unbuilt::Damaged(error),
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

/// Says why the engine has no results.
pub(crate) fn unbuilt(error: osier_build::BuildError) -> Unbuilt {
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
            problem.into()
        }
        BuildError::Interrupted => Problem::of(Code::Interrupted, error).into(),
        BuildError::NoSpace { .. } => Problem::of(Code::BelowReserve, error).into(),
        BuildError::InUse => Problem::of(Code::File, error).into(),
        BuildError::Store(error) => error.into(),
        // The engine has forgotten what leads to it.
        BuildError::Blob(error) if error.digest().is_some() => Unbuilt::Damaged(error),
        BuildError::Blob(error) => Problem::of(Code::File, error).into(),
    }
}
