//! A system from plan to images: what is built and delivered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use osier_build::{CleanCheck, ComponentId, Environment, Graph, Results, Survey, Wanted, Work};
use osier_product::FindingsError;
use osier_recipe::{ComponentRef, System, Target};
use osier_store::{BlobError, Digest, Key, Store, TreeNode};

use crate::delivery::Delivery;
use crate::engine::{Unbuilt, unbuilt, unread};
use crate::network::{Download, Place};
use crate::planning;
use crate::product::{self, Planned};
use crate::project::Project;
use crate::project::edits as edit;
use crate::report::event::Event;
use crate::report::problem::{Code, Outcome, Problem};
use crate::session::Session;
use crate::signals::Looking;
use crate::workplace::unusable;

/// Roughly how many bytes of disk the build of one component with sources needs for each byte of its archives.
const SPACE_FACTOR: u64 = 12;

/// How often a build is tried that each time meets what another try mends.
const TRIES: usize = 3;

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
    session: &Session<'_>,
    graph: &Graph,
    note: &str,
) -> Result<Results, Unbuilt> {
    let (workplace, store) = (session.workplace, session.store);
    if !store.is_writable() {
        let message = format!("the store {} is read-only", store.root().display());
        return Err(unusable(message).into());
    }
    store.sweep_some()?;
    let events = |event| workplace.reporter.event(event);
    let engine = session.engine(&events)?;
    let look = store.look()?;
    let survey = engine.survey_of_sound(graph);
    look.hold(survey.keys.values().copied())?;
    if survey.open.is_empty() {
        note_use(store, graph, &survey, note)?;
        engine.remember(graph, &survey);
        return Ok(survey.done);
    }
    let (downloads, space) = downloads(&session.project, graph, &survey.open, &survey.steps);
    // A first build on this machine or after long: whoever edits and builds again does not wait for it.
    if downloads.iter().any(|download| !store.has_blob(&download.digest)) {
        session.check_isolation()?;
    }
    session.network.fetch(&downloads, space)?;
    crate::source::git::fetch(session, &downloads)?;
    let looking = Looking::begin();
    let results = engine.run(graph).map_err(|error| ended(&session.project, graph, error))?;
    drop(looking);
    let survey = engine.survey(graph);
    note_use(store, graph, &survey, note)?;
    engine.remember(graph, &survey);
    Ok(results)
}

/// Says why a run of the engine has no results. Builds of an edited source begin afresh where an edit would hide what a step
/// has written.
fn ended(project: &Project<'_>, graph: &Graph, error: osier_build::BuildError) -> Unbuilt {
    let osier_build::BuildError::Failed(failures) = &error else { return unbuilt(error) };
    let is_hidden = |failure: &&osier_build::Failure| {
        matches!(failure.cause, osier_build::FailureCause::WrittenBefore { .. })
    };
    let Some(failure) = failures.iter().find(is_hidden) else { return unbuilt(error) };
    let id = graph.find(&failure.component);
    let recipe = id.map_or("", |id| graph.component(id).recipe.as_str());
    match edit::begin_afresh(project, recipe, &failure.cause.summary()) {
        Ok(()) => Unbuilt::EditHidden(failure.headline()),
        Err(problem) => problem.into(),
    }
}

/// Plans and builds components.
pub(crate) fn build_wanted(
    session: &mut Session<'_>,
    wanted: &[Wanted],
    note: &str,
) -> Result<(Graph, Results), Unbuilt> {
    let plan = |session: &mut Session<'_>| {
        Ok(Planned { graph: planning::plan(session, wanted)?, images: Vec::new() })
    };
    let (planned, results) = build_planned(session, &plan, note)?;
    Ok((planned.graph, results))
}

/// Plans and builds; once more where an edited source has to be begun afresh, or where stored bytes were damaged.
fn build_planned(
    session: &mut Session<'_>,
    plan: &dyn Fn(&mut Session<'_>) -> Result<Planned, Unbuilt>,
    note: &str,
) -> Result<(Planned, Results), Unbuilt> {
    let mut tries = 0;
    loop {
        let planned = plan(session)?;
        edit::warn(&session.project, &planned.graph)?;
        tries += 1;
        match build_graph(session, &planned.graph, note) {
            Ok(results) => return Ok((planned, results)),
            Err(Unbuilt::EditHidden(_)) if tries < TRIES => {}
            // What was set aside is fetched, or taken over, again.
            Err(Unbuilt::Damaged(error)) if tries < TRIES => retried(session, &error),
            Err(unbuilt) => return Err(unbuilt),
        }
    }
}

/// Tells that what damaged bytes were needed for is built again.
fn retried(session: &Session<'_>, error: &BlobError) {
    let reason = error.to_string();
    session.workplace.reporter.tell(&Event::BuildRetried { reason });
}

/// Builds components, and once more from clean layers those that went on from an earlier build's objects.
pub(crate) fn clean_check(session: &mut Session<'_>, components: &[Wanted]) -> Outcome<()> {
    let (edited, before) = build_wanted(session, components, "clean-check")?;
    let workplace = session.workplace;
    let events = |event| workplace.reporter.event(event);
    let mut engine = session.engine(&events)?;
    // Of an edited source the clean build is one of which every step sees the edit.
    let mut graph = planning::plan_pinned(session, components)?;
    edit::put_in_graph(&session.project, &mut graph, true)?;
    build_graph(session, &graph, "clean-check")?;
    let (results, mut checks) = engine.clean_check(&graph).map_err(unbuilt)?;
    for id in edited.ids().filter(|id| edited.is_edited(*id)) {
        let outputs = |results: &Results| {
            results.get(&id).map(|result| result.outputs.clone()).unwrap_or_default()
        };
        let compared = engine.compared(&outputs(&before), &outputs(&results));
        let differences = compared.map_err(unbuilt)?;
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
        "a clean build of {} gives different bytes than the earlier build's objects",
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
        "the store now has the clean result; remove `reuse` from the step in its kind or recipe",
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
    session: &mut Session<'_>,
    system: &System,
    target: Target,
) -> Result<Built, Unbuilt> {
    for _ in 0..TRIES {
        match attempt(session, system, target) {
            Err(Unbuilt::Damaged(error)) => retried(session, &error),
            result => return result,
        }
    }
    attempt(session, system, target)
}

/// Builds several systems side by side, where they are several.
pub(crate) fn build_together(
    session: &mut Session<'_>,
    systems: &[(&System, Target)],
) -> Result<(), Unbuilt> {
    let [(first, _), _, ..] = systems else { return Ok(()) };
    let plan = |session: &mut Session<'_>| session.plan_systems(systems);
    build_planned(session, &plan, &first.name).map(drop)
}

fn attempt(session: &mut Session<'_>, system: &System, target: Target) -> Result<Built, Unbuilt> {
    let effective = system.effective(target);
    let note = format!("{}-{target}", system.name);
    let plan = |session: &mut Session<'_>| session.plan_systems(&[(system, target)]);
    let (planned, results) = build_planned(session, &plan, &note)?;
    let graph = &planned.graph;
    let store = session.store;
    tell_findings(session, graph, &results)?;
    let kernel = match effective.kernel {
        None => None,
        Some(kernel) => {
            let component = ComponentRef { name: kernel.component.clone(), output: None };
            let tree = product::output(graph, &results, &component)?;
            let tree = store.tree(&tree).map_err(|error| unread(store, error))?;
            match tree.get(kernel.path.as_bytes()) {
                Some(TreeNode::File { content, .. }) => Some(*content),
                _ => {
                    let message = format!(
                        "{} installs no file {}, which the system names as its kernel",
                        kernel.component, kernel.path
                    );
                    return Err(Problem::of(Code::NotBootable, message).into());
                }
            }
        }
    };
    let mut images = Vec::new();
    for (image, id) in system.images.iter().zip(planned.images.concat()) {
        let found = osier_product::file_of(store, &results, id);
        let found = found.map_err(|error| unread(store, error))?;
        let (digest, size) = found.ok_or_else(|| {
            Problem::defect(&format!("the image {} is built and not there", image.name))
        })?;
        if !store.has_blob(&digest) {
            return Err(unread(store, BlobError::Missing(digest)));
        }
        images.push((image.file_name(), digest, size));
    }
    store.sync()?;
    Ok(Built { images, kernel })
}

/// Tells what was noticed of the systems of a graph, whether they were built now or before.
fn tell_findings(session: &Session<'_>, graph: &Graph, results: &Results) -> Result<(), Unbuilt> {
    let store = session.store;
    let found = osier_product::findings(store, graph, results).map_err(|error| match error {
        FindingsError::Blob(error) => unread(store, error),
        FindingsError::Form(error) => Problem::defect(&error.to_string()).into(),
    })?;
    for (component, finding) in found {
        session.workplace.reporter.tell(&Event::of(component, finding));
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
