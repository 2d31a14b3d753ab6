//! Socket addresses: made from what scripts name, read back as text with stable names.

use crate::transcript::Transcript;
use libc::{AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC, c_int, sa_family_t, sockaddr, socklen_t};

/// Room for any address; the family comes first (sockaddr(3type)).
#[derive(Clone, Copy)]
pub struct Addr {
    pub bytes: [u8; 128],
    pub len: socklen_t,
}

impl Addr {
    /// Room for an answer.
    pub fn room() -> Addr {
        Addr { bytes: [0; 128], len: 128 }
    }

    fn with_family(family: c_int, len: usize) -> Addr {
        let mut address = Addr { bytes: [0; 128], len: len as socklen_t };
        address.bytes[..2].copy_from_slice(&(family as sa_family_t).to_ne_bytes());
        address
    }

    /// `sockaddr_in`, ip(7).
    pub fn v4(ip: [u8; 4], port: u16) -> Addr {
        let mut address = Addr::with_family(AF_INET, 16);
        address.bytes[2..4].copy_from_slice(&port.to_be_bytes());
        address.bytes[4..8].copy_from_slice(&ip);
        address
    }

    /// 127.0.0.1.
    pub fn local(port: u16) -> Addr {
        Addr::v4([127, 0, 0, 1], port)
    }

    /// `sockaddr_in6`, ipv6(7).
    pub fn v6(ip: std::net::Ipv6Addr, port: u16) -> Addr {
        let mut address = Addr::with_family(AF_INET6, 28);
        address.bytes[2..4].copy_from_slice(&port.to_be_bytes());
        address.bytes[8..24].copy_from_slice(&ip.octets());
        address
    }

    /// ::1.
    pub fn local6(port: u16) -> Addr {
        Addr::v6(std::net::Ipv6Addr::LOCALHOST, port)
    }

    /// The loopback address of a family.
    pub fn loopback(family: c_int, port: u16) -> Addr {
        if family == AF_INET6 { Addr::local6(port) } else { Addr::local(port) }
    }

    /// `AF_UNSPEC`, which dissolves associations (connect(2)).
    pub fn unspecified() -> Addr {
        Addr::with_family(AF_UNSPEC, 16)
    }

    /// A pathname address with its NUL, unix(7).
    pub fn path(path: &str) -> Addr {
        let mut address = Addr::with_family(AF_UNIX, 2 + path.len() + 1);
        address.bytes[2..2 + path.len()].copy_from_slice(path.as_bytes());
        address
    }

    /// An abstract name, unix(7): a NUL, then as many bytes as the length says.
    pub fn name(name: &str) -> Addr {
        let mut address = Addr::with_family(AF_UNIX, 3 + name.len());
        address.bytes[3..3 + name.len()].copy_from_slice(name.as_bytes());
        address
    }

    /// A family without an address: autobind for `AF_UNIX`.
    pub fn family_only(family: c_int) -> Addr {
        Addr::with_family(family, 2)
    }

    /// With another length.
    pub fn cut(mut self, len: usize) -> Addr {
        self.len = len as socklen_t;
        self
    }

    pub fn family(&self) -> c_int {
        c_int::from(sa_family_t::from_ne_bytes([self.bytes[0], self.bytes[1]]))
    }

    /// The port of an internet address.
    pub fn port(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    pub fn pointer(&self) -> *const sockaddr {
        self.bytes.as_ptr().cast()
    }

    pub fn pointer_mut(&mut self) -> *mut sockaddr {
        self.bytes.as_mut_ptr().cast()
    }

    /// As text; ports and automatic names get stable names.
    pub fn show(&self, t: &Transcript) -> String {
        let len = self.len as usize;
        if len < 2 {
            return format!("({len} bytes)");
        }
        match self.family() {
            AF_INET if len >= 16 => {
                let b = &self.bytes;
                format!("{}.{}.{}.{}:{}", b[4], b[5], b[6], b[7], port(t, self.port()))
            }
            AF_INET6 if len >= 28 => {
                let octets: [u8; 16] = self.bytes[8..24].try_into().unwrap_or_default();
                let scope = u32::from_ne_bytes(self.bytes[24..28].try_into().unwrap_or_default());
                let scope = if scope == 0 { String::new() } else { format!("%{scope}") };
                format!("[{}]{scope}:{}", std::net::Ipv6Addr::from(octets), port(t, self.port()))
            }
            AF_UNIX if len == 2 => "unix".to_owned(),
            AF_UNIX if self.bytes[2] == 0 => {
                let name = &self.bytes[3..len.min(128)];
                let automatic = name.len() == 5 && name.iter().all(u8::is_ascii_hexdigit);
                if automatic {
                    let value = name.iter().fold(1, |sum, digit| sum << 8 | u64::from(*digit));
                    return format!("unix @{}", t.name("auto", value));
                }
                format!("unix @{}", name.escape_ascii())
            }
            AF_UNIX => format!("unix {}", self.bytes[2..len.min(128)].escape_ascii()),
            libc::AF_NETLINK if len >= 12 => self.show_netlink(t),
            AF_UNSPEC => "unspecified".to_owned(),
            family => format!("family {family}, {len} bytes"),
        }
    }
}

/// Ports below 1024 are nobody's by chance.
fn port(t: &Transcript, port: u16) -> String {
    if port < 1024 { port.to_string() } else { t.name("port", u64::from(port)) }
}
