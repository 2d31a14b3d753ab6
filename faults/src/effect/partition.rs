//! Partitions: sides, one way, ring, bridge. Resolving one gives the links that it cuts.

use super::{Class, Complaint, Target};
use crate::error::ParseError;
use crate::selector::{ResolveError, Selector, links_between};
use crate::severity::Severity;
use crate::text::{Cursor, Read, text_form};
use crate::topology::{Link, Member, Topology};
use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

/// Hosts cannot reach each other. Segments on cut links are lost, nobody is told; hosts that no side names reach
/// everybody.
///
/// | text | what is cut |
/// | --- | --- |
/// | `{kv0} \| {kv1,kv2}` | each side from each other, both ways |
/// | `kv0->{kv1,kv2}` | what the left sends to the right |
/// | `ring kv*` | all but neighbours, the hosts standing in a ring in their order |
/// | `{kv0} \| {kv2} bridged by kv1` | the sides from each other; the bridge reaches both |
///
/// ```
/// use windtunnel_faults::{Partition, Topology};
///
/// let topology = Topology::new().group("kv", 4);
/// let cut = "ring kv*".parse::<Partition>()?.resolve(&topology)?;
/// let cut = cut.iter().map(ToString::to_string).collect::<Vec<_>>();
/// assert_eq!(cut, ["kv0->kv2", "kv1->kv3", "kv2->kv0", "kv3->kv1"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Partition {
    /// Two or more sides that do not reach each other.
    Sides(Vec<Selector>),
    /// What some hosts send does not reach others; the way back is open.
    OneWay {
        /// Whose segments are lost.
        from: Selector,
        /// On their way to whom.
        to: Selector,
    },
    /// Each host reaches its two neighbours only, in the topology's order. With five hosts each sees a majority, and
    /// no two see the same one (Jepsen's `majorities-ring`).
    Ring(Selector),
    /// Two sides that do not reach each other, and hosts that reach both (Jepsen's `bridge`).
    Bridge {
        /// One side.
        left: Selector,
        /// The other side.
        right: Selector,
        /// Who reaches both.
        bridge: Selector,
    },
}

impl Partition {
    /// The links that are cut, each once, in order; at least one.
    ///
    /// # Errors
    /// A host does not exist or stands on two sides, or a ring has fewer than four hosts.
    pub fn resolve<'t>(&self, topology: &'t Topology) -> Result<Vec<Link<'t>>, ResolveError> {
        let hosts = |selectors: &[&Selector]| {
            let sides = selectors.iter().map(|side| side.resolve(topology)).collect::<Result<Vec<_>, _>>()?;
            self.disjoint(&sides).map(|()| sides)
        };
        let mut links = match self {
            Self::Sides(sides) => cut_apart(&hosts(&sides.iter().collect::<Vec<_>>())?),
            Self::Bridge { left, right, bridge } => cut_apart(&hosts(&[left, right, bridge])?[..2]),
            Self::OneWay { from, to } => {
                let sides = hosts(&[from, to])?;
                links_between(&sides[0], &sides[1])
            }
            Self::Ring(hosts) => {
                let hosts = hosts.resolve(topology)?;
                if hosts.len() < RING_HOSTS_MIN {
                    return Err(ResolveError::RingTooSmall { hosts: hosts.len() });
                }
                beyond_neighbours(&hosts)
            }
        };
        links.sort_unstable();
        Ok(links)
    }

    fn disjoint(&self, sides: &[Vec<&Member>]) -> Result<(), ResolveError> {
        let mut seen = BTreeSet::new();
        match sides.iter().flatten().find(|host| !seen.insert(&host.name)) {
            Some(host) => Err(ResolveError::OnTwoSides { host: host.name.clone(), partition: self.to_string() }),
            None => Ok(()),
        }
    }
}

/// In a ring of three everybody is everybody's neighbour.
pub(crate) const RING_HOSTS_MIN: usize = 4;

fn cut_apart<'t>(sides: &[Vec<&'t Member>]) -> Vec<Link<'t>> {
    let others = |at: usize| sides.iter().enumerate().filter(move |(other, _)| *other != at).flat_map(|(_, side)| side);
    let mut links = Vec::new();
    for (at, side) in sides.iter().enumerate() {
        links.extend(links_between(side, &others(at).copied().collect::<Vec<_>>()));
    }
    links
}

fn beyond_neighbours<'t>(hosts: &[&'t Member]) -> Vec<Link<'t>> {
    let count = hosts.len();
    let mut links = Vec::new();
    for (at, from) in hosts.iter().enumerate() {
        let far = (2..count - 1).map(|step| hosts[(at + step) % count]).collect::<Vec<_>>();
        links.extend(links_between(&[*from], &far));
    }
    links
}

impl Class for Partition {
    fn target(&self) -> Target<'_> {
        Target::Cut(self)
    }

    fn selectors_mut(&mut self) -> Vec<&mut Selector> {
        match self {
            Self::Sides(sides) => sides.iter_mut().collect(),
            Self::OneWay { from, to } => vec![from, to],
            Self::Ring(hosts) => vec![hosts],
            Self::Bridge { left, right, bridge } => vec![left, right, bridge],
        }
    }

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn complaint(&self) -> Option<Complaint> {
        let sides = match self {
            Self::Sides(sides) if sides.len() < 2 => {
                let problem = "a partition has at least two sides";
                return Some(Complaint::new("partition", self, problem, "write both, such as `{kv0} | {kv1,kv2}`"));
            }
            Self::Sides(sides) => sides.iter().collect(),
            Self::OneWay { from, to } => vec![from, to],
            Self::Bridge { left, right, bridge } => vec![left, right, bridge],
            Self::Ring(_) => return None,
        };
        // What stands on two sides by its spelling does so with any hosts; the rest needs a topology.
        let mut seen = BTreeSet::new();
        let mut parts = sides.into_iter().flat_map(|side| match side {
            Selector::Set(parts) => parts.iter().collect::<BTreeSet<_>>(),
            other => BTreeSet::from([other]),
        });
        let twice = parts.find(|part| !seen.insert(*part))?;
        Some(Complaint::new("partition", self, &format!("`{twice}` stands on two sides"), "leave it on one"))
    }
}

impl Display for Partition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sides(sides) => {
                let sides = sides.iter().map(Selector::to_string).collect::<Vec<_>>();
                f.write_str(&sides.join(" | "))
            }
            Self::OneWay { from, to } => write!(f, "{from}->{to}"),
            Self::Ring(hosts) => write!(f, "ring {hosts}"),
            Self::Bridge { left, right, bridge } => write!(f, "{left} | {right} bridged by {bridge}"),
        }
    }
}

impl Read for Partition {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        // A host may be called `ring`.
        if cursor.peek() == "ring" {
            let mut ahead = cursor.clone();
            ahead.accept("ring");
            if ahead.at_selector() {
                *cursor = ahead;
                return Selector::read(cursor).map(Self::Ring);
            }
        }
        let first = Selector::read(cursor)?;
        if cursor.eat("->") {
            return Ok(Self::OneWay { from: first, to: Selector::read(cursor)? });
        }
        let mut sides = vec![first];
        while cursor.eat("|") {
            sides.push(Selector::read(cursor)?);
        }
        if sides.len() < 2 {
            return Err(cursor.expected("`|` or `->` and the other side of the partition"));
        }
        if let [left, right] = &sides[..]
            && cursor.accept("bridged")
        {
            cursor.require("by")?;
            let bridge = Selector::read(cursor)?;
            return Ok(Self::Bridge { left: left.clone(), right: right.clone(), bridge });
        }
        Ok(Self::Sides(sides))
    }
}

text_form!(
    Partition,
    "Partition",
    "Sides that do not reach each other, one way or both, a ring, or a bridge.",
    ["{kv0} | {kv1,kv2}", "kv0->{kv1,kv2}", "ring kv*", "{kv0} | {kv2} bridged by kv1"]
);
