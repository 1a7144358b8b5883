//! Probes of KVM with guests that answer, hang or end.

use super::*;
use crate::shell_guest::ShellEmulator;

fn probe_with(script: &str) -> (KvmProbe, ShellEmulator) {
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("kvm");
    fs::write(&device, "").unwrap();
    let emulator = ShellEmulator::new(&[script]);
    let found = probe(&device, folder.path(), &emulator);
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["kvm"]);
    (found, emulator)
}

#[test]
fn only_the_guests_own_exit_counts() {
    let (found, emulator) = probe_with("exit 99");
    assert_eq!(found.accelerator, Accelerator::Kvm, "{found:?}");
    let calls = emulator.calls.lock().unwrap();
    assert!(calls[0].needs_kvm);
    assert!(calls[0].arguments.iter().any(|argument| argument == ROM));
    assert_eq!(calls[0].files[0].inside, ROM);

    for (script, reason) in [
        ("exit 0", "QEMU exited with 0: it said nothing"),
        (
            "echo 'qemu: no such accelerator' >&2; exit 1",
            "exited with 1: qemu: no such accelerator",
        ),
        ("kill -SEGV $$", "killed by signal 11"),
        ("echo 'KVM internal error. Suberror: 1' >&2; sleep 30", "KVM internal error. Suberror: 1"),
        ("cannot start", "cannot run sh"),
    ] {
        let (found, _) = probe_with(script);
        assert_eq!(found.accelerator, Accelerator::Tcg, "{script}");
        assert!(found.reason.contains(reason), "{script}: {}", found.reason);
        assert!(found.seconds < 2.0, "{script}: {} s", found.seconds);
    }
}

#[test]
fn a_guest_that_hangs_costs_two_seconds() {
    let (found, _) = probe_with("exec sleep 30");
    assert_eq!(found.accelerator, Accelerator::Tcg);
    assert!(found.reason.contains("did not end within 2 s"), "{}", found.reason);
    assert!((2.0..10.0).contains(&found.seconds), "{} s", found.seconds);
}

#[test]
fn no_device_no_guest() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = ShellEmulator::new(&["exit 99"]);
    let found = probe(&folder.path().join("none"), folder.path(), &emulator);
    assert_eq!(found.accelerator, Accelerator::Tcg);
    assert!(found.reason.contains("does not exist"), "{}", found.reason);
    assert!(emulator.calls.lock().unwrap().is_empty());
}

#[test]
fn the_firmware_starts_with_a_jump_to_its_code() {
    let rom = firmware();
    assert_eq!(rom.len(), 65536);
    assert_eq!(&rom[..CODE.len()], CODE);
    assert_eq!(rom[RESET], 0xe9);
    let relative = usize::from(u16::from_le_bytes([rom[RESET + 1], rom[RESET + 2]]));
    assert_eq!((RESET + 3 + relative) & 0xffff, 0);
    // The table that lgdt loads lies where its operand says.
    assert_eq!(CODE[0xb8..0xbe], [0x1f, 0, 0xc0, 0, 0xff, 0xff]);
    assert_eq!(CODE.len(), 0xe0);
}
