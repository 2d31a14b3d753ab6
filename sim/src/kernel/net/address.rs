//! Addresses: between the bytes of `sockaddr` and what the network computes with.
//!
//! Inside the network an IPv4 address is always IPv4, also when a dual-stack IPv6 socket uses it as `::ffff:a.b.c.d`
//! (RFC 4291 §2.5.5.2); only the bytes that a program sees know about the mapping.

use libc::{AF_INET, AF_INET6, AF_UNSPEC, EAFNOSUPPORT, EINVAL, c_int};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Size of `sockaddr_storage`, the most that an address can take.
pub(crate) const ADDRESS_BYTES_MAX: usize = 128;
/// Size of `sockaddr_in`.
pub(crate) const V4_BYTES: usize = 16;
/// Size of `sockaddr_in6`.
const V6_BYTES: usize = 28;
/// Least size of an IPv6 address that Linux accepts: without the scope (`SIN6_LEN_RFC2133`, net/ipv6.h).
const V6_BYTES_MIN: usize = 24;

/// What the resolver and programs call the name server; `/etc/resolv.conf` names it.
pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 255, 53);
/// The router on the way to whatever is beyond the hosts' common network; in IPv4 it is the name server.
pub(crate) const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0xffff, 0x53);
/// Broadcast address of the hosts' common network, 10.0.0.0/16.
pub(crate) const SUBNET_BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 0, 255, 255);

/// An internet socket's address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

impl Family {
    /// The number that C programs know.
    pub(crate) fn number(self) -> c_int {
        match self {
            Family::V4 => AF_INET,
            Family::V6 => AF_INET6,
        }
    }

    /// The address that stands for any.
    pub(crate) fn any(self) -> IpAddr {
        match self {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// An IP address and a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Endpoint {
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
}

impl Endpoint {
    /// An endpoint.
    pub(crate) fn new(ip: IpAddr, port: u16) -> Endpoint {
        Endpoint { ip, port }
    }

    /// The `sockaddr` that a program with a socket of this family sees.
    pub(crate) fn encode(self, family: Family) -> RawAddress {
        let mut raw = RawAddress::empty();
        match (family, self.ip) {
            (Family::V4, IpAddr::V4(ip)) => {
                raw.len = V4_BYTES;
                raw.bytes[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
                raw.bytes[2..4].copy_from_slice(&self.port.to_be_bytes());
                raw.bytes[4..8].copy_from_slice(&ip.octets());
            }
            // An IPv6 address never reaches an IPv4 socket; `::` stands for "none yet".
            (Family::V4, IpAddr::V6(_)) => return Endpoint::new(Family::V4.any(), self.port).encode(family),
            (Family::V6, ip) => {
                let ip = match ip {
                    IpAddr::V4(ip) if ip.is_unspecified() => Ipv6Addr::UNSPECIFIED,
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                raw.len = V6_BYTES;
                raw.bytes[..2].copy_from_slice(&(AF_INET6 as u16).to_ne_bytes());
                raw.bytes[2..4].copy_from_slice(&self.port.to_be_bytes());
                raw.bytes[8..24].copy_from_slice(&ip.octets());
            }
        }
        raw
    }
}

/// The bytes of a `sockaddr`, copied from or for a program.
#[derive(Clone, Copy)]
pub(crate) struct RawAddress {
    pub(crate) bytes: [u8; ADDRESS_BYTES_MAX],
    pub(crate) len: usize,
}

impl RawAddress {
    /// No bytes at all.
    pub(crate) fn empty() -> RawAddress {
        RawAddress { bytes: [0; ADDRESS_BYTES_MAX], len: 0 }
    }

    /// The bytes that count.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// `sa_family`, if there are bytes enough for one.
    pub(crate) fn family(&self) -> Option<c_int> {
        let family = self.bytes().get(..2)?;
        Some(c_int::from(u16::from_ne_bytes([family[0], family[1]])))
    }

    /// Whether there are bytes enough for an address of a family, whichever is named.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(crate) fn check_length(&self, family: Family) -> Result<(), c_int> {
        let least = match family {
            Family::V4 => V4_BYTES,
            Family::V6 => V6_BYTES_MIN,
        };
        if self.len < least { Err(EINVAL) } else { Ok(()) }
    }

    /// Reads the address for a socket of a family. `None` stands for `AF_UNSPEC`.
    ///
    /// # Errors
    /// `EINVAL` when too short (`inet_bind`, `inet6_bind`, `__inet_stream_connect`), `EAFNOSUPPORT` for another family.
    pub(crate) fn decode(&self, family: Family) -> Result<Option<Endpoint>, c_int> {
        let given = self.family().ok_or(EINVAL)?;
        if given == AF_UNSPEC {
            return Ok(None);
        }
        let port = || u16::from_be_bytes([self.bytes[2], self.bytes[3]]);
        match (family, given) {
            (Family::V4, _) | (Family::V6, AF_INET6) if self.check_length(family).is_err() => Err(EINVAL),
            (Family::V4, AF_INET) => Ok(Some(self.endpoint_v4())),
            (Family::V6, AF_INET6) => {
                let mut octets = [0; 16];
                octets.copy_from_slice(&self.bytes[8..24]);
                let ip = Ipv6Addr::from(octets);
                let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
                Ok(Some(Endpoint::new(ip, port())))
            }
            _ => Err(EAFNOSUPPORT),
        }
    }

    /// The IPv4 address at its place in `sockaddr_in`.
    pub(crate) fn v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.bytes[4], self.bytes[5], self.bytes[6], self.bytes[7])
    }

    /// The IPv4 address and the port at their places in `sockaddr_in`, whatever the family.
    pub(crate) fn endpoint_v4(&self) -> Endpoint {
        Endpoint::new(IpAddr::V4(self.v4()), u16::from_be_bytes([self.bytes[2], self.bytes[3]]))
    }

    /// Whether the bytes hold an IPv6 address in its mapped form, which `decode` hides.
    pub(crate) fn is_mapped(&self) -> bool {
        self.len >= V6_BYTES_MIN && self.bytes[8..18] == [0; 10] && self.bytes[18..20] == [0xff, 0xff]
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Family, RawAddress};
    use libc::{AF_INET, AF_UNSPEC, EAFNOSUPPORT, EINVAL};

    fn endpoint(ip: &str, port: u16) -> Endpoint {
        Endpoint::new(ip.parse().unwrap(), port)
    }

    #[test]
    fn an_address_survives_its_bytes() {
        for (ip, family) in [("10.0.1.2", Family::V4), ("fd00::1:2", Family::V6), ("10.0.1.2", Family::V6)] {
            let raw = endpoint(ip, 8080).encode(family);
            assert_eq!(raw.decode(family), Ok(Some(endpoint(ip, 8080))), "{ip}");
        }
    }

    #[test]
    fn an_ipv4_address_on_an_ipv6_socket_shows_as_mapped() {
        let raw = endpoint("10.0.1.2", 80).encode(Family::V6);
        assert!(raw.is_mapped());
        assert_eq!(&raw.bytes()[18..24], &[0xff, 0xff, 10, 0, 1, 2]);
    }

    #[test]
    fn malformed_addresses_are_refused_as_linux_does() {
        let mut short = endpoint("10.0.1.2", 80).encode(Family::V4);
        short.len = 15;
        assert_eq!(short.decode(Family::V4), Err(EINVAL));
        let v4 = endpoint("10.0.1.2", 80).encode(Family::V4);
        assert_eq!(v4.family(), Some(AF_INET));
        assert_eq!(v4.decode(Family::V6), Err(EAFNOSUPPORT));
        assert_eq!(RawAddress::empty().decode(Family::V4), Err(EINVAL));
        let unspecified = RawAddress { bytes: [AF_UNSPEC as u8; 128], len: 16 };
        assert_eq!(unspecified.decode(Family::V4), Ok(None));
    }
}
