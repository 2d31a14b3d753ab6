//! There is one libc for all images: what it keeps for itself outlives every host, and shows none what is another's.

mod common;
use common::world;
use std::ffi::{c_char, c_int, c_void};
use std::hint::black_box;
use std::time::Duration;
use windtunnel_sim::control;
use windtunnel_sim::world::{OnExit, Program};

unsafe extern "C" {
    fn puts(text: *const c_char) -> c_int;
    fn mktime(time: *mut libc::tm) -> libc::time_t;
}

fn program(entry: unsafe fn(usize, &[u8]) -> i32, payload: &[u8]) -> Program {
    Program {
        entry,
        user: 0,
        payload: payload.to_vec(),
        args: vec!["libc".to_owned()],
        env: Vec::new(),
        on_exit: OnExit::Ignore,
    }
}

/// The first host is crashed before the second one starts.
fn one_after_the_other(entry: unsafe fn(usize, &[u8]) -> i32) -> common::Run {
    world(1, move || {
        let (one, two) = (control::add_host("one"), control::add_host("two"));
        control::start(one, &program(entry, b"one")).expect("it is down");
        std::thread::sleep(Duration::from_secs(10));
        control::crash(one);
        std::thread::sleep(Duration::from_secs(1));
        control::start(two, &program(entry, b"two")).expect("it is down");
        std::thread::sleep(Duration::from_secs(10));
        println!("end");
    })
}

unsafe fn sets_a_variable(_: usize, payload: &[u8]) -> i32 {
    let value = std::str::from_utf8(payload).expect("it is a word");
    // SAFETY: nobody else is there to read it.
    unsafe {
        std::env::set_var("SERVICE_LOG", value);
        std::env::set_var("SERVICE_NAME", "same");
        std::env::remove_var("SERVICE_NAME");
    }
    std::thread::sleep(Duration::from_secs(5));
    let seen = std::env::var("SERVICE_LOG");
    println!("{value}: {seen:?} {:?}", std::env::var("SERVICE_NAME").is_err());
    std::thread::sleep(Duration::from_secs(3600));
    0
}

#[test]
fn what_a_dead_host_set_is_in_nobodys_way() {
    let run = one_after_the_other(sets_a_variable);
    assert_eq!(run.output, "one: Ok(\"one\") true\ntwo: Ok(\"two\") true\nend\n", "{run:?}");
}

#[test]
fn hosts_do_not_see_each_others_variables() {
    let run = world(1, || {
        let (one, two) = (control::add_host("one"), control::add_host("two"));
        control::start(one, &program(sets_a_variable, b"one")).expect("it is down");
        std::thread::sleep(Duration::from_secs(1));
        control::start(two, &program(sets_a_variable, b"two")).expect("it is down");
        std::thread::sleep(Duration::from_secs(10));
        println!("end {:?}", std::env::var("SERVICE_LOG").is_err());
    });
    assert_eq!(run.output, "one: Ok(\"one\") true\ntwo: Ok(\"two\") true\nend true\n", "{run:?}");
}

#[test]
fn the_environment_changes_as_the_man_pages_say() {
    let run = world(1, || {
        // SAFETY: C strings that live, and a single thread.
        unsafe {
            let read = |name: &std::ffi::CStr| {
                let value = libc::getenv(name.as_ptr());
                (!value.is_null()).then(|| std::ffi::CStr::from_ptr(value).to_str().expect("plain text"))
            };
            assert_eq!(libc::setenv(c"A".as_ptr(), c"1".as_ptr(), 0), 0);
            assert_eq!(libc::setenv(c"A".as_ptr(), c"2".as_ptr(), 0), 0);
            assert_eq!(read(c"A"), Some("1"));
            assert_eq!(libc::setenv(c"A".as_ptr(), c"2".as_ptr(), 1), 0);
            assert_eq!(read(c"A"), Some("2"));
            assert_eq!(libc::setenv(c"AB".as_ptr(), c"".as_ptr(), 1), 0);
            assert_eq!((read(c"A"), read(c"AB")), (Some("2"), Some("")));
            for name in [c"", c"A=B"] {
                assert_eq!(libc::setenv(name.as_ptr(), c"3".as_ptr(), 1), -1);
                assert_eq!(*libc::__errno_location(), libc::EINVAL);
                assert_eq!(libc::unsetenv(name.as_ptr()), -1);
            }
            // The string itself is in the environment.
            let mut string = *b"PUT=1\0";
            assert_eq!(libc::putenv(string.as_mut_ptr().cast()), 0);
            string[4] = b'2';
            black_box(&mut string);
            assert_eq!(read(c"PUT"), Some("2"));
            assert_eq!(libc::putenv(c"PUT".as_ptr().cast_mut()), 0);
            assert_eq!(read(c"PUT"), None);
            assert_eq!((libc::unsetenv(c"A".as_ptr()), libc::unsetenv(c"A".as_ptr())), (0, 0));
            assert_eq!((read(c"A"), read(c"AB")), (None, Some("")));
            assert_eq!(libc::clearenv(), 0);
            assert_eq!((read(c"AB"), std::env::vars_os().count()), (None, 0));
            assert_eq!(libc::setenv(c"A".as_ptr(), c"4".as_ptr(), 1), 0);
            assert_eq!(read(c"A"), Some("4"));
        }
        println!("end");
    });
    assert_eq!((run.output.as_str(), run.outcome.as_str()), ("end\n", ""), "{run:?}");
}

unsafe fn writes_from_c(_: usize, payload: &[u8]) -> i32 {
    // Enough to be where the first host's buffers would have been.
    let filler: Vec<Vec<u8>> = (0..200).map(|i| vec![b'x'; 100 + 100 * (i % 90)]).collect();
    // SAFETY: C strings, and a time of zeros but for its date.
    unsafe {
        puts(if payload == b"one" { c"C of one" } else { c"C of two" }.as_ptr());
        let mut time: libc::tm = std::mem::zeroed();
        (time.tm_year, time.tm_mday) = (100, 1);
        println!("{}", mktime(&raw mut time));
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(filler.iter().all(|block| block.iter().all(|byte| *byte == b'x')), "somebody wrote into it");
    std::thread::sleep(Duration::from_secs(3600));
    0
}

#[test]
fn what_libc_keeps_outlives_the_host_that_it_was_made_for() {
    let run = one_after_the_other(writes_from_c);
    assert_eq!(run.outcome, "", "{run:?}");
    assert_eq!(run.output.matches("946684800").count(), 2, "{run:?}");
    assert!(!run.notes.contains("killed") && run.output.contains("end"), "{run:?}");
}

#[test]
fn blocks_stay_aligned_when_a_size_has_run_out() {
    let run = world(1, || {
        for at in 0..20_000 {
            let mut block: *mut c_void = std::ptr::null_mut();
            // SAFETY: as posix_memalign(3) asks.
            assert_eq!(unsafe { libc::posix_memalign(&raw mut block, 4096, 4096) }, 0, "{at}");
            assert!(block.addr().is_multiple_of(4096), "{at}: {block:p}");
        }
        for at in 0..200 {
            // SAFETY: any size may be asked for.
            assert!(!unsafe { libc::malloc(1 << 20) }.is_null(), "{at}");
        }
        println!("end");
    });
    assert_eq!((run.output.as_str(), run.outcome.as_str()), ("end\n", ""), "{run:?}");
}

unsafe extern "C" {
    fn tzset();
}

/// The hour of day of the world's beginning, and how far that is from UTC, as libc says it.
fn local_time() -> String {
    let time = 1_800_000_000;
    // SAFETY: the structure is plain numbers and a pointer that is not used.
    let local = unsafe {
        let mut local = std::mem::zeroed();
        libc::localtime_r(&time, &mut local);
        local
    };
    format!("{}:{:02} {}", local.tm_hour, local.tm_min, local.tm_gmtoff)
}

unsafe fn tells_local_time(_: usize, payload: &[u8]) -> i32 {
    // SAFETY: takes nothing.
    unsafe { tzset() };
    std::thread::sleep(Duration::from_secs(5));
    let name = std::str::from_utf8(payload).expect("it is a word");
    println!("{name}: {}", local_time());
    // SAFETY: nobody else is there to read it.
    unsafe { std::env::remove_var("TZ") };
    println!("{name} without: {}", local_time());
    std::thread::sleep(Duration::from_secs(3600));
    0
}

#[test]
fn each_host_has_its_own_zone() {
    let run = world(1, || {
        let zones = [("one", Some("UTC0")), ("two", Some("EST5")), ("three", Some("JST-9")), ("four", None)];
        for (name, zone) in zones {
            let env = zone.map(|zone| ("TZ".to_owned(), zone.to_owned())).into_iter().collect();
            let program = Program { env, ..program(tells_local_time, name.as_bytes()) };
            control::start(control::add_host(name), &program).expect("it is down");
            std::thread::sleep(Duration::from_secs(1));
        }
        std::thread::sleep(Duration::from_secs(10));
    });
    let expected = "one: 8:00 0\none without: 8:00 0\ntwo: 3:00 -18000\ntwo without: 8:00 0\n\
                    three: 17:00 32400\nthree without: 8:00 0\nfour: 8:00 0\nfour without: 8:00 0\n";
    assert_eq!((run.output.as_str(), run.outcome.as_str()), (expected, ""), "{run:?}");
}
