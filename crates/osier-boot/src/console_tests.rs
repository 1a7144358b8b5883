//! The console record: what is kept, what is matched, and where it ends.

use std::io::Write as _;

use rustix::pipe::{PipeFlags, pipe_with};

use super::*;

fn clean(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Cleaner::default().clean(input, &mut out);
    out
}

#[test]
fn escapes_and_carriage_returns_go() {
    for (input, expected) in [
        (&b"plain\r\n"[..], &b"plain\n"[..]),
        (b"\x1b[1;31mred\x1b[0m", b"red"),
        (b"\x1bc\x1b[?7l\x1b[2J\x1b(Btext", b"text"),
        (b"\x1b]0;title\x07text\x1b]0;title\x1b\\more", b"textmore"),
        (b"\x1b[6n~ # \0", b"~ # "),
        (b"a\x1b]never ended\nb", b"a\nb"),
        (b"\xff\xfe\n", b"\xff\xfe\n"),
    ] {
        assert_eq!(clean(input), expected);
    }
}

#[test]
fn cleaning_does_not_depend_on_how_the_stream_is_cut() {
    let input = b"a\x1b[1;31mb\r\n\x1b]0;t\x1b\\c\x1b(Bd\x1b[0m\0e";
    for cut in 0..=input.len() {
        let (mut cleaner, mut out) = (Cleaner::default(), Vec::new());
        cleaner.clean(&input[..cut], &mut out);
        cleaner.clean(&input[cut..], &mut out);
        assert_eq!(out, b"ab\ncde", "cut at {cut}");
    }
}

struct Feed {
    console: Console,
    stdout: Option<File>,
    folder: tempfile::TempDir,
}

fn feed() -> Feed {
    let folder = tempfile::tempdir().unwrap();
    let (stdout, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (stderr, _) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let log = folder.path().join("serial.log");
    let console = Console::read(stdout, stderr, &log, "osier-booted:77").unwrap();
    Feed { console, stdout: Some(File::from(write)), folder }
}

impl Feed {
    fn write(&mut self, bytes: &[u8]) {
        self.stdout.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn finish(&mut self) -> Vec<u8> {
        self.stdout = None;
        self.console.wait_closed(Duration::from_secs(20));
        assert_eq!(self.console.record().open, 0);
        std::fs::read(self.folder.path().join("serial.log")).unwrap()
    }
}

#[test]
fn the_log_is_byte_for_byte_and_the_proof_is_seen_once() {
    let mut feed = feed();
    feed.write(b"\x1b[1mstart\r\n\xff\xfe osier-boo");
    feed.write(b"ted:77");
    feed.write(b" \r\nKernel panic\n");
    let log = feed.finish();
    assert_eq!(log, b"\x1b[1mstart\r\n\xff\xfe osier-booted:77 \r\nKernel panic\n");
    let record = feed.console.record();
    let (text, behind) = record.text();
    assert_eq!(text, "start\n\u{fffd}\u{fffd} osier-booted:77 \nKernel panic\n");
    assert_eq!(&text[behind.unwrap()..], "Kernel panic\n");
    assert_eq!(record.proved.unwrap().1, "start\nXX osier-booted:77 \n".len() as u64);
}

#[test]
fn a_console_that_stays_quiet_after_its_last_words_stands_still() {
    let stands_still = |text: &str| {
        let mut feed = feed();
        let (first, rest) = text.split_at(text.len() / 2);
        feed.write(first.as_bytes());
        feed.write(rest.as_bytes());
        feed.finish();
        let record = feed.console.record();
        assert!(!record.stands_still(Duration::from_secs(60)), "{text}: it was not quiet yet");
        record.stands_still(Duration::ZERO)
    };
    let refused = "[    0.7] Failed to execute /init (error -2)\n";
    let fallen = "/bin/sh: can't access tty; job control turned off\n/ # ";
    for (text, expected) in [
        ("[ 1.0] ---[ end Kernel panic - not syncing: Fatal exception ]---\n".to_owned(), true),
        ("[ 1.0] reboot: System halted\n\n".to_owned(), true),
        (format!("{refused}{fallen}"), true),
        // A program prints these words and goes on; an init has a shell of its own; the next init may be slow.
        ("reboot: System halted\nand then?\n".to_owned(), false),
        ("[ 1.0] Linux version 6.1\nreboot: System halted\n".to_owned(), false),
        ("reboot: System halted\n".to_owned(), true),
        ("Kernel panic - not syncing: x\n".to_owned(), false),
        (fallen.to_owned(), false),
        (refused.to_owned(), false),
        (format!("{refused}osier-booted:77\n{fallen}"), false),
    ] {
        assert_eq!(stands_still(&text), expected, "{text}");
    }
}

#[test]
fn words_that_a_program_may_have_printed_are_given_more_time() {
    let quiet = Duration::from_millis(300);
    for (text, expected) in [
        ("[    9.0] reboot: System halted\n", true),
        // A kernel without stamps.
        ("Linux version 6.1\nreboot: System halted\n", false),
    ] {
        let mut feed = feed();
        feed.write(text.as_bytes());
        feed.finish();
        thread::sleep(quiet);
        let record = feed.console.record();
        let grace = record.last_output.elapsed();
        assert_eq!(record.stands_still(grace), expected, "{text}");
        assert!(record.stands_still(grace / (UNSURE + 1)), "{text}");
    }
}

#[test]
fn the_proof_is_seen_between_lines_of_the_kernel() {
    for (text, expected) in [
        ("osier-boo[    1.234567] random: crng init done\nted:77\n", true),
        ("osier-[    1.2] one\n[    1.3] two\nbooted:[    1.4][    T1] three\n77\n", true),
        // Two lines of a program are two lines.
        ("osier-boo\nted:77\n", false),
        ("osier-boo[    1.2] one\nother\nted:77\n", false),
    ] {
        let mut feed = feed();
        feed.write(text.as_bytes());
        feed.finish();
        let record = feed.console.record();
        assert_eq!(record.proved.is_some(), expected, "{text}");
        if expected {
            let (text, behind) = record.text();
            assert_eq!(behind, Some(text.len()));
        }
    }
}

#[test]
fn memory_and_log_are_bounded() {
    let mut feed = feed();
    feed.write(b"the beginning\n");
    let block = [b'x'; 1 << 20];
    for _ in 0..70 {
        feed.write(&block);
    }
    feed.write(b"\nthe end\n");
    let log = feed.finish();
    assert_eq!(log.len() as u64, LOG_LIMIT);
    let record = feed.console.record();
    assert!(record.overflow);
    assert!(
        record.head.len() == HEAD && record.tail.len() <= 2 * TAIL && record.tail.len() >= TAIL
    );
    assert_eq!(record.end(), 14 + (70 << 20) + 9);
    let (text, _) = record.text();
    assert!(text.starts_with("the beginning\n") && text.ends_with("\nthe end\n"));
    assert!(text.contains("bytes left out"));
}

#[test]
fn a_text_of_medium_size_is_whole() {
    let mut feed = feed();
    let line = [b'y'; 1023];
    for number in 0u32..9000 {
        feed.write(&[&line[..1013], format!("{number:010}\n").as_bytes()].concat());
    }
    feed.finish();
    let record = feed.console.record();
    assert!(record.tail_start > 0);
    let (text, _) = record.text();
    assert!(text.starts_with("yyy") && text.ends_with("0000008999\n"));
}
