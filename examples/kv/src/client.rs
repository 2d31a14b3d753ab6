//! What a program that uses the service links: puts and gets over HTTP.

use std::time::Duration;

use reqwest::{StatusCode, Url};
use thiserror::Error;

/// How long a request may take. A replica gives up after two seconds and says so; wait for that.
const REQUEST_MAX: Duration = Duration::from_secs(3);

/// A request that did not succeed. A put may have taken place nonetheless.
#[derive(Debug, Error)]
pub enum Error {
    /// The address cannot be part of a URL.
    #[error("{0} is no address of a replica: expected `host:port`")]
    Address(String),
    /// The replica was not reached, or did not answer in time.
    #[error("failed to reach the replica")]
    Transport(#[from] reqwest::Error),
    /// The replica refused.
    #[error("the replica refused with {status}: {reason}")]
    Refused {
        /// `503` when the replica is not ready, `504` when it reached no majority.
        status: StatusCode,
        /// The replica's own words.
        reason: String,
    },
}

/// A client of one replica.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    /// A client of the replica at `address`, for instance `10.0.0.1:8080`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`Error::Address`] when `address` is malformed.
    pub fn new(address: &str) -> Result<Self, Error> {
        let http = reqwest::Client::builder().timeout(REQUEST_MAX).no_proxy().build()?;
        Ok(Self { http, base: base(address)? })
    }

    /// A client of another replica, which shares what is dear to set up.
    ///
    /// # Errors
    ///
    /// [`Error::Address`] when `address` is malformed.
    pub fn of_another(&self, address: &str) -> Result<Self, Error> {
        Ok(Self { http: self.http.clone(), base: base(address)? })
    }

    /// Stores `value` under `key`; `Ok` means acknowledged.
    ///
    /// # Errors
    ///
    /// When the replica was not reached or refused. The write may have taken place.
    pub async fn put(&self, key: &str, value: impl Into<String>) -> Result<(), Error> {
        let response = self.http.put(self.url(key)).body(value.into()).send().await?;
        accepted(response).await.map(drop)
    }

    /// The value under `key`, if there is one.
    ///
    /// # Errors
    ///
    /// When the replica was not reached or refused.
    pub async fn get(&self, key: &str) -> Result<Option<String>, Error> {
        let response = self.http.get(self.url(key)).send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(accepted(response).await?.text().await?))
    }

    fn url(&self, key: &str) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("an http URL has a path").push(key);
        url
    }
}

fn base(address: &str) -> Result<Url, Error> {
    Url::parse(&format!("http://{address}/kv")).map_err(|_| Error::Address(address.to_owned()))
}

async fn accepted(response: reqwest::Response) -> Result<reqwest::Response, Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    Err(Error::Refused { status, reason: response.text().await? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_segment_of_the_path_whatever_it_holds() {
        let client = Client::new("kv0:8080").expect("valid address");
        assert_eq!(client.url("a/b ?ü").as_str(), "http://kv0:8080/kv/a%2Fb%20%3F%C3%BC");
    }

    #[test]
    fn a_malformed_address_is_refused_by_name() {
        let error = Client::new("not an address").expect_err("malformed");
        assert!(error.to_string().contains("not an address"));
    }
}
