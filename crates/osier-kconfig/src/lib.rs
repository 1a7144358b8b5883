//! Reads Kconfig configurations and fragments, and finds what was asked for and not honoured.
//!
//! The flow: fragments are read by [`Config::parse`] and joined by [`merge`]; what they want goes
//! to the project's own Kconfig tools as [`Wanted::allconfig_text`]; [`check`] compares it with the
//! configuration that comes out, and [`foreign`] tells what was meant for another architecture. [`difference`] turns an edited configuration into a fragment, and
//! [`amend`] brings it into one that is there.
//! Linux and busybox write the same form.

mod check;
mod config;
mod merge;
mod value;

pub use check::{NotHonoured, check, difference, foreign};
pub use config::{Config, ParseError, Problem, Setting};
pub use merge::{Override, Wanted, Wish, amend, merge};
pub use value::{Number, Value};
