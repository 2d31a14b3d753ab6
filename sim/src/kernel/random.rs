//! Entropy for programs: each start of a host has a stream of its own.

use super::dispatch::Kernel;
use super::entropy::{Purpose, Stream};
use super::thread::ThreadId;
use crate::abi::user::Out;

/// The stream of a purpose that the test names, under a seed.
pub(crate) fn random_stream(seed: u64, purpose: &str) -> rand_chacha::ChaCha8Rng {
    Stream::new(seed, Purpose::Test, entity(purpose)).into_inner()
}

fn entity(purpose: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(purpose.as_bytes())
}

impl Kernel {
    /// Fills a program's buffer from its host's stream. Asking for nothing draws nothing.
    pub(crate) fn random_fill(&mut self, me: ThreadId, out: &mut Out<'_>) -> i64 {
        let total = out.len();
        let host = self.host_id(me);
        let mut block = [0u8; 256];
        let mut done = 0;
        while done < total {
            let count = (total - done).min(block.len());
            self.hosts[host].entropy.fill(&mut block[..count]);
            self.log.returned(&block[..count]);
            out.write_at(done, &block[..count]);
            done += count;
        }
        total as i64
    }

    /// The seed of a host's random numbers: the case's, or another one if they are hushed.
    pub(crate) fn entropy_seed(&self, host: &str) -> u64 {
        if self.hushed_entropy.covers(|| host.to_owned()) { !self.seed } else { self.seed }
    }

    /// A number from a stream that the test names.
    pub(crate) fn random_for_test(&mut self, purpose: &str) -> u64 {
        let entity = entity(purpose);
        let seed = self.entropy_seed("test");
        let stream = self.streams.entry(entity).or_insert_with(|| Stream::new(seed, Purpose::Test, entity));
        stream.next()
    }
}
