//! Every kind of fault, one after the other, each long gone before the next: the log says when each was in force, and
//! when it was gone.

use anyhow::Result;
use std::time::Duration;
use windtunnel::{Chaos, chaos_test};

#[chaos_test(
    world = [sim, real],
    seed = 12,
    plan = "100ms partition test | meter for 150ms
            500ms latency test<->meter 20ms for 150ms
            900ms loss test<->meter 20% for 150ms
            1300ms duplication test<->meter 20% for 150ms
            1700ms reordering test<->meter 20% by 5ms for 150ms
            2100ms corruption test<->meter 20% for 150ms
            2500ms bandwidth test<->meter 1MiB/s for 150ms
            2900ms dns-hijack meter \"test\" answers nxdomain for 150ms
            3300ms clock-skew meter -1h for 150ms
            3700ms clock-drift meter +5000ppm then step for 150ms
            4100ms pause meter for 150ms
            4500ms cpu-burn meter 80% for 150ms
            4900ms task-leak meter 1048000 descriptors for 150ms
            5300ms task-leak meter 63000 threads for 150ms
            5700ms memory-pressure meter 99% for 150ms
            6100ms io-throttle meter 1MiB/s for 150ms
            6500ms disk-full meter for 150ms
            7300ms inode-exhaustion meter for 150ms
            7900ms crash meter by kill restart after 150ms
            8300ms crash meter restart after 150ms"
)]
async fn faults_come_and_go_when_they_are_asked_to(cx: Chaos) -> Result<()> {
    let _meter = cx.host("meter").main(meter::main).start().await?;
    cx.storm(async || tokio::time::sleep(Duration::from_millis(8_800)).await).await;
    Ok(())
}
