//! Wraps the system calls that rustix has no safe form of.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

/// The namespaces of every sandbox.
pub(crate) const NAMESPACES: c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// The one more of a sandbox without the host's network.
pub(crate) const NETWORK_NAMESPACE: c_int = libc::CLONE_NEWNET;

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

fn check(result: c_int) -> Result<c_int, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

fn check_long(result: c_long) -> Result<c_long, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

/// Forks. `None` in the child.
pub(crate) fn fork() -> Result<Option<Pid>, Errno> {
    // SAFETY: the C library's own fork, which leaves its allocator usable in the child. The children of this crate take no lock of the
    // standard library: they use neither its streams nor its environment, and end by `exit_now` or by an exec.
    Ok(Pid::from_raw(check(unsafe { libc::fork() })?))
}

/// Clones this process into new namespaces; the child is its parent's to reap. `None` in the child, else its id and a descriptor for it.
pub(crate) fn clone(namespaces: c_int) -> Result<Option<(Pid, OwnedFd)>, Errno> {
    let mut pidfd: c_int = -1;
    let flags =
        c_long::from(namespaces) | c_long::from(libc::CLONE_PIDFD) | c_long::from(libc::SIGCHLD);
    // SAFETY: without CLONE_VM the child has its own copy of memory and, with a null stack, goes on from here like after a fork. The
    // caller is single-threaded, so no lock is held by a thread that the child lacks. `pidfd` outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    let result = check_long(result)?;
    let raw = c_int::try_from(result).map_err(|_| Errno::OVERFLOW)?;
    Ok(Pid::from_raw(raw).map(|pid| {
        // SAFETY: the kernel has just opened this descriptor for us and nothing else owns it.
        (pid, unsafe { OwnedFd::from_raw_fd(pidfd) })
    }))
}

/// Ends this process at once, running nothing that its parent registered to run at exit.
pub(crate) fn exit_now(status: c_int) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Executes a program; returns only on failure.
pub(crate) fn exec(program: &CStr, arguments: &CStrings, environment: &CStrings) -> Errno {
    // SAFETY: both arrays end in a null pointer and point to strings which they own.
    unsafe {
        libc::execve(program.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr())
    };
    last_errno()
}

/// A null-terminated array of C strings.
pub(crate) struct CStrings {
    // The pointers stay good when the vector moves, as each string has its own heap block.
    _strings: Vec<std::ffi::CString>,
    pointers: Vec<*const c_char>,
}

impl CStrings {
    pub(crate) fn new(strings: Vec<std::ffi::CString>) -> CStrings {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        CStrings { _strings: strings, pointers }
    }
}

fn signal_set(signals: &[c_int]) -> libc::sigset_t {
    // SAFETY: sigset_t is plain data that sigemptyset fills in; sigaddset gets valid signal numbers.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Ignores these signals in this process.
pub(crate) fn ignore_signals(signals: &[c_int]) {
    for &signal in signals {
        // SAFETY: SIG_IGN is a valid disposition and runs no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Gives every signal its default effect again and unblocks all, as a freshly executed program expects.
pub(crate) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid disposition and runs no code; signals that have none (9, 19, 32, 33) are refused without effect.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let none = signal_set(&[]);
    // SAFETY: the set is initialised and outlives the call.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
}

/// Blocks SIGCHLD and SIGTERM and returns a descriptor that is readable when a child has ended or SIGTERM has come. It tells each process
/// that reads it, clones included, of its own signals.
pub(crate) fn signals() -> Result<OwnedFd, Errno> {
    let set = signal_set(&[libc::SIGCHLD, libc::SIGTERM]);
    // SAFETY: the set is initialised and outlives both calls.
    let raw = unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    let raw = check(raw)?;
    // SAFETY: the kernel has just opened this descriptor for us and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Reads all that the descriptor of [`signals`] has; says whether SIGTERM was among it. Pending signals of one number are one, so which
/// children have ended is asked for by waiting.
pub(crate) fn drain_signals(signals: impl AsFd) -> bool {
    const INFO_BYTES: usize = size_of::<libc::signalfd_siginfo>();
    let mut terminated = false;
    let mut info = [0_u8; INFO_BYTES];
    // The signal's number is the first field.
    while rustix::io::read(&signals, &mut info).is_ok_and(|length| length == INFO_BYTES) {
        let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        terminated |= number == libc::SIGTERM.unsigned_abs();
    }
    terminated
}

/// Makes `descriptor` also number `at`, without close-on-exec.
pub(crate) fn duplicate_at(descriptor: impl AsFd, at: RawFd) -> Result<(), Errno> {
    // SAFETY: the callers pass 0, 1 and 2, or a number that nothing owns or will use again; no owned descriptor is closed behind its
    // owner's back.
    check(unsafe { libc::dup2(descriptor.as_fd().as_raw_fd(), at) }).map(drop)
}

/// Makes `descriptor` also number `at`, closed when a program is executed.
pub(crate) fn move_to(descriptor: impl AsFd, at: RawFd) -> Result<(), Errno> {
    // SAFETY: as in `duplicate_at`.
    check(unsafe { libc::dup3(descriptor.as_fd().as_raw_fd(), at, libc::O_CLOEXEC) }).map(drop)
}

/// Takes over descriptor `raw`.
pub(crate) fn adopt(raw: RawFd) -> OwnedFd {
    // SAFETY: the callers have just made it by `duplicate_at` and no one else owns it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Closes descriptor `number`.
pub(crate) fn close(number: RawFd) {
    // SAFETY: for a clone of the launcher, which never drops the launcher's own handle to it and ends without running any destructor.
    unsafe { libc::close(number) };
}

/// Closes all descriptors from `first` on.
pub(crate) fn close_from(first: u32) -> Result<(), Errno> {
    close_range(first, u32::MAX)
}

/// Closes all descriptors from `first` to `last`.
pub(crate) fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: only called in a fresh process that owns no descriptor in the range, or never uses or drops one again.
    check_long(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Sets attributes (`MOUNT_ATTR_*`) on the mount that `tree` is, and on all below it.
pub(crate) fn set_mount_attributes(tree: impl AsFd, attributes: u64) -> Result<(), Errno> {
    let attr = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is an empty C string; the structure is initialised, outlives the call and its size is passed.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Makes this process the one to which all its orphaned descendants are handed.
pub(crate) fn become_subreaper() -> Result<(), Errno> {
    // SAFETY: takes integers only.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Removes every capability outside `keep` (bit n for capability n) from the bounding set.
pub(crate) fn limit_bounding_set(keep: u64) -> Result<(), Errno> {
    for capability in 0..64 {
        if keep & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: takes integers only.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
            Ok(_) => {}
            Err(Errno::INVAL) => break, // past the last capability that this kernel knows
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Installs a system call filter for this process and all that it starts.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> Result<(), Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let prog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // The flag keeps kernels before 5.16 from slowing the process down by a mitigation that a build has no use for.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: `prog` points to `len` instructions of the kernel's layout, which the kernel copies and checks.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            (&raw const prog).cast::<c_void>(),
        )
    })
    .map(drop)
}

/// Brings up the loopback interface of this network namespace.
pub(crate) fn raise_loopback(socket: impl AsFd) -> Result<(), Errno> {
    const UP: libc::c_short = 1; // IFF_UP, in the type of this field
    // SAFETY: ifreq is plain data for which all zeros is valid; it outlives both calls; the name is shorter than the field and ends in 0.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as c_char;
        request.ifr_name[1] = b'o' as c_char;
        request.ifr_ifru.ifru_flags = UP;
        check(libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request))
            .map(drop)
    }
}

/// Asks `/dev/kvm` for the version of its interface.
pub(crate) fn kvm_version(device: impl AsFd) -> Result<c_int, Errno> {
    const KVM_GET_API_VERSION: u32 = 0xae00;
    // SAFETY: the request takes no argument.
    check(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), KVM_GET_API_VERSION as _, 0) })
}

/// What ended children have used in all.
pub(crate) struct Usage {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    /// Of the largest one.
    pub(crate) max_rss_kib: u64,
}

/// Sums up what all reaped children of this process, and theirs, have used.
pub(crate) fn children_usage() -> Usage {
    // SAFETY: rusage is plain data for which all zeros is valid, and the kernel fills it in; the call cannot fail with these arguments.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let duration = |time: libc::timeval| {
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    Usage {
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    }
}

/// Sends SIGKILL to every process that this one may signal, but not to itself.
///
/// Only for the first process of a pid namespace, where that is the namespace's processes.
pub(crate) fn kill_all() {
    // SAFETY: takes integers only.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Runs `attempt` in a forked child and returns its error number, 0 for none.
pub(crate) fn errno_in_child(attempt: impl FnOnce() -> Result<(), Errno>) -> i32 {
    match fork() {
        Err(errno) => errno.raw_os_error(),
        Ok(None) => exit_now(attempt().map_or_else(Errno::raw_os_error, |()| 0)),
        Ok(Some(child)) => {
            match rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()) {
                Ok(Some((_, status))) => status.exit_status().unwrap_or(libc::EIO),
                _ => libc::ECHILD,
            }
        }
    }
}
