//! Running one step: its root and mounts, its log, and what becomes of its layer.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use osier_patch::PatchReport;
use osier_recipe::Jobs;
use osier_sandbox::{Isolation, JOBSERVER, Launcher, Mount, Root, SpawnError, Spec, Status, Stdio};
use osier_store::{FileError, IoContext, Key, LayerStack, Scratch, Store};
use rustix::time::{ClockId, clock_gettime};

use crate::copied::CopiedRoot;
use crate::edited::{Difference, SourceEdit};
use crate::failure::{Log, Machine, warning, write_record};
use crate::graph::{Archive, Component, SourceTree, Step, StepCheck, Work};
use crate::limits::Watch;
use crate::refused::LONGEST_STRING;
use crate::reuse::ReuseCall;
use crate::schedule::{News, Wire};
use crate::tokens::Tokens;
use crate::unpack::{Packed, UnpackError, unpack_source};
use crate::{BuildError, Failure, FailureCause};

/// The time that steps see as that of the sources, and that proto areas carry: 2020-01-01, seconds since 1970.
pub(crate) const SOURCE_DATE: i64 = 1_577_836_800;

/// The folder of a step's root that the installed output is taken from.
pub(crate) const OUTPUT: &str = "output";

/// Most bytes of one step's log; what comes later is dropped, but for the last part.
const LOG_LIMIT: u64 = 64 << 20;
const LOG_TAIL: usize = 256 << 10;

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
    /// The build environment; nothing for a step that runs no program.
    pub(crate) root: Option<PathBuf>,
    /// The folders of the proto area, the topmost first.
    pub(crate) proto: Vec<PathBuf>,
    /// The tools: name and folder.
    pub(crate) tools: Vec<(String, PathBuf)>,
    /// How many jobs it may use.
    pub(crate) jobs: usize,
    pub(crate) isolation: Isolation,
    /// Bytes of disk that it leaves free.
    pub(crate) reserve: u64,
    /// Bytes of memory of the whole machine.
    pub(crate) memory: u64,
    /// Processor time without a word, where the step does not say.
    pub(crate) silence: Duration,
    /// What it goes on from, where it does not start clean; `layers` has these layers on top.
    pub(crate) goes_on: Option<GoesOn<'a>>,
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

/// What a step that ended well used.
#[derive(Debug, Clone)]
pub(crate) struct StepUse {
    /// The layers of an earlier build that its own lies on, the topmost first.
    pub(crate) on: Vec<Key>,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// What a person should know of it, as the end of a sentence that begins with the step.
    pub(crate) warning: Option<&'static str>,
    /// What became of its patches.
    pub(crate) patches: Vec<PatchReport>,
}

/// Why a step has no result.
pub(crate) enum StepEnd {
    /// The step failed.
    Failed(Box<Failure>),
    /// The build cannot go on.
    Fatal(Box<BuildError>),
    /// The build was asked to stop.
    Interrupted,
}

impl From<BuildError> for StepEnd {
    fn from(error: BuildError) -> Self {
        Self::Fatal(Box::new(error))
    }
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
    pub(crate) fn run(
        &self,
        launcher: Option<&Launcher>,
        checks: &[&dyn StepCheck],
        wire: &Wire,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<StepUse, StepEnd> {
        let begun = Instant::now();
        let scratch =
            self.store.scratch("step").map_err(|error| StepEnd::Failed(self.file(&error)))?;
        let upper = scratch.path().join("upper");
        fs::create_dir(&upper)
            .at("make", &upper)
            .map_err(|error| StepEnd::Failed(self.file(&error)))?;
        let laid = match self.goes_on.as_ref().map(|goes_on| &goes_on.top) {
            None => Ok(()),
            Some(Top::Files(reuse)) => crate::reuse::lay_on_top(reuse, &upper),
            Some(Top::Edits(changed)) => crate::edited::lay_on_top(changed, &self.layers, &upper),
        };
        laid.map_err(|error| StepEnd::Failed(self.file(&error)))?;
        // A copied root is flat anyway.
        if self.is_flat() && self.isolation == Isolation::Full {
            crate::copied::flatten(&self.layers, &upper)
                .map_err(|error| StepEnd::Failed(self.file(&error)))?;
        }
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
            Work::Script { .. } => match self.script(launcher, checks, wire, &scratch, &upper) {
                Ok(cpu) => cpu,
                Err(_) if interrupted() => return Err(StepEnd::Interrupted),
                Err(failure)
                    if matches!(&self.goes_on, Some(GoesOn { top: Top::Files(_), .. })) =>
                {
                    return Err(StepEnd::Failed(failure));
                }
                Err(mut failure) => {
                    let on = self.goes_on.as_ref().map(|goes_on| goes_on.on.as_slice());
                    failure.on = on.unwrap_or_default().iter().map(Key::to_string).collect();
                    self.keep_failed(&upper, &mut failure);
                    return Err(StepEnd::Failed(failure));
                }
            },
        };
        let on = self.goes_on.as_ref().map(|goes_on| goes_on.on.clone()).unwrap_or_default();
        let on = self.keep_layer(&upper, on).map_err(|error| StepEnd::Failed(self.file(&error)))?;
        // A log that cannot be read costs a warning, not the step.
        let log = self.served().then(|| Log::read(&self.store.log_path(&self.key)).ok()).flatten();
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
            self.store.lay_out(folder, &base, SOURCE_DATE).map_err(BuildError::from)?;
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

    /// Describes the sandbox of this step, for running it and for entering it by hand alike.
    ///
    /// In the degraded mode the root is a copy, of which the changes have to be taken afterwards.
    pub(crate) fn spec(
        &self,
        scratch: &Path,
        upper: &Path,
        command: Vec<OsString>,
        by_hand: bool,
    ) -> Result<(Spec, Option<CopiedRoot>), FileError> {
        let mut lowers = self.layers.clone();
        lowers.extend(self.root.clone());
        let files = self.files(scratch)?;
        let (root, mounts, copied) = match self.isolation {
            Isolation::Full => {
                let work = scratch.join("work");
                fs::create_dir_all(&work).at("make", &work)?;
                let root = Root::Overlay { lowers, upper: upper.to_path_buf(), work };
                (root, self.mounts(files), None)
            }
            Isolation::Degraded => {
                let path = scratch.join("root");
                fs::create_dir(&path).at("make", &path)?;
                // An overlay would show what is laid on top of an earlier run; here it has to be copied too.
                if self.goes_on.is_some() {
                    lowers.insert(0, upper.to_path_buf());
                }
                let mut copied = CopiedRoot::new(&path, &lowers)?;
                copied.put(&self.proto, "proto")?;
                for (name, folder) in &self.tools {
                    copied.put(std::slice::from_ref(folder), &format!("tools/{name}"))?;
                }
                copied.put(files.as_slice(), "files")?;
                copied.remember()?;
                (Root::Folder { path }, Vec::new(), Some(copied))
            }
        };
        let mut spec = Spec::new(root, command);
        spec.isolation = self.isolation;
        spec.mounts = mounts;
        let path: String = self
            .tools
            .iter()
            .map(|(name, _)| format!("/tools/{name}/usr/bin:/tools/{name}/bin:"))
            .collect();
        let fixed = [
            ("PATH", format!("{path}/usr/sbin:/usr/bin:/sbin:/bin")),
            ("HOME", "/build".into()),
            ("USER", "root".into()),
            ("LOGNAME", "root".into()),
            ("SHELL", "/bin/sh".into()),
            ("LC_ALL", "C".into()),
            ("TZ", "UTC".into()),
            ("SOURCE_DATE_EPOCH", SOURCE_DATE.to_string()),
            ("OUTPUT", format!("/{OUTPUT}")),
            ("PROTO", "/proto".into()),
            ("FILES", "/files".into()),
        ];
        let fixed = fixed.into_iter().chain(self.job_variables(by_hand));
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value));
        let own = self.component.variables_of(self.step);
        let own = own.map(|(name, value)| (name.clone(), value.clone()));
        spec.environment =
            fixed.chain(own).map(|(name, value)| (name.into(), value.into())).collect();
        spec.folder = self.step.folder();
        spec.limits = self.sandbox_limits(by_hand);
        Ok((spec, copied))
    }

    /// Whether the step has all that the steps below left in its own layer.
    fn is_flat(&self) -> bool {
        matches!(self.step.work, Work::Script { flat: true, .. })
    }

    /// Whether the step takes jobs as it goes.
    fn served(&self) -> bool {
        matches!(self.step.work, Work::Script { jobs: Jobs::Jobserver, .. })
    }

    /// The variables by which programs know how many jobs they may run. Not in the key: how many that are must not change what comes out.
    ///
    /// A step that takes jobs as it goes has one for certain, and that is what programs are told which cannot take more. Somebody who
    /// enters such a step by hand has no jobserver.
    fn job_variables(&self, by_hand: bool) -> Vec<(&'static str, String)> {
        let served = self.served();
        let certain = if served && !by_hand { 1 } else { self.jobs };
        let mut flags = format!("-j{}", self.jobs);
        if served && !by_hand {
            let [from, to] = JOBSERVER;
            flags = format!("{flags} --jobserver-auth={from},{to}");
        }
        let mut variables = vec![
            ("MAKEFLAGS", flags),
            ("OMP_NUM_THREADS", certain.to_string()),
            ("GOMAXPROCS", certain.to_string()),
        ];
        // A number given to these would be a number given to make; without one both are make's jobserver's.
        if !served {
            variables.extend(
                ["JOBS", "CMAKE_BUILD_PARALLEL_LEVEL", "CARGO_BUILD_JOBS"]
                    .map(|name| (name, certain.to_string())),
            );
        }
        variables
    }

    /// What is mounted into the step's root.
    fn mounts(&self, files: Option<PathBuf>) -> Vec<Mount> {
        let mut mounts = Vec::new();
        if !self.proto.is_empty() {
            mounts.push(Mount::Layers { lowers: self.proto.clone(), target: "/proto".into() });
        }
        let tools =
            self.tools.iter().map(|(name, folder)| (folder.clone(), format!("/tools/{name}")));
        for (source, target) in tools.chain(files.map(|files| (files, "/files".to_owned()))) {
            mounts.push(Mount::Bind { source, target: target.into(), writable: false });
        }
        mounts
    }

    /// Writes the files beside the recipe that the step sees into a folder of their own.
    fn files(&self, scratch: &Path) -> Result<Option<PathBuf>, FileError> {
        if self.component.files_of(self.step).next().is_some() {
            let files = scratch.join("files");
            for file in self.component.files_of(self.step) {
                let place = files.join(&file.path);
                let parent = place.parent().unwrap_or(&files);
                fs::create_dir_all(parent).at("make", parent)?;
                fs::write(&place, &file.content).at("write", &place)?;
                if file.executable {
                    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                    fs::set_permissions(&place, mode).at("set the mode of", &place)?;
                }
            }
            return Ok(Some(files));
        }
        Ok(None)
    }

    fn script(
        &self,
        launcher: Option<&Launcher>,
        checks: &[&dyn StepCheck],
        wire: &Wire,
        scratch: &Scratch,
        upper: &Path,
    ) -> Result<Duration, Box<Failure>> {
        let Work::Script { text, .. } = &self.step.work else { return Ok(Duration::ZERO) };
        let fail = |cause| Box::new(self.failure(cause));
        let file = |error: FileError| self.file(&error);
        let (command, stdin) = shell(text).map_err(file)?;
        let (spec, copied) = self.spec(scratch.path(), upper, command, false).map_err(file)?;
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .at("open", Path::new("a pipe"))
            .map_err(file)?;
        let again = writer.try_clone().at("open", Path::new("a pipe")).map_err(file)?;
        let mut stdio =
            Stdio { stdin, stdout: Some(writer), stderr: Some(again), ..Stdio::default() };
        if self.served() {
            let (tokens, ends) = Tokens::new().at("open", Path::new("a pipe")).map_err(file)?;
            stdio.jobserver = Some(ends);
            wire.send(News::Serve(tokens));
        }
        let log = self.store.log_path(&self.key);
        self.store.clear(&log).map_err(file)?;
        let spawned = launcher.ok_or(SpawnError::LauncherGone);
        let mut running = spawned.and_then(|it| it.spawn(&spec, stdio)).map_err(|error| {
            fail(if error.is_folder() {
                FailureCause::NoFolder { folder: spec.folder.display().to_string() }
            } else {
                let message = format!("the sandbox could not be set up: {error}");
                FailureCause::Machine { message }
            })
        })?;
        wire.send(News::Runs(running.killer()));
        let mut watch = Watch::new(&mut running, self.limits().silence);
        let logged = record_log(reader, &log, &mut watch);
        watch.wait_for_end();
        let silent = watch.silent;
        let exit = running.wait();
        let cpu = exit.as_ref().map_or(Duration::ZERO, |exit| exit.user + exit.system);
        wire.send(News::Quiet(cpu));
        let reached = self.reached(&exit, silent);
        let ended = match exit {
            Ok(exit) => Some(exit),
            Err(_) if reached.is_some() => None,
            Err(error) => {
                let message = format!("the sandbox was lost: {error}");
                return Err(fail(FailureCause::Machine { message }));
            }
        };
        logged.map_err(file)?;
        let taken = match copied {
            Some(copied) => copied.take_changes(upper),
            None => crate::upper::take_from_overlay(upper, scratch.path()),
        };
        taken.map_err(file)?;
        if let Some(cause) = reached.or_else(|| ended.and_then(how_it_failed)) {
            let machine = Machine {
                disk_is_full: free_bytes(self.store.root()) < ALMOST_FULL,
                has_own_tmp: self.isolation == Isolation::Full,
                processes: self.limits().processes,
            };
            return Err(Box::new(self.failure(cause).diagnosed(&log, &machine)));
        }
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
            let findings = known.run(check, self.component, &stack);
            if !findings.is_empty() {
                let mut failure = fail(FailureCause::Check { findings });
                failure.log = Some(log);
                return Err(failure);
            }
        }
        Ok(cpu)
    }
}

/// Says why a step that has ended has no result; nothing where it has one.
fn how_it_failed(exit: osier_sandbox::Exit) -> Option<FailureCause> {
    match exit.status {
        Status::Code(0) if !exit.left_behind.is_empty() => {
            Some(FailureCause::LeftProcesses { names: exit.left_behind })
        }
        Status::Code(0) => None,
        Status::Code(code) => Some(FailureCause::Exit { code }),
        Status::Signal(signal) => Some(FailureCause::Signal { signal }),
    }
}

/// Gives the command that runs a script, and its standard input, which is `/dev/null` where nothing is given.
///
/// A script that is longer than an argument may be is read from there first.
fn shell(text: &str) -> Result<(Vec<OsString>, Option<OwnedFd>), FileError> {
    if text.len() < LONGEST_STRING {
        return Ok((["/bin/sh", "-euxc", text].map(OsString::from).to_vec(), None));
    }
    let read =
        "osier_script=$(cat); exec </dev/null; eval \"unset osier_script; set -x; $osier_script\"";
    let command = ["/bin/sh", "-euc", read].map(OsString::from).to_vec();
    let name = Path::new("a script in memory");
    let script =
        rustix::fs::memfd_create("script", rustix::fs::MemfdFlags::CLOEXEC).at("make", name)?;
    let mut script = File::from(script);
    script.write_all(text.as_bytes()).at("write", name)?;
    script.rewind().at("read", name)?;
    Ok((command, Some(script.into())))
}

fn thread_processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Gives the bytes that an ordinary user can still write at a place; all there are if that is unknown.
pub(crate) fn free_bytes(place: &Path) -> u64 {
    rustix::fs::statvfs(place).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Copies a step's console into its log, which starts to exist with the first byte.
///
/// A step that prints without end does not fill the disk: past a limit only the last part is kept.
fn record_log(reader: OwnedFd, log: &Path, watch: &mut Watch<'_>) -> Result<(), FileError> {
    let mut reader = File::from(reader);
    // An older log of the same key must not be taken for this one's.
    match fs::remove_file(log) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).at("remove", log)?;
        }
        _ => {}
    }
    let mut file: Option<File> = None;
    let mut written = 0u64;
    let mut tail: Vec<u8> = Vec::new();
    let mut dropped = 0u64;
    let mut buffer = vec![0u8; 64 << 10];
    let mut failed = None;
    loop {
        watch.wait_for_word(&reader);
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if failed.is_some() {
            // The step must not block on a full pipe because the log could not be written.
            continue;
        }
        if written < LOG_LIMIT {
            let result = match &mut file {
                Some(file) => file.write_all(&buffer[..count]),
                None => File::create(log).and_then(|mut new| {
                    new.write_all(&buffer[..count])?;
                    file = Some(new);
                    Ok(())
                }),
            };
            failed = result.at("write", log).err();
            written += count as u64;
        } else {
            tail.extend_from_slice(&buffer[..count]);
            if tail.len() > 2 * LOG_TAIL {
                let cut = tail.len() - LOG_TAIL;
                dropped += cut as u64;
                tail.drain(..cut);
            }
        }
    }
    if let (Some(file), false) = (&mut file, tail.is_empty()) {
        let note = format!("\n[osier: {dropped} bytes of this log were left out]\n");
        file.write_all(note.as_bytes()).and_then(|()| file.write_all(&tail)).at("write", log)?;
    }
    failed.map_or(Ok(()), Err)
}
