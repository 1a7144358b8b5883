//! What a person is told, and how: events, problems with their codes and pages, the screen.

pub(crate) mod codes;
pub(crate) mod escape;
pub(crate) mod event;
pub(crate) mod failure;
pub(crate) mod figures;
mod patching;
pub(crate) mod problem;
pub(crate) mod reporter;
pub(crate) mod screen;
