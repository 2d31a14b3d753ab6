//! What waits in a socket's receive queue.

use super::name::Called;
use super::setup::Credentials;
use crate::kernel::FileId;
use crate::kernel::net::Socket;

/// Something that was sent in one call, or a part of it.
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    /// Bytes of a stream's packet that were read already.
    pub(super) read: usize,
    /// The sender's name, for recvfrom(2).
    pub(super) from: Called,
    /// Who the sender is, if it said so or one of the two wanted it said (`unix_maybe_add_creds`).
    pub(super) credentials: Option<Credentials>,
    /// Files that travel along (`SCM_RIGHTS`); each holds a reference.
    pub(super) rights: Vec<FileId>,
    /// Who pays for the memory, and how much.
    pub(super) sender: Socket,
    pub(super) charge: usize,
}

impl Packet {
    /// Bytes that are left.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.read
    }
}

/// Memory that Linux accounts for a packet: `sk_buff` and a slab of the next power of two, or pages for large ones
/// (`SKB_TRUESIZE`, `alloc_skb_with_frags`).
pub(crate) fn true_size(bytes: usize) -> usize {
    const SK_BUFF_BYTES: usize = 256;
    const SHARED_INFO_BYTES: usize = 320;
    const PAGE_BYTES: usize = 4096;
    const LINEAR_BYTES_MAX: usize = 16_064;
    if bytes <= LINEAR_BYTES_MAX {
        SK_BUFF_BYTES + (bytes + SHARED_INFO_BYTES).next_power_of_two().max(512)
    } else {
        SK_BUFF_BYTES + 512 + bytes.next_multiple_of(PAGE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::true_size;

    #[test]
    fn sizes_are_those_measured_on_linux() {
        // 278, 278 and 93 datagrams of these sizes fill a buffer of 212,992 bytes.
        for (bytes, count) in [(1, 278), (100, 278), (1000, 93)] {
            assert_eq!(212_992usize.div_ceil(true_size(bytes)), count, "{bytes}");
        }
    }
}
