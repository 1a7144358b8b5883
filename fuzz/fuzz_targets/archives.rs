//! Source archives: whatever they hold, nothing is written outside the folder.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a scratch folder can be made");
    let archive = folder.path().join("archive");
    std::fs::write(&archive, bytes).expect("the scratch folder can be written");
    let into = folder.path().join("into");
    for name in ["a.tar", "a.tar.gz", "a.tar.xz", "a.tar.zst"] {
        std::fs::create_dir(&into).expect("the scratch folder can be written");
        let _ = osier_build::unpack_archive(&archive, name, 1, &into);
        osier_store::remove_tree(&into).expect("what was unpacked can be removed");
        let left = std::fs::read_dir(folder.path()).expect("the scratch folder can be listed").count();
        assert_eq!(left, 1, "something was written outside the folder");
    }
});
