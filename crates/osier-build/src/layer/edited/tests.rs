//! Edits laid out, compared and merged, against what the trees themselves say.

use std::fs;

use osier_store::{Digest, Store};
use proptest::prelude::*;

use super::*;

/// A store with room for layers beside it.
struct Space {
    folder: tempfile::TempDir,
    store: Store,
}

impl Space {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), "boot").unwrap();
        Self { folder, store }
    }

    /// Makes room for the layers of the next case.
    fn clear(&self) {
        osier_store::remove_tree(&self.folder.path().join("layers")).unwrap();
    }

    fn upper(&self, name: &str) -> PathBuf {
        let upper = self.folder.path().join("layers").join(name);
        fs::create_dir_all(upper.join("build/source")).unwrap();
        upper
    }

    /// Lays a tree out as the layer that unpacked it.
    fn unpacked(&self, name: &str, tree: &Tree) -> PathBuf {
        let upper = self.upper(name);
        let digest = self.store.put_tree(tree).unwrap();
        fs::remove_dir(upper.join("build/source")).unwrap();
        self.store.lay_out(&digest, &upper.join("build/source"), 1).unwrap();
        upper
    }

    /// Lays out the layer of an edit.
    fn edited(&self, name: &str, before: &Tree, after: &Tree, below: &[PathBuf]) -> PathBuf {
        let upper = self.upper(name);
        let edit = SourceEdit::between("source", before, after);
        edit.lay_out(&self.store, &LayerStack::new(below.to_vec()), &upper).unwrap();
        upper
    }

    fn seen(&self, layers: &[PathBuf]) -> Tree {
        let stack = LayerStack::new(layers.to_vec());
        self.store.take_tree(&stack, Path::new("build/source")).unwrap()
    }
}

fn tree(store: &Store, entries: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::default();
    for (path, text) in entries {
        for above in parents(path.as_bytes()) {
            tree.insert(above.to_vec(), TreeNode::Folder { mode: 0o755 });
        }
        let node = match (text.strip_prefix("->"), text.strip_prefix('!')) {
            (Some(target), _) => TreeNode::Symlink { target: target.into() },
            (None, Some("")) => TreeNode::Folder { mode: 0o755 },
            (None, executable) => TreeNode::File {
                mode: if executable.is_some() { 0o755 } else { 0o644 },
                content: store.put_bytes(text.as_bytes()).unwrap(),
                size: text.len() as u64,
                hard_link: None,
            },
        };
        tree.insert(path.as_bytes().to_vec(), node);
    }
    tree
}

#[test]
fn files_are_laid_out_as_by_a_patch_with_one_time_and_their_own_modes() {
    let space = Space::new();
    let before = tree(&space.store, &[("a.in", "1"), ("locked", "2"), ("tool", "!3"), ("z", "4")]);
    let now = tree(
        &space.store,
        &[("a.in", "!11"), ("in/new", "5"), ("link", "->z"), ("locked", "22"), ("tool", "33")],
    );
    let source = space.unpacked("source", &before);
    for (name, mode) in [("a.in", 0o664), ("locked", 0o444), ("tool", 0o775)] {
        set_mode(&source.join("build/source").join(name), mode).unwrap();
    }
    let upper = space.edited("edit", &before, &now, std::slice::from_ref(&source));
    let found = |name: &str| fs::symlink_metadata(upper.join("build/source").join(name)).unwrap();
    let modes = ["a.in", "in/new", "locked", "tool"].map(|name| found(name).mode() & 0o7777);
    assert_eq!(modes, [0o775, 0o644, 0o644, 0o664]);
    let times = ["a.in", "in/new", "link", "locked", "tool"].map(|name| found(name).modified());
    let times: BTreeSet<_> = times.into_iter().map(Result::unwrap).collect();
    assert_eq!(times.len(), 1, "make takes none for older than another");
}

#[test]
fn an_edit_lists_what_differs() {
    let space = Space::new();
    let before =
        tree(&space.store, &[("a", "1"), ("d/b", "2"), ("d/c", "3"), ("e/f", "4"), ("g", "5")]);
    let after = tree(
        &space.store,
        &[("a", "!1"), ("d/b", "2"), ("d/new", "->b"), ("g/h", "6"), ("i", "!")],
    );
    let edit = SourceEdit::between("source", &before, &after);
    let lines: Vec<String> = edit
        .changes
        .iter()
        .map(|change| {
            let what = match &change.node {
                None => "gone",
                Some(TreeNode::Folder { .. }) => "folder",
                Some(TreeNode::Symlink { .. }) => "link",
                Some(TreeNode::File { .. }) => "file",
            };
            format!("{} {what}", String::from_utf8_lossy(&change.path))
        })
        .collect();
    assert_eq!(
        lines,
        ["a file", "d/c gone", "d/new link", "e gone", "g folder", "g/h file", "i folder"]
    );
    assert!(SourceEdit::between("source", &before, &before).changes.is_empty());
}

#[test]
fn a_changed_file_keeps_its_mode_and_a_folder_its_own() {
    let space = Space::new();
    let before = tree(&space.store, &[("d/a", "1"), ("d/b", "!2")]);
    let base = space.unpacked("base", &before);
    set_mode(&base.join("build/source/d"), 0o775).unwrap();
    set_mode(&base.join("build/source/d/a"), 0o660).unwrap();
    set_mode(&base.join("build/source/d/b"), 0o775).unwrap();
    let after = tree(&space.store, &[("d/a", "!1"), ("d/b", "3"), ("d/new/c", "4")]);
    let edit = space.edited("edit", &before, &after, &[base]);
    let mode =
        |path: &str| fs::metadata(edit.join("build/source").join(path)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("d"), mode("d/a"), mode("d/b"), mode("d/new"), mode("d/new/c")),
        (0o775, 0o770, 0o664, 0o755, 0o644)
    );
}

#[test]
fn what_a_script_has_written_is_told() {
    let space = Space::new();
    let before = tree(&space.store, &[("a", "1"), ("d/b", "2"), ("d/c", "3")]);
    let after = tree(&space.store, &[("a", "9"), ("d/b", "9"), ("new", "9")]);
    let script = space.upper("script");
    fs::create_dir(script.join("build/source/d")).unwrap();
    let edit = SourceEdit::between("source", &before, &after);
    assert_eq!(edit.written_by(std::slice::from_ref(&script)), [""; 0]);
    fs::write(script.join("build/source/d/b"), "x").unwrap();
    overlay::whiteout(&script.join("build/source/new")).unwrap();
    assert_eq!(edit.written_by(&[script]), ["d/b", "new"]);
}

/// Trees over few names, so that files, links and folders take each other's places.
fn entries() -> impl Strategy<Value = Vec<(String, String)>> {
    let path =
        prop::sample::select(vec!["a", "d", "d/a", "d/b", "d/e", "d/e/a", "f", "f/a", "f/g/a"]);
    let text = prop::sample::select(vec!["one", "two", "!one", "->a", "->b"]);
    prop::collection::btree_map(path, text, 0..8).prop_map(|map| {
        let fits = |path: &str| {
            let mut above = parents(path.as_bytes());
            !above.any(|above| map.keys().any(|other| other.as_bytes() == above))
        };
        let kept = map.iter().filter(|(path, _)| fits(path));
        kept.map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    })
}

fn made(space: &Space, entries: &[(String, String)]) -> Tree {
    let entries: Vec<(&str, &str)> =
        entries.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    tree(&space.store, &entries)
}

fn cases() -> ProptestConfig {
    // Each case writes some dozens of files.
    ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn an_edit_makes_one_tree_of_the_other() {
    let space = Space::new();
    proptest!(cases(), |(before in entries(), after in entries())| {
        space.clear();
        let (before, after) = (made(&space, &before), made(&space, &after));
        let base = space.unpacked("base", &before);
        let edit = space.edited("edit", &before, &after, std::slice::from_ref(&base));
        prop_assert_eq!(space.seen(&[edit, base]), after);
    });
}

#[test]
fn what_is_laid_on_an_earlier_edit_makes_the_later_one() {
    let space = Space::new();
    proptest!(cases(), |(source in entries(), first in entries(), second in entries())| {
        space.clear();
        let [source, first, second] = [source, first, second].map(|entries| made(&space, &entries));
        let base = space.unpacked("base", &source);
        let earlier = space.edited("earlier", &source, &first, std::slice::from_ref(&base));
        let now = space.edited("now", &source, &second, std::slice::from_ref(&base));
        let under = LayerStack::new(vec![base.clone()]);
        for before in [Some(&earlier), None] {
            let mut differences = Vec::new();
            let sides = (before.map(PathBuf::as_path), Some(now.as_path()));
            if !compare(sides, Path::new(""), &under, &mut differences).unwrap() {
                continue;
            }
            let mut layers: Vec<PathBuf> = before.into_iter().cloned().collect();
            layers.extend([now.clone(), base.clone()]);
            let top = space.upper(if before.is_some() { "top" } else { "top-of-none" });
            lay_on_top(&differences, &layers, &top).unwrap();
            layers.insert(0, top);
            let seen = space.seen(&layers);
            let mut wanted = second.clone();
            // Folders that an earlier edit has made may stay behind, without a file.
            for (path, node) in seen.iter().filter(|(path, _)| second.get(path).is_none()) {
                if matches!(node, TreeNode::Folder { .. }) && first.get(path) == Some(node) {
                    wanted.insert(path.to_vec(), node.clone());
                }
            }
            prop_assert_eq!(seen, wanted);
        }
    });
}

#[test]
fn merged_layers_show_the_same() {
    let space = Space::new();
    let edits = || prop::collection::vec(entries(), 1..4);
    proptest!(cases(), |(source in entries(), edits in edits())| {
        space.clear();
        let source = made(&space, &source);
        let base = space.unpacked("base", &source);
        let (mut layers, mut keys, mut before) = (vec![base.clone()], Vec::new(), source);
        for (number, after) in edits.iter().enumerate() {
            let after = made(&space, after);
            let layer = space.edited(&number.to_string(), &before, &after, &layers);
            // Each case has layers of its own.
            let key = Key(Digest::of(format!("{before:?} {edits:?} {number}").as_bytes()).0);
            space.store.put_layer(&key, &layer, Vec::new(), "a:b").unwrap();
            layers.insert(0, space.store.layer_path(&key));
            keys.insert(0, key);
            before = after;
        }
        let wanted = space.seen(&layers);
        let merged = merged(&space.store, &keys).unwrap();
        prop_assert_eq!(space.seen(&[space.store.layer_path(&merged), base]), wanted);
    });
}
