//! UDP (RFC 768; udp(7)): unicast, broadcast, multicast, and the ICMP errors that come back.

use super::address::Family;
use super::control::Sent;
use super::link::{Fate, LinkId, Parcel, Passage, flip};
use super::options::Options;
use super::ports::{Claim, Rule};
use super::stack::{Route, is_broadcast};
use super::{Cx, Endpoint, Fail, NetEvent, Network, Socket};
use crate::abi::user::{In, Out};
use crate::kernel::entropy::mix;
use crate::kernel::net::socket::Protocol;
use crate::kernel::slots::Id;
use crate::kernel::timers::TimerKey;
use crate::kernel::unix::true_size;
use crate::world::HostId;
use libc::{EACCES, EADDRNOTAVAIL, ECONNREFUSED, EDESTADDRREQ, EHOSTUNREACH, EINVAL, EMSGSIZE, ENETUNREACH, EPIPE};
use libc::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRBAND, EPOLLWRNORM, c_int};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Largest payload: 65,535 less the headers (udp(7), RFC 8200 §3).
const PAYLOAD_BYTES_MAX_V4: usize = 65_507;
const PAYLOAD_BYTES_MAX_V6: usize = 65_527;
/// Payload that leaves in one piece: Ethernet's 1,500, loopback's 65,536, less the IPv4 headers.
const UNFRAGMENTED_BYTES: usize = 1472;
const LOOPBACK_UNFRAGMENTED_BYTES: usize = 65_508;
/// Segments that one call with `UDP_SEGMENT` may make (`UDP_MAX_SEGMENTS`, include/linux/udp.h).
const SEGMENTS_MAX: usize = 128;
/// Address resolution gives up after three tries of a second (arp(7)).
const UNREACHABLE_NS: u64 = 3_000_000_000;

/// `sk_data_ready`.
const DATA: u32 = (EPOLLIN | EPOLLRDNORM) as u32;
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
    /// Multicast groups joined.
    groups: Vec<IpAddr>,
    /// How the port is held.
    claim: Option<Claim>,
}

/// A datagram in a receive queue.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) from: Endpoint,
    /// Where it was sent to.
    pub(crate) to: IpAddr,
    pub(crate) tos: u8,
}

/// A datagram on its way.
pub(crate) struct Travelling {
    pub(super) datagram: Received,
    pub(super) port: u16,
    pub(super) host: HostId,
    pub(super) sender: Option<Socket>,
    /// How it travels, between hosts.
    pub(super) way: Option<Way>,
}

/// How a datagram travels.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) link: LinkId,
    pub(super) arrives: u64,
    /// When it has left a narrow link's queue.
    pub(super) leaves: u64,
    pub(super) key: TimerKey,
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
    pub(super) fn udp(&mut self, socket: Socket) -> Option<&mut Udp> {
        match &mut self.sockets.get_mut(socket)?.protocol {
            Protocol::Udp(udp) => Some(udp),
            Protocol::Tcp(_) | Protocol::Unix(_) => None,
        }
    }

    /// Gives a socket a port: the asked one, or with 0 an unused one.
    pub(super) fn udp_bind(&mut self, socket: Socket, at: Endpoint) -> Result<(), i32> {
        let state = &self.sockets[socket];
        let (host, options) = (state.host, &state.options);
        let claim = Claim {
            ip: at.ip,
            v6_only: options.v6_only,
            reuse_address: options.reuse_address,
            reuse_port: options.reuse_port,
        };
        let port = match at.port {
            0 => self.unused_port(host, Rule::Datagram).map_err(|_| libc::EADDRINUSE)?,
            port if self.stack(host).udp.conflict(port, &claim, None) => return Err(libc::EADDRINUSE),
            port => port,
        };
        self.stack(host).udp.hold(port, socket, claim, false);
        *self.udp_hosts.entry(port).or_default().entry(host).or_default() += 1;
        let state = &mut self.sockets[socket];
        state.local = Endpoint::new(at.ip, port);
        state.holds_port = true;
        if let Protocol::Udp(udp) = &mut state.protocol {
            udp.claim = Some(claim);
        }
        Ok(())
    }

    /// `udp_lib_unhash`.
    fn udp_release(&mut self, socket: Socket) {
        let state = &mut self.sockets[socket];
        if !std::mem::take(&mut state.holds_port) {
            return;
        }
        let (host, port) = (state.host, state.local.port);
        self.stack(host).udp.release(port, socket);
        if let Some(hosts) = self.udp_hosts.get_mut(&port) {
            if let Some(count) = hosts.get_mut(&host) {
                *count -= 1;
                if *count == 0 {
                    hosts.remove(&host);
                }
            }
            if hosts.is_empty() {
                self.udp_hosts.remove(&port);
            }
        }
    }

    /// connect(2) of a datagram socket; `None` dissolves the association.
    pub(super) fn udp_connect(&mut self, socket: Socket, to: Option<Endpoint>) -> Result<(), i32> {
        let host = self.sockets[socket].host;
        let Some(mut to) = to else {
            self.udp_disconnect(socket);
            return Ok(());
        };
        if to.ip.is_unspecified() {
            to.ip = loopback_like(to.ip); // ip_route_output: 0.0.0.0 is this host
        }
        if is_broadcast(to.ip) && !self.sockets[socket].options.broadcast {
            return Err(EACCES);
        }
        if !to.ip.is_multicast() && !is_broadcast(to.ip) && self.route(host, to.ip) == Route::None {
            return Err(ENETUNREACH);
        }
        if !self.sockets[socket].holds_port {
            let any = self.sockets[socket].family.any();
            self.udp_bind(socket, Endpoint::new(any, 0))?;
        }
        let source = self.stacks[host.0 as usize].source_for(to.ip);
        let state = &mut self.sockets[socket];
        if state.local.ip.is_unspecified() {
            state.local.ip = source;
            let port = state.local.port;
            self.stack(host).udp.narrow(port, socket, source);
        }
        if let Some(udp) = self.udp(socket) {
            udp.remote = Some(to);
        }
        Ok(())
    }

    /// `__udp_disconnect`: a port that the program did not choose is given back.
    fn udp_disconnect(&mut self, socket: Socket) {
        if !self.sockets[socket].bound_by_program {
            self.udp_release(socket);
            let state = &mut self.sockets[socket];
            state.local = Endpoint::new(state.family.any(), 0);
        }
        self.sockets[socket].error = 0;
        if let Some(udp) = self.udp(socket) {
            udp.remote = None;
        }
    }

    /// Sends a datagram: `udp_sendmsg`, net/ipv4/udp.c. Answers how many bytes were sent.
    pub(super) fn udp_send(
        &mut self,
        cx: &mut Cx<'_>,
        socket: Socket,
        input: &In<'_>,
        to: Option<Endpoint>,
        sent: &Sent,
    ) -> Result<usize, Fail> {
        let state = &self.sockets[socket];
        let (host, family) = (state.host, state.family);
        let (remote, write_shut) = match &state.protocol {
            Protocol::Udp(udp) => (udp.remote, udp.write_shut),
            Protocol::Tcp(_) | Protocol::Unix(_) => return Err(Fail::Errno(EINVAL)),
        };
        let bytes = input.len();
        if bytes > 0xffff {
            return Err(Fail::Errno(EMSGSIZE));
        }
        let mut to = match to {
            Some(to) if to.port == 0 => return Err(Fail::Errno(EINVAL)),
            Some(to) => to,
            None => remote.ok_or(EDESTADDRREQ)?,
        };
        if to.ip.is_unspecified() {
            to.ip = loopback_like(to.ip);
        }
        if family == Family::V6 && to.ip.is_ipv4() && state.options.v6_only {
            return Err(Fail::Errno(ENETUNREACH));
        }
        let broadcast = is_broadcast(to.ip);
        if broadcast && !state.options.broadcast {
            return Err(Fail::Errno(EACCES));
        }
        let route = self.route(host, to.ip);
        if route == Route::None && !broadcast && !to.ip.is_multicast() {
            return Err(Fail::Errno(ENETUNREACH));
        }
        if let Some(source) = sent.source
            && !self.stacks[host.0 as usize].owns(source)
        {
            return Err(Fail::Errno(EINVAL));
        }
        self.udp_check_size(socket, bytes, to.ip, sent)?;
        if let error @ 1.. = std::mem::take(&mut self.sockets[socket].error) {
            return Err(Fail::Errno(error));
        }
        if write_shut {
            return Err(Fail::Errno(EPIPE));
        }
        if !self.sockets[socket].holds_port {
            self.udp_bind(socket, Endpoint::new(family.any(), 0)).map_err(|_| libc::EAGAIN)?;
        }
        let segment = sent.segment.unwrap_or(self.sockets[socket].options.segment);
        let size = if segment == 0 { bytes } else { usize::from(segment) };
        let mut done = 0;
        loop {
            let count = size.min(bytes - done);
            self.udp_send_one(cx, socket, (input, done, count), to, route, sent);
            done += count;
            if done == bytes {
                return Ok(bytes);
            }
        }
    }

    /// The sizes that are refused: too long for a datagram, too many segments, or to be fragmented against the
    /// socket's will (`IP_MTU_DISCOVER`, ip(7)).
    fn udp_check_size(&self, socket: Socket, bytes: usize, to: IpAddr, sent: &Sent) -> Result<(), Fail> {
        let options = &self.sockets[socket].options;
        let most = if to.is_ipv4() { PAYLOAD_BYTES_MAX_V4 } else { PAYLOAD_BYTES_MAX_V6 };
        if bytes > most {
            return Err(Fail::Errno(EMSGSIZE));
        }
        let segment = usize::from(sent.segment.unwrap_or(options.segment));
        let own = self.stacks[self.sockets[socket].host.0 as usize].owns(to);
        let whole = if own { LOOPBACK_UNFRAGMENTED_BYTES } else { UNFRAGMENTED_BYTES };
        let whole = if to.is_ipv4() { whole } else { whole - 20 };
        if segment > 0 && (segment > whole || bytes.div_ceil(segment) > SEGMENTS_MAX) {
            return Err(Fail::Errno(EINVAL));
        }
        let piece = if segment > 0 { segment.min(bytes) } else { bytes };
        let unbroken = matches!(options.path_mtu_discovery, libc::IP_PMTUDISC_DO | libc::IP_PMTUDISC_PROBE);
        if unbroken && piece > whole { Err(Fail::Errno(EMSGSIZE)) } else { Ok(()) }
    }

    fn udp_send_one(
        &mut self,
        cx: &mut Cx<'_>,
        socket: Socket,
        (input, offset, count): (&In<'_>, usize, usize),
        to: Endpoint,
        route: Route,
        sent: &Sent,
    ) {
        let state = &self.sockets[socket];
        let (host, local, tos) = (state.host, state.local, sent.tos.unwrap_or(state.options.tos));
        let (looped, connected) =
            (state.options.multicast_loop, matches!(&state.protocol, Protocol::Udp(u) if u.remote.is_some()));
        let source = match sent.source {
            Some(source) => source,
            None if local.ip.is_unspecified() || local.ip.is_multicast() => {
                self.stacks[host.0 as usize].source_for(to.ip)
            }
            None => local.ip,
        };
        let from = Endpoint::new(source, local.port);
        let mut buffer = self.spare_buffer();
        input.pieces(offset, count, |piece| buffer.extend_from_slice(piece));
        let datagram = |bytes| Received { bytes, from, to: to.ip, tos };
        if to.ip.is_multicast() || is_broadcast(to.ip) {
            for target in self.udp_audience(host, to, looped) {
                let copy = datagram(buffer.clone());
                self.udp_launch(
                    cx,
                    host,
                    Travelling { datagram: copy, port: to.port, host: target, sender: None, way: None },
                );
            }
            return self.recycle(buffer);
        }
        match route {
            Route::Host(target) => {
                let datagram = datagram(buffer);
                let travelling = Travelling { datagram, port: to.port, host: target, sender: Some(socket), way: None };
                self.udp_launch(cx, host, travelling);
            }
            Route::NameServer => {
                self.name_server_hears(cx, host, from, to.port, &buffer, socket);
                self.recycle(buffer);
            }
            Route::Nobody | Route::None => {
                if connected {
                    cx.schedule(cx.now + UNREACHABLE_NS, NetEvent::Icmp(socket, EHOSTUNREACH));
                }
                self.recycle(buffer);
            }
        }
    }

    /// The hosts that a multicast or broadcast datagram is sent to: those that would not ignore it.
    fn udp_audience(&self, host: HostId, to: Endpoint, looped: bool) -> Vec<HostId> {
        if to.ip.is_multicast() {
            let members = self.groups.get(&to.ip).into_iter().flatten().copied();
            return members.filter(|member| looped || *member != host).collect();
        }
        self.udp_hosts.get(&to.port).into_iter().flat_map(|hosts| hosts.keys().copied()).collect()
    }

    fn udp_launch(&mut self, cx: &mut Cx<'_>, from: HostId, mut travelling: Travelling) {
        let link = self.links.between(from, travelling.host);
        let bytes = travelling.datagram.bytes.len();
        let piece_bytes = if from == travelling.host { usize::MAX } else { UNFRAGMENTED_BYTES };
        // A datagram in pieces arrives if all of them do, and twice if it is one.
        let (mut left, mut arrives, mut leaves, mut lost) = (bytes, 0, 0, false);
        let twice = loop {
            let piece = left.min(piece_bytes);
            left -= piece;
            let passage = self.links.passage(link, Parcel::datagram(cx.now, piece as u64));
            if let Some(Passage { delay, leaves: later, flipped, .. }) = passage {
                (arrives, leaves) = (arrives.max(delay), leaves.max(later));
                match flipped.map(|which| (which, travelling.datagram.bytes.get_mut(left..left + piece))) {
                    None => {}
                    Some((which, Some(bytes))) if !bytes.is_empty() => flip(bytes, which),
                    // Nothing but a header, whose checksum fails.
                    Some(_) => lost = true,
                }
            }
            lost |= passage.is_none();
            if left == 0 {
                break passage.is_some_and(|passage| passage.twice) && bytes <= piece_bytes;
            }
        };
        if lost {
            return self.recycle(travelling.datagram.bytes);
        }
        let at = cx.now + arrives;
        if twice {
            let datagram = Received { bytes: travelling.datagram.bytes.clone(), ..travelling.datagram };
            let copy = Travelling { datagram, ..travelling };
            self.udp_send_off(cx, (link, at, leaves), copy);
        }
        self.udp_send_off(cx, (link, at, leaves), travelling);
    }

    fn udp_send_off(&mut self, cx: &mut Cx<'_>, (link, arrives, leaves): (LinkId, u64, u64), travelling: Travelling) {
        let id = self.travelling.insert(travelling);
        let key = cx.schedule(arrives, NetEvent::Datagram(id));
        self.travelling[id].way = Some(Way { link, arrives, leaves, key });
    }

    /// A datagram reaches its host: `__udp4_lib_rcv`.
    pub(super) fn udp_arrival(&mut self, cx: &mut Cx<'_>, id: Id<Travelling>) {
        let Some(Travelling { datagram, port, host, sender, way: _ }) = self.travelling.remove(id) else { return };
        if !self.stacks[host.0 as usize].up {
            return self.recycle(datagram.bytes);
        }
        self.datagrams_ever += 1;
        self.deliveries.push_back((datagram.bytes.len() as i64, 1 << 63 | self.datagrams_ever));
        if datagram.to.is_multicast() || is_broadcast(datagram.to) {
            return self.udp_deliver_to_all(host, port, datagram);
        }
        match self.udp_receiver(host, port, &datagram) {
            Some(socket) => self.udp_deliver(socket, datagram),
            None => {
                self.recycle(datagram.bytes);
                if let Some(sender) = sender.filter(|sender| self.sockets.get(*sender).is_some()) {
                    // RFC 1122 §4.1.3.1: port unreachable.
                    let link = self.links.between(host, self.sockets[sender].host);
                    if let Fate::Arrives(delay) = self.links.fate(link, Parcel::bare(cx.now)) {
                        cx.schedule(cx.now + delay, NetEvent::Icmp(sender, ECONNREFUSED));
                    }
                }
            }
        }
    }

    /// How well a socket fits a datagram: `compute_score`, net/ipv4/udp.c.
    fn udp_fit(&self, socket: Socket, claim: &Claim, datagram: &Received) -> Option<u32> {
        let fit = claim.fit(datagram.to)?;
        match &self.sockets.get(socket)?.protocol {
            Protocol::Udp(udp) => match udp.remote {
                Some(remote) if remote == datagram.from => Some(fit + 8),
                Some(remote) if !remote.ip.is_multicast() && !is_broadcast(remote.ip) => None,
                Some(_) | None => Some(fit),
            },
            Protocol::Tcp(_) | Protocol::Unix(_) => None,
        }
    }

    /// The one socket that gets a unicast datagram. Among equals the latest bound wins, or with `SO_REUSEPORT` the one
    /// that the hash of the endpoints points to.
    fn udp_receiver(&self, host: HostId, port: u16, datagram: &Received) -> Option<Socket> {
        let holders = self.stacks[host.0 as usize].udp.holders(port);
        if let [only] = holders {
            return self.udp_fit(only.socket, &only.claim, datagram).map(|_| only.socket);
        }
        let fits = || holders.iter().filter_map(|h| Some((self.udp_fit(h.socket, &h.claim, datagram)?, h)));
        let best = fits().map(|(fit, _)| fit).max()?;
        let among = || fits().filter(|(fit, _)| *fit == best).map(|(_, holder)| holder);
        let count = among().count() as u64;
        if among().all(|holder| holder.claim.reuse_port) {
            let hash = mix(u64::from(datagram.from.port) << 16 | u64::from(port)) % count;
            return among().nth(hash as usize).map(|holder| holder.socket);
        }
        among().next_back().map(|holder| holder.socket)
    }

    fn udp_deliver_to_all(&mut self, host: HostId, port: u16, datagram: Received) {
        let holders = self.stacks[host.0 as usize].udp.holders(port);
        let wants = |socket: Socket, claim: &Claim| match &self.sockets.get(socket)?.protocol {
            // IP_MULTICAST_ALL (ip(7)) is on: a wildcard socket hears every group that the host has joined.
            Protocol::Udp(udp) if claim.ip.is_unspecified() || claim.ip == datagram.to => {
                udp.remote.is_none_or(|remote| remote == datagram.from).then_some(socket)
            }
            Protocol::Udp(_) | Protocol::Tcp(_) | Protocol::Unix(_) => None,
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
    pub(super) fn udp_receive(
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
        let taken = Taken { copied, bytes: first.bytes.len(), from: first.from, to: first.to, tos: first.tos };
        if flags & libc::MSG_PEEK == 0
            && let Some(first) = udp.queue.pop_front()
        {
            udp.queued_bytes -= true_size(first.bytes.len());
            self.recycle(first.bytes);
        }
        Ok(Some(taken))
    }

    /// An ICMP error: connected sockets hear of it, others only with `IP_RECVERR` (udp(7)).
    pub(super) fn udp_error(&mut self, socket: Socket, errno: i32) {
        let Some(state) = self.sockets.get_mut(socket) else { return };
        let Protocol::Udp(udp) = &state.protocol else { return };
        if udp.remote.is_some() || state.options.receive_errors {
            state.error = errno;
            self.notify(socket, CHANGE);
        }
    }

    /// `IP_ADD_MEMBERSHIP`, `IPV6_JOIN_GROUP`, and their opposites.
    pub(super) fn udp_membership(&mut self, socket: Socket, group: IpAddr, join: bool) -> Result<(), i32> {
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
    pub(super) fn udp_close(&mut self, socket: Socket) {
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
