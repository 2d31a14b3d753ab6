//! One socket: requests with their acknowledgements, dumps, batches, notifications.

use crate::step::reached;
use crate::{Error, Result};
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, NlasIterator, parse_string,
};
use netlink_sys::SocketAddr;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout, set_socket_timeout};
use rustix::rand::GetRandomFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// The kernel has its answer ready when the request has been sent (af_netlink.c: requests are carried out within
/// sendmsg(2)), so this only ends the wait for one that was lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// `NLMSGERR_ATTR_MSG` (linux/netlink.h): what the kernel says about an error in words.
const ERROR_TEXT: u16 = 1;
/// `struct nlmsghdr`, which stands before the attributes of an error when the request itself is not sent back.
const HEADER_BYTES: usize = 16;

/// A socket that is bound to the namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    socket: netlink_sys::Socket,
    port: u32,
    sequence: u32,
}

impl Socket {
    /// Opens a socket for a protocol (`netlink_sys::protocols`) in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel has no such protocol, or too many sockets are open.
    pub fn open(protocol: isize) -> Result<Self> {
        let open = || {
            let mut socket = netlink_sys::Socket::new(protocol)?;
            let port = bind(&mut socket)?;
            // The kernel's words for errors, without a copy of the request. Both are refinements: an old kernel without
            // them still gives numbers.
            let _ = socket.set_ext_ack(true);
            let _ = socket.set_cap_ack(true);
            set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
            Ok::<_, io::Error>(Self { socket, port, sequence: 0 })
        };
        open().map_err(|error| Error::os("open a netlink socket", error))
    }

    /// The number under which the kernel knows this socket; tables that it owns bear it.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Asks for something to be done, and waits for the acknowledgement. `what` is to be read after "failed to".
    ///
    /// # Errors
    /// The kernel's.
    pub fn tell<M>(&mut self, message: M, flags: u16, what: &str) -> Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let sequence = self.send(vec![(message, flags | NLM_F_ACK)], what)?;
        self.replies::<M>(sequence, what, UntilWhen::Acknowledged).map(drop)
    }

    /// Asks for one thing, or with [`NLM_F_DUMP`] for all of a kind.
    ///
    /// # Errors
    /// The kernel's: `ENOENT` or its like when the one thing does not exist.
    pub fn ask<M>(&mut self, message: M, flags: u16, what: &str) -> Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        // Not of a dump, whose end says as much; and a request with an acknowledgement says when its answer is over.
        let (acknowledged, until) =
            if flags & NLM_F_DUMP == NLM_F_DUMP { (0, UntilWhen::Done) } else { (NLM_F_ACK, UntilWhen::Acknowledged) };
        let sequence = self.send(vec![(message, flags | acknowledged)], what)?;
        self.replies(sequence, what, until)
    }

    /// Sends several messages at once, and waits until as many as ask for it have been acknowledged.
    ///
    /// # Errors
    /// The kernel's first.
    pub fn batch<M>(&mut self, messages: Vec<(M, u16)>, what: &str) -> Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut awaited = messages.iter().filter(|(_, flags)| flags & NLM_F_ACK != 0).count();
        reached("a table is to be changed");
        self.send(messages, what)?;
        reached("a table is changed");
        let mut first_error = None;
        while awaited > 0 {
            // After an error what is left of the answers is there already, or will never come: a batch that is refused
            // as a whole has one answer (nfnetlink.c: nfnetlink_rcv_batch).
            let bytes = match self.receive(first_error.is_some()) {
                Err(error) if first_error.is_some() && error.kind() == io::ErrorKind::WouldBlock => break,
                received => received.map_err(|error| Error::os(what, error))?,
            };
            for (_, payload) in messages_in::<M>(&bytes, what)? {
                if let NetlinkPayload::Error(error) = payload {
                    match refusal(&error, what) {
                        None => awaited = awaited.saturating_sub(1),
                        Some(refused) => _ = first_error.get_or_insert(refused),
                    }
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Joins a group of those who are told of changes.
    ///
    /// # Errors
    /// There is no such group.
    pub fn join(&mut self, group: u32) -> Result<()> {
        self.socket.add_membership(group).map_err(|error| Error::os("listen to the kernel's notifications", error))
    }

    /// What the kernel has told since, without waiting; `None` if it had more to tell than there was room for, so that
    /// some is lost.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn told<M>(&mut self) -> Result<Option<Vec<M>>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let what = "read the kernel's notifications";
        let (mut told, mut lost) = (Vec::new(), false);
        loop {
            match self.receive(true) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // netlink(7): messages were dropped.
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => lost = true,
                Err(error) => return Err(Error::os(what, error)),
                Ok(bytes) => told.extend(messages_in(&bytes, what)?.into_iter().filter_map(|(_, payload)| {
                    if let NetlinkPayload::InnerMessage(message) = payload { Some(message) } else { None }
                })),
            }
        }
        Ok((!lost).then_some(told))
    }

    /// Sends messages in one datagram; returns the last one's sequence number.
    fn send<M: NetlinkSerializable>(&mut self, messages: Vec<(M, u16)>, what: &str) -> Result<u32> {
        let mut bytes = Vec::new();
        for (message, flags) in messages {
            self.sequence = self.sequence.wrapping_add(1);
            let mut header = NetlinkHeader::default();
            header.flags = flags | NLM_F_REQUEST;
            header.sequence_number = self.sequence;
            let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
            message.finalize();
            let begins = bytes.len();
            // Messages of a datagram are aligned to four bytes (netlink(3), NLMSG_ALIGN).
            bytes.resize(begins + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut bytes[begins..]);
        }
        let kernel = SocketAddr::new(0, 0);
        self.socket.send_to(&bytes, &kernel, 0).map_err(|error| Error::os(what, error))?;
        Ok(self.sequence)
    }

    fn replies<M>(&mut self, sequence: u32, what: &str, until: UntilWhen) -> Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut replies = Vec::new();
        loop {
            let bytes = self.receive(false).map_err(|error| Error::os(what, error))?;
            for (header, payload) in messages_in(&bytes, what)? {
                if header.sequence_number != sequence {
                    continue; // left over from a request that was given up
                }
                match payload {
                    NetlinkPayload::InnerMessage(message) => replies.push(message),
                    NetlinkPayload::Error(error) => match refusal(&error, what) {
                        Some(refused) => return Err(refused),
                        None if until == UntilWhen::Acknowledged => return Ok(replies),
                        None => {}
                    },
                    NetlinkPayload::Done(_) if until == UntilWhen::Done => return Ok(replies),
                    _ => {}
                }
            }
        }
    }

    /// One datagram.
    fn receive(&self, at_once: bool) -> io::Result<Vec<u8>> {
        if at_once {
            let mut bytes = Vec::with_capacity(64 * 1024);
            self.socket.recv(&mut bytes, libc::MSG_DONTWAIT)?;
            return Ok(bytes);
        }
        let (bytes, _) = self.socket.recv_from_full()?;
        Ok(bytes)
    }
}

/// Gives a socket a port number that no other has had.
///
/// Not the kernel's choice, which is the process's number if that is free: when a socket is closed its number is free
/// *before* the tables go that bear it (af_netlink.c, `netlink_release`: `netlink_remove` before `NETLINK_URELEASE`),
/// so a table that one thread makes meanwhile, as the owner of the same number, would go with those of another.
///
/// # Errors
/// As bind(2).
pub fn bind(socket: &mut netlink_sys::Socket) -> io::Result<u32> {
    loop {
        let mut random = [0; 4];
        rustix::rand::getrandom(&mut random, GetRandomFlags::empty())?;
        // No process has such a number, so nobody misses it.
        let port = u32::from_ne_bytes(random) | 1 << 31;
        match socket.bind(&SocketAddr::new(port, 0)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound.map(|()| port),
        }
    }
}

/// Lets so many bytes wait to be read from a socket of any kind, or as many as did before if that is more; without
/// privilege over the whole machine as many as it allows (`net.core.rmem_max`), which is no error.
///
/// # Errors
/// As `SO_RCVBUF` of socket(7).
pub fn widen(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    // The kernel doubles what it is told, and tells the double.
    let bytes = bytes.max(sockopt::socket_recv_buffer_size(&socket)? / 2);
    if sockopt::set_socket_recv_buffer_size_force(&socket, bytes).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    Ok(())
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How the end of an answer shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UntilWhen {
    Acknowledged,
    Done,
}

type Received<M> = (NetlinkHeader, NetlinkPayload<M>);

/// The messages of a datagram.
fn messages_in<M>(mut bytes: &[u8], what: &str) -> Result<Vec<Received<M>>>
where
    M: NetlinkSerializable + NetlinkDeserializable,
{
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let message = NetlinkMessage::<M>::deserialize(bytes)
            .map_err(|error| Error::os(what, io::Error::new(io::ErrorKind::InvalidData, error.to_string())))?;
        // A message is never shorter than its header; without that this loop would not end.
        let length = (message.header.length as usize).max(HEADER_BYTES).next_multiple_of(4);
        messages.push(message.into_parts());
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(messages)
}

/// What an acknowledgement says if it is none.
fn refusal(error: &ErrorMessage, what: &str) -> Option<Error> {
    error.code?;
    let attributes = error.header.get(HEADER_BYTES..).unwrap_or_default();
    let text = NlasIterator::new(attributes)
        .filter_map(std::result::Result::ok)
        .find(|attribute| attribute.kind() == ERROR_TEXT)
        .and_then(|attribute| parse_string(attribute.value()).ok());
    let what = text.map_or_else(|| what.to_owned(), |text| format!("{what} ({text})"));
    Some(Error::os(what, error.to_io()))
}
