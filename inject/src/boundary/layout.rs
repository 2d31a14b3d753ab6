//! The page's words: `sim/src/abi/real_calls/page.rs` has the same, and a test of the harness compares them.

/// Bytes of the page.
pub(super) const PAGE_BYTES: usize = 4096;
/// "wtcalls1", little-endian: the layout's name and version.
pub(super) const MAGIC: u64 = 0x3173_6c6c_6163_7477;
pub(super) const MAGIC_WORD: usize = 0;
/// A bit for each slot in force.
pub(super) const IN_FORCE_WORD: usize = 1;
/// How often calls were refused.
pub(super) const NO_SPACE_WORD: usize = 2;
pub(super) const OVER_QUOTA_WORD: usize = 3;
pub(super) const NO_DESCRIPTOR_WORD: usize = 4;
pub(super) const IO_ERROR_WORD: usize = 5;
pub(super) const NO_TASK_WORD: usize = 6;
/// Where the slots begin, one for each fault.
pub(super) const SLOTS_WORD: usize = 16;
pub(super) const SLOT_WORDS: usize = 16;
pub(super) const SLOTS: usize = 16;
/// Of a slot: which fault it is, counted up.
pub(super) const TURN_WORD: usize = 0;
/// How probable it is that a read or a sync fails: of 2^64, and always at the most.
pub(super) const READS_WORD: usize = 1;
pub(super) const SYNCS_WORD: usize = 2;
pub(super) const SEED_WORD: usize = 3;
/// Bytes per second, and nanoseconds for each sync; 0 for none.
pub(super) const RATE_WORD: usize = 4;
pub(super) const DELAY_WORD: usize = 5;
/// How many reads there were while it was in force; then, how many syncs.
pub(super) const READS_SO_FAR_WORD: usize = 6;
pub(super) const BITTEN_WORD: usize = 8;
/// When all that was written will have been written back: `CLOCK_MONOTONIC`.
pub(super) const FREE_AT_WORD: usize = 9;

const _: () = assert!((SLOTS_WORD + SLOTS * SLOT_WORDS) * 8 <= PAGE_BYTES && SLOTS <= 64);

/// The layout in words, to be compared with what the other room reads.
pub const LAYOUT: [usize; 19] = [
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
