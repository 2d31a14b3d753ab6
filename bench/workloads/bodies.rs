//! The asynchronous bodies of the workloads, compiled into each binary against its simulator (`crate::under`).

use crate::under::{AsyncReadExt, AsyncWriteExt, TcpListener, TcpStream, interval, sleep, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use workloads::{BOOT, CONNECT_AFTER, MESSAGE_BYTES, PERIOD, PORT, SETTLE, Stopwatch};

/// A service: echoes whatever comes, with a task for each connection.
pub async fn serve() {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await.expect("bind");
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        spawn(echo(stream));
    }
}

async fn echo(mut stream: TcpStream) {
    let mut message = [0; MESSAGE_BYTES];
    while stream.read_exact(&mut message).await.is_ok() {
        stream.write_all(&message).await.expect("write the echo");
        stream.flush().await.expect("flush the echo"); // madsim sends nothing before
    }
}

async fn round_trip(stream: &mut TcpStream, number: u64) {
    let mut message = [number as u8; MESSAGE_BYTES];
    message[..8].copy_from_slice(&number.to_le_bytes());
    stream.write_all(&message).await.expect("write");
    stream.flush().await.expect("flush");
    let mut echo = [0; MESSAGE_BYTES];
    stream.read_exact(&mut echo).await.expect("read the echo");
    assert_eq!(echo, message);
}

/// Sends so many messages to a server, each after the echo of the one before. True for the last client to end.
///
/// In a task of its own: what tokio's `block_on` itself runs, any waker wakes through an eventfd.
pub async fn ask(server: String, count: u64, watch: Arc<Stopwatch>) -> bool {
    spawn(converse(server, count, watch)).await.expect("the task ends")
}

async fn converse(server: String, count: u64, watch: Arc<Stopwatch>) -> bool {
    sleep(CONNECT_AFTER).await;
    let mut stream = TcpStream::connect((server.as_str(), PORT)).await.expect("connect");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    round_trip(&mut stream, 0).await;
    sleep(SETTLE).await;
    watch.begin();
    for number in 1..=count {
        round_trip(&mut stream, number).await;
    }
    watch.end()
}

/// A service with a periodic task, which counts its firings.
pub async fn tick(fired: &'static AtomicU64) {
    spawn(every_second(fired)).await.expect("the task goes on for ever");
}

async fn every_second(fired: &AtomicU64) {
    let mut interval = interval(PERIOD);
    loop {
        interval.tick().await;
        fired.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets the hosts boot, then measures so much virtual time; answers how often their timers fired in it.
pub async fn supervise(lasts: Duration, fired: &AtomicU64, watch: &Stopwatch) -> u64 {
    sleep(BOOT).await;
    let before = fired.load(Ordering::Relaxed);
    watch.begin();
    sleep(lasts).await;
    watch.end();
    fired.load(Ordering::Relaxed) - before
}
