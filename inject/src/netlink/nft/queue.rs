//! Expressions that send packets to a queue of the network namespace (libnetfilter_queue, nfnetlink_queue.c).

use crate::{Error, Result};
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::Expressions;
use std::collections::BTreeSet;
use std::fs;

/// How a rule queues packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queueing {
    /// nf_tables' own statement (`CONFIG_NFT_QUEUE`).
    Statement,
    /// The target of iptables, by nft_compat.
    Target,
}

/// What becomes of packets when nobody is bound to their queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unclaimed {
    /// They go on ("bypass").
    Pass,
    /// The kernel frees them, and tells whoever has sent them that all is well (nf_queue.c, `nf_queue`). Of what is
    /// dropped where it leaves the sender would be told: sendto(2) would fail with `EPERM`.
    Vanish,
}

impl Queueing {
    /// Both, the better one first.
    pub(crate) const ALL: [Self; 2] = [Self::Statement, Self::Target];
    /// What the kernel lacks that answers `ENOENT` to both: there is no such expression, or no such target.
    const LACKING: [&str; 2] = [
        "the kernel's nf_tables cannot queue packets",
        "it would need CONFIG_NFT_QUEUE, or CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_TARGET_NFQUEUE",
    ];

    /// What comes of the first of these that the kernel has.
    pub(crate) fn first_of<T>(those: &[Self], what: &str, mut make: impl FnMut(Self) -> Result<T>) -> Result<T> {
        let [missing, remedy] = Self::LACKING;
        let mut refused = Error::lacking(what, missing, remedy);
        for queueing in those {
            match make(*queueing) {
                // There is no such expression, or no such target.
                Err(error) if error.is_os(libc::ENOENT) => {}
                Err(error) => refused = error,
                made => return made,
            }
        }
        Err(refused)
    }

    /// As the kernel wants it.
    pub(crate) fn expression(self, queue: u16, unclaimed: Unclaimed) -> Expressions {
        // NFT_QUEUE_FLAG_BYPASS, NFQ_FLAG_BYPASS.
        let flags = u16::from(unclaimed == Unclaimed::Pass);
        match self {
            // NFTA_QUEUE_NUM, NFTA_QUEUE_TOTAL, NFTA_QUEUE_FLAGS.
            Self::Statement => {
                let attributes = [(1, queue), (2, 1), (3, flags)]
                    .map(|(kind, value): (u16, u16)| DefaultNla::new(kind, value.to_be_bytes().to_vec()));
                Expressions::Other { expression_type: "queue".to_owned(), attributes: attributes.to_vec() }
            }
            // NFTA_TARGET_NAME, NFTA_TARGET_REV, NFTA_TARGET_INFO: struct xt_NFQ_info_v3, XT_ALIGNed to 8 bytes.
            Self::Target => {
                let information: Vec<u8> = [queue, 1, flags, 0].into_iter().flat_map(u16::to_ne_bytes).collect();
                Expressions::Other {
                    expression_type: "target".to_owned(),
                    attributes: vec![
                        DefaultNla::new(1, b"NFQUEUE\0".to_vec()),
                        DefaultNla::new(2, 3_u32.to_be_bytes().to_vec()),
                        DefaultNla::new(3, information),
                    ],
                }
            }
        }
    }
}

/// The numbers of the queues of the calling thread's network to which somebody is bound (nfnetlink_queue.c, `seq_show`:
/// a line for each, its number first). Where there is no such file there are no queues.
pub(crate) fn claimed() -> BTreeSet<u16> {
    let queues = fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue").unwrap_or_default();
    queues.lines().filter_map(|line| line.split_ascii_whitespace().next()?.parse().ok()).collect()
}
