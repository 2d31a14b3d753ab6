//! The real kernel and libc, for the few calls that the carrier itself makes.

use libc::{c_char, c_int, c_long, c_void, pthread_attr_t, pthread_t};
use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A system call without libc: sets no errno, touches no TLS.
///
/// # Safety
/// As dangerous as the call that is named.
#[inline]
pub(crate) unsafe fn raw_syscall(number: c_long, a: [usize; 6]) -> isize {
    // SAFETY: the caller knows what it does; the arguments are read before the call is made.
    unsafe { wt_syscall(number, a.as_ptr()) }
}

// The one place where this crate makes system calls (but for `arch_prctl` in `switch.rs`), so that the guard can tell
// them from a program's own. The Linux x86-64 convention; the kernel clobbers rcx and r11 only.
std::arch::global_asm!(
    ".globl wt_syscall",
    "wt_syscall:",
    "mov rax, rdi",
    "mov r11, rsi",
    "mov rdi, [r11]; mov rsi, [r11 + 8]; mov rdx, [r11 + 16]",
    "mov r10, [r11 + 24]; mov r8, [r11 + 32]; mov r9, [r11 + 40]",
    "syscall",
    ".globl wt_syscall_made",
    "wt_syscall_made:",
    "ret",
);

unsafe extern "C" {
    fn wt_syscall(number: c_long, arguments: *const usize) -> isize;
    fn wt_syscall_made();
}

/// Where the instruction pointer stands when this crate has made a system call.
pub(crate) fn syscall_made() -> usize {
    wt_syscall_made as *const () as usize
}

/// Ends the process with a message, without allocating; for states in which nothing else can be trusted.
pub(crate) fn die(message: &str) -> ! {
    let parts = ["windtunnel: ", message, "\n"];
    for part in parts {
        // SAFETY: writes a string to standard error.
        unsafe { raw_syscall(libc::SYS_write, [2, part.as_ptr() as usize, part.len(), 0, 0, 0]) };
    }
    loop {
        // SAFETY: ends the process.
        unsafe { raw_syscall(libc::SYS_exit_group, [101, 0, 0, 0, 0, 0]) };
    }
}

/// The genuine definition of a libc function that this crate also defines.
///
/// `RTLD_NEXT` needs the loader to know the caller, which holds in the original image: genuine calls are made there.
pub(crate) fn lookup(name: &CStr, cache: &AtomicPtr<c_void>) -> *mut c_void {
    let known = cache.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: looks a NUL-terminated name up.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if found.is_null() {
        die(name.to_str().unwrap_or("a libc symbol is missing"));
    }
    cache.store(found, Ordering::Relaxed);
    found
}

macro_rules! genuine {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {$(
        /// # Safety
        /// As the libc function of this name.
        pub(crate) unsafe fn $name($($arg: $ty),*) -> $ret {
            static CACHE: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
            const NAME: &CStr =
                match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("a name with NUL"),
                };
            let f = lookup(NAME, &CACHE);
            // SAFETY: libc's function of that name has this type.
            unsafe {
                let f: unsafe extern "C" fn($($ty),*) -> $ret = std::mem::transmute(f);
                f($($arg),*)
            }
        }
    )*};
}

genuine! {
    fn pthread_create(
        thread: *mut pthread_t,
        attributes: *const pthread_attr_t,
        start: extern "C" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void
    ) -> c_int;
    fn pthread_join(thread: pthread_t, result: *mut *mut c_void) -> c_int;
    fn pthread_mutex_trylock(mutex: *mut libc::pthread_mutex_t) -> c_int;
    fn pthread_mutex_unlock(mutex: *mut libc::pthread_mutex_t) -> c_int;
    fn pthread_rwlock_tryrdlock(lock: *mut libc::pthread_rwlock_t) -> c_int;
    fn pthread_rwlock_trywrlock(lock: *mut libc::pthread_rwlock_t) -> c_int;
    fn pthread_rwlock_unlock(lock: *mut libc::pthread_rwlock_t) -> c_int;
    fn sem_trywait(semaphore: *mut libc::sem_t) -> c_int;
    fn sem_post(semaphore: *mut libc::sem_t) -> c_int;
    fn pthread_key_create(
        key: *mut libc::pthread_key_t,
        destructor: Option<unsafe extern "C" fn(*mut c_void)>
    ) -> c_int;
    fn pthread_key_delete(key: libc::pthread_key_t) -> c_int;
    fn dl_iterate_phdr(
        callback: Option<unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int>,
        argument: *mut c_void
    ) -> c_int;
    fn sigaction(signal: c_int, action: *const libc::sigaction, old: *mut libc::sigaction) -> c_int;
    fn sigaltstack(stack: *const libc::stack_t, old: *mut libc::stack_t) -> c_int;
    fn getenv(name: *const c_char) -> *mut c_char;
    fn tzset() -> ();
    fn localtime(time: *const libc::time_t) -> *mut libc::tm;
    fn localtime_r(time: *const libc::time_t, out: *mut libc::tm) -> *mut libc::tm;
    fn ctime(time: *const libc::time_t) -> *mut c_char;
    fn ctime_r(time: *const libc::time_t, out: *mut c_char) -> *mut c_char;
    fn mktime(time: *mut libc::tm) -> libc::time_t;
    fn strftime(out: *mut c_char, bytes: usize, format: *const c_char, time: *const libc::tm) -> usize;
    fn strftime_l(
        out: *mut c_char,
        bytes: usize,
        format: *const c_char,
        time: *const libc::tm,
        locale: *mut c_void
    ) -> usize;
    fn getauxval(kind: libc::c_ulong) -> libc::c_ulong;
    fn sysconf(name: c_int) -> c_long;
    fn clock_gettime(clock: libc::clockid_t, out: *mut libc::timespec) -> c_int;
    fn gettimeofday(out: *mut libc::timeval, zone: *mut c_void) -> c_int;
    fn time(out: *mut libc::time_t) -> libc::time_t;
    fn getrandom(buffer: *mut c_void, bytes: usize, flags: libc::c_uint) -> isize;
    fn getentropy(buffer: *mut c_void, bytes: usize) -> c_int;
    fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long;
    fn get_nprocs() -> c_int;
    fn get_nprocs_conf() -> c_int;
    fn sched_getaffinity(pid: c_int, bytes: usize, set: *mut c_void) -> c_int;
    fn pthread_getaffinity_np(thread: pthread_t, bytes: usize, set: *mut c_void) -> c_int;
    fn timespec_get(out: *mut libc::timespec, base: c_int) -> c_int;
    fn nanosleep(request: *const libc::timespec, left: *mut libc::timespec) -> c_int;
    fn clock_nanosleep(
        clock: libc::clockid_t,
        flags: c_int,
        request: *const libc::timespec,
        left: *mut libc::timespec
    ) -> c_int;
    fn usleep(microseconds: libc::c_uint) -> c_int;
    fn sleep(seconds: libc::c_uint) -> libc::c_uint;
    fn timerfd_settime(
        fd: c_int,
        flags: c_int,
        new: *const libc::itimerspec,
        old: *mut libc::itimerspec
    ) -> c_int;
    fn timerfd_gettime(fd: c_int, out: *mut libc::itimerspec) -> c_int;
    fn poll(fds: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int) -> c_int;
    fn __poll_chk(fds: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int, room: usize) -> c_int;
    fn ppoll(
        fds: *mut libc::pollfd,
        count: libc::nfds_t,
        timeout: *const libc::timespec,
        mask: *const libc::sigset_t
    ) -> c_int;
    fn select(
        count: c_int,
        r: *mut libc::fd_set,
        w: *mut libc::fd_set,
        e: *mut libc::fd_set,
        timeout: *mut libc::timeval
    ) -> c_int;
    fn pselect(
        count: c_int,
        r: *mut libc::fd_set,
        w: *mut libc::fd_set,
        e: *mut libc::fd_set,
        timeout: *const libc::timespec,
        mask: *const libc::sigset_t
    ) -> c_int;
    fn epoll_wait(epfd: c_int, events: *mut libc::epoll_event, capacity: c_int, timeout: c_int) -> c_int;
    fn epoll_pwait(
        epfd: c_int,
        events: *mut libc::epoll_event,
        capacity: c_int,
        timeout: c_int,
        mask: *const libc::sigset_t
    ) -> c_int;
    fn epoll_pwait2(
        epfd: c_int,
        events: *mut libc::epoll_event,
        capacity: c_int,
        timeout: *const libc::timespec,
        mask: *const libc::sigset_t
    ) -> c_int;
    fn pthread_mutex_timedlock(mutex: *mut libc::pthread_mutex_t, time: *const libc::timespec) -> c_int;
    fn pthread_mutex_clocklock(
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        time: *const libc::timespec
    ) -> c_int;
    fn pthread_cond_timedwait(
        condition: *mut libc::pthread_cond_t,
        mutex: *mut libc::pthread_mutex_t,
        time: *const libc::timespec
    ) -> c_int;
    fn pthread_cond_clockwait(
        condition: *mut libc::pthread_cond_t,
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        time: *const libc::timespec
    ) -> c_int;
    fn pthread_rwlock_timedrdlock(lock: *mut libc::pthread_rwlock_t, time: *const libc::timespec) -> c_int;
    fn pthread_rwlock_clockrdlock(
        lock: *mut libc::pthread_rwlock_t,
        clock: libc::clockid_t,
        time: *const libc::timespec
    ) -> c_int;
    fn pthread_rwlock_timedwrlock(lock: *mut libc::pthread_rwlock_t, time: *const libc::timespec) -> c_int;
    fn pthread_rwlock_clockwrlock(
        lock: *mut libc::pthread_rwlock_t,
        clock: libc::clockid_t,
        time: *const libc::timespec
    ) -> c_int;
    fn sem_timedwait(semaphore: *mut libc::sem_t, time: *const libc::timespec) -> c_int;
    fn sem_clockwait(semaphore: *mut libc::sem_t, clock: libc::clockid_t, time: *const libc::timespec) -> c_int;
    fn malloc_usable_size(address: *mut c_void) -> usize;
}

/// Runs the calling thread's C++ and Rust TLS destructors.
///
/// glibc exports the list's runner under a private version (stdlib/cxa_thread_atexit_impl.c).
///
/// # Safety
/// Call once, at the thread's end, on the thread.
pub(crate) unsafe fn call_tls_destructors() {
    static CACHE: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    let mut f = CACHE.load(Ordering::Relaxed);
    // SAFETY: looks a versioned name up; the function takes and returns nothing.
    unsafe {
        if f.is_null() {
            f = libc::dlvsym(libc::RTLD_DEFAULT, c"__call_tls_dtors".as_ptr(), c"GLIBC_PRIVATE".as_ptr());
            if f.is_null() {
                die("this glibc does not offer __call_tls_dtors, so thread-local destructors cannot run");
            }
            CACHE.store(f, Ordering::Relaxed);
        }
        let f: unsafe extern "C" fn() = std::mem::transmute(f);
        f();
    }
}
