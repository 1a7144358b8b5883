//! A guest that is a shell script: a real process with real pipes, without a kernel.

use std::fs;
use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::emulator::{
    ConsoleEnds, Emulator, EmulatorError, Guest, GuestExit, GuestStatus, QemuCall,
};

/// Starts a shell instead of QEMU. The scripts are used in turn, the last one again and again.
/// In a script `$CHALLENGE` is the file that was given as initrd, and `$N` counts the starts.
pub(crate) struct ShellEmulator {
    scripts: Vec<String>,
    pub(crate) calls: Mutex<Vec<QemuCall>>,
    knows_cpu: bool,
}

impl ShellEmulator {
    pub(crate) fn new(scripts: &[&str]) -> ShellEmulator {
        ShellEmulator {
            scripts: scripts.iter().map(|s| (*s).to_owned()).collect(),
            calls: Mutex::new(Vec::new()),
            knows_cpu: true,
        }
    }

    pub(crate) fn without_cpu_time(mut self) -> ShellEmulator {
        self.knows_cpu = false;
        self
    }
}

fn failed(source: io::Error) -> EmulatorError {
    EmulatorError { program: "sh".to_owned(), source: source.into() }
}

impl Emulator for ShellEmulator {
    fn start(
        &self,
        call: &QemuCall,
        console: ConsoleEnds,
    ) -> Result<Box<dyn Guest>, EmulatorError> {
        let mut calls = self.calls.lock().unwrap();
        calls.push(call.clone());
        let number = calls.len();
        let script = self.scripts.get(number - 1).or(self.scripts.last()).unwrap();
        if script == "cannot start" {
            return Err(failed(io::Error::from(io::ErrorKind::NotFound)));
        }
        let file = |inside| call.files.iter().find(|file| file.inside == inside);
        let child = Command::new("sh")
            .args(["-c", script])
            .env("N", number.to_string())
            .env(
                "CHALLENGE",
                file("/boot/initrd").map_or("".as_ref(), |file| file.host.as_os_str()),
            )
            .stdin(Stdio::from(console.stdin))
            .stdout(Stdio::from(console.stdout))
            .stderr(Stdio::from(console.stderr))
            .spawn()
            .map_err(failed)?;
        Ok(Box::new(ShellGuest { child, exit: None, knows_cpu: self.knows_cpu }))
    }
}

struct ShellGuest {
    child: Child,
    exit: Option<GuestExit>,
    knows_cpu: bool,
}

impl Guest for ShellGuest {
    fn try_wait(&mut self, timeout: Duration) -> Result<Option<GuestExit>, EmulatorError> {
        use std::os::unix::process::ExitStatusExt;
        let deadline = Instant::now() + timeout;
        while self.exit.is_none() {
            if let Some(status) = self.child.try_wait().map_err(failed)? {
                let status = match status.code() {
                    Some(code) => GuestStatus::Code(code),
                    None => GuestStatus::Signal(status.signal().unwrap()),
                };
                self.exit = Some(GuestExit { status, cpu: Duration::from_millis(7) });
            } else if Instant::now() >= deadline {
                return Ok(None);
            } else {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(self.exit)
    }

    fn kill(&mut self) {
        drop(self.child.kill());
    }

    fn cpu_time(&self) -> Option<Duration> {
        if !self.knows_cpu {
            return None;
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 10))
    }
}

impl Drop for ShellGuest {
    fn drop(&mut self) {
        self.kill();
        drop(self.child.wait());
    }
}
