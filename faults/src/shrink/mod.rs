//! Shrinking: from a plan that fails to the smallest that fails in the same way.
//!
//! Pure: proposes plans, is told what became of them, and never runs one. The order of steps, and why it is this one:
//!
//! 1. drop what began after the failure and what bit nothing, in one try: free information;
//! 2. the empty plan: is it a plain bug?
//! 3. drop chunks of faults by halves (Zeller and Hildebrandt's ddmin), then single ones, then pairs of few;
//! 4. weaken what is left, round its numbers, name lower hosts; then see again whether single ones can be dropped.
//!
//! | question | file |
//! | --- | --- |
//! | What is tried next? | `search.rs` |
//! | What is weaker, or rounder? | `weaken.rs`, `parameters.rs`, `numbers.rs` |

mod numbers;
mod parameters;
mod search;
mod weaken;

use crate::Kinds;
use crate::plan::Plan;
use crate::topology::Topology;
use search::Search;
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// What a failing run showed of its plan.
///
/// ```
/// use std::time::Duration;
/// use windtunnel_faults::shrink::Observation;
///
/// // It failed after 3.9 s, and the first fault had bitten nothing until then.
/// let seen = Observation { failed_at: Some(Duration::from_millis(3_900)), idle: vec![0] };
/// # let _ = seen;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observation {
    /// When it failed, from the storm's beginning; what begins later is dropped in one try. `None` when unknown.
    pub failed_at: Option<Duration>,
    /// Places in the plan of faults that made no difference: they bit nothing, or their mark was never passed.
    pub idle: Vec<usize>,
}

/// What became of a proposed plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It fails in the same way: the same assertion, or a panic at the same place.
    Fails(Observation),
    /// It passes, or fails in another way.
    Passes,
}

/// For each place of the plan in order, where the fault stands in the plan as it is.
fn canonical_places(plan: &Plan) -> Vec<usize> {
    let mut places = (0..plan.faults.len()).collect::<Vec<_>>();
    // Stable, as `Plan::in_order` is.
    places.sort_by(|one, other| plan.faults[*one].start.cmp(&plan.faults[*other].start));
    places
}

impl Observation {
    /// With places in the plan in order, to be remembered of the plan in whatever order.
    fn of_canonical(&self, plan: &Plan) -> Self {
        let canonical = canonical_places(plan);
        let place = |idle: &usize| canonical.iter().position(|original| original == idle);
        Self { failed_at: self.failed_at, idle: self.idle.iter().filter_map(place).collect() }
    }

    /// With places in this plan, of what was remembered.
    fn in_plan(&self, plan: &Plan) -> Self {
        let canonical = canonical_places(plan);
        let place = |idle: &usize| canonical.get(*idle).copied();
        Self { failed_at: self.failed_at, idle: self.idle.iter().filter_map(place).collect() }
    }
}

impl Verdict {
    fn of_canonical(&self, plan: &Plan) -> Self {
        match self {
            Self::Fails(observation) => Self::Fails(observation.of_canonical(plan)),
            Self::Passes => Self::Passes,
        }
    }
}

/// A step of shrinking, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Drops what began after the failure and what bit nothing.
    DropIdle,
    /// Drops everything.
    DropAll,
    /// Drops chunks by halves, down to single faults.
    DropFaults,
    /// Drops two faults that only go together.
    DropPairs,
    /// Begins the plan at once.
    Hasten,
    /// Rounds every time.
    Round,
    /// Names lower hosts.
    Rename,
    /// Weakens faults one by one.
    Weaken,
    /// Makes faults begin earlier and last shorter, one by one.
    Shorten,
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DropIdle => "drop what came after the failure or bit nothing",
            Self::DropAll => "drop everything",
            Self::DropFaults => "drop faults",
            Self::DropPairs => "drop pairs",
            Self::Hasten => "begin at once",
            Self::Round => "round times",
            Self::Rename => "name lower hosts",
            Self::Weaken => "weaken faults",
            Self::Shorten => "begin earlier, last shorter",
        })
    }
}

/// What a step achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepReport {
    /// Which.
    pub step: Step,
    /// How many runs it took.
    pub runs: usize,
    /// How many of them still failed, each a smaller plan.
    pub successes: usize,
    /// How many faults it dropped.
    pub faults_dropped: usize,
}

/// Why shrinking ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nothing more can be dropped or weakened: without any one of its faults the plan does not fail.
    Minimal,
    /// The budget of runs is spent; a larger one might give a smaller plan.
    BudgetSpent,
    /// [`Shrinker::stop`] was called.
    Stopped,
}

/// The smallest failing plan that was found, and how.
///
/// ```
/// use windtunnel_faults::Plan;
/// use windtunnel_faults::shrink::{Observation, Step, Verdict, shrink};
///
/// let plan = "1s pause kv0 for 1s; 2s pause kv1 for 1s".parse::<Plan>()?;
/// let shrunk = shrink(plan, Observation::default(), |_| Verdict::Fails(Observation::default()));
/// assert_eq!((shrunk.plan.faults.len(), shrunk.runs), (0, 1));
/// assert_eq!(shrunk.steps[0].step, Step::DropAll);
/// assert_eq!(shrunk.steps[0].faults_dropped, 2);
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// What its run showed.
    pub observation: Observation,
    /// How many runs it takes to find it, one after the other. The same at any parallelism.
    pub runs: usize,
    /// How many verdicts were given, those that turned out not to be needed included.
    pub verdicts: usize,
    /// Why shrinking ended.
    pub ended: Ended,
    /// What each step achieved, in their order; only those that took runs.
    pub steps: Vec<StepReport>,
}

/// Shrinks a plan, one batch of candidates after the other.
///
/// A batch's candidates are in order: when several fail, the first one counts. So whoever runs them in parallel, and
/// however many, gets the same plan.
///
/// ```
/// use windtunnel_faults::Plan;
/// use windtunnel_faults::shrink::{Ended, Observation, Shrinker, Verdict};
///
/// let plan = "
///     0.812s  partition {kv0} | {kv1,kv2} for 4.2s
///     1.204s  loss kv0->kv1 30% for 2s
///     3.877s  crash kv1 restart after 2.317s
/// "
/// .parse::<Plan>()?;
///
/// let mut shrinker = Shrinker::new(plan, Observation::default());
/// loop {
///     let candidates = shrinker.propose(4);
///     if candidates.is_empty() {
///         break;
///     }
///     // A crash is all it takes.
///     let fails = |plan: &Plan| plan.to_string().contains("crash");
///     let verdict = |plan| if fails(plan) { Verdict::Fails(Observation::default()) } else { Verdict::Passes };
///     shrinker.learn(candidates.iter().map(verdict));
/// }
/// let shrunk = shrinker.finish();
/// assert_eq!(shrunk.plan.to_string(), "0s crash kv1 by kill restart after 100ms");
/// assert_eq!(shrunk.ended, Ended::Minimal);
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug)]
pub struct Shrinker {
    search: Search,
    known: HashMap<Vec<u8>, Known>,
    proposed: Vec<Plan>,
    budget: usize,
    runs: usize,
    verdicts: usize,
    ended: Option<Ended>,
    steps: Vec<StepReport>,
}

#[derive(Debug)]
struct Known {
    verdict: Verdict,
    price: Price,
}

/// A verdict that was given ahead of its turn costs a run only when its turn comes, as it would have without
/// parallelism.
#[derive(Debug, PartialEq, Eq)]
enum Price {
    Paid,
    Due,
}

/// Enough for plans of sixty faults several times over, and half a minute at 50 ms a run.
const BUDGET_DEFAULT: usize = 500;

impl Shrinker {
    /// Begins with a plan that fails, and what its run showed.
    #[must_use]
    pub fn new(plan: Plan, observation: Observation) -> Self {
        let verdict = Verdict::Fails(observation.of_canonical(&plan));
        let known = HashMap::from([(plan.canonical_bytes(), Known { verdict, price: Price::Paid })]);
        Self {
            search: Search::new(plan, observation),
            known,
            proposed: Vec::new(),
            budget: BUDGET_DEFAULT,
            runs: 0,
            verdicts: 0,
            ended: None,
            steps: Vec::new(),
        }
    }

    /// Which hosts there are: with it, patterns and roles are weakened to hosts, and lower hosts are named.
    #[must_use]
    pub fn with_topology(mut self, topology: &Topology) -> Self {
        self.search.topology = topology.clone();
        self
    }

    /// The kinds of faults that may appear: with it, nothing is weakened to a kind that the test does not speak of.
    #[must_use]
    pub fn with_kinds(mut self, kinds: Kinds) -> Self {
        self.search.kinds = kinds;
        self
    }

    /// The most runs; 500 unless given.
    #[must_use]
    pub fn with_budget(mut self, runs: usize) -> Self {
        self.budget = runs;
        self
    }

    /// The next candidates, at most `most` and at least one, in the order in which their verdicts count. None when
    /// shrinking has ended.
    ///
    /// # Panics
    /// When `most` is zero.
    pub fn propose(&mut self, most: usize) -> Vec<Plan> {
        assert!(most > 0, "a batch has at least one candidate");
        self.proposed.clear();
        self.settle();
        let mut plans = Vec::new();
        let mut seen = HashSet::new();
        let mut ahead = self.search.clone();
        while self.ended.is_none() && plans.len() < most.min(self.budget - self.runs) {
            let Some(candidate) = ahead.candidate() else { break };
            let name = candidate.plan.canonical_bytes();
            match self.known.get(&name) {
                Some(known) => ahead.judge(candidate.plan, &known.verdict),
                None => {
                    // Most candidates pass, so that is what the next one is bet on.
                    ahead.judge(candidate.plan.clone(), &Verdict::Passes);
                    if seen.insert(name) {
                        plans.push(candidate.plan);
                    }
                }
            }
        }
        self.proposed.clone_from(&plans);
        plans
    }

    /// Tells what became of the candidates that were proposed last, in their order. Whoever cancels the rest after the
    /// first failure gives fewer.
    pub fn learn(&mut self, verdicts: impl IntoIterator<Item = Verdict>) {
        for (plan, verdict) in self.proposed.drain(..).zip(verdicts) {
            self.verdicts += 1;
            let verdict = verdict.of_canonical(&plan);
            self.known.insert(plan.canonical_bytes(), Known { verdict, price: Price::Due });
        }
        self.settle();
    }

    /// The smallest plan so far.
    #[must_use]
    pub fn best(&self) -> &Plan {
        &self.search.current
    }

    /// Ends shrinking, because time is up.
    pub fn stop(&mut self) {
        self.ended.get_or_insert(Ended::Stopped);
    }

    /// The result. Whoever finishes before [`propose`](Self::propose) has nothing more to propose has stopped.
    #[must_use]
    pub fn finish(mut self) -> Shrunk {
        self.settle();
        self.steps.sort_by_key(|report| report.step);
        Shrunk {
            observation: self.search.seen.of_canonical(&self.search.current),
            plan: self.search.current.in_order(),
            runs: self.runs,
            verdicts: self.verdicts,
            ended: self.ended.unwrap_or(Ended::Stopped),
            steps: self.steps,
        }
    }

    /// Goes on as far as verdicts are known.
    fn settle(&mut self) {
        while self.ended.is_none() {
            let Some(candidate) = self.search.candidate() else {
                self.ended = Some(Ended::Minimal);
                return;
            };
            let known = self.known.get_mut(&candidate.plan.canonical_bytes());
            if self.runs >= self.budget && known.as_ref().is_none_or(|known| known.price == Price::Due) {
                self.ended = Some(Ended::BudgetSpent);
                return;
            }
            let Some(known) = known else { return };
            let cost = if known.price == Price::Due { 1 } else { 0 };
            known.price = Price::Paid;
            self.runs += cost;
            let before = self.search.current.faults.len();
            let successes = if known.verdict == Verdict::Passes { 0 } else { 1 };
            self.search.judge(candidate.plan, &known.verdict);
            let faults_dropped = before - self.search.current.faults.len();
            self.note(StepReport { step: candidate.step, runs: cost, successes, faults_dropped });
        }
    }

    fn note(&mut self, new: StepReport) {
        match self.steps.iter_mut().find(|report| report.step == new.step) {
            Some(report) => {
                report.runs += new.runs;
                report.successes += new.successes;
                report.faults_dropped += new.faults_dropped;
            }
            None => self.steps.push(new),
        }
    }
}

/// Shrinks a plan with a function that runs it, one candidate at a time.
///
/// ```
/// use windtunnel_faults::shrink::{Observation, Verdict, shrink};
/// use windtunnel_faults::{Kind, Plan};
///
/// let plan = "1s pause kv0 for 1s; 2s crash kv1 restart after 1s".parse::<Plan>()?;
/// let shrunk = shrink(plan, Observation::default(), |plan| {
///     let fails = plan.faults.iter().any(|fault| fault.kind() == Kind::Pause);
///     if fails { Verdict::Fails(Observation::default()) } else { Verdict::Passes }
/// });
/// assert_eq!(shrunk.plan.to_string(), "0s pause kv0 for 100ms");
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
pub fn shrink(plan: Plan, observation: Observation, mut run: impl FnMut(&Plan) -> Verdict) -> Shrunk {
    let mut shrinker = Shrinker::new(plan, observation);
    loop {
        let candidates = shrinker.propose(1);
        if candidates.is_empty() {
            return shrinker.finish();
        }
        shrinker.learn(candidates.iter().map(&mut run));
    }
}
