//! Proof that a source can be edited, built, and made a patch of: `cargo xtask prove edit`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::root;
use crate::workshop::Workshop;

const SYSTEM: &str = "name = \"edited\"
components = [\"attr\"]
manifest = \"manifest\"
[[image]]
name = \"plain\"
format = \"initramfs\"
compression = \"none\"
";
const MANIFEST: &str = "f usr/bin/getfattr 0755 root root\n";

/// What `getfattr` is made to say.
const WORDS: &str = "Use it so: %s";

/// Edits the source of a library's component, builds a system with it, and makes two patches.
pub(crate) fn edit(store: &Path) -> Result<()> {
    let shop = Workshop::new("edit", store)?;
    fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
    shop.write("systems/edited/system.toml", SYSTEM)?;
    shop.write("systems/edited/manifest", MANIFEST)?;
    let pinned = shop.digest("attr")?;

    let text = shop.good(&["edit", "attr", "work/attr"])?;
    ensure!(text.contains("the source of attr is in work/attr"), "{text}");
    ensure!(!text.contains("fetch "), "the source is there already:\n{text}");
    let text = shop.good(&["build", "attr"])?;
    ensure!(text.contains(&pinned) && !text.contains("run  "), "nothing is changed:\n{text}");

    // One file: one compilation, and the image has it.
    let usage = Source::of(&shop, "tools/getfattr.c")?;
    usage.replace("Usage: %s", WORDS)?;
    let why = shop.good(&["why", "attr"])?;
    ensure!(why.contains("because the edit of tools/getfattr.c is new"), "{why}");
    ensure!(why.contains("attr is edited: it is built from"), "{why}");
    let begun = Instant::now();
    let text = shop.good(&["build", "edited"])?;
    let edited_in = begun.elapsed();
    ran(&text, &["edit", "build", "install"])?;
    ensure!(text.contains("warning: attr is edited"), "{text}");
    compiled(&shop, &["tools/getfattr.o"])?;
    let image = fs::read(shop.project.join("out/edited-x86_64/plain.cpio"))?;
    ensure!(contains(&image, WORDS.as_bytes()), "the image should hold the edited program");
    let status = shop.good(&["status", "edited"])?;
    ensure!(status.contains("attr is edited: it is built from"), "{status}");

    // A header: what includes it is compiled, and nothing else; then a mistake, told at once.
    Source::of(&shop, "include/misc.h")?
        .replace("#include \"nls.h\"", "#include \"nls.h\" /**/")?;
    shop.good(&["build", "attr"])?;
    let users = [
        "libmisc/high_water_alloc.lo",
        "libmisc/next_line.lo",
        "libmisc/quote.lo",
        "libmisc/unquote.lo",
        "tools/attr.o",
        "tools/getfattr.o",
        "tools/setfattr.o",
    ];
    compiled(&shop, &users)?;
    usage.replace(WORDS, "mistake\" + 1 + \"")?;
    shop.bad(&["build", "attr"], 1, &["error[S001]: attr:build", "tools/getfattr.c:", "edited"])?;
    usage.replace("mistake\" + 1 + \"", WORDS)?;

    // Everything else that a patch can say.
    let work = shop.project.join("work/attr");
    fs::create_dir_all(work.join("more/folders"))?;
    fs::write(work.join("more/folders/file"), "no newline at its end")?;
    symlink("file", work.join("more/folders/link"))?;
    fs::set_permissions(work.join("README"), fs::Permissions::from_mode(0o755))?;
    fs::rename(work.join("test/sort-getfattr-output"), work.join("test/sorted"))?;
    fs::remove_dir_all(work.join("examples"))?;
    fs::create_dir_all(work.join(".git"))?;
    fs::write(work.join(".git/HEAD"), "of the person's own\n")?;
    let edited = shop.digest("attr")?;
    ensure!(edited != pinned, "the edit should be in the output");
    let begun = Instant::now();
    let text = shop.good(&["build", "--clean-check", "attr"])?;
    let clean = begun.elapsed();
    ensure!(text.contains("same  attr: a clean build gives the same bytes"), "{text}");

    // Another project on the same store knows nothing of it.
    let other = Workshop::new("edit-beside", store)?;
    fs::copy(root().join("osier.lock"), other.project.join("osier.lock"))?;
    let text = other.good(&["build", "attr"])?;
    ensure!(text.contains(&pinned) && !text.contains("run  "), "the recipe's own result:\n{text}");

    let text = shop.good(&["edit", "--finish", "attr", "-m", "getfattr: other words"])?;
    for wanted in [
        "copied  the built-in recipe to recipes/attr",
        "wrote  recipes/attr/patches/0001-getfattr-other-words.patch",
        "changed tools/getfattr.c",
        "new more/folders/link",
        "mode of README",
        "new test/sorted",
        "deleted examples/copyattr.c",
    ] {
        ensure!(text.contains(wanted), "the finish should say `{wanted}`:\n{text}");
    }
    let text = shop.good(&["build", "attr"])?;
    ensure!(text.contains(&edited), "the recipe should give what was edited, {edited}:\n{text}");
    ran(&text, &["configure", "build", "install"])?;

    // A second one lies on the first; taken back it leaves nothing.
    shop.good(&["edit", "attr", "work/again"])?;
    let usage = shop.project.join("work/again/tools/getfattr.c");
    let words = fs::read_to_string(&usage)?;
    ensure!(words.contains(WORDS), "the second edit begins with the first patch");
    fs::write(&usage, words.replace(WORDS, "Use it thus: %s"))?;
    let text = shop.good(&["edit", "--finish", "attr"])?;
    ensure!(text.contains("wrote  recipes/attr/patches/0002-edit.patch"), "{text}");
    ensure!(!text.contains("to `patches` in"), "the pattern takes it:\n{text}");
    fs::remove_file(shop.project.join("recipes/attr/patches/0002-edit.patch"))?;
    let text = shop.good(&["build", "attr"])?;
    ensure!(text.contains(&edited) && !text.contains("run  "), "as after the first:\n{text}");
    println!(
        "prove edit: attr clean in {:.1} s, one file edited in {:.1} s; two patches made, the first gives {edited} again",
        clean.as_secs_f64(),
        edited_in.as_secs_f64()
    );
    Ok(())
}

/// A file that is edited.
struct Source(std::path::PathBuf);

impl Source {
    fn of(shop: &Workshop, path: &str) -> Result<Self> {
        let place = shop.project.join("work/attr").join(path);
        ensure!(place.is_file(), "{} is not there", place.display());
        Ok(Self(place))
    }

    fn replace(&self, from: &str, to: &str) -> Result<()> {
        let text = fs::read_to_string(&self.0).context("a source is text")?;
        ensure!(text.contains(from), "{} has no `{from}`", self.0.display());
        Ok(fs::write(&self.0, text.replace(from, to))?)
    }
}

/// Makes sure that a build ran just these steps of attr.
fn ran(text: &str, steps: &[&str]) -> Result<()> {
    let found: Vec<&str> =
        text.lines().filter_map(|line| line.trim_start().strip_prefix("run  attr:")).collect();
    ensure!(found == steps, "{steps:?} should run, and {found:?} did:\n{text}");
    Ok(())
}

/// Makes sure that the last build compiled just these objects.
fn compiled(shop: &Workshop, objects: &[&str]) -> Result<()> {
    let log = shop.good(&["log", "attr:build"])?;
    let mut found: Vec<&str> = log
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("CC "))
        .map(str::trim)
        .collect();
    found.sort_unstable();
    ensure!(found == objects, "{objects:?} should be compiled, and {found:?} were:\n{log}");
    Ok(())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
