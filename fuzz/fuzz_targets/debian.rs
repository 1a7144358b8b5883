//! Debian's indexes, control files, source descriptions and compressed data.
#![no_main]
use libfuzzer_sys::fuzz_target;
use osier_debian::{Dsc, Keyring, PackageIndex, Release, SourceIndex, decompress, parse_dependencies};

fuzz_target!(|bytes: &[u8]| {
    let _ = (PackageIndex::parse(bytes), SourceIndex::parse(bytes), Dsc::parse(bytes));
    let _ = parse_dependencies(&String::from_utf8_lossy(bytes));
    let _ = decompress("x", bytes);
    let keyring = Keyring::debian().expect("the committed keys are sound");
    let _ = Release::verify(bytes, &keyring, std::time::SystemTime::UNIX_EPOCH);
});
