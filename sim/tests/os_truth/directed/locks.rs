//! pthreads' locks and what else threads meet at.

use super::{at_least, pause};
use crate::compare::{Weathers, script};
use crate::transcript::{Transcript, errno_name, record};
use libc::*;
use std::mem::{MaybeUninit, zeroed};
use std::sync::atomic::{AtomicUsize, Ordering};

// The libc crate lacks these.
unsafe extern "C" {
    fn pthread_once(control: *mut c_int, routine: extern "C" fn()) -> c_int;
    fn pthread_tryjoin_np(thread: pthread_t, result: *mut *mut c_void) -> c_int;
    fn pthread_rwlock_timedrdlock(lock: *mut pthread_rwlock_t, until: *const timespec) -> c_int;
    fn pthread_rwlock_timedwrlock(lock: *mut pthread_rwlock_t, until: *const timespec) -> c_int;
    fn pthread_mutex_clocklock(lock: *mut pthread_mutex_t, clock: clockid_t, until: *const timespec) -> c_int;
    fn pthread_cond_clockwait(
        condition: *mut pthread_cond_t,
        lock: *mut pthread_mutex_t,
        clock: clockid_t,
        until: *const timespec,
    ) -> c_int;
    fn pthread_rwlock_clockrdlock(lock: *mut pthread_rwlock_t, clock: clockid_t, until: *const timespec) -> c_int;
    fn pthread_rwlock_clockwrlock(lock: *mut pthread_rwlock_t, clock: clockid_t, until: *const timespec) -> c_int;
    fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, until: *const timespec) -> c_int;
}

/// Writes down what a pthread function answers: the error itself.
macro_rules! answered {
    ($t:expr, $call:expr, $($text:tt)+) => {{
        // SAFETY: the objects are alive and of the right type.
        let error = unsafe { $call };
        let name = if error > 0 { errno_name(error) } else { error.to_string() };
        $t.say(format_args!("{} = {name}", format_args!($($text)+)));
        error
    }};
}

/// Shares a pointer with threads.
#[derive(Clone, Copy)]
struct To<T>(*mut T);
// SAFETY: pthread objects are made to be shared.
unsafe impl<T> Send for To<T> {}

impl<T> To<T> {
    fn new(value: T) -> To<T> {
        To(Box::into_raw(Box::new(value)))
    }
    fn get(self) -> *mut T {
        self.0
    }
}

fn mutex(kind: c_int) -> To<pthread_mutex_t> {
    // SAFETY: fresh objects.
    unsafe {
        let lock = To::new(zeroed::<pthread_mutex_t>());
        let mut attributes = MaybeUninit::<pthread_mutexattr_t>::uninit();
        pthread_mutexattr_init(attributes.as_mut_ptr());
        pthread_mutexattr_settype(attributes.as_mut_ptr(), kind);
        pthread_mutex_init(lock.get(), attributes.as_ptr());
        lock
    }
}

const CLOCKS: [(&str, clockid_t); 3] =
    [("MONOTONIC", CLOCK_MONOTONIC), ("REALTIME", CLOCK_REALTIME), ("BOOTTIME", CLOCK_BOOTTIME)];

/// A moment on a clock.
fn moment(clock: c_int, in_ms: i64) -> timespec {
    // SAFETY: room for the answer.
    unsafe {
        let mut now: timespec = zeroed();
        clock_gettime(clock, &mut now);
        let ns = now.tv_sec * 1_000_000_000 + now.tv_nsec + in_ms * 1_000_000;
        timespec { tv_sec: ns / 1_000_000_000, tv_nsec: ns % 1_000_000_000 }
    }
}

/// In five milliseconds, on the wall clock.
fn soon() -> timespec {
    moment(CLOCK_REALTIME, 5)
}

/// Runs something on another thread and writes down what it answers.
fn elsewhere(t: &Transcript, what: &str, run: impl FnOnce() -> c_int + Send + 'static) {
    let error = std::thread::spawn(run).join().unwrap_or(-9);
    t.say(format_args!("another thread: {what} = {}", if error == 0 { "0".to_owned() } else { errno_name(error) }));
}

static ONCE_RUNS: AtomicUsize = AtomicUsize::new(0);
extern "C" fn once_body() {
    pause(20);
    ONCE_RUNS.fetch_add(1, Ordering::SeqCst);
}

static DESTROYED: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());
static AGAIN: AtomicUsize = AtomicUsize::new(usize::MAX);
unsafe extern "C" fn destroy(value: *mut c_void) {
    DESTROYED.lock().unwrap_or_else(|e| e.into_inner()).push(value as usize);
    let again = AGAIN.load(Ordering::SeqCst);
    if again != usize::MAX && value as usize > 100 {
        // SAFETY: a live key.
        unsafe { pthread_setspecific(again as pthread_key_t, (value as usize - 1) as *const c_void) };
    }
}

script! { Weathers::All;
    fn mutex_types(t) {
        for (name, kind) in [
            ("normal", PTHREAD_MUTEX_NORMAL),
            ("recursive", PTHREAD_MUTEX_RECURSIVE),
            ("errorcheck", PTHREAD_MUTEX_ERRORCHECK),
        ] {
            t.about(&format!("{name}: "));
            let lock = mutex(kind);
            answered!(t, pthread_mutex_trylock(lock.get()), "trylock");
            answered!(t, pthread_mutex_trylock(lock.get()), "trylock again");
            if kind != PTHREAD_MUTEX_NORMAL {
                answered!(t, pthread_mutex_lock(lock.get()), "lock again");
            }
            elsewhere(t, "trylock", move || unsafe { pthread_mutex_trylock(lock.get()) });
            if kind != PTHREAD_MUTEX_NORMAL {
                elsewhere(t, "unlock", move || unsafe { pthread_mutex_unlock(lock.get()) });
            }
            elsewhere(t, "timedlock", move || unsafe { pthread_mutex_timedlock(lock.get(), &soon()) });
            answered!(t, pthread_mutex_unlock(lock.get()), "unlock");
            if kind != PTHREAD_MUTEX_NORMAL {
                answered!(t, pthread_mutex_unlock(lock.get()), "unlock again");
                answered!(t, pthread_mutex_unlock(lock.get()), "unlock once more");
                answered!(t, pthread_mutex_unlock(lock.get()), "unlock too often");
            }
            elsewhere(t, "lock", move || unsafe { pthread_mutex_lock(lock.get()) });
            answered!(t, pthread_mutex_trylock(lock.get()), "trylock of what an ended thread holds");
            let broken = timespec { tv_sec: 0, tv_nsec: -1 };
            answered!(t, pthread_mutex_timedlock(lock.get(), &broken), "timedlock, malformed");
            answered!(t, pthread_mutex_timedlock(lock.get(), &moment(CLOCK_REALTIME, -5)), "timedlock until the past");
            let free = mutex(kind);
            answered!(t, pthread_mutex_timedlock(free.get(), &broken), "timedlock of a free one, malformed");
        }
    }

    fn mutual_exclusion(t) {
        let (lock, sum) = (mutex(PTHREAD_MUTEX_NORMAL), To::new(0u64));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(move || {
                    let (lock, sum) = (lock, sum);
                    for _ in 0..100 {
                        // SAFETY: the lock makes the sum the thread's own.
                        unsafe {
                            pthread_mutex_lock(lock.get());
                            let before = *sum.get();
                            sched_yield();
                            *sum.get() = before + 1;
                            pthread_mutex_unlock(lock.get());
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| drop(thread.join()));
        // SAFETY: everybody has ended.
        t.say(format_args!("the sum is {}", unsafe { *sum.get() }));
    }

    fn read_write_locks(t) {
        let lock = To::new(PTHREAD_RWLOCK_INITIALIZER);
        answered!(t, pthread_rwlock_rdlock(lock.get()), "rdlock");
        answered!(t, pthread_rwlock_rdlock(lock.get()), "rdlock again");
        answered!(t, pthread_rwlock_trywrlock(lock.get()), "trywrlock");
        elsewhere(t, "tryrdlock", move || unsafe { pthread_rwlock_tryrdlock(lock.get()) });
        elsewhere(t, "trywrlock", move || unsafe { pthread_rwlock_trywrlock(lock.get()) });
        elsewhere(t, "timedwrlock", move || unsafe { pthread_rwlock_timedwrlock(lock.get(), &soon()) });
        for _ in 0..3 {
            answered!(t, pthread_rwlock_unlock(lock.get()), "unlock");
        }
        answered!(t, pthread_rwlock_wrlock(lock.get()), "wrlock");
        answered!(t, pthread_rwlock_tryrdlock(lock.get()), "tryrdlock");
        answered!(t, pthread_rwlock_rdlock(lock.get()), "rdlock of one's own write lock");
        answered!(t, pthread_rwlock_wrlock(lock.get()), "wrlock of one's own write lock");
        elsewhere(t, "timedrdlock", move || unsafe { pthread_rwlock_timedrdlock(lock.get(), &soon()) });
        let waiter = std::thread::spawn(move || {
            let lock = lock;
            // SAFETY: alive.
            unsafe { pthread_rwlock_rdlock(lock.get()) }
        });
        pause(10);
        answered!(t, pthread_rwlock_unlock(lock.get()), "unlock");
        t.say(format_args!("the reader got {:?}", waiter.join().ok()));
    }

    /// The calls with a clock of their own (pthread_mutex_clocklock(3p) and its like).
    fn limits_on_a_clock(t) {
        for (name, clock) in CLOCKS.into_iter().chain([("99", 99)]) {
            t.about(&format!("{name}: "));
            let (lock, rwlock) = (mutex(PTHREAD_MUTEX_NORMAL), To::new(PTHREAD_RWLOCK_INITIALIZER));
            let until = move || moment(if clock == 99 { CLOCK_MONOTONIC } else { clock }, 15);
            answered!(t, pthread_mutex_clocklock(lock.get(), clock, &until()), "mutex_clocklock of a free one");
            elsewhere(t, "mutex_clocklock", move || unsafe { pthread_mutex_clocklock(lock.get(), clock, &until()) });
            answered!(t, pthread_rwlock_clockrdlock(rwlock.get(), clock, &until()), "rwlock_clockrdlock of a free one");
            elsewhere(t, "rwlock_clockwrlock", move || unsafe {
                pthread_rwlock_clockwrlock(rwlock.get(), clock, &until())
            });
            let semaphore = To::new(unsafe { zeroed::<sem_t>() });
            record!(t, unsafe { sem_init(semaphore.get(), 0, 0) }, "sem_init(0)");
            record!(t, unsafe { sem_clockwait(semaphore.get(), clock, &until()) }, "sem_clockwait()");
        }
    }

    fn semaphores(t) {
        let semaphore = To::new(unsafe { zeroed::<sem_t>() });
        record!(t, unsafe { sem_init(semaphore.get(), 0, u32::MAX) }, "sem_init(too many)");
        record!(t, unsafe { sem_init(semaphore.get(), 0, 1) }, "sem_init(1)");
        record!(t, unsafe { sem_wait(semaphore.get()) }, "sem_wait()");
        record!(t, unsafe { sem_trywait(semaphore.get()) }, "sem_trywait()");
        at_least(t, 20, || {
            record!(t, unsafe { sem_timedwait(semaphore.get(), &moment(CLOCK_REALTIME, 25)) }, "sem_timedwait(25 ms)");
        });
        let broken = timespec { tv_sec: 0, tv_nsec: -1 };
        record!(t, unsafe { sem_timedwait(semaphore.get(), &broken) }, "sem_timedwait(malformed)");
        record!(t, unsafe { sem_post(semaphore.get()) }, "sem_post()");
        record!(t, unsafe { sem_timedwait(semaphore.get(), &broken) }, "sem_timedwait(malformed), none needed");
        let mut value = -1;
        record!(t, unsafe { sem_getvalue(semaphore.get(), &mut value) }, "sem_getvalue()");
        let waiters = [0; 3].map(|_| {
            std::thread::spawn(move || {
                let semaphore = semaphore;
                // SAFETY: alive.
                unsafe { sem_wait(semaphore.get()) }
            })
        });
        for _ in 0..3 {
            record!(t, unsafe { sem_post(semaphore.get()) }, "sem_post()");
        }
        let results: Vec<_> = waiters.into_iter().map(|waiter| waiter.join().unwrap_or(-9)).collect();
        record!(t, unsafe { sem_getvalue(semaphore.get(), &mut value) }, "sem_getvalue()");
        t.say(format_args!("{results:?}, {value} left"));
    }

    fn barriers(t) {
        let barrier = To::new(unsafe { zeroed::<pthread_barrier_t>() });
        answered!(t, pthread_barrier_init(barrier.get(), std::ptr::null(), 0), "init for nobody");
        answered!(t, pthread_barrier_init(barrier.get(), std::ptr::null(), 3), "init for three");
        for round in 0..3 {
            let threads = [0; 2].map(|_| {
                std::thread::spawn(move || {
                    let barrier = barrier;
                    // SAFETY: alive.
                    unsafe { pthread_barrier_wait(barrier.get()) }
                })
            });
            // SAFETY: alive.
            let mut answers = vec![unsafe { pthread_barrier_wait(barrier.get()) }];
            answers.extend(threads.into_iter().map(|thread| thread.join().unwrap_or(-9)));
            answers.sort_unstable();
            t.say(format_args!("round {round}: {answers:?}"));
        }
        answered!(t, pthread_barrier_destroy(barrier.get()), "destroy");
    }

    fn once(t) {
        ONCE_RUNS.store(0, Ordering::SeqCst);
        let control = To::new(0 as c_int);
        let threads = [0; 3].map(|_| {
            std::thread::spawn(move || {
                let control = control;
                // SAFETY: alive.
                let error = unsafe { pthread_once(control.get(), once_body) };
                (error, ONCE_RUNS.load(Ordering::SeqCst))
            })
        });
        let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap_or((-9, 0))).collect();
        t.say(format_args!("{answers:?}"));
    }

    fn keys_with_destructors(t) {
        let mut keys = [0; 3];
        for key in &mut keys {
            answered!(t, pthread_key_create(key, Some(destroy)), "key_create");
        }
        let [first, second, third] = keys;
        t.say(format_args!("fresh keys hold nothing: {}", unsafe { pthread_getspecific(first) }.is_null()));
        let thread = std::thread::spawn(move || unsafe {
            pthread_setspecific(first, 4 as *const c_void);
            pthread_setspecific(second, 2 as *const c_void);
            pthread_setspecific(third, 3 as *const c_void);
            pthread_setspecific(second, std::ptr::null());
            pthread_getspecific(first) as usize
        });
        t.say(format_args!("set and read {:?}", thread.join().ok()));
        t.say(format_args!("destroyed {:?}", DESTROYED.lock().map(|mut list| std::mem::take(&mut *list))));
        // A destructor that sets its key again runs at most PTHREAD_DESTRUCTOR_ITERATIONS times.
        AGAIN.store(first as usize, Ordering::SeqCst);
        let thread = std::thread::spawn(move || unsafe { pthread_setspecific(first, 110 as *const c_void) });
        t.say(format_args!("set {:?}", thread.join().ok()));
        t.say(format_args!("destroyed {:?}", DESTROYED.lock().map(|mut list| std::mem::take(&mut *list))));
        AGAIN.store(usize::MAX, Ordering::SeqCst);
        answered!(t, pthread_key_delete(second), "key_delete");
        answered!(t, pthread_key_delete(second), "key_delete again");
        answered!(t, pthread_setspecific(second, 5 as *const c_void), "setspecific of a deleted key");
        t.say(format_args!("a deleted key holds nothing: {}", unsafe { pthread_getspecific(second) }.is_null()));
        answered!(t, pthread_key_delete(4711), "key_delete of nonsense");
        answered!(t, pthread_setspecific(4711, 5 as *const c_void), "setspecific of nonsense");
    }

    fn joining(t) {
        extern "C" fn body(argument: *mut c_void) -> *mut c_void {
            if argument as usize == 2 {
                // SAFETY: ends this thread.
                unsafe { pthread_exit(22 as *mut c_void) };
            }
            pause(5);
            (argument as usize * 10) as *mut c_void
        }
        let start = |argument: usize| {
            let mut thread = 0;
            // SAFETY: a valid routine.
            let pointer = argument as *mut c_void;
            answered!(t, pthread_create(&mut thread, std::ptr::null(), body, pointer), "create {argument}");
            thread
        };
        let mut result = std::ptr::null_mut();
        let thread = start(1);
        answered!(t, pthread_tryjoin_np(thread, &mut result), "tryjoin");
        answered!(t, pthread_join(thread, &mut result), "join");
        t.say(format_args!("result {}", result as usize));
        let thread = start(2);
        answered!(t, pthread_join(thread, &mut result), "join");
        t.say(format_args!("result {}", result as usize));
        let thread = start(3);
        answered!(t, pthread_detach(thread), "detach");
        answered!(t, pthread_join(thread, &mut result), "join of a detached one");
        answered!(t, pthread_detach(thread), "detach again");
        answered!(t, pthread_join(pthread_self(), &mut result), "join oneself");
        answered!(t, pthread_setname_np(pthread_self(), c"a name of 15 ch".as_ptr()), "setname");
        answered!(t, pthread_setname_np(pthread_self(), c"a name of 16 chs".as_ptr()), "setname, too long");
        let mut name = [0 as c_char; 16];
        answered!(t, pthread_getname_np(pthread_self(), name.as_mut_ptr(), 16), "getname");
        // SAFETY: ends with NUL.
        t.say(format_args!("{:?}", unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) }));
        answered!(t, pthread_getname_np(pthread_self(), name.as_mut_ptr(), 8), "getname, short");
        pause(20);
    }
}

// In a storm, waits on conditions may end without a cause, as POSIX allows.
script! { Weathers::Calm;
    fn conditions(t) {
        let lock = mutex(PTHREAD_MUTEX_ERRORCHECK);
        let condition = To::new(PTHREAD_COND_INITIALIZER);
        answered!(t, pthread_cond_signal(condition.get()), "signal nobody");
        answered!(t, pthread_cond_wait(condition.get(), lock.get()), "wait without the lock");
        answered!(t, pthread_mutex_lock(lock.get()), "lock");
        at_least(t, 20, || {
            let until = moment(CLOCK_REALTIME, 25);
            answered!(t, pthread_cond_timedwait(condition.get(), lock.get(), &until), "timedwait");
        });
        let past = moment(CLOCK_REALTIME, -25);
        answered!(t, pthread_cond_timedwait(condition.get(), lock.get(), &past), "timedwait until the past");
        let broken = timespec { tv_sec: 1, tv_nsec: 1_000_000_000 };
        answered!(t, pthread_cond_timedwait(condition.get(), lock.get(), &broken), "timedwait, malformed");
        answered!(t, pthread_mutex_unlock(lock.get()), "unlock: it is still ours");
        let state = To::new(0);
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                std::thread::spawn(move || {
                    let (lock, condition, state) = (lock, condition, state);
                    // SAFETY: the lock guards the state.
                    unsafe {
                        pthread_mutex_lock(lock.get());
                        while *state.get() == 0 {
                            pthread_cond_wait(condition.get(), lock.get());
                        }
                        *state.get() += 1;
                        pthread_mutex_unlock(lock.get())
                    }
                })
            })
            .collect();
        pause(10);
        // SAFETY: the lock guards the state.
        unsafe {
            pthread_mutex_lock(lock.get());
            *state.get() = 1;
            pthread_cond_broadcast(condition.get());
            pthread_mutex_unlock(lock.get());
        }
        let errors: Vec<_> = waiters.into_iter().map(|waiter| waiter.join().unwrap_or(-9)).collect();
        // SAFETY: everybody has ended.
        t.say(format_args!("woken: {errors:?}, state {}", unsafe { *state.get() }));
        answered!(t, pthread_cond_destroy(condition.get()), "destroy");
    }

    fn conditions_on_a_clock(t) {
        let (lock, condition) = (mutex(PTHREAD_MUTEX_NORMAL), To::new(PTHREAD_COND_INITIALIZER));
        answered!(t, pthread_mutex_lock(lock.get()), "lock");
        for (name, clock) in CLOCKS {
            let until = moment(clock, 15);
            answered!(t, pthread_cond_clockwait(condition.get(), lock.get(), clock, &until), "clockwait on {name}");
        }
        answered!(t, pthread_mutex_unlock(lock.get()), "unlock");
    }

    /// One signal wakes one of those who wait.
    fn one_at_a_time(t) {
        let (lock, condition) = (mutex(PTHREAD_MUTEX_NORMAL), To::new(PTHREAD_COND_INITIALIZER));
        let woken = To::new(0u32);
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                std::thread::spawn(move || unsafe {
                    pthread_mutex_lock(lock.get());
                    pthread_cond_wait(condition.get(), lock.get());
                    *woken.get() += 1;
                    pthread_mutex_unlock(lock.get());
                })
            })
            .collect();
        for _ in 0..3 {
            pause(40);
            answered!(t, pthread_cond_signal(condition.get()), "signal");
            pause(40);
            unsafe { pthread_mutex_lock(lock.get()) };
            t.say(format_args!("woken so far: {}", unsafe { *woken.get() }));
            unsafe { pthread_mutex_unlock(lock.get()) };
        }
        waiters.into_iter().for_each(|waiter| drop(waiter.join()));
    }

    /// pthread_mutexattr_setrobust(3): the next owner learns that the last one ended.
    fn robust_mutexes(t) {
        let lock = To::new(unsafe { zeroed::<pthread_mutex_t>() });
        let mut attributes = MaybeUninit::<pthread_mutexattr_t>::uninit();
        answered!(t, pthread_mutexattr_init(attributes.as_mut_ptr()), "mutexattr_init");
        answered!(t, pthread_mutexattr_setrobust(attributes.as_mut_ptr(), PTHREAD_MUTEX_ROBUST), "setrobust");
        answered!(t, pthread_mutex_init(lock.get(), attributes.as_ptr()), "init");
        elsewhere(t, "lock", move || unsafe { pthread_mutex_lock(lock.get()) });
        answered!(t, pthread_mutex_trylock(lock.get()), "trylock of what an ended thread holds");
    }

    fn conditions_on_the_monotonic_clock(t) {
        let lock = mutex(PTHREAD_MUTEX_NORMAL);
        let condition = To::new(PTHREAD_COND_INITIALIZER);
        let mut attributes = MaybeUninit::<pthread_condattr_t>::uninit();
        answered!(t, pthread_condattr_init(attributes.as_mut_ptr()), "condattr_init");
        answered!(t, pthread_condattr_setclock(attributes.as_mut_ptr(), CLOCK_MONOTONIC), "setclock");
        answered!(t, pthread_condattr_setclock(attributes.as_mut_ptr(), CLOCK_PROCESS_CPUTIME_ID), "setclock of CPU");
        answered!(t, pthread_cond_init(condition.get(), attributes.as_ptr()), "init");
        answered!(t, pthread_mutex_lock(lock.get()), "lock");
        at_least(t, 20, || {
            let until = moment(CLOCK_MONOTONIC, 25);
            answered!(t, pthread_cond_timedwait(condition.get(), lock.get(), &until), "timedwait");
        });
        answered!(t, pthread_mutex_unlock(lock.get()), "unlock");
    }
}
