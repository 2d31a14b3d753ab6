//! tonic: a counter that clients add to and watch.
//!
//! `--listen` (default `0.0.0.0:7101`).

pub mod messages;

mod client;
mod server;

pub use client::client;
pub use server::server_main;

/// What `build.rs` generated.
#[expect(unreachable_pub, clippy::allow_attributes, reason = "generated")]
mod stubs {
    include!(concat!(env!("OUT_DIR"), "/workloads.Counter.rs"));
}
