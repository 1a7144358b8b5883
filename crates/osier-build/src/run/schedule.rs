//! The scheduler: one thread owns all state and the jobs, workers run steps, what they report arrives on one channel.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::Scope;
use std::time::{Duration, Instant};

use osier_recipe::Jobs;
use osier_store::{Digest, IoContext, Key};
use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{ClockId, clock_gettime};

use crate::graph::{ComponentId, Graph, StepId, Work};
use crate::key::outputs_key;
use crate::run::budget::{Budget, Room};
use crate::run::error::BuildError;
use crate::run::executor::Stop;
use crate::run::news::{Ended, News, StepEnd, StepUse, Wire};
use crate::run::outlook::Outlook;
use crate::run::state::{State, index};
use crate::run::times::Time;
use crate::run::{Engine, Results};
use crate::{Event, Failure};

/// One attempt at a build.
struct Run<'e, 'g> {
    engine: &'e Engine<'e>,
    graph: &'g Graph,
    state: State<'g>,
    /// The steps that can start as far as other steps are concerned, in the order of their ranks.
    queue: BTreeSet<(Reverse<u64>, StepId)>,
    ranks: Vec<u64>,
    outlook: Outlook,
    budget: Budget,
    /// The keys of the steps that run: another step with the same key waits for the one layer.
    running: BTreeSet<Key>,
    stops: BTreeMap<StepId, Stop>,
    failures: Vec<Failure>,
    fatal: Option<BuildError>,
    steps_run: usize,
    /// The CPU time of all programs that steps have run.
    cpu: Duration,
    sender: mpsc::Sender<(StepId, News)>,
    wake: Arc<OwnedFd>,
}

impl Engine<'_> {
    /// Builds what is not built; stops at the first failure, unless it is to go on.
    pub(crate) fn attempt(&self, graph: &Graph) -> Result<Results, BuildError> {
        let mut state = State::looking(graph);
        let look = self.store.look()?;
        for position in 0..graph.components.len() {
            state.take_up(self, ComponentId(index(position)));
        }
        look.hold(std::mem::take(&mut state.found))?;
        self.tell_damages();
        let done = state.results.iter().flatten().count();
        let components = graph.components.len();
        (self.events)(Event::Planned { components, done });
        if done == components {
            return Ok(collect(state));
        }
        let outlook = Outlook::new(&state, self.settings.jobs, self.store);
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .at("open", std::path::Path::new("an event descriptor"))?;
        let (sender, inbox) = mpsc::channel();
        let mut run = Run {
            engine: self,
            graph,
            state,
            queue: BTreeSet::new(),
            ranks: outlook.ranks(graph),
            outlook,
            budget: Budget::new(self.settings.jobs, self.settings.memory),
            running: BTreeSet::new(),
            stops: BTreeMap::new(),
            failures: Vec::new(),
            fatal: None,
            steps_run: 0,
            cpu: Duration::ZERO,
            sender,
            wake: Arc::new(wake),
        };
        let (begun, own) = (Instant::now(), own_cpu_time());
        std::thread::scope(|scope| run.go(scope, &inbox));
        run.sum_up(begun.elapsed(), own_cpu_time().saturating_sub(own));
        // Where the disk is full this fails as well, and what a step says of it comes first.
        let synced = self.store.sync();
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        if let Some(error) = run.fatal {
            return Err(error);
        }
        if !run.failures.is_empty() {
            return Err(BuildError::Failed(run.failures));
        }
        synced?;
        Ok(collect(run.state))
    }
}

impl<'e, 'g> Run<'e, 'g> {
    fn go<'s>(&mut self, scope: &'s Scope<'s, '_>, inbox: &mpsc::Receiver<(StepId, News)>)
    where
        'e: 's,
        'g: 's,
    {
        loop {
            let waiting = self.start(scope);
            if self.budget.running() == 0 {
                return;
            }
            if let Some(event) = self.outlook.news(&self.state) {
                (self.engine.events)(event);
            }
            self.budget.offer(waiting, Instant::now());
            self.budget.sleep(self.wake.as_fd(), waiting.is_some());
            let _ = rustix::io::read(&*self.wake, &mut [0_u8; 8]);
            while let Ok((step, news)) = inbox.try_recv() {
                self.hear(step, news);
            }
            if self.engine.interrupted.load(Ordering::Relaxed) {
                self.stops.values().for_each(|stop| stop());
            }
            self.budget.take_back(waiting.is_some(), Instant::now());
        }
    }

    /// Starts what there is room for. Gives the rank of the next step where nothing but jobs are missing for it.
    fn start<'s>(&mut self, scope: &'s Scope<'s, '_>) -> Option<u64>
    where
        'e: 's,
        'g: 's,
    {
        loop {
            let settings = &self.engine.settings;
            let stop = self.engine.interrupted.load(Ordering::Relaxed)
                || self.fatal.is_some()
                || !self.failures.is_empty() && !settings.keep_going;
            if stop {
                return None;
            }
            let ready = std::mem::take(&mut self.state.ready);
            self.queue.extend(ready.into_iter().map(|id| (Reverse(self.ranks[id.0 as usize]), id)));
            let (rank, id) = self.next()?;
            self.budget.take_back(true, Instant::now());
            if self.budget.free() == 0 || self.budget.gives_way(rank, Instant::now()) {
                return Some(rank);
            }
            self.queue.remove(&(Reverse(rank), id));
            self.state.find_layer(self.engine, id);
            let Some(mut job) = self.state.job(self.engine, id) else {
                self.state.release(id);
                continue;
            };
            let free = osier_store::free_bytes(self.engine.store.root()).unwrap_or(u64::MAX);
            if job.run && free < settings.reserve {
                self.fatal = Some(BuildError::NoSpace { free, reserve: settings.reserve });
                return None;
            }
            let mut fixed = 1;
            job.jobs = match job.step.work {
                Work::Script { jobs: Jobs::Jobserver, .. } => settings.jobs.max(1),
                Work::Script { jobs: Jobs::Share, .. } | Work::Make(_) if job.run => {
                    fixed = self.share(settings.jobs);
                    fixed
                }
                _ => 1,
            };
            if job.run {
                self.running.insert(job.key);
                self.tell_start(id);
            }
            self.budget.start(id, rank, fixed, self.memory(id));
            let (engine, sender, wake) = (self.engine, self.sender.clone(), Arc::clone(&self.wake));
            scope.spawn(move || {
                let wire = Wire { step: id, sender, wake };
                let result = engine.work(&job, &wire);
                wire.send(News::Done(result));
            });
        }
    }

    /// Finds the step of the highest rank that there is memory for.
    ///
    /// Those that need memory keep their order, so that the turn of a large one comes.
    fn next(&self) -> Option<(u64, StepId)> {
        let mut one_waits = false;
        for (Reverse(rank), id) in &self.queue {
            let position = id.0 as usize;
            if self.state.layers[position].is_none()
                && self.state.keys[position].is_some_and(|key| self.running.contains(&key))
            {
                continue;
            }
            let memory = self.memory(*id);
            match self.budget.room(memory) {
                Room::Now if memory == 0 || !one_waits => return Some((*rank, *id)),
                Room::Now | Room::Later => one_waits = true,
                Room::Alone => return None,
            }
        }
        None
    }

    /// The bytes of memory that a step has to have.
    fn memory(&self, id: StepId) -> u64 {
        match self.graph.step(id).work {
            // Where its layer is there just its output is taken.
            Work::Script { memory, .. } if self.state.layers[id.0 as usize].is_none() => {
                memory.unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// How many jobs a step gets that cannot take them as it goes: as many as it would get if those that run and wait had equal parts.
    fn share(&self, jobs: usize) -> usize {
        let steps = self.budget.running() + self.queue.len() + 1;
        jobs.div_ceil(steps).clamp(1, self.budget.free().max(1))
    }

    fn tell_start(&mut self, id: StepId) {
        let step = self.graph.step(id);
        let component = &self.graph.component(step.component).name;
        let expected = Time::of(self.engine.store, &self.graph.label(id)).map(|time| time.wall);
        let (component, name) = (component.clone(), step.name.clone());
        (self.engine.events)(Event::StepStarted { component, step: name, expected });
        let (needs, has) = (self.memory(id), self.engine.settings.memory);
        if needs > has {
            let (needs, has) = (needs >> 20, has >> 20);
            self.warn(
                id,
                format!(
                    "needs {needs} MiB of memory, says its recipe, but there are only {has} MiB: it runs alone"
                ),
            );
        }
        self.outlook.started(id);
    }

    fn warn(&self, id: StepId, message: String) {
        let step = self.graph.step(id);
        let component = self.graph.component(step.component).name.clone();
        (self.engine.events)(Event::StepWarned { component, step: step.name.clone(), message });
    }

    fn hear(&mut self, step: StepId, news: News) {
        match news {
            News::Runs(stop) => {
                self.stops.insert(step, stop);
            }
            News::Serve(tokens) => self.budget.serve(step, tokens, Instant::now()),
            News::Quiet(cpu) => {
                self.stops.remove(&step);
                self.cpu += cpu;
                let held = self.budget.settle(step, Instant::now());
                if let Some(held) = held.filter(|held| overused(*held, cpu.as_secs_f64())) {
                    let message = format!(
                        "used {:.0} CPU seconds but was granted {held:.0}: a program ignores the jobserver; give the step \
                         `jobs = \"share\"` and pass that program $JOBS",
                        cpu.as_secs_f64()
                    );
                    self.warn(step, message);
                }
            }
            News::Done(result) => self.done(step, result),
        }
    }

    fn done(&mut self, id: StepId, result: Result<Ended, StepEnd>) {
        self.budget.end(id);
        self.stops.remove(&id);
        if let Some(key) = &self.state.keys[id.0 as usize] {
            self.running.remove(key);
        }
        self.outlook.ended(id);
        match result {
            Ok((used, outputs)) => {
                if let Some(used) = used {
                    self.ran(id, &used);
                }
                self.state.release(id);
                if let Some(outputs) = outputs
                    && let Err(error) = self.finish(id, outputs)
                {
                    self.fatal = Some(error);
                }
            }
            Err(StepEnd::Interrupted) => {}
            Err(StepEnd::Fatal(error)) => self.fatal = Some(*error),
            Err(StepEnd::Failed(failure)) => {
                (self.engine.events)(Event::StepFailed { failure: failure.clone() });
                self.failures.push(*failure);
            }
        }
    }

    /// A step has run: its layer is there.
    fn ran(&mut self, id: StepId, used: &StepUse) {
        let step = self.graph.step(id);
        let key = self.state.keys[id.0 as usize].expect("a step that ran is keyed");
        let layers = std::iter::once(key).chain(used.on.iter().copied());
        self.state.layers[id.0 as usize] = Some(layers.collect());
        self.state.ran[step.component.0 as usize] = true;
        self.steps_run += 1;
        // At once, so that a build that is killed leaves them to the next one.
        if let Err(error) =
            Time::record(self.engine.store, &self.graph.label(id), used.wall, used.cpu)
        {
            self.fatal = Some(error.into());
        }
        let component = self.graph.component(step.component).name.clone();
        if let Some(warning) = used.warning {
            self.warn(id, warning.to_owned());
        }
        if !used.patches.is_empty() {
            (self.engine.events)(Event::StepPatched {
                component: component.clone(),
                step: step.name.clone(),
                patches: used.patches.clone(),
            });
        }
        (self.engine.events)(Event::StepFinished {
            component,
            step: step.name.clone(),
            seconds: used.wall.as_secs_f64(),
            cpu: used.cpu.as_secs_f64(),
        });
    }

    /// The last step of a component has ended well.
    fn finish(&mut self, id: StepId, outputs: Vec<(String, Digest)>) -> Result<(), BuildError> {
        let chain = self.graph.chain(id);
        let by_hand = chain.iter().any(|step| self.engine.hand_made.contains_key(step));
        let reused = self.state.is_reused(id);
        let component = self.graph.step(id).component;
        let last = self.state.keys[id.0 as usize].expect("a step that ran is keyed");
        let key = outputs_key(self.graph.component(component), &last);
        if !by_hand {
            self.engine.record_outputs(&self.state, component, key, &outputs, reused)?;
        }
        let look = self.engine.store.look()?;
        self.state.finish(self.engine, component, key, outputs, reused);
        Ok(look.hold(std::mem::take(&mut self.state.found))?)
    }

    /// Tells how busy the processors were. `own` is what osier itself used meanwhile, for unpacking and hashing.
    fn sum_up(&self, wall: Duration, own: Duration) {
        if self.steps_run == 0 {
            return;
        }
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        let processors = all.min(self.engine.settings.jobs.max(1));
        let (seconds, cpu) = (wall.as_secs_f64(), (self.cpu + own).as_secs_f64());
        (self.engine.events)(Event::StepsEnded {
            steps: self.steps_run,
            seconds,
            cpu,
            processors,
            utilisation: cpu / (processors as f64 * seconds.max(1e-3)),
        });
    }
}

/// Says whether a step that had so many seconds of jobs cannot have kept to them: by half as much again, and not just for moments.
fn overused(held: f64, cpu: f64) -> bool {
    cpu > 1.5 * held && cpu - held > 10.0
}

/// The CPU time of this process, without what it has started.
fn own_cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

fn collect(state: State<'_>) -> Results {
    let results = state.results.into_iter().enumerate();
    results.filter_map(|(position, result)| Some((ComponentId(index(position)), result?))).collect()
}

#[cfg(test)]
mod tests {
    use super::overused;

    #[test]
    fn only_a_lot_more_than_was_given_is_too_much() {
        // A pipe runs two programs in one job, for a while; a make that does as it likes goes on.
        assert!(!overused(5.0, 10.0) && !overused(100.0, 140.0));
        assert!(overused(20.0, 40.0));
    }
}
