//! mini-redis from the registry in a storm: whatever the network and the power do, no client may see what no server
//! could have answered.
//!
//! Clients on three hosts set, get, publish and subscribe. [`History::violations`] judges what they saw. The whole
//! history is printed on the console of host `test`, so that it can be compared run by run.

use std::time::Duration;

use anyhow::Result;
use mini_redis::client;
use redis_workload::history::{History, Memory};
use redis_workload::{server_main, workload};
use tokio::time::sleep;
use windtunnel::{Chaos, Host, chaos_test, eventually, tcp};

const PORT: u16 = 6379;
const GROUPS: usize = 3;
const CLIENTS_PER_GROUP: usize = 2;
const CALLS: usize = 30;

/// A partition delays and breaks; it makes the server neither forget nor answer with what was overwritten.
#[chaos_test(cases = 16)]
async fn partitions_make_nobody_see_what_cannot_be(cx: Chaos) -> Result<()> {
    let redis = start_server(&cx).await?;
    partitions_harm_nothing(&cx, &redis).await;
    Ok(())
}

/// A crash makes the server forget, for it keeps nothing on disk; clients connect again and go on.
#[chaos_test(cases = 16)]
async fn clients_go_on_after_crashes(cx: Chaos) -> Result<()> {
    let redis = start_server(&cx).await?;
    crashes_are_forgiven(&cx, &redis).await
}

/// The same on the real kernel. A storm there takes as long as it blows, so there are few.
#[chaos_test(world = real, cases = 2)]
async fn genuine_partitions_make_nobody_see_what_cannot_be(cx: Chaos) -> Result<()> {
    let redis = start_server(&cx).await?;
    partitions_harm_nothing(&cx, &redis).await;
    Ok(())
}

/// The same on the real kernel, where the power is taken from a process and its connections.
#[chaos_test(world = real, cases = 2)]
async fn clients_go_on_after_genuine_crashes(cx: Chaos) -> Result<()> {
    let redis = start_server(&cx).await?;
    crashes_are_forgiven(&cx, &redis).await
}

/// Redis itself, which is no Rust: a program of the machine, or unpacked from Debian's packages.
#[chaos_test(world = real, cases = 2)]
#[ignore = "takes redis-server: install it, or unpack its package and libraries into `target/tmp/redis-server`"]
async fn redis_itself_makes_nobody_see_what_cannot_be(cx: Chaos) -> Result<()> {
    let unpacked = concat!(env!("CARGO_TARGET_TMPDIR"), "/redis-server/usr");
    let (program, libraries) = match std::fs::exists(INSTALLED)? {
        true => (INSTALLED.to_owned(), String::new()),
        false => (format!("{unpacked}/bin/redis-server"), format!("{unpacked}/lib/x86_64-linux-gnu")),
    };
    let options = ["--protected-mode", "no", "--save", "", "--dir", "/tmp"];
    let redis = cx.host("redis").command(program).args(move |_| options).env("LD_LIBRARY_PATH", libraries);
    let redis = redis.ready(tcp(PORT)).stop_within("5s").start().await?;
    partitions_harm_nothing(&cx, &redis).await;
    redis.stop_and_wait().await;
    Ok(())
}

/// Where Debian's package puts it.
const INSTALLED: &str = "/usr/bin/redis-server";

async fn start_server(cx: &Chaos) -> Result<Host> {
    Ok(cx.host("redis").main(server_main).ready(tcp(PORT)).start().await?)
}

async fn partitions_harm_nothing(cx: &Chaos, redis: &Host) {
    let history = cx
        .storm(async || {
            tokio::select! {
                history = call_from_all_hosts(cx) => history,
                never = cut_links(cx, redis) => match never {},
            }
        })
        .await;
    judge(&history, Memory::Kept);
    everybody_is_served(redis).await;
}

async fn crashes_are_forgiven(cx: &Chaos, redis: &Host) -> Result<()> {
    let history = cx
        .storm(async || {
            tokio::select! {
                history = call_from_all_hosts(cx) => Ok(history),
                failed = crash_again_and_again(cx, redis) => Err(failed),
                never = cut_links(cx, redis) => match never {},
            }
        })
        .await?;
    judge(&history, if cx.is_calm() { Memory::Kept } else { Memory::MayBeLost });
    everybody_is_served(redis).await;
    Ok(())
}

/// Three hosts, each with two clients and a subscriber.
async fn call_from_all_hosts(cx: &Chaos) -> History {
    let mut groups = Vec::new();
    for group in 0..GROUPS {
        let clock = cx.clone();
        groups.push(cx.client(&client_name(group)).run(async move || {
            let now = move || clock.elapsed();
            workload::run_group(group, &format!("redis:{PORT}"), CLIENTS_PER_GROUP, CALLS, now).await
        }));
    }
    let mut histories = Vec::new();
    for group in groups {
        histories.push(group.await);
    }
    History::of_groups(histories)
}

fn client_name(group: usize) -> String {
    format!("client{group}")
}

/// Nobody calls this off but the storm's end.
enum Never {}

/// Cuts one host of clients off from the server at a time, in one direction or in both.
async fn cut_links(cx: &Chaos, redis: &Host) -> Never {
    loop {
        sleep(up_to(cx, 500)).await;
        if cx.is_calm() {
            continue;
        }
        let client = client_name(cx.random::<usize>() % GROUPS);
        let cut = match cx.random::<u8>() % 3 {
            0 => cx.partition(client.as_str(), redis),
            1 => cx.partition_one_way(client.as_str(), redis),
            _ => cx.partition_one_way(redis, client.as_str()),
        };
        sleep(up_to(cx, 1_500)).await;
        cut.heal();
    }
}

/// Takes the power from the server, for a short time or a long one. Returns when it does not come back.
async fn crash_again_and_again(cx: &Chaos, redis: &Host) -> windtunnel::HostError {
    loop {
        sleep(up_to(cx, 1_000)).await;
        if cx.is_calm() {
            continue;
        }
        redis.crash();
        sleep(up_to(cx, 500)).await;
        if let Err(failed) = redis.restart().await {
            return failed;
        }
    }
}

fn judge(history: &History, memory: Memory) {
    println!("{history}");
    assert_eq!(history.operations.len(), GROUPS * CLIENTS_PER_GROUP * CALLS);
    assert!(history.succeeded() > 0, "nobody was ever served");
    assert_eq!(history.violations(memory), [""; 0]);
}

/// After the storm the server takes values and gives them back.
async fn everybody_is_served(redis: &Host) {
    eventually!(within = "10s", {
        let mut client = client::connect(redis.addr(PORT)).await?;
        client.set("after the storm", "calm".into()).await?;
        mini_redis::Result::Ok(client.get("after the storm").await? == Some("calm".into()))
    });
}

/// A random time.
fn up_to(cx: &Chaos, milliseconds: u64) -> Duration {
    Duration::from_micros(cx.random::<u64>() % (milliseconds * 1_000))
}
