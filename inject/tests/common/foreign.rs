//! What somebody else has on the machine: a table of nftables with a set and a rule, a queueing discipline. (Mounts
//! are in every sandbox.)

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::collections::BTreeSet;
use windtunnel_inject::netlink::nft::{
    Chain, Direction, Expression, Family, Hold, Hook, Rule, Set, Table, TableDescription,
};

/// All of it.
pub struct Foreign {
    table: Option<Table>,
}

impl Foreign {
    pub fn put_in_place() -> Self {
        place_queueing_discipline();
        Self { table: place_table() }
    }

    /// Whether nobody has touched the table. (The rest is looked at like everything else.)
    pub fn read_back(&mut self) -> Result<(), String> {
        self.table.as_mut().map_or(Ok(()), Table::read_back).map_err(|error| error.to_string())
    }
}

/// None where the kernel has no nftables.
fn place_table() -> Option<Table> {
    let addresses = ["10.0.0.1", "192.0.2.7"].map(|text| text.parse().expect("an address"));
    let set = Set { name: "theirs".to_owned(), family: Family::V4, addresses: BTreeSet::from(addresses) };
    let rule = Rule(vec![
        Expression::Is(Family::V4),
        Expression::Among { direction: Direction::Source, family: Family::V4, set: "theirs".to_owned() },
        Expression::Count,
        Expression::Drop,
    ]);
    let chain = Chain { name: "arriving".to_owned(), hook: Hook::Arrival, priority: -5, rules: vec![rule] };
    let description =
        TableDescription { name: "somebody".to_owned(), sets: vec![set], chains: vec![chain], lease: None };
    match Table::held_by(Hold::Namespace, description) {
        Ok(table) => Some(table),
        Err(error) => {
            eprintln!("without a foreign table: {error}");
            None
        }
    }
}

/// RTM_NEWQDISC (rtnetlink(7), linux/pkt_sched.h): a token bucket on the loopback.
fn place_queueing_discipline() {
    const REPLACE_AND_ACKNOWLEDGE: u16 = 1 | 4 | 0x100 | 0x400;
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_ne_bytes()).collect() };
    let attribute = |number: u16, value: &[u8]| {
        let length = u16::try_from(4 + value.len()).expect("it is short");
        let mut bytes = [length.to_ne_bytes(), number.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    // tc_tbf_qopt: a rate of Ethernet (linklayer 1) in bytes a second, no peak rate, limit in bytes, burst in ticks.
    let rate = [0x0100, 0, 1_000_000];
    let parameters = words(&[&rate[..], &[0; 3], &[1_000_000, 1_000_000, 0]].concat());
    // tcmsg: the loopback is device 1; handle 7:; TC_H_ROOT.
    let mut body = words(&[0, 1, 7 << 16, u32::MAX, 0]);
    body.extend(attribute(1, b"tbf\0"));
    body.extend(attribute(2, &attribute(1, &parameters)));
    let mut message = words(&[16 + u32::try_from(body.len()).expect("it is short")]);
    message.extend([36_u16.to_ne_bytes(), REPLACE_AND_ACKNOWLEDGE.to_ne_bytes()].concat());
    message.extend([0; 8]);
    message.extend(body);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).expect("a socket");
    send(&socket, &message, SendFlags::empty()).expect("asked");
    let mut answer = [0; 512];
    recv(&socket, &mut answer[..], RecvFlags::empty()).expect("answered");
    if answer[16..20] != [0; 4] {
        let errno = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        eprintln!("without a foreign queueing discipline: {}", std::io::Error::from_raw_os_error(-errno));
    }
}
