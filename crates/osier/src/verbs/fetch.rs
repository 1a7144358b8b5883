//! `osier fetch`: everything that a system or component needs, downloaded.

use std::path::Path;

use osier_store::IoContext;

use super::boot::{self, disks};
use crate::project::{Goal, Project};
use crate::report::figures::bytes;
use crate::report::problem::{Outcome, Problem};
use crate::session::{Workplace, launcher};
use crate::source::network::Network;
use crate::source::tools::Tool;
use crate::system;

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
    let network = Network::new(&store, &workplace.reporter, workplace.global.offline)
        .with_launcher(launcher.as_ref());
    let mut project = Project::open(workplace, &store)?;
    let goal = project.goal(name)?;
    let mut tools: Vec<&Tool<'_>> = Vec::new();
    let (name, graph) = match &goal {
        Goal::Component(_) => project.plan_goal(&goal, &network)?,
        Goal::System(system, _) => {
            let mut systems = Vec::new();
            for target in &project.targets {
                let machine = boot::machine_file(&project, system, *target)?;
                tools.push(boot::qemu(machine.architecture));
                let others = disks::systems(&project, &machine)?;
                systems.extend(others.into_iter().map(|other| (other, *target)));
            }
            let own = project.targets.iter().map(|target| (&**system, *target));
            let others = systems.iter().map(|(other, target)| (other, *target));
            let all: Vec<_> = own.chain(others).collect();
            (system.name.value.clone(), project.plan_systems(&all, &network)?.graph)
        }
    };
    let all: Vec<_> = graph.ids().collect();
    let steps: Vec<_> =
        graph.components.iter().flat_map(|component| component.steps.iter().copied()).collect();
    let (mut downloads, space) = system::downloads(&project, &graph, &all, &steps);
    for tool in tools {
        downloads.extend(crate::source::tools::tool_downloads(&mut project, tool, &network)?);
    }
    downloads.sort_by_key(|download| download.digest);
    downloads.dedup_by_key(|download| download.digest);
    network.fetch(&downloads, space)?;
    crate::source::git::prepare(&mut project, &downloads, &network)?;
    crate::source::git::fetch(&project, &downloads, &network)?;
    workplace
        .reporter
        .result(format!("all that {name} needs is fetched; --offline works from here"));
    Ok(())
}
