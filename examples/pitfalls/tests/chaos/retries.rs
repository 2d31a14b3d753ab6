//! A retry storm: the backend is asked little more often than the edge was, however bad the weather.

use std::time::Duration;

use anyhow::Result;
use pitfalls::{PORT, retries};
use tokio::task::JoinSet;
use tokio::time::sleep;
use windtunnel::faults::{Faults, net};
use windtunnel::{Chaos, chaos_test, eventually, faults, tcp};

use crate::{client, get};

const REQUESTS: u64 = 40;
const EVERY: Duration = Duration::from_millis(100);
/// Two layers, each of which adds a tenth and its reserve of five, make 58 of 40.
const ASKED_MAX: u64 = REQUESTS * 3 / 2;

/// TCP repeats for a while what is lost, so that what is over soon is not even noticed.
const WEATHER: Faults =
    faults::plan().kinds(net::losses().and(net::latencies())).lasting_at_least(Duration::from_secs(1));

#[chaos_test(cases = 20, faults = WEATHER)]
async fn a_budget_keeps_retries_few(cx: Chaos) -> Result<()> {
    the_backend_is_spared(&cx, "budget").await
}

#[chaos_test(cases = 500, faults = WEATHER, expect_failure = "a retry storm")]
async fn retries_of_every_failure_multiply(cx: Chaos) -> Result<()> {
    the_backend_is_spared(&cx, "every-failure").await
}

#[chaos_test(cases = 500, faults = WEATHER)]
#[ignore = "fails by design; `cargo xtask planted` looks at what it shrinks to"]
async fn retry_storm(cx: Chaos) -> Result<()> {
    the_backend_is_spared(&cx, "every-failure").await
}

async fn the_backend_is_spared(cx: &Chaos, retries: &'static str) -> Result<()> {
    cx.host("backend").main(retries::main).ready(tcp(PORT)).start().await?;
    for (name, next, timeout_ms) in [("middle", "backend", "250"), ("edge", "middle", "1000")] {
        let args = ["--next", next, "--timeout-ms", timeout_ms, "--retries", retries];
        let service = cx.host(name).main(retries::main).args(move |_| args.map(str::to_owned));
        service.ready(tcp(PORT)).start().await?;
    }
    let http = client(Duration::from_secs(10))?;

    // Users do not wait for one another.
    cx.storm(async || {
        let mut users = JoinSet::new();
        for _ in 0..REQUESTS {
            let http = http.clone();
            users.spawn(async move { get(&http, "edge", "/work").await.is_ok() });
            sleep(EVERY).await;
        }
        users.join_all().await
    })
    .await;

    let asked: u64 = get(&http, "backend", "/asked").await?.parse()?;
    assert!(asked <= ASKED_MAX, "a retry storm: {REQUESTS} requests became {asked}");
    eventually!(within = "30s", get(&http, "edge", "/work").await.map(drop));
    Ok(())
}
