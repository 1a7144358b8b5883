//! The executor of this machine: orders become sandboxes on stacks of layers.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use osier_sandbox::{Isolation, Launcher, Mount, Root, Spec, Stdio};
use osier_store::{FileError, IoContext};

use crate::layer::SOURCE_DATE;
use crate::layer::copied::CopiedRoot;
use crate::plan::LONGEST_STRING;
use crate::run::error::BuildError;
use crate::run::executor::{Desk, DeskError, ExecuteError, Executed, Executor, Order};
use crate::run::watch::{Watch, end_of, record_log};

/// Runs orders in sandboxes on this machine.
#[derive(Debug)]
pub struct Local<'a> {
    launcher: &'a Launcher,
    isolation: Isolation,
}

impl<'a> Local<'a> {
    /// Runs them by this launcher, behind such walls.
    pub fn new(launcher: &'a Launcher, isolation: Isolation) -> Self {
        Self { launcher, isolation }
    }
}

impl Executor for Local<'_> {
    fn execute(&self, order: &Order, desk: &dyn Desk) -> Result<Executed, ExecuteError> {
        // A copied root is flat anyway.
        if order.flat && self.isolation == Isolation::Full {
            crate::layer::copied::flatten(&layers(order, desk), desk.upper())?;
        }
        let (command, stdin) = shell(&order.script)?;
        let Sandbox { spec, copied } = Sandbox::of(order, desk, self.isolation, command, false)?;
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .at("open", Path::new("a pipe"))?;
        let again = writer.try_clone().at("open", Path::new("a pipe"))?;
        let mut stdio =
            Stdio { stdin, stdout: Some(writer), stderr: Some(again), ..Stdio::default() };
        if order.served {
            stdio.jobserver = Some(desk.jobserver()?);
        }
        desk.store().clear(desk.log())?;
        let mut running = self.launcher.spawn(&spec, stdio).map_err(|error| {
            if error.is_folder() {
                ExecuteError::NoFolder(spec.folder.clone())
            } else {
                ExecuteError::Machine(format!("the sandbox could not be set up: {error}"))
            }
        })?;
        let killer = running.killer();
        desk.started(Box::new(move || killer.kill()));
        let mut watch = Watch::new(&mut running, order.limits.silence);
        let logged = record_log(reader, desk.log(), &mut watch);
        watch.wait_for_end();
        let silent = watch.silent;
        let exit = running.wait();
        let cpu = exit.as_ref().map_or(Duration::ZERO, |exit| exit.user + exit.system);
        desk.ended(cpu);
        let end = match (end_of(&exit, silent), exit) {
            (Some(end), _) => end,
            (None, Err(error)) => {
                return Err(ExecuteError::Machine(format!("the sandbox was lost: {error}")));
            }
            (None, Ok(_)) => return Err(ExecuteError::Machine("the sandbox was lost".into())),
        };
        logged?;
        match copied {
            Some(copied) => copied.take_changes(desk.upper())?,
            None => crate::layer::upper::take_from_overlay(desk.upper(), desk.scratch())?,
        }
        Ok(Executed { end, cpu })
    }
}

fn layers(order: &Order, desk: &dyn Desk) -> Vec<PathBuf> {
    order.layers.iter().map(|key| desk.layer(key)).collect()
}

/// The sandbox of an order on this machine.
pub(crate) struct Sandbox {
    pub(crate) spec: Spec,
    /// The root as a copy, of which the changes have to be taken afterwards; in the degraded mode only.
    pub(crate) copied: Option<CopiedRoot>,
}

impl Sandbox {
    /// Describes it, for running an order and for entering its step by hand alike.
    pub(crate) fn of(
        order: &Order,
        desk: &dyn Desk,
        isolation: Isolation,
        command: Vec<OsString>,
        by_hand: bool,
    ) -> Result<Self, DeskError> {
        let (store, scratch) = (desk.store(), desk.scratch());
        let area = |digest| store.area(digest, SOURCE_DATE.into()).map_err(BuildError::from);
        let mut lowers = layers(order, desk);
        if order.environment.is_some() {
            lowers.push(desk.environment()?);
        }
        let proto = order.proto.iter().map(|tree| area(&tree.digest));
        let proto = proto.collect::<Result<Vec<PathBuf>, _>>()?;
        let mut tools = Vec::with_capacity(order.tools.len());
        for (name, tree) in &order.tools {
            tools.push((format!("tools/{name}"), area(&tree.digest)?));
        }
        let files = files(order, desk)?;
        let (root, mounts, copied) = match isolation {
            Isolation::Full => {
                let work = scratch.join("work");
                fs::create_dir_all(&work).at("make", &work)?;
                let root = Root::Overlay { lowers, upper: desk.upper().to_path_buf(), work };
                let mut mounts = Vec::new();
                if !proto.is_empty() {
                    mounts.push(Mount::Layers { lowers: proto, target: "/proto".into() });
                }
                let files = files.map(|files| ("files".to_owned(), files));
                mounts.extend(tools.into_iter().chain(files).map(|(target, source)| {
                    let target = Path::new("/").join(target);
                    Mount::Bind { source, target, writable: false }
                }));
                (root, mounts, None)
            }
            Isolation::Degraded => {
                let path = scratch.join("root");
                fs::create_dir(&path).at("make", &path)?;
                // An overlay would show what is laid on top of an earlier run; here it has to be copied too.
                if order.goes_on {
                    lowers.insert(0, desk.upper().to_path_buf());
                }
                let mut copied = CopiedRoot::new(&path, &lowers)?;
                copied.put(&proto, "proto")?;
                for (place, folder) in &tools {
                    copied.put(std::slice::from_ref(folder), place)?;
                }
                copied.put(files.as_slice(), "files")?;
                copied.remember()?;
                (Root::Folder { path }, Vec::new(), Some(copied))
            }
        };
        let mut spec = Spec::new(root, command);
        spec.isolation = isolation;
        spec.mounts = mounts;
        let variables = order.environment_of(by_hand).into_iter();
        spec.environment = variables.map(|(name, value)| (name.into(), value.into())).collect();
        spec.folder.clone_from(&order.folder);
        spec.limits = order.limits.of_sandbox(by_hand);
        Ok(Self { spec, copied })
    }
}

/// Writes the files beside the recipe that the step sees into a folder of their own.
fn files(order: &Order, desk: &dyn Desk) -> Result<Option<PathBuf>, FileError> {
    if order.files.is_empty() {
        return Ok(None);
    }
    let files = desk.scratch().join("files");
    for file in &order.files {
        let place = files.join(&file.path);
        let parent = place.parent().unwrap_or(&files);
        fs::create_dir_all(parent).at("make", parent)?;
        fs::write(&place, desk.content(file)?).at("write", &place)?;
        if file.executable {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&place, mode).at("set the mode of", &place)?;
        }
    }
    Ok(Some(files))
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
