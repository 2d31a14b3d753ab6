//! A datagram socket's own address and its peer's: bind(2), connect(2), shutdown(2), and the ports given without being
//! asked for.

use super::loopback_like;
use crate::kernel::net::address::{Family, RawAddress, V4_BYTES};
use crate::kernel::net::control::Sent;
use crate::kernel::net::ports::Rule;
use crate::kernel::net::socket::Protocol;
use crate::kernel::net::stack::{DeadEnd, Route, is_broadcast};
use crate::kernel::net::{Cx, Endpoint, Network, Socket};
use libc::{
    AF_INET, AF_INET6, AF_UNSPEC, EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EINVAL, ENETUNREACH,
};
use libc::{ENOTCONN, IPPROTO_UDP, SOL_SOCKET, c_int};
use std::net::{IpAddr, Ipv4Addr};

impl Network {
    /// bind(2): `inet_bind_sk`, `__inet_bind` (net/ipv4/af_inet.c), `__inet6_bind` (net/ipv6/af_inet6.c).
    pub(in crate::kernel::net) fn udp_bind_to(&mut self, socket: Socket, address: &RawAddress) -> Result<(), c_int> {
        let state = &self.sockets[socket];
        let (host, family, bound) = (state.host, state.family, state.holds_port);
        address.check_length(family)?;
        let at = match (family, address.family()) {
            // AF_UNSPEC is tolerated with the wildcard address.
            (Family::V4, Some(AF_UNSPEC)) if address.v4().is_unspecified() => address.endpoint_v4(),
            _ => address.decode(family)?.ok_or(EAFNOSUPPORT)?,
        };
        let no_such_address = !self.stacks[host.0 as usize].may_bind(at.ip);
        match family {
            Family::V4 if no_such_address => return Err(EADDRNOTAVAIL),
            _ if bound => return Err(EINVAL),
            Family::V6 if address.is_mapped() && state.options.v6_only => return Err(EINVAL),
            _ if no_such_address => return Err(EADDRNOTAVAIL),
            _ => {}
        }
        let v6_only = state.options.v6_only;
        if at.ip.is_ipv6() && !at.ip.is_unspecified() {
            self.sockets[socket].options.v6_only = true; // `sk->sk_ipv6only = 1`, __inet6_bind
        }
        if let Err(error) = self.udp_bind(socket, at) {
            let state = &mut self.sockets[socket];
            state.options.v6_only = v6_only;
            state.local = Endpoint::new(family.any(), 0); // inet_reset_saddr
            return Err(error);
        }
        let state = &mut self.sockets[socket];
        state.bound_by_program |= at.port != 0;
        state.bound_address |= address.is_mapped() || !at.ip.is_unspecified();
        Ok(())
    }

    /// `udp_lib_get_port`: gives a socket a port, the asked one or with 0 an unused one.
    fn udp_bind(&mut self, socket: Socket, at: Endpoint) -> Result<(), c_int> {
        let state = &self.sockets[socket];
        let (host, family) = (state.host, state.family);
        let claim = self.claim(socket, at);
        let port = match at.port {
            0 => self.unused_port(host, Rule::Datagram).map_err(|_| EADDRINUSE)?,
            port if self.stack(host).udp.datagram_conflict(port, &claim) => return Err(EADDRINUSE),
            port => port,
        };
        // Lookups find the latest first, except those that IPv6 puts at the end to share a port.
        let last = claim.reuse_port && family == Family::V6;
        self.stack(host).udp.hold_datagrams(port, socket, claim, last);
        *self.udp_hosts.entry(port).or_default().entry(host).or_default() += 1;
        let state = &mut self.sockets[socket];
        state.local = Endpoint::new(at.ip, port);
        state.holds_port = true;
        if let Protocol::Udp(udp) = &mut state.protocol {
            udp.shares_port = claim.reuse_port;
        }
        Ok(())
    }

    /// `inet_autobind`: whoever sends or connects has a port from then on, also when the rest fails.
    pub(super) fn udp_autobind(&mut self, socket: Socket) -> Result<(), c_int> {
        let state = &self.sockets[socket];
        if state.holds_port {
            return Ok(());
        }
        self.udp_bind(socket, Endpoint::new(state.local.ip, 0)).map_err(|_| EAGAIN)
    }

    /// `udp_lib_unhash`.
    pub(super) fn udp_release(&mut self, socket: Socket) {
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

    /// Does what an option's change asks for at once, if it is a datagram socket's.
    pub(in crate::kernel::net) fn udp_option_changed(
        &mut self,
        cx: &mut Cx<'_>,
        socket: Socket,
        option: (c_int, c_int),
    ) {
        if self.udp(socket).is_none() {
            return;
        }
        match option {
            (SOL_SOCKET, libc::SO_REUSEADDR | libc::SO_REUSEPORT) => self.udp_reuse_changed(socket),
            (IPPROTO_UDP, libc::UDP_CORK) if !self.sockets[socket].options.cork => self.udp_uncork(cx, socket),
            _ => {}
        }
    }

    /// A reuse option has changed: others that want the port go by what is set now (`udp_lib_lport_inuse`).
    fn udp_reuse_changed(&mut self, socket: Socket) {
        let state = &self.sockets[socket];
        let (host, port) = (state.host, state.local.port);
        let (address, share) = (state.options.reuse_address, state.options.reuse_port);
        self.stack(host).udp.set_reuse(port, socket, address, share);
    }

    /// connect(2) of a datagram socket: `inet_dgram_connect`, `__ip4_datagram_connect` (net/ipv4/datagram.c),
    /// `__ip6_datagram_connect` (net/ipv6/datagram.c).
    pub(in crate::kernel::net) fn udp_connect(&mut self, socket: Socket, address: &RawAddress) -> Result<(), c_int> {
        if address.family().ok_or(EINVAL)? == AF_UNSPEC {
            self.udp_disconnect(socket);
            return Ok(());
        }
        self.udp_autobind(socket)?;
        let state = &self.sockets[socket];
        let (host, local, v6_only) = (state.host, state.local, state.options.v6_only);
        let mut to = match (state.family, address.family()) {
            (Family::V6, Some(AF_INET)) if v6_only => return Err(EAFNOSUPPORT),
            (Family::V6, Some(AF_INET)) => address.decode(Family::V4)?.ok_or(EINVAL)?,
            (family, _) => {
                address.check_length(family)?;
                address.decode(family)?.ok_or(EAFNOSUPPORT)?
            }
        };
        if to.ip.is_unspecified() {
            // Oneself: ip_route_output_key, and "connect to self" in __ip6_datagram_connect.
            to.ip = oneself(local.ip, to.ip);
        }
        if to.ip.is_ipv4() && state.family == Family::V6 && v6_only {
            return Err(ENETUNREACH);
        }
        let route = self.udp_check_route(socket, to.ip)?;
        let source = self.stacks[host.0 as usize].source_for(to.ip);
        if local.ip.is_unspecified() {
            self.udp_move(socket, source);
        }
        let from = self.udp_source(socket, to.ip, &Sent::default());
        let Some(udp) = self.udp(socket) else { return Err(EINVAL) };
        udp.remote = Some(to);
        // What has been gathered goes there now: both use `inet->cork.fl` (ip4_datagram_connect), whose other meaning
        // for IPv6 is spoilt by it.
        match udp.pending.as_mut().filter(|_| to.ip.is_ipv4()) {
            Some(pending) if pending.to.ip.is_ipv4() => {
                (pending.to, pending.route, pending.sent.source) = (to, route, Some(from));
            }
            Some(pending) => pending.route = Route::DeadEnd(DeadEnd::Nobody),
            None => {}
        }
        Ok(())
    }

    /// Whether a socket's datagrams may go to an address at all.
    pub(super) fn udp_check_route(&self, socket: Socket, to: IpAddr) -> Result<Route, c_int> {
        let state = &self.sockets[socket];
        let (local, stack) = (state.local.ip, &self.stacks[state.host.0 as usize]);
        if to.is_ipv6() && local.is_ipv4() {
            return Err(EAFNOSUPPORT); // from a mapped address to one that is none: ip6_dst_lookup_tail
        }
        let route = self.route(state.host, to);
        if is_broadcast(to) {
            return if state.options.broadcast { Ok(route) } else { Err(EACCES) }; // RTCF_BROADCAST
        }
        if to.is_multicast() {
            return Ok(route);
        }
        match route {
            // A loopback address must not leave its host (__mkroute_output).
            _ if local.is_ipv4() && to.is_ipv4() && local.is_loopback() && !stack.owns(to) => Err(EINVAL),
            route => Ok(route),
        }
    }

    /// `udp_lib_rehash`: the socket's address changes. It leaves those that it shared its port with.
    fn udp_move(&mut self, socket: Socket, ip: IpAddr) {
        let state = &mut self.sockets[socket];
        let (host, port, moved) = (state.host, state.local.port, state.local.ip != ip);
        state.local.ip = ip;
        if moved {
            self.stack(host).udp.move_datagrams(port, socket, ip);
            if let Some(udp) = self.udp(socket) {
                udp.shares_port = false;
            }
        }
    }

    /// `__udp_disconnect`: what the program has not bound itself is given back. An error stays.
    fn udp_disconnect(&mut self, socket: Socket) {
        let any = self.sockets[socket].family.any();
        let Some(udp) = self.udp(socket) else { return };
        udp.remote = None;
        if !self.sockets[socket].bound_address {
            self.udp_move(socket, any);
        }
        if !self.sockets[socket].bound_by_program {
            self.udp_release(socket);
            self.sockets[socket].local.port = 0;
        }
    }

    /// `inet_shutdown` for UDP: also works, with an error, on a socket that is not connected.
    pub(in crate::kernel::net) fn udp_shutdown(
        &mut self,
        socket: Socket,
        reading: bool,
        writing: bool,
    ) -> Result<(), c_int> {
        let udp = self.udp(socket).ok_or(EINVAL)?;
        udp.read_shut |= reading;
        udp.write_shut |= writing;
        let connected = udp.remote.is_some();
        self.notify(socket, super::CHANGE);
        if connected { Ok(()) } else { Err(ENOTCONN) }
    }
}

/// Where `sendto` is told to send, as the two families read it: `udp_sendmsg`, `udpv6_sendmsg`. `None` is nowhere.
pub(super) fn destination(address: &RawAddress, family: Family, v6_only: bool) -> Result<Option<Endpoint>, c_int> {
    let given = address.family();
    let to = match (family, given) {
        (Family::V4, _) if address.len < V4_BYTES => return Err(EINVAL),
        (Family::V4, Some(AF_INET | AF_UNSPEC)) => address.endpoint_v4(),
        (Family::V4, _) => return Err(EAFNOSUPPORT),
        (Family::V6, Some(AF_UNSPEC)) => return Ok(None),
        (Family::V6, Some(AF_INET)) if v6_only => return Err(ENETUNREACH),
        (Family::V6, Some(AF_INET)) if address.len < V4_BYTES => return Err(EINVAL),
        (Family::V6, Some(AF_INET)) => address.endpoint_v4(),
        (Family::V6, Some(AF_INET6)) => address.decode(family)?.ok_or(EINVAL)?,
        (Family::V6, _) => return Err(EINVAL),
    };
    if to.ip.is_ipv4() && family == Family::V6 && v6_only {
        return Err(ENETUNREACH);
    }
    if to.port == 0 { Err(EINVAL) } else { Ok(Some(to)) }
}

/// Which family's way a datagram of an IPv6 socket takes by its destination (`udpv6_sendmsg`); `None` when no family is
/// named.
pub(super) fn family_of_destination(address: &RawAddress, v6_only: bool) -> Result<Option<Family>, c_int> {
    let family = match address.family() {
        Some(AF_UNSPEC) => return Ok(None),
        Some(AF_INET) => Family::V4,
        Some(AF_INET6) if address.is_mapped() => Family::V4,
        Some(AF_INET6) if address.check_length(Family::V6).is_ok() => Family::V6,
        _ => return Err(EINVAL),
    };
    if family == Family::V4 && v6_only { Err(ENETUNREACH) } else { Ok(Some(family)) }
}

/// What stands for oneself, for who sends to no address in particular.
pub(super) fn oneself(local: IpAddr, to: IpAddr) -> IpAddr {
    match (local, to) {
        (IpAddr::V4(_), _) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (IpAddr::V6(_), to) => loopback_like(to),
    }
}
