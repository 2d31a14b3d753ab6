//! Tokens that expire, between servers whose clocks differ.
//!
//! A token is valid for three seconds, the last of them to its end (`exp` counts whole seconds). Whether it is accepted
//! is decided by the clock of whoever judges it: one that is 1.5 s ahead refuses it before its time, one that is 2 s
//! behind takes it for too new, and accepts it when it is over.

use std::time::Duration;

use anyhow::Result;
use windtunnel::{Chaos, chaos_test, tcp};
use workloads::tokens;

/// Has a token judged after each of these times, in milliseconds.
async fn verdicts(cx: &Chaos, after_ms: &[u64]) -> Result<String> {
    for name in ["issuer", "judge"] {
        cx.host(name).main(tokens::server_main).ready(tcp(7110)).start().await?;
    }
    let verdicts = cx.storm(async || {
        let mut verdicts = Vec::new();
        for after in after_ms {
            // Tokens count whole seconds, so each begins with one.
            let into = cx.elapsed().subsec_nanos();
            tokio::time::sleep(Duration::from_secs(1) - Duration::from_nanos(u64::from(into))).await;
            let verdict = tokens::client("issuer:7110", "judge:7110", Duration::from_millis(*after)).await?;
            verdicts.push(verdict);
        }
        anyhow::Ok(verdicts.join(", "))
    });
    verdicts.await
}

#[chaos_test(cases = 4)]
async fn clocks_that_agree(cx: Chaos) -> Result<()> {
    assert_eq!(verdicts(&cx, &[0, 3_500, 4_500]).await?, "accepted, accepted, ExpiredSignature");
    Ok(())
}

#[chaos_test(cases = 4, plan = "0s clock-skew judge +1.5s for 1h")]
async fn a_judge_that_is_ahead(cx: Chaos) -> Result<()> {
    let expected = if cx.is_calm() { "accepted, accepted" } else { "accepted, ExpiredSignature" };
    assert_eq!(verdicts(&cx, &[0, 3_000]).await?, expected);
    Ok(())
}

#[chaos_test(cases = 4, plan = "0s clock-skew judge -2s for 1h")]
async fn a_judge_that_is_behind(cx: Chaos) -> Result<()> {
    let calm = "accepted, accepted, ExpiredSignature";
    let expected = if cx.is_calm() { calm } else { "ImmatureSignature, accepted, accepted" };
    assert_eq!(verdicts(&cx, &[0, 3_500, 5_500]).await?, expected);
    Ok(())
}
