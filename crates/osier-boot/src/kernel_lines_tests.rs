//! Whose lines are whose.

use super::*;

#[test]
fn stamps_are_those_of_a_console() {
    for (line, expected) in [
        ("[    1.234567] text", Some((0, "text"))),
        ("[12345.678901] text", Some((0, "text"))),
        ("[    0.000000][    T0] text", Some((0, "text"))),
        ("[    0.000000][  C1] text", Some((0, "text"))),
        ("starting foo...[    1.234567] text", Some((15, "text"))),
        ("[a] b [    1.234567] [text]", Some((6, "[text]"))),
        ("<6>[    1.234567] text", None),
        ("[1] text", None),
        ("[1.2.3] text", None),
        ("[    1.2s] text", None),
        ("[  OK  ] Started", None),
        ("[", None),
        ("[1.", None),
        ("", None),
    ] {
        let found = stamp(line).map(|stamp| (stamp.at, stamp.message));
        assert_eq!(found, expected, "{line}");
    }
}

fn voice(console: &str, words: &str) -> Option<Voice> {
    let lines = Lines::new(console, None);
    lines.behind().rev().find_map(|index| lines.voice(index, words))
}

#[test]
fn a_kernels_line_begins_with_its_words_behind_a_stamp_that_does_not_go_back() {
    let start = "[    0.0] Linux version 6.1\n[    5.0] Run /init as init process\n";
    for (line, expected) in [
        ("[    5.1] Kernel panic - not syncing: x", Voice::Kernel),
        ("half a line[    5.1] Kernel panic - not syncing: x", Voice::Kernel),
        ("Kernel panic - not syncing: x", Voice::Unknown),
        ("GET /Kernel panic - not syncing: x", Voice::Unknown),
        ("[    5.1] myapp: Kernel panic - not syncing: x", Voice::Unknown),
        ("<0>[    5.1] Kernel panic - not syncing: x", Voice::Unknown),
        ("[    1.2] Kernel panic - not syncing: x", Voice::Unknown),
        ("2026-11-28 kernel: [    5.1]: Kernel panic - not syncing: x", Voice::Unknown),
    ] {
        let console = format!("{start}{line}\n");
        assert_eq!(voice(&console, "Kernel panic - not syncing"), Some(expected), "{line}");
    }
    // A kernel without stamps; what it shows with some is the log of another.
    let start = "Linux version 6.1\nRun /init as init process\n";
    for (line, expected) in [
        ("Kernel panic - not syncing: x", Voice::Kernel),
        ("note: Kernel panic - not syncing: x", Voice::Unknown),
        ("[    5.1] Kernel panic - not syncing: x", Voice::Unknown),
    ] {
        let console = format!("{start}{line}\n");
        assert_eq!(voice(&console, "Kernel panic - not syncing"), Some(expected), "{line}");
    }
}

#[test]
fn the_last_end_that_is_the_kernels_counts() {
    use GuestEnding::{Halt, Panic, PowerOff, Reboot};
    for (console, expected) in [
        ("", None),
        ("[ 1.0] reboot: Power down\n", Some((PowerOff, Voice::Kernel))),
        (
            "[ 1.0] reboot: Restarting system\n[ 1.0] reboot: machine restart\n",
            Some((Reboot, Voice::Kernel)),
        ),
        ("reboot: System halted", Some((Halt, Voice::Unknown))),
        (
            "Kernel panic - not syncing: x\n/ # reboot: Power down\n",
            Some((PowerOff, Voice::Unknown)),
        ),
        ("reboot: Restarting system\nKernel panic - not syncing: x", Some((Panic, Voice::Unknown))),
        // A program's words, before and after the kernel's.
        (
            "[ 1.0] up\nKernel panic - not syncing: x\n[ 2.0] reboot: Power down\n",
            Some((PowerOff, Voice::Kernel)),
        ),
        ("[ 1.0] up\nKernel panic - not syncing: x\n", Some((Panic, Voice::Unknown))),
        // A stamp that was made up, but the guest goes on.
        (
            "[ 1.0] up\n[ 9.0] Kernel panic - not syncing: x\nstill here\n",
            Some((Panic, Voice::Unknown)),
        ),
        (
            "[ 1.0] up\n[ 9.0] Kernel panic - not syncing: x\nno\n[ 9.9] reboot: Power down\n",
            Some((PowerOff, Voice::Kernel)),
        ),
    ] {
        assert_eq!(Lines::new(console, None).ending(), expected, "{console}");
    }
    let console = "[ 1.0] reboot: Power down\nproof\nmore\n";
    assert_eq!(Lines::new(console, Some(32)).ending(), None, "what was before the proof is over");
}

#[test]
fn a_long_console_takes_time_in_proportion() {
    let start = "[    0.0] Linux version 6.1\n[    5.0] Run /init as init process\n";
    let lines = |line: &str| line.repeat((1 << 20) / line.len());
    let begun = std::time::Instant::now();
    for console in [
        // One line of brackets, and lines that all look like the last one or like the start of process 1.
        format!("{start}{}", lines("[")),
        format!("{start}{}", lines("[    5.1] reboot: Power down\n")),
        format!("{start}a\n{}", lines("[    5.1] Failed to execute /init (error -2)\n")),
        format!("Linux version 6.1\n{}", lines("  Failed to execute /init (error -2)\n")),
    ] {
        let lines = Lines::new(&console, None);
        let of_the_start = lines.behind().filter(|index| lines.is_of_the_start(*index)).count();
        assert!(lines.ending().is_none_or(|_| of_the_start > 0));
    }
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
