//! What real builds cost through osier, beside the same commands by hand: `cargo xtask bench builds`.
//!
//! Figures are CPU seconds, user and system, of the whole process tree.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::UsageWho;

use crate::bench::{cost, seconds_of};
use crate::bench_pair::{MakeStep, pair};
use crate::root;
use crate::run;
use crate::workshop::Workshop;

/// Pairs of builds, one through osier and one by hand.
const PAIRS: usize = 3;

/// Measures linux and busybox, an initramfs, and the hand-over of a large tree.
pub(crate) fn all() -> Result<()> {
    run(&["cargo", "build", "--release", "--locked"])?;
    let store = root().join("target/bench-store");
    let clear = ["target/release/osier", "--store", "target/bench-store", "gc", "--all"];
    run(&clear)?;
    println!("| what | osier | beside | ratio |\n| --- | --- | --- | --- |");
    hand_over(&store)?;
    initramfs(&store)?;
    for component in ["busybox", "linux"] {
        overhead(&store, component)?;
    }
    run(&clear)
}

fn shop(name: &str, store: &Path) -> Result<Workshop> {
    let shop = Workshop::new(name, store)?;
    fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
    Ok(shop)
}

/// Builds a component through osier and by hand; prints the median of the ratios.
fn overhead(store: &Path, component: &str) -> Result<()> {
    let shop = shop(&format!("bench-{component}"), store)?;
    let library = root().join("recipes").join(component);
    for file in fs::read_dir(&library)? {
        let file = file?;
        let to = format!("recipes/{component}/{}", file.file_name().to_string_lossy());
        shop.write(&to, &fs::read_to_string(file.path())?)?;
    }
    let recipe = fs::read_to_string(library.join("recipe.toml"))?;
    shop.good(&["--locked", "build", component])?;
    let step = format!("{component}:build");
    let (file, command) = (format!("recipes/{component}/recipe.toml"), command_of(&shop, &step)?);
    let make = MakeStep { component, file: &file, recipe: &recipe, command: &command };
    let mut ratios = Vec::new();
    for number in 0..PAIRS {
        let pair = pair(&shop, &make, number)?;
        let ratio = pair.osier / pair.hand;
        println!(
            "| {step}, pair {} | {:.1} s | {:.1} s by hand | {ratio:.3} |",
            number + 1,
            pair.osier,
            pair.hand
        );
        ratios.push(ratio);
    }
    println!("| {step}, median of {PAIRS} pairs | | | {:.3} |", median(&mut ratios));
    Ok(())
}

/// Gives the command of a make step.
fn command_of(shop: &Workshop, step: &str) -> Result<String> {
    let log = shop.good(&["log", step])?;
    let script = log.lines().find_map(|line| line.strip_prefix("+ make"));
    let script = script.context("the log shows no make")?;
    Ok(format!("make{script}"))
}

/// A kernel tree that was just unpacked is handed to the next step; beside it, the same step on nothing.
fn hand_over(store: &Path) -> Result<()> {
    let shop = shop("bench-hand-over", store)?;
    let step = |salt: u32| {
        format!(
            "[[step]]\nname = \"install\"\nfolder = \"/build\"\nrun = \"echo {salt} > $OUTPUT/file\"\n"
        )
    };
    let (mut on_tree, mut on_nothing) = (Vec::new(), Vec::new());
    for salt in 0..=10 {
        shop.write(
            "recipes/linux.toml",
            &format!("name = \"linux\"\nsource = {{ debian = \"linux\" }}\n{}", step(salt)),
        )?;
        shop.write("recipes/bare.toml", &format!("name = \"bare\"\n{}", step(salt)))?;
        let tree = cost(&shop, 1, &["build", "linux"])?;
        let bare = cost(&shop, 1, &["build", "bare"])?;
        // The first round fetches and unpacks.
        if salt > 0 {
            on_tree.push(tree);
            on_nothing.push(bare);
        }
    }
    let (tree, bare) = (median(&mut on_tree), median(&mut on_nothing));
    println!(
        "| a step on an unpacked kernel tree | {tree:.1} ms | {bare:.1} ms on no tree | {:.1} ms more |",
        tree - bare
    );
    Ok(())
}

/// An initramfs of the programs and libraries of the build environment; beside it, zstd over the same bytes alone.
fn initramfs(store: &Path) -> Result<()> {
    /// Roughly the size of the root that the target was measured on, in bytes.
    const WANTED: u64 = 161 << 20;
    let shop = shop("bench-initramfs", store)?;
    shop.write(
        "recipes/large.toml",
        r#"name = "large"
[[step]]
name = "install"
folder = "/"
run = """
for copy in one two three four; do
  mkdir -p $OUTPUT/$copy
  total=0
  find /usr/bin /usr/lib -type f | sort > /tmp/files
  while read -r file; do
    size=$(stat -c %s "$file")
    [ $((total + size)) -lt 42200000 ] || continue
    total=$((total + size))
    cp --parents "$file" $OUTPUT/$copy
  done < /tmp/files
done
"""
"#,
    )?;
    shop.write(
        "systems/large/system.toml",
        "name = \"large\"\ncomponents = [\"large\"]\noverlays = [\"overlay\"]\nmanifest = \"manifest\"\n\n[[image]]\nname = \"large\"\nformat = \"initramfs\"\ncompression = \"zstd\"\nlevel = 3\n",
    )?;
    shop.write("systems/large/manifest", "d ** 0755 root root\nf ** 0755 root root\n")?;
    let mut costs = Vec::new();
    for round in 0..=5 {
        shop.write("systems/large/overlay/motd", &format!("{round}\n"))?;
        let image = cost(&shop, 1, &["build", "large", "--out", "image"])?;
        if round > 0 {
            costs.push(image);
        }
    }
    shop.good(&["build", "large", "--out", "image"])?;
    let idle = cost(&shop, 5, &["build", "large", "--out", "image"])?;
    shop.good(&["build", "large:main", "--out", "tree"]).or_else(|_| {
        // A component's own output, where a system has the same name.
        shop.write("recipes/large-tree.toml", "name = \"large-tree\"\nneeds = [\"large\"]\n[[step]]\nname = \"install\"\nrun = \"cp -a /proto/. $OUTPUT/\"\n")?;
        shop.good(&["build", "large-tree", "--out", "tree"])
    })?;
    let (bytes, floor) = zstd_alone(&shop.project.join("tree"))?;
    ensure!(bytes > WANTED * 9 / 10 && bytes < WANTED * 11 / 10, "the root has {bytes} bytes");
    let osier = (median(&mut costs) - idle) / 1000.0;
    println!(
        "| initramfs (zstd level 3) of {} MB | {osier:.2} s | {floor:.2} s reading and zstd alone | {:.2} |",
        bytes / 1_000_000,
        osier / floor
    );
    Ok(())
}

/// Compresses all files of a folder, one behind the other, as `find` gives them; gives bytes and CPU seconds.
fn zstd_alone(folder: &Path) -> Result<(u64, f64)> {
    let mut folders = vec![folder.to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    let before = seconds_of(UsageWho::RUSAGE_SELF)?;
    let mut encoder = zstd::Encoder::new(std::io::sink(), 3)?;
    let mut bytes = 0;
    for file in files {
        bytes += std::io::copy(&mut fs::File::open(file)?, &mut encoder)?;
    }
    encoder.finish()?;
    Ok((bytes, seconds_of(UsageWho::RUSAGE_SELF)? - before))
}

fn median(costs: &mut [f64]) -> f64 {
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}
