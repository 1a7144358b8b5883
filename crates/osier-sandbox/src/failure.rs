//! What went wrong in the sandbox's first processes, in a form that crosses the process wall.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::os_text;

/// The part of the set-up at which a sandbox failed to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// Reading the spec: a host path is not absolute, a name holds a zero byte, the command is empty.
    Request,
    /// Making the namespaces; with `EPERM` or `ENOSPC` the host does not let this user have them.
    Namespaces,
    /// Mapping the user to 0.
    IdMap,
    /// Opening a layer, upper or work folder.
    Layer,
    /// Mounting the root.
    Root,
    /// Finding a mount point in the root, or making it.
    MountPoint,
    /// Mounting `/proc`.
    Proc,
    /// Making `/dev`.
    Device,
    /// Mounting a folder in memory.
    Tmpfs,
    /// Binding a file or folder of the host, or mounting several folders as one.
    Mount,
    /// Changing to the new root.
    Pivot,
    /// Setting the host name.
    HostName,
    /// Bringing up the loopback interface.
    Loopback,
    /// Setting a resource limit.
    Limit,
    /// Giving up capabilities.
    Privileges,
    /// Installing the system call filter.
    Filter,
    /// Starting the command's process.
    Fork,
    /// Laying out standard input, output and error, session and terminal.
    Stdio,
    /// Changing to the working folder.
    Folder,
    /// Executing the program: not found, not executable, arguments and environment too long.
    Exec,
    /// Finding the interpreter that the program (a script or a dynamically linked program) names.
    Interpreter,
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Stage::Request => "read the sandbox's specification",
            Stage::Namespaces => "make namespaces",
            Stage::IdMap => "map the user to 0",
            Stage::Layer => "open the layer",
            Stage::Root => "mount the root",
            Stage::MountPoint => "find or make the mount point",
            Stage::Proc => "mount /proc",
            Stage::Device => "make the device",
            Stage::Tmpfs => "mount a folder in memory at",
            Stage::Mount => "mount",
            Stage::Pivot => "change to the new root",
            Stage::HostName => "set the host name",
            Stage::Loopback => "bring up the loopback interface",
            Stage::Limit => "set a resource limit",
            Stage::Privileges => "give up capabilities",
            Stage::Filter => "install the system call filter",
            Stage::Fork => "start the command's process",
            Stage::Stdio => "set up the standard streams",
            Stage::Folder => "enter the working folder",
            Stage::Exec => "execute",
            Stage::Interpreter => "find the interpreter of the program",
        })
    }
}

/// One failed stage; `path` is empty where none is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) errno: i32,
    #[serde(with = "os_text::one")]
    pub(crate) path: PathBuf,
}

impl Failure {
    /// Makes the conversion for one stage and path, for `map_err`.
    pub(crate) fn at(stage: Stage, path: impl AsRef<Path>) -> impl FnOnce(Errno) -> Failure {
        move |errno| Failure {
            stage,
            errno: errno.raw_os_error(),
            path: path.as_ref().to_path_buf(),
        }
    }
}
