//! The messages by which tables are made, read and removed.

use super::expression::{ALIVE, Family};
use super::table::{Chain, Hold, Hook, Set};
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
/// nft's numbers for the types of keys, which mean nothing to the kernel but let nft(8) print the set
/// (`TYPE_IPADDR`, `TYPE_IP6ADDR`; libnftables, datatype.h).
const KEY_V4: u32 = 7;
const KEY_V6: u32 = 8;
/// `TYPE_NFPROTO`.
const KEY_NFPROTO: u32 = 2;

fn nft(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(FAMILY, 0, 0), message)
}

fn control(message: ControlMessage) -> NetfilterMessage {
    let subsystem = u16::from(u8::from(NetfilterSubsystem::NfTables));
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, subsystem), message)
}

/// What a transaction begins with.
pub(super) fn begin() -> NetfilterMessage {
    control(ControlMessage::BatchBegin)
}

/// What a transaction ends with.
pub(super) fn end() -> NetfilterMessage {
    control(ControlMessage::BatchEnd)
}

pub(super) fn new_table(name: &str, hold: Hold) -> NetfilterMessage {
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

pub(super) fn delete_table(name: &str) -> NetfilterMessage {
    let attributes = vec![TableAttribute::Name(name.to_owned())];
    nft(NfTablesMessage::DeleteTable(TableMessage { attributes }))
}

/// `id` names the set within the transaction.
pub(super) fn new_set(table: &str, set: &Set, id: u32) -> NetfilterMessage {
    let attributes = vec![
        SetAttribute::Table(table.to_owned()),
        SetAttribute::Name(set.name.clone()),
        SetAttribute::KeyType(if set.family == Family::V4 { KEY_V4 } else { KEY_V6 }),
        SetAttribute::KeyLen(set.family.bytes()),
        // A set whose size is known is a table that does not grow while it is read, which would show some elements
        // twice and others never (nft_set_hash.c: nft_hash rather than nft_rhash).
        SetAttribute::Description(vec![SetDescription::Size(u32::try_from(set.addresses.len()).unwrap_or(u32::MAX))]),
        SetAttribute::Id(id),
    ];
    nft(NfTablesMessage::NewSet(SetMessage { attributes }))
}

/// Adds elements, which must fit in one attribute (64 KiB).
pub(super) fn new_elements(table: &str, set: &Set, elements: &[IpAddr]) -> NetfilterMessage {
    let element = |address: &IpAddr| {
        let key = match address {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        ListAttribute::Element(vec![SetElementAttribute::Key(DataAttribute::Value(key))])
    };
    let attributes = vec![
        SetElementList::Table(table.to_owned()),
        SetElementList::Set(set.name.clone()),
        SetElementList::Elements(elements.iter().map(element).collect()),
    ];
    nft(NfTablesMessage::NewSetElement(SetElementMessage { attributes }))
}

/// The set that a lease is, without elements.
pub(super) fn new_lease(table: &str, id: u32) -> NetfilterMessage {
    let attributes = vec![
        SetAttribute::Table(table.to_owned()),
        SetAttribute::Name(ALIVE.to_owned()),
        SetAttribute::Flags(SetFlags::Timeout),
        SetAttribute::KeyType(KEY_NFPROTO),
        SetAttribute::KeyLen(1),
        SetAttribute::Id(id),
    ];
    nft(NfTablesMessage::NewSet(SetMessage { attributes }))
}

/// Begins a lease.
pub(super) fn begin_lease(table: &str, lasts: Duration) -> NetfilterMessage {
    let timeout_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
    nft(NfTablesMessage::NewSetElement(lease(table, Some(SetElementAttribute::Timeout(timeout_ms)))))
}

/// Ends a lease that has not run out.
pub(super) fn end_lease(table: &str) -> NetfilterMessage {
    nft(NfTablesMessage::DeleteSetElement(lease(table, None)))
}

fn lease(table: &str, timeout: Option<SetElementAttribute>) -> SetElementMessage {
    let element = |family: Family| {
        let key = SetElementAttribute::Key(DataAttribute::Value(vec![family.number()]));
        ListAttribute::Element([key].into_iter().chain(timeout.clone()).collect())
    };
    let elements = [Family::V4, Family::V6].map(element).to_vec();
    let attributes = vec![
        SetElementList::Table(table.to_owned()),
        SetElementList::Set(ALIVE.to_owned()),
        SetElementList::Elements(elements),
    ];
    SetElementMessage { attributes }
}

pub(super) fn get_elements(table: &str, set: &str) -> NetfilterMessage {
    let attributes = vec![SetElementList::Table(table.to_owned()), SetElementList::Set(set.to_owned())];
    nft(NfTablesMessage::GetSetElement(SetElementMessage { attributes }))
}

pub(super) fn new_chain(table: &str, chain: &Chain) -> NetfilterMessage {
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

pub(super) fn new_rule(
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
pub(super) fn get_rules(table: &str, chain: &str) -> NetfilterMessage {
    let attributes = vec![RuleAttribute::Table(table.to_owned()), RuleAttribute::Chain(chain.to_owned())];
    nft(NfTablesMessage::GetRule(RuleMessage { attributes }))
}

/// What a reply is about.
pub(super) fn inner(message: NetfilterMessage) -> Option<NfTablesMessage> {
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

/// The keys among the elements of a set.
pub(super) fn keys(elements: SetElementMessage) -> Vec<Vec<u8>> {
    let lists = elements.attributes.into_iter().filter_map(|attribute| match attribute {
        SetElementList::Elements(elements) => Some(elements),
        _ => None,
    });
    let keys = lists.flatten().filter_map(|element| match element {
        ListAttribute::Element(attributes) => attributes.into_iter().find_map(|attribute| match attribute {
            SetElementAttribute::Key(DataAttribute::Value(key)) => Some(key),
            _ => None,
        }),
        _ => None,
    });
    keys.collect()
}

/// The address that a key is.
pub(super) fn address(key: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(key).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(key).map(IpAddr::from)).ok()
}
