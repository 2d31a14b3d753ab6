//! Which hosts there are, and which of them form a group.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

/// A host as plans know it: its name, and the group it was started in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// What it is called, such as `kv0`.
    pub name: String,
    /// What it was started as, such as `kv`; selectors call it a role. A host by itself is a group of one.
    pub group: String,
    /// Whose program it runs.
    pub part: Part,
}

/// What a host is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Part {
    /// It runs a program that is tested: it may crash, and starts again.
    #[default]
    Service,
    /// It runs a part of the test: only its links may fail, as there is nothing that could be started again.
    Client,
}

/// The hosts of a test, in the order in which they were added. Selectors are resolved against it, and plans are drawn
/// for it.
///
/// ```
/// use windtunnel_faults::Topology;
///
/// let topology = Topology::new().group("kv", 3).host("c1");
/// let names = topology.members().iter().map(|host| host.name.as_str()).collect::<Vec<_>>();
/// assert_eq!(names, ["kv0", "kv1", "kv2", "c1"]);
/// assert_eq!(topology.members()[1].group, "kv");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    members: Vec<Member>,
}

impl Topology {
    /// No hosts yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { members: Vec::new() }
    }

    /// Adds `count` hosts that are named after their group and counted from 0, as `cx.hosts("kv", 3)` does.
    #[must_use]
    pub fn group(mut self, group: &str, count: usize) -> Self {
        for index in 0..count {
            self.add(&format!("{group}{index}"), group);
        }
        self
    }

    /// Adds a host that is a group of its own.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.add(name, name);
        self
    }

    /// Adds a host that runs a part of the test: only its links may fail.
    ///
    /// ```
    /// use windtunnel_faults::{Plan, Topology};
    ///
    /// let topology = Topology::new().host("shop").client("c1");
    /// assert!("0s loss c1<->shop 30% for 1s".parse::<Plan>()?.validate_for(&topology).is_ok());
    /// assert!("0s crash c1 restart after 1s".parse::<Plan>()?.validate_for(&topology).is_err());
    /// # Ok::<(), windtunnel_faults::ParseError>(())
    /// ```
    #[must_use]
    pub fn client(mut self, name: &str) -> Self {
        self.add_client(name);
        self
    }

    /// As [`Topology::client`].
    pub fn add_client(&mut self, name: &str) {
        self.add_part(name, name, Part::Client);
    }

    /// Adds a host to a group. A name that is there already is not added again.
    ///
    /// ```
    /// use windtunnel_faults::Topology;
    ///
    /// let mut topology = Topology::new();
    /// topology.add("leader", "kv");
    /// topology.add("follower", "kv");
    /// assert_eq!(topology.in_group("kv").len(), 2);
    /// ```
    pub fn add(&mut self, name: &str, group: &str) {
        self.add_part(name, group, Part::Service);
    }

    fn add_part(&mut self, name: &str, group: &str, part: Part) {
        if self.find(name).is_none() {
            self.members.push(Member { name: name.to_owned(), group: group.to_owned(), part });
        }
    }

    /// The hosts that run what is tested.
    pub fn services(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.part == Part::Service)
    }

    /// Every host.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The host of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The groups' names, in the order in which they first appear.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let groups = self.members.iter().map(|member| member.group.as_str());
        groups.filter(|group| seen.insert(*group)).collect()
    }

    /// The hosts of a group.
    #[must_use]
    pub fn in_group(&self, group: &str) -> Vec<&Member> {
        self.members.iter().filter(|member| member.group == group).collect()
    }
}

/// An ordered pair of hosts: what the first sends to the second.
///
/// ```
/// use windtunnel_faults::Link;
///
/// assert_eq!(Link { from: "kv0", to: "kv1" }.to_string(), "kv0->kv1");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link<'t> {
    /// The sender's name.
    pub from: &'t str,
    /// The receiver's name.
    pub to: &'t str,
}

impl Display for Link<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.from, self.to)
    }
}

/// The most hosts of a group that may be down at once without taking a majority away: a minority, but at least one, so
/// that a single host and one of a pair may crash too.
///
/// ```
/// use windtunnel_faults::minority;
///
/// assert_eq!([1, 2, 3, 4, 5, 7].map(minority), [1, 1, 1, 1, 2, 3]);
/// ```
#[must_use]
pub const fn minority(hosts: usize) -> usize {
    let less_than_half = hosts.saturating_sub(1) / 2;
    if less_than_half == 0 && hosts > 0 { 1 } else { less_than_half }
}
