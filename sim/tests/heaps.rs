//! Each image has a heap of its own: what one program allocates moves nobody else's memory, and what it allocates for
//! logging can be kept from moving its own.

mod common;
use common::{Run, config, world, world_with};
use std::ffi::c_void;
use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use windtunnel_sim::control;
use windtunnel_sim::world::{Config, HeapRecord, HeapRecordUse, OnExit, Program};

fn program(entry: unsafe fn(usize, &[u8]) -> i32, payload: &[u8]) -> Program {
    Program {
        entry,
        user: 0,
        payload: payload.to_vec(),
        args: vec!["heaps".to_owned()],
        env: Vec::new(),
        on_exit: OnExit::Ignore,
    }
}

/// Lives for a while, in boxes of several sizes, on several threads; tells where they were.
unsafe fn tells_addresses(_: usize, payload: &[u8]) -> i32 {
    let logs = payload == b"logs";
    let threads: Vec<_> = (0..3).map(|thread| std::thread::spawn(move || addresses(thread, logs))).collect();
    let told: Vec<String> = threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect();
    println!("{}", told.join("\n"));
    0
}

fn addresses(thread: u64, logs: bool) -> String {
    let mut kept = Vec::new();
    for step in 0..20_u64 {
        if logs {
            // What a subscriber keeps of a span, and what it needs for a line.
            kept.push(format!("span {thread} {step}").into_bytes().into_boxed_slice());
            drop(black_box(vec![0_u8; 700]));
        }
        let size = 24 + 40 * (step as usize % 5);
        kept.push(vec![1_u8; size].into_boxed_slice());
        std::thread::sleep(Duration::from_micros(step));
    }
    let program = kept.iter().filter(|block| block[0] == 1);
    program.map(|block| format!("{:p}", block.as_ptr())).collect::<Vec<_>>().join(" ")
}

/// A world of two hosts, of which the second tells its addresses.
fn two_hosts(config: Config, first: &'static [u8], second: &'static [u8]) -> Run {
    world_with(config, move || {
        let (one, two) = (control::add_host("one"), control::add_host("two"));
        control::start(one, &program(allocates, first)).expect("it is down");
        control::start(two, &program(tells_addresses, second)).expect("it is down");
        std::thread::sleep(Duration::from_secs(1));
    })
}

unsafe fn allocates(_: usize, payload: &[u8]) -> i32 {
    let count = payload[0] as usize;
    let blocks: Vec<Vec<u8>> = (0..count).map(|i| vec![0; 10 + i * 37]).collect();
    std::thread::sleep(Duration::from_secs(2));
    drop(black_box(blocks));
    0
}

#[test]
fn what_one_host_allocates_moves_no_other_hosts_memory() {
    let few = two_hosts(config(3), &[1], b"");
    let many = two_hosts(config(3), &[250], b"");
    assert!(few.output.contains("0x"), "{few:?}");
    assert_eq!(few.output, many.output);
}

#[test]
fn recording_events_moves_nothing() {
    let plain = two_hosts(config(3), &[1], b"");
    let recorded = two_hosts(Config { record: true, ..config(3) }, &[1], b"");
    assert!(!recorded.events.is_empty());
    assert_eq!((plain.output, plain.digest), (recorded.output, recorded.digest));
}

/// Memory that a world and the next share.
fn shared_words() -> &'static [AtomicU64] {
    const BYTES: usize = 16 << 20;
    // SAFETY: fresh shared memory of zeros, never unmapped, seen as atomics only.
    unsafe {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let words = libc::mmap(std::ptr::null_mut(), BYTES, protection, flags, -1, 0);
        assert_ne!(words, libc::MAP_FAILED);
        std::slice::from_raw_parts(words.cast(), BYTES / 8)
    }
}

#[test]
fn a_run_that_logs_follows_the_addresses_of_one_that_did_not() {
    let words = shared_words();
    let with = |wanted| Config { heap_record: Some(HeapRecord { wanted, words }), ..config(3) };
    let plain = two_hosts(config(3), &[1], b"");
    let kept = two_hosts(with(HeapRecordUse::Keep), &[1], b"");
    let followed = two_hosts(with(HeapRecordUse::Follow), &[1], b"logs");
    assert_eq!((&plain.output, &plain.digest), (&kept.output, &kept.digest));
    assert_eq!((&plain.output, &plain.digest), (&followed.output, &followed.digest));
    // Otherwise the test would show nothing.
    assert_ne!(plain.output, two_hosts(config(3), &[1], b"logs").output);
}

unsafe fn holds_much(_: usize, _: &[u8]) -> i32 {
    let small: Vec<Vec<u8>> = (0..40_000).map(|i| vec![i as u8; 100]).collect();
    let huge: Vec<Vec<u8>> = (0..4).map(|i| vec![i as u8; 4 << 20]).collect();
    std::thread::sleep(Duration::from_secs(3600));
    drop(black_box((small, huge)));
    0
}

#[test]
fn a_crashed_hosts_memory_is_given_back() {
    let run = world(1, || {
        let host = control::add_host("host");
        for _ in 0..100 {
            control::start(host, &program(holds_much, b"")).expect("it is down");
            std::thread::sleep(Duration::from_millis(1));
            control::crash(host);
        }
    });
    assert_eq!(run.outcome, "", "{run:?}");
    // One start holds about 21 MiB.
    assert!(run.peak.0 < 150 << 10, "{} KiB at most", run.peak.0);
}

#[test]
fn memory_keeps_its_promises() {
    let run = world(1, || {
        // Zero although somebody had it before, at sizes of every kind.
        for bytes in [1_usize, 100, 5_000, 200_000, 3 << 20] {
            drop(black_box(vec![0xff_u8; bytes]));
            assert!(black_box(vec![0_u8; bytes]).iter().all(|byte| *byte == 0), "{bytes} bytes");
        }
        // Contents survive growth and shrinking across all kinds of sizes.
        let mut grown = Vec::new();
        for i in 0..3_000_000_u32 {
            grown.push(i as u8);
        }
        assert!(grown.iter().zip(0_u32..).all(|(byte, i)| *byte == i as u8));
        grown.truncate(1000);
        grown.shrink_to_fit();
        assert!(grown.iter().zip(0_u32..).all(|(byte, i)| *byte == i as u8));
        aligned();
        println!("kept");
    });
    assert_eq!((run.output.as_str(), run.outcome.as_str()), ("kept\n", ""), "{run:?}");
}

fn aligned() {
    for shift in 3..=22 {
        let alignment = 1_usize << shift;
        let mut block: *mut c_void = std::ptr::null_mut();
        // SAFETY: as the man pages ask; each block is freed once.
        unsafe {
            assert_eq!(libc::posix_memalign(&raw mut block, alignment, 100), 0);
            assert!(block.addr().is_multiple_of(alignment) && libc::malloc_usable_size(block) >= 100);
            libc::free(block);
            let block = black_box(libc::memalign(alignment, 100));
            assert!(block.addr().is_multiple_of(alignment));
            libc::free(block);
        }
    }
    let mut block: *mut c_void = std::ptr::null_mut();
    // Optimisations leave out a block that nobody looks at, and take for granted that there was one.
    // SAFETY: refused before the pointer is written (posix_memalign(3)).
    unsafe {
        assert_eq!(libc::posix_memalign(&raw mut block, 24, 1), libc::EINVAL);
        assert_eq!(libc::posix_memalign(&raw mut block, 4, 1), libc::EINVAL);
        assert!(black_box(libc::malloc(usize::MAX / 2)).is_null() && *libc::__errno_location() == libc::ENOMEM);
        assert!(black_box(libc::calloc(usize::MAX / 2, 3)).is_null());
    }
}

unsafe fn frees_twice(_: usize, _: &[u8]) -> i32 {
    // SAFETY: not at all; that is the point.
    unsafe {
        let block = libc::malloc(100);
        libc::free(block);
        libc::free(black_box(block));
    }
    0
}

#[test]
fn a_double_free_ends_the_program_as_glibc_does() {
    let run = world(1, || {
        let host = control::add_host("host");
        control::start(host, &program(frees_twice, b"")).expect("it is down");
        std::thread::sleep(Duration::from_secs(1));
    });
    assert!(run.output.contains("free(): double free"), "{run:?}");
    assert!(run.notes.contains("killed by signal 6"), "{run:?}");
}
