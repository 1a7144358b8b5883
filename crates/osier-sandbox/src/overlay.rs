//! Mounts layers as one tree.
//!
//! Each layer is opened first and named to the kernel as `/proc/self/fd/N`. So long names, names with commas, colons or bytes that are not
//! UTF-8 all work, hundreds of them fit into the one page of options that the older interface has, and the list of mounts that a step
//! can read holds no path of the host.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, open_tree,
    unmount,
};
use rustix::process::chdir;

use crate::failure::{Failure, Stage};

/// What the list of mounts shows as the source.
const SOURCE: &str = "osier";

/// The folders where changes go.
pub(crate) struct Upper<'a> {
    pub(crate) upper: &'a Path,
    pub(crate) work: &'a Path,
}

struct Layers {
    lowers: Vec<OwnedFd>,
    /// Upper and work.
    upper: Option<(OwnedFd, OwnedFd)>,
}

/// Mounts `lowers` (the topmost first, at least one) and what goes above them; the result is not attached to any folder yet.
///
/// `userxattr` always, so that marks in a layer mean the same whoever made it; with it the kernel keeps `redirect_dir` and `metacopy` off.
pub(crate) fn overlay(
    lowers: &[PathBuf],
    upper: Option<&Upper<'_>>,
    stage: Stage,
) -> Result<OwnedFd, Failure> {
    let culprit = upper.map_or_else(|| lowers[0].clone(), |upper| upper.upper.to_path_buf());
    let layers = Layers {
        lowers: lowers.iter().map(|path| open_layer(path)).collect::<Result<_, _>>()?,
        upper: match upper {
            Some(Upper { upper, work }) => Some((open_layer(upper)?, open_layer(work)?)),
            None => None,
        },
    };
    match layers.mount_by_descriptor() {
        Ok(tree) => Ok(tree),
        Err(Unmounted::NoSuchOption) => {
            layers.mount_by_options(&lowers[0]).map_err(Failure::at(stage, culprit))
        }
        Err(Unmounted::Failed(errno)) => Err(Failure::at(stage, culprit)(errno)),
    }
}

fn open_layer(path: &Path) -> Result<OwnedFd, Failure> {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Failure::at(Stage::Layer, path))
}

enum Unmounted {
    /// The kernel has no `lowerdir+`; it came with 6.7.
    NoSuchOption,
    Failed(Errno),
}

impl From<Errno> for Unmounted {
    fn from(errno: Errno) -> Unmounted {
        Unmounted::Failed(errno)
    }
}

impl Layers {
    fn mount_by_descriptor(&self) -> Result<OwnedFd, Unmounted> {
        let name = |descriptor: &OwnedFd| format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", SOURCE)?;
        for (index, lower) in self.lowers.iter().enumerate() {
            fsconfig_set_string(&context, "lowerdir+", name(lower)).map_err(
                |errno| match errno {
                    Errno::INVAL if index == 0 => Unmounted::NoSuchOption,
                    errno => Unmounted::Failed(errno),
                },
            )?;
        }
        if let Some((upper, work)) = &self.upper {
            fsconfig_set_string(&context, "upperdir", name(upper))?;
            fsconfig_set_string(&context, "workdir", name(work))?;
        }
        fsconfig_set_flag(&context, "userxattr")?;
        fsconfig_set_string(&context, "index", "off")?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
        Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
    }

    /// The older way, for kernels before 6.7. It can only mount on a folder, so the topmost layer serves for a moment.
    fn mount_by_options(&self, place: &Path) -> Result<OwnedFd, Errno> {
        let name = |descriptor: &OwnedFd| descriptor.as_raw_fd().to_string();
        let lowers: Vec<String> = self.lowers.iter().map(name).collect();
        let mut options = format!("userxattr,index=off,lowerdir={}", lowers.join(":"));
        if let Some((upper, work)) = &self.upper {
            options.push_str(&format!(",upperdir={},workdir={}", name(upper), name(work)));
        }
        let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
        // Numbers alone are the shortest names there are.
        chdir("/proc/self/fd")?;
        mount(
            SOURCE,
            place,
            "overlay",
            MountFlags::NODEV | MountFlags::NOSUID,
            options.as_c_str(),
        )?;
        let tree = open_tree(
            CWD,
            place,
            OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE,
        );
        unmount(place, UnmountFlags::DETACH)?;
        chdir("/")?;
        tree
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::openat;
    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::process::{WaitOptions, getegid, geteuid, waitpid};
    use rustix::thread::{UnshareFlags, unshare_unsafe};

    use super::*;
    use crate::privileges::write_proc;
    use crate::syscall;

    /// Does `work` in a child with its own user and mount namespaces; it says by its result how far it came.
    fn in_namespaces(work: impl FnOnce() -> Result<(), Errno>) {
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        let Some(child) = syscall::fork().unwrap() else {
            let all = || {
                // SAFETY: this process has one thread, and no memory or descriptors are shared.
                unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }?;
                write_proc("/proc/self/uid_map", &format!("0 {user} 1"))?;
                write_proc("/proc/self/setgroups", "deny")?;
                write_proc("/proc/self/gid_map", &format!("0 {group} 1"))?;
                mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
                work()
            };
            syscall::exit_now(all().map_or_else(Errno::raw_os_error, |()| 0))
        };
        let (_, status) = waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(
            status.exit_status(),
            Some(0),
            "{}",
            std::io::Error::from_raw_os_error(status.exit_status().unwrap())
        );
    }

    #[test]
    fn the_older_interface_takes_many_odd_names_too() {
        let scratch = tempfile::tempdir().unwrap();
        let layer =
            |number: usize| scratch.path().join(format!("{number}:,\\ {}", "x".repeat(200)));
        for number in 0..200 {
            fs::create_dir(layer(number)).unwrap();
            fs::write(layer(number).join(format!("file-{number}")), "x").unwrap();
            fs::write(layer(number).join("top"), [u8::try_from(number).unwrap()]).unwrap();
        }
        let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        in_namespaces(|| {
            let open = |path: &Path| {
                open_layer(path).map_err(|failure| Errno::from_raw_os_error(failure.errno))
            };
            let layers = Layers {
                lowers: (0..200).map(|number| open(&layer(number))).collect::<Result<_, _>>()?,
                upper: Some((open(&upper)?, open(&work)?)),
            };
            let tree = layers.mount_by_options(&layer(0))?;
            let mut top = [9; 1];
            rustix::io::read(openat(&tree, "top", OFlags::RDONLY, Mode::empty())?, &mut top)?;
            openat(&tree, "file-199", OFlags::RDONLY, Mode::empty())?;
            openat(&tree, "new", OFlags::WRONLY | OFlags::CREATE, Mode::from_raw_mode(0o644))?;
            // The folder that served as the place for the mount is itself again.
            let place = open(&layer(0))?;
            let uncovered = openat(&place, "file-199", OFlags::RDONLY, Mode::empty()).is_err();
            if top == [0] && uncovered { Ok(()) } else { Err(Errno::BADMSG) }
        });
        assert!(upper.join("new").exists());
    }
}
