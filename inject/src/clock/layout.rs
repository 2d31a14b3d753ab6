//! The page that says what is added to clocks: words of eight bytes, written here, read by whoever shows the time.
//!
//! Readers are of two kinds: the libc hooks of a host (`sim/src/abi/real_clock/page.rs` has the same layout, and a test
//! that crosses the rooms compares them) and the machine code of `stub.rs`. There are two slots, and a turn whose last
//! bit says which of them holds. The writer fills the other and then turns, so a writer that is killed leaves a page
//! that can be read, and a reader that finds the same turn afterwards has read what belongs together.

use super::motion::{Change, Clocks, Curve, LINES_MAX, Line, PIECES_MAX};
use crate::sys::words;

/// Bytes of the page.
pub(super) const PAGE_BYTES: usize = 4096;
/// "wtclock1", little-endian: the layout's name and version.
pub(super) const MAGIC: u64 = 0x316b_636f_6c63_7477;
/// Words that are written once or counted up.
pub(super) const MAGIC_WORD: usize = 0;
/// Of a stub's page, which needs no name: whose it is.
pub(super) const MARK_WORD: usize = MAGIC_WORD;
/// Which slot holds: its last bit.
pub(super) const TURN_WORD: usize = words::TURN;
/// How often the wall clock was read, or waited for, while it was wrong.
pub(super) const WALL_READS_WORD: usize = words::WALL_READS;
/// How often any clock was read, or waited for, while clocks drifted.
pub(super) const DRIFTING_READS_WORD: usize = 3;
/// When a clock was last read while it was wrong: genuine `CLOCK_MONOTONIC`.
pub(super) const READ_AT_WORD: usize = words::READ_AT;
/// What the stub's reader keeps between reads: what wall and monotonic clock differ by.
pub(super) const TIE_WORD: usize = words::TIE;
/// Where the slots begin.
pub(super) const SLOTS_WORD: usize = words::SLOTS;
/// Of a slot: when its lease runs out.
pub(super) const UNTIL_WORD: usize = words::UNTIL;
/// Of a slot: a change that is being told. How many pieces it has for the wall clock, none if there is no change; when
/// it was first heard of (negative if never); what it adds to the wall clock at once; how fast the monotonic one runs
/// from then on; and for each piece how long afterwards it begins, and how fast the wall clock runs then.
pub(super) const CHANGE_WORD: usize = 1;
pub(super) const HEARD_WORD: usize = CHANGE_WORD + 1;
const CHANGE_WORDS: usize = 4 + 2 * PIECES_MAX;
pub(super) const WALL_WORD: usize = words::WALL;
pub(super) const MONOTONIC_WORD: usize = WALL_WORD + CURVE_WORDS;
/// Of a curve: how many lines there are, and then since, adds and ppm of each.
pub(super) const LINE_WORDS: usize = words::LINE;
pub(super) const CURVE_WORDS: usize = words::CURVE;
pub(super) const SLOT_WORDS: usize = words::SLOT;

const _: () = assert!((SLOTS_WORD + 2 * SLOT_WORDS) * 8 <= PAGE_BYTES);
const _: () = assert!(CHANGE_WORD + CHANGE_WORDS == WALL_WORD && CURVE_WORDS == 1 + LINES_MAX * LINE_WORDS);

/// The layout in words, to be compared with what the other room reads.
pub const LAYOUT: [usize; 15] = [
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

/// What a slot says.
///
/// A change comes with its turn, which stands there until somebody has heard of it.
pub(super) fn slot(until_ns: i64, clocks: &Clocks, change: Option<(&Change, u64)>) -> Vec<u64> {
    let mut words = vec![0; SLOT_WORDS];
    words[UNTIL_WORD] = until_ns.cast_unsigned();
    put(&clocks.wall, &mut words[WALL_WORD..]);
    put(&clocks.monotonic, &mut words[MONOTONIC_WORD..]);
    if let Some((Change { jump_ns, monotonic_ppm, wall }, turn)) = change {
        let pieces = wall.iter().take(PIECES_MAX);
        let head = [pieces.len() as i64, -turn.cast_signed(), *jump_ns, *monotonic_ppm];
        let said = head.into_iter().chain(pieces.flat_map(|piece| [piece.after_ns, piece.ppm]));
        for (word, value) in words[CHANGE_WORD..].iter_mut().zip(said) {
            *word = value.cast_unsigned();
        }
    }
    words
}

fn put(curve: &Curve, words: &mut [u64]) {
    // `Clocks::has_room` keeps curves within the room.
    words[0] = curve.lines.len().min(LINES_MAX) as u64;
    for (line, words) in curve.lines.iter().zip(words[1..].chunks_exact_mut(LINE_WORDS)) {
        let Line { since_ns, adds_ns, ppm } = *line;
        words.copy_from_slice(&[since_ns, adds_ns, ppm].map(i64::cast_unsigned));
    }
}

/// Where the slot begins that holds after this turn.
pub(super) fn slot_word(turn: u64) -> usize {
    SLOTS_WORD + (turn & 1) as usize * SLOT_WORDS
}
