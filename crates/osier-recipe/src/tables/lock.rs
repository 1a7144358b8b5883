//! The tables of the lock.

use crate::forms::{
    ARCHITECTURE, COMMIT, DEBIAN_NAME, FILE_NAME, GIT, NAME, PATH, PINNED, SHA256, SUITE, URL,
    VERSION,
};
use crate::schema::Type::{Array, Form, Integer, Set, Table as Nested};
use crate::schema::{Key, Table, Type};

const ANY_SIZE: Type = Integer(0, i64::MAX);

static FILE_KEYS: &[Key] = &[
    Key::new("name", Form(&FILE_NAME), "The file's name.", "\"busybox_1.35.0-4.dsc\"").required(),
    Key::new(
        "path",
        Form(&PATH),
        "The path below a Debian mirror.",
        "\"pool/main/b/busybox/busybox_1.35.0-4.dsc\"",
    ),
    Key::new(
        "urls",
        Array(&Form(&URL)),
        "The addresses of the file.",
        "[\"https://example.org/busybox-1.35.0.tar.bz2\"]",
    ),
    SIZE_IN_BYTES,
    FILE_HASH,
];
static SIZE_IN_BYTES: Key = Key::new("size", ANY_SIZE, "The size in bytes.", "2311").required();
static FILE_HASH: Key = Key::new(
    "sha256",
    Form(&SHA256),
    "The SHA-256.",
    "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
)
.required();
static LOCKED_SUITE: Key =
    Key::new("suite", Form(&SUITE), "The Debian suite.", "\"bookworm\"").required();
static LOCKED_ARCHITECTURE: Key = Key::new(
    "architecture",
    Form(&ARCHITECTURE),
    "Debian's name for the architecture.",
    "\"amd64\"",
)
.required();
static LOCKED_VERSION: Key =
    Key::new("version", Form(&VERSION), "The Debian version.", "\"1:1.35.0-4\"").required();

/// A locked binary package.
pub static LOCKED_PACKAGE: Table = Table::new(
    "package",
    "A Debian binary package.",
    &[
        Key::new("name", Form(&DEBIAN_NAME), "The package.", "\"bc\"").required(),
        LOCKED_VERSION,
        LOCKED_ARCHITECTURE,
        LOCKED_SUITE,
        Key::new(
            "path",
            Form(&PATH),
            "The path below a Debian mirror.",
            "\"pool/main/b/bc/bc_1.07.1-3+b1_amd64.deb\"",
        )
        .required(),
        SIZE_IN_BYTES,
        FILE_HASH,
    ],
);

/// A locked build environment.
pub static LOCKED_ENVIRONMENT: Table = Table::new(
    "environment",
    "A list of packages that recipes ask for, and everything that these depend on.",
    &[
        LOCKED_SUITE,
        LOCKED_ARCHITECTURE,
        Key::new(
            "request",
            Set(&Form(&DEBIAN_NAME)),
            "The packages that are asked for, sorted.",
            "[\"bc\"]",
        )
        .required(),
        Key::new(
            "packages",
            Set(&Form(&PINNED)),
            "All packages that are installed; each is a `package` of this lock.",
            "[\"bc=1.07.1-3+b1\"]",
        )
        .required(),
    ],
);

/// The pins of one source.
pub static LOCKED_SOURCE: Table = Table {
    exactly_one: &["debian", "url", "git"],
    ..Table::new(
        "source",
        "The pins of one source of a recipe.",
        &[
            Key::new("recipe", Form(&NAME), "The recipe.", "\"busybox\"").required(),
            Key::new("name", Form(&NAME), "The source.", "\"busybox\"").required(),
            Key::new("debian", Form(&DEBIAN_NAME), "The Debian source package.", "\"busybox\""),
            Key::new("url", Form(&URL), "The first address, as written in the recipe.", "\"https://example.org/busybox-{version}.tar.bz2\""),
            Key::new("git", Form(&GIT), "The git repository.", "\"https://example.org/busybox.git\""),
            LOCKED_VERSION.beside(&["debian"]),
            LOCKED_SUITE.beside(&["debian"]),
            Key::new("commit", Form(&COMMIT), "The commit.", "\"0123456789abcdef0123456789abcdef01234567\"").required().beside(&["git"]),
            Key::new("files", Array(&Nested(&LOCKED_FILE)), "The files.", "[{ name = \"busybox.dsc\", path = \"pool/busybox.dsc\", size = 2311, sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\" }]").required(),
        ],
    )
};

/// A locked file.
pub static LOCKED_FILE: Table = Table::new(
    "files",
    "One file, by `path` in the pool of a Debian mirror, by `urls`, or made from a git commit.",
    FILE_KEYS,
);

/// The lock.
pub static LOCK: Table = Table::new(
    "lock",
    "Pins every source and every package of the build environments. The file is `osier.lock`; osier writes it.",
    &[
        Key::new("version", Integer(0, i64::MAX), "The version of this format: 1.", "1").required(),
        Key::new("package", Array(&Nested(&LOCKED_PACKAGE)), "The Debian binary packages.", "[]"),
        Key::new(
            "environment",
            Array(&Nested(&LOCKED_ENVIRONMENT)),
            "The build environments.",
            "[]",
        ),
        Key::new("source", Array(&Nested(&LOCKED_SOURCE)), "The sources.", "[]"),
    ],
);
