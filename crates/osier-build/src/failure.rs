//! A failed step as a value: what, where, the first real error, and how to look closer.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use osier_patch::PatchReport;
use osier_store::{FileError, IoContext, Key};
use serde::{Deserialize, Serialize};

use crate::graph::{Component, Finding, Step};

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
    /// The step used a lot of processor time without printing anything, and was ended.
    Silent {
        /// Minutes that it may use.
        minutes: u64,
    },
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
            Self::Check { .. } => "S004",
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
                [one] => one.message.clone(),
                many => format!("ended well, but a check found {} problems", many.len()),
            },
            Self::Patches { patches } => {
                let (count, all) = (osier_patch::conflicts(patches).count(), patches.len());
                match (count, all) {
                    (1, 1) => "the patch does not fit the source".to_owned(),
                    (1, _) => format!("1 of {all} patches does not fit the source"),
                    _ => format!("{count} of {all} patches do not fit the source"),
                }
            }
            Self::WrittenBefore { files } => {
                format!("would hide what a step before has written: {}", files.join(", "))
            }
            Self::OutOfMemory { limit: Some(limit) } => {
                format!("ran out of memory: it may use {} MiB", limit >> 20)
            }
            Self::OutOfMemory { limit: None } => "ran out of memory".to_owned(),
            Self::TooManyProcesses { limit } => {
                format!("started too many processes: it may have about {limit} at one time")
            }
            Self::Silent { minutes } => {
                format!("used {minutes} minutes of processor time without printing anything")
            }
            Self::NoFolder { folder } => format!(
                "could not begin: its working folder {folder} is not there; let a step before it make the folder, or name another by `folder`"
            ),
            Self::MissingOutput { message }
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

    /// Fills in command, first error and last lines from the log.
    pub fn read_log(&mut self, log: &Path) {
        let Ok(text) = log_ends(log) else { return };
        self.log = Some(log.to_path_buf());
        let lines: Vec<&str> = text.lines().collect();
        self.command = lines
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix("+ "))
            .map(|command| command.chars().take(300).collect());
        self.first_error = first_error(&text);
        self.hint = crate::advice::on(&text).map(str::to_owned);
        let from = lines.len().saturating_sub(8);
        self.last_lines =
            lines[from..].iter().map(|line| line.chars().take(400).collect()).collect();
    }
}

/// Reads a log: whole up to 8 MiB, else its first and last 4 MiB.
fn log_ends(log: &Path) -> Result<String, FileError> {
    const HALF: u64 = 4 << 20;
    let mut file = fs::File::open(log).at("open", log)?;
    let length = file.metadata().at("read", log)?.len();
    let mut bytes = Vec::new();
    if length <= 2 * HALF {
        file.read_to_end(&mut bytes).at("read", log)?;
    } else {
        file.by_ref().take(HALF).read_to_end(&mut bytes).at("read", log)?;
        file.seek(SeekFrom::End(-HALF.cast_signed())).at("read", log)?;
        file.read_to_end(&mut bytes).at("read", log)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Finds the first line that reports an error, by rule and not by place.
///
/// Tools report the cause first and its consequences after it (`make: *** [x] Error 2` last of all), so
/// lines that name a cause are preferred to those that only pass one on.
pub fn first_error(log: &str) -> Option<LogLine> {
    const CAUSES: &[&str] = &[
        ": error:",
        ": fatal error:",
        "fatal error:",
        "undefined reference to",
        "multiple definition of",
        "cannot find -l",
        "No rule to make target",
        "command not found",
        ": not found",
        "No such file or directory",
        "Permission denied",
        "Operation not permitted",
        "No space left on device",
        "Hunk #",
        "configure: error:",
        "ERROR:",
        "Error:",
        "error:",
        "Killed",
        "Segmentation fault",
        "syntax error",
        "unexpected EOF",
        "Traceback (most recent call last)",
        "panicked at",
        "cannot ",
    ];
    const CONSEQUENCES: &[&str] = &["*** ", "Error ", "failed", "FAILED"];
    // Questions that configure scripts ask print such words without meaning them.
    let noise = |line: &str| {
        line.starts_with("+ ")
            || line.starts_with("checking ")
            // A configure script that goes on after a complaint of its shell.
            || line.contains("/configure: line ")
            || line.contains("ignored")
            || (line.contains("Hunk #") && !line.contains("FAILED"))
    };
    let find = |patterns: &[&str]| {
        log.lines()
            .enumerate()
            .find(|(_, line)| !noise(line) && patterns.iter().any(|pattern| line.contains(pattern)))
    };
    let (number, text) = find(CAUSES).or_else(|| find(CONSEQUENCES))?;
    Some(LogLine { number: number + 1, text: text.chars().take(400).collect() })
}

/// Writes the record of a failure beside its layer.
pub(crate) fn write_record(folder: &Path, failure: &Failure) -> Result<(), FileError> {
    let path = folder.join("record.json");
    let text = serde_json::to_vec_pretty(failure).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_leads_and_not_its_consequence() {
        let cases = [
            (
                "+ make\n  CC x.o\nx.c:3:5: error: unknown type name 'foo'\nmake[1]: *** [x.o] Error 1\nmake: *** [all] Error 2\n",
                3,
            ),
            (
                "checking for error: no\nld: x.o: undefined reference to `f'\ncollect2: error: ld returned 1 exit status\n",
                2,
            ),
            ("+ frob\nsh: 1: frob: not found\n", 2),
            (
                "/x/configure: line 72: /usr/bin/file: No such file or directory\nmake: *** No rule to make target 'd'.  Stop.\n",
                2,
            ),
            (
                "patching file a\nHunk #1 succeeded at 12 (offset 2 lines).\nHunk #2 FAILED at 40.\n",
                3,
            ),
            ("make: *** [all] Error 2\n", 1),
        ];
        for (log, line) in cases {
            assert_eq!(first_error(log).map(|found| found.number), Some(line), "{log}");
        }
        assert_eq!(first_error("all is well\n"), None);
    }

    #[test]
    fn logs_that_are_not_text_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, b"+ make \xff\xfe\n\xffx.c:1: error: bad\n").unwrap();
        let mut failure = Failure {
            component: "a".into(),
            step: "build".into(),
            origin: String::new(),
            key: String::new(),
            cause: FailureCause::Exit { code: 2 },
            command: None,
            first_error: None,
            hint: None,
            last_lines: Vec::new(),
            log: None,
            layer_kept: false,
            on: Vec::new(),
        };
        failure.read_log(&log);
        assert_eq!(failure.first_error.unwrap().number, 2);
        assert_eq!(failure.command.unwrap(), "make \u{fffd}\u{fffd}");
        assert_eq!(failure.last_lines.len(), 2);
    }
}
