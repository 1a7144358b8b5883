//! `osier build`: a system or a component, built and delivered.

use std::path::Path;

use osier_store::{Digest, IoContext, Store, settle};

use super::{out_folder, target_folder, wanted};
use crate::beside::Beside;
use crate::project::Goal;
use crate::report::problem::{Code, Outcome, Problem};
use crate::session::{Session, launcher};
use crate::system;
use crate::workplace::Workplace;

/// Builds a system or a component, and delivers what comes of it.
pub(crate) fn run(
    workplace: &Workplace,
    name: Option<&str>,
    out: Option<&Path>,
    clean_check: bool,
) -> Outcome<()> {
    let launcher = launcher()?;
    let store = workplace.store()?;
    let mut session = Session::open(workplace, &store, Some(&launcher))?;
    if clean_check {
        let (_, components) = wanted(&session.project, &session.project.goal(name)?)?;
        system::clean_check(&mut session, &components)?;
    }
    match session.project.goal(name)? {
        Goal::System(system, _) => {
            let targets = session.project.targets.clone();
            let all: Vec<_> = targets.iter().map(|target| (&*system, *target)).collect();
            system::build_together(&mut session, &all)?;
            for target in targets {
                let built = system::build(&mut session, &system, target)?;
                let folder = out_folder(&session.project, &system, target, out);
                let (kernel, images) = system::deliver(&store, &built, &folder)?;
                for place in kernel.iter().chain(&images) {
                    workplace.reporter.result(Workplace::shown(place));
                }
            }
        }
        Goal::Component(name) => {
            let wanted = session.project.wanted(&name)?;
            let (graph, results) = system::build_wanted(&mut session, &wanted, &name)?;
            for (id, output, digest) in graph.goals.iter().flat_map(|id| {
                let outputs = results.get(id).map(|result| result.outputs.as_slice());
                outputs.unwrap_or_default().iter().map(|(output, digest)| (*id, output, digest))
            }) {
                let component = graph.component(id);
                workplace.reporter.result(format!("{}:{output} {digest}", component.name));
                if let Some(folder) = out {
                    let folder = &target_folder(&session.project, &component.target, folder);
                    let place = folder.join(output);
                    if place.exists() {
                        let message = format!("{} already exists", place.display());
                        return Err(Problem::of(Code::Usage, message)
                            .hint("name another folder with --out"));
                    }
                    std::fs::create_dir_all(folder).at("make", folder)?;
                    deliver(&store, digest, &place)?;
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
fn deliver(store: &Store, digest: &Digest, place: &Path) -> Outcome<()> {
    let beside = Beside::folder(place)?;
    let made = beside.path().join("output");
    store
        .lay_out(digest, &made, osier_build::SOURCE_DATE.into())
        .map_err(|error| crate::engine::unread(store, error))?;
    Ok(settle(&made, place)?)
}
