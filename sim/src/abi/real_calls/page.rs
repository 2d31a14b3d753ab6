//! The page that says what is wrong with this process's calls. `inject/src/boundary/layout.rs` writes it.
//!
//! A fault has a slot of its own, which is written before its bit is set in the word that says which slots are in
//! force. Numbers of calls and what came of them are counted in the slot, for all processes of the host.

use crate::abi::real_page::{Installed, PAGE_WORDS};
use crate::kernel::mix;
use std::sync::atomic::{AtomicU64, Ordering};

/// "wtcalls1", little-endian.
const MAGIC: u64 = 0x3173_6c6c_6163_7477;
const MAGIC_WORD: usize = 0;
/// A bit for each slot in force.
const IN_FORCE_WORD: usize = 1;
const NO_SPACE_WORD: usize = 2;
const OVER_QUOTA_WORD: usize = 3;
const NO_DESCRIPTOR_WORD: usize = 4;
const IO_ERROR_WORD: usize = 5;
const NO_TASK_WORD: usize = 6;
const SLOTS_WORD: usize = 16;
const SLOT_WORDS: usize = 16;
const SLOTS: usize = 16;
/// Of a slot: which fault it is, counted up.
const TURN_WORD: usize = 0;
/// How probable it is that a read or a sync fails: of 2^64.
const READS_WORD: usize = 1;
const SYNCS_WORD: usize = 2;
const SEED_WORD: usize = 3;
/// Bytes per second, and nanoseconds for each sync; 0 for none.
const RATE_WORD: usize = 4;
const DELAY_WORD: usize = 5;
/// How many reads and syncs there were while it was in force, and on how many calls it has bitten.
const READS_SO_FAR_WORD: usize = 6;
const BITTEN_WORD: usize = 8;
/// When all that was written will have been written back: genuine `CLOCK_MONOTONIC`.
const FREE_AT_WORD: usize = 9;

const _: () = assert!(SLOTS_WORD + SLOTS * SLOT_WORDS <= PAGE_WORDS && SLOTS <= 64);

/// The layout in words, to be compared with what the other room writes.
pub(crate) const LAYOUT: [usize; 19] = [
    MAGIC as usize,
    IN_FORCE_WORD,
    NO_SPACE_WORD,
    OVER_QUOTA_WORD,
    NO_DESCRIPTOR_WORD,
    IO_ERROR_WORD,
    NO_TASK_WORD,
    SLOTS_WORD,
    SLOT_WORDS,
    SLOTS,
    TURN_WORD,
    READS_WORD,
    SYNCS_WORD,
    SEED_WORD,
    RATE_WORD,
    DELAY_WORD,
    READS_SO_FAR_WORD,
    BITTEN_WORD,
    FREE_AT_WORD,
];

pub(super) static PAGE: Installed<Page> = Installed::none();

/// This process's page. Without one, calls are the genuine ones, at the cost of this look.
#[inline]
pub(super) fn page() -> Option<&'static Page> {
    PAGE.get()
}

/// The words that the world and this process share.
#[repr(transparent)]
pub(super) struct Page([AtomicU64; PAGE_WORDS]);

impl Page {
    /// Whether it is a page of this layout.
    pub(super) fn is_known(&self) -> bool {
        self.0[MAGIC_WORD].load(Ordering::Acquire) == MAGIC
    }

    /// Counts what a call was refused.
    #[cold]
    pub(super) fn count_refusal(&self, error: libc::c_int) {
        let word = match error {
            libc::ENOSPC => NO_SPACE_WORD,
            libc::EDQUOT => OVER_QUOTA_WORD,
            libc::EMFILE => NO_DESCRIPTOR_WORD,
            libc::EIO => IO_ERROR_WORD,
            _ => return,
        };
        self.0[word].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that no thread could be made.
    #[cold]
    pub(super) fn count_refused_task(&self, error: libc::c_int) {
        if error == libc::EAGAIN {
            self.0[NO_TASK_WORD].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether there is no fault at all.
    #[inline]
    pub(super) fn is_calm(&self) -> bool {
        self.0[IN_FORCE_WORD].load(Ordering::Acquire) == 0
    }

    fn is_in_force(&self, number: usize) -> bool {
        self.0[IN_FORCE_WORD].load(Ordering::Acquire) >> number & 1 == 1
    }

    /// The faults in force.
    pub(super) fn faults(&self) -> impl Iterator<Item = Fault<'_>> {
        let in_force = self.0[IN_FORCE_WORD].load(Ordering::Acquire);
        (0..SLOTS).filter(move |number| in_force >> number & 1 == 1).map(|number| {
            let words = &self.0[SLOTS_WORD + number * SLOT_WORDS..][..SLOT_WORDS];
            Fault { page: self, number, words, turn: words[TURN_WORD].load(Ordering::Relaxed) }
        })
    }
}

/// What may fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read = 0,
    Sync = 1,
}

/// A fault in force.
#[derive(Clone, Copy)]
pub(super) struct Fault<'a> {
    page: &'a Page,
    number: usize,
    words: &'a [AtomicU64],
    turn: u64,
}

impl Fault<'_> {
    fn word(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }

    /// Whether it has not ended since it was found.
    pub(super) fn holds(&self) -> bool {
        self.page.is_in_force(self.number) && self.word(TURN_WORD) == self.turn
    }

    pub(super) fn has_bitten(&self) {
        self.words[BITTEN_WORD].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether such calls may fail at all.
    pub(super) fn may_fail(&self, what: Operation) -> bool {
        self.word(READS_WORD + what as usize) > 0
    }

    /// Decides one call, by the seed and how many there were before: the same in every run.
    pub(super) fn fails(&self, what: Operation) -> bool {
        let threshold = self.word(READS_WORD + what as usize);
        if threshold == 0 {
            return false;
        }
        let number = self.words[READS_SO_FAR_WORD + what as usize].fetch_add(1, Ordering::Relaxed);
        let drawn = mix(mix(self.word(SEED_WORD) ^ what as u64) ^ number);
        drawn < threshold || threshold == u64::MAX
    }

    /// Bytes per second at most, if it says so.
    pub(super) fn rate(&self) -> Option<u64> {
        Some(self.word(RATE_WORD)).filter(|rate| *rate > 0)
    }

    /// What each sync takes more.
    pub(super) fn delay_ns(&self) -> u64 {
        self.word(DELAY_WORD)
    }

    pub(super) fn is_slow(&self) -> bool {
        self.word(RATE_WORD) > 0 || self.word(DELAY_WORD) > 0
    }

    /// Gives the disk something to do that takes so long; answers when it will have done it.
    pub(super) fn takes(&self, now_ns: u64, ns: u64) -> u64 {
        let later = |free_at: u64| free_at.max(now_ns).saturating_add(ns);
        let before = self.words[FREE_AT_WORD].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| Some(later(at)));
        // It never refuses to update.
        later(before.unwrap_or_else(|at| at))
    }
}
