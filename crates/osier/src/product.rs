//! Systems in plans: their overlays and manifests as they lie in the library, and the nodes that are made of them.

use std::collections::BTreeMap;
use std::ops::Range;

use osier_build::{ComponentId, Graph, MakeError, Results, Wanted};
use osier_image::Role;
use osier_product::{PartArea, Parts, Product, Unplanned};
use osier_recipe::{ComponentRef, Diagnostic, EffectiveSystem, ImageTool, System, Target};
use osier_store::{Digest, Store, Tree};

use crate::engine::{Unbuilt, unread};
use crate::planning;
use crate::project::Goal;
use crate::project::library::{BesideKind, Entry, Shelf};
use crate::report::problem::{Code, Outcome, Problem, diagnosed, unknown};
use crate::session::Session;
use crate::source::tools::{Tool, locked_tool, pinned_tool};

/// Components and the nodes of systems in one plan.
pub(crate) struct Planned {
    pub(crate) graph: Graph,
    /// For each system the nodes of its images, in its order.
    pub(crate) images: Vec<Vec<ComponentId>>,
}

impl Session<'_> {
    /// Plans one component for one target, or a part of a product; gives its place in the graph as well.
    pub(crate) fn plan_one(&mut self, name: &str) -> Outcome<(Graph, ComponentId)> {
        if let Some((system, _)) = name.split_once('/') {
            return self.plan_part(system, name);
        }
        let wanted = self.project.wanted(name)?;
        if wanted.len() > 1 {
            self.project.target()?;
        }
        let graph = planning::plan(self, &wanted)?;
        let id = graph.goals.first().copied();
        let id = id.ok_or_else(|| unknown("component", name, &[]))?;
        Ok((graph, id))
    }

    /// Plans a goal for all targets; gives its name as well.
    pub(crate) fn plan_goal(&mut self, goal: &Goal) -> Result<(String, Graph), Unbuilt> {
        Ok(match goal {
            Goal::System(system, _) => {
                let targets = self.project.targets.clone();
                let systems: Vec<_> = targets.iter().map(|target| (&**system, *target)).collect();
                (system.name.value.clone(), self.plan_systems(&systems)?.graph)
            }
            Goal::Component(name) => {
                let wanted = self.project.wanted(name)?;
                (name.clone(), planning::plan(self, &wanted)?)
            }
        })
    }

    /// Plans the system that a part of a product belongs to; gives the part's place in the graph as well.
    pub(crate) fn plan_part(&mut self, system: &str, name: &str) -> Outcome<(Graph, ComponentId)> {
        let Goal::System(system, _) = self.project.goal(Some(system))? else {
            return Err(unknown("part of a system", name, &[]));
        };
        let target = match name.split_once('@').map(|(_, target)| Target::parse(target)) {
            Some(Some(target)) => target,
            _ => self.project.target()?,
        };
        let graph = self.plan_systems(&[(&*system, target)])?.graph;
        let (part, _) = name.split_once('@').unwrap_or((name, ""));
        let parts = graph.ids().filter(|id| osier_product::is_product(graph.component(*id)));
        let parts: Vec<_> = parts.map(|id| (graph.component(id).recipe.clone(), id)).collect();
        let found = parts.iter().find(|(known, _)| known == part).map(|(_, id)| *id);
        let known: Vec<String> = parts.into_iter().map(|(name, _)| name).collect();
        Ok((graph, found.ok_or_else(|| unknown("part of a system", part, &known))?))
    }

    /// Plans systems with all that they are made of. What is wrong with one, whatever its components will deliver, is told
    /// before anything is built.
    pub(crate) fn plan_systems(
        &mut self,
        systems: &[(&System, Target)],
    ) -> Result<Planned, Unbuilt> {
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut parts = Vec::new();
        for (system, target) in systems {
            for one in self.project.wanted_by(system, *target)? {
                if !wanted.contains(&one) {
                    wanted.push(one);
                }
            }
            let entry =
                self.project.library().find(Shelf::Systems, &system.name).map_err(Problem::from)?;
            let entry = entry.ok_or_else(|| unknown("system", &system.name, &[]))?;
            parts.push(own_parts(self.store, &entry, &system.effective(*target))?);
        }
        let mut graph = planning::plan(self, &wanted)?;
        let goals: BTreeMap<Wanted, ComponentId> =
            wanted.into_iter().zip(graph.goals.iter().copied()).collect();
        let mut images = Vec::new();
        for ((system, target), parts) in systems.iter().zip(parts) {
            for tool in system.images.iter().filter_map(|image| image.format.row().tool) {
                pinned_tool(self, &tool_of(&tool))?;
            }
            let own = self.project.wanted_by(system, *target)?;
            let goal = |name: &str| {
                let wanted = own.iter().find(|wanted| wanted.name == name)?;
                goals.get(wanted).copied()
            };
            let effective = system.effective(*target);
            let product = Product { system: &effective, target: *target, parts };
            let environment = |tool: &ImageTool| locked_tool(&self.project, &tool_of(tool));
            let added = osier_product::add(&mut graph, &product, &goal, &environment);
            images.push(added.map_err(|error| match error {
                Unplanned::NoOutput(reference, known) => {
                    let known = known.iter().map(String::as_str);
                    let output = reference.output.as_deref().unwrap_or("main");
                    let (origin, span) = (&system.origin, &reference.span);
                    let code = osier_recipe::Code::UnknownOutput;
                    let error = Diagnostic::unknown(code, "output", origin, span, output, known);
                    diagnosed(&[error], |file| self.project.text_of(file))
                }
                Unplanned::NoKernel(span) | Unplanned::NoImage(span) => {
                    let line = system.origin.line(span);
                    Problem::defect(&format!("line {line} of the system was not checked"))
                }
                Unplanned::NoTool(tool) => {
                    Problem::defect(&format!("the pins of {} do not fit it", tool.program))
                }
            })?);
        }
        Ok(Planned { graph, images })
    }
}

fn tool_of(tool: &ImageTool) -> Tool<'static> {
    Tool { suite: Some(tool.suite), packages: tool.packages }
}

/// Finds the output of a component that a reference names.
pub(crate) fn output(
    graph: &Graph,
    results: &Results,
    reference: &ComponentRef,
) -> Outcome<Digest> {
    let wanted = reference.output.as_deref().unwrap_or("main");
    let mut goals = graph.goals.iter();
    let outputs = goals
        .find(|id| graph.component(**id).recipe == reference.name)
        .and_then(|id| results.get(id))
        .map(|result| result.outputs.as_slice())
        .unwrap_or_default();
    let found = outputs.iter().find(|(name, _)| name == wanted).map(|(_, digest)| *digest);
    found.ok_or_else(|| {
        let known: Vec<String> = outputs.iter().map(|(name, _)| name.clone()).collect();
        unknown(&format!("output of {}", reference.name), wanted, &known)
    })
}

/// Gathers all that a system's root file system is composed of. `output` gives what a component delivers.
pub(crate) fn parts(
    store: &Store,
    entry: &Entry,
    system: &EffectiveSystem<'_>,
    output: &dyn Fn(&ComponentRef) -> Outcome<Digest>,
) -> Result<Parts, Unbuilt> {
    let mut parts = own_parts(store, entry, system)?;
    for component in &system.components {
        parts.areas.push(PartArea {
            name: format!("component {}", component.value),
            role: Role::Component,
            tree: output(component)?,
            place: entry.label.clone(),
        });
    }
    Ok(parts)
}

/// Gathers what a system's root file system is composed of beside its components, checked.
fn own_parts(store: &Store, entry: &Entry, system: &EffectiveSystem<'_>) -> Result<Parts, Unbuilt> {
    let missing = |span: &Range<usize>, message: String| {
        let error = system.system.origin.error(osier_recipe::Code::MissingFile, span, message);
        diagnosed(&[error], |_| Some(entry.text.clone()))
    };
    let empty = Tree::default().digest();
    let mut areas = Vec::new();
    for name in &system.overlays {
        let tree = entry.tree(store, name)?.filter(|tree| *tree != empty);
        let place = entry.label_of(name);
        let tree = tree.ok_or_else(|| {
            missing(&name.span, format!("the overlay {place} is missing or empty"))
        })?;
        let name = format!("overlay {}", name.value);
        areas.push(PartArea { name, role: Role::Overlay, tree, place });
    }
    let accounts = [&system.system.passwd, &system.system.group];
    let accounts = accounts.map(|path| path.as_ref().map(|path| path.value.clone()));
    let Some(name) = system.manifest else {
        return Ok(Parts { areas, manifest: Default::default(), accounts });
    };
    let label = entry.label_of(name);
    let files = entry.beside("")?;
    let text = files.get(name.as_str()).and_then(|file| match &file.kind {
        BesideKind::File { content, .. } => Some(String::from_utf8_lossy(content).into_owned()),
        _ => None,
    });
    let text =
        text.ok_or_else(|| missing(&name.span, format!("the manifest {label} is missing")))?;
    let parts = Parts { areas, manifest: (label, text), accounts };
    parts.check(store).map_err(|error| not_made(store, error))?;
    Ok(parts)
}

/// Says why a part of a product cannot be made.
pub(crate) fn not_made(store: &Store, error: MakeError) -> Unbuilt {
    match error {
        MakeError::Blob(error) => unread(store, error),
        MakeError::File(error) => error.into(),
        MakeError::Wrong(wrong) => {
            let mut problem = Problem::of(Code::NotComposed, wrong.message);
            for line in wrong.lines {
                problem.body.push_str(&format!("  {line}\n"));
            }
            match wrong.hint {
                Some(hint) => problem.hint(hint).into(),
                None => problem.into(),
            }
        }
    }
}
