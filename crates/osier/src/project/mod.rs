//! One project: its definitions, its lock, and plans of its systems.

pub(crate) mod edits;
pub(crate) mod library;
pub(crate) mod own_recipe;
pub(crate) mod tune;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use osier_build::{Definitions, FileInput, PlanError, Wanted};
use osier_recipe::{
    Diagnostic, EffectiveSystem, Kind, Level, Lock, MachineFile, Recipe, System, Target,
};
use osier_store::{Digest, IoContext, Store};

use crate::beside;
use crate::project::library::{BesideKind, Entry, Library, Shelf};
use crate::project::tune::Tuning;
use crate::report::problem::diagnosed;
use crate::report::problem::{Code, Outcome, Problem};
use crate::workplace::Workplace;

/// A project with its lock.
pub(crate) struct Project<'a> {
    pub(crate) workplace: &'a Workplace,
    pub(crate) store: &'a Store,
    library: Library,
    pub(crate) suite: String,
    pub(crate) default: Option<String>,
    pub(crate) profile: Option<String>,
    /// The toolchain of components that are asked for by themselves.
    toolchain: Option<String>,
    /// What is compiled for, where neither the command line nor a system says.
    pub(crate) tune: Option<Tuning>,
    pub(crate) lock: Lock,
    /// For what is built; never empty.
    pub(crate) targets: Vec<Target>,
}

/// What programs of the build environment run on.
pub(crate) const BUILD: Target = Target::X86_64;

/// The toolchain where the project names none.
const DEFAULT_TOOLCHAIN: &str = "toolchain";

/// A component's name without what stands behind `@`, and that: `busybox@aarch64` is what the toolchain makes for
/// aarch64, `busybox@x86_64@x86-64-v3` is compiled for that level.
pub(crate) fn split_target(name: &str) -> Outcome<(&str, Option<Target>, Option<Level>)> {
    let mut words = name.split('@');
    let name = words.next().unwrap_or_default();
    let (mut target, mut level) = (None, None);
    for word in words {
        match (Target::parse(word), Level::parse(word)) {
            (Some(found), _) if target.is_none() && level.is_none() => target = Some(found),
            (_, Some(found)) if level.is_none() => level = Some(found),
            _ => {
                let targets = Target::ALL.into_iter().flat_map(|target| {
                    let levels = Level::all(target).map(|level| level.to_string());
                    [target.to_string(), target.debian().to_owned()].into_iter().chain(levels)
                });
                return Err(crate::report::problem::unknown(
                    "target",
                    word,
                    &Vec::from_iter(targets),
                ));
            }
        }
    }
    if let (Some(target), Some(level)) = (target, level)
        && level.target() != target
    {
        let message = format!("`{level}` is a level of {}, not of {target}", level.target());
        return Err(Problem::of(osier_recipe::Code::WrongTune, message));
    }
    // A level of another machine's processors says for which target.
    let foreign = level.map(Level::target).filter(|target| *target != BUILD);
    Ok((name, target.or(foreign), level))
}

/// What a name on the command line means.
pub(crate) enum Goal {
    System(Box<System>, Entry),
    Component(String),
}

/// What to do about a lock that cannot be read. osier never writes over it.
const RESTORE: &str = "restore osier.lock, for example with `git checkout osier.lock` or from a backup. If you cannot, remove the file and run the same command again: osier then pins everything again, perhaps in newer versions";

/// Says what has become of a lock that cannot be read, and what to do.
fn damaged_lock(wrong: &[Diagnostic], text: &str) -> Problem {
    let marked = |line: &str| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ");
    if text.trim_matches(['\0', ' ', '\n', '\r', '\t']).is_empty() {
        let mut problem =
            Problem::of(osier_recipe::Code::MissingKey, "osier.lock is empty: its pins are lost");
        problem.hints.push(RESTORE.to_owned());
        return problem;
    }
    if let Some(line) = text.lines().position(marked) {
        let message = format!("osier.lock:{}: the file has an unresolved merge conflict", line + 1);
        return Problem::of(osier_recipe::Code::Syntax, message)
            .hint("keep one of the two sides whole and run the same command again: osier adds the pins that it lacks");
    }
    let mut problem = diagnosed(wrong, |_| Some(text.to_owned()));
    // A lock of another version is in order, and its error says what to do.
    if wrong.iter().all(|error| error.code != osier_recipe::Code::LockVersion) {
        problem.hints.push(RESTORE.to_owned());
    }
    problem
}

impl<'a> Project<'a> {
    /// Reads the project's file and lock.
    pub(crate) fn open(workplace: &'a Workplace, store: &'a Store) -> Outcome<Self> {
        let path = workplace.project.join("osier.toml");
        let mut project = Self {
            workplace,
            store,
            library: Library::new(Some(workplace.project.clone())),
            suite: osier_recipe::Project::DEFAULT_SUITE.to_owned(),
            default: None,
            profile: None,
            toolchain: None,
            tune: None,
            lock: Lock::default(),
            targets: workplace.global.targets.clone(),
        };
        project.targets.sort();
        project.targets.dedup();
        if project.targets.is_empty() {
            project.targets.push(BUILD);
        }
        match fs::read_to_string(&path) {
            Ok(text) => {
                let parsed = osier_recipe::Project::parse("osier.toml", &text);
                let file = parsed.map_err(|wrong| diagnosed(&wrong, |_| Some(text.clone())))?;
                if let Some(suite) = file.suite {
                    project.suite = suite.value;
                }
                project.default = file.default.map(|name| name.value);
                project.profile = file.profile.map(|name| name.value);
                project.toolchain = file.toolchain.map(|name| name.value);
                project.tune = Tuning::of_file(file.origin, file.tune);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("read", &path).map_err(Problem::from),
        }
        let path = project.lock_path();
        match fs::read_to_string(&path) {
            Ok(text) => {
                let parsed = Lock::parse("osier.lock", &text);
                project.lock = parsed.map_err(|wrong| damaged_lock(&wrong, &text))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                let message = "osier.lock is not text: it is damaged";
                return Err(Problem::of(osier_recipe::Code::NotText, message).hint(RESTORE));
            }
            Err(error) => return Err(error).at("read", &path).map_err(Problem::from),
        }
        Ok(project)
    }

    pub(crate) fn lock_path(&self) -> PathBuf {
        self.workplace.project.join("osier.lock")
    }

    /// Writes the lock beside the project's file, whole or not at all.
    pub(crate) fn write_lock(&self) -> Outcome<()> {
        Ok(beside::write(&self.lock_path(), self.lock.to_text())?)
    }

    pub(crate) fn library(&self) -> &Library {
        &self.library
    }

    /// Finds out what a name means: a system first, then a component.
    pub(crate) fn goal(&self, name: Option<&str>) -> Outcome<Goal> {
        let Some(name) = name.or(self.default.as_deref()) else {
            let known = self.library().names(Shelf::Systems);
            return Err(Problem::of(
                Code::Usage,
                "no system is named, and the project has no default",
            )
            .hint(format!("name one of: {}", known.join(", "))));
        };
        if let Some(entry) = self.library().find(Shelf::Systems, name)? {
            let system = System::parse(&entry.label, &entry.text, Some(name));
            let system = system.map_err(|wrong| diagnosed(&wrong, |_| Some(entry.text.clone())))?;
            for target in &self.targets {
                if !system.supports(*target) {
                    let message =
                        format!("the system `{name}` does not support the target {target}");
                    return Err(Problem::of(osier_recipe::Code::UnsupportedTarget, message));
                }
            }
            return Ok(Goal::System(Box::new(system), entry));
        }
        let (component, ..) = split_target(name)?;
        if self.library().find(Shelf::Recipes, component)?.is_some() {
            return Ok(Goal::Component(name.to_owned()));
        }
        let mut known = self.library().names(Shelf::Systems);
        known.extend(self.library().names(Shelf::Recipes));
        Err(crate::report::problem::unknown("system or component", name, &known))
    }

    /// Gives the one target of a command that knows no more.
    pub(crate) fn target(&self) -> Outcome<Target> {
        match self.targets.as_slice() {
            [target] => Ok(*target),
            _ => Err(Problem::of(Code::Usage, "this command takes one --target")),
        }
    }

    /// Gives what a component's name asks for, for each target.
    ///
    /// What is for this machine is compiled by the build environment's own compiler, unless the name says `@TARGET`.
    pub(crate) fn wanted(&self, name: &str) -> Outcome<Vec<Wanted>> {
        let (name, only, level) = split_target(name)?;
        let recipe = self.read_recipe(name)?;
        let targets = match only.or(level.map(Level::target)) {
            Some(target) => vec![target],
            None => self.targets.clone(),
        };
        let wanted = targets.into_iter().map(|target| {
            let compiled = only.is_some() || target != BUILD || recipe.role.is_some();
            let toolchain = match (&recipe.toolchain, &self.toolchain) {
                (Some(_), _) => name,
                (None, Some(toolchain)) => toolchain,
                (None, None) => DEFAULT_TOOLCHAIN,
            };
            let toolchain = (compiled || recipe.toolchain.is_some()).then(|| toolchain.to_owned());
            let tuning = level.map(Tuning::from).or_else(|| self.tuning(None));
            let tune = self.level(tuning.as_ref(), target, toolchain.as_deref())?;
            Ok(Wanted { name: name.to_owned(), target, toolchain, tune })
        });
        wanted.collect()
    }

    /// Gives the components that a system is made of, its kernel's included.
    pub(crate) fn wanted_by(&self, system: &System, target: Target) -> Outcome<Vec<Wanted>> {
        let effective = system.effective(target);
        let mut names: Vec<&str> =
            effective.components.iter().map(|component| component.name.as_str()).collect();
        if let Some(kernel) = effective.kernel
            && !names.contains(&kernel.component.as_str())
        {
            names.push(&kernel.component);
        }
        for component in effective.taken() {
            if !names.contains(&component.name.as_str()) {
                names.push(&component.name);
            }
        }
        let toolchain = system.toolchain.as_ref().map(|toolchain| toolchain.value.clone());
        self.supported(&effective, target)?;
        let tune = self.level_of(system, target)?;
        let wanted = |name: &str| Wanted {
            name: name.to_owned(),
            target,
            toolchain: toolchain.clone(),
            tune,
        };
        Ok(names.into_iter().map(wanted).collect())
    }

    /// Checks that the components that a system names are there for a target; each is told once, where it is named first.
    fn supported(&self, system: &EffectiveSystem<'_>, target: Target) -> Outcome<()> {
        let components = system.components.iter().map(|named| (named.name.as_str(), &named.span));
        let kernel = system.kernel.iter().map(|kernel| (kernel.component.as_str(), &kernel.span));
        let taken = system.taken().map(|taken| (taken.name.as_str(), &taken.span));
        let origin = &system.system.origin;
        let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
        for (name, span) in components.chain(kernel).chain(taken) {
            if !seen.insert(name) {
                continue;
            }
            let Some(entry) = self.library().find(Shelf::Recipes, name)? else {
                let known = self.library().names(Shelf::Recipes);
                let known = known.iter().map(String::as_str);
                wrong.push(Diagnostic::unknown_component(origin, span, name, known));
                continue;
            };
            // Most recipes are for all targets, and the plan reads them anyway.
            if !entry.text.contains("targets") {
                continue;
            }
            let recipe = self.read_recipe(name)?;
            if recipe.supports(target) {
                continue;
            }
            let mut error = Diagnostic::unsupported_target(origin, span, name, target);
            if let Some(first) = recipe.targets.first() {
                error = error.related(&recipe.origin, &first.span, "it says so here");
            }
            let other = Target::ALL.into_iter().find(|other| recipe.supports(*other));
            let other = other.map_or("…", Target::as_str);
            wrong.push(error.hint(format!("name it only in `[target.{other}]` of the system")));
        }
        match wrong.as_slice() {
            [] => Ok(()),
            wrong => Err(diagnosed(wrong, |file| self.text_of(file))),
        }
    }

    /// Reads a machine.
    pub(crate) fn machine(&self, name: &str) -> Outcome<MachineFile> {
        let Some(entry) = self.library().find(Shelf::Machines, name)? else {
            return Err(crate::report::problem::unknown(
                "machine",
                name,
                &self.library().names(Shelf::Machines),
            ));
        };
        MachineFile::parse(&entry.label, &entry.text, Some(name))
            .map_err(|wrong| diagnosed(&wrong, |_| Some(entry.text.clone())))
    }

    /// Finds the text of a definition by the label that its errors carry.
    pub(crate) fn text_of(&self, label: &str) -> Option<String> {
        if label == "osier.toml" {
            return fs::read_to_string(self.workplace.project.join(label)).ok();
        }
        for shelf in [Shelf::Recipes, Shelf::Kinds, Shelf::Systems, Shelf::Machines] {
            for name in self.library().names(shelf) {
                if let Ok(Some(entry)) = self.library().find(shelf, &name)
                    && entry.label == label
                {
                    return Some(entry.text);
                }
            }
        }
        None
    }

    /// Reads a recipe by name.
    pub(crate) fn read_recipe(&self, name: &str) -> Outcome<Recipe> {
        let Some(entry) = self.library().find(Shelf::Recipes, name)? else {
            return Err(crate::report::problem::unknown(
                "component",
                name,
                &self.library().names(Shelf::Recipes),
            ));
        };
        Recipe::parse(&entry.label, &entry.text, Some(name))
            .map_err(|wrong| diagnosed(&wrong, |_| Some(entry.text.clone())))
    }
}

impl Project<'_> {
    /// Reads a kind by name.
    pub(crate) fn read_kind(&self, name: &str) -> Outcome<Kind> {
        let Some(entry) = self.library().find(Shelf::Kinds, name)? else {
            return Err(crate::report::problem::unknown(
                "kind",
                name,
                &self.library().names(Shelf::Kinds),
            ));
        };
        Kind::parse(&entry.label, &entry.text, Some(name))
            .map_err(|wrong| diagnosed(&wrong, |_| Some(entry.text.clone())))
    }
}

impl Definitions for Project<'_> {
    fn recipe(&self, name: &str) -> Result<Option<Recipe>, PlanError> {
        let Some(entry) = self.library().find(Shelf::Recipes, name)? else { return Ok(None) };
        let recipe = Recipe::parse(&entry.label, &entry.text, Some(name));
        recipe.map(Some).map_err(PlanError::Wrong)
    }

    fn kind(&self, name: &str) -> Result<Option<Kind>, PlanError> {
        let Some(entry) = self.library().find(Shelf::Kinds, name)? else { return Ok(None) };
        let kind = Kind::parse(&entry.label, &entry.text, Some(name));
        kind.map(Some).map_err(PlanError::Wrong)
    }

    fn files(&self, recipe: &str, patterns: &[&str]) -> Result<Vec<FileInput>, PlanError> {
        let Some(entry) = self.library().find(Shelf::Recipes, recipe)? else {
            return Ok(Vec::new());
        };
        let files = entry.matching(patterns)?.into_iter().filter_map(|file| match file.kind {
            BesideKind::File { content, executable } => Some(FileInput {
                origin: entry.label_of(&file.path),
                path: file.path,
                content: content.into(),
                executable,
            }),
            _ => None,
        });
        Ok(files.collect())
    }

    fn folder(&self, recipe: &str, path: &str) -> Result<Option<Digest>, PlanError> {
        let Some(entry) = self.library().find(Shelf::Recipes, recipe)? else { return Ok(None) };
        Ok(entry.tree(self.store, path)?)
    }

    fn recipe_names(&self) -> Vec<String> {
        self.library().names(Shelf::Recipes)
    }

    fn kind_names(&self) -> Vec<String> {
        self.library().names(Shelf::Kinds)
    }
}
