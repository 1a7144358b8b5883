//! Binary packages: whatever they hold, nothing is written outside the root.
#![no_main]
use libfuzzer_sys::fuzz_target;
use osier_debian::{UnpackOptions, unpack_root};

/// The frame of a package around what should be its `data.tar`.
fn package(data: &[u8]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in [("debian-binary", b"2.0\n".as_slice()), ("control.tar", &[0; 1024]), ("data.tar", data)] {
        let size = content.len();
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").bytes());
        bytes.extend(content);
        bytes.extend(vec![b'\n'; size % 2]);
    }
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a scratch folder can be made");
    let (deb, root) = (folder.path().join("a.deb"), folder.path().join("root"));
    for content in [bytes.to_vec(), package(bytes)] {
        std::fs::write(&deb, content).expect("the scratch folder can be written");
        std::fs::create_dir(&root).expect("the scratch folder can be written");
        let _ = unpack_root(std::slice::from_ref(&deb), &root, &UnpackOptions::default());
        osier_store::remove_tree(&root).expect("what was unpacked can be removed");
        let left = std::fs::read_dir(folder.path()).expect("the scratch folder can be listed").count();
        assert_eq!(left, 1, "something was written outside the root");
    }
});
