//! Services whose binary has a global allocator of its own: each host has its own copy of it, and of its state.

use anyhow::{Result, bail};
use std::time::Duration;
use windtunnel::{Chaos, chaos_test, tcp};
use workloads::{blocking, http, threads};

/// They crash while they work, and start again with an allocator that is as new.
#[chaos_test(cases = 8)]
async fn services_bring_their_allocator(cx: Chaos) -> Result<()> {
    let mut hosts = Vec::new();
    for (name, main, port) in [
        ("http", allocator_workload::http as fn() -> Result<()>, 7102),
        ("blocking", allocator_workload::blocking, 7103),
        ("threads", allocator_workload::threads, 7104),
    ] {
        hosts.push(cx.host(name).main(main).ready(tcp(port)).start().await?);
    }
    cx.storm(async || {
        for host in &hosts {
            let mut asked = tokio::task::JoinSet::new();
            asked.spawn(ask(host.name().to_owned()));
            if !cx.is_calm() {
                tokio::time::sleep(Duration::from_micros(cx.random::<u64>() % 5_000)).await;
                host.crash();
                asked.shutdown().await;
                host.restart().await?;
            }
            while asked.join_next().await.is_some() {}
        }
        anyhow::Ok(())
    })
    .await?;
    for host in &hosts {
        let transcript = ask(host.name().to_owned()).await?;
        println!("{transcript}");
        assert!(transcript.lines().count() > 10);
    }
    Ok(())
}

/// The transcript of a client of the server on this host.
async fn ask(server: String) -> Result<String> {
    match server.as_str() {
        "http" => http::client("http:7102", 50).await,
        "blocking" => blocking::client("blocking:7103").await,
        "threads" => tokio::task::spawn_blocking(|| threads::client("threads:7104")).await?,
        other => bail!("there is no host {other}"),
    }
}
