//! Chores of the repository: `cargo xtask ci`, `test`, `generate`, `check [--cycles]`, `deny`, `fuzz`, `bench [against PROGRAM | index | builds | c-only]`, `prove NAME`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

mod bench;
mod bench_against;
mod bench_builds;
mod bench_c_only;
mod bench_index;
mod bench_pair;
mod cargo_tools;
mod check;
mod draw;
mod fuzz;
mod literals;
mod person;
mod prove;
mod prove_changes;
mod prove_disks;
mod prove_edit;
mod prove_fragments;
mod prove_git;
mod prove_kill;
mod prove_kill_random;
mod prove_ovm;
mod prove_patches;
mod prove_power;
mod prove_reuse;
mod prove_terminal;
mod prove_toolchain;
mod prove_verdicts;
mod server;
mod stop_at;
mod unsynced;
mod works;
mod workshop;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ci"] => ci(),
        ["test"] => tests(),
        ["generate"] => check::generate(),
        ["check", "--cycles"] => check::cycles(),
        ["check"] => check::all(),
        ["deny"] => cargo_tools::deny(),
        ["fuzz", rest @ ..] => fuzz::all(rest),
        ["bench"] => bench::all().and_then(|()| bench_index::all()),
        ["bench", "against", other] => bench_against::all(std::path::Path::new(other)),
        ["bench", "index"] => bench_index::all(),
        ["bench", "builds"] => bench_builds::all(),
        ["bench", "c-only"] => bench_c_only::all(),
        ["prove", names @ ..] if !names.is_empty() => prove::run(names),
        _ => bail!(
            "usage: cargo xtask ci | test | generate | check [--cycles] | deny | fuzz [TARGET…] [SECONDS] | bench [index | builds | c-only] | prove NAME… ({})",
            prove::names().join(", ")
        ),
    }
}

/// Gives the repository's root.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in the repository").to_path_buf()
}

/// Runs a program in the repository's root and shows its output.
fn run(words: &[&str]) -> Result<()> {
    println!("$ {}", words.join(" "));
    let (program, arguments) = words.split_first().context("nothing to run")?;
    let mut command = Command::new(program);
    // They tell of xtask; a build script that looks at them would think that all has changed.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    let begun = Instant::now();
    let status = command.args(arguments).current_dir(root()).status();
    let status = status.with_context(|| format!("cannot run {program}"))?;
    println!("after {} s", begun.elapsed().as_secs());
    if !status.success() {
        bail!("`{}` ended with {status}", words.join(" "));
    }
    Ok(())
}

/// Everything that has to hold before a change lands.
fn ci() -> Result<()> {
    run(&["cargo", "fmt", "--all", "--check"])?;
    run(&["cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    run(&["cargo", "build", "--release", "--locked"])?;
    check::all()?;
    cargo_tools::deny()?;
    tests()?;
    prove::run(&["all"])
}

/// All tests that need neither a network nor an emulator. Those that need root are run where it is there, and named where not.
///
/// Property tests draw the same cases each time here, so that a change is judged by itself; `cargo test` draws new ones.
fn tests() -> Result<()> {
    run(&["env", "PROPTEST_RNG_SEED=20261121", "cargo", "test", "--workspace", "--locked"])?;
    if !rustix::process::geteuid().is_root() {
        println!(
            "not run, as they need root: the same tests as an ordinary user beside root, and power cuts of an ext4"
        );
        return Ok(());
    }
    let ignored = |package: &str, binary: &str, test: &str| {
        let words = ["cargo", "test", "--locked", "-p", package, binary, "--"];
        let words = words.into_iter().chain(["--ignored", "--exact", "--nocapture", test]);
        run(&words.collect::<Vec<_>>())
    };
    ignored("osier-sandbox", "--test=sandbox", "as_an_ordinary_user")?;
    ignored("osier-build", "--test=engine", "as_an_ordinary_user")?;
    let overlay = "layer::upper::tests::what_a_live_overlay_wrote_can_be_a_layer_at_once";
    ignored("osier-build", "--lib", overlay)?;
    if !Path::new("/dev/loop-control").exists() {
        println!("not run, as it needs a loop device: power cuts of an ext4");
        return Ok(());
    }
    ignored("osier-store", "--test=power", "cuts_of_an_ext4_lose_only_what_was_not_synced")
}
