//! Drawing the arguments of a case: by the seed, one stream for each, inside the world.

use super::path::{Path, Paths, Step};
use crate::blackbox::{Drawing, Finding, Verdict, fitting};
use crate::chaos::Chaos;
use crate::proptest::strategy::{Strategy, ValueTree};
use crate::proptest::test_runner::{Config, Reason, RngAlgorithm, TestRng, TestRunner};
use std::fmt::Debug;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// An argument's text in the report is cut far before; this is what its file may have.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// More than any line of a report has.
const LINE_BYTES_MAX: usize = 4 << 10;

/// What decides the arguments of a case beside its seed.
#[derive(Debug, Clone, Default)]
pub(crate) struct ArgumentOrders {
    pub(crate) paths: Paths,
    /// The hash of arguments of which it is known that they fail: there is no need to run them again.
    pub(crate) known: Option<u64>,
}

/// A strategy for parameters of type `T`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no strategy for a parameter of type `{T}`",
    label = "values of `{T}` cannot be drawn from this",
    note = "a strategy is a range, `any::<T>()`, `vec(..)`, `ops(..)`, or anything else that implements proptest's \
            `Strategy`",
    note = "its values have to be of the parameter's type: write the type of a number, as in `1..9u64`"
)]
pub trait StrategyFor<T: Debug>: Strategy<Value = T> {}

#[diagnostic::do_not_recommend]
impl<T: Debug, S: Strategy<Value = T>> StrategyFor<T> for S {}

/// Takes what is a strategy for parameters of this type, and only that.
pub fn strategy_for<T: Debug, S: StrategyFor<T>>(strategy: S) -> impl Strategy<Value = T> {
    strategy
}

/// Draws the arguments of a case, one after the other.
pub struct Arguments<'c> {
    cx: &'c Chaos,
    names: Vec<&'static str>,
    /// Of all arguments so far.
    hash: Xxh3,
}

impl<'c> Arguments<'c> {
    /// Of this case.
    pub fn of(cx: &'c Chaos) -> Self {
        Self { cx, names: Vec::new(), hash: Xxh3::new() }
    }

    /// Draws the next, and takes the steps that the case's orders have for it. Ends the case when that is impossible.
    pub fn draw<T: Debug>(
        &mut self,
        name: &'static str,
        elements: Option<fn(&T) -> usize>,
        strategy: impl Strategy<Value = T>,
    ) -> T {
        let shared = self.cx.shared();
        let path = shared.arguments.paths.of(self.names.len());
        let nth = self.names.iter().filter(|other| **other == name).count();
        self.names.push(name);
        let value = match value(&strategy, self.cx.seed(), name, nth, &path) {
            // Only while steps are tried. A path that was kept may be of an earlier strategy: then it goes as far as it
            // goes.
            Ok((_, Steps::Missing)) if shared.arguments.known.is_some() => self.end(Drawing::Exhausted),
            Ok((value, _)) => value,
            Err(reason) => self.cx.give_up(Verdict::Impossible(rejected(name, &reason).into())),
        };
        let (line, text) = (format!("{value:?}"), format!("{value:#?}"));
        self.hash.update(&(line.len() as u64).to_le_bytes());
        self.hash.update(line.as_bytes());
        shared.blackbox.findings().push(&Finding::Argument {
            name: name.into(),
            line: fitting(&line, LINE_BYTES_MAX).into(),
            text: fitting(&text, TEXT_BYTES_MAX).into(),
            elements: elements.map(|count| count(&value) as u64),
        });
        value
    }

    /// All are drawn. Ends the case when it is known what becomes of them.
    pub fn done(self) {
        let values = self.hash.digest();
        if self.cx.shared().arguments.known == Some(values) {
            self.end(Drawing::Known { values });
        }
        self.cx.shared().blackbox.findings().push(&Finding::Drawing(Drawing::Drawn { values }));
    }

    fn end(&self, drawing: Drawing) -> ! {
        let findings = self.cx.shared().blackbox.findings();
        findings.push(&Finding::Drawing(drawing));
        findings.push(&Finding::Verdict(Verdict::Passed));
        crate::world::finish()
    }
}

fn rejected(name: &str, reason: &Reason) -> String {
    format!(
        "no value could be drawn for the parameter `{name}`: its strategy rejected too many ({reason})\nhelp: make the \
         values you want, with `prop_map` or `prop_flat_map`, rather than filter the others out"
    )
}

/// Whether a value tree has all the steps of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Steps {
    Taken,
    Missing,
}

/// Draws a value and takes these steps, up to the first that is impossible.
pub(super) fn value<S: Strategy>(
    strategy: &S,
    seed: u64,
    name: &str,
    nth: usize,
    path: &Path,
) -> Result<(S::Value, Steps), Reason> {
    // Not the environment's: what decides a case are its seed and its test.
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, stream(seed, name, nth));
    let mut tree = strategy.new_tree(&mut runner)?;
    let taken = path.steps().iter().all(|step| match step {
        Step::Simplify => tree.simplify(),
        Step::Complicate => tree.complicate(),
    });
    Ok((tree.current(), if taken { Steps::Taken } else { Steps::Missing }))
}

/// The stream of one argument. By name, so that those of the others stay the same when a parameter is added or moved;
/// `nth` tells those apart that have none (`_`).
fn stream(seed: u64, name: &str, nth: usize) -> TestRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(nth as u64).to_le_bytes());
    key[16..].copy_from_slice(&xxh3_128(name.as_bytes()).to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proptest::collection::vec;
    use crate::proptest::prelude::any;

    fn drawn(seed: u64, name: &str, nth: usize) -> Vec<u64> {
        let none = Path::default();
        value(&vec(any::<u64>(), 8), seed, name, nth, &none).expect("nothing is filtered").0
    }

    #[test]
    fn each_argument_has_a_stream_of_its_own() {
        assert_eq!(drawn(7, "ops", 0), drawn(7, "ops", 0));
        assert_ne!(drawn(7, "ops", 0), drawn(8, "ops", 0));
        assert_ne!(drawn(7, "ops", 0), drawn(7, "writers", 0));
        assert_ne!(drawn(7, "_", 0), drawn(7, "_", 1));
    }

    /// What is drawn from a seed must not change with versions of proptest: replays and saved cases depend on it.
    #[test]
    fn a_seed_draws_the_same_in_every_version() {
        let none = Path::default();
        let value = value(&(0..1000u32, any::<bool>()), 0x5f1d, "pair", 0, &none);
        assert_eq!(value.expect("nothing is filtered"), ((911, true), Steps::Taken));
    }

    #[test]
    fn a_strategy_that_rejects_too_often_is_named() {
        let never = any::<u8>().prop_filter("must be above 255", |value| u32::from(*value) > 255);
        let reason = value(&never, 1, "byte", 0, &Path::default()).expect_err("nothing passes");
        insta::assert_snapshot!(rejected("byte", &reason), @"
        no value could be drawn for the parameter `byte`: its strategy rejected too many (Too many local rejects)
        help: make the values you want, with `prop_map` or `prop_flat_map`, rather than filter the others out
        ");
    }
}
