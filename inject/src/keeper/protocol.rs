//! Messages with descriptors, over a pair of sockets: unix(7), `SOCK_SEQPACKET`, `SCM_RIGHTS`.

use super::disks::DiskOrder;
use super::start::Start;
use crate::cgroup::Device;
use crate::disk::DiskKind;
use crate::error::{Error, Result};
use rustix::fs::MemfdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
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

/// Longest message that goes through the socket: Linux's default for a socket's buffer is 208 KiB
/// (`net.core.wmem_default`). A longer one, whose arguments and environment may be megabytes (execve(2)), is a file
/// without a name, whose descriptor comes last.
const MESSAGE_BYTES_MAX: usize = 160 << 10;
/// What is sent in its place. No message begins so.
const IN_A_FILE: [u8; 1] = [0];
/// Most descriptors of one message, that of a file among them.
const FDS_MAX: usize = 8;

/// Two ends.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|error| Error::os("make a pair of sockets", error))
}

pub(super) fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let bytes = serde_json::to_vec(message).map_err(|error| Error::os("write a message", error))?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        let file = in_a_file(&bytes).map_err(|error| Error::os("write a long message", error))?;
        let fds: Vec<_> = fds.iter().copied().chain([file.as_fd()]).collect();
        return send_bytes(socket, &IN_A_FILE, &fds);
    }
    send_bytes(socket, &bytes, fds)
}

fn in_a_file(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(c"wt:message", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn send_bytes(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Error::unlike("send descriptors", fds.len().to_string(), format!("no more than {FDS_MAX} fit")));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
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
    let mut fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    bytes.truncate(received);
    if bytes == IN_A_FILE {
        let file = fds.pop().ok_or_else(|| Error::unlike("read a message", "a file with it", "none"))?;
        bytes.clear();
        File::from(file).read_to_end(&mut bytes).map_err(|error| Error::os("read a long message", error))?;
    }
    let message = serde_json::from_slice(&bytes).map_err(|error| Error::os("read a message", error))?;
    Ok(Some((message, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_length_arrive_with_their_descriptors() {
        let (here, there) = pair().unwrap();
        for bytes in [0, MESSAGE_BYTES_MAX - 2, MESSAGE_BYTES_MAX, 3 << 20] {
            let message = "x".repeat(bytes);
            send(&here, &message, &[here.as_fd()]).unwrap();
            let (received, fds) = receive::<String>(&there).unwrap().unwrap();
            assert!(received == message && fds.len() == 1, "{bytes} bytes, {} descriptors", fds.len());
        }
        drop(here);
        assert!(receive::<String>(&there).unwrap().is_none());
    }
}
