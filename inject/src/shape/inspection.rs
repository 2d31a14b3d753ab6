//! What the kernel says of the rule: over a socket of its own, so that the lease is renewed meanwhile.

use super::diversion::ADDING;
use super::engine::Pair;
use super::rule::{Description, SETS, is_of, pair, queues};
use crate::error::{Error, Result};
use crate::netlink::Socket;
use crate::netlink::nft::{ALIVE, message};
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_netfilter::NetfilterMessage;
use netlink_sys::protocols::NETLINK_NETFILTER;
use std::collections::BTreeSet;

const LISTING: &str = "list the rule of a queue";

/// Looks at the rule, and changes nothing.
pub(super) struct Inspection {
    socket: Socket,
    description: Description,
}

impl Inspection {
    /// In the calling thread's network namespace.
    pub(super) fn new(description: Description) -> Result<Self> {
        Ok(Self { socket: Socket::open(NETLINK_NETFILTER)?, description })
    }

    /// Asks the kernel whether these are diverted to our queue.
    pub(super) fn read_back(&mut self, pairs: &BTreeSet<Pair>) -> Result<()> {
        let unlike = |found: &str| Error::unlike(ADDING, "a rule for each pair of hosts", found);
        let rules = message::rules(self.list(self.description.request_for_rules())?);
        let queueing = rules.iter().filter(|rule| queues(rule, self.description.queue)).count();
        if queueing != SETS.len() {
            return Err(unlike(&format!("{queueing} rules for queue {}", self.description.queue)));
        }
        let diverted = self.diverted(pairs)?;
        if let Some((from, to)) = pairs.difference(&diverted).next() {
            return Err(unlike(&format!("none for {from} to {to}")));
        }
        if self.elements(ALIVE)?.is_empty() {
            return Err(unlike("that it has run out"));
        }
        Ok(())
    }

    /// Which of these are diverted.
    pub(super) fn diverted(&mut self, pairs: &BTreeSet<Pair>) -> Result<BTreeSet<Pair>> {
        let mut diverted = BTreeSet::new();
        for (set, _) in SETS.iter().filter(|(_, family)| pairs.iter().any(|pair| is_of(*family, *pair))) {
            diverted.extend(self.elements(set)?.iter().filter_map(|key| pair(key)).filter(|pair| pairs.contains(pair)));
        }
        Ok(diverted)
    }

    /// The keys of a set; none if there is no such set.
    fn elements(&mut self, set: &str) -> Result<Vec<Vec<u8>>> {
        Ok(message::keys(self.list(message::get_elements(&self.description.table, set))?))
    }

    /// What a request asks for; nothing if that is not there.
    fn list(&mut self, request: NetfilterMessage) -> Result<Vec<NetfilterMessage>> {
        match self.socket.ask(request, NLM_F_DUMP, LISTING) {
            Err(error) if error.is_os(libc::ENOENT) => Ok(Vec::new()),
            answers => answers,
        }
    }
}
