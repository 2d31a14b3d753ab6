//! JSON Web Tokens (RFC 7519): one server issues them, another looks whether they have expired, each by its own clock.
//!
//! `--listen` (default `0.0.0.0:7110`).

use std::time::{Duration, SystemTime};

use anyhow::Context;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::args;

/// What both servers know.
const SECRET: &[u8] = b"not a secret, but of this test";

/// How long a token is valid. Tokens count whole seconds.
pub const VALID: Duration = Duration::from_secs(3);

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    nbf: u64,
}

/// Issues tokens, and judges those of others, until it is killed.
///
/// # Errors
///
/// When it cannot listen, or serving fails.
#[tokio::main]
pub async fn server_main() -> anyhow::Result<()> {
    let listener = TcpListener::bind(args::value_of("--listen", "0.0.0.0:7110")?).await?;
    let app = Router::new().route("/issue", get(issue)).route("/judge", post(judge));
    Ok(axum::serve(listener, app).await?)
}

async fn issue() -> Result<String, StatusCode> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.as_secs();
    let claims = Claims { sub: "somebody".to_owned(), exp: now + VALID.as_secs(), nbf: now };
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET));
    token.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// Answers `accepted`, or why not.
async fn judge(token: String) -> Json<String> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = 0;
    validation.validate_nbf = true;
    let verdict = decode::<Claims>(&token, &DecodingKey::from_secret(SECRET), &validation);
    Json(verdict.map_or_else(|error| error.to_string(), |_| "accepted".to_owned()))
}

/// Has a token issued at one server, waits, and has it judged at the other.
///
/// # Errors
///
/// When one of them does not answer.
pub async fn client(issuer: &str, judge: &str, after: Duration) -> anyhow::Result<String> {
    let http = reqwest::Client::new();
    let issued = http.get(format!("http://{issuer}/issue")).send().await?.error_for_status()?;
    let token = issued.text().await?;
    tokio::time::sleep(after).await;
    let judged = http.post(format!("http://{judge}/judge")).body(token).send().await?.error_for_status()?;
    judged.text().await.map(|verdict| verdict.trim_matches('"').to_owned()).context("no verdict")
}
