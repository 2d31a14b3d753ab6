//! What clients did and saw, and whether a server may have answered so. Pure.

use std::fmt;
use std::time::Duration;

/// What a client asked for. Every value that is set is set once in a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `SET key value`
    Set {
        /// One of few keys, so that clients meet.
        key: String,
        /// Written by no other call.
        value: String,
    },
    /// `GET key`
    Get {
        /// One of few keys, so that clients meet.
        key: String,
    },
    /// `PUBLISH news message`
    Publish {
        /// Published by no other call.
        message: String,
    },
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The value was set.
    Set,
    /// The value that was read, if there was one.
    Got(Option<String>),
    /// How many subscribers the message was handed to.
    Published(u64),
    /// The server was not reached: the call did not take place.
    Unreached(String),
    /// The connection broke, or nothing came in time: the call may have taken place, or may yet.
    Unknown(String),
}

/// A call from its beginning to its end, both since the workload began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who called.
    pub client: usize,
    /// When.
    pub started: Duration,
    /// When the outcome was known.
    pub ended: Duration,
    /// What was asked for.
    pub call: Call,
    /// What came of it.
    pub outcome: Outcome,
}

/// A message that a subscriber received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Who subscribed.
    pub subscriber: usize,
    /// When, since the workload began.
    pub at: Duration,
    /// What was received.
    pub message: String,
}

/// All that happened, in the order in which it ended.
///
/// `Display` gives one line for each operation and message, equal for equal histories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The clients' calls.
    pub operations: Vec<Operation>,
    /// The subscribers' messages.
    pub received: Vec<Received>,
}

/// Whether the server may have forgotten what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// It ran all the time.
    Kept,
    /// It crashed at least once; mini-redis keeps nothing on disk.
    MayBeLost,
}

impl History {
    /// One history of what several groups saw at the same time.
    pub fn of_groups(groups: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for group in groups {
            all.operations.extend(group.operations);
            all.received.extend(group.received);
        }
        all.operations.sort_by_key(|operation| (operation.ended, operation.client));
        all.received.sort_by_key(|received| (received.at, received.subscriber));
        all
    }

    /// How many calls succeeded.
    pub fn succeeded(&self) -> usize {
        self.operations.iter().filter(|operation| operation.succeeded()).count()
    }

    /// What no server may have answered, one sentence each: values nobody wrote, values that were
    /// overwritten before they were read, messages nobody published or received twice.
    ///
    /// These are necessary conditions of linearizability, not sufficient ones.
    pub fn violations(&self, memory: Memory) -> Vec<String> {
        let of_reads = self.operations.iter().filter_map(|read| self.violation_of_read(read, memory));
        let of_messages = self.received.iter().enumerate().filter_map(|(n, it)| self.violation_of_message(n, it));
        of_reads.chain(of_messages).collect()
    }

    fn violation_of_read(&self, read: &Operation, memory: Memory) -> Option<String> {
        let (Call::Get { key }, Outcome::Got(got)) = (&read.call, &read.outcome) else {
            return None;
        };
        let Some(value) = got else {
            let forgotten = self.sets_of(key).find(|(set, _)| set.succeeded() && set.ended < read.started);
            return forgotten
                .filter(|_| memory == Memory::Kept)
                .map(|(set, _)| format!("`{read}` found nothing, although `{set}` came before"));
        };
        let Some((set, _)) = self.sets_of(key).find(|(_, written)| written == value) else {
            return Some(format!("`{read}` found what nobody wrote"));
        };
        if set.started > read.ended || matches!(set.outcome, Outcome::Unreached(_)) {
            return Some(format!("`{read}` found what was not yet written, or never: `{set}`"));
        }
        let overwritten = |(later, _): &(&Operation, &str)| {
            set.succeeded() && later.succeeded() && set.ended < later.started && later.ended < read.started
        };
        let (later, _) = self.sets_of(key).find(overwritten)?;
        Some(format!("`{read}` found what `{later}` had overwritten"))
    }

    fn violation_of_message(&self, position: usize, received: &Received) -> Option<String> {
        let published = self.operations.iter().any(|operation| {
            matches!(&operation.call, Call::Publish { message } if *message == received.message)
                && operation.started <= received.at
        });
        let again = self.received[..position]
            .iter()
            .any(|earlier| (earlier.subscriber, &earlier.message) == (received.subscriber, &received.message));
        match (published, again) {
            (false, _) => Some(format!("`{received}` was not published before")),
            (true, true) => Some(format!("`{received}` was received before")),
            (true, false) => None,
        }
    }

    fn sets_of<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = (&'a Operation, &'a str)> {
        self.operations.iter().filter_map(move |operation| match &operation.call {
            Call::Set { key, value } if key == wanted => Some((operation, value.as_str())),
            Call::Set { .. } | Call::Get { .. } | Call::Publish { .. } => None,
        })
    }
}

impl Operation {
    fn succeeded(&self) -> bool {
        match self.outcome {
            Outcome::Set | Outcome::Got(_) | Outcome::Published(_) => true,
            Outcome::Unreached(_) | Outcome::Unknown(_) => false,
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operations.iter().try_for_each(|operation| writeln!(f, "{operation}"))?;
        self.received.iter().try_for_each(|received| writeln!(f, "{received}"))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, started, ended, call, outcome } = self;
        write!(f, "{started:?}..{ended:?} client {client}: ")?;
        match call {
            Call::Set { key, value } => write!(f, "set {key}={value}")?,
            Call::Get { key } => write!(f, "get {key}")?,
            Call::Publish { message } => write!(f, "publish {message}")?,
        }
        match outcome {
            Outcome::Set => write!(f, ": ok"),
            Outcome::Got(Some(value)) => write!(f, ": {value}"),
            Outcome::Got(None) => write!(f, ": nothing"),
            Outcome::Published(subscribers) => write!(f, ": to {subscribers}"),
            Outcome::Unreached(error) => write!(f, ": not reached: {error}"),
            Outcome::Unknown(error) => write!(f, ": unknown: {error}"),
        }
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} subscriber {}: received {}", self.at, self.subscriber, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(millis: std::ops::Range<u64>, call: Call, outcome: Outcome) -> Operation {
        let [started, ended] = [millis.start, millis.end].map(Duration::from_millis);
        Operation { client: 0, started, ended, call, outcome }
    }

    fn set(millis: std::ops::Range<u64>, value: &str, outcome: Outcome) -> Operation {
        operation(millis, Call::Set { key: "k".into(), value: value.into() }, outcome)
    }

    fn got(millis: std::ops::Range<u64>, value: Option<&str>) -> Operation {
        operation(millis, Call::Get { key: "k".into() }, Outcome::Got(value.map(str::to_owned)))
    }

    fn violations(operations: Vec<Operation>, memory: Memory) -> Vec<String> {
        History { operations, received: Vec::new() }.violations(memory)
    }

    #[test]
    fn a_read_may_find_any_value_that_was_not_overwritten_before_it() {
        let overlapping = vec![
            set(0..10, "a", Outcome::Set),
            set(5..15, "b", Outcome::Set),
            set(12..30, "c", Outcome::Unknown("reset".into())),
            got(20..25, Some("a")),
            got(20..25, Some("b")),
            got(20..25, Some("c")),
        ];
        assert_eq!(violations(overlapping, Memory::Kept), [""; 0]);
    }

    #[test]
    fn an_overwritten_value_is_stale() {
        let stale = vec![set(0..10, "a", Outcome::Set), set(11..15, "b", Outcome::Set), got(16..20, Some("a"))];
        assert_eq!(
            violations(stale, Memory::MayBeLost),
            ["`16ms..20ms client 0: get k: a` found what `11ms..15ms client 0: set k=b: ok` had overwritten"]
        );
    }

    #[test]
    fn a_value_nobody_could_have_written_is_noticed() {
        let unreached = Outcome::Unreached("refused".into());
        assert_eq!(violations(vec![got(0..1, Some("a"))], Memory::MayBeLost).len(), 1);
        assert_eq!(violations(vec![set(0..1, "a", unreached), got(2..3, Some("a"))], Memory::MayBeLost).len(), 1);
        assert_eq!(violations(vec![got(0..1, Some("a")), set(2..3, "a", Outcome::Set)], Memory::MayBeLost).len(), 1);
    }

    #[test]
    fn only_a_server_that_crashed_may_forget() {
        let forgotten = vec![set(0..10, "a", Outcome::Set), got(11..12, None)];
        assert_eq!(violations(forgotten.clone(), Memory::Kept).len(), 1);
        assert_eq!(violations(forgotten, Memory::MayBeLost), [""; 0]);
    }

    #[test]
    fn a_message_is_received_once_and_after_it_was_published() {
        let message = || "m".to_owned();
        let received = |at| Received { subscriber: 0, at: Duration::from_millis(at), message: message() };
        let publish = operation(5..9, Call::Publish { message: message() }, Outcome::Published(1));
        let history = |received| History { operations: vec![publish.clone()], received };
        assert_eq!(history(vec![received(7)]).violations(Memory::Kept), [""; 0]);
        assert_eq!(history(vec![received(3)]).violations(Memory::Kept).len(), 1);
        assert_eq!(history(vec![received(7), received(8)]).violations(Memory::Kept).len(), 1);
    }
}
