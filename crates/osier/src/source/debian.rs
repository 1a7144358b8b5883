//! Pins of what Debian's archive has: source packages, and the packages of build environments.

use std::collections::BTreeSet;
use std::rc::Rc;

use osier_debian::{Archive, PackageEntry, Wanted, closure_without};
use osier_recipe::{
    Lock, LockedEnvironment, LockedFile, LockedPackage, LockedSource, Pin, SourceKind,
};
use osier_store::Digest;

use super::Asked;
use crate::network::{Download, Network, OTHER_MIRROR, Place, archive_problem};
use crate::project::BUILD;
use crate::report::problem::{Code, Outcome, Problem, chain};

/// The suites of the archive that one command has opened.
pub(super) struct Archives<'n> {
    network: &'n Network<'n>,
    open: Vec<(String, Rc<Archive<'n>>)>,
}

impl<'n> Archives<'n> {
    pub(super) fn new(network: &'n Network<'_>) -> Self {
        Self { network, open: Vec::new() }
    }

    /// Opens a suite, once.
    pub(super) fn open(&mut self, suite: &str) -> Outcome<Rc<Archive<'n>>> {
        if let Some((_, archive)) = self.open.iter().find(|(name, _)| name == suite) {
            return Ok(Rc::clone(archive));
        }
        let archive = Rc::new(self.network.archive(suite, BUILD.debian())?);
        self.open.push((suite.to_owned(), Rc::clone(&archive)));
        Ok(archive)
    }
}

/// Pins the packages of an environment; where a network is given, to versions that a mirror really serves.
pub(super) fn pin_environment(
    lock: &mut Lock,
    archive: &Archive<'_>,
    suite: &str,
    request: &[String],
    network: Option<&Network<'_>>,
) -> Outcome<usize> {
    let index = archive.packages().map_err(|error| archive_problem(&error))?;
    let wanted: Vec<Wanted> = request.iter().map(|name| Wanted::named(name)).collect();
    let mut unserved = BTreeSet::new();
    let packages = loop {
        let packages = closure_without(index, &wanted, &unserved).map_err(|error| {
            if unserved.is_empty() {
                Problem::of(Code::Unsatisfiable, chain(&error))
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
        architecture: BUILD.debian().to_owned(),
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
    let message = format!(
        "the suite {suite} lists packages that no mirror serves, and no other versions that fit"
    );
    let mut problem = Problem::of(Code::NotServed, message).hint(OTHER_MIRROR);
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
pub(super) fn pin(asked: &Asked<'_>, archives: &mut Archives<'_>) -> Outcome<LockedSource> {
    let network = archives.network;
    let Asked { recipe, source, suite, .. } = *asked;
    let SourceKind::Debian { package, version: exact, suite: own, .. } = &source.kind else {
        return Err(Problem::defect("a source of another kind was taken for a Debian source"));
    };
    let suite = own.as_ref().map_or(suite, |own| own.as_str());
    let archive = archives.open(suite)?;
    let index = archive.sources().map_err(|error| archive_problem(&error))?;
    let candidates = index.candidates(package);
    if candidates.is_empty() {
        let known: Vec<String> =
            index.entries().iter().map(|entry| entry.package.clone()).collect();
        let mut problem = Problem::of(
            Code::NoSuchPackage,
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
        "no mirror serves a version of the source package `{}` that `{recipe}` can use; the suite {suite} lists {}",
        package.value,
        listed.join(", ")
    );
    Err(Problem::of(Code::NotServed, message).hint(OTHER_MIRROR))
}
