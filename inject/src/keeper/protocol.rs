//! Messages with descriptors, over a pair of sockets: unix(7), `SOCK_SEQPACKET`, `SCM_RIGHTS`.

use super::disks::DiskOrder;
use super::start::Start;
use crate::cgroup::Device;
use crate::disk::DiskKind;
use crate::error::{Error, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the keeper is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Starting a program.
    Start(Start),
    /// Something of a disk.
    Disk(DiskOrder),
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The host's first process is there.
    Started,
    /// It is done.
    Done,
    /// A disk has been made, or is there again: of what, and on which device if it has one.
    Disk(DiskKind, Option<Device>),
    /// A fault is in force.
    Fault { id: u64, mechanism: String },
    /// A number that was asked for.
    Count(u64),
    /// It could not be done.
    Refused(String),
}

impl Answer {
    pub(super) fn unexpected(self) -> Error {
        Error::unlike("talk to the keeper", "another answer", format!("{self:?}"))
    }
}

/// Longest message. Linux's default for a socket's buffer is 208 KiB (`net.core.wmem_default`).
const MESSAGE_BYTES_MAX: usize = 160 << 10;
/// Most descriptors of one message.
const FDS_MAX: usize = 8;

/// Two ends.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|error| Error::os("make a pair of sockets", error))
}

pub(super) fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let bytes = serde_json::to_vec(message).map_err(|error| Error::os("write a message", error))?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        let wanted = format!("{} bytes of arguments and environment", bytes.len());
        return Err(Error::unlike("send a message", wanted, format!("no more than {MESSAGE_BYTES_MAX} fit")));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Error::unlike("send descriptors", fds.len().to_string(), format!("no more than {FDS_MAX} fit")));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)
        .map_err(|error| Error::os("send a message", error))?;
    Ok(())
}

/// The next message with its descriptors; nothing when the other end is gone.
pub(super) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        match recvmsg(&socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received.bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::os("receive a message", error)),
        }
    };
    if received == 0 {
        return Ok(None);
    }
    let fds = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    let message = serde_json::from_slice(&bytes[..received]).map_err(|error| Error::os("read a message", error))?;
    Ok(Some((message, fds)))
}
