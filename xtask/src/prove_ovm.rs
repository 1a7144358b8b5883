//! Proof of the whole of `ovm-initrd`: both toolchains, every component, both systems, all boots, twice, with the same bytes.
//!
//! The two runs have folders, stores, numbers of jobs and, where there is one to be had, users of their own. The stores are
//! large, so that of the first run is removed before the second begins.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{fs, io};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::root;

const TARGETS: [&str; 2] = ["x86_64", "aarch64"];
const SYSTEMS: [&str; 2] = ["ovm-initrd", "ovm-rootfs"];
/// The longest that one run may take, in seconds.
const LONGEST: u64 = 75 * 60;

/// One run of the proof: a folder with a project and a store in it, and who works there.
struct Workplace {
    folder: PathBuf,
    store: PathBuf,
    jobs: &'static str,
    /// User and group, where they are not this process's.
    user: Option<(u32, u32)>,
}

/// What a run came to.
#[derive(Default)]
struct Run {
    /// The digests of images and kernels by their path below `out/`.
    images: BTreeMap<String, String>,
    /// The outputs and digests of components.
    components: BTreeMap<String, Vec<String>>,
}

impl Workplace {
    fn new(folder: PathBuf, store: PathBuf, jobs: &'static str) -> Result<Self> {
        let folder = Self { folder, store, jobs, user: None };
        if folder.folder.exists() {
            fs::remove_dir_all(&folder.folder)?;
        }
        fs::create_dir_all(folder.project())?;
        fs::write(
            folder.project().join("osier.toml"),
            "name = \"gallery\"\nsuite = \"bookworm\"\n",
        )?;
        fs::copy(root().join("osier.lock"), folder.project().join("osier.lock"))?;
        // Another user may not be able to look into this repository.
        fs::copy(root().join("target/release/osier"), folder.folder.join("osier"))?;
        Ok(folder)
    }

    /// Gives the folder to another user.
    fn of_user(mut self, user: Option<(u32, u32)>) -> Result<Self> {
        if let Some((uid, gid)) = user {
            let own = |path: &Path| chown(path, Some(uid), Some(gid));
            own(&self.folder)?;
            own(&self.project())?;
            for file in ["osier.toml", "osier.lock"] {
                own(&self.project().join(file))?;
            }
            self.user = user;
        }
        Ok(self)
    }

    fn project(&self) -> PathBuf {
        self.folder.join("project")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.folder.join("osier"));
        command
            .args(["--locked", "-j", self.jobs])
            .args(words)
            .current_dir(self.project())
            .env("OSIER_STORE", &self.store)
            .stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid).env("HOME", &self.folder);
        }
        command
    }

    /// Runs osier, which has to succeed, and gives what it printed.
    fn good(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).output().context("cannot run osier")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let shown = words.join(" ");
        ensure!(output.status.success(), "`osier {shown}` failed:\n{}", text(&output.stderr));
        Ok(text(&output.stdout))
    }

    /// Runs osier and follows its events; what people read is shown with the time since the beginning.
    fn follow(&self, words: &[&str]) -> Result<Vec<Value>> {
        let begun = Instant::now();
        let mut child =
            self.command(&[&["--json"], words].concat()).stdout(Stdio::piped()).spawn()?;
        let stream = child.stdout.take().context("osier has an output")?;
        let mut events = Vec::new();
        for line in BufReader::new(stream).lines() {
            let event: Value = serde_json::from_str(&line?).context("osier writes JSON")?;
            if event["event"] == "step_finished" {
                let [component, step] =
                    ["component", "step"].map(|key| event[key].as_str().unwrap_or("?"));
                let seconds = begun.elapsed().as_secs();
                println!(
                    "prove ovm: {seconds:>5} s: {component}:{step}, {:.0} CPU s",
                    number(&event, "cpu")
                );
            }
            events.push(event);
        }
        let shown = words.join(" ");
        ensure!(child.wait()?.success(), "`osier {shown}` failed; in {}", self.project().display());
        Ok(events)
    }

    /// From whatever the store holds to booted machines; prints what it cost and what became of each boot.
    fn run(&self) -> Result<Run> {
        let begun = Instant::now();
        let both: Vec<&str> = TARGETS.iter().flat_map(|target| ["--target", target]).collect();
        let events = self.follow(&[&["boot", "ovm-initrd"], both.as_slice()].concat())?;
        let (seconds, jobs) = (begun.elapsed().as_secs(), self.jobs);
        for event in events.iter().filter(|event| event["event"] == "steps_ended") {
            let [wall, cpu, busy] = ["seconds", "cpu", "utilisation"].map(|key| number(event, key));
            let (steps, processors) = (&event["steps"], &event["processors"]);
            println!(
                "prove ovm: -j{jobs}: {steps} steps in {wall:.0} s, {cpu:.0} CPU s: {:.1}% of {processors} processors",
                busy * 100.0
            );
        }
        let who = self.user.map_or("this user".to_owned(), |(uid, _)| format!("the user {uid}"));
        println!(
            "prove ovm: -j{jobs}, by {who}: `osier boot ovm-initrd` for both targets took {seconds} s"
        );
        ensure!(seconds <= LONGEST, "that is more than {LONGEST} s");
        let reports: Vec<&Value> =
            events.iter().filter(|event| event["boots"].is_array()).collect();
        ensure!(reports.len() == TARGETS.len(), "{} systems were booted", reports.len());
        for report in reports {
            verdicts(report)?;
        }
        let mut run = Run::default();
        self.good(&[&["build", "ovm-rootfs"], both.as_slice()].concat())?;
        images(&self.project().join("out"), "", &mut run.images)?;
        for (system, target) in SYSTEMS.iter().flat_map(|one| TARGETS.map(|target| (one, target))) {
            let text = self.good(&["--json", "graph", system, "--target", target])?;
            let graph: Value = serde_json::from_str(&text).context("the graph is JSON")?;
            for component in graph["components"].as_array().context("components are a list")? {
                let outputs = component["outputs"].as_array().context("outputs are a list")?;
                ensure!(!outputs.is_empty(), "{} is not built", component["name"]);
                let said = |output: &Value| format!("{} {}", output["name"], output["digest"]);
                let name = component["name"].as_str().context("a component has a name")?;
                run.components.insert(name.to_owned(), outputs.iter().map(said).collect());
            }
        }
        Ok(run)
    }

    /// The root as every kind of file system that there is, on this machine's processor.
    fn other_roots(&self) -> Result<()> {
        let own = self.project().join("systems/ovm-rootfs");
        copy(&root().join("systems/ovm-rootfs"), &own)?;
        let system = fs::read_to_string(own.join("system.toml"))?;
        ensure!(system.contains("format = \"erofs\""), "the library's system has another format");
        for format in ["ext4", "btrfs"] {
            let changed = system.replace("format = \"erofs\"", &format!("format = \"{format}\""));
            fs::write(own.join("system.toml"), changed)?;
            self.good(&["boot", "ovm-initrd", "--target", TARGETS[0], "--out", format])?;
            println!("prove ovm: the same boots from a root that is {format}");
        }
        Ok(())
    }

    /// Writes the graph with the times of this run, which the documentation shows.
    fn graph(&self) -> Result<()> {
        for (format, ending) in [("svg", "svg"), ("text", "txt")] {
            let file = root().join(format!("target/proofs/ovm-initrd.{ending}"));
            let file = file.to_str().context("a path that is not text")?;
            let both = TARGETS.iter().flat_map(|target| ["--target", target]);
            let words = ["graph", "ovm-initrd", "--format", format, "--out", file];
            self.good(&words.into_iter().chain(both).collect::<Vec<_>>())?;
            println!("prove ovm: {file}");
        }
        Ok(())
    }

    /// Removes everything.
    fn clear(self) -> Result<()> {
        self.good(&["gc", "--all"])?;
        Ok(fs::remove_dir_all(&self.folder)?)
    }
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_default()
}

/// Prints what became of each boot of a system, with what its init said of the disks.
fn verdicts(report: &Value) -> Result<()> {
    let machine = report["machine"]["name"].as_str().context("the machine has a name")?;
    let accelerator = report["accelerator"].as_str().context("something ran it")?;
    for boot in report["boots"].as_array().context("boots are a list")? {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let console = fs::read(text(&boot["serial_log"]))?;
        let console = String::from_utf8_lossy(&console);
        let said: Vec<&str> = console.lines().filter(|line| line.starts_with("ovm: ")).collect();
        println!(
            "prove ovm: {machine} ({accelerator}), boot {}: {}, {}; over in {:.1} s",
            boot["boot"],
            text(&boot["diagnosis"]["summary"]),
            said.join(", ").trim(),
            number(boot, "seconds")
        );
    }
    ensure!(report["passed"] == true, "{machine} did not do what its script says");
    Ok(())
}

/// Finds the digests of all kernels and images below a folder.
fn images(folder: &Path, below: &str, found: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let (path, name) = {
            let entry = entry?;
            (entry.path(), format!("{below}{}", entry.file_name().to_string_lossy()))
        };
        if path.is_dir() {
            images(&path, &format!("{name}/"), found)?;
        } else if path.extension().is_none_or(|end| end != "log" && end != "json") {
            let output =
                Command::new("sha256sum").arg("-b").stdin(fs::File::open(&path)?).output()?;
            let text = String::from_utf8(output.stdout)?;
            let digest = text.split(' ').next().context("sha256sum prints a digest")?;
            found.insert(name, digest.to_owned());
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, name) = {
            let entry = entry?;
            (entry.path(), entry.file_name())
        };
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// Finds an ordinary user of this host to work as, if this process may.
fn other_user() -> Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let ordinary = users.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (1000..60_000).contains(&uid).then_some((uid, gid))
    });
    Ok(ordinary)
}

/// Both runs, from empty stores; takes an hour and a half on two processors.
pub(crate) fn all(store: &Path) -> Result<()> {
    let first = Workplace::new(
        root().join("target/proofs/ovm"),
        store.with_file_name("proof-store-ovm"),
        "2",
    )?;
    first.good(&["gc", "--all"])?;
    let one = first.run()?;
    first.graph()?;
    first.other_roots()?;
    first.clear()?;

    // Not below /tmp, which may be in memory.
    let folder = PathBuf::from("/var/tmp/osier-proof-ovm/of another length");
    let store = folder.join("store");
    let second = Workplace::new(folder, store, "5")?.of_user(other_user()?)?;
    let two = second.run()?;
    compare(&one, &two)?;
    second.clear()
}

/// One run on a store that is kept for the next time: what a change of a recipe or a script asks for.
pub(crate) fn quick(store: &Path) -> Result<()> {
    let store = store.with_file_name("kept-store-ovm");
    let place = Workplace::new(root().join("target/proofs/ovm-quick"), store, "2")?;
    let run = place.run()?;
    show(&run);
    place.other_roots()
}

fn show(run: &Run) {
    for (name, digest) in &run.images {
        println!("prove ovm: {digest} {name}");
    }
}

fn compare(one: &Run, two: &Run) -> Result<()> {
    let names: BTreeSet<&String> = one.components.keys().chain(two.components.keys()).collect();
    let differing = |name: &&&String| one.components.get(**name) != two.components.get(**name);
    let mut differing: Vec<&str> =
        names.iter().filter(differing).map(|name| name.as_str()).collect();
    let images: BTreeSet<&String> = one.images.keys().chain(two.images.keys()).collect();
    differing.extend(
        images
            .iter()
            .filter(|name| one.images.get(**name) != two.images.get(**name))
            .map(|name| name.as_str()),
    );
    if !differing.is_empty() {
        bail!("these have other bytes in the second run: {}", differing.join(", "));
    }
    show(two);
    println!(
        "prove ovm: {} components and {} files have the same bytes in both runs",
        names.len(),
        images.len()
    );
    Ok(())
}
