//! A table: described, made, read back, counted, removed.

use super::expression::{ALIVE, Expression, Family, counted, words};
use super::message::{self, Key, transaction};
use crate::lock::lock;
use crate::netlink::Socket;
use crate::{Error, Result};
use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{ExpressionAttribute, ListAttribute, NfTablesMessage};
use netlink_sys::protocols::NETLINK_NETFILTER;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Elements in one message: an attribute holds 64 KiB, and an IPv6 element takes 28 bytes.
const ELEMENTS_PER_MESSAGE: usize = 1_000;

/// What keeps a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The socket that made it: the table dies with it, and nobody else can change it.
    Socket,
    /// The namespace: for kernels before 5.12. Anybody in the namespace can change it.
    Namespace,
}

/// A table as it should be.
#[derive(Debug, Clone)]
pub struct TableDescription {
    /// Its name, the only one of its kind in the namespace.
    pub name: String,
    /// Its sets.
    pub sets: Vec<Set>,
    /// Its chains.
    pub chains: Vec<Chain>,
    /// How long [leased](Expression::Leased) rules hold after the table was made or [renewed](Lease::renew): what is to
    /// end when its holder stands still (SIGSTOP), which keeps its sockets open.
    pub lease: Option<Duration>,
}

/// A set of addresses.
#[derive(Debug, Clone)]
pub struct Set {
    /// Its name within the table.
    pub name: String,
    /// Of which family.
    pub family: Family,
    /// Which ones; at least one.
    pub addresses: BTreeSet<IpAddr>,
}

/// Rules that packets pass.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Its name within the table.
    pub name: String,
    /// Where they pass them.
    pub hook: Hook,
    /// Chains of one hook come in the order of this (nft(8), "priority": filter is 0).
    pub priority: i32,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// Where packets meet a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// As they arrive, before it is decided where they go (`prerouting`).
    Arrival,
    /// As they pass through from one device to another (`forward`).
    Passage,
    /// As they leave, after it was decided where they go and, if they are given another address, after that
    /// (`postrouting`).
    Departure,
}

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule(pub Vec<Expression>);

impl Rule {
    /// As the kernel wants it.
    pub(crate) fn emit(&self) -> Vec<ListAttribute<ExpressionAttribute>> {
        self.0.iter().flat_map(Expression::emit).collect()
    }
}

/// When a lease was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// Before it ran out.
    InTime,
    /// After: its rules did not hold for a while.
    TooLate,
}

/// A table in force.
#[derive(Debug)]
pub struct Table {
    /// Changes it. The table dies with it, if so agreed.
    holder: Arc<Mutex<Socket>>,
    /// Asks. By another socket than the one that changes it, so that a lease is renewed while thousands of addresses
    /// are read.
    reader: Socket,
    description: TableDescription,
    hold: Hold,
}

/// The right to keep a table's [leased](Expression::Leased) rules in force. The table lives as long, if its socket
/// holds it and nobody removes it.
#[derive(Debug)]
pub struct Lease {
    holder: Arc<Mutex<Socket>>,
    table: String,
    lasts: Duration,
}

impl Lease {
    /// Begins anew: without a gap, as it is one transaction.
    ///
    /// # Errors
    /// The table is gone.
    pub fn renew(&self) -> Result<Renewed> {
        renew(&mut lock(&self.holder), &self.table, self.lasts)
    }
}

impl Table {
    /// Makes a table in the calling thread's network namespace. With an owner, if the kernel has owners.
    ///
    /// # Errors
    /// There is a table of this name, the kernel lacks nftables, or this user may not.
    pub fn new(description: TableDescription) -> Result<Self> {
        by_the_best_hold(|hold| Self::held_by(hold, description.clone()))
    }

    /// Makes a table that is kept by what is said.
    ///
    /// # Errors
    /// As [`new`](Self::new), and the kernel may have no owners.
    pub fn held_by(hold: Hold, description: TableDescription) -> Result<Self> {
        let [mut holder, reader] = sockets()?;
        let name = &description.name;
        let make = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
        let mut steps = vec![(message::new_table(name, hold), make)];
        for (set, id) in description.sets.iter().zip(1..) {
            let key = Key::address(set.family);
            steps.push((message::new_sized_set(name, &set.name, id, key, set.addresses.len()), make));
            let addresses: Vec<_> = set.addresses.iter().copied().collect();
            for some in addresses.chunks(ELEMENTS_PER_MESSAGE) {
                let keys = some.iter().copied().map(message::key);
                steps.push((message::new_elements(name, &set.name, keys), NLM_F_CREATE | NLM_F_ACK));
            }
        }
        if let Some(lease) = description.lease {
            let id = u32::try_from(description.sets.len()).unwrap_or(u32::MAX - 1) + 1;
            steps.extend([(message::new_lease(name, id), make), message::begin_lease(name, lease)]);
        }
        for chain in &description.chains {
            steps.push((message::new_chain(name, chain), make));
            for rule in &chain.rules {
                let append = NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK;
                steps.push((message::new_rule(name, &chain.name, rule.emit()), append));
            }
        }
        holder.batch(transaction(steps), &format!("make the nftables table {name}"))?;
        Ok(Self { holder: Arc::new(Mutex::new(holder)), reader, description, hold })
    }

    /// Takes over a table that another has made in the calling thread's network namespace, and that has no owner: to
    /// remove it.
    ///
    /// # Errors
    /// Too many sockets are open.
    pub fn adopt(description: TableDescription) -> Result<Self> {
        let [holder, reader] = sockets()?;
        Ok(Self { holder: Arc::new(Mutex::new(holder)), reader, description, hold: Hold::Namespace })
    }

    /// What it should be.
    pub fn description(&self) -> &TableDescription {
        &self.description
    }

    /// What keeps it.
    pub fn hold(&self) -> Hold {
        self.hold
    }

    /// Asks the kernel whether it is as described.
    ///
    /// # Errors
    /// It is not, or the kernel does not say.
    pub fn read_back(&mut self) -> Result<()> {
        self.read_back_table()?;
        let TableDescription { name, sets, chains, lease } = self.description.clone();
        if lease.is_some() && self.keys(ALIVE)?.is_empty() {
            return Err(Error::unlike(format!("keep the table {name}"), "a lease", "it has run out"));
        }
        for set in &sets {
            let found = self.keys(&set.name)?.iter().filter_map(|key| message::address(key)).collect();
            if set.addresses != found {
                let what = format!("keep the set {} of the table {name}", set.name);
                return Err(Error::unlike(what, format!("{:?}", set.addresses), format!("{found:?}")));
            }
        }
        for chain in &chains {
            let what = format!("keep the chain {} of the table {name}", chain.name);
            let found = self.hook_of(&chain.name)?;
            let wanted = message::hook_words(&[message::hook(chain)]);
            if found != wanted {
                return Err(Error::unlike(what, wanted, found));
            }
            let found: Vec<_> = self.rules(&chain.name)?.iter().map(|rule| words(rule)).collect();
            let wanted: Vec<_> = chain.rules.iter().map(|rule| words(&rule.emit())).collect();
            if found != wanted {
                return Err(Error::unlike(what, wanted.join("; "), found.join("; ")));
            }
        }
        Ok(())
    }

    /// How many packets its counters have seen, all in all.
    ///
    /// # Errors
    /// It is gone.
    pub fn counted(&mut self) -> Result<u64> {
        // The rules of a table that is gone are an empty list, not an error.
        self.read_back_table()?;
        let chains: Vec<_> = self.description.chains.iter().map(|chain| chain.name.clone()).collect();
        let mut packets = 0;
        for chain in chains {
            packets += self.rules(&chain)?.iter().filter_map(|rule| counted(rule)).sum::<u64>();
        }
        Ok(packets)
    }

    /// Its lease, if it has one.
    pub fn lease(&self) -> Option<Lease> {
        let TableDescription { name, lease, .. } = &self.description;
        lease.map(|lasts| Lease { holder: Arc::clone(&self.holder), table: name.clone(), lasts })
    }

    /// Removes it, and asks the kernel whether it is gone.
    ///
    /// # Errors
    /// It is still there.
    pub fn remove(&mut self) -> Result<()> {
        let what = format!("remove the nftables table {}", self.description.name);
        let delete = message::delete_table(&self.description.name);
        match lock(&self.holder).batch(transaction(vec![(delete, NLM_F_ACK)]), &what) {
            Err(error) if error.is_os(libc::ENOENT) => return Ok(()),
            removed => removed?,
        }
        if is_there_by(&mut self.reader, &self.description.name)?.is_some() {
            return Err(Error::unlike(what, "no such table", "it is there"));
        }
        Ok(())
    }

    fn read_back_table(&mut self) -> Result<()> {
        let TableDescription { name, .. } = &self.description;
        let what = format!("keep the nftables table {name}");
        let ours = lock(&self.holder).port();
        match (is_there_by(&mut self.reader, name)?, self.hold) {
            (None, _) => Err(Error::unlike(what, "a table of this name", "there is none: somebody has removed it")),
            (Some(owner), Hold::Socket) if owner != Some(ours) => {
                let found = format!("the owner is {owner:?}");
                Err(Error::unlike(what, format!("the owner {ours}"), found))
            }
            (Some(_), _) => Ok(()),
        }
    }

    fn keys(&mut self, set: &str) -> Result<Vec<Vec<u8>>> {
        let name = &self.description.name;
        let what = format!("read the set {set} of the table {name}");
        Ok(message::keys(self.reader.ask(message::get_elements(name, set), NLM_F_DUMP, &what)?))
    }

    fn hook_of(&mut self, chain: &str) -> Result<String> {
        let name = &self.description.name;
        let what = format!("read the chain {chain} of the table {name}");
        let replies = self.reader.ask(message::get_chain(name, chain), 0, &what)?;
        let found = replies.into_iter().filter_map(message::inner).find_map(|message| match message {
            NfTablesMessage::NewChain(chain) => Some(message::hook_words(&chain.attributes)),
            _ => None,
        });
        Ok(found.unwrap_or_default())
    }

    fn rules(&mut self, chain: &str) -> Result<Vec<Vec<ListAttribute<ExpressionAttribute>>>> {
        let name = &self.description.name;
        let what = format!("read the rules of the table {name}");
        Ok(message::rules(self.reader.ask(message::get_rules(name, chain), NLM_F_DUMP, &what)?))
    }
}

/// One that changes a table, and one that asks.
fn sockets() -> Result<[Socket; 2]> {
    Ok([Socket::open(NETLINK_NETFILTER)?, Socket::open(NETLINK_NETFILTER)?])
}

/// Makes a table with an owner, if the kernel has owners, and otherwise without.
pub(crate) fn by_the_best_hold<T>(mut make: impl FnMut(Hold) -> Result<T>) -> Result<T> {
    match make(Hold::Socket) {
        // nf_tables_api.c before 5.12: flags that are not known.
        Err(error) if error.is_os(libc::EINVAL) || error.is_os(libc::EOPNOTSUPP) => make(Hold::Namespace),
        made => made,
    }
}

/// Begins the lease of a table anew: without a gap, as it is one transaction.
pub(crate) fn renew(socket: &mut Socket, table: &str, lease: Duration) -> Result<Renewed> {
    let what = format!("renew the lease of the table {table}");
    let begin = || message::begin_lease(table, lease);
    match socket.batch(transaction(vec![message::end_lease(table), begin()]), &what) {
        Ok(()) => Ok(Renewed::InTime),
        Err(error) if error.is_os(libc::ENOENT) => {
            socket.batch(transaction(vec![begin()]), &what)?;
            Ok(Renewed::TooLate)
        }
        Err(error) => Err(error),
    }
}

/// Whether the calling thread's network namespace has a table of this name (in the family `inet`).
///
/// # Errors
/// The kernel does not say.
pub fn is_there(name: &str) -> Result<bool> {
    let mut socket = Socket::open(NETLINK_NETFILTER)?;
    is_there_by(&mut socket, name).map(|found| found.is_some())
}

/// The names of all tables in the calling thread's network namespace (in the family `inet`).
///
/// # Errors
/// The kernel does not say.
pub fn names() -> Result<Vec<String>> {
    let mut socket = Socket::open(NETLINK_NETFILTER)?;
    let replies = socket.ask(message::get_tables(), NLM_F_DUMP, "list the nftables tables")?;
    Ok(replies.into_iter().filter_map(message::inner).filter_map(message::table_name).collect())
}

/// Whether there is such a table, and if so its owner, if it has one.
fn is_there_by(socket: &mut Socket, name: &str) -> Result<Option<Option<u32>>> {
    let what = format!("look for the nftables table {name}");
    match socket.ask(message::get_table(name), 0, &what) {
        Err(error) if error.is_os(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
        Ok(replies) => Ok(replies.into_iter().filter_map(message::inner).find_map(|message| match message {
            NfTablesMessage::NewTable(table) => Some(message::owner(&table)),
            _ => None,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::{Hold, by_the_best_hold};
    use crate::Error;

    /// What comes of making a table where tables with owners are answered with this.
    fn made(answer: i32) -> Result<Hold, Error> {
        by_the_best_hold(|hold| match hold {
            Hold::Socket => Err(Error::os("make a table", std::io::Error::from_raw_os_error(answer))),
            Hold::Namespace => Ok(hold),
        })
    }

    #[test]
    fn kernels_without_owners_get_tables_without() {
        assert_eq!(made(libc::EINVAL).expect("a table"), Hold::Namespace);
        assert_eq!(made(libc::EOPNOTSUPP).expect("a table"), Hold::Namespace);
        assert_eq!(by_the_best_hold(Ok).expect("a table"), Hold::Socket);
    }

    #[test]
    fn what_is_refused_for_another_reason_is_refused() {
        assert!(made(libc::EPERM).expect_err("refused").is_os(libc::EPERM));
    }
}
