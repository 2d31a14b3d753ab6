//! `syscall(2)`: std, parking_lot and getrandom call the kernel by number through this function.

#![expect(non_upper_case_globals, reason = "libc names the numbers of system calls so")]

use super::{answer, call, hooks};
use crate::abi::clock::nanoseconds;
use crate::carrier::real;
use crate::kernel::{Clock, Kernel, MATCH_ANY, Stop, ThreadId};
use libc::{c_int, c_long, timespec};
use std::sync::atomic::{AtomicU32, Ordering};

/// linux/futex.h; the libc crate lacks it.
const FUTEX_LOCK_PI2: c_int = 13;

/// Deadline of a futex wait: relative for FUTEX_WAIT, absolute for FUTEX_WAIT_BITSET (futex(2), "timeout").
fn deadline(k: &mut Kernel, me: ThreadId, op: c_int, time: *const timespec) -> Result<Option<u64>, Stop> {
    // SAFETY: null or valid, as futex(2) asks.
    let Some(time) = (unsafe { time.as_ref() }) else { return Ok(None) };
    let ns = nanoseconds(time).ok_or(Stop::Errno(libc::EINVAL))?;
    if op & libc::FUTEX_CMD_MASK == libc::FUTEX_WAIT {
        return Ok(Some(k.after(me, ns as u64)));
    }
    let clock = if op & libc::FUTEX_CLOCK_REALTIME != 0 { Clock::Realtime } else { Clock::Monotonic };
    Ok(Some(k.when(me, clock, ns)))
}

/// futex(2).
pub(super) unsafe fn futex(word: usize, op: c_int, value: u32, fourth: usize, second: usize, bits: u32) -> i64 {
    // SAFETY: futex words are valid for the call.
    let load = |address: usize| unsafe { (*(address as *const AtomicU32)).load(Ordering::SeqCst) };
    let count = |n: u32| if (n as i32) < 0 { usize::MAX } else { n as usize };
    let command = op & libc::FUTEX_CMD_MASK;
    let with_clock = matches!(command, libc::FUTEX_WAIT_BITSET | libc::FUTEX_WAIT_REQUEUE_PI | FUTEX_LOCK_PI2);
    if op & libc::FUTEX_CLOCK_REALTIME != 0 && !with_clock {
        return -i64::from(libc::ENOSYS); // kernel/futex/syscalls.c, do_futex
    }
    match command {
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => {
            let bitset = if command == libc::FUTEX_WAIT { MATCH_ANY } else { bits };
            call("futex", |k, me| {
                let until = deadline(k, me, op, fourth as *const timespec)?;
                k.futex_wait(me, word, load(word) == value, bitset, until)
            })
        }
        libc::FUTEX_WAKE => call("futex", |k, _| Ok(k.futex_wake(word, count(value), MATCH_ANY))),
        libc::FUTEX_WAKE_BITSET => call("futex", |k, _| match bits {
            0 => Err(Stop::Errno(libc::EINVAL)),
            bits => Ok(k.futex_wake(word, count(value), bits)),
        }),
        libc::FUTEX_REQUEUE | libc::FUTEX_CMP_REQUEUE => call("futex", |k, _| {
            if command == libc::FUTEX_CMP_REQUEUE && load(word) != bits {
                return Err(Stop::Errno(libc::EAGAIN));
            }
            // kernel/futex/requeue.c wakes exactly that many, none included, and answers both numbers for both calls.
            let woken = if value == 0 { 0 } else { k.futex_wake(word, count(value), MATCH_ANY) };
            Ok(woken + k.futex_requeue(word, second, fourth))
        }),
        libc::FUTEX_WAKE_OP => call("futex", |k, _| {
            // SAFETY: as above.
            let passes = unsafe { wake_op(second, bits) };
            let first = k.futex_wake(word, count(value), MATCH_ANY);
            let other = if passes { k.futex_wake(second, fourth, MATCH_ANY) } else { 0 };
            Ok(first + other)
        }),
        libc::FUTEX_LOCK_PI
        | libc::FUTEX_UNLOCK_PI
        | libc::FUTEX_TRYLOCK_PI
        | FUTEX_LOCK_PI2
        | libc::FUTEX_WAIT_REQUEUE_PI
        | libc::FUTEX_CMP_REQUEUE_PI => {
            crate::abi::refuse("futex with priority inheritance", "use locks without priority inheritance")
        }
        _ => -i64::from(libc::ENOSYS),
    }
}

/// The operation encoded in FUTEX_WAKE_OP's last argument; answers whether its comparison holds (futex(2)).
unsafe fn wake_op(word: usize, encoded: u32) -> bool {
    let (op, compare) = (encoded >> 28 & 7, encoded >> 24 & 15);
    let shifted = encoded >> 31 != 0;
    let argument = (encoded >> 12 & 0xfff) as i32;
    let argument = if shifted { 1 << (argument & 31) } else { argument << 20 >> 20 };
    let right = (encoded & 0xfff) as i32;
    // SAFETY: the second futex word is valid for the call.
    let word = unsafe { &*(word as *const AtomicU32) };
    let old = word.load(Ordering::SeqCst) as i32;
    let new = match op {
        0 => argument,
        1 => old.wrapping_add(argument),
        2 => old | argument,
        3 => old & !argument,
        _ => old ^ argument,
    };
    word.store(new as u32, Ordering::SeqCst);
    match compare {
        0 => old == right,
        1 => old != right,
        2 => old < right,
        3 => old <= right,
        4 => old > right,
        _ => old >= right,
    }
}

hooks! {
    futex;

    /// Calls by number that programs make; the same hooks answer as for the named functions.
    @outside(crate::abi::pristine::syscall)
    fn syscall(
        number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize
    ) -> c_long {
        use libc::*;
        match number {
            SYS_futex => answer(crate::abi::futex::futex(a, b as c_int, c as u32, d, e, f as u32)),
            SYS_getrandom => libc::getrandom(a as *mut c_void, b, c as u32) as c_long,
            SYS_gettid => c_long::from(libc::gettid()),
            SYS_getppid => c_long::from(libc::getppid()),
            SYS_getuid | SYS_geteuid => c_long::from(libc::getuid()),
            SYS_getgid | SYS_getegid => c_long::from(libc::getgid()),
            SYS_nanosleep => c_long::from(libc::nanosleep(a as *const timespec, b as *mut timespec)),
            SYS_prlimit64 => {
                c_long::from(libc::prlimit(a as i32, b as c_uint, c as *const rlimit, d as *mut rlimit))
            }
            SYS_getpid => c_long::from(libc::getpid()),
            SYS_clock_gettime => c_long::from(libc::clock_gettime(a as i32, b as *mut timespec)),
            SYS_sched_yield => c_long::from(libc::sched_yield()),
            SYS_sched_getaffinity => {
                answer(crate::abi::process::put_affinity(b, c as *mut c_void))
            }
            SYS_eventfd2 => c_long::from(libc::eventfd(a as u32, b as c_int)),
            SYS_epoll_create1 => c_long::from(libc::epoll_create1(a as c_int)),
            SYS_pipe2 => c_long::from(libc::pipe2(a as *mut c_int, b as c_int)),
            SYS_read => libc::read(a as c_int, b as *mut c_void, c) as c_long,
            SYS_write => libc::write(a as c_int, b as *const c_void, c) as c_long,
            SYS_close => c_long::from(libc::close(a as c_int)),
            SYS_fcntl => c_long::from(libc::fcntl(a as c_int, b as c_int, c)),
            SYS_accept4 => {
                c_long::from(libc::accept4(a as c_int, b as *mut sockaddr, c as *mut socklen_t, d as c_int))
            }
            SYS_tgkill => answer(crate::abi::signal::kill_thread(Some(a as c_int), b as c_int, c as c_int)),
            SYS_tkill => answer(crate::abi::signal::kill_thread(None, a as c_int, b as c_int)),
            SYS_statx => c_long::from(libc::statx(
                a as c_int, b as *const c_char, c as c_int, d as c_uint, e as *mut libc::statx,
            )),
            // Membarrier, memory policy and capability probes: a kernel without them is a legal kernel.
            SYS_close_range => c_long::from(libc::close_range(a as c_uint, b as c_uint, c as c_int)),
            SYS_membarrier | SYS_rseq | SYS_pidfd_open | SYS_openat2 | SYS_mbind
            | SYS_set_mempolicy | SYS_clone3 | SYS_landlock_create_ruleset
            | SYS_copy_file_range | SYS_memfd_secret | SYS_epoll_pwait2 | SYS_futex_waitv
            // kcmp(2), userfaultfd(2), perf_event_open(2), bpf(2): each needs an option of the kernel's configuration.
            | SYS_kcmp | SYS_userfaultfd | SYS_perf_event_open | SYS_bpf | SYS_get_mempolicy | SYS_pkey_alloc => {
                answer(-i64::from(ENOSYS))
            }
            SYS_getcpu => {
                for out in [a as *mut c_uint, b as *mut c_uint] {
                    if !out.is_null() {
                        *out = 0;
                    }
                }
                0
            }
            SYS_prctl => c_long::from(libc::prctl(a as c_int, b, c, d, e)),
            SYS_madvise | SYS_munmap | SYS_mprotect | SYS_mremap | SYS_arch_prctl => {
                answer(real::raw_syscall(number, [a, b, c, d, e, f]) as i64)
            }
            SYS_io_uring_setup => {
                crate::abi::refuse("io_uring_setup", "io_uring is not simulated: choose the runtime's epoll driver")
            }
            _ => crate::abi::filesystem::by_number(number, [a, b, c, d, e, f])
                .unwrap_or_else(|| refuse_number(number)),
        }
    }
}

/// Refuses a call by its number, as there is no name at hand.
fn refuse_number(number: c_long) -> i64 {
    call("syscall", |k, me| {
        k.refuse(me, &format!("syscall({number})"), "this system call is not simulated when called by number");
        Err(Stop::Block)
    })
}
