//! Future events in order of time: a 4-ary heap whose entries can be cancelled where they stand.
//!
//! Ties are broken by the order of scheduling. Scheduling, cancelling and taking cost O(log n); nothing stays behind
//! from cancelled entries, so re-arming a timer a million times costs no memory.

/// Names a scheduled event until it fires or is cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimerKey {
    slot: u32,
    sequence: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    sequence: u64,
    slot: u32,
}

impl Entry {
    fn before(&self, other: &Entry) -> bool {
        (self.at, self.sequence) < (other.at, other.sequence)
    }
}

struct Slot<E> {
    position: u32,
    sequence: u64,
    event: Option<E>,
}

/// The queue of future events.
pub(crate) struct Timers<E> {
    heap: Vec<Entry>,
    slots: Vec<Slot<E>>,
    free: Vec<u32>,
    sequence: u64,
}

impl<E> Default for Timers<E> {
    fn default() -> Self {
        Timers { heap: Vec::new(), slots: Vec::new(), free: Vec::new(), sequence: 0 }
    }
}

const ARITY: usize = 4;

impl<E> Timers<E> {
    /// Schedules an event at a virtual time in nanoseconds.
    pub(crate) fn schedule(&mut self, at: u64, event: E) -> TimerKey {
        self.sequence += 1;
        let sequence = self.sequence;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { position: 0, sequence: 0, event: None });
            (self.slots.len() - 1) as u32
        });
        let position = self.heap.len();
        self.slots[slot as usize] = Slot { position: position as u32, sequence, event: Some(event) };
        self.heap.push(Entry { at, sequence, slot });
        self.rise(position);
        TimerKey { slot, sequence }
    }

    /// Takes a scheduled event back; `None` if it has fired already.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<E> {
        let slot = self.slots.get(key.slot as usize)?;
        if slot.sequence != key.sequence || slot.event.is_none() {
            return None;
        }
        Some(self.remove(slot.position as usize).1)
    }

    /// When the next event is due.
    #[inline]
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.at)
    }

    /// Takes the next event if it is due at `now`.
    #[inline]
    pub(crate) fn take_due(&mut self, now: u64) -> Option<(u64, E)> {
        if self.next_at()? > now {
            return None;
        }
        Some(self.remove(0))
    }

    fn remove(&mut self, position: usize) -> (u64, E) {
        let entry = self.heap.swap_remove(position);
        if position < self.heap.len() {
            self.slots[self.heap[position].slot as usize].position = position as u32;
            self.rise(position);
            self.sink(position);
        }
        self.free.push(entry.slot);
        let event = self.slots[entry.slot as usize].event.take();
        (entry.at, event.expect("a heap entry has its event"))
    }

    fn place(&mut self, position: usize, entry: Entry) {
        self.slots[entry.slot as usize].position = position as u32;
        self.heap[position] = entry;
    }

    fn rise(&mut self, mut position: usize) {
        let entry = self.heap[position];
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if !entry.before(&self.heap[parent]) {
                break;
            }
            self.place(position, self.heap[parent]);
            position = parent;
        }
        self.place(position, entry);
    }

    fn sink(&mut self, mut position: usize) {
        let entry = self.heap[position];
        loop {
            let first = position * ARITY + 1;
            let last = (first + ARITY).min(self.heap.len());
            let Some(least) = (first..last).reduce(|a, b| if self.heap[b].before(&self.heap[a]) { b } else { a })
            else {
                break;
            };
            if !self.heap[least].before(&entry) {
                break;
            }
            self.place(position, self.heap[least]);
            position = least;
        }
        self.place(position, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::Timers;
    use std::collections::BTreeMap;

    #[test]
    fn events_come_in_order_of_time_then_of_scheduling() {
        let mut timers = Timers::default();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b')] {
            timers.schedule(at, name);
        }
        let order: String = std::iter::from_fn(|| timers.take_due(u64::MAX)).map(|(_, name)| name).collect();
        assert_eq!(order, "abcd");
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut timers = Timers::default();
        timers.schedule(10, ());
        assert_eq!(timers.take_due(9), None);
        assert_eq!(timers.take_due(10), Some((10, ())));
    }

    /// Random operations against an ordered map, which is slow and obviously right.
    #[test]
    fn behaves_like_an_ordered_map_under_random_cancellation() {
        let mut timers = Timers::default();
        let mut model = BTreeMap::new();
        let mut keys = Vec::new();
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for number in 0..20_000u64 {
            match random(3) {
                0 => {
                    let at = random(1000);
                    keys.push((timers.schedule(at, number), (at, number)));
                    model.insert((at, number), number);
                }
                1 if !keys.is_empty() => {
                    let (key, place) = keys.swap_remove(random(keys.len() as u64) as usize);
                    assert_eq!(timers.cancel(key), model.remove(&place));
                }
                _ => {
                    let now = random(1000);
                    let expected = model.first_key_value().filter(|(k, _)| k.0 <= now).map(|(k, v)| (k.0, *v));
                    assert_eq!(timers.take_due(now), expected);
                    expected.map(|(at, number)| model.remove(&(at, number)));
                }
            }
        }
    }
}
