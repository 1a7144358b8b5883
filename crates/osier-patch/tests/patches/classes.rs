//! How patches fit.

use osier_patch::{Class, FileProblem, HunkFit, conflicts, summary, text};

use crate::{Tree, allowed, numbers, put, queue, run};

/// Changes line 10 of twenty.
const TEN: &str = "--- a/n\n+++ b/n\n@@ -7,7 +7,7 @@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13\n";

#[test]
fn a_patch_that_fits_is_clean() {
    let tree = Tree::of(&[("n", &numbers(20, ""))]);
    let (reports, after) = put(&tree, &[TEN]);
    assert_eq!(reports[0].class, Class::Clean);
    assert!(reports[0].files.is_empty());
    assert_eq!(after, Tree::of(&[("n", &numbers(20, "").replace("10\n", "ten\n"))]));
    assert_eq!(text(&reports), "1.patch: clean\n1 patch: 1 clean\n");
}

#[test]
fn lines_elsewhere_are_an_offset() {
    let shifted = format!("new\nlines\n{}", numbers(20, ""));
    let (reports, after) = put(&Tree::of(&[("n", &shifted)]), &[TEN]);
    assert_eq!(reports[0].class, Class::Offset);
    let fit = &reports[0].files[0].hunks[0].fit;
    assert_eq!(*fit, HunkFit::Fits { at: 9, offset: 2, elsewhere: 0, not_at_end: false });
    assert_eq!(after, Tree::of(&[("n", &shifted.replace("10\n", "ten\n"))]));
    assert!(text(&reports).contains("  n: hunk 1 fits at line 9, 2 lines further down\n"));
    let shifted: String = numbers(20, "").lines().skip(1).map(|line| format!("{line}\n")).collect();
    let (reports, _) = put(&Tree::of(&[("n", &shifted)]), &[TEN]);
    assert!(text(&reports).contains("1 line further up"), "{}", text(&reports));
    // Where a block of lines stands twice, that is said, and the nearer one is taken.
    let twice = format!("x\n{0}{0}", numbers(20, ""));
    let (reports, after) = put(&Tree::of(&[("n", &twice)]), &[TEN]);
    assert!(text(&reports).contains("(and at 1 other place as well)"), "{}", text(&reports));
    assert_eq!(after, Tree::of(&[("n", &twice.replacen("10\n", "ten\n", 1))]));
}

#[test]
fn a_later_hunk_is_looked_for_where_the_one_before_it_moved() {
    // Two places that look alike: the shift of the first hunk says which of them is meant.
    let block = "a\nb\nc\nd\n";
    let tree = Tree::of(&[("n", &format!("1\n2\n3\n4\n5\n6\nhead\n{block}{block}"))]);
    let patch = "--- a/n\n+++ b/n\n@@ -1 +1 @@\n-head\n+HEAD\n@@ -6,3 +6,3 @@\n a\n-b\n+B\n c\n";
    let (reports, after) = put(&tree, &[patch]);
    assert_eq!(reports[0].class, Class::Offset);
    let expected = format!("1\n2\n3\n4\n5\n6\nHEAD\n{block}{}", block.replace('b', "B"));
    assert_eq!(after, Tree::of(&[("n", &expected)]));
}

#[test]
fn no_line_may_differ() {
    // patch(1) would take the first with fuzz 2: the outer lines of the context differ.
    for (from, to) in [("7\n8\n", "seven\n8\n"), ("12\n13\n", "12\n13 \n"), ("9\n", "9\r\n")] {
        let tree = Tree::of(&[("n", &numbers(20, "").replace(from, to))]);
        let (reports, after) = put(&tree, &[TEN]);
        assert_eq!(reports[0].class, Class::Conflict, "{from}");
        assert_eq!(after, tree);
    }
}

#[test]
fn what_is_in_already_is_seen_by_taking_it_back() {
    let done = numbers(20, "").replace("10\n", "ten\n");
    for source in [done.clone(), format!("more\n{done}")] {
        let tree = Tree::of(&[("n", &source)]);
        let (reports, after) = put(&tree, &[TEN]);
        assert_eq!((reports[0].class, &after), (Class::Already, &tree));
    }
    let (reports, _) = put(&Tree::of(&[("n", &format!("more\n{done}"))]), &[TEN]);
    assert!(text(&reports).contains("1 line further down"), "{}", text(&reports));
    // An insertion whose context stands elsewhere too: it fits there, and is in already where it belongs.
    let insert = "--- a/n\n+++ b/n\n@@ -1,4 +1,5 @@\n {\n x\n+y\n }\n end\n";
    let tree = Tree::of(&[("n", "{\nx\ny\n}\nend\n{\nx\n}\nend\n")]);
    let (reports, after) = put(&tree, &[insert]);
    assert_eq!((reports[0].class, &after), (Class::Already, &tree));
    // Without context a patch fits at any line that its number names.
    let blind = "--- a/n\n+++ b/n\n@@ -1,0 +2 @@\n+two\n";
    let (reports, _) = put(&Tree::of(&[("n", "1\ntwo\n3\n")]), &[blind]);
    assert_eq!(reports[0].class, Class::Already);
    let (reports, after) = put(&Tree::of(&[("n", "1\n3\n")]), &[blind]);
    assert_eq!((reports[0].class, after), (Class::Clean, Tree::of(&[("n", "1\ntwo\n3\n")])));
}

#[test]
fn what_was_changed_otherwise_is_not_taken_for_being_in() {
    // The line that the patch takes away is another one by now; without it the rest stands in one piece.
    for (patch, source) in [
        ("@@ -1,3 +1,2 @@\n-1\n 2\n 3\n", "one\n2\n3\n"),
        ("@@ -1,3 +1,2 @@\n 1\n 2\n-3\n", "1\n2\nthree\n"),
        ("@@ -2 +1,0 @@\n-2\n", "1\ntwo\n3\n"),
        ("@@ -1,3 +1,2 @@\n 1\n-2\n 3\n", "1\ntwo\n3\n"),
    ] {
        let (reports, _) =
            put(&Tree::of(&[("f", source)]), &[&format!("--- a/f\n+++ b/f\n{patch}")]);
        assert_eq!(reports[0].class, Class::Conflict, "{patch}");
    }
}

#[test]
fn what_is_in_by_half_is_a_conflict() {
    let patch = format!("{TEN}--- a/m\n+++ b/m\n@@ -1 +1 @@\n-old\n+new\n");
    let tree = Tree::of(&[("n", &numbers(20, "").replace("10\n", "ten\n")), ("m", "old\n")]);
    let (reports, after) = put(&tree, &[&patch]);
    assert_eq!(reports[0].class, Class::Conflict);
    let [file] = reports[0].files.as_slice() else { panic!("{reports:?}") };
    assert!(matches!(file.hunks[0].fit, HunkFit::Fails { already: true, .. }));
    assert!(text(&reports).contains("; what it adds is already there"), "{}", text(&reports));
    // As far as it fits, so that later patches are seen as they would be.
    assert_eq!(after.file("m"), "new\n");
}

#[test]
fn a_conflict_names_files_hunks_and_lines() {
    let patch = format!(
        "{TEN}@@ -15,3 +15,3 @@\n 15\n-16\n+sixteen\n 17\n--- a/gone\n+++ b/gone\n@@ -1 +1 @@\n-x\n+y\n--- a/fits\n+++ b/fits\n@@ -1 +1 @@\n-x\n+y\n"
    );
    let tree = Tree::of(&[
        ("n", &numbers(20, "").replace("10\n", "ten point one\n").replace("17\n", "17  \n")),
        ("fits", "x\n"),
    ]);
    let (reports, after) = put(&tree, &[&patch]);
    assert!(reports[0].stops());
    let expected = "1.patch: in conflict
  n: hunk 1 (line 3 of the patch) does not fit at line 7 or elsewhere
        10  expected  |10
        10  found     |ten point one
  n: hunk 2 (line 12 of the patch) does not fit at line 15 or elsewhere
        17  expected  |17
        17  found     |17  
            they differ only in spaces and line ends
  gone: there is no such file
1 patch: 1 in conflict
";
    assert_eq!(text(&reports), expected);
    assert_eq!(after.file("fits"), "y\n");
}

#[test]
fn a_hunk_that_has_moved_and_changed_is_compared_with_where_it_went() {
    let shifted = format!("{}{}", numbers(90, " more"), numbers(20, "").replace("10\n", "TEN\n"));
    let (reports, _) = put(&Tree::of(&[("n", &shifted)]), &[TEN]);
    let HunkFit::Fails { expected, mismatch, .. } = &reports[0].files[0].hunks[0].fit else {
        panic!("{reports:?}")
    };
    assert_eq!((*expected, mismatch.at), (7, 100));
    assert_eq!(
        (mismatch.expected.as_slice(), mismatch.found.as_slice()),
        (&["10".to_owned()][..], &["TEN".to_owned()][..])
    );
    let (reports, _) = put(&Tree::of(&[("n", "1\n2\n")]), &[TEN]);
    assert!(text(&reports).contains("the file ends"), "{}", text(&reports));
}

#[test]
fn all_patches_of_a_row_are_classified() {
    let second = "--- a/n\n+++ b/n\n@@ -9,3 +9,3 @@\n 9\n-ten\n+TEN\n 11\n";
    let third = "--- a/m\n+++ b/m\n@@ -1 +1 @@\n-x\n+y\n";
    let good = Tree::of(&[("n", &numbers(20, "")), ("m", "x\n")]);
    let (reports, after) = put(&good, &[TEN, second, third]);
    assert!(reports.iter().all(|report| report.class == Class::Clean), "{reports:?}");
    assert_eq!(after, Tree::of(&[("n", &numbers(20, "").replace("10\n", "TEN\n")), ("m", "y\n")]));
    // The first does not fit: the second, which lies on it, says so; the third is judged by itself.
    let bad = Tree::of(&[("n", &numbers(20, "").replace("10\n", "10!\n")), ("m", "x\n")]);
    let (reports, _) = put(&bad, &[TEN, second, third]);
    let classes: Vec<Class> = reports.iter().map(|report| report.class).collect();
    assert_eq!(classes, [Class::Conflict, Class::Conflict, Class::Clean]);
    assert_eq!(reports[0].files[0].after, None);
    assert_eq!(reports[1].files[0].after.as_deref(), Some("1.patch"));
    assert_eq!(conflicts(&reports).count(), 2);
    assert_eq!(summary(&reports), "3 patches: 1 clean, 2 in conflict");
}

#[test]
fn a_waived_conflict_is_left_out_or_applied_as_far_as_it_fits() {
    let patch = format!("{TEN}--- a/m\n+++ b/m\n@@ -1 +1 @@\n-x\n+y\n");
    let tree = Tree::of(&[("n", ""), ("m", "x\n")]);
    let later = "--- a/m\n+++ b/m\n@@ -1 +1 @@\n-y\n+z\n";
    for (what_fits, m) in [(false, "x\n"), (true, "z\n")] {
        let mut row = queue(&[&patch, later]);
        row[0].allowance = allowed(what_fits);
        let outcome = run(&tree, &row);
        let waived = outcome.reports[0].waived.as_ref().unwrap();
        assert!(waived.needed && !outcome.reports[0].stops());
        assert_eq!(tree.changed(&outcome), Tree::of(&[("n", ""), ("m", m)]));
        // What lies on the part that was left out says what is missing.
        let after = outcome.reports[1].files.first().and_then(|file| file.after.as_deref());
        assert_eq!(after, (!what_fits).then_some("1.patch"));
        let headline = outcome.reports[0].headline();
        assert!(headline.contains("waived") && headline.contains("it is known"), "{headline}");
    }
    let mut row = queue(&[later]);
    row[0].allowance = allowed(false);
    let outcome = run(&Tree::of(&[("m", "y\n")]), &row);
    assert!(!outcome.reports[0].waived.as_ref().unwrap().needed);
    assert!(outcome.reports[0].headline().contains("a conflict of it, but there is none"));
}

#[test]
fn reports_survive_json() {
    // The form of what is kept, and of the event.
    let tree = Tree::of(&[("n", &format!("x\n{}", numbers(20, "")))]);
    let (reports, _) = put(&tree, &[TEN, "--- a/gone\n+++ b/gone\n@@ -1 +1 @@\n-x\n+y\n", TEN]);
    assert_eq!(reports[1].files[0].problem, Some(FileProblem::Missing { near: None }));
    let json = serde_json::to_string(&reports).unwrap();
    assert!(json.starts_with(r#"[{"name":"1.patch","class":"offset","files":[{"path":"n","hunks":[{"number":1,"line":3,"fit":"fits","at":8,"offset":1,"#), "{json}");
    assert_eq!(serde_json::from_str::<Vec<osier_patch::PatchReport>>(&json).unwrap(), reports);
}
