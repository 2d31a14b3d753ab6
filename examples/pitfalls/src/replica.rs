//! A register with read replicas: writes go to the primary, and each replica fetches what is new.
//!
//! # The bug: a stale read after the heal
//!
//! With `--reads local` a replica answers with what it has. While it cannot reach the primary it tries less and less
//! often, so that for a while after a partition has healed it does not even know that it missed something: whoever is
//! told that a write has succeeded, and then reads from this replica, reads the past.
//!
//! etcd served reads from whichever node was asked, without asking the others, and called that consistent
//! ([etcd #741](https://github.com/etcd-io/etcd/issues/741)); Consul's leader did not make sure that it still was one
//! ([Consul #54](https://github.com/hashicorp/consul/issues/54)); both in
//! [Kingsbury 2014](https://aphyr.com/posts/316-jepsen-etcd-and-consul).
//!
//! # The remedy
//!
//! `--reads confirmed`: before it answers, a replica learns from the primary what is newest, and refuses when it
//! cannot. This is Raft's read index, asked for by a follower (Ongaro, "Consensus: bridging theory and practice", 2014,
//! §6.4), and what etcd's quorum reads do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{PORT, http_client, serve};

/// How often a replica asks for what is new.
const FETCH_EVERY: Duration = Duration::from_millis(50);
/// The longest pause after failures, each of which doubles it.
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// How long a replica waits for the primary.
const ANSWER_MAX: Duration = Duration::from_millis(300);

#[derive(Debug, Parser)]
struct Args {
    /// Whom this replica follows. The primary follows nobody.
    #[arg(long)]
    primary: Option<String>,

    /// What a replica does before it answers.
    #[arg(long, value_enum, default_value_t = Reads::Confirmed)]
    reads: Reads,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reads {
    /// Nothing: it answers with what it has.
    Local,
    /// It asks the primary what is newest.
    Confirmed,
}

/// What is in the register. Each write has the next version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// How many writes it has seen.
    pub version: u64,
    /// The last one's.
    pub value: String,
}

struct Node {
    args: Args,
    http: reqwest::Client,
    register: Mutex<Register>,
}

/// Serves until it is killed: `GET /register`, and on the primary `PUT /register`.
///
/// # Errors
///
/// When it cannot listen, or serving fails.
#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let node = Arc::new(Node { args: Args::parse(), http: http_client(ANSWER_MAX)?, register: Mutex::default() });
    if node.args.primary.is_some() {
        tokio::spawn(follow(node.clone()));
    }
    serve(Router::new().route("/register", get(read).put(write)).with_state(node)).await
}

async fn follow(node: Arc<Node>) {
    let mut pause = FETCH_EVERY;
    loop {
        // A primary that is down is not helped by more requests.
        pause = if node.fetch().await.is_ok() { FETCH_EVERY } else { (pause * 2).min(PAUSE_MAX) };
        sleep(pause).await;
    }
}

async fn read(State(node): State<Arc<Node>>) -> Result<Json<Register>, StatusCode> {
    if node.args.reads == Reads::Confirmed {
        node.fetch().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    }
    Ok(Json(node.register.lock().expect("nobody panics with it").clone()))
}

async fn write(State(node): State<Arc<Node>>, value: String) -> Result<Json<Register>, StatusCode> {
    if node.args.primary.is_some() {
        return Err(StatusCode::MISDIRECTED_REQUEST);
    }
    let mut register = node.register.lock().expect("nobody panics with it");
    *register = Register { version: register.version + 1, value };
    Ok(Json(register.clone()))
}

impl Node {
    /// Takes over what the primary has.
    async fn fetch(&self) -> anyhow::Result<()> {
        let Some(primary) = &self.args.primary else { return Ok(()) };
        let answer = self.http.get(format!("http://{primary}:{PORT}/register")).send().await?.error_for_status()?;
        let newest = answer.json::<Register>().await.context("the primary was cut short")?;
        let mut register = self.register.lock().expect("nobody panics with it");
        // Two answers may overtake each other.
        if newest.version > register.version {
            *register = newest;
        }
        Ok(())
    }
}
