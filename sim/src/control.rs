//! Steering a world from inside: callable on simulated threads only, on any runtime, without blocking.
//!
//! Every function panics when the calling thread belongs to no world; the message says so.

use crate::world::{FaultId, HostId, HostState, Position, Program};
use std::net::IpAddr;
use std::time::Duration;
