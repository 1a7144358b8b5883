//! What others write and read: nothing of a patch gets lost, and what is done is what git and patch(1) do.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use osier_patch::{Class, FileProblem, Node, Patch, Problem};

use crate::{Tree, put};

/// New, renamed, removed and switched files, with all of git's headers.
const HEADERS: &str = "diff --git a/made b/made\nnew file mode 100755\nindex 0000000..ce01362\n--- /dev/null\n+++ b/made\n@@ -0,0 +1 @@\n+hello\n\
    diff --git a/from b/to\nsimilarity index 50%\nrename from from\nrename to to\nindex 1191247..7be2a8a 100644\n--- a/from\n+++ b/to\n@@ -1,2 +1,2 @@\n 1\n-2\n+two\n\
    diff --git a/void b/void\ndeleted file mode 100644\nindex e69de29..0000000\n\
    diff --git a/empty b/empty\nnew file mode 100644\nindex 0000000..e69de29\n\
    diff --git a/run b/run\nold mode 100644\nnew mode 100755\n\
    diff --git a/run b/copy\nsimilarity index 100%\ncopy from run\ncopy to copy\n";

/// The change of a file alone, without a header of git.
const PLAIN: &str = "--- a/from\n+++ b/from\n@@ -1,2 +1,2 @@\n 1\n-2\n+two\n";

fn tree() -> Tree {
    Tree::of(&[("from", "1\n2\n"), ("void", ""), ("run", "x\n"), ("f", "1\n")])
}

fn read(text: impl AsRef<[u8]>) -> Result<Vec<Patch>, Problem> {
    Patch::parse("x.patch", text.as_ref(), 1).map_err(|error| error.problem)
}

/// Writes a tree to a folder.
fn lay_out(tree: &Tree, folder: &Path) {
    for (path, node) in &tree.0 {
        let place = folder.join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        match node {
            Node::File { content, mode } => {
                fs::write(&place, content).unwrap();
                fs::set_permissions(&place, fs::Permissions::from_mode(*mode)).unwrap();
            }
            Node::Symlink { target } => {
                symlink(std::str::from_utf8(target).unwrap(), &place).unwrap();
            }
        }
    }
}

/// Reads the tree of a folder back.
fn collect(folder: &Path, below: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(folder.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(folder, &path, tree);
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            let target = target.into_os_string().into_encoded_bytes();
            tree.0.insert(path, Node::Symlink { target });
        } else {
            // What else a mode says is the umask's.
            let runs = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
            let mode = if runs { 0o755 } else { 0o644 };
            let content = fs::read(entry.path()).unwrap();
            tree.0.insert(path, Node::File { content, mode });
        }
    }
}

/// What a program makes of a tree by a patch; nothing where it refuses, or is not there.
fn by(program: &str, words: &[&str], tree: &Tree, text: &[u8]) -> Option<Tree> {
    let folder = tempfile::tempdir().unwrap();
    let (source, patch) = (folder.path().join("source"), folder.path().join("x.patch"));
    fs::create_dir(&source).unwrap();
    lay_out(tree, &source);
    fs::write(&patch, text).unwrap();
    let status = Command::new(program)
        .args(words)
        .arg(&patch)
        .current_dir(&source)
        .env("GIT_CEILING_DIRECTORIES", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !status.is_ok_and(|status| status.success()) {
        return None;
    }
    let mut after = Tree::default();
    collect(&source, Path::new(""), &mut after);
    Some(after)
}

fn by_git(tree: &Tree, text: &[u8]) -> Option<Tree> {
    by("git", &["-c", "core.filemode=true", "apply"], tree, text)
}

fn by_patch(tree: &Tree, text: &[u8]) -> Option<Tree> {
    by("patch", &["-p1", "-F0", "-s", "--no-backup-if-mismatch", "-i"], tree, text)
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn what_is_read_is_done_as_git_and_patch_do_it() {
    let crlf = HEADERS.replace('\n', "\r\n");
    let mail = format!(
        "From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\nFrom: a <a@b>\nSubject: [PATCH] x\n\nIt was so:\n\n    diff --git a/f b/f\n    new file mode 100755\n    --- a/f\n    +++ b/f\n    @@ -1 +1 @@\n    -1\n    +2\n---\n f => g | 2 +-\n rename from => to (50%)\n mode change 100644 => 100755 run\n\n{HEADERS}-- \n2.39.2\n\n"
    );
    let show = format!(
        "commit 0123456789abcdef0123456789abcdef01234567 (HEAD -> main)\nAuthor: a <a@b>\nDate:   Mon Nov 30 09:01:02 2020 +0000\n\n    Words.\n\n    new file mode 100755\n\n{HEADERS}"
    );
    let marked = format!("\u{feff}{HEADERS}");
    let cases: &[(&str, Vec<u8>)] = &[
        ("plain", PLAIN.into()),
        ("headers", HEADERS.into()),
        ("a mail", mail.into()),
        ("git show", show.into()),
        ("a mark", marked.into()),
        ("marks in the middle", format!("\u{feff}{PLAIN}\u{feff}diff --git a/run b/run\nold mode 100644\nnew mode 100755\n").into()),
        ("headers in CR LF", crlf.into()),
        ("a link", "diff --git a/l b/l\nnew file mode 120000\nindex 0000000..6a69f92\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+f\n\\ No newline at end of file\n".into()),
        ("a quoted name", "diff --git \"a/\\303\\244 \\\"x\\\"\" \"b/\\303\\244 \\\"x\\\"\"\nnew file mode 100644\n--- /dev/null\n+++ \"b/\\303\\244 \\\"x\\\"\"\n@@ -0,0 +1 @@\n+q\n".into()),
        ("a name with blanks", "--- a/a file\t2020-01-01 00:00:00.000000000 +0000\n+++ b/a file\t2020-01-01 00:00:00.000000000 +0000\n@@ -0,0 +1 @@\n+b\n".into()),
        ("no newline", "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+1\n\\ No newline at end of file\n".into()),
        ("a removed file", "--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n".into()),
        ("an Index line", "Index: source/f\n===================================================================\n--- source.orig/f\n+++ source/f\n@@ -1 +1 @@\n-1\n+2\n".into()),
        ("words behind", "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+2\nThat was all.\n".into()),
    ];
    for (name, text) in cases {
        let patches = read(text).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert_eq!(patches.len(), 1, "{name}");
        let text = std::str::from_utf8(text).unwrap();
        let (reports, ours) = put(&tree(), &[text]);
        assert_eq!(reports[0].class, Class::Clean, "{name}: {}", osier_patch::text(&reports));
        let theirs = [by_git(&tree(), text.as_bytes()), by_patch(&tree(), text.as_bytes())];
        // Neither takes git's headers behind a mark or in CR LF.
        let alone = name.contains("mark") || name.contains("CR LF");
        let both = is_there("git") && is_there("patch");
        assert!(alone || !both || theirs.iter().any(Option::is_some), "{name}: neither takes it");
        for theirs in theirs.into_iter().flatten().filter(|_| !alone) {
            assert_eq!(ours, theirs, "{name}");
        }
    }
    let whole = put(&tree(), &[HEADERS]).1;
    for same in ["a mark", "headers in CR LF", "a mail", "git show"] {
        let text = &cases.iter().find(|(name, _)| name == &same).unwrap().1;
        assert_eq!(put(&tree(), &[std::str::from_utf8(text).unwrap()]).1, whole, "{same}");
    }
}

#[test]
fn bytes_that_are_no_lines_are_changed_as_git_does_it() {
    if !is_there("git") {
        return;
    }
    // From git itself: a new, a changed by parts, a renamed and changed, and a removed file.
    let noise = |seed: u32, length: u32| -> Vec<u8> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(next).collect()
    };
    let file = |content: Vec<u8>| Node::File { content, mode: 0o644 };
    let large = noise(1, 70_000);
    let mut changed = large.clone();
    changed.splice(100..140, noise(2, 300));
    let (mut before, mut after) = (Tree::default(), Tree::default());
    for (path, old, new) in [
        ("gone", Some(vec![0, 1, 2]), None),
        ("large", Some(large.clone()), Some(changed.clone())),
        ("moved", Some([&large[..], b"1"].concat()), None),
        ("there", None, Some([&large[..], b"2"].concat())),
        ("new", None, Some(vec![0; 5000])),
        ("small", Some(vec![0, 9]), Some(b"text\n".to_vec())),
    ] {
        before.0.extend(old.map(|content| (path.into(), file(content))));
        after.0.extend(new.map(|content| (path.into(), file(content))));
    }
    let folder = tempfile::tempdir().unwrap();
    let git = |words: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.filemode=true"])
            .args(words)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    git(&["init", "-q"]);
    lay_out(&before, folder.path());
    git(&["add", "-A"]);
    git(&["commit", "-qm", "before"]);
    for path in before.0.keys() {
        fs::remove_file(folder.path().join(path)).unwrap();
    }
    lay_out(&after, folder.path());
    git(&["add", "-A"]);
    let text = git(&["diff", "--cached", "--binary", "-M"]);
    let text = std::str::from_utf8(&text).unwrap();
    assert!(text.contains("\ndelta ") && text.contains("\nliteral ") && text.contains("\nrename "));
    let (reports, ours) = put(&before, &[text]);
    assert_eq!(reports[0].class, Class::Clean, "{}", osier_patch::text(&reports));
    assert_eq!(ours, after);
    assert_eq!(put(&after, &[text]).0[0].class, Class::Already);
    // Another file than the one it was made from is never overwritten.
    let mut other = before.clone();
    other.0.insert("large".into(), file(noise(3, 70_000)));
    other.0.insert("small".into(), file(vec![0, 8]));
    let (reports, _) = put(&other, &[text]);
    let problems: Vec<_> =
        reports[0].files.iter().map(|file| (&*file.path, &file.problem)).collect();
    let wrong = Some(FileProblem::OtherBytes);
    assert_eq!(problems, [("large", &wrong), ("small", &wrong)]);
    // Cut short or damaged it is an error, at every line.
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let begins = lines.iter().position(|line| line.starts_with("GIT binary")).unwrap();
    for end in begins + 1..begins + 6 {
        let read = read(lines[..end].concat());
        assert!(matches!(read, Err(Problem::BinaryForm { .. })), "{end}: {read:?}");
    }
    let damaged = text.replacen("\nliteral ", "\nliteral 1", 1);
    assert!(matches!(read(damaged), Err(Problem::BinaryForm { .. })));
}

#[test]
fn lines_of_headers_where_nothing_looks_are_errors() {
    // Each line of a header alone: indented, quoted, coloured, behind blanks of web pages.
    for line in [
        "diff --git a/x b/x",
        "diff --git x x",
        "old mode 100644",
        "new mode 100755",
        "new file mode 100755",
        "deleted file mode 100644",
        "similarity index 95%",
        "rename from a",
        "rename to \"a b\"",
        "copy from a",
        "copy to b",
        "GIT binary patch",
        "Binary files a/x and b/x differ",
        "@@ -1,2 +1,3 @@",
        "literal 1\nIcmZPo000310RR91",
        "--- a/x\n+++ b/x\n@@ -1 +1 @@",
    ] {
        for before in
            ["  ", "\t", "> ", ">> > ", "| ", "\u{a0}", "\u{200b}", "\u{1b}[1m", "\u{feff} "]
        {
            let moved: String = line.lines().map(|line| format!("{before}{line}\n")).collect();
            for text in [format!("{moved}{PLAIN}"), format!("{PLAIN}{moved}"), moved] {
                let problem = read(&text).unwrap_err();
                assert!(matches!(problem, Problem::Moved { .. }), "{text}{problem}");
            }
        }
    }
    for text in [
        "new file mode 100755\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n",
        "old mode 100644\nnew mode 100755\n",
        "deleted file mode 100644\n",
        "similarity index 100%\nrename from from\nrename to to\n",
        "rename from from\nrename to to\n--- a/from\n+++ b/to\n@@ -1 +1 @@\n-1\n+2\n",
        "rename from a file\nrename to another\n",
        "copy from from\n",
        "GIT binary patch\nliteral 1\nIcmZPo000310RR91\n\n",
        "literal 1\nIcmZPo000310RR91\n\n",
    ] {
        for text in [
            text.to_owned(),
            format!("words\n{text}"),
            format!("{text}{PLAIN}"),
            format!("{PLAIN}{text}"),
        ] {
            let problem = read(&text).unwrap_err();
            assert!(matches!(problem, Problem::Orphan { .. }), "{text}{problem}");
        }
    }
    // Words that only sound like them.
    for words in [
        "rename from one name to another, as\nis done here",
        "diff --git is what\n  diff --git writes; new file mode 100755 is, too",
        " rename from => to (100%)\n create mode 100755 x\n delete mode 100644 y",
        "index 1..2\n@@\nexpression E;\n@@\n- kfree(E);\n+ free(E);",
        "  ***************\n*****************************\n1c of it",
        "literal 5\nwords, delta 6",
        "similarity index 95% or so",
        "--- words\n+ words",
        "Binary files are not text; they differ",
    ] {
        let text = format!("{words}\n\n{PLAIN}");
        let (reports, after) = put(&tree(), &[&text]);
        assert_eq!((reports[0].class, after.file("from")), (Class::Clean, "1\ntwo\n"), "{words}");
    }
}

#[test]
fn what_is_no_plain_patch_is_named_for_what_it_is() {
    let packed = |bytes: &[u8]| matches!(read(bytes), Err(Problem::Packed { .. }));
    assert!(packed(b"\x1f\x8b\x08\0") && packed(b"\xfd7zXZ\0\0") && packed(b"\x28\xb5\x2f\xfd"));
    for mark in ["\u{feff}", ""] {
        let units: Vec<u16> = format!("{mark}{HEADERS}").encode_utf16().collect();
        let (little, big): (Vec<u8>, Vec<u8>) = (
            units.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
            units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
        );
        for bytes in [little, big] {
            assert!(matches!(read(bytes), Err(Problem::Wide { .. })));
        }
    }
    assert_eq!(read("<!DOCTYPE html>\n<html><pre>\n--- a/f\n+++ b/f\n"), Err(Problem::Page));
    assert_eq!(read(HEADERS.replace('\n', "\r")), Err(Problem::LoneReturns));
    let coloured =
        HEADERS.replace("diff", "\u{1b}[1mdiff").replace("\n@@", "\u{1b}[m\n\u{1b}[36m@@");
    assert!(read(coloured).unwrap_err().to_string().contains("`git diff --no-color`"));
    let mail = |field: &str| format!("From: a\nSubject: b\n{field}\n\nwords\n---\n{PLAIN}");
    for field in [
        "Content-Transfer-Encoding: base64",
        "content-transfer-encoding:   Quoted-Printable",
        "Content-Transfer-Encoding:\n \"base64\"",
        "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Transfer-Encoding: BASE64",
        "Content-Transfer-Encoding: x-uuencode",
    ] {
        assert!(matches!(read(mail(field)), Err(Problem::Encoded { .. })), "{field}");
    }
    for field in [
        "Content-Type: text/plain; format=flowed",
        "Content-Type: text/plain;\n\tcharset=utf-8;\n format=\"flowed\"; delsp=yes",
    ] {
        assert_eq!(read(mail(field)), Err(Problem::Flowed), "{field}");
    }
    for field in ["Content-Transfer-Encoding: 8bit", "Content-Type: text/plain; charset=utf-8"] {
        read(mail(field)).unwrap();
    }
    for (text, form) in [
        (
            "*** a/f\t2020\n--- b/f\t2020\n*************** int main(void)\n*** 1 ****\n! x\n--- 1 ----\n! y\n",
            "context",
        ),
        ("5,6c7\n< old\n< lines\n---\n> new\n", "normal"),
        ("3a4\n> new\n", "normal"),
        ("5c\nnew\n.\n", "ed"),
        ("diff --combined f\nindex 1,2..3\n", "combined"),
        ("@@@ -1,2 -1,2 +1,3 @@@\n", "combined"),
    ] {
        for text in [text.to_owned(), format!("{PLAIN}words\n{text}")] {
            assert_eq!(read(&text), Err(Problem::Form { form }), "{text}");
        }
    }
    let hash = "0123456789abcdef0123456789abcdef01234567";
    for text in [
        format!(
            "diff --git a/m b/m\nnew file mode 160000\nindex 0000000..0123456\n--- /dev/null\n+++ b/m\n@@ -0,0 +1 @@\n+Subproject commit {hash}\n"
        ),
        format!(
            "diff --git a/m b/m\nindex 1234567..0123456 160000\n--- a/m\n+++ b/m\n@@ -1 +1 @@\n-Subproject commit {hash}\n+Subproject commit {hash}\n"
        ),
        format!(
            "--- a/m\n+++ b/m\n@@ -1 +1 @@\n-Subproject commit {hash}\n+Subproject commit {hash}-dirty\n"
        ),
        format!("Subproject commit {hash}\n"),
        "Submodule lib/x 0123456..89abcde:\n  > words\n".into(),
        "Submodule lib/x 0000000...89abcde (new submodule)\n".into(),
        "Submodule lib contains modified content\n".into(),
    ] {
        assert_eq!(read(&text), Err(Problem::Submodule), "{text}");
        assert_eq!(read(format!("{PLAIN}words\n{text}")), Err(Problem::Submodule), "{text}");
    }
    assert_eq!(read("Submodule handling is new\n"), Err(Problem::Empty));
}

#[test]
fn a_patch_that_is_cut_short_is_never_less_than_it_was() {
    // Cut behind each line: an error, or all that stands in front of the cut is done.
    let lines: Vec<&str> = HEADERS.split_inclusive('\n').collect();
    for end in 1..lines.len() {
        let whole = lines[end].starts_with("diff ");
        // Nothing says that more should follow where a mode or a name is the last line.
        let open = ["new mode", "new file mode", "deleted file mode"];
        let open = open.iter().any(|word| lines[end - 1].starts_with(word));
        match read(lines[..end].concat()) {
            Ok(_) => assert!(whole || open, "cut behind {:?}", lines[end - 1]),
            Err(problem) => assert!(!whole, "{problem}"),
        }
    }
    for text in [
        "diff --git a/f b/f\n",
        "diff --git a/f b/f\nindex 1234567..89abcde 100644\n",
        "diff --git a/f b/f\nnew file mode 100644\nindex 0000000..89abcde\n",
        "diff --git a/f b/g\nsimilarity index 95%\nrename from f\nrename to g\n",
        "diff --git a/f b/f\nindex 1234567..89abcde 100644\n\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+2\n",
        "diff --git a/f b/f\n  old mode 100644\n  new mode 100755\n",
    ] {
        for text in [text.to_owned(), format!("{text}{HEADERS}"), format!("{PLAIN}{text}")] {
            assert_eq!(read(&text), Err(Problem::NoChange), "{text}");
        }
    }
}

#[test]
fn mailboxes_of_any_program_are_read_mail_by_mail() {
    // The second mail renames what the first one makes, which one patch cannot.
    let mail = |from: &str, diff: &str| {
        format!("{from}\nFrom: a\nSubject: b\n\nwords\n---\n{diff}-- \n2.39.2\n\n")
    };
    let make =
        "diff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+n\n";
    let rename = "diff --git a/n b/o\nsimilarity index 100%\nrename from n\nrename to o\n";
    for from in [
        "From mboxrd@z Thu Jan  1 00:00:00 1970",
        "From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001",
        "From 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef Mon Sep 17 00:00:00 2001",
    ] {
        let text = mail(from, make) + &mail(from, rename);
        let (reports, after) = put(&Tree::default(), &[&text]);
        assert_eq!(
            reports.iter().map(|report| report.class).collect::<Vec<_>>(),
            [Class::Clean; 2]
        );
        assert_eq!(after, Tree::of(&[("o", "n\n")]), "{from}");
    }
}
