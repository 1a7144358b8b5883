//! Patches and their lists: whatever they say, nothing outside the source is changed.
#![no_main]
use std::convert::Infallible;
use std::path::{Component, Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use osier_patch::{Found, Node, Patch, Queued, Source, classify, series};

/// A source with a file, a folder and a link.
struct Few;

impl Source for Few {
    type Error = Infallible;

    fn look(&self, path: &Path) -> Result<Found, Infallible> {
        let link = || Node::Symlink { target: b"/etc".to_vec() };
        Ok(match path.to_str() {
            Some("f") => Found::Node(Node::File { content: b"a\nb\nc\n".to_vec(), mode: 0o644 }),
            Some("l") => Found::Node(link()),
            Some("d") => Found::Folder,
            _ if path.starts_with("l") => Found::Blocked { by: "l".into(), link: true },
            _ => Found::Nothing,
        })
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = series(bytes);
    for strip in 0..2 {
        let Ok(patches) = Patch::parse("x", bytes, strip) else { continue };
        let queued = |patch: Patch| Queued {
            name: patch.name.clone(),
            patch: Ok(patch),
            folder: PathBuf::new(),
            allowance: None,
        };
        let row: Vec<Queued> = patches.into_iter().map(queued).collect();
        let Ok(outcome) = classify(&Few, &row);
        for path in outcome.changes.keys() {
            assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
            assert!(!path.starts_with("l") || path == Path::new("l"), "{path:?}");
        }
        let _ = osier_patch::text(&outcome.reports);
    }
});
