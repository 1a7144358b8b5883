//! Entering a step by hand.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use osier_store::{IoContext, Key, Scratch};

use crate::failure;
use crate::graph::{ComponentId, Graph, StepId};
use crate::run::Engine;
use crate::run::error::{BuildError, EnterError};
use crate::run::executor::DeskError;
use crate::run::local::Sandbox;
use crate::run::state::{Job, State, index, recorded_layers};
use crate::run::step_run::StepDesk;

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
    pub scratch: Scratch,
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

impl Engine<'_> {
    /// Describes the sandbox of a step as the step has it, for entering it by hand with another command.
    ///
    /// The inputs of the step and the steps below it must be done.
    pub fn enter(
        &self,
        graph: &Graph,
        id: StepId,
        command: Vec<OsString>,
    ) -> Result<Entered, EnterError> {
        let (found, key) = self.done_below(graph, id)?;
        let scratch = self.store.scratch("shell").map_err(BuildError::from)?;
        let mut below = found.stack(id);
        let (state, upper, on) = self.as_it_is(&key, scratch.path())?;
        below.splice(0..0, on);
        let step = graph.step(id);
        let component = graph.component(step.component);
        let job = Job {
            component,
            step,
            key,
            run: true,
            jobs: self.settings.jobs.max(1),
            reuse: None,
            edits: None,
            written: Vec::new(),
            below,
            own: None,
            needs: found.inputs(&component.needs).unwrap_or_default(),
            tools: found.inputs(&component.tools).unwrap_or_default(),
        };
        let mut call = self.call(&job)?;
        // A step that only unpacks has no programs; a person who enters it wants some.
        call.order.environment = Some(component.environment.key);
        let desk = StepDesk {
            engine: self,
            call: &call,
            wire: None,
            scratch: scratch.path(),
            upper: &upper,
            log: &self.store.log_path(&key),
        };
        let sandbox = Sandbox::of(&call.order, &desk, self.settings.isolation, command, true);
        let sandbox = sandbox.map_err(|error| match error {
            DeskError::Build(error) => error,
            DeskError::File(error) => error.into(),
        })?;
        if sandbox.copied.is_some() {
            return Err(EnterError::Degraded);
        }
        Ok(Entered { spec: sandbox.spec, state, key, scratch })
    }

    /// Finds out what is done, the layers below a step among it; gives the step's key as well.
    fn done_below<'g>(&self, graph: &'g Graph, id: StepId) -> Result<(State<'g>, Key), EnterError> {
        let mut state = State::looking(graph);
        let look = self.store.look().map_err(BuildError::from)?;
        for position in 0..graph.components.len() {
            state.take_up(self, ComponentId(index(position)));
        }
        look.hold(std::mem::take(&mut state.found)).map_err(BuildError::from)?;
        let key_of = |state: &State<'_>, step: StepId| state.keys[step.0 as usize];
        let lacks_inputs = || EnterError::InputsNotBuilt(graph.label(id));
        let key = key_of(&state, id).ok_or_else(lacks_inputs)?;
        let mut below = graph.chain(id);
        below.pop();
        for step in below {
            // Those below a step that has a key have one.
            let key = key_of(&state, step).ok_or_else(lacks_inputs)?;
            let layers = recorded_layers(self.store, &key, true);
            let layers = layers.ok_or_else(|| EnterError::StepNotDone(graph.label(step)))?;
            state.layers[step.0 as usize] = Some(layers);
        }
        Ok((state, key))
    }

    /// Says in which state a step is, in which folder a visit changes it, and on which layers that lies beside those of the
    /// steps below.
    fn as_it_is(
        &self,
        key: &Key,
        scratch: &Path,
    ) -> Result<(EnteredState, PathBuf, Vec<Key>), BuildError> {
        if failure::is_kept(self.store, key) {
            let upper = self.store.failed_path(key).join("upper");
            return Ok((EnteredState::Failed, upper, failure::went_on_from(self.store, key)));
        }
        let upper = scratch.join("upper");
        fs::create_dir(&upper).at("make", &upper)?;
        Ok(match recorded_layers(self.store, key, true) {
            Some(done) => (EnteredState::Done, upper, done),
            None => (EnteredState::NotRun, upper, Vec::new()),
        })
    }
}
