//! The verbs, one file each.

mod boot;
mod build;
mod config;
mod doctor;
mod edit;
mod explain;
mod fetch;
mod gc;
mod graph;
mod log;
mod new;
mod reference;
mod shell;
mod status;
mod update;
mod verify;
mod why;

use std::path::{Path, PathBuf};

use osier_build::Wanted;
use osier_recipe::{System, Target};

use crate::cli::Verb;
use crate::project::{Goal, Project};
use crate::report::problem::Outcome;
use crate::size;
use crate::workplace::Workplace;

/// Does what the command line asks for.
pub(crate) fn run(workplace: &Workplace, verb: Verb) -> Outcome<()> {
    match verb {
        Verb::New { name } => new::run(workplace, &name),
        Verb::Update { names } => update::run(workplace, &names),
        Verb::Fetch { name, import } => fetch::run(workplace, name.as_deref(), import.as_deref()),
        Verb::Build { name, out, clean_check } => {
            build::run(workplace, name.as_deref(), out.as_deref(), clean_check)
        }
        Verb::Boot { name, interactive, out } => {
            boot::run(workplace, name.as_deref(), interactive, out.as_deref())
        }
        Verb::Shell { step, then, command } => shell::run(workplace, &step, then, &command),
        Verb::Config { component, fragment } => {
            config::run(workplace, &component, fragment.as_deref())
        }
        Verb::Log { step } => log::run(workplace, step.as_deref()),
        Verb::Status { name } => status::run(workplace, name.as_deref()),
        Verb::Why { name } => why::run(workplace, &name),
        Verb::Edit { component, folder, finish, message, drop, afresh, list } => {
            let (component, folder) = (component.as_deref(), folder.as_deref());
            let message = message.as_deref();
            let asked = edit::Asked { component, folder, finish, message, drop, afresh, list };
            edit::run(workplace, &asked)
        }
        Verb::Graph { name, format, out } => {
            graph::run(workplace, name.as_deref(), format, out.as_deref())
        }
        Verb::Size { name, files } => size::run(workplace, name.as_deref(), files),
        Verb::Gc { size, age, all } => gc::run(workplace, size.as_deref(), age, all),
        Verb::Verify => verify::run(workplace),
        Verb::Doctor => doctor::run(workplace),
        Verb::Explain { code } => explain::run(workplace, code.as_deref()),
        Verb::Completions { shell } => {
            reference::completions(workplace, shell);
            Ok(())
        }
        Verb::Man => {
            reference::manual(workplace);
            Ok(())
        }
        Verb::Reference { kind } => reference::write(kind),
    }
}

/// Gives a name of what is asked for, and the components that it stands for, for each target.
pub(crate) fn wanted(project: &Project<'_>, goal: &Goal) -> Outcome<(String, Vec<Wanted>)> {
    Ok(match goal {
        Goal::System(system, _) => {
            let targets = project.targets.iter();
            let wanted = targets.map(|target| project.wanted_by(system, *target));
            (system.name.value.clone(), wanted.collect::<Outcome<Vec<_>>>()?.concat())
        }
        Goal::Component(name) => (name.clone(), project.wanted(name)?),
    })
}

/// The folder that a system's files go to: below the named one for each of several targets.
pub(crate) fn out_folder(
    project: &Project<'_>,
    system: &System,
    target: Target,
    out: Option<&Path>,
) -> PathBuf {
    let folder = &project.workplace.project;
    let default = || folder.join("out").join(format!("{}-{target}", system.name));
    out.map_or_else(default, |out| target_folder(project, target.as_str(), out))
}

/// The folder of one target below a named one; of a single target it is the named one.
fn target_folder(project: &Project<'_>, target: &str, out: &Path) -> PathBuf {
    if project.targets.len() > 1 { out.join(target) } else { out.to_path_buf() }
}
