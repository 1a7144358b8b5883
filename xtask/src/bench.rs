//! What osier costs on generated projects: `cargo xtask bench`. Figures are CPU seconds, user and system, of the
//! whole process tree, as getrusage(2) counts them.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::root;
use crate::run;
use crate::workshop::Workshop;

/// The files of a Linux 6.1 source tree, and roughly its folders.
const KERNEL_FILES: usize = 78_605;
const KERNEL_FOLDERS: usize = 5_000;

/// Runs osier so many times in a project; gives the milliseconds of CPU time of one run.
pub(crate) fn cost(shop: &Workshop, times: u32, words: &[&str]) -> Result<f64> {
    let osier = root().join("target/release/osier");
    let osier = osier.to_str().context("the path is UTF-8")?;
    cost_of(shop, times, &[&[osier], words].concat())
}

/// Runs a program so many times in a project; gives the milliseconds of CPU time of the middle one of all runs: others on
/// the machine can make single ones twice as long.
pub(crate) fn cost_of(shop: &Workshop, times: u32, words: &[&str]) -> Result<f64> {
    let (program, arguments) = words.split_first().context("nothing to run")?;
    let mut costs = Vec::new();
    for _ in 0..times {
        let before = seconds_of_children()?;
        let status = Command::new(program)
            .args(arguments)
            .current_dir(&shop.project)
            .env("OSIER_STORE", &shop.store)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .with_context(|| format!("cannot run {program}"))?;
        ensure!(status.success(), "`{}` failed", words.join(" "));
        costs.push((seconds_of_children()? - before) * 1000.0);
    }
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 2).copied().context("it was to run at least once")
}

/// Gives the seconds of CPU time, user and system, of all children that have ended, their own children included.
pub(crate) fn seconds_of_children() -> Result<f64> {
    seconds_of(UsageWho::RUSAGE_CHILDREN)
}

/// Gives the seconds of CPU time, user and system, of this process or of its children.
pub(crate) fn seconds_of(who: UsageWho) -> Result<f64> {
    let usage = getrusage(who)?;
    let seconds =
        |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs()).as_secs_f64();
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Writes a project of so many components in layers of twenty, each needing up to three of the layers before.
pub(crate) fn generate(shop: &Workshop, count: usize) -> Result<()> {
    let padding = format!("# {}\n", "x".repeat(70)).repeat(6);
    let mut used = vec![false; count];
    for number in 0..count {
        let layer = number / 20;
        let mut needs: Vec<usize> = Vec::new();
        if layer > 0 {
            for (step, back) in [(1, 1), (3, 1 + layer % 4), (7, 1 + layer % 3)] {
                let need = (layer.saturating_sub(back)) * 20 + number * step % 20;
                if need < number && !needs.contains(&need) {
                    needs.push(need);
                }
            }
        }
        needs.iter().for_each(|need| used[*need] = true);
        let needs: Vec<String> = needs.iter().map(|need| format!("\"c{need}\"")).collect();
        let text = format!(
            "name = \"c{number}\"\nversion = \"1.0\"\nsummary = \"Component {number} of a generated project\"\nlicence = \"MIT\"\n{padding}needs = [{}]\n\n[[step]]\nname = \"install\"\nrun = \"echo c{number} > $OUTPUT/c{number}\"\n",
            needs.join(", ")
        );
        shop.write(&format!("recipes/c{number}.toml"), &text)?;
    }
    let top: Vec<String> = used
        .iter()
        .enumerate()
        .filter(|(_, used)| !**used)
        .map(|(number, _)| format!("\"c{number}\""))
        .collect();
    let text = format!(
        "name = \"final\"\nneeds = [{}]\n[[step]]\nname = \"install\"\nrun = \"ls /proto > $OUTPUT/final\"\n",
        top.join(", ")
    );
    shop.write("recipes/final.toml", &text)
}

/// Measures and prints the table.
pub(crate) fn all() -> Result<()> {
    run(&["cargo", "build", "--release", "--locked"])?;
    let store = root().join("target/bench-store");
    let clear = ["target/release/osier", "--store", "target/bench-store", "gc", "--all"];
    run(&clear)?;
    let report = |what: &str, value: f64, unit: &str| println!("| {what} | {value:.1} {unit} |");
    println!("| what | osier |\n| --- | --- |");
    let base = Workshop::new("bench-base", &store)?;
    base.write(
        "recipes/one.toml",
        "name = \"one\"\n[[step]]\nname = \"install\"\nrun = \"echo > $OUTPUT/one\"\n",
    )?;
    // Fetches and unpacks the build environment, which all others share.
    base.good(&["build", "one"])?;
    report(
        "start-up, `osier status` with nothing to do",
        cost(&base, 50, &["status", "one"])?,
        "ms",
    );
    for count in [100, 1000, 10_000] {
        let shop = Workshop::new(&format!("bench-{count}"), &store)?;
        generate(&shop, count)?;
        std::fs::copy(base.project.join("osier.lock"), shop.project.join("osier.lock"))?;
        let cold = cost(&shop, 1, &["build", "final"])?;
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        let steps = (count + 1) as f64;
        report(&format!("{count} trivial steps, cold, each"), cold / steps, "ms");
        report(
            &format!("no-op build of {count} components"),
            cost(&shop, 10, &["build", "final"])?,
            "ms",
        );
        let leaf = shop.project.join("recipes/c0.toml");
        let text = std::fs::read_to_string(&leaf)?
            .replace("run = \"echo", &format!("run = \": {count}; echo"));
        std::fs::write(&leaf, text)?;
        let one = one_step(&shop)?;
        report(
            &format!("a leaf's script changes, its output does not, {count} components"),
            one,
            "ms",
        );
    }
    let (folder, floor) = source_folder(&base)?;
    report("a source folder of 78,605 files, unchanged, at the next build", folder, "ms");
    report("the same folder, walked by find(1) with an lstat of each file", floor, "ms");
    report("the former in multiples of the latter", folder / floor, "times");
    run(&clear)
}

/// Measures the next build with an unchanged source folder of a kernel's size, and the floor: a walk with an lstat of each file.
fn source_folder(shop: &Workshop) -> Result<(f64, f64)> {
    write_source_folder(shop)?;
    shop.good(&["build", "big"])?;
    // Files that were written just before they were read are read once more.
    let text = shop.good(&["build", "big"])?;
    ensure!(!text.contains("run  "), "all should be built:\n{text}");
    let folder = cost(shop, 5, &["build", "big"])?;
    let floor = cost_of(shop, 5, &["find", "recipes/big/src", "-size", "+9999G"])?;
    Ok((folder, floor))
}

/// Writes a component whose source is a folder of a kernel's size.
pub(crate) fn write_source_folder(shop: &Workshop) -> Result<()> {
    for number in 0..KERNEL_FILES {
        let folder = number % KERNEL_FOLDERS;
        let path = format!("recipes/big/src/{}/{}/{number}.c", folder % 50, folder / 50);
        shop.write(&path, &format!("int number_{number};\n"))?;
    }
    shop.write(
        "recipes/big/recipe.toml",
        "name = \"big\"\nsource = { path = \"src\" }\n[[step]]\nname = \"install\"\nrun = \"echo > $OUTPUT/big\"\n",
    )
}

/// Measures a build in which exactly one step has to run.
fn one_step(shop: &Workshop) -> Result<f64> {
    let before = shop.good(&["status", "final"])?;
    ensure!(before.contains("to build"), "something should be open:\n{before}");
    let cost = cost(shop, 1, &["build", "final"])?;
    let text = shop.good(&["build", "final"])?;
    ensure!(!text.contains("run  "), "all should be built:\n{text}");
    Ok(cost)
}
