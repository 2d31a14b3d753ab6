//! Making sockets and giving them addresses: socket(2), bind(2), listen(2), accept(2), connect(2), shutdown(2),
//! getsockname(2), getpeername(2).

use super::address::{Family, RawAddress};
use super::options::Options;
use super::ports::{Claim, Rule};
use super::socket::{Protocol, SocketState};
use super::stack::is_broadcast;
use super::tcp::{BACKLOG_MAX, CHANGE, DATA, Listener, Phase, SPACE, Side, Standing, Tcp};
use super::udp::{Udp, loopback_like};
use super::{Cx, Endpoint, Fail, Network, Socket};
use crate::kernel::dispatch::Kernel;
use crate::kernel::file::{FileId, Kind};
use crate::kernel::netlink::kernel_address;
use crate::kernel::{Step, Stop, ThreadId};
use crate::world::HostId;
use libc::{AF_INET, AF_INET6, AF_UNIX, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EALREADY, ECONNABORTED, EINPROGRESS};
use libc::{ECONNRESET, EINVAL, EISCONN, ENETUNREACH, ENOTCONN, EOPNOTSUPP, EPROTONOSUPPORT, ESOCKTNOSUPPORT};
use libc::{SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_RAW, SOCK_STREAM, c_int};

/// The bits of a type that are no flag (include/linux/net.h).
pub(crate) const SOCK_TYPE_MASK: c_int = 0xf;

impl Kernel {
    pub(crate) fn host_id(&self, me: ThreadId) -> HostId {
        self.processes[self.threads[me].process].host
    }

    /// Makes a socket a file with a descriptor.
    pub(crate) fn open_socket(
        &mut self,
        me: ThreadId,
        state: SocketState,
        flags: c_int,
    ) -> Result<(c_int, Socket), Stop> {
        let owner = self.threads[me].process;
        let socket = self.net.new_socket(state);
        let status = if flags & SOCK_NONBLOCK != 0 { libc::O_NONBLOCK } else { 0 };
        let file = self.new_file(owner, Kind::Socket(socket), libc::O_RDWR | status);
        self.net.sockets[socket].file = Some(file);
        let fd = self.new_descriptor(me, file, flags & SOCK_CLOEXEC != 0)?;
        Ok((fd, socket))
    }

    /// Gives a socket that exists already a file and a descriptor.
    pub(crate) fn open_existing_socket(&mut self, me: ThreadId, socket: Socket, flags: c_int) -> Result<c_int, Stop> {
        let owner = self.threads[me].process;
        self.check_descriptor_room(me)?;
        let status = if flags & SOCK_NONBLOCK != 0 { libc::O_NONBLOCK } else { 0 };
        let file = self.new_file(owner, Kind::Socket(socket), libc::O_RDWR | status);
        self.net.sockets[socket].file = Some(file);
        self.new_descriptor(me, file, flags & SOCK_CLOEXEC != 0)
    }

    /// socket(2).
    pub(crate) fn socket(&mut self, me: ThreadId, domain: c_int, kind: c_int, protocol: c_int) -> Step {
        let flags = kind & (SOCK_CLOEXEC | SOCK_NONBLOCK);
        let kind = kind & !flags;
        if kind & !SOCK_TYPE_MASK != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        let host = self.host_id(me);
        let family = match domain {
            AF_INET => Family::V4,
            AF_INET6 => Family::V6,
            AF_UNIX => {
                let state = self.new_unix_socket(me, kind, protocol)?;
                return Ok(i64::from(self.open_socket(me, state, flags)?.0));
            }
            libc::AF_NETLINK => {
                let state = self.new_netlink_socket(me, kind, protocol)?;
                return Ok(i64::from(self.open_socket(me, state, flags)?.0));
            }
            libc::AF_PACKET | libc::AF_VSOCK => {
                let remedy = "packet and vsock sockets are not simulated: there are AF_INET, AF_INET6, AF_UNIX and \
                              AF_NETLINK";
                self.refuse(me, "socket", remedy);
                return Err(Stop::Block);
            }
            _ => return Err(Stop::Errno(EAFNOSUPPORT)),
        };
        let state = match (kind, protocol) {
            (SOCK_STREAM, 0 | libc::IPPROTO_TCP) => {
                SocketState::new(host, family, Options::stream(), Protocol::Tcp(Tcp::Closed))
            }
            (SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => {
                SocketState::new(host, family, Options::datagram(), Protocol::Udp(Box::<Udp>::default()))
            }
            (SOCK_STREAM, libc::IPPROTO_MPTCP) => return Err(Stop::Errno(EPROTONOSUPPORT)),
            (SOCK_STREAM | SOCK_DGRAM, _) => return Err(Stop::Errno(EPROTONOSUPPORT)),
            // raw(7): only for the privileged. An unprivileged program also gets no ICMP sockets by default.
            (SOCK_RAW, _) => return Err(Stop::Errno(libc::EPERM)),
            (0..=10, _) => return Err(Stop::Errno(ESOCKTNOSUPPORT)),
            _ => return Err(Stop::Errno(EINVAL)),
        };
        Ok(i64::from(self.open_socket(me, state, flags)?.0))
    }

    /// bind(2).
    pub(crate) fn bind(&mut self, me: ThreadId, fd: c_int, address: &RawAddress) -> Step {
        let (_, socket) = self.socket_of(me, fd)?;
        let state = &self.net.sockets[socket];
        match state.protocol {
            Protocol::Unix(_) => return self.unix_bind(me, socket, address),
            Protocol::Netlink(_) => return self.netlink_bind(me, socket, address),
            Protocol::Udp(_) => return Ok(self.net.udp_bind_to(socket, address).map(|()| 0)?),
            Protocol::Tcp(_) => {}
        }
        let family = state.family;
        address.check_length(family)?; // inet_bind_sk and inet6_bind_sk look at the length first
        let at = match address.decode(family)? {
            Some(at) => at,
            // inet_bind: AF_UNSPEC is tolerated with the wildcard address.
            None if family == Family::V4 && address.v4().is_unspecified() => address.endpoint_v4(),
            None => return Err(Stop::Errno(EAFNOSUPPORT)),
        };
        self.net.bind(socket, at, address.is_mapped())?;
        Ok(0)
    }

    /// listen(2).
    pub(crate) fn listen(&mut self, me: ThreadId, fd: c_int, backlog: c_int) -> Step {
        let (_, socket) = self.socket_of(me, fd)?;
        // A negative number is compared as unsigned, and is then very large.
        let backlog = (backlog as u32).min(BACKLOG_MAX);
        match self.net.sockets[socket].protocol {
            Protocol::Tcp(_) => self.net.tcp_listen(socket, backlog)?,
            Protocol::Udp(_) | Protocol::Netlink(_) => return Err(Stop::Errno(EOPNOTSUPP)),
            Protocol::Unix(_) => return self.unix_listen(me, socket, backlog),
        }
        Ok(0)
    }

    /// accept(2), accept4(2). The peer's address is left in `address`.
    pub(crate) fn accept(&mut self, me: ThreadId, fd: c_int, flags: c_int, address: &mut RawAddress) -> Step {
        self.file(me, fd)?;
        if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        let (file, socket) = self.socket_of(me, fd)?;
        let state = &self.net.sockets[socket];
        let listener = match &state.protocol {
            Protocol::Tcp(Tcp::Listening(listener)) => listener,
            Protocol::Tcp(_) => return Err(Stop::Errno(EINVAL)),
            Protocol::Udp(_) | Protocol::Netlink(_) => return Err(Stop::Errno(EOPNOTSUPP)),
            Protocol::Unix(_) => return self.unix_accept(me, (file, socket), flags, address),
        };
        if listener.queue.is_empty() {
            let wait = self.receive_waiting(file, socket, 0);
            return Err(self.stop(me, file, Fail::Wait(DATA), wait));
        }
        let mut child = SocketState::new(state.host, state.family, Options::stream(), Protocol::Tcp(Tcp::Closed));
        child.bound_address = state.bound_address;
        let family = state.family;
        let (fd, child) = self.open_socket(me, child, flags)?;
        let Some((id, options)) = self.net.tcp_accept(socket) else { return Err(Stop::Errno(libc::EAGAIN)) };
        self.net.sockets[child].options = options;
        self.network(|net, cx| net.tcp_accepted(cx, id, child));
        *address = self.net.connections[id].ends[Side::Opener].local.encode(family);
        self.log.returned(address.bytes());
        Ok(i64::from(fd))
    }

    /// connect(2).
    pub(crate) fn connect(&mut self, me: ThreadId, fd: c_int, address: &RawAddress) -> Step {
        let (file, socket) = self.socket_of(me, fd)?;
        match self.net.sockets[socket].protocol {
            Protocol::Tcp(_) => self.connect_stream(me, (file, socket), address),
            Protocol::Udp(_) => {
                self.net.udp_connect(socket, address)?;
                Ok(0)
            }
            Protocol::Unix(_) => self.unix_connect(me, (file, socket), address),
            Protocol::Netlink(_) => self.netlink_connect(me, socket, address),
        }
    }

    /// `__inet_stream_connect`, net/ipv4/af_inet.c. `progress.done` says that this call has sent the SYN.
    fn connect_stream(&mut self, me: ThreadId, (file, socket): (FileId, Socket), address: &RawAddress) -> Step {
        let began = self.threads[me].progress.done == 1;
        let family = self.net.sockets[socket].family;
        if address.family() == Some(libc::AF_UNSPEC) {
            self.network(|net, cx| net.tcp_disconnect(cx, socket));
            return Ok(0);
        }
        let wait = self.send_waiting(file, socket, 0);
        let state = &mut self.net.sockets[socket];
        match state.standing {
            Standing::Disconnecting => return Err(Stop::Errno(EINVAL)),
            Standing::Connected => return Err(Stop::Errno(EISCONN)),
            Standing::Unconnected | Standing::Connecting => {}
        }
        let under_way = match &state.protocol {
            Protocol::Tcp(Tcp::Connected { connection, side }) => {
                Some(self.net.connections[*connection].ends[*side].phase)
            }
            Protocol::Tcp(Tcp::Closed) => None,
            Protocol::Tcp(Tcp::Listening(_)) => return Err(Stop::Errno(EISCONN)),
            Protocol::Udp(_) | Protocol::Unix(_) | Protocol::Netlink(_) => return Err(Stop::Errno(EINVAL)),
        };
        match under_way {
            Some(Phase::Open) => {
                state.standing = Standing::Connected;
                return Ok(0);
            }
            None if !began => {
                address.check_length(family)?; // tcp_v4_connect and tcp_v6_connect look at the length first
                let to = address.decode(family)?.ok_or(EINVAL)?;
                self.network(|net, cx| net.tcp_connect(cx, socket, to))?;
                self.threads[me].progress.done = 1;
                if wait.never {
                    return Err(Stop::Errno(EINPROGRESS));
                }
            }
            // Gone by itself, or dissolved by another thread while this call waited.
            None | Some(Phase::Gone) => {
                let error = self.network(|net, cx| {
                    let error = net.take_error(socket);
                    net.tcp_disconnect(cx, socket);
                    error
                });
                return Err(Stop::Errno(if error == 0 { ECONNABORTED } else { error }));
            }
            Some(_) if wait.never && !began => return Err(Stop::Errno(EALREADY)),
            Some(_) => {}
        }
        match self.stop(me, file, Fail::Wait(SPACE), wait) {
            // socket(7), SO_SNDTIMEO: the timeout of a connect is EINPROGRESS.
            Stop::Errno(libc::EAGAIN) => Err(Stop::Errno(if began { EINPROGRESS } else { EALREADY })),
            stop => Err(stop),
        }
    }

    /// shutdown(2).
    pub(crate) fn shutdown(&mut self, me: ThreadId, fd: c_int, how: c_int) -> Step {
        let (_, socket) = self.socket_of(me, fd)?;
        if let Protocol::Netlink(_) = self.net.sockets[socket].protocol {
            return Err(Stop::Errno(EOPNOTSUPP)); // sock_no_shutdown
        }
        let (reading, writing) = match how {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(Stop::Errno(EINVAL)),
        };
        match self.net.sockets[socket].protocol {
            Protocol::Tcp(_) => self.network(|net, cx| net.tcp_shutdown(cx, socket, reading, writing))?,
            Protocol::Udp(_) => self.network(|net, _| net.udp_shutdown(socket, reading, writing))?,
            Protocol::Unix(_) => self.network(|net, _| net.unix_shutdown(socket, reading, writing))?,
            Protocol::Netlink(_) => {}
        }
        Ok(0)
    }

    /// getsockname(2).
    pub(crate) fn socket_name(&mut self, me: ThreadId, fd: c_int, address: &mut RawAddress) -> Step {
        let (_, socket) = self.socket_of(me, fd)?;
        let state = &self.net.sockets[socket];
        *address = match &state.protocol {
            Protocol::Unix(unix) => unix.name(),
            Protocol::Netlink(netlink) => netlink.name(),
            Protocol::Tcp(_) | Protocol::Udp(_) => state.local.encode(state.family),
        };
        self.log.returned(address.bytes());
        Ok(0)
    }

    /// getpeername(2).
    pub(crate) fn peer_name(&mut self, me: ThreadId, fd: c_int, address: &mut RawAddress) -> Step {
        let (_, socket) = self.socket_of(me, fd)?;
        let state = &self.net.sockets[socket];
        *address = match &state.protocol {
            Protocol::Unix(unix) => self.net.unix_peer_name(unix)?,
            Protocol::Netlink(_) => kernel_address(),
            Protocol::Tcp(Tcp::Connected { connection, side, .. }) => {
                let ends = &self.net.connections[*connection].ends;
                if ends[*side].phase != Phase::Open {
                    return Err(Stop::Errno(ENOTCONN));
                }
                ends[side.other()].local.encode(state.family)
            }
            Protocol::Tcp(_) => return Err(Stop::Errno(ENOTCONN)),
            // inet_getname: a port of zero is none.
            Protocol::Udp(udp) => udp.remote.filter(|to| to.port != 0).ok_or(ENOTCONN)?.encode(state.family),
        };
        self.log.returned(address.bytes());
        Ok(0)
    }
}

impl Network {
    /// `__inet_bind` and `__inet6_bind`.
    fn bind(&mut self, socket: Socket, at: Endpoint, mapped: bool) -> Result<(), i32> {
        let state = &self.sockets[socket];
        let (host, family) = (state.host, state.family);
        if mapped && state.options.v6_only {
            return Err(EINVAL);
        }
        if !self.stacks[host.0 as usize].may_bind(at.ip) {
            return Err(EADDRNOTAVAIL);
        }
        if self.has_port(socket) {
            return Err(EINVAL);
        }
        // A named IPv6 address leaves IPv4 alone (`__inet6_bind`, net/ipv6/af_inet6.c).
        let before = self.sockets[socket].options.v6_only;
        self.sockets[socket].options.v6_only |= at.ip.is_ipv6() && !at.ip.is_unspecified();
        self.tcp_bind(socket, at).inspect_err(|_| {
            let state = &mut self.sockets[socket];
            (state.local.ip, state.options.v6_only) = (family.any(), before);
        })?;
        let state = &mut self.sockets[socket];
        state.bound_by_program |= at.port != 0;
        state.bound_address |= !at.ip.is_unspecified();
        Ok(())
    }

    /// Whether a socket has a port (`inet_num`). A connection that is over has given it back unless it was bound to it,
    /// though `getsockname` still names it.
    pub(super) fn has_port(&self, socket: Socket) -> bool {
        let state = &self.sockets[socket];
        state.holds_port
            || match state.protocol {
                Protocol::Tcp(Tcp::Connected { connection, side }) => {
                    self.connections[connection].ends[side].phase != Phase::Gone
                }
                _ => false,
            }
    }

    /// Whether a socket listens.
    pub(super) fn is_listening(&self, socket: Socket) -> bool {
        matches!(self.sockets[socket].protocol, Protocol::Tcp(Tcp::Listening(_)))
    }

    /// `tcp_recvmsg_locked` on a socket that is not connected.
    pub(super) fn tcp_read_closed(&mut self, socket: Socket) -> Result<i64, i32> {
        let listens = self.is_listening(socket);
        let state = &mut self.sockets[socket];
        match if listens { 0 } else { std::mem::take(&mut state.error) } {
            0 if state.read_shut && !listens => Ok(0),
            0 => Err(ENOTCONN),
            error => Err(error),
        }
    }

    /// What a socket asks for when it takes a port.
    pub(super) fn claim(&self, socket: Socket, at: Endpoint) -> Claim {
        let options = &self.sockets[socket].options;
        Claim {
            ip: at.ip,
            v6_only: options.v6_only,
            reuse_address: options.reuse_address,
            reuse_port: options.reuse_port,
        }
    }

    fn tcp_bind(&mut self, socket: Socket, at: Endpoint) -> Result<(), i32> {
        let host = self.sockets[socket].host;
        let claim = self.claim(socket, at);
        let port = match at.port {
            0 => self.unused_port(host, Rule::Stream).map_err(|_| EADDRINUSE)?,
            port if self.stack(host).tcp.conflict(port, &claim, None) => return Err(EADDRINUSE),
            port => port,
        };
        self.stack(host).tcp.hold(port, socket, claim, false);
        let state = &mut self.sockets[socket];
        state.local = Endpoint::new(at.ip, port);
        state.holds_port = true;
        Ok(())
    }

    /// Gives the port of a socket that is not connected back.
    pub(super) fn tcp_release_port(&mut self, socket: Socket) {
        let state = &mut self.sockets[socket];
        if std::mem::take(&mut state.holds_port) {
            let (host, port) = (state.host, state.local.port);
            self.stack(host).tcp.release(port, socket);
        }
    }

    /// `__inet_listen_sk`, `inet_csk_listen_start`.
    fn tcp_listen(&mut self, socket: Socket, backlog: u32) -> Result<(), i32> {
        let state = &mut self.sockets[socket];
        match &mut state.protocol {
            Protocol::Tcp(Tcp::Listening(listener)) => {
                listener.backlog = backlog;
                return Ok(());
            }
            Protocol::Tcp(Tcp::Closed) if state.standing == Standing::Unconnected => {}
            _ => return Err(EINVAL),
        }
        let (host, local) = (state.host, state.local);
        if !state.holds_port {
            self.tcp_bind(socket, Endpoint::new(local.ip, 0))?;
        } else {
            // The options may have changed since `bind`, and others may listen by now.
            let claim = self.claim(socket, local);
            let stack = self.stack(host);
            if stack.tcp.conflict(local.port, &claim, Some(socket)) {
                return Err(EADDRINUSE);
            }
        }
        let port = self.sockets[socket].local.port;
        self.stack(host).tcp.set_listening(port, socket, true);
        self.sockets[socket].set_tcp(Tcp::Listening(Box::new(Listener::new(backlog))));
        Ok(())
    }

    /// `tcp_v4_connect`, `tcp_v6_connect`: chooses addresses and sends the SYN.
    fn tcp_connect(&mut self, cx: &mut Cx<'_>, socket: Socket, mut to: Endpoint) -> Result<(), i32> {
        let state = &self.sockets[socket];
        let (host, mut local, bound) = (state.host, state.local, state.holds_port);
        let named = !local.ip.is_unspecified();
        if to.ip.is_unspecified() {
            // tcp_v6_connect: the loopback of IPv4 if that is what the socket is bound to.
            to.ip = loopback_like(if named && local.ip.is_ipv4() { Family::V4.any() } else { to.ip });
        }
        if named && local.ip.is_ipv4() && to.ip.is_ipv6() {
            return Err(EAFNOSUPPORT); // ip6_dst_lookup_tail, net/ipv6/ip6_output.c
        }
        let mixed = named && local.ip.is_ipv6() && to.ip.is_ipv4();
        if to.ip.is_multicast() || is_broadcast(to.ip) || mixed || state.options.v6_only && to.ip.is_ipv4() {
            return Err(ENETUNREACH);
        }
        let route = self.route(host, to.ip);
        let stack = self.stack(host);
        stack.end_time_wait(cx.now);
        if local.ip.is_unspecified() {
            local.ip = stack.source_for(to.ip);
        } else if local.ip.is_loopback() && !stack.owns(to.ip) {
            return Err(EINVAL); // a loopback address must not leave its host (RFC 1122 §3.2.1.3)
        }
        let claim = self.claim(socket, local);
        if bound {
            let stack = self.stack(host);
            // Of a socket that was bound, TIME_WAIT does not stand in the way: RFC 1323's timestamps tell old segments
            // from new ones (tcp_twsk_unique, net/ipv4/tcp_ipv4.c).
            if let Some(Some(_)) = stack.connections.get(&(local, to)) {
                self.tcp_lose_name(socket, false);
                return Err(EADDRNOTAVAIL);
            }
            stack.tcp.narrow(local.port, socket, local.ip);
        } else {
            local.port = self.connect_port(host, local.ip, to)?;
            self.stack(host).tcp.hold(local.port, socket, claim, true);
            self.sockets[socket].holds_port = true;
        }
        self.sockets[socket].local = local;
        self.tcp_open(cx, socket, claim, (local, to), route);
        Ok(())
    }

    /// A socket that stops being connected or listening gives up the port and the address that its program did not
    /// choose (`tcp_set_state`, net/ipv4/tcp.c, and `inet_bhash2_reset_saddr`, net/ipv4/inet_hashtables.c).
    fn tcp_lose_name(&mut self, socket: Socket, was_closed: bool) {
        let state = &mut self.sockets[socket];
        if !state.bound_address {
            state.local.ip = state.family.any();
        }
        if !state.bound_by_program && !was_closed {
            self.tcp_release_port(socket);
        }
    }

    /// `tcp_disconnect`: a socket forgets its connection, or stops listening.
    fn tcp_disconnect(&mut self, cx: &mut Cx<'_>, socket: Socket) {
        self.tcp_stop_listening(cx, socket);
        let state = &self.sockets[socket];
        let (host, port) = (state.host, state.local.port);
        let mut closed = matches!(state.protocol, Protocol::Tcp(Tcp::Closed));
        if let Protocol::Tcp(Tcp::Connected { connection: id, side }) = state.protocol {
            let connection = &mut self.connections[id];
            // In CLOSING and LAST_ACK there is nothing left to break off, unless something waits to be sent.
            let (outgoing, incoming) = (&connection.streams[side], &connection.streams[side.other()]);
            let closing = outgoing.fin && incoming.finished() && outgoing.sent == outgoing.end();
            let end = &mut connection.ends[side];
            // The port is the socket's again, not the connection's.
            end.holder = None;
            closed = end.phase == Phase::Gone;
            self.sockets[socket].error = if closed || closing { end.error } else { ECONNRESET };
            if closing && !closed {
                self.tcp_leave(cx, id, side);
            } else {
                self.tcp_close(cx, id, side, false);
            }
        }
        let state = &mut self.sockets[socket];
        state.set_tcp(Tcp::Closed);
        (state.read_shut, state.write_shut, state.standing) = (false, false, Standing::Unconnected);
        self.stack(host).tcp.set_listening(port, socket, false);
        self.tcp_lose_name(socket, closed);
        self.notify(socket, CHANGE); // sk_error_report
    }

    /// `inet_shutdown` for TCP.
    fn tcp_shutdown(&mut self, cx: &mut Cx<'_>, socket: Socket, reading: bool, writing: bool) -> Result<(), i32> {
        let connected = match self.sockets[socket].protocol {
            Protocol::Tcp(Tcp::Connected { connection, side }) => Some((connection, side)),
            Protocol::Tcp(Tcp::Listening(_)) => {
                if reading {
                    self.tcp_disconnect(cx, socket);
                }
                self.notify(socket, CHANGE);
                return Ok(());
            }
            _ => None,
        };
        let phase = connected.map_or(Phase::Gone, |(id, side)| self.connections[id].ends[side].phase);
        let state = &mut self.sockets[socket];
        if state.standing == Standing::Connecting {
            state.standing = if phase == Phase::Open { Standing::Connected } else { Standing::Disconnecting };
        }
        match (connected, phase) {
            (None, _) => {
                state.read_shut |= reading;
                state.write_shut |= writing;
            }
            (Some(_), Phase::Gone | Phase::Absent) => {} // shut in both directions already
            (Some(_), Phase::SynSent | Phase::SynReceived) => self.tcp_disconnect(cx, socket),
            (Some((id, side)), Phase::Open) => {
                let end = &mut self.connections[id].ends[side];
                end.read_shut |= reading;
                end.write_shut |= writing;
                if writing {
                    self.tcp_finish(cx, id, side);
                }
            }
        }
        self.notify(socket, CHANGE);
        if matches!(phase, Phase::Gone | Phase::Absent) { Err(ENOTCONN) } else { Ok(()) }
    }
}
