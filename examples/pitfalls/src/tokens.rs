//! JSON Web Tokens (RFC 7519): an issuer hands them out, a judge looks whether they are still valid.
//!
//! # The bug: an expired token is accepted
//!
//! With `--clock own` the judge believes its clock. One that is behind, as after a resumed snapshot or with a time
//! server that nobody reaches, accepts what has expired; one that is ahead refuses what was issued this very moment.
//! Leeway, which RFC 7519 §4.1.4 allows ("usually no more than a few minutes"), helps against the second and makes the
//! first worse, so libraries had it added because tokens were refused: [lcobucci/jwt
//! #191](https://github.com/lcobucci/jwt/issues/191), [jwt-go #226](https://github.com/dgrijalva/jwt-go/issues/226).
//!
//! # The remedy
//!
//! `--clock checked`: the judge compares its clock with the issuer's, and judges nobody while they differ by more than
//! the leeway was made for. CockroachDB's nodes end themselves when their clocks are too far from each other's
//! (`--max-offset`). Then a token is accepted at most [`LEEWAY`] + [`SKEW_MAX`] after it has expired, and never refused
//! while it is valid.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use clap::{Parser, ValueEnum};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{PORT, http_client, serve};

/// What both servers know.
const SECRET: &[u8] = b"not a secret, but of this test";
/// How long a token is valid.
pub const VALID: Duration = Duration::from_secs(10);
/// How much longer, or earlier, it is accepted.
pub const LEEWAY: Duration = Duration::from_secs(2);
/// How much the clocks of issuer and judge may differ.
pub const SKEW_MAX: Duration = LEEWAY;
/// How long the judge waits for the issuer.
const ANSWER_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Parser)]
struct Args {
    /// Whose clock counts.
    #[arg(long)]
    issuer: String,

    /// What the judge thinks of its own clock.
    #[arg(long, value_enum, default_value_t = Clock::Checked)]
    clock: Clock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Clock {
    /// It is right.
    Own,
    /// It may be wrong, which shows when it is compared.
    Checked,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    iat: u64,
    exp: u64,
}

struct Judge {
    args: Args,
    http: reqwest::Client,
}

/// Issues tokens, `POST /token`, and tells the time in milliseconds, `GET /time`, until it is killed.
///
/// # Errors
///
/// When it cannot listen, or serving fails.
pub async fn issue() -> anyhow::Result<()> {
    let time = async || since_epoch().as_millis().to_string();
    serve(Router::new().route("/token", post(token)).route("/time", get(time))).await
}

/// Judges tokens, `POST /judge`, until it is killed: `200` accepted, `401` refused, `503` when its clock is wrong or it
/// cannot tell.
///
/// # Errors
///
/// When it cannot listen, or serving fails.
#[tokio::main]
pub async fn judge_main() -> anyhow::Result<()> {
    let judge = Arc::new(Judge { args: Args::parse(), http: http_client(ANSWER_MAX)? });
    serve(Router::new().route("/judge", post(judge_one)).with_state(judge)).await
}

async fn token() -> Result<String, StatusCode> {
    let now = since_epoch().as_secs();
    let claims = Claims { sub: "somebody".to_owned(), iat: now, exp: now + VALID.as_secs() };
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET));
    token.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn judge_one(State(judge): State<Arc<Judge>>, token: String) -> StatusCode {
    // Read once, so that what is compared with the issuer's clock is what the token is judged by.
    let now = since_epoch();
    if judge.args.clock == Clock::Checked && !judge.agrees_with_issuer(now).await.unwrap_or(false) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    if is_valid(&token, now) { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
}

fn is_valid(token: &str, now: Duration) -> bool {
    let mut signature_only = Validation::new(Algorithm::HS256);
    signature_only.validate_exp = false;
    let token = decode::<Claims>(token, &DecodingKey::from_secret(SECRET), &signature_only);
    token.is_ok_and(|token| now.as_secs() < token.claims.exp + LEEWAY.as_secs())
}

impl Judge {
    /// Whether the issuer's clock may have shown `now` just before it was asked, give or take [`SKEW_MAX`].
    async fn agrees_with_issuer(&self, now: Duration) -> anyhow::Result<bool> {
        let asked = Instant::now();
        let answer = self.http.get(format!("http://{}:{PORT}/time", self.args.issuer)).send().await?.text().await?;
        let theirs = Duration::from_millis(answer.parse().context("the issuer told no time")?);
        // It was read between the question and the answer.
        let earliest = theirs.saturating_sub(asked.elapsed());
        Ok(earliest + SKEW_MAX >= now && now + SKEW_MAX >= theirs)
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
