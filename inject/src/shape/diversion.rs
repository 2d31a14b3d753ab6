//! The rule that sends packets into the queue: an nf_tables table in the network namespace of the switch.
//!
//! The table has the owner flag: it goes with the socket that made it, whatever becomes of this process, and nobody
//! else can change it. For the case that the process is stopped rather than killed, the rule asks in addition whether
//! an element is there that has to be renewed all the time.
//!
//! Packets that no trouble concerns are not queued at all.

use super::engine::Pair;
use super::nft::Connection;
use crate::error::{Error, Result};
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions, Hook, Immediate,
    InetHookNumber, ListAttribute, Lookup, Meta, MetaKey, NfTablesMessage, Operator, Payload, Register, RuleAttribute,
    RuleMessage, SetAttribute, SetElementAttribute, SetElementList, SetElementMessage, SetFlags, SetMessage,
    TableAttribute, TableFlags, TableMessage,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Marks what the shaper itself sends, so that it is not queued again: "wind" in ASCII.
pub(super) const MARK: u32 = 0x7769_6e64;

/// How long packets are diverted after the last renewal.
const LEASE: Duration = Duration::from_secs(3);
/// How often it is to be renewed.
pub(super) const RENEWAL: Duration = Duration::from_secs(1);

/// After all usual hooks that drop packets or change their addresses: what is dropped takes no bandwidth.
const PRIORITY: i32 = 250;

/// How many elements fit into one message, whose list has a length of 16 bits.
const ELEMENTS_MAX: usize = 512;

const CHAIN: &str = "forward";
const ALIVE: &str = "alive";
/// What a set of pairs is called, for each family.
const SETS: [(&str, Family); 2] = [("pairs4", Family::V4), ("pairs6", Family::V6)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// How a rule queues packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// nf_tables' own statement (`CONFIG_NFT_QUEUE`).
    Statement,
    /// The target of iptables, by nft_compat.
    Target,
}

/// The table, while any packets are diverted.
pub(super) struct Diversion {
    connection: Connection,
    table: String,
    queue: u16,
    means: Option<Means>,
    /// It may be there longer than anything is diverted: see [`remove_table`](Self::remove_table).
    is_table_there: bool,
    /// How many troubles want each pair diverted.
    wanted: BTreeMap<Pair, usize>,
}

impl Diversion {
    /// Into this queue of the calling thread's network namespace; nothing yet.
    pub(super) fn new(queue: u16) -> Result<Self> {
        let table = format!("windtunnel-shape-{queue}");
        let connection = Connection::open()?;
        Ok(Self { connection, table, queue, means: None, is_table_there: false, wanted: BTreeMap::new() })
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
        self.change(&new, NfTablesMessage::NewSetElement).map_err(|error| {
            // Of several messages some may have done their work.
            let _ = self.remove(pairs);
            Error::os("divert packets to a queue", error)
        })
    }

    /// Diverts these no longer, if nobody else wants it.
    pub(super) fn remove(&mut self, pairs: &BTreeSet<Pair>) -> Result<()> {
        let gone = self.forget(pairs);
        match self.change(&gone, NfTablesMessage::DeleteSetElement) {
            // Somebody has been faster.
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::os("let packets pass a queue by", error)),
        }
    }

    /// Removes the table, if nobody wants anything diverted. Nothing must be held then: when a hook of netfilter's goes,
    /// the kernel drops all packets that are queued in the network namespace (`nfqnl_nf_hook_drop`, nfnetlink_queue.c).
    pub(super) fn remove_table(&mut self) -> Result<()> {
        if !self.is_table_there || !self.wanted.is_empty() {
            return Ok(());
        }
        match self.connection.transact(vec![NfTablesMessage::DeleteTable(self.table_message())]) {
            Ok(()) | Err(Errno::NOENT) => self.is_table_there = false,
            Err(error) => return Err(Error::os("remove the rule of a queue", error)),
        }
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
        let renewal = vec![
            NfTablesMessage::DeleteSetElement(self.alive(None)),
            NfTablesMessage::NewSetElement(self.alive(Some(LEASE))),
        ];
        let renewed = match self.connection.transact(renewal) {
            // It had run out: this process has been stopped, or the machine was.
            Err(Errno::NOENT) => {
                self.connection.transact(vec![NfTablesMessage::NewSetElement(self.alive(Some(LEASE)))])
            }
            other => other,
        };
        renewed.map_err(|error| Error::os("go on diverting packets to a queue", error))
    }

    /// Asks the kernel whether these are diverted to our queue.
    pub(super) fn read_back(&mut self, pairs: &BTreeSet<Pair>) -> Result<()> {
        let listing = |error| Error::os("list the rule of a queue", error);
        let unlike = |found: &str| Error::unlike("divert packets to a queue", "a rule for each pair of hosts", found);
        let request = RuleAttribute::Table(self.table.clone());
        let rules = self.connection.list(NfTablesMessage::GetRule(RuleMessage { attributes: vec![request] }));
        let rules = match rules {
            Err(Errno::NOENT) => Vec::new(),
            other => other.map_err(listing)?,
        };
        let queueing = rules.iter().filter(|rule| queues(rule, self.queue)).count();
        if queueing != SETS.len() {
            return Err(unlike(&format!("{queueing} rules for queue {}", self.queue)));
        }
        let mut diverted = BTreeSet::new();
        for (set, _) in SETS.iter().filter(|(_, family)| pairs.iter().any(|pair| family.has(*pair))) {
            let elements = self.elements(set).map_err(listing)?;
            diverted.extend(elements.iter().filter_map(|key| pair(key)));
        }
        if let Some((from, to)) = pairs.difference(&diverted).next() {
            return Err(unlike(&format!("none for {from} to {to}")));
        }
        if self.elements(ALIVE).map_err(listing)?.is_empty() {
            return Err(unlike("that it has run out"));
        }
        Ok(())
    }

    /// Asks the kernel whether none of these is diverted, unless another trouble wants it.
    pub(super) fn read_back_gone(&mut self, pairs: &BTreeSet<Pair>) -> Result<()> {
        for (set, _) in SETS {
            let elements = match self.elements(set) {
                Err(Errno::NOENT) => continue,
                other => other.map_err(|error| Error::os("list the rule of a queue", error))?,
            };
            let left = elements.iter().filter_map(|key| pair(key));
            if let Some((from, to)) = left.into_iter().find(|it| pairs.contains(it) && !self.wanted.contains_key(it)) {
                let found = format!("a rule for {from} to {to}");
                return Err(Error::unlike("let packets pass a queue by", "no rule", found));
            }
        }
        Ok(())
    }

    /// The keys of a set.
    fn elements(&mut self, set: &str) -> rustix::io::Result<Vec<Vec<u8>>> {
        let list = self.element_list(set, Vec::new());
        let answers = self.connection.list(NfTablesMessage::GetSetElement(list))?;
        let mut keys = Vec::new();
        for answer in answers {
            let NfTablesMessage::NewSetElement(message) = answer else { continue };
            for attribute in message.attributes {
                let SetElementList::Elements(elements) = attribute else { continue };
                for element in elements {
                    let ListAttribute::Element(parts) = element else { continue };
                    keys.extend(parts.into_iter().find_map(|part| match part {
                        SetElementAttribute::Key(DataAttribute::Value(key)) => Some(key),
                        _ => None,
                    }));
                }
            }
        }
        Ok(keys)
    }

    /// Makes the table by whichever means this kernel has.
    fn make_table(&mut self) -> Result<()> {
        let means = self.means.map_or(vec![Means::Statement, Means::Target], |means| vec![means]);
        let mut refused = None;
        for means in means {
            match self.connection.transact(self.table_with(means)) {
                Ok(()) => {
                    self.means = Some(means);
                    return Ok(());
                }
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(Errno::NOENT) => Err(Error::lacking(
                "divert packets to a queue",
                "the kernel's nf_tables cannot queue packets",
                "it would need CONFIG_NFT_QUEUE, or CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_TARGET_NFQUEUE",
            )),
            error => Err(Error::os("divert packets to a queue", error.unwrap_or(Errno::NOENT))),
        }
    }

    fn table_with(&self, means: Means) -> Vec<NfTablesMessage> {
        let mut table = self.table_message();
        table.attributes.push(TableAttribute::Flags(TableFlags::Owner));
        let chain = ChainMessage {
            attributes: vec![
                ChainAttribute::Table(self.table.clone()),
                ChainAttribute::Name(CHAIN.to_owned()),
                ChainAttribute::Type("filter".to_owned()),
                ChainAttribute::Hook(vec![
                    Hook::Number(InetHookNumber::Forward.into()),
                    Hook::Priority(PRIORITY.cast_unsigned()),
                ]),
            ],
        };
        let mut steps = vec![NfTablesMessage::NewTable(table), NfTablesMessage::NewChain(chain)];
        let lease = SetAttribute::Flags(SetFlags::Timeout);
        steps.push(self.set(1, ALIVE, TYPE_INTEGER, 4, vec![lease]));
        for (id, (set, family)) in (2..).zip(SETS) {
            // Two addresses: nft(8) shows them so, being told by the type.
            let (kind, bytes) =
                (family.address_type() << TYPE_BITS | family.address_type(), 2 * family.address_bytes());
            steps.push(self.set(id, set, kind, bytes, Vec::new()));
        }
        steps.push(NfTablesMessage::NewSetElement(self.alive(Some(LEASE))));
        steps.extend(SETS.iter().map(|(set, family)| self.rule(set, *family, means)));
        steps
    }

    fn set(&self, id: u32, name: &str, kind: u32, bytes: u32, more: Vec<SetAttribute>) -> NfTablesMessage {
        let mut attributes = vec![
            SetAttribute::Table(self.table.clone()),
            SetAttribute::Name(name.to_owned()),
            SetAttribute::Id(id),
            SetAttribute::KeyType(kind),
            SetAttribute::KeyLen(bytes),
        ];
        attributes.extend(more);
        NfTablesMessage::NewSet(SetMessage { attributes })
    }

    fn rule(&self, set: &str, family: Family, means: Means) -> NfTablesMessage {
        let register = Register::Reg1;
        let lookup =
            |set: &str| Expressions::Lookup(vec![Lookup::Set(set.to_owned()), Lookup::SourceRegister(register)]);
        let meta = |key| Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(register)]);
        let compare = |operator, value: &[u8]| {
            let value = Cmp::Data(DataAttribute::Value(value.to_vec()));
            Expressions::Cmp(vec![Cmp::SourceRegister(register), Cmp::Op(operator), value])
        };
        let expressions = [
            meta(MetaKey::Nfproto),
            compare(Operator::Equal, &[family.number()]),
            meta(MetaKey::Mark),
            compare(Operator::NotEqual, &MARK.to_ne_bytes()),
            // Both addresses at once: they are neighbours.
            Expressions::Payload(vec![
                Payload::DestinationRegister(register),
                Payload::Base(NETWORK_HEADER),
                Payload::Offset(family.addresses_at()),
                Payload::Len(2 * family.address_bytes()),
            ]),
            lookup(set),
            Expressions::Immediate(vec![
                Immediate::DestinationRegister(register),
                Immediate::Data(DataAttribute::Value(ALIVE_KEY.to_vec())),
            ]),
            lookup(ALIVE),
            Expressions::Other { expression_type: "counter".to_owned(), attributes: Vec::new() },
            means.expression(self.queue),
        ];
        let expressions: Vec<ListAttribute<ExpressionAttribute>> = expressions.into_iter().map(Into::into).collect();
        NfTablesMessage::NewRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(self.table.clone()),
                RuleAttribute::Chain(CHAIN.to_owned()),
                RuleAttribute::Expressions(expressions),
            ],
        })
    }

    fn table_message(&self) -> TableMessage {
        TableMessage { attributes: vec![TableAttribute::Name(self.table.clone())] }
    }

    /// The element that has to be there.
    fn alive(&self, lease: Option<Duration>) -> SetElementMessage {
        let timeout = lease.map(|lease| SetElementAttribute::Timeout(lease.as_millis() as u64));
        let element = [SetElementAttribute::Key(DataAttribute::Value(ALIVE_KEY.to_vec()))].into_iter().chain(timeout);
        self.element_list(ALIVE, vec![ListAttribute::Element(element.collect())])
    }

    fn element_list(&self, set: &str, elements: Vec<ListAttribute<SetElementAttribute>>) -> SetElementMessage {
        let mut attributes = vec![SetElementList::Table(self.table.clone()), SetElementList::Set(set.to_owned())];
        if !elements.is_empty() {
            attributes.push(SetElementList::Elements(elements));
        }
        SetElementMessage { attributes }
    }

    /// Adds pairs to the sets, or removes them.
    fn change(
        &mut self,
        pairs: &[Pair],
        step: impl Fn(SetElementMessage) -> NfTablesMessage,
    ) -> rustix::io::Result<()> {
        for (set, family) in SETS {
            let those: Vec<_> = pairs.iter().filter(|pair| family.has(**pair)).map(|pair| element(*pair)).collect();
            for some in those.chunks(ELEMENTS_MAX) {
                let list = self.element_list(set, some.to_vec());
                self.connection.transact(vec![step(list)])?;
            }
        }
        Ok(())
    }
}

/// The only key of the set that says that somebody is there.
const ALIVE_KEY: [u8; 4] = [0; 4];

/// `NFT_PAYLOAD_NETWORK_HEADER`, `linux/netfilter/nf_tables.h`.
const NETWORK_HEADER: u32 = 1;

/// Types as nft(8) numbers them (`enum datatypes`, nftables' `datatype.h`), and how many bits each takes in a pair.
const TYPE_INTEGER: u32 = 4;
const TYPE_BITS: u32 = 6;

impl Family {
    fn has(self, (from, _): Pair) -> bool {
        from.is_ipv4() == (self == Self::V4)
    }

    /// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
    fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    fn address_type(self) -> u32 {
        match self {
            Self::V4 => 7,
            Self::V6 => 8,
        }
    }

    fn address_bytes(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// Where source and destination are in the header (RFC 791 §3.1, RFC 8200 §3).
    fn addresses_at(self) -> u32 {
        match self {
            Self::V4 => 12,
            Self::V6 => 8,
        }
    }
}

impl Means {
    /// Whoever finds nobody bound to the queue lets packets pass ("bypass").
    fn expression(self, queue: u16) -> Expressions {
        match self {
            // NFTA_QUEUE_NUM, NFTA_QUEUE_TOTAL, NFTA_QUEUE_FLAGS with NFT_QUEUE_FLAG_BYPASS.
            Self::Statement => {
                let attributes = [(1, queue), (2, 1), (3, 1)]
                    .map(|(kind, value): (u16, u16)| DefaultNla::new(kind, value.to_be_bytes().to_vec()));
                Expressions::Other { expression_type: "queue".to_owned(), attributes: attributes.to_vec() }
            }
            // NFTA_TARGET_NAME, NFTA_TARGET_REV, NFTA_TARGET_INFO: struct xt_NFQ_info_v3 with NFQ_FLAG_BYPASS,
            // XT_ALIGNed to 8 bytes.
            Self::Target => {
                let information: Vec<u8> = [queue, 1, 1, 0].into_iter().flat_map(u16::to_ne_bytes).collect();
                Expressions::Other {
                    expression_type: "target".to_owned(),
                    attributes: vec![
                        DefaultNla::new(1, b"NFQUEUE\0".to_vec()),
                        DefaultNla::new(2, 3_u32.to_be_bytes().to_vec()),
                        DefaultNla::new(3, information),
                    ],
                }
            }
        }
    }
}

fn element((from, to): Pair) -> ListAttribute<SetElementAttribute> {
    ListAttribute::Element(vec![SetElementAttribute::Key(DataAttribute::Value([octets(from), octets(to)].concat()))])
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The pair that a key stands for.
fn pair(key: &[u8]) -> Option<Pair> {
    let (from, to) = key.split_at(key.len() / 2);
    if let (Ok(from), Ok(to)) = (<[u8; 4]>::try_from(from), <[u8; 4]>::try_from(to)) {
        return Some((from.into(), to.into()));
    }
    Some((<[u8; 16]>::try_from(from).ok()?.into(), <[u8; 16]>::try_from(to).ok()?.into()))
}

/// Whether a rule sends packets into this queue.
fn queues(rule: &NfTablesMessage, queue: u16) -> bool {
    let NfTablesMessage::NewRule(rule) = rule else { return false };
    let expressions = rule.attributes.iter().filter_map(|attribute| match attribute {
        RuleAttribute::Expressions(expressions) => Some(expressions),
        _ => None,
    });
    let queueing: Vec<Expressions> =
        [Means::Statement, Means::Target].map(|means| means.expression(queue)).into_iter().collect();
    expressions.flatten().any(|expression| {
        let ListAttribute::Element(parts) = expression else { return false };
        parts.iter().any(|part| matches!(part, ExpressionAttribute::Data(it) if queueing.contains(it)))
    })
}
