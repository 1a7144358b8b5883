//! The first process of a sandbox: builds it, starts the command, reaps what the command leaves behind, reports.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, set_parent_process_death_signal, umask, waitpid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::system::{setdomainname, sethostname};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::channel::{Reply, reply};
use crate::command::Command;
use crate::failure::{Failure, Stage};
use crate::privileges::{self, write_proc};
use crate::reaper::Reaper;
use crate::request::{Request, Settings};
use crate::{
    Isolation, Mount, Network, PidsLimit, Root, Spec, TerminalSize, degraded, syscall, tree,
};

/// Out-of-memory score that makes the kernel end a step rather than osier or the person's own programs.
const OOM_SCORE: &str = "500";

/// Does everything that the first process does, in the process that the launcher has just cloned; then returns to be ended.
pub(crate) fn run(request: Request, settings: &Settings) {
    let Request { spec, replies, streams, jobserver, group, isolation, .. } = request;
    let started = read_spec(&spec).and_then(|spec| {
        if let Some(group) = group {
            rustix::io::write(&group, b"0").map_err(Failure::at(Stage::Limit, "memory"))?;
        }
        let proc = match isolation {
            Isolation::Full => build(&spec, settings)?,
            Isolation::Degraded => degraded::prepare(&spec)?,
        };
        let (streams, terminal) = match spec.terminal {
            None => (streams, None),
            Some(size) => {
                let (person, command) =
                    open_terminal(size).map_err(Failure::at(Stage::Stdio, "/dev/ptmx"))?;
                (command.map(Some), Some(person))
            }
        };
        let (main, start) = start_command(&spec, streams, jobserver, settings)?;
        Ok((spec, proc, main, start, terminal))
    });
    match started {
        Err(failure) => reply(&replies, &Reply::Failed(failure), &[]),
        Ok((spec, proc, main, start, terminal)) => {
            let person: Vec<BorrowedFd<'_>> = terminal.iter().map(AsFd::as_fd).collect();
            reply(&replies, &Reply::Running, &person);
            // The caller has it now, and its end must be seen when the caller closes it.
            drop(terminal);
            let most_processes = spec.limits.processes;
            let tells = spec.limits.tell_usage;
            let reaper = Reaper {
                main,
                isolation,
                proc,
                replies: &replies,
                settings,
                most_processes,
                tells,
            };
            if let Some(exit) = reaper.wait(start) {
                reply(&replies, &Reply::Ended(exit), &[]);
            }
        }
    }
}

fn read_spec(spec: &OwnedFd) -> Result<Spec, Failure> {
    let fail = |errno: Errno| Failure::at(Stage::Request, "")(errno);
    let mut text = Vec::new();
    let mut file =
        File::from(spec.try_clone().map_err(|error| fail(privileges::errno_of(&error)))?);
    file.read_to_end(&mut text).map_err(|error| fail(privileges::errno_of(&error)))?;
    let spec: Spec = serde_json::from_slice(&text).map_err(|_| fail(Errno::BADMSG))?;
    check(&spec)?;
    Ok(spec)
}

/// Refuses host paths that are not absolute: the launcher's working folder is not the caller's.
fn check(spec: &Spec) -> Result<(), Failure> {
    let relative = |path: &Path| Failure::at(Stage::Request, path)(Errno::INVAL);
    let mut paths: Vec<&Path> = spec.devices.iter().map(AsRef::as_ref).collect();
    let mut layers = Vec::new();
    match &spec.root {
        Root::Overlay { lowers, upper, work } => {
            layers.push(lowers);
            paths.extend([upper.as_path(), work.as_path()]);
        }
        Root::ReadOnly { lowers } => layers.push(lowers),
        Root::Folder { path } => paths.push(path),
    }
    for mount in &spec.mounts {
        match mount {
            Mount::Bind { source, target, .. } => paths.extend([source.as_path(), target]),
            Mount::Layers { lowers, target } => {
                layers.push(lowers);
                paths.push(target);
            }
            Mount::Tmpfs { target, .. } => paths.push(target),
        }
    }
    for lowers in layers {
        if lowers.is_empty() {
            return Err(relative(Path::new("")));
        }
        paths.extend(lowers.iter().map(AsRef::<Path>::as_ref));
    }
    match paths.into_iter().find(|path| !path.is_absolute()) {
        Some(path) => Err(relative(path)),
        None => Ok(()),
    }
}

/// Builds the sandbox around this process and gives up all rights to change it. Returns a descriptor of its `/proc`.
fn build(spec: &Spec, settings: &Settings) -> Result<OwnedFd, Failure> {
    // The launcher's death ends this process, and with it the whole pid namespace. A launcher that died before this line is seen by
    // `Reaper::wait`.
    end_with_launcher()?;
    map_user(settings).map_err(Failure::at(Stage::IdMap, ""))?;
    // Best effort: what cannot be raised stays.
    let _ = write_proc("/proc/self/oom_score_adj", OOM_SCORE);
    let own_range = settings.pids_limit == PidsLimit::PidNamespace;
    let proc = tree::enter(spec, spec.limits.processes.filter(|_| own_range))?;
    let names = || {
        sethostname(spec.host_name.as_bytes())?;
        setdomainname(b"(none)")
    };
    names().map_err(Failure::at(Stage::HostName, &spec.host_name))?;
    if spec.network == Network::None {
        let raise = || {
            use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
            let socket =
                socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
            syscall::raise_loopback(&socket)
        };
        raise().map_err(Failure::at(Stage::Loopback, "lo"))?;
    }
    umask(Mode::from_raw_mode(0o022));
    privileges::give_up(Isolation::Full, settings.filter(Isolation::Full, spec.network))?;
    // A change of credentials may have cleared it.
    end_with_launcher()?;
    Ok(proc)
}

fn end_with_launcher() -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::at(Stage::Privileges, ""))
}

/// Maps user and group 0 to the caller's, and nothing else; see user_namespaces(7).
fn map_user(settings: &Settings) -> Result<(), Errno> {
    write_proc("/proc/self/uid_map", &format!("0 {} 1", settings.user))?;
    write_proc("/proc/self/setgroups", "deny")?;
    write_proc("/proc/self/gid_map", &format!("0 {} 1", settings.group))
}

/// Opens a terminal among those of the sandbox: a person's side, and the command's side three times.
fn open_terminal(size: TerminalSize) -> Result<(OwnedFd, [OwnedFd; 3]), Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let person = openpt(flags)?;
    unlockpt(&person)?;
    let pixels_unknown = 0;
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: pixels_unknown,
        ws_ypixel: pixels_unknown,
    };
    tcsetwinsize(&person, size)?;
    let command = || ioctl_tiocgptpeer(&person, flags);
    let streams = [command()?, command()?, command()?];
    Ok((person, streams))
}

/// Starts the command and waits until its program has been executed.
fn start_command(
    spec: &Spec,
    streams: [Option<OwnedFd>; 3],
    jobserver: Option<[OwnedFd; 2]>,
    settings: &Settings,
) -> Result<(Pid, Instant), Failure> {
    let fail = |errno: Errno| Failure::at(Stage::Fork, "")(errno);
    let command = Command::new(spec, streams, jobserver)?;
    // Closed by a successful exec; else the failure is written to it.
    let (status, report) = pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
    let start = Instant::now();
    let Some(main) = syscall::fork().map_err(fail)? else { command.run(settings, &report) };
    drop(report);
    drop(command);
    let mut text = Vec::new();
    File::from(status)
        .read_to_end(&mut text)
        .map_err(|error| fail(privileges::errno_of(&error)))?;
    if text.is_empty() {
        return Ok((main, start));
    }
    let _ = waitpid(Some(main), WaitOptions::empty());
    Err(serde_json::from_slice(&text).unwrap_or_else(|_| fail(Errno::BADMSG)))
}
