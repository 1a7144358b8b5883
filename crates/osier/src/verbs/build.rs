//! `osier build`: a system or a component, built and delivered.

use std::path::Path;

use osier_store::{Digest, IoContext, Store, flush_file_system, sync_folder};

use super::{out_folder, target_folder, wanted};
use crate::beside::Beside;
use crate::project::{Goal, Project};
use crate::report::problem::{Code, Outcome, Problem};
use crate::session::{Workplace, launcher};
use crate::source::network::Network;
use crate::system;

/// Builds a system or a component, and delivers what comes of it.
pub(crate) fn run(
    workplace: &Workplace,
    name: Option<&str>,
    out: Option<&Path>,
    clean_check: bool,
) -> Outcome<()> {
    let launcher = launcher()?;
    let store = workplace.store()?;
    let network = Network::new(&store, &workplace.reporter, workplace.global.offline)
        .with_launcher(Some(&launcher));
    let mut project = Project::open(workplace, &store)?;
    if clean_check {
        let (_, components) = wanted(&project, &project.goal(name)?)?;
        system::clean_check(&mut project, &components, &network, &launcher)?;
    }
    match project.goal(name)? {
        Goal::System(system, _) => {
            let targets = project.targets.clone();
            let all: Vec<_> = targets.iter().map(|target| (&*system, *target)).collect();
            system::build_together(&mut project, &all, &network, &launcher)?;
            for target in targets {
                let built = system::build(&mut project, &system, target, &network, &launcher)?;
                let folder = out_folder(&project, &system, target, out);
                let (kernel, images) = system::deliver(&store, &built, &folder)?;
                for place in kernel.iter().chain(&images) {
                    workplace.reporter.result(Workplace::shown(place));
                }
            }
        }
        Goal::Component(name) => {
            let wanted = project.wanted(&name)?;
            let (graph, results) =
                system::build_wanted(&mut project, &wanted, &network, &launcher, &name)?;
            for (id, output, digest) in graph.goals.iter().flat_map(|id| {
                let outputs = results.get(id).map(|result| result.outputs.as_slice());
                outputs.unwrap_or_default().iter().map(|(output, digest)| (*id, output, digest))
            }) {
                let component = graph.component(id);
                workplace.reporter.result(format!("{}:{output} {digest}", component.name));
                if let Some(folder) = out {
                    let folder = &target_folder(&project, &component.target, folder);
                    let place = folder.join(output);
                    if place.exists() {
                        let message = format!("{} is there already", place.display());
                        return Err(
                            Problem::of(Code::Usage, message).hint("name another folder by --out")
                        );
                    }
                    std::fs::create_dir_all(folder).at("make", folder)?;
                    deliver(&store, digest, folder, &place)?;
                }
            }
            // The process ends: to give thousands of components back piece by piece would only take time.
            std::mem::forget((graph, results));
        }
    }
    crate::project::edits::remind(workplace);
    Ok(())
}

/// Lays an output out beside its place, and renames it once it is on the disk.
fn deliver(store: &Store, digest: &Digest, folder: &Path, place: &Path) -> Outcome<()> {
    let beside = Beside::folder(place)?;
    let made = beside.path().join("output");
    store
        .lay_out(digest, &made, 1_577_836_800)
        .map_err(|error| crate::engine::blob_problem(store, error))?;
    flush_file_system(folder)?;
    std::fs::rename(&made, place).at("rename", &made)?;
    Ok(sync_folder(folder)?)
}
