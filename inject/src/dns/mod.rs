//! The name server of a world of hosts, and how it lies: RFC 1035.
//!
//! A [`Responder`] listens in the switch's namespace, at the gateway's addresses and at every address outside of the
//! world, so that a server that a program has hard-wired (8.8.8.8) is answered for as well. Only port 53 of a *host* is
//! that host's own. It knows the hosts' names; a [`Hijack`] misleads those who ask for a name on one host, and nobody
//! else. All answers have a time to live of 0 seconds, so that a fault begins and ends at once wherever a resolver
//! keeps answers as it should. A [target](crate::Target) is misled likewise ([`Responder::hijack_target`]), if what it
//! asks comes here.
//!
//! Queries over TLS or HTTPS do not come here.
//!
//! ```no_run
//! use std::os::fd::AsFd;
//! use windtunnel_inject::Injection;
//! use windtunnel_inject::dns::{Answer, Asker, Responder};
//! use windtunnel_inject::netlink::new_namespace;
//! use windtunnel_inject::switch::Switch;
//!
//! # fn main() -> windtunnel_inject::Result<()> {
//! let mut switch = Switch::new()?;
//! let host = new_namespace()?;
//! let (v4, v6) = ([10, 0, 0, 1].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 1].into());
//! switch.join(host.as_fd(), "kv1", v4, v6)?;
//! let responder = Responder::start(switch.ns())?;
//! responder.zone().set("kv1", v4, v6);
//!
//! let asker = Asker { ns: host.as_fd(), addresses: &[v4.into(), v6.into()] };
//! let mut hijack = responder.hijack(&asker, "kv1", Answer::NoSuchName)?;
//! hijack.read_back()?;
//! println!("{} questions have been answered falsely", hijack.bit()?);
//! hijack.heal()?;
//! # Ok(())
//! # }
//! ```

mod hijack;
mod probe;
mod responder;
mod wire;
mod zone;

pub use hijack::{Asker, Hijack};
pub use responder::Responder;
pub use zone::{Answer, Zone};
