//! A test binary may have a global allocator: hooks, which are the original image's code, use none of its memory on the
//! threads of other images. The allocator of all these tests tells when one does (`common/mod.rs`).

mod common;
use common::world;
use std::ffi::{CStr, c_void};
use std::io::{Read, Write};
use std::mem::{MaybeUninit, zeroed};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr::{null, null_mut};
use std::time::Duration;
use windtunnel_sim::control;
use windtunnel_sim::world::{HostState, OnExit, Program};

fn program(entry: unsafe fn(usize, &[u8]) -> i32) -> Program {
    Program {
        entry,
        user: 0,
        payload: b"payload".to_vec(),
        args: vec!["service".to_owned()],
        env: vec![("WHO".to_owned(), "me".to_owned())],
        on_exit: OnExit::Ignore,
    }
}

/// Names: what is asked and what is answered are strings and lists.
unsafe fn names() {
    // SAFETY: as netdb.h says; lists are freed once.
    unsafe {
        let hints = libc::addrinfo { ai_flags: libc::AI_CANONNAME, ai_socktype: libc::SOCK_STREAM, ..zeroed() };
        let mut list = null_mut();
        assert_eq!(libc::getaddrinfo(c"service".as_ptr(), c"80".as_ptr(), &hints, &mut list), 0);
        assert_eq!(CStr::from_ptr((*list).ai_canonname), c"service");
        let (mut host, mut service) = ([0; 64], [0; 16]);
        let (address, bytes) = ((*list).ai_addr, (*list).ai_addrlen);
        assert_eq!(libc::getnameinfo(address, bytes, host.as_mut_ptr(), 64, service.as_mut_ptr(), 16, 0), 0);
        libc::freeaddrinfo(list);
        assert_ne!(libc::getaddrinfo(c"nosuch".as_ptr(), null(), null(), &mut list), 0);
        let mut interfaces = null_mut();
        assert_eq!(libc::getifaddrs(&mut interfaces), 0);
        libc::freeifaddrs(interfaces);
        let mut name = [0; 64];
        assert_eq!(libc::gethostname(name.as_mut_ptr(), 64), 0);
        assert_eq!(CStr::from_ptr(name.as_ptr()), c"service");
        assert!(!libc::getpwuid(libc::getuid()).is_null() && !libc::getgrgid(libc::getgid()).is_null());
        assert_eq!(libc::uname(&mut zeroed()), 0);
    }
}

/// Descriptors and readiness.
fn sockets() {
    let listener = TcpListener::bind("0.0.0.0:80").unwrap();
    let mut client = TcpStream::connect(("service", 80)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert_eq!((client.read_timeout().unwrap(), client.nodelay().unwrap()), (Some(Duration::from_secs(1)), false));
    assert!(client.take_error().unwrap().is_none());
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"request").unwrap();
    // SAFETY: sets and lists of this frame's.
    unsafe {
        let mut set: libc::fd_set = zeroed();
        libc::FD_SET(server.as_raw_fd(), &mut set);
        let ready = libc::select(server.as_raw_fd() + 1, &mut set, null_mut(), null_mut(), null_mut());
        assert_eq!(ready, 1);
        let mut list = [libc::pollfd { fd: server.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        assert_eq!(libc::poll(list.as_mut_ptr(), 1, -1), 1);
    }
    let mut text = [0; 7];
    server.read_exact(&mut text).unwrap();
    let datagrams = UdpSocket::bind("0.0.0.0:81").unwrap();
    datagrams.send_to(&text, "service:81").unwrap();
    assert_eq!(datagrams.recv_from(&mut [0; 99]).unwrap().0, 7);
}

/// Files, directories, C's streams.
unsafe fn files() {
    let text = std::fs::read_to_string("Cargo.toml").unwrap();
    assert!(text.contains("windtunnel-sim") && std::fs::canonicalize("Cargo.toml").unwrap().is_absolute());
    assert!(std::fs::read_dir("tests").unwrap().count() > 1 && std::fs::metadata("nosuch").is_err());
    assert!(std::env::current_exe().is_ok() && std::fs::read_to_string("/proc/self/status").is_ok());
    // SAFETY: the stream is closed once.
    unsafe {
        let stream = libc::fopen(c"Cargo.toml".as_ptr(), c"r".as_ptr());
        assert!(libc::fread([0_u8; 16].as_mut_ptr().cast(), 1, 16, stream) == 16);
        libc::fclose(stream);
        let resolved = libc::realpath(c"tests/..".as_ptr(), null_mut());
        libc::free(resolved.cast());
        libc::localtime_r(&libc::time(null_mut()), &mut zeroed());
    }
}

extern "C" fn handled(_: i32) {
    drop(std::hint::black_box(vec![1_u8; 64]));
}

extern "C" fn key_ends(value: *mut c_void) {
    // SAFETY: made below.
    drop(unsafe { Box::from_raw(value.cast::<String>()) });
}

/// Threads, what they leave behind, signals, panics.
unsafe fn threads() {
    struct AtTheEnd(Vec<u8>);
    impl Drop for AtTheEnd {
        fn drop(&mut self) {
            self.0.push(1);
        }
    }
    thread_local!(static KEPT: std::cell::RefCell<AtTheEnd> = const { std::cell::RefCell::new(AtTheEnd(Vec::new())) });
    // SAFETY: the key is live; the attributes are this frame's.
    unsafe {
        let mut key = 0;
        assert_eq!(libc::pthread_key_create(&mut key, Some(key_ends)), 0);
        let mut attributes = MaybeUninit::uninit();
        assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()), 0);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        let workers = (0..3).map(|number| {
            let run = move || {
                KEPT.with_borrow_mut(|kept| kept.0.push(number));
                let value = Box::into_raw(Box::new(String::from("kept by a key")));
                libc::pthread_setspecific(key, value.cast());
                std::thread::yield_now();
                std::panic::catch_unwind(|| panic!("{}", std::backtrace::Backtrace::force_capture())).is_err()
            };
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(run).unwrap()
        });
        assert!(workers.collect::<Vec<_>>().into_iter().all(|worker| worker.join().unwrap()));
        libc::signal(libc::SIGUSR1, handled as *const () as usize);
        libc::raise(libc::SIGUSR1);
    }
}

unsafe fn does_all_sorts_of_things(_: usize, payload: &[u8]) -> i32 {
    assert_eq!(payload, b"payload");
    std::panic::set_hook(Box::new(|panic| drop(panic.to_string())));
    // SAFETY: each for itself.
    unsafe {
        names();
        sockets();
        files();
        threads();
    }
    println!("{:?} {:?} done", std::env::args().collect::<Vec<_>>(), std::env::var("WHO"));
    7
}

unsafe fn waits(_: usize, _: &[u8]) -> i32 {
    let _held = TcpListener::bind("0.0.0.0:80").unwrap();
    std::thread::spawn(|| std::thread::sleep(Duration::from_secs(3600))).join().unwrap();
    0
}

unsafe fn faults(_: usize, _: &[u8]) -> i32 {
    // SAFETY: none: the fault is the point of the test.
    unsafe { std::ptr::without_provenance::<i32>(8).read_volatile() }
}

#[test]
fn hooks_use_no_memory_of_rust_on_a_program_s_thread() {
    let run = world(1, || {
        let host = control::add_host("service");
        control::start(host, &program(does_all_sorts_of_things)).unwrap();
        std::thread::sleep(Duration::from_secs(10));
        println!("{:?}", control::state(host));
        for (name, fell) in [("crashed", control::crash as fn(_)), ("killed", control::kill)] {
            let other = control::add_host(name);
            control::start(other, &program(waits)).unwrap();
            std::thread::sleep(Duration::from_secs(1));
            fell(other);
            control::restart(other).unwrap();
            std::thread::sleep(Duration::from_secs(1));
            assert!(matches!(control::state(other), HostState::Up));
        }
        let host = control::add_host("faulty");
        control::start(host, &program(faults)).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        println!("{:?}", control::state(host));
    });
    let expected = "[\"service\"] Ok(\"me\") done\nDown(Some(Code(7)))\nDown(Some(Signal(11)))\n";
    assert_eq!(run.output, expected, "{run:#?}");
}

/// What allocators ask before a world: clock, processors, entropy.
fn look_at_the_machine() -> String {
    let clock = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let mut drawn = [0_u64; 2];
    // SAFETY: a buffer of that size.
    unsafe { libc::getrandom(drawn.as_mut_ptr().cast(), 16, 0) };
    format!("clock {clock}, {:?} processors, drawn {drawn:x?}", std::thread::available_parallelism())
}

#[test]
fn a_worker_is_told_nothing_of_the_machine() {
    const NAME: &str = "a_worker_is_told_nothing_of_the_machine";
    if std::env::var_os(windtunnel_sim::worker::ENV).is_some() {
        return println!("seen: {}.", look_at_the_machine());
    }
    let seen = || {
        let mut worker = std::process::Command::new(std::env::current_exe().unwrap());
        worker.args(["--exact", NAME, "--nocapture"]).env(windtunnel_sim::worker::ENV, "1");
        let printed = String::from_utf8(worker.output().unwrap().stdout).unwrap();
        printed.split_once("seen: ").unwrap().1.split_once('.').unwrap().0.to_owned()
    };
    let one = seen();
    assert!(one.starts_with("clock 1798761600, Ok(4) processors, drawn ["), "{one}");
    assert_eq!(one, seen());
    // Outside of workers all of it is the machine's.
    assert_ne!(one, look_at_the_machine());
}
