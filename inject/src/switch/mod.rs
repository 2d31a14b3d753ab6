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
//! A [target](crate::Target) that is on no switch of ours is cut off within its own network namespace
//! ([`Partition::of_target`]), as silently.
//!
//! Nothing is asked on the wires: neighbours are permanent, addresses are not probed, there are no link-local
//! addresses. A packet between hosts is a packet of theirs. A host that is not there any more is silent for three
//! seconds, then "unreachable"; outside of the hosts' network (10.0.0.0/16, fd00::/64) there is nothing, and no way.
//!
//! ```no_run
//! use std::os::fd::AsFd;
//! use windtunnel_inject::Injection;
//! use windtunnel_inject::netlink::new_namespace;
//! use windtunnel_inject::switch::{Cut, Partition, Switch, Ways};
//!
//! # fn main() -> windtunnel_inject::Result<()> {
//! // As root, or after `namespace::leave_for_new`.
//! let mut switch = Switch::new()?;
//! let (a, b) = (new_namespace()?, new_namespace()?);
//! switch.join(a.as_fd(), "kv1", [10, 0, 0, 1].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 1].into())?;
//! switch.join(b.as_fd(), "kv2", [10, 0, 0, 2].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 2].into())?;
//! let cut = Cut { from: vec![[10, 0, 0, 1].into()], to: vec![[10, 0, 0, 2].into()], ways: Ways::One };
//! let mut partition = Partition::begin(switch.ns(), &[cut])?;
//! partition.read_back()?;
//! println!("{} packets have been dropped", partition.bit()?);
//! partition.heal()?;
//! # Ok(())
//! # }
//! ```

mod partition;
mod ports;
mod probe;
mod target;

pub use partition::{Cut, Partition, Ways};
pub use ports::{GATEWAY_V4, GATEWAY_V6, PortId, Switch};
pub use probe::{Sample, Side, probe};
pub use target::Lost;
