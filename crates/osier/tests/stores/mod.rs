//! Which folders become stores, and what gc takes of them: nothing that osier did not make.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use osier_store::{Key, Store};

use crate::space::Space;

/// Every verb that opens a store, with words that let it get so far.
const VERBS: &[&[&str]] = &[
    &["gc", "--all"],
    &["gc", "--size", "1K"],
    &["gc"],
    &["status"],
    &["status", "zlib"],
    &["log"],
    &["log", "zlib"],
    &["why", "zlib"],
    &["graph", "zlib"],
    &["edit", "--list"],
    &["doctor"],
    &["update"],
    &["fetch", "zlib"],
    &["build", "zlib"],
    &["shell", "zlib", "--", "true"],
];

/// Those that make a store where none is.
fn makes(words: &[&str]) -> bool {
    matches!(words[0], "update" | "fetch" | "build" | "shell")
}

fn project() -> Space {
    let lock = include_str!("../../../../osier.lock");
    Space::new(&[("osier.toml", "name = \"small\"\nsuite = \"bookworm\"\n"), ("osier.lock", lock)])
}

/// All that is below a folder: path, mode, change time, and what it holds or leads to.
fn listing(folder: &Path) -> Vec<(PathBuf, u32, i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let seen = fs::symlink_metadata(&path).unwrap();
        let held = if seen.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if seen.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        found.push((path, seen.mode(), seen.ctime_nsec(), held));
    }
    found.sort();
    found
}

fn run(space: &Space, store: &Path, words: &[&str]) -> (i32, String) {
    let store = store.display().to_string();
    let output = space.osier(&[&["--store", &store, "--offline", "--locked"], words].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn a_folder_that_holds_something_else_is_refused_and_stays_as_it_is() {
    let space = project();
    let at = |name: &str| space.folder.path().join(name);
    for (folder, file) in [
        ("etc", "etc/passwd"),
        ("hidden", "hidden/.bashrc"),
        ("like-a-store", "like-a-store/layers/notes"),
        ("of-a-tool", "of-a-tool/format"),
        ("empty-format", "empty-format/thesis/format"),
        ("links", "links/blobs/00/notes"),
    ] {
        fs::create_dir_all(at(file).parent().unwrap()).unwrap();
        fs::write(at(file), "mine\n").unwrap();
        fs::set_permissions(at(file).parent().unwrap(), fs::Permissions::from_mode(0o500)).unwrap();
        let before = listing(&at(folder));
        for words in VERBS {
            let (status, text) = run(&space, &at(folder), words);
            assert_eq!(status, 4, "{folder} {words:?}: {text}");
            assert!(text.contains("error[M003]") && text.contains("is not a store"), "{text}");
            assert!(text.contains("hint: name a folder of your own"), "{text}");
            assert_eq!(listing(&at(folder)), before, "{words:?}");
            let (status, text) = run(&space, &at(folder), &[&["--degraded"], *words].concat());
            assert_ne!(status, 0, "{folder} {words:?}: {text}");
            assert_eq!(listing(&at(folder)), before, "--degraded {words:?}");
        }
    }
    fs::write(at("a-file"), "mine").unwrap();
    let (status, text) = run(&space, &at("a-file"), &["gc", "--all"]);
    assert!(
        status == 4 && text.contains("error[M003]") && text.contains("it is not a folder"),
        "{text}"
    );
    assert_eq!(fs::read_to_string(at("a-file")).unwrap(), "mine");
}

#[test]
fn only_what_builds_or_fetches_makes_a_store() {
    let space = project();
    let at = |name: &str| space.folder.path().join(name);
    fs::create_dir(at("empty")).unwrap();
    for words in VERBS.iter().filter(|words| !makes(words)) {
        for name in ["none", "empty"] {
            let (_, text) = run(&space, &at(name), words);
            assert!(!text.contains("error[M0"), "{words:?}: {text}");
            let (_, text) = run(&space, &at(name), &[&["--degraded"], *words].concat());
            assert!(!text.contains("error[M001]"), "{words:?}: {text}");
        }
        assert!(!at("none").exists(), "{words:?}");
        assert_eq!(fs::read_dir(at("empty")).unwrap().count(), 0, "{words:?}");
    }
    let (status, text) = run(&space, &at("none"), &["gc", "--all"]);
    assert!(status == 0 && text.starts_with("there is no store at "), "{text}");
    for (number, words) in VERBS.iter().filter(|words| makes(words)).enumerate() {
        let store = at(&format!("made/{number}"));
        run(&space, &store, words);
        assert!(store.join("format").is_file(), "{words:?}");
    }
    run(&space, &at("empty"), &["build", "zlib"]);
    assert!(at("empty/format").is_file());
}

#[test]
fn a_persons_own_files_in_a_store_stay_and_are_named() {
    let space = project();
    let store = space.folder.path().join("store");
    let outside = space.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "mine").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o500)).unwrap();
    let own = {
        let opened = Store::open(&store, "boot").unwrap();
        opened.put_bytes(b"of osier").unwrap();
        fs::create_dir(opened.layer_path(&Key([1; 32]))).unwrap();
        // A link under a name that osier gives.
        symlink(&outside, opened.layer_path(&Key([2; 32]))).unwrap();
        opened.layer_path(&Key([2; 32]))
    };
    let mine = [
        "notes.txt",
        "layers/notes",
        "blobs/notes",
        "blobs/00/notes",
        "work/notes",
        "aside/notes",
        "leases/notes",
        "logs/notes.log",
        "roots/notes",
        "parts/film.part",
        "uses/.notes",
        "folders/notes",
        "thesis/chapter",
    ];
    for file in mine {
        fs::create_dir_all(store.join(file).parent().unwrap()).unwrap();
        fs::write(store.join(file), "mine").unwrap();
    }
    let (status, text) = run(&space, &store, &["gc", "--size", "1K"]);
    assert!(status == 0 && text.contains("left as it is, since osier did not make it:"), "{text}");
    assert!(text.contains("more") && text.contains("/notes"), "{text}");
    let (status, text) = run(&space, &store, &["gc", "--all"]);
    assert!(status == 0 && text.contains("left as it is, since osier did not make it:"), "{text}");
    for file in mine {
        assert_eq!(fs::read_to_string(store.join(file)).unwrap(), "mine", "{file}");
    }
    assert_eq!(fs::read_link(own).unwrap(), outside);
    assert_eq!(fs::metadata(&outside).unwrap().mode() & 0o7777, 0o500);
    // Nothing of osier is left, so that it is no store any more.
    for gone in ["format", "lock", "failed", "blobs/01", "blobs/ff"] {
        assert!(!store.join(gone).exists(), "{gone}");
    }
    assert_eq!(run(&space, &store, &["gc", "--all"]).0, 4);
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_folder_of_a_store_that_is_a_link_is_refused() {
    let space = project();
    let (store, outside) = (space.folder.path().join("store"), space.folder.path().join("layers"));
    drop(Store::open(&store, "boot").unwrap());
    fs::create_dir(&outside).unwrap();
    let thing = outside.join(Key([1; 32]).to_string());
    fs::create_dir(&thing).unwrap();
    fs::remove_dir(store.join("layers")).unwrap();
    symlink(&outside, store.join("layers")).unwrap();
    for words in VERBS {
        let (status, text) = run(&space, &store, words);
        assert!(status == 4 && text.contains("error[M003]"), "{words:?}: {text}");
        assert!(
            text.contains("/layers should be a folder of the store but is a symbolic link"),
            "{text}"
        );
    }
    assert!(thing.is_dir() && store.join("format").is_file());
}

#[test]
fn homes_and_projects_are_refused_by_name_even_where_they_are_empty_or_stores() {
    let space = project();
    let home = space.folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let at_home = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_osier"))
            .args(["--offline", "--store"])
            .arg(&home)
            .args(words)
            .current_dir(space.project())
            .env("HOME", &home)
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, text) = at_home(&["build", "zlib"]);
    assert!(
        status == 4 && text.contains("error[M003]") && text.contains("is a home folder"),
        "{text}"
    );
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);
    // Made by an osier that did not mind, or moved there.
    drop(Store::open(&home, "boot").unwrap());
    for words in [["gc", "--all"], ["gc", "--size=1K"]] {
        let (status, text) = at_home(&words);
        assert!(status == 4 && text.contains("is a home folder"), "{text}");
    }
    assert!(home.join("format").is_file());
    for folder in [space.project(), space.folder.path().to_path_buf()] {
        for words in [&["gc", "--all"][..], &["build", "zlib"]] {
            let (status, text) = run(&space, &folder, words);
            assert!(status == 4 && text.contains("the folder of a project"), "{text}");
        }
    }
    assert!(space.project().join("osier.toml").is_file());
}

#[test]
fn a_store_on_a_mount_point_is_emptied_and_what_is_mounted_in_a_store_stays() {
    let space = project();
    let store = space.folder.path().join("store");
    fs::create_dir(&store).unwrap();
    // A file system of its own, as a container's volume is; a layer of it shows a folder of somebody else.
    let script = r#"
        mount -t tmpfs none "$1"
        osier() { store=$1; shift; "$0" --offline --store "$store" "$@"; }
        osier "$1" build zlib 2> "$1.said" || true
        test -f "$1/format"
        layer="$1/layers/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        mkdir -p "$layer/inner" "$1/layers/1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        head -c 100000 /dev/zero > "$1/layers/1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/file"
        mkdir "$1.mine"
        echo mine > "$1.mine/file"
        chmod 500 "$1.mine"
        mount --bind "$1.mine" "$layer/inner"
        osier "$1" gc --size 1K
        test ! -e "$1/layers/1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        test "$(cat "$layer/inner/file")" = mine
        if osier "$1" gc --all; then exit 1; fi
        test -f "$1/format"
        umount "$layer/inner"
        mount --bind "$1.mine" "$1/layers"
        osier "$1" gc --size 1K
        test "$(cat "$1.mine/file")" = mine
        test "$(stat -c %a "$1.mine")" = 500
    "#;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-euc", script])
        .arg(env!("CARGO_BIN_EXE_osier"))
        .arg(&store)
        .current_dir(space.project())
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("is a mount point, which osier does not remove"), "{text}");
    assert!(text.contains("osier gc --size 1K"), "{text}");
    assert!(text.contains("left as it is") && text.contains("/layers/0123"), "{text}");
}

#[test]
fn the_root_of_the_file_system_is_refused() {
    let space = project();
    let root = space.folder.path().join("root");
    let binary = env!("CARGO_BIN_EXE_osier");
    // A root of its own, with nothing of the machine's in it but copies.
    let script = r#"
        mkdir "$1"
        mount -t tmpfs none "$1"
        mkdir -p "$1/etc" "$1/boot" "$1/tmp"
        ln -s / "$1/link"
        cp "$0" "$1/osier"
        ldd "$0" | grep -o '/[^ ]*' | while read -r file; do
            mkdir -p "$1${file%/*}"
            cp -L "$file" "$1$file"
        done
        echo root:x:0:0::/:/bin/sh > "$1/etc/passwd"
        echo kernel > "$1/boot/vmlinuz"
        chmod 555 "$1/boot"
        chroot=$(command -v chroot)
        cd "$1"
        for words in "gc --all" "gc --size 1K" "status" "log" "build zlib" "--degraded gc --all"; do
            for store in / /link /boot/..; do
                if env -i "$chroot" "$1" /osier --store "$store" $words; then exit 1; fi
            done
        done
        test "$(cat "$1/boot/vmlinuz")" = kernel
        test "$(stat -c %a "$1/boot")" = 555
        test -f "$1/etc/passwd"
        ls -A "$1"
    "#;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-euc", script])
        .args([Path::new(binary), &root])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert_eq!(told.matches("is the root of the file system").count(), 18, "{told}");
    let names = String::from_utf8(output.stdout).unwrap();
    for store in ["format", "blobs", "layers"] {
        assert!(!names.lines().any(|name| name == store), "{names}");
    }
}

/// Whether a file is being written in the store, wherever that is.
fn is_writing(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let is_new = |name: &str| name.starts_with(".tmp") || name == "bytes";
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => is_writing(&entry.path()),
            _ => entry.file_name().to_str().is_some_and(is_new),
        }
    })
}

#[test]
fn what_an_import_that_was_killed_has_left_is_osiers_own() {
    let space = project();
    let (file, store) = (space.folder.path().join("file"), space.folder.path().join("store"));
    fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
    let words = ["fetch", "--import", file.to_str().unwrap()];
    let mut child = space.command(&words).spawn().unwrap();
    while !is_writing(&store) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_len(1).unwrap();
    space.prints(&words);
    space.prints(&["gc", "--all"]);
    assert!(!store.exists(), "nothing in it is anyone else's");
    space.prints(&words);
}
