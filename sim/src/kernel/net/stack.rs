//! What each host has of its own of the network: addresses, ports, connections, and routes.

use super::address::{NAME_SERVER, SUBNET_BROADCAST};
use super::names::SERVER_NS;
use super::ports::{Claim, EPHEMERAL, Ports, Rule};
use super::tcp::{ConnectionId, Side};
use super::{Endpoint, Network, Rarities, Socket};
use crate::kernel::entropy::{Purpose, Stream};
use crate::world::HostId;
use libc::{EADDRNOTAVAIL, EHOSTUNREACH, ENETUNREACH, c_int};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The loopback network's broadcast address, which reaches every socket of the host (`fib_add_ifaddr`,
/// net/ipv4/fib_frontend.c).
pub(crate) const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

/// Two endpoints: the host's own first.
pub(crate) type Pair = (Endpoint, Endpoint);

/// Where an address leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// To this host, perhaps the one that asks.
    Host(HostId),
    /// To the name server.
    NameServer,
    /// To where nothing comes back but that there is no way.
    DeadEnd(DeadEnd),
}

/// Why there is no way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DeadEnd {
    /// In the hosts' common network nobody has the address.
    Nobody,
    /// It is beyond that network, and its router knows no further.
    Router,
}

impl DeadEnd {
    /// After how many nanoseconds who sends there is told.
    pub(crate) fn told_after_ns(self) -> u64 {
        match self {
            // Address resolution gives up after three tries of a second (arp(7), `mcast_solicit`, `retrans_time_ms`).
            DeadEnd::Nobody => 3_000_000_000,
            DeadEnd::Router => 2 * SERVER_NS,
        }
    }

    /// What they are told.
    pub(crate) fn errno(self) -> c_int {
        match self {
            DeadEnd::Nobody => EHOSTUNREACH,
            DeadEnd::Router => ENETUNREACH,
        }
    }
}

/// One host's share of the network.
pub(crate) struct Stack {
    pub(crate) name: String,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
    /// Powered: a host without power answers nothing, not even with RST.
    pub(crate) up: bool,
    pub(crate) tcp: Ports,
    pub(crate) udp: Ports,
    /// Connections by their endpoints; without one, the pair is in TIME_WAIT.
    pub(crate) connections: BTreeMap<Pair, Option<(ConnectionId, Side)>>,
    /// Pairs in TIME_WAIT, the earliest to end first.
    time_wait: VecDeque<(u64, Pair, Claim)>,
    /// Sockets of the host's processes, for its end.
    pub(crate) sockets: BTreeSet<Socket>,
    /// Multicast groups that the host's sockets have joined, and how many have.
    groups: BTreeMap<IpAddr, u32>,
    /// Who has which `nl_pid`.
    pub(crate) netlink_ports: BTreeSet<u32>,
    ports: Option<Box<Stream>>,
    pub(crate) rarities: Rarities,
    rarities_stream: Option<Box<Stream>>,
}

impl Stack {
    fn new(name: &str, v4: Ipv4Addr, v6: Ipv6Addr, rarities: Rarities) -> Stack {
        Stack {
            name: name.to_owned(),
            v4,
            v6,
            up: true,
            tcp: Ports::new(Rule::Stream),
            udp: Ports::new(Rule::Datagram),
            connections: BTreeMap::new(),
            time_wait: VecDeque::new(),
            sockets: BTreeSet::new(),
            groups: BTreeMap::new(),
            netlink_ports: BTreeSet::new(),
            ports: None,
            rarities,
            rarities_stream: None,
        }
    }

    /// Whether packets to this address stay on the host.
    pub(crate) fn owns(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || ip == IpAddr::V4(self.v4) || ip == IpAddr::V6(self.v6)
    }

    /// Whether a socket may be bound to this address: `inet_addr_valid_or_nonlocal` (net/ipv4/af_inet.c) also allows
    /// broadcast and multicast addresses.
    pub(crate) fn may_bind(&self, ip: IpAddr) -> bool {
        ip.is_unspecified() || self.owns(ip) || ip.is_multicast() || is_broadcast(ip)
    }

    /// The address that packets to `ip` carry as their source.
    pub(crate) fn source_for(&self, ip: IpAddr) -> IpAddr {
        match ip {
            IpAddr::V4(ip) if ip.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V4(_) => IpAddr::V4(self.v4),
            IpAddr::V6(ip) if ip.is_loopback() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(self.v6),
        }
    }

    /// A pair enters TIME_WAIT until `until`.
    pub(crate) fn wait(&mut self, until: u64, pair: Pair, claim: Claim) {
        self.connections.insert(pair, None);
        self.tcp.add_connection(pair.0.port, claim);
        self.time_wait.push_back((until, pair, claim));
    }

    /// Ends what was in TIME_WAIT for long enough. Called before ports are looked at, instead of by a timer.
    pub(crate) fn end_time_wait(&mut self, now: u64) {
        while let Some((until, pair, claim)) = self.time_wait.front().copied()
            && until <= now
        {
            self.time_wait.pop_front();
            self.tcp.remove_connection(pair.0.port, &claim);
            if self.connections.get(&pair) == Some(&None) {
                self.connections.remove(&pair);
            }
        }
    }

    /// Forgets everything that lived in the host's memory.
    pub(crate) fn lose_power(&mut self) {
        self.up = false;
        self.tcp.clear();
        self.udp.clear();
        self.connections.clear();
        self.time_wait.clear();
        self.sockets.clear();
        self.groups.clear();
        self.netlink_ports.clear();
    }

    /// A socket joins a group.
    pub(crate) fn join(&mut self, group: IpAddr) {
        *self.groups.entry(group).or_default() += 1;
    }

    /// A socket leaves a group; true when it was the host's last.
    pub(crate) fn leave(&mut self, group: IpAddr) -> bool {
        let Some(count) = self.groups.get_mut(&group) else { return false };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.groups.remove(&group);
        }
        last
    }
}

/// Whether an address reaches every host of the network.
pub(crate) fn is_broadcast(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::BROADCAST) || ip == IpAddr::V4(SUBNET_BROADCAST) || ip == IpAddr::V4(LOOPBACK_BROADCAST)
}

/// Whether an address belongs to the hosts' common network: 10.0.0.0/16 and fd00::/64.
pub(crate) fn on_link(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..2] == [10, 0],
        IpAddr::V6(ip) => ip.segments()[..4] == [0xfd00, 0, 0, 0],
    }
}

impl Network {
    /// Connects a new host to the network. Hosts come in the order of their numbers. On a hushed one nothing is rare.
    pub(crate) fn add_host(&mut self, host: HostId, name: &str, v4: Ipv4Addr, v6: Ipv6Addr, hushed: bool) {
        assert_eq!(self.stacks.len(), host.0 as usize, "hosts join the network in order");
        let rarities = if hushed { Rarities::default() } else { self.rarities };
        self.stacks.push(Stack::new(name, v4, v6, rarities));
        self.links.add_host(name);
        self.by_address.insert(IpAddr::V4(v4), host);
        self.by_address.insert(IpAddr::V6(v6), host);
        self.by_name.insert(name.to_ascii_lowercase(), host);
    }

    /// A host's share.
    pub(crate) fn stack(&mut self, host: HostId) -> &mut Stack {
        &mut self.stacks[host.0 as usize]
    }

    /// Where packets from a host to an address go.
    pub(crate) fn route(&self, host: HostId, ip: IpAddr) -> Route {
        if self.stacks[host.0 as usize].owns(ip) || ip.is_unspecified() {
            return Route::Host(host);
        }
        match self.by_address.get(&ip) {
            Some(host) => Route::Host(*host),
            None if ip == IpAddr::V4(NAME_SERVER) => Route::NameServer,
            None if on_link(ip) => Route::DeadEnd(DeadEnd::Nobody),
            None => Route::DeadEnd(DeadEnd::Router),
        }
    }

    /// A number below `bound` from a host's stream for ports.
    pub(crate) fn draw_port(&mut self, host: HostId, bound: u64) -> u64 {
        let seed = self.seed;
        let stream = &mut self.stack(host).ports;
        stream.get_or_insert_with(|| Box::new(Stream::new(seed, Purpose::Ports, u64::from(host.0)))).below(bound)
    }

    /// How much of a transfer of `bytes` takes place: all of it, or less where the seed likes short ones. Never zero.
    pub(crate) fn shorten(&mut self, host: HostId, bytes: usize) -> usize {
        /// One transfer in so many is short.
        const SHORT_ONE_IN: u64 = 8;
        let seed = self.seed;
        let stack = self.stack(host);
        if !stack.rarities.short_transfers || bytes < 2 {
            return bytes;
        }
        let entity = 1 << 32 | u64::from(host.0);
        let stream = &mut stack.rarities_stream;
        let stream = stream.get_or_insert_with(|| Box::new(Stream::new(seed, Purpose::Buggify, entity)));
        if stream.below(SHORT_ONE_IN) == 0 { 1 + stream.below(bytes as u64 - 1) as usize } else { bytes }
    }

    /// A free ephemeral port for `bind`, or for a datagram socket: one that nobody uses.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL`, which callers may turn into `EADDRINUSE`.
    pub(crate) fn unused_port(&mut self, host: HostId, rule: Rule) -> Result<u16, i32> {
        self.search_port(host, |stack, port| match rule {
            Rule::Stream => stack.tcp.unused(port),
            Rule::Datagram => stack.udp.unused(port),
        })
    }

    /// An ephemeral port for `connect` (`__inet_hash_connect`, net/ipv4/inet_hashtables.c): also one that other
    /// connections use, as long as the pair of endpoints is new.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL`.
    pub(crate) fn connect_port(&mut self, host: HostId, from: IpAddr, to: Endpoint) -> Result<u16, i32> {
        let own = self.stacks[host.0 as usize].owns(to.ip);
        self.search_port(host, |stack, port| {
            stack.tcp.free_for_connect(port)
                && !stack.connections.contains_key(&(Endpoint::new(from, port), to))
                && !(own && port == to.port)
        })
    }

    fn search_port(&mut self, host: HostId, suits: impl Fn(&Stack, u16) -> bool) -> Result<u16, i32> {
        let (first, last) = (*EPHEMERAL.start(), *EPHEMERAL.end());
        let count = u64::from(last - first) + 1;
        let offset = self.draw_port(host, count);
        let stack = &self.stacks[host.0 as usize];
        (0..count)
            .map(|step| first + ((offset + step) % count) as u16)
            .find(|port| suits(stack, *port))
            .ok_or(EADDRNOTAVAIL)
    }
}
