//! Bugs that real systems had, each in a small service, beside its remedy.
//!
//! | module | the service | what goes wrong with it, and when | the flag that has the bug |
//! | --- | --- | --- | --- |
//! | [`tickets`] | hands out numbers, each once | two primaries during a partition: split brain | `--acknowledge living` |
//! | [`replica`] | a register with read replicas | a stale read after a partition has healed | `--reads local` |
//! | [`tokens`] | tokens that expire | an expired one is accepted by a clock that is behind | `--clock own` |
//! | [`retries`] | an edge, a middle and a backend | a retry storm when answers are lost | `--retries every-failure` |
//! | [`pool`] | a client that keeps a connection | a descriptor leaks with each reconnect | `--abandoned reading` |
//! | [`names`] | a gateway that remembers addresses | a wrong answer of the name server stays for ever | `--remember forever` |
//!
//! Each module says which published failures its bug comes from, and why the remedy is one. They are services like any
//! other: nothing in them knows of simulations. `tests/chaos` has a storm for each, in which the one version fails and
//! the other does not.

pub mod names;
pub mod pool;
pub mod replica;
pub mod retries;
pub mod tickets;
pub mod tokens;

use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;

/// Where every service here listens.
pub const PORT: u16 = 8080;

async fn serve(router: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await.with_context(|| format!("failed to listen on {PORT}"))?;
    axum::serve(listener, router).await.context("failed to serve")
}

/// A client that gives up after this long.
fn http_client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder().timeout(timeout).no_proxy().build().context("failed to build an HTTP client")
}
