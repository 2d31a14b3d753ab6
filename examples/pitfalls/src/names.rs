//! A gateway in front of several sites, which remembers the addresses of their names.
//!
//! # The bug: a poisoned cache
//!
//! With `--remember forever` what the name server has said once is true from then on: a wrong address, or that there is
//! no such name. The name server is right again after a minute, the gateway after a restart.
//!
//! Java did so by default wherever a security manager was installed (`networkaddress.cache.ttl=-1`,
//! [`InetAddress`](https://docs.oracle.com/javase/8/docs/api/java/net/InetAddress.html)), and many clients did it to
//! themselves by keeping an address where they should have kept a name:
//! [BookKeeper #1762](https://github.com/apache/bookkeeper/pull/1762),
//! [java-dogstatsd-client #26](https://github.com/indeedeng/java-dogstatsd-client/pull/26).
//!
//! # The remedy
//!
//! `--remember briefly`: for [`REMEMBER`], whatever was said (RFC 2308 has a limit for denials too), since
//! getaddrinfo(3) tells no time to live. No connection is kept either: an open connection is an address that is
//! remembered.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use clap::{Parser, ValueEnum};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::Instant;

use crate::{PORT, serve};

/// How long an address is remembered, or that there is none.
pub const REMEMBER: Duration = Duration::from_secs(2);
/// How long the gateway waits for a site, and for the name server.
const ANSWER_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Parser)]
struct Args {
    /// How long it remembers what the name server said.
    #[arg(long, value_enum, default_value_t = Remember::Briefly)]
    remember: Remember,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Remember {
    /// Until it ends.
    Forever,
    /// For [`REMEMBER`].
    Briefly,
}

/// What the name server said, or why it could not; and when.
#[derive(Debug, Clone)]
struct Said {
    answer: Result<Vec<SocketAddr>, String>,
    at: Instant,
}

#[derive(Debug, Clone)]
struct Cache {
    remember: Remember,
    said: Arc<Mutex<HashMap<String, Said>>>,
}

impl Cache {
    fn remembered(&self, name: &str) -> Option<Said> {
        let said = self.said.lock().expect("nobody panics with it").get(name).cloned();
        said.filter(|said| self.remember == Remember::Forever || said.at.elapsed() < REMEMBER)
    }

    async fn addresses_of(self, name: String) -> Result<Vec<SocketAddr>, String> {
        if let Some(said) = self.remembered(&name) {
            return said.answer;
        }
        let found = tokio::net::lookup_host((name.as_str(), 0)).await;
        let answer = found.map(Iterator::collect::<Vec<_>>).map_err(|error| error.to_string());
        let said = Said { answer: answer.clone(), at: Instant::now() };
        self.said.lock().expect("nobody panics with it").insert(name, said);
        answer
    }
}

impl Resolve for Cache {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.clone().addresses_of(name.as_str().to_owned());
        Box::pin(async { Ok(Box::new(found.await?.into_iter()) as Addrs) })
    }
}

/// Passes `GET /site/NAME` on to that site until it is killed.
///
/// # Errors
///
/// When it cannot listen, or serving fails.
#[tokio::main]
pub async fn gateway_main() -> anyhow::Result<()> {
    let cache = Cache { remember: Args::parse().remember, said: Arc::default() };
    let http = reqwest::Client::builder().timeout(ANSWER_MAX).no_proxy().dns_resolver(cache).pool_max_idle_per_host(0);
    let http = http.build().context("failed to build an HTTP client")?;
    serve(Router::new().route("/site/{name}", get(pass_on)).with_state(http)).await
}

/// Says whose site this is until it is killed: the name is its argument.
///
/// # Errors
///
/// When it cannot listen, or serving fails.
#[tokio::main]
pub async fn site_main() -> anyhow::Result<()> {
    let name = std::env::args().nth(1).context("a site has a name")?;
    serve(Router::new().route("/", get(async move || format!("this is {name}")))).await
}

async fn pass_on(State(http): State<reqwest::Client>, Path(name): Path<String>) -> Result<String, StatusCode> {
    let answer = http.get(format!("http://{name}:{PORT}/")).send().await;
    let page = answer.and_then(reqwest::Response::error_for_status).map_err(|_| StatusCode::BAD_GATEWAY)?;
    page.text().await.map_err(|_| StatusCode::BAD_GATEWAY)
}
