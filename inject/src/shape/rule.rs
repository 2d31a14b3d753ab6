//! The rule that sends packets into the queue, in nf_tables' messages.

use super::engine::Pair;
use crate::netlink::nft::message::{self, Key, Step};
pub(super) use crate::netlink::nft::queue::Queueing as Means;
use crate::netlink::nft::queue::Unclaimed;
use crate::netlink::nft::{Chain, Direction, Expression, Family, Hold, Hook, NETWORK_HEADER, Rule, offset};
use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{
    Cmp, DataAttribute, ExpressionAttribute, Expressions, ListAttribute, Lookup, Meta, MetaKey, Operator, Payload,
    Register,
};
use std::time::Duration;

/// Marks what the shaper itself sends, so that it is not queued again: "wind" in ASCII.
pub(super) const MARK: u32 = 0x7769_6e64;

/// How long packets are diverted after the last renewal.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// After all usual hooks that drop packets or change their addresses: what is dropped takes no bandwidth.
const PRIORITY: i32 = 250;

const CHAIN: &str = "forward";
/// What a set of pairs is called, for each family.
pub(super) const SETS: [(&str, Family); 2] = [("pairs4", Family::V4), ("pairs6", Family::V6)];

/// A table that diverts pairs of addresses to a queue.
#[derive(Debug, Clone)]
pub(super) struct Description {
    pub(super) table: String,
    pub(super) queue: u16,
}

impl Description {
    /// Of a queue of this process's: one that another process had may have left its table, where tables have no owners.
    pub(super) fn of(queue: u16) -> Self {
        Self { table: format!("windtunnel-shape-{}-{queue}", std::process::id()), queue }
    }

    /// What makes all of it, with no pairs yet.
    pub(super) fn table_with(&self, hold: Hold, means: Means) -> Vec<Step> {
        let table = &self.table;
        let rules = SETS.map(|(set, family)| self.rule(set, family, means)).into();
        let chain = Chain { name: CHAIN.to_owned(), hook: Hook::Passage, priority: PRIORITY, rules };
        let sets = SETS.iter().zip(2..);
        // Two addresses: nft(8) shows them so, being told by the type.
        let sets =
            sets.map(|((set, family), id)| message::new_set(table, set, id, Key::address(*family).twice(), None));
        let begin = [message::new_table(table, hold), message::new_chain(table, &chain), message::new_lease(table, 1)];
        let rules = chain.rules.iter().map(|rule| message::new_rule(table, CHAIN, rule.emit()));
        let make = |message| (message, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
        let append = |message| (message, NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK);
        let lease = message::begin_lease(table, LEASE);
        begin.into_iter().chain(sets).map(make).chain([lease]).chain(rules.map(append)).collect()
    }

    fn rule(&self, set: &str, family: Family, means: Means) -> Rule {
        let register = Register::Reg1;
        let mark = Expressions::Meta(vec![Meta::Key(MetaKey::Mark), Meta::DestinationRegister(register)]);
        let ours = Cmp::Data(DataAttribute::Value(MARK.to_ne_bytes().to_vec()));
        // Both addresses at once: they are neighbours.
        let pair = Expressions::Payload(vec![
            Payload::DestinationRegister(register),
            Payload::Base(NETWORK_HEADER),
            Payload::Offset(offset(Direction::Source, family)),
            Payload::Len(2 * family.bytes()),
        ]);
        Rule(vec![
            Expression::Is(family),
            Expression::Raw(mark),
            Expression::Raw(Expressions::Cmp(vec![Cmp::SourceRegister(register), Cmp::Op(Operator::NotEqual), ours])),
            Expression::Raw(pair),
            Expression::Raw(Expressions::Lookup(vec![Lookup::Set(set.to_owned()), Lookup::SourceRegister(register)])),
            Expression::Leased,
            Expression::Count,
            Expression::Raw(means.expression(self.queue, Unclaimed::Pass)),
        ])
    }

    pub(super) fn request_for_rules(&self) -> NetfilterMessage {
        message::get_rules(&self.table, CHAIN)
    }
}

/// Whether a pair is in a family's set.
pub(super) fn is_of(family: Family, (from, _): Pair) -> bool {
    Family::of(from) == family
}

/// The key that a pair is.
pub(super) fn key((from, to): Pair) -> Vec<u8> {
    [message::key(from), message::key(to)].concat()
}

/// The pair that a key stands for.
pub(super) fn pair(key: &[u8]) -> Option<Pair> {
    let (from, to) = key.split_at(key.len() / 2);
    Some((message::address(from)?, message::address(to)?))
}

/// Whether a rule sends packets into this queue.
pub(super) fn queues(rule: &[ListAttribute<ExpressionAttribute>], queue: u16) -> bool {
    // Whoever finds nobody bound to the queue lets packets pass.
    let queueing = Means::ALL.map(|means| means.expression(queue, Unclaimed::Pass));
    rule.iter().any(|expression| {
        let ListAttribute::Element(parts) = expression else { return false };
        parts.iter().any(|part| matches!(part, ExpressionAttribute::Data(it) if queueing.contains(it)))
    })
}
