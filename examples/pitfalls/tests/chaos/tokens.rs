//! Tokens under clocks that differ: what has expired is not accepted, and what is valid is not refused.
//!
//! The issuer is a client, which no fault strikes: its clock counts, and the test's own agrees with it.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use pitfalls::tokens::{LEEWAY, SKEW_MAX, VALID};
use pitfalls::{PORT, tokens};
use reqwest::StatusCode;
use tokio::time::sleep;
use windtunnel::faults::{Faults, clock};
use windtunnel::{Chaos, chaos_test, eventually, faults, tcp};

use crate::client;

const TOKENS: usize = 20;
const EVERY: Duration = Duration::from_secs(2);
const REQUEST_MAX: Duration = Duration::from_secs(3);
/// When a token is over by all that is allowed. Whole seconds are cut off where it is judged.
const OVER: Duration = VALID.saturating_add(LEEWAY).saturating_add(SKEW_MAX).saturating_add(Duration::from_secs(1));

const WEATHER: Faults = faults::plan().kinds(clock::skews().and(clock::drifts()));

#[chaos_test(cases = 20, faults = WEATHER, virtual_timeout = "48h")]
async fn a_checked_clock_accepts_nothing_that_has_expired(cx: Chaos) -> Result<()> {
    let refused = tokens_expire(&cx, "checked").await?;
    assert_eq!(refused, 0, "valid tokens were refused");
    Ok(())
}

#[chaos_test(cases = 500, faults = WEATHER, virtual_timeout = "48h", expect_failure = "after it had expired")]
async fn a_clock_that_is_behind_accepts_what_has_expired(cx: Chaos) -> Result<()> {
    tokens_expire(&cx, "own").await.map(drop)
}

#[chaos_test(cases = 500, faults = WEATHER, virtual_timeout = "48h")]
#[ignore = "fails by design; `cargo xtask planted` looks at what it shrinks to"]
async fn token_under_skew(cx: Chaos) -> Result<()> {
    tokens_expire(&cx, "own").await.map(drop)
}

/// Answers how many tokens were refused that were valid.
async fn tokens_expire(cx: &Chaos, clock: &'static str) -> Result<usize> {
    let _serves = cx.client("issuer").run(tokens::issue);
    let http = client(REQUEST_MAX)?;
    eventually!(within = "10s", issue(&http).await.map(drop));
    let judge = cx.host("judge").main(tokens::judge_main);
    judge.args(move |_| ["--issuer", "issuer", "--clock", clock].map(str::to_owned)).ready(tcp(PORT)).start().await?;

    let refused = cx.storm(async || judge_many(&http).await).await?;

    // NTP takes an error away at 500 ppm, so that a clock that is 10 s off is right again after six hours.
    sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(judged_now(&http, &issue(&http).await?).await?, StatusCode::OK, "the judge did not come back");
    Ok(refused)
}

/// Has each token judged when it is new, and one that is over each time. Answers how many were refused that were valid.
async fn judge_many(http: &reqwest::Client) -> Result<usize> {
    let (mut tokens, mut refused) = (Vec::new(), 0);
    for _ in 0..TOKENS {
        let token = issue(http).await?;
        let verdict = judged_now(http, &token).await?;
        println!("a new token: {verdict}");
        refused += usize::from(verdict == StatusCode::UNAUTHORIZED);
        tokens.push((SystemTime::now(), token));
        sleep(EVERY).await;
        for (issued, token) in tokens.iter().rev() {
            let age = issued.elapsed()?;
            if age >= OVER {
                let (late, verdict) = (age - VALID, judged_now(http, token).await?);
                println!("{late:?} after it had expired: {verdict}");
                assert_ne!(verdict, StatusCode::OK, "a token was accepted {late:?} after it had expired");
                break;
            }
        }
    }
    Ok(refused)
}

async fn issue(http: &reqwest::Client) -> Result<String> {
    Ok(http.post(format!("http://issuer:{PORT}/token")).send().await?.error_for_status()?.text().await?)
}

async fn judged_now(http: &reqwest::Client, token: &str) -> Result<StatusCode> {
    Ok(http.post(format!("http://judge:{PORT}/judge")).body(token.to_owned()).send().await?.status())
}
