//! Every kind of fault, each on a service that does what it bites on.

use super::carried_out;
use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};
use windtunnel::prelude::*;

/// What services do between two things: ten of them are to leave the machine some time.
const PAUSE: Duration = Duration::from_millis(5);

/// Answers every datagram.
fn answers() {
    let socket = std::net::UdpSocket::bind("0.0.0.0:7").expect("a socket");
    let mut bytes = [0; 2000];
    while let Ok((count, from)) = socket.recv_from(&mut bytes) {
        let _ = socket.send_to(&bytes[..count], from);
    }
}

/// Reads its clock, and asks for a name.
fn asks() {
    loop {
        let _ = SystemTime::now();
        let _ = ("peer0", 7).to_socket_addrs();
        thread::sleep(PAUSE);
    }
}

/// Makes files, syncs, reads and removes them. What fails is tried again.
fn stores() {
    fs::create_dir_all("/var/lib/stores").expect("a directory");
    // For what rots while none of the others is there.
    fs::write("/var/lib/stores/always", vec![7; 100_000]).expect("a file");
    for number in 0_u64.. {
        let path = format!("/var/lib/stores/{}", number % 4);
        let _ = fs::write(&path, vec![7; 64 << 10]);
        let _ = fs::File::open(&path).and_then(|file| file.sync_all());
        let _ = fs::read(&path);
        let _ = fs::remove_file(&path);
        thread::sleep(PAUSE);
    }
}

/// Opens files and starts threads, and keeps them until it can have no more or has enough.
fn leaks() {
    static END: std::sync::RwLock<()> = std::sync::RwLock::new(());
    for round in 0.. {
        let enough = 100 + round * 37 % 100;
        let (mut files, mut threads) = (Vec::new(), Vec::new());
        let ended = END.write();
        for _ in 0..enough {
            let thread = thread::Builder::new().spawn(|| drop(END.read()));
            let (Ok(file), Ok(thread)) = (fs::File::open("/dev/null"), thread) else { break };
            files.push(file);
            threads.push(thread);
            thread::sleep(PAUSE);
        }
        drop(ended);
        thread::sleep(PAUSE);
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// Works for half of its time.
fn works() {
    loop {
        let until = Instant::now() + Duration::from_millis(20);
        while Instant::now() < until {}
        thread::sleep(Duration::from_millis(20));
    }
}

/// Takes memory again and again.
fn allocates() {
    loop {
        std::hint::black_box(&vec![1_u8; 48 << 20]);
        thread::sleep(10 * PAUSE);
    }
}

/// Is there.
fn waits() {
    loop {
        thread::park();
    }
}

// Programs are started again last: on a busy machine that takes longest, and the others would have to wait for it.
#[chaos_test(
    world = real,
    cases = 1,
    plan = "0s latency test<->peer0 5ms for 400ms
            300ms loss test<->peer0 50% for 400ms
            600ms duplication test<->peer0 50% for 400ms
            900ms reordering test<->peer0 50% by 5ms for 400ms
            1200ms corruption test<->peer0 50% for 400ms
            1500ms bandwidth test<->peer0 16KiB/s for 400ms
            0s partition test | peer1 for 1s
            0s dns-hijack asks \"peer0\" answers nxdomain for 1s
            500ms clock-skew asks -1h for 1s
            1s clock-drift asks +200ppm for 1s
            0s disk-full stores0 for 2s
            0s inode-exhaustion stores1 for 2s
            0s disk-errors stores2 reads 20% syncs 50% for 2s
            0s io-throttle stores3 64KiB/s for 2s
            0s io-throttle stores4 64KiB/s delay 20ms for 2s
            1s bit-rot stores5 bits 16
            0s task-leak leaks0 1048560 descriptors for 2s
            0s task-leak leaks1 63534 threads for 2s
            0s cpu-burn works 98% for 2s
            0s pause spare0 for 200ms
            2200ms memory-pressure hungry0 99.5% for 1s
            2200ms memory-pressure hungry1 oom-kill for 800ms
            2200ms crash spare1 restart after 800ms
            2200ms crash spare2 by kill restart after 800ms"
)]
#[ignore = "a fixture"]
async fn every_kind(cx: Chaos) -> Result<()> {
    let _peers = cx.hosts("peer", 2).main(answers).start().await?;
    let _asks = cx.host("asks").main(asks).start().await?;
    let _stores = cx.hosts("stores", 6).main(stores).start().await?;
    let _leaks = cx.hosts("leaks", 2).main(leaks).start().await?;
    let _works = cx.host("works").main(works).start().await?;
    let _hungry = cx.hosts("hungry", 2).main(allocates).start().await?;
    let _spare = cx.hosts("spare", 3).main(waits).start().await?;
    let lasts = if cx.is_calm() { Duration::from_millis(200) } else { Duration::from_secs(6) };
    cx.storm(async || {
        let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.expect("a socket");
        let mut peers = Vec::new();
        for peer in ["peer0", "peer1"] {
            peers.extend(tokio::net::lookup_host((peer, 7)).await.expect("a name"));
        }
        let until = Instant::now() + lasts;
        let mut bytes = [0; 2000];
        while Instant::now() < until {
            for peer in peers.iter().filter(|peer| peer.is_ipv4()) {
                let _ = socket.send_to(&[7; 1000], peer).await;
                let _ = tokio::time::timeout(Duration::from_millis(2), socket.recv_from(&mut bytes)).await;
            }
        }
    })
    .await;
    Ok(())
}

#[test]
fn every_kind_bites() {
    let Some(text) = carried_out("kinds::every_kind") else { return };
    assert!(text.contains("; 24 of 24 bit"), "{text}");
}
