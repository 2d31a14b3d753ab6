//! The page that says what is added to this process's genuine clocks. `inject/src/clock/layout.rs` writes it.
//!
//! Two slots of words, and a turn whose last bit says which of them holds: whoever finds the same turn after reading as
//! before has read what belongs together, and a writer that was killed in between keeps nobody waiting.

use crate::abi::real_page::{Installed, PAGE_WORDS};
use std::sync::atomic::{AtomicI64, Ordering, fence};

/// "wtclock1", little-endian.
const MAGIC: i64 = 0x316b_636f_6c63_7477;
const MAGIC_WORD: usize = 0;
const TURN_WORD: usize = 1;
const WALL_READS_WORD: usize = 2;
const DRIFTING_READS_WORD: usize = 3;
const READ_AT_WORD: usize = 4;
const SLOTS_WORD: usize = 8;
/// A lease, which processes have that nobody ends; a host ends with its world.
const UNTIL_WORD: usize = 0;
/// A change that has just been told: how many pieces it has for the wall clock, none if there is no change; when it
/// was first heard of (negative if never); what it adds to the wall clock at once; how fast the monotonic one runs from
/// then on; and for each piece how long afterwards it begins, and how fast the wall clock runs then.
const CHANGE_WORD: usize = 1;
const HEARD: usize = CHANGE_WORD + 1;
const JUMP: usize = CHANGE_WORD + 2;
const MONOTONIC_PPM: usize = CHANGE_WORD + 3;
const PIECES: usize = CHANGE_WORD + 4;
const PIECES_MAX: usize = 4;
const CHANGE_WORDS: usize = 4 + 2 * PIECES_MAX;
const WALL_WORD: usize = CHANGE_WORD + CHANGE_WORDS;
const MONOTONIC_WORD: usize = WALL_WORD + CURVE_WORDS;
const LINE_WORDS: usize = 3;
const LINES_MAX: usize = 16;
const CURVE_WORDS: usize = 1 + LINES_MAX * LINE_WORDS;
const SLOT_WORDS: usize = MONOTONIC_WORD + CURVE_WORDS;

const _: () = assert!(SLOTS_WORD + 2 * SLOT_WORDS <= PAGE_WORDS);

/// The layout in words, to be compared with what the other room writes.
pub(crate) const LAYOUT: [usize; 15] = [
    MAGIC as usize,
    TURN_WORD,
    WALL_READS_WORD,
    DRIFTING_READS_WORD,
    READ_AT_WORD,
    SLOTS_WORD,
    UNTIL_WORD,
    CHANGE_WORD,
    PIECES_MAX,
    WALL_WORD,
    MONOTONIC_WORD,
    LINE_WORDS,
    CURVE_WORDS,
    SLOT_WORDS,
    LINES_MAX,
];

const MILLION: i128 = 1_000_000;

pub(super) static PAGE: Installed<Page> = Installed::none();

/// This process's page. Without one, clocks are the genuine ones, at the cost of this look.
#[inline]
pub(super) fn page() -> Option<&'static Page> {
    PAGE.get()
}

/// Which of the curves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    Wall,
    Monotonic,
}

/// What holds from a moment on.
#[derive(Clone, Copy, Default)]
pub(super) struct Line {
    since_ns: i64,
    adds_ns: i64,
    ppm: i64,
}

impl Line {
    /// What it adds. Within a line this never makes a clock stand still or go back: `ppm` is above -1,000,000.
    pub(super) fn adds(self, now_ns: i64) -> i64 {
        let passed = now_ns.saturating_sub(self.since_ns).max(0);
        if self.ppm == 0 {
            return self.adds_ns;
        }
        let more = (i128::from(passed) * i128::from(self.ppm)).div_euclid(MILLION);
        self.adds_ns.saturating_add(more as i64)
    }

    pub(super) fn is_drifting(self) -> bool {
        self.ppm != 0
    }
}

/// The slot that holds, as far as is known.
#[derive(Clone, Copy)]
struct Slot {
    turn: i64,
    /// Where it begins.
    at: usize,
}

/// The words that the world and this process share.
#[repr(transparent)]
pub(super) struct Page([AtomicI64; PAGE_WORDS]);

impl Page {
    fn word(&self, at: usize) -> i64 {
        self.0[at].load(Ordering::Relaxed)
    }

    /// Whether it is a page of this layout.
    pub(super) fn is_known(&self) -> bool {
        self.0[MAGIC_WORD].load(Ordering::Acquire) == MAGIC
    }

    /// Reads what belongs together.
    fn consistent<T>(&self, read: impl Fn(Slot) -> T) -> T {
        loop {
            let turn = self.0[TURN_WORD].load(Ordering::Acquire);
            let found = read(Slot { turn, at: SLOTS_WORD + (turn & 1) as usize * SLOT_WORDS });
            fence(Ordering::Acquire);
            if self.word(TURN_WORD) == turn {
                return found;
            }
        }
    }

    /// Whether nothing has ever been added to any clock.
    #[inline]
    pub(super) fn is_untouched(&self) -> bool {
        self.0[TURN_WORD].load(Ordering::Acquire) == 0
    }

    /// When the change that was told with this slot takes effect: as soon as anybody has heard of it. Whoever read a
    /// clock without knowing did so before, so everybody agrees on what holds at every moment.
    fn changes_at(&self, slot: Slot) -> Option<i64> {
        if self.word(slot.at + CHANGE_WORD) == 0 {
            return None;
        }
        let heard = &self.0[slot.at + HEARD];
        let first = heard.load(Ordering::Acquire);
        if first >= 0 {
            return Some(first);
        }
        // Not yet. What stands there instead names the turn: whoever was held up here, and finds the slot being filled
        // for another, must not say when that change takes effect, of which nobody has heard yet.
        let now = super::shown::genuine_monotonic();
        let told = heard.compare_exchange(-slot.turn, now, Ordering::AcqRel, Ordering::Acquire);
        Some(told.map_or_else(|first| first, |_| now))
    }

    /// How many lines a curve has, and the lines, each with its end.
    fn lines(&self, slot: Slot, hand: Hand) -> impl DoubleEndedIterator<Item = (Line, i64)> + '_ {
        let curve = slot.at + curve_word(hand);
        let changes_at = self.changes_at(slot);
        let count = (self.word(curve) as usize).min(LINES_MAX);
        let line = move |index: usize| {
            let at = curve + 1 + index * LINE_WORDS;
            if count == 0 {
                return Line::default();
            }
            Line { since_ns: self.word(at), adds_ns: self.word(at + 1), ppm: self.word(at + 2) }
        };
        // No line at all is a line of zeros.
        let lines = (0..count.max(1)).map(move |index| {
            let next = if index + 1 < count { line(index + 1).since_ns } else { i64::MAX };
            (line(index), next.min(changes_at.unwrap_or(i64::MAX)))
        });
        let changed = changes_at.map_or([None; PIECES_MAX], |at| {
            let before = (0..count.max(1)).rev().map(line).find(|line| line.since_ns <= at).unwrap_or_else(|| line(0));
            self.change(slot, hand, at, before.adds(at))
        });
        lines.chain(changed.into_iter().flatten())
    }

    /// What a change makes of a curve that added this when it took effect: lines, each with its end.
    fn change(&self, slot: Slot, hand: Hand, at_ns: i64, added_ns: i64) -> [Option<(Line, i64)>; PIECES_MAX] {
        let mut lines = [None; PIECES_MAX];
        if hand == Hand::Monotonic {
            let ppm = self.word(slot.at + MONOTONIC_PPM);
            lines[0] = Some((Line { since_ns: at_ns, adds_ns: added_ns, ppm }, i64::MAX));
            return lines;
        }
        let piece = |index: usize| {
            let word = slot.at + PIECES + 2 * index;
            (at_ns.saturating_add(self.word(word)), self.word(word + 1))
        };
        let count = (self.word(slot.at + CHANGE_WORD) as usize).min(PIECES_MAX);
        let mut adds_ns = added_ns.saturating_add(self.word(slot.at + JUMP));
        for (index, place) in lines.iter_mut().enumerate().take(count) {
            let (since_ns, ppm) = piece(index);
            let ends_ns = if index + 1 < count { piece(index + 1).0 } else { i64::MAX };
            let line = Line { since_ns, adds_ns, ppm };
            *place = Some((line, ends_ns));
            adds_ns = line.adds(ends_ns);
        }
        lines
    }

    /// The line of a curve that holds at a moment, and that moment: a later one if what held then is not known any
    /// more.
    pub(super) fn line_at(&self, hand: Hand, now_ns: i64) -> (i64, Line) {
        self.consistent(|slot| {
            let begun = self.lines(slot, hand).rfind(|(line, _)| line.since_ns <= now_ns);
            let line = begun.or_else(|| self.lines(slot, hand).next()).map(|(line, _)| line).unwrap_or_default();
            (now_ns.max(line.since_ns), line)
        })
    }

    /// The first moment, from `now_ns` on, at which a clock shows this that is `base_ns` ahead of `CLOCK_MONOTONIC`
    /// without what is added.
    pub(super) fn when(&self, hand: Hand, base_ns: i64, shows_ns: i64, now_ns: i64) -> i64 {
        self.consistent(|slot| {
            let lines = self.lines(slot, hand).filter(|(line, ends)| *ends > now_ns && *ends > line.since_ns);
            let mut shown = lines.map(|(line, ends)| {
                let begins = if line.since_ns > now_ns { line.since_ns } else { now_ns };
                (first_in(line, base_ns, shows_ns, begins), ends)
            });
            shown.find(|(at, ends)| at < ends).map_or(i64::MAX, |(at, _)| at)
        })
    }

    /// Counts a look at a clock that is wrong.
    pub(super) fn count_read(&self, hand: Hand, line: Line, now_ns: i64) {
        let wrong = hand == Hand::Wall && (line.is_drifting() || line.adds(now_ns) != 0);
        let drifting = self.line_at(Hand::Monotonic, now_ns).1.is_drifting();
        if wrong {
            self.0[WALL_READS_WORD].fetch_add(1, Ordering::Relaxed);
        }
        if drifting {
            self.0[DRIFTING_READS_WORD].fetch_add(1, Ordering::Relaxed);
        }
        if wrong || drifting {
            self.0[READ_AT_WORD].store(now_ns, Ordering::Relaxed);
        }
    }
}

fn curve_word(hand: Hand) -> usize {
    match hand {
        Hand::Wall => WALL_WORD,
        Hand::Monotonic => MONOTONIC_WORD,
    }
}

/// When a clock shows this, if this line goes on for ever.
fn first_in(line: Line, base_ns: i64, shows_ns: i64, begins_ns: i64) -> i64 {
    let shown = |at: i64| i128::from(at) + i128::from(base_ns) + i128::from(line.adds(at));
    let left = i128::from(shows_ns) - shown(begins_ns);
    if left <= 0 {
        return begins_ns;
    }
    let speed = MILLION + i128::from(line.ppm);
    let lasts = (left * MILLION + speed - 1) / speed;
    let at = i64::try_from(i128::from(begins_ns) + lasts).unwrap_or(i64::MAX);
    // What is added is rounded down, which may leave it a little early; no timer may be.
    (at..at.saturating_add(16)).find(|at| shown(*at) >= i128::from(shows_ns)).unwrap_or(at)
}
