//! The rule that sends packets into the queue, in nf_tables' messages.

use super::engine::Pair;
use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions, Hook, Immediate,
    InetHookNumber, ListAttribute, Lookup, Meta, MetaKey, NfTablesMessage, Operator, Payload, Register, RuleAttribute,
    RuleMessage, SetAttribute, SetElementAttribute, SetElementList, SetElementMessage, SetFlags, SetMessage,
    TableAttribute, TableFlags, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily, NetfilterSubsystem,
};
use std::net::IpAddr;
use std::time::Duration;

/// Marks what the shaper itself sends, so that it is not queued again: "wind" in ASCII.
pub(super) const MARK: u32 = 0x7769_6e64;

/// How long packets are diverted after the last renewal.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// After all usual hooks that drop packets or change their addresses: what is dropped takes no bandwidth.
const PRIORITY: i32 = 250;

const CHAIN: &str = "forward";
/// The set of one element that has to be renewed.
pub(super) const ALIVE: &str = "alive";
/// What a set of pairs is called, for each family.
pub(super) const SETS: [(&str, Family); 2] = [("pairs4", Family::V4), ("pairs6", Family::V6)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// How a rule queues packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// nf_tables' own statement (`CONFIG_NFT_QUEUE`).
    Statement,
    /// The target of iptables, by nft_compat.
    Target,
}

/// What makes a transaction of these steps.
pub(super) fn transaction(steps: Vec<NfTablesMessage>) -> Vec<(NetfilterMessage, u16)> {
    let control = |message: ControlMessage| {
        let subsystem = u16::from(u8::from(NetfilterSubsystem::NfTables));
        NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, subsystem), message)
    };
    let begin = [(control(ControlMessage::BatchBegin), 0)];
    let steps = steps.into_iter().map(|step| (message(step), NLM_F_CREATE | NLM_F_ACK));
    begin.into_iter().chain(steps).chain([(control(ControlMessage::BatchEnd), 0)]).collect()
}

/// In the family that has both IPv4 and IPv6 (`inet`, nft(8)).
pub(super) fn message(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

/// What is in a message, if it is one of nf_tables'.
pub(super) fn content(message: NetfilterMessage) -> Option<NfTablesMessage> {
    match message.inner {
        NetfilterMessageInner::NfTables(message) => Some(message),
        _ => None,
    }
}

/// A table that diverts pairs of addresses to a queue.
#[derive(Debug, Clone)]
pub(super) struct Description {
    table: String,
    pub(super) queue: u16,
}

impl Description {
    pub(super) fn of(queue: u16) -> Self {
        Self { table: format!("windtunnel-shape-{queue}"), queue }
    }

    /// All of it, with no pairs yet.
    pub(super) fn table_with(&self, means: Means) -> Vec<NfTablesMessage> {
        let mut table = TableMessage { attributes: vec![self.table_name()] };
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

    fn table_name(&self) -> TableAttribute {
        TableAttribute::Name(self.table.clone())
    }

    pub(super) fn removal(&self) -> NfTablesMessage {
        NfTablesMessage::DeleteTable(TableMessage { attributes: vec![self.table_name()] })
    }

    pub(super) fn request_for_rules(&self) -> NfTablesMessage {
        NfTablesMessage::GetRule(RuleMessage { attributes: vec![RuleAttribute::Table(self.table.clone())] })
    }

    pub(super) fn request_for_elements(&self, set: &str) -> NfTablesMessage {
        NfTablesMessage::GetSetElement(self.element_list(set, Vec::new()))
    }

    /// The element that has to be there.
    pub(super) fn alive(&self, lease: Option<Duration>) -> SetElementMessage {
        let timeout = lease.map(|lease| SetElementAttribute::Timeout(lease.as_millis() as u64));
        let element = [SetElementAttribute::Key(DataAttribute::Value(ALIVE_KEY.to_vec()))].into_iter().chain(timeout);
        self.element_list(ALIVE, vec![ListAttribute::Element(element.collect())])
    }

    /// Pairs of a set.
    pub(super) fn pairs(&self, set: &str, pairs: &[Pair]) -> SetElementMessage {
        self.element_list(set, pairs.iter().copied().map(element).collect())
    }

    fn element_list(&self, set: &str, elements: Vec<ListAttribute<SetElementAttribute>>) -> SetElementMessage {
        let mut attributes = vec![SetElementList::Table(self.table.clone()), SetElementList::Set(set.to_owned())];
        if !elements.is_empty() {
            attributes.push(SetElementList::Elements(elements));
        }
        SetElementMessage { attributes }
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
    pub(super) fn has(self, (from, _): Pair) -> bool {
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

/// The keys of elements that an answer lists.
pub(super) fn keys(answer: NfTablesMessage) -> Vec<Vec<u8>> {
    let NfTablesMessage::NewSetElement(message) = answer else { return Vec::new() };
    let elements = message.attributes.into_iter().filter_map(|attribute| match attribute {
        SetElementList::Elements(elements) => Some(elements),
        _ => None,
    });
    let key = |element| match element {
        ListAttribute::Element(parts) => Vec::into_iter(parts).find_map(|part| match part {
            SetElementAttribute::Key(DataAttribute::Value(key)) => Some(key),
            _ => None,
        }),
        _ => None,
    };
    elements.flatten().filter_map(key).collect()
}

/// The pair that a key stands for.
pub(super) fn pair(key: &[u8]) -> Option<Pair> {
    let (from, to) = key.split_at(key.len() / 2);
    if let (Ok(from), Ok(to)) = (<[u8; 4]>::try_from(from), <[u8; 4]>::try_from(to)) {
        return Some((from.into(), to.into()));
    }
    Some((<[u8; 16]>::try_from(from).ok()?.into(), <[u8; 16]>::try_from(to).ok()?.into()))
}

/// Whether a rule sends packets into this queue.
pub(super) fn queues(rule: &NfTablesMessage, queue: u16) -> bool {
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
