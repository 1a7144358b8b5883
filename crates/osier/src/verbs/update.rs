//! `osier update`: pins moved to the newest versions.

use crate::project::Project;
use crate::report::problem::Outcome;
use crate::session::{Workplace, launcher};
use crate::source::network::Network;

/// Moves pins in osier.lock, and prints old and new.
pub(crate) fn run(workplace: &Workplace, names: &[String]) -> Outcome<()> {
    // Only git needs it: a machine without sandboxes can still pin everything else.
    let launcher = launcher().ok();
    let store = workplace.store()?;
    let network = Network::new(&store, &workplace.reporter, workplace.global.offline)
        .with_launcher(launcher.as_ref());
    let mut project = Project::open(workplace, &store)?;
    crate::source::update(&mut project, names, &network)
}
