//! The osier command.
#![warn(clippy::print_stdout, clippy::print_stderr, reason = "all is printed by report/screen.rs")]

mod beside;
mod checks;
mod cli;
mod delivery;
mod engine;
mod network;
mod planning;
mod product;
mod project;
mod report;
mod session;
mod signals;
mod size;
mod source;
mod system;
mod tool;
mod verbs;
mod workplace;

use std::process::ExitCode;

use clap::Parser as _;

use cli::Cli;
use report::problem::{Outcome, Problem};
use report::screen;
use workplace::Workplace;

/// Plans of many components are many small pieces, at which the C library's allocator is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            screen::usage(&error);
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let json = cli.global.json;
    signals::tell_as_json(json);
    // What a panic says has been printed by then.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(cli)));
    match ended.unwrap_or_else(|_| Err(Problem::defect("osier stopped unexpectedly"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(mut problem) => {
            // What ended because osier was told to end is no failure of its own.
            if signals::INTERRUPTED.load(std::sync::atomic::Ordering::SeqCst) {
                problem = signals::interrupted();
            }
            if json {
                screen::json(&problem.event());
            }
            screen::tell(&problem.render());
            ExitCode::from(problem.code.exit() as u8)
        }
    }
}

fn run(cli: Cli) -> Outcome<()> {
    let Some(verb) = cli.verb else {
        let _ = <Cli as clap::CommandFactory>::command().print_help();
        return Ok(());
    };
    let workplace = Workplace::open(cli.global)?;
    verbs::run(&workplace, verb)
}
