//! Whole boots with guests that shell scripts play.

use std::sync::Mutex;

use super::*;
use crate::board::{Architecture, Board};
use crate::script::{Pattern, Script};
use crate::shell_guest::ShellEmulator;

/// What a Linux prints first, so that the console is not empty.
const KERNEL: &str = "printf 'Linux version 6.1\\r\\n'; ";
/// The same of one that stamps its lines.
const STAMPED: &str = "printf '[    0.000000] Linux version 6.1\\r\\n'; ";
/// An init that proves itself.
const PROVE: &str = "printf 'osier-booted:%s\\r\\n' \"$(cat $CHALLENGE)\"; ";
const REBOOT: &str = "printf '[    2.0] reboot: Restarting system\\r\\n'";

fn machine() -> Machine {
    Machine {
        name: "test".to_owned(),
        architecture: Architecture::X86_64,
        board: Board::Q35,
        cpu: None,
        memory_mib: 64,
        cpus: 1,
        console: Some("ttyS0".to_owned()),
        disks: Vec::new(),
        extra: Vec::new(),
    }
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn booted() -> Action {
    Action::Booted { within: seconds(3) }
}

fn end(how: GuestEnding) -> Action {
    Action::End { how, within: seconds(3) }
}

fn expect(text: &str) -> Action {
    Action::Expect { pattern: Pattern::glob(text), within: seconds(3) }
}

fn send(text: &str) -> Action {
    Action::Send { text: text.to_owned() }
}

struct Trial {
    emulator: ShellEmulator,
    boots: Vec<Vec<Action>>,
    patience: f64,
    no_progress: Duration,
    folder: tempfile::TempDir,
    events: Mutex<Vec<String>>,
    /// How often the disks were made ready.
    renewed: Mutex<u32>,
}

/// Limits count a tenth, because the factor of TCG applies to shells, too.
fn trial(script: &str, actions: Vec<Action>) -> Trial {
    Trial {
        emulator: ShellEmulator::new(&[script]),
        boots: vec![actions],
        patience: 1.0,
        no_progress: seconds(60),
        folder: tempfile::tempdir().unwrap(),
        events: Mutex::new(Vec::new()),
        renewed: Mutex::new(0),
    }
}

impl Trial {
    fn boot(&self) -> BootReport {
        let folder = self.folder.path();
        let initrd = |challenge: &Challenge| {
            let file = folder.join("initrd");
            fs::write(&file, challenge.value())?;
            Ok(file)
        };
        let renew = || {
            *self.renewed.lock().unwrap() += 1;
            Ok(())
        };
        let boots = self
            .boots
            .iter()
            .map(|actions| BootScript { without: Vec::new(), actions: actions.clone() });
        let plan = BootPlan {
            machine: machine(),
            accelerator: Accelerator::Tcg,
            kernel: Some("/no/kernel".into()),
            append: "quiet".to_owned(),
            initrd: Some(&initrd),
            renew_disks: Some(&renew),
            script: Script { boots: boots.collect() },
            patience: self.patience,
            no_progress: self.no_progress,
            folder: folder.join("logs"),
        };
        let events = |event: BootEvent<'_>| {
            let text = format!("{event:?}");
            self.events.lock().unwrap().push(text.split([' ', '{']).next().unwrap().to_owned());
        };
        boot(&plan, &self.emulator, &events).unwrap()
    }
}

#[track_caller]
fn verdict(script: &str, actions: Vec<Action>) -> BootReport {
    let report = trial(script, actions).boot();
    assert_eq!(report.passed, report.diagnosis.verdict.is_booted());
    report
}

#[test]
fn a_guest_that_proves_itself_has_booted() {
    let script = format!("{KERNEL}{PROVE}{REBOOT}");
    let trial = trial(&script, vec![booted(), end(GuestEnding::Reboot)]);
    let report = trial.boot();
    assert!(report.passed, "{report:#?}");
    assert_eq!(report.diagnosis.code, "B100");
    let [record] = &report.boots[..] else { panic!("{report:#?}") };
    assert_eq!(record.command_line, "console=ttyS0 panic=-1 no_timer_check quiet");
    assert_eq!(record.serial_log, trial.folder.path().join("logs/serial.log"));
    assert_eq!(record.log_error, None);
    let log = fs::read_to_string(&record.serial_log).unwrap();
    assert!(log.starts_with("Linux version 6.1\r\nosier-booted:"), "{log}");
    assert_eq!(record.cpu_seconds, 0.007);
    let value = fs::read_to_string(trial.folder.path().join("initrd")).unwrap();
    assert!(log.contains(&value));
    assert!(!record.qemu.iter().any(|argument| argument.contains(&value)));
    assert_eq!(record.qemu[0], "qemu-system-x86_64");
    let events = trial.events.into_inner().unwrap();
    assert_eq!(events, ["Started", "Waiting", "Proved", "Waiting", "Ended"]);
    serde_json::to_string(&report).unwrap();
}

#[test]
fn nothing_but_the_value_of_this_boot_is_a_proof() {
    for script in [
        // A value of another boot, a bare marker, QEMU's exit status, an echoed command line.
        format!("{KERNEL}echo osier-booted:0123456789abcdef0123456789abcdef; {REBOOT}"),
        format!("{KERNEL}echo osier-booted:; {REBOOT}"),
        format!("{KERNEL}{REBOOT}"),
        format!("{KERNEL}echo Command line: osier-booted init=/init; {REBOOT}"),
    ] {
        let report = verdict(&script, vec![booted(), end(GuestEnding::Reboot)]);
        assert_eq!(report.diagnosis.code, "B110", "{script}: {report:#?}");
        let report = verdict(&script, vec![end(GuestEnding::Reboot)]);
        assert_eq!(report.diagnosis.code, "B101", "{script}: {report:#?}");
    }
}

#[test]
fn a_conversation_is_played() {
    // The shell echoes as a terminal would; the first "ready" is an echo, and no answer.
    let script = format!(
        "{KERNEL}{PROVE}printf 'login: '; read name; printf '%s\\r\\n' \"$name\"; \
         printf '\\033[1mhello\\033[0m %s\\r\\n# ' \"$name\"; \
         read command; printf '%s\\r\\n' \"$command\"; sleep 0.3; \
         [ \"$command\" = 'echo ready' ] && printf 'ready\\r\\n'; {REBOOT}"
    );
    let report = verdict(
        &script,
        vec![
            booted(),
            expect("login:"),
            send("root\n"),
            expect("hello *oot"),
            expect("#"),
            send("echo ready\n"),
            expect("ready"),
            end(GuestEnding::Reboot),
        ],
    );
    assert!(report.passed, "{report:#?}");

    let deaf = script.replace("printf 'ready\\r\\n'", "sleep 20");
    let mut trial = trial(
        &deaf,
        vec![
            booted(),
            expect("login:"),
            send("root\n"),
            expect("#"),
            send("echo ready\n"),
            expect("ready"),
            end(GuestEnding::Reboot),
        ],
    );
    trial.patience = 0.05;
    let report = trial.boot();
    assert_eq!(report.diagnosis.summary, "the script waited in vain for the text \"ready\"");
}

/// What QEMU traces at its start, and where the guest switches the machine off.
const TRACE: &str =
    "echo 'runstate_set current_run_state 6 (prelaunch) new_state 9 (running)' >&2; ";
const OFF: &str = "echo 'qemu_system_shutdown_request reason=6' >&2; ";

#[test]
fn ends_are_told_apart() {
    use GuestEnding::{Exit, Halt, Kill, Panic, PowerOff, Reboot};
    let power_off = "echo 'reboot: Power down'";
    let halt = "echo '[    3.0] reboot: System halted'; exec sleep 60";
    let panic = "echo 'Kernel panic - not syncing: Fatal exception'";
    let returned = "echo 'Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300'";
    let stays = "echo '[    3.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300'; \
                 echo '[    3.0] ---[ end Kernel panic - not syncing: Attempted to kill init! ]---'; exec sleep 60";
    for (last_words, how, code) in [
        (power_off, PowerOff, "B100"),
        (REBOOT, Reboot, "B100"),
        (halt, Halt, "B100"),
        ("exit 0", Exit, "B100"),
        (power_off, Exit, "B100"),
        ("exec sleep 60", Kill, "B100"),
        (power_off, Reboot, "B109"),
        (REBOOT, PowerOff, "B109"),
        (halt, PowerOff, "B109"),
        (panic, Reboot, "B102"),
        (panic, Exit, "B102"),
        (returned, Reboot, "B104"),
        (returned, PowerOff, "B104"),
        (stays, Reboot, "B104"),
        ("exit 0", Reboot, "B109"),
        (REBOOT, Halt, "B109"),
        ("echo 'reboot: Power down'; exit 3", PowerOff, "B110"),
        ("kill -SEGV $$", Reboot, "B111"),
        // What QEMU says counts, where it says anything.
        (&format!("{TRACE}{power_off}"), PowerOff, "B109"),
        (&format!("{TRACE}{OFF}{power_off}"), PowerOff, "B100"),
        (&format!("{TRACE}{OFF}{REBOOT}"), Reboot, "B109"),
        (&format!("{TRACE}{REBOOT}"), Reboot, "B100"),
    ] {
        let script = format!("{STAMPED}{PROVE}{last_words}");
        let report = trial(&script, vec![booted(), end(how)]).boot();
        assert_eq!(report.diagnosis.code, code, "{last_words} as {how}: {report:#?}");
        assert_eq!(report.passed, code == "B100");
        assert!(report.boots[0].seconds < 20.0, "{last_words} as {how}");
    }
    // A panic that was asked for passes, booted or not.
    for prove in [PROVE, ""] {
        let report = trial(&format!("{KERNEL}{prove}{panic}"), vec![end(Panic)]).boot();
        assert!(report.passed, "{report:#?}");
    }
    assert!(!trial(&format!("{KERNEL}{REBOOT}"), vec![end(Panic)]).boot().passed);
}

#[test]
fn a_guest_that_fell_back_to_a_shell_has_not_booted_and_is_not_waited_for() {
    let script = format!(
        "{KERNEL}echo '[    0.7] Failed to execute /init (error -2)'; \
         echo \"/bin/sh: can't access tty; job control turned off\"; printf '/ # '; exec sleep 100"
    );
    let report =
        verdict(&script, vec![Action::Booted { within: seconds(90) }, end(GuestEnding::Reboot)]);
    assert_eq!(report.diagnosis.code, "B103", "{report:#?}");
    assert!(report.boots[0].seconds < 20.0);
}

#[test]
fn what_is_printed_on_the_way_ends_no_boot() {
    // The kernel goes on to another init, which takes its time; programs print what kernels print, and go on.
    let words = "echo 'reboot: System halted'; echo 'Kernel panic - not syncing: x'; echo; echo ...; sleep 6; ";
    let script = format!(
        "{STAMPED}printf '[    0.7] Failed to execute /init (error -13)\\r\\n'; sleep 6; \
         {words}{PROVE}{words}{REBOOT}"
    );
    let patient = |how| Action::End { how, within: seconds(30) };
    let report = verdict(
        &script,
        vec![Action::Booted { within: seconds(30) }, patient(GuestEnding::Reboot)],
    );
    assert_eq!(report.diagnosis.code, "B100", "{report:#?}");
    assert_eq!(
        report.diagnosis.notes,
        [
            "before the proof: [    0.7] Failed to execute /init (error -13)",
            "before the proof: Kernel panic - not syncing: x",
            "after the proof: Kernel panic - not syncing: x",
        ]
    );
}

#[test]
fn a_stuck_guest_and_a_busy_one_are_told_apart() {
    let idle = format!("{KERNEL}echo waiting; exec sleep 100");
    let mut stuck =
        trial(&idle, vec![Action::Booted { within: seconds(60) }, end(GuestEnding::Reboot)]);
    stuck.no_progress = seconds(2);
    let report = stuck.boot();
    assert_eq!(report.diagnosis.summary, "the guest stopped making progress after: waiting");

    // A guest at work is left alone until the limit, however silent.
    let busy = format!("{KERNEL}echo computing; while :; do :; done");
    let mut working = trial(
        &busy,
        vec![Action::Booted { within: Duration::from_millis(500) }, end(GuestEnding::Reboot)],
    );
    working.no_progress = seconds(2);
    let report = working.boot();
    assert_eq!(report.diagnosis.code, "B108", "{report:#?}");
    assert!(report.boots[0].seconds >= 5.0, "limits are ten times as long under TCG");

    // A guest whose work cannot be measured counts as working.
    let mut unknown = trial(
        &idle,
        vec![Action::Booted { within: Duration::from_millis(400) }, end(GuestEnding::Reboot)],
    );
    unknown.emulator = unknown.emulator.without_cpu_time();
    unknown.no_progress = seconds(1);
    assert_eq!(unknown.boot().diagnosis.code, "B108");

    // Neither is a silent one that prints now and then stuck.
    let slow = format!("{KERNEL}for n in 1 2 3 4; do sleep 0.7; echo $n; done; {PROVE}{REBOOT}");
    let mut talking = trial(&slow, vec![booted(), end(GuestEnding::Reboot)]);
    talking.no_progress = seconds(2);
    assert!(talking.boot().passed);
}

#[test]
fn a_silent_guest_has_no_console() {
    let report = verdict(
        "printf 'SeaBIOS (version 1.16)\\r\\nBooting from ROM..'; exit 0",
        vec![booted(), end(GuestEnding::Reboot)],
    );
    assert_eq!(report.diagnosis.code, "B106", "{report:#?}");
}

#[test]
fn the_translators_fault_is_tried_once_more() {
    let flake = format!(
        "{KERNEL}echo \"Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug\""
    );
    let good = format!("{KERNEL}{PROVE}{REBOOT}");
    let mut again = trial("", vec![booted(), end(GuestEnding::Reboot)]);
    again.emulator = ShellEmulator::new(&[&flake, &good]);
    let report = again.boot();
    assert!(report.passed, "{report:#?}");
    let names: Vec<_> = report.boots.iter().map(|b| b.serial_log.file_name().unwrap()).collect();
    assert_eq!(names, ["serial.log", "serial-again.log"]);
    assert_eq!(report.boots[0].diagnosis.code, "B112");
    again.emulator = ShellEmulator::new(&[&flake]);
    let report = again.boot();
    assert_eq!((report.passed, report.boots.len(), report.diagnosis.code), (false, 2, "B112"));
}

#[test]
fn several_boots_run_in_turn_each_with_its_own_value_and_stop_at_the_first_fault() {
    let good = format!("{KERNEL}echo boot $N; {PROVE}{REBOOT}");
    let mut trial = trial(&good, vec![]);
    trial.boots = (1..=3)
        .map(|n| vec![expect(&format!("boot {n}")), booted(), end(GuestEnding::Reboot)])
        .collect();
    let report = trial.boot();
    assert!(report.passed, "{report:#?}");
    let logs: Vec<String> =
        report.boots.iter().map(|b| fs::read_to_string(&b.serial_log).unwrap()).collect();
    let values: Vec<&str> = logs.iter().map(|log| &log[log.find("booted:").unwrap()..]).collect();
    assert!(values[0] != values[1] && values[1] != values[2]);
    assert!(report.boots[2].serial_log.ends_with("serial-3.log"));
    assert_eq!(*trial.renewed.lock().unwrap(), 3, "the disks are made ready before each boot");

    let bad = format!("{KERNEL}echo 'Kernel panic - not syncing: Fatal exception'");
    trial.emulator = ShellEmulator::new(&[&good, &bad, &good]);
    let report = trial.boot();
    assert_eq!((report.passed, report.boots.len(), report.diagnosis.code), (false, 2, "B102"));
    assert_eq!(trial.emulator.calls.lock().unwrap().len(), 2);
}

#[test]
fn qemus_refusal_is_its_own_verdict() {
    let refusing = "echo 'qemu-system-x86_64: could not load kernel' >&2; exit 1";
    let report = verdict(refusing, vec![booted(), end(GuestEnding::Reboot)]);
    assert_eq!(report.diagnosis.summary, "QEMU failed: qemu-system-x86_64: could not load kernel");
    let report = verdict("cannot start", vec![booted(), end(GuestEnding::Reboot)]);
    assert_eq!(report.diagnosis.code, "B111");
    let dead = format!("{KERNEL}echo 'KVM internal error. Suberror: 1' >&2; exec sleep 60");
    let report = verdict(&dead, vec![booted(), end(GuestEnding::Reboot)]);
    assert_eq!(report.diagnosis.summary, "QEMU failed: KVM internal error. Suberror: 1");
    assert!(report.boots[0].seconds < 20.0);
}

#[test]
fn an_endless_console_is_stopped_and_bytes_that_are_no_text_do_no_harm() {
    let report =
        verdict(&format!("{KERNEL}exec cat /dev/zero"), vec![booted(), end(GuestEnding::Reboot)]);
    assert_eq!(report.diagnosis.code, "B113", "{:?}", report.diagnosis);
    assert_eq!(
        fs::metadata(&report.boots[0].serial_log).map(|m| m.len()).unwrap_or(0),
        0,
        "gone with its folder"
    );
    let script = format!("{KERNEL}head -c 300000 /dev/urandom; echo; {PROVE}{REBOOT}");
    assert!(verdict(&script, vec![booted(), end(GuestEnding::Reboot)]).passed);
}

#[test]
fn a_guest_that_does_not_read_stops_nobody() {
    let script = format!("{KERNEL}{PROVE}exec sleep 100");
    let flood = (0..100).map(|_| send(&"x".repeat(1024))).chain([end(GuestEnding::Kill)]).collect();
    let mut trial = trial(&script, flood);
    trial.patience = 0.02;
    trial.no_progress = seconds(3600);
    let report = trial.boot();
    assert_eq!(report.diagnosis.code, "B109", "{report:#?}");
}

#[test]
fn wrong_plans_are_errors_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = ShellEmulator::new(&["exit 0"]);
    let plan = |change: &dyn Fn(&mut BootPlan<'_>)| {
        let boots = vec![BootScript {
            without: Vec::new(),
            actions: vec![booted(), end(GuestEnding::Reboot)],
        }];
        let mut plan = BootPlan {
            machine: machine(),
            accelerator: Accelerator::Tcg,
            kernel: Some("/no/kernel".into()),
            append: String::new(),
            initrd: None,
            renew_disks: None,
            script: Script { boots },
            patience: 1.0,
            no_progress: seconds(60),
            folder: folder.path().join("logs"),
        };
        change(&mut plan);
        boot(&plan, &emulator, &|_| {}).unwrap_err().to_string()
    };
    assert_eq!(plan(&|p| p.script.boots.clear()), "the script has no boot");
    assert!(plan(&|p| p.machine.cpus = 0).contains("cpus = 0"));
    let broken = |_: &Challenge| Err(io::Error::other("disk full"));
    assert_eq!(
        plan(&|p| p.initrd = Some(Box::leak(Box::new(broken)))),
        "cannot make the initrd of the boot: disk full"
    );
    fs::write(folder.path().join("file"), "").unwrap();
    let folder_error = plan(&|p| p.folder = folder.path().join("file/logs"));
    assert!(folder_error.contains("file/logs"), "{folder_error}");
    assert!(emulator.calls.lock().unwrap().is_empty());
}
