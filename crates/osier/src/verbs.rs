//! The verbs of the flow but boot: update, fetch, build, and what is asked about them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use osier_build::Wanted;
use osier_recipe::{System, Target};
use osier_store::{Digest, IoContext, Key, Store, flush_file_system, sync_folder};

use crate::beside::Beside;
use crate::boot;
use crate::disk_image;
use crate::disks;
use crate::network::Network;
use crate::pins::Tool;
use crate::problem::{Exit, Outcome, Problem};
use crate::project::{Goal, Project};
use crate::reporter::bytes;
use crate::system;
use crate::workplace::{Workplace, launcher};

/// Gives a name of what is asked for, and the components that it stands for, for each target.
pub(crate) fn wanted(project: &Project<'_>, goal: &Goal) -> Outcome<(String, Vec<Wanted>)> {
    Ok(match goal {
        Goal::System(system, _) => {
            let targets = project.targets.iter();
            let wanted = targets.map(|target| project.wanted_by(system, *target));
            (system.name.value.clone(), wanted.collect::<Outcome<Vec<_>>>()?.concat())
        }
        Goal::Component(name) => (name.clone(), project.wanted(name)?),
    })
}

pub(crate) fn update(workplace: &Workplace, names: &[String]) -> Outcome<()> {
    // Only git needs it: a machine without sandboxes can still pin everything else.
    let launcher = launcher().ok();
    let store = workplace.store()?;
    let network = Network::new(&store, &workplace.reporter, workplace.global.offline)
        .with_launcher(launcher.as_ref());
    let mut project = Project::open(workplace, &store)?;
    crate::pins::update(&mut project, names, &network)
}

pub(crate) fn fetch(
    workplace: &Workplace,
    name: Option<&str>,
    import: Option<&Path>,
) -> Outcome<()> {
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
        downloads.extend(crate::pins::tool_downloads(&mut project, tool, &network)?);
    }
    downloads.sort_by_key(|download| download.digest);
    downloads.dedup_by_key(|download| download.digest);
    network.fetch(&downloads, space)?;
    crate::git::prepare(&mut project, &downloads, &network)?;
    crate::git::fetch(&project, &downloads, &network)?;
    workplace
        .reporter
        .result(format!("all that {name} needs is fetched; --offline works from here"));
    Ok(())
}

/// The folder that a system's files go to: below the named one for each of several targets.
pub(crate) fn out_folder(
    project: &Project<'_>,
    system: &System,
    target: Target,
    out: Option<&Path>,
) -> PathBuf {
    let folder = &project.workplace.project;
    let default = || folder.join("out").join(format!("{}-{target}", system.name));
    out.map_or_else(default, |out| target_folder(project, target.as_str(), out))
}

/// The folder of one target below a named one; of a single target it is the named one.
fn target_folder(project: &Project<'_>, target: &str, out: &Path) -> PathBuf {
    if project.targets.len() > 1 { out.join(target) } else { out.to_path_buf() }
}

pub(crate) fn build(
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
        Goal::System(system, entry) => {
            let targets = project.targets.clone();
            let all: Vec<_> = targets.iter().map(|target| (&*system, *target)).collect();
            system::build_components(&mut project, &all, &network, &launcher)?;
            for target in targets {
                let built =
                    system::build(&mut project, &system, &entry, target, &network, &launcher)?;
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
                        return Err(Problem::new("C002", Exit::Usage, message)
                            .hint("name another folder by --out"));
                    }
                    std::fs::create_dir_all(folder).at("make", folder)?;
                    deliver(&store, digest, folder, &place)?;
                }
            }
            // The process ends: to give thousands of components back piece by piece would only take time.
            std::mem::forget((graph, results));
        }
    }
    crate::edit::remind(workplace);
    Ok(())
}

/// Lays an output out beside its place, and renames it once it is on the disk.
fn deliver(store: &Store, digest: &Digest, folder: &Path, place: &Path) -> Outcome<()> {
    let beside = Beside::folder(place)?;
    let made = beside.path().join("output");
    store
        .lay_out(digest, &made, 1_577_836_800)
        .map_err(|error| crate::compose::blob_problem(store, error))?;
    flush_file_system(folder)?;
    std::fs::rename(&made, place).at("rename", &made)?;
    Ok(sync_folder(folder)?)
}

/// Finds the key of a step that is named as COMPONENT:STEP; of a component alone, its failed or last step.
pub(crate) fn step_key(workplace: &Workplace, store: &Store, name: &str) -> Outcome<Key> {
    let (component, step) =
        name.split_once(':').map_or((name, None), |(component, step)| (component, Some(step)));
    let of_this = |failure: &osier_build::Failure| {
        failure.component == component && step.is_none_or(|step| failure.step == step)
    };
    // Tries with other inputs have other keys; the last one is meant.
    let failures = osier_build::kept_failures(store)?.into_iter();
    let failed = failures
        .filter(|(_, failure)| of_this(failure))
        .max_by_key(|(key, _)| store.failed_path(key).metadata().and_then(|it| it.modified()).ok());
    match (failed, planned_key(workplace, store, component, step)) {
        // A failure stays for a while after its step has ended well in another way.
        (Some(_), Ok(key)) if store.index().has_layer(&key) => Ok(key),
        (Some((key, _)), _) => Ok(key),
        (None, planned) => planned,
    }
}

/// Finds the key that a step has now; without a name that of the last one.
fn planned_key(
    workplace: &Workplace,
    store: &Store,
    component: &str,
    step: Option<&str>,
) -> Outcome<Key> {
    let network = Network::new(store, &workplace.reporter, true);
    let mut project = Project::open(workplace, store)?;
    let (graph, id) = project.plan_one(component, &network)?;
    let events = |_| {};
    let survey = system::surveyor(workplace, store, &events).survey(&graph);
    let steps = &graph.component(id).steps;
    let found = match step {
        None => steps.last().copied(),
        Some(step) => graph.find_step(id, step),
    };
    let Some(found) = found else {
        let known: Vec<String> = steps.iter().map(|id| graph.step(*id).name.clone()).collect();
        return Err(crate::unknown(
            &format!("step of {component}"),
            step.unwrap_or_default(),
            &known,
        ));
    };
    let label = graph.label(found);
    survey
        .keys
        .get(&found)
        .copied()
        .ok_or_else(|| Problem::new("C001", Exit::Usage, format!("{label} has not run yet")))
}

pub(crate) fn status(workplace: &Workplace, name: Option<&str>) -> Outcome<()> {
    let store = workplace.asked_store()?;
    let network = Network::new(&store, &workplace.reporter, true);
    let mut project = Project::open(workplace, &store)?;
    if name.is_none() && project.default.is_none() {
        workplace.reporter.result("no system is named, and the project has no default");
        return Ok(());
    }
    let (name, components) = wanted(&project, &project.goal(name)?)?;
    let graph = project.plan(&components, &network)?;
    let events = |_| {};
    let survey = system::surveyor(workplace, &store, &events).survey(&graph);
    let open = survey.open.len();
    workplace.reporter.result(format!(
        "{name}: {} of {} components are built",
        survey.done.len(),
        graph.components.len()
    ));
    for note in crate::edit::notes(&project, &graph)? {
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
    crate::patching::status(&workplace.reporter, &store, &graph, &survey);
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
