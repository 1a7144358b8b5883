//! Turning what a person has changed into a patch of the recipe, proved by putting it on the source.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use osier_build::{Change, ComponentId, Graph, SourceEdit, Work};
use osier_patch::{Node, Pair};
use osier_recipe::glob_matches;
use osier_store::{Digest, IoContext as _, LayerKind, Store, Tree, TreeNode};

use super::{Made, made, source_of};
use crate::beside;
use crate::project::Project;
use crate::project::edits;
use crate::project::edits::state::{Edit, without_empty_folders};
use crate::project::library::{Entry, Shelf};
use crate::project::own_recipe::{self, Named};
use crate::report::problem::{Code, Outcome, Problem};
use crate::session::Session;
use crate::workplace::Workplace;

/// Where a first patch goes, and what then names all of them.
const FOLDER: &str = "patches";
const PATTERN: &str = "patches/*.patch";

/// A quilt list, which names the patches of its folder.
const SERIES: &str = "series";

/// Makes a patch of an edit, gives it to the recipe, and ends the edit.
pub(super) fn run(session: &mut Session<'_>, edit: &Edit, message: Option<&str>) -> Outcome<()> {
    let (reporter, store) = (&session.workplace.reporter, session.store);
    let recipe = &edit.recipe;
    let source = edit.source()?;
    let now = edit.now(store, &source)?;
    let ended = format!("{recipe} is built from its recipe again");
    let kept = format!("  note   {} is not used any more", Workplace::shown(&edit.folder));
    let changes = SourceEdit::between("", &source, &now).changes;
    if changes.is_empty() {
        edit.forget()?;
        reporter.result(format!("  done   nothing was changed; {ended}"));
        reporter.result(&kept);
        return Ok(());
    }
    let (graph, id) = source_of(session, &edit.component)?;
    let base = made(session, &graph, id)?;
    if graph.source_identity(id).to_string() != edit.identity {
        // The patch was written, and osier was stopped before it could forget the edit.
        if is_as(&base, &session.project, &source, &now)?.is_empty() {
            edit.forget()?;
            reporter.result(format!("  done   the recipe has all changes already; {ended}"));
            reporter.result(&kept);
            return Ok(());
        }
        edits::is_the_same(&graph, id, edit)?;
    }
    let pairs = pairs(store, &base, &changes)?;
    let written = osier_patch::write(&pairs).map_err(|unsaid| {
        let message = format!("a patch cannot express some of the changes in {recipe}");
        let mut problem = Problem::of(Code::NoPatch, message);
        for one in unsaid {
            let path = one.path.to_string_lossy().escape_debug().to_string();
            problem.body.push_str(&format!("    | {path}: {}\n", one.why));
        }
        problem.hint(format!(
            "undo these changes in {}, or let a step of the recipe copy the files from `files`",
            edit.folder.display()
        ))
    })?;
    let mut adding = Adding::default();
    let named = own_patches(&graph, id);
    let added = adding.add(&session.project, recipe, message, &written.text, &named);
    let added = added.and_then(|patch| {
        let wrong = proved(session, edit, &patch, &source, &now)?;
        if wrong.is_empty() {
            return Ok(());
        }
        let message = format!("the patch does not give the source that is edited for {recipe}");
        let mut problem = Problem::of(Code::PatchWrong, message);
        for path in wrong.iter().take(20) {
            problem.body.push_str(&format!("    | {path}\n"));
        }
        Err(problem)
    });
    if let Err(problem) = added {
        adding.undo()?;
        return Err(problem.hint("the recipe and the edit are as they were"));
    }
    edit.forget()?;
    for line in &adding.said {
        reporter.result(line);
    }
    for file in &written.files {
        reporter.result(format!("         {file}"));
    }
    reporter.result(format!("  done   the patch gives exactly the edited source; {ended}"));
    reporter.result(&kept);
    reporter.result(format!("  next   osier build {recipe}"));
    Ok(())
}

/// Gives both sides of each change.
fn pairs(store: &Store, base: &Made, changes: &[Change]) -> Outcome<Vec<Pair>> {
    let mut pairs = Vec::new();
    // What a folder that is gone held is gone file by file.
    let mut add = |path: &[u8], old: Option<Node>, new: Option<Node>| {
        pairs.push(Pair { path: PathBuf::from(OsStr::from_bytes(path)), old, new });
    };
    for Change { path, node } in changes {
        let new = match node {
            None | Some(TreeNode::Folder { .. }) => None,
            Some(TreeNode::Symlink { target }) => Some(Node::Symlink { target: target.clone() }),
            Some(TreeNode::File { mode, content, .. }) => {
                let bytes = store.read_blob(content);
                let content = bytes.map_err(|error| Problem::of(Code::File, error))?;
                Some(Node::File { content, mode: *mode })
            }
        };
        let place = base.folder.join(OsStr::from_bytes(path));
        match base.layers.find(&place)? {
            Some(old) if old.kind == LayerKind::Folder => {
                for below in base.layers.walk(&place)? {
                    let path = [path.as_slice(), b"/", &below.path].concat();
                    add(&path, old_side(&below.host, below.kind)?, None);
                }
                add(path, None, new);
            }
            Some(old) => add(path, old_side(&old.host, old.kind)?, new),
            None => add(path, None, new),
        }
    }
    Ok(pairs)
}

fn old_side(host: &Path, kind: LayerKind) -> Outcome<Option<Node>> {
    Ok(match kind {
        LayerKind::Folder | LayerKind::Special => None,
        LayerKind::Symlink => {
            let target = fs::read_link(host).at("read", host)?;
            Some(Node::Symlink { target: target.into_os_string().into_vec() })
        }
        LayerKind::File => {
            let mode = fs::symlink_metadata(host).at("read", host)?.permissions().mode() & 0o7777;
            Some(Node::File { content: fs::read(host).at("read", host)?, mode })
        }
    })
}

/// What is being added to a recipe, so that it can be taken back.
#[derive(Default)]
struct Adding {
    /// What a person is told when it holds.
    said: Vec<String>,
    undo: Vec<Undo>,
}

enum Undo {
    Remove(PathBuf),
    /// A folder that was made empty: what a person has put there meanwhile stays.
    RemoveEmpty(PathBuf),
    /// A folder that came with all that is in it.
    RemoveFolder(PathBuf),
    Write(PathBuf, Vec<u8>),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
}

impl Adding {
    /// Writes the patch beside the recipe, which names these so far, and lets it name this one; gives its path below the
    /// recipe's folder.
    fn add(
        &mut self,
        project: &Project<'_>,
        recipe: &str,
        message: Option<&str>,
        text: &[u8],
        named: &[&str],
    ) -> Outcome<String> {
        let Some(entry) = project.library().find(Shelf::Recipes, recipe)? else {
            return Err(crate::report::problem::unknown("component", recipe, &[]));
        };
        let folder = self.own_folder(project, &entry, recipe)?;
        let file = folder.join("recipe.toml");
        let read = project.read_recipe(recipe)?;
        let target = project.targets.first().copied().unwrap_or(crate::project::BUILD);
        let effective = read.effective(target, project.profile.as_deref());
        let last = effective.patches.last().map(|pattern| pattern.value.as_str());
        let below = match last {
            None => FOLDER,
            Some(pattern) => pattern.rsplit_once('/').map_or("", |(below, _)| below),
        };
        // A pattern of folders cannot be the name of one.
        let below = if below.contains(['*', '?', '[']) { FOLDER } else { below };
        let place = if below.is_empty() { folder.clone() } else { folder.join(below) };
        if !place.is_dir() {
            fs::create_dir_all(&place).at("make", &place)?;
            self.undo.push(Undo::RemoveEmpty(place.clone()));
        }
        let path = |name: &str| match below {
            "" => name.to_owned(),
            below => format!("{below}/{name}"),
        };
        let is_named = |name: &str| named.contains(&path(name).as_str());
        let name = match unnamed(&place, text, is_named)? {
            Some(name) => name,
            None => format!("{:04}-{}.patch", next_number(&place)?, slug(message)),
        };
        let patch = place.join(&name);
        let head = message.unwrap_or("Changes made with osier edit");
        beside::write(&patch, [head.as_bytes(), b"\n\n", text].concat())?;
        self.undo.push(Undo::Remove(patch.clone()));
        self.said.push(format!("  wrote  {}", Workplace::shown(&patch)));
        let series = place.join(SERIES);
        let is_read = effective.patches.iter().any(|pattern| glob_matches(pattern, &path(SERIES)));
        if is_read && series.is_file() {
            let old = fs::read(&series).at("read", &series)?;
            let end: &[u8] = if old.is_empty() || old.ends_with(b"\n") { b"" } else { b"\n" };
            beside::write(&series, [&old, end, name.as_bytes(), b"\n"].concat())?;
            self.undo.push(Undo::Write(series.clone(), old));
            self.said.push(format!("  added  {name} to {}", Workplace::shown(&series)));
            return Ok(path(&name));
        }
        let path = path(&name);
        let old = fs::read_to_string(&file).at("read", &file)?;
        match own_recipe::with_patch(&old, target, project.profile.as_deref(), &path, PATTERN) {
            Named::Already => {}
            Named::Added { text, line } => {
                beside::write(&file, text)?;
                self.undo.push(Undo::Write(file.clone(), old.into_bytes()));
                let shown = Workplace::shown(&file);
                self.said.push(format!("  added  it to `patches` in {shown}:{line}"));
            }
            Named::ByHand => {
                let shown = Workplace::shown(&file);
                let message = format!("osier cannot tell where {shown} should name the patch");
                return Err(Problem::of(Code::PatchNotGiven, message).hint(format!(
                    "give the recipe a list, as in `patches = [\"{PATTERN}\"]`, and finish again"
                )));
            }
        }
        Ok(path)
    }

    /// Finds or makes the folder of the project's own recipe.
    fn own_folder(
        &mut self,
        project: &Project<'_>,
        entry: &Entry,
        recipe: &str,
    ) -> Outcome<PathBuf> {
        if let Some(folder) = entry.folder() {
            return Ok(folder.to_path_buf());
        }
        if let Some(file) = entry.alone() {
            let folder = file.with_extension("");
            if !folder.is_dir() {
                fs::create_dir(&folder).at("make", &folder)?;
                self.undo.push(Undo::RemoveEmpty(folder.clone()));
            }
            let moved = folder.join("recipe.toml");
            if moved.symlink_metadata().is_ok() {
                let message = format!("{} exists beside {}", moved.display(), file.display());
                return Err(Problem::of(Code::PatchNotGiven, message)
                    .hint("a recipe can be in only one of the two: move the other away"));
            }
            fs::rename(file, &moved).at("rename", file)?;
            self.undo.push(Undo::Rename { from: moved.clone(), to: file.to_path_buf() });
            let [from, to] = [file, &moved].map(Workplace::shown);
            self.said
                .push(format!("  moved  {from} to {to}, because patches lie beside the recipe"));
            return Ok(folder);
        }
        let folder = own_recipe::take_over(project, entry, recipe)?;
        self.undo.push(Undo::RemoveFolder(folder.clone()));
        let shown = Workplace::shown(&folder);
        self.said
            .push(format!(" copied  the built-in recipe to {shown}, which is used from now on"));
        Ok(folder)
    }

    /// Takes everything back.
    fn undo(self) -> Outcome<()> {
        for step in self.undo.into_iter().rev() {
            match step {
                Undo::Remove(file) => fs::remove_file(&file).at("remove", &file)?,
                Undo::RemoveEmpty(folder) => {
                    let _ = fs::remove_dir(&folder);
                }
                Undo::RemoveFolder(folder) => {
                    fs::remove_dir_all(&folder).at("remove", &folder)?;
                }
                Undo::Write(file, content) => beside::write(&file, content)?,
                Undo::Rename { from, to } => fs::rename(&from, &to).at("rename", &from)?,
            }
        }
        Ok(())
    }
}

/// Finds the same patch, which no recipe names: osier was killed after it had written the one, and before the other.
fn unnamed(folder: &Path, text: &[u8], is_named: impl Fn(&str) -> bool) -> Outcome<Option<String>> {
    for entry in fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // A person's own has a name of their own.
        let number = name.split_once('-').map_or("", |(number, _)| number);
        let is_own = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_own || !name.ends_with(".patch") || is_named(&name) {
            continue;
        }
        if fs::read(entry.path()).is_ok_and(|found| found.ends_with(text)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Gives the number after the highest that a patch of a folder begins with.
fn next_number(folder: &Path) -> Outcome<u32> {
    let mut highest = 0u32;
    for entry in fs::read_dir(folder).at("list", folder)? {
        let name = entry.at("list", folder)?.file_name().to_string_lossy().into_owned();
        let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
        let is_patch = name.ends_with(".patch") || name.ends_with(".diff");
        if is_patch && name[digits.len()..].starts_with(['-', '_', '.']) {
            highest = highest.max(digits.parse().unwrap_or(0));
        }
    }
    Ok(highest.saturating_add(1))
}

/// Makes a file's name of a few words.
fn slug(message: Option<&str>) -> String {
    let line = message.and_then(|message| message.lines().next()).unwrap_or("edit");
    let mut slug = String::new();
    for letter in line.chars().flat_map(char::to_lowercase) {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let short: String = slug.chars().take(50).collect();
    let short = short.trim_matches('-');
    if short.is_empty() { "edit".to_owned() } else { short.to_owned() }
}

/// Lists the patches that a recipe names, in order, by their paths below its folder.
fn own_patches(graph: &Graph, id: ComponentId) -> Vec<&str> {
    let patches = graph.component(id).steps.iter().find_map(|step| match &graph.step(*step).work {
        Work::Patch(patching) => Some(patching.own.iter().map(|own| own.file.as_str()).collect()),
        _ => None,
    });
    patches.unwrap_or_default()
}

/// Puts the patch on the source as builds will, and lists the paths that are other than in the person's folder.
fn proved(
    session: &mut Session<'_>,
    edit: &Edit,
    patch: &str,
    source: &Tree,
    now: &Tree,
) -> Outcome<Vec<String>> {
    let (graph, id) = source_of(session, &edit.component)?;
    let patches = own_patches(&graph, id);
    if patches.last() != Some(&patch) {
        let message = format!("{patch} would not be the last patch of {}", edit.recipe);
        return Err(Problem::of(Code::PatchNotGiven, message).hint(format!(
            "name its patches one by one in `patches`, in the order in which osier applies them: {}",
            patches.join(", ")
        )));
    }
    is_as(&made(session, &graph, id)?, &session.project, source, now)
}

/// Lists the paths in which a patched source is other than the person's folder.
fn is_as(made: &Made, project: &Project<'_>, source: &Tree, now: &Tree) -> Outcome<Vec<String>> {
    let found = without_empty_folders(&made.tree(project)?, source);
    let differences = SourceEdit::between("", &found, now).changes;
    let shown = |digest: &Digest| digest.to_string()[..12].to_owned();
    Ok(differences
        .iter()
        .map(|change| {
            let path = String::from_utf8_lossy(&change.path);
            let word = |node: Option<&TreeNode>| match node {
                None => "nothing".to_owned(),
                Some(TreeNode::Folder { .. }) => "a folder".to_owned(),
                Some(TreeNode::Symlink { target }) => {
                    format!("a link to {}", String::from_utf8_lossy(target))
                }
                Some(TreeNode::File { mode, content, .. }) => {
                    format!("a file {mode:o} {}", shown(content))
                }
            };
            let (wanted, is) = (word(change.node.as_ref()), word(found.get(&change.path)));
            format!("{path}: the edited source has {wanted}, the patch gives {is}")
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_numbered_and_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(next_number(folder.path()).unwrap(), 1);
        for name in ["0007-a.patch", "0012_b.diff", "99-notes.txt", "2024.patch.orig", "fix.patch"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(next_number(folder.path()).unwrap(), 13);
        assert_eq!(slug(None), "edit");
        assert_eq!(slug(Some("ls: Sort by colour!\nbody")), "ls-sort-by-colour");
        assert_eq!(slug(Some("…")), "edit");
    }
}
