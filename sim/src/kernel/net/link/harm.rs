//! What faults do to what travels on a link.
//!
//! Each fault has a stream of its own on each link, and draws for every segment, lost already or not: so that without
//! one of them the others, and good weather, do as they did.

use super::Parcel;
use super::Passage;
use crate::kernel::entropy::{Purpose, Stream};
use crate::weather::Spread;
use crate::world::FaultId;

/// What a fault does to the segments of a link.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Harm {
    /// Nothing gets through.
    Cut,
    /// Everything takes longer.
    Slow {
        /// Added to each segment's way.
        latency_ns: u64,
        /// Others, each as likely as the first.
        or_ns: Vec<u64>,
        /// How much that varies, drawn for each segment.
        jitter_ns: u64,
        /// How the jitter is distributed.
        spread: Spread,
    },
    /// Each segment is lost with this probability.
    Lossy {
        /// From 0 to 1.
        probability: f64,
        /// How likely a segment shares the fate of the one before: losses come in bursts, as many as before.
        correlation: f64,
    },
    /// Each segment arrives twice with this probability.
    Doubling {
        /// From 0 to 1.
        probability: f64,
    },
    /// Each segment is held back with this probability, so that later ones overtake it.
    Overtaking {
        /// From 0 to 1.
        probability: f64,
        /// For how long.
        by_ns: u64,
    },
    /// A bit of each segment is flipped with this probability.
    Flipping {
        /// From 0 to 1.
        probability: f64,
    },
    /// No more gets through than this.
    Narrow {
        /// Payload. At least one.
        bytes_per_second: u64,
        /// How many bytes may wait; a datagram that finds more is dropped.
        queue_bytes: u64,
    },
}

impl Harm {
    /// What its choices are drawn from, if it has any.
    pub(super) fn draws_from(&self) -> Option<Purpose> {
        match self {
            Harm::Cut | Harm::Narrow { .. } => None,
            Harm::Slow { jitter_ns: 0, or_ns, .. } if or_ns.is_empty() => None,
            Harm::Slow { .. } => Some(Purpose::LinkDelay),
            Harm::Lossy { .. } => Some(Purpose::LinkLoss),
            Harm::Doubling { .. } => Some(Purpose::LinkDoubling),
            Harm::Overtaking { .. } => Some(Purpose::LinkOvertaking),
            Harm::Flipping { .. } => Some(Purpose::LinkFlipping),
        }
    }

    /// Whether segments wait for one another.
    pub(super) fn is_queue(&self) -> bool {
        matches!(self, Harm::Narrow { .. })
    }

    /// What it typically adds to a segment's way.
    pub(super) fn typical_ns(&self) -> u64 {
        match self {
            Harm::Slow { latency_ns, .. } => *latency_ns,
            Harm::Cut
            | Harm::Lossy { .. }
            | Harm::Doubling { .. }
            | Harm::Overtaking { .. }
            | Harm::Flipping { .. }
            | Harm::Narrow { .. } => 0,
        }
    }
}

/// Which numbers a random fault draws on a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Draws {
    /// From the beginning of the link's stream for such faults, whatever else is planned and whenever it begins: a plan
    /// that has become smaller, or rounder, goes on to do the same.
    AsPlanned,
    /// Others than any fault before it.
    ByHand,
}

/// After how many of its ways a segment that is held back has been sent again, and arrived: a round trip, a quarter of
/// one to be sure, and the way.
const RETRANSMITTED_AFTER: u64 = 3;

/// What is known of a segment's way so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    passage: Passage,
    lost: bool,
}

impl Way {
    /// Of one that would take this long in good weather.
    pub(super) fn new(delay: u64) -> Way {
        Way { passage: Passage { delay, twice: false, flipped: None, leaves: 0 }, lost: false }
    }

    /// How it arrives.
    pub(super) fn passage(self) -> Option<Passage> {
        /// 146 years: added to any time of a world it is still one.
        const DELAY_NS_MAX: u64 = u64::MAX >> 2;
        let delay = self.passage.delay.min(DELAY_NS_MAX);
        (!self.lost).then_some(Passage { delay, ..self.passage })
    }

    /// Takes longer; answers whether that makes a difference.
    fn delay(&mut self, ns: u64) -> bool {
        self.passage.delay = self.passage.delay.saturating_add(ns);
        ns > 0
    }

    fn lose(&mut self) -> bool {
        self.lost = true;
        true
    }
}

/// A fault as it concerns a link.
pub(super) struct Concern {
    pub(super) fault: FaultId,
    /// Its place among the active ones.
    pub(super) place: u32,
    /// What it draws from on this link, if it is random.
    stream: Option<Box<Stream>>,
    /// What it did to the segment before.
    lost_before: bool,
    /// When the last byte in its queue will have left.
    pub(super) busy_until: u64,
}

impl Concern {
    /// A fault that has not struck yet.
    pub(super) fn new(fault: FaultId, place: u32, stream: Option<Box<Stream>>) -> Concern {
        Concern { fault, place, stream, lost_before: false, busy_until: 0 }
    }

    /// The same, elsewhere among the active ones.
    pub(super) fn at(self, place: u32) -> Concern {
        Concern { place, ..self }
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.stream.as_mut().is_some_and(|stream| stream.chance(probability))
    }

    /// Does to a segment what the fault does; answers whether that made a difference.
    pub(super) fn strike(&mut self, harm: &Harm, parcel: Parcel, way: &mut Way) -> bool {
        let lost = way.lost;
        match *harm {
            Harm::Cut => !lost && way.lose(),
            Harm::Slow { latency_ns, ref or_ns, jitter_ns, spread } => {
                let added = match &mut self.stream {
                    Some(stream) => {
                        // Nothing is drawn when there is no choice: a plan without `or` draws what it always drew.
                        let which = if or_ns.is_empty() { 0 } else { stream.below(or_ns.len() as u64 + 1) as usize };
                        let latency_ns = if which == 0 { latency_ns } else { or_ns[which - 1] };
                        spread_ns(stream, latency_ns, jitter_ns, spread)
                    }
                    None => latency_ns,
                };
                !lost && way.delay(added)
            }
            Harm::Lossy { probability, correlation } => {
                let repeats = correlation > 0.0 && self.chance(correlation);
                let fresh = self.chance(probability);
                self.lost_before = if repeats { self.lost_before } else { fresh };
                self.lost_before && !lost && way.lose()
            }
            Harm::Doubling { probability } => {
                // A stream knows a segment that comes again.
                let strikes = self.chance(probability) && !lost && parcel.droppable;
                way.passage.twice |= strikes;
                strikes
            }
            Harm::Overtaking { probability, by_ns } => {
                // A sender of a stream does not wait so long: RACK (RFC 8985) has the segment retransmitted.
                let by_ns = if parcel.droppable { by_ns } else { by_ns.min(RETRANSMITTED_AFTER * way.passage.delay) };
                self.chance(probability) && !lost && way.delay(by_ns)
            }
            Harm::Flipping { probability } => {
                let Some(stream) = &mut self.stream else { return false };
                let (strikes, which) = (stream.chance(probability) && !lost && parcel.flippable, stream.next());
                if strikes {
                    way.passage.flipped = Some(which);
                }
                strikes
            }
            Harm::Narrow { .. } if lost || parcel.bytes == 0 => false,
            Harm::Narrow { bytes_per_second, queue_bytes } => self.queue(bytes_per_second, queue_bytes, parcel, way),
        }
    }

    /// First come, first served.
    fn queue(&mut self, bytes_per_second: u64, queue_bytes: u64, parcel: Parcel, way: &mut Way) -> bool {
        const SECOND_NS: u128 = 1_000_000_000;
        let Parcel { now, bytes, droppable, .. } = parcel;
        let bytes = if way.passage.twice { bytes.saturating_mul(2) } else { bytes };
        let waits_ns = self.busy_until.saturating_sub(now);
        let waiting = u128::from(waits_ns) * u128::from(bytes_per_second) / SECOND_NS;
        if droppable && waiting + u128::from(bytes) > u128::from(queue_bytes) {
            return way.lose();
        }
        // The time at which a byte has left is never rounded twice: of many small segments none is late for it.
        let takes_ns = (u128::from(bytes) * SECOND_NS).div_ceil(u128::from(bytes_per_second.max(1)));
        self.busy_until = now.saturating_add(waits_ns).saturating_add(u64::try_from(takes_ns).unwrap_or(u64::MAX >> 7));
        way.passage.leaves = way.passage.leaves.max(self.busy_until);
        way.delay(self.busy_until - now)
    }
}

/// A delay around or above `latency_ns`. Nothing here calls the mathematical library, whose last digit depends on the
/// processor.
fn spread_ns(stream: &mut Stream, latency_ns: u64, jitter_ns: u64, spread: Spread) -> u64 {
    if jitter_ns == 0 {
        return latency_ns;
    }
    match spread {
        Spread::Uniform => latency_ns + stream.below(jitter_ns),
        Spread::Normal => {
            // The sum of twelve uniform numbers has variance 1 (Irwin–Hall); nobody is more than 6 deviations away.
            let sum: u64 = (0..12).map(|_| stream.below(jitter_ns)).sum();
            (latency_ns + sum).saturating_sub(6 * jitter_ns)
        }
        Spread::Exponential => latency_ns.saturating_add((exponential(stream) * jitter_ns as f64) as u64),
        Spread::Pareto => {
            // Lomax with α = 2: x = 1/√u − 1. A square root is exact to the last digit on every processor (IEEE 754).
            let u = (stream.below(1 << 32) + 1) as f64 / (1_u64 << 32) as f64;
            latency_ns.saturating_add(((1.0 / u.sqrt() - 1.0).min(TAIL_MAX) * jitter_ns as f64) as u64)
        }
    }
}

/// An exponentially distributed number of mean 1, without a logarithm: von Neumann's comparison of uniform numbers
/// ("Various techniques used in connection with random digits", 1951).
fn exponential(stream: &mut Stream) -> f64 {
    let mut whole = 0.0;
    loop {
        let first = stream.next();
        let (mut last, mut length) = (first, 1);
        loop {
            let next = stream.next();
            if next >= last {
                break;
            }
            (last, length) = (next, length + 1);
        }
        if length % 2 == 1 {
            return whole + (first >> 11) as f64 * (1.0 / (1_u64 << 53) as f64);
        }
        whole += 1.0;
    }
}

/// The longest tail of a Pareto-distributed delay, in jitters: about one segment in ten thousand would be later.
const TAIL_MAX: f64 = 100.0;
