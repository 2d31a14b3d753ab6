//! Finding out what a link does, by datagrams of one's own: whether a fault bites as it was asked for.
//!
//! Probes pass where the hosts' packets pass, so faults count them too.

use crate::netlink::{self, in_namespace};
use crate::{Error, Result};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Between two datagrams: so that none waits behind another, unless the link makes it.
const GAP: Duration = Duration::from_micros(100);
/// A probe's number.
const BYTES: usize = 4;
/// What one datagram takes of a socket's buffer, however short: Linux counts a `struct sk_buff` and a page's share.
const BUFFER_BYTES: usize = 1 << 10;

/// One side of a link.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// A host's network namespace.
    pub ns: BorrowedFd<'a>,
    /// An address of the host's.
    pub address: IpAddr,
}

/// What became of datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// How many were sent.
    pub sent: u32,
    /// How long each took that arrived, in the order in which they were sent.
    pub delays: Vec<Duration>,
    /// How many came more than once.
    pub doubled: u32,
}

impl Sample {
    /// How many did not arrive.
    pub fn lost(&self) -> u32 {
        self.sent.saturating_sub(u32::try_from(self.delays.len()).unwrap_or(u32::MAX))
    }

    /// Between which shares of packets the link loses, with this confidence (above 0, below 1): the exact interval of
    /// Clopper and Pearson (Biometrika 26, 1934), which is wrong in no more than `1 - confidence` of all samples,
    /// whatever the link's share is. With nothing sent nothing is known: from 0 to 1.
    pub fn loss(&self, confidence: f64) -> (f64, f64) {
        bounds(self.lost(), self.sent, confidence)
    }
}

/// Sends datagrams from one host to another, `count` of them, and waits for those that are missing until `patience` has
/// passed with none sent or received. That is above zero, and more than the link's longest delay.
///
/// All of them find room with the receiver. Who may not have so large a buffer (`net.core.rmem_max`; root may) has one
/// that holds some 500: where this process gets no processor for 50 ms, it misses some that the link did not lose.
///
/// # Errors
/// One of the hosts is off the network, or the namespaces are not this user's.
pub fn probe(from: Side<'_>, to: Side<'_>, count: u32, patience: Duration) -> Result<Sample> {
    let what = format!("probe the link from {} to {}", from.address, to.address);
    let os = |error: io::Error| match error.kind() {
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => Error::gone(&what),
        _ => Error::os(&what, error),
    };
    let bind = |side: Side<'_>| in_namespace(side.ns, || UdpSocket::bind((side.address, 0)));
    let (sender, receiver) = (bind(from)?.map_err(os)?, bind(to)?.map_err(os)?);
    netlink::widen(&receiver, count as usize * BUFFER_BYTES).map_err(os)?;
    let (source, target) = (sender.local_addr().map_err(os)?, receiver.local_addr().map_err(os)?);
    let all_sent = OnceLock::new();
    let (sent, arrived) = thread::scope(|scope| {
        let receive = scope.spawn(|| receive(&receiver, source, count, &all_sent, patience));
        let sent = send(&sender, target, count);
        // Also when it could not send all: there is nothing more to wait for.
        let _ = all_sent.set(Instant::now());
        (sent, receive.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let (sent, arrived) = (sent.map_err(os)?, arrived.map_err(os)?);
    let delays = sent
        .iter()
        .zip(&arrived)
        .filter_map(|(sent, (first, _))| first.map(|first| first.saturating_duration_since(*sent)));
    let doubled = arrived.iter().filter(|(_, times)| *times > 1).count();
    Ok(Sample { sent: count, delays: delays.collect(), doubled: u32::try_from(doubled).unwrap_or(u32::MAX) })
}

/// When each was sent.
fn send(sender: &UdpSocket, to: SocketAddr, count: u32) -> io::Result<Vec<Instant>> {
    let mut sent = Vec::with_capacity(count as usize);
    let begun = Instant::now();
    for number in 0..count {
        thread::sleep((begun + GAP * number).saturating_duration_since(Instant::now()));
        sent.push(Instant::now());
        sender.send_to(&number.to_be_bytes(), to)?;
    }
    Ok(sent)
}

/// When each first arrived, if it has, and how often. Ends when all have, or `patience` after the last was sent or
/// received: those before it may have waited for a processor, not for the link.
fn receive(
    receiver: &UdpSocket,
    from: SocketAddr,
    count: u32,
    all_sent: &OnceLock<Instant>,
    patience: Duration,
) -> io::Result<Vec<(Option<Instant>, u32)>> {
    let mut arrived = vec![(None, 0u32); count as usize];
    let mut missing = count;
    let mut latest = Instant::now();
    while missing > 0 {
        let waited = all_sent.get().map_or(Duration::ZERO, |sent| latest.max(*sent).elapsed());
        let left = patience.saturating_sub(waited);
        if left.is_zero() {
            break;
        }
        receiver.set_read_timeout(Some(left))?;
        let mut bytes = [0; BYTES + 1];
        match receiver.recv_from(&mut bytes) {
            Ok((BYTES, sender)) if sender == from => {
                let [number @ .., _] = bytes;
                let Some((first, times)) = arrived.get_mut(u32::from_be_bytes(number) as usize) else { continue };
                *times += 1;
                latest = Instant::now();
                if first.is_none() {
                    *first = Some(latest);
                    missing -= 1;
                }
            }
            Ok(_) => {} // somebody else's, or changed on the way
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(arrived)
}

fn bounds(hits: u32, of: u32, confidence: f64) -> (f64, f64) {
    let tail = (1.0 - confidence) / 2.0;
    // At the lower bound so many hits or more are just as unlikely as so few or fewer at the upper one.
    let low = if hits == 0 { 0.0 } else { share(|p| 1.0 - at_most(hits - 1, of, p) < tail) };
    let high = if hits >= of { 1.0 } else { share(|p| at_most(hits, of, p) > tail) };
    (low, high)
}

/// Where this stops to hold, between 0 and 1, by halving: 50 times is as fine as an `f64` gets.
fn share(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// How likely it is that of so many no more than these are hit, each with this probability (the binomial
/// distribution): summed in logarithms, which do not underflow.
fn at_most(hits: u32, of: u32, probability: f64) -> f64 {
    let (hit, miss) = (probability.ln(), (-probability).ln_1p());
    let mut choose = 0.0;
    let mut sum = 0.0;
    for k in 0..=hits.min(of) {
        if k > 0 {
            choose += (f64::from(of - k + 1) / f64::from(k)).ln();
        }
        sum += (choose + f64::from(k) * hit + f64::from(of - k) * miss).exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::bounds;

    /// Within what three digits show.
    #[track_caller]
    fn about((low, high): (f64, f64), wanted: (f64, f64)) {
        assert!((low - wanted.0).abs() < 6e-4 && (high - wanted.1).abs() < 6e-4, "{low} {high}");
    }

    #[test]
    fn bounds_are_clopper_and_pearson_s() {
        // The classic table for 10 (Documenta Geigy), and closed forms where nothing or everything is hit.
        about(bounds(1, 10, 0.95), (0.003, 0.445));
        about(bounds(5, 10, 0.95), (0.187, 0.813));
        about(bounds(0, 10, 0.95), (0.0, 1.0 - 0.025f64.powf(0.1)));
        about(bounds(10, 10, 0.95), (0.025f64.powf(0.1), 1.0));
        about(bounds(0, 0, 0.95), (0.0, 1.0));
    }

    #[test]
    fn more_packets_say_more_and_more_confidence_less() {
        let width = |(low, high): (f64, f64)| high - low;
        assert!(width(bounds(300, 1000, 0.99)) < width(bounds(30, 100, 0.99)));
        assert!(width(bounds(30, 100, 0.99)) > width(bounds(30, 100, 0.9)));
        let (low, high) = bounds(3_000, 10_000, 0.999);
        assert!(low > 0.28 && low < 0.3 && high > 0.3 && high < 0.32, "{low} {high}");
    }
}
