//! The order in which smaller plans are tried, as a state that can be copied: whoever wants to know what comes next,
//! should a candidate pass, rejects it in a copy.

use super::numbers::ROUND_UNITS;
use super::{Observation, Step, Verdict, weaken};
use crate::Kinds;
use crate::fault::Fault;
use crate::plan::Plan;
use crate::topology::Topology;
use std::collections::BTreeSet;
use std::time::Duration;

/// A plan to try.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) plan: Plan,
    pub(crate) step: Step,
}

/// Where the search stands.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    /// The smallest plan that fails.
    pub(crate) current: Plan,
    /// What its run showed.
    pub(crate) seen: Observation,
    pub(crate) topology: Topology,
    /// What a fault may be weakened to.
    pub(crate) kinds: Kinds,
    stage: Stage,
    /// Whether what a run showed about idle faults has been right so far.
    trust: Trust,
    /// What was accepted since the last time that single faults were tried.
    weakened: usize,
    rounds: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Trusted,
    Refuted,
}

/// What is tried, and how far that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    All,
    /// Chunks of a size from a place on; how many faults were dropped in this sweep.
    Faults {
        chunk: usize,
        at: usize,
        dropped: usize,
    },
    Pairs {
        first: usize,
        second: usize,
    },
    Hasten,
    /// Units from the roundest on.
    Round {
        unit: usize,
    },
    Rename,
    /// The alternatives of a fault.
    Each {
        what: Each,
        fault: usize,
        alternative: usize,
    },
    Done,
}

/// What is tried for each fault in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Each {
    Effect,
    Start,
    Length,
}

/// Pairs are tried while no more faults are left: 28 pairs are affordable.
const PAIRS_FAULTS_MAX: usize = 8;

/// Weakening one fault may allow weakening another; but each round costs runs, and the third seldom finds anything.
const ROUNDS_MAX: usize = 3;

/// What all times of a plan are rounded to: not to tens of seconds, which hardly any plan survives as a whole, nor to
/// what is too fine for one rounding to fit all.
const PLAN_UNITS: &[Duration] = {
    let [_, seconds, tenths, hundredths, ..] = ROUND_UNITS;
    &[seconds, tenths, hundredths]
};

impl Search {
    pub(crate) fn new(plan: Plan, seen: Observation) -> Self {
        Self {
            current: plan,
            seen,
            topology: Topology::new(),
            kinds: Kinds::ALL,
            stage: Stage::All,
            trust: Trust::Trusted,
            weakened: 0,
            rounds: 0,
        }
    }

    /// The next plan to try, which differs from the current one; `None` when nothing is left to try.
    pub(crate) fn candidate(&mut self) -> Option<Candidate> {
        if let Some(plan) = self.without_idle() {
            return Some(Candidate { plan, step: Step::DropIdle });
        }
        while self.stage != Stage::Done {
            match self.at_stage() {
                Some(candidate) if candidate.plan != self.current => return Some(candidate),
                _ => self.advance(),
            }
        }
        None
    }

    /// Goes on from the last candidate with what became of it, as it is remembered.
    pub(crate) fn judge(&mut self, candidate: Plan, verdict: &Verdict) {
        match verdict {
            Verdict::Fails(observation) => self.accept(candidate, observation),
            Verdict::Passes => self.reject(),
        }
    }

    /// The candidate fails too: it is the current plan from now on.
    fn accept(&mut self, plan: Plan, seen: &Observation) {
        let dropped = self.current.faults.len() - plan.faults.len();
        self.seen = seen.in_plan(&plan);
        self.current = plan;
        let count = self.current.faults.len();
        if !matches!(self.stage, Stage::All | Stage::Faults { .. } | Stage::Pairs { .. }) {
            self.weakened += 1;
        }
        self.stage = match self.stage {
            _ if count == 0 => Stage::Done,
            // Idle faults are gone; the sweep begins anew, over fewer.
            Stage::All => Stage::All,
            Stage::Faults { chunk, at, dropped: before } => Stage::Faults { chunk, at, dropped: before + dropped },
            Stage::Pairs { .. } => single_faults(),
            // The roundest unit that does.
            Stage::Round { .. } => Stage::Rename,
            stage if dropped > 0 => stage,
            // Another effect has other alternatives, and a rounder number is as round as it gets.
            Stage::Each { what: Each::Effect, fault, .. } => Stage::Each { what: Each::Effect, fault, alternative: 0 },
            Stage::Each { what, fault, .. } => Stage::Each { what, fault: fault + 1, alternative: 0 },
            stage => stage,
        };
    }

    /// The candidate passes.
    fn reject(&mut self) {
        if self.without_idle().is_some() {
            self.trust = Trust::Refuted;
        } else {
            self.advance();
        }
    }

    /// The plan without what began after the failure and what bit nothing, if there is any such fault.
    fn without_idle(&self) -> Option<Plan> {
        if self.trust == Trust::Refuted {
            return None;
        }
        let late = |fault: &Fault| match (fault.begins(), self.seen.failed_at) {
            (Some(begins), Some(failed_at)) => begins > failed_at,
            _ => false,
        };
        let idle = self.seen.idle.iter().copied().collect::<BTreeSet<_>>();
        let plan = self.kept(|at, fault| !idle.contains(&at) && !late(fault));
        (plan.faults.len() < self.current.faults.len()).then_some(plan)
    }

    fn kept(&self, keep: impl Fn(usize, &Fault) -> bool) -> Plan {
        let faults = self.current.faults.iter().enumerate().filter(|(at, fault)| keep(*at, fault));
        faults.map(|(_, fault)| fault.clone()).collect()
    }

    /// What this stage tries now; `None` when there is nothing to try.
    fn at_stage(&self) -> Option<Candidate> {
        let count = self.current.faults.len();
        let (plan, step) = match self.stage {
            Stage::All => (Plan::default(), Step::DropAll),
            Stage::Faults { chunk, at, .. } if at < count => {
                (self.kept(|place, _| !(at..at + chunk).contains(&place)), Step::DropFaults)
            }
            Stage::Pairs { first, second } if second < count => {
                (self.kept(|place, _| place != first && place != second), Step::DropPairs)
            }
            Stage::Hasten => (weaken::hastened(&self.current)?, Step::Hasten),
            Stage::Round { unit } => (weaken::rounded(&self.current, *PLAN_UNITS.get(unit)?), Step::Round),
            Stage::Rename => (weaken::renamed(&self.current, &self.topology), Step::Rename),
            Stage::Each { what, fault, alternative } => {
                let replaced = self.alternatives(what, fault).into_iter().nth(alternative)?;
                let mut plan = self.current.clone();
                *plan.faults.get_mut(fault)? = replaced;
                (plan, if what == Each::Effect { Step::Weaken } else { Step::Shorten })
            }
            Stage::Faults { .. } | Stage::Pairs { .. } | Stage::Done => return None,
        };
        Some(Candidate { plan, step })
    }

    fn alternatives(&self, what: Each, fault: usize) -> Vec<Fault> {
        let Some(fault) = self.current.faults.get(fault) else { return Vec::new() };
        let all = match what {
            Each::Start => weaken::starts(fault),
            Each::Length => weaken::lengths(fault),
            Each::Effect => {
                let effects = weaken::effects(&fault.effect, &self.topology).into_iter();
                effects.map(|effect| Fault { effect, ..fault.clone() }).collect()
            }
        };
        let valid = |fault: &Fault| Plan::new([fault.clone()]).validate().is_ok();
        let meant = |new: &Fault| new.kind() == fault.kind() || self.kinds.contains(new.kind());
        all.into_iter().filter(|new| meant(new) && valid(new)).collect()
    }

    /// Goes on to what is tried next in this stage, or to the next stage.
    fn advance(&mut self) {
        let count = self.current.faults.len();
        self.stage = match self.stage {
            // Powers of two: chunks of even size leave an even number even, for failures that need one.
            Stage::All => Stage::Faults { chunk: (count / 2).max(1).next_power_of_two(), at: 0, dropped: 0 },
            Stage::Faults { chunk, at, dropped } if at + chunk < count => {
                Stage::Faults { chunk, at: at + chunk, dropped }
            }
            Stage::Faults { chunk, .. } if chunk > 1 => Stage::Faults { chunk: chunk / 2, at: 0, dropped: 0 },
            // Once more over those that stayed, since fewer are left.
            Stage::Faults { dropped, .. } if dropped > 0 => single_faults(),
            Stage::Faults { .. } if self.rounds > 0 => self.next_round(),
            Stage::Faults { .. } if count <= PAIRS_FAULTS_MAX => Stage::Pairs { first: 0, second: 1 },
            Stage::Faults { .. } => Stage::Hasten,
            Stage::Pairs { first, second } if second + 1 < count => Stage::Pairs { first, second: second + 1 },
            Stage::Pairs { first, .. } if first + 2 < count => Stage::Pairs { first: first + 1, second: first + 2 },
            Stage::Pairs { .. } => Stage::Hasten,
            Stage::Hasten => Stage::Round { unit: 0 },
            Stage::Round { unit } if unit + 1 < PLAN_UNITS.len() => Stage::Round { unit: unit + 1 },
            Stage::Round { .. } => Stage::Rename,
            Stage::Rename => Stage::Each { what: Each::Effect, fault: 0, alternative: 0 },
            Stage::Each { what, fault, alternative } => self.after(what, fault, alternative),
            Stage::Done => Stage::Done,
        };
    }

    fn after(&mut self, what: Each, fault: usize, alternative: usize) -> Stage {
        if alternative + 1 < self.alternatives(what, fault).len() {
            return Stage::Each { what, fault, alternative: alternative + 1 };
        }
        if fault + 1 < self.current.faults.len() {
            return Stage::Each { what, fault: fault + 1, alternative: 0 };
        }
        let begin = |what| Stage::Each { what, fault: 0, alternative: 0 };
        match what {
            Each::Effect => begin(Each::Start),
            Each::Start => begin(Each::Length),
            // What has become weaker may have become superfluous.
            Each::Length if self.weakened > 0 => {
                self.rounds += 1;
                single_faults()
            }
            Each::Length => Stage::Done,
        }
    }

    fn next_round(&mut self) -> Stage {
        if self.rounds >= ROUNDS_MAX || self.weakened == 0 {
            return Stage::Done;
        }
        self.weakened = 0;
        Stage::Hasten
    }
}

const fn single_faults() -> Stage {
    Stage::Faults { chunk: 1, at: 0, dropped: 0 }
}
