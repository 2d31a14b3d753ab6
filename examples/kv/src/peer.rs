//! What one replica asks of another, over HTTP.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::membership::Phase;
use crate::version::{Entry, Versioned};

/// How long one request to a peer may take: long against a round trip, short against a client's
/// patience.
const REQUEST_MAX: Duration = Duration::from_millis(500);

/// How long a snapshot may take.
const SNAPSHOT_MAX: Duration = Duration::from_secs(5);

/// What a replica says about itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) phase: Phase,
}

/// One other replica.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    http: reqwest::Client,
    address: String,
}

/// What peers are asked with.
///
/// # Errors
///
/// When the system's resolver cannot be set up.
pub(crate) fn http_client() -> reqwest::Result<reqwest::Client> {
    // Peers are on the same network; a proxy meant for the world outside would only be in the way.
    reqwest::Client::builder().timeout(REQUEST_MAX).no_proxy().build()
}

impl Peer {
    /// The replica that listens on `address`.
    pub(crate) fn new(http: reqwest::Client, address: String) -> Self {
        Self { http, address }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How far it has come since it started.
    pub(crate) async fn phase(&self) -> reqwest::Result<Phase> {
        let response = self.http.get(self.url("status")).send().await?.error_for_status()?;
        Ok(response.json::<Status>().await?.phase)
    }

    /// What it holds for `key`. Fails unless it is ready.
    pub(crate) async fn get(&self, key: &str) -> reqwest::Result<Option<Versioned>> {
        let request = self.http.post(self.url("get")).json(key);
        request.send().await?.error_for_status()?.json().await
    }

    /// Has it hold `entries`, or newer ones. Fails unless it is ready.
    pub(crate) async fn merge(&self, entries: &[Entry]) -> reqwest::Result<()> {
        let request = self.http.post(self.url("entries")).json(entries);
        request.send().await?.error_for_status().map(drop)
    }

    /// Everything it holds. Fails unless it is ready.
    pub(crate) async fn snapshot(&self) -> reqwest::Result<Vec<Entry>> {
        let request = self.http.get(self.url("entries")).timeout(SNAPSHOT_MAX);
        request.send().await?.error_for_status()?.json().await
    }

    fn url(&self, what: &str) -> String {
        format!("http://{}/internal/{what}", self.address)
    }
}
