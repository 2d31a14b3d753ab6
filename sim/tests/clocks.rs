//! Wall clocks that are wrong for a while.

mod common;
use common::{Run, world};
use std::io;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use windtunnel_sim::control;
use windtunnel_sim::weather::{Begins, Fault, FaultKind};
use windtunnel_sim::world::HostId;

const TEST: HostId = HostId(0);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// The test's own clock is off from one second of the weather to another.
fn skew(from_s: f64, to_s: f64, by_s: f64, slewed: bool) -> Fault {
    let kind = FaultKind::Skew { host: TEST, by_ns: (by_s * 1e9) as i64, slewed };
    Fault { begins: Begins::At(seconds(from_s)), lasts: seconds(to_s - from_s), kind }
}

/// How far the wall clock is ahead of what it showed, and what has passed since, in milliseconds.
fn ahead_ms(wall: SystemTime, began: Instant) -> i64 {
    let passed = began.elapsed().as_nanos() as i64;
    let shown = match wall.elapsed() {
        Ok(since) => since.as_nanos() as i64,
        Err(before) => -(before.duration().as_nanos() as i64),
    };
    // The nearest: whoever sleeps wakes a little late.
    (shown - passed + 500_000).div_euclid(1_000_000)
}

fn sleep_until(began: Instant, after_s: f64) {
    thread::sleep((began + seconds(after_s)).saturating_duration_since(Instant::now()));
}

fn assert_finished(run: &Run, output: &str) {
    assert_eq!((run.outcome.as_str(), run.output.as_str()), ("", output), "{run:#?}");
}

#[test]
fn a_stepped_clock_jumps_there_and_back_and_no_other_is_touched() {
    let run = world(1, || {
        let other = control::add_host("other");
        let report = || {
            let (wall, began) = (SystemTime::now(), Instant::now());
            let shown = [0.9, 1.1, 2.9, 3.1].map(|at| {
                sleep_until(began, at);
                ahead_ms(wall, began)
            });
            println!("{shown:?}");
        };
        control::start_client(other, Box::new(report)).expect("a fresh host starts");
        control::begin_weather(&[skew(1.0, 3.0, 5.0, false)]);
        report();
        thread::sleep(seconds(0.1)); // the other may be later
        println!("{:?}", control::end_weather().faults[0].bit);
    });
    assert!(run.output.contains("[0, 5000, 5000, 0]\n") && run.output.contains("[0, 0, 0, 0]\n"), "{run:#?}");
    assert!(run.output.ends_with("1\n"), "{run:#?}");
}

#[test]
fn a_clock_may_be_behind_and_show_a_time_again() {
    let run = world(1, || {
        control::begin_weather(&[skew(1.0, 3.0, -2.0, false), skew(2.0, 4.0, 0.5, false)]);
        let (wall, began) = (SystemTime::now(), Instant::now());
        let shown = [1.5, 2.5, 3.5, 4.5].map(|at| {
            sleep_until(began, at);
            ahead_ms(wall, began)
        });
        println!("{shown:?}");
    });
    assert_finished(&run, "[-2000, -1500, 500, 0]\n");
}

#[test]
fn a_slewed_clock_never_jumps() {
    let run = world(1, || {
        control::begin_weather(&[skew(0.0, 3000.0, -1.0, true)]);
        let (wall, began) = (SystemTime::now(), Instant::now());
        let shown = [1000.0, 2000.0, 2900.0, 4000.0, 5100.0].map(|at| {
            sleep_until(began, at);
            ahead_ms(wall, began)
        });
        println!("{shown:?}");
    });
    assert_finished(&run, "[-500, -1000, -1000, -500, 0]\n");
}

fn nanoseconds(time: SystemTime) -> libc::timespec {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    libc::timespec { tv_sec: since.as_secs() as i64, tv_nsec: i64::from(since.subsec_nanos()) }
}

/// Sleeps until the wall clock shows a time; for how many milliseconds.
fn sleep_until_wall(time: SystemTime) -> u128 {
    let began = Instant::now();
    let request = nanoseconds(time);
    // SAFETY: a valid time, and nothing to write to.
    let slept = unsafe {
        libc::clock_nanosleep(libc::CLOCK_REALTIME, libc::TIMER_ABSTIME, &raw const request, std::ptr::null_mut())
    };
    assert_eq!(slept, 0);
    began.elapsed().as_millis()
}

#[test]
fn who_waits_for_a_time_of_day_wakes_when_the_clock_shows_it() {
    let run = world(1, || {
        let slept = |fault: Fault| {
            control::begin_weather(&[fault]);
            let slept = sleep_until_wall(SystemTime::now() + seconds(10.0));
            control::end_weather();
            slept
        };
        println!("{}", slept(skew(1.0, 60.0, 5.0, false)));
        println!("{}", slept(skew(1.0, 60.0, -5.0, false)));
        println!("{}", slept(skew(1.0, 60.0, 20.0, false)));
        println!("{}", slept(skew(1.0, 2.0, -5.0, false)));
        println!("{}", slept(skew(0.0, 60.0, 1.0, true)));
        // Whoever waits for a length of time is not concerned.
        control::begin_weather(&[skew(1.0, 60.0, 5.0, false)]);
        let began = Instant::now();
        thread::sleep(seconds(10.0));
        println!("{}", began.elapsed().as_millis());
    });
    assert_finished(&run, "5000\n15000\n1000\n10000\n9995\n10000\n");
}

#[test]
fn a_timer_on_the_wall_clock_follows_it_and_tells_who_wants_to_know() {
    let run = world(1, || {
        // SAFETY: descriptors and buffers of this function's.
        unsafe {
            let fd = libc::timerfd_create(libc::CLOCK_REALTIME, 0);
            let set = |flags: libc::c_int| {
                let second = libc::timespec { tv_sec: 1, tv_nsec: 0 };
                let first = nanoseconds(SystemTime::now() + seconds(10.0));
                let setting = libc::itimerspec { it_interval: second, it_value: first };
                let flags = libc::TFD_TIMER_ABSTIME | flags;
                assert_eq!(libc::timerfd_settime(fd, flags, &raw const setting, std::ptr::null_mut()), 0);
            };
            let read = || {
                let mut count = 0_u64;
                match libc::read(fd, (&raw mut count).cast(), 8) {
                    8 => count.to_string(),
                    _ => io::Error::last_os_error().to_string(),
                }
            };
            let began = Instant::now();
            control::begin_weather(&[skew(1.0, 12.3, 5.0, false)]);
            set(0);
            for _ in 0..3 {
                println!("{} at {}", read(), began.elapsed().as_millis() / 10);
            }
            control::end_weather();
            let began = Instant::now();
            control::begin_weather(&[skew(1.0, 60.0, 5.0, false)]);
            set(libc::TFD_TIMER_CANCEL_ON_SET);
            println!("{} at {}", read(), began.elapsed().as_millis() / 10);
            println!("{} at {}", read(), began.elapsed().as_millis() / 10);
        }
    });
    let canceled = io::Error::from_raw_os_error(libc::ECANCELED);
    assert_finished(&run, &format!("1 at 500\n1 at 600\n1 at 700\n{canceled} at 100\n1 at 500\n"));
}

/// All of the test's clocks drift from one second of the weather to another.
fn drift(from_s: f64, to_s: f64, ppm: i64, stepped: bool) -> Fault {
    let kind = FaultKind::Drift { host: TEST, ppm, stepped };
    Fault { begins: Begins::At(seconds(from_s)), lasts: seconds(to_s - from_s), kind }
}

/// How many milliseconds of the world a test's body takes.
fn world_ms(body: fn()) -> u64 {
    let run = world(1, body);
    assert_eq!(run.outcome, "", "{run:#?}");
    let now_ns: u64 = run.digest.split(' ').next_back().and_then(|now| now.parse().ok()).expect("the time of its end");
    now_ns / 1_000_000
}

#[test]
fn a_fast_clock_lets_timeouts_end_early() {
    // A quarter faster: five seconds of the host's are four of the world.
    for sleeps in [
        || thread::sleep(seconds(5.0)),
        || {
            let (one, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
            one.set_read_timeout(Some(seconds(5.0))).unwrap();
            one.recv(&mut [0]).unwrap_err();
        },
        || {
            let pair = (std::sync::Mutex::new(()), std::sync::Condvar::new());
            drop(pair.1.wait_timeout(pair.0.lock().unwrap(), seconds(5.0)).unwrap());
        },
        // SAFETY: no descriptors.
        || unsafe { assert_eq!(libc::poll(std::ptr::null_mut(), 0, 5_000), 0) },
    ] as [fn(); 4]
    {
        assert_eq!(world_ms(sleeps), 5000);
        let run = world(1, move || {
            control::begin_weather(&[drift(0.0, 60.0, 250_000, true)]);
            let began = Instant::now();
            sleeps();
            println!("{}", began.elapsed().as_millis());
        });
        assert_finished(&run, "5000\n");
        let now_ns: u64 = run.digest.split(' ').next_back().unwrap().parse().unwrap();
        assert_eq!(now_ns / 1_000_000, 4000, "{run:#?}");
    }
}

#[test]
fn who_sleeps_while_a_clock_begins_or_ceases_to_drift_sleeps_by_it() {
    // One second right, two at half the speed, and the rest right again: five seconds by the host's clock take six.
    assert_eq!(
        world_ms(|| {
            control::begin_weather(&[drift(1.0, 3.0, -500_000, true)]);
            thread::sleep(seconds(5.0));
        }),
        6000
    );
}

#[test]
fn a_drift_moves_both_clocks_and_one_of_them_is_put_right() {
    let shown = |stepped: bool| {
        let run = world(1, move || {
            let other = control::add_host("other");
            // By a clock that is right.
            control::start_client(
                other,
                Box::new(|| {
                    for at in [500, 1000, 1000, 97_500] {
                        thread::sleep(Duration::from_millis(at));
                        control::mark("look");
                    }
                }),
            )
            .expect("a fresh host starts");
            control::begin_weather(&[drift(0.0, 1.0, 100_000, stepped)]);
            let (wall, began) = (SystemTime::now(), Instant::now());
            thread::sleep(seconds(100.1));
            println!("{} {}", ahead_ms(wall, began), began.elapsed().as_millis());
        });
        assert_eq!(run.outcome, "", "{run:#?}");
        let now_ns: u64 = run.digest.split(' ').next_back().unwrap().parse().unwrap();
        (run.output.trim().to_owned(), now_ns / 1_000_000)
    };
    // The monotonic clock keeps the 100 ms that it has got ahead; the wall clock loses them, at once or by 500 ppm.
    assert_eq!(shown(true), ("-100 100100".to_owned(), 100_000));
    assert_eq!(shown(false), ("-50 100100".to_owned(), 100_000));
}

#[test]
fn faults_that_add_up_stop_no_clock() {
    let run = world(1, || {
        control::begin_weather(&[
            drift(0.0, 60.0, -500_000, true),
            drift(0.0, 60.0, -500_000, true),
            drift(1.0, 50.0, -400_000, true),
            skew(0.0, 60.0, 5e9, false),
        ]);
        let (wall, began) = (SystemTime::now(), Instant::now());
        thread::sleep(seconds(2.0));
        println!("{} {}", began.elapsed().as_millis(), wall.elapsed().is_ok());
        println!("{}", sleep_until_wall(SystemTime::now() + seconds(1.0)));
    });
    assert_finished(&run, "2000 true\n1000\n");
}

#[test]
fn intervals_that_a_step_has_left_behind_are_counted_and_not_lived_through() {
    let run = world(1, || {
        // SAFETY: descriptors and buffers of this function's.
        unsafe {
            let fd = libc::timerfd_create(libc::CLOCK_REALTIME, 0);
            let millisecond = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            let first = nanoseconds(SystemTime::now() + seconds(2.0));
            let setting = libc::itimerspec { it_interval: millisecond, it_value: first };
            let flags = libc::TFD_TIMER_ABSTIME;
            assert_eq!(libc::timerfd_settime(fd, flags, &raw const setting, std::ptr::null_mut()), 0);
            control::begin_weather(&[skew(1.0, 60.0, 864_000.0, false)]);
            let mut count = 0_u64;
            assert_eq!(libc::read(fd, (&raw mut count).cast(), 8), 8);
            println!("{}", count / 1000);
        }
    });
    // Ten days, but for the second that was to come.
    assert_finished(&run, "863999\n");
}

#[test]
fn who_sets_a_timer_is_told_of_a_clock_that_was_set_before() {
    let run = world(1, || {
        // SAFETY: descriptors and buffers of this function's.
        unsafe {
            let fd = libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_NONBLOCK);
            let set = || {
                let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                let setting =
                    libc::itimerspec { it_interval: zero, it_value: nanoseconds(SystemTime::now() + seconds(1.0)) };
                let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
                match libc::timerfd_settime(fd, flags, &raw const setting, std::ptr::null_mut()) {
                    0 => 0,
                    _ => io::Error::last_os_error().raw_os_error().unwrap(),
                }
            };
            let mut count = 0_u64;
            println!("{}", set());
            thread::sleep(seconds(2.0));
            assert_eq!(libc::read(fd, (&raw mut count).cast(), 8), 8);
            // It has expired, and watches the clock all the same.
            control::begin_weather(&[skew(0.0, 60.0, 5.0, false)]);
            thread::sleep(seconds(0.1));
            println!("{} {}", set(), set());
            thread::sleep(seconds(2.0));
            println!("{}", libc::read(fd, (&raw mut count).cast(), 8));
        }
    });
    assert_finished(&run, &format!("0\n{} 0\n8\n", libc::ECANCELED));
}

#[test]
fn who_was_woken_in_vain_while_paused_waits_as_long_as_it_wanted() {
    let run = world(1, || {
        let host = control::add_host("host");
        let wait = || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:7").unwrap();
            socket.set_read_timeout(Some(seconds(10.0))).unwrap();
            let readers = [0, 1].map(|_| {
                let socket = socket.try_clone().unwrap();
                thread::spawn(move || {
                    let began = Instant::now();
                    let received = socket.recv(&mut [0; 8]).is_ok();
                    (received, began.elapsed().as_millis() / 10)
                })
            });
            let waited = readers.map(|reader| reader.join().unwrap());
            let vain = waited.iter().find(|(received, _)| !received).expect("there is one datagram for two");
            println!("{}", vain.1);
        };
        control::start_client(host, Box::new(wait)).expect("a fresh host starts");
        let kind = FaultKind::Drift { host, ppm: -500_000, stepped: true };
        control::begin_weather(&[
            Fault { begins: Begins::At(seconds(1.0)), lasts: seconds(3.0), kind: FaultKind::Pause { host } },
            Fault { begins: Begins::At(seconds(3.0)), lasts: seconds(60.0), kind },
        ]);
        thread::sleep(seconds(2.0));
        std::net::UdpSocket::bind("0.0.0.0:0").unwrap().send_to(&[1], "host:7").unwrap();
        thread::sleep(seconds(60.0));
    });
    assert_finished(&run, "1000\n");
}
