//! What osier costs beside another build of itself: `cargo xtask bench against PROGRAM`.
//!
//! Each figure is the CPU time of the whole process tree, the middle one of several runs that the two programs make by
//! turns, each on a project and a store of its own: what else happens on the machine slows both.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bench::{cost_of, generate, write_source_folder};
use crate::root;
use crate::run;
use crate::workshop::Workshop;

/// One of the two programs, with what it works on.
struct Subject {
    program: PathBuf,
    name: &'static str,
    store: PathBuf,
}

impl Subject {
    fn new(name: &'static str, from: &Path) -> Result<Self> {
        let folder = root().join("target/bench-against").join(name);
        let store = folder.join("store");
        fs::create_dir_all(&folder)?;
        let program = folder.join("osier");
        // Copied: a build must not change it under way.
        fs::copy(from, &program).with_context(|| format!("cannot copy {}", from.display()))?;
        let subject = Self { program, name, store };
        subject.clear()?;
        Ok(subject)
    }

    fn clear(&self) -> Result<()> {
        let program = self.program.to_str().context("the path is UTF-8")?;
        let store = self.store.to_str().context("the path is UTF-8")?;
        run(&[program, "--store", store, "gc", "--all"])
    }

    fn shop(&self, name: &str) -> Result<Workshop> {
        let shop = Workshop::new(&format!("bench-{name}-{}", self.name), &self.store)?;
        let lock = root().join("osier.lock");
        fs::copy(lock, shop.project.join("osier.lock"))?;
        Ok(shop)
    }

    fn cost(&self, shop: &Workshop, words: &[&str]) -> Result<f64> {
        let program = self.program.to_str().context("the path is UTF-8")?;
        cost_of(shop, 1, &[&[program], words].concat())
    }
}

/// Both programs on one sort of project.
struct Pair<'a> {
    subjects: &'a [Subject; 2],
    shops: [Workshop; 2],
}

impl<'a> Pair<'a> {
    fn new(
        subjects: &'a [Subject; 2],
        name: &str,
        fill: impl Fn(&Workshop) -> Result<()>,
    ) -> Result<Self> {
        let [one, two] = subjects;
        let shops = [one.shop(name)?, two.shop(name)?];
        shops.iter().try_for_each(fill)?;
        Ok(Self { subjects, shops })
    }

    /// Runs a command by turns, after a change that is made before each run, and prints the row.
    fn row(
        &self,
        what: &str,
        rounds: usize,
        words: &[&str],
        change: impl Fn(&Workshop, usize) -> Result<()>,
    ) -> Result<()> {
        let mut costs = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            // Who comes second finds the machine's caches as the first one left them.
            for turn in 0..2 {
                let which = (round + turn) % 2;
                let (subject, shop) = (&self.subjects[which], &self.shops[which]);
                change(shop, round)?;
                costs[which].push(subject.cost(shop, words)?);
            }
        }
        let [old, new] = costs.map(|mut costs: Vec<f64>| {
            costs.sort_by(f64::total_cmp);
            costs[costs.len() / 2]
        });
        println!("| {what} | {old:.1} | {new:.1} | {:.2} |", new / old);
        Ok(())
    }
}

fn unchanged(_: &Workshop, _: usize) -> Result<()> {
    Ok(())
}

/// Replaces the beginning of a script in a recipe by one that is new in each round.
fn salt(shop: &Workshop, path: &str, round: usize) -> Result<()> {
    let text = fs::read_to_string(shop.project.join(path))?;
    let (before, script) = text.split_once("run = \"").context("the recipe has a script")?;
    let own = script.strip_prefix(": ").and_then(|rest| rest.split_once("; "));
    let script = own.map_or(script, |(_, script)| script);
    shop.write(path, &format!("{before}run = \": {round}; {script}"))
}

/// Measures, and prints the table: milliseconds of CPU time of the other program and of this one.
pub(crate) fn all(other: &Path) -> Result<()> {
    run(&["cargo", "build", "--release", "--locked"])?;
    let subjects = [
        Subject::new("other", other)?,
        Subject::new("this", &root().join("target/release/osier"))?,
    ];
    println!("| what | {} | this | ratio |\n| --- | --- | --- | --- |", other.display());
    let one = Pair::new(&subjects, "one", |shop| {
        shop.write(
            "recipes/one.toml",
            "name = \"one\"\n[[step]]\nname = \"install\"\nrun = \"echo > $OUTPUT/one\"\n",
        )
    })?;
    // Fetches and unpacks the build environment, which all others share.
    for (subject, shop) in one.subjects.iter().zip(&one.shops) {
        subject.cost(shop, &["build", "one"])?;
    }
    one.row("`osier status` with nothing to do", 60, &["status", "one"], unchanged)?;
    one.row("one step", 40, &["build", "one"], |shop, round| {
        salt(shop, "recipes/one.toml", round + 1)
    })?;
    for count in [100, 1000] {
        let pair = Pair::new(&subjects, &count.to_string(), |shop| generate(shop, count))?;
        let rounds = if count == 100 { 5 } else { 3 };
        pair.row(&format!("{count} trivial steps"), rounds, &["build", "final"], |shop, round| {
            (0..count)
                .try_for_each(|number| salt(shop, &format!("recipes/c{number}.toml"), round + 1))
        })?;
        let name = format!("no-op build of {count} components");
        pair.row(&name, 40, &["build", "final"], unchanged)?;
        let name = format!("a leaf's script changes, its output does not, {count} components");
        pair.row(&name, 11, &["build", "final"], |shop, round| {
            salt(shop, "recipes/c0.toml", round + 100)
        })?;
        pair.row(
            &format!("`osier graph`, {count} components"),
            11,
            &["graph", "final"],
            unchanged,
        )?;
        pair.row(&format!("`osier why`, {count} components"), 11, &["why", "final"], unchanged)?;
    }
    let folder = Pair::new(&subjects, "folder", write_source_folder)?;
    for (subject, shop) in folder.subjects.iter().zip(&folder.shops) {
        // Files that were written just before they were read are read once more.
        subject.cost(shop, &["build", "big"])?;
        subject.cost(shop, &["build", "big"])?;
    }
    folder.row("an unchanged source folder of 78,605 files", 7, &["build", "big"], unchanged)?;
    images(&subjects)?;
    subjects.iter().try_for_each(Subject::clear)
}

/// A system with 3,000 files of 20 KiB, and four images of it.
const SYSTEM: &str = "name = \"tree\"\ncomponents = [\"stuff\"]\noverlays = [\"files\"]\nmanifest = \"manifest\"\n\
    [[image]]\nname = \"initrd\"\nformat = \"initramfs\"\n\
    [[image]]\nname = \"root\"\nformat = \"ext4\"\n\
    [[image]]\nname = \"small\"\nformat = \"erofs\"\n\
    [[image]]\nname = \"sound\"\nformat = \"btrfs\"\n";
const STUFF: &str = "name = \"stuff\"\n[[step]]\nname = \"install\"\nrun = \"mkdir -p $OUTPUT/usr; for n in $(seq 3000); do seq $n $((n + 3500)) > $OUTPUT/usr/$n; done\"\n";

fn images(subjects: &[Subject; 2]) -> Result<()> {
    let pair = Pair::new(subjects, "images", |shop| {
        shop.write("recipes/stuff.toml", STUFF)?;
        shop.write("systems/tree/system.toml", SYSTEM)?;
        shop.write("systems/tree/manifest", "f usr/* 0644 0 0\nf etc/* 0644 0 0\n")?;
        shop.write("systems/tree/files/etc/motd", "a message\n")
    })?;
    for (subject, shop) in pair.subjects.iter().zip(&pair.shops) {
        subject.cost(shop, &["build", "tree"])?;
    }
    pair.row("no-op build of a system of 3,000 files", 40, &["build", "tree"], unchanged)?;
    pair.row("`osier size` of it", 11, &["size", "tree"], unchanged)?;
    pair.row(
        "an overlay's file changes: four images of 3,000 files",
        5,
        &["build", "tree"],
        |shop, round| shop.write("systems/tree/files/etc/motd", &format!("message {round}\n")),
    )
}
