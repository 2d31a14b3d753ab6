//! The page that a host's libc hooks read, and count in.

use super::fault::{CallFault, Wanted};
use super::layout::{
    IN_FORCE_WORD, IO_ERROR_WORD, MAGIC, MAGIC_WORD, NO_DESCRIPTOR_WORD, NO_SPACE_WORD, NO_TASK_WORD, OVER_QUOTA_WORD,
    PAGE_BYTES,
};
use crate::error::{Error, Result};
use crate::sys::SharedWords;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a host's calls go by, for as long as the host runs.
///
/// ```
/// use windtunnel_inject::Injection;
/// use windtunnel_inject::boundary::Page;
///
/// let page = Page::make()?;
/// // … a host is executed that is handed `page.fd()` …
/// let mut failing = page.fail_io(0.0, 0.5, 42)?;
/// failing.read_back()?;
/// failing.heal()?;
/// assert_eq!(page.counts().io_errors, 0);
/// # windtunnel_inject::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Page {
    fd: OwnedFd,
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) words: SharedWords,
    /// Held by whoever takes a slot.
    pub(super) taking: Mutex<()>,
}

/// How often a host's calls were refused something, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// `ENOSPC`: no space, or no inode.
    pub no_space: u64,
    /// `EDQUOT`.
    pub over_quota: u64,
    /// `EMFILE`.
    pub no_descriptor: u64,
    /// `EIO`, also where a fault of the page was the reason.
    pub io_errors: u64,
    /// `EAGAIN` of what makes a thread or a process.
    pub no_task: u64,
}

impl Page {
    /// A page that says that nothing is wrong.
    ///
    /// # Errors
    /// There is no memory for it, or no descriptor.
    pub fn make() -> Result<Self> {
        let (fd, words) = SharedWords::sealed("windtunnel-calls", PAGE_BYTES / 8, MAGIC)
            .map_err(|error| Error::os("make a page for calls", error))?;
        Ok(Self { fd, shared: Arc::new(Shared { words, taking: Mutex::new(()) }) })
    }

    /// The page's memory (memfd_create(2)), which is closed on exec unless it is duplicated for the host.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Has reads from regular files fail with `EIO`, and syncs of them, each with its probability. Which do is decided
    /// by the seed and how many of them there were before. A sync that has failed says so once: as long as nobody
    /// writes to the file, the next one says that all is well and brings nothing to the disk, as on Linux.
    ///
    /// # Errors
    /// There are too many faults in force.
    pub fn fail_io(&self, reads: f64, syncs: f64, seed: u64) -> Result<CallFault> {
        let wanted = Wanted { reads: of_2_to_64(reads), syncs: of_2_to_64(syncs), seed, ..Wanted::default() };
        CallFault::begin(&self.shared, wanted)
    }

    /// Has the host's writes to regular files go at this rate: writes to the page cache wait when they are more than a
    /// second ahead of it, syncs and synchronous writes until all that was written is through. Each of these takes
    /// `delay` more. A rate of 0 is none.
    ///
    /// # Errors
    /// There are too many faults in force.
    pub fn slow(&self, bytes_per_second: u64, delay: Duration) -> Result<CallFault> {
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        CallFault::begin(&self.shared, Wanted { rate: bytes_per_second, delay_ns, ..Wanted::default() })
    }

    /// What the host's calls were refused so far.
    pub fn counts(&self) -> Counts {
        let count = |word: usize| self.shared.words[word].load(Ordering::Relaxed);
        Counts {
            no_space: count(NO_SPACE_WORD),
            over_quota: count(OVER_QUOTA_WORD),
            no_descriptor: count(NO_DESCRIPTOR_WORD),
            io_errors: count(IO_ERROR_WORD),
            no_task: count(NO_TASK_WORD),
        }
    }
}

impl Shared {
    /// Whether the page is still one: a host could write anything into it.
    pub(super) fn is_a_page(&self) -> bool {
        self.words[MAGIC_WORD].load(Ordering::Relaxed) == MAGIC
    }

    pub(super) fn in_force(&self) -> u64 {
        self.words[IN_FORCE_WORD].load(Ordering::Acquire)
    }
}

/// A probability as what 64 random bits are below. Rounded up to the most, which is always.
fn of_2_to_64(probability: f64) -> u64 {
    // 2^64; `as` keeps within the range, and makes 0 of what is no number.
    (probability * 18_446_744_073_709_551_616.0) as u64
}
