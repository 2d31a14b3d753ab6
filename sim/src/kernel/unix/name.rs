//! Names of Unix sockets (unix(7), "Address format").

use super::super::net::RawAddress;
use libc::{AF_UNIX, EINVAL, c_int};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Offset of `sun_path`.
const PATH_OFFSET: usize = 2;
/// Size of `sockaddr_un`.
const ADDRESS_BYTES: usize = 110;

/// A name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Name {
    /// A path, without its terminating zero.
    Path(Vec<u8>),
    /// What follows the leading zero, zeros included.
    Abstract(Vec<u8>),
}

/// What a socket is called, once it is: a name is given once, and whoever heard of the socket knows it, even when the
/// socket is closed (`unix_sock.addr`, which lives as long as anything refers to the socket).
#[derive(Clone, Default, Debug)]
pub(crate) struct Called(Arc<OnceLock<Name>>);

impl Called {
    pub(super) fn get(&self) -> Option<&Name> {
        self.0.get()
    }

    /// Gives the name; one that is there already stays.
    pub(super) fn give(&self, name: Name) {
        self.0.get_or_init(|| name);
    }
}

/// What the bytes of a `sockaddr_un` say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Given {
    /// `AF_UNSPEC`.
    Unspecified,
    /// No name at all: choose one.
    Nameless,
    Named(Name),
}

impl Given {
    /// Reads an address (`unix_validate_addr`, `unix_mkname_bsd`).
    ///
    /// # Errors
    /// `EINVAL`.
    pub(crate) fn decode(raw: &RawAddress) -> Result<Given, c_int> {
        match raw.family() {
            Some(libc::AF_UNSPEC) => return Ok(Given::Unspecified),
            Some(AF_UNIX) if raw.len <= ADDRESS_BYTES => {}
            Some(_) | None => return Err(EINVAL),
        }
        let path = &raw.bytes()[PATH_OFFSET..];
        Ok(match path {
            [] => Given::Nameless,
            [0, rest @ ..] => Given::Named(Name::Abstract(rest.to_vec())),
            _ => {
                let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                Given::Named(Name::Path(path[..end].to_vec()))
            }
        })
    }
}

impl Name {
    /// The `sockaddr_un`; without a name it has only a family.
    pub(crate) fn encode(name: Option<&Name>) -> RawAddress {
        let mut raw = RawAddress::empty();
        raw.bytes[..2].copy_from_slice(&(AF_UNIX as u16).to_ne_bytes());
        raw.len = PATH_OFFSET;
        let (start, text, end) = match name {
            None => return raw,
            Some(Name::Path(path)) => (PATH_OFFSET, path, 1),
            Some(Name::Abstract(text)) => (PATH_OFFSET + 1, text, 0),
        };
        raw.bytes[start..start + text.len()].copy_from_slice(text);
        raw.len = start + text.len() + end;
        raw
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Path(path) => f.write_str(&String::from_utf8_lossy(path)),
            Name::Abstract(text) => write!(f, "@{}", String::from_utf8_lossy(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Given, Name};
    use crate::kernel::net::RawAddress;
    use libc::{AF_INET, AF_UNIX, EINVAL};

    fn raw(family: i32, path: &[u8]) -> RawAddress {
        let mut raw = RawAddress::empty();
        raw.bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        raw.bytes[2..2 + path.len()].copy_from_slice(path);
        raw.len = 2 + path.len();
        raw
    }

    #[test]
    fn paths_end_at_the_first_zero_and_abstract_names_do_not() {
        let path = Name::Path(b"/tmp/x".to_vec());
        assert_eq!(Given::decode(&raw(AF_UNIX, b"/tmp/x\0rubbish")), Ok(Given::Named(path.clone())));
        assert_eq!(Name::encode(Some(&path)).bytes(), raw(AF_UNIX, b"/tmp/x\0").bytes());
        let name = Name::Abstract(b"a\0b".to_vec());
        assert_eq!(Given::decode(&raw(AF_UNIX, b"\0a\0b")), Ok(Given::Named(name.clone())));
        assert_eq!(Name::encode(Some(&name)).bytes(), raw(AF_UNIX, b"\0a\0b").bytes());
        assert_eq!(name.to_string(), "@a\0b");
    }

    #[test]
    fn a_family_alone_is_a_request_for_a_name() {
        assert_eq!(Given::decode(&raw(AF_UNIX, b"")), Ok(Given::Nameless));
        assert_eq!(Name::encode(None).bytes(), raw(AF_UNIX, b"").bytes());
        assert_eq!(Given::decode(&raw(AF_INET, b"1234")), Err(EINVAL));
        assert_eq!(Given::decode(&raw(AF_UNIX, &[b'x'; 109])), Err(EINVAL));
    }
}
