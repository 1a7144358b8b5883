//! What happens during a build, for whoever shows it.

use osier_patch::PatchReport;
use serde::Serialize;

use crate::Failure;

/// One thing that happened. Times are in seconds.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The build knows what it has to do.
    Planned {
        /// Components in all.
        components: usize,
        /// Components whose result is in the store already, as far as is known.
        done: usize,
    },
    /// A build environment is being unpacked.
    EnvironmentStarted {
        /// How many packages it has.
        packages: usize,
    },
    /// It is there.
    EnvironmentFinished {
        /// How long it took.
        seconds: f64,
    },
    /// A step runs.
    StepStarted {
        /// Its component.
        component: String,
        /// Its name.
        step: String,
        /// How long it took the last time.
        expected: Option<f64>,
    },
    /// A step goes on from what it made in an earlier build.
    StepReused {
        /// Its component.
        component: String,
        /// Its name.
        step: String,
    },
    /// The build knows anew how much of it is left.
    TimeLeft {
        /// Steps that run or have to, as far as is known: fewer where outputs turn out as they were.
        steps: usize,
        /// How long they take, by what they took the last time.
        seconds: f64,
        /// How many of them were never timed, and are not in the seconds.
        unknown: usize,
    },
    /// The patches of a component are on its source.
    StepPatched {
        /// Its component.
        component: String,
        /// The step's name.
        step: String,
        /// What became of each, in order.
        patches: Vec<PatchReport>,
    },
    /// A step ended well.
    StepFinished {
        /// Its component.
        component: String,
        /// Its name.
        step: String,
        /// How long it took.
        seconds: f64,
        /// The processor time of all its processes.
        cpu: f64,
    },
    /// A step did or asks for something that a person should know of.
    StepWarned {
        /// Its component.
        component: String,
        /// Its name.
        step: String,
        /// What, as the end of a sentence that begins with the step.
        message: String,
    },
    /// Something in the store was found damaged, and is made again.
    Damaged {
        /// What, and what becomes of it.
        message: String,
    },
    /// All steps that ran are over.
    StepsEnded {
        /// How many ran to their end.
        steps: usize,
        /// From the beginning of the first to the end of the last.
        seconds: f64,
        /// The processor time of their programs, and of osier itself meanwhile.
        cpu: f64,
        /// How many processors there were for them: the machine's, but no more than jobs.
        processors: usize,
        /// Which part of these processors' time that is, from 0 to 1.
        utilisation: f64,
    },
    /// A step failed.
    StepFailed {
        /// How.
        failure: Box<Failure>,
    },
    /// A component's outputs are known.
    ComponentFinished {
        /// Which.
        component: String,
        /// Whether no step had to run.
        cached: bool,
        /// Whether it comes from an earlier build's objects and no clean build has confirmed it.
        reused: bool,
    },
}
