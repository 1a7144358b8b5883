//! Debian's indexes, control files, source descriptions, signatures and compressed data.
#![no_main]
use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use osier_debian::{
    Dsc, Keyring, PackageIndex, Release, SourceIndex, Version, Wanted, closure, decompress,
    parse_dependencies,
};

static DEBIAN: LazyLock<Keyring> =
    LazyLock::new(|| Keyring::debian().expect("the committed keys are sound"));

fuzz_target!(|bytes: &[u8]| {
    let _ = (SourceIndex::parse(bytes), Dsc::parse(bytes), decompress("x", bytes));
    if let Ok(index) = PackageIndex::parse(bytes) {
        let wanted: Vec<Wanted> =
            index.entries().iter().map(|entry| Wanted::named(&entry.package)).take(8).collect();
        let _ = closure(&index, &wanted);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = parse_dependencies(&text);
    if let Some((one, other)) = text.split_once('\n') {
        let (one, other) = (Version::new(one), Version::new(other));
        assert_eq!(one.cmp(&other), other.cmp(&one).reverse());
    }
    // A message can bring its key.
    let at = text.find("-----BEGIN PGP PUBLIC KEY BLOCK-----").unwrap_or(text.len());
    let (message, key) = (&text.as_bytes()[..at], &text.as_bytes()[at..]);
    let own = Keyring::from_armored(&[key]);
    let days = |days: u64| UNIX_EPOCH + Duration::from_secs(days * 86_400);
    for keyring in [Some(&*DEBIAN), own.as_ref().ok()].into_iter().flatten() {
        let _ = Release::verify(message, keyring, days(18_275));
    }
});
