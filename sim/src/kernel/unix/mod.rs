//! Unix domain sockets (unix(7)): streams, datagrams and sequenced packets within a host.
//!
//! Nothing travels here: what is sent is in the receiver's queue at once. Path names are kept in a table of their own,
//! per host, without a file system beneath: a name outlives its socket until it is unlinked, as the file would.
//!
//! Follows `net/unix/af_unix.c`; answers were compared with the real kernel, call by call.

mod collect;
mod name;
mod queue;
mod setup;
mod transfer;

use name::{Called, Name};
pub(crate) use queue::true_size;
pub(crate) use setup::Credentials;

use super::net::{Network, RawAddress, Socket};
use crate::world::HostId;
use libc::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRBAND, EPOLLWRNORM};
use libc::{SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, c_int};
use queue::Packet;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const READABLE: u32 = (EPOLLIN | EPOLLRDNORM) as u32;
const WRITABLE: u32 = (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND) as u32;
const HANGUP: u32 = EPOLLHUP as u32;
/// What a change of state may touch.
const CHANGE: u32 = READABLE | WRITABLE | HANGUP | (EPOLLERR | EPOLLRDHUP) as u32;

/// `net.unix.max_dgram_qlen` (unix(7)).
const DATAGRAMS_MAX: usize = 10;

/// A socket's type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Stream,
    Datagram,
    SeqPacket,
}

impl Kind {
    /// The number that C programs know.
    pub(crate) fn number(self) -> c_int {
        match self {
            Kind::Stream => SOCK_STREAM,
            Kind::Datagram => SOCK_DGRAM,
            Kind::SeqPacket => SOCK_SEQPACKET,
        }
    }

    fn connects(self) -> bool {
        self != Kind::Datagram
    }
}

/// What a socket is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// `TCP_CLOSE`: neither listening nor connected. A datagram socket may still have a peer.
    Idle,
    Listening,
    Connected,
}

/// A Unix socket.
pub(crate) struct UnixSocket {
    pub(crate) kind: Kind,
    state: State,
    /// The name it is bound to.
    name: Called,
    /// The socket at the other end, which may be closed by now.
    peer: Option<Socket>,
    /// What the peer is called.
    peer_name: Called,
    peer_credentials: Option<Credentials>,
    queue: VecDeque<Packet>,
    /// Connections that wait to be accepted.
    pending: VecDeque<Socket>,
    backlog: usize,
    /// Memory of what it has sent and nobody has read: `sk_wmem_alloc`.
    sent_bytes: usize,
    /// Sockets that found this one's queue, or accept queue, full.
    waiting: BTreeSet<Socket>,
    /// Datagram sockets that are connected to this one.
    connected_from: BTreeSet<Socket>,
    read_shut: bool,
    write_shut: bool,
}

impl UnixSocket {
    fn new(kind: Kind) -> UnixSocket {
        UnixSocket {
            kind,
            state: State::Idle,
            name: Called::default(),
            peer: None,
            peer_name: Called::default(),
            peer_credentials: None,
            queue: VecDeque::new(),
            pending: VecDeque::new(),
            backlog: 0,
            sent_bytes: 0,
            waiting: BTreeSet::new(),
            connected_from: BTreeSet::new(),
            read_shut: false,
            write_shut: false,
        }
    }

    /// Whether at most a quarter of the buffer is in use (`unix_writable`; `sk_wmem_alloc` begins at one).
    fn has_room(&self, send_buffer: u32) -> bool {
        (self.sent_bytes + 1) * 4 <= send_buffer as usize
    }

    /// What it is, in reports.
    pub(crate) fn describe(&self) -> String {
        let kind = match self.kind {
            Kind::Stream => "stream",
            Kind::Datagram => "datagram",
            Kind::SeqPacket => "seqpacket",
        };
        let name = self.name.get().or(self.peer_name.get()).map_or(String::new(), |name| format!(" {name}"));
        format!("a Unix {kind} socket{name}")
    }

    /// getsockname(2).
    pub(crate) fn name(&self) -> RawAddress {
        Name::encode(self.name.get())
    }

    /// Credentials of the process at the other end, for `SO_PEERCRED`.
    pub(crate) fn peer_credentials(&self) -> Option<Credentials> {
        self.peer_credentials
    }

    /// Whether it listens, for `SO_ACCEPTCONN`.
    pub(crate) fn listens(&self) -> bool {
        self.state == State::Listening
    }

    /// Bytes of the first datagram, or of everything that waits, for `FIONREAD` (`unix_inq_len`).
    ///
    /// # Errors
    /// `EINVAL` for a listener.
    pub(crate) fn available(&self) -> Result<usize, c_int> {
        match self.kind {
            _ if self.listens() => Err(libc::EINVAL),
            Kind::Datagram => Ok(self.queue.front().map_or(0, Packet::len)),
            Kind::Stream | Kind::SeqPacket => Ok(self.queue.iter().map(Packet::len).sum()),
        }
    }

    /// Memory of what nobody has read yet, for `TIOCOUTQ` (`unix_outq_len`).
    pub(crate) fn unread(&self) -> usize {
        self.sent_bytes
    }
}

/// Names in use.
#[derive(Default)]
pub(crate) struct Unix {
    /// For a path whose socket was closed, `None`: the file would still be there. Each type of socket has abstract
    /// names of its own (`unix_abstract_hash`), while a path leads to one socket.
    names: BTreeMap<(HostId, Name, Option<Kind>), Option<Socket>>,
    /// Files in messages that nobody has received.
    in_flight: usize,
    /// For automatic names (unix(7), "Autobind feature").
    named_ever: u32,
}

impl Network {
    fn unix_socket(&self, socket: Socket) -> Option<&UnixSocket> {
        match &self.sockets.get(socket)?.protocol {
            super::net::Protocol::Unix(unix) => Some(unix),
            _ => None,
        }
    }

    fn unix_socket_mut(&mut self, socket: Socket) -> Option<&mut UnixSocket> {
        match &mut self.sockets.get_mut(socket)?.protocol {
            super::net::Protocol::Unix(unix) => Some(unix),
            _ => None,
        }
    }

    /// `unix_poll` and `unix_dgram_poll`.
    pub(crate) fn unix_readiness(&self, socket: Socket, (error, send_buffer): (i32, u32), unix: &UnixSocket) -> u32 {
        let mut bits = 0;
        if error != 0 {
            bits |= EPOLLERR as u32;
        }
        if unix.read_shut {
            bits |= READABLE | EPOLLRDHUP as u32;
        }
        if unix.read_shut && unix.write_shut || unix.kind.connects() && unix.state == State::Idle {
            bits |= HANGUP;
        }
        if !unix.queue.is_empty() || !unix.pending.is_empty() {
            bits |= READABLE;
        }
        let room = unix.state != State::Listening && unix.has_room(send_buffer);
        if room && !self.unix_peer_is_full(socket, unix) {
            bits |= WRITABLE;
        }
        bits
    }

    /// Whether a datagram socket's peer takes no more. A peer that is connected back has no limit but the sender's
    /// buffer (`unix_dgram_sendmsg`).
    fn unix_peer_is_full(&self, socket: Socket, unix: &UnixSocket) -> bool {
        let Some(peer) = unix.peer.filter(|_| unix.kind == Kind::Datagram) else { return false };
        self.unix_queue_is_full(peer, socket)
    }
}
