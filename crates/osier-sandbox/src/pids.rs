//! The limit on processes: which kind this host gives.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

/// How the number of processes of a sandbox is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PidsLimit {
    /// By the range of process ids of its pid namespace, for each sandbox; up to 300 more can live at first, as the kernel gives out the
    /// lowest ids just once. Linux 6.14 and later.
    PidNamespace,
    /// By a control group that all sandboxes of a launcher share, with [`PidsLimit::SHARED`] processes in all.
    ControlGroup,
    /// By the user namespace's resource limit; exact for each sandbox from Linux 5.14 on, before that for all processes of the user. The
    /// kernel does not apply it to the host's root.
    ResourceLimit,
    /// Not at all.
    None,
}

impl PidsLimit {
    /// Processes that all sandboxes of one launcher can have together under [`PidsLimit::ControlGroup`].
    pub const SHARED: u32 = 8192;

    /// Picks the best kind for this kernel and user. Does not look whether a control group can be made.
    pub(crate) fn best(release: &str, is_root: bool) -> PidsLimit {
        if kernel_at_least(release, (6, 14)) {
            PidsLimit::PidNamespace
        } else if is_root {
            PidsLimit::ControlGroup
        } else {
            PidsLimit::ResourceLimit
        }
    }
}

/// Whether a kernel's release, such as `6.12.4-amd64`, is at least `wanted`.
fn kernel_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= wanted,
        _ => false,
    }
}

/// A control group for one launcher; removed when dropped, which works once no process is in it.
#[derive(Debug)]
pub(crate) struct ControlGroup {
    folder: PathBuf,
    _held: OwnedFd,
}

impl ControlGroup {
    /// Makes a group below this process's own one, or below the nearest group above that lets it.
    pub(crate) fn make() -> io::Result<ControlGroup> {
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let Hierarchy { mount, own, .. } = hierarchy("pids", &groups, &mounts)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for above in own.ancestors() {
            let parent = mount.join(above.strip_prefix("/").unwrap_or(above));
            remove_stale(&parent, PREFIX);
            match make_below(&parent) {
                Ok(group) => return Ok(group),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// The file to which a process writes `0` to move itself here.
    pub(crate) fn members(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// The file that counts how often the limit was hit.
    pub(crate) fn events(&self) -> PathBuf {
        self.folder.join("pids.events")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

const PREFIX: &str = "osier-";

fn make_below(parent: &Path) -> io::Result<ControlGroup> {
    let folder = parent.join(format!("{PREFIX}{}", std::process::id()));
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let group = ControlGroup { _held: hold(&folder)?, folder };
    // Fails where the group exists but has no controller for processes; the drop then takes it away.
    fs::write(group.folder.join("pids.max"), PidsLimit::SHARED.to_string())?;
    Ok(group)
}

/// Marks a group as one whose maker lives, for as long as the descriptor is open here or in a process forked from here.
///
/// A lock, as the number of a process says nothing to an osier in another pid namespace.
pub(crate) fn hold(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = rustix::fs::open(folder, flags, Mode::empty())?;
    flock(&held, FlockOperation::NonBlockingLockShared)?;
    Ok(held)
}

/// Removes the groups whose makers were killed, and those below them. The kernel keeps a group that still has a process in it.
pub(crate) fn remove_stale(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(maker) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else {
            continue;
        };
        let maker = maker.split('-').next().unwrap_or(maker);
        let is_number = maker.bytes().all(|byte| byte.is_ascii_digit());
        let folder = entry.path();
        // One in sight may be about to hold what it has just made.
        let is_alive = Path::new("/proc").join(maker).exists();
        let is_free =
            |held: OwnedFd| flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok();
        if is_number && !is_alive && hold(&folder).is_ok_and(is_free) {
            for below in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(below.path());
            }
            let _ = fs::remove_dir(&folder);
        }
    }
}

/// Where control groups of one controller are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) mount: PathBuf,
    /// This process's group.
    pub(crate) own: PathBuf,
    /// Of the interface.
    pub(crate) version: u8,
}

/// Finds where the hierarchy with a controller is mounted, and this process's group in it.
///
/// `groups` is `/proc/self/cgroup` (`id:controllers:path`), `mounts` is `/proc/self/mountinfo`; see cgroups(7) and proc(5).
pub(crate) fn hierarchy(controller: &str, groups: &str, mounts: &str) -> Option<Hierarchy> {
    let own = |wanted: &str| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            let path = fields.next()?;
            controllers.split(',').any(|name| name == wanted).then(|| PathBuf::from(path))
        })
    };
    let mounted = |wanted: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut right = right.split(' ');
            let (kind, options) = (right.next()?, right.nth(1)?);
            wanted(kind, options).then(|| left.split(' ').nth(4).map(PathBuf::from))?
        })
    };
    if let Some(own) = own(controller) {
        let mount = mounted(&|kind, options| {
            kind == "cgroup" && options.split(',').any(|option| option == controller)
        })?;
        return Some(Hierarchy { mount, own, version: 1 });
    }
    Some(Hierarchy { mount: mounted(&|kind, _| kind == "cgroup2")?, own: own("")?, version: 2 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_maker_in_another_pid_namespace_holds_is_not_stale() {
        // Process numbers have at most 22 bits.
        let parent = tempfile::tempdir().unwrap();
        let groups = ["osier-5000000", "osier-5000001-0", "osier-memory-5000002", "other-5000003"]
            .map(|name| parent.path().join(name));
        for group in &groups {
            fs::create_dir_all(group.join("0")).unwrap();
        }
        let held = hold(&groups[1]).unwrap();
        remove_stale(parent.path(), "osier-");
        assert_eq!(groups.each_ref().map(|group| group.exists()), [false, true, true, true]);
        drop(held);
        // A process that another test forks has the descriptor for a moment, too.
        let goes = (0..500).any(|_| {
            remove_stale(parent.path(), "osier-");
            std::thread::sleep(std::time::Duration::from_millis(10));
            !groups[1].exists()
        });
        assert!(goes);
    }

    #[test]
    fn kernels_are_told_apart() {
        let cases = [
            ("6.14.0", true),
            ("6.18.44-fc", true),
            ("7.0", true),
            ("6.13.9-arch1", false),
            ("6.1.0-18-amd64", false),
            ("5.15", false),
            ("", false),
            ("odd", false),
        ];
        for (release, expected) in cases {
            assert_eq!(kernel_at_least(release, (6, 14)), expected, "{release}");
        }
        assert_eq!(PidsLimit::best("6.1.0", true), PidsLimit::ControlGroup);
        assert_eq!(PidsLimit::best("6.1.0", false), PidsLimit::ResourceLimit);
        assert_eq!(PidsLimit::best("6.14.0", true), PidsLimit::PidNamespace);
    }

    #[test]
    fn the_hierarchy_is_found_in_both_versions() {
        let v1 = "9:name=systemd:/\n8:pids:/a/b\n4:memory:/x\n0::/\n";
        let v1_mounts = "33 32 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                         40 32 0:36 / /sys/fs/cgroup/pids rw,relatime shared:3 - cgroup cgroup rw,pids\n\
                         42 32 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n";
        assert_eq!(
            hierarchy("pids", v1, v1_mounts),
            Some(Hierarchy { mount: "/sys/fs/cgroup/pids".into(), own: "/a/b".into(), version: 1 })
        );
        let v2 = "0::/user.slice/user-0.slice/session-1.scope\n";
        let v2_mounts =
            "24 1 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            hierarchy("memory", v2, v2_mounts),
            Some(Hierarchy {
                mount: "/sys/fs/cgroup".into(),
                own: "/user.slice/user-0.slice/session-1.scope".into(),
                version: 2
            })
        );
        for (groups, mounts) in [("", ""), (v1, v2_mounts), (v2, ""), ("nonsense", "nonsense - x")]
        {
            assert_eq!(hierarchy("pids", groups, mounts), None, "{groups}");
        }
    }
}
