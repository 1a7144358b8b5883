//! `osier shell` and `osier config`: a person in a step's sandbox.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

use osier_build::{EnterError, EnteredState};
use osier_sandbox::{Status, Stdio};

use crate::network::Network;
use crate::problem::{Exit, Outcome, Problem};
use crate::project::Project;
use crate::system;
use crate::workplace::{Workplace, launcher};

/// Splits COMPONENT:STEP.
fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once(':').map_or((name, None), |(component, step)| (component, Some(step)))
}

fn own_stdio() -> Outcome<Stdio> {
    use std::os::fd::AsFd as _;
    let copy = |fd: std::os::fd::BorrowedFd<'_>| -> Outcome<OwnedFd> {
        fd.try_clone_to_owned().map_err(|error| {
            Problem::new("M001", Exit::Machine, format!("cannot share the terminal: {error}"))
        })
    };
    Ok(Stdio {
        stdin: Some(copy(std::io::stdin().as_fd())?),
        stdout: Some(copy(std::io::stdout().as_fd())?),
        stderr: Some(copy(std::io::stderr().as_fd())?),
    })
}

/// Enters a step with a shell, or runs a command there; the exit status is that of the command.
pub(crate) fn shell(workplace: &Workplace, name: &str, command: &[String]) -> Outcome<()> {
    let launcher = launcher()?;
    let store = workplace.store()?;
    let network = Network::new(&store, &workplace.reporter, workplace.global.offline);
    let mut project = Project::open(workplace, &store)?;
    let (component, step) = split(name);
    let graph = project.plan(&[component.to_owned()], &network)?;
    let id = graph.find(component).ok_or_else(|| crate::unknown("component", component, &[]))?;
    let steps = &graph.component(id).steps;
    let events = |event| workplace.reporter.event(event);
    let engine = system::engine(workplace, &store, &launcher, &events);
    let step = match step {
        Some(step) => graph.find_step(id, step).ok_or_else(|| {
            let known: Vec<String> = steps.iter().map(|id| graph.step(*id).name.clone()).collect();
            crate::unknown(&format!("step of {component}"), step, &known)
        })?,
        None => {
            let survey = engine.survey(&graph);
            let failed = steps.iter().copied().find(|step| {
                survey
                    .keys
                    .get(step)
                    .is_some_and(|key| store.failed_path(key).join("upper").is_dir())
            });
            failed
                .or_else(|| steps.last().copied())
                .ok_or_else(|| crate::unknown("step", name, &[]))?
        }
    };
    let command: Vec<OsString> = if command.is_empty() {
        vec!["/bin/bash".into(), "--norc".into(), "-i".into()]
    } else {
        command.iter().map(OsString::from).collect()
    };
    let _lock = store.lock_for_build()?;
    let entered = engine.enter(&graph, step, command).map_err(|error| match error {
        EnterError::Build(error) => system::build_problem(error),
        error => Problem::new("C001", Exit::Usage, error)
            .hint(format!("run `osier build {component}` first")),
    })?;
    let state = match entered.state {
        EnteredState::Failed => {
            "as the failed try left it; your changes stay there until the next build"
        }
        EnteredState::Done => {
            "as it was when the step had ended well; your changes are thrown away"
        }
        EnteredState::NotRun => "as it is before the step runs; your changes are thrown away",
    };
    workplace.reporter.say(format!("   enter  {} {state}", graph.label(step)));
    let running = launcher.spawn(&entered.spec, own_stdio()?).map_err(|error| {
        Problem::new("S008", Exit::Machine, format!("the sandbox could not be set up: {error}"))
    })?;
    let exit = running.wait().map_err(|error| Problem::new("S008", Exit::Machine, error))?;
    match exit.status {
        Status::Code(0) => Ok(()),
        Status::Code(code) => Err(Problem::new(
            "S001",
            Exit::Failed,
            format!("the command ended with exit status {code}"),
        )),
        Status::Signal(signal) => Err(Problem::new(
            "S002",
            Exit::Failed,
            format!("the command was killed by signal {signal}"),
        )),
    }
}

/// Opens a component's own configuration menu, and saves what was changed as a fragment.
pub(crate) fn config(
    workplace: &Workplace,
    component: &str,
    fragment: Option<&Path>,
) -> Outcome<()> {
    let _ = (workplace, fragment);
    Err(Problem::new("C002", Exit::Usage, format!("`osier config {component}` is not there yet"))
        .hint("write the symbols into a fragment and name it in the recipe's `fragments`"))
}
