//! Running one step, and what becomes of its layer.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use osier_patch::PatchReport;
use osier_store::{Digest, FileError, IoContext, Key, LayerStack, Store, free_bytes};
use rustix::time::{ClockId, clock_gettime};

use crate::failure::{Failure, FailureCause, Log, Machine, warning, write_record};
use crate::graph::{Archive, Component, Patching, SourceEdit, SourceTree, Step, StepCheck, Work};
use crate::layer::edited::Difference;
use crate::layer::patching::Ground;
use crate::layer::reuse::ReuseCall;
use crate::layer::unpack::{Packed, UnpackError, unpack_source};
use crate::layer::{OUTPUT, SOURCE_DATE};
use crate::make::{Make, MakeError, MakePlace};
use crate::run::Engine;
use crate::run::error::BuildError;
use crate::run::executor::{Desk, DeskError, End, ExecuteError, Executed, Order, OrderFile, Stop};
use crate::run::news::{News, StepEnd, StepUse, Wire};
use crate::run::tokens::Tokens;

/// With fewer bytes of disk than these a step that finds no room has filled it.
const ALMOST_FULL: u64 = 64 << 20;

/// Everything about one step that is known when it is about to run.
pub(crate) struct StepCall<'a> {
    pub(crate) store: &'a Store,
    pub(crate) component: &'a Component,
    pub(crate) step: &'a Step,
    pub(crate) key: Key,
    /// The layers below, the topmost first.
    pub(crate) layers: Vec<PathBuf>,
    /// What is run of it.
    pub(crate) order: Order,
    /// Whether its `/tmp` is in memory.
    pub(crate) has_own_tmp: bool,
    /// Bytes of disk that it leaves free.
    pub(crate) reserve: u64,
    /// What it goes on from, where it does not start clean; `layers` has these layers on top.
    pub(crate) goes_on: Option<GoesOn<'a>>,
    /// The outputs of the needs, for what osier makes itself.
    pub(crate) needs: Vec<Digest>,
    /// The layers of scripts that an edit lies on.
    pub(crate) written: Vec<PathBuf>,
}

/// An earlier run that a step goes on from.
pub(crate) struct GoesOn<'a> {
    /// The earlier run's layers, the topmost first.
    pub(crate) on: Vec<Key>,
    /// What is laid on top of them.
    pub(crate) top: Top<'a>,
}

/// What is laid on top of an earlier run.
pub(crate) enum Top<'a> {
    /// Files of the step below.
    Files(ReuseCall<'a>),
    /// What a person has changed since.
    Edits(Vec<Difference>),
}

impl StepCall<'_> {
    pub(crate) fn failure(&self, cause: FailureCause) -> Failure {
        Failure::new(self.component, self.step, &self.key, cause)
    }

    /// Tells a full disk from other errors of the store.
    pub(crate) fn file(&self, error: &FileError) -> Box<Failure> {
        let message = error.to_string();
        Box::new(self.failure(if error.is_disk_full() {
            FailureCause::DiskFull { message }
        } else if error.is_too_long() {
            FailureCause::MissingOutput { message }
        } else {
            FailureCause::Machine { message }
        }))
    }

    /// Runs the step and puts its layer in place. The scheduler is told what becomes of its programs.
    pub(crate) fn run(&self, engine: &Engine<'_>, wire: &Wire) -> Result<StepUse, StepEnd> {
        let begun = Instant::now();
        let scratch =
            self.store.scratch("step").map_err(|error| StepEnd::Failed(self.file(&error)))?;
        let upper = scratch.path().join("upper");
        fs::create_dir(&upper)
            .at("make", &upper)
            .map_err(|error| StepEnd::Failed(self.file(&error)))?;
        let laid = match self.goes_on.as_ref().map(|goes_on| &goes_on.top) {
            None => Ok(()),
            Some(Top::Files(reuse)) => crate::layer::reuse::lay_on_top(reuse, &upper),
            Some(Top::Edits(changed)) => {
                crate::layer::edited::lay_on_top(changed, &self.layers, &upper)
            }
        };
        laid.map_err(|error| StepEnd::Failed(self.file(&error)))?;
        let mut patches = Vec::new();
        let cpu = match &self.step.work {
            Work::Unpack(source) => {
                let before = thread_processor_time();
                self.unpack(source, &upper)?;
                thread_processor_time().saturating_sub(before)
            }
            Work::Patch(patching) => match self.patch(patching, &upper) {
                Ok(reports) => {
                    patches = reports;
                    Duration::ZERO
                }
                Err(mut failure) => {
                    self.keep_failed(&upper, &mut failure);
                    return Err(StepEnd::Failed(failure));
                }
            },
            Work::Edit(edit) => {
                self.edit(edit, &upper)?;
                Duration::ZERO
            }
            Work::Make(make) => match self.make(&**make, &upper) {
                Ok(cpu) => cpu,
                // Nobody can enter it, where no step of its component runs a program.
                Err(StepEnd::Failed(mut failure)) => {
                    if !self.component.environment.packages.is_empty() {
                        self.keep_failed(&upper, &mut failure);
                    }
                    return Err(StepEnd::Failed(failure));
                }
                Err(end) => return Err(end),
            },
            Work::Script { .. } => match self.script(engine, wire, scratch.path(), &upper) {
                Ok(cpu) => cpu,
                Err(StepEnd::Failed(_)) if engine.interrupted.load(Ordering::Relaxed) => {
                    return Err(StepEnd::Interrupted);
                }
                Err(StepEnd::Failed(mut failure))
                    if !matches!(&self.goes_on, Some(GoesOn { top: Top::Files(_), .. })) =>
                {
                    let on = self.goes_on.as_ref().map(|goes_on| goes_on.on.as_slice());
                    failure.on = on.unwrap_or_default().iter().map(Key::to_string).collect();
                    self.keep_failed(&upper, &mut failure);
                    return Err(StepEnd::Failed(failure));
                }
                Err(end) => return Err(end),
            },
        };
        let on = self.goes_on.as_ref().map(|goes_on| goes_on.on.clone()).unwrap_or_default();
        let on = self.keep_layer(&upper, on).map_err(|error| StepEnd::Failed(self.file(&error)))?;
        // A log that cannot be read costs a warning, not the step.
        let log =
            self.order.served.then(|| Log::read(&self.store.log_path(&self.key)).ok()).flatten();
        let warning = log.as_ref().and_then(warning);
        Ok(StepUse { on, wall: begun.elapsed(), cpu, warning, patches })
    }

    /// Puts the layer in place; gives the layers that the one which is there now lies on.
    fn keep_layer(&self, upper: &Path, on: Vec<Key>) -> Result<Vec<Key>, FileError> {
        let label = format!("{}:{}", self.component.name, self.step.name);
        let on = self.store.put_layer(&self.key, upper, on, &label)?;
        // What failed under this key before is of no more use.
        let failed = self.store.failed_path(&self.key);
        if failed.exists() {
            osier_store::remove_tree(&failed)?;
        }
        Ok(on)
    }

    fn keep_failed(&self, upper: &Path, failure: &mut Failure) {
        let place = self.store.failed_path(&self.key);
        // At once out of the way, so that an old record never stands beside half a layer; and the new one comes when all of
        // the layer is on the disk.
        let kept = self
            .store
            .discard(&place)
            .and_then(|()| fs::create_dir_all(&place).at("make", &place))
            .and_then(|()| fs::rename(upper, place.join("upper")).at("rename", upper))
            .and_then(|()| self.store.flush());
        failure.layer_kept = kept.is_ok();
        // A record that cannot be written costs a line of `osier status`, not the report itself.
        let _ = write_record(&place, failure);
    }

    fn unpack(&self, source: &SourceTree, upper: &Path) -> Result<(), StepEnd> {
        let base = upper.join("build").join(&source.name);
        if let Some(folder) = &source.folder {
            let parent = upper.join("build");
            fs::create_dir_all(&parent)
                .at("make", &parent)
                .map_err(|error| StepEnd::Failed(self.file(&error)))?;
            self.store.lay_out(folder, &base, SOURCE_DATE.into()).map_err(BuildError::from)?;
        }
        // No source has a name that begins so.
        let beside = upper.join("build/.unpacked");
        for Archive { file, format, digest, into, strip, .. } in &source.archives {
            self.store
                .verify_blob(digest)
                .map_err(|error| StepEnd::from(BuildError::from(error)))?;
            let packed = Packed {
                file: &self.store.blob_path(digest),
                name: file,
                format: format.as_deref(),
                reserve: self.reserve,
            };
            unpack_source(&packed, *strip, &base.join(into), &beside).map_err(|error| {
                let message = error.to_string();
                let cause = match &error {
                    error if error.is_disk_full() => FailureCause::DiskFull { message },
                    UnpackError::File(_) => FailureCause::Machine { message },
                    _ => FailureCause::Source { message },
                };
                StepEnd::Failed(Box::new(self.failure(cause)))
            })?;
        }
        Ok(())
    }

    /// Puts the step's patches on the layers below. A conflict that is not waived is a failure, with all that did fit in `upper`.
    fn patch(&self, work: &Patching, upper: &Path) -> Result<Vec<PatchReport>, Box<Failure>> {
        let stack = LayerStack::new(self.layers.clone());
        let ground = Ground { store: self.store, key: &self.key, component: self.component };
        let reports = ground.patch(work, &stack, upper).map_err(|error| self.file(&error))?;
        if reports.iter().any(PatchReport::stops) {
            let mut failure = self.failure(FailureCause::Patches { patches: reports });
            failure.log = Some(self.store.log_path(&self.key));
            return Err(Box::new(failure));
        }
        Ok(reports)
    }

    /// Lays out what a person has changed, unless a script before has written the same files.
    fn edit(&self, edit: &SourceEdit, upper: &Path) -> Result<(), StepEnd> {
        let files = edit.written_by(&self.written);
        if !files.is_empty() {
            let cause = FailureCause::WrittenBefore { files };
            return Err(StepEnd::Failed(Box::new(self.failure(cause))));
        }
        let below = LayerStack::new(self.layers.clone());
        Ok(edit.lay_out(self.store, &below, upper).map_err(BuildError::from)?)
    }

    /// Makes a part of a product; gives the CPU time of this thread.
    fn make(&self, make: &dyn Make, upper: &Path) -> Result<Duration, StepEnd> {
        let before = thread_processor_time();
        let (build, output) = (upper.join("build"), upper.join(OUTPUT));
        for folder in [&build, &output] {
            let made = fs::create_dir(folder).at("make", folder);
            made.map_err(|error| StepEnd::Failed(self.file(&error)))?;
        }
        let place = MakePlace {
            store: self.store,
            needs: &self.needs,
            jobs: self.order.jobs,
            build: &build,
            output: &output,
        };
        let said = make.make(&place).map_err(|error| match error {
            MakeError::Wrong(wrong) => {
                let hint = wrong.hint.clone();
                let failure = self.failure(FailureCause::NotMade(wrong));
                StepEnd::Failed(Box::new(Failure { hint, ..failure }))
            }
            MakeError::Blob(error) => StepEnd::from(BuildError::from(error)),
            MakeError::File(error) => StepEnd::Failed(self.file(&error)),
        })?;
        let log = self.store.log_path(&self.key);
        let written = self.store.clear(&log).and_then(|()| fs::write(&log, said).at("write", &log));
        written.map_err(|error| StepEnd::Failed(self.file(&error)))?;
        Ok(thread_processor_time().saturating_sub(before))
    }

    /// Has the step's script run, and what came of it checked; gives the CPU time.
    fn script(
        &self,
        engine: &Engine<'_>,
        wire: &Wire,
        scratch: &Path,
        upper: &Path,
    ) -> Result<Duration, StepEnd> {
        let log = &self.store.log_path(&self.key);
        let desk = StepDesk { engine, call: self, wire: Some(wire), scratch, upper, log };
        let executor = engine.executor.as_deref();
        let nobody = || ExecuteError::Machine("there is no executor to run it".into());
        let executed = executor.ok_or_else(nobody).and_then(|it| it.execute(&self.order, &desk));
        let Executed { end, cpu } = executed.map_err(|error| self.not_executed(error))?;
        if let Some(cause) = self.cause_of(end) {
            let machine = Machine {
                disk_is_full: free_bytes(self.store.root()).is_ok_and(|free| free < ALMOST_FULL),
                has_own_tmp: self.has_own_tmp,
                processes: self.order.limits.processes,
            };
            return Err(StepEnd::Failed(Box::new(self.failure(cause).diagnosed(log, &machine))));
        }
        self.check(engine.checks, upper, log).map_err(StepEnd::Failed)?;
        Ok(cpu)
    }

    fn not_executed(&self, error: ExecuteError) -> StepEnd {
        StepEnd::Failed(match error {
            ExecuteError::Desk(DeskError::Build(error)) => return error.into(),
            ExecuteError::Desk(DeskError::File(error)) => self.file(&error),
            ExecuteError::NoFolder(folder) => {
                let folder = folder.display().to_string();
                Box::new(self.failure(FailureCause::NoFolder { folder }))
            }
            ExecuteError::Machine(message) => {
                Box::new(self.failure(FailureCause::Machine { message }))
            }
        })
    }

    /// Says why a step that has ended has no result; nothing where it has one.
    fn cause_of(&self, end: End) -> Option<FailureCause> {
        let limits = &self.order.limits;
        Some(match end {
            End::Code(0) => return None,
            End::Code(code) => FailureCause::Exit { code },
            End::Signal(signal) => FailureCause::Signal { signal },
            End::LeftProcesses(names) => FailureCause::LeftProcesses { names },
            End::OutOfMemory => FailureCause::OutOfMemory { limit: limits.memory },
            End::TooManyProcesses => FailureCause::TooManyProcesses { limit: limits.processes },
            End::Silent => {
                let silence = limits.silence.unwrap_or_default();
                FailureCause::Silent { minutes: silence.as_secs() / 60 }
            }
        })
    }

    /// Checks what a step that ended well has left.
    fn check(
        &self,
        checks: &[&dyn StepCheck],
        upper: &Path,
        log: &Path,
    ) -> Result<(), Box<Failure>> {
        let fail = |cause| Box::new(self.failure(cause));
        let file = |error: FileError| self.file(&error);
        let output = upper.join(OUTPUT);
        if fs::symlink_metadata(&output).is_ok_and(|found| found.is_dir()) {
            osier_store::unlock(&output).map_err(file)?;
        }
        let mut stack = vec![upper.to_path_buf()];
        stack.extend(self.layers.iter().cloned());
        let stack = LayerStack::new(stack);
        for check in &self.step.checks {
            let Some(known) = checks.iter().find(|known| known.name() == check.name) else {
                let message = format!("there is no check named `{}`", check.name);
                return Err(fail(FailureCause::Machine { message }));
            };
            let cause = match known.run(check, self.component, &stack) {
                Ok(findings) if findings.is_empty() => continue,
                Ok(findings) => FailureCause::Check { findings },
                Err(error) => FailureCause::Unchecked { message: error.to_string() },
            };
            let mut failure = fail(cause);
            failure.log = Some(log.to_path_buf());
            return Err(failure);
        }
        Ok(())
    }
}

/// The engine's desk for the order of one step.
pub(crate) struct StepDesk<'a> {
    pub(crate) engine: &'a Engine<'a>,
    pub(crate) call: &'a StepCall<'a>,
    /// The way to the scheduler; nothing where a person enters the step.
    pub(crate) wire: Option<&'a Wire>,
    pub(crate) scratch: &'a Path,
    pub(crate) upper: &'a Path,
    pub(crate) log: &'a Path,
}

impl StepDesk<'_> {
    fn tell(&self, news: News) {
        if let Some(wire) = self.wire {
            wire.send(news);
        }
    }
}

impl Desk for StepDesk<'_> {
    fn store(&self) -> &Store {
        self.engine.store
    }

    fn scratch(&self) -> &Path {
        self.scratch
    }

    fn upper(&self) -> &Path {
        self.upper
    }

    fn log(&self) -> &Path {
        self.log
    }

    fn layer(&self, key: &Key) -> PathBuf {
        self.engine.place(key)
    }

    fn environment(&self) -> Result<PathBuf, BuildError> {
        self.engine.root(&self.call.component.environment)
    }

    fn content(&self, file: &OrderFile) -> Result<Arc<[u8]>, FileError> {
        let known = self.call.component.files.iter().find(|known| known.path == file.path);
        let content = known.map(|known| Arc::clone(&known.content));
        content
            .ok_or(std::io::Error::from(std::io::ErrorKind::NotFound))
            .at("read", Path::new(&file.path))
    }

    fn started(&self, stop: Stop) {
        self.tell(News::Runs(stop));
    }

    fn jobserver(&self) -> Result<[OwnedFd; 2], FileError> {
        let (tokens, ends) = Tokens::new().at("open", Path::new("a pipe"))?;
        self.tell(News::Serve(tokens));
        Ok(ends)
    }

    fn ended(&self, cpu: Duration) {
        self.tell(News::Quiet(cpu));
    }
}

fn thread_processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
