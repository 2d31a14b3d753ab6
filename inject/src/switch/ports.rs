//! The switch and its ports.
//!
//! Checksums: veth hands on packets whose checksum nobody has computed, because the memory they stand in is trusted
//! (`CHECKSUM_PARTIAL`). That is not switched off here, since whoever looks at the bytes gets right ones: before a
//! packet goes to a queue the kernel completes its checksum (nfnetlink_queue.c, `nfqnl_build_packet_message`) and cuts
//! what is more than one segment into such, unless the queue asks for neither (`NFQA_CFG_F_GSO`); and what comes back
//! changed is verified by the receiver (veth leaves `CHECKSUM_NONE` alone since Linux 4.4).

use crate::netlink::route::{Device, LOOPBACK, Mac, Route, Routing, Way};
use crate::netlink::{in_namespace, new_namespace};
use crate::step::reached;
use crate::{Error, Result};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The switch's own address, and the name server's; the same as the simulated network's.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 255, 53);
/// The switch's own address in IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0xffff, 0x53);
/// What a host calls its device.
const HOST_DEVICE: &str = "eth0";
/// Ethernet's (RFC 894).
const MTU_BYTES: u32 = 1500;
/// Addresses that hosts may have, as in the simulated network: first one, and how many bits count.
const NETWORKS: [(IpAddr, u8); 2] =
    [(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 16), (IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0)), 64)];
/// The port behind which nobody is, and its other end.
const DARK: [Device<'static>; 2] = [
    Device { name: "dark", mac: [0x02, b'w', b't', 2, 0, 0], mtu: MTU_BYTES },
    Device { name: "darker", mac: [0x02, b'w', b't', 3, 0, 0], mtu: MTU_BYTES },
];

/// What the switch's namespace is told before it has devices, which inherit it: to forward, and to ask nothing back
/// (ip-sysctl.rst). A new namespace begins with the machine's values, so none is taken for granted.
const SETTINGS: [(&str, &str); 6] = [
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    ("/proc/sys/net/ipv6/conf/all/forwarding", "1"),
    // A host's packets need not come in where its answers go out.
    ("/proc/sys/net/ipv4/conf/all/rp_filter", "0"),
    ("/proc/sys/net/ipv4/conf/default/rp_filter", "0"),
    // Hosts that ask for one that is not there are told so each time, not once a second.
    ("/proc/sys/net/ipv4/icmp_ratelimit", "0"),
    ("/proc/sys/net/ipv6/icmp/ratelimit", "0"),
];

/// The network of a world. It ends when the switch has been dropped and no socket of its namespace is left.
#[derive(Debug)]
pub struct Switch {
    ns: OwnedFd,
    routing: Routing,
    ports: BTreeMap<PortId, Port>,
    joined: u16,
}

/// A port of a switch. Numbers are not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u16);

#[derive(Debug)]
struct Port {
    device: u32,
    addresses: [IpAddr; 2],
}

impl Switch {
    /// Makes a network without hosts, in a namespace of its own.
    ///
    /// Whoever is not [privileged](crate::namespace::is_privileged) first leaves for a user namespace of their own
    /// ([`leave_for_new`](crate::namespace::leave_for_new)), which then owns the switch's namespace and must own the
    /// hosts' as well.
    ///
    /// # Errors
    /// This user may have no namespaces, or `/proc/sys` cannot be written.
    pub fn new() -> Result<Self> {
        let ns = new_namespace()?;
        let routing = in_namespace(ns.as_fd(), || {
            for (file, value) in SETTINGS {
                set(file, value)?;
            }
            reached("a switch's settings are made");
            let mut routing = Routing::open()?;
            routing.loopback_up()?;
            routing.add_address(LOOPBACK, GATEWAY_V4.into())?;
            routing.add_address(LOOPBACK, GATEWAY_V6.into())?;
            reached("a switch has its addresses");
            darken(&mut routing, ns.as_fd())?;
            Ok::<_, Error>(routing)
        })??;
        reached("a switch is made");
        Ok(Self { ns, routing, ports: BTreeMap::new(), joined: 0 })
    }

    /// The namespace in which packets pass from host to host.
    pub fn ns(&self) -> BorrowedFd<'_> {
        self.ns.as_fd()
    }

    /// Joins a host's namespace to the network: it gets a loopback that works and a device `eth0` with these addresses,
    /// by which it reaches all others. `name` is for who looks at the switch with ip(8).
    ///
    /// # Errors
    /// It has an `eth0`, another host has one of the addresses, or it is not this user's namespace.
    pub fn join(&mut self, host: BorrowedFd<'_>, name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<PortId> {
        let what = format!("join {name} to the network");
        let taken = || Error::lacking(what.clone(), "all 65,535 ports have been used", "make another switch");
        self.joined = self.joined.checked_add(1).ok_or_else(taken)?;
        let id = PortId(self.joined);
        let addresses = [IpAddr::V4(v4), IpAddr::V6(v6)];
        if let Some(taken) = addresses.into_iter().find(|address| self.port_of(*address).is_some()) {
            return Err(Error::os(format!("{what}: another host has {taken}"), Errno::EXIST));
        }
        match self.plug(id, host, name, addresses) {
            Ok(device) => _ = self.ports.insert(id, Port { device, addresses }),
            Err(error) => {
                if let Ok(Some(device)) = self.routing.device(&port_name(id)) {
                    let _ = self.routing.remove_device(device);
                }
                return Err(error);
            }
        }
        Ok(id)
    }

    /// The cable between a host and the switch; both sides' devices, addresses and routes.
    fn plug(&mut self, id: PortId, host: BorrowedFd<'_>, name: &str, addresses: [IpAddr; 2]) -> Result<u32> {
        let [here, there] = [1, 0].map(|side| mac(id, side));
        let port = port_name(id);
        self.routing.add_pair(
            &Device { name: &port, mac: here, mtu: MTU_BYTES },
            &Device { name: HOST_DEVICE, mac: there, mtu: MTU_BYTES },
            host,
        )?;
        reached("a cable is there");
        let device = self.routing.device(&port)?.ok_or_else(|| Error::gone(format!("join {name} to the network")))?;
        self.routing.like_a_wire(device, name)?;
        self.routing.up(device)?;
        reached("a port is up");
        in_namespace(host, || settle_host(addresses, here))??;
        reached("a host is settled");
        // The side that is up first has no carrier, and drops what it sends until the kernel gets round to noticing
        // that it has one. Asking for the device makes it notice (rtnetlink.c: `linkwatch_sync_dev` in `rtnl_getlink`).
        self.routing.device(&port)?;
        for address in addresses {
            self.routing.add_neighbour(device, address, there)?;
            self.routing.add_route(&Route::to(address, Way::Device(device)))?;
        }
        reached("a host is joined");
        Ok(device)
    }

    /// The port at which the host with this address has joined, and not left.
    pub fn port_of(&self, address: IpAddr) -> Option<PortId> {
        self.ports.iter().find(|(_, port)| port.addresses.contains(&address)).map(|(id, _)| *id)
    }

    /// Takes a host off the network, without a word to the others; its `eth0` is gone. Nothing happens if its namespace
    /// has ended, or it has left.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn leave(&mut self, id: PortId) -> Result<()> {
        let Some(port) = self.ports.remove(&id) else { return Ok(()) };
        reached("a host is to leave the network");
        match self.routing.remove_device(port.device) {
            Err(error) if !error.is_os(libc::ENODEV) => Err(error),
            _ => {
                reached("a host has left the network");
                Ok(())
            }
        }
    }
}

/// Where hosts' addresses lead while nobody has them, which is also when a host's namespace has ended: to a wire with
/// nobody on it, where the kernel asks three times, a second apart, who has the address, and then tells the sender that
/// the host cannot be reached (RFC 826; arp(7), `mcast_solicit`). So it is when a machine of a real network is off.
fn darken(routing: &mut Routing, ns: BorrowedFd<'_>) -> Result<()> {
    let [here, there] = DARK;
    routing.add_pair(&here, &there, ns)?;
    reached("a dark cable is there");
    let mut dark = None;
    for side in [&there, &here] {
        let device = routing.device(side.name)?.ok_or_else(|| Error::gone("make a network"))?;
        routing.like_a_wire(device, "nobody is here")?;
        routing.up(device)?;
        dark = Some(device);
    }
    for ((to, prefix_bits), device) in NETWORKS.into_iter().zip(dark.into_iter().cycle()) {
        routing.add_route(&Route { prefix_bits, ..Route::to(to, Way::Device(device)) })?;
    }
    Ok(())
}

fn port_name(PortId(port): PortId) -> String {
    format!("port{port}")
}

/// The host's side.
fn settle_host(addresses: [IpAddr; 2], switch: Mac) -> Result<()> {
    let mut routing = Routing::open()?;
    routing.loopback_up()?;
    let device = routing.device(HOST_DEVICE)?.ok_or_else(|| Error::gone("settle a host's device"))?;
    routing.like_a_wire(device, "")?;
    routing.up(device)?;
    for (address, gateway) in addresses.into_iter().zip([IpAddr::V4(GATEWAY_V4), IpAddr::V6(GATEWAY_V6)]) {
        routing.add_address(device, address)?;
        routing.add_neighbour(device, gateway, switch)?;
        routing.add_route(&Route::default(address, Way::Router(device, gateway)))?;
    }
    Ok(())
}

/// A link-layer address that nobody was given (IEEE 802, locally administered), the same in every run.
fn mac(PortId(port): PortId, side: u8) -> Mac {
    let [high, low] = port.to_be_bytes();
    [0x02, b'w', b't', side, high, low]
}

/// Sets a sysctl of the calling thread's network namespace.
fn set(file: &str, value: &str) -> Result<()> {
    fs::write(file, value).map_err(|error| match error.kind() {
        std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::NotFound => Error::lacking(
            "make a network",
            format!("{file} cannot be written ({error})"),
            "mount /proc writable; containers need --privileged or --security-opt systempaths=unconfined",
        ),
        _ => Error::os(format!("write {value} to {file}"), error),
    })
}
