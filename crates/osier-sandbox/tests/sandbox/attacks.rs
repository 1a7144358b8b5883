//! Attacks, each with the error that must stop it.

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use osier_sandbox::{
    Exit, Isolation, Launcher, Limits, Mount, Network, PidsLimit, Root, SpawnError, Spec, Stage,
    Status, WaitError,
};
use rustix::io::Errno;

use crate::host::{Host, is_root};

/// Runs an attack and checks that this error refused it.
fn refused(host: &Host, attack: &[&str], expected: Errno) {
    refused_with(host, attack, expected.raw_os_error());
}

fn refused_with(host: &Host, attack: &[&str], expected: i32) {
    let command: Vec<&str> = ["hostile"].iter().chain(attack).copied().collect();
    let done = host.run(&host.spec(&command));
    assert_eq!(done.exit.status, Status::Code(1), "{attack:?}: {done:?}");
    let errno: i32 = done.out.trim().parse().unwrap();
    assert_eq!(errno, expected, "{attack:?}");
}

#[test]
fn system_calls_are_refused() {
    let host = Host::new();
    for attack in [
        "mount-tmpfs",
        "mount-bind",
        "remount-proc",
        "umount-proc",
        "fsopen",
        "open-tree",
        "pivot",
        "chroot",
        "unshare-user",
        "unshare-mount",
        "unshare-time",
        "clone-user",
        "clone-net",
        "setns",
        "ptrace-first",
        "ptrace-seize-first",
        "read-first",
        "tiocsti",
        "keyctl",
        "add-key",
        "request-key",
        "mknod-memory",
        "mknod-whiteout",
        "grow-capabilities",
        "ambient",
        "sethostname",
        "bpf",
        "perf",
        "userfaultfd",
        "io-uring",
        "by-handle",
        "reboot",
        "module",
        "kexec",
        "swapon",
        "acct",
        "syslog",
        "settime",
        "packet-socket",
        "raw-socket",
        "alg-socket",
        "vsock-socket",
        "audit-socket",
        "personality",
    ] {
        refused(&host, &[attack], Errno::PERM);
    }
    refused(&host, &["clone3-user"], Errno::NOSYS);
    if cfg!(target_arch = "x86_64") {
        refused(&host, &["x32"], Errno::NOSYS);
    }
}

#[test]
fn another_interface_is_fatal() {
    let host = Host::new();
    let done = host.run(&host.spec(&["hostile", "other-interface"]));
    assert_eq!(done.exit.status, Status::Signal(libc::SIGSYS), "{done:?}");
}

#[test]
fn host_files_are_not_there() {
    let host = Host::new();
    let secret = host.write("secret", "x");
    assert!(fs::read(&secret).is_ok());
    let home = std::env::var_os("HOME").unwrap_or("/root".into());
    for path in [
        secret.to_str().unwrap(),
        home.to_str().unwrap(),
        "/etc/passwd",
        "/usr",
        "/home",
        "/sys/kernel",
        "/run",
    ] {
        refused(&host, &["open", path], Errno::NOENT);
    }
}

#[test]
fn the_root_holds_nothing_else() {
    let host = Host::new();
    let mut names: Vec<String> = host.step(&["list", "/"]).lines().map(String::from).collect();
    names.sort();
    assert_eq!(names, ["bin", "dev", "proc", "tmp"]);
    let mut devices: Vec<String> = host.step(&["list", "/dev"]).lines().map(String::from).collect();
    devices.sort();
    assert_eq!(
        devices,
        [
            "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
            "tty", "urandom", "zero"
        ]
    );
    assert_eq!(host.step(&["list", "/tmp"]), "");
    // No mount of the host is left, and no path of the store can be read off the list.
    let mounts = host.step(&["cat", "/proc/self/mountinfo"]);
    assert_eq!(mounts.lines().count(), 11, "{mounts}");
    let scratch = host.scratch().file_name().unwrap().to_str().unwrap();
    assert!(!mounts.contains(scratch), "{mounts}");
}

#[test]
fn the_first_process_is_out_of_reach() {
    let host = Host::new();
    for path in ["root", "cwd", "exe", "ns/mnt"] {
        refused(&host, &["open-path", &format!("/proc/1/{path}/.")], Errno::ACCESS);
    }
    for path in ["mem", "environ", "maps", "auxv", "stack", "syscall"] {
        let done = host.run(&host.spec(&["hostile", "read", &format!("/proc/1/{path}")]));
        assert_eq!(done.exit.status, Status::Code(1), "{path}");
        let errno: i32 = done.out.trim().parse().unwrap();
        assert!(errno == libc::EACCES || errno == libc::EPERM, "{path}: {errno}");
    }
    refused(&host, &["setns-first"], Errno::ACCESS);
    refused(&host, &["descriptors-of-first"], Errno::ACCESS);
    let done = host.run(&host.spec(&["hostile", "kill-first"]));
    assert_eq!(done.exit.status, Status::Code(1), "the report still comes");
}

#[test]
fn files_of_proc_cannot_be_written() {
    let host = Host::new();
    for path in ["/proc/self/oom_score_adj", "/proc/self/uid_map", "/proc/self/comm"] {
        refused(&host, &["write-1", path], Errno::ROFS);
    }
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/pid_max",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/proc/bus/pci/devices",
        "/proc/irq/default_smp_affinity",
    ] {
        if !Path::new(path).exists() {
            continue;
        }
        let command = ["hostile", "write-1", path];
        let done = host.run(&host.spec(&command));
        let errno: i32 = done.out.trim().parse().unwrap();
        // With the id of the host's root nothing but the read-only mount is in the way.
        let allowed: &[Errno] =
            if is_root() { &[Errno::ROFS] } else { &[Errno::ROFS, Errno::ACCESS] };
        assert!(allowed.iter().any(|allowed| allowed.raw_os_error() == errno), "{path}: {errno}");
        assert_eq!(done.exit.status, Status::Code(1), "{path}");
    }
    if Path::new("/proc/kcore").exists() {
        refused(
            &host,
            &["open", "/proc/kcore"],
            if is_root() { Errno::PERM } else { Errno::ACCESS },
        );
    }
}

#[test]
fn the_hosts_network_is_not_there() {
    let host = Host::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    refused(&host, &["connect-loopback", &port], Errno::CONNREFUSED);
    refused(&host, &["connect-outside"], Errno::NETUNREACH);

    let name = format!("osier-test-{}", std::process::id());
    let _abstract =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    refused(&host, &["connect-abstract", &name], Errno::CONNREFUSED);

    // With the host's network the one attack is what is wanted, and the other one cannot even be tried.
    let with_network = |attack: [&str; 2]| {
        let mut spec = host.spec(&["hostile", attack[0], attack[1]]);
        spec.network = Network::Host;
        host.run(&spec).exit.status
    };
    assert_eq!(with_network(["connect-loopback", &port]), Status::Code(0));
    assert_eq!(with_network(["connect-abstract", &name]), Status::Code(2), "no local sockets");
}

#[test]
fn the_hosts_device_nodes_cannot_be_changed() {
    let host = Host::new();
    for attack in ["chmod", "touch", "chown-root"] {
        for device in ["/dev/null", "/dev/tty", "/dev/urandom"] {
            refused(&host, &[attack, device], Errno::ROFS);
        }
    }
    let owner = || fs::metadata("/dev/null").unwrap().uid();
    let before = owner();
    host.step(&["give-away", "/dev/null"]);
    assert_eq!(owner(), before);
}

#[test]
fn no_descriptor_is_inherited() {
    let before = OpenOptions::new().read(true).open("/").unwrap();
    let leaky = rustix::io::dup(&before).unwrap();
    let host = Host::new();
    let leaky_later = rustix::io::dup(&before).unwrap();
    assert!(leaky.as_raw_fd() > 2 && leaky_later.as_raw_fd() > 2);
    refused_with(&host, &["descriptors"], 0);
}

#[test]
fn a_fork_bomb_is_stopped() {
    let mut kinds = vec![PidsLimit::PidNamespace, PidsLimit::ResourceLimit];
    if is_root() {
        // The kernel does not apply the resource limit to the host's root; a control group is what old kernels have for it.
        kinds.pop();
        kinds.push(PidsLimit::ControlGroup);
    }
    for kind in kinds {
        let host = Host::with(Launcher::start_with(kind).unwrap());
        let most = if kind == PidsLimit::ControlGroup { u64::from(PidsLimit::SHARED) } else { 64 };
        let mut spec = host.spec(&["hostile", "many-processes", &(most + 300).to_string()]);
        spec.limits.processes = (kind != PidsLimit::ControlGroup).then_some(most);
        let done = host.run(&spec);
        assert_eq!(done.exit.status, Status::Code(1), "{kind:?}: {done:?}");
        assert_eq!(done.out.trim(), Errno::AGAIN.raw_os_error().to_string(), "{kind:?}");
        if kind == PidsLimit::ControlGroup {
            assert!(done.exit.pids_limit_hit, "{kind:?}");
            continue;
        }
        let count: u64 = done.err.split(' ').next().unwrap().parse().unwrap();
        // The first process and the command itself count. Ids below 300 are given out once, and never again.
        let slack = if kind == PidsLimit::PidNamespace && is_root() { 300 } else { 0 };
        assert!((most - 8..most + slack).contains(&count), "{kind:?}: {count}");

        // Threads count as processes do.
        let mut spec = host.spec(&["step", "threads"]);
        spec.limits.processes = Some(most);
        let count: u64 = host.run(&spec).out.trim().parse().unwrap();
        assert!((most - 8..most + slack).contains(&count), "{kind:?}: {count}");

        // A real one, which also outlives the command.
        let mut spec = host.spec(&["hostile", "bomb"]);
        spec.limits.processes = Some(most);
        let done = host.run(&spec);
        assert_eq!(done.exit.left_behind.first().map(String::as_str), Some("hostile"), "{done:?}");
        assert!(done.exit.pids_limit_hit, "{kind:?}: {done:?}");
        // Nothing of it is left, and the next sandbox has the whole limit.
        assert_eq!(host.step(&["exit", "0"]), "");
    }
}

#[test]
fn too_many_processes_are_ended_at_once() {
    let host = Host::new();
    let begun = Instant::now();
    for attack in [["endless-bomb", ""], ["crowd", "200"]] {
        let mut spec = host.spec(&["hostile", attack[0], attack[1]]);
        spec.limits.processes = Some(128);
        let done = host.run(&spec);
        assert!(done.exit.pids_limit_hit, "{done:?}");
        assert_eq!(done.exit.status, Status::Signal(libc::SIGKILL), "{done:?}");
    }
    // Fewer are left alone.
    let mut spec = host.spec(&["hostile", "many-processes", "100"]);
    spec.limits.processes = Some(128);
    let done = host.run(&spec);
    assert!(!done.exit.pids_limit_hit && done.exit.status == Status::Code(0), "{done:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "the attacks end by themselves after 20 s each"
    );
}

#[test]
fn files_in_memory_are_limited() {
    let host = Host::new();
    for folder in ["/tmp", "/dev/shm"] {
        let mut spec = host.spec(&["step", "fill", &format!("{folder}/file")]);
        spec.limits.in_memory = Some(1 << 20);
        let out = host.run(&spec).out;
        assert_eq!(out, format!("{} errno {}\n", 1 << 20, libc::ENOSPC), "{folder}");
    }
}

#[test]
fn memory_is_limited_where_a_control_group_can_be_made() {
    let host = Host::new();
    let mut spec = host.spec(&["step", "sleep", "300"]);
    spec.limits.memory = Some(64 << 20);
    spec.limits.memory_together = Some(1 << 30);
    let running = host.spawn(&spec);
    if !running.memory_is_limited() {
        // An ordinary user that nobody gave a group to.
        assert!(!is_root() || !Path::new("/sys/fs/cgroup/memory").exists());
        return;
    }
    assert!(!running.wait().unwrap().lacked_memory);
    let run = |mut spec: Spec, memory: u64| {
        spec.limits.memory = Some(memory);
        host.spawn(&spec).wait()
    };
    let lacked = |ended: Result<Exit, WaitError>| match ended {
        Err(error) => error == WaitError::LackedMemory,
        Ok(exit) => exit.lacked_memory && exit.status == Status::Signal(libc::SIGKILL),
    };
    let eat = host.spec(&["hostile", "eat", "200"]);
    assert!(lacked(run(eat.clone(), 64 << 20)));
    assert_eq!(run(eat, 256 << 20).unwrap().status, Status::Code(0));
    // What lies in memory counts.
    assert!(lacked(run(host.spec(&["step", "fill", "/tmp/file"]), 64 << 20)));
    // Nothing is left of the groups.
    drop(host);
    let own = |entry: fs::DirEntry| {
        let name = format!("osier-memory-{}-", std::process::id());
        entry.file_name().to_string_lossy().starts_with(&name)
    };
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let memory = groups.lines().find_map(|line| line.split_once(":memory:/")).unwrap_or_default().1;
    let above = Path::new("/sys/fs/cgroup/memory").join(memory);
    assert!(!fs::read_dir(above).into_iter().flatten().flatten().any(own));
}

#[test]
fn what_is_used_is_told_while_it_runs() {
    let host = Host::new();
    let mut spec = host.spec(&["hostile", "spin", "3"]);
    spec.limits = Limits { tell_usage: true, ..Limits::default() };
    let mut running = host.spawn(&spec);
    let mut told = Vec::new();
    while let Some(used) = running.next_word() {
        told.push(used.cpu);
    }
    let exit = running.wait().unwrap();
    assert!(told.is_sorted() && told.len() >= 2, "{told:?}");
    let all = exit.user + exit.system;
    assert!(*told.last().unwrap() <= all + Duration::from_millis(50), "{told:?} {all:?}");
    assert!(*told.last().unwrap() > Duration::from_millis(100), "{told:?}");
}

#[test]
fn the_default_limit_is_one_that_holds() {
    let host = Host::new();
    assert_ne!(host.launcher.pids_limit(), PidsLimit::None);
    let mut spec = host.spec(&["hostile", "many-processes", "700"]);
    spec.limits.processes = Some(400);
    assert_eq!(host.run(&spec).exit.status, Status::Code(1));
    let mut spec = host.spec(&["hostile", "raise-limit"]);
    spec.limits.processes = Some(400);
    assert_eq!(host.run(&spec).exit.status, Status::Code(1));
}

#[test]
fn other_owners_are_not_made_and_no_error() {
    let host = Host::new();
    host.write("layer/file", "x");
    assert_eq!(host.step(&["give-away", "/file"]), "0 0\n");
    // The one owner that there is, by a real call: it finds out whether there is a file.
    host.step(&["chown", "/file"]);
    let done = host.run(&host.spec(&["step", "chown", "/missing"]));
    assert_eq!(done.out, "/missing: errno 2\n", "{done:?}");
}

#[test]
fn a_set_user_id_program_gains_nothing() {
    let host = Host::new();
    let program = host.path("layer/owner");
    fs::copy(host.path("layer/bin/hostile"), &program).unwrap();
    if is_root() {
        chown(&program, Some(1000), Some(1000)).unwrap();
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
    refused_with(&host, &["become-owner", "/owner"], 0);
    let about = host.step(&["about"]);
    // chown, dac_override, fowner, fsetid, setgid, setuid: bits 0, 1, 3, 4, 6, 7.
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000000000db",
        "CapEff:\t00000000000000db",
        "CapBnd:\t00000000000000db",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(about.lines().any(|found| found == line), "{line}: {about}");
    }
}

#[test]
fn links_in_the_root_do_not_lead_a_mount_outside() {
    let host = Host::new();
    fs::create_dir(host.path("outside")).unwrap();
    let outside = host.path("outside");
    let up = format!("/../../../../../..{}", outside.display());
    for (link, target, expected) in [
        // Inside the root there is no such folder, and it is made there.
        ("absolute", outside.to_str().unwrap().to_string(), Ok(())),
        ("up", up, Ok(())),
        // The first process's own descriptors and root.
        ("descriptor", "/proc/self/fd/3".into(), Err(Errno::LOOP)),
        ("first", "/proc/1/cwd".into(), Err(Errno::LOOP)),
    ] {
        std::os::unix::fs::symlink(&target, host.path("layer").join(link)).unwrap();
        let mut spec = host.spec(&["step", "write", &format!("/{link}/new/file"), "x"]);
        spec.mounts.push(Mount::Tmpfs { target: format!("/{link}/new").into(), size: 1 << 20 });
        match (host.try_run(&spec), expected) {
            // A link to nowhere is not followed by mkdir: the mount point cannot be made.
            (Err(SpawnError::Stage { stage: Stage::MountPoint, errno, .. }), expected) => {
                let errno = Errno::from_raw_os_error(errno);
                assert!(errno == Errno::EXIST || Err(errno) == expected, "{link}: {errno}");
            }
            (result, _) => panic!("{link}: {result:?}"),
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{link}");
    }
    // A link inside the root is good.
    fs::create_dir(host.path("layer/real")).unwrap();
    std::os::unix::fs::symlink("/real", host.path("layer/inside")).unwrap();
    let mut spec = host.spec(&["step", "write", "/real/new/file", "x"]);
    spec.mounts.push(Mount::Tmpfs { target: "/inside/new".into(), size: 1 << 20 });
    host.run(&spec).expect_success();
}

#[test]
fn the_sandboxs_own_program_cannot_be_executed() {
    let host = Host::new();
    for (name, text) in
        [("direct", "#!/proc/self/exe\n"), ("by-link", "#!/link\n"), ("nested", "#!/direct x\n")]
    {
        host.install(name, text.as_bytes(), 0o755);
    }
    std::os::unix::fs::symlink("/proc/self/exe", host.path("layer/link")).unwrap();
    for (program, stage) in [
        ("/link", Stage::Exec),
        ("/proc/self/exe", Stage::Exec),
        ("/direct", Stage::Interpreter),
        ("/by-link", Stage::Interpreter),
        ("/nested", Stage::Interpreter),
    ] {
        match host.try_run(&host.spec(&[program])) {
            Err(SpawnError::Stage { stage: found, errno, .. }) => {
                assert_eq!(
                    (found, Errno::from_raw_os_error(errno)),
                    (stage, Errno::LOOP),
                    "{program}"
                );
            }
            other => panic!("{program}: {other:?}"),
        }
    }
}

#[test]
fn attacks_do_succeed_outside() {
    // A refusal proves something only if the attack is a real one. These are harmless anywhere.
    let host = Host::new();
    let attack = |arguments: &[&str]| {
        Command::new(host.path("layer/bin/hostile"))
            .args(arguments)
            .output()
            .unwrap()
            .status
            .code()
            .unwrap()
    };
    let secret = host.write("secret", "x");
    let own = OpenOptions::new().read(true).open("/").unwrap();
    let _leaky = rustix::io::dup(&own).unwrap();
    assert_eq!(attack(&["open", secret.to_str().unwrap()]), 0);
    assert_eq!(attack(&["unshare-user"]), 0);
    assert_eq!(attack(&["clone-user"]), 0);
    assert_eq!(attack(&["clone3-user"]), 0);
    assert_eq!(attack(&["descriptors"]), 0);
    assert_eq!(attack(&["personality"]), 0);
    assert_eq!(attack(&["many-processes", "70"]), 0);
    assert_eq!(attack(&["no-such-attack"]), 2);
    if is_root() {
        assert_eq!(attack(&["chown", secret.to_str().unwrap()]), 0);
    }
    // Nor does the spec say anything else than that all walls are up.
    let spec = host.spec(&["x"]);
    assert_eq!((spec.isolation, spec.network), (Isolation::Full, Network::None));
    assert!(matches!(spec.root, Root::Overlay { .. }));
}
