//! What is built again when something changes, and what `osier why` says of it: whole builds of small components, in a build
//! environment of this machine's own programs.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

mod taken_back;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::space::Space;

const PROGRAMS: &str = "sh cat cp head ln mkdir rm sleep";

/// A Debian package of a few programs of this machine, with their libraries.
pub(crate) fn programs() -> &'static Path {
    static PACKAGE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, package) = PACKAGE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        for program in PROGRAMS.split(' ') {
            let host = Path::new("/usr/bin").join(program);
            fs::copy(host.canonicalize().unwrap(), root.join("usr/bin").join(program)).unwrap();
            let libraries = Command::new("ldd").arg(&host).output().unwrap();
            for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace() {
                if let Some(path) = word.strip_prefix('/') {
                    let path = path.strip_prefix("usr/").unwrap_or(path);
                    let inside = root.join("usr").join(path);
                    fs::create_dir_all(inside.parent().unwrap()).unwrap();
                    fs::copy(word, inside).unwrap();
                }
            }
        }
        let data = Command::new("tar")
            .args(["-c", "--sort=name", "--mtime=@0", "--owner=root:0", "--group=root:0", "-C"])
            .args([root.as_os_str(), ".".as_ref()])
            .output()
            .unwrap();
        assert!(data.status.success());
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in [("debian-binary", &b"2.0\n"[..]), ("data.tar", &data.stdout)] {
            let size = content.len();
            bytes.extend(
                format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644).bytes(),
            );
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        }
        let package = folder.path().join("programs.deb");
        fs::write(&package, bytes).unwrap();
        (folder, package)
    });
    package
}

/// The kind of which every recipe is that names none, with the programs that [`pin_programs`] pins.
pub(crate) const SCRIPT_KIND: (&str, &str) =
    ("kinds/script.toml", "name = \"script\"\npackages = [\"programs\"]\n");

const BASE: &str = "name = \"base\"
version = \"1\"
source = { path = \"src\" }
patches = []
[[step]]
name = \"install\"
run = '''
mkdir -p \"$OUTPUT/usr/share\"
cp words \"$OUTPUT/usr/share/base\"
'''
";
const SYSTEM: &str = "name = \"small\"
components = [\"top\", \"other\"]
overlays = [\"overlay\"]
manifest = \"manifest\"
[[image]]
name = \"small\"
format = \"initramfs\"
compression = \"none\"
";

/// A component that installs what its needs install, and something of its own.
fn component(name: &str, needs: &str) -> String {
    format!(
        "name = \"{name}\"\nneeds = [{needs}]\n[[step]]\nname = \"install\"\nrun = '''\nmkdir -p \"$OUTPUT/usr/share\"\n\
         [ ! -d /proto/usr ] || cat /proto/usr/share/* > \"$OUTPUT/usr/share/{name}\"\necho {name} >> \"$OUTPUT/usr/share/{name}\"\n'''\n"
    )
}

/// A project whose system `small` has `top`, which needs `middle`, which needs `base`, and `other`, which needs none.
pub(crate) fn space() -> Space {
    let space = Space::new(&[
        ("osier.toml", "name = \"p\"\n"),
        SCRIPT_KIND,
        ("recipes/base/recipe.toml", BASE),
        ("recipes/base/src/words", "first words\n"),
        ("recipes/middle.toml", &component("middle", "\"base\"")),
        ("recipes/top.toml", &component("top", "\"middle\"")),
        ("recipes/other.toml", &component("other", "")),
        ("systems/small/system.toml", SYSTEM),
        ("systems/small/manifest", "f etc/* 0644 root root\nf usr/share/* 0644 root root\n"),
        ("systems/small/overlay/etc/issue", "an issue\n"),
        ("systems/small/overlay/etc/motd", "a message\n"),
    ]);
    pin_programs(&space);
    space
}

/// Pins the build environment of what is of the kind `script` to programs of this machine.
pub(crate) fn pin_programs(space: &Space) {
    pin_programs_as(space, &[("bookworm", "\"programs\"")]);
}

/// Pins build environments, each a suite and the packages asked for in quotes, to programs of this machine.
pub(crate) fn pin_programs_as(space: &Space, environments: &[(&str, &str)]) {
    let package = programs();
    let taken = space.prints(&["fetch", "--import", package.to_str().unwrap()]);
    let sha256 = taken.trim().rsplit(' ').next().unwrap();
    let size = fs::metadata(package).unwrap().len();
    let mut lock = "version = 1\n".to_owned();
    for (suite, request) in environments {
        lock.push_str(&format!(
            "[[environment]]\nsuite = \"{suite}\"\narchitecture = \"amd64\"\nrequest = [{request}]\npackages = [\"programs=1\"]\n"
        ));
    }
    lock.push_str(&format!(
        "[[package]]\nname = \"programs\"\nversion = \"1\"\narchitecture = \"amd64\"\nsuite = \"bookworm\"\n\
         path = \"pool/programs.deb\"\nsize = {size}\nsha256 = \"{sha256}\"\n"
    ));
    write(space, "osier.lock", &lock);
}

fn write(space: &Space, path: &str, text: &str) {
    let place = space.project().join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(place, text).unwrap();
}

fn replace(space: &Space, path: &str, old: &str, new: &str) {
    let text = fs::read_to_string(space.project().join(path)).unwrap();
    assert!(text.contains(old), "{path}: {text}");
    write(space, path, &text.replace(old, new));
}

/// Builds the system: the steps that ran, and the image, in which names and contents can be read.
/// The steps that make the image.
const IMAGE: [&str; 2] = ["small/_root@x86_64:compose", "small/small@x86_64:write"];

fn build(space: &Space) -> (Vec<String>, String) {
    let output = space.osier(&["--offline", "--locked", "build", "small"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let ran = said.lines().filter_map(|line| line.trim_start().strip_prefix("run  "));
    let mut ran: Vec<String> = ran.map(|step| step.trim().to_owned()).collect();
    ran.sort_unstable();
    let image = fs::read(space.project().join("out/small-x86_64/small.cpio")).unwrap();
    (ran, String::from_utf8_lossy(&image).into_owned())
}

fn why(space: &Space, name: &str) -> String {
    space.prints(&["why", name])
}

fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` should be in:\n{said}");
    }
}

#[test]
fn a_file_of_an_overlay_changes_the_image_only() {
    let space = space();
    let (ran, first) = build(&space);
    assert_eq!(ran.len(), 5 + IMAGE.len(), "{ran:?}");
    assert!(first.contains("a message\n") && first.contains("first words\nmiddle\ntop\n"));
    assert_eq!(
        why(&space, "small"),
        "small is built, and nothing that it is built from has changed\n"
    );
    write(&space, "systems/small/overlay/etc/motd", "another message\n");
    says(&why(&space, "top"), &["top is built, and nothing"]);
    says(
        &why(&space, "small"),
        &[
            "small/small@x86_64 depends on small/_root@x86_64, which must be rebuilt first: small/_root@x86_64 is built again because the file etc/motd of the overlay `overlay` changed (systems/small/overlay/etc/motd)",
        ],
    );
    let (ran, image) = build(&space);
    assert_eq!(ran, IMAGE);
    assert!(image.contains("another message\n") && !image.contains("a message\n"));
    // Taken back, it is the first image again.
    write(&space, "systems/small/overlay/etc/motd", "a message\n");
    assert!(build(&space) == (Vec::new(), first));
}

#[test]
fn the_files_of_a_component_go_with_it() {
    let space = space();
    let (_, first) = build(&space);
    assert!(first.contains("usr/share/other\0"));
    replace(&space, "systems/small/system.toml", ", \"other\"", "");
    says(
        &why(&space, "small"),
        &[
            "small/_root@x86_64 is built again because the component `other` is gone (systems/small/system.toml:2)",
        ],
    );
    let (ran, image) = build(&space);
    assert_eq!(ran, IMAGE);
    assert!(!image.contains("usr/share/other") && image.contains("usr/share/top\0"));
}

#[test]
fn an_edit_that_changes_no_output_stops_where_it_is() {
    let space = space();
    let (_, first) = build(&space);
    replace(&space, "recipes/base/recipe.toml", "cp words", "# It is one file.\ncp words");
    let cause =
        "base is built again because the script of install changed (recipes/base/recipe.toml:9)";
    says(&why(&space, "base"), &[cause]);
    says(&why(&space, "top"), &["top depends on middle", "middle depends on base", cause]);
    // A program that reads JSON gets the reason as a value.
    let json = space.prints(&["--json", "why", "top"]);
    let mut events = json.lines().map(|line| serde_json::from_str(line).unwrap());
    let event: serde_json::Value =
        events.find(|event: &serde_json::Value| event["event"] == "why").unwrap();
    let expected = serde_json::json!({
        "reason": "depends_on",
        "chain": ["top", "middle", "base"],
        "because": {
            "reason": "part_changed",
            "component": "base",
            "part": {"kind": "script", "step": "install"},
            "before": null,
            "now": null,
            "place": "recipes/base/recipe.toml:9",
        },
    });
    assert_eq!(event["why"], expected);
    says(&why(&space, "small"), &["small/_root@x86_64 depends on top", cause]);
    let (ran, image) = build(&space);
    assert_eq!(ran, ["base:install"]);
    assert!(image == first);
    says(&why(&space, "top"), &["top is built, and nothing"]);
}

#[test]
fn a_patch_of_a_base_reaches_all_that_uses_it_and_nothing_else() {
    let space = space();
    build(&space);
    let patch = "--- a/words\n+++ b/words\n@@ -1 +1 @@\n-first words\n+patched words\n";
    write(&space, "recipes/base/0001-words.patch", patch);
    replace(&space, "recipes/base/recipe.toml", "patches = []", "patches = [\"*.patch\"]");
    let cause = "base is built again because the file 0001-words.patch is new (recipes/base/0001-words.patch)";
    says(&why(&space, "base"), &[cause]);
    says(&why(&space, "top"), &[cause]);
    says(&why(&space, "other"), &["other is built, and nothing"]);
    let (ran, image) = build(&space);
    let [root, image_step] = IMAGE;
    assert_eq!(
        ran,
        ["base:install", "base:patch", "middle:install", root, image_step, "top:install"]
    );
    assert!(image.contains("patched words\nmiddle\ntop\n") && !image.contains("first words"));
}

#[test]
fn what_composing_noticed_is_told_by_every_build_with_nothing_to_do_as_well() {
    let space = space();
    replace(&space, "systems/small/manifest", "f usr/share/*", "f usr/share/top");
    // An overlay's file replaces that of a component.
    write(&space, "systems/small/overlay/usr/share/top", "mine\n");
    let notes = [
        "    note  no line of the manifest delivers 1 file of component other: usr/share/other [N001]",
        "    note  overlay overlay replaces 1 file of component top: usr/share/top [N002]",
    ];
    for _ in 0..2 {
        let output = space.osier(&["--offline", "--locked", "build", "small"]);
        let said = String::from_utf8(output.stderr).unwrap();
        let told: Vec<&str> = said.lines().filter(|line| line.contains("    note  ")).collect();
        assert_eq!(told, notes, "{said}");
    }
    // Typed, with all that was seen; and in the log of what composed it.
    let json = space.prints(&["--json", "--offline", "--locked", "build", "small"]);
    let events = json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let found = Vec::from_iter(events.filter(|event| event["event"] == "finding"));
    assert_eq!(found.len(), 2, "{json}");
    assert_eq!(
        found[1],
        serde_json::json!({
            "event": "finding",
            "component": "small/_root@x86_64",
            "code": "N002",
            "level": "note",
            "message": "overlay overlay replaces 1 file of component top",
            "place": null,
            "evidence": ["usr/share/top"],
            "hint": "to deliver the other file, remove the overlay's",
        })
    );
    says(
        &space.prints(&["log", "small/_root:compose"]),
        &["note[N002]: overlay overlay replaces 1 file of component top\n    usr/share/top\n"],
    );
    says(&space.prints(&["explain", "N002"]), &["N002: an overlay replaces files"]);
    // What lies beside the manifest alone composes again, and what is mended is not told any more.
    replace(&space, "systems/small/manifest", "f usr/share/top", "f usr/share/*");
    let output = space.osier(&["--offline", "--locked", "build", "small"]);
    assert!(!String::from_utf8(output.stderr).unwrap().contains("component other"));
}

/// A file, what is replaced in it (or else it is made or removed), and what is said.
type Change = (&'static str, Option<(&'static str, &'static str)>, &'static str);

#[test]
fn what_changed_of_an_image_is_named_with_its_place() {
    let space = space();
    assert!(why(&space, "small").starts_with(
        "small/small@x86_64 depends on small/_root@x86_64, which must be rebuilt first: \
         small/_root@x86_64 depends on top, which must be rebuilt first: "
    ));
    build(&space);
    let (system, manifest) = ("systems/small/system.toml", "systems/small/manifest");
    let changes: [Change; 6] = [
        (
            manifest,
            Some(("0644 root root\nf usr", "0644 root root\nd usr 0700 root root\nf usr")),
            "the manifest changed (systems/small/manifest:2)",
        ),
        (
            system,
            Some(("\"none\"", "\"gzip\"\nlevel = 9")),
            "its format changed, from `initramfs none` to `initramfs gzip 9` (systems/small/system.toml:6)",
        ),
        (
            system,
            Some(("\"other\"]", "\"other\", \"middle\"]")),
            "the component `middle` is new (systems/small/system.toml:2)",
        ),
        (
            system,
            Some(("\"top\", \"other\"", "\"other\", \"top\"")),
            "the order of its parts changed (systems/small/system.toml)",
        ),
        (
            "systems/small/overlay/etc/new/file",
            None,
            "the file etc/new/file of the overlay `overlay` is new (systems/small/overlay/etc/new/file)",
        ),
        (
            "systems/small/overlay/etc/issue",
            None,
            "the file etc/issue of the overlay `overlay` is gone (systems/small/overlay/etc/issue)",
        ),
    ];
    for (path, change, cause) in changes {
        let place = space.project().join(path);
        let before = fs::read(&place).ok();
        match (change, &before) {
            (Some((old, new)), _) => replace(&space, path, old, new),
            (None, None) => write(&space, path, "new\n"),
            (None, Some(_)) => fs::remove_file(&place).unwrap(),
        }
        let said = why(&space, "small");
        assert!(said.ends_with(&format!("is built again because {cause}\n")), "{said}");
        match before {
            Some(before) => fs::write(&place, before).unwrap(),
            None => fs::remove_dir_all(place.parent().unwrap()).unwrap(),
        }
        assert_eq!(
            why(&space, "small"),
            "small is built, and nothing that it is built from has changed\n"
        );
    }
}

/// Keeps a file mapped, and writes `X` over its first byte when a line comes in: through the mapping alone.
const MAPPED: &str = "
import mmap, sys
file = open(sys.argv[1], 'r+b')
mapped = mmap.mmap(file.fileno(), 0)
mapped[0] = mapped[0]
print(flush=True)
sys.stdin.readline()
mapped[0] = ord('X')
print(flush=True)
sys.stdin.readline()
";

/// A program that has a file mapped; none where this machine has no Python.
struct Mapped(std::process::Child);

impl Mapped {
    fn new(file: &Path) -> Option<Self> {
        let piped = std::process::Stdio::piped;
        let mut command = Command::new("python3");
        command.args(["-c", MAPPED]).arg(file).stdin(piped()).stdout(piped());
        let mut mapped = Self(command.spawn().ok()?);
        mapped.answer();
        Some(mapped)
    }

    fn answer(&mut self) {
        let mut byte = [0];
        std::io::Read::read_exact(self.0.stdout.as_mut().unwrap(), &mut byte).unwrap();
    }

    fn change(&mut self) {
        std::io::Write::write_all(self.0.stdin.as_mut().unwrap(), b"\n").unwrap();
        self.answer();
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_rehash_sees_what_was_changed_through_a_shared_mapping() {
    let space = space();
    // On tmpfs a write through a mapping never moves a file's times.
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else { return };
    let moved = |path: &str, name: &str| {
        let (place, new) = (space.project().join(path), memory.path().join(name));
        assert!(Command::new("cp").arg("-R").args([&place, &new]).status().unwrap().success());
        fs::remove_dir_all(&place).unwrap();
        std::os::unix::fs::symlink(&new, &place).unwrap();
        new
    };
    let source = moved("recipes/base/src", "src").join("words");
    let overlay = moved("systems/small/overlay", "overlay").join("etc/motd");
    let (Some(mut one), Some(mut two)) = (Mapped::new(&source), Mapped::new(&overlay)) else {
        return;
    };
    // Until the files have aged they are read again each time.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    build(&space);
    one.change();
    two.change();
    assert_eq!(fs::read_to_string(&source).unwrap(), "Xirst words\n");
    says(&why(&space, "small"), &["small is built, and nothing that it is built from has changed"]);
    let said = space.prints(&["why", "small", "--rehash"]);
    says(&said, &["base is built again because"]);
    let output = space.osier(&["--offline", "--locked", "build", "small", "--rehash"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let image = fs::read(space.project().join("out/small-x86_64/small.cpio")).unwrap();
    let image = String::from_utf8_lossy(&image);
    says(&image, &["Xirst words\nmiddle\ntop\n", "X message\n"]);
    // What was read anew is what counts from now on.
    assert_eq!(build(&space).0, [""; 0]);
}

/// The kernel marks what a step removed, and takes back a name of that mark when the step is over.
#[test]
fn a_step_that_removed_a_file_of_an_earlier_one_does_not_run_again() {
    const TREE: &str = "name = \"tree\"
version = \"1\"
[[step]]
name = \"make\"
run = 'mkdir -p in; echo one > in/one; echo two > in/two; ln -s one in/link'
[[step]]
name = \"prune\"
run = 'rm in/two in/link; cat in/one > $OUTPUT/one'
";
    let user = |text: &str| {
        format!(
            "name = \"user\"\nversion = \"1\"\n[[step]]\nname = \"install\"\nfrom = \"tree:prune\"\n\
             run = 'cat in/one > $OUTPUT/{text}'\n"
        )
    };
    let space = Space::new(&[
        ("osier.toml", "name = \"p\"\n"),
        SCRIPT_KIND,
        ("recipes/tree.toml", TREE),
        ("recipes/user.toml", &user("first")),
    ]);
    pin_programs(&space);
    let build = || {
        let output = space.osier(&["--offline", "--locked", "build", "user"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    };
    let said = build();
    assert!(said.contains("run  tree:prune"), "{said}");
    write(&space, "recipes/user.toml", &user("second"));
    let said = build();
    assert!(said.contains("run  user:install") && !said.contains("run  tree"), "{said}");
}
