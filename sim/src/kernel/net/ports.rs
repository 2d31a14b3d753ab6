//! Who holds which port of a host, and who may share it.
//!
//! Follows `inet_csk_bind_conflict` (net/ipv4/inet_connection_sock.c) for TCP and `udp_lib_get_port`
//! (net/ipv4/udp.c) for UDP; socket(7) describes `SO_REUSEADDR` and `SO_REUSEPORT`, ipv6(7) `IPV6_V6ONLY`. All
//! sockets of a host belong to one user, so Linux's check of the user for `SO_REUSEPORT` is always met.

use super::Socket;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// First and last ephemeral port (ip(7), `ip_local_port_range`).
pub(crate) const EPHEMERAL: std::ops::RangeInclusive<u16> = 32768..=60999;

/// What a socket asks for when it takes a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    pub(crate) ip: IpAddr,
    /// Whether `::` leaves IPv4 alone.
    pub(crate) v6_only: bool,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
}

impl Claim {
    /// Whether some datagram or connection could be for both (`inet_rcv_saddr_equal`).
    fn overlaps(&self, other: &Claim) -> bool {
        match (self.ip, other.ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
            (IpAddr::V6(a), IpAddr::V6(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
            // One that `connect` or `accept` has given its IPv6 address is 127.0.0.6 to IPv4 (`LOOPBACK4_IPV6`,
            // include/net/ipv6.h), so a wildcard meets it; one that was bound to it is `v6_only`.
            (IpAddr::V4(a), IpAddr::V6(b)) => (a.is_unspecified() || b.is_unspecified()) && !other.v6_only,
            (IpAddr::V6(a), IpAddr::V4(_)) => a.is_unspecified() && !self.v6_only,
        }
    }

    /// Whether something sent to `ip` is for the claimant, and how well it fits: a named address before a wildcard,
    /// IPv4 before dual-stack (`compute_score`, net/ipv4/inet_hashtables.c and net/ipv4/udp.c).
    pub(crate) fn fit(&self, ip: IpAddr) -> Option<u32> {
        match (self.ip, ip) {
            (own, ip) if own == ip => Some(4),
            (IpAddr::V4(own), IpAddr::V4(_)) if own.is_unspecified() => Some(2),
            (IpAddr::V6(own), IpAddr::V6(_)) if own.is_unspecified() => Some(1),
            (IpAddr::V6(own), IpAddr::V4(_)) if own.is_unspecified() && !self.v6_only => Some(1),
            _ => None,
        }
    }
}

/// A socket that holds a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    pub(crate) socket: Socket,
    pub(crate) claim: Claim,
    pub(crate) listening: bool,
}

/// A port in use.
#[derive(Default)]
struct Bucket {
    /// Sockets that took the port by themselves.
    holders: Vec<Holder>,
    /// Accepted connections and those in TIME_WAIT, counted by claim: a listener's connections share few claims.
    connections: Vec<(Claim, u32)>,
    /// Whether only `connect` has given this port out: then other connections may share it.
    by_connect: bool,
}

impl Bucket {
    fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.connections.is_empty()
    }
}

/// Which rule of sharing applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// TCP.
    Stream,
    /// UDP: listening does not exist.
    Datagram,
}

/// One host's ports of one protocol.
pub(crate) struct Ports {
    rule: Rule,
    buckets: BTreeMap<u16, Bucket>,
}

impl Ports {
    /// No port in use.
    pub(crate) fn new(rule: Rule) -> Ports {
        Ports { rule, buckets: BTreeMap::new() }
    }

    /// Forgets everything: the host has lost its power.
    pub(crate) fn clear(&mut self) {
        self.buckets.clear();
    }

    /// Whether `claim` cannot have the port; `me` does not stand in its own way.
    pub(crate) fn conflict(&self, port: u16, claim: &Claim, me: Option<Socket>) -> bool {
        let Some(bucket) = self.buckets.get(&port) else { return false };
        let stands_in_the_way = |other: &Claim, listening: bool| {
            let both_reuse_address = claim.reuse_address && other.reuse_address && !listening;
            let both_reuse_port = claim.reuse_port && other.reuse_port;
            claim.overlaps(other) && !both_reuse_address && !both_reuse_port
        };
        bucket.holders.iter().any(|h| Some(h.socket) != me && stands_in_the_way(&h.claim, h.listening))
            || bucket.connections.iter().any(|(other, _)| stands_in_the_way(other, false))
    }

    /// Whether a datagram socket cannot have the port: `udp_lib_lport_inuse`, where the latest of those that are in the
    /// way decides.
    pub(crate) fn datagram_conflict(&self, port: u16, claim: &Claim) -> bool {
        let in_the_way = |other: &Claim| claim.overlaps(other) && !(claim.reuse_address && other.reuse_address);
        let latest = self.holders(port).iter().rev().find(|holder| in_the_way(&holder.claim));
        latest.is_some_and(|holder| !(claim.reuse_port && holder.claim.reuse_port))
    }

    /// Gives a port to a datagram socket, as the first that lookups find or as the last.
    pub(crate) fn hold_datagrams(&mut self, port: u16, socket: Socket, claim: Claim, last: bool) {
        let holders = &mut self.buckets.entry(port).or_default().holders;
        let at = if last { 0 } else { holders.len() };
        holders.insert(at, Holder { socket, claim, listening: false });
    }

    /// A datagram socket's address changes; lookups find it first from now on.
    pub(crate) fn move_datagrams(&mut self, port: u16, socket: Socket, ip: IpAddr) {
        let Some(bucket) = self.buckets.get_mut(&port) else { return };
        if let Some(at) = bucket.holders.iter().position(|holder| holder.socket == socket) {
            let mut holder = bucket.holders.remove(at);
            holder.claim.ip = ip;
            bucket.holders.push(holder);
        }
    }

    /// Changes what a holder's claim says of sharing.
    pub(crate) fn set_reuse(&mut self, port: u16, socket: Socket, address: bool, share: bool) {
        let Some(bucket) = self.buckets.get_mut(&port) else { return };
        for holder in bucket.holders.iter_mut().filter(|holder| holder.socket == socket) {
            (holder.claim.reuse_address, holder.claim.reuse_port) = (address, share);
        }
    }

    /// Whether `connect` may hand the port out: nobody has it, or only other connections do.
    pub(crate) fn free_for_connect(&self, port: u16) -> bool {
        self.buckets.get(&port).is_none_or(|bucket| bucket.by_connect)
    }

    /// Whether nobody uses the port at all.
    pub(crate) fn unused(&self, port: u16) -> bool {
        !self.buckets.contains_key(&port)
    }

    /// Gives a port to a socket.
    pub(crate) fn hold(&mut self, port: u16, socket: Socket, claim: Claim, by_connect: bool) {
        let bucket = self.buckets.entry(port).or_default();
        bucket.by_connect = by_connect && (bucket.is_empty() || bucket.by_connect);
        bucket.holders.push(Holder { socket, claim, listening: false });
    }

    /// Notes that a holder listens, or no longer does.
    pub(crate) fn set_listening(&mut self, port: u16, socket: Socket, listening: bool) {
        let Some(bucket) = self.buckets.get_mut(&port) else { return };
        bucket.holders.iter_mut().filter(|h| h.socket == socket).for_each(|h| h.listening = listening);
    }

    /// Changes what a holder's claim says, after `connect` has chosen its address.
    pub(crate) fn narrow(&mut self, port: u16, socket: Socket, ip: IpAddr) {
        let Some(bucket) = self.buckets.get_mut(&port) else { return };
        bucket.holders.iter_mut().filter(|h| h.socket == socket).for_each(|h| h.claim.ip = ip);
    }

    /// Takes a port from a socket; answers its claim.
    pub(crate) fn release(&mut self, port: u16, socket: Socket) -> Option<Claim> {
        let bucket = self.buckets.get_mut(&port)?;
        let at = bucket.holders.iter().position(|holder| holder.socket == socket)?;
        let holder = bucket.holders.remove(at);
        if bucket.is_empty() {
            self.buckets.remove(&port);
        }
        Some(holder.claim)
    }

    /// Notes an accepted connection, or one in TIME_WAIT.
    pub(crate) fn add_connection(&mut self, port: u16, claim: Claim) {
        let bucket = self.buckets.entry(port).or_default();
        match bucket.connections.iter_mut().find(|(known, _)| *known == claim) {
            Some((_, count)) => *count += 1,
            None => bucket.connections.push((claim, 1)),
        }
    }

    /// Forgets what [`Ports::add_connection`] noted.
    pub(crate) fn remove_connection(&mut self, port: u16, claim: &Claim) {
        let Some(bucket) = self.buckets.get_mut(&port) else { return };
        if let Some(at) = bucket.connections.iter().position(|(known, _)| known == claim) {
            bucket.connections[at].1 -= 1;
            if bucket.connections[at].1 == 0 {
                bucket.connections.remove(at);
            }
        }
        if bucket.is_empty() {
            self.buckets.remove(&port);
        }
    }

    /// The sockets that hold a port, the earliest first.
    pub(crate) fn holders(&self, port: u16) -> &[Holder] {
        self.buckets.get(&port).map_or(&[], |bucket| &bucket.holders)
    }

    /// The listener that a connection to `ip` reaches: the best fit, and among those that share the port with
    /// `SO_REUSEPORT` the one that the connection's hash points to.
    pub(crate) fn listener(&self, ip: IpAddr, port: u16, hash: u64) -> Option<Socket> {
        debug_assert_eq!(self.rule, Rule::Stream);
        let fits = || self.holders(port).iter().filter(|h| h.listening).filter_map(|h| Some((h.claim.fit(ip)?, h)));
        let best = fits().map(|(fit, _)| fit).max()?;
        let count = fits().filter(|(fit, _)| *fit == best).count() as u64;
        fits().filter(|(fit, _)| *fit == best).nth((hash % count) as usize).map(|(_, holder)| holder.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::{Claim, Ports, Rule};
    use crate::kernel::slots::Slots;

    fn claim(ip: &str) -> Claim {
        Claim { ip: ip.parse().unwrap(), v6_only: false, reuse_address: false, reuse_port: false }
    }

    fn reusing(ip: &str) -> Claim {
        Claim { reuse_address: true, ..claim(ip) }
    }

    /// Two names for sockets; the sockets themselves do not matter here.
    fn names() -> [super::Socket; 2] {
        let mut slots = Slots::default();
        [slots.insert(crate::kernel::net::socket::tests::any()), slots.insert(crate::kernel::net::socket::tests::any())]
    }

    #[test]
    fn a_wildcard_and_any_address_of_its_family_conflict() {
        let [first, _] = names();
        let mut ports = Ports::new(Rule::Stream);
        ports.hold(80, first, claim("0.0.0.0"), false);
        assert!(ports.conflict(80, &claim("10.0.0.1"), None));
        assert!(ports.conflict(80, &claim("::"), None), "dual-stack");
        assert!(!ports.conflict(80, &Claim { v6_only: true, ..claim("::") }, None));
        assert!(!ports.conflict(80, &claim("fd00::1"), None));
        assert!(!ports.conflict(81, &claim("0.0.0.0"), None));
        assert!(!ports.conflict(80, &claim("0.0.0.0"), Some(first)), "oneself");
    }

    #[test]
    fn reuse_address_needs_both_and_nobody_listening() {
        let [first, second] = names();
        let mut ports = Ports::new(Rule::Stream);
        ports.hold(80, first, reusing("0.0.0.0"), false);
        assert!(ports.conflict(80, &claim("0.0.0.0"), None));
        assert!(!ports.conflict(80, &reusing("0.0.0.0"), None));
        ports.set_listening(80, first, true);
        assert!(ports.conflict(80, &reusing("0.0.0.0"), None));
        ports.release(80, first);
        ports.add_connection(80, reusing("10.0.0.1"));
        assert!(!ports.conflict(80, &reusing("0.0.0.0"), None), "a restarted server binds beside its old connections");
        assert!(ports.conflict(80, &claim("0.0.0.0"), None));
        ports.remove_connection(80, &reusing("10.0.0.1"));
        assert!(ports.unused(80));
        assert!(ports.release(80, second).is_none());
    }

    #[test]
    fn reuse_port_shares_among_listeners_by_hash() {
        let [first, second] = names();
        let shared = Claim { reuse_port: true, ..claim("0.0.0.0") };
        let mut ports = Ports::new(Rule::Stream);
        for socket in [first, second] {
            assert!(!ports.conflict(80, &shared, None));
            ports.hold(80, socket, shared, false);
            ports.set_listening(80, socket, true);
        }
        let ip = "10.0.0.1".parse().unwrap();
        assert_eq!(ports.listener(ip, 80, 0), Some(first));
        assert_eq!(ports.listener(ip, 80, 1), Some(second));
    }

    #[test]
    fn a_named_address_wins_over_a_wildcard() {
        let [wild, named] = names();
        let mut ports = Ports::new(Rule::Stream);
        ports.hold(80, wild, reusing("::"), false);
        ports.hold(80, named, reusing("10.0.0.1"), false);
        ports.set_listening(80, wild, true);
        ports.set_listening(80, named, true);
        assert_eq!(ports.listener("10.0.0.1".parse().unwrap(), 80, 7), Some(named));
        assert_eq!(ports.listener("127.0.0.1".parse().unwrap(), 80, 7), Some(wild));
        assert_eq!(ports.listener("fd00::1".parse().unwrap(), 80, 7), Some(wild));
    }
}
