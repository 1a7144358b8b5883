//! Patches on sources held in memory: every class, every form, and names that mean harm.
#![expect(clippy::unwrap_used, reason = "in a helper of tests a failure is a failure of the test")]

mod classes;
mod foreign;
mod forms;
mod hostile;
mod random;
mod written;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use osier_patch::{Allowance, Found, Node, Outcome, Patch, PatchReport, Queued, Source, classify};

/// A source tree in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) BTreeMap<PathBuf, Node>);

impl Tree {
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let node = |content: &str| Node::File { content: content.into(), mode: 0o644 };
        Self(files.iter().map(|(path, content)| (path.into(), node(content))).collect())
    }

    pub(crate) fn mode(mut self, path: &str, mode: u32) -> Self {
        match self.0.get_mut(Path::new(path)).unwrap() {
            Node::File { mode: old, .. } => *old = mode,
            Node::Symlink { .. } => panic!("{path} is a link"),
        }
        self
    }

    pub(crate) fn link(mut self, path: &str, target: &str) -> Self {
        self.0.insert(path.into(), Node::Symlink { target: target.into() });
        self
    }

    pub(crate) fn file(&self, path: &str) -> &str {
        match &self.0[Path::new(path)] {
            Node::File { content, .. } => std::str::from_utf8(content).unwrap(),
            Node::Symlink { .. } => panic!("{path} is a link"),
        }
    }

    /// The tree with changes made to it.
    pub(crate) fn changed(&self, outcome: &Outcome) -> Self {
        let mut tree = self.clone();
        for (path, node) in &outcome.changes {
            match node {
                Some(node) => drop(tree.0.insert(path.clone(), node.clone())),
                None => drop(tree.0.remove(path).unwrap()),
            }
        }
        tree
    }
}

impl Source for Tree {
    type Error = Infallible;

    fn look(&self, path: &Path) -> Result<Found, Infallible> {
        if let Some(node) = self.0.get(path) {
            return Ok(Found::Node(node.clone()));
        }
        for above in path.ancestors().skip(1) {
            if let Some(node) = self.0.get(above) {
                let link = matches!(node, Node::Symlink { .. });
                return Ok(Found::Blocked { by: above.to_path_buf(), link });
            }
        }
        let below = self.0.keys().any(|other| other.starts_with(path));
        Ok(if below { Found::Folder } else { Found::Nothing })
    }
}

/// Reads each text as a file of patches.
pub(crate) fn queue(texts: &[&str]) -> Vec<Queued> {
    let mut row = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        for patch in Patch::parse(&format!("{}.patch", number + 1), text.as_bytes(), 1).unwrap() {
            let name = patch.name.clone();
            row.push(Queued { name, patch: Ok(patch), folder: PathBuf::new(), allowance: None });
        }
    }
    row
}

pub(crate) fn run(tree: &Tree, row: &[Queued]) -> Outcome {
    let Ok(outcome) = classify(tree, row);
    outcome
}

/// Puts patches on a tree; gives the reports and the tree afterwards.
pub(crate) fn put(tree: &Tree, texts: &[&str]) -> (Vec<PatchReport>, Tree) {
    let outcome = run(tree, &queue(texts));
    let after = tree.changed(&outcome);
    (outcome.reports, after)
}

pub(crate) fn allowed(what_fits: bool) -> Option<Allowance> {
    Some(Allowance { what_fits, reason: "it is known".into() })
}

/// The numbers from 1 to `last` as lines, each with `mark` behind it.
pub(crate) fn numbers(last: u32, mark: &str) -> String {
    (1..=last).map(|number| format!("{number}{mark}\n")).collect()
}
