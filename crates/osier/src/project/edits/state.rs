//! Which sources are edited, where, and what they were before: kept in the project, as it is a matter of a person's copy of it.
//!
//! Each edit is a folder `.osier/edits/RECIPE`, which git ignores: it names a folder of this machine.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use osier_store::{Digest, IoContext as _, Store, Tree, TreeNode, parents, sync_folder};
use serde_json::{Value, json};

use crate::beside::{self, Beside};
use crate::project::Project;
use crate::report::problem::{Code, Outcome, Problem};

/// The version of the records; those of another are refused.
const VERSION: u64 = 1;

/// What osier notes of an edit.
const OWN: [&str; 3] = ["edit.json", "source.tree", "before.tree"];

/// What lies directly in a person's folder and is not of the source.
const NOT_SOURCE: [&str; 1] = [".git"];

/// A source that a person edits.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    /// The recipe.
    pub(crate) recipe: String,
    /// The component that was named, with its target where one was.
    pub(crate) component: String,
    /// Your folder.
    pub(crate) folder: PathBuf,
    /// What tells the patched source from another.
    pub(crate) identity: String,
    /// Where all this is kept.
    place: PathBuf,
}

fn edits(project: &Path) -> PathBuf {
    project.join(".osier/edits")
}

/// Lists all edits of a project, by name.
pub(crate) fn all(project: &Project<'_>) -> Outcome<Vec<Edit>> {
    let folder = edits(&project.workplace.project);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("list", &folder)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.at("list", &folder)?.file_name().to_string_lossy().into_owned();
        // What is being written has a dot in front.
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    names.into_iter().map(|name| Edit::read(&folder.join(&name), &name)).collect()
}

/// Finds the edit of a recipe.
pub(crate) fn find(project: &Project<'_>, recipe: &str) -> Outcome<Option<Edit>> {
    Ok(all(project)?.into_iter().find(|edit| edit.recipe == recipe))
}

impl Edit {
    /// Describes an edit that begins; it counts once it is written.
    pub(crate) fn new(
        project: &Project<'_>,
        recipe: &str,
        component: &str,
        folder: PathBuf,
        identity: String,
    ) -> Self {
        let place = edits(&project.workplace.project).join(recipe);
        let (recipe, component) = (recipe.to_owned(), component.to_owned());
        Self { recipe, component, folder, identity, place }
    }

    fn read(place: &Path, recipe: &str) -> Outcome<Self> {
        let damaged = || damaged(place, recipe);
        let text = fs::read(place.join("edit.json")).map_err(|_| damaged())?;
        let record: Value = serde_json::from_slice(&text).map_err(|_| damaged())?;
        let word = |name: &str| record[name].as_str().map(str::to_owned).ok_or_else(damaged);
        if record["version"] != VERSION {
            return Err(damaged());
        }
        Ok(Self {
            recipe: recipe.to_owned(),
            component: word("component")?,
            folder: PathBuf::from(word("folder")?),
            identity: word("source")?,
            place: place.to_path_buf(),
        })
    }

    /// The patched source as it was when the edit began.
    pub(crate) fn source(&self) -> Outcome<Tree> {
        self.tree("source.tree")?.ok_or_else(|| damaged(&self.place, &self.recipe))
    }

    /// The source as it was when builds began afresh, where they did.
    pub(crate) fn before(&self) -> Outcome<Option<Tree>> {
        self.tree("before.tree")
    }

    fn tree(&self, name: &str) -> Outcome<Option<Tree>> {
        let damaged = || damaged(&self.place, &self.recipe);
        match fs::read_to_string(self.place.join(name)) {
            Ok(text) => Tree::parse(&text).map(Some).map_err(|_| damaged()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err(damaged()),
        }
    }

    /// Writes an edit that begins, whole or not at all, with the source as it is before.
    pub(crate) fn begin(&self, source: &Tree) -> Outcome<()> {
        let folder = self.place.parent().unwrap_or(&self.place);
        fs::create_dir_all(folder).at("make", folder)?;
        if let Some(own) = folder.parent() {
            beside::write(&own.join(".gitignore"), "*\n")?;
        }
        let beside = Beside::folder(&self.place)?;
        let record = json!({
            "version": VERSION,
            "component": self.component,
            "folder": self.folder.to_str(),
            "source": self.identity,
        });
        beside::write(&beside.path().join("source.tree"), source.to_manifest())?;
        beside::write(&beside.path().join("edit.json"), format!("{record:#}\n"))?;
        Ok(beside.keep()?)
    }

    /// Lets builds begin afresh from the source as it is now.
    pub(crate) fn begin_afresh(&self, now: &Tree) -> Outcome<()> {
        Ok(beside::write(&self.place.join("before.tree"), now.to_manifest())?)
    }

    /// Forgets the edit; the person's folder stays as it is.
    pub(crate) fn forget(&self) -> Outcome<()> {
        forget(&self.place)
    }

    /// Takes the person's folder over as it is now.
    ///
    /// Folders without files are left out, since a patch cannot say them, but for those that the source has.
    pub(crate) fn now(&self, store: &Store, source: &Tree) -> Outcome<Tree> {
        let gone = |what: &str| {
            let folder = self.folder.display();
            let message = format!("{} is edited in {folder}, which {what}", self.recipe);
            Problem::of(Code::EditGone, message).hint(format!(
                "put it back, or run `osier edit --drop {}` to build from the recipe again",
                self.recipe
            ))
        };
        match fs::metadata(&self.folder) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(gone("is not a folder")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(gone("does not exist"));
            }
            Err(error) => return Err(error).at("read", &self.folder).map_err(Problem::from),
        }
        let tree = taken(store, &self.folder)?;
        if !tree.iter().any(|(_, node)| !matches!(node, TreeNode::Folder { .. })) {
            return Err(gone("is empty"));
        }
        Ok(without_empty_folders(&tree, source))
    }
}

fn damaged(place: &Path, recipe: &str) -> Problem {
    let message = format!("{} is damaged, or from another version of osier", place.display());
    Problem::of(Code::EditStale, message).hint(format!(
        "`osier edit --drop {recipe}` forgets the edit and leaves the edited source as it is"
    ))
}

/// Forgets the edit of a recipe, even one that cannot be read.
pub(crate) fn forget_damaged(project: &Project<'_>, recipe: &str) -> Outcome<()> {
    forget(&edits(&project.workplace.project).join(recipe))
}

/// Says whether there is a record of an edit, readable or not.
pub(crate) fn is_recorded(project: &Project<'_>, recipe: &str) -> bool {
    edits(&project.workplace.project).join(recipe).is_dir()
}

fn forget(place: &Path) -> Outcome<()> {
    let entries: Result<Vec<_>, _> = fs::read_dir(place).at("list", place)?.collect();
    let is_own =
        |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(|it| OWN.contains(&it));
    let aside = if entries.at("list", place)?.iter().all(is_own) {
        // Where what a kill leaves of it is removed by the next edit.
        Beside::sweep(place)?
    } else {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        place.with_file_name(format!(".{name}.{}", std::process::id()))
    };
    fs::rename(place, &aside).at("rename", place)?;
    for own in OWN {
        match fs::remove_file(aside.join(own)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).at("remove", &aside).map_err(Problem::from);
            }
            _ => {}
        }
    }
    // What a person has put there stays, out of the way.
    let _ = fs::remove_dir(&aside);
    // Else a power cut would bring the edit back.
    Ok(sync_folder(place.parent().unwrap_or(place))?)
}

/// Takes a folder over as a tree.
pub(crate) fn taken(store: &Store, folder: &Path) -> Outcome<Tree> {
    let digest: Digest = store.take_folder_without(folder, &NOT_SOURCE)?;
    store.tree(&digest).map_err(|error| Problem::of(Code::File, error))
}

/// Leaves out the folders without files that `source` does not have, and adds those that it has.
pub(crate) fn without_empty_folders(tree: &Tree, source: &Tree) -> Tree {
    let mut kept = Tree::default();
    let is_folder = |node: &TreeNode| matches!(node, TreeNode::Folder { .. });
    let mut last: &[u8] = &[];
    for (path, node) in tree.iter().filter(|(_, node)| !is_folder(node)) {
        let folder = parents(path).last().unwrap_or_default();
        if folder != last {
            insert_parents(&mut kept, path);
            last = folder;
        }
        kept.insert(path.to_vec(), node.clone());
    }
    let filled: HashSet<&[u8]> =
        source.iter().filter_map(|(path, _)| parents(path).last()).collect();
    for (path, node) in
        source.iter().filter(|(path, node)| is_folder(node) && !filled.contains(path))
    {
        // What is empty in the source is kept even where somebody has removed it, unless something else took its place.
        if parents(path).chain([path]).all(|above| kept.get(above).is_none_or(is_folder)) {
            insert_parents(&mut kept, path);
            kept.insert(path.to_vec(), node.clone());
        }
    }
    kept
}

fn insert_parents(tree: &mut Tree, path: &[u8]) {
    for above in parents(path) {
        tree.insert(above.to_vec(), TreeNode::Folder { mode: 0o755 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for path in paths {
            let node = match path.strip_suffix('/') {
                Some(_) => TreeNode::Folder { mode: 0o755 },
                None => TreeNode::Symlink { target: b"x".to_vec() },
            };
            tree.insert(path.trim_end_matches('/').as_bytes().to_vec(), node);
        }
        tree
    }

    #[test]
    fn empty_folders_are_those_of_the_source() {
        let source = tree(&["a/", "a/f", "empty/", "b/", "b/c/", "gone/", "gone/in/"]);
        let now = tree(&["a/", "a/f", "mine/", "mine/deep/", "b", "new/", "new/f"]);
        let wanted = tree(&["a/", "a/f", "b", "empty/", "gone/", "gone/in/", "new/", "new/f"]);
        assert_eq!(without_empty_folders(&now, &source), wanted);
        assert_eq!(without_empty_folders(&source, &source), source);
    }
}
