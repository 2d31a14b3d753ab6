//! The same addresses although a program logs more.
//!
//! A program that logs allocates for it, and what it keeps (spans, caches of formatted fields) moves everything that is
//! allocated later. Yet looking must not change the run. So a case is run as it is, and the heap notes what it gives:
//! that is the record. When the same case runs again to be looked at, each request that stands in the record is given
//! what it was given then, and what does not stand there comes from a heap of its own.
//!
//! A request is known by its thread, by how many calls that thread had made, by who asked (the callers' addresses and
//! where the stack stood) and by its size. Should a request for logging agree with another in all of these, it would
//! take its place; the digests would tell.

use super::super::lent::Lent;
use super::region::Block;
use super::{Heap, Request, create_aside};
use crate::world::{HeapRecord, HeapRecordUse};
use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Threads that can have a record; numbers beyond are given whatever is free.
const THREADS_MAX: usize = 1 << 16;
/// How many callers tell requests apart.
const FRAMES: usize = 16;
/// How far ahead in its record a request is looked for.
const AHEAD_MAX: usize = 256;

// The running world's.
static USE: AtomicUsize = AtomicUsize::new(NOT_AT_ALL);
const NOT_AT_ALL: usize = 0;
const KEEP: usize = 1;
const FOLLOW: usize = 2;
static WORDS: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
static WORDS_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Before a thread's first entry has been looked for.
const NOT_YET: u32 = u32::MAX;

/// A place in one thread's record: the number of its next entry.
#[derive(Debug)]
pub(crate) struct Cursor(Cell<u32>);

impl Cursor {
    /// Before the thread's first entry.
    pub(crate) fn at_start() -> Cursor {
        Cursor(Cell::new(NOT_YET))
    }
}

/// Uses a record in this process's world.
pub(crate) fn begin(record: &HeapRecord) {
    let words = record.words;
    WORDS.store(words.as_ptr().cast_mut(), Ordering::Relaxed);
    WORDS_COUNT.store(words.len(), Ordering::Relaxed);
    let what = match record.wanted {
        HeapRecordUse::Keep => KEEP,
        HeapRecordUse::Follow => FOLLOW,
    };
    USE.store(what, Ordering::Relaxed);
}

/// Whether requests are noted or looked up.
#[inline]
pub(super) fn wanted() -> bool {
    USE.load(Ordering::Relaxed) != NOT_AT_ALL
}

/// `[entries][first entry of each thread…][entries…]`; entries are numbered from 1.
struct Record(&'static [AtomicU64]);

/// Hash of request and callers; calls and next entry of the thread; address.
const ENTRY_WORDS: usize = 3;
const ENTRIES: usize = 1 + THREADS_MAX;

/// How many words of a record have been written.
pub(crate) fn used_words(words: &[AtomicU64]) -> usize {
    match words.first().map_or(0, |entries| entries.load(Ordering::Relaxed)) as usize {
        0 => 0,
        entries => ENTRIES + entries * ENTRY_WORDS,
    }
}

impl Record {
    fn current() -> Record {
        let (words, count) = (WORDS.load(Ordering::Relaxed), WORDS_COUNT.load(Ordering::Relaxed));
        // SAFETY: both are of the slice that `begin` was given, which lives for ever.
        Record(unsafe { std::slice::from_raw_parts(words, count) })
    }

    fn get(&self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    fn set(&self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    /// The words of an entry.
    fn entry(&self, number: u32) -> usize {
        ENTRIES + (number as usize - 1) * ENTRY_WORDS
    }

    fn next(&self, number: u32) -> u32 {
        self.get(self.entry(number) + 1) as u32
    }

    fn calls(&self, number: u32) -> u32 {
        (self.get(self.entry(number) + 1) >> 32) as u32
    }

    /// Appends an entry to a thread's record, unless there is no room.
    fn append(&self, thread: usize, cursor: &Cursor, key: u64, calls: u32, address: usize) {
        let number = self.get(0) + 1;
        let end = ENTRIES as u64 + number * ENTRY_WORDS as u64;
        if end > self.0.len() as u64 || number >= u64::from(u32::MAX) || thread >= THREADS_MAX {
            return;
        }
        self.set(0, number);
        let number = number as u32;
        let at = self.entry(number);
        self.set(at, key);
        self.set(at + 1, u64::from(calls) << 32);
        self.set(at + 2, address as u64);
        match cursor.0.replace(number) {
            NOT_YET => self.set(1 + thread, u64::from(number)),
            last => self.set(self.entry(last) + 1, self.get(self.entry(last) + 1) | u64::from(number)),
        }
    }

    /// What the request was given when the record was written.
    fn find(&self, thread: usize, cursor: &Cursor, key: u64, calls: u32) -> Option<usize> {
        if thread >= THREADS_MAX {
            return None;
        }
        if cursor.0.get() == NOT_YET {
            cursor.0.set(self.get(1 + thread) as u32);
        }
        let mut number = cursor.0.get();
        for _ in 0..AHEAD_MAX {
            if number == 0 || self.calls(number) > calls {
                return None;
            }
            if self.calls(number) < calls && cursor.0.get() == number {
                cursor.0.set(self.next(number)); // the thread has gone on without it
            } else if self.calls(number) == calls && self.get(self.entry(number)) == key {
                cursor.0.set(self.next(number));
                return Some(self.get(self.entry(number) + 2) as usize);
            }
            number = self.next(number);
        }
        None
    }
}

/// A hash over the request and who made it.
fn key(request: Request) -> u64 {
    // A function allocates for its own sake and for that of a line of log at the same depth; who it called for that is
    // not the same. This hook's own frames are among these.
    let mut frames = [0; FRAMES];
    let count = crate::abi::backtrace(&mut frames);
    let known = [request.stack, request.bytes, request.alignment];
    // FxHash: quick, and good enough for what is compared within one call's requests only.
    let step = |hash: u64, word: &usize| (hash.rotate_left(5) ^ *word as u64).wrapping_mul(0x517c_c1b7_2722_0a95);
    frames[..count].iter().chain(&known).fold(0, step)
}

/// Allocates with a record: notes what is given, or gives what was noted.
///
/// # Safety
/// `lent` is the running thread's own.
#[cold]
pub(super) unsafe fn take(lent: *mut Lent, heap: Heap, class: usize, request: Request) -> Option<Block> {
    // SAFETY: as promised.
    let (thread, calls, cursor) = unsafe { ((*lent).serial as usize, (*lent).calls, &(*lent).cursor) };
    let key = key(request);
    let record = Record::current();
    if USE.load(Ordering::Relaxed) == KEEP {
        let block = heap.take(class, request.alignment)?;
        record.append(thread, cursor, key, calls, block.address);
        return Some(block);
    }
    let noted = record.find(thread, cursor, key, calls);
    noted.and_then(|address| heap.claim(address)).or_else(|| extra(heap)?.take(class, request.alignment))
}

/// The heap for what follows no record.
fn extra(heap: Heap) -> Option<Heap> {
    heap.extra().or_else(|| {
        let extra = create_aside()?;
        heap.set_extra(extra);
        Some(extra)
    })
}
