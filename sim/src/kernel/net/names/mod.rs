//! Names: what getaddrinfo(3) and getnameinfo(3) answer, and the name server on port 53.
//!
//! Both know the same: every host of the world by its name, with both its addresses, and `localhost`. Answers are
//! immediate, as from a hosts file; unless a fault misleads who asks (`hijack.rs`).

mod hijack;
mod lookup;
mod server;
mod services;

pub(crate) use hijack::{Hijacks, Patience, Resolved};
pub(crate) use lookup::{Answer, Query, SILENCE};
pub(crate) use server::SERVER_NS;
pub(crate) use services::{service_name, service_port};

use super::Network;
use crate::world::HostId;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Network {
    /// The addresses of a name, as it should be.
    ///
    /// For a host: IPv4 first. RFC 6724 §2.1 prefers private IPv4 (precedence 35) to unique local IPv6 (precedence 3);
    /// glibc before 2.42 has the older table of RFC 3484, without the latter's line, and answers the other way round.
    /// For `localhost`: IPv6 first (precedence 50), in both.
    pub(crate) fn addresses_of(&self, name: &str) -> Option<[IpAddr; 2]> {
        if name.eq_ignore_ascii_case("localhost") {
            return Some([IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        // RFC 4343: names do not depend on case.
        let host = *self.by_name.get(&name.to_ascii_lowercase())?;
        let stack = &self.stacks[host.0 as usize];
        Some([IpAddr::V4(stack.v4), IpAddr::V6(stack.v6)])
    }

    /// The name of an address.
    pub(crate) fn name_of(&self, ip: IpAddr) -> Option<&str> {
        if ip.is_loopback() {
            return Some("localhost");
        }
        self.by_address.get(&ip).map(|host| self.stacks[host.0 as usize].name.as_str())
    }

    /// A host's addresses.
    pub(crate) fn addresses_of_host(&self, host: HostId) -> (Ipv4Addr, Ipv6Addr) {
        let stack = &self.stacks[host.0 as usize];
        (stack.v4, stack.v6)
    }
}
