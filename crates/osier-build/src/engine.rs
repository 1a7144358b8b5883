//! The scheduler: one thread owns all state, workers run steps, completions arrive on one channel.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use osier_sandbox::{Isolation, Killer, Launcher};
use osier_store::{BlobError, Digest, FileError, IoContext, Key, LayerStack, Record, Store, Tree};

use crate::graph::{Component, ComponentId, Environment, Graph, StepCheck, StepId};
use crate::outlook::Outlook;
use crate::places::Places;
use crate::state::{Job, State, index, recorded_layers};
use crate::step_run::{GoesOn, OUTPUT, SOURCE_DATE, StepCall, StepEnd, StepUse};
use crate::why::Basis;
use crate::{Event, Failure, FailureCause};

/// Unpacks build environments; the program gives the one for Debian packages.
pub trait Provision: Sync {
    /// Unpacks an environment into an existing empty folder, from blobs of the store.
    fn unpack(&self, environment: &Environment, store: &Store, into: &Path) -> Result<(), String>;
}

/// How a build goes about its work; nothing here enters a key.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many jobs may run at one time.
    pub jobs: usize,
    /// Whether what does not depend on a failure is still built.
    pub keep_going: bool,
    /// Bytes of disk that are left free: no step starts below that.
    pub reserve: u64,
    /// How strong the walls around a step are. What is built behind weaker ones must lie in a store of its own.
    pub isolation: Isolation,
    /// Whether steps whose kind allows it go on from an earlier build instead of starting clean.
    pub reuse: bool,
}

/// Everything that a build needs.
pub struct Engine<'a> {
    /// Where results are kept.
    pub store: &'a Store,
    /// Starts sandboxes.
    pub launcher: &'a Launcher,
    /// Unpacks build environments.
    pub provision: &'a dyn Provision,
    /// The checks that kinds can name.
    pub checks: &'a [&'a dyn StepCheck],
    /// Is told what happens.
    pub events: &'a (dyn Fn(Event) + Sync),
    /// Set from outside to stop the build in a state that resumes.
    pub interrupted: &'a AtomicBool,
    /// How to go about it.
    pub settings: Settings,
    /// Layers made by hand, by step: they serve this build and are recorded under no key of a recipe.
    pub hand_made: BTreeMap<StepId, (Key, PathBuf)>,
    /// Held while an environment is unpacked, so that no two workers unpack the same one.
    pub unpacking: Mutex<()>,
}

/// The outputs of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentResult {
    /// The key of its last step.
    pub key: Key,
    /// The output digests by name; `main` comes first.
    pub outputs: Vec<(String, Digest)>,
    /// Whether it was in the store already.
    pub cached: bool,
    /// Whether it comes from an earlier build's objects and no clean build has confirmed it: not to be shared.
    pub reused: bool,
}

/// The outputs of all components of a build.
pub type Results = BTreeMap<ComponentId, ComponentResult>;

/// What is known before anything runs.
#[derive(Debug, Default)]
pub struct Survey {
    /// The components whose results are known.
    pub done: Results,
    /// The steps whose keys are known, by step.
    pub keys: BTreeMap<StepId, Key>,
    /// The components that must be built, or whose inputs must.
    pub open: Vec<ComponentId>,
    /// The steps that have to run, as far as their keys are known; all steps of other open components.
    pub steps: Vec<StepId>,
}

/// Why a build has no results.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Steps failed.
    #[error("{} step(s) failed", .0.len())]
    Failed(Vec<Failure>),
    /// The build was asked to stop.
    #[error("interrupted; the next build goes on from here")]
    Interrupted,
    /// The disk is below the reserve.
    #[error(
        "{free} bytes of disk are free, and the reserve is {reserve}; make room (`osier gc` helps) and build again: it goes on from here"
    )]
    NoSpace {
        /// Free bytes.
        free: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// What is to be built again is in use.
    #[error("another osier uses what is to be built again; run this once more when it has ended")]
    InUse,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] FileError),
    /// Stored bytes were damaged, again and again.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// The sandbox of a step, ready to be entered.
#[derive(Debug)]
pub struct Entered {
    /// What to start.
    pub spec: osier_sandbox::Spec,
    /// In which state the step's files are.
    pub state: EnteredState,
    /// The step's key.
    pub key: Key,
    /// Holds what the sandbox needs; must live as long as the sandbox.
    pub scratch: osier_store::Scratch,
}

/// In which state a step is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnteredState {
    /// As the failed try left it; what is changed stays in the failed layer.
    Failed,
    /// As it was when the step had ended well; what is changed is thrown away.
    Done,
    /// As it is when the step begins; what is changed is thrown away.
    NotRun,
}

/// Why a step cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// What its component needs is not built.
    #[error("{0} cannot be entered before what it needs is built")]
    InputsNotBuilt(String),
    /// A step below it is not done.
    #[error("{0} comes before it and is not done")]
    StepNotDone(String),
    /// Without overlays there is no layer to enter.
    #[error("a step cannot be entered in the degraded mode")]
    Degraded,
    /// As for builds.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// A finished piece of work: a step, and the outputs where it was its component's last.
struct Done {
    step: StepId,
    result: Result<Ended, StepEnd>,
}

/// What became of a step that ran, and its component's outputs, if it was the last.
type Ended = (Option<StepUse>, Option<Vec<(String, Digest)>>);

impl Engine<'_> {
    /// Finds out what is done already, without running anything.
    pub fn survey(&self, graph: &Graph) -> Survey {
        let mut state = State::new(graph);
        for position in 0..graph.components.len() {
            state.take_up(self, ComponentId(index(position)));
        }
        let mut survey = Survey::default();
        for (position, result) in state.results.iter().enumerate() {
            let id = ComponentId(index(position));
            match result {
                Some(result) => {
                    survey.done.insert(id, result.clone());
                }
                None => {
                    survey.open.push(id);
                }
            }
        }
        survey.steps = state.open_steps();
        for (position, key) in state.keys.iter().enumerate() {
            if let Some(key) = key {
                survey.keys.insert(StepId(index(position)), *key);
            }
        }
        survey
    }

    /// Builds every component of the graph.
    ///
    /// Damaged bytes that it meets are forgotten and made again.
    pub fn run(&self, graph: &Graph) -> Result<Results, BuildError> {
        for _ in 0..3 {
            match self.attempt(graph) {
                Err(BuildError::Blob(BlobError::Corrupt { expected, .. })) => {
                    self.store.forget_digest(&expected)?;
                }
                result => return result,
            }
        }
        self.attempt(graph)
    }

    fn attempt(&self, graph: &Graph) -> Result<Results, BuildError> {
        let mut state = State::new(graph);
        let look = self.store.look()?;
        for position in 0..graph.components.len() {
            state.take_up(self, ComponentId(index(position)));
        }
        look.hold(std::mem::take(&mut state.found))?;
        let done = state.results.iter().flatten().count();
        let components = graph.components.len();
        (self.events)(Event::Planned { components, done });
        if done == components {
            return Ok(collect(state));
        }
        let times = Times::read(self.store);
        let killers: Mutex<BTreeMap<StepId, Killer>> = Mutex::default();
        let (sender, receiver) = mpsc::channel();
        let mut failures = Vec::new();
        let mut fatal = None;
        let mut running = 0usize;
        let mut new_times = Vec::new();
        let took = |label: &str| times.of(label);
        let mut outlook = Outlook::new(&state, self.settings.jobs, &took, self.store);
        std::thread::scope(|scope| {
            loop {
                let stop = self.interrupted.load(Ordering::Relaxed);
                let start =
                    !stop && fatal.is_none() && (failures.is_empty() || self.settings.keep_going);
                while start && running < self.settings.jobs.max(1) {
                    let Some(id) = state.ready.pop_front() else { break };
                    let Some(job) = state.job(self, id) else {
                        state.release(id);
                        continue;
                    };
                    let free = crate::step_run::free_bytes(self.store.root());
                    if job.run && free < self.settings.reserve {
                        fatal = Some(BuildError::NoSpace { free, reserve: self.settings.reserve });
                        break;
                    }
                    if job.run {
                        (self.events)(Event::StepStarted {
                            component: job.component.name.clone(),
                            step: job.step.name.clone(),
                            expected: times.of(&graph.label(id)),
                        });
                        outlook.started(id);
                    }
                    running += 1;
                    let (sender, killers) = (sender.clone(), &killers);
                    scope.spawn(move || {
                        let started = |killer: Killer| {
                            lock(killers).insert(id, killer);
                        };
                        let result = self.work(&job, &started);
                        lock(killers).remove(&id);
                        // The receiver lives as long as this scope.
                        let _ = sender.send(Done { step: id, result });
                    });
                }
                if running == 0 {
                    break;
                }
                if let Some(event) = outlook.news(&state) {
                    (self.events)(event);
                }
                let Ok(done) = receiver.recv_timeout(Duration::from_millis(100)) else {
                    if self.interrupted.load(Ordering::Relaxed) {
                        lock(&killers).values().for_each(Killer::kill);
                    }
                    continue;
                };
                running -= 1;
                let id = done.step;
                outlook.ended(id);
                let step = graph.step(id);
                let component = graph.component(step.component);
                match done.result {
                    Ok((used, outputs)) => {
                        let key = state.keys[id.0 as usize].expect("a step that ran is keyed");
                        if let Some(used) = used {
                            let layers = std::iter::once(&key).chain(&used.on);
                            let layers = layers.map(|key| self.store.layer_path(key)).collect();
                            state.layers[id.0 as usize] = Some(layers);
                            state.ran[step.component.0 as usize] = true;
                            new_times.push((graph.label(id), used.wall));
                            if !used.patches.is_empty() {
                                (self.events)(Event::StepPatched {
                                    component: component.name.clone(),
                                    step: step.name.clone(),
                                    patches: used.patches,
                                });
                            }
                            (self.events)(Event::StepFinished {
                                component: component.name.clone(),
                                step: step.name.clone(),
                                seconds: used.wall.as_secs_f64(),
                                cpu: used.cpu.as_secs_f64(),
                            });
                        }
                        state.release(id);
                        if let Some(outputs) = outputs {
                            let by_hand = graph
                                .chain(id)
                                .iter()
                                .any(|step| self.hand_made.contains_key(step));
                            let reused = state.is_reused(id);
                            let recorded = match by_hand {
                                true => Ok(()),
                                false => self.record_outputs(&state, id, &outputs, reused),
                            };
                            let finished = recorded.and_then(|()| {
                                let look = self.store.look()?;
                                state.finish(self, step.component, key, outputs, reused);
                                look.hold(std::mem::take(&mut state.found))
                            });
                            if let Err(error) = finished {
                                fatal = Some(error.into());
                            }
                        }
                    }
                    Err(StepEnd::Interrupted) => {}
                    Err(StepEnd::Fatal(error)) => fatal = Some(*error),
                    Err(StepEnd::Failed(failure)) => {
                        (self.events)(Event::StepFailed { failure: failure.clone() });
                        failures.push(*failure);
                    }
                }
            }
        });
        times.append(self.store, &new_times)?;
        self.store.sync()?;
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        if let Some(error) = fatal {
            return Err(error);
        }
        if !failures.is_empty() {
            return Err(BuildError::Failed(failures));
        }
        Ok(collect(state))
    }

    /// Says in one sentence why a component has to be built, or that it does not have to be. `places` tells where a
    /// component's inputs are changed.
    pub fn why(
        &self,
        graph: &Graph,
        id: ComponentId,
        places: &dyn Fn(&Component) -> Places,
    ) -> String {
        let mut state = State::new(graph);
        for position in 0..graph.components.len() {
            state.take_up(self, ComponentId(index(position)));
        }
        let component = graph.component(id);
        if state.results[id.0 as usize].is_some() {
            return format!(
                "{} is built, and nothing that it is built from has changed",
                component.name
            );
        }
        let open = |input: &&crate::Input| state.results[input.component.0 as usize].is_none();
        if let Some(input) = component.needs.iter().chain(&component.tools).find(open) {
            let first = self.why(graph, input.component, places);
            return format!(
                "{} waits for {}, whose output can change: {first}",
                component.name,
                graph.component(input.component).name
            );
        }
        match self.basis(&state, id).difference(&places(component)) {
            Ok(Some(sentence)) => sentence,
            Ok(None) => format!(
                "{} is built again because its result is no longer in the store",
                component.name
            ),
            Err(error) => {
                format!("{} is built again, and why cannot be told: {error}", component.name)
            }
        }
    }

    /// Records the outputs of a component whose last step has ended well.
    fn record_outputs(
        &self,
        state: &State<'_>,
        last: StepId,
        outputs: &[(String, Digest)],
        reused: bool,
    ) -> Result<(), FileError> {
        let key = state.keys[last.0 as usize].expect("a step that ran is keyed");
        self.basis(state, state.graph.step(last).component).record()?;
        // The mark comes first: a kill between the two must not leave the result without it.
        if reused {
            self.store.index().append(Record::Reused(key))?;
        }
        self.store.index().append(Record::Outputs(key, outputs.to_vec()))
    }

    /// Gathers what a component whose inputs are known is built from.
    fn basis<'s>(&'s self, state: &State<'s>, id: ComponentId) -> Basis<'s> {
        let component = state.graph.component(id);
        Basis {
            graph: state.graph,
            component,
            needs: state.inputs(&component.needs).unwrap_or_default(),
            tools: state.inputs(&component.tools).unwrap_or_default(),
            below: state.from(id),
            checks: self.checks,
            store: self.store,
        }
    }

    /// Describes the sandbox of a step as the step has it, for entering it by hand with another command.
    ///
    /// The inputs of the step and the steps below it must be done.
    pub fn enter(
        &self,
        graph: &Graph,
        id: StepId,
        command: Vec<std::ffi::OsString>,
    ) -> Result<Entered, EnterError> {
        let mut state = State::new(graph);
        let look = self.store.look().map_err(BuildError::from)?;
        for position in 0..graph.components.len() {
            state.take_up(self, ComponentId(index(position)));
        }
        look.hold(std::mem::take(&mut state.found)).map_err(BuildError::from)?;
        let Some(key) = state.keys[id.0 as usize] else {
            return Err(EnterError::InputsNotBuilt(graph.label(id)));
        };
        let mut below = graph.chain(id);
        below.pop();
        for step in &below {
            let key = state.keys[step.0 as usize].expect("the steps below a keyed step are keyed");
            let Some(layers) = recorded_layers(self.store, &key) else {
                return Err(EnterError::StepNotDone(graph.label(*step)));
            };
            state.layers[step.0 as usize] = Some(layers);
        }
        let step = graph.step(id);
        let component = graph.component(step.component);
        let scratch = self.store.scratch("shell").map_err(BuildError::from)?;
        let failed = self.store.failed_path(&key).join("upper");
        let mut layers = state.stack(id);
        let (upper, state_of) = if failed.is_dir() {
            (failed, EnteredState::Failed)
        } else {
            let upper = scratch.path().join("upper");
            fs::create_dir(&upper).at("make", &upper).map_err(BuildError::from)?;
            match recorded_layers(self.store, &key) {
                Some(done) => {
                    layers.splice(0..0, done);
                    (upper, EnteredState::Done)
                }
                None => (upper, EnteredState::NotRun),
            }
        };
        let job = Job {
            component,
            step,
            key,
            run: true,
            reuse: None,
            below: layers,
            own: None,
            needs: state.inputs(&component.needs).unwrap_or_default(),
            tools: state.inputs(&component.tools).unwrap_or_default(),
        };
        let mut call = self.call(&job)?;
        // A step that only unpacks has no programs; a person who enters it wants some.
        call.root = Some(self.root(&component.environment)?);
        let (spec, copied) =
            call.spec(scratch.path(), &upper, command).map_err(BuildError::from)?;
        if copied.is_some() {
            return Err(EnterError::Degraded);
        }
        Ok(Entered { spec, state: state_of, key, scratch })
    }

    /// Runs a step if it has to run, and takes the outputs if it is its component's last.
    fn work(&self, job: &Job<'_>, started: &dyn Fn(Killer)) -> Result<Ended, StepEnd> {
        let used = if job.run { Some(self.run_step(job, started)?) } else { None };
        let Some(own) = &job.own else { return Ok((used, None)) };
        let mut own = own.clone();
        if let Some(used) = &used {
            own.splice(1..1, used.on.iter().map(|key| self.store.layer_path(key)));
        }
        match self.take_output(job.component, &own) {
            Ok(outputs) => Ok((used, Some(outputs))),
            Err(cause) => Err(StepEnd::Failed(Box::new(Failure::new(
                job.component,
                job.step,
                &job.key,
                cause,
            )))),
        }
    }

    /// Runs a step, from an earlier build's objects where it may, and else from the clean layer below.
    fn run_step(&self, job: &Job<'_>, started: &dyn Fn(Killer)) -> Result<StepUse, StepEnd> {
        let interrupted = || self.interrupted.load(Ordering::Relaxed);
        let run = |call: &StepCall<'_>| call.run(self.launcher, self.checks, started, &interrupted);
        let mut call = self.call(job)?;
        let Some(reuse) = &job.reuse else { return run(&call) };
        let record = Record::Reusable(reuse.class, job.key, reuse.below);
        let found = match self.settings.reuse {
            true => crate::reuse::find(self.store, &job.key, reuse).map_err(BuildError::from)?,
            false => None,
        };
        let mut used = None;
        if let Some(on) = found {
            (self.events)(Event::StepReused {
                component: job.component.name.clone(),
                step: job.step.name.clone(),
            });
            call.layers.splice(0..0, on.iter().map(|key| self.store.layer_path(key)));
            call.goes_on = Some(GoesOn { on, reuse: reuse.clone() });
            match run(&call) {
                Ok(done) => used = Some(done),
                // Whatever the reason: only a clean run may say that a step fails.
                Err(StepEnd::Failed(_)) => {}
                Err(end) => return Err(end),
            }
        }
        let used = match used {
            Some(used) => used,
            None => run(&self.call(job)?)?,
        };
        self.store.index().append(record).map_err(BuildError::from)?;
        Ok(used)
    }

    /// Gathers all that a step needs to run: its build environment, proto area and tools as folders.
    fn call<'c>(&'c self, job: &Job<'c>) -> Result<StepCall<'c>, BuildError> {
        let mut proto = Vec::new();
        let mut tools = Vec::new();
        let mut root = None;
        if job.step.runs_programs() {
            root = Some(self.root(&job.component.environment)?);
        }
        if job.step.sees_inputs() {
            for input in &job.needs {
                proto.push(self.store.area(&input.digest, SOURCE_DATE)?);
            }
            for input in &job.tools {
                tools.push((input.name.clone(), self.store.area(&input.digest, SOURCE_DATE)?));
            }
        }
        let jobs = self.settings.jobs.max(1);
        let (component, step, key, layers) = (job.component, job.step, job.key, job.below.clone());
        let store = self.store;
        Ok(StepCall {
            store,
            component,
            step,
            key,
            layers,
            root,
            proto,
            tools,
            jobs,
            isolation: self.settings.isolation,
            goes_on: None,
        })
    }

    /// Takes what a component installed into the store, split into its named outputs.
    fn take_output(
        &self,
        component: &Component,
        layers: &[PathBuf],
    ) -> Result<Vec<(String, Digest)>, FailureCause> {
        let machine =
            |error: &dyn std::fmt::Display| FailureCause::Machine { message: error.to_string() };
        let stack = LayerStack::new(layers.to_vec());
        let tree =
            self.store.take_tree(&stack, Path::new(OUTPUT)).map_err(|error| match error {
                BlobError::Special { .. } => {
                    FailureCause::MissingOutput { message: error.to_string() }
                }
                BlobError::File(ref file) if file.is_disk_full() => {
                    FailureCause::DiskFull { message: error.to_string() }
                }
                error => machine(&error),
            })?;
        if tree.is_empty() {
            let message = format!(
                "`{}` ended well but installed nothing: its last step must put files below $OUTPUT (/output)",
                component.name
            );
            return Err(FailureCause::MissingOutput { message });
        }
        let mut outputs = Vec::new();
        let mut main = tree;
        for output in &component.outputs {
            let (taken, rest) = split(&main, &output.patterns);
            if taken.is_empty() {
                let message = format!(
                    "`{}` ended well, but nothing that it installed matches its output `{}` ({})",
                    component.name,
                    output.name,
                    output.patterns.join(", ")
                );
                return Err(FailureCause::MissingOutput { message });
            }
            let digest = self.store.put_tree(&taken).map_err(|error| machine(&error))?;
            outputs.push((output.name.clone(), digest));
            main = rest;
        }
        let digest = self.store.put_tree(&main).map_err(|error| machine(&error))?;
        outputs.insert(0, ("main".to_owned(), digest));
        Ok(outputs)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn collect(state: State<'_>) -> Results {
    let results = state.results.into_iter().enumerate();
    results.filter_map(|(position, result)| Some((ComponentId(index(position)), result?))).collect()
}

/// Splits a tree into what some patterns take, with the folders above it, and the rest.
fn split(tree: &Tree, patterns: &[String]) -> (Tree, Tree) {
    let mut taken = Tree::default();
    let mut rest = Tree::default();
    for (path, node) in tree.iter() {
        let hit = patterns
            .iter()
            .any(|pattern| osier_recipe::glob_matches(pattern, &String::from_utf8_lossy(path)));
        let side = if hit { &mut taken } else { &mut rest };
        side.insert(path.to_vec(), node.clone());
    }
    let mut parents = Vec::new();
    for (path, _) in taken.iter() {
        for (position, byte) in path.iter().enumerate() {
            if *byte == b'/' && taken.get(&path[..position]).is_none() {
                parents.push(path[..position].to_vec());
            }
        }
    }
    for parent in parents {
        if let Some(node) = tree.get(&parent) {
            taken.insert(parent, node.clone());
        }
    }
    (taken, rest)
}

/// How long steps took the last time.
struct Times(BTreeMap<String, f64>);

impl Times {
    fn path(store: &Store) -> PathBuf {
        store.root().join("times.log")
    }

    fn read(store: &Store) -> Self {
        let text = fs::read_to_string(Self::path(store)).unwrap_or_default();
        let lines = text.lines().filter_map(|line| {
            let (label, seconds) = line.split_once(' ')?;
            Some((label.to_owned(), seconds.parse().ok()?))
        });
        Self(lines.collect())
    }

    fn of(&self, label: &str) -> Option<f64> {
        self.0.get(label).copied()
    }

    /// Records the times of steps that are worth an estimate.
    fn append(&self, store: &Store, steps: &[(String, Duration)]) -> Result<(), FileError> {
        let long = steps.iter().filter(|(_, time)| time.as_secs_f64() >= 0.5);
        let text: String =
            long.map(|(label, time)| format!("{label} {:.1}\n", time.as_secs_f64())).collect();
        if text.is_empty() {
            return Ok(());
        }
        let path = Self::path(store);
        let mut file =
            fs::OpenOptions::new().append(true).create(true).open(&path).at("open", &path)?;
        file.write_all(text.as_bytes()).at("write", &path)
    }
}

impl Engine<'_> {
    /// Gives the folder of an unpacked build environment, unpacking it first where it is not there.
    pub fn root(&self, environment: &Environment) -> Result<PathBuf, BuildError> {
        let place = self.store.root_path(&environment.key);
        if self.store.has_root(&environment.key)? {
            return Ok(place);
        }
        let _one = lock(&self.unpacking);
        if self.store.has_root(&environment.key)? {
            return Ok(place);
        }
        let begun = Instant::now();
        (self.events)(Event::EnvironmentStarted { packages: environment.packages.len() });
        for package in &environment.packages {
            self.store.verify_blob(&package.digest)?;
        }
        let scratch = self.store.scratch("root")?;
        let base = scratch.path().join("root");
        fs::create_dir(&base).at("make", &base)?;
        self.provision.unpack(environment, self.store, &base).map_err(|message| {
            BuildError::Failed(vec![Failure {
                component: "build environment".into(),
                step: "unpack".into(),
                origin: environment.request.join(" "),
                key: environment.key.to_string(),
                cause: FailureCause::Source { message },
                command: None,
                first_error: None,
                last_lines: Vec::new(),
                log: None,
                layer_kept: false,
            }])
        })?;
        self.store.put_root(&environment.key, &base)?;
        (self.events)(Event::EnvironmentFinished { seconds: begun.elapsed().as_secs_f64() });
        Ok(place)
    }
}
