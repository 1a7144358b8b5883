//! Why the images of a system have to be made again: what of the system differs from the last time they were made.

use std::fs;
use std::path::PathBuf;

use osier_build::{ComponentId, Survey};
use osier_product::Parts;
use osier_recipe::{ComponentRef, EffectiveSystem, Image, System, Target};
use osier_store::{Digest, Store, Tree};

use crate::product::{self, Planned};
use crate::project::Project;
use crate::project::library::Entry;
use crate::report::problem::{Code, Outcome, Problem};

/// What images were made from: a name and a value for each ingredient, in order.
type Record = Vec<(String, String)>;

const MANIFEST: &str = "the manifest";
const OVERLAY: &str = "overlay ";
const COMPONENT: &str = "component ";

/// No recipe's name holds an `@`, so that no component's record has this name.
fn record_path(store: &Store, system: &System, target: Target) -> PathBuf {
    store.root().join("ingredients").join(format!("@{}-{target}", system.name))
}

fn ingredients(store: &Store, system: &System, parts: &Parts) -> Outcome<Record> {
    let areas = parts.areas.iter().map(|(name, _, digest)| (name.clone(), digest.to_string()));
    let mut list: Record = areas.collect();
    let manifest = store.put_bytes(parts.manifest.1.as_bytes())?;
    list.push((MANIFEST.to_owned(), manifest.to_string()));
    list.extend(system.images.iter().map(|image| (how(image), written(image))));
    Ok(list)
}

fn how(image: &Image) -> String {
    format!("how the image {} is written", image.name)
}

fn written(image: &Image) -> String {
    let Image { format, compression, level, size, .. } = image;
    let (format, compression) = (format.as_str(), compression.as_str());
    let level = level.map(|level| format!(" {level}")).unwrap_or_default();
    let size = size.map(|size| format!(", {size} bytes")).unwrap_or_default();
    format!("{format} {compression}{level}{size}")
}

/// Notes what the images of a system were made from.
pub(crate) fn record(store: &Store, system: &System, target: Target, parts: &Parts) -> Outcome<()> {
    let record = ingredients(store, system, parts)?;
    let path = record_path(store, system, target);
    Ok(store.put_note(&path, &serde_json::to_vec(&record).unwrap_or_default())?)
}

/// Says in one sentence why a system has to be built again, all of whose components are built or one of which is open.
pub(crate) fn run(
    project: &Project<'_>,
    (system, entry): (&System, &Entry),
    planned: &Planned,
    survey: &Survey,
    why: impl Fn(ComponentId) -> String,
) -> Outcome<String> {
    let (store, target) = (project.store, project.target()?);
    let graph = &planned.graph;
    let waits = |id: &&ComponentId| {
        survey.open.contains(id) && !osier_product::is_product(graph.component(**id))
    };
    if let Some(open) = graph.goals.iter().find(waits) {
        let name = &graph.component(*open).name;
        return Ok(format!(
            "{} depends on {name}, which must be rebuilt first: {}",
            system.name,
            why(*open)
        ));
    }
    let effective = system.effective(target);
    let output = |component: &ComponentRef| product::output(graph, &survey.done, component);
    let built = format!("{} is built, and nothing that it is built from has changed", system.name);
    if system.images.is_empty() {
        return Ok(built);
    }
    let parts = product::parts(store, entry, &effective, &output)?;
    let is_made = |id| {
        let made = osier_product::file_of(store, &survey.done, id).ok().flatten();
        made.is_some_and(|(digest, _)| store.has_blob(&digest))
    };
    let images = system.images.iter().zip(planned.images.concat());
    let open = images.filter(|(_, id)| !is_made(*id)).map(|(image, _)| image.name.as_str());
    let open: Vec<&str> = open.collect();
    let made = match open.as_slice() {
        [] => return Ok(built),
        [image] => format!("the image {image} of {} is made again", system.name),
        images => format!("the images {} of {} are made again", images.join(" and "), system.name),
    };
    let bytes = fs::read(record_path(store, system, target)).unwrap_or_default();
    let Ok(old) = serde_json::from_slice::<Record>(&bytes) else {
        return Ok(format!("{} has not been built before", system.name));
    };
    let now = ingredients(store, system, &parts)?;
    let difference = difference(store, entry, &effective, &old, &now)?;
    Ok(format!("{made} because {difference}"))
}

/// Names the first ingredient that differs, and its place.
fn difference(
    store: &Store,
    entry: &Entry,
    system: &EffectiveSystem<'_>,
    old: &Record,
    now: &Record,
) -> Outcome<String> {
    let file = &entry.label;
    let known = |list: &Record, name: &str| {
        list.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    for (name, value) in now {
        let before = known(old, name);
        if before.as_ref() == Some(value) {
            continue;
        }
        if let (Some(overlay), Some(before)) = (name.strip_prefix(OVERLAY), &before) {
            let found = changed_file(store, before, value)?;
            if let Some((path, what)) = found {
                let place = entry.label_of(&format!("{overlay}/{path}"));
                return Ok(format!("the file {path} of the overlay `{overlay}` {what} ({place})"));
            }
        }
        if name == MANIFEST
            && let Some(before) = &before
        {
            let line = changed_line(store, before, value);
            let manifest = system.manifest.map_or("manifest", |manifest| manifest.as_str());
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            return Ok(format!("the manifest changed ({}{line})", entry.label_of(manifest)));
        }
        let line = place(system, name).map(|line| format!(":{line}")).unwrap_or_default();
        let name = name.strip_prefix(COMPONENT).map_or_else(
            || name.clone(),
            |component| format!("the output of its component {component}"),
        );
        return Ok(match before {
            None => format!("{name} is new ({file}{line})"),
            Some(before) if before.len().max(value.len()) < 60 => {
                format!("{name} changed, from `{before}` to `{value}` ({file}{line})")
            }
            Some(_) => format!("{name} changed ({file}{line})"),
        });
    }
    if let Some((gone, _)) = old.iter().find(|(name, _)| known(now, name).is_none()) {
        return Ok(format!("the {} is gone ({file})", gone.trim_start_matches("the ")));
    }
    if old != now {
        return Ok(format!("the order of its overlays and components changed ({file})"));
    }
    Ok("its file is no longer in the store".to_owned())
}

/// The line in which a system names an overlay or a component.
fn place(system: &EffectiveSystem<'_>, name: &str) -> Option<usize> {
    let origin = &system.system.origin;
    if let Some(component) = name.strip_prefix(COMPONENT) {
        let named = system.components.iter().find(|named| named.value.to_string() == component)?;
        return Some(origin.line(&named.span));
    }
    let overlay = name.strip_prefix(OVERLAY)?;
    let named = system.overlays.iter().find(|named| named.as_str() == overlay)?;
    Some(origin.line(&named.span))
}

/// Finds the first path at which two stored trees differ, and what became of it; folders come after what is in them.
fn changed_file(store: &Store, old: &str, now: &str) -> Outcome<Option<(String, &'static str)>> {
    let tree = |digest: &str| -> Outcome<Option<Tree>> {
        let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
        // What was long ago may be gone.
        Ok(store.tree(&digest).ok())
    };
    let Some(now) = tree(now)? else {
        return Err(Problem::of(Code::File, "a stored overlay cannot be read"));
    };
    let Some(old) = tree(old)? else { return Ok(None) };
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let changed = now.iter().filter_map(|(path, node)| match old.get(path) {
        None => Some((shown(path), "is new")),
        Some(before) if before != node => Some((shown(path), "changed")),
        Some(_) => None,
    });
    let gone = old.iter().filter(|(path, _)| now.get(path).is_none());
    let gone = gone.map(|(path, _)| (shown(path), "is gone"));
    // A new file below a new folder says more than the folder.
    Ok(changed.chain(gone).max_by_key(|(path, _)| path.matches('/').count()))
}

/// Finds the first line that differs between two stored texts, counted from 1; what was long ago may be gone.
fn changed_line(store: &Store, old: &str, now: &str) -> Option<usize> {
    let text = |digest: &str| {
        let bytes = store.read_blob(&digest.parse().ok()?).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (old, now) = (text(old)?, text(now)?);
    Some(old.lines().zip(now.lines()).take_while(|(one, two)| one == two).count() + 1)
}
