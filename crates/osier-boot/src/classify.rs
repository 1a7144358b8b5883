//! From console text to a diagnosis. The kernel texts are those of Linux 5.10 to 6.12
//! (`init/main.c`, `init/do_mounts.c`, `init/initramfs.c`, `kernel/exit.c`, `io_apic.c`).

use crate::emulator::GuestStatus;
use crate::kernel_lines::{Lines, Voice};
use crate::script::GuestEnding;
use crate::verdict::{Diagnosis, Observation, Outcome, RootFault, Verdict};

/// The last line of a kernel that panicked and stays, or has halted: nothing comes after it.
const STANDS_STILL: &[&str] = &["---[ end Kernel panic - not syncing", "reboot: System halted"];

/// What a shell says that the kernel has started as process 1; it waits for a person, for ever.
const FALLEN_BACK: &[&str] =
    &["can't access tty; job control turned off", "no job control in this shell"];

/// What QEMU says when KVM cannot go on; QEMU itself then stands still.
pub(crate) const KVM_BROKEN: &[&str] = &["KVM internal error", "kvm run failed"];

/// Words with which the kernel refuses an init.
pub(crate) const REFUSALS: &[&str] = &[FAILED_TO_EXECUTE, NOT_EXECUTED];

const PANIC: &str = "Kernel panic - not syncing: ";
const FAILED_TO_EXECUTE: &str = "Failed to execute ";
const STARTING: &str = "Starting init: ";
const NOT_EXECUTED: &str = "exists but couldn't execute it (error ";
const NO_INIT_FOUND: &str = "No working init found";
const UNPACK: &str = "Initramfs unpacking failed: ";
const NO_ROOT: &str = "VFS: Unable to mount root fs";
const COMMAND_LINE: &str = "Kernel command line: ";
const WAITING: &str = "Waiting for root device";
const OPEN_ROOT: &str = "Cannot open root device \"";

/// Words of the kernel about a fault that it survives, or dies of a little later.
const FAULTS: &[&str] =
    &["BUG: ", "Oops: ", "Unable to handle kernel", "general protection fault", "Out of memory"];

/// How many notes are kept.
const MOST_NOTES: usize = 5;

/// Whether waiting is useless once the console, or what is kept of its end, stays quiet; and how sure it is
/// that no program printed the line that says so. `refused` says that the kernel seems to have refused an init.
pub(crate) fn stands_still(console: &str, refused: bool) -> Option<Voice> {
    let lines = Lines::new(console, None);
    let mut last = lines.behind().rev().filter(|index| !lines.text(*index).trim().is_empty());
    let end = last.next()?;
    let has_fallen = |index: usize| FALLEN_BACK.iter().any(|text| lines.text(index).contains(text));
    if refused && (has_fallen(end) || last.next().is_some_and(has_fallen)) {
        return Some(Voice::Kernel);
    }
    STANDS_STILL
        .iter()
        .find_map(|words| lines.end_voice(end, words))
        .filter(|_| !lines.is_programs(end))
}

/// Draws the diagnosis from what was observed. Pure: the same observation gives the same words.
///
/// What QEMU did and whether the proof came are facts. A line of the console is none: any program can print it. So
/// only lines behind the proof count, where there is one; lines that have all that the kernel's have
/// come before others; and the others count only where nothing else explains how the guest ended.
pub fn classify(seen: &Observation<'_>) -> Diagnosis {
    let lines = Lines::new(seen.console, seen.proved.map(|_| seen.behind)).ended(seen.end);
    let found = qemu_fault(seen)
        .or_else(|| booted(seen))
        .or_else(|| init_could_not_run(seen, &lines))
        .or_else(|| panicked(seen, &lines))
        .unwrap_or_else(|| from_outcome(seen, &lines));
    let Found { verdict, evidence, cause, hint } = found;
    Diagnosis {
        code: verdict.code(),
        summary: verdict.to_string(),
        proved: seen.proved.is_some(),
        notes: notes(seen, &lines, &evidence),
        verdict,
        evidence,
        cause,
        hint,
    }
}

/// What stands out on the console and has made no verdict.
fn notes(seen: &Observation<'_>, lines: &Lines<'_>, evidence: &[String]) -> Vec<String> {
    let stands_out = |index: &usize| {
        let text = lines.text(*index);
        let of_start = || {
            refusal(text).is_some()
                || [PANIC, UNPACK, NO_ROOT].iter().any(|words| text.contains(words))
        };
        let is_fault = FAULTS.iter().any(|words| lines.voice(*index, words) == Some(Voice::Kernel));
        is_fault || of_start()
    };
    let shown = |place: &str, index: usize| {
        let text = lines.text(index).trim();
        let is_new = !evidence.iter().any(|line| line == text);
        is_new.then(|| format!("{place}: {text}"))
    };
    let (before, behind) = match seen.proved {
        Some(_) => ("before the proof", "after the proof"),
        None => ("", "on the console"),
    };
    let early = lines.before().filter(stands_out).filter_map(|index| shown(before, index));
    let late = lines.behind().filter(stands_out).filter_map(|index| shown(behind, index));
    early.chain(late).take(MOST_NOTES).collect()
}

struct Found {
    verdict: Verdict,
    evidence: Vec<String>,
    cause: String,
    hint: String,
}

impl Found {
    fn new(
        verdict: Verdict,
        evidence: &[&str],
        cause: impl Into<String>,
        hint: impl Into<String>,
    ) -> Found {
        let evidence = evidence.iter().map(|line| line.trim().to_owned()).collect();
        Found { verdict, evidence, cause: cause.into(), hint: hint.into() }
    }
}

fn qemu_fault(seen: &Observation<'_>) -> Option<Found> {
    let words = |found: &str| found.lines().next().unwrap_or("").trim().to_owned();
    let said = seen.messages.lines().find(|line| KVM_BROKEN.iter().any(|text| line.contains(text)));
    let (message, cause, hint) = match &seen.outcome {
        _ if said.is_some() => (
            words(said.unwrap_or("")),
            "this host's KVM does not run guests as real hardware does",
            "boot without KVM",
        ),
        Outcome::EmulatorFailed { message } => (
            message.clone(),
            "QEMU could not be started",
            "read the message; `osier doctor` tries QEMU by itself",
        ),
        Outcome::GuestEnded { status: GuestStatus::Code(code), .. }
            if *code != 0 && !seen.messages.trim().is_empty() =>
        {
            (
                words(seen.messages),
                "QEMU refused its arguments or a file, or gave up",
                "look at the machine's devices and extra arguments",
            )
        }
        Outcome::GuestEnded { status: GuestStatus::Signal(signal), .. } => (
            match words(seen.messages) {
                text if text.is_empty() => format!("killed by signal {signal}"),
                text => format!("killed by signal {signal}: {text}"),
            },
            "QEMU crashed, or something on this host killed it, for example for lack of memory",
            "try again; look at the host's kernel log",
        ),
        _ => return None,
    };
    let evidence: Vec<&str> = seen.messages.lines().take(5).collect();
    Some(Found::new(Verdict::EmulatorFailed { message }, &evidence, cause, hint))
}

fn booted(seen: &Observation<'_>) -> Option<Found> {
    let proved = seen.proved.filter(|_| seen.outcome == Outcome::Done)?;
    let boot_seconds = (proved.as_secs_f64() * 1000.0).round() / 1000.0;
    Some(Found::new(Verdict::Booted { boot_seconds }, &[seen.proof], "", ""))
}

/// The kernel's refusal to execute the init that it was told to execute.
fn init_could_not_run(seen: &Observation<'_>, lines: &Lines<'_>) -> Option<Found> {
    if seen.proved.is_some() {
        return None;
    }
    let is_refusal = |index: &usize| refusal(lines.text(*index)).is_some();
    let refused: Vec<usize> = lines.behind().filter(is_refusal).collect();
    let is_kernels = |index: &usize| {
        let voices = [FAILED_TO_EXECUTE, STARTING, PANIC].map(|words| lines.voice(*index, words));
        voices.contains(&Some(Voice::Kernel)) && lines.is_of_the_start(*index)
    };
    let gave_up = |line: &&str| line.contains(NO_INIT_FOUND) || refusal(line).is_some();
    let panic = the_panic(seen, lines).map(|index| lines.text(index));
    let no_init = panic.filter(gave_up);
    if no_init.is_none() && !refused.iter().any(is_kernels) && !is_unexplained(seen, lines) {
        return None;
    }
    let refusals: Vec<&str> = refused.iter().map(|index| lines.text(*index)).collect();
    let no_init = no_init.filter(|line| line.contains(NO_INIT_FOUND));
    let (path, errno) = match refusals.first().and_then(|line| refusal(line)) {
        Some((path, errno)) => (Some(path), Some(errno)),
        None => {
            no_init?;
            (None, None)
        }
    };
    let everything = refusals.iter().filter_map(|line| refusal(line)).all(|(_, e)| e == 8)
        && refusals.len() > 1
        && no_init.is_some();
    let unpack = lines.first(UNPACK);
    let (why, mut cause, hint) = init_errno(errno, everything);
    if unpack.is_some() {
        cause = "the initramfs is damaged, so that files are missing or cut short";
    }
    let mut evidence: Vec<&str> = unpack.into_iter().collect();
    evidence.extend(refusals.into_iter().take(3));
    evidence.extend(no_init);
    evidence.extend(lines.first("can't access tty; job control turned off"));
    let verdict = Verdict::InitCouldNotRun { path, errno, why: why.to_owned() };
    Some(Found::new(verdict, &evidence, cause, hint))
}

/// Path and error number in the three texts for a refused init.
fn refusal(line: &str) -> Option<(String, i32)> {
    let (path, rest) = if let Some((_, rest)) = line.split_once(FAILED_TO_EXECUTE) {
        rest.split_once(" (error ")?
    } else if let Some((before, rest)) = line.split_once(NOT_EXECUTED) {
        (before.split_once(STARTING)?.1, rest)
    } else {
        line.split_once("Requested init ")?.1.split_once(" failed (error ")?
    };
    let errno: i32 = rest.split(')').next()?.strip_prefix('-')?.parse().ok()?;
    Some((path.trim().to_owned(), errno))
}

fn init_errno(errno: Option<i32>, everything: bool) -> (&'static str, &'static str, &'static str) {
    match errno {
        Some(8) if everything => (
            "the kernel cannot execute programs of this kind (error 8, ENOEXEC)",
            "every program was refused: the kernel is built without BINFMT_ELF, or is a 32-bit kernel (64BIT off) for 64-bit programs, or the programs are for another architecture",
            "compare the kernel's BINFMT_ELF and 64BIT with the ELF class and machine of init",
        ),
        Some(8) => (
            "not in a format that this kernel executes (error 8, ENOEXEC)",
            "an ELF for another architecture, a 32-bit one without IA32_EMULATION, a script on a kernel without BINFMT_SCRIPT, a script without its #! line, or an empty file",
            "look at the first bytes of init, and at the kernel's BINFMT_SCRIPT and IA32_EMULATION",
        ),
        Some(2) => (
            "the file, or the interpreter that it names, does not exist (error 2, ENOENT)",
            "the dynamic loader (PT_INTERP) or the program in the #! line is not in the image; a script with CR line ends names an interpreter that ends in a CR",
            "put the interpreter into the manifest, link init statically, or remove the carriage returns",
        ),
        Some(13) => (
            "it is not executable (error 13, EACCES)",
            "the file's mode has no x bit, or it is not a regular file",
            "give init mode 755 in the manifest",
        ),
        Some(40) => (
            "its symbolic links form a loop (error 40, ELOOP)",
            "a symbolic link points to itself",
            "look at the links on the path of init",
        ),
        Some(26) => (
            "its file is not complete (error 26, ETXTBSY)",
            "the initramfs ends in the middle of this file, so that the kernel still holds it open for writing",
            "write the image again; look at the size of the initramfs",
        ),
        Some(12) => (
            "there is not enough memory for it (error 12, ENOMEM)",
            "the machine has too little memory for the initramfs and its programs",
            "give the machine more memory",
        ),
        Some(_) => (
            "the kernel refused it (the number is in errno(3))",
            "the program file is damaged, or of a kind that this kernel does not know",
            "look at the program with readelf or at its first line",
        ),
        None => (
            "there is none",
            "the root file system has no /sbin/init, /etc/init, /bin/init or /bin/sh",
            "deliver an init in the manifest, or name one with init=",
        ),
    }
}

/// The panic that the guest ended with, the last one: the kernel's, or what looks like one where nothing else explains the end.
fn the_panic(seen: &Observation<'_>, lines: &Lines<'_>) -> Option<usize> {
    let (ending, voice) = lines.ending()?;
    let is_panic = |index: &usize| {
        let text = lines.text(*index);
        text.contains(PANIC) && !text.contains("---[ end ")
    };
    let is_kernels = |index: &usize| {
        lines.voice(*index, PANIC) == Some(Voice::Kernel) && lines.is_last_word(*index)
    };
    match (ending, voice) {
        (GuestEnding::Panic, Voice::Kernel) => {
            lines.behind().rfind(|index| is_panic(index) && is_kernels(index))
        }
        (GuestEnding::Panic, Voice::Unknown) if has_ended(seen) => lines.behind().rfind(is_panic),
        _ => None,
    }
}

/// Whether the guest has ended, or stands still for ever.
fn has_ended(seen: &Observation<'_>) -> bool {
    match seen.outcome {
        Outcome::Done
        | Outcome::GuestEnded { .. }
        | Outcome::OtherEnd { .. }
        | Outcome::Settled { .. } => true,
        Outcome::TimedOut { .. }
        | Outcome::NoProgress { .. }
        | Outcome::TooMuchOutput
        | Outcome::EmulatorFailed { .. } => false,
    }
}

/// Whether the guest has ended so, and the kernel has not said why.
fn is_unexplained(seen: &Observation<'_>, lines: &Lines<'_>) -> bool {
    has_ended(seen) && lines.ending().is_none()
}

fn panicked(seen: &Observation<'_>, lines: &Lines<'_>) -> Option<Found> {
    let index = the_panic(seen, lines)?;
    let panic = lines.text(index);
    let before: Vec<&str> = (lines.behind().start..index).map(|index| lines.text(index)).collect();
    let (_, reason) = panic.split_once(PANIC)?;
    let is_early = seen.proved.is_none();
    if is_early && reason.contains("IO-APIC + timer doesn't work") {
        return Some(Found::new(
            Verdict::TimerFlake,
            &[panic],
            "QEMU's emulation did not deliver timer ticks in time to a kernel that tests for them",
            "try again; `no_timer_check` on the command line switches the test off",
        ));
    }
    if let Some((_, code)) = reason.split_once("Attempted to kill init! exitcode=0x") {
        let digits = code.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or("");
        let code = i32::from_str_radix(digits, 16).unwrap_or(0);
        return Some(init_ended(code, &before, panic));
    }
    if is_early && reason.contains(NO_ROOT) {
        return Some(no_root(lines, panic));
    }
    let is_fault = |line: &&str| FAULTS.iter().any(|words| line.contains(words));
    let mut evidence: Vec<&str> = before.iter().copied().find(is_fault).into_iter().collect();
    evidence.push(panic);
    let memory = reason.contains("memory");
    Some(Found::new(
        Verdict::KernelPanic { line: format!("{}{}", PANIC, reason.trim()) },
        &evidence,
        if memory {
            "the machine has too little memory for this kernel and initramfs"
        } else {
            "the kernel met an error that it cannot recover from"
        },
        if memory {
            "give the machine more memory"
        } else {
            "look at the console log above the panic"
        },
    ))
}

/// `status` as wait(2) has it: the signal in the low seven bits, the exit code above the low byte.
fn init_ended(status: i32, before: &[&str], panic: &str) -> Found {
    let signal = (status & 0x7f != 0).then_some(status & 0x7f);
    let exit_code = signal.is_none().then_some((status >> 8) & 0xff);
    let segfault = before.iter().rev().copied().find(|line| {
        line.contains("[1]: segfault at")
            || line.contains("[1]: unhandled")
            || line.contains("traps: ")
    });
    let last = before.iter().rev().copied().find(|line| !line.trim().is_empty());
    let mut evidence: Vec<&str> = segfault.or(last).into_iter().collect();
    evidence.push(panic);
    let (cause, hint) = match (exit_code, signal) {
        (Some(127), _) => (
            "init, a command of its script or a shared library was not found",
            "look at the line before the panic; deliver what it names",
        ),
        (Some(_), _) => (
            "process 1 ended; it must run until it switches the machine off",
            "let init end with reboot or poweroff, or wait for its children forever",
        ),
        (_, Some(4)) => (
            "the program uses instructions that this machine's processor does not have",
            "build for a lower processor level, or set the machine's cpu",
        ),
        _ => (
            "the program crashed: a damaged binary, a wrong C library, or too little memory",
            "run the program from the image in a shell of its build environment",
        ),
    };
    Found::new(Verdict::InitEnded { exit_code, signal }, &evidence, cause, hint)
}

fn no_root(lines: &Lines<'_>, panic: &str) -> Found {
    let device = block_device(panic);
    let unpack = lines.first(UNPACK);
    let open = lines.first(OPEN_ROOT);
    let root = open.and_then(|line| line.split_once(OPEN_ROOT)?.1.split('"').next());
    let root = root.filter(|name| !name.is_empty() && *name != "(null)").map(str::to_owned);
    let tried = lines.first("No filesystem could mount root, tried:");
    let mut evidence: Vec<&str> = [unpack, open, tried].into_iter().flatten().collect();
    evidence.push(panic);
    let absent = open.is_some_and(|line| line.contains("error -6") || line.contains("error -19"));

    if let Some((_, message)) = unpack.and_then(|line| line.split_once(UNPACK)) {
        let message = message.trim().to_owned();
        let method = message.strip_prefix("compression method ").and_then(|m| m.split(' ').next());
        return match method {
            Some(method) => Found::new(
                Verdict::NoRoot {
                    fault: RootFault::InitramfsCompression { method: method.to_owned() },
                },
                &evidence,
                format!(
                    "the initramfs is compressed with {method}, but the kernel has no {} for it",
                    rd_symbol(method)
                ),
                format!(
                    "switch {} on, or compress the initramfs in another way",
                    rd_symbol(method)
                ),
            ),
            None => Found::new(
                Verdict::NoRoot { fault: RootFault::InitramfsDamaged { message } },
                &evidence,
                "the initramfs was cut short or changed, or did not fit into memory",
                "write the image again; give the machine more memory if it is large",
            ),
        };
    }
    let (fault, cause, hint) = match (device, root) {
        (Some(device), Some(root)) if device != (0, 0) && absent => (
            RootFault::NoPartition { root, device },
            "the disk has no such partition, or the kernel does not know the kind of its partition table (MSDOS_PARTITION, EFI_PARTITION)",
            "compare root= with the image's partitions, and PARTITION_ADVANCED with the table's kind",
        ),
        (_, Some(root)) if absent => (
            RootFault::NoDevice { root },
            "root= names a device that the machine does not have, or the kernel has no driver for its controller or its disks",
            "sd* needs BLK_DEV_SD and the controller's driver, vd* VIRTIO_PCI and VIRTIO_BLK, all of them PCI",
        ),
        (Some(device), _) if device != (0, 0) => (
            RootFault::NoFileSystem {
                device,
                tried: tried
                    .and_then(|line| line.split_once("tried:"))
                    .map_or("", |t| t.1)
                    .trim()
                    .to_owned(),
            },
            "the device is there, but the kernel has no driver for its file system, or the file system is damaged",
            "compare the image's file system with the kernel's (EXT4_FS, SQUASHFS, ...)",
        ),
        (Some(_), None) => {
            let unpacked =
                lines.any(&["Unpacking initramfs", "Trying to unpack rootfs image"]).is_some();
            let fault = RootFault::NoInit { unpacked };
            if let Some(root) = asked_root(lines) {
                (
                    RootFault::NoDevice { root },
                    "the kernel did not even look for what root= names: it is built without BLOCK",
                    "switch BLOCK on, with the drivers of the disk and its file system; or deliver /init in an initramfs",
                )
            } else if unpacked {
                (
                    fault,
                    "the initramfs was unpacked, but has no /init (or not the one that rdinit= names), or is a cpio archive in a format other than newc; and there is no root= to fall back to",
                    "deliver /init in the manifest",
                )
            } else {
                (
                    fault,
                    "there is no initramfs, the kernel is built without BLK_DEV_INITRD, or (on a quiet console) the initramfs has no /init; and there is no root= to fall back to",
                    "look at the kernel's BLK_DEV_INITRD and at the initramfs' /init",
                )
            }
        }
        (device, _) => (
            RootFault::Other { device },
            "the kernel could not mount what root= names",
            "look at the console log above the panic",
        ),
    };
    Found::new(Verdict::NoRoot { fault }, &evidence, cause, hint)
}

/// What `root=` names on the command line as the kernel repeats it.
fn asked_root(lines: &Lines<'_>) -> Option<String> {
    let (_, line) = lines.first(COMMAND_LINE)?.split_once(COMMAND_LINE)?;
    line.split_ascii_whitespace()
        .rev()
        .find_map(|word| word.strip_prefix("root="))
        .map(str::to_owned)
}

/// The kernel option for a decompressor, by the kernel's name of the method.
fn rd_symbol(method: &str) -> String {
    format!("RD_{}", method.to_ascii_uppercase())
}

/// `unknown-block(8,1)`.
fn block_device(line: &str) -> Option<(u32, u32)> {
    let (_, rest) = line.rsplit_once("unknown-block(")?;
    let (major, minor) = rest.split(')').next()?.split_once(',')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn from_outcome(seen: &Observation<'_>, lines: &Lines<'_>) -> Found {
    let last = lines.last_text();
    let evidence: &[&str] = if last.is_empty() { &[] } else { &[last] };
    let silent = seen.proved.is_none() && lines.is_silent();
    if silent && seen.outcome != Outcome::TooMuchOutput {
        let ended = matches!(
            seen.outcome,
            Outcome::GuestEnded { .. } | Outcome::OtherEnd { .. } | Outcome::Done
        );
        return Found::new(
            Verdict::NoConsoleOutput,
            evidence,
            if ended {
                "the guest ran and ended, but printed nothing: console= names another port, or the kernel has no driver for it (TTY, SERIAL_8250_CONSOLE, SERIAL_AMBA_PL011_CONSOLE), or it failed before it had one"
            } else {
                "the kernel did not start, or console= names a port that the machine does not have"
            },
            "compare console= with the machine's console, and look at the kernel's serial options",
        );
    }
    match &seen.outcome {
        Outcome::TooMuchOutput => Found::new(
            Verdict::TooMuchOutput,
            evidence,
            "something in the guest repeats itself, such as a getty or a service that is started again and again",
            "look at the end of the console log",
        ),
        Outcome::NoProgress { waiting_for, quiet } => {
            no_progress(seen, lines, waiting_for, quiet.as_secs())
        }
        Outcome::TimedOut { waiting_for, limit } => {
            let waiting_for = waiting_for.clone();
            let hint = format!(
                "look at the end of the console log; the limit was {} s: raise it if the guest was still working",
                limit.as_secs()
            );
            if seen.proved.is_some() {
                let cause = "the guest did not do what the script expects";
                return Found::new(
                    Verdict::ExpectationFailed { waiting_for },
                    evidence,
                    cause,
                    hint,
                );
            }
            if let Some(found) = root_wait(lines) {
                return found;
            }
            Found::new(
                Verdict::TimeOut { waiting_for },
                evidence,
                "the guest is slow, or waits for something",
                hint,
            )
        }
        Outcome::OtherEnd { expected, found } => {
            let waiting_for = format!("the guest to {expected}");
            let cause = match (expected, found) {
                (GuestEnding::PowerOff, Some(GuestEnding::Halt)) => {
                    "the kernel cannot switch the machine off; on x86 it needs ACPI for that"
                        .to_owned()
                }
                (_, Some(found)) => format!("the kernel announced: {found}"),
                (_, None) => "the kernel announced no end at all".to_owned(),
            };
            let hint = "compare the end in the script with what init does last";
            let verdict = match seen.proved {
                Some(_) => Verdict::ExpectationFailed { waiting_for },
                None => Verdict::GuestEndedEarly { waiting_for, how: *found },
            };
            Found::new(verdict, evidence, cause, hint)
        }
        Outcome::GuestEnded { waiting_for, .. } => {
            let how = lines.ending().map(|(ending, _)| ending);
            Found::new(
                Verdict::GuestEndedEarly { waiting_for: waiting_for.clone(), how },
                evidence,
                match how {
                    Some(_) => "something in the guest ended it",
                    None => "the processor was reset, and the kernel printed nothing",
                },
                "look at the end of the console log",
            )
        }
        Outcome::Settled { waiting_for } if seen.proved.is_some() => Found::new(
            Verdict::GuestEndedEarly {
                waiting_for: waiting_for.clone(),
                how: lines.ending().map(|(ending, _)| ending),
            },
            evidence,
            "the kernel has stopped, but QEMU is still running",
            "look at the end of the console log",
        ),
        Outcome::Done | Outcome::Settled { .. } | Outcome::EmulatorFailed { .. } => Found::new(
            Verdict::NotProved,
            evidence,
            "process 1 does not print the value it finds in /.osier/challenge, or something else is process 1",
            "let init print `osier-booted:` and that value on the console",
        ),
    }
}

fn no_progress(seen: &Observation<'_>, lines: &Lines<'_>, waiting_for: &str, quiet: u64) -> Found {
    if seen.proved.is_none()
        && let Some(found) = root_wait(lines)
    {
        return found;
    }
    let last = lines.last_text();
    let asks = last.ends_with(['#', '$', ':', '>', '?']);
    Found::new(
        Verdict::NoProgress { last_line: last.to_owned() },
        &[last],
        if asks {
            format!(
                "the guest waits for input; for {quiet} s it printed nothing and used no CPU time"
            )
        } else {
            format!(
                "the guest sleeps or hangs; for {quiet} s it printed nothing and used no CPU time"
            )
        },
        format!("the script was waiting for {waiting_for}"),
    )
}

/// `rootwait` without the device: no panic, for ever.
fn root_wait(lines: &Lines<'_>) -> Option<Found> {
    let waits = |index: &usize| lines.voice(*index, WAITING) == Some(Voice::Kernel);
    let index = lines.behind().rev().find(waits).filter(|index| lines.is_last_word(*index))?;
    let line = lines.text(index);
    let root = line.split_once(WAITING)?.1.trim().trim_end_matches('.').to_owned();
    Some(Found::new(
        Verdict::NoRoot { fault: RootFault::Waiting { root } },
        &[line],
        "rootwait is set, but the device never appears: the machine has no such device, or the kernel no driver for it",
        "remove rootwait to see the reason; behind mptsas a disk needs a wwn",
    ))
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "proof_tests.rs"]
mod proof_tests;
