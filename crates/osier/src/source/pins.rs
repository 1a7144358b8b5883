//! Making and moving the pins of osier.lock.

use std::collections::BTreeSet;

use osier_build::MissingPin;
use osier_debian::{Archive, PackageEntry, Wanted, closure_without};
use osier_recipe::{
    Lock, LockedEnvironment, LockedFile, LockedPackage, LockedSource, Pin, Source, SourceKind,
    Target,
};
use osier_store::Digest;

use super::network;
use crate::project::Project;
use crate::report::problem::chain;
use crate::report::problem::{Exit, Outcome, Problem};
use crate::source::network::{Download, Network, Place};

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

fn archives<'n>(network: &'n Network<'_>) -> impl FnMut(&str) -> Outcome<std::rc::Rc<Archive<'n>>> {
    let mut open: Vec<(String, std::rc::Rc<Archive<'n>>)> = Vec::new();
    move |suite| {
        if let Some((_, archive)) = open.iter().find(|(name, _)| name == suite) {
            return Ok(std::rc::Rc::clone(archive));
        }
        let archive = std::rc::Rc::new(network.archive(suite, Target::X86_64.debian())?);
        open.push((suite.to_owned(), std::rc::Rc::clone(&archive)));
        Ok(archive)
    }
}

/// Makes the pins that a plan lacks, and writes the lock.
pub(crate) fn add(
    project: &mut Project<'_>,
    missing: &[MissingPin],
    network: &Network<'_>,
) -> Outcome<()> {
    if project.workplace.global.locked {
        let mut problem = Problem::new(
            "L001",
            Exit::Usage,
            format!("osier.lock lacks {} pin(s), and --locked was given", missing.len()),
        )
        .hint("run the same command without --locked, and keep the change of osier.lock");
        for pin in missing {
            problem.body.push_str(&format!("  {}\n", describe(pin)));
        }
        return Err(problem);
    }
    let mut archive = archives(network);
    for pin in missing {
        match pin {
            MissingPin::Environment { suite, request } => {
                let archive = archive(suite)?;
                let lock = &mut project.lock;
                let packages = pin_environment(lock, &archive, suite, request, None)?;
                project.workplace.reporter.say(format!(
                    "     pin  build environment of {packages} packages from {suite}"
                ));
            }
            MissingPin::Source { recipe, suite, version, source } => {
                let locked = match &source.kind {
                    SourceKind::Debian { suite: own, .. } => {
                        let suite = own.as_ref().map_or(suite.as_str(), |own| own.as_str());
                        debian_source(recipe, source, suite, &*archive(suite)?, network)?
                    }
                    SourceKind::Url { .. } => {
                        url_source(recipe, source, version.as_deref().unwrap_or_default(), network)?
                    }
                    SourceKind::Git { .. } => {
                        crate::source::git::pin(project, recipe, source, network)?
                    }
                    SourceKind::Path { .. } => continue,
                };
                project.workplace.reporter.say(format!(
                    "     pin  {recipe}:{} {}",
                    source.name,
                    pinned(&locked)
                ));
                project.lock.add_source(locked);
            }
        }
    }
    project.write_lock()
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

/// Pins the packages of an environment; where a network is given, to versions that a mirror really serves.
fn pin_environment(
    lock: &mut Lock,
    archive: &Archive<'_>,
    suite: &str,
    request: &[String],
    network: Option<&Network<'_>>,
) -> Outcome<usize> {
    let index = archive.packages().map_err(|error| network::archive_problem(&error))?;
    let wanted: Vec<Wanted> = request.iter().map(|name| Wanted::named(name)).collect();
    let mut unserved = BTreeSet::new();
    let packages = loop {
        let packages = closure_without(index, &wanted, &unserved).map_err(|error| {
            if unserved.is_empty() {
                Problem::new("L003", Exit::Usage, chain(&error))
            } else {
                none_served(suite, &unserved)
            }
        })?;
        let Some(network) = network else { break packages };
        let downloads: Vec<Download> =
            packages.iter().filter_map(|package| package_download(package)).collect();
        let served = network.are_served(&downloads)?;
        let gone = packages.iter().zip(served).filter(|(_, served)| !served);
        let gone = gone.map(|(package, _)| (package.package.clone(), package.version.to_string()));
        let known = unserved.len();
        unserved.extend(gone);
        if unserved.len() == known {
            break packages;
        }
    };
    let mut names = Vec::new();
    for package in &packages {
        names.push((package.package.clone(), package.version.to_string()));
        lock.add_package(locked_package(package, suite));
    }
    let count = names.len();
    lock.add_environment(LockedEnvironment {
        suite: suite.to_owned(),
        architecture: Target::X86_64.debian().to_owned(),
        request: request.to_vec(),
        packages: names,
    });
    Ok(count)
}

fn package_download(package: &PackageEntry) -> Option<Download> {
    Some(Download {
        name: package.filename.clone(),
        digest: package.sha256.parse().ok()?,
        size: Some(package.size),
        from: Place::Pool(package.filename.clone()),
        wanted_by: package.package.clone(),
        recipe: None,
    })
}

/// Says that what the archive lists is served by no mirror, in no version.
fn none_served(suite: &str, unserved: &BTreeSet<(String, String)>) -> Problem {
    let message =
        format!("the suite {suite} lists packages that no mirror serves, and no others that fit");
    let mut problem = Problem::new("F005", Exit::Fetch, message).hint(network::OTHER_MIRROR);
    for (package, version) in unserved {
        problem.body.push_str(&format!("  {package} {version} (listed, not served)\n"));
    }
    problem
}

fn locked_package(package: &PackageEntry, suite: &str) -> LockedPackage {
    LockedPackage {
        name: package.package.clone(),
        version: package.version.to_string(),
        architecture: package.architecture.clone(),
        suite: suite.to_owned(),
        path: package.filename.clone(),
        size: package.size,
        sha256: package.sha256.clone(),
    }
}

/// Pins a Debian source: its newest version that a mirror really serves.
fn debian_source(
    recipe: &str,
    source: &Source,
    suite: &str,
    archive: &Archive<'_>,
    network: &Network<'_>,
) -> Outcome<LockedSource> {
    let SourceKind::Debian { package, version: exact, .. } = &source.kind else {
        return Err(Problem::new(
            "L002",
            Exit::Usage,
            format!("`{}` is no Debian source", source.name),
        ));
    };
    let index = archive.sources().map_err(|error| network::archive_problem(&error))?;
    let candidates = index.candidates(package);
    if candidates.is_empty() {
        let known: Vec<String> =
            index.entries().iter().map(|entry| entry.package.clone()).collect();
        let mut problem = Problem::new(
            "L002",
            Exit::Usage,
            format!(
                "the suite {suite} has no source package `{}`, which `{recipe}` names",
                package.value
            ),
        );
        if let Some(near) = osier_recipe::nearest(package, known.iter().map(String::as_str)) {
            problem = problem.hint(format!("did you mean `{near}`?"));
        }
        return Err(problem);
    }
    let mut listed = Vec::new();
    for entry in candidates {
        let version = entry.version.to_string();
        if exact.as_ref().is_some_and(|wanted| wanted.value != version) {
            listed.push(version);
            continue;
        }
        let probes = entry.files.iter().map(|file| {
            Some(Download {
                name: file.name.clone(),
                digest: file.sha256.parse::<Digest>().ok()?,
                size: Some(file.size),
                from: Place::Pool(entry.path(file)),
                wanted_by: recipe.to_owned(),
                recipe: Some(recipe.to_owned()),
            })
        });
        let Some(probes) = probes.collect::<Option<Vec<_>>>() else { continue };
        // The index lists versions that mirrors have removed: only what is served can be pinned, all of it.
        if entry.dsc().is_none() || network.are_served(&probes)?.contains(&false) {
            listed.push(format!("{version} (listed, not served)"));
            continue;
        }
        let files = entry.files.iter().map(|file| LockedFile {
            name: file.name.clone(),
            place: osier_recipe::Place::Pool(entry.path(file)),
            size: file.size,
            sha256: file.sha256.clone(),
        });
        return Ok(LockedSource {
            recipe: recipe.to_owned(),
            name: source.name.value.clone(),
            pin: Pin::Debian { package: package.value.clone(), version, suite: suite.to_owned() },
            files: files.collect(),
        });
    }
    let message = format!(
        "no version of the source package `{}` that `{recipe}` can use is served; the suite {suite} lists {}",
        package.value,
        listed.join(", ")
    );
    Err(Problem::new("F005", Exit::Fetch, message).hint(network::OTHER_MIRROR))
}

/// Gives the name of the file that an address leads to: without a query, as in `a.tar.gz?inline=false`.
fn file_name(url: &str) -> &str {
    /// As long as the name of a file may be in a lock.
    const LONGEST: usize = 200;
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let name =
        path.split_once('/').and_then(|(_, path)| path.rsplit('/').find(|part| !part.is_empty()));
    let name = name.filter(|name| !matches!(*name, "." | "..")).unwrap_or("source");
    // The end of a long one says how the file is packed, for those who read the lock.
    let mut start = name.len().saturating_sub(LONGEST);
    while !name.is_char_boundary(start) {
        start += 1;
    }
    &name[start..]
}

fn url_source(
    recipe: &str,
    source: &Source,
    version: &str,
    network: &Network<'_>,
) -> Outcome<LockedSource> {
    let SourceKind::Url { urls, sha256, size, .. } = &source.kind else {
        return Err(Problem::new("L002", Exit::Usage, format!("`{}` has no address", source.name)));
    };
    let digest: Digest =
        sha256.parse().map_err(|error| Problem::new("R006", Exit::Usage, error))?;
    let places = source.urls(version);
    let name = file_name(places.first().map_or("", String::as_str)).to_owned();
    let size = match size {
        Some(size) => *size,
        // The size enters the lock, so the file is fetched now.
        None => network.fetched_size(&Download {
            name: name.clone(),
            digest,
            size: None,
            from: Place::Urls(places.clone()),
            wanted_by: recipe.to_owned(),
            recipe: Some(recipe.to_owned()),
        })?,
    };
    let files = vec![LockedFile {
        name,
        place: osier_recipe::Place::Urls(places),
        size,
        sha256: sha256.value.clone(),
    }];
    let url = urls.first().map(|url| url.value.clone()).unwrap_or_default();
    Ok(LockedSource {
        recipe: recipe.to_owned(),
        name: source.name.value.clone(),
        pin: Pin::Url { url },
        files,
    })
}

/// Moves pins: drops those of the named recipes, or all, makes them anew and prints what changed.
pub(crate) fn update(
    project: &mut Project<'_>,
    names: &[String],
    network: &Network<'_>,
) -> Outcome<()> {
    let known: BTreeSet<String> =
        project.lock.sources().map(|source| source.recipe.clone()).collect();
    for name in names {
        if !known.contains(name) {
            let known: Vec<String> = known.into_iter().collect();
            return Err(crate::report::problem::unknown("pinned recipe", name, &known));
        }
    }
    let old = project.lock.clone();
    let mut archive = archives(network);
    for source in old.sources() {
        if !names.is_empty() && !names.contains(&source.recipe) {
            continue;
        }
        let recipe = project.read_recipe(&source.recipe)?;
        let Some(current) = recipe.sources.iter().find(|current| current.name.value == source.name)
        else {
            continue;
        };
        let SourceKind::Debian { suite: own, .. } = &current.kind else { continue };
        let default = recipe.suite.as_ref().map_or(project.suite.as_str(), |suite| suite.as_str());
        let suite = own.as_ref().map_or(default, |own| own.as_str()).to_owned();
        let new = debian_source(&source.recipe, current, &suite, &*archive(&suite)?, network)?;
        project.lock.add_source(new);
    }
    if names.is_empty() {
        project.lock.retain_environments(|_| false);
        for environment in old.environments() {
            pin_environment(
                &mut project.lock,
                &*archive(&environment.suite)?,
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
