//! How each class of faults is done in the real world: one table, for people and for whoever asks a machine.

use serde::{Deserialize, Serialize};
use windtunnel_faults::Kind;

/// How a class of faults is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
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
}

impl Reach {
    /// Whether this may be what is done.
    pub fn allows(self, by: By) -> bool {
        match self {
            // On a kernel that lacks it, the fallback.
            Self::Mechanism | Self::FallbackUnlessDelegated => true,
            Self::Fallback => by == By::Fallback,
        }
    }
}

const NOTHING: &str = "nothing else";
const EXT4: &str = "root, and a loop device";
/// How hosts are told that run a function of the test's: clocks, and calls that fail or take their time.
const PAGE: &str = "shared memory that the host's libc hooks go by";
const OWN_CODE: &str = "no `.command(..)`";

/// The seed decides on each packet.
const SHAPED: Means = Means {
    mechanism: "NFQUEUE, by nf_tables",
    takes: "`CONFIG_NFT_QUEUE`",
    fallback: Some("NFQUEUE, by the target of iptables"),
    root: Reach::Mechanism,
    user: Reach::Mechanism,
};

const fn for_all(mechanism: &'static str, takes: &'static str) -> Means {
    Means { mechanism, takes, fallback: None, root: Reach::Mechanism, user: Reach::Mechanism }
}

const fn for_root(mechanism: &'static str, takes: &'static str, fallback: &'static str) -> Means {
    Means { mechanism, takes, fallback: Some(fallback), root: Reach::Mechanism, user: Reach::Fallback }
}

const fn in_group(mechanism: &'static str, fallback: &'static str) -> Means {
    let takes = "root, or a delegated control group";
    Means { user: Reach::FallbackUnlessDelegated, ..for_root(mechanism, takes, fallback) }
}

impl Means {
    /// How this class is done.
    pub const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Partition => Self {
                fallback: Some("nft table that only its namespace ends"),
                ..for_all("nft table that its socket owns", "nf_tables, Linux 5.12")
            },
            Kind::Latency | Kind::Loss | Kind::Duplication | Kind::Reordering | Kind::Corruption | Kind::Bandwidth => {
                SHAPED
            }
            Kind::DnsHijack => for_all("a name server in the switch, which answers for all others", NOTHING),
            Kind::ClockSkew | Kind::ClockDrift => Self {
                fallback: Some("shared memory that the host's libc hooks go by; no `.command(..)`"),
                ..for_all(
                    "shared memory that the host's libc hooks go by; of a `.command(..)`, code in its vDSO, on a lease",
                    "for a `.command(..)`: ptrace(2), a 64-bit vDSO",
                )
            },
            Kind::DiskFull => {
                for_root("a file without a name on the disk of ext4", EXT4, "a smaller size of the tmpfs")
            }
            Kind::IoThrottle => for_root("`blkio.throttle.*` or `io.max` of the host's control group", EXT4, PAGE),
            Kind::InodeExhaustion => {
                for_root("files without names on the disk of ext4", EXT4, "a smaller `nr_inodes` of the tmpfs")
            }
            Kind::DiskErrors => for_all(PAGE, OWN_CODE),
            Kind::BitRot => for_all("bits flipped in what the host has written", NOTHING),
            Kind::CpuBurn => in_group(
                "`cgroup.freeze` or `freezer.state` of its control group, in turn",
                "SIGSTOP and SIGCONT in turn",
            ),
            Kind::MemoryPressure => in_group(
                "`memory.limit_in_bytes` or `memory.max` of the host's control group",
                "SIGKILL above a limit of resident memory",
            ),
            Kind::TaskLeak => in_group(
                "`pids.max` of the host's control group; `RLIMIT_NOFILE`",
                "`RLIMIT_NPROC` of the host's user; `RLIMIT_NOFILE`",
            ),
            Kind::Crash => for_root(
                "SIGKILL, and `EXT4_IOC_SHUTDOWN`: what was not synced is lost",
                EXT4,
                "SIGKILL: a disk of memory keeps what was written",
            ),
            Kind::Pause => for_all("SIGSTOP, by pidfd", NOTHING),
        }
    }

    /// One of the means, in words.
    pub fn text(self, by: By) -> &'static str {
        match by {
            By::Mechanism => self.mechanism,
            By::Fallback => self.fallback.unwrap_or(self.mechanism),
        }
    }
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
    };
    for kind in Kind::ALL {
        let Means { mechanism, takes, fallback, root, user } = Means::of(*kind);
        let (fallback, root, user) = (fallback.unwrap_or("–"), reach(root), reach(user));
        // Writing to a text cannot fail.
        let _ = writeln!(table, "| `{kind}` | {mechanism} | {takes} | {fallback} | {root} | {user} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_the_fallback_has_one() {
        for kind in Kind::ALL {
            let means = Means::of(*kind);
            let is_mechanism = |reach| reach == Reach::Mechanism;
            assert!(means.fallback.is_some() || (is_mechanism(means.root) && is_mechanism(means.user)), "{kind}");
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_class() {
        let table = table();
        assert_eq!(table.lines().count(), 2 + Kind::ALL.len());
        assert!(table.lines().all(|line| line.matches('|').count() == 7), "{table}");
    }
}
