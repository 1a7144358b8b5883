//! Machines as arguments of QEMU, and machines that are refused.

use std::path::PathBuf;

use super::*;

fn machine(architecture: Architecture, board: Board) -> Machine {
    Machine {
        name: "test".to_owned(),
        architecture,
        board,
        cpu: None,
        memory_mib: 256,
        cpus: 2,
        console: Some(
            if architecture == Architecture::X86_64 { "ttyS0" } else { "ttyAMA0" }.to_owned(),
        ),
        disks: Vec::new(),
        extra: Vec::new(),
    }
}

fn q35() -> Machine {
    machine(Architecture::X86_64, Board::Q35)
}

fn disk(name: &str, bus: Bus) -> Disk {
    Disk {
        name: name.to_owned(),
        file: PathBuf::from(format!("/images/{name}.img")),
        bus,
        read_only: false,
        serial: None,
        wwn: None,
    }
}

fn arguments(machine: &Machine, accelerator: Accelerator) -> String {
    let command_line = machine.command_line("quiet", accelerator);
    let payload = Payload {
        kernel: Some(Path::new("/k/bzImage")),
        initrd: Some(Path::new("/k/initrd")),
        command_line: &command_line,
        challenge: None,
    };
    let call = machine.call(accelerator, &payload).unwrap();
    let mut words = vec![call.program];
    words.extend(call.arguments.iter().map(|a| a.to_str().unwrap().to_owned()));
    words.join(" ")
}

#[test]
fn calls_are_as_written() {
    insta::assert_snapshot!(arguments(&q35(), Accelerator::Tcg), @"qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -machine q35 -accel tcg -cpu max -m 256M -smp 2 -monitor none -chardev stdio,id=console,signal=off,mux=off -serial chardev:console -kernel /boot/kernel -initrd /boot/initrd -append console=ttyS0 panic=-1 no_timer_check quiet");
    insta::assert_snapshot!(arguments(&machine(Architecture::Aarch64, Board::Virt), Accelerator::Tcg), @"qemu-system-aarch64 -nodefaults -no-user-config -display none -no-reboot -machine virt -accel tcg -cpu cortex-a57 -m 256M -smp 2 -monitor none -chardev stdio,id=console,signal=off,mux=off -serial chardev:console -kernel /boot/kernel -initrd /boot/initrd -append console=ttyAMA0 panic=-1 quiet");
    let mut pc = machine(Architecture::X86_64, Board::Pc);
    pc.cpu = Some("qemu64,+pdpe1gb".to_owned());
    pc.extra = vec!["-device".to_owned(), "virtio-rng-pci".to_owned()];
    pc.disks =
        vec![disk("a", Bus::Ide), disk("b", Bus::Ide), disk("c", Bus::Ide), disk("d", Bus::Ahci)];
    insta::assert_snapshot!(arguments(&pc, Accelerator::Tcg).split_once("-append").unwrap().1, @" console=ttyS0 panic=-1 no_timer_check quiet -device ahci,id=ahci -drive if=none,id=a,file=/disk/a,format=raw,read-only=off -device ide-hd,bus=ide.0,unit=0,drive=a -drive if=none,id=b,file=/disk/b,format=raw,read-only=off -device ide-hd,bus=ide.0,unit=1,drive=b -drive if=none,id=c,file=/disk/c,format=raw,read-only=off -device ide-hd,bus=ide.1,unit=0,drive=c -drive if=none,id=d,file=/disk/d,format=raw,read-only=off -device ide-hd,bus=ahci.0,drive=d -device virtio-rng-pci");
    let mut many = q35();
    many.disks = vec![
        Disk { read_only: true, serial: Some("root-1".to_owned()), ..disk("root", Bus::Virtio) },
        disk("sata", Bus::Ahci),
        disk("sata2", Bus::Ahci),
        disk("scsi", Bus::Lsi),
        disk("sas", Bus::Mptsas),
        Disk { wwn: Some(0x5000_0000_0000_00ff), ..disk("sas2", Bus::Mptsas) },
    ];
    insta::assert_snapshot!(arguments(&many, Accelerator::Tcg).split_once("quiet").unwrap().1, @" -device lsi53c895a,id=lsi -device mptsas1068,id=mptsas -drive if=none,id=root,file=/disk/root,format=raw,read-only=on -device virtio-blk-pci,drive=root,serial=root-1 -drive if=none,id=sata,file=/disk/sata,format=raw,read-only=off -device ide-hd,bus=ide.0,drive=sata -drive if=none,id=sata2,file=/disk/sata2,format=raw,read-only=off -device ide-hd,bus=ide.1,drive=sata2 -drive if=none,id=scsi,file=/disk/scsi,format=raw,read-only=off -device scsi-hd,bus=lsi.0,scsi-id=0,drive=scsi -drive if=none,id=sas,file=/disk/sas,format=raw,read-only=off -device scsi-hd,bus=mptsas.0,scsi-id=0,drive=sas,wwn=0x5000c50000000001 -drive if=none,id=sas2,file=/disk/sas2,format=raw,read-only=off -device scsi-hd,bus=mptsas.0,scsi-id=1,drive=sas2,wwn=0x50000000000000ff");
    let mut nvme = machine(Architecture::Aarch64, Board::Virt);
    nvme.disks = vec![
        disk("one", Bus::Nvme),
        Disk { serial: Some("own".to_owned()), ..disk("two", Bus::Nvme) },
    ];
    insta::assert_snapshot!(arguments(&nvme, Accelerator::Tcg).split_once("quiet").unwrap().1, @" -drive if=none,id=one,file=/disk/one,format=raw,read-only=off -device nvme,drive=one,serial=one -drive if=none,id=two,file=/disk/two,format=raw,read-only=off -device nvme,drive=two,serial=own");
    let mut micro = machine(Architecture::X86_64, Board::Microvm);
    micro.disks = vec![disk("vda", Bus::Virtio)];
    assert!(arguments(&micro, Accelerator::Tcg).contains(" -machine microvm,acpi=off -accel tcg "));
    insta::assert_snapshot!(arguments(&micro, Accelerator::Tcg).split_once("quiet").unwrap().1, @" -drive if=none,id=vda,file=/disk/vda,format=raw,read-only=off -device virtio-blk-device,drive=vda");
}

#[test]
fn files_are_named_by_their_inside_path_and_disks_alone_are_writable() {
    let mut machine = q35();
    machine.disks =
        vec![disk("vda", Bus::Virtio), Disk { read_only: true, ..disk("vdb", Bus::Virtio) }];
    let payload = Payload {
        kernel: Some(Path::new("/k/bzImage")),
        initrd: None,
        command_line: "",
        challenge: None,
    };
    let call = machine.call(Accelerator::Tcg, &payload).unwrap();
    let files: Vec<(&str, &str, bool)> = call
        .files
        .iter()
        .map(|file| (file.host.to_str().unwrap(), file.inside.as_str(), file.writable))
        .collect();
    let expected = [
        ("/k/bzImage", "/boot/kernel", false),
        ("/images/vda.img", "/disk/vda", true),
        ("/images/vdb.img", "/disk/vdb", false),
    ];
    assert_eq!(files, expected);
    assert!(!call.needs_kvm);
}

#[test]
fn the_command_line_keeps_what_the_system_decided() {
    let (tcg, kvm) = (Accelerator::Tcg, Accelerator::Kvm);
    for (append, accelerator, expected) in [
        ("", tcg, "console=ttyS0 panic=-1 no_timer_check"),
        ("", kvm, "console=ttyS0 panic=-1"),
        ("console=ttyS1  root=/dev/vda", kvm, "panic=-1 console=ttyS1 root=/dev/vda"),
        ("panic=5 no_timer_check", tcg, "console=ttyS0 panic=5 no_timer_check"),
        ("ro -- single", kvm, "console=ttyS0 panic=-1 ro -- single"),
    ] {
        assert_eq!(q35().command_line(append, accelerator), expected, "{append}");
    }
    let silent = Machine { console: None, ..q35() };
    assert_eq!(silent.command_line("quiet", kvm), "panic=-1 quiet");
    let arm = machine(Architecture::Aarch64, Board::Virt);
    assert_eq!(arm.command_line("", tcg), "console=ttyAMA0 panic=-1");
}

#[test]
fn without_an_initrd_the_challenge_goes_by_fw_cfg_and_never_by_the_command_line() {
    let challenge = Challenge::fresh().unwrap();
    let payload = Payload {
        kernel: Some(Path::new("/k")),
        initrd: None,
        command_line: &q35().command_line("", Accelerator::Tcg),
        challenge: Some(&challenge),
    };
    let call = q35().call(Accelerator::Tcg, &payload).unwrap();
    let holders: Vec<&OsString> = call
        .arguments
        .iter()
        .filter(|argument| argument.to_str().unwrap().contains(challenge.value()))
        .collect();
    let expected = format!("name=opt/osier/challenge,string={}", challenge.value());
    assert_eq!(holders, [expected.as_str()]);
}

#[test]
fn wrong_machines_are_refused() {
    let with = |change: &dyn Fn(&mut Machine)| {
        let mut machine = q35();
        change(&mut machine);
        machine.check().unwrap_err().to_string()
    };
    type Case<'a> = (&'a dyn Fn(&mut Machine), &'a str);
    let cases: &[Case<'_>] = &[
        (&|m| m.board = Board::Virt, "machine test: the board virt is not x86_64"),
        (&|m| m.memory_mib = 8, "machine test: memory_mib = 8 is not between 16 and 1048576"),
        (&|m| m.cpus = 0, "machine test: cpus = 0 is not between 1 and 64"),
        (&|m| m.cpu = Some("a b".into()), "cpu \"a b\" has a forbidden character"),
        (
            &|m| m.console = Some("ttyS0 init=/x".into()),
            "console \"ttyS0 init=/x\" has a forbidden character",
        ),
        (&|m| m.disks = vec![disk("a,b", Bus::Virtio)], "disk \"a,b\" has a forbidden character"),
        (&|m| m.disks = vec![disk("", Bus::Virtio)], "disk \"\" has a forbidden character"),
        (&|m| m.disks = vec![disk("../x", Bus::Virtio)], "disk \"../x\" has a forbidden character"),
        (&|m| m.disks = vec![disk("1a", Bus::Virtio)], "disk \"1a\" has a forbidden character"),
        (
            &|m| m.disks = vec![Disk { serial: Some("a,b".into()), ..disk("a", Bus::Virtio) }],
            "disk serial \"a,b\" has a forbidden character",
        ),
        (&|m| m.disks = vec![disk("a", Bus::Lsi), disk("a", Bus::Virtio)], "two disks are named a"),
        (&|m| m.disks = vec![disk("a", Bus::Ide)], "disk a: the board q35 has no ide bus"),
        (
            &|m| m.disks = vec![Disk { read_only: true, ..disk("a", Bus::Ahci) }],
            "disk a: a disk on the ahci bus cannot be read-only",
        ),
        (
            &|m| m.disks = (0..8).map(|n| disk(&format!("d{n}"), Bus::Lsi)).collect(),
            "disk d7: the lsi bus has room for 7 disks only",
        ),
    ];
    for (change, expected) in cases {
        let error = with(change);
        assert!(error.contains(expected), "{error}\nis not\n{expected}");
    }
    let arm = machine(Architecture::Aarch64, Board::Virt);
    let payload =
        Payload { kernel: Some(Path::new("/k")), initrd: None, command_line: "", challenge: None };
    if std::env::consts::ARCH == "x86_64" {
        let error = arm.call(Accelerator::Kvm, &payload).unwrap_err();
        assert!(matches!(error, MachineError::ForeignKvm { .. }));
    }
    let payload = Payload { kernel: None, initrd: Some(Path::new("/i")), ..payload };
    let error = q35().call(Accelerator::Tcg, &payload).unwrap_err();
    assert!(matches!(error, MachineError::NoKernel { .. }));
}
