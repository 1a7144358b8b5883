//! The degraded mode: a step where namespaces are not to be had.
//!
//! The first process stays outside, as a subreaper that finds the command's descendants in the host's `/proc`. The command changes its
//! root to the one plain folder that it is given and gives up its rights.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, mknodat, open};
use rustix::io::Errno;
use rustix::process::{Signal, chdir, chroot, fchdir, set_parent_process_death_signal, umask};

use crate::failure::{Failure, Stage};
use crate::privileges::{self, errno_of};
use crate::request::Settings;
use crate::tree::{DEVICES, open_inside};
use crate::{Isolation, Root, Spec, syscall};

/// Prepares the first process. Returns a descriptor of the host's `/proc`, in which it finds what the command leaves behind.
pub(crate) fn prepare(spec: &Spec) -> Result<OwnedFd, Failure> {
    root(spec)?;
    syscall::become_subreaper().map_err(Failure::at(Stage::Fork, ""))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open("/proc", flags, Mode::empty()).map_err(Failure::at(Stage::Proc, "/proc"))
}

/// Puts the command's own process into its root, without a way out and without rights.
pub(crate) fn enter(spec: &Spec, settings: &Settings) -> Result<(), Failure> {
    let root = root(spec)?;
    let folder = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Failure::at(Stage::Layer, root))?;
    let usual = DEVICES.iter().map(|name| Path::new("/dev").join(name));
    let devices: Vec<Device> =
        usual.chain(spec.devices.iter().cloned()).map(Device::of_host).collect::<Result<_, _>>()?;
    let change = || {
        fchdir(&folder)?;
        chroot(".")?;
        chdir("/")
    };
    change().map_err(Failure::at(Stage::Pivot, root))?;
    for device in &devices {
        device.make(&folder).map_err(Failure::at(Stage::Device, &device.path))?;
    }
    umask(Mode::from_raw_mode(0o022));
    privileges::give_up(Isolation::Degraded, settings.filter(Isolation::Degraded, spec.network))?;
    // Of the descendants only this one is certain to end with the first process, should that be killed.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::at(Stage::Privileges, ""))
}

/// The only kind of root and mounts that can be had without a mount namespace.
fn root(spec: &Spec) -> Result<&PathBuf, Failure> {
    let unsupported = |path: &Path| Failure::at(Stage::Request, path)(Errno::OPNOTSUPP);
    match (&spec.root, spec.mounts.first()) {
        (Root::Folder { path }, None) => Ok(path),
        (Root::Folder { path }, Some(_)) => Err(unsupported(path)),
        (Root::Overlay { upper, .. }, _) => Err(unsupported(upper)),
        (Root::ReadOnly { lowers }, _) => Err(unsupported(&lowers[0])),
    }
}

/// A device node of the host.
struct Device {
    path: PathBuf,
    kind: FileType,
    number: u64,
}

impl Device {
    fn of_host(path: PathBuf) -> Result<Device, Failure> {
        let found = fs::metadata(&path).map_err(|error| errno_of(&error)).and_then(|host| {
            let kind = FileType::from_raw_mode(host.mode());
            let node = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice)
                && path.starts_with("/dev");
            if node { Ok((kind, host.rdev())) } else { Err(Errno::NODEV) }
        });
        let (kind, number) = found.map_err(Failure::at(Stage::Device, &path))?;
        Ok(Device { path, kind, number })
    }

    /// Makes a like one in `root`, where there is none yet. As everywhere, no link leads out of the root.
    fn make(&self, root: &OwnedFd) -> Result<(), Errno> {
        let (Some(above), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(Errno::NODEV);
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open_inside(root, above, flags)?;
        match mknodat(&folder, name, self.kind, Mode::from_raw_mode(0o666), self.number) {
            Err(Errno::EXIST) => Ok(()),
            made => made,
        }
    }
}
