//! Programs that osier itself runs from pinned packages, in the sandbox.

pub(crate) mod emulator;
pub(crate) mod terminal;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use osier_sandbox::{Launcher, Mount, Root, Spec, Status, Stdio};
use osier_store::{FileError, IoContext, Scratch, Store};

use crate::report::problem::{Code, Outcome, Problem};
use crate::signals::{INTERRUPTED, Looking, interrupted};

/// How many of a failed tool's last lines are shown.
const LAST_LINES: usize = 8;

/// Says what a tool needs to run in the root that its packages were unpacked to.
///
/// An upper layer of its own, in `scratch`, takes the mount points and what the tool writes, so
/// that the packages' root stays as it is.
pub(crate) fn tool_spec(
    root: &Path,
    scratch: &Scratch,
    command: Vec<OsString>,
) -> Result<Spec, FileError> {
    let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
    for folder in [&upper, &work] {
        fs::create_dir_all(folder).at("make", folder)?;
    }
    let mut spec =
        Spec::new(Root::Overlay { lowers: vec![root.to_path_buf()], upper, work }, command);
    spec.environment = vec![
        ("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ("LC_ALL".into(), "C".into()),
        ("HOME".into(), "/tmp".into()),
    ];
    Ok(spec)
}

/// A tool that works on the files of one folder of the host.
pub(crate) struct Bench<'a> {
    pub(crate) launcher: &'a Launcher,
    pub(crate) store: &'a Store,
    /// The root that the tool's packages were unpacked to.
    pub(crate) root: PathBuf,
    /// The folder that the tool sees, and may write to.
    pub(crate) folder: &'a Path,
    /// Where it sees that folder.
    pub(crate) inside: &'static str,
    /// The time that the tool takes for now, in seconds since 1970.
    pub(crate) time: u32,
}

impl Bench<'_> {
    /// Runs one command to its end; what it says is shown when it fails.
    pub(crate) fn run(&self, words: &[String]) -> Outcome<()> {
        let scratch = self.store.scratch("tool")?;
        let command = words.iter().map(OsString::from).collect();
        let mut spec = tool_spec(&self.root, &scratch, command)?;
        spec.environment.push(("SOURCE_DATE_EPOCH".into(), self.time.to_string().into()));
        spec.folder = self.inside.into();
        spec.mounts.push(Mount::Bind {
            source: self.folder.to_path_buf(),
            target: self.inside.into(),
            writable: true,
        });
        let log = scratch.path().join("log");
        let said = File::create(&log).at("make", &log)?;
        let more = said.try_clone().at("open", &log)?;
        let nothing = File::open("/dev/null").at("open", Path::new("/dev/null"))?;
        let stdio = Stdio {
            stdin: Some(nothing.into()),
            stdout: Some(said.into()),
            stderr: Some(more.into()),
            ..Stdio::default()
        };
        let sandbox = |error: &dyn std::error::Error| {
            Problem::of(Code::NoSandbox, crate::report::problem::chain(error))
        };
        let _looking = Looking::begin();
        let mut running = self.launcher.spawn(&spec, stdio).map_err(|error| sandbox(&error))?;
        let exit = loop {
            let ended = running.wait_timeout(Duration::from_millis(100));
            if let Some(exit) = ended.map_err(|error| sandbox(&error))? {
                break exit;
            }
            if INTERRUPTED.load(std::sync::atomic::Ordering::Relaxed) {
                running.kill();
                return Err(interrupted());
            }
        };
        let how = match exit.status {
            Status::Code(0) => return Ok(()),
            Status::Code(code) => format!("ended with exit status {code}"),
            Status::Signal(signal) => format!("was killed by signal {signal}"),
        };
        let program = words.first().map_or("", String::as_str);
        let mut problem = Problem::of(Code::ImageFailed, format!("{program} {how}"));
        let said = String::from_utf8_lossy(&fs::read(&log).at("read", &log)?).into_owned();
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
            problem.body.push_str(&format!("    | {line}\n"));
        }
        Err(problem)
    }
}
