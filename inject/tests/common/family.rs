//! Processes that are forked from one another, whose clocks are struck from outside.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use crate::victim::Picture;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::time::{Duration, SystemTime};
use windtunnel_inject::Target;
use windtunnel_inject::clock::ForeignClocks;
use windtunnel_inject::error::ErrorKind;
use windtunnel_inject::journal::Journal;
use windtunnel_inject::sys::{Forked, end_now, fork, wait};
use windtunnel_inject::target::Process;

pub const SECOND: i64 = 1_000_000_000;
/// How far apart two readings of the same clock may be taken.
pub const APART: i64 = SECOND / 2;
/// Most processes of a family.
const MEMBERS: usize = 3;

/// Whether a process of this user's can be struck at all: if not, the test is skipped with the reason.
pub fn is_possible() -> bool {
    let family = Family::start();
    let clocks = ForeignClocks::new(&Journal::of_world().expect("a journal"), Duration::from_secs(1)).expect("clocks");
    clocks.follow(&family.target()).expect("nothing is done yet");
    let Err(error) = clocks.skew(SECOND, false) else { return true };
    assert!(matches!(error.kind, ErrorKind::Lacking { .. }), "{error}");
    assert!(std::env::var_os("CHAOS_REQUIRE").is_none(), "required, and not possible here: {error}");
    eprintln!("skipped: {error}");
    false
}

pub fn now_ns() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as i64
}

/// Processes that are forked from one another, and tell the time when they are asked.
pub struct Family {
    pub pids: Vec<u32>,
    asks: Vec<PipeWriter>,
    answers: Vec<PipeReader>,
}

impl Family {
    /// Starts the first one.
    pub fn start() -> Self {
        let (questions, asks): (Vec<_>, Vec<_>) = (0..MEMBERS).map(|_| pipe().expect("a pipe")).unzip();
        let (answers, tells): (Vec<_>, Vec<_>) = (0..MEMBERS).map(|_| pipe().expect("a pipe")).unzip();
        match fork().expect("a process") {
            Forked::Child => {
                drop((asks, answers));
                serve(0, &questions, &tells)
            }
            Forked::Parent(pid) => Self { pids: vec![pid], asks, answers },
        }
    }

    pub fn target(&self) -> Target {
        Target::Process(Process::open(self.pids[0]).expect("a child"))
    }

    pub fn ask(&mut self, member: usize, question: u8) -> i64 {
        self.asks[member].write_all(&[question]).expect("it lives");
        let mut answer = [0; 8];
        self.answers[member].read_exact(&mut answer).expect("it answers");
        i64::from_ne_bytes(answer)
    }

    /// Has the first one fork the next.
    pub fn grow(&mut self) {
        let next = self.pids.len();
        let pid = self.ask(0, b'0' + next as u8);
        self.pids.push(u32::try_from(pid).expect("a process id"));
    }

    /// How far its wall clock is ahead of ours, in nanoseconds.
    pub fn ahead_ns(&mut self, member: usize) -> i64 {
        let before = now_ns();
        self.ask(member, b't') - before
    }

    #[track_caller]
    pub fn assert_all_ahead(&mut self, wanted: i64) {
        for member in 0..self.pids.len() {
            let found = self.ahead_ns(member);
            assert!((found - wanted).abs() <= APART, "{member}: {found} is not {wanted}");
        }
    }

    pub fn pictures(&self) -> Vec<Picture> {
        self.pids.iter().map(|pid| Picture::of(*pid)).collect()
    }

    #[track_caller]
    pub fn assert_as_they_were(&self, before: &[Picture]) {
        for (before, now) in before.iter().zip(&self.pictures()) {
            let differs = before.differs(now);
            assert!(differs.is_empty(), "{differs:#?}");
        }
    }
}

/// What a member does. The next one is killed with it.
fn serve(member: usize, questions: &[PipeReader], tells: &[PipeWriter]) -> ! {
    let mut question = [0];
    while (&questions[member]).read_exact(&mut question).is_ok() {
        let answer = match question[0] {
            b't' => now_ns(),
            next => match fork().expect("a process") {
                Forked::Child => serve(usize::from(next - b'0'), questions, tells),
                Forked::Parent(pid) => i64::from(pid),
            },
        };
        if (&tells[member]).write_all(&answer.to_ne_bytes()).is_err() {
            break;
        }
    }
    end_now(0)
}

impl Drop for Family {
    fn drop(&mut self) {
        let first = Process::open(self.pids[0]);
        let _ended = first.and_then(|first| first.kill());
        let _ended = wait(self.pids[0]);
    }
}
