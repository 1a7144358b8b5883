//! Taking what a component installed into the store.

use std::path::{Path, PathBuf};

use osier_store::{BlobError, Digest, LayerStack, Tree};

use crate::FailureCause;
use crate::graph::Component;
use crate::layer::OUTPUT;
use crate::run::Engine;

impl Engine<'_> {
    /// Takes what a component installed into the store, split into its named outputs.
    pub(crate) fn take_output(
        &self,
        component: &Component,
        layers: &[PathBuf],
    ) -> Result<Vec<(String, Digest)>, FailureCause> {
        let machine =
            |error: &dyn std::fmt::Display| FailureCause::Machine { message: error.to_string() };
        let stack = LayerStack::new(layers.to_vec());
        let tree =
            self.store.take_tree(&stack, Path::new(OUTPUT)).map_err(|error| match error {
                BlobError::Special { .. } => {
                    FailureCause::MissingOutput { message: error.to_string() }
                }
                BlobError::File(ref file) if file.is_too_long() => FailureCause::MissingOutput {
                    message: format!("$OUTPUT cannot be stored: {file}"),
                },
                BlobError::File(ref file) if file.is_disk_full() => {
                    FailureCause::DiskFull { message: error.to_string() }
                }
                error => machine(&error),
            })?;
        if tree.is_empty() {
            let message = format!(
                "`{}` succeeded but installed nothing: its last step must put files below $OUTPUT (/output)",
                component.name
            );
            return Err(FailureCause::MissingOutput { message });
        }
        let mut outputs = Vec::new();
        let mut main = tree;
        for output in &component.outputs {
            let (taken, rest) = split(&main, &output.patterns);
            if taken.is_empty() {
                let message = format!(
                    "`{}` succeeded, but nothing that it installed matches its output `{}` ({})",
                    component.name,
                    output.name,
                    output.patterns.join(", ")
                );
                return Err(FailureCause::MissingOutput { message });
            }
            let digest = self.store.put_tree(&taken).map_err(|error| machine(&error))?;
            outputs.push((output.name.clone(), digest));
            main = rest;
        }
        let digest = self.store.put_tree(&main).map_err(|error| machine(&error))?;
        outputs.insert(0, ("main".to_owned(), digest));
        Ok(outputs)
    }
}

/// Splits a tree into what some patterns take, with the folders above it, and the rest.
fn split(tree: &Tree, patterns: &[String]) -> (Tree, Tree) {
    let mut taken = Tree::default();
    let mut rest = Tree::default();
    for (path, node) in tree.iter() {
        let hit = patterns
            .iter()
            .any(|pattern| osier_recipe::glob_matches(pattern, &String::from_utf8_lossy(path)));
        let side = if hit { &mut taken } else { &mut rest };
        side.insert(path.to_vec(), node.clone());
    }
    let mut parents = Vec::new();
    for (path, _) in taken.iter() {
        for (position, byte) in path.iter().enumerate() {
            if *byte == b'/' && taken.get(&path[..position]).is_none() {
                parents.push(path[..position].to_vec());
            }
        }
    }
    for parent in parents {
        if let Some(node) = tree.get(&parent) {
            taken.insert(parent, node.clone());
        }
    }
    (taken, rest)
}
