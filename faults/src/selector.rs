//! Targets by name, pattern, role, share or set, and links between them.
//!
//! Resolving is a pure function of the selector and the topology: no chance, no order but the topology's.

use crate::error::{ParseError, nearest};
use crate::text::{Cursor, Read, text_form};
use crate::topology::{Link, Member, Topology, minority};
use std::fmt::{self, Display, Formatter};
use thiserror::Error;

/// Which hosts a fault concerns.
///
/// | text | hosts |
/// | --- | --- |
/// | `kv0` | the host of that name |
/// | `kv*`, `kv?`, `*` | those whose names match; `*` stands for any letters, `?` for one |
/// | `role:kv` | those started as the group `kv` |
/// | `a minority of kv*` | the first of them, as many as are no majority, but at least one |
/// | `a majority of role:kv` | the first of them, just more than half |
/// | `{kv0,c1}`, `{role:kv,c1}` | all of these |
///
/// ```
/// use windtunnel_faults::{Selector, Topology};
///
/// let topology = Topology::new().group("kv", 5);
/// let names = |text: &str| -> Result<Vec<String>, Box<dyn std::error::Error>> {
///     let hosts = text.parse::<Selector>()?.resolve(&topology)?;
///     Ok(hosts.into_iter().map(|host| host.name.clone()).collect())
/// };
/// assert_eq!(names("a minority of kv*")?, ["kv0", "kv1"]);
/// assert_eq!(names("{kv3,kv1}")?, ["kv1", "kv3"]);
/// assert_eq!(
///     names("kv7").unwrap_err().to_string(),
///     "there is no host `kv7`; there are `kv0`, `kv1`, `kv2`, `kv3` and `kv4`"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// The host of this name.
    Name(String),
    /// Hosts whose names match: `*` stands for any letters, `?` for one.
    Glob(String),
    /// Hosts that were started as this group.
    Role(String),
    /// The first of some hosts, as many as are no majority of them, but at least one.
    Minority(Box<Selector>),
    /// The first of some hosts, just more than half of them.
    Majority(Box<Selector>),
    /// All of these.
    Set(Vec<Selector>),
}

/// A selector does not fit the hosts that there are.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// No host has this name.
    #[error("there is no host `{name}`{}; {}", hint(name, hosts), there_are(hosts))]
    UnknownHost {
        /// The name.
        name: String,
        /// The names that there are.
        hosts: Vec<String>,
    },
    /// No host was started as this group.
    #[error("there is no role `{role}`{}; {}", hint(role, roles), there_are(roles))]
    UnknownRole {
        /// The group's name.
        role: String,
        /// The groups that there are.
        roles: Vec<String>,
    },
    /// No host's name matches.
    #[error("no host matches `{glob}`; {}", there_are(hosts))]
    NothingMatches {
        /// The pattern.
        glob: String,
        /// The names that there are.
        hosts: Vec<String>,
    },
    /// A set has nothing in it.
    #[error("the set `{{}}` is empty; name at least one host")]
    EmptySet,
    /// Both ends of a link are the same single host.
    #[error("`{links}` is no link: both ends are the same host; name two hosts")]
    NoLink {
        /// The links as they were written.
        links: String,
    },
    /// A host stands on two sides of a partition.
    #[error("`{host}` stands on two sides of the partition `{partition}`; leave it on one")]
    OnTwoSides {
        /// The host.
        host: String,
        /// The partition as it was written.
        partition: String,
    },
    /// In a ring of three everybody is everybody's neighbour.
    #[error("a ring of {hosts} hosts cuts nothing, because all are neighbours; name at least four hosts")]
    RingTooSmall {
        /// How many hosts there are.
        hosts: usize,
    },
}

fn hint(name: &str, known: &[String]) -> String {
    // Between `kv7` and `kv0` there is no slip of the finger, only a count that is wrong.
    let stem = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    let others = known.iter().map(String::as_str).filter(|other| stem(other) != stem(name));
    nearest(name, others).map_or(String::new(), |near| format!(" (did you mean `{near}`?)"))
}

/// More names than these are not read.
const NAMES_LISTED_MAX: usize = 8;

fn there_are(names: &[String]) -> String {
    let quoted = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    match &quoted[..] {
        [] => "there are none".to_owned(),
        [only] => format!("there is {only}"),
        [some @ .., last] if names.len() <= NAMES_LISTED_MAX => format!("there are {} and {last}", some.join(", ")),
        many => {
            let (listed, others) = many.split_at(NAMES_LISTED_MAX);
            format!("there are {} and {} more", listed.join(", "), others.len())
        }
    }
}

impl Selector {
    /// All hosts.
    #[must_use]
    pub fn all() -> Self {
        Self::Glob("*".to_owned())
    }

    /// The host of this name.
    #[must_use]
    pub fn name(name: &str) -> Self {
        Self::Name(name.to_owned())
    }

    /// The hosts of these names; one by itself is no set.
    ///
    /// ```
    /// use windtunnel_faults::Selector;
    ///
    /// assert_eq!(Selector::names(["kv0", "kv1"]).to_string(), "{kv0,kv1}");
    /// assert_eq!(Selector::names(["kv0"]).to_string(), "kv0");
    /// ```
    #[must_use]
    pub fn names<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut names = names.into_iter().map(Self::name).collect::<Vec<_>>();
        if names.len() == 1 { names.remove(0) } else { Self::Set(names) }
    }

    /// The concrete hosts, each once, in the topology's order; at least one.
    ///
    /// # Errors
    /// Something does not exist, or a set is empty; the error names it, and what exists.
    pub fn resolve<'t>(&self, topology: &'t Topology) -> Result<Vec<&'t Member>, ResolveError> {
        let all = topology.members();
        let names = || all.iter().map(|host| host.name.clone()).collect::<Vec<_>>();
        let some = |keep: &dyn Fn(&Member) -> bool| all.iter().filter(|host| keep(host)).collect::<Vec<_>>();
        let first = |of: &Self, count: &dyn Fn(usize) -> usize| {
            let mut hosts = of.resolve(topology)?;
            hosts.truncate(count(hosts.len()));
            Ok(hosts)
        };
        let found = match self {
            Self::Name(name) => some(&|host| host.name == *name),
            Self::Glob(glob) => some(&|host| matches(glob, &host.name)),
            Self::Role(role) => some(&|host| host.group == *role),
            Self::Minority(of) => first(of, &minority)?,
            Self::Majority(of) => first(of, &|count| count / 2 + 1)?,
            Self::Set(parts) => {
                let parts = parts.iter().map(|part| part.resolve(topology)).collect::<Result<Vec<_>, _>>()?.concat();
                some(&|host| parts.contains(&host))
            }
        };
        if !found.is_empty() {
            return Ok(found);
        }
        Err(match self {
            Self::Name(name) => ResolveError::UnknownHost { name: name.clone(), hosts: names() },
            Self::Glob(glob) => ResolveError::NothingMatches { glob: glob.clone(), hosts: names() },
            Self::Role(role) => {
                let roles = topology.groups().into_iter().map(str::to_owned).collect();
                ResolveError::UnknownRole { role: role.clone(), roles }
            }
            Self::Minority(_) | Self::Majority(_) | Self::Set(_) => ResolveError::EmptySet,
        })
    }

    /// As [`Selector::resolve`], for what strikes hosts and not their links: patterns and parts of a group are of hosts
    /// that run what is tested. Those that run a part of the test are meant only if nothing else can be.
    ///
    /// # Errors
    /// As [`Selector::resolve`].
    pub(crate) fn resolve_services<'t>(&self, topology: &'t Topology) -> Result<Vec<&'t Member>, ResolveError> {
        let mut services = Topology::new();
        topology.services().for_each(|host| services.add(&host.name, &host.group));
        match self.resolve(&services) {
            Ok(found) => Ok(topology.members().iter().filter(|host| found.contains(host)).collect()),
            Err(_) => self.resolve(topology),
        }
    }

    /// Calls `change` for each name that stands by itself.
    pub(crate) fn rename(&mut self, change: &dyn Fn(&str) -> Option<String>) {
        match self {
            Self::Name(name) => {
                if let Some(new) = change(name) {
                    *name = new;
                }
            }
            Self::Glob(_) | Self::Role(_) => {}
            Self::Minority(of) | Self::Majority(of) => of.rename(change),
            Self::Set(parts) => parts.iter_mut().for_each(|part| part.rename(change)),
        }
    }

    /// The problem that keeps its text from reading back as the same selector.
    pub(crate) fn problem(&self) -> Option<(String, &'static str)> {
        match self {
            Self::Name(name) if !is_name(name) => Some((name.clone(), NAME_REMEDY)),
            Self::Role(name) if !is_name(name) => Some((name.clone(), NAME_REMEDY)),
            Self::Glob(glob) if !is_glob(glob) => {
                Some((glob.clone(), "a pattern has letters, digits, `_`, `-`, `.`, and at least one `*` or `?`"))
            }
            Self::Name(_) | Self::Role(_) | Self::Glob(_) => None,
            Self::Minority(of) | Self::Majority(of) => of.problem(),
            Self::Set(parts) if parts.is_empty() => Some(("{}".to_owned(), "name at least one host")),
            Self::Set(parts) => parts.iter().find_map(Self::problem),
        }
    }
}

const NAME_REMEDY: &str = "a name begins with a letter or digit and has letters, digits, `_`, `-` and `.` only";

fn is_name_letter(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_name_letter)
}

fn is_glob(glob: &str) -> bool {
    glob.contains(['*', '?']) && glob.chars().all(|c| is_name_letter(c) || matches!(c, '*' | '?'))
}

/// Whether a name matches a pattern, in time linear in their product: only the last `*` has ever to be tried again.
fn matches(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut g, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(letter) if *letter == b'?' || *letter == name[n] => (g, n) = (g + 1, n + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (g, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|letter| *letter == b'*')
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(text) | Self::Glob(text) => f.write_str(text),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::Minority(of) => write!(f, "a minority of {of}"),
            Self::Majority(of) => write!(f, "a majority of {of}"),
            Self::Set(parts) => {
                let parts = parts.iter().map(Self::to_string).collect::<Vec<_>>();
                write!(f, "{{{}}}", parts.join(","))
            }
        }
    }
}

/// Sets may stand in sets; nobody needs more, and a text of braces must not exhaust the stack.
const DEPTH_MAX: usize = 8;

impl Read for Selector {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        read_selector(cursor, DEPTH_MAX)
    }
}

fn read_selector(cursor: &mut Cursor<'_>, depth: usize) -> Result<Selector, ParseError> {
    if depth == 0 {
        return Err(cursor.expected("at most eight sets in each other"));
    }
    if cursor.eat("{") {
        let mut parts = vec![read_selector(cursor, depth - 1)?];
        while cursor.eat(",") {
            parts.push(read_selector(cursor, depth - 1)?);
        }
        return if cursor.eat("}") { Ok(Selector::Set(parts)) } else { Err(cursor.expected("`,` or `}`")) };
    }
    // A host may be called `a`.
    if cursor.peek() == "a" && matches!(cursor.peek_second(), "minority" | "majority") {
        cursor.accept("a");
        let minority = cursor.accept("minority");
        if !minority {
            cursor.require("majority")?;
        }
        cursor.require("of")?;
        let of = Box::new(read_selector(cursor, depth - 1)?);
        return Ok(if minority { Selector::Minority(of) } else { Selector::Majority(of) });
    }
    let expected = "hosts: a name, a pattern such as `kv*`, `role:…`, `a minority of …` or `{…}`";
    cursor.parse(expected, |word| match word.strip_prefix("role:") {
        Some(role) => is_name(role).then(|| Selector::Role(role.to_owned())),
        None if is_glob(word) => Some(Selector::Glob(word.to_owned())),
        None => is_name(word).then(|| Selector::name(word)),
    })
}

text_form!(
    Selector,
    "Hosts",
    "Hosts by name, pattern, role, share or set.",
    ["kv0", "kv*", "role:kv", "a minority of kv*", "{kv0,kv1}"]
);

/// Which links a fault concerns. What a host sends to itself is no link.
///
/// | text | links |
/// | --- | --- |
/// | `kv0->kv1` | from the first to the second |
/// | `kv0<->{kv1,kv2}` | both ways |
/// | `kv0` | all from and to it |
///
/// ```
/// use windtunnel_faults::{Links, Topology};
///
/// let topology = Topology::new().group("kv", 3);
/// let links = |text: &str| -> Result<Vec<String>, Box<dyn std::error::Error>> {
///     Ok(text.parse::<Links>()?.resolve(&topology)?.iter().map(ToString::to_string).collect())
/// };
/// assert_eq!(links("kv0->{kv1,kv2}")?, ["kv0->kv1", "kv0->kv2"]);
/// assert_eq!(links("kv0<->kv1")?, ["kv0->kv1", "kv1->kv0"]);
/// assert_eq!(links("kv2")?, ["kv0->kv2", "kv1->kv2", "kv2->kv0", "kv2->kv1"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Links {
    /// What some hosts send to others.
    OneWay {
        /// The senders.
        from: Selector,
        /// The receivers.
        to: Selector,
    },
    /// What some hosts send to others, and what comes back.
    BothWays(Selector, Selector),
    /// Whatever these hosts send and receive.
    Of(Selector),
}

impl Links {
    /// The concrete links, each once, in order; at least one.
    ///
    /// # Errors
    /// A host does not exist, or both ends are the same host.
    pub fn resolve<'t>(&self, topology: &'t Topology) -> Result<Vec<Link<'t>>, ResolveError> {
        let mut links = match self {
            Self::OneWay { from, to } => links_between(&from.resolve(topology)?, &to.resolve(topology)?),
            Self::BothWays(one, other) => {
                let (one, other) = (one.resolve(topology)?, other.resolve(topology)?);
                [links_between(&one, &other), links_between(&other, &one)].concat()
            }
            Self::Of(hosts) => {
                let (hosts, all) = (hosts.resolve(topology)?, topology.members().iter().collect::<Vec<_>>());
                [links_between(&hosts, &all), links_between(&all, &hosts)].concat()
            }
        };
        links.sort_unstable();
        links.dedup();
        if links.is_empty() { Err(ResolveError::NoLink { links: self.to_string() }) } else { Ok(links) }
    }

    pub(crate) fn selectors_mut(&mut self) -> Vec<&mut Selector> {
        match self {
            Self::OneWay { from, to } => vec![from, to],
            Self::BothWays(one, other) => vec![one, other],
            Self::Of(hosts) => vec![hosts],
        }
    }
}

/// Every link from one of these to one of those.
pub(crate) fn links_between<'t>(from: &[&'t Member], to: &[&'t Member]) -> Vec<Link<'t>> {
    let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (from, to)));
    pairs.filter(|(from, to)| from.name != to.name).map(|(from, to)| Link { from: &from.name, to: &to.name }).collect()
}

impl Display for Links {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneWay { from, to } => write!(f, "{from}->{to}"),
            Self::BothWays(one, other) => write!(f, "{one}<->{other}"),
            Self::Of(hosts) => write!(f, "{hosts}"),
        }
    }
}

impl Read for Links {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let first = Selector::read(cursor)?;
        if cursor.eat("<->") {
            return Ok(Self::BothWays(first, Selector::read(cursor)?));
        }
        if cursor.eat("->") {
            return Ok(Self::OneWay { from: first, to: Selector::read(cursor)? });
        }
        Ok(Self::Of(first))
    }
}

text_form!(
    Links,
    "Links",
    "Links from hosts to hosts (->), both ways (<->), or all of some hosts.",
    ["kv0->kv1", "kv0<->{kv1,kv2}", "kv0"]
);
