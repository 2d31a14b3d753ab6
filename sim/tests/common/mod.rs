//! Runs a closure in a world, in a forked process, and brings its output back.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;
use windtunnel_sim::worker;
use windtunnel_sim::world::{Config, Console, EventLine, OnExit, Outcome, Position, Program, Sink, ThreadStack, run};

/// libc's memory for all of these tests, by an allocator that minds its own image.
///
/// Hooks are code of the original image. Should one of them use Rust's memory on a thread of another image, this
/// allocator would be entered with the TLS of that image's, as jemalloc and mimalloc would be, to their ruin.
struct OwnImages;

/// Each image has its own, and in the TLS of its threads stands the address of it.
static IMAGE: AtomicU8 = AtomicU8::new(0);
thread_local! {
    static IMAGE_OF_THREAD: Cell<&'static AtomicU8> = const { Cell::new(&IMAGE) };
}

impl OwnImages {
    fn check() {
        if !std::ptr::eq(IMAGE_OF_THREAD.get(), &IMAGE) {
            let text = b"code of one image uses Rust's memory on a thread of another: see sim/src/abi/handed.rs\n";
            // SAFETY: a message, and the end.
            unsafe {
                libc::write(2, text.as_ptr().cast(), text.len());
                libc::abort();
            }
        }
    }
}

// SAFETY: as the system's.
unsafe impl GlobalAlloc for OwnImages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::check();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::check();
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        Self::check();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(block, layout, bytes) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::check();
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: OwnImages = OwnImages;

/// What came of a world.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    pub output: String,
    pub notes: String,
    pub outcome: String,
    pub digest: String,
    pub events: Vec<String>,
    pub stacks: Vec<String>,
    /// The account of the weather that the world ended in, or empty.
    pub weather: String,
    /// Largest resident size of the case's process.
    pub peak: Peak,
}

/// A peak in KiB; equal to every other, as memory is no part of a run.
#[derive(Debug, Clone, Copy, Default, Eq)]
pub struct Peak(pub i64);

impl PartialEq for Peak {
    fn eq(&self, _: &Peak) -> bool {
        true
    }
}

struct Tell(Rc<RefCell<std::fs::File>>);

impl Tell {
    fn line(&self, kind: char, text: &str) {
        let mut file = self.0.borrow_mut();
        let _ = write!(file, "{kind}{:08}", text.len());
        let _ = file.write_all(text.as_bytes());
    }
}

impl Sink for Tell {
    fn console(&mut self, output: Console<'_>) {
        self.line('o', &String::from_utf8_lossy(output.bytes));
    }
    fn note(&mut self, at: Position, host: &str, text: &str) {
        self.line('n', &format!("{} {host}: {text}\n", at.now_ns));
    }
    fn event(&mut self, e: &EventLine<'_>) {
        self.line('e', &format!("{} {} {}/{} {} {}", e.at.event, e.at.now_ns, e.host, e.tid, e.what, e.detail));
    }
    fn progress(&mut self, _: Position, _: &str, _: &str) {}
    fn stack(&mut self, s: &ThreadStack<'_>) {
        self.line('s', &format!("{}/{} {}: {} frames", s.host, s.thread, s.waits_for, s.frames.len()));
    }
    fn fatal(&mut self, _: Position, text: &str) {
        self.line('f', text);
    }
}

/// The usual configuration of a seed.
pub fn config(seed: u64) -> Config {
    Config {
        seed,
        start_unix_ns: 1_800_000_000_000_000_000,
        virtual_timeout: Duration::from_secs(24 * 3600),
        calm: false,
        quiet: windtunnel_sim::world::Quiet::default(),
        cpus: 4,
        test_env: vec![("TZ".into(), "UTC0".into())],
        sink: Box::new(Nowhere),
        record: false,
        perturb: None,
        syncs: windtunnel_sim::world::Syncs::Kept,
        guard: false,
        heap_record: None,
    }
}

struct Nowhere;
impl Sink for Nowhere {
    fn console(&mut self, _: Console<'_>) {}
    fn note(&mut self, _: Position, _: &str, _: &str) {}
    fn event(&mut self, _: &EventLine<'_>) {}
    fn progress(&mut self, _: Position, _: &str, _: &str) {}
    fn stack(&mut self, _: &ThreadStack<'_>) {}
    fn fatal(&mut self, _: Position, _: &str) {}
}

/// Runs `main` in the world of a seed.
pub fn world(seed: u64, main: impl FnOnce() + 'static) -> Run {
    world_with(config(seed), main)
}

/// Runs `main` in a configured world.
pub fn world_with(config: Config, main: impl FnOnce() + 'static) -> Run {
    let mut ends: [RawFd; 2] = [0; 2];
    // SAFETY: room for two descriptors, each of which gets one owner.
    let (reader, writer) = unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (std::fs::File::from_raw_fd(ends[0]), std::fs::File::from_raw_fd(ends[1]))
    };
    // Another thread of libtest's that prints just now would leave the child a lock that nobody ever releases.
    let output = (std::io::stdout().lock(), std::io::stderr().lock());
    // libc's fork, for the same reason: it takes malloc's locks first.
    // SAFETY: the child runs the world and leaves by `_exit`.
    let forked = unsafe { libc::fork() };
    drop(output);
    match forked {
        0 => {
            // A world that spins is killed rather than waited for.
            // SAFETY: no pointer.
            unsafe { libc::alarm(60) };
            let out = Rc::new(RefCell::new(writer));
            let ending = run(Config { sink: Box::new(Tell(out.clone())), ..config }, Box::new(main));
            let tell = Tell(out);
            let outcome =
                if ending.outcome == Outcome::Finished { String::new() } else { format!("{:?}", ending.outcome) };
            tell.line('r', &outcome);
            tell.line('w', &ending.weather.map(|weather| format!("{weather:?}")).unwrap_or_default());
            tell.line('d', &format!("{:032x} {} {}", ending.digest, ending.at.event, ending.at.now_ns));
            worker::exit(0);
        }
        pid => {
            drop(writer);
            let mut run = collect(reader);
            let mut status = 0;
            // SAFETY: waits for our own child; the structure is plain numbers.
            unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                libc::wait4(pid, &mut status, 0, &mut usage);
                run.peak = Peak(usage.ru_maxrss);
            }
            assert_eq!(status, 0, "the case process ended with wait status {status:#x}: {run:#?}");
            run
        }
    }
}

/// The answers of a world that has finished: it prints a line for each question, so that a failing test shows all.
pub fn lines(run: &Run) -> BTreeMap<String, String> {
    assert_eq!(run.outcome, "", "{}", run.output);
    run.output.lines().filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// A program that is given its host's name and nothing else.
pub fn program(name: &str, entry: unsafe fn(usize, &[u8]) -> i32, on_exit: OnExit) -> Program {
    Program { entry, user: 0, payload: vec![], args: vec![name.to_owned()], env: vec![], on_exit }
}

fn collect(mut reader: std::fs::File) -> Run {
    let mut all = Vec::new();
    reader.read_to_end(&mut all).expect("read from the case");
    let mut run = Run::default();
    let mut rest = &all[..];
    while rest.len() >= 9 {
        let length: usize = std::str::from_utf8(&rest[1..9]).unwrap().parse().unwrap();
        let text = String::from_utf8_lossy(&rest[9..9 + length]).into_owned();
        match rest[0] {
            b'o' => run.output.push_str(&text),
            b'n' => run.notes.push_str(&text),
            b'e' => run.events.push(text),
            b's' => run.stacks.push(text),
            b'r' => run.outcome = text,
            b'w' => run.weather = text,
            b'd' => run.digest = text,
            _ => run.notes.push_str(&format!("FATAL {text}\n")),
        }
        rest = &rest[9 + length..];
    }
    run
}
