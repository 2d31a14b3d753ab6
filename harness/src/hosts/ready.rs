//! When a host is ready: probes that the test's own host makes.

use super::Host;
use crate::world::Waiting;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use windtunnel_sim::world::HostState as SimState;

/// How long one attempt may take: a connection into a partition would otherwise use up the whole time.
const ATTEMPT_MAX: Duration = Duration::from_secs(1);
/// First and longest pause between attempts. Virtual time is free, but each attempt is work.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);

type Attempt<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// A way to find out whether a host is ready.
#[derive(Clone)]
pub struct Probe {
    what: String,
    attempt: Arc<dyn for<'a> Fn(&'a Host) -> Attempt<'a> + Send + Sync>,
}

/// Ready when `GET path` on this port answers with a status from 200 to 299.
///
/// ```
/// let healthy = windtunnel::http(8080, "/healthz");
/// ```
pub fn http(port: u16, path: &str) -> Probe {
    let path = path.to_owned();
    Probe {
        what: format!("http on port {port}, {path}"),
        attempt: Arc::new(move |host| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {}:{port}\r\nConnection: close\r\n\r\n", host.name());
            Box::pin(async move {
                let mut stream = connect(host, port).await?;
                let failed = |error: std::io::Error| format!("failed to ask: {error}");
                stream.write_all(request.as_bytes()).await.map_err(failed)?;
                let mut answer = Vec::new();
                // The status line is enough, and `Connection: close` need not be honoured.
                while !answer.contains(&b'\n') && stream.read_buf(&mut answer).await.map_err(failed)? > 0 {}
                status(&answer)
            })
        }),
    }
}

/// The verdict on a status line (RFC 9112, section 4).
fn status(answer: &[u8]) -> Result<(), String> {
    let line =
        String::from_utf8_lossy(answer.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default());
    let mut parts = line.split(' ');
    let is_http = parts.next().is_some_and(|version| version.starts_with("HTTP/"));
    match parts.next().and_then(|code| code.parse::<u16>().ok()) {
        Some(200..=299) if is_http => Ok(()),
        Some(_) if is_http => Err(format!("answered `{line}`")),
        _ => Err(format!("answered `{line}`, which is not HTTP")),
    }
}

/// Ready when this port accepts a connection.
pub fn tcp(port: u16) -> Probe {
    Probe {
        what: format!("tcp on port {port}"),
        attempt: Arc::new(move |host| Box::pin(async move { connect(host, port).await.map(drop) })),
    }
}

/// Ready when this says so.
///
/// ```
/// use windtunnel::{Host, probe};
///
/// let elected = probe("a leader", |host: Host| async move { host.name() == "kv0" });
/// ```
pub fn probe<F>(what: &str, ready: impl Fn(Host) -> F + Send + Sync + 'static) -> Probe
where
    F: Future<Output = bool> + 'static,
{
    let ready = Arc::new(ready);
    Probe {
        what: what.to_owned(),
        attempt: Arc::new(move |host| {
            let answer = ready(host.clone());
            Box::pin(async move { if answer.await { Ok(()) } else { Err("not yet".to_owned()) } })
        }),
    }
}

async fn connect(host: &Host, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host.ip(), port)).await.map_err(|error| format!("failed to connect: {error}"))
}

/// A host did not become ready.
#[derive(Debug, Error)]
pub enum NotReady {
    /// Its program ended.
    #[error("{host} ended before it was ready ({what}): {exit}")]
    Ended {
        /// The host.
        host: String,
        /// The probe.
        what: String,
        /// How it ended.
        exit: String,
    },
    /// It takes too long.
    #[error("{host} was not ready ({what}) within {within:?}: {last}")]
    Late {
        /// The host.
        host: String,
        /// The probe.
        what: String,
        /// What was allowed.
        within: Duration,
        /// What came of the last attempt.
        last: String,
    },
}

impl Probe {
    /// Waits until the host is ready.
    pub(super) async fn wait(&self, host: &Host, within: Duration) -> Result<(), NotReady> {
        let _waiting = Waiting::begin(format!("{} to be ready ({})", host.name(), self.what));
        let deadline = Instant::now() + within;
        let mut pause = PAUSE_MIN;
        let mut last = "no attempt came back".to_owned();
        let attempts = async {
            loop {
                last = match timeout(ATTEMPT_MAX, (self.attempt)(host)).await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(reason)) => reason,
                    Err(_elapsed) => format!("no answer within {ATTEMPT_MAX:?}"),
                };
                if let (SimState::Down(exit), true) = (host.sim_state(), host.ends_for_good()) {
                    let exit = super::host::exit_text(exit);
                    return Err(NotReady::Ended { host: host.name().to_owned(), what: self.what.clone(), exit });
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        };
        match timeout_at(deadline, attempts).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                Err(NotReady::Late { host: host.name().to_owned(), what: self.what.clone(), within, last })
            }
        }
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Probe").field(&self.what).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_successful_status_is_ready() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n"), Ok(()));
        assert_eq!(status(b"HTTP/1.1 204\r\n"), Ok(()));
        assert_eq!(
            status(b"HTTP/1.1 503 Service Unavailable\r\n"),
            Err("answered `HTTP/1.1 503 Service Unavailable`".into())
        );
        assert_eq!(status(b"+PONG\r\n"), Err("answered `+PONG`, which is not HTTP".into()));
        assert_eq!(status(b""), Err("answered ``, which is not HTTP".into()));
    }
}
