//! The executable's code and constants in huge pages, for worlds of many images.
//!
//! An image maps the executable's file, page by page: faults when a host starts, and entries of the TLB while it runs,
//! as the same code lies at another address in each image. With a thousand hosts that is most of what a switch between
//! them costs. So when a world has started many images, further ones map a copy in memory whose pages are huge
//! (memfd_create(2); `MADV_COLLAPSE`, madvise(2), Linux 6.1). Images lie at the same addresses either way, and where
//! the system has no huge pages nothing changes.

use super::real::raw_syscall;
use libc::c_int;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

/// A huge page of x86-64.
pub(super) const HUGE_BYTES: usize = 2 << 20;
/// Copying a MiB costs about as much as the faults of so many images.
const IMAGES_PER_MIB: usize = 8;
/// Not in the libc crate: include/uapi/asm-generic/mman-common.h.
const MADV_COLLAPSE: usize = 25;

/// No copy yet.
const NONE: c_int = -1;
/// The system cannot.
const NEVER: c_int = -2;

/// The copy, made when it pays.
pub(super) struct Text {
    images: AtomicUsize,
    file: AtomicI32,
}

impl Text {
    /// No copy.
    pub(super) const fn new() -> Text {
        Text { images: AtomicUsize::new(0), file: AtomicI32::new(NONE) }
    }

    /// The copy for one more image, if there is one: a file that holds `bytes` bytes of memory from `start` on, with
    /// their end at a boundary of huge pages.
    ///
    /// # Safety
    /// `parts` are readable and lie in `start..start + bytes`, which ends at a boundary of pages.
    pub(super) unsafe fn for_image(&self, start: usize, bytes: usize, parts: &[Range<usize>]) -> Option<c_int> {
        let images = self.images.fetch_add(1, Ordering::Relaxed);
        let known = self.file.load(Ordering::Relaxed);
        if known == NONE && images >= IMAGES_PER_MIB * bytes.div_ceil(1 << 20) {
            // SAFETY: as promised.
            let made = unsafe { copy(start, bytes, parts) };
            self.file.store(made.unwrap_or(NEVER), Ordering::Relaxed);
            return made;
        }
        (known >= 0).then_some(known)
    }
}

/// Bytes from a boundary of huge pages to where something of this size begins that ends at one.
pub(super) fn padding(bytes: usize) -> usize {
    bytes.wrapping_neg() % HUGE_BYTES
}

/// Reserves address space that begins at a boundary of huge pages.
///
/// # Errors
/// The errno of `mmap(2)`.
pub(super) fn reserve(bytes: usize) -> Result<usize, c_int> {
    let none = libc::PROT_NONE as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as usize;
    // SAFETY: fresh address space, whose surplus at both ends is given back.
    unsafe {
        let got = raw_syscall(libc::SYS_mmap, [0, bytes + HUGE_BYTES, none, flags, usize::MAX, 0]);
        if got < 0 {
            return Err(-got as c_int);
        }
        let got = got as usize;
        let start = got.next_multiple_of(HUGE_BYTES);
        let surplus = [(got, start - got), (start + bytes, got + HUGE_BYTES - start)];
        for (at, bytes) in surplus.into_iter().filter(|(_, bytes)| *bytes > 0) {
            raw_syscall(libc::SYS_munmap, [at, bytes, 0, 0, 0, 0]);
        }
        Ok(start)
    }
}

unsafe fn copy(start: usize, bytes: usize, parts: &[Range<usize>]) -> Option<c_int> {
    let padding = padding(bytes);
    let whole = padding + bytes;
    // SAFETY: a file of our own, mapped into fresh address space; the parts are readable, as promised.
    unsafe {
        let name = c"windtunnel-text".as_ptr() as usize;
        let file = raw_syscall(libc::SYS_memfd_create, [name, libc::MFD_CLOEXEC as usize, 0, 0, 0, 0]);
        if file < 0 {
            return None;
        }
        let file = file as usize;
        let filled = raw_syscall(libc::SYS_ftruncate, [file, whole, 0, 0, 0, 0]) == 0
            && reserve(whole).is_ok_and(|at| {
                let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
                let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as usize;
                let mut collapsed = false;
                if raw_syscall(libc::SYS_mmap, [at, whole, prot, flags, file, 0]) == at as isize {
                    for part in parts {
                        let to = (at + padding + (part.start - start)) as *mut u8;
                        ptr::copy_nonoverlapping(part.start as *const u8, to, part.len());
                    }
                    collapsed = raw_syscall(libc::SYS_madvise, [at, whole, MADV_COLLAPSE, 0, 0, 0]) == 0;
                }
                raw_syscall(libc::SYS_munmap, [at, whole, 0, 0, 0, 0]);
                collapsed
            });
        if !filled {
            raw_syscall(libc::SYS_close, [file, 0, 0, 0, 0, 0]);
        }
        filled.then_some(file as c_int)
    }
}

#[cfg(test)]
mod tests {
    use super::{HUGE_BYTES, Text, padding, reserve};

    #[test]
    fn space_begins_at_a_huge_page() {
        let start = reserve(3 * 4096).unwrap();
        assert_eq!(start % HUGE_BYTES, 0);
        // SAFETY: reserved just now, and nobody's.
        unsafe { libc::munmap(start as *mut libc::c_void, 3 * 4096) };
    }

    #[test]
    fn text_ends_at_a_huge_page() {
        for bytes in [1, 4096, HUGE_BYTES - 4096, HUGE_BYTES, HUGE_BYTES + 4096] {
            assert_eq!((padding(bytes) + bytes) % HUGE_BYTES, 0);
            assert!(padding(bytes) < HUGE_BYTES);
        }
    }

    #[test]
    fn a_copy_is_made_only_when_it_pays_and_holds_the_text() {
        let text = vec![7u8; 64 << 10];
        let start = text.as_ptr() as usize;
        let part = start..start + text.len();
        let parts = std::slice::from_ref(&part);
        let copies = Text::new();
        // SAFETY: the part is `text`, which outlives the calls.
        let files: Vec<_> = (0..20).map(|_| unsafe { copies.for_image(start, text.len(), parts) }).collect();
        assert!(files[..8].iter().all(Option::is_none));
        if let Some(file) = files[8] {
            assert!(files[8..].iter().all(|other| *other == Some(file)));
            let mut read = vec![0u8; text.len()];
            let offset = padding(text.len()) as i64;
            // SAFETY: room for what is read.
            let count = unsafe { libc::pread(file, read.as_mut_ptr().cast(), read.len(), offset) };
            assert_eq!((count as usize, read), (text.len(), text));
        }
    }
}
