//! How long the rest of a build takes, from what its steps took the last time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use osier_recipe::Jobs;
use osier_store::Store;

use crate::graph::{ComponentId, Graph, StepId, Work};
use crate::key;
use crate::run::event::Event;
use crate::run::state::State;
use crate::run::times::Time;

/// How long nothing new is told, so that a build of ten thousand quick steps does not spend its time on this.
const PAUSE: Duration = Duration::from_secs(1);

/// What a step is known to take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Took {
    /// So much.
    Time(Time),
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
    pub(crate) fn new(state: &State<'_>, jobs: usize, store: &Store) -> Self {
        let graph = state.graph;
        let mut took = vec![Took::Little; graph.steps.len()];
        for (component, result) in graph.components.iter().zip(&state.results) {
            if result.is_some() {
                continue;
            }
            let mut was_built = None;
            for id in &component.steps {
                took[id.0 as usize] = match Time::of(store, &graph.label(*id)) {
                    Some(time) => Took::Time(time),
                    None if *was_built.get_or_insert_with(|| key::was_built(store, component)) => {
                        Took::Little
                    }
                    None => Took::Unknown,
                };
            }
        }
        Self { jobs, took, running: BTreeMap::new(), told: None, changed: false }
    }

    /// Gives, for every step of the graph, the milliseconds of work from its beginning to the end of what waits for it, along the
    /// longest way.
    pub(crate) fn ranks(&self, graph: &Graph) -> Vec<u64> {
        ranks(graph, &|id| match self.took[id.0 as usize] {
            // Beside others it has the processor for itself for no longer than that.
            Took::Time(Time { wall, cpu }) => wall.max(cpu),
            Took::Little => 0.1,
            Took::Unknown => guess(graph, id),
        })
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
            (Took::Time(Time { wall, cpu }), Some(begun)) => {
                let left = (wall - (now - *begun).as_secs_f64()).max(0.0);
                Took::Time(Time { wall: left, cpu: cpu * left / wall.max(0.1) })
            }
            (took, _) => took,
        };
        let (seconds, unknown) = estimate(state.graph, &open, self.jobs, &left);
        Some(Event::TimeLeft { steps: open.len(), seconds, unknown })
    }
}

/// Sums up steps: seconds until the last one ends, and how many of them were never timed, which count as nothing.
///
/// It takes at least as long as the longest chain of steps that wait for one another, and as the work of all of them spread evenly.
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
        let time = match left(*id) {
            Took::Time(time) => time,
            took => {
                unknown += usize::from(took == Took::Unknown);
                Time { wall: 0.0, cpu: 0.0 }
            }
        };
        all += time.cpu;
        ends.insert(*id, begin + time.wall);
    }
    let longest = ends.values().fold(0.0, |one: f64, two| one.max(*two));
    (longest.max(all / jobs.max(1) as f64), unknown)
}

fn ranks(graph: &Graph, seconds: &dyn Fn(StepId) -> f64) -> Vec<u64> {
    // What each step is waited for by, at its longest. A component waits as a whole for what it uses.
    let mut behind = vec![0; graph.steps.len()];
    let mut ranks = vec![0; graph.steps.len()];
    let steps_last_first = graph
        .components
        .iter()
        .rev()
        .flat_map(|one| one.steps.iter().rev().map(move |id| (one, id)));
    for (component, id) in steps_last_first {
        let own = Duration::try_from_secs_f64(seconds(*id)).map_or(0, |own| own.as_millis());
        let rank = u64::try_from(own).unwrap_or(u64::MAX).saturating_add(behind[id.0 as usize]);
        ranks[id.0 as usize] = rank;
        let mut after = |before: StepId| {
            let longest: &mut u64 = &mut behind[before.0 as usize];
            *longest = rank.max(*longest);
        };
        graph.step(*id).below.into_iter().for_each(&mut after);
        let starts = graph.step(*id).below.is_none_or(|below| !component.steps.contains(&below));
        if starts {
            let inputs = component.needs.iter().chain(&component.tools);
            let last = inputs.filter_map(|input| graph.component(input.component).steps.last());
            last.copied().for_each(&mut after);
        }
    }
    ranks
}

/// Guesses the seconds of a step that was never timed, by the size of the sources that it stands on.
fn guess(graph: &Graph, id: StepId) -> f64 {
    let bytes = |id: &StepId| match &graph.step(*id).work {
        Work::Unpack(source) => source.archives.iter().map(|archive| archive.size).sum(),
        Work::Patch(_) | Work::Edit(_) | Work::Make(_) | Work::Script { .. } => 0,
    };
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    match graph.step(id).work {
        Work::Unpack(_) => megabytes(bytes(&id)) / 10.0,
        Work::Patch(_) | Work::Edit(_) | Work::Make(_) | Work::Script { jobs: Jobs::One, .. } => {
            1.0
        }
        Work::Script { .. } => 1.0 + megabytes(graph.chain(id).iter().map(bytes).sum()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use osier_store::Key;

    use super::*;
    use crate::graph::{Component, Environment, Input, Step};

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
                        jobs: Jobs::Jobserver,
                        memory: None,
                        silence: None,
                        flat: false,
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
        let each = |_| Took::Time(Time { wall: 10.0, cpu: 10.0 });
        // Three beside one another: 60 seconds of steps.
        let beside = graph(&[&[], &[], &[]]);
        assert_eq!(left(&beside, 1, &each), (60.0, 0));
        assert_eq!(left(&beside, 2, &each), (30.0, 0));
        assert_eq!(left(&beside, 8, &each), (20.0, 0));
        // One after the other: no number of jobs helps.
        let chain = graph(&[&[], &[0], &[0, 1]]);
        assert_eq!(left(&chain, 8, &each), (60.0, 0));
        // Steps that use two processors each: no room for others beside them.
        let wide = |_| Took::Time(Time { wall: 10.0, cpu: 20.0 });
        assert_eq!(left(&beside, 2, &wide), (60.0, 0));
    }

    #[test]
    fn steps_that_were_never_timed_are_counted_and_not_guessed() {
        let took = |id: StepId| match id.0 {
            0 => Took::Time(Time { wall: 10.0, cpu: 10.0 }),
            1 => Took::Little,
            _ => Took::Unknown,
        };
        assert_eq!(left(&graph(&[&[], &[0]]), 2, &took), (10.0, 2));
    }

    #[test]
    fn a_step_ranks_by_all_that_waits_for_it() {
        // 0 is needed by 1 and 2, 2 by 3; each has a step of one second and, on it, one of two.
        let graph = graph(&[&[], &[0], &[0], &[2]]);
        let seconds = |id: StepId| if id.0.is_multiple_of(2) { 1.0 } else { 2.0 };
        let expected = [9000, 8000, 3000, 2000, 6000, 5000, 3000, 2000];
        assert_eq!(ranks(&graph, &seconds), expected);
        // What 1 takes longer than 2 and 3 together counts for 0.
        let seconds = |id: StepId| if id.0 == 3 { 100.0 } else { seconds(id) };
        assert_eq!(ranks(&graph, &seconds)[..3], [104_000, 103_000, 101_000]);
    }
}
