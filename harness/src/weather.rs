//! A plan of faults, carried out by the simulated kernel while a storm blows.
//!
//! A fault of a plan names hosts by selectors; the kernel knows hosts by number, and each of its faults concerns one
//! host or one set of links. So a fault of a plan is one or several of the kernel's, and its account is their sum.

use crate::blackbox::FaultAccount;
use std::collections::BTreeSet;
use std::time::Duration;
use windtunnel_faults::{
    Answer, Correction, Distribution, Effect, Fault, Latency, Link, Manner, Onset, Plan, Pressure, Resource, Size,
    Start, Struck, TaskLeak, Topology,
};
use windtunnel_sim::weather::{
    self, Begins, DiskTrouble, FaultKind, FaultReport, Lack, LinkTrouble, Links, NameAnswer, Spread,
};
use windtunnel_sim::world::HostId;

/// A plan as the kernel takes it.
#[derive(Debug, Default)]
pub(crate) struct Forecast {
    pub(crate) faults: Vec<weather::Fault>,
    /// For each of these, the place of the plan's fault that it belongs to.
    belongs_to: Vec<usize>,
    planned: usize,
}

impl Forecast {
    /// Translates a plan for the hosts of a world.
    ///
    /// # Errors
    /// A sentence: a fault makes no sense, or names a host that is not there.
    pub(crate) fn of(plan: &Plan, topology: &Topology, id: impl Fn(&str) -> Option<HostId>) -> Result<Self, String> {
        plan.validate_for(topology).map_err(|problems| {
            let late = "hosts and clients that are made after the storm has begun cannot be struck";
            format!("the plan of faults makes no sense here ({late}):\n{problems}")
        })?;
        Self::of_faults(plan.faults.iter().enumerate(), plan.faults.len(), topology, id)
    }

    /// As [`Forecast::of`], for a plan that was drawn for other hosts: what concerns hosts that are not here never
    /// begins.
    ///
    /// # Errors
    /// A sentence: a fault makes no sense.
    pub(crate) fn of_drawn(
        plan: &Plan,
        topology: &Topology,
        id: impl Fn(&str) -> Option<HostId>,
    ) -> Result<Self, String> {
        let here = plan.faults.iter().enumerate().filter(|(_, fault)| fault.resolve(topology).is_ok());
        Self::of_faults(here, plan.faults.len(), topology, id)
    }

    fn of_faults<'p>(
        faults: impl Iterator<Item = (usize, &'p Fault)>,
        planned: usize,
        topology: &Topology,
        id: impl Fn(&str) -> Option<HostId>,
    ) -> Result<Self, String> {
        let mut forecast = Self { planned, ..Self::default() };
        for (place, fault) in faults {
            let known = |name: &str| id(name).ok_or_else(|| format!("`{fault}`: there is no host {name}"));
            for kind in kinds(fault, topology, known)? {
                forecast.faults.push(weather::Fault {
                    begins: begins(&fault.start),
                    lasts: fault.lasts.unwrap_or(Duration::MAX),
                    kind,
                });
                forecast.belongs_to.push(place);
            }
        }
        Ok(forecast)
    }

    /// What became of each fault of the plan.
    pub(crate) fn accounts(&self, reports: &[FaultReport]) -> Vec<FaultAccount> {
        let mut accounts = vec![FaultAccount::default(); self.planned];
        for (report, place) in reports.iter().zip(&self.belongs_to) {
            let account = &mut accounts[*place];
            let began_ns = report.began.map(|began| u64::try_from(began.as_nanos()).unwrap_or(u64::MAX));
            account.began_ns = account.began_ns.into_iter().chain(began_ns).min();
            account.bit += report.bit;
            account.unseen |= report.unseen;
        }
        accounts
    }
}

fn begins(start: &Start) -> Begins {
    match start {
        Start::At(time) => Begins::At(*time),
        Start::AtEvent(number) => Begins::Event(*number),
        Start::AfterMark { mark, offset } => Begins::Mark { label: mark.clone(), after: *offset },
    }
}

/// The kernel's faults that make up one of a plan's.
fn kinds(
    fault: &Fault,
    topology: &Topology,
    id: impl Fn(&str) -> Result<HostId, String>,
) -> Result<Vec<FaultKind>, String> {
    let struck = fault.resolve(topology).map_err(|error| format!("`{fault}`: {error}"))?;
    let problem = |problem: &str| format!("`{fault}`: {problem}");
    match struck {
        Struck::Hosts(hosts) => hosts
            .iter()
            .map(|host| on_host(&fault.effect, id(&host.name)?, &id)?.ok_or_else(|| problem("it strikes links")))
            .collect(),
        Struck::Links(links) => {
            let trouble = on_links(&fault.effect).ok_or_else(|| problem("it strikes hosts"))?;
            let sets = link_sets(&links, id)?.into_iter();
            Ok(sets.map(|links| FaultKind::Links { links, trouble: trouble.clone() }).collect())
        }
    }
}

/// What an effect is on a host; nothing if it is none of those that strike hosts.
fn on_host(
    effect: &Effect,
    host: HostId,
    id: &impl Fn(&str) -> Result<HostId, String>,
) -> Result<Option<FaultKind>, String> {
    let disk = |trouble| FaultKind::Disk { host, trouble };
    let lack = |lack| FaultKind::Lack { host, lack };
    Ok(Some(match effect {
        Effect::ClockSkew(skew) => {
            let by_ns = i64::try_from(skew.offset.nanoseconds());
            let by_ns = by_ns.map_err(|_| "no clock can be moved by more than 200 years".to_owned())?;
            FaultKind::Skew { host, by_ns, slewed: skew.onset == Onset::Slew }
        }
        Effect::DnsHijack(hijack) => {
            let answer = match &hijack.answer {
                Answer::Address(ip) => NameAnswer::Address(*ip),
                Answer::Host(name) => NameAnswer::Host(id(name)?),
                Answer::NoSuchName => NameAnswer::NoSuchName,
                Answer::Failure => NameAnswer::Failure,
                Answer::Nothing => NameAnswer::Nothing,
                Answer::Late(by) => NameAnswer::Late(*by),
            };
            FaultKind::Hijack { host, name: hijack.name.clone(), answer }
        }
        Effect::ClockDrift(drift) => {
            let (ppm, stepped) = (i64::from(drift.rate.as_ppm()), drift.correction == Correction::Step);
            FaultKind::Drift { host, ppm, stepped }
        }
        Effect::CpuBurn(burn) => FaultKind::Burn { host, load: burn.load.fraction() },
        Effect::MemoryPressure(pressure) => lack(Lack::Memory {
            share: match pressure.pressure {
                Pressure::Taken(share) => share.fraction(),
                Pressure::OomKill => 1.0,
            },
        }),
        Effect::TaskLeak(TaskLeak { count, resource, .. }) => lack(match resource {
            Resource::Tasks => Lack::Tasks { count: *count },
            Resource::Threads => Lack::Threads { count: *count },
            Resource::Descriptors => Lack::Descriptors { count: *count },
        }),
        Effect::DiskFull(full) => disk(DiskTrouble::Full { free_bytes: full.free.as_bytes() }),
        Effect::IoThrottle(throttle) => {
            disk(DiskTrouble::Slow { bytes_per_second: throttle.rate.0.as_bytes(), delay: throttle.delay })
        }
        Effect::InodeExhaustion(exhaustion) => disk(DiskTrouble::NoInodes { free: u64::from(exhaustion.free) }),
        Effect::DiskErrors(errors) => {
            disk(DiskTrouble::Failing { reads: errors.reads.fraction(), syncs: errors.syncs.fraction() })
        }
        Effect::BitRot(rot) => disk(DiskTrouble::Rotting { bits: rot.bits }),
        Effect::Crash(crash) if crash.manner == Manner::Kill => FaultKind::Kill { host },
        Effect::Crash(_) => FaultKind::Crash { host },
        Effect::Pause(_) => FaultKind::Pause { host },
        Effect::Partition(_)
        | Effect::Latency(_)
        | Effect::Loss(_)
        | Effect::Duplication(_)
        | Effect::Reordering(_)
        | Effect::Corruption(_)
        | Effect::Bandwidth(_) => return Ok(None),
    }))
}

/// What an effect is on links; nothing if it is none of those that strike links.
fn on_links(effect: &Effect) -> Option<LinkTrouble> {
    Some(match effect {
        Effect::Partition(_) => LinkTrouble::Partition,
        Effect::Latency(latency) => slow(latency),
        Effect::Loss(loss) => {
            LinkTrouble::Lossy { probability: loss.probability.fraction(), correlation: loss.correlation.fraction() }
        }
        Effect::Duplication(one) => LinkTrouble::Doubling { probability: one.probability.fraction() },
        Effect::Reordering(one) => LinkTrouble::Overtaking { probability: one.probability.fraction(), by: one.by },
        Effect::Corruption(one) => LinkTrouble::Flipping { probability: one.probability.fraction() },
        Effect::Bandwidth(one) => {
            LinkTrouble::Narrow { bytes_per_second: one.rate.0.as_bytes(), queue_bytes: one.queue.map(Size::as_bytes) }
        }
        _ => return None,
    })
}

/// A plan's uniform jitter goes up and down; the kernel's comes on top.
fn slow(latency: &Latency) -> LinkTrouble {
    let Latency { delay, or, jitter, distribution, .. } = latency;
    let (down, spread) = match distribution {
        Distribution::Uniform => (*jitter, Spread::Uniform),
        Distribution::Normal => (Duration::ZERO, Spread::Normal),
        Distribution::Exponential => (Duration::ZERO, Spread::Exponential),
        Distribution::Pareto => (Duration::ZERO, Spread::Pareto),
    };
    // What would be below zero is cut off. A list excludes a jitter.
    let latency = delay.saturating_sub(down);
    LinkTrouble::Slow { latency, or: or.clone(), jitter: delay.saturating_add(*jitter) - latency, spread }
}

/// Links as sets of senders and receivers: one where that is possible, so that the log has one line for a partition.
fn link_sets(links: &[Link<'_>], id: impl Fn(&str) -> Result<HostId, String>) -> Result<Vec<Links>, String> {
    let pairs: BTreeSet<(&str, &str)> = links.iter().map(|link| (link.from, link.to)).collect();
    let ids = |names: &BTreeSet<&str>| names.iter().map(|name| id(name)).collect::<Result<Vec<_>, _>>();
    let (from, to): (BTreeSet<&str>, BTreeSet<&str>) = pairs.iter().copied().unzip();
    if product(&from, &to) == pairs {
        return Ok(vec![Links { from: ids(&from)?, to: ids(&to)?, both_ways: false }]);
    }
    // Both ways between two sets: the receivers of the first sender are the other side.
    let first = pairs.first().map(|(from, _)| *from);
    let other: BTreeSet<&str> = pairs.iter().filter(|(from, _)| Some(*from) == first).map(|(_, to)| *to).collect();
    let one: BTreeSet<&str> = from.difference(&other).copied().collect();
    let both: BTreeSet<(&str, &str)> = product(&one, &other).union(&product(&other, &one)).copied().collect();
    if both == pairs {
        return Ok(vec![Links { from: ids(&one)?, to: ids(&other)?, both_ways: true }]);
    }
    let each = from.iter().map(|from| {
        let to = pairs.iter().filter(|(sender, _)| sender == from).map(|(_, to)| *to).collect();
        Ok(Links { from: vec![id(from)?], to: ids(&to)?, both_ways: false })
    });
    each.collect()
}

/// Every pair of two different hosts.
fn product<'n>(from: &BTreeSet<&'n str>, to: &BTreeSet<&'n str>) -> BTreeSet<(&'n str, &'n str)> {
    let all = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
    all.filter(|(from, to)| from != to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(text: &str) -> Result<Forecast, String> {
        let topology = Topology::new().group("kv", 4).host("test");
        let id =
            |name: &str| topology.members().iter().position(|member| member.name == name).map(|i| HostId(i as u32));
        Forecast::of(&text.parse().expect("a literal of this test"), &topology, id)
    }

    fn kinds_of(text: &str) -> Vec<FaultKind> {
        forecast(text).expect("it can be done").faults.into_iter().map(|fault| fault.kind).collect()
    }

    fn hosts(numbers: &[u32]) -> Vec<HostId> {
        numbers.iter().map(|number| HostId(*number)).collect()
    }

    #[test]
    fn a_partition_between_two_sets_is_one_fault() {
        let links = Links { from: hosts(&[0]), to: hosts(&[1, 2, 3]), both_ways: true };
        assert_eq!(
            kinds_of("0s partition {kv0} | {kv1,kv2,kv3} for 5s"),
            [FaultKind::Links { links, trouble: LinkTrouble::Partition }]
        );
        let [FaultKind::Links { links, trouble: LinkTrouble::Lossy { .. } }] = &kinds_of("1s loss kv0->kv1 30%")[..]
        else {
            panic!("one fault")
        };
        assert_eq!(*links, Links { from: hosts(&[0]), to: hosts(&[1]), both_ways: false });
    }

    #[test]
    fn a_ring_cuts_what_are_no_neighbours() {
        let cut = kinds_of("0s partition ring kv* for 5s");
        let pairs: usize = cut
            .iter()
            .map(|kind| match kind {
                FaultKind::Links { links, trouble: LinkTrouble::Partition } => {
                    links.from.len() * links.to.len() * (1 + usize::from(links.both_ways))
                }
                other => panic!("{other:?}"),
            })
            .sum();
        assert_eq!(pairs, 4, "{cut:?}");
    }

    #[test]
    fn several_hosts_are_several_faults_with_one_account() {
        let forecast = forecast("0s crash {kv0,kv1} restart after 2s; 1s pause kv2 for 1s").expect("it can be done");
        assert_eq!(forecast.faults.len(), 3);
        let report =
            |began: u64, bit| FaultReport { began: Some(Duration::from_nanos(began)), bit, ..FaultReport::default() };
        let accounts = forecast.accounts(&[report(7, 1), report(5, 1), report(9, 0)]);
        let account = |began_ns, bit| FaultAccount { began_ns: Some(began_ns), bit, unseen: false };
        assert_eq!(accounts, [account(5, 2), account(9, 0)]);
    }

    #[test]
    fn a_fault_of_nobody_is_refused_by_name() {
        let unknown = forecast("0s crash kv9 restart after 1s").expect_err("there is no such host");
        assert!(unknown.contains("kv9"), "{unknown}");
    }

    #[test]
    fn every_kind_can_be_done() {
        let lines = [
            "partition kv0 | kv1",
            "latency kv0->kv1 5ms",
            "loss kv0 5%",
            "duplication kv0<->kv1 5%",
            "reordering kv0 5% by 1ms",
            "corruption kv0 5%",
            "bandwidth kv0 64KiB/s",
            "dns-hijack kv0 \"kv1\" answers nxdomain",
            "clock-skew kv0 -1h",
            "clock-drift kv0 -200ppm",
            "disk-full kv0",
            "io-throttle kv0 1MiB/s",
            "inode-exhaustion kv0",
            "disk-errors kv0 syncs 50%",
            "bit-rot kv0",
            "cpu-burn kv0 80%",
            "memory-pressure kv0 oom-kill",
            "task-leak kv0 10 tasks",
            "crash kv0 restart after 1h",
            "pause kv0 for 1s",
        ];
        let faults = lines.map(|line| format!("1s {line}").parse::<Fault>().expect("a literal of this test"));
        assert_eq!(faults.each_ref().map(Fault::kind), windtunnel_faults::Kind::ALL);
        for line in lines {
            assert!(!kinds_of(&format!("1s {line}")).is_empty(), "{line}");
        }
    }

    #[test]
    fn what_was_drawn_for_hosts_that_are_not_here_never_begins() {
        let plan = "0s crash kv3 restart after 1s; 1s pause kv0 for 1s; 2s partition kv1 | kv2 for 1s";
        let plan = plan.parse().expect("a literal of this test");
        let topology = Topology::new().group("kv", 1).host("test");
        let forecast = Forecast::of_drawn(&plan, &topology, |_| Some(HostId(0))).expect("the others are skipped");
        assert_eq!(
            forecast.faults.iter().map(|fault| &fault.kind).collect::<Vec<_>>(),
            [&FaultKind::Pause { host: HostId(0) }]
        );
        let report = FaultReport { began: Some(Duration::from_secs(1)), bit: 3, ..FaultReport::default() };
        let began: Vec<Option<u64>> = forecast.accounts(&[report]).iter().map(|account| account.began_ns).collect();
        assert_eq!(began, [None, Some(1_000_000_000), None]);
    }

    #[test]
    fn jitter_goes_up_and_down() {
        let [FaultKind::Links { trouble: LinkTrouble::Slow { latency, jitter, .. }, .. }] =
            kinds_of("0s latency kv0->kv1 100ms jitter 20ms")[..]
        else {
            panic!("one fault")
        };
        assert_eq!((latency, jitter), (Duration::from_millis(80), Duration::from_millis(40)));
    }
}
