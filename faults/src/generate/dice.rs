//! Choices from a stream of random values.

use proptest::test_runner::TestRng;
use rand_core::Rng;
use std::time::Duration;

/// Chooses, by a stream that somebody else has seeded.
#[derive(Debug)]
pub(crate) struct Dice<'r>(&'r mut TestRng);

impl<'r> Dice<'r> {
    pub(crate) fn new(rng: &'r mut TestRng) -> Self {
        Self(rng)
    }

    /// A number below `bound`, or 0; the bias of the multiply-shift method is below 2^-32 for bounds below 2^32
    /// (Lemire 2019).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number of this range, both ends included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least).saturating_add(1))
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these; `None` when there are none.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }

    /// Fisher and Yates, from the end.
    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for at in (1..values.len()).rev() {
            values.swap(at, self.below(at as u64 + 1) as usize);
        }
    }

    /// A number of this range, each order of magnitude as likely as any other: short and long have the same chance.
    /// Integers only, because logarithms of floats differ between machines.
    pub(crate) fn magnitude(&mut self, least: u64, most: u64) -> u64 {
        let least = least.max(1);
        if most <= least {
            return least;
        }
        // How often the least can be doubled; then a place within that doubling.
        let doublings = (most / least).ilog2();
        let low = least << self.between(0, doublings.into());
        self.between(low, most.min(low.saturating_mul(2)))
    }

    /// A length of this range, by magnitude, in three digits.
    pub(crate) fn length(&mut self, least: Duration, most: Duration) -> Duration {
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let drawn = three_digits(self.magnitude(nanoseconds(least), nanoseconds(most)));
        Duration::from_nanos(drawn.max(nanoseconds(least)))
    }
}

/// Rounds down to three significant digits: nobody reads more, and nothing depends on them.
fn three_digits(value: u64) -> u64 {
    let unit = 10_u64.pow(value.checked_ilog10().unwrap_or(0).saturating_sub(2));
    value / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::test_runner::RngAlgorithm;

    #[test]
    fn draws_stay_in_their_range_and_reach_its_ends() {
        let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let mut dice = Dice::new(&mut rng);
        let drawn = (0..2_000).map(|_| dice.magnitude(3, 40)).collect::<Vec<_>>();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&40)));
        let drawn = (0..200).map(|_| dice.between(5, 7)).collect::<Vec<_>>();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&5), Some(&7)));
        assert_eq!(dice.magnitude(9, 3), 9);
        assert_eq!(dice.pick::<u8>(&[]), None);
    }

    #[test]
    fn lengths_have_three_digits() {
        assert_eq!([0, 7, 123, 1_239, 98_765_432].map(three_digits), [0, 7, 123, 1_230, 98_700_000]);
    }
}
