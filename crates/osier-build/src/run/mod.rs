//! What a build needs and gives, and the work on one step.

mod budget;
mod clean_check;
mod enter;
mod error;
mod event;
mod executor;
mod limits;
mod local;
mod memory;
mod news;
mod outlook;
mod output;
mod schedule;
mod state;
mod step_run;
mod times;
mod timing;
mod tokens;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use osier_recipe::Jobs;
use osier_sandbox::Isolation;
use osier_store::{Digest, FileError, IoContext, Key, LayerStack, Record, Remembered, Store, Tree};

use crate::failure::{Failure, FailureCause};
use crate::graph::{Component, ComponentId, Environment, Graph, StepCheck, StepId, Work};
use crate::key::Basis;
use crate::key::KnownInput;
use crate::key::Places;
use crate::key::Reason;
use crate::run::state::{Job, State, index, recorded_layers};
use crate::run::step_run::{GoesOn, StepCall, Top};

use news::{Ended, StepEnd, StepUse, Wire};

pub use clean_check::CleanCheck;
pub use enter::{Entered, EnteredState};
pub use error::{BuildError, EnterError};
pub use event::{Event, EventDoc};
pub use executor::{
    Desk, DeskError, End, ExecuteError, Executed, Executor, Order, OrderFile, Sized, Stop,
};
pub use limits::StepLimits;
pub use local::Local;
pub use memory::of_machine as machine_memory;
pub use outlook::Took;
pub use times::Time;
pub use timing::Timing;

/// Most trees that are stacked as one proto area. From some fifty on each look-up of a compiler that finds nothing is slower, and
/// overlayfs takes 500.
const MOST_AREAS: usize = 50;

/// How many results are so many that they are looked up together.
const MANY: usize = 64;

/// Why a build environment could not be unpacked: whatever the one who does it says.
pub type ProvisionError = Box<dyn std::error::Error + Send + Sync>;

/// Unpacks build environments; the program gives the one for Debian packages.
pub trait Provision: Sync {
    /// Unpacks an environment into an existing empty folder, from blobs of the store.
    fn unpack(
        &self,
        environment: &Environment,
        store: &Store,
        into: &Path,
    ) -> Result<(), ProvisionError>;
}

/// How a build goes about its work; nothing here enters a key.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many jobs may run at one time, in all steps together.
    pub jobs: usize,
    /// How many bytes of memory the steps that say what they need may use together; see [`machine_memory`](crate::machine_memory).
    pub memory: u64,
    /// Whether what does not depend on a failure is still built.
    pub keep_going: bool,
    /// Bytes of disk that are left free: no step starts below that.
    pub reserve: u64,
    /// How strong the walls around a step are. What is built behind weaker ones must lie in a store of its own.
    pub isolation: Isolation,
    /// Whether steps whose kind allows it go on from an earlier build instead of starting clean.
    pub reuse: bool,
    /// CPU time after which a step is ended that prints nothing and does not say itself how much it may use; 0 for any.
    pub silence: std::time::Duration,
}

/// Everything that a build needs.
pub struct Engine<'a> {
    /// Where results are kept.
    pub store: &'a Store,
    /// Runs the programs of steps; none where nothing is to run.
    pub executor: Option<Box<dyn Executor + 'a>>,
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
    /// The key that they are recorded under: that of its last step, and how what that installs is split.
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
    /// What was known of its results when they were looked up one by one, where they were many.
    unremembered: Option<Remembered>,
}

/// Names the goals of a graph.
fn goals(graph: &Graph) -> Digest {
    let names: Vec<&str> =
        graph.goals.iter().map(|id| graph.component(*id).name.as_str()).collect();
    Digest::of(names.join(" ").as_bytes())
}

impl Engine<'_> {
    /// Finds out what is done already, without running anything.
    pub fn survey(&self, graph: &Graph) -> Survey {
        self.survey_of(State::new(graph))
    }

    /// As [`Engine::survey`], before a build: layers that were changed in the store count as not there.
    pub fn survey_of_sound(&self, graph: &Graph) -> Survey {
        let survey = self.survey_of(State::looking(graph));
        self.tell_damages();
        survey
    }

    /// Lets the next survey of these goals look up the results of this one together.
    pub fn remember(&self, graph: &Graph, survey: &Survey) {
        let looked = survey.unremembered.as_ref().filter(|_| survey.open.is_empty());
        let Some(looked) = looked else { return };
        let result =
            |result: &ComponentResult| (result.key, (result.outputs.clone(), result.reused));
        let results: HashMap<_, _> = survey.done.values().map(result).collect();
        // The next one takes longer where that fails, for want of disk, say.
        let _ = self.store.index().remember(&goals(graph), looked, &results);
    }

    /// Tells what was found damaged in the store.
    pub(crate) fn tell_damages(&self) {
        for message in self.store.damages() {
            (self.events)(Event::Damaged { message });
        }
    }

    fn survey_of(&self, mut state: State<'_>) -> Survey {
        let graph = state.graph;
        if graph.components.len() >= MANY {
            state.remembered = self.store.index().remembered(&goals(graph));
        }
        for position in 0..graph.components.len() {
            state.take_up(self, ComponentId(index(position)));
        }
        let mut survey = Survey { steps: state.open_steps(), ..Survey::default() };
        for (position, result) in state.results.into_iter().enumerate() {
            let id = ComponentId(index(position));
            match result {
                Some(result) => {
                    survey.done.insert(id, result);
                }
                None => {
                    survey.open.push(id);
                }
            }
        }
        if state.looked_up >= MANY {
            survey.unremembered = Some(state.remembered);
        }
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
        let mut tries = 0;
        loop {
            let error = match self.attempt(graph) {
                Err(BuildError::Blob(error)) if tries < 8 => error,
                result => return result,
            };
            tries += 1;
            // What no result leads to cannot be made again here.
            match error.digest() {
                Some(digest) if self.store.forget_digest(&digest)? > 0 => {
                    (self.events)(Event::Damaged {
                        message: format!("{error}; osier makes it again"),
                    });
                }
                _ => return Err(error.into()),
            }
        }
    }

    /// Finds out why a component has to be built, or that it does not have to be. `places` tells where a component's parts
    /// are written.
    pub fn why(
        &self,
        graph: &Graph,
        id: ComponentId,
        places: &dyn Fn(&Component) -> Places,
    ) -> Reason {
        let mut state = State::new(graph);
        for position in 0..graph.components.len() {
            state.take_up(self, ComponentId(index(position)));
        }
        let name = |id: ComponentId| graph.component(id).name.clone();
        if state.results[id.0 as usize].is_some() {
            return Reason::Unchanged { component: name(id) };
        }
        let open = |input: &&crate::Input| state.results[input.component.0 as usize].is_none();
        let waits_for = |id: ComponentId| {
            let component = graph.component(id);
            let input = component.needs.iter().chain(&component.tools).find(open);
            // A step of another component that one starts from has a key once that one's inputs are known.
            let below = component.steps.iter().filter_map(|step| graph.step(*step).below);
            let mut foreign = below.filter(|below| graph.step(*below).component != id);
            let mut unknown = || foreign.find(|below| state.keys[below.0 as usize].is_none());
            let input = input.map(|input| input.component);
            input.or_else(|| unknown().map(|below| graph.step(below).component))
        };
        let chain = Vec::from_iter(std::iter::successors(Some(id), |id| waits_for(*id)));
        let last = chain.last().copied().unwrap_or(id);
        let because = self.basis(&state, last).difference(&places(graph.component(last)));
        if last == id {
            return because;
        }
        let chain = chain.into_iter().map(name).collect();
        Reason::DependsOn { chain, because: Box::new(because) }
    }

    /// Records the outputs of a component whose last step has ended well.
    pub(crate) fn record_outputs(
        &self,
        state: &State<'_>,
        id: ComponentId,
        key: Key,
        outputs: &[(String, Digest)],
        reused: bool,
    ) -> Result<(), FileError> {
        self.basis(state, id).record()?;
        // The mark comes first: a kill between the two must not leave the result without it.
        if reused {
            self.store.index().append(Record::Reused(key))?;
        }
        self.store.index().append(Record::Outputs(key, outputs.to_vec()))
    }

    /// Gathers what a component whose inputs are known is built from.
    fn basis<'s>(&'s self, state: &'s State<'s>, id: ComponentId) -> Basis<'s> {
        let component = state.graph.component(id);
        Basis {
            graph: state.graph,
            id,
            needs: state.inputs(&component.needs).unwrap_or_default(),
            tools: state.inputs(&component.tools).unwrap_or_default(),
            keys: &state.keys,
            checks: self.checks,
            store: self.store,
        }
    }

    /// Gives the layers of a step that is done and of those below it, the topmost first; nothing where one is missing.
    pub fn layers_of(&self, graph: &Graph, id: StepId) -> Option<LayerStack> {
        let keys = self.survey(graph).keys;
        let mut layers = Vec::new();
        for step in graph.chain(id).into_iter().rev() {
            layers.extend(recorded_layers(self.store, keys.get(&step)?, true)?);
        }
        Some(LayerStack::new(self.places(&layers)))
    }

    /// Runs a step if it has to run, and takes the outputs if it is its component's last.
    pub(crate) fn work(&self, job: &Job<'_>, wire: &Wire) -> Result<Ended, StepEnd> {
        let used = if job.run { Some(self.run_step(job, wire)?) } else { None };
        let Some(own) = &job.own else { return Ok((used, None)) };
        let mut own = own.clone();
        if let Some(used) = &used {
            own.splice(1..1, used.on.iter().copied());
        }
        match self.take_output(job.component, &self.places(&own)) {
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
    fn run_step(&self, job: &Job<'_>, wire: &Wire) -> Result<StepUse, StepEnd> {
        let run = |call: &StepCall<'_>| {
            let used = call.run(self, wire);
            self.tell_damages();
            used
        };
        let mut call = self.call(job)?;
        // What is laid on top of an earlier run would lie below the copy of a flat step.
        let flat = matches!(job.step.work, Work::Script { flat: true, .. });
        let found = if self.settings.reuse && !flat { self.earlier(job)? } else { None };
        let mut used = None;
        if let Some(goes_on) = found {
            (self.events)(Event::StepReused {
                component: job.component.name.clone(),
                step: job.step.name.clone(),
            });
            let is_edited = matches!(goes_on.top, Top::Edits(_));
            call.order.layers.splice(0..0, goes_on.on.iter().copied());
            call.order.goes_on = true;
            call.layers = self.places(&call.order.layers);
            call.goes_on = Some(goes_on);
            match run(&call) {
                Ok(done) => used = Some(done),
                // Whatever the reason: only a clean run may say that a step of a recipe fails. Who edits a source waits for
                // the compiler's word on it.
                Err(StepEnd::Failed(_)) if !is_edited => {}
                Err(end) => return Err(end),
            }
        }
        let used = match used {
            Some(used) => used,
            None => run(&self.call(job)?)?,
        };
        let reuse = job.reuse.as_ref().map(|call| (call.class, call.below));
        let edits = job.edits.as_ref().map(|call| (call.class, call.below));
        for (class, below) in reuse.into_iter().chain(edits) {
            let record = Record::Reusable(class, job.key, below);
            self.store.index().append(record).map_err(BuildError::from)?;
        }
        Ok(used)
    }

    /// Finds an earlier run of a step that it may go on from.
    fn earlier<'g>(&self, job: &Job<'g>) -> Result<Option<GoesOn<'g>>, BuildError> {
        if let Some(call) = job.edits.as_ref().filter(|call| call.edit.is_some()) {
            let found = crate::layer::edited::find(self.store, &job.key, call)?;
            return Ok(found.map(|(on, top)| GoesOn { on, top: Top::Edits(top) }));
        }
        let Some(call) = &job.reuse else { return Ok(None) };
        let found = crate::layer::reuse::find(self.store, &job.key, call)?;
        Ok(found.map(|on| GoesOn { on, top: Top::Files(call.clone()) }))
    }

    /// Gives the trees of the proto area, the topmost first: those of the needs, or one of all together where a stack of them
    /// would be higher than is good.
    fn together(&self, needs: &[KnownInput]) -> Result<Vec<Digest>, BuildError> {
        if needs.len() <= MOST_AREAS {
            return Ok(needs.iter().map(|need| need.digest).collect());
        }
        let mut whole = Tree::default();
        for need in needs {
            whole.lay_under(&self.store.tree(&need.digest)?);
        }
        Ok(vec![self.store.put_tree(&whole)?])
    }

    /// Gathers all that a step needs to run.
    fn call<'c>(&'c self, job: &Job<'c>) -> Result<StepCall<'c>, BuildError> {
        let (component, step, key) = (job.component, job.step, job.key);
        let (script, served, flat) = match &step.work {
            Work::Script { text, jobs, flat, .. } => {
                (text.clone(), matches!(jobs, Jobs::Jobserver), *flat)
            }
            _ => (String::new(), false, false),
        };
        let (mut proto, mut tools) = (Vec::new(), Vec::new());
        if step.sees_inputs() {
            for digest in self.together(&job.needs)? {
                proto.push(self.sized(digest)?);
            }
            for input in &job.tools {
                tools.push((input.name.clone(), self.sized(input.digest)?));
            }
        }
        let files = component.files_of(step).map(|file| OrderFile {
            path: file.path.clone(),
            content: Sized { digest: Digest::of(&file.content), size: file.content.len() as u64 },
            executable: file.executable,
        });
        let own = component.variables_of(step);
        let order = Order {
            key,
            layers: job.below.clone(),
            goes_on: false,
            environment: step.runs_programs().then_some(component.environment.key),
            proto,
            tools,
            files: files.collect(),
            script,
            folder: step.folder(),
            variables: own.map(|(name, value)| (name.clone(), value.clone())).collect(),
            jobs: job.jobs,
            served,
            flat,
            limits: StepLimits::of(step, job.jobs, self.settings.memory, self.settings.silence),
        };
        Ok(StepCall {
            store: self.store,
            component,
            step,
            key,
            layers: self.places(&order.layers),
            order,
            has_own_tmp: self.settings.isolation == Isolation::Full,
            reserve: self.settings.reserve,
            goes_on: None,
            needs: job.needs.iter().map(|need| need.digest).collect(),
            written: self.places(&job.written),
        })
    }

    /// Gives a tree with the size of its manifest.
    fn sized(&self, digest: Digest) -> Result<Sized, BuildError> {
        let path = self.store.blob_path(&digest);
        let size = match fs::metadata(&path) {
            Ok(found) => found.len(),
            // It says what is wrong, so that the tree is made again.
            Err(_) => self.store.verify_blob(&digest)?,
        };
        Ok(Sized { digest, size })
    }

    /// Gives the folders of layers.
    pub(crate) fn places(&self, layers: &[Key]) -> Vec<PathBuf> {
        layers.iter().map(|key| self.place(key)).collect()
    }

    /// Gives the folder of a layer; one that was made by hand is where that was done.
    pub(crate) fn place(&self, layer: &Key) -> PathBuf {
        let made = self.hand_made.values().find(|(key, _)| key == layer);
        made.map_or_else(|| self.store.layer_path(layer), |(_, place)| place.clone())
    }
}

/// Tells an error with its causes, each once.
fn told(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let causes = std::iter::successors(error.source(), |error| error.source());
    for cause in causes.map(ToString::to_string) {
        if !said.ends_with(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
        self.provision.unpack(environment, self.store, &base).map_err(|error| {
            let message = told(&*error);
            BuildError::Failed(vec![Failure {
                component: "build environment".into(),
                step: "unpack".into(),
                origin: environment.request.join(" "),
                key: environment.key.to_string(),
                cause: FailureCause::Source { message },
                command: None,
                first_error: None,
                hint: None,
                last_lines: Vec::new(),
                log: None,
                layer_kept: false,
                on: Vec::new(),
            }])
        })?;
        self.store.put_root(&environment.key, &base)?;
        (self.events)(Event::EnvironmentFinished { seconds: begun.elapsed().as_secs_f64() });
        Ok(place)
    }
}
