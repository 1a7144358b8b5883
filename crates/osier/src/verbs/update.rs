//! `osier update`: pins moved to the newest versions.

use crate::report::problem::Outcome;
use crate::session::{Session, launcher};
use crate::workplace::Workplace;

/// Moves pins in osier.lock, and prints old and new.
pub(crate) fn run(workplace: &Workplace, names: &[String]) -> Outcome<()> {
    // Only git needs it: a machine without sandboxes can still pin everything else.
    let launcher = launcher().ok();
    let store = workplace.store()?;
    let mut session = Session::open(workplace, &store, launcher.as_ref())?;
    crate::source::update(&mut session, names)
}
