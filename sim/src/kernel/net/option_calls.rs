//! getsockopt(2) and setsockopt(2): options that are no plain number, and what a change does to a connection.

use super::address::Family;
use super::interfaces::{INTERFACES, Interface};
use super::options::{Of, Options};
use super::socket::{Protocol, SocketState};
use super::tcp::{Phase, Tcp};
use super::{Cx, Network, Socket};
use crate::carrier::outside::{self, Mapping};
use crate::kernel::dispatch::Kernel;
use crate::kernel::netlink::SOL_NETLINK;
use crate::kernel::unix::Credentials;
use crate::kernel::{Step, Stop, ThreadId};
use libc::{
    EINVAL, ENODEV, ENOPROTOOPT, ENOTCONN, ENOTTY, EPERM, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_SOCKET, c_int,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of `struct tcp_info` up to `tcpi_total_retrans`, which is what libc declares.
const TCP_INFO_BYTES: usize = 104;
/// `TCP_INFO`'s states (include/net/tcp_states.h).
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const SYN_RECV: u8 = 3;
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const LISTEN: u8 = 10;
/// The only congestion controls that are not refused; neither has an effect yet.
const CONGESTION_CONTROLS: [&[u8]; 2] = [b"cubic", b"reno"];

impl Kernel {
    /// getsockopt(2): leaves the value in `value`.
    pub(crate) fn socket_option(
        &mut self,
        me: ThreadId,
        fd: c_int,
        (level, name): (c_int, c_int),
        value: &mut Vec<u8>,
    ) -> Step {
        let (_, socket) = self.socket_of(me, fd)?;
        *value = self.network(|net, cx| net.option(cx, socket, level, name))?;
        self.log.returned(value);
        Ok(0)
    }

    /// setsockopt(2).
    pub(crate) fn set_socket_option(
        &mut self,
        me: ThreadId,
        fd: c_int,
        (level, name): (c_int, c_int),
        value: &[u8],
    ) -> Step {
        let (_, socket) = self.socket_of(me, fd)?;
        self.network(|net, cx| net.set_option(cx, socket, (level, name), value))?;
        Ok(0)
    }

    /// sockatmark(3): no urgent data ever comes.
    pub(crate) fn at_mark(&mut self, me: ThreadId, fd: c_int) -> Step {
        let (_, socket) = self.socket_of(me, fd)?;
        match self.net.sockets[socket].protocol {
            Protocol::Tcp(_) => Ok(0),
            Protocol::Udp(_) | Protocol::Unix(_) => Err(Stop::Errno(EINVAL)),
            Protocol::Netlink(_) => Err(Stop::Errno(ENOTTY)),
        }
    }
}

fn of(state: &SocketState) -> Of {
    match state.protocol {
        Protocol::Tcp(_) => Of::Tcp(state.family),
        Protocol::Udp(_) => Of::Udp(state.family),
        Protocol::Unix(_) => Of::Unix,
        Protocol::Netlink(_) => Of::Netlink,
    }
}

/// A `timeval`.
fn timeval(ns: Option<u64>) -> Vec<u8> {
    let ns = ns.unwrap_or(0);
    [(ns / 1_000_000_000) as i64, (ns % 1_000_000_000 / 1000) as i64].iter().flat_map(|n| n.to_ne_bytes()).collect()
}

/// The `int` at the beginning of an option's value.
fn int(value: &[u8]) -> Result<c_int, c_int> {
    let bytes = value.get(..4).ok_or(EINVAL)?;
    Ok(c_int::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

impl Network {
    fn option(&mut self, cx: &mut Cx<'_>, socket: Socket, level: c_int, name: c_int) -> Result<Vec<u8>, c_int> {
        let number = |n: c_int| Ok(n.to_ne_bytes().to_vec());
        if let (SOL_NETLINK, Protocol::Netlink(netlink)) = (level, &mut self.sockets[socket].protocol) {
            return netlink.option(name);
        }
        let state = &self.sockets[socket];
        of(state).check_level(level, libc::EOPNOTSUPP)?;
        match (level, name) {
            (SOL_SOCKET, libc::SO_ERROR) => number(self.take_error(socket)),
            (SOL_SOCKET, libc::SO_TYPE) => number(state.kind()),
            (SOL_SOCKET, libc::SO_DOMAIN) => number(state.domain()),
            (SOL_SOCKET, libc::SO_PROTOCOL) => number(match state.protocol {
                Protocol::Tcp(_) => IPPROTO_TCP,
                Protocol::Udp(_) => libc::IPPROTO_UDP,
                Protocol::Unix(_) | Protocol::Netlink(_) => 0, // NETLINK_ROUTE
            }),
            (SOL_SOCKET, libc::SO_ACCEPTCONN) => number(c_int::from(match &state.protocol {
                Protocol::Tcp(tcp) => matches!(tcp, Tcp::Listening(_)),
                Protocol::Udp(_) | Protocol::Netlink(_) => false,
                Protocol::Unix(unix) => unix.listens(),
            })),
            (SOL_SOCKET, libc::SO_LINGER) => {
                let linger = state.options.linger_s;
                Ok([c_int::from(linger.is_some()), state.options.linger_kept_s as c_int]
                    .iter()
                    .flat_map(|n| n.to_ne_bytes())
                    .collect())
            }
            (SOL_SOCKET, libc::SO_RCVTIMEO) => Ok(timeval(state.options.receive_timeout_ns)),
            (SOL_SOCKET, libc::SO_SNDTIMEO) => Ok(timeval(state.options.send_timeout_ns)),
            (SOL_SOCKET, libc::SO_COOKIE) => Ok((socket.number() + 1).to_ne_bytes().to_vec()),
            (SOL_SOCKET, libc::SO_BINDTODEVICE) => Ok(Vec::new()),
            (SOL_SOCKET, libc::SO_MARK) => number(0),
            (SOL_SOCKET, libc::SO_PEERCRED) => match &state.protocol {
                Protocol::Unix(unix) => Ok(unix.peer_credentials().unwrap_or(Credentials::NOBODY).bytes().to_vec()),
                Protocol::Tcp(_) | Protocol::Udp(_) | Protocol::Netlink(_) => Ok(Credentials::NOBODY.bytes().to_vec()),
            },
            (IPPROTO_TCP, _) if matches!(state.protocol, Protocol::Tcp(_)) => self.tcp_option(cx, socket, name),
            (IPPROTO_IP, libc::IP_MTU) | (IPPROTO_IPV6, libc::IPV6_MTU) => number(self.path_mtu(socket)?),
            (IPPROTO_IP, libc::IP_MULTICAST_IF) if matches!(state.protocol, Protocol::Udp(_)) => Ok(vec![0; 4]),
            _ => number(state.options.get(of(state), level, name)?),
        }
    }

    fn tcp_option(&mut self, cx: &mut Cx<'_>, socket: Socket, name: c_int) -> Result<Vec<u8>, c_int> {
        let state = &self.sockets[socket];
        match name {
            libc::TCP_INFO => Ok(self.tcp_info(cx, socket)),
            libc::TCP_CONGESTION => {
                let mut name = b"cubic".to_vec();
                name.resize(16, 0);
                Ok(name)
            }
            libc::TCP_MAXSEG => {
                let asked = state.options.get(of(state), IPPROTO_TCP, name)?;
                let actual = match &state.protocol {
                    Protocol::Tcp(Tcp::Connected { connection, side, .. }) => {
                        let end = &self.connections[*connection].ends[*side];
                        if end.phase == Phase::Open { end.segment_bytes_max as c_int } else { asked }
                    }
                    Protocol::Tcp(_) | Protocol::Udp(_) | Protocol::Unix(_) | Protocol::Netlink(_) => asked,
                };
                Ok(actual.to_ne_bytes().to_vec())
            }
            _ => Ok(state.options.get(of(state), IPPROTO_TCP, name)?.to_ne_bytes().to_vec()),
        }
    }

    /// `SO_ERROR`: the pending error, which is cleared.
    pub(super) fn take_error(&mut self, socket: Socket) -> c_int {
        let state = &mut self.sockets[socket];
        match state.protocol {
            Protocol::Tcp(Tcp::Connected { connection, side, .. }) => {
                std::mem::take(&mut self.connections[connection].ends[side].error)
            }
            _ => std::mem::take(&mut state.error),
        }
    }

    /// mmap(2) of a socket: only TCP's have something to map, received bytes for `TCP_ZEROCOPY_RECEIVE`, which is not
    /// simulated (`tcp_mmap`, net/ipv4/tcp.c; `sock_no_mmap`, net/core/sock.c). So nothing can be read there.
    pub(crate) fn map_socket(&self, socket: Socket, at: Mapping) -> Result<usize, c_int> {
        match self.sockets.get(socket).map(|state| &state.protocol) {
            Some(Protocol::Tcp(_)) if at.is_more_than_read() => Err(EPERM),
            Some(Protocol::Tcp(_)) => outside::map_copy(at.out_of_reach(), &[]),
            Some(Protocol::Udp(_) | Protocol::Unix(_) | Protocol::Netlink(_)) | None => Err(ENODEV),
        }
    }

    /// `IP_MTU`: Ethernet's, or loopback's.
    fn path_mtu(&self, socket: Socket) -> Result<c_int, c_int> {
        let state = &self.sockets[socket];
        let remote = match &state.protocol {
            Protocol::Tcp(Tcp::Connected { connection, side, .. }) => {
                Some(self.connections[*connection].ends[side.other()].local.ip)
            }
            Protocol::Udp(udp) => udp.remote.map(|remote| remote.ip),
            Protocol::Tcp(_) => None,
            Protocol::Unix(_) | Protocol::Netlink(_) => return Err(ENOPROTOOPT),
        };
        let own = self.stacks[state.host.0 as usize].owns(remote.ok_or(ENOTCONN)?);
        Ok(Interface::by(own).mtu as c_int)
    }

    /// `tcp_get_info`: state, retransmissions, timeouts, buffers; the rest is zero.
    fn tcp_info(&mut self, cx: &mut Cx<'_>, socket: Socket) -> Vec<u8> {
        if let Protocol::Tcp(Tcp::Connected { connection, side }) = self.sockets[socket].protocol {
            self.tcp_take_acknowledgements(cx, connection, side);
        }
        let mut info = vec![0; TCP_INFO_BYTES];
        let mut word = |at: usize, value: u32| info[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        let mut state = CLOSE;
        match &self.sockets[socket].protocol {
            Protocol::Tcp(Tcp::Listening(listener)) => {
                state = LISTEN;
                word(24, listener.queue.len() as u32); // tcpi_unacked: the accept queue
                word(28, listener.backlog); // tcpi_sacked: its limit
            }
            Protocol::Tcp(Tcp::Connected { connection, side, .. }) => {
                let side = *side;
                let connection = &self.connections[*connection];
                let (end, stream) = (&connection.ends[side], &connection.streams[side]);
                let incoming = &connection.streams[side.other()];
                state = match end.phase {
                    Phase::SynSent => SYN_SENT,
                    Phase::SynReceived => SYN_RECV,
                    Phase::Absent | Phase::Gone => CLOSE,
                    Phase::Open if stream.fin && incoming.finished() => LAST_ACK,
                    Phase::Open if stream.fin_acknowledged() => FIN_WAIT2,
                    Phase::Open if stream.fin => FIN_WAIT1,
                    Phase::Open if incoming.finished() => CLOSE_WAIT,
                    Phase::Open => ESTABLISHED,
                };
                let (recovery, round_trip) = (&end.recovery, &end.round_trip);
                let segments = (stream.sent - stream.acknowledged).div_ceil(end.segment_bytes_max.max(1));
                word(8, (recovery.timeout_ns(round_trip.timeout_ns()) / 1000) as u32); // tcpi_rto, µs
                word(16, end.segment_bytes_max as u32); // tcpi_snd_mss
                word(20, end.segment_bytes_max as u32); // tcpi_rcv_mss
                word(24, segments as u32); // tcpi_unacked
                word(32, stream.lost); // tcpi_lost
                word(60, Interface::by(end.segment_bytes_max > 1460).mtu); // tcpi_pmtu
                word(68, (round_trip.smoothed_ns() / 1000) as u32); // tcpi_rtt, µs
                word(72, (round_trip.deviation_ns() / 1000) as u32); // tcpi_rttvar
                word(80, 10); // tcpi_snd_cwnd: the initial window
                word(84, end.segment_bytes_max as u32); // tcpi_advmss
                word(96, end.window as u32); // tcpi_rcv_space
                word(100, end.retransmissions); // tcpi_total_retrans
                info[2] = recovery.timeouts as u8; // tcpi_retransmits
                info[3] = end.keepalive_probes.max(recovery.probes) as u8; // tcpi_probes
                info[4] = recovery.backoff as u8; // tcpi_backoff
            }
            Protocol::Tcp(Tcp::Closed) | Protocol::Udp(_) | Protocol::Unix(_) | Protocol::Netlink(_) => {}
        }
        info[0] = state;
        info
    }

    fn set_option(
        &mut self,
        cx: &mut Cx<'_>,
        socket: Socket,
        (level, name): (c_int, c_int),
        value: &[u8],
    ) -> Result<(), c_int> {
        let state = &mut self.sockets[socket];
        let of = of(state);
        let udp = matches!(of, Of::Udp(_));
        if let (SOL_NETLINK, Protocol::Netlink(netlink)) = (level, &mut state.protocol) {
            return netlink.set_option(name, value);
        }
        of.check_level(level, ENOPROTOOPT)?;
        match (level, name) {
            (SOL_SOCKET, libc::SO_LINGER) => {
                let (on, seconds) = (int(value)?, int(value.get(4..).ok_or(EINVAL)?)?);
                state.options.set_linger(on != 0, seconds as u32);
                return Ok(());
            }
            (SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => {
                let words: [[u8; 8]; 2] =
                    [0, 8].map(|at| value.get(at..at + 8).and_then(|b| b.try_into().ok()).unwrap_or([0; 8]));
                if value.len() < 16 {
                    return Err(EINVAL);
                }
                let timeout = Options::timeout(i64::from_ne_bytes(words[0]), i64::from_ne_bytes(words[1]))?;
                if name == libc::SO_RCVTIMEO {
                    state.options.receive_timeout_ns = timeout;
                } else {
                    state.options.send_timeout_ns = timeout;
                }
                return Ok(());
            }
            (SOL_SOCKET, libc::SO_MARK) => return Err(EPERM),
            (SOL_SOCKET, libc::SO_BINDTODEVICE) => return device(value),
            (
                SOL_SOCKET,
                libc::SO_TYPE | libc::SO_DOMAIN | libc::SO_PROTOCOL | libc::SO_ERROR | libc::SO_ACCEPTCONN,
            ) => {
                return Err(ENOPROTOOPT);
            }
            (IPPROTO_TCP, libc::TCP_CONGESTION) if matches!(of, Of::Tcp(_)) => {
                let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
                return if CONGESTION_CONTROLS.contains(&&value[..end]) { Ok(()) } else { Err(libc::ENOENT) };
            }
            (IPPROTO_IP, libc::IP_ADD_MEMBERSHIP | libc::IP_DROP_MEMBERSHIP) if udp => {
                let octets: [u8; 4] = value.get(..8).ok_or(EINVAL)?[..4].try_into().map_err(|_| EINVAL)?;
                let group = IpAddr::V4(Ipv4Addr::from(octets));
                return self.udp_membership(socket, group, name == libc::IP_ADD_MEMBERSHIP);
            }
            (IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP | libc::IPV6_DROP_MEMBERSHIP) if of == Of::Udp(Family::V6) => {
                let octets: [u8; 16] = value.get(..20).ok_or(EINVAL)?[..16].try_into().map_err(|_| EINVAL)?;
                interface(int(&value[16..])?)?;
                let group = IpAddr::V6(Ipv6Addr::from(octets));
                return self.udp_membership(socket, group, name == libc::IPV6_ADD_MEMBERSHIP);
            }
            (IPPROTO_IP, libc::IP_MULTICAST_IF) if udp => return if value.len() >= 4 { Ok(()) } else { Err(EINVAL) },
            _ => {}
        }
        // ip(7): options of the IP level may also be given as one byte.
        let number = match value {
            [byte] if matches!(level, IPPROTO_IP) => c_int::from(*byte),
            value => int(value)?,
        };
        self.set_number(cx, socket, (level, name), number)
    }

    /// Options that are a number: what the socket's state says to it, and what changes with it.
    fn set_number(
        &mut self,
        cx: &mut Cx<'_>,
        socket: Socket,
        (level, name): (c_int, c_int),
        number: c_int,
    ) -> Result<(), c_int> {
        let has_port = self.has_port(socket);
        let (closed, listens) = (self.tcp_is_closed(socket), self.is_listening(socket));
        let state = &mut self.sockets[socket];
        let of = of(state);
        match (level, name) {
            // `inet->inet_num`, do_ipv6_setsockopt
            (IPPROTO_IPV6, libc::IPV6_V6ONLY) if state.family == Family::V6 && has_port => return Err(EINVAL),
            // tcp_set_window_clamp, and do_tcp_setsockopt (net/ipv4/tcp.c).
            (IPPROTO_TCP, libc::TCP_WINDOW_CLAMP) if number == 0 && !closed => return Err(EINVAL),
            (IPPROTO_TCP, libc::TCP_FASTOPEN) if !closed && !listens => return Err(EINVAL),
            _ => {}
        }
        state.options.set(of, level, name, number)?;
        self.udp_option_changed(cx, socket, (level, name));
        self.tcp_option_changed(cx, socket, (level, name));
        Ok(())
    }

    /// Whether a TCP socket is in the state `TCP_CLOSE`.
    fn tcp_is_closed(&self, socket: Socket) -> bool {
        match &self.sockets[socket].protocol {
            Protocol::Tcp(Tcp::Connected { connection, side }) => {
                self.connections[*connection].ends[*side].phase == Phase::Gone
            }
            Protocol::Tcp(Tcp::Listening(_)) => false,
            Protocol::Tcp(Tcp::Closed) | Protocol::Udp(_) | Protocol::Unix(_) | Protocol::Netlink(_) => true,
        }
    }

    /// Lets a connection know of an option that concerns it.
    fn tcp_option_changed(&mut self, cx: &mut Cx<'_>, socket: Socket, option: (c_int, c_int)) {
        let state = &self.sockets[socket];
        let Protocol::Tcp(Tcp::Connected { connection: id, side, .. }) = state.protocol else { return };
        let options = &state.options;
        let end = &mut self.connections[id].ends[side];
        match option {
            (IPPROTO_TCP, libc::TCP_NODELAY) => {
                end.nagle = !options.no_delay;
                if options.no_delay && !end.cork {
                    self.tcp_uncork(cx, id, side);
                }
            }
            (IPPROTO_TCP, libc::TCP_CORK) => {
                end.cork = options.cork;
                if !end.cork {
                    self.tcp_uncork(cx, id, side);
                }
            }
            (IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => end.user_timeout_ns = options.user_timeout_ns(),
            (IPPROTO_TCP, libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL) | (SOL_SOCKET, libc::SO_KEEPALIVE) => {
                self.tcp_start_keepalive(cx, id, side);
            }
            (SOL_SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => end.send_capacity = u64::from(options.send_buffer),
            (SOL_SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => end.window = options.window(),
            _ => {}
        }
    }
}

/// `SO_BINDTODEVICE`: the interfaces there are; which one packets take is a matter of the address only.
fn device(name: &[u8]) -> Result<(), c_int> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let is_named = |interface: &Interface| interface.name.to_bytes() == &name[..end];
    if end == 0 || INTERFACES.iter().any(is_named) { Ok(()) } else { Err(ENODEV) }
}

/// An interface's number; zero stands for any.
fn interface(index: c_int) -> Result<(), c_int> {
    let is_numbered = |interface: &Interface| u32::try_from(index) == Ok(interface.index);
    if index == 0 || INTERFACES.iter().any(is_numbered) { Ok(()) } else { Err(ENODEV) }
}
