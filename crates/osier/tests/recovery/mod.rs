//! What the store's own files and folders become when something happens to them: the next build ends in the same bytes, or says what
//! is wrong, where, and what to do.
#![expect(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::changes;
use crate::space::Space;

/// How many entries of a folder of the store are tried.
const ENTRIES: usize = 1;

/// What can be found where a file or a folder of the store was.
const KINDS: [&str; 6] =
    ["nothing", "an empty file", "garbage", "a folder", "a link that leads nowhere", "mode 000"];

fn put(kind: &str, place: &Path) {
    if kind == "mode 000" {
        return fs::set_permissions(place, fs::Permissions::from_mode(0o000)).unwrap();
    }
    osier_store::remove_tree(place).unwrap();
    match kind {
        "an empty file" => fs::write(place, "").unwrap(),
        "garbage" => fs::write(place, [0xa5; 5000]).unwrap(),
        "a folder" => {
            fs::create_dir(place).unwrap();
            fs::write(place.join("a person's"), "kept").unwrap();
        }
        "a link that leads nowhere" => symlink("nowhere", place).unwrap(),
        _ => {}
    }
}

/// The places of a store that are tried: all at its top, and some of each folder.
fn places(store: &Path) -> Vec<PathBuf> {
    let list = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut entries: Vec<PathBuf> = entries.collect();
        entries.sort();
        entries
    };
    let mut places = Vec::new();
    for top in list(store) {
        match top.file_name().and_then(|name| name.to_str()) {
            Some("blobs") => {
                let full: Vec<PathBuf> =
                    list(&top).into_iter().filter(|one| !list(one).is_empty()).collect();
                places.extend(full.iter().flat_map(|one| list(one)).take(6));
                places.extend(full.into_iter().take(1));
            }
            _ if top.is_dir() => places.extend(list(&top).into_iter().take(ENTRIES)),
            _ => {}
        }
        places.push(top);
    }
    places
}

fn copy(from: &Path, to: &Path) {
    if to.exists() {
        osier_store::remove_tree(to).unwrap();
    }
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// Builds the system; gives the image, or what was said.
fn build(space: &Space) -> Result<Vec<u8>, String> {
    let _ = fs::remove_dir_all(space.project().join("out"));
    let output = space.osier(&["--offline", "--locked", "build", "small"]);
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    Ok(fs::read(space.project().join("out/small-x86_64/small.cpio")).unwrap())
}

#[test]
fn whatever_becomes_of_a_file_of_the_store_the_next_build_has_the_same_bytes_or_says_what_to_do() {
    let space = changes::space();
    let first = build(&space).unwrap();
    let store = space.folder.path().join("store");
    let kept = space.folder.path().join("kept");
    copy(&store, &kept);
    // Another end of the chain, so that what lies in the store is used and not just counted.
    let top = space.project().join("recipes/top.toml");
    let before = fs::read_to_string(&top).unwrap();
    let after = before.replace("echo top >>", "echo changed >>");
    assert_ne!(before, after);
    fs::write(&top, &after).unwrap();
    let second = build(&space).unwrap();
    assert_ne!(first, second);

    fs::write(&top, &after).unwrap();
    let mut told = BTreeSet::new();
    for place in places(&kept) {
        let place = store.join(place.strip_prefix(&kept).unwrap());
        for kind in KINDS {
            copy(&kept, &store);
            put(kind, &place);
            let what = format!("{kind} in the place of {}", place.display());
            match build(&space) {
                Ok(built) => {
                    assert!(built == second, "{what}: other bytes");
                }
                Err(said) => {
                    let names = said.contains(&store.display().to_string());
                    // What only the network can give.
                    let fetched = said.contains("not fetched yet, but --offline forbids fetching");
                    assert!(fetched || (names && said.contains("hint:")), "{what}: {said}");
                    told.insert(what.clone());
                }
            }
            // What somebody has put there is not lost.
            if kind == "a folder" && !told.contains(&what) {
                let found =
                    Command::new("grep").args(["-rl", "kept"]).arg(&store).output().unwrap();
                let found = String::from_utf8_lossy(&found.stdout).into_owned();
                assert!(found.contains("a person's"), "{what}: it is gone");
            }
        }
    }
}
