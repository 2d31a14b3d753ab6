//! The messages by which tables are made, read and removed.

use super::expression::{ALIVE, Family};
use super::table::{Chain, Hold, Hook};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, ExpressionAttribute, Hook as HookAttribute, HookNumber,
    InetHookNumber, ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetDescription,
    SetElementAttribute, SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute, TableFlags,
    TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily, NetfilterSubsystem,
};
use std::net::IpAddr;
use std::time::Duration;

/// All tables are of the family that has both IPv4 and IPv6 (`inet`, nft(8)).
const FAMILY: NetfilterProtoFamily = NetfilterProtoFamily::Inet;
/// How many bits a type takes in a key of several (`TYPE_BITS`; libnftables, datatype.h).
const TYPE_BITS: u32 = 6;

/// A transaction's message, with its flags.
pub(crate) type Step = (NetfilterMessage, u16);

/// What the keys of a set are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// nft's number for it, which means nothing to the kernel but lets nft(8) print the set (libnftables, datatype.h).
    kind: u32,
    bytes: u32,
}

impl Key {
    /// `TYPE_NFPROTO`.
    const FAMILY: Self = Self { kind: 2, bytes: 1 };

    /// `TYPE_IPADDR`, `TYPE_IP6ADDR`.
    pub(crate) fn address(family: Family) -> Self {
        Self { kind: if family == Family::V4 { 7 } else { 8 }, bytes: family.bytes() }
    }

    /// Two of these.
    pub(crate) fn twice(self) -> Self {
        Self { kind: self.kind << TYPE_BITS | self.kind, bytes: 2 * self.bytes }
    }
}

fn nft(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(FAMILY, 0, 0), message)
}

fn control(message: ControlMessage) -> NetfilterMessage {
    let subsystem = u16::from(u8::from(NetfilterSubsystem::NfTables));
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, subsystem), message)
}

/// Steps that happen all at once, or not at all.
pub(crate) fn transaction(steps: Vec<Step>) -> Vec<Step> {
    let [begin, end] = [ControlMessage::BatchBegin, ControlMessage::BatchEnd].map(|message| [(control(message), 0)]);
    begin.into_iter().chain(steps).chain(end).collect()
}

pub(crate) fn new_table(name: &str, hold: Hold) -> NetfilterMessage {
    let flags = match hold {
        Hold::Socket => TableFlags::Owner,
        Hold::Namespace => TableFlags::empty(),
    };
    let attributes = vec![TableAttribute::Name(name.to_owned()), TableAttribute::Flags(flags)];
    nft(NfTablesMessage::NewTable(TableMessage { attributes }))
}

pub(super) fn get_table(name: &str) -> NetfilterMessage {
    let attributes = vec![TableAttribute::Name(name.to_owned())];
    nft(NfTablesMessage::GetTable(TableMessage { attributes }))
}

/// All of the family, in a dump.
pub(super) fn get_tables() -> NetfilterMessage {
    nft(NfTablesMessage::GetTable(TableMessage { attributes: Vec::new() }))
}

/// The name of a table that was asked for.
pub(super) fn table_name(message: NfTablesMessage) -> Option<String> {
    let NfTablesMessage::NewTable(table) = message else { return None };
    table.attributes.into_iter().find_map(|attribute| match attribute {
        TableAttribute::Name(name) => Some(name),
        _ => None,
    })
}

pub(crate) fn delete_table(name: &str) -> NetfilterMessage {
    let attributes = vec![TableAttribute::Name(name.to_owned())];
    nft(NfTablesMessage::DeleteTable(TableMessage { attributes }))
}

/// `id` names the set within the transaction; `more` is what there is to say beside its keys.
pub(crate) fn new_set(table: &str, name: &str, id: u32, key: Key, more: Option<SetAttribute>) -> NetfilterMessage {
    let mut attributes = vec![
        SetAttribute::Table(table.to_owned()),
        SetAttribute::Name(name.to_owned()),
        SetAttribute::KeyType(key.kind),
        SetAttribute::KeyLen(key.bytes),
        SetAttribute::Id(id),
    ];
    attributes.extend(more);
    nft(NfTablesMessage::NewSet(SetMessage { attributes }))
}

/// A set that will never have more elements than that.
pub(super) fn new_sized_set(table: &str, name: &str, id: u32, key: Key, elements: usize) -> NetfilterMessage {
    // A set whose size is known is a table that does not grow while it is read, which would show some elements twice
    // and others never (nft_set_hash.c: nft_hash rather than nft_rhash).
    let size = SetDescription::Size(u32::try_from(elements).unwrap_or(u32::MAX));
    new_set(table, name, id, key, Some(SetAttribute::Description(vec![size])))
}

/// Adds elements, which must fit in one attribute (64 KiB).
pub(crate) fn new_elements(table: &str, set: &str, keys: impl Iterator<Item = Vec<u8>>) -> NetfilterMessage {
    nft(NfTablesMessage::NewSetElement(elements(table, set, keys, None)))
}

/// Removes elements, which must fit as well.
pub(crate) fn delete_elements(table: &str, set: &str, keys: impl Iterator<Item = Vec<u8>>) -> NetfilterMessage {
    nft(NfTablesMessage::DeleteSetElement(elements(table, set, keys, None)))
}

fn elements(table: &str, set: &str, keys: impl Iterator<Item = Vec<u8>>, lasts: Option<Duration>) -> SetElementMessage {
    let timeout = lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
    let timeout = timeout.map(SetElementAttribute::Timeout);
    let element = |key| {
        let key = SetElementAttribute::Key(DataAttribute::Value(key));
        ListAttribute::Element([key].into_iter().chain(timeout.clone()).collect())
    };
    let attributes = vec![
        SetElementList::Table(table.to_owned()),
        SetElementList::Set(set.to_owned()),
        SetElementList::Elements(keys.map(element).collect()),
    ];
    SetElementMessage { attributes }
}

/// The key that an address is.
pub(crate) fn key(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The set that a lease is, without elements.
pub(crate) fn new_lease(table: &str, id: u32) -> NetfilterMessage {
    new_set(table, ALIVE, id, Key::FAMILY, Some(SetAttribute::Flags(SetFlags::Timeout)))
}

/// Begins a lease.
pub(crate) fn begin_lease(table: &str, lasts: Duration) -> Step {
    let begun = nft(NfTablesMessage::NewSetElement(elements(table, ALIVE, families(), Some(lasts))));
    (begun, NLM_F_CREATE | NLM_F_ACK)
}

/// Ends a lease that has not run out.
pub(super) fn end_lease(table: &str) -> Step {
    (delete_elements(table, ALIVE, families()), NLM_F_ACK)
}

fn families() -> impl Iterator<Item = Vec<u8>> {
    [Family::V4, Family::V6].into_iter().map(|family| vec![family.number()])
}

pub(crate) fn get_elements(table: &str, set: &str) -> NetfilterMessage {
    let attributes = vec![SetElementList::Table(table.to_owned()), SetElementList::Set(set.to_owned())];
    nft(NfTablesMessage::GetSetElement(SetElementMessage { attributes }))
}

pub(crate) fn new_chain(table: &str, chain: &Chain) -> NetfilterMessage {
    let attributes = vec![
        ChainAttribute::Table(table.to_owned()),
        ChainAttribute::Name(chain.name.clone()),
        hook(chain),
        ChainAttribute::Type("filter".to_owned()),
    ];
    nft(NfTablesMessage::NewChain(ChainMessage { attributes }))
}

/// Where packets meet a chain.
pub(super) fn hook(chain: &Chain) -> ChainAttribute {
    let number = match chain.hook {
        Hook::Arrival => InetHookNumber::PreRouting,
        Hook::Passage => InetHookNumber::Forward,
        Hook::Departure => InetHookNumber::PostRouting,
    };
    ChainAttribute::Hook(vec![
        HookAttribute::Number(HookNumber::Inet(number)),
        HookAttribute::Priority(chain.priority.cast_unsigned()),
    ])
}

pub(super) fn get_chain(table: &str, chain: &str) -> NetfilterMessage {
    let attributes = vec![ChainAttribute::Table(table.to_owned()), ChainAttribute::Name(chain.to_owned())];
    nft(NfTablesMessage::GetChain(ChainMessage { attributes }))
}

pub(crate) fn new_rule(
    table: &str,
    chain: &str,
    expressions: Vec<ListAttribute<ExpressionAttribute>>,
) -> NetfilterMessage {
    let attributes = vec![
        RuleAttribute::Table(table.to_owned()),
        RuleAttribute::Chain(chain.to_owned()),
        RuleAttribute::Expressions(expressions),
    ];
    nft(NfTablesMessage::NewRule(RuleMessage { attributes }))
}

/// All of a chain, in a dump.
pub(crate) fn get_rules(table: &str, chain: &str) -> NetfilterMessage {
    let attributes = vec![RuleAttribute::Table(table.to_owned()), RuleAttribute::Chain(chain.to_owned())];
    nft(NfTablesMessage::GetRule(RuleMessage { attributes }))
}

/// What a reply is about.
pub(crate) fn inner(message: NetfilterMessage) -> Option<NfTablesMessage> {
    match message.inner {
        NetfilterMessageInner::NfTables(message) => Some(message),
        _ => None,
    }
}

/// A table's owner, if it has one.
pub(super) fn owner(table: &TableMessage) -> Option<u32> {
    table.attributes.iter().find_map(|attribute| match attribute {
        TableAttribute::Owner(port) => Some(*port),
        _ => None,
    })
}

/// The hook of a chain, in words.
pub(super) fn hook_words(attributes: &[ChainAttribute]) -> String {
    let hook = attributes.iter().find_map(|attribute| match attribute {
        ChainAttribute::Hook(hook) => Some(hook.as_slice()),
        _ => None,
    });
    let mut words = Vec::new();
    for attribute in hook.unwrap_or_default() {
        match attribute {
            HookAttribute::Number(number) => words.push(format!("hook {}", u32::from(*number))),
            HookAttribute::Priority(priority) => words.push(format!("priority {}", priority.cast_signed())),
            _ => {}
        }
    }
    words.join(" ")
}

/// The keys among the elements of a set that was asked for.
pub(crate) fn keys(replies: Vec<NetfilterMessage>) -> Vec<Vec<u8>> {
    let lists = replies.into_iter().filter_map(inner).flat_map(|message| match message {
        NfTablesMessage::NewSetElement(elements) => elements.attributes,
        _ => Vec::new(),
    });
    let elements = lists.filter_map(|attribute| match attribute {
        SetElementList::Elements(elements) => Some(elements),
        _ => None,
    });
    let keys = elements.flatten().filter_map(|element| match element {
        ListAttribute::Element(attributes) => attributes.into_iter().find_map(|attribute| match attribute {
            SetElementAttribute::Key(DataAttribute::Value(key)) => Some(key),
            _ => None,
        }),
        _ => None,
    });
    keys.collect()
}

/// What each rule that was asked for is made of.
pub(crate) fn rules(replies: Vec<NetfilterMessage>) -> Vec<Vec<ListAttribute<ExpressionAttribute>>> {
    let rules = replies.into_iter().filter_map(inner).filter_map(|message| match message {
        NfTablesMessage::NewRule(rule) => rule.attributes.into_iter().find_map(|attribute| match attribute {
            RuleAttribute::Expressions(expressions) => Some(expressions),
            _ => None,
        }),
        _ => None,
    });
    rules.collect()
}

/// The address that a key is.
pub(crate) fn address(key: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(key).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(key).map(IpAddr::from)).ok()
}
