//! tokio's multi-thread runtime, with work on its blocking threads: a server that answers each line
//! with the order in which the pieces of its work ended.
//!
//! `--listen` (default `0.0.0.0:7103`).

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, block_in_place, spawn_blocking};

use crate::args;
use crate::dial;
use crate::fingerprint::fingerprint;

/// How many pieces a request's work has, each on a thread of its own.
const PIECES: u64 = 8;

const CLIENTS: u64 = 4;
const REQUESTS: u64 = 5;

/// Serves until it is killed.
///
/// # Errors
///
/// When it cannot listen or accept.
#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
pub async fn server_main() -> anyhow::Result<()> {
    let began = Instant::now();
    let listener = TcpListener::bind(args::value_of("--listen", "0.0.0.0:7103")?).await?;
    loop {
        let (stream, _client) = listener.accept().await?;
        tokio::spawn(serve(stream, began));
    }
}

async fn serve(stream: TcpStream, began: Instant) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let ended = work(line.parse()?).await?;
        let sum = block_in_place(|| hash_of(&ended));
        let answer = format!("pieces {ended:?}, sum {sum:016x}, server: {}\n", fingerprint(began).await);
        writer.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// Runs the pieces on blocking threads and returns their numbers in the order in which they ended.
async fn work(request: u64) -> anyhow::Result<Vec<u64>> {
    let (ended, mut order) = mpsc::unbounded_channel();
    let mut pieces = JoinSet::new();
    for piece in 0..PIECES {
        let ended = ended.clone();
        pieces.spawn(async move {
            spawn_blocking(move || {
                // All sleep for one of four times: which of those that sleep equally long ends
                // first is the scheduler's choice.
                std::thread::sleep(Duration::from_micros(100 * (hash_of(&(request, piece)) % 4)));
                ended.send(piece)
            })
            .await
        });
    }
    drop(ended);
    let mut numbers = Vec::new();
    while let Some(piece) = order.recv().await {
        numbers.push(piece);
    }
    while let Some(piece) = pieces.join_next().await {
        piece???;
    }
    Ok(numbers)
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Several clients at once, each with several requests, one after the other.
///
/// # Errors
///
/// When the server fails a request.
pub async fn client(address: &str) -> anyhow::Result<String> {
    let began = Instant::now();
    let mut clients: JoinSet<_> = (0..CLIENTS).map(|id| ask(address.to_owned(), id)).collect();
    let mut transcript = Vec::new();
    while let Some(lines) = clients.join_next().await {
        transcript.extend(lines??);
    }
    transcript.push(format!("client: {}", fingerprint(began).await));
    Ok(transcript.join("\n"))
}

async fn ask(address: String, id: u64) -> anyhow::Result<Vec<String>> {
    let stream = dial::tcp(&address).await.context("failed to reach the server")?;
    let (reader, mut writer) = stream.into_split();
    let mut answers = BufReader::new(reader).lines();
    let mut lines = Vec::new();
    for request in 0..REQUESTS {
        writer.write_all(format!("{}\n", id * REQUESTS + request).as_bytes()).await?;
        let answer = answers.next_line().await?.context("the server closed the connection")?;
        lines.push(format!("client {id}: {answer}"));
    }
    Ok(lines)
}
