//! The pthread locks that C libraries use. std and parking_lot go through futex(2) instead.
//!
//! The genuine lock is tried first, so libc keeps its own books (owners, recursion, readers) and an uncontended lock is
//! neither an event nor a scheduling point. Only waiting is simulated, on the lock's address. Condition variables are
//! simulated whole: every thread that could wait or signal belongs to the world.

use super::{call, hooks};
use crate::abi::clock::nanoseconds;
use crate::carrier::real;
use crate::kernel::{Clock, MATCH_ANY};
use libc::{
    EBUSY, EDEADLK, EINTR, EINVAL, ETIMEDOUT, c_int, c_uint, c_void, clockid_t, pthread_barrier_t, pthread_cond_t,
    pthread_mutex_t, pthread_rwlock_t, sem_t, timespec,
};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// Absolute time limit of a wait.
type Limit = Option<(Clock, i64)>;

/// The clocks that locks can be given (sysdeps/nptl/futex-internal.h, `futex_abstimed_supported_clockid`).
fn supported(clock: clockid_t) -> Result<(), c_int> {
    if matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC) { Ok(()) } else { Err(EINVAL) }
}

/// Reads a caller's limit.
unsafe fn limit(clock: clockid_t, time: *const timespec) -> Result<Limit, c_int> {
    // SAFETY: null or valid.
    match unsafe { time.as_ref() } {
        None => Ok(None),
        Some(time) => {
            supported(clock)?;
            let clock = Clock::of(clock).map_err(|_| EINVAL)?;
            Ok(Some((clock, nanoseconds(time).ok_or(EINVAL)?)))
        }
    }
}

/// Waits on an address until somebody wakes it. Answers 0, `ETIMEDOUT` or `EINTR`.
fn wait(name: &'static str, address: usize, limit: Limit) -> c_int {
    -call(name, |k, me| {
        let until = limit.map(|(clock, ns)| k.when(me, clock, ns));
        k.futex_wait(me, address, true, MATCH_ANY, until)
    }) as c_int
}

fn wake(name: &'static str, address: usize, count: usize) {
    call(name, |k, _| Ok(k.futex_wake(address, count, MATCH_ANY)));
}

/// Whether anybody waits on the address: waking nobody is no event.
fn waited_for(address: usize) -> bool {
    crate::abi::look("waiters", |k, _| Ok(i64::from(k.futexes.waited_for(address)))) != 0
}

/// Tries a genuine lock, waiting on its address while it is taken.
fn acquire(name: &'static str, address: usize, limit: Limit, mut attempt: impl FnMut() -> c_int) -> c_int {
    loop {
        let error = attempt();
        if error != EBUSY {
            return error;
        }
        match wait(name, address, limit) {
            0 | EINTR => {}
            error => return error,
        }
    }
}

/// Where glibc keeps what trylock does not tell: part of its ABI, as static initialisers write these words
/// (bits/struct_mutex.h, bits/struct_rwlock.h).
const MUTEX_OWNER: usize = 2;
const MUTEX_KIND: usize = 4;
const RWLOCK_WRITER: usize = 6;

/// A word of a lock.
unsafe fn word_of<T>(lock: *const T, index: usize) -> c_int {
    // SAFETY: inside the lock, which is the caller's.
    unsafe { (*lock.cast::<AtomicI32>().add(index)).load(Ordering::Relaxed) }
}

/// Whether relocking is an error rather than a deadlock.
unsafe fn checks_errors(mutex: *const pthread_mutex_t) -> bool {
    const KIND_MASK: c_int = 127; // above it are elision's bits
    // SAFETY: the caller's mutex.
    unsafe { word_of(mutex, MUTEX_KIND) & KIND_MASK == libc::PTHREAD_MUTEX_ERRORCHECK }
}

/// What libc calls the running thread in its locks; written into `struct pthread` at its birth.
fn own_tid() -> c_int {
    crate::abi::look("own tid", |k, me| Ok(i64::from(k.threads[me].serial))) as c_int
}

/// Takes a read-write lock. Waiting for oneself is an error (pthread_rwlock_wrlock(3p), `EDEADLK`).
unsafe fn acquire_rwlock(
    name: &'static str,
    lock: *mut pthread_rwlock_t,
    limit: Limit,
    attempt: unsafe fn(*mut pthread_rwlock_t) -> c_int,
) -> c_int {
    // SAFETY: the caller's lock.
    acquire(name, lock as usize, limit, || unsafe {
        match attempt(lock) {
            EBUSY if word_of(lock, RWLOCK_WRITER) == own_tid() => EDEADLK,
            error => error,
        }
    })
}

unsafe fn lock_mutex(mutex: *mut pthread_mutex_t, limit: Limit) -> c_int {
    // SAFETY: the caller's mutex.
    acquire("pthread_mutex_lock", mutex as usize, limit, || unsafe {
        match real::pthread_mutex_trylock(mutex) {
            EBUSY if checks_errors(mutex) && word_of(mutex, MUTEX_OWNER) == own_tid() => EDEADLK,
            error => error,
        }
    })
}

/// A free lock is taken whatever the time says (nptl/pthread_mutex_timedlock.c).
unsafe fn lock_mutex_until(mutex: *mut pthread_mutex_t, clock: clockid_t, time: *const timespec) -> c_int {
    if let Err(error) = supported(clock) {
        return error;
    }
    // SAFETY: the caller's mutex and time.
    unsafe {
        match real::pthread_mutex_trylock(mutex) {
            EBUSY => limit(clock, time).map_or_else(|error| error, |limit| lock_mutex(mutex, limit)),
            error => error,
        }
    }
}

unsafe fn read_lock_until(lock: *mut pthread_rwlock_t, clock: clockid_t, time: *const timespec) -> c_int {
    // SAFETY: the caller's lock and time.
    let limit = unsafe { limit(clock, time) };
    // SAFETY: the caller's lock.
    limit.map_or_else(
        |error| error,
        |limit| unsafe { acquire_rwlock("pthread_rwlock_rdlock", lock, limit, real::pthread_rwlock_tryrdlock) },
    )
}

unsafe fn write_lock_until(lock: *mut pthread_rwlock_t, clock: clockid_t, time: *const timespec) -> c_int {
    // SAFETY: the caller's lock and time.
    let limit = unsafe { limit(clock, time) };
    // SAFETY: the caller's lock.
    limit.map_or_else(
        |error| error,
        |limit| unsafe { acquire_rwlock("pthread_rwlock_wrlock", lock, limit, real::pthread_rwlock_trywrlock) },
    )
}

unsafe fn unlock_mutex(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex.
    let error = unsafe { real::pthread_mutex_unlock(mutex) };
    if error == 0 && waited_for(mutex as usize) {
        wake("pthread_mutex_unlock", mutex as usize, 1);
    }
    error
}

unsafe fn wait_for_condition(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, limit: Limit) -> c_int {
    // The waiter is registered before the mutex is free, as nobody else runs in between: no wake-up is lost.
    let address = condition as usize;
    let mut released = false;
    let error = -call("pthread_cond_wait", |k, me| {
        let until = limit.map(|(clock, ns)| k.when(me, clock, ns));
        if !released {
            released = true;
            // The unlock happens on the carrier: recursion counts and owners are checked there as the thread's own.
            k.futex_wake(mutex as usize, 1, MATCH_ANY);
        }
        k.futex_wait(me, address, true, MATCH_ANY, until)
    }) as c_int;
    // SAFETY: the caller's mutex.
    unsafe { lock_mutex(mutex, None) };
    if error == EINTR { 0 } else { error }
}

/// The clock that a condition was made with: bit 1 of `__wrefs` (nptl/pthread_cond_common.c, since glibc 2.25).
pub(super) unsafe fn condition_clock(condition: *const pthread_cond_t) -> clockid_t {
    const WREFS_OFFSET: usize = 36;
    // SAFETY: inside the 48 bytes of pthread_cond_t.
    let wrefs = unsafe { *condition.cast::<u8>().add(WREFS_OFFSET).cast::<u32>() };
    if wrefs & 2 != 0 { libc::CLOCK_MONOTONIC } else { libc::CLOCK_REALTIME }
}

unsafe fn condition_wait(
    c: *mut pthread_cond_t,
    m: *mut pthread_mutex_t,
    clock: clockid_t,
    t: *const timespec,
) -> c_int {
    // SAFETY: the caller's objects. The genuine unlock runs on the owner's thread, so owner checks hold.
    unsafe {
        match limit(clock, t) {
            Err(error) => error,
            Ok(limit) => {
                let error = real::pthread_mutex_unlock(m);
                if error != 0 {
                    return error;
                }
                wait_for_condition(c, m, limit)
            }
        }
    }
}

hooks! {
    sync;

    fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int { lock_mutex(mutex, None) }
    fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int { unlock_mutex(mutex) }
    @outside(crate::abi::real_clock::pthread_mutex_timedlock)
    fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, time: *const timespec) -> c_int {
        lock_mutex_until(mutex, libc::CLOCK_REALTIME, time)
    }
    @outside(crate::abi::real_clock::pthread_mutex_clocklock)
    fn pthread_mutex_clocklock(mutex: *mut pthread_mutex_t, clock: clockid_t, time: *const timespec) -> c_int {
        lock_mutex_until(mutex, clock, time)
    }

    fn pthread_cond_wait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int {
        condition_wait(condition, mutex, libc::CLOCK_REALTIME, std::ptr::null())
    }
    @outside(crate::abi::real_clock::pthread_cond_timedwait)
    fn pthread_cond_timedwait(c: *mut pthread_cond_t, m: *mut pthread_mutex_t, time: *const timespec) -> c_int {
        condition_wait(c, m, condition_clock(c), time)
    }
    @outside(crate::abi::real_clock::pthread_cond_clockwait)
    fn pthread_cond_clockwait(
        c: *mut pthread_cond_t, m: *mut pthread_mutex_t, clock: clockid_t, time: *const timespec
    ) -> c_int {
        condition_wait(c, m, clock, time)
    }
    fn pthread_cond_signal(condition: *mut pthread_cond_t) -> c_int {
        wake("pthread_cond_signal", condition as usize, 1);
        0
    }
    fn pthread_cond_broadcast(condition: *mut pthread_cond_t) -> c_int {
        wake("pthread_cond_broadcast", condition as usize, usize::MAX);
        0
    }
    /// The genuine one waits for waiters that libc counts; here it counts none.
    fn pthread_cond_destroy(_condition: *mut pthread_cond_t) -> c_int { 0 }

    fn pthread_rwlock_rdlock(lock: *mut pthread_rwlock_t) -> c_int {
        acquire_rwlock("pthread_rwlock_rdlock", lock, None, real::pthread_rwlock_tryrdlock)
    }
    fn pthread_rwlock_wrlock(lock: *mut pthread_rwlock_t) -> c_int {
        acquire_rwlock("pthread_rwlock_wrlock", lock, None, real::pthread_rwlock_trywrlock)
    }
    @outside(crate::abi::real_clock::pthread_rwlock_timedrdlock)
    fn pthread_rwlock_timedrdlock(lock: *mut pthread_rwlock_t, time: *const timespec) -> c_int {
        read_lock_until(lock, libc::CLOCK_REALTIME, time)
    }
    @outside(crate::abi::real_clock::pthread_rwlock_clockrdlock)
    fn pthread_rwlock_clockrdlock(lock: *mut pthread_rwlock_t, clock: clockid_t, time: *const timespec) -> c_int {
        read_lock_until(lock, clock, time)
    }
    @outside(crate::abi::real_clock::pthread_rwlock_timedwrlock)
    fn pthread_rwlock_timedwrlock(lock: *mut pthread_rwlock_t, time: *const timespec) -> c_int {
        write_lock_until(lock, libc::CLOCK_REALTIME, time)
    }
    @outside(crate::abi::real_clock::pthread_rwlock_clockwrlock)
    fn pthread_rwlock_clockwrlock(lock: *mut pthread_rwlock_t, clock: clockid_t, time: *const timespec) -> c_int {
        write_lock_until(lock, clock, time)
    }
    fn pthread_rwlock_unlock(lock: *mut pthread_rwlock_t) -> c_int {
        let error = real::pthread_rwlock_unlock(lock);
        if error == 0 && waited_for(lock as usize) {
            wake("pthread_rwlock_unlock", lock as usize, usize::MAX);
        }
        error
    }

    fn sem_wait(semaphore: *mut sem_t) -> c_int { wait_semaphore(semaphore, Ok(None)) }
    @outside(crate::abi::real_clock::sem_timedwait)
    fn sem_timedwait(semaphore: *mut sem_t, time: *const timespec) -> c_int {
        wait_semaphore(semaphore, limit(libc::CLOCK_REALTIME, time))
    }
    @outside(crate::abi::real_clock::sem_clockwait)
    fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, time: *const timespec) -> c_int {
        wait_semaphore(semaphore, limit(clock, time))
    }
    fn sem_post(semaphore: *mut sem_t) -> c_int {
        let error = real::sem_post(semaphore);
        if error == 0 && waited_for(semaphore as usize) {
            wake("sem_post", semaphore as usize, 1);
        }
        error
    }

    /// Same states as nptl/pthread_once.c, so that the genuine one understands a finished control word.
    fn pthread_once(control: *mut c_int, routine: extern "C" fn()) -> c_int {
        const RUNNING: c_int = 1;
        const DONE: c_int = 2;
        let state = &*control.cast::<AtomicI32>();
        loop {
            match state.load(Ordering::SeqCst) {
                DONE => return 0,
                0 => {
                    state.store(RUNNING, Ordering::SeqCst);
                    routine();
                    state.store(DONE, Ordering::SeqCst);
                    if waited_for(control as usize) {
                        wake("pthread_once", control as usize, usize::MAX);
                    }
                    return 0;
                }
                _ => {
                    wait("pthread_once", control as usize, None);
                }
            }
        }
    }

    fn pthread_barrier_init(barrier: *mut pthread_barrier_t, _attributes: *const c_void, count: c_uint) -> c_int {
        if count == 0 {
            return EINVAL;
        }
        let words = barrier.cast::<u32>();
        *words = count;
        *words.add(1) = 0;
        *words.add(2) = 0;
        0
    }
    fn pthread_barrier_destroy(_barrier: *mut pthread_barrier_t) -> c_int { 0 }
    /// Word 0: parties; word 1: arrived; word 2: generation, on which the early ones wait.
    fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int {
        let words = barrier.cast::<AtomicU32>();
        let (parties, arrived, generation) = (&*words, &*words.add(1), &*words.add(2));
        if arrived.fetch_add(1, Ordering::SeqCst) + 1 == parties.load(Ordering::SeqCst) {
            arrived.store(0, Ordering::SeqCst);
            generation.fetch_add(1, Ordering::SeqCst);
            wake("pthread_barrier_wait", generation as *const AtomicU32 as usize, usize::MAX);
            return libc::PTHREAD_BARRIER_SERIAL_THREAD;
        }
        let now = generation.load(Ordering::SeqCst);
        while generation.load(Ordering::SeqCst) == now {
            wait("pthread_barrier_wait", generation as *const AtomicU32 as usize, None);
        }
        0
    }
}

unsafe fn wait_semaphore(semaphore: *mut sem_t, limit: Result<Limit, c_int>) -> c_int {
    let limit = match limit {
        Ok(limit) => limit,
        Err(error) => return crate::abi::answer_int(-i64::from(error)),
    };
    loop {
        // SAFETY: the caller's semaphore.
        if unsafe { real::sem_trywait(semaphore) } == 0 {
            return 0;
        }
        // sem_wait(3): unlike locks, a signal handler ends the wait.
        match wait("sem_wait", semaphore as usize, limit) {
            0 => {}
            error if error == ETIMEDOUT || error == EINTR => return crate::abi::answer_int(-i64::from(error)),
            error => return crate::abi::answer_int(-i64::from(error)),
        }
    }
}
