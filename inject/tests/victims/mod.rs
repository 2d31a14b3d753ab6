//! Processes for tests to strike, and where these keep their journals.

#![expect(dead_code, reason = "each test uses its own part")]

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use windtunnel_inject::journal::{Journal, Settings};
use windtunnel_inject::process::proc::Stat;
use windtunnel_inject::sys::{Forked, end_now, fork, stand_alone, wait};
use windtunnel_inject::target::Process;

/// A forked process that is killed and waited for when dropped. It also ends with the test's thread.
pub struct Victim {
    pub process: Process,
    is_over: bool,
}

impl Victim {
    /// Runs this, and then sleeps until it is killed.
    pub fn start(work: impl FnOnce()) -> Self {
        Self::start_with(&[], work)
    }

    /// As [`start`](Self::start), with these descriptors.
    pub fn start_with(keep: &[BorrowedFd<'_>], work: impl FnOnce()) -> Self {
        let (mut ours, theirs) = UnixStream::pair().expect("a stream");
        match fork().expect("a process") {
            Forked::Child => {
                stand_alone(keep);
                work();
                loop {
                    std::thread::sleep(Duration::from_secs(60));
                }
            }
            Forked::Parent(pid) => {
                // Ends when the child has closed what it does not keep.
                drop(theirs);
                let _ = ours.read(&mut [0]);
                Self { process: Process::open(pid).expect("a child"), is_over: false }
            }
        }
    }

    /// One that does nothing.
    pub fn sleeping() -> Self {
        Self::start(|| {})
    }

    /// One that is always busy, with one thread.
    pub fn busy() -> Self {
        Self::start(|| {
            loop {
                std::hint::spin_loop();
            }
        })
    }

    /// Runs this, and ends with what it returns.
    pub fn ending(work: impl FnOnce() -> i32) -> Self {
        Self::ending_with(&[], work)
    }

    /// As [`ending`](Self::ending), with these descriptors.
    pub fn ending_with(keep: &[BorrowedFd<'_>], work: impl FnOnce() -> i32) -> Self {
        // One that panics ends with 1: a test's panic goes no further than its process.
        Self::start_with(keep, || end_now(catch_unwind(AssertUnwindSafe(work)).unwrap_or(1)))
    }

    /// For a forked process that has closed what it inherited.
    pub fn again(&self) -> Process {
        Process::open(self.pid()).expect("it is there still")
    }

    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Waits for its end: its code, or 128 and the signal's number.
    pub fn end(&mut self) -> i32 {
        self.is_over = true;
        wait(self.process.pid).expect("a child").code()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.process.kill();
            let _ = wait(self.process.pid);
        }
    }
}

/// A directory that goes with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("windtunnel-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where journals are kept in it.
    pub fn journals(&self) -> PathBuf {
        self.0.join("journals")
    }

    pub fn journal(&self) -> Journal {
        let settings = Settings { directory: self.journals(), ..Settings::default() };
        Journal::open_with(settings).expect("a journal")
    }

    /// What is in the journals' directory.
    pub fn journal_names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.journals()) else { return Vec::new() };
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How long it takes until this holds; fails after `limit`.
#[track_caller]
pub fn holds_within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
    since.elapsed()
}

/// The share of one processor that a process has over this long.
pub fn processor_share(pid: u32, over: Duration) -> f64 {
    let ticks = || Stat::of(pid).expect("a process").busy_ticks;
    let (before, since) = (ticks(), Instant::now());
    std::thread::sleep(over);
    let busy = Duration::from_millis((ticks() - before) * 10); // 100 ticks a second: USER_HZ
    busy.as_secs_f64() / since.elapsed().as_secs_f64()
}

/// Waits until a busy process has had a processor again.
#[track_caller]
pub fn runs_again(process: &Process) {
    let ticks = || Stat::of(process.pid).expect("a process").busy_ticks;
    let before = ticks();
    holds_within(Duration::from_secs(10), "it runs again", || ticks() > before);
}

/// A group of its own; `None`, with the reason said, where this user may not have groups.
pub fn group(journal: &Journal, name: &str) -> Option<windtunnel_inject::cgroup::Group> {
    made(windtunnel_inject::cgroup::Group::make(journal, name))
}

/// A group that was to be made; `None`, with the reason said, where this user may not have groups.
pub fn made(
    made: windtunnel_inject::error::Result<windtunnel_inject::cgroup::Group>,
) -> Option<windtunnel_inject::cgroup::Group> {
    match made {
        Ok(group) => Some(group),
        Err(error) => {
            let is_lacking = matches!(error.kind, windtunnel_inject::error::ErrorKind::Lacking { .. });
            assert!(is_lacking, "{error}");
            eprintln!("skipped: {error}");
            let is_root = rustix::process::geteuid().is_root();
            assert!(!is_root || std::env::var_os("CHAOS_REQUIRE").is_none(), "required, and not possible here");
            None
        }
    }
}
