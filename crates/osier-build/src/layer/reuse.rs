//! Going on from what an earlier run of a step made, instead of starting clean.
//!
//! A kernel whose configuration changed by one symbol needs a few of its objects anew, and its makefiles know
//! which. A step whose kind says so ([`Reuse`]) is stacked on the layer that the same step left in an earlier
//! build, if the sources, the script and all inputs are the same and the step below left the same files but for
//! those that the kind names. Those are laid on top with a new time, for make to see. The step keeps the key of
//! a clean run; its component's result is marked until a clean build has shown the same bytes.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use osier_store::{FileError, Index, IoContext, Key, Store, overlay};

use crate::graph::Reuse;

/// Most layers that a step lies on beside those of the steps below. Each going on adds two, and every lookup of a
/// file that is nowhere asks all of them.
pub(crate) const MOST_LAYERS: usize = 16;

/// Most earlier runs that are compared.
const MOST_COMPARED: usize = 4;

/// What has to be known of a step to find an earlier run of it.
#[derive(Debug, Clone)]
pub(crate) struct ReuseCall<'g> {
    pub(crate) reuse: &'g Reuse,
    /// What all runs have in common of which one can go on from the other.
    pub(crate) class: Key,
    /// The step below.
    pub(crate) below: Key,
    /// The layer of the step below.
    pub(crate) layer: PathBuf,
}

/// An earlier run of a step: the layers that it made, the topmost first, and the step that it lay on.
pub(crate) type Run = (Vec<Key>, Key);

/// Gives the last runs of a class that are worth comparing, but for that of this key. They stay in the store.
pub(crate) fn earlier(
    store: &Store,
    own: &Key,
    class: &Key,
    is_worth: impl Fn(&Index, &Run) -> bool,
) -> Result<Vec<Run>, FileError> {
    let look = store.look()?;
    let known: Vec<Run> = {
        let index = store.index();
        let whole = |(key, below): (Key, Key)| {
            let run = (index.layer(&key).filter(|_| key != *own)?, below);
            is_worth(&index, &run).then_some(run)
        };
        index.reusable(class).filter_map(whole).take(MOST_COMPARED).collect()
    };
    look.hold(known.iter().flat_map(|(layers, below)| layers.iter().chain([below]).copied()))?;
    Ok(known)
}

/// Says whether the layer of a key is there as it was recorded.
pub(crate) fn is_there(store: &Store, key: &Key) -> bool {
    store.layer_path(key).is_dir() && store.is_layer_sound(key)
}

/// Finds an earlier run to go on from; gives the layers to lie on, the topmost first.
pub(crate) fn find(
    store: &Store,
    own: &Key,
    call: &ReuseCall<'_>,
) -> Result<Option<Vec<Key>>, FileError> {
    let known = earlier(store, own, &call.class, |index, (layers, below)| {
        // A step below that is itself made of several layers would have to be compared as a stack.
        let alone = index.layer(below).is_some_and(|layers| layers.len() == 1);
        alone && layers.len() < MOST_LAYERS
    })?;
    for (mut layers, below) in known {
        let there = layers.iter().chain([&below]).all(|key| is_there(store, key));
        if there && same(&call.layer, &store.layer_path(&below), Path::new("/"), &call.reuse.files)?
        {
            layers.push(below);
            return Ok(Some(layers));
        }
    }
    Ok(None)
}

/// Lays the files that may differ into the layer of the step that is about to run, with the time of now.
pub(crate) fn lay_on_top(call: &ReuseCall<'_>, upper: &Path) -> Result<(), FileError> {
    for file in &call.reuse.files {
        let path = file.strip_prefix("/").unwrap_or(file);
        let from = call.layer.join(path);
        if !from.is_file() {
            continue;
        }
        let mut folder = PathBuf::new();
        for part in path.parent().into_iter().flat_map(Path::components) {
            folder.push(part);
            let (made, like) = (upper.join(&folder), call.layer.join(&folder));
            if !made.is_dir() {
                let mode = like.metadata().at("read", &like)?.permissions().mode();
                fs::DirBuilder::new().mode(mode).create(&made).at("make", &made)?;
                fs::set_permissions(&made, fs::Permissions::from_mode(mode))
                    .at("set the mode of", &made)?;
            }
        }
        let to = upper.join(path);
        fs::copy(&from, &to).at("copy", &from)?;
    }
    Ok(())
}

/// Says whether two layers hold the same, times and the content of `files` left out.
fn same(one: &Path, other: &Path, place: &Path, files: &[PathBuf]) -> Result<bool, FileError> {
    let mut waiting = vec![(one.to_path_buf(), other.to_path_buf(), place.to_path_buf())];
    while let Some((one, other, place)) = waiting.pop() {
        if !is_same_folder((&one, &other), &place, files, &mut waiting)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compares what is directly in two folders; the folders in them wait.
fn is_same_folder(
    (one, other): (&Path, &Path),
    place: &Path,
    files: &[PathBuf],
    waiting: &mut Vec<(PathBuf, PathBuf, PathBuf)>,
) -> Result<bool, FileError> {
    let (mine, theirs) = (overlay::list(one)?, overlay::list(other)?);
    if mine.len() != theirs.len() || overlay::is_opaque(one) != overlay::is_opaque(other) {
        return Ok(false);
    }
    for ((name, meta), (other_name, other_meta)) in mine.iter().zip(&theirs) {
        if name != other_name
            || meta.mode() != other_meta.mode()
            || (meta.file_type().is_char_device() && meta.rdev() != other_meta.rdev())
        {
            return Ok(false);
        }
        let (path, other_path, place) = (one.join(name), other.join(name), place.join(name));
        let equal = if meta.is_dir() {
            waiting.push((path, other_path, place));
            true
        } else if meta.is_symlink() {
            fs::read_link(&path).at("read", &path)?
                == fs::read_link(&other_path).at("read", &other_path)?
        } else if meta.is_file() && !files.contains(&place) {
            meta.len() == other_meta.len() && same_content(&path, &other_path)?
        } else {
            true
        };
        if !equal {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(crate) fn same_content(one: &Path, other: &Path) -> Result<bool, FileError> {
    let (mut mine, mut theirs) =
        (File::open(one).at("open", one)?, File::open(other).at("open", other)?);
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = mine.read(&mut left).at("read", one)?;
        if count == 0 {
            return Ok(true);
        }
        match theirs.read_exact(&mut right[..count]) {
            Ok(()) if left[..count] == right[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error).at("read", other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn layer(change: impl Fn(&Path)) -> tempfile::TempDir {
        let layer = tempfile::tempdir().unwrap();
        let source = layer.path().join("build/source");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join(".config"), "A=y").unwrap();
        fs::write(source.join("tool"), "tool").unwrap();
        symlink("tool", source.join("link")).unwrap();
        change(&source);
        layer
    }

    #[test]
    fn layers_differ_by_all_but_the_named_files() {
        let base = layer(|_| {});
        let equal = |change: fn(&Path)| {
            let other = layer(change);
            let files = [PathBuf::from("/build/source/.config")];
            same(base.path(), other.path(), Path::new("/"), &files).unwrap()
        };
        assert!(equal(|_| {}));
        assert!(equal(|source| fs::write(source.join(".config"), "A=n, B=y").unwrap()));
        let changes: [fn(&Path); 6] = [
            |source| fs::remove_file(source.join(".config")).unwrap(),
            |source| fs::write(source.join("tool"), "loot").unwrap(),
            |source| fs::write(source.join("more"), "").unwrap(),
            |source| {
                fs::set_permissions(source.join("tool"), fs::Permissions::from_mode(0o755))
                    .unwrap();
            },
            |source| {
                fs::remove_file(source.join("link")).unwrap();
                symlink("tool2", source.join("link")).unwrap();
            },
            |source| fs::create_dir(source.join("folder")).unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert!(!equal(change), "change {number}");
        }
    }
}
