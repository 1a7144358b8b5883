//! The forms that patches come in.

use std::path::Path;

use osier_patch::{Class, FileProblem, Node, Patch, Problem};

use crate::{Tree, numbers, put, queue, run};

fn problem(text: &str) -> (usize, Problem) {
    let error = Patch::parse("x.patch", text.as_bytes(), 1).unwrap_err();
    (error.line, error.problem)
}

#[test]
fn files_come_and_go() {
    for header in ["--- /dev/null\n+++ b/d/new\n", "--- a/d/new\t1970-01-01\n+++ b/d/new\n"] {
        let make = format!("{header}@@ -0,0 +1,2 @@\n+one\n+two\n");
        let (reports, after) = put(&Tree::default(), &[&make]);
        assert_eq!(
            (reports[0].class, &after),
            (Class::Clean, &Tree::of(&[("d/new", "one\ntwo\n")]))
        );
        let (reports, again) = put(&after, &[&make]);
        assert_eq!((reports[0].class, &again), (Class::Already, &after));
        let (reports, _) = put(&Tree::of(&[("d/new", "other\n")]), &[&make]);
        assert_eq!(reports[0].class, Class::Conflict);
        // An empty file is as good as none.
        assert_eq!(put(&Tree::of(&[("d/new", "")]), &[&make]).1, after);
    }
    for header in ["--- a/old\n+++ /dev/null\n", "--- a/old\n+++ b/old\t1970-01-01\n"] {
        let remove = format!("{header}@@ -1,2 +0,0 @@\n-one\n-two\n");
        let (reports, after) = put(&Tree::of(&[("old", "one\ntwo\n")]), &[&remove]);
        assert_eq!((reports[0].class, &after), (Class::Clean, &Tree::default()));
        assert_eq!(put(&after, &[&remove]).0[0].class, Class::Already);
        let more = Tree::of(&[("old", "one\ntwo\nthree\n")]);
        let (reports, after) = put(&more, &[&remove]);
        assert_eq!((reports[0].class, &after), (Class::Conflict, &more));
    }
}

#[test]
fn several_patches_of_one_file_lie_on_one_another() {
    let make = "--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+one\n";
    let edit = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-one\n+two\n";
    let remove = "--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-two\n";
    let outcome = run(&Tree::default(), &queue(&[make, edit, remove]));
    assert!(outcome.reports.iter().all(|report| report.class == Class::Clean));
    assert!(outcome.changes.is_empty(), "what ends as it was has not changed");
    // A file in the place of a folder, and a folder in that of a file.
    let tree = Tree::of(&[("f/x", "1\n"), ("g", "2\n")]);
    let turn = "--- a/f/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+one\n\
                --- a/g\n+++ /dev/null\n@@ -1 +0,0 @@\n-2\n--- /dev/null\n+++ b/g/y\n@@ -0,0 +1 @@\n+two\n";
    let (reports, after) = put(&tree, &[turn]);
    // The folder `f` is still there, empty: a file cannot take its place.
    assert_eq!(reports[0].class, Class::Conflict);
    assert!(after.0.contains_key(Path::new("g/y")));
}

#[test]
fn the_end_of_a_file_may_lack_its_newline() {
    let patch = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n 1\n-2\n\\ No newline at end of file\n+2\n";
    let (reports, after) = put(&Tree::of(&[("f", "1\n2")]), &[patch]);
    assert_eq!((reports[0].class, after), (Class::Clean, Tree::of(&[("f", "1\n2\n")])));
    let patch = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n 1\n-2\n+2\n\\ No newline at end of file\n";
    let (reports, after) = put(&Tree::of(&[("f", "1\n2\n")]), &[patch]);
    assert_eq!((reports[0].class, after), (Class::Clean, Tree::of(&[("f", "1\n2")])));
    // What only differs by it does not fit, and says why.
    let patch = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n-1\n+one\n 2\n";
    let (reports, _) = put(&Tree::of(&[("f", "1\n2")]), &[patch]);
    let text = osier_patch::text(&reports);
    assert!(
        text.contains("found     |2  (no newline at the end)") && text.contains("only in spaces"),
        "{text}"
    );
    // A patch whose own last newline got lost is one of whole lines.
    let (reports, after) = put(&Tree::of(&[("f", "1\n2\n")]), &[patch.trim_end()]);
    assert_eq!((reports[0].class, after), (Class::Clean, Tree::of(&[("f", "one\n2\n")])));
}

#[test]
fn ends_of_lines_are_the_files_own() {
    let patch = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n-1\n+one\n 2\n";
    let windows = patch.replace('\n', "\r\n");
    // The whole patch was turned: its ends say nothing of the file's.
    let (reports, after) = put(&Tree::of(&[("f", "1\n2\n")]), &[&windows]);
    assert_eq!((reports[0].class, after), (Class::Clean, Tree::of(&[("f", "one\n2\n")])));
    let (reports, after) = put(&Tree::of(&[("f", "1\r\n2\r\n")]), &[&windows]);
    assert_eq!((reports[0].class, after), (Class::Clean, Tree::of(&[("f", "one\r\n2\r\n")])));
    let make = "--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+one\n".replace('\n', "\r\n");
    assert_eq!(put(&Tree::default(), &[&make]).1, Tree::of(&[("f", "one\n")]));
    // A header in LF: the lines mean what they say.
    let exact = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n-1\r\n+one\r\n 2\r\n";
    let (reports, after) = put(&Tree::of(&[("f", "1\r\n2\r\n")]), &[exact]);
    assert_eq!((reports[0].class, after), (Class::Clean, Tree::of(&[("f", "one\r\n2\r\n")])));
    let (reports, _) = put(&Tree::of(&[("f", "1\r\n2\r\n")]), &[patch]);
    let text = osier_patch::text(&reports);
    assert!(reports[0].stops() && text.contains("(ends in CR LF)"), "{text}");
}

#[test]
fn context_may_be_uneven() {
    // patch(1) takes less context behind than in front for the end of the file, and would refuse this.
    let patch = "--- a/n\n+++ b/n\n@@ -3,5 +3,5 @@\n 3\n 4\n 5\n-6\n+six\n 7\n";
    let (reports, after) = put(&Tree::of(&[("n", &numbers(20, ""))]), &[patch]);
    assert_eq!(reports[0].class, Class::Clean);
    assert_eq!(
        after,
        Tree::of(&[("n", &numbers(20, "").replace("6\n", "six\n").replace("1six", "16"))])
    );
    // None behind: it was the end of the file once, and that it is not any more is worth a word.
    let append = "--- a/n\n+++ b/n\n@@ -18,3 +18,4 @@\n 18\n 19\n 20\n+new\n";
    assert_eq!(put(&Tree::of(&[("n", &numbers(20, ""))]), &[append]).0[0].class, Class::Clean);
    let (reports, after) = put(&Tree::of(&[("n", &numbers(21, ""))]), &[append]);
    assert_eq!(reports[0].class, Class::Offset);
    assert!(osier_patch::text(&reports).contains("which is not the end of the file as it was"));
    assert_eq!(after, Tree::of(&[("n", &numbers(21, "").replace("20\n", "20\nnew\n"))]));
    // None in front: the beginning.
    let front = "--- a/n\n+++ b/n\n@@ -1,3 +1,4 @@\n+new\n 1\n 2\n 3\n";
    let (reports, _) = put(&Tree::of(&[("n", &format!("0\n{}", numbers(20, "")))]), &[front]);
    assert_eq!(reports[0].class, Class::Offset);
}

#[test]
fn git_changes_modes_names_and_links() {
    let tree = Tree::of(&[("run", "x\n"), ("from", "1\n2\n3\n")]).link("link", "old");
    let patch = "diff --git a/run b/run\nold mode 100644\nnew mode 100755\n\
        diff --git a/from b/d/to\nsimilarity index 60%\nrename from from\nrename to d/to\nindex 01..02 100644\n--- a/from\n+++ b/d/to\n@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n\
        diff --git a/run b/again\nsimilarity index 100%\ncopy from run\ncopy to again\n\
        diff --git a/link b/link\nindex 01..02 120000\n--- a/link\n+++ b/link\n@@ -1 +1 @@\n-old\n\\ No newline at end of file\n+new\n\\ No newline at end of file\n\
        diff --git a/empty b/empty\nnew file mode 100644\nindex 0000000..e69de29\n\
        diff --git a/made b/made\nnew file mode 100755\n--- /dev/null\n+++ b/made\n@@ -0,0 +1 @@\n+#!/bin/sh\n\
        diff --git a/other b/other\nnew file mode 120000\n--- /dev/null\n+++ b/other\n@@ -0,0 +1 @@\n+made\n\\ No newline at end of file\n";
    let (reports, after) = put(&tree, &[patch]);
    assert_eq!(reports[0].class, Class::Clean, "{reports:?}");
    let expected = Tree::of(&[
        ("run", "x\n"),
        ("again", "x\n"),
        ("d/to", "1\ntwo\n3\n"),
        ("empty", ""),
        ("made", "#!/bin/sh\n"),
    ])
    .mode("run", 0o755)
    .mode("made", 0o755)
    .link("link", "new")
    .link("other", "made");
    assert_eq!(after, expected);
    let (reports, again) = put(&after, &[patch]);
    assert_eq!(
        (reports[0].class, &again),
        (Class::Already, &after),
        "{}",
        osier_patch::text(&reports)
    );
    // A mode that is there already is no conflict beside other changes.
    let both = "diff --git a/run b/run\nold mode 100644\nnew mode 100755\n--- a/run\n+++ b/run\n@@ -1 +1 @@\n-x\n+y\n";
    let (reports, _) = put(&Tree::of(&[("run", "x\n")]).mode("run", 0o755), &[both]);
    assert_eq!(reports[0].class, Class::Clean);
    let back = "diff --git a/run b/run\nold mode 100755\nnew mode 100644\n";
    let (reports, plain) = put(&after, &[back]);
    assert_eq!(reports[0].class, Class::Clean);
    assert!(matches!(plain.0[Path::new("run")], Node::File { mode: 0o644, .. }));
    // A file that git empties stays; one that it removes must be empty by then.
    let empty = "diff --git a/f b/f\nindex 1..2 100644\n--- a/f\n+++ b/f\n@@ -1 +0,0 @@\n-x\n";
    assert_eq!(put(&Tree::of(&[("f", "x\n")]), &[empty]).1, Tree::of(&[("f", "")]));
    let gone = "diff --git a/f b/f\ndeleted file mode 100644\nindex 1..0\n--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n";
    assert_eq!(put(&Tree::of(&[("f", "x\n")]), &[gone]).1, Tree::default());
    // Renamed and changed upstream too: a conflict that names both.
    let (reports, _) = put(
        &Tree::of(&[("from", "1\n"), ("d/to", "9\n")]),
        &["diff --git a/from b/d/to\nsimilarity index 100%\nrename from from\nrename to d/to\n"],
    );
    assert!(reports[0].stops());
}

#[test]
fn mails_hold_several_files_and_mailboxes_several_patches() {
    let mail = |number: u32, from: &str, to: &str| {
        format!(
            "From 0123456789abcdef0123456789abcdef0123456{number} Mon Sep 17 00:00:00 2001\nFrom: A <a@example.org>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\nSubject: [PATCH {number}/2] words\n\n- a list\n+ of things that look like lines\n\nSigned-off-by: A <a@example.org>\n---\n f | 2 +-\n g | 2 +-\n 2 files changed, 2 insertions(+), 2 deletions(-)\n\ndiff --git a/f b/f\nindex 1..2 100644\n--- a/f\n+++ b/f\n@@ -1 +1 @@ int f(void)\n-{from}\n+{to}\ndiff --git a/g b/g\nindex 1..2 100644\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-{from}\n+{to}\n-- \n2.39.2\n\n"
        )
    };
    let letter = "From 0123456789abcdef0123456789abcdef01234560 Mon Sep 17 00:00:00 2001\nSubject: [PATCH 0/2] what this is\n\nWords.\n\n f | 2 +-\n-- \n2.39.2\n\n";
    let tree = Tree::of(&[("f", "1\n"), ("g", "1\n")]);
    let (reports, after) = put(&tree, &[&mail(1, "1", "2")]);
    assert_eq!((reports.len(), reports[0].class), (1, Class::Clean));
    assert_eq!(after, Tree::of(&[("f", "2\n"), ("g", "2\n")]));
    let both = format!("{letter}{}{}", mail(1, "1", "2"), mail(2, "2", "3"));
    let (reports, after) = put(&tree, &[&both]);
    let names: Vec<&str> = reports.iter().map(|report| report.name.as_str()).collect();
    assert_eq!(names, ["1.patch (mail 2 of 3)", "1.patch (mail 3 of 3)"]);
    assert_eq!(after, Tree::of(&[("f", "3\n"), ("g", "3\n")]));
    // One of Debian's patches has a head of its own above the mail.
    let (reports, _) = put(&tree, &[&format!("Origin: upstream\n\n{}", mail(1, "1", "2"))]);
    assert_eq!((reports[0].name.as_str(), reports[0].class), ("1.patch", Class::Clean));
    // The first is in already, the second is not.
    let (reports, again) = put(&Tree::of(&[("f", "2\n"), ("g", "2\n")]), &[&both]);
    assert_eq!((reports[0].class, reports[1].class, again), (Class::Already, Class::Clean, after));
    assert!(matches!(problem(letter), (1, Problem::Empty)));
    let packed = "From: a\nContent-Transfer-Encoding: base64\n\nZGlmZg==\n";
    assert!(matches!(problem(packed), (2, Problem::Encoded { .. })));
}

#[test]
fn binary_changes_are_conflicts_of_their_file() {
    let text = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+2\n";
    for (binary, line) in [
        ("Binary files a/d/x y.png and b/d/x y.png differ\n", 1),
        ("Binary files a/d/x y.png and /dev/null differ\n", 1),
        ("Binary files /dev/null and b/d/x y.png differ\n", 1),
        (
            "diff --git a/d/x y.png b/d/x y.png\nindex 1..2\nBinary files a/d/x y.png and b/d/x y.png differ\n",
            1,
        ),
        ("Files a/d/x y.png and b/d/x y.png differ\n", 1),
        ("Binary file d/x y.png has changed\n", 1),
        (
            "diff --git a/old.png b/d/x y.png\nsimilarity index 90%\nrename from old.png\nrename to d/x y.png\nindex 1..2 100644\nBinary files a/old.png and b/d/x y.png differ\n",
            1,
        ),
    ] {
        let patch = format!("{binary}{text}");
        let [read] = &Patch::parse("x", patch.as_bytes(), 1).unwrap()[..] else { panic!() };
        assert_eq!(read.binary(), Some((line, Path::new("d/x y.png"))), "{binary}");
        let (reports, after) = put(&Tree::of(&[("f", "1\n"), ("old.png", "")]), &[&patch]);
        let [file] = reports[0].files.as_slice() else { panic!("{reports:?}") };
        assert_eq!(
            (file.path.as_str(), file.problem.as_ref()),
            ("d/x y.png", Some(&FileProblem::Binary))
        );
        assert_eq!(after.file("f"), "2\n");
    }
}

#[test]
fn names_are_chosen_as_people_write_them() {
    let hunk = "@@ -1 +1 @@\n-x\n+y\n";
    for (tree, header) in [
        (Tree::of(&[("x.c", "x\n")]), "--- old/x.c.orig\n+++ new/x.c\n"),
        (Tree::of(&[("x.c", "x\n"), ("x.c.orig", "x\n")]), "--- old/x.c.orig\n+++ new/x.c\n"),
        (Tree::of(&[("x.c", "x\n")]), "--- old/x.c\n+++ new/x.c.new\n"),
        // A header of git that somebody has edited, as Debian's grub2 has one.
        (
            Tree::of(&[("x.c", "x\n")]),
            "diff --git a/x.c b/x.c\nindex 1..2\n--- a/x\t2022\n+++ b/x.c\n",
        ),
        (Tree::of(&[("x.c", "x\n")]), "Index: x.c\n=====\n--- old/x.c Mon Jan 1 2001\n+++ ./x.c\n"),
    ] {
        let (reports, after) = put(&tree, &[&format!("{header}{hunk}")]);
        assert_eq!(reports[0].class, Class::Clean, "{header}");
        assert_ne!(after.0[Path::new("x.c")], tree.0[Path::new("x.c")]);
    }
    // Made for another number of folders: the file that is meant is named.
    let (reports, _) =
        put(&Tree::of(&[("src/x.c", "x\n")]), &[&format!("--- src/x.c\n+++ src/x.c\n{hunk}")]);
    let text = osier_patch::text(&reports);
    assert!(
        text.contains("x.c: there is no such file, but there is src/x.c: if another number"),
        "{text}"
    );
}

#[test]
fn a_patch_can_be_taken_back() {
    let make =
        "--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+one\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-1\n+2\n";
    let patches = Patch::parse("x", make.as_bytes(), 1).unwrap();
    assert_eq!(patches[0].reversed().reversed(), patches[0]);
    let tree = Tree::of(&[("f", "one\n"), ("g", "2\n")]);
    let mut row = queue(&[make]);
    row[0].patch = Ok(patches[0].reversed());
    let outcome = run(&tree, &row);
    assert_eq!(outcome.reports[0].class, Class::Clean);
    assert_eq!(tree.changed(&outcome), Tree::of(&[("g", "1\n")]));
}

#[test]
fn what_cannot_be_applied_in_full_is_an_error_with_its_line() {
    let header = "--- a/f\n+++ b/f\n";
    type Expected = fn(&Problem) -> bool;
    let cases: &[(String, usize, Expected)] = &[
        ("".into(), 1, |problem| *problem == Problem::Empty),
        ("just words\n".into(), 1, |problem| *problem == Problem::Empty),
        (header.into(), 2, |problem| *problem == Problem::NoHunk),
        ("@@ -1 +1 @@\n-x\n+y\n".into(), 1, |problem| *problem == Problem::HunkOfNoFile),
        (format!("{header}@@ -1 +1\n-x\n+y\n"), 3, |problem| {
            matches!(problem, Problem::HunkHeader { .. })
        }),
        (format!("{header}@@ -1,3 +1,3 @@\n-x\n+y\n"), 5, |problem| {
            *problem == Problem::Short { old: 2, new: 2 }
        }),
        (format!("{header}@@ -1,3 +1,3 @@\n-x\n+y\nwords\n"), 6, |problem| {
            matches!(problem, Problem::HunkLine { .. })
        }),
        (format!("{header}@@ -1 +1 @@\n-x\n+y\n+z\n"), 6, |problem| *problem == Problem::Long),
        (format!("{header}@@ -1 +1 @@\n-x\n+y\n-z\n"), 6, |problem| *problem == Problem::Long),
        // Behind lines that stay as they are, too.
        (format!("{header}@@ -1 +1 @@\n-x\n+y\n same\n\n+z\n"), 8, |problem| {
            *problem == Problem::Long
        }),
        (format!("{header}@@ -1 +1 @@\n-x\n+y\n-- z\n"), 6, |problem| *problem == Problem::Long),
        (format!("{header}@@ -1 +1 @@\n-x\n+y\n@@-5 +5 @@\n-x\n+y\n"), 6, |problem| {
            matches!(problem, Problem::HunkHeader { .. })
        }),
        (format!("{header}@@ -1 +1,2 @@\n-x\n-y\n"), 5, |problem| {
            *problem == Problem::Short { old: 0, new: 2 }
        }),
        (format!("{header}@@ -1 +99999999999999999999 @@\n-x\n+y\n"), 3, |problem| {
            matches!(problem, Problem::HunkHeader { .. })
        }),
        (
            "*** a/f\n--- b/f\n***************\n*** 1 ****\n! x\n--- 1 ----\n! y\n".into(),
            3,
            |problem| *problem == Problem::Form { form: "context" },
        ),
        ("diff --cc f\nindex 1,2..3\n".into(), 1, |problem| {
            *problem == Problem::Form { form: "combined" }
        }),
        ("diff --git x y\nold mode 100644\nnew mode 100755\n".into(), 3, |problem| {
            *problem == Problem::NoName
        }),
        ("diff --git a/m b/m\nnew file mode 100000\nindex 1..2\n".into(), 2, |problem| {
            matches!(problem, Problem::Mode { .. })
        }),
        ("--- f\n+++ f\n@@ -1 +1 @@\n-x\n+y\n".into(), 5, |problem| {
            matches!(problem, Problem::TooShort { strip: 1, .. })
        }),
    ];
    for (text, line, expected) in cases {
        let (found, what) = problem(text);
        assert!(found == *line && expected(&what), "{text}line {found}: {what:?}");
    }
    // The signature of a mail is no line of the hunk above it.
    Patch::parse("x", format!("{header}@@ -1 +1 @@\n-x\n+y\n-- \n2.39\n").as_bytes(), 1).unwrap();
    // Nor is a line between parts, and one that would stay as it is changes nothing.
    for below in [
        "---\n",
        " \n",
        " more\n",
        "--\n",
        "-- \n+x\n",
        "words\n+x\n",
        "\n \n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-x\n+y\n",
    ] {
        Patch::parse("x", format!("{header}@@ -1 +1 @@\n-x\n+y\n{below}").as_bytes(), 1).unwrap();
    }
    // Blanks that got lost at the end of a line were an empty line.
    let lost = format!("{header}@@ -1,3 +1,3 @@\n 1\n\n-2\n+two\n");
    assert_eq!(put(&Tree::of(&[("f", "1\n\n2\n")]), &[&lost]).1, Tree::of(&[("f", "1\n\ntwo\n")]));
}
