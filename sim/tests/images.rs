//! Each start of a host runs in an image of its own: fresh statics, its own arguments, and nothing of a crashed one
//! holds anybody up.

mod common;
use common::world;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;
use windtunnel_sim::control;
use windtunnel_sim::weather::{Begins, Fault, FaultKind};
use windtunnel_sim::world::{HostState, OnExit, Program};

static STARTS: AtomicU32 = AtomicU32::new(7);
static NAME: OnceLock<String> = OnceLock::new();
static LOCK: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn program(entry: unsafe fn(usize, &[u8]) -> i32, args: &[&str], on_exit: OnExit) -> Program {
    Program {
        entry,
        user: 0,
        payload: Vec::new(),
        args: args.iter().map(|a| (*a).to_owned()).collect(),
        env: vec![("WHO".to_owned(), args[0].to_owned())],
        on_exit,
    }
}

unsafe fn tell(_: usize, _: &[u8]) -> i32 {
    let args: Vec<String> = std::env::args().collect();
    NAME.set(args[0].clone()).expect("a fresh OnceLock");
    let start = STARTS.fetch_add(1, Ordering::SeqCst);
    println!("{args:?} WHO={:?} start {start} name {:?}", std::env::var("WHO"), NAME.get());
    0
}

#[test]
fn statics_arguments_and_environment_are_the_hosts_own() {
    let run = world(1, || {
        for name in ["a", "b"] {
            let host = control::add_host(name);
            control::start(host, &program(tell, &[name, "--flag"], OnExit::Ignore)).unwrap();
            std::thread::sleep(Duration::from_millis(1));
            control::restart(host).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        println!("{} {:?}", STARTS.load(Ordering::SeqCst), NAME.get());
    });
    let line = |name: &str| format!("[\"{name}\", \"--flag\"] WHO=Ok(\"{name}\") start 7 name Some(\"{name}\")\n");
    let expected = format!("{0}{0}{1}{1}7 None\n", line("a"), line("b"));
    assert_eq!(run.output, expected, "{run:#?}");
}

unsafe fn panics(_: usize, _: &[u8]) -> i32 {
    let result = std::panic::catch_unwind(|| {
        let guard = LOCK.lock().unwrap();
        std::thread::sleep(Duration::from_millis(1));
        drop(guard);
        panic!("inside an image");
    });
    println!("caught {}", result.is_err());
    let joined = std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(1));
        String::from("from a thread of the image")
    });
    println!("{}", joined.join().unwrap());
    3
}

#[test]
fn panics_unwind_and_threads_run_inside_an_image() {
    let run = world(1, || {
        let host = control::add_host("a");
        control::start(host, &program(panics, &["a"], OnExit::Ignore)).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        println!("{:?}", control::state(host));
    });
    assert!(run.output.contains("panicked at sim/tests/images.rs"), "{}", run.output);
    assert!(run.output.ends_with("caught true\nfrom a thread of the image\nDown(Some(Code(3)))\n"), "{}", run.output);
}

/// Prints, logs, panics, initialises lazily, locks, starts threads: all that could leave something locked behind.
unsafe fn busy(_: usize, _: &[u8]) -> i32 {
    std::panic::set_hook(Box::new(|info| eprintln!("hook: {info}")));
    let workers: Vec<_> = (0..2)
        .map(|i| {
            std::thread::Builder::new()
                .name(format!("w{i}"))
                .spawn(move || {
                    for round in 0..3 {
                        LOCK.lock().unwrap().push(round);
                        NAME.get_or_init(|| {
                            std::thread::yield_now();
                            "lazily".to_owned()
                        });
                        let _ = std::panic::catch_unwind(|| panic!("round {round}"));
                        println!("worker {i} round {round}");
                        std::thread::yield_now();
                    }
                })
                .unwrap()
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    0
}

/// Runs two hosts, of which the first loses power after the event of this number.
fn crash_scenario(at: u64) {
    let hosts = ["a", "b"].map(control::add_host);
    let kind = FaultKind::Crash { host: hosts[0] };
    control::begin_weather(&[Fault { begins: Begins::Event(at), lasts: Duration::MAX, kind }]);
    for (host, name) in hosts.iter().zip(["a", "b"]) {
        control::start(*host, &program(busy, &[name], OnExit::Ignore)).unwrap();
    }
    std::thread::sleep(Duration::from_secs(1));
    control::end_weather();
    assert!(hosts.iter().all(|h| matches!(control::state(*h), HostState::Down(_))));
    control::restart(hosts[0]).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    println!("over");
}

#[test]
fn a_crash_at_any_event_holds_nobody_up() {
    let undisturbed = world(3, || crash_scenario(u64::MAX));
    assert_eq!(undisturbed.outcome, "");
    let events: u64 = undisturbed.digest.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(events > 50, "the run has {events} events");
    for at in 1..events {
        let run = world(3, move || crash_scenario(at));
        assert!(run.outcome.is_empty() && run.output.ends_with("over\n"), "crash at event {at}: {run:#?}");
        let finished = run.output.matches("worker 1 round 2").count();
        assert!(finished >= 2, "crash at event {at}: b or the restarted a did not finish: {}", run.output);
    }
}

unsafe fn aborts(_: usize, _: &[u8]) -> i32 {
    std::process::abort()
}
unsafe fn overflows(_: usize, _: &[u8]) -> i32 {
    #[expect(unconditional_recursion, reason = "the point of the test")]
    fn deep(n: u64) -> u64 {
        let block = [n; 512];
        std::hint::black_box(&block);
        deep(n + 1) + block[7]
    }
    deep(0) as i32
}
unsafe fn segfaults(_: usize, _: &[u8]) -> i32 {
    // SAFETY: none: the fault is the point of the test.
    unsafe { std::ptr::without_provenance::<i32>(8).read_volatile() }
}
unsafe fn exits(_: usize, _: &[u8]) -> i32 {
    std::process::exit(41)
}

#[test]
fn a_program_that_dies_takes_only_its_own_host_down() {
    let run = world(1, || {
        for (name, entry) in [
            ("abort", aborts as unsafe fn(usize, &[u8]) -> i32),
            ("deep", overflows),
            ("null", segfaults),
            ("exit", exits),
        ] {
            let host = control::add_host(name);
            control::start(host, &program(entry, &[name], OnExit::Ignore)).unwrap();
            std::thread::sleep(Duration::from_millis(1));
            println!("{name} {:?}", control::state(host));
        }
    });
    let expected = "abort Down(Some(Signal(6)))\ndeep Down(Some(Signal(11)))\n\
        null Down(Some(Signal(11)))\nexit Down(Some(Code(41)))\n";
    assert_eq!(run.output, expected, "{run:#?}");
    assert!(run.notes.contains("deep: thread `deep` has overflowed its stack"), "{}", run.notes);
    assert!(run.notes.contains("null: thread `null` was killed by signal 11 at address 0x8"), "{}", run.notes);
}

#[test]
fn a_host_that_ends_against_its_policy_ends_the_case() {
    let run = world(1, || {
        let host = control::add_host("a");
        control::start(host, &program(exits, &["a"], OnExit::Fail)).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        println!("unreachable");
    });
    assert_eq!(run.outcome, "HostFailed { host: \"a\", exit: Code(41) }");
    assert_eq!(run.output, "");
}

unsafe fn nothing(_: usize, _: &[u8]) -> i32 {
    0
}

/// Starts one host again and again.
fn restarts(count: u32) {
    let host = control::add_host("a");
    control::start(host, &program(nothing, &["a"], OnExit::Ignore)).unwrap();
    for _ in 0..count {
        std::thread::sleep(Duration::from_millis(1));
        control::restart(host).unwrap();
    }
    println!("{}", control::starts(host));
}

#[test]
fn a_thousand_restarts_leave_little_behind() {
    let (few, many) = (world(1, || restarts(20)), world(1, || restarts(1_000)));
    assert_eq!(many.output, "1001\n");
    let each_kib = (many.peak.0 - few.peak.0) / 980;
    assert!(each_kib < 16, "a restart leaves {each_kib} KiB behind");
}

unsafe fn takes_a_key(_: usize, _: &[u8]) -> i32 {
    let mut key = 0;
    // SAFETY: the key is made before it is used.
    unsafe {
        assert_eq!(libc::pthread_key_create(&mut key, None), 0);
        println!("{:?}", libc::pthread_getspecific(key));
        libc::pthread_setspecific(key, 8 as *const libc::c_void);
    }
    std::thread::spawn(move || {
        // SAFETY: as above.
        println!("{:?}", unsafe { libc::pthread_getspecific(key) });
    })
    .join()
    .unwrap();
    0
}

#[test]
fn more_hosts_than_libc_has_keys_have_keys_of_their_own() {
    let run = world(1, || {
        // PTHREAD_KEYS_MAX is 1024, for each of them as for a process.
        for number in 0..1_100 {
            let host = control::add_host(&format!("h{number}"));
            control::start(host, &program(takes_a_key, &["h"], OnExit::Ignore)).unwrap();
        }
        std::thread::sleep(Duration::from_secs(1));
    });
    assert_eq!(run.output, "0x0\n".repeat(2 * 1_100));
}

unsafe fn ends_after_a_second(_: usize, _: &[u8]) -> i32 {
    std::thread::sleep(Duration::from_secs(1));
    3
}

#[test]
fn a_killed_host_stays_down_although_the_backoff_of_an_earlier_end_is_over() {
    let run = world(1, || {
        let host = control::add_host("a");
        let on_exit = OnExit::Restart { backoff: Duration::from_secs(3) };
        control::start(host, &program(ends_after_a_second, &["a"], on_exit)).unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        control::restart(host).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        control::kill(host);
        std::thread::sleep(Duration::from_secs(10));
        println!("{:?} after {} starts", control::state(host), control::starts(host));
    });
    assert_eq!(run.output, "Down(Some(Signal(9))) after 2 starts\n", "{run:#?}");
}
