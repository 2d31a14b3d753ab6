//! What rules are made of, as far as faults need it, and in words that can be compared: the kernel gives expressions
//! back with more attributes than it was given, in another order.

use netlink_packet_core::{DefaultNla, Nla};
use netlink_packet_netfilter::nftables::{
    Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Lookup, Meta, MetaKey, Operator,
    Payload, Register, Verdict, VerdictAttribute,
};
use std::net::IpAddr;

/// `NFT_PAYLOAD_NETWORK_HEADER` (linux/netfilter/nf_tables.h).
pub(crate) const NETWORK_HEADER: u32 = 1;
/// `NF_DROP` (linux/netfilter.h).
const DROP: u32 = 0;
/// `NF_ACCEPT` (linux/netfilter.h).
const ACCEPT: u32 = 1;
/// `NFTA_COUNTER_PACKETS` (linux/netfilter/nf_tables.h).
const COUNTER_PACKETS: u16 = 2;

/// The set of families for which a table's lease has not run out: all of them, or none.
pub(crate) const ALIVE: &str = "alive";

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// `NFPROTO_IPV4`, `NFPROTO_IPV6` (linux/netfilter.h).
    pub(super) fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    /// Size of an address.
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }
}

/// One of a packet's two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Who sent it.
    Source,
    /// Who is to get it.
    Destination,
}

/// One step of a rule. A rule ends at the first condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Holds while the table's [lease](super::TableDescription::lease) has not run out.
    Leased,
    /// Holds if the packet is of this family. Before [`Among`](Self::Among), which knows of no other.
    Is(Family),
    /// Holds if an address of the packet is in a set of the same table.
    Among {
        /// Which address.
        direction: Direction,
        /// Family of packet and set.
        family: Family,
        /// The set.
        set: String,
    },
    /// Counts the packets that come so far.
    Count,
    /// Ends the packet. On the way in or through, its sender hears nothing.
    Drop,
    /// Ends this chain.
    Accept,
    /// Anything else, as the kernel wants it: for expressions that are used in one place only.
    Raw(Expressions),
}

impl Expression {
    /// As the kernel wants it.
    pub(super) fn emit(&self) -> Vec<ListAttribute<ExpressionAttribute>> {
        let expressions = match self {
            Self::Leased => vec![
                nfproto(),
                Expressions::Lookup(vec![Lookup::Set(ALIVE.to_owned()), Lookup::SourceRegister(Register::Reg1)]),
            ],
            Self::Is(family) => vec![
                nfproto(),
                Expressions::Cmp(vec![
                    Cmp::SourceRegister(Register::Reg1),
                    Cmp::Op(Operator::Equal),
                    Cmp::Data(DataAttribute::Value(vec![family.number()])),
                ]),
            ],
            Self::Among { direction, family, set } => vec![
                Expressions::Payload(vec![
                    Payload::DestinationRegister(Register::Reg1),
                    Payload::Base(NETWORK_HEADER),
                    Payload::Offset(offset(*direction, *family)),
                    Payload::Len(family.bytes()),
                ]),
                Expressions::Lookup(vec![Lookup::Set(set.clone()), Lookup::SourceRegister(Register::Reg1)]),
            ],
            Self::Count => {
                vec![Expressions::Other { expression_type: "counter".to_owned(), attributes: Vec::new() }]
            }
            Self::Drop => vec![verdict(DROP)],
            Self::Accept => vec![verdict(ACCEPT)],
            Self::Raw(expressions) => vec![expressions.clone()],
        };
        expressions.into_iter().map(ListAttribute::from).collect()
    }
}

/// The family of a packet, in register 1.
fn nfproto() -> Expressions {
    Expressions::Meta(vec![Meta::DestinationRegister(Register::Reg1), Meta::Key(MetaKey::Nfproto)])
}

/// Where an address stands in a packet: RFC 791 §3.1, RFC 8200 §3.
pub(crate) fn offset(direction: Direction, family: Family) -> u32 {
    match (family, direction) {
        (Family::V4, Direction::Source) => 12,
        (Family::V4, Direction::Destination) => 16,
        (Family::V6, Direction::Source) => 8,
        (Family::V6, Direction::Destination) => 24,
    }
}

fn verdict(code: u32) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::from(code))])),
    ])
}

/// A rule in words, the same for what was asked for and for what the kernel gives back.
pub(super) fn words(rule: &[ListAttribute<ExpressionAttribute>]) -> String {
    let word = |element: &ListAttribute<ExpressionAttribute>| match element {
        ListAttribute::Element(attributes) => attributes.iter().find_map(|attribute| match attribute {
            ExpressionAttribute::Data(expressions) => Some(word(expressions)),
            _ => None,
        }),
        _ => None,
    };
    // An expression without attributes may come back without the place for them.
    let name = |element: &ListAttribute<ExpressionAttribute>| match element {
        ListAttribute::Element(attributes) => attributes.iter().find_map(|attribute| match attribute {
            ExpressionAttribute::Name(name) => Some(name.clone()),
            _ => None,
        }),
        _ => None,
    };
    rule.iter().filter_map(|element| word(element).or_else(|| name(element))).collect::<Vec<_>>().join(" ")
}

fn word(expressions: &Expressions) -> String {
    match expressions {
        Expressions::Meta(meta) => {
            let key = meta.iter().find_map(|m| if let Meta::Key(key) = m { Some(u32::from(*key)) } else { None });
            format!("meta:{}", key.unwrap_or_default())
        }
        Expressions::Cmp(cmp) => {
            let op = cmp.iter().find_map(|c| if let Cmp::Op(op) = c { Some(*op) } else { None });
            let with = cmp.iter().find_map(|c| if let Cmp::Data(with) = c { Some(with) } else { None });
            format!("cmp:{op:?}:{with:?}")
        }
        Expressions::Payload(payload) => {
            let number = |pick: fn(&Payload) -> Option<u32>| payload.iter().find_map(pick).unwrap_or_default();
            let base = number(|p| if let Payload::Base(n) = p { Some(*n) } else { None });
            let offset = number(|p| if let Payload::Offset(n) = p { Some(*n) } else { None });
            let len = number(|p| if let Payload::Len(n) = p { Some(*n) } else { None });
            format!("payload:{base}+{offset}:{len}")
        }
        Expressions::Lookup(lookup) => {
            let set = lookup.iter().find_map(|l| if let Lookup::Set(set) = l { Some(set.as_str()) } else { None });
            format!("in:{}", set.unwrap_or_default())
        }
        Expressions::Immediate(immediate) => {
            let code = immediate.iter().find_map(|i| match i {
                Immediate::Data(DataAttribute::Verdict(verdict)) => verdict.iter().find_map(|v| match v {
                    VerdictAttribute::Code(code) => Some(u32::from(*code)),
                    _ => None,
                }),
                _ => None,
            });
            match code {
                Some(DROP) => "drop".to_owned(),
                Some(ACCEPT) => "accept".to_owned(),
                other => format!("verdict:{other:?}"),
            }
        }
        // Its attributes are what it has counted.
        Expressions::Other { expression_type, .. } if expression_type == "counter" => expression_type.clone(),
        Expressions::Other { expression_type, attributes } => format!("{expression_type}:{}", hexadecimal(attributes)),
        other => format!("{other:?}"),
    }
}

fn hexadecimal(attributes: &[DefaultNla]) -> String {
    attributes.iter().map(|attribute| format!("{}={:02x?}", attribute.kind() & 0x3fff, value(attribute))).collect()
}

fn value(attribute: &DefaultNla) -> Vec<u8> {
    let mut bytes = vec![0; attribute.value_len()];
    attribute.emit_value(&mut bytes);
    bytes
}

/// How many packets a rule's counter has seen; `None` if it has none.
pub(super) fn counted(rule: &[ListAttribute<ExpressionAttribute>]) -> Option<u64> {
    let data = rule.iter().flat_map(|element| match element {
        ListAttribute::Element(attributes) => attributes.as_slice(),
        _ => &[],
    });
    data.filter_map(|attribute| match attribute {
        ExpressionAttribute::Data(Expressions::Other { expression_type, attributes })
            if expression_type == "counter" =>
        {
            let packets = attributes.iter().find(|attribute| attribute.kind() == COUNTER_PACKETS)?;
            Some(u64::from_be_bytes(value(packets).try_into().ok()?))
        }
        _ => None,
    })
    .next()
}
