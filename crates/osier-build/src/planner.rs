//! From recipes and pins to the graph of steps.
//!
//! Planning knows no files and no network: definitions come through [`Definitions`], pins from the lock.
//! What the lock lacks is reported as a whole, so that all missing pins are made in one go.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use osier_recipe::{
    Code, Diagnostic, EffectiveRecipe, Kind, Lock, LockedSource, Origin, Pin, Recipe, Role, Source,
    SourceKind, Target, glob_matches, nearest,
};
use osier_store::{Digest, Key, KeyBuilder};

use crate::follow::{Asker, Way};
use crate::graph::{
    Archive, Check, Component, ComponentId, Environment, FileInput, Graph, IDENTITY, Input, Output,
    Package, Patching, Reuse, SourceTree, Step, StepId, Strip, View, Work,
};
use crate::platform::{Planned, Platform, Standing, Wanted};
use crate::refused;

/// The version of how packages are laid out as a root file system.
const ROOT_FORMAT: u32 = 1;

/// The kind whose packages every build environment has.
pub const BASE_KIND: &str = "script";

/// Gives the planner definitions by name.
pub trait Definitions {
    /// Gives the label and the text of a recipe.
    fn recipe(&self, name: &str) -> Result<Option<(String, String)>, PlanError>;
    /// Gives the label and the text of a kind.
    fn kind(&self, name: &str) -> Result<Option<(String, String)>, PlanError>;
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
        "`{}` is asked for on {}, no toolchain is named, and the build environment's compiler makes programs for this machine alone",
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

/// Says whether a pin is that of a source as its recipe has it now.
fn pin_fits(pinned: &LockedSource, source: &Source) -> bool {
    match (&pinned.pin, &source.kind) {
        (
            Pin::Debian { package, version, suite },
            SourceKind::Debian { package: asked, suite: from, version: exact, .. },
        ) => {
            *package == asked.value
                && from.as_ref().is_none_or(|wanted| wanted.value == *suite)
                && exact.as_ref().is_none_or(|wanted| wanted.value == *version)
        }
        (Pin::Url { url }, SourceKind::Url { urls, sha256, .. }) => {
            urls.first().is_some_and(|first| first.value == *url)
                && pinned.files.iter().all(|file| file.sha256 == sha256.value)
        }
        (Pin::Git { address, commit }, SourceKind::Git { address: asked, commit: wanted }) => {
            *address == asked.value && *commit == wanted.value
        }
        _ => false,
    }
}

/// Takes the epoch and the Debian revision off a Debian version: `1:1.35.0-4` is 1.35.0 of the upstream.
fn upstream_version(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(rest, _)| rest);
    version.split(['+', '~']).next().unwrap_or(version)
}

impl<'a> Planning<'_, 'a> {
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
        let Some((label, text)) = self.planner.definitions.recipe(name)? else { return Ok(None) };
        Recipe::parse(&label, &text, Some(name)).map(Some).map_err(PlanError::Wrong)
    }

    fn kind(&mut self, name: &str) -> Result<Option<Arc<Kind>>, PlanError> {
        if let Some(kind) = self.kinds.get(name) {
            return Ok(Some(Arc::clone(kind)));
        }
        let Some((label, text)) = self.planner.definitions.kind(name)? else { return Ok(None) };
        let kind = Arc::new(Kind::parse(&label, &text, Some(name)).map_err(PlanError::Wrong)?);
        self.kinds.insert(name.to_owned(), Arc::clone(&kind));
        Ok(Some(kind))
    }

    /// Plans a component. Where something that it uses is not planned yet, that is noted in `self.way`, and the component is
    /// to be planned once more after it.
    pub(crate) fn component_of(
        &mut self,
        recipe: &Recipe,
        platform: usize,
    ) -> Result<Option<ComponentId>, PlanError> {
        let planner = self.planner;
        let target = self.platforms[platform].target;
        let origin = &recipe.origin;
        if !recipe.supports(target) {
            self.wrong.push(self.unsupported(recipe, target));
            return Ok(None);
        }
        let Some(kind) = self.kind(recipe.kind_name())? else {
            let span = recipe.kind.as_ref().map_or(&recipe.name.span, |kind| &kind.span);
            let known = planner.definitions.kind_names();
            self.wrong.push(Diagnostic::unknown_kind(
                origin,
                span,
                recipe.kind_name(),
                known.iter().map(String::as_str),
            ));
            return Ok(None);
        };
        let effective = recipe.effective(target, planner.profile);
        let steps = match effective.steps(&kind) {
            Ok(steps) => steps,
            Err(wrong) => {
                self.wrong.extend(wrong);
                return Ok(None);
            }
        };
        // What runs in the build is linked for the machine that builds.
        let linked = if recipe.role == Some(Role::Cross) { 0 } else { platform };
        let mut needs = self.inputs(origin, &effective.needs, linked, platform);
        let mut tools = self.inputs(origin, &effective.tools, 0, platform);
        if recipe.role.is_none() {
            let (more_tools, more_needs) = self.toolchain_inputs(platform, recipe.freestanding);
            add_new(&mut tools, more_tools);
            add_new(&mut needs, more_needs);
        }
        let mut from = BTreeMap::new();
        // A component that goes on from another one's source is of that source's version.
        let mut inherited = None;
        for step in &steps.steps {
            if let Some(reference) = &step.from {
                let span = &reference.value.span;
                let asker = Asker::new(reference.origin, span);
                let found = self.asked(asker, &reference.component, linked, platform);
                let below = found.and_then(|id| self.graph.find_step(id, &reference.step));
                if let (Some(id), None) = (found, below) {
                    let known: Vec<&str> = self
                        .graph
                        .component(id)
                        .steps
                        .iter()
                        .map(|id| self.graph.step(*id).name.as_str())
                        .collect();
                    let error = Diagnostic::unknown(
                        Code::UnknownStep,
                        "step",
                        reference.origin,
                        &reference.value.span,
                        &reference.step,
                        known,
                    );
                    self.wrong.push(error);
                }
                inherited =
                    inherited.or_else(|| found.map(|id| self.graph.component(id).version.clone()));
                from.insert(step.name.value.value.clone(), below);
            }
        }
        if self.way.is_waiting() {
            return Ok(None);
        }
        let of_steps = steps.steps.iter().flat_map(|step| &step.packages);
        let packages: Vec<&str> = (effective.packages.iter().map(|package| package.as_str()))
            .chain(of_steps.map(|package| package.as_str()))
            .collect();
        let suite = recipe.suite.as_ref().map_or(planner.suite, |suite| suite.as_str()).to_owned();
        let environment = self.environment(&suite, &kind, &packages)?;
        let (sources, version) = self.sources(recipe, &suite)?;
        let version = version.or(inherited).unwrap_or_else(|| "0".to_owned());
        let (files, mut patching) = self.files(recipe, &effective, &version)?;

        let id = ComponentId(
            u32::try_from(self.graph.components.len()).expect("fewer than 2^32 components"),
        );
        let mut variables = self.platform_variables(recipe.role, platform);
        variables
            .extend(steps.environment.into_iter().map(|(name, value)| (name.to_owned(), value)));
        if let Some(level) = self.platforms[platform].tune {
            crate::platform::tune(&mut variables, level);
        }
        let folder = recipe
            .sources
            .first()
            .map_or_else(|| "/build".to_owned(), |source| format!("/build/{}", source.name));
        let identity = [recipe.name.value.as_str(), &version, target.as_str(), &folder];
        for (name, value) in IDENTITY.into_iter().zip(identity) {
            variables.insert(name.to_owned(), value.to_owned());
        }
        self.wrong.extend(refused::variables(&effective, &variables));
        let tool_names = tools.iter().map(|tool| self.graph.component(tool.component).recipe.len());
        self.wrong.extend(refused::tools(&effective, tool_names));
        let mut folders = Vec::with_capacity(steps.steps.len());
        for step in &steps.steps {
            self.wrong.extend(refused::checks(step, planner.checks));
            let found = refused::folder(step, &variables).unwrap_or_else(|error| {
                self.wrong.push(*error);
                None
            });
            folders.push(found.unwrap_or_else(|| folder.clone()));
        }
        let mut chain: Vec<StepId> = Vec::new();
        let place = |origin: &Origin, span: &std::ops::Range<usize>| {
            format!("{}:{}", origin.file(), origin.line(span))
        };
        let mut add = |graph: &mut Graph,
                       name: String,
                       below: Option<StepId>,
                       work: Work,
                       (view, reuse): (View, Option<Reuse>),
                       checks: Vec<Check>,
                       origin: String| {
            let step = StepId(u32::try_from(graph.steps.len()).expect("fewer than 2^32 steps"));
            graph.steps.push(Step {
                component: id,
                name,
                below: below.or(chain.last().copied()),
                work,
                view,
                reuse,
                checks,
                origin,
            });
            chain.push(step);
        };
        for (number, (source, tree)) in sources.into_iter().enumerate() {
            let name =
                if number == 0 { "unpack".to_owned() } else { format!("unpack-{}", source.name) };
            if matches!(source.kind, SourceKind::Debian { patches: true, .. }) {
                patching.debian.push(source.name.value.clone());
            }
            add(
                &mut self.graph,
                name,
                None,
                Work::Unpack(tree),
                (View::Nothing, None),
                Vec::new(),
                place(origin, &source.span),
            );
        }
        if !patching.is_empty() {
            patching.source =
                recipe.sources.first().map(|first| first.name.value.clone()).unwrap_or_default();
            let seen = patching.own.iter().map(|patch| patch.file.clone()).collect();
            add(
                &mut self.graph,
                "patch".to_owned(),
                None,
                Work::Patch(patching),
                (View::Patches(seen), None),
                Vec::new(),
                place(origin, &recipe.name.span),
            );
        }
        for (step, step_folder) in steps.steps.iter().zip(folders) {
            let below = from.get(&step.name.value.value).copied().flatten();
            let work = Work::Script {
                text: step.run.value.value.clone(),
                folder: step_folder,
                jobs: step.jobs,
                memory: step.memory,
                silence: step.silence,
                flat: step.flat,
            };
            let checks = step.checks.iter().map(|(_, check)| Check {
                name: check.name.value.clone(),
                arguments: check
                    .arguments
                    .iter()
                    .map(|(name, value)| (name.clone(), value.value.clone()))
                    .collect(),
            });
            let reuse = step.reuse.as_ref().map(|reuse| Reuse {
                files: reuse.files.iter().map(|file| Path::new(&folder).join(&**file)).collect(),
                variables: reuse.variables.iter().map(|name| name.value.clone()).collect(),
                edits: reuse.edits,
            });
            let written = place(step.run.origin, &step.run.value.span);
            add(
                &mut self.graph,
                step.name.value.value.clone(),
                below,
                work,
                (View::All, reuse),
                checks.collect(),
                written,
            );
        }
        self.wrong.extend(refused::chain(&self.graph, &chain, recipe, &steps.steps));
        if chain.is_empty() {
            let message = format!("`{}` has no steps and no sources", recipe.name);
            self.wrong.push(
                origin
                    .error(Code::MissingKey, &recipe.name.span, message)
                    .hint("add a `[[step]]` that installs below $OUTPUT"),
            );
            return Ok(None);
        }
        let outputs = recipe.outputs.iter().map(|(name, patterns)| Output {
            name: name.clone(),
            patterns: patterns.iter().map(|pattern| pattern.value.clone()).collect(),
        });
        let recipe_name = recipe.name.value.clone();
        let name = self.name_on(&recipe_name, platform);
        let planned = Planned { standing: Standing::of(recipe), components: Vec::new() };
        let planned = self.done.entry(recipe_name.clone()).or_insert(planned);
        planned.components.push((platform, id));
        self.graph.components.push(Component {
            name,
            recipe: recipe_name,
            version,
            target: target.as_str().to_owned(),
            origin: origin.file().to_owned(),
            steps: chain,
            needs,
            tools,
            outputs: outputs.collect(),
            environment,
            variables,
            files,
        });
        Ok(Some(id))
    }

    /// Gives the environment of a kind's components that ask for further packages.
    fn environment(
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

    /// Gives the sources as trees to unpack, and the component's version where the recipe or a source has one.
    fn sources<'r>(&mut self, recipe: &'r Recipe, suite: &str) -> Result<Sources<'r>, PlanError> {
        let mut version = recipe.version.as_ref().map(|version| version.value.clone());
        let mut trees = Vec::new();
        for source in &recipe.sources {
            if let SourceKind::Path { path } = &source.kind {
                let Some(tree) = self.planner.definitions.folder(&recipe.name, path)? else {
                    let message = format!("there is no folder `{path}` beside the recipe");
                    let error = recipe.origin.error(Code::MissingFile, &path.span, message);
                    self.wrong.push(error.hint(format!(
                        "it belongs at recipes/{0}/{path}, and the recipe at recipes/{0}/recipe.toml",
                        recipe.name
                    )));
                    continue;
                };
                let name = source.name.value.clone();
                trees.push((source, SourceTree { name, archives: Vec::new(), folder: Some(tree) }));
                continue;
            }
            let pinned = self
                .planner
                .lock
                .source(&recipe.name, &source.name)
                .filter(|pinned| pin_fits(pinned, source));
            let Some(pinned) = pinned else {
                let missing = MissingPin::Source {
                    recipe: recipe.name.value.clone(),
                    suite: suite.to_owned(),
                    version: version.clone(),
                    source: Box::new(source.clone()),
                };
                if !self.missing.contains(&missing) {
                    self.missing.push(missing);
                }
                continue;
            };
            if version.is_none()
                && let Pin::Debian { version: debian, .. } = &pinned.pin
            {
                version = Some(upstream_version(debian).to_owned());
            }
            let (strip, format) = match &source.kind {
                SourceKind::Url { strip, unpack, format, .. } => {
                    let strip = unpack.then(|| Strip::Folders(u32::from(*strip)));
                    (strip, format.clone())
                }
                SourceKind::Debian { .. } => (Some(Strip::Lone), None),
                _ => (Some(Strip::Folders(1)), None),
            };
            let wants_debian = matches!(source.kind, SourceKind::Debian { patches: true, .. });
            if wants_debian && pinned.files.iter().any(|file| file.name.ends_with(".diff.gz")) {
                let message = "Debian's changes of this source are one `.diff.gz` (format 1.0), which is not read";
                let error = recipe.origin.error(Code::WrongPatch, &source.span, message);
                self.wrong.push(
                    error.hint("take `patches` off, and put what you need beside the recipe"),
                );
            }
            let mut archives = Vec::new();
            for file in &pinned.files {
                let into = match archive_place(
                    &file.name,
                    matches!(source.kind, SourceKind::Debian { .. }),
                    wants_debian,
                ) {
                    Some(into) => into,
                    None => continue,
                };
                let digest: Digest = file.sha256.parse().unwrap_or(Digest([0; 32]));
                archives.push(Archive {
                    file: file.name.clone(),
                    digest,
                    size: file.size,
                    into,
                    format: format.clone(),
                    strip,
                });
            }
            // The source's own archive comes first, so that the others find its folders.
            archives.sort_by(|one, two| one.into.cmp(&two.into));
            trees.push((
                source,
                SourceTree { name: source.name.value.clone(), archives, folder: None },
            ));
        }
        Ok((trees, version))
    }

    /// Gives the files that the steps see, the patches among them, and the recipe's own patches in order.
    fn files(
        &mut self,
        recipe: &Recipe,
        effective: &EffectiveRecipe<'_>,
        version: &str,
    ) -> Result<(Vec<FileInput>, Patching), PlanError> {
        let definitions = self.planner.definitions;
        let mut chosen: BTreeMap<String, FileInput> = BTreeMap::new();
        if !effective.files.is_empty() {
            let patterns: Vec<&str> = effective.files.iter().map(|glob| glob.as_str()).collect();
            let all = definitions.files(&recipe.name, &patterns)?;
            for pattern in &effective.files {
                let fits = |file: &&FileInput| glob_matches(pattern, &file.path);
                let hits: Vec<&FileInput> = all.iter().filter(fits).collect();
                if hits.is_empty() {
                    let (origin, span) = (&recipe.origin, &pattern.span);
                    self.wrong.push(Diagnostic::missing_file(origin, span, pattern, origin.file()));
                }
                chosen.extend(hits.into_iter().map(|file| (file.path.clone(), file.clone())));
            }
        }
        let (patching, patches) =
            crate::patches::own(definitions, recipe, effective, version, &mut self.wrong)?;
        chosen.extend(patches.into_iter().map(|file| (file.path.clone(), file)));
        Ok((chosen.into_values().collect(), patching))
    }
}

/// Adds what is not in a list already.
fn add_new(list: &mut Vec<Input>, more: Vec<Input>) {
    for input in more {
        if !list.contains(&input) {
            list.push(input);
        }
    }
}

/// The sources of a recipe as trees to unpack, and the component's version.
type Sources<'r> = (Vec<(&'r Source, SourceTree)>, Option<String>);

/// Says where a file of a source is unpacked below the source's folder; nothing for files that are not.
fn archive_place(file: &str, debian: bool, patches: bool) -> Option<String> {
    if !debian {
        return Some(String::new());
    }
    if file.contains(".debian.tar") {
        return patches.then(|| "debian".to_owned());
    }
    if !file.contains(".tar") || file.ends_with(".asc") {
        return None;
    }
    match file.split_once(".orig-") {
        Some((_, rest)) => rest.split(".tar").next().map(str::to_owned),
        None => Some(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_versions() {
        for (debian, upstream) in [
            ("1:1.35.0-4+deb12u1", "1.35.0"),
            ("6.1.170-3", "6.1.170"),
            ("2:6.2.1+dfsg1-1.1", "6.2.1"),
        ] {
            assert_eq!(upstream_version(debian), upstream);
        }
    }

    #[test]
    fn files_of_debian_sources_find_their_place() {
        let place = |file| archive_place(file, true, false);
        assert_eq!(place("busybox_1.35.0.orig.tar.bz2").as_deref(), Some(""));
        assert_eq!(place("docker.io_20.10.orig-cli.tar.xz").as_deref(), Some("cli"));
        assert_eq!(place("busybox_1.35.0-4.dsc"), None);
        assert_eq!(place("busybox_1.35.0-4.debian.tar.xz"), None);
        assert_eq!(
            archive_place("busybox_1.35.0-4.debian.tar.xz", true, true).as_deref(),
            Some("debian")
        );
        assert_eq!(place("gcc_12.orig.tar.xz.asc"), None);
    }
}
