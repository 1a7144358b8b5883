//! A recipe: the description of one component.

use std::collections::BTreeMap;

use crate::component_ref::ComponentRef;
use crate::part::{environment, part};
use crate::schema::FileKind;
use crate::walk::{self, Node, Walk};
use crate::{
    Code, Diagnostic, Named, Origin, Part, Source, SourceKind, Spanned, Target, source, tables,
};

/// One parsed recipe; no defaults are applied to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The file.
    pub origin: Origin,
    /// The component's name.
    pub name: Spanned<String>,
    /// The version; a recipe without one has no `url` and no `git` source.
    pub version: Option<Spanned<String>>,
    /// One line that says what it is.
    pub summary: Option<Spanned<String>>,
    /// Where it comes from.
    pub homepage: Option<Spanned<String>>,
    /// The licence in the form of SPDX.
    pub licence: Option<Spanned<String>>,
    /// The kind that brings the steps.
    pub kind: Option<Spanned<String>>,
    /// The Debian suite of the build environment.
    pub suite: Option<Spanned<String>>,
    /// The supported targets; empty for all.
    pub targets: Vec<Spanned<Target>>,
    /// Where it stands in a toolchain; none for what a toolchain compiles.
    pub role: Option<Role>,
    /// What it is as a toolchain.
    pub toolchain: Option<Toolchain>,
    /// Whether it is compiled without the toolchain's libraries.
    pub freestanding: bool,
    /// Whether a system's tune is for it; never where it stands in a toolchain.
    pub tuned: bool,
    /// Where the component's bytes come from; names are all different.
    pub sources: Vec<Source>,
    /// Named parts of the installed tree, each by patterns.
    pub outputs: Named<Vec<Spanned<String>>>,
    /// What holds for all builds.
    pub base: Part,
    /// What holds for one target alone.
    pub target_parts: BTreeMap<Target, Part>,
    /// What holds in one profile alone.
    pub profiles: BTreeMap<String, Part>,
}

/// Where a component stands in a toolchain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It runs in the build and makes code for the target: there is one for each target.
    Cross,
    /// It is for the target, and compiled by the tools that it names alone, before there is a toolchain.
    Runtime,
}

/// A component as a toolchain: others are compiled by its tools, against its needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// Which systems its programs are for, without the processor: `linux-musl`.
    pub system: Spanned<String>,
    /// Variables of all steps of what it compiles; `{triple}` stands for the processor and the system.
    pub env: Named<Spanned<String>>,
    /// The tools of what is compiled without its libraries, in the place of its tools and needs; empty where it makes no difference.
    pub freestanding: Vec<Spanned<ComponentRef>>,
}

impl Toolchain {
    /// The name of a target's programs: `aarch64-linux-musl`.
    pub fn triple(&self, target: Target) -> String {
        format!("{target}-{}", self.system.value)
    }
}

impl Recipe {
    /// The kind of a recipe that names none.
    pub const DEFAULT_KIND: &str = "script";

    /// Reads a recipe; `expected` is the name that the file's own name asks for.
    ///
    /// Fails with every error of the file, in the order of the text.
    pub fn parse(file: &str, text: &str, expected: Option<&str>) -> Result<Self, Vec<Diagnostic>> {
        let (mut walk, root) = Walk::open(file, text);
        let mut recipe = Self {
            origin: walk.origin(),
            name: Spanned::new(String::new(), 0..0),
            version: None,
            summary: None,
            homepage: None,
            licence: None,
            kind: None,
            suite: None,
            targets: Vec::new(),
            role: None,
            toolchain: None,
            freestanding: false,
            tuned: true,
            sources: Vec::new(),
            outputs: Named::default(),
            base: Part::default(),
            target_parts: BTreeMap::new(),
            profiles: BTreeMap::new(),
        };
        walk.root(&root, FileKind::Recipe, &mut recipe, Self::read);
        walk.expect_name(&recipe.name, expected);
        recipe.tuned &= recipe.role.is_none();
        recipe.name_sources(&mut walk);
        recipe.need_version(&mut walk);
        walk.finish(recipe)
    }

    fn read(&mut self, walk: &mut Walk, key: &'static str, node: &Node<'_>) {
        match key {
            "name" => self.name = walk::text(node),
            "version" => self.version = Some(walk::text(node)),
            "summary" => self.summary = Some(walk::text(node)),
            "homepage" => self.homepage = Some(walk::text(node)),
            "licence" => self.licence = Some(walk::text(node)),
            "kind" => self.kind = Some(walk::text(node)),
            "suite" => self.suite = Some(walk::text(node)),
            "targets" => self.targets = walk::parsed(node, Target::parse),
            "role" => {
                self.role = match walk::text(node).as_str() {
                    "cross" => Some(Role::Cross),
                    _ => Some(Role::Runtime),
                }
            }
            "toolchain" => self.toolchain = toolchain(walk, node),
            "freestanding" => self.freestanding = walk::boolean(node),
            "tune" => self.tuned = walk::boolean(node),
            "source" => self.sources = source::sources(walk, node),
            "outputs" => {
                let outputs = walk::entries(node);
                self.outputs = outputs
                    .map(|(key, globs)| (key.get_ref().to_string(), walk::texts(globs)))
                    .collect();
            }
            "target" => self.target_parts = by_target(walk, node, part),
            "profile" => {
                let profiles = walk::entries(node);
                self.profiles = profiles
                    .map(|(key, node)| (key.get_ref().to_string(), part(walk, node)))
                    .collect();
            }
            _ => {
                if !self.base.read(walk, key, node) {
                    walk::unread("recipe", key);
                }
            }
        }
    }

    fn name_sources(&mut self, walk: &mut Walk) {
        if let Some(first) = self.sources.first_mut().filter(|first| first.name.is_empty()) {
            first.name.value.clone_from(&self.name.value);
        }
        walk.distinct("the source", self.sources.iter().map(|source| &source.name));
    }

    fn need_version(&self, walk: &mut Walk) {
        let without =
            |s: &&Source| matches!(s.kind, SourceKind::Url { .. } | SourceKind::Git { .. });
        if let Some(source) = self.sources.iter().find(without).filter(|_| self.version.is_none()) {
            let error = walk.error(
                Code::MissingKey,
                &source.span,
                "a `url` or `git` source needs the recipe's `version`",
            );
            error.hints.push("add it below `name`, for example `version = \"1.35.0\"`".into());
        }
    }

    /// The kind that brings the steps: the named one or [`Self::DEFAULT_KIND`].
    pub fn kind_name(&self) -> &str {
        self.kind.as_ref().map_or(Self::DEFAULT_KIND, |kind| kind.as_str())
    }

    /// Whether the recipe supports a target.
    pub fn supports(&self, target: Target) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|supported| supported.value == target)
    }
}

fn toolchain(walk: &mut Walk, node: &Node<'_>) -> Option<Toolchain> {
    let table = node.get_ref().as_table()?;
    let mut toolchain = Toolchain {
        system: Spanned::new(String::new(), node.span()),
        env: Named::default(),
        freestanding: Vec::new(),
    };
    walk.table(
        table,
        &node.span(),
        &tables::TOOLCHAIN,
        &mut toolchain,
        |toolchain, _, key, node| match key {
            "system" => toolchain.system = walk::text(node),
            "env" => toolchain.env = environment(node),
            "freestanding" => toolchain.freestanding = walk::parsed(node, ComponentRef::parse),
            _ => walk::unread("toolchain", key),
        },
    );
    Some(toolchain)
}

/// Reads `[target.X]` tables; two names of one target are an error.
pub(crate) fn by_target<T>(
    walk: &mut Walk,
    node: &Node<'_>,
    read: impl Fn(&mut Walk, &Node<'_>) -> T,
) -> BTreeMap<Target, T> {
    let mut parts = BTreeMap::new();
    let known = walk::entries(node).filter_map(|(key, node)| Some((walk::target(key)?, key, node)));
    for (target, key, node) in known {
        let part = read(walk, node);
        if parts.insert(target, part).is_some() {
            let message = format!("the target `{target}` is already given, under its other name");
            walk.error(Code::DuplicateName, &key.span(), message);
        }
    }
    parts
}
