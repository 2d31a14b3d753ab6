//! Faults that belong together.

use super::draw::{Draw, bridge, side};
use super::kinds::Kinds;
use super::{Shape, Window};
use crate::effect::partition::{Partition, RING_HOSTS_MIN};
use crate::effect::process::{Crash, Manner};
use crate::effect::{Effect, Kind};
use crate::fault::Fault;
use crate::selector::{Links, Selector};
use crate::topology::Part;
use std::time::Duration;

/// Adds the faults of the shape, at most `count`.
pub(crate) fn begin(draw: &mut Draw<'_, '_>, count: usize) {
    if count == 0 || draw.topology.members().is_empty() {
        return;
    }
    match draw.faults.shape {
        Shape::Random => {}
        Shape::Swizzle => swizzle(draw),
        Shape::Ring => partitioned(draw, RING_HOSTS_MIN, |names| Partition::Ring(side(names))),
        Shape::Bridge => partitioned(draw, 3, bridge),
        Shape::Flapping => flapping(draw),
        Shape::RollingRestart => rolling_restart(draw),
    }
}

/// The kinds that clog a host.
pub(crate) const fn clogs(kinds: Kinds) -> Kinds {
    let can = Kinds::of(&[Kind::Partition, Kind::Latency, Kind::Loss, Kind::Bandwidth, Kind::Crash, Kind::Pause]);
    kinds.without(Kinds::ALL.without(can))
}

/// When each of several steps begins: evenly from a beginning on, apart by at least `apart`.
fn steps(window: Window, begin: Duration, count: usize, apart: Duration) -> impl Iterator<Item = Duration> {
    let room = window.until.saturating_sub(begin) / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let step = round(room).max(apart);
    (0..count).map(move |at| begin.saturating_add(step.saturating_mul(u32::try_from(at).unwrap_or(u32::MAX))))
}

/// Down to whole milliseconds, for readers.
fn round(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn swizzle(draw: &mut Draw<'_, '_>) {
    let allowed = draw.weather.kinds().into_iter().filter(|kind| clogs(Kinds::ALL).contains(*kind)).collect::<Vec<_>>();
    let kind = draw.dice.pick(&allowed).copied().unwrap_or(Kind::Partition);
    let mut hosts = draw.scope(2);
    if hosts.len() < 2 {
        return;
    }
    let all = hosts.clone();
    draw.dice.shuffle(&mut hosts);
    hosts.truncate(draw.dice.between(hosts.len().div_ceil(2) as u64, hosts.len() as u64) as usize);
    hosts.truncate(draw.faults.faults_max);
    let half = Window { until: draw.window.from + draw.window.length() / 2, ..draw.window };
    let begins = steps(half, draw.window.from, hosts.len(), Duration::from_millis(10)).collect::<Vec<_>>();
    let last = begins.last().copied().unwrap_or_default();
    let ends_from = last.saturating_add(draw.faults.shortest()).max(half.until);
    let ends = steps(draw.window, ends_from, hosts.len(), Duration::from_millis(10)).collect::<Vec<_>>();
    // In which place each host is unclogged.
    let mut order = (0..hosts.len()).collect::<Vec<_>>();
    draw.dice.shuffle(&mut order);
    for ((host, begin), place) in hosts.iter().zip(begins).zip(order) {
        let effect = clog(draw, kind, host, &all);
        // Over the budget: this host stays as it is.
        draw.add(Fault::new(begin, effect).lasting(ends[place] - begin));
    }
}

fn clog(draw: &mut Draw<'_, '_>, kind: Kind, host: &str, all: &[&str]) -> Effect {
    let others = all.iter().copied().filter(|other| *other != host).collect::<Vec<_>>();
    match kind {
        Kind::Crash | Kind::Pause if is_service(draw, host) => draw.outage(kind, Selector::name(host)),
        Kind::Latency | Kind::Loss | Kind::Bandwidth => {
            let intensity = draw.weather.intensity(kind, draw.dice);
            draw.on_links(kind, Links::Of(Selector::name(host)), intensity)
        }
        _ => Partition::Sides(vec![side(&[host]), side(&others)]).into(),
    }
}

fn is_service(draw: &Draw<'_, '_>, host: &str) -> bool {
    draw.topology.find(host).is_some_and(|member| member.part == Part::Service)
}

fn partitioned(draw: &mut Draw<'_, '_>, hosts_min: usize, shape: fn(&[&str]) -> Partition) {
    let mut names = draw.scope(hosts_min);
    draw.dice.shuffle(&mut names);
    if names.len() < 2 {
        return;
    }
    let partition = if names.len() >= hosts_min { shape(&names) } else { draw.partition() };
    let (begin, length) = (draw.moment(Duration::ZERO), draw.length());
    draw.add(Fault::new(begin, partition).lasting(length));
}

fn flapping(draw: &mut Draw<'_, '_>) {
    let kinds = draw.weather.kinds();
    let Some(kind) = draw.dice.pick(&kinds).copied() else { return };
    let effect = draw.effect(kind);
    let times = draw.dice.between(3, 6).min(draw.faults.faults_max as u64) as usize;
    let begin = draw.moment(draw.window.length() / 2);
    let on = draw.dice.length(draw.faults.shortest(), draw.faults.shortest().saturating_mul(10));
    let off = draw.dice.length(draw.faults.shortest(), draw.faults.shortest().saturating_mul(10));
    for begin in steps(draw.window, begin, times, on.saturating_add(off)) {
        draw.add(Fault::new(begin, effect.clone()).lasting(on));
    }
}

fn rolling_restart(draw: &mut Draw<'_, '_>) {
    let mut groups = draw.topology.groups().into_iter().map(|group| draw.topology.in_group(group)).collect::<Vec<_>>();
    groups.retain(|group| group.iter().all(|host| host.part == Part::Service));
    // What has several hosts is what is deployed in turn.
    let several = groups.iter().filter(|group| group.len() > 1).cloned().collect::<Vec<_>>();
    let choice = if several.is_empty() { groups } else { several };
    let Some(mut group) = draw.dice.pick(&choice).cloned() else { return };
    group.truncate(draw.faults.faults_max);
    let begin = draw.moment(draw.window.length() / 2);
    let down = draw.dice.length(draw.faults.shortest(), draw.faults.shortest().saturating_mul(20));
    let settled = draw.dice.length(draw.faults.shortest(), draw.faults.shortest().saturating_mul(20));
    for (begin, host) in steps(draw.window, begin, group.len(), down.saturating_add(settled)).zip(group) {
        let crash = Crash { hosts: Selector::name(&host.name), manner: Manner::Kill };
        draw.add(Fault::new(begin, crash).lasting(down));
    }
}
