//! Devices, addresses, routes, neighbours, rules: rtnetlink(7).

use super::Socket;
use crate::{Error, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use netlink_packet_route::{AddressFamily, IpProtocol, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

/// The loopback's number in every namespace (net/loopback.c: it is the first device).
pub const LOOPBACK: u32 = 1;

/// How long the kernel's workers may take to come by; they come within a millisecond unless the machine is overloaded.
const WORKER: Duration = Duration::from_secs(5);

/// A link-layer address.
pub type Mac = [u8; 6];

/// A device to be made.
#[derive(Debug, Clone)]
pub struct Device<'a> {
    /// Its name: 15 bytes at most (`IFNAMSIZ`, linux/if.h).
    pub name: &'a str,
    /// Its link-layer address.
    pub mac: Mac,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

/// Where packets for an address go.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// Out of this device, to the address itself.
    Device(u32),
    /// Out of this device, to a router which is reached by it whatever its address.
    Router(u32, IpAddr),
    /// To this machine: they are taken in as if it had the address.
    Here,
}

/// A route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Where to.
    pub to: IpAddr,
    /// How many bits of that count.
    pub prefix_bits: u8,
    /// How.
    pub way: Way,
    /// Routing table; the main one is 254 (`RT_TABLE_MAIN`).
    pub table: u8,
}

impl Route {
    /// The way to one address.
    pub fn to(address: IpAddr, way: Way) -> Self {
        let prefix_bits = bits(address);
        Self { to: address, prefix_bits, way, table: RouteHeader::RT_TABLE_MAIN }
    }

    /// The way to all addresses of a family; `like` is one of them.
    pub fn default(like: IpAddr, way: Way) -> Self {
        let to = if like.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0u8; 16]) };
        Self { prefix_bits: 0, ..Self::to(to, way) }
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.to);
        message.header.destination_prefix_length = self.prefix_bits;
        message.header.table = self.table;
        message.header.protocol = RouteProtocol::Static;
        let (scope, kind) = match self.way {
            Way::Device(_) => (RouteScope::Link, RouteType::Unicast),
            Way::Router(..) => (RouteScope::Universe, RouteType::Unicast),
            Way::Here => (RouteScope::Host, RouteType::Local),
        };
        message.header.scope = scope;
        message.header.kind = kind;
        if self.prefix_bits > 0 {
            message.attributes.push(RouteAttribute::Destination(self.to.into()));
        }
        match self.way {
            Way::Device(device) => message.attributes.push(RouteAttribute::Oif(device)),
            Way::Here => message.attributes.push(RouteAttribute::Oif(LOOPBACK)),
            Way::Router(device, router) => {
                message.header.flags = RouteFlags::Onlink;
                message.attributes.push(RouteAttribute::Oif(device));
                message.attributes.push(RouteAttribute::Gateway(router.into()));
            }
        }
        message
    }
}

/// The devices and routes of one network namespace.
#[derive(Debug)]
pub struct Routing(Socket);

impl Routing {
    /// Of the calling thread's namespace.
    ///
    /// # Errors
    /// Too many sockets are open.
    pub fn open() -> Result<Self> {
        Socket::open(NETLINK_ROUTE).map(Self)
    }

    /// Makes a pair of devices, one of which is in the other namespace.
    ///
    /// # Errors
    /// The kernel has no veth, one of the names is taken, or the other namespace is not this user's.
    pub fn add_pair(&mut self, here: &Device<'_>, there: &Device<'_>, there_ns: BorrowedFd<'_>) -> Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes = attributes(there);
        peer.attributes.push(LinkAttribute::NetNsFd(there_ns.as_raw_fd()));
        let mut message = LinkMessage::default();
        message.attributes = attributes(here);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        let what = format!("make the devices {} and {} (veth)", here.name, there.name);
        self.0.tell(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, &what)
    }

    /// The number of the device with this name, if there is one.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn device(&mut self, name: &str) -> Result<Option<u32>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.0.ask(RouteNetlinkMessage::GetLink(message), 0, &format!("look for the device {name}")) {
            Ok(replies) => Ok(replies.into_iter().find_map(|reply| match reply {
                RouteNetlinkMessage::NewLink(link) => Some(link.header.index),
                _ => None,
            })),
            Err(error) if error.is_os(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a device, and the other one of its pair.
    ///
    /// # Errors
    /// There is none.
    pub fn remove_device(&mut self, device: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = device;
        self.0.tell(RouteNetlinkMessage::DelLink(message), 0, "remove a device")
    }

    /// Sets a device up.
    ///
    /// # Errors
    /// There is none.
    pub fn up(&mut self, device: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = device;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.0.tell(RouteNetlinkMessage::SetLink(message), 0, "set a device up")
    }

    /// Makes a device as quiet and as coarse as a wire: it does not give itself a link-local IPv6 address, which it
    /// would announce and ask about; and TCP does not hand it packets of more than one segment, so that what is lost,
    /// counted or delayed on the way is one segment, not up to 64 KiB at a time. `alias` is a longer name, for who
    /// looks at it with ip(8).
    ///
    /// # Errors
    /// There is no such device, or no IPv6.
    pub fn like_a_wire(&mut self, device: u32, alias: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = device;
        let no_link_local = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        message.attributes = vec![
            LinkAttribute::GsoMaxSegs(1),
            LinkAttribute::IfAlias(alias.to_owned()),
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![no_link_local])]),
        ];
        self.0.tell(RouteNetlinkMessage::SetLink(message), 0, "settle a device")
    }

    /// Gives a device an address, which is usable when this returns: nobody is asked whether they have it too (RFC 4862
    /// §5.4). Nobody else is taken to be behind the device because of it.
    ///
    /// # Errors
    /// It has the address, or the device is down.
    pub fn add_address(&mut self, device: u32, address: IpAddr) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = bits(address);
        message.header.index = device;
        let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
        message.attributes =
            vec![AddressAttribute::Local(address), AddressAttribute::Address(address), AddressAttribute::Flags(flags)];
        let what = format!("give a device the address {address}");
        self.0.tell(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL, &what)?;
        self.wait_until_here(address, &what)
    }

    /// Sets the loopback up; both its addresses are usable when this returns.
    ///
    /// # Errors
    /// The namespace is not this user's.
    pub fn loopback_up(&mut self) -> Result<()> {
        self.up(LOOPBACK)?;
        self.wait_until_here(Ipv6Addr::LOCALHOST.into(), "set the loopback up")
    }

    /// All addresses of its devices.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn addresses(&mut self) -> Result<Vec<IpAddr>> {
        let dump = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let replies = self.0.ask(dump, NLM_F_DUMP, "list addresses")?;
        let address = |reply| {
            let RouteNetlinkMessage::NewAddress(message) = reply else { return None };
            let of = |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
            // rtnetlink(7): of a point-to-point device IFA_ADDRESS is the other end's. IPv6 has no IFA_LOCAL otherwise.
            of(|attribute| if let AddressAttribute::Local(local) = attribute { Some(*local) } else { None })
                .or(of(|attribute| if let AddressAttribute::Address(any) = attribute { Some(*any) } else { None }))
        };
        Ok(replies.into_iter().filter_map(address).collect())
    }

    fn wait_until_here(&mut self, address: IpAddr, what: &str) -> Result<()> {
        // The kernel takes packets for an IPv6 address only once a worker of its own has come by (addrconf.c,
        // `addrconf_dad_work`).
        let deadline = Instant::now() + WORKER;
        while !self.is_here(address)? {
            if Instant::now() > deadline {
                return Err(Error::unlike(what, "packets for it are taken in", format!("not after {WORKER:?}")));
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Whether packets to this address would be taken in.
    fn is_here(&mut self, address: IpAddr) -> Result<bool> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(address);
        message.header.destination_prefix_length = bits(address);
        message.attributes.push(RouteAttribute::Destination(address.into()));
        match self.0.ask(RouteNetlinkMessage::GetRoute(message), 0, &format!("look for the way to {address}")) {
            Ok(replies) => Ok(replies.iter().any(|reply| match reply {
                RouteNetlinkMessage::NewRoute(route) => route.header.kind == RouteType::Local,
                _ => false,
            })),
            Err(error) if error.is_os(libc::ENETUNREACH) || error.is_os(libc::EHOSTUNREACH) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Adds a route.
    ///
    /// # Errors
    /// There is one, or its device is down.
    pub fn add_route(&mut self, route: &Route) -> Result<()> {
        let what = format!("add a route to {}/{}", route.to, route.prefix_bits);
        self.0.tell(RouteNetlinkMessage::NewRoute(route.message()), NLM_F_CREATE | NLM_F_EXCL, &what)
    }

    /// Says once and for all which link-layer address an address has, so that nobody asks.
    ///
    /// # Errors
    /// There is no such device.
    pub fn add_neighbour(&mut self, device: u32, address: IpAddr, mac: Mac) -> Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = device;
        message.header.state = NeighbourState::Permanent;
        let to = match address {
            IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
            IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
        };
        message.attributes =
            vec![NeighbourAttribute::Destination(to), NeighbourAttribute::LinkLayerAddress(mac.to_vec())];
        let what = format!("name the neighbour {address}");
        self.0.tell(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE, &what)
    }

    /// Sends packets to this port, which no earlier rule has a way for, by another table. `like` is an address of the
    /// family.
    ///
    /// # Errors
    /// The kernel has no rules, or none for ports (ip-rule(8); since 4.17).
    pub fn add_port_rule(&mut self, like: IpAddr, protocol: Protocol, port: u16, rule: PortRule) -> Result<()> {
        let mut message = RuleMessage::default();
        message.header.family = family(like);
        message.header.action = RuleAction::ToTable;
        message.header.table = rule.table;
        let protocol = match protocol {
            Protocol::Udp => IpProtocol::Udp,
            Protocol::Tcp => IpProtocol::Tcp,
        };
        message.attributes = vec![
            RuleAttribute::Priority(rule.priority),
            RuleAttribute::IpProtocol(protocol),
            RuleAttribute::DestinationPortRange(RulePortRange { start: port, end: port }),
        ];
        let what = format!("add a routing rule for port {port}");
        self.0.tell(RouteNetlinkMessage::NewRule(message), NLM_F_CREATE | NLM_F_EXCL, &what)
    }
}

/// What has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// User datagrams.
    Udp,
    /// Streams.
    Tcp,
}

/// Where a rule stands, and where it leads.
#[derive(Debug, Clone, Copy)]
pub struct PortRule {
    /// Rules are asked in this order; that of the main table is at 32766 (ip-rule(8)).
    pub priority: u32,
    /// The routing table.
    pub table: u8,
}

fn attributes(device: &Device<'_>) -> Vec<LinkAttribute> {
    vec![
        LinkAttribute::IfName(device.name.to_owned()),
        LinkAttribute::Address(device.mac.to_vec()),
        LinkAttribute::Mtu(device.mtu),
    ]
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// All bits of an address.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
