//! The wall clock of a process that is none of ours.

use super::fault::{self, ClockFault, Face, Reads, Shown, lock, now_ns};
use super::lease::Renewing;
use super::motion::{Change, Clocks};
use super::stub::{Stub, Undo, plan};
use super::vdso::lacking;
use crate::Target;
use crate::error::{Error, Result};
use crate::target::Process;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Writes down what is about to be done to a process, so that it lasts; an error keeps it from being done.
pub type Journal = Box<dyn FnMut(&Undo) -> Result<()> + Send>;

/// The wall clock of a process that is none of ours: `CLOCK_REALTIME`, gettimeofday(2), time(2), by whatever runtime
/// and in whatever language, if it asks through the vDSO.
///
/// The process is not touched before the first fault. A fault lives on a lease, which is renewed for as long as this
/// lives: should this process be killed, stopped or starved, the clock puts itself right. Children that it forks
/// meanwhile have the same wrong clock until the lease runs out; what it executes has none.
///
/// `CLOCK_MONOTONIC` stays right, so a drift is one of the wall clock only: the kernel times whoever waits, and would
/// not know. Not changed either: who waits for a time of day, raw system calls, `CLOCK_TAI`, timestamps of files.
pub struct ForeignClock {
    shown: Arc<Mutex<Shown<Led>>>,
    renewing: Option<Renewing>,
}

impl ForeignClock {
    /// Takes a process as a target. Nothing is done to it yet.
    ///
    /// `lease` is for how long its clock may go on being wrong without us. `journal` is told what is about to be done
    /// before it is, each time that the process is changed anew.
    ///
    /// # Errors
    /// It is no process, or has ended; or it cannot be struck, and why.
    pub fn of(target: &Target, lease: Duration, journal: Journal) -> Result<Self> {
        let process = target.process().ok_or_else(|| lacking("a single process: a clock is one process's"))?;
        plan(process.pid)?;
        let face = Led { process: process.clone(), lease, journal, stub: None, reads: 0 };
        let shown = Arc::new(Mutex::new(Shown { clocks: Clocks::default(), face }));
        let renewing = Renewing::of(&shown, move |Shown { clocks, face }: &mut Shown<Led>| {
            if face.stub.is_some() {
                // A process that has ended needs none, and what else goes wrong `read_back` finds.
                let _renewed = face.show(clocks);
            }
            lease / 3
        })?;
        Ok(Self { shown, renewing: Some(renewing) })
    }

    /// Sets the wall clock off by so many nanoseconds, 200 years at most; positive when ahead. At once, or `slewed` at
    /// 500 ppm, there and back: then it is a while until the process is as it was.
    ///
    /// # Errors
    /// It is too much, or the process cannot be changed.
    pub fn skew(&self, by_ns: i64, slewed: bool) -> Result<ClockFault> {
        fault::skew(&self.shown, by_ns, slewed)
    }

    /// Makes the wall clock run faster by so many parts in a million, or slower. When that ends, it is put right at
    /// once if `stepped`, or else at 500 ppm.
    ///
    /// # Errors
    /// It is more than 500,000 ppm, or the process cannot be changed.
    pub fn drift(&self, ppm: i64, stepped: bool) -> Result<ClockFault> {
        fault::drift(&self.shown, ppm, stepped)
    }

    /// When the process last read its wall clock while that was wrong: `CLOCK_MONOTONIC`. `None` if it never did, or
    /// its clock is right.
    pub fn last_read(&self) -> Option<Duration> {
        let shown = lock(&self.shown);
        let at = shown.face.stub.as_ref()?.read_at().ok()?;
        (at != 0).then(|| Duration::from_nanos(at))
    }

    /// Ends all faults at once, slewed or not, and leaves the process as it was found.
    ///
    /// # Errors
    /// It is not as it was found.
    pub fn release(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(renewing) = self.renewing.take() else { return Ok(()) };
        renewing.end();
        let mut shown = lock(&self.shown);
        shown.clocks = Clocks::default();
        shown.face.remove()
    }
}

impl Drop for ForeignClock {
    fn drop(&mut self) {
        // Nobody to tell.
        let _released = self.end();
    }
}

struct Led {
    process: Process,
    lease: Duration,
    journal: Journal,
    stub: Option<Stub>,
    /// Of stubs that have been taken away.
    reads: u64,
}

impl Led {
    /// Fails if the process has ended, and its number may be another's.
    fn check_alive(&self) -> Result<()> {
        if self.process.is_alive() { Ok(()) } else { Err(Error::gone("change another process's clock")) }
    }

    /// When a lease runs out that begins now.
    fn until_ns(&self) -> i64 {
        now_ns().saturating_add(i64::try_from(self.lease.as_nanos()).unwrap_or(i64::MAX))
    }

    fn remove(&mut self) -> Result<()> {
        let Some(stub) = self.stub.take() else { return Ok(()) };
        self.reads += stub.reads().unwrap_or(0);
        match self.check_alive().and_then(|()| stub.remove()) {
            Ok(()) => Ok(()),
            Err(Error { kind: crate::error::ErrorKind::TargetGone, .. }) => Ok(()),
            Err(error) => {
                self.stub = Some(stub);
                Err(error)
            }
        }
    }
}

impl Face for Led {
    fn mechanism(&self) -> &'static str {
        "code in the process's vDSO, on a lease"
    }

    fn tell(&mut self, _clocks: &Clocks, _change: &Change) -> Result<i64> {
        self.check_alive()?;
        Ok(now_ns())
    }

    fn show(&mut self, clocks: &Clocks) -> Result<()> {
        let now = now_ns();
        if clocks.wall.is_right_from(now) {
            return self.remove();
        }
        self.check_alive()?;
        if self.stub.is_none() {
            let undo = plan(self.process.pid)?;
            self.check_alive()?;
            (self.journal)(&undo)?;
            self.stub = Some(Stub::install(undo, clocks, self.until_ns())?);
        }
        // Anew if it has been installed just now: a process with many threads takes its time to be stopped.
        let until_ns = self.until_ns();
        self.stub.as_ref().map_or(Ok(()), |stub| stub.say(clocks, until_ns))
    }

    fn check(&mut self, clocks: &Clocks) -> Result<()> {
        self.check_alive()?;
        match &self.stub {
            Some(stub) => stub.check(clocks, now_ns()),
            None if clocks.wall.is_right_from(now_ns()) => Ok(()),
            None => Err(Error::unlike("read a process's clock back", "one that is wrong", "a right one")),
        }
    }

    /// Only the wall clock is ours.
    fn reads(&mut self) -> Result<Reads> {
        let now = self.stub.as_ref().map_or(Ok(0), Stub::reads)?;
        Ok(Reads { wall: self.reads + now, drifting: self.reads + now })
    }
}
