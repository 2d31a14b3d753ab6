//! Control messages (cmsg(3)): what travels beside the bytes of `sendmsg` and `recvmsg`.

use super::address::Family;
use super::interfaces::Interface;
use super::options::{Options, Timestamps};
use libc::{EINVAL, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, c_int};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Size of `cmsghdr`, and what each message is aligned to.
const HEADER_BYTES: usize = 16;
const ALIGNMENT: usize = 8;

/// One control message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) level: c_int,
    pub(crate) kind: c_int,
    pub(crate) bytes: &'a [u8],
}

/// Reads the messages of a `sendmsg`.
///
/// # Errors
/// `EINVAL` when a length leaves its buffer (`CMSG_OK`, include/linux/socket.h).
pub(crate) fn parse(mut bytes: &[u8]) -> Result<Vec<Message<'_>>, c_int> {
    let mut messages = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let word = |at: usize| c_int::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut length = [0; 8];
        length.copy_from_slice(&bytes[..8]);
        let length = usize::from_ne_bytes(length);
        let content = bytes.get(HEADER_BYTES..length).ok_or(EINVAL)?;
        messages.push(Message { level: word(8), kind: word(12), bytes: content });
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or(&[]);
    }
    Ok(messages)
}

/// Writes control messages as far as they fit.
#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) bytes: Vec<u8>,
    /// Room that the program gave.
    pub(crate) room: usize,
    /// Something did not fit (`MSG_CTRUNC`).
    pub(crate) truncated: bool,
}

impl Builder {
    /// Appends a message, cut to the room that is left (`put_cmsg`, net/core/scm.c).
    pub(crate) fn put(&mut self, level: c_int, kind: c_int, content: &[u8]) {
        let room = self.room.saturating_sub(self.bytes.len());
        if room < HEADER_BYTES {
            self.truncated = true;
            return;
        }
        let length = (HEADER_BYTES + content.len()).min(room);
        self.truncated |= length < HEADER_BYTES + content.len();
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&level.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&content[..length - HEADER_BYTES]);
        let aligned = self.bytes.len().next_multiple_of(ALIGNMENT).min(self.room);
        self.bytes.resize(aligned, 0);
    }

    /// Bytes of content that a message appended now could have.
    pub(crate) fn space(&self) -> usize {
        self.room.saturating_sub(self.bytes.len()).saturating_sub(HEADER_BYTES)
    }
}

/// What a program says beside a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Sent {
    /// The address to send from (`IP_PKTINFO`, `IPV6_PKTINFO`).
    pub(crate) source: Option<IpAddr>,
    /// `IP_TOS`, `IPV6_TCLASS`.
    pub(crate) tos: Option<u8>,
    /// `UDP_SEGMENT`.
    pub(crate) segment: Option<u16>,
}

impl Sent {
    /// Reads what concerns a datagram (`ip_cmsg_send`, net/ipv4/ip_sockglue.c).
    ///
    /// # Errors
    /// `EINVAL`.
    pub(crate) fn read(control: &[u8]) -> Result<Sent, c_int> {
        let mut sent = Sent::default();
        for message in parse(control)? {
            match (message.level, message.kind) {
                (IPPROTO_IP, libc::IP_PKTINFO) => {
                    // struct in_pktinfo: interface, specified destination, address.
                    let octets: [u8; 4] = message.bytes.get(4..8).and_then(|b| b.try_into().ok()).ok_or(EINVAL)?;
                    let ip = Ipv4Addr::from(octets);
                    sent.source = (!ip.is_unspecified()).then_some(IpAddr::V4(ip));
                }
                (IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let octets: [u8; 16] = message.bytes.get(..16).and_then(|b| b.try_into().ok()).ok_or(EINVAL)?;
                    let ip = Ipv6Addr::from(octets);
                    let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
                    sent.source = (!ip.is_unspecified()).then_some(ip);
                }
                (IPPROTO_IP, libc::IP_TOS) | (IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    sent.tos = Some(*message.bytes.first().ok_or(EINVAL)?);
                }
                (IPPROTO_UDP, libc::UDP_SEGMENT) => {
                    let size: [u8; 2] = message.bytes.try_into().map_err(|_| EINVAL)?;
                    sent.segment = Some(u16::from_ne_bytes(size));
                }
                (IPPROTO_IP, libc::IP_TTL) | (IPPROTO_IPV6, libc::IPV6_HOPLIMIT) | (libc::SOL_SOCKET, _) => {}
                _ => return Err(EINVAL),
            }
        }
        Ok(sent)
    }
}

/// Appends when a datagram arrived, by the host's clock (`__sock_recv_timestamp`, net/socket.c).
pub(crate) fn put_timestamp(control: &mut Builder, unit: Timestamps, at_ns: i64) {
    const SECOND_NS: i64 = 1_000_000_000;
    let (kind, part_ns) = match unit {
        Timestamps::Microseconds => (libc::SCM_TIMESTAMP, 1000),
        Timestamps::Nanoseconds => (libc::SCM_TIMESTAMPNS, 1),
    };
    let words = [at_ns.div_euclid(SECOND_NS), at_ns.rem_euclid(SECOND_NS) / part_ns];
    control.put(libc::SOL_SOCKET, kind, words.map(i64::to_ne_bytes).as_flattened());
}

/// Appends what a socket wants to know about a datagram that it got (`ip_cmsg_recv_offset`, `ip6_datagram_recv_ctl`).
pub(crate) fn describe_datagram(
    control: &mut Builder,
    options: &Options,
    family: Family,
    (to, own, loopback): (IpAddr, IpAddr, bool),
    tos: u8,
) {
    let interface = Interface::by(loopback).index;
    if options.packet_info.v4
        && let (IpAddr::V4(to), IpAddr::V4(own)) = (to, own)
    {
        let mut info = [0; 12];
        info[..4].copy_from_slice(&interface.to_ne_bytes());
        info[4..8].copy_from_slice(&own.octets());
        info[8..].copy_from_slice(&to.octets());
        control.put(IPPROTO_IP, libc::IP_PKTINFO, &info);
    }
    if options.packet_info.v6 && family == Family::V6 {
        let ip = match to {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut info = [0; 20];
        info[..16].copy_from_slice(&ip.octets());
        info[16..].copy_from_slice(&interface.to_ne_bytes());
        control.put(IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
    }
    const TTL: c_int = 64;
    if options.receive_ttl.v4 && to.is_ipv4() {
        control.put(IPPROTO_IP, libc::IP_TTL, &TTL.to_ne_bytes());
    }
    if options.receive_ttl.v6 && to.is_ipv6() {
        control.put(IPPROTO_IPV6, libc::IPV6_HOPLIMIT, &TTL.to_ne_bytes());
    }
    if options.receive_tos.v4 && to.is_ipv4() {
        control.put(IPPROTO_IP, libc::IP_TOS, &[tos]);
    }
    if options.receive_tos.v6 && to.is_ipv6() {
        control.put(IPPROTO_IPV6, libc::IPV6_TCLASS, &c_int::from(tos).to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{Builder, Message, Sent, parse};
    use libc::{EINVAL, IPPROTO_IP, IPPROTO_UDP, SOL_SOCKET};

    #[test]
    fn messages_survive_their_bytes() {
        let mut builder = Builder { room: 1000, ..Builder::default() };
        builder.put(1, 2, b"abc");
        builder.put(3, 4, b"12345678");
        assert_eq!(builder.bytes.len(), 24 + 24);
        let expected =
            [Message { level: 1, kind: 2, bytes: b"abc" }, Message { level: 3, kind: 4, bytes: b"12345678" }];
        assert_eq!(parse(&builder.bytes).unwrap(), expected);
        assert!(!builder.truncated);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said() {
        let mut builder = Builder { room: 20, ..Builder::default() };
        builder.put(1, 2, b"12345678");
        assert!(builder.truncated);
        assert_eq!(builder.bytes.len(), 20);
        assert_eq!(parse(&builder.bytes).unwrap()[0].bytes, b"1234");
        let mut none = Builder::default();
        none.put(1, 2, b"");
        assert!(none.truncated && none.bytes.is_empty());
    }

    #[test]
    fn lengths_beyond_the_buffer_are_refused() {
        let mut bytes = [0u8; 16];
        bytes[..8].copy_from_slice(&17usize.to_ne_bytes());
        assert_eq!(parse(&bytes), Err(EINVAL));
        bytes[..8].copy_from_slice(&15usize.to_ne_bytes());
        assert_eq!(parse(&bytes), Err(EINVAL));
        assert_eq!(parse(&[0; 15]), Ok(Vec::new()));
    }

    #[test]
    fn datagrams_take_source_tos_and_segment() {
        let mut builder = Builder { room: 1000, ..Builder::default() };
        builder.put(IPPROTO_IP, libc::IP_PKTINFO, &[0, 0, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0]);
        builder.put(IPPROTO_UDP, libc::UDP_SEGMENT, &1200u16.to_ne_bytes());
        builder.put(IPPROTO_IP, libc::IP_TOS, &2i32.to_ne_bytes());
        let sent = Sent::read(&builder.bytes).unwrap();
        let source = Some("10.0.0.1".parse().unwrap());
        assert_eq!(sent, Sent { source, tos: Some(2), segment: Some(1200) });
        let mut strange = Builder { room: 1000, ..Builder::default() };
        strange.put(999, 1, b"");
        assert_eq!(Sent::read(&strange.bytes), Err(EINVAL));
        let mut credentials = Builder { room: 1000, ..Builder::default() };
        credentials.put(SOL_SOCKET, libc::SCM_CREDENTIALS, &[0; 12]);
        assert_eq!(Sent::read(&credentials.bytes), Ok(Sent::default()));
    }
}
