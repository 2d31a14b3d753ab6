//! A test for each kind of fault, as short as can be, whose steps are watched. Ignored here; `steps.rs` runs them.

use crate::tape::watched;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use windtunnel::prelude::*;

/// Answers every datagram, and does now and then what any fault could bite on.
fn busy() {
    std::thread::spawn(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:7").expect("a socket");
        let mut bytes = [0; 2000];
        while let Ok((count, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..count], from);
        }
    });
    let _ = std::fs::create_dir_all("/var/lib/busy");
    loop {
        let _ = std::fs::write("/var/lib/busy/file", [7; 4096]);
        let _ = std::fs::File::open("/var/lib/busy/file").and_then(|file| file.sync_all());
        let _ = std::net::ToSocketAddrs::to_socket_addrs(&("test", 7));
        let _ = std::time::SystemTime::now();
        std::hint::black_box(vec![1_u8; 1 << 20]);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks the host again and again for so long, or until it answers.
async fn asks(busy: SocketAddr, within: Duration, until_answered: bool) {
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.expect("a socket");
    let until = Instant::now() + within;
    let mut bytes = [0; 2000];
    while Instant::now() < until {
        let _ = socket.send_to(&[7; 500], busy).await;
        let answer = tokio::time::timeout(Duration::from_millis(2), socket.recv_from(&mut bytes)).await;
        if until_answered && matches!(answer, Ok(Ok(_))) {
            return;
        }
    }
}

/// Has a host at work, and asks it until a plan that ends after 60 ms is over.
async fn weathers(cx: Chaos) -> Result<()> {
    let busy = cx.host("busy").main(busy).start().await?.addr(7);
    // Who is still being loaded would end of a lack of descriptors.
    asks(busy, Duration::from_secs(10), true).await;
    cx.storm(async || asks(busy, Duration::from_millis(80), false).await).await;
    Ok(())
}

macro_rules! kinds {
    ($($name:ident: $plan:literal,)*) => {
        /// Their names. The first has a fault that never comes.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(
            #[chaos_test(world = real, seed = 7, plan = watched($plan))]
            #[ignore = "a fixture"]
            async fn $name(cx: Chaos) -> Result<()> {
                weathers(cx).await
            }
        )*
    };
}

kinds! {
    good_weather: "10m pause busy for 1s",
    latency: "0ms latency test<->busy 1ms for 40ms",
    loss: "0ms loss test<->busy 50% for 40ms",
    duplication: "0ms duplication test<->busy 50% for 40ms",
    reordering: "0ms reordering test<->busy 50% by 5ms for 40ms",
    corruption: "0ms corruption test<->busy 50% for 40ms",
    bandwidth: "0ms bandwidth test<->busy 64KiB/s for 40ms",
    partition: "0ms partition test | busy for 40ms",
    dns_hijack: "0ms dns-hijack busy \"test\" answers nxdomain for 40ms",
    clock_skew: "0ms clock-skew busy -1h for 40ms",
    clock_drift: "0ms clock-drift busy +200ppm for 40ms",
    disk_full: "0ms disk-full busy for 40ms",
    inode_exhaustion: "0ms inode-exhaustion busy for 40ms",
    io_throttle: "0ms io-throttle busy 1MiB/s for 40ms",
    io_delay: "0ms io-throttle busy 1MiB/s delay 5ms for 40ms",
    disk_errors: "0ms disk-errors busy reads 20% syncs 50% for 40ms",
    bit_rot: "0ms bit-rot busy bits 4",
    cpu_burn: "0ms cpu-burn busy 30% for 60ms",
    memory_pressure: "0ms memory-pressure busy 99.5% for 40ms",
    oom_kill: "0ms memory-pressure busy oom-kill for 20ms",
    descriptor_leak: "0ms task-leak busy 1048560 descriptors for 40ms",
    thread_leak: "0ms task-leak busy 63534 threads for 40ms",
    pause: "0ms pause busy for 40ms",
    crash: "0ms crash busy restart after 20ms",
    crash_without_room: "0ms disk-full busy for 60ms
        0ms inode-exhaustion busy for 60ms
        0ms io-throttle busy 1MiB/s for 60ms
        10ms crash busy restart after 20ms",
    kill: "0ms crash busy by kill restart after 20ms",
}
