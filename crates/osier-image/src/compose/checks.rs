//! What must hold of everything that is delivered, taken together.

use std::collections::BTreeMap;

use super::ComposeOptions;
use super::area::{Difference, Found};
use super::composer::{Composer, Delivery, Rank};
use super::error::{ComposeError, Place};
use crate::manifest::Rule;
use crate::path::ImagePath;
use crate::tree::{Attributes, FsTree, Node, Resolution, TreeError};

impl<C: Clone + PartialEq> Composer<'_, C> {
    pub(super) fn imply_parents(&mut self) {
        let mut implied = BTreeMap::new();
        for path in self.delivered.keys() {
            let mut above = path.parent();
            while let Some(parent) = above.filter(|parent| !parent.is_root()) {
                if self.delivered.contains_key(&parent) {
                    break;
                }
                above = parent.parent();
                let node = Node::Folder { attributes: Attributes::FOLDER };
                let delivery = Delivery { node, rank: Rank::Implied, area: None, line: None };
                if implied.insert(parent, delivery).is_some() {
                    break;
                }
            }
        }
        self.delivered.append(&mut implied);
    }

    /// Reports components that differ where it matters: not in a mode that a line sets for a
    /// folder, nor where a line makes its own node.
    pub(super) fn check_clashes(&mut self) {
        for clash in &self.search.clashes {
            let Some(delivery) = self.delivered.get(clash.path) else { continue };
            let rule = delivery.line.map(|line| &self.manifest.lines[line].rule);
            let mode_is_set = matches!(rule, Some(Rule::Folder { mode: Some(_), .. }));
            let matters = match clash.difference {
                Difference::Kind(..) => delivery.area.is_some() || delivery.rank == Rank::Implied,
                Difference::Mode(..) => delivery.area.is_some() && !mode_is_set,
                Difference::Content | Difference::Target(..) => delivery.area.is_some(),
            };
            if matters {
                self.errors.push(ComposeError::ComponentsDiffer {
                    path: clash.path.clone(),
                    first: self.areas[clash.first].name.clone(),
                    second: self.areas[clash.second].name.clone(),
                    difference: clash.difference.clone(),
                });
            }
        }
    }

    pub(super) fn check_parents(&mut self) {
        let mut errors = Vec::new();
        for (path, delivery) in &self.delivered {
            let Some(parent) = path.parent().filter(|parent| !parent.is_root()) else { continue };
            let above = &self.delivered[&parent];
            // A folder that is only implied may be something else where it is found: to make a
            // folder of it would tear apart what belongs together, as with `bin` -> `usr/bin`.
            let found = match (above.rank, self.search.at(&parent)) {
                (Rank::Implied, Some(Found { area, entry, .. })) => {
                    (entry.kind(), Place::Area(self.areas[*area].name.clone()))
                }
                _ => (above.node.kind(), self.place(above)),
            };
            if found.0 != "a folder" {
                errors.push(ComposeError::ParentNotFolder {
                    path: path.clone(),
                    place: self.place(delivery),
                    parent,
                    kind: found.0,
                    parent_place: found.1,
                });
            }
        }
        self.errors.append(&mut errors);
    }

    pub(super) fn check_hard_links(&mut self) {
        let mut errors = Vec::new();
        for (path, delivery) in &self.delivered {
            let Node::HardLink { file } = &delivery.node else { continue };
            let (found, hint) = match self.delivered.get(file).map(|target| &target.node) {
                Some(Node::File { .. }) => continue,
                Some(Node::HardLink { file }) => {
                    ("a hard link itself", Some(format!("write `{file}` as the target")))
                }
                Some(other) => (other.kind(), None),
                None => {
                    let found = self.search.at(file);
                    let hint = found.map(|found| self.not_listed(found));
                    ("not delivered", hint)
                }
            };
            let (path, file) = (path.clone(), file.clone());
            errors.push(ComposeError::HardLink {
                place: self.place(delivery),
                path,
                file,
                found,
                hint,
            });
        }
        self.errors.append(&mut errors);
    }

    pub(super) fn tree(&self) -> Result<FsTree<C>, Vec<ComposeError>> {
        let nodes =
            self.delivered.iter().map(|(path, delivery)| (path.clone(), delivery.node.clone()));
        FsTree::from_nodes(nodes).map_err(|errors| {
            let error = |error: TreeError| {
                let path = match &error {
                    TreeError::Exists { path }
                    | TreeError::NoParent { path }
                    | TreeError::ParentNotFolder { path, .. }
                    | TreeError::Mode { path, .. }
                    | TreeError::Owner { path }
                    | TreeError::Target { path, .. }
                    | TreeError::DeviceNumber { path, .. }
                    | TreeError::HardLink { path, .. } => path.clone(),
                    TreeError::RootNotFolder { .. } => ImagePath::root(),
                };
                let place = self.delivered.get(&path).map_or(Place::Implied, |at| self.place(at));
                ComposeError::Unsound { place, error }
            };
            errors.into_iter().map(error).collect()
        })
    }

    pub(super) fn check_symlinks(&mut self, tree: &FsTree<C>, options: &ComposeOptions) {
        for (path, node) in tree.iter() {
            let Node::Symlink { target } = node else { continue };
            let resolution = tree.resolve(path, target);
            let hint = match &resolution {
                Resolution::Found(_) => continue,
                Resolution::Missing(at) | Resolution::NotFolder(at)
                    if options.runtime_folders.iter().any(|folder| at.is_within(folder)) =>
                {
                    continue;
                }
                Resolution::Missing(at) => self.search.at(at).map(|found| self.not_listed(found)),
                _ => None,
            };
            self.errors.push(ComposeError::Dangling {
                path: path.clone(),
                target: target.clone(),
                place: self.place(&self.delivered[path]),
                resolution,
                hint,
            });
        }
    }

    fn not_listed(&self, found: &Found<'_, C>) -> String {
        let area = &self.areas[found.area].name;
        format!("`{}` is in {area}, but no line delivers it", found.path)
    }
}
