//! A durable key-value store, with a write-ahead log of its own on `std::fs`.
//!
//! ```text
//! ledger --listen 10.0.0.1:7000 --directory /var/lib/ledger
//! ```
//!
//! # What it promises
//!
//! A put that was answered, and everything that was ever shown to anybody, outlives kills and losses of power. A put
//! that was not answered has taken place or has not: nobody sees a part of it.
//!
//! # Why that holds
//!
//! *Synced before it is seen.* A record is appended to a segment of the log and synced; only then is the put answered,
//! and shown to others. A new segment is used only after the directory that names it was synced. What a killed process
//! has left is synced before anything else at the next start. See `log.rs`.
//!
//! *Whole or not at all.* A record carries a checksum. After a crash the last segment may end in a record of which only
//! some sectors are on the disk: it is cut off. See `record.rs`.
//!
//! *Synced before it replaces.* A snapshot is synced before it gets its name, and has it for good before the segments
//! that it replaces are removed. See `snapshot.rs`.
//!
//! `--leave-out` omits one of these steps; `args.rs` says who has shipped that.

pub mod client;

mod args;
mod directory;
mod log;
mod record;
mod server;
mod snapshot;
mod store;

use std::net::TcpListener;

use anyhow::Context;
use clap::Parser;

use crate::args::Args;
use crate::store::Store;

/// The service: reads its arguments, recovers what is on the disk, and serves.
///
/// # Errors
///
/// When it cannot listen.
///
/// # Panics
///
/// When the disk holds what no crash can have left: to go on without it would be to forget silently.
pub fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let store = match Store::open(&args) {
        Ok(store) => store,
        Err(error) => panic!("failed to recover: {error:#}"),
    };
    let listener = TcpListener::bind(&args.listen).with_context(|| format!("failed to listen on {}", args.listen))?;
    server::serve(&listener, store)
}
