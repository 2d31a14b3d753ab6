//! Lists of operations that shrink as plans of faults do: chunks by halves first, then single ones, then each.
//!
//! proptest's own `vec` deletes one element at a time, from the front, once; what only became superfluous when another
//! became simpler stays. Of a long workload most operations do not matter, and each deletion is a simulation.

use crate::proptest::collection::SizeRange;
use crate::proptest::strategy::{NewTree, Strategy, ValueTree};
use crate::proptest::test_runner::TestRunner;

/// After elements became simpler, some may have become superfluous: how often that is looked into.
const ROUNDS_MAX: usize = 3;

/// A list of operations, drawn one by one: as many as `count` says.
///
/// As proptest's `vec`, but it shrinks further: it leaves out halves, then quarters, down to single operations, from
/// the end to the beginning, until none can go; it simplifies the operations that are left; and then it sees again
/// whether any can go. Three operations of thirty that cause a failure are found, and simplified, in about thirty runs.
///
/// ```
/// use windtunnel::prelude::*;
///
/// #[derive(Debug)]
/// enum Op {
///     Put(u8, u32),
///     Get(u8),
/// }
///
/// fn op() -> impl Strategy<Value = Op> {
///     prop_oneof![
///         (0..4u8, any::<u32>()).prop_map(|(key, value)| Op::Put(key, value)),
///         (0..4u8).prop_map(Op::Get),
///     ]
/// }
///
/// #[chaos_test]
/// async fn agrees_with_a_map(#[strategy = ops(op(), 1..40)] ops: Vec<Op>) {
///     assert!((1..40).contains(&ops.len()));
/// }
/// # fn main() { let _ = (Op::Put(0, 0), Op::Get(0), op()); }
/// ```
pub fn ops<S: Strategy>(operation: S, count: impl Into<SizeRange>) -> Ops<S> {
    Ops { operation, count: count.into() }
}

/// The strategy that [`ops`] makes.
#[derive(Debug, Clone)]
#[must_use = "a strategy does nothing until values are drawn from it"]
pub struct Ops<S> {
    operation: S,
    count: SizeRange,
}

/// A drawn list of operations, and how much simpler it has become.
#[derive(Debug, Clone)]
pub struct OpsTree<T> {
    operations: Vec<T>,
    /// Places of the operations that are left.
    kept: Vec<usize>,
    count_min: usize,
    stage: Stage,
    /// What the last simplification did, until it is known whether it counts.
    last: Option<Last>,
    /// Whether anything became simpler since chunks were left out.
    simplified: bool,
    rounds: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Leaves out `size` operations that end at `end`.
    Chunks {
        size: usize,
        end: usize,
        dropped: bool,
    },
    /// Simplifies this of the operations that are left.
    Each {
        at: usize,
    },
    Done,
}

#[derive(Debug, Clone)]
enum Last {
    /// Left these out, which stood from this place on.
    LeftOut { at: usize, places: Vec<usize> },
    /// Simplified this of the operations that are left.
    Simplified { at: usize },
}

impl<S: Strategy> Strategy for Ops<S> {
    type Tree = OpsTree<S::Tree>;
    type Value = Vec<S::Value>;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let (least, most) = self.count.start_end_incl();
        let count = (least..=most).new_tree(runner)?.current();
        let operations = (0..count).map(|_| self.operation.new_tree(runner)).collect::<Result<Vec<_>, _>>()?;
        let stage = chunks(count, count - least);
        let kept = (0..count).collect();
        Ok(OpsTree { operations, kept, count_min: least, stage, last: None, simplified: false, rounds: 0 })
    }
}

/// Leaves out as much as possible at once, if anything.
fn chunks(count: usize, spare: usize) -> Stage {
    if spare == 0 { Stage::Each { at: 0 } } else { Stage::Chunks { size: spare, end: count, dropped: false } }
}

impl<T: ValueTree> ValueTree for OpsTree<T> {
    type Value = Vec<T::Value>;

    fn current(&self) -> Self::Value {
        self.kept.iter().map(|place| self.operations[*place].current()).collect()
    }

    fn simplify(&mut self) -> bool {
        // Whoever simplifies again has seen the last value fail.
        if let (Some(Last::LeftOut { .. }), Stage::Chunks { dropped, .. }) = (&self.last, &mut self.stage) {
            *dropped = true;
        }
        self.simplified |= matches!(self.last, Some(Last::Simplified { .. }));
        self.last = None;
        loop {
            match self.stage {
                Stage::Chunks { size, end, dropped } => {
                    if self.leave_out(size, end, dropped) {
                        return true;
                    }
                }
                Stage::Each { at } if at < self.kept.len() => {
                    if self.operations[self.kept[at]].simplify() {
                        self.last = Some(Last::Simplified { at });
                        return true;
                    }
                    self.stage = Stage::Each { at: at + 1 };
                }
                Stage::Each { .. } => {
                    self.rounds += 1;
                    let again = self.simplified && self.rounds < ROUNDS_MAX && self.kept.len() > self.count_min;
                    self.simplified = false;
                    self.stage = if again {
                        Stage::Chunks { size: 1, end: self.kept.len(), dropped: false }
                    } else {
                        Stage::Done
                    };
                }
                Stage::Done => return false,
            }
        }
    }

    fn complicate(&mut self) -> bool {
        match self.last.take() {
            Some(Last::LeftOut { at, places }) => {
                self.kept.splice(at..at, places);
                true
            }
            Some(Last::Simplified { at }) => {
                let further = self.operations[self.kept[at]].complicate();
                if further {
                    self.last = Some(Last::Simplified { at });
                }
                further
            }
            None => false,
        }
    }
}

impl<T> OpsTree<T> {
    /// Leaves out the next chunk, or goes over to what comes after chunks of this size.
    fn leave_out(&mut self, size: usize, end: usize, dropped: bool) -> bool {
        let size = size.min(self.kept.len() - self.count_min);
        if size > 0 && end > 0 {
            let start = end.saturating_sub(size);
            let places: Vec<usize> = self.kept.drain(start..end).collect();
            self.stage = Stage::Chunks { size, end: start, dropped };
            self.last = Some(Last::LeftOut { at: start, places });
            return true;
        }
        let count = self.kept.len();
        self.stage = match size {
            0 => Stage::Each { at: 0 },
            // Which of two go together is only known when one of them is gone.
            1 if dropped => Stage::Chunks { size: 1, end: count, dropped: false },
            1 => Stage::Each { at: 0 },
            _ => Stage::Chunks { size: (size / 2).min(count.div_ceil(2)).max(1), end: count, dropped: false },
        };
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proptest::prelude::*;
    use crate::proptest::test_runner::{Config, RngAlgorithm, TestRng};

    fn is_part_of(part: &[u16], whole: &[u16]) -> bool {
        let mut whole = whole.iter();
        part.iter().all(|wanted| whole.any(|other| other == wanted))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The rules that every value tree keeps, for any sequence of failures and passes.
        #[test]
        fn a_list_gets_shorter_and_comes_back(
            seed: [u8; 32],
            least in 0..5usize,
            fails in proptest::collection::vec(any::<bool>(), 0..300),
        ) {
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
            let mut runner = TestRunner::new_with_rng(Config::default(), rng);
            // Constants: what is left is what was drawn.
            let constants = (0..u16::MAX).prop_map(|value| value).no_shrink();
            let mut tree = ops(constants, least..40).new_tree(&mut runner).expect("nothing is filtered");
            let mut best = tree.current();
            for fails in [true].into_iter().chain(fails) {
                let further = if fails { best = tree.current(); tree.simplify() } else { tree.complicate() };
                let now = tree.current();
                prop_assert!(now.len() >= least && is_part_of(&now, &best));
                prop_assert!(!further || !fails || now.len() < best.len());
                if !further && fails {
                    break;
                }
                if !further {
                    prop_assert_eq!(&now, &best);
                }
            }
        }
    }
}
