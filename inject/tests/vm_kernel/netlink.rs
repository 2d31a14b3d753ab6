//! As much of netlink(7) as it takes to ask a kernel what it can do.

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, bind, recv, send, socket};
use std::io;
use std::os::fd::OwnedFd;

/// `NLM_F_REQUEST | NLM_F_ACK`, and `NLM_F_CREATE`.
pub const ASK: u16 = 0x005;
pub const CREATE: u16 = 0x400;

/// An attribute: length, type, value, padded to four bytes.
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("a short value");
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute that is a string, which ends with a zero.
pub fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), b"\0"].concat())
}

/// An attribute that is made of attributes.
pub fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    const NLA_F_NESTED: u16 = 0x8000;
    attribute(kind | NLA_F_NESTED, &attributes.concat())
}

/// A message: `struct nlmsghdr`, the family's own header, attributes.
pub fn message(kind: u16, flags: u16, sequence: u32, header: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = [header, &attributes.concat()].concat();
    let length = u32::try_from(16 + body.len()).expect("a short message");
    let words =
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &sequence.to_ne_bytes(), &[0; 4]];
    [words.concat(), body].concat()
}

/// A connection with the kernel.
pub struct Connection {
    socket: OwnedFd,
}

impl Connection {
    /// With a protocol of netlink's; the one numbered 0 is rtnetlink.
    pub fn new(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = socket(AddressFamily::NETLINK, SocketType::RAW, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Sends messages together, and waits until the one with this number, which asks for it, is acknowledged. Any that
    /// is refused is the error.
    pub fn ask(&self, messages: &[u8], last: u32) -> io::Result<()> {
        const NLMSG_ERROR: u16 = 2;
        send(&self.socket, messages, SendFlags::empty())?;
        let mut buffer = [0; 8192];
        loop {
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            let mut left = &buffer[..length];
            while left.len() >= 20 {
                let word = |at: usize| u32::from_ne_bytes([left[at], left[at + 1], left[at + 2], left[at + 3]]);
                let (kind, sequence) = (u16::from_ne_bytes([left[4], left[5]]), word(8));
                if kind == NLMSG_ERROR {
                    match word(16).cast_signed() {
                        0 if sequence == last => return Ok(()),
                        0 => {}
                        error => return Err(io::Error::from_raw_os_error(-error)),
                    }
                }
                left = left.get((word(0) as usize).next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}
