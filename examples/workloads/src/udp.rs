//! UDP: an echo on tokio and one on a std thread, and clients that send again what got no answer.
//!
//! `--listen` (default `0.0.0.0:7105`; tokio), `--std-listen` (default `0.0.0.0:7106`).

use std::io::{self, ErrorKind};
use std::net::UdpSocket as StdUdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::net::UdpSocket;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::args;
use crate::fingerprint::{fingerprint, fingerprint_blocking};
use crate::interrupted::uninterrupted;

/// What a UDP datagram can carry at most over IPv4: 65,535 less 20 bytes of IP and 8 of UDP header.
const DATAGRAM_MAX: usize = 65_507;

/// How long a client waits for an answer before it sends again.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);

const ATTEMPTS_MAX: usize = 50;
const REQUESTS: usize = 10;

/// A datagram that a link with the usual MTU of 1,500 bytes must send in fragments.
const LONG_BYTES: usize = 8_000;

/// Serves until it is killed.
///
/// # Errors
///
/// When it cannot listen, or receiving fails.
#[tokio::main]
pub async fn server_main() -> anyhow::Result<()> {
    let began = Instant::now();
    let std_socket = StdUdpSocket::bind(args::value_of("--std-listen", "0.0.0.0:7106")?)?;
    thread::spawn(move || serve_std(&std_socket, began));

    let socket = UdpSocket::bind(args::value_of("--listen", "0.0.0.0:7105")?).await?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    for received in 1.. {
        let (length, client) = socket.recv_from(&mut buffer).await?;
        let tail = fingerprint(began).await;
        socket.send_to(&answer(&buffer[..length], received, &tail), client).await?;
    }
    Ok(())
}

fn serve_std(socket: &StdUdpSocket, began: Instant) -> io::Result<()> {
    let mut buffer = vec![0; DATAGRAM_MAX];
    for received in 1.. {
        let (length, client) = uninterrupted(|| socket.recv_from(&mut buffer))?;
        let answer = answer(&buffer[..length], received, &fingerprint_blocking(began));
        uninterrupted(|| socket.send_to(&answer, client))?;
    }
    Ok(())
}

/// The request, so that the client knows what is answered, and what the server adds.
fn answer(request: &[u8], received: u64, tail: &str) -> Vec<u8> {
    [request, format!("|datagram {received}, server: {tail}").as_bytes()].concat()
}

/// Calls both echoes, several times.
///
/// # Errors
///
/// When a request has no answer after many attempts.
pub async fn client(tokio_address: &str, std_address: &str) -> anyhow::Result<String> {
    let began = Instant::now();
    let mut transcript = ask_in_tokio(tokio_address).await?;
    let std_address = std_address.to_owned();
    transcript.extend(spawn_blocking(move || ask_in_std(&std_address)).await??);
    transcript.push(format!("client: {}", fingerprint(began).await));
    Ok(transcript.join("\n"))
}

/// The last request is long, the others are short.
fn requests(kind: &str) -> impl Iterator<Item = String> {
    let name = move |number| match number {
        REQUESTS => format!("{kind} long {}", "x".repeat(LONG_BYTES)),
        _ => format!("{kind} {number}"),
    };
    (1..=REQUESTS).map(name)
}

/// Over one connected socket.
async fn ask_in_tokio(address: &str) -> anyhow::Result<Vec<String>> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(address).await?;
    let mut lines = Vec::new();
    for request in requests("tokio") {
        lines.push(ask_once_in_tokio(&socket, &request).await?);
    }
    Ok(lines)
}

async fn ask_once_in_tokio(socket: &UdpSocket, request: &str) -> anyhow::Result<String> {
    let mut buffer = vec![0; DATAGRAM_MAX];
    for attempt in 1..=ATTEMPTS_MAX {
        // A refusal of an earlier datagram (ICMP port unreachable) is reported by whichever call
        // comes next.
        let received = match socket.send(request.as_bytes()).await {
            Ok(_) => timeout(ANSWER_WITHIN, answer_in_tokio(socket, request, &mut buffer)).await,
            Err(refused) => Ok(Err(refused)),
        };
        match received {
            Ok(Ok(answer)) => return Ok(format!("{answer}, attempt {attempt}")),
            Ok(Err(_refused)) => tokio::time::sleep(ANSWER_WITHIN).await,
            Err(_elapsed) => {}
        }
    }
    bail!("no answer to {request}")
}

/// Waits for the answer to `request`; late answers to earlier attempts of others are dropped.
async fn answer_in_tokio(socket: &UdpSocket, request: &str, buffer: &mut [u8]) -> io::Result<String> {
    loop {
        let length = socket.recv(buffer).await?;
        if let Some(answer) = answer_to(request, &buffer[..length]) {
            return Ok(answer);
        }
    }
}

/// Over a socket for each request, none of them connected.
fn ask_in_std(address: &str) -> anyhow::Result<Vec<String>> {
    requests("std").map(|request| ask_once_in_std(address, &request)).collect()
}

fn ask_once_in_std(address: &str, request: &str) -> anyhow::Result<String> {
    let socket = StdUdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    for attempt in 1..=ATTEMPTS_MAX {
        uninterrupted(|| socket.send_to(request.as_bytes(), address))?;
        match uninterrupted(|| socket.recv_from(&mut buffer)) {
            Ok((length, _server)) => {
                if let Some(answer) = answer_to(request, &buffer[..length]) {
                    return Ok(format!("{answer}, attempt {attempt}"));
                }
            }
            Err(late) if matches!(late.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("no answer to {request}")
}

/// What `datagram` says, if it answers `request`; a long request is shortened to its length.
fn answer_to(request: &str, datagram: &[u8]) -> Option<String> {
    let text = str::from_utf8(datagram).ok()?;
    let tail = text.strip_prefix(request)?.strip_prefix('|')?;
    let name = request.trim_end_matches('x');
    Some(format!("{name}({} bytes): {tail}", request.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_recognised_by_its_request() {
        let datagram = answer(b"std 1", 7, "tail");
        assert_eq!(answer_to("std 1", &datagram).as_deref(), Some("std 1(5 bytes): datagram 7, server: tail"));
        assert_eq!(answer_to("std 2", &datagram), None);
        assert_eq!(answer_to("std 1", &answer(b"std 10", 7, "tail")), None);
    }
}
