//! Every verdict of `osier boot`, proved by a system that is broken that way.
//!
//! The systems take Linux and busybox of the library, so that nothing is compiled anew; each has its own
//! process 1, manifest, machine or script, and is booted by the program itself.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::root;
use crate::workshop::Workshop;

/// A process 1 that proves itself and ends the machine.
const SOUND: &str = "#!/bin/sh\necho \"osier-booted:$(cat /.osier/challenge)\"\nreboot -f\n";
/// A value of the right form that no boot ever draws.
const LIE: &str = "osier-booted:0123456789abcdef0123456789abcdef";
/// The same on the kernel's command line; without a `=` it would be an argument of process 1.
const APPENDED_LIE: &str = "lie=osier-booted:0123456789abcdef0123456789abcdef";
const MANIFEST: &str = "d dev 0755 root root\nd proc 0755 root root\nc dev/console 0600 root root 5 1\nf bin/busybox 0755 root root\ns bin/*\ns sbin/reboot\n";
/// What kernels say of faults, as a program prints it: bare, in a log, with a stamp of an earlier moment.
const PRINTS_VERDICTS: &str = "echo 'Failed to execute /init (error -2)'\n\
    echo 'Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)'\n\
    echo '[    0.000001] Kernel panic - not syncing: Fatal exception'\n\
    echo 'httpd: GET /Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000900'\n\
    echo 'reboot: System halted'\n";
const INIT: &str = "f init 0755 root root\n";
const REFUSED: &str = "init could not be run: /init: ";
/// What busybox's shell says where the kernel has started it in the place of init.
const FALLEN_BACK: &str = "can't access tty; job control turned off";
const SCRIPT: &str = "{ booted = true }, { end = \"reboot\" }";

/// A system that does not boot, or the one that does, and what osier must say of it.
struct Case {
    name: &'static str,
    init: Option<Vec<u8>>,
    manifest: String,
    initramfs: bool,
    append: &'static str,
    /// What the machine file says besides the usual.
    machine: &'static str,
    script: &'static str,
    status: i32,
    code: &'static str,
    texts: &'static [&'static str],
    /// Whether it proves itself before it fails.
    proved: bool,
    /// Whether the guest just sleeps until osier gives it up, so that it is in nobody's way.
    idle: bool,
}

/// The sound system, by which all others begin.
fn case(name: &'static str, code: &'static str, texts: &'static [&'static str]) -> Case {
    Case {
        name,
        init: Some(SOUND.into()),
        manifest: format!("{MANIFEST}{INIT}"),
        initramfs: true,
        append: "",
        machine: "",
        script: SCRIPT,
        status: 1,
        code,
        texts,
        proved: false,
        idle: false,
    }
}

/// A system with another process 1.
fn init(
    name: &'static str,
    content: impl Into<Vec<u8>>,
    code: &'static str,
    texts: &'static [&'static str],
) -> Case {
    Case { init: Some(content.into()), ..case(name, code, texts) }
}

/// A system with another process 1, which proves itself.
fn proved(
    name: &'static str,
    content: impl Into<Vec<u8>>,
    code: &'static str,
    texts: &'static [&'static str],
) -> Case {
    Case { proved: true, ..init(name, content, code, texts) }
}

/// A system whose process 1 proves itself, and which has booted.
fn good(name: &'static str, content: impl Into<Vec<u8>>, texts: &'static [&'static str]) -> Case {
    Case { status: 0, ..init(name, content, "", texts) }
}

/// A system without any process 1.
fn no_init(
    name: &'static str,
    append: &'static str,
    code: &'static str,
    texts: &'static [&'static str],
) -> Case {
    Case { init: None, manifest: MANIFEST.into(), append, ..case(name, code, texts) }
}

const X86_64: u16 = 62;
const AARCH64: u16 = 183;
const I386: u16 = 3;

/// A static program of `code` for a machine (elf(5)), or one that wants an interpreter.
fn program(machine: u16, interpreter: &str, code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADER: u64 = 64;
    const SEGMENT: u64 = 56;
    let segments: u64 = if interpreter.is_empty() { 1 } else { 2 };
    let name_at = HEADER + segments * SEGMENT;
    let name = if interpreter.is_empty() { String::new() } else { format!("{interpreter}\0") };
    let code_at = name_at + name.len() as u64;
    let size = code_at + code.len() as u64;
    let class = if machine == I386 { 1 } else { 2 };
    let mut out = vec![0x7f, b'E', b'L', b'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
    // Type, machine, version, entry, segments, sections, flags, and the sizes of it all.
    put(&2_u16.to_le_bytes());
    put(&machine.to_le_bytes());
    put(&1_u32.to_le_bytes());
    for number in [BASE + code_at, HEADER, 0] {
        put(&number.to_le_bytes());
    }
    put(&0_u32.to_le_bytes());
    for number in [HEADER, SEGMENT, segments, 0, 0, 0] {
        put(&u16::try_from(number).unwrap_or(0).to_le_bytes());
    }
    let mut segment = |kind: u32, at: u64, bytes: u64| {
        put(&kind.to_le_bytes());
        put(&5_u32.to_le_bytes());
        for number in [at, BASE + at, BASE + at, bytes, bytes, 0x1000] {
            put(&number.to_le_bytes());
        }
    };
    if !interpreter.is_empty() {
        segment(3, name_at, name.len() as u64);
    }
    segment(1, 0, size);
    put(name.as_bytes());
    put(code);
    out
}

/// A program that writes to no memory.
fn crash() -> Vec<u8> {
    program(X86_64, "", &[0x31, 0xc0, 0x88, 0x00])
}

fn cases() -> Vec<Case> {
    vec![
        Case { status: 0, ..case("sound", "", &["booted  sound in "]) },
        // No root file system.
        no_init("no-init", "", "B105", &["no root file system: the initramfs has no /init"]),
        Case {
            append: "rdinit=/nope",
            ..case("other-rdinit", "B105", &["the kernel found no root file system"])
        },
        Case {
            initramfs: false,
            ..case("no-initramfs", "B105", &["the kernel unpacked no initramfs with an /init"])
        },
        no_init(
            "no-device",
            "root=/dev/vda",
            "B105",
            &["there is no device /dev/vda", "built without BLOCK"],
        ),
        Case {
            idle: true,
            ..no_init(
                "root-wait",
                "root=/dev/vda rootwait",
                "B105",
                &["it waits forever for /dev/vda", "remove rootwait"],
            )
        },
        // Process 1 cannot be run; with a shell in the system the kernel goes on to that one.
        Case {
            manifest: format!("{MANIFEST}f init 0644 root root\n"),
            ..case("not-executable", "B103", &[REFUSED, "(error 13, EACCES)", FALLEN_BACK])
        },
        Case {
            init: None,
            manifest: format!("{MANIFEST}d init 0755 root root\n"),
            ..case("folder", "B103", &[REFUSED, "(error 13, EACCES)"])
        },
        init(
            "no-loader",
            program(X86_64, "/lib64/ld-linux-x86-64.so.2", &[]),
            "B103",
            &[REFUSED, "(error 2, ENOENT)", "the dynamic loader (PT_INTERP)"],
        ),
        init("no-bash", "#!/bin/bash\n", "B103", &[REFUSED, "the interpreter that it names"]),
        init("carriage-return", "#!/bin/sh\r\n", "B103", &[REFUSED, "CR line ends"]),
        init(
            "other-architecture",
            program(AARCH64, "", &[]),
            "B103",
            &[REFUSED, "(error 8, ENOEXEC)", "an ELF for another architecture"],
        ),
        init("narrow", program(I386, "", &[]), "B103", &[REFUSED, "IA32_EMULATION"]),
        init("no-format", "hello\n", "B103", &[REFUSED, "a script without its #! line"]),
        init("empty", "", "B103", &[REFUSED, "or an empty file"]),
        // A shell that the kernel fell back to plays the whole script, and echoes the command line.
        Case {
            manifest: format!("{MANIFEST}f init 0644 root root\n"),
            append: APPENDED_LIE,
            script: "{ expect = \"# \" }, { send = \"mount -t proc proc /proc\\n\" }, { send = \"cat /proc/cmdline\\n\" }, \
                     { expect = \"0123456789abcdef\" }, { send = \"reboot -f\\n\" }, { end = \"reboot\" }",
            ..case("fallback-shell", "B103", &[REFUSED, "(error 13, EACCES)", FALLEN_BACK])
        },
        // What the kernel falls back to may also be an init, which prints without end.
        Case {
            manifest: format!("{MANIFEST}s sbin/init\nf init 0644 root root\n"),
            script: "{ booted = true, within = 3 }, { end = \"reboot\" }",
            ..case("fallback-init", "B103", &[REFUSED, "(error 13, EACCES)"])
        },
        // Process 1 ends.
        init(
            "exits",
            "#!/bin/sh\nexit 3\n",
            "B104",
            &["init ended with exit code 3", "exitcode=0x00000300"],
        ),
        init(
            "command-missing",
            "#!/bin/sh\nexec /bin/nope\n",
            "B104",
            &["init ended with exit code 127", "nope: not found", "was not found"],
        ),
        init(
            "crashes",
            crash(),
            "B104",
            &["init was killed by signal 11 (segmentation fault)", "the program crashed"],
        ),
        init(
            "other-processor",
            program(X86_64, "", &[0x0f, 0x0b]),
            "B104",
            &["init was killed by signal 4", "processor does not have"],
        ),
        // Process 1 runs and proves nothing.
        Case {
            script: "{ expect = \"ready\" }, { end = \"reboot\" }",
            ..init(
                "no-proof",
                "#!/bin/sh\necho ready\nreboot -f\n",
                "B101",
                &["process 1 did not prove that it runs", "/.osier/challenge"],
            )
        },
        init(
            "lies",
            format!("#!/bin/sh\necho {LIE}\nreboot -f\n"),
            "B110",
            &[
                "the guest ended (reboot) while the script was waiting for the proof that process 1 runs",
            ],
        ),
        Case {
            append: APPENDED_LIE,
            script: "{ expect = \"0123456789abcdef\" }, { end = \"reboot\" }",
            ..init(
                "echoes-command-line",
                "#!/bin/sh\nmount -t proc proc /proc\ncat /proc/cmdline\nreboot -f\n",
                "B101",
                &["process 1 did not prove that it runs"],
            )
        },
        Case {
            script: "{ booted = true }, { send = \"cat /.osier/challenge\\n\" }, { end = \"reboot\" }",
            status: 2,
            ..case("script-proves", "B000", &["only process 1 may give it"])
        },
        // Process 1 proves itself, and then the script is not kept.
        Case {
            script: "{ booted = true }, { end = \"poweroff\" }",
            ..proved(
                "other-end",
                SOUND,
                "B109",
                &["the guest to power off", "the kernel announced: reboot"],
            )
        },
        // The line of a kernel that switches the machine off, of one that resets it.
        Case {
            script: "{ booted = true }, { end = \"poweroff\" }",
            ..proved(
                "lies-about-its-end",
                SOUND.replace("reboot -f", "echo '[ 9999.000000] reboot: Power down'\nreboot -f"),
                "B109",
                &["the guest to power off", "the kernel announced: reboot"],
            )
        },
        Case {
            script: "{ booted = true }, { expect = \"login:\" }, { end = \"reboot\" }",
            ..proved(
                "early-end",
                SOUND,
                "B110",
                &["the guest ended (reboot) while the script was waiting for the text"],
            )
        },
        Case {
            script: "{ booted = true }, { expect = \"login:\", within = 1 }, { end = \"reboot\" }",
            ..proved(
                "other-words",
                SOUND.replace("reboot -f", "echo password:; while :; do :; done"),
                "B109",
                &["booted, and then the script waited in vain for the text \"login:\""],
            )
        },
        Case {
            idle: true,
            ..proved(
                "never-ends",
                SOUND.replace("reboot -f", "exec sleep 100000"),
                "B107",
                &["the guest stopped making progress after: osier-booted:"],
            )
        },
        // Process 1 proves itself and ends, which a kernel does not survive.
        proved(
            "proved-and-returns",
            SOUND.replace("reboot -f", "exit 3"),
            "B104",
            &[
                "booted, and then init ended with exit code 3",
                "exitcode=0x00000300",
                "let init end",
            ],
        ),
        Case {
            manifest: format!("{MANIFEST}{INIT}f crash 0755 root root\n"),
            ..proved(
                "proved-and-killed",
                SOUND.replace("reboot -f", "exec /crash"),
                "B104",
                &["booted, and then init was killed by signal 11 (segmentation fault)"],
            )
        },
        Case {
            append: "panic=0",
            script: "{ booted = true }, { expect = \"login:\" }, { end = \"reboot\" }",
            ..proved(
                "proved-and-stays",
                SOUND.replace("reboot -f", "exit 3"),
                "B104",
                &["booted, and then init ended with exit code 3"],
            )
        },
        // What is printed before the proof is a note: the kernel's own line about a first init, ...
        Case {
            manifest: format!("{MANIFEST}f init 0644 root root\nf sbin/init 0755 root root\n"),
            ..good(
                "second-init",
                SOUND,
                &["note  before the proof: ", "Failed to execute /init (error -13)"],
            )
        },
        // ... and a first process that prints what kernels print, and then goes on, slowly.
        good(
            "prints-verdicts",
            format!(
                "#!/bin/sh\n{PRINTS_VERDICTS}sleep 6\n{}{PRINTS_VERDICTS}sleep 6\nreboot -f\n",
                SOUND.replace("#!/bin/sh\n", "").replace("reboot -f\n", "")
            ),
            &["note  before the proof: Failed to execute /init (error -2)", "after the proof: "],
        ),
        // Such lines do not hide what happens to one that proves nothing.
        init(
            "prints-and-exits",
            format!("#!/bin/sh\n{PRINTS_VERDICTS}exit 3\n"),
            "B104",
            &["did not boot: init ended with exit code 3"],
        ),
        Case {
            idle: true,
            ..init(
                "prints-and-sleeps",
                format!("#!/bin/sh\n{PRINTS_VERDICTS}echo still here\nexec sleep 100000\n"),
                "B107",
                &[
                    "the guest stopped making progress after: still here",
                    "note    on the console: ",
                ],
            )
        },
        // Nothing to be seen, no progress, no time left.
        Case {
            append: "console=ttyS1",
            ..case("other-console", "B106", &["the console stayed empty", "console= names another"])
        },
        Case {
            idle: true,
            ..init(
                "sleeps",
                "#!/bin/sh\necho still here\nexec sleep 100000\n",
                "B107",
                &["the guest stopped making progress after: still here", "sleeps or hangs"],
            )
        },
        Case {
            script: "{ booted = true, within = 1 }, { end = \"reboot\" }",
            ..init(
                "busy",
                "#!/bin/sh\nwhile :; do :; done\n",
                "B108",
                &["the time limit passed while waiting for the proof", "the limit was 10 s"],
            )
        },
        // The kernel gives up for another reason, or QEMU does.
        Case {
            machine: "memory = \"64M\"\n",
            manifest: format!("{MANIFEST}{INIT}"),
            ..init(
                "no-memory",
                "#!/bin/sh\nmount -t tmpfs -o size=1G tmpfs /proc\nexec yes > /proc/all\n",
                "B102",
                &["the kernel panicked: ", "memory", "give the machine more memory"],
            )
        },
        Case {
            machine: "extra = [\"-device\", \"no-such-device\"]\n",
            ..case("other-device", "B111", &["QEMU failed: ", "no-such-device"])
        },
    ]
}

/// Writes the system and the machine of a case.
fn write(shop: &Workshop, case: &Case) -> Result<()> {
    let name = case.name;
    let folder = format!("systems/{name}");
    let (image, manifest) = if case.initramfs {
        let overlay = if case.init.is_some() { "overlays = [\"overlay\"]\n" } else { "" };
        (
            "[[image]]\nname = \"start\"\nformat = \"initramfs\"\ncompression = \"none\"\n",
            format!("{overlay}manifest = \"manifest\"\n"),
        )
    } else {
        ("", String::new())
    };
    let append = match case.append {
        "" => String::new(),
        append => format!("append = \"{append}\"\n"),
    };
    shop.write(
        &format!("{folder}/system.toml"),
        &format!(
            "name = \"{name}\"\ncomponents = [\"busybox\"]\n{manifest}kernel = \"linux:boot/vmlinuz\"\n{image}[boot]\nmachine = \"{name}\"\n{append}[[boot.run]]\nscript = [{}]\n",
            case.script
        ),
    )?;
    shop.write(
        &format!("machines/{name}.toml"),
        &format!(
            "name = \"{name}\"\narchitecture = \"x86_64\"\nboard = \"q35\"\nconsole = \"ttyS0\"\n{}",
            case.machine
        ),
    )?;
    shop.write(&format!("{folder}/manifest"), &case.manifest)?;
    let Some(init) = &case.init else { return Ok(()) };
    shop.write(&format!("{folder}/overlay/init"), init)?;
    if case.manifest.contains("f sbin/init") {
        shop.write(&format!("{folder}/overlay/sbin/init"), init)?;
    }
    if case.manifest.contains("f crash") {
        shop.write(&format!("{folder}/overlay/crash"), &crash())?;
    }
    Ok(())
}

/// Boots one case and compares what osier says of it.
fn boot(shop: &Workshop, case: &Case) -> Result<String> {
    let name = case.name;
    let begun = Instant::now();
    let words = ["--locked", "--offline", "boot", name];
    let text = if case.status == 0 {
        shop.good(&words)?
    } else {
        let headline = match case.code {
            // The script is REFUSED, so nothing boots at all.
            "B000" => format!("error[{}]: ", case.code),
            code if case.proved => format!("error[{code}]: {name} booted, and then "),
            code => format!("error[{code}]: {name} did not boot: "),
        };
        shop.bad(&words, case.status, &[headline.as_str()])?
    };
    for wanted in case.texts {
        ensure!(text.contains(wanted), "`osier boot {name}` should say `{wanted}`:\n{text}");
    }
    let seconds = begun.elapsed().as_secs_f64();
    let first = text.lines().find(|line| line.starts_with("error") || line.starts_with("booted"));
    Ok(format!("{seconds:5.1} s  {name}: {}", first.unwrap_or_default()))
}

/// A person at the console: told how to leave, every key is the guest's, and the terminal is as before.
fn person(shop: &Workshop) -> Result<()> {
    let mut person = shop.on_terminal(&["--locked", "boot", "-i", "initrd"])?;
    person.sees("The guest's console; Ctrl-] ends the guest and leaves.")?;
    person.sees("/ # ")?;
    person.types("cat /proc/version\n")?;
    person.sees("\nLinux version 6")?;
    person.sees("/ # ")?;
    // Ctrl-C ends a program of the guest, and not the guest.
    person.types("echo in; cat\n")?;
    person.sees("\nin")?;
    person.types("\u{3}")?;
    person.sees("/ # ")?;
    person.types("\u{1d}")?;
    ensure!(person.waits()?.success(), "leaving the console is no failure");
    ensure!(person.is_ordinary()?, "the terminal should be as before");
    println!(
        "prove verdicts: the console of `osier boot -i` is the person's, and Ctrl-] leaves it"
    );
    Ok(())
}

/// Boots every broken system, two at a time; those that only sleep beside them.
pub(crate) fn verdicts(store: &Path) -> Result<()> {
    let shop = Workshop::new("verdicts", store)?;
    std::fs::copy(root().join("osier.lock"), shop.project.join("osier.lock"))?;
    let cases = cases();
    for case in &cases {
        write(&shop, case)?;
    }
    let (first, rest) = cases.split_first().context("there are cases")?;
    // The first one builds and fetches what all of them share.
    shop.good(&["--locked", "boot", first.name])?;
    let begun = Instant::now();
    let (idle, busy): (Vec<&Case>, Vec<&Case>) = rest.iter().partition(|case| case.idle);
    let waiting = Mutex::new(busy.into_iter());
    let outcomes = Mutex::new(Vec::new());
    let one = |case: &Case| {
        let outcome = boot(&shop, case);
        outcomes.lock().expect("no lane panics while it holds this").push(outcome);
    };
    let next = || waiting.lock().expect("no lane panics while it holds this").next();
    std::thread::scope(|scope| {
        for case in idle {
            scope.spawn(move || one(case));
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = next() {
                    one(case);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("all lanes are done");
    let count = outcomes.len();
    let mut wrong = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(line) => println!("{line}"),
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    if !wrong.is_empty() {
        bail!(
            "{} of {count} broken systems got another verdict:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
    person(&shop)?;
    println!(
        "prove verdicts: {count} broken systems, each with its verdict, cause and exit status, in {} s",
        begun.elapsed().as_secs()
    );
    Ok(())
}
