//! A frontend that asks a backend over a connection it keeps, and makes another when answers do not come.
//!
//! # The bug: a descriptor leaks with each reconnect
//!
//! Answers are read by a task of the connection's own. With `--abandoned reading` that task is left alone when the
//! connection is given up after a timeout: it goes on waiting, and keeps the socket open. The backend, which waits for
//! the next question, has no reason to close it. After enough bad days `accept` fails with `EMFILE`.
//!
//! hyper's pool lost a connection in this way whenever the server had closed an idle one
//! ([hyper #1389](https://github.com/hyperium/hyper/issues/1389)); clients of actix ran out of descriptors overnight
//! ([actix-web #608](https://github.com/actix/actix-web/issues/608)); and that the task of a multiplexed connection
//! outlives the connection is what [redis-rs #1236](https://github.com/redis-rs/redis-rs/issues/1236) asks about.
//!
//! # The remedy
//!
//! `--abandoned closed`: the task ends with the connection whose answers it reads. That alone is not enough: who closes
//! a socket with something unread in it sends a reset, once (RFC 2525, §2.17; `tcp_close` in net/ipv4/tcp.c), and a
//! backend that has not heard of it waits for the next question for ever. So it asks now and then whether anybody is
//! there (tcp(7), `TCP_KEEPIDLE`).

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use clap::{Parser, ValueEnum};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{PORT, serve};

/// How long a connection is idle before the backend asks whether it still is one.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// How long a question may take, the connection included.
const ANSWER_MAX: Duration = Duration::from_millis(500);

#[derive(Debug, Parser)]
struct Args {
    /// Whom it asks.
    #[arg(long)]
    backend: String,

    /// What becomes of a connection that is given up.
    #[arg(long, value_enum, default_value_t = Abandoned::Closed)]
    abandoned: Abandoned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Abandoned {
    /// Its task goes on reading.
    Reading,
    /// It is closed.
    Closed,
}

/// A connection that one question at a time is asked over.
struct Connection {
    /// Shared with the reader. Dropping the writing one of tokio's halves would shut the connection down, so that the
    /// leak would last only as long as the backend does not hear of it.
    stream: Arc<TcpStream>,
    answers: mpsc::UnboundedReceiver<String>,
    reader: JoinHandle<()>,
    abandoned: Abandoned,
}

impl Connection {
    async fn open(args: &Args) -> anyhow::Result<Self> {
        let stream = Arc::new(TcpStream::connect((args.backend.as_str(), PORT)).await?);
        let (sender, answers) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read_answers(stream.clone(), sender));
        Ok(Self { stream, answers, reader, abandoned: args.abandoned })
    }

    async fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        let line = format!("{question}\n");
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.answers.recv().await.context("the connection ended")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.abandoned == Abandoned::Closed {
            self.reader.abort();
        }
    }
}

async fn read_answers(stream: Arc<TcpStream>, answers: mpsc::UnboundedSender<String>) {
    let (mut line, mut buffer) = (Vec::new(), [0; 1024]);
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => line.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_broken) => return,
        }
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let answer = String::from_utf8_lossy(&line[..end]).into_owned();
            line.drain(..=end);
            // Nobody listens when the connection was given up.
            drop(answers.send(answer));
        }
    }
}

struct Frontend {
    args: Args,
    /// A connection over which nothing is being asked.
    idle: Mutex<Option<Connection>>,
}

/// Serves until it is killed: `GET /ask`.
///
/// # Errors
///
/// When it cannot listen, or serving fails.
#[tokio::main]
pub async fn frontend_main() -> anyhow::Result<()> {
    let frontend = Arc::new(Frontend { args: Args::parse(), idle: Mutex::default() });
    serve(Router::new().route("/ask", get(ask)).with_state(frontend)).await
}

/// Answers each line with the same line until it is killed.
///
/// # Errors
///
/// When it cannot listen.
#[tokio::main]
pub async fn backend_main() -> anyhow::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await.context("failed to listen")?;
    loop {
        let (stream, _from) = listener.accept().await?;
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(IDLE_MAX))?;
        tokio::spawn(echo(stream));
    }
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        writer.write_all(format!("{line}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn ask(State(frontend): State<Arc<Frontend>>) -> Result<String, StatusCode> {
    let answer = timeout(ANSWER_MAX, frontend.ask("how are you")).await;
    answer.ok().and_then(Result::ok).ok_or(StatusCode::GATEWAY_TIMEOUT)
}

impl Frontend {
    /// Asks over the idle connection, or a new one. When no answer comes, the connection is given up.
    async fn ask(&self, question: &str) -> anyhow::Result<String> {
        let idle = self.idle.lock().expect("nobody panics with it").take();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(&self.args).await?,
        };
        let answer = connection.ask(question).await?;
        *self.idle.lock().expect("nobody panics with it") = Some(connection);
        Ok(answer)
    }
}
