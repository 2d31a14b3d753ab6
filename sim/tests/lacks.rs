//! What programs lack: memory, threads, descriptors; by limits of their host, and by faults.

mod common;
use common::{Run, program, world};
use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;
use windtunnel_sim::control;
use windtunnel_sim::weather::{Begins, Fault, FaultKind, Lack};
use windtunnel_sim::world::{HostId, HostState, Limits, OnExit};

fn add(limits: Limits) -> HostId {
    let host = control::add_host("kv");
    control::limit(host, limits);
    host
}

fn start(host: HostId, entry: unsafe fn(usize, &[u8]) -> i32) {
    control::start(host, &program("kv", entry, OnExit::Ignore)).unwrap();
}

fn rest() {
    std::thread::sleep(Duration::from_secs(1));
}

/// Lets `entry` run on a host of these limits for a second, and says what has become of it.
fn limited(limits: Limits, entry: unsafe fn(usize, &[u8]) -> i32) -> Run {
    let run = world(1, move || {
        let host = add(limits);
        start(host, entry);
        rest();
        println!("{:?}", control::state(host));
    });
    assert_eq!(run.outcome, "", "{}", run.output);
    run
}

unsafe fn allocates(_: usize, _: &[u8]) -> i32 {
    let mut kept = Vec::new();
    for mebibytes in 1..=64 {
        kept.push(vec![1u8; 1 << 20]);
        if mebibytes % 10 == 0 {
            println!("{mebibytes}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(kept);
    println!("done");
    0
}

#[test]
fn the_allocation_that_goes_beyond_a_machines_memory_kills_the_program() {
    let run = limited(Limits { memory_bytes: Some(32 << 20), ..Limits::default() }, allocates);
    assert_eq!(run.output, "10\n20\n30\nDown(Some(Signal(9)))\n");
    assert!(run.notes.contains("out of memory"), "{}", run.notes);
    let run = limited(Limits { memory_bytes: Some(128 << 20), ..Limits::default() }, allocates);
    assert!(run.output.ends_with("done\nDown(Some(Code(0)))\n"), "{}", run.output);
}

unsafe fn gives_back(_: usize, _: &[u8]) -> i32 {
    for _ in 0..1000 {
        let small: Vec<Box<[u8]>> = (0..100).map(|_| vec![1; 1000].into()).collect();
        let large = vec![1u8; 8 << 20];
        drop((small, large));
    }
    println!("done");
    0
}

#[test]
fn what_was_given_back_does_not_count() {
    let run = limited(Limits { memory_bytes: Some(16 << 20), ..Limits::default() }, gives_back);
    assert_eq!(run.output, "done\nDown(Some(Code(0)))\n");
}

unsafe fn tells_memory(_: usize, _: &[u8]) -> i32 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    println!("{}", read("/proc/meminfo").lines().next().unwrap());
    println!("{}", read("/sys/fs/cgroup/memory.max").trim());
    println!("{}", read("/sys/fs/cgroup/pids.max").trim());
    // SAFETY: no pointer.
    println!("{}", unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) });
    0
}

#[test]
fn a_machine_tells_its_limits() {
    let limits = Limits { memory_bytes: Some(64 << 20), descriptors: None, threads: Some(7) };
    let run = limited(limits, tells_memory);
    assert_eq!(run.output, "MemTotal:          65536 kB\n67108864\n7\n16384\nDown(Some(Code(0)))\n");
}

unsafe fn opens(_: usize, _: &[u8]) -> i32 {
    let mut files = Vec::new();
    let error = loop {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => break error,
        }
    };
    println!("{} {:?}", files.len(), error.raw_os_error());
    let make = || File::create_new("/tmp/new").map(drop).map_err(|error| error.raw_os_error());
    println!("{:?}", make());
    drop(files);
    // Nothing was made that could not be opened.
    println!("{:?}", make());
    0
}

#[test]
fn descriptors_end_at_the_limit() {
    let run = limited(Limits { descriptors: Some(20), ..Limits::default() }, opens);
    assert_eq!(run.output, "17 Some(24)\nErr(Some(24))\nOk(())\nDown(Some(Code(0)))\n");
}

unsafe fn spawns(_: usize, _: &[u8]) -> i32 {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(receiver));
    let mut threads = Vec::new();
    let error = loop {
        let receiver = receiver.clone();
        match std::thread::Builder::new().spawn(move || receiver.lock().unwrap().recv().is_ok()) {
            Ok(thread) => threads.push(thread),
            Err(error) => break error,
        }
    };
    println!("{} {:?}", threads.len(), error.raw_os_error());
    drop(sender);
    threads.into_iter().for_each(|thread| assert!(!thread.join().unwrap()));
    0
}

#[test]
fn threads_end_at_the_limit() {
    let run = limited(Limits { threads: Some(5), ..Limits::default() }, spawns);
    assert_eq!(run.output, format!("4 Some({})\nDown(Some(Code(0)))\n", libc::EAGAIN));
}

/// Runs `entry` on a host while it lacks something from its first half second on, for a minute.
fn lacking(limits: Limits, lack: Lack, entry: unsafe fn(usize, &[u8]) -> i32) -> (Run, u64) {
    let run = world(1, move || {
        let host = add(limits);
        start(host, entry);
        let kind = FaultKind::Lack { host, lack };
        let (begins, lasts) = (Begins::At(Duration::from_millis(500)), Duration::from_secs(60));
        control::begin_weather(&[Fault { begins, lasts, kind }]);
        rest();
        println!("during: {}", control::state(host) == HostState::Up);
        std::thread::sleep(Duration::from_secs(75));
        println!("after: {} {}", control::state(host) == HostState::Up, control::starts(host));
        println!("bit {}", control::end_weather().faults[0].bit);
    });
    assert_eq!(run.outcome, "", "{}", run.output);
    let bit = run.output.lines().find_map(|line| line.strip_prefix("bit ")).unwrap().parse().unwrap();
    (run, bit)
}

unsafe fn works(_: usize, _: &[u8]) -> i32 {
    loop {
        std::thread::sleep(Duration::from_millis(100));
        drop(std::hint::black_box(vec![1u8; 4 << 20]));
    }
}

#[test]
fn a_program_that_lacks_memory_is_killed_and_started_again_when_there_is_some() {
    let limits = Limits { memory_bytes: Some(32 << 20), ..Limits::default() };
    for lack in [Lack::Memory { share: 0.95 }, Lack::Memory { share: 1.0 }, Lack::Tasks { count: 31_000 }] {
        let (run, bit) = lacking(limits, lack, works);
        assert!(run.output.starts_with("during: false\nafter: true 2\n"), "{lack:?}: {}", run.output);
        assert_eq!(bit, 1, "{lack:?}");
    }
    let (run, bit) = lacking(limits, Lack::Memory { share: 0.5 }, works);
    assert!(run.output.starts_with("during: true\nafter: true 1\n"), "{}", run.output);
    assert_eq!(bit, 0);
}

unsafe fn opens_one(_: usize, _: &[u8]) -> i32 {
    loop {
        std::thread::sleep(Duration::from_secs(10));
        let opened = File::open("/dev/null").map(|file| std::os::fd::AsRawFd::as_raw_fd(&file));
        let listed = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        println!("{:?} {listed}", opened.map_err(|error| error.raw_os_error()));
    }
}

#[test]
fn leaked_descriptors_are_open_until_the_fault_ends() {
    let limits = Limits { descriptors: Some(100), ..Limits::default() };
    let (run, bit) = lacking(limits, Lack::Descriptors { count: 50 }, opens_one);
    assert!(run.output.contains("Ok(53) 54\n") && run.output.contains("Ok(3) 4\n"), "{}", run.output);
    assert_eq!(bit, 0);
    let (run, bit) = lacking(limits, Lack::Descriptors { count: 1000 }, opens_one);
    assert!(run.output.contains(&format!("Err(Some({})) 0\n", libc::EMFILE)), "{}", run.output);
    assert!(run.output.contains("Ok(3) 4\n"), "{}", run.output);
    assert!(bit > 0);
}

unsafe fn accepts_one(_: usize, _: &[u8]) -> i32 {
    let listener = UnixListener::bind("/tmp/socket").unwrap();
    let _client = UnixStream::connect("/tmp/socket").unwrap();
    std::thread::sleep(Duration::from_secs(30));
    println!("{:?}", listener.accept().map(drop).map_err(|error| error.raw_os_error()));
    std::thread::sleep(Duration::from_secs(40));
    println!("{:?}", listener.accept().map(drop).map_err(|error| error.raw_os_error()));
    0
}

#[test]
fn a_unix_socket_that_was_refused_a_descriptor_has_been_bitten() {
    let limits = Limits { descriptors: Some(100), ..Limits::default() };
    let (run, bit) = lacking(limits, Lack::Descriptors { count: 1000 }, accepts_one);
    let answers: Vec<_> = run.output.lines().filter(|line| line.contains('(')).collect();
    assert_eq!(answers, [&format!("Err(Some({}))", libc::EMFILE), "Ok(())"], "{}", run.output);
    assert_eq!(bit, 1);
}

unsafe fn spawns_one(_: usize, _: &[u8]) -> i32 {
    loop {
        std::thread::sleep(Duration::from_secs(10));
        let spawned = std::thread::Builder::new().spawn(|| ());
        println!("{:?}", spawned.map(|thread| thread.join().is_ok()).map_err(|error| error.raw_os_error()));
    }
}

#[test]
fn leaked_threads_leave_none() {
    let limits = Limits { threads: Some(10), ..Limits::default() };
    let (run, bit) = lacking(limits, Lack::Threads { count: 100 }, spawns_one);
    assert!(run.output.contains(&format!("Err(Some({}))\n", libc::EAGAIN)), "{}", run.output);
    assert!(run.output.contains("Ok(true)\n"), "{}", run.output);
    assert!(bit > 0);
}

#[test]
fn what_a_program_has_can_be_asked() {
    unsafe fn has(_: usize, _: &[u8]) -> i32 {
        let files: Vec<File> = (0..5).map(|_| File::open("/dev/null").unwrap()).collect();
        let other = std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)));
        let memory = vec![1u8; 10 << 20];
        other.join().unwrap();
        drop((files, memory));
        0
    }
    let run = world(1, || {
        let host = add(Limits::default());
        println!("{:?}", control::usage(host));
        start(host, has);
        rest();
        let usage = control::usage(host);
        println!("{} {} {}", usage.descriptors, usage.threads, usage.memory_bytes >> 20);
    });
    assert_eq!(run.output, "Usage { descriptors: 0, threads: 0, memory_bytes: 0 }\n8 2 10\n");
}
