//! Partitions: nothing gets through from some hosts to others.

use crate::netlink::in_namespace;
use crate::netlink::nft::queue::claimed;
use crate::netlink::nft::{
    self, Chain, Direction, Expression, Family, Hold, Hook, Lease, Renewed, Rule, Set, Table, TableDescription,
};
use crate::step::reached;
use crate::{Error, Injection, Result};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Before whatever delays or loses packets (nft(8): filter is 0, mangle -150): what does not get through is not queued.
pub(super) const PRIORITY: i32 = -200;
const CHAIN: &str = "cut";
/// How long a partition goes on when its holder stands still.
const LEASE: Duration = Duration::from_secs(3);
/// How often it says that it does not.
const RENEWAL: Duration = Duration::from_secs(1);

/// The links that are cut: from each sender to each receiver.
#[derive(Debug, Clone, Default)]
pub struct Cut {
    /// Addresses of those whose packets do not get through.
    pub from: Vec<IpAddr>,
    /// Addresses of those who do not get them. A host that is on both sides still reaches itself, as its packets do not
    /// leave it.
    pub to: Vec<IpAddr>,
    /// Whether the ways back are cut too.
    pub ways: Ways,
}

/// In which direction links are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ways {
    /// Senders do not reach receivers.
    One,
    /// Nor receivers senders.
    #[default]
    Both,
}

/// Links that let nothing through: an nftables table in the switch's namespace, or in a [target's
/// own](Self::of_target), which dies with this process. If the process stands still (SIGSTOP), links are whole again
/// after seconds, until it goes on.
#[derive(Debug)]
pub struct Partition {
    ns: OwnedFd,
    /// Until it is healed.
    table: Option<Held>,
    name: String,
    /// The queue to which goes what leaves a target, and from which nobody is to take it.
    nowhere: Option<u16>,
    /// What it had bitten on when it was healed.
    bit: u64,
}

/// A table whose lease is renewed by a thread.
#[derive(Debug)]
struct Held {
    table: Table,
    /// How often the lease had run out before it was renewed.
    lapses: Arc<AtomicU32>,
    /// The thread ends when this is dropped.
    _renewing: Sender<()>,
}

impl Partition {
    /// Cuts links of the network whose switch this namespace is. It is in force when this returns.
    ///
    /// # Errors
    /// The kernel lacks nftables, or the namespace is not this user's.
    pub fn begin(switch: BorrowedFd<'_>, cuts: &[Cut]) -> Result<Self> {
        Self::begin_by(switch, cuts, Table::new)
    }

    /// Cuts links by a table that is kept by what is said, rather than by the best that the kernel has.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_held_by(switch: BorrowedFd<'_>, cuts: &[Cut], hold: Hold) -> Result<Self> {
        Self::begin_by(switch, cuts, |description| Table::held_by(hold, description))
    }

    fn begin_by(
        switch: BorrowedFd<'_>,
        cuts: &[Cut],
        make: impl FnOnce(TableDescription) -> Result<Table> + Send,
    ) -> Result<Self> {
        let ns = switch.try_clone_to_owned().map_err(|error| Error::os("hold a namespace", error))?;
        let (sets, chain) = describe(cuts);
        Self::lay(ns, sets, vec![chain], None, make)
    }

    /// Makes a table of these in a namespace; `nowhere` is the queue at whose end nobody is to be, if they use one.
    pub(super) fn lay(
        ns: OwnedFd,
        sets: Vec<Set>,
        chains: Vec<Chain>,
        nowhere: Option<u16>,
        make: impl FnOnce(TableDescription) -> Result<Table> + Send,
    ) -> Result<Self> {
        let description = TableDescription { name: name(), sets, chains, lease: Some(LEASE) };
        let name = description.name.clone();
        let begun = Instant::now();
        let table = in_namespace(ns.as_fd(), || make(description))??;
        Ok(Self { ns, table: Some(hold(table, begun)?), name, nowhere, bit: 0 })
    }

    /// The name of its table.
    pub fn table(&self) -> &str {
        &self.name
    }
}

impl Injection for Partition {
    fn mechanism(&self) -> &'static str {
        match self.table.as_ref().map(|held| held.table.hold()) {
            Some(Hold::Namespace) => "nft table",
            Some(Hold::Socket) | None => "nft owner table",
        }
    }

    fn read_back(&mut self) -> Result<()> {
        let Some(Held { table, lapses, .. }) = &mut self.table else {
            return Err(Error::unlike("keep links cut", "a partition", "it has been healed"));
        };
        // What was is said once.
        let lapses = lapses.swap(0, Ordering::Relaxed);
        if lapses > 0 {
            let found = format!("this process stood still, and links were whole for a while, {lapses} times");
            return Err(Error::unlike("keep links cut", "all the time", found));
        }
        table.read_back()?;
        if let Some(queue) = self.nowhere
            && in_namespace(self.ns.as_fd(), claimed)?.contains(&queue)
        {
            let found = format!("somebody takes packets from queue {queue}");
            return Err(Error::unlike("keep a target cut off", "nobody who hears of what leaves", found));
        }
        Ok(())
    }

    fn bit(&mut self) -> Result<u64> {
        if let Some(Held { table, .. }) = &mut self.table {
            self.bit = table.counted()?;
        }
        Ok(self.bit)
    }

    fn heal(&mut self) -> Result<()> {
        let Some(Held { table, .. }) = &mut self.table else { return Ok(()) };
        // A table that somebody has removed has taken its count along; the last one known stands.
        if let Ok(bit) = table.counted() {
            self.bit = bit;
        }
        table.remove()?;
        self.table = None;
        reached("links are whole");
        // By another socket, which sees what everybody sees.
        if in_namespace(self.ns.as_fd(), || nft::is_there(&self.name))?? {
            return Err(Error::unlike("heal a partition", "no table", format!("{} is there", self.name)));
        }
        Ok(())
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        // A table with an owner goes with its socket, which the thread may hold a moment longer; one without would
        // stay.
        if let Some(Held { table, .. }) = &mut self.table {
            let _ = table.remove();
        }
    }
}

/// Keeps the lease of a table from running out that was begun to be made then.
fn hold(table: Table, begun: Instant) -> Result<Held> {
    let lapses = Arc::new(AtomicU32::new(0));
    let (renewing, ends) = channel();
    if let Some(lease) = table.lease() {
        // A table of many addresses may take longer to make than its lease lasts. Until it is held nobody was promised
        // it.
        if begun.elapsed() >= RENEWAL {
            lease.renew()?;
        }
        let late = Arc::clone(&lapses);
        let thread = thread::Builder::new().name("partition".to_owned());
        thread.spawn(move || renew(&lease, &ends, &late)).map_err(|error| Error::os("start a thread", error))?;
        reached("a table's lease is kept");
    }
    Ok(Held { table, lapses, _renewing: renewing })
}

/// Renews a lease until nobody wants it any more, and counts how often that came too late.
fn renew(lease: &Lease, ends: &Receiver<()>, lapses: &AtomicU32) {
    while ends.recv_timeout(RENEWAL) == Err(RecvTimeoutError::Timeout) {
        // A table that is gone cannot be renewed; that it is gone, reading it back says.
        if let Ok(Renewed::TooLate) = lease.renew() {
            lapses.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A name that no other partition of a living process has.
fn name() -> String {
    static EVER: AtomicU32 = AtomicU32::new(0);
    format!("windtunnel-cut-{}-{}", std::process::id(), EVER.fetch_add(1, Ordering::Relaxed))
}

/// Two sets per cut and family, and a rule for each direction, however many hosts there are.
fn describe(cuts: &[Cut]) -> (Vec<Set>, Chain) {
    let (mut sets, mut rules) = (Vec::new(), Vec::new());
    for (number, cut) in cuts.iter().enumerate() {
        for (family, label) in [(Family::V4, "v4"), (Family::V6, "v6")] {
            let of = |addresses: &[IpAddr]| -> BTreeSet<IpAddr> {
                addresses.iter().copied().filter(|address| Family::of(*address) == family).collect()
            };
            let (from, to) = (of(&cut.from), of(&cut.to));
            if from.is_empty() || to.is_empty() {
                continue;
            }
            let [from_name, to_name] = ["from", "to"].map(|side| format!("{side}-{label}-{number}"));
            rules.push(rule(family, &from_name, &to_name));
            if cut.ways == Ways::Both {
                rules.push(rule(family, &to_name, &from_name));
            }
            sets.push(Set { name: from_name, family, addresses: from });
            sets.push(Set { name: to_name, family, addresses: to });
        }
    }
    (sets, Chain { name: CHAIN.to_owned(), hook: Hook::Passage, priority: PRIORITY, rules })
}

fn rule(family: Family, from: &str, to: &str) -> Rule {
    let among = |direction, set: &str| Expression::Among { direction, family, set: set.to_owned() };
    Rule(vec![
        Expression::Leased,
        Expression::Is(family),
        among(Direction::Source, from),
        among(Direction::Destination, to),
        Expression::Count,
        Expression::Drop,
    ])
}
