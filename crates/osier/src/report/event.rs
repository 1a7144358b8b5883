//! What osier does beside the steps of a build, told as it happens: as lines for people, typed with `--json`.

use osier_check::{Finding, Level};
use serde::Serialize;

use super::figures::{about, bytes, duration};

osier_build::documented_events! {
    /// One thing that happened. Times are in seconds, sizes in bytes.
    #[derive(Debug, Clone, Serialize)]
    #[serde(tag = "event", rename_all = "snake_case")]
    pub(crate) enum Event {
        /// The packages of a build environment, or of a tool that osier runs, are pinned in osier.lock.
        EnvironmentPinned {
            /// The suite of Debian that has them.
            suite: String,
            /// How many packages.
            packages: usize,
        },
        /// A source is pinned in osier.lock.
        SourcePinned {
            /// The recipe that it belongs to.
            recipe: String,
            /// Its name in the recipe.
            source: String,
            /// The pin: a package and its version, the names of files, or a commit.
            pin: String,
        },
        /// Downloads begin.
        FetchStarted {
            /// How many files are fetched.
            files: usize,
            /// Their size.
            bytes: u64,
            /// How many git commits are fetched after them.
            commits: usize,
            /// How long the files take, judged by earlier downloads; null if there were none.
            expected: Option<f64>,
            /// Roughly how much disk the build then needs.
            space: u64,
            /// How much disk is free.
            free: u64,
        },
        /// osier now knows how fast the downloads are; it did not when they began.
        FetchEstimated {
            /// How long the rest takes.
            left: f64,
        },
        /// All files are fetched.
        FetchFinished {
            /// Their size.
            bytes: u64,
            /// How long it took.
            seconds: f64,
        },
        /// osier fetches a file of unknown size, to pin it.
        FileStarted {
            /// Its name.
            file: String,
        },
        /// git fetches a commit.
        CommitStarted {
            /// The repository.
            address: String,
            /// The commit.
            commit: String,
        },
        /// The archive of a commit is in the store.
        CommitFinished {
            /// The commit.
            commit: String,
            /// The size of its archive.
            bytes: u64,
        },
        /// A commit has a submodule, which is not fetched: its folder is empty.
        SubmoduleLeftOut {
            /// The repository.
            address: String,
            /// The submodule's folder.
            path: String,
        },
        /// Something went wrong, and osier builds again to repair it.
        BuildRetried {
            /// What.
            reason: String,
        },
        /// A component is built from a source that you are editing.
        SourceEdited {
            /// The recipe.
            recipe: String,
            /// Your folder.
            folder: String,
        },
        /// A build of an edited source starts clean.
        EditRestarted {
            /// The recipe.
            recipe: String,
            /// Why.
            reason: String,
        },
        /// A clean build gave the same bytes as the earlier build's objects.
        CleanConfirmed {
            /// The component; null if nothing came from earlier objects.
            component: Option<String>,
        },
        /// The sandbox of a step is entered.
        StepEntered {
            /// COMPONENT:STEP.
            step: String,
        },
        /// A component's configuration editor is opened.
        EditorOpened {
            /// The component.
            component: String,
            /// The editor's command.
            command: String,
        },
        /// A machine starts.
        BootStarted {
            /// The system.
            system: String,
            /// The machine.
            machine: String,
            /// kvm or tcg.
            accelerator: String,
            /// Which start of the script it is, from 1.
            boot: usize,
        },
        /// Process 1 of the machine has proved itself.
        BootProved {
            /// How long after the start.
            seconds: f64,
        },
        /// QEMU's own timer failed, and the machine starts again.
        BootRetried {},
        /// Something worth knowing about a boot that passed.
        BootNoted {
            /// What.
            note: String,
        },
        /// KVM is not used.
        KvmUnused {
            /// Why.
            reason: String,
        },
        /// What is edited: the answer of `osier edit --list`.
        Edits {
            /// Each with its component, recipe and folder.
            edits: Vec<EditEntry>,
        },
        /// What the store holds: the answer of `osier verify`.
        Verify {
            /// How many files that have a digest were read.
            blobs: usize,
            /// Their size.
            bytes: u64,
            /// How many trees that are laid out for other steps were read.
            areas: usize,
            /// How many layers were compared.
            layers: usize,
            /// How many build environments were compared.
            environments: usize,
            /// How many layers and environments of an earlier osier could not be compared.
            unknown: usize,
            /// How many half-written files nothing uses.
            half: usize,
            /// Each damaged thing: its kind, name, problem, and the results that it is part of.
            damages: Vec<DamageEntry>,
            /// Whether osier moved them aside.
            set_aside: bool,
        },
        /// Something that a check noticed in a result.
        Finding {
            /// The component that it is about.
            component: String,
            /// Its code; `osier explain` has its page.
            code: String,
            /// note, warning or error.
            level: Level,
            /// What was noticed.
            message: String,
            /// The place in the project's files, as FILE:LINE; null if unknown.
            place: Option<String>,
            /// What was seen, line by line.
            evidence: Vec<String>,
            /// What to do.
            hint: Option<String>,
        },
        /// Something that you should know about; it also appears on standard error.
        Warning {
            /// What.
            text: String,
        },
        /// A line of a command's answer that has no event of its own.
        Result {
            /// The line.
            text: String,
        },
        /// The command ends with an error.
        Error {
            /// Its code; `osier explain` has its page.
            code: String,
            /// The exit status.
            status: u8,
            /// What is wrong, in one line.
            message: String,
            /// Details, such as places and quoted lines, ready to print.
            body: String,
            /// What to do.
            hints: Vec<String>,
        },
    }
}

/// One source that is edited.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct EditEntry {
    pub(crate) component: String,
    pub(crate) recipe: String,
    pub(crate) folder: String,
}

/// One damaged thing.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DamageEntry {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) problem: String,
    pub(crate) of: Vec<String>,
}

/// How a person is told of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// By a line, unless they want quiet.
    News(String),
    /// By a warning in any case.
    Warning(String),
    /// By nothing: the command prints what it is about.
    Nothing,
}

impl Event {
    /// Writes an event for people.
    pub(crate) fn told(&self) -> Told {
        let line = match self {
            Self::EnvironmentPinned { suite, packages } => {
                format!("     pin  build environment of {packages} packages from {suite}")
            }
            Self::SourcePinned { recipe, source, pin } => {
                format!("     pin  {recipe}:{source} {pin}")
            }
            Self::FetchStarted { files, bytes: size, commits, expected, space, free } => {
                let commits = match commits {
                    0 => String::new(),
                    1 => ", and 1 git commit".to_owned(),
                    _ => format!(", and {commits} git commits"),
                };
                let time = match expected {
                    _ if *size == 0 => String::new(),
                    Some(seconds) => format!(", {}", about(*seconds)),
                    None => " (time estimate follows)".to_owned(),
                };
                format!(
                    "   fetch  {files} file{}, {}{commits}{time}; the build then needs about {} of disk, {} is free",
                    if *files == 1 { "" } else { "s" },
                    bytes(*size),
                    bytes(*space),
                    bytes(*free)
                )
            }
            Self::FetchEstimated { left } => format!("   fetch  {} left", about(*left)),
            Self::FetchFinished { bytes: size, seconds } => {
                format!("    done  fetched {} in {}", bytes(*size), duration(*seconds))
            }
            Self::FileStarted { file } => format!("   fetch  {file}"),
            Self::CommitStarted { address, commit } => {
                format!("   fetch  commit {} of {address} by git", short(commit))
            }
            Self::CommitFinished { commit, bytes: size } => {
                format!("    done  commit {}, {}", short(commit), bytes(*size))
            }
            Self::SubmoduleLeftOut { address, path } => format!(
                "    note  {path} of {address} is a submodule, which osier does not fetch: its folder is empty"
            ),
            Self::BuildRetried { reason } => format!("   again  {reason}"),
            Self::EditRestarted { recipe, reason } => {
                format!("   again  {recipe}, starting clean: {reason}")
            }
            Self::CleanConfirmed { component: Some(component) } => {
                format!("    same  {component}: a clean build gives the same bytes")
            }
            Self::CleanConfirmed { component: None } => {
                "everything here comes from clean builds".to_owned()
            }
            Self::StepEntered { step } => format!("   enter  {step}"),
            Self::EditorOpened { component, command } => {
                format!("    edit  {component}: {command}")
            }
            Self::BootStarted { system, machine, accelerator, boot } => {
                format!("    boot  {system} on {machine} ({accelerator}), boot {boot}")
            }
            Self::BootProved { seconds } => {
                format!("  proved  process 1 answered after {}", duration(*seconds))
            }
            Self::BootRetried {} => {
                "   again  QEMU's timer misfired, not your system; booting again".to_owned()
            }
            Self::BootNoted { note } => format!("    note  {note}"),
            Self::KvmUnused { reason } => format!("    note  KVM is not used: {reason}"),
            Self::SourceEdited { recipe, folder } => {
                return Told::Warning(format!(
                    "{recipe} is edited: it is built from {folder}, not from its recipe alone"
                ));
            }
            Self::Finding { code, level, message, place, evidence, .. } => {
                let place = place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
                let text = format!("{place}{message}{} [{code}]", listed(evidence));
                match level {
                    Level::Note => format!("    note  {text}"),
                    Level::Warning | Level::Error => return Told::Warning(text),
                }
            }
            Self::Warning { text } => return Told::Warning(text.clone()),
            Self::Edits { .. } | Self::Verify { .. } | Self::Result { .. } | Self::Error { .. } => {
                return Told::Nothing;
            }
        };
        Told::News(line)
    }
}

impl Event {
    /// Tells a finding.
    pub(crate) fn of(component: String, finding: Finding) -> Self {
        let level = finding.level();
        let Finding { code, message, place, evidence, hint } = finding;
        Self::Finding { component, code: code.to_string(), level, message, place, evidence, hint }
    }
}

/// The first few lines of some evidence, behind a colon.
fn listed(evidence: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = evidence.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match evidence.len() {
        0 => String::new(),
        count if count > SHOWN => format!(": {shown} and {} more", count - SHOWN),
        _ => format!(": {shown}"),
    }
}

/// The beginning of a commit's name, by which people know it.
fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// The name of an event in JSON, by the name of its variant.
pub(crate) fn name(variant: &str) -> String {
    let mut name = String::new();
    for (at, letter) in variant.char_indices() {
        if letter.is_uppercase() && at > 0 {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_the_name_and_the_fields_that_the_reference_tells() {
        let retried = serde_json::to_value(Event::BootRetried {}).unwrap();
        assert_eq!(retried, serde_json::json!({ "event": name("BootRetried") }));
        let started = Event::FetchStarted {
            files: 1,
            bytes: 5_000_000,
            commits: 2,
            expected: None,
            space: 0,
            free: 1 << 30,
        };
        let value = serde_json::to_value(&started).unwrap();
        assert_eq!(value["event"], name("FetchStarted"));
        let doc = Event::DOCUMENTED.iter().find(|doc| doc.name == "FetchStarted").unwrap();
        for (field, text) in doc.fields {
            assert!(value.get(field).is_some() && !text.is_empty(), "{field}");
        }
        assert_eq!(value.as_object().unwrap().len(), doc.fields.len() + 1);
    }

    #[test]
    fn every_event_is_in_the_reference() {
        let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/events.md");
        let page = std::fs::read_to_string(place).unwrap();
        for doc in Event::DOCUMENTED.iter().chain(osier_build::Event::DOCUMENTED) {
            assert!(page.contains(&format!("\n## {}\n", name(doc.name))), "{}", doc.name);
            for (field, _) in doc.fields {
                assert!(page.contains(&format!("\n- `{field}`: ")), "{}.{field}", doc.name);
            }
        }
    }

    #[test]
    fn what_is_fetched_is_told_with_its_time_as_far_as_it_is_known() {
        let told = |size, commits, expected| {
            let event = Event::FetchStarted {
                files: 2,
                bytes: size,
                commits,
                expected,
                space: 3_000_000,
                free: 5_000_000_000,
            };
            match event.told() {
                Told::News(line) => line,
                other => panic!("{other:?}"),
            }
        };
        let rest = "; the build then needs about 3.0 MB of disk, 5.0 GB is free";
        assert_eq!(
            told(5_000_000, 0, None),
            format!("   fetch  2 files, 5.0 MB (time estimate follows){rest}")
        );
        assert_eq!(
            told(5_000_000, 1, Some(60.0)),
            format!("   fetch  2 files, 5.0 MB, and 1 git commit, about 60 s{rest}")
        );
        assert_eq!(told(0, 2, None), format!("   fetch  2 files, 0 B, and 2 git commits{rest}"));
    }
}
