//! `osier edit`: a component's source in a folder of the person's, from which it is built until the changes become a patch.

mod finish;
mod folder;

use std::path::Path;

use osier_build::{ComponentId, Graph, copy_out};
use osier_store::{LayerStack, Tree, TreeNode};

use crate::planning;
use crate::project::edits::{self, state, state::Edit};
use crate::project::{Project, split_target};
use crate::report::event::{EditEntry, Event};
use crate::report::problem::{Code, Outcome, Problem};
use crate::session::{Session, launcher};
use crate::system;
use crate::workplace::Workplace;

/// What `osier edit` is asked to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) component: Option<&'a str>,
    pub(crate) folder: Option<&'a Path>,
    pub(crate) finish: bool,
    /// What the patch is for, in a few words.
    pub(crate) message: Option<&'a str>,
    pub(crate) drop: bool,
    pub(crate) afresh: bool,
    pub(crate) list: bool,
}

/// Begins, lists, drops or finishes edits.
pub(crate) fn run(workplace: &Workplace, asked: &Asked<'_>) -> Outcome<()> {
    let launcher = launcher()?;
    if asked.list {
        let store = workplace.asked_store()?;
        return list(&Project::open(workplace, &store)?);
    }
    let store = workplace.store()?;
    let mut session = Session::open(workplace, &store, Some(&launcher))?;
    let project = &session.project;
    let usage = |message: &str| Err(Problem::of(Code::Usage, message));
    let Some(component) = asked.component else {
        return usage("no component is named; `osier edit --list` shows what is edited");
    };
    if asked.message.is_some() && !asked.finish {
        return usage("a message is for --finish: it becomes the patch's first line");
    }
    let (recipe, ..) = split_target(component)?;
    if asked.drop && state::is_recorded(project, recipe) {
        return drop_edit(project, recipe);
    }
    let edit = state::find(project, recipe)?;
    match (asked.folder, edit) {
        (_, None) if asked.finish || asked.drop || asked.afresh => {
            let known: Vec<String> = state::all(project)?.into_iter().map(|it| it.recipe).collect();
            Err(crate::report::problem::unknown("edited component", recipe, &known))
        }
        (_, Some(edit)) if asked.finish => finish::run(&mut session, &edit, asked.message),
        (_, Some(edit)) if asked.afresh => {
            let now = edit.now(&store, &edit.source()?)?;
            edit.begin_afresh(&now)?;
            workplace.reporter.result(format!(
                "the next build of {recipe} starts clean, from the source as it is in {}",
                Workplace::shown(&edit.folder)
            ));
            Ok(())
        }
        (Some(_), Some(edit)) => {
            let message = format!("{recipe} is already being edited in {}", edit.folder.display());
            Err(Problem::of(Code::EditFolder, message).hint(format!(
                "`osier edit --finish {recipe}` makes a patch of it, `osier edit --drop {recipe}` forgets it"
            )))
        }
        (None, _) => usage("no folder is named for the source: `osier edit COMPONENT FOLDER`"),
        (Some(folder), None) => begin(&mut session, component, folder),
    }
}

/// Finds the component that is named, and what there is of its source.
fn source_of(session: &mut Session<'_>, component: &str) -> Outcome<(Graph, ComponentId)> {
    let wanted = session.project.wanted(component)?;
    let graph = planning::plan_pinned(session, &wanted[..1])?;
    let id = graph.goals.first().copied();
    let id = id.ok_or_else(|| crate::report::problem::unknown("component", component, &[]))?;
    let impossible = |why: &str, hint: &str| {
        let message = format!("the source of {component} cannot be edited: {why}");
        Err(Problem::of(Code::NotEditable, message).hint(hint))
    };
    let Some(source) = graph.source_step(id) else {
        return impossible("it has none of its own", "edit the component whose source it uses");
    };
    let own = graph.chain(source).iter().find_map(|step| match &graph.step(*step).work {
        osier_build::Work::Unpack(source) => source.folder.map(|_| source.name.clone()),
        _ => None,
    });
    if let Some(own) = own {
        let recipe = &graph.component(id).origin;
        return impossible(
            &format!("its source `{own}` is a folder of the project already"),
            &format!("change it there, beside {recipe}"),
        );
    }
    Ok((graph, id))
}

/// The steps that make a source, done, and their layers.
struct Made {
    graph: Graph,
    layers: LayerStack,
    /// The source's folder below the root of a step.
    folder: std::path::PathBuf,
}

/// Unpacks and patches the source of a component, where that is not done.
fn made(session: &Session<'_>, graph: &Graph, id: ComponentId) -> Outcome<Made> {
    let lost = || Problem::of(Code::NotEditable, "there is no source");
    let own = graph.source_graph(id).ok_or_else(lost)?;
    let step = own.until.ok_or_else(lost)?;
    let name = graph.source_folder(id).ok_or_else(lost)?;
    let note = format!("edit-{}", graph.component(id).recipe);
    system::build_graph(session, &own, &note)?;
    let layers = session.surveyor().layers_of(&own, step).ok_or_else(lost)?;
    Ok(Made { folder: Path::new("build").join(name), graph: own, layers })
}

impl Made {
    /// Takes the source over as a tree, with modes as those of a person's folder are taken.
    fn tree(&self, project: &Project<'_>) -> Outcome<Tree> {
        let tree = project
            .store
            .take_tree(&self.layers, &self.folder)
            .map_err(|error| Problem::of(Code::File, error))?;
        let mut plain = Tree::default();
        for (path, node) in tree.iter() {
            let mut node = node.clone();
            match &mut node {
                TreeNode::Folder { mode } => *mode = 0o755,
                TreeNode::File { mode, hard_link, .. } => {
                    *mode = if *mode & 0o111 == 0 { 0o644 } else { 0o755 };
                    *hard_link = None;
                }
                TreeNode::Symlink { .. } => {}
            }
            plain.insert(path.to_vec(), node);
        }
        Ok(plain)
    }
}

/// Puts a source into a folder of the person's.
fn begin(session: &mut Session<'_>, component: &str, folder: &Path) -> Outcome<()> {
    let others = state::all(&session.project)?;
    let asked = folder;
    let (folder, is_full) = folder::checked(&session.project, folder, &others)?;
    let (graph, id) = source_of(session, component)?;
    let made = made(session, &graph, id)?;
    let project = &session.project;
    let recipe = graph.component(id).recipe.clone();

    // The files that are the source's own bytes need no second place in the store.
    let tree = made.tree(project)?;
    if !is_full {
        let beside = folder::beside(&folder)?;
        copy_out(&made.layers, &made.folder, beside.path())?;
        folder::make_writable(beside.path())?;
        folder::put(beside)?;
    }
    let source = state::taken(project.store, &folder)?;
    // Just the source is there where osier was killed before it had noted the edit.
    if is_full && source != tree {
        return Err(folder::not_empty(asked));
    }
    let identity = graph.source_identity(id).to_string();
    Edit::new(project, &recipe, component, folder.clone(), identity).begin(&source)?;

    let report = |line: String| project.workplace.reporter.result(line);
    let shown = Workplace::shown(&folder);
    let files = source.iter().filter(|(_, node)| !matches!(node, TreeNode::Folder { .. })).count();
    report(format!("  edit   the source of {recipe} is in {shown}: {files} files"));
    let others = made.graph.steps.iter().filter_map(|step| match &step.work {
        osier_build::Work::Unpack(source) => Some(source.name.as_str()),
        _ => None,
    });
    let others: Vec<&str> = others.skip(1).collect();
    if !others.is_empty() {
        report(format!("  note   its other sources stay as they are: {}", others.join(", ")));
    }
    if !notices(&graph, id) {
        report(format!(
            "  note   no step of {recipe} says that it notices changed files (`reuse = {{ edits = true }}`), so each build starts clean"
        ));
    }
    report(format!("  next   change the files there, then run osier build {recipe}"));
    report(format!("         osier edit --finish {recipe} makes a patch of it"));
    Ok(())
}

/// Whether a step of a component goes on from earlier objects while its source is edited.
fn notices(graph: &Graph, id: ComponentId) -> bool {
    let steps = graph.component(id).steps.iter().map(|step| graph.step(*step));
    steps.filter_map(|step| step.reuse.as_ref()).any(|reuse| reuse.edits)
}

/// Shows what is edited.
fn list(project: &Project<'_>) -> Outcome<()> {
    let reporter = &project.workplace.reporter;
    let edits = state::all(project)?;
    if project.workplace.global.json {
        let edits = edits.into_iter().map(|edit| EditEntry {
            component: edit.component,
            recipe: edit.recipe,
            folder: edit.folder.display().to_string(),
        });
        reporter.tell(&Event::Edits { edits: edits.collect() });
        return Ok(());
    }
    if edits.is_empty() {
        reporter.result("nothing is edited");
    }
    for edit in &edits {
        let state = match edits::changes(project, edit) {
            Ok(0) => "nothing is changed".to_owned(),
            Ok(1) => "1 file is changed".to_owned(),
            Ok(count) => format!("{count} files are changed"),
            Err(problem) => problem.message,
        };
        reporter.result(format!("{}  {}  {state}", edit.recipe, edit.folder.display()));
    }
    Ok(())
}

/// Forgets an edit.
fn drop_edit(project: &Project<'_>, recipe: &str) -> Outcome<()> {
    // One that cannot be read can be dropped too.
    let folder = state::find(project, recipe).ok().flatten().map(|edit| edit.folder);
    state::forget_damaged(project, recipe)?;
    let left = folder.map_or_else(String::new, |folder| {
        format!("; {} stays as it is", Workplace::shown(&folder))
    });
    project.workplace.reporter.result(format!("{recipe} is built from its recipe again{left}"));
    Ok(())
}
