//! The lock is written and read back without loss.

use osier_recipe::{Lock, LockedEnvironment, LockedFile, LockedPackage, LockedSource, Pin, Place};
use proptest::prelude::*;

use crate::LOCK;

const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn the_example_is_what_osier_writes() {
    let lock = Lock::parse("osier.lock", LOCK).unwrap();
    assert_eq!(lock.to_text(), LOCK);
}

#[test]
fn entries_are_found() {
    let lock = Lock::parse("osier.lock", LOCK).unwrap();
    let environment = lock.environment("bookworm", "amd64", &["bc"]).unwrap();
    assert!(lock.environment("bookworm", "arm64", &["bc"]).is_none());
    let closure = lock.closure(environment).unwrap();
    let names: Vec<_> =
        closure.iter().map(|p| (p.name.as_str(), p.architecture.as_str())).collect();
    assert_eq!(names, [("bc", "amd64"), ("tzdata", "all")]);
    let source = lock.source("busybox", "busybox").unwrap();
    assert!(matches!(&source.pin, Pin::Debian { version, .. } if version == "1:1.35.0-4+deb12u1"));
    assert_eq!(source.files[1].size, 2_480_624);
    assert!(lock.source("busybox", "none").is_none());
}

#[test]
fn a_request_is_one_environment_in_any_order() {
    let mut lock = Lock::default();
    let request = ["b".to_owned(), "a".to_owned(), "b".to_owned()].to_vec();
    let environment = LockedEnvironment {
        suite: "bookworm".into(),
        architecture: "amd64".into(),
        request,
        packages: Vec::new(),
    };
    assert_eq!(lock.add_environment(environment.clone()), None);
    assert!(lock.environment("bookworm", "amd64", &["a", "b", "a"]).is_some());
    assert_eq!(lock.add_environment(environment).unwrap().request, ["a", "b"]);
}

#[test]
fn packages_go_with_their_last_environment() {
    let mut lock = Lock::parse("osier.lock", LOCK).unwrap();
    lock.retain_environments(|_| true);
    assert_eq!(lock.to_text(), LOCK);
    lock.retain_environments(|environment| environment.architecture != "amd64");
    assert_eq!((lock.environments().count(), lock.packages().count()), (0, 0));
}

#[test]
fn a_replaced_pin_is_given_back() {
    let mut lock = Lock::parse("osier.lock", LOCK).unwrap();
    let mut source = lock.source("tool", "tool").unwrap().clone();
    source.pin =
        Pin::Git { address: "https://example.org/tool.git".into(), commit: "f".repeat(40) };
    let old = lock.add_source(source).unwrap();
    assert!(matches!(old.pin, Pin::Git { commit, .. } if commit.starts_with("0123")));
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9][a-z0-9+.-]{0,6}"
}

fn version() -> impl Strategy<Value = String> {
    "[0-9][A-Za-z0-9.+~:-]{0,6}"
}

fn file() -> impl Strategy<Value = LockedFile> {
    let place = prop_oneof![
        "[a-z\"\\\\ é]{1,4}/[a-z.]{3,6}x".prop_map(Place::Pool),
        prop::collection::vec("https://[a-z.]{1,9}/[a-z\"\\\\]{1,9}", 0..3).prop_map(Place::Urls),
        Just(Place::Made),
    ];
    // Quotes and what is not ASCII must survive the writing.
    (r#"[ -.0-~\u{a0}é☃]{1,8}x"#, place, 0..=i64::MAX.unsigned_abs())
        .prop_map(|(name, place, size)| LockedFile { name, place, size, sha256: HASH.into() })
}

fn pin() -> impl Strategy<Value = Pin> {
    prop_oneof![
        (name(), version(), name()).prop_map(|(package, version, suite)| Pin::Debian {
            package,
            version,
            suite
        }),
        "https://[a-z]{1,5}/[a-z{}\"]{1,9}".prop_map(|url| Pin::Url { url }),
        "[0-9a-f]{40}".prop_map(|commit| Pin::Git { address: "https://h/a".into(), commit }),
    ]
}

fn lock() -> impl Strategy<Value = Lock> {
    let packages = prop::collection::vec((name(), version(), "amd64|all"), 0..6);
    let sources =
        prop::collection::vec((name(), name(), pin(), prop::collection::vec(file(), 0..4)), 0..4);
    (packages, prop::collection::vec(name(), 0..4), sources).prop_map(
        |(packages, request, sources)| {
            let mut lock = Lock::default();
            for (name, version, architecture) in &packages {
                lock.add_package(LockedPackage {
                    name: name.clone(),
                    version: version.clone(),
                    architecture: architecture.clone(),
                    suite: "bookworm".into(),
                    path: format!("pool/{name}.deb"),
                    size: 1,
                    sha256: HASH.into(),
                });
            }
            let packages = packages.into_iter().map(|(name, version, _)| (name, version)).collect();
            let (suite, architecture) = ("bookworm".into(), "amd64".into());
            lock.add_environment(LockedEnvironment { suite, architecture, request, packages });
            for (recipe, name, pin, files) in sources {
                lock.add_source(LockedSource { recipe, name, pin, files });
            }
            lock
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(lock in lock()) {
        let text = lock.to_text();
        let read = Lock::parse("osier.lock", &text).unwrap_or_else(|errors| {
            panic!("{}\n{text}", crate::rendered(&errors, &text))
        });
        prop_assert_eq!(&read, &lock);
        prop_assert_eq!(read.to_text(), text);
    }
}
