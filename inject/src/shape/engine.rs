//! What becomes of a packet: values in, values out, no clock, no socket.
//!
//! Troubles overlap as they like. Each has a state and a stream of random numbers of its own on each link, and draws
//! for every packet, lost already or not: so that without one of them the others would have done as they did. What is
//! lost takes no bandwidth, whichever trouble is asked first.

use super::stream::{Purpose, Stream};
use super::trouble::{Endpoint, Links, QUEUE_BYTES, Spread, Trouble};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// A packet, as far as links care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Who sends it.
    pub from: IpAddr,
    /// Who is to receive it.
    pub to: IpAddr,
    /// Bytes of payload, without any header. What has none takes no bandwidth.
    pub payload_bytes: u64,
    /// It waits behind what has been sent before: what has a payload, and a stream's end. Bare acknowledgements do not,
    /// as what is seldom sent does not with fq_codel (tc-fq_codel(8), "new flows").
    pub stands_in_line: bool,
    /// There are bits to be flipped.
    pub flippable: bool,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is lost.
    Lost,
    /// It arrives.
    Arrives(Passage),
}

/// How a packet arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// How much later than without troubles, in nanoseconds.
    pub delay_ns: u64,
    /// A second time as well.
    pub twice: bool,
    /// With one bit flipped: any number, for whoever chooses the bit.
    pub flipped: Option<u64>,
}

/// Names a trouble in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TroubleId(u64);

/// One way between two addresses.
pub type Pair = (IpAddr, IpAddr);

/// All pairs of addresses which these links concern: of one family each, and nobody with itself.
pub fn pairs(links: &Links) -> BTreeSet<Pair> {
    let mut all = BTreeSet::new();
    for from in &links.from {
        for to in links.to.iter().filter(|to| *to != from) {
            for (from, to) in from.0.iter().flat_map(|from| to.0.iter().map(move |to| (*from, *to))) {
                if from.is_ipv4() == to.is_ipv4() && from != to {
                    all.insert((from, to));
                    if links.both_ways {
                        all.insert((to, from));
                    }
                }
            }
        }
    }
    all
}

/// The troubles in force, and what they have done.
pub struct Engine {
    seed: u64,
    troubles: Vec<InForce>,
    ever: u64,
}

struct InForce {
    id: TroubleId,
    trouble: Trouble,
    /// The link that each pair of addresses belongs to.
    links: BTreeMap<Pair, usize>,
    states: Vec<State>,
    bit: u64,
}

/// What a trouble knows of a link.
struct State {
    stream: Option<Stream>,
    /// What it did to the packet before.
    lost_before: bool,
    /// When the last byte in its queue will have left.
    busy_until_ns: u64,
}

impl Engine {
    /// No troubles. The seed decides every choice of those to come.
    pub fn new(seed: u64) -> Self {
        Self { seed, troubles: Vec::new(), ever: 0 }
    }

    /// A trouble is in force on these links from now on.
    pub fn begin(&mut self, links: &Links, trouble: Trouble) -> TroubleId {
        self.ever += 1;
        let id = TroubleId(self.ever);
        let mut names: BTreeMap<Pair, usize> = BTreeMap::new();
        let mut states = Vec::new();
        let concerned = pairs(links).into_iter().map(|(from, to)| {
            // Hosts are named by their first addresses.
            let name = (first_address(links, from), first_address(links, to));
            let link = *names.entry(name).or_insert_with(|| {
                let stream = purpose(&trouble).map(|purpose| {
                    // Two troubles of a kind on one link choose apart from each other.
                    let others = self.troubles.iter().filter(|other| draws_alike(other, purpose, (from, to)));
                    Stream::new(self.seed, purpose, others.count() as u64, name.0, name.1)
                });
                states.push(State { stream, lost_before: false, busy_until_ns: 0 });
                states.len() - 1
            });
            ((from, to), link)
        });
        let links = concerned.collect();
        self.troubles.push(InForce { id, trouble, links, states, bit: 0 });
        id
    }

    /// A trouble ends; answers how many packets it bit on. One that has ended already bit on none.
    pub fn end(&mut self, id: TroubleId) -> u64 {
        let at = self.troubles.iter().position(|trouble| trouble.id == id);
        at.map_or(0, |at| self.troubles.remove(at).bit)
    }

    /// How many packets a trouble in force has lost, delayed, doubled or changed.
    pub fn bit(&self, id: TroubleId) -> u64 {
        self.troubles.iter().find(|trouble| trouble.id == id).map_or(0, |trouble| trouble.bit)
    }

    /// Decides what becomes of a packet. Time is in nanoseconds from anywhere, and does not go backwards.
    pub fn judge(&mut self, now_ns: u64, packet: Packet) -> Fate {
        let mut way = Way { passage: Passage { delay_ns: 0, twice: false, flipped: None }, lost: false };
        for queues in [false, true] {
            for trouble in &mut self.troubles {
                if matches!(trouble.trouble, Trouble::Narrow { .. }) != queues {
                    continue;
                }
                if let Some(link) = trouble.links.get(&(packet.from, packet.to)) {
                    let struck = trouble.states[*link].strike(&trouble.trouble, now_ns, packet, &mut way);
                    trouble.bit += u64::from(struck);
                }
            }
        }
        if way.lost { Fate::Lost } else { Fate::Arrives(way.passage) }
    }
}

/// Whether a trouble draws from streams of this purpose on a pair's link.
fn draws_alike(other: &InForce, wanted: Purpose, pair: Pair) -> bool {
    purpose(&other.trouble) == Some(wanted) && other.links.contains_key(&pair)
}

fn first_address(links: &Links, of: IpAddr) -> IpAddr {
    let owner = links.from.iter().chain(&links.to).find(|endpoint| endpoint.0.contains(&of));
    owner.and_then(|Endpoint(addresses)| addresses.first()).copied().unwrap_or(of)
}

/// What a trouble's choices are drawn from, if it has any.
fn purpose(trouble: &Trouble) -> Option<Purpose> {
    match trouble {
        Trouble::Partition | Trouble::Narrow { .. } => None,
        Trouble::Slow { or, jitter, .. } if or.is_empty() && jitter.is_zero() => None,
        Trouble::Slow { .. } => Some(Purpose::Delay),
        Trouble::Lossy { .. } => Some(Purpose::Loss),
        Trouble::Doubling { .. } => Some(Purpose::Doubling),
        Trouble::Overtaking { .. } => Some(Purpose::Overtaking),
        Trouble::Flipping { .. } => Some(Purpose::Flipping),
    }
}

/// What is known of a packet's way so far.
struct Way {
    passage: Passage,
    lost: bool,
}

impl Way {
    /// Takes longer; answers whether that makes a difference.
    fn delay(&mut self, ns: u64) -> bool {
        self.passage.delay_ns = self.passage.delay_ns.saturating_add(ns);
        ns > 0
    }

    fn lose(&mut self) -> bool {
        self.lost = true;
        true
    }
}

impl State {
    fn chance(&mut self, probability: f64) -> bool {
        self.stream.as_mut().is_some_and(|stream| stream.chance(probability))
    }

    /// Does to a packet what the trouble does; answers whether that made a difference.
    fn strike(&mut self, trouble: &Trouble, now_ns: u64, packet: Packet, way: &mut Way) -> bool {
        let lost = way.lost;
        match *trouble {
            Trouble::Partition => !lost && way.lose(),
            Trouble::Slow { latency, ref or, jitter, spread } => {
                let added = self.latency_ns(latency, or, jitter, spread);
                !lost && way.delay(added)
            }
            Trouble::Lossy { probability, correlation } => {
                let repeats = correlation > 0.0 && self.chance(correlation);
                let fresh = self.chance(probability);
                self.lost_before = if repeats { self.lost_before } else { fresh };
                self.lost_before && !lost && way.lose()
            }
            Trouble::Doubling { probability } => {
                let strikes = self.chance(probability) && !lost;
                way.passage.twice |= strikes;
                strikes
            }
            Trouble::Overtaking { probability, by } => self.chance(probability) && !lost && way.delay(nanoseconds(by)),
            Trouble::Flipping { probability } => {
                let Some(stream) = &mut self.stream else { return false };
                let (strikes, which) = (stream.chance(probability) && !lost && packet.flippable, stream.next());
                if strikes {
                    way.passage.flipped = Some(which);
                }
                strikes
            }
            Trouble::Narrow { .. } if lost || !packet.stands_in_line => false,
            Trouble::Narrow { bytes_per_second, queue_bytes } => {
                self.queue(bytes_per_second, queue_bytes.unwrap_or(QUEUE_BYTES), now_ns, packet, way)
            }
        }
    }

    fn latency_ns(&mut self, latency: Duration, or: &[Duration], jitter: Duration, spread: Spread) -> u64 {
        let Some(stream) = &mut self.stream else { return nanoseconds(latency) };
        // Nothing is drawn when there is no choice.
        let which = if or.is_empty() { 0 } else { stream.below(or.len() as u64 + 1) as usize };
        let latency = if which == 0 { latency } else { or[which - 1] };
        stream.delay_ns(nanoseconds(latency), nanoseconds(jitter), spread)
    }

    /// First come, first served; what finds the queue full is dropped.
    fn queue(&mut self, bytes_per_second: u64, queue_bytes: u64, now_ns: u64, packet: Packet, way: &mut Way) -> bool {
        const SECOND_NS: u128 = 1_000_000_000;
        let copies = if way.passage.twice { 2 } else { 1 };
        let bytes = u128::from(packet.payload_bytes) * copies;
        let waits_ns = self.busy_until_ns.saturating_sub(now_ns);
        let waiting = u128::from(waits_ns) * u128::from(bytes_per_second) / SECOND_NS;
        if waiting + bytes > u128::from(queue_bytes) {
            return way.lose();
        }
        let takes_ns = (bytes * SECOND_NS).div_ceil(u128::from(bytes_per_second.max(1)));
        let takes_ns = u64::try_from(takes_ns).unwrap_or(u64::MAX >> 7);
        self.busy_until_ns = now_ns.saturating_add(waits_ns).saturating_add(takes_ns);
        way.delay(self.busy_until_ns - now_ns)
    }
}

/// A delay short enough for many of them to be added up: at most 4.5 years.
fn nanoseconds(delay: Duration) -> u64 {
    const DELAY_NS_MAX: u64 = u64::MAX >> 7;
    u64::try_from(delay.as_nanos()).map_or(DELAY_NS_MAX, |ns| ns.min(DELAY_NS_MAX))
}
