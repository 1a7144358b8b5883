//! From what a step has printed, and how it ended, to a cause and a hint. Pure: the same lines give the same words.

use super::{FailureCause, Log, LogLine};

/// What is known of a step that has failed.
pub(crate) struct Seen<'a> {
    pub(crate) log: &'a Log,
    /// How it ended, as the sandbox tells it.
    pub(crate) cause: FailureCause,
    /// Whether the disk with the store has next to no room.
    pub(crate) disk_is_full: bool,
    /// Whether the step's `/tmp` is in memory.
    pub(crate) has_own_tmp: bool,
    /// How many processes it may have.
    pub(crate) processes: u64,
}

/// What is made of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    pub(crate) cause: FailureCause,
    /// The first line that reports an error.
    pub(crate) first_error: Option<LogLine>,
    /// What to do about it, where that is known.
    pub(crate) hint: Option<&'static str>,
}

/// One thing that can be wrong with a step.
struct Rule {
    /// How a step must have ended.
    when: fn(&Seen<'_>) -> bool,
    /// What of its log is looked at.
    place: Place,
    /// One of these must be there: all words of it in one line. Where none is given the end alone is enough.
    words: &'static [&'static [&'static str]],
    /// What the cause really is, where it is another one than it seems.
    cause: Option<fn(&Seen<'_>) -> FailureCause>,
    /// What to do.
    hint: Option<&'static str>,
    /// Whether osier knows it for certain: such a rule comes before those that go by words of others alone.
    certain: bool,
}

enum Place {
    /// Any line that is no command of the script itself.
    AnyLine,
    /// The first error.
    FirstError,
}

const NO_SPACE: &[&[&str]] = &[&["No space left"]];

/// What dash, busybox and bash say when they can start no more processes. Of a crowd that dies away when that happens the
/// sandbox may have seen too little.
const CANNOT_FORK: &[&[&str]] = &[
    &["Cannot fork"],
    &["can't fork"],
    &["fork: retry"],
    &["fork: Resource temporarily unavailable"],
];

const MORE_PROCESSES: &str = "something in it starts processes without end, or does not wait for them; more jobs (`-j`) raise the limit";

const ALWAYS: fn(&Seen<'_>) -> bool = |_| true;

/// The rules; of several that fit the first certain one counts, or else the one whose line comes first.
const RULES: &[Rule] = &[
    Rule {
        when: |seen| seen.disk_is_full,
        place: Place::FirstError,
        words: NO_SPACE,
        cause: Some(|_| FailureCause::DiskFull {
            message:
                "the disk is full; make room (`osier gc` helps) and build again: it resumes here"
                    .into(),
        }),
        hint: None,
        certain: true,
    },
    Rule {
        when: |seen| !seen.disk_is_full && seen.has_own_tmp,
        place: Place::FirstError,
        words: NO_SPACE,
        cause: None,
        hint: Some(
            "/tmp and /dev/shm are in memory and have room for a quarter of the memory that steps may use; let the step write large files below /build, for example with `TMPDIR=/build`",
        ),
        certain: true,
    },
    Rule {
        when: |seen| matches!(seen.cause, FailureCause::LeftProcesses { .. }),
        place: Place::AnyLine,
        words: CANNOT_FORK,
        cause: Some(|seen| FailureCause::TooManyProcesses { limit: seen.processes }),
        hint: Some(MORE_PROCESSES),
        certain: true,
    },
    Rule {
        when: |seen| matches!(seen.cause, FailureCause::TooManyProcesses { .. }),
        place: Place::AnyLine,
        words: &[],
        cause: None,
        hint: Some(MORE_PROCESSES),
        certain: true,
    },
    Rule {
        when: |seen| matches!(seen.cause, FailureCause::OutOfMemory { .. }),
        place: Place::AnyLine,
        words: &[],
        cause: None,
        hint: Some(
            "files in /tmp count as memory; if the step needs more, write `memory = \"…\"` in its recipe, or use fewer jobs (`-j`)",
        ),
        certain: true,
    },
    Rule {
        when: |seen| matches!(seen.cause, FailureCause::Silent { .. }),
        place: Place::AnyLine,
        words: &[],
        cause: None,
        hint: Some(
            "it is probably in an endless loop; if it really takes so long, give the step `silence = MINUTES` (0 is no limit)",
        ),
        certain: true,
    },
    Rule {
        when: ALWAYS,
        place: Place::AnyLine,
        words: &[
            &["Not enough space to build proposed filesystem"],
            &["ould not allocate block in ext2 filesystem"],
            &["ould not allocate inode in ext2 filesystem"],
            // All that mcopy says.
            &["Disk full"],
        ],
        cause: None,
        hint: Some("give the image a larger `size`"),
        certain: false,
    },
    // What follows comes from the sandbox and not from the program that reports it.
    Rule {
        when: ALWAYS,
        place: Place::AnyLine,
        words: &[&["nvalid cross-device link"], &["EXDEV"]],
        cause: None,
        hint: Some(
            "the kernel cannot rename a folder that an earlier step made, nor link or rename between /build, /tmp and /proto. Copy and remove instead, as \
             `mv` and `shutil.move` do, or rename in the step that makes the folder; or give the step `flat = true`",
        ),
        certain: false,
    },
    Rule {
        when: ALWAYS,
        place: Place::AnyLine,
        words: &[&["mknod", "not permitted"], &["annot mknod"], &["cannot create special file"]],
        cause: None,
        hint: Some("no step can make device nodes; write them in the system's manifest"),
        certain: false,
    },
    Rule {
        when: ALWAYS,
        place: Place::AnyLine,
        words: &[
            &["mount: ", "ermission denied"],
            &["mount: ", "not permitted"],
            &["mount: ", "superuser"],
            &["unshare", "not permitted"],
            &["chroot", "not permitted"],
            &["losetup: "],
        ],
        cause: None,
        hint: Some(
            "no step can mount anything; make file systems with the tools that work on files, or let an image of the system do it",
        ),
        certain: false,
    },
    Rule {
        when: ALWAYS,
        place: Place::AnyLine,
        words: &[
            &["CAP_SETFCAP"],
            &["ailed to set capabilities"],
            &["security.capability", "not permitted"],
            &["not permitted while setting flags"],
            &["chattr", "nappropriate ioctl"],
        ],
        cause: None,
        hint: Some(
            "no step can give a file capabilities, or attributes such as immutable; leave the command out, and set what the system needs when it starts",
        ),
        certain: false,
    },
    Rule {
        when: ALWAYS,
        place: Place::AnyLine,
        words: &[
            &["setgroups", "not permitted"],
            &["cannot set groups"],
            &["cannot set user id"],
            &["cannot set group id"],
            &["setuid", "nvalid argument"],
            &["setgid", "nvalid argument"],
            &["setresuid", "nvalid argument"],
            &["setresgid", "nvalid argument"],
        ],
        cause: None,
        hint: Some(
            "a step has one user, 0, and cannot become another one; run the program as it is, or leave the test out",
        ),
        certain: false,
    },
];

impl Rule {
    /// Says in which line the rule fits, 0 where it needs none; nothing where it does not.
    fn fits(&self, seen: &Seen<'_>, first_error: Option<&LogLine>) -> Option<usize> {
        if !(self.when)(seen) {
            return None;
        }
        if self.words.is_empty() {
            return Some(0);
        }
        let is_in = |line: &str| {
            self.words.iter().any(|words| words.iter().all(|word| line.contains(word)))
        };
        match self.place {
            Place::FirstError => {
                first_error.filter(|line| is_in(&line.text)).map(|line| line.number)
            }
            Place::AnyLine => {
                // A command that the script itself writes out is no error.
                let mut said = seen.log.lines().filter(|(_, line)| !line.starts_with("+ "));
                said.find(|(_, line)| is_in(line)).map(|(number, _)| number)
            }
        }
    }
}

/// Draws the diagnosis.
pub(crate) fn diagnose(seen: Seen<'_>) -> Diagnosis {
    let first_error = first_error_in(seen.log);
    let fitting = RULES.iter().filter_map(|rule| {
        let line = rule.fits(&seen, first_error.as_ref())?;
        Some(((!rule.certain, if rule.certain { 0 } else { line }), rule))
    });
    let rule = fitting.min_by_key(|(rank, _)| *rank).map(|(_, rule)| rule);
    let hint = rule.and_then(|rule| rule.hint);
    let cause = rule.and_then(|rule| rule.cause).map(|cause| cause(&seen));
    Diagnosis { cause: cause.unwrap_or(seen.cause), first_error, hint }
}

/// Words of a line that names a cause.
const CAUSES: &[&str] = &[
    ": error:",
    ": fatal error:",
    "fatal error:",
    "undefined reference to",
    "multiple definition of",
    "cannot find -l",
    "No rule to make target",
    "command not found",
    ": not found",
    "No such file or directory",
    "Permission denied",
    "Operation not permitted",
    "No space left on device",
    "Hunk #",
    "configure: error:",
    "ERROR:",
    "Error:",
    "error:",
    "Killed",
    "Segmentation fault",
    "syntax error",
    "unexpected EOF",
    "Traceback (most recent call last)",
    "panicked at",
    "cannot ",
];

/// Words of a line that only passes one on.
const CONSEQUENCES: &[&str] = &["*** ", "Error ", "failed", "FAILED"];

/// Whether a line has such words without meaning them, as the questions that configure scripts ask.
fn is_noise(line: &str) -> bool {
    line.starts_with("+ ")
        || line.starts_with("checking ")
        // A configure script that goes on after a complaint of its shell.
        || line.contains("/configure: line ")
        || line.contains("ignored")
        || (line.contains("Hunk #") && !line.contains("FAILED"))
}

/// Finds the first line that reports an error, by rule and not by place.
///
/// Tools report the cause first and its consequences after it (`make: *** [x] Error 2` last of all), so
/// lines that name a cause are preferred to those that only pass one on.
pub fn first_error(log: &str) -> Option<LogLine> {
    first_error_in(&Log::from(log))
}

fn first_error_in(log: &Log) -> Option<LogLine> {
    let find = |patterns: &[&str]| {
        log.lines().find(|(_, line)| {
            !is_noise(line) && patterns.iter().any(|pattern| line.contains(pattern))
        })
    };
    find(CAUSES).or_else(|| find(CONSEQUENCES)).map(LogLine::new)
}

/// What a make says of jobs that it does without, and what a person should know of it, as the end of a sentence that begins
/// with the step.
const WARNINGS: &[(&str, &str)] = &[
    (
        "forced in submake: resetting jobserver mode",
        "passed `-j` to make, which bypasses the jobserver; drop it, or give the step `jobs = \"share\"` and make `-j\"$JOBS\"`",
    ),
    (
        "jobserver unavailable: using -j1",
        "has a makefile that calls `make` and not `$(MAKE)`, so that sub-make runs one job at a time; patch it, or set `MAKE` in \
         the call",
    ),
];

/// Finds what a person should know of a step that ended well.
pub(crate) fn warning(log: &Log) -> Option<&'static str> {
    let is_said = |words: &str| log.lines().any(|(_, line)| line.contains(words));
    WARNINGS.iter().find(|(words, _)| is_said(words)).map(|(_, warning)| *warning)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen<'a>(log: &'a Log, cause: &FailureCause) -> Seen<'a> {
        let cause = cause.clone();
        Seen { log, cause, disk_is_full: false, has_own_tmp: true, processes: 7 }
    }

    const EXIT: FailureCause = FailureCause::Exit { code: 1 };

    fn hint_on(text: &str) -> Option<&'static str> {
        diagnose(seen(&Log::from(text), &EXIT)).hint
    }

    /// Lines that each rule on words is made for, and a part of what it says.
    const SAID: &[(&str, &str)] = &[
        (
            "/output/root.ext4: Not enough space to build proposed filesystem while setting up superblock",
            "a larger `size`",
        ),
        (
            "mke2fs: Could not allocate block in ext2 filesystem while populating file system",
            "a larger `size`",
        ),
        ("Disk full", "a larger `size`"),
        ("OSError: [Errno 18] Invalid cross-device link: 'a' -> 'b'", "flat = true"),
        ("rename a b: invalid cross-device link", "flat = true"),
        ("Error: EXDEV: cross-device link not permitted, rename 'a' -> 'b'", "flat = true"),
        ("ln: failed to create hard link 'a' => 'b': Invalid cross-device link", "flat = true"),
        ("mknod: dev/console: Operation not permitted", "manifest"),
        ("tar: dev/null: Cannot mknod: Operation not permitted", "manifest"),
        ("cp: cannot create special file 'x': Operation not permitted", "manifest"),
        ("mount: /mnt: permission denied.", "mount anything"),
        ("mount: only superuser can use it: mount: must be superuser", "mount anything"),
        ("unshare: Operation not permitted", "mount anything"),
        ("chroot: cannot change root: Operation not permitted", "mount anything"),
        ("losetup: cannot find an unused loop device", "mount anything"),
        ("unable to set CAP_SETFCAP effective capability: Operation not permitted", "capabilities"),
        ("Failed to set capabilities on file 'ping': Operation not permitted", "capabilities"),
        ("setfattr: security.capability: Operation not permitted", "capabilities"),
        ("chattr: Operation not permitted while setting flags on x", "capabilities"),
        ("chattr: Inappropriate ioctl for device while reading flags", "capabilities"),
        ("su: cannot set groups: Operation not permitted", "one user"),
        ("initgroups: setgroups: Operation not permitted", "one user"),
        ("su: cannot set user id: Invalid argument", "one user"),
        ("setpriv: setresuid failed: Invalid argument", "one user"),
        ("sudo: setgid: Invalid argument", "one user"),
    ];

    #[test]
    fn what_tools_say_is_known() {
        for (line, hint) in SAID {
            let found = hint_on(&format!("+ make\nall well\n{line}\n")).unwrap_or_default();
            assert!(found.contains(hint), "{line}: {found}");
            // Not as a command of the script.
            assert_eq!(hint_on(&format!("+ echo {line}\n")), None, "{line}");
        }
        assert_eq!(hint_on("x.c:1:1: error: bad\n"), None);
        // The first one counts.
        let both = "mount: /mnt: permission denied.\nmknod: x: Operation not permitted\n";
        assert!(hint_on(both).unwrap().contains("mount anything"));
    }

    #[test]
    fn every_rule_on_words_has_a_line_that_it_is_made_for() {
        for rule in RULES.iter().filter(|rule| !rule.certain) {
            let hint = rule.hint.unwrap();
            assert!(SAID.iter().any(|(_, part)| hint.contains(part)), "{hint}");
        }
    }

    #[test]
    fn a_full_disk_and_a_full_tmp_are_told_apart() {
        let log = Log::from("+ cp a b\ncp: error writing 'b': No space left on device\n");
        let told = |disk_is_full, has_own_tmp| {
            diagnose(Seen { disk_is_full, has_own_tmp, ..seen(&log, &EXIT) })
        };
        let full = told(true, true);
        assert!(matches!(full.cause, FailureCause::DiskFull { .. }) && full.hint.is_none());
        let tmp = told(false, true);
        assert!(tmp.cause == EXIT && tmp.hint.unwrap().contains("TMPDIR=/build"));
        assert_eq!((told(false, false).cause, told(false, false).hint), (EXIT, None));
        // What is said behind the first error does not count.
        let later = Log::from("x.c:1: error: bad\nld: No space left on device\n");
        let later = diagnose(Seen { disk_is_full: true, ..seen(&later, &EXIT) });
        assert_eq!((later.cause, later.hint), (EXIT, None));
    }

    #[test]
    fn a_shell_that_can_start_no_more_is_told_by_its_words() {
        let left = FailureCause::LeftProcesses { names: vec!["sleep".into()] };
        let too_many = FailureCause::TooManyProcesses { limit: 7 };
        for (text, expected) in [
            ("+ b\nsh: 0: Cannot fork\n", &too_many),
            ("sh: can't fork: Resource temporarily unavailable\n", &too_many),
            ("bash: fork: retry: Resource temporarily unavailable\n", &too_many),
            ("bash: fork: Resource temporarily unavailable\n", &too_many),
            ("git fork: done\n", &left),
            ("", &left),
        ] {
            let log = Log::from(text);
            let told = diagnose(seen(&log, &left));
            assert_eq!(told.cause, *expected, "{text}");
            assert_eq!(told.hint.is_some(), *expected == too_many, "{text}");
            // Only of a step that left processes.
            assert_eq!(diagnose(seen(&log, &EXIT)).cause, EXIT, "{text}");
        }
    }

    #[test]
    fn limits_come_with_their_own_hints() {
        // Whatever else the step has said.
        let log = Log::from("mknod: dev/console: Operation not permitted\n");
        for (cause, hint) in [
            (FailureCause::OutOfMemory { limit: None }, "memory = "),
            (FailureCause::TooManyProcesses { limit: 1 }, "without end"),
            (FailureCause::Silent { minutes: 1 }, "silence = MINUTES"),
        ] {
            let told = diagnose(seen(&log, &cause));
            assert!(told.cause == cause && told.hint.unwrap().contains(hint), "{told:?}");
        }
    }

    #[test]
    fn the_cause_leads_and_not_its_consequence() {
        let cases = [
            (
                "+ make\n  CC x.o\nx.c:3:5: error: unknown type name 'foo'\nmake[1]: *** [x.o] Error 1\nmake: *** [all] Error 2\n",
                3,
            ),
            (
                "checking for error: no\nld: x.o: undefined reference to `f'\ncollect2: error: ld returned 1 exit status\n",
                2,
            ),
            ("+ frob\nsh: 1: frob: not found\n", 2),
            (
                "/x/configure: line 72: /usr/bin/file: No such file or directory\nmake: *** No rule to make target 'd'.  Stop.\n",
                2,
            ),
            (
                "patching file a\nHunk #1 succeeded at 12 (offset 2 lines).\nHunk #2 FAILED at 40.\n",
                3,
            ),
            ("make: *** [all] Error 2\n", 1),
        ];
        for (log, line) in cases {
            assert_eq!(first_error(log).map(|found| found.number), Some(line), "{log}");
        }
        assert_eq!(first_error("all is well\n"), None);
    }

    #[test]
    fn makes_without_their_jobs_are_told_of() {
        let number = "make[1]: warning: -j2 forced in submake: resetting jobserver mode.\n";
        let below =
            "make[2]: warning: jobserver unavailable: using -j1.  Add '+' to parent make rule.\n";
        let told = |text: &str| warning(&Log::from(text));
        assert!(told(number).unwrap().contains("passed `-j`"));
        assert!(told(below).unwrap().contains("sub-make"));
        // Who passes a number causes the other one too.
        assert_eq!(told(&format!("{below}{number}")), told(number));
        assert_eq!(told("make: nothing to be done\n"), None);
    }
}
