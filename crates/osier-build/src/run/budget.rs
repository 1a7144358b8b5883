//! Who has how many of the build's jobs.
//!
//! Every step that runs has at least one job of its own. What is left goes, one by one, to steps that wait to be started and to running
//! ones that ask for more, in the order of how much work comes after them. Whether a running step wants more cannot be asked: a job is
//! laid into its pipe, and one that still lies there a moment later is not wanted.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::graph::StepId;
use crate::run::tokens::Tokens;

/// How long a job lies in a step's pipe before it is taken to be unwanted: a make that waits for one takes it far sooner.
const MOMENT: Duration = Duration::from_millis(3);

/// How long a step that did not want a job is not offered another while others might want it.
const AGAIN: Duration = Duration::from_millis(50);

/// How long a step has run before a step that waits to be started lets it go first: in the beginning few have work for several jobs.
const NEW: Duration = Duration::from_millis(200);

/// How often running steps are looked at while some of them may take from what lies there for another.
const LOOK: Duration = Duration::from_millis(10);

/// How long nothing is looked at in any case.
const IDLE: Duration = Duration::from_millis(100);

/// The jobs and the memory of a build, and who has how much of both. Belongs to one thread.
pub(crate) struct Budget {
    jobs: usize,
    memory: u64,
    steps: BTreeMap<StepId, Holder>,
}

/// A step that runs.
struct Holder {
    /// Seconds of work from its beginning to the end of the build.
    rank: u64,
    /// Jobs that it has in any case.
    fixed: usize,
    memory: u64,
    served: Option<Served>,
}

/// A step that takes further jobs as it goes.
struct Served {
    tokens: Tokens,
    since: Instant,
    /// How many jobs lay there for it at the last look, and since when it has taken none of them.
    lying: usize,
    offered: Option<Instant>,
    /// When it left something lying.
    declined: Option<Instant>,
    /// It gave back more than it had taken, and gets nothing more.
    cheats: bool,
    /// Jobs that it had, times the seconds that it had them, up to `counted`.
    held: f64,
    counted: Instant,
}

/// Whether a step can start beside those that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It can.
    Now,
    /// When others have ended.
    Later,
    /// When all others have ended, and nothing else may start before it.
    Alone,
}

impl Budget {
    /// Makes a budget of jobs and bytes of memory.
    pub(crate) fn new(jobs: usize, memory: u64) -> Self {
        Self { jobs: jobs.max(1), memory, steps: BTreeMap::new() }
    }

    /// How many jobs nobody has.
    pub(crate) fn free(&self) -> usize {
        self.jobs.saturating_sub(self.steps.values().map(Holder::jobs).sum())
    }

    /// How many steps run.
    pub(crate) fn running(&self) -> usize {
        self.steps.len()
    }

    /// Says whether there is memory for a step that needs so much.
    pub(crate) fn room(&self, memory: u64) -> Room {
        let alone = self.steps.values().any(|holder| holder.memory > self.memory);
        let used: u64 = self.steps.values().map(|holder| holder.memory).sum();
        match memory {
            _ if alone => Room::Alone,
            _ if memory > self.memory && !self.steps.is_empty() => Room::Alone,
            _ if memory > self.memory => Room::Now,
            0 => Room::Now,
            _ if used.saturating_add(memory) > self.memory => Room::Later,
            _ => Room::Now,
        }
    }

    /// Whether a step of this rank, which could start, lets a running step go first: one of higher rank that may have a use for the job.
    pub(crate) fn gives_way(&self, rank: u64, now: Instant) -> bool {
        let first = |holder: &Holder| {
            holder.rank > rank
                && holder.served.as_ref().is_some_and(|served| {
                    now - served.since >= NEW && (served.asks(now) || served.tokens.unread() > 0)
                })
        };
        self.steps.values().any(first)
    }

    /// A step starts, with `fixed` jobs.
    pub(crate) fn start(&mut self, step: StepId, rank: u64, fixed: usize, memory: u64) {
        self.steps.insert(step, Holder { rank, fixed, memory, served: None });
    }

    /// A running step begins to take jobs as it goes.
    pub(crate) fn serve(&mut self, step: StepId, tokens: Tokens, now: Instant) {
        let served = Served {
            tokens,
            since: now,
            lying: 0,
            offered: None,
            declined: None,
            cheats: false,
            held: 0.0,
            counted: now,
        };
        if let Some(holder) = self.steps.get_mut(&step) {
            holder.served = Some(served);
        }
    }

    /// The programs of a step are over: it keeps the one job that osier works on with what they left. Gives the jobs that they had,
    /// times the seconds that they had them, where they took them as they went.
    pub(crate) fn settle(&mut self, step: StepId, now: Instant) -> Option<f64> {
        let holder = self.steps.get_mut(&step)?;
        let fixed = std::mem::replace(&mut holder.fixed, 1);
        let mut served = holder.served.take()?;
        served.count(now);
        Some(served.held + fixed as f64 * (now - served.since).as_secs_f64())
    }

    /// A step is over.
    pub(crate) fn end(&mut self, step: StepId) {
        self.steps.remove(&step);
    }

    /// Takes what steps have given back, and what they have left lying where somebody else may want it. `waiting` says whether a step
    /// waits to be started.
    pub(crate) fn take_back(&mut self, waiting: bool, now: Instant) {
        for served in self.served() {
            served.count(now);
            served.cheats |= served.tokens.collect();
        }
        let asking = self.served().filter(|served| served.asks(now)).count();
        for served in self.served() {
            let unread = served.tokens.unread();
            if unread < served.lying {
                served.offered = (unread > 0).then_some(now);
            }
            served.lying = unread;
            let first = !(waiting && now - served.since < NEW);
            let long = served.offered.is_some_and(|offered| !first || now - offered >= MOMENT);
            // Whoever has something lying there is not among those who ask.
            if unread > 0 && (served.cheats || long && (waiting || asking > 0)) {
                served.tokens.withdraw();
                (served.lying, served.offered, served.declined) = (0, None, Some(now));
            }
        }
    }

    /// Lays free jobs there for running steps. `waiting` is the rank of the step that waits to be started, which gives way to those of
    /// higher rank alone.
    pub(crate) fn offer(&mut self, waiting: Option<u64>, now: Instant) {
        let mut free = self.free();
        let mut asking: Vec<&mut Holder> = self
            .steps
            .values_mut()
            .filter(|holder| {
                let first = |served: &Served| match waiting {
                    None => true,
                    Some(rank) => holder.rank > rank && now - served.since >= NEW,
                };
                holder.served.as_ref().is_some_and(|served| served.asks(now) && first(served))
            })
            .collect();
        asking.sort_by_key(|holder| std::cmp::Reverse(holder.rank));
        while free > 0 && !asking.is_empty() {
            asking.retain_mut(|holder| {
                let Some(served) = holder.served.as_mut().filter(|_| free > 0) else {
                    return false;
                };
                served.count(now);
                let went = served.tokens.offer();
                free -= usize::from(went);
                served.lying += usize::from(went);
                served.offered.get_or_insert(now);
                went
            });
        }
    }

    /// Sleeps until a step gives something back, `wake` becomes readable, or it is time to look at the running steps again.
    pub(crate) fn sleep(&self, wake: BorrowedFd<'_>, waiting: bool) {
        let served = || self.steps.values().filter_map(|holder| holder.served.as_ref());
        let lying = served().any(|served| served.tokens.unread() > 0);
        let limit = match lying {
            true if waiting => MOMENT,
            true if served().count() > 1 => LOOK,
            _ if self.free() > 0 && served().count() > 0 => LOOK,
            _ => IDLE,
        };
        // What a cheating step writes wakes nobody.
        let ends: Vec<_> =
            served().filter(|served| !served.cheats).map(|served| served.tokens.back()).collect();
        let mut sources = vec![PollFd::new(&wake, PollFlags::IN)];
        sources.extend(ends.iter().map(|end| PollFd::new(end, PollFlags::IN)));
        let _ = poll(&mut sources, Timespec::try_from(limit).ok().as_ref());
    }

    fn served(&mut self) -> impl Iterator<Item = &mut Served> {
        self.steps.values_mut().filter_map(|holder| holder.served.as_mut())
    }
}

impl Holder {
    fn jobs(&self) -> usize {
        self.fixed + self.served.as_ref().map_or(0, |served| served.tokens.given())
    }
}

impl Served {
    /// Whether it may have a use for one more job: it took all that it was given.
    fn asks(&self, now: Instant) -> bool {
        let declined = self.declined.is_some_and(|declined| now - declined < AGAIN);
        !self.cheats && !declined && self.tokens.unread() == 0
    }

    fn count(&mut self, now: Instant) {
        self.held += self.tokens.given() as f64 * (now - self.counted).as_secs_f64();
        self.counted = now;
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    const A: StepId = StepId(1);
    const B: StepId = StepId(2);

    /// A budget with these steps, of which each has one job and takes more as it goes; their ends of the pipes, and when they began.
    fn budget(jobs: usize, ranks: &[(StepId, u64)]) -> (Budget, Vec<[OwnedFd; 2]>, Instant) {
        let mut budget = Budget::new(jobs, u64::MAX);
        let begun = Instant::now();
        let mut ends = Vec::new();
        for (step, rank) in ranks {
            let (tokens, theirs) = Tokens::new().unwrap();
            budget.start(*step, *rank, 1, 0);
            budget.serve(*step, tokens, begun);
            ends.push(theirs);
        }
        (budget, ends, begun)
    }

    fn take(ends: &[OwnedFd; 2]) {
        assert_eq!(rustix::io::read(&ends[0], &mut [0]), Ok(1));
    }

    fn give_back(ends: &[OwnedFd; 2]) {
        assert_eq!(rustix::io::write(&ends[1], b"+"), Ok(1));
    }

    fn jobs(budget: &Budget, step: StepId) -> usize {
        budget.steps[&step].jobs()
    }

    #[test]
    fn a_free_job_is_first_offered_where_most_work_comes_after() {
        let (mut budget, ends, begun) = budget(2, &[(A, 100)]);
        let now = begun + Duration::from_secs(1);
        assert!(!budget.gives_way(200, now) && budget.gives_way(50, now));
        budget.offer(Some(50), now);
        assert_eq!((budget.free(), jobs(&budget, A)), (0, 2));
        // It lies there, but not for long.
        budget.take_back(true, now + MOMENT / 2);
        assert!(budget.gives_way(50, now + MOMENT / 2));
        budget.take_back(true, now + MOMENT);
        assert_eq!(budget.free(), 1);
        assert!(!budget.gives_way(50, now + MOMENT));
        // Asked again later, it takes it, and keeps it.
        let now = now + MOMENT + AGAIN;
        assert!(budget.gives_way(50, now));
        budget.offer(Some(50), now);
        take(&ends[0]);
        budget.take_back(true, now + MOMENT);
        assert_eq!((budget.free(), jobs(&budget, A)), (0, 2));
        give_back(&ends[0]);
        budget.take_back(true, now + MOMENT);
        assert_eq!((budget.free(), jobs(&budget, A)), (1, 1));
    }

    #[test]
    fn a_step_that_has_just_begun_does_not_keep_others_from_starting() {
        let (mut budget, _ends, begun) = budget(2, &[(A, 100)]);
        assert!(!budget.gives_way(50, begun + NEW / 2));
        budget.offer(Some(50), begun + NEW / 2);
        assert_eq!(budget.free(), 1);
        // Where nobody waits it gets what there is, for as long as nobody does.
        budget.offer(None, begun + NEW / 2);
        assert_eq!(jobs(&budget, A), 2);
        budget.take_back(false, begun + NEW / 2);
        assert_eq!(jobs(&budget, A), 2);
        budget.take_back(true, begun + NEW / 2);
        assert_eq!(jobs(&budget, A), 1);
    }

    #[test]
    fn what_one_step_leaves_lying_goes_to_another() {
        let (mut budget, ends, begun) = budget(6, &[(A, 100), (B, 50)]);
        budget.offer(None, begun);
        assert_eq!((jobs(&budget, A), jobs(&budget, B)), (3, 3));
        for _ in 0..2 {
            take(&ends[1]);
        }
        budget.take_back(false, begun + MOMENT);
        assert_eq!((jobs(&budget, A), jobs(&budget, B)), (1, 3));
        budget.offer(None, begun + MOMENT);
        assert_eq!((jobs(&budget, A), jobs(&budget, B)), (1, 5));
        // Nobody else asks: what lies there stays.
        budget.take_back(false, begun + 2 * MOMENT);
        assert_eq!(jobs(&budget, B), 5);
    }

    #[test]
    fn a_step_that_cheats_gets_nothing_more_and_gives_nothing_that_it_had_not() {
        let (mut budget, ends, begun) = budget(4, &[(A, 100), (B, 50)]);
        budget.offer(None, begun);
        take(&ends[0]);
        for _ in 0..100 {
            give_back(&ends[0]);
        }
        budget.take_back(false, begun);
        assert_eq!((budget.free(), jobs(&budget, A), jobs(&budget, B)), (1, 1, 2));
        take(&ends[1]);
        budget.offer(None, begun);
        assert_eq!((jobs(&budget, A), jobs(&budget, B)), (1, 3));
    }

    #[test]
    fn what_a_step_had_comes_back_with_its_end() {
        let (mut budget, ends, begun) = budget(3, &[(A, 100)]);
        budget.offer(None, begun);
        take(&ends[0]);
        take(&ends[0]);
        assert_eq!((budget.free(), budget.running()), (0, 1));
        // Three jobs for two seconds.
        let held = budget.settle(A, begun + Duration::from_secs(2)).unwrap();
        assert!((5.9..6.1).contains(&held), "{held}");
        assert_eq!((budget.free(), budget.running()), (2, 1));
        budget.end(A);
        assert_eq!((budget.free(), budget.running()), (3, 0));
    }

    #[test]
    fn memory_is_shared_and_what_is_too_large_runs_alone() {
        let mut budget = Budget::new(8, 100);
        assert_eq!(budget.room(200), Room::Now);
        budget.start(A, 1, 1, 60);
        assert_eq!(
            [0, 40, 41, 200].map(|memory| budget.room(memory)),
            [Room::Now, Room::Now, Room::Later, Room::Alone]
        );
        budget.end(A);
        budget.start(B, 1, 1, 200);
        assert_eq!([0, 40].map(|memory| budget.room(memory)), [Room::Alone, Room::Alone]);
    }
}
