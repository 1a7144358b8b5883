//! The step graph, its keys, layers and scheduler.
//!
//! A [`Graph`] is what recipes mean once pins are known. [`Engine::run`] works through it: a step whose
//! layer is in the store is not run again; any other runs in the sandbox on a stack of layers, and what
//! it changed is kept as its layer. Only the installed output of a component is hashed, and what uses the
//! component is keyed by that output digest, so an unchanged output stops the rebuild.

mod budget;
mod clean_check;
mod copied;
mod edited;
mod engine;
mod error;
mod event;
mod executor;
mod failure;
mod follow;
mod graph;
mod insert;
mod key;
mod limits;
mod local;
mod memory;
mod outlook;
mod output;
mod patch_file;
mod patches;
mod patching;
mod places;
mod planner;
mod platform;
mod reason;
mod refused;
mod reuse;
mod schedule;
mod state;
mod step_run;
mod times;
mod timing;
mod tokens;
mod unpack;
mod upper;
mod watch;
mod why;

pub use clean_check::CleanCheck;
pub use copied::copy_out;
pub use edited::{Change, SourceEdit};
pub use engine::{
    ComponentResult, Engine, Entered, EnteredState, Provision, Results, Settings, Survey,
};
pub use error::{BuildError, EnterError};
pub use event::Event;
pub use executor::{Desk, End, ExecuteError, Executed, Executor, Order, OrderFile, Sized, Stop};
pub use failure::{Failure, FailureCause, LogLine, first_error, kept_failure, kept_failures};
pub use graph::{
    Archive, Check, Component, ComponentId, Environment, FetchedPatches, FileInput, Finding, Graph,
    IDENTITY, Input, Output, OwnPatch, Package, Patching, Reuse, SourceTree, Step, StepCheck,
    StepId, View, Waiver, Work,
};
pub use insert::Edits;
pub use key::Part;
pub use limits::StepLimits;
pub use local::Local;
pub use memory::of_machine as machine_memory;
pub use outlook::Took;
pub use patches::patch_fits;
pub use patching::patch_reports;
pub use places::Places;
pub use planner::{
    BASE_KIND, Definitions, MissingPin, PlanError, Planner, environment_key, locked_environment,
};
pub use platform::Wanted;
pub use reason::Reason;
pub use times::Time;
pub use timing::Timing;
pub use unpack::{Packed, UnpackError, unpack_archive};
