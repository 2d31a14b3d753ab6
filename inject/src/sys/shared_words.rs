//! A page of shared memory, as words that several processes read and write.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ops::Deref;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

/// The beginning of a file, mapped shared.
#[derive(Debug)]
pub struct SharedWords {
    words: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and atomics are all that is seen of it.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Makes memory of this name with so many words, maps it, and stores `magic` in the first: it can be neither longer
    /// nor shorter (memfd_create(2), file seals). Whoever maps it too and cut it short would be killed by touching it
    /// (SIGBUS, mmap(2)), and so would this process.
    ///
    /// # Errors
    /// There is no memory for it, or no descriptor.
    pub fn sealed(name: &str, count: usize, magic: u64) -> rustix::io::Result<(OwnedFd, Self)> {
        let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, count as u64 * 8)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let words = Self::map(fd.as_fd(), count)?;
        words[0].store(magic, Ordering::Release);
        Ok((fd, words))
    }

    /// Maps so many words of a file for reading and writing. The file must not be cut short while it is mapped.
    ///
    /// # Errors
    /// The file cannot be mapped so.
    pub fn map(fd: BorrowedFd<'_>, count: usize) -> rustix::io::Result<Self> {
        // SAFETY: a new mapping, where the kernel likes.
        let address =
            unsafe { mmap(ptr::null_mut(), count * 8, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0)? };
        let words = NonNull::new(address.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { words, count })
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: mapped until this is dropped, aligned to pages; every pattern of bits is a number, and others change
        // them as atomics do.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: this mapping, of which nothing is borrowed any more. It cannot fail for a mapping that exists.
        let _unmapped = unsafe { munmap(self.words.as_ptr().cast(), self.count * 8) };
    }
}
