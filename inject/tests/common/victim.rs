//! A process whose clock is struck: this test's binary, executed again, which tells the time when it is asked.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use std::env;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use windtunnel_inject::Target;
use windtunnel_inject::sys::read_memory;
use windtunnel_inject::target::Process;

const VICTIM: &str = "CLOCK_VICTIM";

/// What the victim does: it is executed as the test of the name `victim`, which has nothing else to do than call this.
pub fn be_one() {
    let Ok(busy) = env::var(VICTIM) else { return };
    let over = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let threads: u64 = busy.parse().expect("a number of threads");
    for _ in 0..threads {
        let (over, reads) = (over.clone(), reads.clone());
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                assert!(SystemTime::UNIX_EPOCH.elapsed().is_ok(), "it is after 1970");
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while reads.load(Ordering::Relaxed) < threads {
        thread::yield_now();
    }
    for line in stdin().lines() {
        let answer = match line.expect("a line").as_str() {
            "sleep" => {
                let began = Instant::now();
                thread::sleep(Duration::from_millis(300));
                began.elapsed().as_nanos()
            }
            "reads" => u128::from(reads.load(Ordering::Relaxed)),
            _ => SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos(),
        };
        // libtest writes lines of its own.
        println!("\n@{answer}");
        stdout().flush().expect("a pipe");
    }
    over.store(true, Ordering::Relaxed);
}

/// What a victim looks like from outside.
#[derive(PartialEq, Eq)]
pub struct Picture {
    vdso: Vec<u64>,
    pages: Vec<String>,
}

impl Picture {
    /// Of this process.
    pub fn of(pid: u32) -> Picture {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("its mappings");
        let vdso = maps.lines().find(|line| line.ends_with("[vdso]")).expect("a vDSO");
        let (from, to) = vdso.split_once(' ').and_then(|(range, _)| range.split_once('-')).expect("a range");
        let number = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
        let mut bytes = vec![0; (number(to) - number(from)) as usize];
        let count = read_memory(pid, number(from), &mut bytes).expect("its memory");
        assert_eq!(count, bytes.len());
        // Its own heaps and stacks come as they like, and are larger.
        let is_page = |line: &&str| {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-')).expect("a range");
            number(range.1) - number(range.0) == 4096 && line.contains(" rw-p ")
        };
        let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        Picture { vdso: words.collect(), pages: maps.lines().filter(is_page).map(str::to_owned).collect() }
    }

    /// Whether another process's vDSO is the same: that of every process is the kernel's.
    pub fn has_vdso_of(&self, other: &Picture) -> bool {
        self.vdso == other.vdso
    }

    /// In what another one differs.
    pub fn differs(&self, other: &Picture) -> Vec<String> {
        let words = self.vdso.iter().zip(&other.vdso).enumerate().filter(|(_, (before, after))| before != after);
        let words = words.map(|(at, (before, after))| format!("vDSO+{:#x}: {before:016x} {after:016x}", at * 8));
        let gone = self.pages.iter().filter(|line| !other.pages.contains(line)).map(|line| format!("-{line}"));
        let new = other.pages.iter().filter(|line| !self.pages.contains(line)).map(|line| format!("+{line}"));
        words.chain(gone).chain(new).collect()
    }
}

/// A victim that runs. It ends with this.
pub struct Victim {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Victim {
    /// Starts this test's binary, with so many threads that do nothing but read the clock.
    pub fn start(busy_threads: usize) -> Victim {
        let mut command = Command::new(env::current_exe().expect("this binary"));
        command.args(["--exact", "victim", "--nocapture"]).env(VICTIM, busy_threads.to_string());
        Victim::run(command)
    }

    /// Starts a program that answers each line with one that begins with `@`.
    pub fn run(mut command: Command) -> Victim {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a victim");
        let (asks, answers) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let mut victim = Victim { child, asks, answers: BufReader::new(answers) };
        victim.ask("hello"); // it is up
        victim
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn target(&self) -> Target {
        Target::Process(Process::open(self.pid()).expect("a child"))
    }

    /// Asks, and does not wait for the answer.
    pub fn send(&mut self, question: &str) {
        writeln!(self.asks, "{question}").expect("the victim lives");
    }

    pub fn answer(&mut self) -> i64 {
        let mut line = String::new();
        while !line.starts_with('@') {
            line.clear();
            assert_ne!(self.answers.read_line(&mut line).expect("a pipe"), 0, "the victim has ended");
        }
        line[1..].trim().parse().expect("a number")
    }

    pub fn ask(&mut self, question: &str) -> i64 {
        self.send(question);
        self.answer()
    }

    /// How far its wall clock is ahead of ours, in nanoseconds.
    pub fn ahead_ns(&mut self) -> i64 {
        self.ahead_at().1
    }

    /// The same, and when that was; by an answer that came soon enough to tell.
    pub fn ahead_at(&mut self) -> (Instant, i64) {
        const SOON: Duration = Duration::from_micros(200);
        let ours = || SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as i64;
        let once = |victim: &mut Victim| {
            let (began, before) = (Instant::now(), ours());
            let answer = victim.ask("time");
            let lasted = began.elapsed();
            (lasted, (began, answer - before - lasted.as_nanos() as i64 / 2))
        };
        let (mut lasted, mut found) = once(self);
        for _ in 0..500 {
            if lasted < SOON {
                break;
            }
            (lasted, found) = once(self);
        }
        found
    }

    /// Its vDSO, in words, and single pages that are mapped: what is to be as it was.
    pub fn picture(&self) -> Picture {
        Picture::of(self.pid())
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it has ended");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
