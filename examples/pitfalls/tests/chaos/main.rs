//! Every pitfall in a storm: its bug is found, and its remedy is not.
//!
//! Of each there are three tests. The first has the remedy. The second has the bug, and must find it within 500 cases.
//! The third is the second without an expectation, so that the plan shrinks: `cargo xtask planted` runs it from many
//! seeds and looks at what is left.

mod names;
mod pool;
mod replica;
mod retries;
mod tickets;
mod tokens;

use std::time::Duration;

use anyhow::Result;
use pitfalls::PORT;
use windtunnel::Chaos;

/// A user's client, which gives up after this long.
fn client(timeout: Duration) -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(timeout).no_proxy().build()?)
}

/// The body of an answer that is a success.
async fn get(http: &reqwest::Client, host: &str, path: &str) -> reqwest::Result<String> {
    let answer = http.get(format!("http://{host}:{PORT}{path}")).send().await?;
    answer.error_for_status()?.text().await
}

/// A random time.
fn up_to(cx: &Chaos, milliseconds: u64) -> Duration {
    Duration::from_micros(cx.random::<u64>() % (milliseconds * 1_000))
}
