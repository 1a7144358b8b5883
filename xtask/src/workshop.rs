//! A project and a store for proofs, driven by the program as a person would drive it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::person::Person;
use crate::root;

/// A project of its own, with a store that proofs can share.
pub(crate) struct Workshop {
    pub(crate) project: PathBuf,
    pub(crate) store: PathBuf,
}

impl Workshop {
    /// Makes an empty project named `gallery` below `target/`.
    pub(crate) fn new(name: &str, store: &Path) -> Result<Self> {
        let project = root().join("target/proofs").join(name);
        if project.exists() {
            fs::remove_dir_all(&project)?;
        }
        fs::create_dir_all(&project)?;
        fs::write(project.join("osier.toml"), "name = \"gallery\"\nsuite = \"bookworm\"\n")?;
        Ok(Self { project, store: store.to_path_buf() })
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, path: &str, content: &(impl AsRef<[u8]> + ?Sized)) -> Result<()> {
        let place = self.project.join(path);
        fs::create_dir_all(place.parent().context("a file lies in a folder")?)?;
        fs::write(&place, content).with_context(|| format!("cannot write {}", place.display()))
    }

    /// Describes a call of osier, without anyone at a terminal.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(root().join("target/release/osier"));
        command
            .args(words)
            .current_dir(&self.project)
            .env("OSIER_STORE", &self.store)
            .stdin(Stdio::null());
        command
    }

    /// Starts osier on a terminal.
    pub(crate) fn on_terminal(&self, words: &[&str]) -> Result<Person> {
        Person::start(self.command(words))
    }

    /// Runs osier to its end.
    pub(crate) fn osier(&self, words: &[&str]) -> Result<Output> {
        self.command(words).output().context("cannot run target/release/osier")
    }

    /// Runs osier, which must succeed; gives both streams.
    pub(crate) fn good(&self, words: &[&str]) -> Result<String> {
        let output = self.osier(words)?;
        let text = both(&output);
        ensure!(output.status.success(), "`osier {}` should succeed:\n{text}", words.join(" "));
        Ok(text)
    }

    /// Runs osier, which must fail with this exit status and say each of these texts.
    pub(crate) fn bad(&self, words: &[&str], status: i32, texts: &[&str]) -> Result<String> {
        let output = self.osier(words)?;
        let text = both(&output);
        let shown = words.join(" ");
        ensure!(
            output.status.code() == Some(status),
            "`osier {shown}` should end with {status}:\n{text}"
        );
        for wanted in texts {
            ensure!(text.contains(wanted), "`osier {shown}` should say `{wanted}`:\n{text}");
        }
        Ok(text)
    }

    /// Builds a component and gives its output digest.
    pub(crate) fn digest(&self, component: &str) -> Result<String> {
        let text = self.good(&["build", component])?;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{component}:main ")));
        match line {
            Some(digest) => Ok(digest.to_owned()),
            None => bail!("`osier build {component}` printed no digest:\n{text}"),
        }
    }
}

/// Joins what a program wrote to both streams.
fn both(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
