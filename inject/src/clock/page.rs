//! Clocks of one's own hosts: a page of shared memory that their libc hooks read.
//!
//! A host is a process executed from the test's binary, whose libc symbols are windtunnel's. It is handed the page's
//! descriptor and maps it (`windtunnel_sim::real_clock::install`); from then on its clocks show what the page says.

use super::fault::{self, ClockFault, Face, Reads, Shown, now_ns};
use super::layout::{
    DRIFTING_READS_WORD, HEARD_WORD, MAGIC, MAGIC_WORD, PAGE_BYTES, READ_AT_WORD, TURN_WORD, WALL_READS_WORD, slot,
    slot_word,
};
use super::motion::{Change, Clocks};
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::step::reached;
use crate::sys::SharedWords;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a host's clocks show, for as long as it is not dropped and the host runs.
///
/// ```
/// use windtunnel_inject::Injection;
/// use windtunnel_inject::clock::ClockPage;
///
/// let page = ClockPage::make()?;
/// // … a host is executed that is handed `page.fd()` …
/// let mut ahead = page.skew(5_000_000_000, false)?;
/// ahead.read_back()?;
/// ahead.heal()?;
/// # windtunnel_inject::Result::Ok(())
/// ```
pub struct ClockPage {
    fd: OwnedFd,
    shown: Arc<Mutex<Shown<Page>>>,
}

impl ClockPage {
    /// A page that says that all clocks are right.
    ///
    /// # Errors
    /// There is no memory for it, or no descriptor.
    pub fn make() -> Result<Self> {
        let (fd, words) = SharedWords::sealed("windtunnel-clocks", PAGE_BYTES / 8, MAGIC)
            .map_err(|error| Error::os("make a page for clocks", error))?;
        let shown = Shown { clocks: Clocks::default(), face: Page { words } };
        Ok(Self { fd, shown: Arc::new(Mutex::new(shown)) })
    }

    /// The page's memory (memfd_create(2)), which is closed on exec unless it is duplicated for the host.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Sets the wall clock (`CLOCK_REALTIME`) off by so many nanoseconds, 200 years at most; positive when ahead. At
    /// once, or `slewed` at 500 ppm as adjtime(3) does, there and back.
    ///
    /// # Errors
    /// It is too much.
    pub fn skew(&self, by_ns: i64, slewed: bool) -> Result<ClockFault> {
        fault::skew(&self.shown, by_ns, slewed)
    }

    /// Makes all clocks run faster by so many parts in a million, or slower: timeouts with them. When that ends, the
    /// wall clock is put right at once if `stepped`, or else at 500 ppm; `CLOCK_MONOTONIC` keeps what it has counted.
    /// All drifts together are kept within 900,000 ppm.
    ///
    /// # Errors
    /// It is more than 500,000 ppm.
    pub fn drift(&self, ppm: i64, stepped: bool) -> Result<ClockFault> {
        fault::drift(&self.shown, ppm, stepped)
    }

    /// When the host last read a clock that was wrong: its genuine `CLOCK_MONOTONIC`. `None` if it never did.
    pub fn last_read(&self) -> Option<Duration> {
        let shown = lock(&self.shown);
        let at = shown.face.words[READ_AT_WORD].load(Ordering::Relaxed);
        (at != 0).then(|| Duration::from_nanos(at))
    }
}

/// The world that writes the page ends its hosts with it.
const NO_LEASE: i64 = i64::MAX;

struct Page {
    words: SharedWords,
}

impl Page {
    fn turn(&self) -> u64 {
        self.words[TURN_WORD].load(Ordering::Relaxed)
    }

    /// Fills the slot that does not hold, and turns to it. Answers where it begins.
    fn say(&self, said: &[u64]) -> usize {
        let turn = self.turn() + 1;
        let slot = slot_word(turn);
        reached("a page of clocks is to be written");
        // Whoever still reads what this was has to see that it was turned away from (seqlocks: Boehm, "Can seqlocks get
        // along with programming language memory models?", 2012).
        fence(Ordering::Release);
        for (word, value) in self.words[slot..].iter().zip(said) {
            word.store(*value, Ordering::Relaxed);
        }
        reached("a page of clocks is written");
        self.words[TURN_WORD].store(turn, Ordering::Release);
        reached("a page of clocks is turned");
        slot
    }
}

impl Face for Page {
    fn mechanism(&self) -> &'static str {
        "a page that the host's libc hooks read"
    }

    fn tell(&mut self, clocks: &Clocks, change: &Change) -> Result<i64> {
        let turn = self.turn() + 1;
        let slot = self.say(&slot(NO_LEASE, clocks, Some((change, turn))));
        // As its readers do: it holds since the first that heard of it.
        let (heard, now) = (&self.words[slot + HEARD_WORD], now_ns().cast_unsigned());
        let first = heard.compare_exchange(turn.wrapping_neg(), now, Ordering::AcqRel, Ordering::Acquire);
        Ok(first.map_or_else(|first| first, |_| now).cast_signed())
    }

    fn show(&mut self, clocks: &Clocks) -> Result<()> {
        self.say(&slot(NO_LEASE, clocks, None));
        Ok(())
    }

    fn check(&mut self, clocks: &Clocks) -> Result<()> {
        let turn = self.words[TURN_WORD].load(Ordering::Acquire);
        let wanted = slot(NO_LEASE, clocks, None);
        let says = |(word, value): (&_, &u64)| std::sync::atomic::AtomicU64::load(word, Ordering::Relaxed) == *value;
        let is_magic = self.words[MAGIC_WORD].load(Ordering::Relaxed) == MAGIC;
        if is_magic && self.words[slot_word(turn)..].iter().zip(&wanted).all(says) {
            return Ok(());
        }
        Err(Error::unlike("read a host's clocks back", format!("{:?}", clocks.wall), "another page"))
    }

    fn reads(&mut self) -> Result<Reads> {
        let count = |word: usize| self.words[word].load(Ordering::Relaxed);
        Ok(Reads { wall: count(WALL_READS_WORD), drifting: count(DRIFTING_READS_WORD) })
    }
}
