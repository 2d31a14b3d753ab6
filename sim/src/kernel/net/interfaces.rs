//! The interfaces of a host, and their addresses: one table for all who tell of them.

use super::address::SUBNET_BROADCAST;
use std::ffi::CStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Interface {
    /// Its number.
    pub(crate) index: u32,
    pub(crate) name: &'static CStr,
    /// The largest packet that it carries, in bytes.
    pub(crate) mtu: u32,
}

/// The host's own.
pub(crate) const LOOPBACK: Interface = Interface { index: 1, name: c"lo", mtu: 65_536 };
/// The one to the other hosts.
pub(crate) const ETHERNET: Interface = Interface { index: 2, name: c"eth0", mtu: 1500 };
/// All, by their numbers.
pub(crate) const INTERFACES: [Interface; 2] = [LOOPBACK, ETHERNET];

impl Interface {
    /// The one by which packets leave that stay on the host, or do not.
    pub(crate) fn by(stays: bool) -> Interface {
        if stays { LOOPBACK } else { ETHERNET }
    }
}

/// An address of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InterfaceAddress {
    pub(crate) interface: Interface,
    pub(crate) ip: IpAddr,
    /// How much of it is the network's.
    pub(crate) prefix_bits: u8,
    pub(crate) broadcast: Option<Ipv4Addr>,
}

/// The addresses of the host that has these, in the order in which Linux lists them.
pub(crate) fn addresses(v4: Ipv4Addr, v6: Ipv6Addr) -> [InterfaceAddress; 4] {
    let of = |interface, ip, prefix_bits, broadcast| InterfaceAddress { interface, ip, prefix_bits, broadcast };
    [
        of(LOOPBACK, Ipv4Addr::LOCALHOST.into(), 8, None),
        of(ETHERNET, v4.into(), 16, Some(SUBNET_BROADCAST)),
        of(LOOPBACK, Ipv6Addr::LOCALHOST.into(), 128, None),
        of(ETHERNET, v6.into(), 64, None),
    ]
}

impl InterfaceAddress {
    /// The network's part of the address, as a mask.
    pub(crate) fn mask(&self) -> IpAddr {
        let ones = |bits: u32| u128::MAX.checked_shl(bits - u32::from(self.prefix_bits)).unwrap_or(0);
        match self.ip {
            IpAddr::V4(_) => Ipv4Addr::from(ones(32) as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from(ones(128)).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::addresses;

    #[test]
    fn masks_are_as_long_as_prefixes() {
        let masks = addresses([10, 0, 1, 2].into(), 1.into()).map(|address| address.mask().to_string());
        assert_eq!(
            masks,
            ["255.0.0.0", "255.255.0.0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff::"]
        );
    }
}
