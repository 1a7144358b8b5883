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

use crate::channel::{Reply, reply_if_heard};
use crate::ending::{Exit, Status, Used};
use crate::request::Settings;
use crate::{Isolation, syscall};

/// How long processes have to end by themselves after the command: a pipe's reader that is just finishing is not left behind.
const GRACE: Duration = Duration::from_millis(100);

/// How long to wait before descendants are looked for again that forked while others were being killed.
const AGAIN: Duration = Duration::from_millis(5);

/// How often all processes are looked at, at most: a hundredth of a processor is the most that it takes.
const LOOK: Duration = Duration::from_secs(1);
const SHARE: u32 = 100;

/// How often running processes are looked for before they are killed; a stop takes a moment to show.
const MOST_ROUNDS: usize = 50;

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
    /// Whether the caller is told what has been used.
    pub(crate) tells: bool,
}

/// A live process, as `/proc` shows it.
struct Process {
    id: Pid,
    parent: i32,
    name: String,
    stopped: bool,
    threads: u64,
    /// CPU time of it and of the children that it has waited for, in ticks.
    ticks: u64,
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
        let mut look_at = Instant::now() + LOOK;
        let mut too_many = false;
        let status = loop {
            if let Some(status) = self.reap_ended() {
                break status;
            }
            if self.most_processes.is_none() && !self.tells {
                self.sleep(None)?;
                continue;
            }
            self.sleep(Some(look_at.saturating_duration_since(Instant::now())))?;
            let now = Instant::now();
            if now < look_at {
                continue;
            }
            if self.is_full() {
                too_many = true;
                self.kill_all();
                break Status::Signal(libc::SIGKILL);
            }
            look_at = now + LOOK.max(now.elapsed() * SHARE);
        };
        let wall = start.elapsed();
        // A command that could start no more has ended, and the crowd that it leaves may be smaller in a moment.
        too_many |= self.is_crowded();
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
            pids_limit_hit: too_many
                || self.most_processes.is_some_and(|most| many >= most - most / 16)
                || self.limit_events() != events,
            // A matter of the control group, which the caller has.
            lacked_memory: false,
        })
    }

    /// How many processes are too many.
    fn most(&self) -> u64 {
        self.most_processes.map_or(u64::MAX, |most| most - most / 16)
    }

    /// Counts the processes, where that is quick.
    fn is_crowded(&self) -> bool {
        self.isolation == Isolation::Full
            && self.most_processes.is_some()
            && self.ids().is_ok_and(|ids| u64::try_from(ids.len()).unwrap_or(0) >= self.most())
    }

    /// Looks at all processes, tells the caller what they have used, and says whether they are as many as may be. Under a load of
    /// processes that make others the number is never quite reached.
    fn is_full(&self) -> bool {
        // Names alone are quick, and in a crowd that is what counts.
        if self.is_crowded() {
            return true;
        }
        let most = self.most();
        let others = self.others();
        if self.tells {
            let usage = syscall::children_usage();
            let ticks = others.iter().map(|process| process.ticks).sum::<u64>();
            let live = Duration::from_secs(1)
                .mul_f64(ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64);
            let cpu = usage.user + usage.system + live;
            reply_if_heard(self.replies, &Reply::Used(Used { cpu }));
        }
        others.iter().map(|process| process.threads).sum::<u64>() + 1 >= most
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
                // Those that make others faster than they can be killed are stopped first, until none is left that runs.
                for _ in 0..MOST_ROUNDS {
                    let running = self.others().into_iter().filter(|process| !process.stopped);
                    let stopped = running.map(|process| kill_process(process.id, Signal::STOP));
                    if stopped.count() == 0 {
                        break;
                    }
                }
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
        Ok(self.ids()?.into_iter().filter_map(|id| self.process(id)).collect())
    }

    fn ids(&self) -> Result<Vec<Pid>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut ids = Vec::new();
        for entry in Dir::new(openat(&self.proc, ".", flags, Mode::empty())?)? {
            let entry = entry?;
            let name = entry.file_name().to_str().ok();
            ids.extend(name.and_then(|name| name.parse().ok()).and_then(Pid::from_raw));
        }
        Ok(ids)
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
        // The first of these is the third field of the file.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let count = |number: usize| field(number)?.parse::<u64>().ok();
        match field(3)? {
            "Z" | "X" => None,
            state => Some(Process {
                id,
                parent: field(4)?.parse().ok()?,
                name: String::from_utf8_lossy(name).into_owned(),
                stopped: state == "T",
                threads: count(20)?,
                ticks: (14..=17).filter_map(count).sum(),
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
