//! Simulated threads are genuine in every respect that a program can see, and one seed is one interleaving.

mod common;
use common::world;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn spawned_threads_share_channels_and_are_joined() {
    let run = world(1, || {
        let (tx, rx) = mpsc::channel();
        let handles: Vec<_> = (0..4)
            .map(|i| {
                let tx = tx.clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(10 * (4 - i)));
                    tx.send(i).expect("the receiver lives");
                    i * 2
                })
            })
            .collect();
        drop(tx);
        println!("received {:?}", rx.iter().collect::<Vec<_>>());
        println!("returned {:?}", handles.into_iter().map(|h| h.join().unwrap()).collect::<Vec<_>>());
    });
    assert_eq!(run.output, "received [3, 2, 1, 0]\nreturned [0, 2, 4, 6]\n");
}

#[test]
fn a_virtual_hour_takes_no_time() {
    let run = world(1, || {
        let began = Instant::now();
        thread::sleep(Duration::from_secs(3600));
        println!("{}", began.elapsed().as_secs());
    });
    assert_eq!(run.output, "3600\n");
}

#[test]
fn panics_stay_in_their_thread() {
    let run = world(1, || {
        let result = thread::spawn(|| panic!("on purpose")).join();
        println!("{}", result.is_err());
    });
    assert!(run.output.ends_with("true\n"), "{}", run.output);
}

/// What glibc lets pthread_attr_setstacksize(3) ask for, and what is not much more.
#[test]
fn threads_live_and_end_on_the_smallest_stacks() {
    let run = world(1, || {
        for kib in [16, 32, 64, 128] {
            let sum = thread::Builder::new().stack_size(kib << 10).spawn(|| (1..=4).sum::<u32>()).unwrap().join();
            println!("{kib}: {sum:?}");
        }
    });
    assert_eq!(run.output, "16: Ok(10)\n32: Ok(10)\n64: Ok(10)\n128: Ok(10)\n", "{}", run.outcome);
}

#[test]
fn the_destructors_of_many_keys_run_when_their_thread_ends() {
    static RAN: AtomicU32 = AtomicU32::new(0);
    /// Its value is a number, which it adds.
    unsafe extern "C" fn add(value: *mut libc::c_void) {
        RAN.fetch_add(value.addr() as u32, Ordering::Relaxed);
    }
    let run = world(1, || {
        let keys: Vec<libc::pthread_key_t> = (0..40)
            .map(|_| {
                let mut key = 0;
                // SAFETY: a place for a key, and a destructor for such values.
                assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(add)) }, 0);
                key
            })
            .collect();
        let set = move || {
            for (key, value) in keys.into_iter().zip(1..) {
                // SAFETY: a live key.
                unsafe { libc::pthread_setspecific(key, std::ptr::without_provenance(value)) };
            }
        };
        thread::spawn(set).join().unwrap();
        println!("{}", RAN.load(Ordering::Relaxed));
    });
    assert_eq!(run.output, "820\n");
}

#[test]
fn thread_local_destructors_run_inside_the_world() {
    struct Tell(&'static str);
    impl Drop for Tell {
        fn drop(&mut self) {
            println!("dropped {}", self.0);
        }
    }
    thread_local!(static TELL: Tell = const { Tell("by its thread") });
    let run = world(1, || {
        thread::spawn(|| TELL.with(|_| println!("used"))).join().unwrap();
        println!("joined");
    });
    assert_eq!(run.output, "used\ndropped by its thread\njoined\n");
}

/// Starts and joins threads, ten at a time.
fn churn(rounds: u32) {
    for round in 0..rounds {
        let threads: Vec<_> = (0..10).map(|i| thread::spawn(move || i)).collect();
        let sum: u32 = threads.into_iter().map(|t| t.join().unwrap()).sum();
        assert_eq!(sum, 45, "round {round}");
    }
    println!("done");
}

#[test]
fn forty_thousand_threads_leave_nothing_behind() {
    let (few, many) = (world(1, || churn(100)), world(1, || churn(4_000)));
    assert_eq!((few.output.as_str(), many.output.as_str()), ("done\n", "done\n"));
    let growth_kib = many.peak.0 - few.peak.0;
    assert!(growth_kib < 2048, "39,000 more threads took {growth_kib} KiB more");
}

#[test]
fn detached_threads_run_and_end() {
    let run = world(1, || {
        for i in 0..5 {
            drop(thread::spawn(move || println!("detached {i}")));
            thread::sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(run.output.lines().count(), 5, "{}", run.output);
}

#[test]
fn a_deadlock_ends_the_case_with_a_stack_for_every_thread() {
    use std::sync::{Arc, Mutex};
    let run = world(1, || {
        let locks = Arc::new((Mutex::new(()), Mutex::new(())));
        let other = locks.clone();
        let thread = thread::Builder::new().name("other".into()).spawn(move || {
            let _second = other.1.lock().unwrap();
            thread::sleep(Duration::from_millis(1));
            let _first = other.0.lock().unwrap();
        });
        let _first = locks.0.lock().unwrap();
        thread::sleep(Duration::from_millis(1));
        let _second = locks.1.lock().unwrap();
        thread.unwrap().join().unwrap();
    });
    assert_eq!(run.outcome, "Deadlock");
    let waits: Vec<&str> = run.stacks.iter().map(|s| s.split(": ").next().unwrap()).collect();
    assert_eq!(waits, ["test/test futex", "test/other futex"], "{run:#?}");
    assert!(run.stacks.iter().all(|s| !s.ends_with(" 0 frames")), "{run:#?}");
}

#[test]
fn spinning_on_the_clock_ends() {
    let run = world(1, || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(200) {}
        println!("over");
    });
    assert_eq!(run.output, "over\n");
}

#[test]
fn threads_that_only_yield_are_a_livelock() {
    let run = world(1, || {
        loop {
            thread::yield_now();
        }
    });
    assert_eq!(run.outcome, "Livelock");
}

#[test]
fn calls_by_number_are_those_by_name_or_ones_that_a_kernel_may_lack() {
    let run = world(1, || {
        // SAFETY: no pointers, but for a time of this frame's.
        unsafe {
            let time = libc::timespec { tv_sec: 1, tv_nsec: 0 };
            let begun = std::time::Instant::now();
            let slept = libc::syscall(libc::SYS_nanosleep, &raw const time, 0);
            println!("{slept} {}", begun.elapsed().as_secs());
            println!("{}", libc::syscall(libc::SYS_getuid) == i64::from(libc::getuid()));
            // sysinfo asks whether two processes share their descriptors.
            let pid = libc::getpid();
            let compared = libc::syscall(libc::SYS_kcmp, pid, pid, 2, 0, 0);
            println!("{compared} {:?}", std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS));
        }
    });
    assert_eq!(run.output, "0 1\ntrue\n-1 true\n", "{run:#?}");
}
