//! A root to run steps in, and a launcher to run them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use osier_sandbox::{Exit, Launcher, Root, Running, SpawnError, Spec, Status, Stdio};
use tempfile::TempDir;

/// Longer than any step here takes on a loaded machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A scratch folder with one layer that holds the test programs, and a launcher.
pub(crate) struct Host {
    scratch: TempDir,
    pub(crate) launcher: Launcher,
}

/// What a step did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host::with(Launcher::start().unwrap())
    }

    pub(crate) fn with(launcher: Launcher) -> Host {
        let host = Host { scratch: tempfile::tempdir().unwrap(), launcher };
        for folder in ["layer/bin", "layer/proc", "layer/dev", "layer/tmp", "upper", "work"] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        for program in ["step", "hostile"] {
            fs::hard_link(programs().join(program), host.path("layer/bin").join(program)).unwrap();
        }
        host
    }

    /// A path in the scratch folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Makes a file in the scratch folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Puts a program into the layer. By another process: a file that this one had open for writing could be busy when it is executed,
    /// as every fork of a parallel test holds it open for a moment.
    pub(crate) fn install(&self, name: &str, bytes: &[u8], mode: u32) {
        let source = self.path("to-install");
        fs::write(&source, bytes).unwrap();
        let mut install = Command::new("install");
        install.arg("-m").arg(format!("{mode:o}")).arg(source).arg(self.path("layer").join(name));
        assert!(install.status().unwrap().success());
    }

    /// The layer below, `upper` above it.
    pub(crate) fn overlay(&self) -> Root {
        Root::Overlay {
            lowers: vec![self.path("layer")],
            upper: self.path("upper"),
            work: self.path("work"),
        }
    }

    /// A spec that runs one of the test programs on [`Host::overlay`].
    pub(crate) fn spec(&self, command: &[&str]) -> Spec {
        let mut spec = Spec::new(self.overlay(), command.iter().map(OsString::from).collect());
        spec.environment = vec![("PATH".into(), "/bin".into())];
        spec
    }

    pub(crate) fn spawn(&self, spec: &Spec) -> Running {
        self.launcher.spawn(spec, Stdio::default()).unwrap()
    }

    pub(crate) fn run(&self, spec: &Spec) -> Done {
        self.try_run(spec).unwrap_or_else(|error| panic!("{error} {error:?}"))
    }

    pub(crate) fn try_run(&self, spec: &Spec) -> Result<Done, SpawnError> {
        let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let stdio = Stdio {
            stdout: Some(out.try_clone().unwrap().into()),
            stderr: Some(err.try_clone().unwrap().into()),
            ..Stdio::default()
        };
        let mut running = self.launcher.spawn(spec, stdio)?;
        let exit = running.wait_timeout(LONG).unwrap().expect("the step ends");
        Ok(Done { exit, out: read(&mut out), err: read(&mut err) })
    }

    /// Runs `step` with these arguments; it must do well and leave nothing behind.
    pub(crate) fn step(&self, arguments: &[&str]) -> String {
        let command: Vec<&str> = ["step"].iter().chain(arguments).copied().collect();
        let done = self.run(&self.spec(&command));
        done.expect_success();
        done.out
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Overlayfs leaves a folder without any permission in each work folder, which an ordinary user can remove but not look into.
        for entry in fs::read_dir(self.scratch.path()).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(entry.path().join("work"));
        }
    }
}

impl Done {
    pub(crate) fn expect_success(&self) {
        assert_eq!(self.exit.status, Status::Code(0), "{self:?}");
        assert_eq!(self.exit.left_behind, Vec::<String>::new());
    }
}

fn read(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

static PROGRAMS: OnceLock<TempDir> = OnceLock::new();

extern "C" fn remove_programs() {
    if let Some(folder) = PROGRAMS.get() {
        let _ = fs::remove_dir_all(folder.path());
    }
}

/// The folder with the compiled test programs.
fn programs() -> &'static Path {
    PROGRAMS
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            // SAFETY: the function touches nothing that the end of the program takes down before.
            unsafe { libc::atexit(remove_programs) };
            for (name, text) in [
                ("step", include_str!("../hostile/step.c")),
                ("hostile", include_str!("../hostile/hostile.c")),
            ] {
                let source = folder.path().join(format!("{name}.c"));
                fs::write(&source, text).unwrap();
                let output = Command::new("cc")
                    .args(["-static", "-O1", "-Wall", "-pthread", "-o"])
                    .arg(folder.path().join(name))
                    .arg(&source)
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
            folder
        })
        .path()
}
