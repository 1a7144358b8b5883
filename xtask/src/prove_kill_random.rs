//! Kills osier at random moments, and looks at what comes after: `cargo xtask prove kill-random`.
//!
//! The system is a compiled program that needs another component, an overlay, an initramfs and an ext4 disk. Builds, builds of
//! an edited source and two kinds of gc are killed; half of the kills hit osier alone, half everything that it had started.
//! Afterwards no process may be left, the next build must deliver the bytes that an undisturbed build in another store has
//! delivered, leave no work behind, and be followed by one that runs no step.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

use crate::draw::Draw;
use crate::root;
use crate::stop_at::{Whom, kill_now, wait_for_end};
use crate::workshop::Workshop;

/// How many kills.
const KILLS: usize = 600;
/// How many versions of the sources there are.
const VERSIONS: usize = 30;

const WORDS: &str = "name = \"words\"
source = { path = \"src\" }
packages = [\"bc\", \"bison\", \"flex\"]
[[step]]
name = \"install\"
run = \"mkdir -p $OUTPUT/usr/include; cp words.h $OUTPUT/usr/include; seq 20000 > $OUTPUT/usr/numbers\"
";
const TOOL: &str = "name = \"tool\"
source = { path = \"src\" }
needs = [\"words\"]
packages = [\"bc\", \"bison\", \"flex\"]
[[step]]
name = \"build\"
reuse = { edits = true }
run = \"make CPPFLAGS=-I$PROTO/usr/include\"
[[step]]
name = \"install\"
run = \"mkdir -p $OUTPUT/usr/bin; cp tool $OUTPUT/usr/bin\"
";
/// What stays when gc removes everything else: the build environment.
const KEEPER: &str = "name = \"keeper\"
packages = [\"bc\", \"bison\", \"flex\"]
[[step]]
name = \"install\"
run = \"echo keeper > $OUTPUT/keeper\"
";
const MAKEFILE: &str =
    "tool: main.o more.o\n\t$(CC) -o $@ $^\n%.o: %.c\n\t$(CC) $(CPPFLAGS) -c -o $@ $<\n";
const SYSTEM: &str = "name = \"small\"
components = [\"tool\", \"words\"]
overlays = [\"overlay\"]
manifest = \"manifest\"
[[image]]
name = \"plain\"
format = \"initramfs\"
compression = \"none\"
[[image]]
name = \"disk\"
format = \"ext4\"
size = \"4M\"
";
const MANIFEST: &str =
    "f usr/bin/* 0755 root root\nf usr/numbers 0644 root root\nf etc/* 0644 root root\n";

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// A build of what was removed or is new.
    Build,
    /// The same of an edited source, which goes on from objects.
    Edit,
    /// gc of everything but the build environment.
    GcAge,
    /// gc of everything.
    GcSize,
}

impl Work {
    pub(crate) const ALL: [Self; 4] = [Self::Build, Self::Edit, Self::GcAge, Self::GcSize];

    pub(crate) fn draw(draw: &mut Draw) -> Self {
        match draw.below(100) {
            0..55 => Self::Build,
            55..75 => Self::Edit,
            75..97 => Self::GcAge,
            _ => Self::GcSize,
        }
    }

    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Build | Self::Edit => &["build", "small"],
            Self::GcAge => &["gc", "--age", "0"],
            Self::GcSize => &["gc", "--size", "1K"],
        }
    }
}

/// The files of a delivery, by name.
pub(crate) type Delivery = BTreeMap<PathBuf, Vec<u8>>;

/// All of it.
pub(crate) fn all(_: &Path) -> Result<()> {
    let seed = match std::env::var("OSIER_PROOF_SEED") {
        Ok(seed) => seed.parse().context("OSIER_PROOF_SEED is a number")?,
        Err(_) => u64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_nanos() % 1_000_000_000)?,
    };
    println!("prove kill-random: OSIER_PROOF_SEED={seed}");
    let begun = Instant::now();
    let known = undisturbed("kill-reference", VERSIONS)?;
    let shop = site("kill-random")?;
    fs::copy(
        root().join("target/proofs/kill-reference/osier.lock"),
        shop.project.join("osier.lock"),
    )?;
    let mut draw = Draw(seed);
    let mut spans: BTreeMap<Work, Duration> = BTreeMap::new();
    for work in Work::ALL {
        prepare(&shop, work, 0, VERSIONS)?;
        let from = Instant::now();
        shop.good(work.words())?;
        spans.insert(work, from.elapsed());
        finish(&shop, work, &known[0])?;
    }
    let mut counts: BTreeMap<Work, usize> = BTreeMap::new();
    let mut early = 0;
    for number in 1..=KILLS {
        let (work, version) = (Work::draw(&mut draw), draw.below(VERSIONS));
        let span = usize::try_from(spans[&work].as_micros())?;
        let moment = Duration::from_micros(draw.below(span.max(1)) as u64);
        let whom = if draw.below(2) == 0 { Whom::Alone } else { Whom::All };
        let name = format!(
            "kill {number}: {work:?}, {whom:?}, after {} ms, version {version}",
            moment.as_millis()
        );
        let round = || -> Result<bool> {
            prepare(&shop, work, version, VERSIONS)?;
            let mut command = shop.command(work.words());
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
            std::thread::sleep(moment);
            let ended = child.try_wait()?.is_some();
            let family = kill_now(&mut child, whom)?;
            wait_for_end(&family, &shop.store)?;
            finish(&shop, work, &known[version])?;
            Ok(ended)
        };
        early += usize::from(round().with_context(|| name.clone())?);
        *counts.entry(work).or_default() += 1;
        if number % 50 == 0 {
            println!("{name}: good, {} s so far", begun.elapsed().as_secs());
        }
    }
    let counts: Vec<String> =
        counts.iter().map(|(work, count)| format!("{count} {work:?}")).collect();
    println!(
        "prove kill-random: {KILLS} kills ({}; {early} came after the end) in {} s: no process was left, each next build \
         delivered the same bytes as an undisturbed one and left no work, and the one after it ran nothing",
        counts.join(", "),
        begun.elapsed().as_secs()
    );
    shop.good(&["gc", "--all"]).map(drop)
}

/// A project with a store of its own that begins empty.
fn site(name: &str) -> Result<Workshop> {
    let store = root().join("target/proofs").join(format!("{name}-store"));
    let shop = Workshop::new(name, &store)?;
    if store.exists() {
        shop.good(&["gc", "--all"])?;
    }
    fill(&shop)?;
    Ok(shop)
}

/// Writes the project.
pub(crate) fn fill(shop: &Workshop) -> Result<()> {
    for (path, text) in [
        ("recipes/words/recipe.toml", WORDS),
        ("recipes/tool/recipe.toml", TOOL),
        ("recipes/keeper.toml", KEEPER),
        ("recipes/tool/src/Makefile", MAKEFILE),
        ("systems/small/system.toml", SYSTEM),
        ("systems/small/manifest", MANIFEST),
    ] {
        shop.write(path, text)?;
    }
    shop.write("systems/small/overlay/etc/long", &"a line of many\n".repeat(30_000))?;
    write_version(shop, 0)
}

/// Writes the sources of a version: some versions share a component's source.
pub(crate) fn write_version(shop: &Workshop, version: usize) -> Result<()> {
    let header = format!("#define WORDS \"words {}\"\n", version % 6);
    let more = format!("int more(void) {{ return {}; }}\n", version / 2);
    shop.write("recipes/words/src/words.h", &header)?;
    shop.write("recipes/tool/src/more.c", &more)?;
    shop.write(
        "recipes/tool/src/main.c",
        "#include <stdio.h>\n#include <words.h>\nint more(void);\nint main(void) { printf(\"%s %d\\n\", WORDS, more()); return 0; }\n",
    )?;
    shop.write("systems/small/overlay/etc/version", &format!("{version}\n"))
}

/// Builds each version in a store of its own; gives what is delivered.
pub(crate) fn undisturbed(name: &str, versions: usize) -> Result<Vec<Delivery>> {
    let shop = site(name)?;
    let mut known = Vec::new();
    for version in 0..versions {
        write_version(&shop, version)?;
        shop.good(&["build", "small"])?;
        known.push(delivered(&shop)?);
    }
    shop.good(&["gc", "--all"])?;
    Ok(known)
}

/// Reads what is delivered.
fn delivered(shop: &Workshop) -> Result<Delivery> {
    let folder = shop.project.join("out/small-x86_64");
    let mut files = BTreeMap::new();
    for entry in
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().map(PathBuf::from).context("a delivered file has a name")?;
        // Osier's own note of what it has delivered tells files of one place from those of another.
        if !name.to_string_lossy().starts_with('.') {
            files.insert(name, fs::read(&path)?);
        }
    }
    ensure!(files.contains_key(Path::new("disk.ext4")), "no disk was delivered");
    Ok(files)
}

/// Removes everything but the build environment and what is younger than this moment.
fn forget(shop: &Workshop) -> Result<()> {
    shop.good(&["build", "keeper"])?;
    keep(shop)?;
    shop.good(&["gc", "--age", "0"]).map(drop)
}

/// Lets gc by age spare what `keeper` uses.
fn keep(shop: &Workshop) -> Result<()> {
    let note = fs::File::options().write(true).open(shop.store.join("uses/keeper"))?;
    Ok(note.set_modified(SystemTime::now() + Duration::from_secs(3600))?)
}

/// Brings about that there is something to do.
pub(crate) fn prepare(shop: &Workshop, work: Work, version: usize, versions: usize) -> Result<()> {
    match work {
        Work::Build => {
            forget(shop)?;
            write_version(shop, version)?;
        }
        Work::Edit => {
            // Built once, so that the edit has objects to go on from.
            write_version(shop, (version + 2) % versions)?;
            let _ = shop.osier(&["edit", "--drop", "tool"])?;
            shop.good(&["edit", "tool"])?;
            forget(shop)?;
            shop.good(&["build", "small"])?;
            write_version(shop, version)?;
        }
        Work::GcAge => {
            write_version(shop, version)?;
            shop.good(&["build", "keeper"])?;
            shop.good(&["build", "small"])?;
            keep(shop)?;
        }
        Work::GcSize => {
            write_version(shop, version)?;
            shop.good(&["build", "small"])?;
        }
    }
    Ok(())
}

/// The next build after a kill.
pub(crate) fn finish(shop: &Workshop, work: Work, known: &Delivery) -> Result<()> {
    let text = shop.good(&["build", "small"])?;
    let found = delivered(shop)?;
    let names = |delivery: &Delivery| delivery.keys().cloned().collect::<Vec<_>>();
    ensure!(names(&found) == names(known), "the next build delivers {:?}", names(&found));
    for (name, bytes) in known {
        ensure!(found[name] == *bytes, "{} has other bytes:\n{text}", name.display());
    }
    let left: Vec<_> = fs::read_dir(shop.store.join("work"))?.collect();
    ensure!(left.is_empty(), "the next build leaves {left:?}");
    let again = shop.good(&["build", "small"])?;
    ensure!(
        !again.contains("run  ") && !again.contains("image  "),
        "there is nothing to do:\n{again}"
    );
    if work == Work::Edit {
        shop.good(&["edit", "--drop", "tool"])?;
        shop.good(&["build", "small"])?;
        ensure!(delivered(shop)? == *known, "without the edit the bytes differ");
    }
    Ok(())
}
