//! The tables of every file that osier reads: the one place where keys are declared.

use crate::forms::{
    COMMIT, COMPONENT, DEBIAN_NAME, ENVIRONMENT, GIT, GLOB, LICENCE, NAME, OUTPUT, PATH, SHA256,
    SIZE, STEP, STEP_NAME, SUITE, TARGET, URL, VARIABLE, VERSION,
};
use crate::jobs;
use crate::schema::Type::{
    Array, Boolean, Choice, Form, Integer, Map, OneOrMore, Set, Table as Nested, Text, True, Value,
};
use crate::schema::{FileKind, Key, Table};

mod lock;
mod system;

pub use lock::{LOCK, LOCKED_ENVIRONMENT, LOCKED_FILE, LOCKED_PACKAGE, LOCKED_SOURCE};
pub use system::{
    ACCOUNTS, ACTION, BOOT_RUN, BOOT_TABLE, CONTENT, DISK, IMAGE, MACHINE, PROJECT, SYSTEM,
    SYSTEM_PART,
};

impl FileKind {
    /// The word for such a file: `recipe`, `kind`, `system`, `machine`, `project` or `lock`.
    pub fn as_str(self) -> &'static str {
        self.table().name
    }

    /// The file's outermost table.
    pub fn table(self) -> &'static Table {
        match self {
            Self::Recipe => &RECIPE,
            Self::Kind => &KIND,
            Self::System => &SYSTEM,
            Self::Machine => &MACHINE,
            Self::Project => &PROJECT,
            Self::Lock => &LOCK,
        }
    }
}

/// What a recipe can say of how the file of an address is packed.
pub const SOURCE_FORMATS: &[&str] = &[
    "tar", "tar.gz", "tar.xz", "tar.bz2", "tar.zst", "tar.lz", "tar.lzma", "tar.Z", "zip", "cpio",
    "ar", "deb", "rpm", "gz", "xz", "bz2", "zst", "lz", "lzma", "Z",
];

const NO_NETWORK: (&str, &str) =
    ("network", "steps never have the network; declare a `source` instead");

// Keys that several tables share.

static SUMMARY: Key = Key::new("summary", Text, "A one-line description.", "\"one line\"");
static PACKAGES: Key = Key::new(
    "packages",
    Set(&Form(&DEBIAN_NAME)),
    "Debian packages added to the build environment.",
    "[\"bc\", \"flex\"]",
);
static ENV: Key = Key::new(
    "env",
    Map(&ENVIRONMENT, &Text),
    "Environment variables for every step. Set a variable that the kind declares in `with` instead.",
    "{ CFLAGS = \"-O2\" }",
);
static TOOLS: Key = Key::new(
    "tools",
    Set(&Form(&COMPONENT)),
    "Components whose programs run during the build.",
    "[\"flexer\", \"bison:main\"]",
);
static NEEDS: Key = Key::new(
    "needs",
    Set(&Form(&COMPONENT)),
    "Components to link with. Steps see no other headers and libraries of the target.",
    "[\"zlib\", \"musl:dev\"]",
);
static FILES: Key = Key::new(
    "files",
    Set(&Form(&GLOB)),
    "Files beside the recipe. Steps find them below `/files`.",
    "[\"busybox.config\", \"conf/*\"]",
);
static PATCHES: Key = Key::new(
    "patches",
    Set(&Form(&GLOB)),
    "Patches beside the recipe, applied in this order; the matches of one pattern are sorted by name. A file `series` is a quilt \
     list: it names the patches of its folder, with options such as `-p0`. `SOURCE:PATTERN` names patches in a source of the \
     recipe; they are applied before those beside the recipe.",
    "[\"patches/*.patch\"]",
);
static WAIVERS: Key = Key::new(
    "waive",
    Array(&Nested(&WAIVE)),
    "Patches that may conflict without stopping the build, each with a reason.",
    "[{ patch = \"patches/*.patch\", reason = \"why\" }]",
);
static WITH: Key = Key::new(
    "with",
    Map(&VARIABLE, &Value),
    "Values for the variables that the kind declares.",
    "{ defconfig = \"allnoconfig\", fragments = [\"busybox.config\"] }",
);
static STEPS: Key = Key::new(
    "step",
    Array(&Nested(&STEP_TABLE)),
    "Steps to add to those of the kind. A step with the name of one of the kind's changes that step.",
    "[{ name = \"build\", run = \"make\" }]",
);

static STEP_KEY_NAME: Key =
    Key::new("name", Form(&STEP_NAME), "The step's name.", "\"build\"").required();
static RUN: Key = Key::new(
    "run",
    Text,
    "The script, run by `/bin/sh -eux`: it stops at the first command that fails and at any variable that is not set, and the \
     log shows every command. A new step needs one. In a step of the kind it replaces the kind's script.",
    "'make'",
);
static FROM: Key = Key::new(
    "from",
    Form(&STEP),
    "A step of another component to start from, instead of the step before this one.",
    "\"linux:patch\"",
);
static FOLDER: Key = Key::new(
    "folder",
    Text,
    "The working folder. It may contain environment variables. Default: `$SOURCE`.",
    "\"$SOURCE/build\"",
);
static PARALLEL: Key = Key::new(
    "parallel",
    Boolean,
    "Whether the step may run several jobs at once. Default: `true`.",
    "false",
);
static JOBS: Key = Key::new(
    "jobs",
    Choice(jobs::CHOICES),
    "How the step gets its jobs. The whole build has as many as `-j` says. `jobserver`: the step has one job and takes more as \
     they become free; make (called without `-j`), cargo and gcc's link-time optimisation do that by themselves. `share`: the \
     step gets a fixed number of jobs for as long as it runs, in `$JOBS`. make, `cmake --build`, cargo, go and nproc see that \
     number; pass `-j\"$JOBS\"` to ninja. Default: `jobserver`.",
    "\"share\"",
);
static MEMORY: Key = Key::new(
    "memory",
    Form(&SIZE),
    "The most memory that the step's processes may use together, including what they write to /tmp. Where osier can make control \
     groups, it ends a step that uses more. osier runs steps at the same time only if the sum of these numbers fits into the \
     machine, or into its control group; a step that needs more than that runs alone. Default: all but a sixteenth of the \
     machine's memory.",
    "\"2G\"",
);
pub(crate) static SILENCE: Key = Key::new(
    "silence",
    Integer(0, 1_000_000),
    "Minutes of CPU time that the step's processes together may use without printing anything; then osier ends the step. 0 means \
     no limit. Default: the project's `silence`, or else 120.",
    "600",
);
static FLAT: Key = Key::new(
    "flat",
    Boolean,
    "`true`: before the step starts, osier copies what earlier steps left in /build and /output into this step's own layer, so \
     that the step can rename folders that they made. The copy costs time and disk space. Default: `false`.",
    "true",
);
static CHECKS: Key = Key::new(
    "checks",
    Array(&Nested(&CHECK)),
    "Built-in checks that run after the script. The kind's checks still run when the recipe changes the step.",
    "[{ check = \"kconfig-honoured\", config = \".config\" }]",
);
static REUSE: Key = Key::new(
    "reuse",
    Nested(&REUSE_TABLE),
    "Lets the step start from what it made in an earlier build. Default: every run of the step starts clean.",
    "{ files = [\".config\"], variables = [\"fragments\"], edits = true }",
);

/// One step in a recipe.
pub static STEP_TABLE: Table = Table {
    refused: &[NO_NETWORK],
    ..Table::new(
        "step",
        "One stage of a component. A step with the name of one of the kind's changes that step: `packages` and `checks` are \
         added, every other key replaces the kind's. A new step needs `run`. It comes last, or after the step that `after` \
         names. osier itself does `unpack` and `patch` before all others.",
        &[
            STEP_KEY_NAME,
            RUN,
            Key::new(
                "after",
                Form(&NAME),
                "The step after which a new one is placed; `patch` places it first.",
                "\"build\"",
            ),
            FROM,
            PACKAGES,
            FOLDER,
            PARALLEL,
            JOBS,
            MEMORY,
            SILENCE,
            FLAT,
            CHECKS,
            REUSE,
            Key::new("skip", Boolean, "`true` drops the kind's step of this name.", "true"),
        ],
    )
};

/// One step in a kind.
pub static KIND_STEP: Table = Table {
    refused: &[
        NO_NETWORK,
        ("after", "a kind's steps run in the order of the file"),
        ("skip", "leave the step out"),
    ],
    ..Table::new(
        "step",
        "One stage of every component of the kind. Steps run in the order of the file.",
        &[
            STEP_KEY_NAME,
            RUN.required(),
            FROM,
            PACKAGES,
            FOLDER,
            PARALLEL,
            JOBS,
            MEMORY,
            SILENCE,
            FLAT,
            CHECKS,
            REUSE,
        ],
    )
};

/// From which earlier builds a step may start.
pub static REUSE_TABLE: Table = Table::new(
    "reuse",
    "Lets the step start from what it made in an earlier build with the same sources, script and inputs, if the step before it left the same files except for a few. The step must notice by itself that these few have changed; they get a new time. The \
     result stays marked until `osier build --clean-check` has compared it with a clean build.",
    &[
        Key::new(
            "files",
            Set(&Form(&PATH)),
            "Files below the source's folder that may differ from the earlier build.",
            "[\".config\"]",
        ),
        Key::new(
            "variables",
            Set(&Form(&VARIABLE)),
            "Variables that may differ, and the files beside the recipe that they name. No later step may use them.",
            "[\"fragments\"]",
        ),
        Key::new(
            "edits",
            Boolean,
            "While the source is being edited (`osier edit`), the steps before this one do not run again, and this one starts from its result for the unedited source. It must notice changed files by their times. Default: `false`.",
            "true",
        ),
    ],
);

/// What a recipe lets pass.
pub static WAIVE: Table = Table::new(
    "waive",
    "Lets the build go on without patches that do not fit the source. Every report of patches shows them as waived, with the \
     reason.",
    &[
        Key::new(
            "patch",
            Form(&GLOB),
            "Which patches: their paths beside the recipe, or `debian/patches/NAME` for Debian's own. `**` means all of them.",
            "\"patches/0007-*.patch\"",
        )
        .required(),
        Key::new(
            "apply",
            Choice(&["nothing", "what-fits"]),
            "What to apply of such a patch: nothing, or the hunks that fit. Default: `nothing`.",
            "\"what-fits\"",
        ),
        Key::new(
            "reason",
            Text,
            "Why the build can go on without what is not applied.",
            "\"the driver that it repairs is not built\"",
        )
        .required(),
    ],
);

/// A built-in check behind a step.
pub static CHECK: Table = Table {
    open: Some(&Text),
    ..Table::new(
        "checks",
        "A built-in check and its arguments, all of them strings.",
        &[Key::new("check", Form(&NAME), "The check's name.", "\"kconfig-honoured\"").required()],
    )
};

/// Where bytes come from.
pub static SOURCE: Table = Table {
    exactly_one: &["debian", "url", "git", "path"],
    ..Table::new(
        "source",
        "Where the source comes from: exactly one of `debian`, `url`, `git` and `path`. Write several sources as an array, \
         `[[source]]`.",
        &[
            Key::new("debian", Form(&DEBIAN_NAME), "A Debian source package.", "\"busybox\""),
            Key::new(
                "url",
                OneOrMore(&Form(&URL)),
                "One or more addresses of the same file. `{version}` stands for the version.",
                "[\"https://example.org/busybox-{version}.tar.bz2\"]",
            ),
            Key::new(
                "git",
                Form(&GIT),
                "The address of a git repository.",
                "\"https://example.org/busybox.git\"",
            ),
            Key::new("path", Form(&PATH), "A folder beside the recipe.", "\"src\""),
            Key::new(
                "name",
                Form(&NAME),
                "The name of the source and of its folder. Default: the recipe's name. Every source after the first needs a \
                 name.",
                "\"fonts\"",
            ),
            Key::new(
                "suite",
                Form(&SUITE),
                "The Debian suite. Default: the recipe's.",
                "\"bookworm\"",
            )
            .beside(&["debian"]),
            Key::new(
                "version",
                Form(&VERSION),
                "The Debian version. Default: the newest one of the suite when the lock is made.",
                "\"1:1.35.0-4\"",
            )
            .beside(&["debian"]),
            Key::new(
                "patches",
                Boolean,
                "Whether Debian's own patches are applied. Default: `false`.",
                "true",
            )
            .beside(&["debian"]),
            Key::new(
                "sha256",
                Form(&SHA256),
                "The file's SHA-256.",
                "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
            )
            .required()
            .beside(&["url"]),
            Key::new(
                "size",
                Integer(0, i64::MAX),
                "The size of the file in bytes. Default: osier accepts up to 4 GiB and writes the size into `osier.lock`.",
                "2480624",
            )
            .beside(&["url"]),
            Key::new(
                "strip",
                Integer(0, 16),
                "How many leading folders to remove from the paths in the archive. Default: 1. All paths must share them; if they \
                 do not, the error says what fits, such as `strip = 0`.",
                "0",
            )
            .beside(&["url"]),
            Key::new(
                "unpack",
                Boolean,
                "Whether the file is unpacked or decompressed. `false` puts it into the source's folder as it is. Default: \
                 `true`.",
                "false",
            )
            .beside(&["url"]),
            Key::new(
                "format",
                Choice(SOURCE_FORMATS),
                "How the file is packed. Default: osier looks at the content, whatever the file's name is; the reference of \
                 archives lists what it knows. Write `gz`, `xz` and so on to decompress an archive without unpacking it. With \
                 any other format a file that is packed differently is an error.",
                "\"tar.gz\"",
            )
            .beside(&["url"]),
            Key::new(
                "commit",
                Form(&COMMIT),
                "The commit.",
                "\"0123456789abcdef0123456789abcdef01234567\"",
            )
            .required()
            .beside(&["git"]),
        ],
    )
};

/// What the tables of a target and of a profile may hold.
pub static PART: Table = Table::new(
    "target and profile",
    "What applies to one target or one profile only. Lists are added to the general ones, values of `env` and `with` replace the \
     general ones, and steps change the steps of the same name. The profile is applied last.",
    &[PACKAGES, TOOLS, NEEDS, ENV, FILES, PATCHES, WAIVERS, WITH, STEPS],
);

/// A component as a toolchain.
pub static TOOLCHAIN: Table = Table::new(
    "toolchain",
    "Makes the component a toolchain.",
    &[
        Key::new(
            "system",
            Form(&NAME),
            "The end of the target triple, without the processor.",
            "\"linux-musl\"",
        )
        .required(),
        Key::new(
            "env",
            Map(&ENVIRONMENT, &Text),
            "Environment variables for all steps of what it compiles. `{triple}` stands for the target triple. A recipe and its \
             kind can override them.",
            "{ CC = \"{triple}-gcc\", AR = \"{triple}-ar\" }",
        ),
        Key::new(
            "freestanding",
            Set(&Form(&COMPONENT)),
            "The tools for `freestanding` components, which get these instead of the toolchain's `tools` and `needs`. Default: \
             the same as for all other components.",
            "[\"binutils\", \"gcc-core\"]",
        ),
    ],
);

/// A recipe.
pub static RECIPE: Table = Table::new(
    "recipe",
    "Describes one component. The file is `recipes/NAME.toml`, or `recipes/NAME/recipe.toml` if other files belong to it.",
    &[
        Key::new(
            "name",
            Form(&NAME),
            "The component's name. It must match the file's.",
            "\"busybox\"",
        )
        .required(),
        Key::new(
            "version",
            Form(&VERSION),
            "The version. Required if a source is a `url` or `git`. A Debian source brings its own. Without a source it is the \
             version of the component that a step starts `from`.",
            "\"1.35.0\"",
        ),
        SUMMARY,
        Key::new("homepage", Text, "The project's home page.", "\"https://example.org/busybox\""),
        Key::new(
            "licence",
            Form(&LICENCE),
            "The licence as an SPDX expression.",
            "\"GPL-2.0-only\"",
        ),
        Key::new(
            "kind",
            Form(&NAME),
            "The kind that provides the steps. Default: `script`.",
            "\"kconfig\"",
        ),
        Key::new(
            "suite",
            Form(&SUITE),
            "The Debian suite of the build environment. Default: the project's, or else `bookworm`.",
            "\"bookworm\"",
        ),
        Key::new(
            "targets",
            Set(&Form(&TARGET)),
            "The targets that the component supports. Default: all.",
            "[\"x86_64\"]",
        ),
        Key::new(
            "role",
            Choice(&["cross", "runtime"]),
            "The component's place in a toolchain. `cross`: it runs during the build and makes code for the target, so each \
             target has its own; its needs are linked for the build machine. `runtime`: it is for the target, and is compiled \
             with only the tools that it names, before the toolchain is complete. Default: the system's toolchain compiles what is for the target, and the build environment's compiler compiles what runs during the build.",
            "\"cross\"",
        ),
        Key::new(
            "toolchain",
            Nested(&TOOLCHAIN),
            "Makes the component a toolchain: everything that a system compiles with it gets its `tools` and its `needs`.",
            "{ system = \"linux-musl\", env = { CC = \"{triple}-gcc\" } }",
        ),
        Key::new(
            "freestanding",
            Boolean,
            "Whether the component is compiled without a C library, as kernels, boot loaders and firmware are. It then does not \
             see the toolchain's libraries, does not wait for them, and is not rebuilt when they change. Default: `false`. A \
             component with a `role` names its tools itself.",
            "true",
        ),
        Key::new(
            "tune",
            Boolean,
            "Whether a system's `tune` applies to this component. `false`: the component chooses its processor itself, as a \
             kernel does in its configuration. Default: `true`. A component with a `role` is the same for all levels.",
            "false",
        ),
        PACKAGES,
        TOOLS,
        NEEDS,
        ENV,
        FILES,
        PATCHES,
        Key::new(
            "source",
            OneOrMore(&Nested(&SOURCE)),
            "Where the component's source comes from.",
            "{ debian = \"busybox\" }",
        ),
        WAIVERS,
        WITH,
        STEPS,
        Key::new(
            "outputs",
            Map(&OUTPUT, &Set(&Form(&GLOB))),
            "Named parts of the installed tree, each given by patterns. Whatever no other output takes is in `main`.",
            "{ dev = [\"usr/include/**\", \"usr/lib/*.a\"] }",
        ),
        Key::new(
            "target",
            Map(&TARGET, &Nested(&PART)),
            "What applies to one target only.",
            "{ x86_64 = { packages = [\"nasm\"] } }",
        ),
        Key::new(
            "profile",
            Map(&NAME, &Nested(&PART)),
            "What applies to one profile only.",
            "{ debug = { env = { CFLAGS = \"-Og -g\" } } }",
        ),
    ],
);

/// A variable of a kind.
pub static VARIABLE_TABLE: Table = Table {
    exactly_one: &["default", "required"],
    ..Table::new(
        "var",
        "A variable that recipes set in `with`. Steps see it as an environment variable of the same name: a list joined by \
         spaces, a boolean as `yes` or empty.",
        &[
            Key::new("name", Form(&VARIABLE), "The variable's name.", "\"defconfig\"").required(),
            Key::new(
                "type",
                Choice(&["string", "list", "boolean", "integer"]),
                "The type of its values.",
                "\"string\"",
            )
            .required(),
            Key::new("default", Value, "The value if the recipe gives none.", "\"defconfig\""),
            Key::new(
                "required",
                True,
                "`true`: every recipe of the kind must give a value.",
                "true",
            ),
            Key::new("doc", Text, "What it is for.", "\"the configuration to start from\"")
                .required(),
        ],
    )
};

/// A kind's editor.
pub static EDITOR: Table = Table::new(
    "editor",
    "The full-screen editor that `osier config` opens on a component's configuration. It runs on what a step left. It is not in any step's key, so changing it rebuilds nothing.",
    &[
        Key::new("after", Form(&NAME), "The kind's step whose result is edited.", "\"configure\"")
            .required(),
        Key::new(
            "run",
            Text,
            "The script that starts it, run by `/bin/sh -eu`.",
            "\"make menuconfig\"",
        )
        .required(),
        Key::new(
            "config",
            Form(&PATH),
            "The configuration file that it reads and writes, below the source's folder.",
            "\".config\"",
        )
        .required(),
        Key::new(
            "packages",
            Set(&Form(&DEBIAN_NAME)),
            "Debian packages that it needs in addition to those of the build environment.",
            "[\"libncurses-dev\"]",
        ),
    ],
);

/// A kind.
pub static KIND: Table = Table::new(
    "kind",
    "A reusable set of steps. The file is `kinds/NAME.toml`.",
    &[
        Key::new("name", Form(&NAME), "The kind's name. It must match the file's.", "\"kconfig\"")
            .required(),
        SUMMARY,
        PACKAGES,
        ENV,
        Key::new(
            "var",
            Array(&Nested(&VARIABLE_TABLE)),
            "The variables that recipes can set.",
            "[{ name = \"defconfig\", type = \"string\", default = \"defconfig\", doc = \"where to start\" }]",
        ),
        Key::new(
            "step",
            Array(&Nested(&KIND_STEP)),
            "The steps, in order.",
            "[{ name = \"build\", run = \"make\" }]",
        ),
        Key::new(
            "editor",
            Nested(&EDITOR),
            "What `osier config` opens.",
            "{ after = \"configure\", run = \"make menuconfig\", config = \".config\" }",
        ),
    ],
);
