//! Putting the nodes of a product into a planned graph.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use osier_build::{
    Component, ComponentId, Environment, Graph, Input, Make, Output, Results, Step, StepId, View,
    Work,
};
use osier_check::Finding;
use osier_recipe::{
    ComponentRef, Content, EffectiveSystem, Image, ImageFile, ImageTool, Jobs, Spanned, Takes,
    Target,
};
use osier_store::{BlobError, Digest, Key, Store, TreeNode};

use crate::compose::{PartArea, Parts};
use crate::format::COMMANDS;
use crate::node::{AreaFrom, ComposeRoot, FINDINGS, RootArea, TakenFile, WriteImage};

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
    /// An image takes the kernel, and the graph has none.
    NoKernel(&'s Range<usize>),
    /// An image takes one that is not there, or itself; the reader of systems tells it before.
    NoImage(&'s Range<usize>),
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
    let name = &system.system.name;
    let origin = &system.system.origin;
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
    let line = |span: &Range<usize>| format!("{}:{}", origin.file(), origin.line(span));
    let images = &system.system.images;
    let takes_root = |image: &Image| matches!(image.format.row().takes, Takes::Root);
    let root = match images.iter().any(takes_root) {
        false => None,
        true => {
            let (needs, root) = composing(graph, product, goal)?;
            let found = Output { name: FOUND.to_owned(), patterns: vec![FINDINGS.to_owned()] };
            let place = system.manifest.map_or(&name.span, |manifest| &manifest.span);
            let component = node(ROOT, needs, Arc::clone(&nothing), vec![found]);
            Some(push(graph, component, vec![("compose", make(root), line(place))]))
        }
    };
    let mut made: Vec<Option<ComponentId>> = vec![None; images.len()];
    for at in in_order(images) {
        let image = &images[at];
        let place = line(&image.name.span);
        let (needs, files) = match root.filter(|_| takes_root(image)) {
            Some(component) => (vec![main_of(component)], Vec::new()),
            None => taking(graph, product, image, goal, &made)?,
        };
        let tool = image.format.row().tool;
        let environment = match &tool {
            None => Arc::clone(&nothing),
            Some(tool) => Arc::new(environment(tool).ok_or(Unplanned::NoTool(*tool))?),
        };
        let write = WriteImage { image: image.clone(), files, place: place.clone() };
        let mut steps = vec![("write", make(write), place.clone())];
        steps.extend(tool.map(|tool| (tool.program, run_commands(), place)));
        let component = node(&image.name, needs, environment, Vec::new());
        made[at] = Some(push(graph, component, steps));
    }
    Ok(made.into_iter().flatten().collect())
}

fn main_of(component: ComponentId) -> Input {
    Input { component, output: "main".to_owned() }
}

/// Gives the step of the root file system, and the outputs that it needs.
fn composing<'s>(
    graph: &Graph,
    product: &Product<'s>,
    goal: &dyn Fn(&str) -> Option<ComponentId>,
) -> Result<(Vec<Input>, ComposeRoot), Unplanned<'s>> {
    let origin = &product.system.system.origin;
    let Parts { areas, manifest, accounts } = product.parts.clone();
    let overlay = |area: PartArea| RootArea {
        name: area.name,
        from: AreaFrom::Overlay(area.tree),
        place: area.place,
    };
    let mut areas: Vec<RootArea> = areas.into_iter().map(overlay).collect();
    let mut needs = Vec::new();
    for reference in &product.system.components {
        areas.push(RootArea {
            name: format!("component {}", reference.value),
            from: AreaFrom::Need(needs.len()),
            place: format!("{}:{}", origin.file(), origin.line(&reference.span)),
        });
        needs.push(input(graph, goal(&reference.name), reference)?);
    }
    Ok((needs, ComposeRoot { areas, manifest, accounts, place: origin.file().to_owned() }))
}

/// The places of images, each behind those that it contains; no image contains itself.
fn in_order(images: &[Image]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < images.len() {
        let before = order.len();
        for (at, image) in images.iter().enumerate() {
            let is_there = |file: &ImageFile| match &file.from {
                Content::Image(name) => order.iter().any(|at| images[*at].name.value == name.value),
                Content::Kernel | Content::Component(..) => true,
            };
            if !order.contains(&at) && image.contents.iter().all(is_there) {
                order.push(at);
            }
        }
        if order.len() == before {
            break;
        }
    }
    order
}

/// Gives the files of an image, and the outputs that they are in.
fn taking<'s>(
    graph: &Graph,
    product: &Product<'s>,
    image: &'s Image,
    goal: &dyn Fn(&str) -> Option<ComponentId>,
    made: &[Option<ComponentId>],
) -> Result<(Vec<Input>, Vec<TakenFile>), Unplanned<'s>> {
    let EffectiveSystem { system, kernel, .. } = product.system;
    let mut needs: Vec<Input> = Vec::new();
    let mut files = Vec::new();
    for ImageFile { path, from } in &image.contents {
        let (need, from, of) = match from {
            Content::Kernel => {
                let kernel = kernel.ok_or(Unplanned::NoKernel(&path.span))?;
                let component = goal(&kernel.component).ok_or(Unplanned::NoKernel(&path.span))?;
                (main_of(component), kernel.path.clone(), kernel.component.clone())
            }
            Content::Image(name) => {
                let other = system.images.iter().position(|other| other.name.value == name.value);
                let component = other.and_then(|other| Some((other, made[other]?)));
                let (other, component) = component.ok_or(Unplanned::NoImage(&name.span))?;
                let file = system.images[other].file_name();
                (main_of(component), file, format!("the image {name}"))
            }
            Content::Component(component, from) => {
                let need = input(graph, goal(&component.name), component)?;
                (need, from.clone(), component.to_string())
            }
        };
        let known = needs.iter().position(|known| *known == need);
        let number = known.unwrap_or(needs.len());
        if known.is_none() {
            needs.push(need);
        }
        let origin = &system.origin;
        let place = format!("{}:{}", origin.file(), origin.line(&path.span));
        files.push(TakenFile { path: path.value.clone(), need: number, from, of, place });
    }
    Ok((needs, files))
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
