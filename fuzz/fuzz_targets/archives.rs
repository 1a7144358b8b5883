//! Source archives: whatever they hold, nothing is written outside the folder.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a scratch folder can be made");
    let archive = folder.path().join("archive");
    let into = folder.path().join("into");
    // The first byte says what the recipe says; all else is told by the content.
    let Some((first, bytes)) = bytes.split_first() else { return };
    std::fs::write(&archive, bytes).expect("the scratch folder can be written");
    let format = match first % 4 {
        0 => None,
        1 => Some("zip"),
        2 => Some("gz"),
        _ => Some("tar"),
    };
    for strip in [0, 1] {
        let packed = osier_build::Packed { file: &archive, name: "a.tar", format, reserve: 1 << 30 };
        std::fs::create_dir(&into).expect("the scratch folder can be written");
        let _ = osier_build::unpack_archive(&packed, strip, &into);
        osier_store::remove_tree(&into).expect("what was unpacked can be removed");
        let left = std::fs::read_dir(folder.path()).expect("the scratch folder can be listed").count();
        assert_eq!(left, 1, "something was written outside the folder");
    }
});
