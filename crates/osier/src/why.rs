//! `osier why`: which input of a component changed, and where.

use osier_build::{BASE_KIND, Component, Places};

use osier_recipe::Target;

use crate::network::Network;
use crate::problem::Outcome;
use crate::project::{BUILD, Project};
use crate::system;
use crate::workplace::{Workplace, launcher};

/// Says in one sentence why a component has to be built again.
pub(crate) fn run(workplace: &Workplace, component: &str) -> Outcome<()> {
    let store = workplace.store()?;
    let network = Network::new(&store, &workplace.reporter, true);
    let mut project = Project::open(workplace, &store)?;
    let (graph, id) = project.plan_one(component, &network)?;
    let launcher = launcher()?;
    let events = |_| {};
    let engine = system::engine(workplace, &store, &launcher, &events);
    // Without places the sentence still names the input and its file.
    let places = |component: &Component| places(&project, component).unwrap_or_default();
    workplace.reporter.result(engine.why(&graph, id, &places));
    for note in crate::edit::notes(&project, &graph)? {
        workplace.reporter.result(format!("  {note}"));
    }
    Ok(())
}

fn places(project: &Project<'_>, component: &Component) -> Outcome<Places> {
    let recipe = project.read_recipe(&component.recipe)?;
    let kind = project.read_kind(recipe.kind_name())?;
    let base = project.read_kind(BASE_KIND).ok();
    let target = Target::parse(&component.target).unwrap_or(BUILD);
    Ok(Places::of(&recipe, &kind, base.as_ref(), target, project.profile.as_deref()))
}
