//! One fault after the other: when, where, what, how hard.

use super::budget::is_redundant;
use super::dice::Dice;
use super::weather::{Intensity, Weather};
use super::{Budget, Faults, Window};
use crate::effect::dns::{Answer, DnsHijack};
use crate::effect::network::{Bandwidth, Corruption, Distribution, Duplication, Latency, Loss, Reordering};
use crate::effect::partition::{Partition, RING_HOSTS_MIN};
use crate::effect::process::{CpuBurn, Crash, Manner, MemoryPressure, Pause, Pressure, Resource, TaskLeak};
use crate::effect::storage::{BitRot, DiskErrors, DiskFull, InodeExhaustion, IoThrottle};
use crate::effect::time::{ClockDrift, ClockSkew, Correction, Onset};
use crate::effect::{Effect, Kind};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::quantity::{Drift, Offset, Percent, Rate, Size};
use crate::selector::{Links, Selector};
use crate::start::Start;
use crate::topology::{Topology, minority};
use std::time::Duration;

/// A plan in the making.
pub(crate) struct Draw<'a, 'r> {
    pub(crate) faults: &'a Faults,
    pub(crate) weather: Weather,
    pub(crate) topology: &'a Topology,
    pub(crate) window: Window,
    pub(crate) dice: &'a mut Dice<'r>,
    plan: Plan,
}

/// A fault that is over the budget or would do nothing is drawn again this often, then left out.
const TRIES: usize = 8;

impl<'a, 'r> Draw<'a, 'r> {
    pub(crate) fn new(
        faults: &'a Faults,
        weather: Weather,
        topology: &'a Topology,
        window: Window,
        dice: &'a mut Dice<'r>,
    ) -> Self {
        Self { faults, weather, topology, window, dice, plan: Plan::default() }
    }

    /// How many faults the plan shall have.
    pub(crate) fn how_many(&mut self) -> usize {
        match self.faults.faults_max {
            0 => 0,
            most => self.dice.between(1, most as u64) as usize,
        }
    }

    /// Adds a fault unless that would be over the budget, or would do nothing.
    pub(crate) fn add(&mut self, fault: Fault) -> bool {
        if is_redundant(&fault, &self.plan.faults, self.topology) || self.is_one_too_many(fault.kind()) {
            return false;
        }
        self.plan.faults.push(fault);
        let affordable = self.faults.budget == Budget::Unlimited || self.plan.overdraft(self.topology).is_none();
        if !affordable {
            self.plan.faults.pop();
        }
        affordable
    }

    fn is_one_too_many(&self, kind: Kind) -> bool {
        let rare = |kind| self.faults.rare.contains(kind);
        rare(kind) && self.plan.faults.iter().filter(|fault| rare(fault.kind())).count() >= self.faults.rare_max
    }

    /// Adds random faults until there are as many.
    pub(crate) fn fill(&mut self, count: usize) {
        let kinds = self.weather.kinds();
        while self.plan.faults.len() < count {
            let added = (0..TRIES).any(|_| {
                let Some(kind) = self.dice.pick(&kinds).copied() else { return false };
                let fault = self.fault(kind);
                self.add(fault)
            });
            if !added {
                return;
            }
        }
    }

    pub(crate) fn finish(self) -> Plan {
        self.plan.in_order()
    }

    /// A fault of a kind.
    pub(crate) fn fault(&mut self, kind: Kind) -> Fault {
        let effect = self.effect(kind);
        let (start, lasts) = (self.start(), Some(self.length()));
        Fault { start, lasts, effect, declared_severity: None }
    }

    fn start(&mut self) -> Start {
        if !self.faults.marks.is_empty() && self.dice.once_in(2) {
            let mark = self.dice.pick(&self.faults.marks).cloned().unwrap_or_default();
            let at_once = self.dice.once_in(2);
            let later = self.dice.length(Duration::from_millis(1), Duration::from_secs(1));
            return Start::AfterMark { mark, offset: if at_once { Duration::ZERO } else { later } };
        }
        Start::At(self.moment(Duration::ZERO))
    }

    /// A time in the window that leaves room before its end, in milliseconds, or finer if the window is that short.
    pub(crate) fn moment(&mut self, room: Duration) -> Duration {
        let length = self.window.length().saturating_sub(room).as_nanos();
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let unit = [1_000_000, 1_000, 1].into_iter().find(|unit| length / unit >= 1_000).unwrap_or(1);
        self.window.from.saturating_add(Duration::from_nanos(self.dice.below(length) / unit * unit))
    }

    pub(crate) fn length(&mut self) -> Duration {
        self.dice.length(self.faults.shortest(), self.faults.longest(self.window))
    }

    /// What goes wrong, where and how hard.
    pub(crate) fn effect(&mut self, kind: Kind) -> Effect {
        let intensity = self.weather.intensity(kind, self.dice);
        match kind {
            Kind::Partition => self.partition().into(),
            Kind::Latency | Kind::Loss | Kind::Duplication | Kind::Reordering | Kind::Corruption | Kind::Bandwidth => {
                let links = self.links();
                self.on_links(kind, links, intensity)
            }
            Kind::Crash | Kind::Pause => {
                let hosts = self.hosts(intensity);
                self.outage(kind, hosts)
            }
            _ => {
                let hosts = self.hosts(intensity);
                self.on_hosts(kind, hosts, intensity)
            }
        }
    }

    /// A crash, or a pause.
    pub(crate) fn outage(&mut self, kind: Kind, hosts: Selector) -> Effect {
        if kind == Kind::Pause {
            return Pause { hosts }.into();
        }
        let manner = if self.dice.once_in(2) { Manner::Kill } else { Manner::PowerLoss };
        Crash { hosts, manner }.into()
    }

    /// What goes wrong with these links.
    pub(crate) fn on_links(&mut self, kind: Kind, links: Links, intensity: Intensity) -> Effect {
        let ms = Duration::from_millis;
        match kind {
            Kind::Latency => {
                let delay = self.dice.length(ms(1), by(intensity, [ms(50), ms(500), ms(5_000)]));
                let (jitter, distribution) = self.jitter(delay);
                Latency { links, delay, or: Vec::new(), jitter, distribution }.into()
            }
            Kind::Duplication => Duplication { links, probability: self.percent(by(intensity, [1, 10, 50])) }.into(),
            Kind::Reordering => {
                let probability = self.percent(by(intensity, [5, 25, 50]));
                let by = self.dice.length(ms(1), by(intensity, [ms(10), ms(100), ms(1_000)]));
                Reordering { links, probability, by }.into()
            }
            Kind::Corruption => Corruption { links, probability: self.percent(by(intensity, [1, 5, 20])) }.into(),
            Kind::Bandwidth => {
                let rate = Rate(self.kibibytes(by(intensity, [1_024, 64, 4]), 16_384));
                let queue = if self.dice.once_in(2) { Some(self.kibibytes(4, 256)) } else { None };
                Bandwidth { links, rate, queue }.into()
            }
            _ => {
                let probability = self.percent(by(intensity, [5, 30, 100]));
                let correlation = if self.dice.once_in(3) { Percent::new(25) } else { Percent::ZERO };
                Loss { links, probability, correlation }.into()
            }
        }
    }

    fn jitter(&mut self, delay: Duration) -> (Duration, Distribution) {
        if self.dice.once_in(2) {
            return (Duration::ZERO, Distribution::Uniform);
        }
        let shapes = [Distribution::Uniform, Distribution::Normal, Distribution::Pareto];
        let distribution = self.dice.pick(&shapes).copied().unwrap_or_default();
        (self.dice.length(delay / 10, delay), distribution)
    }

    /// What goes wrong on these hosts.
    fn on_hosts(&mut self, kind: Kind, hosts: Selector, intensity: Intensity) -> Effect {
        let (ms, seconds) = (Duration::from_millis, Duration::from_secs);
        match kind {
            Kind::DnsHijack => self.hijack(hosts).into(),
            Kind::ClockSkew => {
                let offset = self.dice.length(ms(1), by(intensity, [ms(500), seconds(60), seconds(86_400)]));
                let offset = if self.dice.once_in(2) { Offset::Ahead(offset) } else { Offset::Behind(offset) };
                let onset = if self.dice.once_in(4) { Onset::Slew } else { Onset::Step };
                ClockSkew { hosts, offset, onset }.into()
            }
            Kind::ClockDrift => {
                let ppm = self.dice.magnitude(10, by(intensity, [200, 5_000, 200_000])) as i32;
                let rate = Drift::ppm(if self.dice.once_in(2) { ppm } else { -ppm });
                let correction = if self.dice.once_in(4) { Correction::Step } else { Correction::Slew };
                ClockDrift { hosts, rate, correction }.into()
            }
            Kind::DiskFull => {
                let free = if self.dice.once_in(2) { Size::default() } else { self.kibibytes(1, 64) };
                DiskFull { hosts, free }.into()
            }
            Kind::IoThrottle => {
                let rate = Rate(self.kibibytes(by(intensity, [4_096, 256, 16]), 65_536));
                let delay = self.dice.length(ms(1), by(intensity, [ms(5), ms(50), ms(500)]));
                let delay = if self.dice.once_in(2) { Duration::ZERO } else { delay };
                IoThrottle { hosts, rate, delay }.into()
            }
            Kind::DiskErrors => {
                let share = by(intensity, [5, 25, 100]);
                let (reads, syncs) = match self.dice.below(3) {
                    0 => (self.percent(share), Percent::ZERO),
                    1 => (Percent::ZERO, self.percent(share)),
                    _ => (self.percent(share), self.percent(share)),
                };
                DiskErrors { hosts, reads, syncs }.into()
            }
            Kind::BitRot => {
                let bits = self.dice.magnitude(1, by(intensity, [1, 10, 1_000])) as u32;
                BitRot { hosts, bits }.into()
            }
            Kind::InodeExhaustion => InodeExhaustion { hosts, free: self.dice.below(4) as u32 }.into(),
            Kind::CpuBurn => CpuBurn { hosts, load: by(intensity, [50, 80, 99].map(Percent::new)) }.into(),
            Kind::MemoryPressure => {
                let taken = Pressure::Taken(by(intensity, [50, 80, 95].map(Percent::new)));
                let kill = intensity == Intensity::Wild && self.dice.once_in(2);
                MemoryPressure { hosts, pressure: if kill { Pressure::OomKill } else { taken } }.into()
            }
            _ => {
                let resources = [Resource::Tasks, Resource::Threads, Resource::Descriptors];
                let resource = self.dice.pick(&resources).copied().unwrap_or(Resource::Descriptors);
                let count = self.dice.magnitude(1, by(intensity, [100, 1_000, 100_000])) as u32;
                TaskLeak { hosts, count, resource }.into()
            }
        }
    }

    fn hijack(&mut self, hosts: Selector) -> DnsHijack {
        let name = self.one_host();
        let other = self.one_host();
        let late = Duration::from_millis(self.dice.magnitude(100, 10_000));
        let answers = [Answer::NoSuchName, Answer::Failure, Answer::Nothing, Answer::Host(other), Answer::Late(late)];
        let answer = self.dice.pick(&answers).cloned().unwrap_or(Answer::Nothing);
        DnsHijack { hosts, name, answer }
    }

    fn percent(&mut self, most: u32) -> Percent {
        Percent::new(self.dice.magnitude(1, most.into()) as u32)
    }

    /// A power of two of this range, whose ends are such.
    fn kibibytes(&mut self, least: u64, most: u64) -> Size {
        Size::bytes(1 << self.dice.between(least.ilog2().into(), most.ilog2().into()) << 10)
    }

    pub(crate) fn one_host(&mut self) -> String {
        let services = self.topology.services().collect::<Vec<_>>();
        self.dice.pick(&services).map_or(String::new(), |host| host.name.clone())
    }

    /// One host, or in wild weather a minority of a group.
    fn hosts(&mut self, intensity: Intensity) -> Selector {
        let services = self.topology.services().collect::<Vec<_>>();
        let host = self.dice.pick(&services).copied();
        let mut group = host.map_or(Vec::new(), |host| self.topology.in_group(&host.group));
        let most = minority(group.len());
        if intensity != Intensity::Wild || most < 2 || !self.dice.once_in(2) {
            return Selector::name(&host.map_or(String::new(), |host| host.name.clone()));
        }
        self.dice.shuffle(&mut group);
        let mut names = group[..most].iter().map(|host| host.name.as_str()).collect::<Vec<_>>();
        names.sort_unstable();
        Selector::names(names)
    }

    /// One way, both ways, or all of a host. There are at least two hosts.
    fn links(&mut self) -> Links {
        // From or to a service: what passes between parts of the test concerns nobody.
        let services = self.topology.services().map(|host| host.name.as_str()).collect::<Vec<_>>();
        let service = self.dice.pick(&services).copied().unwrap_or_else(|| self.topology.members()[0].name.as_str());
        let others = self.topology.members().iter().map(|host| host.name.as_str()).filter(|name| *name != service);
        let others = others.collect::<Vec<_>>();
        let other = self.dice.pick(&others).copied().unwrap_or(service);
        let mut names = [service, other];
        self.dice.shuffle(&mut names);
        match self.dice.below(3) {
            0 => Links::OneWay { from: Selector::name(names[0]), to: Selector::name(names[1]) },
            1 => Links::BothWays(Selector::name(names[0]), Selector::name(names[1])),
            _ => Links::Of(Selector::name(service)),
        }
    }

    /// Of a group or of everybody. There are at least two hosts.
    pub(crate) fn partition(&mut self) -> Partition {
        let mut names = self.scope(2);
        self.dice.shuffle(&mut names);
        match self.dice.below(5) {
            0 => {
                let (one, others) = names.split_at(1);
                if self.dice.once_in(2) {
                    Partition::OneWay { from: side(one), to: side(others) }
                } else {
                    Partition::OneWay { from: side(others), to: side(one) }
                }
            }
            1 if names.len() >= RING_HOSTS_MIN => Partition::Ring(side(&names)),
            2 if names.len() >= 3 => bridge(&names),
            3 => Partition::Sides(vec![side(&names[..1]), side(&names[1..])]),
            _ => {
                let cut = self.dice.between(1, names.len() as u64 - 1) as usize;
                Partition::Sides(vec![side(&names[..cut]), side(&names[cut..])])
            }
        }
    }

    /// The names of a group of at least so many hosts, or of everybody.
    pub(crate) fn scope(&mut self, least: usize) -> Vec<&'a str> {
        let names = |hosts: Vec<&'a crate::Member>| hosts.into_iter().map(|host| host.name.as_str()).collect();
        let mut scopes =
            self.topology.groups().into_iter().map(|group| self.topology.in_group(group)).collect::<Vec<_>>();
        scopes.retain(|scope| scope.len() >= least);
        if scopes.is_empty() || self.dice.once_in(2) {
            return names(self.topology.members().iter().collect());
        }
        self.dice.pick(&scopes).cloned().map_or(Vec::new(), names)
    }
}

/// A side of a partition, in order.
pub(crate) fn side(names: &[&str]) -> Selector {
    let mut names = names.to_vec();
    names.sort_unstable();
    Selector::names(names)
}

/// The first host between the halves of the others. There are at least three.
pub(crate) fn bridge(names: &[&str]) -> Partition {
    let (bridge, others) = names.split_at(1);
    let (left, right) = others.split_at(others.len() / 2);
    Partition::Bridge { left: side(left), right: side(right), bridge: Selector::name(bridge[0]) }
}

fn by<T: Copy>(intensity: Intensity, [gentle, rough, wild]: [T; 3]) -> T {
    match intensity {
        Intensity::Gentle => gentle,
        Intensity::Rough => rough,
        Intensity::Wild => wild,
    }
}
