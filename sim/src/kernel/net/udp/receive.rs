//! Datagrams that arrive: whom they are for, the receive queue, and the ICMP errors that come back.

use super::{CHANGE, DATA, Received, Taken, Travelling};
use crate::abi::user::Out;
use crate::kernel::entropy::mix;
use crate::kernel::net::address::Family;
use crate::kernel::net::link::{Fate, Parcel};
use crate::kernel::net::ports::Claim;
use crate::kernel::net::socket::Protocol;
use crate::kernel::net::stack::is_broadcast;
use crate::kernel::net::{Cx, Endpoint, Fail, NetEvent, Network, Socket};
use crate::kernel::slots::Id;
use crate::kernel::unix::true_size;
use crate::world::HostId;
use libc::{ECONNREFUSED, EINVAL, c_int};
use std::net::IpAddr;

impl Network {
    /// A datagram reaches its host: `__udp4_lib_rcv`.
    pub(in crate::kernel::net) fn udp_arrival(&mut self, cx: &mut Cx<'_>, id: Id<Travelling>) {
        let Some(Travelling { mut datagram, port, host, answerable, way: _ }) = self.travelling.remove(id) else {
            return;
        };
        if !self.stacks[host.0 as usize].up {
            return self.recycle(datagram.bytes);
        }
        datagram.arrived = cx.now;
        self.datagrams_ever += 1;
        self.deliveries.push_back((datagram.bytes.len() as i64, 1 << 63 | self.datagrams_ever));
        if datagram.to.is_multicast() || is_broadcast(datagram.to) {
            return self.udp_deliver_to_all(host, port, datagram);
        }
        match self.udp_receiver(host, port, (datagram.from, datagram.to)) {
            Some(socket) => self.udp_deliver(socket, datagram),
            None => {
                if let Some(back) = self.by_source(host, datagram.from.ip).filter(|_| answerable) {
                    // RFC 1122 §4.1.3.1: port unreachable.
                    let link = self.links.between(host, back);
                    if let Fate::Arrives(delay) = self.links.fate(link, Parcel::bare(cx.now)) {
                        let (from, to) = (datagram.from, Endpoint::new(datagram.to, port));
                        cx.schedule(cx.now + delay, NetEvent::Icmp(Box::new((back, from, to, ECONNREFUSED))));
                    }
                }
                self.recycle(datagram.bytes);
            }
        }
    }

    /// The host that a datagram's source address belongs to.
    fn by_source(&self, at: HostId, ip: IpAddr) -> Option<HostId> {
        if self.stacks[at.0 as usize].owns(ip) { Some(at) } else { self.by_address.get(&ip).copied() }
    }

    /// How well a socket fits a datagram: `compute_score` in net/ipv4/udp.c and net/ipv6/udp.c. One that holds the very
    /// address is looked for first, then a wildcard (`__udp4_lib_lookup`).
    fn udp_fit(&self, socket: Socket, claim: &Claim, (from, to): (Endpoint, IpAddr)) -> Option<u32> {
        const EXACT: u32 = 100;
        let state = self.sockets.get(socket)?;
        let Protocol::Udp(udp) = &state.protocol else { return None };
        let exact = match (claim.ip, to) {
            (IpAddr::V4(own), IpAddr::V4(to)) if own == to || own.is_unspecified() => own == to,
            (IpAddr::V6(own), IpAddr::V6(to)) if own == to || own.is_unspecified() => own == to,
            (IpAddr::V6(own), IpAddr::V4(_)) if own.is_unspecified() => false,
            _ => return None,
        };
        if to.is_ipv4() && state.family == Family::V6 && claim.v6_only {
            return None;
        }
        let score = if exact { EXACT } else { 0 } + if state.family == Family::V4 { 2 } else { 1 };
        match udp.remote {
            // An address or a port of zero is not compared; the port can be one (connect(2) takes any).
            Some(remote) if remote.ip == from.ip && remote.port == from.port => Some(score + 8),
            Some(remote) if remote.ip == from.ip && remote.port == 0 => Some(score + 4),
            Some(remote) if !remote.ip.is_multicast() && !is_broadcast(remote.ip) => None,
            Some(_) | None => Some(score),
        }
    }

    /// The one socket that gets a unicast datagram. Among equals the latest bound wins, or with `SO_REUSEPORT` the one
    /// that the hash of the endpoints points to.
    fn udp_receiver(&self, host: HostId, port: u16, (from, to): (Endpoint, IpAddr)) -> Option<Socket> {
        let holders = self.stacks[host.0 as usize].udp.holders(port);
        if let [only] = holders {
            return self.udp_fit(only.socket, &only.claim, (from, to)).map(|_| only.socket);
        }
        let fits = || holders.iter().filter_map(|h| Some((self.udp_fit(h.socket, &h.claim, (from, to))?, h.socket)));
        let best = fits().map(|(fit, _)| fit).max()?;
        let among = || fits().filter(|(fit, _)| *fit == best).map(|(_, socket)| socket);
        let latest = among().next_back()?;
        let group = || among().filter(|socket| self.udp_shares_port(*socket));
        if self.udp_shares_port(latest) {
            let hash = mix(u64::from(from.port) << 16 | u64::from(port)) % group().count() as u64;
            return group().nth(hash as usize);
        }
        Some(latest)
    }

    /// Whether a socket shares what comes with the others of its port (`reuseport_select_sock`): not when connected.
    fn udp_shares_port(&self, socket: Socket) -> bool {
        match &self.sockets[socket].protocol {
            Protocol::Udp(udp) => udp.shares_port && udp.remote.is_none(),
            _ => false,
        }
    }

    fn udp_deliver_to_all(&mut self, host: HostId, port: u16, datagram: Received) {
        let holders = self.stacks[host.0 as usize].udp.holders(port);
        let wants = |socket: Socket, claim: &Claim| match &self.sockets.get(socket)?.protocol {
            // IP_MULTICAST_ALL (ip(7)) is on: a wildcard socket hears every group that the host has joined.
            Protocol::Udp(udp) if claim.ip.is_unspecified() || claim.ip == datagram.to => {
                // __udp_is_mcast_sock: a port of zero is not compared.
                let hears = |to: Endpoint| to.ip == datagram.from.ip && (to.port == 0 || to.port == datagram.from.port);
                udp.remote.is_none_or(hears).then_some(socket)
            }
            _ => None,
        };
        let matches_family = |claim: &Claim| claim.ip.is_ipv4() == datagram.to.is_ipv4() || !claim.v6_only;
        let receivers: Vec<Socket> =
            holders.iter().filter(|h| matches_family(&h.claim)).filter_map(|h| wants(h.socket, &h.claim)).collect();
        for socket in receivers {
            let copy = Received { bytes: datagram.bytes.clone(), ..datagram };
            self.udp_deliver(socket, copy);
        }
        self.recycle(datagram.bytes);
    }

    /// Puts a datagram into a receive queue, unless it is full: then it is dropped, as UDP does.
    fn udp_deliver(&mut self, socket: Socket, datagram: Received) {
        let capacity = self.sockets[socket].options.receive_buffer as usize;
        let Some(udp) = self.udp(socket) else { return };
        let size = true_size(datagram.bytes.len());
        if udp.queued_bytes + size > capacity {
            return self.recycle(datagram.bytes);
        }
        udp.queued_bytes += size;
        udp.queue.push_back(datagram);
        self.notify(socket, DATA);
    }

    /// Takes, or looks at, the first datagram; answers its length and where its bytes came from.
    pub(in crate::kernel::net) fn udp_receive(
        &mut self,
        cx: &mut Cx<'_>,
        socket: Socket,
        out: &mut Out<'_>,
        flags: c_int,
    ) -> Result<Option<Taken>, Fail> {
        let error = std::mem::take(&mut self.sockets[socket].error);
        if error != 0 {
            return Err(Fail::Errno(error));
        }
        let Some(udp) = self.udp(socket) else { return Err(Fail::Errno(EINVAL)) };
        let Some(first) = udp.queue.front() else {
            return if udp.read_shut { Ok(None) } else { Err(Fail::Wait(DATA)) };
        };
        let copied = out.write_at(0, &first.bytes);
        cx.log.returned(&first.bytes[..copied]);
        let Received { from, to, tos, arrived, .. } = *first;
        let taken = Taken { copied, bytes: first.bytes.len(), from, to, tos, arrived };
        if flags & libc::MSG_PEEK == 0
            && let Some(first) = udp.queue.pop_front()
        {
            udp.queued_bytes -= true_size(first.bytes.len());
            self.recycle(first.bytes);
        }
        Ok(Some(taken))
    }

    /// An ICMP error about a datagram from `own` to `peer` (`__udp4_lib_err`): whoever would get an answer hears of it,
    /// if connected, or with `IP_RECVERR` (udp(7)).
    pub(in crate::kernel::net) fn udp_error(&mut self, host: HostId, own: Endpoint, peer: Endpoint, errno: c_int) {
        let Some(socket) = self.udp_receiver(host, own.port, (peer, own.ip)) else { return };
        let state = &mut self.sockets[socket];
        let Protocol::Udp(udp) = &state.protocol else { return };
        // That nobody listens is said to who is connected; that there is no way, only to who asks for all errors
        // (`icmp_err_convert`, net/ipv4/icmp.c).
        let fatal = errno == ECONNREFUSED;
        if udp.remote.is_some() && fatal || state.options.receive_errors.of(peer.ip) {
            state.error = errno;
            self.notify(socket, CHANGE);
        }
    }
}
