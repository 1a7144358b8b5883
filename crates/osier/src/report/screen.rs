//! The one way from osier to a person: everything that is printed on standard output and standard
//! error goes through here, and is made safe to show by [`crate::report::escape`].
//!
//! What passes by on purpose is a terminal itself: `osier shell`, `osier config` and `osier boot -i` hand on what a
//! program draws, because the person asked for that program ([`crate::tool::terminal`],
//! `osier_boot::interactive`).
//!
//! A reader that went away (a closed pipe) is no error of ours, so a failed write is left alone.

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use super::escape;

/// Prints text and a line end on standard output.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", escape::printable(text));
}

/// Prints text on standard error as it stands, without a line end of its own.
pub(crate) fn tell(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(escape::printable(text).as_bytes()).and_then(|()| out.flush());
}

/// Prints one event as JSON on a line of standard output, its fields in the order of their names.
pub(crate) fn json(event: &impl Serialize) {
    match serde_json::to_value(event) {
        Ok(value) => {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{}", escape::json(value.to_string()));
        }
        Err(error) => tell(&format!("error[X070]: an event cannot be said in JSON: {error}\n")),
    }
}

/// Writes data to standard output: byte by byte into a pipe or a file, made safe on a terminal,
/// where colours stay.
pub(crate) fn data(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = if out.is_terminal() {
        out.write_all(escape::coloured(bytes).as_bytes())
    } else {
        out.write_all(bytes)
    }
    .and_then(|()| out.flush());
}

/// Says what is wrong with the command line, in the colours of the help, with what was typed made safe.
pub(crate) fn usage(error: &clap::Error) {
    if !error.use_stderr() {
        // The help and the version, which hold nothing foreign.
        let _ = error.print();
        return;
    }
    let mut out = std::io::stderr().lock();
    let wants_colours = out.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
    let text = error.render();
    let _ = if wants_colours {
        out.write_all(escape::coloured(text.ansi().to_string().as_bytes()).as_bytes())
    } else {
        out.write_all(escape::printable(&text.to_string()).as_bytes())
    };
}

/// Whether a person can see standard error.
pub(crate) fn is_seen() -> bool {
    std::io::stderr().is_terminal()
}
