//! No text makes the readers panic, and every error can be shown.

use osier_recipe::{FileKind, glob_matches, nearest, utf8};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{EXAMPLES, errors, rendered};

/// Words that lead the readers into every corner.
const WORDS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    "\"",
    "'''",
    "\n",
    ",",
    ".",
    "#",
    "\0",
    "\u{1b}[31m",
    "é☃",
    "name",
    "step",
    "source",
    "target.x86_64",
    "run",
    "url",
    "with",
    "[[source]]\n",
    "[target.mips]\n",
    " = 1\n",
    " = true\n",
    " = \"x\"\n",
    " = []\n",
    " = {}\n",
    " = [{}]\n",
    " = 1.5\n",
    " = 9999999999999999999999\n",
    " = 1979-05-27\n",
];

/// Reads `text` as every kind of file and shows what is wrong, also against a text that is another one.
fn try_all(text: &str) {
    for kind in FileKind::ALL {
        let found = errors(kind, text, Some("other"));
        for error in &found {
            assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty());
            assert!(error.span.start <= text.len() && error.span.end <= text.len(), "{error:?}");
        }
        // A line is counted anew for each of its errors, so that thousands on a long line take their time.
        for error in found.iter().take(100) {
            let shown = error.render_plain(text);
            assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
            error.render_plain("é");
        }
    }
}

fn mutated() -> impl Strategy<Value = String> {
    let change = (any::<Index>(), any::<Index>(), any::<Index>(), 0..4_u8);
    (0..EXAMPLES.len(), prop::collection::vec(change, 1..6)).prop_map(|(example, changes)| {
        let mut text: Vec<char> = EXAMPLES[example].1.chars().collect();
        for (at, length, word, how) in changes {
            let at = at.index(text.len() + 1);
            let end = (at + length.index(30)).min(text.len());
            let word = WORDS[word.index(WORDS.len())].chars();
            match how {
                0 => drop(text.drain(at..end)),
                1 => drop(text.splice(at..at, word)),
                2 => drop(text.splice(at..end, word)),
                _ => text.truncate(at),
            }
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        match utf8("f", &bytes) {
            Ok(text) => try_all(text),
            Err(found) => prop_assert_eq!(found.len(), 1),
        }
    }

    #[test]
    fn any_text_is_refused_or_read(text in "\\PC{0,200}") {
        try_all(&text);
    }

    #[test]
    fn texts_of_the_formats_own_words_are_refused_or_read(words in prop::collection::vec(0..WORDS.len(), 0..40)) {
        let text: String = words.into_iter().map(|word| WORDS[word]).collect();
        try_all(&text);
    }

    #[test]
    fn mutated_examples_are_refused_or_read(text in mutated()) {
        try_all(&text);
    }

    #[test]
    fn patterns_without_stars_match_themselves_alone(path in "[a-c/]{0,8}", other in "[a-c/]{0,8}") {
        prop_assert_eq!(glob_matches(&path, &other), path == other);
        prop_assert!(glob_matches("**", &path));
    }

    #[test]
    fn two_wildcards_agree_with_a_slow_matcher(pattern in "[ab*?]{0,6}", name in "[ab]{0,8}") {
        fn slow(pattern: &[u8], name: &[u8]) -> bool {
            match (pattern.first(), name.first()) {
                (None, None) => true,
                (Some(b'*'), _) => slow(&pattern[1..], name) || (!name.is_empty() && slow(pattern, &name[1..])),
                (Some(b'?'), Some(_)) => slow(&pattern[1..], &name[1..]),
                (Some(a), Some(b)) if a == b => slow(&pattern[1..], &name[1..]),
                _ => false,
            }
        }
        // As a whole part `**` means folders, and one name is one of those.
        prop_assume!(pattern != "**" || !name.is_empty());
        prop_assert_eq!(glob_matches(&pattern, &name), slow(pattern.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn one_slip_is_found_again(word in "[a-z]{4,12}", at in any::<Index>(), letter in "[a-z]") {
        let mut slip = word.clone();
        slip.insert_str(at.index(word.len() + 1), &letter);
        prop_assert_eq!(nearest(&slip, [word.as_str()]), Some(word.as_str()));
    }
}

#[test]
fn deep_and_long_texts_end() {
    for text in [
        "a=".to_owned() + &"[".repeat(50_000),
        "a=".to_owned() + &"{a=".repeat(50_000),
        "a.".repeat(50_000) + "=1",
        "name = '".to_owned() + &"x".repeat(1 << 20) + "'",
        "x".repeat(1 << 20) + " = 1",
        "\n".repeat(1 << 20),
        "[[step]]\nname='a'\n".repeat(5_000),
        format!("needs = [{}]", "'a',".repeat(20_000)),
    ] {
        try_all(&text);
    }
}

#[test]
fn a_message_is_one_line_of_moderate_length() {
    let text = format!("{}\n", "k".repeat(10_000) + " = 1");
    let shown = rendered(&errors(FileKind::Recipe, &text, None), &text);
    assert!(shown.lines().all(|line| line.len() < 400), "{shown}");
}
