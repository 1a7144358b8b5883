//! What a machine is made of: architecture, board, and what runs its instructions.

use serde::Serialize;

/// The processor family of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Architecture {
    /// The name in QEMU's program, and in [`std::env::consts::ARCH`].
    pub fn name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Aarch64 => "aarch64",
        }
    }
}

/// QEMU's `-machine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Board {
    /// x86 with PCI Express and AHCI.
    Q35,
    /// x86 with PCI and IDE.
    Pc,
    /// x86 with virtio-mmio only, described on the command line (Linux:
    /// `VIRTIO_MMIO_CMDLINE_DEVICES`) as there is no ACPI; so it cannot power off, but reboot.
    Microvm,
    /// ARM with PCI Express and virtio.
    Virt,
}

impl Board {
    /// QEMU's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Board::Q35 => "q35",
            Board::Pc => "pc",
            Board::Microvm => "microvm",
            Board::Virt => "virt",
        }
    }

    pub(crate) fn architecture(self) -> Architecture {
        match self {
            Board::Q35 | Board::Pc | Board::Microvm => Architecture::X86_64,
            Board::Virt => Architecture::Aarch64,
        }
    }
}

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The host's processor, by `/dev/kvm`.
    Kvm,
    /// QEMU's translator; works everywhere, some ten times slower.
    Tcg,
}

impl Accelerator {
    /// QEMU's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        }
    }

    /// By what time limits written for KVM are multiplied.
    pub fn slowness(self) -> u32 {
        match self {
            Accelerator::Kvm => 1,
            Accelerator::Tcg => 10,
        }
    }
}
