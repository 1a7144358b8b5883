//! Slow proofs on whole systems: `cargo xtask prove NAME`.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::prove_changes::changes;
use crate::prove_disks::{disks, images};
use crate::prove_edit::edit;
use crate::prove_fragments::fragments;
use crate::prove_git;
use crate::prove_kill;
use crate::prove_kill_random;
use crate::prove_ovm;
use crate::prove_patches;
use crate::prove_power;
use crate::prove_reuse;
use crate::prove_terminal::{config, shell};
use crate::prove_toolchain;
use crate::prove_verdicts::verdicts;
use crate::root;
use crate::run as command;
use crate::workshop::Workshop;

/// A proof, on a store.
type Part = fn(&Path) -> Result<()>;

/// A name for some proofs.
struct Proof {
    name: &'static str,
    /// Whether it is among all, which CI runs: it takes minutes at most, and compiles no kernel of its own.
    in_all: bool,
    parts: &'static [Part],
}

const fn quick(name: &'static str, parts: &'static [Part]) -> Proof {
    Proof { name, in_all: true, parts }
}

const fn slow(name: &'static str, parts: &'static [Part]) -> Proof {
    Proof { name, in_all: false, parts }
}

/// The proofs there are.
const PROOFS: &[Proof] = &[
    quick("initrd", &[initrd]),
    quick("verdicts", &[verdicts]),
    quick("changes", &[changes]),
    quick("images", &[images]),
    quick("shell", &[shell]),
    quick("config", &[config]),
    quick("fragments", &[fragments]),
    quick("git", &[prove_git::run]),
    quick("patches", &[prove_patches::patches]),
    quick("toolchain-parts", &[prove_toolchain::parts]),
    quick("edit", &[edit]),
    quick("kill-quick", &[prove_kill::quick]),
    slow("disks", &[disks]),
    slow("kill", &[prove_kill::all, prove_kill_random::all]),
    slow("kill-places", &[prove_kill::all]),
    slow("kill-kernel", &[prove_kill::kernel]),
    slow("kill-random", &[prove_kill_random::all]),
    slow("toolchain", &[prove_toolchain::run]),
    slow("ovm", &[prove_ovm::all]),
    slow("ovm-quick", &[prove_ovm::quick]),
    slow("power", &[prove_power::all]),
    slow("reuse", &[prove_reuse::reuse]),
    slow("reuse-inputs", &[prove_reuse::inputs]),
];

/// Stands for all quick proofs.
const ALL: &str = "all";

/// The names of all proofs.
pub(crate) fn names() -> Vec<&'static str> {
    PROOFS.iter().map(|proof| proof.name).chain([ALL]).collect()
}

fn find(name: &str) -> Result<Vec<&'static Proof>> {
    let is_meant = |proof: &&Proof| if name == ALL { proof.in_all } else { proof.name == name };
    let found: Vec<_> = PROOFS.iter().filter(is_meant).collect();
    ensure!(!found.is_empty(), "there is no proof `{name}`; there are: {}", names().join(", "));
    Ok(found)
}

/// Runs the proofs of these names one after the other, on a store that begins empty.
pub(crate) fn run(names: &[&str]) -> Result<()> {
    let store = root().join("target/proof-store");
    let all: Vec<Vec<&Proof>> = names.iter().map(|name| find(name)).collect::<Result<_>>()?;
    command(&["cargo", "build", "--release", "--locked"])?;
    for proof in all.into_iter().flatten() {
        let begun = Instant::now();
        for part in proof.parts {
            part(&store)?;
        }
        println!("prove {}: {} s", proof.name, begun.elapsed().as_secs());
    }
    command(&[
        "target/release/osier",
        "--store",
        store.to_str().context("the path is UTF-8")?,
        "gc",
        "--all",
    ])
}

/// Builds the initrd system and boots it.
fn initrd(store: &Path) -> Result<()> {
    let store = store.to_str().context("the path is UTF-8")?;
    let osier = "target/release/osier";
    let begun = Instant::now();
    command(&[osier, "--store", store, "--locked", "boot", "initrd"])?;
    println!(
        "prove initrd: from an empty store to a booted system in {} s",
        begun.elapsed().as_secs()
    );
    let begun = Instant::now();
    command(&[osier, "--store", store, "--locked", "--offline", "build", "initrd"])?;
    println!("prove initrd: with nothing to do, {} ms", begun.elapsed().as_millis());
    damage(Path::new(store))
}

/// Damages a stored program on purpose: the next image that needs it has it made again.
fn damage(store: &Path) -> Result<()> {
    let shop = Workshop::new("damage", store)?;
    shop.good(&["new", "small"])?;
    std::fs::copy(root().join("osier.lock"), shop.project.join("small/osier.lock"))?;
    let build = ["--project", "small", "--locked", "build"];
    shop.good(&build)?;
    let mut damaged = 0;
    for folder in std::fs::read_dir(store.join("blobs"))? {
        for blob in std::fs::read_dir(folder?.path())? {
            let path = blob?.path();
            let mut bytes = std::fs::read(&path)?;
            if bytes.starts_with(b"\x7fELF") && bytes.windows(9).any(|text| text == b"BusyBox v") {
                bytes[100] ^= 1;
                std::fs::write(&path, bytes)?;
                damaged += 1;
            }
        }
    }
    ensure!(damaged == 1, "{damaged} programs are busybox");
    shop.write("small/systems/small/overlay/etc/motd", "another image\n")?;
    let text = shop.good(&build)?;
    ensure!(text.contains("are damaged") && text.contains("run  busybox:install"), "{text}");
    ensure!(
        !text.contains("busybox:build"),
        "only the step that made it should run again:\n{text}"
    );
    println!("prove initrd: a damaged program was found, set aside and installed again");
    Ok(())
}
