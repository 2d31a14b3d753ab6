//! A host's interfaces, addresses and routes, as rtnetlink(7) shows them.
//!
//! What depends on the machine, or counts what has passed, is not said: statistics, queues, settings of protocols. All
//! of it is optional in these messages.

use crate::kernel::net::address::{NAME_SERVER, ROUTER_V6, SUBNET_BROADCAST};
use crate::kernel::net::interfaces::{self, ETHERNET, INTERFACES, Interface, InterfaceAddress, LOOPBACK};
use crate::kernel::net::{LOOPBACK_BROADCAST, Stack, on_link};
use crate::world::HostId;
use libc::c_int;
use netlink_packet_core::DefaultNla;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkHeader, LinkLayerType, LinkMessage, LinkMode, State};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RoutePreference, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `RT_TABLE_MAIN` and `RT_TABLE_LOCAL` (include/uapi/linux/rtnetlink.h).
const MAIN: u8 = libc::RT_TABLE_MAIN;
const LOCAL: u8 = libc::RT_TABLE_LOCAL;
/// `IP6_RT_PRIO_ADDRCONF` (include/uapi/linux/ipv6_route.h).
const PREFIX_PRIORITY: u32 = 256;
/// `IP6_RT_PRIO_USER`: that of a route that was made by hand.
const DEFAULT_PRIORITY: u32 = 1024;
/// For ever, of an address.
const FOR_EVER: u32 = u32::MAX;
/// Whom a packet goes to (include/uapi/linux/in_route.h).
const RTCF_LOCAL: u32 = 0x8000_0000;
const RTCF_MULTICAST: u32 = 0x2000_0000;
const RTCF_BROADCAST: u32 = 0x1000_0000;

/// What a host has.
pub(super) struct Tables<'a> {
    pub(super) host: HostId,
    pub(super) stack: &'a Stack,
    /// Who asks, which may matter for the way a packet takes.
    pub(super) uid: u32,
}

/// Which routes are wanted.
pub(super) struct RouteFilter {
    pub(super) table: Option<u32>,
    pub(super) protocol: Option<u8>,
    pub(super) kind: Option<u8>,
    pub(super) device: Option<u32>,
}

impl RouteFilter {
    fn wants(&self, route: &Way) -> bool {
        let same = |wanted: Option<u8>, is: u8| wanted.is_none_or(|wanted| wanted == is);
        self.table.is_none_or(|table| table == u32::from(route.table))
            && self.device.is_none_or(|device| device == route.device.index)
            && same(self.protocol, route.protocol().into())
            && same(self.kind, route.kind.into())
    }
}

/// A route: the default one, or one that follows from an address (`fib_add_ifaddr`, net/ipv4/fib_frontend.c;
/// `addrconf_prefix_route` and `addrconf_f6i_alloc`, net/ipv6).
struct Way {
    table: u8,
    to: IpAddr,
    prefix_bits: u8,
    kind: RouteType,
    /// The source that it suggests; IPv6 does not say.
    from: Option<Ipv4Addr>,
    device: Interface,
}

impl Way {
    /// The default route goes to the router; all others lead to where they say.
    fn router(&self) -> Option<IpAddr> {
        (self.prefix_bits == 0).then(|| router(self.to))
    }

    fn protocol(&self) -> RouteProtocol {
        if self.prefix_bits == 0 { RouteProtocol::Static } else { RouteProtocol::Kernel }
    }
}

/// The router for addresses of this family.
fn router(of: IpAddr) -> IpAddr {
    if of.is_ipv4() { NAME_SERVER.into() } else { ROUTER_V6.into() }
}

/// Which of IPv6's routes is preferred: the one with the lowest number.
fn priority(kind: RouteType, router: Option<IpAddr>) -> RouteAttribute {
    RouteAttribute::Priority(match (kind, router) {
        (RouteType::Local, _) => 0,
        (_, Some(_)) => DEFAULT_PRIORITY,
        (_, None) => PREFIX_PRIORITY,
    })
}

fn to_attribute(ip: IpAddr) -> RouteAddress {
    match ip {
        IpAddr::V4(ip) => RouteAddress::Inet(ip),
        IpAddr::V6(ip) => RouteAddress::Inet6(ip),
    }
}

impl Tables<'_> {
    /// All interfaces.
    pub(super) fn links(&self) -> Vec<RouteNetlinkMessage> {
        INTERFACES.into_iter().map(|interface| self.describe(interface)).collect()
    }

    /// One of the interfaces.
    pub(super) fn link(&self, wanted: impl Fn(&Interface) -> bool) -> Option<RouteNetlinkMessage> {
        INTERFACES.into_iter().find(wanted).map(|interface| self.describe(interface))
    }

    /// `rtnl_fill_ifinfo`.
    fn describe(&self, device: Interface) -> RouteNetlinkMessage {
        let loopback = device == LOOPBACK;
        let up = LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp;
        let mut message = LinkMessage::default();
        message.header = LinkHeader {
            interface_family: AddressFamily::Unspec,
            index: device.index,
            link_layer_type: if loopback { LinkLayerType::Loopback } else { LinkLayerType::Ether },
            flags: up | if loopback { LinkFlags::Loopback } else { LinkFlags::Broadcast | LinkFlags::Multicast },
            change_mask: LinkFlags::empty(),
        };
        message.attributes = vec![
            LinkAttribute::IfName(name(device)),
            LinkAttribute::TxQueueLen(1000),
            LinkAttribute::OperState(if loopback { State::Unknown } else { State::Up }),
            LinkAttribute::Mode(LinkMode::Default),
            LinkAttribute::Mtu(device.mtu),
            LinkAttribute::MinMtu(if loopback { 0 } else { 68 }),
            LinkAttribute::MaxMtu(if loopback { 0 } else { 65_535 }),
            LinkAttribute::Group(0),
            LinkAttribute::Promiscuity(0),
            LinkAttribute::Carrier(1),
            LinkAttribute::CarrierChanges(0),
            LinkAttribute::Address(if loopback { vec![0; 6] } else { self.hardware_address().to_vec() }),
            LinkAttribute::Broadcast(vec![if loopback { 0 } else { 0xff }; 6]),
            LinkAttribute::Qdisc("noqueue".to_owned()),
        ];
        RouteNetlinkMessage::NewLink(message)
    }

    /// One that nobody was given (IEEE 802, locally administered).
    fn hardware_address(&self) -> [u8; 6] {
        let [.., high, low] = (self.host.0 + 1).to_be_bytes();
        [0x02, b'w', b't', 0, high, low]
    }

    /// `inet_fill_ifaddr` and `inet6_fill_ifaddr`, of one interface or all.
    pub(super) fn addresses(&self, family: u8, index: Option<u32>) -> Vec<RouteNetlinkMessage> {
        let wanted = interfaces::addresses(self.stack.v4, self.stack.v6).into_iter().filter(|address| {
            is_asked_for(family, address.ip) && index.is_none_or(|index| index == address.interface.index)
        });
        wanted.map(|address| describe_address(&address)).collect()
    }

    /// All routes, the main table first; IPv4 before IPv6.
    pub(super) fn routes(&self, family: u8, filter: &RouteFilter) -> Vec<RouteNetlinkMessage> {
        let (v4, v6) = (self.stack.v4, self.stack.v6);
        let [a, b, ..] = v4.octets();
        let mut network = [0; 16];
        network[..8].copy_from_slice(&v6.octets()[..8]);
        let (localhost, own) = (Some(Ipv4Addr::LOCALHOST), Some(v4));
        let multicast = Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0);
        let (any_v4, any_v6) = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        let all: [(u8, IpAddr, u8, RouteType, Option<Ipv4Addr>, Interface); 12] = [
            (MAIN, any_v4.into(), 0, RouteType::Unicast, None, ETHERNET),
            (MAIN, Ipv4Addr::new(a, b, 0, 0).into(), 16, RouteType::Unicast, own, ETHERNET),
            (LOCAL, v4.into(), 32, RouteType::Local, own, ETHERNET),
            (LOCAL, SUBNET_BROADCAST.into(), 32, RouteType::Broadcast, own, ETHERNET),
            (LOCAL, Ipv4Addr::new(127, 0, 0, 0).into(), 8, RouteType::Local, localhost, LOOPBACK),
            (LOCAL, Ipv4Addr::LOCALHOST.into(), 32, RouteType::Local, localhost, LOOPBACK),
            (LOCAL, LOOPBACK_BROADCAST.into(), 32, RouteType::Broadcast, localhost, LOOPBACK),
            (MAIN, Ipv6Addr::from(network).into(), 64, RouteType::Unicast, None, ETHERNET),
            (MAIN, any_v6.into(), 0, RouteType::Unicast, None, ETHERNET),
            (LOCAL, Ipv6Addr::LOCALHOST.into(), 128, RouteType::Local, None, LOOPBACK),
            (LOCAL, v6.into(), 128, RouteType::Local, None, ETHERNET),
            (LOCAL, multicast.into(), 8, RouteType::Multicast, None, ETHERNET),
        ];
        let all = all.into_iter().map(|(table, to, prefix_bits, kind, from, device)| Way {
            table,
            to,
            prefix_bits,
            kind,
            from,
            device,
        });
        all.filter(|way| is_asked_for(family, way.to) && filter.wants(way)).map(|way| way.message()).collect()
    }

    /// Which way a packet to this address takes.
    pub(super) fn way(&self, to: IpAddr) -> RouteNetlinkMessage {
        let stays = self.stack.owns(to);
        let broadcast = to == IpAddr::V4(SUBNET_BROADCAST) || to == IpAddr::V4(LOOPBACK_BROADCAST);
        let kind = match () {
            () if broadcast => RouteType::Broadcast,
            () if stays => RouteType::Local,
            () if to.is_multicast() => RouteType::Multicast,
            () => RouteType::Unicast,
        };
        let device = Interface::by(stays);
        let router = (kind == RouteType::Unicast && !on_link(to)).then(|| router(to));
        match to {
            IpAddr::V4(to) => self.way_v4(to, kind, device, router),
            IpAddr::V6(to) => self.way_v6(to, kind, device, router),
        }
    }

    /// `rt_fill_info`, net/ipv4/route.c.
    fn way_v4(&self, to: Ipv4Addr, kind: RouteType, device: Interface, router: Option<IpAddr>) -> RouteNetlinkMessage {
        let cast = match kind {
            RouteType::Local => RTCF_LOCAL,
            RouteType::Broadcast => RTCF_LOCAL | RTCF_BROADCAST,
            RouteType::Multicast => RTCF_MULTICAST,
            _ => 0,
        };
        let header = RouteHeader {
            address_family: AddressFamily::Inet,
            destination_prefix_length: 32,
            table: MAIN,
            kind,
            flags: RouteFlags::from_bits_retain(RouteFlags::Cloned.bits() | cast),
            ..RouteHeader::default()
        };
        let before = [
            RouteAttribute::Table(u32::from(MAIN)),
            RouteAttribute::Destination(RouteAddress::Inet(to)),
            RouteAttribute::Oif(device.index),
            RouteAttribute::PrefSource(to_attribute(self.stack.source_for(to.into()))),
        ];
        let router = router.map(|router| RouteAttribute::Gateway(to_attribute(router)));
        let behind = [RouteAttribute::Uid(self.uid), usage(1)];
        route(header, before.into_iter().chain(router).chain(behind).collect())
    }

    /// `rt6_fill_node`, net/ipv6/route.c.
    fn way_v6(&self, to: Ipv6Addr, kind: RouteType, device: Interface, router: Option<IpAddr>) -> RouteNetlinkMessage {
        let local = kind != RouteType::Unicast;
        let header = RouteHeader {
            address_family: AddressFamily::Inet6,
            destination_prefix_length: 128,
            source_prefix_length: 128,
            table: if local { LOCAL } else { MAIN },
            protocol: if router.is_some() { RouteProtocol::Static } else { RouteProtocol::Kernel },
            kind,
            ..RouteHeader::default()
        };
        let before = [
            RouteAttribute::Table(u32::from(header.table)),
            RouteAttribute::Destination(RouteAddress::Inet6(to)),
            RouteAttribute::Source(RouteAddress::Inet6(Ipv6Addr::UNSPECIFIED)),
            RouteAttribute::PrefSource(to_attribute(self.stack.source_for(to.into()))),
            priority(kind, router),
        ];
        let router = router.map(|router| RouteAttribute::Gateway(to_attribute(router)));
        let behind = [RouteAttribute::Oif(device.index), usage(1), RouteAttribute::Preference(RoutePreference::Medium)];
        route(header, before.into_iter().chain(router).chain(behind).collect())
    }
}

impl Way {
    /// `fib_dump_info` (net/ipv4/fib_semantics.c) and `rt6_fill_node` (net/ipv6/route.c).
    fn message(&self) -> RouteNetlinkMessage {
        let v4 = self.to.is_ipv4();
        let router = self.router();
        let header = RouteHeader {
            address_family: if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 },
            destination_prefix_length: self.prefix_bits,
            table: self.table,
            protocol: self.protocol(),
            scope: match self.kind {
                RouteType::Local if v4 => RouteScope::Host,
                _ if v4 && router.is_none() => RouteScope::Link,
                _ => RouteScope::Universe,
            },
            kind: self.kind,
            ..RouteHeader::default()
        };
        let mut attributes = vec![RouteAttribute::Table(u32::from(self.table))];
        let to = RouteAttribute::Destination(to_attribute(self.to));
        attributes.extend((self.prefix_bits > 0).then_some(to));
        attributes.extend((!v4).then_some(priority(self.kind, router)));
        attributes.extend(self.from.map(|from| RouteAttribute::PrefSource(RouteAddress::Inet(from))));
        attributes.extend(router.map(|router| RouteAttribute::Gateway(to_attribute(router))));
        attributes.push(RouteAttribute::Oif(self.device.index));
        if !v4 {
            attributes.extend([usage(0), RouteAttribute::Preference(RoutePreference::Medium)]);
        }
        route(header, attributes)
    }
}

/// `rta_cacheinfo`: by how many a route is in use.
fn usage(references: u32) -> RouteAttribute {
    let mut bytes = references.to_ne_bytes().to_vec();
    bytes.resize(32, 0);
    RouteAttribute::Other(DefaultNla::new(libc::RTA_CACHEINFO, bytes))
}

fn route(header: RouteHeader, attributes: Vec<RouteAttribute>) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header = header;
    message.attributes = attributes;
    RouteNetlinkMessage::NewRoute(message)
}

/// Whether a request for this family is about an address: one that has none of these is about all
/// (`rtnl_dump_all`, net/core/rtnetlink.c).
fn is_asked_for(family: u8, ip: IpAddr) -> bool {
    match c_int::from(family) {
        libc::AF_INET => ip.is_ipv4(),
        libc::AF_INET6 => ip.is_ipv6(),
        _ => true,
    }
}

/// As text that messages have.
fn name(interface: Interface) -> String {
    interface.name.to_string_lossy().into_owned()
}

fn describe_address(
    &InterfaceAddress { interface, ip, prefix_bits, broadcast }: &InterfaceAddress,
) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = prefix_bits;
    message.header.flags = AddressHeaderFlags::Permanent;
    message.header.scope = if ip.is_loopback() { AddressScope::Host } else { AddressScope::Universe };
    message.header.index = interface.index;
    let mut life = CacheInfo::default();
    (life.ifa_preferred, life.ifa_valid) = (FOR_EVER, FOR_EVER);
    let (life, flags) = (AddressAttribute::CacheInfo(life), AddressAttribute::Flags(AddressFlags::Permanent));
    message.attributes = match ip {
        IpAddr::V4(_) => {
            let broadcast = broadcast.map(AddressAttribute::Broadcast);
            let names = [AddressAttribute::Label(name(interface)), flags, life];
            let own = [AddressAttribute::Address(ip), AddressAttribute::Local(ip)];
            own.into_iter().chain(broadcast).chain(names).collect()
        }
        // The loopback's own was given by the kernel (IFAPROT_KERNEL_LO, include/uapi/linux/if_addr.h).
        IpAddr::V6(_) => {
            let by = ip.is_loopback().then_some(AddressAttribute::Protocol(AddressProtocol::Loopback));
            [AddressAttribute::Address(ip), life, flags].into_iter().chain(by).collect()
        }
    };
    RouteNetlinkMessage::NewAddress(message)
}
