//! Partitions of targets that are on no switch of ours: rules in the network namespace that a target is in.

use super::partition::{PRIORITY, Partition};
use crate::netlink::in_namespace;
use crate::netlink::nft::queue::{Queueing, Unclaimed, claimed};
use crate::netlink::nft::{Chain, Direction, Expression, Family, Hook, Rule, Set, Table};
use crate::target::Target;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsFd;

/// Which packets between a target and its peers are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lost {
    /// Those that peers send: the target hears nothing of them.
    Arriving,
    /// Those that the target sends.
    Leaving,
    /// All.
    #[default]
    Both,
}

impl Partition {
    /// Cuts a target off from these addresses, whatever network that is on: a process with whatever else is in its
    /// network namespace, or such a namespace. It is in force when this returns.
    ///
    /// Addresses are as they are on the wire: of a peer behind a service's address that the namespace translates
    /// itself, the peer's own. Nobody is told of what is lost, the target's own sendto(2) neither. What passes through
    /// the namespace is cut as what is its own.
    ///
    /// ```no_run
    /// use windtunnel_inject::Target;
    /// use windtunnel_inject::switch::{Lost, Partition};
    /// use windtunnel_inject::target::Process;
    ///
    /// let service = Target::Process(Process::open(4711)?);
    /// let _cut_off = Partition::of_target(&service, &[[192, 0, 2, 1].into()], Lost::Both)?;
    /// # windtunnel_inject::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// It is a cgroup, or gone; there are no addresses; the kernel lacks nftables, or, for packets that leave, queues
    /// for them; or the namespace is not this user's.
    pub fn of_target(target: &Target, peers: &[IpAddr], lost: Lost) -> Result<Self> {
        const WHAT: &str = "cut a target off";
        if peers.is_empty() {
            return Err(Error::lacking(WHAT, "an address to cut it off from", "name one"));
        }
        let ns = target.network()?;
        let families = [(Family::V4, "peers-v4"), (Family::V6, "peers-v6")];
        let of = |family| peers.iter().copied().filter(|peer| Family::of(*peer) == family).collect::<BTreeSet<_>>();
        let sets = families.map(|(family, name)| Set { name: name.to_owned(), family, addresses: of(family) });
        let sets: Vec<Set> = sets.into_iter().filter(|set| !set.addresses.is_empty()).collect();
        let chain = |name: &str, hook, direction, end: Expression| Chain {
            name: name.to_owned(),
            hook,
            priority: PRIORITY,
            rules: sets.iter().map(|set| rule(set, direction, end.clone())).collect(),
        };
        let arriving = || chain("arriving", Hook::Arrival, Direction::Source, Expression::Drop);
        if lost == Lost::Arriving {
            return Self::lay(ns, sets.clone(), vec![arriving()], None, Table::new);
        }
        let queue = in_namespace(ns.as_fd(), nowhere)?;
        Queueing::first_of(&Queueing::ALL, WHAT, |queueing| {
            let end = Expression::Raw(queueing.expression(queue, Unclaimed::Vanish));
            let mut chains = vec![chain("leaving", Hook::Departure, Direction::Destination, end)];
            chains.extend((lost == Lost::Both).then(arriving));
            let ns = ns.try_clone().map_err(|error| Error::os(WHAT, error))?;
            Self::lay(ns, sets.clone(), chains, Some(queue), Table::new)
        })
    }
}

fn rule(set: &Set, direction: Direction, end: Expression) -> Rule {
    let among = Expression::Among { direction, family: set.family, set: set.name.clone() };
    Rule(vec![Expression::Leased, Expression::Is(set.family), among, Expression::Count, end])
}

/// A queue of the calling thread's network that nobody takes packets from: the last that is free, as others begin with
/// the first.
fn nowhere() -> u16 {
    let claimed = claimed();
    (0..=u16::MAX).rev().find(|queue| !claimed.contains(queue)).unwrap_or(u16::MAX)
}
