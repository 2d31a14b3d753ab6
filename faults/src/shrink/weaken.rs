//! Weaker plans: fewer hosts, single links, one way; earlier, shorter; lower hosts. Best first.

use super::numbers::{ROUND_UNITS, earlier, rounded_down, rounded_up, shorter};
use super::parameters;
use crate::effect::Effect;
use crate::effect::partition::Partition;
use crate::fault::Fault;
use crate::plan::Plan;
use crate::selector::{Links, Selector};
use crate::start::Start;
use crate::topology::Topology;
use std::collections::BTreeMap;
use std::time::Duration;

/// Weaker effects in place of one.
pub(crate) fn effects(effect: &Effect, topology: &Topology) -> Vec<Effect> {
    let narrower = match effect {
        Effect::Partition(partition) => {
            partitions(partition, topology).into_iter().map(Effect::Partition).collect::<Vec<_>>()
        }
        Effect::Latency(_)
        | Effect::Loss(_)
        | Effect::Duplication(_)
        | Effect::Reordering(_)
        | Effect::Corruption(_)
        | Effect::Bandwidth(_) => on_fewer_links(effect, topology),
        _ => on_fewer_hosts(effect, topology),
    };
    narrower.into_iter().chain(parameters::weaker(effect)).collect()
}

/// The names of a selector's hosts; of a pattern or role only when there is a topology.
fn names(selector: &Selector, topology: &Topology) -> Vec<String> {
    match selector {
        Selector::Name(name) => vec![name.clone()],
        Selector::Set(parts) if parts.iter().all(|part| matches!(part, Selector::Name(_))) => {
            parts.iter().flat_map(|part| names(part, topology)).collect()
        }
        _ => match selector.resolve(topology) {
            Ok(hosts) => hosts.into_iter().map(|host| host.name.clone()).collect(),
            Err(_) => Vec::new(),
        },
    }
}

/// Either half of some hosts, in place of all.
fn halves(selector: &Selector, topology: &Topology) -> Vec<Selector> {
    let names = names(selector, topology);
    let names = names.iter().map(String::as_str).collect::<Vec<_>>();
    if names.len() < 2 {
        return Vec::new();
    }
    let (one, other) = names.split_at(names.len() / 2);
    [one, other].map(|half| Selector::names(half.iter().copied())).into()
}

/// The effect with one of its selectors halved, for each selector and half.
fn on_fewer_hosts(effect: &Effect, topology: &Topology) -> Vec<Effect> {
    let mut fewer = Vec::new();
    let selectors = effect.clone().selectors_mut().into_iter().map(|selector| selector.clone()).collect::<Vec<_>>();
    for (at, selector) in selectors.iter().enumerate() {
        for half in halves(selector, topology) {
            let mut new = effect.clone();
            if let Some(place) = new.selectors_mut().into_iter().nth(at) {
                *place = half;
            }
            fewer.push(new);
        }
    }
    fewer
}

fn on_fewer_links(effect: &Effect, topology: &Topology) -> Vec<Effect> {
    let mut fewer = Vec::new();
    let mut with = |links: Links| {
        let mut new = effect.clone();
        match &mut new {
            Effect::Latency(class) => class.links = links,
            Effect::Loss(class) => class.links = links,
            Effect::Duplication(class) => class.links = links,
            Effect::Reordering(class) => class.links = links,
            Effect::Corruption(class) => class.links = links,
            Effect::Bandwidth(class) => class.links = links,
            _ => return,
        }
        fewer.push(new);
    };
    let one_way = |from: &Selector, to: &Selector| Links::OneWay { from: from.clone(), to: to.clone() };
    let links = match effect.target() {
        crate::Target::Links(links) => links.clone(),
        crate::Target::Hosts(_) | crate::Target::Cut(_) => return fewer,
    };
    match &links {
        Links::Of(hosts) => {
            let inside = names(hosts, topology);
            let others = topology.members().iter().map(|host| host.name.as_str());
            let others = others.filter(|name| !inside.iter().any(|host| host == name)).collect::<Vec<_>>();
            if !inside.is_empty() && !others.is_empty() {
                let others = Selector::names(others);
                with(one_way(hosts, &others));
                with(one_way(&others, hosts));
            }
        }
        Links::BothWays(one, other) => {
            with(one_way(one, other));
            with(one_way(other, one));
        }
        Links::OneWay { .. } => {}
    }
    fewer.into_iter().chain(on_fewer_hosts(effect, topology)).collect()
}

fn partitions(partition: &Partition, topology: &Topology) -> Vec<Partition> {
    let fewer = on_fewer_hosts(&Effect::Partition(partition.clone()), topology).into_iter();
    let fewer = fewer.filter_map(|effect| match effect {
        Effect::Partition(partition) => Some(partition),
        _ => None,
    });
    match partition {
        Partition::Sides(sides) if sides.len() > 2 => {
            let without = |at: usize| {
                let kept = sides.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, side)| side.clone());
                Partition::Sides(kept.collect())
            };
            (0..sides.len()).map(without).chain(fewer).collect()
        }
        Partition::Sides(sides) => {
            let one_way = |from: &Selector, to: &Selector| Partition::OneWay { from: from.clone(), to: to.clone() };
            let ways = match &sides[..] {
                [one, other] => vec![one_way(one, other), one_way(other, one)],
                _ => Vec::new(),
            };
            // First who, then which way: a single link in both directions reads more easily than half a wall.
            fewer.chain(ways).collect()
        }
        Partition::OneWay { .. } => fewer.collect(),
        Partition::Bridge { left, right, .. } => vec![Partition::Sides(vec![left.clone(), right.clone()])],
        Partition::Ring(hosts) => {
            let names = names(hosts, topology);
            let names = names.iter().map(String::as_str).collect::<Vec<_>>();
            let [first, _, across @ ..] = &names[..] else { return Vec::new() };
            // What the first host is cut from, and a smaller ring.
            let far = &across[..across.len().saturating_sub(1)];
            let single = Partition::Sides(vec![Selector::names([*first]), Selector::names(far.iter().copied())]);
            let smaller = Partition::Ring(Selector::names(names[..names.len() - 1].iter().copied()));
            let enough = names.len() > crate::effect::partition::RING_HOSTS_MIN;
            let fewer = [(!far.is_empty()).then_some(single), enough.then_some(smaller)].into_iter().flatten();
            // And each two that cannot reach each other, where these are few.
            let pairs = if names.len() <= RING_PAIRS_HOSTS_MAX { across_the_ring(&names) } else { Vec::new() };
            fewer.chain(pairs).collect()
        }
    }
}

/// A larger ring becomes a smaller one first.
const RING_PAIRS_HOSTS_MAX: usize = 6;

/// What a ring cuts, pair by pair: those who are no neighbours.
fn across_the_ring(names: &[&str]) -> Vec<Partition> {
    let count = names.len();
    let pairs = (0..count).flat_map(|one| (one + 2..count).map(move |other| (one, other)));
    let cut = pairs.filter(|(one, other)| *one != 0 || other + 1 != count);
    cut.map(|(one, other)| Partition::Sides([one, other].map(|at| Selector::names([names[at]])).into())).collect()
}

/// The plan that begins at once: everything earlier by when the first fault begins.
pub(crate) fn hastened(plan: &Plan) -> Option<Plan> {
    let first = plan.faults.iter().filter_map(Fault::begins).min()?;
    (!first.is_zero()).then(|| {
        let mut plan = plan.clone();
        for fault in &mut plan.faults {
            if let Start::At(time) = &mut fault.start {
                *time -= first;
            }
        }
        plan
    })
}

/// Everything begins and ends at multiples of a unit, or of a smaller one where it is shorter than that: begins not
/// later, lasts not shorter, so that what overlapped mostly still does.
pub(crate) fn rounded(plan: &Plan, unit: Duration) -> Plan {
    let up = |length: Duration| {
        let unit = ROUND_UNITS.iter().find(|smaller| **smaller <= unit && **smaller <= length);
        unit.map_or(length, |unit| rounded_up(length, *unit))
    };
    let mut plan = plan.clone();
    for fault in &mut plan.faults {
        match &mut fault.start {
            Start::At(time) => *time = rounded_down(*time, unit),
            Start::AfterMark { offset, .. } => *offset = rounded_down(*offset, unit),
            Start::AtEvent(_) => {}
        }
        fault.lasts = fault.lasts.map(up);
    }
    plan
}

/// The fault begins earlier, or at a rounder time.
pub(crate) fn starts(fault: &Fault) -> Vec<Fault> {
    let with = |start: Start| Fault { start, ..fault.clone() };
    match &fault.start {
        Start::At(time) => earlier(*time).into_iter().map(|time| with(Start::At(time))).collect(),
        Start::AfterMark { mark, offset } => {
            let offsets = earlier(*offset).into_iter();
            offsets.map(|offset| with(Start::AfterMark { mark: mark.clone(), offset })).collect()
        }
        // The moment is all that there is to it.
        Start::AtEvent(_) => Vec::new(),
    }
}

/// The fault lasts shorter, or for a rounder time.
pub(crate) fn lengths(fault: &Fault) -> Vec<Fault> {
    let shorter = fault.lasts.map(shorter).unwrap_or_default().into_iter();
    shorter.map(|length| Fault { lasts: Some(length), ..fault.clone() }).collect()
}

/// The plan with its hosts renamed to the lowest of their groups, in the order in which they appear.
pub(crate) fn renamed(plan: &Plan, topology: &Topology) -> Plan {
    let mut names = BTreeMap::<String, String>::new();
    let mut taken = BTreeMap::<&str, usize>::new();
    let mut plan = plan.clone();
    for name in plan.faults.iter_mut().flat_map(|fault| fault.effect.selectors_mut()).flat_map(mentioned) {
        let Some(member) = topology.find(&name).filter(|_| !names.contains_key(&name)) else { continue };
        let place = taken.entry(&member.group).or_default();
        // As many names of a group appear as it has members, at most.
        if let Some(lowest) = topology.in_group(&member.group).get(*place) {
            names.insert(name, lowest.name.clone());
            *place += 1;
        }
    }
    for fault in &mut plan.faults {
        for selector in fault.effect.selectors_mut() {
            selector.rename(&|name| names.get(name).cloned());
            tidy(selector);
        }
    }
    plan
}

fn mentioned(selector: &mut Selector) -> Vec<String> {
    match selector {
        Selector::Name(name) => vec![name.clone()],
        Selector::Glob(_) | Selector::Role(_) => Vec::new(),
        Selector::Minority(of) | Selector::Majority(of) => mentioned(of),
        Selector::Set(parts) => parts.iter_mut().flat_map(mentioned).collect(),
    }
}

/// In order, and without braces around a single host.
fn tidy(selector: &mut Selector) {
    if let Selector::Set(parts) = selector {
        parts.sort();
        if let [only] = &parts[..] {
            *selector = only.clone();
        }
    }
}
