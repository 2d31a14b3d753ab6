//! Memory shared between processes.

use super::descriptors::unnamed_file;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd as _, RawFd};
use std::ptr;
use std::sync::atomic::AtomicU64;

/// A shared mapping.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: *mut u8,
    bytes: usize,
}

/// A part of a mapping. Offsets are checked; contents may change while they are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region<'m> {
    base: *mut u8,
    bytes: usize,
    mapping: PhantomData<&'m Mapping>,
}

// SAFETY: words are atomics. Bytes are copied through raw pointers; who writes them when is the flight recorder's
// protocol, and whoever reads what may be written at the same time checks afterwards whether it still held.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps new memory, of zeros that cost nothing until they are written; the file is for the other process.
    pub(crate) fn create(bytes: usize) -> io::Result<(Self, File)> {
        let file = unnamed_file(c"windtunnel-shared")?;
        file.set_len(bytes as u64)?;
        let mapping = Self::map(file.as_raw_fd(), ptr::null_mut(), 0, bytes)?;
        Ok((mapping, file))
    }

    /// Maps the memory that another process made, at this address, where nothing may be yet.
    pub(crate) fn open(fd: RawFd, address: usize, bytes: usize) -> io::Result<Self> {
        Self::map(fd, ptr::without_provenance_mut(address), libc::MAP_FIXED_NOREPLACE, bytes)
    }

    fn map(fd: RawFd, address: *mut libc::c_void, flags: libc::c_int, bytes: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE | flags;
        // SAFETY: a new mapping, at an address where nothing is (NOREPLACE) or of the kernel's choice.
        let base = unsafe { libc::mmap(address, bytes, protection, flags, fd, 0) };
        if base == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self { base: base.cast(), bytes }) }
    }

    /// All of it.
    pub(crate) fn region(&self) -> Region<'_> {
        Region { base: self.base, bytes: self.bytes, mapping: PhantomData }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; regions borrow `self`.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}

// SAFETY: as a mapping, which it borrows.
unsafe impl Send for Region<'_> {}
// SAFETY: as above.
unsafe impl Sync for Region<'_> {}

impl<'m> Region<'m> {
    /// How long it is.
    pub(crate) fn len(self) -> usize {
        self.bytes
    }

    /// A part of it.
    pub(crate) fn part(self, offset: usize, bytes: usize) -> Self {
        assert!(offset + bytes <= self.bytes, "a part past the region's end");
        // SAFETY: within the mapping.
        let base = unsafe { self.base.add(offset) };
        Self { base, bytes, mapping: PhantomData }
    }

    /// Its first words.
    pub(crate) fn words<const COUNT: usize>(self) -> &'m [AtomicU64; COUNT] {
        assert!(COUNT * size_of::<AtomicU64>() <= self.bytes, "words past the region's end");
        assert!(self.base.cast::<AtomicU64>().is_aligned(), "words begin at a multiple of eight");
        // SAFETY: inside the mapping, which outlives `'m`; aligned; any bits are a valid atomic; and nobody copies
        // bytes over words, which have a part of their own.
        unsafe { &*self.base.cast::<[AtomicU64; COUNT]>() }
    }

    /// Copies into the region.
    pub(crate) fn write(self, offset: usize, from: &[u8]) {
        assert!(offset + from.len() <= self.bytes, "a write past the region's end");
        // SAFETY: inside the mapping, and not inside `from`, which is memory of Rust's.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.base.add(offset), from.len()) };
    }

    /// Copies out of the region.
    pub(crate) fn read(self, offset: usize, into: &mut [u8]) {
        assert!(offset + into.len() <= self.bytes, "a read past the region's end");
        // SAFETY: inside the mapping, and not inside `into`. Bytes have no invalid value.
        unsafe { ptr::copy_nonoverlapping(self.base.add(offset), into.as_mut_ptr(), into.len()) };
    }

    /// Gives the memory of its first bytes back; they are zero then, or what they were when the kernel refuses: whether
    /// it did not.
    pub(crate) fn discard(self, used: usize) -> bool {
        // SAFETY: inside the mapping, which is shared, as MADV_REMOVE asks (madvise(2)).
        unsafe { libc::madvise(self.base.cast(), used.min(self.bytes), libc::MADV_REMOVE) == 0 }
    }

    /// Makes its first bytes zero.
    pub(crate) fn clear(self, used: usize) {
        if !self.discard(used) {
            let zeros = [0; 4096];
            let used = used.min(self.bytes);
            (0..used).step_by(zeros.len()).for_each(|at| self.write(at, &zeros[..zeros.len().min(used - at)]));
        }
    }

    /// A region of ordinary memory, for tests.
    #[cfg(test)]
    pub(crate) fn leaked(bytes: usize) -> Self {
        let words = Box::leak(vec![0_u64; bytes.div_ceil(8)].into_boxed_slice());
        Self { base: words.as_mut_ptr().cast(), bytes, mapping: PhantomData }
    }
}
