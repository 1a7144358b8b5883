//! The degraded mode, which needs root; anyone else is told so.

use std::os::unix::fs::FileTypeExt;

use osier_sandbox::{Isolation, Mount, Root, SpawnError, Spec, Stage, Status, WaitError};
use rustix::io::Errno;

use crate::host::{Host, LONG, is_root};
use crate::lifetime::{eventually, exists};

pub(crate) fn spec(host: &Host, command: &[&str]) -> Spec {
    let mut spec = host.spec(command);
    spec.isolation = Isolation::Degraded;
    spec.root = Root::Folder { path: host.path("layer") };
    spec
}

fn stage_of(result: Result<crate::host::Done, SpawnError>) -> (Stage, Errno) {
    match result {
        Err(SpawnError::Stage { stage, errno, .. }) => (stage, Errno::from_raw_os_error(errno)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_a_plain_folder_is_taken() {
    let host = Host::new();
    let mut overlay = spec(&host, &["step", "exit", "0"]);
    overlay.root = host.overlay();
    assert_eq!(stage_of(host.try_run(&overlay)), (Stage::Request, Errno::OPNOTSUPP));
    let mut mount = spec(&host, &["step", "exit", "0"]);
    mount.mounts.push(Mount::Tmpfs { target: "/x".into(), size: 1 });
    assert_eq!(stage_of(host.try_run(&mount)), (Stage::Request, Errno::OPNOTSUPP));
}

/// Says whether this user may have the degraded mode. Whoever may not is refused this command, and told why.
fn is_given(host: &Host, command: &[&str]) -> bool {
    if is_root() {
        return true;
    }
    let error = host.try_run(&spec(host, command)).unwrap_err();
    assert!(error.advice().unwrap().contains("root"), "{error}");
    assert_eq!(stage_of(Err(error)), (Stage::Pivot, Errno::PERM));
    false
}

#[test]
fn root_gets_it_and_an_ordinary_user_is_told() {
    let host = Host::new();
    if is_given(&host, &["step", "exit", "0"]) {
        host.run(&spec(&host, &["step", "exit", "0"])).expect_success();
    }
}

#[test]
fn a_step_runs_in_its_folder_alone() {
    let host = Host::new();
    if !is_given(&host, &["step", "write", "/new", "x"]) {
        assert!(!host.path("layer/new").exists());
        return;
    }
    let run = |command: &[&str]| host.run(&spec(&host, command));
    assert_eq!(run(&["step", "exit", "7"]).exit.status, Status::Code(7));
    assert_eq!(run(&["step", "signal", "9"]).exit.status, Status::Signal(9));
    run(&["step", "write", "/new", "x"]).expect_success();
    assert_eq!(std::fs::read_to_string(host.path("layer/new")).unwrap(), "x");
    assert!(std::fs::metadata(host.path("layer/dev/null")).unwrap().file_type().is_char_device());
    assert_eq!(run(&["step", "list", "/proc"]).out, "");
    let about = run(&["step", "about"]).out;
    for line in ["uid 0 0 gid 0 0", "mask 022", "env PATH=/bin"] {
        assert!(about.lines().any(|found| found == line), "{about}");
    }
    assert_eq!(stage_of(host.try_run(&spec(&host, &["/no/such"]))), (Stage::Exec, Errno::NOENT));
}

#[test]
fn attacks_are_refused() {
    let host = Host::new();
    if !is_given(&host, &["hostile", "chroot", ""]) {
        return;
    }
    let secret = host.write("secret", "x");
    host.write("layer/file", "x");
    for (attack, argument, errno) in [
        ("open", secret.to_str().unwrap(), Errno::NOENT),
        ("open", "/../../../etc/passwd", Errno::NOENT),
        ("inet-socket", "", Errno::PERM),
        ("packet-socket", "", Errno::PERM),
        ("audit-socket", "", Errno::PERM),
        ("mount-tmpfs", "", Errno::PERM),
        ("chroot", "", Errno::PERM),
        ("pivot", "", Errno::PERM),
        ("unshare-user", "", Errno::PERM),
        ("clone-user", "", Errno::PERM),
        ("ptrace-first", "", Errno::PERM),
        ("keyctl", "", Errno::PERM),
        ("mknod-memory", "", Errno::PERM),
        ("grow-capabilities", "", Errno::PERM),
        ("sethostname", "", Errno::PERM),
        ("reboot", "", Errno::PERM),
    ] {
        let done = host.run(&spec(&host, &["hostile", attack, argument]));
        assert_eq!(done.exit.status, Status::Code(1), "{attack}: {done:?}");
        assert_eq!(done.out.trim(), errno.raw_os_error().to_string(), "{attack}");
    }
}

#[test]
fn other_owners_are_not_made_and_no_error() {
    let host = Host::new();
    if !is_given(&host, &["step", "give-away", "/file"]) {
        return;
    }
    host.write("layer/file", "x");
    let done = host.run(&spec(&host, &["step", "give-away", "/file"]));
    assert_eq!((done.exit.status, done.out.as_str()), (Status::Code(0), "0 0\n"), "{done:?}");
}

#[test]
fn too_many_processes_are_ended_at_once() {
    let host = Host::new();
    if !is_given(&host, &["hostile", "crowd", "200"]) {
        return;
    }
    let mut spec = spec(&host, &["hostile", "crowd", "200"]);
    spec.limits.processes = Some(128);
    let done = host.run(&spec);
    assert!(done.exit.pids_limit_hit, "{done:?}");
    assert_eq!(done.exit.status, Status::Signal(libc::SIGKILL), "{done:?}");
}

#[test]
fn what_is_left_behind_is_named_and_killed() {
    let host = Host::new();
    if !is_given(&host, &["step", "leave"]) {
        return;
    }
    let done = host.run(&spec(&host, &["step", "leave"]));
    assert_eq!(done.exit.status, Status::Code(3));
    assert_eq!(done.exit.left_behind, ["first-left", "second (left)"]);
    let size = || std::fs::metadata(host.path("layer/alive")).unwrap().len();
    let then = size();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(size(), then);
}

#[test]
fn it_can_be_killed() {
    let host = Host::new();
    if !is_given(&host, &["step", "sleep", "600000"]) {
        return;
    }
    for drop_it in [false, true] {
        let mut running = host.spawn(&spec(&host, &["step", "sleep", "600000"]));
        let id = running.id();
        if drop_it {
            drop(running);
        } else {
            running.kill();
            assert_eq!(running.wait_timeout(LONG), Err(WaitError::Killed));
        }
        let children = || {
            std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default()
        };
        eventually("it and its command are gone", || !exists(id) && children().is_empty());
    }
    // The end of the launcher waits for them, so it returns at all only because they end.
    let running = host.spawn(&spec(&host, &["step", "sleep", "600000"]));
    drop(host);
    assert_eq!(running.wait(), Err(WaitError::Killed));
}
