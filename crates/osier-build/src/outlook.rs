//! How long the rest of a build takes, from what its steps took the last time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use osier_store::Store;

use crate::graph::{ComponentId, Graph, StepId};
use crate::state::State;
use crate::{Event, why};

/// How long nothing new is told, so that a build of ten thousand quick steps does not spend its time on this.
const PAUSE: Duration = Duration::from_secs(1);

/// What a step is known to take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Took {
    /// Seconds.
    Seconds(f64),
    /// So little that it was not noted.
    Little,
    /// It has never run.
    Unknown,
}

/// Watches a build and says how much of it is left.
pub(crate) struct Outlook {
    jobs: usize,
    /// What each step of the graph takes.
    took: Vec<Took>,
    running: BTreeMap<StepId, Instant>,
    told: Option<Instant>,
    changed: bool,
}

impl Outlook {
    /// Looks up what steps took the last time, by their labels. Times of steps that take next to nothing are not noted.
    pub(crate) fn new(
        state: &State<'_>,
        jobs: usize,
        times: &dyn Fn(&str) -> Option<f64>,
        store: &Store,
    ) -> Self {
        let graph = state.graph;
        let mut took = vec![Took::Little; graph.steps.len()];
        for (component, result) in graph.components.iter().zip(&state.results) {
            if result.is_some() {
                continue;
            }
            let mut was_built = None;
            for id in &component.steps {
                took[id.0 as usize] = match times(&graph.label(*id)) {
                    Some(seconds) => Took::Seconds(seconds),
                    None if *was_built.get_or_insert_with(|| why::was_built(store, component)) => {
                        Took::Little
                    }
                    None => Took::Unknown,
                };
            }
        }
        Self { jobs, took, running: BTreeMap::new(), told: None, changed: false }
    }

    pub(crate) fn started(&mut self, step: StepId) {
        self.running.insert(step, Instant::now());
        self.changed = true;
    }

    pub(crate) fn ended(&mut self, step: StepId) {
        self.running.remove(&step);
        self.changed = true;
    }

    /// Gives what has changed, if that is worth telling now.
    pub(crate) fn news(&mut self, state: &State<'_>) -> Option<Event> {
        let now = Instant::now();
        let soon = self.told.is_some_and(|told| now - told < PAUSE);
        if !self.changed || soon {
            return None;
        }
        (self.told, self.changed) = (Some(now), false);
        let open = state.open_steps();
        let left = |step: StepId| match (self.took[step.0 as usize], self.running.get(&step)) {
            (Took::Seconds(all), Some(begun)) => {
                Took::Seconds((all - (now - *begun).as_secs_f64()).max(0.0))
            }
            (took, _) => took,
        };
        let (seconds, unknown) = estimate(state.graph, &open, self.jobs, &left);
        Some(Event::TimeLeft { steps: open.len(), seconds, unknown })
    }
}

/// Sums up steps: seconds until the last one ends, and how many of them were never timed, which count as nothing.
///
/// It takes at least as long as the longest chain of steps that wait for one another, and as all of them spread evenly.
fn estimate(
    graph: &Graph,
    open: &[StepId],
    jobs: usize,
    left: &dyn Fn(StepId) -> Took,
) -> (f64, usize) {
    let mut ends: BTreeMap<StepId, f64> = BTreeMap::new();
    let (mut all, mut unknown) = (0.0, 0);
    for id in open {
        let step = graph.step(*id);
        let component = graph.component(step.component);
        let last = |other: ComponentId| graph.component(other).steps.last().copied();
        let inputs = component.needs.iter().chain(&component.tools);
        let before = inputs.filter_map(|input| last(input.component)).chain(step.below);
        let begin = before.filter_map(|id| ends.get(&id)).fold(0.0, |one: f64, two| one.max(*two));
        let seconds = match left(*id) {
            Took::Seconds(seconds) => seconds,
            Took::Little => 0.0,
            Took::Unknown => {
                unknown += 1;
                0.0
            }
        };
        all += seconds;
        ends.insert(*id, begin + seconds);
    }
    let longest = ends.values().fold(0.0, |one: f64, two| one.max(*two));
    (longest.max(all / jobs.max(1) as f64), unknown)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use osier_store::Key;

    use super::*;
    use crate::graph::{Component, Environment, Input, Step, Work};

    /// Components of two steps each, with the numbers of those that each one needs.
    pub(crate) fn graph(needs: &[&[u32]]) -> Graph {
        let environment =
            Arc::new(Environment { key: Key([0; 32]), request: Vec::new(), packages: Vec::new() });
        let mut graph = Graph::default();
        for (number, needs) in (0..).zip(needs) {
            let steps = vec![StepId(2 * number), StepId(2 * number + 1)];
            for (position, id) in steps.iter().enumerate() {
                graph.steps.push(Step {
                    component: ComponentId(number),
                    name: id.0.to_string(),
                    below: (position > 0).then(|| steps[0]),
                    work: Work::Script {
                        text: String::new(),
                        folder: String::new(),
                        parallel: true,
                    },
                    view: crate::View::All,
                    reuse: None,
                    checks: Vec::new(),
                    origin: String::new(),
                });
            }
            let input =
                |id: &u32| Input { component: ComponentId(*id), output: String::from("main") };
            graph.components.push(Component {
                name: number.to_string(),
                recipe: number.to_string(),
                version: String::new(),
                target: String::new(),
                origin: String::new(),
                steps,
                needs: needs.iter().map(input).collect(),
                tools: Vec::new(),
                outputs: Vec::new(),
                environment: Arc::clone(&environment),
                variables: BTreeMap::new(),
                files: Vec::new(),
            });
        }
        graph
    }

    fn left(graph: &Graph, jobs: usize, took: &dyn Fn(StepId) -> Took) -> (f64, usize) {
        let open: Vec<StepId> = (0..).map(StepId).take(graph.steps.len()).collect();
        estimate(graph, &open, jobs, took)
    }

    #[test]
    fn a_build_takes_as_long_as_its_longest_chain_or_all_spread_evenly() {
        let each = |_| Took::Seconds(10.0);
        // Three beside one another: 60 seconds of steps.
        let beside = graph(&[&[], &[], &[]]);
        assert_eq!(left(&beside, 1, &each), (60.0, 0));
        assert_eq!(left(&beside, 2, &each), (30.0, 0));
        assert_eq!(left(&beside, 8, &each), (20.0, 0));
        // One after the other: no number of jobs helps.
        let chain = graph(&[&[], &[0], &[0, 1]]);
        assert_eq!(left(&chain, 8, &each), (60.0, 0));
    }

    #[test]
    fn steps_that_were_never_timed_are_counted_and_not_guessed() {
        let took = |id: StepId| match id.0 {
            0 => Took::Seconds(10.0),
            1 => Took::Little,
            _ => Took::Unknown,
        };
        assert_eq!(left(&graph(&[&[], &[0]]), 2, &took), (10.0, 2));
    }
}
