//! Clocks of a real process that a page says are wrong.

#[path = "common/process.rs"]
mod process;

use process::in_a_process;
use std::arch::asm;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use windtunnel_sim::real_clock;

const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;
/// Since, adds and ppm.
type Line = [i64; 3];

/// What the genuine kernel says, asked without libc.
fn genuine(clock: i64) -> i64 {
    let mut time = [0_i64; 2];
    // SAFETY: clock_gettime(2) writes two words.
    unsafe {
        asm!("syscall", inlateout("rax") libc::SYS_clock_gettime => _, in("rdi") clock, in("rsi") &raw mut time,
            out("rcx") _, out("r11") _);
    }
    time[0] * SECOND + time[1]
}

fn genuine_monotonic() -> i64 {
    genuine(libc::CLOCK_MONOTONIC.into())
}

fn genuine_wall() -> i64 {
    genuine(libc::CLOCK_REALTIME.into())
}

/// A page as the world writes it.
struct Page {
    fd: OwnedFd,
    words: &'static [AtomicI64; 512],
}

impl Page {
    fn make() -> Page {
        // SAFETY: a new file, mapped for good.
        unsafe {
            let fd = OwnedFd::from_raw_fd(libc::memfd_create(c"clocks".as_ptr(), 0));
            assert_eq!(libc::ftruncate(fd.as_raw_fd(), 4096), 0);
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let words = libc::mmap(null_mut(), 4096, prot, libc::MAP_SHARED, fd.as_raw_fd(), 0);
            assert_ne!(words, libc::MAP_FAILED);
            let words = &*words.cast::<[AtomicI64; 512]>();
            words[0].store(real_clock::LAYOUT[0] as i64, Ordering::Relaxed);
            Page { fd, words }
        }
    }

    fn say(&self, wall: &[Line], monotonic: &[Line]) {
        let [_, turn_word, .., slots, _, _, _, wall_word, monotonic_word, line_words, _, slot_words, _] =
            real_clock::LAYOUT;
        let turn = self.words[turn_word].load(Ordering::Relaxed) + 1;
        let slot = slots + (turn & 1) as usize * slot_words;
        for (curve, lines) in [(slot + wall_word, wall), (slot + monotonic_word, monotonic)] {
            self.words[curve].store(lines.len() as i64, Ordering::Relaxed);
            for (index, line) in lines.iter().enumerate() {
                for (word, value) in line.iter().enumerate() {
                    self.words[curve + 1 + index * line_words + word].store(*value, Ordering::Relaxed);
                }
            }
        }
        self.words[turn_word].store(turn, Ordering::Release);
    }

    fn wall_reads(&self) -> i64 {
        self.words[real_clock::LAYOUT[2]].load(Ordering::Relaxed)
    }
}

/// Runs this in a process of its own that goes by a page.
#[track_caller]
fn in_a_host(test: impl FnOnce(&Page)) {
    let page = Page::make();
    in_a_process(|| {
        // SAFETY: open meanwhile.
        let fd = unsafe { BorrowedFd::borrow_raw(page.fd.as_raw_fd()) };
        real_clock::install(fd).expect("a page");
        test(&page);
    });
}

fn timespec(ns: i64) -> libc::timespec {
    libc::timespec { tv_sec: ns.div_euclid(SECOND), tv_nsec: ns.rem_euclid(SECOND) }
}

fn shown_by(clock: libc::clockid_t) -> i64 {
    let mut now = timespec(0);
    // SAFETY: valid for writes.
    assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut now) }, 0);
    now.tv_sec * SECOND + now.tv_nsec
}

#[track_caller]
fn assert_near(found: i64, wanted: i64, within: i64) {
    assert!((found - wanted).abs() <= within, "{found} is not within {within} of {wanted}");
}

/// How long something takes, by the genuine clock.
fn lasts(what: impl FnOnce()) -> i64 {
    let began = genuine_monotonic();
    what();
    genuine_monotonic() - began
}

/// Never earlier than this, nor so late that it was not translated: at least once, as the machine may be busy.
#[track_caller]
fn assert_lasts(name: &str, wanted_ms: i64, mut what: impl FnMut()) {
    let wanted = wanted_ms * MILLISECOND;
    let mut lasted = 0;
    for _ in 0..10 {
        lasted = lasts(&mut what);
        assert!(lasted >= wanted, "{name} lasted {lasted} ns, not {wanted}");
        if lasted < wanted + 40 * MILLISECOND {
            return;
        }
    }
    panic!("{name} lasted {lasted} ns, not {wanted}");
}

#[test]
fn what_is_no_page_is_refused_and_changes_nothing() {
    let file = std::fs::File::open("/proc/self/exe").expect("the test's binary");
    let page = Page::make();
    page.words[0].store(1, Ordering::Relaxed);
    // SAFETY: open meanwhile.
    let unknown = unsafe { BorrowedFd::borrow_raw(page.fd.as_raw_fd()) };
    assert_eq!(real_clock::install(unknown).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    // SAFETY: open meanwhile.
    let unwritable = unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) };
    assert_eq!(real_clock::install(unwritable).unwrap_err().raw_os_error(), Some(libc::EACCES));
    assert_near(shown_by(libc::CLOCK_REALTIME), genuine_wall(), MILLISECOND);
}

#[test]
fn an_untouched_page_leaves_clocks_right() {
    in_a_host(|page| {
        for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME, libc::CLOCK_MONOTONIC_RAW] {
            assert_near(shown_by(clock), genuine(clock.into()), MILLISECOND);
        }
        assert_eq!(page.wall_reads(), 0);
    });
}

#[test]
fn every_way_to_read_the_wall_clock_is_off_and_no_other_clock() {
    in_a_host(|page| {
        let off = -100 * SECOND;
        page.say(&[[0, off, 0]], &[]);
        let wanted = || genuine_wall() + off;
        for clock in [libc::CLOCK_REALTIME, libc::CLOCK_REALTIME_COARSE] {
            assert_near(shown_by(clock), wanted(), MILLISECOND);
        }
        assert_near(shown_by(libc::CLOCK_TAI), genuine(libc::CLOCK_TAI.into()) + off, MILLISECOND);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        assert_near(since.as_nanos() as i64, wanted(), MILLISECOND);
        // SAFETY: valid for writes.
        unsafe {
            let mut day = libc::timeval { tv_sec: 0, tv_usec: 0 };
            assert_eq!(libc::gettimeofday(&raw mut day, null_mut()), 0);
            assert_near(day.tv_sec * SECOND + day.tv_usec * 1000, wanted(), MILLISECOND);
            let mut seconds = 0;
            assert_eq!(libc::time(&raw mut seconds), seconds);
            assert_near(seconds, wanted() / SECOND, 1);
            let mut utc = timespec(0);
            assert_eq!(timespec_get(&raw mut utc, 1), 1);
            assert_near(utc.tv_sec * SECOND + utc.tv_nsec, wanted(), MILLISECOND);
            libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, &raw mut utc);
            assert_near(utc.tv_sec * SECOND + utc.tv_nsec, wanted(), MILLISECOND);
        }
        assert_eq!(page.wall_reads(), 8);
        for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME, libc::CLOCK_MONOTONIC_RAW] {
            assert_near(shown_by(clock), genuine(clock.into()), MILLISECOND);
        }
        assert_eq!(page.wall_reads(), 8);
    });
}

unsafe extern "C" {
    fn timespec_get(out: *mut libc::timespec, base: libc::c_int) -> libc::c_int;
    fn pthread_rwlock_timedwrlock(lock: *mut libc::pthread_rwlock_t, time: *const libc::timespec) -> libc::c_int;
}

#[test]
fn lengths_of_time_are_those_of_a_clock_that_runs_too_fast() {
    in_a_host(|page| {
        let now = genuine_monotonic();
        page.say(&[[now, 0, 500_000]], &[[now, 0, 500_000]]);
        let began = (Instant::now(), genuine_monotonic());
        // 150 ms by this clock are 100.
        let time = timespec(150 * MILLISECOND);
        assert_lasts("sleep", 100, || thread::sleep(Duration::from_millis(150)));
        // SAFETY: pointers to what lives meanwhile, and none to what is not looked at.
        unsafe {
            assert_lasts("nanosleep", 100, || assert_eq!(libc::nanosleep(&raw const time, null_mut()), 0));
            assert_lasts("usleep", 100, || assert_eq!(libc::usleep(150_000), 0));
            assert_lasts("clock_nanosleep", 100, || {
                assert_eq!(libc::clock_nanosleep(libc::CLOCK_REALTIME, 0, &raw const time, null_mut()), 0);
            });
            assert_lasts("poll", 100, || assert_eq!(libc::poll(null_mut(), 0, 150), 0));
            assert_lasts("ppoll", 100, || assert_eq!(libc::ppoll(null_mut(), 0, &raw const time, null()), 0));
            assert_lasts("select", 100, || {
                let mut limit = libc::timeval { tv_sec: 0, tv_usec: 150_000 };
                assert_eq!(libc::select(0, null_mut(), null_mut(), null_mut(), &raw mut limit), 0);
                assert_eq!((limit.tv_sec, limit.tv_usec), (0, 0));
            });
            assert_lasts("pselect", 100, || {
                let found = libc::pselect(0, null_mut(), null_mut(), null_mut(), &raw const time, null());
                assert_eq!(found, 0);
            });
            let epoll = OwnedFd::from_raw_fd(libc::epoll_create1(0));
            let mut events = [libc::epoll_event { events: 0, u64: 0 }];
            assert_lasts("epoll_wait", 100, || {
                assert_eq!(libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 1, 150), 0);
            });
            assert_lasts("timerfd", 100, || {
                read_timer(libc::CLOCK_MONOTONIC, 0, 150 * MILLISECOND);
            });
        }
        assert_lasts("park_timeout", 100, || thread::park_timeout(Duration::from_millis(150)));
        let lock = Mutex::new(());
        assert_lasts("Condvar", 100, || {
            let guard = lock.lock().expect("a lock");
            let waited = Condvar::new().wait_timeout_while(guard, Duration::from_millis(150), |()| true);
            assert!(waited.expect("a lock").1.timed_out());
        });
        let (passed, genuine) = (began.0.elapsed().as_nanos() as i64, genuine_monotonic() - began.1);
        assert_near(passed, genuine * 3 / 2, genuine / 50);
    });
}

/// Sets a timer and reads it.
fn read_timer(clock: libc::clockid_t, flags: i32, value: i64) {
    // SAFETY: a descriptor of its own, and pointers to what lives meanwhile.
    unsafe {
        let timer = OwnedFd::from_raw_fd(libc::timerfd_create(clock, 0));
        let setting = libc::itimerspec { it_interval: timespec(0), it_value: timespec(value) };
        assert_eq!(libc::timerfd_settime(timer.as_raw_fd(), flags, &raw const setting, null_mut()), 0);
        let mut left = setting;
        assert_eq!(libc::timerfd_gettime(timer.as_raw_fd(), &raw mut left), 0);
        assert!((left.it_value.tv_sec, left.it_value.tv_nsec) <= (0, 150 * MILLISECOND), "by its own clock");
        let mut count = 0_u64;
        assert_eq!(libc::read(timer.as_raw_fd(), (&raw mut count).cast(), 8), 8);
        assert_eq!(count, 1);
    }
}

#[test]
fn a_time_of_day_comes_when_a_clock_that_is_off_shows_it() {
    in_a_host(|page| {
        page.say(&[[0, 3600 * SECOND, 0]], &[]);
        let until = || timespec(genuine_wall() + 3600 * SECOND + 70 * MILLISECOND);
        // SAFETY: locks, semaphores and words that live meanwhile.
        unsafe {
            assert_lasts("clock_nanosleep", 69, || {
                let (clock, flag) = (libc::CLOCK_REALTIME, libc::TIMER_ABSTIME);
                assert_eq!(libc::clock_nanosleep(clock, flag, &until(), null_mut()), 0);
            });
            let mut mutex = libc::PTHREAD_MUTEX_INITIALIZER;
            assert_eq!(libc::pthread_mutex_lock(&raw mut mutex), 0);
            assert_lasts("pthread_mutex_timedlock", 69, || {
                assert_eq!(libc::pthread_mutex_timedlock(&raw mut mutex, &until()), libc::ETIMEDOUT);
            });
            let mut condition = libc::PTHREAD_COND_INITIALIZER;
            assert_lasts("pthread_cond_timedwait", 69, || {
                let until = until();
                let mut wait = || libc::pthread_cond_timedwait(&raw mut condition, &raw mut mutex, &raw const until);
                // Woken for nothing, or for the time.
                assert!((0..10).any(|_| wait() == libc::ETIMEDOUT));
            });
            let mut lock = libc::PTHREAD_RWLOCK_INITIALIZER;
            assert_eq!(libc::pthread_rwlock_rdlock(&raw mut lock), 0);
            assert_lasts("pthread_rwlock_timedwrlock", 69, || {
                assert_eq!(pthread_rwlock_timedwrlock(&raw mut lock, &until()), libc::ETIMEDOUT);
            });
            let mut semaphore = std::mem::zeroed::<libc::sem_t>();
            assert_eq!(libc::sem_init(&raw mut semaphore, 0, 0), 0);
            assert_lasts("sem_timedwait", 69, || {
                assert_eq!(libc::sem_timedwait(&raw mut semaphore, &until()), -1);
                assert_eq!(*libc::__errno_location(), libc::ETIMEDOUT);
            });
            let word = 7_u32;
            assert_lasts("futex", 69, || {
                let op = libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME;
                assert_eq!(libc::syscall(libc::SYS_futex, &raw const word, op, 7, &until(), 0, -1), -1);
                assert_eq!(*libc::__errno_location(), libc::ETIMEDOUT);
            });
            assert_lasts("timerfd", 69, || {
                let until = until();
                read_timer(libc::CLOCK_REALTIME, libc::TFD_TIMER_ABSTIME, until.tv_sec * SECOND + until.tv_nsec);
            });
        }
        assert!(page.wall_reads() >= 6, "who waits for a time of day has looked");
    });
}

#[test]
fn a_wait_follows_a_clock_that_is_moved_meanwhile() {
    in_a_host(|page| {
        let until = timespec(genuine_wall() + 60 * SECOND);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                lasts(|| {
                    // SAFETY: a request that lives meanwhile.
                    let slept = unsafe {
                        libc::clock_nanosleep(libc::CLOCK_REALTIME, libc::TIMER_ABSTIME, &raw const until, null_mut())
                    };
                    assert_eq!(slept, 0);
                })
            });
            thread::sleep(Duration::from_millis(120));
            page.say(&[[0, 60 * SECOND, 0]], &[]);
            let lasted = waiter.join().expect("a waiter");
            // It would have lasted a minute.
            assert!((100 * MILLISECOND..10 * SECOND).contains(&lasted), "it lasted {lasted} ns");
        });
    });
}

#[test]
fn what_happens_during_a_wait_ends_it_at_once() {
    in_a_host(|page| {
        page.say(&[[0, SECOND, 0]], &[]);
        let (lock, condition) = (Mutex::new(false), Condvar::new());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                lasts(|| {
                    let guard = lock.lock().expect("a lock");
                    let limit = Duration::from_secs(20);
                    let (woken, timeout) = condition.wait_timeout_while(guard, limit, |woken| !*woken).expect("a lock");
                    assert!(*woken && !timeout.timed_out());
                })
            });
            thread::sleep(Duration::from_millis(130));
            *lock.lock().expect("a lock") = true;
            condition.notify_one();
            assert!(waiter.join().expect("a waiter") < 10 * SECOND);
        });
    });
}
