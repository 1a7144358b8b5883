//! What a person is told when the network gives something wrong: code, exit status, and nothing half-written.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use osier_store::Digest;
use server::{Reply, Server};

/// The base list of every build environment, as a lock that pins it to nothing: no package has to be fetched.
fn locked_environment(space: &Space) -> String {
    let text = space.fails(&["--locked", "build", "a"], 2, &["error[L001]"]);
    let line = text.lines().find(|line| line.contains("the build environment ")).unwrap();
    let request = line.split("the build environment ").nth(1).unwrap();
    let request = request.split(" from bookworm").next().unwrap();
    let request: Vec<String> = request.split(' ').map(|name| format!("\"{name}\"")).collect();
    format!(
        "version = 1\n[[environment]]\nsuite = \"bookworm\"\narchitecture = \"amd64\"\nrequest = [{}]\npackages = []\n",
        request.join(", ")
    )
}

/// A project with one recipe named `a`, and a store of its own.
struct Space {
    folder: tempfile::TempDir,
    mirror: String,
}

impl Space {
    /// A recipe with this source, which a lock with an environment and these further entries belongs to.
    fn new(source: &str, entries: &str) -> Self {
        let space = Self::bare(source, "http://127.0.0.1:9/debian");
        let lock = locked_environment(&space);
        fs::write(space.lock(), format!("{lock}{entries}")).unwrap();
        space
    }

    /// The same without a lock.
    fn bare(source: &str, mirror: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recipes = folder.path().join("project/recipes");
        fs::create_dir_all(&recipes).unwrap();
        let recipe = format!(
            "name = \"a\"\nversion = \"1\"\n{source}\n[[step]]\nname = \"install\"\nrun = \"echo > $OUTPUT/a\"\n"
        );
        fs::write(recipes.join("a.toml"), recipe).unwrap();
        Self { folder, mirror: mirror.to_owned() }
    }

    fn lock(&self) -> PathBuf {
        self.folder.path().join("project/osier.lock")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn osier(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_osier"))
            .args(words)
            .current_dir(self.folder.path().join("project"))
            .env("OSIER_STORE", self.store())
            .env("OSIER_DEBIAN_MIRROR", &self.mirror)
            .env("no_proxy", "127.0.0.1")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Runs it: it must end with this status, say each of these words, and leave lock and store as they were.
    fn fails(&self, words: &[&str], status: i32, says: &[&str]) -> String {
        let before = fs::read(self.lock()).ok();
        let (found, text) = self.osier(words);
        assert_eq!(found, Some(status), "{text}");
        for say in says {
            assert!(text.contains(say), "should say {say}:\n{text}");
        }
        assert_eq!(fs::read(self.lock()).ok(), before, "the lock was changed:\n{text}");
        assert_eq!(files(&self.store().join("blobs")), 0, "something was taken as done:\n{text}");
        assert_eq!(files(&self.store().join("work")), 0, "something was left behind:\n{text}");
        text
    }
}

/// Counts the files below a folder.
fn files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let entries = entries.map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

/// The SHA-256 of `hello\n`.
const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

fn url(places: &[&str], sha256: &str) -> String {
    let places: Vec<String> = places.iter().map(|place| format!("\"{place}\"")).collect();
    format!("source = {{ url = [{}], sha256 = \"{sha256}\", unpack = false }}", places.join(", "))
}

#[test]
fn places_that_give_nothing() {
    let server = Server::start(|target| match target {
        "/loop" => Reply::redirect("/loop"),
        "/cut" => Reply::cut(b"hel", 6),
        "/broken" => Reply::status(500),
        _ => Reply::status(404),
    });
    let cases = [
        ("http://127.0.0.1:9/a".to_owned(), "connection refused"),
        (server.url("/loop"), "redirects"),
        (server.url("/gone"), "not found"),
        (server.url("/broken"), "status 500"),
        (server.url("/cut"), "cut at offset 3"),
    ];
    for (place, words) in cases {
        let space = Space::new(&url(&[&place], HELLO), "");
        let text = space.fails(&["build", "a"], 3, &["error[F001]", words, &place]);
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn another_content_is_told_with_both_hashes() {
    let server = Server::start(|_| Reply::of(b"evil\n"));
    let evil = "886b67480dbe73b406ad83a1dd6d9596f93089d90c220ccfc91944c95f1c68c4";
    let space = Space::new(&url(&[&server.url("/a")], HELLO), "");
    space.fails(&["build", "a"], 3, &["error[F001]", HELLO, evil]);
}

#[test]
fn a_place_that_stops_sending_gives_way_to_the_next() {
    let server = Server::start(|target| match target {
        "/slow" => Reply::stalled(b"hel", 6),
        _ => Reply::of(b"hello\n"),
    });
    let space = Space::new(&url(&[&server.url("/slow"), &server.url("/good")], HELLO), "");
    let (status, text) = space.osier(&["fetch", "a"]);
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(server.requests(), ["/slow", "/good"]);
    assert_eq!(files(&space.store().join("blobs")), 1);
}

#[test]
fn patches_can_be_fetched_and_are_put_on_the_first_source() {
    let patch = "--- a/n\n+++ b/n\n@@ -1 +1 @@\n-old\n+new\n";
    let server = Server::start(|target| match target {
        "/a-1-fix.patch" => Reply::of(b"--- a/n\n+++ b/n\n@@ -1 +1 @@\n-old\n+new\n"),
        _ => Reply::status(404),
    });
    let sha256 = Digest::of(patch.as_bytes()).to_string();
    let source = format!(
        "source = [{{ path = \"src\" }}, {{ name = \"fixes\", url = \"{}\", sha256 = \"{sha256}\", unpack = false }}]\n\
         patches = [\"fixes:*.patch\"]",
        server.url("/a-{version}-fix.patch")
    );
    let space = Space::new("", "");
    let project = space.folder.path().join("project");
    fs::create_dir_all(project.join("recipes/a/src")).unwrap();
    let recipe_file = project.join("recipes/a/recipe.toml");
    let plain = fs::read_to_string(project.join("recipes/a.toml")).unwrap();
    fs::remove_file(project.join("recipes/a.toml")).unwrap();
    let sound = plain.replace("\n\n", &format!("\n{source}\n"));
    fs::write(&recipe_file, &sound).unwrap();
    fs::write(project.join("recipes/a/src/n"), "old\n").unwrap();
    // The environment has no shell for the step that comes then.
    let (status, text) = space.osier(&["build", "a"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("a:install"), "{text}");
    let (status, text) = space.osier(&["log", "a:patch"]);
    assert_eq!(status, Some(0), "{text}");
    let layers = fs::read_dir(space.store().join("layers")).unwrap();
    let patched = layers.map(|layer| layer.unwrap().path().join("build/a/n"));
    let texts: Vec<String> = patched.filter_map(|file| fs::read_to_string(file).ok()).collect();
    assert!(texts.contains(&"new\n".to_owned()), "{texts:?}");

    // One that is for another version, or not there, is told like a patch that does not fit.
    for (old, new, says) in [
        ("version = \"1\"", "version = \"2\"", "it is for version 1, and `a` is 2"),
        ("fixes:*.patch", "fixes:*.diff", "no file of the source `fixes` has a matching name"),
    ] {
        let changed = sound.replace(old, new).replace("a-{version}-fix", "a-1-fix");
        fs::write(&recipe_file, changed).unwrap();
        let (status, text) = space.osier(&["build", "a"]);
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains("a:patch") && text.contains(says), "{text}");
    }
    for (patches, code, says) in [
        ("[\"fix:*.patch\"]", "R027", "unknown source `fix`"),
        ("[\"b.patch\", \"fixes:*\"]", "R028", "name it first"),
    ] {
        fs::write(&recipe_file, sound.replace("[\"fixes:*.patch\"]", patches)).unwrap();
        let (status, text) = space.osier(&["build", "a"]);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains(code) && text.contains(says), "{text}");
    }
}

#[test]
fn a_damaged_archive_of_the_right_hash_stops_the_unpacking() {
    let server = Server::start(|_| Reply::of(b"hello\n"));
    let source = format!(
        "source = {{ url = \"{}\", sha256 = \"{HELLO}\" }}",
        server.url("/a-{version}.tar.gz")
    );
    let space = Space::new(&source, "");
    let (status, text) = space.osier(&["build", "a"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("error[S006]: a:unpack") && text.contains("a-1.tar.gz"), "{text}");
    assert_eq!(files(&space.store().join("layers")), 0, "a layer was kept:\n{text}");
    assert_eq!(files(&space.store().join("work")), 0, "something was left behind:\n{text}");
}

#[test]
fn a_pin_that_no_mirror_serves_names_the_command_that_moves_it() {
    let server = Server::start(|_| Reply::status(404));
    let pinned = |size: u64| {
        format!(
            "[[source]]\nrecipe = \"a\"\nname = \"a\"\ndebian = \"hello\"\nversion = \"2.10-3\"\nsuite = \"bookworm\"\nfiles = [{{ name = \"hello_2.10.orig.tar.gz\", path = \"pool/main/h/hello/hello_2.10.orig.tar.gz\", size = {size}, sha256 = \"{HELLO}\" }}]\n"
        )
    };
    let source = "source = { debian = \"hello\" }";
    let mut space = Space::new(source, &pinned(6));
    space.mirror = server.url("/debian");
    space.fails(&["build", "a"], 3, &["error[F005]", "run `osier update a`"]);
    space.fails(&["fetch", "a"], 3, &["error[F005]", "run `osier update a`"]);
    assert!(server.requests().contains(&"/debian/pool/main/h/hello/hello_2.10.orig.tar.gz".into()));
    space.fails(&["--offline", "build", "a"], 3, &["error[F003]", "osier fetch"]);

    // A disk that is too small is known before anything is asked for.
    let mut space = Space::new(source, &pinned(1 << 60));
    space.mirror = server.url("/too-small");
    space.fails(&["build", "a"], 4, &["error[F006]", "the build needs ", "is free"]);
    assert!(!server.requests().iter().any(|target| target.starts_with("/too-small")));
}

#[test]
fn an_index_that_nobody_vouches_for_makes_no_pins() {
    let foreign = include_bytes!("InRelease-of-an-unknown-key");
    let server = Server::start(move |target| match target {
        target if target.starts_with("/unsigned/dists") => Reply::of(b"Suite: oldstable\n"),
        target if target.starts_with("/foreign/dists") => Reply::of(foreign),
        target if target.starts_with("/portal/") => Reply::of(b"<html>Please log in</html>"),
        target if target.starts_with("/loop/") => Reply::redirect(target),
        _ => Reply::status(404),
    });
    for (mirror, code, words) in [
        ("/unsigned", "error[F004]", "dists/bookworm/InRelease"),
        ("/foreign", "error[F004]", "dists/bookworm/InRelease"),
        ("/portal", "error[F004]", "dists/bookworm/InRelease"),
        ("/loop", "error[F001]", "redirects"),
        ("/empty", "error[F001]", "not found"),
    ] {
        let space = Space::bare("", &server.url(mirror));
        space.fails(&["build", "a"], 3, &[code, words]);
        assert!(!space.lock().exists());
    }
    let space = Space::bare("", "not an address");
    space.fails(&["build", "a"], 3, &["error[F002]", "OSIER_DEBIAN_MIRROR"]);
}

#[test]
fn git_sources_that_cannot_be_had_are_known_before_git_is_fetched() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    for (address, words) in [
        ("ssh://git@example.org/a", "does not use your keys"),
        ("file:///nowhere/a", "/nowhere/a is not a folder"),
    ] {
        let source = format!("source = {{ git = \"{address}\", commit = \"{commit}\" }}");
        let space = Space::new(&source, "");
        space.fails(&["build", "a"], 3, &["error[F001]", words, commit]);
        space.fails(&["--offline", "build", "a"], 3, &["error[F003]", commit]);
    }
}

/// A tar archive of `top/dir/file`, and its SHA-256; made by the machine's tar.
fn archive() -> (Vec<u8>, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("top/dir")).unwrap();
    fs::write(folder.path().join("top/dir/file"), "words\n").unwrap();
    let made =
        Command::new("tar").arg("-c").arg("-C").arg(folder.path()).arg("top").output().unwrap();
    assert!(made.status.success());
    let digest = Digest::of(&made.stdout).to_string();
    (made.stdout, digest)
}

/// Builds, and expects that a step fails with these words.
fn stops(space: &Space, says: &[&str]) {
    let (status, text) = space.osier(&["build", "a"]);
    assert_eq!(status, Some(1), "{text}");
    for say in says {
        assert!(text.contains(say), "should say {say}:\n{text}");
    }
}

#[test]
fn an_archive_is_told_by_its_content_whatever_the_address() {
    let (bytes, sha256) = archive();
    let server = Server::start(move |_| Reply::of(&bytes));
    for path in
        ["/download?id=7&file=x.zip", "/archive.zip", "/releases/download", "/a.tar.gz?raw=true#x"]
    {
        let source =
            format!("source = {{ url = \"{}\", sha256 = \"{sha256}\" }}", server.url(path));
        let space = Space::new(&source, "");
        let (_, text) = space.osier(&["build", "a"]);
        assert!(!text.contains("S006"), "{path}: {text}");
        let laid =
            Command::new("find").arg(space.store()).args(["-path", "*/build/a/dir/file"]).output();
        let laid = String::from_utf8(laid.unwrap().stdout).unwrap();
        let place = laid.lines().next().unwrap_or_else(|| panic!("{path}: {text}"));
        assert_eq!(fs::read_to_string(place).unwrap(), "words\n");
    }
    let lock = |format: &str, url: &str| {
        let source =
            format!("source = {{ url = \"{url}\", sha256 = \"{sha256}\", format = \"{format}\" }}");
        Space::new(&source, "")
    };
    let url = server.url("/download?id=7");
    let said =
        "download should be tar, compressed with xz, but is not compressed; correct `format`";
    stops(&lock("tar.xz", &url), &["error[S006]", said]);
}

#[test]
fn an_archive_of_several_top_folders_is_told_with_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["one", "two"] {
        fs::create_dir(folder.path().join(path)).unwrap();
        fs::write(folder.path().join(path).join("file"), path).unwrap();
    }
    let made =
        Command::new("tar").arg("-c").arg("-C").arg(folder.path()).args(["one", "two"]).output();
    let bytes = made.unwrap().stdout;
    let sha256 = Digest::of(&bytes).to_string();
    let server = Server::start(move |_| Reply::of(&bytes));
    let source = format!("source = {{ url = \"{}\", sha256 = \"{sha256}\"", server.url("/a.tar"));
    let space = Space::new(&format!("{source} }}"), "");
    stops(&space, &["error[S006]", "a.tar", "`two/", "is outside `one`; write `strip = 0`"]);
    let space = Space::new(&format!("{source}, strip = 0 }}"), "");
    let (_, text) = space.osier(&["build", "a"]);
    assert!(!text.contains("S006"), "{text}");
}

#[test]
fn a_download_of_unknown_size_has_a_bound() {
    let server = Server::start(|_| Reply::cut(b"x", 5 << 30));
    let source = format!("source = {{ url = \"{}\", sha256 = \"{HELLO}\" }}", server.url("/huge"));
    let space = Space::new(&source, "");
    space.fails(
        &["build", "a"],
        3,
        &["error[F001]", "larger than the limit of", "write its `size`"],
    );
    assert_eq!(server.requests(), ["/huge"], "it is asked once");
}

#[test]
fn each_signal_that_ends_osier_does_so_alike_while_it_fetches() {
    let server = Server::start(|_| Reply::stalled(b"hel", 6));
    for signal in ["-INT", "-TERM", "-HUP"] {
        let space = Space::new(&url(&[&server.url("/slow")], HELLO), "");
        let asked = server.requests().len();
        // Whoever runs the tests in the background may have them ignored.
        let child = Command::new("env")
            .args(["--default-signal", env!("CARGO_BIN_EXE_osier")])
            .args(["--json", "build", "a"])
            .current_dir(space.folder.path().join("project"))
            .env("OSIER_STORE", space.store())
            .env("no_proxy", "127.0.0.1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while server.requests().len() == asked && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(
            Command::new("kill")
                .arg(signal)
                .arg(child.id().to_string())
                .status()
                .unwrap()
                .success()
        );
        let begun = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20), "{signal}");
        assert_eq!(output.status.code(), Some(130), "{signal}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("error[X130]: interrupted"), "{signal}: {said}");
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.lines().last().unwrap().contains("\"code\":\"X130\""), "{signal}: {told}");
        // What has come stays for the next run.
        assert_eq!(files(&space.store().join("blobs")), 0);
    }
}

#[test]
fn who_starts_osier_with_a_signal_ignored_keeps_it_so() {
    let server = Server::start(|_| Reply::stalled(b"hel", 6));
    let space = Space::new(&url(&[&server.url("/slow"), &server.url("/slow")], HELLO), "");
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$0\" fetch a", env!("CARGO_BIN_EXE_osier")])
        .current_dir(space.folder.path().join("project"))
        .env("OSIER_STORE", space.store())
        .env("no_proxy", "127.0.0.1")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while server.requests().is_empty() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None);
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_file_that_is_at_no_address_any_more_says_what_to_do() {
    let server = Server::start(|_| Reply::status(404));
    let space = Space::new(&url(&[&server.url("/gone")], HELLO), "");
    let says = ["error[F001]", "name another address of the same file in the recipe `a`"];
    space.fails(&["build", "a"], 3, &says);
}
