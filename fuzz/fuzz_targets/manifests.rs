//! Manifests, accounts and cpio archives.
#![no_main]
use libfuzzer_sys::fuzz_target;
use osier_image::{Accounts, Manifest, read_tree};

fuzz_target!(|bytes: &[u8]| {
    let _ = Manifest::parse("manifest", &String::from_utf8_lossy(bytes));
    let _ = Accounts::parse(bytes, bytes);
    let _ = read_tree(bytes, 1 << 20);
});
