//! What a person can do about errors that come from the sandbox and not from the program that reports them.

/// Words of one line of a log, and what to do about them.
struct Known {
    /// All of these are in the line.
    words: &'static [&'static str],
    advice: &'static str,
}

const OTHER_FILE_SYSTEM: &str = "the kernel cannot rename a folder that an earlier step made, nor link or rename between /build, /tmp and /proto. Copy and remove instead, as \
     `mv` and `shutil.move` do, or rename in the step that makes the folder; or give the step `flat = true`";
const DEVICE: &str = "no step can make device nodes; write them in the system's manifest";
const MOUNT: &str = "no step can mount anything; make file systems with the tools that work on files, or let an image of the system do it";
const CAPABILITY: &str = "no step can give a file capabilities, or attributes such as immutable; leave the command out, and set what the system needs when it starts";
const OTHER_USER: &str = "a step has one user, 0, and cannot become another one; run the program as it is, or leave the test out";

const KNOWN: &[Known] = &[
    Known { words: &["nvalid cross-device link"], advice: OTHER_FILE_SYSTEM },
    Known { words: &["EXDEV"], advice: OTHER_FILE_SYSTEM },
    Known { words: &["mknod", "not permitted"], advice: DEVICE },
    Known { words: &["annot mknod"], advice: DEVICE },
    Known { words: &["cannot create special file"], advice: DEVICE },
    Known { words: &["mount: ", "ermission denied"], advice: MOUNT },
    Known { words: &["mount: ", "not permitted"], advice: MOUNT },
    Known { words: &["mount: ", "superuser"], advice: MOUNT },
    Known { words: &["unshare", "not permitted"], advice: MOUNT },
    Known { words: &["chroot", "not permitted"], advice: MOUNT },
    Known { words: &["losetup: "], advice: MOUNT },
    Known { words: &["CAP_SETFCAP"], advice: CAPABILITY },
    Known { words: &["ailed to set capabilities"], advice: CAPABILITY },
    Known { words: &["security.capability", "not permitted"], advice: CAPABILITY },
    Known { words: &["not permitted while setting flags"], advice: CAPABILITY },
    Known { words: &["chattr", "nappropriate ioctl"], advice: CAPABILITY },
    Known { words: &["setgroups", "not permitted"], advice: OTHER_USER },
    Known { words: &["cannot set groups"], advice: OTHER_USER },
    Known { words: &["cannot set user id"], advice: OTHER_USER },
    Known { words: &["cannot set group id"], advice: OTHER_USER },
    Known { words: &["setuid", "nvalid argument"], advice: OTHER_USER },
    Known { words: &["setgid", "nvalid argument"], advice: OTHER_USER },
    Known { words: &["setresuid", "nvalid argument"], advice: OTHER_USER },
    Known { words: &["setresgid", "nvalid argument"], advice: OTHER_USER },
];

/// Finds the first line of a log that speaks of something that no step can do.
pub(crate) fn on(log: &str) -> Option<&'static str> {
    // A command that the script itself writes out is no error.
    log.lines().filter(|line| !line.starts_with("+ ")).find_map(|line| {
        let known =
            KNOWN.iter().find(|known| known.words.iter().all(|word| line.contains(word)))?;
        Some(known.advice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_say_is_known() {
        for (line, advice) in [
            ("OSError: [Errno 18] Invalid cross-device link: 'a' -> 'b'", Some(OTHER_FILE_SYSTEM)),
            ("rename a b: invalid cross-device link", Some(OTHER_FILE_SYSTEM)),
            (
                "Error: EXDEV: cross-device link not permitted, rename 'a' -> 'b'",
                Some(OTHER_FILE_SYSTEM),
            ),
            (
                "ln: failed to create hard link 'a' => 'b': Invalid cross-device link",
                Some(OTHER_FILE_SYSTEM),
            ),
            ("mknod: dev/console: Operation not permitted", Some(DEVICE)),
            ("tar: dev/null: Cannot mknod: Operation not permitted", Some(DEVICE)),
            ("cp: cannot create special file 'x': Operation not permitted", Some(DEVICE)),
            ("mount: /mnt: permission denied.", Some(MOUNT)),
            (
                "unable to set CAP_SETFCAP effective capability: Operation not permitted",
                Some(CAPABILITY),
            ),
            (
                "Failed to set capabilities on file 'ping': Operation not permitted",
                Some(CAPABILITY),
            ),
            ("chattr: Operation not permitted while setting flags on x", Some(CAPABILITY)),
            ("su: cannot set groups: Operation not permitted", Some(OTHER_USER)),
            ("setpriv: setresuid failed: Invalid argument", Some(OTHER_USER)),
            ("+ mknod x c 1 3 # Operation not permitted", None),
            ("x.c:1:1: error: bad", None),
        ] {
            assert_eq!(on(&format!("+ make\nall well\n{line}\n")), advice, "{line}");
        }
    }
}
