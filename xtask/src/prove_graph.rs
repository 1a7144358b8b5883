//! Proof that `osier graph` and `osier size` tell what is there, by the image's own bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::workshop::Workshop;

const TOOLS: &str = "name = \"tools\"
version = \"1\"
needs = [\"words\"]
[[step]]
name = \"build\"
run = \"sleep 1\"
[[step]]
name = \"install\"
run = '''
mkdir -p \"$OUTPUT/usr/bin\" \"$OUTPUT/usr/share/unwanted\"
head -c 30000 /dev/zero > \"$OUTPUT/usr/bin/tool\"
ln \"$OUTPUT/usr/bin/tool\" \"$OUTPUT/usr/bin/twin\"
head -c 90000 /dev/zero > \"$OUTPUT/usr/share/unwanted/file\"
cp \"$PROTO/words\" \"$OUTPUT/usr/share\"
'''
";
const WORDS: &str = "name = \"words\"
version = \"1\"
[[step]]
name = \"install\"
run = \"sleep 2; echo some words > $OUTPUT/words\"
";
const SYSTEM: &str = "name = \"measured\"
components = [\"tools\"]
overlays = [\"overlay\"]
manifest = \"manifest\"
[[image]]
name = \"plain\"
format = \"initramfs\"
compression = \"none\"
[[image]]
name = \"small\"
format = \"initramfs\"
compression = \"zstd\"
";
const MANIFEST: &str = "f usr/bin/tool 0755 root root
h usr/bin/twin=usr/bin/tool
f usr/share/words 0644 root root
s bin=usr/bin
";

/// Looks at a system before it is built, when it is built, and when it has changed since.
pub(crate) fn graph(store: &Path) -> Result<()> {
    let shop = Workshop::new("graph", store)?;
    shop.write("recipes/tools.toml", TOOLS)?;
    shop.write("recipes/words.toml", WORDS)?;
    shop.write("systems/measured/system.toml", SYSTEM)?;
    shop.write("systems/measured/manifest", MANIFEST)?;
    shop.write("systems/measured/overlay/etc/motd", "welcome\n")?;
    // Pins, which both commands only read.
    shop.good(&["fetch", "measured"])?;
    let text = shop.good(&["graph", "measured"])?;
    ensure!(text.contains("measured: 0 of 2 components are built"), "{text}");
    shop.bad(&["size", "measured"], 2, &["error[I004]", "| words", "| tools"])?;
    ensure!(
        shop.good(&["status", "measured"])?.contains("0 of 2"),
        "something was built by looking"
    );

    shop.good(&["build", "measured"])?;
    let found = json(&shop, &["--json", "graph", "measured"])?;
    for component in found["components"].as_array().context("components are listed")? {
        ensure!(component["state"] == "built", "{component:#}");
    }
    let critical = &found["critical"]["steps"];
    let wanted = ["words:install", "tools:build"].as_slice();
    ensure!(critical == &serde_json::json!(wanted), "the critical path is {critical}");
    let seconds = found["critical"]["seconds"].as_f64().unwrap_or(0.0);
    ensure!((3.0..30.0).contains(&seconds), "two sleeps of 3 s together took {seconds}");
    let tools = &found["components"][1]["outputs"][0];
    ensure!(tools["bytes"] == 30_000 + 90_000 + 11, "hard links count once: {tools}");
    ensure!(shop.good(&["graph", "measured", "-f", "svg"])?.contains("</svg>"), "no drawing");

    let sizes = json(&shop, &["--json", "size", "--files=9", "measured"])?;
    let out = shop.project.join("out/measured-x86_64");
    let files = files_of_cpio(&fs::read(out.join("plain.cpio"))?)?;
    let sum = |below: &str| -> u64 {
        files.iter().filter(|(path, _)| path.starts_with(below)).map(|(_, size)| size).sum()
    };
    ensure!(sizes["bytes"] == sum(""), "the image holds {files:?}: {sizes:#}");
    ensure!(sizes["bytes"] == 30_000 + 11 + 8, "what the manifest leaves out does not count");
    for share in sizes["components"].as_array().context("components are listed")? {
        let name = share["name"].as_str().unwrap_or_default();
        let wanted = if name == "overlay" { sum("etc/") } else { sum("usr/") };
        ensure!(share["bytes"] == wanted, "{name}: {share}");
    }
    for folder in sizes["folders"].as_array().context("folders are listed")? {
        let name = folder["name"].as_str().context("a folder has a name")?;
        ensure!(folder["bytes"] == sum(name), "{folder}");
    }
    for file in sizes["largest"].as_array().context("files are listed")? {
        let path = file["path"].as_str().context("a file has a path")?;
        // The archive gives the bytes of a file with several names to one of them.
        let names = if path == "usr/bin/tool" { [path, "usr/bin/twin"] } else { [path, ""] };
        let size: u64 = names.iter().filter_map(|name| files.get(*name)).sum();
        ensure!(file["bytes"] == size, "{file}");
    }
    for image in sizes["images"].as_array().context("images are listed")? {
        let place = out.join(image["file"].as_str().context("an image has a name")?);
        ensure!(image["bytes"] == fs::metadata(place)?.len(), "{image}");
    }

    // What would be built now is measured, and that its image is not written yet is said.
    shop.write("systems/measured/overlay/etc/issue", "four")?;
    let text = shop.good(&["size", "measured"])?;
    ensure!(text.contains("not written yet") && text.contains("30.0 kB in 4 files"), "{text}");
    println!("prove graph: times, sizes and shares are those of the image itself");
    Ok(())
}

fn json(shop: &Workshop, words: &[&str]) -> Result<Value> {
    let output = shop.osier(words)?;
    ensure!(output.status.success(), "`osier {}` failed: {output:?}", words.join(" "));
    serde_json::from_slice(&output.stdout).context("one line of JSON was printed")
}

/// Reads the sizes of the files of a cpio archive; of several names of one file only one has its size.
fn files_of_cpio(archive: &[u8]) -> Result<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    let mut rest = archive;
    loop {
        let head = rest.get(..110).context("the archive is cut")?;
        ensure!(head.starts_with(b"070701"), "no header of a cpio archive");
        let field = |number: usize| -> Result<usize> {
            let text = std::str::from_utf8(&head[6 + number * 8..14 + number * 8])?;
            Ok(usize::from_str_radix(text, 16)?)
        };
        let (mode, size, name) = (field(1)?, field(6)?, field(11)?);
        let padded = |length: usize| length.div_ceil(4) * 4;
        let path = rest.get(110..110 + name - 1).context("the archive is cut")?;
        let path = String::from_utf8_lossy(path).into_owned();
        if path == "TRAILER!!!" {
            return Ok(files);
        }
        if mode & 0o170_000 == 0o100_000 && files.insert(path.clone(), size as u64).is_some() {
            bail!("{path} is there twice");
        }
        rest = rest.get(padded(110 + name) + padded(size)..).context("the archive is cut")?;
    }
}
