//! Every kind of fault, on a service that does a little of everything.

use std::time::Duration;
use windtunnel::prelude::*;

/// Writes, syncs, asks for names, reads clocks, starts threads, allocates: again and again. What fails is tried again.
fn does_everything() {
    std::fs::create_dir_all("/var/lib/busy").expect("a directory");
    for number in 0_u64.. {
        let path = format!("/var/lib/busy/{}", number % 8);
        let _ = std::fs::write(&path, vec![7; 256 << 10]);
        let _ = std::fs::File::open(&path).and_then(|file| file.sync_all());
        let _ = std::fs::remove_file(&path);
        let _ = std::net::ToSocketAddrs::to_socket_addrs(&("peer", 7));
        let _ = std::time::SystemTime::now();
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::Builder::new().spawn(|| std::thread::sleep(Duration::from_millis(2)))).collect();
        let files: Vec<_> = (0..40).map(|_| std::fs::File::open("/dev/null")).collect();
        drop(files);
        threads.into_iter().flatten().for_each(|thread| drop(thread.join()));
        // Work for whoever takes time away.
        let until = std::time::Instant::now() + Duration::from_millis(5);
        while std::time::Instant::now() < until {}
        let memory = vec![1_u8; 48 << 20];
        std::hint::black_box(&memory);
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

#[chaos_test(
    world = real,
    cases = 1,
    plan = "0s latency test<->peer 5ms for 200ms
            200ms loss test<->peer 50% for 200ms
            400ms duplication test<->peer 50% for 200ms
            600ms reordering test<->peer 50% by 5ms for 200ms
            800ms corruption test<->peer 50% for 200ms
            1000ms bandwidth test<->peer 64KiB/s for 200ms
            1200ms partition test | peer for 200ms
            0s dns-hijack busy \"peer\" answers nxdomain for 300ms
            300ms clock-skew busy -1h for 200ms
            500ms clock-drift busy +200ppm for 200ms
            700ms disk-full busy for 200ms
            900ms inode-exhaustion busy for 200ms
            1100ms cpu-burn busy 80% for 300ms
            1400ms task-leak busy 1048560 descriptors for 200ms
            1600ms task-leak busy 63534 threads for 200ms
            1800ms pause busy for 100ms
            1900ms crash peer restart after 100ms
            2000ms crash busy by kill restart after 100ms
            2200ms memory-pressure busy 99.5% for 300ms
            2600ms memory-pressure busy oom-kill for 100ms"
)]
async fn every_kind_bites(cx: Chaos) -> Result<()> {
    let _peer = cx.host("peer").main(answers).start().await?;
    let _busy = cx.host("busy").main(does_everything).start().await?;
    cx.storm(async || {
        let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.expect("a socket");
        let address = tokio::net::lookup_host(("peer", 7)).await.expect("a name").next().expect("an address");
        let until = std::time::Instant::now() + Duration::from_secs(3);
        let mut bytes = [0; 2000];
        while std::time::Instant::now() < until {
            let _ = socket.send_to(&[7; 1000], address).await;
            let _ = tokio::time::timeout(Duration::from_millis(2), socket.recv_from(&mut bytes)).await;
        }
    })
    .await;
    Ok(())
}
