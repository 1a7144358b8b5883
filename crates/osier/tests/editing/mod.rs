//! `osier edit` on a small source that lies beside the project: what it refuses, what it says, and what it leaves alone.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use crate::space::Space;
use crate::{SCRIPT, pin_nothing};

/// A project with a component whose source is an archive of a few files.
fn space() -> Space {
    let space = Space::new(&[("osier.toml", "name = \"p\"\n"), ("recipes/own.toml", &own())]);
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode, text) in [
        ("a-1/read-only", 0o444, "locked\n"),
        ("a-1/run", 0o755, "#!/bin/sh\n"),
        ("a-1/src/main.c", 0o644, "int main;\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(mode);
        header.set_mtime(1_500_000_000);
        archive.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let bytes = archive.into_inner().unwrap();
    let place = space.folder.path().join("a-1.tar");
    fs::write(&place, &bytes).unwrap();
    let write = |source: &str| {
        let recipe = format!("name = \"a\"\nversion = \"1\"\n{source}{SCRIPT}");
        fs::write(space.project().join("recipes/a.toml"), recipe).unwrap();
    };
    write("");
    pin_nothing(&space);
    let digest = osier_store::Digest::of(&bytes);
    write(&format!("source = {{ url = \"http://127.0.0.1:9/a-1.tar\", sha256 = \"{digest}\" }}\n"));
    space.prints(&["fetch", "a", "--import", &place.display().to_string()]);
    space
}

fn own() -> String {
    format!("name = \"own\"\nsource = {{ path = \"src\" }}\n{SCRIPT}")
}

fn source(space: &Space) -> PathBuf {
    space.project().join("work/a")
}

#[test]
fn a_source_is_laid_out_as_it_is_but_for_what_cannot_be_written() {
    let space = space();
    let text = space.prints(&["edit", "a", "work/a"]);
    assert!(text.starts_with("  edit   the source of a is in work/a: 3 files\n"), "{text}");
    assert!(text.contains("  note   no step of a says that it notices changed files"), "{text}");
    let mode =
        |path: &str| fs::metadata(source(&space).join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("read-only"), mode("run"), mode("src/main.c")), (0o644, 0o755, 0o644));
    let time = fs::metadata(source(&space).join("src/main.c")).unwrap().modified().unwrap();
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_secs(), 1_500_000_000);
    // Git sees nothing of the record, which names a folder of this machine.
    assert_eq!(fs::read_to_string(space.project().join(".osier/.gitignore")).unwrap(), "*\n");

    let listed = |state: &str| {
        let text = space.prints(&["edit", "--list"]);
        assert_eq!(text, format!("a  {}  {state}\n", source(&space).display()));
    };
    listed("nothing is changed");
    let status = space.prints(&["status", "a"]);
    assert!(status.contains("where nothing is changed"), "{status}");
    fs::write(source(&space).join("src/main.c"), "int main = 1;\n").unwrap();
    fs::create_dir_all(source(&space).join("empty/deep")).unwrap();
    fs::create_dir_all(source(&space).join(".git")).unwrap();
    fs::write(source(&space).join(".git/HEAD"), "x").unwrap();
    listed("1 file is changed");
    let status = space.prints(&["status", "a"]);
    assert!(status.contains("  a is edited: it is built from "), "{status}");
    let why = space.prints(&["why", "a"]);
    assert!(why.contains("a is edited: it is built from "), "{why}");
    let graph = space.prints(&["graph", "a"]);
    assert!(graph.contains("a 1  not built, edited\n") && graph.contains("    edit "), "{graph}");
    let json = space.prints(&["--json", "edit", "--list"]);
    assert!(json.starts_with("{\"edits\":[{\"component\":\"a\""), "{json}");

    let text = space.prints(&["edit", "--drop", "a"]);
    assert_eq!(text, "a is built from its recipe again; work/a stays as it is\n");
    assert_eq!(space.prints(&["edit", "--list"]), "nothing is edited\n");
    assert!(source(&space).join("src/main.c").is_file());
    let graph = space.prints(&["graph", "a"]);
    assert!(!graph.contains("edit"), "{graph}");
}

#[test]
fn folders_that_cannot_take_a_source_are_refused() {
    let space = space();
    fs::create_dir_all(space.project().join("full/of")).unwrap();
    fs::write(space.project().join("file"), "").unwrap();
    symlink("recipes", space.project().join("link")).unwrap();
    let store = space.folder.path().join("store/inside").display().to_string();
    space.prints(&["edit", "a", "work/a"]);
    fs::rename(space.project().join("recipes/a.toml"), space.project().join("recipes/b.toml"))
        .unwrap();
    let recipe = fs::read_to_string(space.project().join("recipes/b.toml")).unwrap();
    let recipe = recipe.replace("name = \"a\"", "name = \"b\"");
    fs::write(space.project().join("recipes/b.toml"), recipe).unwrap();
    for (folder, why) in [
        ("full", "it is not empty"),
        ("file", "it is a file"),
        (".", "it is the project itself"),
        ("recipes/b", "the project's `recipes` are read from there"),
        ("link/b", "the project's `recipes` are read from there"),
        ("systems/s/overlay", "the project's `systems` are read from there"),
        (".osier/b", "the project's `.osier` are read from there"),
        (&store, "it is in osier's store"),
        ("work/a/src/b", "a is edited in"),
        ("file/b", "cannot find"),
    ] {
        let (status, text) = space.fails(&["edit", "b", folder]);
        let wanted = if why.starts_with("cannot") { 4 } else { 2 };
        assert_eq!(status, wanted, "{folder}: {text}");
        assert!(text.contains(why), "{folder}: {text}");
    }
    assert_eq!(space.prints(&["edit", "--list"]).lines().count(), 1);
    // An empty folder that is there is taken.
    fs::create_dir(space.project().join("room")).unwrap();
    space.prints(&["edit", "b", "room"]);
    assert!(space.project().join("room/src/main.c").is_file());
    // Without a project there is nothing to edit in.
    fs::remove_file(space.project().join("osier.toml")).unwrap();
    let (status, text) = space.fails(&["edit", "own", "elsewhere"]);
    assert_eq!(status, 2);
    assert!(text.starts_with("error[E002]: there is no project here"), "{text}");
}

#[test]
fn wrong_words_are_told_with_what_to_do() {
    let space = space();
    fs::create_dir_all(space.project().join("recipes/own")).unwrap();
    fs::rename(
        space.project().join("recipes/own.toml"),
        space.project().join("recipes/own/recipe.toml"),
    )
    .unwrap();
    fs::create_dir_all(space.project().join("recipes/own/src")).unwrap();
    fs::write(space.project().join("recipes/own/src/file"), "x").unwrap();
    fs::write(space.project().join("recipes/bare.toml"), format!("name = \"bare\"\n{SCRIPT}"))
        .unwrap();
    for (words, status, wanted) in [
        (
            ["edit", "own", "work/own"].as_slice(),
            2,
            "error[E003]: the source of own cannot be edited: its source `own` is a folder of the project already",
        ),
        (
            &["edit", "bare", "work/bare"],
            2,
            "error[E003]: the source of bare cannot be edited: it has none of its own",
        ),
        (&["edit", "aa", "work/aa"], 2, "error[C001]: there is no component `aa`"),
        (&["edit"], 2, "error[C002]: no component is named"),
        (&["edit", "a"], 2, "error[C002]: no folder is named"),
        (&["edit", "--finish", "a"], 2, "error[C001]: there is no edited component `a`"),
        (&["edit", "--afresh", "a"], 2, "error[C001]: there is no edited component `a`"),
        (&["edit", "--drop", "a"], 2, "error[C001]: there is no edited component `a`"),
        (&["edit", "--finish", "--drop", "a"], 2, "cannot be used with"),
        (&["edit", "-m", "x", "a", "work/a"], 2, "error[C002]: a message is for --finish"),
    ] {
        let (found, text) = space.fails(words);
        assert_eq!(found, status, "{words:?}: {text}");
        assert!(text.contains(wanted), "{words:?}: {text}");
    }
    assert!(!space.project().join("work").exists() && !space.project().join(".osier").exists());
    space.prints(&["edit", "a", "work/a"]);
    let (status, text) = space.fails(&["edit", "a", "work/other"]);
    assert_eq!(status, 2);
    assert!(
        text.starts_with("error[E002]: a is already being edited in [SPACE]/project/work/a"),
        "{text}"
    );
    let (_, text) = space.fails(&["edit", "--drop", "b"]);
    assert!(text.contains("there are: a"), "{text}");
}

#[test]
fn what_happens_to_the_folder_is_told() {
    let space = space();
    space.prints(&["edit", "a", "work/a"]);
    let away = space.project().join("away");
    let aside = || fs::rename(source(&space), &away).unwrap();
    let back = || fs::rename(&away, source(&space)).unwrap();
    let fails = |wanted: &str| {
        for words in [["build", "a"], ["status", "a"], ["edit", "--finish"]] {
            let words: Vec<&str> =
                words.into_iter().chain((words[0] == "edit").then_some("a")).collect();
            let (status, text) = space.fails(&words);
            assert_eq!(status, 2, "{text}");
            assert!(
                text.contains(&format!(
                    "error[E001]: a is edited in [SPACE]/project/work/a, which {wanted}"
                )),
                "{text}"
            );
            assert!(text.contains("hint: put it back, or run `osier edit --drop a`"), "{text}");
        }
        // What does not need it is not concerned, and the list says it.
        space.prints(&["status", "own"]);
        assert!(space.prints(&["edit", "--list"]).contains(wanted));
    };
    fs::create_dir_all(space.project().join("recipes/own/src")).unwrap();
    fs::write(space.project().join("recipes/own/src/file"), "x").unwrap();
    fs::rename(
        space.project().join("recipes/own.toml"),
        space.project().join("recipes/own/recipe.toml"),
    )
    .unwrap();
    aside();
    fails("does not exist");
    fs::write(source(&space), "").unwrap();
    fails("is not a folder");
    fs::remove_file(source(&space)).unwrap();
    fs::create_dir(source(&space)).unwrap();
    fails("is empty");
    fs::remove_dir(source(&space)).unwrap();
    back();
    assert!(space.prints(&["edit", "--list"]).contains("nothing is changed"));

    // Another source than the one that is edited: nobody can say what the changes are.
    let recipe = space.project().join("recipes/a.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let other = space.folder.path().join("other.tar");
    fs::write(&other, fs::read(space.folder.path().join("a-1.tar")).unwrap().repeat(2)).unwrap();
    let digest = osier_store::Digest::of(&fs::read(&other).unwrap()).to_string();
    let old = osier_store::Digest::of(&fs::read(space.folder.path().join("a-1.tar")).unwrap());
    let new = text.replace("a-1.tar", "other.tar").replace(&old.to_string(), &digest);
    space.prints(&["fetch", "own", "--import", &other.display().to_string()]);
    fs::write(&recipe, new).unwrap();
    let (status, said) = space.fails(&["build", "a"]);
    assert_eq!(status, 2);
    assert!(
        said.contains("error[E004]: a is edited in")
            && said.contains("has changed since this edit began"),
        "{said}"
    );
    fs::write(&recipe, text).unwrap();
    assert!(space.prints(&["edit", "--list"]).contains("nothing is changed"));

    // A record that cannot be read is told, and can be dropped.
    fs::write(space.project().join(".osier/edits/a/edit.json"), "{").unwrap();
    let (status, said) = space.fails(&["build", "a"]);
    assert_eq!(status, 2);
    assert!(said.contains("error[E004]") && said.contains("osier edit --drop a"), "{said}");
    space.prints(&["edit", "--drop", "a"]);
    assert_eq!(space.prints(&["edit", "--list"]), "nothing is edited\n");
}

#[test]
fn what_a_patch_cannot_say_stops_the_finish_and_nothing_else() {
    let space = space();
    space.prints(&["edit", "a", "work/a"]);
    fs::write(source(&space).join("picture"), b"\0\x01").unwrap();
    fs::write(source(&space).join("two\nlines"), "x").unwrap();
    let (status, text) = space.fails(&["edit", "--finish", "a"]);
    assert_eq!(status, 2);
    assert!(
        text.contains("error[E005]: a patch cannot express some of the changes in a\n"),
        "{text}"
    );
    assert!(text.contains("    | picture: it is binary"), "{text}");
    assert!(space.project().join("recipes/a.toml").is_file());
    assert!(space.prints(&["edit", "--list"]).contains("2 files are changed"));
    // With nothing changed there is nothing to write.
    for name in ["picture", "two\nlines"] {
        fs::remove_file(source(&space).join(name)).unwrap();
    }
    let text = space.prints(&["edit", "--finish", "a"]);
    assert!(
        text.starts_with("  done   nothing was changed; a is built from its recipe again\n"),
        "{text}"
    );
    assert_eq!(space.prints(&["edit", "--list"]), "nothing is edited\n");
}

/// Begins to edit, and changes what a patch can say: lines, a mode, a link, what comes and what goes.
fn change_all(space: &Space) {
    space.prints(&["edit", "a", "work/a"]);
    let work = source(space);
    fs::write(work.join("src/main.c"), "int main = 1;\n").unwrap();
    fs::write(work.join("src/new file"), "no end").unwrap();
    fs::set_permissions(work.join("read-only"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(work.join("run")).unwrap();
    symlink("src/main.c", work.join("link")).unwrap();
    fs::create_dir(work.join("empty")).unwrap();
}

/// What is in a project but the folders of edits, by path.
fn files(space: &Space) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut waiting = vec![space.project()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(space.project()).unwrap().display().to_string();
            if path.is_dir() {
                if name != "work" {
                    waiting.push(path);
                }
            } else {
                files.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

const WHOLE_PATCH: &str = "Say more

With a reason.

diff --git a/link b/link
new file mode 120000
--- /dev/null
+++ b/link
@@ -0,0 +1,1 @@
+src/main.c
\\ No newline at end of file
diff --git a/read-only b/read-only
old mode 100644
new mode 100755
diff --git a/run b/run
deleted file mode 100755
--- a/run
+++ /dev/null
@@ -1,1 +0,0 @@
-#!/bin/sh
diff --git a/src/main.c b/src/main.c
--- a/src/main.c
+++ b/src/main.c
@@ -1,1 +1,1 @@
-int main;
+int main = 1;
diff --git a/src/new file b/src/new file
new file mode 100644
--- /dev/null
+++ b/src/new file\t
@@ -0,0 +1,1 @@
+no end
\\ No newline at end of file
";

#[test]
fn a_finished_edit_is_a_patch_of_the_recipe() {
    let space = space();
    change_all(&space);
    let text = space.prints(&["edit", "--finish", "a", "-m", "Say more\n\nWith a reason."]);
    let told =
        "  moved  recipes/a.toml to recipes/a/recipe.toml, because patches lie beside the recipe
  wrote  recipes/a/patches/0001-say-more.patch
  added  it to `patches` in recipes/a/recipe.toml:4
         new link
         mode of read-only
         deleted run
         changed src/main.c
         new src/new file
  done   the patch gives exactly the edited source; a is built from its recipe again
";
    assert!(text.starts_with(told), "{text}");
    let patch = space.project().join("recipes/a/patches/0001-say-more.patch");
    assert_eq!(fs::read_to_string(&patch).unwrap(), WHOLE_PATCH);
    assert_eq!(space.prints(&["edit", "--list"]), "nothing is edited\n");
    assert!(!space.prints(&["status", "a"]).contains("edited"));

    // The next edit begins with it, and its patch comes after it.
    space.prints(&["edit", "a", "work/b"]);
    let work = space.project().join("work/b");
    assert_eq!(fs::read_to_string(work.join("src/main.c")).unwrap(), "int main = 1;\n");
    assert!(fs::symlink_metadata(work.join("link")).unwrap().is_symlink());
    assert!(!work.join("run").exists());
    fs::remove_file(work.join("link")).unwrap();
    fs::create_dir(work.join("link")).unwrap();
    fs::write(work.join("link/file"), "").unwrap();
    let text = space.prints(&["edit", "--finish", "a"]);
    assert!(text.starts_with("  wrote  recipes/a/patches/0002-edit.patch\n         deleted link\n         new link/file\n"), "{text}");
    space.prints(&["edit", "a", "work/c"]);
    assert!(space.project().join("work/c/link/file").is_file());
}

/// Copies what is noted of an edit.
fn copy_edit(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["edit.json", "source.tree"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn a_finish_that_was_killed_is_finished_by_the_next_one() {
    let space = space();
    change_all(&space);
    let (edits, kept) = (space.project().join(".osier/edits"), space.folder.path().join("kept"));
    copy_edit(&edits.join("a"), &kept);
    space.prints(&["edit", "--finish", "a"]);
    // The patch is there, and so is the edit.
    copy_edit(&kept, &edits.join("a"));
    let (status, text) = space.fails(&["build", "a"]);
    assert_eq!(status, 2);
    assert!(text.contains("error[E004]"), "{text}");
    let text = space.prints(&["edit", "--finish", "a"]);
    assert!(text.starts_with("  done   the recipe has all changes already"), "{text}");
    assert_eq!(fs::read_dir(space.project().join("recipes/a/patches")).unwrap().count(), 1);
}

#[test]
fn a_finish_that_was_killed_before_the_recipe_named_the_patch_writes_no_second_one() {
    let space = space();
    change_all(&space);
    let (edits, kept) = (space.project().join(".osier/edits"), space.folder.path().join("kept"));
    let alone = space.project().join("recipes/a.toml");
    let before = fs::read(&alone).unwrap();
    copy_edit(&edits.join("a"), &kept);
    space.prints(&["edit", "--finish", "a"]);
    let named = fs::read(space.project().join("recipes/a/recipe.toml")).unwrap();
    // The patch is there, and the recipe and the edit are as they were; other words are used the second time.
    copy_edit(&kept, &edits.join("a"));
    fs::write(space.project().join("recipes/a/recipe.toml"), before).unwrap();
    let text = space.prints(&["edit", "--finish", "a", "-m", "other words"]);
    assert!(text.contains("  wrote  recipes/a/patches/0001-edit.patch\n"), "{text}");
    assert_eq!(fs::read_dir(space.project().join("recipes/a/patches")).unwrap().count(), 1);
    let patch = fs::read_to_string(space.project().join("recipes/a/patches/0001-edit.patch"));
    assert!(patch.unwrap().starts_with("other words\n"));
    assert_eq!(fs::read(space.project().join("recipes/a/recipe.toml")).unwrap(), named);
    assert_eq!(space.prints(&["edit", "--list"]), "nothing is edited\n");
}

#[test]
fn an_edit_that_was_killed_before_it_was_noted_is_begun_by_the_next_one() {
    let space = space();
    space.prints(&["edit", "a", "work/a"]);
    let noted = space.project().join(".osier/edits/a");
    fs::remove_dir_all(&noted).unwrap();
    // Half a source of another try lies beside it.
    let half = space.project().join("work/.a.osier-half");
    fs::create_dir_all(half.join("src")).unwrap();
    let text = space.prints(&["edit", "a", "work/a"]);
    assert!(text.starts_with("  edit   the source of a is in work/a: 3 files\n"), "{text}");
    assert!(space.prints(&["edit", "--list"]).ends_with("nothing is changed\n"));
    fs::remove_dir_all(&noted).unwrap();
    // With anything else in it, it is a person's.
    fs::write(source(&space).join("src/main.c"), "mine\n").unwrap();
    let (status, text) = space.fails(&["edit", "a", "work/a"]);
    assert_eq!(status, 2);
    assert!(text.contains("the source cannot go to work/a: it is not empty"), "{text}");
    fs::remove_dir_all(source(&space)).unwrap();
    space.prints(&["edit", "a", "work/a"]);
    assert!(!half.exists(), "what was half-written is removed");
    // A drop that was killed had taken the edit's name away, and removed some of it.
    fs::rename(&noted, noted.with_file_name(".a.osier-half")).unwrap();
    fs::remove_file(noted.with_file_name(".a.osier-half").join("edit.json")).unwrap();
    assert_eq!(space.prints(&["edit", "--list"]), "nothing is edited\n");
    space.prints(&["edit", "a", "work/b"]);
    space.prints(&["edit", "--drop", "a"]);
    assert_eq!(fs::read_dir(space.project().join(".osier/edits")).unwrap().count(), 0);
}

#[test]
fn a_list_of_patches_takes_the_new_one_at_its_end() {
    let space = space();
    let (alone, recipe) =
        (space.project().join("recipes/a.toml"), space.project().join("recipes/a/recipe.toml"));
    fs::create_dir_all(space.project().join("recipes/a/quilt")).unwrap();
    let text = fs::read_to_string(&alone).unwrap();
    let text = text.replace("[[step]]", "patches = [\"quilt/series\"]\n[[step]]");
    fs::write(&recipe, &text).unwrap();
    fs::remove_file(alone).unwrap();
    let first = "--- a/src/main.c\n+++ b/src/main.c\n@@ -1 +1 @@\n-int main;\n+int first;\n";
    fs::write(space.project().join("recipes/a/quilt/zz.patch"), first).unwrap();
    fs::write(space.project().join("recipes/a/quilt/series"), "# a list\nzz.patch").unwrap();
    space.prints(&["edit", "a", "work/a"]);
    fs::write(source(&space).join("src/main.c"), "int second;\n").unwrap();
    let told = space.prints(&["edit", "--finish", "a"]);
    assert!(told.contains("  added  0001-edit.patch to recipes/a/quilt/series\n"), "{told}");
    let series = fs::read_to_string(space.project().join("recipes/a/quilt/series")).unwrap();
    assert_eq!(series, "# a list\nzz.patch\n0001-edit.patch\n");
    assert_eq!(fs::read_to_string(recipe).unwrap(), text, "the recipe names the list");
}

#[test]
fn what_cannot_be_given_to_the_recipe_leaves_all_as_it_was() {
    let space = space();
    let alone = space.project().join("recipes/a.toml");
    let text = fs::read_to_string(&alone).unwrap();
    // A patch whose name begins with a digit would come before the one that is there.
    let named = text.replace("[[step]]", "patches = [\"*.patch\"]\n[[step]]");
    fs::create_dir_all(space.project().join("recipes/a")).unwrap();
    fs::write(space.project().join("recipes/a/recipe.toml"), named).unwrap();
    let first = "--- a/src/main.c\n+++ b/src/main.c\n@@ -1 +1 @@\n-int main;\n+int first;\n";
    fs::write(space.project().join("recipes/a/zz.patch"), first).unwrap();
    fs::remove_file(alone).unwrap();
    change_all(&space);
    let before = files(&space);
    let (status, text) = space.fails(&["edit", "--finish", "a"]);
    assert_eq!(status, 2);
    assert!(text.contains("error[E006]: 0001-edit.patch would not be the last patch"), "{text}");
    assert!(text.contains("hint: the recipe and the edit are as they were"), "{text}");
    assert_eq!(files(&space), before);
    // Words that would be read as a patch of their own.
    let words = "--message=x\n@@ -1 +1 @@";
    let (status, text) = space.fails(&["edit", "--finish", "a", words]);
    assert_eq!(status, 2);
    assert!(text.contains("0001-x.patch:2: a hunk begins here"), "{text}");
    assert!(text.contains("hint: the recipe and the edit are as they were"), "{text}");
    assert_eq!(files(&space), before);
}
