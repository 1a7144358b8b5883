//! Releases signed well and badly, with keys made here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgp::crypto::hash::HashAlgorithm::{Md5, Sha1, Sha256, Sha512};
use pgp::packet::Signature;

use super::*;
use crate::test_key::{CREATED, DAY, Plan, TestKey, clear_signed, signed_form};

const TEXT: &str = "Origin: Debian\nSuite: oldstable\nCodename: bookworm\nDate: Sat, 11 Jan 2020 10:16:37 UTC\n\
    Valid-Until: Sat, 18 Jan 2020 10:16:37 UTC\nAcquire-By-Hash: yes\nMD5Sum:\n 0ed6d4c8891eb86358b94bb35d9e4da4 9 main/x\n\
    SHA256:\n 11ed3507140d691f6dbd11cc5788667aeeac97c487679a85095045369b00ac7c 2047 main/binary-amd64/Packages.xz\n";

fn day(days: u32) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::from(CREATED + days * DAY))
}

fn keyring(keys: &[&TestKey]) -> Keyring {
    let texts: Vec<Vec<u8>> = keys.iter().map(|key| key.certificate()).collect();
    Keyring::from_armored(&texts.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap()
}

fn good(key: &TestKey, text: &str) -> Signature {
    key.by_primary(signed_form(text), Sha256, 10 * DAY, 0)
}

fn verify(
    text: &str,
    signatures: &[Signature],
    keys: &[&TestKey],
) -> Result<Release, ReleaseError> {
    Release::verify(&clear_signed(text, signatures), &keyring(keys), day(12))
}

#[test]
fn a_good_release_is_read() {
    let key = Plan::new(1).make();
    let release = verify(TEXT, &[good(&key, TEXT)], &[&key]).unwrap();
    assert_eq!((release.suite(), release.codename()), ("oldstable", "bookworm"));
    assert_eq!(release.date(), "Sat, 11 Jan 2020 10:16:37 UTC");
    assert_eq!(release.signed_by(), [key.fingerprint()]);
    let index = release.index("main/binary-amd64/Packages.xz").unwrap();
    let sha256 = "11ed3507140d691f6dbd11cc5788667aeeac97c487679a85095045369b00ac7c";
    assert_eq!((index.size, index.sha256.as_str()), (2047, sha256));
    assert_eq!(index.by_hash.unwrap(), format!("main/binary-amd64/by-hash/SHA256/{sha256}"));
    assert_eq!(release.index("main/x"), None, "MD5 sums are not used");
    release.require_suite("bookworm").unwrap();
    release.require_suite("oldstable").unwrap();
    let error = release.require_suite("trixie").unwrap_err();
    assert_eq!(
        error.to_string(),
        "asked for suite `trixie`, got suite `oldstable` with codename `bookworm`"
    );
}

#[test]
fn by_hash_only_where_the_archive_offers_it() {
    let key = Plan::new(1).make();
    let text = TEXT.replace("Acquire-By-Hash: yes\n", "");
    let release = verify(&text, &[good(&key, &text)], &[&key]).unwrap();
    assert_eq!(release.index("main/binary-amd64/Packages.xz").unwrap().by_hash, None);
}

#[test]
fn dashes_blanks_and_crlf_do_not_break_a_signature() {
    let key = Plan::new(1).make();
    let text = TEXT.replace("Origin: Debian\n", "- Dash: x\n");
    let text = text.replace("- Dash", "-Dash");
    let message = String::from_utf8(clear_signed(&text, &[good(&key, &text)])).unwrap();
    for changed in [
        message.clone(),
        message.replace('\n', "\r\n"),
        message.replace("bookworm\n", "bookworm \t\n"),
    ] {
        let release = Release::verify(changed.as_bytes(), &keyring(&[&key]), day(12)).unwrap();
        assert_eq!(release.codename(), "bookworm");
    }
}

#[test]
fn one_good_signature_among_others_is_enough() {
    let (key, other) = (Plan::new(1).make(), Plan::new(2).make());
    let form = signed_form(TEXT);
    let lists = [
        vec![good(&other, TEXT), good(&key, TEXT)],
        vec![good(&key, "another text"), good(&key, TEXT)],
        vec![key.by_subkey(form, DAY), good(&other, TEXT)],
        vec![key.by_primary(form, Sha512, DAY, 0)],
        vec![key.by_primary(form, Sha256, DAY, 12 * DAY)],
    ];
    for signatures in lists {
        assert_eq!(verify(TEXT, &signatures, &[&key]).unwrap().signed_by(), [key.fingerprint()]);
    }
}

#[test]
fn wrong_signatures_are_refused() {
    let (key, other) = (Plan::new(1).make(), Plan::new(2).make());
    let rsa = Plan { rsa: true, ..Plan::new(3) }.make();
    let form = signed_form(TEXT);
    let unknown = verify(TEXT, &[good(&other, TEXT)], &[&key]).unwrap_err();
    assert!(
        matches!(&unknown, ReleaseError::UnknownKey { issuers } if *issuers == [other.fingerprint()]),
        "{unknown}"
    );
    let forged = verify(&TEXT.replace("2047", "2048"), &[good(&key, TEXT)], &[&key]).unwrap_err();
    assert!(matches!(forged, ReleaseError::BadSignature), "{forged}");
    for (hash, name) in [(Sha1, "SHA1"), (Md5, "MD5")] {
        let weak = verify(TEXT, &[rsa.by_primary(form, hash, DAY, 0)], &[&rsa]).unwrap_err();
        assert!(matches!(&weak, ReleaseError::WeakHash { hash } if hash == name), "{weak}");
    }
    verify(TEXT, &[rsa.by_primary(form, Sha256, DAY, 0)], &[&rsa]).unwrap();
    let ended = verify(TEXT, &[key.by_primary(form, Sha256, DAY, 5 * DAY)], &[&key]).unwrap_err();
    assert!(matches!(ended, ReleaseError::ExpiredKey), "{ended}");
    let none = verify(TEXT, &[], &[&key]).unwrap_err();
    assert!(
        matches!(none, ReleaseError::Unsigned | ReleaseError::UnreadableSignature(_)),
        "{none}"
    );
}

#[test]
fn keys_count_only_while_valid_and_as_bound() {
    let form = signed_form(TEXT);
    let short = Plan { lifetime: 5 * DAY, ..Plan::new(4) }.make();
    let short_subkey = Plan { subkey_lifetime: 5 * DAY, ..Plan::new(5) }.make();
    // Signed within the lifetime counts, even if read later.
    for signature in [short.by_primary(form, Sha256, 4 * DAY, 0), short.by_subkey(form, 4 * DAY)] {
        verify(TEXT, &[signature], &[&short]).unwrap();
    }
    verify(TEXT, &[short_subkey.by_primary(form, Sha256, 9 * DAY, 0)], &[&short_subkey]).unwrap();
    let late = [
        (&short, short.by_primary(form, Sha256, 6 * DAY, 0)),
        (&short, short.by_subkey(form, 6 * DAY)),
        (&short_subkey, short_subkey.by_subkey(form, 6 * DAY)),
    ];
    for (key, signature) in late {
        let error = verify(TEXT, &[signature], &[key]).unwrap_err();
        assert!(matches!(error, ReleaseError::ExpiredKey), "{error}");
    }
    let unbound = [
        Plan { subkey_can_sign: false, ..Plan::new(6) },
        Plan { subkey_confirms: false, ..Plan::new(7) },
        Plan { subkey_revoked: true, ..Plan::new(8) },
    ];
    for plan in unbound {
        let key = plan.make();
        let error = verify(TEXT, &[key.by_subkey(form, DAY)], &[&key]).unwrap_err();
        assert!(matches!(error, ReleaseError::UnknownKey { .. }), "{error}");
    }
    let useless = [
        Plan { revoked: true, ..Plan::new(9) },
        Plan { rsa: true, binding_hash: Sha1, ..Plan::new(10) },
    ];
    for plan in useless {
        let error = Keyring::from_armored(&[&plan.make().certificate()]).unwrap_err();
        assert!(matches!(error, crate::keyring::KeyringError::CannotSign { .. }), "{error}");
    }
}

#[test]
fn expiry_of_the_release_is_told_with_its_date() {
    let key = Plan::new(1).make();
    let message = clear_signed(TEXT, &[good(&key, TEXT)]);
    Release::verify(&message, &keyring(&[&key]), day(17)).unwrap();
    let error = Release::verify(&message, &keyring(&[&key]), day(18)).unwrap_err();
    assert_eq!(error.to_string(), "expired: valid until Sat, 18 Jan 2020 10:16:37 UTC");
}

#[test]
fn what_is_not_clear_signed_is_refused() {
    let key = Plan::new(1).make();
    let message = clear_signed(TEXT, &[good(&key, TEXT)]);
    let text = String::from_utf8(message.clone()).unwrap();
    let keys = keyring(&[&key]);
    let cases: [&[u8]; 5] = [
        TEXT.as_bytes(),
        b"",
        &message[..message.len() / 2],
        &[message.as_slice(), b"SHA256:\n more\n"].concat(),
        &[b"\xff", message.as_slice()].concat(),
    ];
    for case in cases {
        assert!(matches!(Release::verify(case, &keys, day(12)), Err(ReleaseError::NotClearSigned)));
    }
    let base64 = text.find("SIGNATURE-----\n").unwrap() + 40;
    let mut broken = message.clone();
    broken[base64] = if broken[base64] == b'A' { b'B' } else { b'A' };
    assert!(Release::verify(&broken, &keys, day(12)).is_err());
}

#[test]
fn odd_signed_texts_are_errors() {
    let key = Plan::new(1).make();
    let changes = [
        ("Codename: bookworm\n", ""),
        ("Date: Sat", "Dat: Sat"),
        ("SHA256:", "SHA512:"),
        ("2047 ", "many "),
        ("main/binary", "../binary"),
        ("Valid-Until: Sat, 18", "Valid-Until: soon"),
        ("MD5Sum:\n", "\n"),
    ];
    for (from, to) in changes {
        let text = TEXT.replace(from, to);
        assert_ne!(text, TEXT);
        assert!(verify(&text, &[good(&key, &text)], &[&key]).is_err(), "{to}");
    }
}

/// `cargo xtask fuzz` starts from these.
#[test]
#[ignore = "writes files to the folder that OSIER_SEEDS names"]
fn seeds_of_debian() {
    let folder = std::path::PathBuf::from(std::env::var_os("OSIER_SEEDS").unwrap());
    for (name, plan) in [("ed25519", Plan::new(1)), ("rsa", Plan { rsa: true, ..Plan::new(2) })] {
        let key = plan.make();
        let message = clear_signed(TEXT, &[good(&key, TEXT)]);
        Release::verify(&message, &keyring(&[&key]), day(12)).unwrap();
        // The target takes what comes behind a message for its key.
        let bytes = [message, key.certificate()].concat();
        std::fs::write(folder.join(format!("release-{name}")), bytes).unwrap();
    }
    for compression in crate::compression::tests::ALL {
        let packed = crate::compression::tests::compress(compression, TEXT.as_bytes());
        std::fs::write(folder.join(format!("packed-{compression:?}")), packed).unwrap();
    }
}
