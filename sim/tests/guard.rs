//! Planted leaks: what would let the real machine into a case is caught, or does no harm.

mod common;
use common::{Run, config, program, world, world_with};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use windtunnel_sim::control;
use windtunnel_sim::world::{Config, OnExit};

fn guarded(main: fn()) -> Run {
    world_with(Config { guard: true, ..config(1) }, main)
}

/// getpid(2), by an instruction of the program's own.
fn inline_getpid() -> isize {
    let pid: isize;
    // SAFETY: asks for a number.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_getpid as isize => pid,
            out("rcx") _, out("r11") _,
        );
    }
    pid
}

#[test]
fn an_inline_system_call_is_caught_and_named() {
    let run = guarded(|| {
        println!("before");
        println!("{}", inline_getpid());
    });
    assert_eq!(run.output, "before\n");
    assert!(run.outcome.contains("system call 39, made without libc"), "{}", run.outcome);
    assert!(run.outcome.contains("use-libc"), "{}", run.outcome);
    assert_eq!(run.stacks.len(), 1, "the caller's stack belongs to the report: {run:?}");
}

#[test]
fn an_inline_system_call_on_another_host_is_caught() {
    unsafe fn entry(_: usize, _: &[u8]) -> i32 {
        inline_getpid() as i32
    }
    let run = guarded(|| {
        let host = control::add_host("kv");
        control::start(host, &program("kv", entry, OnExit::Ignore)).unwrap();
        std::thread::sleep(Duration::from_secs(1));
    });
    assert!(run.outcome.contains("\"kv\"") && run.outcome.contains("system call 39"), "{}", run.outcome);
}

/// Threads, files, sockets, clocks, memory: all that the simulated kernel itself asks the real one for.
fn all_kinds_of_work() {
    let threads: Vec<_> = (0..4).map(|i| std::thread::spawn(move || vec![i; 1 << 22].len())).collect();
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), 1 << 22));
    std::fs::write("/srv/file", "text").unwrap();
    println!("{}", std::fs::read_to_string("/srv/file").unwrap());
    println!("{}", std::fs::read_to_string("Cargo.toml").unwrap().len() > 10);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    drop(std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    println!("{}", std::panic::catch_unwind(|| panic!("caught")).is_err());
    println!("{}", std::backtrace::Backtrace::force_capture().to_string().contains("all_kinds_of_work"));
}

#[test]
fn what_goes_through_libc_is_let_through() {
    let (guarded, plain) = (guarded(all_kinds_of_work), world(1, all_kinds_of_work));
    assert_eq!(guarded.outcome, "", "{}", guarded.output);
    assert_eq!((guarded.output, guarded.digest), (plain.output, plain.digest));
}

#[test]
fn there_is_no_vdso_to_be_found() {
    let run = world(1, || {
        // SAFETY: no pointer.
        println!("{}", unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) });
    });
    assert_eq!(run.output, "0\n");
}

#[test]
fn the_time_stamp_counter_is_the_hosts() {
    let run = || {
        world(1, || {
            // SAFETY: every x86-64 has it.
            let (before, at) = (unsafe { std::arch::x86_64::_rdtsc() }, Instant::now());
            std::thread::sleep(Duration::from_secs(1));
            // SAFETY: as above.
            let ticks = unsafe { std::arch::x86_64::_rdtsc() } - before;
            println!("{before} {ticks} {:?}", at.elapsed());
        })
    };
    assert_eq!(run(), run());
}

#[test]
fn a_hash_of_addresses_is_the_same_in_every_run() {
    let run = || {
        world(1, || {
            let boxed = Box::new(7);
            let local = 7;
            let addresses =
                [(&raw const *boxed).addr(), (&raw const local).addr(), (main_of_this_test as *const ()).addr()];
            println!("{}", addresses.iter().fold(0usize, |hash, address| hash.wrapping_mul(31).wrapping_add(*address)));
            println!("{:?}", std::collections::HashSet::from([1, 2, 3, 4, 5, 6]));
        })
    };
    assert_eq!(run(), run());
}

fn main_of_this_test() {}

#[test]
fn a_static_counter_starts_anew_on_each_host_and_start() {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    unsafe fn count(_: usize, _: &[u8]) -> i32 {
        println!("{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        0
    }
    let run = world(1, || {
        COUNTER.fetch_add(100, Ordering::Relaxed);
        for name in ["a", "b"] {
            let host = control::add_host(name);
            control::start(host, &program(name, count, OnExit::Ignore)).unwrap();
            std::thread::sleep(Duration::from_secs(1));
            control::restart(host).unwrap();
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    assert_eq!(run.output, "0\n0\n0\n0\n");
}
