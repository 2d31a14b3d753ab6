//! From arguments that fail to simpler ones that fail in the same way: which steps to try next.
//!
//! Pure: proposes paths, is told what became of the values they lead to, and never draws or runs any. As proptest's
//! own loop it simplifies after a failure and complicates after a pass; but several candidates can be judged at a time,
//! values that were judged before cost nothing, and each argument is looked at again when another became simpler. And
//! when simpler values fail again and again it takes several steps at once: halving a number that does not matter down
//! to zero would take a run for each of its bits.

use super::path::{Path, Paths, STEPS_MAX, Step};
use std::collections::{HashMap, HashSet, VecDeque};

/// As many steps as a number has bits.
const STRIDE_LOG_MAX: u32 = 6;

/// What became of the values that a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They were drawn; their hash.
    Drawn { values: u64, outcome: Outcome },
    /// A step is impossible: the argument gets no simpler, or no more complicated.
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
    /// The hash of their values.
    pub(crate) values: u64,
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
    /// How many simplifications failed one after the other.
    streak: u32,
    /// Which arguments may still get simpler.
    open: Vec<bool>,
}

impl Search {
    fn candidate(&self) -> Option<Paths> {
        self.open.contains(&true).then(|| {
            let path = (0..self.stride()).fold(self.reached.clone(), |path, _| path.then(self.next));
            self.best.with(self.at, path)
        })
    }

    /// How many steps are taken at once. What they lead to is a value as good as any; when it does not fail, they are
    /// taken back.
    fn stride(&self) -> u32 {
        match self.next {
            Step::Simplify => 1 << self.streak.saturating_sub(1).min(STRIDE_LOG_MAX),
            Step::Complicate => 1,
        }
    }

    /// Takes the next step after these values.
    fn judge(&mut self, candidate: &Paths, outcome: Outcome) {
        let is_long = self.stride() > 1;
        match outcome {
            Outcome::Fails => {
                self.reached = candidate.of(self.at);
                self.best = candidate.clone();
                self.streak = if self.next == Step::Simplify { self.streak + 1 } else { 0 };
                self.next = Step::Simplify;
                // The others may have become superfluous.
                for (argument, open) in self.open.iter_mut().enumerate() {
                    *open |= argument != self.at;
                }
            }
            Outcome::Passes if is_long => self.streak = 0,
            Outcome::Passes => {
                self.reached = candidate.of(self.at);
                self.next = Step::Complicate;
                self.streak = 0;
            }
        }
    }

    /// Goes on from values that are the best ones again.
    fn is_back(&mut self, candidate: &Paths) {
        self.reached = candidate.of(self.at);
        self.next = Step::Simplify;
        self.streak = 0;
    }

    /// Takes fewer steps at once, or goes over to the next argument that may get simpler.
    fn exhausted(&mut self) {
        let is_long = self.stride() > 1;
        self.streak = 0;
        if is_long {
            return;
        }
        self.open[self.at] = false;
        let count = self.open.len();
        let next = (1..=count).map(|step| (self.at + step) % count).find(|argument| self.open[*argument]);
        self.at = next.unwrap_or(self.at);
        self.reached = self.best.of(self.at);
        self.next = Step::Simplify;
    }
}

impl Shrinker {
    /// Begins with so many arguments that fail, the paths that lead to them, and the hash of their values.
    pub(crate) fn new(arguments: usize, paths: Paths, values: u64, budget: usize) -> Self {
        Self {
            search: Search {
                at: 0,
                reached: paths.of(0),
                best: paths,
                next: Step::Simplify,
                streak: 0,
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
        Shrunk {
            paths: self.search.best,
            values: self.best_values,
            runs: self.runs,
            stopped_early: self.ended != Some(Ended::Simplest),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{draw, ops};
    use crate::proptest::collection::vec;
    use crate::proptest::prelude::*;
    use std::fmt::Debug;
    use xxhash_rust::xxh3::xxh3_64;

    /// Two arguments, shrunk as the harness does it: the values, and what it took.
    fn shrunk<A: Strategy, B: Strategy>(
        (one, other): (&A, &B),
        seed: u64,
        workers: usize,
        fails: impl Fn(&A::Value, &B::Value) -> bool,
    ) -> Option<(A::Value, B::Value, Shrunk)> {
        let values = |paths: &Paths| -> Option<(A::Value, B::Value)> {
            let (a, first) = draw::value(one, seed, "one", 0, &paths.of(0)).expect("nothing is filtered");
            let (b, second) = draw::value(other, seed, "other", 0, &paths.of(1)).expect("nothing is filtered");
            ([first, second] == [draw::Steps::Taken; 2]).then_some((a, b))
        };
        let hash = |values: &(A::Value, B::Value)| xxh3_64(format!("{values:?}").as_bytes());
        let drawn = values(&Paths::default()).expect("no steps");
        if !fails(&drawn.0, &drawn.1) {
            return None;
        }
        let mut shrinker = Shrinker::new(2, Paths::default(), hash(&drawn), 500);
        loop {
            let candidates = shrinker.propose(workers);
            if candidates.is_empty() {
                break;
            }
            let verdicts: Vec<Verdict> = candidates
                .iter()
                .map(|paths| match values(paths) {
                    None => Verdict::Exhausted,
                    Some(values) => {
                        let outcome = if fails(&values.0, &values.1) { Outcome::Fails } else { Outcome::Passes };
                        Verdict::Drawn { values: hash(&values), outcome }
                    }
                })
                .collect();
            shrinker.learn(verdicts);
        }
        let shrunk = shrinker.finish();
        let (one, other) = values(&shrunk.paths).expect("its path was taken before");
        Some((one, other, shrunk))
    }

    type Survey<A, B> = (usize, Vec<(<A as Strategy>::Value, <B as Strategy>::Value)>);

    /// Over many seeds: the runs in the mean, and each result.
    fn survey<A: Strategy, B: Strategy>(
        strategies: (&A, &B),
        fails: impl Fn(&A::Value, &B::Value) -> bool,
    ) -> Survey<A, B>
    where
        A::Value: Debug + PartialEq,
        B::Value: Debug + PartialEq,
    {
        let mut runs = 0;
        let mut results = Vec::new();
        for seed in 0..1000 {
            if results.len() == 40 {
                break;
            }
            let Some((one, other, result)) = shrunk(strategies, seed, 1, &fails) else { continue };
            let (a, b, parallel) = shrunk(strategies, seed, 4, &fails).expect("it fails");
            assert_eq!((&a, &b, &parallel), (&one, &other, &result), "any number of workers finds the same");
            assert!(fails(&one, &other), "{one:?}, {other:?}");
            runs += result.runs;
            results.push((one, other));
        }
        assert_eq!(results.len(), 40, "too few seeds fail");
        (runs / results.len(), results)
    }

    #[test]
    fn numbers_are_found_to_the_last_digit() {
        let (runs, results) = survey((&(0..1000u32), &(0..1000u32)), |one, other| *one >= 17 && *other >= 400);
        assert!(results.iter().all(|result| *result == (17, 400)), "{results:?}");
        assert!(runs <= 24, "{runs}");
    }

    #[test]
    fn what_does_not_matter_goes_in_a_few_runs() {
        let (runs, results) = survey((&any::<u64>(), &any::<u64>()), |_, _| true);
        assert!(results.iter().all(|result| *result == (0, 0)), "{results:?}");
        assert!(runs <= 30, "{runs}");
    }

    /// An argument is looked at again when another became simpler.
    #[test]
    fn arguments_that_depend_on_each_other_become_simple_both() {
        let (_, results) = survey((&ops(0..9u8, 0..30), &(0..30usize)), |ops, least| ops.len() >= *least);
        assert!(results.iter().all(|(ops, least)| ops.is_empty() && *least == 0), "{results:?}");
    }

    #[test]
    fn three_of_many_operations_are_found() {
        let operation = 0..50u8;
        let fails = |ops: &Vec<u8>, _: &u8| {
            let begun = ops.iter().position(|op| *op >= 40);
            begun.is_some_and(|begun| ops[begun..].iter().filter(|op| **op < 5).count() >= 2)
        };
        let (runs, results) = survey((&ops(operation.clone(), 1..60), &Just(0)), fails);
        assert!(results.iter().all(|(ops, _)| ops[..] == [40, 0, 0]), "{results:?}");
        assert!(runs <= 40, "{runs}");
        let (runs, _) = survey((&ops(operation.clone(), 1..300), &Just(0)), fails);
        assert!(runs <= 50, "{runs}");
        let (runs, _) = survey((&vec(operation, 1..300), &Just(0)), fails);
        assert!(runs <= 60, "{runs} with proptest's own");
    }

    #[test]
    fn no_list_is_shorter_than_the_shortest() {
        let (_, results) = survey((&ops(0..9u8, 4..30), &Just(0)), |ops, _| ops.contains(&8));
        assert!(results.iter().all(|(ops, _)| ops[..] == [0, 0, 0, 8] || ops.len() == 4), "{results:?}");
    }

    #[test]
    fn a_budget_ends_it_with_what_is_best_so_far() {
        let mut shrinker = Shrinker::new(1, Paths::default(), 0, 3);
        for values in 1..=3 {
            assert_eq!(shrinker.propose(1).len(), 1);
            shrinker.learn([Verdict::Drawn { values, outcome: Outcome::Fails }]);
        }
        assert!(shrinker.propose(1).is_empty());
        let Shrunk { paths, runs, stopped_early, .. } = shrinker.finish();
        assert_eq!((paths.to_string().as_str(), runs, stopped_early), ("4s", 3, true));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever fails: every element that is left is needed.
        #[test]
        fn none_of_the_operations_left_can_go(seed: u64, wanted in vec(0..20u8, 1..4)) {
            let fails = |ops: &Vec<u8>, _: &u8| wanted.iter().all(|op| ops.contains(op));
            if let Some((ops, _, result)) = shrunk((&ops(0..20u8, 0..60), &Just(0)), seed, 1, fails) {
                prop_assert!(!result.stopped_early);
                for left_out in 0..ops.len() {
                    let mut fewer = ops.clone();
                    fewer.remove(left_out);
                    prop_assert!(!fails(&fewer, &0), "{ops:?}");
                }
            }
        }
    }
}
