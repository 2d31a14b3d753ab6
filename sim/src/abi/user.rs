//! Safe views of a program's memory, for the kernel.
//!
//! A view is made in a hook from pointers that the caller of a libc function promises to be valid, and lives no longer
//! than the call: the thread is suspended meanwhile and nobody else runs. A bad pointer faults as a plain access of the
//! program would, rather than giving `EFAULT`.

use libc::{epoll_event, iovec};

/// Memory that the kernel writes: the buffers of `read`, `recvmsg` and their like.
#[derive(Clone, Copy)]
pub(crate) struct Out<'a>(&'a [iovec]);

/// Memory that the kernel reads: the buffers of `write`, `sendmsg` and their like.
#[derive(Clone, Copy)]
pub(crate) struct In<'a>(&'a [iovec]);

/// One buffer as an `iovec`.
pub(crate) fn single(base: *const libc::c_void, bytes: usize) -> iovec {
    iovec { iov_base: base.cast_mut(), iov_len: bytes }
}

/// # Safety
/// `parts` and what they name are valid for the call.
unsafe fn list<'a>(parts: *const iovec, count: usize) -> &'a [iovec] {
    if count == 0 || parts.is_null() {
        return &[];
    }
    // SAFETY: as promised.
    unsafe { std::slice::from_raw_parts(parts, count) }
}

fn total(parts: &[iovec]) -> usize {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.iov_len))
}

impl<'a> Out<'a> {
    /// # Safety
    /// Each part is valid for writes as long as `'a`.
    pub(crate) unsafe fn new(parts: *const iovec, count: usize) -> Out<'a> {
        // SAFETY: as promised.
        Out(unsafe { list(parts, count) })
    }

    /// Bytes it can hold.
    pub(crate) fn len(&self) -> usize {
        total(self.0)
    }

    /// Writes at an offset as much as fits; answers how much that was.
    pub(crate) fn write_at(&mut self, offset: usize, bytes: &[u8]) -> usize {
        let (mut skip, mut done) = (offset, 0);
        for part in self.0 {
            if skip >= part.iov_len {
                skip -= part.iov_len;
                continue;
            }
            let count = (part.iov_len - skip).min(bytes.len() - done);
            // SAFETY: `new` was promised that the part is writable; the count stays inside.
            unsafe {
                let to = part.iov_base.cast::<u8>().add(skip);
                std::ptr::copy_nonoverlapping(bytes[done..].as_ptr(), to, count);
            }
            done += count;
            skip = 0;
            if done == bytes.len() {
                break;
            }
        }
        done
    }
}

impl<'a> In<'a> {
    /// # Safety
    /// Each part is valid for reads as long as `'a`.
    pub(crate) unsafe fn new(parts: *const iovec, count: usize) -> In<'a> {
        // SAFETY: as promised.
        In(unsafe { list(parts, count) })
    }

    /// Bytes it holds.
    pub(crate) fn len(&self) -> usize {
        total(self.0)
    }

    /// The first part: drivers without vectored writing see the parts one by one.
    pub(crate) fn first(&self) -> In<'a> {
        In(&self.0[..self.0.len().min(1)])
    }

    /// Hands out `bytes` bytes from `offset` on, piece by piece.
    pub(crate) fn pieces(&self, offset: usize, bytes: usize, mut take: impl FnMut(&[u8])) {
        let (mut skip, mut left) = (offset, bytes);
        for part in self.0 {
            if skip >= part.iov_len {
                skip -= part.iov_len;
                continue;
            }
            let count = (part.iov_len - skip).min(left);
            // SAFETY: `new` was promised that the part is readable; the count stays inside.
            take(unsafe { std::slice::from_raw_parts(part.iov_base.cast::<u8>().add(skip), count) });
            left -= count;
            skip = 0;
            if left == 0 {
                break;
            }
        }
    }

    /// Copies `bytes` bytes from `offset` on.
    pub(crate) fn to_vec(self, offset: usize, bytes: usize) -> Vec<u8> {
        let mut copy = Vec::with_capacity(bytes);
        self.pieces(offset, bytes, |piece| copy.extend_from_slice(piece));
        copy
    }
}

/// The event array of `epoll_wait`.
pub(crate) struct EpollEvents {
    events: *mut epoll_event,
    capacity: usize,
}

impl EpollEvents {
    /// # Safety
    /// `events` has room for `capacity` entries for the call.
    pub(crate) unsafe fn new(events: *mut epoll_event, capacity: usize) -> EpollEvents {
        EpollEvents { events, capacity }
    }

    /// Entries it can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Writes an entry.
    pub(crate) fn put(&mut self, index: usize, bits: u32, token: u64) {
        assert!(index < self.capacity, "epoll_wait reports more than fits");
        // SAFETY: in bounds; the array is packed, hence unaligned.
        unsafe { self.events.add(index).write_unaligned(epoll_event { events: bits, u64: token }) };
    }
}

/// Copies bytes to memory with a length word that says how much fits and gets how much there was: the convention of
/// `accept`, `getsockname` and `getsockopt` (the copy is cut, the length is not).
///
/// # Safety
/// `to` has room for `*length` bytes, and `length` is valid; either may be null, and then nothing happens.
pub(crate) unsafe fn put_counted(bytes: &[u8], to: *mut libc::c_void, length: *mut libc::socklen_t) {
    if to.is_null() || length.is_null() {
        return;
    }
    // SAFETY: as promised.
    unsafe {
        let count = bytes.len().min(*length as usize);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), count);
        *length = bytes.len() as libc::socklen_t;
    }
}

/// Views for tests of the kernel, which has no `unsafe` of its own.
#[cfg(test)]
pub(crate) mod testing {
    use super::{In, Out, single};

    /// Runs `f` with a view of bytes to read.
    pub(crate) fn with_in<R>(bytes: &[u8], f: impl FnOnce(In<'_>) -> R) -> R {
        let part = single(bytes.as_ptr().cast(), bytes.len());
        // SAFETY: the part names `bytes`, which outlives the view.
        f(unsafe { In::new(&raw const part, 1) })
    }

    /// Runs `f` with a view of bytes to write.
    pub(crate) fn with_out<R>(bytes: &mut [u8], f: impl FnOnce(Out<'_>) -> R) -> R {
        let part = single(bytes.as_mut_ptr().cast(), bytes.len());
        // SAFETY: the part names `bytes`, which outlives the view and is not touched meanwhile.
        f(unsafe { Out::new(&raw const part, 1) })
    }
}
