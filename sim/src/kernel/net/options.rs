//! Socket options: what a socket remembers, what Linux answers (socket(7), tcp(7), ip(7), ipv6(7), udp(7)).
//!
//! Options whose effect is simulated have a field of their own. Those that change nothing a program can see in this
//! network are kept by number, with the bounds that Linux checks. What is not simulated is `ENOPROTOOPT`, so that
//! programs that probe (quinn's GRO) take their other path.

mod per_family;

use super::Rarities;
use super::address::Family;
use libc::{EDOM, EINVAL, ENOPROTOOPT, EOPNOTSUPP, EPERM, c_int};
use libc::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP, SOL_SOCKET};
use per_family::PerFamily;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// `net.core.rmem_default`, `wmem_default`, `rmem_max` and `wmem_max`.
const BUFFER_BYTES: u32 = 212_992;
/// `SOCK_MIN_SNDBUF` and `SOCK_MIN_RCVBUF` (include/net/sock.h).
const SEND_BUFFER_MIN: u32 = 4608;
const RECEIVE_BUFFER_MIN: u32 = 2304;
/// `tcp_wmem[1]` and `tcp_rmem[1]` (tcp(7)).
const TCP_SEND_BUFFER: u32 = 16_384;
const TCP_RECEIVE_BUFFER: u32 = 131_072;
/// `tcp_rmem[2]` (tcp(7)).
const TCP_RECEIVE_BUFFER_MAX: u32 = 6_291_456;
/// What `SO_SNDBUF` says once a connection is established and Linux has sized the buffer itself: over Ethernet, and
/// over loopback with its long segments.
const CONNECTED_SEND_BUFFER: u32 = 87_040;
const LOOPBACK_SEND_BUFFER: u32 = 2_626_560;
/// Both buffers where the seed wants small ones.
const SMALL_BUFFER: u32 = 8192;

/// What a socket remembers.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) broadcast: bool,
    pub(crate) keepalive: bool,
    /// Seconds of `SO_LINGER`, if it is on.
    pub(crate) linger_s: Option<u32>,
    /// The seconds, also when it is off.
    pub(crate) linger_kept_s: u32,
    /// As `SO_SNDBUF` and `SO_RCVBUF` are read: twice what was asked for.
    pub(crate) send_buffer: u32,
    pub(crate) receive_buffer: u32,
    send_buffer_set: bool,
    receive_buffer_set: bool,
    pub(crate) receive_low_water: u32,
    /// `SO_RCVTIMEO` and `SO_SNDTIMEO`.
    pub(crate) receive_timeout_ns: Option<u64>,
    pub(crate) send_timeout_ns: Option<u64>,
    pub(crate) pass_credentials: bool,
    /// `SO_TIMESTAMP` or `SO_TIMESTAMPNS`, whichever was set last.
    pub(crate) timestamps: Option<Timestamps>,
    pub(crate) no_delay: bool,
    pub(crate) cork: bool,
    pub(crate) keepalive_idle_s: u32,
    pub(crate) keepalive_interval_s: u32,
    pub(crate) keepalive_probes_max: u32,
    pub(crate) user_timeout_ms: u32,
    /// `TCP_MAXSEG` as set; 0 is not.
    pub(crate) segment_bytes_max: u32,
    pub(crate) defer_accept_s: u32,
    /// `TCP_SYNCNT` as set; 0 is not.
    pub(crate) syn_retries: u32,
    pub(crate) v6_only: bool,
    pub(crate) multicast_loop: PerFamily<bool>,
    pub(crate) packet_info: PerFamily<bool>,
    pub(crate) receive_tos: PerFamily<bool>,
    pub(crate) receive_ttl: PerFamily<bool>,
    pub(crate) receive_errors: PerFamily<bool>,
    /// `IP_PMTUDISC_*`.
    path_mtu_discovery: PerFamily<c_int>,
    pub(crate) tos: PerFamily<u8>,
    ttl: PerFamily<u8>,
    /// `UDP_SEGMENT`; 0 is off.
    pub(crate) segment: u16,
    /// Remembered and without effect.
    others: BTreeMap<(c_int, c_int), c_int>,
}

/// In which unit a socket is told when datagrams arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Timestamps {
    Microseconds,
    Nanoseconds,
}

/// What a socket is, as far as its options depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Of {
    Tcp(Family),
    Udp(Family),
    Unix,
    Netlink,
}

impl Of {
    /// Refuses the levels that a protocol does not have: in IPv4 it is `unknown`, as `do_ip_getsockopt` and
    /// `do_ip_setsockopt` (net/ipv4/ip_sockglue.c) differ; in IPv6 always `ENOPROTOOPT` (net/ipv6/ipv6_sockglue.c).
    pub(crate) fn check_level(self, level: c_int, unknown: c_int) -> Result<(), c_int> {
        let (family, own) = match self {
            Of::Tcp(family) => (family, IPPROTO_TCP),
            Of::Udp(family) => (family, IPPROTO_UDP),
            // `unix_stream_ops` and its relatives have no options of their own (do_sock_getsockopt, net/socket.c).
            Of::Unix | Of::Netlink if level == SOL_SOCKET => return Ok(()),
            Of::Unix => return Err(libc::EOPNOTSUPP),
            Of::Netlink => return Err(ENOPROTOOPT),
        };
        match (level, family) {
            (SOL_SOCKET | IPPROTO_IP, _) | (IPPROTO_IPV6, Family::V6) => Ok(()),
            _ if level == own => Ok(()),
            (_, Family::V4) => Err(unknown),
            (_, Family::V6) => Err(ENOPROTOOPT),
        }
    }
}

impl Options {
    /// `TCP_USER_TIMEOUT`; zero is none.
    pub(crate) fn user_timeout_ns(&self) -> u64 {
        u64::from(self.user_timeout_ms) * 1_000_000
    }

    /// Whether packets to there are not to be broken into fragments: `IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER`.
    pub(crate) fn is_unbroken(&self, to: IpAddr) -> bool {
        matches!(self.path_mtu_discovery.of(to), libc::IP_PMTUDISC_DO | libc::IP_PMTUDISC_PROBE)
    }

    fn new(send_buffer: u32, receive_buffer: u32) -> Options {
        Options {
            reuse_address: false,
            reuse_port: false,
            broadcast: false,
            keepalive: false,
            linger_s: None,
            linger_kept_s: 0,
            send_buffer,
            receive_buffer,
            send_buffer_set: false,
            receive_buffer_set: false,
            receive_low_water: 1,
            receive_timeout_ns: None,
            send_timeout_ns: None,
            pass_credentials: false,
            timestamps: None,
            no_delay: false,
            cork: false,
            keepalive_idle_s: 7200,
            keepalive_interval_s: 75,
            keepalive_probes_max: 9,
            user_timeout_ms: 0,
            segment_bytes_max: 0,
            defer_accept_s: 0,
            syn_retries: 0,
            v6_only: false,
            multicast_loop: PerFamily::both(true),
            packet_info: PerFamily::both(false),
            receive_tos: PerFamily::both(false),
            receive_ttl: PerFamily::both(false),
            receive_errors: PerFamily::both(false),
            path_mtu_discovery: PerFamily::both(libc::IP_PMTUDISC_WANT),
            tos: PerFamily::both(0),
            ttl: PerFamily::both(64),
            segment: 0,
            others: BTreeMap::new(),
        }
    }

    /// A TCP socket's options at birth.
    pub(crate) fn stream() -> Options {
        Options::new(TCP_SEND_BUFFER, TCP_RECEIVE_BUFFER)
    }

    /// A UDP, Unix or netlink socket's options at birth.
    pub(crate) fn datagram() -> Options {
        Options::new(BUFFER_BYTES, BUFFER_BYTES)
    }

    /// `SO_LINGER`: off, it keeps the time that it had (`sk_setsockopt`, net/core/sock.c).
    pub(crate) fn set_linger(&mut self, on: bool, seconds: u32) {
        self.linger_s = on.then_some(seconds);
        self.linger_kept_s = self.linger_s.unwrap_or(self.linger_kept_s);
    }

    /// A connection is established: Linux sizes the buffers that the program has not sized.
    pub(crate) fn connected(&mut self, loopback: bool, rarities: Rarities) {
        if !self.send_buffer_set {
            self.send_buffer = if loopback { LOOPBACK_SEND_BUFFER } else { CONNECTED_SEND_BUFFER };
        }
        if rarities.small_buffers {
            self.send_buffer = self.send_buffer.min(SMALL_BUFFER);
            self.receive_buffer = self.receive_buffer.min(SMALL_BUFFER);
        }
    }

    /// Bytes of data that fit into the receive buffer: half of it, as the rest is for headers
    /// (`tcp_win_from_space`, include/net/tcp.h).
    pub(crate) fn window(&self) -> u64 {
        u64::from(self.receive_buffer / 2)
    }

    /// getsockopt(2) for options that are an `int`.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for those that do not exist here.
    pub(crate) fn get(&self, of: Of, level: c_int, name: c_int) -> Result<c_int, c_int> {
        let on = |flag: bool| Ok(c_int::from(flag));
        match (of, level, name) {
            (_, SOL_SOCKET, libc::SO_REUSEADDR) => on(self.reuse_address),
            (_, SOL_SOCKET, libc::SO_REUSEPORT) => on(self.reuse_port),
            (_, SOL_SOCKET, libc::SO_BROADCAST) => on(self.broadcast),
            (_, SOL_SOCKET, libc::SO_KEEPALIVE) => on(self.keepalive),
            (_, SOL_SOCKET, libc::SO_SNDBUF) => Ok(self.send_buffer as c_int),
            (_, SOL_SOCKET, libc::SO_RCVBUF) => Ok(self.receive_buffer as c_int),
            (_, SOL_SOCKET, libc::SO_RCVLOWAT) => Ok(self.receive_low_water as c_int),
            (_, SOL_SOCKET, libc::SO_SNDLOWAT) => Ok(1),
            (_, SOL_SOCKET, libc::SO_PASSCRED) => on(self.pass_credentials),
            (Of::Tcp(_), IPPROTO_TCP, _) => self.get_tcp(name),
            (Of::Udp(_) | Of::Netlink, SOL_SOCKET, libc::SO_TIMESTAMP) => {
                on(self.timestamps == Some(Timestamps::Microseconds))
            }
            (Of::Udp(_) | Of::Netlink, SOL_SOCKET, libc::SO_TIMESTAMPNS) => {
                on(self.timestamps == Some(Timestamps::Nanoseconds))
            }
            (Of::Udp(_), IPPROTO_UDP, libc::UDP_SEGMENT) => Ok(c_int::from(self.segment)),
            (Of::Udp(_), IPPROTO_UDP, libc::UDP_CORK) => on(self.cork),
            (Of::Tcp(family) | Of::Udp(family), IPPROTO_IPV6, _) if family == Family::V6 => self.get_v6(name),
            (Of::Tcp(_) | Of::Udp(_), IPPROTO_IP, _) => self.get_v4(name),
            _ => self.get_other(of, level, name),
        }
    }

    fn get_tcp(&self, name: c_int) -> Result<c_int, c_int> {
        match name {
            libc::TCP_NODELAY => Ok(c_int::from(self.no_delay)),
            libc::TCP_CORK => Ok(c_int::from(self.cork)),
            libc::TCP_KEEPIDLE => Ok(self.keepalive_idle_s as c_int),
            libc::TCP_KEEPINTVL => Ok(self.keepalive_interval_s as c_int),
            libc::TCP_KEEPCNT => Ok(self.keepalive_probes_max as c_int),
            libc::TCP_USER_TIMEOUT => Ok(self.user_timeout_ms as c_int),
            libc::TCP_SYNCNT => Ok(if self.syn_retries == 0 { 6 } else { self.syn_retries as c_int }),
            libc::TCP_DEFER_ACCEPT => Ok(self.defer_accept_s as c_int),
            // RFC 9293 §3.7.1: 536 before a connection says otherwise.
            libc::TCP_MAXSEG => Ok(if self.segment_bytes_max == 0 { 536 } else { self.segment_bytes_max as c_int }),
            _ => self.get_other(Of::Tcp(Family::V4), IPPROTO_TCP, name),
        }
    }

    fn get_v4(&self, name: c_int) -> Result<c_int, c_int> {
        match name {
            libc::IP_TTL => Ok(c_int::from(self.ttl.v4)),
            libc::IP_TOS => Ok(c_int::from(self.tos.v4)),
            libc::IP_MULTICAST_LOOP => Ok(c_int::from(self.multicast_loop.v4)),
            libc::IP_PKTINFO => Ok(c_int::from(self.packet_info.v4)),
            libc::IP_RECVTOS => Ok(c_int::from(self.receive_tos.v4)),
            libc::IP_RECVTTL => Ok(c_int::from(self.receive_ttl.v4)),
            libc::IP_RECVERR => Ok(c_int::from(self.receive_errors.v4)),
            libc::IP_MTU_DISCOVER => Ok(self.path_mtu_discovery.v4),
            libc::IP_TRANSPARENT => Ok(0),
            _ => self.get_other(Of::Udp(Family::V4), IPPROTO_IP, name),
        }
    }

    fn get_v6(&self, name: c_int) -> Result<c_int, c_int> {
        match name {
            libc::IPV6_V6ONLY => Ok(c_int::from(self.v6_only)),
            libc::IPV6_UNICAST_HOPS => Ok(c_int::from(self.ttl.v6)),
            libc::IPV6_TCLASS => Ok(c_int::from(self.tos.v6)),
            libc::IPV6_MULTICAST_LOOP => Ok(c_int::from(self.multicast_loop.v6)),
            libc::IPV6_RECVPKTINFO => Ok(c_int::from(self.packet_info.v6)),
            libc::IPV6_RECVTCLASS => Ok(c_int::from(self.receive_tos.v6)),
            libc::IPV6_RECVHOPLIMIT => Ok(c_int::from(self.receive_ttl.v6)),
            libc::IPV6_RECVERR => Ok(c_int::from(self.receive_errors.v6)),
            libc::IPV6_MTU_DISCOVER => Ok(self.path_mtu_discovery.v6),
            _ => self.get_other(Of::Udp(Family::V6), IPPROTO_IPV6, name),
        }
    }

    fn get_other(&self, of: Of, level: c_int, name: c_int) -> Result<c_int, c_int> {
        let (default, ..) = inert(of, level, name).ok_or(ENOPROTOOPT)?;
        Ok(self.others.get(&(level, name)).copied().unwrap_or(default))
    }

    /// setsockopt(2) for options that are an `int`.
    ///
    /// # Errors
    /// As Linux: `EINVAL`, `EDOM`, `EPERM`, `ENOPROTOOPT`.
    pub(crate) fn set(&mut self, of: Of, level: c_int, name: c_int, value: c_int) -> Result<(), c_int> {
        let on = value != 0;
        match (of, level, name) {
            (_, SOL_SOCKET, libc::SO_REUSEADDR) => self.reuse_address = on,
            // sk_setsockopt, net/core/sock.c (since Linux 6.13)
            (Of::Unix | Of::Netlink, SOL_SOCKET, libc::SO_REUSEPORT) if on => return Err(EOPNOTSUPP),
            (_, SOL_SOCKET, libc::SO_REUSEPORT) => self.reuse_port = on,
            (_, SOL_SOCKET, libc::SO_BROADCAST) => self.broadcast = on,
            (_, SOL_SOCKET, libc::SO_KEEPALIVE) => self.keepalive = on,
            (_, SOL_SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => {
                self.send_buffer = doubled(value).max(SEND_BUFFER_MIN);
                self.send_buffer_set = true;
            }
            (_, SOL_SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => {
                self.receive_buffer = doubled(value).max(RECEIVE_BUFFER_MIN);
                self.receive_buffer_set = true;
            }
            (_, SOL_SOCKET, libc::SO_RCVLOWAT) => {
                // socket(7): zero and negative numbers stand for one and for very many.
                let asked = if value < 0 { c_int::MAX as u32 } else { (value as u32).max(1) };
                // tcp_set_rcvlowat, net/ipv4/tcp.c: at most half the buffer, as set or as it may grow.
                let most = if self.receive_buffer_set { self.receive_buffer } else { TCP_RECEIVE_BUFFER_MAX };
                self.receive_low_water = if matches!(of, Of::Tcp(_)) { asked.min(most / 2) } else { asked };
            }
            (_, SOL_SOCKET, libc::SO_SNDLOWAT) => return Err(ENOPROTOOPT),
            (_, SOL_SOCKET, libc::SO_PASSCRED) => self.pass_credentials = on,
            (Of::Tcp(_), IPPROTO_TCP, _) => return self.set_tcp(name, value),
            // Streams keep the two bits for congestion to themselves, and have no multicast (do_ip_setsockopt,
            // net/ipv4/ip_sockglue.c; do_ipv6_setsockopt, net/ipv6/ipv6_sockglue.c).
            (Of::Tcp(_), IPPROTO_IP, libc::IP_TOS) => return self.set_v4(name, value & !3),
            (Of::Tcp(Family::V6), IPPROTO_IPV6, libc::IPV6_TCLASS) if value > 0 => {
                return self.set_v6(name, value & !3);
            }
            (Of::Tcp(_), IPPROTO_IP, libc::IP_MULTICAST_TTL) => return Err(EINVAL),
            (Of::Tcp(_), IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS) => return Err(ENOPROTOOPT),
            (Of::Udp(_) | Of::Netlink, SOL_SOCKET, libc::SO_TIMESTAMP) => {
                self.timestamps = on.then_some(Timestamps::Microseconds);
            }
            (Of::Udp(_) | Of::Netlink, SOL_SOCKET, libc::SO_TIMESTAMPNS) => {
                self.timestamps = on.then_some(Timestamps::Nanoseconds);
            }
            (Of::Udp(_), IPPROTO_UDP, libc::UDP_CORK) => self.cork = on,
            (Of::Udp(_), IPPROTO_UDP, libc::UDP_SEGMENT) => {
                self.segment = u16::try_from(value).map_err(|_| EINVAL)?;
            }
            (Of::Tcp(family) | Of::Udp(family), IPPROTO_IPV6, _) if family == Family::V6 => {
                return self.set_v6(name, value);
            }
            (Of::Tcp(_) | Of::Udp(_), IPPROTO_IP, _) => return self.set_v4(name, value),
            _ => return self.set_other(of, level, name, value),
        }
        Ok(())
    }

    fn set_tcp(&mut self, name: c_int, value: c_int) -> Result<(), c_int> {
        // Bounds: MAX_TCP_KEEPIDLE and its relatives, include/net/tcp.h.
        let within = |least: c_int, most: c_int| {
            if (least..=most).contains(&value) { Ok(value as u32) } else { Err(EINVAL) }
        };
        match name {
            libc::TCP_NODELAY => self.no_delay = value != 0,
            libc::TCP_CORK => self.cork = value != 0,
            libc::TCP_KEEPIDLE => self.keepalive_idle_s = within(1, 32_767)?,
            libc::TCP_KEEPINTVL => self.keepalive_interval_s = within(1, 32_767)?,
            libc::TCP_KEEPCNT => self.keepalive_probes_max = within(1, 127)?,
            libc::TCP_USER_TIMEOUT => self.user_timeout_ms = within(0, c_int::MAX)?,
            libc::TCP_SYNCNT => self.syn_retries = within(1, 127)?,
            libc::TCP_MAXSEG => self.segment_bytes_max = if value == 0 { 0 } else { within(88, 32_767)? },
            libc::TCP_DEFER_ACCEPT => self.defer_accept_s = retransmissions_in_seconds(value),
            _ => return self.set_other(Of::Tcp(Family::V4), IPPROTO_TCP, name, value),
        }
        Ok(())
    }

    fn set_v4(&mut self, name: c_int, value: c_int) -> Result<(), c_int> {
        let on = value != 0;
        match name {
            libc::IP_TTL => {
                self.ttl.v4 = match value {
                    -1 => 64,
                    1..=255 => value as u8,
                    _ => return Err(EINVAL),
                }
            }
            libc::IP_TOS => self.tos.v4 = value as u8,
            libc::IP_MULTICAST_LOOP => self.multicast_loop.v4 = on,
            libc::IP_PKTINFO => self.packet_info.v4 = on,
            libc::IP_RECVTOS => self.receive_tos.v4 = on,
            libc::IP_RECVTTL => self.receive_ttl.v4 = on,
            libc::IP_RECVERR => self.receive_errors.v4 = on,
            libc::IP_MTU_DISCOVER => self.path_mtu_discovery.v4 = path_mtu_mode(value)?,
            // Only a privileged process may; simulated programs are not.
            libc::IP_TRANSPARENT if on => return Err(EPERM),
            libc::IP_TRANSPARENT => {}
            _ => return self.set_other(Of::Udp(Family::V4), IPPROTO_IP, name, value),
        }
        Ok(())
    }

    fn set_v6(&mut self, name: c_int, value: c_int) -> Result<(), c_int> {
        let on = value != 0;
        match name {
            libc::IPV6_V6ONLY => self.v6_only = on,
            libc::IPV6_UNICAST_HOPS => {
                self.ttl.v6 = match value {
                    -1 => 64,
                    0..=255 => value as u8,
                    _ => return Err(EINVAL),
                }
            }
            libc::IPV6_TCLASS => {
                self.tos.v6 = match value {
                    -1 => 0,
                    0..=255 => value as u8,
                    _ => return Err(EINVAL),
                }
            }
            // Unlike IP_MULTICAST_LOOP, do_ipv6_setsockopt takes nothing but 0 and 1.
            libc::IPV6_MULTICAST_LOOP if !(0..=1).contains(&value) => return Err(EINVAL),
            libc::IPV6_MULTICAST_LOOP => self.multicast_loop.v6 = on,
            libc::IPV6_RECVPKTINFO => self.packet_info.v6 = on,
            libc::IPV6_RECVTCLASS => self.receive_tos.v6 = on,
            libc::IPV6_RECVHOPLIMIT => self.receive_ttl.v6 = on,
            libc::IPV6_RECVERR => self.receive_errors.v6 = on,
            libc::IPV6_MTU_DISCOVER => self.path_mtu_discovery.v6 = path_mtu_mode(value)?,
            _ => return self.set_other(Of::Udp(Family::V6), IPPROTO_IPV6, name, value),
        }
        Ok(())
    }

    fn set_other(&mut self, of: Of, level: c_int, name: c_int, value: c_int) -> Result<(), c_int> {
        let (_, least, most, error) = inert(of, level, name).ok_or(ENOPROTOOPT)?;
        if !(least..=most).contains(&value) {
            return Err(error);
        }
        let value = match (level, name, value) {
            _ if is_flag(level, name) => c_int::from(value != 0),
            (IPPROTO_TCP, libc::TCP_QUICKACK, _) => value & 1,
            // do_tcp_setsockopt, net/ipv4/tcp.c: zero stands for the default, 120 s is the most.
            (IPPROTO_TCP, libc::TCP_LINGER2, 0) => 60,
            (IPPROTO_TCP, libc::TCP_LINGER2, _) => value.clamp(-1, 120),
            // tcp_set_window_clamp: at least half the smallest buffer.
            (IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, asked) if asked != 0 => asked.max(RECEIVE_BUFFER_MIN as c_int / 2),
            (IPPROTO_IP, libc::IP_MULTICAST_TTL, -1) | (IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, -1) => 1,
            _ => value,
        };
        self.others.insert((level, name), value);
        Ok(())
    }

    /// `SO_RCVTIMEO` and `SO_SNDTIMEO`: a `timeval`; zero is none (`sock_set_timeout`, net/core/sock.c).
    ///
    /// # Errors
    /// `EDOM` when the microseconds are out of range.
    pub(crate) fn timeout(seconds: i64, microseconds: i64) -> Result<Option<u64>, c_int> {
        if !(0..1_000_000).contains(&microseconds) {
            return Err(EDOM);
        }
        Ok(match (seconds, microseconds) {
            (0, 0) => None,
            (..0, _) => Some(0),
            (seconds, _) => Some((seconds as u64).saturating_mul(1_000_000_000) + microseconds as u64 * 1000),
        })
    }
}

/// `__sock_set_sndbuf`: at most the system's limit, then doubled for bookkeeping (socket(7)).
fn doubled(value: c_int) -> u32 {
    // A negative number is compared as unsigned, and is then very large.
    (value as u32).min(BUFFER_BYTES) * 2
}

fn path_mtu_mode(value: c_int) -> Result<c_int, c_int> {
    if (libc::IP_PMTUDISC_DONT..=5).contains(&value) { Ok(value) } else { Err(EINVAL) }
}

/// `TCP_DEFER_ACCEPT` counts SYN-ACK retransmissions: seconds are rounded up to when one happens
/// (`secs_to_retrans`, net/ipv4/tcp.c).
fn retransmissions_in_seconds(seconds: c_int) -> u32 {
    let (mut period, mut timeout) = (0, 1);
    while period < seconds.max(0) && timeout < 120 {
        period += timeout;
        timeout = (timeout * 2).min(120);
    }
    period as u32
}

/// Those of the remembered ones that are on or off, and read back as 1 or 0.
fn is_flag(level: c_int, name: c_int) -> bool {
    match level {
        SOL_SOCKET => {
            matches!(name, libc::SO_OOBINLINE | libc::SO_DONTROUTE | libc::SO_NO_CHECK | libc::SO_RXQ_OVFL)
        }
        IPPROTO_IP => {
            let bind = [libc::IP_FREEBIND, libc::IP_BIND_ADDRESS_NO_PORT];
            bind.contains(&name) || matches!(name, libc::IP_RECVOPTS | libc::IP_RECVORIGDSTADDR)
        }
        IPPROTO_IPV6 => !matches!(name, libc::IPV6_MULTICAST_HOPS | libc::IPV6_MULTICAST_IF),
        _ => false,
    }
}

/// Options that are remembered and have no effect here: default, least, most, and the error beyond.
fn inert(of: Of, level: c_int, name: c_int) -> Option<(c_int, c_int, c_int, c_int)> {
    const ANY: (c_int, c_int) = (c_int::MIN, c_int::MAX);
    let internet = !matches!(of, Of::Unix | Of::Netlink);
    let udp = matches!(of, Of::Udp(_));
    let (default, (least, most), error) = match (level, name) {
        (SOL_SOCKET, libc::SO_OOBINLINE | libc::SO_DONTROUTE | libc::SO_NO_CHECK) => (0, ANY, EINVAL),
        (SOL_SOCKET, libc::SO_PRIORITY) => (0, (0, 6), EPERM),
        (SOL_SOCKET, libc::SO_RXQ_OVFL | libc::SO_PEEK_OFF) => (0, ANY, EINVAL),
        (SOL_SOCKET, libc::SO_BUSY_POLL) => (0, (0, c_int::MAX), EINVAL),
        (SOL_SOCKET, libc::SO_INCOMING_CPU) => (-1, ANY, EINVAL),
        (SOL_SOCKET, libc::SO_ZEROCOPY) if internet => (0, (0, 1), EINVAL),
        (IPPROTO_TCP, libc::TCP_QUICKACK) => (1, ANY, EINVAL),
        (IPPROTO_TCP, libc::TCP_LINGER2) => (60, ANY, EINVAL),
        (IPPROTO_TCP, libc::TCP_WINDOW_CLAMP) => (0, ANY, EINVAL),
        (IPPROTO_TCP, libc::TCP_FASTOPEN) => (0, (0, c_int::MAX), EINVAL),
        (IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT) => (0, (0, 1), EINVAL),
        (IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT) => (0, ANY, EINVAL),
        (IPPROTO_TCP, libc::TCP_THIN_LINEAR_TIMEOUTS) => (0, (0, 1), EINVAL),
        (IPPROTO_IP, libc::IP_FREEBIND | libc::IP_BIND_ADDRESS_NO_PORT) => (0, ANY, EINVAL),
        (IPPROTO_IP, libc::IP_MULTICAST_TTL) if udp => (1, (-1, 255), EINVAL),
        (IPPROTO_IP, libc::IP_MULTICAST_ALL) if udp => (1, (0, 1), EINVAL),
        (IPPROTO_IP, libc::IP_RECVOPTS | libc::IP_RECVORIGDSTADDR) if udp => (0, ANY, EINVAL),
        (IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS) if udp => (1, (-1, 255), EINVAL),
        (IPPROTO_IPV6, libc::IPV6_MULTICAST_IF) if udp => (0, (0, 2), libc::ENODEV),
        (IPPROTO_IPV6, libc::IPV6_DONTFRAG | libc::IPV6_FREEBIND) => (0, ANY, EINVAL),
        (IPPROTO_IPV6, libc::IPV6_RECVHOPOPTS | libc::IPV6_RECVRTHDR | libc::IPV6_RECVDSTOPTS) => (0, ANY, EINVAL),
        _ => return None,
    };
    Some((default, least, most, error))
}

#[cfg(test)]
mod tests {
    use super::{Family, Of, Options, retransmissions_in_seconds};
    use libc::{EDOM, EINVAL, ENOPROTOOPT, IPPROTO_TCP, SO_RCVBUF, SO_REUSEADDR, SO_SNDBUF, SOL_SOCKET};

    const TCP: Of = Of::Tcp(Family::V4);

    #[test]
    fn buffers_are_doubled_within_bounds() {
        let mut options = Options::stream();
        for (asked, send, receive) in [(1, 4608, 2304), (10_000, 20_000, 20_000), (-1, 425_984, 425_984)] {
            options.set(TCP, SOL_SOCKET, SO_SNDBUF, asked).unwrap();
            options.set(TCP, SOL_SOCKET, SO_RCVBUF, asked).unwrap();
            assert_eq!(options.get(TCP, SOL_SOCKET, SO_SNDBUF), Ok(send));
            assert_eq!(options.get(TCP, SOL_SOCKET, SO_RCVBUF), Ok(receive));
        }
    }

    #[test]
    fn flags_read_back_as_one() {
        let mut options = Options::stream();
        options.set(TCP, SOL_SOCKET, SO_REUSEADDR, 42).unwrap();
        assert_eq!(options.get(TCP, SOL_SOCKET, SO_REUSEADDR), Ok(1));
    }

    #[test]
    fn bounds_and_unknown_options_are_refused() {
        let mut options = Options::stream();
        assert_eq!(options.set(TCP, IPPROTO_TCP, libc::TCP_KEEPCNT, 128), Err(EINVAL));
        assert_eq!(options.set(TCP, IPPROTO_TCP, libc::TCP_MAXSEG, 87), Err(EINVAL));
        assert_eq!(options.set(TCP, IPPROTO_TCP, 9999, 1), Err(ENOPROTOOPT));
        assert_eq!(options.get(TCP, libc::IPPROTO_UDP, libc::UDP_GRO), Err(ENOPROTOOPT));
        assert_eq!(options.get(Of::Udp(Family::V4), libc::IPPROTO_UDP, libc::UDP_GRO), Err(ENOPROTOOPT));
        assert_eq!(options.get(Of::Udp(Family::V4), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY), Err(ENOPROTOOPT));
    }

    #[test]
    fn timeouts_read_as_linux_does() {
        assert_eq!(Options::timeout(0, 0), Ok(None));
        assert_eq!(Options::timeout(1, 500_000), Ok(Some(1_500_000_000)));
        assert_eq!(Options::timeout(-1, 0), Ok(Some(0)));
        assert_eq!(Options::timeout(0, 1_000_000), Err(EDOM));
    }

    #[test]
    fn deferred_accept_is_rounded_to_retransmissions() {
        assert_eq!([0, 1, 2, 3, 4, 7, 8].map(retransmissions_in_seconds), [0, 1, 3, 3, 7, 7, 15]);
    }
}
