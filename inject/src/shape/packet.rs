//! IP packets as bytes: what the engine needs to know of one, and how a bit of one is flipped.

use super::engine::Packet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Protocol numbers (IANA; `linux/in.h`).
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Where things are in a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layout {
    from: IpAddr,
    to: IpAddr,
    /// What follows the network header.
    protocol: u8,
    /// Where the transport header begins, if there is one: later fragments have none.
    transport: Option<usize>,
    payload: Range<usize>,
}

impl Layout {
    /// Whether a bit of it can be flipped. Not in the later fragments of a datagram: its checksum is in the first, and
    /// would be wrong when it is put together.
    fn is_flippable(&self) -> bool {
        match self.protocol {
            TCP => true,
            UDP => self.transport.is_some() && !self.payload.is_empty(),
            _ => !self.payload.is_empty(),
        }
    }
}

/// What the engine needs to know of a packet; `None` if it is no IP packet.
pub(super) fn read(bytes: &[u8]) -> Option<Packet> {
    let layout = layout(bytes)?;
    let payload = layout.payload.len();
    let ends_a_stream = match layout.transport {
        // RFC 9293 §3.1: FIN and RST are bits 0 and 2 of the flags.
        Some(at) if layout.protocol == TCP => bytes.get(at + 13).is_some_and(|flags| flags & 0b101 != 0),
        _ => false,
    };
    Some(Packet {
        from: layout.from,
        to: layout.to,
        payload_bytes: payload as u64,
        stands_in_line: payload > 0 || ends_a_stream,
        flippable: layout.is_flippable(),
    })
}

/// Flips one bit of a packet's payload: any number chooses which. A datagram is delivered so: over IPv4 without a
/// checksum (RFC 768: zero), over IPv6, where there has to be one, with the new one. All else keeps its checksum, which
/// is wrong now.
pub(super) fn flip(bytes: &mut [u8], which: u64) {
    let Some(layout) = layout(bytes).filter(Layout::is_flippable) else { return };
    let range = match layout.transport {
        // A segment without payload is lost as well when a bit of its sequence number is flipped.
        Some(at) if layout.protocol == TCP && layout.payload.is_empty() => at + 4..at + 8,
        _ => layout.payload,
    };
    let Some(target) = bytes.get_mut(range.clone()).filter(|target| !target.is_empty()) else { return };
    let bit = which % (8 * target.len() as u64);
    let at = (bit / 8) as usize;
    let (before, after) = (target[at], target[at] ^ (1 << (bit % 8)));
    target[at] = after;
    if let Some(transport) = layout.transport.filter(|_| layout.protocol == UDP) {
        let is_first_of_word = (range.start + at - transport).is_multiple_of(2);
        let word = |byte: u8| if is_first_of_word { u16::from(byte) << 8 } else { u16::from(byte) };
        let Some(checksum) = bytes.get_mut(transport + 6..transport + 8) else { return };
        let old = u16::from_be_bytes([checksum[0], checksum[1]]);
        let new = if layout.from.is_ipv4() { 0 } else { updated_checksum(old, word(before), word(after)) };
        checksum.copy_from_slice(&new.to_be_bytes());
    }
}

/// RFC 1624 §3, equation 3. Zero is sent as all ones (RFC 8200 §8.1).
fn updated_checksum(checksum: u16, before: u16, after: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    match !(sum as u16) {
        0 => 0xffff,
        checksum => checksum,
    }
}

fn layout(bytes: &[u8]) -> Option<Layout> {
    match bytes.first()? >> 4 {
        4 => ipv4(bytes),
        6 => ipv6(bytes),
        _ => None,
    }
}

/// RFC 791 §3.1.
fn ipv4(bytes: &[u8]) -> Option<Layout> {
    let header = bytes.get(..20)?;
    let address = |at: usize| Ipv4Addr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment_offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    let network = 4 * usize::from(header[0] & 0x0f);
    let (from, to) = (address(12).into(), address(16).into());
    transport(bytes, from, to, header[9], network..length, fragment_offset == 0)
}

/// RFC 8200 §3 and §4.
fn ipv6(bytes: &[u8]) -> Option<Layout> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let header = bytes.get(..40)?;
    let address = |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).ok().map(Ipv6Addr::from);
    let length = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let (from, to) = (address(8)?.into(), address(24)?.into());
    let (mut next, mut at, mut is_first) = (header[6], 40, true);
    while let (HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT, Some(extension)) = (next, bytes.get(at..at + 8)) {
        if next == FRAGMENT {
            is_first &= u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 == 0;
            at += 8;
        } else {
            at += 8 * (usize::from(extension[1]) + 1);
        }
        next = extension[0];
    }
    transport(bytes, from, to, next, at..length, is_first)
}

fn transport(
    bytes: &[u8],
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    body: Range<usize>,
    is_first: bool,
) -> Option<Layout> {
    let end = body.end.min(bytes.len());
    if body.start > end {
        return None;
    }
    let header = match protocol {
        _ if !is_first => 0,
        // RFC 9293 §3.1: the data offset, in words.
        TCP => 4 * usize::from(bytes.get(body.start + 12)? >> 4),
        UDP | ICMP | ICMPV6 => 8,
        _ => 0,
    };
    let payload = (body.start + header).min(end)..end;
    Some(Layout { from, to, protocol, transport: is_first.then_some(body.start), payload })
}

#[cfg(test)]
mod tests {
    use super::{flip, read};

    /// A UDP datagram of "hello" from 10.0.0.1 to 10.0.0.2.
    fn datagram() -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 33, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        bytes.extend([0x30, 0x39, 0, 7, 0, 13, 0xab, 0xcd]);
        bytes.extend(b"hello");
        bytes
    }

    /// A TCP segment with 12 bytes of options, over IPv6.
    fn segment(payload: &[u8], flags: u8) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 32 + payload.len() as u8, 6, 64];
        bytes.extend([0; 15].into_iter().chain([1]).chain([0; 15]).chain([2]));
        bytes.extend([0; 12].into_iter().chain([0x80, flags]).chain([0; 18]));
        bytes.extend(payload);
        bytes
    }

    /// RFC 1071 over what a UDP checksum over IPv6 covers; zero when it is right.
    fn checksum(bytes: &[u8]) -> u16 {
        let udp = &bytes[40..];
        let pseudo = [&bytes[8..40], &(udp.len() as u32).to_be_bytes(), &[0, 0, 0, 17]].concat();
        let mut words = [pseudo.as_slice(), udp].concat();
        words.resize(words.len().next_multiple_of(2), 0);
        let mut sum: u32 = words.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn payload_is_what_is_left_without_headers() {
        let packet = read(&datagram()).unwrap();
        assert_eq!((packet.from.to_string().as_str(), packet.to.to_string().as_str()), ("10.0.0.1", "10.0.0.2"));
        assert_eq!(packet.payload_bytes, 5);
        let (ack, fin, full) = (segment(b"", 0x10), segment(b"", 0x11), segment(b"abc", 0x10));
        assert!(!read(&ack).unwrap().stands_in_line);
        assert!(read(&fin).unwrap().stands_in_line);
        assert_eq!(read(&full).unwrap().payload_bytes, 3);
        assert_eq!(read(&full).unwrap().from.to_string(), "::1");
    }

    #[test]
    fn a_flip_changes_one_bit_of_the_payload_and_clears_a_datagrams_checksum() {
        for which in [0, 7, 39, 40, u64::MAX] {
            let (mut bytes, before) = (datagram(), datagram());
            flip(&mut bytes, which);
            assert_eq!(bytes[26..28], [0, 0]);
            assert_eq!(bytes[..26], before[..26]);
            let flipped: u32 = bytes[28..].iter().zip(&before[28..]).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(flipped, 1, "{which}");
        }
    }

    #[test]
    fn a_flipped_datagram_over_ipv6_has_the_right_checksum() {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 15, 17, 64];
        bytes.extend((0..32).map(|byte| byte * 7));
        bytes.extend([0x30, 0x39, 0, 7, 0, 15, 0, 0]);
        bytes.extend(b"seven b");
        let sum = checksum(&bytes).to_be_bytes();
        bytes[46..48].copy_from_slice(&sum);
        assert_eq!(checksum(&bytes), 0);
        for which in 0..56 {
            let mut changed = bytes.clone();
            flip(&mut changed, which);
            assert_ne!(changed[48..], bytes[48..]);
            assert_eq!(checksum(&changed), 0, "bit {which}");
        }
    }

    #[test]
    fn only_the_first_fragment_of_a_datagram_is_changed() {
        let (mut first, mut later) = (datagram(), datagram());
        first[6..8].copy_from_slice(&[0x20, 0]);
        later[6..8].copy_from_slice(&[0, 185]);
        let mut later_v6 = vec![0x60, 0, 0, 0, 0, 16, 44, 64];
        later_v6.extend([0; 32].into_iter().chain([17, 0, 0x05, 0xa8, 0, 0, 0, 1]).chain(*b"the rest"));
        let mut first_v6 = later_v6.clone();
        first_v6[40..48].copy_from_slice(&[17, 0, 0, 1, 0, 0, 0, 1]);
        first_v6.splice(5..6, [20]);
        first_v6.extend(b"some");
        for (bytes, is_first) in
            [(&mut first, true), (&mut later, false), (&mut first_v6, true), (&mut later_v6, false)]
        {
            let before = bytes.clone();
            flip(bytes, 1);
            assert_eq!(*bytes != before, is_first);
            assert_eq!(read(bytes).unwrap().flippable, is_first);
        }
    }

    #[test]
    fn a_segment_keeps_its_checksum() {
        let mut full = segment(b"abc", 0x10);
        full[56..58].copy_from_slice(&[0x12, 0x34]);
        let before = full.clone();
        flip(&mut full, 3);
        assert_eq!(full[..72], before[..72]);
        assert_ne!(full[72..], before[72..]);
        let mut bare = segment(b"", 0x10);
        flip(&mut bare, 3);
        assert_ne!(bare[44..48], [0; 4]);
    }

    #[test]
    fn what_is_cut_short_or_no_packet_is_left_alone() {
        for length in 0..40 {
            let mut bytes = segment(b"abc", 0x10);
            bytes.truncate(length);
            assert_eq!(read(&bytes), None, "{length}");
            flip(&mut bytes, 5);
        }
        for length in 0..20 {
            assert_eq!(read(&datagram()[..length]), None);
        }
        flip(&mut datagram()[..21], 5);
    }
}
