//! Socket options: which there are, and reading and setting them.

use crate::transcript::{Transcript, outcome};
use libc::*;

/// A socket option.
#[derive(Clone, Copy)]
pub struct Opt {
    pub name: &'static str,
    pub level: c_int,
    pub number: c_int,
}

macro_rules! options {
    ($($list:ident: $level:ident { $($name:ident)* })*) => {
        $(pub const $list: &[Opt] = &[$(Opt { name: stringify!($name), level: $level, number: $name },)*];)*
    };
}

const IP_LEVEL: c_int = IPPROTO_IP;
const TCP_LEVEL: c_int = IPPROTO_TCP;
const UDP_LEVEL: c_int = IPPROTO_UDP;
const IPV6_LEVEL: c_int = IPPROTO_IPV6;

options! {
    SOCKET: SOL_SOCKET {
        SO_ERROR SO_TYPE SO_PROTOCOL SO_DOMAIN SO_ACCEPTCONN SO_REUSEADDR SO_REUSEPORT SO_KEEPALIVE SO_BROADCAST
        SO_OOBINLINE SO_PASSCRED SO_RCVLOWAT SO_SNDLOWAT SO_PRIORITY SO_DONTROUTE SO_TIMESTAMP SO_TIMESTAMPNS
        SO_RXQ_OVFL SO_BUSY_POLL SO_INCOMING_CPU SO_NO_CHECK SO_MARK
    }
    TCP: TCP_LEVEL {
        TCP_NODELAY TCP_CORK TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT TCP_SYNCNT TCP_LINGER2 TCP_DEFER_ACCEPT
        TCP_WINDOW_CLAMP TCP_QUICKACK TCP_USER_TIMEOUT TCP_FASTOPEN TCP_THIN_LINEAR_TIMEOUTS TCP_NOTSENT_LOWAT
    }
    IP: IP_LEVEL {
        IP_TOS IP_TTL IP_MULTICAST_TTL IP_MULTICAST_LOOP IP_PKTINFO IP_RECVTOS IP_RECVTTL IP_MTU_DISCOVER IP_RECVERR
        IP_FREEBIND IP_TRANSPARENT IP_BIND_ADDRESS_NO_PORT IP_RECVORIGDSTADDR
    }
    IPV6: IPV6_LEVEL {
        IPV6_V6ONLY IPV6_UNICAST_HOPS IPV6_MULTICAST_HOPS IPV6_MULTICAST_LOOP IPV6_RECVPKTINFO IPV6_TCLASS
        IPV6_RECVTCLASS IPV6_MTU_DISCOVER IPV6_DONTFRAG IPV6_RECVERR IPV6_RECVHOPLIMIT
    }
    UDP: UDP_LEVEL { UDP_SEGMENT UDP_GRO UDP_CORK }
}

impl Transcript {
    /// An integer option.
    pub fn getopt(&self, fd: c_int, option: Opt) -> c_int {
        let mut value: c_int = -77;
        let mut len = 4;
        let call = || unsafe { getsockopt(fd, option.level, option.number, (&raw mut value).cast(), &mut len) };
        let (result, errno) = outcome!({
            let mut call = call;
            call()
        });
        let value = if option.number == SO_ERROR && option.level == SOL_SOCKET && value > 0 {
            crate::transcript::errno_name(value)
        } else {
            value.to_string()
        };
        self.returned(
            format_args!("getsockopt({fd}, {})", option.name),
            result,
            errno,
            &format!(" {value} ({len} bytes)"),
        );
        result as c_int
    }

    pub fn setopt(&self, fd: c_int, option: Opt, value: c_int) -> c_int {
        let call = || unsafe { setsockopt(fd, option.level, option.number, (&raw const value).cast(), 4) };
        let (result, errno) = outcome!(call());
        self.returned(format_args!("setsockopt({fd}, {}, {value})", option.name), result, errno, "");
        result as c_int
    }

    /// An option by its bytes.
    pub fn getopt_bytes(&self, fd: c_int, option: Opt, room: usize) -> c_int {
        let mut value = [0u8; 256];
        let mut len = room as socklen_t;
        let call = || unsafe { getsockopt(fd, option.level, option.number, value.as_mut_ptr().cast(), &mut len) };
        let (result, errno) = outcome!({
            let mut call = call;
            call()
        });
        let shown = value[..(len as usize).min(room).min(256)].escape_ascii().to_string();
        let out = format!(" {len} bytes: {shown}");
        self.returned(format_args!("getsockopt({fd}, {}, room for {room})", option.name), result, errno, &out);
        result as c_int
    }

    pub fn setopt_bytes(&self, fd: c_int, option: Opt, value: &[u8]) -> c_int {
        let count = value.len() as socklen_t;
        let (result, errno) =
            outcome!(unsafe { setsockopt(fd, option.level, option.number, value.as_ptr().cast(), count) });
        self.returned(format_args!("setsockopt({fd}, {}, {value:?})", option.name), result, errno, "");
        result as c_int
    }

    /// `SO_ERROR`, which reading clears.
    pub fn error_of(&self, fd: c_int) -> c_int {
        self.getopt(fd, Opt { name: "SO_ERROR", level: SOL_SOCKET, number: SO_ERROR })
    }

    /// `SO_LINGER`: on or off, and seconds.
    pub fn linger(&self, fd: c_int, on: c_int, seconds: c_int) -> c_int {
        let mut bytes = on.to_ne_bytes().to_vec();
        bytes.extend(seconds.to_ne_bytes());
        self.setopt_bytes(fd, Opt { name: "SO_LINGER", level: SOL_SOCKET, number: SO_LINGER }, &bytes)
    }

    /// `SO_RCVTIMEO` or `SO_SNDTIMEO`, in milliseconds.
    pub fn timeout_of(&self, fd: c_int, name: &'static str, number: c_int, milliseconds: i64) -> c_int {
        let mut bytes = (milliseconds / 1000).to_ne_bytes().to_vec();
        bytes.extend((milliseconds % 1000 * 1000).to_ne_bytes());
        self.setopt_bytes(fd, Opt { name, level: SOL_SOCKET, number }, &bytes)
    }

    /// A switch at socket level.
    pub fn switch(&self, fd: c_int, name: &str, on: c_int) -> c_int {
        let option = SOCKET.iter().chain(TCP).chain(IPV6).find(|o| o.name == name).expect("an option of the list");
        self.setopt(fd, *option, on)
    }
}
