//! Clocks of a real host: what one room writes onto a page, the other room's libc shows.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use windtunnel_inject::Injection;
use windtunnel_inject::clock::{ClockFault, ClockPage};
use windtunnel_inject::sys::{Forked, end_now, fork, wait};

/// Runs this in a process of its own whose clocks go by a page.
#[track_caller]
fn in_a_host(test: impl FnOnce(&ClockPage)) {
    let page = ClockPage::make().expect("a page");
    match fork().expect("a process") {
        Forked::Child => {
            let run = AssertUnwindSafe(|| {
                windtunnel_sim::real_clock::install(page.fd()).expect("a page of this layout");
                test(&page);
            });
            // The panic's message has been printed.
            end_now(i32::from(catch_unwind(run).is_err()));
        }
        Forked::Parent(pid) => {
            assert_eq!(wait(pid).expect("a child").code(), 0, "the host failed; the reason is above")
        }
    }
}

/// The machine's own clocks: wall and monotonic, in seconds.
///
/// Asked by an instruction of our own: every library is steered to libc, where the page is looked at.
fn genuine() -> (f64, f64) {
    let read = |id: libc::clockid_t| {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let result: i64;
        // SAFETY: clock_gettime(2) writes a time on this stack; the kernel uses up rcx and r11, and no memory else.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") libc::SYS_clock_gettime => result,
                in("rdi") i64::from(id), in("rsi") &raw mut now,
                lateout("rcx") _, lateout("r11") _, options(nostack),
            );
        }
        assert_eq!(result, 0, "clock_gettime");
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    };
    (read(libc::CLOCK_REALTIME), read(libc::CLOCK_MONOTONIC))
}

/// How far the wall clock is ahead of the machine's, in seconds, to a few microseconds.
fn ahead() -> f64 {
    let once = || {
        let before = genuine().0;
        let shown = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
        let after = genuine().0;
        (after - before, shown - (before + after) / 2.0)
    };
    let all = (0..10).map(|_| once());
    all.min_by(|one, other| one.0.total_cmp(&other.0)).expect("some").1
}

#[track_caller]
fn assert_near(found: f64, wanted: f64, within: f64) {
    assert!((found - wanted).abs() <= within, "{found} is not within {within} of {wanted}");
}

fn heal(mut fault: ClockFault) -> u64 {
    fault.read_back().expect("in force");
    fault.heal().expect("healed");
    fault.bit().expect("a count")
}

#[test]
fn both_rooms_mean_the_same_page() {
    assert_eq!(windtunnel_inject::clock::LAYOUT, windtunnel_sim::real_clock::LAYOUT);
}

#[test]
fn a_stepped_clock_is_off_at_once_and_right_at_once() {
    in_a_host(|page| {
        assert_near(ahead(), 0.0, 0.001);
        let began = Instant::now();
        let fault = page.skew(-5_000_000_000, false).expect("a skew");
        assert_near(ahead(), -5.0, 0.001);
        let other = page.skew(250_000_000, false).expect("a skew");
        assert_near(ahead(), -4.75, 0.001);
        assert_eq!(heal(fault), 20);
        assert_near(ahead(), 0.25, 0.001);
        assert_eq!(heal(other), 20);
        assert_near(ahead(), 0.0, 0.001);
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
        assert!(page.last_read().is_some());
    });
}

#[test]
fn who_looks_at_no_clock_is_not_bitten() {
    in_a_host(|page| {
        let fault = page.skew(5_000_000_000, false).expect("a skew");
        let _now = Instant::now();
        assert_eq!(heal(fault), 0);
    });
}

#[test]
fn a_drift_moves_both_clocks_and_one_of_them_is_put_right() {
    in_a_host(|page| {
        for ppm in [200_000, -300_000] {
            let fault = page.drift(ppm, true).expect("a drift");
            let (monotonic, wall, genuinely) = (Instant::now(), SystemTime::now(), genuine().1);
            thread::sleep(Duration::from_secs(1));
            let monotonic = monotonic.elapsed().as_secs_f64();
            let wall = wall.elapsed().expect("it goes forwards").as_secs_f64();
            let wanted = (genuine().1 - genuinely) * (1.0 + ppm as f64 / 1e6);
            // A hundredth of what it drifts by: the bar is two.
            assert_near(monotonic, wanted, 0.002);
            assert_near(wall, wanted, 0.002);
            assert!(monotonic >= 1.0, "a second of its own is slept through");
            assert!(heal(fault) >= 4);
            assert_near(ahead(), 0.0, 0.001);
        }
    });
}

#[test]
fn a_slewed_clock_gains_half_a_millisecond_in_a_second() {
    in_a_host(|page| {
        let began = genuine().1;
        let fault = page.skew(1_000_000_000, true).expect("a skew");
        thread::sleep(Duration::from_millis(500));
        let gained = ahead();
        // A quarter of a millisecond, if nobody is kept from looking at it.
        assert_near(gained, (genuine().1 - began) * 500e-6, 120e-6);
        // It goes back from where it has come to, and as slowly.
        heal(fault);
        let (healed, left) = (genuine().1, ahead());
        assert!(left > gained - 20e-6, "{left} of {gained}");
        while ahead() > 5e-6 {
            assert!(genuine().1 - healed < 10.0, "it is still off by {}", ahead());
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(20));
        assert_near(ahead(), 0.0, 5e-6);
    });
}

/// Nanoseconds of a clock that must not go back, on whatever thread it is read.
fn watch(shows: impl Fn() -> u64 + Sync, meanwhile: impl FnOnce()) {
    let (latest, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let readers: [_; 3] = std::array::from_fn(|_| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let before = latest.load(Ordering::SeqCst);
                    let now = shows();
                    assert!(now >= before, "it went back by {} ns", before - now);
                    latest.fetch_max(now, Ordering::SeqCst);
                }
            })
        });
        let done = catch_unwind(AssertUnwindSafe(meanwhile));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = done {
            resume_unwind(panic);
        }
        for reader in readers {
            reader.join().expect("it never goes back");
        }
    });
}

#[test]
fn the_monotonic_clock_never_goes_back_however_it_drifts() {
    in_a_host(|page| {
        let began = Instant::now();
        let shows = || began.elapsed().as_nanos() as u64;
        watch(shows, || {
            for round in 0..150 {
                let sign = if round % 2 == 0 { 1 } else { -1 };
                heal(page.drift(sign * 500_000, true).expect("a drift"));
            }
        });
    });
}

#[test]
fn a_slewed_wall_clock_never_goes_back() {
    in_a_host(|page| {
        let shows = || SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64;
        watch(shows, || {
            for round in 0..150 {
                let sign = if round % 2 == 0 { 1 } else { -1 };
                heal(page.skew(sign * 1_000_000, true).expect("a skew"));
            }
        });
    });
}

#[test]
fn more_than_there_is_room_for_is_refused() {
    in_a_host(|page| {
        assert!(page.drift(500_001, true).is_err());
        assert!(page.skew(i64::MIN, false).is_err());
        let slews: Vec<_> = (0..40).map_while(|_| page.skew(1_000_000_000, true).ok()).collect();
        assert!((8..40).contains(&slews.len()), "{}", slews.len());
        assert_near(ahead(), 0.0, 0.01);
    });
}
