//! The tables of systems, machines and projects.

use crate::forms::{
    COMPONENT, FILE_NAME, IMAGE_PATH, INSTALLED, KERNEL_WORDS, NAME, PATH, SIZE, SUITE, TARGET,
    TUNE as LEVEL,
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
    "Folders beside this file whose files are delivered as they are. If several have a file at the same path, the first one wins.",
    "[\"overlay\"]",
);
static MANIFEST: Key =
    Key::new("manifest", Form(&PATH), "The manifest, a file beside this one.", "\"manifest\"");
static KERNEL: Key = Key::new(
    "kernel",
    Form(&INSTALLED),
    "The kernel: a component, and a path below what it installs.",
    "\"linux:boot/vmlinuz\"",
);
static BOOT: Key = Key::new(
    "boot",
    Nested(&BOOT_TABLE),
    "How to boot the system.",
    "{ machine = \"q35\", append = \"quiet\" }",
);

static TUNE: Key = Key::new(
    "tune",
    OneOrMore(&Form(&LEVEL)),
    "The processor level that C and C++ are compiled for, or `native`: the highest level that the build machine fully supports. \
     Each target takes its own out of a list. Default: the project's, or else what every processor of the target runs. The \
     machine that boots the system must support the level.",
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
            Choice(&crate::format::NAMES),
            "The image's format: one of the table at the end of this page.",
            "\"initramfs\"",
        )
        .required(),
        Key::new(
            "compression",
            Choice(&["gzip", "xz", "zstd", "lz4", "none"]),
            "How the image is compressed. Default: the first compression of its format.",
            "\"zstd\"",
        ),
        Key::new(
            "level",
            Integer(0, 22),
            "The compression level. The table of formats has the range of each.",
            "3",
        ),
        Key::new(
            "size",
            Form(&SIZE),
            "The size of the image, for formats that can have one. Default: what its files need.",
            "\"64M\"",
        ),
        Key::new(
            "label",
            Text,
            "The label of the file system, for a format that has one: in a FAT file system at most 11 capital letters, digits \
             and some signs.",
            "\"ESP\"",
        ),
        Key::new(
            "content",
            Array(&Nested(&CONTENT)),
            "The files of an image whose format takes files; other formats take the root file system.",
            "[{ path = \"vmlinuz\", kernel = true }]",
        ),
        Key::new(
            "file",
            Form(&FILE_NAME),
            "The file's name. Default: the image's name with the suffix of its format.",
            "\"initrd.img\"",
        ),
    ],
);

/// A file in an image.
pub static CONTENT: Table = Table {
    exactly_one: &["kernel", "image", "component"],
    ..Table::new(
        "content",
        "A file in an image: exactly one of `kernel`, `image` and `component` says what it is.",
        &[
            Key::new(
                "path",
                Form(&IMAGE_PATH),
                "Its path in the image.",
                "\"EFI/BOOT/BOOTX64.EFI\"",
            )
            .required(),
            Key::new("kernel", True, "`true`: the system's kernel.", "true"),
            Key::new("image", Form(&NAME), "Another image of the system.", "\"initrd\""),
            Key::new(
                "component",
                Form(&COMPONENT),
                "A component, or one of its outputs. It need not be among the system's `components`.",
                "\"grub\"",
            ),
            Key::new(
                "from",
                Form(&PATH),
                "The file, a path below what the component installs.",
                "\"boot/grub.cfg\"",
            )
            .required()
            .beside(&["component"]),
        ],
    )
};

/// How a system is booted.
pub static BOOT_TABLE: Table = Table::new(
    "boot",
    "How to boot a system, and what must happen then.",
    &[
        Key::new("machine", Form(&NAME), "The machine to boot on.", "\"q35\""),
        Key::new(
            "append",
            Form(&KERNEL_WORDS),
            "Words to add to the kernel's command line.",
            "\"quiet\"",
        ),
        Key::new(
            "image",
            Form(&NAME),
            "The initramfs to boot from. Default: the first one. A system without an initramfs boots from the machine's disks.",
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
            "What to wait for and what to send, in order.",
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
            Key::new("expect", Text, "Text that must appear on the console.", "\"login:\""),
            Key::new("send", Text, "Text to type on the console.", "\"root\\n\""),
            Key::new(
                "booted",
                True,
                "`true`: waits until process 1 has answered the challenge of this boot.",
                "true",
            ),
            Key::new("end", Choice(&["poweroff", "reboot"]), "How the guest must end.", "\"poweroff\""),
            Key::new(
                "within",
                Integer(1, 86_400),
                "How many seconds it may take on a machine with KVM. osier allows more when it emulates.",
                "30",
            )
            .beside(&["expect", "booted", "end"]),
        ],
    )
};

/// What holds for a system on one target alone.
pub static SYSTEM_PART: Table = Table::new(
    "target",
    "What applies to one target only. Components and overlays are added to the general ones; other keys replace the general \
     ones, `boot` key by key.",
    &[TUNE, COMPONENTS, OVERLAYS, MANIFEST, KERNEL, BOOT],
);

/// Where accounts are read.
pub static ACCOUNTS: Table = Table::new(
    "accounts",
    "Where to look up the users and groups that the manifest names.",
    &[
        Key::new(
            "passwd",
            Form(&PATH),
            "The file of users, a path in the system. Default: `etc/passwd`; if there is none, only root is known.",
            "\"etc/passwd\"",
        ),
        Key::new(
            "group",
            Form(&PATH),
            "The file of groups, a path in the system. Default: `etc/group`; if there is none, only root is known.",
            "\"etc/group\"",
        ),
    ],
);

/// A system.
pub static SYSTEM: Table = Table::new(
    "system",
    "The recipe of a product. The file is `systems/NAME/system.toml`.",
    &[
        Key::new(
            "name",
            Form(&NAME),
            "The system's name. It must match its folder's.",
            "\"initrd\"",
        )
        .required(),
        SUMMARY,
        Key::new(
            "targets",
            Set(&Form(&TARGET)),
            "The targets that the system supports. Default: all.",
            "[\"x86_64\"]",
        ),
        Key::new(
            "toolchain",
            Form(&NAME),
            "The component that compiles the others: a recipe with a `toolchain` table. Default: the build environment's \
             compiler, which compiles only for the build machine's architecture.",
            "\"toolchain\"",
        ),
        TUNE,
        COMPONENTS,
        OVERLAYS,
        MANIFEST,
        Key::new(
            "accounts",
            Nested(&ACCOUNTS),
            "Where to look up users and groups.",
            "{ passwd = \"etc/passwd\" }",
        ),
        KERNEL,
        Key::new(
            "image",
            Array(&Nested(&IMAGE)),
            "The images. Those of the root file system need a `manifest`.",
            "[{ name = \"initrd\", format = \"initramfs\" }]",
        ),
        BOOT,
        Key::new(
            "target",
            Map(&TARGET, &Nested(&SYSTEM_PART)),
            "What applies to one target only.",
            "{ aarch64 = { boot = { machine = \"virt\" } } }",
        ),
    ],
);

/// A disk of a machine.
pub static DISK: Table = Table {
    exactly_one: &["system", "blank"],
    ..Table::new(
        "disk",
        "A disk: another system's image, or a blank one.",
        &[
            Key::new("name", Form(&NAME), "The disk's name.", "\"data\"").required(),
            Key::new(
                "system",
                Form(&NAME),
                "The system whose image becomes the disk.",
                "\"rootfs\"",
            ),
            Key::new("blank", Form(&SIZE), "The size of a blank disk.", "\"1G\""),
            Key::new(
                "image",
                Form(&NAME),
                "Which image of the system. Default: the first.",
                "\"disk\"",
            )
            .beside(&["system"]),
            Key::new(
                "keep",
                Boolean,
                "Whether the next boot of the same script sees what the guest wrote. Default: `false`; the disk is new at each \
                 boot.",
                "true",
            ),
            Key::new(
                "bus",
                Choice(&["virtio", "sata", "nvme"]),
                "How the disk is attached. Default: `virtio`.",
                "\"virtio\"",
            ),
            Key::new(
                "read_only",
                Boolean,
                "Whether the guest can only read the disk. Default: `false`.",
                "true",
            ),
        ],
    )
};

/// A machine.
pub static MACHINE: Table = Table::new(
    "machine",
    "A machine to boot systems on. The file is `machines/NAME.toml`.",
    &[
        Key::new("name", Form(&NAME), "The machine's name. It must match the file's.", "\"q35\"")
            .required(),
        SUMMARY,
        Key::new("architecture", Form(&TARGET), "The processor's architecture.", "\"x86_64\"")
            .required(),
        Key::new("board", Text, "QEMU's name for the board.", "\"q35\"").required(),
        Key::new(
            "cpu",
            Text,
            "QEMU's name for the processor. Default: the most capable one that QEMU offers here.",
            "\"max\"",
        ),
        Key::new("memory", Form(&SIZE), "The amount of memory. Default: `256M`.", "\"256M\""),
        Key::new("cpus", Integer(1, 255), "The number of processors. Default: 1.", "2"),
        Key::new("console", Text, "The kernel's name for the serial console.", "\"ttyS0\"")
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
            "More arguments for QEMU.",
            "[\"-device\", \"virtio-rng-pci\"]",
        ),
    ],
);

/// A project.
pub static PROJECT: Table = Table::new(
    "project",
    "Makes a folder your own project. Its recipes, kinds, systems and machines take precedence over osier's. The file is \
     `osier.toml`.",
    &[
        Key::new("name", Form(&NAME), "The project's name.", "\"my-appliance\"").required(),
        Key::new(
            "suite",
            Form(&SUITE),
            "The Debian suite of build environments. Default: `bookworm`.",
            "\"bookworm\"",
        ),
        Key::new("default", Form(&NAME), "The system to use if none is named.", "\"initrd\""),
        Key::new("profile", Form(&NAME), "The profile to use if none is named.", "\"debug\""),
        Key::new(
            "toolchain",
            Form(&NAME),
            "The toolchain for components that are built by themselves for another target than this machine. Default: \
             `toolchain`.",
            "\"toolchain\"",
        ),
        Key::new(
            "tune",
            OneOrMore(&Form(&LEVEL)),
            "The processor level for systems that name none, and for components that are built by themselves.",
            "[\"x86-64-v3\", \"armv8.2-a\"]",
        ),
        Key::new(
            "jobs",
            Integer(1, 4096),
            "How many jobs run at once if `-j` is not given. Default: as many as there are processors.",
            "4",
        ),
        super::SILENCE,
    ],
);
