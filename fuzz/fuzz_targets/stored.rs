//! What the store reads back: manifests of trees, records of failures, its index.
#![no_main]
use libfuzzer_sys::fuzz_target;
use osier_build::Failure;
use osier_store::{Digest, Index, Key, Record, Tree};

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"SQLite format 3") {
        return index(bytes);
    }
    if let Ok(failure) = serde_json::from_slice::<Failure>(bytes) {
        let _ = (failure.headline(), failure.cause.code());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(tree) = Tree::parse(text) {
        assert_eq!(
            Tree::parse(&tree.to_manifest()).expect("what is written can be read").digest(),
            tree.digest()
        );
    }
    let _ = (text.parse::<Key>().is_ok(), text.parse::<Digest>().is_ok());
});

/// Looks everything up in an index, however damaged, and records something in it.
fn index(bytes: &[u8]) {
    osier_fuzz::in_new_folder(|folder| {
        let path = folder.join("index.db");
        std::fs::write(&path, bytes).expect("the scratch folder can be written");
        for writable in [false, true] {
            let Ok(mut index) = Index::open(&path, &folder.join("aside"), "boot", writable) else {
                continue;
            };
            let _ = (index.begin_look(), index.layer_keys().count(), index.results().count());
            for key in (0..10).map(|byte| Key([byte; 32])) {
                let _ = (
                    index.layer(&key),
                    index.outputs(&key),
                    index.file(&key),
                    index.took(&key),
                    index.seen(&key),
                );
                let _ = (
                    index.reusable(&key).count(),
                    index.area(&Digest(key.0)),
                    index.is_reused(&key),
                );
            }
            index.end_look();
            if writable && index.append(Record::Root(Key([7; 32]))).is_ok() {
                assert!(index.has_root(&Key([7; 32])));
            }
        }
    });
}
