//! kv in storms that are drawn: what it promises with `--write-concern majority`, and what `local` loses.

use std::time::Duration;

use anyhow::Result;
use kv::client::{Client, Error};
use tokio::time::sleep;
use windtunnel::prelude::*;

const REPLICAS: usize = 3;
const CLIENTS: usize = 4;
const WRITES: usize = 15;

#[chaos_test(cases = 60, faults = faults::plan().kinds(net::partitions() + net::latencies() + host::crashes()).at_most_of(host::crashes(), 1))]
async fn acknowledged_writes_survive(cx: Chaos) -> Result<()> {
    writes_survive_a_storm(cx, "majority").await
}

#[chaos_test(cases = 60, faults = faults::plan().kinds(net::partitions() + net::latencies() + host::crashes()).at_most_of(host::crashes(), 1))]
async fn a_write_that_one_replica_acknowledged_is_lost(cx: Chaos) -> Result<()> {
    writes_survive_a_storm(cx, "local").await
}

async fn writes_survive_a_storm(cx: Chaos, write_concern: &'static str) -> Result<()> {
    let _kv: Hosts = cx
        .hosts("kv", REPLICAS)
        .main(kv::main)
        .args(move |h| {
            let (id, peers) = (h.index().to_string(), h.peers().join(","));
            ["--id", &id, "--peers", &peers, "--write-concern", write_concern].map(str::to_owned)
        })
        .ready(http(8080, "/healthz"))
        .start()
        .await?;
    let mut acknowledged = cx.storm(async || write_from_all_clients(&cx).await).await?;
    assert!(!acknowledged.is_empty(), "nothing was acknowledged, so nothing was tested");
    let replicas = clients_of_all_replicas()?;
    eventually!(within = "10s", find_again(&replicas, &mut acknowledged).await);
    Ok(())
}

#[derive(Debug, Clone)]
struct Write {
    key: String,
    value: String,
}

async fn write_from_all_clients(cx: &Chaos) -> Result<Vec<Write>> {
    let mut clients = Vec::new();
    for id in 0..CLIENTS {
        let cx_of_client = cx.clone();
        clients.push(cx.client(&format!("client{id}")).run(async move || write(&cx_of_client, id).await));
    }
    let mut acknowledged = Vec::new();
    for client in clients {
        acknowledged.extend(client.await?);
    }
    Ok(acknowledged)
}

async fn write(cx: &Chaos, id: usize) -> Result<Vec<Write>> {
    let replicas = clients_of_all_replicas()?;
    let mut through = id;
    let mut acknowledged = Vec::new();
    for number in 0..WRITES {
        let write = Write { key: format!("{id}.{number}"), value: format!("written by {id}") };
        match replicas[through % REPLICAS].put(&write.key, &write.value).await {
            Ok(()) => acknowledged.push(write),
            Err(_not_acknowledged) => through += 1,
        }
        sleep(Duration::from_millis(cx.random::<u64>() % 300)).await;
    }
    Ok(acknowledged)
}

async fn find_again(replicas: &[Client], acknowledged: &mut Vec<Write>) -> Result<(), String> {
    while let Some(write) = acknowledged.last() {
        let replica = acknowledged.len() % REPLICAS;
        match replicas[replica].get(&write.key).await {
            Ok(Some(value)) if value == write.value => acknowledged.pop(),
            Ok(found) => {
                return Err(format!("an acknowledged write was lost: kv{replica} has {found:?} for {write:?}"));
            }
            Err(error) => return Err(format!("kv{replica} does not answer: {error}")),
        };
    }
    Ok(())
}

fn clients_of_all_replicas() -> Result<Vec<Client>, Error> {
    let first = Client::new("kv0:8080")?;
    (0..REPLICAS).map(|id| first.of_another(&format!("kv{id}:8080"))).collect()
}
