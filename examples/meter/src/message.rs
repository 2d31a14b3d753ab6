//! What is asked and answered: datagrams of big-endian words of eight bytes.

/// A datagram is no longer than this.
pub const REQUEST_BYTES_MAX: usize = 2048;

/// What stands behind a request's words, however long it is: bits of it that are others have been flipped on the way.
const FILL: u8 = 0x55;

/// What is to be done before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Nothing.
    Answer,
    /// Write to a file until that is refused, or it has the most bytes. The amount: bytes.
    Fill,
    /// Make files until that is refused, or there are the most of them. The amount: files.
    Make,
    /// Write so many bytes to a file, and sync it. The amount: bytes.
    Write,
    /// Read from a file so many times. The amount: how many failed.
    Read,
    /// Write to a file and sync it, so many times. The amount: how many syncs failed.
    Sync,
    /// Read a file of so many bytes, which is made and synced if there is none. The amount: bits that have flipped.
    Compare,
    /// Append to a file that is never synced, and to one that is. The amount: bytes of the second.
    Append,
    /// The amount: bytes of the file that was never synced.
    Unsynced,
    /// The amount: bytes of the file that was synced.
    Synced,
    /// Open descriptors until that is refused, or there are the most of them. The amount: descriptors.
    Open,
    /// Start threads until that is refused, or there are the most of them. The amount: threads.
    Start,
    /// Take memory, and answer after each step, up to the most bytes. The amount: bytes.
    Allocate,
    /// So many rounds of work on all processors. The amount: ticks of them that this process has had; nothing where
    /// that is not known.
    Work,
    /// Look up the name [`NAME`]. The amount: its IPv4 address; nothing if it has none.
    Resolve,
}

/// The name that is looked up.
pub const NAME: &str = "test";

impl Task {
    const ALL: [Self; 15] = [
        Self::Answer,
        Self::Fill,
        Self::Make,
        Self::Write,
        Self::Read,
        Self::Sync,
        Self::Compare,
        Self::Append,
        Self::Unsynced,
        Self::Synced,
        Self::Open,
        Self::Start,
        Self::Allocate,
        Self::Work,
        Self::Resolve,
    ];
}

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Which of the asker's it is.
    pub number: u64,
    /// What is to be done.
    pub task: Task,
    /// How much of it.
    pub amount: u64,
}

impl Request {
    /// The length of the shortest.
    pub const BYTES: usize = 32;

    /// As a datagram of so many bytes, or of the fewest.
    #[must_use]
    pub fn to_bytes(self, length: usize) -> Vec<u8> {
        let mut bytes = to_bytes([self.number, self.task as u64, self.amount, self.check()]);
        bytes.resize(length.max(Self::BYTES), FILL);
        bytes
    }

    /// From a datagram, and how many bits have flipped behind it; nothing if it is none, or has flipped itself.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<(Self, u64)> {
        let [number, task, amount, check] = from_bytes(bytes)?;
        let task = *Task::ALL.get(usize::try_from(task).ok()?)?;
        let request = Self { number, task, amount };
        let flipped = bytes[Self::BYTES..].iter().map(|byte| u64::from((byte ^ FILL).count_ones())).sum();
        (request.check() == check).then_some((request, flipped))
    }

    fn check(self) -> u64 {
        !(self.number ^ (self.task as u64) ^ self.amount)
    }
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The request's number.
    pub number: u64,
    /// The request's length.
    pub bytes: u64,
    /// How many bits of it had flipped.
    pub flipped: u64,
    /// How many requests came before it.
    pub arrival: u64,
    /// What the realtime clock showed when it came, since 1970.
    pub realtime_ns: u64,
    /// What the monotonic clock showed then, since the service was started.
    pub monotonic_ns: u64,
    /// What came of the task, as the task has it.
    pub amount: u64,
    /// Why there is not more of that; 0 if it is all that was asked for.
    pub errno: u64,
}

impl Reading {
    /// Length of an answer.
    pub const BYTES: usize = 64;

    /// As a datagram.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let Self { number, bytes, flipped, arrival, realtime_ns, monotonic_ns, amount, errno } = self;
        to_bytes([number, bytes, flipped, arrival, realtime_ns, monotonic_ns, amount, errno])
    }

    /// From a datagram, unless that is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [number, bytes, flipped, arrival, realtime_ns, monotonic_ns, amount, errno] = from_bytes(bytes)?;
        Some(Self { number, bytes, flipped, arrival, realtime_ns, monotonic_ns, amount, errno })
    }
}

fn to_bytes<const N: usize>(words: [u64; N]) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_be_bytes).collect()
}

fn from_bytes<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let words = bytes.chunks_exact(8).map(|word| word.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    words.take(N).collect::<Vec<_>>().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_from_its_bytes() {
        for task in Task::ALL {
            let request = Request { number: 1, task, amount: 2 };
            assert_eq!(Request::from_bytes(&request.to_bytes(64)), Some((request, 0)));
        }
        assert_eq!(Request::from_bytes(&[0; 31]), None);
    }

    #[test]
    fn a_bit_that_flips_is_noticed_wherever_it_stands() {
        let request = Request { number: 1, task: Task::Answer, amount: 2 };
        for bit in 0..8 * 64 {
            let mut bytes = request.to_bytes(64);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let expected = (bit >= 8 * Request::BYTES).then_some((request, 1));
            assert_eq!(Request::from_bytes(&bytes), expected, "bit {bit}");
        }
    }

    #[test]
    fn a_reading_comes_back_from_its_bytes() {
        let reading = Reading {
            number: 1,
            bytes: 2,
            flipped: 3,
            arrival: 4,
            realtime_ns: 5,
            monotonic_ns: 6,
            amount: 7,
            errno: 8,
        };
        assert_eq!(reading.to_bytes().len(), Reading::BYTES);
        assert_eq!(Reading::from_bytes(&reading.to_bytes()), Some(reading));
        assert_eq!(Reading::from_bytes(&[0; 63]), None);
    }
}
