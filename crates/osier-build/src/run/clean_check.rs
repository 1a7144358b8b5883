//! Comparing results that come from an earlier build's objects with a clean build.

use osier_store::{BlobError, Digest, Tree};

use crate::graph::{ComponentId, Graph, StepId};
use crate::run::error::BuildError;
use crate::run::{Engine, Results};

/// How a component that was built from an earlier build's objects compares with a clean build of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanCheck {
    /// The component.
    pub component: String,
    /// The installed paths that differ, each as `OUTPUT:PATH`; none where the results are the same.
    pub differences: Vec<String>,
}

impl Engine<'_> {
    /// Builds everything that is marked as coming from an earlier build's objects again, clean, and compares.
    ///
    /// The clean results stay, whatever the comparison says, and lose the mark. The graph must be built.
    pub fn clean_check(&mut self, graph: &Graph) -> Result<(Results, Vec<CleanCheck>), BuildError> {
        let survey = self.survey(graph);
        let mut before = Vec::new();
        let mut keys = Vec::new();
        for (id, result) in survey.done.iter().filter(|(_, result)| result.reused) {
            before.push((*id, result.outputs.clone()));
            keys.push(result.key);
            let steps = steps_on_reuse(graph, *id);
            keys.extend(steps.iter().filter_map(|step| survey.keys.get(step)).copied());
        }
        if !self.store.forget_unused(&keys)? {
            return Err(BuildError::InUse);
        }
        let reuse = std::mem::replace(&mut self.settings.reuse, false);
        let results = self.run(graph);
        self.settings.reuse = reuse;
        let results = results?;
        let mut checks = Vec::new();
        for (id, outputs) in before {
            let component = graph.component(id).name.clone();
            let now = results.get(&id).map(|result| result.outputs.as_slice()).unwrap_or_default();
            checks.push(CleanCheck { component, differences: self.compared(&outputs, now)? });
        }
        Ok((results, checks))
    }

    /// Lists the installed paths in which the outputs of two builds differ, each as `OUTPUT:PATH`.
    pub fn compared(
        &self,
        before: &[(String, Digest)],
        now: &[(String, Digest)],
    ) -> Result<Vec<String>, BuildError> {
        let mut differences = Vec::new();
        for ((name, old), (_, new)) in before.iter().zip(now).filter(|(old, new)| old != new) {
            let paths = self.differences(old, new)?;
            differences.extend(paths.into_iter().map(|path| format!("{name}:{path}")));
        }
        Ok(differences)
    }

    fn differences(&self, old: &Digest, new: &Digest) -> Result<Vec<String>, BlobError> {
        let (old, new): (Tree, Tree) = (self.store.tree(old)?, self.store.tree(new)?);
        let changed = new.iter().filter(|(path, node)| old.get(path) != Some(*node));
        let gone = old.iter().filter(|(path, _)| new.get(path).is_none());
        let paths = changed.chain(gone).map(|(path, _)| path);
        Ok(paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect())
    }
}

/// Lists the steps of a component's chain from the first one that can go on from an earlier build.
fn steps_on_reuse(graph: &Graph, id: ComponentId) -> Vec<StepId> {
    let Some(last) = graph.component(id).steps.last() else { return Vec::new() };
    let chain = graph.chain(*last);
    let first = chain.iter().position(|step| graph.step(*step).reuse.is_some());
    first.map_or_else(Vec::new, |first| chain[first..].to_vec())
}
