//! What a request asks, and the shape of answers: `rtnetlink_rcv_msg` (net/core/rtnetlink.c), `netlink_ack` and
//! `netlink_dump` (net/netlink/af_netlink.c).

use super::filter::{Asked, Found};
use super::tables::Tables;
use super::word;
use libc::{EINVAL, ENODEV, EOPNOTSUPP, EPERM, c_int};
use libc::{IFLA_ALT_IFNAME, IFLA_IFNAME, RTA_DST, RTM_GETADDR, RTM_GETLINK, RTM_GETNEIGH, RTM_GETROUTE};
use netlink_packet_core::{NetlinkSerializable, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What messages and attributes are aligned to.
pub(super) const ALIGNMENT: usize = 4;
/// Size of `nlmsghdr`.
const HEADER_BYTES: usize = 16;
// As a header has them.
const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;
const TYPE_MIN: u16 = libc::NLMSG_MIN_TYPE as u16;
const F_REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const F_MULTI: u16 = libc::NLM_F_MULTI as u16;
const F_ACK: u16 = libc::NLM_F_ACK as u16;
/// `NLM_F_ROOT` and `NLM_F_MATCH`, either of which asks for all.
const F_DUMP: u16 = libc::NLM_F_DUMP as u16;
/// Of an acknowledgement: it comes without the request's content.
const F_CAPPED: u16 = libc::NLM_F_CAPPED as u16;
/// Of an answer: filters were heeded.
const F_DUMP_FILTERED: u16 = libc::NLM_F_DUMP_FILTERED as u16;
/// Types that `rtnetlink_rcv_msg` knows of: `RTM_BASE` to `RTM_MAX`.
const RTM_MAX: u16 = 123;
/// Which of the four types of an object are questions (`rtnl_msgtype_kind`).
const KIND_GET: u16 = 2;
/// Sizes of `ifinfomsg`, `ifaddrmsg` and `rtmsg`.
pub(super) const LINK_BYTES: usize = 16;
pub(super) const ADDRESS_BYTES: usize = 8;
pub(super) const ROUTE_BYTES: usize = 12;
// As a header's first byte has them.
const AF_INET: u8 = libc::AF_INET as u8;
const AF_INET6: u8 = libc::AF_INET6 as u8;
pub(super) const AF_BRIDGE: u8 = libc::AF_BRIDGE as u8;

/// What to say to a question that has no answer here.
const ONLY: &str = "of rtnetlink(7), all interfaces, addresses, routes and neighbours of a host can be asked for, and \
                    one interface or the way to an address";

/// A message of a request.
pub(super) struct Request<'a> {
    /// With its header.
    pub(super) bytes: &'a [u8],
    kind: u16,
    flags: u16,
    sequence: u32,
}

/// What came of a request.
pub(super) enum Answer {
    /// All there are, maybe none, and what ends the answer.
    Parts(Vec<u8>, Vec<u8>),
    /// The one asked for.
    One(Vec<u8>),
    Nothing,
    Fails(c_int),
}

/// The first message of what was sent, if there is a whole one.
pub(super) fn first(bytes: &[u8]) -> Option<Request<'_>> {
    let length = word(bytes, 0)? as usize;
    let header = bytes.get(..HEADER_BYTES)?;
    let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let (kind, flags, sequence) = (half(4), half(6), word(header, 8)?);
    if length < HEADER_BYTES {
        return None;
    }
    Some(Request { bytes: bytes.get(..length)?, kind, flags, sequence })
}

/// Appends a message with its header.
fn put(content: &RouteNetlinkMessage, about: (u16, u32, u32), to: &mut Vec<u8>) {
    put_header(content.message_type(), content.buffer_len(), about, to);
    let at = to.len();
    to.resize(at + content.buffer_len(), 0);
    content.serialize(&mut to[at..]);
    to.resize(to.len().next_multiple_of(ALIGNMENT), 0);
}

/// `nlmsghdr`, with flags, sequence number and the port of who asked.
fn put_header(kind: u16, content_bytes: usize, (flags, sequence, port): (u16, u32, u32), to: &mut Vec<u8>) {
    to.extend_from_slice(&((HEADER_BYTES + content_bytes) as u32).to_ne_bytes());
    to.extend_from_slice(&kind.to_ne_bytes());
    to.extend_from_slice(&flags.to_ne_bytes());
    to.extend_from_slice(&sequence.to_ne_bytes());
    to.extend_from_slice(&port.to_ne_bytes());
}

impl Request<'_> {
    fn content(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Whether it wants to be told that all is well.
    pub(super) fn wants_acknowledgement(&self) -> bool {
        self.flags & F_ACK != 0
    }

    /// `netlink_ack`: an error repeats the request.
    pub(super) fn acknowledgement(&self, error: c_int, port: u32, short: bool) -> Vec<u8> {
        let capped = error == 0 || short;
        let repeated = if capped { &self.bytes[..HEADER_BYTES] } else { self.bytes };
        let content_bytes = 4 + repeated.len().next_multiple_of(ALIGNMENT);
        let mut bytes = Vec::new();
        let flags = if capped { F_CAPPED } else { 0 };
        put_header(NLMSG_ERROR, content_bytes, (flags, self.sequence, port), &mut bytes);
        bytes.extend_from_slice(&(-error).to_ne_bytes());
        bytes.extend_from_slice(repeated);
        bytes.resize(HEADER_BYTES + content_bytes, 0);
        bytes
    }

    /// Finds out what it asks.
    ///
    /// # Errors
    /// What it asks for is not simulated: a remedy.
    pub(super) fn ask(&self, tables: &Tables<'_>, strict: bool, port: u32) -> Result<Answer, &'static str> {
        if self.flags & F_REQUEST == 0 || self.kind < TYPE_MIN {
            return Ok(Answer::Nothing);
        }
        if self.kind > RTM_MAX {
            return Ok(Answer::Fails(EOPNOTSUPP));
        }
        let Some(family) = self.content().first().copied() else { return Ok(Answer::Nothing) };
        if self.kind & 3 != KIND_GET {
            return Ok(Answer::Fails(EPERM)); // a change
        }
        if self.flags & F_DUMP != 0 { self.all(tables, family, strict, port) } else { self.one(tables, family, port) }
    }

    /// Everything of a kind: `netlink_dump`.
    fn all(&self, tables: &Tables<'_>, family: u8, strict: bool, port: u32) -> Result<Answer, &'static str> {
        let asked = Asked { content: self.content(), strict };
        let found = match self.kind {
            RTM_GETLINK if family == AF_INET6 => return Err(ONLY),
            RTM_GETLINK => asked.links(tables, family),
            RTM_GETADDR => asked.addresses(tables, family),
            RTM_GETROUTE => asked.routes(tables, family),
            RTM_GETNEIGH if family != AF_BRIDGE => asked.neighbours(),
            _ => return Err(ONLY),
        };
        let (error, Found { messages, filtered }) = match found {
            Ok(found) => (0, found),
            // What would have been heeded.
            Err(ENODEV) => (ENODEV, Found { filtered: true, ..Found::default() }),
            Err(error) => (error, Found::default()),
        };
        let flags = F_MULTI | if filtered { F_DUMP_FILTERED } else { 0 };
        let (mut content, mut end) = (Vec::new(), Vec::new());
        for found in &messages {
            put(found, (flags, self.sequence, port), &mut content);
        }
        put_header(NLMSG_DONE, 4, (flags, self.sequence, port), &mut end);
        end.extend_from_slice(&(-error).to_ne_bytes());
        Ok(Answer::Parts(content, end))
    }

    /// One of a kind.
    fn one(&self, tables: &Tables<'_>, family: u8, port: u32) -> Result<Answer, &'static str> {
        let found = match self.kind {
            RTM_GETLINK => self.link(tables),
            RTM_GETADDR if family == AF_INET6 => return Err(ONLY),
            RTM_GETADDR => Err(EOPNOTSUPP),
            RTM_GETROUTE => self.route(tables, family),
            _ => return Err(ONLY),
        };
        Ok(match found {
            Ok(found) => {
                let mut content = Vec::new();
                put(&found, (0, self.sequence, port), &mut content);
                Answer::One(content)
            }
            Err(error) => Answer::Fails(error),
        })
    }

    /// `rtnl_getlink`: by its number, or its name.
    fn link(&self, tables: &Tables<'_>) -> Result<RouteNetlinkMessage, c_int> {
        let content = self.content();
        let index = word(content, 4).filter(|_| content.len() >= LINK_BYTES).ok_or(EINVAL)?;
        let name = attribute(content, LINK_BYTES, IFLA_IFNAME).or(attribute(content, LINK_BYTES, IFLA_ALT_IFNAME));
        let name = name.map(|name| name.into_iter().take_while(|byte| *byte != 0).collect::<Vec<u8>>());
        match (index.cast_signed(), name) {
            (1.., _) => tables.link(|device| device.index == index),
            (_, Some(name)) => tables.link(|device| device.name.to_bytes() == name),
            (_, None) => return Err(EINVAL),
        }
        .ok_or(ENODEV)
    }

    /// `inet_rtm_getroute` and `inet6_rtm_getroute`: which way a packet takes.
    fn route(&self, tables: &Tables<'_>, family: u8) -> Result<RouteNetlinkMessage, c_int> {
        let content = self.content();
        if family != AF_INET && family != AF_INET6 {
            return Err(EOPNOTSUPP);
        }
        if content.len() < ROUTE_BYTES {
            return Err(EINVAL);
        }
        let to = attribute(content, ROUTE_BYTES, RTA_DST);
        let to: Option<IpAddr> = match (family, to) {
            (_, None) => None,
            (AF_INET, Some(octets)) => {
                Some(<[u8; 4]>::try_from(octets.get(..4).ok_or(EINVAL)?).map_err(|_| EINVAL)?.into())
            }
            (_, Some(octets)) => {
                Some(<[u8; 16]>::try_from(octets.get(..16).ok_or(EINVAL)?).map_err(|_| EINVAL)?.into())
            }
        };
        let any = if family == AF_INET { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        Ok(tables.way(to.unwrap_or(any)))
    }
}

/// An attribute's bytes, behind a header of this many.
pub(super) fn attribute(content: &[u8], header_bytes: usize, kind: u16) -> Option<Vec<u8>> {
    let mut attributes = NlasIterator::new(content.get(header_bytes..)?).map_while(Result::ok);
    attributes.find(|attribute| attribute.kind() == kind).map(|attribute| attribute.value().to_vec())
}
