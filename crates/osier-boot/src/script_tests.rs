//! Scripts of expect and send, right and wrong.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn end() -> Action {
    Action::End { how: GuestEnding::Reboot, within: SECOND }
}

fn script(actions: Vec<Action>) -> Script {
    Script { boots: vec![BootScript { without: Vec::new(), actions }] }
}

#[test]
fn wrong_scripts_are_refused() {
    let send = |text: &str| script(vec![Action::Send { text: text.to_owned() }, end()]);
    let expect = |pattern| script(vec![Action::Expect { pattern, within: SECOND }, end()]);
    for (script, expected) in [
        (Script { boots: vec![] }, "the script has no boot"),
        (script(vec![]), "boot 1 must have one end, as its last action"),
        (script(vec![Action::Booted { within: SECOND }]), "boot 1 must have one end, as its last"),
        (script(vec![end(), Action::Booted { within: SECOND }]), "boot 1 must have one end"),
        (script(vec![end(), end()]), "boot 1 must have one end"),
        (send(""), "boot 1, action 1: the text to send is empty"),
        (send(&"x".repeat(1025)), "the text to send is longer"),
        (send("cat /.osier/challenge\n"), "only process 1 may give it"),
        (send("echo osier-booted:\n"), "only process 1 may give it"),
        (expect(Pattern::text("")), "the expected text is empty"),
        (expect(Pattern::glob("**")), "the expected text is empty"),
        (expect(Pattern::text("a\nb")), "has a line end"),
        (expect(Pattern::text(&"x".repeat(1025))), "longer than 1024"),
    ] {
        let error = script.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\nis not\n{expected}");
    }
    assert_eq!(send("root\n").check(), Ok(()));
}

/// Plays `feed` into a matcher: console pieces, sent lines, and expected texts with the
/// answer that they must get at once.
enum Feed {
    Out(&'static str),
    Sent(&'static str),
    Found(&'static str),
    Missing(&'static str),
    FoundWhenQuiet(&'static str),
}
use Feed::{Found, FoundWhenQuiet, Missing, Out, Sent};

fn play(feed: &[Feed]) {
    let (mut matcher, mut console) = (Matcher::default(), Vec::new());
    for (index, step) in feed.iter().enumerate() {
        let mut find = |text, quiet| matcher.find(&console, 0, &Pattern::glob(text), quiet);
        match step {
            Out(text) => console.extend_from_slice(text.as_bytes()),
            Sent(text) => matcher.sent(text),
            Found(text) => assert!(find(text, false), "{index}: {text} is not found"),
            Missing(text) => {
                assert!(!find(text, false), "{index}: {text} is found");
                assert!(!find(text, true), "{index}: {text} is found when quiet");
            }
            FoundWhenQuiet(text) => {
                assert!(!find(text, false), "{index}: {text} is found at once");
                assert!(find(text, true), "{index}: {text} is not found when quiet");
            }
        }
    }
}

#[test]
fn an_expect_never_matches_what_lies_before_the_last_match() {
    play(&[Out("one two one\n"), Found("two"), Found("one"), Missing("one")]);
    play(&[Out("login: "), Found("login:"), Missing("login:"), Out("\nlogin: "), Found("login:")]);
    play(&[Out("half"), Missing("halfway"), Out("way\n"), Found("halfway")]);
    play(&[Out("# "), Missing("ready"), Out("re"), Missing("ready"), Out("ady"), Found("ready")]);
}

#[test]
fn an_echo_is_no_answer() {
    // The terminal's echo, whole and in pieces, then the command's own output.
    play(&[
        Out("# "),
        Found("#"),
        Sent("echo ok\n"),
        Out("echo ok\n"),
        Missing("ok"),
        Out("ok\n"),
        Found("ok"),
    ]);
    let mut matcher = Matcher::default();
    matcher.sent("echo ok\n");
    let mut seen = Vec::new();
    for byte in b"# echo ok\n" {
        seen.push(*byte);
        assert!(!matcher.find(&seen, 0, &Pattern::text("ok"), false));
        assert!(!matcher.find(&seen, 0, &Pattern::text("echo"), false));
    }
    seen.extend_from_slice(b"ok\n");
    assert!(matcher.find(&seen, 0, &Pattern::text("ok"), false));
    // Neither is the prompt together with the echo.
    play(&[Sent("echo ok\n"), Out("# echo ok\n"), Missing("# *ok")]);
    // Two lines sent ahead of their echoes.
    play(&[Sent("ls\npwd\n"), Out("# ls\nbin\n# pwd\n/\n"), Missing("pwd")]);
    play(&[
        Sent("ls\n"),
        Sent("pwd\n"),
        Out("# ls\nbin\n# pwd\n/root\n"),
        Found("bin"),
        Found("/root"),
    ]);
    // An answer that holds the sent text is an answer.
    play(&[Sent("bob\n"), Out("login: bob\nhello bob\n"), Found("hello bob")]);
    // So is text of the same line before the echo.
    play(&[Sent("bob\n"), Out("login: bob\n"), Found("login:"), Missing("bob")]);
    // A second time the same line is output.
    play(&[Sent("x\n"), Out("x\nx\n"), Found("x"), Missing("x")]);
}

#[test]
fn without_an_echo_the_output_counts() {
    // A password is not echoed; the next prompt ends like its beginning.
    play(&[Sent("secret\n"), Out("welcome\n# "), Found("welcome"), Found("#")]);
    play(&[Sent("s3\n"), Out("hosts"), FoundWhenQuiet("hosts")]);
}

#[test]
fn an_endless_line_is_searched_in_linear_time() {
    let mut matcher = Matcher::default();
    let mut data = vec![b'x'; 1 << 20];
    assert!(!matcher.find(&data, 0, &Pattern::text("needle"), false));
    data.extend_from_slice(b"need");
    assert!(!matcher.find(&data, 0, &Pattern::text("needle"), false));
    data.extend_from_slice(b"le");
    assert!(matcher.find(&data, 0, &Pattern::text("needle"), false));
    assert_eq!(matcher.position, data.len() as u64);
}

#[test]
fn a_dropped_beginning_is_no_fault() {
    let mut matcher = Matcher::default();
    assert!(matcher.find(b"late text", 1 << 40, &Pattern::text("text"), false));
    assert_eq!(matcher.position, (1 << 40) + 9);
}
