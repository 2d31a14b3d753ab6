//! Requests of more than a mebibyte: each has a mapping of its own, at an address that we choose.
//!
//! The real kernel would choose one near the stacks of threads, whose addresses would then depend on it. Each class has
//! a region; the lowest free slot is taken.

use super::classes::{HUGE, HUGE_MAX, SMALL, bytes_of, holding};
use crate::carrier::real::raw_syscall;
use std::sync::atomic::{AtomicU32, Ordering};

/// 2 TiB: far below heaps, executable and libraries.
const FIRST: usize = 0x0200_0000_0000;
const REGION_BYTES: usize = 8 * HUGE_MAX;
const END: usize = FIRST + HUGE * REGION_BYTES;
/// Slots of a class, if its region has room for so many. A class that is full passes on to the next.
const SLOTS_MAX: usize = 1024;

/// Who holds each slot, class by class: 0 for nobody.
static OWNERS: [AtomicU32; HUGE * SLOTS_MAX] = [const { AtomicU32::new(0) }; HUGE * SLOTS_MAX];

/// Whether an address lies in such a block.
#[inline]
pub(super) fn owns(address: usize) -> bool {
    (FIRST..END).contains(&address) && Slot::at(address).owner().load(Ordering::Relaxed) != 0
}

/// A block's place.
#[derive(Clone, Copy)]
struct Slot {
    class: usize,
    index: usize,
}

impl Slot {
    /// The slot that an address lies in.
    fn at(address: usize) -> Slot {
        let class = (address - FIRST) / REGION_BYTES;
        Slot { class, index: (address - FIRST) % REGION_BYTES / bytes_of(SMALL + class) }
    }

    /// All slots of a class.
    fn all_of(class: usize) -> impl Iterator<Item = Slot> {
        (0..SLOTS_MAX.min(REGION_BYTES / bytes_of(SMALL + class))).map(move |index| Slot { class, index })
    }

    fn bytes(self) -> usize {
        bytes_of(SMALL + self.class)
    }

    fn address(self) -> usize {
        FIRST + self.class * REGION_BYTES + self.index * self.bytes()
    }

    /// Who has the slot. An index past the last is nobody's: addresses of others can lie there.
    fn owner(self) -> &'static AtomicU32 {
        static NOBODY: AtomicU32 = AtomicU32::new(0);
        if self.index < SLOTS_MAX { &OWNERS[self.class * SLOTS_MAX + self.index] } else { &NOBODY }
    }
}

/// The lowest free slot for so many bytes at a multiple of `alignment`.
fn find(bytes: usize, alignment: usize) -> Option<Slot> {
    (holding(bytes) - SMALL..HUGE)
        .flat_map(Slot::all_of)
        .find(|slot| slot.address().is_multiple_of(alignment) && slot.owner().load(Ordering::Relaxed) == 0)
}

/// Maps a block of zeros for a heap. `None` when there is no memory.
pub(super) fn allocate(owner: u32, bytes: usize, alignment: usize) -> Option<usize> {
    if bytes > HUGE_MAX {
        return None;
    }
    let slot = find(bytes.max(super::classes::SMALL_MAX + 1), alignment)?;
    super::map(slot.address(), slot.bytes()).then(|| {
        slot.owner().store(owner, Ordering::Relaxed);
        slot.address()
    })
}

/// The number of the heap that a block belongs to.
pub(super) fn owner(address: usize) -> u32 {
    Slot::at(address).owner().load(Ordering::Relaxed)
}

/// Gives a block back. False when it is none.
pub(super) fn release(address: usize) -> bool {
    let slot = Slot::at(address);
    let live = slot.address() == address && slot.owner().swap(0, Ordering::Relaxed) != 0;
    if live {
        super::unmap(address, slot.bytes());
    }
    live
}

/// Gives back all that a heap holds.
pub(super) fn release_all(owner: u32) {
    for slot in (0..HUGE).flat_map(Slot::all_of) {
        if slot.owner().load(Ordering::Relaxed) == owner {
            release(slot.address());
        }
    }
}

/// How much fits into a block.
pub(super) fn usable_bytes(address: usize) -> usize {
    Slot::at(address).bytes()
}

/// Makes a block larger or smaller without copying it. `None` when there is no memory; the block is as it was then.
pub(super) fn resize(address: usize, bytes: usize) -> Option<usize> {
    let old = Slot::at(address);
    let class = holding(bytes) - SMALL;
    if class == old.class {
        return Some(address);
    }
    let new = find(bytes, 1)?;
    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as usize;
    // SAFETY: moves our own mapping to a place where nothing of ours or anybody's is.
    let moved =
        unsafe { raw_syscall(libc::SYS_mremap, [old.address(), old.bytes(), new.bytes(), flags, new.address(), 0]) };
    (moved >= 0).then(|| {
        new.owner().store(old.owner().swap(0, Ordering::Relaxed), Ordering::Relaxed);
        new.address()
    })
}
