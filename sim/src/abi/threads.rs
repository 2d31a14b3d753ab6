//! Threads: pthread_create(3) and its relatives, and the code that every simulated thread begins and ends with.

use super::{answer_error, call, hooks, look};
use crate::carrier::lent::current;
use crate::carrier::real;
use crate::kernel::{Clock, Stop};
use libc::{c_char, c_int, c_uint, c_void, pthread_attr_t, pthread_t, timespec};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a new simulated thread does.
pub(crate) enum StartThread {
    /// A start routine of the program's.
    Pthread {
        /// Its address, in the image of whoever created the thread.
        routine: usize,
        /// Its argument.
        argument: usize,
    },
    /// A host's program: the image's constructors, then `entry`.
    Program {
        /// Constructors of the fresh image.
        constructors: Vec<usize>,
        /// `fn(usize, &[u8]) -> i32`, in the image.
        entry: usize,
        /// First argument of `entry`.
        user: usize,
        /// Second argument of `entry`.
        payload: Vec<u8>,
    },
    /// A closure of the test's, in the original image.
    Client {
        /// What to run.
        run: Box<dyn FnOnce()>,
        /// It is the test itself: the world is over when it returns.
        ends_world: bool,
    },
}

impl StartThread {
    /// As a pointer that a thread's record carries.
    pub(crate) fn into_raw(self) -> *mut c_void {
        Box::into_raw(Box::new(self)).cast()
    }

    /// Drops what `into_raw` made, when no thread took it.
    pub(crate) fn drop_raw(raw: *mut c_void) {
        // SAFETY: made by `into_raw` and taken by nobody.
        drop(unsafe { Box::from_raw(raw.cast::<StartThread>()) });
    }
}

/// What every simulated thread runs from its first resumption on; never returns to libc.
///
/// # Safety
/// On a lent thread, with what `StartThread::into_raw` made.
pub(crate) unsafe fn thread_main(start: *mut c_void) -> ! {
    // SAFETY: taken once; the addresses are of the types that the variants name.
    unsafe {
        let start = take_start(start);
        match start {
            StartThread::Pthread { routine, argument } => {
                let routine: extern "C-unwind" fn(*mut c_void) -> *mut c_void = std::mem::transmute(routine);
                finish(routine(argument as *mut c_void) as usize)
            }
            StartThread::Program { constructors, entry, user, payload } => {
                let (argc, argv, envp) = arguments();
                for constructor in constructors.leak() {
                    let f: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = std::mem::transmute(*constructor);
                    f(argc, argv, envp);
                }
                let entry: unsafe fn(usize, &[u8]) -> i32 = std::mem::transmute(entry);
                crate::abi::process::exit_program(entry(user, payload.leak()))
            }
            StartThread::Client { run, ends_world } => {
                run();
                // Rust's own exit flushes what `print!` left in the buffer; this is no such exit.
                let _ = std::io::Write::flush(&mut std::io::stdout());
                if ends_world {
                    call("test body returned", |k, _| {
                        k.end(crate::world::Outcome::Finished);
                        Err(Stop::Block)
                    });
                }
                // As the thread of the test's that it is: what it has started and opened may be anybody's by now.
                finish(0)
            }
        }
    }
}

/// What a thread is to do, moved to its stack.
///
/// The box is freed on the carrier, which made it, and what it held is leaked: memory of the original image's allocator
/// must not be touched on a lent thread, whose TLS belongs to the allocator of its own image.
unsafe fn take_start(start: *mut c_void) -> StartThread {
    let mut taken = None;
    look("start", |_, _| {
        if taken.is_none() {
            // SAFETY: made by `StartThread::into_raw` and taken here once.
            taken = Some(*unsafe { Box::from_raw(start.cast::<StartThread>()) });
        }
        Ok(0)
    });
    taken.unwrap_or_else(|| real::die("a thread has nothing to do"))
}

/// The process's `main` arguments.
fn arguments() -> (c_int, *mut *mut c_char, *mut *mut c_char) {
    let mut found = (0, std::ptr::null_mut(), std::ptr::null_mut());
    look("main arguments", |k, me| {
        found = k.processes[k.threads[me].process].environment.arguments();
        Ok(0)
    });
    found
}

/// Ends the calling thread: TLS destructors, then keys, then the kernel (nptl/pthread_create.c, start_thread).
unsafe fn finish(result: usize) -> ! {
    // SAFETY: at the thread's end, on the thread.
    unsafe {
        real::call_tls_destructors();
        run_key_destructors();
    }
    call("thread exit", |k, me| k.thread_exit(me, result));
    real::die("an ended thread ran again")
}

/// Thread-specific data destructors, at most `PTHREAD_DESTRUCTOR_ITERATIONS` rounds (pthread_key_create(3)).
unsafe fn run_key_destructors() {
    const ITERATIONS: usize = 4;
    for _ in 0..ITERATIONS {
        // SAFETY: as promised.
        if !unsafe { run_key_destructors_once() } {
            break;
        }
    }
}

/// One round; answers whether any had a value.
unsafe fn run_key_destructors_once() -> bool {
    // Few at a time and on the stack, of which there may be no more than `PTHREAD_STACK_MIN`: see `take_start`.
    const AT_A_TIME: usize = 8;
    let (mut ran, mut from) = (false, 0);
    loop {
        let mut keys = [(0u32, 0usize); AT_A_TIME];
        let count = look("keys", |k, me| {
            let found = k.keys.destructors(k.image_of(me), from);
            Ok(keys.iter_mut().zip(found).map(|(slot, key)| *slot = key).count() as i64)
        });
        let keys = &keys[..count as usize];
        for &(key, destructor) in keys {
            // SAFETY: the key is live; the destructor is the one that its creator gave.
            unsafe {
                let value = libc::pthread_getspecific(key);
                if !value.is_null() {
                    libc::pthread_setspecific(key, std::ptr::null());
                    let destructor: unsafe extern "C" fn(*mut c_void) = std::mem::transmute(destructor);
                    destructor(value);
                    ran = true;
                }
            }
        }
        match keys.last() {
            Some((last, _)) if keys.len() == AT_A_TIME => from = last + 1,
            _ => return ran,
        }
    }
}

/// An absolute time of a clock.
fn until(clock: Clock, time: *const timespec) -> Option<(Clock, i64)> {
    // SAFETY: null or valid, as the caller's contract says.
    unsafe { time.as_ref() }.map(|t| (clock, t.tv_sec.saturating_mul(1_000_000_000).saturating_add(t.tv_nsec)))
}

unsafe fn join(thread: pthread_t, result: *mut *mut c_void, wait: bool, deadline: Option<(Clock, i64)>) -> c_int {
    let mut value = 0usize;
    let answer = call("pthread_join", |k, me| {
        let at = deadline.map(|(clock, ns)| k.when(me, clock, ns));
        k.join(me, thread, &mut value, wait, at)
    });
    if answer == 0 && !result.is_null() {
        // SAFETY: the caller's pointer.
        unsafe { *result = value as *mut c_void };
    }
    answer_error(answer)
}

/// A thread outside any world. In a worker there is none: libtest then runs the test on its main thread, so that the
/// process which cases are forked from has one thread and one state.
unsafe fn create_outside(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    routine: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: as the caller promises to pthread_create(3).
    unsafe {
        if !real::getenv(crate::worker::ENV_C.as_ptr()).is_null() {
            return libc::EAGAIN;
        }
        super::real_calls::splits_for_error(|| real::pthread_create(thread, attributes, routine, argument))
    }
}

/// Keys with destructors that were made before the world, by std among others: simulated threads of the test run them.
/// The destructor of each key, 0 for none: no list that grows, as allocators make keys while they cannot allocate.
static KEYS_OUTSIDE: [AtomicUsize; KEYS_MAX] = [const { AtomicUsize::new(0) }; KEYS_MAX];
/// `PTHREAD_KEYS_MAX`, bits/local_lim.h.
const KEYS_MAX: usize = 1024;

/// The keys that a new world finds.
pub(crate) fn keys_outside() -> Vec<(c_uint, usize)> {
    let keys = KEYS_OUTSIDE.iter().enumerate().map(|(key, f)| (key as c_uint, f.load(Ordering::Relaxed)));
    keys.filter(|(_, destructor)| *destructor != 0).collect()
}

type KeyDestructor = Option<unsafe extern "C" fn(*mut c_void)>;

unsafe fn create_key_outside(key: *mut c_uint, destructor: KeyDestructor) -> c_int {
    // SAFETY: as the caller promises to pthread_key_create(3).
    unsafe {
        let error = real::pthread_key_create(key, destructor);
        if error == 0 {
            KEYS_OUTSIDE[*key as usize].store(destructor.map_or(0, |f| f as usize), Ordering::Relaxed);
        }
        error
    }
}

hooks! {
    threads;

    @outside(create_outside)
    fn pthread_create(
        thread: *mut pthread_t,
        attributes: *const pthread_attr_t,
        routine: extern "C" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> c_int {
        let mut created = 0;
        let answer = call("pthread_create", |k, me| {
            let start = StartThread::Pthread { routine: routine as usize, argument: argument as usize };
            created = k.spawn(me, start, attributes.as_ref())?;
            if !thread.is_null() {
                // Before the new thread can run: it may read where its creator stores it.
                *thread = created;
            }
            Ok(0)
        });
        answer_error(answer)
    }

    fn pthread_join(thread: pthread_t, result: *mut *mut c_void) -> c_int {
        join(thread, result, true, None)
    }

    fn pthread_tryjoin_np(thread: pthread_t, result: *mut *mut c_void) -> c_int {
        join(thread, result, false, None)
    }

    fn pthread_timedjoin_np(thread: pthread_t, result: *mut *mut c_void, time: *const timespec) -> c_int {
        join(thread, result, true, until(Clock::Realtime, time))
    }

    fn pthread_clockjoin_np(
        thread: pthread_t, result: *mut *mut c_void, clock: libc::clockid_t, time: *const timespec
    ) -> c_int {
        match clock {
            libc::CLOCK_REALTIME => join(thread, result, true, until(Clock::Realtime, time)),
            libc::CLOCK_MONOTONIC => join(thread, result, true, until(Clock::Monotonic, time)),
            _ => libc::EINVAL, // nptl/pthread_clockjoin.c
        }
    }

    fn thrd_create(_thread: *mut pthread_t, _function: usize, _argument: *mut c_void) -> c_int {
        crate::abi::refuse("thrd_create", "C11 threads are not simulated: use pthread_create") as c_int
    }

    fn pthread_detach(thread: pthread_t) -> c_int {
        answer_error(call("pthread_detach", |k, _| k.detach(thread)))
    }

    /// Runs no cleanup handlers of the frames in between: a simulated thread has no frame of libc's to unwind to.
    fn pthread_exit(value: *mut c_void) {
        finish(value as usize)
    }

    fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int {
        let name = std::ffi::CStr::from_ptr(name);
        if name.to_bytes().len() > 15 {
            return libc::ERANGE; // pthread_setname_np(3): 16 bytes with the NUL
        }
        answer_error(look("pthread_setname_np", |k, _| {
            let id = k.by_pthread(thread)?;
            k.threads[id].name = name.to_string_lossy().into_owned();
            Ok(0)
        }))
    }

    fn pthread_getname_np(thread: pthread_t, buffer: *mut c_char, bytes: usize) -> c_int {
        answer_error(look("pthread_getname_np", |k, _| {
            let name = k.threads[k.by_pthread(thread)?].name.as_bytes();
            if bytes <= name.len() {
                return Err(Stop::Errno(libc::ERANGE));
            }
            std::ptr::copy_nonoverlapping(name.as_ptr(), buffer.cast(), name.len());
            *buffer.add(name.len()) = 0;
            Ok(0)
        }))
    }

    /// The genuine one asks the real kernel about a thread that is gone.
    fn pthread_getattr_np(thread: pthread_t, attributes: *mut pthread_attr_t) -> c_int {
        libc::pthread_attr_init(attributes);
        if let Some((low, high)) = crate::abi::dl::stack_of(thread as usize) {
            libc::pthread_attr_setstack(attributes, low as *mut c_void, high - low);
        }
        0
    }

    fn pthread_setaffinity_np(_thread: pthread_t, _bytes: usize, _set: *const c_void) -> c_int {
        0
    }

    @outside(crate::abi::pristine::pthread_getaffinity_np)
    fn pthread_getaffinity_np(_thread: pthread_t, bytes: usize, set: *mut c_void) -> c_int {
        answer_error(crate::abi::process::put_affinity(bytes, set))
    }

    @outside(create_key_outside)
    fn pthread_key_create(key: *mut c_uint, destructor: KeyDestructor) -> c_int {
        // The genuine key has no destructor: libc would run it at the end of kernel threads only.
        let make = || {
            let mut made = 0;
            match real::pthread_key_create(&mut made, None) {
                0 => Ok(made),
                error => Err(error),
            }
        };
        answer_error(look("pthread_key_create", |k, me| {
            let owner = k.image_of(me);
            *key = k.keys.create(owner, destructor.map_or(0, |f| f as usize), make)?;
            Ok(0)
        }))
    }

    fn pthread_key_delete(key: c_uint) -> c_int {
        answer_error(look("pthread_key_delete", |k, me| {
            let owner = k.image_of(me);
            if k.keys.delete(owner, key) {
                let error = real::pthread_key_delete(key);
                return if error == 0 { Ok(0) } else { Err(Stop::Errno(error)) };
            }
            Ok(0)
        }))
    }

    fn gettid() -> c_int {
        look("gettid", |k, me| Ok(i64::from(k.threads[me].tid))) as c_int
    }

    fn sched_yield() -> c_int {
        call("sched_yield", |k, me| k.yield_now(me)) as c_int
    }

    fn pthread_yield() -> c_int {
        call("sched_yield", |k, me| k.yield_now(me)) as c_int
    }
}

/// Whether the running thread is a simulated one.
pub(crate) fn simulated() -> bool {
    !current().is_null()
}
