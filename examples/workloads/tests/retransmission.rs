//! What is lost is sent again when Linux would send it again: the same on both kernels.
//!
//! A client sends a byte into a partition. It cannot see its kernel's retransmissions, but it sees when the answer
//! comes: with the first of them that is sent after the partition has healed. They leave after one retransmission
//! timeout (the tail loss probe, RFC 8985 §7), two (the first that counts, so the timeout doubles from here), four,
//! eight, and so on; after one, three and seven if there is no probe, because the last one has only just been needed.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use windtunnel::{Chaos, chaos_test, tcp};

const PORT: u16 = 7200;
/// Of a link whose round trips are short: Linux's shortest (`TCP_RTO_MIN`).
const TIMEOUT_S: f64 = 0.2;
/// How far the timeouts of a busy machine may be off, and not be taken for those of another retransmission.
const OFF: std::ops::Range<f64> = 0.8..1.45;

/// Answers every byte, for any number of clients; [`HEARD`] by how often it heard that byte from anybody, and [`IDLE`]
/// by not reading any more.
fn echo() -> std::io::Result<()> {
    static HEARD_BYTES: AtomicU8 = AtomicU8::new(0);
    let listener = TcpListener::bind(("0.0.0.0", PORT))?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        thread::spawn(move || {
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                match byte {
                    [HEARD] => byte = [HEARD_BYTES.fetch_add(1, Relaxed) + 1],
                    [IDLE] => thread::sleep(Duration::from_secs(3600)),
                    _ => {}
                }
                if stream.write_all(&byte).is_err() {
                    break;
                }
            }
        });
    }
    Ok(())
}

const HEARD: u8 = b'h';
const IDLE: u8 = b'i';

/// A connection over which some bytes went already, so that both kernels know how long that takes.
fn connect(name: &str, user_timeout: Option<Duration>) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect((name, PORT))?;
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(user_timeout)?;
    for _ in 0..5 {
        ask(&mut stream)?;
    }
    Ok(stream)
}

/// Sends a byte and waits for it to come back. Answers how many seconds that took.
fn ask(stream: &mut TcpStream) -> std::io::Result<f64> {
    let asked = Instant::now();
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0])?;
    Ok(asked.elapsed().as_secs_f64())
}

/// Waits until so long after something began.
fn wait_until(began: Instant, after_ms: u64) {
    thread::sleep(Duration::from_millis(after_ms).saturating_sub(began.elapsed()));
}

/// Starts the server, and has a thread of the client's own do something with it in the storm.
async fn in_a_storm<T: Send + 'static>(
    cx: &Chaos,
    client: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    cx.host("server").main(echo).ready(tcp(PORT)).start().await?;
    cx.storm(async || tokio::task::spawn_blocking(client).await).await?.context("the client fails")
}

/// Asks at these times, in milliseconds. Answers how many seconds each answer took, in turn.
async fn answers(cx: &Chaos, asked_at_ms: &'static [u64]) -> Result<Vec<f64>> {
    let client = move || {
        let began = Instant::now();
        let mut stream = connect("server", None)?;
        let asked = asked_at_ms.iter().map(|at| {
            wait_until(began, *at);
            ask(&mut stream)
        });
        asked.collect()
    };
    let answers = in_a_storm(cx, client).await?;
    println!("answered after {answers:.3?} s");
    Ok(answers)
}

/// Whether an answer came with a retransmission that leaves after so many timeouts.
fn came_with(answered_s: f64, timeouts: f64) -> Result<()> {
    let off = answered_s / (timeouts * TIMEOUT_S);
    ensure!(OFF.contains(&off), "answered after {answered_s:.3} s, which is not {timeouts} timeouts of {TIMEOUT_S} s");
    Ok(())
}

#[chaos_test(
    world = [sim, real],
    cases = 1,
    plan = "500ms partition test->server for 100ms
            1s partition test->server for 300ms
            2s partition test->server for 500ms
            4s partition test->server for 1s
            7s partition test->server for 2s"
)]
async fn a_stream_goes_on_with_the_first_retransmission_after_a_partition(cx: Chaos) -> Result<()> {
    let answers = answers(&cx, &[550, 1050, 2050, 4050, 7050]).await?;
    if !cx.is_calm() {
        for (answered, timeouts) in answers.into_iter().zip([1.0, 3.0, 4.0, 8.0, 16.0]) {
            came_with(answered, timeouts)?;
        }
    }
    Ok(())
}

/// A timeout comes of the round trips that were measured, not of those that there will be.
#[chaos_test(
    world = [sim, real],
    cases = 2,
    plan = "500ms partition test->server for 2500ms
            600ms latency test<->server 5s for 2400ms"
)]
async fn a_delay_that_no_answer_has_shown_does_not_stretch_the_timeout(cx: Chaos) -> Result<()> {
    let answers = answers(&cx, &[550]).await?;
    if !cx.is_calm() {
        came_with(answers[0], 16.0)?;
    }
    Ok(())
}

/// The `TCP_USER_TIMEOUT` of those connections that have one.
const USER_TIMEOUT: Duration = Duration::from_millis(1500);

/// Whether what did not get through ended when `TCP_USER_TIMEOUT` says, which counts from the first retransmission that
/// counts, or from the first window probe.
fn ended_in_time(what: &str, ended_s: f64, first_try_s: f64) -> Result<()> {
    println!("what is {what} ends after {ended_s:.3} s");
    let expected = first_try_s + USER_TIMEOUT.as_secs_f64();
    ensure!(OFF.contains(&(ended_s / expected)), "what is {what} ended after {ended_s:.3} s, not {expected} s");
    Ok(())
}

/// An answer that is only late is as bad as none.
#[chaos_test(
    world = [sim, real],
    cases = 2,
    plan = "500ms partition test->server for 10s
            500ms latency test<->late 10s for 10s"
)]
async fn a_user_timeout_ends_what_is_lost_and_what_is_late(cx: Chaos) -> Result<()> {
    for name in ["server", "late"] {
        cx.host(name).main(echo).ready(tcp(PORT)).start().await?;
    }
    let run = |name: &'static str| {
        move || -> std::io::Result<Option<f64>> {
            let began = Instant::now();
            let mut stream = connect(name, Some(USER_TIMEOUT))?;
            wait_until(began, 600);
            let asked = Instant::now();
            match ask(&mut stream) {
                Ok(_) => Ok(None),
                Err(error) if error.kind() == ErrorKind::TimedOut => Ok(Some(asked.elapsed().as_secs_f64())),
                Err(error) => Err(error),
            }
        }
    };
    let storm =
        async || tokio::try_join!(tokio::task::spawn_blocking(run("server")), tokio::task::spawn_blocking(run("late")));
    let (lost, late) = cx.storm(storm).await?;
    for (what, ended) in [("lost", lost?), ("late", late?)] {
        match ended {
            Some(ended) => ended_in_time(what, ended, 2.0 * TIMEOUT_S)?,
            None => ensure!(cx.is_calm(), "what is {what} was answered"),
        }
    }
    Ok(())
}

/// A reader that answers window probes and never reads is as bad as none, too.
#[chaos_test(world = [sim, real], cases = 2)]
async fn a_user_timeout_ends_what_nobody_reads(cx: Chaos) -> Result<()> {
    let client = || {
        let mut stream = connect("server", Some(USER_TIMEOUT))?;
        stream.write_all(&[IDLE])?;
        let (mut longest, mut tried) = (Duration::ZERO, Instant::now());
        loop {
            // A write that has taken some of it waits, too, and leaves the error to the next one.
            let written = stream.write(&[0; 10_000]);
            longest = longest.max(tried.elapsed());
            tried = Instant::now();
            if let Err(error) = written {
                return Ok((error.kind(), longest.as_secs_f64()));
            }
        }
    };
    let (error, ended) = in_a_storm(&cx, client).await?;
    ensure!(error == ErrorKind::TimedOut, "it ends with {error}");
    ended_in_time("not read", ended, TIMEOUT_S)
}

/// A program that has closed its socket does not hear of the end, but its kernel ends it all the same.
#[chaos_test(world = [sim, real], cases = 1, plan = "500ms partition test->server for 2500ms")]
async fn a_closed_socket_keeps_its_user_timeout(cx: Chaos) -> Result<()> {
    let client = || {
        let began = Instant::now();
        let mut asks = connect("server", None)?;
        let mut patient = connect("server", None)?;
        let mut impatient = connect("server", Some(USER_TIMEOUT))?;
        wait_until(began, 600);
        patient.write_all(&[HEARD])?;
        impatient.write_all(&[HEARD])?;
        drop((patient, impatient));
        thread::sleep(Duration::from_millis(6000));
        let mut heard = [HEARD];
        asks.write_all(&heard)?;
        asks.read_exact(&mut heard)?;
        Ok(heard[0] - 1)
    };
    let heard = in_a_storm(&cx, client).await?;
    let expected = if cx.is_calm() { 2 } else { 1 };
    ensure!(heard == expected, "{heard} of two messages were heard, not {expected}");
    Ok(())
}

/// With `SO_LINGER`, closing waits until what was written has arrived, or for as long as it was told to.
#[chaos_test(world = [sim, real], cases = 1, plan = "500ms partition test->server for 1500ms")]
async fn closing_lingers_over_what_has_not_arrived(cx: Chaos) -> Result<()> {
    cx.host("server").main(echo).ready(tcp(PORT)).start().await?;
    let close = |linger_s: u64| {
        move || -> std::io::Result<f64> {
            let began = Instant::now();
            let mut stream = connect("server", None)?;
            socket2::SockRef::from(&stream).set_linger(Some(Duration::from_secs(linger_s)))?;
            wait_until(began, 600);
            stream.write_all(b"!")?;
            let closing = Instant::now();
            drop(stream);
            Ok(closing.elapsed().as_secs_f64())
        }
    };
    let storm = async || tokio::try_join!(tokio::task::spawn_blocking(close(1)), tokio::task::spawn_blocking(close(5)));
    let (briefly, long) = cx.storm(storm).await?;
    let (briefly, long) = (briefly?, long?);
    println!("closing takes {briefly:.3} s and {long:.3} s");
    if cx.is_calm() {
        ensure!(briefly < 0.5 && long < 0.5, "closing takes {briefly:.3} s and {long:.3} s in the calm");
        return Ok(());
    }
    ensure!(OFF.contains(&briefly), "closing takes {briefly:.3} s, not the second that it was given");
    came_with(long, 8.0)
}
