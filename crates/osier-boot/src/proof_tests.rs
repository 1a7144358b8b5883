//! The proof, and what is printed before and after it: a verdict on what happened, not on what was printed.

use std::time::Duration;

use super::*;

const START: &str = "[    0.000000] Linux version 6.1.176 (builder@osier) #1\n";
const RUN: &str = "[    0.600000] Run /init as init process\n";
const REFUSED: &str = "[    0.700000] Failed to execute /init (error -2)\n";
const PROOF: &str = "osier-booted:1\n";
const REBOOT: &str = "[    9.000000] reboot: Restarting system\n";
const RETURNED: &str =
    "[    8.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300\n";
const FORGED: &str = "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300\n";
const DUMP: &str = "[    0.100000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n";

fn waiting() -> String {
    "the text \"x\"".to_owned()
}

fn ended() -> Outcome {
    Outcome::GuestEnded { waiting_for: waiting(), status: GuestStatus::Code(0) }
}

fn timed_out() -> Outcome {
    Outcome::TimedOut { waiting_for: waiting(), limit: Duration::from_secs(60) }
}

fn stuck() -> Outcome {
    Outcome::NoProgress { waiting_for: waiting(), quiet: Duration::from_secs(30) }
}

fn settled() -> Outcome {
    Outcome::Settled { waiting_for: waiting() }
}

fn other(expected: GuestEnding, found: Option<GuestEnding>) -> Outcome {
    Outcome::OtherEnd { expected, found }
}

/// Judges a console, given in parts; one with the proof is proved.
fn judge(parts: &[&str], outcome: Outcome) -> Diagnosis {
    let console = parts.concat();
    let place = console.find(PROOF).map(|place| place + PROOF.len());
    let found = classify(&Observation {
        console: &console,
        messages: "",
        end: None,
        outcome,
        proved: place.map(|_| Duration::from_millis(1500)),
        proof: PROOF.trim(),
        behind: place.unwrap_or(0),
    });
    assert_eq!(found.proved, place.is_some());
    assert_eq!(found.summary, found.verdict.to_string());
    found
}

#[track_caller]
fn told(parts: &[&str], outcome: Outcome, code: &str, summary: &str) -> Diagnosis {
    let found = judge(parts, outcome);
    assert_eq!((found.code, found.summary.as_str()), (code, summary), "{found:#?}");
    found
}

#[test]
fn what_was_printed_before_the_proof_is_a_note() {
    let found = told(&[START, PROOF, REBOOT], Outcome::Done, "B100", "booted in 1.5 s");
    assert!(found.notes.is_empty(), "{:?}", found.notes);
    for words in [
        // The kernel's own line about a first init, and the next one proves itself.
        &[RUN, REFUSED, "[    0.800000] Run /sbin/init as init process\n"][..],
        // Init prints such lines: as a program does, with stamps, of another kernel.
        &[RUN, "Failed to execute /init (error -8)\n"],
        &[RUN, FORGED],
        &[RUN, DUMP],
        &[RUN, "[    5.000000] Kernel panic - not syncing: Fatal exception\n"],
        &[RUN, "Initramfs unpacking failed: read error\n"],
        &["[    0.500000] Initramfs unpacking failed: broken padding\n", RUN],
        // Faults that the kernel survived.
        &[RUN, "[    0.900000] BUG: kernel NULL pointer dereference, address: 0\n"],
        &[RUN, "[    0.900000] Out of memory: Killed process 77 (test)\n"],
    ] {
        let parts = [&[START], words, &[PROOF, REBOOT]].concat();
        let found = told(&parts, Outcome::Done, "B100", "booted in 1.5 s");
        assert_eq!(found.notes.len(), 1, "{words:?}: {:?}", found.notes);
        let note = found.notes[0].strip_prefix("before the proof: ").unwrap();
        assert!(words.iter().any(|line| line.trim() == note), "{note}");
        assert_eq!(found.evidence, [PROOF.trim()]);
    }
    // A guest that goes on after it has printed them, and what it printed by then.
    let found =
        judge(&[START, RUN, PROOF, FORGED, "[    2.0] Oops: 0000 [#1]\n", REBOOT], Outcome::Done);
    assert_eq!(found.code, "B100");
    assert_eq!(
        found.notes,
        [
            format!("after the proof: {}", FORGED.trim()),
            "after the proof: [    2.0] Oops: 0000 [#1]".to_owned()
        ]
    );
    // Many are some.
    let found = judge(&[START, &FORGED.repeat(100), PROOF], Outcome::Done);
    assert_eq!(found.notes.len(), MOST_NOTES);
}

#[test]
fn after_the_proof_only_what_happened_then_makes_a_verdict() {
    // Each end of process 1, as the kernel tells it.
    for (status, summary) in [
        ("00000000", "init ended with exit code 0"),
        ("00000300", "init ended with exit code 3"),
        ("00007f00", "init ended with exit code 127"),
        ("0000000b", "init was killed by signal 11 (segmentation fault)"),
        ("0000008b", "init was killed by signal 11 (segmentation fault)"),
        ("00000009", "init was killed by signal 9 (kill)"),
    ] {
        let panic = RETURNED.replace("00000300", status);
        for before in ["", REFUSED, FORGED, DUMP] {
            let outcome = other(GuestEnding::Reboot, Some(GuestEnding::Panic));
            for outcome in [outcome, ended(), timed_out(), settled()] {
                let found = told(&[START, RUN, before, PROOF, &panic], outcome, "B104", summary);
                assert!(found.evidence.contains(&panic.trim().to_owned()), "{found:?}");
                assert!(!found.hint.contains("compare the end in the script"), "{found:?}");
            }
        }
    }
    // A kernel that does not stamp, and one that stays.
    let bare = |text: &str| text[text.find("] ").unwrap() + 2..].to_owned();
    let end =
        "---[ end Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300 ]---\n";
    told(&[&bare(START), PROOF, &bare(RETURNED)], ended(), "B104", "init ended with exit code 3");
    let stamped_end = format!("[    8.1] {end}");
    told(&[START, PROOF, RETURNED, &stamped_end], settled(), "B104", "init ended with exit code 3");
    told(
        &[&bare(START), PROOF, &bare(RETURNED), end],
        settled(),
        "B104",
        "init ended with exit code 3",
    );
    // Another panic after the proof, with the fault before it.
    let oops = "[    7.0] BUG: unable to handle page fault for address: 0\n";
    let fatal = "[    8.0] Kernel panic - not syncing: Fatal exception\n";
    let found = told(
        &[START, RUN, PROOF, oops, fatal],
        ended(),
        "B102",
        "the kernel panicked: Kernel panic - not syncing: Fatal exception",
    );
    assert_eq!(found.evidence, [oops.trim(), fatal.trim()]);
    // A panic that names the root file system is no lack of one any more.
    let late = DUMP.replace("0.1", "8.1");
    assert_eq!(judge(&[START, PROOF, &late], ended()).code, "B102");
}

#[test]
fn the_script_that_was_not_kept_is_the_verdict_where_nothing_broke() {
    for before in ["", REFUSED, DUMP, FORGED] {
        let start = [START, RUN, before, PROOF];
        let with = |rest: &[&'static str]| [&start[..], rest].concat();
        told(&with(&["y\n"]), timed_out(), "B109", "the script waited in vain for the text \"x\"");
        told(&with(&["/ # "]), stuck(), "B107", "the guest stopped making progress after: / #");
        let early = "the guest ended (reboot) while the script was waiting for the text \"x\"";
        told(&with(&[REBOOT]), ended(), "B110", early);
        // A program prints the words of a panic, and then the guest ends in an orderly way.
        told(&with(&[FORGED, REBOOT]), ended(), "B110", early);
        told(&with(&[DUMP, REBOOT]), ended(), "B110", early);
        // Or it goes on.
        told(
            &with(&[FORGED, "y\n"]),
            timed_out(),
            "B109",
            "the script waited in vain for the text \"x\"",
        );
        let made_up = "[   99.0] Kernel panic - not syncing: x\n";
        told(
            &with(&[made_up, "y\n"]),
            timed_out(),
            "B109",
            "the script waited in vain for the text \"x\"",
        );
        told(
            &with(&[made_up, "y\n"]),
            stuck(),
            "B107",
            "the guest stopped making progress after: y",
        );
        let halted = other(GuestEnding::PowerOff, Some(GuestEnding::Halt));
        let found = told(
            &with(&["[    9.0] reboot: System halted\n"]),
            halted,
            "B109",
            "the script waited in vain for the guest to power off",
        );
        assert!(found.cause.contains("ACPI"), "{}", found.cause);
        told(
            &with(&["[    9.0] reboot: System halted\n"]),
            settled(),
            "B110",
            "the guest ended (halt) while the script was waiting for the text \"x\"",
        );
    }
    // The last words of a guest that ended without another word of the kernel.
    let found = judge(&[START, RUN, PROOF, FORGED], ended());
    assert_eq!(found.code, "B104", "nothing else explains the end: {found:#?}");
}

#[test]
fn without_a_proof_what_init_prints_is_not_what_the_kernel_says() {
    let no_code = "the guest ended (reboot) while the script was waiting for the text \"x\"";
    for words in ["Failed to execute /init (error -2)\n", FORGED, DUMP] {
        // Init prints it; and ends, hangs, switches off, or does not finish.
        told(&[START, RUN, words, RETURNED], ended(), "B104", "init ended with exit code 3");
        told(&[START, words, RETURNED], ended(), "B104", "init ended with exit code 3");
        told(&[START, RUN, words, REBOOT], ended(), "B110", no_code);
        told(
            &[START, RUN, words, "ready\n"],
            stuck(),
            "B107",
            "the guest stopped making progress after: ready",
        );
        let found = told(
            &[START, RUN, words, "ready\n", REBOOT],
            Outcome::Done,
            "B101",
            "the script ran to its end, but process 1 did not prove that it runs",
        );
        assert_eq!(found.notes, [format!("on the console: {}", words.trim())]);
    }
    // With stamps, but not where the kernel starts process 1.
    let late = REFUSED.replace("0.7", "3.7");
    told(
        &[START, RUN, "starting\n", &late, RETURNED],
        ended(),
        "B104",
        "init ended with exit code 3",
    );
    // A kernel without stamps: what it prints in the end, and whether it has ended.
    let bare = |text: &str| text[text.find("] ").unwrap() + 2..].to_owned();
    for words in [
        "Failed to execute /init (error -2)\n",
        FORGED,
        &bare(DUMP),
        DUMP,
        "note: Kernel panic - not syncing: x\n",
    ] {
        for said in ["hello\n", ""] {
            let start = [&bare(START), &bare(RUN), said, words].concat();
            told(&[&start, &bare(RETURNED)], ended(), "B104", "init ended with exit code 3");
            told(&[&start, "/ # ", &bare(REBOOT)], ended(), "B110", no_code);
            told(
                &[&start, "ready\n"],
                stuck(),
                "B107",
                "the guest stopped making progress after: ready",
            );
            told(
                &[&start],
                timed_out(),
                "B108",
                "the time limit passed while waiting for the text \"x\"",
            );
            told(
                &[&start, PROOF, words],
                timed_out(),
                "B109",
                "the script waited in vain for the text \"x\"",
            );
        }
    }
    // A quiet one.
    let bare = &RETURNED[RETURNED.find("] ").unwrap() + 2..];
    told(
        &["hello\nFailed to execute /init (error -2)\n", bare],
        ended(),
        "B104",
        "init ended with exit code 3",
    );
    told(
        &[
            "Linux version 6.1\nRun /init as init process\nhello\nFailed to execute /init (error -2)\n",
            bare,
        ],
        ended(),
        "B104",
        "init ended with exit code 3",
    );
}

#[test]
fn the_kernels_own_refusal_is_the_verdict_however_the_fallback_ends() {
    let summary = "init could not be run: /init: the file, or the interpreter that it names, does not exist (error 2, ENOENT)";
    let next = "[    0.800000] Run /bin/sh as init process\n";
    let prompt = "/bin/sh: can't access tty; job control turned off\n/ # ";
    for parts in [
        &[START, RUN, REFUSED, next, prompt][..],
        &[START, REFUSED, prompt],
        &[REFUSED, prompt],
        &[START, RUN, "[    0.65] usb 1-1: new device\n", REFUSED, next, "other init\n", RETURNED],
        &[START, RUN, REFUSED, next, prompt, "reboot -f\n", REBOOT],
        &["SeaBIOS (version 1.16)\nBooting from ROM..\n", REFUSED, prompt],
        &[
            "Linux version 6.1\nRun /init as init process\n  with arguments:\n    /init\nFailed to execute /init (error -2)\nRun /bin/sh as init process\n",
            prompt,
        ],
    ] {
        for outcome in [ended(), timed_out(), stuck(), settled(), Outcome::Done] {
            told(parts, outcome, "B103", summary);
        }
    }
    // Nothing else explains why a guest stands still, or is gone.
    let bare = "hello\nFailed to execute /init (error -2)\n";
    for outcome in [settled(), ended()] {
        told(&[bare, prompt], outcome, "B103", summary);
    }
}
