//! Binary packages: whatever they hold, nothing is written outside the root.
#![no_main]
use std::io::Read as _;

use libfuzzer_sys::fuzz_target;
use osier_debian::{UnpackOptions, open_data, unpack_root};

/// The frame of a package around what should be its `data.tar`.
fn package(data: &[u8]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in
        [("debian-binary", b"2.0\n".as_slice()), ("control.tar", &[0; 1024]), ("data.tar", data)]
    {
        let size = content.len();
        bytes.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").bytes(),
        );
        bytes.extend(content);
        bytes.extend(vec![b'\n'; size % 2]);
    }
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    for content in [bytes.to_vec(), package(&osier_fuzz::with_sums(bytes))] {
        let deb = osier_fuzz::write("a.deb", &content);
        // A package comes from a signed archive, so that nothing bounds what it unpacks to; here something must.
        let most = 16 << 20;
        let size =
            open_data(&deb).map(|data| std::io::copy(&mut data.take(most), &mut std::io::sink()));
        if matches!(size, Ok(Ok(size)) if size == most) {
            continue;
        }
        osier_fuzz::in_new_folder(|root| {
            drop(unpack_root(std::slice::from_ref(&deb), root, &UnpackOptions::default()))
        });
    }
});
