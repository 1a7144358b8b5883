//! Dependency closure: which packages a list of packages needs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::dependency::{
    Dependency, DependencyError, Relation, VersionConstraint, parse_dependencies,
};
use crate::index::{PackageEntry, PackageIndex};
use crate::version::Version;

/// How often a choice may be taken back before the search gives up; real suites need none to a few.
const MOST_ATTEMPTS: usize = 500;

/// A package that is asked for by name, with a bound on its version if need be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Name of a package, or of a virtual package.
    pub package: String,
    /// Bound on its version.
    pub version: Option<VersionConstraint>,
}

impl Wanted {
    /// Asks for any version, which means the newest.
    pub fn named(package: &str) -> Self {
        Self { package: package.to_owned(), version: None }
    }
}

impl FromStr for Wanted {
    type Err = DependencyError;

    /// Reads `gcc` or `gcc (>= 4:12)`.
    fn from_str(text: &str) -> Result<Self, DependencyError> {
        let relation: Relation = text.parse()?;
        Ok(Self { package: relation.package, version: relation.version })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.package)?;
        match &self.version {
            Some(version) => write!(formatter, " ({version})"),
            None => Ok(()),
        }
    }
}

/// Tells why no closure was found.
#[derive(Debug, Error)]
pub enum ClosureError {
    /// No package has the name.
    #[error("no package `{package}` in the index{}", near_text(.near))]
    UnknownPackage {
        /// The name asked for.
        package: String,
        /// The nearest names, best first.
        near: Vec<String>,
    },
    /// No package meets a dependency.
    #[error("`{dependency}` cannot be satisfied: needed by {}", .chain.join(", needed by "))]
    Unsatisfiable {
        /// The dependency or the request.
        dependency: String,
        /// Who wants it, from the nearest package to the request.
        chain: Vec<String>,
    },
    /// Two packages of the closure exclude each other.
    #[error("`{package}` conflicts with `{other}` (`{relation}`)")]
    Conflict {
        /// The package that declares the conflict, with its version.
        package: String,
        /// The other one, with its version.
        other: String,
        /// The declaration.
        relation: String,
    },
    /// A package of the closure has a field that cannot be read.
    #[error("package `{package}`")]
    BadDependency {
        /// The package.
        package: String,
        /// What is wrong.
        #[source]
        source: DependencyError,
    },
}

fn near_text(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; similar names: {}", names.join(", ")) }
}

/// Finds all packages that `wanted` needs: `Depends` and `Pre-Depends`, never recommendations.
///
/// Of alternatives the first that is already chosen counts, else the first that can be met; of versions the newest
/// that fits. Where a choice leads to a dead end it is taken back and the next one tried. Essential packages are not
/// added by themselves. The result has dependencies before those who need them, as far as there are no circles, and
/// is the same for any order of `wanted`.
///
/// # Errors
/// [`ClosureError`]; where several attempts failed, the failure of the first.
pub fn closure<'a>(
    index: &'a PackageIndex,
    wanted: &[Wanted],
) -> Result<Vec<&'a PackageEntry>, ClosureError> {
    closure_without(index, wanted, &BTreeSet::new())
}

/// As [`closure`], with none of these packages, each a name and a version: a mirror may list what it does not serve.
///
/// # Errors
/// [`ClosureError`].
pub fn closure_without<'a>(
    index: &'a PackageIndex,
    wanted: &[Wanted],
    without: &BTreeSet<(String, String)>,
) -> Result<Vec<&'a PackageEntry>, ClosureError> {
    let mut wanted = wanted.to_vec();
    wanted.sort_by_cached_key(ToString::to_string);
    wanted.dedup();
    for Wanted { package, .. } in &wanted {
        if index.candidates(package).is_empty() && index.providers(package).next().is_none() {
            return Err(ClosureError::UnknownPackage {
                package: package.clone(),
                near: index.near_misses(package),
            });
        }
    }
    let mut limits = Limits { banned: without.clone(), bounds: BTreeMap::new() };
    let mut first_failure = None;
    for _ in 0..MOST_ATTEMPTS {
        let mut attempt =
            Attempt { index, limits: &limits, chosen: BTreeMap::new(), cache: BTreeMap::new() };
        let failure = match attempt.run(&wanted) {
            Ok(()) => return Ok(order(&attempt.chosen, &attempt.cache)),
            Err(failure) => failure,
        };
        let retry = match failure.remedy {
            Some(Remedy::Ban(package, version)) => {
                limits.banned.insert((package, version.to_string()))
            }
            Some(Remedy::Bound(package, bound)) => limits.bound(package, bound),
            None => false,
        };
        let error = first_failure.get_or_insert(*failure.error);
        if !retry || matches!(error, ClosureError::BadDependency { .. }) {
            break;
        }
    }
    Err(first_failure.expect("an attempt that returns no closure leaves a failure"))
}

/// What earlier attempts have ruled out.
#[derive(Default)]
struct Limits {
    /// Package and version that lead to a dead end.
    banned: BTreeSet<(String, String)>,
    /// Bounds that a package must meet because another one, chosen later, asks for it.
    bounds: BTreeMap<String, Vec<VersionConstraint>>,
}

impl Limits {
    /// Adds a bound; `false` if it is known already, so that a new attempt would end the same way.
    fn bound(&mut self, package: String, bound: VersionConstraint) -> bool {
        let bounds = self.bounds.entry(package).or_default();
        let new = !bounds.contains(&bound);
        if new {
            bounds.push(bound);
        }
        new
    }

    fn allow(&self, entry: &PackageEntry) -> bool {
        let banned = !self.banned.is_empty()
            && self.banned.contains(&(entry.package.clone(), entry.version.to_string()));
        let fits = |bounds: &Vec<VersionConstraint>| {
            bounds.iter().all(|bound| bound.accepts(&entry.version))
        };
        !banned && self.bounds.get(&entry.package).is_none_or(fits)
    }
}

enum Remedy {
    Ban(String, Version),
    Bound(String, VersionConstraint),
}

struct Failure {
    error: Box<ClosureError>,
    remedy: Option<Remedy>,
}

/// A dependency that waits to be met, and the package that has it; `None` for a request.
#[derive(Clone)]
struct Need {
    dependency: Dependency,
    by: Option<String>,
}

struct Choice<'a> {
    entry: &'a PackageEntry,
    by: Option<String>,
}

struct Attempt<'a, 'l> {
    index: &'a PackageIndex,
    limits: &'l Limits,
    chosen: BTreeMap<String, Choice<'a>>,
    /// Package to its parsed dependencies.
    cache: BTreeMap<String, Vec<Dependency>>,
}

impl<'a> Attempt<'a, '_> {
    fn run(&mut self, wanted: &[Wanted]) -> Result<(), Failure> {
        let mut plain: VecDeque<Need> = VecDeque::new();
        // Real choices wait until everything that leaves no choice is in, so that they can prefer what is there.
        let mut open: VecDeque<Need> = VecDeque::new();
        for wanted in wanted {
            let relation =
                Relation { version: wanted.version.clone(), ..Relation::named(&wanted.package) };
            plain.push_back(Need {
                dependency: Dependency { alternatives: vec![relation] },
                by: None,
            });
        }
        while let Some(need) = plain.pop_front().or_else(|| open.pop_front()) {
            let Some(added) = self.meet(&need)? else { continue };
            for dependency in self.dependencies(added)? {
                let one = dependency.alternatives.len() == 1
                    && !self.index.candidates(&dependency.alternatives[0].package).is_empty();
                let need = Need { dependency, by: Some(added.package.clone()) };
                if one { plain.push_back(need) } else { open.push_back(need) }
            }
        }
        self.check_conflicts()
    }

    /// Meets a dependency; returns the package that was newly chosen, if it needed one.
    fn meet(&mut self, need: &Need) -> Result<Option<&'a PackageEntry>, Failure> {
        let alternatives = &need.dependency.alternatives;
        if alternatives.iter().any(|relation| self.is_met(relation)) {
            return Ok(None);
        }
        for relation in alternatives {
            if self.chosen.contains_key(&relation.package) {
                continue;
            }
            let real = self
                .index
                .candidates(&relation.package)
                .iter()
                .filter(|entry| fits(entry, relation));
            let virtual_ = self.index.providers(&relation.package).filter(|entry| {
                provides(entry, relation) && !self.chosen.contains_key(&entry.package)
            });
            if let Some(entry) = real.chain(virtual_).find(|entry| self.limits.allow(entry)) {
                self.chosen.insert(entry.package.clone(), Choice { entry, by: need.by.clone() });
                return Ok(Some(entry));
            }
        }
        // A version chosen earlier may be the obstacle: then another attempt knows the bound from the start.
        let bound = alternatives.iter().find_map(|relation| {
            let choice = self.chosen.get(&relation.package)?;
            let bound = relation.version.clone()?;
            let possible = self
                .index
                .candidates(&relation.package)
                .iter()
                .any(|entry| bound.accepts(&entry.version));
            (possible && !bound.accepts(&choice.entry.version))
                .then(|| Remedy::Bound(relation.package.clone(), bound))
        });
        let asker = need.by.as_ref().and_then(|name| self.chosen.get(name));
        let ban = || {
            asker.map(|choice| {
                Remedy::Ban(choice.entry.package.clone(), choice.entry.version.clone())
            })
        };
        let error = ClosureError::Unsatisfiable {
            dependency: need.dependency.to_string(),
            chain: self.chain(need.by.as_deref()),
        };
        Err(Failure {
            error: Box::new(error),
            remedy: match bound {
                Some(Remedy::Bound(package, bound))
                    if !self
                        .limits
                        .bounds
                        .get(&package)
                        .is_some_and(|known| known.contains(&bound)) =>
                {
                    Some(Remedy::Bound(package, bound))
                }
                _ => ban(),
            },
        })
    }

    fn is_met(&self, relation: &Relation) -> bool {
        self.chosen.get(&relation.package).is_some_and(|choice| fits(choice.entry, relation))
            || self.index.providers(&relation.package).any(|entry| {
                self.chosen
                    .get(&entry.package)
                    .is_some_and(|choice| std::ptr::eq(choice.entry, entry))
                    && provides(entry, relation)
            })
    }

    fn dependencies(&mut self, entry: &PackageEntry) -> Result<Vec<Dependency>, Failure> {
        let read = |field: &str| {
            parse_dependencies(field).map_err(|source| Failure {
                error: Box::new(ClosureError::BadDependency {
                    package: entry.package.clone(),
                    source,
                }),
                remedy: None,
            })
        };
        let mut list = read(&entry.pre_depends)?;
        list.extend(read(&entry.depends)?);
        self.cache.insert(entry.package.clone(), list.clone());
        Ok(list)
    }

    /// Names who wants a package, from the nearest to the request.
    fn chain(&self, by: Option<&str>) -> Vec<String> {
        let mut chain = Vec::new();
        let mut next = by;
        while let Some(name) = next {
            let Some(choice) = self.chosen.get(name) else { break };
            chain.push(format!("{} {}", name, choice.entry.version));
            next = choice.by.as_deref();
        }
        chain.push("the request".to_owned());
        chain
    }

    fn check_conflicts(&self) -> Result<(), Failure> {
        for choice in self.chosen.values() {
            let entry = choice.entry;
            for field in [&entry.conflicts, &entry.breaks] {
                let list = parse_dependencies(field).map_err(|source| Failure {
                    error: Box::new(ClosureError::BadDependency {
                        package: entry.package.clone(),
                        source,
                    }),
                    remedy: None,
                })?;
                for relation in list.iter().flat_map(|dependency| &dependency.alternatives) {
                    if let Some(other) = self.conflicting(entry, relation) {
                        return Err(self.conflict(choice, other, relation));
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the chosen package that a conflict names; a package never conflicts with itself.
    fn conflicting(&self, entry: &PackageEntry, relation: &Relation) -> Option<&Choice<'a>> {
        let direct = self.chosen.get(&relation.package).filter(|other| fits(other.entry, relation));
        let provided = || {
            self.index.providers(&relation.package).find_map(|provider| {
                let choice = self.chosen.get(&provider.package)?;
                (std::ptr::eq(choice.entry, provider) && provides(provider, relation))
                    .then_some(choice)
            })
        };
        [direct, provided()]
            .into_iter()
            .flatten()
            .find(|other| other.entry.package != entry.package)
    }

    fn conflict(&self, one: &Choice<'a>, two: &Choice<'a>, relation: &Relation) -> Failure {
        let name =
            |choice: &Choice<'_>| format!("{} {}", choice.entry.package, choice.entry.version);
        // Whichever was not asked for by the user may have been one choice of several.
        let victim = [two, one].into_iter().find(|choice| choice.by.is_some());
        Failure {
            error: Box::new(ClosureError::Conflict {
                package: name(one),
                other: name(two),
                relation: relation.to_string(),
            }),
            remedy: victim.map(|choice| {
                Remedy::Ban(choice.entry.package.clone(), choice.entry.version.clone())
            }),
        }
    }
}

/// Tells whether a package itself, not what it provides, meets a relation.
fn fits(entry: &PackageEntry, relation: &Relation) -> bool {
    entry.package == relation.package
        && relation.version.as_ref().is_none_or(|bound| bound.accepts(&entry.version))
        && relation
            .qualifier
            .as_deref()
            .is_none_or(|name| matches!(name, "any" | "native") || name == entry.architecture)
}

/// Tells whether what a package provides meets a relation; an unversioned provision meets no bound.
fn provides(entry: &PackageEntry, relation: &Relation) -> bool {
    // A provision that cannot be read provides nothing.
    parse_dependencies(&entry.provides)
        .unwrap_or_default()
        .iter()
        .flat_map(|list| &list.alternatives)
        .any(|provided| {
            provided.package == relation.package
                && match (&relation.version, &provided.version) {
                    (None, _) => true,
                    (Some(bound), Some(provided)) => bound.accepts(&provided.version),
                    (Some(_), None) => false,
                }
        })
}

/// Sorts the chosen packages: each behind those that it needs, circles broken by name.
fn order<'a>(
    chosen: &BTreeMap<String, Choice<'a>>,
    dependencies: &BTreeMap<String, Vec<Dependency>>,
) -> Vec<&'a PackageEntry> {
    let mut provided: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for choice in chosen.values() {
        let list = parse_dependencies(&choice.entry.provides).unwrap_or_default();
        for relation in list.into_iter().flat_map(|dependency| dependency.alternatives) {
            provided.entry(relation.package).or_default().push(&choice.entry.package);
        }
    }
    let needs = |name: &str| -> Vec<&str> {
        let mut needs = BTreeSet::new();
        for relation in
            dependencies.get(name).into_iter().flatten().flat_map(|list| &list.alternatives)
        {
            match chosen.get_key_value(&relation.package) {
                Some((key, _)) => drop(needs.insert(key.as_str())),
                None => {
                    needs.extend(provided.get(&relation.package).into_iter().flatten().copied());
                }
            }
        }
        needs.into_iter().rev().collect()
    };
    let mut sorted = Vec::with_capacity(chosen.len());
    let mut seen = BTreeSet::new();
    for root in chosen.keys() {
        // Depth first with a stack of its own: the depth is up to the index, not to us.
        let mut stack = vec![(root.as_str(), None::<Vec<&str>>)];
        while let Some((name, pending)) = stack.pop() {
            let mut pending = match pending {
                Some(pending) => pending,
                None if !seen.insert(name) => continue,
                None => needs(name),
            };
            match pending.pop() {
                Some(next) => stack.extend([(name, Some(pending)), (next, None)]),
                None => sorted.push(chosen[name].entry),
            }
        }
    }
    sorted
}

#[cfg(test)]
#[path = "closure_tests.rs"]
mod tests;
