//! Processors are busy with something else.

use super::helper::{Helper, Watch};
use super::identity::Identity;
use super::proc;
use crate::cgroup::{Frozen, Group, Limit, Limited, Turns};
use crate::error::{Error, Result};
use crate::injection::Injection;
use crate::journal::{Change, Journal, Undo};
use crate::step::reached;
use crate::target::{Process, Target};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Over how long a share is kept by helpers of ours: the default period of the kernel's bandwidth control,
/// `default_cfs_period()` (kernel/sched/fair.c).
const PERIOD_US: u64 = 100_000;

/// Over how long it is kept by freezing a group, which takes no looking for processes.
const FREEZING_PERIOD_US: u64 = 25_000;

/// Over how long it is kept by a quota, if that is not too little then. A period is the longest that a program goes on
/// undisturbed after a quota has been set, and little more than the longest that it stands still.
const QUOTA_PERIOD_US: u64 = 20_000;

/// The longest that somebody stands still at a time.
const STANDS_FOR_MAX: Duration = Duration::from_secs(1);

/// The kernel's longest period (`max_cfs_quota_period`, kernel/sched/core.c).
const QUOTA_PERIOD_US_MAX: u64 = 1_000_000;

/// The kernel's least quota (`min_cfs_quota_period`, kernel/sched/core.c).
const QUOTA_US_MIN: u64 = 1_000;

/// A whole, in parts per million.
const WHOLE_PPM: u64 = 1_000_000;

/// A share of the processors' time is taken.
#[derive(Debug)]
pub struct CpuBurn {
    /// In this order it is dropped, and healed thereby: whoever stops processes ends before these go on.
    helpers: Vec<Helper>,
    how: How,
    /// The group around a process, if that was needed. Last: it is removed after the rest.
    _around: Option<Group>,
}

#[derive(Debug)]
enum How {
    Quota(Limited),
    Burners,
    Stopping { process: Process, stopped: Vec<Change> },
    Freezing(Frozen),
}

impl CpuBurn {
    /// Takes a share of the time of so many processors from the target: by a quota of its group where it can have one,
    /// else by stopping the process for that share of the time.
    ///
    /// # Errors
    /// The target has ended, or is a cgroup without a controller for processors.
    ///
    /// # Panics
    /// The share is nothing or everything.
    pub fn apply(journal: &Journal, target: &Target, load_ppm: u32, processors: u32) -> Result<Self> {
        let by_group = |group: &Group| Self::by_quota(group, load_ppm, processors);
        let (burn, around) =
            Group::strike(journal, target, by_group, |process| Self::by_stopping(journal, process, load_ppm))?;
        Ok(Self { _around: around, ..burn })
    }

    /// Leaves a group the rest of the time of so many processors, by its quota.
    ///
    /// # Errors
    /// As [`Limited::apply`].
    ///
    /// # Panics
    /// The share is nothing or everything.
    pub fn by_quota(group: &Group, load_ppm: u32, processors: u32) -> Result<Self> {
        let left_ppm = u64::from(processors.max(1)) * (WHOLE_PPM - u64::from(checked(load_ppm)));
        let (quota_us, period_us) = quota(left_ppm);
        let limit = Limited::apply(group, &Limit::Processors { quota_us, period_us })?;
        Ok(Self { helpers: Vec::new(), how: How::Quota(limit), _around: None })
    }

    /// Freezes a group for that share of the time. So much is taken of each processor's time, however few of them the
    /// group keeps busy; a quota, which is of all of them together, would leave who is busy on one alone.
    ///
    /// # Errors
    /// As [`Frozen::apply`]; no process can be made.
    ///
    /// # Panics
    /// The share is nothing or everything.
    pub fn by_freezing(group: &Group, load_ppm: u32) -> Result<Self> {
        let share = f64::from(checked(load_ppm)) / WHOLE_PPM as f64;
        let frozen = Frozen::apply(group)?;
        let turns = frozen.turns();
        let helper = Helper::start(group.journal(), c"wt:freezer", None, |watch| freeze_and_go(watch, &turns, share))?;
        Ok(Self { helpers: vec![helper], how: How::Freezing(frozen), _around: None })
    }

    /// Burns that share of so many processors within a group, which counts as the group's own use.
    ///
    /// # Errors
    /// No processes can be made there.
    ///
    /// # Panics
    /// The share is nothing or everything.
    pub fn by_burners(group: &Group, load_ppm: u32, processors: u32) -> Result<Self> {
        let share = f64::from(checked(load_ppm)) / WHOLE_PPM as f64;
        let burner = |_| Helper::start(group.journal(), c"wt:burner", Some(group), |watch| burn(watch, share));
        let helpers = (0..processors.max(1)).map(burner).collect::<Result<_>>()?;
        Ok(Self { helpers, how: How::Burners, _around: None })
    }

    /// Stops a process and all that descend from it for that share of each tenth of a second. Needs no privilege.
    ///
    /// # Errors
    /// It has ended, or no process can be made.
    ///
    /// # Panics
    /// The share is nothing or everything.
    pub fn by_stopping(journal: &Journal, process: &Process, load_ppm: u32) -> Result<Self> {
        let share = f64::from(checked(load_ppm)) / WHOLE_PPM as f64;
        // Whoever kills the helper while they are stopped lets them go on: the helper is undone first, being newer.
        let mut stopped = Vec::new();
        for pid in proc::tree(process.pid) {
            let found = Process::open(pid).and_then(|process| process.identity());
            match found {
                Ok(identity) => stopped.push(journal.change(Undo::Continue { process: identity }, || Ok(()))?.1),
                Err(error) if pid == process.pid => return Err(error),
                Err(_) => {}
            }
        }
        let identity = process.identity()?;
        let helper = Helper::start(journal, c"wt:stopper", None, |watch| stop_and_go(watch, &identity, share))?;
        let how = How::Stopping { process: process.clone(), stopped };
        Ok(Self { helpers: vec![helper], how, _around: None })
    }

    fn end_helpers(&mut self) -> Result<()> {
        self.helpers.iter_mut().try_for_each(Helper::end)
    }
}

impl Injection for CpuBurn {
    fn mechanism(&self) -> &'static str {
        match &self.how {
            How::Quota(limit) => limit.mechanism(),
            How::Burners => "burners in the group",
            How::Stopping { .. } => "SIGSTOP and SIGCONT in turn",
            How::Freezing(frozen) => frozen.mechanism_in_turn(),
        }
    }

    fn read_back(&mut self) -> Result<()> {
        match &mut self.how {
            How::Quota(limit) => limit.read_back()?,
            How::Stopping { process, .. } if !process.is_alive() => {
                return Err(Error::gone(format!("slow process {} down", process.pid)));
            }
            How::Burners | How::Stopping { .. } | How::Freezing(_) => {}
        }
        match self.helpers.iter().find(|helper| !helper.is_alive()) {
            None => Ok(()),
            Some(ended) => Err(Error::unlike("burn", "helpers at work", format!("process {} ended", ended.pid()))),
        }
    }

    /// Periods in which the group was throttled, or stops and bursts of burning so far.
    fn bit(&mut self) -> Result<u64> {
        match &mut self.how {
            How::Quota(limit) => limit.bit(),
            How::Burners | How::Stopping { .. } | How::Freezing(_) => {
                Ok(self.helpers.iter_mut().map(Helper::counted).sum())
            }
        }
    }

    fn heal(&mut self) -> Result<()> {
        self.end_helpers()?;
        match &mut self.how {
            How::Quota(limit) => limit.heal()?,
            How::Burners => {}
            How::Freezing(frozen) => frozen.heal()?,
            How::Stopping { process, stopped } => {
                stopped.iter_mut().try_for_each(|change| change.undo().map(|_| ()))?;
                // Those that it had since.
                for pid in proc::tree(process.pid) {
                    let _ = Process::open(pid).and_then(|process| process.signal(Signal::CONT));
                }
            }
        }
        Ok(())
    }
}

fn checked(load_ppm: u32) -> u32 {
    let is_share = load_ppm > 0 && u64::from(load_ppm) < WHOLE_PPM;
    assert!(is_share, "a load of {load_ppm} ppm: neither nothing nor everything can be taken");
    load_ppm
}

/// The quota, and its period, in microseconds, for so much of one processor's time.
fn quota(left_ppm: u64) -> (u64, u64) {
    let least_us = (QUOTA_US_MIN * WHOLE_PPM).div_ceil(left_ppm.max(1));
    let period_us = least_us.clamp(QUOTA_PERIOD_US, QUOTA_PERIOD_US_MAX);
    ((period_us * left_ppm / WHOLE_PPM).max(QUOTA_US_MIN), period_us)
}

/// Busy for this share of each tenth of a period, so that it is felt evenly.
fn burn(watch: &Watch, share: f64) {
    let period = Duration::from_micros(PERIOD_US / 10);
    let busy = period.mul_f64(share);
    while watch.goes_on_after(period - busy) {
        let since = Instant::now();
        while since.elapsed() < busy {
            std::hint::spin_loop();
        }
        watch.count();
    }
}

/// Stops the tree in turn. Those that were stopped go on whenever this returns.
///
/// This process and the one that wanted it run on, should they be in the tree.
fn stop_and_go(watch: &Watch, root: &Identity, share: f64) {
    // Descriptors of the parent were closed, so it is looked for once more.
    let Ok(Some(root)) = root.open() else { return };
    let spared = [std::process::id(), watch.wanted_by()];
    let stop = || {
        // Parents first: one that is stopped makes no more children.
        let tree = proc::tree(root.pid).into_iter().filter(|pid| !spared.contains(pid));
        let found = tree.filter_map(|pid| Process::open(pid).ok());
        found.filter(|process| process.signal(Signal::STOP).is_ok()).collect::<Vec<_>>()
    };
    let go_on = |stopped: Vec<Process>| {
        for process in stopped.iter().rev() {
            let _ = process.signal(Signal::CONT);
        }
        root.is_alive()
    };
    in_turn(watch, Duration::from_micros(PERIOD_US), share, stop, go_on);
}

/// Freezes a group in turn; it is frozen before.
fn freeze_and_go(watch: &Watch, group: &Turns, share: f64) {
    let go_on = |()| {
        group.go_on();
        true
    };
    in_turn(watch, Duration::from_micros(FREEZING_PERIOD_US), share, || group.stop(STANDS_FOR_MAX), go_on);
}

/// Stops somebody, and lets them go on, so that they stand still for this share of the time: for as long as it takes
/// after however long they went on, which a busy machine may make longer than was meant. They go on whenever this
/// returns: when it is not wanted any more, or `go_on` says that nobody is there.
fn in_turn<S>(
    watch: &Watch,
    period: Duration,
    share: f64,
    mut stop: impl FnMut() -> S,
    mut go_on: impl FnMut(S) -> bool,
) {
    let mut stood_until: Option<Instant> = None;
    loop {
        let stopped = stop();
        watch.count();
        reached("somebody stands still");
        let went_on_for = stood_until.map_or(period.mul_f64(1.0 - share), |since| since.elapsed());
        let stands_for = went_on_for.mul_f64(share / (1.0 - share)).min(STANDS_FOR_MAX);
        let is_wanted = watch.goes_on_after(stands_for);
        let is_there = go_on(stopped);
        stood_until = Some(Instant::now());
        reached("somebody goes on");
        if !is_wanted || !is_there || !watch.goes_on_after(period.mul_f64(1.0 - share)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::quota;

    #[test]
    fn a_quota_is_of_a_short_period_unless_the_kernel_wants_more() {
        // A fifth of two processors, a hundredth of two, a hundredth and a millionth of one.
        assert_eq!(quota(400_000), (8_000, 20_000));
        assert_eq!(quota(20_000), (1_000, 50_000));
        assert_eq!(quota(10_000), (1_000, 100_000));
        assert_eq!(quota(1), (1_000, 1_000_000));
    }
}
