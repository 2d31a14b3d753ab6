//! What can be wrong with links: the vocabulary of the shaper, which is the simulated kernel's.

use crate::error::{Error, Result};
use std::net::IpAddr;
use std::time::Duration;

/// What is wrong with links.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// Nothing gets through.
    Partition,
    /// Everything takes longer. Without choice (`or`, `jitter`) packets keep their order; with it each is late by
    /// itself, so that some overtake others, as with tc-netem(8).
    Slow {
        /// Added to each packet's way.
        latency: Duration,
        /// Other latencies, each as likely as the first.
        or: Vec<Duration>,
        /// How much that varies, drawn for each packet.
        jitter: Duration,
        /// How the jitter is distributed.
        spread: Spread,
    },
    /// Packets are lost.
    Lossy {
        /// Of each to be lost: from 0 to 1.
        probability: f64,
        /// How likely each shares the fate of the one before, from 0 to 1: losses come in bursts, as many as without.
        correlation: f64,
    },
    /// Packets arrive twice.
    Doubling {
        /// Of each to be doubled: from 0 to 1.
        probability: f64,
    },
    /// Packets are held back, so that later ones overtake them.
    Overtaking {
        /// Of each to be held back: from 0 to 1.
        probability: f64,
        /// For how long.
        by: Duration,
    },
    /// A bit of the payload is flipped. A TCP segment then fails its checksum and is dropped by whoever receives it; a
    /// UDP datagram is delivered so, as where nobody computes checksums of datagrams.
    Flipping {
        /// Of each to be flipped: from 0 to 1.
        probability: f64,
    },
    /// Each link carries no more than this.
    Narrow {
        /// Payload; headers do not count. Above zero.
        bytes_per_second: u64,
        /// How much may wait before packets are dropped; [`QUEUE_BYTES`] if not said.
        queue_bytes: Option<u64>,
    },
}

/// A usual queue: 1,000 packets (`txqueuelen`, netdevice(7)) of 1,500 bytes.
pub const QUEUE_BYTES: u64 = 1_500_000;

/// How a delay varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// At most the jitter on top of the latency, all equally likely.
    #[default]
    Uniform,
    /// Around the latency, the jitter being the standard deviation; never below no latency.
    Normal,
    /// On top of the latency, exponentially: the jitter is the mean.
    Exponential,
    /// On top of the latency, with a long tail (Lomax, α = 2) whose mean is the jitter.
    Pareto,
}

/// A host, as far as links know it: its addresses. Whatever they are, what goes between two hosts is one link, with one
/// queue and one sequence of choices, which the first address of each names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(pub Vec<IpAddr>);

impl<const N: usize> From<[IpAddr; N]> for Endpoint {
    fn from(addresses: [IpAddr; N]) -> Self {
        Self(addresses.into())
    }
}

/// All links from one set of hosts to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// Senders.
    pub from: Vec<Endpoint>,
    /// Receivers. A host in both sets still reaches itself.
    pub to: Vec<Endpoint>,
    /// The links back as well.
    pub both_ways: bool,
}

impl Trouble {
    /// Whether links can have this trouble.
    ///
    /// # Errors
    /// A share that is none, or a link of no width.
    pub fn check(&self) -> Result<()> {
        let shares = match *self {
            Self::Lossy { probability, correlation } => vec![probability, correlation],
            Self::Doubling { probability } | Self::Overtaking { probability, .. } | Self::Flipping { probability } => {
                vec![probability]
            }
            Self::Narrow { bytes_per_second: 0, .. } => {
                return Err(Error::lacking(
                    "narrow a link to 0 bytes per second",
                    "nothing would get through",
                    "that is a partition",
                ));
            }
            Self::Partition | Self::Slow { .. } | Self::Narrow { .. } => Vec::new(),
        };
        match shares.into_iter().find(|share| !(0.0..=1.0).contains(share)) {
            None => Ok(()),
            Some(share) => Err(Error::lacking(
                "trouble a link",
                format!("{share} is no probability"),
                "it would be a number from 0 to 1",
            )),
        }
    }
}
