//! Edits in plans: what builds see of them, and what a person is told.

pub(crate) mod state;

use std::sync::{Mutex, PoisonError};

use osier_build::{ComponentId, Edits, Graph, SourceEdit};
use osier_store::{Store, Tree, TreeNode};

use crate::project::Project;
use crate::report::event::Event;
use crate::report::problem::{Code, Outcome, Problem};
use crate::workplace::Workplace;
use state::Edit;

/// Puts what persons have changed into a planned graph.
pub(crate) fn apply(project: &Project<'_>, graph: &mut Graph) -> Outcome<()> {
    put_in_graph(project, graph, false)
}

/// Does the same; all of it is laid directly on the patched source where builds are to start clean.
pub(crate) fn put_in_graph(project: &Project<'_>, graph: &mut Graph, clean: bool) -> Outcome<()> {
    for edit in state::all(project)? {
        let ids = of_recipe(graph, &edit.recipe);
        let Some(first) = ids.first() else { continue };
        let name = graph.source_folder(*first).unwrap_or_default().to_owned();
        for id in &ids {
            is_the_same(graph, *id, &edit)?;
        }
        let edits = edits(project, &edit, &name, clean)?;
        for id in ids {
            graph.insert_edits(id, &edits);
        }
    }
    Ok(())
}

/// The components of a graph that have a recipe's source.
fn of_recipe(graph: &Graph, recipe: &str) -> Vec<ComponentId> {
    let is_of = |id: &ComponentId| {
        graph.component(*id).recipe == recipe && graph.source_step(*id).is_some()
    };
    graph.ids().filter(is_of).collect()
}

/// Refuses an edit that was begun on another source than the one that is planned.
pub(crate) fn is_the_same(graph: &Graph, id: ComponentId, edit: &Edit) -> Outcome<()> {
    if graph.source_identity(id).to_string() == edit.identity {
        return Ok(());
    }
    let component = graph.component(id);
    let message = format!(
        "{} is edited in {}, but the recipe's source has changed since this edit began",
        component.name,
        edit.folder.display()
    );
    Err(Problem::of(Code::EditStale, message)
        .hint(format!(
            "undo the change of its pins, sources or patches until `osier edit --finish {}` has made a patch",
            edit.recipe
        ))
        .hint(format!("or run `osier edit --drop {}` to build from the recipe", edit.recipe)))
}

/// Finds out what a person has changed.
fn edits(project: &Project<'_>, edit: &Edit, name: &str, clean: bool) -> Outcome<Edits> {
    let source = edit.source()?;
    let now = edit.now(project.store, &source)?;
    let before = match edit.before()? {
        _ if clean => now.clone(),
        None => source.clone(),
        Some(before) if is_there(project.store, &source, &before) => before,
        // What was changed before is no longer in the store: then builds begin afresh again.
        Some(_) => {
            if project.store.is_writable() {
                edit.begin_afresh(&now)?;
            }
            now.clone()
        }
    };
    Ok(Edits {
        before: SourceEdit::between(name, &source, &before),
        since: SourceEdit::between(name, &before, &now),
        place: edit.folder.display().to_string(),
    })
}

/// Whether the store has all files in which a tree differs from the source.
fn is_there(store: &Store, source: &Tree, tree: &Tree) -> bool {
    let changes = SourceEdit::between("", source, tree).changes;
    changes.iter().all(|change| match &change.node {
        Some(TreeNode::File { content, .. }) => store.has_blob(content),
        _ => true,
    })
}

/// Counts the changed files of an edit.
pub(crate) fn changes(project: &Project<'_>, edit: &Edit) -> Outcome<usize> {
    let source = edit.source()?;
    let now = edit.now(project.store, &source)?;
    let changes = SourceEdit::between("", &source, &now).changes;
    let is_folder = |node: &Option<TreeNode>| matches!(node, Some(TreeNode::Folder { .. }));
    Ok(changes.iter().filter(|change| !is_folder(&change.node)).count())
}

/// Says which components of a graph are edited, one line each, and whether it makes a difference.
fn told(project: &Project<'_>, graph: &Graph) -> Outcome<Vec<(bool, String)>> {
    let mut told = Vec::new();
    for edit in state::all(project)? {
        let ids = of_recipe(graph, &edit.recipe);
        if ids.is_empty() {
            continue;
        }
        let is_edited = ids.iter().any(|id| graph.is_edited(*id));
        let (recipe, folder) = (&edit.recipe, edit.folder.display());
        let note = match is_edited {
            true => {
                format!("{recipe} is edited: it is built from {folder}, not from its recipe alone")
            }
            false => format!("{recipe} is edited in {folder}, where nothing is changed"),
        };
        told.push((is_edited, note));
    }
    Ok(told)
}

/// Says which components of a graph are edited, one line each.
pub(crate) fn notes(project: &Project<'_>, graph: &Graph) -> Outcome<Vec<String>> {
    Ok(told(project, graph)?.into_iter().map(|(_, note)| note).collect())
}

/// What this command has warned of.
static WARNED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Warns of the components of a graph that are not what their recipes say, of each once in a command.
pub(crate) fn warn(project: &Project<'_>, graph: &Graph) -> Outcome<()> {
    for (_, note) in told(project, graph)?.into_iter().filter(|(is_edited, _)| *is_edited) {
        let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
        if !warned.contains(&note) {
            project.workplace.reporter.warn(&note);
            warned.push(note);
        }
    }
    Ok(())
}

/// Says once more, at the end of a command, what it has warned of.
pub(crate) fn remind(workplace: &Workplace) {
    for note in WARNED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        workplace.reporter.warn(note);
    }
}

/// Lets builds of a component begin afresh, because a step that is not run again has written what is edited.
pub(crate) fn begin_afresh(project: &Project<'_>, recipe: &str, why: &str) -> Outcome<()> {
    let Some(edit) = state::find(project, recipe)? else { return Ok(()) };
    edit.begin_afresh(&edit.now(project.store, &edit.source()?)?)?;
    let (recipe, reason) = (recipe.to_owned(), why.to_owned());
    project.workplace.reporter.tell(&Event::EditRestarted { recipe, reason });
    Ok(())
}
