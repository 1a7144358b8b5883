//! Waits for a command, ends what it leaves behind, and sums up.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};

use crate::launcher::Settings;
use crate::running::{Exit, Status};
use crate::{Isolation, syscall};

/// How long processes have to end by themselves after the command: a pipe's reader that is just finishing is not left behind.
const GRACE: Duration = Duration::from_millis(100);

/// How long to wait before descendants are looked for again that forked while others were being killed.
const AGAIN: Duration = Duration::from_millis(5);

/// Most names of processes in a report.
const MOST_NAMES: usize = 64;

/// The process that all orphans of a sandbox are handed to: the first of its pid namespace or, in the degraded mode, a subreaper.
pub(crate) struct Reaper<'a> {
    pub(crate) main: Pid,
    pub(crate) isolation: Isolation,
    /// A `/proc` that shows the sandbox's processes.
    pub(crate) proc: OwnedFd,
    pub(crate) replies: &'a OwnedFd,
    pub(crate) settings: &'a Settings,
    pub(crate) most_processes: Option<u64>,
}

/// A live process, as `/proc` shows it.
struct Process {
    id: Pid,
    parent: i32,
    name: String,
}

impl Reaper<'_> {
    /// Waits for the end of the command, which was started at `start`. `None` when the launcher has died or nobody wants the answer any
    /// more: nothing of the sandbox is alive then either, once the caller of this has ended.
    pub(crate) fn wait(&self, start: Instant) -> Option<Exit> {
        let exit = self.wait_for_all(start);
        if exit.is_none() && self.isolation == Isolation::Degraded {
            // Here no pid namespace ends with this process.
            self.kill_all();
        }
        exit
    }

    fn wait_for_all(&self, start: Instant) -> Option<Exit> {
        let events = self.limit_events();
        let status = loop {
            if let Some(status) = self.reap_ended() {
                break status;
            }
            self.sleep(None)?;
        };
        let wall = start.elapsed();
        let mut names = self.clear()?;
        let usage = syscall::children_usage();
        // The first process and the command, which has just made room, count as well.
        let many = u64::try_from(names.len()).unwrap_or(u64::MAX).saturating_add(2);
        names.sort();
        names.truncate(MOST_NAMES);
        Some(Exit {
            status,
            left_behind: names,
            user: usage.user,
            system: usage.system,
            max_rss_kib: usage.max_rss_kib,
            wall,
            pids_limit_hit: self.most_processes.is_some_and(|most| many >= most)
                || self.limit_events() != events,
        })
    }

    /// Reaps all that have ended; says how the command did if it is among them.
    fn reap_ended(&self) -> Option<Status> {
        let mut main = None;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.main {
                main = Some(how(status));
            }
        }
        main
    }

    /// Sleeps until a child has ended or `limit` is over; `None` when the launcher has died, has sent SIGTERM, or the caller has dropped
    /// the sandbox.
    ///
    /// This, and not the parent's death signal alone, is what makes sure: the launcher may have died before that was set.
    fn sleep(&self, limit: Option<Duration>) -> Option<()> {
        let timeout = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut sources = [
            PollFd::new(&self.settings.signals, PollFlags::IN),
            PollFd::new(&self.settings.launcher, PollFlags::IN),
            PollFd::new(self.replies, PollFlags::empty()),
        ];
        let _ = poll(&mut sources, timeout.as_ref());
        if sources[1..].iter().any(|source| !source.revents().is_empty()) {
            return None;
        }
        // In a namespace of its own the command can send this process any signal; from outside SIGKILL is sent.
        let terminated = syscall::drain_signals(&self.settings.signals);
        (!terminated || self.isolation == Isolation::Full).then_some(())
    }

    /// Lets the other processes end, then kills them. Returns the names of those it killed.
    fn clear(&self) -> Option<Vec<String>> {
        let end = Instant::now() + GRACE;
        loop {
            self.reap_ended();
            // No child at all means that nothing is left, as orphans are handed to this process.
            if matches!(wait(WaitOptions::NOHANG), Err(Errno::CHILD)) {
                return Some(Vec::new());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.sleep(Some(left))?;
        }
        let names = self.others().into_iter().map(|process| process.name).collect();
        self.kill_all();
        Some(names)
    }

    /// Kills and reaps all other processes of the sandbox.
    fn kill_all(&self) {
        match self.isolation {
            Isolation::Full => {
                syscall::kill_all();
                // Each one reaped may hand over orphans, all of them killed as well.
                while !matches!(wait(WaitOptions::empty()), Err(Errno::CHILD)) {}
            }
            Isolation::Degraded => loop {
                for process in self.others() {
                    // None of them is reaped meanwhile by anyone whose child it is not, so the id can at worst be a dead descendant's.
                    let _ = kill_process(process.id, Signal::KILL);
                }
                self.reap_ended();
                if matches!(wait(WaitOptions::NOHANG), Err(Errno::CHILD)) {
                    break;
                }
                std::thread::sleep(AGAIN);
            },
        }
    }

    /// All live processes of the sandbox but this one.
    fn others(&self) -> Vec<Process> {
        let all = self.processes().unwrap_or_default();
        if self.isolation == Isolation::Full {
            return all.into_iter().filter(|process| process.id != Pid::INIT).collect();
        }
        let parents: BTreeMap<i32, i32> =
            all.iter().map(|process| (process.id.as_raw_nonzero().get(), process.parent)).collect();
        let own = getpid().as_raw_nonzero().get();
        let descends = |process: &Process| {
            let mut at = process.parent;
            // Bounded, as ids that are taken again while /proc is read could make a circle.
            for _ in 0..parents.len() {
                if at == own {
                    return true;
                }
                match parents.get(&at) {
                    Some(&parent) => at = parent,
                    None => return false,
                }
            }
            false
        };
        all.into_iter().filter(descends).collect()
    }

    /// All live processes that `/proc` shows.
    fn processes(&self) -> Result<Vec<Process>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut processes = Vec::new();
        for entry in Dir::new(openat(&self.proc, ".", flags, Mode::empty())?)? {
            let entry = entry?;
            let id = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| name.parse().ok())
                .and_then(Pid::from_raw);
            processes.extend(id.and_then(|id| self.process(id)));
        }
        Ok(processes)
    }

    /// A process, unless it has ended meanwhile.
    fn process(&self, id: Pid) -> Option<Process> {
        let path = format!("{}/stat", id.as_raw_nonzero());
        let file =
            openat(&self.proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut text = Vec::new();
        File::from(file).read_to_end(&mut text).ok()?;
        // `id (name) state parent …`, and a name may itself hold brackets; see proc(5).
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')')?;
        let name = text.get(open + 1..close)?;
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        match fields.next()? {
            "Z" | "X" => None,
            _ => Some(Process {
                id,
                parent: fields.next()?.parse().ok()?,
                name: String::from_utf8_lossy(name).into_owned(),
            }),
        }
    }

    /// What the control group has counted, if there is one.
    fn limit_events(&self) -> Option<Vec<u8>> {
        let file = self.settings.limit_events.as_ref()?;
        let mut text = vec![0; 256];
        let length = rustix::io::pread(file, &mut text, 0).ok()?;
        text.truncate(length);
        Some(text)
    }
}

/// Translates what the system says about an ended process.
fn how(status: WaitStatus) -> Status {
    match status.terminating_signal() {
        Some(signal) => Status::Signal(signal),
        None => Status::Code(status.exit_status().unwrap_or(0)),
    }
}
