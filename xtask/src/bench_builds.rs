//! What real builds cost through osier, beside the same commands by hand: `cargo xtask bench builds`.
//!
//! By hand means: the same root as a plain folder, entered by `unshare` and `chroot`, with the same command and
//! environment. Figures are processor seconds of the make step, user and system, of the whole process tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::UsageWho;
use serde_json::Value;

use crate::bench::{cost, seconds_of, seconds_of_children};
use crate::root;
use crate::run;
use crate::workshop::Workshop;

/// Pairs of builds, one through osier and one by hand, in turns.
pub(crate) const PAIRS: usize = 3;

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

/// Builds a component in turns through osier and by hand; prints the median of the ratios.
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
    let mut pairs = Vec::new();
    for pair in 0..PAIRS {
        shop.write(&format!("recipes/{component}/recipe.toml"), &salted(&recipe, pair))?;
        let osier = through_osier(&shop, component)?;
        let (script, environment) = command_of(&shop, &step)?;
        let hand = by_hand(&shop, component, &script, &environment)?;
        println!(
            "| {step}, pair {} | {osier:.1} s | {hand:.1} s by hand | {:.3} |",
            pair + 1,
            osier / hand
        );
        pairs.push(osier / hand);
    }
    pairs.sort_by(f64::total_cmp);
    println!("| {step}, median of {PAIRS} pairs | | | {:.3} |", pairs[PAIRS / 2]);
    Ok(())
}

/// Gives a recipe with a variable that nothing reads: its steps are run again, clean.
pub(crate) fn salted(recipe: &str, pair: usize) -> String {
    let salt = format!("[env]\nOSIER_BENCH = \"{pair}\"\n");
    match recipe.contains("[env]\n") {
        true => recipe.replace("[env]\n", &salt),
        false => format!("{recipe}\n{salt}"),
    }
}

/// Gives what a build costs besides the steps that are not the make step.
fn through_osier(shop: &Workshop, component: &str) -> Result<f64> {
    let before = seconds_of_children()?;
    let output = Command::new(root().join("target/release/osier"))
        .args(["--json", "--locked", "build", component])
        .current_dir(&shop.project)
        .env("OSIER_STORE", &shop.store)
        .stdin(Stdio::null())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{errors}");
    let mut cost = seconds_of_children()? - before;
    let mut made = false;
    for event in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(event) = serde_json::from_str::<Value>(event) else { continue };
        let is = |key: &str, word: &str| event.get(key).and_then(Value::as_str) == Some(word);
        if is("event", "step_finished") {
            made |= is("step", "build");
            if !is("step", "build") {
                cost -= event.get("cpu").and_then(Value::as_f64).unwrap_or_default();
            }
        }
    }
    ensure!(made, "the make step did not run");
    Ok(cost)
}

/// Gives the script of a step and its environment, as the step has them.
fn command_of(shop: &Workshop, step: &str) -> Result<(String, Vec<String>)> {
    let log = shop.good(&["log", step])?;
    let script = log.lines().find_map(|line| line.strip_prefix("+ make"));
    let script = script.context("the log shows no make")?;
    Ok((format!("make{script}"), environment_of(shop, step)?))
}

/// Gives the environment of a step.
pub(crate) fn environment_of(shop: &Workshop, step: &str) -> Result<Vec<String>> {
    let text = shop.good(&["shell", step, "--then", "leave", "--", "env", "-0"])?;
    let environment = text.split('\0').filter(|variable| variable.contains('='));
    let environment = environment.map(|variable| match variable.rsplit_once('\n') {
        // What osier says before the program's own output.
        Some((_, variable)) => variable.to_owned(),
        None => variable.to_owned(),
    });
    Ok(environment.collect())
}

/// Runs the command in a plain folder that holds the root as it is after a component's `configure`; gives its cost.
pub(crate) fn by_hand(
    shop: &Workshop,
    component: &str,
    script: &str,
    environment: &[String],
) -> Result<f64> {
    let folder: PathBuf = shop.project.join("by-hand");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let step = format!("{component}:configure");
    let mut packed = Command::new(root().join("target/release/osier"))
        .args(["shell", &step, "--then", "leave", "--"])
        .args(["tar", "-C", "/", "--exclude=./dev", "--exclude=./proc", "-cf", "-", "."])
        .current_dir(&shop.project)
        .env("OSIER_STORE", &shop.store)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stream = packed.stdout.take().context("the shell has an output")?;
    let unpacked =
        Command::new("tar").arg("-C").arg(&folder).args(["-xf", "-"]).stdin(stream).status()?;
    ensure!(packed.wait()?.success() && unpacked.success(), "the root could not be copied");
    let enter = r#"
root=$1; command=$2; shift 2
mkdir -p "$root/dev" "$root/proc"
mount --rbind /dev "$root/dev"; mount --rbind /proc "$root/proc"
exec chroot "$root" /usr/bin/env -i "$@" /bin/sh -euc "cd \"\$SOURCE\"; $command"
"#;
    let before = seconds_of_children()?;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-euc", enter, "sh"])
        .arg(&folder)
        .arg(script)
        .args(environment)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "`{script}` by hand failed: {text}");
    let seconds = seconds_of_children()? - before;
    fs::remove_dir_all(&folder)?;
    Ok(seconds)
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

/// Compresses all files of a folder, one behind the other, as `find` gives them; gives bytes and processor seconds.
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

pub(crate) fn median(costs: &mut [f64]) -> f64 {
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}
