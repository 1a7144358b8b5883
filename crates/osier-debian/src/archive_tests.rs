//! An archive in memory, signed with a key made here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use pgp::crypto::hash::HashAlgorithm::Sha256 as SHA256;

use super::*;
use crate::compression::tests::compress;
use crate::test_key::{CREATED, DAY, Plan, TestKey, clear_signed, signed_form};
use osier_archive::Compression;

/// A mirror in memory that notes what it is asked for.
struct Mirror {
    files: BTreeMap<String, Vec<u8>>,
    asked: RefCell<Vec<String>>,
}

impl Transport for Mirror {
    fn get(&self, path: &str, _: Option<(&str, u64)>) -> Result<Vec<u8>, TransportError> {
        self.asked.borrow_mut().push(path.to_owned());
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| TransportError::NotFound { url: path.to_owned() })
    }
}

const SHA: &str = "3a2118df47bf3f04285649f0455c2fc6fe2dc7f0b237073038aa00af41f0d5f2";

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mirror(key: &TestKey, by_hash: bool) -> Mirror {
    let packages = format!(
        "Package: bash\nVersion: 1\nArchitecture: amd64\nFilename: pool/b\nSize: 1\nSHA256: {SHA}\n"
    );
    let packages = compress(Some(Compression::Xz), packages.as_bytes());
    let sources = format!(
        "Package: bash\nVersion: 1\nDirectory: pool\nChecksums-Sha256:\n {SHA} 4 bash.dsc\n"
    );
    let sources = compress(Some(Compression::Gzip), sources.as_bytes());
    let mut text = "Suite: stable\nCodename: bookworm\nDate: x\n".to_owned();
    if by_hash {
        text += "Acquire-By-Hash: yes\n";
    }
    text += "SHA256:\n";
    let mut files = BTreeMap::new();
    for (folder, name, bytes) in
        [("main/binary-amd64", "Packages.xz", &packages), ("main/source", "Sources.gz", &sources)]
    {
        let sha256 = hex(bytes);
        text += &format!(" {sha256} {} {folder}/{name}\n", bytes.len());
        let place = if by_hash { format!("by-hash/SHA256/{sha256}") } else { name.to_owned() };
        files.insert(format!("dists/bookworm/{folder}/{place}"), bytes.clone());
    }
    let signature = key.by_primary(signed_form(&text), SHA256, DAY, 0);
    files.insert("dists/bookworm/InRelease".to_owned(), clear_signed(&text, &[signature]));
    Mirror { files, asked: RefCell::default() }
}

fn open<'t>(mirror: &'t Mirror, key: &TestKey, suite: &str) -> Result<Archive<'t>, ArchiveError> {
    let keyring = Keyring::from_armored(&[&key.certificate()]).unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(u64::from(CREATED + 2 * DAY));
    Archive::open(mirror, suite, "amd64", &keyring, now)
}

#[test]
fn indexes_are_got_once_and_only_when_asked_for() {
    let key = Plan::new(1).make();
    for by_hash in [true, false] {
        let mirror = mirror(&key, by_hash);
        let archive = open(&mirror, &key, "bookworm").unwrap();
        assert_eq!(mirror.asked.borrow().len(), 1);
        for _ in 0..2 {
            assert_eq!(archive.packages().unwrap().candidates("bash").len(), 1);
        }
        assert_eq!(mirror.asked.borrow().len(), 2);
        assert_eq!(archive.sources().unwrap().candidates("bash").len(), 1);
        assert_eq!(mirror.asked.borrow().last().unwrap().contains("by-hash"), by_hash);
        assert_eq!(archive.release().codename(), "bookworm");
    }
}

#[test]
fn the_plain_path_stands_in_for_a_missing_or_wrong_by_hash_file() {
    let key = Plan::new(1).make();
    let good = mirror(&key, true);
    let by_hash =
        good.files.keys().find(|path| path.contains("binary-amd64/by-hash")).unwrap().clone();
    for wrong in [None, Some(b"error page".to_vec())] {
        let mut mirror = mirror(&key, true);
        let bytes = mirror.files.remove(&by_hash).unwrap();
        mirror.files.insert("dists/bookworm/main/binary-amd64/Packages.xz".to_owned(), bytes);
        if let Some(wrong) = wrong {
            mirror.files.insert(by_hash.clone(), wrong);
        }
        assert!(open(&mirror, &key, "bookworm").unwrap().packages().is_ok());
    }
}

#[test]
fn wrong_mirrors_are_refused() {
    let (key, other) = (Plan::new(1).make(), Plan::new(2).make());
    let mut mirror = mirror(&key, false);
    assert!(matches!(
        open(&mirror, &other, "bookworm"),
        Err(ArchiveError::Release { source: ReleaseError::UnknownKey { .. }, .. })
    ));
    assert!(matches!(
        open(&mirror, &key, "trixie"),
        Err(ArchiveError::Transport(TransportError::NotFound { .. }))
    ));
    let release = mirror.files["dists/bookworm/InRelease"].clone();
    mirror.files.insert("dists/trixie/InRelease".to_owned(), release);
    assert!(matches!(
        open(&mirror, &key, "trixie"),
        Err(ArchiveError::Release { source: ReleaseError::WrongSuite { .. }, .. })
    ));
    let archive = open(&mirror, &key, "bookworm").unwrap();
    assert!(archive.packages().is_ok());
    drop(archive);
    let path = "dists/bookworm/main/binary-amd64/Packages.xz";
    mirror.files.get_mut(path).unwrap()[20] ^= 1;
    let error = open(&mirror, &key, "bookworm").unwrap().packages().unwrap_err();
    assert!(matches!(error, ArchiveError::Mismatch { .. }), "{error}");
    mirror.files.remove(path);
    assert!(matches!(
        open(&mirror, &key, "bookworm").unwrap().packages(),
        Err(ArchiveError::Transport(_))
    ));
    let keyring = Keyring::from_armored(&[&key.certificate()]).unwrap();
    let archive = Archive::open(&mirror, "bookworm", "riscv64", &keyring, UNIX_EPOCH).unwrap();
    assert!(matches!(archive.packages(), Err(ArchiveError::NoIndex { .. })));
}
