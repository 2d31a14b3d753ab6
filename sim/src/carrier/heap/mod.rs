//! The heap of each image: what `malloc` and its relatives give to simulated threads.
//!
//! Addresses reach programs: they seed hashers, choose buckets of lock tables, order pointers. So they are part of a
//! case, and libc's heap, which the whole process shares, will not do: there, what the simulated kernel keeps, another
//! host's start, or a line of log would move them. Here each image has a heap of its own, at an address of its own; the
//! simulated kernel and all that is outside of worlds have libc's. A crashed host's heap is given back whole.
//!
//! - `classes`: how much memory a request is given;
//! - `region`: one heap, which gives the lowest free slot;
//! - `huge`: requests that have mappings of their own;
//! - `follow`: giving what an earlier run of the same case was given.

mod classes;
pub(crate) mod follow;
mod huge;
mod region;

pub(crate) use region::Heap;

use super::lent::Lent;
use super::real::raw_syscall;
use classes::{SMALL_MAX, aligned};
use region::{Block, HEAP_BYTES, NURSERY_BYTES};
use std::sync::atomic::{AtomicU64, Ordering};

/// 17 TiB: behind the flight recorder (16 TiB), and below what the system maps in a worker, which begins with the
/// executable at `0x5555…`. In a process whose stack has no limit libraries lie here (arch/x86/mm/mmap.c, `mmap_base`);
/// so an address is told to be a heap's by whether that heap lives.
const FIRST: usize = 0x1100_0000_0000;
/// Heaps that can be live at a time; who gets none uses libc's.
const HEAPS_MAX: usize = 6144;
const END: usize = FIRST + HEAPS_MAX * HEAP_BYTES;
/// Heaps whose nursery is a huge page: a quarter of a gibibyte at most.
const HUGE_NURSERIES_MAX: usize = 128;

const _: () = assert!(END < 0x2aaa_0000_0000);

/// Which heaps are live.
static LIVE: [AtomicU64; HEAPS_MAX / 64] = [const { AtomicU64::new(0) }; HEAPS_MAX / 64];

/// Maps zeros at an address where nothing is.
fn map(address: usize, bytes: usize) -> bool {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a fresh mapping, where there is none (NOREPLACE).
    let mapped = unsafe { raw_syscall(libc::SYS_mmap, [address, bytes, protection, flags as usize, usize::MAX, 0]) };
    mapped == address as isize
}

fn unmap(address: usize, bytes: usize) {
    // SAFETY: mapped by `map`; whoever had the memory has given it back.
    unsafe { raw_syscall(libc::SYS_munmap, [address, bytes, 0, 0, 0, 0]) };
}

/// Makes an empty heap, at the lowest free address. `None` when the system lacks address space.
pub(crate) fn create() -> Option<Heap> {
    (0..HEAPS_MAX).find_map(create_at)
}

/// Makes an empty heap at the highest free address, where it takes no other heap's place.
fn create_aside() -> Option<Heap> {
    (0..HEAPS_MAX).rev().find_map(create_at)
}

/// Whether the heap of this index is live.
#[inline]
fn is_live(index: usize) -> bool {
    index < HEAPS_MAX && LIVE[index / 64].load(Ordering::Relaxed) & 1 << (index % 64) != 0
}

fn create_at(index: usize) -> Option<Heap> {
    let base = FIRST + index * HEAP_BYTES;
    if is_live(index) || !map(base, HEAP_BYTES) {
        return None;
    }
    // One huge page for the nursery; for each region that is touched it would cost more than it saves. With very many
    // heaps it would cost more memory than there is.
    let huge = index < HUGE_NURSERIES_MAX;
    let nursery = if huge { NURSERY_BYTES } else { 0 };
    // SAFETY: advice about our own mapping.
    unsafe {
        if huge {
            raw_syscall(libc::SYS_madvise, [base, nursery, libc::MADV_HUGEPAGE as usize, 0, 0, 0]);
        }
        let (rest, bytes) = (base + nursery, HEAP_BYTES - nursery);
        raw_syscall(libc::SYS_madvise, [rest, bytes, libc::MADV_NOHUGEPAGE as usize, 0, 0, 0]);
    }
    LIVE[index / 64].fetch_or(1 << (index % 64), Ordering::Relaxed);
    Some(Heap::new(base))
}

/// Gives a heap back, with all that was allocated in it. Nobody may use any of it any more.
pub(crate) fn destroy(heap: Heap) {
    if let Some(extra) = heap.extra() {
        destroy(extra);
    }
    if heap.huge() > 0 {
        huge::release_all(number(heap));
    }
    let index = (heap.base() - FIRST) / HEAP_BYTES;
    LIVE[index / 64].fetch_and(!(1 << (index % 64)), Ordering::Relaxed);
    unmap(heap.base(), HEAP_BYTES);
}

/// A heap's number, from 1.
fn number(heap: Heap) -> u32 {
    ((heap.base() - FIRST) / HEAP_BYTES + 1) as u32
}

/// The live heap of a number.
fn of_number(number: u32) -> Option<Heap> {
    heap_of(FIRST + (number as usize).checked_sub(1)? * HEAP_BYTES)
}

/// Whether an address was given by one of these heaps, and not by libc's.
#[inline]
pub(crate) fn owns(address: usize) -> bool {
    heap_of(address).is_some() || huge::owns(address)
}

/// The live heap that an address lies in.
#[inline]
fn heap_of(address: usize) -> Option<Heap> {
    let index = address.wrapping_sub(FIRST) / HEAP_BYTES;
    is_live(index).then(|| Heap::new(FIRST + index * HEAP_BYTES))
}

/// Memory that a program has asked for.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) bytes: usize,
    /// A power of two.
    pub(crate) alignment: usize,
    /// Where the stack stood: with the thread and how far it is, that tells one request from another.
    pub(crate) stack: usize,
}

/// Memory that a program was given.
#[derive(Clone, Copy)]
pub(crate) struct Given {
    pub(crate) address: usize,
    /// It is zero.
    pub(crate) zero: bool,
}

/// Allocates for a simulated thread that has a heap. `None` when there is no memory.
///
/// # Safety
/// `lent` is the running thread's own.
#[inline]
pub(crate) unsafe fn allocate(lent: *mut Lent, heap: Heap, request: Request) -> Option<Given> {
    if request.bytes > SMALL_MAX || request.alignment > SMALL_MAX {
        return allocate_huge(heap, request);
    }
    let class = aligned(request.bytes, request.alignment);
    let block = match follow::wanted() {
        false => heap.take(class, request.alignment),
        // SAFETY: as promised.
        true => unsafe { follow::take(lent, heap, class, request) },
    };
    match block {
        Some(Block { address, fresh }) => Some(Given { address, zero: fresh }),
        None => allocate_huge(heap, request),
    }
}

#[cold]
fn allocate_huge(heap: Heap, request: Request) -> Option<Given> {
    let address = huge::allocate(number(heap), request.bytes, request.alignment)?;
    heap.set_huge(heap.huge() + 1);
    heap.count(huge::usable_bytes(address), 0);
    Some(Given { address, zero: true })
}

/// Gives memory back. False when nobody has it: the program has freed it before, or it is no address of a block.
#[inline]
pub(crate) fn release(address: usize) -> bool {
    match heap_of(address) {
        Some(heap) => heap.release(address),
        None if huge::owns(address) => {
            let (owner, bytes) = (huge::owner(address), huge::usable_bytes(address));
            let given_back = huge::release(address);
            if let Some(heap) = of_number(owner).filter(|_| given_back) {
                heap.count(0, bytes);
            }
            given_back
        }
        None => false,
    }
}

/// How much fits where this address was given.
#[inline]
pub(crate) fn usable_bytes(address: usize) -> usize {
    match heap_of(address) {
        Some(heap) => heap.usable_bytes(address),
        None if huge::owns(address) => huge::usable_bytes(address),
        None => 0,
    }
}

/// Lets memory grow or shrink where it stands, or moves it without copying. `None` when it has to be copied.
#[inline]
pub(crate) fn resize(address: usize, bytes: usize) -> Option<usize> {
    if huge::owns(address) {
        let (owner, before) = (huge::owner(address), huge::usable_bytes(address));
        let moved = if bytes > SMALL_MAX { huge::resize(address, bytes) } else { None };
        if let (Some(address), Some(heap)) = (moved, of_number(owner)) {
            heap.count(huge::usable_bytes(address), before);
        }
        return moved;
    }
    let fits = bytes <= SMALL_MAX && classes::bytes_of(classes::holding(bytes)) == usable_bytes(address);
    fits.then_some(address)
}
