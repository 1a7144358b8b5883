//! What was changed in the store, or lost in a power cut, reaches no result.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use std::fs;
use std::path::{Path, PathBuf};

use osier_store::{Key, Store};

use crate::workshop::{Plan, Workshop};

/// A library with a header, and a program that copies the header in a script of this text.
fn plan(script: &str) -> Plan {
    Plan::default()
        .component(
            "a",
            &[],
            &["echo text > /build/text; mkdir /build/more; echo more > /build/more/file",
              "mkdir -p $OUTPUT/include/side; cat /build/text /build/more/file > $OUTPUT/include/a.h; echo b > $OUTPUT/include/side/b.h"],
        )
        .component(
            "b",
            &["a"],
            &[&format!("mkdir $OUTPUT/copy; cat /proto/include/*.h /proto/include/side/* > $OUTPUT/copy/b; {script}")],
        )
}

fn built(shop: &Workshop, script: &str) -> String {
    let graph = shop.graph(&plan(script));
    let results = shop.run(&graph).unwrap();
    shop.output(&results[&graph.find("b").unwrap()], "copy/b")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 5] = [
    ("emptied", |folder| files(folder).iter().for_each(|file| fs::write(file, "").unwrap())),
    ("appended to", |folder| {
        for file in files(folder) {
            let text = fs::read_to_string(&file).unwrap();
            fs::write(&file, text + "x").unwrap();
        }
    }),
    ("flipped", |folder| {
        for file in files(folder) {
            let mut bytes = fs::read(&file).unwrap();
            bytes.iter_mut().for_each(|byte| *byte ^= 1);
            fs::write(&file, bytes).unwrap();
        }
    }),
    ("lost", |folder| files(folder).iter().for_each(|file| fs::remove_file(file).unwrap())),
    ("added", |folder| {
        for file in files(folder) {
            fs::write(file.with_file_name("added.h"), "added\n").unwrap();
        }
    }),
];

const RIGHT: &str = "text\nmore\nb\n";

#[test]
fn damaged_areas_reach_no_result() {
    let shop = Workshop::new();
    let store = shop.store.root().to_path_buf();
    for (number, (what, damage)) in DAMAGES.into_iter().enumerate() {
        assert_eq!(built(&Workshop::at(&store), &format!(": {number}")), RIGHT);
        std::thread::sleep(std::time::Duration::from_millis(10));
        damage(&store.join("areas"));
        let again = Workshop::at(&store);
        assert_eq!(built(&again, &format!(": {number} again")), RIGHT, "{what}");
        assert_eq!(again.ran(), ["b:step-0"], "{what}");
        assert_eq!(again.damages().len(), 1, "{what}");
        // A build that has nothing to do does not look.
        damage(&store.join("areas"));
        let nothing = Workshop::at(&store);
        assert_eq!(built(&nothing, &format!(": {number} again")), RIGHT, "{what}");
        assert!(nothing.damages().is_empty());
    }
}

#[test]
fn areas_that_a_power_cut_emptied_reach_no_result() {
    let shop = Workshop::new();
    assert_eq!(built(&shop, ":"), RIGHT);
    let store = shop.store.root().to_path_buf();
    // Laid out, and never synced: the outputs that they are laid out of were.
    shop.store.sync().unwrap();
    osier_store::remove_tree(&store.join("areas")).unwrap();
    fs::create_dir(store.join("areas")).unwrap();
    let digest = {
        let graph = shop.graph(&plan(":"));
        let results = shop.run(&graph).unwrap();
        results[&graph.find("a").unwrap()].outputs[0].1
    };
    let later = Store::open(&store, "another boot").unwrap();
    let area = later.area(&digest, 1).unwrap();
    for file in files(&area) {
        fs::write(file, "").unwrap();
    }
    let shop = Workshop::in_boot(&store, "a third boot");
    assert_eq!(built(&shop, ": again"), RIGHT);
}

#[test]
fn damaged_layers_reach_no_result() {
    let shop = Workshop::new();
    let store = shop.store.root().to_path_buf();
    for (number, (what, damage)) in DAMAGES.into_iter().enumerate() {
        let script = format!(": {number}");
        let first = |script: &str| {
            Plan::default().component(
                "a",
                &[],
                &[
                    "mkdir /build/in; echo text > /build/in/text",
                    &format!("cat /build/in/* > $OUTPUT/a; {script}"),
                ],
            )
        };
        let shop = Workshop::at(&store);
        shop.run(&shop.graph(&first(&script))).unwrap();
        let below = {
            let graph = shop.graph(&first(&script));
            shop.with_engine(|engine| engine.survey(&graph).keys[&osier_build::StepId(0)])
        };
        std::thread::sleep(std::time::Duration::from_millis(10));
        damage(&layer(&store, &below).join("build"));
        let again = Workshop::at(&store);
        let graph = again.graph(&first(&format!("{script} again")));
        let results = again.run(&graph).unwrap();
        let output = again.output(&results[&graph.find("a").unwrap()], "a");
        assert_eq!(output, "text\n", "{what}");
        assert_eq!(again.ran(), ["a:step-0", "a:step-1"], "{what}");
        assert!(again.damages()[0].contains("the layer of a:step-0"), "{:?}", again.damages());
    }
}

fn layer(store: &Path, key: &Key) -> PathBuf {
    store.join("layers").join(key.to_string())
}

#[test]
fn lost_blobs_are_made_again_however_many() {
    let shop = Workshop::new();
    let many = Plan::default()
        .component(
            "a",
            &[],
            &["i=0; while [ $i -lt 20 ]; do echo $i > $OUTPUT/$i; i=$((i+1)); done", ":"],
        )
        .component("b", &["a"], &["cat /proto/* > $OUTPUT/all"]);
    let graph = shop.graph(&many);
    let before = shop.run(&graph).unwrap();
    let store = shop.store.root().to_path_buf();
    let a = shop.store.tree(&before[&graph.find("a").unwrap()].outputs[0].1).unwrap();
    for (number, (_, node)) in a.iter().enumerate() {
        let osier_store::TreeNode::File { content, .. } = node else { continue };
        let blob = shop.store.blob_path(content);
        if number % 2 == 0 {
            fs::write(blob, "bad").unwrap();
        } else {
            fs::remove_file(blob).unwrap();
        }
    }
    osier_store::remove_tree(&store.join("areas")).unwrap();
    fs::create_dir(store.join("areas")).unwrap();
    let again = Workshop::at(&store);
    let b = graph.find("b").unwrap();
    again.store.forget_unused(&[before[&b].key]).unwrap();
    let results = again.run(&again.graph(&many)).unwrap();
    assert_eq!(results[&b].outputs, before[&b].outputs);
    let a = graph.find("a").unwrap();
    assert_eq!(results[&a].outputs, before[&a].outputs);
}

#[test]
fn the_layer_of_a_failed_step_is_kept_once_its_record_is() {
    let shop = Workshop::new();
    let graph = shop.graph(&Plan::default().component("a", &[], &["echo > /build/left; exit 1"]));
    let key = shop.with_engine(|engine| engine.survey(&graph).keys[&osier_build::StepId(0)]);
    shop.run(&graph).unwrap_err();
    let enter = || {
        shop.with_engine(|engine| {
            engine.enter(&graph, osier_build::StepId(0), vec!["sh".into()]).unwrap().state
        })
    };
    assert_eq!(enter(), osier_build::EnteredState::Failed);
    fs::remove_file(shop.store.failed_path(&key).join("record.json")).unwrap();
    assert_eq!(enter(), osier_build::EnteredState::NotRun);
}
