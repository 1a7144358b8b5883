//! What a worker tells the scheduler of its step.

use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use osier_patch::PatchReport;
use osier_store::{Digest, Key};

use crate::failure::Failure;
use crate::graph::StepId;
use crate::run::error::BuildError;
use crate::run::executor::Stop;
use crate::run::tokens::Tokens;

/// What a step that ended well used.
#[derive(Debug, Clone)]
pub(crate) struct StepUse {
    /// The layers of an earlier build that its own lies on, the topmost first.
    pub(crate) on: Vec<Key>,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// What a person should know of it, as the end of a sentence that begins with the step.
    pub(crate) warning: Option<&'static str>,
    /// What became of its patches.
    pub(crate) patches: Vec<PatchReport>,
}

/// Why a step has no result.
pub(crate) enum StepEnd {
    /// The step failed.
    Failed(Box<Failure>),
    /// The build cannot go on.
    Fatal(Box<BuildError>),
    /// The build was asked to stop.
    Interrupted,
}

impl From<BuildError> for StepEnd {
    fn from(error: BuildError) -> Self {
        Self::Fatal(Box::new(error))
    }
}

/// What became of a step that ran, and its component's outputs, if it was the last.
pub(crate) type Ended = (Option<StepUse>, Option<Vec<(String, Digest)>>);

/// What a worker reports of its step.
pub(crate) enum News {
    /// Its programs run.
    Runs(Stop),
    /// They take jobs here.
    Serve(Tokens),
    /// They are over and have used so much CPU time.
    Quiet(Duration),
    /// All of it is over.
    Done(Result<Ended, StepEnd>),
}

/// The way from one worker to the scheduler.
pub(crate) struct Wire {
    pub(crate) step: StepId,
    pub(crate) sender: mpsc::Sender<(StepId, News)>,
    pub(crate) wake: Arc<OwnedFd>,
}

impl Wire {
    pub(crate) fn send(&self, news: News) {
        // The scheduler listens as long as there are workers.
        let _ = self.sender.send((self.step, news));
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}
