//! A stale read after the heal: whoever reads after a write was acknowledged sees it, from whichever replica.

use std::time::Duration;

use anyhow::Result;
use pitfalls::replica::Register;
use pitfalls::{PORT, replica};
use tokio::time::sleep;
use windtunnel::faults::{Faults, net};
use windtunnel::{Chaos, chaos_test, eventually, faults, tcp};

use crate::{client, up_to};

const REPLICAS: usize = 2;
const WRITES: usize = 20;

/// The register is in the primary's memory, so nobody crashes.
const WEATHER: Faults = faults::plan().kinds(net::partitions().and(net::latencies()).and(net::losses()));

#[chaos_test(cases = 20, faults = WEATHER)]
async fn a_confirmed_read_is_never_stale(cx: Chaos) -> Result<()> {
    reads_see_what_was_written(&cx, "confirmed").await
}

#[chaos_test(cases = 500, faults = WEATHER, expect_failure = "is stale")]
async fn a_local_read_is_stale_after_the_heal(cx: Chaos) -> Result<()> {
    reads_see_what_was_written(&cx, "local").await
}

#[chaos_test(cases = 500, faults = WEATHER)]
#[ignore = "fails by design; `cargo xtask planted` looks at what it shrinks to"]
async fn stale_read(cx: Chaos) -> Result<()> {
    reads_see_what_was_written(&cx, "local").await
}

async fn reads_see_what_was_written(cx: &Chaos, reads: &'static str) -> Result<()> {
    cx.host("primary").main(replica::main).ready(tcp(PORT)).start().await?;
    let replicas = cx.hosts("replica", REPLICAS).main(replica::main);
    let replicas = replicas.args(move |_| ["--primary", "primary", "--reads", reads].map(str::to_owned));
    replicas.ready(tcp(PORT)).start().await?;

    let writer = async || cx.client("writer").run(write_all(cx)).await;
    let acknowledged = cx.storm(writer).await?;

    assert!(acknowledged > 0, "nothing was acknowledged, so nothing was tested");
    // Replicas poll in good weather too, so the last write is given time to pass, as it has in the calm rehearsal.
    sleep(Duration::from_millis(200)).await;
    let http = client(Duration::from_secs(1))?;
    for replica in 0..REPLICAS {
        // A replica may refuse; it must not answer with the past.
        if let Ok(register) = read(&http, replica).await {
            let found = register.version;
            assert!(found >= acknowledged, "replica{replica}'s version {found} is stale: {acknowledged} was written");
        }
    }
    for replica in 0..REPLICAS {
        eventually!(within = "30s", read(&http, replica).await.is_ok_and(|register| register.version >= acknowledged));
    }
    Ok(())
}

/// Writes through the storm; answers the last version that was acknowledged.
fn write_all(cx: &Chaos) -> impl AsyncFnOnce() -> Result<u64> + Send + 'static {
    let cx = cx.clone();
    async move || {
        let http = client(Duration::from_secs(1))?;
        let mut acknowledged = 0;
        for number in 0..WRITES {
            let write = http.put(format!("http://primary:{PORT}/register")).body(number.to_string());
            if let Ok(answer) = write.send().await
                && let Ok(register) = answer.json::<Register>().await
            {
                acknowledged = register.version;
            }
            sleep(up_to(&cx, 400)).await;
        }
        Ok(acknowledged)
    }
}

async fn read(http: &reqwest::Client, replica: usize) -> reqwest::Result<Register> {
    let answer = http.get(format!("http://replica{replica}:{PORT}/register")).send().await?;
    answer.error_for_status()?.json().await
}
