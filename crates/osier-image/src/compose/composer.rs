//! Applies the manifest line by line.

use std::collections::BTreeMap;
use std::iter;

use super::area::{Area, Entry, Found, Role, Search};
use super::error::{ComposeError, Place};
use super::{ComposeOptions, Composition, Origin, Shadowed, Undelivered};
use crate::accounts::Accounts;
use crate::manifest::{Manifest, Owner, Rule};
use crate::nearest::nearest;
use crate::path::ImagePath;
use crate::pattern::Pattern;
use crate::tree::{Attributes, FsTree, Node};

/// How much a delivery says; a higher one overrides an earlier lower one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Implied,
    Overlay,
    Wildcard,
    Specific,
}

/// A node with who delivers it: indices into the areas and the manifest's lines.
pub(super) struct Delivery<C> {
    pub(super) node: Node<C>,
    pub(super) rank: Rank,
    pub(super) area: Option<usize>,
    pub(super) line: Option<usize>,
}

/// A composition in the making.
pub(super) struct Composer<'a, C> {
    pub(super) areas: &'a [Area<C>],
    pub(super) manifest: &'a Manifest,
    pub(super) accounts: &'a Accounts,
    pub(super) search: Search<'a, C>,
    pub(super) delivered: BTreeMap<ImagePath, Delivery<C>>,
    pub(super) errors: Vec<ComposeError>,
}

/// The entry types that a line with a pattern can ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    File,
    Folder,
    Symlink,
}

impl Wanted {
    fn is<C>(self, entry: &Entry<C>) -> bool {
        matches!(
            (self, entry),
            (Wanted::File, Entry::File { .. })
                | (Wanted::Folder, Entry::Folder { .. })
                | (Wanted::Symlink, Entry::Symlink { .. })
        )
    }

    fn kind(self) -> &'static str {
        match self {
            Wanted::File => "a file",
            Wanted::Folder => "a folder",
            Wanted::Symlink => "a symlink",
        }
    }
}

/// The type letter of the line that delivers an entry.
fn letter<C>(entry: &Entry<C>) -> char {
    match entry {
        Entry::File { .. } => 'f',
        Entry::Folder { .. } => 'd',
        Entry::Symlink { .. } => 's',
    }
}

/// Makes the node of an entry; symlinks take neither mode nor owner.
fn node<C: Clone>(entry: &Entry<C>, mode: Option<u16>, (uid, gid): (u32, u32)) -> Node<C> {
    let attributes = |found: u16| Attributes { mode: mode.unwrap_or(found), uid, gid };
    match entry {
        Entry::File { content, size, mode } => {
            Node::File { content: content.clone(), size: *size, attributes: attributes(*mode) }
        }
        Entry::Folder { mode } => Node::Folder { attributes: attributes(*mode) },
        Entry::Symlink { target } => Node::Symlink { target: target.clone() },
    }
}

impl<C: Clone + PartialEq> Composer<'_, C> {
    pub(super) fn deliver_overlays(&mut self) {
        for found in self.search.all() {
            if self.areas[found.area].role == Role::Overlay {
                let node = node(found.entry, None, (0, 0));
                let delivery =
                    Delivery { node, rank: Rank::Overlay, area: Some(found.area), line: None };
                self.delivered.insert(found.path.clone(), delivery);
            }
        }
    }

    pub(super) fn apply(&mut self, line: usize) {
        // A copy of the reference, so that its borrow is not one of `self`.
        let manifest = self.manifest;
        match &manifest.lines[line].rule {
            Rule::File { pattern, mode, owner } => {
                self.pick(line, pattern, Wanted::File, *mode, Some(owner));
            }
            Rule::Folder { pattern, mode, owner } => {
                self.pick(line, pattern, Wanted::Folder, *mode, Some(owner));
            }
            Rule::FoundSymlinks { pattern } => {
                self.pick(line, pattern, Wanted::Symlink, None, None);
            }
            Rule::Symlink { path, target } => {
                self.make(line, path, Node::Symlink { target: target.clone() });
            }
            Rule::HardLink { path, file } => {
                self.make(line, path, Node::HardLink { file: file.clone() });
            }
            Rule::Device { kind, path, mode, owner, major, minor } => {
                let attributes = self.attributes(line, *mode, owner);
                let (kind, major, minor) = (*kind, *major, *minor);
                self.make(line, path, Node::Device { kind, major, minor, attributes });
            }
            Rule::Fifo { path, mode, owner } => {
                let attributes = self.attributes(line, *mode, owner);
                self.make(line, path, Node::Fifo { attributes });
            }
            Rule::Exclude { pattern } => self.exclude(line, pattern),
        }
    }

    /// Delivers what is found of one type.
    fn pick(
        &mut self,
        line: usize,
        pattern: &Pattern,
        wanted: Wanted,
        mode: Option<u16>,
        owner: Option<&Owner>,
    ) {
        let owner = owner.map_or((0, 0), |owner| self.numbers(line, owner));
        let rank = if pattern.literal().is_some() { Rank::Specific } else { Rank::Wildcard };
        let picked: Vec<_> = self
            .search
            .matching(pattern)
            .filter(|found| wanted.is(found.entry))
            .map(|found| {
                let node = node(found.entry, mode, owner);
                (
                    found.path.clone(),
                    Delivery { node, rank, area: Some(found.area), line: Some(line) },
                )
            })
            .collect();
        if picked.is_empty() {
            match (pattern.literal(), wanted, mode) {
                // A folder need not be found: most mount points are not.
                (Some(path), Wanted::Folder, Some(mode)) if self.search.at(path).is_none() => {
                    let (uid, gid) = owner;
                    let attributes = Attributes { mode, uid, gid };
                    self.make(line, path, Node::Folder { attributes });
                }
                _ => self.nothing_found(line, pattern, wanted),
            }
        }
        for (path, delivery) in picked {
            self.deliver(path, delivery);
        }
    }

    fn make(&mut self, line: usize, path: &ImagePath, node: Node<C>) {
        let delivery = Delivery { node, rank: Rank::Specific, area: None, line: Some(line) };
        self.deliver(path.clone(), delivery);
    }

    fn deliver(&mut self, path: ImagePath, new: Delivery<C>) {
        if let Some(old) = self.delivered.get(&path) {
            let same = old.node == new.node;
            let same_kind = old.node.kind() == new.node.kind();
            if !(same || same_kind && new.rank > old.rank) {
                let hint = if !same_kind {
                    Some("exclude the first with an `x` line before the second")
                } else if new.rank < old.rank {
                    Some(
                        "put the line with the wildcard first; a later line for a single path overrides it",
                    )
                } else {
                    None
                };
                let error = ComposeError::DeliveredTwice {
                    first: self.place(old),
                    second: self.place(&new),
                    path,
                    hint: hint.map(str::to_owned),
                };
                self.errors.push(error);
                return;
            }
            if new.rank <= old.rank {
                return;
            }
        }
        self.delivered.insert(path, new);
    }

    fn exclude(&mut self, line: usize, pattern: &Pattern) {
        let excluded = |path: &ImagePath| match pattern.literal() {
            Some(folder) => path.is_within(folder),
            None => iter::successors(Some(path.clone()), ImagePath::parent)
                .any(|above| pattern.matches(&above)),
        };
        let before = self.delivered.len();
        self.delivered.retain(|path, _| !excluded(path));
        if self.delivered.len() == before {
            let is_found = pattern.literal().is_some_and(|path| self.search.at(path).is_some());
            let hint =
                is_found.then_some("no earlier line delivers it; the order of lines matters");
            self.errors.push(ComposeError::MatchesNothing {
                place: self.line(line),
                pattern: pattern.to_string(),
                hint: hint.map(str::to_owned),
            });
        }
    }

    fn attributes(&mut self, line: usize, mode: u16, owner: &Owner) -> Attributes {
        let (uid, gid) = self.numbers(line, owner);
        Attributes { mode, uid, gid }
    }

    /// Returns user and group; after an error, any numbers do, for no tree will come of it.
    fn numbers(&mut self, line: usize, owner: &Owner) -> (u32, u32) {
        let uid = self.accounts.user(&owner.user);
        let gid = self.accounts.group(&owner.group);
        let unknown = [
            ("user", &owner.user, uid, self.accounts.nearest_user(&owner.user)),
            ("group", &owner.group, gid, self.accounts.nearest_group(&owner.group)),
        ];
        for (what, name, number, nearest) in unknown {
            if number.is_none() {
                let hint = match nearest {
                    Some(nearest) => format!("a {what} with a similar name is `{nearest}`"),
                    None => format!("add the {what} to the image's accounts, or write its number"),
                };
                let (place, name, hint) = (self.line(line), name.clone(), Some(hint));
                self.errors.push(ComposeError::UnknownAccount { place, what, name, hint });
            }
        }
        (uid.unwrap_or(0), gid.unwrap_or(0))
    }

    fn nothing_found(&mut self, line: usize, pattern: &Pattern, wanted: Wanted) {
        let place = self.line(line);
        let error = match pattern.literal() {
            Some(path) => match self.search.at(path) {
                Some(Found { area, entry, .. }) => ComposeError::OtherKind {
                    place,
                    path: path.clone(),
                    found: entry.kind(),
                    wanted: wanted.kind(),
                    area: self.areas[*area].name.clone(),
                    hint: Some(format!("a line of type `{}` delivers it", letter(entry))),
                },
                None => ComposeError::MatchesNothing {
                    place,
                    pattern: pattern.to_string(),
                    hint: self.near_miss(path, wanted),
                },
            },
            None => {
                let other = self.search.matching(pattern).next();
                ComposeError::MatchesNothing {
                    place,
                    pattern: pattern.to_string(),
                    hint: other.map(|Found { path, entry, .. }| {
                        let letter = letter(entry);
                        format!(
                            "`{path}` is {}: deliver it with a line of type `{letter}`",
                            entry.kind()
                        )
                    }),
                }
            }
        };
        self.errors.push(error);
    }

    /// Finds the same name elsewhere, or a similar name at the same place.
    fn near_miss(&self, path: &ImagePath, wanted: Wanted) -> Option<String> {
        let candidates = || self.search.all().filter(|found| wanted.is(found.entry));
        let same_name = candidates().find(|found| found.path.file_name() == path.file_name());
        let found = same_name.map(|found| found.path).or_else(|| {
            let parent = path.parent()?;
            let beside = candidates().filter(|found| found.path.parent().as_ref() == Some(&parent));
            let name = nearest(path.file_name(), beside.map(|found| found.path.file_name()))?;
            self.search.at(&parent.join(name).ok()?).map(|found| found.path)
        })?;
        let area = &self.areas[self.search.at(found)?.area].name;
        Some(format!("`{found}` is in {area}"))
    }

    fn line(&self, index: usize) -> Place {
        let line = &self.manifest.lines[index];
        let manifest = self.manifest.name.clone();
        Place::Line { manifest, number: line.number, text: line.text.clone() }
    }

    pub(super) fn place(&self, delivery: &Delivery<C>) -> Place {
        match (delivery.line, delivery.area) {
            (Some(line), _) => self.line(line),
            (None, Some(area)) => Place::Area(self.areas[area].name.clone()),
            (None, None) => Place::Implied,
        }
    }

    pub(super) fn finish(
        mut self,
        options: &ComposeOptions,
    ) -> Result<Composition<C>, Vec<ComposeError>> {
        self.imply_parents();
        self.check_clashes();
        let before = self.errors.len();
        self.check_parents();
        self.check_hard_links();
        // Where symlinks lead can only be told in a tree that holds together.
        if self.errors.len() == before {
            match self.tree() {
                Ok(tree) => {
                    self.check_symlinks(&tree, options);
                    if self.errors.is_empty() {
                        return Ok(self.composition(tree));
                    }
                }
                Err(errors) => self.errors.extend(errors),
            }
        }
        Err(self.errors)
    }

    fn composition(self, tree: FsTree<C>) -> Composition<C> {
        let name = |area: usize| self.areas[area].name.clone();
        let undelivered = self
            .search
            .all()
            .filter(|found| {
                let delivery = self.delivered.get(found.path);
                !matches!(found.entry, Entry::Folder { .. })
                    && delivery.is_none_or(|delivery| delivery.area != Some(found.area))
            })
            .map(|found| Undelivered { path: found.path.clone(), area: name(found.area) })
            .collect();
        let shadowed = self
            .search
            .shadowed
            .iter()
            .map(|&(path, area, by)| Shadowed {
                path: path.clone(),
                area: name(area),
                by: name(by),
            })
            .collect();
        let origins = self
            .delivered
            .iter()
            .filter(|(path, _)| !path.is_root())
            .map(|(path, delivery)| {
                let line = delivery.line.map(|line| self.manifest.lines[line].number);
                (path.clone(), Origin { area: delivery.area.map(name), line })
            })
            .collect();
        Composition { tree, origins, undelivered, shadowed }
    }
}
