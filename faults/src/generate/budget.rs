//! The safety budget: what a plan takes down at once.

use crate::effect::Effect;
use crate::effect::process::Pressure;
use crate::fault::Fault;
use crate::plan::Plan;
use crate::topology::{Topology, minority};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// A plan takes down more of a group at once than a minority; found by [`Plan::overdraft`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdraft {
    /// The group.
    pub group: String,
    /// Its hosts that are down at once.
    pub down: Vec<String>,
    /// How many could be.
    pub most: usize,
}

impl Display for Overdraft {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { group, down, most } = self;
        let count = down.len();
        write!(f, "{count} hosts of `{group}` are down at once ({}), at most {most} may be", down.join(", "))
    }
}

/// A time in which hosts are down; without an end, until the storm ends.
struct Outage<'t> {
    begins: Duration,
    ends: Option<Duration>,
    hosts: Vec<&'t str>,
}

impl Plan {
    /// Where the plan takes down more of a group than [a minority](crate::minority); `None` when it does not.
    ///
    /// Crashes, pauses and OOM kills take hosts down. Memory that is taken, or tasks that leak, may get a program
    /// killed too; that depends on the program and is not counted. Partitions do not: who is cut off still runs, and a
    /// majority may be cut off by any. What begins after a mark could begin at any time, so it counts as always. Faults
    /// whose hosts do not exist count for nothing.
    ///
    /// ```
    /// use windtunnel_faults::{Plan, Topology};
    ///
    /// let topology = Topology::new().group("kv", 3);
    /// let one_by_one = "0s crash kv0 restart after 1s; 1s crash kv1 restart after 1s".parse::<Plan>()?;
    /// assert_eq!(one_by_one.overdraft(&topology), None);
    /// let together = "0s crash kv0 restart after 2s; 1s pause kv1 for 1s".parse::<Plan>()?;
    /// assert_eq!(together.overdraft(&topology).unwrap().down, ["kv0", "kv1"]);
    /// # Ok::<(), windtunnel_faults::ParseError>(())
    /// ```
    #[must_use]
    pub fn overdraft(&self, topology: &Topology) -> Option<Overdraft> {
        let outages = self.faults.iter().filter_map(|fault| outage(fault, topology)).collect::<Vec<_>>();
        // The most hosts are down at the beginning of some outage.
        outages.iter().find_map(|moment| overdraft_at(moment.begins, &outages, topology))
    }
}

/// Whether a fault takes down a host while another of these faults has it down anyway, so that it would do nothing.
/// What begins after a mark may begin at another time.
pub(crate) fn is_redundant(fault: &Fault, others: &[Fault], topology: &Topology) -> bool {
    let timed = |fault: &Fault| fault.begins().and_then(|_| outage(fault, topology));
    let Some(new) = timed(fault) else { return false };
    let shares_a_host = |old: &Outage<'_>| old.hosts.iter().any(|host| new.hosts.contains(host));
    others.iter().filter_map(timed).any(|old| old.overlaps(&new) && shares_a_host(&old))
}

impl Outage<'_> {
    fn overlaps(&self, other: &Self) -> bool {
        let before = |one: &Self, other: &Self| one.ends.is_some_and(|ends| ends <= other.begins);
        !before(self, other) && !before(other, self)
    }
}

fn outage<'t>(fault: &Fault, topology: &'t Topology) -> Option<Outage<'t>> {
    let hosts = match &fault.effect {
        Effect::Crash(crash) => &crash.hosts,
        Effect::Pause(pause) => &pause.hosts,
        Effect::MemoryPressure(memory) if memory.pressure == Pressure::OomKill => &memory.hosts,
        _ => return None,
    };
    let hosts = hosts.resolve(topology).ok()?.into_iter().map(|host| host.name.as_str()).collect();
    Some(match fault.begins() {
        Some(begins) => Outage { begins, ends: fault.lasts.map(|length| begins.saturating_add(length)), hosts },
        None => Outage { begins: Duration::ZERO, ends: None, hosts },
    })
}

fn overdraft_at(moment: Duration, outages: &[Outage<'_>], topology: &Topology) -> Option<Overdraft> {
    let under_way = |outage: &&Outage<'_>| outage.begins <= moment && outage.ends.is_none_or(|ends| moment < ends);
    let down = outages.iter().filter(under_way).flat_map(|outage| &outage.hosts).copied().collect::<BTreeSet<_>>();
    let mut groups = BTreeMap::<&str, (usize, Vec<String>)>::new();
    for member in topology.members() {
        let (count, down_here) = groups.entry(&member.group).or_default();
        *count += 1;
        down_here.extend(down.contains(member.name.as_str()).then(|| member.name.clone()));
    }
    let over = groups.into_iter().find(|(_, (count, down))| down.len() > minority(*count));
    over.map(|(group, (count, down))| Overdraft { group: group.to_owned(), down, most: minority(count) })
}
