//! Recipes as texts in memory.

use std::collections::BTreeMap;

use osier_build::{Definitions, FileInput, Graph, PlanError, Planner, Wanted};
use osier_recipe::{Lock, LockedEnvironment, Target};
use osier_store::Digest;

/// Recipes by name, and one kind without packages.
pub(crate) struct Recipes(pub(crate) BTreeMap<&'static str, String>);

impl Definitions for Recipes {
    fn recipe(&self, name: &str) -> Result<Option<(String, String)>, PlanError> {
        Ok(self.0.get(name).map(|text| (format!("recipes/{name}.toml"), text.clone())))
    }

    fn kind(&self, name: &str) -> Result<Option<(String, String)>, PlanError> {
        let text = || ("kinds/script.toml".to_owned(), "name = \"script\"\n".to_owned());
        Ok((name == "script").then(text))
    }

    fn files(&self, _: &str, _: &[&str]) -> Result<Vec<FileInput>, PlanError> {
        Ok(Vec::new())
    }

    fn folder(&self, _: &str, _: &str) -> Result<Option<Digest>, PlanError> {
        Ok(None)
    }

    fn recipe_names(&self) -> Vec<String> {
        self.0.keys().map(|name| (*name).to_owned()).collect()
    }

    fn kind_names(&self) -> Vec<String> {
        vec!["script".to_owned()]
    }
}

/// Plans them, with nothing pinned.
pub(crate) fn plan(recipes: &Recipes, wanted: &[Wanted]) -> Result<Graph, PlanError> {
    let mut lock = Lock::default();
    lock.add_environment(LockedEnvironment {
        suite: "bookworm".into(),
        architecture: "amd64".into(),
        request: Vec::new(),
        packages: Vec::new(),
    });
    let planner = Planner {
        definitions: recipes,
        lock: &lock,
        profile: None,
        suite: "bookworm",
        build: Target::X86_64,
        checks: &["known"],
    };
    planner.plan(wanted)
}
