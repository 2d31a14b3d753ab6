//! Hosts that crash, stand still, or lack processors, memory, tasks, threads or descriptors.

use super::{Class, Complaint, strikes_hosts};
use crate::error::ParseError;
use crate::quantity::Percent;
use crate::selector::Selector;
use crate::severity::Severity;
use crate::text::{Cursor, Read, text_form};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

/// Processors are busy with something else: `kv1 80%`.
///
/// ```
/// use windtunnel_faults::{CpuBurn, Percent, Selector};
///
/// assert_eq!(CpuBurn { hosts: Selector::name("kv1"), load: Percent::new(80) }.to_string(), "kv1 80%");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CpuBurn {
    /// Whose processors.
    pub hosts: Selector,
    /// The share of their time that is taken. Less than everything: a host that never runs is paused.
    pub load: Percent,
}

impl Display for CpuBurn {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.hosts, self.load)
    }
}

impl Read for CpuBurn {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        Ok(Self { hosts: Selector::read(cursor)?, load: Percent::read(cursor)? })
    }
}

impl Class for CpuBurn {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        if self.load < Percent::new(90) { Severity::Low } else { Severity::Medium }
    }

    fn complaint(&self) -> Option<Complaint> {
        let complaint = |problem, remedy| Some(Complaint::new("load", self.load, problem, remedy));
        match self.load {
            Percent::ZERO => complaint("nothing would be taken", "write more than `0%`"),
            Percent::ALL => complaint("the host would never run", "write less than `100%`, or use `pause`"),
            _ => None,
        }
    }
}

/// Memory is taken by something else, up to the OOM kill: `kv1 90%`, `kv1 oom-kill`.
///
/// ```
/// use windtunnel_faults::{MemoryPressure, Pressure, Selector};
///
/// let pressure = MemoryPressure { hosts: Selector::name("kv1"), pressure: Pressure::OomKill };
/// assert_eq!(pressure.to_string(), "kv1 oom-kill");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryPressure {
    /// Whose memory.
    pub hosts: Selector,
    /// How hard.
    pub pressure: Pressure,
}

/// How hard memory is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pressure {
    /// This share of the host's memory is taken; an allocation that does not fit gets the program killed. It starts
    /// again when the fault ends.
    Taken(Percent),
    /// `oom-kill`: the kernel kills the program, as it does with the largest process when nothing is left. It starts
    /// again when the fault ends.
    OomKill,
}

impl Display for Pressure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(share) => write!(f, "{share}"),
            Self::OomKill => f.write_str("oom-kill"),
        }
    }
}

impl Read for Pressure {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        if cursor.accept("oom-kill") {
            return Ok(Self::OomKill);
        }
        if !cursor.peek().ends_with('%') {
            return Err(cursor.expected("the share of memory that is taken, such as `90%`, or `oom-kill`"));
        }
        Percent::read(cursor).map(Self::Taken)
    }
}

text_form!(Pressure, "Pressure", "The share of memory that is taken, or oom-kill.", ["90%", "oom-kill"]);

impl Display for MemoryPressure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.hosts, self.pressure)
    }
}

impl Read for MemoryPressure {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        Ok(Self { hosts: Selector::read(cursor)?, pressure: Pressure::read(cursor)? })
    }
}

impl Class for MemoryPressure {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        match self.pressure {
            Pressure::Taken(_) => Severity::Medium,
            Pressure::OomKill => Severity::High,
        }
    }

    fn complaint(&self) -> Option<Complaint> {
        let complaint = |problem, remedy| Some(Complaint::new("pressure", self.pressure, problem, remedy));
        match self.pressure {
            Pressure::Taken(Percent::ZERO) => complaint("nothing would be taken", "write more than `0%`"),
            Pressure::Taken(Percent::ALL) => complaint("no program lives without memory", "write `oom-kill`"),
            Pressure::Taken(_) | Pressure::OomKill => None,
        }
    }
}

/// Tasks, threads or descriptors are taken and not given back before the fault ends: `kv1 1000 descriptors`.
///
/// ```
/// use windtunnel_faults::{Resource, Selector, TaskLeak};
///
/// let leak = TaskLeak { hosts: Selector::name("kv1"), count: 1000, resource: Resource::Descriptors };
/// assert_eq!(leak.to_string(), "kv1 1000 descriptors");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskLeak {
    /// Whose.
    pub hosts: Selector,
    /// How many; the host's limit is the most that are taken.
    pub count: u32,
    /// Of what.
    pub resource: Resource,
}

/// What can leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Tasks of an asynchronous runtime that never end: each counts as 1 KiB of the host's memory, so they bite on
    /// hosts that have little.
    Tasks,
    /// Threads that never end.
    Threads,
    /// Descriptors that are never closed.
    Descriptors,
}

impl Resource {
    const fn name(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Threads => "threads",
            Self::Descriptors => "descriptors",
        }
    }
}

impl Display for TaskLeak {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.hosts, self.count, self.resource.name())
    }
}

impl Read for TaskLeak {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let hosts = Selector::read(cursor)?;
        let count = cursor.parse("how many are leaked, such as `1000`", |word| word.parse().ok())?;
        let all = [Resource::Tasks, Resource::Threads, Resource::Descriptors].map(|one| (one.name(), one));
        Ok(Self { hosts, count, resource: cursor.choose("what leaks", &all)? })
    }
}

impl Class for TaskLeak {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        Severity::Medium
    }

    fn complaint(&self) -> Option<Complaint> {
        (self.count == 0).then(|| Complaint::new("count", self.count, "nothing would leak", "write more than `0`"))
    }
}

/// Hosts lose power or are killed, and start again when the fault ends: `kv1 restart after 2s`,
/// `kv1 by kill restart after 2s`. Until the storm ends unless a time is given.
///
/// ```
/// use std::time::Duration;
/// use windtunnel_faults::{Crash, Fault, Manner, Selector};
///
/// let crash = Crash { hosts: Selector::name("kv1"), manner: Manner::Kill };
/// let fault = Fault::new(Duration::from_secs(1), crash).lasting(Duration::from_secs(2));
/// assert_eq!(fault.to_string(), "1s crash kv1 by kill restart after 2s");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    /// Which hosts.
    pub hosts: Selector,
    /// How. Power loss unless given.
    #[serde(default, skip_serializing_if = "Manner::is_default")]
    pub manner: Manner,
}

/// How a host goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// Nobody is told, and what was not synced to the disk may be gone.
    #[default]
    PowerLoss,
    /// As by SIGKILL: the kernel lives, closes the sockets and keeps what was written. Written `by kill`.
    Kill,
}

impl Manner {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Display for Crash {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hosts)?;
        f.write_str(match self.manner {
            Manner::PowerLoss => "",
            Manner::Kill => " by kill",
        })
    }
}

impl Read for Crash {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let hosts = Selector::read(cursor)?;
        let manner = if cursor.accept("by") {
            cursor.choose("how it crashes", &[("kill", Manner::Kill), ("power-loss", Manner::PowerLoss)])?
        } else {
            Manner::PowerLoss
        };
        Ok(Self { hosts, manner })
    }
}

impl Class for Crash {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn complaint(&self) -> Option<Complaint> {
        None
    }
}

/// Hosts stand still, as by SIGSTOP, and go on when the fault ends: `kv1`.
///
/// ```
/// use windtunnel_faults::{Pause, Selector};
///
/// assert_eq!(Pause { hosts: Selector::name("kv1") }.to_string(), "kv1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Which hosts.
    pub hosts: Selector,
}

impl Display for Pause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hosts)
    }
}

impl Read for Pause {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        Ok(Self { hosts: Selector::read(cursor)? })
    }
}

impl Class for Pause {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn complaint(&self) -> Option<Complaint> {
        None
    }
}
