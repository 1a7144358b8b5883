//! What the proofs of random kills and of power cuts interrupt, and what has to hold afterwards.
//!
//! The system is a compiled program that needs another component, a program whose source is fetched and edited, an overlay,
//! an initramfs and an ext4 disk. There are some versions of what a person has written, each with the bytes that an undisturbed
//! osier in another store has delivered of it, with the edit and without.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use osier_store::Digest;

use crate::draw::Draw;
use crate::root;
use crate::server::Server;
use crate::workshop::Workshop;

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
/// The one whose source is fetched, and edited; its address and its digest are put in.
const FETCHED: &str = "name = \"fetched\"
version = \"1.0\"
source = { url = \"URL\", sha256 = \"DIGEST\" }
packages = [\"bc\", \"bison\", \"flex\"]
[[step]]
name = \"build\"
reuse = { edits = true }
run = \"make CPPFLAGS= tool\"
[[step]]
name = \"install\"
run = \"mkdir -p $OUTPUT/usr/bin $OUTPUT/usr/data; cp tool $OUTPUT/usr/bin/fetched; cp data/* $OUTPUT/usr/data\"
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
const MAIN: &str = "#include <stdio.h>\n#include <words.h>\nint more(void);\nint main(void) { printf(\"%s %d\\n\", WORDS, more()); return 0; }\n";
const SYSTEM: &str = "name = \"small\"
components = [\"tool\", \"words\", \"fetched\"]
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
const MANIFEST: &str = "f usr/bin/* 0755 root root
f usr/data/* 0644 root root
f usr/numbers 0644 root root
f etc/* 0644 root root
";

/// How many files the fetched source has besides those that are compiled.
const DATA: usize = 200;
/// Where the fetched source is edited.
const FOLDER: &str = "work/fetched";

/// What is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// A build of what was removed or is new, with both images.
    Build,
    /// A build of the images alone: a file of an overlay is new.
    Images,
    /// A build in which a step fails, which keeps its layer.
    Failing,
    /// The begin of an edit, for which the source has to be fetched and unpacked.
    EditBegin,
    /// A build of an edited source, which goes on from objects.
    EditBuild,
    /// The end of an edit, which makes a patch of it.
    EditFinish,
    /// gc of everything but the build environment.
    GcAge,
    /// gc of everything.
    GcSize,
}

impl Work {
    pub(crate) const ALL: [Self; 8] = [
        Self::Build,
        Self::Images,
        Self::Failing,
        Self::EditBegin,
        Self::EditBuild,
        Self::EditFinish,
        Self::GcAge,
        Self::GcSize,
    ];

    pub(crate) fn draw(draw: &mut Draw) -> Self {
        match draw.below(100) {
            0..25 => Self::Build,
            25..37 => Self::Images,
            37..45 => Self::Failing,
            45..55 => Self::EditBegin,
            55..67 => Self::EditBuild,
            67..79 => Self::EditFinish,
            79..97 => Self::GcAge,
            _ => Self::GcSize,
        }
    }

    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Build | Self::Images | Self::Failing | Self::EditBuild => &["build", "small"],
            Self::EditBegin => &["edit", "fetched", FOLDER],
            Self::EditFinish => FINISH,
            Self::GcAge => &["gc", "--age", "0"],
            Self::GcSize => &["gc", "--size", "1K"],
        }
    }
}

const FINISH: &[&str] = &["edit", "--finish", "fetched", "-m", "more of it"];

/// The files of a delivery, by name.
type Delivery = BTreeMap<PathBuf, Vec<u8>>;

/// What an undisturbed build delivers of a version.
pub(crate) struct Known {
    plain: Delivery,
    edited: Delivery,
}

/// A project with a store.
pub(crate) struct Site<'a> {
    pub(crate) shop: Workshop,
    source: &'a Source,
}

/// The source that is fetched.
pub(crate) struct Source {
    server: Server,
    digest: Digest,
}

impl Source {
    /// Packs the source, and serves it.
    pub(crate) fn serve() -> Result<Self> {
        let folder = root().join("target/proofs/fetched");
        let inside = folder.join("fetched-1.0");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(inside.join("data"))?;
        fs::write(inside.join("Makefile"), MAKEFILE)?;
        fs::write(
            inside.join("main.c"),
            MAIN.replace("#include <words.h>\n", "#define WORDS \"fetched\"\n"),
        )?;
        fs::write(inside.join("more.c"), more("0"))?;
        for number in 0..DATA {
            fs::write(inside.join(format!("data/{number}")), format!("{number}\n").repeat(2000))?;
        }
        let tar = Command::new("tar")
            .args(["--sort=name", "--mtime=@1", "--owner=0", "--group=0", "-c", "fetched-1.0"])
            .current_dir(&folder)
            .output()
            .context("cannot run tar")?;
        ensure!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
        let digest = Digest::of(&tar.stdout);
        Ok(Self { server: Server::start(tar.stdout)?, digest })
    }

    fn recipe(&self) -> String {
        let url = self.server.url("fetched-{version}.tar");
        FETCHED.replace("URL", &url).replace("DIGEST", &self.digest.to_string())
    }
}

fn more(number: &str) -> String {
    format!("int more(void) {{ return {number}; }}\n")
}

impl<'a> Site<'a> {
    /// Writes the project, whose store begins empty.
    pub(crate) fn fill(shop: Workshop, source: &'a Source) -> Result<Self> {
        if shop.store.exists() {
            shop.good(&["gc", "--all"])?;
        }
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
        let site = Self { shop, source };
        site.write_recipe()?;
        site.write_version(0)?;
        Ok(site)
    }

    /// The same with a store of its own below `target/`, and the pins of another one.
    pub(crate) fn beside(name: &str, source: &'a Source, pins: Option<&str>) -> Result<Self> {
        let proofs = root().join("target/proofs");
        let shop = Workshop::new(name, &proofs.join(format!("{name}-store")))?;
        let site = Self::fill(shop, source)?;
        if let Some(pins) = pins {
            site.take_pins(pins)?;
        }
        Ok(site)
    }

    /// Takes the pins of another project.
    pub(crate) fn take_pins(&self, of: &str) -> Result<()> {
        let pins = root().join("target/proofs").join(of).join("osier.lock");
        fs::copy(pins, self.shop.project.join("osier.lock")).context("cannot copy the pins")?;
        Ok(())
    }

    fn write_recipe(&self) -> Result<()> {
        self.shop.write("recipes/fetched/recipe.toml", &self.source.recipe())
    }

    /// Writes the sources of a version: some versions share a component's source.
    pub(crate) fn write_version(&self, version: usize) -> Result<()> {
        let header = format!("#define WORDS \"words {}\"\n", version % 6);
        self.shop.write("recipes/words/src/words.h", &header)?;
        self.shop.write("recipes/tool/src/more.c", &more(&(version / 2).to_string()))?;
        self.shop.write("recipes/tool/src/main.c", MAIN)?;
        self.shop.write("systems/small/overlay/etc/version", &format!("{version}\n"))
    }

    /// Writes what does not compile.
    fn write_mistake(&self) -> Result<()> {
        self.shop.write("recipes/tool/src/main.c", &format!("{MAIN}#error\n"))
    }

    /// Edits the source that is edited.
    fn write_edit(&self, version: usize) -> Result<()> {
        self.shop.write(&format!("{FOLDER}/more.c"), &more(&format!("{version} + 1000")))?;
        self.shop.write(&format!("{FOLDER}/data/new"), &format!("{version}\n"))
    }

    /// Does each work once, undisturbed; gives how long it took.
    pub(crate) fn spans(&self, known: &[Known]) -> Result<BTreeMap<Work, Duration>> {
        let mut spans = BTreeMap::new();
        for work in Work::ALL {
            self.prepare(work, 0, 1)?;
            let begun = Instant::now();
            self.shop.osier(work.words())?;
            spans.insert(work, begun.elapsed());
            self.finish(work, 0, &known[0]).with_context(|| format!("undisturbed: {work:?}"))?;
        }
        Ok(spans)
    }

    /// Builds each version in a store of its own; gives what is delivered.
    pub(crate) fn undisturbed(name: &str, source: &'a Source, count: usize) -> Result<Vec<Known>> {
        let site = Self::beside(name, source, None)?;
        let mut known = Vec::new();
        for version in 0..count {
            site.write_version(version)?;
            let plain = site.build()?;
            site.begin_edit()?;
            site.write_edit(version)?;
            let edited = site.build()?;
            ensure!(plain != edited, "the edit should be in the images");
            site.no_edit()?;
            known.push(Known { plain, edited });
        }
        site.shop.good(&["gc", "--all"])?;
        Ok(known)
    }

    fn build(&self) -> Result<Delivery> {
        self.shop.good(&["build", "small"])?;
        self.delivered()
    }

    /// Reads what is delivered.
    fn delivered(&self) -> Result<Delivery> {
        let folder = self.shop.project.join("out/small-x86_64");
        let mut files = BTreeMap::new();
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
        {
            let path = entry?.path();
            let name =
                path.file_name().map(PathBuf::from).context("a delivered file has a name")?;
            // Osier's own note of what it has delivered tells files of one place from those of another.
            if !name.to_string_lossy().starts_with('.') {
                files.insert(name, fs::read(&path)?);
            }
        }
        ensure!(files.contains_key(Path::new("disk.ext4")), "no disk was delivered");
        Ok(files)
    }

    /// Removes everything but the build environment and what is younger than this moment.
    fn forget(&self) -> Result<()> {
        self.shop.good(&["build", "keeper"])?;
        self.keep()?;
        self.shop.good(&["gc", "--age", "0"]).map(drop)
    }

    /// Lets gc by age spare what `keeper` uses.
    fn keep(&self) -> Result<()> {
        let note = self.shop.store.join("uses/keeper");
        let note = fs::File::options().write(true).open(note)?;
        Ok(note.set_modified(SystemTime::now() + Duration::from_secs(3600))?)
    }

    fn is_edited(&self) -> Result<bool> {
        Ok(self.shop.good(&["edit", "--list"])?.contains("fetched"))
    }

    fn begin_edit(&self) -> Result<()> {
        self.shop.good(&["edit", "fetched", FOLDER]).map(drop)
    }

    /// Takes every trace of an edit away.
    fn no_edit(&self) -> Result<()> {
        if self.is_edited()? {
            self.shop.good(&["edit", "--drop", "fetched"])?;
        }
        for folder in [FOLDER, "recipes/fetched/patches"] {
            let folder = self.shop.project.join(folder);
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
        }
        self.write_recipe()
    }

    /// Brings about that there is something to do.
    pub(crate) fn prepare(&self, work: Work, version: usize, other: usize) -> Result<()> {
        let shop = &self.shop;
        match work {
            Work::Build => {
                self.forget()?;
                self.write_version(version)?;
            }
            Work::Images => {
                self.write_version(version)?;
                shop.write("systems/small/overlay/etc/version", "of before\n")?;
                self.build()?;
                self.write_version(version)?;
            }
            Work::Failing => {
                self.forget()?;
                self.write_version(version)?;
                self.write_mistake()?;
            }
            Work::EditBegin => {
                self.write_version(version)?;
                self.forget()?;
            }
            Work::EditBuild => {
                // Built once, so that the edit has objects to go on from.
                self.forget()?;
                self.begin_edit()?;
                self.write_version(version)?;
                self.write_edit(other)?;
                self.build()?;
                self.write_edit(version)?;
            }
            Work::EditFinish => {
                self.write_version(version)?;
                self.begin_edit()?;
                self.write_edit(version)?;
            }
            Work::GcAge => {
                self.write_version(version)?;
                shop.good(&["build", "keeper"])?;
                self.build()?;
                self.keep()?;
            }
            Work::GcSize => {
                self.write_version(version)?;
                self.build()?;
            }
        }
        Ok(())
    }

    /// Writes again what a person had written before the power was cut, which may be lost.
    pub(crate) fn write_again(&self, work: Work, version: usize) -> Result<()> {
        self.write_version(version)?;
        match work {
            Work::Failing => self.write_mistake(),
            Work::EditBuild | Work::EditFinish if self.is_edited()? => self.write_edit(version),
            _ => Ok(()),
        }
    }

    /// What has to hold after it was interrupted.
    pub(crate) fn finish(&self, work: Work, version: usize, known: &Known) -> Result<()> {
        let shop = &self.shop;
        match work {
            Work::Failing => {
                shop.bad(&["build", "small"], 1, &["error[S001]: tool:build", "main.c:5"])?;
                let log = shop.good(&["log", "tool:build"])?;
                ensure!(log.contains("#error"), "the log of what failed:\n{log}");
                self.write_version(version)?;
            }
            Work::EditBegin => {
                if !self.is_edited()? {
                    self.begin_edit()?;
                }
                self.holds(&known.plain)?;
                self.write_edit(version)?;
                self.holds(&known.edited)?;
            }
            Work::EditBuild => self.holds(&known.edited)?,
            Work::EditFinish => {
                if self.is_edited()? {
                    shop.good(FINISH)?;
                }
                let patches = shop.project.join("recipes/fetched/patches");
                let patches: Vec<_> = fs::read_dir(patches)?.collect();
                ensure!(patches.len() == 1, "there should be one patch: {patches:?}");
                self.holds(&known.edited)?;
            }
            Work::Build | Work::Images | Work::GcAge | Work::GcSize => {}
        }
        if matches!(work, Work::EditBegin | Work::EditBuild | Work::EditFinish) {
            self.no_edit()?;
        }
        self.holds(&known.plain)?;
        shop.good(&["verify"])?;
        self.nothing_left()
    }

    /// The next build delivers these bytes, and the one after it runs nothing.
    fn holds(&self, known: &Delivery) -> Result<()> {
        let text = self.shop.good(&["build", "small"])?;
        let found = self.delivered()?;
        let names = |delivery: &Delivery| delivery.keys().cloned().collect::<Vec<_>>();
        ensure!(names(&found) == names(known), "the next build delivers {:?}", names(&found));
        for (name, bytes) in known {
            ensure!(found[name] == *bytes, "{} has other bytes:\n{text}", name.display());
        }
        let again = self.shop.good(&["build", "small"])?;
        ensure!(
            !again.contains("run  ") && !again.contains("image  "),
            "there is nothing to do:\n{again}"
        );
        Ok(())
    }

    /// Neither the store nor the project has anything half-done.
    fn nothing_left(&self) -> Result<()> {
        let left: Vec<_> = fs::read_dir(self.shop.store.join("work"))?.collect();
        ensure!(left.is_empty(), "the next build leaves {left:?}");
        let mut waiting = vec![self.shop.project.clone()];
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                // What is noted of edits is tidied up by the next one.
                if name == ".osier" {
                    continue;
                }
                let own = [".gitignore", ".osier-delivered"].contains(&name.as_str());
                ensure!(own || !name.starts_with('.'), "{} is left", entry.path().display());
                if entry.file_type()?.is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
        Ok(())
    }
}
