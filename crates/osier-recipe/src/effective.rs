//! A recipe with the tables of a target and a profile applied, and its steps.

use std::collections::BTreeMap;
use std::ops::Deref;

use crate::component_ref::ComponentRef;
use crate::diagnostic::quoted;
use crate::jobs::asks_for_a_number;
use crate::{
    AFTER_SOURCES, Check, Code, Diagnostic, Jobs, Kind, Named, Origin, Part, Recipe, Reuse,
    Setting, Spanned, Step, StepRef, Target, Value, Waiver,
};

/// A recipe for one target in one profile.
///
/// Lists are the plain ones, then the target's, then the profile's, each element once; of `env` and `with`
/// the last value counts.
#[derive(Debug, Clone)]
pub struct EffectiveRecipe<'r> {
    /// The recipe.
    pub recipe: &'r Recipe,
    /// Debian packages added to the build environment.
    pub packages: Vec<&'r Spanned<String>>,
    /// Components that run in the build.
    pub tools: Vec<&'r Spanned<ComponentRef>>,
    /// Components that are linked for the target.
    pub needs: Vec<&'r Spanned<ComponentRef>>,
    /// Environment variables that the recipe gives.
    pub env: BTreeMap<&'r str, &'r Spanned<String>>,
    /// Patterns of files that the steps see.
    pub files: Vec<&'r Spanned<String>>,
    /// Patterns of patches, in the order in which they are applied.
    pub patches: Vec<&'r Spanned<String>>,
    /// Patches whose conflict does not stop the build; of several that name one patch the last counts.
    pub waivers: Vec<&'r Waiver>,
    /// Values of the kind's variables.
    pub with: BTreeMap<&'r str, &'r Setting>,
    /// The parts that hold, in order.
    parts: Vec<&'r Part>,
}

/// A value of a recipe or of its kind, with the file that it stands in.
#[derive(Debug)]
pub struct Located<'r, T> {
    /// The file.
    pub origin: &'r Origin,
    /// The value and its place.
    pub value: &'r Spanned<T>,
}

impl<T> Clone for Located<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Located<'_, T> {}

impl<T> Deref for Located<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value.value
    }
}

/// The steps of a component, in the order in which they run, and what they all see.
#[derive(Debug, Clone)]
pub struct EffectiveSteps<'r> {
    /// The kind's variables by name, over the recipe's `env`, over the kind's.
    pub environment: BTreeMap<&'r str, String>,
    /// The steps.
    pub steps: Vec<EffectiveStep<'r>>,
}

/// One step of a component: the kind's with the recipe's changes, or the recipe's own.
#[derive(Debug, Clone)]
pub struct EffectiveStep<'r> {
    /// The name.
    pub name: Located<'r, String>,
    /// The script.
    pub run: Located<'r, String>,
    /// The step of another component on whose layer this one starts.
    pub from: Option<Located<'r, StepRef>>,
    /// Debian packages for this step alone.
    pub packages: Vec<Located<'r, String>>,
    /// The working folder, in which variables of the environment may stand; none for the source's.
    pub folder: Option<Located<'r, String>>,
    /// How the step gets its jobs.
    pub jobs: Jobs,
    /// Most bytes of memory that all processes of the step use together; nothing where the recipe does not say.
    pub memory: Option<u64>,
    /// Minutes of CPU time without a word after which the step is ended; 0 for none.
    pub silence: Option<u64>,
    /// Whether what the steps before left is copied into the step's own layer first.
    pub flat: bool,
    /// Built-in checks behind the script, each with the file that asks for it.
    pub checks: Vec<(&'r Origin, &'r Check)>,
    /// From which earlier builds the step may start.
    pub reuse: Option<Located<'r, Reuse>>,
    /// The step behind which the recipe placed this one.
    after: Option<&'r str>,
}

impl Recipe {
    /// Applies the tables of a target and then of a profile; a profile that the recipe lacks changes nothing.
    pub fn effective<'r>(&'r self, target: Target, profile: Option<&str>) -> EffectiveRecipe<'r> {
        EffectiveRecipe::new(
            self,
            self.target_parts.get(&target),
            profile.and_then(|name| self.profiles.get(name)),
        )
    }
}

impl<'r> EffectiveRecipe<'r> {
    pub(crate) fn new(
        recipe: &'r Recipe,
        target: Option<&'r Part>,
        profile: Option<&'r Part>,
    ) -> Self {
        let parts: Vec<&Part> =
            [Some(&recipe.base), target, profile].into_iter().flatten().collect();
        Self {
            recipe,
            packages: each_once(&parts, |part| &part.packages),
            tools: each_once(&parts, |part| &part.tools),
            needs: each_once(&parts, |part| &part.needs),
            env: last(&parts, |part| &part.env),
            files: each_once(&parts, |part| &part.files),
            patches: each_once(&parts, |part| &part.patches),
            waivers: parts.iter().flat_map(|part| &part.waivers).collect(),
            with: last(&parts, |part| &part.with),
            parts,
        }
    }

    /// Joins the recipe with its kind.
    ///
    /// Fails with everything in the recipe that does not fit the kind: variables that it does not declare,
    /// requires or types otherwise, and steps that are named and do not exist.
    pub fn steps(&self, kind: &'r Kind) -> Result<EffectiveSteps<'r>, Vec<Diagnostic>> {
        let mut wrong = Vec::new();
        let environment = self.environment(kind, &mut wrong);
        let mut steps: Vec<EffectiveStep<'r>> =
            kind.steps.iter().filter_map(|step| EffectiveStep::new(&kind.origin, step)).collect();
        for part in &self.parts {
            for step in &part.steps {
                if let Err(error) = self.apply(step, &mut steps) {
                    wrong.push(*error);
                }
            }
        }
        wrong.extend(steps.iter().filter_map(EffectiveStep::wants_a_number));
        if wrong.is_empty() {
            return Ok(EffectiveSteps { environment, steps });
        }
        wrong.sort_by(|a, b| {
            (a.span.start, a.code, &a.message).cmp(&(b.span.start, b.code, &b.message))
        });
        Err(wrong)
    }

    fn environment(
        &self,
        kind: &'r Kind,
        wrong: &mut Vec<Diagnostic>,
    ) -> BTreeMap<&'r str, String> {
        let origin = &self.recipe.origin;
        for (name, setting) in &self.with {
            let (key, value) = (&setting.key, &setting.value);
            match kind.variable(name) {
                None => {
                    let known = kind.variables.iter().map(|variable| variable.name.as_str());
                    let message =
                        format!("the kind `{}` has no variable {}", kind.name, quoted(name));
                    let error = origin.error(Code::UnknownVariable, key, message).near(name, known);
                    wrong.push(error.related(&kind.origin, &kind.name.span, "the kind"));
                }
                Some(variable) if variable.kind != value.kind() => {
                    let message =
                        format!("`{name}` is of type {}, not {}", variable.kind, value.kind());
                    let error = origin.error(Code::WrongVariable, &value.span, message);
                    wrong.push(error.related(&kind.origin, &variable.name.span, &*variable.doc));
                }
                Some(_) => {}
            }
        }
        let mut environment: BTreeMap<&str, String> = BTreeMap::new();
        environment
            .extend(kind.env.iter().map(|(name, value)| (name.as_str(), value.value.clone())));
        environment.extend(self.env.iter().map(|(name, value)| (*name, value.value.clone())));
        for variable in &kind.variables {
            let name = variable.name.as_str();
            if let Some(value) = self.env.get(name) {
                let message = format!("`{name}` is a variable of the kind `{}`", kind.name);
                wrong.push(
                    origin.error(Code::Conflict, &value.span, message).hint("set it in `with`"),
                );
            }
            let given = self.with.get(name).map(|setting| &setting.value.value);
            match given.or(variable.default.as_ref()).map(Value::to_environment) {
                Some(value) => {
                    environment.insert(name, value);
                }
                None => {
                    let message = format!("the kind `{}` needs the variable `{name}`", kind.name);
                    let place =
                        self.recipe.kind.as_ref().map_or(&self.recipe.name.span, |kind| &kind.span);
                    let error = origin.error(Code::MissingVariable, place, message);
                    let error = error.hint(format!("set it in `[with]`: {}", variable.doc));
                    wrong.push(error.related(&kind.origin, &variable.name.span, "declared here"));
                }
            }
        }
        environment
    }

    fn apply(
        &self,
        step: &'r Step,
        steps: &mut Vec<EffectiveStep<'r>>,
    ) -> Result<(), Box<Diagnostic>> {
        let origin = &self.recipe.origin;
        let unknown = |name: &Spanned<String>, steps: &[EffectiveStep<'_>]| {
            let known = steps.iter().map(|step| step.name.as_str());
            Diagnostic::unknown(Code::UnknownStep, "step", origin, &name.span, name, known)
        };
        if let Some(at) = steps.iter().position(|known| known.name.value.value == step.name.value) {
            if let Some(after) = &step.after {
                let message = format!(
                    "the kind has a step `{}` already, and `after` places only new steps",
                    step.name
                );
                return Err(Box::new(origin.error(Code::Conflict, &after.span, message)));
            }
            if step.skip {
                steps.remove(at);
            } else {
                steps[at].change(origin, step);
            }
            return Ok(());
        }
        if step.skip {
            return Err(Box::new(unknown(&step.name, steps)));
        }
        let Some(mut new) = EffectiveStep::new(origin, step) else {
            let known = steps.iter().map(|step| step.name.as_str());
            let message = format!("the step `{}` is new and has no `run`", step.name);
            let error =
                origin.error(Code::MissingKey, &step.name.span, message).near(&step.name, known);
            return Err(Box::new(error));
        };
        let Some(after) = &step.after else {
            steps.push(new);
            return Ok(());
        };
        let named = steps.iter().position(|known| known.name.value.value == after.value);
        let mut at = match named {
            Some(at) => at + 1,
            None if after.value == AFTER_SOURCES => 0,
            None => return Err(Box::new(unknown(after, steps))),
        };
        // Several steps behind one stay in the order of the file.
        while steps.get(at).is_some_and(|known| known.after == Some(after.as_str())) {
            at += 1;
        }
        new.after = Some(after);
        steps.insert(at, new);
        Ok(())
    }
}

impl<'r> EffectiveStep<'r> {
    /// None for a step without a script.
    fn new(origin: &'r Origin, step: &'r Step) -> Option<Self> {
        let run = Located { origin, value: step.run.as_ref()? };
        let name = Located { origin, value: &step.name };
        let mut new = Self {
            name,
            run,
            from: None,
            packages: Vec::new(),
            folder: None,
            jobs: Jobs::default(),
            memory: None,
            silence: None,
            flat: false,
            checks: Vec::new(),
            reuse: None,
            after: None,
        };
        new.change(origin, step);
        Some(new)
    }

    /// Finds a script that uses a number of jobs without having one: taken as nothing, it would run one job at a time, or any number.
    fn wants_a_number(&self) -> Option<Diagnostic> {
        if self.jobs != Jobs::Jobserver || !asks_for_a_number(self.run.value) {
            return None;
        }
        let message = format!(
            "the script of `{}` uses $JOBS, which is set only with `jobs = \"share\"`",
            self.name.value
        );
        let error = self.run.origin.error(Code::UnknownName, &self.run.value.span, message);
        Some(error.hint("call make without `-j`, or write `jobs = \"share\"`"))
    }

    fn change(&mut self, origin: &'r Origin, step: &'r Step) {
        fn replace<'r, T>(
            old: &mut Option<Located<'r, T>>,
            origin: &'r Origin,
            new: Option<&'r Spanned<T>>,
        ) {
            *old = new.map(|value| Located { origin, value }).or(*old);
        }
        if let Some(value) = &step.run {
            self.run = Located { origin, value };
        }
        replace(&mut self.from, origin, step.from.as_ref());
        replace(&mut self.folder, origin, step.folder.as_ref());
        replace(&mut self.reuse, origin, step.reuse.as_ref());
        self.jobs = match (step.parallel, step.jobs) {
            (Some(false), _) => Jobs::One,
            (Some(true), None) if self.jobs == Jobs::One => Jobs::default(),
            (_, jobs) => jobs.unwrap_or(self.jobs),
        };
        self.memory = step.memory.or(self.memory);
        self.silence = step.silence.or(self.silence);
        self.flat = step.flat.unwrap_or(self.flat);
        for value in &step.packages {
            if self.packages.iter().all(|known| known.value.value != value.value) {
                self.packages.push(Located { origin, value });
            }
        }
        self.checks.extend(step.checks.iter().map(|check| (origin, check)));
    }
}

fn each_once<'r, T: PartialEq>(
    parts: &[&'r Part],
    list: impl Fn(&'r Part) -> &'r Vec<Spanned<T>>,
) -> Vec<&'r Spanned<T>> {
    let mut all: Vec<&Spanned<T>> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        // The elements of one list are different already.
        let known = all.len();
        let new = list(part).iter();
        if at == 0 {
            all.extend(new);
        } else {
            for element in new {
                if all[..known].iter().all(|earlier| earlier.value != element.value) {
                    all.push(element);
                }
            }
        }
    }
    all
}

fn last<'r, T>(
    parts: &[&'r Part],
    map: impl Fn(&'r Part) -> &'r Named<T>,
) -> BTreeMap<&'r str, &'r T> {
    parts
        .iter()
        .flat_map(|part| map(part).iter())
        .map(|(name, value)| (name.as_str(), value))
        .collect()
}
