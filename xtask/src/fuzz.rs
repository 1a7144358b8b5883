//! `cargo xtask fuzz`: every parser of foreign bytes under libFuzzer, with inputs from the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};

use crate::cargo_tools::FUZZ;
use crate::{literals, root};

/// How much CPU time each target is given where nothing else is said, in seconds.
const SECONDS: u64 = 900;

/// The longest input, in bytes.
const LONGEST: usize = 1 << 16;

/// Literals of so many bytes are words that a parser may know; longer ones are inputs.
const WORDS: std::ops::RangeInclusive<usize> = 2..=40;

/// What a target is and where its first inputs come from.
struct Target {
    name: &'static str,
    /// The crates whose literals it starts from.
    crates: &'static [&'static str],
    /// How the repository's own files of the kind end.
    ending: &'static str,
}

const TARGETS: &[Target] = &[
    Target { name: "archives", crates: &["osier-archive"], ending: ".cpio" },
    Target { name: "console", crates: &["osier-boot"], ending: "\0" },
    Target { name: "debian", crates: &["osier-debian"], ending: ".asc" },
    Target { name: "kconfig", crates: &["osier-kconfig"], ending: ".config" },
    Target { name: "manifests", crates: &["osier-image"], ending: "manifest" },
    Target { name: "packages", crates: &["osier-debian"], ending: "\0" },
    Target { name: "patches", crates: &["osier-patch"], ending: ".patch" },
    Target { name: "recipes", crates: &["osier-recipe"], ending: ".toml" },
    Target { name: "stored", crates: &["osier-store", "osier-build"], ending: "\0" },
    Target {
        name: "texts",
        crates: &["osier-fetch", "osier-debian", "osier-build", "osier"],
        ending: "\0",
    },
];

/// Fuzzes some targets or all, each for so many seconds of CPU time, and prints a row of figures for each.
///
/// Every target starts from its seeds ([`Target::seeds`]) and from what earlier runs have found in `target/fuzz/corpus`.
pub(crate) fn all(words: &[&str]) -> Result<()> {
    let mut seconds = SECONDS;
    let mut chosen = Vec::new();
    for word in words {
        match (word.parse(), TARGETS.iter().find(|target| target.name == *word)) {
            (Ok(number), _) => seconds = number,
            (_, Some(target)) => chosen.push(target),
            _ => {
                let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                bail!("there is no fuzz target `{word}`; there are: {}", names.join(", "));
            }
        }
    }
    if chosen.is_empty() {
        chosen = TARGETS.iter().collect();
    }
    let program = FUZZ.program()?;
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for target in chosen {
        let figures = target.fuzz(&program, Duration::from_secs(seconds))?;
        println!("{HEAD}\n{}", figures.row(target.name));
        rows.push(figures.row(target.name));
        if figures.crashed {
            failed.push(format!("{}: see {}", target.name, target.place("log").display()));
        }
    }
    println!("\n{HEAD}\n{}", rows.join("\n"));
    ensure!(failed.is_empty(), "crashes:\n{}", failed.join("\n"));
    Ok(())
}

impl Target {
    /// Where something of the target lies.
    fn place(&self, what: &str) -> PathBuf {
        root().join("target/fuzz").join(what).join(self.name)
    }

    /// Runs the target until it has had its CPU time, or has crashed. On a busy machine that takes longer, a third
    /// at most.
    fn fuzz(&self, program: &Path, time: Duration) -> Result<Figures> {
        for folder in [
            self.place("corpus"),
            self.place("crashes"),
            self.place("seeds"),
            root().join("target/fuzz/words"),
            root().join("target/fuzz/log"),
        ] {
            fs::create_dir_all(folder)?;
        }
        self.seeds()?;
        // What follows is timed.
        let status = self.cargo_fuzz(program, "build").status().context("cannot run cargo fuzz")?;
        ensure!(status.success(), "the target {} could not be built", self.name);
        println!(
            "fuzz {}: {} s of CPU time, output in {}",
            self.name,
            time.as_secs(),
            self.place("log").display()
        );
        let mut figures = Figures::default();
        loop {
            let left =
                time.saturating_sub(figures.cpu).min((time * 4 / 3).saturating_sub(figures.wall));
            if figures.crashed || left < time / 50 {
                return Ok(figures);
            }
            let (began, used) = (Instant::now(), cpu()?);
            figures.crashed = !self.run(program, left)?;
            figures.wall += began.elapsed();
            figures.cpu += cpu()?.saturating_sub(used);
            figures.read(&fs::read_to_string(self.place("log"))?);
        }
    }

    /// Runs the target for so long; says whether it ended without a crash.
    fn run(&self, program: &Path, time: Duration) -> Result<bool> {
        let log = self.place("log");
        let output =
            fs::File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        // In memory, if there is such a place: some targets write files for every input.
        let memory = Path::new("/dev/shm");
        let scratch = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let scratch = scratch.join(format!("osier-fuzz-{}-{}", self.name, std::process::id()));
        fs::create_dir(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
        let own = root().join("fuzz/seeds").join(self.name);
        let status = self
            .cargo_fuzz(program, "run")
            // What is new goes into the first folder.
            .args(
                [self.place("corpus"), self.place("seeds")]
                    .iter()
                    .chain(Some(&own).filter(|own| own.is_dir())),
            )
            .arg("--")
            .arg(format!("-max_total_time={}", time.as_secs().max(1)))
            .arg(format!("-artifact_prefix={}/", self.place("crashes").display()))
            .arg(format!("-dict={}", self.place("words").display()))
            .arg(format!("-max_len={LONGEST}"))
            // A thread that is about to end would count as a leak.
            .args(["-print_final_stats=1", "-timeout=25", "-rss_limit_mb=4096", "-detect_leaks=0"])
            .env("TMPDIR", &scratch)
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()
            .context("cannot run cargo fuzz")?;
        osier_store::remove_tree(&scratch)?;
        Ok(status.success())
    }

    /// A call of cargo-fuzz about the target.
    fn cargo_fuzz(&self, program: &Path, verb: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["fuzz", verb, "--target-dir", "target/fuzz", self.name]);
        // libFuzzer needs the nightly compiler's flags.
        command.env("RUSTUP_TOOLCHAIN", "nightly").current_dir(root());
        command
    }

    /// Gathers what the target starts from beside `fuzz/seeds`: the repository's own files of the kind that it reads,
    /// what tests make, and the literals of the crates that have the parsers.
    fn seeds(&self) -> Result<()> {
        let folder = self.place("seeds");
        self.made_by_tests(&folder)?;
        let tracked = Command::new("git").arg("ls-files").current_dir(root()).output()?;
        let tracked = String::from_utf8(tracked.stdout)?;
        for path in tracked.lines().filter(|path| path.ends_with(self.ending)) {
            fs::copy(root().join(path), folder.join(path.replace('/', "-")))?;
        }
        let mut words = BTreeSet::new();
        let is_source = |path: &&str| {
            let of = |name| {
                path.strip_prefix("crates/")
                    .and_then(|path| path.strip_prefix(name))
                    .is_some_and(|path| path.starts_with('/'))
            };
            path.ends_with(".rs") && self.crates.iter().any(|name| of(*name))
        };
        for path in tracked.lines().filter(is_source) {
            for (number, literal) in
                literals::of(&fs::read_to_string(root().join(path))?)?.into_iter().enumerate()
            {
                if WORDS.contains(&literal.len()) {
                    words.insert(literal);
                } else if literal.len() > *WORDS.end() {
                    fs::write(
                        folder.join(format!("{}-{number}", path.replace('/', "-"))),
                        literal,
                    )?;
                }
            }
        }
        let quoted = |word: &Vec<u8>| {
            let bytes: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("\"{bytes}\"\n")
        };
        Ok(fs::write(self.place("words"), words.iter().map(quoted).collect::<String>())?)
    }

    /// Has the tests make what is no text: archives, packages, signatures, an index.
    fn made_by_tests(&self, folder: &Path) -> Result<()> {
        let mut command = Command::new("cargo");
        command.args([
            "test",
            "--quiet",
            "--locked",
            "--lib",
            "-p",
            "osier-archive",
            "-p",
            "osier-build",
        ]);
        command.args(["-p", "osier-debian", "-p", "osier-store"]);
        command.args([&format!("seeds_of_{}", self.name), "--", "--ignored"]);
        let status = command
            .env("OSIER_SEEDS", folder)
            .current_dir(root())
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "the tests that make inputs failed");
        Ok(())
    }
}

/// The CPU time of all programs that this one has run so far.
fn cpu() -> Result<Duration> {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let of = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(
            u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0),
        )
    };
    Ok(of(used.user_time()) + of(used.system_time()))
}

const HEAD: &str = "| target | seconds | CPU seconds | inputs | edges | features | corpus | crash |\n\
    | --- | --- | --- | --- | --- | --- | --- | --- |";

/// What runs of libFuzzer came to.
#[derive(Default)]
struct Figures {
    wall: Duration,
    cpu: Duration,
    inputs: u64,
    edges: u64,
    features: u64,
    corpus: u64,
    crashed: bool,
}

impl Figures {
    /// Takes in what one run printed.
    fn read(&mut self, text: &str) {
        let number = |marker: &str| {
            let (_, rest) = text.rsplit_once(marker)?;
            rest.split(|letter: char| !letter.is_ascii_digit())
                .find(|word| !word.is_empty())?
                .parse()
                .ok()
        };
        self.inputs += number("stat::number_of_executed_units:").unwrap_or(0);
        self.edges = number(" cov: ").unwrap_or(self.edges);
        self.features = number(" ft: ").unwrap_or(self.features);
        self.corpus = number(" corp: ").unwrap_or(self.corpus);
    }

    fn row(&self, name: &str) -> String {
        let crash = if self.crashed { "found" } else { "none" };
        format!(
            "| {name} | {} | {} | {} | {} | {} | {} | {crash} |",
            self.wall.as_secs(),
            self.cpu.as_secs(),
            self.inputs,
            self.edges,
            self.features,
            self.corpus
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_run() {
        let files = fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        let names: Vec<_> = files.iter().filter_map(|file| file.file_stem()?.to_str()).collect();
        assert_eq!(names, TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
    }

    #[test]
    fn figures_of_all_runs_are_put_together() {
        let run = "#1\tpulse  cov: 3 ft: 4 corp: 2/3b lim: 4\n#9\tDONE   cov: 30 ft: 40 corp: 20/3b lim: 4\n\
            stat::number_of_executed_units: 9\nstat::average_exec_per_sec:     2\n";
        let mut figures = Figures::default();
        figures.read(run);
        figures.read(run);
        assert_eq!(figures.row("x"), "| x | 0 | 0 | 18 | 30 | 40 | 20 | none |");
    }
}
