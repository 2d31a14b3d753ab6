//! A descriptor leak: when the weather is good again, as many are open as before it was bad.

use std::time::Duration;

use anyhow::Result;
use pitfalls::{PORT, pool};
use tokio::time::sleep;
use windtunnel::faults::{Faults, host, net};
use windtunnel::{Chaos, chaos_test, eventually, faults, tcp};

use crate::{client, get, up_to};

const QUESTIONS: usize = 20;

const WEATHER: Faults =
    faults::plan().kinds(net::partitions().and(net::latencies()).and(net::losses()).and(host::pauses()));

#[chaos_test(cases = 20, faults = WEATHER)]
async fn a_connection_that_is_closed_leaves_nothing(cx: Chaos) -> Result<()> {
    descriptors_are_given_back(&cx, "closed").await
}

#[chaos_test(cases = 500, faults = WEATHER, expect_failure = "descriptors leaked")]
async fn a_connection_that_is_forgotten_stays_open(cx: Chaos) -> Result<()> {
    descriptors_are_given_back(&cx, "reading").await
}

#[chaos_test(cases = 500, faults = WEATHER)]
#[ignore = "fails by design; `cargo xtask planted` looks at what it shrinks to"]
async fn descriptor_leak(cx: Chaos) -> Result<()> {
    descriptors_are_given_back(&cx, "reading").await
}

async fn descriptors_are_given_back(cx: &Chaos, abandoned: &'static str) -> Result<()> {
    cx.host("backend").main(pool::backend_main).ready(tcp(PORT)).start().await?;
    let frontend = cx.host("frontend").main(pool::frontend_main);
    let frontend = frontend.args(move |_| ["--backend", "backend", "--abandoned", abandoned].map(str::to_owned));
    frontend.ready(tcp(PORT)).start().await?;
    let http = client(Duration::from_secs(1))?;
    get(&http, "frontend", "/ask").await?;

    cx.storm(async || {
        for _ in 0..QUESTIONS {
            // What cannot be answered in a storm is no failure.
            drop(get(&http, "frontend", "/ask").await);
            sleep(up_to(cx, 300)).await;
        }
    })
    .await;

    eventually!(within = "30s", get(&http, "frontend", "/ask").await.map(drop));
    // The test's own connections, which it gave up, are closed when their peers hear of it.
    eventually!(within = "60s", cx.no_leaks(), "descriptors leaked");
    Ok(())
}
