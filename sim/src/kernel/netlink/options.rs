//! getsockopt(2) and setsockopt(2) at the level of netlink: `netlink_setsockopt`, net/netlink/af_netlink.c.

use super::Netlink;
use crate::kernel::net::control::Builder;
use libc::{EINVAL, ENOPROTOOPT, EPERM, c_int};

/// The level (include/linux/socket.h).
pub(crate) const SOL_NETLINK: c_int = 270;
/// Groups of listeners that there are (`RTNLGRP_MAX`, include/uapi/linux/rtnetlink.h).
const GROUPS: u32 = 39;
/// Those that are for the privileged (`rtnetlink_bind`): `RTNLGRP_IPV4_MROUTE_R` and `RTNLGRP_IPV6_MROUTE_R`.
const PRIVILEGED: u64 = 1 << 29 | 1 << 30;

/// What is on and off.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    packet_info: bool,
    broadcast_error: bool,
    /// `NETLINK_NO_ENOBUFS`.
    pub(super) no_overflow_error: bool,
    /// `NETLINK_CAP_ACK`: errors come without the request.
    pub(super) short_acknowledgements: bool,
    /// Without effect.
    extended_acknowledgements: bool,
    /// `NETLINK_GET_STRICT_CHK`: requests are checked, and what they filter by counts.
    pub(super) strict_check: bool,
}

impl Flags {
    fn of(&mut self, name: c_int) -> Option<&mut bool> {
        Some(match name {
            libc::NETLINK_PKTINFO => &mut self.packet_info,
            libc::NETLINK_BROADCAST_ERROR => &mut self.broadcast_error,
            libc::NETLINK_NO_ENOBUFS => &mut self.no_overflow_error,
            libc::NETLINK_CAP_ACK => &mut self.short_acknowledgements,
            libc::NETLINK_EXT_ACK => &mut self.extended_acknowledgements,
            libc::NETLINK_GET_STRICT_CHK => &mut self.strict_check,
            _ => return None,
        })
    }

    /// Tells a receiver which group a message came by: none, as nothing but answers comes.
    pub(super) fn describe(&self, control: &mut Builder) {
        if self.packet_info {
            control.put(SOL_NETLINK, libc::NETLINK_PKTINFO, &0_u32.to_ne_bytes());
        }
    }
}

/// Whether a program without privilege may listen to these groups.
///
/// # Errors
/// `EPERM`.
pub(super) fn may_listen(groups: u64) -> Result<(), c_int> {
    if groups & PRIVILEGED == 0 { Ok(()) } else { Err(EPERM) }
}

impl Netlink {
    /// setsockopt(2).
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`, `ENOPROTOOPT`.
    pub(crate) fn set_option(&mut self, name: c_int, value: &[u8]) -> Result<(), c_int> {
        let number = super::word(value, 0).unwrap_or(0); // too short, it counts as zero
        match name {
            libc::NETLINK_ADD_MEMBERSHIP | libc::NETLINK_DROP_MEMBERSHIP => {
                if !(1..=GROUPS).contains(&number) {
                    return Err(EINVAL);
                }
                let group = 1 << (number - 1);
                if name == libc::NETLINK_ADD_MEMBERSHIP {
                    may_listen(group)?;
                    self.groups |= group;
                } else {
                    self.groups &= !group;
                }
            }
            libc::NETLINK_LISTEN_ALL_NSID => return Err(EPERM),
            _ => *self.flags.of(name).ok_or(ENOPROTOOPT)? = number != 0,
        }
        Ok(())
    }

    /// getsockopt(2).
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    pub(crate) fn option(&mut self, name: c_int) -> Result<Vec<u8>, c_int> {
        if name == libc::NETLINK_LIST_MEMBERSHIPS {
            return Ok(self.groups.to_le_bytes().to_vec());
        }
        let on = name != libc::NETLINK_LISTEN_ALL_NSID && *self.flags.of(name).ok_or(ENOPROTOOPT)?;
        Ok(c_int::from(on).to_ne_bytes().to_vec())
    }
}
