//! Tests with faults of every class. Ignored here; the other modules run them.

use std::time::{Duration, Instant};
use windtunnel::prelude::*;

/// Writes, syncs, asks for names, reads clocks, starts threads, opens files, allocates. What fails is tried again.
fn does_everything() {
    let directory = "/var/lib/busy";
    while std::fs::create_dir_all(directory).is_err() {}
    for number in 0_u64.. {
        let path = format!("{directory}/{}", number % 8);
        let _ = std::fs::write(&path, vec![7; 64 << 10]);
        let _ = std::fs::File::open(&path).and_then(|file| file.sync_all());
        let _ = std::net::ToSocketAddrs::to_socket_addrs(&("peer", 7));
        let _ = std::time::SystemTime::now();
        let thread = std::thread::Builder::new().spawn(|| std::thread::sleep(Duration::from_millis(1)));
        let _ = thread.map(std::thread::JoinHandle::join);
        std::hint::black_box(vec![1_u8; 16 << 20]);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Answers every datagram.
fn answers() {
    let socket = std::net::UdpSocket::bind("0.0.0.0:7").expect("a socket");
    let mut bytes = [0; 2000];
    while let Ok((count, from)) = socket.recv_from(&mut bytes) {
        let _ = socket.send_to(&bytes[..count], from);
    }
}

/// Has both hosts at work, and asks one of them again and again, for this long.
async fn weathers(cx: &Chaos, storm: Duration) -> Result<()> {
    let peer = cx.host("peer").main(answers).start().await?.addr(7);
    let _busy = cx.host("busy").main(does_everything).start().await?;
    cx.storm(async || {
        let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.expect("a socket");
        let until = Instant::now() + storm;
        let mut bytes = [0; 2000];
        while Instant::now() < until {
            let _ = socket.send_to(&[7; 500], peer).await;
            let _ = tokio::time::timeout(Duration::from_millis(2), socket.recv_from(&mut bytes)).await;
        }
    })
    .await;
    println!("the storm is over");
    Ok(())
}

/// Every class that every user has, one after the other and together.
macro_rules! every_class {
    () => {
        "0ms latency test<->peer 1ms for 60ms
            30ms loss test<->peer 50% for 60ms
            60ms duplication test<->peer 50% for 60ms
            90ms reordering test<->peer 50% by 5ms for 60ms
            120ms corruption test<->peer 50% for 60ms
            150ms bandwidth test<->peer 64KiB/s for 60ms
            180ms partition test | peer for 80ms
            20ms dns-hijack busy \"peer\" answers nxdomain for 80ms
            50ms clock-skew busy -1h for 80ms
            140ms clock-drift busy +200ppm for 80ms
            100ms disk-full busy for 80ms
            190ms inode-exhaustion busy for 80ms
            240ms cpu-burn busy 80% for 80ms
            260ms task-leak busy 1048560 descriptors for 60ms
            300ms task-leak busy 63534 threads for 60ms
            330ms pause busy for 40ms
            380ms crash peer restart after 40ms
            400ms crash busy by kill restart after 40ms
            480ms memory-pressure busy 99.5% for 60ms
            560ms memory-pressure busy oom-kill for 40ms"
    };
}

/// The classes that every user has.
#[chaos_test(world = real, cases = 1, plan = every_class!())]
#[ignore = "a fixture"]
async fn every_class(cx: Chaos) -> Result<()> {
    weathers(&cx, Duration::from_millis(700)).await
}

/// With what takes a disk that is a device, and a control group.
#[chaos_test(world = real, cases = 1, plan = concat!(every_class!(), "\n10ms io-throttle busy 1MiB/s for 80ms"))]
#[ignore = "a fixture"]
async fn every_class_with_a_device(cx: Chaos) -> Result<()> {
    weathers(&cx, Duration::from_millis(700)).await
}

/// Which is ended after so long, whatever it waits for.
#[chaos_test(
    world = real,
    cases = 1,
    wall_timeout = "8s",
    plan = "100ms disk-full busy for 100ms
            150ms partition test | peer for 100ms
            300ms latency test<->peer 1ms for 200ms
            400ms disk-full busy for 100ms
            600ms cpu-burn busy 80% for 200ms"
)]
#[ignore = "a fixture"]
async fn is_ended_after_eight_seconds(cx: Chaos) -> Result<()> {
    weathers(&cx, Duration::from_secs(1)).await
}

/// A partition for long enough that somebody else can come in between.
#[chaos_test(world = real, cases = 1, plan = "0s partition test | peer for 3s")]
#[ignore = "a fixture"]
async fn is_partitioned(cx: Chaos) -> Result<()> {
    weathers(&cx, Duration::from_secs(2)).await
}

/// A slow link for long enough that somebody else can come in between.
#[chaos_test(world = real, cases = 1, plan = "0s latency test<->peer 5ms for 3s")]
#[ignore = "a fixture"]
async fn is_slow(cx: Chaos) -> Result<()> {
    weathers(&cx, Duration::from_secs(2)).await
}

/// Threads taken for long enough that somebody else can come in between.
#[chaos_test(world = real, cases = 1, plan = "0s task-leak busy 100 threads for 3s")]
#[ignore = "a fixture"]
async fn has_no_threads_left(cx: Chaos) -> Result<()> {
    weathers(&cx, Duration::from_secs(2)).await
}

/// Four that run at the same time, each with weather of its own.
mod at_once {
    use super::*;

    #[chaos_test(
        world = real,
        cases = 1,
        plan = "0ms partition test | peer for 150ms
                200ms latency test<->peer 20ms for 200ms
                300ms crash peer restart after 50ms"
    )]
    #[ignore = "a fixture"]
    async fn network(cx: Chaos) -> Result<()> {
        weathers(&cx, Duration::from_millis(600)).await
    }

    #[chaos_test(
        world = real,
        cases = 1,
        plan = "0ms disk-full busy for 200ms
                250ms inode-exhaustion busy for 200ms
                460ms crash busy restart after 50ms"
    )]
    #[ignore = "a fixture"]
    async fn disk(cx: Chaos) -> Result<()> {
        weathers(&cx, Duration::from_millis(700)).await
    }

    #[chaos_test(
        world = real,
        cases = 1,
        plan = "0ms cpu-burn busy 80% for 200ms
                100ms task-leak busy 63534 threads for 100ms
                250ms pause busy for 100ms
                450ms memory-pressure busy oom-kill for 50ms"
    )]
    #[ignore = "a fixture"]
    async fn process(cx: Chaos) -> Result<()> {
        weathers(&cx, Duration::from_millis(700)).await
    }

    #[chaos_test(
        world = real,
        cases = 1,
        plan = "0ms clock-skew busy -1h for 200ms
                100ms clock-drift busy +200ppm for 200ms
                100ms dns-hijack busy \"peer\" answers nxdomain for 200ms
                200ms loss test<->peer 50% for 200ms"
    )]
    #[ignore = "a fixture"]
    async fn clock_and_names(cx: Chaos) -> Result<()> {
        weathers(&cx, Duration::from_millis(600)).await
    }
}
