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
                "this machine lacks something that is needed: disk space, a permission, namespaces"
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
const OF_RECIPES: &str = "The screen shows the file and the line, and the most similar name if there is one. `docs/reference/keys.md` lists every key.";

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
        "The screen shows the last command that the step started and the first line of its log that reports an error; most later errors follow from that one. Run `osier log COMPONENT:STEP` to read the whole log, or `osier shell COMPONENT:STEP` to enter the sandbox as the step left it. The next build starts again at this step, from the clean layer below. A step has one user, 0: `chown`, `install -o` and owners in archives succeed and have no effect, because owners come from the system's manifest. No step can make device nodes, mount, set file capabilities or become another user. `Invalid cross-device link` means that a program tried to rename a folder that an earlier step made: let it copy and remove instead, or give the step `flat = true`. The guide `docs/guide/debug-a-failed-step.md` has more.";
    Killed = "S002", Failed, "a step was killed by a signal",
        "If nobody sent signal 9, the kernel usually ran out of memory: use fewer jobs (`-j`). Signal 11 is a fault in the program that ran; the log names the program.";
    LeftProcesses = "S003", Failed, "a step ended and left processes running",
        "osier has killed these processes. It is an error, because what they had still to write would be lost or incomplete. Let the step wait for every program that it starts.";
    CheckFailed = "S004", Failed, "a step succeeded, but a check of its result failed",
        "A kind names the checks that run after its steps. `kconfig-honoured` compares the symbols of the fragments with the final configuration. `osier explain N003` says why a symbol is dropped and what to do.";
    MissingOutput = "S005", Failed, "a step succeeded, but did not make what it declares",
        "The last step of a component must install below $OUTPUT (/output), and each named output must match something there. A step cannot install devices, pipes or sockets: write them in the system's manifest. A path below $OUTPUT can have at most 3,072 bytes.";
    SourceNotLaidOut = "S006", Failed, "a source could not be unpacked",
        "The message names the file, the entry and what to do. The archive may be damaged or cut short although its SHA-256 is right. It may be of a form that osier does not read, or not of the form that its name or `format` says. It may have files outside the leading folders that `strip` removes. Or osier refuses one of its entries: an absolute path, `..`, a device, a path through one of its own symbolic links, a name that is too long for Linux. docs/reference/archives.md lists what osier reads. To unpack the file in a step of your own, write `unpack = false`.";
    StepDiskFull = "S007", Failed, "the disk is full",
        "Make room (`osier gc --size 20G`) and build again. The build continues where it stopped, because osier never counts half-written files as done.";
    SandboxFailed = "S008", Failed, "the sandbox or the store failed in a step",
        "The message names the system call that failed. Run `osier doctor` to see what this machine lacks.";
    CleanDiffers = "S009", Failed, "a clean build gives different bytes",
        "osier built the component from the objects of an earlier build, as its kind allows. `--clean-check` then found that a clean build differs: the makefile did not notice a changed file. The store now has the clean result. Remove `reuse` from the step until the makefile notices every change.";
    PatchesDoNotFit = "S010", Failed, "patches do not fit the source",
        "osier never applies a patch with fuzz: every line that a hunk names must be there, unchanged. osier tries all patches of the component, each on the result of those before it, and shows what each conflicting hunk expects and what is there. `osier log COMPONENT:patch` has the full report, and `osier shell COMPONENT:patch` enters the source with everything applied that fits. Start with the first conflict: later ones in the same file often follow from it. A patch that is already in the source is no conflict, and you can remove it; if only a part is there, cut the patch down to the rest. Make the patch again for this version, or waive it with a `[[waive]]` and a reason: osier then leaves the patch out, or applies what fits, and reports it as waived.";
    EditHidden = "S011", Failed, "you edited a file that a step of the recipe writes",
        "While you edit a source (`osier edit`), a build does not repeat the steps before the one that compiles. If one of those steps writes a file that you edit, one version would hide the other. osier then starts a clean build from the edited source by itself.";
    OutOfMemory = "S012", Failed, "a step ran out of memory",
        "The kernel ended a process of the step because memory ran out. A step may use the `memory` that its recipe names. Without it, a step may use the machine's memory except for a sixteenth (at least 256 MiB, at most 4 GiB). All steps that run at the same time share that amount. Files in /tmp and /dev/shm count, because both are in memory. The limit needs a control group that osier can make; `osier doctor` says whether it can. Without one the whole machine can run out of memory, and the kernel ends a process of its choice, one of a step first. If the step needs more than its recipe says, write `memory = \"…\"`. If the machine has no more, use fewer jobs (`-j`) or write `parallel = false` for this step. Let the step write large files below /build.";
    TooManyProcesses = "S013", Failed, "a step started too many processes",
        "A step may have 1,024 processes and threads at the same time, and 128 more for each of its jobs, but at most 16,384. osier ends a step that comes close to its limit within about a second, so that a program that starts others without end does not stop the machine. The usual causes are a script that calls itself, and a loop that starts programs in the background and does not wait for them. More jobs (`-j`) raise the limit.";
    Silent = "S014", Failed, "a step used much CPU time without printing anything",
        "Such a step is usually caught in an endless loop: a configure script that waits for an answer, or a test that never ends. osier adds up the CPU time of all its processes since it last printed something. A step that waits uses no CPU time, so it does not reach the limit. The limit is 120 minutes. To change it for all steps of a project, write `silence = MINUTES` in `osier.toml`; for one step, write it in that step of the recipe or kind. 0 is no limit.";
    NoFolder = "S015", Failed, "a step's working folder is missing",
        "The step names the folder as `folder`, or runs in the folder of the source. `$SOURCE` in `folder` is the first source's folder. An earlier step of the component must make it: `osier shell COMPONENT:STEP` of that step shows what is there.";
    File = "M001", Machine, "a file could not be read or written",
        "The message names the path and what the kernel said.";
    DiskFull = "M002", Machine, "the disk is full",
        "Make room and run the same command again: `osier gc --size 20G` makes room in the store. The command continues where it stopped, because osier never counts half-written files as done.";
    StoreUnusable = "M003", Machine, "the store cannot be used",
        "osier makes a store only in a new or empty folder, so that a mistyped name does no harm. It refuses a folder that holds something else, `/`, a home folder, a project's folder, and every folder above a project. `osier gc` removes only what osier has made, and names everything else that it found in the store. `osier gc --all` does not remove a store that is a mount point; `osier gc --size 1K` empties it. The folders in a store must be real folders: osier refuses a symbolic link or a file in their place until you move it away. A store belongs to one user, because a sandbox cannot change layers that another user owns. `osier build` and `osier gc` must be able to write in it. To use another folder, name it with --store or OSIER_STORE.";
    BelowReserve = "M004", Machine, "less disk is free than the reserve",
        "osier starts no step when less disk is free than the reserve, so that running steps can finish. Make room with `osier gc`.";
    NoSandbox = "M005", Machine, "this machine cannot run sandboxes",
        "osier needs user, mount, pid and network namespaces and overlayfs. Run `osier doctor` to see which of them is missing and what to change.";
    OldKernel = "M006", Machine, "this is not a Linux machine, or its kernel is too old",
        "osier needs Linux 5.12 or later, with user namespaces, overlayfs and seccomp. Run `osier doctor` to see what this machine has.";
    Damaged = "M007", Machine, "stored files were damaged",
        "osier has moved the damaged file into the store's `aside` folder and forgotten what the file was a part of: the next build makes it again. The usual causes are a disk or memory fault, a power cut, and a program that wrote into the store. osier reads and compares sources, outputs and everything else that has a digest before it uses them in a result. It compares the trees that it lays out for other steps by names, sizes, modes, inodes and times when a build first uses them; it also reads their content at the first use after each boot of the machine, and otherwise at one use in 32. Layers of steps and build environments have no digest: osier compares only names, sizes, modes, inodes and times, so it does not notice bits that flip on the disk by themselves. `osier verify` reads everything, and also finds layers that share a file with a damaged output. A store that was copied to another disk looks changed, so osier makes again what it uses of it.";
    DamageFound = "M008", Failed, "`osier verify` found damage in the store",
        "The list names the step that each damaged thing belongs to. If no other osier was using the store, all of them are now in its `aside` folder, and the next build makes again what it needs. `osier explain M007` says what osier compares, and what usually causes damage.";
    NotFetched = "F001", Fetch, "something could not be fetched",
        "The list says what went wrong at each place. osier keeps what has arrived, and the next try continues from there. If you get the file in another way, `osier fetch --import FILE` takes it, by its SHA-256.";
    NoMirror = "F002", Fetch, "no Debian mirror is known",
        "osier has no built-in address. Set OSIER_DEBIAN_MIRROR to a mirror's base address, or name a mirror in the machine's apt configuration.";
    Offline = "F003", Fetch, "something is not fetched yet, and --offline forbids fetching it",
        "Run `osier fetch SYSTEM` to download everything that a system needs.";
    Untrusted = "F004", Fetch, "a Debian index could not be trusted",
        "InRelease must be signed by a key of Debian's archive with SHA-256 or better, belong to the suite that was asked for, and not be out of date. A proxy or a captive portal that answers instead of the mirror also causes this error.";
    NotServed = "F005", Fetch, "no mirror serves a pinned file any more",
        "The lock names a version that the mirrors no longer serve. Run `osier update RECIPE` to move a source to the newest version, or `osier update` to move the packages of all build environments as well. If the archive lists a version that no mirror serves, and no other version fits, the message names it: the mirror lags behind, or the suite has moved to Debian's archive of old releases. Then name another mirror with OSIER_DEBIAN_MIRROR, or another suite.";
    NoRoom = "F006", Machine, "there is not enough disk for the downloads",
        "The message says how much the downloads need and how much is free. Make room (`osier gc --size 20G`) and try again.";
    OtherCommit = "F007", Fetch, "a git commit gives different bytes than the lock says",
        "The lock pins the SHA-256 of the archive that git makes of a commit; the message shows both digests. Either somebody edited the lock, or another version of git made the archive. Compare with `git archive` of a clone that you trust; then remove the source's entry from osier.lock and run the command again.";
    MissingPin = "L001", Usage, "osier.lock lacks a pin, but --locked forbids adding it",
        "Run the same command once without --locked, review the change of osier.lock, and commit it.";
    NoSuchPackage = "L002", Usage, "a Debian package or source does not exist in the suite",
        "The message shows the most similar names that exist.";
    Unsatisfiable = "L003", Usage, "a list of Debian packages cannot be satisfied",
        "Two packages conflict, or one of them depends on something that the suite does not have. The message shows which package asks for it.";
    NotComposed = "I001", Usage, "a system cannot be composed",
        "A line of the manifest matches nothing, two components deliver different files at one path, a link points to nothing, or a user is unknown. Every problem is listed with its places.";
    NotBootable = "I002", Usage, "a system cannot be booted: it has no kernel, or is a component",
        "`osier boot` needs a system with a `kernel`, and either an initramfs among its images or a machine with a disk to boot from.";
    ImageFailed = "I003", Failed, "an image could not be made",
        "osier itself, or the tool that the format names, makes the image, and a tool then checks it (`docs/reference/keys.md` lists the formats). The screen shows the last lines of the one that failed. `Could not allocate block` and `No space left` mean that the `size` of the image is too small: give it more, or leave `size` out and osier works it out from the files.";
    NotMeasured = "I004", Usage, "a system cannot be measured: it is not built, or has no image",
        "`osier size` only reads the store and builds nothing. The message lists the components that are missing; `osier build SYSTEM` builds them.";
    EditGone = "E001", Usage, "the folder of an edit is gone, or is not a folder",
        "After `osier edit COMPONENT FOLDER`, builds use that folder. Put it back where it was, or end the edit with `osier edit --drop COMPONENT`. `osier edit --list` shows all edits.";
    EditFolder = "E002", Usage, "a source cannot be edited in this folder",
        "The folder must be new or empty. It cannot be in osier's store, among the project's recipes, kinds, systems and machines, or in the folder of another edit. A component can be edited in only one folder at a time.";
    NotEditable = "E003", Usage, "the source of this component cannot be edited",
        "The component has no source of its own, or its source is a folder of the project: change the files there.";
    EditStale = "E004", Usage, "an edit no longer belongs to the source, or its record is damaged",
        "An edit's patch is the difference from the source as it was when the edit began. Since then the source's pin, address or patches have changed. Undo that change, finish the edit, and then make the change again.";
    NoPatch = "E005", Usage, "a patch cannot express one of the changes",
        "A patch consists of lines of text: it cannot add or change a binary file, or replace a folder by a file. The message lists each such change; osier has written nothing.";
    PatchNotGiven = "E006", Usage, "a patch could not be added to the recipe",
        "osier applies the patch to the source as the next build will, and compares the result with the edited source. If they differ, or if the recipe would not apply the patch last, osier leaves everything as it was.";
    PatchWrong = "E007", Failed, "a patch does not give the edited source",
        "osier applied the new patch as the next build will, and the result differs from your folder; the message shows each file that differs. The recipe and the edit are unchanged. This is a defect of osier, so please report it.";
    BootRefused = "B000", Usage, "a boot could not be started",
        "The machine's file or the script is wrong, or the machine is not for the target that the system is built for. The message says which.";
    NotProved = "B101", Failed, "the machine ran, but process 1 did not prove itself",
        "Process 1 must print `osier-booted:` directly followed by the content of /.osier/challenge. A shell that the kernel falls back to does not print it, and an echo of the command line does not count.";
    Panic = "B102", Failed, "the kernel panicked",
        "The screen shows the line of the panic. `docs/guide/boot-a-system.md` says where osier keeps the whole console.";
    NoInit = "B103", Failed, "the kernel could not run init",
        "Error -2: the file, its interpreter or its dynamic loader is missing (an interpreter line that ends in a carriage return names no file). Error -8: the kernel does not support this type of file, such as scripts without BINFMT_SCRIPT or programs of another architecture. Error -13: the file is not executable. If the kernel falls back to another init and that one proves itself, the system has booted and the line is a note.";
    InitEnded = "B104", Failed, "init ended",
        "Process 1 must never end: if it does, the kernel panics. The screen shows its exit code or signal, and whether it had proved itself before. Let init end with `reboot` or `poweroff`.";
    NoRoot = "B105", Failed, "the kernel found no root file system",
        "The kernel got no initramfs, is not configured for its format or compression, found no init in it, or did not find the root device.";
    NoConsole = "B106", Failed, "nothing appeared on the console",
        "The kernel has no driver for the console, or `console=` names another one. Configure SERIAL_8250_CONSOLE (or the console's own driver), and let the machine's `console` name the same device.";
    NoProgress = "B107", Failed, "the machine stopped making progress",
        "For a minute the machine printed nothing and used no CPU time.";
    TimeLimit = "B108", Failed, "a time limit was reached",
        "The screen shows what the script was waiting for. Limits are for a machine with KVM; osier allows more time when it emulates.";
    ScriptFailed = "B109", Failed, "an expected text did not appear, or the machine did not end as the script says",
        "The screen shows the action of the script and the last lines of the console.";
    EndedEarly = "B110", Failed, "the machine ended before the script did",
        "The last lines of the console show how far the machine got.";
    QemuFailed = "B111", Failed, "QEMU failed",
        "The screen shows what QEMU said.";
    TimerFailed = "B112", Failed, "QEMU's timer failed twice",
        "This happens on a busy machine and is no fault of your system. Boot again.";
    LogFull = "B113", Failed, "the console printed more than its log can hold",
        "Something prints without end. The last lines of the console show what.";
    Unknown = "C001", Usage, "there is no such system, component, step or code",
        "The message shows the most similar names that exist.";
    Usage = "C002", Usage, "the command line is wrong",
        "`osier VERB --help` shows what a command takes.";
    Defect = "X070", Defect, "a defect of osier",
        "osier met a case that it does not handle. The store is sound: osier never counts half-done work as done. Please report the defect, with the command and everything that it printed.";
    Interrupted = "X130", Interrupted, "interrupted",
        "Ctrl-C, SIGTERM and SIGHUP end osier and everything that it runs. The store is sound, and the next run continues from there. A second signal ends osier without waiting for unfinished work.";
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
