//! A source that a person edits in a folder of their own.
//!
//! What differs between the patched source and that folder is a step of its own ([`SourceEdit`]), so that everything
//! above it has keys of its own, and nothing that comes of it can be found under a key of the recipe. Where a step says
//! that it notices changed files by their times ([`Reuse::edits`](crate::Reuse)), the edit is laid on top of the steps
//! before that one, which are those of the recipe, and the step goes on from what it made of the source as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use osier_store::{
    BlobError, FileError, IoContext, Key, KeyBuilder, LayerEntry, LayerKind, LayerStack, Store,
    Tree, TreeNode, overlay, parents,
};

use crate::graph::{Change, SourceEdit};
use crate::layer::reuse::{MOST_LAYERS, earlier, is_there, same_content};
use crate::layer::upper::{Moment, make_folder, make_parents, set_mode};

impl SourceEdit {
    /// Finds what has to change in a source to make `before` into `after`. What a folder that is gone held is not listed.
    pub fn between(name: &str, before: &Tree, after: &Tree) -> Self {
        let mut changes: BTreeMap<&[u8], Option<&TreeNode>> = BTreeMap::new();
        for (path, node) in after.iter().filter(|(path, node)| before.get(path) != Some(node)) {
            changes.insert(path, Some(node));
        }
        for (path, _) in before.iter().filter(|(path, _)| after.get(path).is_none()) {
            let above = parents(path).last();
            let is_folder = |above| matches!(after.get(above), Some(TreeNode::Folder { .. }));
            if above.is_none_or(is_folder) {
                changes.insert(path, None);
            }
        }
        let changes = changes.into_iter();
        let changes =
            changes.map(|(path, node)| Change { path: path.to_vec(), node: node.cloned() });
        Self { name: name.to_owned(), changes: changes.collect() }
    }

    /// Lists the changed paths that steps before have written: what they wrote and what the person wrote would be mixed up.
    pub(crate) fn written_by(&self, layers: &[PathBuf]) -> Vec<String> {
        let base = Path::new("build").join(&self.name);
        let is_written = |change: &&Change| {
            let path = base.join(OsStr::from_bytes(&change.path));
            layers.iter().any(|layer| {
                let found = fs::symlink_metadata(layer.join(&path));
                found.is_ok_and(|found| !found.is_dir() || change.node.is_none())
            })
        };
        let written = self.changes.iter().filter(is_written);
        written.map(|change| String::from_utf8_lossy(&change.path).into_owned()).collect()
    }

    /// Lays the changes out in the layer of a step that lies on these others.
    pub(crate) fn lay_out(
        &self,
        store: &Store,
        below: &LayerStack,
        upper: &Path,
    ) -> Result<(), BlobError> {
        let base = Path::new("build").join(&self.name);
        let moment = Moment::now();
        for Change { path, node } in &self.changes {
            let path = base.join(OsStr::from_bytes(path));
            make_parents(below, upper, &path)?;
            let place = upper.join(&path);
            match node {
                None => {
                    overlay::whiteout(&place)?;
                    continue;
                }
                Some(TreeNode::Folder { mode }) => {
                    make_folder(&place, *mode)?;
                    continue;
                }
                Some(TreeNode::Symlink { target }) => {
                    symlink(OsStr::from_bytes(target), &place).at("make", &place)?;
                }
                Some(TreeNode::File { mode, content, .. }) => {
                    store.verify_blob(content)?;
                    let blob = store.blob_path(content);
                    fs::copy(&blob, &place).at("copy", &blob)?;
                    let old = below.find(&path)?.filter(|old| old.kind == LayerKind::File);
                    let mode = old.map_or(*mode, |old| kept_mode(old.metadata.mode(), *mode));
                    // As the patch step leaves what it writes.
                    set_mode(&place, mode | 0o600)?;
                }
            }
            moment.stamp(&place)?;
        }
        Ok(())
    }
}

/// Keeps the mode of a file that was changed, but for whether it can be run.
fn kept_mode(old: u32, new: u32) -> u32 {
    let old = old & 0o7777;
    match (old & 0o111 != 0, new & 0o111 != 0) {
        (false, true) => old | ((old & 0o444) >> 2),
        (true, false) => old & !0o111,
        _ => old,
    }
}

/// What has to be known of a step that notices changed sources by their times.
#[derive(Debug, Clone)]
pub(crate) struct EditCall {
    /// What all runs have in common of which one can go on from the other: the sources may differ.
    pub(crate) class: Key,
    /// The step that the edit lies on.
    pub(crate) base: Key,
    /// The step below: that of the edit, or that which an edit would lie on.
    pub(crate) below: Key,
    /// The layer of the edit and those that it lies on; nothing where the source is as the recipe says.
    pub(crate) edit: Option<(PathBuf, Vec<PathBuf>)>,
}

/// A file or link that an earlier run has not seen as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Its path in the root.
    path: PathBuf,
    /// Where it lies; nothing where it is gone.
    from: Option<PathBuf>,
}

/// An earlier run: the layers to lie on, the topmost first, and what has changed since.
pub(crate) type Earlier = (Vec<Key>, Vec<Difference>);

/// Finds an earlier run to go on from; gives the layers to lie on, the topmost first, and what has changed since.
pub(crate) fn find(
    store: &Store,
    own: &Key,
    call: &EditCall,
) -> Result<Option<Earlier>, FileError> {
    let Some((now, under)) = &call.edit else { return Ok(None) };
    let known = earlier(store, own, &call.class, |index, (_, below)| {
        *below == call.base || index.has_layer(below)
    })?;
    let under = LayerStack::new(under.clone());
    for (mut layers, below) in known {
        let before = (below != call.base).then(|| store.layer_path(&below));
        let there = |key: &Key| is_there(store, key);
        if !layers.iter().all(there) || (before.is_some() && !there(&below)) {
            continue;
        }
        let mut differences = Vec::new();
        let sides = (before.as_deref(), Some(now.as_path()));
        if !compare(sides, Path::new(""), &under, &mut differences)? {
            continue;
        }
        if before.is_some() {
            layers.push(below);
        }
        if layers.len() >= MOST_LAYERS {
            layers = vec![merged(store, &layers)?];
        }
        return Ok(Some((layers, differences)));
    }
    Ok(None)
}

/// A folder of each of two edits, where it has one, and its place in the root.
type Sides = (Option<PathBuf>, Option<PathBuf>, PathBuf);

/// Lists what differs between the layers of two edits; says no where that is more than files and links.
fn compare(
    (before, now): (Option<&Path>, Option<&Path>),
    place: &Path,
    under: &LayerStack,
    out: &mut Vec<Difference>,
) -> Result<bool, FileError> {
    let own = |side: Option<&Path>| side.map(Path::to_path_buf);
    let mut waiting: Vec<Sides> = vec![(own(before), own(now), place.to_path_buf())];
    while let Some((before, now, place)) = waiting.pop() {
        let sides = (before.as_deref(), now.as_deref());
        if !compare_folder(sides, &place, under, out, &mut waiting)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compares what is directly in two folders; the folders in them wait.
fn compare_folder(
    (before, now): (Option<&Path>, Option<&Path>),
    place: &Path,
    under: &LayerStack,
    out: &mut Vec<Difference>,
    waiting: &mut Vec<Sides>,
) -> Result<bool, FileError> {
    let listed = |folder: Option<&Path>| folder.map_or(Ok(BTreeMap::new()), overlay::list);
    let (old, new) = (listed(before)?, listed(now)?);
    let names: BTreeSet<&OsString> = old.keys().chain(new.keys()).collect();
    for name in names {
        let place = place.join(name);
        let (old, new) = (old.get(name), new.get(name));
        let (before, now) = (before.map(|before| before.join(name)), now.map(|now| now.join(name)));
        let is_folder = |side: Option<&Metadata>| side.is_some_and(Metadata::is_dir);
        if is_folder(old) || is_folder(new) {
            if old.is_some_and(|old| !old.is_dir()) || new.is_some_and(|new| !new.is_dir()) {
                return Ok(false);
            }
            // What the earlier edit has made a folder is something else again.
            if new.is_none()
                && under.find(&place)?.is_some_and(|entry| entry.kind != LayerKind::Folder)
            {
                return Ok(false);
            }
            let before = before.filter(|_| old.is_some());
            let now = now.filter(|_| new.is_some());
            waiting.push((before, now, place));
            continue;
        }
        let from = match (old, new) {
            (Some(old), Some(new)) => {
                let (before, now) = (before.unwrap_or_default(), now.unwrap_or_default());
                if is_same((&before, old), (&now, new))? {
                    continue;
                }
                (!overlay::is_whiteout(new)).then_some(now)
            }
            (None, Some(new)) => now.filter(|_| !overlay::is_whiteout(new)),
            // The person has taken an edit back: what lies below the edit is seen again.
            (_, None) => match under.find(&place)? {
                None => None,
                Some(LayerEntry { kind: LayerKind::Folder | LayerKind::Special, .. }) => {
                    return Ok(false);
                }
                Some(entry) => Some(entry.host),
            },
        };
        out.push(Difference { path: place, from });
    }
    Ok(true)
}

fn is_same(
    (one, before): (&Path, &Metadata),
    (other, now): (&Path, &Metadata),
) -> Result<bool, FileError> {
    if before.file_type() != now.file_type() || before.mode() != now.mode() {
        return Ok(false);
    }
    if before.is_symlink() {
        return Ok(fs::read_link(one).at("read", one)? == fs::read_link(other).at("read", other)?);
    }
    Ok(!before.is_file() || (before.len() == now.len() && same_content(one, other)?))
}

/// Lays what has changed on top of an earlier run, with the time of now.
pub(crate) fn lay_on_top(
    differences: &[Difference],
    layers: &[PathBuf],
    upper: &Path,
) -> Result<(), FileError> {
    let below = LayerStack::new(layers.to_vec());
    let moment = Moment::now();
    for Difference { path, from } in differences {
        make_parents(&below, upper, path)?;
        let place = upper.join(path);
        let Some(from) = from else {
            overlay::whiteout(&place)?;
            continue;
        };
        if from.is_symlink() {
            let target = fs::read_link(from).at("read", from)?;
            symlink(target, &place).at("make", &place)?;
        } else {
            fs::copy(from, &place).at("copy", from)?;
        }
        moment.stamp(&place)?;
    }
    Ok(())
}

/// Makes one layer of several, the topmost first; gives its key. Its files are further names of theirs, as layers never change.
fn merged(store: &Store, layers: &[Key]) -> Result<Key, FileError> {
    let mut key = KeyBuilder::new("merged layers", 1);
    for layer in layers {
        key.field("layer", &layer.0);
    }
    let key = key.finish();
    let known = store.index().has_layer(&key);
    if !known || !is_there(store, &key) {
        let scratch = store.scratch("merge")?;
        let made = scratch.path().join("upper");
        make_folder(&made, 0o755)?;
        let layers: Vec<PathBuf> = layers.iter().map(|key| store.layer_path(key)).collect();
        merge(&layers, &made)?;
        store.put_layer(&key, &made, Vec::new(), "merged layers")?;
    }
    Ok(key)
}

/// Merges folders of layers into an empty one. What hides something stays, since there are layers below.
fn merge(folders: &[PathBuf], into: &Path) -> Result<(), FileError> {
    let mut waiting = vec![(folders.to_vec(), into.to_path_buf())];
    let mut modes = Vec::new();
    while let Some((folders, into)) = waiting.pop() {
        merge_one(&folders, &into, &mut waiting, &mut modes)?;
    }
    // Once all is in them, the inner ones first: a folder may be one that nothing can be put into.
    modes.iter().rev().try_for_each(|(place, mode)| set_mode(place, *mode))
}

/// Merges what is directly in folders; the folders in them wait, and so do the modes of those.
fn merge_one(
    folders: &[PathBuf],
    into: &Path,
    waiting: &mut Vec<(Vec<PathBuf>, PathBuf)>,
    modes: &mut Vec<(PathBuf, u32)>,
) -> Result<(), FileError> {
    let mut names: BTreeMap<OsString, Vec<(PathBuf, Metadata)>> = BTreeMap::new();
    for folder in folders {
        for (name, metadata) in overlay::list(folder)? {
            names.entry(name.clone()).or_default().push((folder.join(name), metadata));
        }
        if overlay::is_opaque(folder) {
            overlay::make_opaque(into)?;
            break;
        }
    }
    for (name, entries) in names {
        let place = into.join(&name);
        let folders = entries.iter().take_while(|(_, metadata)| metadata.is_dir());
        let folders: Vec<PathBuf> = folders.map(|(path, _)| path.clone()).collect();
        let Some((top, metadata)) = entries.first() else { continue };
        if folders.is_empty() {
            match metadata.is_symlink() {
                // Not every file system gives a link a second name.
                true => {
                    let target = fs::read_link(top).at("read", top)?;
                    symlink(target, &place).at("make", &place)?;
                }
                false if overlay::is_whiteout(metadata) => overlay::whiteout(&place)?,
                false => fs::hard_link(top, &place).at("link", top)?,
            }
            continue;
        }
        make_folder(&place, metadata.mode() & 0o7777 | 0o700)?;
        if folders.len() < entries.len() {
            // What is no folder, or is gone, hides what lies below that.
            overlay::make_opaque(&place)?;
        }
        modes.push((place.clone(), metadata.mode() & 0o7777));
        waiting.push((folders, place));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
