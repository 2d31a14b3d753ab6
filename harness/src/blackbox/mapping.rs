//! The memory of the flight recorder.

use super::events::Recording;
use super::findings::Findings;
use super::orders::{Orders, RawOrders};
use super::progress::Progress;
use super::tape::{Tape, TapeMarks};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the worker maps it: 16 TiB, far below the executable (`0x5555…`) and the libraries (`0x7fff…`) of a process
/// without address randomisation.
const WORKER_ADDRESS: usize = 0x1000_0000_0000;

const MIB: usize = 1 << 20;
const HEADER_BYTES: usize = 64 << 10;
const TAPE_BYTES: usize = 64 * MIB;
const FINDINGS_BYTES: usize = 16 * MIB;
/// About six million events.
const RECORDING_BYTES: usize = 512 * MIB;
/// Sparse: a page costs memory once it is written.
const BOX_BYTES: usize = HEADER_BYTES + TAPE_BYTES + FINDINGS_BYTES + RECORDING_BYTES;

/// The beginning of the mapping.
#[repr(C)]
struct Header {
    orders: RawOrders,
    progress: Progress,
    tape: TapeMarks,
    findings_bytes: AtomicU64,
    recording_bytes: AtomicU64,
}

const _: () = assert!(
    size_of::<Header>() <= HEADER_BYTES,
    "the header outgrew its place"
);

/// A flight recorder.
pub(crate) struct BlackBox {
    whole: Region,
}

impl BlackBox {
    /// Makes a new one, for the supervisor; the descriptor is for the worker.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        // SAFETY: a new descriptor, owned by nobody else.
        let fd = unsafe {
            let fd = libc::memfd_create(c"windtunnel-blackbox".as_ptr(), libc::MFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        // SAFETY: the descriptor is ours and open; the length fits into `off_t`.
        if unsafe { libc::ftruncate(fd.as_raw_fd(), BOX_BYTES as libc::off_t) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let recorder = Self::map(&fd, ptr::null_mut(), 0)?;
        Ok((recorder, fd))
    }

    /// Maps the supervisor's, for the worker.
    pub(crate) fn open(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Self::map(
            &fd,
            ptr::without_provenance_mut(WORKER_ADDRESS),
            libc::MAP_FIXED_NOREPLACE,
        )
    }

    fn map(
        fd: &impl std::os::fd::AsRawFd,
        address: *mut libc::c_void,
        flags: libc::c_int,
    ) -> io::Result<Self> {
        // SAFETY: a new mapping, at an address where nothing is (NOREPLACE) or of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                address,
                BOX_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE | flags,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            whole: Region {
                base: base.cast(),
                bytes: BOX_BYTES,
            },
        })
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a header, is page-aligned and is never unmapped while `self` lives; its fields
        // are atomics, but for the orders, which are only reached through raw pointers below.
        unsafe { &*self.whole.base.cast::<Header>() }
    }

    fn region(&self, offset: usize, bytes: usize) -> Region {
        debug_assert!(offset + bytes <= BOX_BYTES);
        // SAFETY: within the mapping.
        let base = unsafe { self.whole.base.add(offset) };
        Region { base, bytes }
    }

    /// What the case shall do.
    pub(crate) fn orders(&self) -> Orders {
        // SAFETY: plain integers, aligned, written by the supervisor before it told the worker to go on.
        let raw = unsafe { (&raw const self.header().orders).read() };
        Orders::from_raw(&raw)
    }

    /// Forgets the last case and gives orders for the next. The recording is kept when the next case is to be compared
    /// with it. No case may be running.
    pub(crate) fn prepare(&self, orders: &Orders) {
        let header = self.header();
        let used = self.tape().used();
        self.discard(HEADER_BYTES, used as usize, TAPE_BYTES);
        self.discard(
            HEADER_BYTES + TAPE_BYTES,
            header.findings_bytes.load(Ordering::Acquire) as usize,
            FINDINGS_BYTES,
        );
        header.tape.reset();
        header.findings_bytes.store(0, Ordering::Release);
        if orders.recording != super::RecordingMode::Compare {
            let used = header.recording_bytes.swap(0, Ordering::AcqRel) as usize;
            self.discard(
                HEADER_BYTES + TAPE_BYTES + FINDINGS_BYTES,
                used,
                RECORDING_BYTES,
            );
        }
        header.progress.reset();
        // SAFETY: the mapping is writable and no case is running, so nobody reads.
        unsafe { (&raw const header.orders).cast_mut().write(orders.to_raw()) };
    }

    /// Gives memory back that a case with much to say has used.
    fn discard(&self, offset: usize, used: usize, limit: usize) {
        if used < MIB {
            return;
        }
        let region = self.region(offset, used.min(limit));
        // SAFETY: the range is inside the mapping; its contents are not needed any more. When the kernel refuses, the
        // pages stay, which costs memory only.
        unsafe { libc::madvise(region.base.cast(), region.bytes, libc::MADV_REMOVE) };
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.header().progress
    }

    pub(crate) fn tape(&self) -> Tape<'_> {
        Tape::new(&self.header().tape, self.region(HEADER_BYTES, TAPE_BYTES))
    }

    pub(crate) fn findings(&self) -> Findings<'_> {
        Findings::new(
            &self.header().findings_bytes,
            self.region(HEADER_BYTES + TAPE_BYTES, FINDINGS_BYTES),
        )
    }

    pub(crate) fn recording(&self) -> Recording<'_> {
        let region = self.region(HEADER_BYTES + TAPE_BYTES + FINDINGS_BYTES, RECORDING_BYTES);
        Recording::new(&self.header().recording_bytes, region)
    }
}

impl Drop for BlackBox {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; views into it borrow `self`.
        unsafe { libc::munmap(self.whole.base.cast(), self.whole.bytes) };
    }
}

/// Plain memory of the mapping. Offsets are checked; contents may change while they are read.
#[derive(Clone, Copy)]
pub(super) struct Region {
    base: *mut u8,
    pub(super) bytes: usize,
}

// SAFETY: everything shared is atomic, or is written by one process at a time: orders by the supervisor before it starts
// a case, the rest by the case, which is one kernel thread. Readers of the tape check that they were not overtaken.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Copies into the region.
    pub(super) fn write(self, offset: usize, from: &[u8]) {
        assert!(
            offset + from.len() <= self.bytes,
            "a write past the region's end"
        );
        // SAFETY: inside the mapping; only the case writes here, and it is one kernel thread.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.base.add(offset), from.len()) };
    }

    /// Copies out of the region.
    pub(super) fn read(self, offset: usize, into: &mut [u8]) {
        assert!(
            offset + into.len() <= self.bytes,
            "a read past the region's end"
        );
        // SAFETY: inside the mapping. A case may be writing; whoever reads while one runs checks afterwards whether what
        // was copied was still valid (`TapeReader`). Bytes have no invalid value.
        unsafe { ptr::copy_nonoverlapping(self.base.add(offset), into.as_mut_ptr(), into.len()) };
    }

    /// A region of ordinary memory, for tests.
    #[cfg(test)]
    pub(super) fn leaked(bytes: usize) -> Self {
        let memory = Box::leak(vec![0_u8; bytes].into_boxed_slice());
        Self {
            base: memory.as_mut_ptr(),
            bytes,
        }
    }
}
