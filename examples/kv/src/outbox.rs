//! What one peer has not yet confirmed: at most one entry for each key, the newest, in order of
//! arrival.
//!
//! The queue is bounded by the number of keys, so a peer may be away for as long as it likes: when
//! it is back it is sent what it missed. [`Replica`](crate::replica::Replica) runs one sender for
//! each peer, which peeks at a batch, sends it and settles it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use crate::version::Entry;

/// Told once by each peer that holds the entry, or a newer one of the same key.
pub(crate) type Ack = mpsc::Sender<()>;

/// The entries that one peer has not confirmed.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<String>,
    pending: HashMap<String, Pending>,
}

#[derive(Debug)]
struct Pending {
    entry: Entry,
    waiting: Vec<Ack>,
}

impl Outbox {
    /// Queues `entry`; `ack` is told when the peer has it.
    pub(crate) fn push(&self, entry: Entry, ack: Option<Ack>) {
        self.lock().push(entry, ack);
        self.filled.notify_one();
    }

    /// The oldest entries, `batch_max` at most, as soon as there is one. They stay queued until
    /// [`Self::settle`].
    pub(crate) async fn peek(&self, batch_max: usize) -> Vec<Entry> {
        loop {
            let filled = self.filled.notified();
            let batch = self.lock().peek(batch_max);
            if !batch.is_empty() {
                return batch;
            }
            filled.await;
        }
    }

    /// Removes what the peer has confirmed and tells who waits for it.
    pub(crate) fn settle(&self, confirmed: &[Entry]) {
        self.lock().settle(confirmed);
    }

    /// How many entries the peer has not confirmed.
    pub(crate) fn len(&self) -> usize {
        self.lock().pending.len()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code that holds the lock leaves the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, entry: Entry, ack: Option<Ack>) {
        match self.pending.get_mut(&entry.key) {
            Some(pending) => {
                pending.waiting.retain(|waiting| !waiting.is_closed());
                pending.waiting.extend(ack);
                if entry.held.version > pending.entry.held.version {
                    pending.entry = entry;
                }
            }
            None => {
                self.order.push_back(entry.key.clone());
                self.pending.insert(entry.key.clone(), Pending { entry, waiting: ack.into_iter().collect() });
            }
        }
    }

    fn peek(&self, batch_max: usize) -> Vec<Entry> {
        self.order.iter().filter_map(|key| self.pending.get(key)).take(batch_max).map(|p| p.entry.clone()).collect()
    }

    fn settle(&mut self, confirmed: &[Entry]) {
        for Entry { key, held } in confirmed {
            // An entry that was replaced while the batch was under way goes out with the next one.
            if self.pending.get(key).is_some_and(|pending| pending.entry.held.version <= held.version)
                && let Some(pending) = self.pending.remove(key)
            {
                for ack in pending.waiting {
                    // Fails when the waiter has given up or heard from enough peers: nobody to
                    // tell.
                    let _ = ack.try_send(());
                }
            }
        }
        let pending = &self.pending;
        self.order.retain(|key| pending.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Version, Versioned};

    fn entry(key: &str, counter: u64) -> Entry {
        let version = Version { counter, writer: 0, life: 0 };
        Entry { key: key.to_owned(), held: Versioned { version, value: format!("{key}{counter}") } }
    }

    #[tokio::test]
    async fn entries_stay_queued_until_they_are_settled() {
        let outbox = Outbox::default();
        let (ack, mut acks) = mpsc::channel(1);
        outbox.push(entry("a", 1), Some(ack));
        assert_eq!(outbox.peek(9).await, [entry("a", 1)]);
        assert_eq!(outbox.peek(9).await, [entry("a", 1)], "the first attempt failed; the second sends it again");
        assert!(acks.try_recv().is_err());
        outbox.settle(&[entry("a", 1)]);
        assert!(acks.try_recv().is_ok());
        assert_eq!(outbox.len(), 0);
    }

    #[tokio::test]
    async fn a_newer_write_replaces_an_older_one_and_both_writers_are_told() {
        let outbox = Outbox::default();
        let (ack, mut acks) = mpsc::channel(2);
        outbox.push(entry("a", 1), Some(ack.clone()));
        let under_way = outbox.peek(9).await;
        outbox.push(entry("a", 2), Some(ack));
        outbox.settle(&under_way);
        assert!(acks.try_recv().is_err(), "the peer does not hold the newer write yet");
        assert_eq!(outbox.peek(9).await, [entry("a", 2)]);
        outbox.settle(&[entry("a", 2)]);
        assert!(acks.try_recv().is_ok() && acks.try_recv().is_ok());
    }

    #[tokio::test]
    async fn an_older_write_does_not_replace_a_newer_one() {
        let outbox = Outbox::default();
        outbox.push(entry("a", 2), None);
        outbox.push(entry("a", 1), None);
        assert_eq!(outbox.peek(9).await, [entry("a", 2)]);
    }

    #[tokio::test]
    async fn batches_are_limited_and_in_order_of_arrival() {
        let outbox = Outbox::default();
        ["c", "a", "b"].into_iter().for_each(|key| outbox.push(entry(key, 1), None));
        let first = outbox.peek(2).await;
        assert_eq!(first, [entry("c", 1), entry("a", 1)]);
        outbox.settle(&first);
        assert_eq!(outbox.peek(2).await, [entry("b", 1)]);
    }
}
