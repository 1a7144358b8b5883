//! The next image is right whatever was changed, and as before once that is taken back; `osier why` names each change.

use std::fs;

use super::{SCRIPT_KIND, pin_programs, says, why, write};
use crate::space::Space;

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
const MANIFEST: &str =
    "f etc/* 0644 root root\nf usr/bin/* 0755 root root\nf usr/share/* 0644 root root\n";
const PATCH: &str = "--- a/one.txt\n+++ b/one.txt\n@@ -1 +1 @@\n-first text\n+patched text\n";

/// The system of the other tests, of these components.
fn system() -> String {
    super::SYSTEM.replace("\"top\", \"other\"", "\"greeter\", \"extra\"")
}

const RECIPE: &str = "recipes/greeter/recipe.toml";

fn space() -> Space {
    let space = Space::new(&[
        ("osier.toml", "name = \"p\"\n"),
        SCRIPT_KIND,
        (RECIPE, GREETER),
        ("recipes/greeter/src/one.txt", "first text\n"),
        ("recipes/greeter/src/two.txt", "second text\n"),
        ("recipes/words.toml", WORDS),
        ("recipes/extra.toml", EXTRA),
        ("systems/small/system.toml", &system()),
        ("systems/small/manifest", MANIFEST),
        ("systems/small/overlay/etc/issue", "an issue\n"),
        ("systems/small/overlay/etc/motd", "a message\n"),
    ]);
    pin_programs(&space);
    space
}

/// The next image: names and contents can be read in it.
fn image(space: &Space) -> String {
    super::build(space).1
}

#[test]
fn the_next_image_is_right_and_the_first_one_comes_again() {
    let space = space();
    let first = image(&space);
    let words =
        ["usr/bin/greet\0", "hello\n", "usr/bin/extra\0", "etc/motd\0", "usr/share/two.txt\0"];
    says(&first, &words);
    write(&space, "recipes/greeter/0001-words.patch", PATCH);
    let fewer = system().replace(", \"extra\"", "");
    let flag = GREETER.replace("hello", "goodbye");
    let patched = GREETER.replace("needs", "patches = [\"*.patch\"]\nneeds");
    let other = WORDS.replace("some", "other");
    // A file and its new text, or none where it is removed; what the image has then, and what it no longer has.
    type Change<'t> = (&'t str, Option<&'t str>, &'t [&'t str], &'t [&'t str]);
    let changes: [Change<'_>; 6] = [
        ("systems/small/overlay/etc/motd", None, &["etc/issue\0"], &["etc/motd", "a message"]),
        ("systems/small/system.toml", Some(&fewer), &["usr/bin/greet\0"], &["usr/bin/extra"]),
        ("recipes/greeter/src/two.txt", None, &["one.txt\0"], &["two.txt"]),
        (RECIPE, Some(&flag), &["goodbye\n"], &["hello\n"]),
        (RECIPE, Some(&patched), &["patched text"], &["first text"]),
        ("recipes/words.toml", Some(&other), &["other words"], &["some words"]),
    ];
    for (path, text, has, lacks) in changes {
        let place = space.project().join(path);
        let before = fs::read(&place).unwrap();
        match text {
            Some(text) => write(&space, path, text),
            None => fs::remove_file(&place).unwrap(),
        }
        let changed = image(&space);
        says(&changed, has);
        for gone in lacks {
            assert!(!changed.contains(gone), "{path}: {gone}");
        }
        fs::write(&place, before).unwrap();
        assert!(image(&space) == first, "{path} is as before, and the image is not");
    }
    // What is delivered by name and is no longer there makes no image at all.
    write(&space, "systems/small/system.toml", &fewer);
    write(&space, "systems/small/manifest", &format!("{MANIFEST}f usr/bin/extra 0755 root root\n"));
    let (status, said) = space.fails(&["--offline", "--locked", "build", "small"]);
    assert_eq!(status, 2, "{said}");
    says(&said, &["error[I001]", "manifest:4"]);
}

#[test]
fn each_reason_for_a_build_is_told_with_its_file_and_line() {
    let space = space();
    let lock = fs::read_to_string(space.project().join("osier.lock")).unwrap();
    // The pins of an environment with one more package; nothing of it is needed only to plan.
    let more = "[[environment]]\nsuite = \"bookworm\"\narchitecture = \"amd64\"\nrequest = [\"more\", \"programs\"]\n\
         packages = [\"more=1\", \"programs=1\"]\n[[package]]\nname = \"more\"\nversion = \"1\"\narchitecture = \"amd64\"\n\
         suite = \"bookworm\"\npath = \"pool/more.deb\"\nsize = 7\nsha256 = \"";
    write(&space, "osier.lock", &format!("{lock}{more}{}\"\n", "7".repeat(64)));
    image(&space);
    says(&why(&space, "greeter"), &["nothing that it is built from has changed"]);
    let package = GREETER.replace("needs", "packages = [\n  \"more\",\n]\nneeds");
    let need = GREETER.replace("\n]", "\n  \"extra\",\n]");
    for (path, text, sentence) in [
        (RECIPE, GREETER.replace("hello", "bye"), "to `bye` (recipes/greeter/recipe.toml:4)"),
        (
            RECIPE,
            package,
            "the Debian package more of the build environment is new (recipes/greeter/recipe.toml:6)",
        ),
        (RECIPE, need, "the output of its need extra:main is new (recipes/greeter/recipe.toml:7)"),
        (
            RECIPE,
            GREETER.replace("cp ./*", "cp -p ./*"),
            "the script of install changed (recipes/greeter/recipe.toml:12)",
        ),
        (
            "recipes/words.toml",
            WORDS.replace("some", "many"),
            "greeter depends on words, which must be rebuilt first: words is built again because the script of install \
             changed (recipes/words.toml:4)",
        ),
    ] {
        let before = fs::read_to_string(space.project().join(path)).unwrap();
        write(&space, path, &text);
        says(&why(&space, "greeter"), &[sentence]);
        write(&space, path, &before);
    }
}
