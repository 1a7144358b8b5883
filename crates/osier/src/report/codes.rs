//! The codes of all that can go wrong: each with its exit status and its page, which `osier explain` prints.

use std::fmt;

use osier_check::Code as FindingCode;
use osier_recipe::Code as RecipeCode;

/// The exit statuses of osier, documented in `docs/reference/exit-status.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A step, a check or a boot failed.
    Failed = 1,
    /// The command line, a recipe or the project is wrong.
    Usage = 2,
    /// Something could not be fetched.
    Fetch = 3,
    /// This machine does not give what is needed: disk, permission, namespaces.
    Machine = 4,
    /// osier itself is wrong.
    Defect = 70,
    /// The person stopped it.
    Interrupted = 130,
}

impl Exit {
    /// Every exit status of an error, in the order of the numbers.
    pub(crate) const ALL: [Self; 6] =
        [Self::Failed, Self::Usage, Self::Fetch, Self::Machine, Self::Defect, Self::Interrupted];

    /// What it stands for, in one line.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Failed => "a step, a check or a boot failed",
            Self::Usage => "the command line, a recipe, a system or the project is wrong",
            Self::Fetch => "something could not be fetched, or could not be trusted",
            Self::Machine => {
                "this machine does not give what is needed: disk, permission, namespaces"
            }
            Self::Defect => "a defect of osier",
            Self::Interrupted => "interrupted",
        }
    }
}

macro_rules! codes {
    ($($name:ident = $text:literal, $exit:ident, $title:literal, $page:literal;)*) => {
        /// Names one kind of error for good: a code is never given a second meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $title] $name,)*
            /// What is wrong with a file that a person wrote.
            Recipe(RecipeCode),
            /// What a check noticed.
            Finding(FindingCode),
        }

        impl Code {
            /// The codes of steps, machines, fetching and the program itself, in the order in which they stand here.
            pub(crate) const OWN: &[Self] = &[$(Self::$name,)*];

            /// The code as a person sees it, such as `S001`.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Recipe(code) => code.as_str(),
                    Self::Finding(code) => code.as_str(),
                }
            }

            /// What osier ends with.
            pub(crate) fn exit(self) -> Exit {
                match self {
                    $(Self::$name => Exit::$exit,)*
                    Self::Recipe(_) => Exit::Usage,
                    Self::Finding(_) => Exit::Failed,
                }
            }

            /// What it stands for, in one line.
            pub(crate) fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                    Self::Recipe(code) => code.meaning(),
                    Self::Finding(code) => code.title(),
                }
            }

            /// Why it happens, and what to do.
            pub(crate) fn page(self) -> &'static str {
                match self {
                    $(Self::$name => $page,)*
                    Self::Recipe(_) => OF_RECIPES,
                    Self::Finding(code) => code.page(),
                }
            }
        }
    };
}

/// The page that all codes of recipes have.
const OF_RECIPES: &str = "The screen shows the file, the line and the near-miss where there is one. `docs/reference/keys.md` lists every key.";

impl Code {
    /// Every code, in the order of their texts.
    pub(crate) fn all() -> Vec<Self> {
        let recipes = osier_recipe::CODES.iter().map(|(code, _)| Self::Recipe(*code));
        let findings = FindingCode::ALL.iter().map(|code| Self::Finding(*code));
        let mut all: Vec<Self> = Self::OWN.iter().copied().chain(recipes).chain(findings).collect();
        all.sort_by_key(|code| code.as_str());
        all
    }

    /// Finds a code by its text, in either case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::all().into_iter().find(|code| code.as_str().eq_ignore_ascii_case(text))
    }

    /// The code that another crate of osier gives by its text; a test sees that each has its place here.
    pub(crate) fn given(text: &str) -> Self {
        Self::parse(text).unwrap_or(Self::Defect)
    }
}

impl From<RecipeCode> for Code {
    fn from(code: RecipeCode) -> Self {
        Self::Recipe(code)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

codes! {
    CommandFailed = "S001", Failed, "a command of a step ended with an exit status other than 0",
        "The screen shows the last command that the step started and the first line of its log that reports an error; later lines are mostly consequences. `osier log COMPONENT:STEP` prints the whole log, `osier shell COMPONENT:STEP` enters the sandbox as the step left it. The next build starts again at this step, from the clean layer below. In a step there is one user, 0: `chown`, `install -o` and owners in archives are accepted and have no effect, as owners come from the system's manifest. No step can make device nodes, mount, set file capabilities or become another user. `Invalid cross-device link` means that a program renames a folder that an earlier step made: let it copy and remove, or give the step `flat = true`. The guide `docs/guide/debug-a-failed-step.md` has more.";
    Killed = "S002", Failed, "a step was killed by a signal",
        "Signal 9 that nobody sent is mostly the kernel running out of memory: use fewer jobs (`-j`). Signal 11 is a fault in the program that ran; the log names it.";
    LeftProcesses = "S003", Failed, "a step ended and left processes running",
        "What such a process still writes would be lost or half-written, so it is an error and not a warning. osier has killed them. Let the step wait for what it starts.";
    CheckFailed = "S004", Failed, "a step ended well, but a check of its result failed",
        "Kinds name checks that run after a step. `kconfig-honoured` compares the symbols of the fragments with the final configuration, in both directions: a symbol that depends on something that is off is dropped by Kconfig without a word. Of several lines for one symbol the last one counts, in one fragment and over all in the order of `fragments`; of several members of one choice the last that is `y`.";
    MissingOutput = "S005", Failed, "a step ended well, but did not make what it declares",
        "The last step of a component must install below $OUTPUT (/output), and each named output must match something there. Devices, pipes and sockets cannot be installed by a step: a system's manifest makes them. A path below $OUTPUT has at most 3,072 bytes.";
    SourceNotLaidOut = "S006", Failed, "a source could not be laid out",
        "The archive is damaged or cut short although its SHA-256 is right, is of a form that osier does not read or not what its name or `format` says, has files outside the leading folders that `strip` leaves off, or holds an entry that is refused: an absolute path, `..`, a device, a way through a symbolic link of its own, a name that is too long for Linux. The message names the file, the entry and what to do; docs/reference/archives.md lists what is read. What osier does not unpack a step can: write `unpack = false`.";
    StepDiskFull = "S007", Failed, "the disk is full",
        "Nothing half-written counts as done. Make room (`osier gc --size 20G`) and build again: it goes on where it stopped.";
    SandboxFailed = "S008", Failed, "the sandbox or the store failed in a step",
        "The message names the call that failed. Run `osier doctor` to see what this machine lacks.";
    CleanDiffers = "S009", Failed, "a clean build gives other bytes",
        "A component was built from the objects of an earlier build, as its kind allows, and `--clean-check` found that a clean build differs: its makefile did not notice a changed file. The clean result is in the store now. Take `reuse` off the step until its kind says the truth.";
    PatchesDoNotFit = "S010", Failed, "patches do not fit the source",
        "osier never applies a patch with fuzz: every line that a hunk names must be there as it is named. All patches of the component are tried, each on what the earlier ones left, and the screen shows what each conflicting hunk expects and what is there; `osier log COMPONENT:patch` has it in full, `osier shell COMPONENT:patch` enters the source with all that fits applied. Begin with the first conflict: later ones over the same file often go with it. A patch that is in the source already is no conflict and can be removed; one that is in by half has to be cut down to the rest. Make the patch anew for this version, or let it pass by a `[[waive]]` with a reason: such a patch is left out, or applied as far as it fits, and reported as waived.";
    EditHidden = "S011", Failed, "an edited file was written by a step of the recipe",
        "While a source is edited (`osier edit`), the steps before the one that compiles are not run again. A file that one of them has written cannot be edited there: the one would hide the other. osier begins such a build afresh by itself, from the edited source.";
    OutOfMemory = "S012", Failed, "a step ran out of memory",
        "The kernel ended a process of the step for want of memory. A step may use what its recipe says as `memory`, or else the machine's memory but a sixteenth (at least 256 MiB, at most 4 GiB), and all steps that run at one time together no more than that. What a step writes to /tmp and /dev/shm counts, as both are in memory. Give the step `memory = \"…\"` if it needs more than its recipe says; use fewer jobs (`-j`), or `parallel = false` for this step, if the machine has no more; let it write large files below /build. The limit needs a control group that osier can make: `osier doctor` says whether it can. Without one, also the machine itself can run out of memory, and then the kernel ends a process of its choice, of a step first.";
    TooManyProcesses = "S013", Failed, "a step started too many processes",
        "A step may have 1,024 processes and threads at one time and 128 more for each of its jobs, at most 16,384. One that has nearly as many is ended within about a second, so that a program that starts others without end does not stop the machine. Such a program is mostly a script that calls itself, or a loop that starts programs in the background and does not wait for them. More jobs (`-j`) raise the limit.";
    Silent = "S014", Failed, "a step used much CPU time without printing anything",
        "Mostly such a step runs in a circle: a configure script that waits for an answer, a test that never ends. The CPU time of all its processes is counted from the last time that it printed something. 120 minutes are the limit where nothing else is said; `silence = MINUTES` in `osier.toml` sets it for all steps of a project, and in a step of a recipe or a kind for that step; 0 is no limit. It does not depend on the clock: a step that waits is not ended.";
    NoFolder = "S015", Failed, "a step's working folder is not there",
        "The step names it as `folder`, or it is the source's own. An earlier step of the component has to make it; `osier shell COMPONENT:STEP` of that step shows what is there. `$SOURCE` in `folder` stands for the first source's folder.";
    File = "M001", Machine, "a file could not be read or written",
        "The message names the path and what the kernel said.";
    DiskFull = "M002", Machine, "the disk is full",
        "Make room and run the same command again: nothing half-written counts as done, and it goes on where it stopped. `osier gc --size 20G` makes room in the store.";
    StoreUnusable = "M003", Machine, "the store cannot be used",
        "osier makes a store only where nothing is yet, or an empty folder, so that a mistyped name does no harm. A folder that holds something else is refused, and so are `/`, a home folder, and the folder of a project or one that a project lies in. `osier gc` removes only what osier has made, and names what else it found in the store. `osier gc --all` does not remove a store that is a mount point; `osier gc --size 1K` empties it. The folders in a store must be real folders: a symbolic link or a file in the place of one is refused until you move it away. A store belongs to one user, because layers owned by another user cannot be changed inside a sandbox. A build, and gc, also need to write in it. Name another folder by --store or OSIER_STORE.";
    BelowReserve = "M004", Machine, "less disk is free than the reserve",
        "osier starts no step when less than the reserve is free, so that what is running can end well. `osier gc` makes room.";
    NoSandbox = "M005", Machine, "this machine cannot run sandboxes",
        "osier needs user, mount, pid and network namespaces and overlayfs. `osier doctor` says which is missing and what to change.";
    OldKernel = "M006", Machine, "this is not a Linux machine, or its kernel is too old",
        "osier needs Linux 5.12 or later, with user namespaces, overlayfs and seccomp. `osier doctor` shows what it finds.";
    Damaged = "M007", Machine, "stored bytes were damaged",
        "Sources, outputs and whatever else is stored by its digest is read and compared before it goes into a result. The damaged file was set aside in the store's `aside` folder, and what it was part of is forgotten: the next build makes it again. Trees that osier lays out for other steps are compared by names, sizes, modes, inodes and times when a build first uses them; their content is read at the first use in each boot of the machine, and one use in 32 otherwise. The layers of steps and the build environments have no digest: they are compared by names, sizes, modes, inodes and times alone, so bits that flip on the disk without a program writing there are not noticed in them. `osier verify` reads everything, and also finds the layers that share a file with a damaged output. A disk or memory fault, a power cut or a program that wrote into the store are the usual causes. A store that was copied to another disk looks changed to these comparisons, and what is used of it is made again.";
    DamageFound = "M008", Failed, "`osier verify` found damaged things",
        "Each is listed with the step that it belongs to. Where no other osier used the store, all of them were set aside, and the next build makes again what it needs. The page of M007 says what is compared, and what the usual causes are.";
    NotFetched = "F001", Fetch, "something could not be fetched",
        "Each place that was tried is listed with what went wrong there. What has arrived is kept and the next try goes on from it. `osier fetch --import FILE` takes a file that you got in another way, by its SHA-256.";
    NoMirror = "F002", Fetch, "no Debian mirror is known",
        "No address is built in. Set OSIER_DEBIAN_MIRROR to a mirror's base address, or have one in the machine's apt configuration.";
    Offline = "F003", Fetch, "something is not fetched yet, and --offline was given",
        "`osier fetch SYSTEM` downloads all that a system needs.";
    Untrusted = "F004", Fetch, "a Debian index could not be trusted",
        "InRelease must be signed by a key of Debian's archive, with SHA-256 or better, must be of the suite that was asked for and must not be out of date. A proxy or a captive portal that answers in the mirror's place gives this error too.";
    NotServed = "F005", Fetch, "a pinned file is on no mirror any more",
        "The lock names a version that the mirrors do not serve. `osier update RECIPE` moves a source to the newest version that is served, and `osier update` the packages of all build environments as well. Where the archive lists a version that no mirror serves, and no other fits, the message names them: the mirror lags behind, or the suite has moved to Debian's archive of old releases. Name another mirror by OSIER_DEBIAN_MIRROR, or another suite.";
    NoRoom = "F006", Machine, "there is not enough disk for the downloads",
        "The message says how much is needed and how much is free.";
    OtherCommit = "F007", Fetch, "a git commit gives other bytes than the lock says",
        "The lock pins the SHA-256 of the archive that git makes of a commit; both are shown. Either the lock was changed by hand, or another git made the archive. Compare with `git archive` of a clone that you trust; then take the source's entry out of osier.lock and run the command again.";
    MissingPin = "L001", Usage, "osier.lock lacks a pin, and --locked was given",
        "Run the same command without --locked once, look at the change of osier.lock, and keep it.";
    NoSuchPackage = "L002", Usage, "a Debian package or source does not exist in the suite",
        "The message names the nearest names that exist.";
    Unsatisfiable = "L003", Usage, "a list of Debian packages cannot be satisfied",
        "Two packages conflict, or one needs what the suite does not have. The message shows who asks for it.";
    NotComposed = "I001", Usage, "a system cannot be composed",
        "A manifest line matches nothing, two components deliver one path differently, a link leads nowhere, or a user is unknown. Every problem is listed, with both places.";
    NotBootable = "I002", Usage, "a system cannot be booted: it has no kernel, or is a component",
        "`osier boot` needs a system with a `kernel`, and an initramfs among its images or a machine with a disk to boot from.";
    ImageFailed = "I003", Failed, "a disk image could not be made",
        "The image is made by osier or by the program that its format names, and then checked by one (`docs/reference/keys.md` lists the formats); the screen shows the last lines of the one that failed. `Could not allocate block` and `No space left` mean that the system's `size` for the image is too small: give it a larger one, or leave it out and osier reckons it from the files.";
    NotMeasured = "I004", Usage, "a system cannot be measured: it is not built, or has no image",
        "`osier size` reads what is in the store and builds nothing. The components that are missing are listed; `osier build SYSTEM` makes them.";
    EditGone = "E001", Usage, "the folder in which a source is edited is gone, or is no folder",
        "`osier edit COMPONENT FOLDER` makes builds use that folder. Put it back where it was, or give the edit up by `osier edit --drop COMPONENT`. `osier edit --list` shows all of them.";
    EditFolder = "E002", Usage, "a source cannot be edited in this folder",
        "The folder must not be there yet, or be empty, and must lie neither in osier's store nor among the project's recipes, kinds, systems and machines, nor in the folder of another edit. A component is edited in one folder at a time.";
    NotEditable = "E003", Usage, "the source of this component cannot be edited",
        "It has no source of its own, or the source is a folder of the project, where it can be changed directly.";
    EditStale = "E004", Usage, "an edit does not belong to the source any more, or its record is damaged",
        "A patch is made of what differs from the source as it was when the edit began. Since then its pin, its address or its patches were changed. Take that back, finish the edit, and change it then.";
    NoPatch = "E005", Usage, "something that was changed cannot be said in a patch",
        "Patches have lines of text: a binary file cannot be new or changed. Nor can a patch put a file in the place of a folder. Each such file is listed, and nothing was written.";
    PatchNotGiven = "E006", Usage, "a patch could not be given to the recipe",
        "The patch is put on the source as the next build will, and the result is compared with the edited source; where they differ, or the recipe would not put it on last, all is as it was before.";
    PatchWrong = "E007", Failed, "a patch does not give the edited source",
        "The patch that was written was put on the source as the next build will do it, and the result is not what is in the folder; each file that differs is shown. The recipe and the edit are as they were before. Please report it: a patch that is written must give what it was written from.";
    BootRefused = "B000", Usage, "a boot could not be started",
        "The machine file or the script is wrong, or the machine is not of the target that the system is built for; the message says which.";
    NotProved = "B101", Failed, "the machine ran, but process 1 did not prove itself",
        "Process 1 must print `osier-booted:` directly followed by what stands in /.osier/challenge. A shell that the kernel fell back to does not, and neither does an echo of the command line.";
    Panic = "B102", Failed, "the kernel panicked",
        "The line of the panic is shown. `docs/guide/boot-a-system.md` says where the whole console is kept.";
    NoInit = "B103", Failed, "the kernel could not run init",
        "Error -2: the file, its interpreter or its dynamic loader is missing (a line that ends in a carriage return counts as missing). Error -8: the kernel has no support for such a file, as for scripts without BINFMT_SCRIPT or programs of another architecture. Error -13: it is not executable. If another init, to which the kernel falls back, proves itself, the system has booted and the line is a note.";
    InitEnded = "B104", Failed, "init ended",
        "Process 1 must never end: the kernel panics. The exit code or the signal is shown, and whether it had proved itself before. Let init end with `reboot` or `poweroff`.";
    NoRoot = "B105", Failed, "the kernel found no root file system",
        "Either no initramfs arrived, its format or compression is not configured in the kernel, it has no init, or the root device is not there.";
    NoConsole = "B106", Failed, "nothing appeared on the console",
        "The kernel has no driver for the console, or `console=` names another one. SERIAL_8250_CONSOLE and the machine's `console` belong together.";
    NoProgress = "B107", Failed, "the machine stopped making progress",
        "It printed nothing and used no CPU time for a minute.";
    TimeLimit = "B108", Failed, "a time limit was reached",
        "What was awaited is shown. Limits are those of a machine with KVM and are made longer under emulation.";
    ScriptFailed = "B109", Failed, "an expected text did not appear, or the machine ended otherwise than the script says",
        "The script's action and the last lines are shown.";
    EndedEarly = "B110", Failed, "the machine ended before the script was played",
        "The last lines of the console show how far it came.";
    QemuFailed = "B111", Failed, "QEMU failed",
        "Its own message is shown.";
    TimerFailed = "B112", Failed, "the emulated timer failed twice",
        "This happens on a loaded host and says nothing about the system: boot again.";
    LogFull = "B113", Failed, "the console printed more than its log may hold",
        "Something prints without end.";
    Unknown = "C001", Usage, "there is no such system, component, step or code",
        "The message names the nearest ones.";
    Usage = "C002", Usage, "the command line does not fit",
        "`osier VERB --help` shows what a command takes.";
    Defect = "X070", Defect, "a defect of osier",
        "Something came about that osier does not reckon with. The store is sound all the same: nothing half-done is ever taken as done. Please report it, with the command and what was printed.";
    Interrupted = "X130", Interrupted, "interrupted",
        "Ctrl-C, SIGTERM and SIGHUP end osier alike, and with it all that it runs. The state is sound, and the next run goes on from it. A second signal does not wait for what is just being finished.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::{Code, Exit};

    /// Gathers the program text below a folder, tests and the codes themselves left out.
    fn sources(folder: &Path, all: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                sources(&path, all);
            } else if name.ends_with(".rs") && !name.contains("test") && name != "codes.rs" {
                all.push_str(
                    fs::read_to_string(&path).unwrap().split("#[cfg(test)]").next().unwrap(),
                );
            }
        }
    }

    fn is_code(word: &str) -> bool {
        matches!(word.as_bytes(), [letter, digits @ ..] if letter.is_ascii_uppercase()
            && digits.len() == 3 && digits.iter().all(u8::is_ascii_digit) && digits[0] < b'2')
    }

    fn is_given(program: &str, code: Code) -> bool {
        let name = format!("Code::{code:?}");
        let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric());
        program.match_indices(&name).any(|(at, _)| ends(&program[at + name.len()..]))
    }

    #[test]
    fn every_code_that_is_given_has_a_page_and_every_page_is_of_a_code_that_is_given() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let (mut program, mut others) = (String::new(), String::new());
        sources(&crates.join("osier/src"), &mut program);
        for entry in fs::read_dir(crates).unwrap() {
            let path = entry.unwrap().path();
            // The recipes' codes are an enum of their own.
            if !path.ends_with("osier") && !path.ends_with("osier-recipe") {
                sources(&path.join("src"), &mut others);
            }
        }
        others.push_str(&program);
        let texts: BTreeSet<&str> = others.split('"').filter(|word| is_code(word)).collect();
        // B100 says that all went well.
        let unknown: Vec<_> =
            texts.iter().filter(|text| **text != "B100" && Code::parse(text).is_none()).collect();
        assert!(unknown.is_empty(), "codes of other crates that have no page: {unknown:?}");
        let idle = Code::OWN
            .iter()
            .filter(|code| !texts.contains(code.as_str()) && !is_given(&program, **code));
        assert_eq!(
            idle.collect::<Vec<_>>(),
            [&Code::Usage; 0],
            "pages of codes that nothing gives"
        );
    }

    #[test]
    fn every_code_has_one_text_a_title_and_a_page() {
        let all = Code::all();
        for pair in all.windows(2) {
            assert_ne!(pair[0].as_str(), pair[1].as_str());
        }
        for code in all {
            assert!(is_code(code.as_str()), "{code:?}");
            assert!(!code.title().is_empty() && code.page().ends_with('.'), "{code}");
            assert_eq!(Code::parse(&code.as_str().to_lowercase()), Some(code));
        }
        assert_eq!(Code::parse("S999"), None);
    }

    #[test]
    fn every_exit_status_that_is_documented_is_given() {
        for exit in Exit::ALL {
            assert!(Code::all().iter().any(|code| code.exit() == exit), "{exit:?}");
        }
        assert!(Exit::ALL.windows(2).all(|pair| (pair[0] as u8) < pair[1] as u8));
    }
}
