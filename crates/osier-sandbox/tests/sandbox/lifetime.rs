//! Beginnings and ends: time-outs, kills, and what happens when osier itself dies.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio as Streams};
use std::time::{Duration, Instant};

use osier_sandbox::{Launcher, SpawnError, Status, Stdio, WaitError};

use crate::host::{Host, LONG, is_root};

const SHORT: Duration = Duration::from_millis(50);

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn exists(id: u32) -> bool {
    // A zombie has ended.
    fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|text| !text.contains(") Z "))
}

#[test]
fn waiting_can_be_limited() {
    let host = Host::new();
    let mut running = host.spawn(&host.spec(&["step", "sleep", "60000"]));
    assert_eq!(running.wait_timeout(SHORT).unwrap(), None);
    assert_eq!(running.wait_timeout(Duration::ZERO).unwrap(), None);
    let id = running.id();
    assert!(exists(id));
    running.kill();
    assert_eq!(running.wait_timeout(LONG), Err(WaitError::Killed));
    assert_eq!(running.wait(), Err(WaitError::Killed));
    eventually("it is gone", || !exists(id));

    let mut running = host.spawn(&host.spec(&["step", "exit", "4"]));
    let exit = running.wait_timeout(LONG).unwrap().unwrap();
    assert_eq!(exit.status, Status::Code(4));
    running.kill();
    assert_eq!(running.wait_timeout(SHORT).unwrap(), Some(exit.clone()));
    assert_eq!(running.wait().unwrap(), exit);
}

#[test]
fn another_thread_can_kill() {
    let host = Host::new();
    let running = host.spawn(&host.spec(&["step", "sleep", "60000"]));
    let killer = running.killer();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(SHORT);
        killer.clone().kill();
        killer.kill();
    });
    assert_eq!(running.wait(), Err(WaitError::Killed));
    thread.join().unwrap();
}

#[test]
fn a_dropped_sandbox_is_killed() {
    let host = Host::new();
    let running = host.spawn(&host.spec(&["step", "sleep", "60000"]));
    let id = running.id();
    drop(running);
    eventually("it is gone", || !exists(id));
}

#[test]
fn the_end_of_the_launcher_is_the_end_of_all() {
    let host = Host::new();
    let spec = host.spec(&["step", "sleep", "60000"]);
    let launcher = Launcher::start().unwrap();
    let running: Vec<_> =
        (0..5).map(|_| launcher.spawn(&spec, Stdio::default()).unwrap()).collect();
    let ids: Vec<u32> = running.iter().map(osier_sandbox::Running::id).collect();
    drop(launcher);
    assert!(ids.iter().all(|&id| !exists(id)), "dropping it waits for them");
    for running in running {
        assert_eq!(running.wait(), Err(WaitError::Killed));
    }
}

/// Makes a sandbox that never ends and tells its ids; only for [`all_ends_when_osier_is_killed`], which runs it in another process.
#[test]
#[ignore = "never ends"]
fn sleeper() {
    let host = Host::new();
    let running = host.spawn(&host.spec(&["step", "leave"]));
    let another = host.spawn(&host.spec(&["step", "sleep", "600000"]));
    println!("\nids {} {}", running.id(), another.id());
    println!("alive {}", host.path("upper/alive").display());
    let _ = another.wait();
}

/// The same in the degraded mode.
#[test]
#[ignore = "never ends"]
fn degraded_sleeper() {
    let host = Host::new();
    let running = host.spawn(&crate::degraded::spec(&host, &["step", "leave"]));
    let another = host.spawn(&crate::degraded::spec(&host, &["step", "sleep", "600000"]));
    println!("\nids {} {}", running.id(), another.id());
    println!("alive {}", host.path("layer/alive").display());
    let _ = another.wait();
}

/// The launcher's id: the parent of a first process.
fn parent(id: u32) -> u32 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap().parse().unwrap()
}

#[test]
fn all_ends_when_osier_is_killed() {
    let sleepers: &[&str] = if is_root() {
        &["lifetime::sleeper", "lifetime::degraded_sleeper"]
    } else {
        &["lifetime::sleeper"]
    };
    for (sleeper, victim) in sleepers
        .iter()
        .flat_map(|sleeper| ["osier", "launcher", "both"].map(|victim| (sleeper, victim)))
    {
        // Killed, it leaves its scratch folder behind.
        let scratch = tempfile::tempdir().unwrap();
        let mut osier = Command::new(std::env::current_exe().unwrap())
            .env("TMPDIR", scratch.path())
            .args(["--ignored", "--exact", sleeper, "--nocapture", "--test-threads=1"])
            .stdout(Streams::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(osier.stdout.take().unwrap()).lines();
        let mut line = |start: &str| {
            lines
                .by_ref()
                .map(Result::unwrap)
                .find_map(|line| line.strip_prefix(start).map(String::from))
                .unwrap()
        };
        let ids: Vec<u32> = line("ids ").split(' ').map(|id| id.parse().unwrap()).collect();
        let alive = line("alive ");
        let launcher = parent(ids[1]);
        assert!(exists(ids[1]) && exists(launcher), "{ids:?}");
        let kill = |id: u32| {
            let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
            rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
        };
        if victim != "osier" {
            kill(launcher);
        }
        if victim != "launcher" {
            kill(osier.id());
        }
        let start = Instant::now();
        eventually("all are gone", || !exists(ids[0]) && !exists(ids[1]) && !exists(launcher));
        assert!(start.elapsed() < Duration::from_secs(10), "{sleeper} {victim}");
        let size = || fs::metadata(Path::new(&alive)).map(|file| file.len()).ok();
        let then = size();
        std::thread::sleep(SHORT);
        // Where osier itself lives on, it cleans its scratch folder up.
        let now = size();
        assert!(
            now.is_none() || now == then,
            "what the step left behind still writes: {then:?} {now:?}"
        );
        let _ = osier.kill();
        osier.wait().unwrap();
        for host in fs::read_dir(scratch.path()).unwrap() {
            let _ = fs::remove_dir(host.unwrap().path().join("work/work"));
        }
    }
}

#[test]
fn a_launcher_that_was_killed_is_an_error() {
    let host = Host::new();
    let running = host.spawn(&host.spec(&["step", "sleep", "60000"]));
    let launcher = parent(running.id());
    let launcher = rustix::process::Pid::from_raw(i32::try_from(launcher).unwrap()).unwrap();
    rustix::process::kill_process(launcher, rustix::process::Signal::KILL).unwrap();
    assert_eq!(running.wait(), Err(WaitError::Killed));
    eventually("spawning fails", || {
        matches!(
            host.launcher.spawn(&host.spec(&["step", "exit", "0"]), Stdio::default()),
            Err(SpawnError::LauncherGone)
        )
    });
}

#[test]
fn signals_of_the_terminal_do_not_reach_a_sandbox() {
    let host = Host::new();
    let mut running = host.spawn(&host.spec(&["step", "sleep", "60000"]));
    let launcher =
        rustix::process::Pid::from_raw(i32::try_from(parent(running.id())).unwrap()).unwrap();
    for signal in [
        rustix::process::Signal::INT,
        rustix::process::Signal::TERM,
        rustix::process::Signal::HUP,
        rustix::process::Signal::QUIT,
    ] {
        rustix::process::kill_process(launcher, signal).unwrap();
    }
    assert_eq!(running.wait_timeout(SHORT).unwrap(), None);
    // Not compared with our own session, whose leader may be outside our pid namespace.
    assert_eq!(rustix::process::getsid(Some(launcher)).unwrap(), launcher);
}

#[test]
fn nothing_is_left_of_many_sandboxes() {
    let host = Host::new();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    host.step(&["exit", "0"]);
    let launcher = {
        let running = host.spawn(&host.spec(&["step", "sleep", "60000"]));
        parent(running.id())
    };
    let count = |id: u32| fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    let (ours, its) = (descriptors(), count(launcher));
    for _ in 0..30 {
        host.step(&["exit", "0"]);
        let _ = host.try_run(&host.spec(&["/no/such"]));
    }
    // Other tests of this process open descriptors meanwhile, so only the launcher's are counted exactly.
    assert!(descriptors() < ours + 60);
    eventually("the launcher has closed all", || count(launcher) == its);
    let children = format!("/proc/{launcher}/task/{launcher}/children");
    eventually("the launcher has reaped all", || fs::read_to_string(&children).unwrap().is_empty());
}
