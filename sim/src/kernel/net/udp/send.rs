//! Sending datagrams: `udp_sendmsg` (net/ipv4/udp.c), `udpv6_sendmsg` (net/ipv6/udp.c), and their way to a host.

use super::connect::{destination, family_of_destination, oneself};
use super::{Pending, Received, SPACE, Travelling, Way};
use crate::abi::user::In;
use crate::kernel::net::address::{Family, RawAddress};
use crate::kernel::net::control::Sent;
use crate::kernel::net::link::{LinkId, Parcel, Passage, flip};
use crate::kernel::net::socket::Protocol;
use crate::kernel::net::stack::{LOOPBACK_BROADCAST, Route, is_broadcast};
use crate::kernel::net::{Cx, Endpoint, Fail, NetEvent, Network, Socket};
use crate::world::HostId;
use libc::{EDESTADDRREQ, EINVAL, EMSGSIZE, ENETUNREACH, EOPNOTSUPP, EPIPE, c_int};
use std::net::IpAddr;

/// Largest payload: 65,535 less the headers (udp(7), RFC 8200 §3).
const PAYLOAD_BYTES_MAX_V4: usize = 65_507;
const PAYLOAD_BYTES_MAX_V6: usize = 65_527;
/// Payload that leaves in one piece: Ethernet's 1,500, loopback's 65,536, less the IPv4 headers.
const UNFRAGMENTED_BYTES: usize = 1472;
const LOOPBACK_UNFRAGMENTED_BYTES: usize = 65_508;
/// Segments that one call with `UDP_SEGMENT` may make (`UDP_MAX_SEGMENTS`, include/linux/udp.h).
const SEGMENTS_MAX: usize = 128;

/// What udp_sendmsg refuses before it looks any further; udpv6_sendmsg does not.
fn refused(bytes: usize, flags: c_int) -> Result<(), c_int> {
    match (bytes, flags & libc::MSG_OOB) {
        (0x1_0000.., _) => Err(EMSGSIZE),
        (_, 0) => Ok(()),
        _ => Err(EOPNOTSUPP),
    }
}

/// The longest datagram to an address.
fn most_bytes(to: IpAddr) -> usize {
    if to.is_ipv4() { PAYLOAD_BYTES_MAX_V4 } else { PAYLOAD_BYTES_MAX_V6 }
}

impl Network {
    /// Sends a datagram. Answers how many bytes were sent.
    pub(in crate::kernel::net) fn udp_send(
        &mut self,
        cx: &mut Cx<'_>,
        socket: Socket,
        input: &In<'_>,
        (to, flags): (Option<&RawAddress>, c_int),
        sent: Result<Sent, c_int>,
    ) -> Result<usize, Fail> {
        self.udp_autobind(socket)?; // inet_send_prepare
        let bytes = input.len();
        let corked = flags & libc::MSG_MORE != 0 || self.sockets[socket].options.cork;
        if let Some(gathered) = self.udp_gathered(socket) {
            self.udp_check_append(socket, gathered, (bytes, flags), to)?;
            return self.udp_append(cx, socket, input, corked);
        }
        let to = self.udp_destination(socket, bytes, to, flags)?;
        let sent = &sent?;
        let route = self.udp_check_route(socket, to.ip)?;
        let state = &self.sockets[socket];
        let (host, write_shut) = match &state.protocol {
            Protocol::Udp(udp) => (state.host, udp.write_shut),
            _ => return Err(Fail::Errno(EINVAL)),
        };
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
        let mut buffer = self.spare_buffer();
        input.pieces(0, bytes, |piece| buffer.extend_from_slice(piece));
        let sent = Sent { source: Some(self.udp_source(socket, to.ip, sent)), ..*sent };
        self.udp_push_unless(cx, socket, corked, Pending { bytes: buffer, to, route, sent });
        Ok(bytes)
    }

    /// Where what has been gathered goes, if anything has been.
    fn udp_gathered(&self, socket: Socket) -> Option<IpAddr> {
        match &self.sockets[socket].protocol {
            Protocol::Udp(udp) => Some(udp.pending.as_ref()?.to.ip),
            _ => None,
        }
    }

    /// What is asked of a call that adds to a datagram: its destination is looked at only as far as its family.
    fn udp_check_append(
        &self,
        socket: Socket,
        gathered: IpAddr,
        (bytes, flags): (usize, c_int),
        to: Option<&RawAddress>,
    ) -> Result<(), c_int> {
        let state = &self.sockets[socket];
        let named = match to {
            Some(address) if state.family == Family::V6 => {
                match family_of_destination(address, state.options.v6_only)? {
                    Some(Family::V4) if gathered.is_ipv6() => return Err(EINVAL), // `up->pending != AF_INET`
                    named => named,
                }
            }
            _ => None,
        };
        match named {
            None if gathered.is_ipv6() => Ok(()),
            Some(Family::V6) if gathered.is_ipv6() => Ok(()),
            _ => refused(bytes, flags),
        }
    }

    /// Adds to what has been gathered, and sends it unless more follows.
    fn udp_append(&mut self, cx: &mut Cx<'_>, socket: Socket, input: &In<'_>, corked: bool) -> Result<usize, Fail> {
        let pending = self.udp(socket).and_then(|udp| udp.pending.take());
        let Some(mut pending) = pending else { return Err(Fail::Errno(EINVAL)) };
        let bytes = input.len();
        if pending.bytes.len() + bytes > most_bytes(pending.to.ip) {
            self.recycle(pending.bytes); // udp_flush_pending_frames
            return Err(Fail::Errno(EMSGSIZE));
        }
        input.pieces(0, bytes, |piece| pending.bytes.extend_from_slice(piece));
        self.udp_push_unless(cx, socket, corked, pending);
        Ok(bytes)
    }

    /// Sends what has been gathered, or keeps it until the cork comes off.
    fn udp_push_unless(&mut self, cx: &mut Cx<'_>, socket: Socket, corked: bool, pending: Pending) {
        if !corked {
            self.udp_push(cx, socket, pending);
        } else if let Some(udp) = self.udp(socket) {
            udp.pending = Some(pending);
        }
    }

    /// `UDP_CORK` is switched off: what was gathered goes (`udp_push_pending_frames`).
    pub(in crate::kernel::net) fn udp_uncork(&mut self, cx: &mut Cx<'_>, socket: Socket) {
        if let Some(pending) = self.udp(socket).and_then(|udp| udp.pending.take()) {
            self.udp_push(cx, socket, pending);
        }
    }

    /// Sends a datagram, or with `UDP_SEGMENT` several.
    fn udp_push(&mut self, cx: &mut Cx<'_>, socket: Socket, pending: Pending) {
        let Pending { bytes, to, route, sent } = pending;
        let segment = usize::from(sent.segment.unwrap_or(self.sockets[socket].options.segment));
        if segment == 0 || bytes.len() <= segment {
            self.udp_send_one(cx, socket, bytes, to, route, &sent);
        } else {
            for piece in bytes.chunks(segment) {
                let mut buffer = self.spare_buffer();
                buffer.extend_from_slice(piece);
                self.udp_send_one(cx, socket, buffer, to, route, &sent);
            }
            self.recycle(bytes);
        }
        // It has left, and made room: sock_wfree, from loopback_xmit or when the interface is done.
        self.notify(socket, SPACE);
    }

    /// Where a datagram goes, checked in Linux's order.
    fn udp_destination(
        &self,
        socket: Socket,
        bytes: usize,
        to: Option<&RawAddress>,
        flags: c_int,
    ) -> Result<Endpoint, c_int> {
        let state = &self.sockets[socket];
        let remote = match &state.protocol {
            Protocol::Udp(udp) => udp.remote,
            _ => None,
        };
        if state.family == Family::V4 {
            refused(bytes, flags)?;
        }
        let named = match to {
            Some(address) => destination(address, state.family, state.options.v6_only)?,
            None => None,
        };
        if let (None, Some(_), Some(Endpoint { ip: IpAddr::V4(_), .. })) = (named, to, remote)
            && state.family == Family::V6
        {
            // udpv6_sendmsg: AF_UNSPEC stands for the peer, whose mapped address is then looked up as it is.
            return Err(ENETUNREACH);
        }
        let mut to = named.or(remote).ok_or(EDESTADDRREQ)?;
        if to.ip.is_unspecified() {
            to.ip = oneself(state.local.ip, to.ip);
        }
        if state.family == Family::V6 && to.ip.is_ipv4() {
            // The peer's mapped address is handed to udp_sendmsg as if it had been named.
            if to.port == 0 {
                return Err(EINVAL);
            }
            refused(bytes, flags)?;
        }
        Ok(to)
    }

    /// The sizes that are refused: too long for a datagram, too many segments, or to be fragmented against the
    /// socket's will (`IP_MTU_DISCOVER`, ip(7)).
    fn udp_check_size(&self, socket: Socket, bytes: usize, to: IpAddr, sent: &Sent) -> Result<(), Fail> {
        let options = &self.sockets[socket].options;
        if bytes > most_bytes(to) {
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
        if options.is_unbroken(to) && piece > whole { Err(Fail::Errno(EMSGSIZE)) } else { Ok(()) }
    }

    /// The address that datagrams to another come from.
    pub(super) fn udp_source(&self, socket: Socket, to: IpAddr, sent: &Sent) -> IpAddr {
        let (host, local) = (self.sockets[socket].host, self.sockets[socket].local.ip);
        match sent.source {
            Some(source) => source,
            // `inet_saddr` is that of the bound address, if datagrams can come from it.
            None if local.is_unspecified()
                || local.is_multicast()
                || is_broadcast(local)
                || local.is_ipv4() != to.is_ipv4() =>
            {
                self.stacks[host.0 as usize].source_for(to)
            }
            None => local,
        }
    }

    fn udp_send_one(
        &mut self,
        cx: &mut Cx<'_>,
        socket: Socket,
        buffer: Vec<u8>,
        to: Endpoint,
        route: Route,
        sent: &Sent,
    ) {
        let state = &self.sockets[socket];
        let (host, local, tos) = (state.host, state.local, sent.tos.unwrap_or_else(|| state.options.tos.of(to.ip)));
        let looped = state.options.multicast_loop.of(to.ip);
        let source = self.udp_source(socket, to.ip, sent);
        let from = Endpoint::new(source, local.port);
        let datagram = |bytes| Received { bytes, from, to: to.ip, tos, arrived: 0 };
        if to.ip.is_multicast() || is_broadcast(to.ip) {
            for host_of_many in self.udp_audience(host, to, looped) {
                let datagram = datagram(buffer.clone());
                let copy = Travelling { datagram, port: to.port, host: host_of_many, answerable: false, way: None };
                self.udp_launch(cx, host, copy);
            }
            return self.recycle(buffer);
        }
        match route {
            Route::Host(target) => {
                let datagram = datagram(buffer);
                let travelling = Travelling { datagram, port: to.port, host: target, answerable: true, way: None };
                self.udp_launch(cx, host, travelling);
            }
            Route::NameServer => {
                self.name_server_hears(cx, host, from, to.port, &buffer);
                self.recycle(buffer);
            }
            Route::DeadEnd(end) => {
                let told = NetEvent::Icmp(Box::new((host, from, to, end.errno())));
                cx.schedule(cx.now + end.told_after_ns(), told);
                self.recycle(buffer);
            }
        }
    }

    /// The hosts that a multicast or broadcast datagram is sent to: those that would not ignore it.
    fn udp_audience(&self, host: HostId, to: Endpoint, looped: bool) -> Vec<HostId> {
        if to.ip == IpAddr::V4(LOOPBACK_BROADCAST) {
            return vec![host];
        }
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
            let passage = self.links.passage(link, Parcel::datagram(cx.now, piece as u64, left == 0));
            if let Some(Passage { delay, leaves: later, flipped, .. }) = passage {
                (arrives, leaves) = (arrives.max(delay), leaves.max(later));
                if let (Some(which), Some(bytes)) = (flipped, travelling.datagram.bytes.get_mut(left..left + piece)) {
                    flip(bytes, which);
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
}
