//! netlink(7): requests, and answers read message by message, however many come in a datagram: kernels
//! differ in that.
//!
//! The machine has interfaces of its own and kernels differ in what they say of one, so of rtnetlink(7)'s objects only
//! the loopback's are written down, with the attributes that every world has.

use super::Addr;
use crate::transcript::Transcript;
use libc::{AF_NETLINK, SOCK_NONBLOCK, c_int};

/// A message of a request (`nlmsghdr`): numbered, and with content.
pub fn request(kind: u16, flags: u16, sequence: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + content.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute, aligned.
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a world says of an interface: name, queue, state, mode, MTUs, group, promiscuity, carrier and how often it
/// changed, addresses, queueing discipline (`IFLA_*`, linux/if_link.h).
const OF_LINKS: [u16; 14] = [1, 2, 3, 4, 6, 13, 16, 17, 27, 30, 33, 35, 50, 51];
/// `RTA_OIF`.
const DEVICE: u16 = 4;
/// `IFA_CACHEINFO`, of which two words say when; `RTA_CACHEINFO`, of which one counts users.
const LIFE_OF_ADDRESS: u16 = 6;
const USE_OF_ROUTE: u16 = 12;

fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let length = half(bytes, 0) as usize;
        let Some(value) = bytes.get(4..length) else { break };
        found.push((half(bytes, 2), value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    found
}

/// One of rtnetlink's objects, if it is the loopback's.
fn object(kind: u16, content: &[u8]) -> Option<String> {
    let header = match kind {
        16 => 16, // RTM_NEWLINK
        20 => 8,  // RTM_NEWADDR
        24 => 12, // RTM_NEWROUTE
        _ => return Some(hex(content)),
    };
    let all = attributes(&content[header..]);
    let device = all.iter().find(|(number, _)| kind == 24 && *number == DEVICE).map(|(_, value)| word(value, 0));
    if device.unwrap_or_else(|| word(content, 4)) != 1 {
        return None;
    }
    let shown = all.iter().filter(|(number, _)| kind != 16 || OF_LINKS.contains(number));
    let shown = shown.map(|(number, value)| match (kind, *number) {
        (20, LIFE_OF_ADDRESS) => format!(" {number}={}", hex(&value[..8])),
        (24, USE_OF_ROUTE) => format!(" {number}={}", hex(&value[4..])),
        _ => format!(" {number}={}", hex(value)),
    });
    Some(format!("{}{}", hex(&content[..header]), shown.collect::<String>()))
}

impl Transcript {
    /// A socket of `NETLINK_ROUTE`.
    pub fn netlink(&self) -> c_int {
        self.socket(AF_NETLINK, libc::SOCK_RAW | SOCK_NONBLOCK, libc::NETLINK_ROUTE)
    }

    /// Asks, and writes down all that is answered.
    pub fn ask(&self, fd: c_int, request: &[u8]) {
        self.send(fd, request, 0);
        self.answers(fd);
    }

    /// Receives all there is, and writes it down message by message.
    pub fn answers(&self, fd: c_int) {
        let mut buffer = vec![0_u8; 65_536];
        loop {
            let (base, room) = (buffer.as_mut_ptr().cast(), buffer.len());
            let count = unsafe { libc::recv(fd, base, room, libc::MSG_DONTWAIT) };
            let Ok(count) = usize::try_from(count) else { return };
            let mut rest = &buffer[..count];
            while rest.len() >= 16 {
                let length = word(rest, 0) as usize;
                let (kind, flags, sequence) = (half(rest, 4), half(rest, 6), word(rest, 8));
                let port = self.name("nl", u64::from(word(rest, 12)));
                if let Some(content) = object(kind, &rest[16..length]) {
                    // An error repeats the request, which names nobody.
                    self.say(format_args!("  type {kind} flags {flags:#x} number {sequence} to {port}: {content}"));
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
            }
        }
    }
}

impl Addr {
    /// `sockaddr_nl`, netlink(7).
    pub fn netlink(port: u32, groups: u32) -> Addr {
        let mut address = Addr { bytes: [0; 128], len: 12 };
        address.bytes[..2].copy_from_slice(&(AF_NETLINK as u16).to_ne_bytes());
        address.bytes[4..8].copy_from_slice(&port.to_ne_bytes());
        address.bytes[8..12].copy_from_slice(&groups.to_ne_bytes());
        address
    }

    /// `nl_pid`.
    pub fn netlink_port(&self) -> u32 {
        word(&self.bytes, 4)
    }

    pub(super) fn show_netlink(&self, t: &Transcript) -> String {
        format!("netlink {} groups {:#x}", t.name("nl", u64::from(self.netlink_port())), word(&self.bytes, 8))
    }
}
