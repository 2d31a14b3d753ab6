//! A fault of a host's calls: a slot of its page.

use super::layout::{
    BITTEN_WORD, DELAY_WORD, FREE_AT_WORD, IN_FORCE_WORD, RATE_WORD, READS_SO_FAR_WORD, READS_WORD, SEED_WORD,
    SLOT_WORDS, SLOTS, SLOTS_WORD, SYNCS_WORD, TURN_WORD,
};
use super::page::Shared;
use crate::Injection;
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::step::reached;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wanted {
    pub(super) reads: u64,
    pub(super) syncs: u64,
    pub(super) seed: u64,
    pub(super) rate: u64,
    pub(super) delay_ns: u64,
}

impl Wanted {
    fn words(self) -> [(usize, u64); 5] {
        [
            (READS_WORD, self.reads),
            (SYNCS_WORD, self.syncs),
            (SEED_WORD, self.seed),
            (RATE_WORD, self.rate),
            (DELAY_WORD, self.delay_ns),
        ]
    }
}

/// Calls that fail or take longer. See [`Injection`].
#[derive(Debug)]
pub struct CallFault {
    shared: Arc<Shared>,
    slot: usize,
    wanted: Wanted,
    /// What it had bitten on when it was healed.
    over: Option<u64>,
}

impl CallFault {
    pub(super) fn begin(shared: &Arc<Shared>, wanted: Wanted) -> Result<Self> {
        let taking = lock(&shared.taking);
        let slot = (!shared.in_force()).trailing_zeros() as usize;
        if slot >= SLOTS {
            return Err(Error::lacking(
                "strike a host's calls",
                "room for so many faults at a time",
                "heal others first",
            ));
        }
        let fault = Self { shared: Arc::clone(shared), slot, wanted, over: None };
        reached("a page of calls is to be written");
        fault.word(TURN_WORD).fetch_add(1, Ordering::Relaxed);
        for (word, value) in wanted.words() {
            fault.word(word).store(value, Ordering::Relaxed);
        }
        for word in [READS_SO_FAR_WORD, READS_SO_FAR_WORD + 1, BITTEN_WORD, FREE_AT_WORD] {
            fault.word(word).store(0, Ordering::Relaxed);
        }
        reached("a page of calls is written");
        shared.words[IN_FORCE_WORD].fetch_or(1 << slot, Ordering::AcqRel);
        reached("a page of calls is in force");
        drop(taking);
        Ok(fault)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.shared.words[SLOTS_WORD + self.slot * SLOT_WORDS + at]
    }
}

impl Injection for CallFault {
    fn mechanism(&self) -> &'static str {
        "a page that the host's libc hooks read"
    }

    fn read_back(&mut self) -> Result<()> {
        const WHAT: &str = "read back what a host's calls go by";
        if self.over.is_some() {
            return Err(Error::unlike(WHAT, "a fault", "that it was healed"));
        }
        let says = self.wanted.words().iter().all(|(word, value)| self.word(*word).load(Ordering::Relaxed) == *value);
        if self.shared.is_a_page() && self.shared.in_force() >> self.slot & 1 == 1 && says {
            return Ok(());
        }
        Err(Error::unlike(WHAT, format!("{:?}", self.wanted), "another page"))
    }

    /// How many calls have failed or waited for it.
    fn bit(&mut self) -> Result<u64> {
        Ok(self.over.unwrap_or_else(|| self.word(BITTEN_WORD).load(Ordering::Relaxed)))
    }

    /// Who waits goes on within 10 ms.
    fn heal(&mut self) -> Result<()> {
        if self.over.is_some() {
            return Ok(());
        }
        let taking = lock(&self.shared.taking);
        reached("a page of calls is to be lifted");
        self.shared.words[IN_FORCE_WORD].fetch_and(!(1 << self.slot), Ordering::AcqRel);
        reached("a page of calls is lifted");
        // Counted before the slot can be another fault's.
        self.over = Some(self.word(BITTEN_WORD).load(Ordering::Relaxed));
        drop(taking);
        Ok(())
    }
}

impl Drop for CallFault {
    fn drop(&mut self) {
        // It cannot fail.
        let _healed = self.heal();
    }
}
