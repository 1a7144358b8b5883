//! The tables of systems, machines and projects.

use crate::forms::{
    COMPONENT, FILE_NAME, INSTALLED, KERNEL_WORDS, NAME, PATH, SIZE, SUITE, TARGET, TUNE as LEVEL,
};
use crate::schema::Type::{
    Array, Boolean, Choice, Form, Integer, Map, OneOrMore, Set, Table as Nested, Text, True,
};
use crate::schema::{Key, Table};
use crate::tables::SUMMARY;

static COMPONENTS: Key = Key::new(
    "components",
    Set(&Form(&COMPONENT)),
    "The components of the system.",
    "[\"linux\", \"busybox\"]",
);
static OVERLAYS: Key = Key::new(
    "overlays",
    Set(&Form(&PATH)),
    "Folders beside the file that are delivered as they are; of one path the last counts.",
    "[\"overlay\"]",
);
static MANIFEST: Key =
    Key::new("manifest", Form(&PATH), "The manifest, a file beside this one.", "\"manifest\"");
static KERNEL: Key = Key::new(
    "kernel",
    Form(&INSTALLED),
    "The kernel: a component and the path in what it installs.",
    "\"linux:boot/vmlinuz\"",
);
static BOOT: Key = Key::new(
    "boot",
    Nested(&BOOT_TABLE),
    "How the system is booted.",
    "{ machine = \"q35\", append = \"quiet\" }",
);

static TUNE: Key = Key::new(
    "tune",
    OneOrMore(&Form(&LEVEL)),
    "What C and C++ of the components are compiled for: a level of the target's processors, or `native`, the highest one that \
     the machine that builds has as a whole. Of several each target takes its own. Without it the project's, or else what \
     every processor of the target runs. The machine that boots the system must offer the level.",
    "\"x86-64-v3\"",
);

/// An image of a system.
pub static IMAGE: Table = Table::new(
    "image",
    "A file made from the system.",
    &[
        Key::new("name", Form(&NAME), "The image's name.", "\"initrd\"").required(),
        Key::new(
            "format",
            Choice(&["initramfs", "ext4", "erofs", "btrfs"]),
            "What it is: an initramfs, or a disk with the file system `ext4`, `erofs` (read-only, compressed) or `btrfs`.",
            "\"initramfs\"",
        )
        .required(),
        Key::new(
            "compression",
            Choice(&["gzip", "xz", "zstd", "lz4", "none"]),
            "How it is compressed. Without it `zstd` for an initramfs, which can be `gzip`, `xz` or `none` too, and `lz4` \
             for erofs, which can be `xz` (Linux 5.16), `zstd` (Linux 6.10) or `none` too. ext4 and btrfs are not compressed.",
            "\"zstd\"",
        ),
        Key::new(
            "level",
            Integer(0, 22),
            "The compression's level: 0 to 9 for gzip and xz, 1 to 19 for zstd (1 to 22 in erofs), 1 to 12 for lz4.",
            "3",
        ),
        Key::new(
            "size",
            Form(&SIZE),
            "The size of an ext4 or btrfs image. Without it what its files need; an ext4 one has some room then, a btrfs one none.",
            "\"64M\"",
        ),
        Key::new(
            "file",
            Form(&FILE_NAME),
            "The file's name. Without it the image's name and the usual suffix.",
            "\"initrd.img\"",
        ),
    ],
);

/// How a system is booted.
pub static BOOT_TABLE: Table = Table::new(
    "boot",
    "How a system is booted and what must then happen.",
    &[
        Key::new("machine", Form(&NAME), "The machine it is booted on.", "\"q35\""),
        Key::new(
            "append",
            Form(&KERNEL_WORDS),
            "What is added to the kernel's command line.",
            "\"quiet\"",
        ),
        Key::new(
            "image",
            Form(&NAME),
            "The initramfs it is booted from. Without it the first; a system without one boots from the machine's disks.",
            "\"initrd\"",
        ),
        Key::new(
            "run",
            Array(&Nested(&BOOT_RUN)),
            "The boots, one after another, each with its script.",
            "[{ script = [{ booted = true }, { end = \"poweroff\" }] }]",
        ),
    ],
);

/// One of several boots.
pub static BOOT_RUN: Table = Table::new(
    "boot.run",
    "One boot.",
    &[
        Key::new(
            "script",
            Array(&Nested(&ACTION)),
            "What is awaited and sent, in order.",
            "[{ booted = true }, { send = \"poweroff\\n\" }, { end = \"poweroff\" }]",
        )
        .required(),
        Key::new(
            "without",
            Array(&Form(&NAME)),
            "Disks of the machine that are not attached in this boot.",
            "[\"data\"]",
        ),
    ],
);

/// One action of a boot's script.
pub static ACTION: Table = Table {
    exactly_one: &["expect", "send", "booted", "end"],
    ..Table::new(
        "script",
        "One action: exactly one of `expect`, `send`, `booted` and `end`.",
        &[
            Key::new("expect", Text, "A text that must appear on the console.", "\"login:\""),
            Key::new("send", Text, "A text that is typed on the console.", "\"root\\n\""),
            Key::new(
                "booted",
                True,
                "`true`: process 1 of the manifest has proved itself.",
                "true",
            ),
            Key::new("end", Choice(&["poweroff", "reboot"]), "How the guest ends.", "\"poweroff\""),
            Key::new(
                "within",
                Integer(1, 86_400),
                "The seconds in which it must happen, on a machine with KVM.",
                "30",
            )
            .beside(&["expect", "booted", "end"]),
        ],
    )
};

/// What holds for a system on one target alone.
pub static SYSTEM_PART: Table = Table::new(
    "target",
    "What holds on one target alone. Components and overlays are added to the plain ones; the others replace them, \
     `boot` key by key.",
    &[TUNE, COMPONENTS, OVERLAYS, MANIFEST, KERNEL, BOOT],
);

/// Where accounts are read.
pub static ACCOUNTS: Table = Table::new(
    "accounts",
    "Where the names of users and groups in the manifest are looked up.",
    &[
        Key::new(
            "passwd",
            Form(&PATH),
            "The users, a path in the system. Without it `etc/passwd`; where there is none, root alone.",
            "\"etc/passwd\"",
        ),
        Key::new(
            "group",
            Form(&PATH),
            "The groups, a path in the system. Without it `etc/group`; where there is none, root alone.",
            "\"etc/group\"",
        ),
    ],
);

/// A system.
pub static SYSTEM: Table = Table::new(
    "system",
    "The recipe of a product. The file is `systems/NAME/system.toml`.",
    &[
        Key::new("name", Form(&NAME), "The system's name, the same as its folder's.", "\"initrd\"")
            .required(),
        SUMMARY,
        Key::new(
            "targets",
            Set(&Form(&TARGET)),
            "The targets that the system supports. Without it all.",
            "[\"x86_64\"]",
        ),
        Key::new(
            "toolchain",
            Form(&NAME),
            "The component that compiles the others, a recipe with a `toolchain` table. Without it the build environment's compiler, \
             which knows the processor of the machine that builds alone.",
            "\"toolchain\"",
        ),
        TUNE,
        COMPONENTS,
        OVERLAYS,
        MANIFEST,
        Key::new(
            "accounts",
            Nested(&ACCOUNTS),
            "Where the names of users and groups are looked up.",
            "{ passwd = \"etc/passwd\" }",
        ),
        KERNEL,
        Key::new(
            "image",
            Array(&Nested(&IMAGE)),
            "The images. They need a `manifest`.",
            "[{ name = \"initrd\", format = \"initramfs\" }]",
        ),
        BOOT,
        Key::new(
            "target",
            Map(&TARGET, &Nested(&SYSTEM_PART)),
            "What holds on one target alone.",
            "{ aarch64 = { boot = { machine = \"virt\" } } }",
        ),
    ],
);

/// A disk of a machine.
pub static DISK: Table = Table {
    exactly_one: &["system", "blank"],
    ..Table::new(
        "disk",
        "A disk: another system's image, or blank.",
        &[
            Key::new("name", Form(&NAME), "The disk's name.", "\"data\"").required(),
            Key::new("system", Form(&NAME), "The system whose image the disk is.", "\"rootfs\""),
            Key::new("blank", Form(&SIZE), "The size of a blank disk.", "\"1G\""),
            Key::new(
                "image",
                Form(&NAME),
                "Which image of the system. Without it the first.",
                "\"disk\"",
            )
            .beside(&["system"]),
            Key::new(
                "keep",
                Boolean,
                "Whether what the guest writes is there at the next boot of the same script. Without it `false`: the disk is \
                 new at each boot.",
                "true",
            ),
            Key::new(
                "bus",
                Choice(&["virtio", "sata", "nvme"]),
                "How the disk is attached. Without it `virtio`.",
                "\"virtio\"",
            ),
            Key::new(
                "read_only",
                Boolean,
                "Whether the guest can only read it. Without it `false`.",
                "true",
            ),
        ],
    )
};

/// A machine.
pub static MACHINE: Table = Table::new(
    "machine",
    "A machine that systems are booted on. The file is `machines/NAME.toml`.",
    &[
        Key::new("name", Form(&NAME), "The machine's name, the same as the file's.", "\"q35\"")
            .required(),
        SUMMARY,
        Key::new("architecture", Form(&TARGET), "The processor's architecture.", "\"x86_64\"")
            .required(),
        Key::new("board", Text, "QEMU's name of the board.", "\"q35\"").required(),
        Key::new(
            "cpu",
            Text,
            "QEMU's name of the processor. Without it the fullest that the accelerator has.",
            "\"max\"",
        ),
        Key::new("memory", Form(&SIZE), "The memory. Without it `256M`.", "\"256M\""),
        Key::new("cpus", Integer(1, 255), "The number of processors. Without it 1.", "2"),
        Key::new("console", Text, "The kernel's name of the serial console.", "\"ttyS0\"")
            .required(),
        Key::new(
            "disk",
            Array(&Nested(&DISK)),
            "The disks, in order.",
            "[{ name = \"data\", blank = \"1G\" }]",
        ),
        Key::new(
            "extra",
            Array(&Text),
            "Further arguments of QEMU.",
            "[\"-device\", \"virtio-rng-pci\"]",
        ),
    ],
);

/// A project.
pub static PROJECT: Table = Table::new(
    "project",
    "Makes a folder a project of the user's own, whose recipes, kinds, systems and machines come before osier's. \
     The file is `osier.toml`.",
    &[
        Key::new("name", Form(&NAME), "The project's name.", "\"my-appliance\"").required(),
        Key::new(
            "suite",
            Form(&SUITE),
            "The Debian suite of build environments. Without it `bookworm`.",
            "\"bookworm\"",
        ),
        Key::new(
            "default",
            Form(&NAME),
            "The system that is meant where none is named.",
            "\"initrd\"",
        ),
        Key::new("profile", Form(&NAME), "The profile where none is named.", "\"debug\""),
        Key::new(
            "toolchain",
            Form(&NAME),
            "The toolchain of a component that is asked for by itself, for another target than this machine. Without it `toolchain`.",
            "\"toolchain\"",
        ),
        Key::new(
            "tune",
            OneOrMore(&Form(&LEVEL)),
            "What systems that say nothing, and components that are asked for by themselves, are compiled for.",
            "[\"x86-64-v3\", \"armv8.2-a\"]",
        ),
        Key::new(
            "jobs",
            Integer(1, 4096),
            "Processors used at once, where `-j` says nothing. Without it all.",
            "4",
        ),
        super::SILENCE,
    ],
);
