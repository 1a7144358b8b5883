//! Console texts of real and broken guests, each with the verdict that it must get.

use std::time::Duration;

use super::*;

const START: &str = "[    0.000000] Linux version 6.1.176 (builder@osier) #1\n";
const VFS: &str =
    "[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block";
const FALLBACK: &str = "/bin/sh: can't access tty; job control turned off\n/ # ";
const NO_INIT: &str = "[    1.3] Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.";

fn waiting() -> String {
    "the proof that process 1 runs".to_owned()
}

fn ended() -> Outcome {
    Outcome::GuestEnded { waiting_for: waiting(), status: GuestStatus::Code(0) }
}

fn timed_out() -> Outcome {
    Outcome::TimedOut { waiting_for: waiting(), limit: Duration::from_secs(60) }
}

fn stuck() -> Outcome {
    Outcome::NoProgress { waiting_for: waiting(), quiet: Duration::from_secs(30) }
}

fn settled() -> Outcome {
    Outcome::Settled { waiting_for: waiting() }
}

fn unproved(console: &str, outcome: Outcome) -> Diagnosis {
    let proof = "osier-booted:1";
    classify(&Observation {
        console,
        messages: "",
        end: None,
        outcome,
        proved: None,
        proof,
        behind: 0,
    })
}

/// Each fault of a system, its console, and the sentence and the words of the cause or hint
/// that must be told. The texts are those of real boots of Linux 6.1.
#[test]
fn each_fault_has_its_verdict() {
    let cases: &[(&str, String, Outcome, &str, &str, &str)] = &[
        // Faults of the initramfs.
        (
            "no /init in the cpio, or rdinit=/nope, or an odc cpio",
            format!("{START}[    0.5] Unpacking initramfs...\n{VFS}(0,0)\n"),
            ended(),
            "B105",
            "the kernel found no root file system: the initramfs has no /init",
            "deliver /init in the manifest",
        ),
        (
            "no initramfs at all, or BLK_DEV_INITRD off",
            format!("{START}No filesystem could mount root, tried: \n{VFS}(0,0)\n"),
            ended(),
            "B105",
            "the kernel found no root file system: the kernel unpacked no initramfs with an /init",
            "BLK_DEV_INITRD",
        ),
        (
            "truncated gzip",
            format!(
                "{START}[    0.5] Unpacking initramfs...\n[    0.6] Initramfs unpacking failed: read error\n{VFS}(0,0)\n"
            ),
            ended(),
            "B105",
            "the kernel found no root file system: the initramfs is damaged: read error",
            "write the image again",
        ),
        (
            "RD_GZIP off",
            format!(
                "{START}Unpacking initramfs...\nInitramfs unpacking failed: compression method gzip not configured\nVFS: Cannot open root device \"(null)\" or unknown-block(0,0): error -6\n{VFS}(0,0)\n"
            ),
            ended(),
            "B105",
            "the kernel found no root file system: the kernel cannot decompress an initramfs that is compressed with gzip",
            "switch RD_GZIP on",
        ),
        (
            "init mode 644",
            format!("{START}[    0.7] Failed to execute /init (error -13)\n{FALLBACK}"),
            settled(),
            "B103",
            "init could not be run: /init: it is not executable (error 13, EACCES)",
            "mode 755",
        ),
        (
            "interpreter missing, or #!/bin/sh with CR",
            format!("{START}[    0.7] Failed to execute /init (error -2)\n{FALLBACK}"),
            stuck(),
            "B103",
            "init could not be run: /init: the file, or the interpreter that it names, does not exist (error 2, ENOENT)",
            "CR line ends",
        ),
        (
            "32-bit or foreign ELF, or BINFMT_SCRIPT off",
            format!("{START}[    0.7] Failed to execute /init (error -8)\n{FALLBACK}"),
            timed_out(),
            "B103",
            "init could not be run: /init: not in a format that this kernel executes (error 8, ENOEXEC)",
            "IA32_EMULATION",
        ),
        (
            "an initramfs cut short within init",
            format!("{START}[    0.7] Failed to execute /init (error -26)\n{NO_INIT}\n"),
            ended(),
            "B103",
            "init could not be run: /init: its file is not complete (error 26, ETXTBSY)",
            "ends in the middle",
        ),
        (
            "a damaged initramfs whose init came through",
            format!(
                "{START}Initramfs unpacking failed: broken padding\n[    0.7] Failed to execute /init (error -2)\n{FALLBACK}"
            ),
            settled(),
            "B103",
            "init could not be run: /init: the file, or the interpreter that it names, does not exist (error 2, ENOENT)",
            "the initramfs is damaged",
        ),
        (
            "init exits 3",
            format!(
                "{START}my init says: no\n[    0.7] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300\n"
            ),
            ended(),
            "B104",
            "init ended with exit code 3",
            "process 1 ended",
        ),
        (
            "init ends with 127",
            format!(
                "{START}/init: line 3: mnt: not found\n[    0.7] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00007f00\n"
            ),
            ended(),
            "B104",
            "init ended with exit code 127",
            "was not found",
        ),
        (
            "init segfaults",
            format!(
                "{START}[    0.6] init[1]: segfault at 0 ip 0000000000401136 sp 00007ffd error 6 in init\n[    0.7] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\n"
            ),
            ended(),
            "B104",
            "init was killed by signal 11 (segmentation fault)",
            "crashed",
        ),
        (
            "console=ttyS1 or none, and the guest ends",
            "SeaBIOS (version 1.16.2-debian-1.16.2-1)\nBooting from ROM..\n".to_owned(),
            ended(),
            "B106",
            "the console stayed empty",
            "console= names another port",
        ),
        (
            "console=ttyS1, and the guest runs on",
            String::new(),
            timed_out(),
            "B106",
            "the console stayed empty",
            "a port that the machine does not have",
        ),
        (
            "silence, and nothing computed",
            String::new(),
            stuck(),
            "B106",
            "the console stayed empty",
            "serial options",
        ),
        // Faults of the kernel.
        (
            "BINFMT_ELF or 64BIT off",
            format!(
                "{START}Failed to execute /init (error -8)\nStarting init: /sbin/init exists but couldn't execute it (error -8)\nStarting init: /bin/sh exists but couldn't execute it (error -8)\n{NO_INIT}\n"
            ),
            ended(),
            "B103",
            "init could not be run: /init: the kernel cannot execute programs of this kind (error 8, ENOEXEC)",
            "BINFMT_ELF and 64BIT",
        ),
        (
            "script init on a disk root without BINFMT_SCRIPT",
            format!(
                "{START}Starting init: /sbin/init exists but couldn't execute it (error -8)\n{FALLBACK}"
            ),
            settled(),
            "B103",
            "init could not be run: /sbin/init: not in a format that this kernel executes (error 8, ENOEXEC)",
            "BINFMT_SCRIPT",
        ),
        (
            "nothing to run on a disk root",
            format!("{START}{NO_INIT}\n"),
            ended(),
            "B103",
            "init could not be run: there is none",
            "init=",
        ),
        (
            "init= that does not work",
            format!(
                "{START}[    0.7] Kernel panic - not syncing: Requested init /sbin/mine failed (error -2).\n"
            ),
            ended(),
            "B103",
            "init could not be run: /sbin/mine: the file, or the interpreter that it names, does not exist (error 2, ENOENT)",
            "PT_INTERP",
        ),
        (
            "EXT4_FS off",
            format!(
                "{START}0800           32768 sda \n driver: sd\nNo filesystem could mount root, tried: \n{VFS}(8,1)\n"
            ),
            ended(),
            "B105",
            "the kernel found no root file system: no file system driver could mount the device 8:1",
            "EXT4_FS",
        ),
        (
            "EXT4_FS off, virtio",
            format!("{START}No filesystem could mount root, tried: \n{VFS}(254,0)\n"),
            ended(),
            "B105",
            "the kernel found no root file system: no file system driver could mount the device 254:0",
            "EXT4_FS",
        ),
        (
            "BLK_DEV_SD, SATA_AHCI, ATA, SCSI host or FUSION_SAS off, PCI off, or a wrong root=",
            format!(
                "{START}VFS: Cannot open root device \"sda1\" or unknown-block(0,0): error -6\nPlease append a correct \"root=\" boot option; here are the available partitions:\n{VFS}(0,0)\n"
            ),
            ended(),
            "B105",
            "the kernel found no root file system: there is no device sda1",
            "BLK_DEV_SD",
        ),
        (
            "BLOCK off",
            format!(
                "{START}[    0.1] Kernel command line: console=ttyS0 root=/dev/sda root=/dev/vda panic=-1\nTrying to unpack rootfs image as initramfs...\nList of all partitions:\nNo filesystem could mount root, tried: \n\n{VFS}(0,0)\n"
            ),
            ended(),
            "B105",
            "the kernel found no root file system: there is no device /dev/vda",
            "built without BLOCK",
        ),
        (
            "VIRTIO_BLK or VIRTIO_PCI off",
            format!(
                "{START}VFS: Cannot open root device \"vda\" or unknown-block(0,0): error -6\n{VFS}(0,0)\n"
            ),
            ended(),
            "B105",
            "the kernel found no root file system: there is no device vda",
            "VIRTIO_PCI and VIRTIO_BLK",
        ),
        (
            "MSDOS_PARTITION off",
            format!(
                "{START}VFS: Cannot open root device \"sda1\" or unknown-block(8,1): error -6\n0800           32768 sda \n{VFS}(8,1)\n"
            ),
            ended(),
            "B105",
            "the kernel found no root file system: the disk of sda1 exists, but the partition does not",
            "MSDOS_PARTITION",
        ),
        (
            "rootwait without the device",
            format!("{START}[    1.1] Waiting for root device /dev/sda1...\n"),
            stuck(),
            "B105",
            "the kernel found no root file system: it waits forever for /dev/sda1",
            "wwn",
        ),
        (
            "SERIAL_8250_CONSOLE, SERIAL_8250 or TTY off",
            "Booting from ROM..".to_owned(),
            ended(),
            "B106",
            "the console stayed empty",
            "SERIAL_8250_CONSOLE",
        ),
        // The rest.
        (
            "the translator on a busy host",
            format!(
                "{START}..MP-BIOS bug: 8254 timer not connected to IO-APIC\n[    0.2] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug and send a report.\n"
            ),
            ended(),
            "B112",
            "the kernel's timer test failed, as it can under TCG on a busy host",
            "no_timer_check",
        ),
        (
            "another panic",
            format!(
                "{START}[    0.9] BUG: kernel NULL pointer dereference, address: 0\n[    1.0] Kernel panic - not syncing: Fatal exception\n"
            ),
            ended(),
            "B102",
            "the kernel panicked: Kernel panic - not syncing: Fatal exception",
            "above the panic",
        ),
        (
            "too little memory",
            format!(
                "{START}[    0.9] Kernel panic - not syncing: System is deadlocked on memory\n"
            ),
            ended(),
            "B102",
            "the kernel panicked: Kernel panic - not syncing: System is deadlocked on memory",
            "more memory",
        ),
        (
            "a shell waits",
            format!("{START}starting\n/ # "),
            stuck(),
            "B107",
            "the guest stopped making progress after: / #",
            "waits for input",
        ),
        (
            "a kernel speaks of its clock while a shell waits",
            format!(
                "{START}starting\nname?\n[    1.4] tsc: Refined TSC clocksource calibration: 2400 MHz\n\
                 [    1.5] clocksource: Switched to clocksource tsc\n"
            ),
            stuck(),
            "B107",
            "the guest stopped making progress after: name?",
            "waits for input",
        ),
        (
            "a kernel that does not stamp its lines speaks of its clock",
            "Linux version 6.1\nRun /init as init process\nstill here\nclocksource: Switched to clocksource tsc\n"
                .to_owned(),
            stuck(),
            "B107",
            "the guest stopped making progress after: still here",
            "sleeps or hangs",
        ),
        (
            "a program asks on a kernel that does not stamp its lines",
            "Linux version 6.1\nRun /init as init process\nclocksource: which one?\n".to_owned(),
            stuck(),
            "B107",
            "the guest stopped making progress after: clocksource: which one?",
            "waits for input",
        ),
        (
            "a program speaks of a clock",
            format!("{START}clocksource: I am waiting for one\n"),
            stuck(),
            "B107",
            "the guest stopped making progress after: clocksource: I am waiting for one",
            "sleeps or hangs",
        ),
        (
            "a slow guest",
            format!("{START}busy\n"),
            timed_out(),
            "B108",
            "the time limit passed while waiting for the proof that process 1 runs",
            "limit was 60 s",
        ),
        (
            "a reset without a word",
            START.to_owned(),
            ended(),
            "B110",
            "the guest ended while the script was waiting for the proof that process 1 runs",
            "printed nothing",
        ),
        (
            "an init that ends the guest without the proof",
            format!("{START}[    2.0] reboot: Restarting system\n"),
            ended(),
            "B110",
            "the guest ended (reboot) while the script was waiting for the proof that process 1 runs",
            "something in the guest ended it",
        ),
        (
            "a script without the proof",
            START.to_owned(),
            Outcome::Done,
            "B101",
            "the script ran to its end, but process 1 did not prove that it runs",
            "osier-booted:",
        ),
        (
            "an endless console",
            START.to_owned(),
            Outcome::TooMuchOutput,
            "B113",
            "the console printed without end",
            "again and again",
        ),
    ];
    for (fault, console, outcome, code, summary, words) in cases {
        let found = unproved(console, outcome.clone());
        assert_eq!((found.code, found.summary.as_str()), (*code, *summary), "{fault}");
        let told = format!("{} {}", found.cause, found.hint);
        assert!(told.contains(words), "{fault}: {told}");
        let shown = found.evidence.iter().all(|line| console.contains(line.as_str()));
        assert!(shown, "{fault}: {:?}", found.evidence);
        assert!(!found.cause.is_empty() && !found.hint.is_empty(), "{fault}");
    }
}

#[test]
fn evidence_is_the_lines_that_show_it() {
    let console = format!(
        "{START}[    0.6] init[1]: segfault at 0 ip 00 error 6\n[    0.65] Code: 00\n[    0.7] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\nmore\n"
    );
    let found = unproved(&console, ended());
    let expected = [
        "[    0.6] init[1]: segfault at 0 ip 00 error 6",
        "[    0.7] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
    ];
    assert_eq!(found.evidence, expected);
    let found = unproved(
        &format!("{START}[    0.7] Failed to execute /init (error -2)\n{FALLBACK}"),
        stuck(),
    );
    let expected = [
        "[    0.7] Failed to execute /init (error -2)",
        "/bin/sh: can't access tty; job control turned off",
    ];
    assert_eq!(found.evidence, expected);
}

#[test]
fn qemus_own_faults_are_told_apart() {
    let with = |messages: &str, outcome: Outcome| {
        classify(&Observation {
            console: "",
            messages,
            end: None,
            outcome,
            proved: None,
            proof: "osier-booted:1",
            behind: 0,
        })
    };
    let status = |status| Outcome::GuestEnded { waiting_for: waiting(), status };
    for (messages, outcome, summary) in [
        (
            "qemu-system-x86_64: -device nope: 'nope' is not a valid device model name\n",
            status(GuestStatus::Code(1)),
            "QEMU failed: qemu-system-x86_64: -device nope: 'nope' is not a valid device model name",
        ),
        ("", status(GuestStatus::Signal(9)), "QEMU failed: killed by signal 9"),
        (
            "KVM internal error. Suberror: 1\nextra data[0]: 0x1\n",
            timed_out(),
            "QEMU failed: KVM internal error. Suberror: 1",
        ),
        (
            "",
            Outcome::EmulatorFailed {
                message: "cannot run qemu-system-x86_64: no such file".into(),
            },
            "QEMU failed: cannot run qemu-system-x86_64: no such file",
        ),
    ] {
        let found = with(messages, outcome);
        assert_eq!((found.code, found.summary.as_str()), ("B111", summary));
    }
    // A warning of QEMU is no failure.
    assert_eq!(
        with("warning: host doesn't support pni\n", status(GuestStatus::Code(0))).code,
        "B106"
    );
}

#[test]
fn codes_are_distinct_and_reports_have_them() {
    let found = unproved(START, Outcome::Done);
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["kind"], "not_proved");
    assert_eq!(json["code"], "B101");
    let found = unproved(&format!("{START}{VFS}(8,1)\n"), ended());
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["fault"]["kind"], "no_file_system");
}

mod any_input {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// No console text whatever panics, and evidence is always from it.
        #[test]
        fn has_a_diagnosis(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("Kernel panic - not syncing: ".to_owned()),
                    Just("Attempted to kill init! exitcode=0x".to_owned()),
                    Just("VFS: Unable to mount root fs".to_owned()),
                    Just("unknown-block(".to_owned()),
                    Just("Cannot open root device \"".to_owned()),
                    Just("Initramfs unpacking failed: ".to_owned()),
                    Just("Failed to execute ".to_owned()),
                    Just("Starting init: ".to_owned()),
                    Just(" exists but couldn't execute it (error ".to_owned()),
                    Just("Waiting for root device".to_owned()),
                    Just("\n".to_owned()),
                    "[ -~äß€(),0-9\"]{0,12}",
                ],
                0..30,
            ),
        ) {
            let console = parts.concat();
            for outcome in [ended(), timed_out(), stuck(), settled(), Outcome::Done] {
                let found = unproved(&console, outcome);
                prop_assert!(!found.verdict.is_booted());
                for line in &found.evidence {
                    prop_assert!(console.contains(line.as_str()));
                }
            }
        }
    }
}
