//! Why a component has to be built again: the first input that differs from the last time it was built.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use osier_store::{Digest, FileError, IoContext, Key, Store};

use crate::graph::{Component, Graph, StepCheck, Work};
use crate::key::KnownInput;

/// One thing that a component's keys cover, under a name that stays the same from build to build.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ingredient {
    /// What it is, as in `the script of configure`.
    name: String,
    /// Its value, or its digest.
    value: String,
    /// Where a person changes it: file and line.
    place: String,
}

/// Lists what the keys of a component's own steps cover, in the order in which it matters.
fn ingredients(
    graph: &Graph,
    component: &Component,
    needs: &[KnownInput],
    tools: &[KnownInput],
    below: Option<&Key>,
    checks: &[&dyn StepCheck],
    store: &Store,
) -> Result<Vec<Ingredient>, FileError> {
    let mut list = Vec::new();
    let mut add = |name: String, value: String, place: &str| {
        list.push(Ingredient { name, value, place: place.to_owned() });
    };
    if let Some(below) = below {
        add(
            "the step of another component that it starts from".into(),
            below.to_string(),
            &component.origin,
        );
    }
    for id in &component.steps {
        let step = graph.step(*id);
        match &step.work {
            Work::Unpack(source) => {
                for archive in &source.archives {
                    add(
                        format!("the source {}", archive.file),
                        archive.digest.to_string(),
                        &step.origin,
                    );
                }
                if let Some(folder) = &source.folder {
                    add(
                        format!("the source folder {}", source.name),
                        folder.to_string(),
                        &step.origin,
                    );
                }
            }
            Work::Script { text, folder, .. } => {
                let digest = store.put_bytes(text.as_bytes())?;
                add(format!("the script of {}", step.name), digest.to_string(), &step.origin);
                add(format!("the folder of {}", step.name), folder.clone(), &step.origin);
            }
        }
        for check in &step.checks {
            let version = checks
                .iter()
                .find(|known| known.name() == check.name)
                .map_or(0, |known| known.version());
            add(
                format!("the check {} of {}", check.name, step.name),
                format!("{version} {:?}", check.arguments),
                &step.origin,
            );
        }
    }
    for file in &component.files {
        let digest = store.put_bytes(&file.content)?;
        add(
            format!("the file {}", file.path),
            format!("{digest} {}", file.executable),
            &file.origin,
        );
    }
    for (name, value) in &component.variables {
        add(format!("the variable {name}"), value.clone(), &component.origin);
    }
    for (word, inputs) in [("need", needs), ("tool", tools)] {
        for input in inputs {
            add(
                format!("the output of its {word} {}:{}", input.name, input.output),
                input.digest.to_string(),
                &component.origin,
            );
        }
    }
    add("the build environment".into(), component.environment.request.join(" "), &component.origin);
    add(
        "the pins of the build environment".into(),
        component.environment.key.to_string(),
        "osier.lock",
    );
    for output in &component.outputs {
        add(
            format!("the named output {}", output.name),
            output.patterns.join(" "),
            &component.origin,
        );
    }
    Ok(list)
}

fn record_path(store: &Store, component: &Component) -> PathBuf {
    store.root().join("ingredients").join(format!("{}-{}", component.name, component.target))
}

/// Notes what a component was built from.
pub(crate) fn record(
    graph: &Graph,
    component: &Component,
    needs: &[KnownInput],
    tools: &[KnownInput],
    below: Option<&Key>,
    checks: &[&dyn StepCheck],
    store: &Store,
) -> Result<(), FileError> {
    let list = ingredients(graph, component, needs, tools, below, checks, store)?;
    let lines: Vec<(String, String, String)> =
        list.into_iter().map(|one| (one.name, one.value, one.place)).collect();
    let path = record_path(store, component);
    let folder = store.root().join("ingredients");
    fs::create_dir_all(&folder).at("make", &folder)?;
    fs::write(&path, serde_json::to_vec(&lines).unwrap_or_default()).at("write", &path)
}

/// Says in one sentence what differs from the last build; nothing where nothing does, or where it was never built.
pub(crate) fn difference(
    graph: &Graph,
    component: &Component,
    needs: &[KnownInput],
    tools: &[KnownInput],
    below: Option<&Key>,
    checks: &[&dyn StepCheck],
    store: &Store,
) -> Result<Option<String>, FileError> {
    let Ok(bytes) = fs::read(record_path(store, component)) else {
        return Ok(Some(format!("{} has not been built before", component.name)));
    };
    let known: Vec<(String, String, String)> = serde_json::from_slice(&bytes).unwrap_or_default();
    let old: BTreeMap<&str, &str> =
        known.iter().map(|(name, value, _)| (name.as_str(), value.as_str())).collect();
    let now = ingredients(graph, component, needs, tools, below, checks, store)?;
    let name = &component.name;
    for one in &now {
        let sentence = match old.get(one.name.as_str()) {
            Some(value) if *value == one.value => continue,
            Some(value) => {
                let place =
                    match (one.place.rsplit_once(':'), changed_line(store, value, &one.value)) {
                        (Some((file, line)), Some(offset)) if line.parse::<usize>().is_ok() => {
                            format!("{file}:{}", line.parse::<usize>().unwrap_or(1) + offset)
                        }
                        (None, Some(offset)) => format!("{}:{}", one.place, offset + 1),
                        _ => one.place.clone(),
                    };
                let values = if value.len() < 60
                    && one.value.len() < 60
                    && changed_line(store, value, &one.value).is_none()
                    && !is_digest(value)
                {
                    format!(", from `{value}` to `{}`", one.value)
                } else {
                    String::new()
                };
                format!("{name} is built again because {} changed{values} ({place})", one.name)
            }
            None => format!("{name} is built again because {} is new ({})", one.name, one.place),
        };
        return Ok(Some(sentence));
    }
    let gone = known.iter().find(|(known, _, _)| now.iter().all(|one| one.name != *known));
    Ok(gone
        .map(|(gone, _, place)| format!("{name} is built again because {gone} is gone ({place})")))
}

fn is_digest(value: &str) -> bool {
    value.split(' ').next().is_some_and(|word| word.parse::<Digest>().is_ok())
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
