//! One boot plan from start to report.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Serialize;

use crate::board::Accelerator;
use crate::challenge::Challenge;
use crate::classify::classify;
use crate::console::Console;
use crate::emulator::{ConsoleEnds, Emulator, QemuCall};
use crate::machine::{Machine, MachineError, Payload};
use crate::machine_end;
use crate::plan::{BootEvent, BootPlan, rounded};
use crate::playing::Playing;
use crate::script::{Action, BootScript, GuestEnding, ScriptError};
use crate::verdict::{Diagnosis, Observation, Outcome, Verdict};

/// What became of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BootReport {
    /// Whether everything went as the script says: each boot booted, or panicked if it was to.
    pub passed: bool,
    /// The diagnosis of the first boot that went wrong, else of the last one.
    pub diagnosis: Diagnosis,
    /// The machine.
    pub machine: Machine,
    /// What ran its instructions.
    pub accelerator: Accelerator,
    /// The boots in order, tried ones included; none follows one that went wrong.
    pub boots: Vec<BootRecord>,
}

/// One start of QEMU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BootRecord {
    /// Counted from 1; a boot that was tried twice has two records.
    pub boot: usize,
    /// What became of it.
    pub diagnosis: Diagnosis,
    /// Seconds from QEMU's start to its end.
    pub seconds: f64,
    /// CPU seconds of QEMU, user and system.
    pub cpu_seconds: f64,
    /// The kernel's command line.
    pub command_line: String,
    /// QEMU's program and arguments; the value of the boot is left out.
    pub qemu: Vec<String>,
    /// The console as it was, byte for byte.
    pub serial_log: PathBuf,
    /// Why the log is not complete, if it is not.
    pub log_error: Option<String>,
}

/// A plan that could not be played at all.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The machine cannot be emulated.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The script cannot be played.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The initramfs with the challenge could not be made.
    #[error("cannot make the initrd of the boot: {0}")]
    Initrd(#[source] io::Error),
    /// The files of the disks could not be made.
    #[error("cannot make the disks of the boot: {0}")]
    Disks(#[source] io::Error),
    /// The console log could not be created.
    #[error("cannot write {path}: {source}")]
    Log {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel of the host refused a pipe, a thread or random bytes.
    #[error("cannot {what}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Plays `plan` and reports; QEMU has ended when this returns, however it returns.
///
/// A boot that fails is a report, not an error. A boot that fails by the translator's known
/// timer fault is tried once more.
///
/// # Errors
///
/// The plan could not be played: a wrong machine or script, or this host gave no files or pipes.
pub fn boot(
    plan: &BootPlan<'_>,
    emulator: &dyn Emulator,
    events: &dyn Fn(BootEvent<'_>),
) -> Result<BootReport, BootError> {
    plan.script.check()?;
    plan.machine.check()?;
    for script in &plan.script.boots {
        plan.machine.without(&script.without)?;
    }
    fs::create_dir_all(&plan.folder)
        .map_err(|source| BootError::Log { path: plan.folder.clone(), source })?;
    let mut boots: Vec<BootRecord> = Vec::new();
    let mut passed = true;
    for (number, script) in (1..).zip(&plan.script.boots) {
        let mut record = boot_once(plan, number, script, false, emulator, events)?;
        if record.diagnosis.verdict == Verdict::TimerFlake {
            events(BootEvent::Retrying);
            boots.push(record);
            record = boot_once(plan, number, script, true, emulator, events)?;
        }
        passed = record.diagnosis.verdict.is_booted() || panicked_as_asked(script, &record);
        boots.push(record);
        if !passed {
            break;
        }
    }
    let diagnosis = boots.last().expect("a checked script has a boot").diagnosis.clone();
    Ok(BootReport {
        passed,
        diagnosis,
        machine: plan.machine.clone(),
        accelerator: plan.accelerator,
        boots,
    })
}

/// A script whose last action is a panic asks for one; that the panic came is in the verdict.
fn panicked_as_asked(script: &BootScript, record: &BootRecord) -> bool {
    let asked = matches!(script.actions.last(), Some(Action::End { how: GuestEnding::Panic, .. }));
    let panics = |line: &String| line.contains("Kernel panic - not syncing");
    asked && record.diagnosis.evidence.iter().any(panics)
}

fn boot_once(
    plan: &BootPlan<'_>,
    number: usize,
    script: &BootScript,
    again: bool,
    emulator: &dyn Emulator,
    events: &dyn Fn(BootEvent<'_>),
) -> Result<BootRecord, BootError> {
    let challenge = Challenge::fresh()
        .map_err(|errno| BootError::Host { what: "draw random bytes", source: errno.into() })?;
    let (mut call, command_line) = prepare(plan, &script.without, &challenge)?;
    call.arguments.extend(machine_end::arguments().map(Into::into));
    let log = plan.folder.join(log_name(number, again));
    let (ends, ours) =
        pipes().map_err(|source| BootError::Host { what: "make the console's pipes", source })?;

    let proof = challenge.proof();
    let started = Instant::now();
    let console = Console::read(ours.stdout, ours.stderr, &log, &proof)
        .map_err(|source| BootError::Log { path: log.clone(), source })?;
    let (mut cpu, mut by_itself) = (Duration::ZERO, false);
    let outcome = match emulator.start(&call, ends) {
        Err(error) => Outcome::EmulatorFailed { message: error.to_string() },
        Ok(guest) => {
            events(BootEvent::Started { boot: number, log: &log });
            let mut playing = Playing::new(plan, guest, console.clone(), ours.stdin);
            let outcome = match playing.play(script, started, events) {
                Ok(()) => Outcome::Done,
                Err(outcome) => outcome,
            };
            by_itself = playing.has_ended();
            cpu = playing.stop();
            outcome
        }
    };
    let seconds = rounded(started.elapsed());
    let record = console.record();
    let (console_text, behind) = record.text();
    let proved = record.proved.map(|(when, _)| when.duration_since(started));
    let (messages, end) = record.said();
    let diagnosis = classify(&Observation {
        console: &console_text,
        messages: &messages,
        end: end.filter(|_| by_itself),
        outcome,
        proved,
        proof: &proof,
        behind: behind.unwrap_or(0),
    });
    let log_error = record.log_error.clone();
    drop(record);
    events(BootEvent::Ended { diagnosis: &diagnosis });
    let hidden = |text: &std::ffi::OsString| {
        text.to_string_lossy().replace(challenge.value(), "(the value of this boot)")
    };
    let qemu = std::iter::once(call.program.clone()).chain(call.arguments.iter().map(hidden));
    Ok(BootRecord {
        boot: number,
        diagnosis,
        seconds,
        cpu_seconds: rounded(cpu),
        command_line,
        qemu: qemu.collect(),
        serial_log: log,
        log_error,
    })
}

/// QEMU's call and the kernel's command line for one start.
pub(crate) fn prepare(
    plan: &BootPlan<'_>,
    without: &[String],
    challenge: &Challenge,
) -> Result<(QemuCall, String), BootError> {
    let initrd = match plan.initrd {
        Some(combine) => Some(combine(challenge).map_err(BootError::Initrd)?),
        None => None,
    };
    if let Some(renew) = plan.renew_disks {
        renew().map_err(BootError::Disks)?;
    }
    let command_line = match plan.kernel {
        Some(_) => plan.machine.command_line(&plan.append, plan.accelerator),
        None => plan.append.clone(),
    };
    let payload = Payload {
        kernel: plan.kernel.as_deref(),
        initrd: initrd.as_deref(),
        command_line: &command_line,
        challenge: initrd.is_none().then_some(challenge),
    };
    let call = plan.machine.without(without)?.call(plan.accelerator, &payload)?;
    Ok((call, command_line))
}

fn log_name(number: usize, again: bool) -> String {
    let number = if number == 1 { String::new() } else { format!("-{number}") };
    let again = if again { "-again" } else { "" };
    format!("serial{number}{again}.log")
}

/// Our ends of the three pipes.
pub(crate) struct OurEnds {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Three pipes; our writing end does not block, so that a guest that does not read stops nobody.
pub(crate) fn pipes() -> io::Result<(ConsoleEnds, OurEnds)> {
    let (their_stdin, our_stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let (our_stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (our_stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&our_stdin, fcntl_getfl(&our_stdin)? | OFlags::NONBLOCK)?;
    Ok((
        ConsoleEnds { stdin: their_stdin, stdout: their_stdout, stderr: their_stderr },
        OurEnds { stdin: our_stdin, stdout: our_stdout, stderr: our_stderr },
    ))
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
