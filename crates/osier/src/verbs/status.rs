//! `osier status`: what is built, what is not, and what failed.

use osier_build::{Event, Graph, Survey, Work, patch_reports};
use osier_patch::{Class, summary};
use osier_store::Store;

use crate::report::problem::Outcome;
use crate::report::reporter::Reporter;
use crate::session::Session;
use crate::workplace::Workplace;

/// Says what of a goal is built, what is to be built, and what failed.
pub(crate) fn run(workplace: &Workplace, name: Option<&str>) -> Outcome<()> {
    let store = workplace.asked_store()?;
    let mut session = Session::asking(workplace, &store)?;
    if name.is_none() && session.project.default.is_none() {
        workplace.reporter.result("no system is named, and the project has no default");
        return Ok(());
    }
    let goal = session.project.goal(name)?;
    let (name, graph) = session.plan_goal(&goal)?;
    let survey = session.surveyor().survey(&graph);
    let open = survey.open.len();
    workplace.reporter.result(format!(
        "{name}: {} of {} components are built",
        survey.done.len(),
        graph.components.len()
    ));
    for note in crate::project::edits::notes(&session.project, &graph)? {
        workplace.reporter.result(format!("  {note}"));
    }
    for (id, result) in &survey.done {
        if result.reused {
            let name = &graph.component(*id).name;
            workplace.reporter.result(format!(
                "  {name}  from an earlier build's objects; `osier build --clean-check` compares it with a clean build"
            ));
        }
    }
    patched(&workplace.reporter, &store, &graph, &survey);
    for id in survey.open.iter().take(50) {
        let component = graph.component(*id);
        let failed = component
            .steps
            .iter()
            .find_map(|step| osier_build::kept_failure(&store, survey.keys.get(step)?));
        let word = failed.map_or_else(
            || "to build".to_owned(),
            |failure| format!("failed: {}", failure.headline()),
        );
        workplace.reporter.result(format!("  {}  {word}", component.name));
    }
    if open > 50 {
        workplace.reporter.result(format!("  and {} more", open - 50));
    }
    Ok(())
}

/// Tells what became of patches when the steps ran whose layers are used now, where not all were clean.
fn patched(reporter: &Reporter, store: &Store, graph: &Graph, survey: &Survey) {
    for (id, key) in &survey.keys {
        let step = graph.step(*id);
        let done = store.index().has_layer(key);
        let Some(patches) = patch_reports(store, key)
            .filter(|_| done && matches!(step.work, Work::Patch(_)))
            .filter(|patches| {
                patches.iter().any(|one| one.class != Class::Clean || one.waived.is_some())
            })
        else {
            continue;
        };
        let component = graph.component(step.component).name.clone();
        reporter.result(format!("  {component}  {}", summary(&patches)));
        for report in patches.iter().filter(|report| report.waived.is_some()) {
            reporter.result(format!("    {}", report.headline()));
        }
        let event = Event::StepPatched { component, step: step.name.clone(), patches };
        reporter.json(&event);
    }
}
