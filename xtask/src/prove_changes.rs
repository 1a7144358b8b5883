//! Proofs on a small system without a kernel: what is taken away is gone from the next image, what is changed is built again.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::root;
use crate::workshop::Workshop;

const GREETER: &str = "name = \"greeter\"
version = \"1.0\"
source = { path = \"src\" }
env = { GREETING = \"hello\" }
needs = [
  \"words\",
]
[[step]]
name = \"install\"
run = '''
mkdir -p \"$OUTPUT/usr/bin\" \"$OUTPUT/usr/share\"
cp ./*.txt \"$OUTPUT/usr/share\"
cat \"$PROTO/words\" > \"$OUTPUT/usr/bin/greet\"
echo \"$GREETING\" >> \"$OUTPUT/usr/bin/greet\"
'''
";
const WORDS: &str = "name = \"words\"
[[step]]
name = \"install\"
run = \"mkdir -p $OUTPUT; echo some words > $OUTPUT/words\"
";
const EXTRA: &str = "name = \"extra\"
[[step]]
name = \"install\"
run = \"mkdir -p $OUTPUT/usr/bin; echo extra > $OUTPUT/usr/bin/extra\"
";
const SYSTEM: &str = "name = \"small\"
components = [\"greeter\", \"extra\"]
overlays = [\"overlay\"]
manifest = \"manifest\"
[[image]]
name = \"small\"
format = \"initramfs\"
compression = \"none\"
";
const MANIFEST: &str = "f etc/* 0644 root root
f usr/bin/* 0755 root root
f usr/share/* 0644 root root
";
const PATCH: &str = "--- a/one.txt
+++ b/one.txt
@@ -1 +1 @@
-first text
+patched text
";

/// The system's image, as text: it is not compressed, so that names and contents can be read in it.
fn image(shop: &Workshop) -> Result<String> {
    shop.good(&["build", "small"])?;
    let path = shop.project.join("out/small-x86_64/small.cpio");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Changes one file, looks at the image, and takes the change back, which must give the first image again.
fn changed(
    shop: &Workshop,
    first: &str,
    what: &str,
    path: &str,
    text: Option<&str>,
    look: impl Fn(&str) -> bool,
) -> Result<()> {
    let place = shop.project.join(path);
    let before = fs::read(&place).ok();
    match text {
        Some(text) => shop.write(path, text)?,
        None => fs::remove_file(&place)?,
    }
    ensure!(look(&image(shop)?), "the next image is wrong: {what}");
    match before {
        Some(before) => fs::write(&place, before)?,
        None => fs::remove_file(&place)?,
    }
    ensure!(image(shop)? == first, "the first image should come again: {what}");
    Ok(())
}

/// The next image is right whatever was changed.
pub(crate) fn changes(store: &Path) -> Result<()> {
    let shop = Workshop::new("changes", store)?;
    for (path, text) in [
        ("recipes/greeter/recipe.toml", GREETER),
        ("recipes/greeter/src/one.txt", "first text\n"),
        ("recipes/greeter/src/two.txt", "second text\n"),
        ("recipes/words.toml", WORDS),
        ("recipes/extra.toml", EXTRA),
        ("systems/small/system.toml", SYSTEM),
        ("systems/small/manifest", MANIFEST),
        ("systems/small/overlay/etc/issue", "an issue\n"),
        ("systems/small/overlay/etc/motd", "a message\n"),
    ] {
        shop.write(path, text)?;
    }
    let first = image(&shop)?;
    let words =
        ["usr/bin/greet\0", "hello\n", "usr/bin/extra\0", "etc/motd\0", "usr/share/two.txt\0"];
    for word in words {
        ensure!(first.contains(word), "the image lacks {word:?}");
    }
    let recipe = "recipes/greeter/recipe.toml";
    let fewer = SYSTEM.replace(", \"extra\"", "");
    let flag = GREETER.replace("hello", "goodbye");
    let patched = GREETER.replace("needs", "patches = [\"*.patch\"]\nneeds");
    let change = |what, path, text, look: &dyn Fn(&str) -> bool| {
        changed(&shop, &first, what, path, text, look)
    };
    change("an overlay file is removed", "systems/small/overlay/etc/motd", None, &|image| {
        !image.contains("etc/motd") && !image.contains("a message") && image.contains("etc/issue")
    })?;
    change("a component is deselected", "systems/small/system.toml", Some(&fewer), &|image| {
        !image.contains("usr/bin/extra") && image.contains("usr/bin/greet")
    })?;
    change("a file of a source is removed", "recipes/greeter/src/two.txt", None, &|image| {
        !image.contains("two.txt") && image.contains("one.txt")
    })?;
    change("a flag is changed", recipe, Some(&flag), &|image| {
        image.contains("goodbye\n") && !image.contains("hello\n")
    })?;
    shop.write("recipes/greeter/0001-words.patch", PATCH)?;
    change("a patch is added, then removed", recipe, Some(&patched), &|image| {
        image.contains("patched text") && !image.contains("first text")
    })?;
    change(
        "a need's output changes",
        "recipes/words.toml",
        Some(&WORDS.replace("some", "other")),
        &|image| image.contains("other words") && !image.contains("some words"),
    )?;
    // What is delivered by name and is no longer there is no image at all.
    shop.write("systems/small/system.toml", &fewer)?;
    shop.write("systems/small/manifest", &format!("{MANIFEST}f usr/bin/extra 0755 root root\n"))?;
    shop.bad(&["build", "small"], 2, &["error[I001]", "manifest:4"])?;
    println!(
        "prove changes: what was removed is gone, what was changed is built, what was taken back is as before"
    );
    reasons(&shop)?;
    option(&shop)
}

/// An option of busybox that is changed: busybox and the image, and nothing else.
fn option(shop: &Workshop) -> Result<()> {
    let recipe = root().join("recipes/busybox");
    for file in fs::read_dir(&recipe)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        shop.write(&format!("recipes/busybox/{name}"), &fs::read(file.path())?)?;
    }
    let system = SYSTEM.replace("\"extra\"", "\"extra\", \"busybox\"");
    shop.write("systems/small/system.toml", &system)?;
    shop.write(
        "systems/small/manifest",
        &format!("{MANIFEST}f bin/busybox 0755 root root\ns bin/*\n"),
    )?;
    let first = image(shop)?;
    ensure!(first.contains("bin/usleep\0"), "the image lacks busybox's usleep");
    let fragment = fs::read_to_string(recipe.join("static.config"))?;
    let line = fragment.lines().count() + 1;
    shop.write(
        "recipes/busybox/static.config",
        &format!("{fragment}# CONFIG_USLEEP is not set\n"),
    )?;
    let cause = format!(
        "busybox is built again because the file static.config changed (recipes/busybox/static.config:{line})"
    );
    for name in ["busybox", "small"] {
        let said = shop.good(&["why", name])?;
        ensure!(said.contains(&cause), "`why {name}` should say `{cause}`:\n{said}");
    }
    let said = shop.good(&["build", "small"])?;
    let ran = said.lines().filter_map(|line| line.trim_start().strip_prefix("run  "));
    let ran: Vec<&str> = ran.map(str::trim).collect();
    ensure!(
        ran.contains(&"busybox:install")
            && ran.iter().all(|step| step.starts_with("busybox:") || step.starts_with("small/")),
        "busybox and the image alone should be made again: {ran:?}"
    );
    let next = image(shop)?;
    ensure!(
        !next.contains("bin/usleep\0") && next.contains("bin/sleep\0"),
        "the image is not of the new option"
    );
    println!(
        "prove changes: an option of busybox changes busybox ({}) and the image, and nothing else",
        ran.join(", ")
    );
    Ok(())
}

/// Each reason for a build is told with its file and line.
fn reasons(shop: &Workshop) -> Result<()> {
    let recipe = "recipes/greeter/recipe.toml";
    let check = |path: &str, text: &str, sentence: &str| -> Result<()> {
        let before = fs::read(shop.project.join(path))?;
        shop.write(path, text)?;
        // Pins that a change asks for are made here, as `why` never goes to the network.
        shop.good(&["fetch", "greeter"])?;
        let said = shop.good(&["why", "greeter"])?;
        ensure!(said.contains(sentence), "`why` should say `{sentence}`:\n{said}");
        Ok(fs::write(shop.project.join(path), before)?)
    };
    let built = shop.good(&["why", "greeter"])?;
    ensure!(built.contains("nothing that it is built from has changed"), "{built}");
    let package = GREETER.replace("needs", "packages = [\n  \"bc\",\n]\nneeds");
    let need = GREETER.replace("\n]", "\n  \"extra\",\n]");
    for (text, sentence) in [
        (&GREETER.replace("hello", "bye"), "to `bye` (recipes/greeter/recipe.toml:4)"),
        (
            &package,
            "the Debian package bc of the build environment is new (recipes/greeter/recipe.toml:6)",
        ),
        (&need, "the output of its need extra:main is new (recipes/greeter/recipe.toml:7)"),
        (
            &GREETER.replace("cp ./*", "cp -p ./*"),
            "the script of install changed (recipes/greeter/recipe.toml:12)",
        ),
    ] {
        check(recipe, text, sentence)?;
    }
    check(
        "recipes/words.toml",
        &WORDS.replace("some", "many"),
        "greeter depends on words, which must be rebuilt first: words is built again because the script of install changed (recipes/words.toml:4)",
    )?;
    println!("prove changes: `osier why` names the input that changed, with file and line");
    Ok(())
}
