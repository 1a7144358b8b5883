//! What reaches a person's terminal: foreign text is shown, never obeyed.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use std::fs;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::changes::{SCRIPT_KIND, pin_programs};
use crate::space::Space;

/// A window's title, the clipboard, a cleared screen, the cursor moved, the 8-bit forms of these, a
/// backspace, a carriage return, DEL, an override of direction and a bell.
const NASTY: &str = "\x1b]0;owned\x07\x1b]52;c;ZXZpbA==\x1b\\\u{1b}[2J\x1b[9;9H\x1bc\u{9b}2J\u{9d}0;c1\u{9c}x\u{8}y\rz\u{7f}\u{202e}rtl\u{2066}";
/// The same as it is shown.
const SHOWN: &str = "\\u{1b}]0;owned\\u{7}\\u{1b}]52;c;ZXZpbA==\\u{1b}\\\\u{1b}[2J\\u{1b}[9;9H\\u{1b}c\\u{9b}2J\\u{9d}0;c1\\u{9c}x\\u{8}y\\rz\\u{7f}\\u{202e}rtl\\u{2066}";

/// A step that prints it all, colours too, and fails.
fn failing() -> Space {
    let script = format!("cat words\necho 'a.c:1: error: {NASTY}' >&2\nexit 3");
    let quoted = serde_json::to_string(&script).unwrap().replace('\u{7f}', "\\u007f");
    let recipe = format!(
        "name = \"a\"\nsource = {{ path = \"src\" }}\n[[step]]\nname = \"install\"\nrun = {quoted}\n"
    );
    let words = format!("\x1b[31mred\x1b[0m {NASTY}\ttab\r\n");
    let space = Space::new(&[
        ("osier.toml", "name = \"p\"\n"),
        SCRIPT_KIND,
        ("recipes/a/recipe.toml", &recipe),
        ("recipes/a/src/words", &words),
    ]);
    pin_programs(&space);
    space
}

/// Runs osier on a terminal of its own: the exit status, and the bytes that reached the terminal.
fn on_terminal(space: &Space, words: &[&str]) -> (Option<i32>, Vec<u8>) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let screen = openpt(flags).unwrap();
    unlockpt(&screen).unwrap();
    let terminal = ioctl_tiocgptpeer(&screen, flags).unwrap();
    let size = Winsize { ws_row: 24, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&screen, size).unwrap();
    let mut command = space.command(words);
    command.env("TERM", "xterm").stdin(Stdio::null());
    command.stdout(Stdio::from(terminal.try_clone().unwrap())).stderr(Stdio::from(terminal));
    let mut child = command.spawn().unwrap();
    // The command holds the last ends of the terminal in this process.
    drop(command);
    let (mut seen, mut screen) = (Vec::new(), fs::File::from(screen));
    let mut buffer = [0; 4096];
    // The end of a terminal is an error to its reader (EIO).
    while let Ok(count @ 1..) = screen.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..count]);
    }
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), None);
    (status.code(), seen)
}

/// Takes out what osier itself sends to a terminal: colours, and what redraws its progress.
fn without_own(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        out.push_str(&rest[..at]);
        rest = &rest[at + 2..];
        let length = rest.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap();
        match (&rest[..length], rest.as_bytes()[length]) {
            (_, b'm') | ("2" | "0" | "", b'K') | ("1" | "", b'A' | b'B') => {}
            other => panic!("osier does not send {other:?}: {text:?}"),
        }
        rest = &rest[length + 1..];
    }
    out.push_str(rest);
    out
}

/// Checks that nothing foreign is obeyed, and gives what is seen.
fn safe(seen: &[u8]) -> String {
    let text = without_own(std::str::from_utf8(seen).unwrap());
    let obeyed =
        |c: char| c.is_control() && !"\r\n\t".contains(c) || "\u{202e}\u{2066}".contains(c);
    assert!(!text.contains(obeyed), "{text:?}");
    text
}

fn safe_at(space: &Space, words: &[&str], status: i32) -> String {
    let (found, seen) = on_terminal(space, words);
    let text = safe(&seen);
    assert_eq!(found, Some(status), "{text}");
    text
}

#[test]
fn what_a_failed_step_printed_is_shown_and_not_obeyed() {
    let space = failing();
    let build = ["--offline", "--locked", "build", "a"];
    let seen = safe_at(&space, &build, 1);
    for wanted in [
        format!("  first     a.c:1: error: {SHOWN} (line "),
        format!("    | a.c:1: error: {SHOWN}"),
        format!("    | \\u{{1b}}[31mred\\u{{1b}}[0m {SHOWN}\ttab"),
    ] {
        assert!(seen.contains(&wanted), "{wanted}\n{seen}");
    }
    // In a pipe, too: what writes it to a terminal later is no wiser.
    let (status, text) = space.fails(&build);
    assert_eq!(status, 1);
    assert_eq!(safe(text.as_bytes()), text);
    assert!(text.contains(SHOWN), "{text}");
}

#[test]
fn a_log_keeps_its_colours_on_a_terminal_and_its_bytes_in_a_pipe() {
    let space = failing();
    assert_eq!(space.fails(&["--offline", "--locked", "build", "a"]).0, 1);
    let (status, seen) = on_terminal(&space, &["log", "a:install"]);
    assert_eq!(status, Some(0));
    let text = String::from_utf8(seen.clone()).unwrap();
    assert!(text.contains(&format!("\x1b[31mred\x1b[0m {SHOWN}\ttab\r")), "{text:?}");
    assert!(text.ends_with("\x1b[0m"), "colours end with the log: {text:?}");
    // The terminal itself makes CRLF of each line end.
    let text = safe(&seen).replace("\r\r\n", "").replace("\r\n", "");
    assert!(!text.contains('\r'), "{text:?}");
    let raw = space.osier(&["log", "a:install"]).stdout;
    let words = format!("\x1b[31mred\x1b[0m {NASTY}\ttab\r\n");
    assert!(String::from_utf8(raw).unwrap().contains(&words), "a log is data in a pipe");
}

#[test]
fn json_holds_the_data_and_nothing_that_a_terminal_obeys() {
    let space = failing();
    let words = ["--json", "--offline", "--locked", "build", "a"];
    let output = space.osier(&words);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(safe(text.as_bytes()), text);
    let events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed = events.iter().find(|event| event["event"] == "step_failed").unwrap();
    assert_eq!(failed["failure"]["first_error"]["text"], format!("a.c:1: error: {NASTY}"));
    safe_at(&space, &words, 1);
}

#[test]
fn names_are_shown_and_not_obeyed() {
    let space = failing();
    // A name's slash would be a folder's, and no name has it.
    let (name, shown) = (NASTY.replace('/', ""), SHOWN.replace('/', ""));
    // What is typed, as a component, a code, a verb, an option.
    for words in [
        ["build", &name],
        ["explain", &name],
        ["why", &name],
        [&name, "a"],
        ["log", &format!("a:{name}")],
    ] {
        let seen = safe_at(&space, &words, 2);
        // A code is looked for in capitals.
        assert!(seen.to_lowercase().contains(&shown.to_lowercase()), "{seen}");
    }
    let seen = safe_at(&space, &["--\u{9b}2J\x1b]0;x\x07", "a"], 2);
    assert!(seen.contains("--\\u{9b}2J\\u{1b}]0;x\\u{7}"), "{seen}");
    // What a recipe is named in itself, and the file that it lies in.
    let escaped = serde_json::to_string(&name).unwrap().replace('\u{7f}', "\\u007f");
    let recipe = space.project().join(format!("recipes/{name}.toml"));
    fs::write(&recipe, format!("name = {escaped}\n")).unwrap();
    safe_at(&space, &["build", &name], 2);
    fs::remove_file(recipe).unwrap();
    // A file of a step and one of an overlay that the manifest does not deliver.
    let install = format!("mkdir -p \"$OUTPUT/usr\"\necho > \"$OUTPUT/usr/{name}\"");
    let install = serde_json::to_string(&install).unwrap().replace('\u{7f}', "\\u007f");
    let files = [
        ("recipes/a/recipe.toml".to_owned(), format!("name = \"a\"\n[[step]]\nname = \"install\"\nrun = {install}\n")),
        (
            "systems/small/system.toml".to_owned(),
            "name = \"small\"\ncomponents = [\"a\"]\noverlays = [\"overlay\"]\nmanifest = \"manifest\"\n[[image]]\nname = \"small\"\nformat = \"initramfs\"\n".to_owned(),
        ),
        ("systems/small/manifest".to_owned(), "f usr/nothing 0644 root root\n".to_owned()),
        (format!("systems/small/overlay/etc/{name}"), "text\n".to_owned()),
    ];
    for (path, text) in &files {
        let place = space.project().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
    }
    let seen = safe_at(&space, &["--offline", "--locked", "build", "small"], 2);
    assert!(seen.contains("error[I0"), "{seen}");
    fs::write(
        space.project().join("systems/small/manifest"),
        "f usr/* 0644 root root\nf etc/* 0644 root root\n",
    )
    .unwrap();
    safe_at(&space, &["--offline", "--locked", "build", "small"], 0);
    let seen = safe_at(&space, &["size", "small", "--files"], 0);
    assert!(seen.contains(&shown), "{seen}");
    for verb in ["status", "why", "graph"] {
        safe_at(&space, &[verb, "small"], 0);
    }
    fs::write(space.project().join(format!("systems/small/overlay/etc/{name}")), "other\n")
        .unwrap();
    let seen = safe_at(&space, &["why", "small"], 0);
    assert!(seen.contains(&shown), "{seen}");
    // A folder of a person's own, as the project and as the store.
    let folder = space.folder.path().join(&name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("osier.toml"), "nonsense\n").unwrap();
    let folder = folder.to_str().unwrap();
    for words in [["--project", folder, "status"], ["--store", folder, "doctor"]] {
        let (_, seen) = on_terminal(&space, &words);
        safe(&seen);
    }
}
