//! From one recipe on one platform to a component and its chain of steps.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use osier_recipe::{
    Code, Diagnostic, EffectiveRecipe, EffectiveStep, Kind, Origin, Recipe, Role, Source,
    SourceKind, Target,
};

use super::follow::Asker;
use super::platform::{Planned, Standing, tune};
use super::{PlanError, Planning, refused};
use crate::graph::{
    Check, Component, ComponentId, Graph, IDENTITY, Input, Output, Patching, Reuse, SourceTree,
    Step, StepId, View, Work,
};

/// A recipe as it is planned once: for one platform.
struct Case<'r> {
    recipe: &'r Recipe,
    effective: EffectiveRecipe<'r>,
    steps: Vec<EffectiveStep<'r>>,
    /// The variables that the steps set for all of the component.
    set: Vec<(&'r str, String)>,
    platform: usize,
    target: Target,
    /// The platform of what it links with: what runs in the build is linked for the machine that builds.
    linked: usize,
    /// The folder of its first source, in which steps work that name none.
    folder: String,
}

/// Steps of other components that its own start from.
#[derive(Default)]
struct Starts {
    below: BTreeMap<String, StepId>,
    /// A component that goes on from another one's source is of that source's version.
    version: Option<String>,
}

impl Planning<'_, '_> {
    /// Plans a component. Where something that it uses is not planned yet, that is noted in `self.way`, and the component is
    /// to be planned once more after it.
    pub(super) fn component_of(
        &mut self,
        recipe: &Recipe,
        platform: usize,
    ) -> Result<Option<ComponentId>, PlanError> {
        let target = self.platforms[platform].target;
        if !recipe.supports(target) {
            self.wrong.push(self.unsupported(recipe, target));
            return Ok(None);
        }
        let Some(kind) = self.kind_of(recipe)? else { return Ok(None) };
        let Some(case) = self.case(recipe, &kind, platform) else { return Ok(None) };
        let (needs, tools) = self.inputs_of(&case);
        let starts = self.starts(&case);
        if self.way.is_waiting() {
            return Ok(None);
        }
        let suite = recipe.suite.as_ref().map_or(self.planner.suite, |suite| suite.as_str());
        let environment = self.environment(suite, &kind, &packages(&case))?;
        let (sources, version) = self.sources(recipe, suite)?;
        let version = version.or(starts.version.clone()).unwrap_or_else(|| "0".to_owned());
        let (files, patching) = self.files(recipe, &case.effective, &version)?;
        let variables = self.variables(&case, &version);
        self.refuse(&case, &variables, &tools);
        let folders = self.folders(&case, &variables);

        let mut chain = Chain::new(&mut self.graph, &recipe.origin);
        chain.make_source(recipe, sources, patching);
        chain.run_scripts(&case, folders, &starts);
        let Chain { component: id, steps, .. } = chain;
        self.wrong.extend(refused::chain(&self.graph, &steps, recipe, &case.steps));
        if steps.is_empty() {
            self.wrong.push(without_steps(recipe));
            return Ok(None);
        }
        let name = self.name_on(&recipe.name, platform);
        let planned = Planned { standing: Standing::of(recipe), components: Vec::new() };
        let planned = self.done.entry(recipe.name.value.clone()).or_insert(planned);
        planned.components.push((platform, id));
        let outputs = recipe.outputs.iter().map(|(name, patterns)| Output {
            name: name.clone(),
            patterns: patterns.iter().map(|pattern| pattern.value.clone()).collect(),
        });
        self.graph.components.push(Component {
            name,
            recipe: recipe.name.value.clone(),
            version,
            target: target.as_str().to_owned(),
            origin: recipe.origin.file().to_owned(),
            steps,
            needs,
            tools,
            outputs: outputs.collect(),
            environment,
            variables,
            files,
        });
        Ok(Some(id))
    }

    /// Gives the kind of a recipe; one that does not exist is wrong.
    fn kind_of(&mut self, recipe: &Recipe) -> Result<Option<Arc<Kind>>, PlanError> {
        let found = self.kind(recipe.kind_name())?;
        if found.is_none() {
            let span = recipe.kind.as_ref().map_or(&recipe.name.span, |kind| &kind.span);
            let known = self.planner.definitions.kind_names();
            let known = known.iter().map(String::as_str);
            let (origin, name) = (&recipe.origin, recipe.kind_name());
            self.wrong.push(Diagnostic::unknown_kind(origin, span, name, known));
        }
        Ok(found)
    }

    /// Works out what a recipe says for a platform; nothing where its steps are wrong.
    fn case<'r>(
        &mut self,
        recipe: &'r Recipe,
        kind: &'r Kind,
        platform: usize,
    ) -> Option<Case<'r>> {
        let target = self.platforms[platform].target;
        let effective = recipe.effective(target, self.planner.profile);
        let steps = match effective.steps(kind) {
            Ok(steps) => steps,
            Err(wrong) => {
                self.wrong.extend(wrong);
                return None;
            }
        };
        let linked = if recipe.role == Some(Role::Cross) { 0 } else { platform };
        let first = recipe.sources.first();
        let folder =
            first.map_or_else(|| "/build".to_owned(), |source| format!("/build/{}", source.name));
        let set = steps.environment.into_iter().collect();
        let steps = steps.steps;
        Some(Case { recipe, effective, steps, set, platform, target, linked, folder })
    }

    /// Gives the needs and the tools, those that the toolchain adds among them.
    fn inputs_of(&mut self, case: &Case<'_>) -> (Vec<Input>, Vec<Input>) {
        let Case { recipe, effective, platform, linked, .. } = case;
        let mut needs = self.inputs(&recipe.origin, &effective.needs, *linked, *platform);
        let mut tools = self.inputs(&recipe.origin, &effective.tools, 0, *platform);
        if recipe.role.is_none() {
            let (more_tools, more_needs) = self.toolchain_inputs(*platform, recipe.freestanding);
            add_new(&mut tools, more_tools);
            add_new(&mut needs, more_needs);
        }
        (needs, tools)
    }

    /// Finds the steps of other components that the recipe's steps start from.
    fn starts(&mut self, case: &Case<'_>) -> Starts {
        let mut starts = Starts::default();
        for step in &case.steps {
            let Some(reference) = &step.from else { continue };
            let (origin, span) = (reference.origin, &reference.value.span);
            let asker = Asker::new(origin, span);
            let found = self.asked(asker, &reference.component, case.linked, case.platform);
            let Some(id) = found else { continue };
            let component = self.graph.component(id);
            starts.version.get_or_insert_with(|| component.version.clone());
            if let Some(below) = self.graph.find_step(id, &reference.step) {
                starts.below.insert(step.name.value.value.clone(), below);
                continue;
            }
            let known = component.steps.iter().map(|id| self.graph.step(*id).name.as_str());
            let (code, name) = (Code::UnknownStep, &reference.step);
            let known: Vec<&str> = known.collect();
            self.wrong.push(Diagnostic::unknown(code, "step", origin, span, name, known));
        }
        starts
    }

    /// Gives the variables of the component's steps; of several of one name the one that holds comes last.
    fn variables(&self, case: &Case<'_>, version: &str) -> BTreeMap<String, String> {
        let mut variables = self.platform_variables(case.recipe.role, case.platform);
        let set = case.set.iter();
        variables.extend(set.map(|(name, value)| ((*name).to_owned(), value.clone())));
        if let Some(level) = self.platforms[case.platform].tune {
            tune(&mut variables, level);
        }
        let identity = [&case.recipe.name.value, version, case.target.as_str(), &case.folder];
        for (name, value) in IDENTITY.into_iter().zip(identity) {
            variables.insert(name.to_owned(), value.to_owned());
        }
        variables
    }

    /// Refuses what no step could be started with, and checks that do not exist.
    fn refuse(&mut self, case: &Case<'_>, variables: &BTreeMap<String, String>, tools: &[Input]) {
        self.wrong.extend(refused::variables(&case.effective, variables));
        let names = tools.iter().map(|tool| self.graph.component(tool.component).recipe.len());
        self.wrong.extend(refused::tools(&case.effective, names));
        for step in &case.steps {
            self.wrong.extend(refused::checks(step, self.planner.checks));
        }
    }

    /// Gives the working folder of each step.
    fn folders(&mut self, case: &Case<'_>, variables: &BTreeMap<String, String>) -> Vec<String> {
        let mut folders = Vec::with_capacity(case.steps.len());
        for step in &case.steps {
            let found = refused::folder(step, variables).unwrap_or_else(|error| {
                self.wrong.push(*error);
                None
            });
            folders.push(found.unwrap_or_else(|| case.folder.clone()));
        }
        folders
    }
}

/// The Debian packages that a recipe and its steps ask for.
fn packages<'r>(case: &Case<'r>) -> Vec<&'r str> {
    let own = case.effective.packages.iter().map(|package| package.as_str());
    let of_steps = case.steps.iter().flat_map(|step| &step.packages);
    own.chain(of_steps.map(|package| package.value.as_str())).collect()
}

fn without_steps(recipe: &Recipe) -> Diagnostic {
    let message = format!("`{}` has no steps and no sources", recipe.name);
    let error = recipe.origin.error(Code::MissingKey, &recipe.name.span, message);
    error.hint("add a `[[step]]` that installs below $OUTPUT")
}

/// The chain of steps of a component that is being planned.
struct Chain<'g> {
    graph: &'g mut Graph,
    component: ComponentId,
    /// The recipe.
    origin: &'g Origin,
    steps: Vec<StepId>,
}

impl<'g> Chain<'g> {
    fn new(graph: &'g mut Graph, origin: &'g Origin) -> Self {
        let count = u32::try_from(graph.components.len()).expect("fewer than 2^32 components");
        Self { graph, component: ComponentId(count), origin, steps: Vec::new() }
    }

    /// Adds a step that does this, on top of the one before it unless it starts from another one.
    fn add(
        &mut self,
        name: &str,
        work: Work,
        view: View,
        origin: String,
        more: impl FnOnce(&mut Step),
    ) {
        let id = u32::try_from(self.graph.steps.len()).expect("fewer than 2^32 steps");
        let mut step = Step {
            component: self.component,
            name: name.to_owned(),
            below: self.steps.last().copied(),
            work,
            view,
            reuse: None,
            checks: Vec::new(),
            origin,
        };
        more(&mut step);
        self.graph.steps.push(step);
        self.steps.push(StepId(id));
    }

    /// Adds the steps that unpack and patch the sources.
    fn make_source(
        &mut self,
        recipe: &Recipe,
        sources: Vec<(&Source, SourceTree)>,
        mut patching: Patching,
    ) {
        for (number, (source, tree)) in sources.into_iter().enumerate() {
            let name = match number {
                0 => "unpack".to_owned(),
                _ => format!("unpack-{}", source.name),
            };
            if matches!(source.kind, SourceKind::Debian { patches: true, .. }) {
                patching.debian.push(source.name.value.clone());
            }
            let place = place(self.origin, &source.span);
            self.add(&name, Work::Unpack(tree), View::Nothing, place, |_| {});
        }
        if !patching.is_empty() {
            let first = recipe.sources.first();
            patching.source = first.map(|first| first.name.value.clone()).unwrap_or_default();
            let seen = patching.own.iter().map(|patch| patch.file.clone()).collect();
            let place = place(self.origin, &recipe.name.span);
            self.add("patch", Work::Patch(patching), View::Patches(seen), place, |_| {});
        }
    }

    /// Adds the steps that run scripts.
    fn run_scripts(&mut self, case: &Case<'_>, folders: Vec<String>, starts: &Starts) {
        for (step, folder) in case.steps.iter().zip(folders) {
            let name = &step.name.value.value;
            let work = Work::Script {
                text: step.run.value.value.clone(),
                folder,
                jobs: step.jobs,
                memory: step.memory,
                silence: step.silence,
                flat: step.flat,
            };
            let place = place(step.run.origin, &step.run.value.span);
            self.add(name, work, View::All, place, |planned| {
                planned.below = starts.below.get(name).copied().or(planned.below);
                planned.reuse = reuse_of(step, &case.folder);
                planned.checks = checks_of(step);
            });
        }
    }
}

fn place(origin: &Origin, span: &Range<usize>) -> String {
    format!("{}:{}", origin.file(), origin.line(span))
}

fn reuse_of(step: &EffectiveStep<'_>, folder: &str) -> Option<Reuse> {
    let reuse = step.reuse.as_ref()?;
    Some(Reuse {
        files: reuse.files.iter().map(|file| Path::new(folder).join(&**file)).collect(),
        variables: reuse.variables.iter().map(|name| name.value.clone()).collect(),
        edits: reuse.edits,
    })
}

fn checks_of(step: &EffectiveStep<'_>) -> Vec<Check> {
    let arguments = |check: &osier_recipe::Check| {
        let arguments = check.arguments.iter();
        arguments.map(|(name, value)| (name.clone(), value.value.clone())).collect()
    };
    let check = |check: &osier_recipe::Check| Check {
        name: check.name.value.clone(),
        arguments: arguments(check),
    };
    step.checks.iter().map(|(_, named)| check(named)).collect()
}

/// Adds what is not in a list already.
fn add_new(list: &mut Vec<Input>, more: Vec<Input>) {
    for input in more {
        if !list.contains(&input) {
            list.push(input);
        }
    }
}
