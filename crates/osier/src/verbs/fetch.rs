//! `osier fetch`: everything that a system or component needs, downloaded.

use std::collections::BTreeSet;
use std::path::Path;

use osier_build::Wanted;
use osier_store::IoContext;

use super::boot::{self, disks};
use super::wanted;
use crate::disk_image;
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
    let (name, mut components) = wanted(&project, &project.goal(name)?)?;
    let mut tools: Vec<&Tool<'_>> = Vec::new();
    if let Goal::System(system, entry) = project.goal(Some(&name))? {
        let mut systems = vec![(system, entry)];
        for target in &project.targets {
            let machine = boot::machine_file(&project, &systems[0].0, *target)?;
            tools.push(boot::qemu(machine.architecture));
            for (other, entry) in disks::systems(&project, &machine)? {
                components.extend(project.wanted_by(&other, *target)?);
                systems.push((other, entry));
            }
        }
        for (system, _) in &systems {
            tools.extend(system.images.iter().filter_map(|image| disk_image::tool(image.format)));
        }
    }
    let components: BTreeSet<Wanted> = components.into_iter().collect();
    let graph = project.plan(&Vec::from_iter(components), &network)?;
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
