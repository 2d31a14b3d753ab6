//! Weather: a plan of faults that the kernel carries out by itself, at virtual times or after labels of the test's.
//!
//! [`control::begin_weather`](crate::control::begin_weather) hands a plan over,
//! [`control::end_weather`](crate::control::end_weather) heals what is in force and accounts for all of it. Faults
//! overlap as they like, and any sub-list of a plan is a plan. What happens at the same instant happens in the plan's
//! order. A world that ends in its weather has the account in its [`Ending`](crate::world::Ending).
//!
//! ```
//! use std::time::Duration;
//! use windtunnel_sim::weather::{Begins, Fault, FaultKind, LinkTrouble, Links};
//! use windtunnel_sim::world::HostId;
//!
//! let (a, b, c) = (HostId(1), HostId(2), HostId(3));
//! let plan = [
//!     Fault {
//!         begins: Begins::At(Duration::from_millis(3_877)),
//!         lasts: Duration::from_secs(2),
//!         kind: FaultKind::Crash { host: a },
//!     },
//!     Fault {
//!         begins: Begins::Mark { label: "loaded".to_owned(), after: Duration::ZERO },
//!         lasts: Duration::MAX, // until the weather ends
//!         kind: FaultKind::Links {
//!             links: Links { from: vec![a], to: vec![b, c], both_ways: true },
//!             trouble: LinkTrouble::Partition,
//!         },
//!     },
//! ];
//! # assert_eq!(plan.len(), 2);
//! ```

use crate::world::HostId;
use std::net::IpAddr;
use std::time::Duration;

/// Something that goes wrong for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// When it begins.
    pub begins: Begins,
    /// How long it is in force. A fault whose end lies beyond what virtual time can count (584 years) ends with the
    /// weather.
    pub lasts: Duration,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// When a fault begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begins {
    /// This long after the weather's beginning.
    At(Duration),
    /// This long after the first [`control::mark`](crate::control::mark) with this label since the weather's beginning.
    Mark {
        /// The label.
        label: String,
        /// Time between label and fault.
        after: Duration,
    },
    /// As soon as the world's event of this number has happened: for sweeps over all moments of one and the same run.
    Event(u64),
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// What is sent does not arrive as it should.
    Links {
        /// Where.
        links: Links,
        /// How.
        trouble: LinkTrouble,
    },
    /// The wall clock (`CLOCK_REALTIME`) shows another time, and the right one again when the fault ends.
    Skew {
        /// Whose.
        host: HostId,
        /// How far it is off; positive when ahead. 200 years at most.
        by_ns: i64,
        /// It is moved gradually, at 500 ppm as by adjtime(3), there and back; or else at once.
        slewed: bool,
    },
    /// All clocks run too fast or too slow: timeouts with them. At the end the wall clock is put right.
    Drift {
        /// Whose.
        host: HostId,
        /// How much too fast, in parts per million: from -500,000 to 500,000.
        ppm: i64,
        /// The wall clock is put right at once; or else gradually, at 500 ppm.
        stepped: bool,
    },
    /// A name resolves to something else, late, or not at all, for those who ask on a host: by getaddrinfo(3), or the
    /// name server itself.
    Hijack {
        /// Whose questions.
        host: HostId,
        /// Which name; `*.internal` stands for all below `internal`.
        name: String,
        /// What they are told.
        answer: NameAnswer,
    },
    /// Processors are busy with something else: whoever is woken on the host waits for a turn.
    Burn {
        /// Whose.
        host: HostId,
        /// The share of their time that is taken: from 0 to 1.
        load: f64,
    },
    /// A program gets less than it may need, as if something had been leaked or taken by another.
    Lack {
        /// Whose program.
        host: HostId,
        /// What it gets less of.
        lack: Lack,
    },
    /// A disk is in trouble.
    Disk {
        /// Whose.
        host: HostId,
        /// What is wrong with it.
        trouble: DiskTrouble,
    },
    /// Power loss: nobody is told, and what was not synced to the disk may be gone. The program is started again when
    /// the fault ends.
    Crash {
        /// Whose.
        host: HostId,
    },
    /// SIGKILL: the kernel closes what was open. The program is started again when the fault ends.
    Kill {
        /// Whose program.
        host: HostId,
    },
    /// The program is suspended, as by SIGSTOP, until the fault ends.
    Pause {
        /// Whose program.
        host: HostId,
    },
}

/// What a program gets less of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lack {
    /// Memory: an allocation that goes beyond what is left gets the program killed. It is started again when the fault
    /// ends. When all is taken, that is at once.
    Memory {
        /// The share of the machine's memory that is taken: from 0 to 1.
        share: f64,
    },
    /// Memory that so many tasks of an asynchronous runtime take which never end: a KiB for each.
    Tasks {
        /// How many.
        count: u32,
    },
    /// Threads: they count against the host's limit.
    Threads {
        /// How many; the limit is the most that are taken.
        count: u32,
    },
    /// Descriptors: they are open, in the lowest free numbers.
    Descriptors {
        /// How many; the limit is the most that are taken.
        count: u32,
    },
}

/// What is wrong with links.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkTrouble {
    /// Nothing gets through.
    Partition,
    /// Everything takes longer.
    Slow {
        /// Added to each segment's and datagram's way.
        latency: Duration,
        /// Other latencies, each as likely as the first.
        or: Vec<Duration>,
        /// How much that varies, drawn for each.
        jitter: Duration,
        /// How the jitter is distributed.
        spread: Spread,
    },
    /// Segments and datagrams are lost.
    Lossy {
        /// Of each to be lost: from 0 to 1.
        probability: f64,
        /// How likely each shares the fate of the one before, from 0 to 1: losses come in bursts.
        correlation: f64,
    },
    /// Segments and datagrams arrive twice. To a stream a segment that comes again is nothing new.
    Doubling {
        /// Of each to be doubled: from 0 to 1.
        probability: f64,
    },
    /// Segments and datagrams are held back, so that later ones overtake them. A stream keeps its order: what comes
    /// after a segment that was held back waits for it.
    Overtaking {
        /// Of each to be held back: from 0 to 1.
        probability: f64,
        /// For how long.
        by: Duration,
    },
    /// A bit is flipped. A segment then fails its checksum and is lost; a datagram is delivered so, as where nobody
    /// computes checksums of datagrams.
    Flipping {
        /// Of each to be flipped: from 0 to 1.
        probability: f64,
    },
    /// Each link carries no more than this.
    Narrow {
        /// Payload; headers do not count. Above zero.
        bytes_per_second: u64,
        /// How much may wait before datagrams are dropped; 1,500,000 bytes, a usual queue of 1,000 packets
        /// (`txqueuelen`, netdevice(7)), if not said. A TCP sender holds back what would not leave soon, so of a stream
        /// nothing is dropped.
        queue_bytes: Option<u64>,
    },
}

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DiskTrouble {
    /// Somebody else has taken its space: writes that need more fail with `ENOSPC`.
    Full {
        /// How much was left, in whole pages of 4 KiB.
        free_bytes: u64,
    },
    /// Somebody else has taken its inodes: what makes a file fails with `ENOSPC`.
    NoInodes {
        /// How many were left.
        free: u64,
    },
    /// It takes longer: syncs, writes that are synchronous, and writes to the page cache that are more than a second
    /// ahead of it.
    Slow {
        /// At most this. Above zero.
        bytes_per_second: u64,
        /// Added to each sync and each synchronous write.
        delay: Duration,
    },
    /// Operations fail with `EIO`. Pages that a failed fsync(2) has not written are lost although they can still be
    /// read, and the next fsync(2) says nothing of them, as on Linux.
    Failing {
        /// Of each read to fail: from 0 to 1.
        reads: f64,
        /// Of each fsync(2) and its like to fail: from 0 to 1.
        syncs: f64,
    },
    /// Bits of what is on it flip, once, as the fault begins. They stay so.
    Rotting {
        /// How many.
        bits: u32,
    },
}

/// What a resolver is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameAnswer {
    /// This address.
    Address(IpAddr),
    /// The addresses of this host.
    Host(HostId),
    /// There is no such name (RFC 1035 §4.1.1, code 3).
    NoSuchName,
    /// The server could not find out (code 2).
    Failure,
    /// No answer comes.
    Nothing,
    /// The truth, that much later.
    Late(Duration),
}

/// How a delay varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// At most the jitter on top of the latency, all equally likely.
    #[default]
    Uniform,
    /// Around the latency, the jitter being the standard deviation; never below no latency.
    Normal,
    /// On top of the latency, exponentially: the jitter is the mean.
    Exponential,
    /// On top of the latency, with a long tail (Lomax, α = 2) whose mean is the jitter.
    Pareto,
}

/// All links from one set of hosts to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// Senders.
    pub from: Vec<HostId>,
    /// Receivers. A host in both sets still reaches itself.
    pub to: Vec<HostId>,
    /// The links back as well.
    pub both_ways: bool,
}

/// What became of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WeatherReport {
    /// What became of each fault, in the plan's order.
    pub faults: Vec<FaultReport>,
    /// Hosts that a crash or kill has left down: its fault was still in force, or what ran was no program that can be
    /// started again (a client). In order of their identifiers.
    pub left_down: Vec<HostId>,
    /// Hosts that were started again when a fault ended, each once, in order of their identifiers. They may have
    /// fallen again since.
    pub restarted: Vec<HostId>,
}

/// What became of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultReport {
    /// When it began, after the weather's beginning; `None` if it never did: its time or its label did not come.
    pub began: Option<Duration>,
    /// When it ended, after the weather's beginning; `None` if it never began, or has not ended when the account was
    /// asked for.
    pub ended: Option<Duration>,
    /// What it bit on: how many segments and datagrams it dropped, delayed, doubled or changed; how often who asked for
    /// a name was misled, or who was woken waited for a turn; how many operations a disk refused, failed or delayed, or
    /// how many of its bits flipped; how many threads or descriptors were refused, or how often a program was killed
    /// for want of memory; 1 if somebody read a wall clock that was wrong or waited
    /// for a time of day, if clocks drifted, or if it felled or paused its host, and 0 if the host was down, or to be
    /// paused and paused already.
    pub bit: u64,
    /// It may have bitten on more: nobody counts what such a program is refused. Never in a simulated world.
    pub unseen: bool,
}

impl FaultKind {
    /// Where it acts.
    fn place(&self) -> Place<'_> {
        match self {
            FaultKind::Links { links, .. } => Place::Links(links),
            FaultKind::Skew { host, .. }
            | FaultKind::Drift { host, .. }
            | FaultKind::Hijack { host, .. }
            | FaultKind::Burn { host, .. }
            | FaultKind::Disk { host, .. }
            | FaultKind::Lack { host, .. }
            | FaultKind::Crash { host }
            | FaultKind::Kill { host }
            | FaultKind::Pause { host } => Place::Host(*host),
        }
    }

    /// The links that it concerns.
    pub(crate) fn links(&self) -> Option<&Links> {
        match self.place() {
            Place::Links(links) => Some(links),
            Place::Host(_) => None,
        }
    }

    /// The host that it concerns.
    pub(crate) fn host(&self) -> Option<HostId> {
        match self.place() {
            Place::Links(_) => None,
            Place::Host(host) => Some(host),
        }
    }
}

/// Where a fault acts.
enum Place<'a> {
    Links(&'a Links),
    Host(HostId),
}
