//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// A durable key-value store.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The address to serve on.
    #[arg(long, default_value = "0.0.0.0:7000")]
    pub(crate) listen: String,

    /// Where the log is; made when it is not there.
    #[arg(long, default_value = "/var/lib/ledger")]
    pub(crate) directory: PathBuf,

    /// A segment of the log that is longer is closed, and another one begun.
    #[arg(long, default_value_t = 64 << 10)]
    pub(crate) segment_bytes: u64,

    /// When there are so many closed segments, a snapshot takes their place.
    #[arg(long, default_value_t = 4)]
    pub(crate) segments_max: u64,

    /// What to leave out, to see what it is good for: each is a bug that was shipped.
    #[arg(long, value_enum)]
    pub(crate) leave_out: Option<LeftOut>,
}

impl Args {
    /// Whether something is left out.
    pub(crate) fn leaves_out(&self, step: LeftOut) -> bool {
        self.leave_out == Some(step)
    }
}

/// A step of the way to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LeftOut {
    /// Sync the log before a write is acknowledged. Synced once a second instead, as Redis does with its default
    /// `appendfsync everysec`: "you may lose 1 second of data if there is a disaster"
    /// (<https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/>).
    SyncBeforeAnswer,
    /// Sync the directory when a segment was made in it. etcd before 3.1 did not, so that all of a synced segment could
    /// be gone (<https://github.com/etcd-io/etcd/issues/6368>); ClickHouse Keeper likewise
    /// (<https://github.com/ClickHouse/ClickHouse/issues/116316>).
    DirectorySync,
    /// Look at the checksum of a record that is read back. LiteDB had none: what a crash left of a page was taken for
    /// a page (<https://github.com/litedb-org/LiteDB/issues/2935>). etcd believed a length in what was left of a record
    /// (<https://github.com/etcd-io/etcd/issues/14098>).
    Checksums,
    /// Sync the log when it is read back at a start: what a killed process left may be in memory only, and is shown
    /// from now on. PostgreSQL did not, until 9.4.2 synced "everything in the data directory after a crash"
    /// (<https://www.postgresql.org/docs/release/9.4.3/>).
    SyncAtStart,
    /// Sync a snapshot before it is renamed to its final name: the zero-length files of applications that relied on
    /// ext3 (<https://bugs.launchpad.net/ubuntu/+source/linux/+bug/317781>). Of eleven systems that Pillai et al.
    /// looked at, several did ("All File Systems Are Not Created Equal", OSDI 2014, section 4).
    SnapshotSync,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_out_unless_asked_for() {
        let args = Args::parse_from(["ledger"]);
        assert_eq!(args.leave_out, None);
        let args = Args::parse_from(["ledger", "--leave-out", "directory-sync"]);
        assert!(args.leaves_out(LeftOut::DirectorySync) && !args.leaves_out(LeftOut::Checksums));
    }
}
