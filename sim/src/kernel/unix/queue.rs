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

const SK_BUFF_BYTES: usize = 256;
const SHARED_INFO_BYTES: usize = 320;
const CACHE_LINE_BYTES: usize = 64;
const PAGE_BYTES: usize = 4096;
/// What a slab of a page holds beside its end (`SKB_MAX_HEAD(0)`, include/linux/skbuff.h).
const PAGE_HEAD_BYTES: usize = PAGE_BYTES - SHARED_INFO_BYTES;
/// What a slab of four pages does (`SKB_MAX_ALLOC`).
const LINEAR_BYTES_MAX: usize = 4 * PAGE_BYTES - SHARED_INFO_BYTES;
/// Pages beside the slab (`MAX_SKB_FRAGS`).
const FRAGMENTS_MAX: usize = 17;
/// The largest piece of a stream that is queued as one (`unix_stream_sendmsg`: a slab and `UNIX_SKB_FRAGS_SZ`).
pub(super) const PIECE_BYTES_MAX: usize = PAGE_HEAD_BYTES + 32_768;

/// Memory that Linux accounts for a datagram: `sk_buff`, a slab of a power of two, and pages for what is beyond
/// (`unix_dgram_sendmsg`, `sock_alloc_send_pskb`).
pub(crate) fn true_size(bytes: usize) -> usize {
    let beyond = bytes.saturating_sub(LINEAR_BYTES_MAX).min(FRAGMENTS_MAX * PAGE_BYTES);
    with_pages(bytes, beyond.next_multiple_of(PAGE_BYTES))
}

/// The same for a piece of a stream, which has its pages earlier (`unix_stream_sendmsg`).
pub(super) fn true_size_of_piece(bytes: usize) -> usize {
    let beyond = bytes.saturating_sub(PAGE_HEAD_BYTES);
    with_pages(bytes, beyond.next_multiple_of(PAGE_BYTES).min(bytes))
}

fn with_pages(bytes: usize, in_pages: usize) -> usize {
    let slab = (bytes - in_pages).next_multiple_of(CACHE_LINE_BYTES) + SHARED_INFO_BYTES;
    SK_BUFF_BYTES + slab.next_power_of_two() + in_pages.next_multiple_of(PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::{true_size, true_size_of_piece};

    #[test]
    fn sizes_are_those_measured_on_linux() {
        // So many datagrams of these sizes fill a buffer of 212,992 bytes.
        for (bytes, count) in [(1, 278), (100, 278), (1000, 93), (17_000, 11), (40_000, 6), (200_000, 2)] {
            assert_eq!(212_992usize.div_ceil(true_size(bytes)), count, "{bytes}");
        }
        for (bytes, size) in [(1, 768), (4000, 4864), (4096, 4864), (10_000, 12_544), (36_544, 37_120)] {
            assert_eq!(true_size_of_piece(bytes), size, "{bytes}");
        }
    }
}
