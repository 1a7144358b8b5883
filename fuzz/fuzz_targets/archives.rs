//! Source archives: whatever they hold, nothing is written outside the folder.
#![no_main]
use libfuzzer_sys::fuzz_target;
use osier_build::{Packed, unpack_archive};
use osier_recipe::SOURCE_FORMATS;

fuzz_target!(|bytes: &[u8]| {
    // The first byte says what the recipe says; all else is told by the content.
    let Some((first, bytes)) = bytes.split_first() else { return };
    let format =
        usize::from(*first).checked_sub(1).map(|at| SOURCE_FORMATS[at % SOURCE_FORMATS.len()]);
    let file = &osier_fuzz::write("archive", &osier_fuzz::with_sums(bytes));
    for strip in [0, 1] {
        let packed = Packed { file, name: "a.tar", format, reserve: osier_fuzz::reserve() };
        osier_fuzz::in_new_folder(|into| drop(unpack_archive(&packed, strip, into)));
    }
});
