//! Plans of components: pins that are missing are made, and what is edited takes its place.

use osier_build::{Graph, PlanError, Planner, Wanted};

use crate::project::library::Shelf;
use crate::project::{BUILD, Project, edits};
use crate::report::problem::{Code, Outcome, Problem, diagnosed, unknown};
use crate::session::Session;
use crate::source;

/// Plans components, with what is edited of their sources; pins that are missing are made first, unless that is refused.
pub(crate) fn plan(session: &mut Session<'_>, wanted: &[Wanted]) -> Outcome<Graph> {
    let mut graph = plan_pinned(session, wanted)?;
    edits::apply(&session.project, &mut graph)?;
    Ok(graph)
}

/// Plans components as their recipes say, whatever is edited.
pub(crate) fn plan_pinned(session: &mut Session<'_>, wanted: &[Wanted]) -> Outcome<Graph> {
    let checks: Vec<&str> = crate::checks::ALL.iter().map(|check| check.name()).collect();
    for _ in 0..2 {
        let project = &session.project;
        let planner = Planner {
            definitions: project,
            lock: &project.lock,
            profile: project.profile.as_deref(),
            suite: &project.suite,
            build: BUILD,
            checks: &checks,
        };
        let missing = match planner.plan(wanted) {
            Ok(graph) => return Ok(graph),
            Err(PlanError::MissingPins(missing)) => missing,
            Err(error) => return Err(unplanned(project, error)),
        };
        source::add(session, &missing)?;
    }
    Err(Problem::defect("pins that were just made do not fit the recipes"))
}

/// Says why there is no plan.
fn unplanned(project: &Project<'_>, error: PlanError) -> Problem {
    match error {
        PlanError::Wrong(wrong) => diagnosed(&wrong, |file| project.text_of(file)),
        PlanError::NoRecipe { name, .. } => {
            unknown("component", &name, &project.library().names(Shelf::Recipes))
        }
        PlanError::NoToolchain(_) => Problem::of(osier_recipe::Code::UnsupportedTarget, error)
            .hint("name a recipe with a `toolchain` table as the system's `toolchain`"),
        PlanError::File(error) => error.into(),
        error => Problem::of(Code::MissingPin, error),
    }
}
