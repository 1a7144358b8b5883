//! Reads recipes, kinds, systems, machines and locks; knows no file system, process or network.
//!
//! Text goes in; typed values or [`Diagnostic`]s come out. All errors of a file come at once, each
//! with the line it is about and, where there is one, the near-miss.
//!
//! - [`schema`] and [`tables`] hold one declarative table per TOML table. The reading below, the
//!   reference page ([`reference_markdown`]) and the JSON schemas ([`json_schema()`]) all follow it.
//! - [`Recipe`], [`Kind`], [`System`], [`MachineFile`], [`Project`] and [`Lock`] are the six files.
//! - [`Recipe::effective`] applies the tables of a target and a profile;
//!   [`EffectiveRecipe::steps`] joins the result with the recipe's kind.
//!
//! ```
//! use osier_recipe::{Kind, Recipe, Target};
//!
//! let recipe = Recipe::parse("busybox.toml", include_str!("../examples/busybox.toml"), Some("busybox"))
//!     .expect("the example is valid");
//! let kind = Kind::parse("kconfig.toml", include_str!("../examples/kconfig.toml"), Some("kconfig"))
//!     .expect("the example is valid");
//! let effective = recipe.effective(Target::X86_64, Some("debug"));
//! let steps = effective.steps(&kind).expect("the variables fit the kind");
//! let names: Vec<_> = steps.steps.iter().map(|step| step.name.as_str()).collect();
//! assert_eq!(names, ["configure", "build", "strip", "install"]);
//! assert_eq!(steps.environment["defconfig"], "allnoconfig");
//! ```

mod boot;
mod code;
mod component_ref;
mod diagnostic;
mod effective;
mod format;
mod forms;
mod glob;
mod image;
mod jobs;
mod json_schema;
mod kind;
mod lock;
mod lock_read;
mod lock_write;
mod machine;
mod named;
mod nearest;
mod node;
mod origin;
mod part;
mod project;
mod recipe;
mod reference;
pub mod schema;
mod size;
mod source;
mod step;
mod system;
pub mod tables;
mod target;
mod tune;
mod value;
mod waive;
mod walk;
mod words;

pub use boot::{Action, Boot, BootRun, End};
pub use code::{CODES, Code};
pub use component_ref::ComponentRef;
pub use diagnostic::{Diagnostic, Related, utf8};
pub use effective::{EffectiveRecipe, EffectiveStep, EffectiveSteps, Located};
pub use format::{Compression, CompressionRow, FORMATS, Format, FormatRow, ImageTool, Takes};
pub use forms::BUILT_IN_STEPS;
pub use glob::{glob_matches, glob_reaches_below};
pub use image::{Content, Image, ImageFile};
pub use jobs::Jobs;
pub use json_schema::json_schema;
pub use kind::{Editor, Kind, Variable};
pub use lock::{Lock, LockedEnvironment, LockedFile, LockedPackage, LockedSource, Pin, Place};
pub use machine::{Backing, Disk, MachineFile};
pub use named::Named;
pub use nearest::nearest;
pub use origin::{Origin, Spanned};
pub use part::{Part, Setting};
pub use project::Project;
pub use recipe::{Recipe, Role, Toolchain};
pub use reference::reference_markdown;
pub use schema::FileKind;
pub use size::parse_size;
pub use source::{Source, SourceKind};
pub use step::{AFTER_SOURCES, Check, Reuse, Step, StepRef};
pub use system::{EffectiveSystem, KernelRef, System, SystemPart};
pub use tables::SOURCE_FORMATS;
pub use target::Target;
pub use tune::{Level, Tune};
pub use value::{Value, ValueType};
pub use waive::Waiver;
