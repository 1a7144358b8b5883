//! Who runs the programs of a step, and what they are told.
//!
//! An [`Order`] says what is run by keys, digests with sizes and text, and with no path of this machine, so that an executor can be
//! anywhere. The [`Desk`] is what the engine holds ready meanwhile: what the keys and digests stand for, and where results go.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use osier_sandbox::JOBSERVER;
use osier_store::{Digest, FileError, Key, Store};

use crate::layer::{OUTPUT, SOURCE_DATE};
use crate::run::error::BuildError;
use crate::run::limits::StepLimits;

/// A tree or file by its bytes: where it is kept is the desk's to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sized {
    /// The bytes; of a tree, those of its manifest.
    pub digest: Digest,
    /// How many.
    pub size: u64,
}

/// A file that a step finds below `/files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderFile {
    /// Its path there.
    pub path: String,
    /// Its bytes.
    pub content: Sized,
    /// Whether it can be run.
    pub executable: bool,
}

/// All that an executor has to know of a step to run its programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The step.
    pub key: Key,
    /// The layers below, the topmost first.
    pub layers: Vec<Key>,
    /// Whether the step's own layer has something in it to begin with, which is laid on an earlier run of the same step.
    pub goes_on: bool,
    /// The build environment; nothing where no program of it is needed.
    pub environment: Option<Key>,
    /// The trees of the proto area, the topmost first.
    pub proto: Vec<Sized>,
    /// The tools: name and tree.
    pub tools: Vec<(String, Sized)>,
    /// What lies below `/files`.
    pub files: Vec<OrderFile>,
    /// The script, for `sh -eux`.
    pub script: String,
    /// The working folder.
    pub folder: PathBuf,
    /// The component's variables.
    pub variables: Vec<(String, String)>,
    /// How many jobs the step may use.
    pub jobs: usize,
    /// Whether it has one for certain, and takes the others as it goes.
    pub served: bool,
    /// Whether what the layers below hold is copied into the step's own first.
    pub flat: bool,
    /// What the programs may use; no part of any key.
    pub limits: StepLimits,
}

impl Order {
    /// The variables of the programs. Somebody who enters a step by hand has no jobserver.
    pub fn environment_of(&self, by_hand: bool) -> Vec<(String, String)> {
        let tools = self.tools.iter();
        let path: String =
            tools.map(|(name, _)| format!("/tools/{name}/usr/bin:/tools/{name}/bin:")).collect();
        let fixed = [
            ("PATH", format!("{path}/usr/sbin:/usr/bin:/sbin:/bin")),
            ("HOME", "/build".into()),
            ("USER", "root".into()),
            ("LOGNAME", "root".into()),
            ("SHELL", "/bin/sh".into()),
            ("LC_ALL", "C".into()),
            ("TZ", "UTC".into()),
            ("SOURCE_DATE_EPOCH", SOURCE_DATE.to_string()),
            ("OUTPUT", format!("/{OUTPUT}")),
            ("PROTO", "/proto".into()),
            ("FILES", "/files".into()),
        ];
        let fixed = fixed.into_iter().chain(self.job_variables(by_hand));
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value));
        fixed.chain(self.variables.iter().cloned()).collect()
    }

    /// The variables by which programs know how many jobs they may run. Not in the key: how many that are must not change what comes out.
    ///
    /// A step that takes jobs as it goes has one for certain, and that is what programs are told which cannot take more.
    fn job_variables(&self, by_hand: bool) -> Vec<(&'static str, String)> {
        let served = self.served;
        let certain = if served && !by_hand { 1 } else { self.jobs };
        let mut flags = format!("-j{}", self.jobs);
        if served && !by_hand {
            let [from, to] = JOBSERVER;
            flags = format!("{flags} --jobserver-auth={from},{to}");
        }
        let mut variables = vec![
            ("MAKEFLAGS", flags),
            ("OMP_NUM_THREADS", certain.to_string()),
            ("GOMAXPROCS", certain.to_string()),
        ];
        // A number given to these would be a number given to make; without one both are make's jobserver's.
        if !served {
            variables.extend(
                ["JOBS", "CMAKE_BUILD_PARALLEL_LEVEL", "CARGO_BUILD_JOBS"]
                    .map(|name| (name, certain.to_string())),
            );
        }
        variables
    }
}

/// Ends the programs of an order, from whatever thread; harmless after their end.
pub type Stop = Box<dyn Fn() + Send>;

/// What the engine holds ready while an order is run.
pub trait Desk {
    /// Holds what the digests of the order stand for.
    fn store(&self) -> &Store;
    /// A folder of this order alone, which is removed after it.
    fn scratch(&self) -> &Path;
    /// The folder that is to hold what the programs change, as a layer; there may be something in it already.
    fn upper(&self) -> &Path;
    /// The file that is to hold what they print; it is not to be there where they print nothing.
    fn log(&self) -> &Path;
    /// The folder of a layer.
    fn layer(&self, key: &Key) -> PathBuf;
    /// The folder of the order's build environment, which is unpacked where it is not there yet.
    fn environment(&self) -> Result<PathBuf, BuildError>;
    /// The bytes of one of the order's files.
    fn content(&self, file: &OrderFile) -> Result<Arc<[u8]>, FileError>;
    /// The programs run, and this ends them.
    fn started(&self, stop: Stop);
    /// Makes the pipes of a jobserver; gives the ends of a step that takes jobs as it goes: where it reads, where it writes.
    fn jobserver(&self) -> Result<[OwnedFd; 2], FileError>;
    /// The programs are over and have used so much CPU time.
    fn ended(&self, cpu: Duration);
}

/// Runs the programs of steps.
pub trait Executor: Sync {
    /// Runs an order to its end.
    ///
    /// What the programs changed is then in the desk's `upper`, whether they ended well or not, and what they printed in its log.
    fn execute(&self, order: &Order, desk: &dyn Desk) -> Result<Executed, ExecuteError>;
}

/// How the programs of an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// How the script ended, and what was left of it.
    pub end: End,
    /// What all of them used.
    pub cpu: Duration,
}

/// How a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With this exit status, and nothing was left running.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Well, but these processes still ran.
    LeftProcesses(Vec<String>),
    /// For want of memory.
    OutOfMemory,
    /// With more processes than it may have.
    TooManyProcesses,
    /// After more CPU time without a word than it may use.
    Silent,
}

/// Why an order was not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The working folder is not there.
    #[error("the working folder {0} does not exist")]
    NoFolder(PathBuf),
    /// This machine, or the other one, cannot run it.
    #[error("{0}")]
    Machine(String),
    /// The desk does not hold what it should, or cannot take what it is given.
    #[error(transparent)]
    Desk(#[from] DeskError),
}

/// What went wrong at the desk.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// A file of this step could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The build cannot go on: stored bytes are damaged, the build environment cannot be made.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl From<FileError> for ExecuteError {
    fn from(error: FileError) -> Self {
        Self::Desk(error.into())
    }
}
