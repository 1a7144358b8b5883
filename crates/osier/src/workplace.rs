//! Where one command works: the project's folder, the store, the reporter, and what the command line says of all.

use std::path::{Path, PathBuf};

use osier_sandbox::Isolation;
use osier_store::{IoContext as _, OpenError, Reserved, Store, Surroundings};

use crate::cli::Global;
use crate::report::problem::{Code, Outcome, Problem};
use crate::report::reporter::Reporter;

/// Minutes of CPU time that a step may use without a word, where nobody says otherwise.
const SILENCE: u64 = 120;

/// The least number of bytes of disk that osier leaves free.
pub(crate) const RESERVE: u64 = 1 << 30;

/// What the degraded mode lacks.
const DEGRADED: &str = "degraded mode: steps run without namespaces. A step can see the machine's other processes and send them signals, \
    its files are copied for each step, and systems cannot be booted. Results go into a separate store and are not shared.";

/// The store of the degraded mode, in the other one.
const DEGRADED_STORE: &str = "degraded";

/// What a command works with.
pub(crate) struct Workplace {
    pub(crate) global: Global,
    /// The project's root: where osier.toml lies, else the current folder.
    pub(crate) project: PathBuf,
    pub(crate) reporter: Reporter,
}

impl Workplace {
    /// Finds the project from the current folder upwards.
    pub(crate) fn open(global: Global) -> Outcome<Self> {
        let current = std::env::current_dir().map_err(|error| {
            Problem::of(Code::File, format!("cannot determine the current folder: {error}"))
        })?;
        let project = match &global.project {
            Some(project) if !project.is_dir() => {
                let message = format!("the project folder {} does not exist", project.display());
                return Err(Problem::of(Code::Usage, message));
            }
            Some(project) => std::path::absolute(project).unwrap_or_else(|_| project.clone()),
            None => {
                let found = current.ancestors().find(|folder| folder.join("osier.toml").is_file());
                found.unwrap_or(&current).to_path_buf()
            }
        };
        let reporter = Reporter::new(global.json, global.quiet);
        if global.degraded {
            reporter.warn(DEGRADED);
        }
        Ok(Self { global, project, reporter })
    }

    /// Says where the store is.
    pub(crate) fn store_folder(&self) -> Outcome<PathBuf> {
        let named = self
            .global
            .store
            .clone()
            .or_else(|| std::env::var_os("OSIER_STORE").map(PathBuf::from));
        let found = named
            .or_else(|| {
                std::env::var_os("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("osier"))
            })
            .or_else(|| {
                std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/osier"))
            });
        let found = found.filter(|folder| !folder.as_os_str().is_empty());
        let found = found.ok_or_else(|| {
            Problem::of(
                Code::StoreUnusable,
                "there is no place for the store: set --store, OSIER_STORE, XDG_CACHE_HOME or HOME",
            )
        })?;
        Ok(std::path::absolute(&found).unwrap_or(found))
    }

    /// Opens the store, and makes it where nothing is yet: for what builds or fetches.
    pub(crate) fn store(&self) -> Outcome<Store> {
        crate::signals::watch();
        let folder = self.store_folder()?;
        let mut store = self.store_at(&folder)?;
        if self.global.degraded {
            // It lies in the other one, so that the folder is known for a store.
            store = Store::open(&folder.join(DEGRADED_STORE), &boot_id()).map_err(unopened)?;
        }
        store.set_rehash(self.global.rehash);
        store.damages().iter().for_each(|note| self.reporter.warn(note));
        Ok(store)
    }

    fn store_at(&self, folder: &Path) -> Outcome<Store> {
        match self.existing(folder)? {
            Some(store) => Ok(store),
            // In the degraded mode: the one around it is made where it is not there yet.
            None if self.reserved(folder).is_some() => Err(self.refused(folder)),
            None => Store::open(folder, &boot_id()).map_err(unopened),
        }
    }

    /// Opens the store where there is one: for what removes.
    pub(crate) fn known_store(&self) -> Outcome<Option<Store>> {
        let folder = self.store_folder()?;
        if self.reserved(&folder).is_some() {
            return Err(self.refused(&folder));
        }
        self.existing(&folder)
    }

    /// Opens the store for what only asks. Where there is none yet, answers come from an empty one that is gone afterwards.
    pub(crate) fn asked_store(&self) -> Outcome<AskedStore> {
        crate::signals::watch();
        if let Some(mut store) = self.existing(&self.store_folder()?)? {
            store.set_rehash(self.global.rehash);
            return Ok(AskedStore { store, passing: None });
        }
        let place = std::env::temp_dir();
        let passing = tempfile::Builder::new().prefix("osier-").tempdir_in(&place);
        let passing = passing.at("make a folder in", &place)?;
        let store = Store::open(passing.path(), &boot_id()).map_err(unopened)?;
        Ok(AskedStore { store, passing: Some(passing) })
    }

    /// Opens what there is at a folder; in the degraded mode, the mode's own store in it.
    fn existing(&self, folder: &Path) -> Outcome<Option<Store>> {
        match Store::open_existing(folder, &boot_id()) {
            Err(OpenError::NotAStore { .. }) if self.reserved(folder).is_some() => {
                Err(self.refused(folder))
            }
            Ok(_) if self.global.degraded => {
                Store::open_existing(&folder.join(DEGRADED_STORE), &boot_id()).map_err(unopened)
            }
            found => found.map_err(unopened),
        }
    }

    /// What a person's own folders are.
    fn surroundings(&self) -> Surroundings {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let homes = users.lines().filter_map(|line| line.split(':').nth(5)).map(PathBuf::from);
        let own = std::env::var_os("HOME").map(PathBuf::from);
        let is_project = self.project.join("osier.toml").is_file();
        Surroundings {
            homes: homes.chain(own).filter(|home| home.is_absolute()).collect(),
            project: is_project.then(|| self.project.clone()),
        }
    }

    fn reserved(&self, folder: &Path) -> Option<Reserved> {
        Reserved::find(folder, &self.surroundings())
    }

    /// Says why the folder of the store must not be removed.
    pub(crate) fn kept(&self, folder: &Path) -> Option<Reserved> {
        Reserved::find_to_remove(folder, &self.surroundings())
    }

    /// Refuses a folder by name.
    fn refused(&self, folder: &Path) -> Problem {
        let what = self.reserved(folder).map_or_else(String::new, |what| what.to_string());
        unusable(format!(
            "{} is {what}; osier makes no store there, and removes nothing there",
            folder.display()
        ))
    }

    /// How many jobs may run at one time.
    pub(crate) fn jobs(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let of_project = || self.project_file()?.jobs;
        self.global.jobs.or_else(of_project).unwrap_or_else(all).max(1)
    }

    /// The project's file, where there is a good one; whoever opens the project tells what is wrong with another.
    fn project_file(&self) -> Option<osier_recipe::Project> {
        let text = std::fs::read_to_string(self.project.join("osier.toml")).ok()?;
        osier_recipe::Project::parse("osier.toml", &text).ok()
    }

    /// How strong the walls around steps are.
    pub(crate) fn isolation(&self) -> Isolation {
        if self.global.degraded { Isolation::Degraded } else { Isolation::Full }
    }

    /// How to go about builds.
    pub(crate) fn settings(&self) -> osier_build::Settings {
        let silence = self.project_file().and_then(|file| file.silence).unwrap_or(SILENCE);
        osier_build::Settings {
            jobs: self.jobs(),
            memory: osier_build::machine_memory(),
            keep_going: self.global.keep_going,
            reserve: RESERVE,
            isolation: self.isolation(),
            reuse: true,
            silence: std::time::Duration::from_secs(60 * silence),
        }
    }

    /// Shortens a path for people: relative to the current folder where it lies below.
    pub(crate) fn shown(path: &Path) -> String {
        let current = std::env::current_dir().unwrap_or_default();
        let short = path.strip_prefix(&current).ok().filter(|short| !short.as_os_str().is_empty());
        short.unwrap_or(path).display().to_string()
    }
}

/// The store that questions are answered from.
pub(crate) struct AskedStore {
    store: Store,
    /// The folder of a store that is gone afterwards.
    passing: Option<tempfile::TempDir>,
}

impl AskedStore {
    /// Says whether there is no store yet.
    pub(crate) fn is_passing(&self) -> bool {
        self.passing.is_some()
    }
}

impl std::ops::Deref for AskedStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// Says why a store was not opened.
fn unopened(error: OpenError) -> Problem {
    match error {
        OpenError::File(error) if !error.is_forbidden() => error.into(),
        OpenError::Taken { .. } => Problem::of(Code::StoreUnusable, error)
            .hint("move it away and run the same command again"),
        OpenError::Format { ref path, .. } => {
            let remove = format!(
                "remove the old one with `rm -rf {}` when no other osier uses it: osier can fetch and build everything in it again",
                path.display()
            );
            unusable(error).hint(remove)
        }
        error => unusable(error),
    }
}

/// Says that a store cannot be used, or not for this.
pub(crate) fn unusable(what: impl std::fmt::Display) -> Problem {
    Problem::of(Code::StoreUnusable, what)
        .hint("name a folder of your own with --store DIR or OSIER_STORE")
}

/// Names this boot of the machine. Where that cannot be told, each process counts as one: what it has not synced is not believed.
pub(crate) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let text = text.trim();
    if !text.is_empty() {
        return text.to_owned();
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("unknown-{}-{}", since.unwrap_or_default().as_nanos(), std::process::id())
}
