//! The network of a world of hosts: a namespace of its own, in which nothing runs, that routes between theirs.
//!
//! ```text
//!  host a                    switch                     host b
//!  eth0 10.0.0.1 ───veth─── port1     port2 ───veth─── eth0 10.0.0.2
//!       fd00::1                forwards, v4 and v6          fd00::2
//!                              lo 10.0.255.53, the gateway
//! ```
//!
//! All faults of links are done in the switch, on the way *through*: what a host sends is gone without a word, as on a
//! real network, and no host's own rules, devices or counters change. (Dropped on the way *out* of a host, the sender
//! would be told: nft on the output hook makes sendto(2) fail with `EPERM`.)
//!
//! Nothing is asked on the wire: neighbours are permanent, addresses are not probed, there are no link-local addresses.
//! A packet between hosts is a packet of theirs.

mod partition;
mod ports;

pub use partition::{Cut, Partition, Ways};
pub use ports::{GATEWAY_V4, GATEWAY_V6, PortId, Switch};
