//! A failed step as a value: what, where, the first real error, and how to look closer.

mod diagnose;
mod log;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use osier_patch::PatchReport;
use osier_store::{FileError, IoContext, Key};
use serde::{Deserialize, Serialize};

use osier_check::Finding;

use crate::graph::{Component, Step};
use crate::make::{NotMade, ProductPart};

use diagnose::{Diagnosis, Seen, diagnose};

pub use diagnose::first_error;
pub(crate) use diagnose::warning;
pub(crate) use log::Log;

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FailureCause {
    /// A command ended with an exit status other than 0.
    Exit {
        /// The status.
        code: i32,
    },
    /// The step was killed by a signal that osier did not send.
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// The step ended while processes that it had started were still running; they were killed.
    LeftProcesses {
        /// Their names.
        names: Vec<String>,
    },
    /// The step ended well, but a check of its result did not.
    Check {
        /// What the check found.
        findings: Vec<Finding>,
    },
    /// The step ended well, but its result could not be checked.
    Unchecked {
        /// Why.
        message: String,
    },
    /// The step ended well, but did not make what it declares.
    MissingOutput {
        /// What is missing.
        message: String,
    },
    /// The step's working folder is not there.
    NoFolder {
        /// Its path in the step's root.
        folder: String,
    },
    /// A source could not be laid out.
    Source {
        /// Why.
        message: String,
    },
    /// Patches do not fit the source, or cannot be read.
    Patches {
        /// What became of every patch of the component, in order.
        patches: Vec<PatchReport>,
    },
    /// A person has changed files that a script before has written, in a place where the one would hide the other.
    WrittenBefore {
        /// The files, below the source's folder.
        files: Vec<String>,
    },
    /// The disk is full.
    DiskFull {
        /// What was being written.
        message: String,
    },
    /// The step needed more memory than it may have, and the kernel ended it.
    OutOfMemory {
        /// Bytes that it may have.
        limit: Option<u64>,
    },
    /// The step started more processes than it may have, and was ended.
    TooManyProcesses {
        /// How many it may have.
        limit: u64,
    },
    /// The step used a lot of CPU time without printing anything, and was ended.
    Silent {
        /// Minutes that it may use.
        minutes: u64,
    },
    /// A part of a product cannot be made of what there is.
    NotMade(NotMade),
    /// The sandbox could not be set up, or the store could not be read or written.
    Machine {
        /// Why.
        message: String,
    },
}

impl FailureCause {
    /// Gives the stable code of this kind of failure, for `osier explain`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exit { .. } => "S001",
            Self::Signal { .. } => "S002",
            Self::LeftProcesses { .. } => "S003",
            Self::Check { .. } | Self::Unchecked { .. } => "S004",
            Self::MissingOutput { .. } => "S005",
            Self::NoFolder { .. } => "S015",
            Self::Source { .. } => "S006",
            Self::DiskFull { .. } => "S007",
            Self::Machine { .. } => "S008",
            Self::Patches { .. } => "S010",
            Self::WrittenBefore { .. } => "S011",
            Self::OutOfMemory { .. } => "S012",
            Self::TooManyProcesses { .. } => "S013",
            Self::Silent { .. } => "S014",
            Self::NotMade(NotMade { part: ProductPart::Root, .. }) => "I001",
            Self::NotMade(NotMade { part: ProductPart::Image, .. }) => "I003",
        }
    }

    /// Says in one clause what happened.
    pub fn summary(&self) -> String {
        match self {
            Self::Exit { code } => format!("ended with exit status {code}"),
            Self::Signal { signal } => format!("was killed by {}", signal_name(*signal)),
            Self::LeftProcesses { names } => {
                format!("left processes running: {}", names.join(", "))
            }
            Self::Check { findings } => match findings.as_slice() {
                [one] => one.to_string(),
                many => format!("succeeded, but a check found {} problems", many.len()),
            },
            Self::Unchecked { message } => {
                format!("succeeded, but its result could not be checked: {message}")
            }
            Self::Patches { patches } => {
                let (count, all) = (osier_patch::conflicts(patches).count(), patches.len());
                match (count, all) {
                    (1, 1) => "the patch does not fit the source".to_owned(),
                    (1, _) => format!("1 of {all} patches does not fit the source"),
                    _ => format!("{count} of {all} patches do not fit the source"),
                }
            }
            Self::WrittenBefore { files } => {
                format!(
                    "your edit changes files that an earlier step generated: {}",
                    files.join(", ")
                )
            }
            Self::OutOfMemory { limit: Some(limit) } => {
                format!("ran out of memory: it may use {} MiB", limit >> 20)
            }
            Self::OutOfMemory { limit: None } => "ran out of memory".to_owned(),
            Self::TooManyProcesses { limit } => {
                format!("started too many processes: it may have about {limit} at the same time")
            }
            Self::Silent { minutes } => {
                format!("used {minutes} minutes of CPU time without printing anything")
            }
            Self::NoFolder { folder } => format!(
                "could not start: its working folder {folder} is missing; let an earlier step make it, or name another one in `folder`"
            ),
            Self::NotMade(NotMade { message, .. })
            | Self::MissingOutput { message }
            | Self::Source { message }
            | Self::DiskFull { message }
            | Self::Machine { message } => message.clone(),
        }
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL (often: the machine ran out of memory)",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ (a file grew past its limit)",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal}, {name}")
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Counted from 1.
    pub number: usize,
    /// The line, bytes that are not UTF-8 replaced.
    pub text: String,
}

/// A failed step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The component.
    pub component: String,
    /// The step.
    pub step: String,
    /// Where the step was written.
    pub origin: String,
    /// The key of the step; its layer as it was left lies in the store under this name.
    pub key: String,
    /// Why.
    pub cause: FailureCause,
    /// The last command that the step's script started.
    pub command: Option<String>,
    /// The first line of the log that reports an error.
    pub first_error: Option<LogLine>,
    /// What to do about it, where the cause is known.
    #[serde(default)]
    pub hint: Option<String>,
    /// The last lines of the log.
    pub last_lines: Vec<String>,
    /// The whole log.
    pub log: Option<PathBuf>,
    /// Whether the layer was kept, so that a shell can enter it.
    pub layer_kept: bool,
    /// The keys of the layers that it lies on beside those of the steps below, the topmost first: what it went on from.
    #[serde(default)]
    pub on: Vec<String>,
}

impl Failure {
    /// Describes a failed step, before its log is read.
    pub(crate) fn new(component: &Component, step: &Step, key: &Key, cause: FailureCause) -> Self {
        Self {
            component: component.name.clone(),
            step: step.name.clone(),
            origin: step.origin.clone(),
            key: key.to_string(),
            cause,
            command: None,
            first_error: None,
            hint: None,
            last_lines: Vec::new(),
            log: None,
            layer_kept: false,
            on: Vec::new(),
        }
    }

    /// Says in one line what failed.
    pub fn headline(&self) -> String {
        format!("{}:{} {}", self.component, self.step, self.cause.summary())
    }

    /// Fills in what the log of a step that has ended says of it.
    pub(crate) fn diagnosed(mut self, path: &Path, machine: &Machine) -> Self {
        let Ok(log) = Log::read(path) else { return self };
        let Machine { disk_is_full, has_own_tmp, processes } = *machine;
        let seen =
            Seen { log: &log, cause: self.cause.clone(), disk_is_full, has_own_tmp, processes };
        let Diagnosis { cause, first_error, hint } = diagnose(seen);
        (self.cause, self.first_error, self.hint) = (cause, first_error, hint.map(str::to_owned));
        (self.command, self.last_lines) = (log.command(), log.last_lines());
        self.log = path.is_file().then(|| path.to_path_buf());
        self
    }
}

/// What of the machine matters to why a step has failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// Whether the disk with the store has next to no room.
    pub(crate) disk_is_full: bool,
    /// Whether the step's `/tmp` is in memory.
    pub(crate) has_own_tmp: bool,
    /// How many processes the step may have.
    pub(crate) processes: u64,
}

/// Writes the record of a failure beside its layer.
pub(crate) fn write_record(folder: &Path, failure: &Failure) -> Result<(), FileError> {
    let path = folder.join("record.json");
    let text = serde_json::to_vec_pretty(failure).map_err(io::Error::from).at("write", &path)?;
    osier_store::write_durably(&path, &text)
}

/// Says whether the layer of a failed step is kept: its record is the last that was written.
pub(crate) fn is_kept(store: &osier_store::Store, key: &Key) -> bool {
    let folder = store.failed_path(key);
    folder.join("upper").is_dir() && folder.join("record.json").is_file()
}

/// Lists the failures whose layers are kept, in the order of component and step.
pub fn kept_failures(store: &osier_store::Store) -> Result<Vec<(Key, Failure)>, FileError> {
    let folder = store.root().join("failed");
    let mut failures = Vec::new();
    for entry in fs::read_dir(&folder).at("list", &folder)? {
        let entry = entry.at("list", &folder)?;
        let Some(key) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let record = fs::read(entry.path().join("record.json")).ok();
        if let Some(failure) = record.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            failures.push((key, failure));
        }
    }
    failures.sort_by(|one: &(Key, Failure), two| {
        (&one.1.component, &one.1.step, one.0).cmp(&(&two.1.component, &two.1.step, two.0))
    });
    Ok(failures)
}

/// Gives the failure of a step whose layer is kept, without a look at others.
pub fn kept_failure(store: &osier_store::Store, key: &Key) -> Option<Failure> {
    let record = fs::read(store.failed_path(key).join("record.json")).ok()?;
    serde_json::from_slice(&record).ok()
}

/// Gives the layers that a kept failure lies on beside those of the steps below, the topmost first.
pub(crate) fn went_on_from(store: &osier_store::Store, key: &Key) -> Vec<Key> {
    let on = kept_failure(store, key).map(|failure| failure.on).unwrap_or_default();
    on.iter().filter_map(|key| key.parse().ok()).collect()
}
