//! What an honest step finds.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use osier_sandbox::{JOBSERVER, Mount, Status, Stdio, TerminalSize};

use crate::host::{Host, LONG};

#[test]
fn a_step_sees_the_same_everywhere() {
    let host = Host::new();
    let mut spec = host.spec(&["step", "about"]);
    spec.environment = vec![("PATH".into(), "/bin".into()), ("TZ".into(), "UTC".into())];
    spec.folder = "/tmp".into();
    let done = host.run(&spec);
    done.expect_success();
    let known: Vec<&str> = done.out.lines().filter(|line| !line.contains(":\t")).collect();
    assert_eq!(
        known,
        [
            "uid 0 0 gid 0 0",
            "pid 2 of 1 session 2",
            "host osier domain (none)",
            "folder /tmp",
            "mask 022",
            "foreign groups none",
            "core 0",
            "stack 8388608",
            "env PATH=/bin",
            "env TZ=UTC",
        ]
    );
}

#[test]
fn host_name_and_bytes_are_taken_as_given() {
    let host = Host::new();
    let odd = OsStr::from_bytes(b"/na\xffme\n");
    fs::create_dir(host.path("layer").join(OsStr::from_bytes(&odd.as_bytes()[1..]))).unwrap();
    let mut spec = host.spec(&["step", "about"]);
    spec.host_name = "builder".into();
    spec.folder = odd.into();
    spec.environment =
        vec![("PATH".into(), "/bin".into()), ("ODD".into(), OsStr::from_bytes(b"\xfe").into())];
    let (mut reader, writer) = std::io::pipe().unwrap();
    let stdio = Stdio { stdout: Some(writer.into()), ..Stdio::default() };
    let running = host.launcher.spawn(&spec, stdio).unwrap();
    let mut out = Vec::new();
    reader.read_to_end(&mut out).unwrap();
    assert_eq!(running.wait().unwrap().status, Status::Code(0));
    for wanted in [&b"host builder"[..], b"folder /na\xffme\n\n", b"env ODD=\xfe\n"] {
        assert!(
            out.windows(wanted.len()).any(|part| part == wanted),
            "{}",
            String::from_utf8_lossy(&out)
        );
    }

    // An argument, a file made, a file read.
    let mut spec = host.spec(&["step", "write"]);
    spec.command.extend([odd.to_os_string(), OsString::from("text")]);
    spec.command[2].push("/f");
    host.run(&spec).expect_success();
    assert_eq!(
        fs::read(host.path("upper").join(OsStr::from_bytes(b"na\xffme\n/f"))).unwrap(),
        b"text"
    );
}

#[test]
fn exit_codes_and_signals_are_told() {
    let host = Host::new();
    for code in [0, 1, 7, 127, 255] {
        let done = host.run(&host.spec(&["step", "exit", &code.to_string()]));
        assert_eq!(done.exit.status, Status::Code(code));
    }
    for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGSEGV, libc::SIGPIPE, libc::SIGINT] {
        let done = host.run(&host.spec(&["step", "signal", &signal.to_string()]));
        assert_eq!(done.exit.status, Status::Signal(signal));
    }
}

#[test]
fn time_and_memory_are_told() {
    let host = Host::new();
    let exit = host.run(&host.spec(&["step", "burn"])).exit;
    assert!(exit.user + exit.system >= Duration::from_millis(100), "{exit:?}");
    assert!(exit.user + exit.system < Duration::from_secs(5), "{exit:?}");
    assert!(exit.wall >= Duration::from_millis(100), "{exit:?}");
    assert!((40_000..400_000).contains(&exit.max_rss_kib), "{exit:?}");
    let exit = host.run(&host.spec(&["step", "sleep", "100"])).exit;
    assert!(exit.user + exit.system < Duration::from_millis(50), "{exit:?}");
    assert!(exit.wall >= Duration::from_millis(100), "{exit:?}");
}

#[test]
fn streams_are_the_callers() {
    let host = Host::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (mut out, stdout) = std::io::pipe().unwrap();
    let (stdin, stdout) = (Some(reader.into()), Some(stdout.into()));
    let stdio = Stdio { stdin, stdout, ..Stdio::default() };
    let running = host.launcher.spawn(&host.spec(&["step", "copy-input"]), stdio).unwrap();
    writer.write_all(b"\xff\x00bytes").unwrap();
    drop(writer);
    let mut text = Vec::new();
    out.read_to_end(&mut text).unwrap();
    assert_eq!(text, b"\xff\x00bytes");
    assert_eq!(running.wait().unwrap().status, Status::Code(0));

    // Both streams into one file, neither, each alone.
    let file = host.path("both");
    let both = File::create(&file).unwrap();
    let stdio = Stdio {
        stdout: Some(both.try_clone().unwrap().into()),
        stderr: Some(both.into()),
        ..Stdio::default()
    };
    let running = host.launcher.spawn(&host.spec(&["step", "streams"]), stdio).unwrap();
    assert_eq!(running.wait().unwrap().status, Status::Code(0));
    assert_eq!(fs::read(&file).unwrap(), b"err\nout\n");
    let done = host.run(&host.spec(&["step", "streams"]));
    assert_eq!((done.out.as_str(), done.err.as_str()), ("out\n", "err\n"));
    let running = host.spawn(&host.spec(&["step", "streams"]));
    assert_eq!(running.wait().unwrap().status, Status::Code(0));
}

#[test]
fn a_jobserver_is_the_only_descriptors_that_come_along() {
    let host = Host::new();
    // Without one: the three streams, the listing's own, and nothing else.
    assert_eq!(sorted(&host.step(&["list", "/proc/self/fd"])), ["0", "1", "2", "3"]);
    let (tokens, mut give) = std::io::pipe().unwrap();
    let (mut back, returned) = std::io::pipe().unwrap();
    let run = |action: &str| {
        let (mut out, stdout) = std::io::pipe().unwrap();
        let ends = [tokens.try_clone().unwrap().into(), returned.try_clone().unwrap().into()];
        let stdio =
            Stdio { stdout: Some(stdout.into()), jobserver: Some(ends), ..Stdio::default() };
        let spec = host.spec(&["step", action, "/proc/self/fd"]);
        let running = host.launcher.spawn(&spec, stdio).unwrap();
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(running.wait().unwrap().status, Status::Code(0), "{text}");
        text
    };
    let [reading, writing] = JOBSERVER.map(|number| number.to_string());
    assert_eq!(sorted(&run("list")), ["0", "1", "2", "3", &reading, &writing]);
    give.write_all(b"ab").unwrap();
    assert_eq!(run("take-a-job"), "a\nb\n");
    let mut two = [0; 2];
    back.read_exact(&mut two).unwrap();
    assert_eq!(&two, b"ab");
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn devices_work() {
    let host = Host::new();
    assert_eq!(host.step(&["devices"]), "out\n");
    assert_eq!(host.step(&["loopback"]), "");
}

#[test]
fn an_extra_device_can_be_shown() {
    let host = Host::new();
    // Whichever of these the host has; the second lies in a folder of its own.
    let devices = ["/dev/kvm", "/dev/net/tun", "/dev/fuse", "/dev/loop-control", "/dev/vda"];
    let devices: Vec<&str> =
        devices.into_iter().filter(|device| Path::new(device).exists()).collect();
    assert!(!devices.is_empty());
    for device in devices {
        let folder = Path::new(device).parent().unwrap().to_str().unwrap();
        let name = Path::new(device).file_name().unwrap().to_str().unwrap();
        let mut spec = host.spec(&["step", "list", folder]);
        assert!(!host.run(&spec).out.lines().any(|found| found == name), "{device}");
        spec.devices = vec![device.into()];
        assert!(host.run(&spec).out.lines().any(|found| found == name), "{device}");
        spec.command = vec!["step".into(), "open-for-reading".into(), device.into()];
        let opens = File::open(device).is_ok();
        assert_eq!(host.run(&spec).exit.status, Status::Code(i32::from(!opens)), "{device}");
    }
}

#[test]
fn a_command_can_have_a_terminal_of_its_own() {
    let host = Host::new();
    let mut spec = host.spec(&["step", "terminal"]);
    spec.terminal = Some(TerminalSize { rows: 12, columns: 34 });
    let mut running = host.launcher.spawn(&spec, Stdio::default()).unwrap();
    let mut person = File::from(running.take_terminal().unwrap());
    person.write_all(b"typed\n").unwrap();
    assert_eq!(running.wait().unwrap().status, Status::Code(0));
    let mut shown = Vec::new();
    // Linux ends a terminal that nobody has open on the other side with an error and not with an end.
    let end = person.read_to_end(&mut shown).unwrap_err();
    assert_eq!(end.raw_os_error(), Some(libc::EIO));
    let shown = String::from_utf8(shown).unwrap();
    // The echo of what was typed may come before or behind.
    assert_eq!(shown.replace("typed\r\n", ""), "/dev/pts/0 12 34\r\n");

    // Whoever drops the person's side hangs up.
    spec.command = vec!["step".into(), "copy-input".into()];
    let mut running = host.launcher.spawn(&spec, Stdio::default()).unwrap();
    drop(running.take_terminal());
    assert_eq!(running.wait().unwrap().status, Status::Signal(libc::SIGHUP));
}

#[test]
fn what_is_left_behind_is_named_and_killed() {
    let host = Host::new();
    let start = Instant::now();
    let done = host.run(&host.spec(&["step", "leave"]));
    assert_eq!(done.exit.status, Status::Code(3));
    assert_eq!(done.exit.left_behind, ["first-left", "second (left)"]);
    assert!(start.elapsed() < LONG);
    let alive = || fs::metadata(host.path("upper/alive")).unwrap().len();
    let then = alive();
    assert!(then > 0);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(alive(), then, "it still writes");
    // What ends by itself at once is not left behind.
    let done = host.run(&host.spec(&["step", "leave-briefly"]));
    assert_eq!((done.exit.status, done.exit.left_behind), (Status::Code(0), vec![]));
}

#[test]
fn limits_hold() {
    let host = Host::new();
    let mut spec = host.spec(&["step", "fill", "/file"]);
    spec.limits.file_size = Some(1 << 20);
    assert_eq!(host.run(&spec).out, format!("{} errno {}\n", 1 << 20, libc::EFBIG));

    let mut spec = host.spec(&["step", "fill", "/small/file"]);
    spec.mounts.push(Mount::Tmpfs { target: "/small".into(), size: 2 << 20 });
    assert_eq!(host.run(&spec).out, format!("{} errno {}\n", 2 << 20, libc::ENOSPC));

    let mut spec = host.spec(&["step", "burn"]);
    spec.limits.address_space = Some(20 << 20);
    assert_eq!(
        host.run(&spec).exit.status,
        Status::Signal(libc::SIGSEGV),
        "its 40 MiB are not to be had"
    );

    let mut spec = host.spec(&["step", "devices"]);
    spec.limits.open_files = Some(5);
    assert_eq!(host.run(&spec).exit.status, Status::Code(1));
}

#[test]
fn many_threads_share_one_launcher() {
    let host = Host::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let host = &host;
            scope.spawn(move || {
                for number in 0..15 {
                    let code = thread * 15 + number;
                    for folder in ["upper", "work"] {
                        fs::create_dir(host.path(&format!("{folder}-{code}"))).unwrap();
                    }
                    let mut spec = host.spec(&["step", "exit", &code.to_string()]);
                    spec.root = osier_sandbox::Root::Overlay {
                        lowers: vec![host.path("layer")],
                        upper: host.path(&format!("upper-{code}")),
                        work: host.path(&format!("work-{code}")),
                    };
                    assert_eq!(host.spawn(&spec).wait().unwrap().status, Status::Code(code));
                }
            });
        }
    });
}
