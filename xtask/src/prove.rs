//! Slow proofs on whole systems: `cargo xtask prove NAME`.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::root;
use crate::run as command;

/// The proofs there are.
pub(crate) const NAMES: &[&str] = &["initrd"];

/// Builds the initrd system from an empty store and boots it.
fn initrd(store: &Path) -> Result<()> {
    let store = store.to_str().unwrap_or("target/proof-store");
    let begun = Instant::now();
    command(&[
        "cargo",
        "run",
        "--release",
        "--locked",
        "--",
        "--store",
        store,
        "--locked",
        "boot",
        "initrd",
    ])?;
    println!(
        "prove initrd: from an empty store to a booted system in {} s",
        begun.elapsed().as_secs()
    );
    let begun = Instant::now();
    command(&[
        "cargo",
        "run",
        "--release",
        "--locked",
        "--",
        "--store",
        store,
        "--locked",
        "--offline",
        "build",
        "initrd",
    ])?;
    println!(
        "prove initrd: nothing to do took {} ms with cargo's own start",
        begun.elapsed().as_millis()
    );
    command(&["cargo", "run", "--release", "--locked", "--", "--store", store, "gc", "--all"])
}

/// Runs the proof of this name.
pub(crate) fn run(name: &str) -> Result<()> {
    match name {
        "initrd" => initrd(&root().join("target/proof-store")),
        _ => bail!("there is no proof `{name}`; there are: {}", NAMES.join(", ")),
    }
}
