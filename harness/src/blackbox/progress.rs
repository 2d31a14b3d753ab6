//! How far a case is and whom it runs: what is known of it when it dies without a word.

use super::At;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

const EVENT: usize = 0;
const NOW: usize = 1;
const LAYOUT: usize = 2;
const EXECUTION: usize = 3;
const FAULTS: usize = 4;
const EFFECTIVE_FAULTS: usize = 5;
const HOST: usize = 6;
const NAME_WORDS: usize = 8;
const THREAD: usize = HOST + NAME_WORDS;
pub(super) const PROGRESS_WORDS: usize = THREAD + NAME_WORDS;

/// Written by the case, read by the supervisor at any time.
#[derive(Clone, Copy)]
pub(crate) struct Progress<'b> {
    words: &'b [AtomicU64; PROGRESS_WORDS],
}

impl<'b> Progress<'b> {
    pub(super) fn new(words: &'b [AtomicU64; PROGRESS_WORDS]) -> Self {
        Self { words }
    }

    /// Notes where the case is.
    pub(crate) fn reached(self, at: At, host: &str, thread: &str) {
        self.words[EVENT].store(at.event, Ordering::Relaxed);
        self.words[NOW].store(at.now_ns, Ordering::Relaxed);
        store(&self.words[HOST..THREAD], host);
        store(&self.words[THREAD..], thread);
    }

    /// Where the case was when it last said so.
    pub(crate) fn at(self) -> At {
        let word = |word: usize| self.words[word].load(Ordering::Relaxed);
        At { event: word(EVENT), now_ns: word(NOW) }
    }

    /// The host that ran then, and its thread.
    pub(crate) fn running(self) -> (String, String) {
        (load(&self.words[HOST..THREAD]), load(&self.words[THREAD..]))
    }

    /// A fault has ended that was begun by hand.
    pub(crate) fn fault_ended(self, affected: u64) {
        self.words[FAULTS].fetch_add(1, Ordering::Relaxed);
        self.words[EFFECTIVE_FAULTS].fetch_add(u64::from(affected > 0), Ordering::Relaxed);
    }

    /// How many faults have ended, and how many of these made a difference.
    pub(crate) fn faults(self) -> (u64, u64) {
        (self.words[FAULTS].load(Ordering::Relaxed), self.words[EFFECTIVE_FAULTS].load(Ordering::Relaxed))
    }

    /// Where refusals of the kernel go while a worker is being executed: of the layout, of the execution.
    pub(crate) fn refusals(self) -> [&'b AtomicU64; 2] {
        [&self.words[LAYOUT], &self.words[EXECUTION]]
    }

    /// Why addresses could not be fixed.
    pub(crate) fn layout_refusal(self) -> Option<io::Error> {
        self.refusal(LAYOUT)
    }

    /// Why there is no worker.
    pub(crate) fn execution_refusal(self) -> Option<io::Error> {
        self.refusal(EXECUTION)
    }

    fn refusal(self, word: usize) -> Option<io::Error> {
        let errno = i32::try_from(self.words[word].load(Ordering::Acquire)).unwrap_or(0);
        (errno != 0).then(|| io::Error::from_raw_os_error(errno))
    }

    /// Forgets the last case; refusals concern the worker and stay.
    pub(super) fn reset(self) {
        self.reached(At::default(), "", "");
        self.words[FAULTS].store(0, Ordering::Relaxed);
        self.words[EFFECTIVE_FAULTS].store(0, Ordering::Relaxed);
    }
}

fn store(words: &[AtomicU64], name: &str) {
    let name = super::fitting(name, words.len() * 8).as_bytes();
    for (index, word) in words.iter().enumerate() {
        let bytes = std::array::from_fn(|i| name.get(index * 8 + i).copied().unwrap_or(0));
        word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
    }
}

fn load(words: &[AtomicU64]) -> String {
    let bytes = words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
    let name: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_is_known() {
        let words = [const { AtomicU64::new(0) }; PROGRESS_WORDS];
        let progress = Progress::new(&words);
        let thread = "ü".repeat(40);
        progress.reached(At { event: 3, now_ns: 4 }, "kv0", &thread);
        assert_eq!(progress.at(), At { event: 3, now_ns: 4 });
        assert_eq!(progress.running(), ("kv0".to_owned(), "ü".repeat(32)));
        progress.refusals()[0].store(1, Ordering::Release);
        [0, 7, 1].into_iter().for_each(|affected| progress.fault_ended(affected));
        assert_eq!(progress.faults(), (3, 2));
        progress.reset();
        assert_eq!(progress.faults(), (0, 0));
        assert_eq!(progress.running(), (String::new(), String::new()));
        assert_eq!(progress.layout_refusal().and_then(|error| error.raw_os_error()), Some(libc::EPERM));
        assert!(progress.execution_refusal().is_none());
    }
}
