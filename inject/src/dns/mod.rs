//! The name server of a world of hosts, and how it lies: RFC 1035.
//!
//! A [`Responder`] listens in the switch's namespace, at the gateway's addresses and at every address outside of the
//! world, so that a server that a program has hard-wired (8.8.8.8) is answered for as well. Only port 53 of a *host* is
//! that host's own. It knows the hosts' names; a [`Hijack`] misleads those who ask for a name on one host, and nobody
//! else. All answers have a time to live of 0 seconds, so that a fault begins and ends at once wherever a resolver
//! keeps answers as it should.
//!
//! Queries over TLS or HTTPS do not come here.

mod hijack;
mod probe;
mod responder;
mod wire;
mod zone;

pub use hijack::{Asker, Hijack};
pub use responder::Responder;
pub use zone::{Answer, Zone};
