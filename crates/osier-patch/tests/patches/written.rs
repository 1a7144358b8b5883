//! Patches that osier writes: what they say, what they cannot, and that they make of the old files the new ones.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use osier_patch::{Class, Node, Pair, Patch, Queued, write};
use proptest::prelude::*;

use crate::{Tree, numbers, run};

/// A file; `!` in front makes it executable, `->` a link.
fn node(text: &str) -> Node {
    if let Some(target) = text.strip_prefix("->") {
        return Node::Symlink { target: target.into() };
    }
    let (mode, text) = text.strip_prefix('!').map_or((0o644, text), |text| (0o755, text));
    Node::File { content: text.into(), mode }
}

fn pair(path: &str, old: Option<&str>, new: Option<&str>) -> Pair {
    Pair { path: path.into(), old: old.map(node), new: new.map(node) }
}

fn tree(pairs: &[Pair], side: impl Fn(&Pair) -> Option<Node>) -> Tree {
    Tree(pairs.iter().filter_map(|pair| Some((pair.path.clone(), side(pair)?))).collect())
}

/// Puts what is written for the pairs on their old side, and compares with the new one.
fn makes_the_new_side(pairs: &[Pair]) -> Vec<u8> {
    let text = write(pairs).unwrap().text;
    let shown = String::from_utf8_lossy(&text);
    let patches =
        Patch::parse("w.patch", &text, 1).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    let [patch] = patches.as_slice() else { panic!("{} patches\n{shown}", patches.len()) };
    let row = |patch: Patch| {
        [Queued { name: "w".into(), patch: Ok(patch), folder: PathBuf::new(), allowance: None }]
    };
    let (old, new) = (tree(pairs, |pair| pair.old.clone()), tree(pairs, |pair| pair.new.clone()));
    let there = run(&old, &row(patch.clone()));
    assert_eq!(there.reports[0].class, Class::Clean, "{shown}");
    assert_eq!(old.changed(&there), new, "{shown}");
    let back = run(&new, &row(patch.reversed()));
    assert_eq!(new.changed(&back), old, "{shown}");
    text
}

#[test]
fn everything_that_a_patch_can_say() {
    let long = numbers(20, "");
    let changed = long.replace("\n3\n", "\nthree\n").replace("18\n", "");
    let pairs = [
        pair(" blanks ", Some("one\n"), Some("two\n")),
        pair("a file", Some("one\n"), Some("two\n")),
        pair("bin/run", Some("x\n"), Some("!x\n")),
        pair("empty", None, Some("")),
        pair("emptied", Some("full\n"), Some("")),
        pair("filled", Some(""), Some("full\n")),
        pair("gone", Some("last\n"), None),
        pair("gone-empty", Some(""), None),
        pair("link", Some("->a"), Some("->b")),
        pair("long", Some(&long), Some(&changed)),
        pair("new", None, Some("!first\nsecond")),
        pair("old/name", Some("the same\n"), None),
        pair("other/name", None, Some("the same\n")),
        pair("quo\"te\\", Some("q\n"), Some("r\n")),
        pair("same", Some("s\n"), Some("s\n")),
        pair("two\nlines\t", Some("a\r\nb\r\n"), Some("a\r\nc")),
        pair("was-file", Some("text\n"), Some("->target")),
        pair("was-link", Some("->target"), Some("text\n")),
    ];
    let text = makes_the_new_side(&pairs);
    insta::assert_snapshot!(String::from_utf8(text).unwrap());
    insta::assert_snapshot!(write(&pairs).unwrap().files.join("\n"));
}

#[test]
fn what_a_patch_cannot_say_is_told_with_its_name() {
    let pairs = [
        pair("good", Some("a\n"), Some("b\n")),
        pair("picture", None, Some("\0\u{1}")),
        pair("drawing", Some("\0\u{1}"), Some("text\n")),
        pair("folder", None, Some("file\n")),
        pair("folder/in/it", Some("x\n"), None),
        // Only its mode is changed, and that can be said.
        pair("program", Some("\0"), Some("!\0")),
        // Only its name is.
        pair("logo", Some("\0\u{2}"), None),
        pair("brand", None, Some("\0\u{2}")),
    ];
    let unsaid = write(&pairs).unwrap_err();
    let names: Vec<_> = unsaid.iter().map(|one| one.path.to_str().unwrap()).collect();
    assert_eq!(names, ["brand", "drawing", "folder", "logo", "picture"]);
}

#[test]
fn a_large_file_that_is_another_takes_no_age() {
    // The blank lines are the same ones.
    let (old, new) = (numbers(20_000, "\n"), numbers(20_000, " other\n"));
    let begun = Instant::now();
    let written = write(&[pair("f", Some(&old), Some(&new))]).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(written.text.len() > old.len() + new.len());
}

/// Texts with many equal lines, with and without an end; small programs and links.
fn side() -> impl Strategy<Value = Option<Node>> {
    let text = (proptest::collection::vec("[ab]{0,2}", 0..25), any::<bool>(), any::<bool>());
    let file = text.prop_map(|(lines, ends, runs)| {
        let mut content = lines.join("\n");
        if ends && !content.is_empty() {
            content.push('\n');
        }
        Node::File { content: content.into_bytes(), mode: if runs { 0o755 } else { 0o644 } }
    });
    let link = "[ab/]{1,3}".prop_map(|target| Node::Symlink { target: target.into_bytes() });
    proptest::option::weighted(0.8, prop_oneof![5 => file, 1 => link])
}

proptest! {
    #[test]
    fn what_is_written_makes_of_the_old_files_the_new_ones(
        sides in proptest::collection::vec(("[a-c \"\\\\\\t]{1,3}", side(), side()), 1..5),
    ) {
        let mut paths = BTreeSet::new();
        let mut pairs = Vec::new();
        for (path, old, new) in sides {
            if paths.insert(path.clone()) {
                pairs.push(Pair { path: path.into(), old, new });
            }
        }
        prop_assume!(pairs.iter().any(|pair| pair.old != pair.new));
        makes_the_new_side(&pairs);
    }
}
