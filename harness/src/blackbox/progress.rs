//! How far a case is and whom it runs: what is known of it when it dies without a word.

use super::At;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

const NAME_BYTES: usize = 64;

/// A step of becoming a worker that the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Address randomisation stays on: `personality`.
    Layout,
    /// The worker could not be executed at all: `execveat` or what comes before it.
    Execution,
}

/// Written by the case, read by the supervisor at any time.
#[repr(C)]
pub(crate) struct Progress {
    event: AtomicU64,
    now_ns: AtomicU64,
    host: [AtomicU8; NAME_BYTES],
    thread: [AtomicU8; NAME_BYTES],
    layout_errno: AtomicU32,
    execution_errno: AtomicU32,
}

impl Progress {
    /// Notes where the case is.
    pub(crate) fn reached(&self, at: At, host: &str, thread: &str) {
        self.event.store(at.event, Ordering::Relaxed);
        self.now_ns.store(at.now_ns, Ordering::Relaxed);
        store(&self.host, host);
        store(&self.thread, thread);
    }

    /// Where the case was when it last said so.
    pub(crate) fn at(&self) -> At {
        At {
            event: self.event.load(Ordering::Relaxed),
            now_ns: self.now_ns.load(Ordering::Relaxed),
        }
    }

    /// The host that ran then, and its thread.
    pub(crate) fn running(&self) -> (String, String) {
        (load(&self.host), load(&self.thread))
    }

    /// Notes a refusal; called between `fork` and `exec`, so it only stores.
    pub(crate) fn refused(&self, what: Refusal, errno: i32) {
        self.refusal_word(what)
            .store(errno.unsigned_abs(), Ordering::Release);
    }

    /// The refusal's errno.
    pub(crate) fn refusal(&self, what: Refusal) -> Option<i32> {
        let errno = self.refusal_word(what).load(Ordering::Acquire);
        (errno != 0).then_some(errno.cast_signed())
    }

    fn refusal_word(&self, what: Refusal) -> &AtomicU32 {
        match what {
            Refusal::Layout => &self.layout_errno,
            Refusal::Execution => &self.execution_errno,
        }
    }

    /// Forgets the last case; refusals concern the worker and stay.
    pub(super) fn reset(&self) {
        self.reached(At::default(), "", "");
    }
}

fn store(place: &[AtomicU8; NAME_BYTES], name: &str) {
    let bytes = super::fitting(name, NAME_BYTES)
        .bytes()
        .chain(std::iter::repeat(0));
    place
        .iter()
        .zip(bytes)
        .for_each(|(place, byte)| place.store(byte, Ordering::Relaxed));
}

fn load(place: &[AtomicU8; NAME_BYTES]) -> String {
    let bytes: Vec<u8> = place
        .iter()
        .map(|byte| byte.load(Ordering::Relaxed))
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
