//! A machine that systems are booted on.

use crate::schema::FileKind;
use crate::walk::{self, Node, Walk};
use crate::{Code, Diagnostic, Origin, Spanned, Target, parse_size, tables};

/// One parsed machine file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFile {
    /// The file.
    pub origin: Origin,
    /// The machine's name.
    pub name: Spanned<String>,
    /// One line that says what it is.
    pub summary: Option<Spanned<String>>,
    /// The processor's architecture.
    pub architecture: Target,
    /// QEMU's name of the board.
    pub board: Spanned<String>,
    /// QEMU's name of the processor; none for the fullest that the accelerator has.
    pub cpu: Option<Spanned<String>>,
    /// The memory in bytes.
    pub memory: u64,
    /// The number of processors.
    pub cpus: u8,
    /// The kernel's name of the serial console.
    pub console: Spanned<String>,
    /// The disks in order; names are all different.
    pub disks: Vec<Disk>,
    /// Further arguments of QEMU.
    pub extra: Vec<Spanned<String>>,
}

/// A disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The name.
    pub name: Spanned<String>,
    /// What is on it at first.
    pub backing: Backing,
    /// Whether what the guest writes is kept between boots.
    pub keep: bool,
    /// How it is attached: `virtio`, `sata` or `nvme`.
    pub bus: &'static str,
    /// Whether the guest can only read it.
    pub read_only: bool,
}

/// What is on a disk at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing {
    /// Another system's image.
    System {
        /// The system.
        system: Spanned<String>,
        /// The image; none for the system's first.
        image: Option<Spanned<String>>,
    },
    /// Nothing.
    Blank {
        /// The size in bytes.
        size: u64,
    },
}

const DEFAULT_MEMORY: u64 = 256 << 20;

impl MachineFile {
    /// Reads a machine file; `expected` is the name that the file's own name asks for.
    ///
    /// Fails with every error of the file, in the order of the text.
    pub fn parse(file: &str, text: &str, expected: Option<&str>) -> Result<Self, Vec<Diagnostic>> {
        let empty = || Spanned::new(String::new(), 0..0);
        let (mut walk, root) = Walk::open(file, text);
        let mut machine = Self {
            origin: walk.origin(),
            name: empty(),
            summary: None,
            architecture: Target::X86_64,
            board: empty(),
            cpu: None,
            memory: DEFAULT_MEMORY,
            cpus: 1,
            console: empty(),
            disks: Vec::new(),
            extra: Vec::new(),
        };
        walk.root(&root, FileKind::Machine, &mut machine, Self::read);
        walk.expect_name(&machine.name, expected);
        walk.finish(machine)
    }

    fn read(&mut self, walk: &mut Walk, key: &'static str, node: &Node<'_>) {
        match key {
            "name" => self.name = walk::text(node),
            "summary" => self.summary = Some(walk::text(node)),
            "architecture" => {
                self.architecture = walk::parsed_one(node, Target::parse)
                    .map_or(Target::X86_64, |found| found.value);
            }
            "board" => self.board = walk::text(node),
            "cpu" => self.cpu = Some(walk::text(node)),
            "memory" => self.memory = size(node),
            "cpus" => self.cpus = u8::try_from(walk::unsigned(node)).unwrap_or(1),
            "console" => self.console = walk::text(node),
            "disk" => self.disks = disks(walk, node),
            "extra" => self.extra = walk::texts(node),
            _ => walk::unread("machine", key),
        }
    }
}

fn size(node: &Node<'_>) -> u64 {
    node.get_ref().as_str().and_then(parse_size).unwrap_or_default()
}

fn disks(walk: &mut Walk, node: &Node<'_>) -> Vec<Disk> {
    let mut disks: Vec<Disk> = Vec::new();
    for (table, span) in walk::tables(node) {
        let (mut system, mut image) = (None, None);
        let mut disk = Disk {
            name: Spanned::new(String::new(), span.clone()),
            backing: Backing::Blank { size: 0 },
            keep: false,
            bus: "virtio",
            read_only: false,
        };
        walk.table(table, &span, &tables::DISK, &mut disk, |disk, _, key, node| match key {
            "name" => disk.name = walk::text(node),
            "system" => system = Some(walk::text(node)),
            "image" => image = Some(walk::text(node)),
            "blank" => disk.backing = Backing::Blank { size: size(node) },
            "keep" => disk.keep = walk::boolean(node),
            "bus" => {
                let buses = ["virtio", "sata", "nvme"];
                disk.bus = buses
                    .into_iter()
                    .find(|bus| node.get_ref().as_str() == Some(bus))
                    .unwrap_or("virtio");
            }
            "read_only" => disk.read_only = walk::boolean(node),
            _ => walk::unread("disk", key),
        });
        if let Backing::Blank { size } = &disk.backing
            && *size > crate::format::LARGEST_DISK
        {
            let place = table.get("blank").map_or(span.clone(), toml::Spanned::span);
            walk.error(Code::TooLarge, &place, "a disk can be at most 8T large")
                .hints
                .push("write a smaller size".into());
        }
        if let Some(system) = system {
            disk.backing = Backing::System { system, image };
        }
        let idle = match (&disk.backing, disk.keep) {
            (Backing::Blank { .. }, _) => Some("blank"),
            (Backing::System { .. }, true) => Some("keep"),
            (Backing::System { .. }, false) => None,
        };
        if let Some(idle) = idle.filter(|_| disk.read_only) {
            let message = format!("`{idle}` and `read_only` cannot be used together");
            let error = walk.error(Code::Conflict, &span, message);
            error.hints.push(
                "nothing is ever written to a read-only disk; remove one of the two keys".into(),
            );
        }
        disks.push(disk);
    }
    walk.distinct("the disk", disks.iter().map(|disk| &disk.name));
    disks
}
