//! A project: a folder of the user's own files.

use crate::schema::FileKind;
use crate::walk::{self, Node, Walk};
use crate::{Diagnostic, Origin, Spanned, Tune, tune};

/// One parsed `osier.toml`; no defaults are applied to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The file.
    pub origin: Origin,
    /// The project's name.
    pub name: Spanned<String>,
    /// The Debian suite of build environments.
    pub suite: Option<Spanned<String>>,
    /// The system that is meant where none is named.
    pub default: Option<Spanned<String>>,
    /// The profile where none is named.
    pub profile: Option<Spanned<String>>,
    /// The toolchain of a component that is asked for by itself.
    pub toolchain: Option<Spanned<String>>,
    /// What is compiled for, where a system does not say; one level for a target.
    pub tune: Vec<Spanned<Tune>>,
    /// Processors used at once; none for all.
    pub jobs: Option<usize>,
    /// Minutes of CPU time without a word after which a step is ended that does not say itself; 0 for none.
    pub silence: Option<u64>,
}

impl Project {
    /// The suite of a project that names none.
    pub const DEFAULT_SUITE: &str = "bookworm";

    /// Reads a project file.
    ///
    /// Fails with every error of the file, in the order of the text.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let (mut walk, root) = Walk::open(file, text);
        let mut project = Self {
            origin: walk.origin(),
            name: Spanned::new(String::new(), 0..0),
            suite: None,
            default: None,
            profile: None,
            toolchain: None,
            tune: Vec::new(),
            jobs: None,
            silence: None,
        };
        walk.root(&root, FileKind::Project, &mut project, Self::read);
        walk.finish(project)
    }

    fn read(&mut self, walk: &mut Walk, key: &'static str, node: &Node<'_>) {
        match key {
            "name" => self.name = walk::text(node),
            "suite" => self.suite = Some(walk::text(node)),
            "default" => self.default = Some(walk::text(node)),
            "profile" => self.profile = Some(walk::text(node)),
            "toolchain" => self.toolchain = Some(walk::text(node)),
            "tune" => self.tune = tune::tunes(walk, node),
            "jobs" => self.jobs = usize::try_from(walk::unsigned(node)).ok(),
            "silence" => self.silence = Some(walk::unsigned(node)),
            _ => walk::unread("project", key),
        }
    }
}
