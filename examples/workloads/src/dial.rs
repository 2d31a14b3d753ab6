//! Connecting to a server that may not listen yet.

use std::io;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

/// How long a client goes on trying.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it waits between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection to `address`, in tokio.
pub(crate) async fn tcp(address: &str) -> io::Result<TcpStream> {
    let began = Instant::now();
    loop {
        match TcpStream::connect(address).await {
            Err(_) if began.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            ended => return ended,
        }
    }
}

/// A connection to `address`, on a thread.
pub(crate) fn tcp_blocking(address: &str) -> io::Result<std::net::TcpStream> {
    let began = Instant::now();
    loop {
        match std::net::TcpStream::connect(address) {
            Err(_) if began.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            ended => return ended,
        }
    }
}
