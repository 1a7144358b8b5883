//! What the steps of a graph took the last time, and which of them a build from nothing has to wait for.

use osier_store::Store;

use crate::graph::{Graph, StepId};
use crate::key;
use crate::run::outlook::Took;
use crate::run::times::Time;

/// The recorded times of a graph's steps.
#[derive(Debug, Clone, Default)]
pub struct Timing {
    took: Vec<Took>,
    /// The longest chain of steps that wait for one another, the first one first; empty where nothing was timed.
    pub critical: Vec<StepId>,
    /// What that chain takes, in seconds: no number of processors builds all in less.
    pub critical_seconds: f64,
    /// What all steps take together, in seconds.
    pub seconds: f64,
    /// How many steps were never timed, and count as nothing.
    pub unknown: usize,
}

impl Timing {
    /// Reads the times of all steps of a graph, as they are recorded in a store.
    pub fn read(store: &Store, graph: &Graph) -> Self {
        let mut took = vec![Took::Unknown; graph.steps.len()];
        for component in &graph.components {
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
        Self::of(graph, took)
    }

    /// Finds the critical path of a graph whose steps take so long, in the order of their ids.
    fn of(graph: &Graph, took: Vec<Took>) -> Self {
        let mut timing = Self { took, ..Self::default() };
        // For each step when it ends, if it begins as soon as it can, and the step that it waits for last.
        let mut ends: Vec<(f64, Option<StepId>)> = vec![(0.0, None); graph.steps.len()];
        let mut last: Option<StepId> = None;
        for component in &graph.components {
            let inputs = component.needs.iter().chain(&component.tools);
            let inputs: Vec<StepId> = inputs
                .filter_map(|input| graph.component(input.component).steps.last().copied())
                .collect();
            for id in &component.steps {
                let before = graph.step(*id).below.into_iter().chain(inputs.iter().copied());
                let begin = before.fold((0.0, None), |latest: (f64, _), step| {
                    let end = ends[step.0 as usize].0;
                    if end > latest.0 { (end, Some(step)) } else { latest }
                });
                let seconds = match timing.took(*id) {
                    Took::Time(time) => time.wall,
                    Took::Little => 0.0,
                    Took::Unknown => {
                        timing.unknown += 1;
                        0.0
                    }
                };
                timing.seconds += seconds;
                ends[id.0 as usize] = (begin.0 + seconds, begin.1);
                if ends[id.0 as usize].0 > timing.critical_seconds {
                    timing.critical_seconds = ends[id.0 as usize].0;
                    last = Some(*id);
                }
            }
        }
        while let Some(step) = last {
            timing.critical.push(step);
            last = ends[step.0 as usize].1;
        }
        timing.critical.reverse();
        timing
    }

    /// Says what a step took the last time.
    pub fn took(&self, step: StepId) -> Took {
        self.took.get(step.0 as usize).copied().unwrap_or(Took::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::outlook::tests::graph;
    use crate::run::times::Time;

    fn timing(needs: &[&[u32]], seconds: &[f64]) -> (Vec<u32>, f64, f64) {
        let took = seconds.iter().map(|seconds| match *seconds {
            0.0 => Took::Little,
            seconds => Took::Time(Time { wall: seconds, cpu: seconds }),
        });
        let timing = Timing::of(&graph(needs), took.collect());
        let critical = timing.critical.iter().map(|step| step.0).collect();
        (critical, timing.critical_seconds, timing.seconds)
    }

    #[test]
    fn the_critical_path_is_the_longest_chain() {
        // Each component has two steps: 0 and 1, 2 and 3, …
        let beside: &[&[u32]] = &[&[], &[], &[0, 1]];
        assert_eq!(timing(beside, &[1.0, 2.0, 4.0, 1.0, 1.0, 1.0]), (vec![2, 3, 4, 5], 7.0, 10.0));
        assert_eq!(timing(beside, &[9.0, 2.0, 4.0, 1.0, 1.0, 1.0]), (vec![0, 1, 4, 5], 13.0, 18.0));
        // The other chain does not count where it ends later but nothing waits for it.
        let apart: &[&[u32]] = &[&[], &[0], &[]];
        assert_eq!(timing(apart, &[1.0, 1.0, 1.0, 1.0, 5.0, 1.0]), (vec![4, 5], 6.0, 10.0));
    }

    #[test]
    fn steps_that_take_nothing_are_on_the_path_only_between_others() {
        let chain: &[&[u32]] = &[&[], &[0]];
        assert_eq!(timing(chain, &[0.0, 2.0, 0.0, 3.0]), (vec![1, 2, 3], 5.0, 5.0));
        assert_eq!(timing(chain, &[0.0, 2.0, 0.0, 0.0]), (vec![1], 2.0, 2.0));
        assert_eq!(timing(chain, &[0.0; 4]), (vec![], 0.0, 0.0));
    }

    #[test]
    fn what_was_never_timed_is_counted() {
        let timing = Timing::of(
            &graph(&[&[]]),
            vec![Took::Unknown, Took::Time(Time { wall: 1.0, cpu: 1.0 })],
        );
        assert_eq!((timing.unknown, timing.seconds), (1, 1.0));
        assert_eq!(timing.critical, [StepId(1)]);
    }
}
