//! What all three simulators are asked to do, and how it is timed.
//!
//! The asynchronous bodies lie in `bodies.rs` and are compiled into each binary against that simulator's sockets and
//! timers (its `under` module), so that the workloads cannot drift apart. This crate holds what needs no simulator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of an echoed message.
pub const MESSAGE_BYTES: usize = 64;
/// One-way latency of every link.
pub const LATENCY: Duration = Duration::from_millis(1);
/// Pairs of the workload `pairs`.
pub const PAIRS: usize = 50;
/// Virtual time at which clients connect: every server listens by then.
pub const CONNECT_AFTER: Duration = Duration::from_millis(50);
/// Virtual time from a client's warm-up round trip to its first measured one: everybody has connected by then.
pub const SETTLE: Duration = Duration::from_millis(100);
/// Period of each host's timer in the workload `timers`.
pub const PERIOD: Duration = Duration::from_secs(1);
/// Virtual time before the measured part of `timers` and `idle`: every host has started and its timer fired twice.
pub const BOOT: Duration = Duration::from_millis(2_500);
/// Virtual time measured in `timers`.
pub const TIMERS_LAST: Duration = Duration::from_secs(600);
/// Virtual time measured in `idle`.
pub const IDLE_LASTS: Duration = Duration::from_secs(3_600);
/// Bytes of an appended record.
pub const RECORD_BYTES: usize = 100;
/// The port that servers listen on.
pub const PORT: u16 = 7000;

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// One client and one server echo so many messages.
    Echo {
        /// Round trips.
        count: u64,
    },
    /// [`PAIRS`] clients and servers echo so many messages altogether.
    Pairs {
        /// Round trips of all pairs together.
        count: u64,
    },
    /// So many hosts with a one-second timer each, for [`TIMERS_LAST`].
    Timers {
        /// Hosts.
        hosts: u64,
    },
    /// So many appends of [`RECORD_BYTES`] to a file, which is synced each time that so many are unsynced.
    Appends {
        /// Appends altogether.
        count: u64,
        /// Appends between two syncs.
        unsynced: u64,
    },
    /// So many hosts that wait for a connection which never comes, for [`IDLE_LASTS`].
    Idle {
        /// Hosts.
        hosts: u64,
    },
}

/// A binary's arguments: `WORKLOAD N [--seed S] [--calm] [--one-image]`.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// What to run.
    pub workload: Workload,
    /// Decides the run.
    pub seed: u64,
    /// Good weather: no preemption, no jitter. Only windtunnel knows any other.
    pub calm: bool,
    /// Every host runs in the test's image rather than in one of its own: what images cost, and for profilers such as
    /// valgrind, which cannot follow them. Only windtunnel has images.
    pub one_image: bool,
}

impl Order {
    /// Reads the command line.
    ///
    /// # Panics
    /// With the usage, when it cannot be read.
    #[must_use]
    pub fn from_args() -> Order {
        const USAGE: &str =
            "arguments: (echo|pairs|timers|idle|appends-1k|appends-16k) N [--seed S] [--calm] [--one-image]";
        let args: Vec<String> = std::env::args().skip(1).collect();
        let number = |at: usize| args.get(at).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{USAGE}"));
        let count = number(1);
        let workload = match args[0].as_str() {
            "echo" => Workload::Echo { count },
            "pairs" => Workload::Pairs { count },
            "timers" => Workload::Timers { hosts: count },
            "idle" => Workload::Idle { hosts: count },
            "appends-1k" => Workload::Appends { count, unsynced: 1_000 },
            "appends-16k" => Workload::Appends { count, unsynced: 16_000 },
            _ => panic!("{USAGE}"),
        };
        let seed = args.iter().position(|a| a == "--seed").map_or(1, |at| number(at + 1));
        let flag = |name: &str| args.iter().any(|a| a == name);
        Order { workload, seed, calm: flag("--calm"), one_image: flag("--one-image") }
    }
}

impl Workload {
    /// Pairs of hosts that talk, and the round trips of each.
    #[must_use]
    pub fn pairs(self) -> (usize, u64) {
        match self {
            Workload::Echo { count } => (1, count),
            Workload::Pairs { count } => (PAIRS, count.div_ceil(PAIRS as u64)),
            Workload::Timers { .. } | Workload::Idle { .. } | Workload::Appends { .. } => (0, 0),
        }
    }
}

/// The real time in nanoseconds, by a system call of our own: every simulator here puts its own `clock_gettime` in
/// libc's place.
#[must_use]
pub fn wall_ns() -> u64 {
    const SYS_CLOCK_GETTIME: usize = 228;
    const CLOCK_MONOTONIC: usize = 1;
    let mut time = [0u64; 2];
    // SAFETY: clock_gettime(2) writes one `timespec`, two words on x86-64; the kernel clobbers rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") SYS_CLOCK_GETTIME => _,
            in("rdi") CLOCK_MONOTONIC,
            in("rsi") time.as_mut_ptr(),
            out("rcx") _,
            out("r11") _,
        );
    }
    time[0] * 1_000_000_000 + time[1]
}

/// Times the measured part, which begins when the first of several tasks gets there and ends with the last.
#[derive(Debug)]
pub struct Stopwatch {
    created_ns: u64,
    begun_ns: AtomicU64,
    ended_ns: AtomicU64,
    under_way: AtomicU64,
}

impl Stopwatch {
    /// For so many tasks. Booting begins now.
    #[must_use]
    pub fn new(tasks: u64) -> Stopwatch {
        Stopwatch {
            created_ns: wall_ns(),
            begun_ns: AtomicU64::new(0),
            ended_ns: AtomicU64::new(0),
            under_way: AtomicU64::new(tasks),
        }
    }

    /// A task begins what is measured.
    pub fn begin(&self) {
        if self.begun_ns.load(Ordering::Relaxed) == 0 {
            self.begun_ns.store(wall_ns(), Ordering::Relaxed);
        }
    }

    /// A task has ended what is measured; true for the last one.
    pub fn end(&self) -> bool {
        let last = self.under_way.fetch_sub(1, Ordering::Relaxed) == 1;
        if last {
            self.ended_ns.store(wall_ns(), Ordering::Relaxed);
        }
        last
    }

    /// Prints the line that `compare` reads; `count` is of round trips, firings, appends or hosts.
    ///
    /// # Panics
    /// When a task has not ended.
    pub fn report(&self, count: u64) {
        let (begun, ended) = (self.begun_ns.load(Ordering::Relaxed), self.ended_ns.load(Ordering::Relaxed));
        assert_ne!(ended, 0, "the measured part did not end");
        let (elapsed_ns, boot_ns) = (ended - begun, begun - self.created_ns);
        println!("elapsed_ns={elapsed_ns} boot_ns={boot_ns} count={count} peak_rss_kib={}", peak_rss_kib());
    }
}

/// `VmHWM` of /proc/self/status, proc(5).
fn peak_rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}
