//! What a question about everything of a kind names, and whether that counts: only in a strict one
//! (`NETLINK_GET_STRICT_CHK`).

use super::request::{ADDRESS_BYTES, AF_BRIDGE, LINK_BYTES, ROUTE_BYTES, attribute};
use super::tables::{RouteFilter, Tables};
use super::word;
use libc::{EINVAL, ENODEV, IFLA_LINKINFO, IFLA_MASTER, RTA_OIF, RTA_TABLE, RTM_F_CLONED, RTM_F_PREFIX, c_int};
use netlink_packet_route::RouteNetlinkMessage;

/// Size of `ndmsg`.
const NEIGHBOUR_BYTES: usize = 12;

/// What a request for everything asks for.
pub(super) struct Asked<'a> {
    pub(super) content: &'a [u8],
    /// The request is checked, and what it names is a filter.
    pub(super) strict: bool,
}

/// What there is of it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) messages: Vec<RouteNetlinkMessage>,
    /// What was named was heeded.
    pub(super) filtered: bool,
}

impl Asked<'_> {
    /// Strictly, there has to be a header, and but for the family zero wherever it is not free.
    ///
    /// # Errors
    /// `EINVAL`.
    fn check_header(&self, bytes: usize, is_free: impl Fn(usize) -> bool) -> Result<(), c_int> {
        if !self.strict {
            return Ok(());
        }
        let header = self.content.get(..bytes).ok_or(EINVAL)?;
        let mut behind_family = header.iter().enumerate().skip(1);
        if behind_family.any(|(at, byte)| *byte != 0 && !is_free(at)) { Err(EINVAL) } else { Ok(()) }
    }

    /// `rtnl_dump_ifinfo`.
    pub(super) fn links(&self, tables: &Tables<'_>, family: u8) -> Result<Found, c_int> {
        self.check_header(LINK_BYTES, |_| false)?;
        // No interface is part of another, or of a kind that was made by hand; and nothing is a bridge.
        let filters = [IFLA_MASTER, IFLA_LINKINFO];
        if family == AF_BRIDGE || filters.iter().any(|kind| attribute(self.content, LINK_BYTES, *kind).is_some()) {
            return Ok(Found { filtered: family != AF_BRIDGE, ..Found::default() });
        }
        Ok(Found { messages: tables.links(), filtered: false })
    }

    /// `inet_dump_ifaddr` and `inet6_dump_ifaddr`.
    pub(super) fn addresses(&self, tables: &Tables<'_>, family: u8) -> Result<Found, c_int> {
        self.check_header(ADDRESS_BYTES, |at| at >= 4)?;
        let index = word(self.content, 4).filter(|index| self.strict && *index != 0);
        if index.is_some_and(|index| tables.link(|device| device.index == index).is_none()) {
            return Err(ENODEV);
        }
        Ok(Found { messages: tables.addresses(family, index), filtered: index.is_some() })
    }

    /// `neigh_dump_info`: of nobody the address of the hardware is known, as when nobody has been spoken to of late.
    pub(super) fn neighbours(&self) -> Result<Found, c_int> {
        self.check_header(NEIGHBOUR_BYTES, |at| at >= 4)?;
        Ok(Found::default())
    }

    /// `inet_dump_fib` and `inet6_dump_fib`.
    pub(super) fn routes(&self, tables: &Tables<'_>, family: u8) -> Result<Found, c_int> {
        self.check_header(ROUTE_BYTES, |at| at >= 4 && at != 6)?;
        let byte = |at: usize| self.content.get(at).copied().filter(|byte| self.strict && *byte != 0);
        let flags = if self.content.len() < ROUTE_BYTES { 0 } else { word(self.content, 8).unwrap_or(0) };
        if self.strict && flags & !(RTM_F_CLONED | RTM_F_PREFIX) != 0 {
            return Err(EINVAL);
        }
        let number = |kind: u16| {
            let bytes = attribute(self.content, ROUTE_BYTES, kind).filter(|_| self.strict)?;
            word(&bytes, 0)
        };
        // Routes that packets left behind, or that routers told of: there are none.
        if flags & RTM_F_PREFIX != 0 || self.strict && flags & RTM_F_CLONED != 0 {
            return Ok(Found { filtered: self.strict, ..Found::default() });
        }
        let filter = RouteFilter {
            table: number(RTA_TABLE).or(byte(4).map(u32::from)),
            protocol: byte(5),
            kind: byte(7),
            device: number(RTA_OIF),
        };
        let filtered = filter.table.or(filter.device).is_some() || filter.protocol.or(filter.kind).is_some();
        Ok(Found { messages: tables.routes(family, &filter), filtered })
    }
}
