//! Recipes as texts in memory.

use std::collections::BTreeMap;

use osier_build::{Definitions, FileInput, Graph, PlanError, Planner, Wanted};
use osier_recipe::{Kind, Lock, LockedEnvironment, Recipe, Target};
use osier_store::Digest;

/// Recipes by name, and one kind without packages.
pub(crate) struct Recipes(pub(crate) BTreeMap<&'static str, String>);

impl Definitions for Recipes {
    fn recipe(&self, name: &str) -> Result<Option<Recipe>, PlanError> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        let recipe = Recipe::parse(&format!("recipes/{name}.toml"), text, Some(name));
        recipe.map(Some).map_err(PlanError::Wrong)
    }

    fn kind(&self, name: &str) -> Result<Option<Kind>, PlanError> {
        if name != "script" {
            return Ok(None);
        }
        let kind = Kind::parse("kinds/script.toml", "name = \"script\"\n", Some(name));
        kind.map(Some).map_err(PlanError::Wrong)
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
