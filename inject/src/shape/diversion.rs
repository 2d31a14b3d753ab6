//! The rule that sends packets into the queue: an nf_tables table in the network namespace of the switch.
//!
//! The table has the owner flag, if the kernel has it: it goes with the socket that made it, whatever becomes of this
//! process, and nobody else can change it. For the case that the process is stopped rather than killed, the rule asks
//! in addition whether a lease has run out that has to be renewed all the time.
//!
//! Packets that no trouble concerns are not queued at all.

use super::engine::Pair;
use super::rule::{Description, LEASE, Means, SETS, is_of, key};
use crate::error::Result;
use crate::netlink::Socket;
use crate::netlink::nft::message::{self, Step, transaction};
use crate::netlink::nft::{Hold, Renewed, by_the_best_hold, renew};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE};
use netlink_sys::protocols::NETLINK_NETFILTER;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often the lease is to be renewed.
pub(super) const RENEWAL: Duration = Duration::from_secs(1);

/// How many elements fit into one message, whose list has a length of 16 bits.
const ELEMENTS_MAX: usize = 512;
/// How many such messages fit into a socket's buffer, which has some 200 KiB if nobody has said otherwise
/// (`net.core.wmem_default`).
const MESSAGES_MAX: usize = 4;

pub(super) const ADDING: &str = "divert packets to a queue";
pub(super) const REMOVING: &str = "let packets pass a queue by";

/// The table, while any packets are diverted.
pub(super) struct Diversion {
    socket: Socket,
    description: Description,
    means: Option<Means>,
    /// How many troubles want each pair diverted.
    wanted: BTreeMap<Pair, usize>,
}

impl Diversion {
    /// Into this queue of the calling thread's network namespace; nothing yet.
    pub(super) fn new(description: Description) -> Result<Self> {
        let socket = Socket::open(NETLINK_NETFILTER)?;
        Ok(Self { socket, description, means: None, wanted: BTreeMap::new() })
    }

    /// Whether any trouble wants this diverted.
    pub(super) fn wants(&self, pair: &Pair) -> bool {
        self.wanted.contains_key(pair)
    }

    /// How packets are queued, as far as is known.
    pub(super) fn mechanism(&self) -> &'static str {
        match self.means {
            None => "NFQUEUE",
            Some(Means::Statement) => "NFQUEUE by nft's queue",
            Some(Means::Target) => "NFQUEUE by xt's target",
        }
    }

    /// Diverts these as well.
    pub(super) fn add(&mut self, pairs: &BTreeSet<Pair>) -> Result<()> {
        let new: Vec<Pair> = pairs.iter().filter(|pair| !self.wanted.contains_key(pair)).copied().collect();
        let mut steps = self.changes(&new, |set, pairs| {
            (message::new_elements(&self.description.table, set, keys(pairs)), NLM_F_CREATE | NLM_F_ACK)
        });
        if self.wanted.is_empty() && !new.is_empty() {
            // With the table, since each transaction takes as long as all processors need to notice it (RCU).
            let later = steps.split_off(steps.len().min(MESSAGES_MAX));
            by_the_best_hold(|hold| self.make_table(hold, &steps))?;
            steps = later;
        }
        pairs.iter().for_each(|pair| *self.wanted.entry(*pair).or_default() += 1);
        self.transact(&steps, ADDING).inspect_err(|_| {
            // Of several transactions some may have done their work.
            let _ = self.remove(pairs);
        })
    }

    /// Diverts these no longer, if nobody else wants it. When nothing is diverted any more, there is no table.
    pub(super) fn remove(&mut self, pairs: &BTreeSet<Pair>) -> Result<()> {
        let gone = self.forget(pairs);
        let removed = if self.wanted.is_empty() && !gone.is_empty() {
            let removal = (message::delete_table(&self.description.table), NLM_F_ACK);
            self.socket.batch(transaction(vec![removal]), REMOVING)
        } else {
            let steps = self.changes(&gone, |set, pairs| {
                (message::delete_elements(&self.description.table, set, keys(pairs)), NLM_F_ACK)
            });
            self.transact(&steps, REMOVING)
        };
        match removed {
            // Somebody has been faster.
            Err(error) if error.is_os(libc::ENOENT) => Ok(()),
            removed => removed,
        }
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
    pub(super) fn renew(&mut self) -> Result<Renewed> {
        if self.wanted.is_empty() {
            return Ok(Renewed::InTime);
        }
        renew(&mut self.socket, &self.description.table, LEASE)
    }

    /// Makes the table by whichever means this kernel has, with this in it.
    fn make_table(&mut self, hold: Hold, elements: &[Step]) -> Result<()> {
        let known = self.means.map(|means| [means]);
        let those = known.as_ref().map_or(&Means::ALL[..], |means| means);
        self.means = Some(Means::first_of(those, ADDING, |means| {
            let steps = [self.description.table_with(hold, means), elements.to_vec()].concat();
            self.socket.batch(transaction(steps), ADDING).map(|()| means)
        })?);
        Ok(())
    }

    /// What changes the sets by these pairs, some at a time.
    fn changes(&self, pairs: &[Pair], step: impl Fn(&str, &[Pair]) -> Step) -> Vec<Step> {
        let mut steps = Vec::new();
        for (set, family) in SETS {
            let those: Vec<Pair> = pairs.iter().filter(|pair| is_of(family, **pair)).copied().collect();
            steps.extend(those.chunks(ELEMENTS_MAX).map(|some| step(set, some)));
        }
        steps
    }

    /// Takes these steps, in as few transactions as the socket's buffer allows.
    fn transact(&mut self, steps: &[Step], what: &str) -> Result<()> {
        steps.chunks(MESSAGES_MAX).try_for_each(|some| self.socket.batch(transaction(some.to_vec()), what))
    }
}

fn keys(pairs: &[Pair]) -> impl Iterator<Item = Vec<u8>> {
    pairs.iter().copied().map(key)
}
