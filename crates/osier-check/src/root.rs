//! What is noticed while a root file system is composed.

use std::collections::BTreeMap;

use osier_image::Composition;

use crate::finding::Finding;
use crate::registry::Code;

/// The version of these checks; raised when equal compositions begin to give other findings.
pub const ROOT_CHECKS_VERSION: u32 = 1;

/// Gives what a composition noticed: for each area what of it is left out, and what of it an overlay replaces.
pub fn root<C>(composition: &Composition<C>) -> Vec<Finding> {
    let mut left_out: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for left in &composition.undelivered {
        left_out.entry(&left.area).or_default().push(left.path.to_string());
    }
    let mut replaced: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for lost in &composition.shadowed {
        replaced.entry((&lost.by, &lost.area)).or_default().push(lost.path.to_string());
    }
    let left_out = left_out.into_iter().map(|(area, paths)| Finding {
        code: Code::NotDelivered,
        message: format!("no line of the manifest delivers {} of {area}", files(paths.len())),
        place: None,
        evidence: paths,
        hint: Some("to deliver one, add a line for it to the manifest".to_owned()),
    });
    let replaced = replaced.into_iter().map(|((by, area), paths)| Finding {
        code: Code::Replaced,
        message: format!("{by} replaces {} of {area}", files(paths.len())),
        place: None,
        evidence: paths,
        hint: Some("to deliver the other file, remove the overlay's".to_owned()),
    });
    left_out.chain(replaced).collect()
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

#[cfg(test)]
mod tests {
    use osier_image::{Accounts, Area, ComposeOptions, Entry, ImagePath, Manifest, Role, compose};

    use super::*;

    fn area(name: &str, role: Role, paths: &[&str]) -> Area<u8> {
        let file = Entry::File { content: 1, size: 1, mode: 0o644 };
        let path = |path: &&str| (ImagePath::new(*path).unwrap(), file.clone());
        Area { name: name.to_owned(), role, entries: paths.iter().map(path).collect() }
    }

    #[test]
    fn each_area_tells_once_what_of_it_is_left_out_or_replaced() {
        let areas = [
            area("overlay etc", Role::Overlay, &["a", "b"]),
            area("component one", Role::Component, &["a", "b", "c", "d"]),
            area("component two", Role::Component, &["e", "f"]),
        ];
        let manifest = Manifest::parse("manifest", "f c 0644 root root\nf e 0644 root root\n");
        let accounts = Accounts::parse(b"root:x:0:0::/:/bin/sh\n", b"root:x:0:\n").unwrap();
        let composed =
            compose(&areas, &manifest.unwrap(), &accounts, &ComposeOptions::default()).unwrap();
        let found = root(&composed);
        let told: Vec<String> = found
            .iter()
            .map(|found| format!("{} {found}: {}", found.code, found.evidence.join(" ")))
            .collect();
        assert_eq!(
            told,
            [
                "N001 no line of the manifest delivers 1 file of component one: d",
                "N001 no line of the manifest delivers 1 file of component two: f",
                "N002 overlay etc replaces 2 files of component one: a b",
            ]
        );
    }
}
