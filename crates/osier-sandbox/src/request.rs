//! What the caller asks of the launcher, and what all sandboxes of one launcher share.

use std::os::fd::{OwnedFd, RawFd};

use libc::sock_filter;
use rustix::io::Errno;
use rustix::process::Rlimit;

use crate::{Isolation, Network, PidsLimit, filter};

/// The numbers of the jobserver's descriptors inside a sandbox. No shell can write them in a redirection by accident: scripts use 3 to 9, and
/// shells take their own from 10 and from 63 and 255 downwards.
pub const JOBSERVER: [RawFd; 2] = [98, 99];

// Bits of a request's only byte; bits 0 to 2 say which streams come along.
pub(crate) const HOST_NETWORK: u8 = 3;
pub(crate) const DEGRADED: u8 = 4;
pub(crate) const JOBSERVER_BIT: u8 = 5;
pub(crate) const GROUP: u8 = 6;

/// What the caller asks for.
pub(crate) struct Request {
    pub(crate) spec: OwnedFd,
    pub(crate) replies: OwnedFd,
    pub(crate) streams: [Option<OwnedFd>; 3],
    pub(crate) jobserver: Option<[OwnedFd; 2]>,
    /// To write `0` to, for moving into the control group.
    pub(crate) group: Option<OwnedFd>,
    pub(crate) isolation: Isolation,
    pub(crate) network: Network,
}

impl Request {
    pub(crate) fn parse(header: u8, descriptors: Vec<OwnedFd>) -> Option<Request> {
        let mut descriptors = descriptors.into_iter();
        let (spec, replies) = (descriptors.next()?, descriptors.next()?);
        let mut streams = [None, None, None];
        for (bit, stream) in streams.iter_mut().enumerate() {
            if header & (1 << bit) != 0 {
                *stream = Some(descriptors.next()?);
            }
        }
        let jobserver = match header & (1 << JOBSERVER_BIT) {
            0 => None,
            _ => Some([descriptors.next()?, descriptors.next()?]),
        };
        let group = if header & (1 << GROUP) == 0 { None } else { Some(descriptors.next()?) };
        let network = if header & (1 << HOST_NETWORK) == 0 { Network::None } else { Network::Host };
        let isolation =
            if header & (1 << DEGRADED) == 0 { Isolation::Full } else { Isolation::Degraded };
        Some(Request { spec, replies, streams, jobserver, group, isolation, network })
    }
}

/// What every sandbox of one launcher shares; each has its own copy, as a clone of the launcher.
pub(crate) struct Settings {
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// The limit on open files before the launcher raised its own.
    pub(crate) open_files: Rlimit,
    pub(crate) pids_limit: PidsLimit,
    pub(crate) limit_events: Option<OwnedFd>,
    pub(crate) filters: Filters,
    /// Readable when a child of the process that reads it has ended.
    pub(crate) signals: OwnedFd,
    /// Readable when the launcher has ended.
    pub(crate) launcher: OwnedFd,
}

impl Settings {
    pub(crate) fn filter(&self, isolation: Isolation, network: Network) -> &[sock_filter] {
        match (isolation, network) {
            (_, Network::Host) => &self.filters.host_network,
            (Isolation::Full, Network::None) => &self.filters.full,
            (Isolation::Degraded, Network::None) => &self.filters.degraded,
        }
    }
}

/// The system call filters, made once.
pub(crate) struct Filters {
    full: Vec<sock_filter>,
    degraded: Vec<sock_filter>,
    host_network: Vec<sock_filter>,
}

impl Filters {
    pub(crate) fn new() -> Result<Filters, Errno> {
        Ok(Filters {
            full: filter::program(Isolation::Full, Network::None)?,
            degraded: filter::program(Isolation::Degraded, Network::None)?,
            host_network: filter::program(Isolation::Full, Network::Host)?,
        })
    }
}
