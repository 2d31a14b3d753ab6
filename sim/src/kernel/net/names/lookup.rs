//! getaddrinfo(3): follows glibc's `gaih_inet` (sysdeps/posix/getaddrinfo.c), compared with it answer by answer.

use super::super::{Endpoint, Network};
use super::{Resolved, service_name, service_port};
use crate::world::HostId;
use libc::{AF_INET, AF_INET6, AF_UNSPEC, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, c_int};
use libc::{AI_ADDRCONFIG, AI_ALL, AI_CANONNAME, AI_NUMERICHOST, AI_NUMERICSERV, AI_PASSIVE, AI_V4MAPPED};
use libc::{EAI_AGAIN, EAI_BADFLAGS, EAI_FAMILY, EAI_NONAME, EAI_SERVICE, EAI_SOCKTYPE};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// glibc's error for an address of the other family (netdb.h; not in POSIX any more).
const EAI_ADDRFAMILY: c_int = -9;
/// No answer comes: none of libc's codes, which are few and above -100.
pub(crate) const SILENCE: c_int = -1000;
/// The flags of internationalised names, which change nothing for the names here (netdb.h).
const AI_IDN: c_int = 0x40 | 0x80 | 0x100 | 0x200;
const FLAGS: c_int =
    AI_PASSIVE | AI_CANONNAME | AI_NUMERICHOST | AI_NUMERICSERV | AI_V4MAPPED | AI_ALL | AI_ADDRCONFIG | AI_IDN;
/// What glibc tries in turn for an unspecified socket type: type, protocol, and whether it takes named services.
const TYPES: [(c_int, c_int); 3] =
    [(SOCK_STREAM, libc::IPPROTO_TCP), (SOCK_DGRAM, libc::IPPROTO_UDP), (SOCK_RAW, libc::IPPROTO_IP)];

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) node: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) flags: c_int,
    pub(crate) family: c_int,
    pub(crate) kind: c_int,
    pub(crate) protocol: c_int,
    /// An answer that comes late is there by now.
    pub(crate) told: bool,
}

/// One `addrinfo`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    /// `AF_INET` or `AF_INET6`: a mapped address is an IPv4 one with the latter.
    pub(crate) family: c_int,
    pub(crate) kind: c_int,
    pub(crate) protocol: c_int,
    pub(crate) at: Endpoint,
}

impl Network {
    /// Answers a query of a host: the addresses in order, and the canonical name if asked for.
    ///
    /// # Errors
    /// An `EAI_*` code; [`SILENCE`] when the name server does not answer.
    pub(crate) fn look_up(&mut self, asker: HostId, query: &Query) -> Result<(Vec<Answer>, Option<String>), c_int> {
        let Query { flags, family, .. } = *query;
        if query.node.is_none() && query.service.is_none() {
            return Err(EAI_NONAME);
        }
        if flags & !FLAGS != 0 || flags & AI_CANONNAME != 0 && query.node.is_none() {
            return Err(EAI_BADFLAGS);
        }
        if ![AF_UNSPEC, AF_INET, AF_INET6].contains(&family) {
            return Err(EAI_FAMILY);
        }
        let types = types(query)?;
        let addresses = match &query.node {
            None => nobody(flags, family),
            Some(node) => self.addresses(asker, node, query)?,
        };
        let mut answers = Vec::with_capacity(addresses.len() * types.len());
        for (family, ip) in addresses {
            for (kind, protocol, port) in &types {
                answers.push(Answer { family, kind: *kind, protocol: *protocol, at: Endpoint::new(ip, *port) });
            }
        }
        let canonical = (flags & AI_CANONNAME != 0).then(|| query.node.clone()).flatten();
        Ok((answers, canonical))
    }

    /// getnameinfo(3): the names of an address and of a port, or their numbers.
    ///
    /// # Errors
    /// `EAI_NONAME` when a name is demanded and there is none.
    pub(crate) fn look_up_name(&self, at: Endpoint, flags: c_int) -> Result<(String, String), c_int> {
        let name = self.name_of(at.ip).filter(|_| flags & libc::NI_NUMERICHOST == 0);
        let host = match name {
            Some(name) => name.to_owned(),
            None if flags & libc::NI_NAMEREQD != 0 => return Err(EAI_NONAME),
            None => at.ip.to_string(),
        };
        let service = service_name(at.port, flags & libc::NI_DGRAM != 0).filter(|_| flags & libc::NI_NUMERICSERV == 0);
        Ok((host, service.map_or_else(|| at.port.to_string(), str::to_owned)))
    }

    fn addresses(&mut self, asker: HostId, node: &str, query: &Query) -> Result<Vec<(c_int, IpAddr)>, c_int> {
        let Query { flags, family, told, .. } = *query;
        let mapped = |ip: Ipv4Addr| (AF_INET6, IpAddr::V4(ip));
        if let Some(ip) = numeric(node) {
            return match (ip, family) {
                (IpAddr::V4(_), AF_UNSPEC | AF_INET) => Ok(vec![(AF_INET, ip)]),
                (IpAddr::V4(ip), _) if flags & AI_V4MAPPED != 0 => Ok(vec![mapped(ip)]),
                (IpAddr::V6(_), AF_UNSPEC | AF_INET6) => Ok(vec![(AF_INET6, ip)]),
                _ => Err(EAI_ADDRFAMILY),
            };
        }
        if flags & AI_NUMERICHOST != 0 {
            return Err(EAI_NONAME);
        }
        // An answer that was late was under way before whatever the server would say now.
        let resolved = if told { self.truth(node) } else { self.resolve(asker, node) };
        let known = match resolved {
            _ if !told && self.late_ns(asker, node) > 0 => return Err(SILENCE),
            Resolved::Addresses(known) => known,
            Resolved::NoSuchName => return Err(EAI_NONAME),
            // SERVFAIL is TRY_AGAIN (resolv/res_query.c), which getaddrinfo(3) calls so.
            Resolved::Failure => return Err(EAI_AGAIN),
            Resolved::Nothing => return Err(SILENCE),
        };
        let number = |ip: &IpAddr| if ip.is_ipv4() { AF_INET } else { AF_INET6 };
        let mut found: Vec<_> =
            known.iter().map(|ip| (number(ip), *ip)).filter(|(f, _)| [AF_UNSPEC, *f].contains(&family)).collect();
        // AI_ALL adds the mapped addresses to the IPv6 ones; without it they only replace missing ones.
        if family == AF_INET6 && flags & AI_V4MAPPED != 0 && (flags & AI_ALL != 0 || found.is_empty()) {
            found.extend(known.iter().filter_map(|ip| match ip {
                IpAddr::V4(ip) => Some(mapped(*ip)),
                IpAddr::V6(_) => None,
            }));
        }
        // Of the other family only: glibc's EAI_ADDRFAMILY is for numbers, for a name it is as if there was none.
        if found.is_empty() { Err(EAI_NONAME) } else { Ok(found) }
    }
}

/// Addresses without a name: the wildcard to listen on, or the loopback to connect to.
fn nobody(flags: c_int, family: c_int) -> Vec<(c_int, IpAddr)> {
    let (v4, v6) = if flags & AI_PASSIVE != 0 {
        (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)
    } else {
        (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
    };
    let both = [(AF_INET, IpAddr::V4(v4)), (AF_INET6, IpAddr::V6(v6))];
    let mut wanted: Vec<_> = both.into_iter().filter(|(f, _)| [AF_UNSPEC, *f].contains(&family)).collect();
    if flags & AI_PASSIVE == 0 {
        wanted.reverse(); // ::1 has the highest precedence, :: none at all (RFC 6724)
    }
    wanted
}

/// The combinations of socket type, protocol and port that a query stands for.
fn types(query: &Query) -> Result<Vec<(c_int, c_int, u16)>, c_int> {
    let fits = |(kind, protocol): &&(c_int, c_int)| {
        (query.kind == 0 || query.kind == *kind)
            // SOCK_RAW takes any protocol.
            && (query.protocol == 0 || query.protocol == *protocol || query.kind == SOCK_RAW)
    };
    let fitting: Vec<_> = TYPES.iter().filter(fits).collect();
    if fitting.is_empty() {
        return Err(if query.service.is_some() && query.kind == 0 { EAI_SERVICE } else { EAI_SOCKTYPE });
    }
    let Some(service) = &query.service else {
        return Ok(fitting.into_iter().map(|(kind, protocol)| (*kind, *protocol, 0)).collect());
    };
    if let Some(port) = numeric_port(service) {
        if query.kind == SOCK_RAW {
            return Err(EAI_SERVICE);
        }
        return Ok(fitting.into_iter().map(|(kind, protocol)| (*kind, *protocol, port)).collect());
    }
    if query.flags & AI_NUMERICSERV != 0 {
        return Err(EAI_NONAME);
    }
    let named: Vec<_> = fitting
        .into_iter()
        .filter_map(|(kind, protocol)| Some((*kind, *protocol, service_port(service, *kind)?)))
        .collect();
    if named.is_empty() { Err(EAI_SERVICE) } else { Ok(named) }
}

/// A port number as glibc reads it: what is too large is cut to 16 bits, and nothing at all is zero.
fn numeric_port(service: &str) -> Option<u16> {
    if service.is_empty() {
        return Some(0);
    }
    if !service.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(service.bytes().fold(0u64, |n, b| n.wrapping_mul(10).wrapping_add(u64::from(b - b'0'))) as u16)
}

/// An address in numbers: IPv6, perhaps with a scope, or IPv4 in any of inet_aton(3)'s forms.
pub(crate) fn numeric(node: &str) -> Option<IpAddr> {
    let without_scope = node.split_once('%').map_or(node, |(ip, _)| ip);
    if let Ok(ip) = without_scope.parse::<Ipv6Addr>() {
        return Some(IpAddr::V6(ip));
    }
    inet_aton(node).map(IpAddr::V4)
}

/// inet_aton(3): one to four parts, decimal, octal or hexadecimal; the last fills the bytes that are left.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u64> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) || *last >= 1 << (8 * (4 - first.len())) {
        return None;
    }
    let high = first.iter().enumerate().fold(0, |ip, (at, part)| ip | part << (24 - 8 * at));
    Some(Ipv4Addr::from((high | last) as u32))
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some("") => None,
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.starts_with('+') => None,
        None if text.len() > 1 && text.starts_with('0') => u64::from_str_radix(&text[1..], 8).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Network;
    use super::{Answer, EAI_ADDRFAMILY, Query, numeric};
    use crate::world::{HostId, Hush};
    use libc::{AF_INET, AF_INET6, AI_ALL, AI_CANONNAME, AI_NUMERICHOST, AI_NUMERICSERV, AI_PASSIVE, AI_V4MAPPED};
    use libc::{EAI_BADFLAGS, EAI_FAMILY, EAI_NONAME, EAI_SERVICE, EAI_SOCKTYPE, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM};
    use libc::{IPPROTO_UDP, c_int};

    fn world() -> Network {
        let mut net = Network::new(1, Hush::Everything);
        net.add_host(HostId(0), "kv1", "10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap(), true);
        net
    }

    fn query(node: Option<&str>, service: Option<&str>) -> Query {
        Query { node: node.map(str::to_owned), service: service.map(str::to_owned), ..Query::default() }
    }

    fn stream(node: &str, family: c_int, flags: c_int) -> Result<Vec<String>, c_int> {
        let query = Query { family, flags, kind: SOCK_STREAM, ..query(Some(node), Some("80")) };
        world()
            .look_up(HostId(0), &query)
            .map(|(answers, _)| answers.iter().map(|a| format!("{} {}", a.family, a.at.ip)).collect())
    }

    #[test]
    fn hosts_have_both_addresses_ipv4_first() {
        assert_eq!(stream("kv1", 0, 0).unwrap(), ["2 10.0.0.1", "10 fd00::1"]);
        assert_eq!(stream("KV1.", AF_INET6, 0).unwrap(), ["10 fd00::1"]);
        assert_eq!(stream("kv1", AF_INET6, AI_V4MAPPED | AI_ALL).unwrap(), ["10 fd00::1", "10 10.0.0.1"]);
        assert_eq!(stream("localhost", 0, 0).unwrap(), ["10 ::1", "2 127.0.0.1"]);
        assert_eq!(stream("nosuch", 0, 0), Err(EAI_NONAME));
        assert_eq!(stream("", 0, 0), Err(EAI_NONAME));
    }

    #[test]
    fn numbers_are_not_looked_up() {
        assert_eq!(stream("127.1", 0, 0).unwrap(), ["2 127.0.0.1"]);
        assert_eq!(stream("127.0.0.1", AF_INET6, AI_V4MAPPED).unwrap(), ["10 127.0.0.1"]);
        assert_eq!(stream("127.0.0.1", AF_INET6, 0), Err(EAI_ADDRFAMILY));
        assert_eq!(stream("::1", AF_INET, 0), Err(EAI_ADDRFAMILY));
        assert_eq!(stream("kv1", 0, AI_NUMERICHOST), Err(EAI_NONAME));
        for (text, ip) in
            [("0x7f.1", "127.0.0.1"), ("010.0.0.1", "8.0.0.1"), ("1", "0.0.0.1"), ("fe80::1%eth0", "fe80::1")]
        {
            assert_eq!(numeric(text), Some(ip.parse().unwrap()), "{text}");
        }
        for text in ["1.2.3.4.5", "256.1.1.1", "1.2.3.256", "", "1..2", "kv1", "+1.2.3.4"] {
            assert_eq!(numeric(text), None, "{text}");
        }
    }

    #[test]
    fn without_a_type_each_is_answered() {
        let kinds = |service: &str| {
            let (answers, _) = world().look_up(HostId(0), &query(Some("127.0.0.1"), Some(service))).unwrap();
            answers.iter().map(|a| (a.kind, a.at.port)).collect::<Vec<_>>()
        };
        assert_eq!(kinds("80"), [(SOCK_STREAM, 80), (SOCK_DGRAM, 80), (SOCK_RAW, 80)]);
        assert_eq!(kinds("http"), [(SOCK_STREAM, 80)]);
        assert_eq!(kinds("domain"), [(SOCK_STREAM, 53), (SOCK_DGRAM, 53)]);
        assert_eq!(kinds("65536"), [(SOCK_STREAM, 0), (SOCK_DGRAM, 0), (SOCK_RAW, 0)]);
        assert_eq!(kinds(""), [(SOCK_STREAM, 0), (SOCK_DGRAM, 0), (SOCK_RAW, 0)]);
    }

    #[test]
    fn nobody_is_the_wildcard_or_the_loopback() {
        let all = |flags| {
            let query = Query { flags, kind: SOCK_STREAM, ..query(None, Some("80")) };
            world().look_up(HostId(0), &query).unwrap().0.iter().map(|a| a.at.ip.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(all(AI_PASSIVE), ["0.0.0.0", "::"]);
        assert_eq!(all(0), ["::1", "127.0.0.1"]);
    }

    #[test]
    fn errors_are_glibc_s() {
        let error = |query: Query| world().look_up(HostId(0), &query).unwrap_err();
        let http = || query(Some("127.0.0.1"), Some("http"));
        let eighty = || query(Some("127.0.0.1"), Some("80"));
        assert_eq!(error(query(None, None)), EAI_NONAME);
        assert_eq!(error(query(Some("127.0.0.1"), Some("nosuch"))), EAI_SERVICE);
        assert_eq!(error(query(Some("127.0.0.1"), Some("-1"))), EAI_SERVICE);
        assert_eq!(error(Query { flags: AI_NUMERICSERV, kind: SOCK_STREAM, ..http() }), EAI_NONAME);
        assert_eq!(error(Query { flags: AI_CANONNAME, ..query(None, Some("80")) }), EAI_BADFLAGS);
        assert_eq!(error(Query { flags: 1 << 20, ..http() }), EAI_BADFLAGS);
        assert_eq!(error(Query { family: 99, ..http() }), EAI_FAMILY);
        assert_eq!(error(Query { kind: SOCK_DGRAM, ..http() }), EAI_SERVICE);
        assert_eq!(error(Query { kind: SOCK_RAW, ..eighty() }), EAI_SERVICE);
        assert_eq!(error(Query { kind: 99, ..eighty() }), EAI_SOCKTYPE);
        assert_eq!(error(Query { kind: SOCK_STREAM, protocol: IPPROTO_UDP, ..eighty() }), EAI_SOCKTYPE);
    }

    #[test]
    fn the_canonical_name_is_the_asked_one() {
        let query = Query { flags: AI_CANONNAME, kind: SOCK_STREAM, family: AF_INET, ..query(Some("kv1"), None) };
        let (answers, name) = world().look_up(HostId(0), &query).unwrap();
        let at = super::Endpoint::new("10.0.0.1".parse().unwrap(), 0);
        assert_eq!(answers, [Answer { family: AF_INET, kind: SOCK_STREAM, protocol: libc::IPPROTO_TCP, at }]);
        assert_eq!(name.as_deref(), Some("kv1"));
    }
}
