//! One malloc cache for all lent threads.
//!
//! glibc gives each thread a cache of free chunks (`tcache`, malloc/malloc.c) and frees it when the kernel thread
//! exits, which lent threads never do: each would leave some 700 bytes behind. As only one of them runs at a time,
//! and none is ever switched inside malloc, they can all use the carrier's. The cache is a thread-local pointer of
//! libc's whose place is found once, by watching a fresh thread's first `malloc`. If it is not found, threads keep
//! caches of their own and nothing else changes.

use super::real;
use libc::{c_int, c_void, dl_phdr_info};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Distance of the pointer below the thread pointer; 0 = not looked for, 1 = not found.
static BELOW_FS: AtomicUsize = AtomicUsize::new(0);
const NOT_FOUND: usize = 1;
/// Sizes that `tcache_perthread_struct` has had (576 bytes in 2.26, 640 since 2.30), with room for growth.
const CACHE_BYTES: std::ops::RangeInclusive<usize> = 512..=4096;

/// libc's block of thread-locals on the calling thread: address and size.
unsafe extern "C" fn find_libc(info: *mut dl_phdr_info, _: usize, out: *mut c_void) -> c_int {
    // SAFETY: glibc passes a valid entry, `out` is the caller's slot.
    unsafe {
        let info = &*info;
        let name = std::ffi::CStr::from_ptr(info.dlpi_name).to_bytes();
        if !name.windows(9).any(|part| part == b"/libc.so.") || info.dlpi_tls_data.is_null() {
            return 0;
        }
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize);
        if let Some(tls) = headers.iter().find(|h| h.p_type == libc::PT_TLS) {
            *out.cast() = (info.dlpi_tls_data as usize, tls.p_memsz as usize);
        }
        1
    }
}

/// Finds the pointer, on a fresh thread that has not called malloc yet.
unsafe fn find(fs: usize) -> Option<usize> {
    let mut block = (0usize, 0usize);
    // SAFETY: the callback fits; the words lie in libc's own TLS block of this thread.
    unsafe {
        real::dl_iterate_phdr(Some(find_libc), (&raw mut block).cast());
        let (start, bytes) = block;
        if start == 0 || start >= fs {
            return None;
        }
        let word = |i: usize| ((start + i * 8) as *const usize).read_volatile();
        let empty: [bool; 512] = std::array::from_fn(|i| i * 8 < bytes && word(i) == 0);
        libc::free(std::hint::black_box(libc::malloc(24)));
        // Among the words that were set now: the default arena lies in libc's data, the cache is a chunk of the heap.
        (0..(bytes / 8).min(512)).find_map(|i| {
            let value = word(i);
            let fresh = empty[i] && value != 0 && value % 16 == 0;
            let chunk_bytes = || ((value - 8) as *const usize).read_volatile() & !7;
            (fresh && in_heap(value) && CACHE_BYTES.contains(&chunk_bytes())).then(|| fs - (start + i * 8))
        })
    }
}

/// Whether an address is near what malloc gives.
fn in_heap(address: usize) -> bool {
    // SAFETY: an allocation that is freed at once.
    let sample = unsafe {
        let sample = libc::malloc(24) as usize;
        libc::free(sample as *mut c_void);
        sample
    };
    address.abs_diff(sample) < 1 << 30
}

/// Makes a fresh thread use the carrier's cache.
///
/// # Safety
/// `fs` is the calling thread's pointer and `carrier_fs` the carrier's; the calling thread has not called malloc.
pub(super) unsafe fn share(fs: usize, carrier_fs: usize) {
    let mut below = BELOW_FS.load(Ordering::Relaxed);
    // SAFETY: the same place in both threads' static TLS.
    unsafe {
        if below == 0 {
            below = find(fs).unwrap_or(NOT_FOUND);
            BELOW_FS.store(below, Ordering::Relaxed);
        }
        if below != NOT_FOUND {
            let cache = ((carrier_fs - below) as *const usize).read_volatile();
            if cache != 0 {
                ((fs - below) as *mut usize).write_volatile(cache);
            }
        }
    }
}
