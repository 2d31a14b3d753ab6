//! The real world: hosts are processes.

use std::time::Duration;
use windtunnel::HostState;
use windtunnel::prelude::*;

/// What a service's own `main` finds.
fn describes_itself() {
    let arguments: Vec<String> = std::env::args().collect();
    println!("{arguments:?} {:?}", std::env::var("COLOUR"));
    std::thread::sleep(Duration::from_secs(3600));
}

#[chaos_test(world = [sim, real], cases = 1)]
async fn a_host_is_a_process_of_its_own(cx: Chaos) -> Result<()> {
    let kv = cx
        .hosts("kv", 2)
        .main(describes_itself)
        .args(|h| ["--id".into(), h.index().to_string()])
        .env("COLOUR", "green")
        .start()
        .await?;
    println!("in the middle");
    tokio::time::sleep(Duration::from_millis(200)).await;
    kv[0].kill();
    assert_eq!(kv[0].state(), HostState::Down);
    kv[0].restart().await?;
    assert_eq!(kv[0].state(), HostState::Up);
    Ok(())
}

async fn echoes(port: u16) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", port)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await
        });
    }
}

async fn round_trip(host: &Host, port: u16) -> std::io::Result<Duration> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect((host.name(), port)).await?;
    let before = std::time::Instant::now();
    stream.write_all(b"hello").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    Ok(before.elapsed())
}

#[chaos_test(world = [sim, real], cases = 1)]
async fn links_can_be_slow_or_cut(cx: Chaos) -> Result<()> {
    let echo = cx.host("echo").run(echoes, 7).ready(tcp(7)).start().await?;
    let plain = round_trip(&echo, 7).await?;
    println!("a round trip takes {plain:?}");
    let slow = cx.slow("test", &echo, "50ms", "0ms");
    let late = round_trip(&echo, 7).await?;
    println!("then {late:?}");
    assert!(late >= Duration::from_millis(100), "{late:?}");
    assert!(slow.heal() > 0);
    let cut = cx.partition("test", &echo);
    let attempt = tokio::time::timeout(Duration::from_millis(300), round_trip(&echo, 7)).await;
    assert!(attempt.is_err(), "{attempt:?}");
    assert!(cut.heal() > 0);
    round_trip(&echo, 7).await?;
    let addr = echo.addr(7);
    let client = cx.client("c1").run(async move || tokio::net::TcpStream::connect(addr).await.map(|_| ()));
    client.await?;
    Ok(())
}
