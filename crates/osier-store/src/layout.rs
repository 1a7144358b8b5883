//! What lies in a store, by name: the only things there that osier takes for its own.

use std::ffi::CStr;

use rustix::fs::FileType;

use crate::{Digest, Key};

/// A folder at the top of a store.
pub(crate) struct Shelf {
    pub(crate) name: &'static str,
    /// What kind of thing lies in it; nothing where it is files and folders.
    kind: Option<FileType>,
    is_named: fn(&str) -> bool,
}

impl Shelf {
    /// Says whether an entry of the folder has a name and a kind that osier gives.
    pub(crate) fn holds(&self, name: &CStr, kind: FileType) -> bool {
        let fits = match self.kind {
            Some(own) => own == kind,
            None => matches!(kind, FileType::Directory | FileType::RegularFile),
        };
        // What was moved aside and is no file may be somebody's.
        let is_safe = |name: &str| kind == FileType::RegularFile || !name.starts_with("index.");
        fits && name.to_str().is_ok_and(|name| (self.is_named)(name) && is_safe(name))
    }
}

const fn files(name: &'static str, is_named: fn(&str) -> bool) -> Shelf {
    Shelf { name, kind: Some(FileType::RegularFile), is_named }
}

const fn folders(name: &'static str) -> Shelf {
    Shelf { name, kind: Some(FileType::Directory), is_named: is_digest }
}

/// All folders at the top but `blobs`.
pub(crate) const SHELVES: [Shelf; 12] = [
    Shelf { name: "aside", kind: None, is_named: is_aside },
    folders("failed"),
    folders("areas"),
    folders("layers"),
    files("parts", is_part),
    files("logs", is_log),
    folders("roots"),
    files("folders", is_digest),
    files("ingredients", is_note),
    files("leases", is_lease_name),
    files("uses", is_note),
    Shelf { name: "work", kind: None, is_named: is_work },
];

/// Where blobs lie, in folders named by the first two digits.
pub(crate) const BLOBS: &str = "blobs";
/// One of these folders.
pub(crate) const BLOB_SHELF: Shelf = files("", is_digest);

/// A store in this one, of results that are not shared with it.
pub(crate) const DEGRADED: &str = "degraded";

/// What says that the folder is a store: the first to come and the last to go.
pub(crate) const FORMAT: &str = "format";

/// Files at the top, beside the records, the lock and the format.
pub(crate) const FILES: [&str; 2] = ["fetch-rate", "kvm"];

/// What is recorded.
pub(crate) const INDEX: &str = "index.db";

/// What processes lock for moments.
pub(crate) const LOCK: &str = "lock";

/// Says whether a file at the top is osier's.
pub(crate) fn is_of_the_top(name: &str) -> bool {
    [FORMAT, LOCK].contains(&name) || FILES.contains(&name) || is_record(name) || is_beside(name)
}

/// Says whether a name at the top is that of records, which say what is done.
pub(crate) fn is_record(name: &str) -> bool {
    name.strip_prefix("index.").is_some_and(|rest| {
        rest == "reserve" || rest.strip_prefix("db").is_some_and(|rest| !rest.contains('.'))
    })
}

/// Says whether a name is that of a file which a killed process has left beside the one that it was to become.
pub(crate) fn is_beside(name: &str) -> bool {
    let rest = name.strip_prefix("format.").or_else(|| name.strip_prefix(".format."));
    rest.is_some_and(|rest| !rest.is_empty() && rest.split('.').all(is_number))
}

pub(crate) fn is_blob_folder(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_digest(name: &str) -> bool {
    name.parse::<Key>().is_ok() || name.parse::<Digest>().is_ok()
}

fn is_aside(name: &str) -> bool {
    let digests =
        name.split_once('.').is_some_and(|(one, other)| is_digest(one) && is_digest(other));
    // A damaged folder comes by way of `work`.
    digests || name.starts_with("index.") || is_work(name)
}

fn is_part(name: &str) -> bool {
    let key = name.strip_suffix(".part").or_else(|| name.strip_suffix(".part.json"));
    key.is_some_and(is_digest)
}

/// A log, or what else is kept of how a step went.
fn is_log(name: &str) -> bool {
    name.split_once('.').is_some_and(|(key, what)| is_digest(key) && !what.contains('.'))
}

/// The name of a component or a system with its target, a verb's.
fn is_note(name: &str) -> bool {
    !name.starts_with('.') && !name.ends_with('~')
}

/// `PURPOSE.LEASE.NUMBER`.
pub(crate) fn is_work(name: &str) -> bool {
    let mut parts = name.rsplitn(3, '.');
    let (number, lease) = (parts.next(), parts.next());
    number.is_some_and(is_number) && lease.is_some_and(is_lease_name) && parts.next().is_some()
}

/// Says whether a name is that of a lease: when its process began, and its number.
pub(crate) fn is_lease_name(text: &str) -> bool {
    text.split_once('-').is_some_and(|(start, process)| {
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits(start) && digits(process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_osier_gives_are_its_own() {
        let key = "0123456789abcdef".repeat(4);
        let ours = |shelf: &str, name: &str| {
            SHELVES.iter().find(|known| known.name == shelf).is_some_and(|it| (it.is_named)(name))
        };
        for (shelf, name) in [
            ("layers", key.clone()),
            ("logs", format!("{key}.log")),
            ("parts", format!("{key}.part.json")),
            ("aside", format!("{key}.{key}")),
            ("leases", "17-4".to_owned()),
            ("work", "trash.17-4.0".to_owned()),
            ("uses", "hello-x86_64".to_owned()),
        ] {
            assert!(ours(shelf, &name), "{shelf}/{name}");
            assert!(!ours(shelf, ".bashrc"), "{shelf}");
        }
        for (shelf, name) in [
            ("layers", key.to_uppercase()),
            ("layers", format!("{key}.bak")),
            ("logs", key.clone()),
            ("logs", format!("{key}.log.gz")),
            ("parts", "film.part".to_owned()),
            ("aside", "thesis.tex".to_owned()),
            ("leases", "17".to_owned()),
            ("work", "thesis".to_owned()),
            ("work", "trash.17-4".to_owned()),
            ("work", "17-4.0".to_owned()),
        ] {
            assert!(!ours(shelf, &name), "{shelf}/{name}");
        }
        assert!(
            is_record("index.db")
                && is_record("index.reserve")
                && is_record("index.db-wal")
                && !is_record("index.html")
        );
        assert!(is_beside("format.17") && is_beside(".format.17.0") && !is_beside("format.c"));
    }
}
