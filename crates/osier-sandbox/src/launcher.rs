//! The process that makes sandboxes, and the handle to it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, WaitOptions, chdir, getegid, geteuid, getpid, getrlimit,
    kill_process, pidfd_open, setrlimit, setsid, umask, wait, waitpid,
};

use crate::Limits;
use crate::channel::{self, Reply, receive_reply, reply};
use crate::failure::{Failure, Stage};
use crate::groups::{Groups, OwnGroup};
use crate::pids::ControlGroup;
use crate::request::{DEGRADED, Filters, GROUP, HOST_NETWORK, JOBSERVER_BIT, Request, Settings};
use crate::running::{Killer, Running, end_signal};
use crate::{Isolation, Network, PidsLimit, Spec, init, syscall};

/// Handle to the launcher: a small process with one thread, forked at program start, from which every sandbox is cloned.
///
/// Usable from many threads at once. Dropping it kills every sandbox that still runs and waits for the launcher, so that the processor
/// time of all of them is this process's children's.
#[derive(Debug)]
pub struct Launcher {
    socket: OwnedFd,
    pid: Pid,
    pids_limit: PidsLimit,
    // Removed after the launcher has ended.
    _group: Option<ControlGroup>,
    /// For limits on memory; made when first needed, nothing where that cannot be done.
    groups: Arc<OnceLock<Option<Groups>>>,
}

/// Why the launcher could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    /// The system gave no process or no socket.
    #[error("cannot start the launcher process")]
    Start(#[source] io::Error),
    /// No system call filter can be made on this machine.
    #[error("cannot make the system call filter for this processor")]
    Filter(#[source] io::Error),
    /// The wanted kind of limit on processes is not to be had.
    #[error("cannot make a control group that limits processes")]
    ControlGroup(#[source] io::Error),
}

/// The standard streams of a command, of which `None` is `/dev/null`, and the only other descriptors that it can be given.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Standard input. No stream is looked at where the spec asks for a terminal.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: Option<OwnedFd>,
    /// Standard error.
    pub stderr: Option<OwnedFd>,
    /// What the command and all that it starts can take jobs from and give them back to, as GNU make's jobserver does: the reading end of
    /// one pipe and the writing end of one. They are descriptors [`JOBSERVER`] inside.
    pub jobserver: Option<[OwnedFd; 2]>,
}

/// Why a command was not started. Nothing of its sandbox is left.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The sandbox or the program could not be set up.
    #[error("cannot {stage}{}{}: {}", if path.as_os_str().is_empty() { "" } else { " " }, path.display(), io::Error::from_raw_os_error(*errno))]
    Stage {
        /// What was being done.
        stage: Stage,
        /// On which path; empty where none is meant.
        path: PathBuf,
        /// The system's error number.
        errno: i32,
    },
    /// The spec could not be handed over: no descriptor or no memory is left in this process.
    #[error("cannot send the sandbox's specification")]
    HandOver(#[source] io::Error),
    /// The launcher has ended.
    #[error("the launcher process is gone")]
    LauncherGone,
    /// The sandbox was killed from outside before the command ran.
    #[error("the sandbox was killed while it was set up")]
    Killed,
}

impl SpawnError {
    /// Says whether it is the working folder that is not there, or is none.
    pub fn is_folder(&self) -> bool {
        matches!(self, SpawnError::Stage { stage: Stage::Folder, .. })
    }

    /// Says what a person can do about it, where the host and not the spec is the cause. `osier doctor` tries each cause by itself.
    pub fn advice(&self) -> Option<&'static str> {
        let SpawnError::Stage { stage, errno, .. } = self else { return None };
        let denied = matches!(*errno, libc::EPERM | libc::EACCES);
        match stage {
            Stage::Namespaces
                if denied || matches!(*errno, libc::ENOSPC | libc::EUSERS | libc::EINVAL) =>
            {
                Some(
                    "this host does not allow the user to make namespaces: allow user namespaces, or use degraded mode as root",
                )
            }
            Stage::Namespaces if *errno == libc::EAGAIN => {
                Some("the user's limit on processes is reached")
            }
            Stage::IdMap | Stage::Pivot | Stage::HostName | Stage::Loopback if denied => Some(
                "this process lacks the rights for a namespace or a chroot: allow user namespaces, or run as root",
            ),
            Stage::Root if *errno == libc::EINVAL => Some(
                "overlayfs cannot use this folder: put the store on a real file system, not on an overlay of a container",
            ),
            Stage::Proc if denied => {
                Some("the container hides parts of /proc: start it with an unmasked /proc")
            }
            Stage::Layer if denied => Some("the store must belong to the user who runs the builds"),
            Stage::Exec if *errno == libc::E2BIG => {
                Some("the command line and environment are too long for the kernel")
            }
            _ => None,
        }
    }
}

impl From<Failure> for SpawnError {
    fn from(failure: Failure) -> SpawnError {
        SpawnError::Stage { stage: failure.stage, path: failure.path, errno: failure.errno }
    }
}

impl Launcher {
    /// Starts the launcher with the best limit on processes that this host gives.
    ///
    /// Call it first thing in `main`, before any thread exists: the launcher is a copy of this process, so the less there is the cheaper
    /// every sandbox gets. It is safe later, too.
    ///
    /// # Errors
    ///
    /// When no process or socket is to be had, or the processor's architecture is unknown.
    pub fn start() -> Result<Launcher, LauncherError> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        match PidsLimit::best(&release, geteuid().is_root()) {
            PidsLimit::ControlGroup => Launcher::start_with(PidsLimit::ControlGroup)
                .or_else(|_| Launcher::start_with(PidsLimit::None)),
            other => Launcher::start_with(other),
        }
    }

    /// Starts the launcher with this kind of limit on processes. [`PidsLimit::PidNamespace`] on a kernel before 6.14, where the range of
    /// ids is the whole host's, is taken as [`PidsLimit::ResourceLimit`].
    ///
    /// # Errors
    ///
    /// As [`Launcher::start`]; also when no control group can be made.
    pub fn start_with(pids_limit: PidsLimit) -> Result<Launcher, LauncherError> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let pids_limit = match pids_limit {
            PidsLimit::PidNamespace
                if PidsLimit::best(&release, false) != PidsLimit::PidNamespace =>
            {
                PidsLimit::ResourceLimit
            }
            other => other,
        };
        let group = match pids_limit {
            PidsLimit::ControlGroup => {
                Some(ControlGroup::make().map_err(LauncherError::ControlGroup)?)
            }
            _ => None,
        };
        let filters = Filters::new().map_err(|errno| LauncherError::Filter(errno.into()))?;
        let start = |errno: Errno| LauncherError::Start(errno.into());
        let (ours, theirs) = channel::pair().map_err(start)?;
        match syscall::fork().map_err(start)? {
            Some(pid) => Ok(Launcher {
                socket: ours,
                pid,
                pids_limit,
                _group: group,
                groups: Arc::default(),
            }),
            None => {
                // Nothing may unwind into the caller's code, which belongs to the other process.
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    Server::main(&theirs, pids_limit, group.as_ref(), filters);
                }));
                syscall::exit_now(1)
            }
        }
    }

    /// Tells how the number of processes of a sandbox is limited.
    pub fn pids_limit(&self) -> PidsLimit {
        self.pids_limit
    }

    /// Starts a command in a sandbox of its own; returns when its program has been executed. The streams are the sandbox's alone then.
    ///
    /// # Errors
    ///
    /// When any stage of the set-up failed; the program not being found is one of them.
    pub fn spawn(&self, spec: &Spec, stdio: Stdio) -> Result<Running, SpawnError> {
        let hand_over = |errno: Errno| SpawnError::HandOver(errno.into());
        let text = serde_json::to_vec(spec).map_err(|error| SpawnError::HandOver(error.into()))?;
        let file = memfd_create("osier-spec", MemfdFlags::CLOEXEC).map_err(hand_over)?;
        let mut written = 0;
        while written < text.len() {
            let at = u64::try_from(written).unwrap_or(u64::MAX);
            written += rustix::io::pwrite(&file, &text[written..], at).map_err(hand_over)?;
        }
        let (ours, theirs) = channel::pair().map_err(hand_over)?;

        let streams = [&stdio.stdin, &stdio.stdout, &stdio.stderr];
        let mut header = u8::from(spec.network == Network::Host) << HOST_NETWORK
            | u8::from(spec.isolation == Isolation::Degraded) << DEGRADED;
        let mut descriptors = vec![file.as_fd(), theirs.as_fd()];
        for (bit, stream) in streams.into_iter().enumerate() {
            if let Some(stream) = stream {
                header |= 1 << bit;
                descriptors.push(stream.as_fd());
            }
        }
        if let Some(ends) = &stdio.jobserver {
            header |= 1 << JOBSERVER_BIT;
            descriptors.extend(ends.iter().map(AsFd::as_fd));
        }
        let group = self.group(&spec.limits);
        let members = match &group {
            Some(group) => Some(group.0.members().map_err(SpawnError::HandOver)?),
            None => None,
        };
        if let Some(members) = &members {
            header |= 1 << GROUP;
            descriptors.push(members.as_fd());
        }
        match channel::send(&self.socket, &[header], &descriptors) {
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => {
                return Err(SpawnError::LauncherGone);
            }
            sent => sent.map_err(hand_over)?,
        }
        drop((theirs, stdio, members));
        await_start(ours, spec.isolation, group)
    }

    /// Makes a control group for one sandbox, where its limits ask for one and this host allows it.
    fn group(&self, limits: &Limits) -> Option<OwnGroup> {
        let memory = limits.memory?;
        let groups = self.groups.get_or_init(|| Groups::make(limits.memory_together).ok());
        let group = groups.as_ref()?.group(memory, limits.swap).ok()?;
        Some(OwnGroup(group, Arc::clone(&self.groups)))
    }
}

/// Waits until a sandbox has both a process and a command, or has failed. The launcher's and the first process's replies may overtake
/// one another.
fn await_start(
    replies: OwnedFd,
    isolation: Isolation,
    group: Option<OwnGroup>,
) -> Result<Running, SpawnError> {
    let mut born = None;
    let mut started: Option<Option<OwnedFd>> = None;
    let mut ended = None;
    loop {
        if let (Some((pid, pidfd)), Some(terminal)) = (&born, &mut started) {
            let killer = Killer { pidfd: Arc::clone(pidfd), isolation };
            let terminal = terminal.take();
            return Ok(Running { pid: *pid, replies, killer, terminal, ended, group });
        }
        let received =
            receive_reply(&replies).map_err(|errno| SpawnError::HandOver(errno.into()))?;
        match received {
            Some((Reply::Born { pid }, Some(pidfd))) => born = Some((pid, Arc::new(pidfd))),
            // The kernel could not install the descriptor here. With `replies` closed, the sandbox ends.
            Some((Reply::Born { .. }, None)) => {
                return Err(SpawnError::HandOver(Errno::MFILE.into()));
            }
            Some((Reply::Running, terminal)) => started = Some(terminal),
            Some((Reply::Ended(exit), _)) => ended = Some(Ok(exit)),
            Some((Reply::Used(_), _)) => {}
            Some((Reply::Failed(failure), _)) => return Err(failure.into()),
            None if born.is_some() => return Err(SpawnError::Killed),
            None => return Err(SpawnError::LauncherGone),
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // The launcher reads the end of its requests, kills and reaps what runs, and ends.
        let _ = shutdown(&self.socket, Shutdown::Both);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// The launcher's own side.
struct Server<'a> {
    socket: &'a OwnedFd,
    settings: Settings,
    /// First processes that have not been reaped, so that their ids are still theirs.
    sandboxes: Vec<(Pid, Isolation)>,
}

impl Server<'_> {
    fn main(
        socket: &OwnedFd,
        pids_limit: PidsLimit,
        group: Option<&ControlGroup>,
        filters: Filters,
    ) {
        // On failure the launcher ends, and the first spawn says that it is gone.
        let _ = Server::set_up(socket, pids_limit, group, filters);
    }

    fn set_up(
        socket: &OwnedFd,
        pids_limit: PidsLimit,
        group: Option<&ControlGroup>,
        filters: Filters,
    ) -> Result<(), Errno> {
        // The terminal's signals are for osier, which decides what they mean.
        let _ = setsid();
        syscall::ignore_signals(&[libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE]);
        // Holds no folder, no stream and no other descriptor of osier's.
        chdir("/")?;
        umask(Mode::empty());
        let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let copy = rustix::io::fcntl_dupfd_cloexec(socket, SOCKET_NUMBER + 1)?;
        for number in 0..SOCKET_NUMBER {
            syscall::duplicate_at(&null, number)?;
        }
        syscall::duplicate_at(&copy, SOCKET_NUMBER)?;
        std::mem::forget((null, copy));
        syscall::close_from(SOCKET_NUMBER.unsigned_abs() + 1)?;
        let socket = syscall::adopt(SOCKET_NUMBER);
        let _ = rustix::thread::set_name(c"osier-launcher");

        let mut limit_events = None;
        if let Some(group) = group {
            fs::write(group.members(), "0").map_err(|error| crate::privileges::errno_of(&error))?;
            limit_events =
                open(group.events(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok();
        }
        let open_files = getrlimit(Resource::Nofile);
        // Hundreds of layers are open at one time.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit { current: open_files.maximum, maximum: open_files.maximum },
        );
        let settings = Settings {
            user: geteuid().as_raw(),
            group: getegid().as_raw(),
            open_files,
            pids_limit,
            limit_events,
            filters,
            signals: syscall::signals()?,
            launcher: pidfd_open(getpid(), PidfdFlags::empty())?,
        };
        let mut server = Server { socket: &socket, settings, sandboxes: Vec::new() };
        server.serve();
        server.end();
        Ok(())
    }

    /// Serves until osier is gone.
    fn serve(&mut self) {
        loop {
            let mut sources = [
                PollFd::new(self.socket, PollFlags::IN),
                PollFd::new(&self.settings.signals, PollFlags::IN),
            ];
            let _ = poll(&mut sources, None);
            let (request, ended) =
                (!sources[0].revents().is_empty(), !sources[1].revents().is_empty());
            if ended {
                // SIGTERM is the terminal's or the service manager's; osier decides.
                syscall::drain_signals(&self.settings.signals);
                while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
                    self.sandboxes.retain(|&(sandbox, _)| sandbox != pid);
                }
            }
            if request {
                let mut header = [0];
                match channel::receive(self.socket, &mut header) {
                    Ok((1, descriptors)) => {
                        if let Some(request) = Request::parse(header[0], descriptors) {
                            self.launch(request);
                        }
                    }
                    // No descriptor or memory left just now; the request is lost, and its caller sees its socket closed.
                    Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {}
                    Ok(_) | Err(_) => return,
                }
            }
        }
    }

    fn launch(&mut self, request: Request) {
        let namespaces = match (request.isolation, request.network) {
            (Isolation::Full, Network::None) => syscall::NAMESPACES | syscall::NETWORK_NAMESPACE,
            (Isolation::Full, Network::Host) => syscall::NAMESPACES,
            (Isolation::Degraded, _) => 0,
        };
        match syscall::clone(namespaces) {
            Ok(Some((pid, pidfd))) => {
                self.sandboxes.push((pid, request.isolation));
                let id = pid.as_raw_nonzero().get().unsigned_abs();
                reply(&request.replies, &Reply::Born { pid: id }, &[pidfd.as_fd()]);
            }
            Ok(None) => {
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    syscall::close(SOCKET_NUMBER);
                    init::run(request, &self.settings);
                }));
                // The sandbox's other processes, if any are left, end with this one.
                syscall::exit_now(0)
            }
            Err(errno) => {
                let failure = Failure {
                    stage: Stage::Namespaces,
                    errno: errno.raw_os_error(),
                    path: PathBuf::new(),
                };
                reply(&request.replies, &Reply::Failed(failure), &[]);
            }
        }
    }

    /// Kills and reaps every sandbox.
    fn end(&mut self) {
        for &(sandbox, isolation) in &self.sandboxes {
            let _ = kill_process(sandbox, end_signal(isolation));
        }
        while !matches!(wait(WaitOptions::empty()), Err(Errno::CHILD)) {}
    }
}

/// The launcher's socket, after 0, 1 and 2.
const SOCKET_NUMBER: i32 = 3;
