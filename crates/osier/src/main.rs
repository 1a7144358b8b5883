//! The osier command.
#![warn(clippy::print_stdout, clippy::print_stderr, reason = "all is printed by screen.rs")]

mod beside;
mod boot;
mod checks;
mod cli;
mod codes;
mod compose;
mod config;
mod console;
mod delivery;
mod disk_image;
mod disks;
mod doctor;
mod edit;
mod emulator;
mod escape;
mod git;
mod graph;
mod library;
mod network;
mod new;
mod own_recipe;
mod patching;
mod pins;
mod problem;
mod project;
mod provision;
mod reference;
mod reporter;
mod screen;
mod signals;
mod size;
mod store_verbs;
mod system;
mod terminal;
mod tool;
mod tune;
mod verbs;
mod verify;
mod why;
mod why_image;
mod workplace;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Verb};
use problem::{Exit, Outcome, Problem};
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
    match ended.unwrap_or_else(|_| Err(Problem::defect("osier has stopped in the middle"))) {
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
            ExitCode::from(problem.exit as u8)
        }
    }
}

fn run(cli: Cli) -> Outcome<()> {
    let Some(verb) = cli.verb else {
        let _ = <Cli as clap::CommandFactory>::command().print_help();
        return Ok(());
    };
    let workplace = Workplace::open(cli.global)?;
    match verb {
        Verb::New { name } => new::run(&workplace, &name),
        Verb::Update { names } => verbs::update(&workplace, &names),
        Verb::Fetch { name, import } => {
            verbs::fetch(&workplace, name.as_deref(), import.as_deref())
        }
        Verb::Build { name, out, clean_check } => {
            verbs::build(&workplace, name.as_deref(), out.as_deref(), clean_check)
        }
        Verb::Boot { name, interactive, out } => {
            boot::boot(&workplace, name.as_deref(), interactive, out.as_deref())
        }
        Verb::Shell { step, then, command } => console::shell(&workplace, &step, then, &command),
        Verb::Config { component, fragment } => {
            config::run(&workplace, &component, fragment.as_deref())
        }
        Verb::Log { step } => store_verbs::log(&workplace, step.as_deref()),
        Verb::Status { name } => verbs::status(&workplace, name.as_deref()),
        Verb::Why { name } => why::run(&workplace, &name),
        Verb::Edit { component, folder, finish, message, drop, afresh, list } => {
            let (component, folder) = (component.as_deref(), folder.as_deref());
            let message = message.as_deref();
            let asked = edit::Asked { component, folder, finish, message, drop, afresh, list };
            edit::run(&workplace, &asked)
        }
        Verb::Graph { name, format, out } => {
            graph::run(&workplace, name.as_deref(), format, out.as_deref())
        }
        Verb::Size { name, files } => size::run(&workplace, name.as_deref(), files),
        Verb::Gc { size, age, all } => store_verbs::gc(&workplace, size.as_deref(), age, all),
        Verb::Verify => verify::run(&workplace),
        Verb::Doctor => doctor::run(&workplace),
        Verb::Explain { code } => reference::explain(&workplace, code.as_deref()),
        Verb::Completions { shell } => {
            reference::completions(&workplace, shell);
            Ok(())
        }
        Verb::Man => {
            reference::manual(&workplace);
            Ok(())
        }
        Verb::Reference { kind } => reference::write(kind),
    }
}

/// Says that something is not among what there is, and names the nearest.
pub(crate) fn unknown(what: &str, name: &str, known: &[String]) -> Problem {
    let problem = Problem::new("C001", Exit::Usage, format!("there is no {what} `{name}`"));
    match osier_recipe::nearest(name, known.iter().map(String::as_str)) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None if known.is_empty() => problem,
        None => problem.hint(format!("there are: {}", listed(known))),
    }
}

/// Lists names, of many the first ones.
fn listed(names: &[String]) -> String {
    const MOST: usize = 40;
    let shown = names[..names.len().min(MOST)].join(", ");
    match names.len().checked_sub(MOST) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn of_many_names_the_first_are_listed() {
        let names = |count: usize| (0..count).map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(super::listed(&names(2)), "0, 1");
        assert!(super::listed(&names(40)).ends_with("38, 39"));
        assert!(super::listed(&names(43)).ends_with("38, 39 and 3 more"));
    }
}
