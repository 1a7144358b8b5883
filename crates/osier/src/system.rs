//! A system from plan to images: what is built and delivered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use osier_build::{CleanCheck, ComponentId, Environment, Graph, Results, Survey, Wanted, Work};
use osier_product::FindingsError;
use osier_recipe::{ComponentRef, System, Target};
use osier_sandbox::Launcher;
use osier_store::{BlobError, Digest, Key, Store, TreeNode};

use crate::delivery::Delivery;
use crate::engine::{blob_problem, build_problem, engine};
use crate::product::{self, Planned};
use crate::project::Project;
use crate::project::edits as edit;
use crate::report::event::Event;
use crate::report::problem::{Code, Outcome, Problem};
use crate::session::{check_isolation, unusable};
use crate::signals::Looking;
use crate::source::network::{Download, Network, Place};

/// Roughly how many bytes of disk the build of one component with sources needs for each byte of its archives.
const SPACE_FACTOR: u64 = 12;

/// The files of a built system, in the store.
pub(crate) struct Built {
    /// Name of the file, what it is, its bytes and size.
    pub(crate) images: Vec<(String, Digest, u64)>,
    pub(crate) kernel: Option<Digest>,
}

impl Built {
    /// Finds an image by its file's name.
    pub(crate) fn image(&self, file: &str) -> Option<&Digest> {
        self.images.iter().find(|(name, _, _)| name == file).map(|(_, digest, _)| digest)
    }
}

/// Lists the files that the open components of a graph need: sources and build environments.
pub(crate) fn downloads(
    project: &Project<'_>,
    graph: &Graph,
    open: &[ComponentId],
    steps: &[osier_build::StepId],
) -> (Vec<Download>, u64) {
    let mut downloads = Vec::new();
    let mut space = 0;
    let mut environments = std::collections::BTreeSet::new();
    for id in open {
        let component = graph.component(*id);
        let environment = &component.environment;
        if environments.insert(environment.key) {
            if !project.store.root_path(&environment.key).is_dir() {
                space += crate::source::tools::unpacked_size(environment);
            }
            downloads.extend(crate::source::tools::tool_packages(project, environment));
        }
        for step in component.steps.iter().filter(|step| steps.contains(step)) {
            let osier_build::Work::Unpack(source) = &graph.step(*step).work else { continue };
            for archive in &source.archives {
                space += archive.size * SPACE_FACTOR;
                let from = project
                    .lock
                    .sources()
                    .flat_map(|source| source.files.iter().map(move |file| (source, file)))
                    .find(|(_, file)| file.sha256 == archive.digest.to_string())
                    .map_or(Place::Urls(Vec::new()), |(source, file)| {
                        crate::source::place(source, file)
                    });
                downloads.push(Download {
                    name: archive.file.clone(),
                    digest: archive.digest,
                    size: Some(archive.size),
                    from,
                    wanted_by: component.name.clone(),
                    recipe: Some(component.recipe.clone()),
                });
            }
        }
    }
    downloads.sort_by_key(|download| download.digest);
    downloads.dedup_by_key(|download| download.digest);
    (downloads, space)
}

/// Fetches what is missing and builds all components of a graph.
pub(crate) fn build_graph(
    project: &Project<'_>,
    graph: &Graph,
    network: &Network<'_>,
    launcher: &Launcher,
    note: &str,
) -> Outcome<Results> {
    let workplace = project.workplace;
    let store = project.store;
    if !store.is_writable() {
        let message = format!("the store {} can only be read", store.root().display());
        return Err(unusable(message));
    }
    store.sweep_some()?;
    let events = |event| workplace.reporter.event(event);
    let engine = engine(workplace, store, launcher, &events);
    let look = store.look()?;
    let survey = engine.survey_of_sound(graph);
    look.hold(survey.keys.values().copied())?;
    if survey.open.is_empty() {
        note_use(store, graph, &survey, note)?;
        engine.remember(graph, &survey);
        return Ok(survey.done);
    }
    let (downloads, space) = downloads(project, graph, &survey.open, &survey.steps);
    // A first build on this machine or after long: whoever edits and builds again does not wait for it.
    if downloads.iter().any(|download| !store.has_blob(&download.digest)) {
        check_isolation(workplace, store, launcher)?;
    }
    network.fetch(&downloads, space)?;
    crate::source::git::fetch(project, &downloads, network)?;
    let looking = Looking::begin();
    let results = engine.run(graph).map_err(|error| hidden(project, graph, error))?;
    drop(looking);
    let survey = engine.survey(graph);
    note_use(store, graph, &survey, note)?;
    engine.remember(graph, &survey);
    Ok(results)
}

/// Lets builds of an edited source begin afresh where an edit would hide what a step has written.
fn hidden(project: &Project<'_>, graph: &Graph, error: osier_build::BuildError) -> Problem {
    let osier_build::BuildError::Failed(failures) = &error else { return build_problem(error) };
    let is_hidden = |failure: &&osier_build::Failure| {
        matches!(failure.cause, osier_build::FailureCause::WrittenBefore { .. })
    };
    let Some(failure) = failures.iter().find(is_hidden) else { return build_problem(error) };
    let id = graph.find(&failure.component);
    let recipe = id.map_or("", |id| graph.component(id).recipe.as_str());
    match edit::begin_afresh(project, recipe, &failure.cause.summary()) {
        Ok(()) => Problem::of(Code::EditHidden, failure.headline())
            .hint("run the same command again: it begins afresh"),
        Err(problem) => problem,
    }
}

/// Plans and builds components.
pub(crate) fn build_wanted(
    project: &mut Project<'_>,
    wanted: &[Wanted],
    network: &Network<'_>,
    launcher: &Launcher,
    note: &str,
) -> Outcome<(Graph, Results)> {
    let plan = |project: &mut Project<'_>| {
        Ok(Planned { graph: project.plan(wanted, network)?, images: Vec::new() })
    };
    let (planned, results) = build_planned(project, &plan, network, launcher, note)?;
    Ok((planned.graph, results))
}

/// Plans and builds; once more where an edited source has to be begun afresh, or where stored bytes were damaged.
fn build_planned(
    project: &mut Project<'_>,
    plan: &dyn Fn(&mut Project<'_>) -> Outcome<Planned>,
    network: &Network<'_>,
    launcher: &Launcher,
    note: &str,
) -> Outcome<(Planned, Results)> {
    let mut tries = 0;
    loop {
        let planned = plan(project)?;
        edit::warn(project, &planned.graph)?;
        tries += 1;
        match build_graph(project, &planned.graph, network, launcher, note) {
            Ok(results) => return Ok((planned, results)),
            Err(problem) if problem.code == Code::EditHidden && tries < 3 => {}
            // What was set aside is fetched, or taken over, again.
            Err(problem) if problem.code == Code::Damaged && tries < 3 => {
                let reason = problem.message;
                project.workplace.reporter.tell(&Event::BuildRetried { reason });
            }
            Err(problem) => return Err(problem),
        }
    }
}

/// Builds components, and once more from clean layers those that went on from an earlier build's objects.
pub(crate) fn clean_check(
    project: &mut Project<'_>,
    components: &[Wanted],
    network: &Network<'_>,
    launcher: &Launcher,
) -> Outcome<()> {
    let (edited, before) = build_wanted(project, components, network, launcher, "clean-check")?;
    let (workplace, store) = (project.workplace, project.store);
    let events = |event| workplace.reporter.event(event);
    let mut engine = engine(workplace, store, launcher, &events);
    // Of an edited source the clean build is one of which every step sees the edit.
    let mut graph = project.plan_pinned(components, network)?;
    edit::put_in_graph(project, &mut graph, true)?;
    build_graph(project, &graph, network, launcher, "clean-check")?;
    let (results, mut checks) = engine.clean_check(&graph).map_err(build_problem)?;
    for id in edited.ids().filter(|id| edited.is_edited(*id)) {
        let outputs = |results: &Results| {
            results.get(&id).map(|result| result.outputs.clone()).unwrap_or_default()
        };
        let compared = engine.compared(&outputs(&before), &outputs(&results));
        let differences = compared.map_err(build_problem)?;
        checks.push(CleanCheck { component: edited.component(id).name.clone(), differences });
    }
    if checks.is_empty() {
        workplace.reporter.tell(&Event::CleanConfirmed { component: None });
    }
    for check in &checks {
        if check.differences.is_empty() {
            let component = Some(check.component.clone());
            workplace.reporter.tell(&Event::CleanConfirmed { component });
        }
    }
    let wrong: Vec<_> = checks.iter().filter(|check| !check.differences.is_empty()).collect();
    let Some(first) = wrong.first() else { return Ok(()) };
    let message = format!(
        "a clean build of {} gives other bytes than the earlier build's objects did",
        first.component
    );
    let mut problem = Problem::of(Code::CleanDiffers, message);
    for check in &wrong {
        for path in check.differences.iter().take(20) {
            problem.body.push_str(&format!("    | {} {path}\n", check.component));
        }
    }
    if edited.find(&first.component).is_some_and(|id| edited.is_edited(id)) {
        let recipe = first.component.split('@').next().unwrap_or_default();
        return Err(problem.hint(format!(
            "`osier edit --afresh {recipe}` lets the next build start from the edited source"
        )));
    }
    Err(problem.hint(
        "the clean result is in the store now; take `reuse` off the step in its kind or recipe",
    ))
}

/// Notes the steps, environments and sources of a graph as used now.
fn note_use(store: &Store, graph: &Graph, survey: &Survey, note: &str) -> Outcome<()> {
    let environments: BTreeMap<Key, &Environment> = graph
        .components
        .iter()
        .map(|component| (component.environment.key, &*component.environment))
        .collect();
    let packages = environments.values().flat_map(|environment| &environment.packages);
    let archives = graph.steps.iter().flat_map(|step| match &step.work {
        Work::Unpack(source) => source.archives.as_slice(),
        Work::Patch(_) | Work::Edit(_) | Work::Make(_) | Work::Script { .. } => &[],
    });
    // What a layer went on from is used with it.
    let goes_on =
        |step: &osier_build::Step| step.reuse.is_some() || matches!(step.work, Work::Edit(_));
    let mut index = store.index();
    index.begin_look()?;
    let layers = survey.keys.iter().flat_map(|(id, key)| {
        let layers = goes_on(graph.step(*id)).then(|| index.layer(key)).flatten();
        layers.unwrap_or_else(|| vec![*key])
    });
    let keys: Vec<Key> = layers.chain(environments.keys().copied()).collect();
    index.end_look();
    drop(index);
    let files: Vec<Digest> = packages
        .map(|package| package.digest)
        .chain(archives.map(|archive| archive.digest))
        .collect();
    Ok(store.note_use(note, &keys, &files)?)
}

/// Builds a system with its images. Damaged bytes that it meets are made again.
pub(crate) fn build(
    project: &mut Project<'_>,
    system: &System,
    target: Target,
    network: &Network<'_>,
    launcher: &Launcher,
) -> Outcome<Built> {
    for _ in 0..3 {
        match attempt(project, system, target, network, launcher) {
            Err(problem) if problem.code == Code::Damaged => {
                let reason = problem.message;
                project.workplace.reporter.tell(&Event::BuildRetried { reason });
            }
            result => return result,
        }
    }
    attempt(project, system, target, network, launcher)
}

/// Builds several systems side by side, where they are several.
pub(crate) fn build_together(
    project: &mut Project<'_>,
    systems: &[(&System, Target)],
    network: &Network<'_>,
    launcher: &Launcher,
) -> Outcome<()> {
    let [(first, _), _, ..] = systems else { return Ok(()) };
    let plan = |project: &mut Project<'_>| project.plan_systems(systems, network);
    build_planned(project, &plan, network, launcher, &first.name).map(drop)
}

fn attempt(
    project: &mut Project<'_>,
    system: &System,
    target: Target,
    network: &Network<'_>,
    launcher: &Launcher,
) -> Outcome<Built> {
    let effective = system.effective(target);
    let note = format!("{}-{target}", system.name);
    let plan = |project: &mut Project<'_>| project.plan_systems(&[(system, target)], network);
    let (planned, results) = build_planned(project, &plan, network, launcher, &note)?;
    let graph = &planned.graph;
    let store = project.store;
    tell_findings(project, graph, &results)?;
    let kernel = match effective.kernel {
        None => None,
        Some(kernel) => {
            let component = ComponentRef { name: kernel.component.clone(), output: None };
            let tree = product::output(graph, &results, &component)?;
            let tree = store.tree(&tree).map_err(|error| blob_problem(store, error))?;
            match tree.get(kernel.path.as_bytes()) {
                Some(TreeNode::File { content, .. }) => Some(*content),
                _ => {
                    let message = format!(
                        "{} installs no file {}, which the system names as its kernel",
                        kernel.component, kernel.path
                    );
                    return Err(Problem::of(Code::NotBootable, message));
                }
            }
        }
    };
    let mut images = Vec::new();
    for (image, id) in system.images.iter().zip(planned.images.concat()) {
        let found = osier_product::file_of(store, &results, id);
        let found = found.map_err(|error| blob_problem(store, error))?;
        let (digest, size) = found.ok_or_else(|| {
            Problem::defect(&format!("the image {} is built and not there", image.name))
        })?;
        if !store.has_blob(&digest) {
            return Err(blob_problem(store, BlobError::Missing(digest)));
        }
        images.push((image.file_name(), digest, size));
    }
    store.sync()?;
    Ok(Built { images, kernel })
}

/// Tells what was noticed of the systems of a graph, whether they were built now or before.
fn tell_findings(project: &Project<'_>, graph: &Graph, results: &Results) -> Outcome<()> {
    let store = project.store;
    let found = osier_product::findings(store, graph, results).map_err(|error| match error {
        FindingsError::Blob(error) => blob_problem(store, error),
        FindingsError::Form(error) => Problem::defect(&error.to_string()),
    })?;
    for (component, finding) in found {
        project.workplace.reporter.tell(&Event::of(component, finding));
    }
    Ok(())
}

/// Puts the images and the kernel of a system into a folder; gives the kernel's place and the images'.
pub(crate) fn deliver(
    store: &Store,
    built: &Built,
    folder: &Path,
) -> Outcome<(Option<PathBuf>, Vec<PathBuf>)> {
    let mut delivery = Delivery::open(folder)?;
    let images = built.images.iter();
    let places = images.map(|(name, digest, _)| delivery.put(store, digest, name));
    let places = places.collect::<Outcome<Vec<_>>>()?;
    let kernel = match &built.kernel {
        None => None,
        Some(digest) => Some(delivery.put(store, digest, "vmlinuz")?),
    };
    Ok((kernel, places))
}
