//! Manifests read, and the errors of wrong lines.

use super::*;
use proptest::prelude::*;

fn rules(text: &str) -> Vec<Rule> {
    Manifest::parse("m", text).unwrap().lines.into_iter().map(|line| line.rule).collect()
}

fn owner() -> Owner {
    Owner { user: "root".into(), group: "sys".into() }
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

fn path(text: &str) -> ImagePath {
    ImagePath::new(text).unwrap()
}

#[test]
fn every_form() {
    let table = [
        (
            "f bin/sh 0755 root sys",
            Rule::File { pattern: pattern("bin/sh"), mode: Some(0o755), owner: owner() },
        ),
        (
            "f\tlib/*\t-\troot\tsys",
            Rule::File { pattern: pattern("lib/*"), mode: None, owner: owner() },
        ),
        (
            "  d tmp 1777 root sys # all may write",
            Rule::Folder { pattern: pattern("tmp"), mode: Some(0o1777), owner: owner() },
        ),
        (
            "d . 0755 root sys",
            Rule::Folder { pattern: pattern("."), mode: Some(0o755), owner: owner() },
        ),
        (
            "s bin/ls=/bin/busybox",
            Rule::Symlink { path: path("bin/ls"), target: b"/bin/busybox".to_vec() },
        ),
        ("s a=b=c", Rule::Symlink { path: path("a"), target: b"b=c".to_vec() }),
        ("s a\\=b=c#d", Rule::Symlink { path: path("a=b"), target: b"c#d".to_vec() }),
        ("s a\\ b=c\\ d", Rule::Symlink { path: path("a b"), target: b"c d".to_vec() }),
        ("s **", Rule::FoundSymlinks { pattern: pattern("**") }),
        ("h a=b/c", Rule::HardLink { path: path("a"), file: path("b/c") }),
        (
            "c dev/console 0600 root sys 5 1",
            Rule::Device {
                kind: DeviceKind::Character,
                path: path("dev/console"),
                mode: 0o600,
                owner: owner(),
                major: 5,
                minor: 1,
            },
        ),
        (
            "b dev/vda 0660 root sys 4095 1048575",
            Rule::Device {
                kind: DeviceKind::Block,
                path: path("dev/vda"),
                mode: 0o660,
                owner: owner(),
                major: 4095,
                minor: 1_048_575,
            },
        ),
        (
            "p run/initctl 600 root sys",
            Rule::Fifo { path: path("run/initctl"), mode: 0o600, owner: owner() },
        ),
        ("x usr/share/man\r", Rule::Exclude { pattern: pattern("usr/share/man") }),
    ];
    for (text, rule) in table {
        assert_eq!(rules(&format!("{text}\n")), [rule], "{text}");
    }
}

#[test]
fn comments_and_empty_lines_say_nothing() {
    let manifest = Manifest::parse("m", "# all\n\n \t # x\n d a#b 0755 0 0 #c\n").unwrap();
    assert_eq!(manifest.lines.len(), 1);
    assert_eq!(manifest.lines[0].number, 4);
    assert_eq!(manifest.lines[0].text, "d a#b 0755 0 0");
}

#[test]
fn every_fault_in_exact_words() {
    let table: &[(&str, Range<usize>, &str, Option<&str>)] = &[
        ("g a 0755 0 0", 0..1, "unknown type `g`", Some(TYPES)),
        (
            "f a 0755 root",
            0..13,
            "a line of type `f` has 5 fields, this one has 4",
            Some("write `f PATTERN MODE USER GROUP`"),
        ),
        (
            // Two snippets joined without the newline between them.
            "f a 0755 root rootf b 0755 root root",
            20..36,
            "a line of type `f` has 5 fields, this one has 9",
            Some("write `f PATTERN MODE USER GROUP`; write a space in a name as `\\ `"),
        ),
        ("x", 0..1, "a line of type `x` has 2 fields, this one has 1", Some("write `x PATTERN`")),
        (
            "f a 0788 0 0",
            4..8,
            "mode `0788` is not an octal number up to 07777",
            Some("write 0644 for a file, for example, 0755 for a program, or - to keep its mode"),
        ),
        (
            "f a 10000 0 0",
            4..9,
            "mode `10000` is not an octal number up to 07777",
            Some("write 0644 for a file, for example, 0755 for a program, or - to keep its mode"),
        ),
        (
            "f a +755 0 0",
            4..8,
            "mode `+755` is not an octal number up to 07777",
            Some("write 0644 for a file, for example, 0755 for a program, or - to keep its mode"),
        ),
        (
            "p a - 0 0",
            4..5,
            "mode `-` keeps the mode of something that exists, but this line makes something new",
            None,
        ),
        (
            "f /bin/sh 0755 0 0",
            2..9,
            "path begins with `/`; paths are relative to the image's root",
            Some("write `bin/sh`"),
        ),
        (
            "d / 0755 0 0",
            2..3,
            "path begins with `/`; paths are relative to the image's root",
            Some("write `.`"),
        ),
        ("f ../x 0755 0 0", 2..6, "path has a `.` or `..` component", None),
        ("s .=a", 2..3, "path has a `.` or `..` component", None),
        ("d a/ 0755 0 0", 2..4, "path has an empty component (`//` or a `/` at the end)", None),
        (
            "x a**",
            2..5,
            "`**` must be a whole name in the path",
            Some("`a/**/b` matches at any depth; within one name a single `*` is enough"),
        ),
        (
            "x a\\n",
            2..5,
            "a backslash can only precede a space, a tab, `#`, `=`, `*`, `?` or a backslash",
            None,
        ),
        (
            "s a*=b",
            2..4,
            "no wildcard is possible here: this is the name of the one new thing that the line makes",
            Some("a `*` or `?` that is part of a name is written as `\\*`, `\\?`"),
        ),
        ("s a=", 2..4, "a link's target must have 1 to 4095 bytes", None),
        ("h a", 2..3, "a hard link needs a target", Some("write `h NEW=TARGET`")),
        (
            "h a=/b",
            4..6,
            "path begins with `/`; paths are relative to the image's root",
            Some("write `b`"),
        ),
        ("c a 0600 0 0 4096 1", 13..17, "major number `4096` is not a number from 0 to 4095", None),
        ("b a 0600 0 0 1 x", 15..16, "minor number `x` is not a number from 0 to 1048575", None),
    ];
    for (text, span, message, hint) in table {
        let errors = Manifest::parse("m", &format!("\n{text}")).unwrap_err();
        let [error] = &errors[..] else { panic!("{text}: {errors:?}") };
        assert_eq!(error.problem.to_string(), *message, "{text}");
        assert_eq!(error.to_string(), format!("m:2:{}: {message}", span.start + 1));
        assert_eq!(error.span, *span, "{text}");
        assert_eq!(error.hint.as_deref(), *hint, "{text}");
        assert_eq!(error.text, *text);
    }
}

#[test]
fn all_faults_at_once() {
    let errors = Manifest::parse("m", "f a\nd ok 0755 0 0\nz\nx /a\n").unwrap_err();
    assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [1, 3, 4]);
}

proptest! {
    #[test]
    fn never_panics_and_spans_fit(text in "([fdshcbpx] )?[ -~\\t\\n\\\\éß=*?#/.0-9]{0,60}") {
        if let Err(errors) = Manifest::parse("m", &text) {
            for error in errors {
                prop_assert!(error.text.get(error.span.clone()).is_some());
            }
        }
    }

    #[test]
    fn any_text_is_safe(text in any::<String>()) {
        let _ = Manifest::parse("m", &text);
    }
}

#[test]
fn the_reference_has_every_type_and_its_examples_are_read() {
    const PAGE: &str = include_str!("../../../../docs/reference/manifest.md");
    let (_, rest) = PAGE.split_once("```manifest\n").unwrap();
    let (examples, _) = rest.split_once("```").unwrap();
    let manifest = Manifest::parse("manifest.md", examples).unwrap();
    for kind in ["f", "d", "s", "h", "c", "b", "p", "x"] {
        let (_, form) = usage(kind).unwrap();
        assert!(PAGE.contains(&format!("| `{form}` |")), "the table lacks {form}");
        let example = format!("{kind} ");
        let shown = manifest.lines.iter().any(|line| line.text.starts_with(&example));
        assert!(shown, "no example of {form}");
        // What the page does not name does not exist.
        assert!(TYPES.contains(kind));
    }
    let all =
        (b'!'..=b'~').filter(|letter| usage(char::from(*letter).encode_utf8(&mut [0])).is_some());
    assert_eq!(all.count(), 8, "the page is about eight types");
}
