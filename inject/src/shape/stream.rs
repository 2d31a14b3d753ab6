//! Randomness: one ChaCha stream per trouble and link, so that the end of one trouble leaves the choices of the others
//! as they were.

use super::trouble::Spread;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::net::IpAddr;

/// What a stream is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(super) enum Purpose {
    Delay = 1,
    Loss = 2,
    Doubling = 3,
    Overtaking = 4,
    Flipping = 5,
}

/// A stream of random values.
pub(super) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of the `which`th trouble of its kind on a link, under a seed.
    pub(super) fn new(seed: u64, purpose: Purpose, which: u64, from: IpAddr, to: IpAddr) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
        key[16..24].copy_from_slice(&which.to_le_bytes());
        key[24..].copy_from_slice(&mix(fold(from) ^ mix(fold(to))).to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Any 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, by the multiply-shift method, whose bias is below 2^-32 for bounds below 2^32 (Lemire
    /// 2019).
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// True with this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number from 0 to below 1, of 53 bits.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A delay around or above `latency_ns`, distributed as in the simulated kernel.
    pub(super) fn delay_ns(&mut self, latency_ns: u64, jitter_ns: u64, spread: Spread) -> u64 {
        if jitter_ns == 0 {
            return latency_ns;
        }
        let jitters = match spread {
            Spread::Uniform => return latency_ns.saturating_add(self.below(jitter_ns)),
            Spread::Normal => {
                // The sum of twelve uniform numbers has variance 1 (Irwin–Hall).
                let sum = (0..12).fold(0_u64, |sum, _| sum.saturating_add(self.below(jitter_ns)));
                return latency_ns.saturating_add(sum).saturating_sub(jitter_ns.saturating_mul(6));
            }
            Spread::Exponential => -(1.0 - self.unit()).ln(),
            // Lomax with α = 2: x = 1/√u − 1.
            Spread::Pareto => (1.0 / (1.0 - self.unit()).sqrt() - 1.0).min(TAIL_MAX),
        };
        latency_ns.saturating_add((jitters * jitter_ns as f64) as u64)
    }
}

/// The longest tail of a Pareto-distributed delay, in jitters: about one packet in ten thousand would be later.
const TAIL_MAX: f64 = 100.0;

/// An address in 64 bits.
fn fold(address: IpAddr) -> u64 {
    let wide = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    mix(wide as u64 ^ mix((wide >> 64) as u64))
}

/// A well-mixing permutation of 64 bits (the finaliser of SplitMix64, Steele et al. 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
