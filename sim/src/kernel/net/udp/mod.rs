//! UDP (RFC 768; udp(7)): unicast, broadcast, multicast, and the ICMP errors that come back.

mod connect;
mod receive;
mod send;

use super::control::Sent;
use super::link::LinkId;
use super::options::Options;
use super::stack::Route;
use super::{Endpoint, Network, Socket};
use crate::kernel::net::socket::Protocol;
use crate::kernel::timers::TimerKey;
use crate::world::HostId;
use libc::{EADDRNOTAVAIL, EINVAL};
use libc::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRBAND, EPOLLWRNORM};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `sk_data_ready`.
const DATA: u32 = (EPOLLIN | EPOLLRDNORM) as u32;
/// `sk_write_space`.
const SPACE: u32 = (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND) as u32;
/// What a change of state may touch.
pub(crate) const CHANGE: u32 =
    (EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLERR | EPOLLHUP | EPOLLRDHUP) as u32;

/// The state of a UDP socket.
#[derive(Default)]
pub(crate) struct Udp {
    /// Set by `connect`: where datagrams go, and the only place they come from.
    pub(crate) remote: Option<Endpoint>,
    queue: VecDeque<Received>,
    /// Memory that the queue takes, as Linux counts it.
    queued_bytes: usize,
    pub(crate) read_shut: bool,
    pub(crate) write_shut: bool,
    /// What `UDP_CORK` and `MSG_MORE` have gathered (udp(7), send(2)).
    pending: Option<Pending>,
    /// Multicast groups joined.
    groups: Vec<IpAddr>,
    /// Belongs to a `SO_REUSEPORT` group (`sk_reuseport_cb`).
    shares_port: bool,
}

/// A datagram in a receive queue.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) from: Endpoint,
    /// Where it was sent to.
    pub(crate) to: IpAddr,
    pub(crate) tos: u8,
    /// When it reached the host.
    pub(crate) arrived: u64,
}

/// A datagram that is not complete yet. Where it goes is settled by the first call.
struct Pending {
    bytes: Vec<u8>,
    to: Endpoint,
    route: Route,
    sent: Sent,
}

/// A datagram on its way.
pub(crate) struct Travelling {
    pub(in crate::kernel::net) datagram: Received,
    pub(in crate::kernel::net) port: u16,
    pub(in crate::kernel::net) host: HostId,
    /// Somebody sent it, and would hear of an error.
    pub(in crate::kernel::net) answerable: bool,
    /// How it travels, between hosts.
    pub(in crate::kernel::net) way: Option<Way>,
}

/// How a datagram travels.
#[derive(Clone, Copy)]
pub(in crate::kernel::net) struct Way {
    pub(in crate::kernel::net) link: LinkId,
    pub(in crate::kernel::net) arrives: u64,
    /// When it has left a narrow link's queue.
    pub(in crate::kernel::net) leaves: u64,
    pub(in crate::kernel::net) key: TimerKey,
}

impl Udp {
    /// `udp_poll` and `datagram_poll` (net/core/datagram.c).
    pub(crate) fn readiness(&self, error: i32) -> u32 {
        let mut bits = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
        if error != 0 {
            bits |= EPOLLERR;
        }
        if self.read_shut {
            bits |= EPOLLRDHUP | EPOLLIN | EPOLLRDNORM;
        }
        if self.read_shut && self.write_shut {
            bits |= EPOLLHUP;
        }
        if !self.queue.is_empty() {
            bits |= EPOLLIN | EPOLLRDNORM;
        }
        bits as u32
    }

    /// Payload of the first datagram, for `FIONREAD`.
    pub(crate) fn first_bytes(&self) -> usize {
        self.queue.front().map_or(0, |first| first.bytes.len())
    }
}

impl Network {
    pub(in crate::kernel::net) fn udp(&mut self, socket: Socket) -> Option<&mut Udp> {
        match &mut self.sockets.get_mut(socket)?.protocol {
            Protocol::Udp(udp) => Some(udp),
            _ => None,
        }
    }

    /// `IP_ADD_MEMBERSHIP`, `IPV6_JOIN_GROUP`, and their opposites.
    pub(in crate::kernel::net) fn udp_membership(
        &mut self,
        socket: Socket,
        group: IpAddr,
        join: bool,
    ) -> Result<(), i32> {
        if !group.is_multicast() {
            return Err(EINVAL);
        }
        let host = self.sockets[socket].host;
        let udp = self.udp(socket).ok_or(libc::ENOPROTOOPT)?;
        let known = udp.groups.iter().position(|known| *known == group);
        match (join, known) {
            (true, Some(_)) => return Err(libc::EADDRINUSE),
            (false, None) => return Err(EADDRNOTAVAIL),
            (true, None) => {
                udp.groups.push(group);
                self.stack(host).join(group);
                self.groups.entry(group).or_default().insert(host);
            }
            (false, Some(at)) => {
                udp.groups.remove(at);
                self.udp_leave(host, group);
            }
        }
        Ok(())
    }

    fn udp_leave(&mut self, host: HostId, group: IpAddr) {
        if self.stack(host).leave(group)
            && let Some(members) = self.groups.get_mut(&group)
        {
            members.remove(&host);
        }
    }

    /// The last descriptor is closed.
    pub(in crate::kernel::net) fn udp_close(&mut self, socket: Socket) {
        self.udp_release(socket);
        let host = self.sockets[socket].host;
        let Some(udp) = self.udp(socket) else { return };
        let (groups, queue) = (std::mem::take(&mut udp.groups), std::mem::take(&mut udp.queue));
        groups.into_iter().for_each(|group| self.udp_leave(host, group));
        queue.into_iter().for_each(|datagram| self.recycle(datagram.bytes));
    }
}

/// What was taken from a receive queue.
pub(crate) struct Taken {
    /// Bytes that the program got.
    pub(crate) copied: usize,
    /// Bytes that there were.
    pub(crate) bytes: usize,
    pub(crate) from: Endpoint,
    pub(crate) to: IpAddr,
    pub(crate) tos: u8,
    pub(crate) arrived: u64,
}

/// The loopback address of an address's family.
pub(crate) fn loopback_like(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// A UDP socket's options at birth.
pub(crate) fn options() -> Options {
    Options::datagram()
}
