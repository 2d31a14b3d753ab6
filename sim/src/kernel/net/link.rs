//! Links: how long a segment or datagram takes from one host to another, and whether it arrives.
//!
//! A link is an ordered pair of hosts. Its state is made when it is first used, draws from streams of its own, and is
//! looked up, never iterated. Active faults are few; a link notes which of them concern it once, and again only after
//! the set of faults has changed, so that the fate of a segment costs the same whatever the number of hosts and faults.

use super::super::entropy::{Purpose, Stream, mix};
use crate::weather::Spread;
use crate::world::{FaultId, HostId, Hush};
use std::collections::{BTreeSet, HashMap};
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

/// What becomes of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It arrives, this much later.
    Arrives(u64),
    /// It is lost.
    Lost,
}

/// A delay in nanoseconds, short enough for many of them to be added up.
pub(crate) fn delay_ns(delay: Duration) -> u64 {
    /// 4.5 years, longer than any test.
    const DELAY_NS_MAX: u64 = u64::MAX >> 7;
    u64::try_from(delay.as_nanos()).map_or(DELAY_NS_MAX, |ns| ns.min(DELAY_NS_MAX))
}

/// Names a link; stays valid for the world's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LinkId(u32);

/// What a fault does to the segments of a link.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Harm {
    /// Nothing gets through.
    Cut,
    /// Everything takes longer.
    Slow {
        /// Added to each segment's way.
        latency_ns: u64,
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
        Spread::Pareto => {
            // Lomax with α = 2: x = 1/√u − 1. A square root is exact to the last digit on every processor (IEEE 754).
            let u = (stream.below(1 << 32) + 1) as f64 / (1_u64 << 32) as f64;
            latency_ns.saturating_add(((1.0 / u.sqrt() - 1.0).min(TAIL_MAX) * jitter_ns as f64) as u64)
        }
    }
}

/// The longest tail of a Pareto-distributed delay, in jitters: about one segment in ten thousand would be later.
const TAIL_MAX: f64 = 100.0;

/// Which numbers a random fault draws on a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Draws {
    /// From the beginning of the link's stream for such faults, whatever else is planned and whenever it begins: a plan
    /// that has become smaller, or rounder, goes on to do the same.
    AsPlanned,
    /// Others than any fault before it.
    ByHand,
}

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
    stream: Option<Box<Stream>>,
    /// The state of `Links::changes` that `harms` belongs to.
    seen: u64,
    /// The faults that concern this link.
    harms: Vec<Concern>,
}

/// A fault as it concerns a link.
struct Concern {
    fault: FaultId,
    /// Its place among the active ones.
    place: u32,
    /// What it draws from on this link, if it is random: a stream for each fault, so that without one of them the
    /// others, and good weather, do as they did.
    stream: Option<Box<Stream>>,
    /// What it did to the segment before.
    lost_before: bool,
}

impl Concern {
    /// What the fault does to a segment: how much it adds to its way, and whether it is lost.
    fn strike(&mut self, harm: Harm) -> (u64, bool) {
        match (harm, &mut self.stream) {
            (Harm::Cut, _) => (0, true),
            (Harm::Slow { latency_ns, jitter_ns, spread }, Some(stream)) => {
                (spread_ns(stream, latency_ns, jitter_ns, spread), false)
            }
            (Harm::Slow { latency_ns, .. }, None) => (latency_ns, false),
            (Harm::Lossy { probability, correlation }, Some(stream)) => {
                let repeats = correlation > 0.0 && stream.chance(correlation);
                let fresh = stream.chance(probability);
                self.lost_before = if repeats { self.lost_before } else { fresh };
                (0, self.lost_before)
            }
            (Harm::Lossy { .. }, None) => (0, false),
        }
    }
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
        let mut link = Link { from, to, base_ns: CALM_NS, jitter_ns: 0, stream: None, seen, harms };
        if from == to {
            link.base_ns = LOOPBACK_NS;
        } else if !self.hush.covers(|| self.name(from, to)) {
            let mut stream = Stream::new(self.seed, Purpose::Link, pair);
            link.base_ns = BASE_NS_MIN + stream.below(BASE_NS_MAX - BASE_NS_MIN);
            link.jitter_ns = stream.below(JITTER_NS_MAX);
            link.stream = Some(Box::new(stream));
        }
        self.table.push(link);
        id
    }

    /// The active faults that concern a link; those that did before go on where they were.
    fn concerning(&self, from: HostId, to: HostId, before: Vec<Concern>) -> Vec<Concern> {
        let mut before = before.into_iter().peekable();
        let active = self.faults.iter().zip(0..).filter(|(fault, _)| fault.concerns(from, to));
        let concern = |(fault, place): (&Fault, u32)| {
            // Both lists are in the order in which faults began.
            while before.next_if(|earlier| earlier.fault.0 < fault.id.0).is_some() {}
            let known = before.next_if(|earlier| earlier.fault == fault.id);
            known.map_or_else(|| self.new_concern(fault, place, from, to), |known| Concern { place, ..known })
        };
        active.map(concern).collect()
    }

    fn new_concern(&self, fault: &Fault, place: u32, from: HostId, to: HostId) -> Concern {
        let stream = |purpose| {
            let which = match fault.draws {
                Draws::AsPlanned => 0,
                Draws::ByHand => fault.id.0,
            };
            Some(Box::new(Stream::new(self.seed, purpose, pair(from, to) ^ mix(which))))
        };
        let stream = match fault.harm {
            Harm::Cut | Harm::Slow { jitter_ns: 0, .. } => None,
            Harm::Slow { .. } => stream(Purpose::LinkDelay),
            Harm::Lossy { .. } => stream(Purpose::LinkLoss),
        };
        Concern { fault: fault.id, place, stream, lost_before: false }
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

    /// Decides the fate of a segment or datagram that is sent now.
    #[inline]
    pub(crate) fn fate(&mut self, id: LinkId) -> Fate {
        let link = &mut self.table[id.0 as usize];
        let jitter = match &mut link.stream {
            Some(stream) if link.jitter_ns > 0 => stream.below(link.jitter_ns),
            _ => 0,
        };
        let delay = link.base_ns + jitter;
        if link.seen != self.changes || !link.harms.is_empty() {
            return self.fate_in_bad_weather(id, delay);
        }
        Fate::Arrives(delay)
    }

    /// What becomes of a segment that would take this long in good weather.
    #[cold]
    fn fate_in_bad_weather(&mut self, id: LinkId, calm_delay: u64) -> Fate {
        self.refresh(id);
        let link = &mut self.table[id.0 as usize];
        let mut fate = Fate::Arrives(calm_delay);
        for concern in &mut link.harms {
            let fault = &mut self.faults[concern.place as usize];
            // Each draws for every segment, lost already or not: so that without one fault the others do the same.
            let (added, lost) = concern.strike(fault.harm);
            if let Fate::Arrives(delay) = fate {
                fault.affected += u64::from(lost || added > 0);
                fate = if lost { Fate::Lost } else { Fate::Arrives(delay.saturating_add(added)) };
            }
        }
        fate
    }

    /// The delay of an acknowledgement that carries nothing: without the link's own jitter, so that it draws only under
    /// faults.
    #[inline]
    pub(crate) fn fate_of_acknowledgement(&mut self, id: LinkId) -> Fate {
        let link = &self.table[id.0 as usize];
        if link.seen != self.changes || !link.harms.is_empty() {
            return self.fate_in_bad_weather(id, link.base_ns);
        }
        Fate::Arrives(link.base_ns)
    }

    /// The typical delay of this link, as a sender may have measured it: for timeouts.
    pub(crate) fn one_way_ns(&mut self, id: LinkId) -> u64 {
        self.refresh(id);
        let link = &self.table[id.0 as usize];
        let slow = link.harms.iter().filter_map(|concern| match self.faults[concern.place as usize].harm {
            Harm::Slow { latency_ns, .. } => Some(latency_ns),
            Harm::Cut | Harm::Lossy { .. } => None,
        });
        link.base_ns + slow.sum::<u64>()
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

    /// Ends a fault; answers how many segments and datagrams it affected.
    pub(crate) fn heal(&mut self, id: FaultId) -> u64 {
        let Some(at) = self.faults.iter().position(|fault| fault.id == id) else { return 0 };
        self.changes += 1;
        self.faults.remove(at).affected
    }
}

#[cfg(test)]
mod tests {
    use super::{Draws, Fate, Harm, Links};
    use crate::weather::Spread;
    use crate::world::{HostId, Hush};
    use std::collections::BTreeSet;

    const A: HostId = HostId(0);
    const B: HostId = HostId(1);
    const C: HostId = HostId(2);

    fn lossy(probability: f64) -> Harm {
        Harm::Lossy { probability, correlation: 0.0 }
    }

    fn delays(links: &mut Links, from: HostId, to: HostId) -> Vec<Fate> {
        let link = links.between(from, to);
        (0..100).map(|_| links.fate(link)).collect()
    }

    #[test]
    fn good_weather_is_constant() {
        let mut links = Links::new(7, Hush::Everything);
        assert!(delays(&mut links, A, B).iter().all(|fate| *fate == Fate::Arrives(1_000_000)));
        assert!(delays(&mut links, A, A).iter().all(|fate| *fate == Fate::Arrives(10_000)));
    }

    #[test]
    fn a_link_s_latency_does_not_depend_on_other_links() {
        let (mut one, mut other) = (Links::new(7, Hush::Nothing), Links::new(7, Hush::Nothing));
        delays(&mut other, A, C);
        assert_eq!(delays(&mut one, A, B), delays(&mut other, A, B));
        assert_ne!(delays(&mut one, A, B), delays(&mut one, B, A));
    }

    #[test]
    fn one_link_varies_as_ever_while_the_others_are_hushed() {
        let mut links = Links::new(7, Hush::AllBut(BTreeSet::from(["a->b".to_owned()])));
        ["a", "b", "c"].into_iter().for_each(|name| links.add_host(name));
        assert_eq!(delays(&mut links, A, B), delays(&mut Links::new(7, Hush::Nothing), A, B));
        for (from, to) in [(B, A), (A, C), (C, B)] {
            assert!(delays(&mut links, from, to).iter().all(|fate| *fate == Fate::Arrives(1_000_000)));
        }
    }

    #[test]
    fn a_cut_concerns_its_direction_and_accounts_for_what_it_swallowed() {
        let mut links = Links::new(7, Hush::Everything);
        let link = links.between(A, B);
        let one_way = links.harm(Harm::Cut, &[A], &[B, C], false, Draws::ByHand);
        assert_eq!(links.fate(link), Fate::Lost);
        let back = links.between(B, A);
        assert_eq!(links.fate(back), Fate::Arrives(1_000_000));
        let both = links.harm(Harm::Cut, &[A], &[B], true, Draws::ByHand);
        assert_eq!(links.fate(back), Fate::Lost);
        assert_eq!(links.affected(one_way), 1);
        assert_eq!(links.heal(one_way), 1);
        assert_eq!(links.affected(one_way), 0);
        assert_eq!(links.fate(link), Fate::Lost);
        assert_eq!(links.heal(both), 2);
        assert_eq!(links.fate(link), Fate::Arrives(1_000_000));
        assert_eq!(links.heal(both), 0);
    }

    #[test]
    fn a_host_in_both_sets_still_reaches_itself() {
        let mut links = Links::new(7, Hush::Everything);
        links.harm(Harm::Cut, &[A, B], &[A, B], true, Draws::ByHand);
        let own = links.between(A, A);
        assert_eq!(links.fate(own), Fate::Arrives(10_000));
    }

    #[test]
    fn a_fault_leaves_the_choices_of_others_on_its_link_and_of_good_weather_alone() {
        let lost = |others: &[Harm]| {
            let mut links = Links::new(7, Hush::Nothing);
            let link = links.between(A, B);
            let brief: Vec<_> =
                others.iter().map(|harm| links.harm(*harm, &[A], &[B], false, Draws::AsPlanned)).collect();
            let lossy = links.harm(lossy(0.3), &[A], &[B], false, Draws::AsPlanned);
            delays(&mut links, A, B);
            links.fate_of_acknowledgement(link);
            brief.into_iter().for_each(|fault| assert!(links.heal(fault) >= 100));
            let lost: Vec<bool> = delays(&mut links, A, B).iter().map(|fate| *fate == Fate::Lost).collect();
            links.heal(lossy);
            (lost, delays(&mut links, A, B))
        };
        let alone = lost(&[]);
        assert_eq!(alone, lost(&[Harm::Slow { latency_ns: 0, jitter_ns: 1 << 40, spread: Spread::Uniform }]));
        assert_eq!(alone, lost(&[Harm::Cut]));
        assert_eq!(alone.0.len(), 100);
        let (both, _) = lost(&[Harm::Lossy { probability: 1.0, correlation: 0.0 }]);
        assert_eq!(alone.0, both, "another loss on the same link is no concern of this one");
        let mut calm = Links::new(7, Hush::Nothing);
        (0..2).for_each(|_| drop(delays(&mut calm, A, B)));
        assert_eq!(alone.1, delays(&mut calm, A, B));
    }

    #[test]
    fn slowness_and_loss_combine() {
        let mut links = Links::new(7, Hush::Everything);
        let link = links.between(A, B);
        let slow = links.harm(
            Harm::Slow { latency_ns: 5, jitter_ns: 0, spread: Spread::Uniform },
            &[A],
            &[B],
            false,
            Draws::ByHand,
        );
        assert_eq!(links.fate(link), Fate::Arrives(1_000_005));
        assert_eq!(links.one_way_ns(link), 1_000_005);
        let lossy = links.harm(lossy(0.5), &[A], &[B], false, Draws::ByHand);
        let lost = (0..1000).filter(|_| links.fate(link) == Fate::Lost).count();
        assert!((400..600).contains(&lost), "{lost} of 1000");
        assert_eq!(links.heal(lossy), lost as u64);
        assert!(links.heal(slow) > 1000 - lost as u64);
    }

    /// Added delays of ten thousand segments, in order.
    fn added(spread: Spread) -> Vec<u64> {
        let mut links = Links::new(7, Hush::Everything);
        let link = links.between(A, B);
        links.harm(Harm::Slow { latency_ns: 10_000, jitter_ns: 1000, spread }, &[A], &[B], false, Draws::ByHand);
        let mut added: Vec<u64> = (0..10_000)
            .map(|_| match links.fate(link) {
                Fate::Arrives(delay) => delay - 1_000_000,
                Fate::Lost => unreachable!("nothing is lost"),
            })
            .collect();
        added.sort_unstable();
        added
    }

    #[test]
    fn delays_are_spread_as_asked() {
        let quantiles = |spread| {
            let added = added(spread);
            [10, 5_000, 8_413, 9_900].map(|at| added[at] as i64 - 10_000)
        };
        let near = |measured: [i64; 4], expected: [i64; 4]| {
            let all_near = measured.iter().zip(expected).all(|(m, e)| (m - e).abs() <= 60 + e.abs() / 10);
            assert!(all_near, "{measured:?} against {expected:?}");
        };
        near(quantiles(Spread::Uniform), [1, 500, 841, 990]);
        // The median, one deviation and 2.33 deviations of a normal distribution.
        near(
            quantiles(Spread::Normal)[1..].try_into().map(|[a, b, c]: [i64; 3]| [0, a, b, c]).expect("three"),
            [0, 0, 1000, 2330],
        );
        // 1/√(1 − q) − 1.
        near(quantiles(Spread::Pareto), [0, 414, 1510, 9000]);
    }

    #[test]
    fn correlated_losses_come_in_bursts_but_are_no_more() {
        let run = |correlation| {
            let mut links = Links::new(7, Hush::Everything);
            let link = links.between(A, B);
            links.harm(Harm::Lossy { probability: 0.2, correlation }, &[A], &[B], false, Draws::ByHand);
            let lost: Vec<bool> = (0..20_000).map(|_| links.fate(link) == Fate::Lost).collect();
            let bursts = lost.windows(2).filter(|pair| pair[1] && !pair[0]).count();
            (lost.iter().filter(|lost| **lost).count(), bursts)
        };
        let ((alone, single), (correlated, bursts)) = (run(0.0), run(0.8));
        assert!(alone.abs_diff(4000) < 300 && correlated.abs_diff(4000) < 700, "{alone} and {correlated} of 20000");
        assert!(bursts * 3 < single, "{bursts} bursts, {single} without correlation");
    }
}
