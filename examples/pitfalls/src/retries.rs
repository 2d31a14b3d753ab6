//! A chain of services, each of which asks the next: an edge, a middle, a backend. The backend counts what reaches it.
//!
//! # The bug: a retry storm
//!
//! With `--retries every-failure` each of them tries four times whatever the next one does not answer in time, at once.
//! When answers are lost, the two together send the backend sixteen requests for each that was asked: load that keeps
//! it from recovering.
//!
//! DynamoDB was down for hours in 2015 because storage servers whose requests took too long asked again, and so kept
//! the metadata service overloaded ([AWS 2015](https://aws.amazon.com/message/5467D2/)). The multiplication by layers
//! is in [Beyer et al., "Site Reliability Engineering", 2016, ch. 22](https://sre.google/sre-book/addressing-cascading-failures/):
//! three layers with four tries each make 64.
//!
//! # The remedy
//!
//! `--retries budget`, as the same chapter has it, and Finagle's `RetryBudget`: retries are a tenth of the requests,
//! with a few on top for whoever has little traffic; and each waits for a random time that doubles (Brooker,
//! [Exponential backoff and jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), 2015).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use clap::{Parser, ValueEnum};
use tokio::time::sleep;

use crate::{PORT, http_client, serve};

const TRIES: u32 = 4;
/// Retries for each request, in thousandths: a tenth.
const EARNED_MILLI: u64 = 100;
/// Retries that nobody has to earn, in thousandths.
const RESERVE_MILLI: u64 = 5_000;
const RETRY_MILLI: u64 = 1_000;
/// The longest pause before the first retry.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

#[derive(Debug, Parser)]
struct Args {
    /// Whom this service asks. The backend asks nobody.
    #[arg(long)]
    next: Option<String>,

    /// How long it waits for an answer.
    #[arg(long, default_value_t = 250)]
    timeout_ms: u64,

    /// When it asks again.
    #[arg(long, value_enum, default_value_t = Retries::Budget)]
    retries: Retries,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Retries {
    /// After every failure, at once.
    EveryFailure,
    /// As long as retries are few beside requests, and later each time.
    Budget,
}

/// Retries that may still be made, in thousandths.
#[derive(Debug)]
struct Budget(u64);

impl Budget {
    fn earn(&mut self) {
        self.0 = (self.0 + EARNED_MILLI).min(RESERVE_MILLI);
    }

    fn spend(&mut self) -> bool {
        let left = self.0.checked_sub(RETRY_MILLI);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

struct Service {
    args: Args,
    http: reqwest::Client,
    budget: Mutex<Budget>,
    asked: AtomicU64,
}

/// Serves until it is killed: `GET /work`, and `GET /asked`, how often it was asked for work.
///
/// # Errors
///
/// When it cannot listen, or serving fails.
#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let http = http_client(Duration::from_millis(args.timeout_ms))?;
    let budget = Mutex::new(Budget(RESERVE_MILLI));
    let service = Arc::new(Service { args, http, budget, asked: AtomicU64::new(0) });
    let asked = async |State(service): State<Arc<Service>>| service.asked.load(Relaxed).to_string();
    serve(Router::new().route("/work", get(work)).route("/asked", get(asked)).with_state(service)).await
}

async fn work(State(service): State<Arc<Service>>) -> StatusCode {
    service.asked.fetch_add(1, Relaxed);
    let Some(next) = &service.args.next else { return StatusCode::NO_CONTENT };
    service.budget.lock().expect("nobody panics with it").earn();
    for tries in 1..=TRIES {
        let answer = service.http.get(format!("http://{next}:{PORT}/work")).send().await;
        if answer.and_then(reqwest::Response::error_for_status).is_ok() {
            return StatusCode::NO_CONTENT;
        }
        if tries < TRIES && !service.may_retry(tries).await {
            break;
        }
    }
    StatusCode::BAD_GATEWAY
}

impl Service {
    /// Waits before a retry, if there may be one.
    async fn may_retry(&self, tries: u32) -> bool {
        if self.args.retries == Retries::EveryFailure {
            return true;
        }
        let may = self.budget.lock().expect("nobody panics with it").spend();
        if may {
            let longest = PAUSE_FIRST * 2_u32.pow(tries - 1);
            sleep(longest.mul_f64(rand::random())).await;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_requests_earn_one_retry_and_nobody_saves_up_more_than_the_reserve() {
        let mut budget = Budget(0);
        (0..10).for_each(|_| budget.earn());
        assert_eq!([budget.spend(), budget.spend()], [true, false]);
        (0..1_000).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count() as u64, RESERVE_MILLI / RETRY_MILLI);
    }
}
