//! Hosts: machines that run programs.
//!
//! ```text
//! builder.rs   what a host runs, and how
//! program.rs   functions that can be a host's program
//! ready.rs     when it is ready
//! host.rs      a host that has been started
//! targets.rs   one host or several, as an argument
//! ```

mod builder;
mod host;
mod program;
mod ready;
mod targets;

pub use builder::{HostBuilder, Member, Started};
pub use host::{CrashStates, Host, HostError, HostState, Hosts};
pub use program::{HostMain, OnExit, Runtime};
pub use ready::{NotReady, Probe, http, probe, tcp};
pub use targets::Targets;
pub use windtunnel_sim::world::Usage;
