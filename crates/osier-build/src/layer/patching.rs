//! The patch step: patches put on the layers below, by osier itself, and what became of each kept beside the log.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use osier_patch::{
    Allowance, Found, Node, ParseError, Patch, PatchReport, Problem, Queued, Source, classify,
    series,
};
use osier_recipe::glob_matches;
use osier_store::{FileError, IoContext, Key, LayerEntry, LayerKind, LayerStack, Store, overlay};

use crate::graph::{Component, FetchedPatches, Patching, Waiver};
use crate::layer::patch_file::{self, LIST, patch_fits};
use crate::layer::upper::{self, Moment};

/// The folder of a step's root that sources lie in.
const BUILD: &str = "build";

/// The sources of a component, as the layers hold them. No symbolic link is followed.
struct Sources<'a>(&'a LayerStack);

impl Source for Sources<'_> {
    type Error = FileError;

    fn look(&self, path: &Path) -> Result<Found, FileError> {
        let find = |path: &Path| self.0.find(&Path::new(BUILD).join(path));
        if let Some(entry) = find(path)? {
            let host = &entry.host;
            return Ok(match entry.kind {
                LayerKind::Folder => Found::Folder,
                LayerKind::Special => Found::Special,
                LayerKind::File => Found::Node(Node::File {
                    content: fs::read(host).at("read", host)?,
                    mode: entry.metadata.mode() & 0o7777,
                }),
                LayerKind::Symlink => {
                    let target = fs::read_link(host).at("read", host)?;
                    Found::Node(Node::Symlink { target: target.as_os_str().as_bytes().to_vec() })
                }
            });
        }
        for above in path.ancestors().skip(1).take_while(|above| !above.as_os_str().is_empty()) {
            match find(above)?.map(|entry| entry.kind) {
                None => {}
                Some(LayerKind::Folder) => break,
                Some(kind) => {
                    let link = kind == LayerKind::Symlink;
                    return Ok(Found::Blocked { by: above.to_path_buf(), link });
                }
            }
        }
        Ok(Found::Nothing)
    }
}

/// Where the patches of a component are put on its sources.
pub(crate) struct Ground<'a> {
    pub(crate) store: &'a Store,
    /// The patch step.
    pub(crate) key: &'a Key,
    pub(crate) component: &'a Component,
}

impl Ground<'_> {
    /// Puts patches on the layers below; what has changed goes to `upper`, and what became of each patch to the log, and beside
    /// it.
    pub(crate) fn patch(
        &self,
        work: &Patching,
        stack: &LayerStack,
        upper: &Path,
    ) -> Result<Vec<PatchReport>, FileError> {
        let sources = Sources(stack);
        let row = self.row(work, &sources)?;
        let outcome = classify(&sources, &row)?;
        write(upper, stack, &outcome.changes)?;
        let reports = outcome.reports;
        let mut text = osier_patch::text(&reports);
        for Waiver { pattern, .. } in &work.waivers {
            if !row.iter().any(|queued| glob_matches(pattern, file_of(&queued.name))) {
                text.push_str(&format!(
                    "the recipe waives `{pattern}`, but there is no such patch\n"
                ));
            }
        }
        let (log, record) = (self.store.log_path(self.key), record_path(self.store, self.key));
        let json = serde_json::to_vec(&reports).map_err(io::Error::from).at("write", &record)?;
        self.store.clear(&log).and_then(|()| self.store.clear(&record))?;
        fs::write(&log, text).at("write", &log)?;
        fs::write(&record, json).at("write", &record)?;
        Ok(reports)
    }

    /// Lines up the patches: Debian's own, then those that are fetched, then those beside the recipe.
    fn row(&self, work: &Patching, sources: &Sources<'_>) -> Result<Vec<Queued>, FileError> {
        let mut row = Vec::new();
        for (number, source) in work.debian.iter().enumerate() {
            for (name, read) in debian(sources, source)? {
                let name = if number == 0 { name } else { format!("{source}/{name}") };
                queue(&mut row, work, &name, source, read);
            }
        }
        for wanted in &work.fetched {
            for (name, read) in fetched(sources, wanted)? {
                let Component { recipe, version, .. } = self.component;
                let file = name.rsplit(':').next().unwrap_or(&name);
                let read = match patch_fits(file, recipe, version) {
                    Ok(()) => read,
                    Err(other) => Err(format!("{other}, and `{recipe}` is {version}")),
                };
                queue(&mut row, work, &name, &work.source, read);
            }
        }
        for own in &work.own {
            let file = self.component.files.iter().find(|file| file.path == own.file);
            let content = file.map(|file| &*file.content).unwrap_or_default();
            let read = patch_file::read(&own.file, content, own.strip).map(|patches| {
                if own.reverse {
                    return patches.iter().rev().map(Patch::reversed).collect();
                }
                patches
            });
            queue(&mut row, work, &own.file, &work.source, read.map_err(|error| error.to_string()));
        }
        Ok(row)
    }
}

/// The file of a patch, whose name may say which of its mails it is.
fn file_of(name: &str) -> &str {
    name.split(" (mail ").next().unwrap_or(name)
}

/// Appends what a file of patches holds.
fn queue(
    row: &mut Vec<Queued>,
    work: &Patching,
    file: &str,
    folder: &str,
    read: Result<Vec<Patch>, String>,
) {
    let allowance = work
        .waiver(file)
        .map(|waiver| Allowance { what_fits: waiver.what_fits, reason: waiver.reason.clone() });
    let mut add = |name: &str, patch| {
        let (name, folder) = (name.to_owned(), PathBuf::from(folder));
        row.push(Queued { name, patch, folder, allowance: allowance.clone() });
    };
    match read {
        Ok(patches) => patches.into_iter().for_each(|patch| add(&patch.name.clone(), Ok(patch))),
        Err(problem) => add(file, Err(problem)),
    }
}

/// A file of patches by name, read.
type Read = (String, Result<Vec<Patch>, String>);

/// Reads Debian's own patches of a source, in the order of their list. A source without one has none.
fn debian(sources: &Sources<'_>, source: &str) -> Result<Vec<Read>, FileError> {
    let place = Path::new(source).join("debian/patches");
    // What is Debian's alone comes before what is the same for all who take the package over (dpkg-source(1)).
    for list in ["debian.series", LIST] {
        match sources.look(&place.join(list))? {
            Found::Nothing => {}
            found => return listed(sources, &place, found, list, "debian/patches/"),
        }
    }
    Ok(Vec::new())
}

/// Reads the patches that lie in another source of the component.
fn fetched(sources: &Sources<'_>, wanted: &FetchedPatches) -> Result<Vec<Read>, FileError> {
    let FetchedPatches { source, pattern } = wanted;
    let entries = sources.0.walk(&Path::new(BUILD).join(source))?;
    let paths = entries.iter().filter(|entry| entry.kind == LayerKind::File);
    let mut paths: Vec<String> =
        paths.map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect();
    paths.retain(|path| glob_matches(pattern, path));
    paths.sort();
    // With the slash behind it; nothing for the source's own.
    let folder_of = |path: &str| path[..path.rfind('/').map_or(0, |slash| slash + 1)].to_owned();
    let is_list = |path: &str| path.rsplit('/').next() == Some(LIST);
    let lists: BTreeSet<String> =
        paths.iter().filter(|path| is_list(path)).map(|path| folder_of(path)).collect();
    let mut read = Vec::new();
    for path in &paths {
        let (folder, found) = (folder_of(path), sources.look(&Path::new(source).join(path))?);
        if is_list(path) {
            let place = Path::new(source).join(&folder);
            read.extend(listed(sources, &place, found, LIST, &format!("{source}:{folder}"))?);
        } else if !lists.contains(&folder) {
            let name = format!("{source}:{path}");
            let patches = match found {
                Found::Node(Node::File { content, .. }) => {
                    patch_file::read(&name, &content, 1).map_err(|error| error.to_string())
                }
                _ => Err("it is not a file".to_owned()),
            };
            read.push((name, patches));
        }
    }
    if read.is_empty() {
        let problem = format!("no file of the source `{source}` has a matching name");
        read.push((wanted.name(), Err(problem)));
    }
    Ok(read)
}

/// Reads the patches of a list, which was found in this folder; `before` is what people know the folder by.
fn listed(
    sources: &Sources<'_>,
    folder: &Path,
    list: Found,
    name: &str,
    before: &str,
) -> Result<Vec<Read>, FileError> {
    let entries = match list {
        Found::Node(Node::File { content, .. }) => {
            series(&content).map_err(|error| error.to_string())
        }
        _ => Err("the list is not a file".to_owned()),
    };
    let entries = match entries {
        Ok(entries) => entries,
        Err(problem) => return Ok(vec![(format!("{before}{name}"), Err(problem))]),
    };
    let mut read = Vec::new();
    for entry in entries {
        let name = format!("{before}{}", entry.name);
        let patches = match sources.look(&folder.join(&entry.name))? {
            Found::Node(Node::File { content, .. }) => {
                match patch_file::read(&name, &content, entry.strip) {
                    // Debian keeps some as a place for later changes.
                    Err(ParseError { problem: Problem::Empty, .. }) => {
                        Ok(vec![Patch::nothing(&name)])
                    }
                    Ok(patches) if entry.reverse => {
                        Ok(patches.iter().rev().map(Patch::reversed).collect())
                    }
                    Ok(patches) => Ok(patches),
                    Err(error) => Err(error.to_string()),
                }
            }
            _ => Err(format!("line {} of the list names it, but it does not exist", entry.line)),
        };
        read.push((name, patches));
    }
    Ok(read)
}

/// Writes changes into a layer's folder, with one time for all.
fn write(
    upper: &Path,
    stack: &LayerStack,
    changes: &BTreeMap<PathBuf, Option<Node>>,
) -> Result<(), FileError> {
    let moment = Moment::now();
    let gone = emptied(stack, changes)?;
    let is_made_below = |folder: &Path| {
        let below = changes.range(folder.to_path_buf()..);
        let mut below = below.take_while(|(path, _)| path.starts_with(folder));
        below.any(|(_, node)| node.is_some())
    };
    for (path, node) in changes {
        let (path, node) = match path.ancestors().filter(|above| gone.contains(*above)).last() {
            Some(folder) => (folder, &None),
            None => (path.as_path(), node),
        };
        let host = upper.join(BUILD).join(path);
        upper::make_parents(stack, upper, &Path::new(BUILD).join(path))?;
        match node {
            Some(Node::File { content, mode }) => {
                fs::write(&host, content).at("write", &host)?;
                upper::set_mode(&host, mode | 0o600)?;
            }
            Some(Node::Symlink { target }) => {
                symlink(OsStr::from_bytes(target), &host).at("link", &host)?;
            }
            // A folder in its place hides it as well.
            None if is_made_below(path) => continue,
            None => {
                overlay::whiteout(&host)?;
                continue;
            }
        }
        moment.stamp(&host)?;
    }
    Ok(())
}

/// The folders of sources that hold nothing any more, as patch(1) and git remove them.
fn emptied(
    stack: &LayerStack,
    changes: &BTreeMap<PathBuf, Option<Node>>,
) -> Result<BTreeSet<PathBuf>, FileError> {
    let mut gone = BTreeSet::new();
    let removed = |path: &Path| changes.get(path).is_some_and(Option::is_none);
    for path in changes.keys().filter(|path| removed(path)) {
        // The folder of the source itself stays.
        for folder in path.ancestors().skip(1).take_while(|folder| folder.components().count() > 1)
        {
            let made = changes.range(folder.to_path_buf()..);
            let made = made.take_while(|(path, _)| path.starts_with(folder));
            let entries = stack.walk(&Path::new(BUILD).join(folder))?;
            let left = |entry: &LayerEntry| {
                let path = folder.join(OsStr::from_bytes(&entry.path));
                !removed(&path) && !gone.contains(&path)
            };
            if made.into_iter().any(|(_, node)| node.is_some()) || entries.iter().any(left) {
                break;
            }
            gone.insert(folder.to_path_buf());
        }
    }
    Ok(gone)
}

/// Where it is kept what became of the patches of a step.
fn record_path(store: &Store, key: &Key) -> PathBuf {
    store.log_path(key).with_extension("patches")
}

/// Reads what became of the patches of a step when it ran; nothing where that is not kept.
pub fn patch_reports(store: &Store, key: &Key) -> Option<Vec<PatchReport>> {
    serde_json::from_slice(&fs::read(record_path(store, key)).ok()?).ok()
}
