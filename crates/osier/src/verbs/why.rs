//! `osier why`: which input of a component or of an image changed, and where.

use osier_build::{BASE_KIND, Component, ComponentId, Places, Reason, Survey};

use osier_recipe::Target;

use crate::product::Planned;
use crate::project::{BUILD, Goal, Project};
use crate::report::problem::Outcome;
use crate::session::Session;
use crate::workplace::Workplace;

/// Says in one sentence why a component, or what a system's images are made of, has to be built again.
pub(crate) fn run(workplace: &Workplace, name: &str) -> Outcome<()> {
    let store = workplace.asked_store()?;
    let mut session = Session::asking(workplace, &store)?;
    let goal = match name.contains('/') {
        true => Goal::Component(name.to_owned()),
        false => session.project.goal(Some(name))?,
    };
    let (planned, id) = match &goal {
        Goal::System(system, _) => {
            let target = session.project.target()?;
            (session.plan_systems(&[(&**system, target)])?, None)
        }
        Goal::Component(name) => {
            let (graph, id) = session.plan_one(name)?;
            (Planned { graph, images: Vec::new() }, Some(id))
        }
    };
    let graph = &planned.graph;
    let engine = session.surveyor();
    let project = &session.project;
    // Without places the sentence still names the input and its file.
    let places = |component: &Component| places(project, component).unwrap_or_default();
    for reason in match id {
        Some(id) => vec![engine.why(graph, id, &places)],
        None => reasons(&planned, name, &engine.survey(graph), |id| engine.why(graph, id, &places)),
    } {
        workplace.reporter.json(&serde_json::json!({"event": "why", "why": &reason}));
        workplace.reporter.result(reason.to_string());
    }
    for note in crate::project::edits::notes(project, graph)? {
        workplace.reporter.result(format!("  {note}"));
    }
    Ok(())
}

/// Says why the images of a system are made again; a cause that several share once. Where it has none, the same of its components.
fn reasons(
    planned: &Planned,
    name: &str,
    survey: &Survey,
    why: impl Fn(ComponentId) -> Reason,
) -> Vec<Reason> {
    let images = planned.images.concat();
    let goals = if images.is_empty() { &planned.graph.goals } else { &images };
    let mut reasons: Vec<Reason> = Vec::new();
    for id in goals.iter().filter(|id| survey.open.contains(id)) {
        let reason = why(*id);
        if reasons.iter().all(|known| known.cause() != reason.cause()) {
            reasons.push(reason);
        }
    }
    if reasons.is_empty() {
        reasons.push(Reason::Unchanged { component: name.to_owned() });
    }
    reasons
}

fn places(project: &Project<'_>, component: &Component) -> Outcome<Places> {
    let recipe = project.read_recipe(&component.recipe)?;
    let kind = project.read_kind(recipe.kind_name())?;
    let base = project.read_kind(BASE_KIND).ok();
    let target = Target::parse(&component.target).unwrap_or(BUILD);
    Ok(Places::of(&recipe, &kind, base.as_ref(), target, project.profile.as_deref()))
}
