//! A replicated key-value service: every replica serves every key, over HTTP.
//!
//! ```text
//! kv --id 0 --listen 10.0.0.1:8080 --peers 10.0.0.2,10.0.0.3
//! curl -X PUT --data hello 10.0.0.1:8080/kv/greeting
//! curl 10.0.0.3:8080/kv/greeting
//! ```
//!
//! # What it promises
//!
//! With `--write-concern majority` each key is a linearizable register, and an acknowledged write
//! survives any partitions and delays, and the loss of one replica's memory at a time (state lives
//! in memory only, so a crash loses the replica's copy; "at a time" ends when the replica is ready
//! again). With `--write-concern local` a write is acknowledged as soon as the replica that
//! received it has it: fast, and lost when that replica crashes before its peers have heard of it.
//!
//! # Why that holds
//!
//! *Registers.* The algorithm is that of Attiya, Bar-Noy and Dolev ("Sharing memory robustly in
//! message-passing systems", J. ACM 42(1), 1995), in its form for many writers. A value carries a
//! `Version`: a Lamport counter, then the writer's id and a number drawn anew in each of the
//! writer's lives, so that no two writes ever share one. A write asks a majority for the newest
//! version, takes a greater one and is acknowledged when a majority holds it. A read asks a
//! majority, takes the newest and, unless they all agreed, has a majority hold it before it
//! answers. Any two majorities share a replica. See `replica.rs`.
//!
//! *Loss of memory.* A replica that starts knows nothing, and must not count in majorities until it
//! holds what its former life acknowledged; `membership.rs` says how it gets there. It asks
//! **every** peer for a snapshot, and every one must be ready. Take a write that was acknowledged
//! by a majority, one of which was the former life of replica R. If R coordinated that write, some
//! peer held it before R acknowledged it, hence before R crashed. If a peer coordinated it, that
//! peer held it before it even asked R. Either way a peer held it before R's snapshots were taken,
//! and has it still, or again by this same argument; and so has R. (A majority of snapshots would
//! be enough in larger clusters, if replies from former lives were told apart: Michael, Ports,
//! Sharma and Szekeres, "Recovering shared objects without stable storage", DISC 2017. Three
//! replicas have no use for it: two peers *are* a majority.)
//!
//! *First start.* A cluster in which nobody ever held anything looks, to each replica, like one in
//! which everybody lost everything. A barrier tells them apart: nobody is ready, so nobody
//! acknowledges anything, until everybody has seen everybody fresh. The argument is in
//! `membership.rs`.
//!
//! A majority that loses its memory at once is beyond the promise. The replicas that lost it then
//! stay unready as long as a ready one is left, since serving would mean to forget silently.

pub mod client;

mod args;
mod http;
mod membership;
mod metrics;
mod outbox;
mod peer;
mod replica;
mod startup;
mod store;
mod version;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::args::Args;
use crate::replica::Replica;

/// How long a replica that was asked to stop goes on handing its queued writes to its peers.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// The service: reads its arguments, serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
///
/// When it cannot listen, or when serving fails.
#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();

    let args = Args::parse();
    let listener =
        TcpListener::bind(&args.listen).await.with_context(|| format!("failed to listen on {}", args.listen))?;
    info!(?args, "starting");

    let replica = Arc::new(Replica::new(&args)?);
    replica.spawn_senders();
    tokio::spawn(startup::become_ready(replica.clone()));

    axum::serve(listener, http::router(replica.clone()))
        .with_graceful_shutdown(stop_requested()?)
        .await
        .context("failed to serve")?;

    let undelivered = replica.drain(DRAIN_MAX).await;
    info!(undelivered, "stopped");
    Ok(())
}

/// Completes when the process is asked to stop.
fn stop_requested() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM received"),
            _ = interrupt.recv() => info!("SIGINT received"),
        }
    })
}
