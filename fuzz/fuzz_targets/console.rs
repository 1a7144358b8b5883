//! What a guest prints: cleaned alike however it arrives, and without anything that a terminal would obey.
#![no_main]
use libfuzzer_sys::fuzz_target;
use osier_boot::console::Cleaner;

fuzz_target!(|bytes: &[u8]| {
    let mut whole = Vec::new();
    Cleaner::default().clean(bytes, &mut whole);
    let (mut pieces, mut cleaner) = (Vec::new(), Cleaner::default());
    for byte in bytes {
        cleaner.clean(std::slice::from_ref(byte), &mut pieces);
    }
    assert_eq!(whole, pieces);
    assert!(!whole.contains(&0x1b));
});
