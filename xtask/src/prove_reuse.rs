//! `cargo xtask prove reuse`: kernels built from another build's objects, each compared with a clean build.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::draw::Draw;
use crate::root;
use crate::workshop::Workshop;

/// The symbols are drawn with this seed; another one gives another, equally good, proof.
const SEED: u64 = 20_261_121;

/// How many symbols are flipped, BINFMT_SCRIPT included.
const SYMBOLS: usize = 12;

/// One build of the kernel, as its events tell it.
struct Build {
    /// Whether the build step went on from an earlier build.
    reused: bool,
    /// CPU time of the last run of the build step, and of the one before, in seconds.
    cpu: Vec<f64>,
    digest: String,
}

/// A kernel of a project's own, built clean.
struct Kernel {
    shop: Workshop,
    recipe: String,
    fragment: String,
    /// A line that no other run has in its fragments, so that a store in which this was proved before does not have
    /// the results already.
    run: String,
    base: Build,
}

/// Flips symbols of the kernel's configuration there and back, adds a patch and a flag, and takes them away.
pub(crate) fn reuse(store: &Path) -> Result<()> {
    let kernel = Kernel::new(store)?;
    kernel.flip_symbols()?;
    kernel.change_inputs()
}

/// The second half of [`reuse`]: a patch and a flag.
pub(crate) fn inputs(store: &Path) -> Result<()> {
    Kernel::new(store)?.change_inputs()
}

impl Kernel {
    fn new(store: &Path) -> Result<Self> {
        let shop = Workshop::new("reuse", store)?;
        std::fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
        let folder = root().join("recipes/linux");
        let recipe = std::fs::read_to_string(folder.join("recipe.toml"))?;
        let named = "fragments = [\"serial-initrd.config\"]";
        ensure!(recipe.contains(named), "the recipe of linux names its fragments otherwise");
        let recipe =
            recipe.replace(named, "fragments = [\"serial-initrd.config\", \"flip.config\"]");
        shop.write("recipes/linux/recipe.toml", &recipe)?;
        let fragment = std::fs::read_to_string(folder.join("serial-initrd.config"))?;
        shop.write("recipes/linux/serial-initrd.config", &fragment)?;
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
        let run = format!("# run {now}\n");
        shop.write("recipes/linux/flip.config", &format!("# as it is\n{run}"))?;

        let base = build(&shop, &[])?;
        let base = if base.reused { build(&shop, &["--clean-check"])? } else { base };
        Ok(Self { shop, recipe, fragment, run, base })
    }

    fn flip_symbols(&self) -> Result<()> {
        let Self { shop, fragment: base_fragment, run, base, .. } = self;
        let config = shop.project.join("out/main/boot/config");
        shop.good(&["build", "linux", "--out", "out"])?;
        let config =
            std::fs::read_to_string(&config).context("the kernel installs its configuration")?;
        let mut symbols = candidates(&config, base_fragment);
        let mut draw = Draw(SEED);
        let mut flipped = vec![("BINFMT_SCRIPT".to_owned(), true)];
        symbols.retain(|(name, _)| name != "BINFMT_SCRIPT");
        let (mut done, mut most) = (0, 0.0f64);
        while done < SYMBOLS {
            let (symbol, is_on) = flipped.pop().map_or_else(
                || {
                    ensure!(
                        !symbols.is_empty(),
                        "there are not enough symbols that can be flipped"
                    );
                    // As many are switched on as off.
                    let wanted = done % 2 == 0;
                    let at = draw.below(symbols.len());
                    let rest = (0..symbols.len()).map(|step| (at + step) % symbols.len());
                    let at = rest.into_iter().find(|at| symbols[*at].1 == wanted).unwrap_or(at);
                    Ok(symbols.swap_remove(at))
                },
                Ok,
            )?;
            let line = if is_on {
                format!("# CONFIG_{symbol} is not set\n")
            } else {
                format!("CONFIG_{symbol}=y\n")
            };
            let fragment = base_fragment.replace(&format!("CONFIG_{symbol}=y\n"), "");
            shop.write("recipes/linux/serial-initrd.config", &fragment)?;
            shop.write("recipes/linux/flip.config", &format!("{line}{run}"))?;
            let Some(there) = try_build(shop, &["--clean-check"])? else {
                println!("prove reuse: {symbol} cannot be flipped alone");
                continue;
            };
            ensure!(there.reused, "{symbol}: the build did not go on from the earlier one");
            let (Some(cpu), Some(clean)) = (there.cpu.first(), there.cpu.last()) else {
                anyhow::bail!("{symbol}: the build step did not run twice")
            };
            shop.write("recipes/linux/serial-initrd.config", base_fragment)?;
            // Another text of the fragment, the same configuration: the key is new, the bytes must be the old ones.
            shop.write("recipes/linux/flip.config", &format!("# back from {symbol}\n{run}"))?;
            let back = build(shop, &[])?;
            ensure!(back.reused, "{symbol}, back: the build did not go on from the earlier one");
            ensure!(back.digest == base.digest, "{symbol}, back: the output differs");
            let back_cpu = back.cpu.first().copied().unwrap_or_default();
            println!(
                "prove reuse: {symbol} {}: {cpu:.1} s instead of {clean:.1} s, the same bytes; back: {back_cpu:.1} s, the same bytes",
                if is_on { "off" } else { "on" }
            );
            ensure!(symbol != "BINFMT_SCRIPT" || *cpu <= 12.0, "BINFMT_SCRIPT off took {cpu} s");
            most = most.max(*cpu).max(back_cpu);
            done += 1;
        }

        println!(
            "prove reuse: {SYMBOLS} symbols there and back, the dearest for {most:.1} s of CPU time"
        );
        Ok(())
    }

    /// A patch or a flag reaches every object: nothing is taken over, and nothing of it stays behind.
    fn change_inputs(&self) -> Result<()> {
        let Self { shop, recipe, run, base, .. } = self;
        let words =
            ["shell", "linux:unpack", "--then", "leave", "--", "sed", "-n", "1,12p", "Makefile"];
        let makefile = shop.good(&words)?;
        let lines: Vec<&str> =
            makefile.lines().skip_while(|line| !line.starts_with("# SPDX")).collect();
        let at = lines.iter().position(|line| line.starts_with("EXTRAVERSION"));
        let at = at.context("no EXTRAVERSION")?;
        let mut patch = format!("--- a/Makefile\n+++ b/Makefile\n@@ -{0},7 +{0},7 @@\n", at - 2);
        for number in at - 3..=at + 3 {
            let line = lines.get(number).context("the makefile ends early")?;
            match number == at {
                true => patch.push_str(&format!("-{line}\n+EXTRAVERSION = -proved\n")),
                false => patch.push_str(&format!(" {line}\n")),
            }
        }
        shop.write("recipes/linux/flip.config", &format!("# patched\n{run}"))?;
        shop.write("recipes/linux/patches/0001-version.patch", &patch)?;
        shop.write(
            "recipes/linux/recipe.toml",
            &recipe.replace("files = ", "patches = [\"patches/*.patch\"]\nfiles = "),
        )?;
        let patched = build(shop, &[])?;
        ensure!(
            !patched.reused && patched.digest != base.digest,
            "the patch should reach every object"
        );
        shop.write("recipes/linux/flip.config", &format!("# patched, in other words\n{run}"))?;
        let again = build(shop, &[])?;
        ensure!(
            again.reused && again.digest == patched.digest,
            "a patched kernel goes on from a patched one"
        );
        shop.write("recipes/linux/flip.config", &format!("# patch removed\n{run}"))?;
        shop.write("recipes/linux/recipe.toml", recipe)?;
        let back = build(shop, &[])?;
        ensure!(
            back.reused && back.digest == base.digest,
            "a removed patch should leave nothing behind"
        );
        println!("prove reuse: a patch added: built clean; removed: the same bytes as before");
        shop.write(
            "recipes/linux/recipe.toml",
            &recipe.replace("[env]\n", "[env]\nKCFLAGS = \"-fno-inline-small-functions\"\n"),
        )?;
        let flagged = build(shop, &[])?;
        ensure!(
            !flagged.reused && flagged.digest != base.digest,
            "the flag should reach every object"
        );
        shop.write("recipes/linux/flip.config", &format!("# flag removed\n{run}"))?;
        shop.write("recipes/linux/recipe.toml", recipe)?;
        let back = build(shop, &[])?;
        ensure!(back.digest == base.digest, "a removed flag should leave nothing behind");
        println!(
            "prove reuse: a flag changed: built clean; changed back: the same bytes as before"
        );
        Ok(())
    }
}

fn build(shop: &Workshop, more: &[&str]) -> Result<Build> {
    try_build(shop, more)?.context("the configuration was not honoured")
}

/// Builds the kernel; nothing where its configuration is not honoured, or does not compile from clean layers.
fn try_build(shop: &Workshop, more: &[&str]) -> Result<Option<Build>> {
    let words = [&["--json", "--locked", "build", "linux"], more].concat();
    let output = shop.osier(&words)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned() + &text;
        ensure!(why.contains("linux:configure") || why.contains("linux:build"), "{why}");
        return Ok(None);
    }
    let mut build = Build { reused: false, cpu: Vec::new(), digest: String::new() };
    for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let is = |key: &str, word: &str| event.get(key).and_then(Value::as_str) == Some(word);
        if is("event", "step_reused") {
            build.reused = true;
        }
        if is("event", "step_finished") && is("step", "build") {
            build.cpu.extend(event.get("cpu").and_then(Value::as_f64));
        }
    }
    let text = shop.good(&["--locked", "build", "linux"])?;
    let digest = text.lines().find_map(|line| line.strip_prefix("linux:main "));
    build.digest = digest.context("the build names its output")?.to_owned();
    Ok(Some(build))
}

/// Lists the symbols that a person could change, and whether each is on.
///
/// Of a strict configuration these are those that its fragment asks for, and those that are there and off: all others
/// that are on have no prompt, and follow.
fn candidates(config: &str, fragment: &str) -> Vec<(String, bool)> {
    let on = fragment.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.strip_suffix("=y"));
    let off = config
        .lines()
        .filter_map(|line| line.strip_prefix("# CONFIG_")?.strip_suffix(" is not set"));
    // Another word size is another kernel.
    let on = on.filter(|name| *name != "64BIT").map(|name| (name.to_owned(), true));
    on.chain(off.map(|name| (name.to_owned(), false))).collect()
}
