//! The tables of every file that osier reads: the one place where keys are declared.

use crate::forms::{
    COMMIT, COMPONENT, DEBIAN_NAME, ENVIRONMENT, GIT, GLOB, LICENCE, NAME, OUTPUT, PATH, SHA256,
    SIZE, STEP, STEP_NAME, SUITE, TARGET, URL, VARIABLE, VERSION,
};
use crate::jobs;
use crate::schema::Type::{
    Array, Boolean, Choice, Form, Integer, Map, OneOrMore, Set, Table as Nested, Text, True, Value,
};
use crate::schema::{Key, Table};
use crate::source::SOURCE_FORMATS;

mod lock;
mod system;

pub use lock::{LOCK, LOCKED_ENVIRONMENT, LOCKED_FILE, LOCKED_PACKAGE, LOCKED_SOURCE};
pub use system::{
    ACCOUNTS, ACTION, BOOT_RUN, BOOT_TABLE, DISK, IMAGE, MACHINE, PROJECT, SYSTEM, SYSTEM_PART,
};

const NO_NETWORK: (&str, &str) =
    ("network", "steps never have the network; declare a `source` instead");

// Keys that several tables share.

static SUMMARY: Key = Key::new("summary", Text, "One line that says what it is.", "\"one line\"");
static PACKAGES: Key = Key::new(
    "packages",
    Set(&Form(&DEBIAN_NAME)),
    "Debian packages added to the build environment.",
    "[\"bc\", \"flex\"]",
);
static ENV: Key = Key::new(
    "env",
    Map(&ENVIRONMENT, &Text),
    "Environment variables of all steps. A variable that the kind declares is set in `with` instead.",
    "{ CFLAGS = \"-O2\" }",
);
static TOOLS: Key = Key::new(
    "tools",
    Set(&Form(&COMPONENT)),
    "Other components that run in the build.",
    "[\"flexer\", \"bison:main\"]",
);
static NEEDS: Key = Key::new(
    "needs",
    Set(&Form(&COMPONENT)),
    "Other components that are linked for the target; the steps see nothing else of the target.",
    "[\"zlib\", \"musl:dev\"]",
);
static FILES: Key = Key::new(
    "files",
    Set(&Form(&GLOB)),
    "Files beside the recipe that steps see below `/files`.",
    "[\"busybox.config\", \"conf/*\"]",
);
static PATCHES: Key = Key::new(
    "patches",
    Set(&Form(&GLOB)),
    "Patches beside the recipe, applied in this order; what one pattern matches is sorted by name. A file `series` is a \
     quilt list: it names the patches of its folder, with options such as `-p0`. `SOURCE:PATTERN` is patches in a source of \
     the recipe; they come before those beside it.",
    "[\"patches/*.patch\"]",
);
static WAIVERS: Key = Key::new(
    "waive",
    Array(&Nested(&WAIVE)),
    "Patches whose conflict does not stop the build, each with a reason.",
    "[{ patch = \"patches/*.patch\", reason = \"why\" }]",
);
static WITH: Key = Key::new(
    "with",
    Map(&VARIABLE, &Value),
    "Values of the variables that the kind declares.",
    "{ defconfig = \"allnoconfig\", fragments = [\"busybox.config\"] }",
);
static STEPS: Key = Key::new(
    "step",
    Array(&Nested(&STEP_TABLE)),
    "Steps added to those of the kind, or changes to the kind's step of the same name.",
    "[{ name = \"build\", run = \"make\" }]",
);

static STEP_KEY_NAME: Key =
    Key::new("name", Form(&STEP_NAME), "The step's name.", "\"build\"").required();
static RUN: Key = Key::new(
    "run",
    Text,
    "The script, run by `/bin/sh -eux`: it ends at the first command that fails and at a variable that is not set, and \
     every command is in the log. A new step must have it; for a step of the kind it replaces the kind's.",
    "'make'",
);
static FROM: Key = Key::new(
    "from",
    Form(&STEP),
    "The step of another component on whose layer this one starts, instead of the step before it.",
    "\"linux:patch\"",
);
static FOLDER: Key = Key::new(
    "folder",
    Text,
    "The working folder; variables of the environment may stand in it. Without it `$SOURCE`.",
    "\"$SOURCE/build\"",
);
static PARALLEL: Key = Key::new(
    "parallel",
    Boolean,
    "Whether the step may use several processors. Without it `true`.",
    "false",
);
static JOBS: Key = Key::new(
    "jobs",
    Choice(jobs::CHOICES),
    "How the step gets its jobs, of which the whole build has as many as `-j` says. `jobserver`: it has one, and takes \
     further ones as they become free, as make (called without `-j`), cargo and gcc's link-time optimisation do by \
     themselves. `share`: for tools that cannot, it gets a number of them for as long as it runs, in `$JOBS`, which make, \
     `cmake --build`, cargo, go and nproc know; ninja needs `-j\"$JOBS\"`. Without it `jobserver`.",
    "\"share\"",
);
static MEMORY: Key = Key::new(
    "memory",
    Form(&SIZE),
    "Most memory that the step's processes use together, with what they write to /tmp. Where osier can make control groups a step that \
     takes more is ended. osier starts no step beside others when the sum of these is more than the machine, or its control \
     group, has; one that needs more than that by itself runs alone. Without it all but a sixteenth of the machine's.",
    "\"2G\"",
);
pub(crate) static SILENCE: Key = Key::new(
    "silence",
    Integer(0, 1_000_000),
    "Minutes of processor time that a step may use without printing anything, all its processes together; then it is ended. \
     0 for any number. Without it what the project's `silence` says, and 120 where that says nothing.",
    "600",
);
static FLAT: Key = Key::new(
    "flat",
    Boolean,
    "`true`: before the step starts, what the steps before it left in /build and /output is copied into its own layer, so that \
     it can rename folders that they made. The copy costs time and disk space. Without it `false`.",
    "true",
);
static CHECKS: Key = Key::new(
    "checks",
    Array(&Nested(&CHECK)),
    "Built-in checks after the script. Those of the kind stay when the recipe changes the step.",
    "[{ check = \"kconfig-honoured\", config = \".config\" }]",
);
static REUSE: Key = Key::new(
    "reuse",
    Nested(&REUSE_TABLE),
    "The step may start from what it made in an earlier build. Without it every run of the step starts clean.",
    "{ files = [\".config\"], variables = [\"fragments\"], edits = true }",
);

/// One step in a recipe.
pub static STEP_TABLE: Table = Table {
    refused: &[NO_NETWORK],
    ..Table::new(
        "step",
        "One stage of a component. A step with the name of one of the kind's changes that one: `packages` and \
         `checks` are added, every other key replaces. A new step needs `run` and comes last, or behind the step \
         that `after` names. osier itself does `unpack` and `patch` before all others.",
        &[
            STEP_KEY_NAME,
            RUN,
            Key::new(
                "after",
                Form(&NAME),
                "The step behind which a new one is placed; `patch` places it first.",
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
        "One stage of every component of the kind, in the order of the file.",
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
    "The step may start from what it made in an earlier build whose sources, script and inputs are the same, where the \
     step below left the same but for a few files. It must notice by itself what follows from other content of \
     these: they get a new time. The result is marked until `osier build --clean-check` has compared it with a clean build.",
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
            "Variables that may differ, and with them the files beside the recipe that they name: only steps below use them.",
            "[\"fragments\"]",
        ),
        Key::new(
            "edits",
            Boolean,
            "While somebody edits the source (`osier edit`), the steps before this one are not run again and this one goes on \
             from what it made of the source as it was: it must notice changed files by their times. Without it `false`.",
            "true",
        ),
    ],
);

/// What a recipe lets pass.
pub static WAIVE: Table = Table::new(
    "waive",
    "Lets patches pass that do not fit the source. Each is reported as waived wherever patches are, with the reason.",
    &[
        Key::new(
            "patch",
            Form(&GLOB),
            "Which patches: their paths beside the recipe, and `debian/patches/NAME` for Debian's own. `**` is all.",
            "\"patches/0007-*.patch\"",
        )
        .required(),
        Key::new(
            "apply",
            Choice(&["nothing", "what-fits"]),
            "What of such a patch is applied: nothing, or the hunks that fit. Without it `nothing`.",
            "\"what-fits\"",
        ),
        Key::new(
            "reason",
            Text,
            "Why the build can go on without the rest.",
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
        "Where bytes come from: exactly one of `debian`, `url`, `git` and `path`. Several sources are an array, \
         `[[source]]`.",
        &[
            Key::new("debian", Form(&DEBIAN_NAME), "A Debian source package.", "\"busybox\""),
            Key::new(
                "url",
                OneOrMore(&Form(&URL)),
                "Places that all hold the same file; `{version}` stands for the version.",
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
                "The source's name, which is also its folder. Without it the recipe's; every further source needs one.",
                "\"fonts\"",
            ),
            Key::new(
                "suite",
                Form(&SUITE),
                "The Debian suite. Without it the recipe's.",
                "\"bookworm\"",
            )
            .beside(&["debian"]),
            Key::new(
                "version",
                Form(&VERSION),
                "The Debian version. Without it the newest of the suite when the lock is made.",
                "\"1:1.35.0-4\"",
            )
            .beside(&["debian"]),
            Key::new(
                "patches",
                Boolean,
                "Whether Debian's own patches are applied. Without it `false`.",
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
                "The file's size in bytes. Without it a file of more than 4 GiB is refused, and `osier.lock` keeps the size.",
                "2480624",
            )
            .beside(&["url"]),
            Key::new(
                "strip",
                Integer(0, 16),
                "Leading folders taken off the archive's paths. Without it 1. They must be the same for all that is in it: else the \
                 error says what fits, as in `strip = 0`.",
                "0",
            )
            .beside(&["url"]),
            Key::new(
                "unpack",
                Boolean,
                "Whether the file is an archive to unpack, or a compressed file to decompress. Else it lies in the source's folder as it is. Without it `true`.",
                "false",
            )
            .beside(&["url"]),
            Key::new(
                "format",
                Choice(SOURCE_FORMATS),
                "How the file is packed. Without it osier looks at the content, whatever the name; the reference of archives says \
                 what it knows. It has to be said that a compressed archive is to be decompressed alone: `gz`, `xz` …; and it can \
                 be said so that anything else is an error.",
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
    "What holds for one target or in one profile alone. Lists are added to the plain ones; values of `env` and \
     `with` replace them; steps change the steps of the same name. The profile comes last.",
    &[PACKAGES, TOOLS, NEEDS, ENV, FILES, PATCHES, WAIVERS, WITH, STEPS],
);

/// A component as a toolchain.
pub static TOOLCHAIN: Table = Table::new(
    "toolchain",
    "What the component is as a toolchain.",
    &[
        Key::new(
            "system",
            Form(&NAME),
            "What its programs are for, without the processor: the end of the triple.",
            "\"linux-musl\"",
        )
        .required(),
        Key::new(
            "env",
            Map(&ENVIRONMENT, &Text),
            "Variables of all steps of what it compiles; `{triple}` stands for the triple. Those of a recipe and its kind win.",
            "{ CC = \"{triple}-gcc\", AR = \"{triple}-ar\" }",
        ),
        Key::new(
            "freestanding",
            Set(&Form(&COMPONENT)),
            "The tools of what is `freestanding`, which gets these in the place of the toolchain's `tools` and `needs`. Without it \
             the same as everything else.",
            "[\"binutils\", \"gcc-core\"]",
        ),
    ],
);

/// A recipe.
pub static RECIPE: Table = Table::new(
    "recipe",
    "Describes one component. The file is `recipes/NAME.toml`, or `recipes/NAME/recipe.toml` where files lie \
     beside it.",
    &[
        Key::new(
            "name",
            Form(&NAME),
            "The component's name, the same as the file's.",
            "\"busybox\"",
        )
        .required(),
        Key::new(
            "version",
            Form(&VERSION),
            "The version. Needed where a source is a `url` or `git`; a Debian source brings its own, and without a source it is that of the component that a step starts `from`.",
            "\"1.35.0\"",
        ),
        SUMMARY,
        Key::new("homepage", Text, "Where it comes from.", "\"https://example.org/busybox\""),
        Key::new("licence", Form(&LICENCE), "The licence in the form of SPDX.", "\"GPL-2.0-only\""),
        Key::new(
            "kind",
            Form(&NAME),
            "The kind that brings the steps. Without it `script`.",
            "\"kconfig\"",
        ),
        Key::new(
            "suite",
            Form(&SUITE),
            "The Debian suite of the build environment. Without it the project's, or else `bookworm`.",
            "\"bookworm\"",
        ),
        Key::new(
            "targets",
            Set(&Form(&TARGET)),
            "The targets that the component supports. Without it all.",
            "[\"x86_64\"]",
        ),
        Key::new(
            "role",
            Choice(&["cross", "runtime"]),
            "Where the component stands in a toolchain. `cross`: it runs in the build and makes code for the target, so there is \
             one for each target; its needs are linked for the machine that builds. `runtime`: it is for the target and \
             compiled by the tools that it names alone, before there is a toolchain. Without it the system's toolchain \
             compiles what is for the target, and the build environment's compiler what runs in the build.",
            "\"cross\"",
        ),
        Key::new(
            "toolchain",
            Nested(&TOOLCHAIN),
            "The component is a toolchain: whatever a system has compiled by it gets its `tools` and its `needs`.",
            "{ system = \"linux-musl\", env = { CC = \"{triple}-gcc\" } }",
        ),
        Key::new(
            "freestanding",
            Boolean,
            "Whether it is compiled without a C library, as kernels, boot loaders and firmware are: the toolchain's libraries are \
             not there, are not waited for, and their changes do not reach it. Without it `false`; what has a `role` names its \
             tools itself.",
            "true",
        ),
        Key::new(
            "tune",
            Boolean,
            "Whether a system's `tune` is for this component too. `false`: it chooses its processor itself, as a kernel does by \
             its configuration. Without it `true`; what has a `role` is the same for all levels.",
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
            "Where the component's bytes come from.",
            "{ debian = \"busybox\" }",
        ),
        WAIVERS,
        WITH,
        STEPS,
        Key::new(
            "outputs",
            Map(&OUTPUT, &Set(&Form(&GLOB))),
            "Named parts of the installed tree, each by patterns. What no other output takes is `main`.",
            "{ dev = [\"usr/include/**\", \"usr/lib/*.a\"] }",
        ),
        Key::new(
            "target",
            Map(&TARGET, &Nested(&PART)),
            "What holds for one target alone.",
            "{ x86_64 = { packages = [\"nasm\"] } }",
        ),
        Key::new(
            "profile",
            Map(&NAME, &Nested(&PART)),
            "What holds in one profile alone.",
            "{ debug = { env = { CFLAGS = \"-Og -g\" } } }",
        ),
    ],
);

/// A variable of a kind.
pub static VARIABLE_TABLE: Table = Table {
    exactly_one: &["default", "required"],
    ..Table::new(
        "var",
        "A variable that recipes set in `with`. The steps see it as an environment variable of the same name: a list \
         joined by blanks, a boolean as `yes` or as nothing.",
        &[
            Key::new("name", Form(&VARIABLE), "The variable's name.", "\"defconfig\"").required(),
            Key::new(
                "type",
                Choice(&["string", "list", "boolean", "integer"]),
                "The type of its values.",
                "\"string\"",
            )
            .required(),
            Key::new("default", Value, "The value where the recipe gives none.", "\"defconfig\""),
            Key::new("required", True, "`true`: every recipe of the kind gives a value.", "true"),
            Key::new("doc", Text, "What it is for.", "\"the configuration to start from\"")
                .required(),
        ],
    )
};

/// A kind's editor.
pub static EDITOR: Table = Table::new(
    "editor",
    "The full-screen editor of a component's configuration, for `osier config`. It runs on what a step left, and none \
     of it is in the key of any step.",
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
            "The configuration that it reads and writes, below the source's folder.",
            "\".config\"",
        )
        .required(),
        Key::new(
            "packages",
            Set(&Form(&DEBIAN_NAME)),
            "Debian packages that it needs beside those of the build environment.",
            "[\"libncurses-dev\"]",
        ),
    ],
);

/// A kind.
pub static KIND: Table = Table::new(
    "kind",
    "A reusable set of steps. The file is `kinds/NAME.toml`.",
    &[
        Key::new("name", Form(&NAME), "The kind's name, the same as the file's.", "\"kconfig\"")
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
