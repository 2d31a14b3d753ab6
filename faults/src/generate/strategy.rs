//! Plans as a proptest strategy.

use super::dice::Dice;
use super::{Faults, Window};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::topology::Topology;
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// Plans for a topology and a window, made by [`Faults::strategy`].
///
/// Draws faults from the runner's stream without nesting strategies: `prop_flat_map` would draw a plan anew for each
/// step of shrinking.
#[derive(Debug, Clone)]
pub struct PlanStrategy {
    faults: Faults,
    topology: Topology,
    window: Window,
}

impl PlanStrategy {
    pub(super) fn new(faults: Faults, topology: Topology, window: Window) -> Self {
        Self { faults, topology, window }
    }
}

impl Strategy for PlanStrategy {
    type Tree = PlanTree;
    type Value = Plan;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let plan = self.faults.draw_with(&mut Dice::new(runner.rng()), &self.topology, self.window);
        let faults = plan.faults.into_iter().map(|fault| (fault, Fate::Kept)).collect();
        Ok(PlanTree { faults, next: 0 })
    }
}

/// A drawn plan whose faults can be left out one by one. For proptest's own runner; the harness shrinks plans with
/// [`Shrinker`](crate::shrink::Shrinker).
#[derive(Debug, Clone)]
pub struct PlanTree {
    faults: Vec<(Fault, Fate)>,
    /// Everything before has been tried.
    next: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    LeftOut,
}

impl ValueTree for PlanTree {
    type Value = Plan;

    fn current(&self) -> Plan {
        self.faults.iter().filter(|(_, fate)| *fate == Fate::Kept).map(|(fault, _)| fault.clone()).collect()
    }

    fn simplify(&mut self) -> bool {
        let Some((_, fate)) = self.faults.get_mut(self.next) else { return false };
        *fate = Fate::LeftOut;
        self.next += 1;
        true
    }

    fn complicate(&mut self) -> bool {
        let last = self.next.checked_sub(1).and_then(|at| self.faults.get_mut(at));
        match last {
            Some((_, fate)) if *fate == Fate::LeftOut => {
                *fate = Fate::Kept;
                true
            }
            _ => false,
        }
    }
}
