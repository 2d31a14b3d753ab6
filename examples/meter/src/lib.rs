//! A service that answers each datagram with a [`Reading`]: how much it got, and what its clocks show.

use std::io;
use std::net::UdpSocket;
use std::time::{Instant, SystemTime};

/// Where it listens.
pub const PORT: u16 = 7007;
/// A datagram is no longer than this.
pub const REQUEST_BYTES_MAX: usize = 2048;

/// Every how many datagrams it says so.
const SAYS_EVERY: u64 = 1000;

/// An answer. A request is a number in eight bytes, and whatever comes behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The request's number.
    pub number: u64,
    /// The request's length.
    pub bytes: u64,
    /// What the realtime clock showed, since 1970.
    pub realtime_ns: u64,
    /// What the monotonic clock showed, since the service was started.
    pub monotonic_ns: u64,
}

impl Reading {
    /// Length of an answer.
    pub const BYTES: usize = 32;

    /// As a datagram.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let words = [self.number, self.bytes, self.realtime_ns, self.monotonic_ns];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// From a datagram, unless that is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |index: usize| Some(u64::from_be_bytes(bytes.get(index * 8..index * 8 + 8)?.try_into().ok()?));
        Some(Self { number: word(0)?, bytes: word(1)?, realtime_ns: word(2)?, monotonic_ns: word(3)? })
    }
}

/// Nanoseconds since 1970, by the realtime clock.
#[must_use]
pub fn realtime_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Answers for ever.
///
/// # Errors
/// It cannot listen.
pub fn main() -> io::Result<()> {
    let began = Instant::now();
    let socket = UdpSocket::bind(("0.0.0.0", PORT))?;
    println!("listening on port {PORT}");
    let mut request = [0; REQUEST_BYTES_MAX];
    let mut answered = 0_u64;
    loop {
        let (bytes, from) = socket.recv_from(&mut request)?;
        let monotonic_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let realtime_ns = realtime_ns();
        let Some(number) = request[..bytes].first_chunk().map(|number| u64::from_be_bytes(*number)) else { continue };
        let reading = Reading { number, bytes: bytes as u64, realtime_ns, monotonic_ns };
        // Who does not get it asks again.
        let _ = socket.send_to(&reading.to_bytes(), from);
        answered += 1;
        if answered.is_multiple_of(SAYS_EVERY) {
            println!("{answered} datagrams");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_comes_back_from_its_bytes() {
        let reading = Reading { number: 1, bytes: 2, realtime_ns: 3, monotonic_ns: 4 };
        assert_eq!(Reading::from_bytes(&reading.to_bytes()), Some(reading));
        assert_eq!(Reading::from_bytes(&[0; 31]), None);
    }
}
