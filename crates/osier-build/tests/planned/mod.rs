//! Recipes as they are written, planned and run: what a plan promises is what happens.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use osier_build::{BuildError, Graph, Wanted};
use osier_recipe::{Level, Target};

use crate::recipes::Recipes;
use crate::workshop::Workshop;

/// A recipe: its keys, and its steps by name, each with what stands beside `run` and the script.
fn recipe(name: &'static str, keys: &str, steps: &[(&str, &str, &str)]) -> (&'static str, String) {
    let steps = steps.iter().map(|(name, beside, run)| {
        format!("[[step]]\nname = \"{name}\"\n{beside}\nrun = '''\n{run}\n'''\n")
    });
    (name, format!("name = \"{name}\"\n{keys}\n{}", steps.collect::<String>()))
}

fn plan(recipes: &Recipes, name: &str, toolchain: Option<&str>, tune: Option<&str>) -> Graph {
    let wanted = Wanted {
        name: name.into(),
        target: Target::X86_64,
        toolchain: toolchain.map(str::to_owned),
        tune: tune.and_then(Level::parse),
    };
    crate::recipes::plan(recipes, &[wanted]).unwrap()
}

/// A toolchain in small, in the order of gcc's: a bare compiler, a C library that it makes, the compiler's own library from
/// the bare compiler's tree. The compiler is a script that writes how it was called.
fn toolchain() -> Recipes {
    let compiler = "mkdir -p $OUTPUT/bin; cat > $OUTPUT/bin/cc <<'END'\n#!/bin/sh\necho \"compiled $*\"\nEND\nchmod 755 $OUTPUT/bin/cc";
    let library = "mkdir -p $OUTPUT/lib; cp /build/made $OUTPUT/lib/$NAME";
    Recipes(BTreeMap::from([
        recipe(
            "tree",
            "",
            &[("extract", "", "mkdir -p $OUTPUT; echo tree > /build/tree; cp /build/tree $OUTPUT")],
        ),
        recipe(
            "compiler",
            "role = \"cross\"",
            &[
                ("configure", "from = \"tree:extract\"", "cp /build/tree /build/configured"),
                ("build", "", "cp /build/configured /build/compiler"),
                ("install", "", compiler),
            ],
        ),
        recipe(
            "libc",
            "role = \"runtime\"\ntools = [\"compiler\"]",
            &[
                ("configure", "", "echo configured > /build/made"),
                ("build", "", "sleep 2.71828; cc libc >> /build/made"),
                ("install", "", library),
            ],
        ),
        recipe(
            "libraries",
            "role = \"runtime\"\nneeds = [\"libc\"]",
            &[
                (
                    "build",
                    "from = \"compiler:build\"",
                    "cat /build/compiler /proto/lib/libc > /build/made",
                ),
                ("install", "", library),
            ],
        ),
        recipe(
            "toolchain",
            "role = \"runtime\"\ntools = [\"compiler\"]\nneeds = [\"libc\", \"libraries\"]\n[toolchain]\nsystem = \"linux-musl\"\nenv = { CFLAGS = \"-O2\" }",
            &[("install", "", "mkdir $OUTPUT/a")],
        ),
        recipe(
            "kernel",
            "tune = false",
            &[("install", "", "mkdir -p $OUTPUT/boot; cc $CFLAGS kernel > $OUTPUT/boot/kernel")],
        ),
        recipe(
            "program",
            "needs = [\"kernel\"]",
            &[(
                "install",
                "",
                "mkdir -p $OUTPUT/bin; cc $CFLAGS program > $OUTPUT/bin/program; cat /proto/lib/* >> $OUTPUT/bin/program",
            )],
        ),
    ]))
}

/// Waits until somebody sleeps for so long, and kills the sleep.
fn kill_sleep(seconds: &str) {
    let wanted = format!("sleep\0{seconds}\0");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let called = fs::read(process.path().join("cmdline")).unwrap_or_default();
            if called.ends_with(wanted.as_bytes()) {
                let id = process.file_name();
                assert!(Command::new("kill").arg("-9").arg(id).status().unwrap().success());
                return;
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_toolchain_that_fails_half_way_is_taken_up_at_the_step() {
    let (shop, undisturbed) = (Workshop::new(), Workshop::new());
    let recipes = toolchain();
    let killer = thread::spawn(|| kill_sleep("2.71828"));
    let graph = plan(&recipes, "program", Some("toolchain"), None);
    let error = shop.run(&graph).unwrap_err();
    killer.join().unwrap();
    let BuildError::Failed(failures) = error else { panic!("{error:?}") };
    assert_eq!(failures.len(), 1);
    assert_eq!(
        (failures[0].component.as_str(), failures[0].step.as_str()),
        ("libc@x86_64", "build")
    );
    let ran = shop.ran();
    for step in
        ["tree:extract", "compiler@x86_64:install", "libc@x86_64:configure", "libc@x86_64:build"]
    {
        assert!(ran.iter().any(|one| one == step), "{step}: {ran:?}");
    }
    // Nothing of the compiler and nothing below the step runs again; what waited for it does.
    let results = shop.run(&graph).unwrap();
    assert_eq!(
        shop.ran(),
        [
            "libc@x86_64:build",
            "libc@x86_64:install",
            "libraries@x86_64:build",
            "libraries@x86_64:install",
            "kernel@x86_64:install",
            "program@x86_64:install",
        ]
    );
    let program = graph.find("program@x86_64").unwrap();
    let whole = undisturbed.run(&graph).unwrap();
    assert_eq!(results[&program].outputs, whole[&program].outputs);
    assert_eq!(
        shop.output(&results[&program], "bin/program"),
        "compiled -O2 program\nconfigured\ncompiled libc\ntree\nconfigured\ncompiled libc\n"
    );
}

#[test]
fn a_level_of_the_processor_builds_the_program_and_no_toolchain_again() {
    let shop = Workshop::new();
    let mut recipes = toolchain();
    let libc = recipes.0.get_mut("libc").unwrap();
    *libc = libc.replace("sleep 2.71828; ", "");
    shop.run(&plan(&recipes, "program", Some("toolchain"), None)).unwrap();
    shop.ran();
    let graph = plan(&recipes, "program", Some("toolchain"), Some("x86-64-v3"));
    let results = shop.run(&graph).unwrap();
    assert_eq!(shop.ran(), ["program@x86_64@x86-64-v3:install"]);
    let program = graph.find("program@x86_64@x86-64-v3").unwrap();
    let text = shop.output(&results[&program], "bin/program");
    assert!(text.starts_with("compiled -march=x86-64-v3 -O2 program\n"), "{text}");
    // And back: without a level all is there, under the keys that it had.
    shop.run(&plan(&recipes, "program", Some("toolchain"), None)).unwrap();
    assert_eq!(shop.ran(), [""; 0]);
}

#[test]
fn a_change_of_the_c_library_reaches_what_uses_it_and_nothing_freestanding() {
    let shop = Workshop::new();
    let mut recipes = toolchain();
    let edit = |recipes: &mut Recipes, name: &str, from: &str, to: &str| {
        let recipe = recipes.0.get_mut(name).unwrap();
        assert!(recipe.contains(from), "{recipe}");
        *recipe = recipe.replace(from, to);
    };
    edit(&mut recipes, "libc", "sleep 2.71828; ", "");
    edit(&mut recipes, "toolchain", "env = {", "freestanding = [\"compiler\"]\nenv = {");
    edit(&mut recipes, "kernel", "tune = false", "freestanding = true");
    let first = shop.run(&plan(&recipes, "program", Some("toolchain"), None)).unwrap();
    shop.ran();
    edit(&mut recipes, "libc", "cc libc", "cc libc --patched");
    let graph = plan(&recipes, "program", Some("toolchain"), None);
    let next = shop.run(&graph).unwrap();
    assert_eq!(
        shop.ran(),
        [
            "libc@x86_64:build",
            "libc@x86_64:install",
            "libraries@x86_64:build",
            "libraries@x86_64:install",
            "program@x86_64:install",
        ]
    );
    let [kernel, program] =
        ["kernel@x86_64", "program@x86_64"].map(|name| graph.find(name).unwrap());
    assert_eq!(first[&kernel].outputs, next[&kernel].outputs);
    assert!(shop.output(&next[&program], "bin/program").contains("compiled libc --patched\n"));
}

/// A makefile whose two targets do not stand each other.
const RACE: &str = "printf 'all: a b\\na b: ; mkdir busy && sleep 0.3 && rm -r busy && touch $@\\n' > makefile\nmake\nmkdir -p $OUTPUT; cp a $OUTPUT";

#[test]
fn a_step_that_is_unsafe_in_parallel_says_so() {
    let mut shop = Workshop::new();
    shop.jobs = 2;
    let racing =
        |beside: &str| Recipes(BTreeMap::from([recipe("racing", "", &[("build", beside, RACE)])]));
    let error = shop.run(&plan(&racing(""), "racing", None, None)).unwrap_err();
    let BuildError::Failed(failures) = error else { panic!("{error:?}") };
    let last = failures[0].last_lines.join("\n");
    assert!(last.contains("cannot create directory"), "{last}");
    shop.run(&plan(&racing("parallel = false"), "racing", None, None)).unwrap();
}
