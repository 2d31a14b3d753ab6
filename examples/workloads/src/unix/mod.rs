//! Unix sockets, which never leave their host: the service talks to itself over each kind of them,
//! and returns what it saw to whoever connects.
//!
//! `--listen` (default `0.0.0.0:7107`; TCP), `--dir` (default: none; where to put sockets in the
//! file system besides the abstract ones).

mod in_std;
mod in_tokio;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

use crate::args;
use crate::dial;
use crate::fingerprint::fingerprint;

/// What each client of an echo sends, line by line.
const LINES: [&str; 3] = ["one", "two", "three"];

/// Serves until it is killed.
///
/// # Errors
///
/// When it cannot listen or accept.
#[tokio::main]
pub async fn server_main() -> anyhow::Result<()> {
    let began = Instant::now();
    let dir = args::value_of("--dir", "")?;
    let listener = TcpListener::bind(args::value_of("--listen", "0.0.0.0:7107")?).await?;
    for visit in 0_u32.. {
        let (mut stream, _client) = listener.accept().await?;
        let dir = Some(PathBuf::from(&dir)).filter(|dir| !dir.as_os_str().is_empty());
        let names = Names { prefix: format!("workloads-{}-{visit}", std::process::id()), dir };
        let report = match exchange(names, began).await {
            Ok(transcript) => transcript,
            Err(error) => format!("failed: {error:?}"),
        };
        stream.write_all(report.as_bytes()).await?;
    }
    Ok(())
}

/// Names for sockets that nobody else uses.
#[derive(Clone)]
struct Names {
    prefix: String,
    dir: Option<PathBuf>,
}

impl Names {
    /// A name in the abstract namespace, without the zero byte that starts it there.
    fn abstract_name(&self, purpose: &str) -> String {
        format!("{}-{purpose}", self.prefix)
    }

    /// A name in the file system, when there is a directory for it.
    fn path(&self, purpose: &str) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join(format!("{}-{purpose}.sock", self.prefix)))
    }
}

async fn exchange(names: Names, began: Instant) -> anyhow::Result<String> {
    let mut transcript = in_tokio::exchange(&names).await.context("in tokio")?;
    transcript.extend(spawn_blocking(move || in_std::exchange(&names)).await?.context("in std")?);
    transcript.push(format!("server: {}", fingerprint(began).await));
    Ok(transcript.join("\n"))
}

/// Has the server talk to itself and returns what it saw.
///
/// # Errors
///
/// When the server is not reached, or something failed there.
pub async fn client(address: &str) -> anyhow::Result<String> {
    let began = Instant::now();
    let mut report = String::new();
    let mut stream = dial::tcp(address).await.context("failed to reach the server")?;
    stream.read_to_string(&mut report).await?;
    ensure!(!report.starts_with("failed"), "{report}");
    Ok(format!("{report}\nclient: {}", fingerprint(began).await))
}
