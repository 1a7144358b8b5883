//! Patches against patch(1) itself: `cargo xtask prove patches`.
//!
//! Debian's own patches of real packages are put on by osier and, on the same unpacked source, by patch(1) in the
//! sandbox; the two sources must have the same files, bytes, modes and links. Then every class on one of them.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::workshop::Workshop;

/// Source packages of Debian, with quilt lists of many hands.
const PACKAGES: &[&str] = &[
    "acl",
    "attr",
    "bash",
    "btrfs-progs",
    "busybox",
    "e2fsprogs",
    "kbd",
    "libxcrypt",
    "lzo2",
    "musl",
    "ncurses",
    "readline",
    "socat",
    "tar",
    "util-linux",
    "xz-utils",
    "zlib",
    "libzstd",
];

/// Lists a source: kind, mode, name and target of everything, and the bytes of the files.
const LIST: &str = r#"mkdir -p $OUTPUT
find . -mindepth 1 -printf '%y %m %p %l\n' | sort > $OUTPUT/names
find . -type f -print0 | sort -z | xargs -0 sha256sum > $OUTPUT/sums
"#;

/// Puts Debian's patches on with patch(1), as dpkg-source does, without fuzz. A patch without a diff is none to it.
const BY_PATCH: &str = r#"list=debian/patches/series
[ -e $list ] || list=/dev/null
while read -r name options; do
  case "$name" in ''|'#'*) continue ;; esac
  case "$options" in -p*) level=${options%% *} ;; *) level=-p1 ;; esac
  grep -q -e '^--- ' -e '^diff --git' "debian/patches/$name" || continue
  patch -s "$level" -F0 -E --no-backup-if-mismatch -i "debian/patches/$name"
done < $list
"#;

/// Compares osier with patch(1), and shows every class on a real source.
pub(crate) fn patches(store: &Path) -> Result<()> {
    let shop = Workshop::new("patches", store)?;
    for package in PACKAGES {
        let recipe = |name: &str, head: &str, step: &str, run: &str| {
            format!(
                "name = \"{name}\"\n{head}\n[[step]]\nname = \"install\"\n{step}\nrun = '''\ncd /build/{package}\n{run}{LIST}'''\n"
            )
        };
        let head = format!("source = {{ debian = \"{package}\", patches = true }}");
        shop.write(&format!("recipes/{package}.toml"), &recipe(package, &head, "", ""))?;
        let other = format!("{package}-by-patch");
        let from = format!("from = \"{package}:unpack\"");
        shop.write(&format!("recipes/{other}.toml"), &recipe(&other, "", &from, BY_PATCH))?;
        let (ours, theirs) = (shop.digest(package)?, shop.digest(&other)?);
        let log = shop.good(&["log", &format!("{package}:patch")])?;
        let summary = log.lines().last().context("the log ends with a summary")?;
        ensure!(ours == theirs, "osier and patch(1) make different sources of {package}:\n{log}");
        println!("prove patches: {package}: {summary}; the same source as with patch(1)");
    }
    classes(&shop)
}

/// A patch of busybox's `Makefile`, whose first lines are known: the lines before, a change, the lines behind.
fn makefile(first: usize, before: &str, old: &str, new: &str, behind: &str) -> String {
    let count = before.lines().count() + 1 + behind.lines().count();
    let context = |lines: &str| lines.lines().map(|line| format!(" {line}\n")).collect::<String>();
    format!(
        "--- a/Makefile\n+++ b/Makefile\n@@ -{first},{count} +{first},{count} @@\n{}-{old}\n+{new}\n{}",
        context(before),
        context(behind)
    )
}

/// Clean, offset, already, conflict, waived: as a person sees them in builds, logs and the status, fresh and cached.
fn classes(shop: &Workshop) -> Result<()> {
    let recipe = |more: &str| {
        format!(
            "name = \"busy\"\nsource = {{ debian = \"busybox\" }}\npatches = [\"patches/series\"]\n{more}\n[[step]]\nname = \"install\"\nrun = \"mkdir -p $OUTPUT; head -n 5 Makefile > $OUTPUT/head\"\n"
        )
    };
    let clean = makefile(1, "VERSION = 1", "PATCHLEVEL = 35", "PATCHLEVEL = 36", "SUBLEVEL = 0");
    let offset = makefile(9, "", "SUBLEVEL = 0", "SUBLEVEL = 7", "EXTRAVERSION =");
    let already = makefile(1, "", "VERSION = 0", "VERSION = 1", "PATCHLEVEL = 36");
    let conflict = makefile(2, "PATCHLEVEL = 34", "SUBLEVEL = 7", "SUBLEVEL = 8", "EXTRAVERSION =");
    shop.write("recipes/busy/patches/clean.patch", &clean)?;
    shop.write(
        "recipes/busy/patches/offset.patch",
        &offset.replace("a/Makefile", "Makefile").replace("b/Makefile", "Makefile"),
    )?;
    shop.write("recipes/busy/patches/already.patch", &already)?;
    shop.write("recipes/busy/patches/conflict.patch", &conflict)?;
    let list =
        "# in this order\nclean.patch\noffset.patch -p0 # made without folders\nalready.patch\n";
    shop.write("recipes/busy/patches/series", list)?;
    shop.write("recipes/busy/recipe.toml", &recipe(""))?;
    let text = shop.good(&["build", "busy"])?;
    let summary = "busy: 3 patches: 1 clean, 1 at an offset, 1 already in the source";
    for wanted in [
        summary,
        "Makefile: hunk 1 fits at line 3, 6 lines further up",
        "already.patch: already in the source",
    ] {
        ensure!(text.contains(wanted), "the build should say `{wanted}`:\n{text}");
    }
    // Nothing runs, and it can still be told.
    let again = shop.good(&["build", "busy"])?;
    ensure!(!again.contains("run  "), "nothing should run again:\n{again}");
    let status = shop.good(&["status", "busy"])?;
    ensure!(status.contains("busy  3 patches: 1 clean, 1 at an offset"), "{status}");
    let log = shop.good(&["log", "busy:patch"])?;
    ensure!(
        log.contains("patches/clean.patch: clean\n") && log.contains("6 lines further up"),
        "{log}"
    );

    shop.write("recipes/busy/patches/series", &format!("{list}conflict.patch\n"))?;
    let wanted = [
        "error[S010]: busy:patch 1 of 4 patches does not fit the source",
        "patches/conflict.patch: in conflict",
        "Makefile: hunk 1 (line 3 of the patch) does not fit at line 2 or elsewhere",
        "2  expected  |PATCHLEVEL = 34",
        "2  found     |PATCHLEVEL = 36",
    ];
    shop.bad(&["build", "busy"], 1, &wanted)?;
    let json = shop.bad(
        &["--json", "build", "busy"],
        1,
        &["\"class\":\"conflict\"", "\"found\":[\"PATCHLEVEL = 36\"]"],
    )?;
    ensure!(json.contains("\"kind\":\"patches\""), "{json}");
    let entered = shop.good(&["shell", "busy:patch", "--", "head", "-n", "3", "Makefile"])?;
    ensure!(entered.contains("PATCHLEVEL = 36\nSUBLEVEL = 7\n"), "{entered}");

    let waiver =
        "[[waive]]\npatch = \"patches/conflict.patch\"\nreason = \"for another version\"\n";
    shop.write("recipes/busy/recipe.toml", &recipe(waiver))?;
    let waived = "patches/conflict.patch: in conflict, waived, left out: for another version";
    let text = shop.good(&["build", "busy"])?;
    ensure!(text.contains(&format!("warning: busy:patch: {waived}")), "{text}");
    for words in [["status", "busy"], ["log", "busy:patch"]] {
        let text = shop.good(&words)?;
        ensure!(
            text.contains(waived),
            "`osier {}` should say `{waived}`:\n{text}",
            words.join(" ")
        );
    }
    println!(
        "prove patches: clean, offset, already, conflict and waiver are told in builds, status and log"
    );
    Ok(())
}
