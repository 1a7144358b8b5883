//! Build environments: which packages they have, found in the lock.

use std::sync::Arc;

use osier_recipe::{Kind, Lock};
use osier_store::{Key, KeyBuilder};

use super::{BASE_KIND, MissingPin, PlanError, Planning};
use crate::graph::{Environment, Package};

/// The version of how packages are laid out as a root file system.
const ROOT_FORMAT: u32 = 1;

/// Gives the key of an environment: which packages, and how they are laid out.
pub fn environment_key(packages: &[Package]) -> Key {
    let mut key = KeyBuilder::new("environment", ROOT_FORMAT);
    for package in packages {
        key.field("package", &package.digest.0);
    }
    key.finish()
}

/// Finds an environment in the lock.
pub fn locked_environment(
    lock: &Lock,
    suite: &str,
    architecture: &str,
    request: &[String],
) -> Option<Environment> {
    let names: Vec<&str> = request.iter().map(String::as_str).collect();
    let pinned = lock.environment(suite, architecture, &names)?;
    let packages: Option<Vec<Package>> = lock
        .closure(pinned)?
        .into_iter()
        .map(|package| {
            Some(Package {
                name: package.path.rsplit('/').next().unwrap_or(&package.path).to_owned(),
                digest: package.sha256.parse().ok()?,
                size: package.size,
            })
        })
        .collect();
    let packages = packages?;
    Some(Environment { key: environment_key(&packages), request: request.to_vec(), packages })
}

impl Planning<'_, '_> {
    /// Gives the environment of a kind's components that ask for further packages.
    pub(super) fn environment(
        &mut self,
        suite: &str,
        kind: &Kind,
        further: &[&str],
    ) -> Result<Arc<Environment>, PlanError> {
        // Most components of a kind ask for no more than it brings, which is a long list.
        let asked = (suite.to_owned(), kind.name.value.clone(), further.join(" "));
        if let Some(known) = self.asked_environments.get(&asked) {
            return Ok(Arc::clone(known));
        }
        let mut request: Vec<String> = further.iter().map(|name| (*name).to_owned()).collect();
        let base = self.kind(BASE_KIND)?;
        for kind in base.as_deref().into_iter().chain([kind]) {
            request.extend(kind.packages.iter().map(|package| package.value.clone()));
        }
        request.sort();
        request.dedup();
        let environment = self.environment_of(suite, request);
        self.asked_environments.insert(asked, Arc::clone(&environment));
        Ok(environment)
    }

    fn environment_of(&mut self, suite: &str, request: Vec<String>) -> Arc<Environment> {
        let wanted = (suite.to_owned(), request);
        if let Some(known) = self.environments.get(&wanted) {
            return Arc::clone(known);
        }
        let planner = self.planner;
        let architecture = planner.build.debian();
        let found = locked_environment(planner.lock, suite, architecture, &wanted.1);
        let environment = Arc::new(found.unwrap_or_else(|| {
            self.missing.push(MissingPin::Environment {
                suite: suite.to_owned(),
                request: wanted.1.clone(),
            });
            Environment { key: Key([0; 32]), request: wanted.1.clone(), packages: Vec::new() }
        }));
        self.environments.insert(wanted, Arc::clone(&environment));
        environment
    }
}
