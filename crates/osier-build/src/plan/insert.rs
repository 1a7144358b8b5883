//! Putting the steps of edits into a planned graph.

use std::sync::Arc;

use osier_recipe::Jobs;
use osier_store::{Key, KeyBuilder};

use crate::graph::SourceEdit;
use crate::graph::{ComponentId, Environment, Graph, Step, StepId, View, Work};
use crate::key::{Part, Parts, Value, source_parts};

/// The name of the step that lays out what a person has changed.
const EDIT: &str = "edit";
/// That of what was changed before builds began afresh, where both are there.
const EARLIER: &str = "edit-before";

/// Takes of the parts of a source those that say what it is made of. Their labels stay what they were when the first edit
/// was begun.
struct Identity(KeyBuilder);

impl Parts for Identity {
    fn part(&mut self, _: impl FnOnce() -> Part) {}

    fn field(&mut self, label: &'static str, value: Value<'_>) {
        let label = match label {
            // Names, and what the patches that are known already do not depend on.
            "file" | "patch" | "component" | "component version" | "source" => return,
            "lone folder" => return Value::Number(1).hash("strip", &mut self.0),
            "name" => "source",
            "digest" => "archive",
            "content" => "patch",
            label => label,
        };
        value.hash(label, &mut self.0);
    }
}

/// What a person has changed in a component's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edits {
    /// What is laid directly on the patched source, so that all steps see it.
    pub before: SourceEdit,
    /// What is laid below the first step that notices changed files by itself; the steps before it do not see it.
    pub since: SourceEdit,
    /// The person's folder, for messages.
    pub place: String,
}

impl Graph {
    /// Finds the last step that makes the source of a component: the one that patches it, or else unpacks it.
    ///
    /// Nothing where there is none, or where the component's other steps do not lie on it.
    pub fn source_step(&self, component: ComponentId) -> Option<StepId> {
        let steps = &self.component(component).steps;
        let last = steps.iter().copied().rfind(|step| self.step(*step).view != View::All)?;
        let rests = steps.last().is_some_and(|top| self.chain(*top).contains(&last));
        rests.then_some(last)
    }

    /// Gives the folder below `/build` of a component's first source.
    pub fn source_folder(&self, component: ComponentId) -> Option<&str> {
        let component = self.component(component);
        component.variables.get("SOURCE")?.strip_prefix("/build/")
    }

    /// Tells one patched source from another, by what it is made of: archives, folders, patches. Unlike the key of a step it
    /// stays the same from one version of osier to the next.
    pub fn source_identity(&self, component: ComponentId) -> Key {
        let mut identity = Identity(KeyBuilder::new("source", 1));
        let component = self.component(component);
        for step in component.steps.iter().map(|step| self.step(*step)) {
            if !matches!(step.work, Work::Edit(_)) {
                source_parts(component, step, &mut identity);
            }
        }
        identity.0.finish()
    }

    /// Says whether a person's changes are among the steps of a component.
    pub fn is_edited(&self, component: ComponentId) -> bool {
        let steps = &self.component(component).steps;
        steps.iter().any(|step| matches!(self.step(*step).work, Work::Edit(_)))
    }

    /// Gives a graph of nothing but the steps that make a component's source, the last one being its end. Their keys are the
    /// same, since they see nothing of what the component is built with.
    pub fn source_graph(&self, component: ComponentId) -> Option<Self> {
        let chain = self.chain(self.source_step(component)?);
        let mut owner = self.component(component).clone();
        (owner.needs, owner.tools, owner.outputs) = Default::default();
        let key = owner.environment.key;
        owner.environment =
            Arc::new(Environment { key, request: Vec::new(), packages: Vec::new() });
        owner.steps.clear();
        let mut graph = Self { goals: vec![ComponentId(0)], ..Self::default() };
        for step in chain.iter().map(|step| self.step(*step)) {
            let id = StepId(u32::try_from(graph.steps.len()).ok()?);
            let step = Step { component: ComponentId(0), below: graph.until, ..step.clone() };
            graph.steps.push(step);
            graph.until = Some(id);
            owner.steps.push(id);
        }
        // Of the last step of a component the output is taken, so there is one more, which is never asked for.
        let end = graph.steps.last()?.clone();
        let work = Work::Script {
            text: String::new(),
            folder: String::new(),
            jobs: Jobs::One,
            memory: None,
            silence: None,
            flat: false,
        };
        owner.steps.push(StepId(u32::try_from(graph.steps.len()).ok()?));
        graph.steps.push(Step { below: graph.until, name: String::new(), work, ..end });
        graph.components.push(owner);
        Some(graph)
    }

    /// Puts what a person has changed into the chain of a component, and into those that start from one of its steps.
    ///
    /// Without a step that notices changed files all changes are laid on the patched source. Does nothing where the
    /// component has no source.
    pub fn insert_edits(&mut self, component: ComponentId, edits: &Edits) {
        let Some(source) = self.source_step(component) else { return };
        let (before, since) = (&edits.before, &edits.since);
        let mut base = source;
        if !before.changes.is_empty() {
            let name = if since.changes.is_empty() { EDIT } else { EARLIER };
            base =
                self.insert(StepId(source.0 + 1), edited(component, source, name, before, edits));
            self.lift(source, base);
        }
        if since.changes.is_empty() {
            return;
        }
        let notices = |step: &Step| step.reuse.as_ref().is_some_and(|reuse| reuse.edits);
        let steps = self.component(component).steps.iter().copied();
        let first = steps.skip_while(|step| *step <= base).find(|step| notices(self.step(*step)));
        let Some((first, under)) = first.and_then(|first| Some((first, self.step(first).below?)))
        else {
            let edit = self.insert(StepId(base.0 + 1), edited(component, base, EDIT, since, edits));
            self.lift(base, edit);
            return;
        };
        // Chains of other components that start between the source and there have not seen the changes either.
        let mut passed = self.chain(under);
        passed.retain(|step| *step >= base && *step != under);
        let starts_there = |step: &Step| {
            step.component != component && step.below.is_some_and(|below| passed.contains(&below))
        };
        let foreign: Vec<usize> =
            (0..self.steps.len()).filter(|at| starts_there(&self.steps[*at])).collect();
        for at in foreign.into_iter().rev() {
            let (owner, below) = (self.steps[at].component, self.steps[at].below);
            let Some(below) = below else { continue };
            let at = StepId(u32::try_from(at).unwrap_or(u32::MAX));
            self.insert(at, edited(owner, below, EDIT, since, edits));
            self.steps[at.0 as usize + 1].below = Some(at);
        }
        let edit = self.insert(first, edited(component, under, EDIT, since, edits));
        self.lift(under, edit);
    }

    /// Puts a step, which lies on an earlier one, at a place of the list of steps; ids from there on move up by one.
    fn insert(&mut self, id: StepId, step: Step) -> StepId {
        let moved = |known: &mut StepId| {
            if *known >= id {
                known.0 += 1;
            }
        };
        for step in &mut self.steps {
            step.below.iter_mut().for_each(moved);
        }
        self.components.iter_mut().for_each(|component| component.steps.iter_mut().for_each(moved));
        self.until.iter_mut().for_each(moved);
        let steps = &mut self.components[step.component.0 as usize].steps;
        let place = steps.iter().position(|step| *step > id).unwrap_or(steps.len());
        steps.insert(place, id);
        self.steps.insert(id.0 as usize, step);
        id
    }

    /// Puts everything that lies on a step on another one.
    fn lift(&mut self, from: StepId, onto: StepId) {
        let on = self.steps.iter_mut().enumerate().filter(|(_, step)| step.below == Some(from));
        for (_, step) in on.filter(|(at, _)| *at != onto.0 as usize) {
            step.below = Some(onto);
        }
    }
}

/// The step that lays a person's changes on another step.
fn edited(
    component: ComponentId,
    below: StepId,
    name: &str,
    edit: &SourceEdit,
    edits: &Edits,
) -> Step {
    Step {
        component,
        name: name.to_owned(),
        below: Some(below),
        work: Work::Edit(edit.clone()),
        view: View::Nothing,
        reuse: None,
        checks: Vec::new(),
        origin: edits.place.clone(),
    }
}
