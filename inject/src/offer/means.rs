//! How each class of faults is done in the real world: one table, for people and for whoever asks a machine.

use serde::{Deserialize, Serialize};
use windtunnel_faults::Kind;

/// How a class of faults is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// So.
    Done(Done),
    /// Not in the real world, because of this.
    NotHere(&'static str),
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Where the kernel and the user's privilege allow it.
    pub mechanism: &'static str,
    /// What that takes, beside what every real world takes.
    pub takes: &'static str,
    /// Elsewhere.
    pub fallback: Option<&'static str>,
    /// For root.
    pub root: Reach,
    /// For anybody else, in a user namespace of their own.
    pub user: Reach,
}

/// One of a class's means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// What is done if it can be.
    Mechanism,
    /// What is done else.
    Fallback,
}

/// Which of a class's means somebody can have, on a kernel that has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The mechanism.
    Mechanism,
    /// The fallback only, unless a control group has been delegated to them.
    FallbackUnlessDelegated,
    /// The fallback only.
    Fallback,
    /// Neither.
    Neither,
}

impl Reach {
    /// Whether this may be what is done.
    pub fn allows(self, by: By) -> bool {
        match self {
            // On a kernel that lacks it, the fallback.
            Self::Mechanism | Self::FallbackUnlessDelegated => true,
            Self::Fallback => by == By::Fallback,
            Self::Neither => false,
        }
    }
}

const NF_TABLES: &str = "nf_tables, Linux 5.12";
const GROUP_OF: &str = "root, or a delegated control group";

/// The seed decides on each packet.
const SHAPED: Means = Means::Done(Done {
    mechanism: "NFQUEUE, by nf_tables",
    takes: "`CONFIG_NFT_QUEUE`",
    fallback: Some("NFQUEUE, by the target of iptables"),
    root: Reach::Mechanism,
    user: Reach::Mechanism,
});

const CLOCK: Means = Means::Done(Done {
    mechanism: "a page of shared memory that the host's libc hooks read",
    takes: "a host that runs a function of the test's",
    fallback: None,
    root: Reach::Mechanism,
    user: Reach::Mechanism,
});

impl Means {
    /// How this class is done.
    pub const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Partition => Self::Done(Done {
                mechanism: "nft table that its socket owns",
                takes: NF_TABLES,
                fallback: Some("nft table that only its namespace ends"),
                root: Reach::Mechanism,
                user: Reach::Mechanism,
            }),
            Kind::Latency | Kind::Loss | Kind::Duplication | Kind::Reordering | Kind::Corruption | Kind::Bandwidth => {
                SHAPED
            }
            Kind::DnsHijack => Self::Done(Done {
                mechanism: "a name server in the switch, which answers for all others",
                takes: "nothing else",
                fallback: None,
                root: Reach::Mechanism,
                user: Reach::Mechanism,
            }),
            Kind::ClockSkew | Kind::ClockDrift => CLOCK,
            Kind::DiskFull => on_disk("a file without a name on the disk of ext4", "a smaller size of the tmpfs"),
            Kind::InodeExhaustion => {
                on_disk("files without names on the disk of ext4", "a smaller `nr_inodes` of the tmpfs")
            }
            Kind::IoThrottle => Self::Done(Done {
                mechanism: "`blkio.throttle.*` or `io.max` of the host's control group",
                takes: "root, and a loop device",
                fallback: None,
                root: Reach::Mechanism,
                user: Reach::Neither,
            }),
            Kind::DiskErrors => Self::NotHere("no disk of the real world fails to order"),
            Kind::BitRot => Self::NotHere("no disk of the real world rots to order"),
            Kind::CpuBurn => {
                in_group("`cpu.cfs_quota_us` or `cpu.max` of the host's control group", "SIGSTOP and SIGCONT in turn")
            }
            Kind::MemoryPressure => in_group(
                "`memory.limit_in_bytes` or `memory.max` of the host's control group",
                "SIGKILL above a limit of resident memory",
            ),
            Kind::TaskLeak => in_group(
                "`pids.max` of the host's control group; `RLIMIT_NOFILE`",
                "`RLIMIT_NPROC` of the host's user; `RLIMIT_NOFILE`",
            ),
            Kind::Crash => Self::Done(Done {
                mechanism: "SIGKILL, and `EXT4_IOC_SHUTDOWN`: what was not synced is lost",
                takes: "root, and a loop device",
                fallback: Some("SIGKILL: a disk of memory keeps what was written"),
                root: Reach::Mechanism,
                user: Reach::Fallback,
            }),
            Kind::Pause => Self::Done(Done {
                mechanism: "SIGSTOP, by pidfd",
                takes: "nothing else",
                fallback: None,
                root: Reach::Mechanism,
                user: Reach::Mechanism,
            }),
        }
    }

    /// The means by which it was done, in words.
    pub fn text(self, by: By) -> &'static str {
        match (self, by) {
            (Self::NotHere(because), _) => because,
            (Self::Done(done), By::Mechanism) => done.mechanism,
            (Self::Done(done), By::Fallback) => done.fallback.unwrap_or(done.mechanism),
        }
    }
}

const fn on_disk(mechanism: &'static str, fallback: &'static str) -> Means {
    Means::Done(Done {
        mechanism,
        takes: "root, and a loop device",
        fallback: Some(fallback),
        root: Reach::Mechanism,
        user: Reach::Fallback,
    })
}

const fn in_group(mechanism: &'static str, fallback: &'static str) -> Means {
    Means::Done(Done {
        mechanism,
        takes: GROUP_OF,
        fallback: Some(fallback),
        root: Reach::Mechanism,
        user: Reach::FallbackUnlessDelegated,
    })
}

/// The table of the README: a row for each class.
pub fn table() -> String {
    use std::fmt::Write as _;
    let mut table = "| fault | mechanism | takes | fallback | as root | as another user |\n\
                     | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    let reach = |reach| match reach {
        Reach::Mechanism => "mechanism",
        Reach::FallbackUnlessDelegated => "fallback; mechanism in a delegated group",
        Reach::Fallback => "fallback",
        Reach::Neither => "not here",
    };
    for kind in Kind::ALL {
        // Writing to a text cannot fail.
        let _ = match Means::of(*kind) {
            Means::NotHere(because) => writeln!(table, "| `{kind}` | – | – | – | not here: {because} | not here |"),
            Means::Done(Done { mechanism, takes, fallback, root, user }) => writeln!(
                table,
                "| `{kind}` | {mechanism} | {takes} | {} | {} | {} |",
                fallback.unwrap_or("–"),
                reach(root),
                reach(user)
            ),
        };
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_the_fallback_has_one() {
        for kind in Kind::ALL {
            if let Means::Done(done) = Means::of(*kind) {
                let takes_fallback = |reach| matches!(reach, Reach::Fallback | Reach::FallbackUnlessDelegated);
                assert!(done.fallback.is_some() || !(takes_fallback(done.root) || takes_fallback(done.user)), "{kind}");
            }
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_class() {
        let table = table();
        assert_eq!(table.lines().count(), 2 + Kind::ALL.len());
        assert!(table.lines().all(|line| line.matches('|').count() == 7), "{table}");
    }
}
