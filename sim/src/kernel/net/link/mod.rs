//! Links: how long a segment or datagram takes from one host to another, and whether it arrives.
//!
//! A link is an ordered pair of hosts. Its state is made when it is first used, draws from streams of its own, and is
//! looked up, never iterated. Active faults are few; a link notes which of them concern it once, and again only after
//! the set of faults has changed, so that the fate of a segment costs the same whatever the number of hosts and faults.

mod harm;
#[cfg(test)]
mod tests;

use super::super::entropy::{Purpose, Stream, mix};
use super::super::timers::TimerKey;
use super::tcp::{ConnectionId, Side};
use crate::world::{FaultId, HostId, Hush};
use harm::{Concern, Way};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

/// One way within a host: what Linux's loopback takes, from a write in one process to a wake-up in another.
const LOOPBACK_NS: u64 = 10_000;
/// One way between hosts in good weather.
const CALM_NS: u64 = 1_000_000;
/// One way between hosts: from here on…
const BASE_NS_MIN: u64 = 500_000;
/// …to here, drawn once for each link; and on top of that…
const BASE_NS_MAX: u64 = 1_500_000;
/// …at most this, drawn for each segment. A link's own bound is drawn once.
const JITTER_NS_MAX: u64 = 500_000;

pub(crate) use harm::{Draws, Harm};

/// What becomes of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It arrives, this much later.
    Arrives(u64),
    /// It is lost.
    Lost,
}

/// How a datagram arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Passage {
    /// How much later.
    pub(crate) delay: u64,
    /// A second time as well.
    pub(crate) twice: bool,
    /// With one bit flipped: any number, for whoever chooses the bit.
    pub(crate) flipped: Option<u64>,
    /// When it has left the queue of a narrow link, if it stands in one.
    pub(crate) leaves: u64,
}

/// Flips one bit of a datagram: any number chooses which.
pub(crate) fn flip(bytes: &mut [u8], which: u64) {
    let bit = which % (8 * bytes.len() as u64);
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
}

/// What is sent, as far as links care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parcel {
    /// When.
    pub(crate) now: u64,
    /// How many bytes of payload. What has none (SYN, ACK, RST…) takes no bandwidth and waits for nobody, as what is
    /// seldom sent does with fq_codel, the usual queue of Linux distributions (tc-fq_codel(8), "new flows").
    pub(crate) bytes: u64,
    /// It is dropped when a narrow link's queue is full. A TCP sender's own queue does not overflow: it holds back what
    /// would not leave soon (TCP small queues, `tcp_small_queue_check`, net/ipv4/tcp_output.c).
    pub(crate) droppable: bool,
    /// A bit of it can be flipped: of a datagram in pieces only the first has the checksum, with which it is delivered.
    pub(crate) flippable: bool,
}

impl Parcel {
    /// Of a stream.
    pub(crate) fn stream(now: u64, bytes: u64) -> Parcel {
        Parcel { now, bytes, droppable: false, flippable: true }
    }

    /// A segment without payload.
    pub(crate) fn bare(now: u64) -> Parcel {
        Parcel::stream(now, 0)
    }

    /// A datagram, or a piece of one.
    pub(crate) fn datagram(now: u64, bytes: u64, is_first_piece: bool) -> Parcel {
        Parcel { now, bytes, droppable: true, flippable: is_first_piece && bytes > 0 }
    }
}

/// How far ahead of a narrow link a TCP sender works: what `sk_pacing_shift` leaves to a queue (tcp_output.c).
const QUEUED_NS_MAX: u64 = 1_000_000;

/// A delay in nanoseconds, short enough for many of them to be added up.
pub(crate) fn delay_ns(delay: Duration) -> u64 {
    /// 4.5 years, longer than any test.
    const DELAY_NS_MAX: u64 = u64::MAX >> 7;
    u64::try_from(delay.as_nanos()).map_or(DELAY_NS_MAX, |ns| ns.min(DELAY_NS_MAX))
}

/// Names a link; stays valid for the world's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LinkId(u32);

/// A fault in force.
struct Fault {
    id: FaultId,
    harm: Harm,
    draws: Draws,
    from: BTreeSet<HostId>,
    to: BTreeSet<HostId>,
    both_ways: bool,
    affected: u64,
}

impl Fault {
    fn concerns(&self, from: HostId, to: HostId) -> bool {
        // A host in both sets does not cut itself off from itself.
        from != to
            && (self.from.contains(&from) && self.to.contains(&to)
                || self.both_ways && self.from.contains(&to) && self.to.contains(&from))
    }
}

/// One way between two hosts.
struct Link {
    from: HostId,
    to: HostId,
    base_ns: u64,
    jitter_ns: u64,
    /// When the last datagram arrives in good weather: the next does not overtake it.
    datagrams_until: u64,
    stream: Option<Box<Stream>>,
    /// The state of `Links::changes` that `harms` belongs to.
    seen: u64,
    /// The faults that concern this link.
    harms: Vec<Concern>,
    /// TCP senders that wait for their turn on it, while it is narrow: a segment each, in turn.
    waiting: VecDeque<(ConnectionId, Side)>,
    /// When the next has its turn.
    turn: Option<TimerKey>,
}

/// A link's identity among streams.
fn pair(from: HostId, to: HostId) -> u64 {
    u64::from(from.0) << 32 | u64::from(to.0)
}

/// Hashes a pair of hosts; the table is looked up, never iterated.
#[derive(Default)]
pub(super) struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = mix(self.0 ^ u64::from(*byte)));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = mix(value);
    }
}

/// Every link of the world, and the faults on them.
pub(crate) struct Links {
    table: Vec<Link>,
    by_pair: HashMap<u64, LinkId, BuildHasherDefault<PairHasher>>,
    faults: Vec<Fault>,
    faults_ever: u64,
    /// Counts changes of `faults`.
    changes: u64,
    seed: u64,
    hush: Hush,
    /// How far hosts are from each other, where the test says so; by [`pair`].
    distances: BTreeMap<u64, u64>,
    /// By number.
    hosts: Vec<String>,
}

impl Links {
    /// No links yet; none of those that are hushed will ever vary.
    pub(crate) fn new(seed: u64, hush: Hush) -> Links {
        Links {
            table: Vec::new(),
            by_pair: HashMap::default(),
            faults: Vec::new(),
            faults_ever: 0,
            changes: 0,
            seed,
            hush,
            distances: BTreeMap::new(),
            hosts: Vec::new(),
        }
    }

    /// A host joins. Hosts come in the order of their numbers.
    pub(crate) fn add_host(&mut self, name: &str) {
        self.hosts.push(name.to_owned());
    }

    /// What reports call a link.
    fn name(&self, from: HostId, to: HostId) -> String {
        let host = |id: HostId| self.hosts.get(id.0 as usize).map_or("", String::as_str);
        format!("{}->{}", host(from), host(to))
    }

    /// The link from one host to another, or to itself.
    pub(crate) fn between(&mut self, from: HostId, to: HostId) -> LinkId {
        let pair = pair(from, to);
        if let Some(id) = self.by_pair.get(&pair) {
            return *id;
        }
        let id = LinkId(self.table.len() as u32);
        self.by_pair.insert(pair, id);
        let (seen, harms) = (self.changes, self.concerning(from, to, Vec::new()));
        let mut link = Link {
            from,
            to,
            base_ns: CALM_NS,
            jitter_ns: 0,
            datagrams_until: 0,
            stream: None,
            seen,
            harms,
            waiting: VecDeque::new(),
            turn: None,
        };
        if from == to {
            link.base_ns = LOOPBACK_NS;
        } else if !self.hush.covers(|| self.name(from, to)) {
            let mut stream = Stream::new(self.seed, Purpose::Link, pair);
            link.base_ns = BASE_NS_MIN + stream.below(BASE_NS_MAX - BASE_NS_MIN);
            link.jitter_ns = stream.below(JITTER_NS_MAX);
            link.stream = Some(Box::new(stream));
        }
        if let Some(ns) = self.distances.get(&pair) {
            link.base_ns = *ns;
        }
        self.table.push(link);
        id
    }

    /// Sets what a segment takes from one host to another in good weather, before its jitter.
    pub(crate) fn set_distance(&mut self, from: HostId, to: HostId, ns: u64) {
        self.distances.insert(pair(from, to), ns);
        if let Some(id) = self.by_pair.get(&pair(from, to)) {
            self.table[id.0 as usize].base_ns = ns;
        }
    }

    /// The active faults that concern a link; those that did before go on where they were.
    fn concerning(&self, from: HostId, to: HostId, before: Vec<Concern>) -> Vec<Concern> {
        let mut before = before.into_iter().peekable();
        let active = self.faults.iter().zip(0..).filter(|(fault, _)| fault.concerns(from, to));
        let concern = |(fault, place): (&Fault, u32)| {
            // Both lists are in the order in which faults began.
            while before.next_if(|earlier| earlier.fault.0 < fault.id.0).is_some() {}
            let known = before.next_if(|earlier| earlier.fault == fault.id);
            known.map_or_else(|| self.new_concern(fault, place, from, to), |known| known.at(place))
        };
        active.map(concern).collect()
    }

    fn new_concern(&self, fault: &Fault, place: u32, from: HostId, to: HostId) -> Concern {
        let stream = fault.harm.draws_from().map(|purpose| {
            let which = match fault.draws {
                Draws::AsPlanned => 0,
                Draws::ByHand => fault.id.0,
            };
            Box::new(Stream::new(self.seed, purpose, pair(from, to) ^ mix(which)))
        });
        Concern::new(fault.id, place, stream)
    }

    /// Brings a link's knowledge of the faults up to date.
    fn refresh(&mut self, id: LinkId) {
        let link = &mut self.table[id.0 as usize];
        if link.seen != self.changes {
            let (from, to, before) = (link.from, link.to, std::mem::take(&mut link.harms));
            let harms = self.concerning(from, to, before);
            let link = &mut self.table[id.0 as usize];
            link.harms = harms;
            link.seen = self.changes;
        }
    }

    /// Decides the fate of a segment. One whose bits are flipped fails its checksum, and one that arrives twice is
    /// known already: to a stream they are a loss and nothing.
    #[inline]
    pub(crate) fn fate(&mut self, id: LinkId, parcel: Parcel) -> Fate {
        match self.passage(id, parcel) {
            Some(Passage { delay, flipped: None, .. }) => Fate::Arrives(delay),
            Some(_) | None => Fate::Lost,
        }
    }

    /// Decides how something arrives; `None` when it is lost.
    #[inline]
    pub(crate) fn passage(&mut self, id: LinkId, parcel: Parcel) -> Option<Passage> {
        let link = &mut self.table[id.0 as usize];
        let jitter = match &mut link.stream {
            Some(stream) if link.jitter_ns > 0 => stream.below(link.jitter_ns),
            _ => 0,
        };
        let mut delay = link.base_ns + jitter;
        if parcel.droppable {
            // What leaves in order arrives in order, as through one queue after another; `net::reorderings()` and
            // latencies that vary are there for the rest. Streams keep their order by themselves.
            link.datagrams_until = link.datagrams_until.max(parcel.now + delay);
            delay = link.datagrams_until - parcel.now;
        }
        if link.seen != self.changes || !link.harms.is_empty() {
            return self.passage_in_bad_weather(id, delay, parcel);
        }
        Some(Passage { delay, twice: false, flipped: None, leaves: 0 })
    }

    /// How something arrives that would take this long in good weather.
    #[cold]
    fn passage_in_bad_weather(&mut self, id: LinkId, calm_delay: u64, parcel: Parcel) -> Option<Passage> {
        self.refresh(id);
        let link = &mut self.table[id.0 as usize];
        let mut way = Way::new(calm_delay);
        // What is lost elsewhere takes no bandwidth.
        for last in [false, true] {
            for concern in &mut link.harms {
                let fault = &mut self.faults[concern.place as usize];
                if fault.harm.is_queue() == last {
                    fault.affected += u64::from(concern.strike(&fault.harm, parcel, &mut way));
                }
            }
        }
        way.passage()
    }

    /// The fate of an acknowledgement that carries nothing: without the link's own jitter, so that it draws only under
    /// faults.
    #[inline]
    pub(crate) fn fate_of_acknowledgement(&mut self, id: LinkId, now: u64) -> Fate {
        let link = &self.table[id.0 as usize];
        if link.seen != self.changes || !link.harms.is_empty() {
            return match self.passage_in_bad_weather(id, link.base_ns, Parcel::bare(now)) {
                Some(Passage { delay, flipped: None, .. }) => Fate::Arrives(delay),
                Some(_) | None => Fate::Lost,
            };
        }
        Fate::Arrives(link.base_ns)
    }

    /// Whether a TCP sender has to wait.
    #[inline]
    pub(crate) fn crowded(&mut self, id: LinkId, now: u64) -> bool {
        self.crowded_until(id, now).is_some()
    }

    /// When a TCP sender may send more, if not now: a narrow link has as much in its queue as it should.
    #[inline]
    pub(crate) fn crowded_until(&mut self, id: LinkId, now: u64) -> Option<u64> {
        let link = &self.table[id.0 as usize];
        if link.seen == self.changes && link.harms.is_empty() {
            return None;
        }
        self.refresh(id);
        let until = self.queued_until(id).saturating_sub(QUEUED_NS_MAX);
        (until > now).then_some(until)
    }

    /// A TCP sender waits for its turn. Answers when that may be, if nobody has asked before.
    pub(super) fn wait(&mut self, id: LinkId, now: u64, sender: (ConnectionId, Side)) -> Option<u64> {
        let at = self.crowded_until(id, now).unwrap_or(now);
        let link = &mut self.table[id.0 as usize];
        link.waiting.push_back(sender);
        link.turn.is_none().then_some(at)
    }

    /// The event of the next turn.
    pub(super) fn set_turn(&mut self, id: LinkId, turn: Option<TimerKey>) -> Option<TimerKey> {
        std::mem::replace(&mut self.table[id.0 as usize].turn, turn)
    }

    /// Whose turn it is.
    pub(super) fn next_waiting(&mut self, id: LinkId) -> Option<(ConnectionId, Side)> {
        self.table[id.0 as usize].waiting.pop_front()
    }

    /// Whether anybody waits.
    #[inline]
    pub(super) fn anybody_waits(&self, id: LinkId) -> bool {
        !self.table[id.0 as usize].waiting.is_empty()
    }

    /// Whether a link has a queue.
    pub(super) fn is_narrow(&mut self, id: LinkId) -> bool {
        self.refresh(id);
        let harms = &self.table[id.0 as usize].harms;
        harms.iter().any(|concern| self.faults[concern.place as usize].harm.is_queue())
    }

    /// When what a link has in its queues will have left.
    fn queued_until(&self, id: LinkId) -> u64 {
        self.table[id.0 as usize].harms.iter().map(|concern| concern.busy_until).max().unwrap_or(0)
    }

    /// The typical delay of this link, as a sender may have measured it: for timeouts.
    pub(crate) fn one_way_ns(&mut self, id: LinkId, now: u64) -> u64 {
        self.refresh(id);
        let link = &self.table[id.0 as usize];
        let slow = link.harms.iter().map(|concern| self.faults[concern.place as usize].harm.typical_ns());
        link.base_ns + slow.sum::<u64>() + self.queued_until(id).saturating_sub(now)
    }

    /// Whether a link stays within its host.
    pub(crate) fn is_loopback(&self, id: LinkId) -> bool {
        let link = &self.table[id.0 as usize];
        link.from == link.to
    }

    /// Puts a fault in force on every link from one set of hosts to another.
    pub(crate) fn harm(
        &mut self,
        harm: Harm,
        from: &[HostId],
        to: &[HostId],
        both_ways: bool,
        draws: Draws,
    ) -> FaultId {
        self.faults_ever += 1;
        self.changes += 1;
        let id = FaultId(self.faults_ever);
        let (from, to) = (from.iter().copied().collect(), to.iter().copied().collect());
        self.faults.push(Fault { id, harm, draws, from, to, both_ways, affected: 0 });
        id
    }

    /// How many segments and datagrams a fault in force has affected so far.
    pub(crate) fn affected(&self, id: FaultId) -> u64 {
        self.faults.iter().find(|fault| fault.id == id).map_or(0, |fault| fault.affected)
    }

    /// Ends a fault; answers how many segments and datagrams it affected, and the links where some wait for it.
    pub(crate) fn heal(&mut self, id: FaultId, now: u64) -> (u64, Vec<LinkId>) {
        let Some(at) = self.faults.iter().position(|fault| fault.id == id) else { return (0, Vec::new()) };
        self.changes += 1;
        let in_queue = |link: &Link| link.harms.iter().any(|concern| concern.fault == id && concern.busy_until > now);
        let waits = |link: &Link| in_queue(link) || link.turn.is_some();
        let links = (0..).map(LinkId).zip(&self.table).filter(|(_, link)| waits(link)).map(|(id, _)| id).collect();
        (self.faults.remove(at).affected, links)
    }
}
