//! Putting the nodes of a product into a planned graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use osier_build::{
    Component, ComponentId, Environment, Graph, Input, Make, Output, Results, Step, StepId, View,
    Work,
};
use osier_check::Finding;
use osier_recipe::{ComponentRef, EffectiveSystem, ImageTool, Jobs, Spanned, Target};
use osier_store::{BlobError, Digest, Key, Store, TreeNode};

use crate::compose::{PartArea, Parts};
use crate::format::COMMANDS;
use crate::node::{AreaFrom, ComposeRoot, FINDINGS, RootArea, WriteImage};

/// The part that is the root file system. No image has a name that begins so.
const ROOT: &str = "_root";

/// The output of a root that holds what was noticed.
const FOUND: &str = "findings";

/// A system for one target, with all that does not depend on what is built.
pub struct Product<'s> {
    /// The system.
    pub system: &'s EffectiveSystem<'s>,
    /// The target.
    pub target: Target,
    /// Its overlays by name, as stored trees; the manifest; the accounts.
    pub parts: Parts,
}

/// Why a product has no place in a graph.
#[derive(Debug)]
pub enum Unplanned<'s> {
    /// The graph has no output that the system names.
    NoOutput(&'s Spanned<ComponentRef>, Vec<String>),
    /// The packages of a tool are not pinned.
    NoTool(ImageTool),
}

/// Says whether a component is a part of a product.
pub fn is_product(component: &Component) -> bool {
    component.recipe.contains('/')
}

/// Puts the root file system of a system and its images into a graph that has its components; gives the images' components
/// in the order of the system.
///
/// `goal` finds the component of a name that the system is made of, and `environment` the pinned packages of a tool.
pub fn add<'s>(
    graph: &mut Graph,
    product: &Product<'s>,
    goal: &dyn Fn(&str) -> Option<ComponentId>,
    environment: &dyn Fn(&ImageTool) -> Option<Environment>,
) -> Result<Vec<ComponentId>, Unplanned<'s>> {
    let system = product.system;
    if system.system.images.is_empty() {
        return Ok(Vec::new());
    }
    let name = &system.system.name;
    let origin = &system.system.origin;
    let line = |span: &std::ops::Range<usize>| format!("{}:{}", origin.file(), origin.line(span));
    let Parts { areas, manifest, accounts } = product.parts.clone();
    let overlay = |area: PartArea| RootArea {
        name: area.name,
        from: AreaFrom::Overlay(area.tree),
        place: area.place,
    };
    let mut areas: Vec<RootArea> = areas.into_iter().map(overlay).collect();
    let mut needs = Vec::new();
    for reference in &system.components {
        areas.push(RootArea {
            name: format!("component {}", reference.value),
            from: AreaFrom::Need(needs.len()),
            place: line(&reference.span),
        });
        needs.push(input(graph, goal(&reference.name), reference)?);
    }
    let root = ComposeRoot { areas, manifest, accounts, place: origin.file().to_owned() };
    let nothing = Environment { key: Key([0; 32]), request: Vec::new(), packages: Vec::new() };
    let nothing = Arc::new(nothing);
    let node = |part: &str, needs, environment, outputs| Component {
        name: format!("{name}/{part}@{}", product.target),
        recipe: format!("{name}/{part}"),
        version: String::new(),
        target: product.target.as_str().to_owned(),
        origin: origin.file().to_owned(),
        steps: Vec::new(),
        needs,
        tools: Vec::new(),
        outputs,
        environment,
        variables: BTreeMap::new(),
        files: Vec::new(),
    };
    let found = Output { name: FOUND.to_owned(), patterns: vec![FINDINGS.to_owned()] };
    let place = system.manifest.map_or(&name.span, |manifest| &manifest.span);
    let component = node(ROOT, needs, Arc::clone(&nothing), vec![found]);
    let root = push(graph, component, vec![("compose", make(root), line(place))]);
    let mut images = Vec::new();
    for image in &system.system.images {
        let tool = image.format.row().tool;
        let environment = match &tool {
            None => Arc::clone(&nothing),
            Some(tool) => Arc::new(environment(tool).ok_or(Unplanned::NoTool(*tool))?),
        };
        let needs = vec![Input { component: root, output: "main".to_owned() }];
        let place = line(&image.name.span);
        let write = WriteImage { image: image.clone(), place: place.clone() };
        let mut steps = vec![("write", make(write), place.clone())];
        steps.extend(tool.map(|tool| (tool.program, run_commands(), place)));
        images.push(push(graph, node(&image.name, needs, environment, Vec::new()), steps));
    }
    Ok(images)
}

fn make(make: impl Make + 'static) -> Work {
    Work::Make(Arc::new(make))
}

/// The step of a tool: it runs what the step below has left for it.
fn run_commands() -> Work {
    Work::Script {
        text: format!(". ./{COMMANDS}"),
        folder: "/build".to_owned(),
        jobs: Jobs::One,
        memory: None,
        silence: None,
        flat: false,
    }
}

/// Finds an output that a system names.
fn input<'s>(
    graph: &Graph,
    goal: Option<ComponentId>,
    reference: &'s Spanned<ComponentRef>,
) -> Result<Input, Unplanned<'s>> {
    let output = reference.output.as_deref().unwrap_or("main");
    let outputs = goal.map(|id| graph.component(id).outputs.as_slice()).unwrap_or_default();
    let is_known = output == "main" || outputs.iter().any(|known| known.name == output);
    match goal.filter(|_| is_known) {
        Some(id) => Ok(Input { component: id, output: output.to_owned() }),
        None => {
            let known = outputs.iter().map(|output| output.name.clone());
            Err(Unplanned::NoOutput(reference, known.chain(["main".to_owned()]).collect()))
        }
    }
}

fn push(
    graph: &mut Graph,
    mut component: Component,
    steps: Vec<(&str, Work, String)>,
) -> ComponentId {
    let id = ComponentId(
        u32::try_from(graph.components.len()).expect("a graph has fewer than 2^32 components"),
    );
    let mut below = None;
    for (name, work, origin) in steps {
        let step =
            StepId(u32::try_from(graph.steps.len()).expect("a graph has fewer than 2^32 steps"));
        graph.steps.push(Step {
            component: id,
            name: name.to_owned(),
            below,
            work,
            view: View::Nothing,
            reuse: None,
            checks: Vec::new(),
            origin,
        });
        component.steps.push(step);
        below = Some(step);
    }
    graph.components.push(component);
    graph.goals.push(id);
    id
}

/// Reads what was noticed while the root file systems of a graph were composed, each with the root's name.
pub fn findings(
    store: &Store,
    graph: &Graph,
    results: &Results,
) -> Result<Vec<(String, Finding)>, FindingsError> {
    let mut all = Vec::new();
    for (id, result) in results {
        let component = graph.component(*id);
        if !component.recipe.ends_with(&format!("/{ROOT}")) {
            continue;
        }
        let found = result.outputs.iter().find(|(name, _)| name == FOUND);
        let Some((_, output)) = found else { continue };
        let tree = store.tree(output)?;
        let Some(TreeNode::File { content, .. }) = tree.get(FINDINGS.as_bytes()) else { continue };
        let findings: Vec<Finding> = serde_json::from_slice(&store.read_blob(content)?)?;
        all.extend(findings.into_iter().map(|finding| (component.name.clone(), finding)));
    }
    Ok(all)
}

/// Why stored findings were not read.
#[derive(Debug, thiserror::Error)]
pub enum FindingsError {
    /// They are damaged or gone.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// They are not as this osier writes them.
    #[error("stored findings cannot be read: {0}")]
    Form(#[from] serde_json::Error),
}

/// Gives the file of an image that is made: its bytes and how many; nothing where it is not made.
pub fn file_of(
    store: &Store,
    results: &Results,
    image: ComponentId,
) -> Result<Option<(Digest, u64)>, BlobError> {
    let result = results.get(&image).and_then(|result| result.outputs.first());
    let Some((_, output)) = result else { return Ok(None) };
    let tree = store.tree(output)?;
    Ok(tree.iter().find_map(|(_, node)| match node {
        TreeNode::File { content, size, .. } => Some((*content, *size)),
        _ => None,
    }))
}
