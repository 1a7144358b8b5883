//! What a command that plans or builds works with.

use std::rc::Rc;

use osier_build::Engine;
use osier_sandbox::{Isolation, Launcher, Outcome as Found, Reason, probe_degraded, probe_full};
use osier_store::Store;

use crate::engine;
use crate::network::Network;
use crate::project::Project;
use crate::report::problem::{Code, Outcome, Problem};
use crate::workplace::Workplace;

/// A project, its store, and the ways to the network and into sandboxes.
pub(crate) struct Session<'s> {
    pub(crate) workplace: &'s Workplace,
    pub(crate) store: &'s Store,
    pub(crate) project: Project<'s>,
    pub(crate) network: Rc<Network<'s>>,
    launcher: Option<&'s Launcher>,
}

impl<'s> Session<'s> {
    /// Opens the project for a command that builds or fetches. What only fetches needs sandboxes for git alone.
    pub(crate) fn open(
        workplace: &'s Workplace,
        store: &'s Store,
        launcher: Option<&'s Launcher>,
    ) -> Outcome<Self> {
        let network = Network::new(store, &workplace.reporter, workplace.global.offline);
        let project = Project::open(workplace, store)?;
        Ok(Self { workplace, store, project, network: Rc::new(network), launcher })
    }

    /// Opens the project for a command that only asks: nothing is fetched and nothing runs.
    pub(crate) fn asking(workplace: &'s Workplace, store: &'s Store) -> Outcome<Self> {
        let network = Network::new(store, &workplace.reporter, true);
        let project = Project::open(workplace, store)?;
        Ok(Self { workplace, store, project, network: Rc::new(network), launcher: None })
    }

    /// Gives the way into sandboxes. Only a command that fetches can be without one.
    pub(crate) fn launcher(&self) -> Outcome<&'s Launcher> {
        self.launcher.ok_or_else(|| {
            let message = "fetching a git commit needs a sandbox";
            Problem::of(Code::NoSandbox, message).hint(
                "`osier fetch NAME` fetches it; run `osier doctor` to see what this machine lacks",
            )
        })
    }

    /// Sets an engine up that builds.
    pub(crate) fn engine<'e>(
        &self,
        events: &'e (dyn Fn(osier_build::Event) + Sync),
    ) -> Outcome<Engine<'e>>
    where
        's: 'e,
    {
        Ok(engine::engine(self.workplace, self.store, self.launcher()?, events))
    }

    /// Sets an engine up that only says what is built and what is not.
    pub(crate) fn surveyor(&self) -> Engine<'s> {
        engine::surveyor(self.workplace, self.store, &|_| {})
    }

    /// Fails where steps cannot run as they should on this machine: what is told before the first download.
    pub(crate) fn check_isolation(&self) -> Outcome<()> {
        let scratch = self.store.scratch("probe")?;
        let (found, message, hint) = match self.workplace.isolation() {
            Isolation::Full => (
                probe_full(self.launcher()?, scratch.path()),
                "builds cannot run here with full isolation",
                "run `osier doctor` to see what is missing; as root, `--degraded` builds without namespaces",
            ),
            Isolation::Degraded => (
                probe_degraded(scratch.path()),
                "builds cannot run here in degraded mode",
                "run `osier doctor` to see what is missing",
            ),
        };
        match found {
            Found::Works | Found::Untried => Ok(()),
            Found::Missing { reason, .. } => {
                let message = format!("{message}: {}", reason.advice());
                let code = if reason == Reason::Kernel { Code::OldKernel } else { Code::NoSandbox };
                Err(Problem::of(code, message).hint(hint))
            }
        }
    }
}

/// Starts the launcher; must be called before any thread is started.
pub(crate) fn launcher() -> Outcome<Launcher> {
    Launcher::start().map_err(|error| {
        Problem::of(Code::NoSandbox, error)
            .hint("run `osier doctor` to see what is missing; as root, `--degraded` builds without namespaces")
    })
}
