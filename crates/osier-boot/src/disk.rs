//! Disks and how they are attached.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::board::Board;

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// virtio-blk; `/dev/vda` in Linux.
    Virtio,
    /// SATA by AHCI; `/dev/sda`.
    Ahci,
    /// Parallel ATA of the PIIX3; `/dev/sda`. On the board `pc` alone.
    Ide,
    /// NVMe, a controller for each disk; `/dev/nvme0n1`.
    Nvme,
    /// SCSI by LSI 53c895a (Linux: `SCSI_SYM53C8XX_2`); `/dev/sda`.
    Lsi,
    /// SAS by LSI 1068 (Linux: `FUSION_SAS`); `/dev/sda`.
    Mptsas,
}

impl Bus {
    /// How many disks fit on the one controller of this kind.
    pub(crate) fn places(self) -> usize {
        match self {
            Bus::Virtio | Bus::Nvme => 16,
            Bus::Ahci => 6,
            Bus::Ide => 4,
            Bus::Lsi => 7,
            Bus::Mptsas => 8,
        }
    }

    pub(crate) fn is_on(self, board: Board) -> bool {
        match (self, board) {
            (Bus::Virtio, _) => true,
            (Bus::Ide, board) => board == Board::Pc,
            (Bus::Ahci | Bus::Nvme | Bus::Lsi | Bus::Mptsas, board) => board != Board::Microvm,
        }
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bus::Virtio => "virtio",
            Bus::Ahci => "ahci",
            Bus::Ide => "ide",
            Bus::Nvme => "nvme",
            Bus::Lsi => "lsi",
            Bus::Mptsas => "mptsas",
        })
    }
}

/// A raw disk image attached to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Its name in QEMU: ASCII letters, digits and `-`, a letter first, not longer than 20.
    pub name: String,
    /// The raw image on the host.
    pub file: PathBuf,
    /// How it is attached.
    pub bus: Bus,
    /// Whether the guest may only read it; impossible for `ahci` and `ide`.
    pub read_only: bool,
    /// The serial number the guest sees, at most 20 of the characters a name may have. `nvme` always
    /// has one, the disk's name where none is given.
    pub serial: Option<String>,
    /// The world-wide name, for the buses with one (not `virtio` and `nvme`). `mptsas` always has one,
    /// because Linux finds no disk behind that controller without it.
    pub wwn: Option<u64>,
}
