//! What is emulated, and QEMU's arguments for it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;

use crate::board::{Accelerator, Architecture, Board};
use crate::challenge::{CHALLENGE_FW_CFG, Challenge};
use crate::cpu::default_model;
use crate::disk::{Bus, Disk};
use crate::emulator::{QemuCall, QemuFile};

/// Where QEMU sees the kernel.
const KERNEL: &str = "/boot/kernel";
/// Where QEMU sees the initramfs.
const INITRD: &str = "/boot/initrd";
/// Where QEMU sees the disks.
const DISKS: &str = "/disk";
/// Where SAS addresses begin for disks without one of their own (NAA 5, then any number).
const FIRST_WWN: u64 = 0x5000_c500_0000_0001;

/// An emulated machine; there is no network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The name under which reports show it.
    pub name: String,
    /// The processor family; must be the board's.
    pub architecture: Architecture,
    /// QEMU's board.
    pub board: Board,
    /// QEMU's `-cpu`; without it the host's own under KVM, `max` for x86 and
    /// `cortex-a57` for ARM under TCG (the ones that Linux of any age boots on).
    pub cpu: Option<String>,
    /// Memory in MiB, 16 to 1 TiB.
    pub memory_mib: u32,
    /// Processors, 1 to 64.
    pub cpus: u32,
    /// The Linux console that is QEMU's first serial port, such as `ttyS0` or `ttyAMA0`;
    /// `None` gives the kernel no `console=` at all.
    pub console: Option<String>,
    /// Disks in the order in which the guest finds them.
    pub disks: Vec<Disk>,
    /// Further QEMU arguments, added at the end as they are.
    pub extra: Vec<String>,
}

/// What is booted on the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payload<'a> {
    /// The kernel; without it the firmware boots from the disks.
    pub(crate) kernel: Option<&'a Path>,
    /// The initramfs, already with the challenge in it.
    pub(crate) initrd: Option<&'a Path>,
    /// The whole kernel command line, see [`Machine::command_line`].
    pub(crate) command_line: &'a str,
    /// Given by `fw_cfg` where there is no initramfs.
    pub(crate) challenge: Option<&'a Challenge>,
}

/// A machine that QEMU cannot emulate as asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MachineError {
    /// The board belongs to the other processor family.
    #[error("machine {machine}: the board {board} is not {architecture}")]
    Board {
        /// The machine's name.
        machine: String,
        /// The board's name.
        board: &'static str,
        /// The architecture's name.
        architecture: &'static str,
    },
    /// Memory or processors out of range.
    #[error("machine {machine}: {what} = {value} is not between {least} and {most}")]
    Range {
        /// The machine's name.
        machine: String,
        /// The field.
        what: &'static str,
        /// Its value.
        value: u32,
        /// The least that is possible.
        least: u32,
        /// The most that is possible.
        most: u32,
    },
    /// A name that would mean something else in QEMU's or the kernel's arguments.
    #[error("machine {machine}: {what} {value:?} has a forbidden character or a wrong length")]
    Name {
        /// The machine's name.
        machine: String,
        /// The field.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// Two disks of one name.
    #[error("machine {machine}: two disks are named {disk}")]
    DuplicateDisk {
        /// The machine's name.
        machine: String,
        /// The name.
        disk: String,
    },
    /// The board has no such controller and none can be added.
    #[error("machine {machine}: disk {disk}: the board {board} has no {bus} bus")]
    NoBus {
        /// The machine's name.
        machine: String,
        /// The disk's name.
        disk: String,
        /// The board's name.
        board: &'static str,
        /// The bus asked for.
        bus: Bus,
    },
    /// The controller is full.
    #[error("machine {machine}: disk {disk}: the {bus} bus has room for {places} disks only")]
    BusFull {
        /// The machine's name.
        machine: String,
        /// The first disk that does not fit.
        disk: String,
        /// The bus.
        bus: Bus,
        /// How many fit.
        places: usize,
    },
    /// ATA has no read-only disks.
    #[error("machine {machine}: disk {disk}: a disk on the {bus} bus cannot be read-only")]
    ReadOnly {
        /// The machine's name.
        machine: String,
        /// The disk's name.
        disk: String,
        /// The bus.
        bus: Bus,
    },
    /// KVM runs the host's own instructions only.
    #[error("machine {machine}: KVM on this host does not run {architecture}")]
    ForeignKvm {
        /// The machine's name.
        machine: String,
        /// The guest's architecture.
        architecture: &'static str,
    },
    /// A disk that is to be left out is none of the machine's.
    #[error("machine {machine}: there is no disk {disk} to leave out")]
    NoDisk {
        /// The machine's name.
        machine: String,
        /// The name that no disk has.
        disk: String,
    },
    /// An initramfs needs a kernel that QEMU loads.
    #[error("machine {machine}: an initrd or a command line is given without a kernel")]
    NoKernel {
        /// The machine's name.
        machine: String,
    },
}

impl Machine {
    /// Checks that QEMU can emulate this machine.
    ///
    /// # Errors
    ///
    /// The first field that it cannot honour.
    pub fn check(&self) -> Result<(), MachineError> {
        let machine = || self.name.clone();
        if self.board.architecture() != self.architecture {
            return Err(MachineError::Board {
                machine: machine(),
                board: self.board.name(),
                architecture: self.architecture.name(),
            });
        }
        for (what, value, least, most) in
            [("memory_mib", self.memory_mib, 16, 1 << 20), ("cpus", self.cpus, 1, 64)]
        {
            if !(least..=most).contains(&value) {
                return Err(MachineError::Range { machine: machine(), what, value, least, most });
            }
        }
        let name = |what, value: &str, fits: bool| match fits {
            true => Ok(()),
            false => Err(MachineError::Name { machine: machine(), what, value: value.to_owned() }),
        };
        if let Some(cpu) = &self.cpu {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.,+=".contains(&b);
            name("cpu", cpu, !cpu.is_empty() && cpu.bytes().all(fits))?;
        }
        if let Some(console) = &self.console {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b == b',';
            name("console", console, !console.is_empty() && console.bytes().all(fits))?;
        }
        let mut names = BTreeSet::new();
        for disk in &self.disks {
            name(
                "disk",
                &disk.name,
                is_plain(&disk.name) && disk.name.as_bytes()[0].is_ascii_alphabetic(),
            )?;
            if let Some(serial) = &disk.serial {
                name("disk serial", serial, is_plain(serial))?;
            }
            self.check_disk(disk)?;
            if !names.insert(&disk.name) {
                return Err(MachineError::DuplicateDisk {
                    machine: machine(),
                    disk: disk.name.clone(),
                });
            }
        }
        for bus in [Bus::Virtio, Bus::Ahci, Bus::Ide, Bus::Nvme, Bus::Lsi, Bus::Mptsas] {
            let places = bus.places();
            if let Some(disk) = self.disks.iter().filter(|disk| disk.bus == bus).nth(places) {
                let disk = disk.name.clone();
                return Err(MachineError::BusFull { machine: machine(), disk, bus, places });
            }
        }
        Ok(())
    }

    /// This machine without the disks of these names.
    ///
    /// # Errors
    ///
    /// The first name that no disk has.
    pub fn without(&self, names: &[String]) -> Result<Machine, MachineError> {
        let mut machine = self.clone();
        for name in names {
            let Some(place) = machine.disks.iter().position(|disk| disk.name == *name) else {
                let (machine, disk) = (machine.name, name.clone());
                return Err(MachineError::NoDisk { machine, disk });
            };
            machine.disks.remove(place);
        }
        Ok(machine)
    }

    fn check_disk(&self, disk: &Disk) -> Result<(), MachineError> {
        let (machine, name, bus) = (self.name.clone(), disk.name.clone(), disk.bus);
        if !bus.is_on(self.board) {
            return Err(MachineError::NoBus { machine, disk: name, board: self.board.name(), bus });
        }
        if disk.read_only && matches!(bus, Bus::Ahci | Bus::Ide) {
            return Err(MachineError::ReadOnly { machine, disk: name, bus });
        }
        Ok(())
    }

    /// The kernel command line: `append`, with what every boot test needs where `append` does
    /// not decide it: `console=`, `panic=-1` (a panic ends QEMU at once) and, for x86 under TCG,
    /// `no_timer_check` (the translator on a busy host fails the kernel's timer test now and then).
    pub fn command_line(&self, append: &str, accelerator: Accelerator) -> String {
        let words: Vec<&str> = append.split_ascii_whitespace().collect();
        let has = |key: &str| words.iter().any(|word| word.starts_with(key));
        let mut line = words.clone();
        let console = self.console.as_ref().map(|console| format!("console={console}"));
        // Words after `--` belong to init, so ours go first.
        let mut ours = Vec::new();
        if let Some(console) = &console
            && !has("console=")
        {
            ours.push(console.as_str());
        }
        if !has("panic=") {
            ours.push("panic=-1");
        }
        if self.architecture == Architecture::X86_64
            && accelerator == Accelerator::Tcg
            && !has("no_timer_check")
        {
            ours.push("no_timer_check");
        }
        line.splice(0..0, ours);
        line.join(" ")
    }

    /// The call of QEMU that boots `payload` on this machine with its console on standard
    /// input and output.
    pub(crate) fn call(
        &self,
        accelerator: Accelerator,
        payload: &Payload<'_>,
    ) -> Result<QemuCall, MachineError> {
        self.check()?;
        if accelerator == Accelerator::Kvm && self.architecture.name() != std::env::consts::ARCH {
            return Err(MachineError::ForeignKvm {
                machine: self.name.clone(),
                architecture: self.architecture.name(),
            });
        }
        let mut call = Arguments::new(self.board, accelerator);
        let cpu = self.cpu.as_deref().unwrap_or(default_model(accelerator, self.architecture));
        call.pair("-cpu", cpu);
        call.pair("-m", format!("{}M", self.memory_mib));
        call.pair("-smp", self.cpus.to_string());
        call.pair("-monitor", "none");
        // signal=off and mux=off: every byte, Ctrl-C and Ctrl-A included, is the guest's.
        call.pair("-chardev", "stdio,id=console,signal=off,mux=off");
        call.pair("-serial", "chardev:console");
        match payload.kernel {
            Some(kernel) => {
                call.file("-kernel", kernel, KERNEL);
                if let Some(initrd) = payload.initrd {
                    call.file("-initrd", initrd, INITRD);
                }
                call.pair("-append", payload.command_line);
            }
            None if payload.initrd.is_some() || !payload.command_line.is_empty() => {
                return Err(MachineError::NoKernel { machine: self.name.clone() });
            }
            None => {}
        }
        if let Some(challenge) = payload.challenge {
            call.pair("-fw_cfg", format!("name={CHALLENGE_FW_CFG},string={}", challenge.value()));
        }
        call.disks(self.board, &self.disks);
        call.arguments.extend(self.extra.iter().map(OsString::from));
        Ok(QemuCall {
            program: format!("qemu-system-{}", self.architecture.name()),
            arguments: call.arguments,
            files: call.files,
            needs_kvm: accelerator == Accelerator::Kvm,
        })
    }
}

fn is_plain(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// QEMU's arguments and files as they grow.
struct Arguments {
    arguments: Vec<OsString>,
    files: Vec<QemuFile>,
}

impl Arguments {
    fn new(board: Board, accelerator: Accelerator) -> Arguments {
        let mut call = Arguments { arguments: Vec::new(), files: Vec::new() };
        call.arguments.extend(common().map(OsString::from));
        call.pair(
            "-machine",
            match board {
                // With ACPI this board's timer interrupt is lost under TCG in most boots.
                Board::Microvm => "microvm,acpi=off",
                board => board.name(),
            },
        );
        call.pair("-accel", accelerator.name());
        call
    }

    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.arguments.extend([option.into(), value.into()]);
    }

    fn file(&mut self, option: &str, host: &Path, inside: &str) {
        self.pair(option, inside);
        self.files.push(QemuFile {
            host: host.to_owned(),
            inside: inside.to_owned(),
            writable: false,
        });
    }

    fn disks(&mut self, board: Board, disks: &[Disk]) {
        let has = |bus| disks.iter().any(|disk| disk.bus == bus);
        // q35 has an AHCI controller of its own, named like the IDE one of pc.
        if has(Bus::Ahci) && board != Board::Q35 {
            self.pair("-device", "ahci,id=ahci");
        }
        if has(Bus::Lsi) {
            self.pair("-device", "lsi53c895a,id=lsi");
        }
        if has(Bus::Mptsas) {
            self.pair("-device", "mptsas1068,id=mptsas");
        }
        for (index, disk) in disks.iter().enumerate() {
            let place = disks[..index].iter().filter(|other| other.bus == disk.bus).count();
            let Disk { name, .. } = disk;
            let inside = format!("{DISKS}/{name}");
            let access = if disk.read_only { "on" } else { "off" };
            self.pair(
                "-drive",
                format!("if=none,id={name},file={inside},format=raw,read-only={access}"),
            );
            self.files.push(QemuFile {
                host: disk.file.clone(),
                inside,
                writable: !disk.read_only,
            });
            let mut device = match disk.bus {
                Bus::Virtio if board == Board::Microvm => format!("virtio-blk-device,drive={name}"),
                Bus::Virtio => format!("virtio-blk-pci,drive={name}"),
                Bus::Ahci if board == Board::Q35 => format!("ide-hd,bus=ide.{place},drive={name}"),
                Bus::Ahci => format!("ide-hd,bus=ahci.{place},drive={name}"),
                Bus::Ide => {
                    format!("ide-hd,bus=ide.{},unit={},drive={name}", place / 2, place % 2)
                }
                Bus::Nvme => format!("nvme,drive={name}"),
                Bus::Lsi => format!("scsi-hd,bus=lsi.0,scsi-id={place},drive={name}"),
                Bus::Mptsas => format!("scsi-hd,bus=mptsas.0,scsi-id={place},drive={name}"),
            };
            // QEMU refuses an NVMe controller without one.
            if let Some(serial) = disk.serial.as_ref().or((disk.bus == Bus::Nvme).then_some(name)) {
                device += &format!(",serial={serial}");
            }
            let wwn = match disk.bus {
                Bus::Virtio | Bus::Nvme => None,
                Bus::Mptsas => disk.wwn.or(Some(FIRST_WWN + place as u64)),
                Bus::Ahci | Bus::Ide | Bus::Lsi => disk.wwn,
            };
            if let Some(wwn) = wwn {
                device += &format!(",wwn={wwn:#018x}");
            }
            self.pair("-device", device);
        }
    }
}

/// What every call of QEMU begins with: nothing by default, no window, and a reset is an end.
pub(crate) fn common() -> impl Iterator<Item = &'static str> {
    ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"].into_iter()
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
