//! What a person sees: the program itself, on small projects, without a network.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

mod changes;
mod editing;
mod images;
mod measured;
mod recovery;
mod space;
mod steps;
mod stores;
mod targets;
mod terminal;
mod trouble;

use std::fs;
use std::path::Path;
use std::process::Command;

use space::Space;

const SCRIPT: &str = "[[step]]\nname = \"install\"\nrun = \"echo > $OUTPUT/a\"\n";

#[test]
fn an_unknown_key_shows_the_line_and_the_near_miss() {
    let space = Space::new(&[("recipes/a.toml", "name = \"a\"\nneed = [\"b\"]\n")]);
    let (status, text) = space.fails(&["build", "a"]);
    assert_eq!(status, 2);
    assert_eq!(
        text,
        "recipes/a.toml:2:1: error[R003]: unknown key `need`\n  |\n2 | need = [\"b\"]\n  | ^^^^\n  = hint: did you mean `needs`?\n"
    );
}

#[test]
fn a_cycle_is_shown_with_its_path() {
    let recipe =
        |name: &str, need: &str| format!("name = \"{name}\"\nneeds = [\"{need}\"]\n{SCRIPT}");
    let (a, b, c) = (recipe("a", "b"), recipe("b", "c"), recipe("c", "a"));
    let space =
        Space::new(&[("recipes/a.toml", &a), ("recipes/b.toml", &b), ("recipes/c.toml", &c)]);
    let (status, text) = space.fails(&["build", "a"]);
    assert_eq!(status, 2);
    assert!(text.contains("error[R018]: dependency cycle: a -> b -> c -> a"), "{text}");
}

#[test]
fn names_that_do_not_exist_are_told_with_the_nearest() {
    let need = format!("name = \"a\"\nneeds = [\"busybux\"]\n{SCRIPT}");
    let space = Space::new(&[("recipes/a.toml", &need)]);
    let (status, text) = space.fails(&["build", "a"]);
    assert_eq!(status, 2);
    assert!(text.contains("error[R017]: unknown component `busybux`"), "{text}");
    assert!(text.contains("did you mean `busybox`?"), "{text}");
    let (status, text) = space.fails(&["build", "initrt"]);
    assert_eq!(
        (status, text.as_str()),
        (
            2,
            "error[C001]: there is no system or component `initrt`\n  hint: did you mean `initrd`?\n"
        )
    );
    let (status, text) = space.fails(&["explain", "S999"]);
    assert_eq!(status, 2);
    assert!(text.starts_with("error[C001]: there is no code `S999`"), "{text}");
}

#[test]
fn wrong_recipes_are_errors_before_anything_is_fetched() {
    let url =
        "name = \"a\"\nversion = \"1\"\nsource = { url = \"https://example.org/a-1.tar.gz\" }\n";
    let target = format!("name = \"a\"\ntargets = [\"aarch64\"]\n{SCRIPT}");
    let file = format!("name = \"a\"\nfiles = [\"nothing.config\"]\n{SCRIPT}");
    let empty = "name = \"a\"\n";
    let steps = format!("name = \"a\"\n{SCRIPT}{SCRIPT}");
    let step =
        "name = \"a\"\n[[step]]\nname = \"b\"\nfrom = \"busybox:cofigure\"\nrun = \"true\"\n";
    let variable = "name = \"a\"\nkind = \"make\"\n[with]\ngoal = [\"all\"]\n";
    let patch = "name = \"a\"\nversion = \"1\"\npatches = [\"*.patch\"]\n[[step]]\nname = \"b\"\nrun = \"true\"\n";
    let cases = [
        (url, "R010"),
        ("name = \"b\"\n", "R009"),
        ("name = 7\n", "R004"),
        ("name = \"a\"\nkind = \"autotool\"\n", "R016"),
        (&target, "R026"),
        (&file, "R019"),
        ("name = \"a\"\nsource = { path = \"src\" }\n", "R019"),
        (empty, "R005"),
        ("name = \"a\"\nneed = []\n", "R003"),
        ("name = \"a\"\nname = \"a\"\n", "R007"),
        ("name = \"a\nsummary = \"\"\n", "R001"),
        (&steps, "R020"),
        (step, "R015"),
        (variable, "R012"),
        ("name = \"a\"\nkind = \"kconfig\"\n", "R013"),
        (patch, "R019"),
        ("name = \"a\"\nsource = { path = \"../b\" }\n", "R022"),
    ];
    for (recipe, code) in cases {
        let space = Space::new(&[("recipes/a.toml", recipe)]);
        let (status, text) = space.fails(&["build", "a"]);
        assert_eq!(status, 2, "{text}");
        assert!(text.contains(&format!("error[{code}]")), "{code}: {text}");
        assert!(text.contains("recipes/a.toml:"), "{text}");
    }
}

#[test]
fn a_configuration_editor_needs_a_terminal() {
    let space = Space::new(&[]);
    let (status, text) = space.fails(&["config", "busybox"]);
    assert_eq!(status, 2);
    assert!(text.starts_with("error[C002]: `osier config` opens a full-screen editor"), "{text}");
    assert!(text.contains("hint: write the symbols into a fragment"), "{text}");
}

#[test]
fn a_definition_in_two_files_is_an_error_that_names_both() {
    let recipe = format!("name = \"a\"\n{SCRIPT}");
    let user = format!("name = \"b\"\nneeds = [\"a\"]\n{SCRIPT}");
    let space = Space::new(&[
        ("recipes/a.toml", &recipe),
        ("recipes/a/recipe.toml", &recipe),
        ("recipes/b.toml", &user),
    ]);
    for name in ["a", "b"] {
        let (status, text) = space.fails(&["build", name]);
        assert_eq!(status, 2, "{text}");
        assert!(text.starts_with("recipes/a/recipe.toml:1:1: error[R020]: "), "{text}");
        assert!(text.contains("= recipes/a.toml:1:1: the other file"), "{text}");
    }
}

#[test]
fn a_recipe_that_is_not_text_is_an_error_with_its_place() {
    let space = Space::new(&[]);
    fs::create_dir_all(space.project().join("recipes")).unwrap();
    fs::write(space.project().join("recipes/a.toml"), b"name = \"a\"\nsummary = \"\xff\"\n")
        .unwrap();
    let (status, text) = space.fails(&["build", "a"]);
    assert_eq!(status, 2);
    assert!(text.starts_with("recipes/a.toml:2:12: error[R002]: "), "{text}");
}

#[test]
fn an_output_that_a_need_does_not_have_is_told_with_the_nearest() {
    let lib = format!("name = \"lib\"\noutputs = {{ dev = [\"usr/include/**\"] }}\n{SCRIPT}");
    let user = format!("name = \"a\"\nneeds = [\"lib:dve\"]\n{SCRIPT}");
    let space = Space::new(&[("recipes/lib.toml", &lib), ("recipes/a.toml", &user)]);
    let (status, text) = space.fails(&["build", "a"]);
    assert_eq!(status, 2);
    assert!(text.starts_with("recipes/a.toml:2:10: error[R025]: unknown output `dve`"), "{text}");
    assert!(text.contains("did you mean `dev`?"), "{text}");
}

#[test]
fn a_patch_for_another_version_is_refused_before_anything_is_fetched() {
    let recipe = format!("name = \"a\"\nversion = \"1.2\"\npatches = [\"*.patch\"]\n{SCRIPT}");
    let space =
        Space::new(&[("recipes/a/recipe.toml", &recipe), ("recipes/a/a-1.1-fix.patch", "")]);
    let (status, text) = space.fails(&["build", "a"]);
    assert_eq!(status, 2);
    assert!(text.starts_with("recipes/a/recipe.toml:3:12: error[R008]: "), "{text}");
    assert!(text.contains("`a-1.1-fix.patch` is for version 1.1, and `a` is 1.2"), "{text}");
}

#[test]
fn wrong_patches_are_errors_before_anything_is_fetched() {
    let good = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-x\n+y\n";
    let hostile = good.replace("b/f", "b/../../f");
    // What lies beside the recipe, what it says of patches, and the error's code and words.
    type Case<'c> = (&'c [(&'c str, &'c str)], &'c str, &'c str, &'c str);
    let cases: &[Case<'_>] = &[
        (
            &[("p/1.patch", "words\n")],
            "patches = [\"p/*\"]",
            "R028",
            "p/1.patch:1: it contains no change",
        ),
        (
            &[("p/1.patch", &hostile)],
            "patches = [\"p/*\"]",
            "R028",
            "the name `b/../../f` has `..` in it",
        ),
        (
            &[("p/1.patch", &good.replace("-1 ", "-1,4 "))],
            "patches = [\"p/*\"]",
            "R028",
            "p/1.patch:5: the hunk ends here",
        ),
        (
            &[("p/1.patch", "diff --git a/x b/x\nindex 1..2\nBinary files a/x and b/x differ\n")],
            "patches = [\"p/*\"]",
            "R028",
            "p/1.patch:1: `x` is binary, but the patch does not say how it changes",
        ),
        (
            &[("p/1.patch", "diff --git a/x b/x\nindex 1..2\nBinary files a/x and b/x differ\n")],
            "patches = [\"p/*\"]",
            "R028",
            "make the patch again with `git diff --binary`",
        ),
        (
            &[(
                "p/1.patch",
                "  rename from f\n  rename to g\n--- a/f\n+++ b/g\n@@ -1 +1 @@\n-x\n+y\n",
            )],
            "patches = [\"p/*\"]",
            "R028",
            "p/1.patch:1: `rename from f` is a line of a diff, but spaces come before it",
        ),
        (
            &[("p/series", "1.patch\n2.patch # gone\n"), ("p/1.patch", good)],
            "patches = [\"p/series\"]",
            "R019",
            "p/series:2: there is no patch `p/2.patch`",
        ),
        (
            &[("p/series", "1.patch -x\n"), ("p/1.patch", good)],
            "patches = [\"p/series\"]",
            "R028",
            "p/series:1: `-x` is not an option of a patch",
        ),
        (
            &[("p/series", "../1.patch\n"), ("1.patch", good)],
            "patches = [\"p/series\"]",
            "R028",
            "`../1.patch` leaves the folder",
        ),
        (
            &[("p/series", "1.patch\n"), ("p/1.patch", good), ("p/2.patch", good)],
            "patches = [\"p/*\"]",
            "R028",
            "`p/2.patch` is not in the list `p/series`",
        ),
        (
            &[("p/series", "a-1.1.patch\n"), ("p/a-1.1.patch", good)],
            "patches = [\"p/series\"]",
            "R008",
            "is for version 1.1, and `a` is 1.2",
        ),
        (
            &[("p/1.patch", &good.replace("/f", ""))],
            "patches = [\"p/*\"]",
            "R028",
            "nothing is left of the name `b` without its 1 leading folder",
        ),
        (
            &[("p/1.patch", good)],
            "patches = [\"p/*\"]\n[[waive]]\npatch = \"2.patch\"\nreason = \"r\"",
            "R028",
            "there is no patch `2.patch` to waive",
        ),
    ];
    for (files, says, code, words) in cases {
        let recipe = format!("name = \"a\"\nversion = \"1.2\"\n{says}\n{SCRIPT}");
        let mut all = vec![("recipes/a/recipe.toml".to_owned(), recipe.as_str())];
        all.extend(files.iter().map(|(path, text)| (format!("recipes/a/{path}"), *text)));
        let all: Vec<(&str, &str)> =
            all.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let (status, text) = Space::new(&all).fails(&["build", "a"]);
        assert_eq!(status, 2, "{text}");
        assert!(
            text.starts_with("recipes/a/recipe.toml:") && text.contains(&format!("error[{code}]")),
            "{text}"
        );
        assert!(text.contains(words), "should say `{words}`:\n{text}");
        assert_eq!(text.matches("error[").count(), 1, "{text}");
    }
    // In order, the list's comments and options read: then the pins are what is missing.
    let recipe = format!(
        "name = \"a\"\npatches = [\"p/*\"]\n[[waive]]\npatch = \"p/b*\"\nreason = \"r\"\n{SCRIPT}"
    );
    let space = Space::new(&[
        ("recipes/a/recipe.toml", &recipe),
        ("recipes/a/p/series", "# two\nsub/1.patch -p0 # the first\nbinary.patch\n"),
        ("recipes/a/p/sub/1.patch", &good.replace("a/f", "f").replace("b/f", "f")),
        // What is left out need not be understood.
        ("recipes/a/p/binary.patch", "GIT binary patch\n"),
    ]);
    let (_, text) = space.fails(&["--locked", "build", "a"]);
    assert!(text.starts_with("error[L001]"), "{text}");
    // Debian's patches in a form that is not read are not left out silently.
    let sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let file = |name: &str| {
        format!(
            "  {{ name = \"{name}\", path = \"pool/main/x/x/{name}\", size = 1, sha256 = \"{sha}\" }},\n"
        )
    };
    let files = file("x_1.orig.tar.gz") + &file("x_1-1.diff.gz");
    let lock = format!(
        "version = 1\n\n[[source]]\nrecipe = \"a\"\nname = \"a\"\ndebian = \"x\"\nversion = \"1-1\"\nsuite = \"bookworm\"\nfiles = [\n{files}]\n"
    );
    let recipe = format!("name = \"a\"\nsource = {{ debian = \"x\", patches = true }}\n{SCRIPT}");
    let space = Space::new(&[("recipes/a.toml", &recipe), ("osier.lock", &lock)]);
    let (_, text) = space.fails(&["build", "a"]);
    assert!(
        text.starts_with("recipes/a.toml:2:10: error[R028]: Debian's changes to this source"),
        "{text}"
    );
}

#[test]
fn pins_are_not_made_offline_or_when_locked() {
    let space = Space::new(&[("recipes/a.toml", &format!("name = \"a\"\n{SCRIPT}"))]);
    let (status, text) = space.fails(&["--locked", "build", "a"]);
    assert_eq!(status, 2);
    assert!(
        text.starts_with(
            "error[L001]: osier.lock lacks 1 pin(s), but --locked forbids adding them"
        ),
        "{text}"
    );
    let (status, text) = space.fails(&["--offline", "build", "a"]);
    assert_eq!(status, 3);
    assert!(text.starts_with("error[F003]"), "{text}");
    // A mirror that is down: nothing is half-written.
    let (status, text) = space.fails(&["build", "a"]);
    assert_eq!(status, 3, "{text}");
    assert!(text.starts_with("error[F001]: cannot get dists/bookworm/InRelease"), "{text}");
    assert!(!space.project().join("osier.lock").exists());
}

#[test]
fn a_damaged_lock_says_what_happened_and_is_left_as_it_is() {
    let sound = "version = 1\n";
    let merged = "version = 1\n<<<<<<< HEAD\n[[package]]\n=======\n>>>>>>> other\n";
    let nothing = "\0".repeat(100);
    let cases: [(&[u8], &str, &str); 7] = [
        (b"", "error[R005]: osier.lock is empty", "git checkout osier.lock"),
        (b"\n\n", "error[R005]: osier.lock is empty", "git checkout osier.lock"),
        (nothing.as_bytes(), "error[R005]: osier.lock is empty", "git checkout osier.lock"),
        (b"version = 1\n[[source]]\nrecipe =", "error[R001]", "git checkout osier.lock"),
        (b"[[environment]]\n", "error[R005]", "git checkout osier.lock"),
        (b"version = 1\n\xff\xfe\n", "error[R002]", "git checkout osier.lock"),
        (
            merged.as_bytes(),
            "error[R001]: osier.lock:2: the file has an unresolved merge",
            "keep one of the two sides",
        ),
    ];
    let recipe = format!("name = \"a\"\n{SCRIPT}");
    let space = Space::new(&[("recipes/a.toml", &recipe)]);
    let lock = space.project().join("osier.lock");
    for (damaged, code, hint) in cases {
        fs::write(&lock, damaged).unwrap();
        for words in [&["build", "a"][..], &["update"], &["fetch", "a"], &["status", "a"]] {
            let (status, text) = space.fails(words);
            assert_eq!(status, 2, "{text}");
            assert!(text.contains(code) && text.contains(hint), "{words:?}: {text}");
        }
        assert_eq!(fs::read(&lock).unwrap(), damaged);
    }
    // What the hint says helps.
    fs::write(&lock, sound).unwrap();
    assert!(space.fails(&["--offline", "build", "a"]).1.starts_with("error[F003]"));
}

#[test]
fn what_no_machine_can_do_is_refused_with_its_line() {
    let long = "n".repeat(129);
    let check = "checks = [{ check = \"kconfig-honored\" }]\n";
    let system = |image: &str| {
        format!(
            "name = \"s\"\ncomponents = [\"a\"]\nmanifest = \"manifest\"\nimage = [{{ name = \"i\", {image} }}]\n"
        )
    };
    let plain = format!("name = \"a\"\n{SCRIPT}");
    let cases = [
        (
            format!("{plain}{check}"),
            system("format = \"initramfs\""),
            "recipes/a.toml:5",
            "did you mean `kconfig-honoured`?",
        ),
        (
            format!("{plain}folder = \"$SRC\"\n"),
            system("format = \"initramfs\""),
            "recipes/a.toml:5",
            "unknown variable `SRC`",
        ),
        (
            format!("name = \"a\"\nneeds = [\"{long}\"]\n{SCRIPT}"),
            system("format = \"initramfs\""),
            "recipes/a.toml:2",
            "at most 128",
        ),
        (
            plain.clone(),
            system("format = \"initramfs\", level = 20"),
            "systems/s/system.toml:4",
            "zstd has no level 20 for the format initramfs",
        ),
        (
            plain.clone(),
            system("format = \"erofs\", level = 13"),
            "systems/s/system.toml:4",
            "lz4 has no level 13",
        ),
        (
            plain,
            system(&format!("format = \"initramfs\", file = \"{}\"", "f".repeat(201))),
            "systems/s/system.toml:4",
            "at most 200",
        ),
    ];
    for (recipe, system, place, says) in cases {
        let space = Space::new(&[
            ("recipes/a.toml", &recipe),
            ("systems/s/system.toml", &system),
            ("systems/s/manifest", ""),
        ]);
        let (status, text) = space.fails(&["build", "s"]);
        assert_eq!(status, 2, "{text}");
        assert!(text.contains(place) && text.contains(says), "{text}");
    }
}

#[test]
fn a_chain_of_thousands_of_needs_is_shown() {
    let recipe = |number: usize| match number {
        0 => format!("name = \"c0\"\n{SCRIPT}"),
        _ => format!("name = \"c{number}\"\nneeds = [\"c{}\"]\n{SCRIPT}", number - 1),
    };
    let files = (0..2000).map(|number| (format!("recipes/c{number}.toml"), recipe(number)));
    let files = Vec::from_iter(files);
    let mut files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    // All have the environment of this one.
    let space = Space::new(&[("recipes/a.toml", &format!("name = \"a\"\n{SCRIPT}"))]);
    pin_nothing(&space);
    let lock = fs::read_to_string(space.project().join("osier.lock")).unwrap();
    files.push(("osier.lock", &lock));
    let space = Space::new(&files);
    assert!(space.prints(&["status", "c1999"]).contains("2000"));
    let why = space.prints(&["why", "c1999"]);
    assert!(why.contains("c1999 depends on c1998") && why.contains("c1 depends on c0"), "{why}");
    for format in ["text", "json", "dot", "svg"] {
        let drawn = space.prints(&["graph", "c1999", "--format", format]);
        assert!(drawn.contains("c1234"), "{format}");
    }
}

#[test]
fn every_code_has_a_page() {
    let space = Space::new(&[]);
    let list = space.prints(&["explain"]);
    assert!(list.lines().count() > 50);
    for line in list.lines() {
        let code = line.split(' ').next().unwrap();
        let page = space.prints(&["explain", code]);
        assert!(page.len() > code.len() + 40, "{page}");
    }
    assert!(space.prints(&["explain", "error[s001]"]).starts_with("S001: "));
}

#[test]
fn a_new_project_is_valid_and_is_not_written_over() {
    let space = Space::new(&[]);
    let text = space.prints(&["new", "my-system"]);
    assert!(text.contains("my-system"), "{text}");
    let made = space.project().join("my-system");
    assert!(made.join("systems/my-system/system.toml").is_file());
    let output = Command::new(env!("CARGO_BIN_EXE_osier"))
        .args(["--offline", "build"])
        .current_dir(&made)
        .env("OSIER_STORE", space.folder.path().join("store"))
        .output()
        .unwrap();
    // Everything is right but that nothing is pinned yet.
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error[F003]"), "{output:?}");
    let (status, text) = space.fails(&["new", "my-system"]);
    assert_eq!(status, 2);
    assert!(text.contains("already exists"), "{text}");
    let (status, _) = space.fails(&["new", "Not A Name"]);
    assert_eq!(status, 2);
}

#[test]
fn the_store_of_another_version_is_refused_and_can_be_removed() {
    let space = Space::new(&[]);
    let store = space.folder.path().join("store");
    drop(osier_store::Store::open(&store, "boot").unwrap());
    let format = store.join("format");
    let now = fs::read(&format).unwrap();
    fs::write(&format, "osier store 999\n").unwrap();
    let (status, text) = space.fails(&["gc"]);
    assert_eq!(status, 4);
    assert!(text.starts_with("error[M003]"), "{text}");
    fs::write(&format, now).unwrap();
    space.prints(&["gc", "--all"]);
    assert!(!store.exists());
}

#[test]
fn a_store_of_another_user_or_without_permission_is_refused_by_name() {
    use std::os::unix::fs::MetadataExt as _;
    let space = Space::new(&[]);
    let own = fs::metadata(space.project()).unwrap().uid();
    let foreign = space.folder.path().join("foreign");
    let (foreign, owner) = if own == 0 {
        fs::create_dir(&foreign).unwrap();
        std::os::unix::fs::chown(&foreign, Some(54_321), None).unwrap();
        (foreign.display().to_string(), 54_321)
    } else {
        ("/usr".to_owned(), 0)
    };
    let (status, text) = space.fails(&["--store", &foreign, "gc"]);
    assert_eq!(status, 4);
    let wanted = format!("belongs to uid {owner}, but this process runs as uid {own}");
    assert!(text.starts_with("error[M003]: the store ") && text.contains(&wanted), "{text}");
    assert!(text.contains("hint: name a folder of your own"), "{text}");
    // Nobody can make folders there.
    let (status, text) = space.fails(&["--store", "/sys/osier", "update"]);
    assert_eq!(status, 4);
    assert!(text.starts_with("error[M003]: cannot make /sys/osier"), "{text}");
}

#[test]
fn verify_tells_what_is_damaged_and_lets_it_be_made_again() {
    use osier_store::{Key, LayerStack, Record, Store};
    let space = Space::new(&[]);
    let store = Store::open(&space.folder.path().join("store"), "boot").unwrap();
    let (key, made) = (Key([7; 32]), space.folder.path().join("store/work/made"));
    fs::create_dir_all(made.join("output")).unwrap();
    fs::write(made.join("output/tool"), "tool").unwrap();
    store.put_layer(&key, &made, Vec::new(), "gadget:install").unwrap();
    let layers = LayerStack::new(vec![store.layer_path(&key)]);
    let digest = store.put_tree(&store.take_tree(&layers, Path::new("output")).unwrap()).unwrap();
    store.index().append(Record::Outputs(key, vec![("main".to_owned(), digest)])).unwrap();
    store.sync().unwrap();
    drop(store);
    let text = space.prints(&["verify"]);
    assert!(text.contains("read  2 files") && text.contains("compared  1 layers"), "{text}");
    // The file is the layer's as well.
    fs::write(space.folder.path().join(format!("store/layers/{key}/output/tool")), "fool").unwrap();
    let output = space.osier(&["--json", "verify"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let event: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let kinds = event["damages"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap());
    assert_eq!(kinds.collect::<Vec<_>>(), ["blob", "layer"], "{text}");
    assert_eq!(event["damages"][0]["of"][0], "gadget:install");
    assert_eq!(event["set_aside"], true);
    // It is out of the way now.
    assert!(!space.prints(&["verify"]).contains("damaged"));
    let store = Store::open(&space.folder.path().join("store"), "boot").unwrap();
    assert!(store.index().outputs(&key).is_none() && !store.index().has_layer(&key));
}

#[test]
fn gc_takes_nothing_from_another_osier_at_work() {
    let space = Space::new(&[]);
    let folder = space.folder.path().join("store");
    let other = osier_store::Store::open(&folder, "boot").unwrap();
    let key = osier_store::Key([7; 32]);
    fs::create_dir(other.layer_path(&key)).unwrap();
    other.look().unwrap().hold([key]).unwrap();
    let text = space.prints(&["gc", "--size", "1K"]);
    assert!(text.contains("stay because another osier may be using them"), "{text}");
    assert!(other.layer_path(&key).is_dir());
    let (status, text) = space.fails(&["gc", "--all"]);
    assert_eq!(status, 4);
    assert!(text.starts_with("error[M001]: another osier is using this store"), "{text}");
    drop(other);
    // What `rm` cannot remove: folders that do not let themselves be listed, as overlayfs leaves them.
    let locked = folder.join("work/left.17-4.0/inner");
    fs::create_dir_all(&locked).unwrap();
    fs::write(locked.join("file"), "").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(&locked, mode).unwrap();
    space.prints(&["gc", "--all"]);
    assert!(!folder.exists());
}

#[test]
fn help_is_printed_without_a_verb_and_wrong_words_are_usage_errors() {
    let space = Space::new(&[]);
    assert!(space.prints(&[]).contains("Usage: osier"));
    assert_eq!(space.osier(&["biuld"]).status.code(), Some(2));
    assert_eq!(space.osier(&["--project", "nowhere", "gc"]).status.code(), Some(2));
}

#[test]
fn wrong_disks_of_a_machine_are_shown_before_anything_is_built() {
    const ROOTFS: &str = "name = \"rootfs\"\nmanifest = \"manifest\"\n[[image]]\nname = \"start\"\nformat = \"initramfs\"\n[[image]]\nname = \"root\"\nformat = \"ext4\"\n";
    let cases = [
        (
            "system = \"rotfs\"",
            "error[R027]: unknown system `rotfs`\n  |\n7 | system = \"rotfs\"\n  |          ^^^^^^^\n  = hint: did you mean `rootfs`?\n",
        ),
        ("system = \"plain\"", "error[R027]: the system `plain` has no disk image"),
        (
            "system = \"rootfs\"\nimage = \"start\"",
            "error[R027]: the image `start` of `rootfs` is an initramfs, not a disk",
        ),
        (
            "system = \"rootfs\"\nimage = \"rot\"",
            "8 | image = \"rot\"\n  |         ^^^^^\n  = hint: its disk images are: root\n",
        ),
        ("blank = true", "hint: for example `blank = \"1G\"`"),
        ("blank = \"0M\"", "error[R006]: `0M` is not a size"),
        ("keep = true", "`disk` needs one of `system` or `blank`"),
        (
            "blank = \"1M\"\n[[disk]]\nname = \"data\"\nblank = \"1M\"",
            "error[R020]: the disk `data` already exists",
        ),
        (
            "system = \"rootfs\"\nbus = \"sata\"\nread_only = true",
            "error[B000]: machine m: disk data: a disk on the ahci bus cannot be read-only",
        ),
    ];
    for (disk, wanted) in cases {
        let machine = format!(
            "name = \"m\"\narchitecture = \"x86_64\"\nboard = \"q35\"\nconsole = \"ttyS0\"\n[[disk]]\nname = \"data\"\n{disk}\n"
        );
        let space = Space::new(&[
            ("machines/m.toml", &machine),
            ("systems/rootfs/system.toml", ROOTFS),
            ("systems/plain/system.toml", "name = \"plain\"\n"),
            ("systems/s/system.toml", "name = \"s\"\n[boot]\nmachine = \"m\"\n"),
        ]);
        let (status, text) = space.fails(&["boot", "s"]);
        assert_eq!(status, 2, "{disk}: {text}");
        assert!(text.contains(wanted), "{disk}: {text}");
    }
}

#[test]
fn a_machine_that_does_not_fit_is_told_before_anything_is_built() {
    let machine = |name: &str, architecture: &str, board: &str| {
        format!(
            "name = \"{name}\"\narchitecture = \"{architecture}\"\nboard = \"{board}\"\nconsole = \"ttyS0\"\n[[disk]]\nname = \"data\"\nblank = \"1M\"\n"
        )
    };
    let runs = "[[boot.run]]\nwithout = [\"date\"]\nscript = [{ end = \"poweroff\" }]\n";
    let space = Space::new(&[
        ("machines/pc.toml", &machine("pc", "x86_64", "q35")),
        (
            "systems/s/system.toml",
            &format!(
                "name = \"s\"\n[boot]\nmachine = \"pc\"\n{runs}[target.aarch64.boot]\nmachine = \"pc\"\n"
            ),
        ),
    ]);
    let (status, text) = space.fails(&["boot", "s", "--target", "x86_64"]);
    let wanted = "error[R027]: unknown disk of the machine `pc` `date`\n  |\n5 | without = [\"date\"]\n  |            ^^^^^^\n  = hint: did you mean `data`?\n";
    assert!(status == 2 && text.contains(wanted), "{text}");
    let (status, text) = space.fails(&["boot", "s", "--target", "aarch64"]);
    let wanted = "error[B000]: the machine `pc` has the architecture x86_64, but the system is built for aarch64\n  hint: name a machine of that architecture in `[target.aarch64.boot]`\n";
    assert!(status == 2 && text.contains(wanted), "{text}");
}

/// Pins the build environment of a recipe `a` to nothing, so that plans need no network.
fn pin_nothing(space: &Space) {
    let (_, text) = space.fails(&["--locked", "build", "a"]);
    let request = text.split("the build environment ").nth(1).unwrap();
    let request = request.split(" from bookworm").next().unwrap();
    let request: Vec<String> = request.split(' ').map(|name| format!("\"{name}\"")).collect();
    let lock = format!(
        "version = 1\n[[environment]]\nsuite = \"bookworm\"\narchitecture = \"amd64\"\nrequest = [{}]\npackages = []\n",
        request.join(", ")
    );
    fs::write(space.project().join("osier.lock"), lock).unwrap();
}

#[test]
fn what_is_not_built_is_said_and_not_built() {
    let user = format!("name = \"a\"\nversion = \"2\"\nneeds = [\"b\"]\n{SCRIPT}");
    let need = format!("name = \"b\"\nversion = \"1\"\n{SCRIPT}");
    let system = "name = \"s\"\ncomponents = [\"a\"]\nmanifest = \"manifest\"\n[[image]]\nname = \"i\"\nformat = \"initramfs\"\n";
    let space = Space::new(&[
        ("recipes/a.toml", &user),
        ("recipes/b.toml", &need),
        ("systems/s/system.toml", system),
        ("systems/s/manifest", "d etc 0755 0 0\n"),
        ("systems/bare/system.toml", "name = \"bare\"\n"),
    ]);
    pin_nothing(&space);
    let text = space.prints(&["graph", "s"]);
    assert_eq!(
        text,
        "s: 0 of 4 components are built\nrecorded times: 0.0 s on the critical path, 0.0 s in all; 4 steps were never timed\n\n\
         b 1  not built\n    install  never timed  to run\n\n\
         a 2  not built\n  needs  b\n    install  never timed  to run\n\n\
         s/_root@x86_64   not built\n  needs  a\n    compose  never timed  to run\n\n\
         s/i@x86_64   not built\n  needs  s/_root@x86_64\n    write    never timed  to run\n"
    );
    let (status, text) = space.fails(&["size", "s"]);
    assert_eq!(status, 2);
    assert_eq!(
        text,
        "error[I004]: s is not built: 2 of its components are missing\n    | b\n    | a\n  hint: `osier build s` builds it\n"
    );
    let (status, text) = space.fails(&["size", "a"]);
    assert_eq!(status, 2);
    assert!(text.contains("`osier graph a` shows the sizes"), "{text}");
    let (status, text) = space.fails(&["size", "bare"]);
    assert_eq!(status, 2);
    assert!(text.starts_with("error[I004]: the system `bare` has no images"), "{text}");
    // One line of JSON, or a drawing in a file.
    let json = space.prints(&["--json", "graph", "a"]);
    assert!(json.starts_with('{') && json.lines().count() == 1, "{json}");
    assert_eq!(space.prints(&["graph", "a", "-f", "svg", "--out", "a.svg"]), "a.svg\n");
    assert!(fs::read_to_string(space.project().join("a.svg")).unwrap().starts_with("<svg "));
    let (status, text) = space.fails(&["graph", "a", "--out", "no/folder"]);
    assert_eq!(status, 4);
    assert!(text.starts_with("error[M001]: cannot write no/folder"), "{text}");
}

#[test]
fn completions_and_the_manual_name_the_verbs() {
    let space = Space::new(&[]);
    for (words, text) in [
        (["completions", "bash"].as_slice(), "osier__subcmd__build"),
        (&["completions", "zsh"], "#compdef osier"),
        (&["completions", "fish"], "complete -c osier"),
        (&["man"], ".TH osier 1"),
    ] {
        let page = space.prints(words);
        assert!(page.contains(text) && page.contains("build"), "{words:?}: {page}");
    }
}

#[test]
fn doctor_tries_this_machine() {
    let text = Space::new(&[]).prints(&["doctor"]);
    assert!(text.contains("ok      a whole sandbox"), "{text}");
}

#[test]
fn the_locks_of_the_examples_are_complete() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut tried = 0;
    for example in fs::read_dir(examples).unwrap() {
        let (space, example) = (Space::new(&[]), example.unwrap());
        let mut copy = Command::new("cp");
        copy.arg("-rT").arg(example.path()).arg(space.project());
        assert!(copy.status().unwrap().success());
        let name = example.file_name().into_string().unwrap();
        let text = space.prints(&["graph", &name, "--target", "x86_64"]);
        assert!(text.contains("busybox@x86_64"), "{text}");
        tried += 1;
    }
    assert!(tried > 0);
}

#[test]
fn a_machine_without_namespaces_is_told_before_anything_is_fetched() {
    let lock = include_str!("../../../osier.lock");
    let space = Space::new(&[
        ("osier.toml", "name = \"small\"\nsuite = \"bookworm\"\n"),
        ("osier.lock", lock),
    ]);
    // A user namespace that allows no further ones is what many containers are.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces || exit 77; exec \"$0\" \"$@\" --locked build zlib";
    let inside = |words: &[&str]| {
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", script])
            .arg(env!("CARGO_BIN_EXE_osier"))
            .args(words)
            .current_dir(space.project())
            .env("OSIER_STORE", space.folder.path().join("store"))
            .env("OSIER_DEBIAN_MIRROR", "http://127.0.0.1:9/debian")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, text) = inside(&[]);
    assert_eq!(
        (status, text.as_str()),
        (
            Some(4),
            "error[M005]: builds cannot run here with full isolation: as root: sysctl user.max_user_namespaces=10000\n  hint: run `osier doctor` to see what is missing; as root, `--degraded` builds without namespaces\n"
        )
    );
    let (status, text) = inside(&["--degraded"]);
    assert_eq!(status, Some(4), "{text}");
    let told =
        "error[M005]: builds cannot run here in degraded mode: degraded mode makes its own devices";
    assert!(text.contains(told) && !text.contains("fetch"), "{text}");
}
