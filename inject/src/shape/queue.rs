//! A queue of packets which the kernel asks this process about: NFQUEUE, `net/netfilter/nfnetlink_queue.c`.
//!
//! Large packets of a sender with segmentation offload are cut to segments, and checksums are complete, before anybody
//! is asked (`nfqnl_enqueue_packet`, without `NFQA_CFG_F_GSO`).

use crate::error::{Error, Result};
use crate::netlink;
use crate::step::reached;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};

/// Subsystem and messages, from `linux/netfilter/nfnetlink.h` and `nfnetlink_queue.h`.
const SUBSYSTEM: u16 = 3 << 8;
const PACKET: u16 = SUBSYSTEM;
const VERDICT: u16 = SUBSYSTEM | 1;
const CONFIG: u16 = SUBSYSTEM | 2;

/// Attributes of packets and verdicts.
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const PAYLOAD: u16 = 10;

/// Attributes of the configuration.
const COMMAND: u16 = 1;
const PARAMETERS: u16 = 2;
const QUEUE_LENGTH: u16 = 3;
const MASK: u16 = 4;
const FLAGS: u16 = 5;

/// `NFQNL_CFG_CMD_BIND`.
const BIND: u8 = 1;
/// `NFQNL_COPY_PACKET`.
const COPY_PACKET: u8 = 2;
/// `NFQA_CFG_F_FAIL_OPEN`: what does not fit into the queue passes.
const FAIL_OPEN: u32 = 1;

/// `NF_DROP` and `NF_ACCEPT`, `linux/netfilter.h`.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// `NLM_F_REQUEST` and `NLM_F_ACK`, `linux/netlink.h`.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
/// `NLMSG_ERROR`: also what acknowledges.
const ERROR: u16 = 2;

/// The headers of netlink (`struct nlmsghdr`) and nfnetlink (`struct nfgenmsg`) together.
const HEADERS: usize = 16 + 4;

/// Where a refused verdict names its packet: after an error's header and number, the verdict's headers, and its
/// attribute's.
const VERDICT_ID_AT: usize = 16 + 4 + HEADERS + 4 + 4;

/// How many packets may be held. The kernel's own limit is 32 bits wide.
pub(super) const PACKETS_MAX: u32 = 65_536;
/// What may wait to be read; unprivileged the kernel allows less (`net.core.rmem_max`).
const RECEIVE_BUFFER_BYTES: usize = 32 << 20;
/// The first number that is tried: nobody else's by convention.
const NUMBER_FIRST: u16 = 0x7774;
const NUMBERS_TRIED: u16 = 256;
/// Verdicts are sent together up to here.
const VERDICTS_BYTES_MAX: usize = 32 << 10;

/// A queue that this process is bound to. Whatever it holds is dropped when it is.
pub(super) struct Queue {
    socket: Socket,
    number: u16,
    port: u32,
    verdicts: Vec<u8>,
}

/// What has been read from a queue.
pub(super) enum Received<'a> {
    /// A packet that waits for a verdict.
    Packet { id: u32, bytes: &'a [u8] },
    /// So much waited to be read that packets have passed unasked.
    Overrun,
    /// The kernel does not have the packet any more that was to be let go.
    Unknown { id: u32 },
    /// An answer to something else.
    Other,
    /// There is nothing more for now.
    Nothing,
}

impl Queue {
    /// Binds the first free queue of the calling thread's network namespace.
    pub(super) fn bind() -> Result<Self> {
        let failed = |error| Error::os("open a netfilter queue", error);
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed)?;
        let port = netlink::bind(&mut socket).map_err(failed)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
        netlink::widen(&socket, RECEIVE_BUFFER_BYTES).map_err(failed)?;
        let mut queue = Self { socket, number: NUMBER_FIRST, port, verdicts: Vec::new() };
        reached("a queue is to be bound");
        while let Err(error) = queue.configure(&[(COMMAND, &[BIND, 0, 0, 0])]) {
            let next = queue.number + 1;
            // It is somebody else's: `nfqnl_recv_config` says EPERM.
            if !matches!(error, Errno::PERM | Errno::BUSY) || next == NUMBER_FIRST + NUMBERS_TRIED {
                return Err(Error::os("bind a netfilter queue", error));
            }
            queue.number = next;
        }
        reached("a queue is bound");
        let everything = [&u32::MAX.to_be_bytes()[..], &[COPY_PACKET]].concat();
        let flags = FAIL_OPEN.to_be_bytes();
        let attributes: [(u16, &[u8]); 4] =
            [(PARAMETERS, &everything), (QUEUE_LENGTH, &PACKETS_MAX.to_be_bytes()), (MASK, &flags), (FLAGS, &flags)];
        queue.configure(&attributes).map_err(|error| Error::os("set a netfilter queue up", error))?;
        reached("a queue is set up");
        Ok(queue)
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// The netlink port (netlink(7)) that `/proc` shows as the queue's owner.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Sends a configuration and reads the answer. A packet that comes between is none of this queue's yet.
    fn configure(&mut self, attributes: &[(u16, &[u8])]) -> rustix::io::Result<()> {
        let mut message = Vec::new();
        begin(&mut message, CONFIG, REQUEST | ACKNOWLEDGE, self.number);
        attributes.iter().for_each(|(kind, value)| attribute(&mut message, *kind, value));
        finish(&mut message, 0);
        rustix::net::send(&self.socket, &message, SendFlags::empty())?;
        let mut answer = [0; 1024];
        loop {
            let (length, _) = rustix::net::recv(&self.socket, &mut answer, RecvFlags::empty())?;
            if let [_, _, _, _, low, high, ..] = answer[..length]
                && u16::from_ne_bytes([low, high]) == ERROR
                && let Some(code) = native(&answer[..length], 16)
            {
                return match code.cast_signed() {
                    0 => Ok(()),
                    code => Err(Errno::from_raw_os_error(-code)),
                };
            }
        }
    }

    /// Reads what the kernel has to say, without waiting.
    pub(super) fn receive<'a>(&mut self, buffer: &'a mut [u8]) -> Result<Received<'a>> {
        match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((length, _)) => Ok(packet(&buffer[..length]).unwrap_or(Received::Other)),
            Err(Errno::AGAIN) => Ok(Received::Nothing),
            Err(Errno::INTR) => Ok(Received::Other),
            // netlink(7): the buffer was full.
            Err(Errno::NOBUFS) => Ok(Received::Overrun),
            Err(error) => Err(Error::os("read a netfilter queue", error)),
        }
    }

    /// Lets a packet go, as it is or as it is to be.
    pub(super) fn accept(&mut self, id: u32, changed: Option<&[u8]>) -> Result<()> {
        self.verdict(id, ACCEPT, changed)
    }

    /// Drops a packet.
    pub(super) fn drop(&mut self, id: u32) -> Result<()> {
        self.verdict(id, DROP, None)
    }

    fn verdict(&mut self, id: u32, verdict: u32, changed: Option<&[u8]>) -> Result<()> {
        let start = self.verdicts.len();
        begin(&mut self.verdicts, VERDICT, REQUEST, self.number);
        let [a, b, c, d] = verdict.to_be_bytes();
        let [e, f, g, h] = id.to_be_bytes();
        attribute(&mut self.verdicts, VERDICT_HEADER, &[a, b, c, d, e, f, g, h]);
        if let Some(bytes) = changed {
            attribute(&mut self.verdicts, PAYLOAD, bytes);
        }
        finish(&mut self.verdicts, start);
        if self.verdicts.len() >= VERDICTS_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Sends the verdicts there are. One on a packet that is gone is [answered](Received::Unknown).
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.verdicts.is_empty() {
            return Ok(());
        }
        let sent = rustix::net::send(&self.socket, &self.verdicts, SendFlags::empty());
        self.verdicts.clear();
        sent.map(drop).map_err(|error| Error::os("give verdicts on packets", error))
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The kernel's list of the queues of a network namespace: that of the thread which opened it, whoever reads it.
pub(super) struct Listing(File);

/// What the kernel says of a queue (`seq_show` of nfnetlink_queue.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// The netlink port of its owner.
    pub(super) port: u32,
    /// How many packets it holds.
    pub(super) held: u64,
}

impl Listing {
    /// Of the calling thread's network namespace.
    pub(super) fn open() -> Result<Self> {
        let path = "/proc/thread-self/net/netfilter/nfnetlink_queue";
        File::open(path).map(Self).map_err(|error| Error::os(format!("open {path}"), error))
    }

    /// What the kernel says of one queue, if somebody is bound to it.
    pub(super) fn row(&mut self, number: u16) -> Result<Option<Row>> {
        let mut text = String::new();
        let read = self.0.rewind().and_then(|()| self.0.read_to_string(&mut text));
        read.map_err(|error| Error::os("list netfilter queues", error))?;
        Ok(text.lines().find_map(|line| row(line, number)))
    }
}

fn row(line: &str, number: u16) -> Option<Row> {
    let mut fields = line.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(named)), Some(Ok(port)), Some(Ok(held))) = (fields.next(), fields.next(), fields.next()) else {
        return None;
    };
    (named == u64::from(number)).then_some(Row { port: u32::try_from(port).ok()?, held })
}

/// A message, taken apart: a packet, or a verdict that was refused.
fn packet(message: &[u8]) -> Option<Received<'_>> {
    if message.get(4..6)? == ERROR.to_ne_bytes() {
        // The error's number; and the verdict, in which the verdict's header comes first.
        let code = Errno::from_raw_os_error(native(message, 16)?.cast_signed().checked_neg()?);
        let id = message.get(VERDICT_ID_AT..VERDICT_ID_AT + 4)?;
        return (code == Errno::NOENT).then_some(Received::Unknown { id: u32::from_be_bytes(id.try_into().ok()?) });
    }
    if message.get(4..6)? != PACKET.to_ne_bytes() {
        return None;
    }
    let (mut id, mut bytes, mut at) = (None, None, HEADERS);
    while let (Some(length), Some(kind)) = (short(message, at), short(message, at + 2)) {
        let value = message.get(at + 4..at + usize::from(length))?;
        match kind & 0x3fff {
            PACKET_HEADER => id = Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?)),
            PAYLOAD => bytes = Some(value),
            _ => {}
        }
        at += usize::from(length).next_multiple_of(4);
    }
    Some(Received::Packet { id: id?, bytes: bytes.unwrap_or_default() })
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn native(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Appends the headers of a message about a queue; its length comes [later](finish).
fn begin(message: &mut Vec<u8>, kind: u16, flags: u16, queue: u16) {
    message.extend([0; 4]);
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]); // sequence and port
    message.extend([0, 0]); // any family, version 0
    message.extend(queue.to_be_bytes());
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(((4 + value.len()) as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Fills in the length of the message that began at `start`.
fn finish(message: &mut [u8], start: usize) {
    let length = (message.len() - start) as u32;
    message[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packets_message_is_taken_apart() {
        let mut message = Vec::new();
        begin(&mut message, PACKET, 0, 7);
        attribute(&mut message, PACKET_HEADER, &[0, 0, 1, 2, 8, 0, 2]);
        attribute(&mut message, 4, &[0; 16]);
        attribute(&mut message, PAYLOAD, b"abcde");
        finish(&mut message, 0);
        let Some(Received::Packet { id, bytes }) = packet(&message) else { panic!("no packet") };
        assert_eq!((id, bytes), (0x102, &b"abcde"[..]));
        for length in 0..message.len() {
            packet(&message[..length]);
        }
    }

    #[test]
    fn a_verdict_that_was_refused_names_its_packet() {
        let mut message = Vec::new();
        begin(&mut message, ERROR, 0, 0);
        message.truncate(16);
        message.extend((-2_i32).to_ne_bytes());
        begin(&mut message, VERDICT, REQUEST, 7);
        attribute(&mut message, VERDICT_HEADER, &[0, 0, 0, 1, 0, 0, 1, 2]);
        finish(&mut message, 0);
        assert!(matches!(packet(&message), Some(Received::Unknown { id: 0x102 })));
        for length in 0..message.len() {
            packet(&message[..length]);
        }
    }

    #[test]
    fn the_row_of_a_queue_is_found_by_its_number() {
        let line = "30580  12345     3 2 65531     0     0        9  1";
        assert_eq!(row(line, 30_580), Some(Row { port: 12_345, held: 3 }));
        assert_eq!(row(line, 1), None);
        assert_eq!(row("", 1), None);
    }
}
