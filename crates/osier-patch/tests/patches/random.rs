//! Random files and edits: what a patch was made from becomes what it was made for, and back.

use osier_patch::{Class, Patch, series};
use proptest::prelude::*;

use crate::{Tree, put, queue, run};

/// Writes the difference of two texts as a unified diff with so many lines of context.
///
/// The lines of `edits` say for each old line what stands there now.
fn diff(old: &[String], edits: &[Option<Vec<String>>], context: usize) -> String {
    let mut text = String::from("--- a/f\n+++ b/f\n");
    let changed: Vec<usize> = (0..old.len()).filter(|at| edits[*at].is_some()).collect();
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for at in changed {
        match groups.last_mut() {
            Some((_, end)) if at <= *end + 2 * context => *end = at + 1,
            _ => groups.push((at, at + 1)),
        }
    }
    let mut shift = 0_isize;
    for (start, end) in groups {
        let (from, to) = (start.saturating_sub(context), old.len().min(end + context));
        let mut body = String::new();
        let mut new_count = 0;
        for at in from..to {
            match &edits[at] {
                None => {
                    body.push_str(&format!(" {}\n", old[at]));
                    new_count += 1;
                }
                Some(lines) => {
                    body.push_str(&format!("-{}\n", old[at]));
                    lines.iter().for_each(|line| body.push_str(&format!("+{line}\n")));
                    new_count += lines.len();
                }
            }
        }
        let old_count = to - from;
        let new_from = from.checked_add_signed(shift).unwrap();
        let new_start = if new_count == 0 { new_from } else { new_from + 1 };
        text.push_str(&format!("@@ -{},{old_count} +{new_start},{new_count} @@\n{body}", from + 1));
        shift += isize::try_from(new_count).unwrap() - isize::try_from(old_count).unwrap();
    }
    text
}

fn lines(text: &[String]) -> String {
    text.iter().map(|line| format!("{line}\n")).collect()
}

fn edited(old: &[String], edits: &[Option<Vec<String>>]) -> Vec<String> {
    let now = |(line, edit): (&String, &Option<Vec<String>>)| match edit {
        None => vec![line.clone()],
        Some(lines) => lines.clone(),
    };
    old.iter().zip(edits).flat_map(now).collect()
}

/// A file of distinct lines, and for some of them others; never without any line.
fn case() -> impl Strategy<Value = (Vec<String>, Vec<Option<Vec<String>>>)> {
    let edit = prop_oneof![
        4 => Just(None),
        1 => proptest::collection::vec("[a-c]{1,2}", 0..4).prop_map(Some)
    ];
    proptest::collection::vec(edit, 1..60).prop_map(|edits| {
        let old: Vec<String> = (0..edits.len()).map(|number| format!("line {number}")).collect();
        (old, edits)
    })
}

proptest! {
    #[test]
    fn patches_apply_and_are_recognized_afterwards(
        (old, edits) in case(), context in 1_usize..4, above in 0_usize..5
    ) {
        prop_assume!(edits.iter().any(Option::is_some));
        let new = edited(&old, &edits);
        let patch = diff(&old, &edits, context);
        let (before, after) = (Tree::of(&[("f", &lines(&old))]), Tree::of(&[("f", &lines(&new))]));
        let emptied = new.is_empty();
        let (reports, result) = put(&before, &[&patch]);
        prop_assert_eq!(reports[0].class, Class::Clean, "{}", &patch);
        prop_assert_eq!(&result, if emptied { &result } else { &after });
        // Taken back by its own reverse.
        let mut row = queue(&[&patch]);
        row[0].patch = row[0].patch.clone().map(|patch| patch.reversed());
        let back = run(&result, &row);
        prop_assert_eq!(back.reports[0].class, Class::Clean);
        prop_assert_eq!(&result.changed(&back), &before);
        // Put on once more it is in already.
        let (reports, again) = put(&result, &[&patch]);
        prop_assert_eq!(reports[0].class, Class::Already);
        prop_assert_eq!(&again, &result);
        // Below more lines every hunk moves by as many.
        let front: Vec<String> = (0..above).map(|number| format!("above {number}")).collect();
        let shifted = Tree::of(&[("f", &(lines(&front) + &lines(&old)))]);
        let (reports, result) = put(&shifted, &[&patch]);
        if above > 0 && !emptied {
            prop_assert_eq!(reports[0].class, Class::Offset);
            prop_assert_eq!(result, Tree::of(&[("f", &(lines(&front) + &lines(&new)))]));
        }
    }

    #[test]
    fn a_line_that_differs_is_never_overlooked((old, edits) in case(), at in 0_usize..60) {
        prop_assume!(edits.iter().any(Option::is_some));
        let mut source = old.clone();
        let at = at % source.len();
        source[at] = "something else".into();
        let patch = diff(&old, &edits, 3);
        let (reports, _) = put(&Tree::of(&[("f", &lines(&source))]), &[&patch]);
        // The line is in a hunk exactly if the diff shows it.
        let seen = patch.lines().any(|line| line == format!(" line {at}") || line == format!("-line {at}"));
        prop_assert_eq!(reports[0].class, if seen { Class::Conflict } else { Class::Clean });
    }

    #[test]
    fn no_text_makes_it_panic(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("--- a/f\n".to_owned()), Just("+++ b/f\n".to_owned()), Just("+++ /dev/null\n".to_owned()),
                Just("diff --git a/f b/g\n".to_owned()), Just("rename from f\n".to_owned()), Just("rename to g\n".to_owned()),
                Just("new file mode 120000\n".to_owned()), Just("\\ No newline\n".to_owned()), Just("\"\\7".to_owned()),
                Just("From 0123456789abcdef0123456789abcdef01234567 x\n".to_owned()),
                Just("commit 0123456789abcdef0123456789abcdef01234567\n    words\n".to_owned()),
                Just("GIT binary patch\n".to_owned()), Just("literal 1\nIcmZPo000310RR91\n\n".to_owned()),
                Just("literal 0\nHcmV?d00001\n\n".to_owned()), Just("delta 1\nIcmZPo000310RR91\n\n".to_owned()),
                Just("Binary files a/f and b/f differ\n".to_owned()), Just("Submodule f 0123456..89abcde:\n".to_owned()),
                Just("index 0123456..89abcde 100644\n".to_owned()), Just("similarity index 100%\n".to_owned()),
                Just("From: a\nContent-Type: x;\n".to_owned()), Just("---\n".to_owned()), Just("\u{feff}".to_owned()),
                Just("\u{1b}[".to_owned()), Just("> ".to_owned()), Just("5,6c7\n".to_owned()), Just(".\n".to_owned()),
                "@@ -[0-9]{1,2},[0-3] [+][0-9]{1,2},[0-3] @@\n", "[ +-][a-c]?\n", "\\PC{0,8}\n?",
            ], 0..30), strip in 0_u32..3
    ) {
        let text = pieces.concat();
        let _ = series(text.as_bytes());
        if let Ok(patches) = Patch::parse("x", text.as_bytes(), strip) {
            let tree = Tree::of(&[("f", "a\nb\nc\n"), ("b/f", "a\n"), ("g/x", "")]);
            for patch in patches {
                let mut row = queue(&["--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n"]);
                row[0].patch = Ok(patch);
                let outcome = run(&tree, &row);
                for path in outcome.changes.keys() {
                    prop_assert!(path.is_relative() && !path.components().any(|part| part.as_os_str() == ".."));
                }
                let _ = osier_patch::text(&outcome.reports);
            }
        }
    }
}
