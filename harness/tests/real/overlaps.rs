//! Faults that strike one host together, and hosts that the test starts again by itself.

use super::{echoes, round_trip};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use windtunnel::HostState;
use windtunnel::prelude::*;

/// Is there.
fn waits() {
    loop {
        std::thread::park();
    }
}

#[chaos_test(
    world = [sim, real],
    cases = 1,
    plan = "0s crash spare restart after 100ms
            50ms crash spare by kill restart after 100ms"
)]
async fn who_falls_twice_stands_up_once(cx: Chaos) -> Result<()> {
    let spare = cx.host("spare").main(waits).start().await?;
    cx.storm(async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        eventually!(within = "10s", spare.state() == HostState::Up);
    })
    .await;
    Ok(())
}

#[chaos_test(world = [sim, real], cases = 1, plan = "0s crash echo restart after 500ms")]
async fn who_was_started_by_hand_keeps_its_connections(cx: Chaos) -> Result<()> {
    let echo = cx.host("echo").run(echoes, 7).ready(tcp(7)).start().await?;
    let mut stream = None;
    cx.storm(async || {
        if !cx.is_calm() {
            eventually!(within = "10s", echo.state() == HostState::Down);
            echo.restart().await.expect("it can be started");
        }
        stream = TcpStream::connect(echo.addr(7)).await.ok();
        // Its fault ends meanwhile.
        tokio::time::sleep(Duration::from_secs(1)).await;
    })
    .await;
    let mut stream = stream.expect("a connection");
    stream.write_all(b"hello").await?;
    stream.read_exact(&mut [0; 5]).await?;
    round_trip(&echo, 7).await?;
    Ok(())
}

#[chaos_test(
    world = [sim, real],
    cases = 1,
    plan = "0s memory-pressure spare 50% for 200ms
            100ms crash spare restart after 3s"
)]
async fn who_lacked_memory_and_fell_otherwise_stays_down(cx: Chaos) -> Result<()> {
    let spare = cx.host("spare").main(waits).start().await?;
    cx.storm(async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(cx.is_calm() || spare.state() == HostState::Down, "{:?}", spare.state());
        eventually!(within = "20s", spare.state() == HostState::Up);
    })
    .await;
    Ok(())
}
