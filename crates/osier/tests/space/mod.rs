//! Small projects, each with a store of its own, and the program run on them.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use std::fs;
use std::process::{Command, Output};

/// A project folder and a store of its own.
pub(crate) struct Space {
    pub(crate) folder: tempfile::TempDir,
}

impl Space {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let place = folder.path().join("project").join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text).unwrap();
        }
        fs::create_dir_all(folder.path().join("project")).unwrap();
        Self { folder }
    }

    pub(crate) fn project(&self) -> std::path::PathBuf {
        self.folder.path().join("project")
    }

    /// Describes a call of osier.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_osier"));
        command
            .args(words)
            .current_dir(self.project())
            .env("OSIER_STORE", self.folder.path().join("store"))
            .env("OSIER_DEBIAN_MIRROR", "http://127.0.0.1:9/debian");
        command
    }

    pub(crate) fn osier(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs it and gives the exit status and what it wrote to standard error.
    pub(crate) fn fails(&self, words: &[&str]) -> (i32, String) {
        let output = self.osier(words);
        let text = String::from_utf8(output.stderr).unwrap();
        (
            output.status.code().unwrap(),
            text.replace(&self.folder.path().display().to_string(), "[SPACE]"),
        )
    }

    pub(crate) fn prints(&self, words: &[&str]) -> String {
        let output = self.osier(words);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
