//! The pages of `osier explain`: what a code means, why it happens, what to do.

/// One code and its page.
pub(crate) struct Page {
    pub(crate) code: &'static str,
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
}

/// The codes of steps, machines, fetching and the program itself. Those of recipes stand with their crate.
pub(crate) const PAGES: &[Page] = &[
    Page {
        code: "S001",
        title: "a command of a step ended with an exit status other than 0",
        text: "The screen shows the last command that the step started and the first line of its log that reports an error; later lines are mostly consequences. `osier log COMPONENT:STEP` prints the whole log, `osier shell COMPONENT:STEP` enters the sandbox as the step left it. The next build starts again at this step, from the clean layer below. In a step there is one user, 0: `chown`, `install -o` and owners in archives are accepted and have no effect, as owners come from the system's manifest. No step can make device nodes, mount, set file capabilities or become another user. `Invalid cross-device link` means that a program renames a folder that an earlier step made: let it copy and remove, or give the step `flat = true`. The guide `docs/guide/debug-a-failed-step.md` has more.",
    },
    Page {
        code: "S002",
        title: "a step was killed by a signal",
        text: "Signal 9 that nobody sent is mostly the kernel running out of memory: use fewer jobs (`-j`). Signal 11 is a fault in the program that ran; the log names it.",
    },
    Page {
        code: "S003",
        title: "a step ended and left processes running",
        text: "What such a process still writes would be lost or half-written, so it is an error and not a warning. osier has killed them. Let the step wait for what it starts.",
    },
    Page {
        code: "S004",
        title: "a step ended well, but a check of its result failed",
        text: "Kinds name checks that run after a step. `kconfig-honoured` compares the symbols of the fragments with the final configuration, in both directions: a symbol that depends on something that is off is dropped by Kconfig without a word. Of several lines for one symbol the last one counts, in one fragment and over all in the order of `fragments`; of several members of one choice the last that is `y`.",
    },
    Page {
        code: "S005",
        title: "a step ended well, but did not make what it declares",
        text: "The last step of a component must install below $OUTPUT (/output), and each named output must match something there. Devices, pipes and sockets cannot be installed by a step: a system's manifest makes them. A path below $OUTPUT has at most 3,072 bytes.",
    },
    Page {
        code: "S006",
        title: "a source could not be laid out",
        text: "The archive is damaged or cut short although its SHA-256 is right, is of a form that osier does not read or not what its name or `format` says, has files outside the leading folders that `strip` leaves off, or holds an entry that is refused: an absolute path, `..`, a device, a way through a symbolic link of its own, a name that is too long for Linux. The message names the file, the entry and what to do; docs/reference/archives.md lists what is read. What osier does not unpack a step can: write `unpack = false`.",
    },
    Page {
        code: "S007",
        title: "the disk is full",
        text: "Nothing half-written counts as done. Make room (`osier gc --size 20G`) and build again: it goes on where it stopped.",
    },
    Page {
        code: "S008",
        title: "the sandbox or the store failed",
        text: "The message names the call that failed. `osier doctor` tries what this machine gives.",
    },
    Page {
        code: "S009",
        title: "a clean build gives other bytes",
        text: "A component was built from the objects of an earlier build, as its kind allows, and `--clean-check` found that a clean build differs: its makefile did not notice a changed file. The clean result is in the store now. Take `reuse` off the step until its kind says the truth.",
    },
    Page {
        code: "S010",
        title: "patches do not fit the source",
        text: "osier never applies a patch with fuzz: every line that a hunk names must be there as it is named. All patches of the component are tried, each on what the earlier ones left, and the screen shows what each conflicting hunk expects and what is there; `osier log COMPONENT:patch` has it in full, `osier shell COMPONENT:patch` enters the source with all that fits applied. Begin with the first conflict: later ones over the same file often go with it. A patch that is in the source already is no conflict and can be removed; one that is in by half has to be cut down to the rest. Make the patch anew for this version, or let it pass by a `[[waive]]` with a reason: such a patch is left out, or applied as far as it fits, and reported as waived.",
    },
    Page {
        code: "S011",
        title: "an edited file was written by a step of the recipe",
        text: "While a source is edited (`osier edit`), the steps before the one that compiles are not run again. A file that one of them has written cannot be edited there: the one would hide the other. osier begins such a build afresh by itself, from the edited source.",
    },
    Page {
        code: "S012",
        title: "a step ran out of memory",
        text: "The kernel ended a process of the step for want of memory. A step may use what its recipe says as `memory`, or else the machine's memory but a sixteenth (at least 256 MiB, at most 4 GiB), and all steps that run at one time together no more than that. What a step writes to /tmp and /dev/shm counts, as both are in memory. Give the step `memory = \"…\"` if it needs more than its recipe says; use fewer jobs (`-j`), or `parallel = false` for this step, if the machine has no more; let it write large files below /build. The limit needs a control group that osier can make: `osier doctor` says whether it can. Without one, also the machine itself can run out of memory, and then the kernel ends a process of its choice, of a step first.",
    },
    Page {
        code: "S013",
        title: "a step started too many processes",
        text: "A step may have 1,024 processes and threads at one time and 128 more for each of its jobs, at most 16,384. One that has nearly as many is ended within about a second, so that a program that starts others without end does not stop the machine. Such a program is mostly a script that calls itself, or a loop that starts programs in the background and does not wait for them. More jobs (`-j`) raise the limit.",
    },
    Page {
        code: "S014",
        title: "a step used much processor time without printing anything",
        text: "Mostly such a step runs in a circle: a configure script that waits for an answer, a test that never ends. The processor time of all its processes is counted from the last time that it printed something. 120 minutes are the limit where nothing else is said; `silence = MINUTES` in `osier.toml` sets it for all steps of a project, and in a step of a recipe or a kind for that step; 0 is no limit. It does not depend on the clock: a step that waits is not ended.",
    },
    Page {
        code: "S015",
        title: "a step's working folder is not there",
        text: "The step names it as `folder`, or it is the source's own. An earlier step of the component has to make it; `osier shell COMPONENT:STEP` of that step shows what is there. `$SOURCE` in `folder` stands for the first source's folder.",
    },
    Page {
        code: "M001",
        title: "a file could not be read or written",
        text: "The message names the path and what the kernel said.",
    },
    Page {
        code: "M002",
        title: "the disk is full",
        text: "Make room and run the same command again: nothing half-written counts as done, and it goes on where it stopped. `osier gc --size 20G` makes room in the store.",
    },
    Page {
        code: "M003",
        title: "the store cannot be used",
        text: "osier makes a store only where nothing is yet, or an empty folder, so that a mistyped name does no harm. A folder that holds something else is refused, and so are `/`, a home folder, and the folder of a project or one that a project lies in. `osier gc` removes only what osier has made, and names what else it found in the store. `osier gc --all` does not remove a store that is a mount point; `osier gc --size 1K` empties it. The folders in a store must be real folders: a symbolic link or a file in the place of one is refused until you move it away. A store belongs to one user, because layers owned by another user cannot be changed inside a sandbox. A build, and gc, also need to write in it. Name another folder by --store or OSIER_STORE.",
    },
    Page {
        code: "M004",
        title: "less disk is free than the reserve",
        text: "osier starts no step when less than the reserve is free, so that what is running can end well. `osier gc` makes room.",
    },
    Page {
        code: "M005",
        title: "this machine cannot run sandboxes",
        text: "osier needs user, mount, pid and network namespaces and overlayfs. `osier doctor` says which is missing and what to change.",
    },
    Page {
        code: "M006",
        title: "this is not a Linux machine, or its kernel is too old",
        text: "osier needs Linux 5.12 or later, with user namespaces, overlayfs and seccomp. `osier doctor` shows what it finds.",
    },
    Page {
        code: "M007",
        title: "stored bytes were damaged",
        text: "Sources, outputs and whatever else is stored by its digest is read and compared before it goes into a result. The damaged file was set aside in the store's `aside` folder, and what it was part of is forgotten: the next build makes it again. Trees that osier lays out for other steps are compared by names, sizes, modes, inodes and times when a build first uses them; their content is read at the first use in each boot of the machine, and one use in 32 otherwise. The layers of steps and the build environments have no digest: they are compared by names, sizes, modes, inodes and times alone, so bits that flip on the disk without a program writing there are not noticed in them. `osier verify` reads everything, and also finds the layers that share a file with a damaged output. A disk or memory fault, a power cut or a program that wrote into the store are the usual causes. A store that was copied to another disk looks changed to these comparisons, and what is used of it is made again.",
    },
    Page {
        code: "F001",
        title: "something could not be fetched",
        text: "Each place that was tried is listed with what went wrong there. What has arrived is kept and the next try goes on from it. `osier fetch --import FILE` takes a file that you got in another way, by its SHA-256.",
    },
    Page {
        code: "F002",
        title: "no Debian mirror is known",
        text: "No address is built in. Set OSIER_DEBIAN_MIRROR to a mirror's base address, or have one in the machine's apt configuration.",
    },
    Page {
        code: "F003",
        title: "something is not fetched yet, and --offline was given",
        text: "`osier fetch SYSTEM` downloads all that a system needs.",
    },
    Page {
        code: "F004",
        title: "a Debian index could not be trusted",
        text: "InRelease must be signed by a key of Debian's archive, with SHA-256 or better, must be of the suite that was asked for and must not be out of date. A proxy or a captive portal that answers in the mirror's place gives this error too.",
    },
    Page {
        code: "F005",
        title: "a pinned file is on no mirror any more",
        text: "The lock names a version that the mirrors do not serve. `osier update RECIPE` moves a source to the newest version that is served, and `osier update` the packages of all build environments as well. Where the archive lists a version that no mirror serves, and no other fits, the message names them: the mirror lags behind, or the suite has moved to Debian's archive of old releases. Name another mirror by OSIER_DEBIAN_MIRROR, or another suite.",
    },
    Page {
        code: "F006",
        title: "there is not enough disk for the downloads",
        text: "The message says how much is needed and how much is free.",
    },
    Page {
        code: "F007",
        title: "a git commit gives other bytes than the lock says",
        text: "The lock pins the SHA-256 of the archive that git makes of a commit; both are shown. Either the lock was changed by hand, or another git made the archive. Compare with `git archive` of a clone that you trust; then take the source's entry out of osier.lock and run the command again.",
    },
    Page {
        code: "L001",
        title: "osier.lock lacks a pin, and --locked was given",
        text: "Run the same command without --locked once, look at the change of osier.lock, and keep it.",
    },
    Page {
        code: "L002",
        title: "a Debian package or source does not exist in the suite",
        text: "The message names the nearest names that exist.",
    },
    Page {
        code: "L003",
        title: "a list of Debian packages cannot be satisfied",
        text: "Two packages conflict, or one needs what the suite does not have. The message shows who asks for it.",
    },
    Page {
        code: "I001",
        title: "a system cannot be composed",
        text: "A manifest line matches nothing, two components deliver one path differently, a link leads nowhere, or a user is unknown. Every problem is listed, with both places.",
    },
    Page {
        code: "I002",
        title: "a system cannot be booted: it has no kernel, or is a component",
        text: "`osier boot` needs a system with a `kernel`, and an initramfs among its images or a machine with a disk to boot from.",
    },
    Page {
        code: "I003",
        title: "a disk image could not be made",
        text: "The image is made by mke2fs, mkfs.erofs or, for btrfs, osier itself, and then checked by e2fsck, fsck.erofs or btrfs check; the screen shows the last lines of the one that failed. `Could not allocate block` and `No space left` mean that the system's `size` for the image is too small: give it a larger one, or leave it out and osier reckons it from the files.",
    },
    Page {
        code: "I004",
        title: "a system cannot be measured: it is not built, or has no image",
        text: "`osier size` reads what is in the store and builds nothing. The components that are missing are listed; `osier build SYSTEM` makes them.",
    },
    Page {
        code: "E001",
        title: "the folder in which a source is edited is gone, or is no folder",
        text: "`osier edit COMPONENT FOLDER` makes builds use that folder. Put it back where it was, or give the edit up by `osier edit --drop COMPONENT`. `osier edit --list` shows all of them.",
    },
    Page {
        code: "E002",
        title: "a source cannot be edited in this folder",
        text: "The folder must not be there yet, or be empty, and must lie neither in osier's store nor among the project's recipes, kinds, systems and machines, nor in the folder of another edit. A component is edited in one folder at a time.",
    },
    Page {
        code: "E003",
        title: "the source of this component cannot be edited",
        text: "It has no source of its own, or the source is a folder of the project, where it can be changed directly.",
    },
    Page {
        code: "E004",
        title: "an edit does not belong to the source any more, or its record is damaged",
        text: "A patch is made of what differs from the source as it was when the edit began. Since then its pin, its address or its patches were changed. Take that back, finish the edit, and change it then.",
    },
    Page {
        code: "E005",
        title: "something that was changed cannot be said in a patch",
        text: "Patches have lines of text: a binary file cannot be new or changed. Nor can a patch put a file in the place of a folder. Each such file is listed, and nothing was written.",
    },
    Page {
        code: "E006",
        title: "a patch could not be given to the recipe",
        text: "The patch is put on the source as the next build will, and the result is compared with the edited source; where they differ, or the recipe would not put it on last, all is as it was before.",
    },
    Page {
        code: "B000",
        title: "a boot could not be started",
        text: "The machine file, the script or QEMU itself is wrong; the message says which.",
    },
    Page {
        code: "B101",
        title: "the machine ran, but process 1 did not prove itself",
        text: "Process 1 must print `osier-booted:` directly followed by what stands in /.osier/challenge. A shell that the kernel fell back to does not, and neither does an echo of the command line.",
    },
    Page {
        code: "B102",
        title: "the kernel panicked",
        text: "The line of the panic is shown. `docs/guide/boot-a-system.md` says where the whole console is kept.",
    },
    Page {
        code: "B103",
        title: "the kernel could not run init",
        text: "Error -2: the file, its interpreter or its dynamic loader is missing (a line that ends in a carriage return counts as missing). Error -8: the kernel has no support for such a file, as for scripts without BINFMT_SCRIPT or programs of another architecture. Error -13: it is not executable. If another init, to which the kernel falls back, proves itself, the system has booted and the line is a note.",
    },
    Page {
        code: "B104",
        title: "init ended",
        text: "Process 1 must never end: the kernel panics. The exit code or the signal is shown, and whether it had proved itself before. Let init end with `reboot` or `poweroff`.",
    },
    Page {
        code: "B105",
        title: "the kernel found no root file system",
        text: "Either no initramfs arrived, its format or compression is not configured in the kernel, it has no init, or the root device is not there.",
    },
    Page {
        code: "B106",
        title: "nothing appeared on the console",
        text: "The kernel has no driver for the console, or `console=` names another one. SERIAL_8250_CONSOLE and the machine's `console` belong together.",
    },
    Page {
        code: "B107",
        title: "the machine stopped making progress",
        text: "It printed nothing and used no processor time for a minute.",
    },
    Page {
        code: "B108",
        title: "a time limit was reached",
        text: "What was awaited is shown. Limits are those of a machine with KVM and are made longer under emulation.",
    },
    Page {
        code: "B109",
        title: "an expected text did not appear, or the machine ended otherwise than the script says",
        text: "The script's action and the last lines are shown.",
    },
    Page {
        code: "B110",
        title: "the machine ended before the script was played",
        text: "The last lines of the console show how far it came.",
    },
    Page { code: "B111", title: "QEMU failed", text: "Its own message is shown." },
    Page {
        code: "B112",
        title: "the emulated timer failed twice",
        text: "This happens on a loaded host and says nothing about the system: boot again.",
    },
    Page {
        code: "B113",
        title: "the console printed more than its log may hold",
        text: "Something prints without end.",
    },
    Page {
        code: "C001",
        title: "there is no such system, component, step or code",
        text: "The message names the nearest ones.",
    },
    Page {
        code: "C002",
        title: "the command line does not fit",
        text: "`osier VERB --help` shows what a command takes.",
    },
    Page {
        code: "X070",
        title: "a defect of osier",
        text: "Something came about that osier does not reckon with. The store is sound all the same: nothing half-done is ever taken as done. Please report it, with the command and what was printed.",
    },
    Page {
        code: "X130",
        title: "interrupted",
        text: "Ctrl-C, SIGTERM and SIGHUP end osier alike, and with it all that it runs. The state is sound, and the next run goes on from it. A second signal does not wait for what is just being finished.",
    },
];

/// The exit statuses, in the order of the numbers.
pub(crate) const EXIT_STATUSES: &[(i32, &str)] = &[
    (0, "done"),
    (1, "a step, a check or a boot failed"),
    (2, "the command line, a recipe, a system or the project is wrong"),
    (3, "something could not be fetched, or could not be trusted"),
    (4, "this machine does not give what is needed: disk, permission, namespaces"),
    (70, "a defect of osier"),
    (130, "interrupted"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::{EXIT_STATUSES, PAGES};
    use crate::report::problem::Exit;

    /// Finds what looks like a code in the program text below a folder, tests and the pages themselves left out.
    fn given(folder: &Path, codes: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                given(&path, codes);
            } else if name.ends_with(".rs") && !name.contains("test") && name != "codes.rs" {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap();
                codes.extend(text.split('"').filter(|word| is_code(word)).map(str::to_owned));
            }
        }
    }

    fn is_code(word: &str) -> bool {
        matches!(word.as_bytes(), [letter, digits @ ..] if letter.is_ascii_uppercase()
            && digits.len() == 3 && digits.iter().all(u8::is_ascii_digit))
    }

    #[test]
    fn every_code_that_is_given_has_a_page_and_every_page_is_of_a_code_that_is_given() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut codes = BTreeSet::new();
        for one in ["osier", "osier-build", "osier-boot"] {
            given(&crates.join(one).join("src"), &mut codes);
        }
        // Recipes' codes have their pages in their own crate; B100 says that all went well.
        codes.retain(|code| !code.starts_with('R') && code != "B100");
        let pages: BTreeSet<String> = PAGES.iter().map(|page| page.code.to_owned()).collect();
        assert_eq!(pages.len(), PAGES.len(), "a code has two pages");
        let without: Vec<_> = codes.difference(&pages).collect();
        assert!(without.is_empty(), "codes without a page: {without:?}");
        let idle: Vec<_> = pages.difference(&codes).collect();
        assert!(idle.is_empty(), "pages of codes that nothing gives: {idle:?}");
    }

    #[test]
    fn the_exit_statuses_that_are_given_are_documented() {
        use Exit::{Defect, Failed, Fetch, Interrupted, Machine, Usage};
        let given = [Failed, Usage, Fetch, Machine, Defect, Interrupted].map(|exit| exit as i32);
        let documented: Vec<i32> = EXIT_STATUSES.iter().map(|(number, _)| *number).collect();
        assert_eq!(documented[0], 0);
        assert_eq!(documented[1..], given);
    }
}
