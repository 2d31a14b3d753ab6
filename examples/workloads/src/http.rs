//! hyper, without anything on top: a server on one thread and as many connections at once as asked
//! for.
//!
//! `--listen` (default `0.0.0.0:7102`).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::args;
use crate::dial;
use crate::fingerprint::fingerprint;

/// Serves until it is killed.
///
/// # Errors
///
/// When it cannot listen or accept.
#[tokio::main(flavor = "current_thread")]
pub async fn server_main() -> anyhow::Result<()> {
    let began = Instant::now();
    let listener = TcpListener::bind(args::value_of("--listen", "0.0.0.0:7102")?).await?;
    let open = Arc::new(AtomicUsize::new(0));
    for number in 0_usize.. {
        let (stream, _client) = listener.accept().await?;
        tokio::spawn(serve(stream, number, began, open.clone()));
    }
    Ok(())
}

async fn serve(stream: TcpStream, number: usize, began: Instant, open: Arc<AtomicUsize>) {
    open.fetch_add(1, Ordering::SeqCst);
    let answer = |request: Request<Incoming>| {
        let open = open.load(Ordering::SeqCst);
        async move {
            let text = match request.uri().path() {
                "/fingerprint" => fingerprint(began).await,
                _ => format!("connection {number} of {open}"),
            };
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
        }
    };
    // How a connection ends is the client's business; nobody here could act on it.
    let _ = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
    open.fetch_sub(1, Ordering::SeqCst);
}

/// Opens `connections`, and when all are open sends two requests on each.
///
/// # Errors
///
/// When a request fails, or the server did not see all connections open at once.
pub async fn client(address: &str, connections: usize) -> anyhow::Result<String> {
    let began = Instant::now();
    let all_open = Arc::new(Barrier::new(connections));
    let mut calls = JoinSet::new();
    for id in 0..connections {
        calls.spawn(call_twice(address.to_owned(), id, all_open.clone()));
    }
    let mut transcript = Vec::new();
    while let Some(ended) = calls.join_next().await {
        transcript.push(ended??);
    }
    let all = format!(" of {connections}");
    ensure!(transcript.iter().all(|line| line.ends_with(&all)), "not all were open at once: {transcript:?}");

    let mut asking = Connection::open(address).await?;
    transcript.push(format!("server: {}", asking.get("/fingerprint").await?));
    transcript.push(format!("client: {}", fingerprint(began).await));
    Ok(transcript.join("\n"))
}

async fn call_twice(address: String, id: usize, all_open: Arc<Barrier>) -> anyhow::Result<String> {
    let mut connection = Connection::open(&address).await?;
    connection.get("/").await?;
    all_open.wait().await;
    let answer = connection.get("/").await?;
    // Nobody may close before all have been counted.
    all_open.wait().await;
    Ok(format!("client {id}: {answer}"))
}

struct Connection {
    sender: client::conn::http1::SendRequest<Empty<Bytes>>,
    host: String,
}

impl Connection {
    async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = dial::tcp(address).await.context("failed to reach the server")?;
        let (sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: address.to_owned() })
    }

    async fn get(&mut self, path: &str) -> anyhow::Result<String> {
        let request = Request::get(path).header("host", &self.host).body(Empty::new())?;
        let response = self.sender.send_request(request).await?;
        ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().into())?)
    }
}
