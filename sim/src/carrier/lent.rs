//! A lent thread's own record, reachable from its TLS in every image.
//!
//! Every image of the executable has the same TLS layout, so the one thread-local here is found at the same offset
//! whichever image's code runs. Everything that shims need is reached through it, never through a static: statics are
//! per image.

use super::switch::Context;
use crate::abi::Table;
use crate::kernel::ThreadId;
use std::cell::Cell;
use std::ffi::c_void;

/// Why a lent thread was resumed inside a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Resume {
    /// The call is complete; the result is in `Lent::result`.
    Done,
    /// A signal is pending: run its handler on this stack, then restart the call or answer `EINTR`.
    Signal {
        /// Whether the call starts again when the handler asked for it.
        restart: bool,
    },
    /// Write this thread's backtrace for a report, then go on waiting.
    Backtrace,
}

/// What a thread needs to read its clocks without entering the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClockView {
    /// The world's time when the thread was last resumed: nobody else runs until it enters the kernel again.
    pub(crate) now_ns: u64,
    /// What the host adds for `CLOCK_REALTIME`.
    pub(crate) realtime_ns: i64,
    /// What the host adds for `CLOCK_MONOTONIC` and its relatives.
    pub(crate) monotonic_ns: i64,
}

/// The part of a simulated thread that its own code and the switch see.
///
/// The first four words are known to the assembly in `switch.rs`.
#[repr(C)]
pub(crate) struct Lent {
    pub(crate) context: Context,
    pub(crate) kernel_rsp: u64,
    pub(crate) kernel_fs: u64,
    /// The hooks of the original image: images share one kernel, and its code runs in one image only.
    pub(crate) table: &'static Table,
    pub(crate) thread: ThreadId,
    pub(crate) resume: Resume,
    /// A signal may be waiting for this thread; looked at after each call.
    pub(crate) signalled: bool,
    /// Result of the last call: a value, or a negated errno.
    pub(crate) result: i64,
    pub(crate) clock: ClockView,
    /// Clock reads since the last call that did work: spinning on a clock must end.
    pub(crate) clock_reads: Cell<u32>,
    /// Reads of the wall clock: what a fault of clocks bites.
    pub(crate) wall_reads: Cell<u32>,
    /// The code of the thread's program: what it calls `malloc` from.
    pub(crate) code: Code,
    /// What `malloc` takes from on this thread; libc's heap when there is none.
    pub(crate) heap: Option<super::heap::Heap>,
    /// The thread's number in the world.
    pub(crate) serial: u32,
    /// Calls that did work so far, modulo 2^32.
    pub(crate) calls: u32,
    /// Where this thread stands in the record of what the heap gave.
    pub(crate) cursor: super::heap::follow::Cursor,
    /// What to run: a leaked `StartThread`, taken at the thread's first resumption.
    pub(crate) start: *mut c_void,
    /// `pthread_t` of the genuine thread, which on x86-64 is its TLS base.
    pub(crate) pthread: libc::pthread_t,
    /// Zeroed by the (real) kernel when the kernel thread has ended.
    pub(crate) gone: std::sync::atomic::AtomicU32,
}

/// Where a program's executable lies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Code {
    pub(crate) base: usize,
    pub(crate) bytes: usize,
}

impl Code {
    /// Whether an address is in it.
    #[inline]
    pub(crate) fn contains(self, address: usize) -> bool {
        address.wrapping_sub(self.base) < self.bytes
    }
}

thread_local! {
    static CURRENT: Cell<*mut Lent> = const { Cell::new(std::ptr::null_mut()) };
}

/// The running thread's record, or null on a thread that belongs to no simulated host (the carrier among them, so
/// that whatever the kernel calls reaches the real libc).
#[inline]
pub(crate) fn current() -> *mut Lent {
    CURRENT.get()
}

/// Makes the running thread a simulated one.
pub(super) fn set_current(lent: *mut Lent) {
    CURRENT.set(lent);
}

/// The kernel's hold on a lent thread's record.
///
/// The record lives from `lend::create` to `lend::release`, which only the kernel calls, after it has dropped its
/// `Thread`; and while the kernel runs, the thread does not. So these accesses are exclusive.
#[derive(Clone, Copy)]
pub(crate) struct LentRef(*mut Lent);

#[expect(clippy::undocumented_unsafe_blocks, reason = "SAFETY: exclusive and alive, as argued at the type")]
impl LentRef {
    pub(crate) fn new(lent: *mut Lent) -> LentRef {
        LentRef(lent)
    }

    pub(crate) fn pointer(self) -> *mut Lent {
        self.0
    }

    /// Leaves a result for the call that the thread is suspended in.
    #[inline]
    pub(crate) fn answer(self, result: i64) {
        unsafe {
            (*self.0).result = result;
            (*self.0).resume = Resume::Done;
        }
    }

    /// The thread has done something else than reading its clock.
    #[inline]
    pub(crate) fn did_work(self) {
        unsafe {
            (*self.0).clock_reads.set(0);
            (*self.0).calls = (*self.0).calls.wrapping_add(1);
        }
    }

    /// Resumes the thread for something else than a result.
    pub(crate) fn resume_for(self, why: Resume) {
        unsafe { (*self.0).resume = why }
    }

    /// Says whether the thread should look for signals.
    pub(crate) fn set_signalled(self, signalled: bool) {
        unsafe { (*self.0).signalled = signalled }
    }

    /// Tells the thread the time, right before it runs.
    #[inline]
    pub(crate) fn set_now(self, now_ns: u64) {
        unsafe { (*self.0).clock.now_ns = now_ns }
    }

    /// Tells the thread its host's clocks.
    pub(crate) fn set_clocks(self, realtime_ns: i64, monotonic_ns: i64) {
        unsafe {
            (*self.0).clock.realtime_ns = realtime_ns;
            (*self.0).clock.monotonic_ns = monotonic_ns;
        }
    }

    /// How often the thread has read its wall clock.
    pub(crate) fn wall_reads(self) -> u32 {
        unsafe { (*self.0).wall_reads.get() }
    }

    /// The genuine pthread.
    pub(crate) fn pthread(self) -> libc::pthread_t {
        unsafe { (*self.0).pthread }
    }

    /// Gives stack, TLS and record back. The thread will never run again.
    pub(crate) fn release(self) {
        unsafe { super::lend::release(self.0) }
    }
}
