//! The name server at 10.0.255.53, port 53 (RFC 1035): for programs that bring a resolver of their own.

use super::super::udp::{Received, Travelling};
use super::super::{Cx, Endpoint, NetEvent, Network};
use super::Resolved;
use crate::world::HostId;
use libc::ECONNREFUSED;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One way between a host and the name server, which is also the router.
pub(crate) const SERVER_NS: u64 = 250_000;
const PORT: u16 = 53;
/// How long an answer may be kept: not long, as hosts come and go.
const TTL_S: u32 = 5;
const HEADER_BYTES: usize = 12;
/// RFC 1035 §4.1.1: response, authoritative, recursion available.
const RESPONSE: u16 = 1 << 15 | 1 << 10 | 1 << 7;
/// Opcode and "recursion desired", which are answered as asked.
const ECHOED: u16 = 0xf << 11 | 1 << 8;
const FORMAT_ERROR: u16 = 1;
const SERVER_FAILURE: u16 = 2;
const NO_SUCH_NAME: u16 = 3;
const NOT_IMPLEMENTED: u16 = 4;
const A: u16 = 1;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const ANY: u16 = 255;
const INTERNET: u16 = 1;
/// A pointer to the question's name (RFC 1035 §4.1.4).
const NAME_POINTER: u16 = 0xc000 | HEADER_BYTES as u16;

/// A question.
struct Question {
    name: String,
    kind: u16,
    class: u16,
    /// Where it ends in the message.
    end: usize,
}

impl Network {
    /// A datagram reaches the name server.
    pub(crate) fn name_server_hears(&mut self, cx: &mut Cx<'_>, host: HostId, from: Endpoint, port: u16, bytes: &[u8]) {
        let server = Endpoint::new(IpAddr::V4(super::super::address::NAME_SERVER), port);
        if port != PORT {
            cx.schedule(cx.now + 2 * SERVER_NS, NetEvent::Icmp(Box::new((host, from, server, ECONNREFUSED))));
            return;
        }
        if let Some(answer) = self.answer(host, bytes) {
            let late_ns = question(bytes).map_or(0, |question| self.late_ns(host, &question.name));
            let datagram = Received { bytes: answer, from: server, to: from.ip, tos: 0, arrived: 0 };
            let answer = Travelling { datagram, port: from.port, host, answerable: false, way: None };
            let id = self.travelling.insert(answer);
            cx.schedule(cx.now.saturating_add(late_ns.saturating_add(2 * SERVER_NS)), NetEvent::Datagram(id));
        }
    }

    /// The answer to a message; none for what is not a question at all, or is to get none.
    fn answer(&mut self, asker: HostId, message: &[u8]) -> Option<Vec<u8>> {
        let header = message.get(..HEADER_BYTES)?;
        let flags = u16::from_be_bytes([header[2], header[3]]);
        if flags & 1 << 15 != 0 {
            return None;
        }
        let reply = |code: u16, answers: &[(u16, Vec<u8>)], question: &[u8]| {
            let mut bytes = Vec::with_capacity(64);
            bytes.extend_from_slice(&header[..2]);
            let counts =
                [RESPONSE | flags & ECHOED | code, u16::from(!question.is_empty()), answers.len() as u16, 0, 0];
            counts.iter().for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
            bytes.extend_from_slice(question);
            for (kind, content) in answers {
                bytes.extend_from_slice(&NAME_POINTER.to_be_bytes());
                bytes.extend_from_slice(&kind.to_be_bytes());
                bytes.extend_from_slice(&INTERNET.to_be_bytes());
                bytes.extend_from_slice(&TTL_S.to_be_bytes());
                bytes.extend_from_slice(&(content.len() as u16).to_be_bytes());
                bytes.extend_from_slice(content);
            }
            Some(bytes)
        };
        if flags >> 11 & 0xf != 0 {
            return reply(NOT_IMPLEMENTED, &[], &[]);
        }
        let Some(question) = question(message) else { return reply(FORMAT_ERROR, &[], &[]) };
        let echoed = &message[HEADER_BYTES..question.end];
        match self.records(asker, &question) {
            Ok(records) => reply(0, &records, echoed),
            Err(Resolved::Failure) => reply(SERVER_FAILURE, &[], echoed),
            Err(Resolved::Nothing) => None,
            Err(Resolved::NoSuchName | Resolved::Addresses(_)) => reply(NO_SUCH_NAME, &[], echoed),
        }
    }

    /// The records of a question.
    fn records(&mut self, asker: HostId, question: &Question) -> Result<Vec<(u16, Vec<u8>)>, Resolved> {
        if let Some(ip) = reversed(&question.name) {
            let name = self.name_of(ip).ok_or(Resolved::NoSuchName)?;
            let wanted = matches!(question.kind, PTR | ANY) && question.class == INTERNET;
            return Ok(if wanted { vec![(PTR, labels(name))] } else { Vec::new() });
        }
        let addresses = match self.resolve(asker, &question.name) {
            Resolved::Addresses(addresses) => addresses,
            other => return Err(other),
        };
        if question.class != INTERNET {
            return Ok(Vec::new());
        }
        let record = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) if matches!(question.kind, A | ANY) => Some((A, ip.octets().to_vec())),
            IpAddr::V6(ip) if matches!(question.kind, AAAA | ANY) => Some((AAAA, ip.octets().to_vec())),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        Ok(addresses.iter().filter_map(record).collect())
    }
}

/// Reads the first question; a query has exactly one (RFC 9619).
fn question(message: &[u8]) -> Option<Question> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = HEADER_BYTES;
    let mut name = String::new();
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            break;
        }
        if length > 63 {
            return None;
        }
        let label = message.get(at + 1..at + 1 + length)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(label));
        at += 1 + length;
    }
    let fixed = message.get(at + 1..at + 5)?;
    let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    Some(Question { name, kind: word(0), class: word(2), end: at + 5 })
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for (RFC 1035 §3.5, RFC 3596 §2.5).
fn reversed(name: &str) -> Option<IpAddr> {
    let name = name.to_ascii_lowercase();
    if let Some(v4) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<u8> = v4.split('.').rev().map(|part| part.parse().ok()).collect::<Option<_>>()?;
        return Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(parts).ok()?)));
    }
    let v6 = name.strip_suffix(".ip6.arpa")?;
    let nibbles: Vec<u8> = v6
        .split('.')
        .rev()
        .map(|nibble| u8::from_str_radix(nibble, 16).ok().filter(|n| *n < 16))
        .collect::<Option<_>>()?;
    let nibbles = <[u8; 32]>::try_from(nibbles).ok()?;
    let ip = nibbles.iter().fold(0u128, |ip, nibble| ip << 4 | u128::from(*nibble));
    Some(IpAddr::V6(Ipv6Addr::from(ip)))
}

/// A name as a sequence of labels.
fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::super::Network;
    use super::{A, AAAA, PTR, labels};
    use crate::world::{HostId, Hush};

    fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut net = Network::new(1, Hush::Everything);
        net.add_host(HostId(0), "kv1", "10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap(), true);
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(labels(name));
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        let answer = net.answer(HostId(0), &message).expect("an answer");
        assert_eq!(answer[..2], [0xab, 0xcd]);
        answer
    }

    fn code(answer: &[u8]) -> u8 {
        answer[3] & 0xf
    }

    #[test]
    fn both_families_are_answered() {
        assert!(ask("kv1", A).ends_with(&[0, 4, 10, 0, 0, 1]));
        let v6 = ask("KV1", AAAA);
        assert!(v6.ends_with(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
        assert_eq!((code(&v6), v6[7]), (0, 1));
    }

    #[test]
    fn unknown_names_and_types_differ() {
        let unknown = ask("kv2", A);
        assert_eq!((code(&unknown), unknown[7]), (3, 0));
        let other_type = ask("kv1", 15);
        assert_eq!((code(&other_type), other_type[7]), (0, 0));
    }

    #[test]
    fn addresses_have_names() {
        assert!(ask("1.0.0.10.in-addr.arpa", PTR).ends_with(b"\x03kv1\0"));
        let v6 = format!("1.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
        assert!(ask(&v6, PTR).ends_with(b"\x03kv1\0"));
    }

    #[test]
    fn what_is_no_question_is_not_answered_as_one() {
        let mut net = Network::new(1, Hush::Everything);
        assert_eq!(net.answer(HostId(0), &[0; 11]), None);
        assert_eq!(net.answer(HostId(0), &[0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0]), None, "a response");
        let broken = net.answer(HostId(0), &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 70]).unwrap();
        assert_eq!(code(&broken), 1);
    }
}
