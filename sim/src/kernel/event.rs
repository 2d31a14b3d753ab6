//! The event stream, declared once: what happens in a world, numbered, and the digest over it.
//!
//! Every value that is returned to a program and every event that can influence one is recorded here and nowhere else.
//! Recording allocates nothing: records of 32 bytes are gathered in a fixed buffer and hashed when it is full.

use super::entropy::mix;
use crate::world::Position;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// A kind of event that is not a call. Calls are named by the libc function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// A program's call was answered.
    Call(super::Call),
    /// A thread was created.
    ThreadStart,
    /// A process ended.
    ProcessEnd,
    /// A host's condition changed by command.
    Host,
    /// A segment or datagram arrived, or was dropped.
    Deliver,
    /// A fault of the weather began or ended.
    Weather,
    /// The test's own label.
    Mark,
    /// A signal handler is about to run.
    Signal,
    /// The clock was pushed on by a program that only reads it.
    ClockSpin,
}

impl What {
    fn number(self, names: &mut Names) -> u32 {
        match self {
            What::Call(call) => names.known(call.name).number,
            What::ThreadStart => 1,
            What::ProcessEnd => 2,
            What::Host => 3,
            What::Deliver => 4,
            What::Weather => 5,
            What::Mark => 6,
            What::Signal => 7,
            What::ClockSpin => 8,
        }
    }

    /// The event's name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            What::Call(call) => call.name,
            What::ThreadStart => "thread start",
            What::ProcessEnd => "process end",
            What::Host => "host",
            What::Deliver => "deliver",
            What::Weather => "weather",
            What::Mark => "mark",
            What::Signal => "signal",
            What::ClockSpin => "clock spin",
        }
    }
}

/// What the stream knows of a call's name.
#[derive(Clone, Copy, Default)]
struct Name {
    address: usize,
    bytes: usize,
    number: u32,
    /// Answering 0, the call has brought its program nothing: time passed, or somebody else may run.
    idles: bool,
}

impl Name {
    /// The number is the name's FNV-1a, kept above the numbers of other events.
    #[cold]
    fn of(name: &'static str) -> Name {
        let fnv = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let number = name.bytes().fold(0x811c_9dc5, fnv) | 1 << 31;
        let idles = matches!(name, "sched_yield" | "epoll_wait" | "epoll_pwait" | "poll" | "ppoll");
        Name { address: name.as_ptr().addr(), bytes: name.len(), number, idles }
    }
}

/// The names seen lately, by the literal's address: a name is hashed once, not at each call.
struct Names([Name; NAMES]);

/// A power of two far above the number of different calls that a program makes all the time, so that two of them seldom
/// take turns in one place.
const NAMES: usize = 2048;

impl Names {
    #[inline]
    fn known(&mut self, name: &'static str) -> &Name {
        let address = name.as_ptr().addr();
        // Fibonacci hashing (Knuth, TAOCP 3, 6.4): literals lie next to each other.
        let place = address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (usize::BITS - NAMES.ilog2());
        let known = &mut self.0[place];
        if known.address != address || known.bytes != name.len() {
            *known = Name::of(name);
        }
        known
    }
}

const RECORD_BYTES: usize = 32;
/// Records that are hashed at once.
const RECORDS: usize = 256;

/// Numbers events and hashes them.
pub(crate) struct EventLog {
    count: u64,
    used: usize,
    buffer: Box<[[u8; RECORD_BYTES]; RECORDS]>,
    hash: Box<Xxh3>,
    names: Box<Names>,
    /// Hash of the bytes that the call under way has returned so far.
    returned: u64,
}

impl EventLog {
    /// An empty stream of a world; the seed is its first fact, so that no digest is empty.
    pub(crate) fn new(seed: u64) -> EventLog {
        let mut hash = Box::new(Xxh3::new());
        hash.update(&seed.to_le_bytes());
        let names = Box::new(Names([Name::default(); NAMES]));
        EventLog { count: 0, used: 0, buffer: Box::new([[0; RECORD_BYTES]; RECORDS]), hash, names, returned: 0 }
    }

    /// Whether a call that answers 0 has brought its program nothing.
    #[inline]
    pub(crate) fn idles(&mut self, call: super::Call) -> bool {
        self.names.known(call.name).idles
    }

    /// Notes bytes that the call under way returns to the program; they enter its event.
    #[inline]
    pub(crate) fn returned(&mut self, bytes: &[u8]) {
        self.returned = self.returned.rotate_left(5) ^ xxh3_64(bytes);
    }

    /// [`EventLog::returned`] for a value of at most eight bytes.
    #[inline]
    pub(crate) fn returned_word(&mut self, value: u64) {
        self.returned = mix(self.returned.rotate_left(5) ^ value);
    }

    /// Takes what [`EventLog::returned`] has gathered.
    #[inline]
    pub(crate) fn take_returned(&mut self) -> u64 {
        std::mem::take(&mut self.returned)
    }

    /// Appends an event; answers its number.
    #[inline]
    pub(crate) fn append(&mut self, now: u64, who: u32, what: What, value: i64, extra: u64) -> u64 {
        let number = what.number(&mut self.names);
        let record = &mut self.buffer[self.used];
        record[..8].copy_from_slice(&now.to_le_bytes());
        record[8..12].copy_from_slice(&who.to_le_bytes());
        record[12..16].copy_from_slice(&number.to_le_bytes());
        record[16..24].copy_from_slice(&value.to_le_bytes());
        record[24..].copy_from_slice(&extra.to_le_bytes());
        self.used += 1;
        if self.used == RECORDS {
            self.hash.update(self.buffer.as_flattened());
            self.used = 0;
        }
        self.count += 1;
        self.count
    }

    /// The digest of everything so far.
    pub(crate) fn digest(&self) -> u128 {
        let mut hash = self.hash.clone();
        hash.update(self.buffer[..self.used].as_flattened());
        hash.update(&self.count.to_le_bytes());
        hash.digest128()
    }

    /// Where the stream stands.
    pub(crate) fn position(&self, now: u64) -> Position {
        Position { event: self.count, now_ns: now }
    }
}

#[cfg(test)]
mod tests {
    use super::{EventLog, What};

    fn stream(values: impl Iterator<Item = i64>) -> u128 {
        let mut log = EventLog::new(1);
        values.for_each(|v| {
            log.append(v as u64, 0, What::Host, v, 0);
        });
        log.digest()
    }

    #[test]
    fn one_changed_event_among_many_changes_the_digest() {
        let original = stream(0..10_000);
        assert_eq!(original, stream(0..10_000));
        assert_ne!(original, stream((0..10_000).map(|v| if v == 5_000 { -1 } else { v })));
        assert_ne!(original, stream(0..9_999));
    }

    #[test]
    fn an_empty_stream_has_a_digest_of_its_seed() {
        assert_ne!(EventLog::new(1).digest(), EventLog::new(2).digest());
    }
}
