//! What happens during a build, for whoever shows it.

use osier_patch::PatchReport;
use serde::Serialize;

use crate::Failure;

/// What a reference says of one kind of event.
#[derive(Debug, Clone, Copy)]
pub struct EventDoc {
    /// The variant's name, as in `StepStarted`; in JSON it is `step_started`.
    pub name: &'static str,
    /// When it is told, line by line.
    pub text: &'static [&'static str],
    /// Each field with what it holds, line by line.
    pub fields: &'static [(&'static str, &'static [&'static str])],
}

/// Declares an enum of events whose variants and fields all have their description, which a reference is made of.
#[macro_export]
macro_rules! documented_events {
    (
        $(#[$meta:meta])*
        $vis:vis enum $enum:ident {
            $(
                $(#[doc = $text:literal])+
                $variant:ident {
                    $($(#[doc = $holds:literal])+ $field:ident: $type:ty,)*
                },
            )*
        }
    ) => {
        $(#[$meta])*
        $vis enum $enum {
            $(
                $(#[doc = $text])+
                $variant { $($(#[doc = $holds])+ $field: $type,)* },
            )*
        }

        impl $enum {
            /// What a reference says of each variant, in the order in which they stand here.
            $vis const DOCUMENTED: &'static [$crate::EventDoc] = &[$(
                $crate::EventDoc {
                    name: stringify!($variant),
                    text: &[$($text),+],
                    fields: &[$((stringify!($field), &[$($holds),+])),*],
                },
            )*];
        }
    };
}

documented_events! {
    /// One thing that happened. Times are in seconds.
    #[derive(Debug, Clone, Serialize)]
    #[serde(tag = "event", rename_all = "snake_case")]
    pub enum Event {
        /// The build knows what to do.
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
        /// A step starts from what it made in an earlier build.
        StepReused {
            /// Its component.
            component: String,
            /// Its name.
            step: String,
        },
        /// A new estimate of how much of the build is left.
        TimeLeft {
            /// Steps that are running or still have to run, as far as is known: fewer if outputs turn out unchanged.
            steps: usize,
            /// How long they take, judged by the last time.
            seconds: f64,
            /// How many of them were never timed and are not counted in `seconds`.
            unknown: usize,
        },
        /// The patches of a component have been applied to its source.
        StepPatched {
            /// Its component.
            component: String,
            /// The step's name.
            step: String,
            /// What became of each, in order.
            patches: Vec<PatchReport>,
        },
        /// A step succeeded.
        StepFinished {
            /// Its component.
            component: String,
            /// Its name.
            step: String,
            /// How long it took.
            seconds: f64,
            /// The CPU time of all its processes.
            cpu: f64,
        },
        /// A step did or wants something that you should know about.
        StepWarned {
            /// Its component.
            component: String,
            /// Its name.
            step: String,
            /// The warning: the end of a sentence that begins with the step.
            message: String,
        },
        /// osier found something damaged in the store and makes it again.
        Damaged {
            /// What, and what becomes of it.
            message: String,
        },
        /// All steps have ended.
        StepsEnded {
            /// How many ran to their end.
            steps: usize,
            /// From the start of the first to the end of the last.
            seconds: f64,
            /// The CPU time of their programs, and of osier itself meanwhile.
            cpu: f64,
            /// How many processors they could use: the machine's, but no more than jobs.
            processors: usize,
            /// The part of these processors' time that was used, from 0 to 1.
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
}
