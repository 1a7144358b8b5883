//! Cargo's plug-ins that chores need, built into `target/tools` at a fixed version, so that nothing has to be installed by
//! hand; and the chores that are hardly more than a call of one.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{root, run};

/// Licences, sources and bans of all dependencies.
const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
/// Builds and runs the targets below `fuzz/`.
pub(crate) const FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };

pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

impl Tool {
    /// Gives the program, and builds it first where it is not there in this version.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        let folder = root().join("target/tools").join(format!("{}-{}", self.name, self.version));
        let program = folder.join("bin").join(self.name);
        if !program.exists() {
            let folder = folder.to_str().context("the path is UTF-8")?;
            // Without optimisation it is built in half the time, and it runs for a second.
            let version = format!("={}", self.version);
            run(&[
                "cargo",
                "install",
                self.name,
                "--version",
                &version,
                "--locked",
                "--debug",
                "--quiet",
                "--root",
                folder,
            ])?;
        }
        Ok(program)
    }
}

/// Checks the licences and the origin of every dependency.
///
/// Advisories are not among it: their database is on a host of its own, which a build machine need not reach.
pub(crate) fn deny() -> Result<()> {
    let program = DENY.program()?;
    let program = program.to_str().context("the path is UTF-8")?;
    run(&[program, "--locked", "check", "bans", "licenses", "sources"])
}
