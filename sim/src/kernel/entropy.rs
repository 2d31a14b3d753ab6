//! Randomness: one ChaCha stream per purpose and entity, never a global one.
//!
//! Removing a fault, a host or a connection must not reshuffle what the others see, so nobody draws from a stream that
//! is not its own.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// What a stream is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// Scheduling choices.
    Scheduler = 1,
    /// A host's `getrandom`; entity = host and start.
    Host = 2,
    /// A link's latency and jitter in any weather; entity = the two hosts.
    Link = 3,
    /// Short reads, EINTR and other legal rarities; entity = host.
    Buggify = 4,
    /// Ephemeral ports, initial sequence numbers; entity = host.
    Ports = 5,
    /// Streams that the test asks for; entity = hash of the name.
    Test = 6,
    /// The swarm: which features a seed switches on.
    Swarm = 7,
    /// What faults add to a link's jitter; entity = the two hosts.
    LinkDelay = 8,
    /// What faults make a link lose; entity = the two hosts.
    LinkLoss = 9,
    /// What faults make arrive twice; entity = the two hosts.
    LinkDoubling = 10,
    /// What faults hold back; entity = the two hosts.
    LinkOvertaking = 11,
    /// What faults flip bits of; entity = the two hosts.
    LinkFlipping = 12,
    /// What a crash leaves of a disk; entity = host.
    DiskCrash = 13,
    /// How long a disk takes; entity = host.
    DiskPace = 14,
    /// Which operations of a failing disk fail, and which bits rot; entity = host.
    DiskErrors = 15,
}

/// A stream of random values.
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of a purpose and an entity under a seed.
    pub(crate) fn new(seed: u64, purpose: Purpose, entity: u64) -> Stream {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
        key[16..24].copy_from_slice(&entity.to_le_bytes());
        Stream(ChaCha8Rng::from_seed(key))
    }

    /// The generator behind it.
    pub(crate) fn into_inner(self) -> ChaCha8Rng {
        self.0
    }

    /// Any 64 bits.
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, which must not be zero; the bias of the multiply-shift method is below 2^-32 for bounds
    /// below 2^32 (Lemire 2019).
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// True with this probability.
    #[inline]
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64) < probability
    }

    /// Fills a buffer.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// A well-mixing permutation of 64 bits (the finaliser of SplitMix64, Steele et al. 2014).
#[inline]
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Purpose, Stream};

    #[test]
    fn streams_of_different_entities_are_independent() {
        let draw = |purpose, entity| Stream::new(7, purpose, entity).next();
        assert_ne!(draw(Purpose::Link, 1), draw(Purpose::Link, 2));
        assert_ne!(draw(Purpose::Link, 1), draw(Purpose::Host, 1));
        assert_eq!(draw(Purpose::Link, 1), draw(Purpose::Link, 1));
    }

    #[test]
    fn bounds_hold_and_every_value_occurs() {
        let mut stream = Stream::new(1, Purpose::Test, 0);
        let mut seen = [false; 6];
        (0..200).for_each(|_| seen[stream.below(6) as usize] = true);
        assert_eq!(seen, [true; 6]);
        assert!(!stream.chance(0.0));
        assert!(stream.chance(1.1));
    }
}
