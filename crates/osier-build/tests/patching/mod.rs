//! The patch step on real layers: what it changes, what is kept of it, and that it stays in its source.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use osier_build::{
    BuildError, Failure, FailureCause, FetchedPatches, FileInput, Graph, OwnPatch, Patching, View,
    Waiver, Work, patch_reports,
};
use osier_patch::{Class, PatchReport};
use osier_sandbox::Isolation;

use crate::workshop::{Plan, Workshop};

/// Makes a source at `/build/src`.
const SOURCE: &str = "mkdir -p /build/src/d/deep /build/src/keep; cd /build/src
printf '1\\n2\\n3\\n' > n; printf 'old\\n' > gone; printf 'x\\n' > run; printf 'x\\n' > d/deep/only
ln -s /etc out; ln -s .. up; chmod 750 d";

/// Shows the source as the step above sees it.
const SHOW: &str =
    "mkdir -p $OUTPUT; cd /build/src; { ls -RA; cat n; } > $OUTPUT/list; ls -l run > $OUTPUT/mode";

const ONE: &str = "--- a/n\n+++ b/n\n@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n";

/// A component whose middle step puts these patches on its source.
fn graph(
    shop: &Workshop,
    source: &str,
    patches: &[(&str, &str)],
    waivers: &[(&str, bool)],
) -> Graph {
    let mut graph = shop.graph(&Plan::default().component("part", &[], &[source, "", SHOW]));
    let own =
        patches.iter().map(|(file, _)| OwnPatch { file: (*file).into(), strip: 1, reverse: false });
    let waivers = waivers.iter().map(|(pattern, what_fits)| Waiver {
        pattern: (*pattern).into(),
        what_fits: *what_fits,
        reason: "it is known".into(),
    });
    let debian = if source.contains("debian/patches") { vec!["src".into()] } else { Vec::new() };
    graph.steps[1].name = "patch".into();
    graph.steps[1].view = View::Patches(patches.iter().map(|(file, _)| (*file).into()).collect());
    graph.steps[1].work = Work::Patch(Patching {
        debian,
        fetched: Vec::new(),
        own: own.collect(),
        source: "src".into(),
        waivers: waivers.collect(),
    });
    graph.components[0].files = patches
        .iter()
        .map(|(file, text)| FileInput {
            path: (*file).into(),
            content: text.as_bytes().into(),
            origin: (*file).into(),
            executable: false,
        })
        .collect();
    graph
}

fn built(shop: &Workshop, graph: &Graph) -> (String, Vec<PatchReport>) {
    let results = shop.run(graph).unwrap();
    let result = results.values().next().unwrap();
    (shop.output(result, "list"), reports(shop, graph))
}

/// What is kept of the patches.
fn reports(shop: &Workshop, graph: &Graph) -> Vec<PatchReport> {
    let key = shop.with_engine(|engine| engine.survey(graph).keys[&osier_build::StepId(1)]);
    patch_reports(&shop.store, &key).unwrap()
}

fn failed(shop: &Workshop, graph: &Graph) -> (Failure, Vec<PatchReport>) {
    let BuildError::Failed(mut failures) = shop.run(graph).unwrap_err() else { panic!() };
    let failure = failures.remove(0);
    let FailureCause::Patches { patches } = failure.cause.clone() else { panic!("{failure:?}") };
    (failure, patches)
}

#[test]
fn patches_change_edit_make_and_remove() {
    let many = "--- a/n\n+++ b/n\n@@ -1,3 +1,4 @@\n 1\n-2\n+two\n 3\n+4\n\
        --- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n\
        --- a/d/deep/only\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\
        --- /dev/null\n+++ b/new/folder/file\n@@ -0,0 +1 @@\n+made\n\
        diff --git a/run b/run\nold mode 100644\nnew mode 100755\n\
        diff --git a/link b/link\nnew file mode 120000\n--- /dev/null\n+++ b/link\n@@ -0,0 +1 @@\n+n\n\\ No newline at end of file\n";
    // The degraded mode is for root alone.
    let root = rustix::process::geteuid().is_root();
    let degraded = root.then_some(Isolation::Degraded);
    for isolation in [Isolation::Full].into_iter().chain(degraded) {
        let mut shop = Workshop::new();
        shop.isolation = isolation;
        let graph = graph(&shop, SOURCE, &[("many.patch", many)], &[]);
        let (list, reports) = built(&shop, &graph);
        // A folder that is emptied goes, as far up as it is; one that was empty before stays.
        let expected = ".:\nkeep\nlink\nn\nnew\nout\nrun\nup\n\n./keep:\n\n./new:\nfolder\n\n./new/folder:\nfile\n1\ntwo\n3\n4\n";
        assert_eq!(list, expected, "{isolation:?}");
        assert_eq!(reports[0].class, Class::Clean);
        assert_eq!(shop.ran(), ["part:step-0", "part:patch", "part:step-2"]);
        let results = shop.run(&graph).unwrap();
        assert!(shop.output(results.values().next().unwrap(), "mode").starts_with("-rwxr-xr-x"));
        assert_eq!(shop.ran(), [""; 0]);
    }
}

#[test]
fn steps_with_one_key_run_once() {
    let shop = Workshop::new();
    let show = "mkdir -p $OUTPUT; cp /build/src/made $OUTPUT/list";
    let plan = Plan::default().component("one", &[], &["", show]);
    let mut graph = shop.graph(&plan.component("two", &[], &["", show]));
    let made = "--- /dev/null\n+++ b/made\n@@ -0,0 +1 @@\n+made\n";
    let file = FileInput {
        path: "1.patch".into(),
        content: made.as_bytes().into(),
        origin: "1.patch".into(),
        executable: false,
    };
    for position in [0, 2] {
        graph.steps[position].name = "patch".into();
        graph.steps[position].view = View::Patches(vec!["1.patch".into()]);
        graph.steps[position].work = Work::Patch(Patching {
            own: vec![OwnPatch { file: "1.patch".into(), strip: 1, reverse: false }],
            source: "src".into(),
            ..Patching::default()
        });
    }
    graph.components.iter_mut().for_each(|component| component.files = vec![file.clone()]);
    let results = shop.run(&graph).unwrap();
    assert!(results.values().all(|result| shop.output(result, "list") == "made\n"));
    let ran = shop.ran();
    assert_eq!(ran.iter().filter(|label| label.ends_with(":patch")).count(), 1, "{ran:?}");
    assert_eq!(ran.len(), 3, "{ran:?}");
}

#[test]
fn a_file_becomes_a_folder() {
    let shop = Workshop::new();
    let patch = "diff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n\
        diff --git a/gone/in b/gone/in\nnew file mode 100644\n--- /dev/null\n+++ b/gone/in\n@@ -0,0 +1 @@\n+made\n";
    let graph = graph(&shop, SOURCE, &[("1.patch", patch)], &[]);
    let (list, reports) = built(&shop, &graph);
    assert_eq!(reports[0].class, Class::Clean);
    assert!(list.contains("\n./gone:\nin\n"), "{list}");
}

#[test]
fn a_layer_of_patches_holds_what_has_changed_and_no_more() {
    let shop = Workshop::new();
    let nested = "--- a/d/deep/only\n+++ b/d/deep/only\n@@ -1 +1 @@\n-x\n+y\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n";
    let graph = graph(&shop, SOURCE, &[("1.patch", ONE), ("2.patch", nested)], &[]);
    built(&shop, &graph);
    let key = shop.with_engine(|engine| engine.survey(&graph).keys[&osier_build::StepId(1)]);
    let layer = shop.store.layer_path(&key).join("build/src");
    let mut names: Vec<_> =
        std::fs::read_dir(&layer).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["d", "gone", "n"]);
    let metadata = |path: &str| std::fs::symlink_metadata(layer.join(path)).unwrap();
    assert!(metadata("gone").file_type().is_char_device());
    // Folders above are as they were, and all files have one time.
    assert_eq!(metadata("d").mode() & 0o777, 0o750);
    let time = |path: &str| (metadata(path).mtime(), metadata(path).mtime_nsec());
    assert_eq!(time("n"), time("d/deep/only"));
}

#[test]
fn every_class_is_told_and_kept() {
    let shop = Workshop::new();
    let offset = "--- a/run\n+++ b/run\n@@ -4 +4 @@\n-x\n+y\n";
    let already = "--- a/gone\n+++ b/gone\n@@ -1 +1 @@\n-older\n+old\n";
    let patches = [("1.patch", ONE), ("2.patch", offset), ("3.patch", already)];
    let (_, reports) = built(&shop, &graph(&shop, SOURCE, &patches, &[]));
    let classes: Vec<Class> = reports.iter().map(|report| report.class).collect();
    assert_eq!(classes, [Class::Clean, Class::Offset, Class::Already]);
    let log = |graph: &Graph| {
        let key = shop.with_engine(|engine| engine.survey(graph).keys[&osier_build::StepId(1)]);
        std::fs::read_to_string(shop.store.log_path(&key)).unwrap()
    };
    let expected = "1.patch: clean\n2.patch: at an offset\n  run: hunk 1 fits at line 1, 3 lines further up\n3.patch: already in the source\n3 patches: 1 clean, 1 at an offset, 1 already in the source\n";
    assert_eq!(log(&graph(&shop, SOURCE, &patches, &[])), expected);
    assert_eq!(*shop.patched.lock().unwrap(), vec![("part:patch".to_owned(), reports)]);
    // A waiver that nothing asks for is told.
    let waived = graph(&shop, SOURCE, &patches, &[("1.patch", false), ("debian/patches/x", true)]);
    built(&shop, &waived);
    assert!(
        log(&waived)
            .contains("1.patch: clean; the recipe waives a conflict of it, but there is none\n")
    );
    assert!(
        log(&waived).contains("the recipe waives `debian/patches/x`, but there is no such patch\n")
    );
}

#[test]
fn a_conflict_stops_the_build_with_all_patches_seen() {
    let shop = Workshop::new();
    let bad = "--- a/n\n+++ b/n\n@@ -1,3 +1,3 @@\n 1\n-zwei\n+two\n 3\n--- a/none\n+++ b/none\n@@ -1 +1 @@\n-a\n+b\n--- a/run\n+++ b/run\n@@ -1 +1 @@\n-x\n+y\n";
    let after = "--- a/n\n+++ b/n\n@@ -1,3 +1,3 @@\n 1\n-two\n+TWO\n 3\n";
    let make = "--- /dev/null\n+++ b/made\n@@ -0,0 +1 @@\n+made\n";
    let patches = [("1.patch", bad), ("2.patch", after), ("3.patch", make)];
    let conflicting = graph(&shop, SOURCE, &patches, &[]);
    let (failure, reports) = failed(&shop, &conflicting);
    assert_eq!(failure.cause.code(), "S010");
    assert_eq!(failure.headline(), "part:patch 2 of 3 patches do not fit the source");
    let classes: Vec<Class> = reports.iter().map(|report| report.class).collect();
    assert_eq!(classes, [Class::Conflict, Class::Conflict, Class::Clean]);
    let files: Vec<&str> = reports[0].files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["n", "none"]);
    assert_eq!(reports[1].files[0].after.as_deref(), Some("1.patch"));
    assert!(std::fs::read_to_string(failure.log.unwrap()).unwrap().contains("|zwei"));
    // What fits is in the layer that a person can enter; nothing of it counts as done.
    let kept = shop.store.failed_path(&failure.key.parse().unwrap()).join("upper/build/src");
    assert!(kept.join("made").is_file() && failure.layer_kept);
    assert_eq!(std::fs::read_to_string(kept.join("run")).unwrap(), "y\n");
    assert_eq!(shop.ran(), ["part:step-0", "part:patch"]);
    failed(&shop, &conflicting);
    assert_eq!(shop.ran(), ["part:patch"]);
    // Waived: left out, or as far as it fits.
    let (list, reports) = built(&shop, &graph(&shop, SOURCE, &patches[..1], &[("1.*", false)]));
    assert!(list.ends_with("1\n2\n3\n"), "{list}");
    assert!(reports[0].waived.as_ref().unwrap().needed);
    let waived = graph(&shop, SOURCE, &[patches[0], patches[2]], &[("**", true)]);
    let (list, reports) = built(&shop, &waived);
    assert!(list.contains("made"), "{list}");
    assert_eq!(reports.len(), 2);
}

#[test]
fn debians_patches_come_first_and_go_the_same_way() {
    let shop = Workshop::new();
    let source = |series: &str, second: &str| {
        format!(
            "{SOURCE}\nmkdir -p debian/patches/sub; printf -- '{series}' > debian/patches/series\nprintf -- '{}' > debian/patches/sub/one.patch; printf -- '{}' > debian/patches/two.diff; printf '# only words\\n' > debian/patches/none",
            ONE.replace('\n', "\\n"),
            second.replace('\n', "\\n")
        )
    };
    let two = "--- n\n+++ n\n@@ -1,3 +1,3 @@\n 1\n-two\n+TWO\n 3\n";
    let own = "--- a/n\n+++ b/n\n@@ -1,3 +1,3 @@\n 1\n-TWO\n+2!\n 3\n";
    let series = "# list\\nsub/one.patch # why\\nnone\\ntwo.diff -p0\\n";
    let graph_of = |series: &str, waivers: &[(&str, bool)]| {
        graph(&shop, &source(series, two), &[("own.patch", own)], waivers)
    };
    let (list, reports) = built(&shop, &graph_of(series, &[]));
    assert!(list.ends_with("1\n2!\n3\n"), "{list}");
    let names: Vec<&str> = reports.iter().map(|report| report.name.as_str()).collect();
    let expected = [
        "debian/patches/sub/one.patch",
        "debian/patches/none",
        "debian/patches/two.diff",
        "own.patch",
    ];
    assert_eq!(names, expected);
    // Without the option the name has no folder to take off; and one that is not there.
    let (_, reports) = failed(&shop, &graph_of("sub/one.patch\\ntwo.diff\\nmissing\\n", &[]));
    assert_eq!((reports[1].class, reports[2].class), (Class::Unreadable, Class::Unreadable));
    assert!(reports[1].problem.as_ref().unwrap().contains("nothing is left of the name `n`"));
    assert!(reports[2].problem.as_ref().unwrap().contains("line 3 of the list names it"));
    assert_eq!(reports[3].class, Class::Conflict);
    // Debian's own list comes before the one for all.
    let vendor = format!(
        "{}\nprintf 'sub/one.patch\\n' > debian/patches/debian.series",
        source("missing\\n", two)
    );
    let (list, reports) = built(&shop, &graph(&shop, &vendor, &[], &[]));
    assert!(list.ends_with("1\ntwo\n3\n") && reports.len() == 1, "{list}");
    // A list that cannot be read.
    let (_, reports) = failed(&shop, &graph_of("../../../etc/passwd\\n", &[]));
    assert!(reports[0].problem.as_ref().unwrap().contains("leaves the folder"), "{reports:?}");
    // Theirs can be waived like others.
    let (list, reports) = built(
        &shop,
        &graph_of(
            "two.diff -p0\\nsub/one.patch\\n",
            &[("debian/patches/two.diff", false), ("own.patch", false)],
        ),
    );
    assert!(list.ends_with("1\ntwo\n3\n") && reports[0].waived.is_some(), "{list}");
}

#[test]
fn patches_lie_in_another_source_as_well() {
    let shop = Workshop::new();
    let edit = |from: &str, to: &str| {
        format!("--- a/n\\n+++ b/n\\n@@ -1,3 +1,3 @@\\n 1\\n-{from}\\n+{to}\\n 3\\n")
    };
    let source = format!(
        "{SOURCE}\nmkdir -p /build/fixes/all /build/fixes/listed; cd /build/fixes; ln -s /etc/passwd all/0.patch\n\
         printf -- '{}' > all/1.patch; printf -- '{}' > all/2.patch\n\
         printf -- '{}' > listed/b; printf -- '{}' > listed/a; printf 'b\\na -R\\n' > listed/series",
        edit("2", "two"),
        edit("two", "TWO"),
        edit("TWO", "zwei"),
        edit("drei", "zwei"),
    );
    let own = "--- a/n\n+++ b/n\n@@ -1,3 +1,3 @@\n 1\n-drei\n+last\n 3\n";
    let graph_of = |patterns: &[&str], waivers: &[(&str, bool)]| {
        let mut graph = graph(&shop, &source, &[("own.patch", own)], waivers);
        let Work::Patch(patching) = &mut graph.steps[1].work else { panic!() };
        patching.fetched = patterns
            .iter()
            .map(|pattern| FetchedPatches { source: "fixes".into(), pattern: (*pattern).into() })
            .collect();
        graph
    };
    let (list, reports) = built(&shop, &graph_of(&["all/*.patch", "listed/*"], &[]));
    assert!(list.ends_with("1\nlast\n3\n"), "{list}");
    let names: Vec<&str> = reports.iter().map(|report| report.name.as_str()).collect();
    let expected =
        ["fixes:all/1.patch", "fixes:all/2.patch", "fixes:listed/b", "fixes:listed/a", "own.patch"];
    assert_eq!(names, expected);
    let (_, reports) = failed(&shop, &graph_of(&["*.patch"], &[("own.patch", false)]));
    let problem = reports[0].problem.as_deref();
    assert_eq!(problem, Some("no file of the source `fixes` has a matching name"));
}

#[test]
fn nothing_outside_the_source_is_read_or_written() {
    let shop = Workshop::new();
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "1\n2\n3\n").unwrap();
    let host = outside.path().display();
    let source = format!(
        "{SOURCE}\nln -s {host} host; ln -s {} file; mkdir /build/other; echo 1 > /build/other/x",
        secret.display()
    );
    let edit =
        |path: &str| ONE.replace("a/n", &format!("a/{path}")).replace("b/n", &format!("b/{path}"));
    let make = |path: &str| format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n");
    let link = "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc\n\\ No newline at end of file\n";
    let through = format!("{link}{}", make("l/escape"));
    let texts = [
        edit("host/secret"),
        edit("file"),
        edit("out/passwd"),
        edit("up/other/x"),
        make("host/new"),
        make("out/escape"),
        make("up/escape"),
        make("up/other/escape"),
        through,
        edit("../other/x"),
        make("../../escape"),
        make("../escape"),
        "--- /etc/passwd\n+++ /etc/passwd\n@@ -1,0 +2 @@\n+x\n".into(),
    ];
    for text in &texts {
        let (failure, reports) = failed(&shop, &graph(&shop, &source, &[("bad.patch", text)], &[]));
        assert!(matches!(reports[0].class, Class::Conflict | Class::Unreadable), "{text}");
        let upper = shop.store.failed_path(&failure.key.parse().unwrap()).join("upper");
        assert!(!holds(&upper, "escape") && !holds(&upper, "x") && !holds(&upper, "new"), "{text}");
        // What it would take through, with the rest let in.
        let waived = graph(&shop, &source, &[("bad.patch", text)], &[("**", true)]);
        shop.run(&waived).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "1\n2\n3\n");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert!(!Path::new("/etc/escape").exists());
}

/// Whether a file of this name lies somewhere below a folder.
fn holds(folder: &Path, name: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.map(Result::unwrap).any(|entry| {
        let folder = entry.file_type().unwrap().is_dir();
        entry.file_name() == name || (folder && holds(&entry.path(), name))
    })
}
