//! Numbered tickets: three nodes, the first of which that is alive hands them out. No number may be handed out twice.
//!
//! # The bug: split brain
//!
//! With `--acknowledge living` a node is primary when it hears of no node before it, and a ticket is good when all have
//! noted it that this node believes to be alive. Cut off from the others it believes that nobody is, and two primaries
//! hand out the same numbers.
//!
//! Elasticsearch elected masters like this, with `discovery.zen.minimum_master_nodes: 1` unless told otherwise
//! ([Kingsbury 2014](https://aphyr.com/posts/317-jepsen-elasticsearch); version 7.0 removed the setting). Redis
//! Sentinel promotes a replica while the old primary goes on taking writes that are thrown away later
//! ([Kingsbury 2013](https://aphyr.com/posts/283-jepsen-redis)).
//!
//! # The remedy
//!
//! `--acknowledge majority`: a primary has a majority promise to serve nobody of a lesser term, and a ticket is good
//! when a majority that has made no greater promise has noted it. Any two majorities share a node, so the next primary
//! hears of every ticket that was handed out (Lamport, "The part-time parliament", ACM TOCS 16(2), 1998).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::{PORT, http_client, serve};

/// How often a node asks the others whether they are alive.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// A node that has not answered for this long counts as dead.
const DEAD_AFTER: Duration = Duration::from_millis(700);
/// How long a node waits for another's answer.
const ANSWER_MAX: Duration = Duration::from_millis(250);

#[derive(Debug, Parser)]
struct Args {
    /// This node's place among the nodes, from 0.
    #[arg(long)]
    id: usize,

    /// All nodes, this one included, in an order that all agree on.
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<String>,

    /// Who has to have noted a ticket before it is handed out.
    #[arg(long, value_enum, default_value_t = Acknowledge::Majority)]
    acknowledge: Acknowledge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Acknowledge {
    /// The nodes that are believed to be alive: none but itself on the wrong side of a partition.
    Living,
    /// A majority, under a term that this majority has promised to obey.
    Majority,
}

/// What a node notes down.
#[derive(Debug, Default)]
struct Notes {
    /// Whoever has a lesser term is not obeyed.
    promised: u64,
    /// The greatest ticket heard of.
    ticket: u64,
}

/// What a primary asks of all nodes, itself included.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Request {
    /// To obey nobody of a lesser term, and to tell the greatest ticket.
    Promise { term: u64 },
    /// To note a ticket.
    Note { term: u64, ticket: u64 },
}

impl Notes {
    /// Answers the greatest ticket heard of, or nothing when a greater term was promised.
    fn take(&mut self, request: Request) -> Option<u64> {
        let (term, ticket) = match request {
            Request::Promise { term } => (term, 0),
            Request::Note { term, ticket } => (term, ticket),
        };
        if term < self.promised {
            return None;
        }
        self.promised = term;
        self.ticket = self.ticket.max(ticket);
        Some(self.ticket)
    }
}

struct Node {
    args: Args,
    http: reqwest::Client,
    notes: Mutex<Notes>,
    /// When each node was last heard of.
    heard: Mutex<Vec<Option<Instant>>>,
    /// The term under which this node leads; held while a ticket is handed out, so that it is one at a time.
    leads: tokio::sync::Mutex<Option<u64>>,
}

/// Serves until it is killed.
///
/// # Errors
///
/// When it cannot listen, or serving fails.
#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let heard = Mutex::new(vec![None; args.nodes.len()]);
    let node = Arc::new(Node {
        args,
        http: http_client(ANSWER_MAX)?,
        notes: Mutex::default(),
        heard,
        leads: tokio::sync::Mutex::default(),
    });
    for other in (0..node.args.nodes.len()).filter(|other| *other != node.args.id) {
        tokio::spawn(listen_for(node.clone(), other));
    }
    let router = Router::new()
        .route("/alive", get(async || StatusCode::NO_CONTENT))
        .route("/notes", post(note))
        .route("/ticket", post(hand_out));
    serve(router.with_state(node)).await
}

async fn listen_for(node: Arc<Node>, other: usize) {
    loop {
        let answer = node.http.get(format!("http://{}:{PORT}/alive", node.args.nodes[other])).send().await;
        if answer.is_ok() {
            node.heard.lock().expect("nobody panics with it")[other] = Some(Instant::now());
        }
        sleep(HEARTBEAT).await;
    }
}

async fn note(State(node): State<Arc<Node>>, Json(request): Json<Request>) -> Json<Option<u64>> {
    Json(node.notes.lock().expect("nobody panics with it").take(request))
}

/// Answers a number, `421` when this node is not primary, or `503` when it reaches no majority.
async fn hand_out(State(node): State<Arc<Node>>) -> Result<String, StatusCode> {
    if !node.is_primary() {
        return Err(StatusCode::MISDIRECTED_REQUEST);
    }
    let mut leads = node.leads.lock().await;
    let ticket = match node.args.acknowledge {
        Acknowledge::Living => Some(node.note_on_the_living().await),
        Acknowledge::Majority => node.note_on_a_majority(&mut leads).await,
    };
    Ok(ticket.ok_or(StatusCode::SERVICE_UNAVAILABLE)?.to_string())
}

impl Node {
    fn is_alive(&self, node: usize) -> bool {
        let heard = self.heard.lock().expect("nobody panics with it")[node];
        node == self.args.id || heard.is_some_and(|heard| heard.elapsed() < DEAD_AFTER)
    }

    fn is_primary(&self) -> bool {
        !(0..self.args.id).any(|before| self.is_alive(before))
    }

    async fn note_on_the_living(&self) -> u64 {
        let heard_of = self.ask(Request::Promise { term: 0 }, |node| self.is_alive(node)).await;
        let ticket = heard_of.into_iter().max().unwrap_or_default() + 1;
        self.ask(Request::Note { term: 0, ticket }, |node| self.is_alive(node)).await;
        ticket
    }

    async fn note_on_a_majority(&self, leads: &mut Option<u64>) -> Option<u64> {
        let majority = self.args.nodes.len() / 2 + 1;
        let term = match *leads {
            Some(term) => term,
            None => {
                let term = self.next_term();
                let promises = self.ask(Request::Promise { term }, |_| true).await;
                let heard_of = promises.iter().max().filter(|_| promises.len() >= majority)?;
                let mut notes = self.notes.lock().expect("nobody panics with it");
                notes.ticket = notes.ticket.max(*heard_of);
                *leads.insert(term)
            }
        };
        let ticket = self.notes.lock().expect("nobody panics with it").ticket + 1;
        let noted = self.ask(Request::Note { term, ticket }, |_| true).await;
        if noted.len() < majority {
            // Somebody else may lead by now.
            *leads = None;
            return None;
        }
        Some(ticket)
    }

    /// Greater than any that was promised here, and no other node's.
    fn next_term(&self) -> u64 {
        let (nodes, id) = (self.args.nodes.len() as u64, self.args.id as u64);
        let promised = self.notes.lock().expect("nobody panics with it").promised;
        (promised / nodes + 1) * nodes + id
    }

    /// Asks these nodes, and answers what those said who agreed.
    async fn ask(&self, request: Request, whom: impl Fn(usize) -> bool) -> Vec<u64> {
        let mut agreed = Vec::from_iter(self.notes.lock().expect("nobody panics with it").take(request));
        let mut asked = JoinSet::new();
        for other in (0..self.args.nodes.len()).filter(|other| *other != self.args.id && whom(*other)) {
            let sent = self.http.post(format!("http://{}:{PORT}/notes", self.args.nodes[other])).json(&request).send();
            asked.spawn(async { sent.await.context("no answer")?.json::<Option<u64>>().await.context("cut short") });
        }
        while let Some(answer) = asked.join_next().await {
            agreed.extend(answer.ok().and_then(Result::ok).flatten());
        }
        agreed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_promised_a_greater_term_notes_nothing_of_a_lesser() {
        let mut notes = Notes::default();
        assert_eq!(notes.take(Request::Note { term: 3, ticket: 7 }), Some(7));
        assert_eq!(notes.take(Request::Promise { term: 5 }), Some(7));
        assert_eq!(notes.take(Request::Note { term: 3, ticket: 8 }), None);
        assert_eq!(notes.take(Request::Note { term: 5, ticket: 8 }), Some(8));
    }
}
