//! Nothing is read or written outside the source, and nothing through a symbolic link.

use osier_patch::{FileProblem, Patch, Problem};

use crate::{Tree, put};

#[test]
fn names_that_leave_the_source_are_refused_when_the_patch_is_read() {
    let names = ["../../escape", "a/../../escape", "/etc/passwd", "a/b/../../../escape", "a/.."];
    for name in names {
        for text in [
            format!("--- /dev/null\n+++ {name}\n@@ -0,0 +1 @@\n+x\n"),
            format!("--- {name}\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"),
            format!("--- a/ok\n+++ {name}\n@@ -1 +1 @@\n-x\n+y\n"),
            format!("--- {name}\n+++ b/ok\n@@ -1 +1 @@\n-x\n+y\n"),
            format!(
                "diff --git a/ok b/no\nsimilarity index 100%\nrename from ok\nrename to {name}\n"
            ),
            format!("diff --git a/ok b/no\nsimilarity index 100%\ncopy from {name}\ncopy to ok\n"),
            format!("diff --git \"{name}\" \"{name}\"\nnew file mode 100644\n"),
        ] {
            for strip in [0, 1] {
                let read = Patch::parse("x", text.as_bytes(), strip);
                let Err(error) = read else { panic!("{text} at -p{strip} gives {read:?}") };
                assert!(
                    matches!(error.problem, Problem::Hostile { .. } | Problem::TooShort { .. }),
                    "{text}: {error}"
                );
            }
        }
    }
}

#[test]
fn nothing_goes_through_a_symbolic_link() {
    let tree = Tree::of(&[("f", "x\n")]).link("out", "/etc").link("up", "..").link("file", "f");
    for (path, blocked) in
        [("out/passwd", true), ("up/escape", true), ("out", false), ("file", false)]
    {
        let edit = format!("--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-x\n+y\n");
        let make = format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+y\n");
        let remove = format!("--- a/{path}\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n");
        let rename = format!(
            "diff --git a/f b/{path}\nsimilarity index 100%\nrename from f\nrename to {path}\n"
        );
        for text in [edit, make, remove, rename] {
            let (reports, after) = put(&tree, &[&text]);
            assert!(reports[0].stops() && after == tree, "{text}");
            let problem = reports[0].files[0].problem.as_ref().unwrap();
            assert_eq!(
                matches!(problem, FileProblem::Blocked { link: true, .. }),
                blocked,
                "{text}"
            );
        }
    }
}

#[test]
fn a_link_that_a_patch_makes_is_not_followed_either() {
    let link = "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc\n\\ No newline at end of file\n";
    let through = "--- /dev/null\n+++ b/l/passwd\n@@ -0,0 +1 @@\n+x\n";
    let both = format!("{link}{through}");
    for texts in [vec![link, through], vec![&both]] {
        let (reports, after) = put(&Tree::default(), &texts);
        assert!(reports.last().unwrap().stops());
        assert!(!after.0.keys().any(|path| path.ends_with("passwd")));
    }
    // A file made in the place of a folder that was named above is no way out either.
    let (reports, _) =
        put(&Tree::of(&[("d", "x\n")]), &["--- /dev/null\n+++ b/d/f\n@@ -0,0 +1 @@\n+x\n"]);
    assert!(matches!(reports[0].files[0].problem, Some(FileProblem::Blocked { link: false, .. })));
    // A link that no file system takes.
    for target in ["+\0", "+a\0b"] {
        let bad = link.replace("+/etc", target);
        assert!(put(&Tree::default(), &[&bad]).0[0].stops());
    }
}
