//! Finds out what this host lets osier do, by doing it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, open, statfs};
use rustix::io::Errno;
use rustix::process::{chroot, geteuid};

use crate::groups::Groups;
use crate::privileges::errno_of;
use crate::syscall::errno_in_child;
use crate::{Launcher, PidsLimit, Root, SpawnError, Spec, Stage, Stdio, syscall};

/// What a host can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// User namespaces for this user, with this user mapped to 0.
    UserNamespace,
    /// Mount, pid, ipc, uts, cgroup and network namespaces inside one.
    OtherNamespaces,
    /// Overlay mounts in the scratch folder, for this user.
    Overlay,
    /// The rest of a sandbox: `/proc`, `/dev`, the loopback interface, the system call filter.
    Sandbox,
    /// A limit on the number of processes.
    PidsLimit,
    /// A limit on the memory of a whole sandbox.
    MemoryLimit,
    /// Hardware virtualisation through `/dev/kvm`. That guests run well is for a boot to prove.
    Kvm,
    /// The rights to change the root folder and to make a device in the scratch folder, which the degraded mode needs.
    Degraded,
}

/// What was found about one feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was tried and works.
    Works,
    /// It was tried and fails.
    Missing {
        /// The system's error number; 0 where there is none.
        errno: i32,
        /// Why, as far as it can be known.
        reason: Reason,
    },
    /// It could not be tried, as what it needs is missing.
    Untried,
}

/// Why a feature is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The kernel was built without it, or is too old.
    Kernel,
    /// `user.max_user_namespaces` is 0 or used up.
    MaxUserNamespaces,
    /// `kernel.unprivileged_userns_clone` is 0.
    UnprivilegedUserNamespaces,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1.
    AppArmor,
    /// A container's own filter or missing rights forbid it.
    Container,
    /// The container covers parts of `/proc`, and the kernel then gives out no other.
    MaskedProc,
    /// The folder lies on an overlay itself.
    OverlayOnOverlay,
    /// The file system of the folder does not do for an overlay.
    FileSystem,
    /// The scratch folder cannot be used at all.
    Scratch,
    /// Such a device does not exist here.
    NoDevice,
    /// No device can be made, or none that is made can be opened.
    NoDevices,
    /// This user may not open the device.
    NoPermission,
    /// Only root can have it.
    NeedsRoot,
    /// No control group can be made.
    NoControlGroup,
    /// No control group for memory can be made.
    NoMemoryGroup,
    /// Nothing that can be told from the error.
    Unknown,
}

impl Reason {
    /// Says what to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Reason::Kernel => "use Linux 5.12 or later with user namespaces, overlayfs and seccomp",
            Reason::MaxUserNamespaces => "as root: sysctl user.max_user_namespaces=10000",
            Reason::UnprivilegedUserNamespaces => {
                "as root: sysctl kernel.unprivileged_userns_clone=1"
            }
            Reason::AppArmor => {
                "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give osier an AppArmor profile with userns"
            }
            Reason::Container => {
                "start the container so that it allows user namespaces and mounts, for Docker with --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
            }
            Reason::MaskedProc => {
                "start the container with an unmasked /proc, for Docker with --security-opt systempaths=unconfined"
            }
            Reason::OverlayOnOverlay => "put the store on a volume that is a real file system",
            Reason::FileSystem => "put the store on ext4, xfs, btrfs or tmpfs",
            Reason::Scratch => "name a folder that this user can write to",
            Reason::NoDevice => {
                "osier emulates boots, which is slower; for KVM, switch on virtualisation in the host or its hypervisor"
            }
            Reason::NoDevices => {
                "degraded mode makes its own devices: put the store on a file system without nodev, and start the container with the right to make them, for Docker --cap-add MKNOD"
            }
            Reason::NoPermission => {
                "add the user to the group of /dev/kvm, usually kvm, and log in again"
            }
            Reason::NeedsRoot => "run as root, or allow user namespaces",
            Reason::NoControlGroup => {
                "mount the control group file system so that osier can write to it, or use Linux 6.14 or later"
            }
            Reason::NoMemoryGroup => {
                "osier cannot limit the memory of steps: the kernel ends one only when the machine has none left; as an ordinary user start osier with `systemd-run --user --scope`, in a container let it write to /sys/fs/cgroup"
            }
            Reason::Unknown => "see the error number",
        }
    }
}

/// What a host can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReport {
    /// The kernel's release.
    pub kernel: String,
    /// Whether this is the host's or the container's root.
    pub root: bool,
    /// How the number of processes is limited.
    pub pids_limit: PidsLimit,
    /// Every feature, in the order of [`Feature`].
    pub outcomes: Vec<(Feature, Outcome)>,
}

impl HostReport {
    /// Tells what was found about one feature.
    pub fn outcome(&self, feature: Feature) -> &Outcome {
        let found = self.outcomes.iter().find(|(known, _)| *known == feature);
        found.map_or(&Outcome::Untried, |(_, outcome)| outcome)
    }

    /// Whether steps can run fully isolated, on overlay layers.
    pub fn full(&self) -> bool {
        *self.outcome(Feature::Sandbox) == Outcome::Works
            && *self.outcome(Feature::Overlay) == Outcome::Works
    }
}

/// Tries everything; `scratch` is a folder on the file system where layers will lie. What is made in it is removed again.
pub fn probe(scratch: &Path) -> HostReport {
    let user_namespace = try_user_namespace();
    let (overlay, sandbox, pids_limit) = match &user_namespace {
        Outcome::Works => try_sandboxes(scratch),
        _ => (Outcome::Untried, Outcome::Untried, PidsLimit::None),
    };
    let other = match (&sandbox, &overlay) {
        (Outcome::Works, _) | (_, Outcome::Works) => Outcome::Works,
        (Outcome::Missing { .. }, _) => sandbox.clone(),
        _ => Outcome::Untried,
    };
    let limited = match (&user_namespace, pids_limit) {
        (Outcome::Works, PidsLimit::None) => missing(0, Reason::NoControlGroup),
        (Outcome::Works, _) => Outcome::Works,
        _ => Outcome::Untried,
    };
    HostReport {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        root: geteuid().is_root(),
        pids_limit,
        outcomes: vec![
            (Feature::UserNamespace, user_namespace),
            (Feature::OtherNamespaces, other),
            (Feature::Overlay, overlay),
            (Feature::Sandbox, sandbox),
            (Feature::PidsLimit, limited),
            (Feature::MemoryLimit, try_memory_limit()),
            (Feature::Kvm, try_kvm()),
            (Feature::Degraded, probe_degraded(scratch)),
        ],
    }
}

/// Makes a control group for memory and moves a process into it.
fn try_memory_limit() -> Outcome {
    match Groups::make(None) {
        Ok(_) => Outcome::Works,
        Err(error) => missing(errno_of(&error).raw_os_error(), Reason::NoMemoryGroup),
    }
}

fn missing(errno: i32, reason: Reason) -> Outcome {
    Outcome::Missing { errno, reason }
}

/// Makes a user namespace in a child that ends at once.
fn try_user_namespace() -> Outcome {
    match errno_in_child(|| {
        // SAFETY: a forked child has one thread, and this changes nothing of its memory or descriptors.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) }
    }) {
        0 => Outcome::Works,
        errno => missing(errno, namespace_reason(errno)),
    }
}

fn namespace_reason(errno: i32) -> Reason {
    let is =
        |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if errno == libc::ENOSPC
        || errno == libc::EUSERS
        || is("/proc/sys/user/max_user_namespaces", "0")
    {
        Reason::MaxUserNamespaces
    } else if errno == libc::EINVAL || errno == libc::ENOSYS {
        Reason::Kernel
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        Reason::UnprivilegedUserNamespaces
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        Reason::AppArmor
    } else if errno == libc::EPERM || errno == libc::EACCES {
        Reason::Container
    } else {
        Reason::Unknown
    }
}

/// Tries one sandbox with all walls, on an overlay in `scratch`, by a launcher that runs already: what a build does before it begins
/// something long. What is made in `scratch` is removed again.
pub fn probe_full(launcher: &Launcher, scratch: &Path) -> Outcome {
    match Scratch::make(scratch) {
        Ok(folder) => try_sandbox(launcher, folder.overlay(), scratch),
        Err(error) => missing(errno_of(&error).raw_os_error(), Reason::Scratch),
    }
}

/// Tries an overlay, then, where that fails, a sandbox without one.
fn try_sandboxes(scratch: &Path) -> (Outcome, Outcome, PidsLimit) {
    let Ok(launcher) = Launcher::start() else {
        return (Outcome::Untried, missing(libc::EAGAIN, Reason::Unknown), PidsLimit::None);
    };
    let limit = launcher.pids_limit();
    let folder = match Scratch::make(scratch) {
        Ok(folder) => folder,
        Err(error) => {
            return (
                missing(errno_of(&error).raw_os_error(), Reason::Scratch),
                Outcome::Untried,
                limit,
            );
        }
    };
    match try_sandbox(&launcher, folder.overlay(), scratch) {
        Outcome::Works => (Outcome::Works, Outcome::Works, limit),
        failed => match try_sandbox(&launcher, Root::Folder { path: folder.lower() }, scratch) {
            Outcome::Works => (failed, Outcome::Works, limit),
            also => (Outcome::Untried, also, limit),
        },
    }
}

/// Runs a program that is not there: to fail at that is to have passed all else.
fn try_sandbox(launcher: &Launcher, root: Root, scratch: &Path) -> Outcome {
    let spec = Spec::new(root, vec![OsString::from("/no-program")]);
    match launcher.spawn(&spec, Stdio::default()) {
        Err(SpawnError::Stage { stage: Stage::Exec, errno: libc::ENOENT, .. }) => Outcome::Works,
        Err(SpawnError::Stage { stage, errno, .. }) => {
            missing(errno, sandbox_reason(stage, errno, scratch))
        }
        Err(_) | Ok(_) => missing(0, Reason::Unknown),
    }
}

fn sandbox_reason(stage: Stage, errno: i32, scratch: &Path) -> Reason {
    const OVERLAY_MAGIC: i64 = 0x794c_7630;
    match (stage, errno) {
        (Stage::Layer, _) => Reason::Scratch,
        (Stage::Root, libc::EINVAL | libc::EOPNOTSUPP) => match statfs(scratch) {
            Ok(found) if found.f_type == OVERLAY_MAGIC => Reason::OverlayOnOverlay,
            _ => Reason::FileSystem,
        },
        (Stage::Root, libc::ENODEV) | (_, libc::ENOSYS) => Reason::Kernel,
        (Stage::Proc, libc::EPERM) => match namespace_reason(errno) {
            Reason::AppArmor => Reason::AppArmor,
            _ => Reason::MaskedProc,
        },
        _ => namespace_reason(errno),
    }
}

fn try_kvm() -> Outcome {
    match open("/dev/kvm", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(device) if kvm_version(&device) == Some(KVM_VERSION) => Outcome::Works,
        Ok(_) => missing(0, Reason::Unknown),
        Err(Errno::ACCESS | Errno::PERM) => missing(libc::EACCES, Reason::NoPermission),
        Err(errno) => missing(errno.raw_os_error(), Reason::NoDevice),
    }
}

/// The version of the interface that every kernel since 2007 has.
const KVM_VERSION: i32 = 12;

fn kvm_version(device: &OwnedFd) -> Option<i32> {
    syscall::kvm_version(device).ok()
}

/// Tries what the degraded mode needs: to change the root folder, in a child that ends at once, and to make and open a device. What is
/// made in `scratch` is removed again.
pub fn probe_degraded(scratch: &Path) -> Outcome {
    let errno = errno_in_child(|| chroot("/"));
    if errno != 0 {
        return missing(errno, Reason::NeedsRoot);
    }
    let Ok(folder) = Scratch::make(scratch) else {
        return missing(0, Reason::Scratch);
    };
    let null = folder.0.join("lower/dev/null");
    let made =
        mknodat(CWD, &null, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, makedev(1, 3))
            .and_then(|()| open(&null, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()));
    match made {
        Ok(_) => Outcome::Works,
        Err(errno) => missing(errno.raw_os_error(), Reason::NoDevices),
    }
}

/// A folder for the time of a probe.
struct Scratch(PathBuf);

impl Scratch {
    fn make(above: &Path) -> io::Result<Scratch> {
        let above = fs::canonicalize(above)?;
        let scratch = Scratch(above.join(format!(".osier-probe-{}", std::process::id())));
        for folder in ["lower/proc", "lower/dev", "lower/tmp", "upper", "work"] {
            fs::create_dir_all(scratch.0.join(folder))?;
        }
        Ok(scratch)
    }

    fn lower(&self) -> PathBuf {
        self.0.join("lower")
    }

    fn overlay(&self) -> Root {
        Root::Overlay {
            lowers: vec![self.lower()],
            upper: self.0.join("upper"),
            work: self.0.join("work"),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Overlayfs leaves a folder without any permission in `work`.
        let _ = fs::remove_dir(self.0.join("work/work"));
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_found_out() {
        let scratch = tempfile::tempdir().unwrap();
        let report = probe(scratch.path());
        // The tests of this crate need these; a host without them cannot have passed the others.
        for feature in [
            Feature::UserNamespace,
            Feature::OtherNamespaces,
            Feature::Overlay,
            Feature::Sandbox,
            Feature::PidsLimit,
        ] {
            assert_eq!(report.outcome(feature), &Outcome::Works, "{feature:?}");
        }
        assert!(report.full());
        assert_eq!(report.outcome(Feature::Degraded) == &Outcome::Works, report.root);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left");
        let order: Vec<Feature> = report.outcomes.iter().map(|(feature, _)| *feature).collect();
        assert!(order.is_sorted() && order.len() == 8);
    }

    #[test]
    fn a_bad_scratch_folder_is_told() {
        let report = probe(Path::new("/no/such/folder"));
        assert_eq!(report.outcome(Feature::Overlay), &missing(libc::ENOENT, Reason::Scratch));
        assert!(!report.full());
    }

    #[test]
    fn file_systems_that_take_no_overlay_are_told() {
        // /proc is such a one; it cannot even be written to, so only the reason is looked at.
        assert_eq!(
            sandbox_reason(Stage::Root, libc::EINVAL, Path::new("/proc")),
            Reason::FileSystem
        );
        assert_eq!(sandbox_reason(Stage::Proc, libc::EPERM, Path::new("/")), Reason::MaskedProc);
        assert_eq!(sandbox_reason(Stage::Root, libc::ENODEV, Path::new("/")), Reason::Kernel);
        assert_eq!(namespace_reason(libc::ENOSPC), Reason::MaxUserNamespaces);
        assert_eq!(namespace_reason(libc::EINVAL), Reason::Kernel);
    }
}
