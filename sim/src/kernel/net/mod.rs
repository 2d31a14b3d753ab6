//! The simulated network: sockets, what travels between hosts, and what may go wrong on the way.
//!
//! [`Network`] knows neither threads nor descriptors. It is told the time and given the queue of future events with
//! each call ([`Cx`]), and leaves notices about sockets that may have become ready; `calls.rs` is the kernel's side of
//! it. So connections can be tested without a world.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `address.rs` | `sockaddr` and back |
//! | `interfaces.rs` | the interfaces that a host has |
//! | `link.rs` | latency, loss and cuts between hosts |
//! | `stack.rs` | what each host has of its own: addresses, ports, routes |
//! | `ports.rs` | who may share which port |
//! | `socket.rs`, `options.rs` | sockets and their options |
//! | `tcp/` | connections: opening, transmission, closing, keepalive |
//! | `udp.rs`, `control.rs` | datagrams, and what comes along with them |
//! | `names.rs` | names, services, and the name server |
//! | `calls.rs`, `transfer.rs`, `setup.rs` | the kernel's calls |
//!
//! No time is taken from a clock, nothing is drawn from a stream that belongs to somebody else, and nothing is done in
//! proportion to hosts, sockets or connections, except for what ends with a host.

pub(crate) mod address;
mod calls;
pub(crate) mod control;
pub(crate) mod interfaces;
mod link;
pub(crate) mod names;
mod option_calls;
mod options;
mod ports;
mod release;
mod setup;
mod socket;
mod stack;
mod tcp;
mod transfer;
mod udp;

use super::dispatch::Event;
use super::entropy::{Purpose, Stream};
use super::event::EventLog;
use super::slots::{Id, Slots};
use super::timers::{TimerKey, Timers};
use super::unix::Unix;
use super::{FileId, ThreadId};
use crate::world::{HostId, Hush};
pub(crate) use address::{Endpoint, RawAddress};
use link::{LinkId, Links};
pub(crate) use stack::{LOOPBACK_BROADCAST, Stack, on_link};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use tcp::Connection;

pub(crate) use address::Family;
pub(crate) use link::{Draws, Harm, delay_ns};
pub(crate) use setup::SOCK_TYPE_MASK;
pub(crate) use socket::{Protocol, SocketState};
pub(crate) use tcp::{ConnectionId, Side};
pub(crate) use transfer::{Incoming, Outgoing};
pub(crate) use udp::options as options_of_datagrams;

/// Names a socket.
pub(crate) type Socket = Id<SocketState>;

/// Something that happens on the network at a time of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NetEvent {
    /// A SYN reaches the acceptor's host.
    Syn(ConnectionId),
    /// A SYN-ACK reaches the opener's host.
    SynAck(ConnectionId),
    /// The handshake's last ACK reaches the acceptor's host.
    Confirm(ConnectionId),
    /// Segments reach the host of this side.
    Arrival(ConnectionId, Side),
    /// Acknowledgements reach this side, which waits for them.
    Acknowledged(ConnectionId, Side),
    /// A probe, of a closed window or of a silent peer, reaches the host of this side.
    Probe(ConnectionId, Side),
    /// A RST reaches this side.
    Reset(ConnectionId, Side),
    /// This side's retransmission timer.
    Retransmit(ConnectionId, Side),
    /// This side's keepalive timer.
    Keepalive(ConnectionId, Side),
    /// This side's cork comes off.
    Uncork(ConnectionId, Side),
    /// A narrow link has room for the next of those who wait.
    Turn(LinkId),
    /// This side has waited long enough for the FIN of a peer whose data nobody wants any more.
    Orphan(ConnectionId, Side),
    /// This side's host has found out that it cannot reach the other.
    Unreachable(ConnectionId),
    /// A datagram reaches its host.
    Datagram(Id<udp::Travelling>),
    /// An ICMP error reaches the host that caused it, with a datagram from its endpoint to another. Boxed: it is rare,
    /// and every event is as large as the largest.
    Icmp(Box<(HostId, Endpoint, Endpoint, i32)>),
}

/// What the network needs of its surroundings, for one call or event.
pub(crate) struct Cx<'a> {
    /// Virtual nanoseconds.
    pub(crate) now: u64,
    pub(crate) timers: &'a mut Timers<Event>,
    pub(crate) log: &'a mut EventLog,
}

impl Cx<'_> {
    fn schedule(&mut self, at: u64, event: NetEvent) -> TimerKey {
        self.timers.schedule(at, Event::Net(event))
    }

    fn cancel(&mut self, timer: &mut Option<TimerKey>) {
        if let Some(key) = timer.take() {
            self.timers.cancel(key);
        }
    }
}

/// Why a socket call has no value yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fail {
    /// It fails.
    Errno(i32),
    /// It would block until the socket's readiness changes in one of these bits.
    Wait(u32),
}

impl From<i32> for Fail {
    fn from(errno: i32) -> Fail {
        Fail::Errno(errno)
    }
}

/// Legal rarities that a seed switches on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Rarities {
    /// Reads and non-blocking writes may stop short.
    pub(crate) short_transfers: bool,
    /// Socket buffers are small.
    pub(crate) small_buffers: bool,
}

impl Rarities {
    fn drawn(seed: u64) -> Rarities {
        let mut stream = Stream::new(seed, Purpose::Swarm, SWARM_ENTITY);
        Rarities { short_transfers: stream.chance(0.25), small_buffers: stream.chance(0.125) }
    }
}

/// Buffers kept for the next datagrams.
const SPARE_BUFFERS_MAX: usize = 256;

/// The network's own stream among those of the swarm.
const SWARM_ENTITY: u64 = 0x6e65_7477_6f72_6b00; // "network"

/// Every socket, connection and link of the world.
pub(crate) struct Network {
    pub(crate) sockets: Slots<SocketState>,
    connections: Slots<Connection>,
    travelling: Slots<udp::Travelling>,
    pub(super) stacks: Vec<Stack>,
    by_address: BTreeMap<IpAddr, HostId>,
    by_name: BTreeMap<String, HostId>,
    pub(crate) links: Links,
    /// Which hosts have joined a multicast group.
    groups: BTreeMap<IpAddr, BTreeSet<HostId>>,
    /// Which hosts have a UDP socket on a port, for broadcasts: the others would ignore them.
    udp_hosts: BTreeMap<u16, BTreeMap<HostId, u32>>,
    /// Buffers of datagrams, kept for the next.
    spare_buffers: Vec<Vec<u8>>,
    /// Sockets that may have become ready, and in which bits; the kernel takes them after each call or event.
    notices: VecDeque<(Socket, u32)>,
    /// What reached somebody, for the event stream: a value and an identity.
    deliveries: VecDeque<(i64, u64)>,
    /// Threads whose close(2) need not linger any more.
    lingered: Vec<ThreadId>,
    /// Files that messages referred to and that nobody will receive.
    pub(crate) released: Vec<FileId>,
    /// What the seed switched on for hosts.
    rarities: Rarities,
    pub(crate) hijacks: names::Hijacks,
    pub(crate) unix: Unix,
    connections_ever: u64,
    datagrams_ever: u64,
    seed: u64,
}

impl Network {
    /// A network without hosts.
    pub(crate) fn new(seed: u64, hushed_links: Hush) -> Network {
        Network {
            sockets: Slots::default(),
            connections: Slots::default(),
            travelling: Slots::default(),
            stacks: Vec::new(),
            by_address: BTreeMap::new(),
            by_name: BTreeMap::new(),
            links: Links::new(seed, hushed_links),
            groups: BTreeMap::new(),
            udp_hosts: BTreeMap::new(),
            spare_buffers: Vec::new(),
            notices: VecDeque::new(),
            deliveries: VecDeque::new(),
            lingered: Vec::new(),
            released: Vec::new(),
            rarities: Rarities::drawn(seed),
            hijacks: names::Hijacks::default(),
            unix: Unix::default(),
            connections_ever: 0,
            datagrams_ever: 0,
            seed,
        }
    }

    /// A buffer for a datagram, perhaps used before.
    pub(crate) fn spare_buffer(&mut self) -> Vec<u8> {
        self.spare_buffers.pop().unwrap_or_default()
    }

    /// Takes a datagram's buffer back.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare_buffers.len() < SPARE_BUFFERS_MAX {
            buffer.clear();
            self.spare_buffers.push(buffer);
        }
    }

    /// Says that a socket may have become ready in these bits.
    #[inline]
    pub(crate) fn notify(&mut self, socket: Socket, bits: u32) {
        self.notices.push_back((socket, bits));
    }

    /// Handles what is due.
    pub(super) fn happen(&mut self, cx: &mut Cx<'_>, event: NetEvent) {
        match event {
            NetEvent::Arrival(id, to) => self.tcp_arrival(cx, id, to),
            NetEvent::Acknowledged(id, side) => self.tcp_acknowledged(cx, id, side),
            NetEvent::Datagram(id) => self.udp_arrival(cx, id),
            NetEvent::Syn(id) => self.tcp_syn(cx, id),
            NetEvent::SynAck(id) => self.tcp_syn_ack(cx, id),
            NetEvent::Confirm(id) => self.tcp_confirm(cx, id),
            NetEvent::Probe(id, to) => self.tcp_probe(cx, id, to),
            NetEvent::Reset(id, to) => self.tcp_reset_arrives(cx, id, to),
            NetEvent::Retransmit(id, side) => self.tcp_retransmit(cx, id, side),
            NetEvent::Keepalive(id, side) => self.tcp_keepalive(cx, id, side),
            NetEvent::Uncork(id, side) => self.tcp_uncork(cx, id, side),
            NetEvent::Turn(link) => self.tcp_turns(cx, link),
            NetEvent::Orphan(id, side) => self.tcp_orphan_expired(cx, id, side),
            NetEvent::Unreachable(id) => self.tcp_unreachable(cx, id),
            NetEvent::Icmp(icmp) => {
                let (host, from, to, errno) = *icmp;
                self.udp_error(host, from, to, errno);
            }
        }
    }
}
