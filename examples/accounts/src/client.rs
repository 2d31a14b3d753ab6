//! What a program that uses the service links.

use std::time::Duration;

use reqwest::StatusCode;
use thiserror::Error;

use crate::transfer::{Books, Transfer};

/// A request that did not succeed. A transfer may have taken place nonetheless.
#[derive(Debug, Error)]
pub enum Error {
    /// The service was not reached, or did not answer in time.
    #[error("failed to reach the service")]
    Transport(#[from] reqwest::Error),
    /// The service failed.
    #[error("the service answered with {status}: {reason}")]
    Refused {
        /// `500` when the database failed.
        status: StatusCode,
        /// The service's own words.
        reason: String,
    },
}

/// A client of the service.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    address: String,
}

impl Client {
    /// A client of the service at `address`, for instance `bank:8080`, which waits so long for an answer.
    ///
    /// # Errors
    ///
    /// The system refuses what a client needs.
    pub fn new(address: &str, patience: Duration) -> Result<Self, Error> {
        let http = reqwest::Client::builder().timeout(patience).no_proxy().build()?;
        Ok(Self { http, address: address.to_owned() })
    }

    /// Asks for a transfer; `Ok` means that it is on the disk, or for `false` that there is not money enough.
    ///
    /// # Errors
    ///
    /// When the service was not reached or failed. The transfer may have taken place.
    pub async fn transfer(&self, transfer: &Transfer) -> Result<bool, Error> {
        let url = format!("http://{}/transfers", self.address);
        let response = self.http.post(url).json(transfer).send().await?;
        if response.status() == StatusCode::CONFLICT {
            return Ok(false);
        }
        succeeded(response).await.map(|_| true)
    }

    /// All accounts and transfers.
    ///
    /// # Errors
    ///
    /// When the service was not reached or failed.
    pub async fn books(&self) -> Result<Books, Error> {
        let response = self.http.get(format!("http://{}/books", self.address)).send().await?;
        Ok(succeeded(response).await?.json().await?)
    }
}

async fn succeeded(response: reqwest::Response) -> Result<reqwest::Response, Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    Err(Error::Refused { status, reason: response.text().await? })
}
