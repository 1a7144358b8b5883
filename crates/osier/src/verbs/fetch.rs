//! `osier fetch`: everything that a system or component needs, downloaded.

use std::path::Path;

use osier_store::IoContext;

use super::boot::{self, disks};
use crate::project::Goal;
use crate::report::figures::bytes;
use crate::report::problem::{Outcome, Problem};
use crate::session::{Session, launcher};
use crate::source::tools::Tool;
use crate::system;
use crate::workplace::Workplace;

/// Downloads what a goal needs, or takes a file over in place of a download.
pub(crate) fn run(workplace: &Workplace, name: Option<&str>, import: Option<&Path>) -> Outcome<()> {
    let launcher = launcher().ok();
    let store = workplace.store()?;
    if let Some(file) = import {
        let mut opened = std::fs::File::open(file).at("open", file)?;
        let (digest, size) = store.put_with(|to| {
            std::io::copy(&mut opened, to).at("copy", file).map_err(Problem::from).map(drop)
        })?;
        workplace.reporter.result(format!("took {} ({}) as {digest}", file.display(), bytes(size)));
        return Ok(());
    }
    let mut session = Session::open(workplace, &store, launcher.as_ref())?;
    let goal = session.project.goal(name)?;
    let mut tools: Vec<&Tool<'_>> = Vec::new();
    let (name, graph) = match &goal {
        Goal::Component(_) => session.plan_goal(&goal)?,
        Goal::System(system, _) => {
            let mut systems = Vec::new();
            let project = &session.project;
            for target in &project.targets {
                let machine = boot::machine_file(project, system, *target)?;
                tools.push(boot::qemu(machine.architecture));
                let others = disks::systems(project, &machine)?;
                systems.extend(others.into_iter().map(|other| (other, *target)));
            }
            let own = project.targets.iter().map(|target| (&**system, *target));
            let others = systems.iter().map(|(other, target)| (other, *target));
            let all: Vec<_> = own.chain(others).collect();
            (system.name.value.clone(), session.plan_systems(&all)?.graph)
        }
    };
    let all: Vec<_> = graph.ids().collect();
    let steps: Vec<_> =
        graph.components.iter().flat_map(|component| component.steps.iter().copied()).collect();
    let (mut downloads, space) = system::downloads(&session.project, &graph, &all, &steps);
    for tool in tools {
        downloads.extend(crate::source::tools::tool_downloads(&mut session, tool)?);
    }
    downloads.sort_by_key(|download| download.digest);
    downloads.dedup_by_key(|download| download.digest);
    session.network.fetch(&downloads, space)?;
    crate::source::git::prepare(&mut session, &downloads)?;
    crate::source::git::fetch(&session, &downloads)?;
    workplace
        .reporter
        .result(format!("all that {name} needs is fetched; --offline works from here"));
    Ok(())
}
