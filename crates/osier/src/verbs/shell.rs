//! `osier shell`: a person in a step's sandbox.

use std::ffi::OsString;

use osier_build::{Engine, EnterError, Entered, EnteredState, Graph, StepId, Work};
use osier_sandbox::{Launcher, Status};
use osier_store::{Key, KeyBuilder, Store};

use crate::cli::Then;
use crate::engine::unbuilt;
use crate::report::event::Event;
use crate::report::problem::{Code, Outcome, Problem};
use crate::report::screen;
use crate::session::{Session, launcher};
use crate::signals::Looking;
use crate::system;
use crate::tool::terminal;
use crate::workplace::Workplace;

/// Splits COMPONENT:STEP.
fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once(':').map_or((name, None), |(component, step)| (component, Some(step)))
}

/// Asks what comes after the shell, where a person can answer; else nothing does.
fn ask() -> Then {
    use std::io::BufRead as _;
    if !terminal::is_there() {
        return Then::Leave;
    }
    loop {
        screen::tell("  then?   [r]etry the step from here, start it [a]fresh, [l]eave: ");
        let mut line = String::new();
        match std::io::stdin().lock().read_line(&mut line) {
            Ok(0) | Err(_) => return Then::Leave,
            Ok(_) => {}
        }
        match line.trim() {
            "r" | "retry" => return Then::Retry,
            "a" | "afresh" => return Then::Afresh,
            "l" | "leave" => return Then::Leave,
            _ => {}
        }
    }
}

/// Describes the sandbox of a step, for another command.
pub(crate) fn enter(
    engine: &Engine<'_>,
    graph: &Graph,
    step: StepId,
    command: Vec<OsString>,
) -> Outcome<Entered> {
    let name = &graph.component(graph.step(step).component).name;
    engine.enter(graph, step, command).map_err(|error| match error {
        EnterError::Build(error) => unbuilt(error).into(),
        EnterError::Degraded => Problem::of(Code::Unknown, error),
        error => Problem::of(Code::Unknown, error).hint(format!("run `osier build {name}` first")),
    })
}

/// Runs a command in a step's sandbox.
fn run_in_step(
    launcher: &Launcher,
    engine: &Engine<'_>,
    graph: &Graph,
    step: StepId,
    command: Vec<OsString>,
) -> Outcome<(Status, EnteredState)> {
    let entered = enter(engine, graph, step, command)?;
    Ok((terminal::run(launcher, entered.spec)?, entered.state))
}

/// Turns how a command ended into what osier ends with.
pub(crate) fn ended(status: Status) -> Outcome<()> {
    match status {
        Status::Code(0) => Ok(()),
        Status::Code(code) => Err(Problem::of(
            Code::CommandFailed,
            format!("the command ended with exit status {code}"),
        )),
        Status::Signal(signal) => {
            Err(Problem::of(Code::Killed, format!("the command was killed by signal {signal}")))
        }
    }
}

/// Enters a step with a shell, or runs a command there, and goes on as the person says.
pub(crate) fn run(
    workplace: &Workplace,
    name: &str,
    then: Option<Then>,
    command: &[String],
) -> Outcome<()> {
    let launcher = launcher()?;
    let store = workplace.store()?;
    let mut session = Session::open(workplace, &store, Some(&launcher))?;
    let (component, step) = split(name);
    let (graph, id) = session.plan_one(component)?;
    let steps = &graph.component(id).steps;
    let events = |event| workplace.reporter.event(event);
    let mut engine = session.engine(&events)?;
    let survey = engine.survey(&graph);
    let failed_layer = |step: &StepId| {
        survey
            .keys
            .get(step)
            .map(|key| store.failed_path(key).join("upper"))
            .filter(|upper| upper.is_dir())
    };
    let step = match step {
        Some(step) => graph.find_step(id, step).ok_or_else(|| {
            let known: Vec<String> = steps.iter().map(|id| graph.step(*id).name.clone()).collect();
            crate::report::problem::unknown(&format!("step of {component}"), step, &known)
        })?,
        None => {
            let failed = steps.iter().copied().find(|step| failed_layer(step).is_some());
            failed
                .or_else(|| steps.last().copied())
                .ok_or_else(|| crate::report::problem::unknown("step", name, &[]))?
        }
    };
    let label = graph.label(step);
    let entered = graph.component(id);
    if entered.environment.packages.is_empty() {
        let message =
            format!("osier makes {label} itself, without a program: there is nothing to enter");
        return Err(Problem::of(Code::Usage, message)
            .hint(format!("`osier log {label}` shows what it did")));
    }
    // The tools of images come with a small shell alone.
    let shell = || match osier_product::is_product(entered) {
        true => vec!["/bin/sh".into(), "-i".into()],
        false => vec!["/bin/bash".into(), "--norc".into(), "-i".into()],
    };
    let command: Vec<OsString> =
        if command.is_empty() { shell() } else { command.iter().map(OsString::from).collect() };
    let interactive = command == shell();
    workplace.reporter.tell(&Event::StepEntered { step: label.clone() });
    let (status, state) = run_in_step(&launcher, &engine, &graph, step, command)?;
    let then = match (then, state) {
        (Some(then), _) => then,
        (None, EnteredState::Failed) if interactive => ask(),
        _ => Then::Leave,
    };
    match then {
        Then::Leave if interactive => Ok(()),
        Then::Leave => ended(status),
        Then::Afresh => {
            system::build_graph(&session, &graph, component)?;
            workplace.reporter.result(format!("{component} is built"));
            Ok(())
        }
        Then::Retry if went_on(&store, survey.keys.get(&step)) => {
            let message = format!("{label} started from an earlier build's objects");
            Err(Problem::of(Code::Usage, message)
                .hint("change the edited source itself and build again"))
        }
        Then::Retry => {
            let Work::Script { text, .. } = &graph.step(step).work else {
                return Err(Problem::of(
                    Code::Usage,
                    format!("{label} runs no script that could be tried again"),
                ));
            };
            let script = ["/bin/sh", "-euxc", text].map(OsString::from).to_vec();
            let (status, state) = run_in_step(&launcher, &engine, &graph, step, script)?;
            ended(status)?;
            let (Some(upper), EnteredState::Failed) = (failed_layer(&step), state) else {
                return Err(Problem::of(
                    Code::Usage,
                    format!("{label} has not failed, so there is nothing to retry"),
                ));
            };
            let key = survey
                .keys
                .get(&step)
                .ok_or_else(|| crate::report::problem::unknown("step", name, &[]))?;
            engine.hand_made.insert(step, (hand_key(key), upper));
            let _looking = Looking::begin();
            let results = engine.run(&graph).map_err(unbuilt)?;
            let outputs =
                results.get(&id).map(|result| result.outputs.as_slice()).unwrap_or_default();
            for (output, digest) in outputs {
                workplace
                    .reporter
                    .result(format!("{component}:{output} {digest} (made by hand, not recorded)"));
            }
            Ok(())
        }
    }
}

/// Whether what a failed step has left lies on an earlier build's objects.
fn went_on(store: &Store, key: Option<&Key>) -> bool {
    let failure = key.and_then(|key| osier_build::kept_failure(store, key));
    failure.is_some_and(|failure| !failure.on.is_empty())
}

/// A key for what was made by hand, which no recipe ever has: it is new each time.
fn hand_key(key: &Key) -> Key {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut builder = KeyBuilder::new("hand-made", 1);
    builder.field("step", &key.0).field("when", &now.as_nanos().to_le_bytes());
    builder.field("process", &std::process::id().to_le_bytes());
    builder.finish()
}
