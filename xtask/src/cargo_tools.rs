//! Cargo's plug-ins that chores need, built into `target/tools` at a fixed version, so that nothing has to be installed by
//! hand; and the chores that are hardly more than a call of one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{root, run};

/// Licences, sources and bans of all dependencies.
const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
/// Builds and runs the targets below `fuzz/`.
const FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };

/// How long each target is fuzzed where nothing else is said, in seconds.
const FUZZ_SECONDS: u64 = 900;

struct Tool {
    name: &'static str,
    version: &'static str,
}

impl Tool {
    /// Gives the program, and builds it first where it is not there in this version.
    fn program(&self) -> Result<PathBuf> {
        let folder = root().join("target/tools").join(format!("{}-{}", self.name, self.version));
        let program = folder.join("bin").join(self.name);
        if !program.exists() {
            let folder = folder.to_str().context("the path is UTF-8")?;
            // Without optimisation it is built in half the time, and it runs for a second.
            let version = format!("={}", self.version);
            run(&[
                "cargo",
                "install",
                self.name,
                "--version",
                &version,
                "--locked",
                "--debug",
                "--quiet",
                "--root",
                folder,
            ])?;
        }
        Ok(program)
    }
}

/// Checks the licences and the origin of every dependency.
///
/// Advisories are not among it: their database is on a host of its own, which a build machine need not reach.
pub(crate) fn deny() -> Result<()> {
    let program = DENY.program()?;
    let program = program.to_str().context("the path is UTF-8")?;
    run(&[program, "--locked", "check", "bans", "licenses", "sources"])
}

/// Fuzzes one target or all, each for so many seconds, and prints a row of figures for each.
///
/// Every target starts from its seeds ([`seeds`]) and from what earlier runs have found in `target/fuzz/corpus`.
pub(crate) fn fuzz(words: &[&str]) -> Result<()> {
    let mut seconds = FUZZ_SECONDS;
    let mut names = targets()?;
    for word in words {
        match word.parse() {
            Ok(number) => seconds = number,
            Err(_) if names.iter().any(|name| name == word) => names = vec![(*word).to_owned()],
            Err(_) => bail!("there is no fuzz target `{word}`; there are: {}", names.join(", ")),
        }
    }
    let program = FUZZ.program()?;
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for name in names {
        let begun = Instant::now();
        let log = root().join(format!("target/fuzz/{name}.log"));
        let good = fuzz_one(&program, &name, seconds, &log)?;
        let figures = Figures::read(&fs::read_to_string(&log)?);
        rows.push(format!(
            "| {name} | {} | {} | {} | {} |",
            begun.elapsed().as_secs(),
            figures.runs,
            figures.edges,
            if good { "none" } else { "found" }
        ));
        if !good {
            failed.push(format!("{name}: see {}", log.display()));
        }
    }
    println!(
        "| target | seconds | inputs | edges | crash |\n| --- | --- | --- | --- | --- |\n{}",
        rows.join("\n")
    );
    ensure!(failed.is_empty(), "crashes:\n{}", failed.join("\n"));
    Ok(())
}

/// Lists the fuzz targets, by their files.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Gathers the repository's own files of the kind that a target reads; more lies in `fuzz/seeds`.
fn seeds(name: &str) -> Result<PathBuf> {
    let ending = match name {
        "recipes" => ".toml",
        "manifests" => "manifest",
        "kconfig" | "stored" => ".config",
        _ => "\0",
    };
    let folder = root().join("target/fuzz/seeds").join(name);
    fs::create_dir_all(&folder)?;
    if name == "archives" {
        // Their tests make one of each form.
        let mut command = Command::new("cargo");
        command.args([
            "test",
            "--quiet",
            "--locked",
            "-p",
            "osier-archive",
            "-p",
            "osier-build",
            "--lib",
        ]);
        command.args(["seeds", "--", "--ignored"]).env("OSIER_SEEDS", &folder);
        let status = command.current_dir(root()).status().context("cannot run cargo")?;
        ensure!(status.success(), "the tests that make archives failed");
    }
    let tracked = Command::new("git").args(["ls-files"]).current_dir(root()).output()?;
    for path in String::from_utf8(tracked.stdout)?.lines().filter(|path| path.ends_with(ending)) {
        fs::copy(root().join(path), folder.join(path.replace('/', "-")))?;
    }
    Ok(folder)
}

/// Runs one target; says whether it ended without a crash.
fn fuzz_one(program: &Path, name: &str, seconds: u64, log: &Path) -> Result<bool> {
    let found = root().join("target/fuzz/corpus").join(name);
    let crashes = root().join("target/fuzz/crashes").join(name);
    for folder in [&found, &crashes] {
        fs::create_dir_all(folder)?;
    }
    // What is new goes into the first folder.
    let mut folders = vec![found, seeds(name)?];
    folders.extend(Some(root().join("fuzz/seeds").join(name)).filter(|seeds| seeds.is_dir()));
    println!("fuzz {name}: {seconds} s, output in {}", log.display());
    let output = fs::File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
    let status = Command::new(program)
        .args(["fuzz", "run", "--target-dir", "target/fuzz", name])
        .args(&folders)
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .args(["-print_final_stats=1", "-timeout=20", "-rss_limit_mb=4096"])
        // libFuzzer needs the nightly compiler's flags.
        .env("RUSTUP_TOOLCHAIN", "nightly")
        .current_dir(root())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .context("cannot run cargo fuzz")?;
    Ok(status.success())
}

/// What a run of libFuzzer came to, from what it printed.
struct Figures {
    runs: u64,
    edges: u64,
}

impl Figures {
    fn read(text: &str) -> Self {
        let number = |marker: &str| {
            let (_, rest) = text.rsplit_once(marker)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        Self {
            runs: number("stat::number_of_executed_units:").unwrap_or(0),
            edges: number(" cov: ").unwrap_or(0),
        }
    }
}
