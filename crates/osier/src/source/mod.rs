//! Where sources and packages come from: pins in osier.lock, made and moved here, and what is fetched by them.
//!
//! Each provider of sources has a file: what it pins a source to, and where that is to be had. [`pin`] and [`place`] name them all.

mod debian;
pub(crate) mod git;
pub(crate) mod tools;
mod url;

use std::collections::BTreeSet;
use std::rc::Rc;

use osier_build::MissingPin;
use osier_recipe::{LockedFile, LockedSource, Pin, Source, SourceKind};

use crate::network::Place;
use crate::report::event::Event;
use crate::report::problem::{Code, Outcome, Problem, unknown};
use crate::session::Session;
use debian::Archives;

/// A source that is to be pinned.
struct Asked<'a> {
    recipe: &'a str,
    source: &'a Source,
    /// The suite of the recipe or the project.
    suite: &'a str,
    /// The version of the recipe, empty where it has none.
    version: &'a str,
}

/// Finds out what a source is pinned to; nothing for a folder of the project, which is taken as it is.
fn pin(
    session: &mut Session<'_>,
    asked: &Asked<'_>,
    archives: &mut Archives<'_>,
) -> Outcome<Option<LockedSource>> {
    match &asked.source.kind {
        SourceKind::Debian { .. } => debian::pin(asked, archives).map(Some),
        SourceKind::Url { .. } => url::pin(asked, &session.network).map(Some),
        SourceKind::Git { .. } => git::pin(session, asked).map(Some),
        SourceKind::Path { .. } => Ok(None),
    }
}

/// Says where a pinned file of a source is to be had.
pub(crate) fn place(source: &LockedSource, file: &LockedFile) -> Place {
    match (&file.place, &source.pin) {
        (osier_recipe::Place::Pool(path), _) => Place::Pool(path.clone()),
        (osier_recipe::Place::Urls(urls), _) => Place::Urls(urls.clone()),
        (osier_recipe::Place::Made, Pin::Git { address, commit }) => {
            Place::Git { address: address.clone(), commit: commit.clone() }
        }
        (osier_recipe::Place::Made, _) => Place::Urls(Vec::new()),
    }
}

/// Makes the pins that a plan lacks, and writes the lock.
pub(crate) fn add(session: &mut Session<'_>, missing: &[MissingPin]) -> Outcome<()> {
    let reporter = &session.workplace.reporter;
    if session.workplace.global.locked {
        let mut problem = Problem::of(
            Code::MissingPin,
            format!("osier.lock lacks {} pin(s), but --locked forbids adding them", missing.len()),
        )
        .hint("run the same command without --locked, and commit the change of osier.lock");
        for pin in missing {
            problem.body.push_str(&format!("  {}\n", describe(pin)));
        }
        return Err(problem);
    }
    let network = Rc::clone(&session.network);
    let mut archives = Archives::new(&network);
    for missing in missing {
        match missing {
            MissingPin::Environment { suite, request } => {
                let archive = archives.open(suite)?;
                let lock = &mut session.project.lock;
                let packages = debian::pin_environment(lock, &archive, suite, request, None)?;
                let suite = suite.clone();
                reporter.tell(&Event::EnvironmentPinned { suite, packages });
            }
            MissingPin::Source { recipe, suite, version, source } => {
                let version = version.as_deref().unwrap_or_default();
                let asked = Asked { recipe, source, suite, version };
                let Some(locked) = pin(session, &asked, &mut archives)? else { continue };
                reporter.tell(&Event::SourcePinned {
                    recipe: recipe.clone(),
                    source: source.name.value.clone(),
                    pin: pinned(&locked),
                });
                session.project.lock.add_source(locked);
            }
        }
    }
    session.project.write_lock()
}

fn describe(pin: &MissingPin) -> String {
    match pin {
        MissingPin::Environment { suite, request } => {
            format!("the build environment {} from {suite}", request.join(" "))
        }
        MissingPin::Source { recipe, source, .. } => {
            format!("the source `{}` of `{recipe}`", source.name)
        }
    }
}

/// What a source is pinned to, for people.
fn pinned(source: &LockedSource) -> String {
    match &source.pin {
        Pin::Debian { package, version, .. } => format!("{package} {version}"),
        Pin::Url { .. } => {
            source.files.iter().map(|file| file.name.clone()).collect::<Vec<_>>().join(" ")
        }
        Pin::Git { commit, .. } => commit.clone(),
    }
}

/// Moves pins: drops those of the named recipes, or all, makes them anew and prints what changed.
pub(crate) fn update(session: &mut Session<'_>, names: &[String]) -> Outcome<()> {
    let Session { project, network, .. } = session;
    let known: BTreeSet<String> =
        project.lock.sources().map(|source| source.recipe.clone()).collect();
    for name in names {
        if !known.contains(name) {
            let known: Vec<String> = known.into_iter().collect();
            return Err(unknown("pinned recipe", name, &known));
        }
    }
    let old = project.lock.clone();
    let mut archives = Archives::new(network);
    for source in old.sources() {
        if !names.is_empty() && !names.contains(&source.recipe) {
            continue;
        }
        let recipe = project.read_recipe(&source.recipe)?;
        let Some(current) = recipe.sources.iter().find(|current| current.name.value == source.name)
        else {
            continue;
        };
        // Of the others the recipe itself says the very bytes.
        if !matches!(current.kind, SourceKind::Debian { .. }) {
            continue;
        }
        let suite = recipe.suite.as_ref().map_or(project.suite.as_str(), |suite| suite.as_str());
        let asked = Asked { recipe: &source.recipe, source: current, suite, version: "" };
        let new = debian::pin(&asked, &mut archives)?;
        project.lock.add_source(new);
    }
    if names.is_empty() {
        project.lock.retain_environments(|_| false);
        for environment in old.environments() {
            let archive = archives.open(&environment.suite)?;
            debian::pin_environment(
                &mut project.lock,
                &archive,
                &environment.suite,
                &environment.request,
                Some(network),
            )?;
        }
    }
    let mut changes = 0;
    let report = &project.workplace.reporter;
    for new in project.lock.sources() {
        let before = old.source(&new.recipe, &new.name);
        if before != Some(new) {
            changes += 1;
            report.result(format!(
                "{}:{}  {} -> {}",
                new.recipe,
                new.name,
                before.map_or("nothing".into(), pinned),
                pinned(new)
            ));
        }
    }
    for new in project.lock.packages() {
        let before = old.packages().find(|known| {
            known.name == new.name
                && known.suite == new.suite
                && known.architecture == new.architecture
        });
        if before.map(|known| &known.sha256) != Some(&new.sha256) {
            changes += 1;
            let before = before.map_or("nothing", |known| known.version.as_str());
            report.result(format!("{}  {before} -> {}", new.name, new.version));
        }
    }
    if changes == 0 {
        report.result("every pin is up to date");
        return Ok(());
    }
    project.write_lock()
}
