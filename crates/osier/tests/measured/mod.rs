//! What `osier graph` and `osier size` tell of a system, compared with the bytes of its image.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use std::collections::BTreeMap;
use std::fs;

use osier_image::CpioReader;
use serde_json::{Value, json};

use crate::changes::{SCRIPT_KIND, pin_programs};
use crate::space::Space;

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
f etc/* 0644 root root
s bin=usr/bin
";

fn read(space: &Space, words: &[&str]) -> Value {
    serde_json::from_str(&space.prints(words)).unwrap()
}

fn each(list: &Value) -> std::slice::Iter<'_, Value> {
    list.as_array().unwrap().iter()
}

/// The sizes of the files of an archive; of several names of one file only one has its size.
fn files_of(archive: &[u8]) -> BTreeMap<String, u64> {
    let mut reader = CpioReader::new(archive);
    let mut files = BTreeMap::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        if entry.mode & 0o170_000 == 0o100_000 {
            let name = String::from_utf8(entry.name).unwrap();
            assert_eq!(files.insert(name, u64::from(entry.size)), None);
        }
    }
    files
}

#[test]
fn times_sizes_and_shares_are_those_of_the_image_itself() {
    let space = Space::new(&[
        ("osier.toml", "name = \"p\"\n"),
        SCRIPT_KIND,
        ("recipes/tools.toml", TOOLS),
        ("recipes/words.toml", WORDS),
        ("systems/measured/system.toml", SYSTEM),
        ("systems/measured/manifest", MANIFEST),
        ("systems/measured/overlay/etc/motd", "welcome\n"),
    ]);
    pin_programs(&space);
    let text = space.prints(&["graph", "measured"]);
    assert!(text.contains("measured: 0 of 5 components are built"), "{text}");
    let (status, text) = space.fails(&["size", "measured"]);
    assert!(status == 2 && text.contains("error[I004]"), "{text}");
    assert!(text.contains("| words") && text.contains("| tools"), "{text}");
    let text = space.prints(&["status", "measured"]);
    assert!(text.contains("0 of 5"), "something was built by looking: {text}");

    let built = space.osier(&["--offline", "--locked", "build", "measured"]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let found = read(&space, &["--json", "graph", "measured"]);
    assert!(each(&found["components"]).all(|component| component["state"] == "built"), "{found:#}");
    assert_eq!(found["critical"]["steps"], json!(["words:install", "tools:build"]));
    let seconds = found["critical"]["seconds"].as_f64().unwrap();
    assert!((3.0..30.0).contains(&seconds), "two sleeps of 3 s together took {seconds}");
    let tools = each(&found["components"]).find(|component| component["name"] == "tools").unwrap();
    assert_eq!(tools["outputs"][0]["bytes"], 30_000 + 90_000 + 11, "hard links count once");
    assert!(space.prints(&["graph", "measured", "-f", "svg"]).contains("</svg>"));

    let sizes = read(&space, &["--json", "size", "--files=9", "measured"]);
    let out = space.project().join("out/measured-x86_64");
    let files = files_of(&fs::read(out.join("plain.cpio")).unwrap());
    let sum = |below: &str| -> u64 {
        files.iter().filter(|(path, _)| path.starts_with(below)).map(|(_, size)| size).sum()
    };
    assert_eq!(sizes["bytes"], sum(""), "the image holds {files:?}: {sizes:#}");
    assert_eq!(sizes["bytes"], 30_000 + 11 + 8, "what the manifest leaves out does not count");
    for share in each(&sizes["components"]) {
        let below = if share["name"] == "overlay" { "etc/" } else { "usr/" };
        assert_eq!(share["bytes"], sum(below), "{share}");
    }
    for folder in each(&sizes["folders"]) {
        assert_eq!(folder["bytes"], sum(folder["name"].as_str().unwrap()), "{folder}");
    }
    for file in each(&sizes["largest"]) {
        let path = file["path"].as_str().unwrap();
        // The archive gives the bytes of a file with several names to one of them.
        let names = if path == "usr/bin/tool" { [path, "usr/bin/twin"] } else { [path, ""] };
        let size: u64 = names.iter().filter_map(|name| files.get(*name)).sum();
        assert_eq!(file["bytes"], size, "{file}");
    }
    for image in each(&sizes["images"]) {
        let place = out.join(image["file"].as_str().unwrap());
        assert_eq!(image["bytes"], fs::metadata(place).unwrap().len(), "{image}");
    }

    // What would be built now is measured, and that its image is not written yet is said.
    fs::write(space.project().join("systems/measured/overlay/etc/issue"), "four").unwrap();
    let text = space.prints(&["size", "measured"]);
    assert!(text.contains("not written yet") && text.contains("30.0 kB in 4 files"), "{text}");
}
