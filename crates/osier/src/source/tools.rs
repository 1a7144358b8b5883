//! The pinned packages of programs that osier itself runs.

use osier_build::{Environment, MissingPin, locked_environment};

use super::add;
use crate::network::{Download, Place};
use crate::project::{BUILD, Project};
use crate::report::problem::{Outcome, Problem};
use crate::session::Session;

/// A program that osier itself runs, as Debian packages.
pub(crate) struct Tool<'n> {
    /// The suite that has it; the project's where none is named.
    pub(crate) suite: Option<&'n str>,
    pub(crate) packages: &'n [&'n str],
}

/// Gives the environment of a tool that osier itself runs; pins it first where that is missing.
pub(crate) fn pinned_tool(session: &mut Session<'_>, tool: &Tool<'_>) -> Outcome<Environment> {
    if let Some(environment) = locked_tool(&session.project, tool) {
        return Ok(environment);
    }
    let mut request: Vec<String> = tool.packages.iter().map(|name| (*name).to_owned()).collect();
    request.sort();
    let suite = tool.suite.map_or_else(|| session.project.suite.clone(), str::to_owned);
    add(session, &[MissingPin::Environment { suite, request }])?;
    locked_tool(&session.project, tool)
        .ok_or_else(|| Problem::defect("the pins of a tool that were just made do not fit it"))
}

/// Finds the environment of a tool in the lock.
pub(crate) fn locked_tool(project: &Project<'_>, tool: &Tool<'_>) -> Option<Environment> {
    let mut request: Vec<String> = tool.packages.iter().map(|name| (*name).to_owned()).collect();
    request.sort();
    let suite = tool.suite.unwrap_or(&project.suite);
    locked_environment(&project.lock, suite, BUILD.debian(), &request)
}

/// Lists the packages of an environment as files to fetch.
pub(crate) fn tool_packages(project: &Project<'_>, environment: &Environment) -> Vec<Download> {
    let downloads = environment.packages.iter().map(|package| {
        let path = project
            .lock
            .packages()
            .find(|pinned| pinned.sha256 == package.digest.to_string())
            .map(|pinned| pinned.path.clone());
        Download {
            name: package.name.clone(),
            digest: package.digest,
            size: Some(package.size),
            from: Place::Pool(path.unwrap_or_default()),
            wanted_by: environment.request.join(" "),
            recipe: None,
        }
    });
    downloads.collect()
}

/// Lists the files of a tool that osier itself runs; pins it first where that is missing.
pub(crate) fn tool_downloads(session: &mut Session<'_>, tool: &Tool<'_>) -> Outcome<Vec<Download>> {
    let environment = pinned_tool(session, tool)?;
    Ok(tool_packages(&session.project, &environment))
}

/// Roughly how many bytes of disk the packages of an environment need once they are unpacked.
pub(crate) fn unpacked_size(environment: &Environment) -> u64 {
    4 * environment.packages.iter().map(|package| package.size).sum::<u64>()
}

/// Fetches the packages of a tool where it is not unpacked yet.
pub(crate) fn fetch_tool(session: &Session<'_>, environment: &Environment) -> Outcome<()> {
    if session.store.has_root(&environment.key)? {
        return Ok(());
    }
    let downloads = tool_packages(&session.project, environment);
    session.network.fetch(&downloads, unpacked_size(environment))
}

/// Gives the environment of a tool, with its packages fetched where it is not unpacked yet.
pub(crate) fn tool(session: &mut Session<'_>, tool: &Tool<'_>) -> Outcome<Environment> {
    let environment = pinned_tool(session, tool)?;
    fetch_tool(session, &environment)?;
    Ok(environment)
}
