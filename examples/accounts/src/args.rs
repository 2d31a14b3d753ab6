//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// A bank.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The address to serve on.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub(crate) listen: String,

    /// The database; made when it is not there.
    #[arg(long, default_value = "/var/lib/accounts/accounts.db")]
    pub(crate) database: PathBuf,

    /// How a transaction becomes atomic.
    #[arg(long, value_enum, default_value_t = Journal::Wal)]
    pub(crate) journal: Journal,

    /// What is synced before a transaction counts as committed.
    #[arg(long, value_enum, default_value_t = Synchronous::Extra)]
    pub(crate) synchronous: Synchronous,

    /// How many accounts a new bank has.
    #[arg(long, default_value_t = 10)]
    pub(crate) accounts: u32,
}

/// `PRAGMA journal_mode` (<https://www.sqlite.org/pragma.html#pragma_journal_mode>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Journal {
    /// What is new is appended to a write-ahead log, which all connections look through by shared memory.
    Wal,
    /// What is old is copied to a rollback journal, and a commit is the removal of that.
    Delete,
}

/// `PRAGMA synchronous` (<https://www.sqlite.org/pragma.html#pragma_synchronous>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Synchronous {
    /// Nothing: "the database might become corrupted if the operating system crashes or the computer loses power".
    Off,
    /// All files. With a rollback journal a commit is not durable even so: the journal's removal may be undone.
    Full,
    /// As `Full`, and the directory after the removal of a rollback journal.
    Extra,
}

impl Journal {
    pub(crate) fn pragma(self) -> &'static str {
        match self {
            Self::Wal => "wal",
            Self::Delete => "delete",
        }
    }
}

impl Synchronous {
    pub(crate) fn pragma(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Full => "full",
            Self::Extra => "extra",
        }
    }
}
