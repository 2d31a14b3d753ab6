//! The bank's books, in SQLite.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::args::Args;
use crate::transfer::{Account, Books, Transfer};

/// How long a connection waits for another one's transaction.
const BUSY_MAX: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS account (
        id INTEGER PRIMARY KEY,
        balance INTEGER NOT NULL CHECK (balance >= 0)
    );
    CREATE TABLE IF NOT EXISTS transfer (
        id TEXT PRIMARY KEY,
        debit INTEGER NOT NULL REFERENCES account (id),
        credit INTEGER NOT NULL REFERENCES account (id),
        amount INTEGER NOT NULL CHECK (amount > 0),
        purpose TEXT NOT NULL
    );
";

/// What each account of a new bank has.
pub const OPENING_BALANCE: i64 = 1_000;

/// A connection to the books.
#[derive(Debug)]
pub(crate) struct Bank {
    connection: Connection,
}

impl Bank {
    /// Opens the books, makes them when they are not there, and looks whether they are whole.
    pub(crate) fn open(args: &Args) -> Result<Self> {
        if let Some(directory) = args.database.parent() {
            fs::create_dir_all(directory)?;
            sync_all_in(directory)?;
        }
        let mut bank = Self::connect(args)?;
        let integrity: String = bank.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        ensure!(integrity == "ok", "the database is damaged: {integrity}");
        let making = bank.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        making.execute_batch(SCHEMA)?;
        for id in 0..args.accounts {
            making.execute("INSERT OR IGNORE INTO account VALUES (?1, ?2)", params![id, OPENING_BALANCE])?;
        }
        making.commit()?;
        Ok(bank)
    }

    /// Another connection to books that are open.
    pub(crate) fn connect(args: &Args) -> Result<Self> {
        let connection =
            Connection::open(&args.database).with_context(|| format!("failed to open {}", args.database.display()))?;
        connection.busy_timeout(BUSY_MAX)?;
        connection.pragma_update(None, "synchronous", args.synchronous.pragma())?;
        let journal = args.journal.pragma();
        let is: String = connection.query_row(&format!("PRAGMA journal_mode = {journal}"), [], |row| row.get(0))?;
        ensure!(is == journal, "the journal is {is:?}, not {journal:?}");
        Ok(Self { connection })
    }

    /// Makes a transfer, unless it was made before; answers whether there is money enough. `Ok(true)` when it is on the
    /// disk.
    pub(crate) fn transfer(&mut self, transfer: &Transfer) -> rusqlite::Result<bool> {
        let making = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let made = making.query_row("SELECT 1 FROM transfer WHERE id = ?1", [&transfer.id], |_| Ok(())).optional()?;
        if made.is_some() {
            return Ok(true);
        }
        let Transfer { id, debit, credit, amount, purpose } = transfer;
        let taken = making.execute(
            "UPDATE account SET balance = balance - ?2 WHERE id = ?1 AND balance >= ?2",
            params![debit, amount],
        )?;
        if taken == 0 {
            return Ok(false);
        }
        making.execute("UPDATE account SET balance = balance + ?2 WHERE id = ?1", params![credit, amount])?;
        making
            .execute("INSERT INTO transfer VALUES (?1, ?2, ?3, ?4, ?5)", params![id, debit, credit, amount, purpose])?;
        making.commit()?;
        Ok(true)
    }

    /// All accounts and transfers, as of one moment.
    pub(crate) fn books(&mut self) -> rusqlite::Result<Books> {
        let reading = self.connection.transaction()?;
        let accounts = reading
            .prepare("SELECT id, balance FROM account ORDER BY id")?
            .query_map([], |row| Ok(Account { id: row.get(0)?, balance: row.get(1)? }))?
            .collect::<rusqlite::Result<_>>()?;
        let transfers = reading
            .prepare("SELECT id, debit, credit, amount, purpose FROM transfer ORDER BY id")?
            .query_map([], |row| {
                let (id, debit, credit) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Transfer { id, debit, credit, amount: row.get(3)?, purpose: row.get(4)? })
            })?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Books { accounts, transfers })
    }
}

/// Brings to the disk what a killed process left: its last transaction may be in memory only, and whoever asks for that
/// transfer again is told that it was made. SQLite itself syncs it with the next transaction, which may come too late.
/// PostgreSQL does the same before it recovers (`SyncDataDirectory`).
///
/// Not while SQLite has files open: its locks would go with the first one that is closed here
/// (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).
fn sync_all_in(directory: &Path) -> std::io::Result<()> {
    let files = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let above = directory.ancestors().filter(|above| !above.as_os_str().is_empty());
    for path in files.chain(above.map(|above| Ok(above.to_owned()))) {
        File::open(path?)?.sync_all()?;
    }
    Ok(())
}
