//! Kills osier at named places while it builds a system, and looks at what comes after: `cargo xtask prove kill-places`, which is
//! a part of `prove kill`.
//!
//! The system is busybox, with a small patch of its own, and an initramfs. Each place is one exact system call of
//! osier's, found from outside ([`crate::stop_at`]). Half of the kills hit osier alone, half everything it
//! had started. Afterwards no process may be left, the next build must complete, run no step again that had
//! ended before, and give the same image byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use osier_store::{Index, Key, Record};

use crate::root;
use crate::stop_at::{Call, When, Whom, run_until, start_stopped, wait_for_end};
use crate::workshop::Workshop;

/// Where osier is killed.
#[derive(Debug, Clone, Copy)]
enum At {
    /// When so many thousandths of the bytes of such files are written.
    Share(&'static str, u16),
    /// At this write (from 1) to files whose path holds this text.
    Write(&'static str, u32, When),
    /// At this renaming (from 1) to a path that holds this text.
    Rename(&'static str, u32, When),
    /// At this removal (from 1) of a path that holds this text.
    Remove(&'static str, u32, When),
}

/// What is made undone before the kill, so that osier has to do it.
#[derive(Debug, Clone, Copy)]
enum Undo {
    /// The layers of these steps, and what was made of the last one.
    Steps(&'static [&'static str]),
    /// The same, and the download of the source.
    Source,
    /// The system's root file system, and what was made of the last step.
    Root,
    /// The system's image, likewise.
    Image,
    /// Nothing: gc removes what another component has made, which was not used for long.
    Junk,
    /// Nothing: gc removes everything.
    Everything,
}

/// One kill.
struct Kill {
    place: &'static str,
    undo: Undo,
    at: At,
}

const fn kill(place: &'static str, undo: Undo, at: At) -> Kill {
    Kill { place, undo, at }
}

use At::{Remove, Rename, Share, Write};
use When::{After, Before};

const PART: &str = ".part";
const UPPER: &str = "/upper/";
const LOG: &str = "/logs/";
const LAYER: &str = "/layers/";
const RECORD: &str = "/index.db-wal";
const WORK: &str = "/work/";

/// Fifty-three kills; the first two of each place are the quick proof.
const KILLS: &[Kill] = &[
    kill("fetch", Undo::Source, Share(PART, 500)),
    kill("fetch", Undo::Source, Rename("/blobs/", 1, After)),
    kill("fetch", Undo::Source, Share(PART, 1)),
    kill("fetch", Undo::Source, Share(PART, 250)),
    kill("fetch", Undo::Source, Share(PART, 750)),
    kill("fetch", Undo::Source, Share(PART, 999)),
    kill("fetch", Undo::Source, Rename("/blobs/", 1, Before)),
    kill("unpack", Undo::Steps(&["unpack"]), Share(UPPER, 500)),
    kill("unpack", Undo::Steps(&["unpack"]), Share(UPPER, 999)),
    kill("unpack", Undo::Steps(&["unpack"]), Share(UPPER, 0)),
    kill("unpack", Undo::Steps(&["unpack"]), Share(UPPER, 200)),
    kill("unpack", Undo::Steps(&["unpack"]), Share(UPPER, 400)),
    kill("unpack", Undo::Steps(&["unpack"]), Share(UPPER, 800)),
    kill("patch", Undo::Steps(&["patch"]), Write(LOG, 1, Before)),
    kill("patch", Undo::Steps(&["patch"]), Write(LOG, 1, After)),
    kill("patch", Undo::Steps(&["patch"]), Share(LOG, 999)),
    kill("patch", Undo::Steps(&["patch"]), Share(LOG, 300)),
    kill("patch", Undo::Steps(&["patch", "configure"]), Write(LOG, 1, Before)),
    kill("patch", Undo::Steps(&["patch", "configure"]), Write(LOG, 1, After)),
    kill("make", Undo::Steps(&["build"]), Share(LOG, 50)),
    kill("make", Undo::Steps(&["build"]), Share(LOG, 500)),
    kill("make", Undo::Steps(&["build"]), Share(LOG, 200)),
    kill("make", Undo::Steps(&["build"]), Share(LOG, 350)),
    kill("make", Undo::Steps(&["build"]), Share(LOG, 700)),
    kill("make", Undo::Steps(&["build"]), Share(LOG, 950)),
    kill("rename of a result", Undo::Steps(&["install"]), Rename(LAYER, 1, Before)),
    kill("rename of a result", Undo::Steps(&["install"]), Rename(LAYER, 1, After)),
    kill("rename of a result", Undo::Steps(&["unpack"]), Rename(LAYER, 1, Before)),
    kill("rename of a result", Undo::Steps(&["unpack"]), Rename(LAYER, 1, After)),
    kill("rename of a result", Undo::Steps(&["unpack", "patch"]), Rename(LAYER, 2, Before)),
    kill("rename of a result", Undo::Steps(&["unpack", "patch"]), Rename(LAYER, 2, After)),
    kill("record", Undo::Steps(&["install"]), Write(RECORD, 1, After)),
    kill("record", Undo::Steps(&["install"]), Write(RECORD, 2, Before)),
    kill("record", Undo::Steps(&["install"]), Write(RECORD, 1, Before)),
    kill("record", Undo::Steps(&["install"]), Write(RECORD, 2, After)),
    kill("record", Undo::Steps(&["unpack"]), Write(RECORD, 1, Before)),
    kill("record", Undo::Steps(&["unpack", "install"]), Write(RECORD, 2, After)),
    kill("root", Undo::Root, Write(UPPER, 1, Before)),
    kill("root", Undo::Root, Write(UPPER, 1, After)),
    kill("image", Undo::Image, Share(UPPER, 300)),
    kill("image", Undo::Image, Rename("/blobs/", 1, After)),
    kill("image", Undo::Image, Share(UPPER, 900)),
    kill("image", Undo::Image, Rename(LAYER, 1, Before)),
    kill("image", Undo::Image, Write(RECORD, 1, Before)),
    kill("image", Undo::Image, Write(RECORD, 1, After)),
    kill("delivery", Undo::Image, Rename("/out/", 1, Before)),
    kill("delivery", Undo::Image, Rename("/out/", 1, After)),
    kill("gc", Undo::Junk, Rename(WORK, 2, After)),
    kill("gc", Undo::Junk, Remove(WORK, 2, Before)),
    kill("gc", Undo::Junk, Rename(WORK, 1, Before)),
    kill("gc", Undo::Junk, Write(RECORD, 1, After)),
    kill("gc", Undo::Junk, Remove("/blobs/", 1, After)),
    kill("gc", Undo::Everything, Remove("/blobs/", 20, After)),
];

/// The kernel's, in the places that take it longest.
const KERNEL_KILLS: &[Kill] = &[
    kill("unpack", Undo::Steps(&["unpack"]), Share(UPPER, 500)),
    kill("make", Undo::Steps(&["build"]), Share(LOG, 100)),
    kill("make", Undo::Steps(&["build"]), Share(LOG, 500)),
    kill("rename of a result", Undo::Steps(&["build"]), Rename(LAYER, 1, Before)),
    kill("record", Undo::Steps(&["install"]), Write(RECORD, 1, Before)),
];

/// All of them.
pub(crate) fn all(_: &Path) -> Result<()> {
    busybox(&KILLS.iter().collect::<Vec<_>>())
}

/// Two of each place.
pub(crate) fn quick(_: &Path) -> Result<()> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let chosen = KILLS.iter().filter(|kill| {
        let count = counts.entry(kill.place).or_default();
        *count += 1;
        *count <= 2
    });
    busybox(&chosen.collect::<Vec<_>>())
}

/// Five of the kernel's build, each followed by what is left of it.
pub(crate) fn kernel(_: &Path) -> Result<()> {
    let site = Site::new("kill-kernel", "linux", &["build", "linux", "--out", "out"])?;
    fs::copy(root().join("osier.lock"), site.shop.project.join("osier.lock"))?;
    site.prove(&KERNEL_KILLS.iter().collect::<Vec<_>>())
}

fn busybox(kills: &[&Kill]) -> Result<()> {
    let site = Site::new("kill", "busybox", &["build", "small"])?;
    let shop = &site.shop;
    fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
    // The library's recipe, with a patch of this proof's own.
    let recipe = fs::read_to_string(root().join("recipes/busybox/recipe.toml"))?;
    let (before, after) =
        recipe.split_once("\nfiles = ").context("busybox's recipe has no files")?;
    let recipe = format!("{before}\npatches = [\"patches/*.patch\"]\nfiles = {after}");
    shop.write("recipes/busybox/recipe.toml", &recipe)?;
    for fragment in ["static.config", "aarch64.config"] {
        let text = fs::read_to_string(root().join("recipes/busybox").join(fragment))?;
        shop.write(&format!("recipes/busybox/{fragment}"), &text)?;
    }
    let patch = "--- /dev/null\n+++ b/docs/patched.txt\n@@ -0,0 +1 @@\n+This tree was patched.\n";
    shop.write("recipes/busybox/patches/0001-patched.patch", patch)?;
    shop.good(&["new", "made"])?;
    let system = fs::read_to_string(shop.project.join("made/systems/made/system.toml"))?;
    let system = system.replace("\"made\"", "\"small\"").replace("\"linux\", ", "");
    let system: String = system
        .lines()
        .take_while(|line| *line != "[boot]")
        .filter(|line| !line.starts_with("kernel"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::create_dir(shop.project.join("systems"))?;
    fs::rename(shop.project.join("made/systems/made"), shop.project.join("systems/small"))?;
    fs::remove_dir_all(shop.project.join("made"))?;
    shop.write("systems/small/system.toml", &system)?;
    // In the environment of busybox's recipe, which is pinned.
    shop.write("recipes/junk.toml", JUNK)?;
    site.prove(kills)
}

/// A component of no use, for gc.
const JUNK: &str = "name = \"junk\"\npackages = [\"bc\", \"bison\", \"flex\"]\n[[step]]\nname = \"build\"\nrun = \"seq 100000 > /build/numbers; seq 3 > /build/few\"\n[[step]]\nname = \"install\"\nrun = \"cp /build/numbers /build/few $OUTPUT\"\n";

/// A project with a store of its own, what it builds, and what is known of an undisturbed build.
struct Site {
    shop: Workshop,
    component: &'static str,
    build: &'static [&'static str],
}

/// What an undisturbed build left.
struct Undisturbed {
    /// The files that it delivered, by name.
    delivered: BTreeMap<PathBuf, Vec<u8>>,
    /// The steps and their keys, in order.
    steps: Vec<(String, String)>,
    /// The digests of the source's archives, which are fetched.
    sources: Vec<String>,
    /// How many bytes are written to files of a kind, of the steps that are undone.
    bytes: BTreeMap<(String, String), u64>,
}

impl Undisturbed {
    /// How many bytes, or calls, make up a place.
    fn wanted(&self, at: At, step: &str) -> Result<u64> {
        Ok(match at {
            Share(text, share) => {
                let of = |step: &str| self.bytes.get(&(text.to_owned(), step.to_owned()));
                let total = of(step).or_else(|| of("")).context("such files were not written")?;
                // Shares are thousandths.
                total * u64::from(share) / 1000
            }
            Write(_, number, _) | Rename(_, number, _) | Remove(_, number, _) => number.into(),
        })
    }
}

impl At {
    fn when(self) -> When {
        match self {
            Share(..) => After,
            Write(_, _, when) | Rename(_, _, when) | Remove(_, _, when) => when,
        }
    }

    /// How much a call counts towards the place; nothing where it is of another kind.
    fn weight(self, call: &Call) -> Option<u64> {
        let (text, path, weight) = match (self, call) {
            (Share(text, _), Call::Write(path, count)) => (text, path, *count),
            (Write(text, ..), Call::Write(path, _)) => (text, path, 1),
            (Rename(text, ..), Call::Rename(_, path)) => (text, path, 1),
            (Remove(text, ..), Call::Remove(path)) => (text, path, 1),
            _ => return None,
        };
        path.to_string_lossy().contains(text).then_some(weight)
    }
}

/// What came of the kills at one place.
#[derive(Default)]
struct Tally {
    alone: u32,
    all: u32,
    redone: usize,
    slowest: Duration,
}

impl Site {
    fn new(name: &str, component: &'static str, build: &'static [&'static str]) -> Result<Self> {
        let store = root().join("target/proofs").join(format!("{name}-store"));
        let shop = Workshop::new(name, &store)?;
        if store.exists() {
            shop.good(&["gc", "--all"])?;
        }
        Ok(Self { shop, component, build })
    }

    fn prove(&self, kills: &[&Kill]) -> Result<()> {
        let begun = Instant::now();
        let known = self.undisturbed()?;
        println!("prove kill: an undisturbed build takes {} s", begun.elapsed().as_secs());
        let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
        for (number, kill) in kills.iter().enumerate() {
            let whom = if number % 2 == 0 { Whom::Alone } else { Whom::All };
            let tally = tallies.entry(kill.place).or_default();
            println!("kill {}: {}, {:?}, {whom:?}", number + 1, kill.place, kill.at);
            self.one(kill, whom, &known, tally).with_context(|| {
                format!("kill {}: {}, {:?}, {whom:?}", number + 1, kill.place, kill.at)
            })?;
        }
        println!(
            "| place | kills at osier alone | at all processes | steps redone | last process gone after |"
        );
        println!("| --- | --- | --- | --- | --- |");
        for (place, tally) in &tallies {
            println!(
                "| {place} | {} | {} | {} | {} ms |",
                tally.alone,
                tally.all,
                tally.redone,
                tally.slowest.as_millis()
            );
        }
        println!(
            "prove kill: {} kills in {} s; no process was left, each next build completed with the same bytes and ran only what the kill had cut off",
            kills.len(),
            begun.elapsed().as_secs()
        );
        self.shop.good(&["gc", "--all"]).map(drop)
    }

    fn index(&self) -> Result<Index> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let store = &self.shop.store;
        Ok(Index::open(&store.join("index.db"), &store.join("aside"), boot.trim(), true)?)
    }

    /// Builds to the end, and gives the labels of the steps that ran.
    fn finish(&self) -> Result<Vec<String>> {
        let words: Vec<&str> = ["--json", "--locked"].iter().chain(self.build).copied().collect();
        // A component's folder is made once.
        let _ = fs::remove_dir_all(self.shop.project.join("out"));
        let text = self.shop.good(&words)?;
        Ok(steps(&text, "step_finished"))
    }

    fn undisturbed(&self) -> Result<Undisturbed> {
        let ran = self.finish()?;
        let keys: Vec<String> = self.index()?.layer_keys().map(|key| key.to_string()).collect();
        ensure!(keys.len() == ran.len(), "{} steps left {} layers", ran.len(), keys.len());
        let lock = fs::read_to_string(self.shop.project.join("osier.lock"))?;
        let files =
            lock.lines().filter(|line| line.contains(&format!("name = \"{}_", self.component)));
        let sources = files.filter(|line| line.contains(".orig.tar"));
        let sources = sources.filter_map(|line| line.split('"').rev().nth(1)).map(str::to_owned);
        let mut known = Undisturbed {
            delivered: self.delivered()?,
            steps: ran.into_iter().zip(keys).collect(),
            sources: sources.collect(),
            bytes: BTreeMap::new(),
        };
        ensure!(known.sources.len() == 1, "the lock names one archive of {}", self.component);
        let store = &self.shop.store;
        for (step, key) in known.steps.clone() {
            let log = store.join("logs").join(format!("{key}.log"));
            let log = fs::metadata(log).map_or(0, |metadata| metadata.len());
            known.bytes.insert((LOG.into(), step.clone()), log);
            let layer = content_bytes(&store.join("layers").join(key))?;
            known.bytes.insert((UPPER.into(), step), layer);
        }
        let source = fs::metadata(blob(store, &known.sources[0]))?.len();
        known.bytes.insert((PART.into(), String::new()), source);
        Ok(known)
    }

    /// Reads what was delivered.
    fn delivered(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut files = BTreeMap::new();
        let mut waiting = vec![self.shop.project.join("out")];
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    waiting.push(path);
                } else {
                    files.insert(path.clone(), fs::read(path)?);
                }
            }
        }
        ensure!(!files.is_empty(), "nothing was delivered");
        Ok(files)
    }

    /// Undoes steps: their layers, the outputs and the image, with their records.
    fn undo(&self, undo: Undo, known: &Undisturbed) -> Result<BTreeSet<String>> {
        let store = &self.shop.store;
        let names: &[&str] = match undo {
            Undo::Junk | Undo::Everything => &[],
            Undo::Root => &["compose"],
            Undo::Image => &["write"],
            Undo::Source => &["unpack"],
            Undo::Steps(names) => names,
        };
        let component = match undo {
            Undo::Root => format!("small/_root@{ARCH}"),
            Undo::Image => format!("small/initrd@{ARCH}"),
            _ => self.component.to_owned(),
        };
        let label = |name: &str| format!("{component}:{name}");
        let undone: BTreeSet<String> = names.iter().map(|name| label(name)).collect();
        let keys = known.steps.iter().filter(|(step, _)| undone.contains(step));
        let keys: BTreeSet<&str> = keys.map(|(_, key)| key.as_str()).collect();
        ensure!(keys.len() == names.len(), "there are no steps {names:?}");
        if matches!(undo, Undo::Junk | Undo::Everything) {
            return Ok(undone);
        }
        let mut index = self.index()?;
        for (key, digests) in index.results() {
            for digest in digests {
                let digest = digest.to_string();
                let _ = fs::remove_dir_all(store.join("areas").join(&digest));
                let _ = fs::remove_file(blob(store, &digest));
            }
            let layer = index.layer(&key).filter(|_| !keys.contains(key.to_string().as_str()));
            index.forget(&[key])?;
            if let Some(layer) = layer {
                index.append(Record::Layer(key, layer[1..].to_vec()))?;
            }
        }
        let undone_keys: Vec<Key> = keys.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
        index.forget(&undone_keys)?;
        for key in keys {
            fs::remove_dir_all(store.join("layers").join(key))?;
            let _ = fs::remove_file(store.join("logs").join(format!("{key}.log")));
        }
        if matches!(undo, Undo::Source) {
            fs::remove_file(blob(store, &known.sources[0]))?;
        }
        let _ = fs::remove_dir_all(self.shop.project.join("out"));
        Ok(undone)
    }

    fn one(&self, kill: &Kill, whom: Whom, known: &Undisturbed, tally: &mut Tally) -> Result<()> {
        let undone = self.undo(kill.undo, known)?;
        let mut words = vec!["--json", "--locked"];
        let mut junk = None;
        match kill.undo {
            Undo::Junk => {
                junk = Some(self.shop.digest("junk")?);
                self.shop.good(self.build)?;
                let note =
                    fs::File::options().write(true).open(self.shop.store.join("uses/junk"))?;
                note.set_modified(SystemTime::now() - Duration::from_secs(10 * 86_400))?;
                words.extend(["gc", "--age", "5"]);
            }
            Undo::Everything => words.extend(["gc", "--size", "1K"]),
            _ => words.extend(self.build),
        }
        let output = self.shop.project.join("killed.log");
        let mut child = start_stopped(&self.shop.command(&words), &output)?;
        let wanted = known.wanted(kill.at, undone.first().map_or("", String::as_str))?;
        let mut seen = 0;
        let mut is_it = |call: &Call| {
            let weight = kill.at.weight(call);
            seen += weight.unwrap_or(0);
            weight.is_some() && seen >= wanted
        };
        let family = run_until(&mut child, kill.at.when(), whom, &mut is_it)?;
        let text = fs::read_to_string(&output)?;
        let Some(family) = family else { bail!("it ended before that place:\n{text}") };
        let gone = wait_for_end(&family, &self.shop.store)?;
        let ended: BTreeSet<String> = steps(&text, "step_finished").into_iter().collect();
        let under_way: BTreeSet<String> =
            steps(&text, "step_started").into_iter().filter(|step| !ended.contains(step)).collect();

        let ran = self.finish()?;
        ensure!(self.delivered()? == known.delivered, "the next build delivers other bytes");
        if !matches!(kill.undo, Undo::Everything) {
            for step in &ran {
                ensure!(undone.contains(step), "{step} was done, and ran again");
                ensure!(!ended.contains(step), "{step} had ended before the kill, and ran again");
            }
        }
        if let Some(junk) = junk {
            ensure!(self.shop.digest("junk")? == junk, "what gc removes half differs afterwards");
        }
        let left: Vec<_> = fs::read_dir(self.shop.store.join("work"))?.collect();
        ensure!(left.is_empty(), "the next build leaves {left:?}");
        let again = self.finish()?;
        ensure!(again.is_empty(), "with nothing to do, {again:?} ran");
        match whom {
            Whom::Alone => tally.alone += 1,
            Whom::All => tally.all += 1,
        }
        tally.redone += ran.iter().filter(|step| under_way.contains(*step)).count();
        tally.slowest = tally.slowest.max(gone);
        Ok(())
    }
}

/// Lists the steps that events of a kind name.
fn steps(text: &str, kind: &str) -> Vec<String> {
    let events = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let events = events.filter(|event: &serde_json::Value| event["event"] == kind);
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    events.map(|event| format!("{}:{}", word(&event["component"]), word(&event["step"]))).collect()
}

fn blob(store: &Path, digest: &str) -> PathBuf {
    store.join("blobs").join(&digest[..2]).join(digest)
}

/// Counts the bytes of all files below a folder.
fn content_bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else if metadata.is_file() {
                sum += metadata.len();
            }
        }
    }
    Ok(sum)
}
