//! The step graph, its keys, layers and scheduler.
//!
//! A [`Graph`] is what recipes mean once pins are known. [`Engine::run`] works through it: a step whose
//! layer is in the store is not run again; any other runs in the sandbox on a stack of layers, and what
//! it changed is kept as its layer. Only the installed output of a component is hashed, and what uses the
//! component is keyed by that output digest, so an unchanged output stops the rebuild.

mod failure;
mod graph;
mod key;
mod layer;
mod make;
mod plan;
mod run;

pub use failure::{Failure, FailureCause, LogLine, first_error, kept_failure, kept_failures};
pub use graph::{
    Archive, Change, Check, Component, ComponentId, Environment, FetchedPatches, FileInput, Graph,
    IDENTITY, Input, Output, OwnPatch, Package, Patching, Reuse, SourceEdit, SourceTree, Step,
    StepCheck, StepId, View, Waiver, Work,
};
pub use key::{Part, Places, Reason};
pub use layer::{
    OtherVersion, Packed, SOURCE_DATE, UnpackError, copy_out, patch_fits, patch_reports,
    unpack_archive,
};
pub use make::{Field, FieldValue, Make, MakeError, MakePlace, NotMade, ProductPart};
pub use plan::{
    BASE_KIND, Definitions, Edits, MissingPin, PlanError, Planner, Wanted, environment_key,
    locked_environment,
};
pub use run::{
    BuildError, CleanCheck, ComponentResult, Desk, DeskError, End, Engine, EnterError, Entered,
    EnteredState, Event, EventDoc, ExecuteError, Executed, Executor, Local, Order, OrderFile,
    Provision, ProvisionError, Results, Settings, Sized, StepLimits, Stop, Survey, Time, Timing,
    Took, machine_memory,
};
