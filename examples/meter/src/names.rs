//! What names mean here.

use crate::done::Done;
use crate::message::NAME;
use std::net::{IpAddr, ToSocketAddrs as _};

/// Asks for the address of a name.
pub(crate) fn resolve() -> Done {
    Done::of((NAME, 0).to_socket_addrs().map(|addresses| {
        let mut addresses = addresses.map(|address| address.ip());
        addresses
            .find_map(|address| match address {
                IpAddr::V4(address) => Some(u64::from(address.to_bits())),
                IpAddr::V6(_) => None,
            })
            .unwrap_or_default()
    }))
}
