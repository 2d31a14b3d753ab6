//! A clock that is wrong for a while, however it is made so.

use super::motion::{Change, Clocks, Motion};
use crate::Injection;
use crate::error::{Error, Result};
use crate::lock::lock;
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Arc, Mutex};

/// 200 years; an `i64` of nanoseconds ends after 292.
const SKEW_NS_MAX: u64 = 200 * 365 * 86_400 * 1_000_000_000;
/// As the vocabulary of faults has it.
const DRIFT_PPM_MAX: i64 = 500_000;

/// How often the clocks were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reads {
    /// The wall clock, while it was wrong.
    pub(super) wall: u64,
    /// Any clock, while clocks drifted.
    pub(super) drifting: u64,
}

/// Whoever shows a process its clocks.
pub(super) trait Face: Send {
    /// How it is done.
    fn mechanism(&self) -> &'static str;
    /// Tells a change of these clocks, and answers since when it holds.
    fn tell(&mut self, clocks: &Clocks, change: &Change) -> Result<i64>;
    /// Says from now on what these clocks add.
    fn show(&mut self, clocks: &Clocks) -> Result<()>;
    /// Whether that is what it says.
    fn check(&mut self, clocks: &Clocks) -> Result<()>;
    /// How often it was looked at.
    fn reads(&mut self) -> Result<Reads>;
}

/// Clocks and who shows them, shared by the faults in force.
pub(super) struct Shown<F> {
    pub(super) clocks: Clocks,
    pub(super) face: F,
}

/// Genuine `CLOCK_MONOTONIC`, in nanoseconds.
pub(super) fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

impl<F: Face> Shown<F> {
    /// Changes the clocks, and returns when that is in force. What cannot be shown has not happened.
    fn change<T>(&mut self, change: impl Fn(&mut Clocks, i64) -> T) -> Result<T> {
        let (mut next, now) = (self.clocks.clone(), now_ns());
        change(&mut next, now);
        let since = self.face.tell(&self.clocks, &self.clocks.change_to(&next, now))?;
        next = self.clocks.clone();
        let made = change(&mut next, since);
        if let Err(error) = self.face.show(&next) {
            // Some of those who are shown clocks may have seen it. The first error says more.
            let _as_before = self.face.show(&self.clocks);
            return Err(error);
        }
        self.clocks = next;
        Ok(made)
    }
}

/// What was done, so that it can be taken back.
#[derive(Debug, Clone, Copy)]
enum Grip {
    Skew { shift: u64, motion: Motion },
    Drift { shift: u64, ppm: i64, motion: Motion },
}

/// A skew or a drift in force. See [`Injection`].
///
/// Healing puts the wall clock right at once, or begins to, at 500 ppm, if that is how the fault was asked for. What
/// `CLOCK_MONOTONIC` has counted stays: no kernel takes that back.
pub struct ClockFault {
    of: Arc<Mutex<dyn Changes + Send>>,
    grip: Option<Grip>,
    drifts: bool,
    before: Reads,
    /// What it had bitten on when it was healed.
    bit: u64,
    mechanism: &'static str,
}

/// [`Shown`], whoever shows it.
trait Changes {
    fn take_back(&mut self, grip: Grip) -> Result<()>;
    fn check(&mut self) -> Result<()>;
    fn reads(&mut self) -> Result<Reads>;
}

impl<F: Face> Changes for Shown<F> {
    fn take_back(&mut self, grip: Grip) -> Result<()> {
        self.change(|clocks, from| match grip {
            Grip::Skew { shift, motion } => clocks.right(shift, motion, from),
            Grip::Drift { shift, ppm, motion } => clocks.steady(shift, ppm, motion, from),
        })
    }

    fn check(&mut self) -> Result<()> {
        self.face.check(&self.clocks)
    }

    fn reads(&mut self) -> Result<Reads> {
        self.face.reads()
    }
}

/// Sets wall clocks off by so many nanoseconds, at once or at 500 ppm.
pub(super) fn skew<F: Face + 'static>(of: &Arc<Mutex<Shown<F>>>, by_ns: i64, slewed: bool) -> Result<ClockFault> {
    if by_ns.unsigned_abs() > SKEW_NS_MAX {
        return Err(Error::lacking("skew a clock", "clocks that are more than 200 years off", "ask for less"));
    }
    let motion = if slewed { Motion::Slew } else { Motion::Step };
    begin(of, false, |clocks, from| Grip::Skew { shift: clocks.skew(by_ns, motion, from), motion })
}

/// Lets clocks run faster by so many parts in a million, and rights the wall clock by a step or a slew at the end.
pub(super) fn drift<F: Face + 'static>(of: &Arc<Mutex<Shown<F>>>, ppm: i64, stepped: bool) -> Result<ClockFault> {
    if ppm.abs() > DRIFT_PPM_MAX {
        let missing = format!("a clock that drifts by {ppm} ppm");
        return Err(Error::lacking("let clocks drift", missing, "ask for at most 500000 ppm"));
    }
    let motion = if stepped { Motion::Step } else { Motion::Slew };
    begin(of, true, |clocks, from| {
        let (shift, ppm) = clocks.drift(ppm, from);
        Grip::Drift { shift, ppm, motion }
    })
}

fn begin<F: Face + 'static>(
    of: &Arc<Mutex<Shown<F>>>,
    drifts: bool,
    change: impl Fn(&mut Clocks, i64) -> Grip,
) -> Result<ClockFault> {
    let mut shown = lock(of);
    if !shown.clocks.has_room() {
        return Err(Error::lacking("move a clock", "room for so many motions at a time", "heal others first"));
    }
    let grip = shown.change(change)?;
    // Counted from here on: it reads nothing while the clocks are right, and little otherwise.
    let before = shown.face.reads()?;
    let mechanism = shown.face.mechanism();
    drop(shown);
    Ok(ClockFault { of: of.clone(), grip: Some(grip), drifts, before, bit: 0, mechanism })
}

impl Injection for ClockFault {
    fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    fn read_back(&mut self) -> Result<()> {
        if self.grip.is_none() {
            return Err(Error::unlike("read the clocks back", "a clock that is wrong", "that it was put right"));
        }
        lock(&self.of).check()
    }

    /// How often the clock was read, or a time of day waited for, while it was wrong. Faults that overlap on one clock
    /// all count the same read.
    fn bit(&mut self) -> Result<u64> {
        if self.grip.is_some() {
            let Reads { wall, drifting } = lock(&self.of).reads()?;
            self.bit = match self.drifts {
                true => drifting.saturating_sub(self.before.drifting),
                false => wall.saturating_sub(self.before.wall),
            };
        }
        Ok(self.bit)
    }

    fn heal(&mut self) -> Result<()> {
        let Some(grip) = self.grip else { return Ok(()) };
        // Whose process has ended cannot be asked any more; what was known last stands.
        let _known = self.bit();
        let mut of = lock(&self.of);
        match of.take_back(grip).and_then(|()| of.check()) {
            Err(Error { kind: crate::error::ErrorKind::TargetGone, .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        drop(of);
        self.grip = None;
        Ok(())
    }
}

impl Drop for ClockFault {
    fn drop(&mut self) {
        // Nobody to tell.
        let _healed = self.heal();
    }
}
