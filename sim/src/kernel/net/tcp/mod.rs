//! TCP (RFC 9293), as Linux does it, seen from above.
//!
//! The kernel sees both ends of a connection, so it keeps one queue of bytes per direction and moves positions in it:
//! what the peer has read, what has arrived, what is acknowledged, sent, written. A segment is a range and a time of
//! arrival. What a program can see of TCP is kept: the handshake and its retries, windows, Nagle's delay,
//! retransmission with backoff when a segment is lost, RST, FIN, half-close, keepalive. What it cannot see costs
//! nothing: an acknowledgement is an entry in a queue and becomes an event only when the sender waits for it, and a
//! retransmission timer runs only once something has been lost.
//!
//! Not modelled, and why: delayed acknowledgements (every segment is acknowledged at once, as with `TCP_QUICKACK`,
//! which saves Nagle's 40 ms stalls but changes no outcome), congestion control and slow start (they need bandwidth,
//! which comes with the full network model), urgent data (refused).

mod close;
mod connection;
mod keepalive;
mod listener;
mod loss;
mod open;
mod receive;
mod round_trip;
mod transmission;

pub(crate) use connection::{Connection, ConnectionId, LOST, Phase, Side};
pub(crate) use listener::{BACKLOG_MAX, Listener};

use super::{Network, Socket};
use libc::EPOLLWRNORM;
use libc::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDBAND, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRBAND};

/// `sk_data_ready` (net/core/sock.c): data came.
pub(crate) const DATA: u32 = (EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND) as u32;
/// `sk_write_space`: room came.
pub(crate) const SPACE: u32 = (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND) as u32;
/// `sk_state_change` and `sk_error_report`: look at everything.
pub(crate) const CHANGE: u32 = DATA | SPACE | (EPOLLERR | EPOLLHUP | EPOLLRDHUP) as u32;

const READABLE: u32 = (EPOLLIN | EPOLLRDNORM) as u32;
const WRITABLE: u32 = (EPOLLOUT | EPOLLWRNORM) as u32;

/// The state of a TCP socket (not of its connection).
pub(crate) enum Tcp {
    /// Neither listening nor connected: `TCP_CLOSE`.
    Closed,
    /// `listen` was called.
    Listening(Box<Listener>),
    /// `connect` was called, or it came from `accept`.
    Connected { connection: ConnectionId, side: Side },
}

/// What a socket thinks of `connect` (`socket_state`, include/uapi/linux/net.h), whatever became of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It may be called.
    Unconnected,
    /// It was called and has not answered success yet.
    Connecting,
    /// It has answered success, or the socket came from `accept`: the next one is `EISCONN`.
    Connected,
    /// `shutdown` came when the connection had failed and `connect` had not said so yet: it is `EINVAL` from then on,
    /// until the socket is dissolved (`inet_shutdown`, net/ipv4/af_inet.c).
    Disconnecting,
}

impl Network {
    /// What a TCP socket is ready for: `tcp_poll`, net/ipv4/tcp.c.
    pub(super) fn tcp_readiness(&self, socket: Socket, tcp: &Tcp) -> u32 {
        match tcp {
            // A socket that is not connected: writable and hung up, as Linux says.
            Tcp::Closed => {
                let state = &self.sockets[socket];
                let ended = if state.read_shut { READABLE | EPOLLRDHUP as u32 } else { 0 };
                let failed = if state.error != 0 { EPOLLERR as u32 } else { 0 };
                WRITABLE | EPOLLHUP as u32 | ended | failed
            }
            Tcp::Listening(listener) => {
                if listener.queue.is_empty() {
                    0
                } else {
                    READABLE
                }
            }
            Tcp::Connected { connection, side, .. } => {
                let connection = &self.connections[*connection];
                let least = self.sockets[socket].options.receive_low_water;
                connection.readiness(*side, least)
            }
        }
    }
}

impl Connection {
    /// `tcp_poll` for a socket that is, was or wants to be connected.
    fn readiness(&self, side: Side, low_water: u32) -> u32 {
        let (end, incoming, outgoing) = (&self.ends[side], &self.streams[side.other()], &self.streams[side]);
        let gone = end.phase == Phase::Gone;
        let receives_no_more = gone || end.read_shut || incoming.finished();
        let sends_no_more = gone || end.write_shut || outgoing.fin;
        let mut bits = 0;
        if receives_no_more && sends_no_more {
            bits |= EPOLLHUP as u32;
        }
        if receives_no_more {
            bits |= READABLE | EPOLLRDHUP as u32;
        }
        if end.phase != Phase::SynSent {
            if incoming.readable() >= (low_water as usize).max(1) {
                bits |= READABLE;
            }
            if sends_no_more || outgoing.writable(end.send_capacity) {
                bits |= WRITABLE;
            }
        }
        if end.error != 0 {
            bits |= EPOLLERR as u32;
        }
        bits
    }
}
