//! The rule that sends packets into the queue: an nf_tables table in the network namespace of the switch.
//!
//! The table has the owner flag: it goes with the socket that made it, whatever becomes of this process, and nobody
//! else can change it. For the case that the process is stopped rather than killed, the rule asks in addition whether
//! an element is there that has to be renewed all the time.
//!
//! Packets that no trouble concerns are not queued at all.

use super::engine::Pair;
use super::rule::{ALIVE, Description, LEASE, Means, SETS, content, keys, message, pair, queues, transaction};
use crate::error::{Error, Result};
use crate::netlink::Socket;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_netfilter::nftables::{NfTablesMessage, SetElementMessage};
use netlink_sys::protocols::NETLINK_NETFILTER;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often the lease is to be renewed.
pub(super) const RENEWAL: Duration = Duration::from_secs(1);

/// How many elements fit into one message, whose list has a length of 16 bits.
const ELEMENTS_MAX: usize = 512;

const ADDING: &str = "divert packets to a queue";
const REMOVING: &str = "let packets pass a queue by";
const LISTING: &str = "list the rule of a queue";

/// The table, while any packets are diverted.
pub(super) struct Diversion {
    socket: Socket,
    description: Description,
    means: Option<Means>,
    /// It may be there longer than anything is diverted: see [`remove_table`](Self::remove_table).
    is_table_there: bool,
    /// How many troubles want each pair diverted.
    wanted: BTreeMap<Pair, usize>,
}

impl Diversion {
    /// Into this queue of the calling thread's network namespace; nothing yet.
    pub(super) fn new(queue: u16) -> Result<Self> {
        let description = Description { table: format!("windtunnel-shape-{queue}"), queue };
        let socket = Socket::open(NETLINK_NETFILTER)?;
        Ok(Self { socket, description, means: None, is_table_there: false, wanted: BTreeMap::new() })
    }

    /// Diverts these as well.
    pub(super) fn add(&mut self, pairs: &BTreeSet<Pair>) -> Result<()> {
        if !self.is_table_there {
            self.make_table()?;
            self.is_table_there = true;
        } else if self.wanted.is_empty() {
            // Nobody has renewed it meanwhile.
            self.renew_now()?;
        }
        let new: Vec<Pair> = pairs.iter().filter(|pair| !self.wanted.contains_key(pair)).copied().collect();
        pairs.iter().for_each(|pair| *self.wanted.entry(*pair).or_default() += 1);
        self.change(&new, NfTablesMessage::NewSetElement, ADDING).inspect_err(|_| {
            // Of several messages some may have done their work.
            let _ = self.remove(pairs);
        })
    }

    /// Diverts these no longer, if nobody else wants it.
    pub(super) fn remove(&mut self, pairs: &BTreeSet<Pair>) -> Result<()> {
        let gone = self.forget(pairs);
        unless_gone(self.change(&gone, NfTablesMessage::DeleteSetElement, REMOVING))
    }

    /// Removes the table, if nobody wants anything diverted. Nothing must be held then: when a hook of netfilter's goes,
    /// the kernel drops all packets that are queued in the network namespace (`nfqnl_nf_hook_drop`, nfnetlink_queue.c).
    pub(super) fn remove_table(&mut self) -> Result<()> {
        if !self.is_table_there || !self.wanted.is_empty() {
            return Ok(());
        }
        let steps = transaction(vec![self.description.removal()]);
        unless_gone(self.socket.batch(steps, "remove the rule of a queue"))?;
        self.is_table_there = false;
        Ok(())
    }

    /// Counts one less for each; answers those that nobody wants any more.
    fn forget(&mut self, pairs: &BTreeSet<Pair>) -> Vec<Pair> {
        let mut gone = Vec::new();
        for pair in pairs {
            if let Some(count) = self.wanted.get_mut(pair) {
                *count -= 1;
                if *count == 0 {
                    self.wanted.remove(pair);
                    gone.push(*pair);
                }
            }
        }
        gone
    }

    /// Goes on for as long as the lease.
    pub(super) fn renew(&mut self) -> Result<()> {
        if self.wanted.is_empty() { Ok(()) } else { self.renew_now() }
    }

    fn renew_now(&mut self) -> Result<()> {
        let what = "go on diverting packets to a queue";
        let gone = NfTablesMessage::DeleteSetElement(self.description.alive(None));
        let new = NfTablesMessage::NewSetElement(self.description.alive(Some(LEASE)));
        match self.socket.batch(transaction(vec![gone, new.clone()]), what) {
            // It had run out: this process has been stopped, or the machine was.
            Err(error) if error.is_os(libc::ENOENT) => self.socket.batch(transaction(vec![new]), what),
            renewed => renewed,
        }
    }

    /// Asks the kernel whether these are diverted to our queue.
    pub(super) fn read_back(&mut self, pairs: &BTreeSet<Pair>) -> Result<()> {
        let unlike = |found: &str| Error::unlike(ADDING, "a rule for each pair of hosts", found);
        let rules = self.list(self.description.request_for_rules())?;
        let queueing = rules.iter().filter(|rule| queues(rule, self.description.queue)).count();
        if queueing != SETS.len() {
            return Err(unlike(&format!("{queueing} rules for queue {}", self.description.queue)));
        }
        let mut diverted = BTreeSet::new();
        for (set, _) in SETS.iter().filter(|(_, family)| pairs.iter().any(|pair| family.has(*pair))) {
            diverted.extend(self.elements(set)?.iter().filter_map(|key| pair(key)));
        }
        if let Some((from, to)) = pairs.difference(&diverted).next() {
            return Err(unlike(&format!("none for {from} to {to}")));
        }
        if self.elements(ALIVE)?.is_empty() {
            return Err(unlike("that it has run out"));
        }
        Ok(())
    }

    /// Asks the kernel whether none of these is diverted, unless another trouble wants it.
    pub(super) fn read_back_gone(&mut self, pairs: &BTreeSet<Pair>) -> Result<()> {
        for (set, _) in SETS {
            let left = self.elements(set)?.iter().filter_map(|key| pair(key)).collect::<BTreeSet<_>>();
            if let Some((from, to)) = left.intersection(pairs).find(|pair| !self.wanted.contains_key(pair)) {
                return Err(Error::unlike(REMOVING, "no rule", format!("a rule for {from} to {to}")));
            }
        }
        Ok(())
    }

    /// The keys of a set; none if there is no such set.
    fn elements(&mut self, set: &str) -> Result<Vec<Vec<u8>>> {
        let answers = self.list(self.description.request_for_elements(set))?;
        Ok(answers.into_iter().flat_map(keys).collect())
    }

    /// What a request asks for; nothing if that is not there.
    fn list(&mut self, request: NfTablesMessage) -> Result<Vec<NfTablesMessage>> {
        match self.socket.ask(message(request), NLM_F_DUMP, LISTING) {
            Err(error) if error.is_os(libc::ENOENT) => Ok(Vec::new()),
            answers => Ok(answers?.into_iter().filter_map(content).collect()),
        }
    }

    /// Makes the table by whichever means this kernel has.
    fn make_table(&mut self) -> Result<()> {
        let means = self.means.map_or(vec![Means::Statement, Means::Target], |means| vec![means]);
        let mut refused = Error::lacking(
            ADDING,
            "the kernel's nf_tables cannot queue packets",
            "it would need CONFIG_NFT_QUEUE, or CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_TARGET_NFQUEUE",
        );
        for means in means {
            match self.socket.batch(transaction(self.description.table_with(means)), ADDING) {
                Ok(()) => {
                    self.means = Some(means);
                    return Ok(());
                }
                // There is no such expression, or no such target.
                Err(error) if error.is_os(libc::ENOENT) => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Adds pairs to the sets, or removes them.
    fn change(
        &mut self,
        pairs: &[Pair],
        step: impl Fn(SetElementMessage) -> NfTablesMessage,
        what: &str,
    ) -> Result<()> {
        for (set, family) in SETS {
            let those: Vec<Pair> = pairs.iter().filter(|pair| family.has(**pair)).copied().collect();
            for some in those.chunks(ELEMENTS_MAX) {
                self.socket.batch(transaction(vec![step(self.description.pairs(set, some))]), what)?;
            }
        }
        Ok(())
    }
}

/// Somebody may have been faster, or the namespace is gone.
fn unless_gone(removed: Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.is_os(libc::ENOENT) => Ok(()),
        removed => removed,
    }
}
