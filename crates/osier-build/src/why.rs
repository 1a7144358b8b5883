//! Why a component has to be built again: the first input that differs from the nearest time it was built.
//!
//! The last few builds of a component are remembered and not just the last one: a change that is taken back is not built
//! again, and what comes after it is told against the state that was gone back to.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use osier_store::{Digest, FileError, Key, Store, TreeNode};

use crate::edited::Change;
use crate::graph::{Component, FetchedPatches, Graph, StepCheck, Strip, Waiver, Work};
use crate::key::KnownInput;
use crate::places::Places;

/// How many builds of a component are remembered.
const BUILDS: usize = 5;

/// What one build was made from: name, value and place of each ingredient.
type Record = Vec<(String, String, String)>;

/// One thing that a component's keys cover, under a name that stays the same from build to build.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ingredient {
    /// What it is, as in `the script of configure`.
    name: String,
    /// Its value, or its digest.
    value: String,
    /// The file that it comes from, with a line where it is known without a look at the recipe.
    place: String,
    /// Whether the value is the digest of a text in which a line can be named.
    text: bool,
}

const SCRIPT: &str = "the script of ";
const FILE: &str = "the file ";
const EDIT: &str = "the edit of ";

pub(crate) fn variable_name(name: &str) -> String {
    format!("the variable {name}")
}

pub(crate) fn package_name(name: &str) -> String {
    format!("the Debian package {name} of the build environment")
}

pub(crate) fn input_name(word: &str, component: &str, output: &str) -> String {
    format!("the output of its {word} {component}:{output}")
}

pub(crate) fn output_name(name: &str) -> String {
    format!("the named output {name}")
}

pub(crate) fn script_name(step: &str) -> String {
    format!("{SCRIPT}{step}")
}

fn record_path(store: &Store, component: &Component) -> PathBuf {
    store.root().join("ingredients").join(format!("{}-{}", component.name, component.target))
}

/// Whether a component was ever built into this store.
pub(crate) fn was_built(store: &Store, component: &Component) -> bool {
    record_path(store, component).exists()
}

/// All that a component's keys are computed from.
pub(crate) struct Basis<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) component: &'a Component,
    pub(crate) needs: Vec<KnownInput>,
    pub(crate) tools: Vec<KnownInput>,
    /// The key of the step of another component that it starts from.
    pub(crate) below: Option<Key>,
    pub(crate) checks: &'a [&'a dyn StepCheck],
    pub(crate) store: &'a Store,
}

impl Basis<'_> {
    /// Lists what the keys of the component's own steps cover, in the order in which it matters.
    fn ingredients(&self) -> Result<Vec<Ingredient>, FileError> {
        let component = self.component;
        let mut list = Vec::new();
        let mut add = |name: String, value: String, place: &str| {
            let text = [SCRIPT, FILE, EDIT].iter().any(|word| name.starts_with(word));
            list.push(Ingredient { name, value, place: place.to_owned(), text });
        };
        if let Some(below) = self.below {
            let name = "the step of another component that it starts from";
            add(name.into(), below.to_string(), &component.origin);
        }
        for id in &component.steps {
            let step = self.graph.step(*id);
            match &step.work {
                Work::Unpack(source) => {
                    for archive in &source.archives {
                        let name = format!("the source {}", archive.file);
                        add(name, archive.digest.to_string(), &step.origin);
                        let format = archive.format.as_deref().unwrap_or("the one it has");
                        let how = match archive.strip {
                            Some(Strip::Folders(count)) => format!("{format}, strip {count}"),
                            Some(Strip::Lone) => format!("{format}, without its lone folder"),
                            None => "not unpacked".to_owned(),
                        };
                        let how = format!("{how} {}", archive.into).trim_end().to_owned();
                        let name = format!("how the source {} is unpacked", archive.file);
                        add(name, how, &step.origin);
                    }
                    if let Some(folder) = &source.folder {
                        let name = format!("the source folder {}", source.name);
                        add(name, folder.to_string(), &step.origin);
                    }
                }
                Work::Edit(edit) => {
                    for Change { path, node } in &edit.changes {
                        let path = String::from_utf8_lossy(path);
                        let value = match node {
                            None => "gone".to_owned(),
                            Some(TreeNode::Folder { .. }) => "folder".to_owned(),
                            Some(TreeNode::Symlink { target }) => {
                                format!("link to {}", String::from_utf8_lossy(target))
                            }
                            Some(TreeNode::File { mode, content, .. }) => {
                                format!("{content} {mode:o}")
                            }
                        };
                        add(format!("{EDIT}{path}"), value, &format!("{}/{path}", step.origin));
                    }
                }
                // Told behind the files, as a new patch is a file first.
                Work::Patch(_) => {}
                Work::Script { text, folder, jobs, .. } => {
                    let digest = self.store.put_bytes(text.as_bytes())?;
                    add(script_name(&step.name), digest.to_string(), &step.origin);
                    add(format!("the folder of {}", step.name), folder.clone(), &step.origin);
                    let name = format!("how {} gets its jobs", step.name);
                    add(name, format!("{jobs:?}"), &step.origin);
                }
            }
            for check in &step.checks {
                let known = self.checks.iter().find(|known| known.name() == check.name);
                let version = known.map_or(0, |known| known.version());
                let name = format!("the check {} of {}", check.name, step.name);
                add(name, format!("{version} {:?}", check.arguments), &step.origin);
            }
        }
        for file in &component.files {
            let digest = self.store.put_bytes(&file.content)?;
            let value = format!("{digest} {}", file.executable);
            add(format!("{FILE}{}", file.path), value, &file.origin);
        }
        for id in &component.steps {
            let step = self.graph.step(*id);
            let Work::Patch(patching) = &step.work else { continue };
            let mut list = patching.debian.clone();
            list.extend(patching.fetched.iter().map(FetchedPatches::name));
            list.extend(patching.own.iter().map(|patch| {
                let turned = if patch.reverse { " -R" } else { "" };
                format!("{} -p{}{turned}", patch.file, patch.strip)
            }));
            add("the list of patches".into(), list.join(", "), &step.origin);
            let waived = |waiver: &Waiver| {
                let what = if waiver.what_fits { "what fits" } else { "nothing" };
                format!("{}: {what}", waiver.pattern)
            };
            let waived: Vec<String> = patching.waivers.iter().map(waived).collect();
            add("what is waived of patches".into(), waived.join(", "), &step.origin);
        }
        for (name, value) in &component.variables {
            add(variable_name(name), value.clone(), &component.origin);
        }
        for (word, inputs) in [("need", &self.needs), ("tool", &self.tools)] {
            for input in inputs {
                let name = input_name(word, &input.name, &input.output);
                add(name, input.digest.to_string(), &component.origin);
            }
        }
        for package in &component.environment.request {
            add(package_name(package), String::new(), &component.origin);
        }
        let pins = component.environment.key.to_string();
        add("the pins of the build environment".into(), pins, "osier.lock");
        for output in &component.outputs {
            add(output_name(&output.name), output.patterns.join(" "), &component.origin);
        }
        Ok(list)
    }

    /// The builds that are remembered, the last one first; one that cannot be read is none.
    fn records(&self) -> Vec<Record> {
        let bytes = fs::read(record_path(self.store, self.component)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Notes what the component was built from.
    pub(crate) fn record(&self) -> Result<(), FileError> {
        let list = self.ingredients()?;
        let record: Record = list.into_iter().map(|one| (one.name, one.value, one.place)).collect();
        let mut records = self.records();
        records.retain(|known| *known != record);
        records.insert(0, record);
        records.truncate(BUILDS);
        let path = record_path(self.store, self.component);
        self.store.put_note(&path, &serde_json::to_vec(&records).unwrap_or_default())
    }

    /// Says in one sentence what differs from the nearest build; nothing where nothing does.
    pub(crate) fn difference(&self, places: &Places) -> Result<Option<String>, FileError> {
        let name = &self.component.name;
        let now = self.ingredients()?;
        let records = self.records();
        let Some(nearest) = records.iter().min_by_key(|record| distance(record, &now)) else {
            return Ok(Some(format!("{name} has not been built before")));
        };
        let because = |what: String, place: &str| {
            Ok(Some(format!("{name} is built again because {what} ({place})")))
        };
        let old: BTreeMap<&str, &str> =
            nearest.iter().map(|(name, value, _)| (name.as_str(), value.as_str())).collect();
        for one in &now {
            let place =
                |number| places.find(&one.name, number).unwrap_or_else(|| one.place.clone());
            match old.get(one.name.as_str()) {
                Some(value) if *value == one.value => {}
                Some(value) if one.text => {
                    let line = changed_line(self.store, value, &one.value);
                    let place = match line {
                        Some(line) if one.name.starts_with(FILE) || one.name.starts_with(EDIT) => {
                            format!("{}:{}", one.place, line + 1)
                        }
                        line => place(line.unwrap_or(0)),
                    };
                    return because(format!("{} changed", one.name), &place);
                }
                Some(value) => {
                    let (before, after) = (value.split(' '), one.value.split(' '));
                    let same = before.zip(after).take_while(|(one, two)| one == two).count();
                    let short = value.len().max(one.value.len()) < 60;
                    let values = if short {
                        format!(", from `{value}` to `{}`", one.value)
                    } else {
                        String::new()
                    };
                    return because(format!("{} changed{values}", one.name), &place(same));
                }
                None => return because(format!("{} is new", one.name), &place(0)),
            }
        }
        match nearest.iter().find(|(known, _, _)| now.iter().all(|one| one.name != *known)) {
            Some((gone, _, place)) => because(format!("{gone} is gone"), place),
            None => Ok(None),
        }
    }
}

/// How many ingredients differ.
fn distance(record: &Record, now: &[Ingredient]) -> usize {
    let old: BTreeMap<&str, &str> =
        record.iter().map(|(name, value, _)| (name.as_str(), value.as_str())).collect();
    let same = now.iter().filter(|one| old.get(one.name.as_str()) == Some(&one.value.as_str()));
    let same = same.count();
    now.len().max(record.len()) - same
}

/// Finds the first line that differs between two stored texts, counted from 0.
fn changed_line(store: &Store, old: &str, new: &str) -> Option<usize> {
    let text = |value: &str| {
        let digest: Digest = value.split(' ').next()?.parse().ok()?;
        Some(String::from_utf8_lossy(&store.read_blob(&digest).ok()?).into_owned())
    };
    let (old, new) = (text(old)?, text(new)?);
    let common = old.lines().zip(new.lines()).take_while(|(one, two)| one == two).count();
    (old != new).then_some(common)
}
