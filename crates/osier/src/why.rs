//! `osier why`: which input of a component changed, and where.

use osier_build::{BASE_KIND, Component, Places};

use crate::network::Network;
use crate::problem::Outcome;
use crate::project::Project;
use crate::system;
use crate::workplace::{Workplace, launcher};

/// Says in one sentence why a component has to be built again.
pub(crate) fn run(workplace: &Workplace, component: &str) -> Outcome<()> {
    let store = workplace.store()?;
    let network = Network::new(&store, &workplace.reporter, true);
    let mut project = Project::open(workplace, &store)?;
    let graph = project.plan(&[component.to_owned()], &network)?;
    let launcher = launcher()?;
    let events = |_| {};
    let engine = system::engine(workplace, &store, &launcher, &events);
    let id = graph.find(component).ok_or_else(|| crate::unknown("component", component, &[]))?;
    // Without places the sentence still names the input and its file.
    let places = |component: &Component| places(&project, component).unwrap_or_default();
    workplace.reporter.result(engine.why(&graph, id, &places));
    Ok(())
}

fn places(project: &Project<'_>, component: &Component) -> Outcome<Places> {
    let recipe = project.read_recipe(&component.name)?;
    let kind = project.read_kind(recipe.kind_name())?;
    let base = project.read_kind(BASE_KIND).ok();
    Ok(Places::of(&recipe, &kind, base.as_ref(), project.target, project.profile.as_deref()))
}
