//! `osier graph`: what a system or component is built from, with times, sizes and what is built.
//!
//! Everything shown is read from the store; nothing is built or fetched for it.

mod dot;
mod json;
mod layered;
mod svg;
mod text;

use std::collections::BTreeSet;
use std::path::Path;

use osier_build::{Component, ComponentId, Graph, Survey, Timing, Took};
use osier_store::{Digest, IoContext, Store, TreeNode};

use crate::cli::GraphFormat;
use crate::project::Goal;
use crate::report::problem::Outcome;
use crate::report::{escape, screen};
use crate::session::Session;
use crate::workplace::Workplace;

/// All that is known of a graph, in a form that is easy to draw.
#[derive(Debug, Default)]
pub(crate) struct Overview {
    /// The system or component that was asked for.
    name: String,
    /// Whether it is a system.
    is_system: bool,
    /// The components, each after those that it uses.
    parts: Vec<Part>,
    /// What the longest chain of steps takes, in seconds.
    critical_seconds: f64,
    /// What all steps take together, in seconds.
    seconds: f64,
    /// How many steps were never timed.
    unknown: usize,
}

/// One component.
#[derive(Debug)]
struct Part {
    name: String,
    version: String,
    target: String,
    state: State,
    /// Whether the system itself asks for it.
    is_wanted: bool,
    /// Whether somebody edits its source.
    is_edited: bool,
    uses: Vec<Use>,
    steps: Vec<StepLine>,
    outputs: Vec<OutputLine>,
}

/// Whether a component is built.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Built,
    /// From the objects of an earlier build; no clean build has confirmed it.
    Reused,
    /// Its step of this name failed.
    Failed(String),
    Open,
}

/// That a component uses another one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Use {
    /// The number of the other one.
    part: usize,
    how: How,
    /// Whether the critical path goes from the other one to this one.
    is_critical: bool,
}

/// How a component uses another one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum How {
    /// It is linked with this output.
    Need(String),
    /// It runs programs of this output.
    Tool(String),
    /// It starts from this step.
    From(String),
}

#[derive(Debug)]
struct StepLine {
    name: String,
    took: Took,
    is_done: bool,
    is_critical: bool,
}

#[derive(Debug)]
struct OutputLine {
    name: String,
    digest: String,
    /// The bytes of its files, hard links once; none where it is no longer in the store.
    bytes: Option<u64>,
    files: usize,
}

/// Shows the graph of a system or a component.
pub(crate) fn run(
    workplace: &Workplace,
    name: Option<&str>,
    format: Option<GraphFormat>,
    out: Option<&Path>,
) -> Outcome<()> {
    let store = workplace.asked_store()?;
    let mut session = Session::asking(workplace, &store)?;
    let goal = session.project.goal(name)?;
    let is_system = matches!(goal, Goal::System(..));
    let (name, graph) = session.plan_goal(&goal)?;
    let survey = session.surveyor().survey(&graph);
    let mut overview = Overview::read(&store, &graph, &survey)?;
    overview.name = name;
    overview.is_system = is_system;
    for id in &graph.goals {
        overview.parts[id.0 as usize].is_wanted = true;
    }
    let json = if workplace.global.json { GraphFormat::Json } else { GraphFormat::Text };
    // XML has no control characters, and DOT files are read at terminals.
    let shown = |text: String| escape::printable(&text).into_owned();
    let text = match format.unwrap_or(json) {
        GraphFormat::Text => shown(text::write(&overview)),
        GraphFormat::Json if workplace.global.json => {
            escape::json(format!("{}\n", json::value(&overview)))
        }
        GraphFormat::Json => escape::json(format!("{:#}\n", json::value(&overview))),
        GraphFormat::Dot => shown(dot::write(&overview)),
        GraphFormat::Svg => shown(svg::write(&overview)),
    };
    match out {
        None => screen::data(text.as_bytes()),
        Some(file) => {
            std::fs::write(file, text).at("write", file)?;
            workplace.reporter.result(Workplace::shown(file));
        }
    }
    Ok(())
}

impl Overview {
    /// Gathers what the store knows of a graph.
    fn read(store: &Store, graph: &Graph, survey: &Survey) -> Outcome<Self> {
        let timing = Timing::read(store, graph);
        let mut overview = Self {
            critical_seconds: timing.critical_seconds,
            seconds: timing.seconds,
            unknown: timing.unknown,
            ..Self::default()
        };
        // The components that the critical path goes between, the one that waits last.
        let between: BTreeSet<(ComponentId, ComponentId)> = timing
            .critical
            .windows(2)
            .filter_map(|pair| {
                let [from, to] = pair else { return None };
                Some((graph.step(*from).component, graph.step(*to).component))
            })
            .collect();
        for (number, component) in graph.components.iter().enumerate() {
            let id = ComponentId(u32::try_from(number).unwrap_or(u32::MAX));
            let result = survey.done.get(&id);
            let failed = |step| osier_build::kept_failure(store, survey.keys.get(step)?);
            let failure = match result {
                Some(_) => None,
                None => component.steps.iter().find_map(failed),
            };
            let state = match (result, failure) {
                (Some(result), _) if result.reused => State::Reused,
                (Some(_), _) => State::Built,
                (None, Some(failure)) => State::Failed(failure.step),
                (None, None) => State::Open,
            };
            let outputs = result.map(|result| result.outputs.as_slice()).unwrap_or_default();
            let outputs = outputs.iter().map(|(name, digest)| output(store, name, digest));
            overview.parts.push(Part {
                name: component.name.clone(),
                version: component.version.clone(),
                target: component.target.clone(),
                state,
                is_wanted: false,
                is_edited: graph.is_edited(id),
                uses: uses(graph, id, component, &between),
                steps: component
                    .steps
                    .iter()
                    .map(|step| StepLine {
                        name: graph.step(*step).name.clone(),
                        took: timing.took(*step),
                        is_done: result.is_some() || !survey.steps.contains(step),
                        is_critical: timing.critical.contains(step),
                    })
                    .collect(),
                outputs: outputs.collect(),
            });
        }
        Ok(overview)
    }
}

impl Overview {
    /// How many components are built.
    fn built(&self) -> usize {
        let built = |part: &&Part| matches!(part.state, State::Built | State::Reused);
        self.parts.iter().filter(built).count()
    }

    /// Says how much of the recorded times is known, for people; nothing where nothing was timed.
    fn times(&self) -> String {
        let never = match self.unknown {
            0 => String::new(),
            1 => "; 1 step was never timed".to_owned(),
            many => format!("; {many} steps were never timed"),
        };
        let [critical, all] =
            [self.critical_seconds, self.seconds].map(crate::report::figures::duration);
        format!("recorded times: {critical} on the critical path, {all} in all{never}")
    }
}

impl Part {
    /// Says in a few words whether it is built.
    fn words(&self) -> String {
        let edited = if self.is_edited { ", edited" } else { "" };
        format!("{}{edited}", self.state.words())
    }

    /// What its steps take together, in seconds.
    fn seconds(&self) -> f64 {
        let seconds = self.steps.iter().map(|step| match step.took {
            Took::Time(time) => time.wall,
            Took::Little | Took::Unknown => 0.0,
        });
        seconds.sum()
    }

    /// The bytes of all its outputs; none where it is not built.
    fn bytes(&self) -> Option<u64> {
        self.outputs.iter().map(|output| output.bytes).reduce(|one, two| Some(one? + two?))?
    }
}

impl State {
    /// Says it in a word or two.
    fn words(&self) -> String {
        match self {
            Self::Built => "built".into(),
            Self::Reused => "built from an earlier build's objects".into(),
            Self::Failed(step) => format!("failed at {step}"),
            Self::Open => "not built".into(),
        }
    }
}

/// Says what a step took, in words.
fn took(took: Took) -> String {
    match took {
        Took::Time(time) => crate::report::figures::duration(time.wall),
        Took::Little => "under 0.5 s".into(),
        Took::Unknown => "never timed".into(),
    }
}

/// Lists what a component uses: what it starts from, what it links with, what runs in its build.
fn uses(
    graph: &Graph,
    id: ComponentId,
    component: &Component,
    between: &BTreeSet<(ComponentId, ComponentId)>,
) -> Vec<Use> {
    let from = component.steps.iter().filter_map(|step| {
        let below = graph.step(graph.step(*step).below?);
        (below.component != id).then(|| (below.component, How::From(below.name.clone())))
    });
    let needs = component.needs.iter().map(|need| (need.component, How::Need(need.output.clone())));
    let tools = component.tools.iter().map(|tool| (tool.component, How::Tool(tool.output.clone())));
    from.chain(needs)
        .chain(tools)
        .map(|(other, how)| Use {
            part: other.0 as usize,
            how,
            is_critical: between.contains(&(other, id)),
        })
        .collect()
}

/// Measures an output.
fn output(store: &Store, name: &str, digest: &Digest) -> OutputLine {
    let mut line =
        OutputLine { name: name.to_owned(), digest: digest.to_string(), bytes: None, files: 0 };
    let Ok(tree) = store.tree(digest) else { return line };
    let mut groups = BTreeSet::new();
    let mut bytes = 0;
    for (_, node) in tree.iter() {
        if let TreeNode::File { size, hard_link, .. } = node {
            line.files += 1;
            if hard_link.is_none_or(|group| groups.insert(group)) {
                bytes += size;
            }
        }
    }
    line.bytes = Some(bytes);
    line
}

#[cfg(test)]
mod tests;
