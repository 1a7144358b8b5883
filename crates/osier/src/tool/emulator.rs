//! QEMU from pinned packages, run in the sandbox.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use osier_boot::{ConsoleEnds, Emulator, EmulatorError, Guest, GuestExit, GuestStatus, QemuCall};
use osier_sandbox::{Launcher, Mount, Running, Status, Stdio};
use osier_store::{Scratch, Store};

use crate::tool::tool_spec;

/// Starts QEMU in the root that its packages were unpacked to.
pub(crate) struct SandboxedQemu<'a> {
    pub(crate) launcher: &'a Launcher,
    pub(crate) store: &'a Store,
    pub(crate) root: PathBuf,
}

struct SandboxedGuest {
    running: Running,
    exit: Option<GuestExit>,
    _scratch: Scratch,
}

impl Emulator for SandboxedQemu<'_> {
    fn start(
        &self,
        call: &QemuCall,
        console: ConsoleEnds,
    ) -> Result<Box<dyn Guest>, EmulatorError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| EmulatorError {
            program: call.program.clone(),
            source,
        };
        let scratch = self.store.scratch("qemu").map_err(|error| failed(error.into()))?;
        let mut command = vec![OsString::from(&call.program)];
        command.extend(call.arguments.iter().cloned());
        let mut spec =
            tool_spec(&self.root, &scratch, command).map_err(|error| failed(error.into()))?;
        for file in &call.files {
            let source = std::path::absolute(&file.host).map_err(|error| failed(error.into()))?;
            spec.mounts.push(Mount::Bind {
                source,
                target: file.inside.clone().into(),
                writable: file.writable,
            });
        }
        if call.needs_kvm {
            spec.devices.push("/dev/kvm".into());
        }
        let ConsoleEnds { stdin, stdout, stderr } = console;
        let (stdin, stdout, stderr) = (Some(stdin), Some(stdout), Some(stderr));
        let stdio = Stdio { stdin, stdout, stderr, ..Stdio::default() };
        let running = self.launcher.spawn(&spec, stdio).map_err(|error| failed(error.into()))?;
        Ok(Box::new(SandboxedGuest { running, exit: None, _scratch: scratch }))
    }
}

impl Guest for SandboxedGuest {
    fn try_wait(&mut self, timeout: Duration) -> Result<Option<GuestExit>, EmulatorError> {
        if self.exit.is_none() {
            let ended = self.running.wait_timeout(timeout);
            let ended = ended
                .map_err(|error| EmulatorError { program: "qemu".into(), source: error.into() })?;
            self.exit = ended.map(|exit| GuestExit {
                status: match exit.status {
                    Status::Code(code) => GuestStatus::Code(code),
                    Status::Signal(signal) => GuestStatus::Signal(signal),
                },
                cpu: exit.user + exit.system,
            });
        }
        Ok(self.exit)
    }

    fn kill(&mut self) {
        self.running.kill();
    }

    fn cpu_time(&self) -> Option<Duration> {
        if let Some(exit) = self.exit {
            return Some(exit.cpu);
        }
        // The sandbox's first process only waits; QEMU is its child.
        let first = self.running.id();
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).ok()?;
        let ticks: u64 = children
            .split_whitespace()
            .filter_map(|child| ticks(Path::new("/proc").join(child).join("stat")))
            .sum();
        Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)))
    }
}

/// Reads the user and system time of a process, in clock ticks.
fn ticks(stat: PathBuf) -> Option<u64> {
    let text = fs::read_to_string(stat).ok()?;
    // The second field is the program's name in brackets and may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}
