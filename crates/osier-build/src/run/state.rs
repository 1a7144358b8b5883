//! The scheduler's knowledge of one build: which keys, layers and results are known, and what waits on what.

use osier_store::{Digest, Key, Remembered, Store};

use crate::Event;
use crate::graph::{Component, ComponentId, Graph, Step, StepId, View, Work};
use crate::key::{KnownInput, StepInputs, edits_key, outputs_key, reuse_key, step_key};
use crate::layer::edited::EditCall;
use crate::layer::reuse::ReuseCall;
use crate::run::{ComponentResult, Engine};

/// The scheduler's knowledge of one build.
pub(crate) struct State<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) keys: Vec<Option<Key>>,
    /// The layers that make up a step's, the topmost first.
    pub(crate) layers: Vec<Option<Vec<Key>>>,
    pub(crate) wanted: Vec<bool>,
    pub(crate) waiters: Vec<Vec<StepId>>,
    pub(crate) results: Vec<Option<ComponentResult>>,
    pub(crate) keyed: Vec<bool>,
    pub(crate) dependants: Vec<Vec<ComponentId>>,
    /// Steps that can start now; whoever starts them takes them out.
    pub(crate) ready: Vec<StepId>,
    pub(crate) ran: Vec<bool>,
    /// Keys that gc has not been told of yet.
    pub(crate) found: Vec<Key>,
    /// Results that were looked up together.
    pub(crate) remembered: Remembered,
    /// How many results were not among them.
    pub(crate) looked_up: usize,
    /// Whether layers are compared with their records before they count as there; they are where they are to be used.
    looks: bool,
}

/// What a worker needs to know of a step, so that it touches no state of the scheduler.
pub(crate) struct Job<'g> {
    pub(crate) component: &'g Component,
    pub(crate) step: &'g Step,
    pub(crate) key: Key,
    /// Whether the step has to run; else only its output is taken.
    pub(crate) run: bool,
    /// How many jobs it may use; a step that takes them as it goes has fewer for certain.
    pub(crate) jobs: usize,
    /// How to find an earlier run to go on from, where the step may.
    pub(crate) reuse: Option<ReuseCall<'g>>,
    /// The same while a person edits the source.
    pub(crate) edits: Option<EditCall>,
    /// The layers of the component's scripts that the step lies on, where it lays out an edit.
    pub(crate) written: Vec<Key>,
    /// The layers below, the topmost first.
    pub(crate) below: Vec<Key>,
    /// The layers of the component's own steps, the topmost first, where this step is the last one.
    pub(crate) own: Option<Vec<Key>>,
    pub(crate) needs: Vec<KnownInput>,
    pub(crate) tools: Vec<KnownInput>,
}

pub(crate) fn index(position: usize) -> u32 {
    u32::try_from(position).expect("a graph has fewer than 2^32 nodes")
}

impl<'g> State<'g> {
    /// A state for finding out what there is, by the records alone.
    pub(crate) fn new(graph: &'g Graph) -> Self {
        Self::with(graph, false)
    }

    /// A state for using what there is.
    pub(crate) fn looking(graph: &'g Graph) -> Self {
        Self::with(graph, true)
    }

    fn with(graph: &'g Graph, looks: bool) -> Self {
        let mut dependants = vec![Vec::new(); graph.components.len()];
        for (position, component) in graph.components.iter().enumerate() {
            let id = ComponentId(index(position));
            for other in before(graph, component) {
                dependants[other.0 as usize].push(id);
            }
        }
        Self {
            graph,
            keys: vec![None; graph.steps.len()],
            layers: vec![None; graph.steps.len()],
            wanted: vec![false; graph.steps.len()],
            waiters: vec![Vec::new(); graph.steps.len()],
            results: vec![None; graph.components.len()],
            keyed: vec![false; graph.components.len()],
            dependants,
            ready: Vec::new(),
            ran: vec![false; graph.components.len()],
            found: Vec::with_capacity(graph.steps.len()),
            remembered: Remembered::default(),
            looked_up: 0,
            looks,
        }
    }

    pub(crate) fn inputs(&self, inputs: &[crate::Input]) -> Option<Vec<KnownInput>> {
        let mut known = Vec::with_capacity(inputs.len());
        for input in inputs {
            let result = self.results[input.component.0 as usize].as_ref()?;
            let found = result.outputs.iter().find(|(name, _)| *name == input.output)?;
            known.push(KnownInput {
                name: self.graph.component(input.component).recipe.clone(),
                output: input.output.clone(),
                digest: found.1,
            });
        }
        Some(known)
    }

    /// Computes the keys of a component's steps once everything they cover is known.
    pub(crate) fn key(&mut self, engine: &Engine<'_>, id: ComponentId) -> bool {
        let component = self.graph.component(id);
        let (Some(needs), Some(tools)) =
            (self.inputs(&component.needs), self.inputs(&component.tools))
        else {
            return false;
        };
        for step_id in &component.steps {
            let step = self.graph.step(*step_id);
            let below = match step.below {
                None => None,
                Some(below) => match self.keys[below.0 as usize] {
                    None => return false,
                    Some(key) => Some(key),
                },
            };
            let key = match engine.hand_made.get(step_id) {
                Some((key, _)) => {
                    self.layers[step_id.0 as usize] = Some(vec![*key]);
                    *key
                }
                None => step_key(&StepInputs {
                    component,
                    step,
                    below: below.as_ref(),
                    needs: &needs,
                    tools: &tools,
                    checks: engine.checks,
                }),
            };
            self.keys[step_id.0 as usize] = Some(key);
            self.found.push(key);
        }
        self.keyed[id.0 as usize] = true;
        true
    }

    /// Takes up a component: its result from the index, or else its last step is wanted.
    pub(crate) fn take_up(&mut self, engine: &Engine<'_>, first: ComponentId) {
        let mut waiting = vec![first];
        while let Some(id) = waiting.pop() {
            let position = id.0 as usize;
            if self.keyed[position] || !self.key(engine, id) {
                continue;
            }
            let component = self.graph.component(id);
            let Some(last) = component.steps.last() else { continue };
            if let Some(until) =
                self.graph.until.filter(|step| self.graph.step(*step).component == id)
            {
                self.want(engine, until);
                continue;
            }
            let top = self.keys[last.0 as usize].expect("keyed just now");
            let key = outputs_key(component, &top);
            if key != top {
                self.found.push(key);
            }
            let found = self.remembered.results.remove(&key).or_else(|| {
                self.looked_up += 1;
                engine.store.index().result(&key)
            });
            if let Some((outputs, reused)) = found {
                self.results[position] =
                    Some(ComponentResult { key, outputs, cached: true, reused });
            } else {
                self.want(engine, *last);
            }
            // A chain that starts on one of this component's steps needs just the keys.
            waiting.extend(self.dependants[position].iter().copied());
        }
    }

    pub(crate) fn want(&mut self, engine: &Engine<'_>, id: StepId) {
        // Chains are as long as recipes make them, so this is no recursion. From the bottom up, so that layers below are known.
        let below = |id: &StepId| self.graph.step(*id).below;
        let chain = std::iter::successors(Some(id), below);
        let new: Vec<StepId> = chain.take_while(|id| !self.wanted[id.0 as usize]).collect();
        for id in new.into_iter().rev() {
            self.want_one(engine, id);
        }
    }

    fn want_one(&mut self, engine: &Engine<'_>, id: StepId) {
        self.wanted[id.0 as usize] = true;
        self.find_layer(engine, id);
        // All layers below are mounted, so it waits for the nearest one that is not there, which waits in turn.
        let mut below = self.graph.step(id).below;
        while let Some(step) = below {
            if self.layers[step.0 as usize].is_none() {
                self.waiters[step.0 as usize].push(id);
                return;
            }
            below = self.graph.step(step).below;
        }
        self.ready.push(id);
    }

    /// Looks whether the layer of a step is there: it may have been made before this build, or by a step with the same key.
    pub(crate) fn find_layer(&mut self, engine: &Engine<'_>, id: StepId) {
        let position = id.0 as usize;
        if self.layers[position].is_some() {
            return;
        }
        let key = self.keys[position].expect("a wanted step is keyed");
        if let Some(keys) = engine.store.index().layer(&key) {
            self.found.extend(keys);
        }
        self.layers[position] = recorded_layers(engine.store, &key, self.looks);
    }

    /// The steps that have to run, as far as their keys are known; all steps of other open components.
    pub(crate) fn open_steps(&self) -> Vec<StepId> {
        let mut open = Vec::new();
        for (position, component) in self.graph.components.iter().enumerate() {
            if self.results[position].is_some() {
                continue;
            }
            let keyed = self.keyed[position];
            let until = self.graph.until.filter(|until| component.steps.contains(until));
            let steps = component.steps.iter().copied();
            open.extend(steps.filter(|step| {
                let wanted = until.is_none_or(|until| *step <= until);
                wanted && (!keyed || self.layers[step.0 as usize].is_none())
            }));
        }
        open
    }

    /// What waits on a step can go on, now that its layer is there.
    pub(crate) fn release(&mut self, id: StepId) {
        self.ready.append(&mut self.waiters[id.0 as usize]);
    }

    /// Describes the work of a ready step; nothing where its layer is there and no output is asked of it.
    pub(crate) fn job(&self, engine: &Engine<'_>, id: StepId) -> Option<Job<'g>> {
        let step = self.graph.step(id);
        let component = self.graph.component(step.component);
        let run = self.layers[id.0 as usize].is_none();
        let last = component.steps.last() == Some(&id);
        if !run && !last {
            return None;
        }
        let key = self.keys[id.0 as usize].expect("a ready step is keyed");
        let own = last.then(|| {
            let places = |step: &StepId| {
                let key =
                    self.keys[step.0 as usize].expect("the steps of a keyed component are keyed");
                self.layers[step.0 as usize].clone().unwrap_or_else(|| vec![key])
            };
            component.steps.iter().rev().flat_map(places).collect()
        });
        let needs = self.inputs(&component.needs).unwrap_or_default();
        let tools = self.inputs(&component.tools).unwrap_or_default();
        // What was made by hand is recorded under no key, and nothing recorded may come from it.
        let by_hand = self.graph.chain(id).iter().any(|step| engine.hand_made.contains_key(step));
        let (mut reuse, mut edits) = (None, None);
        if run && !by_hand {
            let checks = engine.checks;
            let (needs, tools) = (&needs, &tools);
            let inputs = StepInputs { component, step, below: None, needs, tools, checks };
            reuse = self.reuse_call(engine, inputs, step);
            edits = self.edit_call(engine, inputs);
        }
        Some(Job {
            component,
            step,
            key,
            run,
            jobs: 1,
            reuse,
            edits,
            written: self.written(id),
            below: self.stack(id),
            own,
            needs,
            tools,
        })
    }

    /// Gathers what it takes to find an earlier run of a step that notices changed sources by their times.
    fn edit_call(&self, engine: &Engine<'_>, inputs: StepInputs<'_>) -> Option<EditCall> {
        let step = inputs.step;
        step.reuse.as_ref().filter(|reuse| reuse.edits)?;
        let id = step.below?;
        let below = self.graph.step(id);
        let key_of = |step: StepId| self.keys[step.0 as usize];
        let (base, edit) = match below.work {
            Work::Edit(_) => {
                let layers = self.layers[id.0 as usize].as_deref()?;
                let [layer] = layers else { return None };
                (below.below?, Some((engine.place(layer), engine.places(&self.stack(id)))))
            }
            _ => (id, None),
        };
        let base = key_of(base)?;
        let class = edits_key(&StepInputs { below: Some(&base), ..inputs });
        Some(EditCall { class, base, below: key_of(id)?, edit })
    }

    /// The layers of the scripts below an edit, down to the source.
    fn written(&self, id: StepId) -> Vec<Key> {
        if !matches!(self.graph.step(id).work, Work::Edit(_)) {
            return Vec::new();
        }
        let chain = self.graph.chain(id).into_iter().rev().skip(1);
        let scripts = chain.take_while(|step| self.graph.step(*step).view == View::All);
        scripts.flat_map(|step| self.layers[step.0 as usize].clone().unwrap_or_default()).collect()
    }

    /// Gathers what it takes to find an earlier run of a step; nothing where the step starts clean.
    fn reuse_call(
        &self,
        engine: &Engine<'_>,
        inputs: StepInputs<'_>,
        step: &'g Step,
    ) -> Option<ReuseCall<'g>> {
        let reuse = step.reuse.as_ref().filter(|reuse| !reuse.files.is_empty())?;
        let below = step.below?;
        let base = self.graph.step(below).below.and_then(|base| self.keys[base.0 as usize]);
        let class = reuse_key(&StepInputs { below: base.as_ref(), ..inputs }, reuse);
        let layers = self.layers[below.0 as usize].as_ref()?;
        let [layer] = layers.as_slice() else { return None };
        let below = self.keys[below.0 as usize]?;
        Some(ReuseCall { reuse, class, below, layer: engine.place(layer) })
    }

    /// A component's outputs are known: what depends on it is taken up.
    pub(crate) fn finish(
        &mut self,
        engine: &Engine<'_>,
        id: ComponentId,
        key: Key,
        outputs: Vec<(String, Digest)>,
        reused: bool,
    ) {
        let position = id.0 as usize;
        let cached = !self.ran[position];
        let component = self.graph.component(id).name.clone();
        (engine.events)(Event::ComponentFinished { component, cached, reused });
        self.results[position] = Some(ComponentResult { key, outputs, cached, reused });
        for dependant in self.dependants[position].clone() {
            self.take_up(engine, dependant);
        }
    }

    /// The layers below a step, the topmost first.
    pub(crate) fn stack(&self, id: StepId) -> Vec<Key> {
        let mut layers = Vec::new();
        let mut next = self.graph.step(id).below;
        while let Some(below) = next {
            layers.extend(self.layers[below.0 as usize].iter().flatten());
            next = self.graph.step(below).below;
        }
        layers
    }

    /// Says whether a step, or one below it, went on from an earlier build.
    pub(crate) fn is_reused(&self, id: StepId) -> bool {
        let several = |layers: &Vec<Key>| layers.len() > 1;
        self.graph
            .chain(id)
            .iter()
            .any(|step| self.layers[step.0 as usize].as_ref().is_some_and(several))
    }
}

/// Gives the recorded layers of a step, the topmost first, if all are there; and look as they did, where they are looked at.
pub(crate) fn recorded_layers(store: &Store, key: &Key, looks: bool) -> Option<Vec<Key>> {
    let keys = store.index().layer(key)?;
    let there = keys.iter().all(|key| store.layer_path(key).is_dir());
    let sound = there && (!looks || keys.iter().all(|key| store.is_layer_sound(key)));
    sound.then_some(keys)
}

/// The components that must be keyed or done before this one.
fn before<'g>(
    graph: &'g Graph,
    component: &'g Component,
) -> impl Iterator<Item = ComponentId> + 'g {
    let inputs = component.needs.iter().chain(&component.tools).map(|input| input.component);
    let below = component.steps.iter().filter_map(|id| graph.step(*id).below);
    let below = below.map(|id| graph.step(id).component);
    inputs.chain(below.filter(|id| !std::ptr::eq(graph.component(*id), component)))
}
