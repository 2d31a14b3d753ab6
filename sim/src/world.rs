//! Running a simulated world, and steering it from inside.
//!
//! [`run`] takes over the calling kernel thread, which must be the process's only one, until the world ends. Inside,
//! the test's own code runs as host `test`; it steers the world with [`crate::control`].

pub use crate::kernel::disk::Syncs;
use crate::weather::WeatherReport;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Everything that decides a world, beside the programs.
pub struct Config {
    /// Decides every choice of the world.
    pub seed: u64,
    /// Wall clock of every host at the world's beginning, in nanoseconds since the Unix epoch.
    pub start_unix_ns: u64,
    /// The world ends with [`Outcome::VirtualTimeout`] when its clock reaches this.
    pub virtual_timeout: Duration,
    /// Good weather: fair scheduling, constant latency, no jitter, no buggify.
    pub calm: bool,
    /// Which kinds of randomness are as in good weather, although it is none: to see which of them a failure needs.
    pub quiet: Quiet,
    /// Processors that hosts see.
    pub cpus: u32,
    /// Environment of the host `test`; hosts get theirs with their program.
    pub test_env: Vec<(String, String)>,
    /// Where output, progress and reports go.
    pub sink: Box<dyn Sink>,
    /// End with [`Outcome::Refused`] when a program makes a system call without libc, by an instruction of its own: it
    /// would reach the real kernel. Where the system does not allow to watch for it (seccomp(2)), nothing is noticed.
    pub guard: bool,
    /// Hand every event to [`Sink::event`]. Changes nothing in the run.
    pub record: bool,
    /// For tests of the comparison itself: move the clock on by one nanosecond at the event of
    /// this number.
    pub perturb: Option<u64>,
    /// What fsync(2) is worth on every host's disk.
    pub syncs: Syncs,
    /// A record of what programs' `malloc` gave, to be kept or followed.
    pub heap_record: Option<HeapRecord>,
}

/// What a host's program may have. Nothing is limited unless it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Memory of the machine, in bytes. An allocation that goes beyond it gets the program killed, as by Linux's OOM
    /// killer. If not said, 8 GiB are shown, and enforced only while a fault takes memory. What counts is what
    /// malloc(3) and its relatives have given.
    pub memory_bytes: Option<u64>,
    /// Descriptors of the program (`RLIMIT_NOFILE`): 1,048,576 if not said. Opening more fails with `EMFILE`.
    pub descriptors: Option<u32>,
    /// Threads of the program (`RLIMIT_NPROC`): 63,536 if not said. Starting more fails with `EAGAIN`.
    pub threads: Option<u32>,
}

impl Limits {
    /// Memory of the machine, in bytes, said or not.
    pub fn memory(&self) -> u64 {
        self.memory_bytes.unwrap_or(8 << 30)
    }

    /// Threads that the program may have, said or not (`/proc/sys/kernel/threads-max`).
    pub fn threads_max(&self) -> u32 {
        self.threads.unwrap_or(63_536)
    }
}

/// What a task of an asynchronous runtime takes that does nothing, in bytes: its allocation (tokio's cell is some 128
/// bytes and the future), and what it keeps alive.
pub const TASK_BYTES: u64 = 1024;

/// What a host's program has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Open descriptors, of which three are the console.
    pub descriptors: u32,
    /// Threads that have not ended.
    pub threads: u32,
    /// Bytes that malloc(3) and its relatives have given and not been given back. Not equal in every replay: what
    /// writes more logs allocates more.
    pub memory_bytes: u64,
}

/// Kinds of randomness, each of which can be switched off by itself. The streams of the others stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quiet {
    /// Threads run first come, first served, and are not preempted.
    pub scheduling: bool,
    /// Links that take the same time for every segment. A stream is one way from host to host: `kv0->kv1`.
    pub links: Hush,
    /// Hosts that get other random numbers than the seed's. A stream is a host; what the test draws is of host `test`.
    pub entropy: Hush,
    /// Hosts on which no call is cut short or interrupted, no timer is late, no queue full sooner. A stream is a host.
    pub calls: Hush,
}

/// Which streams of a kind of randomness are switched off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Hush {
    /// None.
    #[default]
    Nothing,
    /// All of them.
    Everything,
    /// All but these, by name.
    AllBut(std::collections::BTreeSet<String>),
}

impl Hush {
    /// Whether a stream is switched off.
    pub(crate) fn covers(&self, stream: impl FnOnce() -> String) -> bool {
        match self {
            Hush::Nothing => false,
            Hush::Everything => true,
            Hush::AllBut(heard) => !heard.contains(&stream()),
        }
    }
}

/// Keeps addresses of programs' memory equal in a second run that allocates more, because it logs more.
///
/// Run the case as it is and keep a record, then run it again to look at it and follow the record.
pub struct HeapRecord {
    /// What to do with it.
    pub wanted: HeapRecordUse,
    /// Memory shared by the two runs, zero before the first. 64 Ki words and three for each allocation; allocations
    /// that do not fit are not kept.
    pub words: &'static [AtomicU64],
}

/// What a world does with a [`HeapRecord`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeapRecordUse {
    /// Note what programs are given. Changes nothing in the run.
    Keep,
    /// Give each request that stands in the record what it was given then.
    Follow,
}

/// How many words of a [`HeapRecord`] have been written, from its beginning.
pub fn heap_record_words(words: &[AtomicU64]) -> usize {
    crate::carrier::heap::follow::used_words(words)
}

/// Receives what a world lets out. Called on the carrier, never on a simulated thread; it must not draw on the world.
pub trait Sink {
    /// A program wrote to its console.
    fn console(&mut self, output: Console<'_>);
    /// Something happened to a host or the network that a reader of the log wants to see (started, crashed, cut off…).
    fn note(&mut self, at: Position, host: &str, text: &str);
    /// One event of the stream; only with [`Config::record`].
    fn event(&mut self, event: &EventLine<'_>);
    /// Called now and then (at least every 10,000 events) so that a watcher can tell progress from an endless loop.
    fn progress(&mut self, at: Position, host: &str, thread: &str);
    /// A thread's stack, for a stuck or killed world.
    fn stack(&mut self, stack: &ThreadStack<'_>);
    /// The process is about to end without an [`Ending`] (a fault inside the kernel, the watcher's signal): keep this.
    fn fatal(&mut self, at: Position, text: &str);
}

/// A moment of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Number of the last event.
    pub event: u64,
    /// Virtual time since the world's beginning, in nanoseconds.
    pub now_ns: u64,
}

/// A program's output.
#[derive(Debug)]
pub struct Console<'a> {
    /// When it was written.
    pub at: Position,
    /// The host's name.
    pub host: &'a str,
    /// 1 is standard output, 2 standard error.
    pub stream: u8,
    /// As written: not necessarily whole lines, nor UTF-8.
    pub bytes: &'a [u8],
}

/// An event, for people and for comparison: equal lines mean equal events.
#[derive(Debug)]
pub struct EventLine<'a> {
    /// Its number and time.
    pub at: Position,
    /// Host and thread it belongs to, or empty.
    pub host: &'a str,
    /// Simulated thread id on that host, 0 for none.
    pub tid: u32,
    /// What happened: a call's name, `timer`, `deliver`…
    pub what: &'a str,
    /// The event's values.
    pub detail: &'a str,
}

/// Where a simulated thread stands; or, when `host` is [`KERNEL`], the simulated kernel itself.
#[derive(Debug)]
pub struct ThreadStack<'a> {
    /// Host and thread names.
    pub host: &'a str,
    /// Name given with `pthread_setname_np`, or empty.
    pub thread: &'a str,
    /// Simulated thread id.
    pub tid: u32,
    /// What it waits for, in words: `epoll_wait`, `futex 0x…`, `sleep until …`.
    pub waits_for: &'a str,
    /// Return addresses, innermost first. Those inside the executable (any image) are given as offsets from its load
    /// base, with bit 63 set; others as they are.
    pub frames: &'a [u64],
}

/// Stands for the host in a [`ThreadStack`] of the simulated kernel's own, which is reported when it is asked where it
/// stands and will not go on.
pub const KERNEL: &str = "the simulated kernel";

/// How a world ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The function given to [`run`] returned, or [`crate::control::finish`] was called.
    Finished,
    /// The virtual clock reached [`Config::virtual_timeout`].
    VirtualTimeout,
    /// Nobody can ever run again. Stacks went to [`Sink::stack`].
    Deadlock,
    /// Events go on, but no program makes progress (a spin on the clock, threads that only yield).
    Livelock,
    /// A program called what is not simulated.
    Refused {
        /// Host of the caller.
        host: String,
        /// The call.
        call: String,
        /// What to do instead.
        remedy: String,
    },
    /// A host ended although its policy says that it must not.
    HostFailed {
        /// The host's name.
        host: String,
        /// How it ended.
        exit: Exit,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Returned from `main` or called `exit` with this code.
    Code(i32),
    /// Killed by this signal (6 after `abort`, 11 after a segmentation fault or stack overflow).
    Signal(i32),
}

/// The end of a world.
#[derive(Debug)]
pub struct Ending {
    /// How it ended.
    pub outcome: Outcome,
    /// Hash of the event stream: equal digests mean equal runs.
    pub digest: u128,
    /// When it ended.
    pub at: Position,
    /// Threads created over the world's life.
    pub threads: u64,
    /// What has become of the weather that the world ended in, if it did.
    pub weather: Option<WeatherReport>,
}

/// What to do when a host's program ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExit {
    /// The case fails. The default: a service that ends is a service that is down.
    #[default]
    Fail,
    /// It is started again, after this long.
    Restart {
        /// Delay before the first restart; doubled each time up to 64 times.
        backoff: Duration,
    },
    /// Nothing: the host stays down.
    Ignore,
}

/// How long after a program's so-manieth end by itself it is started again: doubled each time, up to 64 times.
#[must_use]
pub fn restart_delay(backoff: Duration, ends: u32) -> Duration {
    backoff.saturating_mul(1 << ends.saturating_sub(1).min(6))
}

/// A program for a host. Its functions are named in the original image and run in the host's own.
#[derive(Clone)]
pub struct Program {
    /// Runs on the host's main thread, in the host's image. Gets `user` (translated into the image when it is an
    /// address of the executable) and `payload`; what it returns is the exit code.
    pub entry: unsafe fn(user: usize, payload: &[u8]) -> i32,
    /// A function pointer or other value for `entry`.
    pub user: usize,
    /// Bytes for `entry` (serialised arguments).
    pub payload: Vec<u8>,
    /// `argv`, the program's name first.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// What happens when it ends by itself.
    pub on_exit: OnExit,
}

/// A host's condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostState {
    /// Never started, crashed, killed or ended.
    Down(Option<Exit>),
    /// Its program runs.
    Up,
    /// Its program is suspended.
    Paused,
}

/// A host of the running world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub u32);

/// A cut or slowed set of links, until it is healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FaultId(pub u64);

/// Runs a world until it ends. Must be called on the only kernel thread of the process, once per process.
///
/// `main` runs on host `test`, in the original image; the world ends when it returns.
pub fn run(config: Config, main: Box<dyn FnOnce()>) -> Ending {
    crate::abi::entry::run(config, main)
}

/// The addresses of the host of this number: the same in every world, so that others can give theirs the same.
#[must_use]
pub fn addresses(host: HostId) -> (Ipv4Addr, Ipv6Addr) {
    let number = host.0 + 1;
    // 10.0.0.0/16; 10.0.255.x is the network's own (name server, broadcast), so long worlds go on at 10.1.0.0.
    let v4 = Ipv4Addr::from(0x0a00_0000 + if number < 0xff00 { number } else { number + 0x100 });
    (v4, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number as u16))
}

/// The stream of random numbers that [`control::random_u64`](crate::control::random_u64) draws from in a world of this
/// seed, for those who want the same numbers in another world.
#[must_use]
pub fn random_stream(seed: u64, purpose: &str) -> rand_chacha::ChaCha8Rng {
    crate::kernel::random_stream(seed, purpose)
}

/// Copies what hosts have written to their disks to a real directory, one below it for each host that has any: as
/// programs saw it when the world ended. Called after [`run`], in the same process. Permissions are not kept, so that
/// whoever looks can.
///
/// # Errors
/// Of writing the real files.
pub fn copy_disks(to: &Path) -> io::Result<()> {
    for (host, path, content) in crate::abi::entry::disk_entries() {
        let place = to.join(host).join(path.strip_prefix("/").unwrap_or(&path));
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match content {
            DiskEntry::Directory => std::fs::create_dir_all(&place)?,
            DiskEntry::File(bytes) => std::fs::write(&place, bytes)?,
            DiskEntry::Link(target) => std::os::unix::fs::symlink(target, &place)?,
        }
    }
    Ok(())
}

/// Something on a disk.
pub(crate) enum DiskEntry {
    Directory,
    File(Vec<u8>),
    Link(PathBuf),
}
