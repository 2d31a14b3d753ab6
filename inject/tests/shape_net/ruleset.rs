//! What is in nf_tables: to see that nothing of it has changed, and to have something of somebody else's there.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, InetHookNumber, NfTablesMessage, RuleMessage, SetMessage, TableAttribute,
    TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

/// All tables, chains, rules and sets of the network namespace, as text.
pub fn ruleset() -> Vec<String> {
    let all = [
        NfTablesMessage::GetTable(TableMessage { attributes: Vec::new() }),
        NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() }),
        NfTablesMessage::GetRule(RuleMessage { attributes: Vec::new() }),
        NfTablesMessage::GetSet(SetMessage { attributes: Vec::new() }),
    ];
    all.into_iter().flat_map(list).collect()
}

/// Somebody else's table, with a chain that lets everything pass.
pub fn add_foreign_table() {
    let table = "somebody else's".to_owned();
    let steps: Vec<NetfilterMessageInner> = vec![
        ControlMessage::BatchBegin.into(),
        NfTablesMessage::NewTable(TableMessage { attributes: vec![TableAttribute::Name(table.clone())] }).into(),
        NfTablesMessage::NewChain(ChainMessage {
            attributes: vec![
                ChainAttribute::Table(table),
                ChainAttribute::Name("forward".to_owned()),
                ChainAttribute::Type("filter".to_owned()),
                ChainAttribute::Hook(vec![Hook::Number(InetHookNumber::Forward.into()), Hook::Priority(0)]),
            ],
        })
        .into(),
        ControlMessage::BatchEnd.into(),
    ];
    let bytes: Vec<u8> = steps.into_iter().flat_map(|step| message(step, NLM_F_CREATE | NLM_F_ACK, 10)).collect();
    let socket = socket();
    socket.send(&bytes, 0).unwrap();
    for _ in 0..2 {
        let (answer, _) = socket.recv_from_full().unwrap();
        let answer = NetlinkMessage::<NetfilterMessage>::deserialize(&answer).unwrap();
        assert!(matches!(answer.payload, NetlinkPayload::Error(error) if error.code.is_none()));
    }
}

fn list(request: NfTablesMessage) -> Vec<String> {
    let socket = socket();
    socket.send(&message(request.into(), NLM_F_DUMP, 0), 0).unwrap();
    let mut listed = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full().unwrap();
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let part = NetlinkMessage::<NetfilterMessage>::deserialize(rest).unwrap();
            rest = &rest[(part.header.length as usize).next_multiple_of(4).min(rest.len())..];
            match part.payload {
                NetlinkPayload::InnerMessage(message) => listed.push(format!("{:?}", message.inner)),
                NetlinkPayload::Done(_) => return listed,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn socket() -> Socket {
    let mut socket = Socket::new(NETLINK_NETFILTER).unwrap();
    socket.bind_auto().unwrap();
    socket.connect(&SocketAddr::new(0, 0)).unwrap();
    socket
}

fn message(inner: NetfilterMessageInner, flags: u16, resource: u16) -> Vec<u8> {
    let is_control = matches!(inner, NetfilterMessageInner::None(_));
    let family = if is_control { NetfilterProtoFamily::Unspec } else { NetfilterProtoFamily::Inet };
    let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, if is_control { resource } else { 0 }), inner);
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    message.header.flags = NLM_F_REQUEST | if is_control { 0 } else { flags };
    message.finalize();
    let mut bytes = vec![0; message.buffer_len().next_multiple_of(4)];
    message.serialize(&mut bytes);
    bytes
}
