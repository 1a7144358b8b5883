//! Wrong targets and levels of processors, as a person sees them.

use std::fs;

use crate::space::Space;
use crate::{SCRIPT, pin_nothing};

const SYSTEM: &str = "name = \"s\"\ncomponents = [\"a\"]\nkernel = \"a:a\"\n";

/// A component `a` in a system `s`; `head` stands before the system's tables.
fn space(head: &str) -> Space {
    let recipe = format!("name = \"a\"\n{SCRIPT}");
    let compiler = format!("name = \"compiler\"\nrole = \"cross\"\n{SCRIPT}");
    let toolchain = format!(
        "name = \"tools\"\nrole = \"runtime\"\ntools = [\"compiler\"]\n[toolchain]\nsystem = \"linux-musl\"\n{SCRIPT}"
    );
    let machine = |name: &str, architecture: &str, board: &str, cpu: &str| {
        format!(
            "name = \"{name}\"\narchitecture = \"{architecture}\"\nboard = \"{board}\"\nconsole = \"ttyS0\"\n{cpu}"
        )
    };
    let space = Space::new(&[
        ("recipes/a.toml", &recipe),
        ("recipes/compiler.toml", &compiler),
        ("recipes/tools.toml", &toolchain),
        ("systems/s/system.toml", &format!("{SYSTEM}{head}")),
        ("machines/old.toml", &machine("old", "x86_64", "q35", "cpu = \"qemu64\"\n")),
        ("machines/odd.toml", &machine("odd", "x86_64", "q35", "cpu = \"no-such\"\n")),
        ("machines/arm.toml", &machine("arm", "aarch64", "virt", "")),
        ("osier.toml", "name = \"p\"\n"),
    ]);
    pin_nothing(&space);
    space
}

fn wrong(space: &Space, words: &[&str], texts: &[&str]) {
    let (status, said) = space.fails(words);
    assert_eq!(status, 2, "{words:?}: {said}");
    for text in texts {
        assert!(said.contains(text), "{words:?} should say `{text}`:\n{said}");
    }
}

#[test]
fn an_unknown_target_is_told_with_the_nearest() {
    let space = space("");
    for (target, near) in [
        ("x86-64", "did you mean `x86_64`?"),
        ("arm46", "did you mean `arm64`?"),
        ("riscv64", "osier builds for aarch64 and x86_64"),
    ] {
        wrong(&space, &["build", "a", "--target", target], &[near]);
    }
    wrong(&space, &["build", "a@aarhc64"], &["error[C001]", "did you mean `aarch64`?"]);
}

#[test]
fn a_component_that_is_not_for_a_target_is_told_with_who_names_it() {
    let space = space("toolchain = \"tools\"\n");
    let recipe = format!("name = \"a\"\ntargets = [\"amd64\"]\n{SCRIPT}");
    fs::write(space.project().join("recipes/a.toml"), recipe).unwrap();
    let (status, said) = space.fails(&["build", "s", "--target", "aarch64"]);
    assert_eq!(status, 2);
    assert_eq!(
        said,
        "systems/s/system.toml:2:15: error[R026]: `a` does not support the target `aarch64`\n  |\n2 | components = [\"a\"]\n  \
         |               ^^^\n  = recipes/a.toml:2:12: it says so here\n  = hint: name it only in `[target.x86_64]` of the system\n"
    );
    wrong(&space, &["build", "a", "--target", "arm64"], &["recipes/a.toml:2:12: error[R026]"]);
}

#[test]
fn aliases_are_the_targets_themselves() {
    let space = space("");
    let names = |target: &str| {
        let text = space.prints(&["graph", "a", "--target", target]);
        text.lines()
            .skip(1)
            .filter(|line| line.starts_with("a@"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    fs::write(space.project().join("osier.toml"), "name = \"p\"\ntoolchain = \"tools\"\n").unwrap();
    assert_eq!(names("arm64"), names("aarch64"));
    assert_eq!(names("arm64").len(), 1);
    let plan = |name: &str| {
        let text = space.prints(&["graph", name]);
        text.split_once('\n').unwrap().1.to_owned()
    };
    assert_eq!(plan("a@amd64"), plan("a@x86_64"));
}

#[test]
fn levels_have_names_of_their_own_in_plans() {
    let space = space(
        "tune = \"x86-64-v2\"\ntoolchain = \"tools\"\n[target.aarch64]\ntune = \"armv8.2-a\"\n",
    );
    let line = |words: &[&str]| {
        let text = space.prints(words);
        let found = text.lines().find(|line| line.starts_with("a@") && !line.contains(':'));
        found.unwrap_or_default().to_owned()
    };
    assert_eq!(line(&["graph", "s"]), "a@x86_64@x86-64-v2 0  not built");
    assert_eq!(line(&["graph", "s", "--target", "arm64"]), "a@aarch64@armv8.2-a 0  not built");
    assert_eq!(line(&["graph", "s", "--tune", "x86-64-v3"]), "a@x86_64@x86-64-v3 0  not built");
    // By itself it is compiled by this machine's own compiler, and by the toolchain where that is said.
    assert_eq!(line(&["graph", "a@x86-64-v2"]), "a@x86-64-v2 0  not built");
    assert_eq!(line(&["graph", "a", "--tune", "x86-64-v2"]), "a@x86-64-v2 0  not built");
    fs::write(
        space.project().join("osier.toml"),
        "name = \"p\"\ntoolchain = \"tools\"\ntune = [\"x86-64\", \"armv8-a\"]\n",
    )
    .unwrap();
    assert_eq!(line(&["graph", "a"]), "a@x86-64 0  not built");
    assert_eq!(line(&["graph", "a@x86_64@x86-64-v4"]), "a@x86_64@x86-64-v4 0  not built");
    assert_eq!(line(&["graph", "a@armv8.1-a"]), "a@aarch64@armv8.1-a 0  not built");
    // The toolchain itself is the same for all levels.
    let text = space.prints(&["graph", "s", "--tune", "x86-64-v3"]);
    assert!(text.contains("compiler@x86_64 0") && !text.contains("compiler@x86_64@"), "{text}");
}

#[test]
fn wrong_levels_are_told_before_anything_is_built() {
    let native = space("toolchain = \"tools\"\ntune = \"native\"\n");
    wrong(
        &native,
        &["build", "s", "--target", "aarch64"],
        &[
            "systems/s/system.toml:5:8: error[R029]: `native` is the processor of this machine, x86_64",
            "name a level of aarch64 as well: `armv8-a`",
        ],
    );
    wrong(
        &native,
        &["build", "s", "--target", "aarch64", "--tune", "x86-64-v3"],
        &["error[R029]: `x86-64-v3` names no level for aarch64"],
    );
    wrong(&native, &["build", "s", "--tune", "x86-64-v5"], &["did you mean `x86-64-v2`?"]);
    wrong(&native, &["build", "s", "--tune", "haswell"], &["the levels are: native, x86-64,"]);
    wrong(
        &native,
        &["build", "s", "--tune", "x86-64-v3", "--tune", "x86-64-v2"],
        &["`x86-64-v3` and `x86-64-v2` are both levels of x86_64"],
    );
    wrong(&native, &["build", "a@aarch64@x86-64-v3"], &["`x86-64-v3` is a level of x86_64"]);
    wrong(&native, &["build", "a@x86-64-v7"], &["did you mean `x86-64"]);
    let project = native.project().join("osier.toml");
    fs::write(project, "name = \"p\"\ntune = \"armv8-a\"\n").unwrap();
    wrong(&native, &["build", "a"], &["osier.toml:2:8: error[R029]: `armv8-a` names no level"]);
}

#[test]
fn a_machine_without_the_level_is_told_before_anything_is_built() {
    let boot = |machine: &str| format!("[boot]\nmachine = \"{machine}\"\n");
    let toolchain = "toolchain = \"tools\"\ntune = [\"x86-64-v3\", \"armv8.2-a\"]\n";
    let old = space(&format!("{toolchain}{}", boot("old")));
    wrong(
        &old,
        &["boot", "s"],
        &[
            "machines/old.toml:5:7: error[R029]: `s` is compiled for x86-64-v3, but the machine `old` has the processor `qemu64`: x86-64 at most",
            "write `cpu = \"Haswell\"` into the machine's file",
        ],
    );
    wrong(&old, &["boot", "s", "--tune", "x86-64-v2"], &["write `cpu = \"Nehalem\"`"]);
    let odd = space(&format!("{toolchain}{}", boot("odd")));
    wrong(&odd, &["boot", "s"], &["`no-such`: osier does not know which level that supports"]);
    let arm = space(&format!("{toolchain}{}", boot("arm")));
    wrong(
        &arm,
        &["boot", "s", "--target", "aarch64"],
        &["has QEMU's usual processor: armv8-a at most", "write `cpu = \"neoverse-n1\"`"],
    );
    wrong(
        &old,
        &["boot", "s", "--tune", "x86-64-v4"],
        &["QEMU emulates at most x86-64-v3", "boot it with KVM"],
    );
}
