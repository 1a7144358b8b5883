//! Builds the tree of mounts that a sandbox sees, and enters it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use crate::failure::{Failure, Stage};
use crate::overlay::{Upper, overlay};
use crate::syscall;
use crate::{Mount, Root, Spec};

/// Device nodes that every sandbox has; they are the host's, as a user namespace cannot make any.
pub(crate) const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Links in `/dev`, as name and target.
const DEVICE_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

const NOSUID_NODEV: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// Builds the tree in this process's own mount namespace and makes it the only one. Returns a descriptor of its `/proc`.
///
/// `most_processes` is set as the pid namespace's own `pid_max`; only for kernels where each namespace has its own.
pub(crate) fn enter(spec: &Spec, most_processes: Option<u64>) -> Result<OwnedFd, Failure> {
    // Nothing that the host mounts from now on appears in here, and the other way round.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(Failure::at(Stage::Root, "/"))?;
    let (root, writable) = mount_root(&spec.root)?;
    // The old root keeps the name "/" until pivot_root, so host paths can still be opened; the new one lies on top of it, out of sight.
    move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(Failure::at(Stage::Root, "/"))?;
    let tree = Tree { root, writable };

    let proc = tree.mount_proc(most_processes)?;
    tree.mount_dev(&spec.devices, spec.limits.in_memory)?;
    tree.mount_tmpfs(Path::new("/tmp"), spec.limits.in_memory)?;
    for mount in &spec.mounts {
        tree.mount(mount)?;
    }

    let pivot = || {
        fchdir(&tree.root)?;
        pivot_root(".", ".")?;
        // The old root is now stacked on the new one; without it no host path is left in this namespace.
        unmount(".", UnmountFlags::DETACH)?;
        chdir("/")
    };
    pivot().map_err(Failure::at(Stage::Pivot, "/"))?;
    Ok(proc)
}

/// Mounts the root, unattached, and says whether mount points can be made in it.
fn mount_root(root: &Root) -> Result<(OwnedFd, bool), Failure> {
    match root {
        Root::Overlay { lowers, upper, work } => {
            Ok((overlay(lowers, Some(&Upper { upper, work }), Stage::Root)?, true))
        }
        Root::ReadOnly { lowers } => Ok((mount_layers(lowers, Stage::Root)?, false)),
        Root::Folder { path } => Ok((bind(path, true, Stage::Root)?, true)),
    }
}

fn mount_layers(lowers: &[PathBuf], stage: Stage) -> Result<OwnedFd, Failure> {
    match lowers {
        [only] => bind(only, false, stage),
        several => overlay(several, None, stage),
    }
}

/// Copies the mounts at a host path, unattached.
fn bind(source: &Path, writable: bool, stage: Stage) -> Result<OwnedFd, Failure> {
    let mut attributes = NOSUID_NODEV;
    if !writable {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    // All below as well: the kernel refuses to uncover what lies under the host's own mounts.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let copy = || {
        let tree = open_tree(CWD, source, flags)?;
        syscall::set_mount_attributes(&tree, attributes.bits().into())?;
        Ok(tree)
    };
    copy().map_err(Failure::at(stage, source))
}

/// Mounts a new file system of `kind`, unattached.
fn new_mount(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(&context, *name, *value)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Mounts a new folder in memory, unattached. Without a size it can take half of the machine's memory.
fn new_tmpfs(
    options: &[(&str, &str)],
    size: Option<u64>,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    // Each file costs the kernel about a kilobyte beside what is in it.
    const LEAST_FILES: u64 = 1024;
    const BYTES_PER_FILE: u64 = 4096;
    let limits = size.map(|bytes| {
        // Size 0 would be no limit.
        let files = (bytes / BYTES_PER_FILE).max(LEAST_FILES);
        (bytes.max(1).to_string(), files.to_string())
    });
    let mut options = options.to_vec();
    if let Some((bytes, files)) = &limits {
        options.extend([("size", bytes.as_str()), ("nr_inodes", files)]);
    }
    new_mount("tmpfs", &options, attributes)
}

/// A mount point to find or make.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Folder,
    File,
}

/// The new root while it is being filled.
struct Tree {
    root: OwnedFd,
    /// Whether missing mount points can be made.
    writable: bool,
}

impl Tree {
    /// Mounts `/proc`, read-only: with the user id of the host's root, files such as `/proc/sys/kernel/core_pattern` could be written
    /// without any capability.
    fn mount_proc(&self, most_processes: Option<u64>) -> Result<OwnedFd, Failure> {
        let make = || {
            let attributes = NOSUID_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            let proc = new_mount("proc", &[], attributes)?;
            if let Some(most) = most_processes {
                let file = openat(
                    &proc,
                    "sys/kernel/pid_max",
                    OFlags::WRONLY | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                rustix::io::write(&file, pid_max(most).to_string().as_bytes())?;
            }
            syscall::set_mount_attributes(&proc, MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into())?;
            Ok(proc)
        };
        let proc = make().map_err(Failure::at(Stage::Proc, "/proc"))?;
        self.attach(&proc, Path::new("/proc"), Kind::Folder)?;
        Ok(proc)
    }

    fn mount_dev(&self, devices: &[PathBuf], size: Option<u64>) -> Result<(), Failure> {
        let fail = |name: &str| Failure::at(Stage::Device, Path::new("/dev").join(name));
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let dev = new_tmpfs(&[("mode", "0755"), ("source", "dev")], size, attributes)
            .map_err(fail(""))?;
        for (name, target) in DEVICE_LINKS {
            symlinkat(*target, &dev, *name).map_err(fail(name))?;
        }
        mkdirat(&dev, "pts", Mode::from_raw_mode(0o755)).map_err(fail("pts"))?;
        // The launcher's file mode mask is 0, so modes are taken as given.
        mkdirat(&dev, "shm", Mode::from_raw_mode(0o1777)).map_err(fail("shm"))?;
        self.attach(&dev, Path::new("/dev"), Kind::Folder)?;

        for name in DEVICES {
            self.bind_device(&Path::new("/dev").join(name))?;
        }
        for device in devices {
            self.bind_device(device)?;
        }
        let terminals = new_mount(
            "devpts",
            &[("ptmxmode", "0666"), ("mode", "0620"), ("source", "devpts")],
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        )
        .map_err(fail("pts"))?;
        self.attach(&terminals, Path::new("/dev/pts"), Kind::Folder)
    }

    /// Shows a device node of the host, read-only: that does not keep anyone from writing to the device, but a step with the user id of
    /// the host's root would else change the owner and mode of the host's own node.
    fn bind_device(&self, device: &Path) -> Result<(), Failure> {
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let copy = || {
            let node = open_tree(
                CWD,
                device,
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
            )?;
            syscall::set_mount_attributes(&node, attributes.bits().into())?;
            match FileType::from_raw_mode(fstat(&node)?.st_mode) {
                FileType::CharacterDevice | FileType::BlockDevice if device.starts_with("/dev") => {
                    Ok(node)
                }
                _ => Err(Errno::NODEV),
            }
        };
        let node = copy().map_err(Failure::at(Stage::Device, device))?;
        let place = self.place(device, Kind::File, true)?;
        attach(&node, &place).map_err(Failure::at(Stage::Device, device))
    }

    fn mount_tmpfs(&self, target: &Path, size: Option<u64>) -> Result<(), Failure> {
        let tree = new_tmpfs(&[("mode", "1777"), ("source", "tmpfs")], size, NOSUID_NODEV)
            .map_err(Failure::at(Stage::Tmpfs, target))?;
        self.attach(&tree, target, Kind::Folder)
    }

    fn mount(&self, mount: &Mount) -> Result<(), Failure> {
        match mount {
            Mount::Bind { source, target, writable } => {
                let tree = bind(source, *writable, Stage::Mount)?;
                let stat = fstat(&tree).map_err(Failure::at(Stage::Mount, source))?;
                let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                self.attach(&tree, target, if folder { Kind::Folder } else { Kind::File })
            }
            Mount::Layers { lowers, target } => {
                self.attach(&mount_layers(lowers, Stage::Mount)?, target, Kind::Folder)
            }
            Mount::Tmpfs { target, size } => self.mount_tmpfs(target, Some(*size)),
        }
    }

    fn attach(&self, tree: &OwnedFd, target: &Path, kind: Kind) -> Result<(), Failure> {
        let place = self.place(target, kind, self.writable)?;
        attach(tree, &place).map_err(Failure::at(Stage::MountPoint, target))
    }

    /// Opens the mount point `target`; makes it, and the folders above it, where `make` allows and it is missing.
    ///
    /// A step before may have put any symbolic link here. Links are followed inside the root, and those of `/proc`, which lead to
    /// whatever this process has open, are not.
    fn place(&self, target: &Path, kind: Kind, make: bool) -> Result<OwnedFd, Failure> {
        let fail = Failure::at(Stage::MountPoint, target);
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        if kind == Kind::Folder {
            flags |= OFlags::DIRECTORY;
        }
        let find = || open_inside(&self.root, target, flags);
        match find() {
            Err(Errno::NOENT) if make => {}
            found => return found.map_err(fail),
        }
        let (Some(above), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(fail(Errno::INVAL));
        };
        let folder = self.place(above, Kind::Folder, make)?;
        match kind {
            Kind::Folder => mkdirat(&folder, name, Mode::from_raw_mode(0o755)),
            Kind::File => {
                let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                openat(&folder, name, new, Mode::from_raw_mode(0o644)).map(drop)
            }
        }
        .and_then(|()| find())
        .map_err(fail)
    }
}

/// Opens `path` inside `root`, wherever links in it point to; links of `/proc` that lead to what a process has open are refused.
pub(crate) fn open_inside(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    // With `..` in the path the kernel asks to try again whenever anything was mounted or renamed meanwhile, on the whole machine.
    const MOST_TRIES: u32 = 10_000;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 1..MOST_TRIES {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    openat2(root, path, flags, Mode::empty(), resolve)
}

fn attach(tree: impl AsFd, place: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", place, "", flags)
}

/// The first process id that is not given out, so that `most` processes fit: the kernel keeps the first 300 for itself once it has
/// gone round, and takes nothing below 301 or above its own limit.
fn pid_max(most: u64) -> u64 {
    const RESERVED: u64 = 300;
    const KERNEL_LIMIT: u64 = 4 * 1024 * 1024;
    most.saturating_add(RESERVED).clamp(RESERVED + 1, KERNEL_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::pid_max;

    #[test]
    fn pid_max_stays_in_the_kernels_range() {
        for (most, expected) in [(0, 301), (1, 301), (64, 364), (4096, 4396), (u64::MAX, 4_194_304)]
        {
            assert_eq!(pid_max(most), expected, "{most}");
        }
    }
}
