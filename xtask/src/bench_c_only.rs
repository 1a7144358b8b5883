//! What a system costs whose C compiler is built with it: `cargo xtask bench c-only`.
//!
//! The system is that of `examples/c-only`. Figures are CPU seconds, user and system, of osier's whole process tree;
//! the sources are fetched before. By hand means what it means in `bench_pair`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::bench::seconds_of_children;
use crate::bench_pair::{MakeStep, cost_of, pair, step_costs};
use crate::workshop::Workshop;
use crate::{root, run};

/// The steps that make up nearly all of a compiler's cost: component, folder and command.
const MAKES: [(&str, &str, &str); 6] = [
    ("binutils@x86_64", "/build/.objects", "make MAKEINFO=true"),
    ("gmp", "/build/.objects", "make"),
    ("mpfr", "/build/.objects", "make"),
    ("mpc", "/build/.objects", "make"),
    ("gcc-core@x86_64", "/build/.gcc", "make MAKEINFO=true all-gcc"),
    ("musl@x86_64", ".", "make"),
];

/// What a build took.
struct Build {
    wall: f64,
    cpu: f64,
    /// The label of each step that ran, with its CPU seconds.
    steps: Vec<(String, f64)>,
    utilisation: f64,
}

/// Builds the toolchain, then the rest; then makes the parts of the toolchain again, through osier and by hand.
pub(crate) fn all() -> Result<()> {
    run(&["cargo", "build", "--release", "--locked"])?;
    let store = root().join("target/bench-store");
    let clear = ["target/release/osier", "--store", "target/bench-store", "gc", "--all"];
    run(&clear)?;
    let shop = Workshop::new("c-only", &store)?;
    copy(&root().join("examples/c-only"), &shop.project)?;
    shop.good(&["--locked", "fetch", "c-only", "--target", "x86_64"])?;
    println!("| what | wall | processor | busy |\n| --- | --- | --- | --- |");
    let toolchain = build(&shop, &["toolchain", "--target", "x86_64"])?;
    print("the toolchain, C alone", &toolchain);
    let system = build(&shop, &["c-only", "--target", "x86_64"])?;
    print("kernel, busybox, image, with the toolchain in the store", &system);
    println!(
        "| all of it | {:.0} s | {:.0} s | |",
        toolchain.wall + system.wall,
        toolchain.cpu + system.cpu
    );
    let booted = shop.good(&["--offline", "boot", "c-only", "--target", "x86_64"])?;
    let verdict = booted.lines().find(|line| line.contains("booted")).unwrap_or_default();
    println!("\n{}\n", verdict.trim());

    println!("| make step | osier | by hand | ratio |\n| --- | --- | --- | --- |");
    // By hand: all steps, those that are compared divided by their ratio.
    let mut hand: f64 = toolchain.steps.iter().map(|(_, cpu)| cpu).sum();
    for (component, folder, command) in MAKES {
        let label = format!("{component}:build");
        let name = component.split('@').next().unwrap_or(component);
        let file = format!("recipes/{name}.toml");
        let own = shop.project.join(&file);
        let recipe = fs::read_to_string(if own.exists() { own } else { root().join(&file) })?;
        let command = format!("cd {folder}; {command}");
        let make = MakeStep { component, file: &file, recipe: &recipe, command: &command };
        let pair = pair(&shop, &make, 0)?;
        let ratio = pair.step / pair.hand;
        println!("| {label} | {:.1} s | {:.1} s | {ratio:.3} |", pair.step, pair.hand);
        let first = cost_of(&toolchain.steps, &label)?;
        hand += first / ratio - first;
    }
    let (osier, ratio) = (toolchain.cpu, toolchain.cpu / hand);
    println!("| the toolchain as a whole | {osier:.0} s | {hand:.0} s | {ratio:.3} |");
    run(&clear)
}

fn print(what: &str, build: &Build) {
    println!(
        "| {what} | {:.0} s | {:.0} s | {:.0}% |",
        build.wall,
        build.cpu,
        build.utilisation * 100.0
    );
}

/// Copies a folder of plain files.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &place)?,
            false => {
                fs::copy(entry.path(), &place)?;
            }
        }
    }
    Ok(())
}

fn build(shop: &Workshop, words: &[&str]) -> Result<Build> {
    let (begun, before) = (Instant::now(), seconds_of_children()?);
    let output = Command::new(root().join("target/release/osier"))
        .args(["--json", "--offline", "build"])
        .args(words)
        .current_dir(&shop.project)
        .env("OSIER_STORE", &shop.store)
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), seconds_of_children()? - before);
    let text = String::from_utf8_lossy(&output.stdout);
    let mut events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let end = events.find(|event| event["event"] == "steps_ended");
    let utilisation = end.and_then(|event| event["utilisation"].as_f64());
    Ok(Build {
        wall,
        cpu,
        steps: step_costs(&output),
        utilisation: utilisation.unwrap_or_default(),
    })
}
