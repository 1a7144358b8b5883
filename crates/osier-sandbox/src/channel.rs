//! Carries messages with descriptors over a socket pair that keeps message boundaries.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::ending::{Exit, Used};
use crate::failure::Failure;

/// Most descriptors in one message: spec, reply socket, three streams, two of the jobserver, the control group.
const MOST_DESCRIPTORS: usize = 8;

/// Most bytes in one reply: a path of 4096 bytes, written as an array of numbers, fits.
const REPLY_BYTES: usize = 32 * 1024;

/// What the launcher and a sandbox's first process tell the caller, on the reply socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// From the launcher: the first process exists, with this id; its pidfd comes along.
    Born { pid: u32 },
    /// From either: the command was not started.
    Failed(Failure),
    /// From the first process: the command's program has been executed; a person's side of its terminal comes along.
    Running,
    /// From the first process, now and then: what all have used so far.
    Used(Used),
    /// From the first process: all is over.
    Ended(Exit),
}

/// Makes a connected pair of sockets.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends one message with its descriptors.
pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL))
        .map(drop)
}

/// Receives one message into `buffer`, with its descriptors; 0 bytes mean that the other side is gone.
pub(crate) fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        })
        .flatten()
        .collect();
    Ok((received.bytes, descriptors))
}

/// Sends a reply. That nobody listens any more is no error: the caller has dropped the sandbox and kills it.
pub(crate) fn reply(socket: impl AsFd, reply: &Reply, descriptors: &[BorrowedFd<'_>]) {
    if let Ok(text) = serde_json::to_vec(reply) {
        let _ = send(socket, &text, descriptors);
    }
}

/// Sends a reply that can be done without: not at all where the caller has not taken those before.
pub(crate) fn reply_if_heard(socket: impl AsFd, reply: &Reply) {
    if let Ok(text) = serde_json::to_vec(reply) {
        let _ = rustix::net::send(socket, &text, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }
}

/// Receives a reply with the descriptor that comes along; `None` when the other side is gone.
pub(crate) fn receive_reply(socket: impl AsFd) -> Result<Option<(Reply, Option<OwnedFd>)>, Errno> {
    let mut buffer = vec![0; REPLY_BYTES];
    let (length, descriptors) = match receive(socket, &mut buffer) {
        Ok(received) => received,
        Err(Errno::CONNRESET) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    if length == 0 {
        return Ok(None);
    }
    let reply = serde_json::from_slice(&buffer[..length]).map_err(|_| Errno::BADMSG)?;
    Ok(Some((reply, descriptors.into_iter().next())))
}
