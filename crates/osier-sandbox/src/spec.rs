//! What to run, in which root, with which walls.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::os_text;

/// Says everything that one sandbox needs to know; the process sees nothing else.
///
/// All host paths are absolute. Names need not be UTF-8; in JSON such a name is an array of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// How strong the walls are.
    pub isolation: Isolation,
    /// The root file system.
    pub root: Root,
    /// What is mounted into the root beside `/proc`, `/dev` and `/tmp`, in this order.
    pub mounts: Vec<Mount>,
    /// Program and arguments. A program without `/` is looked up in the `PATH` of `environment`, inside the root.
    #[serde(with = "os_text::list")]
    pub command: Vec<OsString>,
    /// The whole environment; nothing is inherited.
    #[serde(with = "os_text::pairs")]
    pub environment: Vec<(OsString, OsString)>,
    /// Working folder, inside the root.
    #[serde(with = "os_text::one")]
    pub folder: PathBuf,
    /// Host name inside.
    pub host_name: String,
    /// Device nodes of the host to show beside the usual ones, such as `/dev/kvm`. Each lies under `/dev`.
    #[serde(with = "os_text::list")]
    pub devices: Vec<PathBuf>,
    /// What the process can reach by network.
    pub network: Network,
    /// Gives the command a terminal of its own, of this size, which is its three streams and its controlling terminal; a person's side of
    /// it comes with the sandbox ([`Running::take_terminal`](crate::Running::take_terminal)). `None` for the streams of the call.
    pub terminal: Option<TerminalSize>,
    /// Resource limits.
    pub limits: Limits,
}

impl Spec {
    /// Makes a spec with full isolation, no further mounts, an empty environment, `/` as folder, host name `osier`, no network.
    pub fn new(root: Root, command: Vec<OsString>) -> Spec {
        Spec {
            isolation: Isolation::Full,
            root,
            mounts: Vec::new(),
            command,
            environment: Vec::new(),
            folder: PathBuf::from("/"),
            host_name: String::from("osier"),
            devices: Vec::new(),
            network: Network::None,
            terminal: None,
            limits: Limits::default(),
        }
    }
}

/// How many characters a terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// How strong the walls around the process are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Isolation {
    /// Own user, mount, pid, ipc, uts, cgroup and network namespaces.
    #[default]
    Full,
    /// No namespaces: `chroot`, and a filter that refuses all sockets but local ones. Needs the right to `chroot`.
    ///
    /// What is lost: other processes of the host are visible, a program with the rights of the same user outside is not walled off from
    /// signals, `/proc` and `/dev` are the host's where the caller put them, limits count for the whole user. Results must not be shared.
    Degraded,
}

/// The root file system of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// Layers below, changes go to `upper`. Mount points that no layer has are made in `upper` and stay there.
    Overlay {
        /// The layers, the topmost first; at least one.
        #[serde(with = "os_text::list")]
        lowers: Vec<PathBuf>,
        /// Where changes go; on a file system that overlayfs accepts, not itself an overlay.
        #[serde(with = "os_text::one")]
        upper: PathBuf,
        /// An empty folder on the file system of `upper`.
        #[serde(with = "os_text::one")]
        work: PathBuf,
    },
    /// Layers that nothing can change. They must have every mount point: `/proc`, `/dev`, `/tmp` and the targets of all mounts.
    ReadOnly {
        /// The layers, the topmost first; at least one.
        #[serde(with = "os_text::list")]
        lowers: Vec<PathBuf>,
    },
    /// One plain folder that is changed in place; the only root of the degraded mode, and good for a shell in a copied tree.
    Folder {
        /// The folder.
        #[serde(with = "os_text::one")]
        path: PathBuf,
    },
}

/// Something mounted into the root. Targets are inside the root; symbolic links in them are followed inside the root only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount {
    /// A file or folder of the host, with all that is mounted below it.
    Bind {
        /// The host's file or folder.
        #[serde(with = "os_text::one")]
        source: PathBuf,
        /// Where it appears.
        #[serde(with = "os_text::one")]
        target: PathBuf,
        /// Whether the process may change it.
        writable: bool,
    },
    /// Several folders of the host as one, read-only.
    Layers {
        /// The folders, the topmost first; at least one.
        #[serde(with = "os_text::list")]
        lowers: Vec<PathBuf>,
        /// Where they appear.
        #[serde(with = "os_text::one")]
        target: PathBuf,
    },
    /// An empty folder in memory, mode 1777.
    Tmpfs {
        /// Where it appears.
        #[serde(with = "os_text::one")]
        target: PathBuf,
        /// Most bytes it can hold.
        size: u64,
    },
}

/// What the process can reach by network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Network {
    /// A network of its own with nothing but a loopback interface, which is up.
    #[default]
    None,
    /// The host's network; for fetching only.
    Host,
}

/// Resource limits of the sandbox; `None` keeps what the launcher had at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Most processes and threads at one time, the sandbox's own first process included.
    pub processes: Option<u64>,
    /// Most open files of one process.
    pub open_files: Option<u64>,
    /// Most bytes of address space of one process.
    pub address_space: Option<u64>,
    /// Most bytes in one written file.
    pub file_size: Option<u64>,
    /// Most bytes that `/tmp` can hold, and likewise `/dev` with `/dev/shm`; they are memory. Not in the degraded mode, where they lie in
    /// the root folder.
    pub in_memory: Option<u64>,
    /// Most bytes of memory of all processes together, with what their files in memory hold, where a control group can be made.
    pub memory: Option<u64>,
    /// Whether they may use swap beside it.
    pub swap: bool,
    /// Most bytes of memory of all sandboxes of the launcher together, likewise; the first one that says so counts.
    pub memory_together: Option<u64>,
    /// Whether [`Running::next_word`](crate::Running::next_word) tells each second what the processes have used.
    pub tell_usage: bool,
}
