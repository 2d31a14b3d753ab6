//! From arguments that fail to simpler ones that fail in the same way: which steps to try next.
//!
//! Pure: proposes paths, is told what became of the values they lead to, and never draws or runs any. As proptest's
//! own loop it simplifies after a failure and complicates after a pass; but several candidates can be judged at a time,
//! values that were judged before cost nothing, and each argument is looked at again when another became simpler.

use super::path::{Path, Paths, STEPS_MAX, Step};
use std::collections::{HashMap, HashSet, VecDeque};

/// What became of the values that a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They were drawn; their hash.
    Drawn { values: u64, outcome: Outcome },
    /// The last step is impossible: the argument gets no simpler, or no more complicated.
    Exhausted,
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It fails in the same way.
    Fails,
    /// It passes, or fails in another way.
    Passes,
}

/// The simplest arguments that were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shrunk {
    pub(crate) paths: Paths,
    /// How many runs it takes to find them, one after the other. The same at any parallelism.
    pub(crate) runs: usize,
    /// Time, runs or steps ended it: simpler ones may exist.
    pub(crate) stopped_early: bool,
}

/// Shrinks arguments, one batch of candidates after the other. Verdicts count in the order of the candidates, so the
/// answer is the same however many are judged at a time.
#[derive(Debug)]
pub(crate) struct Shrinker {
    search: Search,
    /// What became of paths; those not yet come to in their turn are here too.
    known: HashMap<Paths, Verdict>,
    /// What became of values, of those whose turn has come.
    judged: HashMap<u64, Outcome>,
    proposed: Vec<Paths>,
    best_values: u64,
    budget: usize,
    runs: usize,
    ended: Option<Ended>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Simplest,
    Early,
}

/// Where the search stands.
#[derive(Debug, Clone)]
struct Search {
    /// The shortest paths to the simplest values that fail.
    best: Paths,
    /// The argument that is being simplified.
    at: usize,
    /// How far its value tree has been followed: to `best`'s value, or to one that was not better.
    reached: Path,
    next: Step,
    /// Which arguments may still get simpler.
    open: Vec<bool>,
}

impl Search {
    fn candidate(&self) -> Option<Paths> {
        self.open.contains(&true).then(|| self.best.with(self.at, self.reached.then(self.next)))
    }

    /// Takes the next step after these values.
    fn judge(&mut self, candidate: &Paths, outcome: Outcome) {
        self.reached = candidate.of(self.at);
        match outcome {
            Outcome::Fails => {
                self.best = candidate.clone();
                self.next = Step::Simplify;
                // The others may have become superfluous.
                for (argument, open) in self.open.iter_mut().enumerate() {
                    *open |= argument != self.at;
                }
            }
            Outcome::Passes => self.next = Step::Complicate,
        }
    }

    /// Goes on from values that are the best ones again.
    fn is_back(&mut self, candidate: &Paths) {
        self.reached = candidate.of(self.at);
        self.next = Step::Simplify;
    }

    /// Goes over to the next argument that may get simpler.
    fn exhausted(&mut self) {
        self.open[self.at] = false;
        let count = self.open.len();
        let next = (1..=count).map(|step| (self.at + step) % count).find(|argument| self.open[*argument]);
        self.at = next.unwrap_or(self.at);
        self.reached = self.best.of(self.at);
        self.next = Step::Simplify;
    }
}

impl Shrinker {
    /// Begins with so many arguments that fail, and the hash of their values.
    pub(crate) fn new(arguments: usize, values: u64, budget: usize) -> Self {
        Self {
            search: Search {
                best: Paths::default(),
                at: 0,
                reached: Path::default(),
                next: Step::Simplify,
                open: vec![true; arguments],
            },
            known: HashMap::new(),
            judged: HashMap::from([(values, Outcome::Fails)]),
            proposed: Vec::new(),
            best_values: values,
            budget,
            runs: 0,
            ended: None,
        }
    }

    /// The hash of the simplest values so far: a case that draws them need not run.
    pub(crate) fn best_values(&self) -> u64 {
        self.best_values
    }

    /// The next candidates, at most `most` and at least one, in the order in which their verdicts count. None when
    /// shrinking has ended.
    pub(crate) fn propose(&mut self, most: usize) -> Vec<Paths> {
        self.settle();
        let mut candidates = Vec::new();
        if self.ended.is_none() {
            let mut seen = HashSet::new();
            // What comes next, should they pass and should they fail: the likelier first.
            let mut ahead = VecDeque::from([self.search.clone()]);
            while let Some(mut search) = ahead.pop_front() {
                let Some(candidate) = search.candidate().filter(|candidate| candidate.steps() <= STEPS_MAX) else {
                    continue;
                };
                match self.known.get(&candidate) {
                    Some(Verdict::Exhausted) => {
                        search.exhausted();
                        ahead.push_front(search);
                    }
                    Some(Verdict::Drawn { outcome, .. }) => {
                        search.judge(&candidate, *outcome);
                        ahead.push_front(search);
                    }
                    None => {
                        let mut failing = search.clone();
                        search.judge(&candidate, Outcome::Passes);
                        failing.judge(&candidate, Outcome::Fails);
                        ahead.extend([search, failing]);
                        if seen.insert(candidate.clone()) {
                            candidates.push(candidate);
                        }
                    }
                }
                if candidates.len() >= most.min(self.budget - self.runs).max(1) {
                    break;
                }
            }
        }
        self.proposed.clone_from(&candidates);
        candidates
    }

    /// Tells what became of the candidates that were proposed last, in their order.
    pub(crate) fn learn(&mut self, verdicts: impl IntoIterator<Item = Verdict>) {
        self.known.extend(self.proposed.drain(..).zip(verdicts));
        self.settle();
    }

    /// Ends shrinking, because time is up.
    pub(crate) fn stop(&mut self) {
        self.ended.get_or_insert(Ended::Early);
    }

    pub(crate) fn finish(mut self) -> Shrunk {
        self.settle();
        Shrunk { paths: self.search.best, runs: self.runs, stopped_early: self.ended != Some(Ended::Simplest) }
    }

    /// Goes on as far as verdicts are known.
    fn settle(&mut self) {
        while self.ended.is_none() {
            let Some(candidate) = self.search.candidate() else {
                self.ended = Some(Ended::Simplest);
                return;
            };
            if candidate.steps() > STEPS_MAX {
                self.ended = Some(Ended::Early);
                return;
            }
            let verdict = self.known.get(&candidate).copied();
            let is_free = match verdict {
                Some(Verdict::Drawn { values, .. }) => self.judged.contains_key(&values),
                Some(Verdict::Exhausted) => true,
                None => false,
            };
            if self.runs >= self.budget && !is_free {
                self.ended = Some(Ended::Early);
                return;
            }
            match verdict {
                Some(Verdict::Drawn { values, .. }) if values == self.best_values => self.search.is_back(&candidate),
                Some(Verdict::Drawn { values, outcome }) => {
                    self.runs += usize::from(!is_free);
                    // Equal values are equal cases. Those that fail are not better for failing again.
                    let outcome = *self.judged.entry(values).or_insert(outcome);
                    if outcome == Outcome::Fails {
                        self.best_values = values;
                    }
                    self.search.judge(&candidate, outcome);
                }
                Some(Verdict::Exhausted) => self.search.exhausted(),
                None => return,
            }
        }
    }
}
