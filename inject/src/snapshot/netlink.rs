//! What the network namespace holds, dumped over netlink(7) and printed attribute by attribute: nothing is interpreted
//! but what has to be left out.

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};
use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// linux/netlink.h, linux/rtnetlink.h, linux/netfilter/nfnetlink.h and nf_tables.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLA_TYPE_MASK: u16 = 0x3fff;
const NFNL_SUBSYS_NFTABLES: u16 = 10 << 8;
const HEADER_BYTES: usize = 16;

/// A kind of thing to dump: its request, how long its fixed part is, and which of its attributes change by themselves.
struct Kind {
    name: &'static str,
    request: u16,
    fixed_bytes: usize,
    /// Bytes of the fixed part that matter.
    shown: std::ops::Range<usize>,
    volatile: &'static [u16],
}

const NFTABLES: [Kind; 5] = [
    // How many chains there are (3), which these say themselves.
    Kind::nft("table", 1, &[3]),
    // How many rules there are (6), and the counters of its policy (8).
    Kind::nft("chain", 4, &[6, 8]),
    Kind::nft("rule", 7, &[]),
    Kind::nft("set", 10, &[]),
    // What it counts (4), and how many rules use it (5).
    Kind::nft("object", 19, &[4, 5]),
];

/// NFT_MSG_GETSETELEM, for one set at a time.
const ELEMENTS: Kind = Kind::nft("element", 13, &[]);

const NETWORK: [Kind; 3] = [
    // ifinfomsg (rtnetlink(7)); statistics (7, 23), carrier changes (35, 47, 48), address families' counters (26).
    Kind { name: "link", request: 18, fixed_bytes: 16, shown: 0..12, volatile: &[7, 23, 26, 35, 47, 48] },
    // ifaddrmsg; the times of the address's life (6).
    Kind { name: "address", request: 22, fixed_bytes: 8, shown: 0..8, volatile: &[6] },
    // tcmsg without the reference count at its end; statistics (3, 4, 7).
    Kind { name: "qdisc", request: 38, fixed_bytes: 20, shown: 0..16, volatile: &[3, 4, 7] },
];

impl Kind {
    /// A message of nf_tables: nfgenmsg, whose last bytes are the ruleset's generation.
    const fn nft(name: &'static str, message: u16, volatile: &'static [u16]) -> Self {
        Self { name, request: NFNL_SUBSYS_NFTABLES | message, fixed_bytes: 4, shown: 0..1, volatile }
    }
}

pub(super) fn nftables() -> Vec<String> {
    lines(Some(netlink::NETFILTER), &NFTABLES, |socket, kind, reply| {
        if kind.name != "set" {
            return Ok(Vec::new());
        }
        // A set's family, table (1) and name (2) ask for its elements.
        let wanted = attributes(&reply[kind.fixed_bytes..]).into_iter().flatten();
        let mut request = vec![reply[0], 0, 0, 0];
        for (number, value) in wanted.filter(|(number, _)| matches!(number, 1 | 2)) {
            append(&mut request, number, value);
        }
        dump(socket, ELEMENTS.request, &request)
            .map(|replies| replies.iter().map(|reply| line(&ELEMENTS, reply)).collect())
    })
}

pub(super) fn network() -> Vec<String> {
    // NETLINK_ROUTE is 0, the protocol by default.
    lines(None, &NETWORK, |_, _, _| Ok(Vec::new()))
}

fn lines(
    protocol: Option<rustix::net::Protocol>,
    kinds: &[Kind],
    more: impl Fn(&OwnedFd, &Kind, &[u8]) -> io::Result<Vec<String>>,
) -> Vec<String> {
    let look = || -> io::Result<Vec<String>> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        let mut lines = Vec::new();
        for kind in kinds {
            for reply in dump(&socket, kind.request, &vec![0; kind.fixed_bytes])? {
                lines.push(line(kind, &reply));
                lines.extend(more(&socket, kind, &reply)?);
            }
        }
        Ok(lines)
    };
    // Without privilege for it, or without nf_tables in the kernel.
    look().unwrap_or_else(|error| vec![format!("cannot look: {error}")])
}

/// Asks for all of a kind; the bodies of the answers.
fn dump(socket: impl AsFd, request: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let length = u32::try_from(HEADER_BYTES + body.len()).expect("a request is short");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(request.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    message.extend([0; 8]); // sequence number and port: nobody else uses this socket
    message.extend(body);
    send(&socket, &message, SendFlags::empty())?;
    let mut replies = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (received, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..received];
        while rest.len() >= HEADER_BYTES {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            if length < HEADER_BYTES || length > rest.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let body = &rest[HEADER_BYTES..length];
            match u16::from_ne_bytes([rest[4], rest[5]]) {
                NLMSG_DONE => return Ok(replies),
                NLMSG_ERROR => {
                    let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
                    return Err(Errno::from_raw_os_error(-code).into());
                }
                _ => replies.push(body.to_vec()),
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
}

fn line(kind: &Kind, reply: &[u8]) -> String {
    let mut text = format!("{} ", kind.name);
    let (fixed, rest) = reply.split_at(kind.fixed_bytes.min(reply.len()));
    hex(&mut text, fixed.get(kind.shown.clone()).unwrap_or(fixed));
    for (number, value) in attributes(rest).unwrap_or_default() {
        if !kind.volatile.contains(&number) {
            print(&mut text, number, value);
        }
    }
    text
}

/// Prints an attribute: as text, as attributes again, or as bytes, whatever it looks like.
fn print(text: &mut String, number: u16, value: &[u8]) {
    let _ = write!(text, " {number}=");
    let nested = attributes(value).filter(|nested| !nested.is_empty());
    if let Some(word) = printable(value) {
        text.push_str(word);
    } else if let Some(nested) = nested {
        // An expression: its name (1) and its inside (2). A counter's inside counts.
        let is_counter = nested.iter().any(|(number, value)| *number == 1 && *value == b"counter\0");
        text.push('{');
        for (number, value) in nested.into_iter().filter(|(number, _)| !(is_counter && *number == 2)) {
            print(text, number, value);
        }
        text.push_str(" }");
    } else {
        hex(text, value);
    }
}

fn printable(value: &[u8]) -> Option<&str> {
    let word = std::str::from_utf8(value.strip_suffix(&[0])?).ok()?;
    (word.len() > 1 && word.chars().all(|c| c.is_ascii_graphic() || c == ' ')).then_some(word)
}

fn hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
}

/// Takes a value apart into attributes (netlink(7), `struct nlattr`); `None` if it is not made of any.
fn attributes(mut value: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut found = Vec::new();
    while !value.is_empty() {
        let length = usize::from(u16::from_ne_bytes([*value.first()?, *value.get(1)?]));
        let number = u16::from_ne_bytes([*value.get(2)?, *value.get(3)?]) & NLA_TYPE_MASK;
        found.push((number, value.get(4..length)?));
        value = &value[length.next_multiple_of(4).min(value.len())..];
    }
    Some(found)
}

fn append(message: &mut Vec<u8>, number: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("a name is short");
    message.extend(length.to_ne_bytes());
    message.extend(number.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}
