//! A person at the console of a guest that a shell script plays.

use std::io::Read as _;
use std::thread;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::*;
use crate::board::{Accelerator, Architecture, Board};
use crate::machine::Machine;
use crate::script::Script;
use crate::shell_guest::ShellEmulator;

fn plan() -> BootPlan<'static> {
    BootPlan {
        machine: Machine {
            name: "test".to_owned(),
            architecture: Architecture::X86_64,
            board: Board::Q35,
            cpu: None,
            memory_mib: 64,
            cpus: 1,
            console: Some("ttyS0".to_owned()),
            disks: Vec::new(),
            extra: Vec::new(),
        },
        accelerator: Accelerator::Tcg,
        kernel: Some("/nowhere".into()),
        append: String::new(),
        initrd: None,
        renew_disks: None,
        script: Script { boots: Vec::new() },
        patience: 1.0,
        no_progress: Duration::from_secs(60),
        folder: "/nowhere".into(),
    }
}

/// A terminal: the person's side and the program's side.
fn terminal() -> (File, OwnedFd) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = rustix::fs::open(
        name.as_c_str(),
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    (File::from(person), program)
}

fn read_until(from: &mut File, text: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0u8; 256];
    while !seen.contains(text) {
        let count = from.read(&mut buffer).unwrap();
        assert!(count > 0, "{text} did not come: {seen}");
        seen += &String::from_utf8_lossy(&buffer[..count]);
    }
    seen
}

#[test]
fn keys_reach_the_guest_and_the_leave_key_ends_it() {
    let (mut person, program) = terminal();
    let before = tcgetattr(&program).unwrap();
    let emulator =
        ShellEmulator::new(&["printf 'login: '; read name; echo hello $name; exec sleep 60"]);
    let left = thread::scope(|scope| {
        let visit = scope.spawn(|| {
            boot_interactive(&plan(), &emulator, program.as_fd(), program.as_fd()).unwrap()
        });
        let seen = read_until(&mut person, "login: ");
        assert!(seen.starts_with(LEAVE_NOTICE), "{seen}");
        let raw = tcgetattr(&program).unwrap();
        assert!(
            !raw.local_modes.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
        );
        person.write_all(b"b\x03ob\n").unwrap();
        read_until(&mut person, "hello b\x03ob");
        person.write_all(b"x\x1d").unwrap();
        visit.join().unwrap()
    });
    assert_eq!(left, Left::Key);
    let after = tcgetattr(&program).unwrap();
    assert_eq!(after.local_modes, before.local_modes);
    assert_eq!(after.input_modes, before.input_modes);
    assert_eq!(after.output_modes, before.output_modes);
}

#[test]
fn the_guests_end_is_the_end_and_the_terminal_is_as_before() {
    let (mut person, program) = terminal();
    let before = tcgetattr(&program).unwrap();
    let emulator = ShellEmulator::new(&["echo bye; echo harmless >&2"]);
    let left = boot_interactive(&plan(), &emulator, program.as_fd(), program.as_fd()).unwrap();
    assert!(matches!(left, Left::GuestEnded(_)));
    read_until(&mut person, "bye");
    assert_eq!(tcgetattr(&program).unwrap().local_modes, before.local_modes);

    let emulator = ShellEmulator::new(&["echo 'qemu: bad option' >&2; exit 1"]);
    let error = boot_interactive(&plan(), &emulator, program.as_fd(), program.as_fd()).unwrap_err();
    assert_eq!(error.to_string(), "QEMU failed: qemu: bad option");
    assert_eq!(tcgetattr(&program).unwrap().local_modes, before.local_modes);
}

#[test]
fn pipes_will_do_and_a_closed_input_ends_the_visit() {
    let (input, keys) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (screen, output) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let emulator = ShellEmulator::new(&["read line; echo got $line; exec sleep 60"]);
    let mut keys = File::from(keys);
    keys.write_all(b"it\n").unwrap();
    let left = thread::scope(|scope| {
        let visit = scope
            .spawn(|| boot_interactive(&plan(), &emulator, input.as_fd(), output.as_fd()).unwrap());
        read_until(&mut File::from(screen), "got it");
        drop(keys);
        visit.join().unwrap()
    });
    assert_eq!(left, Left::TerminalClosed);
}
