//! One replica's memory: the newest value it has heard of for each key. Pure; nothing here waits or
//! sends.

use std::collections::HashMap;

use crate::version::{Entry, Version, Versioned};

/// The values a replica holds and its Lamport clock.
#[derive(Debug)]
pub(crate) struct Store {
    values: HashMap<String, Versioned>,
    clock: u64,
    writer: u32,
    life: u64,
}

impl Store {
    /// An empty store of replica `writer` in the life numbered `life`.
    pub(crate) fn new(writer: u32, life: u64) -> Self {
        Self { values: HashMap::new(), clock: 0, writer, life }
    }

    /// What it holds for `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Versioned> {
        self.values.get(key)
    }

    /// How many keys it holds.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// A version greater than every one this store has seen or given, and given once.
    pub(crate) fn next_version(&mut self) -> Version {
        self.clock += 1;
        Version { counter: self.clock, writer: self.writer, life: self.life }
    }

    /// Holds `entry` from now on, unless it already holds something as new.
    ///
    /// In whatever order, and however often, entries are merged, the newest remains.
    pub(crate) fn merge(&mut self, entry: Entry) {
        let Entry { key, held } = entry;
        self.clock = self.clock.max(held.version.counter);
        match self.values.get_mut(&key) {
            Some(present) if present.version >= held.version => {}
            Some(present) => *present = held,
            None => {
                self.values.insert(key, held);
            }
        }
    }

    /// Everything it holds.
    pub(crate) fn snapshot(&self) -> Vec<Entry> {
        self.values.iter().map(|(key, held)| Entry { key: key.clone(), held: held.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(counter: u64, writer: u32, value: &str) -> Entry {
        let version = Version { counter, writer, life: 7 };
        Entry { key: "k".to_owned(), held: Versioned { version, value: value.to_owned() } }
    }

    fn value_after(entries: &[&Entry]) -> String {
        let mut store = Store::new(0, 1);
        entries.iter().for_each(|&entry| store.merge(entry.clone()));
        store.get("k").expect("something was merged").value.clone()
    }

    #[test]
    fn the_newest_write_remains_in_whatever_order_they_arrive() {
        let (old, new) = (entry(1, 2, "old"), entry(2, 0, "new"));
        assert_eq!(value_after(&[&old, &new]), "new");
        assert_eq!(value_after(&[&new, &old, &new]), "new");
    }

    #[test]
    fn writes_with_equal_counters_are_ordered_by_their_writers() {
        let (low, high) = (entry(1, 0, "low"), entry(1, 2, "high"));
        assert_eq!(value_after(&[&low, &high]), "high");
        assert_eq!(value_after(&[&high, &low]), "high");
    }

    #[test]
    fn the_next_version_exceeds_all_that_was_seen_and_is_given_once() {
        let mut store = Store::new(3, 1);
        store.merge(entry(41, 9, "seen"));
        let first = store.next_version();
        assert!(first > entry(41, 9, "seen").held.version);
        assert!(store.next_version() > first);
    }

    #[test]
    fn versions_of_two_lives_differ() {
        assert_ne!(Store::new(3, 1).next_version(), Store::new(3, 2).next_version());
    }

    #[test]
    fn a_snapshot_rebuilds_the_store() {
        let mut store = Store::new(0, 1);
        for key in ["a", "b", "c"] {
            let version = store.next_version();
            store.merge(Entry { key: key.to_owned(), held: Versioned { version, value: key.to_uppercase() } });
        }
        let mut rebuilt = Store::new(1, 2);
        store.snapshot().into_iter().for_each(|entry| rebuilt.merge(entry));
        assert_eq!(rebuilt.len(), 3);
        assert_eq!(rebuilt.get("b"), store.get("b"));
    }
}
