//! kv in a storm: what it promises with `--write-concern majority`, and what `local` loses.
//!
//! Several clients write, each from a host of its own, while the storm blows. What was acknowledged must be readable
//! afterwards. Two kinds of storm:
//!
//! - drawn: each seed has a plan of partitions, latencies and at most one crash, since kv promises to survive "the loss
//!   of one replica's memory at a time";
//! - by hand: a nemesis goes on only when the replica that lost its memory is ready again, and so may take the power
//!   many times.

use std::time::Duration;

use anyhow::{Context, Result};
use kv::client::{Client, Error};
use tokio::time::sleep;
use windtunnel::faults::{Faults, Swarm, host, net};
use windtunnel::{Chaos, Hosts, chaos_test, eventually, faults, http};

const REPLICAS: usize = 3;
const CLIENTS: usize = 4;
const WRITES: usize = 15;

/// How long a client thinks between two writes, at most.
const THINK_MS_MAX: u64 = 300;

/// What kv promises to survive.
const WEATHER: Faults =
    faults::plan().kinds(net::partitions().and(net::latencies()).and(host::crashes())).at_most_of(host::crashes(), 1);

/// Worse than usual, for where cases are few: a storm of the real world takes as long as it blows.
const ROUGH_WEATHER: Faults = faults::plan()
    .kinds(net::partitions().and(host::crashes()))
    .swarm(Swarm::Off)
    .at_most(24)
    .at_most_of(host::crashes(), 1)
    .lasting_at_least(Duration::from_millis(500));

/// With a majority behind it, an acknowledged write outlives every partition and the crash of any one replica.
#[chaos_test(cases = 20, faults = WEATHER)]
async fn acknowledged_writes_survive_drawn_storms(cx: Chaos) -> Result<()> {
    writes_survive(&cx, "majority", async |_kv: &Hosts| write_from_all_clients(&cx).await).await
}

/// The planted bug: a replica that acknowledges before anybody else has the write takes it along when it crashes.
#[chaos_test(cases = 64, faults = WEATHER, expect_failure = "an acknowledged write was lost")]
async fn a_drawn_storm_loses_a_write_that_one_replica_acknowledged(cx: Chaos) -> Result<()> {
    writes_survive(&cx, "local", async |_kv: &Hosts| write_from_all_clients(&cx).await).await
}

/// As above, for measurements of how plans shrink: many faults, and no expectation.
#[chaos_test(cases = 1000, faults = WEATHER.at_most(60))]
#[ignore = "fails by design; `cargo xtask demo` shows it"]
async fn a_drawn_storm_of_sixty_faults(cx: Chaos) -> Result<()> {
    writes_survive(&cx, "local", async |_kv: &Hosts| write_from_all_clients(&cx).await).await
}

/// What the storm above comes down to: a replica that is alone acknowledges, and is killed. It is tried on genuine
/// processes, and on the simulated ones that it was found on.
#[chaos_test(
    world = [sim, real],
    cases = 3,
    plan = "0s partition kv0->{kv1,kv2,test} for 1s
            300ms crash kv0 by kill restart after 100ms",
    expect_failure = "an acknowledged write was lost"
)]
async fn a_write_that_one_replica_acknowledged_is_lost_with_it(cx: Chaos) -> Result<()> {
    writes_survive(&cx, "local", async |_kv: &Hosts| write_from_all_clients(&cx).await).await
}

/// The same for whom a majority has to have the write, with a true loss of power.
#[chaos_test(
    world = [sim, real],
    cases = 2,
    plan = "0s partition kv0->{kv1,kv2,test} for 1s
            300ms crash kv0 restart after 100ms"
)]
async fn a_write_that_a_majority_acknowledged_is_not_lost_with_one(cx: Chaos) -> Result<()> {
    writes_survive(&cx, "majority", async |_kv: &Hosts| write_from_all_clients(&cx).await).await
}

/// What kv promises, on the real kernel, in storms that are drawn.
#[chaos_test(world = real, cases = 2, faults = ROUGH_WEATHER)]
async fn acknowledged_writes_survive_genuine_storms(cx: Chaos) -> Result<()> {
    writes_survive(&cx, "majority", async |_kv: &Hosts| write_from_all_clients(&cx).await).await
}

/// The bug in either world, without an expectation: what one of them finds is tried in the other.
#[chaos_test(world = [sim, real], cases = 64, faults = ROUGH_WEATHER)]
#[ignore = "fails by design; `tests/tests/both_worlds.rs` looks at how"]
async fn a_drawn_storm_in_either_world(cx: Chaos) -> Result<()> {
    writes_survive(&cx, "local", async |_kv: &Hosts| write_from_all_clients(&cx).await).await
}

#[chaos_test(cases = 20)]
async fn acknowledged_writes_survive(cx: Chaos) -> Result<()> {
    writes_survive_a_nemesis(cx, "majority").await
}

/// The planted bug: a replica that acknowledges before anybody else has the write takes it along when it crashes.
#[chaos_test(cases = 32, expect_failure = "an acknowledged write was lost")]
async fn a_write_that_one_replica_acknowledged_is_lost(cx: Chaos) -> Result<()> {
    writes_survive_a_nemesis(cx, "local").await
}

async fn writes_survive_a_nemesis(cx: Chaos, write_concern: &'static str) -> Result<()> {
    let storm = async |kv: &Hosts| {
        tokio::select! {
            acknowledged = write_from_all_clients(&cx) => acknowledged,
            stopped = nemesis(&cx, kv) => stopped.map(|never| match never {}),
        }
    };
    writes_survive(&cx, write_concern, storm).await
}

/// Starts kv, lets the storm blow, and looks for all that was acknowledged in it.
async fn writes_survive(
    cx: &Chaos,
    write_concern: &'static str,
    storm: impl AsyncFnOnce(&Hosts) -> Result<Vec<Write>>,
) -> Result<()> {
    let kv: Hosts = cx
        .hosts("kv", REPLICAS)
        .main(kv::main)
        .args(move |h| {
            let (id, peers) = (h.index().to_string(), h.peers().join(","));
            ["--id", &id, "--peers", &peers, "--write-concern", write_concern].map(str::to_owned)
        })
        .ready(http(8080, "/healthz"))
        .start()
        .await?;

    let mut acknowledged = cx.storm(async || storm(&kv).await).await?;

    assert!(!acknowledged.is_empty(), "nothing was acknowledged, so nothing was tested");
    acknowledged.iter().for_each(|write| println!("acknowledged: {write:?}"));
    let replicas = clients_of_all_replicas()?;
    eventually!(within = "10s", find_again(&replicas, &mut acknowledged).await);
    Ok(())
}

/// Never ends, unless something goes wrong.
enum Never {}

/// Cuts one replica off from its peers, again and again, and takes the power from one now and then.
async fn nemesis(cx: &Chaos, kv: &Hosts) -> Result<Never> {
    loop {
        sleep(up_to(cx, 300)).await;
        if cx.is_calm() {
            continue;
        }
        let alone = cx.random::<usize>() % REPLICAS;
        let others: Vec<_> = kv.iter().filter(|host| host.name() != kv[alone].name()).cloned().collect();
        // Clients still reach it.
        let cut = cx.partition(&kv[alone], others);
        sleep(up_to(cx, 1_000)).await;

        let victim = cx.random::<bool>().then(|| cx.pick(kv)).flatten();
        if let Some(victim) = victim {
            victim.crash();
            sleep(up_to(cx, 200)).await;
        }
        cut.heal();
        if let Some(victim) = victim {
            victim.restart().await.context("a replica did not catch up")?;
        }
    }
}

/// A write that was acknowledged. Each key is written once.
#[derive(Debug, Clone)]
struct Write {
    key: String,
    value: String,
}

/// Several clients at once, each on a host of its own.
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

/// Writes through one replica as long as that one takes writes, then through another.
async fn write(cx: &Chaos, id: usize) -> Result<Vec<Write>> {
    let replicas = clients_of_all_replicas()?;
    let mut through = id;
    let mut acknowledged = Vec::new();
    for number in 0..WRITES {
        let write = Write { key: format!("{id}.{number}"), value: format!("written by {id}") };
        match replicas[through % REPLICAS].put(&write.key, &write.value).await {
            Ok(()) => acknowledged.push(write),
            // It may have taken place nonetheless; nothing was promised.
            Err(_not_acknowledged) => through += 1,
        }
        sleep(up_to(cx, THINK_MS_MAX)).await;
    }
    Ok(acknowledged)
}

/// Reads what was acknowledged, each through another replica, and crosses off what it finds. The error tells the first
/// that it does not find.
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

/// A random time.
fn up_to(cx: &Chaos, milliseconds: u64) -> Duration {
    Duration::from_micros(cx.random::<u64>() % (milliseconds * 1_000))
}
