//! Hosts that talk: readiness, faults by hand, storms.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use windtunnel::prelude::*;

const PORT: u16 = 7;

/// Sends back what it gets.
async fn echo(delay_ms: u64) -> std::io::Result<()> {
    sleep(Duration::from_millis(delay_ms)).await;
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    println!("listening");
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await
        });
    }
}

/// One round trip over a connection of its own.
async fn ask(addr: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(b"hello").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

async fn answers(host: &Host) -> bool {
    matches!(timeout(Duration::from_secs(2), ask(host.addr(PORT))).await, Ok(Ok(())))
}

#[chaos_test(cases = 16)]
async fn a_host_is_started_when_it_is_ready(cx: Chaos) -> Result<()> {
    let hosts = cx.hosts("echo", 3).run_each(echo, |h| 100 * h.index() as u64).ready(tcp(PORT)).start().await?;
    assert!(cx.elapsed() >= Duration::from_millis(200));
    for host in &hosts {
        ask(host.addr(PORT)).await?;
    }
    TcpStream::connect((hosts[1].name(), PORT)).await?;
    TcpStream::connect((hosts[1].ip6(), PORT)).await.expect_err("it listens on IPv4 only");
    Ok(())
}

/// Healthy after a while.
fn http_server() -> std::io::Result<()> {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("0.0.0.0:8080")?;
    for asked in 0.. {
        let (stream, _) = listener.accept()?;
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request)?;
        assert_eq!(request, "GET /healthz HTTP/1.1\r\n");
        let status = if asked < 3 { "503 Service Unavailable" } else { "200 OK" };
        write!(&stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")?;
    }
    Ok(())
}

#[chaos_test(cases = 16)]
async fn a_health_check_is_asked_until_it_is_content(cx: Chaos) -> Result<()> {
    cx.host("web").main(http_server).ready(http(8080, "/healthz")).start().await?;
    Ok(())
}

#[chaos_test(cases = 16)]
async fn a_cut_link_is_cut_until_its_guard_heals_it(cx: Chaos) -> Result<()> {
    let hosts = cx.hosts("echo", 3).run(echo, 0).ready(tcp(PORT)).start().await?;
    let cut = cx.partition("test", &hosts[..2]);
    assert!(!answers(&hosts[0]).await && !answers(&hosts[1]).await && answers(&hosts[2]).await);
    assert!(cut.heal() > 0, "it has bitten");
    for host in &hosts {
        assert!(answers(host).await);
    }
    {
        let _cut = cx.partition_one_way(&hosts, "test");
        assert!(!answers(&hosts[0]).await);
    }
    assert!(answers(&hosts[0]).await, "a guard that is dropped heals");
    Ok(())
}

#[chaos_test(cases = 16)]
async fn a_stream_goes_on_when_its_link_is_healed(cx: Chaos) -> Result<()> {
    let host = cx.host("echo").run(echo, 0).ready(tcp(PORT)).start().await?;
    let mut stream = TcpStream::connect(host.addr(PORT)).await?;
    let cut = cx.partition(&host, "test");
    stream.write_all(b"hello").await?;
    let mut answer = [0; 5];
    assert!(timeout(Duration::from_secs(3), stream.read_exact(&mut answer)).await.is_err());
    cut.heal();
    timeout(Duration::from_secs(60), stream.read_exact(&mut answer)).await??;
    assert_eq!(&answer, b"hello");
    Ok(())
}

#[chaos_test(cases = 16)]
async fn a_slow_link_is_slow(cx: Chaos) -> Result<()> {
    let host = cx.host("echo").run(echo, 0).ready(tcp(PORT)).start().await?;
    let took = async || {
        let begin = Instant::now();
        ask(host.addr(PORT)).await.map(|()| begin.elapsed())
    };
    let before = took().await?;
    let slow = cx.slow("test", &host, "100ms", Duration::from_millis(20));
    let during = took().await?;
    assert!(slow.heal() > 0);
    // A handshake and a round trip: four ways.
    assert!(during >= before + Duration::from_millis(300), "{during:?} after {before:?}");
    assert!(took().await? < Duration::from_millis(200));
    Ok(())
}

#[chaos_test(cases = 16)]
async fn a_lossy_link_delays_what_tcp_repeats(cx: Chaos) -> Result<()> {
    let host = cx.host("echo").run(echo, 0).ready(tcp(PORT)).start().await?;
    let lossy = cx.lossy("test", &host, 0.3);
    for _ in 0..20 {
        ask(host.addr(PORT)).await?;
    }
    assert!(lossy.heal() > 0);
    Ok(())
}

#[chaos_test(cases = 16)]
async fn a_storm_ends_in_good_weather(cx: Chaos) -> Result<()> {
    let hosts = cx.hosts("echo", 4).run(echo, 0).ready(tcp(PORT)).start().await?;
    cx.storm(async || {
        cx.partition("test", &hosts[0]).keep();
        hosts[1].crash();
        hosts[2].pause();
        hosts[3].kill();
        for host in &hosts {
            assert!(!answers(host).await, "{host:?} answers in the storm");
        }
    })
    .await;
    for host in &hosts {
        eventually!(within = "30s", answers(host).await, "{host:?} does not answer after the storm");
    }
    Ok(())
}

#[chaos_test(cases = 16)]
async fn a_workload_may_outlast_its_storm(cx: Chaos) -> Result<()> {
    let host = cx.host("echo").run(echo, 0).ready(tcp(PORT)).start().await?;
    let healed_at = cx
        .storm(async || {
            cx.partition("test", &host).keep();
            eventually!(within = "60s", answers(&host).await);
            cx.elapsed()
        })
        .lasting("10s")
        .await;
    assert!(healed_at >= Duration::from_secs(10), "{healed_at:?}");
    Ok(())
}

#[chaos_test(cases = 16)]
async fn clients_have_links_of_their_own(cx: Chaos) -> Result<()> {
    let host = cx.host("echo").run(echo, 0).ready(tcp(PORT)).start().await?;
    let addr = host.addr(PORT);
    let answered = Arc::new(AtomicU32::new(0));
    for name in ["c1", "c2"] {
        let answered = Arc::clone(&answered);
        let _client = cx.client(name).run(async move || {
            loop {
                sleep(Duration::from_millis(100)).await;
                if timeout(Duration::from_secs(1), ask(addr)).await.is_ok_and(|asked| asked.is_ok()) {
                    answered.fetch_add(if name == "c1" { 1 } else { 1000 }, Ordering::Relaxed);
                }
            }
        });
    }
    let cut = cx.partition("c1", "echo");
    sleep(Duration::from_secs(5)).await;
    let during = answered.load(Ordering::Relaxed);
    assert!(during.is_multiple_of(1000) && during > 1000, "only c2 is answered: {during}");
    cut.heal();
    eventually!(within = "10s", !answered.load(Ordering::Relaxed).is_multiple_of(1000));
    Ok(())
}

#[chaos_test(cases = 8)]
async fn hosts_are_as_far_from_each_other_as_they_are_placed(cx: Chaos) -> Result<()> {
    use windtunnel::wan::Region;
    async fn answer() -> std::io::Result<()> {
        let socket = tokio::net::UdpSocket::bind("0.0.0.0:9").await?;
        let mut byte = [0];
        loop {
            let (_, from) = socket.recv_from(&mut byte).await?;
            socket.send_to(&byte, from).await?;
        }
    }
    let hosts = cx.hosts("far", 2).main(answer).start().await?;
    cx.place("test", Region::UsEast);
    cx.place(&hosts[0], Region::Europe);
    cx.distance("test", &hosts[1], "200ms");
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (host, least) in hosts.iter().zip([92, 400]) {
        let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await?;
        let before = std::time::Instant::now();
        socket.send_to(b"x", host.addr(9)).await?;
        socket.recv_from(&mut [0]).await?;
        let took = before.elapsed().as_millis();
        assert!((least..least + 20).contains(&took), "{} answered after {took} ms", host.name());
    }
    Ok(())
}
