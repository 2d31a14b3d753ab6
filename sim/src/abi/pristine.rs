//! What a worker is told outside of worlds: nothing of the machine.
//!
//! Static constructors and what the test's crate has for a global allocator run there before the world, and on the
//! carrier beneath it: jemalloc makes as many arenas as there are processors and gives pages back as time passes,
//! mimalloc draws numbers. Their addresses are given to the test, so whatever they ask must be answered equally in
//! every process. Nothing else in a worker needs a clock or entropy; in a process that is no worker, libc answers.

use super::real_clock;
use crate::carrier::real;
use crate::worker::{CPUS, ENV_C};
use libc::{c_int, c_long, c_uint, c_void, clockid_t, time_t, timespec, timeval};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// 2027-01-01T00:00:00Z, when worlds begin that nobody gives another time.
const START_S: u64 = 1_798_761_600;
/// What a look at a clock costs: whoever waits for time to pass gets on.
const READ_NS: u64 = 1_000;

static READS: AtomicU64 = AtomicU64::new(0);
static DRAWN: AtomicU64 = AtomicU64::new(0);

/// Whether this process is a worker. Asked before anything of it runs, so it is kept without allocating.
fn is_worker() -> bool {
    const YES: u8 = 1;
    const NO: u8 = 2;
    static KNOWN: AtomicU8 = AtomicU8::new(0);
    match KNOWN.load(Ordering::Relaxed) {
        YES => true,
        NO => false,
        _ => {
            // SAFETY: a C string; libc's own `environ` is set before constructors run.
            let worker = unsafe { !real::getenv(ENV_C.as_ptr()).is_null() };
            KNOWN.store(if worker { YES } else { NO }, Ordering::Relaxed);
            worker
        }
    }
}

/// A moment after every other that was told before, on any clock.
pub(super) fn now_ns() -> u64 {
    START_S * 1_000_000_000 + READS.fetch_add(1, Ordering::Relaxed) * READ_NS
}

fn now() -> timespec {
    let ns = now_ns();
    timespec { tv_sec: (ns / 1_000_000_000) as time_t, tv_nsec: (ns % 1_000_000_000) as c_long }
}

/// Numbers that are equal in every worker: splitmix64 (Steele, Lea, Flood 2014) of how many were drawn.
unsafe fn fill(buffer: *mut c_void, bytes: usize) {
    for at in (0..bytes).step_by(8) {
        let mut x = (DRAWN.fetch_add(1, Ordering::Relaxed) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (x ^ x >> 31).to_le_bytes();
        // SAFETY: inside the caller's buffer.
        unsafe {
            std::ptr::copy_nonoverlapping(drawn.as_ptr(), buffer.cast::<u8>().add(at), drawn.len().min(bytes - at));
        }
    }
}

/// One bit for each processor.
unsafe fn put_affinity(bytes: usize, set: *mut c_void) -> c_int {
    // SAFETY: the caller's set of that size.
    unsafe {
        std::ptr::write_bytes(set.cast::<u8>(), 0, bytes);
        *set.cast::<u8>() = (1 << CPUS) - 1;
    }
    0
}

const _: () = assert!(CPUS < 8);

#[expect(clippy::undocumented_unsafe_blocks, reason = "SAFETY: callers promise what the man pages ask")]
mod outside {
    use super::*;

    pub(crate) unsafe extern "C" fn clock_gettime(id: clockid_t, out: *mut timespec) -> c_int {
        unsafe {
            if !is_worker() {
                return real_clock::clock_gettime(id, out);
            }
            *out = now();
            0
        }
    }

    pub(crate) unsafe extern "C" fn gettimeofday(out: *mut timeval, zone: *mut c_void) -> c_int {
        unsafe {
            if !is_worker() {
                return real_clock::gettimeofday(out, zone);
            }
            if !out.is_null() {
                let now = now();
                *out = timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1000 };
            }
            0
        }
    }

    pub(crate) unsafe extern "C" fn time(out: *mut time_t) -> time_t {
        unsafe {
            if !is_worker() {
                return real_clock::time(out);
            }
            let seconds = now().tv_sec;
            if !out.is_null() {
                *out = seconds;
            }
            seconds
        }
    }

    pub(crate) unsafe extern "C" fn getrandom(buffer: *mut c_void, bytes: usize, flags: c_uint) -> isize {
        unsafe {
            if !is_worker() {
                return real::getrandom(buffer, bytes, flags);
            }
            fill(buffer, bytes);
        }
        bytes as isize
    }

    pub(crate) unsafe extern "C" fn getentropy(buffer: *mut c_void, bytes: usize) -> c_int {
        unsafe {
            if !is_worker() || bytes > 256 {
                return real::getentropy(buffer, bytes);
            }
            fill(buffer, bytes);
        }
        0
    }

    /// mimalloc draws by number.
    pub(crate) unsafe extern "C" fn syscall(
        number: c_long,
        a: usize,
        b: usize,
        c: usize,
        d: usize,
        e: usize,
        f: usize,
    ) -> c_long {
        unsafe {
            if number == libc::SYS_getrandom && is_worker() {
                fill(a as *mut c_void, b);
                return b as c_long;
            }
            real_clock::syscall(number, a, b, c, d, e, f)
        }
    }

    pub(crate) unsafe extern "C" fn sysconf(name: c_int) -> c_long {
        match name {
            libc::_SC_NPROCESSORS_ONLN | libc::_SC_NPROCESSORS_CONF if is_worker() => c_long::from(CPUS),
            _ => unsafe { real::sysconf(name) },
        }
    }

    pub(crate) unsafe extern "C" fn get_nprocs() -> c_int {
        if is_worker() { CPUS as c_int } else { unsafe { real::get_nprocs() } }
    }

    pub(crate) unsafe extern "C" fn get_nprocs_conf() -> c_int {
        if is_worker() { CPUS as c_int } else { unsafe { real::get_nprocs_conf() } }
    }

    pub(crate) unsafe extern "C" fn sched_getaffinity(pid: c_int, bytes: usize, set: *mut c_void) -> c_int {
        unsafe {
            if !is_worker() || bytes == 0 {
                return real::sched_getaffinity(pid, bytes, set);
            }
            put_affinity(bytes, set)
        }
    }

    pub(crate) unsafe extern "C" fn pthread_getaffinity_np(
        thread: libc::pthread_t,
        bytes: usize,
        set: *mut c_void,
    ) -> c_int {
        unsafe {
            if !is_worker() || bytes == 0 {
                return real::pthread_getaffinity_np(thread, bytes, set);
            }
            put_affinity(bytes, set)
        }
    }
}
pub(crate) use outside::*;
