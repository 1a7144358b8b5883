//! The life of a step: it fails, is looked at, entered, repaired by hand, patched; whole builds of a small component, whose compiler
//! is a script.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use std::fs;

use crate::changes::{SCRIPT_KIND, pin_programs};
use crate::space::Space;

const RECIPE: &str = "name = \"hello\"\nversion = \"1.0\"\nsource = { path = \"src\" }\n";

/// What compiles says where a mistake is, as compilers do.
const STEPS: &str = "[[step]]\nname = \"build\"\nrun = '''\nsh ./compile\n'''\n[[step]]\nname = \"install\"\n\
    run = 'mkdir -p \"$OUTPUT/bin\"; cp hello \"$OUTPUT/bin/hello\"'\n";
const COMPILE: &str = "number=0\nwhile read -r line; do\n  number=$((number + 1))\n  case $line in *nothing*)\n\
    echo \"hello.c:$number:3: error: unknown word: $line\" >&2; exit 2;;\n  esac\ndone < hello.c\ncp hello.c hello\n";
const HELLO: &str = "#include <words>\nsay hello\nend\n";
const MISTAKE: &str = "#include <words>\nsay nothing\nend\n";

const BUILD: [&str; 4] = ["--offline", "--locked", "build", "hello"];

fn space() -> Space {
    let space = Space::new(&[
        ("osier.toml", "name = \"p\"\n"),
        SCRIPT_KIND,
        ("recipes/hello/recipe.toml", &format!("{RECIPE}{STEPS}")),
        ("recipes/hello/src/compile", COMPILE),
        ("recipes/hello/src/hello.c", HELLO),
    ]);
    pin_programs(&space);
    space
}

fn write(space: &Space, path: &str, text: &str) {
    let place = space.project().join("recipes/hello").join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(place, text).unwrap();
}

/// Builds the component: its digest, and the steps that ran.
fn build(space: &Space, words: &[&str]) -> (String, Vec<String>) {
    let output = space.osier(&[words, &BUILD[..]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let digest = text.lines().find_map(|line| line.strip_prefix("hello:main ")).unwrap();
    let ran = said.lines().filter_map(|line| line.trim_start().strip_prefix("run  hello:"));
    (digest.to_owned(), ran.map(|step| step.trim().to_owned()).collect())
}

/// Fails to build the component; gives the screen.
fn fails(space: &Space, status: i32, parts: &[&str]) -> String {
    let (found, said) = space.fails(&BUILD);
    assert_eq!(found, status, "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` should be in:\n{said}");
    }
    said
}

#[test]
fn a_failed_step_is_shown_logged_and_tried_again_from_the_clean_layer_below() {
    let space = space();
    let (first, ran) = build(&space, &[]);
    assert_eq!(ran, ["unpack", "build", "install"]);
    assert_eq!(build(&space, &[]), (first.clone(), Vec::new()));

    write(&space, "src/hello.c", MISTAKE);
    let why = space.prints(&["why", "hello"]);
    assert!(why.contains("the source folder hello changed"), "{why}");
    let screen = fails(
        &space,
        1,
        &["error[S001]: hello:build ended with exit status 2", "first     hello.c:2:3: error: "],
    );
    assert!(screen.contains("command   sh ./compile"), "{screen}");
    assert!(screen.contains("osier shell hello:build"), "{screen}");
    let log = space.prints(&["log", "hello:build"]);
    assert!(log.contains("+ sh ./compile") && log.contains("error: unknown word"), "{log}");
    let status = space.prints(&["status", "hello"]);
    assert!(status.contains("hello  failed: hello:build"), "{status}");
    let again = fails(&space, 1, &["run  hello:build"]);
    assert!(!again.contains("hello:unpack"), "{again}");

    write(&space, "src/hello.c", HELLO);
    assert_eq!(build(&space, &[]), (first, Vec::new()), "it is there from before");
}

#[test]
fn a_shell_is_where_the_step_was_and_what_it_repairs_is_no_result() {
    let space = space();
    write(&space, "src/hello.c", MISTAKE);
    fails(&space, 1, &["error[S001]"]);
    // The folder, the user, the machine's name and the variables of the step.
    let script = "pwd; while read -r key own rest; do [ \"$key\" != Uid: ] || echo \"uid $own\"; done < /proc/self/status; \
                  cat /proc/sys/kernel/hostname; echo \"$NAME $SOURCE\"; head -n 2 hello.c";
    let seen = space.prints(&["shell", "hello:build", "--", "sh", "-c", script]);
    let expected =
        "/build/hello\nuid 0\nosier\nhello /build/hello\n#include <words>\nsay nothing\n";
    assert_eq!(seen, expected);
    // The status of the command is told.
    let (status, said) = space.fails(&["shell", "hello:build", "--", "sh", "-c", "exit 7"]);
    assert!(status == 1 && said.contains("exit status 7"), "{said}");

    let repair =
        ["shell", "hello", "--then", "retry", "--", "sh", "-c", "echo say hello > hello.c"];
    let text = space.prints(&repair);
    assert!(text.contains("(made by hand, not recorded)"), "{text}");
    fails(&space, 1, &["hello:build ended with exit status 2"]);
}

#[test]
fn a_patch_is_applied_refused_or_does_not_fit_and_leaves_nothing_behind() {
    let space = space();
    let (first, _) = build(&space, &[]);
    let patch = |old: &str| {
        format!(
            "--- a/hello.c\n+++ b/hello.c\n@@ -1,3 +1,3 @@\n #include <words>\n-{old}\n+say more\n end\n"
        )
    };
    write(&space, "recipe.toml", &format!("{RECIPE}patches = [\"patches/*.patch\"]\n{STEPS}"));
    fails(&space, 2, &["error[R019]", "patches/*.patch"]);
    write(&space, "patches/0001-words.patch", &patch("say hello"));
    let (patched, ran) = build(&space, &[]);
    assert_ne!(patched, first);
    assert_eq!(ran, ["patch", "build", "install"]);
    write(&space, "patches/hello-2.0-more.patch", &patch("say more"));
    fails(&space, 2, &["is for version 2.0, and `hello` is 1.0"]);
    fs::remove_file(space.project().join("recipes/hello/patches/hello-2.0-more.patch")).unwrap();
    write(&space, "patches/0001-words.patch", &patch("say other"));
    let unfit = "hello.c: hunk 1 (line 3 of the patch) does not fit at line 1";
    fails(&space, 1, &["hello:patch", unfit]);
    write(&space, "recipe.toml", &format!("{RECIPE}{STEPS}"));
    assert_eq!(build(&space, &[]), (first, Vec::new()));
}

#[test]
fn without_namespaces_root_gets_the_same_bytes_and_anybody_else_is_told() {
    let space = space();
    let (first, _) = build(&space, &[]);
    if !rustix::process::geteuid().is_root() {
        let (status, said) = space.fails(&[&["--degraded"], &BUILD[..]].concat());
        assert!(status != 0 && said.contains("root"), "{status} {said}");
        return;
    }
    let package = space.folder.path().join("programs.deb");
    fs::copy(crate::changes::programs(), &package).unwrap();
    space.prints(&["--degraded", "fetch", "--import", package.to_str().unwrap()]);
    let (degraded, ran) = build(&space, &["--degraded"]);
    assert_eq!((degraded, ran.len()), (first, 3));
    let (status, said) = space.fails(&["--degraded", "boot", "initrd"]);
    assert!(status == 2 && said.contains("degraded mode cannot boot systems"), "{said}");
}

#[test]
fn the_command_line_says_how_many_jobs_there_are() {
    let space = space();
    let steps = "[[step]]\nname = \"install\"\njobs = \"share\"\nrun = 'echo \"$JOBS\" > \"$OUTPUT/jobs\"'\n";
    for jobs in ["1", "3"] {
        write(&space, "recipe.toml", &format!("{RECIPE}{steps}# {jobs}\n"));
        write(&space, "src/hello.c", jobs);
        let out = format!("out-{jobs}");
        let said = space.prints(&[&["-j", jobs, "--json"], &BUILD[..], &["--out", &out]].concat());
        let events =
            said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let ended = Vec::from_iter(events.filter(|event| event["event"] == "steps_ended"));
        assert!(ended.len() == 1 && ended[0]["utilisation"].is_f64(), "{said}");
        let seen = fs::read_to_string(space.project().join(out).join("main/jobs")).unwrap();
        assert_eq!(seen, format!("{jobs}\n"));
    }
}
