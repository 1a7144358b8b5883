//! What a guest prints: cleaned alike however it arrives, without anything that a terminal would obey, and judged.
#![no_main]
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use osier_boot::console::Cleaner;
use osier_boot::classify;
use osier_boot::verdict::{Observation, Outcome};
use osier_boot::{GuestEnding, GuestStatus, MachineEnd};

fuzz_target!(|bytes: &[u8]| {
    let mut whole = Vec::new();
    Cleaner::default().clean(bytes, &mut whole);
    let (mut pieces, mut cleaner) = (Vec::new(), Cleaner::default());
    for byte in bytes {
        cleaner.clean(std::slice::from_ref(byte), &mut pieces);
    }
    assert_eq!(whole, pieces);
    assert!(!whole.contains(&0x1b));

    let console = String::from_utf8_lossy(&whole);
    let proof = "osier-booted:1";
    let behind = console.find(proof).map(|at| at + proof.len());
    let (waiting_for, limit) = ("the end".to_owned(), Duration::from_secs(60));
    for outcome in [
        Outcome::Done,
        Outcome::TimedOut { waiting_for: waiting_for.clone(), limit },
        Outcome::NoProgress { waiting_for: waiting_for.clone(), quiet: limit },
        Outcome::GuestEnded { waiting_for: waiting_for.clone(), status: GuestStatus::Code(1) },
        Outcome::OtherEnd { expected: GuestEnding::PowerOff, found: None },
        Outcome::Settled { waiting_for },
    ] {
        let proved = behind.map(|_| limit);
        let booted = outcome == Outcome::Done && proved.is_some();
        let seen = Observation {
            console: &console,
            messages: "",
            // As the number of lines has it, so that it does not change with every byte.
            end: [None, Some(MachineEnd::Off), Some(MachineEnd::Reset)]
                [console.lines().count() % 3],
            outcome,
            proved,
            proof,
            behind: behind.unwrap_or(0),
        };
        let found = classify(&seen);
        assert_eq!(found.verdict.is_booted(), booted, "{found:?}");
        assert!(
            found.evidence.iter().all(|line| line == proof || console.contains(line.as_str())),
            "{found:?}"
        );
        // As QEMU's own words.
        classify(&Observation { console: "", messages: &console, ..seen });
    }
});
