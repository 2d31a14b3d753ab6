//! Each service on a host, its client on another, on a network that delays and loses.
//!
//! Neither knows anything of it: what TCP promises holds, and the UDP client repeats what got no answer. The client's
//! transcript, with the fingerprint of all that decides a run, is printed on the console of host `test`, so that it can
//! be compared run by run.

use anyhow::{Context, Result};
use windtunnel::{Chaos, Host, Probe, chaos_test, probe, tcp};
use workloads::{blocking, grpc, http, threads, tls, udp, unix};

/// tonic: unary calls and a stream, over one connection and several.
#[chaos_test(cases = 8)]
async fn grpc_calls_and_streams(cx: Chaos) -> Result<()> {
    let server = start(&cx, grpc::server_main, tcp(7101)).await?;
    let transcript = in_rough_weather(&cx, &server, async || grpc::client("server:7101").await).await?;
    let total = 5 * (1 + 2 + 3 + 4);
    assert!(transcript.contains(&format!(": total {total}, server: elapsed=")));
    assert_eq!((count(&transcript, "adder"), count(&transcript, "tick")), (20, 10));
    Ok(())
}

/// reqwest with its default features (rustls on aws-lc-rs) to axum behind tokio-rustls.
#[chaos_test(cases = 8)]
async fn tls_is_spoken_over_http_2(cx: Chaos) -> Result<()> {
    let server = cx
        .host("server")
        .main(tls::server_main)
        .args(|h| ["--name", h.name()].map(str::to_owned))
        .ready(tcp(8443))
        .start()
        .await?;
    let client = async || tls::client("server:8443", "server:8080").await;
    let transcript = in_rough_weather(&cx, &server, client).await?;
    assert_eq!(count(&transcript, "one: HTTP/2.0, server: "), 5);
    assert_eq!(count(&transcript, "several "), 5);
    Ok(())
}

/// hyper, with a thousand connections open at the same time.
#[chaos_test(cases = 4)]
async fn a_thousand_connections_are_open_at_once(cx: Chaos) -> Result<()> {
    let server = start(&cx, http::server_main, tcp(7102)).await?;
    let transcript = in_rough_weather(&cx, &server, async || http::client("server:7102", 1_000).await).await?;
    assert_eq!(count(&transcript, "client "), 1_000);
    Ok(())
}

/// tokio's multi-thread runtime with `spawn_blocking` and `block_in_place`.
#[chaos_test(cases = 8)]
async fn blocking_work_ends_in_some_order(cx: Chaos) -> Result<()> {
    let server = start(&cx, blocking::server_main, tcp(7103)).await?;
    let transcript = in_rough_weather(&cx, &server, async || blocking::client("server:7103").await).await?;
    assert_eq!(count(&transcript, "client 3: pieces ["), 5);
    Ok(())
}

/// std threads, channels, mutexes, condition variables and a barrier over `std::net`.
#[chaos_test(cases = 8)]
async fn threads_serve_and_are_counted(cx: Chaos) -> Result<()> {
    let server = start(&cx, threads::server_main, tcp(7104)).await?;
    let transcript = in_rough_weather(&cx, &server, async || threads_client("server:7104").await).await?;
    assert_eq!(count(&transcript, "request "), 40);
    Ok(())
}

/// UDP on tokio and on std.
#[chaos_test(cases = 8)]
async fn udp_echoes_answer(cx: Chaos) -> Result<()> {
    // Nobody can tell from outside whether a UDP socket is bound; the client sends again what got no answer.
    let server = start(&cx, udp::server_main, probe("nothing", async |_| true)).await?;
    let client = async || udp::client("server:7105", "server:7106").await;
    let transcript = in_rough_weather(&cx, &server, client).await?;
    assert_eq!((count(&transcript, "tokio "), count(&transcript, "std ")), (10, 10));
    Ok(())
}

/// Unix stream and datagram sockets on tokio and on std, in the abstract namespace.
#[chaos_test(cases = 8)]
async fn unix_sockets_of_all_kinds_work(cx: Chaos) -> Result<()> {
    let server = start(&cx, unix::server_main, tcp(7107)).await?;
    let transcript = in_rough_weather(&cx, &server, async || unix::client("server:7107").await).await?;
    for (kind, lines) in [
        ("tokio abstract stream: ONE ", 3),
        ("tokio stream pair: 1048576 bytes", 1),
        ("tokio datagram pair: [3, 3, 5] bytes", 1),
        ("tokio abstract datagram: ONE, TWO, THREE", 1),
        ("std abstract stream: ONE ", 2),
        ("std stream pair: onetwothree", 1),
        ("std abstract datagram: ONE, TWO, THREE", 1),
    ] {
        assert_eq!(count(&transcript, kind), lines, "{kind:?}");
    }
    Ok(())
}

/// The client on a thread of its own, for it blocks.
async fn threads_client(address: &'static str) -> Result<String> {
    tokio::task::spawn_blocking(move || threads::client(address)).await?
}

async fn start(cx: &Chaos, main: fn() -> Result<()>, ready: Probe) -> Result<Host> {
    Ok(cx.host("server").main(main).ready(ready).start().await?)
}

/// Runs a client on a host of its own while the network delays, reorders and loses, and prints its transcript.
async fn in_rough_weather<F>(cx: &Chaos, server: &Host, client: F) -> Result<String>
where
    F: AsyncFnOnce() -> Result<String> + Send + 'static,
{
    let transcript = cx
        .storm(async || {
            let client = cx.client("client").run(client);
            if !cx.is_calm() {
                cx.slow("client", server, "1ms", "5ms").keep();
                cx.lossy("client", server, 0.02).keep();
            }
            client.await
        })
        .await
        .context("the client failed")?;
    println!("{transcript}");
    Ok(transcript)
}

/// How many lines of `transcript` begin with `start`.
fn count(transcript: &str, start: &str) -> usize {
    transcript.lines().filter(|line| line.starts_with(start)).count()
}
