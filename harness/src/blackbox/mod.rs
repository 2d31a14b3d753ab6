//! The flight recorder: memory shared by a case and its supervisor, which survives whatever happens to the case.
//!
//! A case only ever writes into it, without system calls and without allocating, so that looking does not change the
//! run; the supervisor reads, even while the case runs. It is mapped at a fixed address in the worker, so that it
//! shifts nothing else.
//!
//! ```text
//! mapping.rs    its fixed address, and what lies where
//! orders.rs     supervisor → case: the seed and everything else that decides it
//! progress.rs   case → supervisor: how far it is, whom it runs
//! tape.rs       what hosts wrote, in order; the oldest is dropped when it does not fit
//! findings.rs   how it ended: verdict, stacks, last words
//! events.rs     the event stream of one run, for comparison with the next
//! ```

mod events;
mod findings;
mod mapping;
mod orders;
mod progress;
mod tape;

pub(crate) use events::{Comparison, Recording};
pub(crate) use findings::{Drawing, EndedAs, Ending, FaultAccount, Finding, Location, StormBegan, StormEnded, Verdict};
pub(crate) use mapping::BlackBox;
pub(crate) use orders::{HUSH_BYTES, Orders, PLAN_BYTES, RecordingMode};
pub(crate) use progress::Progress;
pub(crate) use tape::{Kind, Record, RecordRef, TapeReader};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A moment of a world, as the kernel counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct At {
    pub(crate) event: u64,
    pub(crate) now_ns: u64,
}

impl From<windtunnel_sim::world::Position> for At {
    fn from(position: windtunnel_sim::world::Position) -> Self {
        Self { event: position.event, now_ns: position.now_ns }
    }
}

/// A case of the real world has several threads that have something to say. A simulated world has one, and writes from
/// signal handlers as well, which could not wait.
fn only_writer() -> Option<MutexGuard<'static, ()>> {
    static WRITER: Mutex<()> = Mutex::new(());
    crate::world::real::world().map(|_| WRITER.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The beginning of a text that fits into so many bytes.
pub(crate) fn fitting(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
