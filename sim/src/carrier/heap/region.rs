//! One heap: a region of slots for each size class, and which of them are taken.
//!
//! The lowest free slot is given, always. What a heap gives next is therefore decided by what is allocated now and by
//! nothing else: what was allocated and freed in between, by a log line for example, has left no trace.

use super::classes::{QUANTUM, SMALL, bytes_of};

/// Bytes of a class's region. A class that is full passes on to the next.
const REGION_BYTES: usize = 64 << 20;
/// What a heap reserves: the regions, then which slots are taken.
pub(super) const HEAP_BYTES: usize = 4 << 30;

/// Slots that share a word.
const WORD: usize = 64;
/// Words of a class that lie near each other, so that a small heap touches few pages.
const NEAR: usize = 64;
/// Bytes between the words of two classes, for those that are not near: one for each slot of the smallest class.
const FAR_BYTES: usize = REGION_BYTES / 16 / 8 + 4096;
const FULL_BYTES: usize = FAR_BYTES / 64 + 64;

/// The first slots of each class lie together in one nursery, which is one huge page where the system has such: a
/// host touches few pages of its heap then, and with many hosts it is the misses of the TLB that cost.
pub(super) const NURSERY_BYTES: usize = 2 << 20;
/// A nursery is given out in pieces of this size.
const PIECE_BYTES: usize = 4096;
const PIECES: usize = NURSERY_BYTES / PIECE_BYTES;
/// Larger classes have no part of it: a slot lies at a multiple of its size's largest power of two, and pieces are no
/// larger than this.
const NURSERY_CLASS_BYTES_MAX: usize = PIECE_BYTES;

/// Pieces of a class: enough for what a small service keeps.
const fn pieces(class: usize) -> usize {
    match bytes_of(class) {
        bytes if bytes > NURSERY_CLASS_BYTES_MAX => 0,
        bytes if bytes > 256 => 12,
        _ => 8,
    }
}

/// Where each class begins in the nursery, and which class each piece belongs to.
struct Nursery {
    begins: [usize; SMALL + 1],
    class_of: [u8; PIECES],
}

const NURSERY_LAYOUT: Nursery = {
    // The head comes first.
    let mut piece = HEAD_BYTES / PIECE_BYTES;
    let mut nursery = Nursery { begins: [0; SMALL + 1], class_of: [u8::MAX; PIECES] };
    let mut class = 0;
    while class < SMALL {
        nursery.begins[class] = piece * PIECE_BYTES;
        let end = piece + pieces(class);
        while piece < end {
            nursery.class_of[piece] = class as u8;
            piece += 1;
        }
        class += 1;
    }
    nursery.begins[SMALL] = piece * PIECE_BYTES;
    assert!(nursery.begins[SMALL] < NURSERY_BYTES);
    nursery
};

static NURSERY: Nursery = NURSERY_LAYOUT;

/// Bytes of a nursery in use.
const NURSERY_USED: usize = NURSERY_LAYOUT.begins[SMALL];
/// Heaps begin at different places of their huge page. In the same place their hottest lines would fall into the same
/// sets of the caches, where few of them fit.
const COLOURS: usize = (NURSERY_BYTES - NURSERY_USED) / PIECE_BYTES;

/// Slots of a class in the nursery.
const IN_NURSERY: [u32; SMALL] = {
    let mut slots = [0; SMALL];
    let mut class = 0;
    while class < SMALL {
        slots[class] = (pieces(class) * PIECE_BYTES / bytes_of(class)) as u32;
        class += 1;
    }
    slots
};

/// What a heap knows of itself, at its beginning. Fresh memory is zero, which is an empty heap.
#[repr(C)]
struct Head {
    /// Per class: the lowest word of `full` that may have room, and the lowest slot that was never taken.
    classes: [(u32, u32); SMALL],
    /// Bytes of all blocks that are taken, and the most that may be; 0 for no limit.
    taken: usize,
    most: usize,
    /// Blocks that have mappings of their own.
    huge: usize,
    /// Where the heap for what follows no record lies; see `follow.rs`.
    extra: usize,
    near_full: [u64; SMALL],
    near: [[u64; NEAR]; SMALL],
}

const HEAD_BYTES: usize = 64 << 10;
/// The nursery, which begins with the head; then which slots are taken; then the regions.
const FAR: usize = NURSERY_BYTES;
const FAR_FULL: usize = FAR + SMALL * FAR_BYTES;
const REGIONS: usize = HEAP_BYTES - SMALL * REGION_BYTES;

const _: () = assert!(size_of::<Head>() <= HEAD_BYTES && FAR_FULL + SMALL * FULL_BYTES <= REGIONS);

/// A heap, by its address, which is a multiple of the size of a region, as are the beginnings of all regions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Heap {
    base: usize,
}

/// A block that a heap gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block {
    pub(super) address: usize,
    /// Nobody has had it before, so it is zero.
    pub(super) fresh: bool,
}

#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "SAFETY: a heap is mapped as long as its handle is used, its \
    words lie in it, and it is used by one kernel thread, which is never in it twice"
)]
impl Heap {
    /// The heap at an address where `HEAP_BYTES` of zeros have been mapped.
    pub(super) fn new(base: usize) -> Heap {
        debug_assert!(base.is_multiple_of(REGION_BYTES));
        Heap { base }
    }

    pub(super) fn base(self) -> usize {
        self.base
    }

    /// Where the nursery begins.
    #[inline]
    fn nursery(self) -> usize {
        // Neighbours are far from each other.
        self.base + (self.base / HEAP_BYTES * 37) % COLOURS * PIECE_BYTES
    }

    fn head(self) -> *mut Head {
        self.nursery() as *mut Head
    }

    /// How many slots a class has: those in the nursery and those of its region.
    #[inline]
    fn slots(class: usize) -> usize {
        IN_NURSERY[class] as usize + REGION_BYTES / bytes_of(class)
    }

    /// Where a slot lies.
    #[inline]
    fn address(self, class: usize, slot: usize) -> usize {
        let nursery = IN_NURSERY[class] as usize;
        if slot < nursery {
            self.nursery() + NURSERY.begins[class] + slot * bytes_of(class)
        } else {
            self.base + REGIONS + class * REGION_BYTES + (slot - nursery) * bytes_of(class)
        }
    }

    /// The class that an address belongs to, where that class's part begins, and the number of the first slot there.
    #[inline]
    fn part(self, address: usize) -> Option<(usize, usize, usize)> {
        let offset = address - self.base;
        if offset >= REGIONS {
            let class = (offset - REGIONS) / REGION_BYTES;
            return Some((class, REGIONS + class * REGION_BYTES, IN_NURSERY[class] as usize));
        }
        let piece = address.checked_sub(self.nursery())? / PIECE_BYTES;
        let class = usize::from(*NURSERY.class_of.get(piece)?);
        (class < SMALL).then(|| (class, self.nursery() - self.base + NURSERY.begins[class], 0))
    }

    /// Which of 64 slots are taken.
    #[inline]
    fn word(self, class: usize, word: usize) -> *mut u64 {
        match word < NEAR {
            true => unsafe { &raw mut (*self.head()).near[class][word] },
            false => (self.base + FAR + class * FAR_BYTES + word * 8) as *mut u64,
        }
    }

    /// Which of 64 words are full.
    #[inline]
    fn full(self, class: usize, index: usize) -> *mut u64 {
        match index {
            0 => unsafe { &raw mut (*self.head()).near_full[class] },
            _ => (self.base + FAR_FULL + class * FULL_BYTES + index * 8) as *mut u64,
        }
    }

    /// Takes the lowest free slot of a class, or of the next that has one at a multiple of `alignment`.
    #[inline]
    pub(super) fn take(self, class: usize, alignment: usize) -> Option<Block> {
        self.take_of(class).or_else(|| self.take_larger(class + 1, alignment))
    }

    #[cold]
    fn take_larger(self, class: usize, alignment: usize) -> Option<Block> {
        let mut fitting =
            (class..SMALL).filter(|class| alignment <= QUANTUM || bytes_of(*class).is_multiple_of(alignment));
        fitting.find_map(|class| self.take_of(class))
    }

    #[inline]
    fn take_of(self, class: usize) -> Option<Block> {
        let slots = Self::slots(class);
        let mut index = unsafe { (*self.head()).classes[class].0 } as usize;
        while index * WORD * WORD < slots {
            let full = unsafe { *self.full(class, index) };
            if full != u64::MAX {
                let word = index * WORD + (!full).trailing_zeros() as usize;
                let slot = word * WORD + unsafe { !*self.word(class, word) }.trailing_zeros() as usize;
                unsafe { (*self.head()).classes[class].0 = index as u32 };
                return (slot < slots).then(|| self.mark(class, slot));
            }
            index += 1;
        }
        None
    }

    /// Takes a slot that is free.
    #[inline]
    fn mark(self, class: usize, slot: usize) -> Block {
        let word = slot / WORD;
        unsafe {
            let taken = self.word(class, word);
            *taken |= 1 << (slot % WORD);
            if *taken == u64::MAX {
                *self.full(class, word / WORD) |= 1 << (word % WORD);
            }
            let never = &mut (*self.head()).classes[class].1;
            let fresh = slot >= *never as usize;
            *never = (*never).max(slot as u32 + 1);
            (*self.head()).taken += bytes_of(class);
            Block { address: self.address(class, slot), fresh }
        }
    }

    fn contains(self, address: usize) -> bool {
        (self.base..self.base + HEAP_BYTES).contains(&address)
    }

    /// Class and slot of a block's address; `None` when no block begins there.
    #[inline]
    fn place(self, address: usize) -> Option<(usize, usize)> {
        let (class, begins, first) = self.part(address)?;
        // The offset is below 2^26: a division of 32 bits, which is faster.
        let (offset, bytes) = ((address - self.base - begins) as u32, bytes_of(class) as u32);
        (offset % bytes == 0).then(|| (class, first + (offset / bytes) as usize))
    }

    /// Takes the block at this address, if nobody has it.
    pub(super) fn claim(self, address: usize) -> Option<Block> {
        let (class, slot) = self.place(self.contains(address).then_some(address)?)?;
        let taken = unsafe { *self.word(class, slot / WORD) } & 1 << (slot % WORD) != 0;
        (!taken).then(|| self.mark(class, slot))
    }

    /// Gives a block back. False when it is none, or is given back twice.
    #[inline]
    pub(super) fn release(self, address: usize) -> bool {
        let Some((class, slot)) = self.place(address) else { return false };
        let word = slot / WORD;
        unsafe {
            let taken = self.word(class, word);
            let bit = 1 << (slot % WORD);
            if *taken & bit == 0 {
                return false;
            }
            if *taken == u64::MAX {
                *self.full(class, word / WORD) &= !(1 << (word % WORD));
            }
            *taken &= !bit;
            let head = &mut *self.head();
            let lowest = &mut head.classes[class].0;
            *lowest = (*lowest).min((word / WORD) as u32);
            head.taken -= bytes_of(class);
        }
        true
    }

    /// How much fits into a block.
    #[inline]
    pub(super) fn usable_bytes(self, address: usize) -> usize {
        self.part(address).map_or(0, |(class, ..)| bytes_of(class))
    }

    /// Bytes of all blocks that are taken.
    pub(crate) fn taken(self) -> usize {
        unsafe { (*self.head()).taken }
    }

    /// Counts bytes that lie elsewhere.
    pub(super) fn count(self, more: usize, less: usize) {
        let head = unsafe { &mut *self.head() };
        head.taken = head.taken + more - less;
    }

    /// Sets the most that may be taken.
    pub(crate) fn limit(self, most: Option<usize>) {
        unsafe { (*self.head()).most = most.map_or(0, |most| most.max(1)) }
    }

    /// Whether more is taken than may be.
    #[inline]
    pub(crate) fn is_over_its_limit(self) -> bool {
        let head = unsafe { &*self.head() };
        head.taken > head.most && head.most != 0
    }

    /// How many blocks with mappings of their own this heap holds.
    pub(super) fn huge(self) -> usize {
        unsafe { (*self.head()).huge }
    }

    pub(super) fn set_huge(self, count: usize) {
        unsafe { (*self.head()).huge = count }
    }

    /// This heap's companion, if it has one.
    pub(super) fn extra(self) -> Option<Heap> {
        let base = unsafe { (*self.head()).extra };
        (base != 0).then_some(Heap { base })
    }

    pub(super) fn set_extra(self, extra: Heap) {
        unsafe { (*self.head()).extra = extra.base }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Heap, create, destroy};
    use super::*;

    fn with_heap(test: impl FnOnce(Heap)) {
        let heap = create().expect("address space is not scarce");
        test(heap);
        destroy(heap);
    }

    #[test]
    fn what_was_freed_meanwhile_leaves_no_trace() {
        with_heap(|heap| {
            let class = 3;
            let kept: Vec<Block> = (0..100).map(|_| heap.take(class, 1).expect("room")).collect();
            let between: Vec<Block> = (0..5000).map(|_| heap.take(class, 1).expect("room")).collect();
            // In an order of its own: neither that of a stack nor that of a queue.
            for i in 0..between.len() {
                assert!(heap.release(between[i * 7919 % between.len()].address));
            }
            let next = heap.take(class, 1).expect("room");
            assert_eq!(next.address, kept[99].address + bytes_of(class));
            assert!(!next.fresh && kept.iter().all(|block| block.fresh));
        });
    }

    #[test]
    fn the_lowest_free_slot_is_given_across_words_and_summaries() {
        with_heap(|heap| {
            let blocks: Vec<usize> = (0..WORD * WORD * 3).map(|_| heap.take(0, 1).expect("room").address).collect();
            assert!(blocks.iter().enumerate().all(|(slot, address)| *address == heap.address(0, slot)));
            for freed in [WORD * WORD * 2 + 70, WORD * 5 + 3, 4] {
                assert!(heap.release(blocks[freed]));
            }
            for expected in [4, WORD * 5 + 3, WORD * WORD * 2 + 70, blocks.len()] {
                let address = heap.take(0, 1).expect("room").address;
                assert_eq!(address, heap.address(0, expected));
            }
        });
    }

    #[test]
    fn a_block_is_given_back_once_and_only_where_it_begins() {
        with_heap(|heap| {
            let block = heap.take(4, 1).expect("room");
            assert!(!heap.release(block.address + 16));
            assert!(heap.release(block.address) && !heap.release(block.address));
            assert_eq!(heap.claim(block.address).map(|block| block.fresh), Some(false));
            assert_eq!(heap.claim(block.address), None);
        });
    }

    #[test]
    fn a_full_class_passes_on_to_the_next() {
        with_heap(|heap| {
            let class = SMALL - 1;
            let slots = REGION_BYTES / bytes_of(class);
            for _ in 0..slots {
                assert!(
                    heap.take(class - 1, 1).is_some_and(|block| heap.usable_bytes(block.address) < bytes_of(class))
                );
            }
            let more = REGION_BYTES / bytes_of(class - 1) - slots;
            (0..more).for_each(|_| assert!(heap.take(class - 1, 1).is_some()));
            let passed_on = heap.take(class - 1, 1).expect("the next class has room");
            assert_eq!(heap.usable_bytes(passed_on.address), bytes_of(class));
            (1..slots).for_each(|_| assert!(heap.take(class, 1).is_some()));
            assert_eq!(heap.take(class - 1, 1), None);
        });
    }
}
