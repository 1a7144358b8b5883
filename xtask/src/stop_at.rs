//! Runs osier up to one exact system call, and kills it there.
//!
//! osier's own threads are traced (`ptrace`); its launcher and the processes of steps are not, so that they
//! run as always. Nothing in osier knows of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A system call of osier that changes a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// So many bytes go to the file that is open under this path.
    Write(PathBuf, u64),
    /// This path gets another name.
    Rename(PathBuf, PathBuf),
    /// This path goes.
    Remove(PathBuf),
    /// What was written to the file that is open under this path is brought to the disk.
    Sync(PathBuf),
    /// Everything on a file system is brought to the disk.
    SyncAll,
}

/// Whether osier dies before the kernel has done the call, or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// osier's own process.
    Alone,
    /// osier, its launcher and every process of every step.
    All,
}

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    number: i32,
    /// When it started, in ticks since the machine did.
    start: u64,
}

/// Starts a program that waits, stopped, for [`run_until`].
///
/// What it prints goes to a file.
pub(crate) fn start_stopped(program: &Command, output: &Path) -> Result<Child> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).arg(program.get_program());
    shell.args(program.get_args());
    if let Some(folder) = program.get_current_dir() {
        shell.current_dir(folder);
    }
    for (name, value) in program.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let output = fs::File::create(output).context("cannot make the file for the output")?;
    shell.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    shell.spawn().context("cannot run sh")
}

/// Lets a program run until it makes a call for which `is_it` says so, and kills it there.
///
/// Gives the processes that it had started, or nothing where it ended without such a call.
pub(crate) fn run_until(
    child: &mut Child,
    when: When,
    whom: Whom,
    is_it: &mut dyn FnMut(&Call) -> bool,
) -> Result<Option<BTreeSet<Process>>> {
    let first = Pid::from_raw(i32::try_from(child.id())?);
    let begun = Instant::now();
    while stat(first.as_raw()).is_none_or(|(state, _, _)| state != 'T') {
        ensure!(begun.elapsed() < Duration::from_secs(20), "the program does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(first, options)?;
    kill(first, Signal::SIGCONT)?;
    // Threads that are inside a call, and whether the call is the one.
    let mut inside: BTreeMap<i32, bool> = BTreeMap::new();
    loop {
        let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Err(nix::errno::Errno::ECHILD) => return Ok(None),
            status => status?,
        };
        let (thread, signal) = match status {
            WaitStatus::PtraceSyscall(thread) => {
                let stop = match inside.remove(&thread.as_raw()) {
                    Some(is_the_one) => is_the_one,
                    None => {
                        let found = call(thread).is_some_and(|call| is_it(&call));
                        inside.insert(thread.as_raw(), found);
                        found && when == When::Before
                    }
                };
                if stop {
                    let family = family(first.as_raw());
                    kill(first, Signal::SIGKILL)?;
                    if whom == Whom::All {
                        for process in &family {
                            // Those that ended with osier are not there any more.
                            let _ = kill(Pid::from_raw(process.number), Signal::SIGKILL);
                        }
                    }
                    reap(first)?;
                    return Ok(Some(family));
                }
                (thread, None)
            }
            // Within a call, such as that which makes a thread: its end is still to come.
            WaitStatus::PtraceEvent(thread, _, _) => (thread, None),
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, _, _) => {
                inside.remove(&thread.as_raw());
                if thread == first {
                    return Ok(None);
                }
                continue;
            }
            _ => continue,
        };
        match ptrace::syscall(thread, signal) {
            // Killed or ended meanwhile.
            Err(nix::errno::Errno::ESRCH) => {}
            result => result?,
        }
    }
}

/// Kills a running program of one's own, and with it all that it has started where that is wanted; gives those.
pub(crate) fn kill_now(child: &mut Child, whom: Whom) -> Result<BTreeSet<Process>> {
    let first = i32::try_from(child.id())?;
    let family = family(first);
    child.kill()?;
    if whom == Whom::All {
        for process in &family {
            // Those that ended with osier are not there any more.
            let _ = kill(Pid::from_raw(process.number), Signal::SIGKILL);
        }
    }
    child.wait()?;
    Ok(family)
}

/// Waits until a killed process and its threads are over.
fn reap(first: Pid) -> Result<()> {
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Signaled(thread, _, _) | WaitStatus::Exited(thread, _))
                if thread == first =>
            {
                return Ok(());
            }
            Err(nix::errno::Errno::ECHILD) => return Ok(()),
            Err(error) => bail!("cannot wait: {error}"),
            Ok(_) => {}
        }
    }
}

/// Reads the call that a thread is about to make.
#[cfg(target_arch = "x86_64")]
fn call(thread: Pid) -> Option<Call> {
    let registers = ptrace::getregs(thread).ok()?;
    let (one, two, three, four) = (registers.rdi, registers.rsi, registers.rdx, registers.r10);
    let path = |folder: Option<u64>, address: u64| path(thread, folder, address);
    Some(match registers.orig_rax {
        // write and pwrite64; writev is not used for files.
        1 | 18 => Call::Write(open_file(thread, one)?, three),
        // copy_file_range and sendfile, by which files are copied.
        326 => Call::Write(open_file(thread, three)?, registers.r8),
        40 => Call::Write(open_file(thread, one)?, four),
        82 => Call::Rename(path(None, one)?, path(None, two)?),
        264 | 316 => Call::Rename(path(Some(one), two)?, path(Some(three), four)?),
        87 | 84 => Call::Remove(path(None, one)?),
        263 => Call::Remove(path(Some(one), two)?),
        // fsync and fdatasync; syncfs.
        74 | 75 => Call::Sync(open_file(thread, one)?),
        306 => Call::SyncAll,
        _ => return None,
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn call(_: Pid) -> Option<Call> {
    None
}

fn open_file(thread: Pid, number: u64) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{thread}/fd/{number}")).ok()
}

/// Reads a path from the memory of a thread, and makes it absolute.
fn path(thread: Pid, folder: Option<u64>, address: u64) -> Option<PathBuf> {
    let memory = fs::File::open(format!("/proc/{thread}/mem")).ok()?;
    let mut bytes = Vec::new();
    // In pieces that end with a page, since the next one may not be there.
    while !bytes.contains(&0) && bytes.len() < 8192 {
        let at = address + bytes.len() as u64;
        let mut piece = vec![0; usize::try_from(4096 - at % 4096).ok()?];
        let count = memory.read_at(&mut piece, at).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
    }
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let path = PathBuf::from(String::from_utf8(bytes[..end].to_vec()).ok()?);
    if path.is_absolute() {
        return Some(path);
    }
    // The low half alone counts, and -100 is the current folder.
    #[expect(clippy::cast_possible_truncation, reason = "a file descriptor is an int")]
    let base = match folder.map(|folder| folder as u32 as i32) {
        None | Some(-100) => fs::read_link(format!("/proc/{thread}/cwd")).ok()?,
        Some(number) => open_file(thread, u64::try_from(number).ok()?)?,
    };
    Some(base.join(path))
}

/// Reads the state, the parent and the start of a process.
fn stat(number: i32) -> Option<(char, i32, u64)> {
    let text = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields[0].chars().next()?, fields[1].parse().ok()?, fields[19].parse().ok()?))
}

/// Lists all processes below one, and the one itself.
fn family(first: i32) -> BTreeSet<Process> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some((_, parent, start)) = stat(number)
        {
            parents.insert(number, (parent, start));
        }
    }
    let mut found = BTreeSet::from([first]);
    loop {
        let below: Vec<i32> = parents
            .iter()
            .filter(|(number, (parent, _))| found.contains(parent) && !found.contains(number))
            .map(|(number, _)| *number)
            .collect();
        if below.is_empty() {
            break;
        }
        found.extend(below);
    }
    let process = |number: &i32| Some(Process { number: *number, start: parents.get(number)?.1 });
    found.iter().filter_map(process).collect()
}

/// Waits until none of some processes is left, and nothing has its root in a store; gives how long that took.
pub(crate) fn wait_for_end(family: &BTreeSet<Process>, store: &Path) -> Result<Duration> {
    let begun = Instant::now();
    // As the kernel shows it.
    let store = store.canonicalize()?;
    loop {
        let left = family.iter().filter(|process| {
            stat(process.number)
                .is_some_and(|(state, _, start)| state != 'Z' && start == process.start)
        });
        let mut left: Vec<i32> = left.map(|process| process.number).collect();
        left.extend(inhabitants(&store)?);
        if left.is_empty() {
            return Ok(begun.elapsed());
        }
        ensure!(begun.elapsed() < Duration::from_secs(10), "processes {left:?} outlived osier");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lists the processes that have something of a store mounted.
fn inhabitants(store: &Path) -> Result<Vec<i32>> {
    let device = fs::metadata(store)?.dev();
    let device = format!(" {}:{} ", rustix::fs::major(device), rustix::fs::minor(device));
    // What is mounted is told by its path on the file system, which begins where that is mounted.
    let name = store.file_name().unwrap_or_default().to_string_lossy();
    let folder = format!("/{name}/");
    let is_of_store = |line: &str| line.contains(&device) && line.contains(&folder);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let lives_there = |number: &i32| {
        let mounts = fs::read_to_string(format!("/proc/{number}/mountinfo"));
        mounts.is_ok_and(|mounts| mounts.lines().any(is_of_store))
    };
    Ok(numbers.filter(lives_there).collect())
}
