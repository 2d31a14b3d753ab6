//! The clients.

use std::time::Instant;

use anyhow::Context;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::messages::Request;
use super::stubs::counter_client::CounterClient;
use crate::dial;
use crate::fingerprint::fingerprint;

const CLIENTS: u64 = 4;
const ADDITIONS: u64 = 5;
const TICKS: u64 = 10;

/// Four clients add on one connection while a fifth watches, over a connection of its own.
///
/// # Errors
///
/// When a call fails that should not, or the sum is wrong.
pub async fn client(address: &str) -> anyhow::Result<String> {
    let began = Instant::now();
    drop(dial::tcp(address).await.context("failed to reach the server")?);
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let watcher = tokio::spawn(watch(endpoint.connect().await?));

    let channel = endpoint.connect().await?;
    let mut adders: JoinSet<_> = (1..=CLIENTS).map(|id| add(channel.clone(), id)).collect();
    let mut transcript = Vec::new();
    while let Some(added) = adders.join_next().await {
        transcript.extend(added??);
    }
    transcript.extend(watcher.await??);

    let refused = CounterClient::new(channel).add(Request::default()).await;
    let status = refused.err().context("an addition of nothing was accepted")?;
    transcript.push(format!("refused: {:?}: {}", status.code(), status.message()));
    transcript.push(format!("client: {}", fingerprint(began).await));
    Ok(transcript.join("\n"))
}

async fn add(channel: Channel, id: u64) -> anyhow::Result<Vec<String>> {
    let mut counter = CounterClient::new(channel);
    let mut lines = Vec::new();
    for _ in 0..ADDITIONS {
        let request = Request { client: format!("adder {id}"), amount: id };
        let reply = counter.add(request).await?.into_inner();
        lines.push(format!("adder {id}: total {}, server: {}", reply.total, reply.fingerprint));
    }
    Ok(lines)
}

async fn watch(channel: Channel) -> anyhow::Result<Vec<String>> {
    let request = Request { client: "watcher".to_owned(), amount: TICKS };
    let mut ticks = CounterClient::new(channel).watch(request).await?.into_inner();
    let mut lines = Vec::new();
    while let Some(tick) = ticks.message().await? {
        lines.push(format!("tick {}: total {}", tick.number, tick.total));
    }
    Ok(lines)
}
