//! What orders the writes of a key, and makes each of them unique.

use serde::{Deserialize, Serialize};

/// A write's place in the order of all writes of its key.
///
/// Fields compare in this order. Two writes never share a version: a replica hands out each counter
/// once in a life ([`Store::next_version`](crate::store::Store::next_version)), and two lives
/// differ by `life`. Without it a replica that lost its memory could give a second value the
/// version of a first that is still on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Version {
    /// A Lamport clock: greater than that of every write the writer had heard of.
    pub(crate) counter: u64,
    /// The replica that coordinated the write.
    pub(crate) writer: u32,
    /// The writer's number for its time between one start and its end, drawn at random.
    pub(crate) life: u64,
}

/// A value and the version of the write that put it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versioned {
    pub(crate) version: Version,
    pub(crate) value: String,
}

/// A key with its value: what replicas send each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    #[serde(flatten)]
    pub(crate) held: Versioned,
}
