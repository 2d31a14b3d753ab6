//! The wall clocks of all processes of a program, or of a container, that is none of ours.

use super::fault::{self, ClockFault, Face, Reads, Shown, now_ns};
use super::lease::Renewing;
use super::motion::{Change, Clocks};
use super::stub::{Inherited, Stub, Undo, plan};
use super::vdso::Image;
use crate::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, Journal};
use crate::lock::lock;
use crate::process::proc;
use crate::step::reached;
use crate::target::Process;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked for processes that have come while clocks are wrong.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// At most so much of the time is spent on that: on a machine with many processes each look takes longer.
const LOOK_SHARE: u32 = 20;
/// When it is tried again to strike a process that could not be stopped: one that waits for a disk cannot.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long that may go on.
const LATE_MAX: Duration = Duration::from_secs(10);
/// How often it is tried to leave a process meanwhile. Its clock is right by then.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// The wall clocks of a target that is none of ours, of each of its processes and of whoever comes to it while a fault
/// is in force: `CLOCK_REALTIME`, gettimeofday(2), time(2), by whatever runtime and in whatever language, if it asks
/// through the vDSO.
///
/// | whose clock | when it is wrong |
/// | --- | --- |
/// | processes that are there when a fault begins | when it is in force |
/// | what they fork meanwhile | from the first |
/// | what they execute meanwhile, and who joins a cgroup or a namespace | once it has been noticed: 50 ms, on a machine with thousands of processes longer |
/// | who descends from a process, but by one that had ended before anybody noticed | never |
///
/// Faults do not end with processes: [follow](Self::follow) another target, such as a program that was started again,
/// and its clocks are as wrong. Nothing is done before the first fault, and nothing is left after the last.
///
/// A fault lives on a lease, which is renewed for as long as this lives: should this process be killed, stopped or
/// starved, clocks put themselves right. The [journal] says what is left in processes then. Whoever is being changed
/// stands still for a millisecond or so; should this process be stopped within that, for as long as it is.
///
/// `CLOCK_MONOTONIC` stays right, so a drift is one of the wall clock only: the kernel times whoever waits, and would
/// not know. Not changed either: who waits for a time of day, raw system calls, `CLOCK_TAI`, timestamps of files.
pub struct ForeignClocks {
    shown: Arc<Mutex<Shown<Crowd>>>,
    renewing: Option<Renewing>,
}

impl ForeignClocks {
    /// Clocks of nobody yet, which are right. `lease` is for how long they may go on being wrong without us.
    ///
    /// # Errors
    /// There is no thread for the lease.
    pub fn new(journal: &Journal, lease: Duration) -> Result<Self> {
        let face = Crowd {
            target: None,
            lease,
            journal: journal.clone(),
            members: BTreeMap::new(),
            known: Vec::new(),
            late: BTreeMap::new(),
            reads: 0,
        };
        let shown = Arc::new(Mutex::new(Shown { clocks: Clocks::default(), face }));
        let renewing = Renewing::of(&shown, |Shown { clocks, face }: &mut Shown<Crowd>| {
            let began = Instant::now();
            // What goes wrong `read_back` finds.
            let _looked = face.look(clocks);
            LOOK_INTERVAL.max(began.elapsed() * LOOK_SHARE).min(face.lease / 3)
        })?;
        Ok(Self { shown, renewing: Some(renewing) })
    }

    /// Takes a target in the place of the last one: from now on its processes have these clocks.
    ///
    /// # Errors
    /// Clocks are wrong, and one of its processes cannot be struck.
    pub fn follow(&self, target: &Target) -> Result<()> {
        let Shown { clocks, face } = &mut *lock(&self.shown);
        face.target = Some(target.clone());
        face.look(clocks)
    }

    /// Whether whoever is there has a wrong clock, or whoever comes.
    pub fn are_wrong(&self) -> bool {
        !lock(&self.shown).clocks.wall.is_right_from(now_ns())
    }

    /// Sets the wall clocks off by so many nanoseconds, 200 years at most; positive when ahead. At once, or `slewed` at
    /// 500 ppm, there and back: then it is a while until the processes are as they were.
    ///
    /// # Errors
    /// It is too much, or a process cannot be changed.
    pub fn skew(&self, by_ns: i64, slewed: bool) -> Result<ClockFault> {
        fault::skew(&self.shown, by_ns, slewed)
    }

    /// Makes the wall clocks run faster by so many parts in a million, or slower. When that ends, they are put right at
    /// once if `stepped`, or else at 500 ppm.
    ///
    /// # Errors
    /// It is more than 500,000 ppm, or a process cannot be changed.
    pub fn drift(&self, ppm: i64, stepped: bool) -> Result<ClockFault> {
        fault::drift(&self.shown, ppm, stepped)
    }

    /// When one of the processes last read its wall clock while that was wrong: `CLOCK_MONOTONIC`. `None` if none of
    /// those that still run ever did, or clocks are right.
    pub fn last_read(&self) -> Option<Duration> {
        let shown = lock(&self.shown);
        let read = shown.face.members.values().filter_map(|member| member.stub.read_at().ok());
        read.filter(|at| *at != 0).max().map(Duration::from_nanos)
    }

    /// Ends all faults at once, slewed or not, and leaves all processes as they were found.
    ///
    /// # Errors
    /// One of them is not as it was found.
    pub fn release(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(renewing) = self.renewing.take() else { return Ok(()) };
        renewing.end();
        let Shown { clocks, face } = &mut *lock(&self.shown);
        *clocks = Clocks::default();
        face.leave(clocks)
    }
}

impl Drop for ForeignClocks {
    fn drop(&mut self) {
        // Nobody to tell.
        let _released = self.end();
    }
}

/// A process that has a stub.
struct Member {
    process: Process,
    image: Image,
    stub: Stub,
    /// Undone when it is dropped.
    made: journal::Change,
    renewed: Instant,
    /// Reads that the process did not make itself, but its parent.
    inherited_reads: u64,
    /// Its own, when they were last asked for.
    reads: u64,
}

impl Member {
    /// Whether it has ended, or executes another program by now.
    fn is_over(&self) -> bool {
        // Nobody can tell while it is about to execute one.
        !self.process.is_alive() || Image::of(self.process.pid).is_ok_and(|image| image != Some(self.image))
    }

    fn count(&mut self) -> u64 {
        // Of one that has ended what was last known stands.
        if let Ok(reads) = self.stub.reads() {
            self.reads = reads.saturating_sub(self.inherited_reads);
        }
        self.reads
    }
}

/// A stub that a process has now.
struct Taken {
    stub: Stub,
    made: journal::Change,
    inherited_reads: u64,
}

/// Since when a process cannot be stopped, and when it is tried again.
struct Late {
    since: Instant,
    again: Instant,
}

struct Crowd {
    target: Option<Target>,
    lease: Duration,
    journal: Journal,
    /// By number.
    members: BTreeMap<u32, Member>,
    /// What was put into which program: what is forked from one has it too.
    known: Vec<(Image, Undo)>,
    late: BTreeMap<u32, Late>,
    /// Of those who are no members any more.
    reads: u64,
}

impl Crowd {
    /// When a lease runs out that begins now.
    fn until_ns(&self) -> i64 {
        now_ns().saturating_add(i64::try_from(self.lease.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Who there is and is no member.
    fn strangers(&self) -> Result<Vec<u32>> {
        let mut pids = self.target.as_ref().map_or(Ok(Vec::new()), Target::processes)?;
        // What a member has forked belongs here, also when it is the target's no more.
        pids.extend(proc::trees(self.members.keys().copied().collect()));
        pids.sort_unstable();
        pids.dedup();
        pids.retain(|pid| !self.members.contains_key(pid));
        Ok(pids)
    }

    /// Forgets those who have ended, or execute another program: that may be struck anew.
    fn forget(&mut self) {
        let over: Vec<u32> = self.members.iter().filter(|(_, member)| member.is_over()).map(|(pid, _)| *pid).collect();
        for mut member in over.iter().filter_map(|pid| self.members.remove(pid)) {
            self.reads += member.reads;
            // There is nothing left to undo, which ends what was written down.
            let _gone = member.made.undo();
        }
        let living: Vec<u32> = self.late.keys().copied().filter(|pid| Process::open(*pid).is_ok()).collect();
        self.late.retain(|pid, _| living.contains(pid));
    }

    /// Sees who is there, and to it that all have these clocks.
    fn gather(&mut self, clocks: &Clocks) -> Result<()> {
        self.forget();
        for pid in self.strangers()? {
            if self.late.get(&pid).is_none_or(|late| late.again <= Instant::now()) {
                self.strike(pid, |crowd, process, image| crowd.change(process, image, clocks))?;
            }
        }
        Ok(())
    }

    /// Makes a process a member, unless it ends or executes another program meanwhile.
    fn strike(
        &mut self,
        pid: u32,
        change: impl FnOnce(&mut Self, &Process, Image) -> Result<Option<Taken>>,
    ) -> Result<()> {
        let Ok(process) = Process::open(pid) else { return Ok(()) };
        let image = match Image::of(pid) {
            Ok(Some(image)) => image,
            Err(error) if process.is_alive() && !matches!(error.kind, ErrorKind::TargetGone) => return Err(error),
            Ok(None) | Err(_) => return Ok(()),
        };
        match change(self, &process, image) {
            Ok(None) => Ok(()),
            Ok(Some(Taken { stub, made, inherited_reads })) => {
                self.late.remove(&pid);
                let renewed = Instant::now();
                self.members.insert(pid, Member { process, image, stub, made, renewed, inherited_reads, reads: 0 });
                reached("a process's clock is among those that are wrong");
                Ok(())
            }
            Err(_) if !process.is_alive() || Image::of(pid).is_ok_and(|now| now != Some(image)) => Ok(()),
            Err(Error { kind: ErrorKind::Os(error), .. }) if error.kind() == io::ErrorKind::TimedOut => {
                let again = Instant::now() + AGAIN_AFTER;
                self.late.entry(pid).or_insert(Late { since: Instant::now(), again }).again = again;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Changes a process's clock.
    fn change(&mut self, process: &Process, image: Image, clocks: &Clocks) -> Result<Option<Taken>> {
        if let Some(taken) = self.take_over(process, image)? {
            taken.stub.say(clocks, self.until_ns())?;
            return Ok(Some(taken));
        }
        let undo = plan(process.pid)?;
        // Before it is done, since it may be done half, or the process may fork meanwhile.
        self.known.push((image, undo.clone()));
        let until_ns = self.until_ns();
        let (stub, made) = self.journal.change(written_down(process, &undo)?, || {
            let stub = Stub::install(undo, clocks, until_ns)?;
            // Anew: a process with many threads takes its time to be stopped.
            stub.say(clocks, self.until_ns())?;
            Ok(stub)
        })?;
        Ok(Some(Taken { stub, made, inherited_reads: 0 }))
    }

    /// Takes over what a process has inherited. What it has half is taken away from it.
    fn take_over(&mut self, process: &Process, image: Image) -> Result<Option<Taken>> {
        for (_, known) in self.known.iter().filter(|(of, _)| *of == image) {
            let inherited = known.inherited_by(process.pid);
            if inherited == Inherited::Nothing {
                continue;
            }
            let undo = known.for_fork(process.pid)?;
            let (stub, mut made) = self.journal.change(written_down(process, &undo)?, || Ok(Stub::inherited(undo)))?;
            if inherited == Inherited::Whole {
                let inherited_reads = stub.reads()?;
                return Ok(Some(Taken { stub, made, inherited_reads }));
            }
            made.undo()?;
        }
        Ok(None)
    }

    /// What has to be done now and then: renew leases, look who is there.
    fn look(&mut self, clocks: &Clocks) -> Result<()> {
        if clocks.wall.is_right_from(now_ns()) {
            return if self.members.is_empty() { Ok(()) } else { self.leave(clocks) };
        }
        self.gather(clocks)?;
        let due = self.lease / 3;
        self.say(clocks, |member| member.renewed.elapsed() >= due)
    }

    /// Tells members what their clocks show, for as long as a lease. The first error is told when all have been tried.
    fn say(&mut self, clocks: &Clocks, is_due: impl Fn(&Member) -> bool) -> Result<()> {
        let until_ns = self.until_ns();
        let mut said = Ok(());
        for member in self.members.values_mut() {
            member.count();
            if !is_due(member) {
                continue;
            }
            match member.stub.say(clocks, until_ns) {
                Err(error) if !member.is_over() => said = said.and(Err(error)),
                // It is forgotten at the next look.
                Ok(()) | Err(_) => member.renewed = Instant::now(),
            }
        }
        said
    }

    /// Takes everything away. Clocks are right at once; who cannot be stopped to be left is waited for.
    fn leave(&mut self, clocks: &Clocks) -> Result<()> {
        let began = Instant::now();
        loop {
            self.forget();
            self.late.clear();
            for pid in self.strangers()? {
                self.strike(pid, Self::take_over)?;
            }
            if self.members.is_empty() && self.late.is_empty() {
                self.known.clear();
                reached("processes' clocks are as they were found");
                return Ok(());
            }
            // Who cannot be told any more has been left by somebody else: undoing sees that.
            let _told = self.say(clocks, |_| true);
            reached("processes' clocks are right, and code is left in them");
            let mut failed = self.late.keys().next().map(|pid| cannot_stop(*pid));
            for (pid, mut member) in std::mem::take(&mut self.members) {
                match member.made.undo() {
                    Ok(_) => self.reads += member.reads,
                    Err(error) => {
                        failed = Some(error);
                        self.members.insert(pid, member);
                    }
                }
            }
            // Once more, for what was forked meanwhile.
            match failed {
                Some(error) if began.elapsed() >= LATE_MAX => return Err(error),
                Some(_) => thread::sleep(BETWEEN_TRIES),
                None => {}
            }
        }
    }
}

fn cannot_stop(pid: u32) -> Error {
    Error::os(format!("stop process {pid} to change its clock"), io::Error::from(io::ErrorKind::TimedOut))
}

fn written_down(process: &Process, undo: &Undo) -> Result<journal::Undo> {
    Ok(journal::Undo::Clock { process: process.identity()?, stub: undo.clone() })
}

impl Face for Crowd {
    fn mechanism(&self) -> &'static str {
        "code in the processes' vDSO, on a lease"
    }

    fn tell(&mut self, _clocks: &Clocks, _change: &Change) -> Result<i64> {
        Ok(now_ns())
    }

    fn show(&mut self, clocks: &Clocks) -> Result<()> {
        reached("processes are to be shown other clocks");
        if clocks.wall.is_right_from(now_ns()) {
            return self.leave(clocks);
        }
        let began = Instant::now();
        self.gather(clocks)?;
        // It is not in force before all of them have it.
        while let Some(pid) = self.late.keys().next() {
            if began.elapsed() >= LATE_MAX {
                return Err(cannot_stop(*pid));
            }
            thread::sleep(BETWEEN_TRIES);
            self.gather(clocks)?;
        }
        self.say(clocks, |_| true)?;
        reached("processes are shown other clocks");
        Ok(())
    }

    fn check(&mut self, clocks: &Clocks) -> Result<()> {
        const WHAT: &str = "read the clocks of other processes back";
        let now = now_ns();
        if clocks.wall.is_right_from(now) {
            return match self.members.keys().next() {
                None => Ok(()),
                Some(pid) => Err(Error::unlike(WHAT, "right ones", format!("that of process {pid}"))),
            };
        }
        self.gather(clocks)?;
        if let Some((pid, late)) = self.late.iter().find(|(_, late)| late.since.elapsed() >= LATE_MAX) {
            let found = format!("that process {pid} could not be stopped for {:?}", late.since.elapsed());
            return Err(Error::unlike(WHAT, "all of them wrong", found));
        }
        if self.members.is_empty() && self.late.is_empty() {
            return Err(Error::gone(WHAT));
        }
        for member in self.members.values() {
            match member.stub.check(clocks, now) {
                Err(error) if !member.is_over() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Only wall clocks are ours.
    fn reads(&mut self) -> Result<Reads> {
        let of_members: u64 = self.members.values_mut().map(Member::count).sum();
        let reads = self.reads + of_members;
        Ok(Reads { wall: reads, drifting: reads })
    }
}
