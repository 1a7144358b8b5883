//! Control groups that limit the memory of sandboxes, where this host lets them be made.
//!
//! One group for each sandbox below one for all of this process's, which is made beside or below the process's own. Both versions of
//! control groups do: with version 2 the kernel ends a whole sandbox that needs too much, with version 1 one process of it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::pids::{Hierarchy, hierarchy, hold, remove_stale};
use crate::syscall::errno_in_child;

const PREFIX: &str = "osier-memory-";

/// The group of all sandboxes of this process.
#[derive(Debug)]
pub(crate) struct Groups {
    folder: PathBuf,
    _held: OwnedFd,
    version: u8,
    next: AtomicU32,
    /// Groups that could not be removed yet: their last process takes some milliseconds to be gone.
    ended: Mutex<Vec<PathBuf>>,
}

/// The group of one sandbox.
#[derive(Debug)]
pub(crate) struct Group {
    folder: PathBuf,
    version: u8,
}

impl Groups {
    /// Makes the group, where that can be done, with a limit for all sandboxes together.
    pub(crate) fn make(together: Option<u64>) -> io::Result<Groups> {
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let Hierarchy { mount, own, version } = hierarchy("memory", &groups, &mounts)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for above in own.ancestors() {
            let parent = mount.join(above.strip_prefix("/").unwrap_or(above));
            match Groups::below(&parent, version, together) {
                Ok(made) => return Ok(made),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn below(parent: &Path, version: u8, together: Option<u64>) -> io::Result<Groups> {
        // A process is moved only by who may write here: the next group above both the old one and the new one.
        accessat(CWD, parent.join("cgroup.procs"), Access::WRITE_OK, AtFlags::EACCESS)?;
        remove_stale(parent, PREFIX);
        // Of several launchers of one process each has its own.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&folder)?;
        let _held = hold(&folder)?;
        let (next, ended) = (AtomicU32::new(0), Mutex::default());
        let made = Groups { folder, _held, version, next, ended };
        let folder = &made.folder;
        if version == 2 {
            if !folder.join("memory.max").exists() {
                // Only the topmost group may have both processes and groups with limits.
                fs::write(parent.join("cgroup.subtree_control"), "+memory")?;
            }
            fs::write(folder.join("cgroup.subtree_control"), "+memory")?;
        }
        if let Some(together) = together {
            limit(folder, version, together, true)?;
        }
        made.try_it()?;
        Ok(made)
    }

    /// Moves a process there and lets it end.
    fn try_it(&self) -> io::Result<()> {
        let group = self.group(u64::MAX >> 1, true)?;
        let members = group.members()?;
        let errno = errno_in_child(|| rustix::io::write(&members, b"0").map(drop));
        self.end(&group);
        if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
    }

    /// Makes a group for one sandbox.
    pub(crate) fn group(&self, memory: u64, swap: bool) -> io::Result<Group> {
        self.remove_ended();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(number.to_string());
        fs::create_dir(&folder)?;
        let group = Group { folder, version: self.version };
        limit(&group.folder, self.version, memory, swap)?;
        if self.version == 2 {
            // A build of which one process is missing goes on in odd ways.
            fs::write(group.folder.join("memory.oom.group"), "1")?;
        }
        Ok(group)
    }

    /// Takes a group whose sandbox has ended.
    pub(crate) fn end(&self, group: &Group) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(group.folder.clone());
        self.remove_ended();
    }

    fn remove_ended(&self) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|folder| {
            matches!(fs::remove_dir(folder), Err(error) if error.kind() != io::ErrorKind::NotFound)
        });
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.remove_ended();
        let _ = fs::remove_dir(&self.folder);
    }
}

impl Group {
    /// Opens the file to which a process writes `0` to move itself here.
    pub(crate) fn members(&self) -> io::Result<OwnedFd> {
        Ok(File::options().write(true).open(self.folder.join("cgroup.procs"))?.into())
    }

    /// Whether a process is in it.
    pub(crate) fn is_used(&self) -> bool {
        fs::read(self.folder.join("cgroup.procs")).is_ok_and(|members| !members.is_empty())
    }

    /// Whether the kernel has ended a process of it because memory ran out.
    pub(crate) fn has_lacked(&self) -> bool {
        let file = if self.version == 2 { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        let ended = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        ended.is_some_and(|count| count.trim() != "0")
    }
}

/// Sets the limit of a group. Without `swap` that is all that it gets; kernels that do not count swap have no file for it.
fn limit(folder: &Path, version: u8, memory: u64, swap: bool) -> io::Result<()> {
    let (file, file_of_swap, most_of_swap) = match version {
        2 => ("memory.max", "memory.swap.max", 0),
        // In version 1 it is the sum of both.
        _ => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", memory),
    };
    fs::write(folder.join(file), memory.to_string())?;
    let of_swap = folder.join(file_of_swap);
    if !swap && of_swap.exists() {
        fs::write(of_swap, most_of_swap.to_string())?;
    }
    Ok(())
}

/// A sandbox's control group; handed back to be removed when it is dropped.
#[derive(Debug)]
pub(crate) struct OwnGroup(pub(crate) Group, pub(crate) Arc<OnceLock<Option<Groups>>>);

impl Drop for OwnGroup {
    fn drop(&mut self) {
        if let Some(Some(groups)) = self.1.get() {
            groups.end(&self.0);
        }
    }
}
