//! One replica: its own memory, and the majorities it gathers for its clients' reads and writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::args::{Args, WriteConcern};
use crate::membership::Phase;
use crate::metrics;
use crate::outbox::Outbox;
use crate::peer::{self, Peer};
use crate::store::Store;
use crate::version::{Entry, Versioned};

/// How long a client's request may take. Long enough for some attempts at a peer that is slow or
/// unreachable.
const OPERATION_MAX: Duration = Duration::from_secs(2);

/// How long to wait before a peer that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How many entries one message to a peer may hold.
const BATCH_MAX: usize = 256;

/// Why a replica did not do what a client asked.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has only just started, and done nothing.
    #[error("not ready: this replica is still {0:?}")]
    NotReady(Phase),
    /// A write may have taken place nonetheless.
    #[error("no majority answered in time; a write may or may not have taken place")]
    NoMajority,
}

/// One replica of the service.
#[derive(Debug)]
pub(crate) struct Replica {
    store: Mutex<Store>,
    phase: Mutex<Phase>,
    links: Vec<Arc<Link>>,
    write_concern: WriteConcern,
}

/// A peer, and what it has not confirmed yet.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: Peer,
    outbox: Outbox,
}

impl Replica {
    /// A fresh replica.
    ///
    /// # Errors
    ///
    /// When the HTTP client for its peers cannot be set up.
    pub(crate) fn new(args: &Args) -> reqwest::Result<Self> {
        let http = peer::http_client()?;
        let link =
            |address: &String| Link { peer: Peer::new(http.clone(), address.clone()), outbox: Outbox::default() };
        Ok(Self {
            store: Mutex::new(Store::new(args.id, rand::random())),
            phase: Mutex::new(Phase::Fresh),
            links: args.peers.0.iter().map(link).map(Arc::new).collect(),
            write_concern: args.write_concern,
        })
    }

    /// Starts the tasks that hand each peer what it has not confirmed.
    pub(crate) fn spawn_senders(&self) {
        for link in &self.links {
            tokio::spawn(send_forever(link.clone()));
        }
    }

    /// The other replicas.
    pub(crate) fn links(&self) -> &[Arc<Link>] {
        &self.links
    }

    /// How far this replica has come since it started.
    pub(crate) fn phase(&self) -> Phase {
        // A phase is replaced as a whole, so a panic elsewhere cannot have left half of one.
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves on to `phase`.
    pub(crate) fn enter(&self, phase: Phase) {
        info!(?phase, "entering");
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        metrics::READY.set(i64::from(phase == Phase::Ready));
    }

    /// What this replica alone holds for `key`; for its peers.
    pub(crate) fn get_here(&self, key: &str) -> Result<Option<Versioned>, Refusal> {
        self.check_ready()?;
        Ok(self.store().get(key).cloned())
    }

    /// Everything this replica holds; for a peer that starts afresh.
    pub(crate) fn snapshot(&self) -> Result<Vec<Entry>, Refusal> {
        self.check_ready()?;
        Ok(self.store().snapshot())
    }

    /// Holds `entries` from now on, at a peer's request.
    pub(crate) fn merge(&self, entries: Vec<Entry>) -> Result<(), Refusal> {
        self.check_ready()?;
        self.hold_here(entries);
        Ok(())
    }

    /// Holds `entries` from now on, in whatever phase this replica is.
    pub(crate) fn hold_here(&self, entries: Vec<Entry>) {
        let mut store = self.store();
        entries.into_iter().for_each(|entry| store.merge(entry));
        metrics::KEYS.set(store.len().try_into().unwrap_or(i64::MAX));
    }

    /// Reads `key` for a client: the newest value that a majority knows of.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<String>, Refusal> {
        self.check_ready()?;
        let deadline = Instant::now() + OPERATION_MAX;
        let found = self.query(key, deadline).await?;
        let Some(newest) = found.newest else {
            return Ok(None);
        };
        if !found.unanimous {
            // A later read may ask another majority. It must not find something older.
            debug!(key, version = ?newest.version, "replicas disagree, repairing");
            let entry = Entry { key: key.to_owned(), held: newest.clone() };
            self.hold_at_majority(entry, deadline).await?;
        }
        Ok(Some(newest.value))
    }

    /// Writes `key` for a client. When it returns `Ok`, the write is acknowledged.
    pub(crate) async fn write(&self, key: String, value: String) -> Result<(), Refusal> {
        self.check_ready()?;
        let deadline = Instant::now() + OPERATION_MAX;
        match self.write_concern {
            WriteConcern::Majority => {
                // The version must exceed that of every acknowledged write, or this one would be
                // acknowledged and yet never read.
                let found = self.query(&key, deadline).await?;
                self.hold_here(found.newest.map(|held| Entry { key: key.clone(), held }).into_iter().collect());
                let entry = self.new_entry(key, value);
                self.hold_at_majority(entry, deadline).await
            }
            WriteConcern::Local => {
                let entry = self.new_entry(key, value);
                self.hold_here(vec![entry.clone()]);
                self.links.iter().for_each(|link| link.outbox.push(entry.clone(), None));
                Ok(())
            }
        }
    }

    /// Waits until every peer has confirmed everything, `limit` at most. Returns how many entries
    /// remain.
    pub(crate) async fn drain(&self, limit: Duration) -> usize {
        let undelivered = || self.links.iter().map(|link| link.outbox.len()).sum::<usize>();
        let empty = async {
            while undelivered() > 0 {
                sleep(RETRY_AFTER).await;
            }
        };
        // A peer that is away cannot take its share; the count says so.
        let _ = timeout(limit, empty).await;
        undelivered()
    }

    fn new_entry(&self, key: String, value: String) -> Entry {
        let version = self.store().next_version();
        Entry { key, held: Versioned { version, value } }
    }

    /// Asks a majority, this replica included, what it holds for `key`.
    async fn query(&self, key: &str, deadline: Instant) -> Result<Found, Refusal> {
        let mut asked = JoinSet::new();
        for link in &self.links {
            asked.spawn(ask_until_answered(link.peer.clone(), key.to_owned()));
        }
        let mut found = Found { newest: self.store().get(key).cloned(), unanimous: true };
        for _ in 0..self.peers_for_majority() {
            let answered = timeout_at(deadline, asked.join_next()).await.map_err(|_late| Refusal::NoMajority)?;
            let held = answered.and_then(Result::ok).ok_or(Refusal::NoMajority)?;
            found = found.and(held);
        }
        // Dropping `asked` ends the questions that nobody needs an answer to any more.
        Ok(found)
    }

    /// Holds `entry` here, and returns when a majority does. The other peers get it too, in their
    /// time.
    async fn hold_at_majority(&self, entry: Entry, deadline: Instant) -> Result<(), Refusal> {
        // Here first: what lies in a peer's memory only could be lost with it (see the crate's
        // documentation).
        self.hold_here(vec![entry.clone()]);
        let (ack, mut acks) = mpsc::channel(self.links.len().max(1));
        self.links.iter().for_each(|link| link.outbox.push(entry.clone(), Some(ack.clone())));
        for _ in 0..self.peers_for_majority() {
            let acked = timeout_at(deadline, acks.recv()).await.map_err(|_late| Refusal::NoMajority)?;
            acked.ok_or(Refusal::NoMajority)?;
        }
        Ok(())
    }

    /// How many peers make a majority together with this replica: 1 of 2, for three replicas.
    fn peers_for_majority(&self) -> usize {
        self.links.len().div_ceil(2)
    }

    fn check_ready(&self) -> Result<(), Refusal> {
        match self.phase() {
            Phase::Ready => Ok(()),
            unready @ (Phase::Fresh | Phase::Founding) => Err(Refusal::NotReady(unready)),
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // Merging an entry replaces one value as a whole, so a panic elsewhere cannot have left
        // half of one.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a majority holds for a key.
#[derive(Debug)]
struct Found {
    newest: Option<Versioned>,
    unanimous: bool,
}

impl Found {
    fn and(self, held: Option<Versioned>) -> Self {
        let version = |held: &Option<Versioned>| held.as_ref().map(|held| held.version);
        let (ours, theirs) = (version(&self.newest), version(&held));
        Self { newest: if theirs > ours { held } else { self.newest }, unanimous: self.unanimous && ours == theirs }
    }
}

/// Asks `peer` for `key` until it answers.
async fn ask_until_answered(peer: Peer, key: String) -> Option<Versioned> {
    loop {
        match peer.get(&key).await {
            Ok(held) => return held,
            Err(error) => {
                debug!(peer = peer.address(), %error, "failed to read from peer");
                metrics::PEER_FAILURES.with_label_values(&[peer.address(), "get"]).inc();
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// Hands the link's peer, in order, what it has not confirmed, batch by batch, as often as it
/// takes.
async fn send_forever(link: Arc<Link>) {
    let mut failures = 0_u64;
    loop {
        let batch = link.outbox.peek(BATCH_MAX).await;
        match link.peer.merge(&batch).await {
            Ok(()) => {
                link.outbox.settle(&batch);
                if failures > 0 {
                    info!(peer = link.peer.address(), failures, "replicating again");
                    failures = 0;
                }
            }
            Err(error) => {
                if failures == 0 {
                    warn!(peer = link.peer.address(), %error, "failed to replicate, retrying");
                }
                failures += 1;
                metrics::PEER_FAILURES.with_label_values(&[link.peer.address(), "merge"]).inc();
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;

    fn held(counter: u64) -> Option<Versioned> {
        let version = Version { counter, writer: 0, life: 0 };
        Some(Versioned { version, value: counter.to_string() })
    }

    fn found(answers: &[Option<Versioned>]) -> (Option<Versioned>, bool) {
        let first = Found { newest: answers[0].clone(), unanimous: true };
        let found = answers[1..].iter().cloned().fold(first, Found::and);
        (found.newest, found.unanimous)
    }

    #[test]
    fn a_majority_that_agrees_needs_no_repair() {
        assert_eq!(found(&[None, None]), (None, true));
        assert_eq!(found(&[held(3), held(3)]), (held(3), true));
    }

    #[test]
    fn the_newest_answer_counts_and_disagreement_is_noticed() {
        assert_eq!(found(&[held(1), held(2)]), (held(2), false));
        assert_eq!(found(&[held(2), held(1)]), (held(2), false));
        assert_eq!(found(&[held(2), None, held(2)]), (held(2), false));
        assert_eq!(found(&[None, held(1)]), (held(1), false));
    }
}
