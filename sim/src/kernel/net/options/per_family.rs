//! Options that a socket has once for each family.

use std::net::IpAddr;

/// What an IPv6 socket has twice: for its own packets (`struct ipv6_pinfo`), and for those of IPv4 that it sends and
/// receives under mapped addresses (`struct inet_sock`).
#[derive(Clone, Copy)]
pub(crate) struct PerFamily<T> {
    pub(crate) v4: T,
    pub(crate) v6: T,
}

impl<T: Copy> PerFamily<T> {
    pub(crate) fn both(value: T) -> Self {
        Self { v4: value, v6: value }
    }

    /// For packets to or from there, which is no mapped address.
    pub(crate) fn of(self, ip: IpAddr) -> T {
        if ip.is_ipv4() { self.v4 } else { self.v6 }
    }
}
