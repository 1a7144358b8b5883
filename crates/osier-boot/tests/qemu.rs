//! Boots a real kernel in a real QEMU, sound and broken in each way.
//!
//! Needs `OSIER_TEST_QEMU` (a program that takes QEMU's program name and its arguments),
//! `OSIER_TEST_KERNEL` (an x86_64 kernel with an initramfs and a serial console) and a C compiler:
//! `cargo test -p osier-boot --test qemu -- --ignored`.

// The helpers of a test may fail as the test itself may.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use osier_boot::{
    Accelerator, Action, Architecture, Board, BootPlan, BootReport, BootScript, Bus, Challenge,
    ConsoleEnds, Disk, Emulator, EmulatorError, Guest, GuestEnding, GuestExit, GuestStatus,
    Machine, Pattern, QemuCall, Script, boot, kvm,
};

/// QEMU outside of any sandbox, with the inside paths replaced by the host's.
struct PlainQemu(PathBuf);

struct PlainGuest(Child, Option<GuestExit>);

fn failed(source: io::Error) -> EmulatorError {
    EmulatorError { program: "qemu".to_owned(), source: source.into() }
}

impl Emulator for PlainQemu {
    fn start(
        &self,
        call: &QemuCall,
        console: ConsoleEnds,
    ) -> Result<Box<dyn Guest>, EmulatorError> {
        let mut arguments: Vec<String> =
            call.arguments.iter().map(|a| a.to_str().unwrap().to_owned()).collect();
        for file in &call.files {
            for argument in &mut arguments {
                *argument = argument.replace(&file.inside, file.host.to_str().unwrap());
            }
        }
        let child = Command::new(&self.0)
            .arg(&call.program)
            .args(arguments)
            .stdin(Stdio::from(console.stdin))
            .stdout(Stdio::from(console.stdout))
            .stderr(Stdio::from(console.stderr))
            .spawn()
            .map_err(failed)?;
        Ok(Box::new(PlainGuest(child, None)))
    }
}

impl PlainGuest {
    fn ticks(&self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 10))
    }
}

impl Guest for PlainGuest {
    fn try_wait(&mut self, timeout: Duration) -> Result<Option<GuestExit>, EmulatorError> {
        let deadline = Instant::now() + timeout;
        while self.1.is_none() {
            let cpu = self.ticks().unwrap_or_default();
            if let Some(status) = self.0.try_wait().map_err(failed)? {
                let status = match status.code() {
                    Some(code) => GuestStatus::Code(code),
                    None => GuestStatus::Signal(status.signal().unwrap()),
                };
                self.1 = Some(GuestExit { status, cpu });
            } else if Instant::now() >= deadline {
                return Ok(None);
            } else {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(self.1)
    }

    fn kill(&mut self) {
        drop(self.0.kill());
    }

    fn cpu_time(&self) -> Option<Duration> {
        self.ticks()
    }
}

impl Drop for PlainGuest {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn environment(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")))
}

/// One entry of a newc archive.
fn entry(name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> Vec<u8> {
    let fields = [
        1,
        mode,
        0,
        0,
        1,
        0,
        data.len() as u32,
        0,
        0,
        device.0,
        device.1,
        name.len() as u32 + 1,
        0,
    ];
    let mut out = b"070701".to_vec();
    out.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    out.extend(name.bytes().chain([0]));
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(data);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// An archive with a console, `files` and nothing else.
fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut out = entry("dev", 0o040_755, (0, 0), b"");
    out.extend(entry("dev/console", 0o020_600, (5, 1), b""));
    for (name, mode, data) in files {
        out.extend(entry(name, 0o100_000 | mode, (0, 0), data));
    }
    out.extend(entry("TRAILER!!!", 0, (0, 0), b""));
    out
}

fn with_challenge(mut archive: Vec<u8>, challenge: &Challenge) -> Vec<u8> {
    let mut more = entry(".osier", 0o040_700, (0, 0), b"");
    more.extend(entry(".osier/challenge", 0o100_400, (0, 0), challenge.value().as_bytes()));
    more.extend(entry("TRAILER!!!", 0, (0, 0), b""));
    archive.extend(more);
    archive
}

const INIT: &str = r#"
#include <stdio.h>
#include <unistd.h>
#include <sys/reboot.h>
int main(void) {
    char value[64] = "", line[64] = "";
    FILE *file = fopen("/.osier/challenge", "r");
    if (file) fgets(value, sizeof value, file);
    printf("osier-booted:%s\nlogin: ", value);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin)) printf("hello %s", line);
    fflush(stdout);
    reboot(END);
    return 0;
}
"#;

struct Bench {
    folder: tempfile::TempDir,
    emulator: PlainQemu,
    kernel: PathBuf,
}

fn bench() -> Bench {
    Bench {
        folder: tempfile::tempdir().unwrap(),
        emulator: PlainQemu(environment("OSIER_TEST_QEMU")),
        kernel: environment("OSIER_TEST_KERNEL"),
    }
}

fn machine(board: Board) -> Machine {
    Machine {
        name: "test".to_owned(),
        architecture: Architecture::X86_64,
        board,
        cpu: None,
        memory_mib: 256,
        cpus: 1,
        console: Some("ttyS0".to_owned()),
        disks: Vec::new(),
        extra: Vec::new(),
    }
}

impl Bench {
    /// The bytes of a static program.
    fn program(&self, source: &str, options: &[&str]) -> Vec<u8> {
        let path = self.folder.path();
        fs::write(path.join("program.c"), source).unwrap();
        let status = Command::new("cc")
            .args(["-O1", "-w", "-o", "program", "program.c"])
            .args(options)
            .current_dir(path)
            .status()
            .unwrap();
        assert!(status.success());
        fs::read(path.join("program")).unwrap()
    }

    fn gzip(&self, bytes: &[u8]) -> Vec<u8> {
        let file = self.folder.path().join("packed");
        fs::write(&file, bytes).unwrap();
        Command::new("gzip").arg("-c").arg(&file).output().unwrap().stdout
    }

    fn boot(
        &self,
        machine: Machine,
        append: &str,
        initrd: &[u8],
        actions: Vec<Action>,
    ) -> BootReport {
        let file = self.folder.path().join("initrd");
        let combine = |challenge: &Challenge| {
            fs::write(&file, with_challenge(initrd.to_vec(), challenge))?;
            Ok(file.clone())
        };
        let plan = BootPlan {
            machine,
            accelerator: Accelerator::Tcg,
            kernel: Some(self.kernel.clone()),
            append: append.to_owned(),
            initrd: Some(&combine),
            renew_disks: None,
            script: Script { boots: vec![BootScript { without: Vec::new(), actions }] },
            patience: 1.0,
            no_progress: Duration::from_secs(15),
            folder: self.folder.path().join("logs"),
        };
        let report = boot(&plan, &self.emulator, &|event| eprintln!("{event:?}")).unwrap();
        eprintln!("{:#?}", report.boots.last().unwrap());
        report
    }
}

const LIMIT: Duration = Duration::from_secs(20);

fn conversation(how: GuestEnding) -> Vec<Action> {
    vec![
        Action::Booted { within: LIMIT },
        Action::Expect { pattern: Pattern::text("login:"), within: LIMIT },
        Action::Send { text: "bob\n".to_owned() },
        Action::Expect { pattern: Pattern::text("bob"), within: LIMIT },
        Action::End { how, within: LIMIT },
    ]
}

fn boots() -> Vec<Action> {
    vec![Action::Booted { within: LIMIT }, Action::End { how: GuestEnding::Reboot, within: LIMIT }]
}

#[test]
#[ignore = "needs a QEMU and a kernel"]
fn a_sound_system_boots_on_each_board_and_ends_in_each_way() {
    let bench = bench();
    for (board, word, how) in [
        (Board::Q35, "RB_AUTOBOOT", GuestEnding::Reboot),
        (Board::Q35, "RB_POWER_OFF", GuestEnding::PowerOff),
        (Board::Q35, "RB_HALT_SYSTEM", GuestEnding::Halt),
        (Board::Pc, "RB_AUTOBOOT", GuestEnding::Reboot),
        (Board::Microvm, "RB_AUTOBOOT", GuestEnding::Reboot),
    ] {
        let init = bench.program(INIT, &["-static", &format!("-DEND={word}")]);
        let report =
            bench.boot(machine(board), "", &archive(&[("init", 0o755, &init)]), conversation(how));
        assert!(report.passed, "{board:?} {word}: {:#?}", report.diagnosis);
    }
}

/// Those that a system file can describe are in `cargo xtask prove verdicts`.
#[test]
#[ignore = "needs a QEMU and a kernel"]
fn a_damaged_initramfs_and_a_guest_with_ticks_have_their_verdicts() {
    let bench = bench();
    let good = bench.program(INIT, &["-static", "-DEND=RB_AUTOBOOT"]);
    let sleeps =
        bench.program("#include <unistd.h>\nint main(void) { for (;;) pause(); }", &["-static"]);
    let whole = archive(&[("init", 0o755, &good)]);
    let truncated = whole[..100_000].to_vec();
    let compressed = bench.gzip(&whole);
    let half = compressed[..compressed.len() / 2].to_vec();
    let cases: &[(&str, &str, Vec<u8>, &str)] = &[
        ("truncated", "", truncated, "init could not be run: /init: its file is not complete"),
        ("truncated gzip", "", half, "init could not be run: /init: its file is not complete"),
        (
            "sleeps with ticks",
            "nohz=off highres=off",
            archive(&[("init", 0o755, &sleeps)]),
            "the guest stopped making progress after: ",
        ),
    ];
    for (name, append, initrd, summary) in cases {
        let report = bench.boot(machine(Board::Q35), append, initrd, boots());
        assert!(!report.passed, "{name}");
        assert!(report.diagnosis.summary.starts_with(summary), "{name}: {:#?}", report.diagnosis);
    }
}

#[test]
#[ignore = "needs a QEMU and a kernel"]
fn qemu_takes_every_disk() {
    let bench = bench();
    let init = bench.program(INIT, &["-static", "-DEND=RB_AUTOBOOT"]);
    let on = |board, buses: &[Bus]| {
        let mut machine = machine(board);
        for (number, bus) in buses.iter().enumerate() {
            let file = bench.folder.path().join(format!("disk{number}.img"));
            fs::write(&file, vec![0u8; 1 << 20]).unwrap();
            machine.disks.push(Disk {
                name: format!("d{number}"),
                file,
                bus: *bus,
                read_only: number == 0,
                serial: Some(format!("serial-{number}")),
                wwn: Some(0x5000_0000_0000_0000 + number as u64),
            });
        }
        machine
    };
    let scsi = [Bus::Lsi, Bus::Lsi, Bus::Mptsas, Bus::Mptsas, Bus::Ahci, Bus::Ahci, Bus::Virtio];
    for (board, buses) in [
        (Board::Q35, &scsi[..]),
        (Board::Pc, &scsi),
        (Board::Pc, &[Bus::Virtio, Bus::Ide, Bus::Ide, Bus::Ide, Bus::Ide]),
        (Board::Microvm, &[Bus::Virtio, Bus::Virtio]),
    ] {
        let report = bench.boot(
            on(board, buses),
            "",
            &archive(&[("init", 0o755, &init)]),
            conversation(GuestEnding::Reboot),
        );
        assert!(report.passed, "{board:?}: {:#?}", report.diagnosis);
    }
}

#[test]
#[ignore = "needs a QEMU and a kernel"]
fn a_wrong_argument_is_qemus_failure() {
    let bench = bench();
    let mut wrong = machine(Board::Q35);
    wrong.extra = vec!["-device".to_owned(), "no-such-device".to_owned()];
    let report = bench.boot(wrong, "", &archive(&[]), boots());
    assert_eq!(report.diagnosis.code, "B111");
    assert!(report.diagnosis.summary.contains("no-such-device"), "{}", report.diagnosis.summary);
}

#[test]
#[ignore = "needs a QEMU and a kernel"]
fn the_probe_agrees_with_a_kernel() {
    let bench = bench();
    let found = kvm::probe(Path::new("/dev/kvm"), bench.folder.path(), &bench.emulator);
    eprintln!("{found:?}");
    assert!(found.seconds < 4.0);
    if found.accelerator == Accelerator::Kvm {
        return;
    }
    // The same guest must end by itself where KVM plays no part, else it proves nothing.
    struct Translated<'a>(&'a PlainQemu, Mutex<u32>);
    impl Emulator for Translated<'_> {
        fn start(
            &self,
            call: &QemuCall,
            ends: ConsoleEnds,
        ) -> Result<Box<dyn Guest>, EmulatorError> {
            *self.1.lock().unwrap() += 1;
            let mut call = call.clone();
            for argument in &mut call.arguments {
                if argument == "kvm" {
                    *argument = "tcg".into();
                } else if argument == "host" {
                    *argument = "max".into();
                }
            }
            self.0.start(&call, ends)
        }
    }
    let device = bench.folder.path().join("kvm");
    fs::write(&device, "").unwrap();
    let translated = Translated(&bench.emulator, Mutex::new(0));
    let found = kvm::probe(&device, bench.folder.path(), &translated);
    assert_eq!(found.accelerator, Accelerator::Kvm, "{found:?}");
    assert_eq!(*translated.1.lock().unwrap(), 1);
}
