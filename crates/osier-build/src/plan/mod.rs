//! From recipes and pins to the graph of steps.
//!
//! Planning knows no files and no network: definitions come through [`Definitions`], pins from the lock.
//! What the lock lacks is reported as a whole, so that all missing pins are made in one go.

mod component;
mod environment;
mod follow;
mod insert;
mod patches;
mod platform;
mod refused;
mod sources;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use osier_recipe::{Diagnostic, Kind, Lock, Recipe, Source, Target, nearest};
use osier_store::Digest;

use crate::graph::{Environment, FileInput, Graph};
use follow::{Asker, Way};
use platform::{Planned, Platform, Standing};

pub use environment::{environment_key, locked_environment};
pub use insert::Edits;
pub use platform::Wanted;
pub(crate) use refused::LONGEST_STRING;

/// The kind whose packages every build environment has.
pub const BASE_KIND: &str = "script";

/// Gives the planner definitions by name.
pub trait Definitions {
    /// Gives a recipe.
    fn recipe(&self, name: &str) -> Result<Option<Recipe>, PlanError>;
    /// Gives a kind.
    fn kind(&self, name: &str) -> Result<Option<Kind>, PlanError>;
    /// Gives the files beside a recipe whose paths fit one of these patterns.
    fn files(&self, recipe: &str, patterns: &[&str]) -> Result<Vec<FileInput>, PlanError>;
    /// Takes a folder beside a recipe into the store, as a tree; nothing where there is no such folder.
    fn folder(&self, recipe: &str, path: &str) -> Result<Option<Digest>, PlanError>;
    /// Lists the names of all recipes, for near-misses.
    fn recipe_names(&self) -> Vec<String>;
    /// Lists the names of all kinds, for near-misses.
    fn kind_names(&self) -> Vec<String>;
}

/// Why there is no graph.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Recipes or kinds are wrong.
    #[error("{} error(s) in recipes or kinds", .0.len())]
    Wrong(Vec<Diagnostic>),
    /// A name that was asked for on the command line, or by a system, does not exist.
    #[error("there is no recipe `{name}`")]
    NoRecipe {
        /// The name.
        name: String,
        /// The nearest name that exists.
        near: Option<String>,
    },
    /// Something is asked for on another target than the machine's, and no toolchain is named.
    #[error(
        "`{}` is needed for {}, but no toolchain is named, and the build environment's compiler compiles only for this machine",
        .0.name, .0.target
    )]
    NoToolchain(Wanted),
    /// The lock lacks pins.
    #[error("{} pin(s) are missing", .0.len())]
    MissingPins(Vec<MissingPin>),
    /// A definition could not be read.
    #[error(transparent)]
    File(#[from] osier_store::FileError),
}

/// A pin that the lock lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingPin {
    /// A build environment.
    Environment {
        /// The Debian suite.
        suite: String,
        /// The packages that are asked for, sorted.
        request: Vec<String>,
    },
    /// A source of a recipe.
    Source {
        /// The recipe.
        recipe: String,
        /// The suite that a Debian source is looked up in.
        suite: String,
        /// The version that the recipe gives.
        version: Option<String>,
        /// The source.
        source: Box<Source>,
    },
}

/// Makes graphs.
pub struct Planner<'a> {
    /// Where definitions come from.
    pub definitions: &'a dyn Definitions,
    /// The pins.
    pub lock: &'a Lock,
    /// The profile, where one is chosen.
    pub profile: Option<&'a str>,
    /// The suite of recipes that name none.
    pub suite: &'a str,
    /// What programs of the build environment run on.
    pub build: Target,
    /// The names of the checks that there are.
    pub checks: &'a [&'a str],
}

pub(crate) struct Planning<'p, 'a> {
    pub(crate) planner: &'p Planner<'a>,
    pub(crate) graph: Graph,
    kinds: BTreeMap<String, Arc<Kind>>,
    pub(crate) platforms: Vec<Platform>,
    pub(crate) done: HashMap<String, Planned>,
    pub(crate) way: Way,
    environments: BTreeMap<(String, Vec<String>), Arc<Environment>>,
    /// The same by suite, kind, and what is asked for beyond the kind's packages.
    asked_environments: HashMap<(String, String, String), Arc<Environment>>,
    pub(crate) wrong: Vec<Diagnostic>,
    missing: Vec<MissingPin>,
}

impl Planner<'_> {
    /// Plans these components and all that they use; the graph's goals are theirs, in the same order.
    pub fn plan(&self, wanted: &[Wanted]) -> Result<Graph, PlanError> {
        let mut work = Planning {
            planner: self,
            graph: Graph::default(),
            kinds: BTreeMap::new(),
            platforms: vec![Platform::build(self.build)],
            done: HashMap::new(),
            way: Way::default(),
            environments: BTreeMap::new(),
            asked_environments: HashMap::new(),
            wrong: Vec::new(),
            missing: Vec::new(),
        };
        for wanted in wanted {
            let platform = work.platform(wanted)?;
            let fitting =
                |work: &Planning<'_, '_>, standing| work.fitting(standing, platform, platform);
            let done = work.done.get(&wanted.name);
            if let Some(id) = done.and_then(|known| known.on(fitting(&work, known.standing))) {
                work.graph.goals.push(id);
                continue;
            }
            let recipe = work.named_recipe(&wanted.name)?;
            let platform = fitting(&work, Standing::of(&recipe));
            work.begin(Asker::command_line(&recipe), recipe, platform);
            let id = work.follow()?;
            work.graph.goals.extend(id);
        }
        if !work.wrong.is_empty() {
            // What is wrong for one target is often wrong for the other as well.
            let mut wrong: Vec<Diagnostic> = Vec::new();
            for error in work.wrong {
                if !wrong.contains(&error) {
                    wrong.push(error);
                }
            }
            return Err(PlanError::Wrong(wrong));
        }
        if !work.missing.is_empty() {
            return Err(PlanError::MissingPins(work.missing));
        }
        Ok(work.graph)
    }
}

impl Planning<'_, '_> {
    /// Reads a recipe that is named from outside the recipes.
    pub(crate) fn named_recipe(&self, name: &str) -> Result<Recipe, PlanError> {
        self.recipe(name)?.ok_or_else(|| {
            let known = self.planner.definitions.recipe_names();
            let near = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
            PlanError::NoRecipe { name: name.to_owned(), near }
        })
    }

    /// Reads a recipe. It is not kept: each is planned once, and many would be much memory.
    pub(crate) fn recipe(&self, name: &str) -> Result<Option<Recipe>, PlanError> {
        self.planner.definitions.recipe(name)
    }

    fn kind(&mut self, name: &str) -> Result<Option<Arc<Kind>>, PlanError> {
        if let Some(kind) = self.kinds.get(name) {
            return Ok(Some(Arc::clone(kind)));
        }
        let Some(kind) = self.planner.definitions.kind(name)?.map(Arc::new) else {
            return Ok(None);
        };
        self.kinds.insert(name.to_owned(), Arc::clone(&kind));
        Ok(Some(kind))
    }
}
