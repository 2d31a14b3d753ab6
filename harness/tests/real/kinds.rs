//! Every kind of fault, each on a service that does what it bites on.

use std::net::ToSocketAddrs as _;
use std::process::Command;
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
        let _ = ("peer", 7).to_socket_addrs();
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

/// Opens files and starts threads.
fn leaks() {
    loop {
        let threads: Vec<_> = (0..8).map(|_| thread::Builder::new().spawn(|| thread::sleep(PAUSE))).collect();
        let files: Vec<_> = (0..40).map(|_| fs::File::open("/dev/null")).collect();
        drop(files);
        threads.into_iter().flatten().for_each(|thread| drop(thread.join()));
        thread::sleep(PAUSE);
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

#[chaos_test(
    world = real,
    cases = 1,
    plan = "0s latency test<->peer 5ms for 300ms
            300ms loss test<->peer 50% for 300ms
            600ms duplication test<->peer 50% for 300ms
            900ms reordering test<->peer 50% by 5ms for 300ms
            1200ms corruption test<->peer 50% for 300ms
            1500ms bandwidth test<->peer 16KiB/s for 300ms
            1800ms partition test | peer for 300ms
            0s dns-hijack asks \"peer\" answers nxdomain for 500ms
            500ms clock-skew asks -1h for 500ms
            1000ms clock-drift asks +200ppm for 500ms
            0s disk-full stores for 500ms
            500ms inode-exhaustion stores for 500ms
            1000ms disk-errors stores reads 20% syncs 50% for 500ms
            1500ms io-throttle stores 64KiB/s for 500ms
            2000ms bit-rot stores bits 16
            2000ms io-throttle stores 64KiB/s delay 20ms for 500ms
            0s task-leak leaks 1048560 descriptors for 700ms
            700ms task-leak leaks 63534 threads for 700ms
            0s cpu-burn works 95% for 1s
            0s memory-pressure hungry0 99.5% for 1s
            0s memory-pressure hungry1 oom-kill for 300ms
            0s pause spare0 for 200ms
            0s crash spare1 restart after 200ms
            0s crash spare2 by kill restart after 200ms"
)]
#[ignore = "a fixture"]
async fn every_kind(cx: Chaos) -> Result<()> {
    let _peer = cx.host("peer").main(answers).start().await?;
    let _asks = cx.host("asks").main(asks).start().await?;
    let _stores = cx.host("stores").main(stores).start().await?;
    let _leaks = cx.host("leaks").main(leaks).start().await?;
    let _works = cx.host("works").main(works).start().await?;
    let _hungry = cx.hosts("hungry", 2).main(allocates).start().await?;
    let _spare = cx.hosts("spare", 3).main(waits).start().await?;
    let lasts = if cx.is_calm() { Duration::from_millis(200) } else { Duration::from_secs(4) };
    cx.storm(async || {
        let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.expect("a socket");
        let address = tokio::net::lookup_host(("peer", 7)).await.expect("a name").next().expect("an address");
        let until = Instant::now() + lasts;
        let mut bytes = [0; 2000];
        while Instant::now() < until {
            let _ = socket.send_to(&[7; 1000], address).await;
            let _ = tokio::time::timeout(Duration::from_millis(2), socket.recv_from(&mut bytes)).await;
        }
    })
    .await;
    Ok(())
}

#[test]
fn every_kind_bites() {
    let mut command = Command::new(std::env::current_exe().expect("a test has a binary"));
    command.args(["--exact", "kinds::every_kind", "--include-ignored", "--nocapture", "--test-threads=1"]);
    command.env("CHAOS_SAVE", "never").env("CHAOS_LOG", "all");
    let printed = command.output().expect("this binary can be executed");
    let text = String::from_utf8_lossy(&printed.stderr);
    if let Some(reason) =
        text.lines().find(|line| line.contains(" is skipped: ") || line.contains(" does nothing here: "))
    {
        assert!(std::env::var_os("CHAOS_REQUIRE").is_none(), "required, and not possible here: {reason}");
        eprintln!("skipped: {reason}");
        return;
    }
    let idle: Vec<&str> = text.lines().filter(|line| line.ends_with(", and bit 0 times")).collect();
    assert!(idle.is_empty(), "these have not bitten on anything:\n{}\n\n{text}", idle.join("\n"));
    assert!(printed.status.success() && text.contains("; 24 of 24 bit"), "{text}");
}
