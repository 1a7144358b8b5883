//! Whether this host's KVM can be used, found out by using it.
//!
//! That `/dev/kvm` opens says little. There are hosts, virtual machines without hardware
//! virtualization above all, whose KVM interprets each guest instruction in software: a small
//! real-mode program ends at once there, while a Linux kernel takes minutes and then dies of an
//! instruction that the interpreter does not know (`KVM internal error`, `emulation failure`). So
//! the probe's guest goes on to long mode with paging, executes `lock cmpxchg16b`, and then
//! counts down from 50 million: some 20 ms on a processor, 40 s in an interpreter.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::board::Accelerator;
use crate::console::Console;
use crate::emulator::{Emulator, GuestStatus, QemuCall, QemuFile};
use crate::machine::common;
use crate::runner::pipes;

/// How long the probe's guest may take, QEMU's start included.
pub const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Where QEMU sees the probe's firmware.
const ROM: &str = "/boot/probe.rom";
/// What the guest writes to isa-debug-exit; QEMU then exits with twice that plus 1.
const WRITTEN: u8 = 0x31;
const ROM_SIZE: usize = 64 << 10;
/// Where an x86 processor starts, counted from the beginning of a 64 KiB ROM below 4 GiB.
const RESET: usize = 0xfff0;

/// The ROM's code and tables, at its beginning (linear address 0xffff0000).
///
/// The descriptors have their accessed bit set already, because the processor could not
/// write it into ROM.
#[rustfmt::skip]
const CODE: &[u8] = &[
    // Real mode.
    0xfa,                                           // cli
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0xb8, 0x00,       // lgdtl %cs:0xb8
    0x66, 0xb8, 0x11, 0x00, 0x00, 0x00,             // mov $0x11, %eax       protection on
    0x0f, 0x22, 0xc0,                               // mov %eax, %cr0        caches on
    0x66, 0xea, 0x19, 0x00, 0xff, 0xff, 0x08, 0x00, // ljmpl $8, $0xffff0019
    // 0x19: protected mode, flat.
    0x66, 0xb8, 0x10, 0x00,                         // mov $16, %ax
    0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0,             // mov %ax, %ds; %es; %ss
    0xfc,                                           // cld
    0xbf, 0x00, 0x00, 0x01, 0x00,                   // mov $0x10000, %edi    four empty tables
    0x31, 0xc0,                                     // xor %eax, %eax
    0xb9, 0x00, 0x10, 0x00, 0x00,                   // mov $0x1000, %ecx
    0xf3, 0xab,                                     // rep stosl
    // The first and the last 2 MiB below 4 GiB are mapped to themselves.
    0xc7, 0x05, 0x00, 0x00, 0x01, 0x00, 0x03, 0x10, 0x01, 0x00, // movl $0x11003, 0x10000
    0xc7, 0x05, 0x00, 0x10, 0x01, 0x00, 0x03, 0x20, 0x01, 0x00, // movl $0x12003, 0x11000
    0xc7, 0x05, 0x18, 0x10, 0x01, 0x00, 0x03, 0x30, 0x01, 0x00, // movl $0x13003, 0x11018
    0xc7, 0x05, 0x00, 0x20, 0x01, 0x00, 0x83, 0x00, 0x00, 0x00, // movl $0x83, 0x12000
    0xc7, 0x05, 0xf8, 0x3f, 0x01, 0x00, 0x83, 0x00, 0xe0, 0xff, // movl $0xffe00083, 0x13ff8
    0xb8, 0x20, 0x00, 0x00, 0x00,                   // mov $0x20, %eax       PAE
    0x0f, 0x22, 0xe0,                               // mov %eax, %cr4
    0xb8, 0x00, 0x00, 0x01, 0x00,                   // mov $0x10000, %eax
    0x0f, 0x22, 0xd8,                               // mov %eax, %cr3
    0xb9, 0x80, 0x00, 0x00, 0xc0,                   // mov $0xc0000080, %ecx EFER
    0x0f, 0x32,                                     // rdmsr
    0x80, 0xcc, 0x01,                               // or $1, %ah            long mode
    0x0f, 0x30,                                     // wrmsr
    0x0f, 0x20, 0xc0,                               // mov %cr0, %eax
    0x0d, 0x00, 0x00, 0x00, 0x80,                   // or $0x80000000, %eax  paging
    0x0f, 0x22, 0xc0,                               // mov %eax, %cr0
    0xea, 0x92, 0x00, 0xff, 0xff, 0x18, 0x00,       // ljmp $24, $0xffff0092
    // 0x92: long mode.
    0x31, 0xc0, 0x31, 0xd2, 0x31, 0xdb, 0x31, 0xc9, // xor %eax..; %edx; %ebx; %ecx
    0xbe, 0x00, 0x00, 0x02, 0x00,                   // mov $0x20000, %esi
    0xf0, 0x48, 0x0f, 0xc7, 0x0e,                   // lock cmpxchg16b (%rsi)
    0xb9, 0x80, 0xf0, 0xfa, 0x02,                   // mov $50000000, %ecx
    0xff, 0xc9, 0x75, 0xfc,                         // 1: dec %ecx; jne 1b
    0xb0, WRITTEN,                                  // mov $WRITTEN, %al
    0xe6, 0xf4,                                     // out %al, $0xf4
    0xf4, 0xeb, 0xfd,                               // 2: hlt; jmp 2b
    0x90, 0x90, 0x90, 0x90,
    // 0xb8: limit and address of the descriptor table.
    0x1f, 0x00, 0xc0, 0x00, 0xff, 0xff, 0x90, 0x90,
    // 0xc0: none; 32-bit code; data; 64-bit code.
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xaf, 0x00,
];

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KvmProbe {
    /// What guests of this host's own architecture should run on.
    pub accelerator: Accelerator,
    /// Why, as one clause.
    pub reason: String,
    /// How long the probe took, in seconds.
    pub seconds: f64,
}

/// Finds out whether QEMU, run by `emulator`, can use KVM, in about two seconds at most.
///
/// `device` is `/dev/kvm`; `scratch` is a folder in which the guest's firmware is written. The
/// answer belongs to this host and this boot of it; the caller keeps it. Anything that goes wrong
/// means [`Accelerator::Tcg`], with the reason.
pub fn probe(device: &Path, scratch: &Path, emulator: &dyn Emulator) -> KvmProbe {
    let begun = Instant::now();
    let found = try_kvm(device, scratch, emulator);
    let seconds = (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    match found {
        Ok(()) => KvmProbe {
            accelerator: Accelerator::Kvm,
            reason: "a small guest ran and ended as it should".to_owned(),
            seconds,
        },
        Err(reason) => KvmProbe { accelerator: Accelerator::Tcg, reason, seconds },
    }
}

fn try_kvm(device: &Path, scratch: &Path, emulator: &dyn Emulator) -> Result<(), String> {
    if std::env::consts::ARCH != "x86_64" {
        return Err("so far osier uses KVM only on x86_64 hosts".to_owned());
    }
    OpenOptions::new().read(true).write(true).open(device).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{} does not exist", device.display()),
        _ => format!("{}: {error}", device.display()),
    })?;
    let rom = scratch.join("kvm-probe.rom");
    fs::write(&rom, firmware()).map_err(|error| format!("{}: {error}", rom.display()))?;
    let result = run_guest(&rom, scratch, emulator);
    // Left-overs of a probe do no harm.
    for name in ["kvm-probe.rom", "kvm-probe.log"] {
        drop(fs::remove_file(scratch.join(name)));
    }
    result
}

fn run_guest(rom: &Path, scratch: &Path, emulator: &dyn Emulator) -> Result<(), String> {
    let (ends, ours) = pipes().map_err(|error| format!("no pipe: {error}"))?;
    let log = scratch.join("kvm-probe.log");
    let console = Console::read(ours.stdout, ours.stderr, &log, "\n")
        .map_err(|error| format!("{}: {error}", log.display()))?;
    let begun = Instant::now();
    let mut guest = emulator.start(&probe_call(rom), ends).map_err(|error| error.to_string())?;
    let exit = loop {
        match guest.try_wait(Duration::from_millis(20)).map_err(|error| error.to_string()) {
            Ok(Some(exit)) => break Ok(exit),
            Ok(None) => {}
            Err(error) => break Err(error),
        }
        let messages = console.record().messages.clone();
        if let Some(line) = String::from_utf8_lossy(&messages).lines().find(|l| l.contains("KVM")) {
            break Err(format!("the guest could not run: {line}"));
        }
        if begun.elapsed() >= PROBE_LIMIT {
            break Err(format!(
                "the guest did not end within {} s: this host's KVM hangs or interprets its guests",
                PROBE_LIMIT.as_secs()
            ));
        }
    };
    if exit.is_err() {
        guest.kill();
        drop(guest.try_wait(PROBE_LIMIT));
    }
    match exit?.status {
        GuestStatus::Code(code) if code == i32::from(WRITTEN) * 2 + 1 => Ok(()),
        status => {
            console.wait_closed(Duration::from_secs(1));
            let messages = String::from_utf8_lossy(&console.record().messages).into_owned();
            let said = messages.lines().next().unwrap_or("it said nothing").to_owned();
            Err(match status {
                GuestStatus::Code(code) => format!("QEMU exited with {code}: {said}"),
                GuestStatus::Signal(signal) => {
                    format!("QEMU was killed by signal {signal}: {said}")
                }
            })
        }
    }
}

/// The 64 KiB firmware: the code, and a jump to it where the processor starts.
fn firmware() -> Vec<u8> {
    let mut rom = vec![0xf4; ROM_SIZE];
    rom[..CODE.len()].copy_from_slice(CODE);
    // jmp 0x0000: RESET + 3 + 0x0d wraps around to the beginning.
    rom[RESET..RESET + 3].copy_from_slice(&[0xe9, 0x0d, 0x00]);
    rom
}

fn probe_call(rom: &Path) -> QemuCall {
    let arguments = common()
        .chain(["-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "16M"])
        .chain(["-monitor", "none", "-serial", "none", "-bios", ROM])
        .chain(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]);
    QemuCall {
        program: "qemu-system-x86_64".to_owned(),
        arguments: arguments.map(Into::into).collect(),
        files: vec![QemuFile { host: rom.to_owned(), inside: ROM.to_owned(), writable: false }],
        needs_kvm: true,
    }
}

#[cfg(test)]
#[path = "kvm_tests.rs"]
mod tests;
